/* quantize/source_release.c: sources in the layout of the official releases, out of a GGUF checkpoint, or out of a
 * release whose matrices of 8 bits become plain.
 *
 * The reverse of source_gguf.c.  A vector that GGUF widened to float32 gets the type of the matrices back, where that
 * loses nothing. */
#include <stdio.h>
#include <string.h>

#include "quantize/source_internal.h"
#include "tensor/quant.h"

typedef struct maker {
    hd_source *s;
    hd_type plain; /* of most matrices */
    hd_error *err;
} maker;

static hd_status no_memory(const maker *m)
{
    return hd_fail(m->err, HD_E_MEMORY, "no memory to convert the model");
}

static hd_type plain_type(hd_type type)
{
    return hd_type_is_plain(type) ? type : HD_TYPE_BF16;
}

/* Whether every value survives the way to `type` and back. */
static bool fits(const hd_tensor *t, hd_type type)
{
    enum { PIECE = 256 };
    float x[PIECE], y[PIECE];
    uint8_t small[PIECE * sizeof(float)];
    const uint8_t *data = t->data;
    if (t->type != HD_TYPE_F32 || hd_type_block(type) != 1) return t->type == type;
    for (int64_t at = 0, values = hd_tensor_values(t); at < values; at += PIECE) {
        int64_t n = HD_MIN((int64_t)PIECE, values - at);
        memcpy(x, data + (size_t)at * sizeof *x, (size_t)n * sizeof *x);
        if (!hd_encode_row(type, x, small, n) || !hd_decode_row(type, small, y, n)) return false;
        if (memcmp(x, y, (size_t)n * sizeof *x) != 0) return false;
    }
    return true;
}

static hd_type release_type(const maker *m, hd_name_id id, const hd_tensor *t)
{
    if (t->type == HD_TYPE_F32 && (t->dims < 2 || id == HD_NAME_router) && fits(t, m->plain)) return m->plain;
    return plain_type(t->type);
}

/* One matrix for each expert: rows [first, first + rows) of each matrix of the stack. */
static hd_status add_experts(const maker *m, hd_name_id id, const hd_tensor *t, int layer, int64_t first, int64_t rows)
{
    hd_source *s = m->s;
    size_t count = (size_t)s->config.experts;
    char name[HD_NAME_MAX];
    if (t->dims != 3 || t->shape[0] != (int64_t)count || first + rows > t->shape[1])
        return hd_fail(m->err, HD_E_FORMAT, "tensor '%s' does not hold the %zu experts", t->name, count);
    hd_matrix *parts = hd_arena_alloc(&s->arena, count, sizeof *parts);
    if (!parts) return no_memory(m);
    HD_TRY(hd_source_parts(s, t, count, false, parts, m->err));
    for (size_t e = 0; e < count; e++) {
        parts[e] = hd_matrix_slice(&parts[e], first, rows);
        hd_name_expand(name, sizeof name, hd_names[id].safetensors, layer, (int)e);
        hd_tensor to = {
            .name = name, .type = plain_type(t->type), .dims = 2, .shape = {parts[e].rows, parts[e].cols, 1, 1}};
        if (to.type == t->type) {
            to.data = parts[e].data;
            to.bytes = (size_t)parts[e].rows * parts[e].row_bytes;
        }
        HD_TRY(hd_source_add(s, &to, &(hd_origin){.take = HD_TAKE_ALL, .parts = &parts[e], .count = 1}, m->err));
    }
    return HD_OK;
}

/* Some converters join gate and up, gate first. */
static hd_status add_joint_gate_up(const maker *m, const hd_tensor *t, int layer)
{
    int64_t ffn = m->s->config.expert_ffn;
    HD_TRY(add_experts(m, HD_NAME_gate_exps, t, layer, 0, ffn));
    return add_experts(m, HD_NAME_up_exps, t, layer, ffn, ffn);
}

/* kv_b out of attn_k_b and attn_v_b. */
static hd_status add_latent_heads(const maker *m, const hd_tensor *k, int layer)
{
    hd_source *s = m->s;
    const hd_model_config *c = &s->config;
    size_t heads = (size_t)c->heads;
    char name[HD_NAME_MAX];
    hd_name_expand(name, sizeof name, HD_NAME(v_b).gguf, layer, 0);
    const hd_tensor *v = hd_source_take(s, name);
    hd_matrix *parts = hd_arena_alloc(&s->arena, 2 * heads, sizeof *parts);
    if (!v) return hd_fail(m->err, HD_E_FORMAT, "tensor '%s' is missing", name);
    if (!parts) return no_memory(m);
    if (k->dims != 3 || k->shape[0] != c->heads || k->shape[1] != c->kv_lora || k->shape[2] != c->nope ||
        v->dims != 3 || v->shape[0] != c->heads || v->shape[1] != c->v_dim || v->shape[2] != c->kv_lora)
        return hd_fail(m->err, HD_E_FORMAT, "tensor '%s' or '%s' has a shape that the configuration does not ask for",
                       k->name, v->name);
    HD_TRY(hd_source_parts(s, k, heads, false, parts, m->err));
    HD_TRY(hd_source_parts(s, v, heads, false, parts + heads, m->err));
    hd_origin origin = {
        .take = HD_TAKE_JOINT, .parts = parts, .count = 2 * heads, .heads = c->heads, .nope = c->nope, .v = c->v_dim};
    hd_name_expand(name, sizeof name, HD_NAME(kv_b).safetensors, layer, 0);
    hd_tensor to = {.name = name,
                    .type = plain_type(k->type),
                    .dims = 2,
                    .shape = {(int64_t)heads * (c->nope + c->v_dim), c->kv_lora, 1, 1}};
    return hd_source_add(s, &to, &origin, m->err);
}

static hd_status add_kind(const maker *m, hd_name_id id, int layer)
{
    char from[HD_NAME_MAX], to[HD_NAME_MAX];
    if (id == HD_NAME_v_b) return HD_OK; /* goes with attn_k_b */
    hd_name_expand(from, sizeof from, hd_names[id].gguf, layer, 0);
    const hd_tensor *t = hd_source_take(m->s, from);
    if (!t || id == HD_NAME_rope_factors) return HD_OK; /* those are in config.json */
    if (id == HD_NAME_k_b) return add_latent_heads(m, t, layer);
    if (id == HD_NAME_gate_up_exps) return add_joint_gate_up(m, t, layer);
    if (hd_name_of_experts(id)) return add_experts(m, id, t, layer, 0, t->shape[1]);
    hd_name_expand(to, sizeof to, hd_names[id].safetensors, layer, 0);
    return hd_source_add_renamed(m->s, id, t, to, release_type(m, id, t), HD_TAKE_APART, m->err);
}

/* GGUF has no keys for biases: the tensors tell. */
static void find_biases(hd_source *s)
{
    char name[HD_NAME_MAX];
    hd_model_config *c = &s->config;
    const struct {
        hd_name_id id;
        bool *flag;
    } known[] = {{HD_NAME_q_bias, &c->qkv_bias}, {HD_NAME_kv_a_bias, &c->qkv_bias}, {HD_NAME_gate_bias, &c->mlp_bias}};
    for (size_t i = 0; i < HD_ARRAY_LEN(known); i++) {
        hd_name_expand(name, sizeof name, hd_names[known[i].id].gguf, 0, 0);
        if (hd_checkpoint_find(s->ckpt, name)) *known[i].flag = true;
    }
}

static hd_status find_rope_factors(hd_source *s, hd_error *err)
{
    const hd_tensor *t = hd_checkpoint_find(s->ckpt, HD_NAME(rope_factors).gguf);
    if (!t) return HD_OK;
    if (t->type == HD_TYPE_F32 && hd_tensor_values(t) == s->config.rope_dim / 2 &&
        hd_model_rope_factors_find(&s->config, t->data))
        return HD_OK;
    return hd_fail(err, HD_E_UNSUPPORTED, "tensor '%s' holds factors that are not those of Llama 3's scaling", t->name);
}

/* The type that most values of matrices have, or will have. */
static hd_type commonest_type(const hd_checkpoint *ckpt)
{
    int64_t values[HD_TYPE_COUNT] = {0};
    for (size_t i = 0; i < hd_checkpoint_tensor_count(ckpt); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(ckpt, i);
        if (t->dims >= 2) values[plain_type(t->type)] += hd_tensor_values(t);
    }
    return hd_type_commonest(values, HD_TYPE_BF16);
}

static hd_status add_renamed(const maker *m)
{
    hd_source *s = m->s;
    for (hd_name_id id = 0; id < HD_NAME_COUNT; id++)
        if (!hd_name_in_layers(id)) HD_TRY(add_kind(m, id, 0));
    for (int layer = 0; layer < s->config.layers; layer++)
        for (hd_name_id id = 0; id < HD_NAME_COUNT; id++)
            if (hd_name_in_layers(id)) HD_TRY(add_kind(m, id, layer));
    return hd_source_check_taken(s, m->err);
}

/* ---- a release whose 8 bits become plain ---- */

static hd_status add_as_they_are(const maker *m)
{
    hd_source *s = m->s;
    for (size_t i = 0; i < hd_checkpoint_tensor_count(s->ckpt); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(s->ckpt, i);
        hd_tensor to = *t;
        hd_origin origin = {.take = HD_TAKE_ALL};
        if (hd_model_is_scale(s->ckpt, t->name)) continue;
        if (t->dims == 2 && hd_model_has_scales(t->type)) {
            hd_matrix *part = hd_arena_alloc(&s->arena, 1, sizeof *part);
            if (!part) return no_memory(m);
            HD_TRY(hd_source_parts(s, t, 1, false, part, m->err));
            to.type = HD_TYPE_BF16;
            to.data = NULL;
            origin.parts = part;
            origin.count = 1;
        }
        HD_TRY(hd_source_add(s, &to, &origin, m->err));
    }
    return HD_OK;
}

static hd_status open_any(maker *m)
{
    hd_source *s = m->s;
    m->plain = commonest_type(s->ckpt);
    s->renamed = true;
    HD_TRY(hd_model_config_read(&s->config, s->ckpt, m->err));
    if (hd_checkpoint_format(s->ckpt) != HD_FORMAT_GGUF) return add_as_they_are(m);
    find_biases(s);
    HD_TRY(find_rope_factors(s, m->err));
    return add_renamed(m);
}

hd_status hd_source_open_release(hd_source **out, const hd_checkpoint *ckpt, hd_error *err)
{
    HD_TRY(hd_source_new(out, ckpt, HD_FORMAT_SAFETENSORS, err));
    maker m = {.s = *out, .err = err};
    hd_status status = open_any(&m);
    if (status != HD_OK) hd_source_close(out);
    return status;
}
