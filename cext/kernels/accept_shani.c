/* Sec-WebSocket-Accept with the SHA extensions of x86, four rounds per instruction, and base64
   with byte shuffles. */
#include "accept.h"

#ifdef FRAMEWIRE_X86

#include <immintrin.h>

#include "sha1.h"

#define SHANI FRAMEWIRE_TARGET("sha,ssse3")

SHANI FRAMEWIRE_INLINE __m128i load(const void *src) {
    return _mm_loadu_si128((const __m128i *)src);
}

SHANI FRAMEWIRE_INLINE __m128i load_half(const void *src) {
    return _mm_loadl_epi64((const __m128i *)src);
}

SHANI FRAMEWIRE_INLINE void store(char *dst, __m128i v) {
    _mm_storeu_si128((__m128i *)(void *)dst, v);
}

/* ---- base64 ---- */

/* Return a mask of the bytes that are base64 characters. Each table maps one nibble to the
   classes of characters that contain it; a byte whose nibbles have a class in common is a base64
   character. */
SHANI FRAMEWIRE_INLINE unsigned find_base64(__m128i text) {
    enum { SIGN = 1 /* + / */, DIGIT = 2, A_TO_O = 4, P_TO_Z = 8 };
    enum { ALL = DIGIT | A_TO_O | P_TO_Z };
    const __m128i high = _mm_setr_epi8(0, 0, SIGN, DIGIT, A_TO_O, P_TO_Z, A_TO_O, P_TO_Z, 0, 0, 0, 0, 0, 0, 0, 0);
    const __m128i low = _mm_setr_epi8(DIGIT | P_TO_Z, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, ALL, A_TO_O | P_TO_Z,
                                      SIGN | A_TO_O, A_TO_O, A_TO_O, A_TO_O, SIGN | A_TO_O);
    const __m128i nibble = _mm_set1_epi8(0x0F);
    __m128i classes = _mm_and_si128(_mm_shuffle_epi8(high, _mm_and_si128(_mm_srli_epi16(text, 4), nibble)),
                                    _mm_shuffle_epi8(low, _mm_and_si128(text, nibble)));
    return ~(unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(classes, _mm_setzero_si128())) & 0xFFFF;
}

/* Encode four groups of three bytes b0 b1 b2, stored in the lanes as b1 b0 b2 b1, to 16
   characters. */
SHANI FRAMEWIRE_INLINE __m128i encode_base64(__m128i groups) {
    /* The differences between a character and its six bits: for a-z, each digit, "+", "/" and
       A-Z. */
    const __m128i offsets = _mm_setr_epi8('a' - 26, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52, '0' - 52,
                                          '0' - 52, '0' - 52, '0' - 52, '0' - 52, '+' - 62, '/' - 63, 'A', 0, 0);
    __m128i first_third =
        _mm_mulhi_epu16(_mm_and_si128(groups, _mm_set1_epi32(0x0FC0FC00)), _mm_set1_epi32(0x04000040));
    __m128i second_fourth =
        _mm_mullo_epi16(_mm_and_si128(groups, _mm_set1_epi32(0x003F03F0)), _mm_set1_epi32(0x01000010));
    __m128i bits = _mm_or_si128(first_third, second_fourth);
    __m128i upper = _mm_and_si128(_mm_cmpgt_epi8(_mm_set1_epi8(26), bits), _mm_set1_epi8(13));
    __m128i index = _mm_or_si128(_mm_subs_epu8(bits, _mm_set1_epi8(51)), upper);
    return _mm_add_epi8(bits, _mm_shuffle_epi8(offsets, index));
}

/* ---- SHA-1; the instructions expect the first of four words in the highest lane ---- */

SHANI FRAMEWIRE_INLINE __m128i reverse(__m128i bytes) {
    return _mm_shuffle_epi8(bytes, _mm_setr_epi8(15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0));
}

typedef struct {
    __m128i abcd, e;
} state;

/* Return words 4 * i to 4 * i + 3 of the message schedule; w holds the last 16 words. */
SHANI FRAMEWIRE_INLINE __m128i schedule(__m128i w[4], int i) {
    if (i >= 4)
        w[i % 4] = _mm_sha1msg2_epu32(_mm_xor_si128(_mm_sha1msg1_epu32(w[i % 4], w[(i + 1) % 4]), w[(i + 2) % 4]),
                                      w[(i + 3) % 4]);
    return w[i % 4];
}

/* Return the same words for the second block. */
SHANI FRAMEWIRE_INLINE __m128i length_schedule(int i) {
    return _mm_shuffle_epi32(load(framewire_sha1_length + 4 * i), 0x1B);
}

/* 20 rounds with one function, 4 at a time. The value of e, rotated and added to the schedule,
   is the value of a four rounds before. */
#define ROUNDS(s, kind, words)                                                                              \
    for (int i = 5 * (kind); i < 5 * (kind) + 5; i++) {                                                     \
        __m128i before = (s).abcd, e = i ? _mm_sha1nexte_epu32((s).e, words) : _mm_add_epi32((s).e, words); \
        (s).abcd = _mm_sha1rnds4_epu32((s).abcd, e, kind);                                                  \
        (s).e = before;                                                                                     \
    }

#define COMPRESS(s, words)                              \
    {                                                   \
        const state start = s;                          \
        ROUNDS(s, 0, words)                             \
        ROUNDS(s, 1, words)                             \
        ROUNDS(s, 2, words)                             \
        ROUNDS(s, 3, words)                             \
        (s).abcd = _mm_add_epi32((s).abcd, start.abcd); \
        (s).e = _mm_sha1nexte_epu32((s).e, start.e);    \
    }

SHANI int framewire_accept_shani(char accept[28], const char key[24]) {
    const __m128i padding = _mm_setr_epi8(0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0, (char)0x80, 0, 0, 0);
    __m128i end = load(key + 8); /* the last two bytes must be "=" */
    unsigned equal_signs = (unsigned)_mm_movemask_epi8(_mm_cmpeq_epi8(end, _mm_set1_epi8('=')));
    if (find_base64(load(key)) != 0xFFFF || find_base64(end) != 0x3FFF || equal_signs != 0xC000)
        return 0;

    __m128i w[4] = {
        reverse(load(key)),
        reverse(_mm_unpacklo_epi64(load_half(key + 16), load_half("258EAFA5"))),
        reverse(load("-E914-47DA-95CA-")),
        reverse(_mm_or_si128(load("C5AB0DC85B11\0\0\0"), padding)),
    };
    const uint32_t *h = framewire_sha1_start;
    state s = {_mm_setr_epi32((int)h[3], (int)h[2], (int)h[1], (int)h[0]), _mm_setr_epi32(0, 0, 0, (int)h[4])};
    COMPRESS(s, schedule(w, i))
    COMPRESS(s, length_schedule(i))

    /* abcd holds the bytes of the hash in reverse order. Bytes 0 to 11 give the first 16
       characters, bytes 9 to 19 the last 15. */
    __m128i bcde = _mm_alignr_epi8(s.abcd, s.e, 12);
    store(accept, encode_base64(
                      _mm_shuffle_epi8(s.abcd, _mm_setr_epi8(14, 15, 13, 14, 11, 12, 10, 11, 8, 9, 7, 8, 5, 6, 4, 5))));
    store(accept + 12,
          encode_base64(_mm_shuffle_epi8(bcde, _mm_setr_epi8(9, 10, 8, 9, 6, 7, 5, 6, 3, 4, 2, 3, 0, 1, -1, 0))));
    accept[27] = '=';
    return 1;
}

#endif
