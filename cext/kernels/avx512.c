/* AVX-512 with VBMI2 (Ice Lake, Zen 4 and later): 64 bytes at a time, with a mask register for the
   remainder. */
#include "lookup.h"
#include "tables.h"
#include "utf8.h"

#ifdef FRAMEWIRE_X86

#include <immintrin.h>

#define AVX512 FRAMEWIRE_TARGET("avx2,bmi,bmi2,popcnt,avx512f,avx512bw,avx512vl,avx512vbmi,avx512vbmi2")

AVX512 FRAMEWIRE_INLINE __m512i load(const uint8_t *src) {
    return _mm512_loadu_si512((const void *)src);
}

/* Return a mask of the first n of 64 lanes. */
FRAMEWIRE_INLINE uint64_t first_lanes(size_t n) {
    return n ? ~(uint64_t)0 >> (64 - n) : 0;
}

AVX512 FRAMEWIRE_INLINE unsigned count_bits(uint64_t bits) {
#if defined(__x86_64__) || defined(_M_X64)
    return (unsigned)_mm_popcnt_u64(bits);
#else
    return (unsigned)_mm_popcnt_u32((uint32_t)bits) + (unsigned)_mm_popcnt_u32((uint32_t)(bits >> 32));
#endif
}

/* Return 0x80 if any byte is not ASCII, else 0. */
AVX512 FRAMEWIRE_INLINE uint8_t high_bit(__m512i v) {
    return _mm512_movepi8_mask(v) ? 0x80 : 0;
}

AVX512 FRAMEWIRE_INLINE __m512i key_vector(uint32_t key) {
    return _mm512_set1_epi32((int)key);
}

/* For 0 to 64 bytes. */
AVX512 FRAMEWIRE_INLINE uint8_t mask_one(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    __mmask64 lanes = first_lanes(size);
    __m512i v = _mm512_maskz_loadu_epi8(lanes, src);
    v = _mm512_xor_si512(v, key_vector(key));
    _mm512_mask_storeu_epi8(dst, lanes, v);
    return _mm512_movepi8_mask(v) & lanes ? 0x80 : 0;
}

/* For 65 to 128 bytes: the second vector overlaps the first, unless there are 128. */
AVX512 FRAMEWIRE_INLINE uint8_t mask_two(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    __m512i first = _mm512_xor_si512(load(src), key_vector(key));
    __m512i last = _mm512_xor_si512(load(src + size - 64), key_vector(framewire_rotate_key(key, size)));
    _mm512_storeu_si512(dst, first);
    _mm512_storeu_si512(dst + size - 64, last);
    return high_bit(_mm512_or_si512(first, last));
}

/* If bytes remain after the last whole vector, a vector that overlaps it processes them. It is read
   before the loop writes, because dst may equal src. */
AVX512 FRAMEWIRE_INLINE uint8_t mask_vectors(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    const __m512i keys = key_vector(key);
    const size_t rest = size % 64;
    __m512i last = _mm512_setzero_si512(), any;
    if (rest)
        last = _mm512_xor_si512(load(src + size - 64), key_vector(framewire_rotate_key(key, size)));
    any = last;
    size_t i = 0;
    for (; size - i >= 256; i += 256) {
        __m512i a = _mm512_xor_si512(load(src + i), keys), b = _mm512_xor_si512(load(src + i + 64), keys);
        __m512i c = _mm512_xor_si512(load(src + i + 128), keys), d = _mm512_xor_si512(load(src + i + 192), keys);
        _mm512_storeu_si512(dst + i, a);
        _mm512_storeu_si512(dst + i + 64, b);
        _mm512_storeu_si512(dst + i + 128, c);
        _mm512_storeu_si512(dst + i + 192, d);
        any = _mm512_or_si512(any, _mm512_or_si512(_mm512_or_si512(a, b), _mm512_or_si512(c, d)));
    }
    for (; size - i >= 64; i += 64) {
        __m512i a = _mm512_xor_si512(load(src + i), keys);
        _mm512_storeu_si512(dst + i, a);
        any = _mm512_or_si512(any, a);
    }
    if (rest)
        _mm512_storeu_si512(dst + size - 64, last);
    return high_bit(any);
}

AVX512 FRAMEWIRE_INLINE uint8_t mask_any(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    if (size <= 64)
        return mask_one(dst, src, size, key);
    return size <= 128 ? mask_two(dst, src, size, key) : mask_vectors(dst, src, size, key);
}

AVX512 static void framewire_mask_avx512(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    mask_any(dst, src, size, key);
}

AVX512 static uint8_t framewire_mask_or_avx512(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    return mask_any(dst, src, size, key);
}

AVX512 static uint8_t framewire_or_all_avx512(const uint8_t *src, size_t size) {
    if (size <= 64)
        return high_bit(_mm512_maskz_loadu_epi8(first_lanes(size), src));
    __m512i any = load(src + size - 64);
    for (size_t i = 0; i + 64 < size; i += 64)
        any = _mm512_or_si512(any, load(src + i));
    return high_bit(any);
}

/* ---- UTF-8 ---- */

AVX512 FRAMEWIRE_INLINE __m512i look_up(const uint8_t table[16], __m512i nibbles) {
    __m128i row = _mm_loadu_si128((const __m128i *)(const void *)table);
    return _mm512_shuffle_epi8(_mm512_broadcast_i32x4(row), nibbles);
}

/* Return a vector with nonzero bytes where the byte of v is invalid after the three bytes before
   it; `last` is the vector before v. */
AVX512 FRAMEWIRE_INLINE __m512i find_errors(__m512i v, __m512i last) {
    const __m512i nibble = _mm512_set1_epi8(0x0F);
    __m512i joint = _mm512_alignr_epi32(v, last, 12);
    __m512i before1 = _mm512_alignr_epi8(v, joint, 15);
    __m512i before2 = _mm512_alignr_epi8(v, joint, 14);
    __m512i before3 = _mm512_alignr_epi8(v, joint, 13);
    __m512i wrong = look_up(framewire_first_high, _mm512_and_si512(_mm512_srli_epi16(before1, 4), nibble));
    wrong = _mm512_and_si512(wrong, look_up(framewire_first_low, _mm512_and_si512(before1, nibble)));
    wrong = _mm512_and_si512(wrong, look_up(framewire_second_high, _mm512_and_si512(_mm512_srli_epi16(v, 4), nibble)));
    /* Bit 7, TWICE, is expected for a third byte (two after E0 or above) and a fourth byte
       (three after F0 or above). */
    __m512i third = _mm512_subs_epu8(before2, _mm512_set1_epi8((char)(0xE0 - 0x80)));
    __m512i fourth = _mm512_subs_epu8(before3, _mm512_set1_epi8((char)(0xF0 - 0x80)));
    __m512i expected = _mm512_and_si512(_mm512_or_si512(third, fourth), _mm512_set1_epi8((char)0x80));
    return _mm512_xor_si512(wrong, expected);
}

AVX512 FRAMEWIRE_INLINE uint64_t nonzero(__m512i v) {
    return _mm512_test_epi8_mask(v, v);
}

AVX512 FRAMEWIRE_INLINE int is_ascii(__m512i v) {
    return _mm512_movepi8_mask(v) == 0;
}

/* Whether there are at most 128 bytes, all ASCII. */
AVX512 FRAMEWIRE_INLINE int is_short_ascii(const uint8_t *src, size_t size) {
    if (size <= 64)
        return is_ascii(_mm512_maskz_loadu_epi8(first_lanes(size), src));
    return size <= 128 && is_ascii(_mm512_or_si512(load(src), load(src + size - 64)));
}

AVX512 static size_t framewire_utf8_prefix_avx512(const uint8_t *src, size_t size) {
    if (is_short_ascii(src, size))
        return size;
    __m512i last = _mm512_setzero_si512();
    size_t i = 0;
    for (; size - i >= 64; i += 64) {
        __m512i v = load(src + i);
        if (is_ascii(_mm512_or_si512(v, last))) {
            while (size - i >= 320 &&
                   is_ascii(_mm512_or_si512(_mm512_or_si512(load(src + i + 64), load(src + i + 128)),
                                            _mm512_or_si512(load(src + i + 192), load(src + i + 256)))))
                i += 256;
            continue; /* `last` is ASCII, like the vector just read: no need to update it */
        }
        if (size - i >= 256) { /* four vectors with one branch; the code below finds the error */
            __m512i b = load(src + i + 64), c = load(src + i + 128), d = load(src + i + 192);
            if (!nonzero(_mm512_or_si512(_mm512_or_si512(find_errors(v, last), find_errors(b, v)),
                                         _mm512_or_si512(find_errors(c, b), find_errors(d, c))))) {
                last = d;
                i += 192;
                continue;
            }
        }
        if (nonzero(find_errors(v, last)))
            return framewire_utf8_trim(src, i);
        last = v;
    }
    if (i < size) {
        uint64_t lanes = first_lanes(size - i);
        __m512i v = _mm512_maskz_loadu_epi8(lanes, src + i);
        if (!is_ascii(_mm512_or_si512(v, last)) && nonzero(find_errors(v, last)) & lanes)
            return framewire_utf8_trim(src, i);
    }
    return framewire_utf8_trim(src, size);
}

AVX512 FRAMEWIRE_INLINE uint64_t find_leads(__m512i v) {
    return _mm512_cmpgt_epi8_mask(v, _mm512_set1_epi8((char)0xBF));
}

AVX512 FRAMEWIRE_INLINE uint8_t find_largest(__m512i v) {
    __m256i half = _mm256_max_epu8(_mm512_castsi512_si256(v), _mm512_extracti64x4_epi64(v, 1));
    __m128i quarter = _mm_max_epu8(_mm256_castsi256_si128(half), _mm256_extracti128_si256(half, 1));
    /* The only horizontal instruction finds the smallest word, so it is applied to the
       complement. */
    const __m128i low_byte = _mm_set1_epi16(0xFF);
    quarter = _mm_max_epu8(quarter, _mm_srli_epi16(quarter, 8));
    return (uint8_t)~_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_andnot_si128(quarter, low_byte)));
}

AVX512 static size_t framewire_utf8_count_avx512(const uint8_t *src, size_t size, uint8_t *largest) {
    __m512i top = _mm512_setzero_si512();
    size_t count = 0, i = 0;
    for (; size - i >= 64; i += 64) {
        __m512i v = load(src + i);
        count += count_bits(find_leads(v));
        top = _mm512_max_epu8(top, v);
    }
    uint64_t lanes = first_lanes(size - i);
    __m512i v = _mm512_maskz_loadu_epi8(lanes, src + i);
    count += count_bits(find_leads(v) & lanes);
    *largest = find_largest(_mm512_max_epu8(top, v));
    return count;
}

/* The transcoders compute a unit for every byte as if it were a lead byte, from copies of the
   text shifted by one to three bytes, and then compress the units of the real lead bytes. While
   enough input remains they store whole vectors, of which only the first `count` units are
   valid; at the end, they store only those. `left`, the number of remaining bytes, is at least
   1. */

#define ENOUGH SIZE_MAX

AVX512 FRAMEWIRE_INLINE uint64_t lanes_within(size_t left, size_t lanes) {
    return first_lanes(left < lanes ? left : lanes);
}

AVX512 FRAMEWIRE_INLINE __m512i load_bytes(const uint8_t *src, size_t left) {
    return _mm512_maskz_loadu_epi8(lanes_within(left, 64), src);
}

AVX512 FRAMEWIRE_INLINE __m512i load_words(const uint8_t *src, size_t left) {
    return _mm512_cvtepu8_epi16(_mm256_maskz_loadu_epi8((__mmask32)lanes_within(left, 32), src));
}

AVX512 FRAMEWIRE_INLINE __m512i make_latin1(const uint8_t *src, size_t left, unsigned *count) {
    __m512i first = load_bytes(src, left), second = load_bytes(src + 1, left - 1);
    /* After C2 the second byte is the character; after C3, 0x40 is added. */
    __m512i more = _mm512_and_si512(_mm512_slli_epi16(first, 6), _mm512_set1_epi8(0x40));
    __mmask64 two = _mm512_movepi8_mask(first), leads = find_leads(first) & lanes_within(left, 64);
    *count = count_bits(leads);
    return _mm512_maskz_compress_epi8(leads, _mm512_mask_mov_epi8(first, two, _mm512_or_si512(second, more)));
}

/* Append the low six bits of the next byte. */
AVX512 FRAMEWIRE_INLINE __m512i append6(__m512i units, __m512i next) {
    return _mm512_ternarylogic_epi32(_mm512_slli_epi16(units, 6), next, _mm512_set1_epi16(0x3F), 0xD8);
}

AVX512 FRAMEWIRE_INLINE __m512i make_ucs2(const uint8_t *src, size_t left, unsigned *count) {
    __m512i first = load_words(src, left), second = load_words(src + 1, left - 1);
    __m512i third = load_words(src + 2, left > 2 ? left - 2 : 0);
    /* `two` still contains the marker bits of the lead byte; in `three` they are shifted out. */
    __m512i two = append6(first, second), three = append6(two, third);
    __mmask32 above_ascii = _mm512_cmpgt_epi16_mask(first, _mm512_set1_epi16(0x7F));
    __mmask32 above_continuation = _mm512_cmpgt_epi16_mask(first, _mm512_set1_epi16(0xBF));
    __mmask32 above_two = _mm512_cmpgt_epi16_mask(first, _mm512_set1_epi16(0xDF));
    __mmask32 leads = (above_continuation | ~above_ascii) & (uint32_t)lanes_within(left, 32);
    *count = count_bits(leads);
    __m512i units = _mm512_mask_sub_epi16(first, above_continuation, two, _mm512_set1_epi16(0xC0 << 6));
    return _mm512_maskz_compress_epi16(leads, _mm512_mask_mov_epi16(units, above_two, three));
}

AVX512 static void framewire_utf8_to_latin1_avx512(uint8_t *dst, const uint8_t *src, size_t size) {
    unsigned count;
    for (; size >= 128; dst += count, src += 64, size -= 64)
        _mm512_storeu_si512(dst, make_latin1(src, ENOUGH, &count));
    for (; size; dst += count) {
        __m512i units = make_latin1(src, size, &count);
        _mm512_mask_storeu_epi8(dst, first_lanes(count), units);
        size_t step = size < 64 ? size : 64;
        src += step, size -= step;
    }
}

AVX512 static void framewire_utf8_to_ucs2_avx512(uint16_t *dst, const uint8_t *src, size_t size) {
    unsigned count;
    for (; size >= 96; dst += count, src += 32, size -= 32)
        _mm512_storeu_si512(dst, make_ucs2(src, ENOUGH, &count));
    for (; size; dst += count) {
        __m512i units = make_ucs2(src, size, &count);
        _mm512_mask_storeu_epi16(dst, (__mmask32)first_lanes(count), units);
        size_t step = size < 32 ? size : 32;
        src += step, size -= step;
    }
}

/* Return the bytes 0 to 63. */
AVX512 FRAMEWIRE_INLINE __m512i byte_indices(void) {
    return _mm512_set_epi8(63, 62, 61, 60, 59, 58, 57, 56, 55, 54, 53, 52, 51, 50, 49, 48, 47, 46, 45, 44, 43, 42, 41,
                           40, 39, 38, 37, 36, 35, 34, 33, 32, 31, 30, 29, 28, 27, 26, 25, 24, 23, 22, 21, 20, 19, 18,
                           17, 16, 15, 14, 13, 12, 11, 10, 9, 8, 7, 6, 5, 4, 3, 2, 1, 0);
}

/* Return the 16 code points of v from index `done` on. A vector holds few wide units, so here the
   positions of the leads are compressed first, into `positions`. */
AVX512 FRAMEWIRE_INLINE __m512i make_ucs4(__m512i v, __m512i positions, unsigned done) {
    const __m512i quarter = _mm512_and_si512(_mm512_srli_epi16(byte_indices(), 2), _mm512_set1_epi8(0x0F));
    /* The bytes of a lane in reverse order: the lead byte moves to bits 24 to 31. */
    const __m512i fourth_to_first = _mm512_set1_epi32(0x00010203);
    /* By the high nibble of the lead byte: the payload bits of the code point, and by how many
       bits to shift right the value computed from four bytes. */
    const __m512i payload_bits =
        _mm512_setr_epi32(0x7F000000, 0x7F000000, 0x7F000000, 0x7F000000, 0x7F000000, 0x7F000000, 0x7F000000,
                          0x7F000000, 0, 0, 0, 0, 0x1F3F0000, 0x1F3F0000, 0x0F3F3F00, 0x073F3F3F);
    const __m512i excess = _mm512_setr_epi32(18, 18, 18, 18, 18, 18, 18, 18, 0, 0, 0, 0, 12, 12, 6, 0);
    __m512i position = _mm512_permutexvar_epi8(_mm512_add_epi8(quarter, _mm512_set1_epi8((char)done)), positions);
    __m512i lanes = _mm512_permutexvar_epi8(_mm512_add_epi8(position, fourth_to_first), v);
    __m512i nibble = _mm512_srli_epi32(lanes, 28);
    lanes = _mm512_and_si512(lanes, _mm512_permutexvar_epi32(nibble, payload_bits));
    __m512i pairs = _mm512_maddubs_epi16(lanes, _mm512_set1_epi16(0x4001));
    __m512i all = _mm512_madd_epi16(pairs, _mm512_set1_epi32(0x10000001));
    return _mm512_srlv_epi32(all, _mm512_permutexvar_epi32(nibble, excess));
}

/* Converts the code points that begin in 60 bytes; the last of them may end up to 3 bytes later. */
AVX512 static void framewire_utf8_to_ucs4_avx512(uint32_t *dst, const uint8_t *src, size_t size) {
    for (; size >= 192; src += 60, size -= 60) {
        __m512i v = load(src);
        uint64_t leads = find_leads(v) & first_lanes(60);
        __m512i positions = _mm512_maskz_compress_epi8(leads, byte_indices());
        unsigned count = count_bits(leads);
        /* dst has room for whole vectors: 192 bytes hold at least 47 code points, and more if
           more of them begin in these 60 bytes. */
        _mm512_storeu_si512(dst, make_ucs4(v, positions, 0));
        _mm512_storeu_si512(dst + 16, make_ucs4(v, positions, 16));
        for (unsigned done = 32; done < count; done += 16)
            _mm512_storeu_si512(dst + done, make_ucs4(v, positions, done));
        dst += count;
    }
    while (size) {
        size_t step = size < 60 ? size : 60;
        __m512i v = load_bytes(src, size);
        uint64_t leads = find_leads(v) & first_lanes(step);
        __m512i positions = _mm512_maskz_compress_epi8(leads, byte_indices());
        unsigned count = count_bits(leads);
        for (unsigned done = 0; done < count; done += 16) {
            unsigned stored = count - done < 16 ? count - done : 16;
            _mm512_mask_storeu_epi32(dst, (__mmask16)first_lanes(stored), make_ucs4(v, positions, done));
            dst += stored;
        }
        src += step, size -= step;
    }
}

const framewire_kernels framewire_avx512 = {
    "avx512",
    framewire_mask_avx512,
    framewire_mask_or_avx512,
    framewire_or_all_avx512,
    framewire_utf8_prefix_avx512,
    framewire_utf8_count_avx512,
    framewire_utf8_to_latin1_avx512,
    framewire_utf8_to_ucs2_avx512,
    framewire_utf8_to_ucs4_avx512,
};

#endif
