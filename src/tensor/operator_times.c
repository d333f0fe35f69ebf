/* tensor/operator_times.c: see operator_times.h. */
#include "tensor/operator_times.h"

enum { EMBED, MATMUL, MATMUL_HEADS, NORM, ROPE, STORE, ATTEND, ATTEND_MLA, SWIGLU, ADD, MOE, CLASSES };

static const char *const names[CLASSES] = {"embed",  "matmul",     "matmul_heads", "norm", "rope", "store",
                                           "attend", "attend_mla", "swiglu",       "add",  "moe"};

struct hd_operator_times {
    hd_backend table; /* first: an operator finds us by its address */
    const hd_backend *inner;
    uint64_t number, start; /* of passes; of the sampled one, 0: it is none */
    _Atomic uint64_t ns[CLASSES], calls[CLASSES], passes, pass_ns;
};

static hd_operator_times *times_of(const hd_exec *ex)
{
    return (hd_operator_times *)(uintptr_t)ex->backend; /* only we wrote that address, of an object of our own */
}

/* One writer: no locked instruction is needed. */
static void grow(_Atomic uint64_t *sum, uint64_t n)
{
    atomic_store_explicit(sum, atomic_load_explicit(sum, memory_order_relaxed) + n, memory_order_relaxed);
}

static void count(hd_operator_times *t, int class, uint64_t start)
{
    grow(&t->ns[class], hd_clock_ns() - start);
    grow(&t->calls[class], 1);
}

/* What each operator does around the inner one. */
#define TIMED(class, call)                                                                                             \
    hd_operator_times *t = times_of(ex);                                                                               \
    uint64_t start = hd_clock_ns();                                                                                    \
    t->inner->call;                                                                                                    \
    count(t, class, start)

static void embed(const hd_exec *ex, float *out, const hd_matrix *m, const int32_t *ids, int64_t n)
{
    TIMED(EMBED, embed(ex, out, m, ids, n));
}

static void matmul(const hd_exec *ex, float *y, int64_t ldy, const hd_matrix *w, const float *bias, const float *x,
                   int64_t ldx, int64_t n)
{
    TIMED(MATMUL, matmul(ex, y, ldy, w, bias, x, ldx, n));
}

static void matmul_shared(const hd_exec *ex, const hd_product *products, int products_count, const float *x,
                          int64_t ldx, int64_t n)
{
    TIMED(MATMUL, matmul_shared(ex, products, products_count, x, ldx, n));
}

static void matmul_heads(const hd_exec *ex, float *y, int64_t ldy, int64_t y_step, const hd_matrix *w, int heads,
                         const float *x, int64_t ldx, int64_t x_step, int64_t n)
{
    TIMED(MATMUL_HEADS, matmul_heads(ex, y, ldy, y_step, w, heads, x, ldx, x_step, n));
}

static void rms_norm(const hd_exec *ex, float *out, int64_t ldo, const float *x, int64_t ldx, const float *weight,
                     int64_t cols, float eps, int64_t n)
{
    TIMED(NORM, rms_norm(ex, out, ldo, x, ldx, weight, cols, eps, n));
}

static void rope(const hd_exec *ex, float *x, int64_t ldx, int64_t step, int vectors, const hd_rope *r, int64_t n)
{
    TIMED(ROPE, rope(ex, x, ldx, step, vectors, r, n));
}

static void store_rows(const hd_exec *ex, const hd_rows *rows, int at, const float *x, int64_t ldx, int width,
                       int64_t pos0, int64_t n)
{
    TIMED(STORE, store_rows(ex, rows, at, x, ldx, width, pos0, n));
}

static void attend(const hd_exec *ex, const hd_attend_shape *shape, const hd_attend_span *spans, int n)
{
    TIMED(ATTEND, attend(ex, shape, spans, n));
}

static void attend_mla(const hd_exec *ex, const hd_mla_shape *shape, const hd_attend_span *spans, int n)
{
    TIMED(ATTEND_MLA, attend_mla(ex, shape, spans, n));
}

static void swiglu(const hd_exec *ex, float *gate, const float *up, int64_t cols, int64_t n)
{
    TIMED(SWIGLU, swiglu(ex, gate, up, cols, n));
}

static void add(const hd_exec *ex, float *x, const float *y, int64_t cols, int64_t n)
{
    TIMED(ADD, add(ex, x, y, cols, n));
}

static void moe(const hd_exec *ex, float *out, const hd_experts *experts, const float *x, const int32_t *ids,
                const float *weight, int used, int64_t n)
{
    TIMED(MOE, moe(ex, out, experts, x, ids, weight, used, n));
}

hd_status hd_operator_times_open(hd_operator_times **out, const hd_backend *inner, hd_error *err)
{
    hd_operator_times *t = *out = hd_calloc(1, sizeof *t);
    if (!t) return hd_fail(err, HD_E_MEMORY, "out of memory for the times of operators");
    t->inner = inner;
    t->table = *inner; /* what is not wrapped here goes straight through, uncounted */
    t->table.embed = embed;
    t->table.matmul = matmul;
    t->table.matmul_shared = matmul_shared;
    t->table.matmul_heads = matmul_heads;
    t->table.rms_norm = rms_norm;
    t->table.rope = rope;
    t->table.store_rows = store_rows;
    t->table.attend = attend;
    t->table.attend_mla = attend_mla;
    t->table.swiglu = swiglu;
    t->table.add = add;
    t->table.moe = moe;
    return HD_OK;
}

void hd_operator_times_close(hd_operator_times **times)
{
    hd_free(*times);
    *times = NULL;
}

const hd_backend *hd_operator_times_begin(hd_operator_times *t)
{
    bool sampled = t->number++ % HD_SAMPLED_PASSES == 0;
    t->start = sampled ? hd_clock_ns() : 0;
    return sampled ? &t->table : t->inner;
}

void hd_operator_times_end(hd_operator_times *t)
{
    if (!t->start) return;
    grow(&t->pass_ns, hd_clock_ns() - t->start);
    grow(&t->passes, 1);
}

bool hd_operator_times_class(const hd_operator_times *t, int number, const char **name, uint64_t *calls, uint64_t *ns)
{
    if (number < 0 || number >= CLASSES) return false;
    *name = names[number];
    *calls = atomic_load_explicit(&t->calls[number], memory_order_relaxed);
    *ns = atomic_load_explicit(&t->ns[number], memory_order_relaxed);
    return true;
}

void hd_operator_times_passes(const hd_operator_times *t, uint64_t *passes, uint64_t *ns)
{
    *passes = atomic_load_explicit(&t->passes, memory_order_relaxed);
    *ns = atomic_load_explicit(&t->pass_ns, memory_order_relaxed);
}
