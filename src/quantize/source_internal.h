/* quantize/source_internal.h: what the files that make sources share (source.c, source_gguf.c, source_release.c,
 * source_scaled.c, source_pruned.c, source_merged.c). */
#ifndef HD_QUANTIZE_SOURCE_INTERNAL_H
#define HD_QUANTIZE_SOURCE_INTERNAL_H

#include "models/names.h"
#include "quantize/source.h"

/* How a tensor's rows come out of its parts. */
typedef enum hd_take {
    HD_TAKE_ALL,      /* one part after the other */
    HD_TAKE_ADJACENT, /* rows of a head reordered so that rotated pairs (i, i + d/2) become (2i, 2i + 1) */
    HD_TAKE_APART,    /* the reverse */
    HD_TAKE_KEYS,     /* attn_k_b [heads][lora][nope] out of kv_b [heads * (nope + v)][lora]: transposed */
    HD_TAKE_VALUES,   /* attn_v_b [heads][v][lora] out of the same */
    HD_TAKE_JOINT,    /* kv_b out of the heads' keys, transposed, and values: parts [k_b of all heads | v_b of all] */
    HD_TAKE_SCALES    /* no parts: the scales that the values of tensor `of` get as `codes` */
} hd_take;

typedef struct hd_origin {
    hd_take take;
    const hd_matrix *parts; /* [count], of equal shape but in HD_TAKE_JOINT */
    size_t count;
    int64_t heads, nope, v; /* of latent attention; `heads` of a rotation, too */
    size_t of;
    hd_type codes;
} hd_origin;

/* Which matrices, rows and columns of a tensor of the base are left (source_pruned.c).  Lists rise. */
typedef struct hd_cut {
    const int32_t *matrices;      /* [shape[0] of what is left]; NULL: all */
    const int32_t *rows;          /* [rows_left] for each matrix, `rows_next` further for the next; NULL: all */
    const int32_t *cols;          /* the same */
    int64_t rows_next, cols_next; /* 0: one list for all matrices */
} hd_cut;

/* What an adapter adds to one matrix of the checkpoint (source_merged.c). */
typedef struct hd_source_delta hd_source_delta;

struct hd_source {
    const hd_checkpoint *ckpt;
    hd_format layout;
    hd_model_config config;
    bool renamed; /* else the tensors are the checkpoint's own */
    hd_meta_list meta;
    hd_arena arena; /* names, parts, scales */
    hd_tensor *tensors;
    hd_origin *origins; /* [count]; NULL where nothing is renamed */
    size_t count, cap;
    bool *taken;    /* [tensors of the checkpoint] */
    size_t scratch; /* values of the widest row of a part */
    const char *left_out;
    hd_source *base;         /* owned: a source of which this one shows a part; NULL: none */
    hd_cut *cuts;            /* [count]; NULL without a base */
    hd_source_delta *deltas; /* of merged adapters; NULL: none */
    size_t delta_count;
};

hd_status hd_source_new(hd_source **out, const hd_checkpoint *ckpt, hd_format layout, hd_error *err);

/* Adds a tensor; t->name is copied.  Errors: HD_E_MEMORY. */
hd_status hd_source_add(hd_source *s, const hd_tensor *t, const hd_origin *origin, hd_error *err);

/* Takes a tensor of the checkpoint by name; NULL: there is none. */
const hd_tensor *hd_source_take(hd_source *s, const char *name);

/* A tensor as `count` matrices one behind the other ([count][rows][cols]; 1 for a matrix or a vector, which is a matrix
 * of one column with `column`).  Block scales ("<name>_scale_inv") are taken along. */
hd_status hd_source_parts(hd_source *s, const hd_tensor *t, size_t count, bool column, hd_matrix *parts, hd_error *err);

/* The same tensor of the checkpoint under another name, as `type`; with `rotate`, rows of heads of Llama's q and k
 * (which of them `id` says) are reordered so.  Errors: those of hd_source_parts. */
hd_status hd_source_add_renamed(hd_source *s, hd_name_id id, const hd_tensor *t, const char *name, hd_type type,
                                hd_take rotate, hd_error *err);

/* Rows [row, row + n) of a tensor of scales. */
void hd_source_take_scales(const hd_source *s, const hd_origin *o, int64_t row, int64_t n, float *out, float *scratch);

/* Rows of tensor i of a source with a base whose `data` is NULL, and no more of it needed. */
void hd_source_cut_rows(const hd_source *s, size_t i, int64_t row, int64_t n, float *out, float *scratch);

/* Adds to row `row` of a part, out[cols], what merged adapters have for it. */
void hd_source_add_deltas(const hd_source *s, const hd_matrix *m, int64_t row, float *out);

/* HD_E_FORMAT naming tensors that nothing took. */
hd_status hd_source_check_taken(hd_source *s, hd_error *err);

#endif
