/* SHA-1 with the SHA extensions of x86: four rounds for each instruction. */
#include "sha1.h"

#ifdef FRAMEWIRE_X86

#include <immintrin.h>
#include <string.h>

#define SHANI FRAMEWIRE_TARGET("sha,ssse3")

/* These instructions want the first of four words in the highest lane. */
SHANI FRAMEWIRE_INLINE __m128i load_words(const uint32_t *words) {
    return _mm_shuffle_epi32(_mm_loadu_si128((const __m128i *)(const void *)words), 0x1B);
}

typedef struct {
    __m128i abcd, e;
} state;

/* 20 rounds of one kind, and 4 of them at a time: e, rotated and added to the schedule, is what a was 4 rounds ago. */
#define ROUNDS(kind)                                                                                                  \
    for (int i = 5 * (kind); i < 5 * (kind) + 5; i++) {                                                               \
        __m128i before = s.abcd;                                                                                      \
        s.abcd = _mm_sha1rnds4_epu32(s.abcd, i ? _mm_sha1nexte_epu32(s.e, w[i]) : _mm_add_epi32(s.e, w[0]), kind);    \
        s.e = before;                                                                                                 \
    }

SHANI FRAMEWIRE_INLINE state compress(state s, const __m128i w[20]) {
    const state start = s;
    ROUNDS(0)
    ROUNDS(1)
    ROUNDS(2)
    ROUNDS(3)
    s.abcd = _mm_add_epi32(s.abcd, start.abcd);
    s.e = _mm_sha1nexte_epu32(s.e, start.e);
    return s;
}

SHANI void framewire_sha1_shani(uint8_t digest[20], const uint8_t block[64]) {
    const __m128i reversed = _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
    __m128i w[20];
    for (int i = 0; i < 4; i++)
        w[i] = _mm_shuffle_epi8(_mm_loadu_si128((const __m128i *)(const void *)(block + 16 * i)), reversed);
    for (int i = 4; i < 20; i++)
        w[i] = _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(w[i - 4], w[i - 3]), w[i - 2]), w[i - 1]);

    state s = {load_words(framewire_sha1_start), _mm_setr_epi32(0, 0, 0, (int)framewire_sha1_start[4])};
    s = compress(s, w);
    for (int i = 0; i < 20; i++)
        w[i] = load_words(framewire_sha1_length + 4 * i);
    s = compress(s, w);

    _mm_storeu_si128((__m128i *)(void *)digest, _mm_shuffle_epi8(s.abcd, reversed));
    uint32_t last = (uint32_t)_mm_cvtsi128_si32(_mm_shuffle_epi8(_mm_srli_si128(s.e, 12), _mm_setr_epi8(
        3, 2, 1, 0, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1, -1)));
    memcpy(digest + 16, &last, 4);
}

#endif
