/* Counters and histograms as Prometheus reads them. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"

static void test_histogram(void **state)
{
    (void)state;
    static const double bounds[] = {0.5, 1, 2.5};
    hd_histogram h;
    hd_buf out;
    hd_buf_init(&out, 1000);
    hd_histogram_init(&h, bounds, 3);
    const double values[] = {0.5, 0.6, 2.5, 100};
    for (size_t i = 0; i < HD_ARRAY_LEN(values); i++)
        hd_histogram_add(&h, values[i]);
    hd_metrics_histogram(&out, "x", "m=\"a\"", &h);
    assert_string_equal(out.data, "x_bucket{m=\"a\",le=\"0.5\"} 1\n"
                                  "x_bucket{m=\"a\",le=\"1\"} 2\n"
                                  "x_bucket{m=\"a\",le=\"2.5\"} 3\n"
                                  "x_bucket{m=\"a\",le=\"+Inf\"} 4\n"
                                  "x_sum{m=\"a\"} 103.6\n"
                                  "x_count{m=\"a\"} 4\n");
    hd_buf_clear(&out);
    hd_metrics_histogram(&out, "x", NULL, &h);
    assert_non_null(strstr(out.data, "x_bucket{le=\"0.5\"} 1\n"));
    assert_non_null(strstr(out.data, "x_count 4\n"));
    hd_buf_free(&out);
}

static void test_samples(void **state)
{
    (void)state;
    hd_buf out, labels;
    hd_buf_init(&out, 1000);
    hd_buf_init(&labels, 1000);
    hd_metrics_label(&labels, "a", "one");
    hd_metrics_label(&labels, "b", "quote\" back\\ line\n");
    assert_string_equal(labels.data, "a=\"one\",b=\"quote\\\" back\\\\ line\\n\"");
    hd_metrics_family(&out, "f", "counter", "Help.");
    hd_metrics_sample(&out, "f", "a=\"1\"", 12345678901.0);
    hd_metrics_sample(&out, "f", NULL, 0.25);
    assert_string_equal(out.data, "# HELP f Help.\n# TYPE f counter\nf{a=\"1\"} 12345678901\nf 0.25\n");
    hd_buf_free(&out);
    hd_buf_free(&labels);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_histogram), cmocka_unit_test(test_samples)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
