/* The API's description: it is JSON, every reference leads somewhere, every route and status stands in it. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "gateway/gateway_internal.h"

static json_t *page(void)
{
    hd_buf out;
    json_t *value = NULL;
    assert_int_equal(hd_openapi_write(&out, "1.2.3", NULL), HD_OK);
    assert_int_equal(hd_json_parse(&value, out.data, out.len, NULL), HD_OK); /* which refuses keys that come twice */
    hd_buf_free(&out);
    return value;
}

/* Follows "#/a/b/c". */
static const json_t *resolve(const json_t *root, const char *reference)
{
    char part[100];
    assert_int_equal(strncmp(reference, "#/", 2), 0);
    for (const char *at = reference + 2; *at && root;) {
        size_t n = strcspn(at, "/");
        snprintf(part, sizeof part, "%.*s", (int)n, at);
        root = json_object_get(root, part);
        at += n + (at[n] == '/');
    }
    return root;
}

static void check_references(const json_t *root, json_t *value)
{
    const char *key;
    json_t *member;
    size_t i;
    const char *reference = json_string_value(json_object_get(value, "$ref"));
    if (reference && !resolve(root, reference)) fail_msg("%s leads nowhere", reference);
    json_object_foreach(value, key, member) check_references(root, member);
    json_array_foreach(value, i, member) check_references(root, member);
}

static void test_references_lead_somewhere(void **state)
{
    (void)state;
    json_t *root = page();
    check_references(root, root);
    json_decref(root);
}

static void test_every_route_is_described(void **state)
{
    (void)state;
    json_t *root = page();
    assert_string_equal(json_string_value(json_object_get(json_object_get(root, "info"), "version")), "1.2.3");
    for (const hd_route *r = hd_routes; r->method; r++) {
        const json_t *path = json_object_get(json_object_get(root, "paths"), r->path);
        const json_t *operation = json_object_get(path, strcmp(r->method, "GET") == 0 ? "get" : "post");
        const json_t *responses = json_object_get(operation, "responses");
        if (!operation) fail_msg("%s %s is missing", r->method, r->path);
        assert_string_equal(json_string_value(json_object_get(operation, "operationId")), r->operation);
        assert_true((json_object_get(operation, "requestBody") != NULL) == (r->request != NULL));
        assert_non_null(json_object_get(responses, "200"));
        assert_non_null(json_object_get(responses, "400"));
        assert_null(json_object_get(responses, "default"));
    }
    json_decref(root);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_references_lead_somewhere),
        cmocka_unit_test(test_every_route_is_described),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
