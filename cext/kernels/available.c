/* Selection of the tables that this processor supports. */
#include "cpu.h"
#include "tables.h"

/* All tables of this build, best first. Each needs a subset of the instruction sets of the one
   before it, and plain needs none, so a processor supports the tables from some index to the
   end. */
static const framewire_kernels *const all_tables[] = {
#ifdef FRAMEWIRE_X86
    &framewire_avx512, &framewire_avx2, &framewire_sse2,
#endif
#ifdef FRAMEWIRE_ARM64
    &framewire_neon,
#endif
    &framewire_plain,
};

/* Return the number of tables that this processor does not support. */
static size_t count_unsupported(void) {
#ifdef FRAMEWIRE_X86
    unsigned cpu = framewire_cpu();
    return (size_t)!(cpu & FRAMEWIRE_CPU_AVX512) + !(cpu & FRAMEWIRE_CPU_AVX2) + !(cpu & FRAMEWIRE_CPU_SSE2);
#else
    return 0;
#endif
}

size_t framewire_available(const framewire_kernels *const **tables) {
    size_t unsupported = count_unsupported();
    *tables = all_tables + unsupported;
    return sizeof all_tables / sizeof all_tables[0] - unsupported;
}
