/* cli/bench_report.c: what `hadal bench MODEL` prints: a line a case as it is measured, or one JSON object. */
#include <stdio.h>
#include <string.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "cli/json.h"

const char *hd_bench_case_name(char name[HD_BENCH_NAME], const hd_bench_case *c)
{
    if (c->decode)
        snprintf(name, HD_BENCH_NAME, "decode %lld at %lld x %lld", (long long)c->tokens, (long long)c->depth,
                 (long long)c->batch);
    else if (c->depth)
        snprintf(name, HD_BENCH_NAME, "prefill %lld at %lld", (long long)c->tokens, (long long)c->depth);
    else
        snprintf(name, HD_BENCH_NAME, "prefill %lld", (long long)c->tokens);
    return name;
}

/* ---- as a table ---- */

void hd_bench_print_head(const hd_bench *b)
{
    printf("model    %s: %s, %.1f M parameters, %.1f MiB\n", b->model, b->info.architecture,
           (double)b->info.parameters / 1e6, (double)b->info.weight_bytes / (1 << 20));
    printf("machine  %s, %d threads, %s, cache %s\n", hd_cpu_model(), b->info.threads, b->info.cpu, b->info.cache_type);
    fflush(stdout);
}

void hd_bench_print_case(const hd_bench *b, const hd_bench_case *c)
{
    char name[HD_BENCH_NAME];
    printf("%-24s %10.2f tokens/s  (%.2f to %.2f)\n", hd_bench_case_name(name, c), c->median, c->rates[0],
           c->rates[b->reps - 1]);
    fflush(stdout); /* a sweep takes minutes, and may be interrupted */
}

void hd_bench_print_tail(const hd_bench *b)
{
    printf("%-24s %10.3f s\n%-24s %10.1f MiB\n%-24s %10.1f MiB\n", "load", b->load_seconds, "memory after load",
           (double)b->memory_after_load / (1 << 20), "peak memory", (double)b->memory_peak / (1 << 20));
}

/* ---- as JSON ---- */

static void set_rates(json_t *o, const char *prefix, const hd_bench_case *c, int64_t reps)
{
    char key[64];
    snprintf(key, sizeof key, "%stokens_per_second", prefix);
    json_object_set_new(o, key, c ? json_real(c->median) : json_null());
    snprintf(key, sizeof key, "%stokens_per_second_range", prefix);
    if (c) json_object_set_new(o, key, json_pack("[f, f]", c->rates[0], c->rates[reps - 1]));
}

static const hd_bench_case *first_case(const hd_bench *b, bool decode)
{
    for (size_t i = 0; i < b->case_count; i++)
        if (b->cases[i].decode == decode) return &b->cases[i];
    return NULL;
}

static json_t *cases_json(const hd_bench *b, const hd_bench_machine *m)
{
    json_t *list = json_array();
    for (size_t i = 0; i < b->case_count; i++) {
        const hd_bench_case *c = &b->cases[i];
        json_t *o = json_object();
        json_object_set_new(o, "test", json_string(c->decode ? "decode" : "prefill"));
        json_object_set_new(o, "tokens", json_integer(c->tokens));
        json_object_set_new(o, "depth", json_integer(c->depth));
        json_object_set_new(o, "batch", json_integer(c->batch));
        set_rates(o, "", c, b->reps);
        if (m) json_object_set_new(o, "profile", hd_bench_profile_json(c, m, b->info.cpu));
        json_array_append_new(list, o);
    }
    return list;
}

static int64_t first_of(const hd_bench_list *list)
{
    return list->count ? list->items[0] : 0;
}

hd_status hd_bench_print_json(const hd_bench *b, const hd_bench_machine *m, hd_error *err)
{
    json_t *o = json_object();
    json_object_set_new(o, "model", hd_json_text(b->model, strlen(b->model)));
    json_object_set_new(o, "architecture", json_string(b->info.architecture));
    json_object_set_new(o, "parameters", json_integer(b->info.parameters));
    json_object_set_new(o, "weight_bytes", json_integer((json_int_t)b->info.weight_bytes));
    json_object_set_new(o, "cpu", json_string(b->info.cpu));
    json_object_set_new(o, "machine", hd_json_text(hd_cpu_model(), strlen(hd_cpu_model())));
    json_object_set_new(o, "cache_type", json_string(b->info.cache_type));
    json_object_set_new(o, "threads", json_integer(b->info.threads));
    json_object_set_new(o, "prefill", json_integer(first_of(&b->prefill)));
    json_object_set_new(o, "decode", json_integer(b->decode));
    json_object_set_new(o, "depth", json_integer(first_of(&b->depth)));
    json_object_set_new(o, "batch", json_integer(first_of(&b->batch)));
    json_object_set_new(o, "repetitions", json_integer(b->reps));
    set_rates(o, "prefill_", first_case(b, false), b->reps);
    set_rates(o, "decode_", first_case(b, true), b->reps);
    json_object_set_new(o, "cases", cases_json(b, m));
    json_object_set_new(o, "load_seconds", json_real(b->load_seconds));
    json_object_set_new(o, "memory_after_load_bytes", json_integer((json_int_t)b->memory_after_load));
    json_object_set_new(o, "peak_memory_bytes", json_integer((json_int_t)b->memory_peak));
    if (m) json_object_set_new(o, "limits", hd_bench_machine_json(m));
    return hd_json_print(stdout, o, false, err);
}
