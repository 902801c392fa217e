/* Reading and writing of frame headers (RFC 6455 5.2). No function needs the GIL. */
#ifndef FRAMEWIRE_HEADER_H
#define FRAMEWIRE_HEADER_H

#include <stddef.h>
#include <stdint.h>
#include <string.h>

enum {
    FRAMEWIRE_OPCODE_BITS = 0x0F,
    FRAMEWIRE_OPCODE_BINARY = 2,
    FRAMEWIRE_FIRST_CONTINUATION = 0x00, /* of a message that goes on after the frame */
    FRAMEWIRE_FIRST_TEXT = 0x81,         /* a whole text message */
    FRAMEWIRE_FIRST_BINARY = 0x82,       /* a whole binary message */
    FRAMEWIRE_MAX_HEADER = 14            /* bytes */
};

/* Results of framewire_check_frame. */
enum { FRAMEWIRE_FRAME_REFUSED, FRAMEWIRE_FRAME_PARTIAL, FRAMEWIRE_FRAME_WHOLE };

typedef struct {
    uint64_t length; /* the payload length as sent, all 64 bits */
    uint32_t key;    /* the masking key in memory order; 0 if not masked or incomplete */
    uint8_t size;    /* size of the whole header: 2 to 14 bytes */
    uint8_t first;   /* the first byte: FIN, RSV1 to RSV3, opcode */
    uint8_t masked;  /* 1 if the mask bit is set, else 0 */
    uint8_t minimal; /* 1 if the length has its shortest form and fits 63 bits, else 0 */
} framewire_header;

/* Read a header. Return 0, with undefined contents of *header, if the bytes end before the end
   of the length, else 1. The masking key may still be incomplete: then header->size > available
   and the key is 0. */
static inline int framewire_read_header(framewire_header *header, const uint8_t *src, size_t available) {
    uint8_t size = 2;
    if (available < 2)
        return 0;
    header->first = src[0];
    header->masked = src[1] >> 7;
    header->length = src[1] & 0x7f;
    header->minimal = 1;
    if (header->length == 126) {
        if (available < 4)
            return 0;
        header->length = (uint64_t)((uint32_t)src[2] << 8 | src[3]);
        header->minimal = header->length > 125;
        size = 4;
    } else if (header->length == 127) {
        if (available < 10)
            return 0;
        header->length = 0;
        for (int i = 2; i < 10; i++)
            header->length = header->length << 8 | src[i];
        header->minimal = header->length > 0xffff && header->length >> 63 == 0;
        size = 10;
    }
    header->key = 0;
    if (header->masked) {
        if (available >= (size_t)size + 4)
            memcpy(&header->key, src + size, 4);
        size = (uint8_t)(size + 4);
    }
    header->size = size;
    return 1;
}

/* Return 1 if a first byte is that of a whole, plain data message: FIN set, RSV bits clear, text
   or binary; else 0. */
static inline int framewire_is_message(uint8_t first) {
    return (uint8_t)(first - FRAMEWIRE_FIRST_TEXT) <= FRAMEWIRE_FIRST_BINARY - FRAMEWIRE_FIRST_TEXT;
}

/* The check of every fast path, whatever the first byte: does src begin with a frame whose mask
   bit is as given, and whose length has its shortest form and is at most limit? Return
   FRAMEWIRE_FRAME_WHOLE if all of it is available, FRAMEWIRE_FRAME_PARTIAL if the whole header
   is but not the whole payload, FRAMEWIRE_FRAME_REFUSED otherwise, with undefined contents of
   *header. */
static inline int framewire_check_frame(framewire_header *header, const uint8_t *src, size_t available, int masked,
                                        uint64_t limit) {
    uint8_t size = masked ? 6 : 2;
    if (available < size)
        return FRAMEWIRE_FRAME_REFUSED;
    uint8_t length = src[1] ^ (masked ? 0x80 : 0);
    if (length <= 125) { /* inline: the commonest header */
        header->first = src[0];
        header->length = length;
        header->size = size;
        header->key = 0;
        header->masked = (uint8_t)masked;
        header->minimal = 1;
        if (masked)
            memcpy(&header->key, src + 2, 4);
    } else if (!framewire_read_header(header, src, available) || header->masked != masked || !header->minimal ||
               header->size > available) {
        return FRAMEWIRE_FRAME_REFUSED;
    }
    if (header->length > limit)
        return FRAMEWIRE_FRAME_REFUSED;
    return header->length > available - header->size ? FRAMEWIRE_FRAME_PARTIAL : FRAMEWIRE_FRAME_WHOLE;
}

/* Write a header with the shortest form of the length. The frame is masked if key, 4 bytes, is
   not NULL. Return the size of the header, 2 to 14 bytes. */
static inline size_t framewire_write_header(uint8_t dst[FRAMEWIRE_MAX_HEADER], uint8_t first, uint64_t length, const uint8_t *key) {
    size_t size = 2;
    uint8_t mask_bit = key != NULL ? 0x80 : 0;
    dst[0] = first;
    if (length < 126) {
        dst[1] = (uint8_t)(mask_bit | length);
    } else if (length < 0x10000) {
        dst[1] = mask_bit | 126;
        dst[2] = (uint8_t)(length >> 8);
        dst[3] = (uint8_t)length;
        size = 4;
    } else {
        dst[1] = mask_bit | 127;
        for (int i = 0; i < 8; i++)
            dst[2 + i] = (uint8_t)(length >> (56 - 8 * i));
        size = 10;
    }
    if (key != NULL) {
        memcpy(dst + size, key, 4);
        size += 4;
    }
    return size;
}

/* Return the key rotated for the payload byte after the next `count` bytes, on any byte order. */
static inline uint32_t framewire_advance_key(uint32_t key, size_t count) {
    uint8_t bytes[8];
    memcpy(bytes, &key, 4);
    memcpy(bytes + 4, &key, 4);
    memcpy(&key, bytes + count % 4, 4);
    return key;
}

#endif
