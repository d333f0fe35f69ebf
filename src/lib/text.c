/* lib/text.c: a model's tokenizer with its chat template (include/hadal/chat.h). */
#include "lib/text_internal.h"

#include <string.h>

#include "models/adapter.h"

/* ---- opening ---- */

static int32_t find_marker(const hd_tokenizer *tok, hd_answer_marker marker)
{
    const char *text = hd_answer_marker_text(marker);
    return hd_tokenizer_find(tok, text, strlen(text));
}

/* A template that can't be read makes chat prompts fail, not the model: its error is kept for then. */
static hd_status open_template(hd_text *text, hd_error *err)
{
    const char *source = hd_tokenizer_chat_template(text->tok);
    if (!source) return HD_OK;
    hd_status status = hd_template_parse(&text->template, source, strlen(source), &text->template_error);
    if (status != HD_E_MEMORY) return HD_OK;
    if (err) *err = text->template_error;
    return status;
}

hd_status hd_text_open(hd_text **out, const char *path, hd_error *err)
{
    *out = NULL;
    hd_text *text = hd_calloc(1, sizeof *text);
    if (!text) return hd_fail(err, HD_E_MEMORY, "out of memory for a tokenizer");
    hd_status status = hd_adapter_explain(hd_tokenizer_open(&text->tok, path, err), path, err);
    if (status == HD_OK) status = open_template(text, err);
    if (status != HD_OK) {
        hd_text_close(&text);
        return status;
    }
    text->think = find_marker(text->tok, HD_MARKER_THINK);
    text->end_think = find_marker(text->tok, HD_MARKER_END_THINK);
    text->tools = hd_tool_form_of(text->tok);
    *out = text;
    return HD_OK;
}

void hd_text_close(hd_text **text)
{
    if (!*text) return;
    hd_template_free(&(*text)->template);
    if ((*text)->tok) hd_tokenizer_close(&(*text)->tok);
    hd_free(*text);
    *text = NULL;
}

/* ---- facts ---- */

int32_t hd_text_vocab(const hd_text *text)
{
    return hd_tokenizer_vocab_size(text->tok);
}

const int32_t *hd_text_eos(const hd_text *text, size_t *count)
{
    return hd_tokenizer_eos(text->tok, count);
}

bool hd_text_has_template(const hd_text *text)
{
    return hd_tokenizer_chat_template(text->tok) != NULL || hd_tokenizer_is_v4(text->tok);
}

bool hd_text_knows_tools(const hd_text *text)
{
    return text->tools != HD_TOOLS_NONE;
}

void hd_ids_release(int32_t *ids)
{
    hd_free(ids);
}

void hd_string_free(char *string)
{
    hd_free(string);
}

/* ---- text and ids ---- */

static hd_status give_ids(hd_ids *list, hd_status status, int32_t **ids, size_t *count, hd_error *err)
{
    if (status == HD_OK && !list->data) { /* no ids: still something to release */
        list->data = hd_alloc(sizeof *list->data);
        if (!list->data) status = hd_fail(err, HD_E_MEMORY, "out of memory for ids");
    }
    if (status != HD_OK) {
        hd_ids_free(list);
        return status;
    }
    *ids = list->data;
    *count = list->len;
    return HD_OK;
}

hd_status hd_text_encode(const hd_text *text, const char *data, size_t len, bool parse_special, bool add_bos,
                         int32_t **ids, size_t *count, hd_error *err)
{
    hd_ids list = {0};
    hd_status status = HD_OK;
    int32_t bos = hd_tokenizer_bos(text->tok);
    *ids = NULL;
    *count = 0;
    if (add_bos && bos >= 0 && hd_tokenizer_adds_bos(text->tok) && hd_ids_push(&list, bos) != HD_OK)
        status = hd_fail(err, HD_E_MEMORY, "out of memory for ids");
    if (status == HD_OK) status = hd_tokenizer_encode(text->tok, data, len, parse_special, NULL, &list, err);
    return give_ids(&list, status, ids, count, err);
}

/* Gives the buffer's bytes away; an empty buffer becomes an empty string. */
static hd_status give_string(hd_buf *buf, char **out, size_t *len, hd_error *err)
{
    *len = buf->len;
    *out = buf->data ? buf->data : hd_strdup("");
    return *out ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for text");
}

hd_status hd_text_decode(const hd_text *text, const int32_t *ids, size_t count, bool show_special, char **out,
                         size_t *len, hd_error *err)
{
    hd_buf buf;
    *out = NULL;
    *len = 0;
    for (size_t i = 0; i < count; i++)
        if (ids[i] < 0 || ids[i] >= hd_text_vocab(text))
            return hd_fail(err, HD_E_ARGUMENT, "id %d at position %zu is outside of the vocabulary (0 to %d)", ids[i],
                           i, hd_text_vocab(text) - 1);
    hd_buf_init(&buf, SIZE_MAX / 2);
    hd_status status = hd_tokenizer_decode(text->tok, ids, count, show_special, &buf);
    if (status == HD_OK) return give_string(&buf, out, len, err);
    hd_buf_free(&buf);
    return hd_fail(err, status, "out of memory for the text of %zu tokens", count);
}

hd_status hd_text_token(const hd_text *text, int32_t id, char **out, size_t *len, hd_error *err)
{
    hd_buf buf;
    *out = NULL;
    *len = 0;
    if (id < 0 || id >= hd_text_vocab(text))
        return hd_fail(err, HD_E_ARGUMENT, "id %d is outside of the vocabulary (0 to %d)", id, hd_text_vocab(text) - 1);
    hd_buf_init(&buf, SIZE_MAX / 2);
    hd_status status = hd_tokenizer_piece(text->tok, id, true, &buf);
    if (status == HD_OK) return give_string(&buf, out, len, err);
    hd_buf_free(&buf);
    return hd_fail(err, status, "out of memory for the text of a token");
}

/* ---- chat prompts ---- */

static bool set_text(json_t *vars, const char *name, const char *value)
{
    json_object_del(vars, name); /* a request may not bring these: they are trusted */
    return !*value || json_object_set_new(vars, name, json_string(value)) == 0;
}

/* As transformers' apply_chat_template gives the variables: tools and documents are none, not undefined, when they are
 * not given.  add_generation_prompt defaults to true, as in OpenAI-compatible servers: who asks for a chat prompt wants
 * an answer to it. */
static bool fill_vars(const hd_text *text, json_t *vars)
{
    bool good = set_text(vars, "bos_token", hd_tokenizer_bos_text(text->tok)) &&
                set_text(vars, "eos_token", hd_tokenizer_eos_text(text->tok));
    static const char *const optional[] = {"tools", "documents"};
    for (size_t i = 0; i < HD_ARRAY_LEN(optional); i++)
        if (!json_object_get(vars, optional[i]))
            good = good && json_object_set_new(vars, optional[i], json_null()) == 0;
    if (!json_object_get(vars, "add_generation_prompt"))
        good = good && json_object_set_new(vars, "add_generation_prompt", json_true()) == 0;
    return good;
}

static hd_status render_vars(const hd_text *text, json_t *vars, hd_rendered *out, hd_error *err)
{
    if (!json_is_object(vars)) return hd_fail(err, HD_E_ARGUMENT, "a chat request must be a JSON object");
    if (!json_is_array(json_object_get(vars, "messages")))
        return hd_fail(err, HD_E_ARGUMENT, "a chat request needs messages, a list of objects with role and content");
    if (!fill_vars(text, vars)) return hd_fail(err, HD_E_MEMORY, "out of memory for a chat request");
    if (text->template) return hd_template_render(text->template, vars, out, err);
    if (hd_tokenizer_is_v4(text->tok)) return hd_v4_render(vars, out, err);
    if (!hd_tokenizer_chat_template(text->tok))
        return hd_fail(err, HD_E_UNSUPPORTED, "the model has no chat template; complete plain text instead");
    if (err) *err = text->template_error;
    return text->template_error.status;
}

static hd_status render(const hd_text *text, const char *request, size_t len, hd_rendered *out, hd_error *err)
{
    json_t *vars = NULL;
    hd_status status = hd_json_parse(&vars, request, len, err);
    if (status != HD_OK) return hd_fail_in(err, status, "chat request");
    status = render_vars(text, vars, out, err);
    json_decref(vars);
    return status;
}

hd_status hd_chat_render(const hd_text *text, const char *request, size_t len, char **out, size_t *out_len,
                         hd_error *err)
{
    hd_rendered rendered = {0};
    *out = NULL;
    *out_len = 0;
    HD_TRY(render(text, request, len, &rendered, err));
    hd_buf_free(&rendered.trusted);
    return give_string(&rendered.text, out, out_len, err);
}

hd_status hd_chat_prompt(const hd_text *text, const char *request, size_t len, int32_t **ids, size_t *count,
                         hd_error *err)
{
    hd_rendered rendered = {0};
    hd_ids list = {0};
    *ids = NULL;
    *count = 0;
    HD_TRY(render(text, request, len, &rendered, err));
    const char *data = rendered.text.data ? rendered.text.data : "";
    const char *trusted = rendered.trusted.data ? rendered.trusted.data : "";
    hd_status status =
        hd_tokenizer_encode(text->tok, data, rendered.text.len, false, (const uint8_t *)trusted, &list, err);
    hd_rendered_free(&rendered);
    return give_ids(&list, status, ids, count, err);
}
