/* quantize/source_gguf.c: sources in the layout of GGUF: a GGUF checkpoint as it is, or a release renamed.
 *
 * What GGUF has otherwise than the releases (llama.cpp's conversion is the standard): the experts of a layer are one
 * tensor; q and k of Llama have rotated pairs side by side; kv_b is split into transposed keys and values; vectors and
 * routers are float32; Llama 3's rotary scaling is a tensor. */
#include <stdio.h>
#include <string.h>

#include "quantize/source_internal.h"

typedef struct maker {
    hd_source *s;
    hd_error *err;
} maker;

static hd_status no_memory(const maker *m)
{
    return hd_fail(m->err, HD_E_MEMORY, "no memory to convert the model");
}

/* ---- a checkpoint that is GGUF ---- */

static hd_status add_own(const maker *m)
{
    hd_source *s = m->s;
    s->count = hd_checkpoint_tensor_count(s->ckpt);
    s->tensors = hd_alloc_array(HD_MAX(s->count, 1), sizeof *s->tensors);
    if (!s->tensors) return no_memory(m);
    for (size_t i = 0; i < s->count; i++)
        s->tensors[i] = *hd_checkpoint_tensor(s->ckpt, i);
    for (size_t i = 0; i < hd_checkpoint_meta_count(s->ckpt); i++)
        hd_meta_add(&s->meta, hd_checkpoint_meta_at(s->ckpt, i));
    return s->meta.status == HD_OK ? HD_OK : no_memory(m);
}

/* ---- a release ---- */

/* The type that the values keep: vectors and what decides much and weighs little are float32, as llama.cpp wants them;
 * what has 8 bits and scales apart becomes BF16, the next wider type that GGUF has. */
static hd_type kept_type(hd_name_id id, const hd_tensor *t)
{
    if (t->dims < 2 || id == HD_NAME_router) return HD_TYPE_F32;
    return hd_model_has_scales(t->type) || t->type == HD_TYPE_F8_E5M2 ? HD_TYPE_BF16 : t->type;
}

static hd_status wrong_shape(const maker *m, const hd_tensor *t)
{
    return hd_fail(m->err, HD_E_FORMAT, "tensor '%s' has a shape that the configuration does not ask for", t->name);
}

/* The matrices of a layer's experts as one tensor [experts][rows][cols]. */
static hd_status add_experts(const maker *m, hd_name_id id, int layer, const char *name)
{
    hd_source *s = m->s;
    size_t count = (size_t)s->config.experts;
    char from[HD_NAME_MAX];
    hd_matrix *parts = hd_arena_alloc(&s->arena, count, sizeof *parts);
    if (!parts) return no_memory(m);
    for (size_t e = 0; e < count; e++) {
        hd_name_expand(from, sizeof from, hd_names[id].safetensors, layer, (int)e);
        const hd_tensor *t = hd_source_take(s, from);
        if (!t && e == 0) return HD_OK; /* a layer without experts */
        if (!t) return hd_fail(m->err, HD_E_FORMAT, "tensor '%s' is missing", from);
        if (t->dims != 2) return wrong_shape(m, t);
        HD_TRY(hd_source_parts(s, t, 1, false, &parts[e], m->err));
        if (parts[e].rows != parts[0].rows || parts[e].cols != parts[0].cols || parts[e].type != parts[0].type)
            return hd_fail(m->err, HD_E_FORMAT, "tensor '%s' has another shape or type than the first expert's", from);
    }
    hd_tensor to = {.name = name, .dims = 3, .shape = {(int64_t)count, parts[0].rows, parts[0].cols, 1}};
    hd_tensor first = {.dims = 3, .type = parts[0].type};
    to.type = kept_type(id, &first);
    return hd_source_add(s, &to, &(hd_origin){.take = HD_TAKE_ALL, .parts = parts, .count = count}, m->err);
}

/* kv_b [heads * (nope + v)][lora] as attn_k_b [heads][lora][nope] and attn_v_b [heads][v][lora]. */
static hd_status add_latent_heads(const maker *m, const hd_tensor *t, int layer)
{
    hd_source *s = m->s;
    const hd_model_config *c = &s->config;
    char name[HD_NAME_MAX];
    hd_matrix *part = hd_arena_alloc(&s->arena, 1, sizeof *part);
    if (!part) return no_memory(m);
    HD_TRY(hd_source_parts(s, t, 1, false, part, m->err));
    if (part->rows != (int64_t)c->heads * (c->nope + c->v_dim) || part->cols != c->kv_lora) return wrong_shape(m, t);
    hd_origin origin = {.parts = part, .count = 1, .heads = c->heads, .nope = c->nope, .v = c->v_dim};
    hd_tensor k = {.name = name, .type = kept_type(HD_NAME_k_b, t), .dims = 3}, v = k;
    memcpy(k.shape, (int64_t[]){c->heads, c->kv_lora, c->nope, 1}, sizeof k.shape);
    memcpy(v.shape, (int64_t[]){c->heads, c->v_dim, c->kv_lora, 1}, sizeof v.shape);
    hd_name_expand(name, sizeof name, HD_NAME(k_b).gguf, layer, 0);
    origin.take = HD_TAKE_KEYS;
    HD_TRY(hd_source_add(s, &k, &origin, m->err));
    hd_name_expand(name, sizeof name, HD_NAME(v_b).gguf, layer, 0);
    origin.take = HD_TAKE_VALUES;
    return hd_source_add(s, &v, &origin, m->err);
}

/* What the release has under this name of the table, if it has it. */
static hd_status add_kind(const maker *m, hd_name_id id, int layer)
{
    char from[HD_NAME_MAX], to[HD_NAME_MAX];
    if (!hd_names[id].safetensors) return HD_OK;
    hd_name_expand(to, sizeof to, hd_names[id].gguf, layer, 0);
    if (hd_name_of_experts(id)) return m->s->config.experts ? add_experts(m, id, layer, to) : HD_OK;
    hd_name_expand(from, sizeof from, hd_names[id].safetensors, layer, 0);
    const hd_tensor *t = hd_source_take(m->s, from);
    if (!t) return HD_OK;
    if (id == HD_NAME_output && m->s->config.tied) {
        m->s->left_out = "the output matrix: it is the embedding again";
        return HD_OK;
    }
    if (id == HD_NAME_kv_b) return add_latent_heads(m, t, layer);
    return hd_source_add_renamed(m->s, id, t, to, kept_type(id, t), HD_TAKE_ADJACENT, m->err);
}

static hd_status add_rope_factors(const maker *m)
{
    hd_source *s = m->s;
    int half = s->config.rope_dim / 2;
    if (s->config.rope.type != HD_ROPE_LLAMA3) return HD_OK;
    float *factors = hd_arena_alloc(&s->arena, (size_t)half, sizeof *factors);
    if (!factors) return no_memory(m);
    hd_model_rope_factors(&s->config, factors);
    hd_tensor t = {.name = HD_NAME(rope_factors).gguf,
                   .type = HD_TYPE_F32,
                   .dims = 1,
                   .shape = {half, 1, 1, 1},
                   .data = factors,
                   .bytes = (size_t)half * sizeof *factors};
    return hd_source_add(s, &t, &(hd_origin){0}, m->err);
}

/* Multi-token prediction layers behind the last one are not carried: no program evaluates them in a GGUF file. */
static void leave_out_mtp(hd_source *s)
{
    static const char prefix[] = "model.layers.";
    for (size_t i = 0; i < hd_checkpoint_tensor_count(s->ckpt); i++) {
        const char *name = hd_checkpoint_tensor(s->ckpt, i)->name, *at = name + sizeof prefix - 1;
        int64_t layer = 0;
        if (strncmp(name, prefix, sizeof prefix - 1) != 0) continue;
        for (; *at >= '0' && *at <= '9' && layer < INT32_MAX; at++)
            layer = 10 * layer + (*at - '0');
        if (*at != '.' || layer < s->config.layers || layer >= (int64_t)s->config.layers + s->config.mtp_layers)
            continue;
        s->taken[i] = true;
        s->left_out = "the layers of multi-token prediction";
    }
}

static hd_status add_renamed(const maker *m)
{
    hd_source *s = m->s;
    for (hd_name_id id = 0; id < HD_NAME_COUNT; id++)
        if (!hd_name_in_layers(id)) HD_TRY(add_kind(m, id, 0));
    HD_TRY(add_rope_factors(m));
    for (int layer = 0; layer < s->config.layers; layer++)
        for (hd_name_id id = 0; id < HD_NAME_COUNT; id++)
            if (hd_name_in_layers(id)) HD_TRY(add_kind(m, id, layer));
    leave_out_mtp(s);
    return hd_source_check_taken(s, m->err);
}

static hd_status open_release(const maker *m, const hd_tokenizer *tok, const char *name)
{
    hd_source *s = m->s;
    s->renamed = true;
    HD_TRY(hd_model_config_read(&s->config, s->ckpt, m->err));
    const hd_tensor *embed = hd_checkpoint_find(s->ckpt, HD_NAME(embed).safetensors);
    if (!embed || embed->dims != 2 || embed->shape[0] != s->config.vocab) /* before its words take memory */
        return hd_fail(m->err, HD_E_FORMAT, "tensor '%s' is missing or has not the %d rows of the vocabulary",
                       HD_NAME(embed).safetensors, s->config.vocab);
    HD_TRY(hd_model_config_to_gguf(&s->config, &s->meta, m->err));
    hd_meta_add_text(&s->meta, "general.type", "model", 5);
    hd_meta_add_text(&s->meta, "general.name", name, strlen(name));
    if (tok) HD_TRY(hd_tokenizer_to_gguf(tok, (size_t)s->config.vocab, &s->meta, m->err));
    if (s->meta.status != HD_OK) return no_memory(m);
    return add_renamed(m);
}

hd_status hd_source_open_gguf(hd_source **out, const hd_checkpoint *ckpt, const hd_tokenizer *tok, const char *name,
                              hd_error *err)
{
    HD_TRY(hd_source_new(out, ckpt, HD_FORMAT_GGUF, err));
    maker m = {.s = *out, .err = err};
    hd_status status = hd_checkpoint_format(ckpt) == HD_FORMAT_GGUF ? add_own(&m) : open_release(&m, tok, name);
    if (status != HD_OK) hd_source_close(out);
    return status;
}
