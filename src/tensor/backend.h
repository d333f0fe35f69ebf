/* tensor/backend.h: the table of operators that a backend fills, and the views that they work on.
 *
 * Models call operators through this table and know no backend.  An operator takes views and a workspace and never
 * allocates.  The reference backend is complete; a faster tier starts from a copy of it and overrides what it has.
 * All activations are float32, row-major, one row per token.  Operators of one hd_exec run one at a time, each spread
 * over the pool's threads; different hd_execs are independent.
 */
#ifndef HD_TENSOR_BACKEND_H
#define HD_TENSOR_BACKEND_H

#include "tensor/tensor.h"

/* One stream of cached rows of one sequence, in pages.  The row of position p starts at
 * pages[p / page_rows] + offset + (p % page_rows) * stride and holds `width` values of `type` (F32, F16, BF16 or Q8_0).
 * Of Q8_0, operators read and write whole blocks: every column and width that they are given is a multiple of 32. */
typedef struct hd_rows {
    uint8_t *const *pages;
    int page_rows;
    size_t offset, stride;
    hd_type type;
    int width;
} hd_rows;

/* Where value `at` of the row of position `pos` lies; a block's first one. */
static inline uint8_t *hd_row_at(const hd_rows *rows, int64_t pos, int at)
{
    uint8_t *row = rows->pages[pos / rows->page_rows] + rows->offset + (size_t)(pos % rows->page_rows) * rows->stride;
    return row + (size_t)(at / hd_type_block(rows->type)) * (size_t)hd_type_block_bytes(rows->type);
}

/* Which experts each token went to, recorded or forced: for judging a fast tier with the reference's choices.
 * ids is [layer slot][token][used]; `token` counts from the first token that the engine evaluated. */
typedef struct hd_expert_trace {
    enum { HD_TRACE_OFF, HD_TRACE_RECORD, HD_TRACE_FORCE } mode;
    int32_t *ids;
    int64_t layers, tokens, used; /* capacity; tokens beyond it are neither recorded nor forced */
    int64_t token0;               /* index of the first token of the batch under way */
} hd_expert_trace;

/* One of several products of the same input: y[n][rows] = x W^T (+ bias[rows] unless NULL), row stride ldy. */
typedef struct hd_product {
    float *y;
    int64_t ldy;
    const hd_matrix *w;
    const float *bias;
} hd_product;

#define HD_LOW_RANK_ROWS 64 /* a block of B stays in the first-level cache */

#define HD_PRODUCTS_MAX 4 /* that share an input: queries, keys, values */

/* What an operator runs with.  `scratch` is as large as hd_backend.scratch_bytes asked for, and starts at a
 * cache line. */
typedef struct hd_exec {
    const struct hd_backend *backend; /* whose operators are called with this; for tables that wrap another */
    hd_pool *pool;
    uint8_t *scratch;
    size_t scratch_bytes;
    hd_expert_trace *trace; /* NULL: off */
} hd_exec;

/* Attention of a span of consecutive queries of one sequence over its cached rows; causal.
 * Query i (position pos0 + i) sees positions 0 .. pos0 + i, which the streams already hold.
 * Head h reads columns [h/group*k_dim, +k_dim) of k and [h/group*v_dim, +v_dim) of v, group = heads / kv_heads.
 * Absorbed MLA is kv_heads = 1 with k and v the same stream and v_dim < k_dim. */
typedef struct hd_attend_span {
    const float *q; /* [queries][heads * k_dim], row stride ldq values */
    float *out;     /* [queries][heads * v_dim], row stride ldo values */
    int64_t ldq, ldo;
    int64_t queries, pos0;
    hd_rows k, v;
} hd_attend_span;

typedef struct hd_attend_shape {
    int heads, kv_heads, k_dim, v_dim;
    float scale; /* of the scores before softmax */
} hd_attend_shape;

/* Decompressed MLA (DeepSeek-V2, arXiv:2405.04434, section 2.1): the cached row is [c (lora) | k_rope (rope)];
 * for head h k = [k_bT_h c | k_rope], v = v_b_h c.  q rows are [heads][nope + rope].  k_b[h] is [lora][nope] (as GGUF's
 * attn_k_b: transposed), v_b[h] is [v][lora]. */
typedef struct hd_mla_shape {
    int heads, nope, rope, lora, v_dim;
    float scale;
    const hd_matrix *k_b, *v_b; /* [heads] */
} hd_mla_shape;

/* Rotary embedding (arXiv:2104.09864).  Row i of `table` has dim/2 cosines and then dim/2 sines for token i of the
 * batch. */
typedef struct hd_rope {
    const float *table; /* [tokens][dim] */
    int dim;            /* rotated width of each vector */
    bool adjacent;      /* true: pairs (0,1),(2,3).. (GPT-J); false: pairs (0,dim/2).. (GPT-NeoX) */
} hd_rope;

/* Experts of one layer, arrays of `count`: gate and up are [ffn][hidden], down is [hidden][ffn]. */
typedef struct hd_experts {
    int count;
    const hd_matrix *gate, *up, *down;
} hd_experts;

/* The largest shapes that a model will ask for, for hd_backend.scratch_bytes. */
typedef struct hd_shape_limits {
    int64_t tokens; /* rows of a batch */
    int64_t cols;   /* widest matmul input */
    int64_t heads, k_dim, v_dim;
    int64_t mla_lora, mla_nope, mla_rope;              /* 0: no MLA */
    int64_t experts, experts_used, expert_ffn, hidden; /* 0: no experts */
    int64_t context;                                   /* longest sequence */
    int threads;
} hd_shape_limits;

typedef struct hd_backend {
    const char *name;
    hd_cpu_tier tier;
    hd_type cache_type;   /* element type of cached rows that this backend prefers */
    bool flush_denormals; /* its threads take numbers below 2^-126 for zero (hd_cpu_flush_denormals) */

    size_t (*scratch_bytes)(const hd_shape_limits *limits);

    /* Puts a layout of the backend's own into m->packed, or leaves m as it is.  `ex` has its pool, but no
     * scratch yet: weights come first.  HD_E_MEMORY on failure. */
    hd_status (*prepare)(const hd_exec *ex, hd_matrix *m);
    void (*unprepare)(hd_matrix *m);

    /* out[i] = decoded row ids[i] of m, i < n. */
    void (*embed)(const hd_exec *ex, float *out, const hd_matrix *m, const int32_t *ids, int64_t n);

    /* y[n][rows] = x[n][cols] W^T (+ bias[rows] unless NULL); row strides ldy, ldx in values. */
    void (*matmul)(const hd_exec *ex, float *y, int64_t ldy, const hd_matrix *w, const float *bias, const float *x,
                   int64_t ldx, int64_t n);

    /* `count` matrices, at most HD_PRODUCTS_MAX and all as wide as x, that meet the same x: what `matmul` gives for
     * each, bit for bit. */
    void (*matmul_shared)(const hd_exec *ex, const hd_product *products, int count, const float *x, int64_t ldx,
                          int64_t n);

    /* `count` products that share nothing, run as one: y_j = x_j W_j^T.  Offsets of consecutive j in y and x rows are
     * y_step and x_step values (heads side by side). */
    void (*matmul_heads)(const hd_exec *ex, float *y, int64_t ldy, int64_t y_step, const hd_matrix *w, int count,
                         const float *x, int64_t ldx, int64_t x_step, int64_t n);

    /* out = x / sqrt(mean(x^2) + eps) * weight, per row of `cols` (arXiv:1910.07467).  out may be x. */
    void (*rms_norm)(const hd_exec *ex, float *out, int64_t ldo, const float *x, int64_t ldx, const float *weight,
                     int64_t cols, float eps, int64_t n);

    /* Rotates in place x[i][v*step .. +rope->dim) for i < n, v < count, by row i of the table; rows are ldx values
     * apart. */
    void (*rope)(const hd_exec *ex, float *x, int64_t ldx, int64_t step, int count, const hd_rope *rope, int64_t n);

    /* Writes `width` values of x into the row of position pos0 + i, starting at value `at` of the row, i < n. */
    void (*store_rows)(const hd_exec *ex, const hd_rows *rows, int at, const float *x, int64_t ldx, int width,
                       int64_t pos0, int64_t n);

    void (*attend)(const hd_exec *ex, const hd_attend_shape *shape, const hd_attend_span *spans, int n);
    void (*attend_mla)(const hd_exec *ex, const hd_mla_shape *shape, const hd_attend_span *spans, int n);

    /* gate = silu(gate) * up, n rows of cols. */
    void (*swiglu)(const hd_exec *ex, float *gate, const float *up, int64_t cols, int64_t n);

    /* x += y, n rows of cols, contiguous. */
    void (*add)(const hd_exec *ex, float *x, const float *y, int64_t cols, int64_t n);

    /* y[i][r] += sum over j < rank of t[i][j] * b[j][r], in that order, r < rows, i < n: what an adapter adds to at
     * most HD_LOW_RANK_ROWS outputs.  b is [rank][HD_LOW_RANK_ROWS], t is [n][rank].  Runs on the calling thread. */
    void (*add_low_rank)(float *y, int64_t ldy, const float *b, const float *t, int64_t rank, int64_t rows, int64_t n);

    /* out[i] = sum_j weight[i][j] * down_e(silu(gate_e(x_i)) * up_e(x_i)), e = ids[i][j], j < used; a token may name an
     * expert more than once, and names none where an id is below 0.  Tokens are grouped by expert before any expert is
     * read.  out is overwritten; it must not overlap x.  out and x are contiguous rows. */
    void (*moe)(const hd_exec *ex, float *out, const hd_experts *experts, const float *x, const int32_t *ids,
                const float *weight, int used, int64_t n);
} hd_backend;

#endif
