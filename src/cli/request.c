/* cli/request.c: see request.h. */
#include "cli/request.h"

#include <string.h>

#include "cli/input.h"
#include "cli/json.h"

hd_status hd_request_add(json_t *messages, const char *role, const char *content, size_t len, hd_error *err)
{
    json_t *text = hd_json_text(content, len);
    json_t *message = text ? json_pack("{s:s, s:o}", "role", role, "content", text) : NULL;
    if (!message || json_array_append_new(messages, message) != 0)
        return hd_fail(err, HD_E_MEMORY, "out of memory for a message");
    return HD_OK;
}

static hd_status set_var(json_t *request, const char *text, hd_error *err)
{
    const char *equals = strchr(text, '=');
    char name[64] = "";
    if (!equals || equals == text || (size_t)(equals - text) >= sizeof name)
        return hd_fail(err, HD_E_ARGUMENT, "--var: '%s' is not NAME=VALUE, such as enable_thinking=false", text);
    memcpy(name, text, (size_t)(equals - text));
    if (strcmp(name, "messages") == 0)
        return hd_fail(err, HD_E_ARGUMENT,
                       "--var: 'messages' is made of the prompt; 'hadal prompt' takes whole requests");
    json_t *value = NULL;
    hd_error ignored;
    if (hd_json_parse(&value, equals + 1, strlen(equals + 1), &ignored) != HD_OK)
        value = hd_json_text(equals + 1, strlen(equals + 1));
    if (!value || json_object_set_new(request, name, value) != 0)
        return hd_fail(err, HD_E_MEMORY, "out of memory for --var");
    return HD_OK;
}

hd_status hd_request_set_vars(json_t *request, const hd_opt_list *vars, hd_error *err)
{
    for (size_t i = 0; vars && i < vars->count; i++)
        HD_TRY(set_var(request, vars->items[i], err));
    return HD_OK;
}

hd_status hd_request_simple(const char *system, const char *user, size_t user_len, const hd_opt_list *vars, hd_buf *out,
                            hd_error *err)
{
    hd_buf_init(out, HD_INPUT_MAX);
    json_t *messages = json_array(), *request = messages ? json_pack("{s:O}", "messages", messages) : NULL;
    hd_status status = request ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for the request");
    if (status == HD_OK && system) status = hd_request_add(messages, "system", system, strlen(system), err);
    if (status == HD_OK) status = hd_request_add(messages, "user", user, user_len, err);
    if (status == HD_OK) status = hd_request_set_vars(request, vars, err);
    if (status == HD_OK) status = hd_json_dump(request, out, err);
    json_decref(request);
    json_decref(messages);
    return status;
}
