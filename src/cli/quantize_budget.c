/* cli/quantize_budget.c: recipes of `hadal quantize` that are chosen by budget, or read from a file. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/quantize.h"
#include "cli/terminal.h"
#include "kernels/kernels.h"
#include "quantize/recipe_file.h"

/* Of the machine's memory, for weights: the rest is for caches, activations and the system. */
#define FIT_SHARE 0.85
#define BPW_LEAST 1.5
#define BPW_MOST 16.0

hd_opt_group hd_budget_group(hd_budget_flags *b)
{
    memset(b, 0, sizeof *b);
    const hd_opt opts[] = {
        {.name = "target-bpw",
         .type = HD_OPT_FLOAT,
         .value = &b->bpw,
         .metavar = "BITS",
         .initial = "",
         .min = BPW_LEAST,
         .max = BPW_MOST,
         .help =
             "Chooses a type for each tensor so that the tensors have at most BITS for each weight, scales included."},
        {.name = "target-size",
         .type = HD_OPT_STRING,
         .value = &b->size,
         .metavar = "SIZE",
         .initial = "",
         .help = "The same with the size of the file, metadata included: 336GB, 900MB."},
        {.name = "fit-machine",
         .type = HD_OPT_FLAG,
         .value = &b->fit,
         .help = "The same with 85 % of this machine's memory."},
        {.name = "recipe",
         .type = HD_OPT_STRING,
         .value = &b->load,
         .metavar = "FILE",
         .initial = "",
         .help =
             "Takes the type of each tensor from a file that --save-recipe wrote; it may be edited, and a * in a name "
             "stands for anything."},
        {.name = "save-recipe",
         .type = HD_OPT_STRING,
         .value = &b->save,
         .metavar = "FILE",
         .initial = "",
         .help = "Writes the type of each tensor to a file."},
    };
    memcpy(b->opts, opts, sizeof opts);
    return (hd_opt_group){"OPTIONS OF BUDGETS", b->opts, HD_ARRAY_LEN(opts)};
}

void hd_budget_free(hd_budget_flags *b)
{
    hd_free(b->classes);
}

bool hd_budget_given(const hd_budget_flags *b)
{
    return b->size || b->load || b->bpw > 0 || b->fit;
}

int hd_budget_usage(const hd_budget_flags *b, const char *type, const char *command)
{
    int given = !!type + !!b->size + !!b->load + (b->bpw > 0) + b->fit;
    if (given > 1)
        return hd_cli_usage(command,
                            "--type, --recipe, --target-bpw, --target-size and --fit-machine exclude each other");
    return HD_ARGS_OK;
}

/* ---- how many bytes ---- */

static uint64_t values_of(const hd_rewrite *w)
{
    uint64_t sum = 0;
    for (size_t i = 0; i < hd_source_count(w->source); i++)
        sum += (uint64_t)hd_tensor_values(hd_source_tensor(w->source, i));
    return sum;
}

static hd_status find_bytes(hd_budget_flags *b, const hd_rewrite *w, hd_error *err)
{
    if (b->size) return hd_rewrite_parse_size(&b->bytes, "target-size", b->size, err);
    b->bytes =
        b->fit ? (uint64_t)(FIT_SHARE * (double)hd_memory_limit()) : (uint64_t)(b->bpw * (double)values_of(w) / 8);
    if (b->bytes) return HD_OK;
    return hd_fail(err, HD_E_UNSUPPORTED, "--fit-machine: the machine does not tell how much memory it has");
}

/* Bytes of the file that are no tensor's: the header, and what lies between tensors. */
static uint64_t overhead(const hd_rewrite *w)
{
    const uint64_t own_keys = 1024 + (w->report ? HD_QUANT_REPORT_BYTES : 0); /* file_type, the importance matrix's */
    size_t count = hd_source_count(w->source);
    uint64_t all = hd_gguf_file_bytes(hd_source_tensors(w->source), count,
                                      hd_meta_list_bytes(hd_source_meta(w->source)) + own_keys);
    uint64_t tensors = 0;
    for (size_t i = 0; i < count; i++)
        tensors += hd_quant_bytes(hd_source_tensor(w->source, i), hd_source_tensor(w->source, i)->type);
    return all - tensors + 32 * (uint64_t)count; /* other types may need all the padding that there can be */
}

static hd_status too_small(hd_error *err)
{
    return hd_fail(err, HD_E_ARGUMENT, "no recipe is that small: all matrices as their smallest types have more bytes");
}

/* Of the budget, what tensors may have. */
static uint64_t tensor_bytes(const hd_budget_flags *b, const hd_rewrite *w)
{
    uint64_t over = b->bpw > 0 ? 0 : overhead(w);
    return b->bytes > over ? b->bytes - over : 0;
}

hd_status hd_budget_check(hd_budget_flags *b, hd_rewrite *w, hd_error *err)
{
    if (b->load) return hd_recipe_load(w->types, w->source, b->load, err);
    HD_TRY(find_bytes(b, w, err));
    return hd_budget_least(w->types, w->source) <= tensor_bytes(b, w) ? HD_OK : too_small(err);
}

/* ---- choosing ---- */

typedef struct choosing {
    hd_budget_flags *b;
    hd_rewrite *w;
    const hd_calibration *calibration;
    hd_choices *choices; /* [count], as the next */
    double *cost;
    hd_type *probe;
    size_t count;
    hd_pool *pool;
    int threads;
    hd_time_left left;
    const char *doing;
} choosing;

static bool show(void *arg, uint64_t done, uint64_t all)
{
    choosing *c = arg;
    return hd_time_left_show(&c->left, c->doing, done, all);
}

/* While one class is looked at, its types are those nearest to what all will get. */
static void choose_probe(choosing *c, uint64_t bytes)
{
    double bits = 8 * (double)bytes / (double)values_of(c->w);
    for (size_t i = 0; i < c->count; i++) {
        const hd_choices *k = &c->choices[i];
        double values = (double)hd_tensor_values(hd_source_tensor(c->w->source, i)), least = -1;
        for (int n = 0; n < k->count; n++) {
            double off = 8 * (double)k->items[n].bytes / values - bits;
            if (off < 0) off = -off;
            if (least >= 0 && off >= least) continue;
            least = off;
            c->probe[i] = k->items[n].type;
        }
    }
}

static hd_status measure_sensitivity(choosing *c, hd_error *err)
{
    int32_t *ids = NULL, first;
    size_t count = 0;
    const hd_calibration *cal = c->calibration;
    hd_sensitivity_options o = {
        .threads = c->threads, .window = cal->context, .imatrix = cal->matrix, .progress = show, .arg = c};
    hd_cpu_tier tier = HD_CPU_AUTO;
    (void)hd_cpu_parse(cal->cpu, &tier); /* one of the choices */
    HD_TRY(hd_kernels_cpu(&o.backend, tier, err));
    hd_status status = hd_calibration_encode(cal, c->w->in, &ids, &count, &first, err);
    c->left = (hd_time_left){0};
    c->doing = "measuring what errors cost";
    o.ids = ids;
    o.id_count = (int64_t)count;
    o.first = first;
    if (status == HD_OK)
        status =
            hd_sensitivity_measure(c->cost, &c->b->report, c->b->classes, c->w->source, c->choices, c->probe, &o, err);
    hd_ids_release(ids);
    return status;
}

/* Without a text: an error costs what it is in the tensor's own measure. */
static void guess_costs(choosing *c)
{
    for (size_t i = 0; i < c->count; i++) {
        const hd_choices *k = &c->choices[i];
        double values = (double)hd_tensor_values(hd_source_tensor(c->w->source, i)), error = k->items[0].error;
        c->cost[i] = error > 0 ? values / error : 0; /* its smallest type's error for a unit of each value's */
    }
}

static hd_status choose(choosing *c, hd_error *err)
{
    hd_budget_flags *b = c->b;
    uint64_t bytes = tensor_bytes(b, c->w);
    hd_budget_options o = {.pool = c->pool, .imatrix = c->calibration->matrix, .progress = show, .arg = c};
    c->doing = "measuring errors";
    HD_TRY(hd_budget_measure(c->choices, c->w->source, &o, err));
    choose_probe(c, bytes);
    hd_sensitivity_classes(b->classes, &b->report, c->w->source);
    b->measured = c->calibration->text != NULL;
    if (b->measured) HD_TRY(measure_sensitivity(c, err));
    if (!b->measured) guess_costs(c);
    if (!hd_budget_choose(c->w->types, c->choices, c->cost, c->count, bytes)) return too_small(err);
    for (size_t i = 0; b->measured && i < c->count; i++)
        b->predicted += c->cost[i] * hd_choices_error(&c->choices[i], c->w->types[i]);
    return HD_OK;
}

static hd_status choose_all(hd_budget_flags *b, hd_rewrite *w, const hd_calibration *calibration, hd_error *err)
{
    choosing c = {.b = b, .w = w, .calibration = calibration, .count = hd_source_count(w->source)};
    size_t count = HD_MAX(c.count, 1);
    c.threads = w->threads ? (int)w->threads : hd_cpu_threads();
    c.choices = hd_alloc_array(count, sizeof *c.choices);
    c.cost = hd_alloc_array(count, sizeof *c.cost);
    c.probe = hd_alloc_array(count, sizeof *c.probe);
    b->classes = hd_alloc_array(count, sizeof *b->classes);
    bool room = c.choices && c.cost && c.probe && b->classes;
    hd_status status =
        room ? hd_pool_open(&c.pool, c.threads, err) : hd_fail(err, HD_E_MEMORY, "no memory for %zu tensors", c.count);
    uint64_t start = hd_clock_ns();
    hd_interrupt_catch(NULL, NULL);
    if (status == HD_OK) status = choose(&c, err);
    hd_interrupt_release();
    hd_progress_clear();
    b->seconds = (double)(hd_clock_ns() - start) / 1e9;
    hd_pool_close(&c.pool);
    hd_free(c.choices);
    hd_free(c.cost);
    hd_free(c.probe);
    return status;
}

hd_status hd_budget_make(hd_budget_flags *b, hd_rewrite *w, const hd_calibration *calibration, hd_error *err)
{
    if (b->load) return hd_recipe_load(w->types, w->source, b->load, err);
    HD_TRY(find_bytes(b, w, err));
    return choose_all(b, w, calibration, err);
}

/* ---- what is said of it ---- */

typedef struct class_sum {
    uint64_t bytes;
    int64_t values[HD_TYPE_COUNT];
} class_sum;

static class_sum sum_up(const hd_budget_flags *b, const hd_rewrite *w, int class)
{
    class_sum sum = {0};
    for (size_t i = 0; i < hd_source_count(w->source); i++) {
        const hd_tensor *t = hd_source_tensor(w->source, i);
        if (b->classes[i] != class) continue;
        sum.bytes += hd_quant_bytes(t, w->types[i]);
        sum.values[w->types[i]] += hd_tensor_values(t);
    }
    return sum;
}

json_t *hd_budget_json(const hd_budget_flags *b, const hd_rewrite *w)
{
    json_t *list = json_array();
    for (size_t c = 0; b->classes && c < b->report.count; c++) {
        const hd_sensitivity_class *k = &b->report.classes[c];
        class_sum sum = sum_up(b, w, (int)c);
        json_t *types = json_object();
        for (int t = 0; t < HD_TYPE_COUNT; t++)
            if (sum.values[t]) json_object_set_new(types, hd_type_name((hd_type)t), json_integer(sum.values[t]));
        json_t *o = json_pack("{s:s, s:I, s:I, s:f, s:o}", "class", k->name, "tensors", (json_int_t)k->tensors, "bytes",
                              (json_int_t)sum.bytes, "bpw", 8 * (double)sum.bytes / (double)HD_MAX(k->values, 1),
                              "values_by_type", types);
        if (o && b->measured) json_object_set_new(o, "divergence_alone", json_real(k->divergence));
        json_array_append_new(list, o);
    }
    json_t *o = json_pack("{s:I, s:b, s:I, s:f, s:o}", "bytes_at_most", (json_int_t)b->bytes, "measured", b->measured,
                          "tokens", (json_int_t)b->report.tokens, "seconds", b->seconds, "classes", list);
    if (o && b->measured) json_object_set_new(o, "divergence_predicted", json_real(b->predicted));
    return o;
}

void hd_budget_print(const hd_budget_flags *b, const hd_rewrite *w)
{
    if (!b->classes) return;
    printf("%-54s %8s %6s  %s\n", "class", b->measured ? "alone" : "", "bits", "types, in % of its weights");
    for (size_t c = 0; c < b->report.count; c++) {
        const hd_sensitivity_class *k = &b->report.classes[c];
        class_sum sum = sum_up(b, w, (int)c);
        printf("%-54s ", k->name);
        if (b->measured)
            printf("%8.5f", k->divergence);
        else
            printf("%8s", "");
        printf(" %6.2f ", 8 * (double)sum.bytes / (double)HD_MAX(k->values, 1));
        for (int t = 0; t < HD_TYPE_COUNT; t++)
            if (sum.values[t])
                printf(" %s %.0f", hd_type_name((hd_type)t), 100.0 * (double)sum.values[t] / (double)k->values);
        printf("\n");
    }
    if (b->measured)
        printf("alone: divergence in nats with this class rounded, on %zu tokens; all together, added up: %.5f\n",
               b->report.tokens, b->predicted);
    else
        printf("errors were taken to cost the same everywhere; with --calibrate TEXT that is measured\n");
    printf("chosen in %.1f s\n", b->seconds);
}
