/* gateway/workers.c: a queue of jobs and the threads that take them. */
#include "gateway/workers.h"

#include <pthread.h>
#include <signal.h>
#include <string.h>

#include "base/base.h"

struct hd_workers {
    pthread_mutex_t lock;
    pthread_cond_t wake;
    hd_job *first, **last;
    bool closing;
    int count;
    pthread_t threads[];
};

static hd_job *take(hd_workers *w)
{
    pthread_mutex_lock(&w->lock);
    while (!w->first && !w->closing)
        pthread_cond_wait(&w->wake, &w->lock);
    hd_job *job = w->first;
    if (job) w->first = job->next;
    if (!w->first) w->last = &w->first;
    pthread_mutex_unlock(&w->lock);
    return job;
}

static void *work(void *arg)
{
    hd_workers *w = arg;
    for (hd_job *job = take(w); job; job = take(w))
        job->run(job);
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
    w->last = &w->first;
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
    pthread_mutex_lock(&w->lock);
    job->next = NULL;
    *w->last = job;
    w->last = &job->next;
    pthread_cond_signal(&w->wake);
    pthread_mutex_unlock(&w->lock);
}
