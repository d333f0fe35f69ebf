/* gateway/shape.h: what a JSON request must look like, as tables.
 *
 * One table per request drives three things: the check of what came (errors name the path of the field, such as
 * messages[0].role), the copy of plain values into a struct, and the request's schema in /openapi.json.  Fields that no
 * table knows are ignored.  Tables are constant; all functions are thread-safe.
 */
#ifndef HD_GATEWAY_SHAPE_H
#define HD_GATEWAY_SHAPE_H

#include <jansson.h>
#include <stddef.h>

#include "base/buf.h"

typedef enum hd_shape_kind {                  /* and what a field of it is bound to */
                             HD_SHAPE_BOOL,   /* bool */
                             HD_SHAPE_INT,    /* int64_t */
                             HD_SHAPE_NUMBER, /* double */
                             HD_SHAPE_STRING, /* hd_str, a view into the JSON value */
                             HD_SHAPE_LIST,   /* const json_t *, borrowed; the same for those below */
                             HD_SHAPE_OBJECT,
                             HD_SHAPE_MAP, /* an object with any keys; `items` are its values */
                             HD_SHAPE_ANY_OF,
                             HD_SHAPE_ANY, /* any JSON value */
} hd_shape_kind;

struct hd_field;

typedef struct hd_shape {
    hd_shape_kind kind;
    double min, max;                   /* of numbers; of the length of lists and strings; both 0: no limit */
    const char *choices;               /* STRING: "low|high"; NULL: any */
    bool no_nul;                       /* STRING: goes where texts end at a NUL */
    const struct hd_shape *items;      /* LIST, MAP (NULL: anything) */
    const struct hd_field *fields;     /* OBJECT; ends with a field without name */
    const struct hd_shape *const *any; /* ANY_OF; ends with NULL */
    const char *name;                  /* under which the schema stands in /openapi.json; NULL: in its place */
} hd_shape;

typedef struct hd_field {
    const char *name;
    const hd_shape *shape;
    const char *doc; /* one sentence for /openapi.json; NULL: none */
    bool required;   /* else it may be missing or null */
    bool bound;
    size_t offset; /* where hd_shape_bind puts the value */
} hd_field;

/* For tables: a field that is bound to `member` of `type`, one that is only checked. */
#define HD_BIND(type, member) .bound = true, .offset = offsetof(type, member)

/* Longest path in an error; deeper ones are cut. */
#define HD_SHAPE_PATH 160

/* HD_E_ARGUMENT: `path` (may be NULL, [HD_SHAPE_PATH]) receives the place, err's text begins with it. */
hd_status hd_shape_check(const hd_shape *shape, const json_t *value, char *path, hd_error *err);

/* Copies the bound fields of an OBJECT that was checked into the struct at `into`; those missing or null stay as they
 * are, so put the defaults there before. */
void hd_shape_bind(const hd_shape *shape, const json_t *object, void *into);

/* Appends the shape's JSON schema (2020-12, as OpenAPI 3.1 wants).  A shape with a name is written as a reference to
 * #/components/schemas/NAME unless `whole`. */
void hd_shape_schema(hd_buf *out, const hd_shape *shape, bool whole);

/* Calls `visit` once for each place where a named shape is used in `shape`, itself included. */
void hd_shape_walk(const hd_shape *shape, void (*visit)(void *arg, const hd_shape *named), void *arg);

/* The shapes that most tables need. */
extern const hd_shape hd_shape_bool, hd_shape_int, hd_shape_count, hd_shape_number, hd_shape_string, hd_shape_any,
    hd_shape_object;

#endif
