/* The lower bound of masking: a copying XOR with vectors of 64 bytes, compiled for the widest
   registers of the processor. It accepts any alignment, and is not specialized for any size. */
#ifndef WIDEST_XOR_H
#define WIDEST_XOR_H

#include <stdint.h>
#include <string.h>

/* dst[i] = src[i] ^ byte i % 4 of key in memory order. */
#if defined(__x86_64__) && defined(__GNUC__) && !defined(__clang__) && defined(__GLIBC__)
__attribute__((target_clones("avx512f", "avx2", "default")))
#endif
static void widest_xor(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
#if defined(__GNUC__)
    typedef uint32_t lanes __attribute__((vector_size(64), aligned(1), may_alias));
    lanes wide = {0};
    wide += key;
    for (; size >= 64; size -= 64, src += 64, dst += 64)
        *(lanes *)dst = *(const lanes *)src ^ wide;
#endif
    for (; size >= 4; size -= 4, src += 4, dst += 4) {
        uint32_t word;
        memcpy(&word, src, 4);
        word ^= key;
        memcpy(dst, &word, 4);
    }
    for (size_t i = 0; i < size; i++)
        dst[i] = (uint8_t)(src[i] ^ ((const uint8_t *)&key)[i]);
}

#endif
