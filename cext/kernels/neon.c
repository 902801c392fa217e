/* NEON, part of every AArch64: 16 bytes at a time. */
#include "lookup.h"
#include "tables.h"
#include "utf8.h"

#ifdef FRAMEWIRE_ARM64

#include <arm_neon.h>

FRAMEWIRE_INLINE uint8x16_t key_vector(uint32_t key) {
    return vreinterpretq_u8_u32(vdupq_n_u32(key));
}

/* Return the bitwise OR of the bytes. */
FRAMEWIRE_INLINE uint8_t or_bytes(uint8x16_t v) {
    uint64x2_t halves = vreinterpretq_u64_u8(v);
    uint64_t word = vgetq_lane_u64(halves, 0) | vgetq_lane_u64(halves, 1);
    word |= word >> 32;
    word |= word >> 16;
    return (uint8_t)(word | word >> 8);
}

/* For at least 16 bytes. The last vector overlaps the one before it. It is read before the loop
   writes, because dst may equal src. */
FRAMEWIRE_INLINE uint8_t mask_vectors(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    const uint8x16_t keys = key_vector(key);
    const uint8x16_t last = veorq_u8(vld1q_u8(src + size - 16), key_vector(framewire_rotate_key(key, size)));
    uint8x16_t any = last;
    size_t i = 0;
    for (; i + 32 < size; i += 32) {
        uint8x16_t a = veorq_u8(vld1q_u8(src + i), keys), b = veorq_u8(vld1q_u8(src + i + 16), keys);
        vst1q_u8(dst + i, a);
        vst1q_u8(dst + i + 16, b);
        any = vorrq_u8(any, vorrq_u8(a, b));
    }
    if (i + 16 < size) {
        uint8x16_t a = veorq_u8(vld1q_u8(src + i), keys);
        vst1q_u8(dst + i, a);
        any = vorrq_u8(any, a);
    }
    vst1q_u8(dst + size - 16, last);
    return or_bytes(any);
}

static void framewire_mask_neon(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    if (size < 16)
        framewire_mask_plain(dst, src, size, key);
    else
        mask_vectors(dst, src, size, key);
}

static uint8_t framewire_mask_or_neon(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    return size < 16 ? framewire_mask_or_plain(dst, src, size, key) : mask_vectors(dst, src, size, key);
}

static uint8_t framewire_or_all_neon(const uint8_t *src, size_t size) {
    if (size < 16)
        return framewire_or_all_plain(src, size);
    uint8x16_t any = vld1q_u8(src + size - 16);
    for (size_t i = 0; i + 16 < size; i += 16)
        any = vorrq_u8(any, vld1q_u8(src + i));
    return or_bytes(any);
}

/* ---- UTF-8 ---- */

/* Whether some byte of v is invalid after the three bytes before it; `last` is the vector before
   v. */
FRAMEWIRE_INLINE int has_error(uint8x16_t v, uint8x16_t last) {
    uint8x16_t before1 = vextq_u8(last, v, 15), before2 = vextq_u8(last, v, 14), before3 = vextq_u8(last, v, 13);
    uint8x16_t wrong = vqtbl1q_u8(vld1q_u8(framewire_first_high), vshrq_n_u8(before1, 4));
    wrong = vandq_u8(wrong, vqtbl1q_u8(vld1q_u8(framewire_first_low), vandq_u8(before1, vdupq_n_u8(0x0F))));
    wrong = vandq_u8(wrong, vqtbl1q_u8(vld1q_u8(framewire_second_high), vshrq_n_u8(v, 4)));
    /* The byte must be a third byte two after E0 or above, a fourth byte three after F0 or
       above. */
    uint8x16_t expected = vorrq_u8(vcgeq_u8(before2, vdupq_n_u8(0xE0)), vcgeq_u8(before3, vdupq_n_u8(0xF0)));
    return vmaxvq_u8(veorq_u8(wrong, vandq_u8(expected, vdupq_n_u8(TWICE)))) != 0;
}

FRAMEWIRE_INLINE int is_ascii(uint8x16_t v) {
    return vmaxvq_u8(v) < 0x80;
}

static size_t framewire_utf8_prefix_neon(const uint8_t *src, size_t size) {
    uint8x16_t last = vdupq_n_u8(0);
    size_t i = 0;
    for (; size - i >= 16; i += 16) {
        uint8x16_t v = vld1q_u8(src + i);
        if (is_ascii(vorrq_u8(v, last))) {
            while (size - i >= 80 && is_ascii(vorrq_u8(vorrq_u8(vld1q_u8(src + i + 16), vld1q_u8(src + i + 32)),
                                                       vorrq_u8(vld1q_u8(src + i + 48), vld1q_u8(src + i + 64)))))
                i += 64;
            continue; /* `last` is ASCII, like the vector just read: no need to update it */
        }
        if (has_error(v, last))
            break;
        last = v;
    }
    i = framewire_utf8_trim(src, i);
    return i + framewire_utf8_prefix_plain(src + i, size - i);
}

static size_t framewire_utf8_count_neon(const uint8_t *src, size_t size, uint8_t *largest) {
    uint8x16_t top = vdupq_n_u8(0);
    size_t count = 0, i = 0;
    while (size - i >= 16) {
        uint8x16_t counts = vdupq_n_u8(0);
        /* A lane can count to 255. */
        for (int vectors = 0; vectors < 255 && size - i >= 16; vectors++, i += 16) {
            uint8x16_t v = vld1q_u8(src + i);
            counts = vsubq_u8(counts, vcgtq_s8(vreinterpretq_s8_u8(v), vdupq_n_s8((int8_t)0xBF)));
            top = vmaxq_u8(top, v);
        }
        count += vaddlvq_u8(counts);
    }
    uint8_t rest;
    count += framewire_utf8_count_plain(src + i, size - i, &rest);
    *largest = vmaxvq_u8(top) > rest ? vmaxvq_u8(top) : rest;
    return count;
}

const framewire_kernels framewire_neon = {
    "neon",
    framewire_mask_neon,
    framewire_mask_or_neon,
    framewire_or_all_neon,
    framewire_utf8_prefix_neon,
    framewire_utf8_count_neon,
    framewire_utf8_to_latin1_plain,
    framewire_utf8_to_ucs2_plain,
    framewire_utf8_to_ucs4_plain,
};

#endif
