/* pretokenize.c: cuts text into words by a sequence of steps, each of which cuts the pieces of the one before.
 *
 * The ways in which a match joins its neighbours are those of the tokenizers library's Split.  Nothing is copied:
 * pieces are stretches of the text (but where a space is put in front). */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/unicode.h"
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

typedef struct stretch {
    const char *text;
    const char *shape; /* what patterns see; mostly the text itself */
    size_t len;
} stretch;

typedef struct joiner { /* of one step on one piece of text */
    const walk *w;
    const hd_split *split;
    int next; /* the step that follows */
    stretch in;
    piece held;
    bool holds;
    bool last_match; /* whether the piece before this one matched */
} joiner;

static hd_status run_step(const walk *w, int step, stretch in);

static hd_status hand_out(const joiner *j, piece p)
{
    if (p.end == p.start) return HD_OK;
    return run_step(j->w, j->next, (stretch){j->in.text + p.start, j->in.shape + p.start, p.end - p.start});
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

static hd_status split_by_regex(joiner *j)
{
    const walk *w = j->w;
    const char *shape = j->in.shape;
    size_t len = j->in.len;
    size_t done = 0, last_end = SIZE_MAX;
    for (size_t from = 0; from <= len;) {
        bool found;
        size_t start, end;
        HD_TRY(hd_regex_next(j->split->re, w->matcher, shape, len, from, &found, &start, &end, w->err));
        if (!found) break;
        if (start == end && end == last_end) { /* an empty match right behind the last one does not count */
            uint32_t cp;
            from += from < len ? (size_t)HD_MAX(1, hd_utf8_step((const uint8_t *)shape + from, len - from, &cp)) : 1;
            continue;
        }
        if (start > done) HD_TRY(take(j, (piece){done, start, false}));
        HD_TRY(take(j, (piece){start, end, true}));
        done = from = last_end = end;
    }
    if (done < len) HD_TRY(take(j, (piece){done, len, false}));
    return flush(j);
}

static hd_status put_space_in_front(const walk *w, int next, stretch in)
{
    if (in.len == 0 || in.text[0] == ' ') return run_step(w, next, in);
    char *copy = hd_alloc_array(in.len + 1, 2);
    if (!copy) return hd_fail(w->err, HD_E_MEMORY, "out of memory for a text of %zu bytes", in.len);
    char *shape = copy + in.len + 1;
    copy[0] = shape[0] = ' ';
    memcpy(copy + 1, in.text, in.len);
    memcpy(shape + 1, in.shape, in.len);
    hd_status status = run_step(w, next, (stretch){copy, shape, in.len + 1});
    hd_free(copy);
    return status;
}

/* Recursion is as deep as there are steps. */
static hd_status run_step(const walk *w, int step, stretch in)
{
    if (step == w->pre->count) return w->fn(w->arg, in.text, in.len);
    const hd_split *s = &w->pre->splits[step];
    if (s->kind == HD_SPLIT_PREFIX_SPACE) return put_space_in_front(w, step + 1, in);
    joiner j = {.w = w, .split = s, .next = step + 1, .in = in};
    return split_by_regex(&j);
}

/* ---- the shape of a text ---- */

/* Whether a byte leads characters of which some are newer than PCRE2's Unicode. */
static bool may_be_newer(uint8_t lead)
{
    return lead == 0xF0 || (lead >= 0xE0 && lead <= 0xE3) || lead == 0xEA;
}

/* Position of the next newer character at or after `at`, or len; *older is what stands in for it. */
static size_t find_newer(const uint8_t *text, size_t len, size_t at, uint32_t *older)
{
    for (; at < len; at++) {
        uint32_t cp;
        if (!may_be_newer(text[at]) || hd_utf8_step(text + at, len - at, &cp) <= 0) continue;
        *older = hd_unicode_older(cp);
        if (*older != cp) break;
    }
    return at;
}

static hd_status run_valid(const walk *w, const char *text, size_t len)
{
    uint32_t older;
    size_t at = find_newer((const uint8_t *)text, len, 0, &older);
    if (at == len) return run_step(w, 0, (stretch){text, text, len});
    char *shape = hd_strndup(text, len);
    if (!shape) return hd_fail(w->err, HD_E_MEMORY, "out of memory for a text of %zu bytes", len);
    for (; at < len; at = find_newer((const uint8_t *)text, len, at, &older))
        at += (size_t)hd_utf8_put((uint8_t *)shape + at, older);
    hd_status status = run_step(w, 0, (stretch){text, shape, len});
    hd_free(shape);
    return status;
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
        HD_TRY(valid ? run_valid(&w, text + at, run) : fn(arg, text + at, run));
        at += run;
    }
    return HD_OK;
}
