/* kernels/profile.c: see profile.h. */
#include "kernels/profile.h"

#include <string.h>

#define SEEN_EXPERTS 4096 /* experts of a layer that are told apart; more are counted as often as they are chosen */

struct hd_profile {
    hd_backend table; /* first: an operator finds us by its address */
    const hd_backend *inner;
    hd_profile_row rows[HD_PROFILE_ROWS_MAX];
    size_t count;
};

static hd_profile *profile_of(const hd_exec *ex)
{
    return (hd_profile *)(uintptr_t)ex->backend; /* only we wrote that address, of an object of our own */
}

/* The row of this operator, type and shape; the last one takes what finds no room. */
static hd_profile_row *row_of(hd_profile *p, const char *op, hd_type type, int64_t rows, int64_t cols)
{
    for (size_t i = 0; i < p->count; i++) {
        hd_profile_row *row = &p->rows[i];
        if (strcmp(row->op, op) == 0 && row->type == type && row->rows == rows && row->cols == cols) return row;
    }
    hd_profile_row *others = &p->rows[HD_PROFILE_ROWS_MAX - 1];
    if (p->count == HD_PROFILE_ROWS_MAX) return others;
    if (p->count == HD_PROFILE_ROWS_MAX - 1)
        *others = (hd_profile_row){.op = "others"};
    else
        p->rows[p->count] = (hd_profile_row){.op = op, .type = type, .rows = rows, .cols = cols};
    return &p->rows[p->count++];
}

/* Counts one call, begun at `start`. */
static hd_profile_row *count_call(hd_profile *p, uint64_t start, const char *op, hd_type type, int64_t rows,
                                  int64_t cols)
{
    hd_profile_row *row = row_of(p, op, type, rows, cols);
    row->seconds += (double)(hd_clock_ns() - start) / 1e9;
    row->calls++;
    return row;
}

static double file_bytes(const hd_matrix *m)
{
    return (double)m->rows * (double)m->row_bytes;
}

static double memory_bytes(const hd_matrix *m)
{
    return m->packed ? (double)m->packed_bytes : file_bytes(m);
}

/* One product of n rows of activations with m. */
static void count_product(hd_profile_row *row, const hd_matrix *m, int64_t n)
{
    row->bytes += file_bytes(m);
    row->read_bytes += memory_bytes(m);
    row->operations += 2.0 * (double)m->rows * (double)m->cols * (double)n;
}

static void count_cache(hd_profile_row *row, const hd_rows *rows, int64_t keys)
{
    size_t bytes = 0;
    if (!hd_type_row_bytes(rows->type, rows->width, &bytes)) return;
    row->bytes += (double)bytes * (double)keys;
    row->read_bytes += (double)bytes * (double)keys;
}

static hd_status prepare(const hd_exec *ex, hd_matrix *m)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    hd_status status = p->inner->prepare(ex, m);
    hd_profile_row *row = count_call(p, start, "repack", m->type, 0, 0);
    row->bytes += file_bytes(m);
    row->read_bytes += m->packed ? (double)m->packed_bytes : 0;
    return status;
}

static void embed(const hd_exec *ex, float *out, const hd_matrix *m, const int32_t *ids, int64_t n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->embed(ex, out, m, ids, n);
    hd_profile_row *row = count_call(p, start, "embed", m->type, m->rows, m->cols);
    row->bytes += (double)m->row_bytes * (double)n;
    row->read_bytes += (double)m->row_bytes * (double)n;
}

static void matmul(const hd_exec *ex, float *y, int64_t ldy, const hd_matrix *w, const float *bias, const float *x,
                   int64_t ldx, int64_t n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->matmul(ex, y, ldy, w, bias, x, ldx, n);
    hd_profile_row *row = count_call(p, start, "matmul", w->type, w->rows, w->cols);
    count_product(row, w, n);
}

/* Under the first one's type and the rows of all. */
static void matmul_shared(const hd_exec *ex, const hd_product *products, int count, const float *x, int64_t ldx,
                          int64_t n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->matmul_shared(ex, products, count, x, ldx, n);
    int64_t rows = 0;
    for (int i = 0; i < count; i++)
        rows += products[i].w->rows;
    hd_profile_row *row = count_call(p, start, "matmul", products[0].w->type, rows, products[0].w->cols);
    for (int i = 0; i < count; i++)
        count_product(row, products[i].w, n);
}

static void matmul_heads(const hd_exec *ex, float *y, int64_t ldy, int64_t y_step, const hd_matrix *w, int heads,
                         const float *x, int64_t ldx, int64_t x_step, int64_t n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->matmul_heads(ex, y, ldy, y_step, w, heads, x, ldx, x_step, n);
    hd_profile_row *row = count_call(p, start, "matmul_heads", w->type, w->rows, w->cols);
    for (int i = 0; i < heads; i++)
        count_product(row, &w[i], n);
}

static void rms_norm(const hd_exec *ex, float *out, int64_t ldo, const float *x, int64_t ldx, const float *weight,
                     int64_t cols, float eps, int64_t n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->rms_norm(ex, out, ldo, x, ldx, weight, cols, eps, n);
    count_call(p, start, "rms_norm", HD_TYPE_F32, 0, 0);
}

static void rope(const hd_exec *ex, float *x, int64_t ldx, int64_t step, int vectors, const hd_rope *r, int64_t n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->rope(ex, x, ldx, step, vectors, r, n);
    count_call(p, start, "rope", HD_TYPE_F32, 0, 0);
}

static void store_rows(const hd_exec *ex, const hd_rows *rows, int at, const float *x, int64_t ldx, int width,
                       int64_t pos0, int64_t n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->store_rows(ex, rows, at, x, ldx, width, pos0, n);
    count_call(p, start, "store_rows", rows->type, 0, 0);
}

/* Query i of the span sees pos0 + i + 1 keys: how many pairs there are. */
static double pairs(const hd_attend_span *span)
{
    double n = (double)span->queries;
    return n * (double)span->pos0 + n * (n + 1) / 2;
}

static void attend(const hd_exec *ex, const hd_attend_shape *shape, const hd_attend_span *spans, int n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->attend(ex, shape, spans, n);
    hd_profile_row *row = count_call(p, start, "attend", n > 0 ? spans[0].k.type : HD_TYPE_F32, 0, 0);
    for (int i = 0; i < n; i++) {
        const hd_attend_span *s = &spans[i];
        bool one_stream = s->k.pages == s->v.pages && s->k.offset == s->v.offset; /* absorbed MLA */
        count_cache(row, &s->k, s->pos0 + s->queries);
        if (!one_stream) count_cache(row, &s->v, s->pos0 + s->queries);
        row->operations += 2.0 * shape->heads * ((double)shape->k_dim + shape->v_dim) * pairs(s);
    }
}

static void attend_mla(const hd_exec *ex, const hd_mla_shape *shape, const hd_attend_span *spans, int n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->attend_mla(ex, shape, spans, n);
    hd_profile_row *row = count_call(p, start, "attend_mla", n > 0 ? spans[0].k.type : HD_TYPE_F32, 0, 0);
    for (int i = 0; i < n; i++) {
        const hd_attend_span *s = &spans[i];
        count_cache(row, &s->k, s->pos0 + s->queries);
        for (int h = 0; h < shape->heads; h++) { /* every key is decompressed */
            count_product(row, &shape->k_b[h], s->pos0 + s->queries);
            count_product(row, &shape->v_b[h], s->pos0 + s->queries);
        }
        row->operations += 2.0 * shape->heads * ((double)shape->nope + shape->rope + shape->v_dim) * pairs(s);
    }
}

static void swiglu(const hd_exec *ex, float *gate, const float *up, int64_t cols, int64_t n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->swiglu(ex, gate, up, cols, n);
    count_call(p, start, "swiglu", HD_TYPE_F32, 0, 0);
}

static void add(const hd_exec *ex, float *x, const float *y, int64_t cols, int64_t n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->add(ex, x, y, cols, n);
    count_call(p, start, "add", HD_TYPE_F32, 0, 0);
}

/* Marks expert `id` and says whether that is news. */
static bool first_time(uint8_t seen[SEEN_EXPERTS / 8], int32_t id)
{
    if (id < 0 || id >= SEEN_EXPERTS) return true;
    uint8_t bit = (uint8_t)(1u << (id & 7));
    bool news = !(seen[id >> 3] & bit);
    seen[id >> 3] |= bit;
    return news;
}

static void moe(const hd_exec *ex, float *out, const hd_experts *experts, const float *x, const int32_t *ids,
                const float *weight, int used, int64_t n)
{
    hd_profile *p = profile_of(ex);
    uint64_t start = hd_clock_ns();
    p->inner->moe(ex, out, experts, x, ids, weight, used, n);
    hd_profile_row *row =
        count_call(p, start, "moe", experts->gate[0].type, experts->gate[0].rows, experts->gate[0].cols);
    uint8_t seen[SEEN_EXPERTS / 8] = {0};
    for (int64_t i = 0; i < n * used; i++) {
        if (ids[i] < 0) continue;
        const hd_matrix *const parts[] = {&experts->gate[ids[i]], &experts->up[ids[i]], &experts->down[ids[i]]};
        bool news = first_time(seen, ids[i]);
        for (size_t j = 0; j < HD_ARRAY_LEN(parts); j++) {
            row->operations += 2.0 * (double)parts[j]->rows * (double)parts[j]->cols;
            row->bytes += news ? file_bytes(parts[j]) : 0;
            row->read_bytes += news ? memory_bytes(parts[j]) : 0;
        }
    }
}

hd_status hd_profile_open(hd_profile **out, hd_error *err)
{
    *out = hd_calloc(1, sizeof **out);
    return *out ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for the profile");
}

void hd_profile_close(hd_profile **profile)
{
    hd_free(*profile);
    *profile = NULL;
}

const hd_backend *hd_profile_wrap(hd_profile *p, const hd_backend *inner)
{
    p->inner = inner;
    p->table = *inner; /* what is not wrapped here goes straight through, uncounted */
    p->table.prepare = prepare;
    p->table.embed = embed;
    p->table.matmul = matmul;
    p->table.matmul_shared = matmul_shared;
    p->table.matmul_heads = matmul_heads;
    p->table.rms_norm = rms_norm;
    p->table.rope = rope;
    p->table.store_rows = store_rows;
    p->table.attend = attend;
    p->table.attend_mla = attend_mla;
    p->table.swiglu = swiglu;
    p->table.add = add;
    p->table.moe = moe;
    return &p->table;
}

const hd_profile_row *hd_profile_rows(const hd_profile *p, size_t *rows)
{
    *rows = p->count;
    return p->rows;
}

void hd_profile_reset(hd_profile *p)
{
    p->count = 0;
}
