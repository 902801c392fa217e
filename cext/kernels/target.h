/* The target architecture, and function attributes for instruction sets above its baseline.

   setuptools has no compiler flags per file, so each function that uses an instruction set names
   it in an attribute. MSVC accepts all intrinsics everywhere and needs no attribute. */
#ifndef FRAMEWIRE_TARGET_H
#define FRAMEWIRE_TARGET_H

#if defined(__x86_64__) || defined(__i386__) || defined(_M_X64) || defined(_M_IX86)
#define FRAMEWIRE_X86 1
#endif

#if (defined(__aarch64__) && !defined(__AARCH64EB__)) || defined(_M_ARM64)
#define FRAMEWIRE_ARM64 1
#endif

#if defined(__BYTE_ORDER__) && __BYTE_ORDER__ == __ORDER_BIG_ENDIAN__
#define FRAMEWIRE_BIG_ENDIAN 1
#endif

#if defined(_MSC_VER) && !defined(__clang__)
#define FRAMEWIRE_TARGET(instruction_sets)
#define FRAMEWIRE_INLINE static __forceinline
#else
#define FRAMEWIRE_TARGET(instruction_sets) __attribute__((target(instruction_sets)))
#define FRAMEWIRE_INLINE static inline __attribute__((always_inline))
#endif

#endif
