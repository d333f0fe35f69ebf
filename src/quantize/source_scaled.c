/* quantize/source_scaled.c: releases with matrices of 8 bits: beside each such matrix stands a tensor of scales, whose
 * values are computed from the matrix's own when they are asked for.
 *
 * Invariant: the scales of tensor i are tensor i + 1. */
#include <stdio.h>
#include <string.h>
#include <strings.h>

#include "quantize/quantize.h"
#include "quantize/source_internal.h"
#include "tensor/encode.h"

bool hd_quant_release_type(const char *name, hd_type *type)
{
    static const struct {
        const char *name;
        hd_type type;
    } known[] = {{"FP8", HD_TYPE_F8_E4M3}, {"F8_E4M3", HD_TYPE_F8_E4M3}, {"INT8", HD_TYPE_I8}, {"I8", HD_TYPE_I8}};
    for (size_t i = 0; i < HD_ARRAY_LEN(known); i++) {
        if (strcasecmp(name, known[i].name) != 0) continue;
        *type = known[i].type;
        return true;
    }
    return false;
}

/* The projections of attention and of feed-forward networks, experts included.  Embedding, output, norms, routers
 * ("mlp.gate") and what multi-token prediction adds ("eh_proj") stay, as in the official releases. */
static bool is_projection(const hd_tensor *t)
{
    bool inside = strstr(t->name, ".self_attn.") || strstr(t->name, ".mlp.");
    return t->dims == 2 && strlen(t->name) < HD_NAME_MAX && inside && strstr(t->name, "_proj") &&
           hd_text_ends_with(t->name, ".weight");
}

/* Rows of a matrix that share their scales. */
static int64_t rows_of_scale(hd_type codes)
{
    return codes == HD_TYPE_F8_E4M3 ? HD_F8_BLOCK : 1;
}

/* ---- values ---- */

void hd_source_take_scales(const hd_source *s, const hd_origin *o, int64_t row, int64_t n, float *out, float *scratch)
{
    const hd_tensor *t = &s->tensors[o->of];
    int64_t rows = hd_tensor_rows(t), cols = hd_tensor_cols(t), step = rows_of_scale(o->codes);
    int64_t scales = o->codes == HD_TYPE_F8_E4M3 ? (cols + HD_F8_BLOCK - 1) / HD_F8_BLOCK : 1;
    for (int64_t i = row; i < row + n; i++, out += scales) {
        int64_t high = HD_MIN(step, rows - i * step);
        hd_source_rows(s, o->of, i * step, high, scratch, scratch + step * cols);
        if (o->codes == HD_TYPE_F8_E4M3)
            hd_f8_scales(scratch, high, cols, out);
        else
            hd_i8_scales(scratch, high, cols, out);
    }
}

hd_type hd_source_codes(const hd_source *source, size_t i)
{
    bool scaled = source->origins && i + 1 < source->count && source->origins[i + 1].take == HD_TAKE_SCALES;
    return scaled ? source->origins[i + 1].codes : source->tensors[i].type;
}

/* ---- making them ---- */

static hd_status add_scale(hd_source *s, const hd_tensor *t, hd_type codes, hd_error *err)
{
    char name[HD_NAME_MAX + 16];
    bool fp8 = codes == HD_TYPE_F8_E4M3;
    int64_t block = HD_F8_BLOCK, rows = t->shape[0], cols = t->shape[1];
    hd_tensor scale = {.name = name, .type = HD_TYPE_BF16, .dims = 2, .shape = {rows, 1, 1, 1}};
    snprintf(name, sizeof name, "%.*s%s", HD_NAME_MAX, t->name, fp8 ? "_scale_inv" : "_scale");
    if (fp8) {
        scale.type = HD_TYPE_F32;
        scale.shape[0] = (rows + block - 1) / block;
        scale.shape[1] = (cols + block - 1) / block;
    }
    return hd_source_add(s, &scale, &(hd_origin){.take = HD_TAKE_SCALES, .of = s->count - 1, .codes = codes}, err);
}

static hd_status check_new(const hd_source *s, const hd_tensor *t, hd_type codes, hd_error *err)
{
    const hd_tensor *there = hd_checkpoint_find(s->ckpt, t->name);
    if (!there || there->type != codes) return HD_OK;
    if (s->delta_count) /* what the adapter leaves alone would be rounded again */
        return hd_fail(
            err, HD_E_ARGUMENT,
            "%s: tensor '%s' is %s already, and an adapter is not merged into its codes: merge it with --type "
            "BF16, then give the result this type",
            hd_checkpoint_path(s->ckpt), t->name, hd_type_name(codes));
    return hd_fail(err, HD_E_ARGUMENT, "%s: tensor '%s' is %s already; copy the folder, or take --type BF16",
                   hd_checkpoint_path(s->ckpt), t->name, hd_type_name(codes));
}

hd_status hd_source_add_scales(hd_source *s, hd_type codes, hd_error *err)
{
    size_t count = s->count, widest = 0;
    hd_tensor *tensors = s->tensors;
    hd_origin *origins = s->origins;
    hd_status status = HD_OK;
    s->tensors = NULL;
    s->origins = NULL;
    s->count = s->cap = 0;
    for (size_t i = 0; status == HD_OK && i < count; i++) {
        bool scaled = is_projection(&tensors[i]) && tensors[i].shape[0] && tensors[i].shape[1];
        status = hd_source_add(s, &tensors[i], &origins[i], err);
        if (status == HD_OK && scaled) status = check_new(s, &tensors[i], codes, err);
        if (status == HD_OK && scaled) status = add_scale(s, &tensors[i], codes, err);
        if (scaled) widest = HD_MAX(widest, (size_t)(rows_of_scale(codes) * tensors[i].shape[1]));
    }
    s->scratch += widest;
    hd_free(tensors);
    hd_free(origins);
    return status;
}
