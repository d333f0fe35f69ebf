/* gateway/workers.c: two queues of jobs, and the threads that take them. */
#include "gateway/workers.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/base.h"

typedef struct queue {
    hd_job *first, **last;
} queue;

struct hd_workers {
    pthread_mutex_t lock; /* guards what follows */
    pthread_cond_t wake;
    queue quick, slow; /* slow: the long ones */
    int busy_long;     /* threads that do long ones, at most `most_long` */
    int most_long;     /* fixed */
    bool closing;
    int count;
    pthread_t threads[];
};

static hd_job *pop(queue *q)
{
    hd_job *job = q->first;
    if (job) q->first = job->next;
    if (!q->first) q->last = &q->first;
    return job;
}

/* With the lock held. */
static hd_job *next_job(hd_workers *w)
{
    hd_job *job = pop(&w->quick);
    if (!job && w->busy_long < w->most_long) job = pop(&w->slow);
    return job;
}

/* The next job of a thread that has done one, long or not.  NULL: it may end; a long one that waits is then left to
 * those that are busy with long ones. */
static hd_job *take(hd_workers *w, bool was_long)
{
    hd_job *job;
    pthread_mutex_lock(&w->lock);
    w->busy_long -= was_long;
    if (was_long && w->slow.first)
        pthread_cond_signal(&w->wake); /* another may have it, if this one takes a quick one */
    while (!(job = next_job(w)) && !w->closing)
        pthread_cond_wait(&w->wake, &w->lock);
    if (job) w->busy_long += job->is_long;
    pthread_mutex_unlock(&w->lock);
    return job;
}

static void *work(void *arg)
{
    hd_workers *w = arg;
    bool was_long = false;
    for (hd_job *job; (job = take(w, was_long));) {
        was_long = job->is_long; /* before it runs: it may be gone then */
        job->run(job);
    }
    return NULL;
}

/* Signals belong to the program's own thread. */
static int start_thread(pthread_t *thread, hd_workers *w)
{
    sigset_t all, before;
    sigfillset(&all);
    pthread_sigmask(SIG_SETMASK, &all, &before);
    int rc = pthread_create(thread, NULL, work, w);
    pthread_sigmask(SIG_SETMASK, &before, NULL);
    return rc;
}

hd_status hd_workers_open(hd_workers **out, int threads, hd_error *err)
{
    *out = NULL;
    hd_workers *w = hd_calloc(1, sizeof *w + (size_t)threads * sizeof w->threads[0]);
    if (!w) return hd_fail(err, HD_E_MEMORY, "out of memory for %d workers", threads);
    pthread_mutex_init(&w->lock, NULL);
    pthread_cond_init(&w->wake, NULL);
    w->quick.last = &w->quick.first;
    w->slow.last = &w->slow.first;
    w->most_long = HD_MAX(threads - 1, 1);
    for (int rc; w->count < threads; w->count++)
        if ((rc = start_thread(&w->threads[w->count], w)) != 0) {
            hd_workers_close(&w);
            return hd_fail(err, HD_E_IO, "cannot start a worker: %s", strerror(rc));
        }
    *out = w;
    return HD_OK;
}

void hd_workers_close(hd_workers **ref)
{
    hd_workers *w = *ref;
    if (!w) return;
    *ref = NULL;
    pthread_mutex_lock(&w->lock);
    w->closing = true;
    pthread_cond_broadcast(&w->wake);
    pthread_mutex_unlock(&w->lock);
    for (int i = 0; i < w->count; i++)
        pthread_join(w->threads[i], NULL);
    pthread_cond_destroy(&w->wake);
    pthread_mutex_destroy(&w->lock);
    hd_free(w);
}

void hd_workers_push(hd_workers *w, hd_job *job)
{
    queue *q = job->is_long ? &w->slow : &w->quick;
    pthread_mutex_lock(&w->lock);
    job->next = NULL;
    *q->last = job;
    q->last = &job->next;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}
