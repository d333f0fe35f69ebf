/* gateway/precision.h: when a model that is held in two precisions answers with the cheaper one.
 *
 * A rule over numbers that it is given, the time among them: no clock, no lock, no model.  Two thresholds and a time
 * keep it from flapping: above the upper one new requests go to the cheaper precision at once, and they go back only
 * when the load has stayed at or below the lower one for the whole of that time.
 */
#ifndef HD_GATEWAY_PRECISION_H
#define HD_GATEWAY_PRECISION_H

#include <stdbool.h>
#include <stdint.h>

/* The load is the number of requests of the model that have come and have not been answered, in both precisions. */
typedef struct hd_precision_rule {
    int above;        /* at this load and beyond new requests go to the cheaper one; >= 1 */
    int below;        /* at this load and less they may go back; 0 <= below < above */
    uint64_t hold_ns; /* when it has been so for this long */
} hd_precision_rule;

/* All zero but for the rule: the full precision, nothing seen yet. */
typedef struct hd_precision {
    hd_precision_rule rule;
    bool cheaper; /* where new requests go */
    bool calm;    /* the load was at or below `below` whenever it was looked at since `calm_ns` */
    uint64_t calm_ns;
    uint64_t switches; /* both ways, since the start */
} hd_precision;

/* Takes note of a load and tells whether new requests go to the cheaper precision now.  Called for each request that
 * comes, itself counted in, it sees every rise of the load; falls are seen by calling it now and then.  Times are of a
 * clock that does not go back. */
bool hd_precision_look(hd_precision *precision, int load, uint64_t now_ns);

#endif
