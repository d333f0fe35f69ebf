/* gateway/pages.c: health that tells the truth, the version, and the API's description. */
#include <string.h>

#include "gateway/gateway_internal.h"

/* What health looks at, over all loaded models. */
typedef struct state {
    const hd_gateway *gateway;
    hd_buf *out;
    int models;
    bool stalled;  /* work waits, and no step has ended for stall_seconds */
    bool answered; /* each model has given a token within probe_seconds, or is at it */
} state;

static void look(void *arg, hd_served *model)
{
    state *s = arg;
    hd_scheduler_usage u;
    hd_scheduler_get_usage(model->scheduler, &u);
    uint64_t now = hd_clock_ns(), passed = atomic_load(&model->passed_ns);
    double waited = u.work_since_ns ? (double)(now - u.work_since_ns) / 1e9 : 0;
    double age = passed < now ? (double)(now - passed) / 1e9 : 0;
    bool stalled = waited > s->gateway->options.stall_seconds;
    s->models++;
    s->stalled |= stalled;
    s->answered &= age <= s->gateway->options.probe_seconds || (!stalled && u.running > 0);
    hd_out_begin(s->out, '{');
    hd_out_member_string(s->out, "id", model->name);
    hd_out_member_string(s->out, "precision", model->precision);
    hd_out_member_int(s->out, "running", u.running);
    hd_out_member_int(s->out, "waiting", u.waiting);
    hd_out_key(s->out, "seconds_since_token");
    hd_out_real(s->out, age);
    hd_out_key(s->out, "seconds_without_step");
    hd_out_real(s->out, waited);
    hd_out_end(s->out, '}');
}

static void look_around(hd_gateway *gateway, hd_buf *out, state *s)
{
    *s = (state){.gateway = gateway, .out = out, .answered = true};
    hd_buf_init(out, (size_t)1 << 20);
    hd_out_begin(out, '{');
    hd_out_member_begin(out, "models", '[');
    hd_models_each(gateway->models, look, s);
    hd_out_end(out, ']');
}

bool hd_gateway_is_alive(hd_gateway *gateway)
{
    state s;
    hd_buf out;
    look_around(gateway, &out, &s);
    hd_buf_free(&out);
    return !s.stalled;
}

static void take_pulse(void *arg, hd_served *model)
{
    hd_gateway_pulse *p = arg;
    hd_scheduler_usage u;
    hd_scheduler_get_usage(model->scheduler, &u);
    p->requests += u.running + u.waiting + u.paused;
    p->working |= u.work_since_ns != 0;
    p->steps += (uint64_t)u.steps;
}

void hd_gateway_take_pulse(hd_gateway *gateway, hd_gateway_pulse *out)
{
    *out = (hd_gateway_pulse){.requests = 0};
    hd_models_each(gateway->models, take_pulse, out);
}

static void reply(hd_call *call, hd_buf *out, bool good, const char *status)
{
    hd_out_member_string(out, "status", status);
    hd_out_end(out, '}');
    hd_call_reply_json(call, good ? 200 : 503, out);
}

hd_status hd_page_livez(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken, (void)err;
    state s;
    hd_buf out;
    look_around(call->gateway, &out, &s);
    reply(call, &out, !s.stalled, s.stalled ? "stalled" : "ok");
    return HD_OK;
}

hd_status hd_page_readyz(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken, (void)err;
    state s;
    hd_buf out;
    look_around(call->gateway, &out, &s);
    bool draining = atomic_load(&call->gateway->draining);
    /* with models that are loaded on demand, none needs to be in memory */
    bool waiting = !atomic_load(&call->gateway->opened) && (s.models == 0 || call->gateway->options.early);
    const char *status = draining     ? "draining"
                         : waiting    ? "loading"
                         : s.stalled  ? "stalled"
                         : s.answered ? "ok"
                                      : "no token lately";
    reply(call, &out, !draining && !waiting && !s.stalled && s.answered, status);
    return HD_OK;
}

hd_status hd_page_version(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken, (void)err;
    hd_buf out;
    hd_buf_init(&out, 1024);
    hd_out_begin(&out, '{');
    hd_out_member_string(&out, "version", call->gateway->options.version);
    hd_out_end(&out, '}');
    hd_call_reply_json(call, 200, &out);
    return HD_OK;
}

hd_status hd_page_openapi(hd_call *call, bool *taken, hd_error *err)
{
    (void)taken, (void)err;
    hd_call_reply_text(call, 200, "application/json", &call->gateway->openapi);
    return HD_OK;
}
