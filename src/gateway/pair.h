/* gateway/pair.h: a served model that holds two precisions of itself.
 *
 * The full one is the model of the service's list; the cheaper one hangs behind it, under the same name, with an
 * engine, a scheduler and a prefix cache of its own.  Both are loaded and unloaded together, and are in use together:
 * who uses one is a user of the full one.  A request stays with the precision that it was given, to its end.
 */
#ifndef HD_GATEWAY_PAIR_H
#define HD_GATEWAY_PAIR_H

#include <pthread.h>

#include "gateway/models.h"
#include "gateway/precision.h"
#include "gateway/shape.h"

/* What a request's `precision` asks for. */
typedef enum hd_wish { HD_WISH_AUTO, HD_WISH_FULL, HD_WISH_CHEAPER } hd_wish;

extern const hd_shape hd_shape_precision; /* "auto", "full", "cheaper" */
hd_wish hd_wish_parse(const char *text);  /* NULL: auto */

typedef struct hd_pair {
    hd_served *full, *cheaper; /* constant */
    pthread_mutex_t lock;      /* guards what follows */
    hd_precision precision;
    int load; /* requests that have joined and not left */
} hd_pair;

/* Hangs a cheaper precision behind a model that is not loaded; the pair becomes the model's.  HD_E_ARGUMENT: it has
 * one, or the rule is none; HD_E_MEMORY. */
hd_status hd_pair_open(hd_served *full, const char *path, const hd_precision_rule *rule, hd_error *err);
void hd_pair_close(hd_pair **pair); /* the cheaper one is shut; NULL-safe */

/* Opens the cheaper one beside the full one, which is open, and compares both: architecture, shapes, context, every
 * token, the ends of answers and the template must be the same.  Says in the log what both take.  After an error the
 * cheaper one is not open.  HD_E_ARGUMENT: they are not two precisions of one model; others as hd_served_open. */
hd_status hd_pair_load(hd_pair *pair, const hd_gateway_options *options, hd_error *err);

/* A request of the model: which precision answers it.  It counts as load until hd_pair_leave.  A precision whose files
 * were lost is chosen only when asked for, or when both are. */
hd_served *hd_pair_join(hd_pair *pair, hd_wish wish);
void hd_pair_leave(hd_pair *pair);

/* Looks at the load, so that the way back needs no request. */
void hd_pair_look(hd_pair *pair);

typedef struct hd_pair_figures {
    bool cheaper; /* where new requests go */
    int load;
    uint64_t switches;
} hd_pair_figures;
void hd_pair_get_figures(hd_pair *pair, hd_pair_figures *out);

#endif
