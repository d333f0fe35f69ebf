/* tokenizer/template_internal.h: what the files of the template renderer share.
 *
 * template_lex.c turns source into tokens, template_parse.c tokens into nodes, template_eval.c walks the nodes,
 * template_values.c owns the values, template_filters.c, template_tests.c and template_methods.c the built-in names.
 *
 * Memory: a parsed template and each rendering have one arena; nothing is freed before the arena is, so no value ever
 * dangles and a rendering's cap counts everything that it made.  Text is built at the tail of the output buffer
 * (hd_tpl_mark, hd_tpl_put..., hd_tpl_take), which therefore works as a stack.
 *
 * Trust: a value that came from the template is trusted, one from the request is not.  A string whose bytes differ
 * carries a map, one byte for each of its bytes.  Strings are always valid UTF-8.
 */
#ifndef HD_TEMPLATE_INTERNAL_H
#define HD_TEMPLATE_INTERNAL_H

#include <string.h>

#include "tokenizer/template.h"

/* Nested evaluations: expressions, statements, macro calls and nested values together.  The deepest C frame is below
 * 600 bytes without sanitizers, so this stays far within a thread's stack. */
#define HD_TPL_DEPTH 600
#define HD_TPL_PARSE_DEPTH 100  /* nested brackets and blocks; each level passes through a dozen small functions */
#define HD_TPL_SLOTS 4          /* most parameters that a built-in has */
#define HD_TPL_RANGE_MAX 100000 /* as jinja2's sandbox */
#define HD_TPL_PARSED_BYTES (256u << 20) /* nodes of a template of HD_TEMPLATE_SOURCE bytes fit */

/* ---- arena ---- */

typedef struct hd_tpl_chunk hd_tpl_chunk;
typedef struct hd_tpl_arena {
    hd_tpl_chunk *first;
    size_t used, max; /* bytes given out, and their cap */
    hd_status status; /* why the last allocation failed: HD_E_LIMIT or HD_E_MEMORY */
} hd_tpl_arena;

void *hd_tpl_arena_alloc(hd_tpl_arena *arena, size_t bytes); /* uninitialized; NULL: see status */
void hd_tpl_arena_free(hd_tpl_arena *arena);

/* ---- values ---- */

typedef enum hd_tv_kind {
    HD_TV_ABSENT, /* an argument that was not given; never a value of the template */
    HD_TV_UNDEFINED,
    HD_TV_NONE,
    HD_TV_BOOL,
    HD_TV_INT,
    HD_TV_FLOAT,
    HD_TV_STRING,
    HD_TV_LIST,
    HD_TV_TUPLE,
    HD_TV_ITERATOR, /* what map, select and others give: true even when empty, can be read once */
    HD_TV_VIEW,     /* dict.items() and its kin, and range(): has a length, no index */
    HD_TV_DICT,
    HD_TV_NAMESPACE,
    HD_TV_MACRO,
    HD_TV_LOOP,
    HD_TV_FUNCTION,
    HD_TV_METHOD
} hd_tv_kind;

typedef struct hd_tpl_run hd_tpl_run;
typedef struct hd_node hd_node;
typedef struct hd_tv hd_tv;

/* A growing block of bytes.  A string that ends where the block's bytes end can be appended to in place. */
typedef struct hd_tpl_room {
    char *data;
    uint8_t *trust; /* NULL while all bytes are `trusted` */
    size_t len, cap;
    bool trusted;
} hd_tpl_room;

typedef struct hd_tpl_str {
    const char *data;
    size_t len;
    const uint8_t *trust; /* [len], or NULL: every byte is as hd_tv.trusted says */
    hd_tpl_room *room;    /* that holds the bytes, or NULL */
} hd_tpl_str;

typedef struct hd_tpl_list {
    hd_tv *item;
    size_t n, cap;
    size_t next;      /* of an iterator: the first item that was not read yet */
    const char *name; /* of a view: its type; of a range: its whole repr; else NULL */
} hd_tpl_list;

typedef struct hd_tpl_pair hd_tpl_pair;
typedef struct hd_tpl_dict {
    hd_tpl_pair *pair; /* in order of insertion */
    size_t n, cap;
} hd_tpl_dict;

typedef struct hd_tpl_undef {
    hd_str name;
    hd_tv_kind owner; /* whose attribute it would be; HD_TV_ABSENT: a variable */
    const char *hint; /* the whole message, or NULL */
} hd_tpl_undef;

typedef struct hd_tpl_macro hd_tpl_macro;
typedef struct hd_tpl_loop hd_tpl_loop;
typedef struct hd_tpl_builtin hd_tpl_builtin;
typedef struct hd_tpl_method hd_tpl_method;

struct hd_tv {
    uint8_t kind; /* hd_tv_kind */
    bool trusted;
    union {
        bool boolean;
        int64_t integer;
        double real;
        const hd_tpl_str *str;
        hd_tpl_list *list; /* LIST, TUPLE, ITERATOR, VIEW */
        hd_tpl_dict *dict; /* DICT, NAMESPACE */
        const hd_tpl_undef *undef;
        const hd_tpl_macro *macro;
        hd_tpl_loop *loop;
        const hd_tpl_builtin *function;
        const hd_tpl_method *method;
    } as;
};

struct hd_tpl_pair {
    hd_tv key, value;
};

/* ---- nodes ---- */

typedef enum hd_op {
    HD_OP_NONE,
    HD_OP_ADD,
    HD_OP_SUB,
    HD_OP_MUL,
    HD_OP_DIV,
    HD_OP_FLOORDIV,
    HD_OP_MOD,
    HD_OP_POW,
    HD_OP_TILDE,
    HD_OP_EQ,
    HD_OP_NE,
    HD_OP_LT,
    HD_OP_LE,
    HD_OP_GT,
    HD_OP_GE,
    HD_OP_IN,
    HD_OP_NOT_IN,
    HD_OP_AND,
    HD_OP_OR,
    HD_OP_NOT,
    HD_OP_POS,
    HD_OP_NEG,
    HD_OP_ASSIGN,
    HD_OP_DOT,
    HD_OP_COLON,
    HD_OP_PIPE,
    HD_OP_COMMA,
    HD_OP_SEMICOLON,
    HD_OP_LPAREN,
    HD_OP_RPAREN,
    HD_OP_LBRACKET,
    HD_OP_RBRACKET,
    HD_OP_LBRACE,
    HD_OP_RBRACE
} hd_op;

typedef enum hd_node_type {
    /* expressions */
    HD_N_CONST,   /* value */
    HD_N_NAME,    /* name */
    HD_N_HOLE,    /* what a {% filter %} or block set filters */
    HD_N_LIST,    /* list: items */
    HD_N_TUPLE,   /* list: items */
    HD_N_DICT,    /* list: key, value, key, value... */
    HD_N_ATTR,    /* a.name */
    HD_N_ITEM,    /* a[b] */
    HD_N_SLICE,   /* a[b:c:other]; any of the three may be NULL */
    HD_N_CALL,    /* a(list of HD_N_ARG) */
    HD_N_ARG,     /* a; op: NONE, ASSIGN (name=), MUL (*), POW (**) */
    HD_N_FILTER,  /* a|name(list); builtin NULL: unknown */
    HD_N_TEST,    /* a is name(list) */
    HD_N_UNARY,   /* op a */
    HD_N_BINARY,  /* a op b */
    HD_N_COMPARE, /* a, then list of HD_N_ARG with op and a */
    HD_N_COND,    /* b if a else c; c may be NULL */
    /* statements */
    HD_N_TEXT,         /* name: the text */
    HD_N_OUTPUT,       /* {{ a }} */
    HD_N_IF,           /* list of HD_N_BRANCH */
    HD_N_BRANCH,       /* a: condition, NULL for else; body */
    HD_N_FOR,          /* for a in b if c: body; other: else */
    HD_N_SET,          /* a = b */
    HD_N_SET_BLOCK,    /* a = body, through the filters b if not NULL */
    HD_N_MACRO,        /* name, list of HD_N_PARAM, body */
    HD_N_PARAM,        /* name, a: default or NULL */
    HD_N_CALL_BLOCK,   /* b: the call; list: parameters of caller; body */
    HD_N_FILTER_BLOCK, /* b: filters around HD_N_HOLE; body */
    HD_N_WITH,         /* list of HD_N_SET; body */
    HD_N_SCOPE,        /* body in a scope of its own ({% generation %}) */
    HD_N_BREAK,
    HD_N_CONTINUE
} hd_node_type;

/* Names that a macro's body mentions and that are bound only then. */
enum { HD_USES_VARARGS = 1, HD_USES_KWARGS = 2, HD_USES_CALLER = 4 };

struct hd_node {
    uint8_t type, op;
    uint8_t uses; /* of a macro: HD_USES_... */
    bool negated; /* of a test: is not */
    uint32_t line;
    hd_node *next; /* in the list that it belongs to */
    hd_node *a, *b, *c, *other, *list, *body;
    hd_str name;
    hd_tv value;
    const hd_tpl_builtin *builtin;
};

struct hd_template {
    hd_tpl_arena arena;
    hd_node *body;
};

/* ---- tokens ---- */

typedef enum hd_tok_type {
    HD_TOK_END,
    HD_TOK_DATA,
    HD_TOK_BLOCK_BEGIN,
    HD_TOK_BLOCK_END,
    HD_TOK_VAR_BEGIN,
    HD_TOK_VAR_END,
    HD_TOK_NAME,
    HD_TOK_STRING,
    HD_TOK_INT,
    HD_TOK_FLOAT,
    HD_TOK_OP
} hd_tok_type;

typedef struct hd_tok {
    uint8_t type, op;
    uint32_t line;
    hd_str text; /* data, name, decoded string */
    int64_t integer;
    double real;
} hd_tok;

/* Tokens of `source`, ended by HD_TOK_END; their texts lie in the arena.  *out is freed by the caller with hd_free. */
hd_status hd_tpl_lex(hd_tpl_arena *arena, const char *source, size_t len, hd_tok **out, hd_error *err);

/* ---- rendering ---- */

typedef struct hd_tpl_binding {
    struct hd_tpl_binding *next;
    hd_str name;
    hd_tv value;
} hd_tpl_binding;

typedef struct hd_tpl_scope {
    struct hd_tpl_scope *parent;
    hd_tpl_binding *first;
} hd_tpl_scope;

typedef enum hd_tpl_flow { HD_FLOW_ON, HD_FLOW_BREAK, HD_FLOW_CONTINUE } hd_tpl_flow;

struct hd_tpl_run {
    hd_tpl_arena arena;
    hd_rendered *out;
    hd_error *err;
    uint64_t steps;
    uint32_t line; /* of the node being evaluated, for errors */
    int depth;
    hd_tpl_flow flow;
    hd_tpl_scope *scope;
    hd_tpl_dict *vars;
    hd_tv hole; /* value of HD_N_HOLE */
};

struct hd_tpl_macro {
    const hd_node *node; /* HD_N_MACRO or HD_N_CALL_BLOCK */
    hd_tpl_scope *scope; /* where it was defined */
};

struct hd_tpl_loop {
    const hd_tpl_list *items;
    size_t index;
    hd_tv changed; /* last arguments of loop.changed(), a tuple */
};

typedef struct hd_tpl_kw {
    hd_str name;
    hd_tv value;
} hd_tpl_kw;

/* One call of a built-in.  `slot` holds the arguments in the order of the built-in's parameters (HD_TV_ABSENT where not
 * given); built-ins with the parameters "*" read pos and kw themselves. */
typedef struct hd_tpl_call {
    const char *name;
    hd_tv self; /* what a filter or test is applied to, or the owner of a method */
    const hd_tv *pos;
    size_t n_pos;
    const hd_tpl_kw *kw;
    size_t n_kw;
    hd_tv slot[HD_TPL_SLOTS];
} hd_tpl_call;

typedef hd_status hd_tpl_fn(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out);

struct hd_tpl_builtin {
    const char *name;
    const char *params; /* names separated by spaces, '!' before those that must be given; "*": any */
    hd_tpl_fn *fn;      /* NULL: a method that is refused */
};

struct hd_tpl_method {
    hd_tv self;
    const hd_tpl_builtin *builtin;
};

/* Errors are HD_E_FORMAT unless said otherwise and name the line that is being evaluated. */
hd_status hd_tpl_fail(hd_tpl_run *run, hd_status status, const char *fmt, ...) HD_PRINTF(3, 4);
hd_status hd_tpl_no_memory(hd_tpl_run *run);          /* after hd_tpl_alloc gave NULL */
hd_status hd_tpl_undefined(hd_tpl_run *run, hd_tv v); /* the error of using an undefined value */

/* Counts `bytes` of work against HD_TEMPLATE_STEPS; hd_tpl_enter also guards the depth, hd_tpl_leave undoes that. */
hd_status hd_tpl_work(hd_tpl_run *run, size_t bytes);
hd_status hd_tpl_enter(hd_tpl_run *run);
void hd_tpl_leave(hd_tpl_run *run);
void *hd_tpl_alloc(hd_tpl_run *run, size_t bytes);

/* ---- template_values.c ---- */

static inline hd_tv hd_tv_none(void)
{
    return (hd_tv){.kind = HD_TV_NONE, .trusted = true};
}
static inline hd_tv hd_tv_bool(bool b)
{
    return (hd_tv){.kind = HD_TV_BOOL, .trusted = true, .as.boolean = b};
}
static inline hd_tv hd_tv_int(int64_t i, bool trusted)
{
    return (hd_tv){.kind = HD_TV_INT, .trusted = trusted, .as.integer = i};
}
static inline hd_tv hd_tv_float(double d, bool trusted)
{
    return (hd_tv){.kind = HD_TV_FLOAT, .trusted = trusted, .as.real = d};
}
static inline bool hd_tv_is_number(hd_tv v) /* as in Python, a bool is one */
{
    return v.kind == HD_TV_BOOL || v.kind == HD_TV_INT || v.kind == HD_TV_FLOAT;
}
static inline bool hd_tv_is_list(hd_tv v) /* has v.as.list */
{
    return v.kind >= HD_TV_LIST && v.kind <= HD_TV_VIEW;
}
/* Bool, int: the integer; else 0. */
static inline int64_t hd_tv_integer(hd_tv v)
{
    return v.kind == HD_TV_BOOL ? v.as.boolean : v.kind == HD_TV_INT ? v.as.integer : 0;
}
static inline double hd_tv_real(hd_tv v)
{
    return v.kind == HD_TV_FLOAT ? v.as.real : (double)hd_tv_integer(v);
}
static inline bool hd_str_is(hd_str s, const char *text)
{
    return strlen(text) == s.len && memcmp(s.data, text, s.len) == 0;
}
static inline hd_str hd_tv_text(hd_tv v) /* of a string */
{
    return (hd_str){v.as.str->data, v.as.str->len};
}

const char *hd_tv_type_name(hd_tv v); /* Python's: "str", "NoneType", ... */
bool hd_tv_true(hd_tv v);
bool hd_tv_all_trusted(hd_tv v); /* of a string: of every byte */

/* Strings.  _string does not copy, _string_copy does; _sub is a slice in bytes. */
hd_status hd_tpl_string(hd_tpl_run *run, const char *data, size_t len, bool trusted, hd_tv *out);
hd_status hd_tpl_string_copy(hd_tpl_run *run, const char *data, size_t len, bool trusted, hd_tv *out);
hd_status hd_tpl_sub(hd_tpl_run *run, hd_tv s, size_t from, size_t len, hd_tv *out);
hd_status hd_tpl_concat(hd_tpl_run *run, hd_tv a, hd_tv b, hd_tv *out);
hd_status hd_tpl_chars(hd_tpl_run *run, hd_tv s, hd_tv *out); /* list of its characters */
size_t hd_utf8_count(const char *data, size_t len);
size_t hd_utf8_offset(const char *data, size_t len, size_t chars); /* byte offset of a character; len if past the end */
size_t hd_utf8_size(unsigned char lead);                           /* bytes of the character that begins so */
int32_t hd_utf8_read(const char *data, size_t len, size_t *size);  /* len > 0; -1: not UTF-8 */

/* Lists and dicts. */
hd_status hd_tpl_list_new(hd_tpl_run *run, hd_tv_kind kind, size_t cap, bool trusted, hd_tv *out);
hd_status hd_tpl_list_push(hd_tpl_run *run, hd_tv list, hd_tv item);
hd_status hd_tpl_dict_new(hd_tpl_run *run, hd_tv_kind kind, size_t cap, bool trusted, hd_tv *out);
hd_status hd_tpl_dict_set(hd_tpl_run *run, hd_tpl_dict *dict, hd_tv key, hd_tv value);
hd_status hd_tpl_dict_get(hd_tpl_run *run, const hd_tpl_dict *dict, hd_tv key, const hd_tv **out); /* NULL: none */
const hd_tv *hd_tpl_dict_find(const hd_tpl_dict *dict, hd_str key);
hd_status hd_tpl_new_undefined(hd_tpl_run *run, hd_str name, hd_tv_kind owner, const char *hint, hd_tv *out);
hd_status hd_tpl_from_json(hd_tpl_run *run, const json_t *json, hd_tv *out);

/* The items of anything that can be iterated (dict: keys, string: characters); reads an iterator to its end. */
hd_status hd_tpl_iterate(hd_tpl_run *run, hd_tv v, hd_tpl_list *out);

/* Python's == and <. */
hd_status hd_tpl_equal(hd_tpl_run *run, hd_tv a, hd_tv b, bool *out);
hd_status hd_tpl_order(hd_tpl_run *run, hd_tv a, hd_tv b, int *out); /* <0, 0, >0; 2: a NaN is in it */
hd_status hd_tpl_contains(hd_tpl_run *run, hd_tv needle, hd_tv in, bool *out);
bool hd_tv_is_hashable(hd_tv v);

/* ---- text at the tail of the output ---- */

hd_status hd_tpl_put(hd_tpl_run *run, const char *data, size_t len, bool trusted);
hd_status hd_tpl_puts(hd_tpl_run *run, const char *text, bool trusted);
hd_status hd_tpl_put_sub(hd_tpl_run *run, hd_tv s, size_t from, size_t len);
hd_status hd_tpl_put_fill(hd_tpl_run *run, hd_tv s, size_t times); /* s, `times` times */
hd_status hd_tpl_put_str(hd_tpl_run *run, hd_tv v);                /* str(v) */
hd_status hd_tpl_put_repr(hd_tpl_run *run, hd_tv v);               /* repr(v) */
size_t hd_tpl_mark(const hd_tpl_run *run);
hd_status hd_tpl_take(hd_tpl_run *run, size_t mark, hd_tv *out);  /* cuts what was put since into a string */
hd_status hd_tpl_to_string(hd_tpl_run *run, hd_tv v, hd_tv *out); /* str(v); a string is itself */

/* ---- template_eval.c ---- */

hd_status hd_tpl_attr(hd_tpl_run *run, hd_tv owner, hd_str name, hd_tv *out);
hd_status hd_tpl_item(hd_tpl_run *run, hd_tv owner, hd_tv key, hd_tv *out);
hd_status hd_tpl_call_value(hd_tpl_run *run, hd_tv callee, hd_tpl_call *call, hd_tv *out);
hd_status hd_tpl_invoke(hd_tpl_run *run, const hd_tpl_builtin *builtin, hd_tpl_call *call, hd_tv *out);

/* ---- built-in names: NULL when there is none ---- */

const hd_tpl_builtin *hd_tpl_find_filter(hd_str name);
const hd_tpl_builtin *hd_tpl_find_test(hd_str name); /* gives a bool */
const hd_tpl_builtin *hd_tpl_find_method(hd_tv_kind owner, hd_str name);
const hd_tpl_builtin *hd_tpl_find_global(hd_str name);
const hd_tpl_builtin *hd_tpl_find_in(const hd_tpl_builtin *table, size_t n, hd_str name);

/* Arguments of built-ins, with their defaults; errors name the built-in and the type that it got. */
hd_status hd_tpl_arg_int(hd_tpl_run *run, const hd_tpl_call *call, int slot, int64_t absent, int64_t *out);
hd_status hd_tpl_arg_string(hd_tpl_run *run, const hd_tpl_call *call, int slot, hd_tv *out); /* must be given */
bool hd_tpl_arg_bool(const hd_tpl_call *call, int slot);                                     /* absent: false */

/* Used by both filters and string methods. */
typedef enum hd_letter_case {
    HD_CASE_UPPER,
    HD_CASE_LOWER,
    HD_CASE_TITLE,
    HD_CASE_CAPITALIZE,
    HD_CASE_SWAP
} hd_letter_case;
hd_status hd_tpl_change_case(hd_tpl_run *run, hd_tv s, hd_letter_case how, hd_tv *out);
hd_status hd_tpl_strip(hd_tpl_run *run, hd_tv s, hd_tv chars, bool left, bool right,
                       hd_tv *out); /* chars may be absent */
hd_status hd_tpl_replace(hd_tpl_run *run, hd_tv s, hd_tv old, hd_tv with, int64_t count,
                         hd_tv *out); /* count <0: all */
hd_status hd_tpl_join(hd_tpl_run *run, hd_tv separator, const hd_tpl_list *items, bool strict, hd_tv *out);
hd_status hd_tpl_percent(hd_tpl_run *run, hd_tv format, hd_tv args, hd_tv *out);              /* format % args */
hd_status hd_tpl_put_padded(hd_tpl_run *run, hd_tv s, char align, int64_t width, hd_tv fill); /* align: < > ^ c */
hd_status hd_tpl_format(hd_tpl_run *run, const hd_tpl_call *call, hd_tv *out); /* self.format(arguments) */

/* How json.dumps writes; separators and indentation are strings or absent (no indentation: all on one line). */
typedef struct hd_tpl_json {
    bool ascii, sort_keys;
    hd_tv indent, item_separator, key_separator;
} hd_tpl_json;
hd_status hd_tpl_put_json(hd_tpl_run *run, hd_tv v, const hd_tpl_json *how, int level);

/* Sorts items by their keys (keys[i] belongs to items->item[i]), stably. */
hd_status hd_tpl_sorted(hd_tpl_run *run, hd_tpl_list *items, const hd_tv *keys, bool reverse);

/* ---- python_text.c: how Python writes and reads things ---- */

/* repr() of a float: the shortest digits that read back as the same number. */
#define HD_PYTHON_FLOAT 32
size_t hd_python_float(double value, char out[HD_PYTHON_FLOAT]);
/* A float in decimal digits, in any locale; the whole of the text must be one. */
bool hd_python_parse_float(const char *data, size_t len, double *out);
bool hd_python_is_space(int32_t c); /* str.isspace */
bool hd_python_is_word(int32_t c);  /* may stand in a name */
bool hd_python_is_printable(int32_t c);
/* The JSON escape of a character as json.dumps writes it: its length, 0 when the character stands for itself. */
size_t hd_python_json_escape(int32_t c, bool ascii, char out[16]);

#endif
