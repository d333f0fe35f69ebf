/* models/scripted.c: a model of tests whose answers are given: its logits follow lists of ids (docs/models.md).
 *
 * Everything around it is real, so what it knows it keeps where every model keeps it: in its cached rows.  A row says
 * how far its token has brought the script.  Pages, forks, prefixes, pre-emption and snapshots thus work on it as they
 * do on any other model, and a row that is lost or mixed up gives a wrong answer.
 *
 * A row is four numbers of 32 bits, each as four values from 0 to 255, which every type of the cache holds exactly, but
 * q8_0: that one is refused (stream_piece). */
#include <limits.h>
#include <string.h>
#include <time.h>

#include "models/models_internal.h"
#include "tensor/quant.h"

#define MAX_SCRIPTS 4096
#define MAX_MARKER 16 /* ids of one */
#define MAX_MARKERS 8
#define MAX_DELAY_MS 60000
#define CHOSEN 20.0f        /* logit of the script's token */
#define SLOPE 0.001f        /* the others fall with their id, so that the most likely ones are well defined */
#define DIGITS 4            /* values of a number in a row */
#define FNV_PRIME 16777619u /* FNV-1a of 32 bits */
#define FNV_BASIS 2166136261u

/* What a row says of its token. */
typedef struct mark {
    uint32_t index; /* of the script's token that comes next */
    uint32_t turn;  /* which answer of the conversation this is; 0: the first, or before it */
    uint32_t id;    /* the token */
    uint32_t hash;  /* of all tokens so far: makes hidden states differ */
} mark;

_Static_assert(sizeof(mark) / sizeof(uint32_t) * DIGITS == HD_SCRIPTED_WIDTH, "a row holds the mark");

typedef struct marker {
    int32_t ids[MAX_MARKER];
    int count;
} marker;

typedef struct state {
    int32_t *ids; /* of all scripts, one after the other */
    int64_t *end; /* [count] where each ends in ids */
    int64_t count;
    marker markers[MAX_MARKERS]; /* one of them stands before each answer */
    int marker_count;
    bool repeat, echo;
    int delay_ms;
    const float *base; /* [vocab] logits without the chosen one */
    float *rows;       /* [max_tokens][HD_SCRIPTED_WIDTH] */
} state;

/* ---- configuration ---- */

static hd_status read_id(const hd_model *m, const json_t *v, const char *key, int32_t *out, hd_error *err)
{
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) >= m->config.vocab)
        return hd_fail(err, HD_E_FORMAT, "config.json: \"%s\" holds what is no id of the vocabulary of %d", key,
                       m->config.vocab);
    *out = (int32_t)json_integer_value(v);
    return HD_OK;
}

/* One script is a list of ids, several are a list of such lists. */
static const json_t *script_at(const json_t *script, size_t i)
{
    const json_t *first = json_array_get(script, 0);
    return json_is_array(first) ? json_array_get(script, i) : i == 0 ? script : NULL;
}

static hd_status read_scripts(hd_model *m, hd_weights *w, const json_t *script, hd_error *err)
{
    state *s = m->state;
    size_t total = 0, at = 0;
    if (!json_is_array(script)) return hd_fail(err, HD_E_FORMAT, "config.json: \"script\" is not a list of ids");
    s->count = json_is_array(json_array_get(script, 0)) ? (int64_t)json_array_size(script) : 1;
    if (s->count > MAX_SCRIPTS)
        return hd_fail(err, HD_E_LIMIT, "config.json: %lld scripts; at most %d", (long long)s->count, MAX_SCRIPTS);
    for (size_t i = 0; i < (size_t)s->count; i++) {
        if (!json_is_array(script_at(script, i)))
            return hd_fail(err, HD_E_FORMAT, "config.json: \"script\" mixes ids and lists");
        total += json_array_size(script_at(script, i));
    }
    s->ids = hd_weights_alloc(w, total, sizeof *s->ids);
    s->end = hd_weights_alloc(w, (size_t)s->count, sizeof *s->end);
    if (!s->ids || !s->end) return hd_fail(err, HD_E_MEMORY, "out of memory for a script of %zu ids", total);
    for (size_t i = 0; i < (size_t)s->count; i++) {
        const json_t *one = script_at(script, i);
        for (size_t j = 0; j < json_array_size(one); j++)
            HD_TRY(read_id(m, json_array_get(one, j), "script", &s->ids[at++], err));
        s->end[i] = (int64_t)at;
    }
    return HD_OK;
}

static hd_status add_marker(hd_model *m, const json_t *v, hd_error *err)
{
    state *s = m->state;
    size_t n = json_is_array(v) ? json_array_size(v) : 1;
    if (n < 1 || n > MAX_MARKER || s->marker_count == MAX_MARKERS)
        return hd_fail(err, HD_E_FORMAT, "config.json: \"start_token_id\" holds at most %d markers of 1 to %d ids",
                       MAX_MARKERS, MAX_MARKER);
    marker *to = &s->markers[s->marker_count++];
    for (; to->count < (int)n; to->count++) {
        const json_t *id = json_is_array(v) ? json_array_get(v, (size_t)to->count) : v;
        HD_TRY(read_id(m, id, "start_token_id", &to->ids[to->count], err));
    }
    return HD_OK;
}

/* One id, a list of ids that stand together, or a list of such lists. */
static hd_status read_markers(hd_model *m, const json_t *v, hd_error *err)
{
    if (!v || json_is_null(v) || (json_is_array(v) && json_array_size(v) == 0)) return HD_OK;
    if (!json_is_array(json_array_get(v, 0))) return add_marker(m, v, err);
    for (size_t i = 0; i < json_array_size(v); i++)
        HD_TRY(add_marker(m, json_array_get(v, i), err));
    return HD_OK;
}

static hd_status read_delay(hd_model *m, const json_t *v, hd_error *err)
{
    state *s = m->state;
    if (!v || json_is_null(v)) return HD_OK;
    if (!json_is_integer(v) || json_integer_value(v) < 0 || json_integer_value(v) > MAX_DELAY_MS)
        return hd_fail(err, HD_E_FORMAT, "config.json: \"delay_ms\" is not from 0 to %d", MAX_DELAY_MS);
    s->delay_ms = (int)json_integer_value(v);
    return HD_OK;
}

static hd_status load(hd_model *m, hd_weights *w, hd_error *err)
{
    const json_t *config = hd_checkpoint_config(m->ckpt);
    state *s = m->state;
    s->repeat = json_is_true(json_object_get(config, "repeat"));
    s->echo = json_is_true(json_object_get(config, "echo"));
    HD_TRY(read_markers(m, json_object_get(config, "start_token_id"), err));
    HD_TRY(read_delay(m, json_object_get(config, "delay_ms"), err));
    if (!s->echo) HD_TRY(read_scripts(m, w, json_object_get(config, "script"), err));
    float *base = hd_weights_alloc(w, (size_t)m->config.vocab, sizeof *base);
    if (!base) return hd_fail(err, HD_E_MEMORY, "out of memory for a vocabulary of %d", m->config.vocab);
    for (int32_t id = 0; id < m->config.vocab; id++)
        base[id] = -SLOPE * (float)id;
    s->base = base;
    return HD_OK;
}

/* ---- rows ---- */

static void put_number(float *digits, uint32_t v)
{
    for (int i = 0; i < DIGITS; i++)
        digits[i] = (float)(v >> 8 * i & 0xff);
}

/* Rows may come from a file (snapshots, prefixes): what is no digit counts as 0. */
static uint32_t get_number(const float *digits)
{
    uint32_t v = 0;
    for (int i = 0; i < DIGITS; i++)
        if (digits[i] >= 0.0f && digits[i] <= 255.0f) v |= (uint32_t)digits[i] << 8 * i;
    return v;
}

static void put_mark(float *row, const mark *k)
{
    put_number(row, k->index);
    put_number(row + DIGITS, k->turn);
    put_number(row + 2 * DIGITS, k->id);
    put_number(row + 3 * DIGITS, k->hash);
}

static mark get_mark(const float *row)
{
    return (mark){.index = get_number(row),
                  .turn = get_number(row + DIGITS),
                  .id = get_number(row + 2 * DIGITS),
                  .hash = get_number(row + 3 * DIGITS)};
}

static mark cached_mark(const hd_rows *rows, int64_t pos)
{
    float row[HD_SCRIPTED_WIDTH] = {0};
    (void)hd_decode_row(rows->type, hd_row_at(rows, pos, 0), row, HD_SCRIPTED_WIDTH);
    return get_mark(row);
}

/* ---- the script ---- */

static int32_t end_id(const hd_model *m)
{
    return m->config.eos_count ? m->config.eos[0] : 0;
}

/* The token that comes after one with this mark. */
static int32_t next_id(const hd_model *m, const mark *k)
{
    const state *s = m->state;
    if (s->echo) return k->id < (uint32_t)m->config.vocab ? (int32_t)k->id : end_id(m);
    int64_t which = k->turn > 0 ? HD_MIN((int64_t)k->turn, s->count) - 1 : 0;
    int64_t begin = which > 0 ? s->end[which - 1] : 0, length = s->end[which] - begin, at = k->index;
    if (s->repeat && length > 0) at %= length;
    return at < length ? s->ids[begin + at] : end_id(m);
}

/* Whether this marker ends with token i of the span; what lies before the span stands in the cache. */
static bool ends_one(const marker *k, const hd_rows *rows, const hd_span *span, const int32_t *ids, int64_t i)
{
    if (span->pos0 + i + 1 < k->count) return false;
    for (int j = 0; j < k->count; j++) {
        int64_t at = i - j;
        int32_t want = k->ids[k->count - 1 - j];
        if (at >= 0 ? ids[at] != want : cached_mark(rows, span->pos0 + at).id != (uint32_t)want) return false;
    }
    return true;
}

static bool ends_marker(const state *s, const hd_rows *rows, const hd_span *span, const int32_t *ids, int64_t i)
{
    for (int k = 0; k < s->marker_count; k++)
        if (ends_one(&s->markers[k], rows, span, ids, i)) return true;
    return false;
}

/* The script goes on behind a token that it foresaw, and begins behind any other: so it begins where a prompt ends. */
static mark mark_of(const hd_model *m, const mark *last, int32_t id, bool marked)
{
    bool foreseen = last && !marked && next_id(m, last) == id;
    return (mark){.index = foreseen ? last->index + 1 : 0,
                  .turn = (last ? last->turn : 0) + (marked ? 1 : 0),
                  .id = (uint32_t)id,
                  .hash = ((last ? last->hash : FNV_BASIS) ^ (uint32_t)id) * FNV_PRIME};
}

/* Fills the rows of one span's tokens, in s->rows and in the cache. */
static void read_span(hd_model *m, const hd_span *span, const int32_t *ids)
{
    const state *s = m->state;
    hd_rows rows = hd_model_rows(m, span, 0);
    mark last = {0};
    if (span->pos0 > 0) last = cached_mark(&rows, span->pos0 - 1);
    for (int64_t i = 0; i < span->n; i++) {
        bool first = span->pos0 + i == 0;
        last = mark_of(m, first ? NULL : &last, ids[i], ends_marker(s, &rows, span, ids, i));
        put_mark(s->rows + i * HD_SCRIPTED_WIDTH, &last);
    }
    m->backend->store_rows(&m->exec, &rows, 0, s->rows, HD_SCRIPTED_WIDTH, HD_SCRIPTED_WIDTH, span->pos0, span->n);
}

/* ---- the pass ---- */

static void wait_ms(int ms)
{
    struct timespec left = {.tv_sec = ms / 1000, .tv_nsec = (long)(ms % 1000) * 1000000};
    if (ms > 0) (void)nanosleep(&left, NULL);
}

static void forward(hd_model *m, const hd_batch *batch, float *logits)
{
    const state *s = m->state;
    const int32_t *ids = batch->ids;
    float *hidden = m->h;
    wait_ms(s->delay_ms);
    for (int i = 0; i < batch->count; i++) {
        const hd_span *span = &batch->spans[i];
        read_span(m, span, ids);
        for (int64_t j = span->n - span->logits; j < span->n; j++) {
            const float *row = s->rows + j * HD_SCRIPTED_WIDTH;
            mark k = get_mark(row);
            memcpy(logits, s->base, (size_t)m->config.vocab * sizeof *logits);
            logits[next_id(m, &k)] = CHOSEN;
            logits += m->config.vocab;
            for (int d = 0; d < HD_SCRIPTED_WIDTH; d++)
                *hidden++ = row[d] / 255.0f;
        }
        ids += span->n;
    }
}

/* ---- its shape ---- */

static int stream_count(const hd_model_config *c)
{
    (void)c;
    return 1;
}

static int stream_width(const hd_model_config *c, int stream)
{
    (void)c;
    (void)stream;
    return HD_SCRIPTED_WIDTH;
}

static int stream_piece(const hd_model_config *c)
{
    (void)c;
    return 1;
}

static void lay_out(hd_model *m, hd_activations *a)
{
    state *s = m->state;
    s->rows = hd_activations_take(a, m->max_tokens, HD_SCRIPTED_WIDTH);
}

static void limits(const hd_model_config *c, hd_shape_limits *l)
{
    l->k_dim = l->v_dim = c->head_dim;
}

static int expert_layers(const hd_model_config *c)
{
    (void)c;
    return 0;
}

const hd_arch_ops hd_arch_scripted = {
    .state_bytes = sizeof(state),
    .load = load,
    .stream_count = stream_count,
    .stream_width = stream_width,
    .stream_piece = stream_piece,
    .lay_out = lay_out,
    .limits = limits,
    .expert_layers = expert_layers,
    .forward = forward,
};
