/* fuzz_plan.c: any bytes as a file of machines, and as a config.json of which only the shapes count.  Of what is
 * accepted a plan is made and reported in every form.  A second round lets an allocation fail. */
#include <math.h>
#include <string.h>

#include "base/base.h"
#include "models/published.h"
#include "ops/plan.h"

static void report(const hd_plan *plan)
{
    hd_plan_figure list[HD_PLAN_FIGURES_MAX];
    hd_buf out;
    size_t count = hd_plan_figures(list, plan);
    if (count > HD_PLAN_FIGURES_MAX) __builtin_trap();
    for (size_t i = 0; i < count; i++)
        if (strstr(list[i].value, "nan") || strstr(list[i].value, "inf")) __builtin_trap();
    hd_buf_init(&out, 1 << 20);
    hd_plan_to_text(&out, plan);
    hd_buf_clear(&out);
    hd_plan_to_html(&out, plan);
    if (out.status == HD_OK && out.data && strstr(out.data, "<script")) __builtin_trap();
    hd_buf_free(&out);
    json_decref(hd_plan_to_json(plan));
}

static void use_machines(const char *text, size_t size)
{
    hd_plan_machines *t = NULL;
    hd_error err = {0};
    hd_status status = hd_plan_machines_parse(&t, "fuzz", text, size, &err);
    if (status != HD_OK) {
        if (t || err.status != status || !err.text[0]) __builtin_trap();
        return;
    }
    for (size_t i = 0; i < hd_plan_machines_count(t) && i < 4; i++) {
        hd_plan plan = {.model = {.name = "<m>",
                                  .source = "s",
                                  .weights = "w",
                                  .weight_bytes = 1000,
                                  .cache_type = "f16",
                                  .vocab = 10,
                                  .cache_token_bytes = 3,
                                  .shared_bytes = 900,
                                  .products = 900,
                                  .parameters = 1000},
                        .ask = {.machine = hd_plan_machines_at(t, i),
                                .count = 4096,
                                .context = 64,
                                .users = 2,
                                .prompt = 8,
                                .rate = 1,
                                .rates = hd_plan_assumed_rates()},
                        .costed = true};
        hd_plan_fit_make(&plan.fit, &plan.model, &plan.ask);
        plan.cost_ask = (hd_plan_cost_ask){.machine_price = plan.ask.machine->price,
                                           .watts = plan.ask.machine->watts,
                                           .use = 1,
                                           .overhead = 1,
                                           .tokens_a_day = 5,
                                           .input = 1,
                                           .output = 2,
                                           .currency = plan.ask.machine->currency,
                                           .capacity = NAN};
        hd_plan_cost_make(&plan.cost, &plan.cost_ask);
        hd_plan_modes_default(&plan.modes);
        report(&plan);
    }
    hd_plan_machines_close(&t);
}

static void use_config(const char *text, size_t size)
{
    json_t *json = NULL;
    hd_published p;
    hd_tensor *tensors = NULL;
    size_t count;
    hd_error err = {0};
    if (hd_json_parse(&json, text, size, NULL) != HD_OK) return;
    hd_status status = hd_published_of_json(&p, "fuzz", json, &err);
    json_decref(json);
    if (status != HD_OK && (err.status != status || !err.text[0])) __builtin_trap();
    if (status != HD_OK || p.config.layers > 512) return; /* many layers take long and show no more */
    if (hd_published_tensors(&p, &tensors, &count, &err) != HD_OK) return;
    if (count < 3 || hd_published_release_bytes(&p, tensors, count) == 0) __builtin_trap();
    hd_cache_values v = hd_published_cache(&p);
    if (!isfinite(v.per_token) || !isfinite(v.fixed) || v.per_token < 0 || v.fixed < 0) __builtin_trap();
    hd_free(tensors);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    const char *text = (const char *)data;
    use_machines(text, size);
    use_config(text, size);
    hd_alloc_fail_after(1 + size % 16);
    use_machines(text, size);
    use_config(text, size);
    hd_alloc_fail_after(0);
    return 0;
}
