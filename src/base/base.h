/* base/base.h: the door of the base room, which every other room may include.
 *
 * Status codes, allocation, capped buffers, the sticky-error reader, logs, clocks, threads, CPU features, mapped files,
 * folders, temporary files.
 */
#ifndef HD_BASE_H
#define HD_BASE_H

#include "base/alloc.h"
#include "base/arena.h"
#include "base/buf.h"
#include "base/clock.h"
#include "base/cpu.h"
#include "base/dirs.h"
#include "base/json.h"
#include "base/log.h"
#include "base/mapping.h"
#include "base/metrics.h"
#include "base/pool.h"
#include "base/reader.h"
#include "base/save.h"
#include "base/temporary.h"
#include "base/text.h"
#include "hadal/status.h"

#define HD_ARRAY_LEN(a) (sizeof(a) / sizeof((a)[0]))
#define HD_MIN(a, b) ((a) < (b) ? (a) : (b))
#define HD_MAX(a, b) ((a) > (b) ? (a) : (b))

#endif
