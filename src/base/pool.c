/* base/pool.c: see pool.h.
 *
 * A run is published by raising `epoch`; workers that see a new epoch call the function and lower `running`.  A worker
 * spins SPIN_ROUNDS times on the epoch and then sleeps on the condition variable; `sleepers` lets the caller skip the
 * lock when nobody sleeps.
 *
 * A loop cuts its pieces into one share a thread, each a pair of numbers in one word (for_share).
 *
 * The shared pool has a line of tickets: a thread that wants a turn takes the next number and waits until it is served.
 */
#include "base/pool.h"

#include <pthread.h>
#include <sched.h>
#include <signal.h>
#include <stdatomic.h>
#include <stdbool.h>
#include <string.h>

#include "base/alloc.h"
#include "base/base.h"
#include "base/cpu.h"

/* 50 to 200 microseconds, as `pause` costs 40 to 140 cycles: longer than the gap between two operators of a decode
 * step, shorter than a scheduler tick. */
#define SPIN_ROUNDS 4000
/* Give the processor away now and then, so that more threads than processors still make progress. */
#define SPINS_PER_YIELD 512

typedef struct worker {
    hd_pool *pool;
    pthread_t thread;
    int index;
} worker;

/* On a cache line of its own. */
typedef struct for_share {
    _Alignas(HD_CACHE_LINE) _Atomic uint64_t left;
} for_share;

/* The pool whose function this thread runs at the moment, and its number there. */
static _Thread_local const hd_pool *inside;
static _Thread_local int inside_thread;

/* The pool in whose turn this thread is, and how often it began. */
static _Thread_local const hd_pool *turn;
static _Thread_local int turn_depth;

struct hd_pool {
    int threads;
    worker *workers;   /* threads - 1 of them */
    for_share *shares; /* [threads], of the loop that runs */
    int started;
    hd_pool_fn fn;
    void *arg;
    atomic_uint epoch;
    atomic_int running;
    atomic_int sleepers;
    atomic_bool stop;
    pthread_mutex_t lock;
    pthread_cond_t wake;
    bool flushed; /* the workers flush denormals */
    bool shared;
    int holders;      /* shared_lock: of the shared pool */
    uint64_t tickets; /* line: given out */
    uint64_t served;  /* line: whose turn it is */
    pthread_mutex_t line;
    pthread_cond_t moved;
};

static pthread_mutex_t shared_lock = PTHREAD_MUTEX_INITIALIZER;
static hd_pool *shared_pool; /* shared_lock */

static inline void cpu_relax(void)
{
#if defined(__x86_64__)
    __builtin_ia32_pause();
#elif defined(__aarch64__)
    __asm__ volatile("yield");
#endif
}

static void spin_pause(unsigned round)
{
    if (round % SPINS_PER_YIELD == SPINS_PER_YIELD - 1)
        sched_yield();
    else
        cpu_relax();
}

/* Returns the next epoch after `seen`, spinning first and sleeping then. */
static unsigned wait_for_epoch(hd_pool *pool, unsigned seen)
{
    for (unsigned i = 0; i < SPIN_ROUNDS; i++) {
        unsigned now = atomic_load_explicit(&pool->epoch, memory_order_acquire);
        if (now != seen) return now;
        spin_pause(i);
    }
    pthread_mutex_lock(&pool->lock);
    atomic_fetch_add(&pool->sleepers, 1);
    while (atomic_load(&pool->epoch) == seen)
        pthread_cond_wait(&pool->wake, &pool->lock);
    atomic_fetch_sub(&pool->sleepers, 1);
    pthread_mutex_unlock(&pool->lock);
    return atomic_load(&pool->epoch);
}

static void run_inside(hd_pool *pool, int thread)
{
    const hd_pool *outer = inside; /* another pool, or NULL */
    int outer_thread = inside_thread;
    inside = pool;
    inside_thread = thread;
    pool->fn(pool->arg, thread, pool->threads);
    inside = outer;
    inside_thread = outer_thread;
}

static void *worker_main(void *arg)
{
    worker *w = arg;
    hd_pool *pool = w->pool;
    unsigned seen = 0;
    for (;;) {
        seen = wait_for_epoch(pool, seen);
        if (atomic_load(&pool->stop)) return NULL;
        run_inside(pool, w->index);
        atomic_fetch_sub_explicit(&pool->running, 1, memory_order_release);
    }
}

static void publish(hd_pool *pool)
{
    atomic_fetch_add(&pool->epoch, 1);
    if (atomic_load(&pool->sleepers) == 0) return;
    pthread_mutex_lock(&pool->lock);
    pthread_cond_broadcast(&pool->wake);
    pthread_mutex_unlock(&pool->lock);
}

/* A signal handler of the program must run on the program's threads; faults stay with the thread that made them (the
 * handler of base/mapping.c needs SIGBUS), and profilers see all threads. */
static int start_thread(worker *w)
{
    static const int kept[] = {SIGBUS, SIGSEGV, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT, SIGPROF};
    sigset_t blocked, before;
    sigfillset(&blocked);
    for (size_t i = 0; i < sizeof kept / sizeof kept[0]; i++)
        sigdelset(&blocked, kept[i]);
    pthread_sigmask(SIG_SETMASK, &blocked, &before);
    int rc = pthread_create(&w->thread, NULL, worker_main, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

hd_status hd_pool_open(hd_pool **out, int threads, hd_error *err)
{
    *out = NULL;
    if (threads < 1 || threads > HD_POOL_MAX)
        return hd_fail(err, HD_E_ARGUMENT, "threads: %d is not in 1..%d", threads, HD_POOL_MAX);
    hd_pool *pool = hd_calloc(1, sizeof *pool);
    if (!pool) return hd_fail(err, HD_E_MEMORY, "out of memory for the thread pool");
    pool->threads = threads;
    pthread_mutex_init(&pool->lock, NULL);
    pthread_cond_init(&pool->wake, NULL);
    pthread_mutex_init(&pool->line, NULL);
    pthread_cond_init(&pool->moved, NULL);
    pool->workers = hd_calloc((size_t)threads, sizeof *pool->workers);
    pool->shares = hd_alloc_aligned((size_t)threads * sizeof *pool->shares);
    hd_status status = HD_OK;
    if (!pool->workers || !pool->shares) status = hd_fail(err, HD_E_MEMORY, "out of memory for %d threads", threads);
    for (int i = 0; status == HD_OK && i < threads - 1; i++) {
        worker *w = &pool->workers[i];
        *w = (worker){.pool = pool, .index = i + 1};
        int rc = start_thread(w);
        if (rc != 0)
            status = hd_fail(err, HD_E_IO, "cannot start thread %d of %d: %s", i + 2, threads, strerror(rc));
        else
            pool->started++;
    }
    if (status != HD_OK) {
        hd_pool_close(&pool);
        return status;
    }
    *out = pool;
    return HD_OK;
}

hd_status hd_pool_share(hd_pool **out, int threads, hd_error *err)
{
    *out = NULL;
    pthread_mutex_lock(&shared_lock);
    hd_status status = HD_OK;
    if (!shared_pool) {
        status = hd_pool_open(&shared_pool, threads, err);
        if (status == HD_OK) shared_pool->shared = true;
    }
    if (status == HD_OK) {
        shared_pool->holders++;
        *out = shared_pool;
    }
    pthread_mutex_unlock(&shared_lock);
    return status;
}

/* Whether nobody holds the pool any more. */
static bool let_go(hd_pool *pool)
{
    if (!pool->shared) return true;
    pthread_mutex_lock(&shared_lock);
    bool last = --pool->holders == 0;
    if (last) shared_pool = NULL;
    pthread_mutex_unlock(&shared_lock);
    return last;
}

void hd_pool_close(hd_pool **ref)
{
    hd_pool *pool = *ref;
    if (!pool) return;
    *ref = NULL;
    if (!let_go(pool)) return;
    atomic_store(&pool->stop, true);
    publish(pool);
    for (int i = 0; i < pool->started; i++)
        pthread_join(pool->workers[i].thread, NULL);
    pthread_cond_destroy(&pool->moved);
    pthread_mutex_destroy(&pool->line);
    pthread_cond_destroy(&pool->wake);
    pthread_mutex_destroy(&pool->lock);
    hd_free_aligned(pool->shares);
    hd_free(pool->workers);
    hd_free(pool);
}

int hd_pool_threads(const hd_pool *pool)
{
    return pool ? pool->threads : 1;
}

/* Waits for this thread's turn, unless it has it. */
static void enter(hd_pool *pool)
{
    if (!pool->shared || (turn == pool && turn_depth++ > 0)) return;
    pthread_mutex_lock(&pool->line);
    uint64_t mine = pool->tickets++;
    while (pool->served != mine)
        pthread_cond_wait(&pool->moved, &pool->line);
    pthread_mutex_unlock(&pool->line);
    turn = pool;
    turn_depth = 1;
}

static void leave(hd_pool *pool)
{
    if (!pool->shared || --turn_depth > 0) return;
    turn = NULL;
    pthread_mutex_lock(&pool->line);
    pool->served++;
    pthread_cond_broadcast(&pool->moved); /* few wait: as many as there are engines */
    pthread_mutex_unlock(&pool->line);
}

/* For the workers; the caller's setting is its own. */
static void flush_worker(void *arg, int thread, int threads)
{
    const bool *flush = arg;
    (void)threads;
    if (thread > 0) (void)hd_cpu_flush_denormals(*flush);
}

void hd_pool_begin(hd_pool *pool, bool flush_denormals)
{
    if (!pool) return;
    enter(pool);
    if (pool->flushed == flush_denormals) return;
    hd_pool_run(pool, flush_worker, &flush_denormals);
    pool->flushed = flush_denormals;
}

void hd_pool_end(hd_pool *pool)
{
    if (pool) leave(pool);
}

static void run_in_turn(hd_pool *pool, hd_pool_fn fn, void *arg)
{
    pool->fn = fn;
    pool->arg = arg;
    atomic_store(&pool->running, pool->threads - 1);
    publish(pool);
    run_inside(pool, 0);
    for (unsigned i = 0; atomic_load_explicit(&pool->running, memory_order_acquire) > 0; i++)
        spin_pause(i);
}

void hd_pool_run(hd_pool *pool, hd_pool_fn fn, void *arg)
{
    if (!pool || pool->threads == 1 || inside == pool) {
        fn(arg, 0, 1);
        return;
    }
    enter(pool);
    run_in_turn(pool, fn, arg);
    leave(pool);
}

/* What is left of a thread's share of a loop: pieces [front, back), in one word, so that its owner takes from the front
 * and others from the back without a lock. */
static uint64_t share_of(uint64_t front, uint64_t back)
{
    return front << 32 | back;
}

#define PIECES_MAX 0x7fffffff /* fits either half */

typedef struct for_job {
    hd_pool_range_fn fn;
    void *arg;
    int64_t items, grain;
    for_share *shares; /* [threads] */
} for_job;

static void run_piece(const for_job *job, int64_t piece, int thread)
{
    int64_t begin = piece * job->grain;
    int64_t end = job->items - begin < job->grain ? job->items : begin + job->grain;
    job->fn(job->arg, begin, end, thread);
}

/* Takes a piece; -1 when none is left. */
static int64_t take_piece(for_share *share, bool own)
{
    uint64_t left = atomic_load_explicit(&share->left, memory_order_relaxed), front, back;
    do {
        front = left >> 32;
        back = left & UINT32_MAX;
        if (front >= back) return -1;
    } while (!atomic_compare_exchange_weak_explicit(&share->left, &left,
                                                    own ? share_of(front + 1, back) : share_of(front, back - 1),
                                                    memory_order_relaxed, memory_order_relaxed));
    return (int64_t)(own ? front : back - 1);
}

/* Its own share in order, so that weights are read as one stream; then what the others have not come to. */
static void for_worker(void *arg, int thread, int threads)
{
    const for_job *job = arg;
    for (int i = 0; i < threads; i++) {
        for_share *share = &job->shares[(thread + i) % threads];
        for (int64_t piece; (piece = take_piece(share, i == 0)) >= 0;)
            run_piece(job, piece, thread);
    }
}

/* The first piece of a thread's share, or the end of the share of the one before it. */
static uint64_t share_begin(uint64_t pieces, int thread, int threads)
{
    return pieces * (uint64_t)thread / (uint64_t)threads;
}

static int64_t piece_items(int64_t items, int64_t grain)
{
    return HD_MAX(grain, items / PIECES_MAX + 1);
}

int64_t hd_pool_for_end(const hd_pool *pool, int64_t items, int64_t grain, int64_t begin, int thread)
{
    grain = piece_items(items, grain);
    int threads = hd_pool_threads(pool);
    uint64_t pieces = (uint64_t)((items - 1) / grain + 1), piece = (uint64_t)(begin / grain);
    uint64_t end = share_begin(pieces, thread + 1, threads);
    bool own = piece >= share_begin(pieces, thread, threads) && piece < end;
    return HD_MIN(items, (int64_t)(own ? end : piece + 1) * grain);
}

/* Loops that were begun, by all pools: a sign of life, so a count that is lost by two at once does no harm. */
static _Atomic uint64_t loops;

uint64_t hd_pool_loops(void)
{
    return atomic_load_explicit(&loops, memory_order_relaxed);
}

void hd_pool_for(hd_pool *pool, int64_t items, int64_t grain, hd_pool_range_fn fn, void *arg)
{
    if (items <= 0) return;
    if (pool && inside != pool) atomic_store_explicit(&loops, hd_pool_loops() + 1, memory_order_relaxed);
    grain = piece_items(items, grain);
    for_job job = {.fn = fn, .arg = arg, .items = items, .grain = grain};
    uint64_t pieces = (uint64_t)((items - 1) / grain + 1);
    bool inner = pool && inside == pool;
    if (!pool || inner || pool->threads == 1 || pieces == 1) {
        for (uint64_t piece = 0; piece < pieces; piece++)
            run_piece(&job, (int64_t)piece, inner ? inside_thread : 0);
        return;
    }
    enter(pool);
    job.shares = pool->shares;
    int threads = pool->threads;
    for (int i = 0; i < threads; i++)
        atomic_store_explicit(&pool->shares[i].left,
                              share_of(share_begin(pieces, i, threads), share_begin(pieces, i + 1, threads)),
                              memory_order_relaxed);
    run_in_turn(pool, for_worker, &job);
    leave(pool);
}
