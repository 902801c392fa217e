/* The portable reference, for any processor and byte order; it uses words of 8 bytes where that is
   simple. */
#include <string.h>

#include "tables.h"
#include "utf8.h"

#define HIGH_BITS 0x8080808080808080u

FRAMEWIRE_INLINE uint64_t load64(const uint8_t *src) {
    uint64_t word;
    memcpy(&word, src, 8);
    return word;
}

FRAMEWIRE_INLINE uint32_t load32(const uint8_t *src) {
    uint32_t word;
    memcpy(&word, src, 4);
    return word;
}

/* Return the bitwise OR of the bytes. */
FRAMEWIRE_INLINE uint8_t or_bytes(uint64_t word) {
    word |= word >> 32;
    word |= word >> 16;
    return (uint8_t)(word | word >> 8);
}

/* Mask 0 to 3 bytes: the first, the middle and the last byte are all of them. */
FRAMEWIRE_INLINE uint8_t mask_tiny(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    uint8_t bytes[4];
    if (size == 0)
        return 0;
    memcpy(bytes, &key, 4);
    uint8_t first = src[0] ^ bytes[0], middle = src[size / 2] ^ bytes[size / 2], last = src[size - 1] ^ bytes[size - 1];
    dst[0] = first;
    dst[size / 2] = middle;
    dst[size - 1] = last;
    return first | middle | last;
}

/* The last word overlaps the one before it. It is read before the loop writes, because dst may
   equal src. */
FRAMEWIRE_INLINE uint8_t mask_words(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    if (size < 4)
        return mask_tiny(dst, src, size, key);
    uint32_t end_key = framewire_rotate_key(key, size);
    if (size < 8) {
        uint32_t first = load32(src) ^ key, last = load32(src + size - 4) ^ end_key;
        memcpy(dst, &first, 4);
        memcpy(dst + size - 4, &last, 4);
        return or_bytes(first | last);
    }
    uint64_t last = load64(src + size - 8) ^ ((uint64_t)end_key << 32 | end_key), any = last;
    uint64_t wide_key = (uint64_t)key << 32 | key;
    for (size_t i = 0; i < size - 8; i += 8) {
        uint64_t word = load64(src + i) ^ wide_key;
        any |= word;
        memcpy(dst + i, &word, 8);
    }
    memcpy(dst + size - 8, &last, 8);
    return or_bytes(any);
}

void framewire_mask_plain(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    mask_words(dst, src, size, key);
}

uint8_t framewire_mask_or_plain(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key) {
    return mask_words(dst, src, size, key);
}

uint8_t framewire_or_all_plain(const uint8_t *src, size_t size) {
    uint64_t any = 0;
    size_t i = 0;
    for (; size - i >= 8; i += 8)
        any |= load64(src + i);
    for (; i < size; i++)
        any |= src[i];
    return or_bytes(any);
}

/* Return the size of the code point at src, or 0 if it is invalid or unfinished. */
FRAMEWIRE_INLINE size_t code_point_size(const uint8_t *src, size_t left) {
    int need = framewire_utf8_need(src[0]);
    if (need <= 0)
        return need == 0;
    if (left <= (size_t)need)
        return 0;
    if (src[1] < framewire_utf8_second_low(src[0]) || src[1] > framewire_utf8_second_high(src[0]))
        return 0;
    for (int i = 2; i <= need; i++)
        if (!framewire_utf8_continues(src[i]))
            return 0;
    return (size_t)need + 1;
}

FRAMEWIRE_INLINE int is_ascii(const uint8_t *src) {
    return ((load64(src) | load64(src + 8)) & HIGH_BITS) == 0;
}

size_t framewire_utf8_prefix_plain(const uint8_t *src, size_t size) {
    size_t i = 0;
    while (i < size) {
        while (size - i >= 16 && is_ascii(src + i))
            i += 16;
        while (i < size && src[i] < 0x80)
            i++;
        while (i < size && src[i] >= 0x80) {
            size_t step = code_point_size(src + i, size - i);
            if (step == 0)
                return i;
            i += step;
        }
    }
    return i;
}

size_t framewire_utf8_count_plain(const uint8_t *src, size_t size, uint8_t *largest) {
    size_t count = 0;
    uint8_t top = 0;
    for (size_t i = 0; i < size; i++) {
        count += !framewire_utf8_continues(src[i]);
        top = src[i] > top ? src[i] : top;
    }
    *largest = top;
    return count;
}

/* Return the code point at src, which must be valid, and advance src by its size. */
FRAMEWIRE_INLINE uint32_t read_code_point(const uint8_t **src) {
    const uint8_t *s = *src;
    if (s[0] < 0x80) {
        *src += 1;
        return s[0];
    }
    if (s[0] < 0xE0) {
        *src += 2;
        return (s[0] & 0x1Fu) << 6 | (s[1] & 0x3Fu);
    }
    if (s[0] < 0xF0) {
        *src += 3;
        return (s[0] & 0x0Fu) << 12 | (s[1] & 0x3Fu) << 6 | (s[2] & 0x3Fu);
    }
    *src += 4;
    return (s[0] & 0x07u) << 18 | (s[1] & 0x3Fu) << 12 | (s[2] & 0x3Fu) << 6 | (s[3] & 0x3Fu);
}

#define TRANSCODE(function, unit)                                          \
    void function(unit *dst, const uint8_t *src, size_t size) {            \
        const uint8_t *end = src + size;                                   \
        while (src < end) {                                                \
            for (; end - src >= 16 && is_ascii(src); dst += 16, src += 16) \
                for (int i = 0; i < 16; i++)                               \
                    dst[i] = src[i];                                       \
            while (src < end && *src < 0x80)                               \
                *dst++ = *src++;                                           \
            while (src < end && *src >= 0x80)                              \
                *dst++ = (unit)read_code_point(&src);                      \
        }                                                                  \
    }

TRANSCODE(framewire_utf8_to_latin1_plain, uint8_t)
TRANSCODE(framewire_utf8_to_ucs2_plain, uint16_t)
TRANSCODE(framewire_utf8_to_ucs4_plain, uint32_t)

const framewire_kernels framewire_plain = {
    "plain",
    framewire_mask_plain,
    framewire_mask_or_plain,
    framewire_or_all_plain,
    framewire_utf8_prefix_plain,
    framewire_utf8_count_plain,
    framewire_utf8_to_latin1_plain,
    framewire_utf8_to_ucs2_plain,
    framewire_utf8_to_ucs4_plain,
};
