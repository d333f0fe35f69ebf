/* fuzz_api.c: a body of an API request, for the route that its first byte names: it must parse and be checked against
 * the route's table, or be refused with a place that is clean text; what passed is written out, and reads back as the
 * same. */
#include <stdlib.h>
#include <string.h>

#include "gateway/anthropic.h"
#include "gateway/gateway_internal.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

static void must(bool holds)
{
    if (!holds) __builtin_trap();
}

static const hd_route *route_of(uint8_t byte)
{
    size_t count = 0, nth;
    for (const hd_route *r = hd_routes; r->method; r++)
        count += r->request != NULL;
    nth = byte % count;
    for (const hd_route *r = hd_routes;; r++)
        if (r->request && nth-- == 0) return r;
}

/* A conversation of Anthropic's in OpenAI's form; without a tokenizer it ends there. */
static void convert(const hd_shape *shape, json_t *body)
{
    hd_served model = {.name = (char *)(uintptr_t) "m"};
    hd_call call = {.model = &model};
    hd_messages_request r = {.messages = NULL};
    hd_prompt prompt = {NULL, 0, false};
    hd_error err;
    hd_ask_init(&r.ask);
    hd_shape_bind(shape, body, &r);
    must(hd_anthropic_prompt(&call, &r, &prompt, &err) != HD_OK);
}

static void write_back(const json_t *body)
{
    hd_buf out;
    json_t *again = NULL;
    hd_buf_init(&out, (size_t)1 << 24);
    hd_out_json(&out, body);
    must(out.status == HD_OK);
    must(hd_json_parse(&again, out.data, out.len, NULL) == HD_OK && json_equal(body, again));
    json_decref(again);
    hd_buf_clear(&out);
    hd_out_text(&out, out.data ? out.data : "", 0);
    hd_buf_free(&out);
}

/* Any bytes as a string of a reply. */
static void write_text(const uint8_t *data, size_t size)
{
    hd_buf out;
    json_t *again = NULL;
    hd_buf_init(&out, (size_t)1 << 24);
    hd_out_begin(&out, '[');
    hd_out_text(&out, (const char *)data, size);
    hd_out_end(&out, ']');
    must(hd_json_parse(&again, out.data, out.len, NULL) == HD_OK);
    json_decref(again);
    hd_buf_free(&out);
}

/* The tables' schemas are written from the same tables. */
static void write_description(void)
{
    static bool written;
    hd_buf page;
    if (written) return;
    written = true;
    must(hd_openapi_write(&page, "1", NULL) == HD_OK);
    hd_buf_free(&page);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    write_description();
    if (size == 0) return 0;
    const hd_route *route = route_of(data[0]);
    json_t *body = NULL;
    char path[HD_SHAPE_PATH];
    hd_error err;
    write_text(data, size);
    if (hd_json_parse(&body, (const char *)data + 1, size - 1, &err) != HD_OK) return 0;
    if (hd_shape_check(route->request, body, path, &err) != HD_OK) {
        must(hd_text_is_utf8(path) && hd_text_is_utf8(err.text) && !strpbrk(path, "\r\n\x1b"));
    } else {
        if (route->flags & HD_ROUTE_ANTHROPIC) convert(route->request, body);
        write_back(body);
    }
    json_decref(body);
    return 0;
}
