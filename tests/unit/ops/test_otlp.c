/* What the environment says of traces, and the queue of spans: bounded, never waiting, every span counted. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "ops/otlp.h"

static const char *variables[8][2];

static char *get(const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(variables); i++)
        if (variables[i][0] && strcmp(variables[i][0], name) == 0) return (char *)(uintptr_t)variables[i][1];
    return NULL;
}

static void set(size_t i, const char *name, const char *value)
{
    variables[i][0] = name;
    variables[i][1] = value;
}

static hd_status read_settings(hd_otlp_settings *out, const char *endpoint, hd_error *err)
{
    const hd_otlp_wishes wishes = {.endpoint = endpoint, .ratio = -1};
    return hd_otlp_settings_read(out, &wishes, get, err);
}

static int clean(void **state)
{
    (void)state;
    memset(variables, 0, sizeof variables);
    return 0;
}

static void test_addresses(void **state)
{
    (void)state;
    static const struct {
        const char *given, *url;
    } cases[] = {{"http://c:4318", "http://c:4318/v1/traces"},   {"http://c:4318/", "http://c:4318/v1/traces"},
                 {"https://c/otlp", "https://c/otlp/v1/traces"}, {"https://c/otlp//", "https://c/otlp/v1/traces"},
                 {"https://c/v1/traces", "https://c/v1/traces"}, {"https://c/v1/traces/", "https://c/v1/traces/"}};
    hd_otlp_settings s;
    hd_error err;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        assert_int_equal(read_settings(&s, cases[i].given, &err), HD_OK);
        assert_string_equal(s.url, cases[i].url);
        hd_otlp_settings_free(&s);
    }
    static const char *const bad[] = {"", "c:4318", "grpc://c:4317", "http://", "http://c/?a=b", "http://c/#x"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        assert_int_equal(read_settings(&s, bad[i], &err), HD_E_ARGUMENT);
        assert_non_null(strstr(err.text, "--otlp-endpoint"));
        hd_otlp_settings_free(&s);
    }
}

static void test_environment(void **state)
{
    (void)state;
    hd_otlp_settings s;
    hd_error err;
    assert_int_equal(read_settings(&s, NULL, &err), HD_OK);
    assert_null(s.url);
    set(0, "OTEL_EXPORTER_OTLP_ENDPOINT", "http://all:1");
    set(1, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "");
    assert_int_equal(read_settings(&s, NULL, &err), HD_OK);
    assert_string_equal(s.url, "http://all:1/v1/traces"); /* an empty one is none */
    assert_true(s.sampler.follows_parent && s.sampler.ratio == 1);
    assert_string_equal(s.service, "hadal");
    assert_int_equal(s.queue, 2048);
    assert_int_equal(s.batch, 512);
    hd_otlp_settings_free(&s);
    set(1, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT", "http://mine:2/x?y");
    set(2, "OTEL_EXPORTER_OTLP_HEADERS", "a=1, b = two%20words ,,c=");
    set(3, "OTEL_RESOURCE_ATTRIBUTES", "service.name=here,x=y");
    set(4, "OTEL_BSP_MAX_QUEUE_SIZE", "100");
    set(5, "OTEL_TRACES_SAMPLER", "traceidratio");
    set(6, "OTEL_TRACES_SAMPLER_ARG", "0.25");
    assert_int_equal(read_settings(&s, NULL, &err), HD_OK);
    assert_string_equal(s.url, "http://mine:2/x?y");
    assert_int_equal(s.headers.count, 3);
    assert_string_equal(s.headers.names[1], "b");
    assert_string_equal(s.headers.values[1], "two words");
    assert_string_equal(s.headers.values[2], "");
    assert_string_equal(s.service, "here");
    assert_int_equal(s.batch, 100);
    assert_true(!s.sampler.follows_parent && s.sampler.ratio == 0.25);
    hd_otlp_settings_free(&s);
}

static void test_bad_environment(void **state)
{
    (void)state;
    static const char *const bad[][2] = {{"OTEL_EXPORTER_OTLP_HEADERS", "s3cret"},
                                         {"OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%0d%0ab"},
                                         {"OTEL_EXPORTER_OTLP_HEADERS", "a=s3cret%"},
                                         {"OTEL_EXPORTER_OTLP_HEADERS", "a b=s3cret"},
                                         {"OTEL_EXPORTER_OTLP_HEADERS", "=s3cret"},
                                         {"OTEL_TRACES_SAMPLER", "jaeger_remote"},
                                         {"OTEL_TRACES_SAMPLER", "parentbased_"},
                                         {"OTEL_BSP_SCHEDULE_DELAY", "0"},
                                         {"OTEL_BSP_SCHEDULE_DELAY", "-1"},
                                         {"OTEL_BSP_MAX_QUEUE_SIZE", "99999999999999999999"},
                                         {"OTEL_EXPORTER_OTLP_TRACES_PROTOCOL", "grpc"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        hd_otlp_settings s;
        hd_error err;
        set(0, bad[i][0], bad[i][1]);
        assert_int_equal(read_settings(&s, "http://c", &err), HD_E_ARGUMENT);
        assert_non_null(strstr(err.text, bad[i][0]));
        assert_null(strstr(err.text, "s3cret"));
        hd_otlp_settings_free(&s);
    }
}

static void test_content_stays_where_it_can_be_read(void **state)
{
    (void)state;
    hd_otlp_settings s;
    hd_error err;
    static const struct {
        const char *url;
        bool fine;
    } cases[] = {{"http://c:4318", false},
                 {"https://c:4318", true},
                 {"http://127.0.0.1:4318", true},
                 {"http://[::1]:4318", true}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        const hd_otlp_wishes wishes = {.endpoint = cases[i].url, .ratio = -1, .content = true};
        assert_int_equal(hd_otlp_settings_read(&s, &wishes, get, &err) == HD_OK, cases[i].fine);
        hd_otlp_settings_free(&s);
    }
}

/* ---- the queue ---- */

#define GIVERS 4
#define EACH 500

static void *give(void *arg)
{
    const hd_span_sink *sink = arg;
    static const uint8_t trace[HD_TRACE_ID] = {1}, id[HD_SPAN_ID] = {2};
    const hd_span span = {.trace_id = trace, .span_id = id, .name = "s", .kind = HD_SPAN_INTERNAL};
    for (int i = 0; i < EACH; i++)
        sink->take(sink->arg, &span);
    return NULL;
}

/* Nobody listens at port 1: whatever is given is lost, and nobody waits for it. */
static void test_queue(void **state)
{
    (void)state;
    hd_otlp_settings s;
    hd_error err;
    hd_otlp *otlp;
    hd_span_counts counts;
    pthread_t threads[GIVERS];
    set(0, "OTEL_BSP_MAX_QUEUE_SIZE", "50");
    assert_int_equal(read_settings(&s, "http://127.0.0.1:1", &err), HD_OK);
    assert_int_equal(hd_otlp_open(&otlp, &s, "1", &err), HD_OK);
    const hd_span_sink *sink = hd_otlp_sink(otlp);
    uint64_t start = hd_clock_ns();
    for (int i = 0; i < GIVERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, give, (void *)(uintptr_t)sink), 0);
    for (int i = 0; i < GIVERS; i++)
        pthread_join(threads[i], NULL);
    assert_true(hd_clock_ns() - start < 5000000000u);
    sink->count(sink->arg, &counts);
    assert_int_equal(counts.exported, 0);
    assert_in_range(counts.dropped, GIVERS * EACH - 2 * 50, GIVERS * EACH); /* some wait, some are being sent */
    start = hd_clock_ns();
    hd_otlp_close(&otlp, 500);
    assert_true(hd_clock_ns() - start < 5000000000u);
    assert_null(otlp);
    hd_otlp_settings_free(&s);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test_setup(test_addresses, clean),
                                       cmocka_unit_test_setup(test_environment, clean),
                                       cmocka_unit_test_setup(test_bad_environment, clean),
                                       cmocka_unit_test_setup(test_content_stays_where_it_can_be_read, clean),
                                       cmocka_unit_test_setup(test_queue, clean)};
    return cmocka_run_group_tests(tests, NULL, NULL);
}
