/* regex.c: runs the regular expressions of tokenizer.json, which are written for Oniguruma, with PCRE2.
 *
 * Both are backtracking engines that take the first alternative that matches, so a pattern means the same where its
 * parts do.  What differs is rewritten (the classes \s \d \w, ^ and $ at lines, \u1234) or refused by name. References:
 * RE and doc/SYNTAX of Oniguruma 6.9, pcre2pattern(3). */
#define PCRE2_CODE_UNIT_WIDTH 8
#include <pcre2.h>
#include <string.h>

#include "tokenizer/tokenizer_internal.h"

/* A runaway pattern ends after so many steps at one position; real ones stay below the length of the word. */
#define MATCH_LIMIT 200000000u
#define HEAP_LIMIT_KIB (64u << 10)
#define JIT_STACK_MIN (32u << 10)
#define JIT_STACK_MAX (16u << 20)

/* White_Space, Decimal_Number and word characters as insides of a class. */
#define SPACES "\\x09-\\x0d\\x20\\x85\\xa0\\x{1680}\\x{2000}-\\x{200a}\\x{2028}\\x{2029}\\x{202f}\\x{205f}\\x{3000}"
#define DIGITS "\\p{Nd}"
#define WORD "\\p{Alphabetic}\\p{M}\\p{Nd}\\p{Pc}"
#define WORD_OUTSIDE WORD "\\xb2\\xb3\\xb9\\xbc-\\xbe" /* where \\w stands alone, so do these in Oniguruma */
#define HEX "0-9A-Fa-f"

struct hd_regex {
    pcre2_code *code;
};

struct hd_matcher {
    pcre2_match_data *data;
    pcre2_match_context *context;
    pcre2_jit_stack *stack;
};

/* ---- from Oniguruma's dialect to PCRE2's ---- */

typedef struct translation {
    const char *in;
    size_t len, at;
    bool caseless; /* some group before here ignores case */
    hd_buf out;
    hd_error *err;
} translation;

static hd_status refuse(translation *t, const char *what, size_t len)
{
    return hd_fail(t->err, HD_E_UNSUPPORTED, "regular expression, at byte %zu: \"%.*s\" is not supported", t->at,
                   (int)HD_MIN(len, t->len - t->at), what);
}

static bool looking_at(const translation *t, const char *text)
{
    size_t n = strlen(text);
    return t->len - t->at >= n && memcmp(t->in + t->at, text, n) == 0;
}

static hd_status copy(translation *t, size_t len)
{
    hd_status status = hd_buf_append(&t->out, t->in + t->at, len);
    t->at += len;
    return status;
}

static bool is_hex(char c)
{
    return (c >= '0' && c <= '9') || (c >= 'a' && c <= 'f') || (c >= 'A' && c <= 'F');
}

/* \p{..} and \P{..}: general categories mean the same; names of scripts would include script extensions in PCRE2. */
static hd_status translate_property(translation *t)
{
    const char *start = t->in + t->at, *brace = t->at + 2 < t->len ? start + 2 : NULL;
    const char *end = brace && *brace == '{' ? memchr(brace, '}', t->len - t->at - 2) : NULL;
    if (!end) return refuse(t, start, 2);
    const char *name = brace + 1;
    if (name < end && *name == '^') name++;
    if (end - name < 1 || end - name > 2) return refuse(t, start, (size_t)(end - start) + 1);
    return copy(t, (size_t)(end - start) + 1);
}

/* \u1234, which PCRE2 writes \x{1234}. */
static hd_status translate_u(translation *t)
{
    if (t->len - t->at < 6) return refuse(t, t->in + t->at, 6);
    for (int i = 2; i < 6; i++)
        if (!is_hex(t->in[t->at + (size_t)i])) return refuse(t, t->in + t->at, 6);
    t->out.status = hd_buf_printf(&t->out, "\\x{%.4s}", t->in + t->at + 2);
    t->at += 6;
    return t->out.status;
}

/* \x{4e00} and \x41; two digits from 80 up would be one byte of a character in Oniguruma. */
static hd_status translate_x(translation *t)
{
    const char *start = t->in + t->at;
    size_t left = t->len - t->at;
    const char *end = left > 2 && start[2] == '{' ? memchr(start, '}', left) : NULL;
    if (end) return copy(t, (size_t)(end - start) + 1);
    if (left < 4 || start[2] < '0' || start[2] > '7' || !is_hex(start[3])) return refuse(t, start, 4);
    return copy(t, 4);
}

/* \s and its like.  Inside a class the members are written out; the negated ones have no such form there. */
static hd_status translate_class_escape(translation *t, const char *members, bool negated, bool inside)
{
    if (inside && negated) return refuse(t, t->in + t->at, 2);
    t->at += 2;
    if (inside) return hd_buf_puts(&t->out, members);
    return hd_buf_printf(&t->out, "[%s%s]", negated ? "^" : "", members);
}

static hd_status translate_escape(translation *t, bool inside)
{
    const char *start = t->in + t->at;
    if (t->at + 1 == t->len) return refuse(t, start, 1);
    switch (start[1]) {
    case 's': return translate_class_escape(t, SPACES, false, inside);
    case 'd': return translate_class_escape(t, DIGITS, false, inside);
    case 'w': return translate_class_escape(t, inside ? WORD : WORD_OUTSIDE, false, inside);
    case 'h': return translate_class_escape(t, HEX, false, inside);
    case 'S':
        if (!inside) return translate_class_escape(t, SPACES, true, false);
        t->at += 2;
        return hd_buf_puts(&t->out, "\\P{White_Space}");
    case 'D': t->at += 2; return hd_buf_puts(&t->out, "\\P{Nd}");
    case 'W': return translate_class_escape(t, WORD_OUTSIDE, true, inside);
    case 'H': return translate_class_escape(t, HEX, true, inside);
    case 'p':
    case 'P': return translate_property(t);
    case 'u': return translate_u(t);
    case 'v': /* one character in Oniguruma, a class in PCRE2 */ t->at += 2; return hd_buf_puts(&t->out, "\\x0b");
    case 't':
    case 'n':
    case 'r':
    case 'f':
    case 'a':
    case 'e': return copy(t, 2);
    case 'x': return translate_x(t);
    case 'A':
    case 'z':
    case 'Z': return inside ? refuse(t, start, 2) : copy(t, 2);
    default: break;
    }
    bool word = is_hex(start[1]) || (start[1] >= 'g' && start[1] <= 'z') || (start[1] >= 'G' && start[1] <= 'Z');
    return word ? refuse(t, start, 2) : copy(t, 2);
}

/* [...]: nested classes, intersections and POSIX names are Oniguruma's own and refused. */
static hd_status translate_class(translation *t)
{
    size_t start = t->at;
    HD_TRY(copy(t, looking_at(t, "[^") ? 2 : 1));
    if (looking_at(t, "]")) return refuse(t, t->in + t->at, 1);
    while (t->at < t->len && t->in[t->at] != ']') {
        if (t->in[t->at] == '\\')
            HD_TRY(translate_escape(t, true));
        else if (t->in[t->at] == '[' || looking_at(t, "&&"))
            return refuse(t, t->in + t->at, 2);
        else
            HD_TRY(copy(t, 1));
    }
    if (t->at == t->len)
        return hd_fail(t->err, HD_E_FORMAT, "regular expression: the class at byte %zu has no end", start);
    return copy(t, 1);
}

static hd_status translate_group(translation *t)
{
    static const char *const known[] = {"(?:", "(?=", "(?!", "(?<=", "(?<!", "(?>", "(?i:", "(?-i:", "(?i)", "(?-i)"};
    if (!looking_at(t, "(?") && !looking_at(t, "(*")) return copy(t, 1);
    t->caseless = t->caseless || looking_at(t, "(?i");
    for (size_t i = 0; i < HD_ARRAY_LEN(known); i++)
        if (looking_at(t, known[i])) return copy(t, strlen(known[i]));
    return refuse(t, t->in + t->at, 3);
}

/* Ignoring case, Oniguruma takes one character for two ("ss" and U+00DF); PCRE2 does not. */
static hd_status translate_literal(translation *t)
{
    static const char *const folded[] = {"ss", "SS", "sS", "Ss", "ff", "FF", "fi", "FI", "fl", "FL", "st", "ST"};
    for (size_t i = 0; t->caseless && i < HD_ARRAY_LEN(folded); i++)
        if (looking_at(t, folded[i])) return refuse(t, t->in + t->at, 2);
    if (t->caseless && (uint8_t)t->in[t->at] >= 0x80) return refuse(t, t->in + t->at, 4);
    return copy(t, 1);
}

/* {n,m}: Oniguruma takes {,m} for {0,m}, and a + behind braces for a second repetition. */
static hd_status translate_braces(translation *t)
{
    if (looking_at(t, "{,")) {
        t->at++;
        return hd_buf_puts(&t->out, "{0");
    }
    const char *end = memchr(t->in + t->at, '}', t->len - t->at);
    size_t len = end ? (size_t)(end - (t->in + t->at)) + 1 : 0;
    if (len && t->at + len < t->len && end[1] == '+') return refuse(t, t->in + t->at, len + 1);
    return copy(t, 1);
}

static hd_status translate(translation *t)
{
    /* At each space of a long run this pattern looks through all the rest of the run.  Where it fails at the first, it
     * fails at all of them: skip the run.  The matches are the same. */
    if (t->len == 4 && memcmp(t->in, "\\s+$", 4) == 0) {
        return hd_buf_puts(&t->out, "[" SPACES "]+$|[" SPACES "]+(*SKIP)(*FAIL)");
    }
    while (t->at < t->len) {
        switch (t->in[t->at]) {
        case '\\': HD_TRY(translate_escape(t, false)); break;
        case '[': HD_TRY(translate_class(t)); break;
        case '(': HD_TRY(translate_group(t)); break;
        case '{': HD_TRY(translate_braces(t)); break;
        default: HD_TRY(translate_literal(t));
        }
    }
    return HD_OK;
}

/* ---- compiling ---- */

static hd_status compile(hd_regex *re, const char *pattern, size_t len, bool literal, hd_error *err)
{
    pcre2_compile_context *context = pcre2_compile_context_create(NULL);
    if (!context) return hd_fail(err, HD_E_MEMORY, "out of memory for a regular expression");
    pcre2_set_newline(context, PCRE2_NEWLINE_LF);
    /* In Oniguruma ^ and $ stand at every line. */
    uint32_t options =
        literal ? PCRE2_UTF | PCRE2_LITERAL : PCRE2_UTF | PCRE2_UCP | PCRE2_MULTILINE | PCRE2_NEVER_BACKSLASH_C;
    int code;
    PCRE2_SIZE where;
    re->code = pcre2_compile((PCRE2_SPTR)pattern, len, options, &code, &where, context);
    pcre2_compile_context_free(context);
    if (!re->code) {
        char why[160] = "";
        pcre2_get_error_message(code, (PCRE2_UCHAR *)why, sizeof why);
        if (code == PCRE2_ERROR_NOMEMORY || code == PCRE2_ERROR_HEAP_FAILED)
            return hd_fail(err, HD_E_MEMORY, "out of memory for a regular expression");
        return hd_fail(err, HD_E_FORMAT, "regular expression \"%.*s\": %s", (int)HD_MIN(len, 200u), pattern, why);
    }
    /* Without executable memory the interpreter runs it, with the same results. */
    (void)pcre2_jit_compile(re->code, PCRE2_JIT_COMPLETE);
    return HD_OK;
}

hd_status hd_regex_compile(hd_regex **out, const char *pattern, size_t len, bool literal, hd_error *err)
{
    *out = NULL;
    if (len == 0 || len > HD_TOKENIZER_REGEX)
        return hd_fail(err, len ? HD_E_LIMIT : HD_E_FORMAT, "a pattern of %zu bytes; 1 to %u are allowed", len,
                       HD_TOKENIZER_REGEX);
    translation t = {.in = pattern, .len = len, .err = err};
    hd_buf_init(&t.out, 64 * (size_t)HD_TOKENIZER_REGEX);
    hd_status status = literal ? hd_buf_append(&t.out, pattern, len) : translate(&t);
    if (status != HD_OK && t.out.status != HD_OK) status = hd_fail(err, status, "a regular expression is too long");
    hd_regex *re = status == HD_OK ? hd_calloc(1, sizeof *re) : NULL;
    if (status == HD_OK && !re) status = hd_fail(err, HD_E_MEMORY, "out of memory for a regular expression");
    if (status == HD_OK) status = compile(re, t.out.data, t.out.len, literal, err);
    hd_buf_free(&t.out);
    if (status == HD_OK)
        *out = re;
    else
        hd_free(re);
    return status;
}

void hd_regex_free(hd_regex **re)
{
    if (*re) pcre2_code_free((*re)->code);
    hd_free(*re);
    *re = NULL;
}

/* ---- matching ---- */

hd_status hd_matcher_open(hd_matcher **out, hd_error *err)
{
    hd_matcher *m = *out = hd_calloc(1, sizeof *m);
    if (m) {
        m->data = pcre2_match_data_create(1, NULL);
        m->context = pcre2_match_context_create(NULL);
    }
    if (!m || !m->data || !m->context) {
        hd_matcher_close(out);
        return hd_fail(err, HD_E_MEMORY, "out of memory for matching");
    }
    pcre2_set_match_limit(m->context, MATCH_LIMIT);
    pcre2_set_heap_limit(m->context, HEAP_LIMIT_KIB);
    return HD_OK;
}

void hd_matcher_close(hd_matcher **m)
{
    if (!*m) return;
    pcre2_match_data_free((*m)->data);
    pcre2_match_context_free((*m)->context);
    if ((*m)->stack) pcre2_jit_stack_free((*m)->stack);
    hd_free(*m);
    *m = NULL;
}

/* Compiled patterns have 32 KiB of the thread's own stack, which is enough for nearly all text.  A larger one is made
 * when a match asks for it: mapping it for each text, and unmapping it, would interrupt all threads of a service. */
static int match(const hd_regex *re, hd_matcher *m, const char *text, size_t len, size_t from)
{
    int rc = pcre2_match(re->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK, m->data, m->context);
    if (rc != PCRE2_ERROR_JIT_STACKLIMIT || m->stack) return rc;
    m->stack = pcre2_jit_stack_create(JIT_STACK_MIN, JIT_STACK_MAX, NULL);
    if (!m->stack) return PCRE2_ERROR_NOMEMORY;
    pcre2_jit_stack_assign(m->context, NULL, m->stack);
    return pcre2_match(re->code, (PCRE2_SPTR)text, len, from, PCRE2_NO_UTF_CHECK, m->data, m->context);
}

hd_status hd_regex_next(const hd_regex *re, hd_matcher *m, const char *text, size_t len, size_t from, bool *found,
                        size_t *start, size_t *end, hd_error *err)
{
    *found = false;
    int rc = match(re, m, text, len, from);
    if (rc == PCRE2_ERROR_NOMATCH) return HD_OK;
    if (rc == PCRE2_ERROR_NOMEMORY) return hd_fail(err, HD_E_MEMORY, "out of memory for matching");
    if (rc < 0) {
        char why[160] = "";
        pcre2_get_error_message(rc, (PCRE2_UCHAR *)why, sizeof why);
        return hd_fail(err, HD_E_LIMIT, "the pre-tokenizer's regular expression gave up at byte %zu: %s", from, why);
    }
    PCRE2_SIZE *ends = pcre2_get_ovector_pointer(m->data);
    *found = true;
    *start = ends[0];
    *end = ends[1];
    return HD_OK;
}
