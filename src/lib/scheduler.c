/* lib/scheduler.c: the scheduler of an engine (include/hadal/scheduler.h); the rest of it is in the engine room. */
#include "engine/scheduler.h"
#include "lib/engine_internal.h"

hd_status hd_scheduler_open(hd_scheduler **out, hd_engine *engine, const hd_scheduler_options *options, hd_error *err)
{
    return hd_scheduler_open_core(out, hd_engine_core(engine), options, err);
}
