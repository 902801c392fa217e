/* Print GB/s of source bytes for every table of kernels, for memcpy and for an XOR copy at full
   width.

   Build it with -O2 -Icext/kernels and all .c files there. Arguments: the number of rounds
   (default 200), then any of mask, utf8, transcode, accept. Each figure is the best of many
   short runs, in which all contenders take turns. */
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <time.h>

#include "kernels.h"
#include "widest_xor.h"

#define LARGEST ((size_t)1 << 20)
#define MIN_RUN_BYTES 100000
#define MAX_CONTENDERS 8

static int rounds = 200;
static uint8_t *source, *target;
static const uint32_t key = 0x9D3C5A71;

static double seconds(void) {
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (double)now.tv_sec + (double)now.tv_nsec * 1e-9;
}

/* The bound that memory sets. */
static void copy(const framewire_kernels *k, size_t size) {
    (void)k;
    memcpy(target, source, size);
}

static void wide_xor(const framewire_kernels *k, size_t size) {
    (void)k;
    widest_xor(target, source, size, key);
}

static void mask(const framewire_kernels *k, size_t size) {
    k->mask(target, source, size, key);
}

static void mask_or(const framewire_kernels *k, size_t size) {
    k->mask_or(target, source, size, key);
}

static void or_all(const framewire_kernels *k, size_t size) {
    target[0] = k->or_all(source, size);
}

static void prefix(const framewire_kernels *k, size_t size) {
    if (k->utf8_prefix(source, size) + 3 < size)
        abort();
}

static void count(const framewire_kernels *k, size_t size) {
    if (k->utf8_count(source, size, target) > size)
        abort();
}

/* The work for a text message up to its str: unmask, validate, count, and transcode to the width
   that it needs. */
static void whole_text(const framewire_kernels *k, size_t size) {
    uint8_t *text = target + 4 * LARGEST, largest;
    uint8_t any = k->mask_or(text, source, size, 0);
    if (any < 0x80) {
        memcpy(target, text, size);
        return;
    }
    if (k->utf8_prefix(text, size) != size)
        abort();
    k->utf8_count(text, size, &largest);
    if (largest < 0xC4)
        k->utf8_to_latin1(target, text, size);
    else if (largest < 0xF0)
        k->utf8_to_ucs2((uint16_t *)(void *)target, text, size);
    else
        k->utf8_to_ucs4((uint32_t *)(void *)target, text, size);
}

static void transcode(const framewire_kernels *k, size_t size) {
    uint8_t largest = source[size];
    if (largest < 0xC4)
        k->utf8_to_latin1(target, source, size);
    else if (largest < 0xF0)
        k->utf8_to_ucs2((uint16_t *)(void *)target, source, size);
    else
        k->utf8_to_ucs4((uint32_t *)(void *)target, source, size);
}

typedef void contender(const framewire_kernels *, size_t);

/* The first pass is not timed, because the cache still holds the data of another contender. */
static double run_once(contender *run, const framewire_kernels *k, size_t size) {
    size_t repeats = MIN_RUN_BYTES / size + 1;
    run(k, size);
    double start = seconds();
    for (size_t i = 0; i < repeats; i++)
        run(k, size);
    return (double)(repeats * size) / (seconds() - start) * 1e-9;
}

static void print_row(const char *label, size_t size, contender *run, contender *const *references,
                      size_t reference_count) {
    const framewire_kernels *const *tables;
    size_t table_count = framewire_available(&tables);
    double best[MAX_CONTENDERS] = {0};
    for (int round = 0; round < rounds; round++)
        for (size_t c = 0; c < reference_count + table_count; c++) {
            double rate = c < reference_count ? run_once(references[c], NULL, size)
                                              : run_once(run, tables[c - reference_count], size);
            best[c] = rate > best[c] ? rate : best[c];
        }
    printf("%-22s %8zu", label, size);
    for (size_t c = 0; c < reference_count + table_count; c++)
        printf(" %8.4g", best[c]);
    printf("\n");
}

static void print_head(const char *references) {
    const framewire_kernels *const *tables;
    size_t table_count = framewire_available(&tables);
    printf("\n%-22s %8s%s", "GB/s", "bytes", references);
    for (size_t t = 0; t < table_count; t++)
        printf(" %8s", tables[t]->name);
    printf("\n");
}

static const size_t sizes[] = {16, 32, 64, 125, 256, 1024, 4096, 16384, 65536, LARGEST};
#define SIZES (sizeof sizes / sizeof *sizes)

/* Random letters of a script with a realistic share of ASCII. They are random because branch
   predictors learn a repetitive text. */
static const struct {
    const char *name;
    uint32_t first_letter, letter_count;
    uint32_t ascii_interval; /* one character in so many is ASCII; 0: seven of eight are */
    uint8_t largest;         /* the largest byte */
} texts[] = {
    {"ascii", 'a', 26, 6, 'z'},        {"latin", 0xC0, 64, 0, 0xC3},      {"cyrillic", 0x430, 32, 6, 0xD1},
    {"cjk", 0x4E00, 0x5000, 12, 0xE9}, {"emoji", 0x1F600, 0x50, 3, 0xF0},
};

static uint32_t random32(void) {
    static uint32_t state = 2463534242u;
    state ^= state << 13;
    state ^= state >> 17;
    state ^= state << 5;
    return state;
}

static uint32_t next_character(size_t text) {
    uint32_t r = random32() >> 4, interval = texts[text].ascii_interval;
    if (interval ? r % interval == 0 : r % 8 != 0)
        return 'a' + (r >> 8) % 26;
    return texts[text].first_letter + (r >> 8) % texts[text].letter_count;
}

static void fill(size_t text, size_t size) {
    for (size_t i = 0; i < size;) {
        uint32_t c = next_character(text);
        size_t length = c < 0x80 ? 1 : c < 0x800 ? 2 : c < 0x10000 ? 3 : 4;
        static const uint8_t lead[] = {0, 0, 0xC0, 0xE0, 0xF0};
        if (length > size - i) {
            source[i++] = '.';
            continue;
        }
        for (size_t j = length; j-- > 1; c >>= 6)
            source[i + j] = (uint8_t)(0x80 | (c & 0x3F));
        source[i] = (uint8_t)(lead[length] | c);
        i += length;
    }
    source[size] = texts[text].largest;
}

static void bench_mask(void) {
    static contender *const references[] = {copy, wide_xor};
    static const struct {
        const char *name;
        contender *run;
    } rows[] = {{"mask", mask}, {"mask_or", mask_or}, {"or_all", or_all}};
    print_head("   memcpy  wideXOR");
    for (size_t r = 0; r < 3; r++)
        for (size_t s = 0; s < SIZES; s++)
            print_row(rows[r].name, sizes[s], rows[r].run, references, 2);
}

static void bench_text(const char *label, contender *run, int with_ascii) {
    static contender *const references[] = {copy};
    char name[40];
    print_head("   memcpy");
    for (size_t t = with_ascii ? 0 : 1; t < sizeof texts / sizeof *texts; t++)
        for (size_t s = 0; s < SIZES; s++) {
            fill(t, sizes[s]);
            snprintf(name, sizeof name, "%s %s", label, texts[t].name);
            print_row(name, sizes[s], run, references, 1);
        }
}

static void bench_accept(void) {
    framewire_accept *accept = framewire_best_accept();
    char text[28], key[] = "dGhlIHNhbXBsZSBub25jZQ==";
    double best = 1;
    for (int round = 0; round < 1000; round++) {
        double start = seconds();
        for (int i = 0; i < 100; i++) {
            accept(text, key);
            key[0] = text[0]; /* the next hash depends on this one, so that they cannot overlap */
        }
        double duration = (seconds() - start) / 100;
        best = duration < best ? duration : best;
    }
    printf("\naccept %.1f ns\n", best * 1e9);
}

/* Whether the group is named in the arguments, or none is. */
static int wanted(const char *name, int argc, char **argv) {
    for (int a = 1; a < argc; a++)
        if (strcmp(argv[a], name) == 0)
            return 1;
    return argc == 1;
}

int main(int argc, char **argv) {
    if (argc > 1 && atoi(argv[1]) > 0) {
        rounds = atoi(argv[1]);
        argc--;
        argv++;
    }
    source = malloc(LARGEST + 1);
    target = malloc(5 * LARGEST);
    if (!source || !target)
        return 1;
    memset(source, 'x', LARGEST);
    memset(target, 0, 5 * LARGEST);
    if (wanted("mask", argc, argv))
        bench_mask();
    if (wanted("utf8", argc, argv)) {
        bench_text("prefix", prefix, 1);
        bench_text("count", count, 1);
    }
    if (wanted("transcode", argc, argv)) {
        bench_text("transcode", transcode, 0);
        bench_text("mask to str", whole_text, 1);
    }
    if (wanted("accept", argc, argv))
        bench_accept();
    return 0;
}
