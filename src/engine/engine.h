/* engine/engine.h: the door of the engine room: a model with its memory (hd_core), sequences (hd_seq), sampling.
 *
 * The installed API (include/hadal/engine.h, implemented in lib/) is a thin layer over this.  One thread at a time may
 * be inside a core or any of its sequences; hd_core_cancel alone may be called from anywhere.
 */
#ifndef HD_ENGINE_H
#define HD_ENGINE_H

#include "hadal/engine.h"
#include "models/lora.h"
#include "models/models.h"

/* ---- core ---- */

typedef struct hd_core hd_core;

typedef struct hd_core_options {
    const hd_backend *backend;
    bool may_sample;        /* the table's operators do not look at its address: hd_core_sample_operators may wrap it */
    int threads;            /* >= 1 */
    bool share_threads;     /* those of the process's shared pool */
    int64_t context;        /* 0: the model's limit */
    int64_t chunk;          /* largest batch in tokens, >= 1 */
    int64_t cache_tokens;   /* 0: no limit but memory */
    const char *cache_type; /* hd_model_options.cache_type */
    hd_dials dials;
    int lora_rank; /* hd_model_options.lora_rank */
    void (*progress)(void *arg, double fraction);
    void *progress_arg;
    const hd_checkpoint *checkpoint; /* what `path` holds, if it is open already, to outlive the core.  NULL: opened */
} hd_core_options;

hd_status hd_core_open(hd_core **out, const char *path, const hd_core_options *options, hd_error *err);
void hd_core_close(hd_core **core); /* all its sequences must be closed before */

const hd_model *hd_core_model(const hd_core *core);
const hd_backend *hd_core_backend(const hd_core *core);
const hd_checkpoint *hd_core_checkpoint(const hd_core *core); /* whose bytes the model's matrices are */
int hd_core_threads(const hd_core *core);
int64_t hd_core_context(const hd_core *core);
int64_t hd_core_chunk(const hd_core *core);
/* HD_E_ARGUMENT names the first id outside the vocabulary, and its number. */
hd_status hd_core_check_ids(const hd_core *core, const int32_t *ids, int64_t n, hd_error *err);
void hd_core_get_cache(const hd_core *core, hd_cache_usage *out);
void hd_core_limit_cache(hd_core *core, int64_t tokens);       /* 0: none; before the first sequence */
void hd_core_trim(hd_core *core);                              /* gives the memory of free pages back */
void hd_core_set_trace(hd_core *core, hd_expert_trace *trace); /* the caller keeps it alive; NULL: off */

/* Makes the next hd_core_step to begin return HD_E_CANCELLED; that step takes the request with it.  Async-signal-safe.
 * hd_core_resume takes back a request that no step has met. */
void hd_core_cancel(hd_core *core);
void hd_core_resume(hd_core *core);

/* From now on one pass of some thirty is timed by classes of operators (hd_operator_times); nothing where options said
 * that it may not be.  Before the first step.  HD_E_MEMORY. */
hd_status hd_core_sample_operators(hd_core *core, hd_error *err);

/* Keeps the turn on shared threads over a step and what belongs to it; hd_core_step alone takes its own. */
void hd_core_begin(hd_core *core);
void hd_core_end(hd_core *core);

/* ---- sequences ---- */

typedef struct hd_seq hd_seq;

hd_status hd_seq_open(hd_seq **out, hd_core *core, hd_error *err);
void hd_seq_close(hd_seq **seq);
int64_t hd_seq_length(const hd_seq *seq);
const int32_t *hd_seq_tokens(const hd_seq *seq);
const float *hd_seq_logits(const hd_seq *seq); /* [vocab] of the last token; NULL: none */
/* From the next step on the sequence keeps the hidden state of its last token.  HD_E_MEMORY. */
hd_status hd_seq_keep_hidden(hd_seq *seq, hd_error *err);
const float *hd_seq_hidden(const hd_seq *seq); /* [hidden] behind the last norm; NULL: none */
/* What its tokens are evaluated with, from the first one on; NULL: the model as it is.  The sequence keeps a reference,
 * and so do its forks.  HD_E_ARGUMENT: it holds tokens. */
hd_status hd_seq_set_lora(hd_seq *seq, hd_lora *lora, hd_error *err);
bool hd_seq_is_adapted(const hd_seq *seq);
uint64_t hd_seq_cache_bytes(const hd_seq *seq);
hd_status hd_seq_truncate(hd_seq *seq, int64_t length, hd_error *err);
/* The first `length` tokens; with all of them also the logits. */
hd_status hd_seq_fork(hd_seq **out, const hd_seq *seq, int64_t length, hd_error *err);

/* Makes room for `n` tokens behind those held, and keeps it until they are there or the sequence is cut: pages,
 * unshared where they will be written, and space for ids.  Errors: HD_E_BUSY (cache_tokens, held by others), HD_E_LIMIT
 * (more than cache_tokens), HD_E_MEMORY. */
hd_status hd_seq_reserve(hd_seq *seq, int64_t n, hd_error *err);

/* The page format of docs/engine.md.  restore leaves the sequence as it was on failure. */
hd_status hd_seq_snapshot(const hd_seq *seq, uint8_t **data, size_t *size, hd_error *err);
hd_status hd_seq_restore(hd_seq *seq, const uint8_t *data, size_t size, hd_error *err);

/* New tokens for one sequence in a step.  logits: NULL (the last token's logits go to the sequence), or [n][vocab]. */
typedef struct hd_seq_feed {
    hd_seq *seq;
    const int32_t *ids;
    int64_t n;
    float *logits;
} hd_seq_feed;

/* Evaluates all feeds in one pass; together they hold at most hd_core_chunk tokens, and no sequence stands in two.
 * All or nothing; *refused is the index of the feed that could not be taken, else -1.  Errors: HD_E_CONTEXT, HD_E_BUSY,
 * HD_E_LIMIT, HD_E_ARGUMENT, HD_E_MEMORY, HD_E_CANCELLED, HD_E_MODEL_LOST. */
hd_status hd_core_step(hd_core *core, const hd_seq_feed *feeds, int count, int *refused, hd_error *err);

/* ---- sampling ---- */

typedef struct hd_picker hd_picker;

/* HD_E_ARGUMENT names what is out of range. */
hd_status hd_sampling_check(const hd_sampling *s, int32_t vocab, hd_error *err);

hd_status hd_picker_open(hd_picker **out, int32_t vocab, const hd_sampling *sampling, hd_error *err);
void hd_picker_close(hd_picker **picker);

/* What choosing needs beside: 16 bytes for each id of the vocabulary.  Pickers of that vocabulary, or of smaller
 * ones, may share a room, one of them at a time. */
typedef struct hd_picker_room hd_picker_room;

hd_status hd_picker_room_open(hd_picker_room **out, int32_t vocab, hd_error *err);
void hd_picker_room_close(hd_picker_room **room); /* NULL-safe */

typedef struct hd_pick {
    const float *logits;   /* [vocab] */
    const int32_t *tokens; /* [count] of the session so far */
    int64_t count;
    bool logprobs;   /* else chosen->logprob is NaN, unless top_count > 0 */
    hd_logprob *top; /* [top_count] the most likely, best first */
    size_t top_count;
    bool adapted; /* an adapter had a part in the logits, so it may be what is wrong with them */
} hd_pick;

/* HD_E_INTERNAL when logits are no numbers; HD_E_ARGUMENT (top_count above the vocabulary), HD_E_MEMORY. */
hd_status hd_picker_next(hd_picker *picker, hd_picker_room *room, const hd_pick *pick, hd_logprob *chosen,
                         hd_error *err);

#endif
