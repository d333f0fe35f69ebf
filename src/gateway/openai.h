/* gateway/openai.h: what OpenAI's two ways of completing have in common. */
#ifndef HD_GATEWAY_OPENAI_H
#define HD_GATEWAY_OPENAI_H

#include "gateway/generation.h"

/* "stop", "length", "tool_calls" */
const char *hd_openai_finish(const hd_choice *choice);

/* A whole reply, with each choice written by `write`; `kind` "chatcmpl" gives the id chatcmpl-TAG. */
void hd_openai_whole(hd_generation *g, hd_buf *out, const char *kind, const char *object,
                     void (*write)(hd_buf *out, hd_choice *choice));

/* An event of a stream about one choice: begun, in `out`, up to where the choice's object stands, and from there on
 * sent. */
void hd_openai_begin_chunk(hd_buf *out, const hd_generation *g, const char *kind, const char *object);
void hd_openai_end_chunk(hd_buf *out, hd_generation *g);

/* The member `token_ids` with the tokens of records [from, to), when they were asked for. */
void hd_openai_token_ids(hd_buf *out, const hd_choice *choice, size_t from, size_t to);

/* The end of a stream: the usage if it was asked for, and `data: [DONE]`; and an error in it. */
void hd_openai_end(hd_generation *g, const char *kind, const char *object);
void hd_openai_error(hd_generation *g, const hd_error *err);

#define HD_EVENT_MAX ((size_t)16 << 20) /* bytes of one event */

/* A chosen token's log-probability; behind it stand those of its alternatives [top_count]. */
const hd_logprob *hd_choice_record(const hd_choice *choice, size_t index);

/* What clients get for -infinity, which JSON can't say: as vLLM has it. */
double hd_openai_logprob(double logprob);

/* The bytes of a token, freed with hd_string_free; none when the model has no tokenizer. */
void hd_openai_token(const hd_choice *choice, int32_t id, char **text, size_t *len);

#endif
