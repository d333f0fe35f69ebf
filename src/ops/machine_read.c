/* ops/machine_read.c: small files of /proc and /sys, and the numbers in them. */
#include <ctype.h>
#include <fcntl.h>
#include <limits.h>
#include <math.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "ops/machine_internal.h"

const char *hd_machine_file(hd_machine_reader *r, const char *path)
{
    char full[PATH_MAX];
    size_t len = 0;
    ssize_t n = 1;
    if (snprintf(full, sizeof full, "%s%s", r->root, path) >= (int)sizeof full) return NULL;
    int fd = open(full, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    if (fd < 0) return NULL;
    while (len < HD_MACHINE_FILE && (n = read(fd, r->text + len, HD_MACHINE_FILE - len)) > 0)
        len += (size_t)n;
    close(fd);
    r->text[len] = '\0';
    return n < 0 || len == 0 ? NULL : r->text;
}

bool hd_machine_number(const char *text, double *out, const char **end)
{
    const double most = 1e300;
    text += strspn(text, " \t");
    if (!isdigit((unsigned char)*text)) return false; /* no sign, no inf, no nan, no empty text */
    char *behind;
    double value = strtod(text, &behind);
    if (!isfinite(value) || value > most) return false;
    *out = value;
    if (end) *end = behind;
    return true;
}

bool hd_machine_read_number(hd_machine_reader *r, const char *path, double *out)
{
    const char *text = hd_machine_file(r, path);
    return text && hd_machine_number(text, out, NULL);
}

bool hd_machine_field(const char *text, const char *key, double *out)
{
    size_t len = strlen(key);
    for (const char *line = text; line && *line; line = strchr(line, '\n')) {
        line += *line == '\n';
        if (strncmp(line, key, len) == 0 && (line[len] == ' ' || line[len] == '\t'))
            return hd_machine_number(line + len, out, NULL);
    }
    return false;
}

void hd_machine_label(char *out, size_t size, const char *name)
{
    size_t n = 0;
    for (; n + 1 < size && name[n] && name[n] != '\n'; n++)
        out[n] = isascii((unsigned char)name[n]) && (isalnum((unsigned char)name[n]) || strchr("-_./", name[n]))
                     ? name[n]
                     : '_';
    out[n] = '\0';
}
