/* gateway/prompts.c: prompts that are given as text or as ids. */
#include "gateway/prompts.h"

#include <stdio.h>
#include <string.h>

static const hd_shape id = {.kind = HD_SHAPE_INT, .min = 0, .max = 2147483647.0};
static const hd_shape ids = {.kind = HD_SHAPE_LIST, .min = 1, .max = 16777216, .items = &id};
static const hd_shape texts = {.kind = HD_SHAPE_LIST, .min = 1, .max = HD_CHOICES_MAX, .items = &hd_shape_string};
static const hd_shape id_lists = {.kind = HD_SHAPE_LIST, .min = 1, .max = HD_CHOICES_MAX, .items = &ids};
static const hd_shape *const any[] = {&hd_shape_string, &ids, &texts, &id_lists, NULL};
const hd_shape hd_shape_prompt = {.kind = HD_SHAPE_ANY_OF, .any = any};

hd_status hd_prompt_encode(hd_call *call, const char *text, size_t len, bool add_bos, hd_prompt *out, hd_error *err)
{
    const hd_served *model = call->model;
    if (!model->text)
        return hd_fail(err, HD_E_UNSUPPORTED, "the model '%s' has no tokenizer: give the prompt as a list of ids",
                       model->name);
    HD_TRY(hd_text_encode(model->text, text, len, false, add_bos, &out->ids, &out->count, err));
    if (out->count > 0) return HD_OK;
    /* of an empty text a model without a first token makes nothing; the end of the text before is a beginning as well
     */
    hd_ids_release(out->ids);
    out->ids = hd_alloc_array(1, sizeof *out->ids);
    if (!out->ids) return hd_fail(err, HD_E_MEMORY, "out of memory for a prompt");
    out->ids[0] = model->end_count ? model->ends[0] : 0;
    out->count = 1;
    return HD_OK;
}

static hd_status copy_ids(hd_call *call, const json_t *list, const char *field, hd_prompt *out, hd_error *err)
{
    out->count = json_array_size(list);
    out->ids = hd_alloc_array(out->count, sizeof *out->ids);
    if (!out->ids) return hd_fail(err, HD_E_MEMORY, "out of memory for a prompt of %zu ids", out->count);
    for (size_t i = 0; i < out->count; i++) {
        const json_t *one = json_array_get(list, i);
        int64_t value = json_is_integer(one) ? (int64_t)json_integer_value(one) : (int64_t)json_number_value(one);
        if (value >= call->model->info.vocab)
            return hd_call_refuse(call, err, field, "%lld is no token id of this model (0 to %d)", (long long)value,
                                  call->model->info.vocab - 1);
        out->ids[i] = (int32_t)value;
    }
    return HD_OK;
}

static hd_status read_one(hd_call *call, const json_t *value, const char *field, hd_prompt *out, hd_error *err)
{
    if (json_is_array(value)) return copy_ids(call, value, field, out, err);
    return hd_prompt_encode(call, json_string_value(value), json_string_length(value), true, out, err);
}

hd_status hd_prompts_read(hd_call *call, const json_t *value, const char *field, hd_prompt **out, size_t *count,
                          hd_error *err)
{
    bool one = !json_is_array(value) || json_is_number(json_array_get(value, 0));
    *count = one ? 1 : json_array_size(value);
    *out = hd_calloc(*count, sizeof **out);
    hd_status status = *out ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for %zu prompts", *count);
    for (size_t i = 0; i < *count && status == HD_OK; i++)
        status = read_one(call, one ? value : json_array_get(value, i), field, &(*out)[i], err);
    if (status == HD_OK) return HD_OK;
    if (*out) hd_prompts_free(*out, *count);
    *out = NULL;
    *count = 0;
    return status;
}

/* prefix-suffix-middle, as DeepSeek-Coder's, Qwen2.5-Coder's and StarCoder's papers have it. */
hd_status hd_prompt_fim(hd_call *call, hd_str prefix, hd_str suffix, hd_prompt *out, hd_error *err)
{
    const hd_fim *fim = &call->model->fim;
    hd_prompt a = {NULL, 0, false}, b = {NULL, 0, false};
    if (fim->prefix < 0)
        return hd_call_refuse(call, err, "suffix", "the model '%s' was not taught to fill in the middle",
                              call->model->name);
    hd_status status = hd_text_encode(call->model->text, prefix.data, prefix.len, false, false, &a.ids, &a.count, err);
    if (status == HD_OK)
        status = hd_text_encode(call->model->text, suffix.data, suffix.len, false, false, &b.ids, &b.count, err);
    if (status == HD_OK && !(out->ids = hd_alloc_array(a.count + b.count + 3, sizeof *out->ids)))
        status = hd_fail(err, HD_E_MEMORY, "out of memory for a prompt");
    if (status == HD_OK) {
        int32_t *to = out->ids;
        *to++ = fim->prefix;
        if (a.count) memcpy(to, a.ids, a.count * sizeof *to);
        to += a.count;
        *to++ = fim->suffix;
        if (b.count) memcpy(to, b.ids, b.count * sizeof *to);
        to += b.count;
        *to++ = fim->middle;
        out->count = (size_t)(to - out->ids);
    }
    hd_ids_release(a.ids);
    hd_ids_release(b.ids);
    return status;
}
