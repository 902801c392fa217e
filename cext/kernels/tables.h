/* The table of each instruction set, and functions that the vector kernels share. */
#ifndef FRAMEWIRE_TABLES_H
#define FRAMEWIRE_TABLES_H

#include "kernels.h"
#include "target.h"

extern const framewire_kernels framewire_plain;

/* Used by the vector kernels for sizes below one vector, and for functions that their
   instruction set does not accelerate. */
void framewire_mask_plain(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key);
uint8_t framewire_mask_or_plain(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key);
uint8_t framewire_or_all_plain(const uint8_t *src, size_t size);
size_t framewire_utf8_prefix_plain(const uint8_t *src, size_t size);
size_t framewire_utf8_count_plain(const uint8_t *src, size_t size, uint8_t *largest);
void framewire_utf8_to_latin1_plain(uint8_t *dst, const uint8_t *src, size_t size);
void framewire_utf8_to_ucs2_plain(uint16_t *dst, const uint8_t *src, size_t size);
void framewire_utf8_to_ucs4_plain(uint32_t *dst, const uint8_t *src, size_t size);

#ifdef FRAMEWIRE_X86
extern const framewire_kernels framewire_sse2, framewire_avx2, framewire_avx512;
#endif

#ifdef FRAMEWIRE_ARM64
extern const framewire_kernels framewire_neon;
#endif

/* Return the key for the payload `offset` bytes later: its byte i is byte (i + offset) % 4 of
   key. */
FRAMEWIRE_INLINE uint32_t framewire_rotate_key(uint32_t key, size_t offset) {
    unsigned bits = 8 * (unsigned)(offset % 4);
#ifdef FRAMEWIRE_BIG_ENDIAN
    return key << bits | key >> ((32 - bits) & 31);
#else
    return key >> bits | key << ((32 - bits) & 31);
#endif
}

#endif
