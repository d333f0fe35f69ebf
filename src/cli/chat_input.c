/* cli/chat_input.c: what the user types: libedit on a terminal that can, plain lines elsewhere.
 *
 * libedit reads through read_character below, because its own reader swallows an interrupted read: Ctrl-C has to come
 * back to the prompt at once.
 */
#include <histedit.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>
#include <wchar.h>

#include "cli/chat.h"
#include "cli/cli.h"
#include "cli/input.h"
#include "cli/terminal.h"

#define HD_HISTORY_LINES 1000
#define HD_FENCE "\"\"\""

struct hd_chat_input {
    bool interactive;
    EditLine *editor; /* NULL: plain lines */
    History *history;
    char *history_path; /* NULL: not kept */
    const char *prompt;
    hd_buf line;
};

/* ---- the editor ---- */

static volatile sig_atomic_t resized, continued;

static void on_terminal_signal(int number)
{
    if (number == SIGWINCH) resized = 1;
    if (number == SIGCONT) continued = 1;
}

static void catch_terminal_signals(void)
{
    struct sigaction action = {.sa_handler = on_terminal_signal}; /* no SA_RESTART: the read below must return */
    sigemptyset(&action.sa_mask);
    sigaction(SIGWINCH, &action, NULL);
    sigaction(SIGCONT, &action, NULL);
}

/* One byte of standard input, unbuffered.  1; 0: end of input; -1: interrupted by a signal, or an error. */
static int read_byte(char *out)
{
    if (!hd_interrupt_wait(STDIN_FILENO)) return -1;
    return (int)read(STDIN_FILENO, out, 1);
}

/* 1: *out is the next character; 0: end of input; -1: Ctrl-C, or an error. */
static int read_character(EditLine *editor, wchar_t *out)
{
    mbstate_t state = {0};
    for (;;) {
        char byte;
        int got = read_byte(&byte);
        if (got == 0) return 0;
        if (got < 0 && (hd_interrupted() || !(resized || continued))) return -1;
        if (got < 0) {
            if (resized) el_resize(editor);
            if (continued) el_set(editor, EL_PREP_TERM, 1); /* after Ctrl-Z and fg */
            el_set(editor, EL_REFRESH);
            resized = continued = 0;
            continue;
        }
        size_t size = mbrtowc(out, &byte, 1, &state);
        if (size == (size_t)-1)
            memset(&state, 0, sizeof state); /* not UTF-8: drop it */
        else if (size != (size_t)-2)
            return 1;
    }
}

static const char *editor_prompt(EditLine *editor)
{
    void *in = NULL;
    el_get(editor, EL_CLIENTDATA, &in);
    return ((hd_chat_input *)in)->prompt;
}

static void open_editor(hd_chat_input *in)
{
    HistEvent event;
    in->editor = el_init("hadal", stdin, stdout, stderr);
    in->history = history_init();
    if (!in->editor || !in->history) return; /* plain lines will do */
    catch_terminal_signals();
    el_set(in->editor, EL_CLIENTDATA, in);
    el_set(in->editor, EL_PROMPT, editor_prompt);
    el_set(in->editor, EL_EDITOR, "emacs");
    el_set(in->editor, EL_SIGNAL, 0);
    el_set(in->editor, EL_GETCFN, read_character);
    el_set(in->editor, EL_BIND, "^R", "em-inc-search-prev", NULL);
    history(in->history, &event, H_SETSIZE, HD_HISTORY_LINES);
    history(in->history, &event, H_SETUNIQUE, 1);
    el_set(in->editor, EL_HIST, history, in->history);
    el_source(in->editor, NULL); /* the user's ~/.editrc */
    if (hd_state_path("chat_history", &in->history_path, NULL) == HD_OK)
        history(in->history, &event, H_LOAD, in->history_path);
}

hd_status hd_chat_input_open(hd_chat_input **out, bool interactive, hd_error *err)
{
    hd_chat_input *in = hd_calloc(1, sizeof *in);
    *out = in;
    if (!in) return hd_fail(err, HD_E_MEMORY, "out of memory for the line editor");
    in->interactive = interactive;
    hd_buf_init(&in->line, HD_INPUT_MAX);
    if (interactive && hd_terminal_editable()) open_editor(in);
    return HD_OK;
}

void hd_chat_input_close(hd_chat_input **in)
{
    hd_chat_input *i = *in;
    HistEvent event;
    if (!i) return;
    if (i->history && i->history_path) history(i->history, &event, H_SAVE, i->history_path); /* its mode is 0600 */
    if (i->editor) el_end(i->editor);
    if (i->history) history_end(i->history);
    hd_free(i->history_path);
    hd_buf_free(&i->line);
    hd_free(i);
    *in = NULL;
}

/* ---- lines ---- */

static hd_status edit_line(hd_chat_input *in, hd_chat_event *event, hd_error *err)
{
    int count = 0;
    HistEvent ignored;
    el_set(in->editor, EL_PREP_TERM, 1); /* before the prompt shows, so that no key meets the wrong mode */
    const char *line = el_gets(in->editor, &count);
    if (!line || count <= 0) {
        *event = hd_interrupted() ? HD_CHAT_INTERRUPTED : HD_CHAT_END;
        el_reset(in->editor);
        putchar('\n');
        fflush(stdout);
        return HD_OK;
    }
    size_t len = strlen(line);
    while (len && (line[len - 1] == '\n' || line[len - 1] == '\r'))
        len--;
    hd_buf_clear(&in->line);
    hd_status status = hd_buf_append(&in->line, line, len);
    if (status != HD_OK) return hd_fail(err, status, "the line is too long");
    if (len) history(in->history, &ignored, H_ENTER, in->line.data);
    return HD_OK;
}

/* A line of a terminal that can't edit; its driver does what editing there is. */
static hd_status terminal_line(hd_chat_input *in, hd_chat_event *event, hd_error *err)
{
    char byte = 0;
    int got;
    hd_buf_clear(&in->line);
    fputs(in->prompt, stdout);
    fflush(stdout);
    while ((got = read_byte(&byte)) == 1 && byte != '\n')
        (void)hd_buf_putc(&in->line, byte); /* sticky; checked below */
    if (in->line.status != HD_OK) return hd_fail(err, in->line.status, "the line is too long");
    if (got == 1 || (got == 0 && in->line.len)) return HD_OK;
    *event = got < 0 && hd_interrupted() ? HD_CHAT_INTERRUPTED : HD_CHAT_END;
    putchar('\n');
    fflush(stdout);
    return HD_OK;
}

static hd_status file_line(hd_chat_input *in, hd_chat_event *event, hd_error *err)
{
    bool more;
    hd_status status = hd_input_line(stdin, &in->line, &more, err);
    if (status == HD_OK && !more) *event = HD_CHAT_END;
    if (in->line.len && in->line.data[in->line.len - 1] == '\r') in->line.data[--in->line.len] = '\0';
    return status;
}

static hd_status next_line(hd_chat_input *in, const char *prompt, hd_chat_event *event, hd_error *err)
{
    in->prompt = prompt;
    *event = HD_CHAT_TEXT;
    if (!in->interactive) return file_line(in, event, err);
    return in->editor && in->history ? edit_line(in, event, err) : terminal_line(in, event, err);
}

static bool ends_with(const hd_buf *line, const char *end)
{
    size_t len = strlen(end);
    return line->len >= len && memcmp(line->data + line->len - len, end, len) == 0;
}

/* Appends the line from `skip` on to the block; true when it closes the block. */
static bool add_to_block(hd_buf *text, const hd_buf *line, size_t skip)
{
    size_t fence = strlen(HD_FENCE);
    bool last = line->len >= skip + fence && ends_with(line, HD_FENCE);
    if (text->len) (void)hd_buf_putc(text, '\n');
    if (line->len > skip) (void)hd_buf_append(text, line->data + skip, line->len - skip - (last ? fence : 0));
    return last || text->status != HD_OK;
}

static hd_status read_block(hd_chat_input *in, hd_buf *text, hd_chat_event *event, hd_error *err)
{
    do {
        HD_TRY(next_line(in, "... ", event, err));
        if (*event == HD_CHAT_END && text->len) {
            *event = HD_CHAT_TEXT; /* what was typed counts */
            return HD_OK;
        }
        if (*event != HD_CHAT_TEXT) return HD_OK;
    } while (!add_to_block(text, &in->line, 0));
    return HD_OK;
}

static hd_status read_continued(hd_chat_input *in, hd_buf *text, hd_chat_event *event, hd_error *err)
{
    (void)hd_buf_append(text, in->line.data, in->line.len);
    while (text->status == HD_OK && ends_with(text, "\\")) {
        text->data[text->len - 1] = '\n';
        HD_TRY(next_line(in, "... ", event, err));
        if (*event == HD_CHAT_END)
            *event = HD_CHAT_TEXT;
        else if (*event == HD_CHAT_TEXT)
            (void)hd_buf_append(text, in->line.data, in->line.len);
        else
            return HD_OK;
    }
    return HD_OK;
}

hd_status hd_chat_input_read(hd_chat_input *in, bool block, hd_buf *text, hd_chat_event *event, hd_error *err)
{
    hd_status status;
    hd_buf_clear(text);
    if (block) {
        status = read_block(in, text, event, err);
    } else {
        HD_TRY(next_line(in, ">>> ", event, err));
        if (*event != HD_CHAT_TEXT || in->line.len == 0) return HD_OK;
        bool fenced = strncmp(in->line.data, HD_FENCE, strlen(HD_FENCE)) == 0;
        if (!fenced)
            status = read_continued(in, text, event, err);
        else
            status = add_to_block(text, &in->line, strlen(HD_FENCE)) ? HD_OK : read_block(in, text, event, err);
    }
    HD_TRY(status);
    return text->status == HD_OK ? HD_OK : hd_fail(err, text->status, "the message is too long");
}
