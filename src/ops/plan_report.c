/* ops/plan_report.c: a plan's figures with their formulas, as text and as JSON. */
#include <math.h>
#include <stdarg.h>
#include <stdio.h>
#include <string.h>

#include "ops/plan.h"

/* ---- numbers as text ---- */

const char *hd_plan_number(char text[HD_PLAN_TEXT], double value)
{
    char plain[48];
    if (!isfinite(value) || fabs(value) > 1e24) {
        snprintf(text, HD_PLAN_TEXT, "not known");
        return text;
    }
    double size = fabs(value);
    snprintf(plain, sizeof plain, "%.*f", size >= 100 || size == floor(size) ? 0 : size >= 1 ? 2 : 4, value);
    size_t whole = strcspn(plain, "."), at = 0, first = plain[0] == '-';
    for (size_t i = 0; plain[i] && at + 2 < HD_PLAN_TEXT; i++) {
        if (i > first && i < whole && (whole - i) % 3 == 0) text[at++] = ',';
        text[at++] = plain[i];
    }
    text[at] = '\0';
    return text;
}

const char *hd_plan_bytes(char text[HD_PLAN_TEXT], double bytes)
{
    static const char *const units[] = {"bytes", "kB", "MB", "GB", "TB", "PB"};
    size_t unit = 0;
    if (!isfinite(bytes)) return hd_plan_number(text, bytes);
    while (fabs(bytes) >= 1000 && unit + 1 < HD_ARRAY_LEN(units)) {
        bytes /= 1000;
        unit++;
    }
    snprintf(text, HD_PLAN_TEXT, "%.*f %s", unit == 0 ? 0 : fabs(bytes) >= 100 ? 1 : 2, bytes, units[unit]);
    return text;
}

/* ---- figures ---- */

typedef struct figures {
    hd_plan_figure *list;
    size_t count;
    const char *group;
} figures;

/* The next figure, whose value is set by the caller's `value` text; the formula is printed. */
static void put(figures *f, const char *key, const char *label, const char *value, const char *fmt, ...)
    HD_PRINTF(5, 6);
static void put(figures *f, const char *key, const char *label, const char *value, const char *fmt, ...)
{
    if (f->count == HD_PLAN_FIGURES_MAX) return;
    hd_plan_figure *one = &f->list[f->count++];
    *one = (hd_plan_figure){.key = key, .group = f->group};
    snprintf(one->label, sizeof one->label, "%s", label);
    snprintf(one->value, sizeof one->value, "%s", value);
    va_list args;
    va_start(args, fmt);
    vsnprintf(one->formula, sizeof one->formula, fmt, args);
    va_end(args);
}

static void put_memory(figures *f, const hd_plan *p)
{
    char v[HD_PLAN_TEXT], a[HD_PLAN_TEXT], b[HD_PLAN_TEXT], c[HD_PLAN_TEXT], d[HD_PLAN_TEXT];
    const hd_plan_model *m = &p->model;
    const hd_plan_fit *t = &p->fit;
    const hd_plan_ask *k = &p->ask;
    f->group = "Memory";
    put(f, "weights_bytes", "weights", hd_plan_bytes(v, (double)m->weight_bytes),
        "sum over tensors of rows x blocks of a row x bytes of a block = %s bytes (%s)",
        hd_plan_number(a, (double)m->weight_bytes), m->weights);
    if (k->here)
        put(f, "resident_bytes", "weights in memory", hd_plan_bytes(v, t->weights),
            "the same, repacked in blocks of whole vectors of rows; the embedding stays in the file = %s bytes",
            hd_plan_number(a, t->weights));
    put(f, "cache_bytes_per_token", "cache, a token", hd_plan_bytes(v, m->cache_token_bytes),
        "values that a token leaves in all layers x bytes of a value (%s) = %s bytes", m->cache_type,
        hd_plan_number(a, m->cache_token_bytes));
    put(f, "cache_bytes_per_user", "cache, a user", hd_plan_bytes(v, t->cache / (double)k->users),
        "%s tokens, rounded up to 32, x %s bytes + %s bytes", hd_plan_number(a, (double)k->context),
        hd_plan_number(b, m->cache_token_bytes), hd_plan_number(c, m->cache_fixed_bytes));
    put(f, "cache_bytes", "cache, all users", hd_plan_bytes(v, t->cache), "%s users x %s",
        hd_plan_number(a, (double)k->users), hd_plan_bytes(b, t->cache / (double)k->users));
    put(f, "work_bytes", "work space", hd_plan_bytes(v, t->work),
        "activations %s + scratch %s of a step of %s tokens + logits, 4 x %s for each user",
        hd_plan_bytes(a, (double)m->activation_bytes), hd_plan_bytes(b, (double)m->scratch_bytes),
        hd_plan_number(c, (double)k->prompt), hd_plan_number(d, m->vocab));
    if (k->here && m->embedding_bytes)
        put(f, "embedding_bytes", "rows of the embedding", hd_plan_bytes(v, t->embedding),
            "E (1 - e^(-tokens of all users x 65,536 / E)), E = %s in the file",
            hd_plan_bytes(a, (double)m->embedding_bytes));
    char program[HD_PLAN_TEXT], loading[HD_PLAN_TEXT];
    put(f, "peak_bytes", "peak", hd_plan_bytes(v, t->needed),
        "the larger of serving: weights %s + cache %s + work %s + embedding %s + program %s, and loading: %s",
        hd_plan_bytes(a, t->weights), hd_plan_bytes(b, t->cache), hd_plan_bytes(c, t->work),
        hd_plan_bytes(d, t->embedding), hd_plan_bytes(program, t->program), hd_plan_bytes(loading, t->loading_peak));
    put(f, "available_bytes", "memory of the machine", hd_plan_bytes(v, t->available), "%d x %s x (1 - %g left free)",
        k->count, hd_plan_bytes(a, k->machine->memory), k->reserve);
    put(f, "machines", "machines needed", t->machines ? hd_plan_number(v, (double)t->machines) : "not known",
        "peak %s / (%s x (1 - %g)), rounded up", hd_plan_bytes(a, t->needed), hd_plan_bytes(b, k->machine->memory),
        k->reserve);
    put(f, "most_users", "users that memory holds", t->known ? hd_plan_number(v, (double)t->most_users) : "not known",
        "(memory - weights - program - work) / (cache + logits of a user), rounded down");
}

static void put_speed(figures *f, const hd_plan *p)
{
    char v[HD_PLAN_TEXT], a[HD_PLAN_TEXT], b[HD_PLAN_TEXT], c[HD_PLAN_TEXT], d[HD_PLAN_TEXT];
    const hd_plan_model *m = &p->model;
    const hd_plan_ask *k = &p->ask;
    const hd_plan_fit *t = &p->fit;
    bool own = k->here && isfinite(k->rates.bandwidth);
    double bandwidth = own ? k->rates.bandwidth : k->machine->bandwidth * k->count;
    double operations =
        k->here && isfinite(k->rates.operations) ? k->rates.operations : k->machine->operations * k->count;
    const char *how = k->rates.measured ? "measured here" : "assumed";
    f->group = "Speed";
    const char *source = *k->machine->source ? k->machine->source : "by the machine's file";
    put(f, "bandwidth", "bandwidth of memory, a second", hd_plan_bytes(v, bandwidth), "%s",
        !isfinite(bandwidth) ? "not published"
        : own                ? "all threads stream memory: measured here"
                             : source);
    put(f, "operations", "arithmetic, 10^9 a second", hd_plan_number(v, operations / 1e9), "%s%s%s",
        k->here ? k->rates.numbers : k->machine->numbers, isfinite(operations) ? ", " : "",
        !isfinite(operations) ? "not published"
        : k->here             ? "measured here"
                              : source);
    put(f, "decode_share", "share of bandwidth, writing", hd_plan_number(v, k->rates.decode),
        "what the kernels reach with these weights, %s", how);
    put(f, "prefill_share", "share of arithmetic, reading", hd_plan_number(v, k->rates.prefill),
        "what the kernels reach with these weights, %s", how);
    if (m->experts)
        put(f, "decode_bytes", "weights read for a token", hd_plan_bytes(v, hd_plan_step_bytes(m, 1)),
            "shared %s + %d of %d experts x %s of all layers", hd_plan_bytes(a, m->shared_bytes), m->experts_used,
            m->experts, hd_plan_bytes(b, m->expert_bytes));
    else
        put(f, "decode_bytes", "weights read for a token", hd_plan_bytes(v, hd_plan_step_bytes(m, 1)),
            "all but the embedding: %s", hd_plan_bytes(a, m->shared_bytes));
    put(f, "tokens_per_second", "writing, tokens a second", hd_plan_number(v, t->decode),
        "1 / (%s / (%s/s x %.3g) + cache %s / (%s/s x %.3g)), one user", hd_plan_bytes(a, hd_plan_step_bytes(m, 1)),
        hd_plan_bytes(b, bandwidth), k->rates.decode, hd_plan_bytes(c, (double)k->context * m->cache_token_bytes),
        hd_plan_bytes(d, bandwidth), k->rates.cache);
    put(f, "prefill_tokens_per_second", "reading, tokens a second", hd_plan_number(v, t->prefill),
        "1 / (2 x %.4g products / (%s x %.3g) + attention, 2 x %.4g / (%s x %.3g))",
        m->products + m->output_products / (double)k->prompt, hd_plan_number(a, operations), k->rates.prefill,
        (double)k->prompt / 2 * m->row_products, hd_plan_number(b, operations), k->rates.attention);
    if (!(k->rate > 0)) return;
    put(f, "rate_users", "users at the wanted rate",
        t->rate_users >= 0 ? hd_plan_number(v, (double)t->rate_users) : "not known",
        "most N <= users that memory holds with 1 / step(N) >= %s; a step reads shared + experts x E (1 - (1 - "
        "used/E)^N)",
        hd_plan_number(a, k->rate));
    put(f, "rate_tokens_per_second", "tokens a second, all of them", hd_plan_number(v, t->rate_tokens),
        "N / step(N), N = %s", hd_plan_number(a, (double)t->rate_users));
}

static void put_cost(figures *f, const hd_plan *p)
{
    char v[HD_PLAN_TEXT], a[HD_PLAN_TEXT], b[HD_PLAN_TEXT], c[HD_PLAN_TEXT], d[HD_PLAN_TEXT];
    const hd_plan_cost_ask *k = &p->cost_ask;
    const hd_plan_cost *t = &p->cost;
    static const char *const own[] = {"own_3_years", "own_5_years"}, *const api[] = {"api_3_years", "api_5_years"};
    static const char *const even[] = {"break_even_3_years", "break_even_5_years"};
    f->group = "Cost";
    put(f, "purchase", "purchase", hd_plan_number(v, k->machine_price), "%s, %d x %s%s", k->currency, p->ask.count,
        p->ask.machine->title,
        strcmp(p->ask.machine->kind, "cpu") != 0 ? "; the table's prices are of cards alone, without servers" : "");
    put(f, "power_a_year", "power, a year", hd_plan_number(v, t->power_year),
        "%s W / 1000 x %g of 8,760 h x %g for the house x %g %s a kWh", hd_plan_number(a, k->watts), k->use,
        k->overhead, k->electricity, k->currency);
    put(f, "upkeep_a_year", "upkeep, a year", hd_plan_number(v, t->upkeep_year), "%g of the purchase", k->upkeep);
    put(f, "staff_a_year", "staff, a year", hd_plan_number(v, t->staff_year), "as given");
    put(f, "api_million", "interface, a million tokens", hd_plan_number(v, t->api_token * 1e6),
        "%g x (%g x %g + %g x %g) + %g x %g %s (%s)", k->input_share, 1 - k->cached_share, k->input, k->cached_share,
        k->cached, 1 - k->input_share, k->output, k->currency, p->price ? p->price->date : "as given");
    for (int i = 0; i < 2; i++) {
        int years = i ? 5 : 3;
        char label[40];
        snprintf(label, sizeof label, "owning, %d years", years);
        put(f, own[i], label, hd_plan_number(v, t->own[years]), "%s + %d x (%s + %s + %s)",
            hd_plan_number(a, k->machine_price), years, hd_plan_number(b, t->power_year),
            hd_plan_number(c, t->upkeep_year), hd_plan_number(d, t->staff_year));
        snprintf(label, sizeof label, "interface, %d years", years);
        put(f, api[i], label, hd_plan_number(v, t->api[years]), "%d x 365 x %s tokens a day x %.4g a million", years,
            hd_plan_number(a, k->tokens_a_day), t->api_token * 1e6);
        snprintf(label, sizeof label, "break-even, tokens a day, %d years", years);
        put(f, even[i], label, hd_plan_number(v, t->break_even[years]), "%s / (%d x 365 x %.4g / 1,000,000)",
            hd_plan_number(a, t->own[years]), years, t->api_token * 1e6);
    }
    put(f, "break_even_days", "days until the purchase is paid", hd_plan_number(v, t->break_even_days),
        "%s / (interface a day - running a day)", hd_plan_number(a, k->machine_price));
    put(f, "own_million", "owning, a million tokens", hd_plan_number(v, t->own_million),
        "owning 3 years / (3 x 365 x %s) x 1,000,000", hd_plan_number(a, k->tokens_a_day));
    put(f, "capacity_a_day", "tokens a day that it can do", hd_plan_number(v, k->capacity),
        "86,400 s x tokens a second of all users that memory holds; %s are asked for",
        hd_plan_number(a, k->tokens_a_day));
}

size_t hd_plan_figures(hd_plan_figure out[HD_PLAN_FIGURES_MAX], const hd_plan *plan)
{
    figures f = {.list = out};
    put_memory(&f, plan);
    put_speed(&f, plan);
    if (plan->costed) put_cost(&f, plan);
    return f.count;
}

/* ---- text ---- */

static void text_of_fit(hd_buf *out, const hd_plan *p)
{
    char a[HD_PLAN_TEXT], b[HD_PLAN_TEXT];
    const hd_plan_fit *t = &p->fit;
    if (!t->known)
        (void)hd_buf_printf(out, "fits      not known: the memory of %s is not\n", p->ask.machine->name);
    else
        (void)hd_buf_printf(out, "fits      %s: %s of %s on %d x %s\n", t->fits ? "yes" : "NO",
                            hd_plan_bytes(a, t->needed), hd_plan_bytes(b, t->available), p->ask.count,
                            p->ask.machine->title);
    if (t->known && !t->fits)
        (void)hd_buf_printf(out, "          %lld of them would hold it; speed is told as if it had the room\n",
                            (long long)t->machines);
}

static void text_of_recipes(hd_buf *out, const hd_plan *p)
{
    char a[HD_PLAN_TEXT];
    if (!p->model.recipe_count) return;
    (void)hd_buf_printf(out, "\n%-10s %12s  %6s  %18s  %s\n", "WEIGHTS AS", "FILE", "BITS", "BYTES", "FITS");
    double beside = p->fit.serving_peak - p->fit.weights;
    for (size_t i = 0; i < p->model.recipe_count; i++) {
        const hd_plan_recipe *r = &p->model.recipes[i];
        bool fits = (double)r->tensor_bytes + beside <= p->fit.available;
        (void)hd_buf_printf(out, "%-10s %12s  %6.3f  %18llu  %s\n", r->name, hd_plan_bytes(a, (double)r->file_bytes),
                            r->bits, (unsigned long long)r->tensor_bytes,
                            !p->fit.known ? "?"
                            : fits        ? "yes"
                                          : "no");
    }
}

static void text_of_modes(hd_buf *out, const hd_plan *p)
{
    (void)hd_buf_puts(out, "\nWAYS TO RUN IT  (weights:");
    for (int c = 0; c < HD_PLAN_CRITERIA; c++)
        (void)hd_buf_printf(out, " %s=%g", hd_plan_criterion_name(c), p->modes.weights[c]);
    (void)hd_buf_puts(out, ")\n");
    for (int i = 0; i < HD_PLAN_MODES; i++) {
        int mode = p->modes.order[i];
        (void)hd_buf_printf(out, "%-14s %.2f ", hd_plan_mode_name(mode), p->modes.total[mode]);
        for (int c = 0; c < HD_PLAN_CRITERIA; c++)
            (void)hd_buf_printf(out, " %s %d", hd_plan_criterion_name(c), hd_plan_score(mode, c, NULL));
        (void)hd_buf_putc(out, '\n');
    }
}

static void text_of_sensitivities(hd_buf *out, const hd_plan *p)
{
    char a[HD_PLAN_TEXT], b[HD_PLAN_TEXT];
    hd_plan_sensitivity s[HD_PLAN_SENSITIVITIES];
    hd_plan_sensitivities(s, &p->cost_ask);
    (void)hd_buf_puts(out, "\nOWNING LESS INTERFACE OVER 3 YEARS, WITH 20 % LESS AND 20 % MORE OF\n");
    for (int i = 0; i < HD_PLAN_SENSITIVITIES; i++)
        (void)hd_buf_printf(out, "%-24s %18s %18s\n", s[i].what, hd_plan_number(a, s[i].low),
                            hd_plan_number(b, s[i].high));
}

void hd_plan_to_text(hd_buf *out, const hd_plan *p)
{
    hd_plan_figure list[HD_PLAN_FIGURES_MAX];
    char a[HD_PLAN_TEXT], b[HD_PLAN_TEXT];
    size_t count = hd_plan_figures(list, p);
    (void)hd_buf_printf(out, "%s: %s weights, %s of them for a token (%s)\n", p->model.name,
                        hd_plan_number(a, (double)p->model.parameters), hd_plan_number(b, (double)p->model.active),
                        p->model.source);
    if (p->model.note) (void)hd_buf_printf(out, "note      %s\n", p->model.note);
    if (*p->ask.machine->note) (void)hd_buf_printf(out, "machine   %s\n", p->ask.machine->note);
    if (!p->ask.here && strcmp(p->ask.machine->kind, "cpu") != 0)
        (void)hd_buf_puts(out,
                          "speed     of an engine that reaches on this card the shares that are stated: this program "
                          "computes on processors\n");
    text_of_fit(out, p);
    const char *group = "";
    for (size_t i = 0; i < count; i++) {
        if (strcmp(list[i].group, group) != 0) (void)hd_buf_printf(out, "\n%s\n", list[i].group);
        group = list[i].group;
        (void)hd_buf_printf(out, "  %-36s %18s  = %s\n", list[i].label, list[i].value, list[i].formula);
    }
    text_of_recipes(out, p);
    if (p->costed) text_of_sensitivities(out, p);
    text_of_modes(out, p);
}

/* ---- JSON ---- */

static json_t *real(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

/* A whole number, or null. */
static json_t *bytes(double value)
{
    return isfinite(value) && fabs(value) < 9e18 ? json_integer((json_int_t)llround(value)) : json_null();
}

static json_t *text(const char *value)
{
    json_t *made = value ? json_string(value) : json_null();
    return made ? made : json_string("?"); /* a path that is not UTF-8 */
}

static json_t *figures_json(const hd_plan *p)
{
    hd_plan_figure list[HD_PLAN_FIGURES_MAX];
    size_t count = hd_plan_figures(list, p);
    json_t *array = json_array();
    for (size_t i = 0; i < count; i++)
        json_array_append_new(array, json_pack("{s:s, s:s, s:o, s:o}", "key", list[i].key, "label", list[i].label,
                                               "value", text(list[i].value), "formula", text(list[i].formula)));
    return array;
}

static json_t *recipes_json(const hd_plan *p)
{
    json_t *array = json_array();
    double beside = p->fit.serving_peak - p->fit.weights;
    for (size_t i = 0; i < p->model.recipe_count; i++) {
        const hd_plan_recipe *r = &p->model.recipes[i];
        bool fits = (double)r->tensor_bytes + beside <= p->fit.available;
        json_array_append_new(array, json_pack("{s:s, s:o, s:o, s:f, s:b, s:o}", "recipe", r->name, "weights_bytes",
                                               bytes((double)r->tensor_bytes), "file_bytes",
                                               bytes((double)r->file_bytes), "bpw", r->bits, "writable", r->writable,
                                               "fits", p->fit.known ? json_boolean(fits) : json_null()));
    }
    return array;
}

static json_t *machine_json(const hd_plan *p)
{
    const hd_plan_machine *m = p->ask.machine;
    return json_pack("{s:o, s:o, s:s, s:i, s:b, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "name", text(m->name), "title",
                     text(m->title), "kind", m->kind, "count", p->ask.count, "here", p->ask.here, "memory_bytes",
                     bytes(m->memory), "bandwidth_bytes_per_second", bytes(m->bandwidth), "operations_per_second",
                     real(m->operations), "power_watts", real(m->watts), "price", real(m->price), "source",
                     text(m->source), "date", text(m->date));
}

static json_t *cost_json(const hd_plan *p)
{
    if (!p->costed) return json_null();
    const hd_plan_cost *c = &p->cost;
    hd_plan_sensitivity s[HD_PLAN_SENSITIVITIES];
    hd_plan_sensitivities(s, &p->cost_ask);
    json_t *list = json_array();
    for (int i = 0; i < HD_PLAN_SENSITIVITIES; i++)
        json_array_append_new(
            list, json_pack("{s:s, s:o, s:o}", "what", s[i].what, "less", real(s[i].low), "more", real(s[i].high)));
    return json_pack("{s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o, s:o}", "currency",
                     text(p->cost_ask.currency), "purchase", real(p->cost_ask.machine_price), "power_a_year",
                     real(c->power_year), "staff_a_year", real(c->staff_year), "own_3_years", real(c->own[3]),
                     "own_5_years", real(c->own[5]), "api_3_years", real(c->api[3]), "api_5_years", real(c->api[5]),
                     "break_even_tokens_a_day_3_years", real(c->break_even[3]), "break_even_tokens_a_day_5_years",
                     real(c->break_even[5]), "break_even_days", real(c->break_even_days), "own_million",
                     real(c->own_million), "sensitivities", list);
}

static json_t *modes_json(const hd_plan *p)
{
    json_t *array = json_array();
    for (int i = 0; i < HD_PLAN_MODES; i++) {
        int mode = p->modes.order[i];
        json_t *list = json_array();
        for (int c = 0; c < HD_PLAN_CRITERIA; c++) {
            const char *reason;
            int score = hd_plan_score(mode, c, &reason);
            json_array_append_new(list, json_pack("{s:s, s:f, s:i, s:s}", "criterion", hd_plan_criterion_name(c),
                                                  "weight", p->modes.weights[c], "score", score, "reason", reason));
        }
        json_array_append_new(array, json_pack("{s:s, s:f, s:o}", "mode", hd_plan_mode_name(mode), "total",
                                               p->modes.total[mode], "scores", list));
    }
    return array;
}

json_t *hd_plan_to_json(const hd_plan *p)
{
    const hd_plan_model *m = &p->model;
    const hd_plan_fit *t = &p->fit;
    json_t *o = json_object();
    if (!o) return NULL;
    int failed = 0;
    failed |= json_object_set_new(o, "model", text(m->name));
    failed |= json_object_set_new(o, "source", text(m->source));
    failed |= json_object_set_new(o, "note", text(m->note));
    failed |= json_object_set_new(o, "weights", text(m->weights));
    failed |= json_object_set_new(o, "parameters", json_integer(m->parameters));
    failed |= json_object_set_new(o, "active_parameters", json_integer(m->active));
    failed |= json_object_set_new(o, "weights_bytes", json_integer((json_int_t)m->weight_bytes));
    failed |= json_object_set_new(o, "cache_bytes_per_token", bytes(m->cache_token_bytes));
    failed |= json_object_set_new(o, "cache_bytes_per_user", bytes(t->cache / (double)p->ask.users));
    failed |= json_object_set_new(o, "cache_type", text(m->cache_type));
    failed |= json_object_set_new(o, "context", json_integer(p->ask.context));
    failed |= json_object_set_new(o, "users", json_integer(p->ask.users));
    failed |= json_object_set_new(o, "machine", machine_json(p));
    failed |= json_object_set_new(o, "fits", t->known ? json_boolean(t->fits) : json_null());
    failed |= json_object_set_new(o, "peak_bytes", bytes(t->needed));
    failed |= json_object_set_new(o, "loading_peak_bytes", bytes(t->loading_peak));
    failed |= json_object_set_new(o, "serving_peak_bytes", bytes(t->serving_peak));
    failed |= json_object_set_new(o, "available_bytes", bytes(t->available));
    failed |= json_object_set_new(o, "machines_needed", t->machines ? json_integer(t->machines) : json_null());
    failed |= json_object_set_new(o, "most_users", t->known ? json_integer(t->most_users) : json_null());
    failed |= json_object_set_new(o, "tokens_per_second", real(t->decode));
    failed |= json_object_set_new(o, "prefill_tokens_per_second", real(t->prefill));
    failed |= json_object_set_new(o, "rates_measured", json_boolean(p->ask.rates.measured));
    failed |= json_object_set_new(o, "rate_users", t->rate_users >= 0 ? json_integer(t->rate_users) : json_null());
    failed |= json_object_set_new(o, "recipes", recipes_json(p));
    failed |= json_object_set_new(o, "cost", cost_json(p));
    failed |= json_object_set_new(o, "modes", modes_json(p));
    failed |= json_object_set_new(o, "figures", figures_json(p));
    if (!failed) return o;
    json_decref(o);
    return NULL;
}
