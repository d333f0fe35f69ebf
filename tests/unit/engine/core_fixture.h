/* core_fixture.h: a core (engine room) on a tiny model, for tests that look inside. */
#ifndef HD_TESTS_CORE_FIXTURE_H
#define HD_TESTS_CORE_FIXTURE_H

#include "engine/engine_internal.h"
#include "kernels/kernels.h"
#include "unit/engine_fixture.h"

static inline hd_core *core_of(const tiny_model *m, int64_t chunk, int64_t cache_tokens)
{
    hd_core *core;
    hd_error err = {0};
    hd_core_options o = {.threads = 1, .chunk = chunk, .cache_tokens = cache_tokens};
    must(hd_kernels_cpu(&o.backend, HD_CPU_REFERENCE, &err), &err);
    must(hd_core_open(&core, m->folder, &o, &err), &err);
    return core;
}

static inline hd_seq *seq_of(hd_core *core)
{
    hd_seq *seq;
    hd_error err = {0};
    must(hd_seq_open(&seq, core, &err), &err);
    return seq;
}

/* Steps of at most one chunk. */
static inline void seq_feed(hd_seq *seq, const int32_t *ids, int64_t n)
{
    hd_error err = {0};
    int refused;
    for (int64_t at = 0; at < n;) {
        hd_seq_feed f = {.seq = seq, .ids = ids + at, .n = HD_MIN(n - at, seq->core->chunk)};
        must(hd_core_step(seq->core, &f, 1, &refused, &err), &err);
        at += f.n;
    }
}

#endif
