/* base/cpu.h: what this processor can do, and how many threads to use.  Thread-safe. */
#ifndef HD_BASE_CPU_H
#define HD_BASE_CPU_H

#include <stdbool.h>

/* Tiers in ascending order within an architecture.  "auto" is resolved before it reaches a kernel. */
typedef enum hd_cpu_tier {
    HD_CPU_AUTO,
    HD_CPU_REFERENCE,  /* portable C, float32 throughout */
    HD_CPU_AVX2,       /* x86-64 with AVX2, FMA, F16C */
    HD_CPU_AVX512,     /* AVX-512 F, BW, DQ, VL and VNNI */
    HD_CPU_AVX512BF16, /* the above with dot products of bfloat16 */
    HD_CPU_AMX,        /* the above with AMX tiles (int8, bf16) */
    HD_CPU_NEON,       /* AArch64 */
    HD_CPU_NEONDOT,    /* the above with dot products of bytes (FEAT_DotProd) */
    HD_CPU_NEONI8MM,   /* the above with products of small matrices of bytes (FEAT_I8MM) */
} hd_cpu_tier;

/* Whether this machine can run the tier (reference: always; auto: always). */
bool hd_cpu_has(hd_cpu_tier tier);

/* Whether "auto" may choose the tier: not avx512bf16 on Intel's processors, whose vdpbf16ps takes two products at half
 * the rate of float32's (measured on Sapphire Rapids: 38 and 96 Gop/s; AMD's Zen 4: 440 and 220). */
bool hd_cpu_prefers(hd_cpu_tier tier);

/* The best tier that this machine can run. */
hd_cpu_tier hd_cpu_best(void);

/* "auto", "reference", "avx2", ... ("unknown" for no tier) and back; hd_cpu_parse returns false on an unknown name. */
const char *hd_cpu_name(hd_cpu_tier tier);
bool hd_cpu_parse(const char *name, hd_cpu_tier *out);

/* In how many pages side by side memory that is read from front to back is best asked for: 8 on Intel's processors (4
 * and 16 did alike, 2 less), 1 on others; see kernels/cpu/ahead.h. */
int hd_cpu_streams(void);

/* Processors that this process may use: the affinity mask, capped by the CPU quota of the cgroup (v2)
 * and of those above it; at least 1. */
int hd_cpu_threads(void);

/* The processor's model name for reports; "unknown" when it can't be read.  Static storage. */
const char *hd_cpu_model(void);

/* Makes this thread take numbers below float32's normal range (2^-126) for zero, on the way in and out, or restores
 * IEEE 754.  Returns the former setting, to be handed back.  Processors slow down a hundredfold on such numbers, and
 * models produce them (products of small activations); they are far below every kernel's error bound. */
bool hd_cpu_flush_denormals(bool flush);

#endif
