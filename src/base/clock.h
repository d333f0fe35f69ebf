/* base/clock.h: time, injectable so that tests can move it.  Thread-safe; set the hook only before threads start. */
#ifndef HD_BASE_CLOCK_H
#define HD_BASE_CLOCK_H

#include <stdint.h>

uint64_t hd_clock_ns(void);      /* monotonic nanoseconds since an arbitrary start */
uint64_t hd_clock_unix_ms(void); /* wall clock, milliseconds since 1970-01-01 UTC */

/* Replaces both clocks (NULL restores the system's). */
void hd_clock_set(uint64_t (*monotonic_ns)(void), uint64_t (*unix_ms)(void));

#endif
