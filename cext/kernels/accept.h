/* The versions of the accept key, as kernels.h says what it is. */
#ifndef FRAMEWIRE_ACCEPT_H
#define FRAMEWIRE_ACCEPT_H

#include "kernels.h"
#include "target.h"

framewire_accept framewire_accept_plain;
#ifdef FRAMEWIRE_X86
framewire_accept framewire_accept_shani;
#endif

#endif
