# cython: language_level=3
# Declarations of the kernels and of the frame header.
from libc.stdint cimport uint8_t, uint16_t, uint32_t, uint64_t


cdef extern from "kernels.h" nogil:
    ctypedef struct framewire_kernels:
        const char *name
        void (*mask)(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
        uint8_t (*mask_or)(uint8_t *dst, const uint8_t *src, size_t size, uint32_t key)
        uint8_t (*or_all)(const uint8_t *src, size_t size)
        size_t (*utf8_prefix)(const uint8_t *src, size_t size)
        size_t (*utf8_count)(const uint8_t *src, size_t size, uint8_t *largest)
        void (*utf8_to_latin1)(uint8_t *dst, const uint8_t *src, size_t size)
        void (*utf8_to_ucs2)(uint16_t *dst, const uint8_t *src, size_t size)
        void (*utf8_to_ucs4)(uint32_t *dst, const uint8_t *src, size_t size)

    size_t framewire_available(const framewire_kernels *const **tables)

    ctypedef struct framewire_utf8_state:
        uint8_t need
        uint8_t low
        uint8_t high

    size_t framewire_utf8_feed(const framewire_kernels *kernels, framewire_utf8_state *state,
                               const uint8_t *src, size_t size)
    ctypedef int framewire_accept(char *accept, const char *key)
    framewire_accept *framewire_best_accept()


cdef extern from "header.h" nogil:
    cdef enum:
        FIRST_TEXT "FRAMEWIRE_FIRST_TEXT"
        FIRST_BINARY "FRAMEWIRE_FIRST_BINARY"
        FIRST_CONTINUATION "FRAMEWIRE_FIRST_CONTINUATION"
        OPCODE_BITS "FRAMEWIRE_OPCODE_BITS"
        OPCODE_BINARY "FRAMEWIRE_OPCODE_BINARY"
        MAX_HEADER "FRAMEWIRE_MAX_HEADER"
        FRAME_REFUSED "FRAMEWIRE_FRAME_REFUSED"
        FRAME_PARTIAL "FRAMEWIRE_FRAME_PARTIAL"
        FRAME_WHOLE "FRAMEWIRE_FRAME_WHOLE"

    ctypedef struct framewire_header:
        uint64_t length
        uint32_t key
        uint8_t size
        uint8_t first
        uint8_t masked
        uint8_t minimal

    int framewire_read_header(framewire_header *header, const uint8_t *src, size_t available)
    bint framewire_is_message(uint8_t first)
    int framewire_check_frame(
        framewire_header *header, const uint8_t *src, size_t available, int masked, uint64_t limit)
    size_t framewire_write_header(uint8_t *dst, uint8_t first, uint64_t length, const uint8_t *key)
    uint32_t framewire_advance_key(uint32_t key, size_t count)
