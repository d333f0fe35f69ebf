/* kernels/cpu/machine_neon.c: measuring loops for AArch64. */
#include "kernels/cpu/machine_internal.h"

#if defined(__aarch64__)

#include <arm_neon.h>

static bool has(void)
{
    return true;
}

static bool has_dot(void)
{
    return hd_cpu_has(HD_CPU_NEONDOT);
}

static bool has_i8mm(void)
{
    return hd_cpu_has(HD_CPU_NEONI8MM);
}

/* For one function, so that the file needs no flag that processors of this tier may lack. */
#if defined(__clang__)
#define EXTENSION(name) __attribute__((target(name))) static
#else
#define EXTENSION(name) __attribute__((target("arch=armv8.2-a+" name))) static
#endif
#define FMA(i) __asm__ volatile("fmla %0.4s, %1.4s, %2.4s" : "+w"(s##i) : "w"(a), "w"(b));
#define DOT(i) __asm__ volatile("sdot %0.4s, %1.16b, %2.16b" : "+w"(s##i) : "w"(a), "w"(b));
#define I8MM(i) __asm__ volatile("smmla %0.4s, %1.16b, %2.16b" : "+w"(s##i) : "w"(a), "w"(b));

HD_MACHINE_LOOP(static, run_f32, int32x4_t, vdupq_n_s32, FMA, 0x3f000000) /* 0.5 */
HD_MACHINE_LOOP(EXTENSION("dotprod"), run_dot, int32x4_t, vdupq_n_s32, DOT, 0x01010101)
HD_MACHINE_LOOP(EXTENSION("i8mm"), run_i8mm, int32x4_t, vdupq_n_s32, I8MM, 0x01010101)

const hd_machine_loop hd_machine_neon[3] = {
    {HD_ARITHMETIC_F32, "fmla, 128 bits", HD_MACHINE_SUMS * 4 * 2.0, run_f32, has},
    {HD_ARITHMETIC_INT8, "sdot, 128 bits", HD_MACHINE_SUMS * 16 * 2.0, run_dot, has_dot},
    {HD_ARITHMETIC_INT8, "smmla, 128 bits", HD_MACHINE_SUMS * 32 * 2.0, run_i8mm, has_i8mm},
};

#endif
