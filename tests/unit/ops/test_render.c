/* tests/unit/ops/test_render.c: templates: what Go's text/template makes of the same, by its documentation. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ops/render.h"

static const char *value(void *arg, const char *path)
{
    static const char *const values[] = {"Values.a", "one",         "Values.yes", "true",         "Values.no",
                                         "false",    "Values.zero", "0",          "Values.empty", ""};
    (void)arg;
    for (size_t i = 0; i < HD_ARRAY_LEN(values); i += 2)
        if (strcmp(values[i], path) == 0) return values[i + 1];
    return NULL;
}

static hd_status render(hd_buf *out, const char *text, hd_error *err)
{
    hd_buf_init(out, 4096);
    return hd_render(out, "test", text, strlen(text), value, NULL, err);
}

static void good_ones(void **state)
{
    static const char *const cases[] = {
        "plain { text } }\n",
        "plain { text } }\n",
        "{{ .Values.a }}",
        "one",
        "{{.Values.a|quote}}x",
        NULL, /* words need spaces here */
        "x: {{ .Values.a | quote }}\n",
        "x: \"one\"\n",
        "a  {{- .Values.a -}}  b",
        NULL, /* a dash needs white space */
        "a  {{- .Values.a}}  b",
        NULL,
        "a  {{- .Values.a -}}\n  b",
        NULL,
        "a\n  {{- if .Values.yes }}\n  b\n  {{- end }}\nc\n",
        "a\n  b\nc\n",
        "a\n{{- if .Values.no }}\nb\n{{- end }}\nc\n",
        "a\nc\n",
        "{{- if .Values.no }}x{{- else }}y{{- end }}",
        "y",
        "{{- if not .Values.no }}x{{- else }}y{{- end }}",
        "x",
        "{{- if .Values.zero }}x{{- end }}{{- if .Values.empty }}y{{- end }}{{- if .Values.a }}z{{- end }}",
        "z",
        "{{- if .Values.no }}{{- if .Values.yes }}a{{- else }}b{{- end }}{{- else }}c{{- end }}",
        "c",
        "{{- if .Values.yes }}{{- if .Values.no }}a{{- else }}b{{- end }}{{- else }}c{{- end }}",
        "b",
        "a {{/* nothing */}}b",
        "a b",
        "{{ .Values.a -}}  \n  b",
        "oneb",
        "${X:-{{ .Values.a }}}",
        "${X:-one}",
    };
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i += 2) {
        hd_buf out;
        hd_error err = {0};
        hd_status status = render(&out, cases[i], &err);
        if (cases[i + 1]) {
            if (status != HD_OK) fail_msg("%s: %s", cases[i], err.text);
            assert_string_equal(out.data ? out.data : "", cases[i + 1]);
        }
        hd_buf_free(&out);
    }
}

static void bad_ones(void **state)
{
    static const char *const cases[] = {
        "{{ .Values.a",
        "{{ if .Values.a }}",
        "{{ end }}",
        "{{ else }}",
        "{{ if .Values.a }}{{ else }}{{ else }}{{ end }}",
        "{{ }}",
        "{{}}",
        "{{ Values.a }}",
        "{{ .Values.a | upper }}",
        "{{ .Values.a | quote | quote }}",
        "{{ range .Values.a }}",
        "{{ if .Values.a .Values.a }}{{ end }}",
        "{{ end .Values.a }}",
    };
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_buf out;
        hd_error err = {0};
        if (render(&out, cases[i], &err) != HD_E_FORMAT) fail_msg("%s was taken", cases[i]);
        assert_non_null(strstr(err.text, "test, line 1"));
        hd_buf_free(&out);
    }
}

static void a_missing_value_is_named(void **state)
{
    hd_buf out;
    hd_error err = {0};
    (void)state;
    assert_int_equal(render(&out, "a\nb {{ .Values.gone }}", &err), HD_E_NOT_FOUND);
    assert_non_null(strstr(err.text, "line 2"));
    assert_non_null(strstr(err.text, ".Values.gone"));
    hd_buf_free(&out);
}

static void a_full_buffer_is_told(void **state)
{
    hd_buf out;
    hd_error err = {0};
    (void)state;
    hd_buf_init(&out, 3);
    assert_int_equal(hd_render(&out, "test", "abcdef", 6, value, NULL, &err), HD_E_LIMIT);
    hd_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(good_ones),
        cmocka_unit_test(bad_ones),
        cmocka_unit_test(a_missing_value_is_named),
        cmocka_unit_test(a_full_buffer_is_told),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
