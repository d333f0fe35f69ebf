/* gateway/adapters_api.c: loading and unloading of adapters by request, as vLLM has it. */
#include "gateway/adapters.h"
#include "gateway/gateway_internal.h"

static const hd_shape name_shape = {.kind = HD_SHAPE_STRING, .min = 1, .max = HD_ADAPTER_NAME, .no_nul = true};
static const hd_shape path_shape = {.kind = HD_SHAPE_STRING, .min = 1, .max = 4096, .no_nul = true};

static const hd_field load_fields[] = {
    {.name = "lora_name", .shape = &name_shape, .required = true, .doc = "The name that requests give as `model`."},
    {.name = "lora_path",
     .shape = &path_shape,
     .required = true,
     .doc = "The adapter, a PEFT folder or a GGUF file, in the folder that the service allows."},
    {.name = "base_model_name", .shape = &hd_shape_string, .doc = "The model that it adapts; the first one."},
    {.name = NULL},
};
const hd_shape hd_lora_load_shape = {.kind = HD_SHAPE_OBJECT, .fields = load_fields, .name = "LoraLoad"};

static const hd_field unload_fields[] = {
    {.name = "lora_name", .shape = &name_shape, .required = true, .doc = "The adapter's name."},
    {.name = NULL},
};
const hd_shape hd_lora_unload_shape = {.kind = HD_SHAPE_OBJECT, .fields = unload_fields, .name = "LoraUnload"};

static const char *text_of(const hd_call *call, const char *key)
{
    const char *text = json_string_value(json_object_get(call->body, key));
    return text ? text : "";
}

static hd_status reply(hd_call *call, const char *state)
{
    hd_buf out;
    hd_buf_init(&out, (size_t)1 << 16);
    hd_out_begin(&out, '{');
    hd_out_member_string(&out, "id", text_of(call, "lora_name"));
    hd_out_member_string(&out, "status", state);
    hd_out_end(&out, '}');
    hd_call_reply_json(call, 200, &out);
    return HD_OK;
}

/* An adapter that is no good is the client's mistake. */
static hd_status as_mistake(hd_call *call, hd_status status, hd_error *err)
{
    if (status == HD_E_DENIED) call->http = 403; /* its files lead out of the folder */
    if (status != HD_E_FORMAT && status != HD_E_LIMIT && status != HD_E_UNSUPPORTED) return status;
    err->status = HD_E_ARGUMENT;
    return HD_E_ARGUMENT;
}

static hd_status load(hd_call *call, hd_error *err)
{
    hd_models *models = call->gateway->models;
    char *path = NULL;
    hd_status status = hd_adapters_confine(hd_models_adapters(models), text_of(call, "lora_path"), &path, err);
    const hd_adapter_wish wish = {.name = text_of(call, "lora_name"), .path = path, .scale = 1.0, .confined = true};
    if (status == HD_OK) status = hd_models_add_lora(models, text_of(call, "base_model_name"), &wish, true, err);
    hd_free(path);
    return status == HD_OK ? reply(call, "ready") : as_mistake(call, status, err);
}

static hd_status unload(hd_call *call, hd_error *err)
{
    hd_adapters *adapters = hd_models_adapters(call->gateway->models);
    hd_status status = hd_adapters_check_allowed(adapters, err);
    if (status != HD_OK) call->http = 403;
    HD_TRY(status);
    HD_TRY(hd_adapters_remove(adapters, text_of(call, "lora_name"), err));
    return reply(call, "unloaded");
}

hd_status hd_lora_load_page(hd_call *call, bool *taken, hd_error *err)
{
    return hd_call_on_thread(call, load, taken, err);
}

hd_status hd_lora_unload_page(hd_call *call, bool *taken, hd_error *err)
{
    return hd_call_on_thread(call, unload, taken, err);
}
