/* gateway/generation.h: the answers to one call: its choices in the engine, and how a dialect writes them.
 *
 * A dialect is a set of pure functions, events to bytes, around this one pipeline.  The choices' tokens come on the
 * engine's thread, one at a time; the end is written by a worker.  The generation owns its call from
 * hd_generation_start on and ends both by itself.
 */
#ifndef HD_GATEWAY_GENERATION_H
#define HD_GATEWAY_GENERATION_H

#include <pthread.h>

#include "gateway/ask.h"

typedef struct hd_generation hd_generation;

typedef struct hd_prompt {
    int32_t *ids; /* owned, hd_ids_release */
    size_t count;
    bool in_reasoning; /* it leaves the model inside a think block */
} hd_prompt;

/* ---- the answers ---- */

/* A run of one kind in an answer that is given as a whole: reasoning, text, or one tool call. */
typedef struct hd_block {
    hd_piece_kind kind; /* TEXT, REASONING or TOOL_BEGIN */
    hd_buf text;        /* of a call: its arguments */
    hd_buf name;        /* of a call */
} hd_block;

typedef struct hd_choice {
    hd_generation *generation;
    int index;
    const hd_prompt *prompt;
    hd_request *request;
    hd_answer *answer; /* NULL: the model has no tokenizer, so there are ids only */
    hd_block *blocks;  /* [block_count]; NULL in streams */
    size_t block_count;
    hd_piece_kind block_kind; /* of the last block */
    int64_t tools;            /* calls begun */
    hd_logprob *records;      /* [record_count][1 + top_count]: each token and its alternatives */
    size_t record_count, records_room;
    size_t records_given; /* in events so far */
    int64_t reasoning_tokens;
    bool reasoning;      /* the last piece was */
    bool stopped;        /* by a stop string */
    uint64_t last_ns;    /* of the last token */
    hd_finish_event end; /* once it has ended; `error` is not kept, see below */
    hd_status failure;   /* HD_OK, or why it has failed */
    size_t text_chars;   /* characters given so far, for offsets */
} hd_choice;

typedef struct hd_dialect {
    /* Streams: events appended to generation->wire.  Before the first piece; each piece; the end of a choice; the end.
     */
    void (*begin)(hd_generation *g);
    void (*piece)(hd_choice *choice, hd_piece_kind kind, const char *data, size_t len);
    void (*choice_end)(hd_choice *choice);
    void (*end)(hd_generation *g);
    void (*error)(hd_generation *g, const hd_error *err);
    /* The whole reply. */
    void (*whole)(hd_generation *g, hd_buf *out);
} hd_dialect;

struct hd_generation {
    hd_job job; /* its end */
    hd_call *call;
    hd_served *model; /* call->model */
    const hd_dialect *dialect;
    hd_ask ask;
    hd_prompt *prompts; /* [prompt_count], owned */
    size_t prompt_count;
    hd_choice *choices; /* [choice_count], prompt by prompt */
    int choice_count;
    int top_count;
    char tag[25];                                     /* random letters and digits, for ids of calls */
    int64_t created;                                  /* seconds since 1970 */
    bool begun;                                       /* the stream has */
    bool usage;                                       /* a stream gives it at its end */
    _Atomic uint64_t wrote_ns;                        /* hd_clock of the last event, or of the beginning */
    struct hd_generation *next_stream, **prev_stream; /* the gateway's list of streams, under its lock */
    hd_buf wire;                                      /* events not yet handed to the exchange */
    hd_error error;                                   /* the first of a choice */
    pthread_mutex_t lock;                             /* guards gone, open and the choices' requests */
    bool gone;
    int open; /* choices that have not ended, and one for the thread that starts them */
};

/* Submits; `prompts` [prompt_count] and their ids are taken over, also after an error.  After HD_OK the generation owns
 * the call (*taken). */
hd_status hd_generation_start(hd_call *call, const hd_ask *ask, const hd_dialect *dialect, hd_prompt *prompts,
                              size_t prompt_count, bool *taken, hd_error *err);

/* Whether a piece begins a new block behind what came last. */
bool hd_choice_begins_block(const hd_choice *choice, hd_piece_kind kind);

void hd_prompts_free(hd_prompt *prompts, size_t count);

/* Begins streams that have been silent for long, and sends a comment on those that are again. */
void hd_generations_keep_alive(hd_gateway *gateway);

/* Sums over all choices. */
typedef struct hd_usage {
    int64_t prompt, cached, completion, reasoning;
} hd_usage;
void hd_generation_usage(const hd_generation *g, hd_usage *out);

/* Appends one server-sent event; `name` may be NULL. */
void hd_generation_event(hd_generation *g, const char *name, const hd_buf *data);

#endif
