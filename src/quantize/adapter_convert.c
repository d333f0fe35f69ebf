/* quantize/adapter_convert.c: see adapter_convert.h. */
#include "quantize/adapter_convert.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>

#include "quantize/part_folder.h"
#include "tensor/quant.h"

#define PATH_BYTES ((size_t)1 << 16)

/* The tensors of the new file: two of each part, A and B, in memory of the arena. */
typedef struct writing {
    const hd_adapter *adapter;
    const hd_adapter_target *to;
    const hd_adapter_part *parts;
    hd_adapter_info info;
    hd_format layout;
    double alpha; /* of the whole file */
    int64_t rank; /* the same */
    hd_arena arena;
    hd_tensor *tensors; /* [2 * info.count] */
    hd_error *err;
} writing;

static hd_status no_memory(const writing *w)
{
    return hd_fail(w->err, HD_E_MEMORY, "no memory to convert the adapter");
}

/* ---- tensors ---- */

static char *name_of(writing *w, const hd_adapter_part *p, bool is_b)
{
    char name[HD_NAME_MAX], full[2 * HD_NAME_MAX];
    bool gguf = w->layout == HD_FORMAT_GGUF;
    hd_name_expand(name, sizeof name, gguf ? hd_names[p->id].gguf : hd_names[p->id].safetensors, p->layer, 0);
    if (gguf)
        snprintf(full, sizeof full, "%s.lora_%c", name, is_b ? 'b' : 'a');
    else
        snprintf(full, sizeof full, "base_model.model.%.*s.lora_%c.weight", (int)(strlen(name) - strlen(".weight")),
                 name, is_b ? 'B' : 'A');
    return hd_arena_text(&w->arena, full, strlen(full));
}

/* What B has to be multiplied by so that the file's one alpha is right. */
static float folded(const writing *w, const hd_adapter_part *p)
{
    return w->layout == HD_FORMAT_GGUF && p->alpha != w->alpha ? (float)(p->alpha / w->alpha) : 1.0f;
}

/* Row `row` of A or B as the new file has it. */
static void put_row(const writing *w, const hd_adapter_part *p, bool is_b, int64_t row, const hd_tensor *to,
                    uint8_t *out)
{
    const hd_tensor *from = is_b ? p->b : p->a;
    size_t bytes = 0;
    if (is_b) row = hd_adapter_row(w->adapter, p, w->to->base, w->layout, row);
    (void)hd_type_row_bytes(from->type, from->shape[1], &bytes); /* the parser saw to it */
    const uint8_t *at = (const uint8_t *)from->data + (size_t)row * bytes;
    float fold = is_b ? folded(w, p) : 1.0f;
    if (from->type == to->type && fold == 1.0f) {
        memcpy(out, at, bytes);
        return;
    }
    float *values = (float *)(void *)out; /* F32: the arena's blocks are aligned for any type, rows are whole floats */
    (void)hd_decode_row(from->type, at, values, from->shape[1]);
    for (int64_t i = 0; i < from->shape[1]; i++)
        values[i] *= fold;
}

static hd_status add_tensor(writing *w, size_t i, bool is_b)
{
    const hd_adapter_part *p = &w->parts[i];
    hd_tensor *t = &w->tensors[2 * i + is_b];
    size_t row_bytes = 0;
    *t = is_b ? *p->b : *p->a;
    bool keeps = (w->layout == HD_FORMAT_GGUF || hd_type_is_plain(t->type)) && (!is_b || folded(w, p) == 1.0f);
    if (!keeps) t->type = HD_TYPE_F32;
    t->name = name_of(w, p, is_b);
    (void)hd_type_row_bytes(t->type, t->shape[1], &row_bytes);
    uint8_t *data = hd_arena_alloc(&w->arena, (size_t)t->shape[0], row_bytes);
    if (!t->name || !data) return no_memory(w);
    for (int64_t r = 0; r < t->shape[0]; r++)
        put_row(w, p, is_b, r, t, data + (size_t)r * row_bytes);
    t->data = data;
    t->bytes = (size_t)t->shape[0] * row_bytes;
    return HD_OK;
}

static hd_status begin(writing *w, const hd_adapter *adapter, const hd_adapter_target *to, hd_format layout,
                       hd_error *err)
{
    *w = (writing){.adapter = adapter, .to = to, .parts = hd_adapter_parts(adapter), .layout = layout, .err = err};
    hd_adapter_get_info(adapter, &w->info);
    w->alpha = w->parts[0].alpha;
    w->rank = w->parts[0].rank;
    w->tensors = hd_arena_alloc(&w->arena, 2 * w->info.count, sizeof *w->tensors);
    if (!w->tensors) return no_memory(w);
    for (size_t i = 0; i < 2 * w->info.count; i++)
        HD_TRY(add_tensor(w, i / 2, i % 2));
    return hd_adapter_check_file(adapter, err);
}

/* ---- GGUF ---- */

static void put_text(hd_meta_list *list, const char *key, const char *text)
{
    if (text) hd_meta_add_text(list, key, text, strlen(text));
}

static hd_status write_gguf(const writing *w, const hd_meta_list *metas)
{
    hd_file_writer *file = NULL;
    size_t count = 2 * w->info.count;
    HD_TRY(hd_gguf_writer_open(&file, w->to->path, metas->items, metas->count, w->tensors, count, false, w->err));
    hd_status status = HD_OK;
    for (size_t i = 0; status == HD_OK && i < count; i++) {
        const hd_tensor *t = &w->tensors[i]; /* the header of another training is the same */
        status = hd_file_writer_put_whole(file, i, t->data, t->bytes, "was begun from another adapter", w->err);
    }
    if (status == HD_OK) status = hd_file_writer_finish(file, w->err);
    hd_file_writer_close(&file);
    return status;
}

hd_status hd_adapter_to_gguf(const hd_adapter *adapter, const hd_adapter_target *target, hd_error *err)
{
    writing w;
    hd_meta_list metas = {0};
    hd_status status = begin(&w, adapter, target, HD_FORMAT_GGUF, err);
    put_text(&metas, "general.architecture", hd_arch_name(target->base->arch));
    put_text(&metas, "general.type", "adapter");
    put_text(&metas, "adapter.type", "lora");
    put_text(&metas, "general.name", target->name);
    put_text(&metas, "general.base_model.0.name", target->base_name);
    hd_meta_add_u32(&metas, "general.base_model.count", target->base_name != NULL);
    hd_meta_add_f32(&metas, "adapter.lora.alpha", (float)w.alpha);
    if (status == HD_OK && metas.status != HD_OK) status = no_memory(&w);
    if (status == HD_OK) status = write_gguf(&w, &metas);
    hd_meta_list_free(&metas);
    hd_arena_free(&w.arena);
    return status;
}

/* ---- PEFT ---- */

/* "model.layers.0.self_attn.q_proj" */
static void module_of(const hd_adapter_part *p, char out[HD_NAME_MAX])
{
    hd_name_expand(out, HD_NAME_MAX, hd_names[p->id].safetensors, p->layer, 0);
    out[strlen(out) - strlen(".weight")] = '\0';
}

/* Whether the last parts of names say which matrices are adapted: each kind is in all layers, and nothing else in the
 * model ends so, as routed experts would. */
static bool short_names_do(const writing *w)
{
    size_t kinds = 0;
    if (w->to->base->arch == HD_ARCH_DEEPSEEK2) return false;
    for (size_t i = 0; i < w->info.count && w->parts[i].layer == w->parts[0].layer; i++)
        kinds++;
    if (w->info.count != kinds * (size_t)w->to->base->layers) return false;
    for (size_t i = kinds; i < w->info.count; i++)
        if (w->parts[i].id != w->parts[i - kinds].id) return false;
    return true;
}

static json_t *targets(const writing *w)
{
    char module[HD_NAME_MAX];
    json_t *list = json_array();
    bool brief = short_names_do(w);
    for (size_t i = 0; list && i < w->info.count; i++) {
        if (brief && w->parts[i].layer != w->parts[0].layer) break;
        module_of(&w->parts[i], module);
        const char *dot = strrchr(module, '.');
        if (json_array_append_new(list, json_string(brief && dot ? dot + 1 : module)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

/* Ranks, or alphas, of those that differ from the file's. */
static json_t *pattern(const writing *w, bool alphas)
{
    char module[HD_NAME_MAX];
    json_t *o = json_object();
    for (size_t i = 0; o && i < w->info.count; i++) {
        const hd_adapter_part *p = &w->parts[i];
        if (alphas ? p->alpha == w->alpha : p->rank == w->rank) continue;
        module_of(p, module);
        if (json_object_set_new(o, module, alphas ? json_real(p->alpha) : json_integer(p->rank)) != 0) {
            json_decref(o);
            return NULL;
        }
    }
    return o;
}

/* A whole number is written as one: PEFT's own files do. */
static json_t *number(double value)
{
    bool whole = value == (double)(json_int_t)value;
    return whole ? json_integer((json_int_t)value) : json_real(value);
}

static json_t *config_of(const writing *w)
{
    return json_pack("{s:s, s:s, s:s*, s:i, s:o, s:f, s:s, s:b, s:b, s:b, s:b, s:b, s:n, s:o, s:o, s:o}", "peft_type",
                     "LORA", "task_type", "CAUSAL_LM", "base_model_name_or_path", w->to->base_name, "r", (int)w->rank,
                     "lora_alpha", number(w->alpha), "lora_dropout", 0.0, "bias", "none", "fan_in_fan_out", 0,
                     "inference_mode", 1, "init_lora_weights", 1, "use_dora", 0, "use_rslora", 0, "modules_to_save",
                     "rank_pattern", pattern(w, false), "alpha_pattern", pattern(w, true), "target_modules",
                     targets(w));
}

/* Another training's are written over: they have the same names. */
static const char *stranger(const void *arg, const char *name)
{
    (void)arg;
    bool own = strcmp(name, "adapter_config.json") == 0 || strcmp(name, "adapter_model.safetensors") == 0;
    return own ? NULL : "is none of this command's files";
}

static hd_status write_folder(const writing *w, const char *folder)
{
    hd_buf path;
    json_t *config = config_of(w);
    if (!config) return no_memory(w);
    hd_status status = hd_part_folder_open(folder, stranger, NULL, w->err);
    if (status != HD_OK) {
        json_decref(config);
        return status;
    }
    hd_buf_init(&path, PATH_BYTES);
    status = hd_buf_printf(&path, "%s/adapter_config.json", folder);
    if (status == HD_OK)
        status = hd_file_write_json(path.data, config, w->err);
    else {
        json_decref(config);
        status = no_memory(w);
    }
    hd_buf_clear(&path);
    if (status == HD_OK && hd_buf_printf(&path, "%s/adapter_model.safetensors", folder) != HD_OK) status = no_memory(w);
    if (status == HD_OK) status = hd_safetensors_write(path.data, w->tensors, 2 * w->info.count, w->err);
    hd_buf_free(&path);
    return status;
}

/* As PATH.part until it is whole. */
static hd_status write_peft(const writing *w)
{
    hd_buf part;
    hd_buf_init(&part, PATH_BYTES);
    hd_status status =
        hd_buf_printf(&part, "%s" HD_PART_SUFFIX, w->to->path) == HD_OK ? write_folder(w, part.data) : no_memory(w);
    if (status == HD_OK && rename(part.data, w->to->path) != 0)
        status = hd_fail(w->err, HD_E_IO, "%s: cannot rename it to %s: %s", part.data, w->to->path, strerror(errno));
    hd_buf_free(&part);
    return status;
}

hd_status hd_adapter_to_peft(const hd_adapter *adapter, const hd_adapter_target *target, hd_error *err)
{
    writing w;
    hd_status status = begin(&w, adapter, target, HD_FORMAT_SAFETENSORS, err);
    if (status == HD_OK) status = write_peft(&w);
    hd_arena_free(&w.arena);
    return status;
}
