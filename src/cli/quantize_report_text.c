/* cli/quantize_report_text.c: reports of quantized models as text, for `hadal quantize` and `hadal inspect`. */
#include <stdio.h>
#include <string.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/quantize_report.h"
#include "cli/terminal.h"

static bool find_real(const json_t *o, const char *key, double *out)
{
    const json_t *value = json_object_get(o, key);
    *out = json_number_value(value);
    return json_is_number(value);
}

static bool find_count(const json_t *o, const char *key, uint64_t *out)
{
    const json_t *value = json_object_get(o, key);
    json_int_t n = json_integer_value(value);
    *out = n > 0 ? (uint64_t)n : 0;
    return json_is_integer(value) && n >= 0;
}

static const char *find_text(const json_t *o, const char *key)
{
    return json_string_value(json_object_get(o, key));
}

/* A line's beginning, and a text that we did not make ourselves. */
static void print_label(const char *indent, const char *label)
{
    printf("%s%-12s ", indent, label);
}

static void print_named(const char *indent, const char *label, const char *text)
{
    if (!text) return;
    print_label(indent, label);
    hd_terminal_name(stdout, text, 0);
    putchar('\n');
}

static void print_size(const json_t *o, const char *indent)
{
    char text[HD_SIZE_TEXT];
    uint64_t bytes;
    double bits;
    if (!find_count(o, "bytes", &bytes) || !find_real(o, "bpw", &bits)) return;
    print_label(indent, "size");
    printf("%s, %.2f bits a weight", hd_size_text(text, bytes), bits);
    if (find_count(o, "bytes_before", &bytes) && find_real(o, "bpw_before", &bits))
        printf(" (before: %s, %.2f)", hd_size_text(text, bytes), bits);
    putchar('\n');
}

static void print_what_was_read(const json_t *o, const char *indent)
{
    uint64_t tokens, window;
    const char *text = find_text(o, "text");
    if (!text) return;
    print_label(indent, "text");
    hd_terminal_name(stdout, text, 0);
    if (find_count(o, "tokens", &tokens) && find_count(o, "window", &window))
        printf(", %llu tokens in windows of %llu", (unsigned long long)tokens, (unsigned long long)window);
    putchar('\n');
    if (!json_is_true(json_object_get(o, "text_of_calibration"))) return;
    print_label(indent, "");
    puts("THE TEXT OF CALIBRATION: other texts suffer more; take one of its own with --report-text");
}

static void print_quality(const json_t *o, const char *indent)
{
    double own, original, mean, p99, same;
    if (find_real(o, "perplexity", &own)) {
        print_label(indent, "perplexity");
        printf("%.6g", own);
        if (find_real(o, "perplexity_original", &original) && original > 0)
            printf(", the original's %.6g (%+.2f %%)", original, 100 * (own / original - 1));
        putchar('\n');
    }
    if (find_real(o, "kl_mean", &mean) && find_real(o, "kl_p99", &p99)) {
        print_label(indent, "divergence");
        printf("mean %.4g, 99 %% below %.4g nats\n", mean, p99);
    }
    if (find_real(o, "top1", &same)) {
        print_label(indent, "same token");
        printf("%.2f %% most likely in both\n", 100 * same);
    }
    if (find_real(o, "error", &own)) {
        print_label(indent, "error");
        printf("%.4g of the weights, relative root mean square\n", own);
    }
}

static void print_speed(const json_t *o, const char *indent, const char *label, const char *key,
                        const char *key_original)
{
    double rate, original;
    if (!find_real(o, key, &rate)) return;
    print_label(indent, label);
    printf("%.1f tokens a second", rate);
    if (find_real(o, key_original, &original) && original > 0)
        printf(", the original %.1f (%.2f times as fast)", original, rate / original);
    putchar('\n');
}

static void print_machine(const json_t *o, const char *indent)
{
    uint64_t threads;
    const char *cpu = find_text(o, "cpu"), *tier = find_text(o, "tier");
    if (!cpu) return;
    print_label(indent, "machine");
    hd_terminal_name(stdout, cpu, 0);
    if (find_count(o, "threads", &threads)) printf(", %llu threads", (unsigned long long)threads);
    if (tier) fputs(", ", stdout);
    if (tier) hd_terminal_name(stdout, tier, 0);
    putchar('\n');
}

static void print_left_out(const json_t *o, const char *indent)
{
    const char *quality = find_text(o, "quality"), *speed = find_text(o, "speed");
    if (quality) print_named(indent, "no quality:", quality);
    if (speed) print_named(indent, "no speed:", speed);
}

void hd_report_print_figures(const json_t *o, const char *indent)
{
    uint64_t missing;
    const json_t *speed = json_object_get(o, "speed");
    print_named(indent, "recipe", find_text(o, "recipe"));
    print_named(indent, "state", find_text(o, "state"));
    print_size(o, indent);
    print_quality(o, indent);
    print_what_was_read(o, indent);
    print_speed(speed, indent, "reading", "prefill_tokens_per_second", "prefill_tokens_per_second_original");
    print_speed(speed, indent, "writing", "decode_tokens_per_second", "decode_tokens_per_second_original");
    print_machine(json_object_get(o, "machine"), indent);
    print_left_out(json_object_get(o, "left_out"), indent);
    if (!find_count(o, "tensors_of_other_shapes", &missing) || !missing) return;
    print_label(indent, "note");
    printf("%llu tensors of the original are not there in that shape\n", (unsigned long long)missing);
}

/* ---- tensors ---- */

/* The tensor with the largest error below that of `last`, or as large and behind it in the list; without `last` the
 * largest of all; NULL: none is left. */
static const json_t *next_worst(const json_t *list, const json_t *last, size_t last_index, size_t *index)
{
    const json_t *best = NULL, *t;
    double most = 0, error, limit = 0;
    size_t i;
    (void)find_real(last, "error", &limit);
    json_array_foreach((json_t *)list, i, t)
    {
        bool behind = !last;
        if (!find_real(t, "error", &error) || !(error > 0)) continue;
        if (last) behind = error < limit || (!(limit < error) && i > last_index);
        if (!behind || (best && error <= most)) continue;
        best = t;
        most = error;
        *index = i;
    }
    return best;
}

void hd_report_print_tensors(const json_t *o, size_t most)
{
    const json_t *list = json_object_get(o, "tensors"), *t = NULL;
    double error;
    size_t index = 0;
    for (size_t i = 0; i < most && (t = next_worst(list, t, index, &index)); i++) {
        const char *name = find_text(t, "name"), *type = find_text(t, "type"), *before = find_text(t, "type_before");
        if (i == 0) printf("%-42s %-8s %-8s %10s", "largest errors", "type", "before", "error");
        if (i == 0) puts(json_object_get(t, "weighted_error") ? "   weighted" : "");
        if (!name || !type || !before) return;
        hd_terminal_name(stdout, name, 42);
        (void)find_real(t, "error", &error);
        printf(" %-8s %-8s %10.5f", type, before, error);
        if (find_real(t, "weighted_error", &error)) printf(" %10.5f", error);
        putchar('\n');
    }
}
