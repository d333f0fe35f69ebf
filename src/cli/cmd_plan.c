/* cli/cmd_plan.c: `hadal plan`: what a model takes of a machine: memory, time and money, from shapes.
 *
 * The model's shapes come from plan_model.c, this machine's rates from plan_probe.c, the arithmetic from ops/plan.h. */
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "base/save.h"
#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/plan.h"
#include "kernels/kernels.h"

#define MAX_MACHINE_FILE (1u << 20)
#define MAX_REPORT (8u << 20)
#define CARD_RESERVE 0.1 /* what engines leave free of a card's memory, for the driver and for what comes */
#define GIGA 1e9

typedef struct plan_flags {
    const char *machine, *type, *cpu, *cache_type, *html, *api, *currency;
    int64_t context, users, step, threads;
    double memory, rate, reserve, price, watts, use, overhead, electricity, staff, upkeep;
    double tokens, input_share, cached_share, input, cached, output;
    bool json, machines, no_probe;
    hd_opt_list weights;
    hd_opt about[14], money[15];
} plan_flags;

static const hd_manual manual = {
    .command = "plan",
    .synopsis = "plan MODEL [--machine NAME|FILE[:COUNT]] [OPTIONS]\nplan --machines\nplan quantize MODEL [--json]",
    .description =
        "Says what MODEL takes of a machine: bytes of its weights by every recipe, its cache for each token and user, "
        "whether it fits, tokens a second, users at a wanted rate; with --tokens-a-day what it costs beside an "
        "interface that is paid by the token; and how six ways to run it compare.  Every figure is shown with its "
        "formula.  Nothing is fetched.\n\n"
        "MODEL is a file or a folder, any config.json, a name of the models folder, or one of these: deepseek-llm-7b, "
        "deepseek-llm-67b, deepseek-v2-lite, deepseek-v2 (also deepseek-v2.5, deepseek-coder-v2), deepseek-v3 (also "
        "deepseek-v3.1, deepseek-r1), deepseek-v3.2, deepseek-v4-flash, deepseek-v4-pro, "
        "deepseek-r1-distill-qwen-1.5b, -7b, -14b, -32b, deepseek-r1-distill-llama-8b, -70b and "
        "deepseek-r1-0528-qwen3-8b.\n\n"
        "Without --machine it is about this computer: its memory, its bandwidth and arithmetic, measured, and the "
        "share of them that the kernels reach with matrices of these shapes, measured too; some seconds.  Other "
        "machines are taken from a table with sources and dates (--machines lists it) or from your own file in the "
        "same form; their speed is a roofline with the shares measured here.  This version computes on processors: of "
        "a card the figures are those of an engine that reaches the same shares.\n\n"
        "quantize: the size of the GGUF file that each recipe of 'hadal quantize --type' makes of MODEL, and its bits "
        "for each weight.  Blocks' scales, the list of tensors and the room between them are counted exactly; 16 MiB "
        "are allowed for the metadata, most of which is the tokenizer.  Multi-token prediction layers are left out.  "
        "Importance matrices change the size of IQ4_NL, IQ4_XS, Q4_0 and Q5_0 by less than a hundredth.",
    .examples = "hadal plan deepseek-r1 --type Q4_K_M --machine nvidia-h20:8 --users 32 --rate 20\n"
                "hadal plan model.gguf --context 8192 --json | jq .tokens_per_second\n"
                "hadal plan deepseek-v3 --machine ours.json:2 --price 250000 --tokens-a-day 40e6 --html plan.html\n"
                "hadal plan quantize deepseek-r1 --json | jq '.[] | select(.bytes <= 336e9) | .recipe'",
    .environment = HD_ENVIRONMENT_MODELS,
};

static void set_defaults(plan_flags *f)
{
    *f = (plan_flags){.cpu = "auto",
                      .cache_type = "auto",
                      .api = "deepseek-flash-usd",
                      .context = 4096,
                      .users = 1,
                      .step = 512,
                      .use = 0.5,
                      .overhead = 1.4,
                      .electricity = 0.1,
                      .upkeep = 0.05,
                      .input_share = 0.75,
                      .reserve = CARD_RESERVE};
}

static hd_opt_group about_group(plan_flags *f)
{
    const hd_opt opts[] = {
        {.name = "machine",
         .letter = 'm',
         .type = HD_OPT_STRING,
         .value = &f->machine,
         .metavar = "NAME|FILE[:COUNT]",
         .initial = "this computer",
         .help = "A machine of the table, or of a JSON file in its form (FILE#NAME where it has several), and how many "
                 "of them share the model."},
        {.name = "machines", .type = HD_OPT_FLAG, .value = &f->machines, .help = "Lists the table, with --json whole."},
        {.name = "memory",
         .type = HD_OPT_FLOAT,
         .value = &f->memory,
         .metavar = "GB",
         .min = 0.001,
         .max = 1e9,
         .initial = "the machine's own",
         .help = "Memory of one machine, where the table can't know it."},
        {.name = "type",
         .type = HD_OPT_STRING,
         .value = &f->type,
         .metavar = "RECIPE",
         .initial = "as the file or the release has them",
         .help = "Weights as this recipe of 'hadal quantize' makes them."},
        {.name = "context",
         .letter = 'c',
         .type = HD_OPT_INT,
         .value = &f->context,
         .metavar = "N",
         .min = 1,
         .max = 1 << 30,
         .help = "Tokens of each user, prompt and answer, at most the model's own limit."},
        {.name = "users",
         .letter = 'u',
         .type = HD_OPT_INT,
         .value = &f->users,
         .metavar = "N",
         .min = 1,
         .max = 1 << 20,
         .help = "Users at once."},
        {.name = "rate",
         .type = HD_OPT_FLOAT,
         .value = &f->rate,
         .metavar = "R",
         .min = 1e-6,
         .max = 1e6,
         .initial = "none",
         .help = "Tokens a second that each user should get: says how many users can."},
        {.name = "step",
         .type = HD_OPT_INT,
         .value = &f->step,
         .metavar = "N",
         .min = 1,
         .max = 65536,
         .help = "Tokens of prompts that are read together, as --chunk of 'hadal serve'."},
        {.name = "cache-type",
         .type = HD_OPT_CHOICE,
         .value = &f->cache_type,
         .choices = HD_CACHE_CHOICES,
         .help = "Numbers that keys and values are kept in."},
        {.name = "cpu",
         .type = HD_OPT_CHOICE,
         .value = &f->cpu,
         .choices = HD_CPU_CHOICES,
         .help = "Instructions that this computer computes with."},
        {.name = "threads",
         .letter = 't',
         .type = HD_OPT_INT,
         .value = &f->threads,
         .metavar = "N",
         .min = 1,
         .max = HD_POOL_MAX,
         .initial = "the processors that the process may use",
         .help = "Compute threads of this computer."},
        {.name = "reserve",
         .type = HD_OPT_SHARE,
         .value = &f->reserve,
         .metavar = "SHARE",
         .max = 0.9,
         .initial = "10% of cards, nothing of computers",
         .help = "Share of a machine's memory that is left free."},
        {.name = "no-probe",
         .type = HD_OPT_FLAG,
         .value = &f->no_probe,
         .help = "Measures nothing: shares are assumed (docs/plan.md), and speed is told of described machines only."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &f->json, .help = "Prints one JSON object."},
    };
    _Static_assert(sizeof f->about == sizeof opts, "the table has its place");
    memcpy(f->about, opts, sizeof opts);
    return (hd_opt_group){"OPTIONS", f->about, HD_ARRAY_LEN(opts)};
}

/* A number of money: whatever its currency. */
#define MONEY(option, variable, unit, text, first)                                                                     \
    {                                                                                                                  \
        .name = (option), .type = HD_OPT_FLOAT, .value = (variable), .metavar = (unit), .max = 1e15, .help = (text),   \
        .initial = (first)                                                                                             \
    }

static hd_opt_group money_group(plan_flags *f)
{
    const hd_opt opts[] = {
        MONEY("tokens-a-day", &f->tokens, "N", "Tokens that are asked for, read and written: adds what they cost.",
              "none: no cost"),
        MONEY("price", &f->price, "MONEY", "Purchase, of all machines together.", "the table's"),
        MONEY("watts", &f->watts, "W", "Power under load, of all machines together.", "the table's"),
        MONEY("electricity", &f->electricity, "MONEY", "Price of a kWh.", NULL),
        MONEY("staff", &f->staff, "MONEY", "People, a year.", NULL),
        {.name = "upkeep",
         .type = HD_OPT_SHARE,
         .value = &f->upkeep,
         .metavar = "SHARE",
         .max = 1,
         .help = "Spare parts and service, a year, as a share of the purchase."},
        {.name = "use",
         .type = HD_OPT_SHARE,
         .value = &f->use,
         .metavar = "SHARE",
         .max = 1,
         .help = "Share of the hours in which the machine draws that power."},
        {.name = "pue",
         .type = HD_OPT_FLOAT,
         .value = &f->overhead,
         .metavar = "X",
         .min = 1,
         .max = 10,
         .help = "Power of the house, cooling among it, for each watt of the machine."},
        {.name = "input-share",
         .type = HD_OPT_SHARE,
         .value = &f->input_share,
         .metavar = "SHARE",
         .max = 1,
         .help = "Share of the tokens that are read."},
        {.name = "cached-share",
         .type = HD_OPT_SHARE,
         .value = &f->cached_share,
         .metavar = "SHARE",
         .max = 1,
         .help = "Share of those that the interface finds in its cache."},
        {.name = "api",
         .type = HD_OPT_STRING,
         .value = &f->api,
         .metavar = "NAME",
         .help = "Prices to compare with, of the table that --machines lists."},
        MONEY("api-input", &f->input, "MONEY", "The interface's price of a million tokens read.", "the table's"),
        MONEY("api-output", &f->output, "MONEY", "The same, written.", "the table's"),
        {.name = "weight",
         .type = HD_OPT_LIST,
         .value = &f->weights,
         .metavar = "CRITERION=N",
         .help = "How much a criterion of the ways to run it counts: control, cost, start, growth, speed, effort, "
                 "offline; 0 to 100."},
        {.name = "html",
         .type = HD_OPT_STRING,
         .value = &f->html,
         .metavar = "FILE",
         .initial = "none",
         .help = "Writes the plan as one printable page with charts, too; a file of that name is replaced."},
    };
    _Static_assert(sizeof f->money == sizeof opts, "the table has its place");
    memcpy(f->money, opts, sizeof opts);
    return (hd_opt_group){"OPTIONS OF COST AND REPORT", f->money, HD_ARRAY_LEN(opts)};
}

/* ---- the machine ---- */

typedef struct place {
    hd_plan_machines *table, *file; /* shipped; the user's, or NULL */
    hd_plan_machine machine;
    int count;
    bool here;
} place;

static bool given(const hd_args *args, const char *name)
{
    return hd_args_given(args, name);
}

static hd_status read_file(hd_plan_machines **out, const char *path, hd_error *err)
{
    json_t *json = NULL;
    hd_buf text;
    HD_TRY(hd_json_parse_file(&json, path, MAX_MACHINE_FILE, err));
    hd_status status = hd_json_dump(json, &text, err); /* one parser for both, behind the file's checks */
    json_decref(json);
    if (status == HD_OK) status = hd_plan_machines_parse(out, path, text.data, text.len, err);
    hd_buf_free(&text);
    return status;
}

static hd_status no_machine(const place *p, const char *name, hd_error *err)
{
    const char *names[64];
    size_t count = HD_MIN(hd_plan_machines_count(p->table), HD_ARRAY_LEN(names));
    for (size_t i = 0; i < count; i++)
        names[i] = hd_plan_machines_at(p->table, i)->name;
    const char *near = hd_suggest(name, names, count);
    return hd_fail(err, HD_E_NOT_FOUND,
                   near ? "--machine %.128s: there is no such machine and no such file; did you mean %s?"
                        : "--machine %.128s: there is no such machine and no such file; 'hadal plan --machines' lists "
                          "them%s",
                   name, near ? near : "");
}

static hd_status machine_of_file(place *p, char *path, hd_error *err)
{
    char *name = strrchr(path, '#');
    if (name) *name++ = '\0';
    HD_TRY(read_file(&p->file, path, err));
    const hd_plan_machine *m = name ? hd_plan_machines_find(p->file, name) : hd_plan_machines_at(p->file, 0);
    if (!m) return hd_fail(err, HD_E_NOT_FOUND, "%s: there is no machine named %.64s", path, name);
    if (!name && hd_plan_machines_count(p->file) > 1)
        return hd_fail(err, HD_E_ARGUMENT, "%s has %zu machines: say which, as %s#%s", path,
                       hd_plan_machines_count(p->file), path, m->name);
    p->machine = *m;
    return HD_OK;
}

static bool is_file(const char *name)
{
    char path[4096];
    struct stat st;
    snprintf(path, sizeof path, "%.*s", (int)HD_MIN(strcspn(name, "#"), sizeof path - 1), name);
    return strchr(name, '/') || stat(path, &st) == 0;
}

static hd_status named_machine(place *p, const char *text, hd_error *err)
{
    size_t len = hd_plan_split_count(text, &p->count);
    if (!len || len > 4000)
        return hd_fail(err, HD_E_ARGUMENT,
                       "--machine %.128s: it must be NAME, NAME:COUNT or FILE:COUNT, 1 to 4096 of them", text);
    char name[4096];
    snprintf(name, sizeof name, "%.*s", (int)len, text);
    const hd_plan_machine *m = hd_plan_machines_find(p->table, name);
    if (m)
        p->machine = *m;
    else if (is_file(name))
        return machine_of_file(p, name, err);
    else
        return no_machine(p, name, err);
    return HD_OK;
}

static hd_status find_place(place *p, const plan_flags *f, hd_error *err)
{
    HD_TRY(hd_plan_machines_open(&p->table, err));
    p->count = 1;
    p->here = !f->machine;
    uint64_t memory = hd_memory_limit();
    p->machine = (hd_plan_machine){.name = "this computer",
                                   .title = hd_cpu_model(),
                                   .kind = "cpu",
                                   .memory = memory ? (double)memory : NAN,
                                   .bandwidth = NAN,
                                   .operations = NAN,
                                   .numbers = "",
                                   .watts = NAN,
                                   .price = NAN,
                                   .currency = "",
                                   .source = "this computer",
                                   .date = "",
                                   .note = ""};
    if (f->machine) HD_TRY(named_machine(p, f->machine, err));
    if (f->memory > 0) p->machine.memory = f->memory * GIGA;
    return HD_OK;
}

/* ---- cost ---- */

static hd_status ask_cost(hd_plan *plan, const plan_flags *f, const hd_args *args, const place *at, hd_error *err)
{
    const hd_plan_machine *m = &at->machine;
    const hd_plan_price *price = hd_plan_price_find(at->table, f->api);
    if (!price)
        return hd_fail(err, HD_E_NOT_FOUND, "--api %.64s: 'hadal plan --machines' lists the prices that there are",
                       f->api);
    if (!given(args, "price") && !isfinite(m->price))
        return hd_fail(err, HD_E_ARGUMENT, "what %s costs is not published: give --price", m->name);
    if (!given(args, "watts") && !isfinite(m->watts))
        return hd_fail(err, HD_E_ARGUMENT, "what %s draws is not published: give --watts", m->name);
    if (!given(args, "price") && strcmp(m->currency, price->currency) != 0)
        return hd_fail(err, HD_E_ARGUMENT, "%s costs %g %s, and --api %s is in %s: give --price in %s", m->name,
                       m->price, m->currency, price->name, price->currency, price->currency);
    plan->costed = true;
    plan->price = given(args, "api-input") || given(args, "api-output") ? NULL : price;
    plan->cost_ask = (hd_plan_cost_ask){
        .machine_price = given(args, "price") ? f->price : m->price * at->count,
        .watts = given(args, "watts") ? f->watts : m->watts * at->count,
        .use = f->use,
        .overhead = f->overhead,
        .electricity = f->electricity,
        .staff = f->staff,
        .upkeep = f->upkeep,
        .tokens_a_day = f->tokens,
        .input_share = f->input_share,
        .cached_share = f->cached_share,
        .input = given(args, "api-input") ? f->input : price->input,
        .cached = given(args, "api-input") ? f->input : price->cached,
        .output = given(args, "api-output") ? f->output : price->output,
        .currency = price->currency,
        .capacity = NAN,
    };
    return HD_OK;
}

/* Tokens a day with as many users as memory holds: writing takes the machine, and reading what it takes beside. */
static void fill_capacity(hd_plan *plan)
{
    hd_plan_cost_ask *c = &plan->cost_ask;
    double users = (double)HD_MIN(plan->fit.most_users, 256);
    double write = users >= 1 ? users / hd_plan_step_seconds(&plan->model, &plan->ask, users) : NAN;
    double seconds = (1 - c->input_share) / write + c->input_share / plan->fit.prefill;
    c->capacity = isfinite(seconds) && seconds > 0 ? 86400 / seconds : NAN;
}

/* ---- the plan ---- */

static hd_status collect(hd_plan *plan, const plan_flags *f, const hd_args *args, const place *at, hd_plan_shapes *s,
                         hd_plan_setup *setup, hd_error *err)
{
    hd_plan_model own;
    const hd_model_config *c = &s->shapes.config;
    setup->context = HD_MIN(f->context, c->context > 0 ? c->context : f->context);
    setup->step = HD_MIN(f->step, setup->context);
    setup->cache_type = f->cache_type;
    HD_TRY(hd_plan_model_of(&plan->model, s, setup, at->here, err));
    HD_TRY(hd_plan_recipes_of(&plan->model.recipes, &plan->model.recipe_count, s, err));
    bool card = strcmp(at->machine.kind, "cpu") != 0;
    plan->ask = (hd_plan_ask){.machine = &at->machine,
                              .count = at->count,
                              .here = at->here,
                              .context = setup->context,
                              .users = f->users,
                              .prompt = setup->step,
                              .rate = f->rate,
                              .reserve = given(args, "reserve") || card ? f->reserve : 0,
                              .rates = hd_plan_assumed_rates()};
    if (!f->no_probe) {
        HD_TRY(hd_plan_model_of(&own, s, setup, true, err));
        HD_TRY(hd_plan_probe(&plan->ask.rates, s, &own, setup, err));
    }
    hd_plan_fit_make(&plan->fit, &plan->model, &plan->ask);
    if (f->tokens > 0) {
        HD_TRY(ask_cost(plan, f, args, at, err));
        fill_capacity(plan);
        hd_plan_cost_make(&plan->cost, &plan->cost_ask);
    }
    hd_plan_modes_default(&plan->modes);
    for (size_t i = 0; i < f->weights.count; i++)
        HD_TRY(hd_plan_modes_weigh(&plan->modes, f->weights.items[i], err));
    hd_plan_modes_rank(&plan->modes);
    return HD_OK;
}

static hd_status print(const hd_plan *plan, const plan_flags *f, hd_error *err)
{
    hd_buf out;
    hd_status status = HD_OK;
    hd_buf_init(&out, MAX_REPORT);
    if (f->html) {
        hd_plan_to_html(&out, plan);
        status = out.status == HD_OK ? hd_file_write(f->html, out.data, out.len, err)
                                     : hd_fail(err, out.status, "no memory for the report");
        hd_buf_clear(&out);
    }
    if (status == HD_OK && f->json)
        status = hd_json_print(stdout, hd_plan_to_json(plan), true, err);
    else if (status == HD_OK) {
        hd_plan_to_text(&out, plan);
        status = out.status == HD_OK ? HD_OK : hd_fail(err, out.status, "no memory for the report");
        if (status == HD_OK) fwrite(out.data, 1, out.len, stdout);
    }
    hd_buf_free(&out);
    return status;
}

static hd_status make_plan(const char *model, const plan_flags *f, const hd_args *args, hd_error *err)
{
    place at = {0};
    hd_plan_shapes shapes = {0};
    hd_plan_setup setup = {0};
    hd_plan plan = {0};
    hd_cpu_tier tier = HD_CPU_AUTO;
    (void)hd_cpu_parse(f->cpu, &tier);
    hd_interrupt_catch(NULL, NULL);
    hd_status status = find_place(&at, f, err);
    if (status == HD_OK) status = hd_kernels_cpu(&setup.backend, tier, err);
    if (status == HD_OK) status = hd_plan_shapes_open(&shapes, model, f->type, err);
    if (status == HD_OK) status = hd_pool_open(&setup.pool, f->threads ? (int)f->threads : hd_cpu_threads(), err);
    if (status == HD_OK) status = collect(&plan, f, args, &at, &shapes, &setup, err);
    if (status == HD_OK) status = print(&plan, f, err);
    hd_interrupt_release();
    hd_free(plan.model.recipes);
    hd_plan_shapes_close(&shapes);
    hd_pool_close(&setup.pool);
    hd_plan_machines_close(&at.file);
    hd_plan_machines_close(&at.table);
    return status;
}

/* ---- the table ---- */

static json_t *number_or_null(double value)
{
    return isfinite(value) ? json_real(value) : json_null();
}

static json_t *table_json(const hd_plan_machines *t)
{
    json_t *machines = json_array(), *prices = json_array();
    for (size_t i = 0; i < hd_plan_machines_count(t); i++) {
        const hd_plan_machine *m = hd_plan_machines_at(t, i);
        json_array_append_new(
            machines, json_pack("{s:s, s:s, s:s, s:o, s:o, s:o, s:s, s:o, s:o, s:s, s:s, s:s, s:s}", "name", m->name,
                                "title", m->title, "kind", m->kind, "memory_bytes", number_or_null(m->memory),
                                "bandwidth_bytes_per_second", number_or_null(m->bandwidth), "operations_per_second",
                                number_or_null(m->operations), "numbers", m->numbers, "power_watts",
                                number_or_null(m->watts), "price", number_or_null(m->price), "currency", m->currency,
                                "source", m->source, "date", m->date, "note", m->note));
    }
    for (size_t i = 0; i < hd_plan_price_count(t); i++) {
        const hd_plan_price *p = hd_plan_price_at(t, i);
        json_array_append_new(prices, json_pack("{s:s, s:s, s:f, s:f, s:f, s:s, s:s}", "name", p->name, "currency",
                                                p->currency, "input", p->input, "cached", p->cached, "output",
                                                p->output, "source", p->source, "date", p->date));
    }
    return json_pack("{s:o, s:o}", "machines", machines, "prices", prices);
}

static void print_table(const hd_plan_machines *t)
{
    char a[HD_PLAN_TEXT], b[HD_PLAN_TEXT], c[HD_PLAN_TEXT], d[HD_PLAN_TEXT];
    printf("%-24s %-11s %12s %12s %14s %8s %12s\n", "MACHINE", "KIND", "MEMORY", "A SECOND", "TOP/S", "WATTS", "PRICE");
    for (size_t i = 0; i < hd_plan_machines_count(t); i++) {
        const hd_plan_machine *m = hd_plan_machines_at(t, i);
        char top[HD_PLAN_TEXT + 16];
        hd_plan_number(a, m->operations / 1e12);
        snprintf(top, sizeof top, "%s%s%s", a, *m->numbers ? " " : "", m->numbers);
        printf("%-24s %-11s %12s %12s %14s", m->name, m->kind, hd_plan_bytes(b, m->memory),
               hd_plan_bytes(c, m->bandwidth), top);
        printf(" %8s", hd_plan_number(d, m->watts));
        printf(" %12s %s\n    %s; read %s\n", hd_plan_number(d, m->price), m->currency, m->source, m->date);
        if (*m->note) printf("    %s\n", m->note);
    }
    printf("\n%-28s %-8s %10s %10s %10s   of a million tokens\n", "PRICES", "IN", "READ", "CACHED", "WRITTEN");
    for (size_t i = 0; i < hd_plan_price_count(t); i++) {
        const hd_plan_price *p = hd_plan_price_at(t, i);
        printf("%-28s %-8s %10g %10g %10g   %s; %s\n", p->name, p->currency, p->input, p->cached, p->output, p->source,
               p->date);
    }
}

static hd_status list_machines(bool json, hd_error *err)
{
    hd_plan_machines *table = NULL;
    HD_TRY(hd_plan_machines_open(&table, err));
    hd_status status = HD_OK;
    if (json)
        status = hd_json_print(stdout, table_json(table), true, err);
    else
        print_table(table);
    hd_plan_machines_close(&table);
    return status;
}

int hd_cmd_plan(int argc, char **argv)
{
    plan_flags f;
    set_defaults(&f);
    hd_opt_group groups[] = {about_group(&f), money_group(&f)};
    hd_args args = {.manual = &manual,
                    .groups = groups,
                    .group_count = HD_ARRAY_LEN(groups),
                    .max_operands = 2,
                    .operand_names = (const char *const[]){"MODEL", "MODEL"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    const char *model = args.operands[0];
    hd_error err = {0};
    hd_status status;
    if (model && strcmp(model, "quantize") == 0) {
        if (!args.operands[1]) return hd_cli_usage(argv[0], "MODEL is missing: whose shapes?");
        return hd_plan_quantize_command(argv[0], args.operands[1], f.json);
    }
    if (args.operands[1])
        return hd_cli_usage(argv[0], "unknown action '%s'; there is quantize, and MODEL alone", model);
    if (f.machines)
        status = list_machines(f.json, &err);
    else if (!model)
        return hd_cli_usage(argv[0], "MODEL is missing: whose shapes?");
    else
        status = make_plan(model, &f, &args, &err);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
