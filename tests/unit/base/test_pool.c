/* Unit tests of base/pool.c; also meant to run under the thread sanitizer. */
#include <pthread.h>
#include <sched.h>
#include <setjmp.h>
#include <signal.h>
#include <stdarg.h>
#include <stdatomic.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>
#include <unistd.h>

#include <cmocka.h>

#include "base/base.h"

enum { MAX_THREADS = 33, ITEMS = 1000 };

static hd_pool *open_pool(int threads)
{
    hd_pool *pool;
    hd_error err;
    if (hd_pool_open(&pool, threads, &err) != HD_OK) fail_msg("%s", err.text);
    assert_int_equal(hd_pool_threads(pool), threads);
    return pool;
}

typedef struct run_record {
    int calls[MAX_THREADS]; /* each written by its thread alone: the barrier must publish them to the caller */
    int threads;
    int caller_thread;
    pthread_t caller;
} run_record;

static void record_run(void *arg, int thread, int threads)
{
    run_record *r = arg;
    r->calls[thread]++;
    if (thread == 0) r->threads = threads;
    if (pthread_equal(pthread_self(), r->caller)) r->caller_thread = thread;
}

/* More threads than processors as well: this machine has fewer than 33, or they share fewer. */
static void test_run_calls_each_thread_once(void **state)
{
    (void)state;
    static const int sizes[] = {1, 2, 3, MAX_THREADS};
    for (size_t s = 0; s < HD_ARRAY_LEN(sizes); s++) {
        hd_pool *pool = open_pool(sizes[s]);
        run_record r = {.caller = pthread_self(), .caller_thread = -1};
        for (int n = 1; n <= 50; n++) {
            hd_pool_run(pool, record_run, &r);
            for (int t = 0; t < sizes[s]; t++)
                assert_int_equal(r.calls[t], n);
        }
        assert_int_equal(r.threads, sizes[s]);
        assert_int_equal(r.caller_thread, 0);
        hd_pool_close(&pool);
        assert_null(pool);
    }
}

typedef struct for_record {
    atomic_int seen[ITEMS];
    atomic_int pieces, bad;
    int64_t items, grain;
    int threads;
} for_record;

static void record_range(void *arg, int64_t begin, int64_t end, int thread)
{
    for_record *r = arg;
    atomic_fetch_add(&r->pieces, 1);
    if (begin < 0 || begin >= end || end > r->items || end - begin > r->grain) atomic_fetch_add(&r->bad, 1);
    if (thread < 0 || thread >= r->threads) atomic_fetch_add(&r->bad, 1);
    for (int64_t i = begin; i < end && i < ITEMS; i++)
        atomic_fetch_add(&r->seen[i], 1);
}

static void check_for(hd_pool *pool, int64_t items, int64_t grain)
{
    static for_record r;
    memset(&r, 0, sizeof r);
    r.items = items;
    r.grain = grain;
    r.threads = hd_pool_threads(pool);
    hd_pool_for(pool, items, grain, record_range, &r);
    assert_int_equal(r.bad, 0);
    assert_int_equal(r.pieces, items > 0 ? (items + grain - 1) / grain : 0);
    for (int64_t i = 0; i < ITEMS; i++)
        assert_int_equal(r.seen[i], i < items);
}

static void test_for_covers_each_item_once(void **state)
{
    (void)state;
    static const int64_t items[] = {-1, 0, 1, 2, 7, 64, 999, ITEMS}, grains[] = {1, 2, 3, 7, 64, 998, 5000};
    static const int sizes[] = {1, 2, 5, MAX_THREADS};
    for (size_t s = 0; s <= HD_ARRAY_LEN(sizes); s++) {
        hd_pool *pool = s < HD_ARRAY_LEN(sizes) ? open_pool(sizes[s]) : NULL; /* and without a pool */
        for (size_t i = 0; i < HD_ARRAY_LEN(items); i++)
            for (size_t g = 0; g < HD_ARRAY_LEN(grains); g++)
                check_for(pool, items[i], grains[g]);
        hd_pool_close(&pool);
    }
}

static void count_items(void *arg, int64_t begin, int64_t end, int thread)
{
    (void)thread;
    atomic_fetch_add((atomic_llong *)arg, end - begin);
}

static void test_for_takes_odd_grains(void **state)
{
    (void)state;
    hd_pool *pool = open_pool(3);
    atomic_llong sum = 0;
    hd_pool_for(pool, 10, 0, count_items, &sum); /* a grain of 0 must not hang */
    hd_pool_for(pool, 10, INT64_MAX, count_items, &sum);
    assert_int_equal(sum, 20);
    hd_pool_close(&pool);
}

static void test_for_end_is_that_of_a_share_or_of_a_piece(void **state)
{
    (void)state;
    static const int64_t items[] = {7, 100, 999}, grains[] = {1, 3, 14};
    for (int threads = 1; threads <= 7; threads += 3) {
        hd_pool *pool = open_pool(threads);
        for (size_t i = 0; i < HD_ARRAY_LEN(items); i++)
            for (size_t g = 0; g < HD_ARRAY_LEN(grains); g++) {
                int64_t at = 0, last = (items[i] - 1) / grains[g] * grains[g];
                if (last / grains[g] + 1 < threads) continue; /* somebody has no share */
                for (int t = 0; t < threads; t++) {
                    int64_t end = hd_pool_for_end(pool, items[i], grains[g], at, t);
                    assert_true(end > at && (end % grains[g] == 0 || end == items[i]));
                    at = end;
                }
                assert_int_equal(at, items[i]);
                assert_int_equal(hd_pool_for_end(pool, items[i], grains[g], last, threads - 1), items[i]);
                int64_t helped = threads == 1 ? items[i] : HD_MIN(grains[g], items[i]);
                assert_int_equal(hd_pool_for_end(pool, items[i], grains[g], 0, threads - 1), helped);
            }
        hd_pool_close(&pool);
    }
}

#define SHARED_ITEMS 100

typedef struct share_record {
    atomic_int done;
    int taken[2][SHARED_ITEMS], count[2];
} share_record;

/* The first item of the first thread's share ends when all others are done. */
static void record_share(void *arg, int64_t begin, int64_t end, int thread)
{
    share_record *r = arg;
    r->taken[thread][r->count[thread]++] = (int)begin;
    while (begin == 0 && atomic_load(&r->done) < SHARED_ITEMS - 1)
        sched_yield();
    atomic_fetch_add(&r->done, (int)(end - begin));
}

static void test_for_takes_its_own_share_then_helps(void **state)
{
    (void)state;
    hd_pool *pool = open_pool(2);
    for (int round = 0; round < 100; round++) {
        share_record r = {0};
        hd_pool_for(pool, SHARED_ITEMS, 1, record_share, &r);
        assert_int_equal(r.done, SHARED_ITEMS);
        assert_int_equal(r.count[0] + r.count[1], SHARED_ITEMS);
        if (r.count[0] == 0) continue; /* the second thread had done all before the first one came */
        assert_int_equal(r.taken[0][0], 0);
        assert_int_equal(r.count[0], 1);
        for (int i = 0; i < SHARED_ITEMS / 2; i++)
            assert_int_equal(r.taken[1][i], SHARED_ITEMS / 2 + i); /* its own, in order: one stream */
        for (int i = SHARED_ITEMS / 2; i < r.count[1]; i++)
            assert_int_equal(r.taken[1][i], SHARED_ITEMS - 1 - i); /* the first one's, from the back */
    }
    hd_pool_close(&pool);
}

/* Runs that alternate between two functions and two pools, some while the others' threads spin and some while they
 * sleep. */
static void test_alternating_runs(void **state)
{
    (void)state;
    hd_pool *a = open_pool(3), *b = open_pool(2);
    run_record ra = {.caller = pthread_self()}, rb = {.caller = pthread_self()};
    atomic_llong sum = 0;
    for (int n = 0; n < 300; n++) {
        hd_pool_run(a, record_run, &ra);
        hd_pool_for(a, 64, 1, count_items, &sum);
        hd_pool_run(b, record_run, &rb);
        if (n % 100 == 99) usleep(2000); /* longer than they spin */
    }
    assert_int_equal(sum, 300 * 64);
    for (int t = 0; t < 3; t++)
        assert_int_equal(ra.calls[t], 300);
    for (int t = 0; t < 2; t++)
        assert_int_equal(rb.calls[t], 300);
    hd_pool_close(&a);
    hd_pool_close(&b);
}

typedef struct nested {
    hd_pool *pool;
    int depth[MAX_THREADS]; /* inner functions under way on a thread: more than one would share its scratch memory */
    atomic_int bad;
    atomic_llong items;
    atomic_int runs;
} nested;

typedef struct nested_call {
    nested *n;
    int thread;
} nested_call;

static void inner_range(void *arg, int64_t begin, int64_t end, int thread)
{
    nested_call *call = arg;
    if (thread != call->thread || ++call->n->depth[thread] != 1) atomic_fetch_add(&call->n->bad, 1);
    atomic_fetch_add(&call->n->items, end - begin);
    call->n->depth[thread]--;
}

static void inner_run(void *arg, int thread, int threads)
{
    nested_call *call = arg;
    if (thread != 0 || threads != 1) atomic_fetch_add(&call->n->bad, 1);
    atomic_fetch_add(&call->n->runs, 1);
}

static void outer(void *arg, int thread, int threads)
{
    nested_call call = {.n = arg, .thread = thread};
    (void)threads;
    hd_pool_for(call.n->pool, 10, 3, inner_range, &call);
    hd_pool_run(call.n->pool, inner_run, &call);
}

static void test_nested_runs(void **state)
{
    (void)state;
    hd_pool *pool = open_pool(4);
    static nested n;
    n.pool = pool;
    for (int i = 0; i < 20; i++)
        hd_pool_run(pool, outer, &n);
    assert_int_equal(n.bad, 0);
    assert_int_equal(n.items, 20 * 4 * 10);
    assert_int_equal(n.runs, 20 * 4);
    run_record r = {.caller = pthread_self()}; /* and a plain run is spread over all threads again */
    hd_pool_run(pool, record_run, &r);
    assert_int_equal(r.threads, 4);
    hd_pool_close(&pool);
}

static void test_open_and_close_without_a_run(void **state)
{
    (void)state;
    for (int i = 0; i < 20; i++) {
        hd_pool *pool = open_pool(1 + i % 5);
        if (i % 3 == 0) usleep(500);
        hd_pool_close(&pool);
    }
    hd_pool *none = NULL;
    hd_pool_close(&none);
    assert_int_equal(hd_pool_threads(NULL), 1);
}

static void test_bad_arguments_and_no_memory(void **state)
{
    (void)state;
    static const int bad[] = {0, -1, HD_POOL_MAX + 1};
    hd_pool *pool = (hd_pool *)&pool;
    hd_error err;
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        assert_int_equal(hd_pool_open(&pool, bad[i], &err), HD_E_ARGUMENT);
        assert_null(pool);
    }
    for (uint64_t n = 1; n <= 3; n++) {
        hd_alloc_fail_after(n);
        hd_status status = hd_pool_open(&pool, 3, &err);
        hd_alloc_fail_after(0);
        assert_int_equal(status, HD_E_MEMORY);
        assert_null(pool);
    }
}

static void report_mask(void *arg, int thread, int threads)
{
    (void)threads;
    pthread_sigmask(SIG_SETMASK, NULL, (sigset_t *)arg + thread);
}

/* The program's handlers run on the program's threads; a mapped file's SIGBUS reaches ours. */
static void test_signals_stay_with_the_program(void **state)
{
    (void)state;
    sigset_t masks[2], before, after;
    pthread_sigmask(SIG_SETMASK, NULL, &before);
    hd_pool *pool = open_pool(2);
    pthread_sigmask(SIG_SETMASK, NULL, &after);
    hd_pool_run(pool, report_mask, masks);
    hd_pool_close(&pool);
    assert_int_equal(sigismember(&masks[1], SIGINT), 1);
    assert_int_equal(sigismember(&masks[1], SIGTERM), 1);
    assert_int_equal(sigismember(&masks[1], SIGBUS), 0);
    assert_int_equal(sigismember(&before, SIGINT), sigismember(&after, SIGINT));
    assert_int_equal(sigismember(&masks[0], SIGINT), sigismember(&before, SIGINT));
}

/* ---- the shared pool ---- */

enum { SHARERS = 4, TURNS = 200 };

typedef struct sharer {
    hd_pool *pool;
    int *inside; /* how many are within a turn: each reads and writes it within its own, without a lock */
    int *order;  /* of those who began */
    int number;
} sharer;

static void add_one(void *arg, int64_t begin, int64_t end, int thread)
{
    atomic_llong *sum = arg;
    (void)thread;
    atomic_fetch_add(sum, end - begin);
}

static void *share(void *arg)
{
    sharer *s = arg;
    for (int i = 0; i < TURNS; i++) {
        atomic_llong sum = 0;
        hd_pool_begin(s->pool, (s->number + i) % 2);
        if (++*s->inside != 1) fail_msg("two threads have the turn");
        hd_pool_for(s->pool, 100, 1, add_one, &sum);
        hd_pool_begin(s->pool, (s->number + i) % 2); /* within it again */
        hd_pool_end(s->pool);
        --*s->inside;
        hd_pool_end(s->pool);
        hd_pool_for(s->pool, 50, 1, add_one, &sum); /* a turn of its own */
        if (sum != 150) fail_msg("%lld items were done", (long long)sum);
    }
    return NULL;
}

static void test_shared_pool_serves_one_at_a_time(void **state)
{
    (void)state;
    pthread_t threads[SHARERS];
    sharer sharers[SHARERS];
    int within = 0;
    for (int i = 0; i < SHARERS; i++) {
        sharers[i] = (sharer){.inside = &within, .number = i};
        assert_int_equal(hd_pool_share(&sharers[i].pool, 3 + i, NULL), HD_OK);
        assert_ptr_equal(sharers[i].pool, sharers[0].pool);
        assert_int_equal(hd_pool_threads(sharers[i].pool), 3); /* the first one's */
    }
    for (int i = 0; i < SHARERS; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, share, &sharers[i]), 0);
    for (int i = 0; i < SHARERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < SHARERS; i++)
        hd_pool_close(&sharers[i].pool);
    hd_pool *again;
    assert_int_equal(hd_pool_share(&again, 2, NULL), HD_OK);
    assert_int_equal(hd_pool_threads(again), 2); /* a new one */
    hd_pool_close(&again);
    assert_int_equal(hd_pool_share(&again, 0, NULL), HD_E_ARGUMENT);
}

static void *wait_in_line(void *arg)
{
    sharer *s = arg;
    hd_pool_begin(s->pool, false);
    s->order[(*s->inside)++] = s->number;
    hd_pool_end(s->pool);
    return NULL;
}

static void test_turns_go_in_the_order_of_asking(void **state)
{
    (void)state;
    pthread_t threads[SHARERS];
    sharer sharers[SHARERS];
    int order[SHARERS], count = 0;
    hd_pool *pool;
    assert_int_equal(hd_pool_share(&pool, 2, NULL), HD_OK);
    hd_pool_begin(pool, false);
    for (int i = 0; i < SHARERS; i++) {
        sharers[i] = (sharer){.pool = pool, .inside = &count, .order = order, .number = i};
        assert_int_equal(pthread_create(&threads[i], NULL, wait_in_line, &sharers[i]), 0);
        usleep(50000); /* until it stands in the line */
    }
    assert_int_equal(count, 0);
    hd_pool_end(pool);
    for (int i = 0; i < SHARERS; i++)
        pthread_join(threads[i], NULL);
    for (int i = 0; i < SHARERS; i++)
        assert_int_equal(order[i], i);
    hd_pool_close(&pool);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_run_calls_each_thread_once),
        cmocka_unit_test(test_for_covers_each_item_once),
        cmocka_unit_test(test_for_takes_odd_grains),
        cmocka_unit_test(test_for_end_is_that_of_a_share_or_of_a_piece),
        cmocka_unit_test(test_for_takes_its_own_share_then_helps),
        cmocka_unit_test(test_alternating_runs),
        cmocka_unit_test(test_nested_runs),
        cmocka_unit_test(test_open_and_close_without_a_run),
        cmocka_unit_test(test_bad_arguments_and_no_memory),
        cmocka_unit_test(test_signals_stay_with_the_program),
        cmocka_unit_test(test_shared_pool_serves_one_at_a_time),
        cmocka_unit_test(test_turns_go_in_the_order_of_asking),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
