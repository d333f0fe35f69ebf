/* Workers: jobs in their order, long ones that leave a thread to the others, and all done when they close. */
#include <pthread.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "base/base.h"
#include "gateway/workers.h"

#define JOBS 20

typedef struct scene {
    pthread_mutex_t lock;
    pthread_cond_t changed;
    bool open; /* long jobs may go on */
    int long_running, long_done, quick_done;
    int order[JOBS]; /* of the quick ones */
} scene;

typedef struct test_job {
    hd_job job;
    scene *scene;
    int number;
} test_job;

static void run(hd_job *job)
{
    test_job *t = (test_job *)((char *)job - offsetof(test_job, job));
    scene *s = t->scene;
    pthread_mutex_lock(&s->lock);
    if (job->is_long) {
        s->long_running++;
        pthread_cond_broadcast(&s->changed);
        while (!s->open)
            pthread_cond_wait(&s->changed, &s->lock);
        s->long_running--;
        s->long_done++;
    } else {
        s->order[s->quick_done++] = t->number;
    }
    pthread_cond_broadcast(&s->changed);
    pthread_mutex_unlock(&s->lock);
}

static void prepare(scene *s, test_job jobs[JOBS], int long_ones)
{
    *s = (scene){.lock = PTHREAD_MUTEX_INITIALIZER, .changed = PTHREAD_COND_INITIALIZER};
    for (int i = 0; i < JOBS; i++)
        jobs[i] = (test_job){.job = {.run = run, .is_long = i < long_ones}, .scene = s, .number = i};
}

static void test_long_jobs_leave_a_thread(void **state)
{
    (void)state;
    const int long_ones = 5;
    scene s;
    test_job jobs[JOBS];
    hd_workers *w;
    prepare(&s, jobs, long_ones);
    assert_int_equal(hd_workers_open(&w, 3, NULL), HD_OK);
    for (int i = 0; i < long_ones; i++)
        hd_workers_push(w, &jobs[i].job);
    pthread_mutex_lock(&s.lock);
    while (s.long_running < 2)
        pthread_cond_wait(&s.changed, &s.lock);
    pthread_mutex_unlock(&s.lock);
    for (int i = long_ones; i < JOBS; i++)
        hd_workers_push(w, &jobs[i].job);
    pthread_mutex_lock(&s.lock);
    while (s.quick_done < JOBS - long_ones)
        pthread_cond_wait(&s.changed, &s.lock); /* for ever, if the long ones had taken all threads */
    assert_int_equal(s.long_running, 2);
    s.open = true;
    pthread_cond_broadcast(&s.changed);
    pthread_mutex_unlock(&s.lock);
    hd_workers_close(&w);
    assert_int_equal(s.long_done, long_ones);
    for (int i = 0; i < JOBS - long_ones; i++)
        assert_int_equal(s.order[i], long_ones + i); /* one thread was left: they came in their order */
}

/* One thread has to do both. */
static void test_one_thread(void **state)
{
    (void)state;
    scene s;
    test_job jobs[JOBS];
    hd_workers *w;
    prepare(&s, jobs, JOBS / 2);
    s.open = true;
    assert_int_equal(hd_workers_open(&w, 1, NULL), HD_OK);
    for (int i = 0; i < JOBS; i++)
        hd_workers_push(w, &jobs[i].job);
    hd_workers_close(&w);
    assert_null(w);
    assert_int_equal(s.long_done, JOBS / 2);
    assert_int_equal(s.quick_done, JOBS / 2);
}

/* A long job that had to wait gets the idle thread when one ends, also if that thread goes on with another. */
static void test_many_rounds(void **state)
{
    (void)state;
    for (int round = 0; round < 200; round++) {
        scene s;
        test_job jobs[JOBS];
        hd_workers *w;
        prepare(&s, jobs, 3);
        s.open = true;
        assert_int_equal(hd_workers_open(&w, 2, NULL), HD_OK);
        for (int i = JOBS - 1; i >= 0; i--)
            hd_workers_push(w, &jobs[i].job);
        pthread_mutex_lock(&s.lock);
        while (s.quick_done + s.long_done < JOBS)
            pthread_cond_wait(&s.changed, &s.lock);
        pthread_mutex_unlock(&s.lock);
        hd_workers_close(&w);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_long_jobs_leave_a_thread),
        cmocka_unit_test(test_one_thread),
        cmocka_unit_test(test_many_rounds),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
