/* pretokenize.c: cuts text into words by a sequence of steps, each of which cuts the pieces of the one before.
 *
 * The ways in which a match joins its neighbours are those of the tokenizers library's Split.  Nothing is copied:
 * pieces are stretches of the text (but where a space is put in front). */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/utf8.h"

void hd_pretokenizer_free(hd_pretokenizer *pre)
{
    for (int i = 0; i < pre->count; i++)
        hd_regex_free(&pre->splits[i].re);
    pre->count = 0;
}

static hd_status too_many(const hd_pretokenizer *pre, hd_error *err)
{
    if (pre->count < HD_TOKENIZER_SPLITS) return HD_OK;
    return hd_fail(err, HD_E_LIMIT, "the pre-tokenizer has more than %d steps", HD_TOKENIZER_SPLITS);
}

hd_status hd_pretokenizer_add(hd_pretokenizer *pre, const char *pattern, size_t len, bool literal,
                              hd_split_behavior behavior, bool invert, hd_error *err)
{
    HD_TRY(too_many(pre, err));
    hd_split *s = &pre->splits[pre->count];
    *s = (hd_split){.kind = HD_SPLIT_REGEX, .behavior = behavior, .invert = invert};
    HD_TRY(hd_regex_compile(&s->re, pattern, len, literal, err));
    pre->count++;
    return HD_OK;
}

hd_status hd_pretokenizer_add_prefix_space(hd_pretokenizer *pre, hd_error *err)
{
    HD_TRY(too_many(pre, err));
    pre->splits[pre->count++] = (hd_split){.kind = HD_SPLIT_PREFIX_SPACE};
    return HD_OK;
}

/* ---- one step: matches and what lies between, joined as the step says ---- */

typedef struct walk {
    const hd_pretokenizer *pre;
    hd_matcher *matcher;
    hd_word_fn fn;
    void *arg;
    hd_error *err;
} walk;

typedef struct piece {
    size_t start, end;
    bool match;
} piece;

typedef struct joiner { /* of one step on one piece of text */
    const walk *w;
    const hd_split *split;
    int next; /* the step that follows */
    const char *text;
    piece held;
    bool holds;
    bool last_match; /* whether the piece before this one matched */
} joiner;

static hd_status run_step(const walk *w, int step, const char *text, size_t len);

static hd_status hand_out(const joiner *j, piece p)
{
    return p.end > p.start ? run_step(j->w, j->next, j->text + p.start, p.end - p.start) : HD_OK;
}

static hd_status flush(joiner *j)
{
    if (!j->holds) return HD_OK;
    j->holds = false;
    return hand_out(j, j->held);
}

/* Holds `p` back, because what comes next may join it; `join` puts it to what is held. */
static hd_status hold(joiner *j, piece p, bool join)
{
    if (join && j->holds) {
        j->held.end = p.end;
        j->held.match = p.match;
        return HD_OK;
    }
    HD_TRY(flush(j));
    j->held = p;
    j->holds = true;
    return HD_OK;
}

static hd_status take(joiner *j, piece p)
{
    if (j->split->invert) p.match = !p.match;
    bool last_match = j->last_match;
    j->last_match = p.match;
    switch (j->split->behavior) {
    case HD_SPLIT_REMOVED: return p.match ? HD_OK : hand_out(j, p);
    case HD_SPLIT_MERGED_WITH_PREVIOUS: return hold(j, p, p.match && !last_match);
    case HD_SPLIT_MERGED_WITH_NEXT: return hold(j, p, !p.match && last_match);
    case HD_SPLIT_CONTIGUOUS: return hold(j, p, p.match == last_match);
    case HD_SPLIT_ISOLATED: break;
    }
    return hand_out(j, p);
}

static hd_status split_by_regex(joiner *j, size_t len)
{
    const walk *w = j->w;
    size_t done = 0, last_end = SIZE_MAX;
    for (size_t from = 0; from <= len;) {
        bool found;
        size_t start, end;
        HD_TRY(hd_regex_next(j->split->re, w->matcher, j->text, len, from, &found, &start, &end, w->err));
        if (!found) break;
        if (start == end && end == last_end) { /* an empty match right behind the last one does not count */
            uint32_t cp;
            from += from < len ? (size_t)HD_MAX(1, hd_utf8_step((const uint8_t *)j->text + from, len - from, &cp)) : 1;
            continue;
        }
        if (start > done) HD_TRY(take(j, (piece){done, start, false}));
        HD_TRY(take(j, (piece){start, end, true}));
        done = from = last_end = end;
    }
    if (done < len) HD_TRY(take(j, (piece){done, len, false}));
    return flush(j);
}

static hd_status put_space_in_front(const walk *w, int next, const char *text, size_t len)
{
    if (len == 0 || text[0] == ' ') return run_step(w, next, text, len);
    char *copy = hd_alloc(len + 1);
    if (!copy) return hd_fail(w->err, HD_E_MEMORY, "out of memory for a text of %zu bytes", len);
    copy[0] = ' ';
    memcpy(copy + 1, text, len);
    hd_status status = run_step(w, next, copy, len + 1);
    hd_free(copy);
    return status;
}

/* Recursion is as deep as there are steps. */
static hd_status run_step(const walk *w, int step, const char *text, size_t len)
{
    if (step == w->pre->count) return w->fn(w->arg, text, len);
    const hd_split *s = &w->pre->splits[step];
    if (s->kind == HD_SPLIT_PREFIX_SPACE) return put_space_in_front(w, step + 1, text, len);
    joiner j = {.w = w, .split = s, .next = step + 1, .text = text};
    return split_by_regex(&j, len);
}

/* Length of the run of valid (or of ill-formed) bytes at the start. */
static size_t run_length(const char *text, size_t len, bool *valid)
{
    size_t at = 0;
    while (at < len) {
        uint32_t cp;
        int step = hd_utf8_step((const uint8_t *)text + at, len - at, &cp);
        if (at == 0) *valid = step > 0;
        if ((step > 0) != *valid) break;
        at += step > 0 ? (size_t)step : step < 0 ? (size_t)-step : len - at;
    }
    return at;
}

hd_status hd_pretokenize(const hd_pretokenizer *pre, hd_matcher *m, const char *text, size_t len, hd_word_fn fn,
                         void *arg, hd_error *err)
{
    walk w = {pre, m, fn, arg, err};
    for (size_t at = 0; at < len;) {
        bool valid = true;
        size_t run = run_length(text + at, len - at, &valid);
        HD_TRY(valid ? run_step(&w, 0, text + at, run) : fn(arg, text + at, run));
        at += run;
    }
    return HD_OK;
}
