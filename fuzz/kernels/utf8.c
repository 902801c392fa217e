/* libFuzzer: UTF-8 with every instruction set against a decoder of one code point at a time (RFC 3629).

   Input: 1 byte that selects the cut, then the text. */
#include <stdlib.h>
#include <string.h>

#include "kernels.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

/* One code point: its length, 0 if more bytes are needed, or -1 - index of the first invalid byte. */
static int decode(const uint8_t *src, size_t size, uint32_t *point) {
    uint8_t lead = src[0];
    int length = lead < 0x80 ? 1 : lead < 0xC2 ? 0 : lead < 0xE0 ? 2 : lead < 0xF0 ? 3 : lead < 0xF5 ? 4 : 0;
    if (length == 0)
        return -1;
    *point = length == 1 ? lead : lead & (0x7Fu >> length);
    for (int i = 1; i < length; i++) {
        if ((size_t)i == size)
            return 0;
        if ((src[i] & 0xC0) != 0x80)
            return -1 - i;
        *point = *point << 6 | (src[i] & 0x3F);
        if (i == 1) { /* overlong forms, surrogates and too large values are detected in the first two bytes */
            uint32_t least = *point << 6 * (length - 2), most = least | ((1u << 6 * (length - 2)) - 1);
            if ((length == 3 && most < 0x800) || (length == 4 && most < 0x10000) || least > 0x10FFFF ||
                (least >= 0xD800 && most <= 0xDFFF))
                return -2;
        }
    }
    return length;
}

static void require(int condition) {
    if (!condition)
        abort();
}

/* A copy that ends with its allocation. */
static void *exactly(size_t size) {
    return malloc(size + !size);
}

static void check_conversions(const framewire_kernels *t, const uint8_t *src, size_t size, const uint32_t *points,
                              size_t count, uint32_t widest) {
    uint8_t largest = 0, last = 0;
    for (size_t i = 0; i < size; i++)
        last = src[i] > last ? src[i] : last;
    require(t->utf8_count(src, size, &largest) == count && largest == last);

    uint32_t *wide = exactly(4 * count);
    t->utf8_to_ucs4(wide, src, size);
    require(!memcmp(wide, points, 4 * count));
    free(wide);
    if (widest <= 0xFFFF) {
        uint16_t *narrow = exactly(2 * count);
        t->utf8_to_ucs2(narrow, src, size);
        for (size_t i = 0; i < count; i++)
            require(narrow[i] == points[i]);
        free(narrow);
    }
    if (widest <= 0xFF) {
        uint8_t *latin1 = exactly(count);
        t->utf8_to_latin1(latin1, src, size);
        for (size_t i = 0; i < count; i++)
            require(latin1[i] == points[i]);
        free(latin1);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size) {
    if (size == 0)
        return 0;
    size_t cut = data[0];
    size--;
    cut = cut < size ? cut : size;
    uint8_t *text = exactly(size);
    memcpy(text, data + 1, size);

    /* The expected result: the complete code points, and the index of the first invalid byte. */
    uint32_t *points = exactly(4 * size), widest = 0;
    size_t whole = 0, count = 0, stop = size;
    while (whole < size) {
        int length = decode(text + whole, size - whole, &points[count]);
        if (length < 0)
            stop = whole + (size_t)(-1 - length);
        if (length <= 0)
            break;
        widest = points[count] > widest ? points[count] : widest;
        whole += (size_t)length;
        count++;
    }
    uint8_t *valid = exactly(whole);
    memcpy(valid, text, whole);

    const framewire_kernels *const *tables;
    size_t available = framewire_available(&tables);
    for (size_t t = 0; t < available; t++) {
        size_t prefix = tables[t]->utf8_prefix(text, size);
        require(prefix <= whole && (prefix == size || (text[prefix] & 0xC0) != 0x80 || prefix == whole));
        require(stop < size || size - prefix <= 3);

        framewire_utf8_state state = {0};
        size_t first = framewire_utf8_feed(tables[t], &state, text, cut);
        if (first == cut)
            first += framewire_utf8_feed(tables[t], &state, text + cut, size - cut);
        require(first == stop);
        require(stop < size || (state.need > 0) == (whole < size));
        check_conversions(tables[t], valid, whole, points, count, widest);
    }
    free(valid);
    free(points);
    free(text);
    return 0;
}
