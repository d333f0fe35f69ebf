/* kernels/cpu/machine_avx512.c: measuring loops for AVX-512. */
#include "kernels/cpu/machine_internal.h"

#if defined(__AVX512VNNI__)

#include <immintrin.h>

static bool has(void)
{
    return hd_cpu_has(HD_CPU_AVX512);
}

static bool has_bf16(void)
{
    return has() && __builtin_cpu_supports("avx512bf16");
}

#define SUM(i) __m512i s##i = _mm512_set1_epi32(i);

/* Runs one instruction on every sum, `rounds` times; `value` fills both operands' 32-bit lanes. */
#define LOOP(name, instruction, value)                                                                                 \
    static void name(int64_t rounds)                                                                                   \
    {                                                                                                                  \
        __m512i a = _mm512_set1_epi32(value), b = a;                                                                   \
        HD_MACHINE_EACH(SUM)                                                                                           \
        for (int64_t r = 0; r < rounds; r++) {                                                                         \
            HD_MACHINE_EACH(instruction)                                                                               \
        }                                                                                                              \
    }

#define FMA(i) __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(s##i) : "v"(a), "v"(b));
#define BF16(i) __asm__ volatile("vdpbf16ps %2, %1, %0" : "+v"(s##i) : "v"(a), "v"(b));
#define INT8(i) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(s##i) : "v"(a), "v"(b));

LOOP(run_f32, FMA, 0x3f000000)   /* 0.5 */
LOOP(run_bf16, BF16, 0x3f003f00) /* twice 0.5 */
LOOP(run_int8, INT8, 0x01010101)

const hd_machine_loop hd_machine_avx512[3] = {
    {HD_ARITHMETIC_F32, "vfmadd231ps, 512 bits", HD_MACHINE_SUMS * 16 * 2.0, run_f32, has},
    {HD_ARITHMETIC_BF16, "vdpbf16ps, 512 bits", HD_MACHINE_SUMS * 32 * 2.0, run_bf16, has_bf16},
    {HD_ARITHMETIC_INT8, "vpdpbusd, 512 bits", HD_MACHINE_SUMS * 64 * 2.0, run_int8, has},
};

uint64_t hd_machine_read_avx512(const uint8_t *data, size_t bytes)
{
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    for (size_t at = 0; at < bytes; at += 256)
        for (int i = 0; i < 4; i++) {
            _mm_prefetch((const char *)data + at + 64 * i + HD_MACHINE_AHEAD, _MM_HINT_T0);
            sum[i] = _mm512_xor_si512(sum[i], _mm512_load_si512(data + at + 64 * i));
        }
    __m512i all = _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3]));
    return (uint64_t)_mm512_reduce_add_epi64(all);
}

#endif
