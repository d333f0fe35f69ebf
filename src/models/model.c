/* models/model.c: opening a model, its buffers, and the parts of the forward pass that all architectures share. */
#include <math.h>
#include <string.h>

#include "models/lora.h"
#include "models/models_internal.h"

static const hd_arch_ops *ops_of(hd_arch arch)
{
    switch (arch) {
    case HD_ARCH_DEEPSEEK2: return &hd_arch_deepseek2;
    case HD_ARCH_SCRIPTED: return &hd_arch_scripted;
    default: return &hd_arch_transformer;
    }
}

float *hd_activations_take(hd_activations *a, int64_t rows, int64_t cols)
{
    size_t bytes = (size_t)rows * (size_t)cols * sizeof(float);
    bytes = (bytes + HD_CACHE_LINE - 1) / HD_CACHE_LINE * HD_CACHE_LINE;
    uint8_t *at = a->base ? a->base + a->used : NULL;
    a->used += bytes;
    return (float *)(void *)at;
}

static int64_t widest_gated(const hd_model_config *c)
{
    return HD_MAX((int64_t)c->ffn, (int64_t)c->expert_ffn * c->experts_shared);
}

static void lay_out(hd_model *m, hd_activations *a)
{
    const hd_model_config *c = &m->config;
    m->x = hd_activations_take(a, m->max_tokens, c->hidden);
    m->h = hd_activations_take(a, m->max_tokens, c->hidden);
    m->rope_table = hd_activations_take(a, m->max_tokens, c->rope_dim);
    m->spans = (hd_attend_span *)(void *)hd_activations_take(a, m->max_tokens, sizeof(hd_attend_span) / sizeof(float));
    m->keep_room =
        hd_dials_sparse(m) ? (uint32_t *)(void *)hd_activations_take(a, m->max_tokens, widest_gated(c)) : NULL;
    m->lora_t = hd_activations_take(a, m->max_tokens, m->lora_rank * HD_PRODUCTS_MAX);
    m->ops->lay_out(m, a);
}

/* Activations and scratch come zeroed from the kernel page by page: what a short batch never touches takes no memory.
 * *block owns it; the result is its first cache line.  NULL: no memory. */
static uint8_t *alloc_lazily(void **block, size_t bytes)
{
    *block = hd_calloc(bytes + HD_CACHE_LINE, 1);
    uintptr_t start = ((uintptr_t)*block + HD_CACHE_LINE - 1) / HD_CACHE_LINE * HD_CACHE_LINE;
    return *block ? (uint8_t *)start : NULL;
}

static hd_status open_activations(hd_model *m, hd_error *err)
{
    hd_activations a = {0};
    lay_out(m, &a);
    m->sizes.activation_bytes = a.used;
    uint8_t *base = alloc_lazily(&m->activations, a.used);
    if (!base) return hd_fail(err, HD_E_MEMORY, "out of memory for %zu bytes of activations", a.used);
    a = (hd_activations){.base = base};
    lay_out(m, &a);
    m->rope = (hd_rope){.table = m->rope_table, .dim = m->config.rope_dim, .adjacent = m->config.rope.adjacent};
    return HD_OK;
}

static size_t scratch_bytes(const hd_model *m)
{
    const hd_model_config *c = &m->config;
    hd_shape_limits l = {.tokens = m->max_tokens,
                         .cols = HD_MAX(c->hidden, c->ffn),
                         .heads = c->heads,
                         .hidden = c->hidden,
                         .context = m->context,
                         .threads = hd_pool_threads(m->exec.pool)};
    m->ops->limits(c, &l);
    return m->backend->scratch_bytes(&l);
}

static hd_status open_scratch(hd_model *m, hd_error *err)
{
    m->exec.scratch_bytes = scratch_bytes(m);
    m->sizes.scratch_bytes = m->exec.scratch_bytes;
    m->exec.scratch = alloc_lazily(&m->scratch, m->exec.scratch_bytes);
    if (!m->exec.scratch)
        return hd_fail(err, HD_E_MEMORY, "out of memory for %zu bytes of scratch", m->exec.scratch_bytes);
    return HD_OK;
}

static const struct {
    const char *name;
    hd_type type;
} cache_types[] = {{"f32", HD_TYPE_F32}, {"f16", HD_TYPE_F16}, {"bf16", HD_TYPE_BF16}, {"q8_0", HD_TYPE_Q8_0}};

const char *hd_cache_type_name(hd_type type)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(cache_types); i++)
        if (cache_types[i].type == type) return cache_types[i].name;
    return "?";
}

static hd_status choose_cache_type(hd_model *m, const char *name, hd_error *err)
{
    m->layout.type = m->backend->cache_type;
    if (!name || strcmp(name, "auto") == 0) return HD_OK;
    size_t i = 0;
    while (i < HD_ARRAY_LEN(cache_types) && strcmp(cache_types[i].name, name) != 0)
        i++;
    if (i == HD_ARRAY_LEN(cache_types))
        return hd_fail(err, HD_E_ARGUMENT, "cache type %.32s: there are auto, f32, f16, bf16, q8_0", name);
    m->layout.type = cache_types[i].type;
    int block = hd_type_block(m->layout.type), piece = m->ops->stream_piece(&m->config);
    if (piece % block != 0)
        return hd_fail(err, HD_E_ARGUMENT,
                       "cache type %s takes values by blocks of %d, and this model's cached rows come in pieces of %d; "
                       "use f16 or bf16",
                       name, block, piece);
    return HD_OK;
}

static hd_status open_layout(hd_model *m, hd_error *err)
{
    hd_cache_layout *l = &m->layout;
    l->streams = m->ops->stream_count(&m->config);
    l->offset = hd_calloc((size_t)l->streams, sizeof *l->offset);
    l->stride = hd_calloc((size_t)l->streams, sizeof *l->stride);
    if (!l->offset || !l->stride) return hd_fail(err, HD_E_MEMORY, "out of memory for the cache's layout");
    for (int s = 0; s < l->streams; s++) {
        l->offset[s] = l->page_bytes;
        if (!hd_type_row_bytes(l->type, m->ops->stream_width(&m->config, s), &l->stride[s]))
            return hd_fail(err, HD_E_FORMAT, "cached rows of %d values are no whole blocks",
                           m->ops->stream_width(&m->config, s));
        l->page_bytes += l->stride[s] * HD_PAGE_ROWS;
    }
    return HD_OK;
}

/* The embedding keeps the file's layout, for look-ups of single rows; a tied output is a second, prepared view of it.
 */
static hd_status load_shared(hd_model *m, hd_weights *w, hd_error *err)
{
    const hd_model_config *c = &m->config;
    HD_TRY(hd_weights_matrix(w, &m->embed, HD_NAME(embed), 0, c->vocab, c->hidden, false, err));
    hd_checkpoint_drop_all(m->ckpt); /* the output is large, and twice there while it is repacked */
    if (!c->tied)
        HD_TRY(hd_weights_matrix(w, &m->output, HD_NAME(output), 0, c->vocab, c->hidden, true, err));
    else {
        hd_weights_ignore(w, HD_NAME(output).safetensors); /* some exporters write the tied matrix twice */
        m->output = m->embed;
        HD_TRY(hd_weights_prepare(w, &m->output, err));
    }
    return hd_weights_vector(w, &m->output_norm, HD_NAME(output_norm), 0, c->hidden, err);
}

/* Llama 3's long-context factors come as a tensor in GGUF: each divides one frequency. */
static hd_status load_rope(hd_model *m, hd_weights *w, hd_error *err)
{
    const hd_model_config *c = &m->config;
    int half = c->rope_dim / 2;
    float *freq = hd_weights_alloc(w, (size_t)half, sizeof *freq);
    if (!freq) return hd_fail(err, HD_E_MEMORY, "out of memory for rotary frequencies");
    m->rope_freq = freq;
    hd_rope_frequencies(&c->rope, c->rope_dim, freq, &m->rope_gain);
    if (!hd_weights_has(w, HD_NAME(rope_factors), 0)) return HD_OK;
    const float *factors;
    HD_TRY(hd_weights_vector(w, &factors, HD_NAME(rope_factors), 0, half, err));
    for (int i = 0; i < half; i++) {
        if (!(factors[i] > 0.0f))
            return hd_fail(err, HD_E_FORMAT, "tensor rope_freqs.weight: value %d is not above 0", i);
        freq[i] /= factors[i];
    }
    return HD_OK;
}

static hd_status load_weights(hd_model *m, const hd_model_options *options, hd_error *err)
{
    HD_TRY(hd_weights_open(&m->weights, m->ckpt, options, &m->exec, err));
    if (!m->ops->forward) HD_TRY(load_rope(m, m->weights, err));
    HD_TRY(m->ops->load(m, m->weights, err));
    if (!m->ops->forward) HD_TRY(load_shared(m, m->weights, err));
    HD_TRY(hd_weights_finish(m->weights, err));
    hd_weights_sizes(m->weights, &m->sizes);
    return HD_OK;
}

/* Weights first: once every tensor has the shape that the configuration asks for, its widths are those of real data,
 * and a configuration that lies can't make us ask for absurd amounts of memory. */
static hd_status load(hd_model *m, const hd_model_options *options, hd_error *err)
{
    HD_TRY(hd_model_config_read(&m->config, m->ckpt, err));
    m->ops = ops_of(m->config.arch);
    HD_TRY(hd_dials_check(&options->dials, &m->config, err));
    if (options->lora_rank > 0 && options->dials.ffn_keep > 0 && options->dials.ffn_keep < 1)
        return hd_fail(err, HD_E_ARGUMENT, "--ffn-keep: does not go together with adapters (--lora)");
    m->dials = options->dials;
    m->own_experts_used = m->config.experts_used;
    if (m->dials.experts) m->config.experts_used = m->dials.experts;
    HD_TRY(choose_cache_type(m, options->cache_type, err));
    m->state = hd_calloc(1, m->ops->state_bytes);
    if (!m->state) return hd_fail(err, HD_E_MEMORY, "out of memory for the model");
    HD_TRY(load_weights(m, options, err));
    HD_TRY(open_layout(m, err));
    HD_TRY(open_scratch(m, err));
    HD_TRY(open_activations(m, err));
    return hd_checkpoint_check(m->ckpt, err);
}

static hd_status check_options(const hd_model_options *options, hd_error *err)
{
    if (options->lora_rank < 0 || options->lora_rank > HD_ADAPTER_RANK_MAX)
        return hd_fail(err, HD_E_ARGUMENT, "adapters of a rank of %d; at most %d", options->lora_rank,
                       HD_ADAPTER_RANK_MAX);
    if (options->max_tokens < 1 || options->max_tokens > HD_BATCH_MAX || options->context < 1)
        return hd_fail(err, HD_E_ARGUMENT, "model: batch of %lld tokens (at most %d), context of %lld",
                       (long long)options->max_tokens, HD_BATCH_MAX, (long long)options->context);
    return HD_OK;
}

/* As hd_model_open begins. */
static hd_model *new_model(const hd_model_options *options)
{
    hd_model *m = hd_calloc(1, sizeof *m);
    if (!m) return NULL;
    m->backend = m->own_backend = options->backend;
    m->exec.backend = options->backend;
    m->exec.pool = options->pool;
    m->max_tokens = options->max_tokens;
    m->context = options->context;
    m->lora_rank = options->lora_rank;
    return m;
}

static hd_status plan(hd_model *m, hd_model_needs *out, const hd_model_options *options, hd_error *err)
{
    hd_activations a = {0};
    HD_TRY(hd_dials_check(&options->dials, &m->config, err));
    m->dials = options->dials;
    m->own_experts_used = m->config.experts_used;
    HD_TRY(choose_cache_type(m, options->cache_type, err));
    m->state = hd_calloc(1, m->ops->state_bytes);
    if (!m->state) return hd_fail(err, HD_E_MEMORY, "out of memory for a plan");
    HD_TRY(open_layout(m, err));
    lay_out(m, &a);
    *out = (hd_model_needs){.activation_bytes = a.used,
                            .scratch_bytes = scratch_bytes(m),
                            .page_bytes = m->layout.page_bytes,
                            .cache_type = m->layout.type};
    hd_model_get_work(m, &out->work);
    return HD_OK;
}

hd_status hd_model_plan(hd_model_needs *out, const hd_model_config *config, const hd_model_options *options,
                        hd_error *err)
{
    HD_TRY(check_options(options, err));
    hd_model *m = new_model(options);
    if (!m) return hd_fail(err, HD_E_MEMORY, "out of memory for a plan");
    m->config = *config;
    m->config.expert_every = HD_MAX(config->expert_every, 1);
    m->ops = ops_of(config->arch);
    hd_status status = plan(m, out, options, err);
    hd_model_close(&m);
    return status;
}

hd_status hd_model_open(hd_model **out, const hd_checkpoint *ckpt, const hd_model_options *options, hd_error *err)
{
    *out = NULL;
    HD_TRY(check_options(options, err));
    hd_model *m = new_model(options);
    if (!m) return hd_fail(err, HD_E_MEMORY, "out of memory for the model");
    m->ckpt = ckpt;
    hd_status status = load(m, options, err);
    if (status != HD_OK) {
        hd_model_close(&m);
        return status;
    }
    *out = m;
    return HD_OK;
}

void hd_model_close(hd_model **ref)
{
    hd_model *m = *ref;
    if (!m) return;
    *ref = NULL;
    hd_weights_close(&m->weights);
    hd_free(m->scratch);
    hd_free(m->activations);
    hd_free(m->state);
    hd_free(m->layout.offset);
    hd_free(m->layout.stride);
    hd_free(m);
}

const hd_model_config *hd_model_get_config(const hd_model *model)
{
    return &model->config;
}

const hd_cache_layout *hd_model_get_layout(const hd_model *model)
{
    return &model->layout;
}

void hd_model_get_sizes(const hd_model *model, hd_model_sizes *out)
{
    *out = model->sizes;
}

const hd_dials *hd_model_get_dials(const hd_model *model)
{
    return &model->dials;
}

int hd_model_expert_layers(const hd_model *model)
{
    return model->ops->expert_layers(&model->config);
}

void hd_model_set_trace(hd_model *model, hd_expert_trace *trace)
{
    model->exec.trace = trace;
}

hd_rows hd_model_rows(const hd_model *model, const hd_span *span, int stream)
{
    const hd_cache_layout *l = &model->layout;
    return (hd_rows){.pages = span->pages,
                     .page_rows = HD_PAGE_ROWS,
                     .offset = l->offset[stream],
                     .stride = l->stride[stream],
                     .type = l->type,
                     .width = model->ops->stream_width(&model->config, stream)};
}

static hd_status check_batch(hd_model *m, const hd_batch *batch, int64_t *tokens, hd_error *err)
{
    *tokens = 0;
    m->adapted = false;
    for (int s = 0; s < batch->count; s++) {
        const hd_span *span = &batch->spans[s];
        if (span->n < 1 || span->pos0 < 0 || span->logits < 0 || span->logits > span->n ||
            span->pos0 + span->n > m->context || span->n > m->max_tokens - *tokens)
            return hd_fail(err, HD_E_ARGUMENT, "batch: span %d of %lld tokens at %lld does not fit", s,
                           (long long)span->n, (long long)span->pos0);
        if (span->lora && !hd_lora_is_of(span->lora, m))
            return hd_fail(err, HD_E_ARGUMENT, "batch: span %d has an adapter of another model", s);
        m->adapted |= span->lora != NULL;
        *tokens += span->n;
    }
    for (int64_t i = 0; i < *tokens; i++)
        if (batch->ids[i] < 0 || batch->ids[i] >= m->config.vocab)
            return hd_fail(err, HD_E_ARGUMENT, "token id %d is outside the vocabulary of %d", batch->ids[i],
                           m->config.vocab);
    return HD_OK;
}

/* Copies the rows whose logits are wanted from x to h, and returns how many. */
static int64_t gather_wanted(hd_model *m, const hd_batch *batch)
{
    size_t row_bytes = (size_t)m->config.hidden * sizeof(float);
    int64_t wanted = 0, first = 0;
    for (int s = 0; s < batch->count; s++) {
        const hd_span *span = &batch->spans[s];
        const float *from = m->x + (first + span->n - span->logits) * m->config.hidden;
        memcpy(m->h + wanted * m->config.hidden, from, (size_t)span->logits * row_bytes);
        wanted += span->logits;
        first += span->n;
    }
    return wanted;
}

/* Cosines and sines of every token's position, once for all layers and heads. */
static void fill_rope_table(hd_model *m, const hd_batch *batch)
{
    int half = m->config.rope_dim / 2;
    float *row = m->rope_table;
    for (int s = 0; s < batch->count; s++)
        for (int64_t i = 0; i < batch->spans[s].n; i++, row += m->config.rope_dim)
            for (int j = 0; j < half; j++) {
                float angle = (float)(batch->spans[s].pos0 + i) * m->rope_freq[j];
                row[j] = cosf(angle) * m->rope_gain;
                row[half + j] = sinf(angle) * m->rope_gain;
            }
}

/* The pass of every architecture that has weights. */
static void forward(hd_model *m, const hd_batch *batch, int64_t tokens, float *logits)
{
    const hd_model_config *c = &m->config;
    const hd_backend *b = m->backend;
    fill_rope_table(m, batch);
    bool flushed = b->flush_denormals && hd_cpu_flush_denormals(true);
    b->embed(&m->exec, m->x, &m->embed, batch->ids, tokens);
    m->ops->layers(m, batch, tokens);
    if (m->exec.trace) m->exec.trace->token0 += tokens;
    int64_t wanted = gather_wanted(m, batch);
    if (wanted > 0) {
        b->rms_norm(&m->exec, m->h, c->hidden, m->h, c->hidden, m->output_norm, c->hidden, c->rms_eps, wanted);
        b->matmul(&m->exec, logits, c->vocab, &m->output, NULL, m->h, c->hidden, wanted);
    }
    if (b->flush_denormals) (void)hd_cpu_flush_denormals(flushed); /* the calling thread is not ours */
}

hd_status hd_model_forward(hd_model *m, const hd_batch *batch, float *logits, hd_error *err)
{
    int64_t tokens;
    HD_TRY(check_batch(m, batch, &tokens, err));
    if (m->ops->forward)
        m->ops->forward(m, batch, logits);
    else
        forward(m, batch, tokens, logits);
    return HD_OK;
}

void hd_model_set_backend(hd_model *m, const hd_backend *backend)
{
    m->backend = backend;
    m->exec.backend = backend;
}

const float *hd_model_hidden(const hd_model *model)
{
    return model->h;
}
