/* Every reference operator against a plain loop in double precision: odd sizes, strides wider than rows, several spans,
 * page boundaries, cached rows in each type, one thread and several. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu/reference.h"
#include "tensor/quant.h"

#define CANARY 12345.0f /* between rows: must stay */

static uint64_t seed;
static hd_pool *pool; /* three threads */

static float random_value(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(seed >> 40) / 8388608.0f - 1.0f;
}

static float *values_of(int64_t n)
{
    float *x = hd_alloc_array((size_t)n, sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = random_value();
    return x;
}

static float *canaries_of(int64_t n)
{
    float *x = hd_alloc_array((size_t)n, sizeof *x);
    assert_non_null(x);
    for (int64_t i = 0; i < n; i++)
        x[i] = CANARY;
    return x;
}

static void near_to(double got, double want, double scale, const char *what, int64_t i)
{
    if (!(fabs(got - want) <= 2e-6 * scale)) fail_msg("%s, value %lld: %.9g, not %.9g", what, (long long)i, got, want);
}

static hd_matrix matrix_of(const float *w, int64_t rows, int64_t cols)
{
    return (hd_matrix){.type = HD_TYPE_F32,
                       .rows = rows,
                       .cols = cols,
                       .data = (const uint8_t *)(const void *)w,
                       .row_bytes = (size_t)cols * sizeof(float)};
}

/* Scratch of exactly the size that is asked for, so that the sanitizers see what goes beyond it. */
static hd_exec exec_for(const hd_shape_limits *limits, int threads)
{
    hd_shape_limits l = *limits;
    hd_exec ex = {.pool = threads > 1 ? pool : NULL};
    l.threads = threads;
    ex.scratch_bytes = hd_reference_scratch_bytes(&l);
    ex.scratch = hd_alloc_aligned(ex.scratch_bytes);
    assert_non_null(ex.scratch);
    return ex;
}

/* ---- linear ---- */

static void matmul_case(int64_t rows, int64_t cols, int64_t n, bool with_bias, int threads)
{
    int64_t ldx = cols + 3, ldy = rows + 2;
    float *w = values_of(rows * cols), *x = values_of(n * ldx), *bias = values_of(rows), *y = canaries_of(n * ldy);
    hd_matrix m = matrix_of(w, rows, cols);
    hd_exec ex = exec_for(&(hd_shape_limits){.tokens = n, .cols = cols}, threads);
    hd_reference_matmul(&ex, y, ldy, &m, with_bias ? bias : NULL, x, ldx, n);
    for (int64_t t = 0; t < n; t++)
        for (int64_t r = 0; r < ldy; r++) {
            double want = r < rows && with_bias ? bias[r] : 0.0;
            for (int64_t c = 0; c < cols && r < rows; c++)
                want += (double)w[r * cols + c] * x[t * ldx + c];
            near_to(y[t * ldy + r], r < rows ? want : CANARY, sqrt((double)cols), "matmul", t * ldy + r);
        }
    hd_free_aligned(ex.scratch);
    hd_free(w);
    hd_free(x);
    hd_free(bias);
    hd_free(y);
}

static void matmul(void **state)
{
    (void)state;
    static const int64_t rows[] = {1, 7, 33}, cols[] = {1, 15, 16, 17, 100}, counts[] = {1, 5};
    for (int i = 0; i < 3 * 5 * 2 * 2 * 2; i++)
        matmul_case(rows[i % 3], cols[i / 3 % 5], counts[i / 15 % 2], i / 30 % 2, i / 60 ? 3 : 1);
}

static void matmul_of_heads(void **state)
{
    (void)state;
    enum { HEADS = 5, ROWS = 6, COLS = 9, N = 4, X_STEP = COLS + 2, Y_STEP = ROWS + 1 };
    const int64_t ldx = HEADS * X_STEP + 3, ldy = HEADS * Y_STEP + 4;
    for (int threads = 1; threads <= 3; threads += 2) {
        float *w = values_of(HEADS * ROWS * COLS), *x = values_of(N * ldx), *y = canaries_of(N * ldy);
        hd_matrix m[HEADS];
        for (int h = 0; h < HEADS; h++)
            m[h] = matrix_of(w + h * ROWS * COLS, ROWS, COLS);
        hd_exec ex = exec_for(&(hd_shape_limits){.tokens = N, .cols = COLS}, threads);
        hd_reference_matmul_heads(&ex, y, ldy, Y_STEP, m, HEADS, x, ldx, X_STEP, N);
        for (int64_t i = 0; i < N * ldy; i++) {
            int64_t t = i / ldy, h = i % ldy / Y_STEP, r = i % ldy % Y_STEP;
            double want = 0.0;
            for (int c = 0; c < COLS && h < HEADS && r < ROWS; c++)
                want += (double)w[(h * ROWS + r) * COLS + c] * x[t * ldx + h * X_STEP + c];
            near_to(y[i], h < HEADS && r < ROWS ? want : CANARY, 3.0, "matmul_heads", i);
        }
        hd_free_aligned(ex.scratch);
        hd_free(w);
        hd_free(x);
        hd_free(y);
    }
}

static void embed(void **state)
{
    (void)state;
    enum { ROWS = 11, COLS = 13, N = 6 };
    static const int32_t ids[N] = {10, 0, 5, 5, 1, 10};
    float *w = values_of(ROWS * COLS), out[N * COLS];
    hd_matrix m = matrix_of(w, ROWS, COLS);
    for (int threads = 1; threads <= 3; threads += 2) {
        hd_exec ex = exec_for(&(hd_shape_limits){.tokens = N, .cols = COLS}, threads);
        hd_reference_embed(&ex, out, &m, ids, N);
        for (int i = 0; i < N; i++)
            assert_memory_equal(out + i * COLS, w + ids[i] * COLS, COLS * sizeof *w);
        hd_free_aligned(ex.scratch);
    }
    hd_free(w);
}

/* ---- rows and values ---- */

static void rms_norm(void **state)
{
    (void)state;
    static const int64_t cols[] = {1, 7, 16, 33, 300};
    for (int i = 0; i < 5 * 2 * 2; i++) {
        int64_t width = cols[i % 5], n = 9, ldx = width + 4, ldo = i / 5 % 2 ? ldx : width + 1;
        bool in_place = i / 5 % 2;
        float *x = values_of(n * ldx), *weight = values_of(width), *out = in_place ? x : canaries_of(n * ldo);
        float *before = hd_alloc_array((size_t)(n * ldx), sizeof *before);
        assert_non_null(before);
        memcpy(before, x, (size_t)(n * ldx) * sizeof *x);
        hd_exec ex = {.pool = i / 10 ? pool : NULL};
        hd_reference_rms_norm(&ex, out, ldo, x, ldx, weight, width, 1e-3f, n);
        for (int64_t t = 0; t < n; t++) {
            double squares = 0.0;
            for (int64_t c = 0; c < width; c++)
                squares += (double)before[t * ldx + c] * before[t * ldx + c];
            double scale = 1.0 / sqrt(squares / (double)width + 1e-3);
            for (int64_t c = 0; c < ldo; c++) {
                double want = c < width  ? before[t * ldx + c] * scale * weight[c]
                              : in_place ? before[t * ldx + c]
                                         : CANARY;
                near_to(out[t * ldo + c], want, 3.0, "rms_norm", t * ldo + c);
            }
        }
        if (!in_place) hd_free(out);
        hd_free(x);
        hd_free(weight);
        hd_free(before);
    }
}

static void rope(void **state)
{
    (void)state;
    static const int dims[] = {2, 6, 32};
    for (int i = 0; i < 3 * 2 * 2; i++) {
        enum { N = 7, COUNT = 3 };
        int dim = dims[i % 3], half = dim / 2, step = dim + 5;
        bool adjacent = i / 3 % 2;
        int64_t ldx = COUNT * step + 2;
        float *x = values_of(N * ldx), *table = values_of(N * dim);
        float *before = hd_alloc_array((size_t)(N * ldx), sizeof *before);
        assert_non_null(before);
        memcpy(before, x, (size_t)(N * ldx) * sizeof *x);
        hd_exec ex = {.pool = i / 6 ? pool : NULL};
        hd_rope r = {.table = table, .dim = dim, .adjacent = adjacent};
        hd_reference_rope(&ex, x, ldx, step, COUNT, &r, N);
        for (int64_t at = 0; at < N * ldx; at++) {
            int64_t t = at / ldx, v = at % ldx / step, d = at % ldx % step;
            double want = before[at];
            if (v < COUNT && d < dim) {
                int64_t pair = adjacent ? d / 2 : d % half, first = adjacent ? d % 2 == 0 : d < half;
                int64_t a = adjacent ? at - d % 2 : at - (d < half ? 0 : half), b = a + (adjacent ? 1 : half);
                double c = table[t * dim + pair], s = table[t * dim + half + pair];
                want = first ? before[a] * c - before[b] * s : before[a] * s + before[b] * c;
            }
            near_to(x[at], want, 2.0, "rope", at);
        }
        hd_free(x);
        hd_free(table);
        hd_free(before);
    }
}

static void swiglu_and_add(void **state)
{
    (void)state;
    static const int64_t sizes[][2] = {{1, 1}, {13, 7}, {300, 50}};
    for (int i = 0; i < 6; i++) {
        int64_t n = sizes[i % 3][0] * sizes[i % 3][1];
        float *gate = values_of(n), *up = values_of(n), *sum = values_of(n);
        float *g = hd_alloc_array((size_t)n, sizeof *g), *s = hd_alloc_array((size_t)n, sizeof *s);
        assert_true(g && s);
        hd_exec ex = {.pool = i / 3 ? pool : NULL};
        for (int64_t j = 0; j < n; j++)
            gate[j] *= 30.0f; /* far into both tails */
        gate[0] = -200.0f;
        memcpy(g, gate, (size_t)n * sizeof *g);
        memcpy(s, sum, (size_t)n * sizeof *s);
        hd_reference_swiglu(&ex, gate, up, sizes[i % 3][0], sizes[i % 3][1]);
        hd_reference_add(&ex, sum, up, sizes[i % 3][0], sizes[i % 3][1]);
        for (int64_t j = 0; j < n; j++) {
            near_to(gate[j], g[j] / (1.0 + exp(-(double)g[j])) * up[j], 30.0, "swiglu", j);
            near_to(sum[j], (double)s[j] + up[j], 2.0, "add", j);
        }
        hd_free(gate);
        hd_free(up);
        hd_free(sum);
        hd_free(g);
        hd_free(s);
    }
}

/* ---- cached rows ---- */

/* A cache of one sequence: two streams with a gap before each, in pages of `page_rows`. */
enum { PAGES = 40, GAP = 12 };

typedef struct cache {
    uint8_t *pages[PAGES];
    hd_rows k, v;
} cache;

static cache cache_of(hd_type type, int page_rows, int k_width, int v_width)
{
    size_t size = (size_t)hd_type_block_bytes(type);
    size_t k_stride = (size_t)k_width * size, v_stride = (size_t)v_width * size;
    size_t v_offset = GAP + k_stride * (size_t)page_rows + GAP;
    cache c = {.k = {.page_rows = page_rows, .offset = GAP, .stride = k_stride, .type = type, .width = k_width},
               .v = {.page_rows = page_rows, .offset = v_offset, .stride = v_stride, .type = type, .width = v_width}};
    for (int i = 0; i < PAGES; i++) {
        c.pages[i] = hd_alloc_aligned(v_offset + v_stride * (size_t)page_rows + GAP);
        assert_non_null(c.pages[i]);
    }
    return c;
}

static void point(cache *c) /* once it is where it stays */
{
    c->k.pages = c->v.pages = c->pages;
}

static void drop_cache(cache *c)
{
    for (int i = 0; i < PAGES; i++)
        hd_free_aligned(c->pages[i]);
}

static float rounded(float x, hd_type type)
{
    if (type == HD_TYPE_F16) return hd_f16_to_f32(hd_f32_to_f16(x));
    return type == HD_TYPE_BF16 ? hd_bf16_to_f32(hd_f32_to_bf16(x)) : x;
}

static const hd_type cache_types[] = {HD_TYPE_F32, HD_TYPE_F16, HD_TYPE_BF16};

/* Rows go where the view says, rounded to its type; the rest of the pages is not touched. */
static void store_rows(void **state)
{
    (void)state;
    enum { WIDTH = 10, PART = 7, AT = 2, N = 11, POS = 6, PAGE_ROWS = 4 };
    hd_exec ex = {0};
    for (size_t t = 0; t < HD_ARRAY_LEN(cache_types); t++) {
        cache c = cache_of(cache_types[t], PAGE_ROWS, WIDTH, 3);
        point(&c);
        float *x = values_of(N * (PART + 1));
        hd_reference_store_rows(&ex, &c.k, AT, x, PART + 1, PART, POS, N);
        size_t size = (size_t)hd_type_block_bytes(cache_types[t]), bytes = c.v.offset + 3 * size * PAGE_ROWS + GAP;
        for (size_t at = 0; at < 5 * bytes; at++) { /* every byte of the first five pages */
            size_t in_page = at % bytes, row = (in_page - GAP) / (WIDTH * size);
            int64_t pos = (int64_t)(at / bytes * PAGE_ROWS + row), i = pos - POS;
            int64_t col = (int64_t)((in_page - GAP) % (WIDTH * size) / size) - AT;
            uint8_t want = 0;
            if (in_page >= GAP && row < PAGE_ROWS && i >= 0 && i < N && col >= 0 && col < PART) {
                float value = x[i * (PART + 1) + col];
                uint32_t bits;
                memcpy(&bits, &value, sizeof bits);
                if (cache_types[t] == HD_TYPE_F16) bits = hd_f32_to_f16(value);
                if (cache_types[t] == HD_TYPE_BF16) bits = hd_f32_to_bf16(value);
                want = (uint8_t)(bits >> (8 * ((in_page - GAP) % size)));
            }
            assert_int_equal(c.pages[at / bytes][in_page], want);
        }
        hd_free(x);
        drop_cache(&c);
    }
}

/* Fills positions 0 .. rows-1 of both streams; plain copies of what a reader then sees in k and v. */
static void fill_cache(cache *c, int64_t rows, float *k, float *v)
{
    hd_exec ex = {0};
    for (int64_t i = 0; i < rows * c->k.width; i++)
        k[i] = rounded(random_value(), c->k.type);
    for (int64_t i = 0; i < rows * c->v.width; i++)
        v[i] = rounded(random_value(), c->v.type);
    hd_reference_store_rows(&ex, &c->k, 0, k, c->k.width, c->k.width, 0, rows);
    hd_reference_store_rows(&ex, &c->v, 0, v, c->v.width, c->v.width, 0, rows);
}

/* softmax(scale q k^T) v over rows 0 .. rows-1, each k_dim and v_dim wide, ld apart. */
static void naive_attention(const float *q, const double *k, const double *v, int64_t rows, int k_dim, int v_dim,
                            double scale, double *out)
{
    double p[1024], max = -1e300, sum = 0.0;
    for (int64_t i = 0; i < rows; i++) {
        p[i] = 0.0;
        for (int d = 0; d < k_dim; d++)
            p[i] += q[d] * k[i * k_dim + d];
        p[i] *= scale;
        max = p[i] > max ? p[i] : max;
    }
    for (int d = 0; d < v_dim; d++)
        out[d] = 0.0;
    for (int64_t i = 0; i < rows; i++) {
        double e = exp(p[i] - max);
        sum += e;
        for (int d = 0; d < v_dim; d++)
            out[d] += e * v[i * v_dim + d];
    }
    for (int d = 0; d < v_dim; d++)
        out[d] /= sum;
}

typedef struct sequence {
    cache c;
    float *k, *v, *q, *out;
    int64_t queries, pos0, ldq, ldo;
} sequence;

static void open_sequence(sequence *s, hd_type type, int page_rows, int k_width, int v_width, int64_t q_width,
                          int64_t out_width, int64_t pos0, int64_t queries)
{
    int64_t rows = pos0 + queries;
    s->c = cache_of(type, page_rows, k_width, v_width);
    point(&s->c);
    s->queries = queries;
    s->pos0 = pos0;
    s->ldq = q_width + 3;
    s->ldo = out_width + 1;
    s->k = values_of(rows * k_width);
    s->v = values_of(rows * v_width);
    fill_cache(&s->c, rows, s->k, s->v);
    s->q = values_of(queries * s->ldq);
    s->out = canaries_of(queries * s->ldo);
    for (int64_t i = 0; i < queries * s->ldq; i++)
        s->q[i] *= 4.0f; /* sharp enough that a wrong row shows */
}

static hd_attend_span span_of(const sequence *s)
{
    return (hd_attend_span){.q = s->q,
                            .out = s->out,
                            .ldq = s->ldq,
                            .ldo = s->ldo,
                            .queries = s->queries,
                            .pos0 = s->pos0,
                            .k = s->c.k,
                            .v = s->c.v};
}

static void close_sequence(sequence *s)
{
    drop_cache(&s->c);
    hd_free(s->k);
    hd_free(s->v);
    hd_free(s->q);
    hd_free(s->out);
}

/* Columns [at, at + width) of the first `rows` rows. */
static void columns(const float *rows_in, int64_t rows, int ld, int at, int width, double *out)
{
    for (int64_t i = 0; i < rows; i++)
        for (int d = 0; d < width; d++)
            out[i * width + d] = rows_in[i * ld + at + d];
}

static void check_sequence(const sequence *s, const hd_attend_shape *shape)
{
    static double k[1024 * 16], v[1024 * 16];
    double want[16];
    int group = shape->heads / shape->kv_heads;
    for (int h = 0; h < shape->heads; h++) {
        int64_t rows = s->pos0 + s->queries;
        columns(s->k, rows, s->c.k.width, h / group * shape->k_dim, shape->k_dim, k);
        columns(s->v, rows, s->c.v.width, h / group * shape->v_dim, shape->v_dim, v);
        for (int64_t i = 0; i < s->queries; i++) {
            naive_attention(s->q + i * s->ldq + h * shape->k_dim, k, v, s->pos0 + i + 1, shape->k_dim, shape->v_dim,
                            shape->scale, want);
            for (int d = 0; d < shape->v_dim; d++)
                near_to(s->out[i * s->ldo + h * shape->v_dim + d], want[d], 3.0, "attend", i);
        }
    }
    for (int64_t i = 0; i < s->queries; i++)
        assert_true(s->out[i * s->ldo + shape->heads * shape->v_dim] == CANARY);
}

/* Spans: from the beginning, one token at each end of a page, across pages, beyond several tiles. */
static const int64_t spans[][2] = {{0, 1}, {31, 1}, {32, 1}, {0, 33}, {5, 70}, {250, 3}, {63, 2}, {0, 130}};

static void attend(void **state)
{
    (void)state;
    static const struct {
        int heads, kv_heads, k_dim, v_dim;
    } shapes[] = {{4, 4, 8, 8}, {6, 2, 7, 7}, {5, 1, 16, 11}, {1, 1, 1, 1}};
    for (size_t i = 0; i < HD_ARRAY_LEN(shapes) * HD_ARRAY_LEN(cache_types) * 2; i++) {
        int heads = shapes[i % 4].heads, kv = shapes[i % 4].kv_heads;
        int k_dim = shapes[i % 4].k_dim, v_dim = shapes[i % 4].v_dim;
        hd_attend_shape shape = {
            .heads = heads, .kv_heads = kv, .k_dim = k_dim, .v_dim = v_dim, .scale = 1.0f / sqrtf((float)k_dim)};
        sequence s[HD_ARRAY_LEN(spans)];
        hd_attend_span views[HD_ARRAY_LEN(spans)];
        seed = i;
        for (size_t j = 0; j < HD_ARRAY_LEN(spans); j++) {
            open_sequence(&s[j], cache_types[i / 4 % 3], j % 2 ? 32 : 7, kv * k_dim, kv * v_dim, heads * k_dim,
                          heads * v_dim, spans[j][0], spans[j][1]);
            views[j] = span_of(&s[j]);
        }
        hd_exec ex = exec_for(&(hd_shape_limits){.heads = heads, .k_dim = k_dim, .v_dim = v_dim}, i / 12 ? 3 : 1);
        hd_reference_attend(&ex, &shape, views, HD_ARRAY_LEN(spans));
        for (size_t j = 0; j < HD_ARRAY_LEN(spans); j++) {
            check_sequence(&s[j], &shape);
            close_sequence(&s[j]);
        }
        hd_free_aligned(ex.scratch);
    }
}

/* Decompressed latent attention is attention over k = [k_b^T c | k_rope], v = v_b c. */
enum { HEADS = 3, NOPE = 5, ROPE = 4, LORA = 9, V_DIM = 7, K_DIM = NOPE + ROPE };

static void check_latent(const sequence *s, const float *k_b, const float *v_b, double scale)
{
    static double k[1024 * K_DIM], v[1024 * V_DIM];
    double want[V_DIM];
    int64_t rows = s->pos0 + s->queries;
    for (int h = 0; h < HEADS; h++) {
        for (int64_t i = 0; i < rows; i++) {
            const float *c = s->k + i * (LORA + ROPE);
            for (int d = 0; d < K_DIM; d++) {
                k[i * K_DIM + d] = d < NOPE ? 0.0 : c[LORA + d - NOPE];
                for (int l = 0; l < LORA && d < NOPE; l++)
                    k[i * K_DIM + d] += (double)k_b[(h * LORA + l) * NOPE + d] * c[l];
            }
            for (int d = 0; d < V_DIM; d++) {
                v[i * V_DIM + d] = 0.0;
                for (int l = 0; l < LORA; l++)
                    v[i * V_DIM + d] += (double)v_b[(h * V_DIM + d) * LORA + l] * c[l];
            }
        }
        for (int64_t i = 0; i < s->queries; i++) {
            naive_attention(s->q + i * s->ldq + h * K_DIM, k, v, s->pos0 + i + 1, K_DIM, V_DIM, scale, want);
            for (int d = 0; d < V_DIM; d++)
                near_to(s->out[i * s->ldo + h * V_DIM + d], want[d], 12.0, "attend_mla", i);
        }
    }
}

static void attend_mla(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cache_types) * 2; i++) {
        seed = 100 + i;
        float *k_b = values_of(HEADS * LORA * NOPE), *v_b = values_of(HEADS * V_DIM * LORA);
        hd_matrix k_of[HEADS], v_of[HEADS];
        sequence s[HD_ARRAY_LEN(spans)];
        hd_attend_span views[HD_ARRAY_LEN(spans)];
        for (int h = 0; h < HEADS; h++) {
            k_of[h] = matrix_of(k_b + h * LORA * NOPE, LORA, NOPE);
            v_of[h] = matrix_of(v_b + h * V_DIM * LORA, V_DIM, LORA);
        }
        for (size_t j = 0; j < HD_ARRAY_LEN(spans); j++) {
            open_sequence(&s[j], cache_types[i % 3], j % 2 ? 32 : 7, LORA + ROPE, 1, HEADS * K_DIM, HEADS * V_DIM,
                          spans[j][0], spans[j][1]);
            views[j] = span_of(&s[j]);
            views[j].v = views[j].k;
        }
        hd_mla_shape shape = {.heads = HEADS,
                              .nope = NOPE,
                              .rope = ROPE,
                              .lora = LORA,
                              .v_dim = V_DIM,
                              .scale = 0.3f,
                              .k_b = k_of,
                              .v_b = v_of};
        hd_exec ex = exec_for(
            &(hd_shape_limits){.heads = HEADS, .v_dim = V_DIM, .mla_lora = LORA, .mla_nope = NOPE, .mla_rope = ROPE},
            i / 3 ? 3 : 1);
        hd_reference_attend_mla(&ex, &shape, views, HD_ARRAY_LEN(spans));
        for (size_t j = 0; j < HD_ARRAY_LEN(spans); j++) {
            check_latent(&s[j], k_b, v_b, 0.3f);
            close_sequence(&s[j]);
        }
        hd_free_aligned(ex.scratch);
        hd_free(k_b);
        hd_free(v_b);
    }
}

/* ---- experts ---- */

static void moe_case(int experts, int used, int hidden, int ffn, int64_t n, int threads)
{
    float *gate = values_of((int64_t)experts * ffn * hidden), *up = values_of((int64_t)experts * ffn * hidden);
    float *down = values_of((int64_t)experts * ffn * hidden), *x = values_of(n * hidden), *weight = values_of(n * used);
    float *out = canaries_of(n * hidden);
    hd_matrix m[3][16];
    int32_t ids[200];
    for (int e = 0; e < experts; e++) {
        m[0][e] = matrix_of(gate + (int64_t)e * ffn * hidden, ffn, hidden);
        m[1][e] = matrix_of(up + (int64_t)e * ffn * hidden, ffn, hidden);
        m[2][e] = matrix_of(down + (int64_t)e * ffn * hidden, hidden, ffn);
    }
    for (int64_t i = 0; i < n * used; i++) /* distinct for a token, and the last expert never */
        ids[i] = (int32_t)((i / used * 3 + i % used) % (experts > used ? experts - 1 : experts));
    hd_experts all = {.count = experts, .gate = m[0], .up = m[1], .down = m[2]};
    hd_exec ex = exec_for(
        &(hd_shape_limits){
            .tokens = n, .cols = hidden, .hidden = hidden, .experts = experts, .experts_used = used, .expert_ffn = ffn},
        threads);
    hd_reference_moe(&ex, out, &all, x, ids, weight, used, n);
    for (int64_t t = 0; t < n; t++)
        for (int r = 0; r < hidden; r++) {
            double want = 0.0;
            for (int j = 0; j < used; j++) {
                int64_t e = ids[t * used + j];
                for (int f = 0; f < ffn; f++) {
                    double g = 0.0, u = 0.0;
                    for (int c = 0; c < hidden; c++) {
                        g += (double)gate[(e * ffn + f) * hidden + c] * x[t * hidden + c];
                        u += (double)up[(e * ffn + f) * hidden + c] * x[t * hidden + c];
                    }
                    want += weight[t * used + j] * down[(e * hidden + r) * ffn + f] * (g / (1.0 + exp(-g)) * u);
                }
            }
            near_to(out[t * hidden + r], want, 20.0, "moe", t * hidden + r);
        }
    hd_free_aligned(ex.scratch);
    hd_free(gate);
    hd_free(up);
    hd_free(down);
    hd_free(x);
    hd_free(weight);
    hd_free(out);
}

static void moe(void **state)
{
    (void)state;
    for (int threads = 1; threads <= 3; threads += 2) {
        moe_case(1, 1, 1, 1, 1, threads);
        moe_case(8, 2, 13, 7, 1, threads);
        moe_case(8, 2, 7, 13, 20, threads);
        moe_case(16, 5, 20, 17, 37, threads);
        moe_case(4, 4, 33, 3, 50, threads);
    }
}

static int start_pool(void **state)
{
    (void)state;
    return hd_pool_open(&pool, 3, NULL) == HD_OK ? 0 : -1;
}

static int stop_pool(void **state)
{
    (void)state;
    hd_pool_close(&pool);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(matmul),     cmocka_unit_test(matmul_of_heads),
        cmocka_unit_test(embed),      cmocka_unit_test(rms_norm),
        cmocka_unit_test(rope),       cmocka_unit_test(swiglu_and_add),
        cmocka_unit_test(store_rows), cmocka_unit_test(attend),
        cmocka_unit_test(attend_mla), cmocka_unit_test(moe),
    };
    return cmocka_run_group_tests(tests, start_pool, stop_pool);
}
