/* gateway/traffic.h: what is counted of requests on their way through the gateway, whichever model answers.
 *
 * Counting is lock-free and may be done by any thread.  What is counted by route goes by the table of routes: a path
 * that is in no row counts as "other", and so does a method that the table does not know, whatever a client says.
 */
#ifndef HD_GATEWAY_TRAFFIC_H
#define HD_GATEWAY_TRAFFIC_H

#include "base/metric_families.h"
#include "hadal/scheduler.h"

struct hd_call;
struct hd_generation;

#define HD_TRAFFIC_ROUTES 48 /* rows of hd_routes that are told apart; the last place is for paths without a row */
#define HD_TRAFFIC_METHODS 5
#define HD_TRAFFIC_CLASSES 6
#define HD_TRAFFIC_DIALECTS 3
#define HD_TRAFFIC_KINDS 4    /* of tokens */
#define HD_TRAFFIC_FINISHES 4 /* stop, length, abort, error */

/* Why a request got no answer. */
typedef enum hd_refusal {
    HD_REFUSED_PATH,      /* there is nothing */
    HD_REFUSED_METHOD,    /* there is, but not that way */
    HD_REFUSED_BROWSER,   /* a page of another site */
    HD_REFUSED_NO_KEY,    /* none came with it */
    HD_REFUSED_WRONG_KEY, /* unknown or revoked */
    HD_REFUSED_DRAINING,  /* the service is shutting down */
    HD_REFUSED_BODY,      /* no JSON, or fields that are none */
    HD_REFUSED_MODEL,     /* unknown, or it could not be loaded */
    HD_REFUSED_PRECISION, /* the model has no such one */
    HD_REFUSED_REQUEST,   /* by the dialect: what is asked can't be done, or the queue is full */
    HD_REFUSAL_COUNT
} hd_refusal;

typedef _Atomic uint64_t hd_tally;

typedef struct hd_traffic {
    hd_tally replies[HD_TRAFFIC_ROUTES][HD_TRAFFIC_METHODS][HD_TRAFFIC_CLASSES];
    hd_histogram seconds[HD_TRAFFIC_ROUTES];
    hd_tally body_bytes, keys_checked, refused[HD_REFUSAL_COUNT];
    _Atomic int64_t open, streams_open;
    hd_tally tokens[HD_TRAFFIC_DIALECTS][HD_TRAFFIC_KINDS], finished[HD_TRAFFIC_DIALECTS][HD_TRAFFIC_FINISHES];
    hd_tally asked[HD_TRAFFIC_DIALECTS], streams[HD_TRAFFIC_DIALECTS];
    hd_tally with_tools[HD_TRAFFIC_DIALECTS], tool_calls[HD_TRAFFIC_DIALECTS];
    hd_tally pages;
    _Atomic double page_seconds; /* of the last metrics page */
    hd_tally page_bytes;
} hd_traffic;

void hd_traffic_init(hd_traffic *traffic);

static inline void hd_tally_add(hd_tally *tally, uint64_t n)
{
    atomic_fetch_add_explicit(tally, n, memory_order_relaxed);
}

/* A call begins; gets a reply, or begins one; ends. */
void hd_traffic_begin(const struct hd_call *call);
void hd_traffic_reply(const struct hd_call *call, int status);
void hd_traffic_refuse(const struct hd_call *call, hd_refusal why);
void hd_traffic_end(const struct hd_call *call);

/* Answers of the engine are begun; one choice has ended. */
void hd_traffic_ask(const struct hd_generation *generation);
void hd_traffic_choice(const struct hd_generation *generation, const hd_finish_event *end, int64_t reasoning_tokens,
                       int64_t tool_calls, bool left);

void hd_traffic_write(const hd_traffic *traffic, hd_metrics_page *page);

#endif
