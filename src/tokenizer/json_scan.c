/* tokenizer/json_scan.c: see json_scan.h.  A state says what may come next; a bit stack says what is open. */
#include "tokenizer/json_scan.h"

#include <string.h>

enum {
    WANT_VALUE,
    WANT_VALUE_OR_END, /* behind [ */
    WANT_KEY,          /* behind a comma in an object */
    WANT_KEY_OR_END,   /* behind { */
    WANT_COLON,
    AFTER_VALUE, /* a comma or an end; nothing where depth is 0 */
    IN_STRING,
    IN_ESCAPE,
    IN_HEX,
    IN_LITERAL,
    AFTER_MINUS,
    AFTER_ZERO,
    IN_INTEGER,
    AFTER_POINT,
    IN_FRACTION,
    AFTER_E,
    AFTER_E_SIGN,
    IN_EXPONENT,
    BAD
};

void hd_json_scan_begin(hd_json_scan *scan)
{
    memset(scan, 0, sizeof *scan);
    scan->state = WANT_VALUE;
}

bool hd_json_scan_in_string(const hd_json_scan *scan)
{
    return scan->state == IN_STRING || scan->state == IN_ESCAPE || scan->state == IN_HEX;
}

static bool ends_number(int state)
{
    return state == AFTER_ZERO || state == IN_INTEGER || state == IN_FRACTION || state == IN_EXPONENT;
}

bool hd_json_scan_whole(const hd_json_scan *scan)
{
    return scan->depth == 0 && (scan->state == AFTER_VALUE || ends_number(scan->state));
}

static bool is_digit(char c)
{
    return c >= '0' && c <= '9';
}

static bool is_space(char c)
{
    return c == ' ' || c == '\t' || c == '\n' || c == '\r';
}

static bool in_object(const hd_json_scan *s)
{
    return s->depth > 0 && s->is_object[(s->depth - 1) / 8] & 1u << (s->depth - 1) % 8;
}

static int open_level(hd_json_scan *s, bool object)
{
    if (s->depth == HD_JSON_SCAN_DEPTH) return BAD;
    uint8_t bit = (uint8_t)(1u << s->depth % 8), *byte = &s->is_object[s->depth / 8];
    *byte = (uint8_t)(object ? *byte | bit : *byte & ~bit);
    s->depth++;
    return object ? WANT_KEY_OR_END : WANT_VALUE_OR_END;
}

static int close_level(hd_json_scan *s, char c)
{
    if (s->depth == 0 || in_object(s) != (c == '}')) return BAD;
    s->depth--;
    return AFTER_VALUE;
}

static int begin_literal(hd_json_scan *s, const char *rest)
{
    s->literal = rest;
    return IN_LITERAL;
}

static int begin_value(hd_json_scan *s, char c)
{
    switch (c) {
    case '{': return open_level(s, true);
    case '[': return open_level(s, false);
    case '"': s->key = false; return IN_STRING;
    case 't': return begin_literal(s, "rue");
    case 'f': return begin_literal(s, "alse");
    case 'n': return begin_literal(s, "ull");
    case '-': return AFTER_MINUS;
    case '0': return AFTER_ZERO;
    default: return is_digit(c) ? IN_INTEGER : BAD;
    }
}

static int after_value(hd_json_scan *s, char c)
{
    if (c == ',' && s->depth > 0) return in_object(s) ? WANT_KEY : WANT_VALUE;
    return c == '}' || c == ']' ? close_level(s, c) : BAD;
}

static int begin_key(hd_json_scan *s, char c)
{
    s->key = true;
    if (c == '"') return IN_STRING;
    return c == '}' && s->state == WANT_KEY_OR_END ? close_level(s, c) : BAD;
}

static int step_string(hd_json_scan *s, char c)
{
    switch (s->state) {
    case IN_STRING:
        if (c == '"') return s->key ? WANT_COLON : AFTER_VALUE;
        if (c == '\\') return IN_ESCAPE;
        return (unsigned char)c < 0x20 ? BAD : IN_STRING;
    case IN_ESCAPE:
        s->digits = 4;
        if (c == 'u') return IN_HEX;
        return c && strchr("\"\\/bfnrt", c) ? IN_STRING : BAD;
    default: /* IN_HEX */
        if (!is_digit(c) && !((c | 0x20) >= 'a' && (c | 0x20) <= 'f')) return BAD;
        return --s->digits ? IN_HEX : IN_STRING;
    }
}

static int step_number(hd_json_scan *s, char c)
{
    bool digit = is_digit(c);
    int state = s->state;
    if (state == AFTER_MINUS) return c == '0' ? AFTER_ZERO : digit ? IN_INTEGER : BAD;
    if (digit) {
        if (state == IN_INTEGER) return IN_INTEGER;
        if (state == AFTER_POINT || state == IN_FRACTION) return IN_FRACTION;
        return state == AFTER_ZERO ? BAD : IN_EXPONENT;
    }
    if (c == '.' && (state == AFTER_ZERO || state == IN_INTEGER)) return AFTER_POINT;
    if ((c == 'e' || c == 'E') && ends_number(state) && state != IN_EXPONENT) return AFTER_E;
    if ((c == '+' || c == '-') && state == AFTER_E) return AFTER_E_SIGN;
    if (!ends_number(state)) return BAD;
    return is_space(c) ? AFTER_VALUE : after_value(s, c);
}

static int step(hd_json_scan *s, char c)
{
    if (s->state == BAD) return BAD;
    if (s->state == IN_LITERAL) {
        if (c != *s->literal) return BAD;
        return *++s->literal ? IN_LITERAL : AFTER_VALUE;
    }
    if (hd_json_scan_in_string(s)) return step_string(s, c);
    if (s->state >= AFTER_MINUS) return step_number(s, c);
    if (is_space(c)) return s->state;
    switch (s->state) {
    case WANT_KEY:
    case WANT_KEY_OR_END: return begin_key(s, c);
    case WANT_COLON: return c == ':' ? WANT_VALUE : BAD;
    case AFTER_VALUE: return after_value(s, c);
    default: return c == ']' && s->state == WANT_VALUE_OR_END ? close_level(s, c) : begin_value(s, c);
    }
}

bool hd_json_scan_push(hd_json_scan *scan, char c)
{
    scan->state = step(scan, c);
    return scan->state != BAD;
}
