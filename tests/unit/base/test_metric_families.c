/* The table of families: names, units, what the page makes of them, and that docs/metrics.md shows all of it. */
#include <ctype.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "base/metric_families.h"

static const char *name_of(int i)
{
    return hd_metric_family_of((hd_metric)i)->name;
}

static void test_names(void **state)
{
    (void)state;
    for (int i = 0; i < HD_METRIC_FAMILY_COUNT; i++) {
        const char *name = name_of(i);
        assert_true(isalpha((unsigned char)name[0]));
        assert_int_equal(strspn(name, "abcdefghijklmnopqrstuvwxyz0123456789_:"), strlen(name));
        for (int k = 0; k < i; k++)
            if (strcmp(name, name_of(k)) == 0) fail_msg("%s stands twice in the table", name);
    }
}

/* Of our own names; those of vLLM are as they are. */
static void test_units(void **state)
{
    static const char *const endings[][2] = {
        {"bytes", "_bytes"}, {"seconds", "_seconds"}, {"ratio", "_ratio"}, {"celsius", "_celsius"},
        {"watts", "_watts"}, {"joules", "_joules"},   {"hertz", "_hertz"}, {"seconds since 1970", "_seconds"}};
    (void)state;
    for (int i = 0; i < HD_METRIC_FAMILY_COUNT; i++) {
        const hd_metric_family *f = hd_metric_family_of((hd_metric)i);
        char base[128];
        if (strncmp(f->name, "vllm:", 5) == 0) continue;
        snprintf(base, sizeof base, "%s", f->name);
        bool total = hd_text_ends_with(base, "_total");
        if (total != (f->type == HD_METRIC_COUNTER)) fail_msg("%s: counters, and only they, end with _total", f->name);
        if (total) base[strlen(base) - strlen("_total")] = '\0';
        for (size_t k = 0; k < HD_ARRAY_LEN(endings); k++)
            if (strcmp(f->unit, endings[k][0]) == 0 && !hd_text_ends_with(base, endings[k][1]))
                fail_msg("%s is in %s and does not say so", f->name, f->unit);
    }
}

static void test_texts(void **state)
{
    (void)state;
    for (int i = 0; i < HD_METRIC_FAMILY_COUNT; i++) {
        const hd_metric_family *f = hd_metric_family_of((hd_metric)i);
        assert_true(f->help[0] && f->unit[0] && f->section[0]);
        assert_true(hd_text_ends_with(f->help, "."));
        assert_null(strpbrk(f->help, "\n\\|"));
        if (i && strcmp(f->section, hd_metric_family_of((hd_metric)(i - 1))->section) == 0) continue;
        for (int k = 0; k < i; k++) /* sections stand together */
            assert_string_not_equal(hd_metric_family_of((hd_metric)k)->section, f->section);
    }
}

static void test_page(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 4096);
    hd_metrics_page page = hd_metrics_page_begin(&out);
    hd_metrics_put(&page, HD_M_CONNECTIONS, NULL, NAN);
    hd_metrics_put(&page, HD_M_CONNECTIONS, NULL, INFINITY);
    assert_int_equal(out.len, 0); /* not even the head of the family */
    hd_metrics_put_by(&page, HD_M_LOAD, "window", "1m", 0.5);
    hd_metrics_put_by(&page, HD_M_LOAD, "window", "5m", NAN);
    hd_metrics_put_by(&page, HD_M_LOAD, "window", "15m", 2);
    hd_metrics_put(&page, HD_M_ACCEPTED, NULL, 3);
    assert_string_equal(out.data, "# HELP hadal:machine_load_average Tasks that run or wait.\n"
                                  "# TYPE hadal:machine_load_average gauge\n"
                                  "hadal:machine_load_average{window=\"1m\"} 0.5\n"
                                  "hadal:machine_load_average{window=\"15m\"} 2\n"
                                  "# HELP hadal:http_connections_total Connections accepted.\n"
                                  "# TYPE hadal:http_connections_total counter\n"
                                  "hadal:http_connections_total 3\n");
    hd_buf_free(&out);
}

/* docs/metrics.md holds the table as it is made now. */
static void test_docs(void **state)
{
    (void)state;
    const char *source = getenv("HD_SOURCE");
    if (!source) skip();
    char path[4096];
    hd_buf docs, table;
    hd_buf_init(&docs, (size_t)1 << 20);
    hd_buf_init(&table, (size_t)1 << 20);
    snprintf(path, sizeof path, "%s/docs/metrics.md", source);
    FILE *f = fopen(path, "r");
    assert_non_null(f);
    char piece[4096];
    for (size_t n; (n = fread(piece, 1, sizeof piece, f)) > 0;)
        assert_int_equal(hd_buf_append(&docs, piece, n), HD_OK);
    fclose(f);
    assert_int_equal(hd_buf_puts(&table, "<!-- families -->\n"), HD_OK);
    hd_metrics_write_markdown(&table);
    assert_int_equal(hd_buf_puts(&table, "<!-- end of families -->\n"), HD_OK);
    if (!strstr(docs.data, table.data))
        fail_msg("docs/metrics.md is not what `hadal metrics --markdown` prints: tools/make-metrics-table mends it");
    hd_buf_free(&docs);
    hd_buf_free(&table);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names), cmocka_unit_test(test_units), cmocka_unit_test(test_texts),
        cmocka_unit_test(test_page),  cmocka_unit_test(test_docs),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
