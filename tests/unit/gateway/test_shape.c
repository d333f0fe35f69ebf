/* Requests checked against tables: types, ranges, choices, alternatives, paths in errors; binding; schemas. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "base/base.h"
#include "gateway/shape.h"

typedef struct record {
    bool flag;
    int64_t count;
    double share;
    hd_str name;
    const json_t *list;
} record;

static const hd_shape share = {.kind = HD_SHAPE_NUMBER, .min = 0, .max = 1};
static const hd_shape word = {.kind = HD_SHAPE_STRING, .choices = "low|high"};
static const hd_shape texts = {.kind = HD_SHAPE_LIST, .min = 1, .max = 2, .items = &hd_shape_string};
static const hd_field part_fields[] = {{.name = "type", .shape = &word, .required = true}, {.name = NULL}};
static const hd_shape part = {.kind = HD_SHAPE_OBJECT, .fields = part_fields, .name = "Part"};
static const hd_shape parts = {.kind = HD_SHAPE_LIST, .items = &part};
static const hd_shape *const any[] = {&hd_shape_string, &parts, NULL};
static const hd_shape text_or_parts = {.kind = HD_SHAPE_ANY_OF, .any = any};
static const hd_shape c_text = {.kind = HD_SHAPE_STRING, .min = 1, .max = 3, .no_nul = true};
static const hd_shape c_texts = {.kind = HD_SHAPE_LIST, .items = &c_text};
static const hd_shape *const stop_any[] = {&c_text, &c_texts, NULL};
static const hd_shape stop = {.kind = HD_SHAPE_ANY_OF, .any = stop_any};
static const hd_shape biases = {.kind = HD_SHAPE_MAP, .items = &share};
static const hd_field fields[] = {
    {.name = "flag", .shape = &hd_shape_bool, HD_BIND(record, flag)},
    {.name = "count", .shape = &hd_shape_count, HD_BIND(record, count), .required = true, .doc = "How many."},
    {.name = "share", .shape = &share, HD_BIND(record, share)},
    {.name = "name", .shape = &word, HD_BIND(record, name)},
    {.name = "list", .shape = &texts, HD_BIND(record, list)},
    {.name = "content", .shape = &text_or_parts},
    {.name = "biases", .shape = &biases},
    {.name = "stop", .shape = &stop},
    {.name = NULL},
};
static const hd_shape shape = {.kind = HD_SHAPE_OBJECT, .fields = fields, .name = "Record"};

static json_t *parse(const char *text)
{
    json_t *value = NULL;
    assert_int_equal(hd_json_parse(&value, text, strlen(text), NULL), HD_OK);
    return value;
}

static void test_good_ones_pass(void **state)
{
    (void)state;
    static const char *const good[] = {
        "{\"count\": 1}",
        "{\"count\": 2.0, \"flag\": null, \"share\": 1, \"unknown\": [[1]]}", /* null is "not given"; 2.0 is an integer
                                                                               */
        "{\"count\": 1, \"name\": \"high\", \"list\": [\"a\", \"b\"], \"content\": \"x\"}",
        "{\"count\": 1, \"content\": [{\"type\": \"low\", \"more\": 1}], \"biases\": {\"7\": 0.5}}",
        "{\"count\": 1, \"content\": []}",
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(good); i++) {
        json_t *value = parse(good[i]);
        assert_int_equal(hd_shape_check(&shape, value, NULL, NULL), HD_OK);
        json_decref(value);
    }
}

static void test_bad_ones_name_their_place(void **state)
{
    (void)state;
    static const struct {
        const char *body, *path, *text;
    } bad[] = {
        {"[]", "", "the body: must be an object"},
        {"{}", "count", "count: is missing"},
        {"{\"count\": null}", "count", "count: must be an integer"},
        {"{\"count\": true}", "count", "count: must be an integer"},
        {"{\"count\": 1.5}", "count", "count: must be an integer"},
        {"{\"count\": 0}", "count", "count: it must be between 1 and 2147483647"},
        {"{\"count\": 1, \"flag\": 0}", "flag", "flag: must be true or false"},
        {"{\"count\": 1, \"share\": \"1\"}", "share", "share: must be a number"},
        {"{\"count\": 1, \"share\": 1.01}", "share", "share: it must be between 0 and 1"},
        {"{\"count\": 1, \"name\": \"lo\"}", "name", "name: must be one of low|high"},
        {"{\"count\": 1, \"name\": \"low|high\"}", "name", "name: must be one of low|high"},
        {"{\"count\": 1, \"list\": []}", "list", "list: its length must be between 1 and 2"},
        {"{\"count\": 1, \"list\": [\"a\", 1]}", "list[1]", "list[1]: must be a string"},
        {"{\"count\": 1, \"content\": 5}", "content", "content: must be a string or a list of objects"},
        {"{\"count\": 1, \"content\": [{\"type\": \"low\"}, {}]}", "content[1].type", "content[1].type: is missing"},
        {"{\"count\": 1, \"stop\": \"\"}", "stop", "stop: its length must be between 1 and 3"},
        {"{\"count\": 1, \"stop\": \"a\\u0000b\"}", "stop", "stop: must not have the character U+0000"},
        {"{\"count\": 1, \"stop\": [\"a\", \"\\u0000\"]}", "stop[1]", "stop[1]: must not have the character U+0000"},
        {"{\"count\": 1, \"stop\": 1}", "stop", "stop: must be a string or a list of strings"},
        {"{\"count\": 1, \"biases\": {\"a\\nb\": 2}}", "biases.a?b", "biases.a?b: it must be between 0 and 1"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        json_t *value = parse(bad[i].body);
        char path[HD_SHAPE_PATH];
        hd_error err;
        assert_int_equal(hd_shape_check(&shape, value, path, &err), HD_E_ARGUMENT);
        assert_string_equal(path, bad[i].path);
        assert_string_equal(err.text, bad[i].text);
        json_decref(value);
    }
}

/* A path that is longer than its place is cut, never overrun. */
static void test_long_paths_are_cut(void **state)
{
    (void)state;
    char body[700] = "{\"count\": 1, \"biases\": {\"", path[HD_SHAPE_PATH];
    size_t len = strlen(body);
    memset(body + len, 'x', 500);
    snprintf(body + len + 500, sizeof body - len - 500, "\": 9}}");
    json_t *value = parse(body);
    hd_error err;
    assert_int_equal(hd_shape_check(&shape, value, path, &err), HD_E_ARGUMENT);
    assert_int_equal(strlen(path), HD_SHAPE_PATH - 1);
    json_decref(value);
}

static void test_binding(void **state)
{
    (void)state;
    record r = {.count = -1, .share = 0.25};
    json_t *value = parse("{\"count\": 3.0, \"flag\": true, \"share\": null, \"name\": \"low\", \"list\": [\"a\"]}");
    hd_shape_bind(&shape, value, &r);
    assert_true(r.flag);
    assert_int_equal(r.count, 3);
    assert_true(r.share == 0.25);
    assert_int_equal(r.name.len, 3);
    assert_memory_equal(r.name.data, "low", 3);
    assert_int_equal(json_array_size(r.list), 1);
    json_decref(value);
}

static void test_schema(void **state)
{
    (void)state;
    hd_buf out;
    hd_buf_init(&out, 10000);
    hd_shape_schema(&out, &part, false);
    assert_string_equal(out.data, "{\"$ref\":\"#/components/schemas/Part\"}");
    hd_buf_clear(&out);
    hd_shape_schema(&out, &shape, true);
    json_t *schema = parse(out.data), *count, *list;
    assert_string_equal(json_string_value(json_array_get(json_object_get(schema, "required"), 0)), "count");
    count = json_object_get(json_object_get(schema, "properties"), "count");
    assert_string_equal(json_string_value(json_object_get(count, "description")), "How many.");
    assert_int_equal(json_array_size(json_object_get(count, "anyOf")), 1); /* a required field can't be null */
    list = json_object_get(json_object_get(schema, "properties"), "list");
    assert_int_equal(json_array_size(json_object_get(list, "anyOf")), 2);
    json_decref(schema);
    hd_buf_free(&out);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good_ones_pass),
        cmocka_unit_test(test_bad_ones_name_their_place),
        cmocka_unit_test(test_long_paths_are_cut),
        cmocka_unit_test(test_binding),
        cmocka_unit_test(test_schema),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
