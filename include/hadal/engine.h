/* hadal/engine.h: the engine's door: a loaded model, sessions on it, tokens in, tokens out.
 *
 * hd_engine is one loaded model with its compute threads; hd_session is one sequence of tokens with its cache.
 * Threading: one thread at a time may be inside an engine or any of its sessions; different engines are independent.
 * hd_engine_cancel and hd_engine_resume alone may be called from any thread and from signal handlers.
 * Errors: every call that can fail returns hd_status and fills `err` (may be NULL).  After an error a session holds
 * the tokens that it held before the call, unless said otherwise.
 */
#ifndef HADAL_ENGINE_H
#define HADAL_ENGINE_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "hadal/status.h"

#ifdef __cplusplus
extern "C" {
#endif

typedef struct hd_engine hd_engine;
typedef struct hd_session hd_session;

/* ---- engine ---- */

typedef struct hd_engine_options {
    const char *cpu;      /* "auto" (also NULL), "reference", "avx2", "avx512", "avx512bf16", "amx", "neon", "neondot",
                           * "neoni8mm" */
    int threads;          /* 0: the processors that this process may use */
    int64_t context;      /* longest session in tokens; 0: the model's limit */
    int64_t chunk;        /* tokens evaluated together in a prefill; 0: 512 */
    int64_t cache_tokens; /* tokens that all sessions together may hold; 0: no limit but memory */
    const char *cache_type; /* numbers that the cache is kept in: "f32", "f16", "bf16", "q8_0" (8 bits and a scale for
                             * each 32, half of f16's memory; the model's heads must be multiples of 32 wide); "auto"
                             * (also NULL): f32 on the reference tier, else f16 */
    /* Less arithmetic and worse answers (docs/models.md); 0: off.  A token goes to so many of its experts, ... */
    int experts;
    double expert_share; /* ... or to the fewest that have this share of all their weights, */
    double ffn_keep;     /* and keeps this share of its feed-forward channels, those that its gate opens most, */
    bool ffn_by_product; /* or those whose values are largest behind gate and up */
    int lora_rank;       /* largest rank of adapters (hd_lora_open); 0: there are none.  Not beside ffn_keep */
    bool share_threads;  /* compute on the threads that all engines of the process opened so share: they take turns by
                            step, first come, first served, and load tensor by tensor.  The first engine's `threads`
                            counts for all until the last one is closed */
    void (*progress)(void *arg, double fraction); /* called while loading; may be NULL */
    void *progress_arg;
    struct hd_profile *profile; /* adds up time and bytes of the operators, for `hadal bench` (src/kernels/profile.h);
                                   NULL: off, at no cost.  Outlives the engine; a scripted model has no operators */
} hd_engine_options;

/* Loads the model at `path` (a file or a folder).  `options` may be NULL.
 * Errors: HD_E_NOT_FOUND, HD_E_FORMAT, HD_E_UNSUPPORTED (architecture, type, tier), HD_E_MEMORY, HD_E_IO. */
hd_status hd_engine_open(hd_engine **out, const char *path, const hd_engine_options *options, hd_error *err);

/* All sessions must be closed before.  NULL-safe; sets *engine to NULL. */
void hd_engine_close(hd_engine **engine);

typedef struct hd_engine_info {
    const char *architecture; /* "llama", "qwen2", "qwen3", "deepseek2", "hadal_scripted" */
    const char *cpu;          /* the tier in use */
    int threads;
    int32_t vocab;         /* width of the logits */
    int64_t context;       /* longest session */
    int64_t model_context; /* the model's own limit */
    int layers;
    int hidden;              /* width of hidden states, and of embeddings */
    int64_t parameters;      /* weights, all experts counted */
    const char *weight_type; /* "BF16", "Q4_K": of most weights, as `hadal inspect` says; "none": a scripted model */
    uint64_t weight_bytes;   /* in the files */
    uint64_t packed_bytes;   /* repacked copies in memory */
    const char *cache_type;  /* "f32", "f16", "bf16", "q8_0" */
    uint64_t cache_bytes_per_token;
    uint64_t scratch_bytes; /* workspace of the operators, attention included */
    int64_t step_tokens;    /* most tokens of one step, all sessions together */
    const int32_t *eos;     /* end-of-text ids of generation_config.json, config.json or GGUF metadata */
    size_t eos_count;
} hd_engine_info;

void hd_engine_get_info(const hd_engine *engine, hd_engine_info *out); /* its strings live as long as the engine */

/* Multiplications with weights for a token under `experts`, `expert_share` and `ffn_keep`, as a share of the model's
 * own: 1 without them.  What a token that is decoded alone would not need to compute counts as spared. */
typedef struct hd_arithmetic_left {
    double all, layers; /* with the output matrix, and without it */
} hd_arithmetic_left;

void hd_engine_get_arithmetic(const hd_engine *engine, hd_arithmetic_left *out); /* of the tokens so far */

/* Asks for the end of the evaluation: the feed under way returns HD_E_CANCELLED at its next chunk.  If it has none
 * left, or nothing is under way, the next feed or step returns so and evaluates nothing; either way the request ends
 * there.  Async-signal-safe, as is hd_engine_resume, which takes back a request that no call has met yet. */
void hd_engine_cancel(hd_engine *engine);
void hd_engine_resume(hd_engine *engine);

/* Records or replays which experts every token went to, over all calls after it, in the order of evaluation.
 * `path` is a safetensors file with one tensor `experts`, int32 [layers with experts, tokens, experts used].
 * Saving replaces a regular file of that name whatever it holds, but no link, device or folder.
 * Tokens beyond those that the recording has room for, or that the file holds, are routed as usual.  A call that fails
 * changes nothing.  Errors: HD_E_UNSUPPORTED (no experts), HD_E_ARGUMENT, HD_E_FORMAT (of another model), HD_E_IO,
 * HD_E_MEMORY. */
hd_status hd_engine_record_experts(hd_engine *engine, int64_t tokens, hd_error *err);
hd_status hd_engine_save_experts(hd_engine *engine, const char *path, hd_error *err);
hd_status hd_engine_force_experts(hd_engine *engine, const char *path, hd_error *err);

/* ---- adapters (LoRA) ----
 *
 * An adapter counts references: sessions and requests keep their own.  All must be closed before the engine.  These
 * functions may be called from any thread, also while the engine evaluates. */

typedef struct hd_lora hd_lora;

/* Loads a PEFT folder or a GGUF adapter for this engine's model, `scale` times as strong as it says.  Errors: those of
 * a file, HD_E_ARGUMENT (of another base; lora_rank was 0), HD_E_LIMIT (its rank; a scale that takes its values beyond
 * float32), HD_E_UNSUPPORTED, HD_E_MEMORY. */
hd_status hd_lora_open(hd_lora **out, hd_engine *engine, const char *path, double scale, hd_error *err);
/* The same for a path that a stranger gave: no file is opened that does not lie in `folder`, links followed (which must
 * not change meanwhile), and none that only an index names (HD_E_DENIED, HD_E_UNSUPPORTED). */
hd_status hd_lora_open_within(hd_lora **out, hd_engine *engine, const char *path, double scale, const char *folder,
                              hd_error *err);
hd_lora *hd_lora_share(hd_lora *lora); /* one reference more; NULL is fine */
void hd_lora_close(hd_lora **lora);    /* gives one back; NULL-safe */
/* How many requests of a scheduler have it: in the batch, and waiting for a place there. */
void hd_lora_get_use(const hd_lora *lora, int *running, int *waiting);

/* Sessions opened from now on have this adapter (the engine keeps a reference; NULL: none). */
void hd_engine_use_lora(hd_engine *engine, hd_lora *lora);

/* ---- sessions ---- */

hd_status hd_session_open(hd_session **out, hd_engine *engine, hd_error *err); /* with hd_engine_use_lora's adapter */
void hd_session_close(hd_session **session);                                   /* NULL-safe */

int64_t hd_session_length(const hd_session *session);        /* tokens held */
const int32_t *hd_session_tokens(const hd_session *session); /* [length], until the next call that changes it */
uint64_t hd_session_cache_bytes(const hd_session *session);  /* bytes of its cache pages */

/* Its tokens are evaluated with this adapter from now on; NULL: with none.  HD_E_ARGUMENT: it holds tokens. */
hd_status hd_session_set_lora(hd_session *session, hd_lora *lora, hd_error *err);

/* Evaluates n tokens after those held, in chunks.  The logits of the last one are then at hd_session_logits.
 * On HD_E_CANCELLED the chunks that were finished stay.  Nothing was evaluated on HD_E_CONTEXT (the text says both
 * lengths), HD_E_ARGUMENT (an id outside the vocabulary), HD_E_BUSY (cache_tokens, while other sessions hold them),
 * HD_E_LIMIT (more than cache_tokens) and HD_E_MEMORY.  After HD_E_MODEL_LOST the tokens are those before, their logits
 * gone; every later evaluation fails so too. */
hd_status hd_session_feed(hd_session *session, const int32_t *ids, int64_t n, hd_error *err);
/* The same, and the logits of each of the n tokens go to `logits` [n][vocab]. */
hd_status hd_session_feed_all(hd_session *session, const int32_t *ids, int64_t n, float *logits, hd_error *err);

/* New tokens of one session in a step. */
typedef struct hd_feed {
    hd_session *session;
    const int32_t *ids; /* [n] */
    int64_t n;          /* >= 1 */
} hd_feed;

/* Evaluates the new tokens of `count` sessions in one pass, at most step_tokens together: decoding and pieces of
 * prompts share it.  All or nothing; *refused (may be NULL) is the index of the feed that could not be taken, or -1
 * when the step failed as a whole.  Errors as hd_session_feed, and HD_E_ARGUMENT when a session occurs twice or belongs
 * to another engine. */
hd_status hd_engine_step(hd_engine *engine, const hd_feed *feeds, int count, int *refused, hd_error *err);

/* Keeps room in the cache for n tokens behind those held, until they are fed, or the session is cut or closed: a step
 * that stays within can't fail for want of cache.  Errors: HD_E_CONTEXT, HD_E_BUSY, HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_session_reserve(hd_session *session, int64_t n, hd_error *err);

typedef struct hd_cache_usage {
    int64_t page_tokens; /* tokens of a page */
    uint64_t page_bytes;
    int64_t pages;       /* in use, shared ones counted once */
    int64_t pages_free;  /* kept for the next session */
    int64_t pages_limit; /* 0: none but memory */
} hd_cache_usage;

void hd_engine_get_cache(const hd_engine *engine, hd_cache_usage *out);
/* Sets the limit of cache_tokens when the model's size is known: before the first session.  0: none but memory. */
void hd_engine_limit_cache(hd_engine *engine, int64_t tokens);
void hd_engine_trim(hd_engine *engine); /* gives the memory of free pages back */

/* [vocab] float32, of the last token fed; NULL before the first.  Valid until the session changes. */
const float *hd_session_logits(const hd_session *session);

/* From now on the session keeps the hidden state of the last token fed behind the model's last norm: what the output
 * matrix reads, and an embedding of the text.  HD_E_MEMORY. */
hd_status hd_session_keep_hidden(hd_session *session, hd_error *err);

/* [*width] float32; NULL when it is not kept or no token was fed since.  Valid until the session changes. */
const float *hd_session_hidden(const hd_session *session, int64_t *width);

/* Drops all tokens from position `length` on.  The next feed must bring at least one token before logits are read. */
hd_status hd_session_truncate(hd_session *session, int64_t length, hd_error *err);

/* A second session with the same tokens; whole pages are shared until one of them changes. */
hd_status hd_session_fork(hd_session **out, const hd_session *session, hd_error *err);
/* The same with the first `length` tokens only, and no logits. */
hd_status hd_session_fork_prefix(hd_session **out, const hd_session *session, int64_t length, hd_error *err);

/* The session as bytes: tokens, cache and last logits.  The caller frees *data with hd_bytes_free.
 * restore replaces the session's content; HD_E_FORMAT when the bytes are damaged or came from another model, tier, type
 * of cache or format version.  On any error the session is unchanged, so cache_tokens must hold old and new content. */
hd_status hd_session_snapshot(const hd_session *session, uint8_t **data, size_t *size, hd_error *err);
hd_status hd_session_restore(hd_session *session, const uint8_t *data, size_t size, hd_error *err);
void hd_bytes_free(uint8_t *data);

/* ---- sampling ---- */

typedef struct hd_logit_bias {
    int32_t id;
    float bias; /* added to the logit */
} hd_logit_bias;

/* Order: bias and penalties, then top_k, temperature, top_p, min_p.  hd_sampling_defaults gives the model's own
 * values; where it has none, temperature 0.6 and top_p 0.95, and the rest off. */
typedef struct hd_sampling {
    float temperature;        /* 0: greedy */
    int top_k;                /* 0: off */
    float top_p;              /* 1: off */
    float min_p;              /* 0: off; keeps tokens of at least min_p times the best one's probability */
    float repetition_penalty; /* 1: off; arXiv:1909.05858, over all tokens of the session */
    float presence_penalty;   /* 0: off; over generated tokens, as the OpenAI API defines both */
    float frequency_penalty;
    const hd_logit_bias *bias;
    size_t bias_count;
    uint64_t seed; /* the same seed and the same logits give the same tokens */
} hd_sampling;

void hd_sampling_defaults(const hd_engine *engine, hd_sampling *out);

typedef struct hd_sampler hd_sampler;
/* `sampling` is copied.  HD_E_ARGUMENT names the field that is out of range. */
hd_status hd_sampler_open(hd_sampler **out, const hd_engine *engine, const hd_sampling *sampling, hd_error *err);
void hd_sampler_close(hd_sampler **sampler);

typedef struct hd_logprob {
    int32_t id;
    float logprob; /* natural logarithm, of the softmax of the unmodified logits */
} hd_logprob;

/* Chooses the next token from the session's logits; `top` receives the `top_count` most likely (best first), may be
 * NULL with 0.  The token is not fed.  *chosen carries its own log-probability.  Different samplers may work in
 * parallel, also on sessions of one engine, as long as none of these sessions changes.  HD_E_INTERNAL when the model
 * computed values that are not numbers. */
hd_status hd_sampler_next(hd_sampler *sampler, const hd_session *session, hd_logprob *chosen, hd_logprob *top,
                          size_t top_count, hd_error *err);

#ifdef __cplusplus
}
#endif
#endif
