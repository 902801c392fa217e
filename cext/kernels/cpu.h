/* The instruction sets that the processor and the operating system support. */
#ifndef FRAMEWIRE_CPU_H
#define FRAMEWIRE_CPU_H

enum {
    FRAMEWIRE_CPU_SSE2 = 1,
    FRAMEWIRE_CPU_AVX2 = 2,   /* with BMI1, BMI2 and POPCNT */
    FRAMEWIRE_CPU_AVX512 = 4, /* F, BW, VL, VBMI and VBMI2, in addition to those of AVX2 */
    FRAMEWIRE_CPU_SHA = 8,    /* with SSSE3 */
    FRAMEWIRE_CPU_PROBED = 16
};

/* Return a set of the bits above. The first call queries the processor; later calls use a cached
   result. Any thread may call it. */
unsigned framewire_cpu(void);

#endif
