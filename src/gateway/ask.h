/* gateway/ask.h: what every dialect can ask of an answer, and what that means to the engine. */
#ifndef HD_GATEWAY_ASK_H
#define HD_GATEWAY_ASK_H

#include "gateway/call.h"
#include "gateway/models.h"
#include "gateway/pair.h"

#define HD_STOP_MAX 16     /* stop strings of a request */
#define HD_CHOICES_MAX 128 /* answers to one request, all prompts together */
#define HD_TOP_LOGPROBS 20 /* alternatives per token, as in the OpenAI API */

/* Values that a client may leave out: negative integers and NaN stand for "not given". */
typedef struct hd_ask {
    int64_t n, max_tokens, seed, top_k, priority;
    double temperature, top_p, min_p, repetition_penalty, presence_penalty, frequency_penalty;
    const json_t *stop, *logit_bias, *stream_options;
    bool stream, ignore_eos, return_token_ids;
    bool logprobs;
    int64_t top_logprobs; /* with logprobs */
    bool split_reasoning, parse_tools, echo;
} hd_ask;

void hd_ask_init(hd_ask *ask);

/* Which of a model's two precisions answers; the router reads it (router.c). */
#define HD_PRECISION_FIELD                                                                                             \
    {                                                                                                                  \
        .name = "precision", .shape = &hd_shape_precision,                                                             \
        .doc = "Of a model that is served in two precisions: full, cheaper, or auto, which goes by the load."          \
    }

/* Rows for the tables of dialects whose struct has the hd_ask `member`. */
#define HD_ASK_FIELDS(type, member)                                                                                    \
    {.name = "stream",                                                                                                 \
     .shape = &hd_shape_bool,                                                                                          \
     HD_BIND(type, member.stream),                                                                                     \
     .doc = "Send the answer as server-sent events while it grows."},                                                  \
        {.name = "temperature",                                                                                        \
         .shape = &hd_shape_temperature,                                                                               \
         HD_BIND(type, member.temperature),                                                                            \
         .doc = "0 takes the likeliest token always."},                                                                \
        {.name = "top_p",                                                                                              \
         .shape = &hd_shape_share,                                                                                     \
         HD_BIND(type, member.top_p),                                                                                  \
         .doc = "Only the likeliest tokens that together have this probability."},                                     \
        {.name = "top_k",                                                                                              \
         .shape = &hd_shape_top_k,                                                                                     \
         HD_BIND(type, member.top_k),                                                                                  \
         .doc = "Only this many of the likeliest tokens; 0 or -1: all."},                                              \
        {.name = "min_p",                                                                                              \
         .shape = &hd_shape_share,                                                                                     \
         HD_BIND(type, member.min_p),                                                                                  \
         .doc = "Only tokens of at least this share of the likeliest one's probability."},                             \
        HD_PRECISION_FIELD,                                                                                            \
    {                                                                                                                  \
        .name = "priority", .shape = &hd_shape_priority, HD_BIND(type, member.priority),                               \
        .doc = "Higher goes first; 0 is usual."                                                                        \
    }

#define HD_ASK_OPENAI_FIELDS(type, member)                                                                             \
    HD_ASK_FIELDS(type, member),                                                                                       \
        {.name = "stream_options",                                                                                     \
         .shape = &hd_shape_stream_options,                                                                            \
         HD_BIND(type, member.stream_options),                                                                         \
         .doc = "include_usage: a last event with the usage."},                                                        \
        {.name = "n", .shape = &hd_shape_choices, HD_BIND(type, member.n), .doc = "Answers to give."},                 \
        {.name = "max_tokens",                                                                                         \
         .shape = &hd_shape_count,                                                                                     \
         HD_BIND(type, member.max_tokens),                                                                             \
         .doc = "Tokens that an answer may have."},                                                                    \
        {.name = "seed",                                                                                               \
         .shape = &hd_shape_int,                                                                                       \
         HD_BIND(type, member.seed),                                                                                   \
         .doc = "The same seed and request give the same answer."},                                                    \
        {.name = "stop",                                                                                               \
         .shape = &hd_shape_stop,                                                                                      \
         HD_BIND(type, member.stop),                                                                                   \
         .doc = "Texts that end an answer and are not part of it."},                                                   \
        {.name = "repetition_penalty",                                                                                 \
         .shape = &hd_shape_repetition,                                                                                \
         HD_BIND(type, member.repetition_penalty),                                                                     \
         .doc = "Divides the weight of tokens that were there before; 1: off."},                                       \
        {.name = "presence_penalty", .shape = &hd_shape_penalty, HD_BIND(type, member.presence_penalty)},              \
        {.name = "frequency_penalty", .shape = &hd_shape_penalty, HD_BIND(type, member.frequency_penalty)},            \
        {.name = "logit_bias",                                                                                         \
         .shape = &hd_shape_bias,                                                                                      \
         HD_BIND(type, member.logit_bias),                                                                             \
         .doc = "From token ids to what is added to their logits."},                                                   \
        {.name = "ignore_eos",                                                                                         \
         .shape = &hd_shape_bool,                                                                                      \
         HD_BIND(type, member.ignore_eos),                                                                             \
         .doc = "Go on past the token that ends a text."},                                                             \
    {                                                                                                                  \
        .name = "return_token_ids", .shape = &hd_shape_bool, HD_BIND(type, member.return_token_ids),                   \
        .doc = "Add the ids of the answer's tokens to each choice."                                                    \
    }

extern const hd_shape hd_shape_temperature, hd_shape_share, hd_shape_top_k, hd_shape_priority, hd_shape_stream_options,
    hd_shape_choices, hd_shape_stop, hd_shape_repetition, hd_shape_penalty, hd_shape_bias;

/* The model's own values where the client gave none.  *bias is freed with hd_free, also after an error. */
hd_status hd_ask_sampling(const hd_ask *ask, hd_call *call, hd_sampling *s, hd_logit_bias **bias, hd_error *err);

/* The stop strings; views into the request. */
size_t hd_ask_stops(const hd_ask *ask, const char *stops[HD_STOP_MAX]);

/* How many tokens the answer to a prompt of so many may have.  HD_E_CONTEXT: not one, or fewer than asked for. */
hd_status hd_ask_limit(const hd_ask *ask, hd_call *call, size_t prompt, int64_t configured, int64_t *out,
                       hd_error *err);

#endif
