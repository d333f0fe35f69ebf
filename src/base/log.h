/* base/log.h: levelled log lines on standard error.  Never put prompts, answers or keys in them.  Thread-safe. */
#ifndef HD_BASE_LOG_H
#define HD_BASE_LOG_H

#include "hadal/status.h"

typedef enum hd_log_level { HD_LOG_ERROR, HD_LOG_WARN, HD_LOG_INFO, HD_LOG_DEBUG } hd_log_level;

void hd_log_set_level(hd_log_level level); /* the default is HD_LOG_WARN */
void hd_log(hd_log_level level, const char *fmt, ...) HD_PRINTF(2, 3);

#endif
