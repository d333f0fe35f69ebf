/* engine/core.c: a model with its threads and pages, and the step that evaluates a batch. */
#include <string.h>

#include "engine/engine_internal.h"

#define FNV_PRIME 0x100000001b3u /* FNV-1a of 64 bits */

static uint64_t mix(uint64_t h, const void *data, size_t len)
{
    const uint8_t *p = data;
    for (size_t i = 0; i < len; i++)
        h = (h ^ p[i]) * FNV_PRIME;
    return h;
}

static uint64_t mix_number(uint64_t h, double value)
{
    uint64_t bits;
    memcpy(&bits, &value, sizeof bits);
    for (int i = 0; i < 64; i += 8)
        h = (h ^ (bits >> i & 0xff)) * FNV_PRIME;
    return h;
}

/* Every setting that changes what is cached.  Numbers, not the structure's bytes: padding has no value. */
static uint64_t mix_config(uint64_t h, const hd_model_config *c)
{
    const hd_rope_config *r = &c->rope;
    const double values[] = {
        c->arch,         c->layers,         c->hidden,     c->heads,          c->kv_heads,         c->head_dim,
        c->ffn,          c->vocab,          c->rms_eps,    c->q_lora,         c->kv_lora,          c->nope,
        c->rope_dim,     c->v_dim,          c->experts,    c->expert_ffn,     c->groups,           c->groups_used,
        c->experts_used, c->experts_shared, c->dense_lead, c->expert_every,   c->sigmoid,          c->renorm,
        c->routed_scale, r->type,           r->theta,      r->factor,         r->low_freq,         r->high_freq,
        r->beta_fast,    r->beta_slow,      r->mscale,     r->mscale_all_dim, r->attention_factor, r->original_context,
        r->truncate,     r->adjacent,
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(values); i++)
        h = mix_number(h, values[i]);
    return h;
}

/* The settings, and names, types, shapes and the first bytes of every tensor: tells models apart without reading them
 * whole. */
static uint64_t fingerprint_of(const hd_core *core)
{
    enum { SAMPLE = 64 };
    const hd_cache_layout *l = hd_model_get_layout(core->model);
    uint64_t h = mix(0xcbf29ce484222325u, core->backend->name, strlen(core->backend->name));
    h = mix_config(h, hd_model_get_config(core->model)); /* with as many experts as a token goes to */
    const hd_dials *dials = hd_model_get_dials(core->model);
    if (dials->expert_share > 0) h = mix_number(h, dials->expert_share + 1); /* not ffn_keep's numbers */
    if (dials->ffn_keep > 0) h = mix_number(mix_number(h, dials->ffn_keep), dials->ffn_by);
    h = mix(h, &l->page_bytes, sizeof l->page_bytes);
    h = mix(h, &l->type, sizeof l->type);
    for (size_t i = 0; i < hd_checkpoint_tensor_count(core->ckpt); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(core->ckpt, i);
        h = mix(h, t->name, strlen(t->name));
        h = mix(h, &t->type, sizeof t->type);
        h = mix(h, t->shape, sizeof t->shape);
        h = mix(h, t->data, HD_MIN(t->bytes, SAMPLE));
    }
    return h;
}

void hd_core_limit_cache(hd_core *core, int64_t tokens)
{
    core->pages.limit = tokens ? (tokens + HD_PAGE_ROWS - 1) / HD_PAGE_ROWS : 0;
}

static hd_status choose_context(hd_core *core, const hd_core_options *o, hd_error *err)
{
    hd_model_config config;
    HD_TRY(hd_model_config_read(&config, core->ckpt, err));
    core->context = o->context ? o->context : config.context;
    if (o->context < 0 || o->context > config.context)
        return hd_fail(err, HD_E_ARGUMENT, "context: %lld tokens were asked for, the model's limit is %lld",
                       (long long)o->context, (long long)config.context);
    core->chunk = HD_MIN(o->chunk, core->context);
    if (core->chunk < 1 || core->chunk > HD_BATCH_MAX)
        return hd_fail(err, HD_E_ARGUMENT, "chunk: %lld tokens, must be 1 to %d", (long long)o->chunk, HD_BATCH_MAX);
    return HD_OK;
}

static hd_status open_parts(hd_core *core, const char *path, const hd_core_options *o, hd_error *err)
{
    core->backend = o->backend;
    core->may_sample = o->may_sample;
    if (!o->checkpoint) HD_TRY(hd_checkpoint_open(&core->own, path, err));
    core->ckpt = o->checkpoint ? o->checkpoint : core->own;
    HD_TRY(choose_context(core, o, err));
    HD_TRY(o->share_threads ? hd_pool_share(&core->pool, o->threads, err) : hd_pool_open(&core->pool, o->threads, err));
    hd_model_options mo = {.backend = o->backend,
                           .pool = core->pool,
                           .max_tokens = core->chunk,
                           .context = core->context,
                           .cache_type = o->cache_type,
                           .dials = o->dials,
                           .lora_rank = o->lora_rank,
                           .progress = o->progress,
                           .progress_arg = o->progress_arg};
    HD_TRY(hd_model_open(&core->model, core->ckpt, &mo, err));
    hd_pages_init(&core->pages, hd_model_get_layout(core->model)->page_bytes, 0);
    hd_core_limit_cache(core, o->cache_tokens);
    core->spans = hd_alloc_array((size_t)core->chunk, sizeof *core->spans);
    core->ids = hd_alloc_array((size_t)core->chunk, sizeof *core->ids);
    if (!core->spans || !core->ids) return hd_fail(err, HD_E_MEMORY, "out of memory for the batch");
    core->fingerprint = fingerprint_of(core);
    hd_model_sizes sizes;
    hd_model_get_sizes(core->model, &sizes);
    if (sizes.packed_bytes) hd_checkpoint_drop_all(core->ckpt); /* a sample of each tensor was read */
    return HD_OK;
}

hd_status hd_core_open(hd_core **out, const char *path, const hd_core_options *options, hd_error *err)
{
    *out = NULL;
    hd_core *core = hd_calloc(1, sizeof *core);
    if (!core) return hd_fail(err, HD_E_MEMORY, "out of memory for the engine");
    hd_status status = open_parts(core, path, options, err);
    if (status != HD_OK) {
        hd_core_close(&core);
        return status;
    }
    *out = core;
    return HD_OK;
}

void hd_core_close(hd_core **ref)
{
    hd_core *core = *ref;
    if (!core) return;
    *ref = NULL;
    hd_model_close(&core->model);
    hd_operator_times_close(&core->times);
    hd_pool_close(&core->pool);
    hd_checkpoint_close(&core->own);
    hd_pages_free(&core->pages);
    hd_free(core->spans);
    hd_free(core->ids);
    hd_free(core->logits);
    hd_free(core);
}

const hd_model *hd_core_model(const hd_core *core)
{
    return core->model;
}

const hd_backend *hd_core_backend(const hd_core *core)
{
    return core->backend;
}

const hd_checkpoint *hd_core_checkpoint(const hd_core *core)
{
    return core->ckpt;
}

int hd_core_threads(const hd_core *core)
{
    return hd_pool_threads(core->pool);
}

int64_t hd_core_context(const hd_core *core)
{
    return core->context;
}

int64_t hd_core_chunk(const hd_core *core)
{
    return core->chunk;
}

hd_status hd_core_check_ids(const hd_core *core, const int32_t *ids, int64_t n, hd_error *err)
{
    int32_t vocab = hd_model_get_config(core->model)->vocab;
    for (int64_t i = 0; i < n; i++)
        if (ids[i] < 0 || ids[i] >= vocab)
            return hd_fail(err, HD_E_ARGUMENT, "token id %d (number %lld) is outside the vocabulary of %d", ids[i],
                           (long long)i, vocab);
    return HD_OK;
}

void hd_core_get_cache(const hd_core *core, hd_cache_usage *out)
{
    const hd_pages *p = &core->pages;
    *out = (hd_cache_usage){.page_tokens = HD_PAGE_ROWS,
                            .page_bytes = p->page_bytes,
                            .pages = p->in_use,
                            .pages_free = p->free_count,
                            .pages_limit = p->limit};
}

void hd_core_trim(hd_core *core)
{
    hd_pages_free(&core->pages);
}

void hd_core_set_trace(hd_core *core, hd_expert_trace *trace)
{
    hd_model_set_trace(core->model, trace);
}

void hd_core_cancel(hd_core *core)
{
    atomic_store(&core->cancelled, true);
}

void hd_core_resume(hd_core *core)
{
    atomic_store(&core->cancelled, false);
}

hd_status hd_core_sample_operators(hd_core *core, hd_error *err)
{
    return core->may_sample && !core->times ? hd_operator_times_open(&core->times, core->backend, err) : HD_OK;
}

void hd_core_begin(hd_core *core)
{
    hd_pool_begin(core->pool, core->backend->flush_denormals);
}

void hd_core_end(hd_core *core)
{
    hd_pool_end(core->pool);
}

/* Also marks the sequence, so that it can't stand in a step twice: each feed counts on the length before it. */
static hd_status check_feed(const hd_core *core, const hd_seq_feed *f, int64_t *tokens, hd_error *err)
{
    if (f->seq->core != core || f->seq->in_step)
        return hd_fail(err, HD_E_ARGUMENT, "a step takes sessions of its own engine, each of them once");
    f->seq->in_step = true;
    if (f->n < 1 || f->n > core->chunk - *tokens)
        return hd_fail(err, HD_E_ARGUMENT, "a step takes 1 to %lld tokens", (long long)core->chunk);
    if (f->n > core->context - f->seq->length)
        return hd_fail(err, HD_E_CONTEXT, "%lld tokens and %lld more pass the context limit of %lld",
                       (long long)f->seq->length, (long long)f->n, (long long)core->context);
    *tokens += f->n;
    return HD_OK;
}

/* Checks the feeds, reserves their pages, and describes them as spans. */
static hd_status gather(hd_core *core, const hd_seq_feed *feeds, int count, int64_t *wanted, int *refused,
                        hd_error *err)
{
    int64_t tokens = 0;
    *wanted = 0;
    for (int i = 0; i < count; i++) {
        const hd_seq_feed *f = &feeds[i];
        *refused = i;
        HD_TRY(check_feed(core, f, &tokens, err));
        HD_TRY(hd_seq_grow(f->seq, f->n, err));
        HD_TRY(hd_seq_need_logits(f->seq, err));
        memcpy(core->ids + tokens - f->n, f->ids, (size_t)f->n * sizeof *core->ids);
        core->spans[i] = (hd_span){.pages = f->seq->pages,
                                   .pos0 = f->seq->length,
                                   .n = f->n,
                                   .logits = f->logits ? f->n : 1,
                                   .lora = f->seq->lora};
        *wanted += core->spans[i].logits;
    }
    *refused = -1;
    return HD_OK;
}

/* Where the model writes: straight to the only feed's place, else to the staging rows. */
static hd_status logits_place(hd_core *core, const hd_seq_feed *feeds, int count, int64_t wanted, float **out,
                              hd_error *err)
{
    *out = feeds[0].logits ? feeds[0].logits : feeds[0].seq->logits;
    if (count == 1) return HD_OK;
    if ((size_t)wanted > core->logits_rows) {
        size_t vocab = (size_t)hd_model_get_config(core->model)->vocab;
        float *bigger = hd_realloc_array(core->logits, (size_t)wanted, vocab * sizeof *bigger);
        if (!bigger) return hd_fail(err, HD_E_MEMORY, "out of memory for the logits of %lld tokens", (long long)wanted);
        core->logits = bigger;
        core->logits_rows = (size_t)wanted;
    }
    *out = core->logits;
    return HD_OK;
}

/* The last row of hidden states that a feed asked for. */
static void take_hidden(hd_core *core, hd_seq *seq, int64_t row)
{
    size_t width = (size_t)hd_model_get_config(core->model)->hidden;
    if (!seq->hidden) return;
    memcpy(seq->hidden, hd_model_hidden(core->model) + (size_t)row * width, width * sizeof(float));
    seq->has_hidden = true;
}

/* Hands out the staged rows, appends the tokens, and marks whose last logits are known. */
static void settle(hd_core *core, const hd_seq_feed *feeds, int count, const float *logits)
{
    size_t vocab = (size_t)hd_model_get_config(core->model)->vocab;
    int64_t row = 0;
    for (int i = 0; i < count; i++) {
        const hd_seq_feed *f = &feeds[i];
        hd_seq *seq = f->seq;
        size_t rows = f->logits ? (size_t)f->n : 1;
        if (count > 1) {
            memcpy(f->logits ? f->logits : seq->logits, logits, rows * vocab * sizeof *logits);
            logits += rows * vocab;
        }
        if (f->logits) memcpy(seq->logits, f->logits + (rows - 1) * vocab, vocab * sizeof *logits);
        memcpy(seq->tokens + seq->length, f->ids, (size_t)f->n * sizeof *f->ids);
        seq->length += f->n;
        seq->has_logits = true;
        row += (int64_t)rows;
        take_hidden(core, seq, row - 1);
    }
}

static hd_status evaluate(hd_core *core, const hd_seq_feed *feeds, int count, int *refused, hd_error *err)
{
    int64_t wanted;
    float *logits;
    if (atomic_exchange(&core->cancelled, false)) return hd_fail(err, HD_E_CANCELLED, "cancelled");
    HD_TRY(gather(core, feeds, count, &wanted, refused, err));
    HD_TRY(logits_place(core, feeds, count, wanted, &logits, err));
    hd_batch batch = {.ids = core->ids, .spans = core->spans, .count = count};
    if (core->times) hd_model_set_backend(core->model, hd_operator_times_begin(core->times));
    HD_TRY(hd_model_forward(core->model, &batch, logits, err));
    if (core->times) hd_operator_times_end(core->times);
    if (count == 1 && !feeds[0].logits) feeds[0].seq->has_logits = false; /* they were overwritten */
    HD_TRY(hd_checkpoint_check(core->ckpt, err)); /* zeros may have been read in place of lost weights */
    settle(core, feeds, count, logits);
    return HD_OK;
}

hd_status hd_core_step(hd_core *core, const hd_seq_feed *feeds, int count, int *refused, hd_error *err)
{
    *refused = -1;
    if (count < 1 || count > core->chunk)
        return hd_fail(err, HD_E_ARGUMENT, "a step takes 1 to %lld sequences", (long long)core->chunk);
    hd_core_begin(core);
    hd_status status = evaluate(core, feeds, count, refused, err);
    hd_core_end(core);
    for (int i = 0; i < count; i++) {
        hd_seq_trim(feeds[i].seq);
        feeds[i].seq->in_step = false;
    }
    return status;
}
