/* gateway/tokens_api.c: POST /tokenize and /detokenize, in vLLM's and llama.cpp's words. */
#include <string.h>

#include "gateway/conversation.h"
#include "gateway/gateway_internal.h"
#include "gateway/prompts.h"

typedef struct tokenize_request {
    hd_str model, prompt, content;
    const json_t *messages, *tools, *variables;
    bool add_special_tokens, return_token_strs;
} tokenize_request;

static const hd_field tokenize_fields[] = {
    {.name = "model",
     .shape = &hd_shape_string,
     HD_BIND(tokenize_request, model),
     .doc = "Without it: the first model."},
    {.name = "prompt", .shape = &hd_shape_string, HD_BIND(tokenize_request, prompt), .doc = "The text."},
    {.name = "content",
     .shape = &hd_shape_string,
     HD_BIND(tokenize_request, content),
     .doc = "Another name of prompt."},
    {.name = "messages",
     .shape = &hd_shape_messages,
     HD_BIND(tokenize_request, messages),
     .doc = "A conversation instead."},
    {.name = "tools", .shape = &hd_shape_tools, HD_BIND(tokenize_request, tools)},
    {.name = "chat_template_kwargs", .shape = &hd_shape_object, HD_BIND(tokenize_request, variables)},
    {.name = "add_special_tokens",
     .shape = &hd_shape_bool,
     HD_BIND(tokenize_request, add_special_tokens),
     .doc = "Begin a text as the model does; default true."},
    {.name = "return_token_strs",
     .shape = &hd_shape_bool,
     HD_BIND(tokenize_request, return_token_strs),
     .doc = "Add each token's text."},
    {.name = NULL},
};
const hd_shape hd_tokenize_shape = {.kind = HD_SHAPE_OBJECT, .fields = tokenize_fields, .name = "TokenizeRequest"};

static const hd_shape id = {.kind = HD_SHAPE_INT, .min = 0, .max = 2147483647.0};
static const hd_shape ids = {.kind = HD_SHAPE_LIST, .max = 16777216, .items = &id};
static const hd_field detokenize_fields[] = {
    {.name = "model", .shape = &hd_shape_string, .doc = "Without it: the first model."},
    {.name = "tokens", .shape = &ids, .required = true},
    {.name = NULL},
};
const hd_shape hd_detokenize_shape = {
    .kind = HD_SHAPE_OBJECT, .fields = detokenize_fields, .name = "DetokenizeRequest"};

static hd_status need_tokenizer(const hd_call *call, hd_error *err)
{
    if (call->model->text) return HD_OK;
    return hd_fail(err, HD_E_UNSUPPORTED, "the model '%s' has no tokenizer", call->model->name);
}

static void write_strings(hd_buf *out, const hd_call *call, const hd_prompt *prompt)
{
    hd_out_member_begin(out, "token_strs", '[');
    for (size_t i = 0; i < prompt->count; i++) {
        char *text = NULL;
        size_t len = 0;
        (void)hd_text_token(call->model->text, prompt->ids[i], &text, &len, NULL);
        hd_out_text(out, text ? text : "", len);
        hd_string_free(text);
    }
    hd_out_end(out, ']');
}

static hd_status read_tokens(hd_call *call, const tokenize_request *r, hd_prompt *out, hd_error *err)
{
    hd_str text = r->prompt.data ? r->prompt : r->content;
    if (r->messages) return hd_conversation_prompt(call, r->messages, r->tools, r->variables, out, err);
    if (!text.data) return hd_call_refuse(call, err, "prompt", "is missing, and there are no messages either");
    return hd_text_encode(call->model->text, text.data, text.len, false, r->add_special_tokens, &out->ids, &out->count,
                          err);
}

hd_status hd_tokenize(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken;
    tokenize_request r = {.add_special_tokens = true};
    hd_prompt prompt = {NULL, 0, false};
    hd_buf out;
    hd_shape_bind(&hd_tokenize_shape, call->body, &r);
    HD_TRY(need_tokenizer(call, err));
    HD_TRY(read_tokens(call, &r, &prompt, err));
    hd_buf_init(&out, (size_t)1 << 30);
    hd_out_begin(&out, '{');
    hd_out_member_int(&out, "count", (int64_t)prompt.count);
    hd_out_member_int(&out, "max_model_len", call->model->info.context);
    hd_out_key(&out, "tokens");
    hd_out_ids(&out, prompt.ids, prompt.count);
    if (r.return_token_strs) write_strings(&out, call, &prompt);
    hd_out_end(&out, '}');
    hd_ids_release(prompt.ids);
    hd_call_reply_json(call, 200, &out);
    return HD_OK;
}

static hd_status decode(hd_call *call, const json_t *list, char **text, size_t *len, hd_error *err)
{
    size_t count = json_array_size(list);
    int32_t *tokens = hd_alloc_array(count, sizeof *tokens);
    if (!tokens) return hd_fail(err, HD_E_MEMORY, "out of memory for %zu ids", count);
    for (size_t i = 0; i < count; i++)
        tokens[i] = (int32_t)json_number_value(json_array_get(list, i));
    hd_status status = hd_text_decode(call->model->text, tokens, count, true, text, len, err);
    hd_free(tokens);
    return status;
}

hd_status hd_detokenize(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken;
    char *text = NULL;
    size_t len = 0;
    hd_buf out;
    HD_TRY(need_tokenizer(call, err));
    HD_TRY(decode(call, json_object_get(call->body, "tokens"), &text, &len, err));
    hd_buf_init(&out, (size_t)1 << 30);
    hd_out_begin(&out, '{');
    hd_out_member_text(&out, "prompt", text, len);
    hd_out_member_text(&out, "content", text, len); /* llama.cpp's word */
    hd_out_end(&out, '}');
    hd_string_free(text);
    hd_call_reply_json(call, 200, &out);
    return HD_OK;
}
