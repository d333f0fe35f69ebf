/* gateway/call.h: one request on its way through the gateway, and the table of routes.
 *
 * A call is made on the server's thread, goes through the stages of router.c on a worker, and ends with hd_call_close:
 * at once, or, for what the engine answers, when its generation is over.  One thread at a time has it.
 */
#ifndef HD_GATEWAY_CALL_H
#define HD_GATEWAY_CALL_H

#include "base/base.h"
#include "gateway/gateway.h"
#include "gateway/json_out.h"
#include "gateway/shape.h"
#include "gateway/workers.h"

typedef struct hd_call hd_call;
typedef struct hd_served hd_served;

enum {
    HD_ROUTE_OPEN = 1,      /* needs no key */
    HD_ROUTE_MODEL = 2,     /* needs a loaded model: the body's `model`, or the only one */
    HD_ROUTE_ANTHROPIC = 4, /* errors in Anthropic's envelope */
    HD_ROUTE_NOW = 8,       /* quick: answered on the server's thread, also when all workers are busy */
    HD_ROUTE_LOCAL = 16,    /* needs no key from this machine */
    HD_ROUTE_WEIGHTS = 32,  /* its answer depends on the model's weights, not on its tokenizer alone */
    HD_ROUTE_ELASTIC = 64   /* of a model in two precisions the cheaper one may answer under load */
};

typedef struct hd_route {
    const char *method, *path; /* a segment "{model}" stands for a name */
    const char *operation;     /* operationId and label of metrics */
    const char *summary;
    const hd_shape *request; /* NULL: no body */
    const char *response;    /* name of the reply's schema in schemas.json; NULL: none is JSON */
    const char *stream;      /* of its events'; NULL: never streams */
    unsigned flags;
    /* Answers, or fails; the router writes the error.  One whose answer comes later sets *taken: the call is not the
     * router's any more, and may be gone already. */
    hd_status (*run)(hd_call *call, bool *taken, hd_error *err);
} hd_route;

extern const hd_route hd_routes[]; /* ends with one without method */

#define HD_REQUEST_ID 64

struct hd_call {
    hd_job job;
    hd_gateway *gateway;
    hd_exchange *exchange;
    const hd_route *route;
    char id[HD_REQUEST_ID + 1];
    char name[256];            /* the path's {model} */
    hd_api_key key;            /* who asks */
    json_t *body;              /* checked against the route's shape */
    hd_served *model;          /* in use by this call */
    bool keyless;              /* it was refused because no key came with it */
    bool joined;               /* it counts as load of the model's pair */
    hd_lora *lora;             /* the adapter that it named, a reference; NULL: none */
    char adapter[256];         /* its name */
    char param[HD_SHAPE_PATH]; /* the field that an error is about; empty: none */
    int http;                  /* for an error whose status would say another; 0: none */
    char timing[96];           /* value of Server-Timing; empty: none */
    int status;                /* of the reply; 0: none yet */
    hd_status failure;         /* why there is no answer, or only a part of one; HD_OK: it is whole */
    bool counted;              /* the tokens that follow are known */
    int64_t input_tokens, output_tokens;
    struct hd_call_trace *trace; /* NULL: it is not traced (trace.h) */
};

/* ---- replies ---- */

/* Both end the exchange's reply; the call is still to be closed.  `out` is freed. */
void hd_call_reply_json(hd_call *call, int status, hd_buf *out);
void hd_call_reply_text(hd_call *call, int status, const char *type, const hd_buf *out);

/* The error as its HTTP status (or call->http), in the route's envelope. */
void hd_call_fail(hd_call *call, const hd_error *err);

/* The answer to a browser that asks whether it may ask. */
void hd_call_preflight(hd_call *call);

/* Begins a stream of server-sent events. */
hd_status hd_call_begin_stream(hd_call *call);

/* The envelope alone, for errors within a stream. */
void hd_call_write_error(hd_buf *out, const hd_call *call, const hd_error *err);

/* The name of the model, or of the adapter on it, for replies. */
const char *hd_call_model_name(const hd_call *call);

void hd_call_close(hd_call *call);

/* ---- what is told of a call when it ends (report.c) ---- */

/* Its method if it is a known one, else "_OTHER": no word of the client's. */
const char *hd_call_method(const hd_call *call);

/* The tokens that it took. */
void hd_call_count_tokens(hd_call *call, int64_t input, int64_t output);

/* Its line in the log: level info, of pages that are asked for all the time (HD_ROUTE_NOW) debug. */
void hd_call_report(const hd_call *call);

/* Fails naming the field. */
hd_status hd_call_refuse(hd_call *call, hd_error *err, const char *param, const char *fmt, ...) HD_PRINTF(4, 5);

#endif
