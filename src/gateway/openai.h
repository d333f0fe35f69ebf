/* gateway/openai.h: what OpenAI's two ways of completing have in common. */
#ifndef HD_GATEWAY_OPENAI_H
#define HD_GATEWAY_OPENAI_H

#include "gateway/generation.h"

/* The member `usage`. */
void hd_openai_usage(hd_buf *out, const hd_generation *g);

/* "stop", "length", "tool_calls" */
const char *hd_openai_finish(const hd_choice *choice);

/* The members that every reply and event begins with; `kind` "chatcmpl" gives the id chatcmpl-TAG. */
void hd_openai_head(hd_buf *out, const hd_generation *g, const char *kind, const char *object);

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
