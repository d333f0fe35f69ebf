/* cli/terminal.c: see terminal.h. */
#include "cli/terminal.h"

#include <string.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/files.h"

bool hd_terminal_is(FILE *out)
{
    return isatty(fileno(out)) == 1;
}

static bool is_dumb(void)
{
    const char *term = hd_environment("TERM");
    return !term || strcmp(term, "dumb") == 0;
}

bool hd_terminal_editable(void)
{
    return hd_terminal_is(stdin) && hd_terminal_is(stdout) && !is_dumb();
}

bool hd_terminal_styled(FILE *out)
{
    return hd_terminal_is(out) && !is_dumb() && !hd_environment("NO_COLOR");
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

void hd_terminal_name(FILE *out, const char *text, int width)
{
    char *shown = hd_strdup(text);
    if (shown) hd_text_clean(shown);
    fprintf(out, "%-*s", width, shown ? shown : "?");
    hd_free(shown);
}

void hd_terminal_dim(FILE *out, bool on)
{
    if (hd_terminal_styled(out)) fputs(on ? "\033[2m" : "\033[0m", out);
}

hd_status hd_state_path(const char *file, char **path, hd_error *err)
{
    char rest[64];
    snprintf(rest, sizeof rest, "hadal/%s", file);
    HD_TRY(hd_xdg_path(path, "XDG_STATE_HOME", ".local/state", rest, err));
    hd_status status = hd_dirs_make_above(*path, err);
    if (status == HD_OK) return HD_OK;
    hd_free(*path);
    *path = NULL;
    return status;
}
