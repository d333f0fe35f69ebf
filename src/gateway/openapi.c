/* gateway/openapi.c: the description at /openapi.json (OpenAPI 3.1): from the routes, the tables that check requests,
 * and the replies' schemas in schemas.json. */
#include <string.h>

#include "gateway/gateway_internal.h"
#include "schemas_json.h"

#define PAGE_MAX ((size_t)4 << 20)
#define NAMED_MAX 64 /* shapes with a name; a check of the tests counts them */

static void write_schema_ref(hd_buf *out, const char *name)
{
    hd_buf ref;
    hd_buf_init(&ref, 256);
    (void)hd_buf_printf(&ref, "#/components/schemas/%s", name);
    hd_out_begin(out, '{');
    hd_out_member_string(out, "$ref", ref.data);
    hd_out_end(out, '}');
    hd_buf_free(&ref);
}

static void write_content(hd_buf *out, const char *type, const char *schema)
{
    hd_out_member_begin(out, type, '{');
    hd_out_key(out, "schema");
    if (schema) {
        write_schema_ref(out, schema);
    } else {
        hd_out_begin(out, '{');
        hd_out_member_string(out, "type", "string");
        hd_out_end(out, '}');
    }
    hd_out_end(out, '}');
}

/* The text of an event's data: an object of the stream's kind, or the error that ends it. */
static void write_event_data(hd_buf *out, const char *schema, const char *envelope)
{
    hd_out_begin(out, '{');
    hd_out_member_string(out, "type", "string");
    hd_out_member_string(out, "contentMediaType", "application/json");
    hd_out_member_begin(out, "contentSchema", '{');
    hd_out_member_begin(out, "anyOf", '[');
    write_schema_ref(out, schema);
    write_schema_ref(out, envelope);
    hd_out_end(out, ']');
    hd_out_end(out, '}');
    hd_out_end(out, '}');
}

/* The schema is that of one event.  With OpenAI's API the last one's data is no object. */
static void write_events(hd_buf *out, const hd_route *r, const char *envelope)
{
    hd_out_member_begin(out, "text/event-stream", '{');
    hd_out_member_begin(out, "schema", '{');
    hd_out_member_string(out, "type", "object");
    hd_out_member_string(out, "description", "One of the events.");
    hd_out_member_begin(out, "required", '[');
    hd_out_string(out, "data");
    hd_out_end(out, ']');
    hd_out_member_begin(out, "properties", '{');
    hd_out_member_begin(out, "data", '{');
    hd_out_member_begin(out, "anyOf", '[');
    write_event_data(out, r->stream, envelope);
    if (!(r->flags & HD_ROUTE_ANTHROPIC)) {
        hd_out_begin(out, '{');
        hd_out_member_string(out, "const", "[DONE]");
        hd_out_end(out, '}');
    }
    hd_out_end(out, ']');
    hd_out_end(out, '}');
    hd_out_end(out, '}');
    hd_out_end(out, '}');
    hd_out_end(out, '}');
}

static void begin_response(hd_buf *out, const char *status, const char *about)
{
    hd_out_member_begin(out, status, '{');
    hd_out_member_string(out, "description", about);
    hd_out_member_begin(out, "headers", '{');
    hd_out_member_begin(out, "x-request-id", '{');
    hd_out_member_string(out, "description", "The client's own, or a new one.");
    hd_out_member_begin(out, "schema", '{');
    hd_out_member_string(out, "type", "string");
    hd_out_end(out, '}');
    hd_out_end(out, '}');
    hd_out_end(out, '}');
    hd_out_member_begin(out, "content", '{');
}

static void end_response(hd_buf *out)
{
    hd_out_end(out, '}');
    hd_out_end(out, '}');
}

/* What a route may answer beside 200.  429 and 503 say when to try again. */
static const struct {
    const char *status, *about;
    unsigned needs; /* flags of the route, one of which brings it; 0: every route */
} errors[] = {
    {"400", "The request is malformed; `param` names the field.", 0},
    {"401", "There is no valid key.", 0},
    {"403", "Pages of other origins may not ask.", 0},
    {"404", "There is no such model or path.", 0},
    {"405", "Not this way.", 0},
    {"408", "The request came too slowly.", 0},
    {"413", "The request is too large.", 0},
    {"417", "An expectation that is not met.", 0},
    {"429", "Too many requests wait.", HD_ROUTE_MODEL},
    {"431", "The headers are too large.", 0},
    {"500", "Something failed here.", 0},
    {"503", "Shutting down, out of memory, or the model is lost.", 0},
};

static void write_responses(hd_buf *out, const hd_route *r)
{
    const char *envelope = r->flags & HD_ROUTE_ANTHROPIC ? "AnthropicError" : "Error";
    bool health = r->response && strcmp(r->response, "Health") == 0;
    hd_out_member_begin(out, "responses", '{');
    begin_response(out, "200", "Done.");
    write_content(out, r->response ? "application/json" : "text/plain", r->response);
    if (r->stream) write_events(out, r, envelope);
    end_response(out);
    for (size_t i = 0; i < HD_ARRAY_LEN(errors); i++) {
        if (errors[i].needs && !(r->flags & errors[i].needs)) continue;
        bool own = health && strcmp(errors[i].status, "503") == 0;
        begin_response(out, errors[i].status, own ? "Not healthy." : errors[i].about);
        write_content(out, "application/json", own ? "Health" : envelope);
        end_response(out);
    }
    hd_out_end(out, '}');
}

static void write_request(hd_buf *out, const hd_route *r)
{
    hd_out_member_begin(out, "requestBody", '{');
    hd_out_member_bool(out, "required", true);
    hd_out_member_begin(out, "content", '{');
    write_content(out, "application/json", r->request->name);
    hd_out_end(out, '}');
    hd_out_end(out, '}');
}

static void write_parameter(hd_buf *out)
{
    hd_out_member_begin(out, "parameters", '[');
    hd_out_begin(out, '{');
    hd_out_member_string(out, "name", "model");
    hd_out_member_string(out, "in", "path");
    hd_out_member_bool(out, "required", true);
    hd_out_member_begin(out, "schema", '{');
    hd_out_member_string(out, "type", "string");
    hd_out_member_int(out, "minLength", 1);
    hd_out_end(out, '}');
    hd_out_end(out, '}');
    hd_out_end(out, ']');
}

static void write_operation(hd_buf *out, const hd_route *r)
{
    hd_out_member_begin(out, strcmp(r->method, "GET") == 0 ? "get" : "post", '{');
    hd_out_member_string(out, "operationId", r->operation);
    hd_out_member_string(out, "summary", r->summary);
    if (strchr(r->path, '{')) write_parameter(out);
    if (r->request) write_request(out, r);
    write_responses(out, r);
    hd_out_member_begin(out, "security", '[');
    if (!(r->flags & HD_ROUTE_OPEN)) {
        static const char *const schemes[] = {"bearer", "apiKey"};
        for (size_t i = 0; i < HD_ARRAY_LEN(schemes); i++) {
            hd_out_begin(out, '{');
            hd_out_member_begin(out, schemes[i], '[');
            hd_out_end(out, ']');
            hd_out_end(out, '}');
        }
    }
    hd_out_begin(out, '{'); /* without keys nobody needs one */
    hd_out_end(out, '}');
    hd_out_end(out, ']');
    hd_out_end(out, '}');
}

/* No two routes share a path. */
static void write_paths(hd_buf *out)
{
    hd_out_member_begin(out, "paths", '{');
    for (const hd_route *r = hd_routes; r->method; r++) {
        hd_out_member_begin(out, r->path, '{');
        write_operation(out, r);
        hd_out_end(out, '}');
    }
    hd_out_end(out, '}');
}

/* ---- components ---- */

typedef struct named_shapes {
    const hd_shape *list[NAMED_MAX];
    size_t count;
} named_shapes;

static void note_shape(void *arg, const hd_shape *shape)
{
    named_shapes *n = arg;
    for (size_t i = 0; i < n->count; i++)
        if (n->list[i] == shape) return;
    if (n->count < NAMED_MAX) n->list[n->count++] = shape;
}

static hd_status write_reply_schemas(hd_buf *out, hd_error *err)
{
    json_t *schemas, *schema;
    const char *name;
    HD_TRY(hd_json_parse(&schemas, (const char *)schemas_json, schemas_json_size, err));
    json_object_foreach(schemas, name, schema)
    {
        hd_out_key(out, name);
        hd_out_json(out, schema);
    }
    json_decref(schemas);
    return HD_OK;
}

static void write_security(hd_buf *out)
{
    hd_out_member_begin(out, "securitySchemes", '{');
    hd_out_member_begin(out, "bearer", '{');
    hd_out_member_string(out, "type", "http");
    hd_out_member_string(out, "scheme", "bearer");
    hd_out_end(out, '}');
    hd_out_member_begin(out, "apiKey", '{');
    hd_out_member_string(out, "type", "apiKey");
    hd_out_member_string(out, "in", "header");
    hd_out_member_string(out, "name", "x-api-key");
    hd_out_end(out, '}');
    hd_out_end(out, '}');
}

static hd_status write_components(hd_buf *out, hd_error *err)
{
    named_shapes named = {.count = 0};
    for (const hd_route *r = hd_routes; r->method; r++)
        if (r->request) hd_shape_walk(r->request, note_shape, &named);
    hd_out_member_begin(out, "components", '{');
    hd_out_member_begin(out, "schemas", '{');
    for (size_t i = 0; i < named.count; i++) {
        hd_out_key(out, named.list[i]->name);
        hd_shape_schema(out, named.list[i], true);
    }
    HD_TRY(write_reply_schemas(out, err));
    hd_out_end(out, '}');
    write_security(out);
    hd_out_end(out, '}');
    return HD_OK;
}

hd_status hd_openapi_write(hd_buf *out, const char *version, hd_error *err)
{
    hd_buf_init(out, PAGE_MAX);
    hd_out_begin(out, '{');
    hd_out_member_string(out, "openapi", "3.1.0");
    hd_out_member_begin(out, "info", '{');
    hd_out_member_string(out, "title", "Hadal");
    hd_out_member_string(out, "description", "A private DeepSeek service: OpenAI's and Anthropic's APIs.");
    hd_out_member_string(out, "version", version);
    hd_out_end(out, '}');
    write_paths(out);
    HD_TRY(write_components(out, err));
    hd_out_end(out, '}');
    return out->status == HD_OK ? HD_OK : hd_fail(err, out->status, "the API's description does not fit");
}
