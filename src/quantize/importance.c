/* quantize/importance.c: the table of operators that counts, and the pass over a text; see importance.h.
 *
 * Invariants: `places` has every tensor of the checkpoint in the order of addresses; an entry's row is that of the
 * matrix within its tensor.  Operators have no way to say that memory ran out: `status` keeps the first failure, and
 * nothing more is counted after it.
 */
#include "quantize/importance.h"

#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

#define COLUMNS 256 /* that one thread adds up at a time: their partial sums stay in the first-level cache */
#define CHUNK 512   /* tokens of a step at most: as many as the engine takes by itself */

typedef struct place {
    const hd_tensor *tensor;
    hd_imatrix_entry *entry; /* NULL: nothing was counted yet */
    bool logits;             /* it may be the matrix that gives them */
} place;

typedef struct gatherer {
    hd_backend table; /* first: an operator finds us by its address */
    const hd_backend *inner;
    hd_imatrix *sums;
    place *places;
    size_t count;
    hd_status status;
    hd_error *err;
    /* of the last rows that were stored in the cache: in MLA the latents of the tokens under way */
    const float *stored;
    int64_t stored_ld, stored_n, stored_width;
    /* room for `tokens` tokens: of one expert, or of one span's attention */
    int64_t tokens;
    int32_t *order, *first;     /* [tokens * used] pairs by expert; [experts + 1] */
    float *input, *gate, *up;   /* [tokens][hidden], [tokens][ffn] twice */
    float *q_latent, *attended; /* [tokens][heads * (lora + rope)], [tokens][heads * lora] */
} gatherer;

static gatherer *gatherer_of(const hd_exec *ex)
{
    return (gatherer *)(uintptr_t)ex->backend; /* only we wrote that address, of an object of our own */
}

/* ---- where a matrix lies ---- */

static int compare_places(const void *a, const void *b)
{
    const place *x = a, *y = b;
    uintptr_t p = (uintptr_t)x->tensor->data, q = (uintptr_t)y->tensor->data;
    if (p != q) return p < q ? -1 : 1;
    return (x->tensor->bytes > y->tensor->bytes) - (x->tensor->bytes < y->tensor->bytes); /* first those without any */
}

/* The tensor whose bytes have this address; NULL: a matrix that the model made itself. */
static place *find_place(const gatherer *g, const hd_matrix *w)
{
    size_t low = 0, high = g->count;
    while (low < high) { /* the first that begins behind the address */
        size_t middle = low + (high - low) / 2;
        if ((uintptr_t)g->places[middle].tensor->data > (uintptr_t)w->data)
            high = middle;
        else
            low = middle + 1;
    }
    if (low == 0) return NULL;
    place *p = &g->places[low - 1];
    return (uintptr_t)w->data - (uintptr_t)p->tensor->data < p->tensor->bytes ? p : NULL;
}

/* Which matrix of a tensor of several this one is. */
static int64_t matrix_number(const place *p, const hd_matrix *w)
{
    const hd_tensor *t = p->tensor;
    if (t->dims < 3) return 0;
    return (int64_t)((size_t)(w->data - (const uint8_t *)t->data) / (t->bytes / (size_t)t->shape[0]));
}

/* ---- adding up ---- */

typedef struct add_job {
    float *sums;
    const float *x;
    int64_t ldx, cols, n;
} add_job;

/* Items are blocks of columns.  Each block is summed by itself first: large sums would swallow small squares. */
static void add_columns(void *arg, int64_t begin, int64_t end, int thread)
{
    const add_job *job = arg;
    (void)thread;
    for (int64_t block = begin; block < end; block++) {
        int64_t first = block * COLUMNS, width = HD_MIN(COLUMNS, job->cols - first);
        float part[COLUMNS] = {0};
        for (int64_t i = 0; i < job->n; i++) {
            const float *x = job->x + i * job->ldx + first;
            for (int64_t c = 0; c < width; c++)
                part[c] += x[c] * x[c];
        }
        for (int64_t c = 0; c < width; c++)
            job->sums[first + c] += part[c];
    }
}

static void open_entry(gatherer *g, place *p, int64_t cols)
{
    const hd_tensor *t = p->tensor;
    size_t rows = t->dims < 3 ? 1 : (size_t)t->shape[0];
    g->status = hd_imatrix_add(g->sums, t->name, rows, (size_t)cols, &p->entry, g->err);
}

/* Counts n inputs of w. */
static void count_at(const hd_exec *ex, gatherer *g, place *p, const hd_matrix *w, const float *x, int64_t ldx,
                     int64_t n)
{
    if (!p || g->status != HD_OK) return;
    if (!p->entry) open_entry(g, p, w->cols);
    int64_t row = matrix_number(p, w);
    if (!p->entry || p->entry->cols != (size_t)w->cols || row >= (int64_t)p->entry->rows) return;
    add_job job = {.sums = p->entry->sums + row * w->cols, .x = x, .ldx = ldx, .cols = w->cols, .n = n};
    hd_pool_for(ex->pool, (w->cols + COLUMNS - 1) / COLUMNS, 1, add_columns, &job);
    p->entry->counts[row] += (float)n;
}

static void count(const hd_exec *ex, gatherer *g, const hd_matrix *w, const float *x, int64_t ldx, int64_t n)
{
    count_at(ex, g, find_place(g, w), w, x, ldx, n);
}

/* ---- operators ---- */

static void matmul(const hd_exec *ex, float *y, int64_t ldy, const hd_matrix *w, const float *bias, const float *x,
                   int64_t ldx, int64_t n)
{
    gatherer *g = gatherer_of(ex);
    place *p = find_place(g, w);
    count_at(ex, g, p, w, x, ldx, n);
    if (p && p->logits && n > 1) { /* asked for all tokens to see their inputs; the engine looks at the last one's */
        y += (n - 1) * ldy;
        x += (n - 1) * ldx;
        n = 1;
    }
    g->inner->matmul(ex, y, ldy, w, bias, x, ldx, n);
}

static void matmul_shared(const hd_exec *ex, const hd_product *products, int products_n, const float *x, int64_t ldx,
                          int64_t n)
{
    gatherer *g = gatherer_of(ex);
    for (int i = 0; i < products_n; i++)
        count(ex, g, products[i].w, x, ldx, n);
    g->inner->matmul_shared(ex, products, products_n, x, ldx, n);
}

/* Heads that are matrices of one tensor count one by one.  Slices of a joint attn_kv_b, all of whose rows see a latent,
 * count the latents of these tokens, once. */
static void matmul_heads(const hd_exec *ex, float *y, int64_t ldy, int64_t y_step, const hd_matrix *w, int heads,
                         const float *x, int64_t ldx, int64_t x_step, int64_t n)
{
    gatherer *g = gatherer_of(ex);
    place *joint = heads > 0 ? find_place(g, &w[0]) : NULL;
    if (joint && joint->tensor->dims < 3) {
        if (g->stored_n == n && w[0].cols <= g->stored_width) count_at(ex, g, joint, &w[0], g->stored, g->stored_ld, n);
    } else
        for (int h = 0; h < heads; h++)
            count(ex, g, &w[h], x + h * x_step, ldx, n);
    g->inner->matmul_heads(ex, y, ldy, y_step, w, heads, x, ldx, x_step, n);
}

static void store_rows(const hd_exec *ex, const hd_rows *rows, int at, const float *x, int64_t ldx, int width,
                       int64_t pos0, int64_t n)
{
    gatherer *g = gatherer_of(ex);
    g->stored = x;
    g->stored_ld = ldx;
    g->stored_n = n;
    g->stored_width = width;
    g->inner->store_rows(ex, rows, at, x, ldx, width, pos0, n);
}

/* The absorbed form in place of the decompressed one, which never has what v_b reads: the latents weighted by a head's
 * attention.  Both give the same values (models/deepseek2.c). */
static void attend_span_absorbed(const hd_exec *ex, gatherer *g, const hd_mla_shape *s, const hd_attend_span *span)
{
    int64_t width = s->lora + s->rope, ld_latent = s->heads * width, ld_attended = (int64_t)s->heads * s->lora;
    matmul_heads(ex, g->q_latent, ld_latent, width, s->k_b, s->heads, span->q, span->ldq, s->nope + s->rope,
                 span->queries);
    for (int64_t i = 0; i < span->queries; i++)
        for (int64_t h = 0; h < s->heads; h++)
            memcpy(g->q_latent + i * ld_latent + h * width + s->lora,
                   span->q + i * span->ldq + h * (s->nope + s->rope) + s->nope, (size_t)s->rope * sizeof(float));
    const hd_attend_shape shape = {
        .heads = s->heads, .kv_heads = 1, .k_dim = (int)width, .v_dim = s->lora, .scale = s->scale};
    hd_attend_span latent = *span;
    latent.q = g->q_latent;
    latent.ldq = ld_latent;
    latent.out = g->attended;
    latent.ldo = ld_attended;
    g->inner->attend(ex, &shape, &latent, 1);
    matmul_heads(ex, span->out, span->ldo, s->v_dim, s->v_b, s->heads, g->attended, ld_attended, s->lora,
                 span->queries);
}

static void attend_mla(const hd_exec *ex, const hd_mla_shape *shape, const hd_attend_span *spans, int n)
{
    gatherer *g = gatherer_of(ex);
    for (int i = 0; i < n; i++)
        if (spans[i].queries <= g->tokens)
            attend_span_absorbed(ex, g, shape, &spans[i]);
        else
            g->inner->attend_mla(ex, shape, &spans[i], 1); /* not of our own steps */
}

/* Counting sort of the pairs (token, choice) by expert; g->first[e] is where e's begin. */
static void sort_pairs(gatherer *g, const int32_t *ids, int64_t pairs, int experts)
{
    memset(g->first, 0, ((size_t)experts + 1) * sizeof *g->first);
    for (int64_t p = 0; p < pairs; p++)
        g->first[ids[p] + 1]++;
    for (int e = 0; e < experts; e++)
        g->first[e + 1] += g->first[e];
    for (int64_t p = 0; p < pairs; p++)
        g->order[g->first[ids[p]]++] = (int32_t)p;
    for (int e = experts; e > 0; e--) /* each start was moved to its end: shift back */
        g->first[e] = g->first[e - 1];
    g->first[0] = 0;
}

/* What `n` tokens, which `order` names, bring to one expert: its input, and what its down reads. */
static void count_expert(const hd_exec *ex, gatherer *g, const hd_experts *experts, int e, const float *x,
                         const int32_t *order, int used, int64_t n)
{
    const hd_matrix *gate = &experts->gate[e], *up = &experts->up[e];
    int64_t hidden = gate->cols, ffn = gate->rows;
    for (int64_t i = 0; i < n; i++)
        memcpy(g->input + i * hidden, x + order[i] / used * hidden, (size_t)hidden * sizeof *x);
    const hd_product both[] = {{g->gate, ffn, gate, NULL}, {g->up, ffn, up, NULL}};
    g->inner->matmul_shared(ex, both, 2, g->input, hidden, n);
    g->inner->swiglu(ex, g->gate, g->up, ffn, n);
    place *first = find_place(g, gate), *second = find_place(g, up);
    count_at(ex, g, first, gate, g->input, hidden, n);
    if (second != first) count_at(ex, g, second, up, g->input, hidden, n); /* else a joint tensor of both */
    count(ex, g, &experts->down[e], g->gate, ffn, n);
}

/* The inner operator keeps what its down reads to itself: gate and up are computed once more, expert by expert. */
static void moe(const hd_exec *ex, float *out, const hd_experts *experts, const float *x, const int32_t *ids,
                const float *weight, int used, int64_t n)
{
    gatherer *g = gatherer_of(ex);
    if (n <= g->tokens && g->status == HD_OK) {
        sort_pairs(g, ids, n * used, experts->count);
        for (int e = 0; e < experts->count; e++)
            for (int64_t at = g->first[e]; at < g->first[e + 1]; at += g->tokens)
                count_expert(ex, g, experts, e, x, g->order + at, used, HD_MIN(g->tokens, g->first[e + 1] - at));
    }
    g->inner->moe(ex, out, experts, x, ids, weight, used, n);
}

/* ---- around a model ---- */

static void wrap(gatherer *g, const hd_backend *inner)
{
    g->inner = inner;
    g->table = *inner;
    g->table.matmul = matmul;
    g->table.matmul_shared = matmul_shared;
    g->table.matmul_heads = matmul_heads;
    g->table.store_rows = store_rows;
    g->table.attend_mla = attend_mla;
    g->table.moe = moe;
}

bool hd_importance_optional(const char *name)
{
    static const char *const names[] = {"token_embd.weight", "output.weight", "model.embed_tokens.weight",
                                        "lm_head.weight"};
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (strcmp(name, names[i]) == 0) return true;
    return false;
}

static hd_status list_places(gatherer *g, const hd_checkpoint *c)
{
    g->count = hd_checkpoint_tensor_count(c);
    g->places = hd_calloc(HD_MAX(g->count, 1), sizeof *g->places);
    if (!g->places) return hd_fail(g->err, HD_E_MEMORY, "no memory for %zu tensors", g->count);
    for (size_t i = 0; i < g->count; i++) {
        const hd_tensor *t = hd_checkpoint_tensor(c, i);
        g->places[i] = (place){.tensor = t, .logits = hd_importance_optional(t->name)};
    }
    qsort(g->places, g->count, sizeof *g->places, compare_places);
    return HD_OK;
}

/* Zeroed memory for `rows` rows of `cols` values; the system brings pages when they are touched. */
static void *take(gatherer *g, int64_t rows, int64_t cols)
{
    void *block = g->status == HD_OK ? hd_calloc((size_t)rows, (size_t)cols * sizeof(float)) : NULL;
    if (!block && g->status == HD_OK)
        g->status = hd_fail(g->err, HD_E_MEMORY, "no memory to count the inputs of %lld tokens", (long long)rows);
    return block;
}

static hd_status take_room(gatherer *g, const hd_model_config *c, int64_t tokens)
{
    g->tokens = tokens;
    if (c->experts) {
        g->order = take(g, tokens, c->experts_used);
        g->first = take(g, (int64_t)c->experts + 1, 1);
        g->input = take(g, tokens, c->hidden);
        g->gate = take(g, tokens, c->expert_ffn);
        g->up = take(g, tokens, c->expert_ffn);
    }
    if (c->kv_lora) {
        g->q_latent = take(g, tokens, (int64_t)c->heads * (c->kv_lora + c->rope_dim));
        g->attended = take(g, tokens, (int64_t)c->heads * c->kv_lora);
    }
    return g->status;
}

static void free_gatherer(gatherer *g)
{
    void *const blocks[] = {g->places, g->order, g->first, g->input, g->gate, g->up, g->q_latent, g->attended};
    for (size_t i = 0; i < HD_ARRAY_LEN(blocks); i++)
        hd_free(blocks[i]);
    hd_imatrix_close(&g->sums);
}

/* ---- the text ---- */

typedef struct pass {
    gatherer *g;
    hd_core *core;
    hd_seq *seq;
    const hd_importance_options *o;
    const int32_t *ids;
    int64_t window, windows, done;
    int32_t *copy; /* [chunk]: a step's ids, where the first one is replaced */
    float *logits; /* [chunk][vocab], of which only a step's last row is ever filled in */
    hd_error *err;
} pass;

static hd_status run_window(pass *p, const int32_t *ids)
{
    int refused;
    HD_TRY(hd_seq_truncate(p->seq, 0, p->err));
    for (int64_t at = 0; at < p->window;) {
        if (p->o->progress && !p->o->progress(p->o->arg, p->done, p->windows * p->window))
            return hd_fail(p->err, HD_E_CANCELLED, "interrupted");
        int64_t n = HD_MIN(p->window - at, hd_core_chunk(p->core));
        memcpy(p->copy, ids + at, (size_t)n * sizeof *ids);
        if (at == 0 && p->o->first >= 0) p->copy[0] = p->o->first;
        const hd_seq_feed feed = {.seq = p->seq, .ids = p->copy, .n = n, .logits = p->logits};
        HD_TRY(hd_core_step(p->core, &feed, 1, &refused, p->err));
        HD_TRY(p->g->status);
        at += n;
        p->done += n;
    }
    return HD_OK;
}

static hd_status run_pass(pass *p)
{
    hd_core *core = p->core;
    int32_t vocab = hd_model_get_config(hd_core_model(core))->vocab;
    p->copy = hd_alloc_array((size_t)hd_core_chunk(core), sizeof *p->copy);
    p->logits = hd_alloc_array((size_t)hd_core_chunk(core), (size_t)vocab * sizeof *p->logits);
    if (!p->copy || !p->logits) return hd_fail(p->err, HD_E_MEMORY, "no memory for a step's tokens");
    HD_TRY(hd_core_check_ids(core, p->ids, p->window * p->windows, p->err));
    if (p->o->first >= 0) HD_TRY(hd_core_check_ids(core, &p->o->first, 1, p->err));
    HD_TRY(list_places(p->g, hd_core_checkpoint(core)));
    HD_TRY(take_room(p->g, hd_model_get_config(hd_core_model(core)), hd_core_chunk(core)));
    HD_TRY(hd_seq_open(&p->seq, core, p->err));
    for (int64_t i = 0; i < p->windows; i++)
        HD_TRY(run_window(p, p->ids + i * p->window));
    return HD_OK;
}

/* What was counted, checked and in order. */
static hd_status finish(gatherer *g, const pass *p, hd_error *err)
{
    hd_imatrix *m = g->sums;
    m->chunk_count = (uint32_t)p->windows;
    m->chunk_size = (uint32_t)p->window;
    for (size_t i = 0; i < m->count; i++) {
        const hd_imatrix_entry *e = m->entries[i];
        for (size_t k = 0; k < e->rows * e->cols; k++)
            if (!isfinite(e->sums[k]))
                return hd_fail(err, HD_E_INTERNAL, "the inputs of '%s' are not finite; the model is damaged", e->name);
    }
    if (!m->count) return hd_fail(err, HD_E_UNSUPPORTED, "this model has no matrices whose inputs could be counted");
    return hd_imatrix_sort(m, err);
}

static hd_status gather(gatherer *g, const char *path, pass *p)
{
    const hd_importance_options *o = p->o;
    const hd_core_options co = {.backend = &g->table,
                                .threads = o->threads,
                                .context = p->window,
                                .chunk = HD_MIN(p->window, CHUNK),
                                .progress = o->loading,
                                .progress_arg = o->arg};
    HD_TRY(hd_imatrix_open(&g->sums, p->err));
    HD_TRY(hd_core_open(&p->core, path, &co, p->err));
    hd_status status = run_pass(p);
    hd_seq_close(&p->seq);
    hd_core_close(&p->core);
    hd_free(p->copy);
    hd_free(p->logits);
    return status == HD_OK ? finish(g, p, p->err) : status;
}

hd_status hd_importance_gather(hd_imatrix **out, const char *path, const int32_t *ids, int64_t n,
                               const hd_importance_options *options, hd_error *err)
{
    *out = NULL;
    if (n < 1) return hd_fail(err, HD_E_ARGUMENT, "there is no text to calibrate with");
    gatherer *g = hd_calloc(1, sizeof *g);
    if (!g) return hd_fail(err, HD_E_MEMORY, "no memory to count inputs");
    pass p = {.g = g, .o = options, .ids = ids, .window = HD_MIN(options->window, n), .err = err};
    p.windows = n / p.window;
    g->err = err;
    wrap(g, options->backend);
    hd_status status = gather(g, path, &p);
    if (status == HD_OK) {
        *out = g->sums;
        g->sums = NULL;
    }
    free_gatherer(g);
    hd_free(g);
    return status;
}

hd_status hd_importance_of(float **out, const hd_imatrix *matrix, const hd_tensor *t, hd_error *err)
{
    const hd_imatrix_entry *e = matrix && t->dims > 1 ? hd_imatrix_find(matrix, t->name) : NULL;
    int64_t cols = t->dims ? t->shape[t->dims - 1] : 1, matrices = 1;
    *out = NULL;
    for (int d = 0; d < t->dims - 2; d++)
        matrices *= t->shape[d];
    if (!e || !hd_importance_fits(e, matrices, cols)) return HD_OK;
    *out = hd_alloc_array((size_t)matrices, (size_t)cols * sizeof **out);
    if (!*out) return hd_fail(err, HD_E_MEMORY, "no memory for the importance of '%s'", t->name);
    (void)hd_importance_columns(*out, e, matrices, cols);
    return HD_OK;
}
