/* base/clock.c: see clock.h. */
#include "base/clock.h"

#include <stddef.h>
#include <time.h>

static uint64_t (*monotonic_hook)(void);
static uint64_t (*unix_hook)(void);

void hd_clock_set(uint64_t (*monotonic_ns)(void), uint64_t (*unix_ms)(void))
{
    monotonic_hook = monotonic_ns;
    unix_hook = unix_ms;
}

static uint64_t now(clockid_t id)
{
    struct timespec t;
    clock_gettime(id, &t);
    return (uint64_t)t.tv_sec * 1000000000u + (uint64_t)t.tv_nsec;
}

uint64_t hd_clock_ns(void)
{
    return monotonic_hook ? monotonic_hook() : now(CLOCK_MONOTONIC);
}

uint64_t hd_clock_unix_ms(void)
{
    return unix_hook ? unix_hook() : now(CLOCK_REALTIME) / 1000000u;
}
