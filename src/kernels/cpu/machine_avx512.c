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
    return hd_cpu_has(HD_CPU_AVX512BF16);
}

#define FILLED _mm512_set1_epi32

#define FMA(i) __asm__ volatile("vfmadd231ps %2, %1, %0" : "+v"(s##i) : "v"(a), "v"(b));
#define BF16(i) __asm__ volatile("vdpbf16ps %2, %1, %0" : "+v"(s##i) : "v"(a), "v"(b));
#define INT8(i) __asm__ volatile("vpdpbusd %2, %1, %0" : "+v"(s##i) : "v"(a), "v"(b));

HD_MACHINE_LOOP(static, run_f32, __m512i, FILLED, FMA, 0x3f000000)   /* 0.5 */
HD_MACHINE_LOOP(static, run_bf16, __m512i, FILLED, BF16, 0x3f003f00) /* twice 0.5 */
HD_MACHINE_LOOP(static, run_int8, __m512i, FILLED, INT8, 0x01010101)

const hd_machine_loop hd_machine_avx512[3] = {
    {HD_ARITHMETIC_F32, "vfmadd231ps, 512 bits", HD_MACHINE_SUMS * 16 * 2.0, run_f32, has},
    {HD_ARITHMETIC_BF16, "vdpbf16ps, 512 bits", HD_MACHINE_SUMS * 32 * 2.0, run_bf16, has_bf16},
    {HD_ARITHMETIC_INT8, "vpdpbusd, 512 bits", HD_MACHINE_SUMS * 64 * 2.0, run_int8, has},
};

uint64_t hd_machine_read_avx512(const uint8_t *data, size_t bytes, hd_ask *ahead)
{
    __m512i sum[4] = {_mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512(), _mm512_setzero_si512()};
    for (size_t at = 0; at < bytes; at += 256) {
        if (ahead) hd_ask_lines(ahead, 256);
        for (int i = 0; i < 4; i++)
            sum[i] = _mm512_xor_si512(sum[i], _mm512_load_si512(data + at + 64 * i));
    }
    __m512i all = _mm512_xor_si512(_mm512_xor_si512(sum[0], sum[1]), _mm512_xor_si512(sum[2], sum[3]));
    return (uint64_t)_mm512_reduce_add_epi64(all);
}

#endif
