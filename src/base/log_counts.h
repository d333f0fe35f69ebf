/* base/log_counts.h: how many lines the log has, by level; for the metrics page.  Thread-safe. */
#ifndef HD_BASE_LOG_COUNTS_H
#define HD_BASE_LOG_COUNTS_H

#include <stdint.h>

#include "base/log.h"

#define HD_LOG_LEVELS 4

/* Lines written since the start, by hd_log_level; those below the level that is shown are not written. */
void hd_log_get_counts(uint64_t out[HD_LOG_LEVELS]);

#endif
