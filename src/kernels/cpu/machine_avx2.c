/* kernels/cpu/machine_avx2.c: measuring loops for AVX2. */
#include "kernels/cpu/machine_internal.h"

#if defined(__AVX2__)

#include <immintrin.h>

static bool has(void)
{
    return hd_cpu_has(HD_CPU_AVX2);
}

#define FMA(i) __asm__ volatile("vfmadd231ps %2, %1, %0" : "+x"(s##i) : "x"(a), "x"(b));

HD_MACHINE_LOOP(static, run_f32, __m256i, _mm256_set1_epi32, FMA, 0x3f000000) /* 0.5 */

#define SUM(i) __m256i s##i = _mm256_set1_epi32(i);

/* Without VNNI a dot product of bytes takes two multiplications and an addition. */
static void run_int8(int64_t rounds)
{
    __m256i a = _mm256_set1_epi8(1), b = _mm256_set1_epi8(2), ones = _mm256_set1_epi16(1), t;
    HD_MACHINE_EACH(SUM)
    for (int64_t r = 0; r < rounds; r++) {
#define DOT(i)                                                                                                         \
    __asm__ volatile("vpmaddubsw %3, %2, %1; vpmaddwd %4, %1, %1; vpaddd %1, %0, %0"                                   \
                     : "+x"(s##i), "=&x"(t)                                                                            \
                     : "x"(a), "x"(b), "x"(ones));
        HD_MACHINE_EACH(DOT)
    }
}

const hd_machine_loop hd_machine_avx2[2] = {
    {HD_ARITHMETIC_F32, "vfmadd231ps, 256 bits", HD_MACHINE_SUMS * 8 * 2.0, run_f32, has},
    {HD_ARITHMETIC_INT8, "vpmaddubsw, 256 bits", HD_MACHINE_SUMS * 32 * 2.0, run_int8, has},
};

uint64_t hd_machine_read_avx2(const uint8_t *data, size_t bytes, hd_ask *ahead)
{
    __m256i sum[4] = {_mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256(), _mm256_setzero_si256()};
    for (size_t at = 0; at < bytes; at += 128) {
        const __m256i *p = (const __m256i *)(const void *)(data + at);
        if (ahead) hd_ask_lines(ahead, 128);
        for (int i = 0; i < 4; i++)
            sum[i] = _mm256_xor_si256(sum[i], _mm256_load_si256(p + i));
    }
    __m256i all = _mm256_xor_si256(_mm256_xor_si256(sum[0], sum[1]), _mm256_xor_si256(sum[2], sum[3]));
    __m128i half = _mm_xor_si128(_mm256_castsi256_si128(all), _mm256_extracti128_si256(all, 1));
    return (uint64_t)_mm_extract_epi64(half, 0) ^ (uint64_t)_mm_extract_epi64(half, 1);
}

#endif
