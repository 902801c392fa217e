/* Tests of the kernels of every instruction set that this processor supports, against references that
   process one byte at a time.

   The buffers lie between inaccessible pages, so that an access outside of them ends the program.
   Usage: test_kernels [GROUP...]; without arguments, all groups. "tables" lists the instruction sets. */
#include <stdarg.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/mman.h>
#include <unistd.h>

#include "accept.h"
#include "cpu.h"
#include "header.h"
#include "kernels.h"
#include "sha1.h"

#define LONGEST 1100
#define LENGTH(array) (sizeof(array) / sizeof *(array))

static void fail(const char *format, ...) {
    va_list arguments;
    va_start(arguments, format);
    vfprintf(stderr, format, arguments);
    va_end(arguments);
    fputc('\n', stderr);
    exit(1);
}

static uint32_t random32(void) {
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

/* ---- memory ---- */

typedef struct {
    uint8_t *start, *end;
} arena;

static arena guarded(size_t size) {
    size_t page = (size_t)sysconf(_SC_PAGESIZE), inner = (size + page - 1) / page * page;
    uint8_t *all = mmap(NULL, inner + 2 * page, PROT_READ | PROT_WRITE, MAP_PRIVATE | MAP_ANONYMOUS, -1, 0);
    if (all == MAP_FAILED || mprotect(all, page, PROT_NONE) || mprotect(all + page + inner, page, PROT_NONE))
        fail("no guarded pages");
    return (arena){all + page, all + page + inner};
}

static arena from, to;

/* Return place number i: every alignment up to 63, then directly before the guard page at the end,
   then directly after the one at the start. */
#define PLACES 66
static uint8_t *place(arena memory, size_t i, size_t size) {
    return i < 64 ? memory.end - 64 * ((size + 127) / 64) + i : i == 64 ? memory.end - size : memory.start;
}

static const framewire_kernels *const *tables;
static size_t table_count;
#define FOR_EACH_TABLE(t) for (const framewire_kernels *const *t = tables; t < tables + table_count; t++)

/* ---- masking ---- */

static void check_mask(const framewire_kernels *t, size_t size, size_t i, const uint8_t *plain, const uint8_t *masked,
                       uint32_t key, uint8_t any) {
    uint8_t *src = place(from, i, size), *dst = place(to, i < 64 ? i * 5 % 64 : i, size);
    memcpy(src, plain, size);

    uint8_t *before = dst - to.start < 64 ? to.start : dst - 64;
    uint8_t *after = (size_t)(to.end - dst) < size + 64 ? to.end : dst + size + 64;
    memset(before, 0xAA, (size_t)(after - before));
    t->mask(dst, src, size, key);
    if (memcmp(dst, masked, size))
        fail("%s mask: size %zu place %zu", t->name, size, i);
    for (uint8_t *p = before; p < after; p++)
        if ((p < dst || p >= dst + size) && *p != 0xAA)
            fail("%s mask: size %zu place %zu wrote outside", t->name, size, i);

    memset(dst, 0xAA, size);
    if ((t->mask_or(dst, src, size, key) ^ any) & 0x80 || memcmp(dst, masked, size))
        fail("%s mask_or: size %zu place %zu", t->name, size, i);
    if ((t->or_all(dst, size) ^ any) & 0x80)
        fail("%s or_all: size %zu place %zu", t->name, size, i);

    t->mask(src, src, size, key);
    if (memcmp(src, masked, size))
        fail("%s mask in place: size %zu place %zu", t->name, size, i);
    memcpy(src, plain, size);
    if ((t->mask_or(src, src, size, key) ^ any) & 0x80 || memcmp(src, masked, size))
        fail("%s mask_or in place: size %zu place %zu", t->name, size, i);
}

static void test_mask(void) {
    static uint8_t plain[LONGEST], masked[LONGEST];
    for (size_t size = 0; size <= LONGEST; size++) {
        uint32_t key = random32();
        uint8_t any = 0, key_bytes[4];
        memcpy(key_bytes, &key, 4);
        for (size_t i = 0; i < size; i++) {
            plain[i] = (uint8_t)random32();
            masked[i] = plain[i] ^ key_bytes[i % 4];
            any |= masked[i];
        }
        FOR_EACH_TABLE(t) for (size_t i = 0; i < PLACES; i++)
            check_mask(*t, size, i, plain, masked, key, any);
    }
}

static int is_seen(const framewire_kernels *t, uint8_t *dst, const uint8_t *src, size_t size) {
    uint8_t any = t->or_all(src, size) & 0x80;
    if ((t->mask_or(dst, src, size, 0) & 0x80) != any)
        fail("%s mask_or and or_all differ: size %zu", t->name, size);
    return any != 0;
}

/* One byte, at every index, sets only bit 7; all other bytes set all other bits. */
static void test_or(void) {
    for (size_t size = 1; size <= LONGEST; size += 1 + size / 100) {
        uint8_t *src = place(from, 64, size), *dst = place(to, 64, size);
        memset(src, 0x7F, size);
        FOR_EACH_TABLE(t) if (is_seen(*t, dst, src, size))
            fail("%s OR: size %zu", (*t)->name, size);
        for (size_t i = 0; i < size; i++) {
            src[i] = 0x80;
            FOR_EACH_TABLE(t) if (!is_seen(*t, dst, src, size))
                fail("%s OR: size %zu index %zu", (*t)->name, size, i);
            src[i] = 0x7F;
        }
    }
}

/* ---- frame headers (RFC 6455 5.2) ---- */

/* Write a header whose length takes `octets` bytes besides the second byte: 0, 2 or 8. Return its size. */
static size_t reference_header(uint8_t *dst, uint8_t first, uint64_t length, size_t octets, const uint8_t *key) {
    size_t size = 0;
    dst[size++] = first;
    dst[size++] = (uint8_t)((key ? 128 : 0) + (octets == 0 ? length : octets == 2 ? 126 : 127));
    for (size_t i = octets; i-- > 0;)
        dst[size++] = (uint8_t)(length / ((uint64_t)1 << 8 * i));
    for (int i = 0; key && i < 4; i++)
        dst[size++] = key[i];
    return size;
}

/* Check what is read of the first `available` bytes of a frame. */
static void check_header(const uint8_t *frame, size_t size, size_t available, uint64_t length, size_t octets,
                         const uint8_t *key) {
    int minimal = octets == 0 || (octets == 2 ? length >= 126 : length >= 65536 && length < (uint64_t)1 << 63);
    const uint64_t limits[] = {0, 1, 125, 126, 65535, 65536, length - 1, length, UINT64_MAX};
    uint8_t *src = place(from, 64, available);
    memcpy(src, frame, available);
    framewire_header header;
    int read = framewire_read_header(&header, src, available);
    if (read != (available >= 2 + octets))
        fail("header: %zu of %zu bytes: %d", available, size, read);
    uint32_t key_word = 0;
    if (key && available >= size)
        memcpy(&key_word, key, 4);
    if (read && (header.first != frame[0] || header.masked != (key != NULL) || header.length != length ||
                 header.size != size || header.minimal != minimal || header.key != key_word))
        fail("header: %zu of %zu bytes, length %llx", available, size, (unsigned long long)length);
    for (int masked = 0; masked < 2; masked++)
        for (size_t i = 0; i < LENGTH(limits); i++) {
            int expected = FRAMEWIRE_FRAME_REFUSED;
            if (available >= size && masked == (key != NULL) && minimal && length <= limits[i])
                expected = length <= available - size ? FRAMEWIRE_FRAME_WHOLE : FRAMEWIRE_FRAME_PARTIAL;
            memset(&header, 0xAA, sizeof header);
            if (framewire_check_frame(&header, src, available, masked, limits[i]) != expected)
                fail("frame: %zu of %zu bytes, limit %llx", available, size, (unsigned long long)limits[i]);
            if (expected && (header.first != frame[0] || header.masked != masked || header.length != length ||
                             header.size != size || !header.minimal || header.key != key_word))
                fail("frame: %zu of %zu bytes, length %llx", available, size, (unsigned long long)length);
        }
}

static void check_length(uint64_t length, size_t octets, const uint8_t *key) {
    uint8_t frame[40] = {0}, *dst = place(to, 64, FRAMEWIRE_MAX_HEADER);
    uint8_t first = (uint8_t)random32();
    size_t size = reference_header(frame, first, length, octets, key);
    for (size_t available = 0; available <= size + 20; available++)
        check_header(frame, size, available, length, octets, key);
    memset(dst, 0xAA, FRAMEWIRE_MAX_HEADER);
    if (octets == (length < 126 ? 0u : length < 65536 ? 2u : 8u)) {
        if (framewire_write_header(dst, first, length, key) != size || memcmp(dst, frame, size))
            fail("header: written for length %llx", (unsigned long long)length);
        for (size_t i = size; i < FRAMEWIRE_MAX_HEADER; i++)
            if (dst[i] != 0xAA)
                fail("header: written beyond its size for length %llx", (unsigned long long)length);
    }
}

static void test_header(void) {
    static const uint64_t edges[] = {0, 1, 19, 20, 21, 125, 126, 127, 128, 255, 256, 257, 4660, 32768, 65535};
    const uint8_t key[] = {0x81, 0x42, 0x23, 0x14};
    for (int masked = 0; masked < 2; masked++) {
        const uint8_t *used = masked ? key : NULL;
        for (size_t i = 0; i < LENGTH(edges); i++)
            for (size_t octets = edges[i] < 126 ? 0 : 2; octets <= 8; octets = octets ? 4 * octets : 2)
                check_length(edges[i], octets, used);
        for (int bit = 16; bit < 64; bit++)
            for (int change = -1; change < 2; change++)
                check_length(((uint64_t)1 << bit) + (uint64_t)change, bit == 16 && change < 0 ? 2 : 8, used);
        check_length(0x0123456789ABCDEF, 8, used);
        check_length(UINT64_MAX, 8, used);
    }
    uint32_t word, turned;
    memcpy(&word, key, 4);
    for (size_t count = 0; count < 20; count++) {
        turned = framewire_advance_key(word, count);
        for (size_t i = 0; i < 4; i++)
            if (((uint8_t *)&turned)[i] != key[(count + i) % 4])
                fail("header: key after %zu bytes", count);
    }
    for (int first = 0; first < 256; first++)
        if (framewire_is_message((uint8_t)first) != (first == 0x81 || first == 0x82))
            fail("header: first byte %x", (unsigned)first);
}

/* ---- UTF-8 ---- */

/* Whether a valid code point of 1 + length bytes lies in low..high (RFC 3629). */
static int any_scalar(uint32_t low, uint32_t high, int length) {
    static const uint32_t least[] = {0, 0x80, 0x800, 0x10000};
    if (low < least[length])
        low = least[length];
    if (high > 0x10FFFF)
        high = 0x10FFFF;
    return low <= high && !(low >= 0xD800 && high <= 0xDFFF);
}

/* Return the index of the first invalid byte, or size; *boundary is the last code point boundary up to it. */
static size_t first_error(const uint8_t *src, size_t size, size_t *boundary) {
    size_t i = 0;
    while (i < size) {
        *boundary = i;
        uint32_t value = src[i];
        int length = value < 0x80 ? 0 : value < 0xC0 ? -1 : value < 0xE0 ? 1 : value < 0xF0 ? 2 : value < 0xF8 ? 3 : -1;
        if (length < 0)
            return i;
        if (length)
            value &= 0x3Fu >> length;
        for (int left = length;; left--) {
            uint32_t low = value << 6 * left;
            if (!any_scalar(low, low + (1u << 6 * left) - 1, length))
                return i;
            i++;
            if (left == 0)
                break;
            if (i == size)
                return size;
            if ((src[i] & 0xC0) != 0x80)
                return i;
            value = value << 6 | (src[i] & 0x3F);
        }
    }
    *boundary = size;
    return size;
}

static size_t encode(uint8_t *dst, uint32_t c) {
    size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
    static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
    for (size_t i = length; i-- > 1; c >>= 6)
        dst[i] = (uint8_t)(0x80 | (c & 0x3F));
    dst[0] = (uint8_t)(lead[length] | c);
    return length;
}

/* Kinds of text: scripts with a realistic share of ASCII, MIXED of all, and from DENSE_LATIN on without ASCII. */
enum { ASCII, LATIN, CYRILLIC, CJK, EMOJI, MIXED, DENSE_LATIN, TWO_BYTES, THREE_BYTES, FOUR_BYTES, KINDS };

static uint32_t random_scalar(int kind) {
    uint32_t r = random32();
    switch (kind) {
    case ASCII:
        return r % 0x80;
    case LATIN:
        return r % 8 ? 0x20 + (r >> 8) % 0x60 : 0x80 + (r >> 8) % 0x80;
    case CYRILLIC:
        return r % 7 ? 0x400 + (r >> 8) % 0x100 : ' ';
    case CJK:
        return r % 16 ? 0x4E00 + (r >> 8) % 0x5000 : 0x3000 + (r >> 8) % 0x40;
    case EMOJI:
        return r % 9 ? 0x1F300 + (r >> 8) % 0x300 : '!';
    case DENSE_LATIN:
        return 0x80 + (r >> 8) % 0x80;
    case TWO_BYTES:
        return 0x80 + (r >> 8) % 0x780;
    case THREE_BYTES:
        return 0x800 + (r >> 8) % 0xD000;
    case FOUR_BYTES:
        return 0x10000 + (r >> 8) % 0x100000;
    default: {
        static const uint32_t below[] = {0x80, 0x800, 0xD800, 0x110000};
        uint32_t c = (r >> 8) % below[r % 4];
        return c >= 0xD800 && c < 0xE000 ? c + 0x2000 : c;
    }
    }
}

/* Write valid UTF-8 of exactly this size, shifted by up to 3 ASCII bytes relative to the vectors. */
static void fill_text(uint8_t *dst, size_t size, int kind) {
    uint8_t one[4];
    size_t i = 0;
    for (size_t moved = random32() % 4; i < size && i < moved; i++)
        dst[i] = 'x';
    while (i < size) {
        size_t length = encode(one, random_scalar(kind));
        if (length > size - i) {
            dst[i++] = 'x';
        } else {
            memcpy(dst + i, one, length);
            i += length;
        }
    }
}

/* Whether the state is all zero exactly at code point boundaries. */
static int fits(framewire_utf8_state state, int at_boundary) {
    return at_boundary ? !state.need && !state.low && !state.high : state.need && state.low && state.high;
}

static void check_utf8(const uint8_t *src, size_t size, const char *what, size_t where) {
    size_t boundary = 0, error = first_error(src, size, &boundary), ignored = 0;
    FOR_EACH_TABLE(t) {
        size_t p = (*t)->utf8_prefix(src, size);
        if (p > boundary || (error == size && size - p > 3) || (first_error(src, p, &ignored) != p || ignored != p))
            fail("%s utf8_prefix: %s %zu: %zu of %zu, error at %zu", (*t)->name, what, where, p, size, error);
        framewire_utf8_state state = {0, 0, 0};
        size_t fed = framewire_utf8_feed(*t, &state, src, size);
        if (fed != error || (error == size && !fits(state, boundary == size)))
            fail("%s utf8_feed: %s %zu: %zu of %zu, error at %zu", (*t)->name, what, where, fed, size, error);
    }
}

static void test_utf8_lengths(void) {
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t size = 0; size <= LONGEST; size++) {
            uint8_t *src = place(from, 64, size);
            fill_text(src, size, kind);
            check_utf8(src, size, "valid, size", size);
            uint8_t *head = place(from, 65, size);
            memmove(head, src, size);
            check_utf8(head, size, "valid at the front, size", size);
        }
}

/* Long texts use the unrolled loops; cut anywhere, they end inside a code point. */
static void test_utf8_cut(void) {
    for (int kind = 0; kind < KINDS; kind++) {
        uint8_t *src = place(from, 64, 300);
        fill_text(src, 300, kind);
        for (size_t size = 0; size <= 300; size++) {
            uint8_t *cut = place(from, 65, size);
            memcpy(cut, src, size);
            check_utf8(cut, size, "cut at", size);
        }
    }
}

static void test_utf8_bad_byte(void) {
    static const uint8_t bad[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC1, 0xC2, 0xDF, 0xE0,
                                  0xED, 0xEF, 0xF0, 0xF4, 0xF5, 0xF8, 0xFC, 0xFE, 0xFF};
    static const size_t sizes[] = {257, 300, 520};
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t s = 0; s < LENGTH(sizes); s++) {
            uint8_t *src = place(from, 64, sizes[s]);
            fill_text(src, sizes[s], kind);
            for (size_t i = 0; i <= 256; i++) {
                uint8_t good = src[i];
                for (size_t b = 0; b < LENGTH(bad); b++) {
                    src[i] = bad[b];
                    check_utf8(src, sizes[s], "bad byte at", i);
                }
                src[i] = good;
            }
        }
}

/* Short texts and the rests of long ones are read as vectors that overlap: no byte may lie between. */
static void test_utf8_bad_byte_in_ascii(void) {
    for (size_t size = 1; size <= 330; size++) {
        uint8_t *src = place(from, 64, size);
        memset(src, 'a', size);
        for (size_t i = 0; i < size; i++) {
            src[i] = 0x80;
            check_utf8(src, size, "bad byte in ASCII at", i);
            src[i] = 'a';
        }
    }
}

/* All pairs of bytes; all lead bytes with all second bytes, followed by both ends of each range. */
static void test_utf8_sequences(void) {
    static const uint8_t ends[] = {0x00, 0x7F, 0x80, 0x8F, 0x90, 0x9F, 0xA0, 0xBF, 0xC0, 0xC2, 0xE0, 0xF0, 0xFF};
    static const size_t offsets[] = {0, 13, 15, 30, 61, 62, 63};
    uint8_t *src = place(from, 64, 80);
    memset(src, 'a', 80);
    for (size_t o = 0; o < LENGTH(offsets); o++) {
        uint8_t *s = src + offsets[o];
        for (unsigned pair = 0; pair < 0x10000; pair++) {
            s[0] = (uint8_t)(pair >> 8), s[1] = (uint8_t)pair;
            check_utf8(src, 80, "pair", pair);
        }
        memset(s, 'a', 4);
    }
    for (unsigned pair = 0xE000; pair < 0x10000; pair++)
        for (size_t third = 0; third < LENGTH(ends); third++)
            for (size_t fourth = 0; fourth < LENGTH(ends); fourth++) {
                uint8_t *s = src + 64 - pair % 4;
                s[0] = (uint8_t)(pair >> 8), s[1] = (uint8_t)pair, s[2] = ends[third], s[3] = ends[fourth];
                check_utf8(src, 80, "sequence", pair);
                memset(s, 'a', 4);
            }
}

static void test_utf8_mutation(void) {
    for (int round = 0; round < 60000; round++) {
        size_t size = 1 + random32() % 400;
        uint8_t *src = place(from, 64, size);
        fill_text(src, size, (int)(random32() % KINDS));
        for (unsigned changes = random32() % 3 + 1; changes--;) {
            size_t i = random32() % size;
            switch (random32() % 3) {
            case 0:
                src[i] = (uint8_t)random32();
                break;
            case 1:
                src[i] ^= (uint8_t)(1u << random32() % 8);
                break;
            default:
                memmove(src + i, src + i + 1, size - i - 1);
            }
        }
        check_utf8(src, size, "mutation", (size_t)round);
    }
}

static void test_utf8_chunks(void) {
    for (int round = 0; round < 100; round++) {
        size_t size = 1 + random32() % 280, boundary = 0;
        uint8_t *src = place(from, 64, size);
        fill_text(src, size, round % KINDS);
        if (round / KINDS % 2)
            src[random32() % size] = (uint8_t)random32();
        size_t error = first_error(src, size, &boundary);
        FOR_EACH_TABLE(t) for (size_t cut = 0; cut <= size; cut++) {
            framewire_utf8_state state = {0, 0, 0};
            size_t fed = framewire_utf8_feed(*t, &state, src, cut);
            if (fed == cut)
                fed += framewire_utf8_feed(*t, &state, src + cut, size - cut);
            if (fed != error || (error == size && !fits(state, boundary == size)))
                fail("%s utf8_feed: cut at %zu: %zu of %zu, error at %zu", (*t)->name, cut, fed, size, error);
        }
        FOR_EACH_TABLE(t) {
            framewire_utf8_state state = {0, 0, 0};
            size_t fed = 0;
            while (fed < size && framewire_utf8_feed(*t, &state, src + fed, 1))
                fed++;
            if (fed != error || (error == size && !fits(state, boundary == size)))
                fail("%s utf8_feed: byte by byte: %zu of %zu, error at %zu", (*t)->name, fed, size, error);
        }
    }
}

/* ---- transcoding ---- */

static size_t decode(uint32_t *dst, const uint8_t *src, size_t size) {
    size_t count = 0;
    for (size_t i = 0; i < size; i++) {
        if (src[i] < 0x80)
            dst[count++] = src[i];
        else if (src[i] >= 0xC0)
            dst[count++] = src[i] & (src[i] < 0xE0 ? 0x1F : src[i] < 0xF0 ? 0x0F : 0x07);
        else
            dst[count - 1] = dst[count - 1] << 6 | (src[i] & 0x3F);
    }
    return count;
}

static void check_units(const framewire_kernels *t, const char *what, const uint32_t *expected, size_t count,
                        size_t width, size_t size) {
    const uint8_t *dst = to.end - count * width;
    for (size_t i = 0; i < count; i++, dst += width) {
        uint16_t two;
        uint32_t unit = *dst;
        if (width == 2)
            memcpy(&two, dst, 2), unit = two;
        if (width == 4)
            memcpy(&unit, dst, 4);
        if (unit != expected[i])
            fail("%s %s: size %zu unit %zu: %x, not %x", t->name, what, size, i, unit, expected[i]);
    }
    for (dst = to.start; dst < to.end - count * width; dst++)
        if (*dst != 0xAA)
            fail("%s %s: size %zu wrote before dst", t->name, what, size);
}

static void check_transcode(const uint8_t *src, size_t size) {
    static uint32_t expected[4096];
    size_t count = decode(expected, src, size);
    uint32_t widest = 0;
    uint8_t largest = 0;
    for (size_t i = 0; i < count; i++)
        widest = expected[i] > widest ? expected[i] : widest;
    for (size_t i = 0; i < size; i++)
        largest = src[i] > largest ? src[i] : largest;
    FOR_EACH_TABLE(t) {
        uint8_t top = 1;
        size_t counted = (*t)->utf8_count(src, size, &top);
        if (counted != count || top != largest)
            fail("%s utf8_count: size %zu: %zu, not %zu", (*t)->name, size, counted, count);
        size_t room = (size_t)(to.end - to.start);
        if (widest < 0x100) {
            memset(to.start, 0xAA, room);
            (*t)->utf8_to_latin1(to.end - count, src, size);
            check_units(*t, "utf8_to_latin1", expected, count, 1, size);
        }
        if (widest < 0x10000) {
            memset(to.start, 0xAA, room);
            (*t)->utf8_to_ucs2((uint16_t *)(void *)(to.end - 2 * count), src, size);
            check_units(*t, "utf8_to_ucs2", expected, count, 2, size);
        }
        memset(to.start, 0xAA, room);
        (*t)->utf8_to_ucs4((uint32_t *)(void *)(to.end - 4 * count), src, size);
        check_units(*t, "utf8_to_ucs4", expected, count, 4, size);
    }
}

static void test_transcode(void) {
    for (int kind = 0; kind < KINDS; kind++)
        for (size_t size = 0; size <= LONGEST; size++) {
            uint8_t *src = place(from, 64, size);
            fill_text(src, size, kind);
            check_transcode(src, size);
            uint8_t *head = place(from, 65, size);
            memmove(head, src, size);
            check_transcode(head, size);
        }
}

/* Every code point once, in rows of 256. */
static void test_every_code_point(void) {
    static uint8_t text[1024];
    for (uint32_t first = 0; first < 0x110000; first += 256) {
        if (first >= 0xD800 && first < 0xE000)
            continue;
        size_t size = 0;
        for (uint32_t c = first; c < first + 256; c++)
            size += encode(text + size, c);
        uint8_t *src = place(from, 64, size);
        memcpy(src, text, size);
        check_utf8(src, size, "code points from", first);
        check_transcode(src, size);
    }
}

/* ---- the opening handshake ---- */

static void reference_sha1(uint8_t digest[20], const uint8_t *text, size_t size) {
    uint8_t padded[128] = {0};
    uint32_t h[5] = {0x67452301, 0xEFCDAB89, 0x98BADCFE, 0x10325476, 0xC3D2E1F0};
    memcpy(padded, text, size);
    padded[size] = 0x80;
    padded[126] = (uint8_t)(8 * size >> 8);
    padded[127] = (uint8_t)(8 * size);
    for (int block = 0; block < 2; block++) {
        uint32_t w[80], v[5];
        for (int t = 0; t < 80; t++) {
            const uint8_t *p = padded + 64 * block + 4 * t;
            uint32_t x = t < 16 ? 0 : w[t - 3] ^ w[t - 8] ^ w[t - 14] ^ w[t - 16];
            w[t] = t < 16 ? (uint32_t)p[0] << 24 | (uint32_t)p[1] << 16 | (uint32_t)p[2] << 8 | p[3] : x << 1 | x >> 31;
        }
        memcpy(v, h, sizeof v);
        for (int t = 0; t < 80; t++) {
            static const uint32_t k[] = {0x5A827999, 0x6ED9EBA1, 0x8F1BBCDC, 0xCA62C1D6};
            uint32_t parity = v[1] ^ v[2] ^ v[3], f = parity;
            if (t < 20)
                f = v[3] ^ (v[1] & (v[2] ^ v[3]));
            else if (t >= 40 && t < 60)
                f = (v[1] & v[2]) | (v[3] & (v[1] | v[2]));
            uint32_t next = (v[0] << 5 | v[0] >> 27) + f + v[4] + k[t / 20] + w[t];
            v[4] = v[3], v[3] = v[2], v[2] = v[1] << 30 | v[1] >> 2, v[1] = v[0], v[0] = next;
        }
        for (int i = 0; i < 5; i++)
            h[i] += v[i];
    }
    for (int i = 0; i < 20; i++)
        digest[i] = (uint8_t)(h[i / 4] >> (24 - 8 * (i % 4)));
}

static void test_sha1(void) {
    for (int round = 0; round < 2000; round++) {
        uint8_t block[64] = {0}, expected[20], digest[20];
        for (int i = 0; i < 60; i++)
            block[i] = (uint8_t)random32();
        block[60] = 0x80;
        reference_sha1(expected, block, 60);
        framewire_sha1_plain(digest, block);
        if (memcmp(digest, expected, 20))
            fail("sha1 plain: round %d", round);
    }
}

static const char base64[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

static void reference_accept(char accept[28], const char key[24]) {
    uint8_t text[60], digest[21] = {0};
    memcpy(text, key, 24);
    memcpy(text + 24, "258EAFA5-E914-47DA-95CA-C5AB0DC85B11", 36);
    reference_sha1(digest, text, 60);
    for (int c = 0; c < 27; c++) {
        int number = 0;
        for (int bit = 6 * c; bit < 6 * c + 6; bit++)
            number = 2 * number + (digest[bit / 8] >> (7 - bit % 8) & 1);
        accept[c] = base64[number];
    }
    accept[27] = '=';
}

static void test_accept_with(framewire_accept *function, const char *name) {
    static const char *const pairs[][2] = {
        {"dGhlIHNhbXBsZSBub25jZQ==", "s3pPLMBiTxaQ9kYGzzhZRbK+xOo="}, /* RFC 6455 1.3 */
        {"AQIDBAUGBwgJCgsMDQ4PEC==", "OfS0wDaT5NoxF2gqm7Zj2YtetzM="}, /* RFC 6455 4.1: unused bits are set */
    };
    char accept[28], expected[28], key[25] = "dGhlIHNhbXBsZSBub25jZQ==";
    for (size_t i = 0; i < LENGTH(pairs); i++)
        if (!function(accept, pairs[i][0]) || memcmp(accept, pairs[i][1], 28))
            fail("accept %s: %s gives %.28s", name, pairs[i][0], accept);

    static const char *const refused[] = {
        "AQIDBAUGBwgJCgsMDQ4PEBE=", /* 17 bytes */
        "AQIDBAUGBwgJCgsMDQ4PEBES", /* 18 bytes */
        "AQIDBAUGBwgJCgsMDQ4P====", /* 15 bytes */
        "AQIDBAUGBwgJCgsMDQ4PE===", "AQIDBAUGBwgJCgsMDQ4PEA=A", "========================",
    };
    for (size_t i = 0; i < LENGTH(refused); i++)
        if (function(accept, refused[i]))
            fail("accept %s: takes %s", name, refused[i]);

    for (int c = 0; c < 24 * 256; c++) {
        char right = key[c / 256];
        key[c / 256] = (char)c;
        int good = c / 256 < 22 ? c % 256 && strchr(base64, c % 256) : c % 256 == '=';
        if (function(accept, key) != good)
            fail("accept %s: character %d at %d", name, c % 256, c / 256);
        key[c / 256] = right;
    }

    for (int round = 0; round < 5000; round++) {
        for (int i = 0; i < 22; i++)
            key[i] = base64[random32() % 64];
        reference_accept(expected, key);
        uint8_t *src = place(from, 64 + round % 2, 24), *dst = place(to, 64 + round % 2, 28);
        memcpy(src, key, 24);
        if (!function((char *)dst, (const char *)src) || memcmp(dst, expected, 28))
            fail("accept %s: %.24s gives %.28s", name, key, dst);
    }
}

static void test_accept(void) {
    test_accept_with(framewire_accept_plain, "plain");
#ifdef FRAMEWIRE_X86
    if (framewire_cpu() & FRAMEWIRE_CPU_SHA)
        test_accept_with(framewire_accept_shani, "shani");
#endif
}

/* ---- */

static void test_tables(void) {
    FOR_EACH_TABLE(t) printf("%s%s", t == tables ? "" : " ", (*t)->name);
    printf(framewire_cpu() & FRAMEWIRE_CPU_SHA ? " sha\n" : "\n");
    if (table_count == 0 || strcmp(tables[table_count - 1]->name, "plain") != 0)
        fail("plain is not the last table");
}

static const struct {
    const char *name;
    void (*run)(void);
} groups[] = {
    {"tables", test_tables},
    {"mask", test_mask},
    {"or", test_or},
    {"header", test_header},
    {"utf8_lengths", test_utf8_lengths},
    {"utf8_cut", test_utf8_cut},
    {"utf8_bad_byte", test_utf8_bad_byte},
    {"utf8_bad_byte_in_ascii", test_utf8_bad_byte_in_ascii},
    {"utf8_sequences", test_utf8_sequences},
    {"utf8_mutation", test_utf8_mutation},
    {"utf8_chunks", test_utf8_chunks},
    {"transcode", test_transcode},
    {"every_code_point", test_every_code_point},
    {"sha1", test_sha1},
    {"accept", test_accept},
};

int main(int argc, char **argv) {
    from = guarded(4096);
    to = guarded(4 * LONGEST);
    table_count = framewire_available(&tables);
    for (int a = 1; a < argc; a++) {
        size_t known = 0;
        for (size_t g = 0; g < LENGTH(groups); g++)
            known += strcmp(argv[a], groups[g].name) == 0;
        if (known == 0)
            fail("no group %s", argv[a]);
    }
    for (size_t g = 0; g < LENGTH(groups); g++) {
        int wanted = argc == 1;
        for (int a = 1; a < argc; a++)
            wanted |= strcmp(argv[a], groups[g].name) == 0;
        if (wanted)
            groups[g].run();
    }
    return 0;
}
