/* cli/pull_progress.c: what a pull says while it works, on stderr; see pull.h.
 *
 * On a terminal one line is drawn anew a few times a second; elsewhere a line is printed every ten seconds. */
#include <stdarg.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include "base/text.h"
#include "cli/files.h"
#include "cli/pull.h"

#define REDRAW_NS 200000000u /* a terminal: five times a second */
#define LINE_NS 10000000000u /* a log: every ten seconds */
#define RATE_NS 3000000000u  /* the rate is of the last three seconds or so */

#define BAR_CELLS 20

struct hd_pull_progress {
    bool quiet, terminal, drawn;
    uint64_t total;    /* of the whole pull */
    uint64_t finished; /* bytes of the files that are done */
    const char *name;  /* of the file in work */
    size_t index, count;
    uint64_t last_ns;
    uint64_t rate_ns, rate_bytes; /* where the rate's window began */
    double rate;                  /* bytes per second; 0: not known yet */
};

hd_status hd_pull_progress_open(hd_pull_progress **out, uint64_t total, bool quiet, hd_error *err)
{
    hd_pull_progress *p = *out = hd_calloc(1, sizeof *p);
    if (!p) return hd_fail(err, HD_E_MEMORY, "out of memory");
    p->quiet = quiet;
    p->terminal = isatty(STDERR_FILENO) == 1;
    p->total = total;
    p->last_ns = hd_clock_ns();
    return HD_OK;
}

static void clear_line(hd_pull_progress *p)
{
    if (!p->drawn) return;
    fputs("\r\033[K", stderr);
    p->drawn = false;
}

void hd_pull_progress_close(hd_pull_progress **progress)
{
    if (!*progress) return;
    clear_line(*progress);
    hd_free(*progress);
    *progress = NULL;
}

void hd_pull_progress_say(hd_pull_progress *p, const char *fmt, ...)
{
    char text[HD_ERROR_TEXT + 256];
    va_list args;
    if (p->quiet) return;
    va_start(args, fmt);
    vsnprintf(text, sizeof text, fmt, args);
    va_end(args);
    hd_text_clean(text);
    clear_line(p);
    fprintf(stderr, "%s\n", text);
}

void hd_pull_progress_file(hd_pull_progress *p, const char *name, size_t index, size_t count)
{
    p->name = name;
    p->index = index;
    p->count = count;
    p->rate = 0;
    p->rate_ns = hd_clock_ns();
    p->rate_bytes = UINT64_MAX; /* set by the first bytes: what was there before is not this run's speed */
}

static void measure(hd_pull_progress *p, uint64_t now, uint64_t done)
{
    if (p->rate_bytes == UINT64_MAX || done < p->rate_bytes) {
        p->rate_bytes = done;
        p->rate_ns = now;
    }
    if (now - p->rate_ns < RATE_NS / 3) return;
    double rate = (double)(done - p->rate_bytes) * 1e9 / (double)(now - p->rate_ns);
    p->rate = p->rate > 0 ? 0.7 * p->rate + 0.3 * rate : rate;
    p->rate_bytes = done;
    p->rate_ns = now;
}

/* " [######              ]" for a terminal, where the whole is known. */
static void draw_bar(char bar[BAR_CELLS + 4], const hd_pull_progress *p, uint64_t here, uint64_t all)
{
    bar[0] = '\0';
    if (!p->terminal || !all) return;
    size_t full = here >= all ? BAR_CELLS : (size_t)((double)here / (double)all * BAR_CELLS);
    memcpy(bar, " [                    ]", BAR_CELLS + 4);
    memset(bar + 2, '#', full);
}

/* "x.gguf (2 of 5) [####    ]  41 % of 92.9 MB, 12.0 MB/s, 5 s left" */
static void describe(const hd_pull_progress *p, char *line, size_t size, uint64_t done, uint64_t total)
{
    char a[HD_SIZE_TEXT], r[HD_SIZE_TEXT], part[48] = "", left[48] = "", bar[BAR_CELLS + 4];
    uint64_t all = p->total > total ? p->total : total, here = p->total > total ? p->finished + done : done;
    if (p->count > 1) snprintf(part, sizeof part, " (%zu of %zu)", p->index + 1, p->count);
    if (p->rate > 0 && all > here) {
        double seconds = (double)(all - here) / p->rate;
        if (seconds < 120)
            snprintf(left, sizeof left, ", %.0f s left", seconds);
        else if (seconds < 1e7)
            snprintf(left, sizeof left, ", %.0f min left", seconds / 60);
    }
    draw_bar(bar, p, here, all);
    int n = all ? snprintf(line, size, "%s%s%s %3.0f %% of %s", p->name, part, bar, 100.0 * (double)here / (double)all,
                           hd_size_text(a, all))
                : snprintf(line, size, "%s%s %s", p->name, part, hd_size_text(a, done));
    if (n > 0 && (size_t)n < size && p->rate > 0)
        snprintf(line + n, size - (size_t)n, ", %s/s%s", hd_size_text(r, (uint64_t)p->rate), left);
}

void hd_pull_progress_at(hd_pull_progress *p, uint64_t done, uint64_t total)
{
    if (p->quiet || !p->name) return;
    uint64_t now = hd_clock_ns();
    measure(p, now, done);
    if (now - p->last_ns < (p->terminal ? REDRAW_NS : LINE_NS)) return;
    p->last_ns = now;
    char line[512];
    describe(p, line, sizeof line, done, total);
    if (!p->terminal) {
        fprintf(stderr, "%s\n", line);
        return;
    }
    struct winsize window;
    int columns = ioctl(STDERR_FILENO, TIOCGWINSZ, &window) == 0 && window.ws_col > 1 ? window.ws_col - 1 : 79;
    fprintf(stderr, "\r%.*s\033[K", columns, line);
    fflush(stderr);
    p->drawn = true;
}

void hd_pull_progress_file_done(hd_pull_progress *p, uint64_t bytes)
{
    p->finished += bytes;
    p->name = NULL;
}
