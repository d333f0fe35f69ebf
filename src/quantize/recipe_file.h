/* quantize/recipe_file.h: recipes as JSON files, to be looked at, edited and used again.
 *
 *     {"types": {"token_embd.weight": "Q6_K", "blk.*.ffn_down.weight": "Q5_K", "blk.0.ffn_down.weight": "Q6_K"}}
 *
 * A key is the name of a tensor of a GGUF file, or a pattern in which each * stands for any run of characters; of
 * several that fit a tensor the last one counts.  A tensor that no key fits keeps its type.  Other members are for
 * people.
 */
#ifndef HD_QUANTIZE_RECIPE_FILE_H
#define HD_QUANTIZE_RECIPE_FILE_H

#include "quantize/quantize.h"

/* Writes types[hd_source_count], of those that are not what they were; `note` stands beside them.  A file that is there
 * is replaced.  Errors: HD_E_IO, HD_E_MEMORY. */
hd_status hd_recipe_save(const char *path, const hd_source *from, const hd_type *types, const char *note,
                         hd_error *err);

/* Fills types[hd_source_count].  Errors: HD_E_NOT_FOUND, HD_E_FORMAT (not such a file; a name or pattern that fits no
 * tensor; a type that there is not, or whose blocks a tensor's rows don't fill), HD_E_UNSUPPORTED (a type that can't be
 * written), HD_E_MEMORY. */
hd_status hd_recipe_load(hd_type *types, const hd_source *from, const char *path, hd_error *err);

/* Whether `name` is as `pattern` says, where * is any run of characters. */
bool hd_recipe_fits(const char *pattern, const char *name);

#endif
