/* gateway/conversation.h: conversations as API clients write them, as the prompt that the model's template makes. */
#ifndef HD_GATEWAY_CONVERSATION_H
#define HD_GATEWAY_CONVERSATION_H

#include "gateway/generation.h"

/* Shapes of OpenAI's messages and tools. */
extern const hd_shape hd_shape_messages, hd_shape_tools;

/* The prompt of `messages` (OpenAI's form, checked), with `tools` (may be NULL) and further variables of the template
 * (`variables`, an object, may be NULL).  Errors: HD_E_ARGUMENT (what the template or the model can't take; with the
 * field where it is known), HD_E_UNSUPPORTED (no template), HD_E_LIMIT, HD_E_MEMORY.  out->ids is the caller's. */
hd_status hd_conversation_prompt(hd_call *call, const json_t *messages, const json_t *tools, const json_t *variables,
                                 hd_prompt *out, hd_error *err);

#endif
