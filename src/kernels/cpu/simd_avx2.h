/* kernels/cpu/simd_avx2.h: the vector primitives that fast_*.inc.h are written in, for AVX2 with FMA and F16C. */
#include <immintrin.h>

#define HD_LANES 8
#define HD_TILE_TOKENS 4
#define HD_CHUNK_BYTES (128 * 1024) /* of activations that meet all weights before the next ones do */
#define HD_GEMM_ROWS 4              /* 4 x 2 sums, 2 loads and a broadcast fit 16 registers */
#define HD_GEMM_VECTORS 2
#define HD_WIDE_BIAS 0

typedef float vf __attribute__((vector_size(32)));
typedef int32_t vi __attribute__((vector_size(32)));

static inline vf vf_f16(const void *p)
{
    return (vf)_mm256_cvtph_ps(_mm_loadu_si128(p));
}

static inline void vf_store_f16(void *p, vf v)
{
    _mm_storeu_si128(p, _mm256_cvtps_ph((__m256)v, _MM_FROUND_TO_NEAREST_INT));
}

static inline vf vf_bf16(const void *p)
{
    return (vf)_mm256_slli_epi32(_mm256_cvtepu16_epi32(_mm_loadu_si128(p)), 16);
}

/* E4M3 values / 256: as binary16 they lack its top exponent bit, and the rest of their exponent stands 8 lower.  NaN,
 * whose bits are those of 480, becomes 480 / 256. */
static inline vf vf_e4m3(const void *p)
{
    __m128i wide = _mm_slli_epi16(_mm_cvtepi8_epi16(_mm_loadl_epi64(p)), 7);
    return (vf)_mm256_cvtph_ps(_mm_and_si128(wide, _mm_set1_epi16((short)0xbfff)));
}

static inline float vf_sum(vf v)
{
    __m128 x = _mm_add_ps(_mm256_castps256_ps128((__m256)v), _mm256_extractf128_ps((__m256)v, 1));
    x = _mm_add_ps(x, _mm_movehl_ps(x, x));
    return _mm_cvtss_f32(_mm_add_ss(x, _mm_movehdup_ps(x)));
}

static inline vf vf_max(vf a, vf b)
{
    return (vf)_mm256_max_ps((__m256)a, (__m256)b);
}

/* a * b + c, rounded once: said outright, since compilers fuse one form of a loop and not another. */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return (vf)_mm256_fmadd_ps((__m256)a, (__m256)b, (__m256)c);
}

static inline vf vf_of_int(vi v)
{
    return (vf)_mm256_cvtepi32_ps((__m256i)v);
}

/* R bytes as numbers. */
static inline vi vi_u8(const void *p)
{
    return (vi)_mm256_cvtepu8_epi32(_mm_loadl_epi64(p));
}

static inline vi vi_i8(const void *p)
{
    return (vi)_mm256_cvtepi8_epi32(_mm_loadl_epi64(p));
}

/* Bytes 0..15 of `codes` become those of the table. */
static inline vi vi_look_up(const int8_t *table, vi codes)
{
    __m128i t = _mm_loadu_si128((const __m128i *)(const void *)table);
    return (vi)_mm256_shuffle_epi8(_mm256_broadcastsi128_si256(t), (__m256i)codes);
}

/* acc[r] += the dot product of codes [r][0..3] (bytes 0..127: 127 * 127 * 2 fits 16 bits) and the four signed bytes of
 * `four`. */
static inline vi vi_dot4(vi acc, vi codes, int32_t four)
{
    __m256i pairs = _mm256_maddubs_epi16((__m256i)codes, _mm256_set1_epi32(four));
    return acc + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* The same with codes of 8 bits, signed.  maddubs wants one unsigned side: the codes' magnitudes, with their signs
 * moved to the other side; 128 * 127 * 2 fits 16 bits. */
static inline vi vi_dot4_wide(vi acc, vi codes, int32_t four)
{
    __m256i c = (__m256i)codes;
    __m256i pairs = _mm256_maddubs_epi16(_mm256_abs_epi8(c), _mm256_sign_epi8(_mm256_set1_epi32(four), c));
    return acc + (vi)_mm256_madd_epi16(pairs, _mm256_set1_epi16(1));
}

/* Rounds to nearest and stores as signed bytes; the values fit. */
static inline void vf_store_i8(int8_t *p, vf v)
{
    __m256i i = _mm256_cvtps_epi32((__m256)v);
    __m128i w = _mm_packs_epi32(_mm256_castsi256_si128(i), _mm256_extracti128_si256(i, 1));
    _mm_storel_epi64((__m128i *)(void *)p, _mm_packs_epi16(w, w));
}
