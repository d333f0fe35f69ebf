/* ops/render.c: see render.h.  One pass; a stack of ifs says whether what is read is written. */
#include "ops/render.h"

#include <string.h>

#define DEPTH 8 /* ifs within ifs */
#define PATH_MAX_BYTES 64

typedef struct level {
    bool writes; /* this branch */
    bool may;    /* the other branch would be written: the whole if is in a branch that is, and no branch was taken */
    bool other;  /* the else was seen */
} level;

typedef struct renderer {
    hd_buf *out;
    const char *name, *start, *at, *end;
    hd_render_value value;
    void *arg;
    level levels[DEPTH];
    int depth;
    hd_error *err;
} renderer;

static int line_of(const renderer *r, const char *where)
{
    int line = 1;
    for (const char *p = r->start; p < where; p++)
        line += *p == '\n';
    return line;
}

static hd_status wrong(const renderer *r, const char *where, const char *what)
{
    return hd_fail(r->err, HD_E_FORMAT, "%s, line %d: %s", r->name, line_of(r, where), what);
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool writes(const renderer *r)
{
    return r->depth == 0 || r->levels[r->depth - 1].writes;
}

/* ---- what stands between the braces ---- */

/* Cuts the next word off `tag`; an empty one at its end. */
static hd_str word(hd_str *tag)
{
    while (tag->len && is_space(*tag->data))
        tag->data++, tag->len--;
    hd_str w = {tag->data, 0};
    while (w.len < tag->len && !is_space(w.data[w.len]))
        w.len++;
    tag->data += w.len;
    tag->len -= w.len;
    return w;
}

static bool is(hd_str w, const char *text)
{
    return w.len == strlen(text) && memcmp(w.data, text, w.len) == 0;
}

static hd_status look_up(const renderer *r, hd_str path, const char **value)
{
    char name[PATH_MAX_BYTES];
    if (path.len < 2 || path.data[0] != '.' || path.len > sizeof name)
        return wrong(r, path.data, "a value such as .Values.port was expected");
    memcpy(name, path.data + 1, path.len - 1);
    name[path.len - 1] = '\0';
    *value = r->value(r->arg, name);
    if (*value) return HD_OK;
    return hd_fail(r->err, HD_E_NOT_FOUND, "%s, line %d: there is no value .%s", r->name, line_of(r, path.data), name);
}

static hd_status do_if(renderer *r, hd_str tag)
{
    const char *value;
    hd_str path = word(&tag);
    bool negated = is(path, "not");
    if (negated) path = word(&tag);
    HD_TRY(look_up(r, path, &value));
    if (word(&tag).len) return wrong(r, path.data, "an if takes one value");
    if (r->depth == DEPTH) return wrong(r, path.data, "ifs are nested too deep");
    bool truth = *value && strcmp(value, "false") != 0 && strcmp(value, "0") != 0;
    bool around = writes(r), taken = around && truth != negated;
    r->levels[r->depth++] = (level){.writes = taken, .may = around && !taken};
    return HD_OK;
}

static hd_status do_else(renderer *r, const char *where)
{
    level *l = r->depth ? &r->levels[r->depth - 1] : NULL;
    if (!l || l->other) return wrong(r, where, "an else without an if");
    l->writes = l->may;
    l->other = true;
    return HD_OK;
}

static hd_status do_value(renderer *r, hd_str path, hd_str tag)
{
    const char *value;
    bool quote = false;
    HD_TRY(look_up(r, path, &value));
    hd_str pipe = word(&tag);
    if (pipe.len) {
        quote = is(pipe, "|") && is(word(&tag), "quote");
        if (!quote || word(&tag).len) return wrong(r, path.data, "nothing but '| quote' may stand behind a value");
    }
    if (!writes(r)) return HD_OK;
    /* Values that a description lets in need no escapes. */
    return quote ? hd_buf_printf(r->out, "\"%s\"", value) : hd_buf_puts(r->out, value);
}

static hd_status do_tag(renderer *r, hd_str tag)
{
    const char *where = tag.data;
    if (tag.len >= 4 && memcmp(tag.data, "/*", 2) == 0) return HD_OK;
    hd_str first = word(&tag);
    if (is(first, "if")) return do_if(r, tag);
    if (is(first, "else")) return word(&tag).len ? wrong(r, where, "an else takes nothing") : do_else(r, where);
    if (!is(first, "end")) return do_value(r, first, tag);
    if (r->depth == 0 || word(&tag).len) return wrong(r, where, "an end without an if");
    r->depth--;
    return HD_OK;
}

/* ---- text and tags in turn ---- */

static const char *find_pair(const char *from, const char *end, char c)
{
    for (; end - from >= 2; from++)
        if (from[0] == c && from[1] == c) return from;
    return NULL;
}

/* The text up to `stop`, without the white space at its end when the tag there wants that. */
static void put_text(renderer *r, const char *stop, bool trim)
{
    const char *last = stop;
    while (trim && last > r->at && is_space(last[-1]))
        last--;
    if (writes(r)) (void)hd_buf_append(r->out, r->at, (size_t)(last - r->at)); /* sticky */
}

hd_status hd_render(hd_buf *out, const char *name, const char *text, size_t len, hd_render_value value, void *arg,
                    hd_error *err)
{
    renderer r = {
        .out = out, .name = name, .start = text, .at = text, .end = text + len, .value = value, .arg = arg, .err = err};
    const char *open;
    while ((open = find_pair(r.at, r.end, '{'))) {
        const char *close = find_pair(open + 2, r.end, '}');
        if (!close) return wrong(&r, open, "{{ without }}");
        /* As in Go, the mark is a dash with white space behind, or before. */
        bool before = close - open >= 4 && open[2] == '-' && is_space(open[3]);
        bool behind = close - open >= 4 && close[-1] == '-' && is_space(close[-2]);
        put_text(&r, open, before);
        const char *from = open + (before ? 4 : 2), *to = close - (behind ? 2 : 0);
        while (from < to && is_space(*from))
            from++;
        HD_TRY(do_tag(&r, (hd_str){from, from < to ? (size_t)(to - from) : 0}));
        r.at = close + 2;
        while (behind && r.at < r.end && is_space(*r.at))
            r.at++;
    }
    put_text(&r, r.end, false);
    if (r.depth) return wrong(&r, r.end, "an if without its end");
    return out->status == HD_OK ? HD_OK : hd_fail(err, out->status, "%s: no room for what it makes", name);
}
