/* Validation of UTF-8 that arrives in chunks: the bytes around the ends of a chunk are validated
   one at a time, the others by the kernel. */
#include "utf8.h"

#include "kernels.h"

/* Validate one byte. Return 1, or 0, with the state unchanged, if it is invalid here. */
static int accept_byte(framewire_utf8_state *state, uint8_t byte) {
    static const framewire_utf8_state boundary;
    if (state->need == 0) {
        int need = framewire_utf8_need(byte);
        if (need > 0) {
            state->need = (uint8_t)need;
            state->low = framewire_utf8_second_low(byte);
            state->high = framewire_utf8_second_high(byte);
        }
        return need >= 0;
    }
    if (byte < state->low || byte > state->high)
        return 0;
    if (--state->need == 0) {
        *state = boundary;
    } else {
        state->low = 0x80;
        state->high = 0xBF;
    }
    return 1;
}

size_t framewire_utf8_feed(const framewire_kernels *kernels, framewire_utf8_state *state, const uint8_t *src,
                           size_t size) {
    size_t i = 0;
    for (; i < size && state->need; i++)
        if (!accept_byte(state, src[i]))
            return i;
    if (i < size)
        i += kernels->utf8_prefix(src + i, size - i);
    for (; i < size; i++)
        if (!accept_byte(state, src[i]))
            return i;
    return size;
}
