/* cli/plan_quantize.c: `hadal plan quantize`: what each recipe of `hadal quantize` makes of a published model. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/options.h"
#include "cli/plan.h"
#include "quantize/quantize.h"

typedef struct price {
    const hd_quant_mix *mix;
    uint64_t bytes;        /* of the file */
    uint64_t tensor_bytes; /* of these the tensors' */
    double bpw;            /* of the file */
} price;

typedef struct plan {
    const hd_published *model;
    hd_tensor *tensors, *typed; /* as published; as a recipe makes them */
    hd_type *types;
    size_t count;
    price *prices; /* [price_count] */
    size_t price_count;
} plan;

static hd_status find_model(plan *p, const char *name, hd_error *err)
{
    const char *names[64];
    size_t count;
    const hd_published *all = hd_published_all(&count);
    p->model = hd_published_find(name);
    if (p->model) return HD_OK;
    count = HD_MIN(count, HD_ARRAY_LEN(names));
    for (size_t i = 0; i < count; i++)
        names[i] = all[i].name;
    const char *near = hd_suggest(name, names, count);
    if (near) return hd_fail(err, HD_E_ARGUMENT, "there are no shapes of '%s'; did you mean %s?", name, near);
    return hd_fail(err, HD_E_ARGUMENT, "there are no shapes of '%s'; 'hadal plan --help' lists those that there are",
                   name);
}

static price price_of(plan *p, const hd_quant_mix *mix)
{
    price found = {.mix = mix};
    hd_quant_types(p->types, p->tensors, p->count, mix, false);
    for (size_t i = 0; i < p->count; i++) {
        p->typed[i] = p->tensors[i];
        p->typed[i].type = p->types[i];
        found.tensor_bytes += hd_quant_bytes(&p->tensors[i], p->types[i]);
    }
    found.bytes = hd_gguf_file_bytes(p->typed, p->count, HD_PLAN_METADATA_BYTES);
    found.bpw = 8.0 * (double)found.bytes / (double)p->model->parameters;
    return found;
}

static hd_status make_prices(plan *p, hd_error *err)
{
    HD_TRY(hd_published_tensors(p->model, &p->tensors, &p->count, err));
    const hd_quant_mix *mixes = hd_quant_mixes(&p->price_count);
    p->typed = hd_alloc_array(p->count, sizeof *p->typed);
    p->types = hd_alloc_array(p->count, sizeof *p->types);
    p->prices = hd_alloc_array(p->price_count, sizeof *p->prices);
    if (!p->typed || !p->types || !p->prices) return hd_fail(err, HD_E_MEMORY, "no memory for the plan");
    for (size_t i = 0; i < p->price_count; i++)
        p->prices[i] = price_of(p, &mixes[i]);
    return HD_OK;
}

static hd_status print_json(const plan *p, hd_error *err)
{
    json_t *array = json_array();
    for (size_t i = 0; array && i < p->price_count; i++) {
        const price *c = &p->prices[i];
        json_t *item =
            json_pack("{s:s, s:I, s:f, s:I, s:I, s:b}", "recipe", c->mix->name, "bytes", (json_int_t)c->bytes, "bpw",
                      c->bpw, "tensor_bytes", (json_int_t)c->tensor_bytes, "metadata_bytes",
                      (json_int_t)HD_PLAN_METADATA_BYTES, "writable", hd_quant_mix_writable(c->mix));
        if (json_array_append_new(array, item) == 0) continue;
        json_decref(array);
        array = NULL;
    }
    return hd_json_print(stdout, array, true, err);
}

static void print_text(const plan *p)
{
    char size[HD_SIZE_TEXT];
    printf("%s: %lld weights in %zu tensors, %d layers (%s)\n", p->model->name, (long long)p->model->parameters,
           p->count, p->model->config.layers, p->model->source);
    printf("%-10s %10s  %6s  %15s\n", "RECIPE", "FILE", "BITS", "BYTES");
    for (size_t i = 0; i < p->price_count; i++) {
        const price *c = &p->prices[i];
        printf("%-10s %10s  %6.3f  %15llu  %s%s\n", c->mix->name, hd_size_text(size, c->bytes), c->bpw,
               (unsigned long long)c->bytes, c->mix->summary,
               hd_quant_mix_writable(c->mix) ? "" : " (can't be written yet)");
    }
}

static hd_status plan_quantize(const char *name, bool json, hd_error *err)
{
    plan p = {0};
    hd_status status = find_model(&p, name, err);
    if (status == HD_OK) status = make_prices(&p, err);
    if (status == HD_OK && json) status = print_json(&p, err);
    if (status == HD_OK && !json) print_text(&p);
    hd_free(p.tensors);
    hd_free(p.typed);
    hd_free(p.types);
    hd_free(p.prices);
    return status;
}

int hd_plan_quantize_command(const char *command, const char *model, bool json)
{
    hd_error err = {0};
    hd_status status = plan_quantize(model, json, &err);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(command, &err);
}
