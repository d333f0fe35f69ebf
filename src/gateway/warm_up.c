/* gateway/warm_up.c: prompts evaluated when a model is loaded. */
#include "gateway/warm_up.h"

#include <string.h>

#include "base/base.h"
#include "gateway/conversation.h"
#include "gateway/prompts.h"
#include "gateway/served.h"

#define FILE_MAX ((size_t)16 << 20) /* bytes of a list */

/* ---- the list ---- */

static const hd_field fields[] = {
    {.name = "prompt", .shape = &hd_shape_string}, {.name = "messages", .shape = &hd_shape_messages},
    {.name = "tools", .shape = &hd_shape_tools},   {.name = "model", .shape = &hd_shape_string},
    {.name = "key", .shape = &hd_shape_string},    {.name = NULL},
};
static const hd_shape entry = {.kind = HD_SHAPE_OBJECT, .fields = fields};
static const hd_shape entries = {.kind = HD_SHAPE_LIST, .max = 1024, .items = &entry};

static hd_status check(const json_t *list, hd_error *err)
{
    HD_TRY(hd_shape_check(&entries, list, NULL, err));
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        if (!json_object_get(one, "prompt") == !json_object_get(one, "messages"))
            return hd_fail(err, HD_E_ARGUMENT, "[%zu]: either prompt or messages must be there", i);
    }
    return HD_OK;
}

hd_status hd_warm_up_read(json_t **out, const char *path, hd_error *err)
{
    HD_TRY(hd_json_parse_file(out, path, FILE_MAX, err));
    hd_status status = check(*out, err);
    if (status == HD_OK) return HD_OK;
    json_decref(*out);
    *out = NULL;
    return hd_fail_in(err, status, "%s", path);
}

/* ---- evaluating ---- */

static bool is_for(const json_t *one, const char *field, const char *name)
{
    const char *wanted = json_string_value(json_object_get(one, field));
    return !wanted || strcmp(wanted, name) == 0;
}

static hd_status encode(hd_served *s, const json_t *one, hd_prompt *out, hd_error *err)
{
    hd_call call = {.model = s}; /* what prompts are made with; no request is behind it */
    const json_t *text = json_object_get(one, "prompt"), *messages = json_object_get(one, "messages");
    if (messages) return hd_conversation_prompt(&call, messages, json_object_get(one, "tools"), NULL, out, err);
    return hd_prompt_encode(&call, json_string_value(text), json_string_length(text), true, out, err);
}

/* How many tenants it was evaluated for. */
static hd_status evaluate(hd_served *s, hd_api_keys *keys, const json_t *one, const hd_prompt *prompt, int *tenants,
                          hd_error *err)
{
    uint8_t salt[HD_SCHEDULER_SALT] = {0};
    hd_key_row *rows = NULL;
    size_t count = 0;
    *tenants = 0;
    if (!keys) {
        *tenants = 1;
        return hd_served_evaluate(s, prompt->ids, prompt->count, salt, err);
    }
    hd_status status = hd_api_keys_list(keys, &rows, &count, err);
    for (size_t i = 0; status == HD_OK && i < count; i++) {
        if (rows[i].revoked_ms || !is_for(one, "key", rows[i].name)) continue;
        status = hd_api_keys_tenant(keys, rows[i].id, salt, err);
        if (status == HD_OK) status = hd_served_evaluate(s, prompt->ids, prompt->count, salt, err);
        *tenants += status == HD_OK;
    }
    hd_free(rows);
    return status;
}

void hd_warm_up(hd_served *s, hd_api_keys *keys, const json_t *list)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const json_t *one = json_array_get(list, i);
        hd_prompt prompt = {NULL, 0, false};
        hd_error err;
        int tenants = 0;
        if (!is_for(one, "model", s->name)) continue;
        hd_status status = encode(s, one, &prompt, &err);
        if (status == HD_OK) status = evaluate(s, keys, one, &prompt, &tenants, &err);
        if (status != HD_OK)
            hd_log(HD_LOG_WARN, "model %s: prompt %zu of the warm-up list: %s", s->title, i, err.text);
        else
            hd_log(HD_LOG_INFO, "model %s: prompt %zu of the warm-up list: %zu tokens, for %d keys", s->title, i,
                   prompt.count, tenants);
        hd_ids_release(prompt.ids);
    }
}
