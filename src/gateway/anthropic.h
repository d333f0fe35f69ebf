/* gateway/anthropic.h: Anthropic's conversations in OpenAI's form, which the rest of the gateway has. */
#ifndef HD_GATEWAY_ANTHROPIC_H
#define HD_GATEWAY_ANTHROPIC_H

#include "gateway/generation.h"

typedef struct hd_messages_request {
    hd_ask ask;
    hd_str model;
    const json_t *messages, *system, *tools, *tool_choice, *thinking, *stop_sequences;
} hd_messages_request;

/* The prompt of a request that was checked.  out->ids is the caller's. */
hd_status hd_anthropic_prompt(hd_call *call, const hd_messages_request *request, hd_prompt *out, hd_error *err);

/* Whether the request lets the model call tools. */
bool hd_anthropic_has_tools(const hd_messages_request *request);

#endif
