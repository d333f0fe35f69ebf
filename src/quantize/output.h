/* quantize/output.h: the files that a run writes: one, or several of at most a given size.
 *
 * A GGUF model is PATH, or STEM-00001-of-00003.gguf and so on; a release is a folder with model.safetensors, or
 * model-00001-of-00003.safetensors and an index; or the same with MindSpore's .ckpt in its place, or the file
 * NAME.ckpt.  Each file is written from front to back (formats.h, hd_file_writer), and a run that was killed goes on in
 * the file where it was. */
#ifndef HD_QUANTIZE_OUTPUT_H
#define HD_QUANTIZE_OUTPUT_H

#include "formats/formats.h"

typedef struct hd_output hd_output;

typedef struct hd_output_plan {
    hd_format format;
    hd_release_files files; /* of a release */
    const char *path;       /* the file, or the folder, which is there */
    uint64_t split;         /* tensor bytes of a file at most, if a tensor has no more; 0: one file */
    const hd_meta *meta;    /* GGUF */
    size_t meta_count;
    const hd_tensor *tensors; /* name, type, shape */
    size_t count;
} hd_output_plan;

/* Decides which tensor goes where; nothing is written.  What the plan points to must outlive the output.  Errors:
 * HD_E_LIMIT (more parts than readers take), HD_E_MEMORY. */
hd_status hd_output_open(hd_output **out, const hd_output_plan *plan, hd_error *err);
void hd_output_close(hd_output **out);

/* The files, and the tensors of each in the order in which they have to be written: hd_output_tensor gives indices into
 * the plan's list for positions [0, hd_output_tensors). */
size_t hd_output_files(const hd_output *o);
size_t hd_output_tensors(const hd_output *o, size_t file);
size_t hd_output_tensor(const hd_output *o, size_t file, size_t position);

/* Bytes of the files, and of their parts, that earlier runs left. */
uint64_t hd_output_there(const hd_output *o);

/* The name of a file; *out is the caller's (hd_free).  HD_E_MEMORY. */
hd_status hd_output_path(char **out, const hd_output *o, size_t file, hd_error *err);

/* The name of file `file` of `count` within the folder of a release. */
void hd_output_shard_name(hd_release_files files, size_t file, size_t count, char name[64]);

/* Opens a file for writing; *writer belongs to the output until _end, which finishes and closes it. */
hd_status hd_output_begin(hd_output *o, size_t file, hd_file_writer **writer, hd_error *err);
hd_status hd_output_end(hd_output *o, hd_error *err);

/* Whether a release is written as a single file, no folder: MindSpore's, by the end of its name. */
bool hd_output_is_file(hd_release_files files, const char *path);

/* Behind the last file: the index of several files of a release. */
hd_status hd_output_finish(hd_output *o, hd_error *err);

#endif
