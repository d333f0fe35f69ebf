/* gateway/precision.c: see precision.h. */
#include "gateway/precision.h"

static bool change(hd_precision *p, bool cheaper)
{
    p->cheaper = cheaper;
    p->calm = false;
    p->switches++;
    return cheaper;
}

bool hd_precision_look(hd_precision *p, int load, uint64_t now_ns)
{
    if (!p->cheaper) return load >= p->rule.above ? change(p, true) : false;
    if (load > p->rule.below) {
        p->calm = false;
        return true;
    }
    if (!p->calm) {
        p->calm = true;
        p->calm_ns = now_ns;
    }
    return now_ns - p->calm_ns >= p->rule.hold_ns ? change(p, false) : true;
}
