/* kernels/cpu/simd_avx512.h: the vector primitives that fast_*.inc.h are written in, for AVX-512 with VNNI. */
#include <immintrin.h>

#define HD_LANES 16
#define HD_TILE_TOKENS 12 /* 8 code vectors, 12 sums and a few temporaries fit 32 registers */
#define HD_GEMM_ROWS 6    /* 6 x 4 sums, 4 loads and a broadcast fit 32 registers */
#define HD_GEMM_VECTORS 4
#define HD_WIDE_BIAS 128 /* vpdpbusd wants unsigned codes */

typedef float vf __attribute__((vector_size(64)));
typedef int32_t vi __attribute__((vector_size(64)));

static inline vf vf_f16(const void *p)
{
    return (vf)_mm512_cvtph_ps(_mm256_loadu_si256(p));
}

static inline void vf_store_f16(void *p, vf v)
{
    _mm256_storeu_si256(p, _mm512_cvtps_ph((__m512)v, _MM_FROUND_TO_NEAREST_INT));
}

static inline vf vf_bf16(const void *p)
{
    return (vf)_mm512_slli_epi32(_mm512_cvtepu16_epi32(_mm256_loadu_si256(p)), 16);
}

static inline float vf_sum(vf v)
{
    return _mm512_reduce_add_ps((__m512)v);
}

static inline float vf_largest(vf v)
{
    return _mm512_reduce_max_ps((__m512)v);
}

static inline vf vf_max(vf a, vf b)
{
    return (vf)_mm512_max_ps((__m512)a, (__m512)b);
}

/* a * b + c, rounded once: said outright, since compilers fuse one form of a loop and not another. */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return (vf)_mm512_fmadd_ps((__m512)a, (__m512)b, (__m512)c);
}

static inline vf vf_of_int(vi v)
{
    return (vf)_mm512_cvtepi32_ps((__m512i)v);
}

/* R bytes as numbers. */
static inline vi vi_u8(const void *p)
{
    return (vi)_mm512_cvtepu8_epi32(_mm_loadu_si128(p));
}

static inline vi vi_i8(const void *p)
{
    return (vi)_mm512_cvtepi8_epi32(_mm_loadu_si128(p));
}

/* Bytes 0..15 of `codes` become those of the table. */
static inline vi vi_look_up(const int8_t *table, vi codes)
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return (vi)_mm512_shuffle_epi8(_mm512_broadcast_i32x4(t), (__m512i)codes);
}

/* acc[r] += the dot product of codes [r][0..3] (bytes 0..127) and the four signed bytes of `four`. */
static inline vi vi_dot4(vi acc, vi codes, int32_t four)
{
    return (vi)_mm512_dpbusd_epi32((__m512i)acc, (__m512i)codes, _mm512_set1_epi32(four));
}

/* The same with codes of 8 bits plus HD_WIDE_BIAS. */
static inline vi vi_dot4_wide(vi acc, vi codes, int32_t four)
{
    return vi_dot4(acc, codes, four);
}

/* Rounds to nearest and stores as signed bytes; the values fit. */
static inline void vf_store_i8(int8_t *p, vf v)
{
    _mm_storeu_si128((__m128i *)(void *)p, _mm512_cvtsepi32_epi8(_mm512_cvtps_epi32((__m512)v)));
}
