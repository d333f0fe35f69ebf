/* cli/plan_probe.c: what this machine reaches with a model's shapes: the kernels' own operators on made-up matrices.
 *
 * For every shape of a layer's operators there are so many matrices that the caches hold them no better than they
 * would hold the model, and each is timed for one token and for a step of a prompt.  The sums over the model, held
 * against the machine's measured limits, are the shares that plans for other machines are made with. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/plan.h"
#include "kernels/kernels.h"

#define COLD_BYTES ((uint64_t)96 << 20)  /* three times the largest third-level cache that cores of a socket share */
#define MOST_BYTES ((uint64_t)256 << 20) /* of one shape: a large layer's experts are taken in part */
#define MACHINE_REPS 5
#define FILLED 0x11        /* every byte of a matrix: small numbers in every type, 0x1111 is 6e-4 in float16 */
#define TIMES 5            /* that each is timed; the median counts */
#define LONG_SECONDS 0.3   /* that one shape may take */
#define LONG_PRODUCTS 1e10 /* of one call: a tenth of a second and less on two cores */
#define FEW_TOKENS 64      /* as many keep the vector units busy as any more do */
#define GROUPS_MAX 64
#define DECOMPRESS_FROM 128 /* tokens of a sequence from which latent attention decompresses (docs/models.md) */

typedef enum group_kind { GROUP_MATRIX, GROUP_HEADS, GROUP_EXPERTS } group_kind;

/* Matrices of one shape and type; of experts, the gate's. */
typedef struct group {
    group_kind kind;
    hd_type type, up_type, down_type;
    int64_t rows, cols, planes;
    double layers; /* how many of them the model has */
    bool output;   /* needed for a prompt's last token only */
} group;

typedef struct probe {
    const hd_plan_shapes *s;
    const hd_plan_setup *setup;
    const hd_model_config *config;
    hd_exec exec;
    void *scratch;
    int64_t n;        /* tokens of a step */
    float *x, *y, *z; /* [n][widest] */
    int64_t widest;
    uint64_t whole; /* bytes of the model: what the caches would have to hold */
    uint8_t *data;  /* what matrices are made from */
    size_t data_bytes;
    float *scales; /* of FP8 */
    group groups[GROUPS_MAX];
    size_t group_count;
    double decode, prefill; /* seconds, all layers */
    double decode_attend, prefill_attend;
} probe;

/* ---- groups ---- */

static uint64_t bytes_of(hd_type type, int64_t rows, int64_t cols)
{
    size_t row = 0;
    return hd_type_row_bytes(type, cols, &row) ? (uint64_t)rows * row : 0;
}

static group *group_like(probe *p, const group *g)
{
    for (size_t i = 0; i < p->group_count; i++) {
        group *o = &p->groups[i];
        if (o->kind == g->kind && o->type == g->type && o->up_type == g->up_type && o->down_type == g->down_type &&
            o->rows == g->rows && o->cols == g->cols && o->planes == g->planes && o->output == g->output)
            return o;
    }
    if (p->group_count == GROUPS_MAX) return NULL;
    p->groups[p->group_count] = *g;
    return &p->groups[p->group_count++];
}

static const hd_tensor *twin_of(const probe *p, const hd_tensor *gate, const char *part)
{
    size_t prefix = (size_t)(strstr(gate->name, "ffn_") - gate->name);
    for (size_t i = 0; i < p->s->count; i++)
        if (strncmp(p->s->tensors[i].name, gate->name, prefix) == 0 && strstr(p->s->tensors[i].name, part))
            return &p->s->tensors[i];
    return gate;
}

/* A matrix too large for the room is timed by a part of its rows; the result is how many such parts it has. */
static double part_of(hd_type type, int64_t *rows, int64_t cols)
{
    int64_t whole = *rows;
    while (*rows > 1024 && bytes_of(type, *rows, cols) > MOST_BYTES)
        *rows /= 2;
    return (double)whole / (double)*rows;
}

static void take_tensor(probe *p, const hd_tensor *t)
{
    bool embedding = strstr(t->name, "token_embd.") != NULL, tied = embedding && p->config->tied;
    if (t->dims < 2 || (embedding && !tied) || (!hd_type_is_weight(t->type) && !hd_model_has_scales(t->type))) return;
    group g = {.kind = GROUP_MATRIX,
               .type = t->type,
               .rows = t->shape[t->dims - 2],
               .cols = t->shape[t->dims - 1],
               .planes = t->dims == 3 ? t->shape[0] : 1,
               .output = tied || strcmp(t->name, "output.weight") == 0};
    if (strstr(t->name, "_exps.")) {
        if (!strstr(t->name, "ffn_gate_exps.")) return; /* up and down go with it */
        g.kind = GROUP_EXPERTS;
        g.up_type = twin_of(p, t, "ffn_up_exps.")->type;
        g.down_type = twin_of(p, t, "ffn_down_exps.")->type;
    } else if (t->dims == 3)
        g.kind = GROUP_HEADS;
    double parts = g.kind == GROUP_MATRIX ? part_of(g.type, &g.rows, g.cols) : 1;
    group *mine = group_like(p, &g);
    if (mine) mine->layers += parts;
}

/* ---- made-up matrices ---- */

typedef struct matrices {
    hd_matrix *list;
    size_t count;
    uint8_t *room; /* of those that are read as the file has them: each has bytes of its own */
} matrices;

static void free_matrices(const probe *p, matrices *m)
{
    for (size_t i = 0; i < m->count; i++)
        p->exec.backend->unprepare(&m->list[i]);
    hd_free(m->list);
    hd_free_aligned(m->room);
    *m = (matrices){0};
}

/* FP8 as V3 ships it: a scale for each block, all of them 1. */
#define FP8_BLOCK 128

static hd_status make_matrices(probe *p, matrices *m, size_t count, hd_type type, int64_t rows, int64_t cols,
                               hd_error *err)
{
    hd_matrix one = {.type = type, .rows = rows, .cols = cols, .data = p->data};
    if (!hd_type_row_bytes(type, cols, &one.row_bytes) || (size_t)rows * one.row_bytes > p->data_bytes)
        return hd_fail(err, HD_E_INTERNAL, "a matrix of %lld x %lld is larger than the room for it", (long long)rows,
                       (long long)cols);
    if (type == HD_TYPE_F8_E4M3) {
        one.scale = p->scales;
        one.scale_stride = (cols + FP8_BLOCK - 1) / FP8_BLOCK;
        one.scale_rows = one.scale_cols = FP8_BLOCK;
    }
    size_t bytes = (size_t)rows * one.row_bytes;
    m->list = hd_calloc(count, sizeof *m->list);
    if (!hd_kernels_packed_bytes(p->exec.backend, &one)) m->room = hd_alloc_aligned(count * bytes);
    if (!m->list || (!m->room && !hd_kernels_packed_bytes(p->exec.backend, &one)))
        return hd_fail(err, HD_E_MEMORY, "no memory for the measurement");
    if (m->room) memset(m->room, FILLED, count * bytes);
    for (m->count = 0; m->count < count; m->count++) {
        m->list[m->count] = one;
        if (m->room) m->list[m->count].data = m->room + m->count * bytes;
        if (p->exec.backend->prepare(&p->exec, &m->list[m->count]) != HD_OK)
            return hd_fail(err, HD_E_MEMORY, "no memory for the measurement");
        if (hd_interrupted()) return hd_fail(err, HD_E_CANCELLED, "interrupted");
    }
    return HD_OK;
}

/* So many that they are as cold as in the model. */
static size_t copies_of(const probe *p, uint64_t bytes, double have)
{
    double wanted = p->whole > COLD_BYTES ? ceil((double)COLD_BYTES / (double)HD_MAX(bytes, 1)) : have;
    double most = floor((double)MOST_BYTES / (double)HD_MAX(bytes, 1));
    return (size_t)fmax(1, fmin(wanted, fmax(most, 1)));
}

/* ---- timing ---- */

static int by_value(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

static double median(double *values, size_t count)
{
    qsort(values, count, sizeof *values, by_value);
    return values[count / 2];
}

static double seconds_since(uint64_t start)
{
    return (double)(hd_clock_ns() - start) / 1e9;
}

typedef void (*probe_run)(probe *p, void *arg, size_t index, int64_t n);

/* Seconds of one call with n tokens: the median of passes over `copies` of them, fewer where they take long; a first
 * call is not counted unless it alone does. */
static double time_of(probe *p, probe_run run, void *arg, size_t copies, int64_t n)
{
    double took[TIMES], spent = 0;
    size_t calls = n == 1 ? copies : HD_MIN(copies, 4), count = 0;
    uint64_t first = hd_clock_ns();
    run(p, arg, 0, n);
    took[0] = seconds_since(first);
    if (took[0] > LONG_SECONDS) return took[0];
    while (count < TIMES && spent < LONG_SECONDS && !hd_interrupted()) {
        uint64_t start = hd_clock_ns();
        for (size_t i = 0; i < calls; i++)
            run(p, arg, i, n);
        double seconds = seconds_since(start);
        took[count++] = seconds / (double)calls;
        spent += seconds;
    }
    return count ? median(took, count) : took[0];
}

/* The same for all of a step's tokens, of which large matrices are timed with fewer: arithmetic bounds them either way.
 */
static double step_time_of(probe *p, probe_run run, void *arg, size_t copies, double products)
{
    int64_t n = (int64_t)fmax(fmin((double)p->n, LONG_PRODUCTS / fmax(products, 1)), HD_MIN(p->n, FEW_TOKENS));
    return time_of(p, run, arg, copies, n) * (double)p->n / (double)n;
}

/* ---- matrices ---- */

static void run_matrix(probe *p, void *arg, size_t index, int64_t n)
{
    const hd_matrix *m = &((matrices *)arg)->list[index];
    p->exec.backend->matmul(&p->exec, p->y, m->rows, m, NULL, p->x, m->cols, n);
}

static hd_status time_matrix(probe *p, const group *g, hd_error *err)
{
    matrices m = {0};
    size_t copies = copies_of(p, bytes_of(g->type, g->rows, g->cols), g->layers);
    hd_status status = make_matrices(p, &m, copies, g->type, g->rows, g->cols, err);
    if (status == HD_OK) {
        double one = g->layers * time_of(p, run_matrix, &m, copies, 1), products = (double)g->rows * (double)g->cols;
        p->decode += one;
        p->prefill += g->output ? one : g->layers * step_time_of(p, run_matrix, &m, copies, products);
    }
    free_matrices(p, &m);
    return status;
}

typedef struct heads {
    matrices m;
    int count;
} heads;

static void run_heads(probe *p, void *arg, size_t index, int64_t n)
{
    heads *h = arg;
    const hd_matrix *m = &h->m.list[index * (size_t)h->count];
    p->exec.backend->matmul_heads(&p->exec, p->y, h->count * m->rows, m->rows, m, h->count, p->x, h->count * m->cols,
                                  m->cols, n);
}

/* Those of a long step are part of attention that decompresses. */
static hd_status time_heads(probe *p, const group *g, hd_error *err)
{
    heads h = {.count = (int)g->planes};
    size_t copies = copies_of(p, bytes_of(g->type, g->rows, g->cols) * (uint64_t)g->planes, g->layers);
    hd_status status = make_matrices(p, &h.m, copies * (size_t)g->planes, g->type, g->rows, g->cols, err);
    if (status == HD_OK) p->decode += g->layers * time_of(p, run_heads, &h, copies, 1);
    if (status == HD_OK && p->n < DECOMPRESS_FROM) p->prefill += g->layers * time_of(p, run_heads, &h, copies, p->n);
    free_matrices(p, &h.m);
    return status;
}

typedef struct experts {
    matrices gate, up, down;
    hd_experts e;
    int32_t *ids;
    float *weight;
    int used;
} experts;

/* Each token goes to `used` experts that follow one another, the next token to the next ones. */
static void run_experts(probe *p, void *arg, size_t index, int64_t n)
{
    experts *e = arg;
    for (int64_t i = 0; i < n * e->used; i++) {
        e->ids[i] = (int32_t)(((int64_t)index * e->used + i) % e->e.count);
        e->weight[i] = 1.0f;
    }
    p->exec.backend->moe(&p->exec, p->y, &e->e, p->x, e->ids, e->weight, e->used, n);
}

static hd_status make_experts(probe *p, experts *e, const group *g, hd_error *err)
{
    size_t count = (size_t)e->e.count;
    HD_TRY(make_matrices(p, &e->gate, count, g->type, g->rows, g->cols, err));
    HD_TRY(make_matrices(p, &e->up, count, g->up_type, g->rows, g->cols, err));
    HD_TRY(make_matrices(p, &e->down, count, g->down_type, g->cols, g->rows, err));
    e->e.gate = e->gate.list;
    e->e.up = e->up.list;
    e->e.down = e->down.list;
    e->ids = hd_calloc((size_t)p->n, (size_t)e->used * sizeof *e->ids);
    e->weight = hd_calloc((size_t)p->n, (size_t)e->used * sizeof *e->weight);
    return e->ids && e->weight ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for the measurement");
}

static hd_status time_experts(probe *p, const group *g, hd_error *err)
{
    experts e = {.used = p->config->experts_used};
    uint64_t one = 2 * bytes_of(g->type, g->rows, g->cols) + bytes_of(g->down_type, g->cols, g->rows);
    int64_t most = (int64_t)(MOST_BYTES / HD_MAX(one, 1));
    e.e.count = (int)HD_MAX(HD_MIN(g->planes, most), e.used);
    hd_status status = make_experts(p, &e, g, err);
    if (status == HD_OK) {
        /* as many tokens of each expert as with all of them */
        int64_t n = HD_MAX(p->n * e.e.count / g->planes, 1);
        size_t calls = HD_MAX((size_t)(e.e.count / e.used), 1);
        p->decode += g->layers * time_of(p, run_experts, &e, calls, 1);
        p->prefill += g->layers * time_of(p, run_experts, &e, 1, n) * (double)p->n / (double)n;
    }
    free_matrices(p, &e.gate);
    free_matrices(p, &e.up);
    free_matrices(p, &e.down);
    hd_free(e.ids);
    hd_free(e.weight);
    return status;
}

/* ---- attention ---- */

typedef struct attention {
    uint8_t **pages;
    uint8_t *rows; /* of as many layers as `layers` */
    size_t layer_bytes;
    int64_t layers, page_count;
    hd_rows k, v;
    matrices k_b, v_b;
} attention;

static void point_pages(attention *a, size_t layer, size_t page_bytes)
{
    for (int64_t i = 0; i < a->page_count; i++)
        a->pages[i] = a->rows + (layer % (size_t)a->layers) * a->layer_bytes + (size_t)i * page_bytes;
}

static void run_attention(probe *p, void *arg, size_t index, int64_t n)
{
    attention *a = arg;
    const hd_model_config *c = p->config;
    bool latent = c->arch == HD_ARCH_DEEPSEEK2;
    int width = c->kv_lora + c->rope_dim;
    bool absorbed = latent && n < DECOMPRESS_FROM;
    hd_attend_shape shape = {.heads = c->heads,
                             .kv_heads = latent ? 1 : c->kv_heads,
                             .k_dim = latent ? width : c->head_dim,
                             .v_dim = latent ? c->kv_lora : c->v_dim,
                             .scale = 0.1f};
    point_pages(a, index, a->layer_bytes / (size_t)a->page_count);
    hd_attend_span span = {.q = p->x,
                           .out = p->y,
                           .ldq = (int64_t)c->heads * (absorbed ? width : c->head_dim),
                           .ldo = (int64_t)c->heads * (absorbed ? c->kv_lora : c->v_dim),
                           .queries = n,
                           .pos0 = n == 1 ? p->setup->context - 1 : 0,
                           .k = a->k,
                           .v = a->v};
    if (!latent || absorbed) {
        p->exec.backend->attend(&p->exec, &shape, &span, 1);
        return;
    }
    hd_mla_shape mla = {.heads = c->heads,
                        .nope = c->nope,
                        .rope = c->rope_dim,
                        .lora = c->kv_lora,
                        .v_dim = c->v_dim,
                        .scale = 0.1f,
                        .k_b = a->k_b.list,
                        .v_b = a->v_b.list};
    p->exec.backend->attend_mla(&p->exec, &mla, &span, 1);
}

static hd_status make_latent(probe *p, attention *a, hd_error *err)
{
    const hd_model_config *c = p->config;
    hd_type type = HD_TYPE_BF16;
    for (size_t i = 0; i < p->s->count; i++)
        if (strstr(p->s->tensors[i].name, "attn_v_b.")) type = p->s->tensors[i].type;
    HD_TRY(make_matrices(p, &a->k_b, (size_t)c->heads, c->nope % hd_type_block(type) ? HD_TYPE_BF16 : type, c->kv_lora,
                         c->nope, err));
    return make_matrices(p, &a->v_b, (size_t)c->heads, c->kv_lora % hd_type_block(type) ? HD_TYPE_BF16 : type, c->v_dim,
                         c->kv_lora, err);
}

static hd_status make_attention(probe *p, attention *a, const hd_plan_model *model, hd_error *err)
{
    const hd_model_config *c = p->config;
    bool latent = c->arch == HD_ARCH_DEEPSEEK2;
    hd_type type = HD_TYPE_F16;
    for (hd_type t = 0; t < HD_TYPE_COUNT; t++)
        if (strcasecmp(hd_type_name(t), model->cache_type) == 0) type = t;
    int width = latent ? c->kv_lora + c->rope_dim : c->kv_heads * c->head_dim;
    size_t stride = 0;
    if (!hd_type_row_bytes(type, width, &stride)) return hd_fail(err, HD_E_ARGUMENT, "rows of %d values", width);
    size_t page = stride * HD_PAGE_ROWS * (latent ? 1 : 2);
    a->page_count = (HD_MAX(p->setup->context, p->n) + HD_PAGE_ROWS - 1) / HD_PAGE_ROWS;
    a->layer_bytes = page * (size_t)a->page_count;
    a->layers = (int64_t)HD_MIN((uint64_t)c->layers, (uint64_t)HD_MAX(MOST_BYTES / a->layer_bytes, 1));
    a->rows = hd_calloc((size_t)a->layers, a->layer_bytes);
    a->pages = hd_calloc((size_t)a->page_count, sizeof *a->pages);
    if (!a->rows || !a->pages) return hd_fail(err, HD_E_MEMORY, "no memory for the measurement");
    memset(a->rows, FILLED, (size_t)a->layers * a->layer_bytes);
    a->k = (hd_rows){.pages = a->pages, .page_rows = HD_PAGE_ROWS, .stride = stride, .type = type, .width = width};
    a->v = a->k;
    if (!latent) a->v.offset = stride * HD_PAGE_ROWS;
    return latent ? make_latent(p, a, err) : HD_OK;
}

static hd_status time_attention(probe *p, const hd_plan_model *model, hd_error *err)
{
    attention a = {0};
    hd_status status = make_attention(p, &a, model, err);
    if (status == HD_OK) {
        p->decode_attend = p->config->layers * time_of(p, run_attention, &a, (size_t)a.layers, 1);
        p->prefill_attend = p->config->layers * time_of(p, run_attention, &a, 1, p->n);
    }
    free_matrices(p, &a.k_b);
    free_matrices(p, &a.v_b);
    hd_free(a.rows);
    hd_free(a.pages);
    return status;
}

/* ---- what lies between products ---- */

static void run_between(probe *p, void *arg, size_t index, int64_t n)
{
    const hd_model_config *c = p->config;
    const hd_backend *b = p->exec.backend;
    int64_t ffn = c->experts ? (int64_t)c->experts_shared * c->expert_ffn : c->ffn;
    (void)arg;
    (void)index;
    for (int i = 0; i < 2; i++) {
        b->rms_norm(&p->exec, p->y, c->hidden, p->x, c->hidden, p->z, c->hidden, 1e-6f, n);
        b->add(&p->exec, p->y, p->x, c->hidden, n);
    }
    hd_rope rope = {.table = p->z, .dim = c->rope_dim, .adjacent = c->rope.adjacent};
    int64_t queries = (int64_t)c->heads * c->head_dim;
    b->rope(&p->exec, p->y, queries, c->head_dim, c->heads, &rope, n);
    b->rope(&p->exec, p->y, queries, c->head_dim, HD_MIN(c->kv_heads, c->heads), &rope, n);
    if (ffn) b->swiglu(&p->exec, p->y, p->z, ffn, n);
}

/* ---- all of it ---- */

static size_t largest_matrix(const hd_plan_shapes *s)
{
    size_t most = 1 << 20;
    for (size_t i = 0; i < s->count; i++) {
        const hd_tensor *t = &s->tensors[i];
        if (t->dims < 2) continue;
        int64_t rows = t->shape[t->dims - 2];
        (void)part_of(t->type, &rows, t->shape[t->dims - 1]);
        most = HD_MAX(most, (size_t)bytes_of(t->type, rows, t->shape[t->dims - 1]));
    }
    return most;
}

static int64_t widest_of(const hd_model_config *c, const hd_plan_shapes *s)
{
    int64_t most = (int64_t)c->heads * HD_MAX(c->head_dim, c->kv_lora + c->rope_dim);
    for (size_t i = 0; i < s->count; i++)
        if (s->tensors[i].dims >= 2)
            most = HD_MAX(most,
                          HD_MAX(s->tensors[i].shape[s->tensors[i].dims - 1],
                                 strstr(s->tensors[i].name, "blk.") ? s->tensors[i].shape[s->tensors[i].dims - 2] : 0));
    return most;
}

static hd_status open_room(probe *p, const hd_plan_model *model, hd_error *err)
{
    p->data_bytes = largest_matrix(p->s);
    p->widest = widest_of(p->config, p->s);
    size_t rows = (size_t)p->n * (size_t)p->widest;
    rows = HD_MAX(rows, (size_t)p->config->vocab);
    size_t blocks = p->data_bytes / FP8_BLOCK + (size_t)p->config->vocab; /* more than any matrix has */
    p->data = hd_alloc_aligned(p->data_bytes);
    p->scales = hd_calloc(blocks, sizeof *p->scales);
    p->x = hd_calloc(rows, sizeof *p->x);
    p->y = hd_calloc(rows, sizeof *p->y);
    p->z = hd_calloc(rows, sizeof *p->z);
    p->exec.scratch_bytes = model->scratch_bytes;
    p->scratch = hd_alloc_aligned(model->scratch_bytes);
    p->exec.scratch = p->scratch;
    if (!p->data || !p->scales || !p->x || !p->y || !p->z || !p->scratch)
        return hd_fail(err, HD_E_MEMORY, "no memory for the measurement");
    memset(p->data, FILLED, p->data_bytes);
    memset(p->scratch, 0, model->scratch_bytes);
    for (size_t i = 0; i < blocks; i++)
        p->scales[i] = 1.0f;
    uint32_t random = 1;
    for (size_t i = 0; i < rows; i++) {
        random = random * 1664525u + 1013904223u;
        p->x[i] = p->z[i] = (float)(random >> 8) / (float)(1 << 24) - 0.5f;
    }
    return HD_OK;
}

static void close_room(probe *p)
{
    hd_free_aligned(p->data);
    hd_free(p->scales);
    hd_free_aligned(p->scratch);
    hd_free(p->x);
    hd_free(p->y);
    hd_free(p->z);
}

static hd_status time_groups(probe *p, hd_error *err)
{
    for (size_t i = 0; i < p->group_count; i++) {
        const group *g = &p->groups[i];
        hd_progress_show("measuring the kernels", (double)i / (double)p->group_count);
        if (hd_interrupted()) return hd_fail(err, HD_E_CANCELLED, "interrupted");
        switch (g->kind) {
        case GROUP_HEADS: HD_TRY(time_heads(p, g, err)); break;
        case GROUP_EXPERTS: HD_TRY(time_experts(p, g, err)); break;
        default: HD_TRY(time_matrix(p, g, err)); break;
        }
    }
    return HD_OK;
}

static hd_status measure(probe *p, const hd_plan_model *model, hd_error *err)
{
    HD_TRY(open_room(p, model, err));
    for (size_t i = 0; i < p->s->count; i++)
        take_tensor(p, &p->s->tensors[i]);
    hd_pool_begin(p->exec.pool, p->exec.backend->flush_denormals);
    hd_status status = time_groups(p, err);
    if (status == HD_OK) status = time_attention(p, model, err);
    if (status == HD_OK) {
        p->decode += p->config->layers * time_of(p, run_between, NULL, 1, 1);
        p->prefill += p->config->layers * time_of(p, run_between, NULL, 1, p->n);
    }
    hd_pool_end(p->exec.pool);
    hd_progress_clear();
    return status;
}

hd_status hd_plan_probe(hd_plan_rates *out, const hd_plan_shapes *s, const hd_plan_model *model,
                        const hd_plan_setup *setup, hd_error *err)
{
    hd_bench_machine machine;
    *out = hd_plan_assumed_rates();
    HD_TRY(hd_bench_measure_machine(&machine, hd_pool_threads(setup->pool), 0, MACHINE_REPS, err));
    hd_arithmetic kind = hd_bench_peak_kind(&machine, setup->backend->name, setup->step);
    out->bandwidth = machine.read.median;
    out->operations = kind == HD_ARITHMETIC_COUNT ? NAN : machine.arithmetic[kind].median;
    out->numbers = kind == HD_ARITHMETIC_COUNT ? "" : hd_arithmetic_name(kind);
    if (s->shapes.family != HD_FAMILY_OWN) return HD_OK; /* its operators are not here to be timed */
    probe p = {.s = s,
               .setup = setup,
               .config = &s->shapes.config,
               .exec = {.backend = setup->backend, .pool = setup->pool},
               .n = setup->step,
               .whole = model->resident_bytes};
    hd_status status = measure(&p, model, err);
    close_room(&p);
    if (status != HD_OK) return status;
    double n = (double)p.n;
    out->measured = true;
    out->decode = hd_plan_step_bytes(model, 1) / p.decode / out->bandwidth;
    out->cache = (double)setup->context * model->cache_token_bytes / p.decode_attend / out->bandwidth;
    out->prefill = 2 * (n * model->products + model->output_products) / p.prefill / out->operations;
    out->attention = n * n * model->row_products / p.prefill_attend / out->operations;
    return HD_OK;
}
