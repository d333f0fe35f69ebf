/* quantize/sensitivity.c: the table of operators that rounds one class of matrices as they are loaded, and the passes
 * over the text; see sensitivity.h.
 *
 * Invariant: what `rounded` holds lives until the model that was loaded with it is closed. */
#include "quantize/sensitivity.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "engine/compare.h"
#include "engine/engine.h"
#include "models/names.h"
#include "quantize/importance.h"
#include "tensor/encode.h"

#define LOGIT_BYTES ((size_t)256 << 20) /* of the model as it is, kept for comparing */
#define CHUNK 512                       /* tokens of a step */
#define TOKENS_LEAST 64                 /* fewer say nothing */
#define WINDOW_MOST 256 /* few tokens fit: many short windows have more kinds of places than few long ones */

/* ---- classes ---- */

enum {
    ROLE_EMBEDDING,
    ROLE_OUTPUT,
    ROLE_Q,
    ROLE_K,
    ROLE_V,
    ROLE_LATENT,
    ROLE_O,
    ROLE_IN,
    ROLE_DOWN,
    ROLE_EXPERTS_IN,
    ROLE_EXPERTS_DOWN,
    ROLE_OTHER,
    ROLE_COUNT
};
enum { PARTS = 4 };

static const char *const role_names[ROLE_COUNT] = {"the embedding",
                                                   "the matrix of the logits",
                                                   "attention's queries",
                                                   "attention's keys",
                                                   "attention's values",
                                                   "latents to heads",
                                                   "attention's output",
                                                   "into the feed-forward network",
                                                   "out of the feed-forward network",
                                                   "into the experts",
                                                   "out of the experts",
                                                   "other matrices"};
static const char *const part_names[PARTS] = {"first eighth", "to the middle", "from the middle", "last eighth"};

static int role_of(hd_name_id id)
{
    switch (id) {
    case HD_NAME_embed: return ROLE_EMBEDDING;
    case HD_NAME_output: return ROLE_OUTPUT;
    case HD_NAME_q_weight:
    case HD_NAME_q_a:
    case HD_NAME_q_b: return ROLE_Q;
    case HD_NAME_k_weight:
    case HD_NAME_kv_a: return ROLE_K;
    case HD_NAME_v_weight: return ROLE_V;
    case HD_NAME_kv_b:
    case HD_NAME_k_b:
    case HD_NAME_v_b: return ROLE_LATENT;
    case HD_NAME_o_weight: return ROLE_O;
    case HD_NAME_gate_weight:
    case HD_NAME_up_weight:
    case HD_NAME_gate_shexp:
    case HD_NAME_up_shexp: return ROLE_IN;
    case HD_NAME_down_weight:
    case HD_NAME_down_shexp: return ROLE_DOWN;
    case HD_NAME_gate_exps:
    case HD_NAME_up_exps:
    case HD_NAME_gate_up_exps: return ROLE_EXPERTS_IN;
    case HD_NAME_down_exps: return ROLE_EXPERTS_DOWN;
    default: return ROLE_OTHER;
    }
}

static int part_of(int layer, int layers)
{
    if (layer < (layers + 7) / 8) return 0;
    if (layer >= layers - (layers + 7) / 8) return PARTS - 1;
    return layer < layers / 2 ? 1 : 2;
}

static int layers_of(const hd_source *from)
{
    hd_name_id id;
    int layer, layers = 0;
    for (size_t i = 0; i < hd_source_count(from); i++)
        if (hd_name_find_gguf(hd_source_tensor(from, i)->name, &id, &layer)) layers = HD_MAX(layers, layer + 1);
    return layers;
}

void hd_sensitivity_classes(int *classes, hd_sensitivity *out, const hd_source *from)
{
    int number[ROLE_COUNT][PARTS], layers = layers_of(from);
    memset(out, 0, sizeof *out);
    memset(number, -1, sizeof number);
    for (size_t i = 0; i < hd_source_count(from); i++) {
        const hd_tensor *t = hd_source_tensor(from, i);
        hd_name_id id;
        int layer, role = ROLE_OTHER, part = 0;
        classes[i] = -1;
        if (!hd_quant_is_weight(t)) continue;
        bool known = hd_name_find_gguf(t->name, &id, &layer), apart = known && hd_name_in_layers(id);
        if (known) role = role_of(id);
        if (apart) part = part_of(layer, layers);
        if (number[role][part] < 0) {
            number[role][part] = (int)out->count++;
            snprintf(out->classes[number[role][part]].name, HD_CLASS_NAME, "%s%s%s", role_names[role],
                     apart ? ", " : "", apart ? part_names[part] : "");
        }
        classes[i] = number[role][part];
        out->classes[classes[i]].tensors++;
        out->classes[classes[i]].values += hd_tensor_values(t);
        out->classes[classes[i]].divergence = -1.0;
    }
}

_Static_assert(ROLE_COUNT *PARTS <= HD_CLASSES_MAX, "every class has its place");

/* ---- the table that rounds ---- */

typedef struct rounder {
    hd_backend table; /* first: an operator finds us by its address */
    const hd_backend *inner;
    const hd_source *from;
    const hd_sensitivity_options *o;
    const int *classes;
    const hd_type *probe;
    const hd_tensor *weighed; /* whose columns these are: kept, as its matrices come one after the other */
    const float *columns;
    int turn; /* the class whose matrices are rounded; -1: none */
    hd_arena rounded;
    hd_error *err;
} rounder;

/* Matrices are found by the address of their bytes, so each must lie in the checkpoint just so. */
static hd_status check_source(const hd_source *from, const int *classes, hd_error *err)
{
    for (size_t i = 0; i < hd_source_count(from); i++)
        if (classes[i] >= 0 && !hd_source_tensor(from, i)->data)
            return hd_fail(
                err, HD_E_UNSUPPORTED,
                "tensor '%s' is not in the file as it is: what errors cost is measured on GGUF files without "
                "adapters or pruning; write such a file first",
                hd_source_tensor(from, i)->name);
    return HD_OK;
}

/* The tensor whose bytes have this address; hd_source_count: none. */
static size_t find_tensor(const rounder *r, const void *data)
{
    for (size_t i = 0; i < hd_source_count(r->from); i++) {
        const hd_tensor *t = hd_source_tensor(r->from, i);
        if (t->data && (uintptr_t)data - (uintptr_t)t->data < t->bytes) return i;
    }
    return hd_source_count(r->from);
}

typedef struct round_job {
    const hd_matrix *from;
    uint8_t *to;
    size_t row_bytes;
    hd_type type;
    const float *columns; /* NULL: all alike */
    float *memory;        /* [threads][2][cols] */
} round_job;

static void round_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    const round_job *job = arg;
    int64_t cols = job->from->cols;
    float *x = job->memory + (size_t)thread * 2 * (size_t)cols, *weight = x + cols;
    for (int64_t row = begin; row < end; row++) {
        hd_matrix_decode_row(job->from, row, x);
        if (job->columns) hd_importance_weights(weight, job->columns, job->from->rows, cols, row * cols, cols);
        (void)hd_encode_blocks(job->type, x, job->columns ? weight : NULL, job->to + (size_t)row * job->row_bytes,
                               cols);
    }
}

/* What errors cost in each column of the matrices of tensor t; *out NULL: all alike.  HD_E_MEMORY. */
static hd_status columns_of(rounder *r, const hd_tensor *t, int64_t cols, int64_t matrices, const float **out)
{
    const hd_imatrix_entry *e = r->o->imatrix ? hd_imatrix_find(r->o->imatrix, t->name) : NULL;
    *out = NULL;
    if (!e || !hd_importance_fits(e, matrices, cols)) return HD_OK;
    if (r->weighed != t) {
        float *columns = hd_arena_alloc(&r->rounded, (size_t)matrices, (size_t)cols * sizeof *columns);
        if (!columns) return HD_E_MEMORY;
        (void)hd_importance_columns(columns, e, matrices, cols);
        r->weighed = t;
        r->columns = columns;
    }
    *out = r->columns;
    return HD_OK;
}

/* Puts a rounded copy in the place of the matrix. */
static hd_status round_matrix(rounder *r, const hd_exec *ex, hd_matrix *m, size_t i)
{
    const hd_tensor *t = hd_source_tensor(r->from, i);
    hd_type type = r->probe[i];
    round_job job = {.from = m, .type = type};
    if (!hd_encode_supported(type) || !hd_type_row_bytes(type, m->cols, &job.row_bytes)) return HD_OK;
    int64_t matrices = hd_tensor_rows(t) / (t->dims > 1 ? t->shape[t->dims - 2] : 1);
    if (hd_quant_weighs(type)) HD_TRY(columns_of(r, t, m->cols, matrices, &job.columns));
    if (job.columns) /* those of this one of its matrices */
        job.columns += (size_t)(m->data - (const uint8_t *)t->data) / (t->bytes / (size_t)matrices) * (size_t)m->cols;
    job.to = hd_arena_alloc(&r->rounded, (size_t)m->rows, job.row_bytes);
    job.memory = hd_alloc_array((size_t)hd_pool_threads(ex->pool) * 2, (size_t)m->cols * sizeof *job.memory);
    if (job.to && job.memory) hd_pool_for(ex->pool, m->rows, 16, round_rows, &job);
    hd_free(job.memory);
    if (!job.to || !job.memory) return HD_E_MEMORY;
    *m = (hd_matrix){.type = type, .rows = m->rows, .cols = m->cols, .data = job.to, .row_bytes = job.row_bytes};
    return HD_OK;
}

static hd_status prepare(const hd_exec *ex, hd_matrix *m)
{
    rounder *r = (rounder *)(uintptr_t)ex->backend; /* only we wrote that address, of an object of our own */
    size_t i = r->turn < 0 ? hd_source_count(r->from) : find_tensor(r, m->data);
    if (i < hd_source_count(r->from) && r->classes[i] == r->turn) HD_TRY(round_matrix(r, ex, m, i));
    return r->inner->prepare(ex, m);
}

/* ---- the text ---- */

typedef struct reading {
    rounder *r;
    hd_sensitivity *out;
    int64_t window, windows, apart; /* apart: from one window's beginning in the text to the next */
    int32_t vocab;
    float *as_it_is; /* [windows * window][vocab] */
    double *norms;   /* [windows * window] of these */
    float *logits;   /* [chunk][vocab] */
    int32_t *ids;    /* [chunk] */
    uint64_t steps, all_steps;
    double divergence;
} reading;

/* Logits of a step: kept in the first pass, compared in all others. */
static void take_logits(reading *x, int64_t at, int64_t n, const float *logits)
{
    for (int64_t i = 0; i < n; i++) {
        const float *row = logits + i * x->vocab;
        double norm = hd_compare_norm(row, x->vocab);
        if (x->r->turn < 0)
            x->norms[at + i] = norm;
        else
            x->divergence += hd_compare_kl(x->as_it_is + (at + i) * x->vocab, x->norms[at + i], row, norm, x->vocab);
    }
}

static hd_status read_window(reading *x, hd_core *core, hd_seq *seq, int64_t w)
{
    const hd_sensitivity_options *o = x->r->o;
    hd_error *err = x->r->err;
    int refused;
    HD_TRY(hd_seq_truncate(seq, 0, err));
    for (int64_t at = 0; at < x->window;) {
        int64_t n = HD_MIN(x->window - at, hd_core_chunk(core)), first = w * x->window + at;
        if (o->progress && !o->progress(o->arg, x->steps++, x->all_steps))
            return hd_fail(err, HD_E_CANCELLED, "interrupted");
        memcpy(x->ids, o->ids + w * x->apart + at, (size_t)n * sizeof *x->ids);
        if (at == 0 && o->first >= 0) x->ids[0] = o->first;
        float *logits = x->r->turn < 0 ? x->as_it_is + first * x->vocab : x->logits;
        const hd_seq_feed feed = {.seq = seq, .ids = x->ids, .n = n, .logits = logits};
        HD_TRY(hd_core_step(core, &feed, 1, &refused, err));
        take_logits(x, first, n, logits);
        at += n;
    }
    return HD_OK;
}

static hd_status read_windows(reading *x, hd_core *core)
{
    hd_seq *seq = NULL;
    hd_status status = hd_core_check_ids(core, x->r->o->ids, x->r->o->id_count, x->r->err);
    if (status == HD_OK) status = hd_seq_open(&seq, core, x->r->err);
    for (int64_t w = 0; status == HD_OK && w < x->windows; w++)
        status = read_window(x, core, seq, w);
    hd_seq_close(&seq);
    return status;
}

/* Loads the model with the class `turn` rounded, and reads the text. */
static hd_status take_turn(reading *x, int turn)
{
    rounder *r = x->r;
    hd_core *core = NULL;
    const hd_core_options co = {.backend = &r->table,
                                .checkpoint = hd_source_checkpoint(r->from),
                                .threads = r->o->threads,
                                .context = x->window,
                                .chunk = HD_MIN(x->window, CHUNK)};
    r->turn = turn;
    x->divergence = 0;
    hd_status status = hd_core_open(&core, hd_checkpoint_path(hd_source_checkpoint(r->from)), &co, r->err);
    if (status == HD_OK) status = read_windows(x, core);
    hd_core_close(&core);
    hd_arena_free(&r->rounded);
    r->weighed = NULL;
    return status;
}

/* ---- the whole ---- */

static hd_status take_room(reading *x, int32_t vocab)
{
    const hd_sensitivity_options *o = x->r->o;
    int64_t most = (int64_t)(LOGIT_BYTES / ((size_t)vocab * sizeof(float))), count = HD_MIN(o->id_count, most);
    x->vocab = vocab;
    x->window = HD_MIN(HD_MIN(o->window, WINDOW_MOST), count);
    if (x->window < TOKENS_LEAST)
        return hd_fail(x->r->err, HD_E_ARGUMENT, "the text has %lld tokens; at least %d are needed to measure with",
                       (long long)x->window, TOKENS_LEAST);
    x->windows = count / x->window;
    x->apart = o->id_count / x->windows; /* evenly over the whole text, whatever its parts */
    size_t tokens = (size_t)(x->windows * x->window);
    x->as_it_is = hd_alloc_array(tokens, (size_t)vocab * sizeof *x->as_it_is);
    x->norms = hd_alloc_array(tokens, sizeof *x->norms);
    x->logits = hd_alloc_array(CHUNK, (size_t)vocab * sizeof *x->logits);
    x->ids = hd_alloc_array(CHUNK, sizeof *x->ids);
    x->out->tokens = tokens;
    if (x->as_it_is && x->norms && x->logits && x->ids) return HD_OK;
    return hd_fail(x->r->err, HD_E_MEMORY, "no memory for the logits of %zu tokens", tokens);
}

static hd_status take_turns(reading *x)
{
    int64_t chunk = HD_MIN(x->window, CHUNK), steps = x->windows * ((x->window + chunk - 1) / chunk);
    x->all_steps = (uint64_t)steps * (x->out->count + 1);
    HD_TRY(take_turn(x, -1));
    for (size_t c = 0; c < x->out->count; c++) {
        HD_TRY(take_turn(x, (int)c));
        x->out->classes[c].divergence = x->divergence / (double)x->out->tokens;
    }
    return HD_OK;
}

/* What a unit of error costs in each class; where nothing could be seen, as little as the least of the others. */
static void find_costs(double *cost, hd_sensitivity *out, const hd_source *from, const int *classes,
                       const hd_choices *choices, const hd_type *probe)
{
    double unit[HD_CLASSES_MAX] = {0}, least = 0;
    for (size_t i = 0; i < hd_source_count(from); i++)
        if (classes[i] >= 0) out->classes[classes[i]].error += hd_choices_error(&choices[i], probe[i]);
    for (size_t c = 0; c < out->count; c++) {
        const hd_sensitivity_class *k = &out->classes[c];
        unit[c] = k->error > 0 && k->divergence > 0 ? k->divergence / k->error : 0;
        if (unit[c] > 0 && (least == 0 || unit[c] < least)) least = unit[c];
    }
    for (size_t i = 0; i < hd_source_count(from); i++)
        cost[i] = classes[i] < 0 ? 0 : unit[classes[i]] > 0 ? unit[classes[i]] : least;
}

hd_status hd_sensitivity_measure(double *cost, hd_sensitivity *out, const int *classes, const hd_source *from,
                                 const hd_choices *choices, const hd_type *probe, const hd_sensitivity_options *options,
                                 hd_error *err)
{
    hd_model_config config;
    rounder r = {.inner = options->backend, .from = from, .o = options, .classes = classes, .probe = probe, .err = err};
    r.table = *options->backend;
    r.table.prepare = prepare;
    reading x = {.r = &r, .out = out};
    hd_status status = check_source(from, classes, err);
    if (status == HD_OK) status = hd_model_config_read(&config, hd_source_checkpoint(from), err);
    if (status == HD_OK) status = take_room(&x, config.vocab);
    if (status == HD_OK) status = take_turns(&x);
    if (status == HD_OK) find_costs(cost, out, from, classes, choices, probe);
    hd_free(x.as_it_is);
    hd_free(x.norms);
    hd_free(x.logits);
    hd_free(x.ids);
    return status;
}
