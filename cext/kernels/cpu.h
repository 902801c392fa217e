/* What this processor and its operating system can run. */
#ifndef FRAMEWIRE_CPU_H
#define FRAMEWIRE_CPU_H

enum {
    FRAMEWIRE_CPU_SSE2 = 1,
    FRAMEWIRE_CPU_AVX2 = 2,   /* with BMI1, BMI2 and POPCNT */
    FRAMEWIRE_CPU_AVX512 = 4, /* F, BW, VL, VBMI and VBMI2, on top of the line above */
    FRAMEWIRE_CPU_SHA = 8,    /* with SSSE3 */
    FRAMEWIRE_CPU_PROBED = 16
};

/* A set of the bits above. The first call asks the processor, later ones remember. */
unsigned framewire_cpu(void);

#endif
