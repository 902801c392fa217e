/* Processor detection: CPUID lists the instruction sets, XGETBV the registers that the operating
   system saves. */
#include "cpu.h"

#include "target.h"

#ifdef FRAMEWIRE_X86

#include <immintrin.h>
#ifdef _MSC_VER
#include <intrin.h>
#else
#include <cpuid.h>
#endif

typedef struct {
    unsigned eax, ebx, ecx, edx;
} registers;

static registers cpuid(unsigned leaf) {
    registers r = {0, 0, 0, 0};
#ifdef _MSC_VER
    int out[4];
    __cpuidex(out, 0, 0);
    if ((unsigned)out[0] >= leaf) {
        __cpuidex(out, (int)leaf, 0);
        r.eax = (unsigned)out[0], r.ebx = (unsigned)out[1], r.ecx = (unsigned)out[2], r.edx = (unsigned)out[3];
    }
#else
    __get_cpuid_count(leaf, 0, &r.eax, &r.ebx, &r.ecx, &r.edx);
#endif
    return r;
}

FRAMEWIRE_TARGET("xsave") static unsigned saved_registers(void) {
    return (unsigned)_xgetbv(0);
}

#define BIT(n) (1u << (n))
/* Whether all of the bits are set. */
#define ALL(word, bits) (((word) & (bits)) == (bits))

static unsigned probe(void) {
    const unsigned ssse3 = BIT(9), popcnt = BIT(23), osxsave = BIT(27), avx = BIT(28); /* leaf 1, ECX */
    const unsigned sse2 = BIT(26);                                                     /* leaf 1, EDX */
    const unsigned avx2_bmi = BIT(3) | BIT(5) | BIT(8), sha = BIT(29);                 /* leaf 7, EBX */
    const unsigned avx512_f_bw_vl = BIT(16) | BIT(30) | BIT(31);                       /* leaf 7, EBX */
    const unsigned avx512_vbmi = BIT(1) | BIT(6);                                      /* leaf 7, ECX */
    const unsigned xmm_ymm = BIT(1) | BIT(2), zmm = BIT(5) | BIT(6) | BIT(7);          /* XCR0 */
    unsigned found = 0;

    registers basic = cpuid(1), extended = cpuid(7);
    if (ALL(basic.edx, sse2))
        found |= FRAMEWIRE_CPU_SSE2;
    if (ALL(basic.ecx, ssse3) && ALL(extended.ebx, sha))
        found |= FRAMEWIRE_CPU_SHA;
    unsigned saved = ALL(basic.ecx, osxsave) ? saved_registers() : 0;
    if (ALL(basic.ecx, avx | popcnt) && ALL(extended.ebx, avx2_bmi) && ALL(saved, xmm_ymm)) {
        found |= FRAMEWIRE_CPU_AVX2;
        if (ALL(extended.ebx, avx512_f_bw_vl) && ALL(extended.ecx, avx512_vbmi) && ALL(saved, zmm))
            found |= FRAMEWIRE_CPU_AVX512;
    }
    return found;
}

#else

static unsigned probe(void) {
    return 0;
}

#endif

/* Threads may race in the first call, but all store the same value. */
#if defined(_MSC_VER) && !defined(__clang__)
static volatile unsigned cached;
#define LOAD(word) (word)
#define STORE(word, value) ((word) = (value))
#else
static unsigned cached;
#define LOAD(word) __atomic_load_n(&(word), __ATOMIC_RELAXED)
#define STORE(word, value) __atomic_store_n(&(word), (value), __ATOMIC_RELAXED)
#endif

unsigned framewire_cpu(void) {
    unsigned found = LOAD(cached);
    if (!found) {
        found = probe() | FRAMEWIRE_CPU_PROBED;
        STORE(cached, found);
    }
    return found;
}
