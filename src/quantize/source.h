/* quantize/source.h: a model as another layout has it: its tensors' names and shapes, its metadata, and the values of
 * each tensor's rows on demand, out of wherever the checkpoint has them.
 *
 * A checkpoint in the layout that is wanted is its own source: nothing is renamed, every tensor's bytes lie in the file
 * just so.  Else tensors are renamed, experts stacked or taken apart, rows reordered (Llama's rotated pairs), heads of
 * latent attention split or joined, block scales applied.  A source is immutable once open; reading rows from several
 * threads is fine.
 */
#ifndef HD_QUANTIZE_SOURCE_H
#define HD_QUANTIZE_SOURCE_H

#include "models/adapter.h"
#include "models/models.h"
#include "tokenizer/tokenizer.h"

typedef struct hd_source hd_source;

/* The model of `ckpt` as GGUF has it.  `tok` may be NULL for a checkpoint that is GGUF already, and for a model that
 * comes without a tokenizer (the file will have none).  `name` becomes general.name.  Both must outlive the source.
 * Errors: HD_E_UNSUPPORTED (architecture, a setting or a tokenizer that GGUF can't say), HD_E_FORMAT (tensors are
 * missing, of a wrong shape or unknown), HD_E_MEMORY. */
hd_status hd_source_open_gguf(hd_source **out, const hd_checkpoint *ckpt, const hd_tokenizer *tok, const char *name,
                              hd_error *err);

/* The model of `ckpt` as the official releases have it: names of safetensors, types that it has (F32, F16, BF16; what
 * is of a smaller type is shown as BF16).  No metadata: hd_source_config tells. */
hd_status hd_source_open_release(hd_source **out, const hd_checkpoint *ckpt, hd_error *err);

/* Gives every projection of a release (no embedding, output, norm or router) a tensor of scales behind it, as the
 * releases in 8 bits have them: F8_E4M3 as DeepSeek-V3, "NAME_scale_inv", float32, one for each block of 128 x 128; I8
 * as compressed-tensors, "NAME_scale" [rows][1], bfloat16.  To be called once, before anything is read; indices of
 * tensors change.  Errors: HD_E_ARGUMENT (one has that type in the checkpoint), HD_E_MEMORY; then the source can only
 * be closed. */
hd_status hd_source_add_scales(hd_source *source, hd_type codes, hd_error *err);

/* The type of the codes of tensor i, if its scales are there; else the tensor's. */
hd_type hd_source_codes(const hd_source *source, size_t i);
void hd_source_close(hd_source **source);

/* Merges an adapter: its matrices become W + scale * B A, computed in float32; tensors of other than plain types show
 * as BF16 from now on.  More than one may be merged.  The adapter may be closed after.  After an error the source can
 * only be closed.  Errors: HD_E_ARGUMENT (an adapter of another base), HD_E_LIMIT (the scale takes its
 * values beyond float32), HD_E_UNSUPPORTED, HD_E_MEMORY. */
hd_status hd_source_merge(hd_source *source, const hd_adapter *adapter, float scale, hd_error *err);
bool hd_source_is_merged(const hd_source *source);

hd_format hd_source_layout(const hd_source *source);
const hd_checkpoint *hd_source_checkpoint(const hd_source *source);
const hd_model_config *hd_source_config(const hd_source *source); /* NULL where nothing is renamed */
const hd_meta_list *hd_source_meta(const hd_source *source);      /* GGUF */

/* The tensors, in the order in which they should be written.  `type` is that of the values as they are; `data` is set
 * where the bytes lie in a file just so, NULL where rows have to be put together. */
size_t hd_source_count(const hd_source *source);
const hd_tensor *hd_source_tensor(const hd_source *source, size_t i);
const hd_tensor *hd_source_tensors(const hd_source *source);

/* What was left out: multi-token prediction layers, second copies of tied matrices.  NULL: nothing. */
const char *hd_source_left_out(const hd_source *source);

/* float32 values of rows [row, row + n) of tensor i: out[n][cols], cols its last dimension.  `scratch` has room for
 * hd_source_scratch values. */
void hd_source_rows(const hd_source *source, size_t i, int64_t row, int64_t n, float *out, float *scratch);
size_t hd_source_scratch(const hd_source *source);

/* Values that have to be looked at for all of tensor i: its own; of scales those of their matrix. */
int64_t hd_source_work(const hd_source *source, size_t i);

/* Tells the kernel that tensor i was read and need not stay resident. */
void hd_source_drop(const hd_source *source, size_t i);

/* Columns, and rows of all other dimensions together, of a tensor; a scalar has one of each. */
int64_t hd_tensor_cols(const hd_tensor *t);
int64_t hd_tensor_rows(const hd_tensor *t);

#endif
