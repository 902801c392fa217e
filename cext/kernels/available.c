/* The tables that this processor can run. */
#include "cpu.h"
#include "tables.h"

/* A build has its tables in one row, best first. A processor runs the end of it: each table needs no more than those
   before it do, and plain needs nothing. */
static const framewire_kernels *const row[] = {
#ifdef FRAMEWIRE_X86
    &framewire_avx512,
    &framewire_avx2,
    &framewire_sse2,
#endif
#ifdef FRAMEWIRE_ARM64
    &framewire_neon,
#endif
    &framewire_plain,
};

static size_t count_missing(void) {
#ifdef FRAMEWIRE_X86
    unsigned cpu = framewire_cpu();
    return (size_t)!(cpu & FRAMEWIRE_CPU_AVX512) + !(cpu & FRAMEWIRE_CPU_AVX2) + !(cpu & FRAMEWIRE_CPU_SSE2);
#else
    return 0;
#endif
}

size_t framewire_available(const framewire_kernels *const **tables) {
    size_t missing = count_missing();
    *tables = row + missing;
    return sizeof row / sizeof row[0] - missing;
}
