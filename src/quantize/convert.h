/* quantize/convert.h: a model as a folder in the layout of the official releases. */
#ifndef HD_QUANTIZE_CONVERT_H
#define HD_QUANTIZE_CONVERT_H

#include "quantize/quantize.h"

/* Writes a source of that layout as the folder `path`: config.json, generation_config.json and the tokenizer's files
 * beside the weights as types[hd_source_count] (F32, F16, BF16; F8_E4M3 or I8 of those that have scales,
 * hd_source_add_scales) in options->files.  They grow in PATH.part, a folder that becomes PATH when it is whole; a run
 * that was killed goes on.  `tok` NULL: no tokenizer.  A source that is a release has its small files copied.
 * MindSpore's files with a `path` that ends in .ckpt: that one file, and the small files in its folder, where they are
 * missing; one that is there and says something else is an error, before anything is written.
 * Errors: those of hd_quantize, and HD_E_IO where something of that name is there. */
hd_status hd_convert_release(const hd_source *from, const hd_type *types, const hd_tokenizer *tok, const char *path,
                             const hd_quant_options *options, hd_error *err);

#endif
