/* gateway/ask.c: what every dialect can ask of an answer: the shapes of its fields, and their meaning to the engine. */
#include "gateway/ask.h"

#include <float.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"

const hd_shape hd_shape_temperature = {.kind = HD_SHAPE_NUMBER, .min = 0, .max = 100};
const hd_shape hd_shape_share = {.kind = HD_SHAPE_NUMBER, .min = 0, .max = 1};
const hd_shape hd_shape_top_k = {.kind = HD_SHAPE_INT, .min = -1, .max = 2147483647.0};
const hd_shape hd_shape_priority = {.kind = HD_SHAPE_INT, .min = -1000, .max = 1000};
const hd_shape hd_shape_choices = {.kind = HD_SHAPE_INT, .min = 1, .max = HD_CHOICES_MAX};
const hd_shape hd_shape_repetition = {.kind = HD_SHAPE_NUMBER, .min = 0.01, .max = 100};
const hd_shape hd_shape_penalty = {.kind = HD_SHAPE_NUMBER, .min = -2, .max = 2};

static const hd_shape stop_text = {.kind = HD_SHAPE_STRING, .min = 1, .max = 4096, .no_nul = true};
static const hd_shape stop_list = {.kind = HD_SHAPE_LIST, .max = HD_STOP_MAX, .items = &stop_text};
static const hd_shape *const stop_any[] = {&stop_text, &stop_list, NULL};
const hd_shape hd_shape_stop = {.kind = HD_SHAPE_ANY_OF, .any = stop_any};

static const hd_shape bias_value = {.kind = HD_SHAPE_NUMBER, .min = -100, .max = 100};
const hd_shape hd_shape_bias = {.kind = HD_SHAPE_MAP, .items = &bias_value};

static const hd_field stream_options[] = {{.name = "include_usage", .shape = &hd_shape_bool}, {.name = NULL}};
const hd_shape hd_shape_stream_options = {.kind = HD_SHAPE_OBJECT, .fields = stream_options};

void hd_ask_init(hd_ask *ask)
{
    *ask = (hd_ask){.n = 1,
                    .max_tokens = -1,
                    .seed = -1,
                    .top_k = -2,
                    .temperature = NAN,
                    .top_p = NAN,
                    .min_p = NAN,
                    .repetition_penalty = NAN,
                    .presence_penalty = NAN,
                    .frequency_penalty = NAN};
}

/* ---- to the engine's terms ---- */

static void override(float *value, double given)
{
    if (!isnan(given)) *value = (float)given;
}

static hd_status read_bias(hd_call *call, const json_t *map, int32_t vocab, hd_logit_bias **out, size_t *count,
                           hd_error *err)
{
    const char *key;
    json_t *value;
    size_t n = 0;
    *out = hd_alloc_array(json_object_size(map) + 1, sizeof **out);
    if (!*out) return hd_fail(err, HD_E_MEMORY, "out of memory for logit_bias");
    json_object_foreach((json_t *)(uintptr_t)map, key, value)
    {
        char *end;
        long id = strtol(key, &end, 10);
        if (*end || end == key || id < 0 || id >= vocab)
            return hd_call_refuse(call, err, "logit_bias", "its keys must be token ids from 0 to %d", vocab - 1);
        (*out)[n++] = (hd_logit_bias){(int32_t)id, (float)json_number_value(value)};
    }
    *count = n;
    return HD_OK;
}

hd_status hd_ask_sampling(const hd_ask *ask, hd_call *call, hd_sampling *s, hd_logit_bias **bias, hd_error *err)
{
    const hd_served *model = call->model;
    *bias = NULL;
    hd_sampling_defaults(model->engine, s);
    override(&s->temperature, ask->temperature);
    override(&s->top_p, ask->top_p);
    override(&s->min_p, ask->min_p);
    override(&s->repetition_penalty, ask->repetition_penalty);
    override(&s->presence_penalty, ask->presence_penalty);
    override(&s->frequency_penalty, ask->frequency_penalty);
    if (ask->top_k >= -1) s->top_k = (int)HD_MAX(ask->top_k, 0);
    s->seed = ask->seed == -1 ? hd_clock_ns() * 0x9e3779b97f4a7c15u ^ (uint64_t)(uintptr_t)call : (uint64_t)ask->seed;
    if (!ask->logit_bias) return HD_OK;
    hd_status status = read_bias(call, ask->logit_bias, model->info.vocab, bias, &s->bias_count, err);
    s->bias = *bias;
    return status;
}

size_t hd_ask_stops(const hd_ask *ask, const char *stops[HD_STOP_MAX])
{
    if (!ask->stop) return 0;
    if (json_is_string(ask->stop)) {
        stops[0] = json_string_value(ask->stop);
        return 1;
    }
    size_t count = HD_MIN(json_array_size(ask->stop), (size_t)HD_STOP_MAX);
    for (size_t i = 0; i < count; i++)
        stops[i] = json_string_value(json_array_get(ask->stop, i));
    return count;
}

/* Without a limit of the client's: the configured one, or what context and cache leave. */
hd_status hd_ask_limit(const hd_ask *ask, hd_call *call, size_t prompt, int64_t configured, int64_t *out, hd_error *err)
{
    const hd_served *model = call->model;
    int64_t room = model->room, left = room - (int64_t)prompt;
    if (ask->max_tokens >= 0) {
        *out = ask->max_tokens;
        if (ask->max_tokens <= left) return HD_OK;
        return hd_fail(
            err, HD_E_CONTEXT,
            "the prompt has %zu tokens and max_tokens is %lld, together more than the %lld that this model's "
            "context holds",
            prompt, (long long)ask->max_tokens, (long long)room);
    }
    *out = HD_MIN(configured, left);
    if (*out >= 1) return HD_OK;
    return hd_fail(err, HD_E_CONTEXT,
                   "the prompt has %zu tokens; this model's context holds %lld, the answer's included", prompt,
                   (long long)room);
}
