/* ops/program.h: this program with all that it needs to run elsewhere: its own file, its loader, its libraries.
 *
 * What is loaded now is what is taken: the paths are the loader's (dl_iterate_phdr), so that no search order has to be
 * guessed.  One thread at a time.
 */
#ifndef HD_OPS_PROGRAM_H
#define HD_OPS_PROGRAM_H

#include "base/base.h"

#define HD_PROGRAM_LIBRARIES 128

typedef struct hd_program_file {
    char *name;   /* "libssl.so.3"; of the loader its whole path, "/lib64/ld-linux-x86-64.so.2" */
    char *folder; /* where the loader of its kind looks for it: "/lib/x86_64-linux-gnu" */
    hd_mapping *map;
} hd_program_file;

typedef struct hd_program {
    hd_program_file program, loader;                 /* the loader's map is NULL where the program is static */
    hd_program_file libraries[HD_PROGRAM_LIBRARIES]; /* sorted by name, without the loader */
    size_t library_count;
    char needed[HD_PROGRAM_LIBRARIES][64]; /* names that the program itself asks for, sorted */
    size_t needed_count;
    const char *machine;          /* "x86_64" or "aarch64" */
    int glibc_major, glibc_minor; /* that the program itself asks for */
} hd_program;

/* Finds and maps them.  HD_E_NOT_FOUND: a file is not where the loader had it (the program was replaced while it runs),
 * HD_E_FORMAT, HD_E_LIMIT, HD_E_UNSUPPORTED (another processor), HD_E_IO, HD_E_MEMORY. */
hd_status hd_program_open(hd_program **out, hd_error *err);
void hd_program_close(hd_program **program); /* NULL-safe */

/* Appends a sentence for each distribution of a dated table: whether its C library is new enough for `program`. */
hd_status hd_program_distributions(const hd_program *program, hd_buf *out);

/* "2.36": the C library of a distribution must be at least so new; false: it isn't. */
bool hd_program_runs_on(const hd_program *program, int glibc_major, int glibc_minor);

#endif
