/* cli/input.c: see input.h. */
#include "cli/input.h"

#include <ctype.h>
#include <errno.h>
#include <string.h>

#include "cli/cli.h"

static hd_status input_failed(const char *name, const hd_buf *out, hd_error *err)
{
    if (out->status == HD_E_LIMIT)
        return hd_fail(err, HD_E_LIMIT, "%s: longer than %zu MiB, which is the most that is read", name,
                       HD_INPUT_MAX >> 20);
    if (out->status != HD_OK) return hd_fail(err, out->status, "out of memory while reading %s", name);
    if (hd_interrupted()) return hd_fail(err, HD_E_CANCELLED, "interrupted while reading %s", name);
    return hd_fail(err, HD_E_IO, "%s could not be read: %s", name, strerror(errno));
}

hd_status hd_input_rest(FILE *in, const char *name, hd_buf *out, hd_error *err)
{
    char piece[16384];
    size_t got;
    while ((got = fread(piece, 1, sizeof piece, in)) > 0) {
        hd_status status = hd_buf_append(out, piece, got);
        if (status != HD_OK) return input_failed(name, out, err);
    }
    return ferror(in) ? input_failed(name, out, err) : HD_OK;
}

hd_status hd_input_file(const char *path, hd_buf *out, hd_error *err)
{
    if (strcmp(path, "-") == 0) return hd_input_rest(stdin, "standard input", out, err);
    FILE *in = fopen(path, "rbe");
    if (!in) return hd_fail(err, errno == ENOENT ? HD_E_NOT_FOUND : HD_E_IO, "%s: %s", path, strerror(errno));
    hd_status status = hd_input_rest(in, path, out, err);
    fclose(in);
    return status;
}

hd_status hd_input_line(FILE *in, hd_buf *line, bool *more, hd_error *err)
{
    int c;
    hd_buf_clear(line);
    *more = false;
    while ((c = getc(in)) != EOF) {
        *more = true;
        if (c == '\n') return HD_OK;
        hd_status status = hd_buf_putc(line, (char)c);
        if (status != HD_OK) return input_failed("a line of standard input", line, err);
    }
    return ferror(in) ? input_failed("standard input", line, err) : HD_OK;
}

static hd_status not_an_id(const char *text, size_t len, hd_error *err)
{
    size_t end = 1; /* at least the character that is wrong */
    while (end < HD_MIN(len, (size_t)40) && !isspace((unsigned char)text[end]) && text[end] != ',' && text[end] != ']')
        end++;
    if (text[0] == ',') end = 1;
    return hd_fail(err, HD_E_ARGUMENT, "'%.*s' is not a token id (ids are whole numbers, such as 5,9,12)", (int)end,
                   text);
}

hd_status hd_input_ids(const char *text, size_t len, hd_ids *out, hd_error *err)
{
    size_t at = 0;
    while (at < len && (isspace((unsigned char)text[at]) || text[at] == '['))
        at++;
    while (len > at && (isspace((unsigned char)text[len - 1]) || text[len - 1] == ']'))
        len--;
    if (at == len) return hd_fail(err, HD_E_ARGUMENT, "the list of ids is empty");
    while (at < len) {
        size_t first = at;
        int64_t id = 0;
        for (; at < len && isdigit((unsigned char)text[at]) && id <= INT32_MAX; at++)
            id = id * 10 + (text[at] - '0');
        size_t digits = at - first;
        while (at < len && isspace((unsigned char)text[at]))
            at++;
        bool separated = at > first + digits || at == len || text[at] == ',';
        if (!digits || id > INT32_MAX || !separated) return not_an_id(text + first, len - first, err);
        if (at < len && text[at] == ',') {
            at++;
            while (at < len && isspace((unsigned char)text[at]))
                at++;
            if (at == len) return hd_fail(err, HD_E_ARGUMENT, "the list of ids ends with a comma");
        }
        hd_status status = hd_ids_push(out, (int32_t)id);
        if (status != HD_OK) return hd_fail(err, status, "out of memory for ids");
    }
    return HD_OK;
}
