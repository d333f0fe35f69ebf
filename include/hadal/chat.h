/* hadal/chat.h: text around the engine: tokens, chat prompts, incremental decoding and parsing.
 *
 * hd_text is a model's tokenizer with its chat template.  It is immutable: any number of threads may use one.
 */
#ifndef HADAL_CHAT_H
#define HADAL_CHAT_H

#include <stddef.h>
#include <stdint.h>

#include "hadal/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_text hd_text;

/* `path`: a model (file or folder) or a tokenizer.json.  Errors: HD_E_NOT_FOUND, HD_E_FORMAT, HD_E_UNSUPPORTED. */
hd_status hd_text_open(hd_text **out, const char *path, hd_error *err);
void hd_text_close(hd_text **text);

int32_t hd_text_vocab(const hd_text *text);                              /* highest id + 1 */
const int32_t *hd_text_eos(const hd_text *text, size_t *count);          /* ids that end an answer */
bool hd_text_has_template(const hd_text *text);

/* Arrays and strings that these give are freed with hd_ids_release and hd_string_free. */
void hd_ids_release(int32_t *ids);
void hd_string_free(char *string);

/* Ids of UTF-8 text.  parse_special: strings of special tokens become those tokens (for tools; never for text of
 * users).  add_bos: put the model's first token in front where the model wants one. */
hd_status hd_text_encode(const hd_text *text, const char *data, size_t len, bool parse_special, bool add_bos,
                         int32_t **ids, size_t *count, hd_error *err);

/* Text of ids; *out is NUL-terminated, *len its length without. */
hd_status hd_text_decode(const hd_text *text, const int32_t *ids, size_t count, bool show_special, char **out,
                         size_t *len, hd_error *err);

/* The bytes of one token, special or not: maybe a part of a character only.  *out as above. */
hd_status hd_text_token(const hd_text *text, int32_t id, char **out, size_t *len, hd_error *err);

/* Renders a chat prompt.  `request` is a JSON object: messages, tools, add_generation_prompt (default true) and any
 * other template variable.  _render gives the prompt's text, _prompt its ids (strings of the request never become
 * special tokens).  HD_E_UNSUPPORTED when the model has no template. */
hd_status hd_chat_render(const hd_text *text, const char *request, size_t len, char **out, size_t *out_len,
                         hd_error *err);
hd_status hd_chat_prompt(const hd_text *text, const char *request, size_t len, int32_t **ids, size_t *count,
                         hd_error *err);

/* ---- one answer, token by token ---- */

/* Pieces of an answer: ordinary text, or reasoning (between the model's think markers, which are not shown).  The rest
 * only with parse_tools: each call begins once, has any number of pieces of arguments, and ends once, before the next
 * one begins and before any other kind of piece; so a call's index is the number of calls that began before it. */
typedef enum hd_piece_kind {
    HD_PIECE_TEXT,
    HD_PIECE_REASONING,
    HD_PIECE_TOOL_BEGIN,     /* data: the tool's name */
    HD_PIECE_TOOL_ARGUMENTS, /* data: the next piece of the JSON text of the arguments */
    HD_PIECE_TOOL_END        /* len 0: the arguments are one whole JSON object; else data says what is wrong */
} hd_piece_kind;
typedef void (*hd_piece_fn)(void *arg, hd_piece_kind kind, const char *data, size_t len);

typedef struct hd_answer hd_answer;

typedef struct hd_answer_options {
    const char *const *stop;  /* strings that end the answer; they are not shown, and may straddle tokens */
    size_t stop_count;
    bool in_reasoning;        /* the prompt already opened the think block */
    bool split_reasoning;     /* false: think markers are ordinary text */
    bool show_special;        /* special tokens are shown as text */
    bool parse_tools;         /* tool calls come as calls (in reasoning they are reasoning); false, or a model that
                               * hd_text_knows_tools denies: they are text */
} hd_answer_options;

/* Whether the model was taught one of the forms of tool calls that answers are parsed for (docs/templates.md). */
bool hd_text_knows_tools(const hd_text *text);

/* True when a prompt of these ids leaves the model inside a think block. */
bool hd_text_prompt_opens_reasoning(const hd_text *text, const int32_t *ids, size_t count);

hd_status hd_answer_open(hd_answer **out, const hd_text *text, const hd_answer_options *options, hd_piece_fn piece,
                         void *arg, hd_error *err);
void hd_answer_close(hd_answer **answer);

/* Takes the next token; calls `piece` with whole characters as soon as they can't be part of a stop string or marker.
 * *stopped is true once a stop string was seen; later tokens are ignored. */
hd_status hd_answer_push(hd_answer *answer, int32_t id, bool *stopped, hd_error *err);
int hd_answer_stop(const hd_answer *answer); /* index of the stop string that was seen; -1: none */
hd_status hd_answer_finish(hd_answer *answer, hd_error *err); /* gives out what was held back, ends an open call */

#ifdef __cplusplus
}
#endif
#endif
