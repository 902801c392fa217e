/* SSE2, the baseline of x86-64: 16 bytes at a time. It lacks a byte shuffle, so UTF-8 is
   validated and converted by the plain version. */
#include "tables.h"

#ifdef FRAMEWIRE_X86

#include <emmintrin.h>

#define SSE2 FRAMEWIRE_TARGET("sse2")

SSE2 FRAMEWIRE_INLINE __m128i load(const uint8_t *src) {
    return _mm_loadu_si128((const __m128i *)(const void *)src);
}

SSE2 FRAMEWIRE_INLINE void store(uint8_t *dst, __m128i v) {
    _mm_storeu_si128((__m128i *)(void *)dst, v);
}

/* Return the bitwise OR of the bytes. */
SSE2 FRAMEWIRE_INLINE uint8_t or_bytes(__m128i v) {
    v = _mm_or_si128(v, _mm_srli_si128(v, 8));
    v = _mm_or_si128(v, _mm_srli_si128(v, 4));
    uint32_t word = (uint32_t)_mm_cvtsi128_si32(v);
    word |= word >> 16;
    return (uint8_t)(word | word >> 8);
}

/* For at least 16 bytes. The last vector overlaps the one before it. It is read before the loop
   writes, because dst may equal src. */
SSE2 FRAMEWIRE_INLINE uint8_t mask_vectors(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    const __m128i keys = _mm_set1_epi32((int)key);
    const __m128i last = _mm_xor_si128(load(src + size - 16), _mm_set1_epi32((int)framewire_rotate_key(key, size)));
    __m128i any = last;
    size_t i = 0;
    for (; i + 32 < size; i += 32) {
        __m128i a = _mm_xor_si128(load(src + i), keys), b = _mm_xor_si128(load(src + i + 16), keys);
        store(dst + i, a);
        store(dst + i + 16, b);
        any = _mm_or_si128(any, _mm_or_si128(a, b));
    }
    if (i + 16 < size) {
        __m128i a = _mm_xor_si128(load(src + i), keys);
        store(dst + i, a);
        any = _mm_or_si128(any, a);
    }
    store(dst + size - 16, last);
    return or_bytes(any);
}

SSE2 static void framewire_mask_sse2(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    if (size < 16)
        framewire_mask_plain(dst, src, size, key);
    else
        mask_vectors(dst, src, size, key);
}

SSE2 static uint8_t framewire_mask_or_sse2(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    return size < 16 ? framewire_mask_or_plain(dst, src, size, key) : mask_vectors(dst, src, size, key);
}

SSE2 static uint8_t framewire_or_all_sse2(const uint8_t *src, size_t size) {
    if (size < 16)
        return framewire_or_all_plain(src, size);
    __m128i any = load(src + size - 16);
    for (size_t i = 0; i + 16 < size; i += 16)
        any = _mm_or_si128(any, load(src + i));
    return or_bytes(any);
}

SSE2 static size_t framewire_utf8_count_sse2(const uint8_t *src, size_t size, uint8_t *largest) {
    const __m128i zero = _mm_setzero_si128();
    __m128i top = zero, sums = zero;
    size_t i = 0;
    for (; size - i >= 16; i += 16) {
        __m128i v = load(src + i);
        __m128i leads = _mm_sub_epi8(zero, _mm_cmpgt_epi8(v, _mm_set1_epi8((char)0xBF)));
        sums = _mm_add_epi64(sums, _mm_sad_epu8(leads, zero));
        top = _mm_max_epu8(top, v);
    }
    uint8_t rest, bytes[16];
    uint64_t halves[2];
    size_t count = framewire_utf8_count_plain(src + i, size - i, &rest);
    store(bytes, top);
    _mm_storeu_si128((__m128i *)(void *)halves, sums);
    for (int b = 0; b < 16; b++)
        rest = bytes[b] > rest ? bytes[b] : rest;
    *largest = rest;
    return count + (size_t)(halves[0] + halves[1]);
}

const framewire_kernels framewire_sse2 = {
    "sse2",
    framewire_mask_sse2,
    framewire_mask_or_sse2,
    framewire_or_all_sse2,
    framewire_utf8_prefix_plain,
    framewire_utf8_count_sse2,
    framewire_utf8_to_latin1_plain,
    framewire_utf8_to_ucs2_plain,
    framewire_utf8_to_ucs4_plain,
};

#endif
