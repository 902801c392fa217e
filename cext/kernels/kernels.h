/* The inner loops in plain C: one table of functions for each instruction set, selected once.

   These files do not use Python.h, so that they can be tested, fuzzed and cross-compiled alone. No
   function allocates memory, keeps a pointer after it returns, or needs the GIL. All accept any
   alignment and size 0, and access no byte outside the ranges that they are given. A pointer may be
   NULL only if its size is 0. */
#ifndef FRAMEWIRE_KERNELS_H
#define FRAMEWIRE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    /* "avx512", "avx2", "sse2", "neon" or "plain", as in FRAMEWIRE_SIMD and backend(). */
    const char *name;

    /* Mask (RFC 6455 5.3): dst[i] = src[i] ^ byte i % 4 of key in memory order. dst may equal src;
       otherwise the two must not overlap. */
    void (*mask)(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key);

    /* Like mask. Bit 7 of the result is 0 if all bytes written are ASCII, else 1; the other bits
       are undefined. */
    uint8_t (*mask_or)(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key);

    /* Return the same bit 7 for existing bytes. */
    uint8_t (*or_all)(const uint8_t *src, size_t size);

    /* Validate UTF-8 (RFC 3629) that starts at a code point boundary. Return a boundary p such that
       src[0..p) is valid. If the text is valid, p is at most 3 bytes before its end, where an
       unfinished code point may begin. If not, p is at or before the invalid byte, which
       framewire_utf8_feed finds. */
    size_t (*utf8_prefix)(const uint8_t *src, size_t size);

    /* Return the number of code points in valid UTF-8 and store its largest byte, which
       determines the width of the widest code point. */
    size_t (*utf8_count)(const uint8_t *src, size_t size, uint8_t *largest);

    /* Convert valid UTF-8 to code units of one width. dst has room for exactly as many units as
       utf8_count returned. */
    void (*utf8_to_latin1)(uint8_t *dst, const uint8_t *src, size_t size);
    void (*utf8_to_ucs2)(uint16_t *dst, const uint8_t *src, size_t size);
    void (*utf8_to_ucs4)(uint32_t *dst, const uint8_t *src, size_t size);
} framewire_kernels;

/* Store a pointer to the tables that this processor supports, best first; they are static.
   Return their number, which is at least 1: "plain" is last. */
size_t framewire_available(const framewire_kernels *const **tables);

/* State of an incremental UTF-8 validator: the bytes allowed next. All fields are 0 at a code point
   boundary. */
typedef struct {
    uint8_t need;      /* number of missing continuation bytes, 0 to 3 */
    uint8_t low, high; /* the range of the next one */
} framewire_utf8_state;

/* Validate the next chunk. Return size if it is valid so far, else the index of the first
   invalid byte; the state is then as before that byte. */
size_t framewire_utf8_feed(const framewire_kernels *kernels, framewire_utf8_state *state, const uint8_t *src,
                           size_t size);

/* Compute Sec-WebSocket-Accept, base64(SHA-1(key + GUID)) (RFC 6455 4.2.2), without a terminating
   zero. Return 1, or 0 if the key is not the base64 of 16 bytes: 22 characters and "==". The unused
   bits of the last character may be set, as in the example of the RFC. */
typedef int framewire_accept(char accept[28], const char key[24]);

/* Return the best version that this processor supports. */
framewire_accept *framewire_best_accept(void);

#endif
