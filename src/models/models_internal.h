/* models/models_internal.h: what the architectures share: weights by name, activations, rotary tables. */
#ifndef HD_MODELS_INTERNAL_H
#define HD_MODELS_INTERNAL_H

#include "models/models.h"
#include "models/names.h"

/* ---- configuration (config.c, config_json.c, config_gguf.c) ---- */
hd_status hd_config_from_json(hd_model_config *c, const json_t *config, const json_t *generation, hd_error *err);
hd_status hd_config_from_gguf(hd_model_config *c, const hd_checkpoint *ckpt, hd_error *err);
/* Checks what was read, and drops end-of-text ids that lie outside the vocabulary. */
hd_status hd_config_check(hd_model_config *c, hd_error *err);

#define HD_SCRIPTED_WIDTH 16 /* of a cached row and of a hidden state (scripted.c) */

/* ---- rotary tables (rope.c) ---- */
/* Fills freq[dim/2] and *gain.  Sources of the formulas stand in rope.c. */
void hd_rope_frequencies(const hd_rope_config *c, int dim, float *freq, float *gain);
/* V2/V3's correction of the softmax scale: (0.1 * mscale_all_dim * ln(factor) + 1)^2, or 1. */
float hd_rope_softmax_factor(const hd_rope_config *c);

/* ---- weights (weights.c) ---- */

/* Takes tensors out of a checkpoint under their GGUF or safetensors names, checks their shapes, remembers which were
 * taken, and owns everything made for the model. */
typedef struct hd_weights hd_weights;

hd_status hd_weights_open(hd_weights **out, const hd_checkpoint *ckpt, const hd_model_options *options,
                          const hd_exec *ex, hd_error *err);
void hd_weights_close(hd_weights **w);
bool hd_weights_gguf(const hd_weights *w);

/* Memory that lives as long as the weights; NULL on failure. */
void *hd_weights_alloc(hd_weights *w, size_t count, size_t size);

bool hd_weights_has(const hd_weights *w, hd_name name, int layer);

/* The matrix [rows][cols] under that name (F8_E4M3 with its block scales).  `prepare` hands it to the backend.
 * *out must stay at its address as long as the weights. */
hd_status hd_weights_matrix(hd_weights *w, hd_matrix *out, hd_name name, int layer, int64_t rows, int64_t cols,
                            bool prepare, hd_error *err);

/* `count` matrices [rows][cols]: one 3-D tensor [count][rows][cols] in GGUF, a tensor each in safetensors. */
hd_status hd_weights_experts(hd_weights *w, hd_matrix **out, hd_name name, int layer, int count, int64_t rows,
                             int64_t cols, bool prepare, hd_error *err);

/* A vector of n float32 values, decoded. */
hd_status hd_weights_vector(hd_weights *w, const float **out, hd_name name, int layer, int64_t n, hd_error *err);
/* The same, or NULL when the checkpoint has none and `wanted` is false. */
hd_status hd_weights_vector_if(hd_weights *w, bool wanted, const float **out, hd_name name, int layer, int64_t n,
                               hd_error *err);

/* Gives the backend a matrix that the model made itself (from hd_weights_alloc memory or a slice). */
hd_status hd_weights_prepare(hd_weights *w, hd_matrix *m, hd_error *err);

/* Marks tensors whose names begin so as known though they are not used. */
void hd_weights_ignore(hd_weights *w, const char *prefix);

/* HD_E_FORMAT naming the tensors that nothing has taken. */
hd_status hd_weights_finish(hd_weights *w, hd_error *err);
void hd_weights_sizes(const hd_weights *w, hd_model_sizes *out);

/* ---- dials (dials.c) ---- */

/* HD_E_ARGUMENT: out of range, or of a kind that the model has no use for. */
hd_status hd_dials_check(const hd_dials *dials, const hd_model_config *c, hd_error *err);

/* Whether gated networks go through hd_dials_activate. */
bool hd_dials_sparse(const hd_model *m);

/* gate->y [n][gate->w->rows] = silu(gate h) * up h of the channels that each token keeps, zeros elsewhere; up->y is
 * overwritten.  Both products have the width of their outputs for ldy.  With all channels kept the values are those of
 * matmul and swiglu, bit for bit. */
void hd_dials_activate(const hd_model *m, const hd_product *gate, const hd_product *up, int64_t n);

/* Zeros for all but each token's largest values; of equal ones the first are kept.  value is [n][width], width at most
 * that of m->keep_room. */
void hd_dials_keep(const hd_model *m, float *value, int64_t width, int64_t n);

/* ---- a model ---- */

/* Scratch rows of the forward pass; every architecture lays its own buffers out with hd_activations_take. */
typedef struct hd_activations {
    uint8_t *base;
    size_t bytes, used;
} hd_activations;
/* Space for rows*cols floats (a multiple of a cache line); only counts while base is NULL. */
float *hd_activations_take(hd_activations *a, int64_t rows, int64_t cols);

typedef struct hd_arch_ops {
    size_t state_bytes; /* of hd_model.state */
    hd_status (*load)(hd_model *model, hd_weights *w, hd_error *err);
    int (*stream_count)(const hd_model_config *c);
    int (*stream_width)(const hd_model_config *c, int stream);
    /* Values of a cached row that operators take together: columns and widths are multiples of it. */
    int (*stream_piece)(const hd_model_config *c);
    void (*lay_out)(hd_model *model, hd_activations *a); /* called twice: to count, then to assign */
    void (*limits)(const hd_model_config *c, hd_shape_limits *l);
    int (*expert_layers)(const hd_model_config *c);
    void (*layers)(hd_model *model, const hd_batch *batch, int64_t tokens); /* model->x: embeddings in, output out */
    /* Of an architecture without weights, else NULL: takes the place of layers and of all that is shared; writes the
     * logits and model->h [wanted][hidden]. */
    void (*forward)(hd_model *model, const hd_batch *batch, float *logits);
} hd_arch_ops;

struct hd_model {
    hd_model_config config;
    const hd_backend *backend;     /* of the pass: its operators may be wrapped (hd_model_set_backend) */
    const hd_backend *own_backend; /* constant */
    const hd_checkpoint *ckpt;
    hd_weights *weights;
    hd_exec exec;
    hd_cache_layout layout;
    hd_model_sizes sizes;
    hd_dials dials;
    int own_experts_used;        /* without dials; config.experts_used is what the router goes by */
    int64_t routed, could_route; /* choices of experts so far that expert_share left, and all; 0 without it */
    int64_t max_tokens, context;
    void *activations, *scratch; /* the blocks that own the rows below and exec.scratch */
    /* shared by all architectures */
    hd_matrix embed, output;
    const float *output_norm;
    hd_rope rope;
    float *rope_freq;      /* [rope_dim / 2] angle per position, in radians */
    float rope_gain;       /* on cosines and sines: YaRN's attention factor */
    float *rope_table;     /* [max_tokens][rope_dim] */
    float *x;              /* [max_tokens][hidden] residual stream */
    float *h;              /* [max_tokens][hidden] normalized input of a sublayer, or its output */
    hd_attend_span *spans; /* [max_tokens] */
    uint32_t *keep_room;   /* [max_tokens][widest gated network], where a dial needs it */
    int64_t lora_rank;     /* of adapters at most; 0: none */
    float *lora_t;         /* [HD_PRODUCTS_MAX][max_tokens][lora_rank] what A makes of inputs */
    bool adapted;          /* a span of the batch under way has an adapter */
    /* the architecture's own layers and buffers */
    const struct hd_arch_ops *ops;
    void *state;
};

extern const hd_arch_ops hd_arch_transformer, hd_arch_deepseek2, hd_arch_scripted;

/* The view of stream `stream` of one span's sequence. */
hd_rows hd_model_rows(const hd_model *model, const hd_span *span, int stream);

#endif
