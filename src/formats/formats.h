/* formats/formats.h: the door of the formats room: untrusted files in, checked tensors out.
 *
 * A checkpoint is a model on disk in any supported layout: a GGUF file (or any of its split parts), a .safetensors
 * file or its index, a PyTorch checkpoint (a zip of torch.save) or its index, a MindSpore checkpoint (.ckpt), or a
 * folder in the layout of the official releases (config.json beside model.safetensors, pytorch_model.bin, an index or a
 * .ckpt).  After a successful open every tensor's bytes lie inside its file or in memory of the checkpoint, agree with
 * its shape, and start at a multiple of the element's size (of 2 for block types).
 * A checkpoint is immutable; reading it from several threads is fine.
 */
#ifndef HD_FORMATS_H
#define HD_FORMATS_H

#include "tensor/tensor.h"

typedef struct hd_checkpoint hd_checkpoint;

/* How a model is told: by GGUF's metadata and names, or by config.json and the names of the official releases, in
 * whatever kind of file the tensors lie. */
typedef enum hd_format { HD_FORMAT_GGUF, HD_FORMAT_SAFETENSORS } hd_format;

/* Opens `path` (a file or a folder).  A folder with a config.json and safetensors is taken as such; else one with a
 * config.json and pytorch_model.bin (or its index); else one that holds a single GGUF model (split or not) is that;
 * else config.json and one .ckpt (or one index of several) are.  A config.json of model_type "hadal_scripted" needs no
 * weights.  Errors name file, field or tensor: HD_E_NOT_FOUND, HD_E_FORMAT, HD_E_UNSUPPORTED, HD_E_LIMIT, HD_E_IO,
 * HD_E_MEMORY, HD_E_ARGUMENT (a folder of several models; no regular file), HD_E_MODEL_LOST (a file shrank
 * meanwhile). */
hd_status hd_checkpoint_open(hd_checkpoint **out, const char *path, hd_error *err);
void hd_checkpoint_close(hd_checkpoint **ckpt);

/* Calls `visit` with the path of each file that hd_checkpoint_open may read when it is given `path`, a file, before
 * any is opened: itself, the parts of a split GGUF model, and what says how weights of a release are meant.  They need
 * not be there.  Ends with the first error of `visit`.  HD_E_UNSUPPORTED: an index, which names files in itself;
 * HD_E_LIMIT (parts), HD_E_MEMORY. */
hd_status hd_checkpoint_visit_files(const char *path, hd_status (*visit)(void *arg, const char *file, hd_error *err),
                                    void *arg, hd_error *err);

hd_format hd_checkpoint_format(const hd_checkpoint *ckpt);
const char *hd_checkpoint_files(const hd_checkpoint *ckpt); /* to show: "GGUF", "safetensors", "PyTorch", "MindSpore" */
const char *hd_checkpoint_path(const hd_checkpoint *ckpt);  /* as given */

size_t hd_checkpoint_tensor_count(const hd_checkpoint *ckpt);
const hd_tensor *hd_checkpoint_tensor(const hd_checkpoint *ckpt, size_t index); /* in file order */
const hd_tensor *hd_checkpoint_find(const hd_checkpoint *ckpt, const char *name); /* NULL: none */

/* HD_E_MODEL_LOST once any of its files shrank or failed to read; the text names the file. */
hd_status hd_checkpoint_check(const hd_checkpoint *ckpt, hd_error *err);

/* When the last of its files was written, as of its opening: nanoseconds since 1970. */
int64_t hd_checkpoint_written_ns(const hd_checkpoint *ckpt);

/* Tells the kernel that a tensor's bytes were copied elsewhere and need not stay resident. */
void hd_checkpoint_drop(const hd_checkpoint *ckpt, const void *data, size_t bytes);

/* The same for all of its files: what was looked at once, and what large pages of the page cache brought along.  What
 * is read again comes again. */
void hd_checkpoint_drop_all(const hd_checkpoint *ckpt);

/* Bytes of the GGUF file that has these tensors in this order and `metadata` bytes of keys and values: the header, and
 * what lies between tensors, included.  For plans, without a file. */
uint64_t hd_gguf_file_bytes(const hd_tensor *tensors, size_t count, uint64_t metadata);

/* ---- JSON beside safetensors: config.json and generation_config.json; NULL when absent (always for GGUF). ---- */
const json_t *hd_checkpoint_config(const hd_checkpoint *ckpt);
const json_t *hd_checkpoint_generation_config(const hd_checkpoint *ckpt);

/* ---- GGUF metadata ---- */
typedef enum hd_meta_type { /* the numbers of the GGUF specification */
    HD_META_U8 = 0, HD_META_I8 = 1, HD_META_U16 = 2, HD_META_I16 = 3, HD_META_U32 = 4, HD_META_I32 = 5,
    HD_META_F32 = 6, HD_META_BOOL = 7, HD_META_STRING = 8, HD_META_ARRAY = 9, HD_META_U64 = 10, HD_META_I64 = 11,
    HD_META_F64 = 12
} hd_meta_type;

typedef struct hd_meta {
    hd_str key;
    hd_meta_type type;
    hd_meta_type elem;      /* of an array: its element type (never HD_META_ARRAY) */
    uint64_t count;         /* of an array: its elements */
    const uint8_t *data;    /* scalar or array of scalars: raw little-endian, maybe unaligned */
    const hd_str *strings;  /* array of strings */
    hd_str string;          /* HD_META_STRING */
} hd_meta;

size_t hd_checkpoint_meta_count(const hd_checkpoint *ckpt);
const hd_meta *hd_checkpoint_meta_at(const hd_checkpoint *ckpt, size_t index);
const hd_meta *hd_checkpoint_meta(const hd_checkpoint *ckpt, const char *key); /* NULL: none, or not a GGUF */

/* Element `i` of an array, or the scalar itself with i = 0, converted; false when it is not a number of that kind, is
 * negative (u64) or i is out of range.  Integers convert to f64, bool to u64. */
bool hd_meta_u64(const hd_meta *meta, uint64_t i, uint64_t *out);
bool hd_meta_i64(const hd_meta *meta, uint64_t i, int64_t *out);
bool hd_meta_f64(const hd_meta *meta, uint64_t i, double *out);
bool hd_meta_bool(const hd_meta *meta, bool *out);

/* ---- making metadata ---- */

/* A growing list of entries.  Errors are sticky: after the first one nothing is added and `status` says why
 * (HD_E_MEMORY, HD_E_LIMIT), so a writer checks once at its end.  Zero-initialize; free with hd_meta_list_free.  Not
 * thread-safe. */
typedef struct hd_meta_list {
    hd_meta *items;
    size_t count, cap;
    hd_arena arena; /* what the entries point to and the list owns */
    hd_status status;
} hd_meta_list;

void hd_meta_list_free(hd_meta_list *list);

/* Bytes that the entries take in a file. */
uint64_t hd_meta_list_bytes(const hd_meta_list *list);

/* Adds entries; keys, numbers and texts are copied.  hd_meta_add takes an entry as it is: what it points to must
 * outlive the list (list->arena's does).  hd_meta_add_texts copies the array, not the texts. */
void hd_meta_add(hd_meta_list *list, const hd_meta *entry);
void hd_meta_add_u16(hd_meta_list *list, const char *key, uint16_t value);
void hd_meta_add_u32(hd_meta_list *list, const char *key, uint32_t value);
void hd_meta_add_i32(hd_meta_list *list, const char *key, int32_t value);
void hd_meta_add_f32(hd_meta_list *list, const char *key, float value);
void hd_meta_add_bool(hd_meta_list *list, const char *key, bool value);
void hd_meta_add_text(hd_meta_list *list, const char *key, const char *text, size_t len);
void hd_meta_add_i32s(hd_meta_list *list, const char *key, const int32_t *values, size_t count);
void hd_meta_add_texts(hd_meta_list *list, const char *key, const hd_str *texts, size_t count);

/* Writes tensors to a safetensors file (atomically: a temporary beside it, then a rename).  Types: F32, I32 and the
 * plain float types.  A regular file of that name is replaced; a link, a device or a folder is not.  Errors: HD_E_IO,
 * HD_E_MEMORY, HD_E_UNSUPPORTED. */
hd_status hd_safetensors_write(const char *path, const hd_tensor *tensors, size_t count, hd_error *err);

/* ---- writing files of any size, from front to back ---- */
typedef struct hd_file_writer hd_file_writer;

#define HD_PART_SUFFIX ".part" /* behind the name of a file that is not whole yet */

/* Begins PATH.part: version 3 with these metadata and the names, types and shapes of these tensors, in this order
 * (their bytes come later; `data` and `bytes` are not looked at).  All is copied.  Where PATH.part is there and begins
 * with just the same, a run that was killed goes on: its whole tensors stay.  Another file of that name is not touched.
 * With `keep_finished`, a PATH that begins with just the same and has the right size is taken for what an earlier run
 * made: all its tensors are written.  Errors: HD_E_IO (also: another process writes it), HD_E_ARGUMENT (names, shapes),
 * HD_E_UNSUPPORTED (a type that GGUF lacks), HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_gguf_writer_open(hd_file_writer **out, const char *path, const hd_meta *meta, size_t meta_count,
                              const hd_tensor *tensors, size_t count, bool keep_finished, hd_error *err);

/* The same for safetensors: tensors lie one behind the other in this order, so those of wide elements should come
 * first. */
hd_status hd_safetensors_writer_open(hd_file_writer **out, const char *path, const hd_tensor *tensors, size_t count,
                                     bool keep_finished, hd_error *err);

/* The same for a MindSpore checkpoint, FOO.ckpt: at least one tensor, of F32, F16, BF16, F64, I64, I32, I16, I8 or
 * U8.  A tensor of more than 512 MiB is written in slices, as MindSpore does. */
hd_status hd_mindspore_writer_open(hd_file_writer **out, const char *path, const hd_tensor *tensors, size_t count,
                                   bool keep_finished, hd_error *err);

/* What the tensors of a release lie in. */
typedef enum hd_release_files { HD_FILES_SAFETENSORS, HD_FILES_MINDSPORE } hd_release_files;

/* The tensor that the next bytes belong to; `count` when all are written. */
size_t hd_file_writer_next(const hd_file_writer *w);

/* Whether it goes on from a file that was last written before `ns` (nanoseconds since 1970): what the model was then is
 * not known. */
bool hd_file_writer_older(const hd_file_writer *w, int64_t ns);

/* Whether a tensor that is written begins with these bytes: what a run that goes on can ask of the part it found. */
bool hd_file_writer_has(const hd_file_writer *w, size_t tensor, const void *data, size_t bytes);

/* Bytes that the finished file will have, and those that are there. */
uint64_t hd_file_writer_size(const hd_file_writer *w);
uint64_t hd_file_writer_written(const hd_file_writer *w);

/* The next bytes of that tensor: all of them, or a piece.  Errors: HD_E_IO, HD_E_ARGUMENT (more than it has). */
hd_status hd_file_writer_put(hd_file_writer *w, const void *data, size_t bytes, hd_error *err);

/* A whole tensor, the next one or one that is written already: that must be the same.  `other` says what the part that
 * was found is where it is not ("was begun from another adapter"): HD_E_IO. */
hd_status hd_file_writer_put_whole(hd_file_writer *w, size_t tensor, const void *data, size_t bytes, const char *other,
                                   hd_error *err);

/* With all tensors written: makes PATH.part last and renames it to PATH, where nothing is replaced.
 * Errors: HD_E_IO (also: something came there meanwhile), HD_E_ARGUMENT (tensors are missing). */
hd_status hd_file_writer_finish(hd_file_writer *w, hd_error *err);

/* Writes `text` over the value of the text `key` in the metadata of a finished GGUF file, in place, with spaces behind
 * it up to the length that the value has; made last.  Who has the file open finds that it changed (HD_E_MODEL_LOST).
 * Errors: HD_E_NOT_FOUND (no such key, or no text), HD_E_LIMIT (the value is shorter), HD_E_IO (also: a link), those of
 * reading it. */
hd_status hd_gguf_fill_text(const char *path, const char *key, const char *text, size_t len, hd_error *err);

/* Unless it was finished, PATH.part stays, to be gone on with. */
void hd_file_writer_close(hd_file_writer **w);

#endif
