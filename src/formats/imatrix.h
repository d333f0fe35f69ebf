/* formats/imatrix.h: importance matrices: how large the inputs of each weight matrix are, column by column.
 *
 * While a text goes through a model, each column's squared inputs are added up.  The mean says what an error of a
 * weight in that column costs, for quantization (quantize/importance.h).  Two layouts of files are read, as llama.cpp
 * has them: GGUF, which is also written, and the older binary one (.dat).  Files are not trusted: every size is checked
 * against the bytes that are there, every number must be finite and at least 0.
 */
#ifndef HD_FORMATS_IMATRIX_H
#define HD_FORMATS_IMATRIX_H

#include "tensor/tensor.h"

#define HD_IMATRIX_ENTRIES_MAX 65536            /* V3 as safetensors, an expert a tensor, has 45,000 */
#define HD_IMATRIX_VALUES_MAX ((size_t)1 << 30) /* of all entries together; V3 has 240 million */
#define HD_IMATRIX_DATASETS_MAX 1024            /* texts that were used */
#define HD_IMATRIX_DATASET_BYTES 4096           /* of one's name: it may be a path */

/* One tensor.  `rows` tells apart what was counted apart: an expert or a head each; else 1. */
typedef struct hd_imatrix_entry {
    char *name; /* of the tensor of weights */
    size_t rows, cols;
    float *sums;   /* [rows][cols] sums of squared inputs */
    float *counts; /* [rows] how many inputs went into them; 0: none came by */
} hd_imatrix_entry;

typedef struct hd_imatrix {
    hd_imatrix_entry **entries; /* [count], each at its address for good; sorted by name (hd_imatrix_sort) */
    size_t count, cap, values;
    char **datasets; /* [dataset_count] names of the texts */
    size_t dataset_count;
    uint32_t chunk_count, chunk_size; /* windows of the text, and tokens of one; 0: unknown */
} hd_imatrix;

/* An empty one.  HD_E_MEMORY. */
hd_status hd_imatrix_open(hd_imatrix **out, hd_error *err);
void hd_imatrix_close(hd_imatrix **matrix); /* NULL-safe */

/* A new entry of zeros, or of the names of texts.  `name` is copied.  HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_imatrix_add(hd_imatrix *m, const char *name, size_t rows, size_t cols, hd_imatrix_entry **entry,
                         hd_error *err);
hd_status hd_imatrix_add_dataset(hd_imatrix *m, const char *name, hd_error *err);

/* After the last entry, before the first search.  HD_E_FORMAT: a name occurs twice. */
hd_status hd_imatrix_sort(hd_imatrix *m, hd_error *err);

/* NULL: there is none of that name. */
const hd_imatrix_entry *hd_imatrix_find(const hd_imatrix *m, const char *name);

/* Reads a file of either layout; the result is sorted.  In the older layout an entry has one count, of windows and not
 * of inputs, whatever its number of experts.  Errors name the file and the entry: HD_E_NOT_FOUND, HD_E_FORMAT,
 * HD_E_LIMIT, HD_E_IO (also: it changed meanwhile), HD_E_MEMORY. */
hd_status hd_imatrix_read(hd_imatrix **out, const char *path, hd_error *err);

/* The same from bytes, for tests and fuzzers. */
hd_status hd_imatrix_parse(hd_imatrix **out, const uint8_t *data, size_t size, hd_error *err);

/* Writes GGUF (general.type imatrix, tensors NAME.in_sum2 and NAME.counts), whole or not at all; a file that is there
 * is not replaced.  Errors as hd_gguf_writer_open. */
hd_status hd_imatrix_write(const hd_imatrix *m, const char *path, hd_error *err);

#endif
