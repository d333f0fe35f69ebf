/* kernels/cpu/simd_avx512.h: the vector primitives that fast_*.inc.h are written in, for AVX-512 with VNNI. */
#include <immintrin.h>

#define HD_LANES 16
#define HD_TILE_TOKENS 8            /* 8 sums, 8 vectors of codes and temporaries fit 32 registers */
#define HD_CHUNK_BYTES (512 * 1024) /* of activations that meet all weights before the next ones do */
#define HD_GEMM_ROWS 6              /* 6 x 4 sums, 4 loads and a broadcast fit 32 registers */
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

/* E4M3 values / 256: as binary16 they lack its top exponent bit, and the rest of their exponent stands 8 lower.  NaN,
 * whose bits are those of 480, becomes 480 / 256. */
static inline vf vf_e4m3(const void *p)
{
    __m256i wide = _mm256_slli_epi16(_mm256_cvtepi8_epi16(_mm_loadu_si128(p)), 7);
    return (vf)_mm512_cvtph_ps(_mm256_and_si256(wide, _mm256_set1_epi16((short)0xbfff)));
}

static inline float vf_sum(vf v)
{
    return _mm512_reduce_add_ps((__m512)v);
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

/* Each byte less a number. */
static inline vi vi_sub_bytes(vi codes, int number)
{
    return (vi)_mm512_sub_epi8((__m512i)codes, _mm512_set1_epi8((char)number));
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

/* ---- bfloat16 dot products: a vector holds 32 values, neighbours in pairs ---- */

#if defined(__AVX512BF16__)
#define HD_BF16

/* acc[i] + a[2i] * b[2i] + a[2i + 1] * b[2i + 1] */
static inline vf vf_dot_bf16(vf acc, vi a, vi b)
{
    return (vf)_mm512_dpbf16_ps((__m512)acc, (__m512bh)(__m512i)a, (__m512bh)(__m512i)b);
}

/* 32 values in their order, rounded to nearest. */
static inline vi vi_bf16(vf first, vf second)
{
    return (vi)(__m512i)_mm512_cvtne2ps_pbh((__m512)second, (__m512)first);
}

/* The same values in turn: a[0], b[0], a[1], b[1] ... */
static inline vi vi_bf16_pairs(vf a, vf b)
{
    const __m512i order = _mm512_set_epi16(31, 15, 30, 14, 29, 13, 28, 12, 27, 11, 26, 10, 25, 9, 24, 8, 23, 7, 22, 6,
                                           21, 5, 20, 4, 19, 3, 18, 2, 17, 1, 16, 0);
    return (vi)_mm512_permutexvar_epi16(order, (__m512i)vi_bf16(a, b));
}

/* x[r][c] becomes x[c][r], words of 32 bits. */
static inline void vi_transpose(vi x[16])
{
    __m512i t[16], u[16];
    for (int i = 0; i < 16; i += 2) {
        t[i] = _mm512_unpacklo_epi32((__m512i)x[i], (__m512i)x[i + 1]);
        t[i + 1] = _mm512_unpackhi_epi32((__m512i)x[i], (__m512i)x[i + 1]);
    }
    for (int i = 0; i < 16; i += 4)
        for (int j = 0; j < 2; j++) { /* u[i + c]: column c of each group of four, rows i .. i + 3 */
            u[i + 2 * j] = _mm512_unpacklo_epi64(t[i + j], t[i + 2 + j]);
            u[i + 2 * j + 1] = _mm512_unpackhi_epi64(t[i + j], t[i + 2 + j]);
        }
    for (int c = 0; c < 4; c++) {
        __m512i low = _mm512_shuffle_i32x4(u[c], u[4 + c], 0x88), high = _mm512_shuffle_i32x4(u[c], u[4 + c], 0xdd);
        __m512i low2 = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0x88);
        __m512i high2 = _mm512_shuffle_i32x4(u[8 + c], u[12 + c], 0xdd);
        x[c] = (vi)_mm512_shuffle_i32x4(low, low2, 0x88);
        x[8 + c] = (vi)_mm512_shuffle_i32x4(low, low2, 0xdd);
        x[4 + c] = (vi)_mm512_shuffle_i32x4(high, high2, 0x88);
        x[12 + c] = (vi)_mm512_shuffle_i32x4(high, high2, 0xdd);
    }
}

/* 16-bit words of a and b in turn: those of the first halves, and those of the second. */
static inline void vi_zip(vi a, vi b, vi *first, vi *second)
{
    const __m512i order = _mm512_set_epi16(47, 15, 46, 14, 45, 13, 44, 12, 43, 11, 42, 10, 41, 9, 40, 8, 39, 7, 38, 6,
                                           37, 5, 36, 4, 35, 3, 34, 2, 33, 1, 32, 0);
    const __m512i sixteen = _mm512_set1_epi16(16);
    *first = (vi)_mm512_permutex2var_epi16((__m512i)a, order, (__m512i)b);
    *second = (vi)_mm512_permutex2var_epi16((__m512i)a, _mm512_add_epi16(order, sixteen), (__m512i)b);
}

#endif
