/* base/pool.h: the compute threads.
 *
 * One pool per engine, or one for all that ask for the shared one.  hd_pool_run calls a function once on every thread
 * (the caller is thread 0) and returns when all are done: every run is a barrier.  Idle threads spin briefly (a decode
 * step has hundreds of short runs), then sleep. Only one thread may call hd_pool_run on a pool at a time; but a
 * function that runs on a pool may call it again: that inner run is done by that thread alone.
 *
 * The shared pool lets several threads in, one after the other: a turn lasts from hd_pool_begin to hd_pool_end, turns
 * go to threads in the order in which they asked, and a run without one is a turn of its own.
 */
#ifndef HD_BASE_POOL_H
#define HD_BASE_POOL_H

#include <stdbool.h>
#include <stdint.h>

#include "hadal/status.h"

typedef struct hd_pool hd_pool;

/* `thread` is 0 .. threads-1. */
typedef void (*hd_pool_fn)(void *arg, int thread, int threads);

/* Called with a range of items [begin, end). */
typedef void (*hd_pool_range_fn)(void *arg, int64_t begin, int64_t end, int thread);

/* `threads` is 1 .. HD_POOL_MAX and counts the caller.  The new threads take no asynchronous signals, which stay with
 * the program's own.  Errors: HD_E_ARGUMENT, HD_E_MEMORY, HD_E_IO (a thread could not be started). */
#define HD_POOL_MAX 1024
hd_status hd_pool_open(hd_pool **out, int threads, hd_error *err);
void hd_pool_close(hd_pool **pool); /* NULL-safe; not from a function that runs on it, nor within a turn */

/* The pool that the process shares; each holder closes it.  The first one's `threads` counts until the last one has
 * closed it.  Errors as hd_pool_open. */
hd_status hd_pool_share(hd_pool **out, int threads, hd_error *err);

/* A turn, in which the pool's threads flush denormals or don't (hd_cpu_flush_denormals; the caller's own setting stays
 * with the caller).  A thread that has the turn may begin again; it ends with its last hd_pool_end.  On a pool of one's
 * own nobody waits. */
void hd_pool_begin(hd_pool *pool, bool flush_denormals);
void hd_pool_end(hd_pool *pool);

int hd_pool_threads(const hd_pool *pool);

/* A NULL pool runs on the caller. */
void hd_pool_run(hd_pool *pool, hd_pool_fn fn, void *arg);

/* Hands out [0, items) in pieces of `grain` (at least 1; more where there would be over 2^31 pieces): each item once.
 * Every thread has a contiguous share, the same in every loop of so many pieces, and takes it in order; one that is
 * through takes pieces from the back of the others' shares.
 * `thread` is the pool's thread also in an inner run, so that scratch memory per thread stays apart. */
void hd_pool_for(hd_pool *pool, int64_t items, int64_t grain, hd_pool_range_fn fn, void *arg);

/* How many loops have begun in this process, about: it moves as long as a pass through a model does.  Any thread. */
uint64_t hd_pool_loops(void);

/* For a function that hd_pool_for called with [begin, ..): the end of the items that the thread will be given one after
 * the other from `begin` on, unless others help it out. */
int64_t hd_pool_for_end(const hd_pool *pool, int64_t items, int64_t grain, int64_t begin, int thread);

#endif
