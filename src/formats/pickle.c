/* formats/pickle.c: the state dict of a PyTorch checkpoint, out of its pickle, by a machine that can build nothing
 * else.
 *
 * A pickle is a program for a stack machine (Python's pickletools.py describes its opcodes); Python's own machine calls
 * whatever function a pickle names.  This one knows the opcodes that torch.save writes for state dicts, a list of names
 * (`names` below) that stand for tensors, dicts and types and are never imported, and three calls, which are done here.
 * Everything else is refused with the name of its opcode.
 *
 * Invariants: nothing recurses on the input (values are built from the bottom, and a dict that holds itself is never
 * walked); every push, memo entry and object is counted against a limit of formats_internal.h; what is given out points
 * into the pickle's bytes or into memory of its own.  Contents of lists and of long tuples are dropped: no tensor of a
 * state dict needs them.
 */
#include <assert.h>
#include <inttypes.h>
#include <string.h>

#include "formats/formats_internal.h"

#define PROTOCOL_MIN 2     /* that torch.save writes; 0 and 1 are lines of text with other opcodes */
#define PROTOCOL_MAX 5     /* the newest */
#define TUPLE_KEPT_MAX 8   /* values of a tuple that is looked at: the arguments of _rebuild_tensor_v3 */
#define LINE_MAX_BYTES 128 /* of a module or a name in GLOBAL; the longest that is allowed has 18 */

/* ---- values ---- */

typedef enum kind {
    KIND_NONE,
    KIND_BOOL,
    KIND_INT,
    KIND_NUMBER,
    KIND_TEXT,
    KIND_GLOBAL,
    KIND_TUPLE,
    KIND_LONG_TUPLE,
    KIND_LIST,
    KIND_DICT,
    KIND_STORAGE,
    KIND_TENSOR
} kind;

struct value;
struct dict;
struct storage;
struct global;

typedef struct value {
    kind kind;
    uint32_t len; /* of a text or a tuple */
    union {
        int64_t number; /* of KIND_BOOL and KIND_INT; a KIND_NUMBER is a float or a large integer: nobody asks */
        const char *text;
        const struct value *items;
        struct dict *dict;
        const struct storage *storage;
        const hd_pickle_tensor *tensor;
        const struct global *global;
    } as;
} value;

typedef struct entry {
    value key, value;
    struct entry *next;
} entry;

typedef struct dict {
    bool ordered; /* an OrderedDict, which may have attributes */
    entry *first, *last;
} dict;

typedef struct storage {
    hd_type type;
    hd_str key;
    int64_t count;
} storage;

/* What a name stands for. */
typedef enum role { ROLE_DICT, ROLE_TENSOR_V2, ROLE_TENSOR_V3, ROLE_PARAMETER, ROLE_STORAGE, ROLE_TYPE } role;

typedef struct global {
    const char *module, *name;
    role role;
    hd_type type; /* of ROLE_STORAGE and ROLE_TYPE */
} global;

/* All that a pickle may name.  TypedStorage is not among them: it has no type, and torch can't load it either. */
static const global names[] = {
    {"collections", "OrderedDict", ROLE_DICT, HD_TYPE_COUNT},
    {"torch._utils", "_rebuild_tensor_v2", ROLE_TENSOR_V2, HD_TYPE_COUNT},
    {"torch._utils", "_rebuild_tensor_v3", ROLE_TENSOR_V3, HD_TYPE_COUNT},
    {"torch._utils", "_rebuild_parameter", ROLE_PARAMETER, HD_TYPE_COUNT},
    {"torch", "DoubleStorage", ROLE_STORAGE, HD_TYPE_F64},
    {"torch", "FloatStorage", ROLE_STORAGE, HD_TYPE_F32},
    {"torch", "HalfStorage", ROLE_STORAGE, HD_TYPE_F16},
    {"torch", "BFloat16Storage", ROLE_STORAGE, HD_TYPE_BF16},
    {"torch", "LongStorage", ROLE_STORAGE, HD_TYPE_I64},
    {"torch", "IntStorage", ROLE_STORAGE, HD_TYPE_I32},
    {"torch", "ShortStorage", ROLE_STORAGE, HD_TYPE_I16},
    {"torch", "CharStorage", ROLE_STORAGE, HD_TYPE_I8},
    {"torch", "ByteStorage", ROLE_STORAGE, HD_TYPE_U8},
    {"torch", "BoolStorage", ROLE_STORAGE, HD_TYPE_U8},
    {"torch.storage", "UntypedStorage", ROLE_STORAGE, HD_TYPE_U8}, /* counts bytes, as torch has it */
    {"torch", "float64", ROLE_TYPE, HD_TYPE_F64},
    {"torch", "float32", ROLE_TYPE, HD_TYPE_F32},
    {"torch", "float16", ROLE_TYPE, HD_TYPE_F16},
    {"torch", "bfloat16", ROLE_TYPE, HD_TYPE_BF16},
    {"torch", "float8_e4m3fn", ROLE_TYPE, HD_TYPE_F8_E4M3},
    {"torch", "float8_e5m2", ROLE_TYPE, HD_TYPE_F8_E5M2},
    {"torch", "float8_e8m0fnu", ROLE_TYPE, HD_TYPE_F8_E8M0},
    {"torch", "int64", ROLE_TYPE, HD_TYPE_I64},
    {"torch", "int32", ROLE_TYPE, HD_TYPE_I32},
    {"torch", "int16", ROLE_TYPE, HD_TYPE_I16},
    {"torch", "int8", ROLE_TYPE, HD_TYPE_I8},
    {"torch", "uint8", ROLE_TYPE, HD_TYPE_U8},
    {"torch", "bool", ROLE_TYPE, HD_TYPE_U8},
};

/* ---- the machine ---- */

typedef struct machine {
    hd_reader r;
    hd_arena objects;
    size_t object_bytes; /* asked of it */
    value *stack, *memo;
    size_t depth, stack_cap, memo_count, memo_cap;
    size_t marks[HD_PICKLE_MARKS_MAX]; /* depths of the stack */
    size_t mark_count;
    bool stopped;
    hd_error *err;
} machine;

static const char *kind_name(value v)
{
    static const char *const texts[] = {"None",  "bool",       "int",  "number", "string",  "name",
                                        "tuple", "long tuple", "list", "dict",   "storage", "tensor"};
    return texts[v.kind];
}

static hd_status no_memory(const machine *m)
{
    return hd_fail(m->err, HD_E_MEMORY, "no memory for its values");
}

/* A zeroed object of the machine; NULL when there is no room (no_room says why). */
static void *make(machine *m, size_t count, size_t size)
{
    m->object_bytes += count * size; /* small: a tuple of 8 at most */
    return m->object_bytes > HD_PICKLE_OBJECTS_MAX ? NULL : hd_arena_alloc(&m->objects, count, size);
}

static hd_status no_room(const machine *m)
{
    if (m->object_bytes > HD_PICKLE_OBJECTS_MAX)
        return hd_fail(m->err, HD_E_LIMIT, "its values take more than %zu bytes", HD_PICKLE_OBJECTS_MAX);
    return no_memory(m);
}

/* Room for one more in an array that never passes `max`. */
static bool grow(value **array, size_t *cap, size_t count, size_t max)
{
    if (count < *cap) return true;
    size_t wanted = HD_MIN(HD_MAX(*cap * 2, (size_t)1024), max);
    value *bigger = hd_realloc_array(*array, wanted, sizeof *bigger);
    if (!bigger) return false;
    *array = bigger;
    *cap = wanted;
    return true;
}

static hd_status push(machine *m, value v)
{
    if (m->depth == HD_PICKLE_STACK_MAX)
        return hd_fail(m->err, HD_E_LIMIT, "more than %zu values on the stack", HD_PICKLE_STACK_MAX);
    if (!grow(&m->stack, &m->stack_cap, m->depth, HD_PICKLE_STACK_MAX)) return no_memory(m);
    m->stack[m->depth++] = v;
    return HD_OK;
}

/* Values above the last mark: the only ones that an opcode may take. */
static size_t above_mark(const machine *m)
{
    return m->depth - (m->mark_count ? m->marks[m->mark_count - 1] : 0);
}

static hd_status need(const machine *m, size_t count)
{
    if (above_mark(m) >= count) return HD_OK;
    return hd_fail(m->err, HD_E_FORMAT, "wants %zu value%s, but the stack holds %zu", count, count == 1 ? "" : "s",
                   above_mark(m));
}

static hd_status pop(machine *m, value *v)
{
    HD_TRY(need(m, 1));
    *v = m->stack[--m->depth];
    return HD_OK;
}

/* Removes the last mark; *items are the values above it, which leave the stack, too, but stay until the next push. */
static hd_status pop_mark(machine *m, const value **items, size_t *count)
{
    if (!m->mark_count) return hd_fail(m->err, HD_E_FORMAT, "there is no MARK");
    *count = above_mark(m);
    m->depth = m->marks[--m->mark_count];
    *items = m->stack ? m->stack + m->depth : NULL;
    return HD_OK;
}

/* ---- opcodes: plain values ---- */

static hd_status op_proto(machine *m)
{
    uint8_t version = hd_read_u8(&m->r);
    if (m->r.pos != 2) return hd_fail(m->err, HD_E_FORMAT, "stands elsewhere than at the beginning");
    if (version < PROTOCOL_MIN || version > PROTOCOL_MAX)
        return hd_fail(m->err, HD_E_UNSUPPORTED, "protocol %u; %d to %d are read", version, PROTOCOL_MIN, PROTOCOL_MAX);
    return HD_OK;
}

static hd_status op_frame(machine *m)
{
    uint64_t len = hd_read_u64(&m->r);
    if (len > hd_reader_left(&m->r)) return hd_fail(m->err, HD_E_FORMAT, "the frame is longer than the pickle");
    return HD_OK;
}

static hd_status op_mark(machine *m)
{
    if (m->mark_count == HD_PICKLE_MARKS_MAX)
        return hd_fail(m->err, HD_E_LIMIT, "more than %d open marks", HD_PICKLE_MARKS_MAX);
    m->marks[m->mark_count++] = m->depth;
    return HD_OK;
}

static hd_status op_stop(machine *m)
{
    if (m->mark_count || m->depth != 1)
        return hd_fail(m->err, HD_E_FORMAT, "%zu values and %zu marks are left, not one value", m->depth,
                       m->mark_count);
    if (hd_reader_left(&m->r)) return hd_fail(m->err, HD_E_FORMAT, "%zu bytes follow", hd_reader_left(&m->r));
    m->stopped = true;
    return HD_OK;
}

static hd_status op_none(machine *m)
{
    return push(m, (value){.kind = KIND_NONE});
}

static hd_status op_true(machine *m)
{
    return push(m, (value){.kind = KIND_BOOL, .as.number = 1});
}

static hd_status op_false(machine *m)
{
    return push(m, (value){.kind = KIND_BOOL});
}

static hd_status push_int(machine *m, int64_t number)
{
    return push(m, (value){.kind = KIND_INT, .as.number = number});
}

static hd_status op_int4(machine *m)
{
    return push_int(m, (int32_t)hd_read_u32(&m->r));
}

static hd_status op_int1(machine *m)
{
    return push_int(m, hd_read_u8(&m->r));
}

static hd_status op_int2(machine *m)
{
    return push_int(m, hd_read_u16(&m->r));
}

/* Two's complement, little-endian; more than 64 bits are no number that a tensor has. */
static hd_status op_long1(machine *m)
{
    uint8_t len = hd_read_u8(&m->r);
    const uint8_t *bytes = hd_read_bytes(&m->r, len);
    if (len > 8 || !bytes) return push(m, (value){.kind = KIND_NUMBER});
    uint64_t number = len && bytes[len - 1] & 0x80 ? UINT64_MAX : 0;
    for (size_t i = len; i-- > 0;)
        number = number << 8 | bytes[i];
    return push_int(m, (int64_t)number);
}

static hd_status op_float(machine *m)
{
    (void)hd_read_u64(&m->r);
    return push(m, (value){.kind = KIND_NUMBER});
}

static hd_status push_text(machine *m, uint64_t len)
{
    if (len > HD_PICKLE_TEXT_MAX)
        return hd_fail(m->err, HD_E_LIMIT, "a string of %" PRIu64 " bytes; at most %" PRIu64 " are read", len,
                       HD_PICKLE_TEXT_MAX);
    const uint8_t *text = hd_read_bytes(&m->r, len);
    if (!text) return HD_OK; /* cut short, as the loop will see */
    return push(m, (value){.kind = KIND_TEXT, .len = (uint32_t)len, .as.text = (const char *)text});
}

static hd_status op_text1(machine *m)
{
    return push_text(m, hd_read_u8(&m->r));
}

static hd_status op_text4(machine *m)
{
    return push_text(m, hd_read_u32(&m->r));
}

static hd_status op_text8(machine *m)
{
    return push_text(m, hd_read_u64(&m->r));
}

/* ---- opcodes: the memo ---- */

/* Writers number what they remember from 0 on, so the memo never has more entries than the pickle has bytes. */
static hd_status remember(machine *m, size_t i)
{
    HD_TRY(need(m, 1));
    if (i > m->memo_count) return hd_fail(m->err, HD_E_FORMAT, "entry %zu of a memo that has %zu", i, m->memo_count);
    if (i == HD_PICKLE_MEMO_MAX)
        return hd_fail(m->err, HD_E_LIMIT, "more than %zu values are remembered", HD_PICKLE_MEMO_MAX);
    if (!grow(&m->memo, &m->memo_cap, i, HD_PICKLE_MEMO_MAX)) return no_memory(m);
    m->memo[i] = m->stack[m->depth - 1];
    if (i == m->memo_count) m->memo_count++;
    return HD_OK;
}

static hd_status recall(machine *m, size_t i)
{
    if (i >= m->memo_count) return hd_fail(m->err, HD_E_FORMAT, "entry %zu of a memo that has %zu", i, m->memo_count);
    return push(m, m->memo[i]);
}

static hd_status op_put1(machine *m)
{
    return remember(m, hd_read_u8(&m->r));
}

static hd_status op_put4(machine *m)
{
    return remember(m, hd_read_u32(&m->r));
}

static hd_status op_memoize(machine *m)
{
    return remember(m, m->memo_count);
}

static hd_status op_get1(machine *m)
{
    return recall(m, hd_read_u8(&m->r));
}

static hd_status op_get4(machine *m)
{
    return recall(m, hd_read_u32(&m->r));
}

/* ---- opcodes: containers ---- */

static hd_status push_tuple(machine *m, const value *items, size_t count)
{
    if (count > TUPLE_KEPT_MAX) return push(m, (value){.kind = KIND_LONG_TUPLE});
    value *copy = make(m, count, sizeof *copy);
    if (!copy) return no_room(m);
    if (items) memcpy(copy, items, count * sizeof *copy); /* NULL of an empty stack */
    return push(m, (value){.kind = KIND_TUPLE, .len = (uint32_t)count, .as.items = copy});
}

static hd_status take_tuple(machine *m, size_t count)
{
    HD_TRY(need(m, count));
    m->depth -= count;
    return push_tuple(m, m->stack + m->depth, count);
}

static hd_status op_empty_tuple(machine *m)
{
    return push_tuple(m, NULL, 0);
}

static hd_status op_tuple1(machine *m)
{
    return take_tuple(m, 1);
}

static hd_status op_tuple2(machine *m)
{
    return take_tuple(m, 2);
}

static hd_status op_tuple3(machine *m)
{
    return take_tuple(m, 3);
}

static hd_status op_tuple(machine *m)
{
    const value *items = NULL;
    size_t count = 0;
    HD_TRY(pop_mark(m, &items, &count));
    return push_tuple(m, items, count);
}

static hd_status op_empty_list(machine *m)
{
    return push(m, (value){.kind = KIND_LIST});
}

static hd_status check_top(const machine *m, kind wanted, const char *what)
{
    HD_TRY(need(m, 1));
    value top = m->stack[m->depth - 1];
    if (top.kind == wanted) return HD_OK;
    return hd_fail(m->err, HD_E_FORMAT, "adds to a %s, not to a %s", kind_name(top), what);
}

static hd_status op_append(machine *m)
{
    value dropped;
    HD_TRY(pop(m, &dropped));
    return check_top(m, KIND_LIST, "list");
}

static hd_status op_appends(machine *m)
{
    const value *items = NULL;
    size_t count = 0;
    HD_TRY(pop_mark(m, &items, &count));
    return check_top(m, KIND_LIST, "list");
}

static hd_status push_dict(machine *m, bool ordered)
{
    dict *d = make(m, 1, sizeof *d);
    if (!d) return no_room(m);
    d->ordered = ordered;
    return push(m, (value){.kind = KIND_DICT, .as.dict = d});
}

static hd_status op_empty_dict(machine *m)
{
    return push_dict(m, false);
}

/* Adds pairs to the dict on the stack. */
static hd_status set_items(machine *m, const value *items, size_t count)
{
    HD_TRY(check_top(m, KIND_DICT, "dict"));
    if (count % 2) return hd_fail(m->err, HD_E_FORMAT, "a key without a value");
    dict *d = m->stack[m->depth - 1].as.dict;
    for (size_t i = 0; i < count; i += 2) {
        entry *e = make(m, 1, sizeof *e);
        if (!e) return no_room(m);
        *e = (entry){.key = items[i], .value = items[i + 1]};
        if (d->last)
            d->last->next = e;
        else
            d->first = e;
        d->last = e;
    }
    return HD_OK;
}

static hd_status op_setitem(machine *m)
{
    HD_TRY(need(m, 3));
    m->depth -= 2;
    return set_items(m, m->stack + m->depth, 2);
}

static hd_status op_setitems(machine *m)
{
    const value *items = NULL;
    size_t count = 0;
    HD_TRY(pop_mark(m, &items, &count));
    return set_items(m, items, count);
}

/* ---- opcodes: names ---- */

static bool same(hd_str text, const char *name)
{
    return text.len == strlen(name) && memcmp(text.data, name, text.len) == 0;
}

static hd_status push_global(machine *m, hd_str module, hd_str name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        if (same(module, names[i].module) && same(name, names[i].name))
            return push(m, (value){.kind = KIND_GLOBAL, .as.global = &names[i]});
    return hd_fail(m->err, HD_E_UNSUPPORTED, "'%s.%s' is not allowed: a checkpoint may only build tensors",
                   hd_show(module).text, hd_show(name).text);
}

/* Up to the end of a line, which is left out. */
static hd_status read_line(machine *m, hd_str *line)
{
    const char *text = (const char *)m->r.data + m->r.pos;
    size_t most = HD_MIN(hd_reader_left(&m->r), (size_t)LINE_MAX_BYTES + 1);
    const char *end = memchr(text, '\n', most);
    if (!end && most > LINE_MAX_BYTES)
        return hd_fail(m->err, HD_E_UNSUPPORTED, "'%s' is not allowed: a checkpoint may only build tensors",
                       hd_show((hd_str){text, most}).text);
    if (!end) return hd_fail(m->err, HD_E_FORMAT, "the pickle is cut short");
    *line = (hd_str){text, (size_t)(end - text)};
    (void)hd_read_bytes(&m->r, line->len + 1);
    return HD_OK;
}

static hd_status op_global(machine *m)
{
    hd_str module = {0}, name = {0};
    HD_TRY(read_line(m, &module));
    HD_TRY(read_line(m, &name));
    return push_global(m, module, name);
}

static hd_status op_stack_global(machine *m)
{
    value module = {0}, name = {0};
    HD_TRY(pop(m, &name));
    HD_TRY(pop(m, &module));
    if (module.kind != KIND_TEXT || name.kind != KIND_TEXT)
        return hd_fail(m->err, HD_E_FORMAT, "wants two strings, not %s and %s", kind_name(module), kind_name(name));
    return push_global(m, (hd_str){module.as.text, module.len}, (hd_str){name.as.text, name.len});
}

/* ---- opcodes: storages and calls ---- */

/* ("storage", type, key, device, values): what torch.save says of a storage.  The device does not matter here. */
static hd_status op_persid(machine *m)
{
    value id = {0};
    HD_TRY(pop(m, &id));
    const value *v = id.as.items;
    if (id.kind != KIND_TUPLE || id.len != 5 || v[0].kind != KIND_TEXT ||
        !same((hd_str){v[0].as.text, v[0].len}, "storage") || v[1].kind != KIND_GLOBAL ||
        v[1].as.global->role != ROLE_STORAGE || v[2].kind != KIND_TEXT || v[3].kind != KIND_TEXT ||
        v[4].kind != KIND_INT)
        return hd_fail(m->err, HD_E_FORMAT, "the persistent id is not (\"storage\", type, key, device, length)");
    if (v[4].as.number < 0) return hd_fail(m->err, HD_E_FORMAT, "a storage of a negative length");
    storage *s = make(m, 1, sizeof *s);
    if (!s) return no_room(m);
    *s = (storage){v[1].as.global->type, {v[2].as.text, v[2].len}, v[4].as.number};
    return push(m, (value){.kind = KIND_STORAGE, .as.storage = s});
}

/* Sizes or strides: a tuple of numbers that are not negative. */
static hd_status read_sizes(const machine *m, value from, const char *what, int64_t *to)
{
    bool good = from.kind == KIND_TUPLE;
    if (from.kind == KIND_LONG_TUPLE || (good && from.len > HD_MAX_DIMS))
        return hd_fail(m->err, HD_E_UNSUPPORTED, "a tensor of more than %d dimensions", HD_MAX_DIMS);
    for (uint32_t i = 0; good && i < from.len; i++) {
        good = from.as.items[i].kind == KIND_INT && from.as.items[i].as.number >= 0;
        to[i] = from.as.items[i].as.number;
    }
    if (!good) return hd_fail(m->err, HD_E_FORMAT, "a tensor's %s is not a tuple of integers of at least 0", what);
    return HD_OK;
}

static bool is_empty_or_none(value v)
{
    return v.kind == KIND_NONE || (v.kind == KIND_DICT && !v.as.dict->first);
}

/* _rebuild_tensor_v2(storage, offset, size, stride, requires_grad, hooks[, metadata]); v3 has a dtype before the
 * metadata.  Metadata that are not empty say, for one, that the values are to be negated. */
static hd_status rebuild_tensor(machine *m, const value *v, size_t count, bool v3)
{
    size_t least = v3 ? 7 : 6;
    if (count < least || count > least + 1 || v[0].kind != KIND_STORAGE || v[1].kind != KIND_INT ||
        v[4].kind != KIND_BOOL || (v3 && (v[6].kind != KIND_GLOBAL || v[6].as.global->role != ROLE_TYPE)))
        return hd_fail(m->err, HD_E_FORMAT, "the arguments of %s are not a tensor's",
                       v3 ? names[2].name : names[1].name);
    if (!is_empty_or_none(v[5]) || (count > least && !is_empty_or_none(v[least])))
        return hd_fail(m->err, HD_E_UNSUPPORTED, "a tensor with hooks or metadata");
    if (v[1].as.number < 0) return hd_fail(m->err, HD_E_FORMAT, "a tensor at a negative offset");
    hd_pickle_tensor *t = make(m, 1, sizeof *t);
    if (!t) return no_room(m);
    const storage *s = v[0].as.storage;
    *t = (hd_pickle_tensor){.storage = s->key,
                            .storage_type = s->type,
                            .storage_count = s->count,
                            .type = v3 ? v[6].as.global->type : s->type,
                            .dims = (int)v[2].len,
                            .shape = {1, 1, 1, 1},
                            .offset = v[1].as.number};
    static_assert(HD_MAX_DIMS == 4, "unused entries of the shape are 1");
    HD_TRY(read_sizes(m, v[2], "size", t->shape));
    HD_TRY(read_sizes(m, v[3], "stride", t->stride));
    if (v[3].len != v[2].len)
        return hd_fail(m->err, HD_E_FORMAT, "a tensor of %u sizes and %u strides", v[2].len, v[3].len);
    return push(m, (value){.kind = KIND_TENSOR, .as.tensor = t});
}

/* _rebuild_parameter(tensor, requires_grad, hooks) */
static hd_status rebuild_parameter(machine *m, const value *v, size_t count)
{
    if (count != 3 || v[0].kind != KIND_TENSOR || v[1].kind != KIND_BOOL || !is_empty_or_none(v[2]))
        return hd_fail(m->err, HD_E_FORMAT, "the arguments of _rebuild_parameter are not a parameter's");
    return push(m, v[0]);
}

static hd_status op_reduce(machine *m)
{
    value args = {0}, function = {0};
    HD_TRY(pop(m, &args));
    HD_TRY(pop(m, &function));
    if (function.kind != KIND_GLOBAL || args.kind != KIND_TUPLE)
        return hd_fail(m->err, HD_E_FORMAT, "calls a %s with a %s", kind_name(function), kind_name(args));
    switch (function.as.global->role) {
    case ROLE_DICT:
        if (args.len) return hd_fail(m->err, HD_E_UNSUPPORTED, "an OrderedDict made from arguments");
        return push_dict(m, true);
    case ROLE_TENSOR_V2:
    case ROLE_TENSOR_V3: return rebuild_tensor(m, args.as.items, args.len, function.as.global->role == ROLE_TENSOR_V3);
    case ROLE_PARAMETER: return rebuild_parameter(m, args.as.items, args.len);
    case ROLE_STORAGE:
    case ROLE_TYPE: break;
    }
    return hd_fail(m->err, HD_E_UNSUPPORTED, "'%s.%s' may not be called", function.as.global->module,
                   function.as.global->name);
}

/* torch gives the OrderedDict of a state dict an attribute of versions.  Attributes are read over. */
static hd_status op_build(machine *m)
{
    value state = {0};
    HD_TRY(pop(m, &state));
    HD_TRY(need(m, 1));
    value on = m->stack[m->depth - 1];
    if (on.kind != KIND_DICT || !on.as.dict->ordered || state.kind != KIND_DICT)
        return hd_fail(m->err, HD_E_UNSUPPORTED,
                       "on a %s with a %s is not allowed: only an OrderedDict may have attributes", kind_name(on),
                       kind_name(state));
    return HD_OK;
}

/* ---- the loop ---- */

typedef struct opcode {
    const char *name;
    hd_status (*run)(machine *m); /* NULL: known, and refused */
} opcode;

/* All opcodes of the protocols 0 to 5. */
static const opcode opcodes[256] = {
    [0x80] = {"PROTO", op_proto},
    [0x95] = {"FRAME", op_frame},
    ['('] = {"MARK", op_mark},
    ['.'] = {"STOP", op_stop},
    ['N'] = {"NONE", op_none},
    [0x88] = {"NEWTRUE", op_true},
    [0x89] = {"NEWFALSE", op_false},
    ['J'] = {"BININT", op_int4},
    ['K'] = {"BININT1", op_int1},
    ['M'] = {"BININT2", op_int2},
    [0x8a] = {"LONG1", op_long1},
    ['G'] = {"BINFLOAT", op_float},
    [0x8c] = {"SHORT_BINUNICODE", op_text1},
    ['X'] = {"BINUNICODE", op_text4},
    [0x8d] = {"BINUNICODE8", op_text8},
    ['q'] = {"BINPUT", op_put1},
    ['r'] = {"LONG_BINPUT", op_put4},
    [0x94] = {"MEMOIZE", op_memoize},
    ['h'] = {"BINGET", op_get1},
    ['j'] = {"LONG_BINGET", op_get4},
    [')'] = {"EMPTY_TUPLE", op_empty_tuple},
    [0x85] = {"TUPLE1", op_tuple1},
    [0x86] = {"TUPLE2", op_tuple2},
    [0x87] = {"TUPLE3", op_tuple3},
    ['t'] = {"TUPLE", op_tuple},
    [']'] = {"EMPTY_LIST", op_empty_list},
    ['a'] = {"APPEND", op_append},
    ['e'] = {"APPENDS", op_appends},
    ['}'] = {"EMPTY_DICT", op_empty_dict},
    ['s'] = {"SETITEM", op_setitem},
    ['u'] = {"SETITEMS", op_setitems},
    ['c'] = {"GLOBAL", op_global},
    [0x93] = {"STACK_GLOBAL", op_stack_global},
    ['Q'] = {"BINPERSID", op_persid},
    ['R'] = {"REDUCE", op_reduce},
    ['b'] = {"BUILD", op_build},
    ['P'] = {"PERSID", NULL},
    ['i'] = {"INST", NULL},
    ['o'] = {"OBJ", NULL},
    [0x81] = {"NEWOBJ", NULL},
    [0x92] = {"NEWOBJ_EX", NULL},
    [0x82] = {"EXT1", NULL},
    [0x83] = {"EXT2", NULL},
    [0x84] = {"EXT4", NULL},
    ['0'] = {"POP", NULL},
    ['1'] = {"POP_MARK", NULL},
    ['2'] = {"DUP", NULL},
    ['F'] = {"FLOAT", NULL},
    ['I'] = {"INT", NULL},
    ['L'] = {"LONG", NULL},
    [0x8b] = {"LONG4", NULL},
    ['S'] = {"STRING", NULL},
    ['T'] = {"BINSTRING", NULL},
    ['U'] = {"SHORT_BINSTRING", NULL},
    ['V'] = {"UNICODE", NULL},
    ['B'] = {"BINBYTES", NULL},
    ['C'] = {"SHORT_BINBYTES", NULL},
    [0x8e] = {"BINBYTES8", NULL},
    [0x96] = {"BYTEARRAY8", NULL},
    [0x97] = {"NEXT_BUFFER", NULL},
    [0x98] = {"READONLY_BUFFER", NULL},
    ['d'] = {"DICT", NULL},
    ['l'] = {"LIST", NULL},
    ['g'] = {"GET", NULL},
    ['p'] = {"PUT", NULL},
    [0x8f] = {"EMPTY_SET", NULL},
    [0x90] = {"ADDITEMS", NULL},
    [0x91] = {"FROZENSET", NULL},
};

static hd_status run(machine *m)
{
    if (m->r.len == 0 || m->r.data[0] != 0x80)
        return hd_fail(m->err, HD_E_FORMAT, "the pickle does not begin with opcode PROTO (protocols %d to %d)",
                       PROTOCOL_MIN, PROTOCOL_MAX);
    while (!m->stopped) {
        if (!hd_reader_left(&m->r))
            return hd_fail(m->err, HD_E_FORMAT, "the pickle is cut short: it lacks opcode STOP");
        uint8_t code = hd_read_u8(&m->r);
        const opcode *op = &opcodes[code];
        if (!op->name) return hd_fail(m->err, HD_E_FORMAT, "pickle opcode 0x%02x is not known", code);
        hd_status status =
            op->run ? op->run(m)
                    : hd_fail(m->err, HD_E_UNSUPPORTED, "is not allowed: a checkpoint may only build tensors");
        if (m->r.failed) status = hd_fail(m->err, HD_E_FORMAT, "the pickle is cut short");
        if (status != HD_OK) return hd_fail_in(m->err, status, "pickle opcode %s", op->name);
    }
    return HD_OK;
}

/* ---- what was built ---- */

static bool holds_a_tensor(value v)
{
    if (v.kind != KIND_DICT) return false;
    for (const entry *e = v.as.dict->first; e; e = e->next)
        if (e->value.kind == KIND_TENSOR) return true;
    return false;
}

/* The last value of a key, as Python has it; None without one. */
static value find_entry(const dict *d, const char *key)
{
    value found = {.kind = KIND_NONE};
    for (const entry *e = d->first; e; e = e->next)
        if (e->key.kind == KIND_TEXT && same((hd_str){e->key.as.text, e->key.len}, key)) found = e->value;
    return found;
}

/* The state dict: the whole, or what training scripts put beside the state of their optimizer. */
static value find_state_dict(value top)
{
    static const char *const keys[] = {"state_dict", "model"};
    for (size_t i = 0; i < HD_ARRAY_LEN(keys) && top.kind == KIND_DICT; i++) {
        value inner = find_entry(top.as.dict, keys[i]);
        if (holds_a_tensor(inner)) return inner;
    }
    return top;
}

/* Numbers and texts beside the tensors are read over; what may hide tensors is refused. */
static hd_status read_entry(const machine *m, const entry *e, hd_pickle *out)
{
    if (e->key.kind != KIND_TEXT)
        return hd_fail(m->err, HD_E_FORMAT, "the state dict has a key that is a %s, not a string", kind_name(e->key));
    hd_str name = {e->key.as.text, e->key.len};
    if (e->value.kind < KIND_GLOBAL) return HD_OK;
    if (e->value.kind != KIND_TENSOR)
        return hd_fail(m->err, HD_E_UNSUPPORTED, "the state dict's entry '%s' is a %s, not a tensor",
                       hd_show(name).text, kind_name(e->value));
    if (!hd_name_valid(name, HD_TENSOR_NAME_MAX))
        return hd_fail(m->err, HD_E_FORMAT,
                       "the tensor name '%s' is not 1 to %d bytes of UTF-8 without control characters",
                       hd_show(name).text, HD_TENSOR_NAME_MAX);
    out->tensors[out->count] = *e->value.as.tensor;
    out->tensors[out->count++].name = name;
    return HD_OK;
}

static hd_status check_names(const machine *m, const hd_pickle *out)
{
    hd_names sorted = {0};
    if (!hd_names_alloc(&sorted, out->count))
        return hd_fail(m->err, HD_E_MEMORY, "no memory for %zu names", out->count);
    for (size_t i = 0; i < out->count; i++)
        sorted.sorted[i] = (hd_name_entry){out->tensors[i].name, i};
    const hd_name_entry *twice = hd_names_sort(&sorted);
    hd_status status = HD_OK;
    if (twice) status = hd_fail(m->err, HD_E_FORMAT, "the state dict has two tensors '%s'", hd_show(twice->text).text);
    hd_names_free(&sorted);
    return status;
}

static hd_status collect(const machine *m, hd_pickle *out)
{
    value top = find_state_dict(m->stack[0]);
    if (!holds_a_tensor(top)) return hd_fail(m->err, HD_E_FORMAT, "the pickle holds no state dict: no dict of tensors");
    size_t count = 0;
    for (const entry *e = top.as.dict->first; e; e = e->next)
        count++;
    if (count > HD_TENSORS_MAX)
        return hd_fail(m->err, HD_E_LIMIT, "%zu tensors; at most %zu are read", count, HD_TENSORS_MAX);
    out->tensors = hd_calloc(count, sizeof *out->tensors);
    if (!out->tensors) return hd_fail(m->err, HD_E_MEMORY, "no memory for %zu tensors", count);
    for (const entry *e = top.as.dict->first; e; e = e->next)
        HD_TRY(read_entry(m, e, out));
    return check_names(m, out);
}

/* ---- the door ---- */

hd_status hd_pickle_parse(hd_pickle *out, const uint8_t *data, size_t size, hd_error *err)
{
    *out = (hd_pickle){0};
    if (size > HD_PICKLE_BYTES_MAX)
        return hd_fail(err, HD_E_LIMIT, "a pickle of %zu bytes; at most %zu are read", size, HD_PICKLE_BYTES_MAX);
    machine m = {.err = err};
    hd_reader_init(&m.r, data, size);
    hd_status status = run(&m);
    if (status == HD_OK) status = collect(&m, out);
    hd_arena_free(&m.objects);
    hd_free(m.stack);
    hd_free(m.memo);
    if (status != HD_OK) hd_pickle_free(out);
    return status;
}

void hd_pickle_free(hd_pickle *pickle)
{
    hd_free(pickle->tensors);
    *pickle = (hd_pickle){0};
}
