/* bad_file.h: an entry of the catalogues of bad files (bad_gguf.h, bad_safetensors.h, bad_index.h).
 *
 * One hand-made file for each thing that a field can have wrong.  The unit tests open each and want its status and
 * words; tests/fuzz/seed_formats.c writes the same files as seeds of the fuzzers. */
#ifndef HD_TESTS_BAD_FILE_H
#define HD_TESTS_BAD_FILE_H

#include "base/base.h"

typedef struct bad_file {
    const char *name; /* also the seed's file name */
    void (*build)(hd_buf *b);
    hd_status status;
    const char *words; /* a part of the error's text that no other kind of damage has */
} bad_file;

/* A catalogue's list of large files is no seed: a fuzzer gets nowhere with them.  All others stay below this. */
#define BAD_FILE_SEED_MAX 4096

#endif
