/* cli/options.h: command lines: tables of options, strict values, and the manual page that --help prints.
 *
 * A command fills a table of hd_opt, each with a pointer to its variable, whose value at that moment is the default
 * that the manual shows.  Tables are shared between commands as groups.  Nothing here allocates; strings belong to
 * argv.
 */
#ifndef HD_CLI_OPTIONS_H
#define HD_CLI_OPTIONS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>

#define HD_OPT_LIST_MAX 256 /* times that one option may be repeated */

typedef struct hd_opt_list {
    const char *items[HD_OPT_LIST_MAX];
    size_t count;
} hd_opt_list;

typedef enum hd_opt_type {                /* and what `value` points to */
                           HD_OPT_FLAG,   /* bool; takes no value on the command line */
                           HD_OPT_INT,    /* int64_t, decimal */
                           HD_OPT_FLOAT,  /* double, decimal; never NaN or infinite */
                           HD_OPT_SHARE,  /* double; 0.7 and 70% are the same */
                           HD_OPT_STRING, /* const char * */
                           HD_OPT_CHOICE, /* const char *, one of `choices` */
                           HD_OPT_LIST    /* hd_opt_list; the option may be repeated */
} hd_opt_type;

typedef struct hd_opt {
    const char *name; /* long name, without the dashes */
    char letter;      /* short name, or 0 */
    hd_opt_type type;
    void *value;
    const char *metavar; /* how the manual calls the value; NULL for flags */
    const char *help;    /* one or more sentences */
    const char *choices; /* HD_OPT_CHOICE: "auto|reference|avx2" */
    double min, max;     /* inclusive range of numbers; both 0: no range */
    const char *initial; /* how the manual states the default; NULL: by the variable's value; "": not at all */
    bool given;          /* set by the parser */
} hd_opt;

typedef struct hd_opt_group {
    const char *title; /* heading in the manual, upper case */
    hd_opt *opts;
    size_t count;
} hd_opt_group;

/* What --help prints besides the options.  Paragraphs are wrapped; lines that begin with a space stay as they are. */
typedef struct hd_manual {
    const char *command;  /* name in the command table, which has the summary */
    const char *synopsis; /* one form a line, without "hadal " */
    const char *description;
    const char *examples;    /* verbatim lines */
    const char *environment; /* verbatim lines; NULL: none */
    const char *files;       /* verbatim lines; NULL: none */
} hd_manual;

typedef struct hd_args {
    const hd_manual *manual;
    hd_opt_group *groups;
    size_t group_count;
    int min_operands, max_operands;   /* arguments that are not options */
    const char *const *operand_names; /* [max_operands], for messages */
    const char *operands[8];          /* filled by the parser; NULL where absent */
    int operand_count;
} hd_args;

#define HD_ARGS_OK (-1) /* go on */

/* Parses argv[1..]: `--name value`, `--name=value`, `-x value`, `-xvalue`, `--` ends the options.  Returns HD_ARGS_OK,
 * or the exit code: 0 after --help (the manual went to stdout), 2 after a usage error (a line went to stderr). */
int hd_args_parse(hd_args *args, int argc, char **argv);

/* Whether an option was on the command line; false for a name that is in no group. */
bool hd_args_given(const hd_args *args, const char *name);

/* Stores `text` in the option's variable (NULL for a flag).  False: `why` says what is wrong, the variable may have
 * changed. */
bool hd_opt_set(hd_opt *opt, const char *text, char *why, size_t why_size);

/* Prints the manual page. */
void hd_manual_print(FILE *out, const hd_args *args);

/* Prints `text` wrapped to 78 columns behind `indent` spaces; lines that begin with a space stay as they are. */
void hd_print_wrapped(FILE *out, const char *text, int indent);

/* The best match for a mistyped word among `names`, or NULL when none is near (at most a third of its letters wrong).
 */
const char *hd_suggest(const char *word, const char *const *names, size_t count);

/* Strict numbers: the whole text, no spaces.  False when it is no number or overflows. */
bool hd_parse_i64(const char *text, int64_t *out);
bool hd_parse_f64(const char *text, double *out);

#endif
