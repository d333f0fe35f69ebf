/* tokenizer/template_parse.c: tokens into nodes: the grammar of jinja2's documentation, minus inheritance and includes.
 *
 * Recursive descent.  Lists (arguments, items, statements) are linked through hd_node.next.  Filters and tests are
 * looked up here; an unknown one is an error only when it is evaluated, so that a template may hold unused branches.
 */
#include <string.h>

#include "tokenizer/template_internal.h"

typedef struct parser {
    hd_tpl_arena *arena;
    hd_error *err;
    const hd_tok *tok; /* the current one; the last is HD_TOK_END */
    int depth;
    int loops;    /* loops around the current statement, within its macro */
    uint8_t uses; /* HD_USES_... seen since the innermost macro began */
} parser;

/* A list under construction. */
typedef struct chain {
    hd_node *first, *last;
} chain;

static hd_status parse_expression(parser *p, hd_node **out);
static hd_status parse_unary(parser *p, bool with_filter, hd_node **out);
static hd_status parse_tuple(parser *p, bool with_cond, hd_node **out);
static hd_status parse_statements(parser *p, const char *const *ends, hd_node **out);

/* ---- tokens ---- */

static bool is_op(const parser *p, hd_op op)
{
    return p->tok->type == HD_TOK_OP && p->tok->op == op;
}

static bool is_name(const parser *p, const char *name)
{
    return p->tok->type == HD_TOK_NAME && hd_str_is(p->tok->text, name);
}

static bool skip_op(parser *p, hd_op op)
{
    if (!is_op(p, op)) return false;
    p->tok++;
    return true;
}

static bool skip_name(parser *p, const char *name)
{
    if (!is_name(p, name)) return false;
    p->tok++;
    return true;
}

static hd_status fail_expected(parser *p, const char *what)
{
    static const char *const found[] = {"the end of the template", "text", "'{%'", "'%}'", "'{{'", "'}}'"};
    const hd_tok *t = p->tok;
    if (t->type <= HD_TOK_VAR_END)
        return hd_fail(p->err, HD_E_FORMAT, "template line %u: expected %s, found %s", t->line, what, found[t->type]);
    if (t->type == HD_TOK_NAME || t->type == HD_TOK_STRING)
        return hd_fail(p->err, HD_E_FORMAT, "template line %u: expected %s, found '%.*s'", t->line, what,
                       (int)HD_MIN(t->text.len, 100), t->text.data);
    return hd_fail(p->err, HD_E_FORMAT, "template line %u: expected %s, found %s", t->line, what,
                   t->type == HD_TOK_OP ? "an operator" : "a number");
}

static hd_status expect_op(parser *p, hd_op op, const char *what)
{
    return skip_op(p, op) ? HD_OK : fail_expected(p, what);
}

static hd_status expect_block_end(parser *p)
{
    if (p->tok->type != HD_TOK_BLOCK_END) return fail_expected(p, "'%}'");
    p->tok++;
    return HD_OK;
}

/* ---- nodes ---- */

static hd_status new_node(parser *p, hd_node_type type, hd_node **out)
{
    hd_node *node = *out = hd_tpl_arena_alloc(p->arena, sizeof *node);
    if (!node) return hd_fail(p->err, p->arena->status, "template line %u: too large to parse", p->tok->line);
    *node = (hd_node){.type = (uint8_t)type, .line = p->tok->line};
    return HD_OK;
}

static void append(chain *list, hd_node *node)
{
    if (list->last)
        list->last->next = node;
    else
        list->first = node;
    list->last = node;
}

static hd_status enter(parser *p)
{
    if (p->depth >= HD_TPL_PARSE_DEPTH)
        return hd_fail(p->err, HD_E_LIMIT, "template line %u: expressions or blocks nest deeper than %d", p->tok->line,
                       HD_TPL_PARSE_DEPTH);
    p->depth++;
    return HD_OK;
}

static hd_status new_binary(parser *p, hd_node_type type, hd_op op, hd_node *a, hd_node *b, hd_node **out)
{
    HD_TRY(new_node(p, type, out));
    (*out)->op = (uint8_t)op;
    (*out)->a = a;
    (*out)->b = b;
    return HD_OK;
}

static hd_status new_const(parser *p, hd_tv value, hd_node **out)
{
    HD_TRY(new_node(p, HD_N_CONST, out));
    (*out)->value = value;
    return HD_OK;
}

static hd_status new_string(parser *p, hd_str text, hd_node **out)
{
    hd_tpl_str *s = hd_tpl_arena_alloc(p->arena, sizeof *s);
    if (!s) return hd_fail(p->err, p->arena->status, "template line %u: too large to parse", p->tok->line);
    *s = (hd_tpl_str){.data = text.data, .len = text.len};
    return new_const(p, (hd_tv){.kind = HD_TV_STRING, .trusted = true, .as.str = s}, out);
}

/* ---- primary expressions ---- */

/* Adjacent string literals are one string. */
static hd_status parse_string(parser *p, hd_node **out)
{
    size_t len = 0;
    const hd_tok *end = p->tok;
    for (; end->type == HD_TOK_STRING; end++)
        len += end->text.len;
    if (end == p->tok + 1) {
        HD_TRY(new_string(p, p->tok->text, out));
        p->tok++;
        return HD_OK;
    }
    char *joined = hd_tpl_arena_alloc(p->arena, len);
    if (!joined) return hd_fail(p->err, p->arena->status, "template line %u: too large to parse", p->tok->line);
    len = 0;
    for (; p->tok < end; p->tok++) {
        memcpy(joined + len, p->tok->text.data, p->tok->text.len);
        len += p->tok->text.len;
    }
    return new_string(p, (hd_str){joined, len}, out);
}

static hd_status parse_name(parser *p, hd_node **out)
{
    hd_str name = p->tok->text;
    bool yes = hd_str_is(name, "true") || hd_str_is(name, "True");
    if (yes || hd_str_is(name, "false") || hd_str_is(name, "False")) {
        HD_TRY(new_const(p, hd_tv_bool(yes), out));
    } else if (hd_str_is(name, "none") || hd_str_is(name, "None")) {
        HD_TRY(new_const(p, hd_tv_none(), out));
    } else {
        HD_TRY(new_node(p, HD_N_NAME, out));
        (*out)->name = name;
        if (hd_str_is(name, "varargs")) p->uses |= HD_USES_VARARGS;
        if (hd_str_is(name, "kwargs")) p->uses |= HD_USES_KWARGS;
        if (hd_str_is(name, "caller")) p->uses |= HD_USES_CALLER;
    }
    p->tok++;
    return HD_OK;
}

static hd_status parse_list(parser *p, hd_node **out)
{
    chain items = {0};
    HD_TRY(new_node(p, HD_N_LIST, out));
    p->tok++;
    while (!is_op(p, HD_OP_RBRACKET)) {
        hd_node *item;
        if (items.first) HD_TRY(expect_op(p, HD_OP_COMMA, "',' or ']'"));
        if (is_op(p, HD_OP_RBRACKET)) break;
        HD_TRY(parse_expression(p, &item));
        append(&items, item);
    }
    p->tok++;
    (*out)->list = items.first;
    return HD_OK;
}

static hd_status parse_dict(parser *p, hd_node **out)
{
    chain items = {0};
    HD_TRY(new_node(p, HD_N_DICT, out));
    p->tok++;
    while (!is_op(p, HD_OP_RBRACE)) {
        hd_node *key, *value;
        if (items.first) HD_TRY(expect_op(p, HD_OP_COMMA, "',' or '}'"));
        if (is_op(p, HD_OP_RBRACE)) break;
        HD_TRY(parse_expression(p, &key));
        HD_TRY(expect_op(p, HD_OP_COLON, "':' after the key of a dict"));
        HD_TRY(parse_expression(p, &value));
        append(&items, key);
        append(&items, value);
    }
    p->tok++;
    (*out)->list = items.first;
    return HD_OK;
}

static hd_status parse_parenthesis(parser *p, hd_node **out)
{
    p->tok++;
    if (is_op(p, HD_OP_RPAREN))
        HD_TRY(new_node(p, HD_N_TUPLE, out));
    else
        HD_TRY(parse_tuple(p, true, out));
    return expect_op(p, HD_OP_RPAREN, "')'");
}

static hd_status parse_primary(parser *p, hd_node **out)
{
    switch (p->tok->type) {
    case HD_TOK_NAME: return parse_name(p, out);
    case HD_TOK_STRING: return parse_string(p, out);
    case HD_TOK_INT: HD_TRY(new_const(p, hd_tv_int(p->tok->integer, true), out)); break;
    case HD_TOK_FLOAT: HD_TRY(new_const(p, hd_tv_float(p->tok->real, true), out)); break;
    default:
        if (is_op(p, HD_OP_LPAREN)) return parse_parenthesis(p, out);
        if (is_op(p, HD_OP_LBRACKET)) return parse_list(p, out);
        if (is_op(p, HD_OP_LBRACE)) return parse_dict(p, out);
        return fail_expected(p, "an expression");
    }
    p->tok++;
    return HD_OK;
}

/* ---- what can follow an expression: .name [index] (arguments) |filter is test ---- */

static hd_status parse_arg(parser *p, hd_node **out)
{
    HD_TRY(new_node(p, HD_N_ARG, out));
    if (is_op(p, HD_OP_MUL) || is_op(p, HD_OP_POW)) {
        (*out)->op = p->tok->op;
        p->tok++;
    } else if (p->tok->type == HD_TOK_NAME && p->tok[1].type == HD_TOK_OP && p->tok[1].op == HD_OP_ASSIGN) {
        (*out)->op = HD_OP_ASSIGN;
        (*out)->name = p->tok->text;
        p->tok += 2;
    }
    return parse_expression(p, &(*out)->a);
}

/* "(" arguments ")" into *out, a list of HD_N_ARG. */
static hd_status parse_args(parser *p, hd_node **out)
{
    chain args = {0};
    p->tok++;
    while (!is_op(p, HD_OP_RPAREN)) {
        hd_node *arg;
        if (args.first) HD_TRY(expect_op(p, HD_OP_COMMA, "',' or ')'"));
        if (is_op(p, HD_OP_RPAREN)) break;
        HD_TRY(parse_arg(p, &arg));
        append(&args, arg);
    }
    p->tok++;
    *out = args.first;
    return HD_OK;
}

static hd_status parse_call(parser *p, hd_node *callee, hd_node **out)
{
    HD_TRY(new_node(p, HD_N_CALL, out));
    (*out)->a = callee;
    return parse_args(p, &(*out)->list);
}

static hd_status parse_dot(parser *p, hd_node *owner, hd_node **out)
{
    p->tok++;
    HD_TRY(new_node(p, p->tok->type == HD_TOK_INT ? HD_N_ITEM : HD_N_ATTR, out));
    (*out)->a = owner;
    if (p->tok->type == HD_TOK_INT) {
        HD_TRY(new_const(p, hd_tv_int(p->tok->integer, true), &(*out)->b));
    } else if (p->tok->type == HD_TOK_NAME) {
        (*out)->name = p->tok->text;
    } else {
        return fail_expected(p, "a name or number after '.'");
    }
    p->tok++;
    return HD_OK;
}

static bool at_slice_end(const parser *p)
{
    return is_op(p, HD_OP_COLON) || is_op(p, HD_OP_RBRACKET) || is_op(p, HD_OP_COMMA);
}

/* "[" index "]" or "[" start ":" stop ":" step "]". */
static hd_status parse_subscript(parser *p, hd_node *owner, hd_node **out)
{
    hd_node *part[3] = {NULL};
    int colons = 0;
    HD_TRY(new_node(p, HD_N_ITEM, out));
    p->tok++;
    for (;;) {
        if (!at_slice_end(p)) HD_TRY(colons ? parse_expression(p, &part[colons]) : parse_tuple(p, true, &part[0]));
        if (!is_op(p, HD_OP_COLON) || colons == 2) break;
        colons++;
        p->tok++;
    }
    if (colons == 0 && !part[0]) return fail_expected(p, "an index");
    (*out)->type = colons ? HD_N_SLICE : HD_N_ITEM;
    (*out)->a = owner;
    (*out)->b = part[0];
    (*out)->c = part[1];
    (*out)->other = part[2];
    return expect_op(p, HD_OP_RBRACKET, "']'");
}

static hd_status parse_postfix(parser *p, hd_node **node)
{
    for (;;) {
        hd_node *inner = *node;
        if (is_op(p, HD_OP_DOT))
            HD_TRY(parse_dot(p, inner, node));
        else if (is_op(p, HD_OP_LBRACKET))
            HD_TRY(parse_subscript(p, inner, node));
        else if (is_op(p, HD_OP_LPAREN))
            HD_TRY(parse_call(p, inner, node));
        else
            return HD_OK;
    }
}

static hd_status parse_filter(parser *p, hd_node **node)
{
    hd_node *inner = *node;
    if (p->tok->type != HD_TOK_NAME) return fail_expected(p, "the name of a filter");
    HD_TRY(new_node(p, HD_N_FILTER, node));
    (*node)->a = inner;
    (*node)->name = p->tok->text;
    (*node)->builtin = hd_tpl_find_filter(p->tok->text);
    p->tok++;
    return is_op(p, HD_OP_LPAREN) ? parse_args(p, &(*node)->list) : HD_OK;
}

/* Whether the current token begins the bare argument of a test, as in `is divisibleby 3`. */
static bool begins_test_argument(const parser *p)
{
    static const char *const keywords[] = {"else", "or", "and", "if", "in", "not", "is", "recursive"};
    if (p->tok->type == HD_TOK_NAME) {
        for (size_t i = 0; i < HD_ARRAY_LEN(keywords); i++)
            if (is_name(p, keywords[i])) return false;
        return true;
    }
    return p->tok->type == HD_TOK_STRING || p->tok->type == HD_TOK_INT || p->tok->type == HD_TOK_FLOAT ||
           is_op(p, HD_OP_LBRACKET) || is_op(p, HD_OP_LBRACE);
}

static hd_status parse_test(parser *p, hd_node **node)
{
    hd_node *inner = *node;
    p->tok++;
    bool negated = skip_name(p, "not");
    if (p->tok->type != HD_TOK_NAME) return fail_expected(p, "the name of a test after 'is'");
    HD_TRY(new_node(p, HD_N_TEST, node));
    (*node)->a = inner;
    (*node)->name = p->tok->text;
    (*node)->negated = negated;
    (*node)->builtin = hd_tpl_find_test(p->tok->text);
    p->tok++;
    if (is_op(p, HD_OP_LPAREN)) return parse_args(p, &(*node)->list);
    if (!begins_test_argument(p)) return HD_OK;
    HD_TRY(new_node(p, HD_N_ARG, &(*node)->list));
    HD_TRY(parse_primary(p, &(*node)->list->a));
    return parse_postfix(p, &(*node)->list->a);
}

static hd_status parse_filters(parser *p, hd_node **node)
{
    for (;;) {
        if (skip_op(p, HD_OP_PIPE)) {
            HD_TRY(parse_filter(p, node));
        } else if (is_name(p, "is")) {
            HD_TRY(parse_test(p, node));
        } else if (is_op(p, HD_OP_LPAREN)) {
            hd_node *callee = *node;
            HD_TRY(parse_call(p, callee, node));
        } else {
            return HD_OK;
        }
    }
}

/* ---- operators, from the tightest to the loosest ---- */

static hd_status parse_unary_inside(parser *p, bool with_filter, hd_node **out)
{
    if (is_op(p, HD_OP_SUB) || is_op(p, HD_OP_ADD)) {
        HD_TRY(new_node(p, HD_N_UNARY, out));
        (*out)->op = is_op(p, HD_OP_SUB) ? HD_OP_NEG : HD_OP_POS;
        p->tok++;
        HD_TRY(parse_unary(p, false, &(*out)->a));
    } else {
        HD_TRY(parse_primary(p, out));
    }
    HD_TRY(parse_postfix(p, out));
    return with_filter ? parse_filters(p, out) : HD_OK;
}

static hd_status parse_unary(parser *p, bool with_filter, hd_node **out)
{
    HD_TRY(enter(p));
    hd_status status = parse_unary_inside(p, with_filter, out);
    p->depth--;
    return status;
}

typedef hd_status parse_fn(parser *p, hd_node **out);

/* A chain of left-associative operators between `first` and `last`, with operands of the next tighter level. */
static hd_status parse_left(parser *p, parse_fn *operand, hd_op first, hd_op last, hd_node **out)
{
    HD_TRY(operand(p, out));
    while (p->tok->type == HD_TOK_OP && p->tok->op >= first && p->tok->op <= last) {
        hd_op op = (hd_op)p->tok->op;
        hd_node *left = *out, *right;
        p->tok++;
        HD_TRY(operand(p, &right));
        HD_TRY(new_binary(p, HD_N_BINARY, op, left, right, out));
    }
    return HD_OK;
}

static hd_status parse_operand(parser *p, hd_node **out)
{
    return parse_unary(p, true, out);
}

static hd_status parse_power(parser *p, hd_node **out)
{
    return parse_left(p, parse_operand, HD_OP_POW, HD_OP_POW, out);
}

static hd_status parse_product(parser *p, hd_node **out)
{
    return parse_left(p, parse_power, HD_OP_MUL, HD_OP_MOD, out);
}

static hd_status parse_tilde(parser *p, hd_node **out)
{
    return parse_left(p, parse_product, HD_OP_TILDE, HD_OP_TILDE, out);
}

static hd_status parse_sum(parser *p, hd_node **out)
{
    return parse_left(p, parse_tilde, HD_OP_ADD, HD_OP_SUB, out);
}

/* The comparison that begins here, or HD_OP_NONE; moves behind it. */
static hd_op skip_comparison(parser *p)
{
    if (p->tok->type == HD_TOK_OP && p->tok->op >= HD_OP_EQ && p->tok->op <= HD_OP_GE) return (hd_op)(p->tok++)->op;
    if (skip_name(p, "in")) return HD_OP_IN;
    if (is_name(p, "not") && p->tok[1].type == HD_TOK_NAME && hd_str_is(p->tok[1].text, "in")) {
        p->tok += 2;
        return HD_OP_NOT_IN;
    }
    return HD_OP_NONE;
}

static hd_status parse_comparison(parser *p, hd_node **out)
{
    chain operands = {0};
    hd_op op;
    HD_TRY(parse_sum(p, out));
    hd_node *first = *out;
    while ((op = skip_comparison(p)) != HD_OP_NONE) {
        hd_node *operand;
        HD_TRY(new_node(p, HD_N_ARG, &operand));
        operand->op = (uint8_t)op;
        HD_TRY(parse_sum(p, &operand->a));
        append(&operands, operand);
    }
    if (!operands.first) return HD_OK;
    HD_TRY(new_node(p, HD_N_COMPARE, out));
    (*out)->a = first;
    (*out)->list = operands.first;
    return HD_OK;
}

static hd_status parse_not(parser *p, hd_node **out)
{
    if (!is_name(p, "not")) return parse_comparison(p, out);
    HD_TRY(enter(p));
    HD_TRY(new_node(p, HD_N_UNARY, out));
    (*out)->op = HD_OP_NOT;
    p->tok++;
    hd_status status = parse_not(p, &(*out)->a);
    p->depth--;
    return status;
}

static hd_status parse_words(parser *p, parse_fn *operand, const char *word, hd_op op, hd_node **out)
{
    HD_TRY(operand(p, out));
    while (skip_name(p, word)) {
        hd_node *left = *out, *right;
        HD_TRY(operand(p, &right));
        HD_TRY(new_binary(p, HD_N_BINARY, op, left, right, out));
    }
    return HD_OK;
}

static hd_status parse_and(parser *p, hd_node **out)
{
    return parse_words(p, parse_not, "and", HD_OP_AND, out);
}

static hd_status parse_or(parser *p, hd_node **out)
{
    return parse_words(p, parse_and, "or", HD_OP_OR, out);
}

static hd_status parse_expression_inside(parser *p, hd_node **out)
{
    HD_TRY(parse_or(p, out));
    while (skip_name(p, "if")) {
        hd_node *then = *out;
        HD_TRY(new_node(p, HD_N_COND, out));
        (*out)->a = then;
        HD_TRY(parse_or(p, &(*out)->b));
        if (skip_name(p, "else")) HD_TRY(parse_expression(p, &(*out)->c));
    }
    return HD_OK;
}

static hd_status parse_expression(parser *p, hd_node **out)
{
    HD_TRY(enter(p));
    hd_status status = parse_expression_inside(p, out);
    p->depth--;
    return status;
}

static bool at_tuple_end(const parser *p)
{
    return p->tok->type == HD_TOK_VAR_END || p->tok->type == HD_TOK_BLOCK_END || is_op(p, HD_OP_RPAREN) ||
           is_op(p, HD_OP_RBRACKET) || is_op(p, HD_OP_ASSIGN) || is_name(p, "in") || is_name(p, "recursive");
}

/* One expression, or several with commas between them.  Without with_cond, `if` is left to the caller. */
static hd_status parse_tuple(parser *p, bool with_cond, hd_node **out)
{
    chain items = {0};
    HD_TRY(with_cond ? parse_expression(p, out) : parse_or(p, out));
    if (!is_op(p, HD_OP_COMMA)) return HD_OK;
    append(&items, *out);
    while (skip_op(p, HD_OP_COMMA) && !at_tuple_end(p)) {
        hd_node *item;
        HD_TRY(with_cond ? parse_expression(p, &item) : parse_or(p, &item));
        append(&items, item);
    }
    HD_TRY(new_node(p, HD_N_TUPLE, out));
    (*out)->list = items.first;
    return HD_OK;
}

/* ---- statements ---- */

static hd_status parse_target(parser *p, bool attributes, hd_node **out);

static hd_status parse_target_item(parser *p, bool attributes, hd_node **out)
{
    if (skip_op(p, HD_OP_LPAREN)) {
        HD_TRY(enter(p));
        HD_TRY(parse_target(p, attributes, out));
        p->depth--;
        return expect_op(p, HD_OP_RPAREN, "')'");
    }
    if (p->tok->type != HD_TOK_NAME) return fail_expected(p, "the name of a variable");
    HD_TRY(new_node(p, HD_N_NAME, out));
    (*out)->name = p->tok->text;
    p->tok++;
    if (!attributes || !is_op(p, HD_OP_DOT)) return HD_OK;
    hd_node *owner = *out;
    HD_TRY(parse_dot(p, owner, out));
    return (*out)->type == HD_N_ATTR ? HD_OK : fail_expected(p, "the name of an attribute");
}

/* What a for or set assigns to: a name, an attribute of a namespace, or several in a tuple. */
static hd_status parse_target(parser *p, bool attributes, hd_node **out)
{
    chain items = {0};
    HD_TRY(parse_target_item(p, attributes, out));
    if (!is_op(p, HD_OP_COMMA)) return HD_OK;
    append(&items, *out);
    while (skip_op(p, HD_OP_COMMA) && !at_tuple_end(p)) {
        hd_node *item;
        HD_TRY(parse_target_item(p, attributes, &item));
        append(&items, item);
    }
    HD_TRY(new_node(p, HD_N_TUPLE, out));
    (*out)->list = items.first;
    return HD_OK;
}

/* Statements up to {% end... %}, whose tag is read too. */
static hd_status parse_body(parser *p, const char *end, hd_node **out)
{
    const char *const ends[] = {end, NULL};
    HD_TRY(parse_statements(p, ends, out));
    p->tok++; /* the end's name */
    return expect_block_end(p);
}

static hd_status parse_if(parser *p, hd_node *node)
{
    static const char *const ends[] = {"elif", "else", "endif", NULL}, *const last[] = {"endif", NULL};
    chain branches = {0};
    bool otherwise = false;
    do {
        hd_node *branch;
        HD_TRY(new_node(p, HD_N_BRANCH, &branch));
        if (!otherwise) HD_TRY(parse_tuple(p, false, &branch->a));
        HD_TRY(expect_block_end(p));
        HD_TRY(parse_statements(p, otherwise ? last : ends, &branch->body));
        append(&branches, branch);
        otherwise = is_name(p, "else");
    } while (p->tok++, !hd_str_is(p->tok[-1].text, "endif"));
    node->list = branches.first;
    return expect_block_end(p);
}

static hd_status parse_for(parser *p, hd_node *node)
{
    static const char *const ends[] = {"else", "endfor", NULL};
    HD_TRY(parse_target(p, false, &node->a));
    if (!skip_name(p, "in")) return fail_expected(p, "'in'");
    HD_TRY(parse_tuple(p, false, &node->b));
    if (skip_name(p, "if")) HD_TRY(parse_expression(p, &node->c));
    if (is_name(p, "recursive"))
        return hd_fail(p->err, HD_E_UNSUPPORTED, "template line %u: recursive loops are not supported; use a macro",
                       node->line);
    HD_TRY(expect_block_end(p));
    p->loops++;
    HD_TRY(parse_statements(p, ends, &node->body));
    p->loops--;
    bool otherwise = is_name(p, "else");
    p->tok++;
    HD_TRY(expect_block_end(p));
    return otherwise ? parse_body(p, "endfor", &node->other) : HD_OK;
}

/* Filters on the value of a block; *out is the outermost, HD_N_HOLE the innermost. */
static hd_status parse_block_filters(parser *p, hd_node **out)
{
    HD_TRY(new_node(p, HD_N_HOLE, out));
    do {
        HD_TRY(parse_filter(p, out));
    } while (skip_op(p, HD_OP_PIPE));
    return HD_OK;
}

static hd_status parse_set(parser *p, hd_node *node)
{
    HD_TRY(parse_target(p, true, &node->a));
    if (skip_op(p, HD_OP_ASSIGN)) {
        HD_TRY(parse_tuple(p, true, &node->b));
        return expect_block_end(p);
    }
    node->type = HD_N_SET_BLOCK;
    if (skip_op(p, HD_OP_PIPE)) HD_TRY(parse_block_filters(p, &node->b));
    HD_TRY(expect_block_end(p));
    return parse_body(p, "endset", &node->body);
}

static hd_status parse_params(parser *p, hd_node **out)
{
    chain params = {0};
    HD_TRY(expect_op(p, HD_OP_LPAREN, "'('"));
    while (!is_op(p, HD_OP_RPAREN)) {
        hd_node *param;
        if (params.first) HD_TRY(expect_op(p, HD_OP_COMMA, "',' or ')'"));
        if (is_op(p, HD_OP_RPAREN)) break;
        HD_TRY(new_node(p, HD_N_PARAM, &param));
        if (p->tok->type != HD_TOK_NAME) return fail_expected(p, "the name of a parameter");
        param->name = p->tok->text;
        p->tok++;
        if (skip_op(p, HD_OP_ASSIGN)) HD_TRY(parse_expression(p, &param->a));
        append(&params, param);
    }
    p->tok++;
    *out = params.first;
    return HD_OK;
}

/* The body of a macro or of {% call %}, which is a macro named caller. */
static hd_status parse_macro_body(parser *p, hd_node *node, const char *end)
{
    uint8_t outer_uses = p->uses;
    int outer_loops = p->loops;
    p->uses = 0;
    p->loops = 0;
    HD_TRY(expect_block_end(p));
    HD_TRY(parse_body(p, end, &node->body));
    node->uses = p->uses;
    p->uses |= outer_uses; /* what a macro inside mentions counts for the outer one too */
    p->loops = outer_loops;
    return HD_OK;
}

static hd_status parse_macro(parser *p, hd_node *node)
{
    if (p->tok->type != HD_TOK_NAME) return fail_expected(p, "the name of a macro");
    node->name = p->tok->text;
    p->tok++;
    HD_TRY(parse_params(p, &node->list));
    return parse_macro_body(p, node, "endmacro");
}

static hd_status parse_call_block(parser *p, hd_node *node)
{
    node->name = (hd_str){"caller", 6};
    if (is_op(p, HD_OP_LPAREN)) HD_TRY(parse_params(p, &node->list));
    HD_TRY(parse_operand(p, &node->b));
    if (node->b->type != HD_N_CALL) return fail_expected(p, "a call in {% call %}");
    return parse_macro_body(p, node, "endcall");
}

static hd_status parse_filter_block(parser *p, hd_node *node)
{
    HD_TRY(parse_block_filters(p, &node->b));
    HD_TRY(expect_block_end(p));
    return parse_body(p, "endfilter", &node->body);
}

static hd_status parse_with(parser *p, hd_node *node)
{
    chain sets = {0};
    while (p->tok->type != HD_TOK_BLOCK_END) {
        hd_node *set;
        if (sets.first) HD_TRY(expect_op(p, HD_OP_COMMA, "',' or '%}'"));
        HD_TRY(new_node(p, HD_N_SET, &set));
        HD_TRY(parse_target_item(p, false, &set->a));
        HD_TRY(expect_op(p, HD_OP_ASSIGN, "'='"));
        HD_TRY(parse_expression(p, &set->b));
        append(&sets, set);
    }
    p->tok++;
    node->list = sets.first;
    return parse_body(p, "endwith", &node->body);
}

/* transformers marks the assistant's text so; it prints its body. */
static hd_status parse_generation(parser *p, hd_node *node)
{
    HD_TRY(expect_block_end(p));
    return parse_body(p, "endgeneration", &node->body);
}

static hd_status parse_jump(parser *p, hd_node *node)
{
    if (p->loops == 0)
        return hd_fail(p->err, HD_E_FORMAT, "template line %u: break or continue outside of a loop", node->line);
    return expect_block_end(p);
}

typedef struct statement {
    const char *name;
    hd_node_type type;
    hd_status (*parse)(parser *p, hd_node *node);
} statement;

static const statement statements[] = {
    {"if", HD_N_IF, parse_if},
    {"for", HD_N_FOR, parse_for},
    {"set", HD_N_SET, parse_set},
    {"macro", HD_N_MACRO, parse_macro},
    {"call", HD_N_CALL_BLOCK, parse_call_block},
    {"filter", HD_N_FILTER_BLOCK, parse_filter_block},
    {"with", HD_N_WITH, parse_with},
    {"generation", HD_N_SCOPE, parse_generation},
    {"break", HD_N_BREAK, parse_jump},
    {"continue", HD_N_CONTINUE, parse_jump},
};

/* Tags that jinja2 has and chat templates can't use: they load other files or need an environment. */
static const char *const refused[] = {"extends",    "include", "import", "from", "block",
                                      "autoescape", "do",      "trans",  "debug"};

static hd_status parse_tag(parser *p, hd_node **out)
{
    if (p->tok->type != HD_TOK_NAME) return fail_expected(p, "the name of a tag");
    const hd_tok *name = p->tok;
    for (size_t i = 0; i < HD_ARRAY_LEN(statements); i++) {
        if (!is_name(p, statements[i].name)) continue;
        HD_TRY(new_node(p, statements[i].type, out));
        p->tok++;
        return statements[i].parse(p, *out);
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(refused); i++)
        if (is_name(p, refused[i]))
            return hd_fail(p->err, HD_E_UNSUPPORTED, "template line %u: {%% %s %%} is not supported in chat templates",
                           name->line, refused[i]);
    return hd_fail(p->err, HD_E_FORMAT, "template line %u: unexpected tag '%.*s'", name->line,
                   (int)HD_MIN(name->text.len, 100), name->text.data);
}

static bool is_end(const parser *p, const char *const *ends)
{
    for (; *ends; ends++)
        if (p->tok[1].type == HD_TOK_NAME && hd_str_is(p->tok[1].text, *ends)) return true;
    return false;
}

static hd_status parse_statement(parser *p, hd_node **out)
{
    if (p->tok->type == HD_TOK_DATA) {
        HD_TRY(new_node(p, HD_N_TEXT, out));
        (*out)->name = p->tok->text;
        p->tok++;
        return HD_OK;
    }
    if (p->tok->type == HD_TOK_VAR_BEGIN) {
        p->tok++;
        HD_TRY(new_node(p, HD_N_OUTPUT, out));
        HD_TRY(parse_tuple(p, true, &(*out)->a));
        if (p->tok->type != HD_TOK_VAR_END) return fail_expected(p, "'}}'");
        p->tok++;
        return HD_OK;
    }
    p->tok++;
    HD_TRY(enter(p));
    hd_status status = parse_tag(p, out);
    p->depth--;
    return status;
}

/* Statements until one of the tags in `ends` (the current token is then its name) or, without `ends`, to the end. */
static hd_status parse_statements(parser *p, const char *const *ends, hd_node **out)
{
    chain body = {0};
    while (p->tok->type != HD_TOK_END) {
        hd_node *node = NULL;
        if (p->tok->type == HD_TOK_BLOCK_BEGIN && ends && is_end(p, ends)) break;
        HD_TRY(parse_statement(p, &node));
        append(&body, node);
    }
    *out = body.first;
    if (!ends) return HD_OK;
    if (p->tok->type == HD_TOK_END)
        return hd_fail(p->err, HD_E_FORMAT, "template line %u: expected {%% %s %%} before the end", p->tok->line,
                       ends[0]);
    p->tok++;
    return HD_OK;
}

hd_status hd_template_parse(hd_template **out, const char *source, size_t len, hd_error *err)
{
    *out = NULL;
    if (len > HD_TEMPLATE_SOURCE)
        return hd_fail(err, HD_E_LIMIT, "a chat template of %zu bytes; at most %u are read", len, HD_TEMPLATE_SOURCE);
    hd_template *t = hd_calloc(1, sizeof *t);
    if (!t) return hd_fail(err, HD_E_MEMORY, "out of memory for a chat template");
    t->arena.max = HD_TPL_PARSED_BYTES;
    hd_tok *tokens;
    hd_status status = hd_tpl_lex(&t->arena, source, len, &tokens, err);
    if (status == HD_OK) {
        parser p = {.arena = &t->arena, .err = err, .tok = tokens};
        status = parse_statements(&p, NULL, &t->body);
        hd_free(tokens);
    }
    if (status != HD_OK) {
        hd_template_free(&t);
        return status;
    }
    *out = t;
    return HD_OK;
}
