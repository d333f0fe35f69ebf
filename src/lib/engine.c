/* lib/engine.c: the installed engine API (include/hadal/engine.h) over the engine room; chooses the backend. */
#include <stdio.h>
#include <string.h>

#include "engine/engine.h"
#include "kernels/kernels.h"
#include "kernels/profile.h"
#include "lib/engine_internal.h"
#include "models/adapter.h"

#define DEFAULT_CHUNK 512
/* For models that come without sampling values: what DeepSeek recommends for R1 and its distillations. */
#define DEFAULT_TEMPERATURE 0.6f
#define DEFAULT_TOP_P 0.95f

struct hd_engine {
    hd_core *core;
    hd_engine_info info;
    hd_expert_trace trace;
    hd_lora *lora; /* of sessions opened from now on; NULL: none */
};

struct hd_session {
    hd_engine *engine;
    hd_seq *seq;
};

struct hd_sampler {
    hd_picker *picker;
    hd_picker_room *room;
    int32_t vocab;
};

hd_core *hd_engine_core(hd_engine *engine)
{
    return engine->core;
}

/* What most weights are stored as. */
static const char *commonest_type(const hd_model_sizes *sizes)
{
    hd_type best = 0;
    for (hd_type t = 0; t < HD_TYPE_COUNT; t++)
        if (sizes->type_values[t] > sizes->type_values[best]) best = t;
    return sizes->type_values[best] > 0 ? hd_type_name(best) : "none";
}

static void fill_info(hd_engine *e)
{
    const hd_model *model = hd_core_model(e->core);
    const hd_model_config *c = hd_model_get_config(model);
    hd_model_sizes sizes;
    hd_model_get_sizes(model, &sizes);
    e->info = (hd_engine_info){
        .architecture = hd_arch_name(c->arch),
        .cpu = hd_core_backend(e->core)->name,
        .threads = hd_core_threads(e->core),
        .vocab = c->vocab,
        .context = hd_core_context(e->core),
        .model_context = c->context,
        .layers = c->layers,
        .hidden = c->hidden,
        .parameters = sizes.parameters,
        .weight_type = commonest_type(&sizes),
        .weight_bytes = sizes.weight_bytes,
        .packed_bytes = sizes.packed_bytes,
        .cache_type = hd_cache_type_name(hd_model_get_layout(model)->type),
        .cache_bytes_per_token = hd_model_get_layout(model)->page_bytes / HD_PAGE_ROWS,
        .scratch_bytes = sizes.scratch_bytes,
        .step_tokens = hd_core_chunk(e->core),
        .eos = c->eos,
        .eos_count = (size_t)c->eos_count,
    };
}

static hd_status core_options(hd_core_options *out, const hd_engine_options *o, hd_error *err)
{
    hd_cpu_tier tier = HD_CPU_AUTO;
    if (o->cpu && !hd_cpu_parse(o->cpu, &tier))
        return hd_fail(err, HD_E_ARGUMENT,
                       "--cpu %.32s: there are auto, reference, avx2, avx512, avx512bf16, amx, neon, neondot, neoni8mm",
                       o->cpu);
    if (o->threads < 0 || o->context < 0 || o->chunk < 0 || o->cache_tokens < 0)
        return hd_fail(err, HD_E_ARGUMENT, "threads, context, chunk and cache_tokens must not be negative");
    *out = (hd_core_options){.may_sample = !o->profile, /* which knows itself by that address */
                             .threads = o->threads ? o->threads : hd_cpu_threads(),
                             .share_threads = o->share_threads,
                             .context = o->context,
                             .chunk = o->chunk ? o->chunk : DEFAULT_CHUNK,
                             .cache_tokens = o->cache_tokens,
                             .cache_type = o->cache_type,
                             .dials = {.experts = o->experts,
                                       .expert_share = o->expert_share,
                                       .ffn_keep = o->ffn_keep,
                                       .ffn_by = o->ffn_by_product ? HD_KEEP_BY_PRODUCT : HD_KEEP_BY_GATE},
                             .lora_rank = o->lora_rank,
                             .progress = o->progress,
                             .progress_arg = o->progress_arg};
    HD_TRY(hd_kernels_cpu(&out->backend, tier, err));
    if (o->profile) out->backend = hd_profile_wrap(o->profile, out->backend);
    return HD_OK;
}

hd_status hd_engine_open(hd_engine **out, const char *path, const hd_engine_options *options, hd_error *err)
{
    static const hd_engine_options defaults;
    hd_core_options co;
    *out = NULL;
    HD_TRY(core_options(&co, options ? options : &defaults, err));
    hd_engine *e = hd_calloc(1, sizeof *e);
    if (!e) return hd_fail(err, HD_E_MEMORY, "out of memory for the engine");
    hd_status status = hd_core_open(&e->core, path, &co, err);
    if (status != HD_OK) {
        hd_free(e);
        return hd_adapter_explain(status, path, err);
    }
    fill_info(e);
    *out = e;
    return HD_OK;
}

void hd_engine_close(hd_engine **engine)
{
    hd_engine *e = *engine;
    if (!e) return;
    *engine = NULL;
    hd_lora_close(&e->lora);
    hd_core_close(&e->core);
    hd_free(e->trace.ids);
    hd_free(e);
}

void hd_engine_get_info(const hd_engine *engine, hd_engine_info *out)
{
    *out = engine->info;
}

void hd_engine_get_arithmetic(const hd_engine *engine, hd_arithmetic_left *out)
{
    hd_model_work work;
    hd_model_get_work(hd_core_model(engine->core), &work);
    double whole = work.layers_whole + work.output;
    out->all = whole > 0 ? (work.layers + work.output) / whole : 1; /* a scripted model has no weights */
    out->layers = work.layers_whole > 0 ? work.layers / work.layers_whole : 1;
}

void hd_engine_get_cache(const hd_engine *engine, hd_cache_usage *out)
{
    hd_core_get_cache(engine->core, out);
}

void hd_engine_limit_cache(hd_engine *engine, int64_t tokens)
{
    hd_core_limit_cache(engine->core, tokens);
}

void hd_engine_trim(hd_engine *engine)
{
    hd_core_trim(engine->core);
}

void hd_engine_cancel(hd_engine *engine)
{
    hd_core_cancel(engine->core);
}

void hd_engine_resume(hd_engine *engine)
{
    hd_core_resume(engine->core);
}

/* ---- expert choices ---- */

/* A trace of the model's shape with zeroed ids. */
static hd_status new_trace(hd_expert_trace *out, const hd_engine *e, int64_t tokens, hd_error *err)
{
    const hd_model *model = hd_core_model(e->core);
    int layers = hd_model_expert_layers(model), used = hd_model_get_config(model)->experts_used;
    if (!layers) return hd_fail(err, HD_E_UNSUPPORTED, "this model has no experts");
    if (tokens < 1 || tokens > (int64_t)1 << 32)
        return hd_fail(err, HD_E_ARGUMENT, "experts of %lld tokens can't be kept", (long long)tokens);
    int32_t *ids = hd_calloc((size_t)tokens * (size_t)layers, (size_t)used * sizeof *ids);
    if (!ids) return hd_fail(err, HD_E_MEMORY, "out of memory for the experts of %lld tokens", (long long)tokens);
    *out = (hd_expert_trace){.ids = ids, .layers = layers, .tokens = tokens, .used = used};
    return HD_OK;
}

static void use_trace(hd_engine *e, const hd_expert_trace *trace)
{
    hd_core_set_trace(e->core, NULL);
    hd_free(e->trace.ids);
    e->trace = *trace;
    hd_core_set_trace(e->core, &e->trace);
}

hd_status hd_engine_record_experts(hd_engine *engine, int64_t tokens, hd_error *err)
{
    hd_expert_trace trace;
    HD_TRY(new_trace(&trace, engine, tokens, err));
    trace.mode = HD_TRACE_RECORD;
    use_trace(engine, &trace);
    return HD_OK;
}

hd_status hd_engine_save_experts(hd_engine *engine, const char *path, hd_error *err)
{
    hd_expert_trace *t = &engine->trace;
    int64_t tokens = HD_MIN(t->token0, t->tokens);
    if (t->mode != HD_TRACE_RECORD) return hd_fail(err, HD_E_ARGUMENT, "no expert choices were recorded");
    size_t row = (size_t)tokens * (size_t)t->used;
    int32_t *ids = hd_alloc_array(row * (size_t)t->layers, sizeof *ids);
    if (!ids) return hd_fail(err, HD_E_MEMORY, "out of memory for the experts of %lld tokens", (long long)tokens);
    for (int64_t l = 0; l < t->layers; l++)
        memcpy(ids + (size_t)l * row, t->ids + l * t->tokens * t->used, row * sizeof *ids);
    hd_tensor tensor = {.name = "experts",
                        .type = HD_TYPE_I32,
                        .dims = 3,
                        .shape = {t->layers, tokens, t->used, 1},
                        .data = ids,
                        .bytes = row * (size_t)t->layers * sizeof *ids};
    hd_status status = hd_safetensors_write(path, &tensor, 1, err);
    hd_free(ids);
    return status;
}

static hd_status check_trace(const hd_engine *e, const hd_tensor *t, const char *path, hd_error *err)
{
    const hd_model *model = hd_core_model(e->core);
    const hd_model_config *c = hd_model_get_config(model);
    if (!t || t->type != HD_TYPE_I32 || t->dims != 3)
        return hd_fail(err, HD_E_FORMAT, "%s: no tensor \"experts\" of type I32 with three dimensions", path);
    if (t->shape[0] != hd_model_expert_layers(model) || t->shape[2] != c->experts_used)
        return hd_fail(err, HD_E_FORMAT, "%s: expert choices of another model: %lld layers, %lld a token", path,
                       (long long)t->shape[0], (long long)t->shape[2]);
    return HD_OK;
}

/* Looks at our copy: the file may change after a look at it. */
static hd_status check_ids(const hd_engine *e, const hd_expert_trace *trace, const char *path, hd_error *err)
{
    int experts = hd_model_get_config(hd_core_model(e->core))->experts;
    for (int64_t i = 0; i < trace->layers * trace->tokens * trace->used; i++)
        if (trace->ids[i] < 0 || trace->ids[i] >= experts)
            return hd_fail(err, HD_E_FORMAT, "%s: expert %d of %d", path, trace->ids[i], experts);
    return HD_OK;
}

static hd_status load_trace(hd_engine *e, const hd_checkpoint *ckpt, const char *path, hd_error *err)
{
    const hd_tensor *t = hd_checkpoint_find(ckpt, "experts");
    hd_expert_trace trace;
    HD_TRY(check_trace(e, t, path, err));
    HD_TRY(new_trace(&trace, e, t->shape[1], err));
    memcpy(trace.ids, t->data, t->bytes);
    hd_status status = check_ids(e, &trace, path, err);
    if (status == HD_OK) status = hd_checkpoint_check(ckpt, err);
    if (status != HD_OK) {
        hd_free(trace.ids);
        return status;
    }
    trace.mode = HD_TRACE_FORCE;
    use_trace(e, &trace);
    return HD_OK;
}

hd_status hd_engine_force_experts(hd_engine *engine, const char *path, hd_error *err)
{
    hd_checkpoint *ckpt;
    HD_TRY(hd_checkpoint_open(&ckpt, path, err));
    hd_status status = load_trace(engine, ckpt, path, err);
    hd_checkpoint_close(&ckpt);
    return status;
}

/* ---- adapters ---- */

hd_status hd_lora_open_within(hd_lora **out, hd_engine *engine, const char *path, double scale, const char *folder,
                              hd_error *err)
{
    hd_adapter *adapter = NULL;
    *out = NULL;
    HD_TRY(hd_adapter_open_within(&adapter, path, folder, err));
    hd_status status = hd_lora_bind(out, hd_core_model(engine->core), adapter, (float)scale, err);
    if (status != HD_OK) status = hd_fail_in(err, status, "%s", path);
    hd_adapter_close(&adapter);
    return status;
}

hd_status hd_lora_open(hd_lora **out, hd_engine *engine, const char *path, double scale, hd_error *err)
{
    return hd_lora_open_within(out, engine, path, scale, NULL, err);
}

hd_lora *hd_lora_share(hd_lora *lora)
{
    return hd_lora_ref(lora);
}

void hd_lora_close(hd_lora **lora)
{
    hd_lora_unref(lora);
}

void hd_lora_get_use(const hd_lora *lora, int *running, int *waiting)
{
    hd_lora_get_counts(lora, running, waiting);
}

void hd_engine_use_lora(hd_engine *engine, hd_lora *lora)
{
    hd_lora *old = engine->lora;
    engine->lora = hd_lora_share(lora);
    hd_lora_close(&old);
}

/* ---- sessions ---- */

static hd_status wrap(hd_session **out, hd_engine *engine, hd_seq *seq, hd_error *err)
{
    hd_session *s = hd_calloc(1, sizeof *s);
    if (!s) {
        hd_seq_close(&seq);
        return hd_fail(err, HD_E_MEMORY, "out of memory for a session");
    }
    *s = (hd_session){.engine = engine, .seq = seq};
    *out = s;
    return HD_OK;
}

hd_status hd_session_open(hd_session **out, hd_engine *engine, hd_error *err)
{
    hd_seq *seq;
    *out = NULL;
    HD_TRY(hd_seq_open(&seq, engine->core, err));
    hd_status status = hd_seq_set_lora(seq, engine->lora, err);
    if (status == HD_OK) return wrap(out, engine, seq, err);
    hd_seq_close(&seq);
    return status;
}

hd_status hd_session_set_lora(hd_session *session, hd_lora *lora, hd_error *err)
{
    return hd_seq_set_lora(session->seq, lora, err);
}

void hd_session_close(hd_session **session)
{
    hd_session *s = *session;
    if (!s) return;
    *session = NULL;
    hd_seq_close(&s->seq);
    hd_free(s);
}

int64_t hd_session_length(const hd_session *session)
{
    return hd_seq_length(session->seq);
}

const int32_t *hd_session_tokens(const hd_session *session)
{
    return hd_seq_tokens(session->seq);
}

uint64_t hd_session_cache_bytes(const hd_session *session)
{
    return hd_seq_cache_bytes(session->seq);
}

const float *hd_session_logits(const hd_session *session)
{
    return hd_seq_logits(session->seq);
}

hd_status hd_session_keep_hidden(hd_session *session, hd_error *err)
{
    return hd_seq_keep_hidden(session->seq, err);
}

const float *hd_session_hidden(const hd_session *session, int64_t *width)
{
    *width = session->engine->info.hidden;
    return hd_seq_hidden(session->seq);
}

/* Everything that can be refused is refused before the first chunk is evaluated. */
static hd_status check_feed(const hd_session *s, const int32_t *ids, int64_t n, hd_error *err)
{
    const hd_engine_info *info = &s->engine->info;
    int64_t held = hd_seq_length(s->seq);
    if (n < 1) return hd_fail(err, HD_E_ARGUMENT, "no tokens were given");
    if (n > info->context - held)
        return hd_fail(err, HD_E_CONTEXT,
                       "%lld tokens and %lld more pass the context limit of %lld (the model's own limit is %lld)",
                       (long long)held, (long long)n, (long long)info->context, (long long)info->model_context);
    return hd_core_check_ids(s->engine->core, ids, n, err);
}

static hd_status feed(hd_session *s, const int32_t *ids, int64_t n, float *logits, hd_error *err)
{
    hd_core *core = s->engine->core;
    HD_TRY(check_feed(s, ids, n, err));
    HD_TRY(hd_seq_reserve(s->seq, n, err)); /* fails before the first chunk, if at all */
    int refused;
    int64_t before = hd_seq_length(s->seq);
    for (int64_t at = 0; at < n;) {
        int64_t take = HD_MIN(n - at, hd_core_chunk(core));
        hd_seq_feed f = {.seq = s->seq, .ids = ids + at, .n = take, .logits = logits};
        hd_status status = hd_core_step(core, &f, 1, &refused, err);
        if (status != HD_OK) {
            int64_t left = status == HD_E_CANCELLED ? hd_seq_length(s->seq) : before; /* and room is given back */
            return hd_seq_truncate(s->seq, left, NULL) == HD_OK ? status : HD_E_INTERNAL;
        }
        at += take;
        if (logits) logits += take * s->engine->info.vocab;
    }
    return HD_OK;
}

hd_status hd_session_feed(hd_session *session, const int32_t *ids, int64_t n, hd_error *err)
{
    return feed(session, ids, n, NULL, err);
}

hd_status hd_session_feed_all(hd_session *session, const int32_t *ids, int64_t n, float *logits, hd_error *err)
{
    return feed(session, ids, n, logits, err);
}

hd_status hd_engine_step(hd_engine *engine, const hd_feed *feeds, int count, int *refused, hd_error *err)
{
    int where = -1;
    if (!refused) refused = &where;
    *refused = -1;
    if (count < 1 || count > hd_core_chunk(engine->core))
        return hd_fail(err, HD_E_ARGUMENT, "a step takes 1 to %lld sessions", (long long)hd_core_chunk(engine->core));
    hd_seq_feed *list = hd_alloc_array((size_t)count, sizeof *list);
    if (!list) return hd_fail(err, HD_E_MEMORY, "out of memory for a step of %d sessions", count);
    hd_status status = HD_OK;
    for (int i = 0; i < count && status == HD_OK; i++) {
        const hd_feed *f = &feeds[i];
        status = f->session->engine == engine
                     ? check_feed(f->session, f->ids, f->n, err)
                     : hd_fail(err, HD_E_ARGUMENT, "session %d of the step belongs to another engine", i);
        if (status != HD_OK) *refused = i;
        list[i] = (hd_seq_feed){.seq = f->session->seq, .ids = f->ids, .n = f->n};
    }
    if (status == HD_OK) status = hd_core_step(engine->core, list, count, refused, err);
    hd_free(list);
    return status;
}

hd_status hd_session_reserve(hd_session *session, int64_t n, hd_error *err)
{
    const hd_engine_info *info = &session->engine->info;
    if (n < 0) return hd_fail(err, HD_E_ARGUMENT, "room for %lld tokens", (long long)n);
    if (n > info->context - hd_seq_length(session->seq))
        return hd_fail(err, HD_E_CONTEXT, "%lld tokens and room for %lld pass the context limit of %lld",
                       (long long)hd_seq_length(session->seq), (long long)n, (long long)info->context);
    return hd_seq_reserve(session->seq, n, err);
}

hd_status hd_session_truncate(hd_session *session, int64_t length, hd_error *err)
{
    return hd_seq_truncate(session->seq, length, err);
}

hd_status hd_session_fork(hd_session **out, const hd_session *session, hd_error *err)
{
    hd_seq *seq;
    *out = NULL;
    HD_TRY(hd_seq_fork(&seq, session->seq, hd_seq_length(session->seq), err));
    return wrap(out, session->engine, seq, err);
}

hd_status hd_session_fork_prefix(hd_session **out, const hd_session *session, int64_t length, hd_error *err)
{
    hd_seq *seq;
    *out = NULL;
    HD_TRY(hd_seq_fork(&seq, session->seq, length, err));
    return wrap(out, session->engine, seq, err);
}

hd_status hd_session_snapshot(const hd_session *session, uint8_t **data, size_t *size, hd_error *err)
{
    return hd_seq_snapshot(session->seq, data, size, err);
}

hd_status hd_session_restore(hd_session *session, const uint8_t *data, size_t size, hd_error *err)
{
    return hd_seq_restore(session->seq, data, size, err);
}

void hd_bytes_free(uint8_t *data)
{
    hd_free(data);
}

/* ---- sampling ---- */

void hd_sampling_defaults(const hd_engine *engine, hd_sampling *out)
{
    const hd_model_config *c = hd_model_get_config(hd_core_model(engine->core));
    *out = (hd_sampling){
        .temperature = c->temperature >= 0.0f ? c->temperature : DEFAULT_TEMPERATURE,
        .top_k = c->top_k >= 0 ? c->top_k : 0,
        .top_p = c->top_p >= 0.0f ? c->top_p : DEFAULT_TOP_P,
        .min_p = c->min_p >= 0.0f ? c->min_p : 0.0f,
        .repetition_penalty = c->repetition_penalty >= 0.0f ? c->repetition_penalty : 1.0f,
    };
}

hd_status hd_sampler_open(hd_sampler **out, const hd_engine *engine, const hd_sampling *sampling, hd_error *err)
{
    *out = NULL;
    hd_sampler *s = hd_calloc(1, sizeof *s);
    if (!s) return hd_fail(err, HD_E_MEMORY, "out of memory for a sampler");
    s->vocab = engine->info.vocab;
    hd_status status = hd_picker_open(&s->picker, engine->info.vocab, sampling, err);
    if (status == HD_OK) status = hd_picker_room_open(&s->room, engine->info.vocab, err);
    if (status != HD_OK) hd_sampler_close(&s);
    *out = s;
    return status;
}

void hd_sampler_close(hd_sampler **sampler)
{
    hd_sampler *s = *sampler;
    if (!s) return;
    *sampler = NULL;
    hd_picker_close(&s->picker);
    hd_picker_room_close(&s->room);
    hd_free(s);
}

hd_status hd_sampler_next(hd_sampler *sampler, const hd_session *session, hd_logprob *chosen, hd_logprob *top,
                          size_t top_count, hd_error *err)
{
    const float *logits = hd_seq_logits(session->seq);
    if (!logits) return hd_fail(err, HD_E_ARGUMENT, "no token was fed: there are no logits to choose from");
    if (session->engine->info.vocab != sampler->vocab)
        return hd_fail(err, HD_E_ARGUMENT, "the sampler is for a vocabulary of %d tokens, the session's model has %d",
                       sampler->vocab, session->engine->info.vocab);
    const hd_pick pick = {.logits = logits,
                          .tokens = hd_seq_tokens(session->seq),
                          .count = hd_seq_length(session->seq),
                          .logprobs = true,
                          .top = top,
                          .top_count = top_count,
                          .adapted = hd_seq_is_adapted(session->seq)};
    return hd_picker_next(sampler->picker, sampler->room, &pick, chosen, err);
}
