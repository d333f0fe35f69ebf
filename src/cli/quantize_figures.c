/* cli/quantize_figures.c: how well a quantized model stands in for its original, and how fast both are on this machine.
 *
 * Both models are open together, so that texts go through them side by side and timings alternate; where memory has no
 * room for two, the new one's speed is all that is measured.
 */
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/evaluate.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/quantize.h"
#include "cli/quantize_report.h"
#include "engine/compare.h"

/* Beside the weights: caches, logits, workspaces. */
#define MEMORY_SHARE 0.9

#define PREFILL_TOKENS 128
#define DECODE_TOKENS 16
#define WARM_UP_TOKENS 4
#define ROUNDS_MAX 5
#define ROUNDS_SECONDS 4.0 /* of one kind; a round that was begun is finished */

enum { PREFILL, DECODE, KINDS };

typedef struct figures {
    const hd_figures_wish *wish;
    json_t *report, *left_out;
    hd_engine_flags flags;
    hd_evaluation run; /* own: the new model, other: its original */
    hd_error *err;
} figures;

/* Errors that end the command; any other is a reason to leave something out. */
static hd_status leave_out(figures *f, const char *what, hd_status status, const hd_error *why)
{
    if (status == HD_OK) return HD_OK;
    if (status == HD_E_CANCELLED || hd_interrupted()) return hd_fail(f->err, HD_E_CANCELLED, "interrupted");
    const char *text = why->text[0] ? why->text : hd_status_message(status);
    json_object_set_new(f->left_out, what, hd_json_text(text, strlen(text)));
    return HD_OK;
}

/* ---- opening ---- */

static hd_status check_room(const figures *f, bool both, hd_error *err)
{
    char needed[HD_SIZE_TEXT], there[HD_SIZE_TEXT];
    uint64_t memory = hd_memory_limit(), bytes = f->wish->out_bytes + (both ? f->wish->in_bytes : 0);
    if (!memory || (double)bytes <= MEMORY_SHARE * (double)memory) return HD_OK;
    return hd_fail(err, HD_E_MEMORY,
                   "%s %s of memory, of which this machine has %s; make the report on a larger one: hadal quantize IN "
                   "OUT.gguf --report OUT.json",
                   both ? "the model and its original take" : "the model takes", hd_size_text(needed, bytes),
                   hd_size_text(there, memory));
}

static hd_status open_side(figures *f, bool both, hd_error *why)
{
    hd_eval_side *side = both ? &f->run.other : &f->run.own;
    HD_TRY(check_room(f, both, why));
    return hd_eval_side_open(side, both ? f->wish->in : f->wish->out, &f->flags, why);
}

/* ---- quality ---- */

static hd_status evaluate_ids(figures *f, hd_error *why)
{
    hd_evaluation *e = &f->run;
    e->compares = true;
    e->most = f->wish->window;
    if (e->count < 2)
        return hd_fail(why, HD_E_ARGUMENT, "the text has %lld tokens, none to predict", (long long)e->count);
    HD_TRY(hd_evaluation_prepare(e, why));
    HD_TRY(hd_evaluation_run(e, why));
    if (!e->predicted) return hd_fail(why, HD_E_ARGUMENT, "windows of one token have none to predict");
    hd_divergence kl = hd_evaluation_divergence(e);
    json_t *o = f->report;
    json_object_set_new(o, "perplexity", hd_json_real(hd_evaluation_perplexity(e, &e->own)));
    json_object_set_new(o, "perplexity_original", hd_json_real(hd_evaluation_perplexity(e, &e->other)));
    json_object_set_new(o, "kl_mean", hd_json_real(kl.mean));
    json_object_set_new(o, "kl_median", hd_json_real(kl.median));
    json_object_set_new(o, "kl_p99", hd_json_real(kl.p99));
    json_object_set_new(o, "kl_max", hd_json_real(kl.max));
    json_object_set_new(o, "top1", hd_json_real(kl.top1));
    json_object_set_new(o, "tokens", json_integer(e->count));
    json_object_set_new(o, "predicted_tokens", json_integer((json_int_t)e->predicted));
    json_object_set_new(o, "window", json_integer(e->window));
    json_object_set_new(o, "windows", json_integer((json_int_t)e->windows));
    return HD_OK;
}

static hd_status evaluate(figures *f, hd_error *why)
{
    const hd_figures_wish *w = f->wish;
    int32_t *ids = NULL, first;
    size_t count = 0;
    hd_calibration text = {.text = w->text, .tokens = w->tokens};
    hd_status status = hd_calibration_encode(&text, w->out, &ids, &count, &first, why);
    f->run.ids = ids;
    f->run.count = (int64_t)count;
    if (status == HD_OK) status = evaluate_ids(f, why);
    hd_progress_clear();
    hd_ids_release(ids);
    f->run.ids = NULL;
    return status;
}

/* ---- speed ---- */

typedef struct contest {
    hd_bench *sides[2]; /* the new model, its original */
    size_t count;
    double rates[2][ROUNDS_MAX];
    int64_t rounds;
} contest;

static hd_status begin_side(hd_bench *b, hd_bench_case cases[KINDS], hd_engine *engine, hd_error *err)
{
    b->engine = engine;
    hd_engine_get_info(engine, &b->info);
    int64_t room = HD_MAX(b->info.context / 2, 1);
    cases[PREFILL] = (hd_bench_case){.tokens = HD_MIN(PREFILL_TOKENS, room), .batch = 1};
    cases[DECODE] = (hd_bench_case){.decode = true, .tokens = HD_MIN(DECODE_TOKENS, room), .batch = 1};
    b->cases = cases;
    b->case_count = KINDS;
    return hd_bench_begin(b, err);
}

/* In turn, until the figures are enough: what else the machine does meanwhile falls on both. */
static hd_status time_rounds(contest *c, int kind, hd_error *err)
{
    double seconds;
    for (size_t s = 0; s < c->count; s++) {
        const hd_bench_case *k = &c->sides[s]->cases[kind];
        HD_TRY(hd_bench_time(c->sides[s], k, k->decode ? HD_MIN(k->tokens, WARM_UP_TOKENS) : k->tokens, &seconds, err));
    }
    uint64_t start = hd_clock_ns();
    for (c->rounds = 0; c->rounds < ROUNDS_MAX; c->rounds++) {
        if (c->rounds && hd_seconds_since(start) > ROUNDS_SECONDS) break;
        hd_progress_show("timing", (double)(kind * ROUNDS_MAX + (int)c->rounds) / (KINDS * ROUNDS_MAX));
        for (size_t s = 0; s < c->count; s++) {
            const hd_bench_case *k = &c->sides[s]->cases[kind];
            HD_TRY(hd_bench_time(c->sides[s], k, k->tokens, &seconds, err));
            c->rates[s][c->rounds] = hd_rate(k->tokens, seconds);
        }
    }
    return HD_OK;
}

/* "prefill_tokens_per_second_original" and the like. */
static void set_figure(json_t *o, const char *kind, const char *what, json_t *value)
{
    char key[64];
    snprintf(key, sizeof key, "%s_%s", kind, what);
    json_object_set_new(o, key, value);
}

static hd_status time_all(contest *c, json_t *speed, hd_error *err)
{
    static const char *const names[KINDS] = {"prefill", "decode"};
    for (int kind = 0; kind < KINDS; kind++) {
        HD_TRY(time_rounds(c, kind, err));
        size_t n = (size_t)c->rounds;
        set_figure(speed, names[kind], "tokens_per_second", hd_json_real(hd_compare_median(c->rates[0], n)));
        if (c->count > 1)
            set_figure(speed, names[kind], "tokens_per_second_original",
                       hd_json_real(hd_compare_median(c->rates[1], n)));
        set_figure(speed, names[kind], "tokens", json_integer(c->sides[0]->cases[kind].tokens));
        set_figure(speed, names[kind], "rounds", json_integer(c->rounds));
    }
    return HD_OK;
}

static hd_status measure_speed(figures *f, hd_error *why)
{
    hd_engine *engines[2] = {f->run.own.engine, f->run.other.engine};
    hd_bench_case cases[2][KINDS];
    contest c = {.count = engines[1] ? 2 : 1};
    hd_status status = HD_OK;
    json_t *speed = json_object();
    for (size_t s = 0; s < c.count && status == HD_OK; s++) {
        c.sides[s] = hd_calloc(1, sizeof *c.sides[s]);
        status = c.sides[s] ? begin_side(c.sides[s], cases[s], engines[s], why)
                            : hd_fail(why, HD_E_MEMORY, "no memory to measure the speed");
    }
    if (status == HD_OK) status = time_all(&c, speed, why);
    hd_progress_clear();
    for (size_t s = 0; s < c.count; s++) {
        if (c.sides[s]) hd_bench_end(c.sides[s]);
        hd_free(c.sides[s]);
    }
    if (status == HD_OK)
        json_object_set_new(f->report, "speed", speed);
    else
        json_decref(speed);
    return status;
}

/* ---- all ---- */

static void add_machine(figures *f)
{
    hd_engine_info info = {.threads = (int)f->wish->threads};
    if (f->run.own.engine) hd_engine_get_info(f->run.own.engine, &info);
    json_t *o =
        json_pack("{s:o, s:i}", "cpu", hd_json_text(hd_cpu_model(), strlen(hd_cpu_model())), "threads", info.threads);
    if (o && info.cpu) json_object_set_new(o, "tier", json_string(info.cpu));
    json_object_set_new(f->report, "machine", o);
}

static hd_status add_quality(figures *f, bool other, hd_status opened, const hd_error *why_not)
{
    hd_error why = *why_not;
    hd_status status = opened;
    if (!f->wish->text)
        status = hd_fail(&why, HD_E_ARGUMENT, "%s", f->wish->no_text);
    else if (other)
        status = evaluate(f, &why);
    return leave_out(f, "quality", status, &why);
}

static hd_status measure(figures *f)
{
    hd_error why = {0}, why_speed;
    hd_status status = open_side(f, false, &why), own = status;
    if (status == HD_OK) status = open_side(f, true, &why);
    bool both = status == HD_OK;
    hd_interrupt_catch(hd_evaluation_cancel, &f->run);
    add_machine(f);
    HD_TRY(add_quality(f, both, status, &why));
    why_speed = why;
    if (own == HD_OK) own = measure_speed(f, &why_speed);
    return leave_out(f, "speed", own, &why_speed);
}

hd_status hd_figures_add(json_t *report, const hd_figures_wish *wish, hd_error *err)
{
    figures f = {.wish = wish, .report = report, .left_out = json_object(), .err = err};
    f.flags = (hd_engine_flags){.cpu = wish->cpu, .cache_type = "auto", .threads = wish->threads};
    hd_status status = f.left_out ? measure(&f) : hd_fail(err, HD_E_MEMORY, "no memory for the report");
    hd_interrupt_release();
    hd_evaluation_close(&f.run);
    if (json_object_size(f.left_out)) json_object_set(report, "left_out", f.left_out);
    json_decref(f.left_out);
    return status;
}
