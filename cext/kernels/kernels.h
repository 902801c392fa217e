/* The hot loops in plain C: one table of functions for each instruction set, chosen once.

   No Python.h here: these files are unit-tested, fuzzed and cross-compiled alone. All functions accept any
   alignment and size 0, and touch no byte outside the ranges that they are given. */
#ifndef FRAMEWIRE_KERNELS_H
#define FRAMEWIRE_KERNELS_H

#include <stddef.h>
#include <stdint.h>

typedef struct {
    /* "avx512", "avx2", "sse2", "neon", "plain": what FRAMEWIRE_SIMD takes and backend() reports. */
    const char *name;

    /* dst[i] = src[i] ^ byte i % 4 of key as it lies in memory (RFC 6455 5.3). dst is src, or they do not overlap. */
    void (*mask)(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key);

    /* The same; bit 7 of what it returns is clear if all bytes written are ASCII. The other bits mean nothing. */
    uint8_t (*mask_or)(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key);

    /* Bit 7 as above, for bytes that lie there already. */
    uint8_t (*or_all)(const uint8_t *src, size_t size);

    /* UTF-8 (RFC 3629) from a code point boundary: returns a boundary p such that src[0..p) is valid. Without an
       error p is at most 3 bytes before the end (an unfinished code point); with one, p is at or before it, and
       framewire_utf8_feed finds the byte. */
    size_t (*utf8_prefix)(const uint8_t *src, size_t size);

    /* Of valid UTF-8: the number of code points, and the largest byte (which tells the width of the widest). */
    size_t (*utf8_count)(const uint8_t *src, size_t size, uint8_t *largest);

    /* Valid UTF-8 to code points of one width. dst holds exactly as many units as utf8_count told. */
    void (*utf8_to_latin1)(uint8_t *dst, const uint8_t *src, size_t size);
    void (*utf8_to_ucs2)(uint16_t *dst, const uint8_t *src, size_t size);
    void (*utf8_to_ucs4)(uint32_t *dst, const uint8_t *src, size_t size);
} framewire_kernels;

/* The tables that this processor can run, best first; returns how many there are (at least 1, "plain" is last). */
size_t framewire_available(const framewire_kernels *const **tables);

/* Incremental UTF-8: what is allowed next. All zero on a code point boundary. */
typedef struct {
    uint8_t need;      /* continuation bytes still to come, 0 to 3 */
    uint8_t low, high; /* the range of the next one */
} framewire_utf8_state;

/* Reads on; returns size if every byte is possible so far, else the index of the first impossible byte. */
size_t framewire_utf8_feed(const framewire_kernels *kernels, framewire_utf8_state *state, const uint8_t *src,
                           size_t size);

/* RFC 6455 4.2.2: base64(SHA-1(key + GUID)), 28 characters, from a key of 24. Returns 0 unless the key is base64
   of 16 bytes (22 characters and "=="; the unused bits may be set, as in the RFC's own example). */
typedef int framewire_accept(char accept[28], const char key[24]);

/* The best version that this processor can run. */
framewire_accept *framewire_best_accept(void);

#endif
