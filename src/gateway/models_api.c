/* gateway/models_api.c: GET /v1/models, one of them, and loading and unloading by request. */
#include <string.h>

#include "gateway/gateway_internal.h"

static const hd_field fields[] = {
    {.name = "model", .shape = &hd_shape_string, .required = true},
    {.name = NULL},
};
const hd_shape hd_model_name_shape = {.kind = HD_SHAPE_OBJECT, .fields = fields, .name = "ModelName"};

static const char *state_name(hd_model_state state)
{
    static const char *const names[] = {[HD_MODEL_UNLOADED] = "unloaded",
                                        [HD_MODEL_LOADING] = "loading",
                                        [HD_MODEL_READY] = "ready",
                                        [HD_MODEL_UNLOADING] = "unloading",
                                        [HD_MODEL_FAILED] = "failed"};
    return names[state];
}

/* All that it has, and which of them new requests get. */
static void write_precisions(hd_buf *out, const hd_model_view *v)
{
    if (!v->precisions[0]) return;
    hd_out_member_string(out, "precision", v->precisions[v->cheaper && v->precisions[1]]);
    hd_out_member_begin(out, "precisions", '[');
    for (size_t i = 0; i < HD_ARRAY_LEN(v->precisions); i++)
        if (v->precisions[i]) hd_out_text(out, v->precisions[i], strlen(v->precisions[i]));
    hd_out_end(out, ']');
}

static void write_model(hd_buf *out, const hd_model_view *v)
{
    hd_out_begin(out, '{');
    hd_out_member_string(out, "id", v->name);
    hd_out_member_string(out, "object", "model");
    hd_out_member_int(out, "created", v->created);
    hd_out_member_string(out, "owned_by", "hadal");
    hd_out_member_string(out, "root", v->root);
    if (v->parent) hd_out_member_string(out, "parent", v->parent);
    hd_out_member_string(out, "status", state_name(v->state));
    if (v->context) hd_out_member_int(out, "max_model_len", v->context);
    write_precisions(out, v);
    hd_out_end(out, '}');
}

static void add_model(void *arg, const hd_model_view *view)
{
    write_model(arg, view);
}

hd_status hd_models_page(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken, (void)err;
    hd_buf out;
    hd_buf_init(&out, (size_t)1 << 24);
    hd_out_begin(&out, '{');
    hd_out_member_string(&out, "object", "list");
    hd_out_member_begin(&out, "data", '[');
    hd_models_list(call->gateway->models, add_model, &out);
    hd_out_end(&out, ']');
    hd_out_end(&out, '}');
    hd_call_reply_json(call, 200, &out);
    return HD_OK;
}

typedef struct search {
    const char *name;
    hd_buf out;
    hd_model_state state;
    bool found;
} search;

static void find_model(void *arg, const hd_model_view *view)
{
    search *s = arg;
    if (strcmp(view->name, s->name) != 0) return;
    s->found = true;
    s->state = view->state;
    write_model(&s->out, view);
}

hd_status hd_model_page(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken;
    search s = {.name = call->name};
    hd_buf_init(&s.out, (size_t)1 << 16);
    hd_models_list(call->gateway->models, find_model, &s);
    if (!s.found) {
        hd_buf_free(&s.out);
        (void)hd_fail(err, HD_E_NOT_FOUND, "there is no model '%s' here; GET /v1/models lists those that are",
                      call->name);
        hd_text_clean(err->text);
        return HD_E_NOT_FOUND;
    }
    hd_call_reply_json(call, 200, &s.out);
    return HD_OK;
}

/* ---- what may take long, or wait for requests that need the workers: a thread of its own does it ---- */

typedef struct change {
    hd_call *call;
    hd_status (*apply)(hd_call *call, hd_error *err);
} change;

static void *run_change(void *arg)
{
    change *c = arg;
    hd_error err;
    if (c->apply(c->call, &err) != HD_OK) hd_call_fail(c->call, &err);
    hd_call_close(c->call);
    hd_free(c);
    return NULL;
}

hd_status hd_call_on_thread(hd_call *call, hd_status (*apply)(hd_call *call, hd_error *err), bool *taken, hd_error *err)
{
    pthread_t thread;
    change *c = hd_calloc(1, sizeof *c);
    if (!c) return hd_fail(err, HD_E_MEMORY, "out of memory");
    *c = (change){.call = call, .apply = apply};
    int rc = pthread_create(&thread, NULL, run_change, c);
    if (rc == 0) {
        *taken = true;
        pthread_detach(thread);
        return HD_OK;
    }
    hd_free(c);
    return hd_fail(err, HD_E_IO, "cannot start a thread: %s", strerror(rc));
}

static hd_status change_model(hd_call *call, bool load, hd_error *err)
{
    const char *name = json_string_value(json_object_get(call->body, "model"));
    hd_models *models = call->gateway->models;
    hd_buf out;
    HD_TRY(load ? hd_models_load(models, name, err) : hd_models_unload(models, name, err));
    hd_buf_init(&out, (size_t)1 << 16);
    hd_out_begin(&out, '{');
    hd_out_member_string(&out, "id", name);
    hd_out_member_string(&out, "status", state_name(load ? HD_MODEL_READY : HD_MODEL_UNLOADED));
    hd_out_end(&out, '}');
    hd_call_reply_json(call, 200, &out);
    return HD_OK;
}

static hd_status load_model(hd_call *call, hd_error *err)
{
    return change_model(call, true, err);
}

static hd_status unload_model(hd_call *call, hd_error *err)
{
    return change_model(call, false, err);
}

hd_status hd_model_load_page(hd_call *call, bool *taken, hd_error *err)
{
    return hd_call_on_thread(call, load_model, taken, err);
}

hd_status hd_model_unload_page(hd_call *call, bool *taken, hd_error *err)
{
    return hd_call_on_thread(call, unload_model, taken, err);
}
