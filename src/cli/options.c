/* cli/options.c: see options.h. */
#include "cli/options.h"

#include <ctype.h>
#include <errno.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "base/base.h"
#include "cli/cli.h"

#define HD_PAGE_COLUMNS 78
#define HD_SUGGEST_LETTERS 40 /* longer words get no suggestion */

/* ---- numbers and suggestions ---- */

/* Whether `text` is a whole number, of whatever size. */
static bool is_whole(const char *text)
{
    const char *digits = text + (text[0] == '-');
    return digits[0] && digits[strspn(digits, "0123456789")] == '\0';
}

bool hd_parse_i64(const char *text, int64_t *out)
{
    if (!is_whole(text)) return false;
    char *end;
    errno = 0;
    long long value = strtoll(text, &end, 10);
    if (errno || *end) return false;
    *out = value;
    return true;
}

bool hd_parse_f64(const char *text, double *out)
{
    const char *first = text + (text[0] == '-');
    if (!isdigit((unsigned char)*first) && *first != '.') return false;
    if (strpbrk(text, "xXpP")) return false; /* hexadecimal is never meant */
    char *end;
    errno = 0;
    double value = strtod(text, &end);
    if (end == text || *end || !isfinite(value)) return false;
    *out = value;
    return true;
}

/* Edits (insert, delete, replace, swap of neighbours) that turn `a` into `b`; both at most HD_SUGGEST_LETTERS long. */
static size_t edit_distance(const char *a, const char *b)
{
    size_t rows[3][HD_SUGGEST_LETTERS + 1];
    size_t *before = rows[0], *last = rows[1], *row = rows[2];
    size_t la = strlen(a), lb = strlen(b);
    for (size_t j = 0; j <= lb; j++)
        last[j] = j;
    for (size_t i = 1; i <= la; i++) {
        row[0] = i;
        for (size_t j = 1; j <= lb; j++) {
            size_t best = last[j - 1] + (a[i - 1] != b[j - 1]);
            best = HD_MIN(best, HD_MIN(last[j], row[j - 1]) + 1);
            if (i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1]) best = HD_MIN(best, before[j - 2] + 1);
            row[j] = best;
        }
        size_t *spare = before;
        before = last;
        last = row;
        row = spare;
    }
    return last[lb];
}

const char *hd_suggest(const char *word, const char *const *names, size_t count)
{
    const char *best = NULL;
    size_t len = strlen(word), least = len / 3 + 1;
    if (len == 0 || len > HD_SUGGEST_LETTERS) return NULL;
    for (size_t i = 0; i < count; i++) {
        if (strlen(names[i]) > HD_SUGGEST_LETTERS) continue;
        size_t distance = edit_distance(word, names[i]);
        bool prefix = len >= 3 && strncmp(word, names[i], len) == 0;
        if (prefix) distance = 0;
        if (distance < least) {
            least = distance;
            best = names[i];
        }
    }
    return best;
}

/* ---- parsing ---- */

static hd_opt *find_opt(const hd_args *args, const char *name, size_t len, char letter)
{
    for (size_t g = 0; g < args->group_count; g++) {
        for (size_t i = 0; i < args->groups[g].count; i++) {
            hd_opt *opt = &args->groups[g].opts[i];
            if (letter ? opt->letter == letter : strlen(opt->name) == len && memcmp(opt->name, name, len) == 0)
                return opt;
        }
    }
    return NULL;
}

bool hd_args_given(const hd_args *args, const char *name)
{
    const hd_opt *opt = find_opt(args, name, strlen(name), 0);
    return opt && opt->given;
}

static int fail_unknown(const hd_args *args, const char *name, size_t len)
{
    const char *names[128] = {"help"};
    size_t count = 1;
    for (size_t g = 0; g < args->group_count; g++)
        for (size_t i = 0; i < args->groups[g].count && count < HD_ARRAY_LEN(names); i++)
            names[count++] = args->groups[g].opts[i].name;
    char word[HD_SUGGEST_LETTERS + 2];
    snprintf(word, sizeof word, "%.*s", (int)HD_MIN(len, sizeof word - 1), name);
    const char *near = hd_suggest(word, names, count);
    if (near)
        return hd_cli_usage(args->manual->command, "unknown option --%.*s; did you mean --%s?", (int)len, name, near);
    return hd_cli_usage(args->manual->command, "unknown option --%.*s", (int)len, name);
}

static bool is_choice(const char *choices, const char *text)
{
    size_t len = strlen(text);
    for (const char *at = choices; *at;) {
        size_t part = strcspn(at, "|");
        if (part == len && memcmp(at, text, len) == 0) return true;
        at += part + (at[part] == '|');
    }
    return false;
}

static bool set_number(hd_opt *opt, const char *text, char *why, size_t why_size)
{
    bool whole = opt->type == HD_OPT_INT;
    int64_t number = 0;
    double value = 0;
    if (whole && is_whole(text) && !hd_parse_i64(text, &number)) {
        snprintf(why, why_size, "--%s: %s is too %s", opt->name, text, text[0] == '-' ? "small" : "large");
        return false;
    }
    if (whole ? !hd_parse_i64(text, &number) : !hd_parse_f64(text, &value)) {
        snprintf(why, why_size, "--%s: '%s' is not a %s", opt->name, text, whole ? "whole number" : "number");
        return false;
    }
    if (whole) value = (double)number;
    if ((opt->min != 0 || opt->max != 0) && (value < opt->min || value > opt->max)) {
        snprintf(why, why_size, "--%s: %s is out of range; it may be %.15g to %.15g", opt->name, text, opt->min,
                 opt->max);
        return false;
    }
    if (whole)
        *(int64_t *)opt->value = number;
    else
        *(double *)opt->value = value;
    return true;
}

/* "70%" or "0.7"; bounds are told as percentages. */
static bool set_share(hd_opt *opt, const char *text, char *why, size_t why_size)
{
    size_t len = strlen(text);
    bool percent = len > 1 && text[len - 1] == '%';
    char digits[32] = "";
    double value;
    if (len - percent < sizeof digits) memcpy(digits, text, len - percent);
    if (!hd_parse_f64(digits, &value)) {
        snprintf(why, why_size, "--%s: '%s' is not a share, such as 70%% or 0.7", opt->name, text);
        return false;
    }
    if (percent) value /= 100;
    if (value < opt->min || value > opt->max) {
        snprintf(why, why_size, "--%s: %s is out of range; it may be %g%% to %g%%, or %g to %g", opt->name, text,
                 100 * opt->min, 100 * opt->max, opt->min, opt->max);
        return false;
    }
    *(double *)opt->value = value;
    return true;
}

static bool set_value(hd_opt *opt, const char *text, char *why, size_t why_size)
{
    hd_opt_list *list = opt->value;
    switch (opt->type) {
    case HD_OPT_FLAG: *(bool *)opt->value = true; return true;
    case HD_OPT_STRING: *(const char **)opt->value = text; return true;
    case HD_OPT_INT:
    case HD_OPT_FLOAT: return set_number(opt, text, why, why_size);
    case HD_OPT_SHARE: return set_share(opt, text, why, why_size);
    case HD_OPT_CHOICE:
        if (!is_choice(opt->choices, text)) {
            snprintf(why, why_size, "--%s: '%s' is not one of %s", opt->name, text, opt->choices);
            return false;
        }
        *(const char **)opt->value = text;
        return true;
    case HD_OPT_LIST: break;
    }
    if (list->count == HD_OPT_LIST_MAX) {
        snprintf(why, why_size, "--%s is given more than %d times", opt->name, HD_OPT_LIST_MAX);
        return false;
    }
    list->items[list->count++] = text;
    return true;
}

bool hd_opt_set(hd_opt *opt, const char *text, char *why, size_t why_size)
{
    bool set = set_value(opt, text, why, why_size);
    opt->given |= set;
    return set;
}

static int store(const hd_args *args, hd_opt *opt, const char *text)
{
    char why[HD_ERROR_TEXT];
    if (hd_opt_set(opt, text, why, sizeof why)) return HD_ARGS_OK;
    return hd_cli_usage(args->manual->command, "%s", why);
}

/* The option of the word `--name`, `--name=value`, `-x` or `-xvalue`; NULL: none.  *text is the value in the word, or
 * NULL. */
static hd_opt *option_of(const hd_args *args, const char *word, const char **text)
{
    *text = NULL;
    if (word[1] != '-') {
        if (word[2]) *text = word + 2;
        return find_opt(args, "", 0, word[1]);
    }
    size_t len = strcspn(word + 2, "=");
    if (word[2 + len] == '=') *text = word + 2 + len + 1;
    return find_opt(args, word + 2, len, 0);
}

/* Handles the option at argv[*at] and moves *at to its last word. */
static int parse_option(hd_args *args, int argc, char **argv, int *at)
{
    const char *word = argv[*at], *text = NULL;
    hd_opt *opt = option_of(args, word, &text);
    if (!opt && word[1] == '-') return fail_unknown(args, word + 2, strcspn(word + 2, "="));
    if (!opt) return hd_cli_usage(args->manual->command, "unknown option -%c", word[1]);
    if (opt->type == HD_OPT_FLAG) {
        if (text) return hd_cli_usage(args->manual->command, "--%s takes no value", opt->name);
        return store(args, opt, NULL);
    }
    if (!text) {
        if (*at + 1 >= argc)
            return hd_cli_usage(args->manual->command, "--%s needs a value (%s)", opt->name, opt->metavar);
        text = argv[++*at];
    }
    return store(args, opt, text);
}

/* Whether --help or -h is among the options, be the rest of the line wrong; a value of an option is none: `-p -h`. */
static bool asks_for_help(const hd_args *args, int argc, char **argv)
{
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        const char *text;
        if (strcmp(argv[i], "--help") == 0 || strcmp(argv[i], "-h") == 0) return true;
        if (argv[i][0] != '-' || !argv[i][1]) continue;
        const hd_opt *opt = option_of(args, argv[i], &text);
        if (opt && opt->type != HD_OPT_FLAG && !text) i++;
    }
    return false;
}

static int add_operand(hd_args *args, const char *word)
{
    int most = HD_MIN(args->max_operands, (int)HD_ARRAY_LEN(args->operands));
    if (args->operand_count >= most) {
        if (most == 0) return hd_cli_usage(args->manual->command, "unexpected argument '%s'", word);
        return hd_cli_usage(args->manual->command, "unexpected argument '%s' after %s", word,
                            args->operand_names[most - 1]);
    }
    args->operands[args->operand_count++] = word;
    return HD_ARGS_OK;
}

int hd_args_parse(hd_args *args, int argc, char **argv)
{
    if (asks_for_help(args, argc, argv)) {
        hd_manual_print(stdout, args);
        return HD_EXIT_OK;
    }
    bool options = true;
    for (int i = 1; i < argc; i++) {
        int rc;
        if (options && strcmp(argv[i], "--") == 0) {
            options = false;
            continue;
        }
        if (options && argv[i][0] == '-' && argv[i][1])
            rc = parse_option(args, argc, argv, &i);
        else
            rc = add_operand(args, argv[i]);
        if (rc != HD_ARGS_OK) return rc;
    }
    if (args->operand_count < args->min_operands)
        return hd_cli_usage(args->manual->command, "%s is missing", args->operand_names[args->operand_count]);
    return HD_ARGS_OK;
}

/* ---- the manual page ---- */

void hd_print_wrapped(FILE *out, const char *text, int indent)
{
    while (*text) {
        size_t line = strcspn(text, "\n");
        int column = 0;
        if (text[0] == ' ') {
            fprintf(out, "%*s%.*s", indent, "", (int)line, text);
        } else {
            for (size_t at = 0; at < line;) {
                size_t word = strcspn(text + at, " \n");
                if (column && column + 1 + (int)word > HD_PAGE_COLUMNS - indent) {
                    fputc('\n', out);
                    column = 0;
                }
                column +=
                    fprintf(out, "%*s%.*s", column ? 1 : indent, "", (int)word, text + at) - (column ? 0 : indent);
                at += word;
                while (at < line && text[at] == ' ')
                    at++;
            }
        }
        fputc('\n', out);
        text += line;
        if (*text == '\n') text++;
    }
}

static void print_verbatim(FILE *out, const char *title, const char *text, const char *before)
{
    if (!text) return;
    fprintf(out, "\n%s\n", title);
    while (*text) {
        size_t line = strcspn(text, "\n");
        fprintf(out, "    %s%.*s\n", before, (int)line, text);
        text += line;
        if (*text == '\n') text++;
    }
}

/* "(default: 512)" behind an option's help, from its variable. */
static void format_default(const hd_opt *opt, char *out, size_t size)
{
    out[0] = '\0';
    if (opt->initial) {
        if (opt->initial[0]) snprintf(out, size, " (default: %s)", opt->initial);
        return;
    }
    switch (opt->type) {
    case HD_OPT_INT: snprintf(out, size, " (default: %lld)", (long long)*(int64_t *)opt->value); break;
    case HD_OPT_FLOAT: snprintf(out, size, " (default: %g)", *(double *)opt->value); break;
    case HD_OPT_SHARE: snprintf(out, size, " (default: %g%%)", 100 * *(double *)opt->value); break;
    case HD_OPT_STRING:
    case HD_OPT_CHOICE:
        if (*(const char **)opt->value) snprintf(out, size, " (default: %s)", *(const char **)opt->value);
        break;
    case HD_OPT_FLAG:
    case HD_OPT_LIST: break;
    }
}

static void print_option(FILE *out, const hd_opt *opt)
{
    char text[1024], initial[160];
    format_default(opt, initial, sizeof initial);
    fputs("    ", out);
    if (opt->letter) fprintf(out, "-%c, ", opt->letter);
    fprintf(out, "--%s", opt->name);
    if (opt->type == HD_OPT_CHOICE)
        fprintf(out, " %s", opt->choices);
    else if (opt->type != HD_OPT_FLAG)
        fprintf(out, " %s", opt->metavar);
    fputc('\n', out);
    snprintf(text, sizeof text, "%s%s%s", opt->help, opt->type == HD_OPT_LIST ? " May be repeated." : "", initial);
    hd_print_wrapped(out, text, 8);
}

void hd_manual_print(FILE *out, const hd_args *args)
{
    const hd_manual *manual = args->manual;
    const hd_command *command = hd_command_find(manual->command);
    fprintf(out, "NAME\n    hadal %s - %s\n", manual->command, command ? command->summary : "");
    print_verbatim(out, "SYNOPSIS", manual->synopsis, "hadal ");
    fputs("\nDESCRIPTION\n", out);
    hd_print_wrapped(out, manual->description, 4);
    for (size_t g = 0; g < args->group_count; g++) {
        fprintf(out, "\n%s\n", args->groups[g].title);
        for (size_t i = 0; i < args->groups[g].count; i++)
            print_option(out, &args->groups[g].opts[i]);
    }
    print_verbatim(out, "EXAMPLES", manual->examples, "");
    print_verbatim(out, "EXIT CODES",
                   "0    success\n1    failure; a line on standard error says why\n2    wrong usage\n130  interrupted",
                   "");
    print_verbatim(out, "ENVIRONMENT", manual->environment, "");
    print_verbatim(out, "FILES", manual->files, "");
}
