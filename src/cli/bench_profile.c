/* cli/bench_profile.c: which operators a case spent its time in, and their share of what the machine can do. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "cli/bench.h"

static int by_seconds(const void *a, const void *b)
{
    const hd_profile_row *x = a, *y = b;
    return (x->seconds < y->seconds) - (x->seconds > y->seconds);
}

static hd_profile_row *same_row(hd_bench_profile *p, const hd_profile_row *row)
{
    for (size_t i = 0; i < p->count; i++) {
        hd_profile_row *r = &p->rows[i];
        if (strcmp(r->op, row->op) == 0 && r->type == row->type && r->rows == row->rows && r->cols == row->cols)
            return r;
    }
    return NULL;
}

hd_status hd_bench_profile_take(hd_bench_profile *out, hd_profile *profile, hd_error *err)
{
    size_t count;
    const hd_profile_row *rows = hd_profile_rows(profile, &count);
    if (!out->rows) out->rows = hd_calloc(HD_PROFILE_ROWS_MAX + 1, sizeof *out->rows);
    if (!out->rows) return hd_fail(err, HD_E_MEMORY, "out of memory for the profile");
    for (size_t i = 0; i < count; i++) {
        hd_profile_row *r = same_row(out, &rows[i]);
        if (!r) { /* later repetitions meet the shapes of the first; were there others, the last row takes them */
            if (out->count <= HD_PROFILE_ROWS_MAX) out->rows[out->count++] = rows[i];
            continue;
        }
        r->calls += rows[i].calls;
        r->seconds += rows[i].seconds;
        r->bytes += rows[i].bytes;
        r->read_bytes += rows[i].read_bytes;
        r->operations += rows[i].operations;
    }
    qsort(out->rows, out->count, sizeof *out->rows, by_seconds);
    return HD_OK;
}

static double over(double a, double b)
{
    return b > 0 ? a / b : 0;
}

static hd_profile_row total_of(const hd_bench_profile *p)
{
    hd_profile_row sum = {.op = "all"};
    for (size_t i = 0; i < p->count; i++) {
        sum.calls += p->rows[i].calls;
        sum.seconds += p->rows[i].seconds;
        sum.bytes += p->rows[i].bytes;
        sum.read_bytes += p->rows[i].read_bytes;
        sum.operations += p->rows[i].operations;
    }
    return sum;
}

/* ---- as JSON ---- */

static json_t *row_json(const hd_profile_row *r, const hd_bench_profile *p)
{
    double tokens = (double)p->tokens;
    json_t *o = json_object();
    json_object_set_new(o, "operator", json_string(r->op));
    json_object_set_new(o, "type", r->bytes > 0 ? json_string(hd_type_name(r->type)) : json_null());
    json_object_set_new(o, "rows", json_integer(r->rows));
    json_object_set_new(o, "cols", json_integer(r->cols));
    json_object_set_new(o, "calls", json_integer(r->calls));
    json_object_set_new(o, "seconds_per_token", json_real(over(r->seconds, tokens)));
    json_object_set_new(o, "time_share", json_real(over(r->seconds, p->seconds)));
    json_object_set_new(o, "bytes_per_token", json_real(over(r->bytes, tokens)));
    json_object_set_new(o, "layout_bytes_per_token", json_real(over(r->read_bytes, tokens)));
    json_object_set_new(o, "operations_per_token", json_real(over(r->operations, tokens)));
    return o;
}

/* Rows that one pass of a case computes. */
static int64_t rows_of(const hd_bench_case *c)
{
    return c->decode ? c->batch : c->tokens;
}

json_t *hd_bench_profile_json(const hd_bench_case *c, const hd_bench_machine *m, const char *tier)
{
    const hd_bench_profile *p = &c->profile;
    hd_profile_row all = total_of(p);
    hd_arithmetic kind = hd_bench_peak_kind(m, tier, rows_of(c));
    double peak = kind < HD_ARITHMETIC_COUNT ? m->arithmetic[kind].median : 0;
    json_t *o = json_object(), *list = json_array();
    json_object_set_new(o, "seconds_per_token", json_real(over(p->seconds, (double)p->tokens)));
    json_object_set_new(o, "bytes_per_token", json_real(over(all.bytes, (double)p->tokens)));
    json_object_set_new(o, "layout_bytes_per_token", json_real(over(all.read_bytes, (double)p->tokens)));
    json_object_set_new(o, "operations_per_token", json_real(over(all.operations, (double)p->tokens)));
    json_object_set_new(o, "bandwidth_share", json_real(over(over(all.bytes, p->seconds), m->read.median)));
    json_object_set_new(o, "peak_share", peak > 0 ? json_real(over(all.operations, p->seconds) / peak) : json_null());
    json_object_set_new(o, "outside_operators_share", json_real(over(p->seconds - all.seconds, p->seconds)));
    for (size_t i = 0; i < p->count; i++)
        json_array_append_new(list, row_json(&p->rows[i], p));
    json_object_set_new(o, "operators", list);
    return o;
}

/* ---- as a table ---- */

/* A figure, or a dash where there is none. */
static void print_cell(double value, int width, int digits)
{
    if (value > 0)
        printf(" %*.*f", width, digits, value);
    else
        printf(" %*s", width, "-");
}

static void print_row(const char *name, const hd_profile_row *r, const hd_bench_profile *p, double read, double peak)
{
    printf("  %-32s %7.1f %9.3f %5.1f%%", name, over((double)r->calls, (double)p->steps),
           over(r->seconds, (double)p->tokens) * 1e3, over(r->seconds, p->seconds) * 100);
    print_cell(over(r->bytes, (double)p->tokens) / 1e6, 9, 2);
    print_cell(over(r->bytes, r->seconds) / 1e9, 7, 1);
    print_cell(over(over(r->bytes, r->seconds), read) * 100, 5, 0);
    print_cell(over(r->operations, r->seconds) / 1e9, 8, 1);
    print_cell(over(over(r->operations, r->seconds), peak) * 100, 5, 0);
    putchar('\n');
}

void hd_bench_profile_print(const hd_bench_case *c, const hd_bench_machine *m, const char *tier)
{
    const hd_bench_profile *p = &c->profile;
    hd_profile_row all = total_of(p);
    hd_arithmetic kind = hd_bench_peak_kind(m, tier, rows_of(c));
    double peak = kind < HD_ARITHMETIC_COUNT ? m->arithmetic[kind].median : 0;
    char name[HD_BENCH_NAME];
    printf("\n%s: where the time goes (%%peak is of %s)\n  %-32s %7s %9s %6s %9s %7s %5s %8s %5s\n",
           hd_bench_case_name(name, c), kind < HD_ARITHMETIC_COUNT ? hd_arithmetic_name(kind) : "nothing measured",
           "operator", "calls", "ms/token", "time", "MB/token", "GB/s", "%read", "Gop/s", "%peak");
    for (size_t i = 0; i < p->count; i++) {
        const hd_profile_row *r = &p->rows[i];
        char text[96];
        int len = snprintf(text, sizeof text, "%s", r->op);
        if (r->bytes > 0) len += snprintf(text + len, sizeof text - (size_t)len, " %s", hd_type_name(r->type));
        if (r->rows > 0)
            snprintf(text + len, sizeof text - (size_t)len, " %lldx%lld", (long long)r->rows, (long long)r->cols);
        print_row(text, r, p, m->read.median, peak);
    }
    hd_profile_row outside = {.seconds = p->seconds - all.seconds};
    print_row("outside operators", &outside, p, m->read.median, peak);
    all.seconds = p->seconds;
    print_row("all", &all, p, m->read.median, peak);
}
