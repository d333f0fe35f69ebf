/* cli/output.h: whether a file that a command will write may be written, asked before hours of work.
 *
 * What somebody else made is never replaced.  A file that an earlier run wrote is, so that scripts may run again: it is
 * known by what it holds, tensors of our own names and nothing else.
 */
#ifndef HD_CLI_OUTPUT_H
#define HD_CLI_OUTPUT_H

#include "base/base.h"

/* Checks that `path` can be created, or replaced because it is an empty file or a safetensors file of an earlier run
 * (see above) that is none of the `inputs` (paths; NULL ones are skipped).  `option` is named in errors.  Creates
 * nothing that stays.
 * HD_E_ARGUMENT: it must not be replaced; HD_E_IO: it can't be written there. */
hd_status hd_output_check(const char *option, const char *path, const char *const *inputs, size_t input_count,
                          hd_error *err);

/* Whether both paths name one place: the same name in the same folder, whether something is there or not. */
bool hd_output_same(const char *a, const char *b);

#endif
