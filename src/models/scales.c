/* models/scales.c: where the scales of 8-bit matrices of a release lie, and what each stands for.
 *
 * Two layouts: DeepSeek-V3's FP8 ("NAME_scale_inv", one for each block) and that of compressed-tensors ("NAME_scale",
 * one for each row: what it calls a channel). */
#include <math.h>
#include <stdio.h>
#include <string.h>

#include "models/models.h"

static hd_status block_size(const json_t *quantization, int64_t *block, hd_error *err)
{
    const json_t *size = json_object_get(quantization, "weight_block_size");
    *block = 128;
    if (!size) return HD_OK;
    json_int_t a = json_integer_value(json_array_get(size, 0)), b = json_integer_value(json_array_get(size, 1));
    if (json_array_size(size) != 2 || a != b || a < 1 || a > 65536)
        return hd_fail(err, HD_E_UNSUPPORTED, "config.json: \"weight_block_size\" is not a pair of equal sizes");
    *block = (int64_t)a;
    return HD_OK;
}

/* What a group of compressed-tensors says of its weights must be what we read: whole rows, symmetric. */
static hd_status check_group(const char *name, const json_t *weights, hd_error *err)
{
    const char *strategy = json_string_value(json_object_get(weights, "strategy"));
    const json_t *symmetric = json_object_get(weights, "symmetric"), *bits = json_object_get(weights, "num_bits");
    if (bits && json_integer_value(bits) != 8)
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "config.json: quantization_config: the weights of %.40s have \"num_bits\" %lld; 8 are read",
                       name, (long long)json_integer_value(bits));
    if (strategy && strcmp(strategy, "channel") != 0)
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "config.json: quantization_config: the weights of %.40s have scales by \"%.40s\"; those by "
                       "\"channel\" (one a row) are read",
                       name, strategy);
    if (json_is_false(symmetric))
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "config.json: quantization_config: the weights of %.40s are not symmetric; zero points are not "
                       "read",
                       name);
    return HD_OK;
}

static hd_status check_groups(const json_t *quantization, hd_error *err)
{
    const char *name;
    json_t *group;
    json_object_foreach(json_object_get(quantization, "config_groups"), name, group)
    {
        const json_t *weights = json_object_get(group, "weights");
        if (weights) HD_TRY(check_group(name, weights, err));
    }
    return HD_OK;
}

bool hd_model_has_scales(hd_type type)
{
    return type == HD_TYPE_F8_E4M3 || type == HD_TYPE_I8;
}

hd_status hd_model_scales_find(hd_scale_layout *out, const hd_checkpoint *ckpt, const char *name, hd_type type,
                               int64_t rows, int64_t cols, hd_error *err)
{
    const json_t *quantization = json_object_get(hd_checkpoint_config(ckpt), "quantization_config");
    snprintf(out->name, sizeof out->name, "%.*s_scale", HD_NAME_MAX, name);
    bool by_row = hd_checkpoint_find(ckpt, out->name) != NULL;
    if (type == HD_TYPE_I8 && !by_row)
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "tensor %s has type I8, which is not one of weights without the scales of its rows, %s", name,
                       out->name);
    if (by_row) {
        HD_TRY(check_groups(quantization, err));
        out->rows = 1;
        out->cols = HD_MAX(cols, 1);
    } else {
        snprintf(out->name, sizeof out->name, "%.*s_scale_inv", HD_NAME_MAX, name);
        HD_TRY(block_size(quantization, &out->rows, err));
        out->cols = out->rows;
    }
    out->shape[0] = (rows + out->rows - 1) / out->rows;
    out->shape[1] = (cols + out->cols - 1) / out->cols;
    return HD_OK;
}

/* Whether all codes that scale [i][j] stands for are 0; one bit of e4m3 is the sign. */
static bool codes_are_zero(const hd_matrix *m, int64_t i, int64_t j)
{
    uint8_t mask = m->type == HD_TYPE_F8_E4M3 ? 0x7f : 0xff, any = 0;
    int64_t end = HD_MIN((i + 1) * m->scale_rows, m->rows), stop = HD_MIN((j + 1) * m->scale_cols, m->cols);
    for (int64_t r = i * m->scale_rows; r < end; r++)
        for (int64_t c = j * m->scale_cols; c < stop; c++)
            any |= m->data[(size_t)r * m->row_bytes + (size_t)c] & mask;
    return !any;
}

hd_status hd_model_scales_check(const hd_matrix *m, const char *name, hd_error *err)
{
    int64_t rows = (m->rows + m->scale_rows - 1) / m->scale_rows;
    for (int64_t i = 0; i < rows * m->scale_stride; i++) {
        float scale = m->scale[i];
        if (isfinite(scale) && scale > 0) continue;
        if (scale == 0 && codes_are_zero(m, i / m->scale_stride, i % m->scale_stride)) continue;
        return hd_fail(
            err, HD_E_FORMAT,
            "tensor %.200s: the scale in row %lld, column %lld is %g, and must be finite and above 0; the model "
            "is damaged",
            name, (long long)(i / m->scale_stride), (long long)(i % m->scale_stride), (double)scale);
    }
    return HD_OK;
}

bool hd_model_is_scale(const hd_checkpoint *ckpt, const char *name)
{
    static const char *const suffixes[] = {"_scale_inv", "_scale"};
    char base[HD_NAME_MAX];
    for (size_t i = 0; i < HD_ARRAY_LEN(suffixes); i++) {
        size_t len = strlen(name), end = strlen(suffixes[i]);
        if (len <= end || len - end >= sizeof base || strcmp(name + len - end, suffixes[i]) != 0) continue;
        memcpy(base, name, len - end);
        base[len - end] = '\0';
        const hd_tensor *t = hd_checkpoint_find(ckpt, base);
        if (t && hd_model_has_scales(t->type)) return true;
    }
    return false;
}
