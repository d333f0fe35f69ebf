/* tokenizer/template_lex.c: template source into tokens, as jinja2's lexer with trim_blocks and lstrip_blocks.
 *
 * What those two settings mean (jinja2's documentation): the first newline after a block tag is dropped, and so are
 * spaces and tabs before a block tag on its line.  '-' inside a tag strips all white space on that side, '+' keeps it.
 * Line ends become '\n', and one at the very end of the source is dropped.
 */
#include <string.h>

#include "tokenizer/template_internal.h"
#include "tokenizer/utf8.h"

typedef struct lexer {
    hd_tpl_arena *arena;
    hd_error *err;
    const char *src;
    size_t len, pos;
    uint32_t line;
    bool line_starting; /* the last token ended with a newline */
    hd_tok *tok;
    size_t n, cap;
    char open[HD_TPL_PARSE_DEPTH]; /* brackets that wait for their partner */
    int opened;
} lexer;

static hd_status push(lexer *lex, hd_tok tok)
{
    if (lex->n == lex->cap) {
        size_t cap = lex->cap ? lex->cap * 2 : 256;
        hd_tok *grown = hd_realloc_array(lex->tok, cap, sizeof *grown);
        if (!grown) return hd_fail(lex->err, HD_E_MEMORY, "out of memory while reading a template");
        lex->tok = grown;
        lex->cap = cap;
    }
    lex->tok[lex->n++] = tok;
    return HD_OK;
}

static hd_status push_type(lexer *lex, hd_tok_type type)
{
    return push(lex, (hd_tok){.type = type, .line = lex->line});
}

static char at(const lexer *lex, size_t pos)
{
    return pos < lex->len ? lex->src[pos] : '\0';
}

static bool looking_at(const lexer *lex, size_t pos, const char *text)
{
    size_t n = strlen(text);
    return n <= lex->len - pos && memcmp(lex->src + pos, text, n) == 0;
}

/* Moves to `pos`, counting lines. */
static void advance_to(lexer *lex, size_t pos)
{
    for (; lex->pos < pos; lex->pos++)
        if (lex->src[lex->pos] == '\n') lex->line++;
    if (pos > 0) lex->line_starting = lex->src[pos - 1] == '\n';
}

static size_t skip_space(const lexer *lex, size_t pos)
{
    while (pos < lex->len) {
        size_t size;
        if (!hd_python_is_space(hd_utf8_read(lex->src + pos, lex->len - pos, &size))) break;
        pos += size;
    }
    return pos;
}

/* Where white space at the end of src[from, to) begins. */
static size_t before_space(const lexer *lex, size_t from, size_t to)
{
    while (to > from) {
        size_t start = to - 1;
        while (start > from && ((unsigned char)lex->src[start] & 0xc0) == 0x80)
            start--;
        size_t size;
        if (!hd_python_is_space(hd_utf8_read(lex->src + start, to - start, &size))) break;
        to = start;
    }
    return to;
}

/* ---- outside of tags ---- */

/* Gives out the text from the current position to the tag at `tag`, whose sign is '-', '+' or 0. */
static hd_status push_data(lexer *lex, size_t tag, char sign, bool lstrip)
{
    size_t from = lex->pos, to = tag;
    if (sign == '-') {
        to = before_space(lex, from, to);
    } else if (sign != '+' && lstrip) {
        size_t line = to;
        while (line > from && lex->src[line - 1] != '\n')
            line--;
        if ((line > from || lex->line_starting) && before_space(lex, line, to) == line) to = line;
    }
    if (to == from) return HD_OK;
    return push(lex, (hd_tok){.type = HD_TOK_DATA, .line = lex->line, .text = {lex->src + from, to - from}});
}

/* The end of a tag at `pos`: "%}" and its kin with what they strip; 0 when there is none. */
static size_t tag_end(const lexer *lex, size_t pos, const char *close, bool block)
{
    bool minus = at(lex, pos) == '-', plus = block && at(lex, pos) == '+';
    size_t end = pos + (minus || plus);
    if (!looking_at(lex, end, close)) return 0;
    end += 2;
    if (minus) return skip_space(lex, end);
    return end + (block && !plus && at(lex, end) == '\n');
}

static hd_status lex_comment(lexer *lex, size_t begin)
{
    size_t pos = begin;
    while (pos < lex->len && !looking_at(lex, pos, "#}"))
        pos++;
    if (pos >= lex->len)
        return hd_fail(lex->err, HD_E_FORMAT, "template line %u: a comment is never closed; expected '#}'", lex->line);
    if (pos > begin && (at(lex, pos - 1) == '-' || at(lex, pos - 1) == '+')) pos--;
    advance_to(lex, tag_end(lex, pos, "#}", true));
    return HD_OK;
}

/* Whether "{%" at `tag` begins `word` ("raw", "endraw"); *end is behind the name. */
static bool is_tag(const lexer *lex, size_t tag, const char *word, char *sign, size_t *end)
{
    size_t pos = tag + 2;
    *sign = at(lex, pos) == '-' || at(lex, pos) == '+' ? at(lex, pos) : '\0';
    pos = skip_space(lex, pos + (*sign != '\0'));
    if (pos > lex->len || !looking_at(lex, pos, word)) return false;
    *end = skip_space(lex, pos + strlen(word));
    return true;
}

/* {% raw %}: the text up to {% endraw %} is data.  `pos` is behind the tag's name; false when it is no raw tag. */
static hd_status lex_raw(lexer *lex, size_t pos, bool *is_raw)
{
    bool minus = at(lex, pos) == '-';
    *is_raw = looking_at(lex, pos + minus, "%}");
    if (!*is_raw) return HD_OK;
    pos += minus + 2u;
    advance_to(lex, minus ? skip_space(lex, pos) : pos);
    for (size_t tag = lex->pos; tag < lex->len; tag++) {
        char sign;
        size_t name_end, end;
        if (!looking_at(lex, tag, "{%") || !is_tag(lex, tag, "endraw", &sign, &name_end)) continue;
        if ((end = tag_end(lex, name_end, "%}", true)) == 0) continue;
        HD_TRY(push_data(lex, tag, sign, true));
        advance_to(lex, end);
        return HD_OK;
    }
    return hd_fail(lex->err, HD_E_FORMAT, "template line %u: {%% raw %%} is never closed; expected {%% endraw %%}",
                   lex->line);
}

/* ---- strings ---- */

static int hex_digit(char c)
{
    if (c >= '0' && c <= '9') return c - '0';
    if (c >= 'a' && c <= 'f') return c - 'a' + 10;
    if (c >= 'A' && c <= 'F') return c - 'A' + 10;
    return -1;
}

/* \x, \u, \U and octal escapes; `pos` is at the letter or first digit.  Returns bytes read, 0: malformed. */
static size_t numeric_escape(const char *p, size_t left, uint32_t *out)
{
    size_t digits = p[0] == 'x' ? 2 : p[0] == 'u' ? 4 : p[0] == 'U' ? 8 : 0;
    uint32_t value = 0;
    if (digits == 0) {
        size_t n = 0;
        for (; n < 3 && n < left && p[n] >= '0' && p[n] <= '7'; n++)
            value = value * 8 + (uint32_t)(p[n] - '0');
        *out = value;
        return n;
    }
    if (left < digits + 1) return 0;
    for (size_t i = 1; i <= digits; i++) {
        int digit = hex_digit(p[i]);
        if (digit < 0) return 0;
        value = value << 4 | (uint32_t)digit;
    }
    *out = value;
    return value > 0x10ffff || (value >= 0xd800 && value < 0xe000) ? 0 : digits + 1;
}

/* Python's escapes; an unknown one stays as it is.  The result is never longer than the source. */
static hd_status decode_string(lexer *lex, const char *p, size_t len, hd_str *out)
{
    static const char letters[] = "\\'\"abfnrtv", values[] = "\\'\"\a\b\f\n\r\t\v";
    char *text = hd_tpl_arena_alloc(lex->arena, len);
    size_t n = 0;
    if (!text) return hd_fail(lex->err, lex->arena->status, "template line %u: no memory for a string", lex->line);
    for (size_t i = 0; i < len; i++) {
        if (p[i] != '\\' || i + 1 >= len) {
            text[n++] = p[i];
            continue;
        }
        char c = p[++i];
        const char *known = c ? strchr(letters, c) : NULL;
        if (known) {
            text[n++] = values[known - letters];
        } else if (c == 'x' || c == 'u' || c == 'U' || (c >= '0' && c <= '7')) {
            uint32_t code;
            size_t used = numeric_escape(p + i, len - i, &code);
            if (used == 0)
                return hd_fail(lex->err, HD_E_FORMAT, "template line %u: malformed escape \\%c in a string", lex->line,
                               c);
            n += (size_t)hd_utf8_put((uint8_t *)text + n, code);
            i += used - 1;
        } else if (c == 'N') {
            return hd_fail(lex->err, HD_E_UNSUPPORTED, "template line %u: \\N{...} in a string; write the character",
                           lex->line);
        } else if (c != '\n') {
            text[n++] = '\\';
            text[n++] = c;
        }
    }
    *out = (hd_str){text, n};
    return HD_OK;
}

static hd_status lex_string(lexer *lex)
{
    char quote = lex->src[lex->pos];
    size_t end = lex->pos + 1;
    while (end < lex->len && lex->src[end] != quote)
        end += lex->src[end] == '\\' ? 2 : 1;
    if (end >= lex->len)
        return hd_fail(lex->err, HD_E_FORMAT, "template line %u: a string is never closed; expected %c", lex->line,
                       quote);
    hd_tok tok = {.type = HD_TOK_STRING, .line = lex->line};
    HD_TRY(decode_string(lex, lex->src + lex->pos + 1, end - lex->pos - 1, &tok.text));
    advance_to(lex, end + 1);
    return push(lex, tok);
}

/* ---- numbers, names, operators ---- */

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

/* Digits with single underscores between them; copies the digits to `text` behind *n. */
static size_t take_digits(const lexer *lex, size_t pos, char *text, size_t max, size_t *n)
{
    while (is_digit(at(lex, pos)) || (at(lex, pos) == '_' && is_digit(at(lex, pos + 1)) && *n > 0)) {
        if (at(lex, pos) != '_') {
            if (*n + 1 < max) text[*n] = at(lex, pos);
            ++*n;
        }
        pos++;
    }
    return pos;
}

static hd_status number_fail(lexer *lex, const char *why)
{
    return hd_fail(lex->err, HD_E_FORMAT, "template line %u: a number %s", lex->line, why);
}

/* 0x, 0o and 0b literals; false when it is none. */
static hd_status lex_based(lexer *lex, bool *is_based)
{
    char letter = (char)(at(lex, lex->pos + 1) | 0x20);
    int base = letter == 'x' ? 16 : letter == 'o' ? 8 : letter == 'b' ? 2 : 0;
    size_t pos = lex->pos + 2;
    int64_t value = 0;
    int first = hex_digit(at(lex, pos) == '_' ? at(lex, pos + 1) : at(lex, pos));
    *is_based = at(lex, lex->pos) == '0' && base && first >= 0 && first < base;
    if (!*is_based) return HD_OK;
    for (;; pos++) {
        char c = at(lex, pos);
        int digit = hex_digit(c == '_' ? at(lex, pos + 1) : c);
        if (digit < 0 || digit >= base) break;
        if (c == '_') continue;
        if (__builtin_mul_overflow(value, base, &value) || __builtin_add_overflow(value, digit, &value))
            return number_fail(lex, "does not fit in 64 bits");
    }
    hd_tok tok = {.type = HD_TOK_INT, .line = lex->line, .integer = value};
    advance_to(lex, pos);
    return push(lex, tok);
}

static hd_status lex_number(lexer *lex)
{
    char text[400];
    size_t n = 0;
    bool based, real = false, index = lex->src[lex->pos - 1] == '.'; /* in "a.0.1" no number has a fraction */
    HD_TRY(lex_based(lex, &based));
    if (based) return HD_OK;
    size_t pos = take_digits(lex, lex->pos, text, sizeof text, &n);
    if (!index && at(lex, pos) == '.' && is_digit(at(lex, pos + 1))) {
        real = true;
        if (n + 1 < sizeof text) text[n] = '.';
        n++;
        pos = take_digits(lex, pos + 1, text, sizeof text, &n);
    }
    size_t sign = pos + 1 + (at(lex, pos + 1) == '+' || at(lex, pos + 1) == '-');
    if (!index && (at(lex, pos) | 0x20) == 'e' && is_digit(at(lex, sign))) {
        real = true;
        for (; pos < sign; pos++, n++)
            if (n + 1 < sizeof text) text[n] = at(lex, pos);
        pos = take_digits(lex, pos, text, sizeof text, &n);
    }
    if (n + 1 >= sizeof text) return number_fail(lex, "is too long");
    hd_tok tok = {.type = real ? HD_TOK_FLOAT : HD_TOK_INT, .line = lex->line};
    if (real && !hd_python_parse_float(text, n, &tok.real)) return number_fail(lex, "is malformed");
    for (size_t i = 0; !real && i < n; i++)
        if (__builtin_mul_overflow(tok.integer, 10, &tok.integer) ||
            __builtin_add_overflow(tok.integer, text[i] - '0', &tok.integer))
            return number_fail(lex, "does not fit in 64 bits");
    advance_to(lex, pos);
    return push(lex, tok);
}

static size_t name_end(const lexer *lex)
{
    size_t pos = lex->pos;
    while (pos < lex->len) {
        size_t size;
        if (!hd_python_is_word(hd_utf8_read(lex->src + pos, lex->len - pos, &size))) break;
        pos += size;
    }
    return pos;
}

typedef struct op_text {
    const char *text;
    hd_op op;
} op_text;

static const op_text ops[] = {
    {"//", HD_OP_FLOORDIV}, {"**", HD_OP_POW},   {"==", HD_OP_EQ},      {"!=", HD_OP_NE},      {">=", HD_OP_GE},
    {"<=", HD_OP_LE},       {"+", HD_OP_ADD},    {"-", HD_OP_SUB},      {"*", HD_OP_MUL},      {"/", HD_OP_DIV},
    {"%", HD_OP_MOD},       {"~", HD_OP_TILDE},  {"<", HD_OP_LT},       {">", HD_OP_GT},       {"=", HD_OP_ASSIGN},
    {".", HD_OP_DOT},       {":", HD_OP_COLON},  {"|", HD_OP_PIPE},     {",", HD_OP_COMMA},    {";", HD_OP_SEMICOLON},
    {"(", HD_OP_LPAREN},    {")", HD_OP_RPAREN}, {"[", HD_OP_LBRACKET}, {"]", HD_OP_RBRACKET}, {"{", HD_OP_LBRACE},
    {"}", HD_OP_RBRACE},
};

/* Brackets must match, so that "}}" inside a dict literal does not end the tag. */
static hd_status match_brackets(lexer *lex, char c)
{
    static const char opening[] = "([{", closing[] = ")]}";
    if (strchr(opening, c)) {
        if (lex->opened == HD_TPL_PARSE_DEPTH)
            return hd_fail(lex->err, HD_E_LIMIT, "template line %u: more than %d brackets inside each other", lex->line,
                           HD_TPL_PARSE_DEPTH);
        lex->open[lex->opened++] = closing[strchr(opening, c) - opening];
    } else if (strchr(closing, c)) {
        if (lex->opened == 0 || lex->open[lex->opened - 1] != c)
            return hd_fail(lex->err, HD_E_FORMAT, "template line %u: unexpected '%c'", lex->line, c);
        lex->opened--;
    }
    return HD_OK;
}

static hd_status lex_operator(lexer *lex)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(ops); i++) {
        if (!looking_at(lex, lex->pos, ops[i].text)) continue;
        HD_TRY(match_brackets(lex, ops[i].text[0]));
        hd_tok tok = {.type = HD_TOK_OP, .op = (uint8_t)ops[i].op, .line = lex->line};
        advance_to(lex, lex->pos + strlen(ops[i].text));
        return push(lex, tok);
    }
    size_t size;
    hd_utf8_read(lex->src + lex->pos, lex->len - lex->pos, &size);
    return hd_fail(lex->err, HD_E_FORMAT, "template line %u: unexpected character '%.*s'", lex->line, (int)size,
                   lex->src + lex->pos);
}

/* Everything between "{%" and "%}", or "{{" and "}}". */
static hd_status lex_tag(lexer *lex, bool block)
{
    uint32_t line = lex->line;
    HD_TRY(push_type(lex, block ? HD_TOK_BLOCK_BEGIN : HD_TOK_VAR_BEGIN));
    while (lex->pos < lex->len) {
        size_t end = lex->opened ? 0 : tag_end(lex, lex->pos, block ? "%}" : "}}", block);
        if (end) {
            HD_TRY(push_type(lex, block ? HD_TOK_BLOCK_END : HD_TOK_VAR_END));
            advance_to(lex, end);
            return HD_OK;
        }
        size_t space = skip_space(lex, lex->pos);
        if (space > lex->pos) {
            advance_to(lex, space);
            continue;
        }
        char c = lex->src[lex->pos];
        if (is_digit(c)) {
            HD_TRY(lex_number(lex));
        } else if (c == '"' || c == '\'') {
            HD_TRY(lex_string(lex));
        } else if ((end = name_end(lex)) > lex->pos) {
            HD_TRY(push(
                lex, (hd_tok){.type = HD_TOK_NAME, .line = lex->line, .text = {lex->src + lex->pos, end - lex->pos}}));
            advance_to(lex, end);
        } else {
            HD_TRY(lex_operator(lex));
        }
    }
    return hd_fail(lex->err, HD_E_FORMAT, "template line %u: a tag is never closed; expected '%s'", line,
                   block ? "%}" : "}}");
}

/* One tag and the text before it; the last text when there is no tag. */
static hd_status lex_next(lexer *lex)
{
    size_t tag = lex->pos;
    while (tag < lex->len && !(lex->src[tag] == '{' && tag + 1 < lex->len && strchr("{%#", lex->src[tag + 1]) &&
                               lex->src[tag + 1] != '\0'))
        tag++;
    if (tag == lex->len) {
        HD_TRY(push_data(lex, tag, '+', false));
        advance_to(lex, tag);
        return HD_OK;
    }
    char kind = lex->src[tag + 1], sign = at(lex, tag + 2);
    if (sign != '-' && sign != '+') sign = '\0';
    size_t inside = tag + 2 + (sign != '\0');
    HD_TRY(push_data(lex, tag, sign, kind != '{'));
    size_t name;
    char raw_sign;
    if (kind == '%' && is_tag(lex, tag, "raw", &raw_sign, &name)) {
        bool is_raw;
        HD_TRY(lex_raw(lex, name, &is_raw));
        if (is_raw) return HD_OK;
    }
    advance_to(lex, inside);
    if (kind == '#') return lex_comment(lex, inside);
    return lex_tag(lex, kind == '%');
}

/* A copy with '\n' for every line end and without the last one; refuses what is not UTF-8. */
static hd_status normalize(lexer *lex, const char *source, size_t len)
{
    char *text = hd_tpl_arena_alloc(lex->arena, len);
    size_t n = 0;
    if (!text) return hd_fail(lex->err, lex->arena->status, "no memory for a template of %zu bytes", len);
    for (size_t i = 0; i < len; i++) {
        if (source[i] == '\r' && i + 1 < len && source[i + 1] == '\n') continue;
        text[n++] = source[i] == '\r' ? '\n' : source[i];
    }
    if (n && text[n - 1] == '\n') n--;
    for (size_t i = 0; i < n;) {
        size_t size;
        if (hd_utf8_read(text + i, n - i, &size) < 0)
            return hd_fail(lex->err, HD_E_FORMAT, "the template is not UTF-8 (byte %zu)", i);
        i += size;
    }
    lex->src = text;
    lex->len = n;
    return HD_OK;
}

hd_status hd_tpl_lex(hd_tpl_arena *arena, const char *source, size_t len, hd_tok **out, hd_error *err)
{
    lexer lex = {.arena = arena, .err = err, .line = 1, .line_starting = true};
    *out = NULL;
    hd_status status = normalize(&lex, source, len);
    while (status == HD_OK && lex.pos < lex.len)
        status = lex_next(&lex);
    if (status == HD_OK) status = push_type(&lex, HD_TOK_END);
    if (status != HD_OK) {
        hd_free(lex.tok);
        return status;
    }
    *out = lex.tok;
    return HD_OK;
}
