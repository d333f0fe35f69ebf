/* cli/rewrite.h: what the commands that write models anew share (quantize, convert): opening a model as the other
 * layout has it, looking at the place where it will lie, progress, the run. */
#ifndef HD_CLI_REWRITE_H
#define HD_CLI_REWRITE_H

#include "cli/options.h"
#include "quantize/convert.h"

typedef struct hd_rewrite {
    const char *in, *out;   /* as given */
    int64_t threads;        /* 0: all */
    uint64_t split;         /* bytes of a file at most; 0: one file */
    hd_release_files files; /* of a release */
    hd_opt_list merge;      /* adapters, PATH[:SCALE] */
    char *out_owned;        /* by hd_rewrite_set_out */
    /* filled by _open */
    char *path; /* of `in` */
    hd_checkpoint *ckpt;
    hd_tokenizer *tok; /* NULL: it has none, or needs none */
    hd_source *source;
    hd_type *types;            /* [hd_source_count], for the caller to change: as they are */
    const hd_imatrix *imatrix; /* set by the caller before _run; NULL: none */
    const char *imatrix_file;
    const char *report; /* the same: hd_quant_options.report */
    double seconds;     /* of the run */
} hd_rewrite;

/* Sets `out`, without slashes at its end: parts grow beside it under its name.  HD_E_MEMORY. */
hd_status hd_rewrite_set_out(hd_rewrite *w, const char *out, hd_error *err);

/* Opens `in` (a path or a name) as `layout` has it, adapters merged.  Close it also after a failure. */
hd_status hd_rewrite_open(hd_rewrite *w, hd_format layout, hd_error *err);

/* Only w->path and w->ckpt of it.  HD_E_ARGUMENT where `in` is an adapter. */
hd_status hd_rewrite_open_checkpoint(hd_rewrite *w, hd_error *err);
void hd_rewrite_close(hd_rewrite *w);

/* A release, just opened, in 8 bits: `codes` is F8_E4M3 or I8; `option` names what was asked for ("FP8").  Errors also:
 * HD_E_ARGUMENT where the files are MindSpore's or the model has that type. */
hd_status hd_rewrite_scale(hd_rewrite *w, hd_type codes, const char *option, hd_error *err);

/* Whether `out` is free: nothing of that name may be there. */
hd_status hd_rewrite_check_name(const hd_rewrite *w, hd_error *err);

/* Writes it, with a line of progress; Ctrl-C ends it in good order. */
hd_status hd_rewrite_run(hd_rewrite *w, const hd_quant_mix *mix, const char *doing, hd_error *err);

/* What the run makes: *first is `out`, or the first of several GGUF files, and the caller's (hd_free); *count files. */
hd_status hd_rewrite_files(const hd_rewrite *w, char **first, size_t *count, hd_error *err);

/* Behind the run, the line "wrote", without its end: `out`, or the first of several GGUF files and how many more. */
hd_status hd_rewrite_print_out(const hd_rewrite *w, const char *verb, hd_error *err);

/* Bytes of all tensors as `types`. */
uint64_t hd_rewrite_bytes(const hd_rewrite *w);

/* The option --merge, for both commands' lists. */
#define HD_MERGE_OPTION(rewrite)                                                                                       \
    {                                                                                                                  \
        .name = "merge", .type = HD_OPT_LIST, .value = &(rewrite)->merge, .metavar = "ADAPTER[:SCALE]",                \
        .help =                                                                                                        \
            "Adds an adapter (LoRA; a PEFT folder or a GGUF adapter) to the weights, computed in float32, SCALE "      \
            "times "                                                                                                   \
            "as strong as it says; may be repeated.  Its matrices are written in the model's type, those of block "    \
            "types as BF16 where no other type is asked for."                                                          \
    }

/* A progress line with the time that is left; zero-initialize. */
typedef struct hd_time_left {
    uint64_t start, first; /* time, and work that was done before */
    bool begun;
} hd_time_left;

/* Draws it; false after Ctrl-C. */
bool hd_time_left_show(hd_time_left *t, const char *what, uint64_t done, uint64_t all);

/* "4GB", "500 MB", "1.5TB", "2000000" in bytes; HD_E_ARGUMENT naming the option. */
hd_status hd_rewrite_parse_size(uint64_t *bytes, const char *option, const char *text, hd_error *err);

#endif
