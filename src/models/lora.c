/* models/lora.c: adapters bound to a model, and what they add in the forward pass: y += scale * B (A x).
 *
 * A meets x by the backend's own product.  B is kept transposed, in blocks of ROWS rows that are read front to back,
 * with all scales in it: rows of y are summed side by side, over the rank in order, so that a token's result is the
 * same alone and in any batch.  Invariant: an hd_lora is immutable but for its counts, of references and of uses; it
 * owns all its memory, no file need stay. */
#include <stdatomic.h>
#include <string.h>

#include "models/lora_internal.h"

#define ROWS HD_LOW_RANK_ROWS /* of y that a piece of work has */

/* One matrix's pair. */
typedef struct pair {
    hd_matrix a;    /* [rank][cols]; no rows: the matrix is not adapted */
    const float *b; /* [rows / ROWS, up][rank][ROWS]; zeros behind the last row */
    int64_t rank, rows;
} pair;

struct hd_lora {
    atomic_int refs;
    atomic_int running, waiting; /* requests, of whichever scheduler */
    const hd_model *model;
    const hd_backend *backend;
    uint64_t number, hash; /* of all adapters of the process; of the values */
    hd_lora_info info;
    int layers;
    pair *pairs; /* [layers][HD_LORA_SLOTS] */
    hd_arena arena;
};

static int slot_of(hd_name_id id)
{
    switch (id) {
    case HD_NAME_q_weight:
    case HD_NAME_q_b: return HD_LORA_Q;
    case HD_NAME_k_weight: return HD_LORA_K;
    case HD_NAME_v_weight: return HD_LORA_V;
    case HD_NAME_o_weight: return HD_LORA_O;
    case HD_NAME_gate_weight:
    case HD_NAME_gate_shexp: return HD_LORA_GATE;
    case HD_NAME_up_weight:
    case HD_NAME_up_shexp: return HD_LORA_UP;
    case HD_NAME_down_weight:
    case HD_NAME_down_shexp: return HD_LORA_DOWN;
    case HD_NAME_q_a: return HD_LORA_Q_A;
    case HD_NAME_kv_a: return HD_LORA_KV_A;
    default: return -1;
    }
}

/* ---- binding ---- */

static hd_status no_memory(hd_error *err)
{
    return hd_fail(err, HD_E_MEMORY, "out of memory for an adapter");
}

/* FNV-1a over words of values: tells adapters apart, is no protection. */
static void hash_values(hd_lora *l, const float *x, int64_t n)
{
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &x[i], sizeof bits);
        l->hash = (l->hash ^ bits) * 0x100000001b3u;
        l->hash ^= l->hash >> 29;
    }
}

/* A in the file's own type, where that is plain: it is what every token reads. */
static hd_status take_a(hd_lora *l, pair *to, const hd_adapter_part *p, const float *values, hd_error *err)
{
    hd_type type = hd_type_is_plain(p->a->type) ? p->a->type : HD_TYPE_F32;
    size_t row_bytes = 0;
    (void)hd_type_row_bytes(type, p->cols, &row_bytes); /* plain types have no blocks */
    size_t bytes = (size_t)p->rank * row_bytes;
    uint8_t *data = hd_arena_alloc(&l->arena, bytes, 1);
    if (!data) return no_memory(err);
    memcpy(data, type == p->a->type ? p->a->data : (const void *)values, bytes);
    to->a = (hd_matrix){.type = type, .rows = p->rank, .cols = p->cols, .data = data, .row_bytes = row_bytes};
    const hd_exec ex = {.backend = l->backend}; /* no pool: the model's may be at work */
    return l->backend->prepare(&ex, &to->a) == HD_OK ? HD_OK : no_memory(err);
}

static hd_status take_b(hd_lora *l, pair *to, const hd_adapter_part *p, const float *values, hd_error *err)
{
    int64_t blocks = (p->rows + ROWS - 1) / ROWS;
    float *b = hd_arena_alloc(&l->arena, (size_t)(blocks * ROWS), (size_t)p->rank * sizeof *b);
    if (!b) return no_memory(err);
    for (int64_t r = 0; r < p->rows; r++)
        for (int64_t j = 0; j < p->rank; j++)
            b[(r / ROWS * p->rank + j) * ROWS + r % ROWS] = values[r * p->rank + j];
    to->b = b;
    to->rank = p->rank;
    to->rows = p->rows;
    return HD_OK;
}

static hd_status bind_part(hd_lora *l, const hd_adapter *adapter, const hd_adapter_part *p, float scale, hd_error *err)
{
    int slot = slot_of(p->id);
    if (slot < 0)
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "the adapter changes kv_b of layer %d, which is taken apart for evaluation; merge it into the "
                       "model instead (hadal convert --merge)",
                       p->layer);
    pair *to = &l->pairs[p->layer * HD_LORA_SLOTS + slot];
    float *a = hd_alloc_array((size_t)p->rank, (size_t)p->cols * sizeof *a);
    float *b = hd_alloc_array((size_t)p->rows, (size_t)p->rank * sizeof *b);
    hd_status status = a && b ? HD_OK : no_memory(err);
    if (status == HD_OK) {
        hd_format layout = hd_checkpoint_format(l->model->ckpt);
        status = hd_adapter_values(adapter, p, &l->model->config, layout, scale, a, b, err);
    }
    if (status == HD_OK) {
        hash_values(l, a, p->rank * p->cols);
        hash_values(l, b, p->rows * p->rank);
        status = take_b(l, to, p, b, err);
    }
    if (status == HD_OK) status = take_a(l, to, p, a, err);
    hd_free(a);
    hd_free(b);
    return status;
}

static hd_status bind(hd_lora *l, const hd_adapter *adapter, float scale, hd_error *err)
{
    const hd_model *m = l->model;
    hd_adapter_info info;
    hd_adapter_get_info(adapter, &info);
    if (!m->lora_rank)
        return hd_fail(err, HD_E_ARGUMENT, "the model was opened without room for adapters (lora_rank is 0)");
    HD_TRY(hd_adapter_check(adapter, &m->config, err));
    if (info.rank > m->lora_rank)
        return hd_fail(err, HD_E_LIMIT, "the adapter has a rank of %lld, the largest allowed is %lld",
                       (long long)info.rank, (long long)m->lora_rank);
    l->layers = m->config.layers;
    l->pairs = hd_calloc((size_t)l->layers, HD_LORA_SLOTS * sizeof *l->pairs);
    if (!l->pairs) return no_memory(err);
    for (size_t i = 0; i < info.count; i++)
        HD_TRY(bind_part(l, adapter, &hd_adapter_parts(adapter)[i], scale, err));
    l->info = (hd_lora_info){.rank = info.rank, .matrices = info.count, .bytes = l->arena.bytes};
    return hd_adapter_check_file(adapter, err);
}

hd_status hd_lora_bind(hd_lora **out, const hd_model *model, const hd_adapter *adapter, float scale, hd_error *err)
{
    static _Atomic uint64_t numbers;
    *out = NULL;
    hd_lora *l = hd_calloc(1, sizeof *l);
    if (!l) return no_memory(err);
    l->model = model;
    l->backend = model->own_backend; /* a pass may be under way, with another table */
    l->number = atomic_fetch_add(&numbers, 1) + 1;
    l->hash = 0xcbf29ce484222325u;
    atomic_init(&l->refs, 1);
    hd_status status = bind(l, adapter, scale, err);
    if (status != HD_OK) {
        hd_lora_unref(&l);
        return status;
    }
    *out = l;
    return HD_OK;
}

void hd_lora_count(hd_lora *lora, int running, int waiting)
{
    if (!lora) return;
    atomic_fetch_add_explicit(&lora->running, running, memory_order_relaxed);
    atomic_fetch_add_explicit(&lora->waiting, waiting, memory_order_relaxed);
}

void hd_lora_get_counts(const hd_lora *lora, int *running, int *waiting)
{
    *running = atomic_load_explicit(&lora->running, memory_order_relaxed);
    *waiting = atomic_load_explicit(&lora->waiting, memory_order_relaxed);
}

hd_lora *hd_lora_ref(hd_lora *lora)
{
    if (lora) atomic_fetch_add(&lora->refs, 1);
    return lora;
}

void hd_lora_unref(hd_lora **lora)
{
    hd_lora *l = *lora;
    if (!l) return;
    *lora = NULL;
    if (atomic_fetch_sub(&l->refs, 1) > 1) return;
    for (int i = 0; l->pairs && i < l->layers * HD_LORA_SLOTS; i++)
        if (l->pairs[i].a.packed) l->backend->unprepare(&l->pairs[i].a);
    hd_free(l->pairs);
    hd_arena_free(&l->arena);
    hd_free(l);
}

void hd_lora_get_info(const hd_lora *lora, hd_lora_info *out)
{
    *out = lora->info;
}

uint64_t hd_lora_hash(const hd_lora *lora)
{
    return lora ? lora->hash : 0;
}

uint64_t hd_lora_number(const hd_lora *lora)
{
    return lora ? lora->number : 0;
}

bool hd_lora_is_of(const hd_lora *lora, const hd_model *model)
{
    return lora->model == model;
}

/* ---- the forward pass ---- */

typedef struct add_job {
    const hd_backend *backend;
    const pair *pairs[HD_PRODUCTS_MAX];
    float *y[HD_PRODUCTS_MAX];
    int64_t ldy[HD_PRODUCTS_MAX];
    const float *t[HD_PRODUCTS_MAX]; /* A x: [n][rank] */
    int64_t first[HD_PRODUCTS_MAX];  /* number of each one's first piece */
    int64_t pieces, n;
    int count;
} add_job;

static void add_pieces(void *arg, int64_t begin, int64_t end, int thread)
{
    const add_job *job = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++) {
        int k = job->count - 1;
        while (job->first[k] > i)
            k--;
        const pair *p = job->pairs[k];
        int64_t row = (i - job->first[k]) * ROWS, last = HD_MIN(row + ROWS, p->rows);
        const float *block = p->b + row * p->rank;
        job->backend->add_low_rank(job->y[k] + row, job->ldy[k], block, job->t[k], p->rank, last - row, job->n);
    }
}

/* What one adapter adds to the products of tokens [t0, t0 + n). */
static void add_run(hd_model *m, const hd_lora *lora, int layer, const hd_lora_product *products, int count,
                    const float *x, int64_t ldx, int64_t t0, int64_t n)
{
    add_job job = {.backend = m->backend, .n = n};
    hd_product down[HD_PRODUCTS_MAX];
    for (int i = 0; i < count; i++) {
        const pair *p = &lora->pairs[layer * HD_LORA_SLOTS + (int)products[i].slot];
        if (!p->a.rows) continue;
        float *t = m->lora_t + job.count * m->max_tokens * m->lora_rank;
        down[job.count] = (hd_product){.y = t, .ldy = p->rank, .w = &p->a};
        job.pairs[job.count] = p;
        job.y[job.count] = products[i].y + t0 * products[i].ldy;
        job.ldy[job.count] = products[i].ldy;
        job.t[job.count] = t;
        job.first[job.count++] = job.pieces;
        job.pieces += (p->rows + ROWS - 1) / ROWS;
    }
    if (!job.count) return;
    m->backend->matmul_shared(&m->exec, down, job.count, x + t0 * ldx, ldx, n);
    hd_pool_for(m->exec.pool, job.pieces, 1, add_pieces, &job);
}

void hd_lora_add(hd_model *m, const hd_batch *batch, int layer, const hd_lora_product *products, int count,
                 const float *x, int64_t ldx)
{
    int64_t t0 = 0;
    if (!m->adapted) return;
    for (int j = 0; j < batch->count;) {
        const hd_lora *lora = batch->spans[j].lora;
        int64_t n = 0;
        for (; j < batch->count && batch->spans[j].lora == lora; j++)
            n += batch->spans[j].n;
        if (lora) add_run(m, lora, layer, products, count, x, ldx, t0, n);
        t0 += n;
    }
}
