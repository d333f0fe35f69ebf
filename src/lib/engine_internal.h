/* lib/engine_internal.h: what the files of this room share of an engine. */
#ifndef HD_LIB_ENGINE_INTERNAL_H
#define HD_LIB_ENGINE_INTERNAL_H

#include "engine/engine.h"

hd_core *hd_engine_core(hd_engine *engine);

#endif
