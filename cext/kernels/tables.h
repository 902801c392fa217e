/* One table for each file of kernels. The vector kernels hand what is too short for them to framewire_plain. */
#ifndef FRAMEWIRE_TABLES_H
#define FRAMEWIRE_TABLES_H

#include "kernels.h"
#include "target.h"

extern const framewire_kernels framewire_plain;

#ifdef FRAMEWIRE_X86
extern const framewire_kernels framewire_sse2, framewire_avx2, framewire_avx512;
#endif

#ifdef FRAMEWIRE_ARM64
extern const framewire_kernels framewire_neon;
#endif

/* The key for a place `offset` bytes further on: byte i of it is byte (i + offset) % 4 of key. */
FRAMEWIRE_INLINE uint32_t framewire_rotate_key(uint32_t key, size_t offset) {
    unsigned bits = 8 * (unsigned)(offset % 4);
#ifdef FRAMEWIRE_BIG_ENDIAN
    return key << bits | key >> (-bits & 31);
#else
    return key >> bits | key << (-bits & 31);
#endif
}

#endif
