/* kernels/cpu/simd_neon.h: the vector primitives that fast_*.inc.h are written in, for AArch64; with dot products of
 * bytes, and products of 2 x 8 by 8 x 2 bytes, where the tier is compiled for them. */
#include <arm_neon.h>
#include <math.h>
#include <string.h>

#define HD_LANES 4
#define HD_TILE_TOKENS 8
#define HD_CHUNK_BYTES (128 * 1024) /* of activations that meet all weights before the next ones do */
#define HD_GEMM_ROWS 6
#define HD_GEMM_VECTORS 3
#define HD_WIDE_BIAS 0

typedef float vf __attribute__((vector_size(16)));
typedef int32_t vi __attribute__((vector_size(16)));

static inline vf vf_f16(const void *p)
{
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(vld1_u16(p)));
}

static inline void vf_store_f16(void *p, vf v)
{
    vst1_u16(p, vreinterpret_u16_f16(vcvt_f16_f32((float32x4_t)v)));
}

static inline vf vf_bf16(const void *p)
{
    return (vf)vshlq_n_u32(vmovl_u16(vld1_u16(p)), 16);
}

/* E4M3 values / 256: as binary16 they lack its top exponent bit, and the rest of their exponent stands 8 lower.  NaN,
 * whose bits are those of 480, becomes 480 / 256. */
static inline vf vf_e4m3(const void *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    int16x8_t wide = vshlq_n_s16(vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four))), 7);
    uint16x4_t half = vand_u16(vreinterpret_u16_s16(vget_low_s16(wide)), vdup_n_u16(0xbfff));
    return (vf)vcvt_f32_f16(vreinterpret_f16_u16(half));
}

static inline float vf_sum(vf v)
{
    return vaddvq_f32((float32x4_t)v);
}

static inline vf vf_max(vf a, vf b)
{
    return (vf)vmaxq_f32((float32x4_t)a, (float32x4_t)b);
}

/* a * b + c, rounded once: said outright, since compilers fuse one form of a loop and not another. */
static inline vf vf_fma(vf a, vf b, vf c)
{
    return (vf)vfmaq_f32((float32x4_t)c, (float32x4_t)a, (float32x4_t)b);
}

static inline vf vf_of_int(vi v)
{
    return (vf)vcvtq_f32_s32((int32x4_t)v);
}

/* R bytes as numbers. */
static inline vi vi_u8(const void *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    uint16x8_t w = vmovl_u8(vreinterpret_u8_u32(vdup_n_u32(four)));
    return (vi)vmovl_u16(vget_low_u16(w));
}

static inline vi vi_i8(const void *p)
{
    uint32_t four;
    memcpy(&four, p, sizeof four);
    int16x8_t w = vmovl_s8(vreinterpret_s8_u32(vdup_n_u32(four)));
    return (vi)vmovl_s16(vget_low_s16(w));
}

/* Bytes 0..15 of `codes` become those of the table. */
static inline vi vi_look_up(const int8_t *table, vi codes)
{
    return (vi)vqtbl1q_s8(vld1q_s8(table), (uint8x16_t)codes);
}

/* acc[r] += the dot product of codes [r][0..3] (bytes -128..127) and the four signed bytes of `four`. */
static inline vi vi_dot4(vi acc, vi codes, int32_t four)
{
    int8x16_t c = (int8x16_t)codes, a = vreinterpretq_s8_s32(vdupq_n_s32(four));
#if defined(__ARM_FEATURE_DOTPROD)
    return (vi)vdotq_s32((int32x4_t)acc, c, a);
#else
    int16x8_t low = vmull_s8(vget_low_s8(c), vget_low_s8(a)), high = vmull_s8(vget_high_s8(c), vget_high_s8(a));
    return acc + (vi)vpaddq_s32(vpaddlq_s16(low), vpaddlq_s16(high));
#endif
}

static inline vi vi_dot4_wide(vi acc, vi codes, int32_t four)
{
    return vi_dot4(acc, codes, four);
}

#if defined(__ARM_FEATURE_MATMUL_INT8)
#define HD_DOT_PAIRS

/* Eight columns, in two vectors of codes, times eight bytes of each of two rows of activations.  acc[i] has codes' rows
 * 2i and 2i + 1 times x0 and x1: see vi_pair_sums. */
static inline void vi_dot_pair(vi acc[2], vi first, vi second, const void *x0, const void *x1)
{
    int8x16_t x = vcombine_s8(vld1_s8(x0), vld1_s8(x1));
    int8x16_t low = vreinterpretq_s8_s32(vzip1q_s32((int32x4_t)first, (int32x4_t)second));
    int8x16_t high = vreinterpretq_s8_s32(vzip2q_s32((int32x4_t)first, (int32x4_t)second));
    acc[0] = (vi)vmmlaq_s32((int32x4_t)acc[0], low, x);
    acc[1] = (vi)vmmlaq_s32((int32x4_t)acc[1], high, x);
}

/* Adds what belongs to each of the two rows of activations. */
static inline void vi_pair_sums(const vi acc[2], vi *sum0, vi *sum1)
{
    *sum0 += (vi)vuzp1q_s32((int32x4_t)acc[0], (int32x4_t)acc[1]);
    *sum1 += (vi)vuzp2q_s32((int32x4_t)acc[0], (int32x4_t)acc[1]);
}

#endif

/* Rounds to nearest and stores as signed bytes; the values fit. */
static inline void vf_store_i8(int8_t *p, vf v)
{
    int16x4_t w = vqmovn_s32(vcvtnq_s32_f32((float32x4_t)v));
    int8x8_t b = vqmovn_s16(vcombine_s16(w, w));
    vst1_lane_s32((int32_t *)(void *)p, vreinterpret_s32_s8(b), 0);
}
