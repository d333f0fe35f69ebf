/* engine/scheduler.h: the scheduler over a core; include/hadal/scheduler.h has all else that it offers. */
#ifndef HD_ENGINE_SCHEDULER_H
#define HD_ENGINE_SCHEDULER_H

#include "engine/engine.h"
#include "hadal/scheduler.h"

hd_status hd_scheduler_open_core(hd_scheduler **out, hd_core *core, const hd_scheduler_options *options, hd_error *err);

#endif
