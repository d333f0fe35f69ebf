/* models/models.h: the door of the models room: architectures, their weights and their forward passes.
 *
 * A model is one opened checkpoint bound to one backend.  It is immutable after opening but for its activations: one
 * thread at a time may run hd_model_forward.
 */
#ifndef HD_MODELS_H
#define HD_MODELS_H

#include "formats/formats.h"
#include "models/names.h"
#include "tensor/backend.h"

/* End-of-text ids that a model may list. */
#define HD_MAX_EOS 16

/* Tokens of one batch at most: with the bounds of hd_config_check no size of activations overflows. */
#define HD_BATCH_MAX (1 << 20)

typedef enum hd_arch {
    HD_ARCH_LLAMA,
    HD_ARCH_QWEN2,
    HD_ARCH_QWEN3,
    HD_ARCH_DEEPSEEK2,
    HD_ARCH_SCRIPTED /* for tests: scripted.c */
} hd_arch;

typedef enum hd_rope_type { HD_ROPE_PLAIN, HD_ROPE_LINEAR, HD_ROPE_LLAMA3, HD_ROPE_YARN } hd_rope_type;

typedef struct hd_rope_config {
    hd_rope_type type;
    double theta;
    double factor;
    double original_context;       /* llama3, yarn */
    double low_freq, high_freq;    /* llama3 */
    double beta_fast, beta_slow;   /* yarn */
    double mscale, mscale_all_dim; /* yarn; 0: absent */
    double attention_factor;       /* yarn; 0: absent, computed */
    bool truncate;                 /* yarn: whole-numbered correction range */
    bool adjacent;                 /* pairs (0,1), (2,3)...; false: (0, dim/2)... */
} hd_rope_config;

typedef struct hd_model_config {
    hd_arch arch;
    int layers, hidden, heads, kv_heads, head_dim, ffn, vocab;
    int64_t context;
    float rms_eps;
    bool tied; /* the output matrix is the embedding */
    bool qkv_bias, o_bias, mlp_bias;
    hd_rope_config rope;
    /* MLA (deepseek2): head_dim is nope + rope */
    int q_lora, kv_lora, nope, rope_dim, v_dim;
    /* experts; 0 experts: none */
    int experts, experts_used, experts_shared, expert_ffn, dense_lead, expert_every;
    int groups, groups_used;
    bool sigmoid, renorm; /* sigmoid scores with a selection bias and groups by their top two (V3); else softmax (V2) */
    float routed_scale;
    int mtp_layers; /* multi-token prediction layers behind the last one: present in files, not evaluated */
    /* generation */
    int32_t eos[HD_MAX_EOS];
    int eos_count;
    float temperature, top_p, min_p, repetition_penalty; /* defaults of generation_config.json; negative: not given */
    int top_k;
} hd_model_config;

/* Reads and checks the configuration of a checkpoint.  Errors name the key: HD_E_FORMAT, HD_E_UNSUPPORTED. */
hd_status hd_model_config_read(hd_model_config *out, const hd_checkpoint *ckpt, hd_error *err);

/* The scales of a matrix of 8 bits in a release, which are a tensor of their own. */
typedef struct hd_scale_layout {
    char name[HD_NAME_MAX + 16];
    int64_t shape[2];   /* that it must have */
    int64_t rows, cols; /* of the matrix that a scale stands for */
} hd_scale_layout;

/* Whether matrices of a release that have this type have scales: F8_E4M3 and I8. */
bool hd_model_has_scales(hd_type type);

/* Where the scales of the matrix `name` [rows][cols] of such a type must lie.  FP8 as V3 ships it: "NAME_scale_inv",
 * one for each block of quantization_config.weight_block_size of config.json (128 x 128 where that says nothing).  As
 * compressed-tensors has them: "NAME_scale", one for each row; integers (I8) are always so.  Whether they are there is
 * for the caller to see.  Errors: HD_E_UNSUPPORTED (blocks that are not square; integers without scales, or whose
 * scales the configuration describes otherwise). */
hd_status hd_model_scales_find(hd_scale_layout *out, const hd_checkpoint *ckpt, const char *name, hd_type type,
                               int64_t rows, int64_t cols, hd_error *err);

/* Whether the scales of m, filled in and read from the tensor `name`, are finite and above 0, or 0 where all their
 * codes are (some programs write that for a block of zeros).  HD_E_FORMAT names the first that isn't. */
hd_status hd_model_scales_check(const hd_matrix *m, const char *name, hd_error *err);

/* Whether a tensor of that name holds the scales of another one. */
bool hd_model_is_scale(const hd_checkpoint *ckpt, const char *name);

/* The other way: the configuration as GGUF metadata, without the tokenizer's, and as config.json and
 * generation_config.json (the caller's to release; `type` is that of most weights, BF16, F16 or F32).  What was read
 * from one reads the same from the other, but for multi-token prediction layers, which are left out.  Errors:
 * HD_E_UNSUPPORTED (a setting that GGUF has no key for), HD_E_MEMORY. */
hd_status hd_model_config_to_gguf(const hd_model_config *config, hd_meta_list *list, hd_error *err);
const char *hd_model_torch_type(hd_type type); /* what "torch_dtype" calls it */
hd_status hd_model_config_to_json(json_t **out, const hd_model_config *config, hd_type type, hd_error *err);
hd_status hd_model_generation_to_json(json_t **out, const hd_model_config *config, hd_error *err);

/* What config.json says of matrices in 8 bits, as "quantization_config": F8_E4M3 as DeepSeek-V3's, I8 as
 * compressed-tensors ("int-quantized": a scale for each row, activations rounded token by token).  NULL: no memory. */
json_t *hd_model_quantization_to_json(const hd_model_config *config, hd_type type);

/* Llama 3's scaling of rotary frequencies is a tensor in GGUF: rope_dim/2 factors, by which frequencies are divided.
 * _find does the reverse: sets config->rope to Llama 3's scaling with these factors; false when there is none (the
 * published low_freq_factor 1 and high_freq_factor 4 are taken for given). */
void hd_model_rope_factors(const hd_model_config *config, float *factors);
bool hd_model_rope_factors_find(hd_model_config *config, const float *factors);

/* "llama", "qwen2", "qwen3", "deepseek2", "hadal_scripted". */
const char *hd_arch_name(hd_arch arch);

/* One stream of cached rows: `width` values a token. */
typedef struct hd_stream {
    int width;
} hd_stream;

/* Where each stream lies in a page of `page_rows` tokens; made by hd_model_layout, owned by the caller. */
#define HD_PAGE_ROWS 32
typedef struct hd_cache_layout {
    int streams;
    hd_type type;
    size_t *offset, *stride; /* [streams] */
    size_t page_bytes;
} hd_cache_layout;

/* Consecutive new tokens of one sequence.  Its pages hold rows for positions 0 .. pos0 + n - 1 already allocated. */
typedef struct hd_span {
    uint8_t *const *pages;
    int64_t pos0, n;
    int64_t logits;             /* logits are wanted for the last `logits` of the n tokens */
    const struct hd_lora *lora; /* of this model (models/lora.h); NULL: the model as it is */
} hd_span;

typedef struct hd_batch {
    const int32_t *ids; /* of all spans, one after the other */
    const hd_span *spans;
    int count;
} hd_batch;

typedef struct hd_model hd_model;

/* Less arithmetic for each token than the model asks for, at the price of its answers (models/dials.c); all zeros: the
 * model as it is. */
typedef struct hd_dials {
    int experts; /* routed experts of a token, at most the model's own number; 0: that number */
    double
        expert_share; /* a token goes to the fewest of its experts that have this share of all their weights; 0: off */
    double ffn_keep;  /* share of a gated network's channels that a token keeps, to 1; 0: all of them.  Dense networks
                       * and shared experts; routed experts stay whole */
    enum { HD_KEEP_BY_GATE, HD_KEEP_BY_PRODUCT } ffn_by; /* the largest |silu(gate x)|, or |silu(gate x) * up x| */
} hd_dials;

typedef struct hd_model_options {
    const hd_backend *backend;
    hd_pool *pool;
    int64_t max_tokens;     /* largest batch, all spans together; at most HD_BATCH_MAX */
    int64_t context;        /* longest sequence */
    const char *cache_type; /* "f32", "f16", "bf16", "q8_0"; NULL or "auto": what the backend prefers */
    hd_dials dials;
    int lora_rank; /* largest rank of adapters; 0: spans have none */
    void (*progress)(void *arg, double fraction);
    void *progress_arg;
} hd_model_options;

/* "f32", "f16", "bf16" or "q8_0" for a type that caches are kept in. */
const char *hd_cache_type_name(hd_type type);

/* Takes the checkpoint's weights; `ckpt` must outlive the model.  Every tensor of the checkpoint must be known, and
 * every one that the architecture needs present with the right shape: else HD_E_FORMAT names them.  HD_E_ARGUMENT: a
 * cache type that there is not, or whose blocks don't fit the model's rows; nothing was loaded. */
hd_status hd_model_open(hd_model **out, const hd_checkpoint *ckpt, const hd_model_options *options, hd_error *err);
void hd_model_close(hd_model **model);

const hd_model_config *hd_model_get_config(const hd_model *model);
const hd_cache_layout *hd_model_get_layout(const hd_model *model);

typedef struct hd_model_sizes {
    int64_t parameters;
    uint64_t weight_bytes, packed_bytes, activation_bytes, scratch_bytes;
    int64_t type_values[HD_TYPE_COUNT]; /* of the parameters, how many are stored as which type */
} hd_model_sizes;
void hd_model_get_sizes(const hd_model *model, hd_model_sizes *out);

/* Multiplications with weights for one token; under expert_share as it was on average so far.  Attention over the
 * cached rows comes on top: it grows with the text. */
typedef struct hd_model_work {
    double layers;       /* in all layers, under the dials, if what a token drops is not computed */
    double layers_whole; /* the same without dials */
    double output;       /* with the output matrix, for a token whose logits are wanted */
} hd_model_work;
void hd_model_get_work(const hd_model *model, hd_model_work *out);
const hd_dials *hd_model_get_dials(const hd_model *model);

/* What a model of this checked configuration takes beside its weights when it is opened so; nothing is opened.  Errors:
 * HD_E_ARGUMENT (options), HD_E_MEMORY. */
typedef struct hd_model_needs {
    uint64_t activation_bytes, scratch_bytes; /* at most: what a short batch never touches stays with the kernel */
    uint64_t page_bytes;                      /* of cached rows of HD_PAGE_ROWS tokens */
    hd_type cache_type;
    hd_model_work work;
} hd_model_needs;
hd_status hd_model_plan(hd_model_needs *out, const hd_model_config *config, const hd_model_options *options,
                        hd_error *err);

/* Number of layers with experts (rows of an hd_expert_trace), 0 for dense models. */
int hd_model_expert_layers(const hd_model *model);
void hd_model_set_trace(hd_model *model, hd_expert_trace *trace);

/* Evaluates the batch: fills the cached rows of its tokens and writes logits [wanted][vocab], spans in order.
 * Never allocates.  Errors: HD_E_ARGUMENT (an id outside the vocabulary, batch too large): nothing was evaluated. */
hd_status hd_model_forward(hd_model *model, const hd_batch *batch, float *logits, hd_error *err);

/* [wanted][hidden]: what the logits of the last pass were computed from, behind the last norm; until the next pass. */
const float *hd_model_hidden(const hd_model *model);

/* From the next pass on the model computes by this table: that of its options, or one whose operators wrap those.  Not
 * while a pass is under way. */
void hd_model_set_backend(hd_model *model, const hd_backend *backend);

#endif
