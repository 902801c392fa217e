/* Where the code points start: from one bit for each byte to the places of the set ones, for a byte shuffle.

   Two small tables of 4 bits do what otherwise takes 2 KiB for 8. */
#ifndef FRAMEWIRE_LEADS_H
#define FRAMEWIRE_LEADS_H

#include <stdint.h>

#include "target.h"

static const uint8_t framewire_bit_count[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};

/* Byte i, from the least significant one, is the number of the set bit i; the rest is 0. */
static const uint32_t framewire_bit_places[16] = {
    0x00000000, 0x00000000, 0x00000001, 0x00000100, 0x00000002, 0x00000200, 0x00000201, 0x00020100,
    0x00000003, 0x00000300, 0x00000301, 0x00030100, 0x00000302, 0x00030200, 0x00030201, 0x03020100,
};

/* The places of the set bits of an 8-bit number, as above; bytes past *count mean nothing, but are below 8. */
FRAMEWIRE_INLINE uint64_t framewire_places(unsigned bits, unsigned *count) {
    unsigned low = bits & 15, high = bits >> 4;
    *count = framewire_bit_count[low] + (unsigned)framewire_bit_count[high];
    return framewire_bit_places[low] | (uint64_t)(framewire_bit_places[high] + 0x04040404u)
                                           << (8 * framewire_bit_count[low]);
}

#endif
