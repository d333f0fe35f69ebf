/* cli/terminal.c: see terminal.h. */
#include "cli/terminal.h"

#include <errno.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

bool hd_terminal_is(FILE *out)
{
    return isatty(fileno(out)) == 1;
}

static bool is_dumb(void)
{
    const char *term = getenv("TERM");
    return !term || !*term || strcmp(term, "dumb") == 0;
}

bool hd_terminal_editable(void)
{
    return hd_terminal_is(stdin) && hd_terminal_is(stdout) && !is_dumb();
}

bool hd_terminal_styled(FILE *out)
{
    const char *plain = getenv("NO_COLOR");
    return hd_terminal_is(out) && !is_dumb() && !(plain && *plain);
}

/* Length of the control character at text[at] (C0, DEL, or C1 in its two bytes), or 0. */
static size_t control_at(const unsigned char *text, size_t at, size_t len)
{
    if (text[at] == '\n' || text[at] == '\t') return 0;
    if (text[at] < 0x20 || text[at] == 0x7f) return 1;
    return text[at] == 0xc2 && at + 1 < len && text[at + 1] >= 0x80 && text[at + 1] < 0xa0 ? 2 : 0;
}

void hd_terminal_write(FILE *out, const char *data, size_t len)
{
    const unsigned char *text = (const unsigned char *)data;
    if (!hd_terminal_is(out)) {
        fwrite(data, 1, len, out);
        return;
    }
    for (size_t at = 0, plain = 0; at <= len; at++) {
        size_t control = at < len ? control_at(text, at, len) : 0;
        if (at < len && !control) continue;
        fwrite(data + plain, 1, at - plain, out);
        if (control) {
            putc('^', out);
            putc(text[at + control - 1] == 0x7f ? '?' : (text[at + control - 1] & 0x1f) + '@', out);
            at += control - 1;
        }
        plain = at + 1;
    }
}

void hd_terminal_dim(FILE *out, bool on)
{
    if (hd_terminal_styled(out)) fputs(on ? "\033[2m" : "\033[0m", out);
}

/* Makes the folders above a file. */
static bool make_folders(char *path)
{
    for (char *slash = strchr(path + 1, '/'); slash; slash = strchr(slash + 1, '/')) {
        *slash = '\0';
        bool made = mkdir(path, 0700) == 0 || errno == EEXIST;
        *slash = '/';
        if (!made) return false;
    }
    return true;
}

hd_status hd_state_path(const char *file, char **path, hd_error *err)
{
    const char *state = getenv("XDG_STATE_HOME"), *home = getenv("HOME");
    hd_buf text;
    *path = NULL;
    hd_buf_init(&text, 4096);
    if (state && state[0] == '/')
        (void)hd_buf_printf(&text, "%s/hadal/%s", state, file);
    else if (home && home[0] == '/')
        (void)hd_buf_printf(&text, "%s/.local/state/hadal/%s", home, file);
    else
        return hd_fail(err, HD_E_NOT_FOUND, "no folder for %s: set HOME or XDG_STATE_HOME", file);
    if (text.status != HD_OK) {
        hd_status status = text.status;
        hd_buf_free(&text);
        return hd_fail(err, status, "the path of the state folder is too long");
    }
    if (!make_folders(text.data)) {
        hd_status status = hd_fail(err, HD_E_IO, "the folder of %s could not be made: %s", text.data, strerror(errno));
        hd_buf_free(&text);
        return status;
    }
    *path = text.data; /* from hd_realloc_array, so hd_free releases it */
    return HD_OK;
}
