/* Positions of the lead bytes of code points: conversion of a bit mask, one bit for each byte, into
   the indices of its set bits, for a byte shuffle.

   Two lookups in tables for 4 bits replace one in a table of 2 KiB for 8 bits. */
#ifndef FRAMEWIRE_LEADS_H
#define FRAMEWIRE_LEADS_H

#include <stdint.h>

#include "target.h"

static const uint8_t framewire_bit_count[16] = {0, 1, 1, 2, 1, 2, 2, 3, 1, 2, 2, 3, 2, 3, 3, 4};

/* Byte i, counted from the least significant one, is the index of the i-th set bit; other bytes
   are 0. */
static const uint32_t framewire_bit_positions[16] = {
    0x00000000, 0x00000000, 0x00000001, 0x00000100, 0x00000002, 0x00000200, 0x00000201, 0x00020100,
    0x00000003, 0x00000300, 0x00000301, 0x00030100, 0x00000302, 0x00030200, 0x00030201, 0x03020100,
};

/* Return the indices of the set bits of an 8-bit number in the same form, and store their
   number. Bytes from *count on are undefined, but below 8. */
FRAMEWIRE_INLINE uint64_t framewire_lead_positions(unsigned bits, unsigned *count) {
    unsigned low = bits & 15, high = bits >> 4;
    *count = framewire_bit_count[low] + (unsigned)framewire_bit_count[high];
    return framewire_bit_positions[low] | (uint64_t)(framewire_bit_positions[high] + 0x04040404u)
                                              << (8 * framewire_bit_count[low]);
}

#endif
