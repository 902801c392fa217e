/* The syntax of UTF-8 (RFC 3629 4). */
#ifndef FRAMEWIRE_UTF8_H
#define FRAMEWIRE_UTF8_H

#include <stddef.h>
#include <stdint.h>

#include "target.h"

/* Whether the byte is a continuation byte. */
FRAMEWIRE_INLINE int framewire_utf8_continues(uint8_t byte) {
    return (byte & 0xC0) == 0x80;
}

/* Return the number of continuation bytes after this first byte, 0 to 3, or -1 if no code point
   begins with it. */
FRAMEWIRE_INLINE int framewire_utf8_need(uint8_t lead) {
    if (lead < 0x80)
        return 0;
    if (lead < 0xC2 || lead > 0xF4)
        return -1;
    return 1 + (lead >= 0xE0) + (lead >= 0xF0);
}

/* The range of the second byte excludes overlong forms (E0, F0), surrogates (ED) and code points
   above U+10FFFF (F4). */
FRAMEWIRE_INLINE uint8_t framewire_utf8_second_low(uint8_t lead) {
    return lead == 0xE0 ? 0xA0 : lead == 0xF0 ? 0x90 : 0x80;
}

FRAMEWIRE_INLINE uint8_t framewire_utf8_second_high(uint8_t lead) {
    return lead == 0xED ? 0x9F : lead == 0xF4 ? 0x8F : 0xBF;
}

/* Return the size without an unfinished code point at the end: 0 to 3 bytes less. Only the lead
   byte is checked. */
FRAMEWIRE_INLINE size_t framewire_utf8_trim(const uint8_t *src, size_t size) {
    if (size >= 1 && src[size - 1] >= 0xC0)
        return size - 1;
    if (size >= 2 && src[size - 2] >= 0xE0)
        return size - 2;
    if (size >= 3 && src[size - 3] >= 0xF0)
        return size - 3;
    return size;
}

#endif
