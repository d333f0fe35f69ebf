/* How far a fast tier may be from its twin: one row per kind of operator, with the reason (docs/kernels.md tells how
 * they were derived).
 *
 * An error is |tier - twin| divided by the row's unit; `worst` bounds every value, `rms` the root of the mean square
 * over a case (where it has 1000 values), which a systematic error would raise.  Written u = 2^-24, the rounding error
 * of float32 relative to a value.
 */
#ifndef HD_TESTS_KERNELS_BOUNDS_H
#define HD_TESTS_KERNELS_BOUNDS_H

typedef struct bound {
    const char *name;
    double worst, rms;
    const char *unit, *why;
} bound;

enum {
    BOUND_EXACT,
    BOUND_MATMUL_PACKED,
    BOUND_MATMUL_WHOLE,
    BOUND_MATMUL_BYTES,
    BOUND_MATMUL_FLOAT,
    BOUND_MOE_PACKED,
    BOUND_MOE_BYTES,
    BOUND_MOE_FLOAT,
    BOUND_NORM,
    BOUND_ROPE,
    BOUND_SWIGLU,
    BOUND_ATTEND,
    BOUND_ATTEND_SPLIT,
    BOUND_ATTEND_BF16,
    BOUND_MLA,
    BOUND_MLA_SPLIT,
    BOUND_MLA_BF16,
    BOUND_COUNT
};

static const bound bounds[BOUND_COUNT] = {
    [BOUND_EXACT] = {"exact", 0.0, 0.0, "-", "the same single rounding, or none"},
    [BOUND_MATMUL_PACKED] =
        {"matmul, packed weights, fewer than 768 columns", 6e-5, 1.1e-5,
         "sqrt(sum (w * m)^2), m = largest |x| of the column's group of 32",
         "activations are rounded to m/32258 steps: independent errors, uniform in half a step, have the deviation "
         "8.9e-6 of the unit; six deviations"},
    [BOUND_MATMUL_BYTES] = {"matmul, packed weights, 768 columns or more", 1.4e-2, 2.6e-3,
                            "sqrt(sum (w * m)^2), m = largest |x| of the column's group of 32",
                            "the same with steps of m/127: the deviation is 2.3e-3 of the unit; six deviations"},
    [BOUND_MATMUL_WHOLE] = {"matmul, packed weights, activations that need no rounding", 3e-6, 5e-7,
                            "sqrt(sum (w * x)^2)", "codes and float16 scales are exact: float32 sums remain"},
    [BOUND_MATMUL_FLOAT] = {"matmul, float weights", 1e-5, 1e-6, "sqrt(sum (w * x)^2)",
                            "float32 sums in another order: u sqrt(n / 6 lanes) a sum, n up to 2048"},
    [BOUND_MOE_PACKED] = {"moe, packed weights", 6e-4, 1e-4, "root of the mean square of the token's output",
                          "three products with rounded activations, one behind the other, and a product of two"},
    [BOUND_MOE_BYTES] =
        {"moe, packed weights, 768 columns or more", 9e-2, 1.5e-2, "root of the mean square of the token's output",
         "steps of m/127, m about three times the rms: 0.7 % of a product's rms, twice for gate times up "
         "and more for act, which has larger peaks: a deviation of 1.5 %; six deviations"},
    [BOUND_MOE_FLOAT] = {"moe, float weights", 2e-5, 2e-6, "root of the mean square of the token's output",
                         "as matmul, three in a row"},
    [BOUND_NORM] = {"rms_norm", 2e-6, 4e-7, "|value|", "a sum of squares in another order, and three roundings"},
    [BOUND_ROPE] = {"rope", 2.5e-7, 6e-8, "length of the rotated pair", "fused products: 4 u"},
    [BOUND_SWIGLU] = {"swiglu", 1e-6, 2e-7, "|value| + 1e-30 |gate * up| + 1e-31",
                      "exp to 2 units in the last place; below e^-87 it is 0, above e^88 no more than that"},
    [BOUND_ATTEND] = {"attend", 4e-6, 2e-7, "rms of the cached values, times 1 + the deviation of the scores",
                      "a relative error of some u of a score becomes one of its weight"},
    [BOUND_ATTEND_SPLIT] = {"attend, numbers as the sum of two bfloat16", 3e-5, 2e-6,
                            "rms of the cached values, times 1 + the deviation of the scores",
                            "queries and weights keep 16 bits, an error of 2^-17"},
    [BOUND_ATTEND_BF16] = {"attend, late queries, bfloat16", 4e-3, 4e-4,
                           "rms of the cached values, times 1 + the deviation of the scores",
                           "queries, keys, weights and values keep 8 bits: an error of 2^-9, 8e-4 on average"},
    [BOUND_MLA] = {"attend_mla", 8e-6, 5e-7, "twice the rms of the decompressed values",
                   "as attend, on keys and values with the error of a product over the latent's width"},
    [BOUND_MLA_SPLIT] = {"attend_mla, numbers as the sum of two bfloat16", 6e-5, 3e-6,
                         "twice the rms of the decompressed values", "as attend, and decompression"},
    [BOUND_MLA_BF16] = {"attend_mla, late queries, bfloat16", 1e-2, 1e-3, "twice the rms of the decompressed values",
                        "as attend, and decompression of rounded latents with rounded weights"},
};

#endif
