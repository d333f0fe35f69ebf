/* render.h: renders a small template in a test and compares its text and, on request, its trust. */
#ifndef HD_TESTS_RENDER_H
#define HD_TESTS_RENDER_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tokenizer/template.h"
#include "unit/tokenizer/seed.h"

static inline hd_status render_status(const char *source, const char *vars, hd_rendered *out, hd_error *err)
{
    hd_template *t = NULL;
    json_t *json = NULL;
    write_seed(source, vars);
    hd_status status = hd_template_parse(&t, source, strlen(source), err);
    if (status == HD_OK) status = hd_json_parse(&json, vars, strlen(vars), err);
    if (status == HD_OK) status = hd_template_render(t, json, out, err);
    json_decref(json);
    hd_template_free(&t);
    return status;
}

/* `source` with the variables `vars` (a JSON object) must give `want`. */
static inline void check_with(const char *source, const char *vars, const char *want)
{
    hd_rendered r = {0};
    hd_error err = {0};
    if (render_status(source, vars, &r, &err) != HD_OK) fail_msg("%s\n%s", source, err.text);
    const char *got = r.text.data ? r.text.data : "";
    assert_int_equal(r.text.len, r.trusted.len);
    if (r.text.len != strlen(want) || strcmp(got, want) != 0) fail_msg("%s\ngave   %s\nwanted %s", source, got, want);
    hd_rendered_free(&r);
}

static inline void check(const char *source, const char *want)
{
    check_with(source, "{}", want);
}

/* A table of sources and what they must give, all with the same variables. */
typedef struct render_case {
    const char *source, *want;
} render_case;

static inline void check_all(const render_case *cases, size_t n, const char *vars)
{
    for (size_t i = 0; i < n; i++)
        check_with(cases[i].source, vars, cases[i].want);
}

/* The map of trust must be `map`: 't' for each trusted byte, '.' for each other. */
static inline void check_trust(const char *source, const char *vars, const char *want, const char *map)
{
    hd_rendered r = {0};
    hd_error err = {0};
    if (render_status(source, vars, &r, &err) != HD_OK) fail_msg("%s\n%s", source, err.text);
    assert_int_equal(r.text.len, strlen(want));
    assert_int_equal(r.text.len, r.trusted.len);
    assert_memory_equal(r.text.data, want, r.text.len);
    for (size_t i = 0; i < r.text.len; i++)
        if ((r.trusted.data[i] != 0) != (map[i] == 't')) fail_msg("%s\n%s\n%s: byte %zu", source, want, map, i);
    hd_rendered_free(&r);
}

/* Must fail with `status`, and the error's text must hold `part`. */
static inline void check_error_with(const char *source, const char *vars, hd_status status, const char *part)
{
    hd_rendered r = {0};
    hd_error err = {0};
    hd_status got = render_status(source, vars, &r, &err);
    if (got == HD_OK) fail_msg("%s\ngave %s, no error", source, r.text.data ? r.text.data : "");
    if (got != status) fail_msg("%s\ngave status %d (%s), wanted %d", source, got, err.text, status);
    if (!strstr(err.text, part)) fail_msg("%s\nsaid: %s\nwithout: %s", source, err.text, part);
    assert_null(r.text.data);
}

static inline void check_error(const char *source, hd_status status, const char *part)
{
    check_error_with(source, "{}", status, part);
}

#endif
