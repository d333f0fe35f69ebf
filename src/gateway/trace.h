/* gateway/trace.h: the spans of a call: what is noted while it runs, and told at its end.
 *
 *   POST /v1/chat/completions      server: HTTP's attributes
 *     chat MODEL                   the generation: GenAI's attributes
 *       queue, prefill, decode     of each answer, where the engine's time went
 *
 * A call that is not traced has no hd_call_trace (call->trace is NULL), and each function below returns at once.  Names
 * and meanings of attributes: docs/traces.md.  Prompts and answers are noted only where the sink wants content.
 * Threading: as the call's (call.h); hd_trace_piece is the engine's thread.
 */
#ifndef HD_GATEWAY_TRACE_H
#define HD_GATEWAY_TRACE_H

#include "base/span.h"
#include "gateway/generation.h"

typedef struct hd_call_trace hd_call_trace;

/* Whether and as what a new call is traced: after its route is known.  Without memory it is not. */
void hd_trace_begin(hd_call *call);

/* A generation is about to be submitted: what was asked for, and the content of the request.  g->choices are there. */
void hd_trace_ask(hd_generation *g);

/* A piece of an answer: its content. */
void hd_trace_piece(hd_choice *choice, hd_piece_kind kind, const char *data, size_t len);

/* The generation has ended. */
void hd_trace_answer(const hd_generation *g);

/* The call is over and about to be closed: its spans are given to the sink; the trace is freed. */
void hd_trace_finish(hd_call *call);

/* The trace's id in hexadecimal, for the log; `out` [33]; "" without a trace. */
void hd_trace_name(const hd_call *call, char *out);

/* A model was loaded, or was not: a trace of its own.  Times are hd_clock's; `sink` may be NULL. */
void hd_trace_load(const hd_span_sink *sink, const char *model, uint64_t start_ns, uint64_t loaded_ns, uint64_t end_ns,
                   hd_status status);

#endif
