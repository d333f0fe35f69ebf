/* formats_internal.h: what the files of the formats room share.
 *
 * The parsers work on bytes in memory, so that tests and fuzzers need no files; checkpoint.c brings the mapped files.
 * Whatever they give out points into those bytes or into memory of its own, and was checked against the length given.
 */
#ifndef HD_FORMATS_INTERNAL_H
#define HD_FORMATS_INTERNAL_H

#include "formats/formats.h"

/* ---- limits: far above any published model, far below what would hurt ---- */
#define HD_TENSORS_MAX ((size_t)1 << 20)        /* DeepSeek-V3 has 92,000 as safetensors */
#define HD_TENSOR_NAME_MAX 512                  /* bytes; published names stay below 100 */
#define HD_GGUF_NAME_MAX 64                     /* bytes of a tensor's name: the GGUF specification */
#define HD_GGUF_KEY_MAX 65535                   /* bytes of a key: the GGUF specification */
#define HD_GGUF_META_MAX 65536                  /* entries; published files have below 100 */
#define HD_GGUF_SPLIT_MAX 1024                  /* parts of one model */
#define HD_SAFETENSORS_HEADER_MAX (32u << 20)   /* bytes of JSON; V3's largest shard has 0.1 MB */
#define HD_INDEX_BYTES_MAX ((size_t)64 << 20)   /* model.safetensors.index.json; V3's has 9 MB */
#define HD_INDEX_FILES_MAX 2048                 /* files of one index; V3 has 163 */
#define HD_CONFIG_BYTES_MAX ((size_t)4 << 20)   /* config.json and generation_config.json */
#define HD_ZIP_ENTRIES_MAX ((size_t)1 << 20)    /* one a tensor and some more, as HD_TENSORS_MAX */
#define HD_ZIP_NAME_MAX 512                     /* bytes: the stem of the file's name, then "/data/123" */
#define HD_PICKLE_BYTES_MAX ((size_t)64 << 20)  /* data.pkl: 170 bytes a tensor, 16 MB for all of V3's in one file */
#define HD_PICKLE_TEXT_MAX ((uint64_t)1 << 20)  /* bytes of one string; names stay below HD_TENSOR_NAME_MAX */
#define HD_PICKLE_STACK_MAX ((size_t)1 << 20)   /* values; Python's writer puts 1,000 pairs down before it collects */
#define HD_PICKLE_MARKS_MAX 256                 /* open at once: what is nested; a state dict has 3 */
#define HD_PICKLE_MEMO_MAX ((size_t)1 << 22)    /* values; about 12 a tensor */
#define HD_PICKLE_OBJECTS_MAX ((size_t)256 << 20) /* bytes of tuples, dicts and tensors; about 500 a tensor */
#define HD_COPIED_MAX ((size_t)64 << 30)        /* bytes of a MindSpore file's tensors that have to be copied */

/* ---- names.c ---- */

/* Names sorted by bytes, for finding one by binary search: the worst case stays n log n, whatever an attacker names. */
typedef struct hd_name_entry {
    hd_str text; /* somebody else's bytes */
    size_t item; /* what it names */
} hd_name_entry;

typedef struct hd_names {
    hd_name_entry *sorted;
    size_t count;
} hd_names;

/* Room for `count` names; the caller fills names->sorted, then calls hd_names_sort.  False: no memory. */
bool hd_names_alloc(hd_names *names, size_t count);
void hd_names_free(hd_names *names);

/* Sorts; returns a name that occurs twice, or NULL. */
const hd_name_entry *hd_names_sort(hd_names *names);
const hd_name_entry *hd_names_find(const hd_names *names, const char *text, size_t len);

/* True when `text` is 1 .. max bytes of UTF-8 without control characters: fit to be shown and compared. */
bool hd_name_valid(hd_str text, size_t max);

/* Untrusted bytes made fit for an error text: cut to a length, everything but printable ASCII replaced. */
typedef struct hd_shown {
    char text[100];
} hd_shown;
hd_shown hd_show(hd_str text);

/* ---- tensors.c ---- */

/* The tensors of one file, with the memory of their names, and of values that could not stay where they lie there. */
typedef struct hd_tensor_set {
    hd_tensor *tensors;
    size_t count;
    char *names;
    void **copies; /* each of hd_alloc_aligned; room for one a tensor, or NULL */
    size_t copy_count;
    void *copied; /* hd_bulk_alloc: bytes of tensors that can't be used where they lie; NULL: none */
    size_t copied_bytes;
} hd_tensor_set;

void hd_tensor_set_free(hd_tensor_set *set);

/* Bytes of a tensor from type, dims and shape.  False, with *why a phrase ("..."), when a row is not a whole number of
 * blocks or when the count of values or bytes overflows. */
bool hd_tensor_measure(const hd_tensor *t, size_t *bytes, const char **why);

/* ---- gguf.c ---- */

typedef struct hd_gguf {
    uint32_t version;
    uint64_t alignment;
    hd_meta *meta;
    size_t meta_count;
    hd_names keys;
    hd_tensor_set set;
} hd_gguf;

/* Reads a whole GGUF file of `size` bytes.  On failure *out is empty.  `data` must outlive *out. */
hd_status hd_gguf_parse(hd_gguf *out, const uint8_t *data, size_t size, hd_error *err);
void hd_gguf_free(hd_gguf *gguf);
const hd_meta *hd_gguf_find(const hd_gguf *gguf, const char *key);

#define HD_GGUF_MAGIC "GGUF"
#define HD_GGUF_VERSION 3    /* that is written; 2 is read, too */
#define HD_GGUF_ALIGNMENT 32 /* of tensors' data, where general.alignment is absent */

/* The next multiple of `alignment`. */
static inline uint64_t hd_align_up(uint64_t at, uint64_t alignment)
{
    return (at + alignment - 1) / alignment * alignment;
}

/* Bytes of a scalar; 0 for strings, arrays and unknown types. */
size_t hd_meta_scalar_bytes(uint32_t type);

/* ---- write.c: what writers of files share ---- */

/* Writes all of it; false: errno says why. */
bool hd_write_all(int fd, const void *data, size_t len);

/* Makes a rename within a folder last; without effect on file systems that can't. */
void hd_sync_folder_of(const char *path);

/* Whether a rename to `path` replaces nothing but a regular file: no device, nor somebody's link. */
bool hd_may_replace(const char *path);

/* ---- file_write.c ---- */

/* Bytes of the format itself between those of tensors, or within one: `len` of them at `at` of the file, from the
 * header's end on. */
typedef struct hd_file_insert {
    uint64_t at;
    size_t text, len; /* in a buffer of all inserts' bytes */
} hd_file_insert;

/* What a file will be: its header, and where each tensor's bytes end, from the header's end on; tensors begin at
 * multiples of `alignment`, with what is inserted there. */
typedef struct hd_file_layout {
    hd_buf header;
    uint64_t *end; /* [count] */
    size_t count;
    uint64_t alignment;
    hd_buf text; /* of the inserts */
    hd_file_insert *inserts;
    size_t insert_count, insert_cap;
} hd_file_layout;

hd_status hd_file_layout_init(hd_file_layout *layout, size_t count, hd_error *err);
void hd_file_layout_free(hd_file_layout *layout); /* also after a failed init */

/* Adds an insert of at least one byte, behind those that are there; it belongs to the tensor that begins at `at` or has
 * bytes on both sides of it, and counts in its end.  Bytes are copied.  HD_E_MEMORY, HD_E_LIMIT. */
hd_status hd_file_layout_insert(hd_file_layout *layout, uint64_t at, const void *bytes, size_t len);

/* See hd_gguf_writer_open; all is copied. */
hd_status hd_file_writer_new(hd_file_writer **out, const hd_file_layout *layout, const char *path, bool keep_finished,
                             hd_error *err);

/* ---- split.c ---- */

/* A part's name: "<stem>-00002-of-00009.gguf". */
typedef struct hd_split_name {
    size_t stem_len;
    unsigned part, count; /* part counts from 1 */
} hd_split_name;

/* False when the path has not that form. */
bool hd_split_name_parse(const char *path, hd_split_name *out);

/* The path of another part; NULL when there is no memory.  The caller frees it. */
char *hd_split_name_make(const char *path, const hd_split_name *name, unsigned part);

/* Parts that the metadata speak of: 1 for an ordinary file.  Errors: HD_E_FORMAT, HD_E_LIMIT. */
hd_status hd_split_count(const hd_gguf *gguf, unsigned *count, hd_error *err);

/* Checks that `gguf` says of itself that it is part `part` (from 1) of `count`. */
hd_status hd_split_check(const hd_gguf *gguf, unsigned part, unsigned count, hd_error *err);

/* ---- safetensors.c ---- */

/* Reads the header of a whole safetensors file of `size` bytes; the tensors come in the order of their bytes. */
hd_status hd_safetensors_parse_header(hd_tensor_set *out, const uint8_t *data, size_t size, hd_error *err);

/* ---- imatrix.c, imatrix_write.c: behind a tensor's name ---- */
#define HD_IMATRIX_SUMS ".in_sum2"
#define HD_IMATRIX_COUNTS ".counts"
/* ---- zip.c ---- */

typedef struct hd_zip_entry {
    hd_str name;
    const uint8_t *header; /* where the entry begins */
    const uint8_t *data;   /* its bytes, as they are: stored */
    size_t bytes;
} hd_zip_entry;

typedef struct hd_zip {
    hd_zip_entry *entries; /* by place */
    size_t count;
    hd_names names; /* of entries */
} hd_zip;

/* Reads the directory of a whole zip file of `size` bytes; `data` must outlive *out.  On failure *out is empty.
 * Errors: HD_E_FORMAT, HD_E_UNSUPPORTED (compressed, encrypted), HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_zip_parse(hd_zip *out, const uint8_t *data, size_t size, hd_error *err);
void hd_zip_free(hd_zip *zip);
const hd_zip_entry *hd_zip_find(const hd_zip *zip, const char *name, size_t len);

/* ---- pickle.c ---- */

/* A tensor as a pickle speaks of it; nothing of it was held against the storage's bytes yet. */
typedef struct hd_pickle_tensor {
    hd_str name;
    hd_str storage;        /* its key: any text */
    hd_type storage_type;  /* of the storage's values */
    int64_t storage_count; /* values of the storage; at least 0 */
    hd_type type;          /* of the tensor's values */
    int dims;              /* 0 .. HD_MAX_DIMS */
    int64_t shape[HD_MAX_DIMS], stride[HD_MAX_DIMS]; /* in values; at least 0; unused entries are 1 and 0 */
    int64_t offset;                                  /* in values; at least 0 */
} hd_pickle_tensor;

typedef struct hd_pickle {
    hd_pickle_tensor *tensors; /* in the order of the state dict; names differ and are valid */
    size_t count;              /* at least 1 */
} hd_pickle;

/* Reads the state dict of a data.pkl of `size` bytes, which must outlive *out.  Nothing is executed: opcodes that could
 * call, import or build anything but tensors are refused by name.  On failure *out is empty.  Errors: HD_E_UNSUPPORTED
 * (what is not allowed), HD_E_FORMAT, HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_pickle_parse(hd_pickle *out, const uint8_t *data, size_t size, hd_error *err);
void hd_pickle_free(hd_pickle *pickle);

/* ---- torch.c ---- */

/* Reads a whole PyTorch checkpoint of `size` bytes.  The tensors come in the order of the state dict; those that do not
 * lie row by row at aligned addresses are copies.  On failure *out is empty.  Errors as of the two above. */
hd_status hd_torch_parse(hd_tensor_set *out, const uint8_t *data, size_t size, hd_error *err);
/* ---- mindspore.c ---- */

/* Reads a whole MindSpore checkpoint of `size` bytes; the tensors come in the order of their bytes.  What lies askew or
 * in slices is copied to out->copied; the rest points into `data`. */
hd_status hd_mindspore_parse(hd_tensor_set *out, const uint8_t *data, size_t size, hd_error *err);

/* Whether a file that begins so may be one. */
bool hd_mindspore_begins(const uint8_t *data, size_t size);

/* MindSpore's name of a type; NULL: it has none. */
const char *hd_mindspore_type_name(hd_type type);

/* ---- mindspore_write.c ---- */

#define HD_MINDSPORE_SLICE ((uint64_t)512 << 20) /* bytes of a tensor in one value: SLICE_SIZE of MindSpore */

/* Lays out a file with slices of at most `slice` bytes, a multiple of 64.  See hd_mindspore_writer_open. */
hd_status hd_mindspore_layout(hd_file_layout *layout, const hd_tensor *tensors, size_t count, uint64_t slice,
                              hd_error *err);

/* ---- index.c ---- */

/* model.safetensors.index.json: which tensor lies in which file. */
typedef struct hd_index_entry {
    const char *name; /* of the tensor */
    size_t file;      /* index into files */
    bool found;       /* for the reader of the files */
} hd_index_entry;

typedef struct hd_index {
    json_t *json; /* owns all strings */
    hd_index_entry *entries;
    size_t count;
    hd_names names; /* of entries */
    const char **files;
    size_t file_count;
} hd_index;

hd_status hd_index_parse(hd_index *out, const char *text, size_t len, hd_error *err);
void hd_index_free(hd_index *index);

#endif
