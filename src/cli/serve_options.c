/* cli/serve_options.c: --options: a file of options, read before the command line; each worker of a supervised service
 * reads it anew, so that a hot restart takes what has been changed in it. */
#include <string.h>

#include "base/base.h"
#include "cli/serve.h"

#define FILE_MAX ((size_t)1 << 20)
#define WORDS_MAX 4096
#define OPTION "--options"

/* The FILE of `--options FILE` or `--options=FILE`; NULL: it is not given.  The last one counts, as with every option.
 */
static const char *file_of(int argc, char **argv)
{
    const size_t len = sizeof OPTION - 1;
    const char *file = NULL;
    for (int i = 1; i < argc && strcmp(argv[i], "--") != 0; i++) {
        if (strcmp(argv[i], OPTION) == 0 && i + 1 < argc) file = argv[++i];
        if (strncmp(argv[i], OPTION "=", len + 1) == 0) file = argv[i] + len + 1;
    }
    return file;
}

static char *trim(char *at)
{
    size_t len;
    at += strspn(at, " \t\r");
    for (len = strlen(at); len && strchr(" \t\r", at[len - 1]);)
        at[--len] = '\0';
    return at;
}

/* One line: an option, with two dashes or without, and behind blanks or a = its value, which may have blanks itself. */
static hd_status take_line(hd_serve_words *w, char *line, int number, const char *path, hd_error *err)
{
    char *at = trim(line);
    if (*at == '\0' || *at == '#') return HD_OK;
    if (w->argc + 2 > WORDS_MAX) return hd_fail(err, HD_E_LIMIT, "%s: more than %d words", path, WORDS_MAX);
    if (strncmp(at, "--", 2) != 0 || !at[2])
        return hd_fail(err, HD_E_ARGUMENT, "%s, line %d: an option begins with --, as on the command line", path,
                       number);
    size_t name = strcspn(at, " \t=");
    if (name == sizeof OPTION - 1 && strncmp(at, OPTION, name) == 0)
        return hd_fail(err, HD_E_ARGUMENT, "%s, line %d: a file of options can't name another", path, number);
    w->argv[w->argc++] = at;
    if (!at[name]) return HD_OK;
    at[name] = '\0';
    w->argv[w->argc++] = trim(at + name + 1);
    return HD_OK;
}

static hd_status take_file(hd_serve_words *w, const char *path, hd_error *err)
{
    hd_mapping *map = NULL;
    HD_TRY(hd_mapping_open(&map, path, err));
    size_t size = hd_mapping_size(map);
    hd_status status = HD_OK;
    if (size > FILE_MAX || memchr(hd_mapping_data(map), '\0', size))
        status = hd_fail(err, HD_E_FORMAT, "%s: this is no file of options", path);
    if (status == HD_OK && !(w->text = hd_alloc(size + 1))) status = hd_fail(err, HD_E_MEMORY, "out of memory");
    if (status == HD_OK) memcpy(w->text, hd_mapping_data(map), size);
    hd_mapping_close(&map);
    HD_TRY(status);
    w->text[size] = '\0';
    int number = 1;
    for (char *line = w->text, *next; line && status == HD_OK; line = next, number++) {
        next = strchr(line, '\n');
        if (next) *next++ = '\0';
        status = take_line(w, line, number, path, err);
    }
    return status;
}

hd_status hd_serve_words_open(hd_serve_words *w, int argc, char **argv, hd_error *err)
{
    const char *file = file_of(argc, argv);
    *w = (hd_serve_words){.argc = 0};
    w->argv = hd_calloc((size_t)argc + WORDS_MAX + 1, sizeof *w->argv);
    if (!w->argv) return hd_fail(err, HD_E_MEMORY, "out of memory for the command line");
    w->argv[w->argc++] = argv[0];
    hd_status status = file ? take_file(w, file, err) : HD_OK;
    for (int i = 1; i < argc; i++)
        w->argv[w->argc++] = argv[i]; /* last: what is typed counts before what is written */
    if (status != HD_OK) hd_serve_words_close(w);
    return status;
}

void hd_serve_words_close(hd_serve_words *w)
{
    hd_free(w->argv);
    hd_free(w->text);
    *w = (hd_serve_words){.argc = 0};
}
