/* gateway/prompts.h: prompts that are given as text or as ids, one or several: of completions and embeddings. */
#ifndef HD_GATEWAY_PROMPTS_H
#define HD_GATEWAY_PROMPTS_H

#include "gateway/generation.h"

/* A string, a list of strings, a list of ids, a list of lists of ids. */
extern const hd_shape hd_shape_prompt;

/* Ids of the text as the model begins one (with its first token), special strings being text. */
hd_status hd_prompt_encode(hd_call *call, const char *text, size_t len, bool add_bos, hd_prompt *out, hd_error *err);

/* All prompts of `value`, which is of hd_shape_prompt; `field` is its name, for errors.  *out [*count] is freed with
 * hd_prompts_free. */
hd_status hd_prompts_read(hd_call *call, const json_t *value, const char *field, hd_prompt **out, size_t *count,
                          hd_error *err);

/* A prompt to fill the middle between two texts.  HD_E_ARGUMENT when the model was not taught to. */
hd_status hd_prompt_fim(hd_call *call, hd_str prefix, hd_str suffix, hd_prompt *out, hd_error *err);

#endif
