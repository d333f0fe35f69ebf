/* quantize/quantize.h: the door of the quantize room: a model's weights as other types, tensor by tensor.
 *
 * A recipe gives each tensor of a source (source.h) its type; the run streams the tensors through memory, some
 * megabytes at a time on all threads, into the files of an output (output.h).  A run that was killed or cancelled goes
 * on where it was and the files are the same byte for byte.
 */
#ifndef HD_QUANTIZE_H
#define HD_QUANTIZE_H

#include "base/pool.h"
#include "formats/imatrix.h"
#include "quantize/source.h"

/* What --type takes: an element type ("Q4_0", "BF16"), which all matrices get, or a mix ("Q4_K_M"), which gives more
 * bits to those that suffer most. */
typedef struct hd_quant_mix {
    const char *name;
    const char *summary;
    hd_type type;     /* of most matrices */
    uint32_t gguf_id; /* general.file_type: the numbers of llama.cpp's llama_ftype */
} hd_quant_mix;

/* All of them, the largest first; static. */
const hd_quant_mix *hd_quant_mixes(size_t *count);
const hd_quant_mix *hd_quant_mix_find(const char *name); /* any case; NULL: none */

/* The types of releases in 8 bits: "FP8" is F8_E4M3, "INT8" is I8, in any case.  False: it is none.  They have scales
 * beside them (hd_source_add_scales) and are no mixes: GGUF has no such types. */
bool hd_quant_release_type(const char *name, hd_type *type);

/* Whether a run can make tensors of this type out of others. */
bool hd_quant_can_write(hd_type type);

/* Whether the types that it consists of can be encoded; a size can be told without.  _check: HD_E_UNSUPPORTED. */
bool hd_quant_mix_writable(const hd_quant_mix *mix);
hd_status hd_quant_mix_check(const hd_quant_mix *mix, hd_error *err);

/* Whether recipes give a tensor of a GGUF file another type: matrices of weights, but not what decides much and weighs
 * little (norms, the router of experts). */
bool hd_quant_is_weight(const hd_tensor *t);

/* The type of each of `count` tensors of a GGUF file, of which names, shapes and types are looked at: types[count].
 * Vectors, norms, the routers of experts and kernels of convolutions keep theirs.  Where rows are no whole blocks of
 * the type, a type with smaller blocks takes its place, and F16 at last.  `tensors` must be the whole model: rules
 * count its layers and experts.  `weighted`: errors will be weighted by importance, for which some mixes have other
 * rules. */
void hd_quant_types(hd_type *types, const hd_tensor *tensors, size_t count, const hd_quant_mix *mix, bool weighted);

/* Bytes of a tensor as `type`; its rows are whole blocks of that. */
size_t hd_quant_bytes(const hd_tensor *tensor, hd_type type);

/* Called now and then with how much of the work is done, in values; false cancels. */
typedef bool (*hd_quant_progress)(void *arg, uint64_t done, uint64_t all);

typedef struct hd_quant_options {
    hd_pool *pool; /* NULL: one thread */
    hd_quant_progress progress;
    void *arg;
    hd_release_files files;    /* of a release */
    uint64_t split;            /* tensor bytes of a file at most; 0: one file */
    int64_t stretch;           /* values that go through memory together; 0: 4 million.  For tests */
    const hd_imatrix *imatrix; /* what errors cost in each column of each tensor that it has; NULL: all alike.  Its
                                * figures go into the metadata (quantize.imatrix.*), its first text's name, too */
    const char *imatrix_file;  /* its name for the metadata; NULL: none */
    const char *report;        /* GGUF: value of HD_QUANT_REPORT_KEY, to be filled in later (hd_gguf_fill_text); NULL:
                                * no such key */
} hd_quant_options;

/* What is known of a written model: a JSON object, padded with spaces to a length that leaves room for the figures. */
#define HD_QUANT_REPORT_KEY "hadal.quantize.report"
#define HD_QUANT_REPORT_BYTES 4096

/* The type of most values; `plain`: of those of F32, F16 and BF16, without scales.  `otherwise` where there are none.
 */
hd_type hd_quant_commonest(const hd_source *from, const hd_type *types, bool plain, hd_type otherwise);

/* Whether encoding to `type` searches for scales, so that it makes use of an importance matrix. */
bool hd_quant_weighs(hd_type type);

/* How many files hd_quantize makes of the source in options->split and ->files, and the name of the first, which has a
 * GGUF model's metadata; *first is the caller's (hd_free), either may be NULL.  HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_quant_files(size_t *count, char **first, const hd_source *from, const hd_type *types, const char *path,
                         const hd_quant_options *options, hd_error *err);

/* Whether the disk has room for what hd_quantize would still write; it asks again.  HD_E_IO says how much is missing;
 * HD_E_LIMIT, HD_E_MEMORY. */
hd_status hd_quant_check_room(const hd_source *from, const hd_type *types, const char *path,
                              const hd_quant_options *options, hd_error *err);

/* Writes the source with types[hd_source_count] as `path`: a GGUF file, or a release's folder, which is there (or its
 * only file, NAME.ckpt), by the source's layout.  `mix` NULL: the recipe has no name, and general.file_type tells of
 * the commonest type. Errors: HD_E_FORMAT (a number that is not finite), HD_E_UNSUPPORTED (one that the type can't
 * hold; a type that can't be written), HD_E_ARGUMENT (an importance matrix of other shapes), HD_E_CANCELLED,
 * HD_E_MODEL_LOST, HD_E_LIMIT (too many files), HD_E_IO (also: the part that is there was made of another model),
 * HD_E_MEMORY. */
hd_status hd_quantize(const hd_source *from, const hd_type *types, const hd_quant_mix *mix, const char *path,
                      const hd_quant_options *options, hd_error *err);

#endif
