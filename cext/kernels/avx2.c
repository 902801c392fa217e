/* AVX2: 32 bytes at a time. */
#include "leads.h"
#include "lookup.h"
#include "tables.h"
#include "utf8.h"

#ifdef FRAMEWIRE_X86

#include <immintrin.h>

#define AVX2 FRAMEWIRE_TARGET("avx2,bmi,bmi2,popcnt")

AVX2 FRAMEWIRE_INLINE __m256i load(const uint8_t *src) {
    return _mm256_loadu_si256((const __m256i *)(const void *)src);
}

AVX2 FRAMEWIRE_INLINE __m128i load_half(const uint8_t *src) {
    return _mm_loadu_si128((const __m128i *)(const void *)src);
}

AVX2 FRAMEWIRE_INLINE void store(void *dst, __m256i v) {
    _mm256_storeu_si256((__m256i *)dst, v);
}

AVX2 FRAMEWIRE_INLINE void store_half(void *dst, __m128i v) {
    _mm_storeu_si128((__m128i *)dst, v);
}

/* Return 0x80 if any byte is not ASCII, else 0. */
AVX2 FRAMEWIRE_INLINE uint8_t high_bit(__m256i v) {
    return _mm256_movemask_epi8(v) ? 0x80 : 0;
}

/* For at least 32 bytes. The last vector overlaps the one before it. It is read before the loop
   writes, because dst may equal src. */
AVX2 FRAMEWIRE_INLINE uint8_t mask_vectors(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    const __m256i keys = _mm256_set1_epi32((int)key);
    const __m256i last =
        _mm256_xor_si256(load(src + size - 32), _mm256_set1_epi32((int)framewire_rotate_key(key, size)));
    __m256i any = last;
    size_t i = 0;
    for (; i + 128 < size; i += 128) {
        __m256i a = _mm256_xor_si256(load(src + i), keys), b = _mm256_xor_si256(load(src + i + 32), keys);
        __m256i c = _mm256_xor_si256(load(src + i + 64), keys), d = _mm256_xor_si256(load(src + i + 96), keys);
        store(dst + i, a);
        store(dst + i + 32, b);
        store(dst + i + 64, c);
        store(dst + i + 96, d);
        any = _mm256_or_si256(any, _mm256_or_si256(_mm256_or_si256(a, b), _mm256_or_si256(c, d)));
    }
    for (; i + 32 < size; i += 32) {
        __m256i a = _mm256_xor_si256(load(src + i), keys);
        store(dst + i, a);
        any = _mm256_or_si256(any, a);
    }
    store(dst + size - 32, last);
    return high_bit(any);
}

/* For 16 to 31 bytes: the second half vector overlaps the first. */
AVX2 FRAMEWIRE_INLINE uint8_t mask_halves(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    __m128i first = _mm_xor_si128(load_half(src), _mm_set1_epi32((int)key));
    __m128i last = _mm_xor_si128(load_half(src + size - 16), _mm_set1_epi32((int)framewire_rotate_key(key, size)));
    store_half(dst, first);
    store_half(dst + size - 16, last);
    return _mm_movemask_epi8(_mm_or_si128(first, last)) ? 0x80 : 0;
}

AVX2 static void framewire_mask_avx2(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    if (size >= 32)
        mask_vectors(dst, src, size, key);
    else if (size >= 16)
        mask_halves(dst, src, size, key);
    else
        framewire_mask_plain(dst, src, size, key);
}

AVX2 static uint8_t framewire_mask_or_avx2(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    if (size >= 32)
        return mask_vectors(dst, src, size, key);
    if (size >= 16)
        return mask_halves(dst, src, size, key);
    return framewire_mask_or_plain(dst, src, size, key);
}

AVX2 static uint8_t framewire_or_all_avx2(const uint8_t *src, size_t size) {
    if (size < 32)
        return framewire_or_all_plain(src, size);
    __m256i any = load(src + size - 32);
    for (size_t i = 0; i + 32 < size; i += 32)
        any = _mm256_or_si256(any, load(src + i));
    return high_bit(any);
}

/* ---- UTF-8 ---- */

AVX2 FRAMEWIRE_INLINE __m256i look_up(const uint8_t table[16], __m256i nibbles) {
    return _mm256_shuffle_epi8(_mm256_broadcastsi128_si256(load_half(table)), nibbles);
}

/* Return a mask of the bytes that are invalid after the three bytes before them. before1 to
   before3 end 1 to 3 bytes before v. */
AVX2 FRAMEWIRE_INLINE uint32_t find_errors(__m256i v, __m256i before1, __m256i before2, __m256i before3) {
    const __m256i nibble = _mm256_set1_epi8(0x0F);
    __m256i wrong = look_up(framewire_first_high, _mm256_and_si256(_mm256_srli_epi16(before1, 4), nibble));
    wrong = _mm256_and_si256(wrong, look_up(framewire_first_low, _mm256_and_si256(before1, nibble)));
    wrong = _mm256_and_si256(wrong, look_up(framewire_second_high, _mm256_and_si256(_mm256_srli_epi16(v, 4), nibble)));
    /* Bit 7, TWICE, is expected for a third byte (two after E0 or above) and a fourth byte
       (three after F0 or above). */
    __m256i third = _mm256_subs_epu8(before2, _mm256_set1_epi8((char)(0xE0 - 0x80)));
    __m256i fourth = _mm256_subs_epu8(before3, _mm256_set1_epi8((char)(0xF0 - 0x80)));
    __m256i expected = _mm256_and_si256(_mm256_or_si256(third, fourth), _mm256_set1_epi8((char)0x80));
    __m256i error = _mm256_xor_si256(wrong, expected);
    return ~(uint32_t)_mm256_movemask_epi8(_mm256_cmpeq_epi8(error, _mm256_setzero_si256()));
}

/* The vector that ends n bytes before the end of v; `joint` is the half before v and the first
   half of v. */
#define BEFORE(v, joint, n) _mm256_alignr_epi8(v, joint, 16 - (n))

AVX2 FRAMEWIRE_INLINE int is_ascii(__m256i v) {
    return _mm256_movemask_epi8(v) == 0;
}

AVX2 static size_t framewire_utf8_prefix_avx2(const uint8_t *src, size_t size) {
    __m256i last = _mm256_setzero_si256();
    size_t i = 0;
    for (; size - i >= 32; i += 32) {
        __m256i v = load(src + i);
        if (is_ascii(_mm256_or_si256(v, last))) {
            while (size - i >= 160 &&
                   is_ascii(_mm256_or_si256(_mm256_or_si256(load(src + i + 32), load(src + i + 64)),
                                            _mm256_or_si256(load(src + i + 96), load(src + i + 128)))))
                i += 128;
            continue; /* `last` is ASCII, like the vector just read: no need to update it */
        }
        __m256i joint = _mm256_permute2x128_si256(last, v, 0x21);
        if (find_errors(v, BEFORE(v, joint, 1), BEFORE(v, joint, 2), BEFORE(v, joint, 3)))
            return framewire_utf8_trim(src, i);
        last = v;
    }
    if (size - i > 0) {
        /* The last vector may overlap the one before it: bytes may be validated twice. */
        if (size >= 35) {
            const uint8_t *end = src + size - 32;
            if (find_errors(load(end), load(end - 1), load(end - 2), load(end - 3)))
                return framewire_utf8_trim(src, i);
        } else {
            i = framewire_utf8_trim(src, i);
            return i + framewire_utf8_prefix_plain(src + i, size - i);
        }
    }
    return framewire_utf8_trim(src, size);
}

AVX2 FRAMEWIRE_INLINE uint32_t find_leads(__m256i v) {
    return (uint32_t)_mm256_movemask_epi8(_mm256_cmpgt_epi8(v, _mm256_set1_epi8((char)0xBF)));
}

AVX2 FRAMEWIRE_INLINE uint8_t find_largest(__m256i v) {
    __m128i half = _mm_max_epu8(_mm256_castsi256_si128(v), _mm256_extracti128_si256(v, 1));
    /* The only horizontal instruction finds the smallest word, so it is applied to the
       complement. */
    const __m128i low_byte = _mm_set1_epi16(0xFF);
    half = _mm_max_epu8(half, _mm_srli_epi16(half, 8));
    return (uint8_t)~_mm_cvtsi128_si32(_mm_minpos_epu16(_mm_andnot_si128(half, low_byte)));
}

AVX2 static size_t framewire_utf8_count_avx2(const uint8_t *src, size_t size, uint8_t *largest) {
    if (size < 32)
        return framewire_utf8_count_plain(src, size, largest);
    __m256i top = load(src + size - 32);
    uint32_t new_in_last = size % 32 ? ~0u << (32 - size % 32) : 0;
    size_t count = (size_t)_mm_popcnt_u32(find_leads(top) & new_in_last);
    for (size_t i = 0; size - i >= 32; i += 32) {
        __m256i v = load(src + i);
        count += (size_t)_mm_popcnt_u32(find_leads(v));
        top = _mm256_max_epu8(top, v);
    }
    *largest = find_largest(top);
    return count;
}

/* The transcoders convert the code points that start in a window of 8 bytes; they read 16 bytes
   to include the end of each. For each window they store 8 units, of which only the first
   `count` are valid. The others stay within dst: at least 32 bytes of input remain at each step,
   and these need at least 8 units from the last window on, even if they begin inside a code
   point. The plain version converts the rest. */

/* Return the positions of the leads in 8 bytes, and store their number. */
AVX2 FRAMEWIRE_INLINE __m128i locate(uint32_t leads, unsigned *count) {
    uint64_t positions = framewire_lead_positions(leads & 0xFF, count);
    return _mm_loadl_epi64((const __m128i *)(const void *)&positions);
}

/* Return the positions of the leads in 12 bytes, or in the first 8 of them if these have more
   than 4 leads: there is room for 8 positions. Store their number, and the number of bytes. */
AVX2 FRAMEWIRE_INLINE __m128i locate12(uint32_t leads, unsigned *count, unsigned *taken) {
    uint64_t positions = framewire_lead_positions(leads & 0xFF, count);
    *taken = 8;
    if (*count <= 4) {
        unsigned more;
        positions &= ((uint64_t)1 << (8 * *count)) - 1;
        positions |= (framewire_lead_positions(leads >> 8 & 0xF, &more) + 0x08080808u) << (8 * *count);
        *count += more;
        *taken = 12;
    }
    return _mm_loadl_epi64((const __m128i *)(const void *)&positions);
}

/* Return the first code point boundary at or after src. */
FRAMEWIRE_INLINE const uint8_t *next_code_point(const uint8_t *src, const uint8_t *end) {
    while (src < end && framewire_utf8_continues(*src))
        src++;
    return src;
}

AVX2 static void framewire_utf8_to_latin1_avx2(uint8_t *dst, const uint8_t *src, size_t size) {
    const uint8_t *end = src + size;
    while (end - src >= 32) {
        __m256i v = load(src);
        if (is_ascii(v)) {
            store(dst, v);
            src += 32, dst += 32;
            continue;
        }
        unsigned count;
        __m128i bytes = _mm256_castsi256_si128(v), positions = locate(find_leads(v), &count);
        __m128i first = _mm_shuffle_epi8(bytes, positions);
        __m128i second = _mm_shuffle_epi8(bytes, _mm_add_epi8(positions, _mm_set1_epi8(1)));
        /* After C2 the second byte is the character; after C3, 0x40 is added. The blend keeps
           the first byte if its sign bit is clear, which is ASCII. */
        __m128i more = _mm_and_si128(_mm_slli_epi16(first, 6), _mm_set1_epi8(0x40));
        _mm_storel_epi64((__m128i *)(void *)dst, _mm_blendv_epi8(first, _mm_or_si128(second, more), first));
        src += 8, dst += count;
    }
    src = next_code_point(src, end);
    framewire_utf8_to_latin1_plain(dst, src, (size_t)(end - src));
}

/* Converts two windows at a time, one in each half of the vectors. */
AVX2 static void framewire_utf8_to_ucs2_avx2(uint16_t *dst, const uint8_t *src, size_t size) {
    const __m256i low6 = _mm256_set1_epi16(0x3F);
    const uint8_t *end = src + size;
    while (end - src >= 32) {
        __m256i v = load(src);
        if (is_ascii(v)) {
            store(dst, _mm256_cvtepu8_epi16(load_half(src)));
            store(dst + 16, _mm256_cvtepu8_epi16(load_half(src + 16)));
            src += 32, dst += 32;
            continue;
        }
        unsigned low_count, high_count, leads = find_leads(v);
        __m128i low_positions = locate(leads, &low_count), high_positions = locate(leads >> 8, &high_count);
        __m256i positions = _mm256_cvtepu8_epi16(_mm_unpacklo_epi64(low_positions, high_positions));
        __m256i bytes = _mm256_permute4x64_epi64(v, 0x94); /* bytes 0 to 15, 8 to 23 */
        __m256i first = _mm256_shuffle_epi8(bytes, _mm256_or_si256(positions, _mm256_set1_epi16((short)0x8000)));
        __m256i second = _mm256_shuffle_epi8(bytes, _mm256_add_epi16(positions, _mm256_set1_epi16((short)0x8001)));
        __m256i third = _mm256_shuffle_epi8(bytes, _mm256_add_epi16(positions, _mm256_set1_epi16((short)0x8002)));
        __m256i two = _mm256_or_si256(_mm256_and_si256(_mm256_slli_epi16(first, 6), _mm256_set1_epi16(0x7C0)),
                                      _mm256_and_si256(second, low6));
        __m256i three = _mm256_or_si256(_mm256_slli_epi16(two, 6), _mm256_and_si256(third, low6));
        __m256i units = _mm256_blendv_epi8(first, two, _mm256_cmpgt_epi16(first, _mm256_set1_epi16(0xBF)));
        units = _mm256_blendv_epi8(units, three, _mm256_cmpgt_epi16(first, _mm256_set1_epi16(0xDF)));
        store_half(dst, _mm256_castsi256_si128(units));
        store_half(dst + low_count, _mm256_extracti128_si256(units, 1));
        src += 16, dst += low_count + high_count;
    }
    src = next_code_point(src, end);
    framewire_utf8_to_ucs2_plain(dst, src, (size_t)(end - src));
}

/* Converts 12 bytes at a time, unless they have more than 8 code points. */
AVX2 static void framewire_utf8_to_ucs4_avx2(uint32_t *dst, const uint8_t *src, size_t size) {
    const __m256i spread = _mm256_setr_epi8(0, 0, 0, 0, 1, 1, 1, 1, 2, 2, 2, 2, 3, 3, 3, 3, 4, 4, 4, 4, 5, 5, 5, 5, 6,
                                            6, 6, 6, 7, 7, 7, 7);
    /* The bytes of a lane in reverse order: the lead byte moves to bits 24 to 31. */
    const __m256i fourth_to_first = _mm256_set1_epi32(0x00010203);
    const __m256i low6 = _mm256_set1_epi32(0x003F3F3F);
    /* By the high nibble of the lead byte: its payload bits, and by how many bits to shift right
       the value computed from four bytes. */
    const __m256i lead_bits = _mm256_broadcastsi128_si256(
        _mm_setr_epi8(0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0x7F, 0, 0, 0, 0, 0x1F, 0x1F, 0x0F, 0x07));
    const __m256i excess =
        _mm256_broadcastsi128_si256(_mm_setr_epi8(18, 18, 18, 18, 18, 18, 18, 18, 0, 0, 0, 0, 12, 12, 6, 0));
    const uint8_t *end = src + size;
    while (end - src >= 32) {
        __m256i v = load(src);
        if (is_ascii(v)) {
            for (int i = 0; i < 32; i += 8)
                store(dst + i, _mm256_cvtepu8_epi32(_mm_loadl_epi64((const __m128i *)(const void *)(src + i))));
            src += 32, dst += 32;
            continue;
        }
        unsigned count, taken;
        __m128i positions128 = locate12(find_leads(v), &count, &taken);
        __m256i positions = _mm256_shuffle_epi8(_mm256_broadcastq_epi64(positions128), spread);
        __m256i bytes = _mm256_permute4x64_epi64(v, 0x44); /* bytes 0 to 15 in both halves */
        __m256i lanes = _mm256_shuffle_epi8(bytes, _mm256_add_epi8(positions, fourth_to_first));
        __m256i nibble = _mm256_srli_epi32(lanes, 28);
        __m256i bits = _mm256_or_si256(low6, _mm256_slli_epi32(_mm256_shuffle_epi8(lead_bits, nibble), 24));
        __m256i pairs = _mm256_maddubs_epi16(_mm256_and_si256(lanes, bits), _mm256_set1_epi16(0x4001));
        __m256i all = _mm256_madd_epi16(pairs, _mm256_set1_epi32(0x10000001));
        __m256i shift = _mm256_and_si256(_mm256_shuffle_epi8(excess, nibble), _mm256_set1_epi32(0xFF));
        store(dst, _mm256_srlv_epi32(all, shift));
        src += taken, dst += count;
    }
    src = next_code_point(src, end);
    framewire_utf8_to_ucs4_plain(dst, src, (size_t)(end - src));
}

const framewire_kernels framewire_avx2 = {
    "avx2",
    framewire_mask_avx2,
    framewire_mask_or_avx2,
    framewire_or_all_avx2,
    framewire_utf8_prefix_avx2,
    framewire_utf8_count_avx2,
    framewire_utf8_to_latin1_avx2,
    framewire_utf8_to_ucs2_avx2,
    framewire_utf8_to_ucs4_avx2,
};

#endif
