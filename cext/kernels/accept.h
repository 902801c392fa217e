/* The versions of framewire_accept (kernels.h). */
#ifndef FRAMEWIRE_ACCEPT_H
#define FRAMEWIRE_ACCEPT_H

#include "kernels.h"
#include "target.h"

framewire_accept framewire_accept_plain;
#ifdef FRAMEWIRE_X86
framewire_accept framewire_accept_shani;
#endif

#endif
