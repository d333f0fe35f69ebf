/* cli/plan_model.c: a name, a file or a config.json as the plain numbers that plans are made of. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/options.h"
#include "cli/plan.h"
#include "kernels/kernels.h"
#include "quantize/quantize.h"

#define MAX_CONFIG_BYTES (4u << 20)

/* Resident beside weights and work, measured (docs/plan.md): code and libraries 14 MB, the heap 8 MB, and the
 * tokenizer's tables for each word. */
#define PROGRAM_BYTES 22000000u
#define WORD_BYTES 65u

/* ---- where the shapes come from ---- */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

static bool exists(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0;
}

static hd_status from_json(hd_plan_shapes *s, const char *path, hd_error *err)
{
    json_t *json = NULL;
    HD_TRY(hd_json_parse_file(&json, path, MAX_CONFIG_BYTES, err));
    hd_status status = hd_published_of_json(&s->shapes, s->path, json, err);
    json_decref(json);
    if (status == HD_OK) return HD_OK;
    return hd_fail_in(err, status, "%s", path);
}

/* A checkpoint of an architecture that is not evaluated still has a config.json that tells its shapes. */
static hd_status from_checkpoint(hd_plan_shapes *s, hd_error *err)
{
    hd_model_config config;
    HD_TRY(hd_checkpoint_open(&s->ckpt, s->path, err));
    const json_t *json = hd_checkpoint_config(s->ckpt);
    if (json) return hd_published_of_json(&s->shapes, s->path, json, err);
    HD_TRY(hd_model_config_read(&config, s->ckpt, err));
    if (config.arch == HD_ARCH_SCRIPTED)
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: a scripted model has no weights to plan for", s->path);
    hd_published_of_config(&s->shapes, s->path, &config);
    return HD_OK;
}

static hd_status from_path(hd_plan_shapes *s, hd_error *err)
{
    char *config = NULL;
    if (hd_text_ends_like(s->path, ".json") && !hd_text_ends_like(s->path, ".index.json"))
        return from_json(s, s->path, err);
    hd_status status = from_checkpoint(s, err);
    if (status != HD_E_NOT_FOUND || !is_folder(s->path)) return status;
    HD_TRY(hd_path_join(&config, s->path, "config.json", err)); /* a folder without weights */
    if (exists(config)) status = from_json(s, config, err);
    hd_free(config);
    return status;
}

static hd_status unknown_name(const char *name, hd_error *err)
{
    const char *names[64];
    size_t count;
    const hd_published *all = hd_published_all(&count);
    count = HD_MIN(count, HD_ARRAY_LEN(names));
    for (size_t i = 0; i < count; i++)
        names[i] = all[i].name;
    const char *near = hd_suggest(name, names, count);
    if (near) return hd_fail(err, HD_E_NOT_FOUND, "there are no shapes of '%s'; did you mean %s?", name, near);
    return hd_fail(err, HD_E_NOT_FOUND,
                   "there are no shapes of '%s': it is no file, no model of the models folder, and none of those that "
                   "'hadal plan --help' lists",
                   name);
}

static hd_status find_shapes(hd_plan_shapes *s, const char *model, hd_error *err)
{
    const hd_published *known = exists(model) ? NULL : hd_published_find(model);
    if (known) {
        s->shapes = *known;
        return HD_OK;
    }
    hd_error ignored = {0};
    if (hd_model_resolve(model, &s->path, &ignored) != HD_OK) return unknown_name(model, err);
    return from_path(s, err);
}

/* ---- types ---- */

static hd_status by_recipe(hd_plan_shapes *s, const char *type, hd_error *err)
{
    const hd_quant_mix *mix = hd_quant_mix_find(type);
    if (!mix)
        return hd_fail(err, HD_E_ARGUMENT, "--type %.32s: there is no such recipe; 'hadal quantize --types' lists them",
                       type);
    hd_type *types = hd_alloc_array(s->count, sizeof *types);
    if (!types) return hd_fail(err, HD_E_MEMORY, "no memory for the plan");
    hd_quant_types(types, s->tensors, s->count, mix, false);
    s->weight_bytes = 0;
    for (size_t i = 0; i < s->count; i++) {
        s->tensors[i].bytes = hd_quant_bytes(&s->tensors[i], types[i]);
        s->tensors[i].type = types[i];
        s->weight_bytes += s->tensors[i].bytes;
    }
    hd_free(types);
    snprintf(s->weights, sizeof s->weights, "%s", mix->name);
    return HD_OK;
}

/* The tensors of a GGUF file are its own; those of a release are told by the names of GGUF, in the release's types. */
static hd_status own_types(hd_plan_shapes *s, hd_error *err)
{
    HD_TRY(hd_published_tensors(&s->shapes, &s->tensors, &s->count, err));
    s->weight_bytes = hd_published_release_bytes(&s->shapes, s->tensors, s->count);
    snprintf(s->weights, sizeof s->weights, "as released%s",
             s->shapes.more.fp4_experts          ? ": FP8, experts FP4"
             : s->shapes.stored == HD_STORED_FP8 ? ": FP8"
             : s->shapes.stored == HD_STORED_32  ? ": 32 bits"
                                                 : ": 16 bits");
    for (size_t i = 0; i < s->count; i++) {
        uint64_t bytes = hd_published_release_bytes(&s->shapes, &s->tensors[i], 1);
        if (s->tensors[i].type == HD_TYPE_BF16 && s->shapes.stored == HD_STORED_FP8 &&
            bytes < 2 * (uint64_t)hd_tensor_values(&s->tensors[i]))
            s->tensors[i].type = HD_TYPE_F8_E4M3;
        else if (s->tensors[i].type == HD_TYPE_BF16 && s->shapes.stored == HD_STORED_32)
            s->tensors[i].type = HD_TYPE_F32;
        s->tensors[i].bytes = bytes;
    }
    return HD_OK;
}

static hd_status copy_tensors(hd_plan_shapes *s, hd_error *err)
{
    s->count = hd_checkpoint_tensor_count(s->ckpt);
    s->tensors = hd_alloc_array(s->count, sizeof *s->tensors);
    if (!s->tensors) return hd_fail(err, HD_E_MEMORY, "no memory for %zu tensors", s->count);
    for (size_t i = 0; i < s->count; i++)
        s->tensors[i] = *hd_checkpoint_tensor(s->ckpt, i);
    snprintf(s->weights, sizeof s->weights, "as the file has them");
    return HD_OK;
}

hd_status hd_plan_shapes_open(hd_plan_shapes *s, const char *model, const char *type, hd_error *err)
{
    *s = (hd_plan_shapes){0};
    HD_TRY(find_shapes(s, model, err));
    bool gguf = s->ckpt && hd_checkpoint_format(s->ckpt) == HD_FORMAT_GGUF;
    HD_TRY(gguf ? copy_tensors(s, err) : own_types(s, err));
    if (s->ckpt) {
        s->weight_bytes = 0;
        for (size_t i = 0; i < hd_checkpoint_tensor_count(s->ckpt); i++)
            s->weight_bytes += hd_checkpoint_tensor(s->ckpt, i)->bytes;
    }
    return type ? by_recipe(s, type, err) : HD_OK;
}

void hd_plan_shapes_close(hd_plan_shapes *s)
{
    hd_free(s->tensors);
    hd_checkpoint_close(&s->ckpt);
    hd_free(s->path);
    *s = (hd_plan_shapes){0};
}

/* ---- recipes ---- */

hd_status hd_plan_recipes_of(hd_plan_recipe **list, size_t *count, const hd_plan_shapes *s, hd_error *err)
{
    const hd_quant_mix *mixes = hd_quant_mixes(count);
    hd_type *types = hd_alloc_array(s->count, sizeof *types);
    hd_tensor *typed = hd_alloc_array(s->count, sizeof *typed);
    *list = hd_calloc(*count, sizeof **list);
    hd_status status = types && typed && *list ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for the plan");
    for (size_t r = 0; status == HD_OK && r < *count; r++) {
        hd_plan_recipe *out = &(*list)[r];
        *out = (hd_plan_recipe){.name = mixes[r].name, .writable = hd_quant_mix_writable(&mixes[r])};
        hd_quant_types(types, s->tensors, s->count, &mixes[r], false);
        for (size_t i = 0; i < s->count; i++) {
            typed[i] = s->tensors[i];
            typed[i].type = types[i];
            typed[i].bytes = hd_quant_bytes(&typed[i], types[i]);
            out->tensor_bytes += typed[i].bytes;
        }
        out->file_bytes = hd_gguf_file_bytes(typed, s->count, HD_PLAN_METADATA_BYTES);
        out->bits = 8.0 * (double)out->file_bytes / (double)HD_MAX(s->shapes.parameters, 1);
    }
    hd_free(types);
    hd_free(typed);
    return status;
}

/* ---- numbers ---- */

static bool name_has(const hd_tensor *t, const char *part)
{
    return strstr(t->name, part) != NULL;
}

/* Bytes in memory of a tensor's matrices as this program computes with them. */
static uint64_t memory_of(const hd_tensor *t, const hd_backend *backend)
{
    if (t->dims < 2) return (uint64_t)hd_tensor_values(t) * sizeof(float);
    hd_matrix m = {.type = t->type, .rows = t->shape[t->dims - 2], .cols = t->shape[t->dims - 1]};
    if (t->type == HD_TYPE_F8_E4M3) return t->bytes;
    size_t packed = hd_kernels_packed_bytes(backend, &m);
    return packed ? packed * (uint64_t)(t->dims == 3 ? t->shape[0] : 1) : t->bytes;
}

static void add_tensor(hd_plan_model *out, const hd_plan_shapes *s, const hd_tensor *t, const hd_backend *backend,
                       bool here)
{
    uint64_t memory = memory_of(t, backend), read = here ? memory : t->bytes;
    double values = (double)hd_tensor_values(t);
    bool embedding = name_has(t, "token_embd."), output = strcmp(t->name, "output.weight") == 0;
    bool tied = embedding && s->shapes.config.tied;
    if (embedding && !tied) {
        out->embedding_bytes = t->bytes;
        return;
    }
    if (tied) out->embedding_bytes = t->bytes; /* rows are looked up in the file, products use the packed copy */
    out->resident_bytes += memory;
    hd_matrix m = {.type = t->type, .rows = t->shape[0], .cols = t->shape[1]};
    bool packs = hd_kernels_packed_bytes(backend, &m) > 0;
    if ((output || tied) && packs) out->loading_bytes = t->bytes; /* the file's pages, until they are dropped */
    if (tied && !packs) out->embedding_bytes = 0;
    if (name_has(t, "_exps.")) {
        out->expert_bytes += (double)read / out->experts;
        out->products += values * out->experts_used / out->experts;
        return;
    }
    out->shared_bytes += (double)read;
    if (output || tied)
        out->output_products += values;
    else if (t->dims >= 2 && t->type != HD_TYPE_I32)
        out->products += values;
}

/* Products of attention for each token that a token looks back on, of all layers. */
static double row_products(const hd_published *p)
{
    const hd_model_config *c = &p->config;
    double sum = 0;
    for (int i = 0; i < c->layers; i++) {
        if (p->family != HD_FAMILY_V4)
            sum += (double)c->heads * (c->head_dim + c->v_dim);
        else if (p->more.ratios[i])
            sum += 2.0 * c->heads * c->head_dim / p->more.ratios[i];
    }
    return sum;
}

static bool has_tokenizer(const hd_plan_shapes *s)
{
    bool gguf = s->ckpt && hd_checkpoint_format(s->ckpt) == HD_FORMAT_GGUF;
    return !gguf || hd_checkpoint_meta(s->ckpt, "tokenizer.ggml.tokens");
}

static hd_status needs_of(hd_plan_model *out, const hd_plan_shapes *s, const hd_plan_setup *setup, hd_error *err)
{
    hd_type type = setup->backend->cache_type;
    hd_model_needs needs;
    hd_model_options options = {.backend = setup->backend,
                                .pool = setup->pool,
                                .max_tokens = setup->step,
                                .context = setup->context,
                                .cache_type = setup->cache_type};
    if (s->shapes.family == HD_FAMILY_OWN) {
        HD_TRY(hd_model_plan(&needs, &s->shapes.config, &options, err));
        out->activation_bytes = needs.activation_bytes;
        out->scratch_bytes = needs.scratch_bytes;
        type = needs.cache_type;
    } else { /* rows of a step: as many as V3's forward pass has for its width */
        out->activation_bytes = (uint64_t)setup->step * (uint64_t)s->shapes.config.hidden * 16 * sizeof(float);
        for (hd_type t = 0; strcmp(setup->cache_type, "auto") != 0 && t < HD_TYPE_COUNT; t++)
            if (strcasecmp(hd_type_name(t), setup->cache_type) == 0) type = t;
    }
    hd_cache_values v = hd_published_cache(&s->shapes);
    double value = (double)hd_type_block_bytes(type) / hd_type_block(type);
    out->cache_token_bytes = v.per_token * value;
    out->cache_fixed_bytes = v.fixed * value;
    out->cache_type = hd_cache_type_name(type);
    return HD_OK;
}

hd_status hd_plan_model_of(hd_plan_model *out, const hd_plan_shapes *s, const hd_plan_setup *setup, bool here,
                           hd_error *err)
{
    const hd_model_config *c = &s->shapes.config;
    hd_tensor *shapes;
    size_t count;
    *out = (hd_plan_model){.name = s->path ? hd_path_base(s->path) : s->shapes.name,
                           .source = s->shapes.source,
                           .note = s->shapes.note,
                           .weights = s->weights,
                           .context = c->context,
                           .weight_bytes = s->weight_bytes,
                           .program_bytes = PROGRAM_BYTES + (has_tokenizer(s) ? WORD_BYTES * (uint64_t)c->vocab : 0),
                           .vocab = c->vocab,
                           .experts = c->experts,
                           .experts_used = c->experts_used};
    for (size_t i = 0; i < s->count; i++)
        add_tensor(out, s, &s->tensors[i], setup->backend, here);
    out->row_products = row_products(&s->shapes);
    HD_TRY(hd_published_tensors(&s->shapes, &shapes, &count, err));
    double routed = 0;
    for (size_t i = 0; i < count; i++) {
        out->parameters += hd_tensor_values(&shapes[i]);
        if (name_has(&shapes[i], "_exps.")) routed += (double)hd_tensor_values(&shapes[i]);
    }
    hd_free(shapes);
    double idle = c->experts ? routed * (1 - (double)c->experts_used / c->experts) : 0;
    out->active = out->parameters - (int64_t)llround(idle);
    return needs_of(out, s, setup, err);
}
