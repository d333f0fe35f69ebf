/* Adapters of a service: bound in the background when their base comes back, held apart from all other requests; loads
 * and unloads that meet; the metrics page meanwhile.  Meant for TSan, too. */
#include <pthread.h>
#include <stdatomic.h>
#include <unistd.h>

#include "base/base.h"
#include "gateway/adapters.h"
#include "gateway/gateway_internal.h"
#include "unit/engine_fixture.h"
#include "unit/tiny_adapter.h"

enum { WAIT_MS = 20000 };

/* A gateway's models over one tiny base "m", with adapters that lie in folders of their own. */
typedef struct service {
    tiny_model base, one, two;
    hd_gateway gateway; /* what the metrics page reads of it */
    hd_models *models;
    hd_adapters *adapters;
} service;

/* ---- a loader that waits until it may go on ---- */

static pthread_mutex_t gate_lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t gate_changed = PTHREAD_COND_INITIALIZER;
static bool gate_shut;
static int gate_waiting;
static atomic_int loads;

static void set_gate(bool shut)
{
    pthread_mutex_lock(&gate_lock);
    gate_shut = shut;
    pthread_cond_broadcast(&gate_changed);
    pthread_mutex_unlock(&gate_lock);
}

/* Until so many threads stand before the gate. */
static void wait_at_gate(int count)
{
    pthread_mutex_lock(&gate_lock);
    while (gate_waiting != count)
        pthread_cond_wait(&gate_changed, &gate_lock);
    pthread_mutex_unlock(&gate_lock);
}

static hd_status slow_loader(hd_lora **out, hd_engine *engine, const char *path, double scale, const char *folder,
                             hd_error *err)
{
    pthread_mutex_lock(&gate_lock);
    gate_waiting++;
    pthread_cond_broadcast(&gate_changed);
    while (gate_shut)
        pthread_cond_wait(&gate_changed, &gate_lock);
    gate_waiting--;
    pthread_cond_broadcast(&gate_changed);
    pthread_mutex_unlock(&gate_lock);
    atomic_fetch_add(&loads, 1);
    return hd_lora_open_within(out, engine, path, scale, folder, err);
}

/* ---- the service ---- */

static void open_service(service *s)
{
    hd_error err = {0};
    memset(s, 0, sizeof *s);
    atomic_store(&loads, 0);
    set_gate(false);
    tiny_llama(&s->base, 71);
    tiny_write(&s->base);
    tiny_model *list[] = {&s->one, &s->two};
    for (size_t i = 0; i < HD_ARRAY_LEN(list); i++) {
        tiny_adapter(list[i], 72 + i);
        tiny_adapt_llama(list[i], 4);
        tiny_adapter_write(list[i]);
    }
    s->gateway.options = (hd_gateway_options){.engine = {.cpu = "reference", .threads = 1, .lora_rank = 4}};
    must(hd_workers_open(&s->gateway.workers, 2, &err), &err);
    must(hd_models_open(&s->gateway.models, &s->gateway.options, s->gateway.workers, &err), &err);
    s->models = s->gateway.models;
    s->adapters = hd_models_adapters(s->models);
    hd_adapters_set_loader(s->adapters, slow_loader);
    must(hd_models_add(s->models, "m", s->base.folder, &err), &err);
}

static void close_service(service *s)
{
    set_gate(false);
    hd_workers_close(&s->gateway.workers);
    hd_models_close(&s->gateway.models);
    tiny_free(&s->base);
    tiny_free(&s->one);
    tiny_free(&s->two);
}

static hd_status add(service *s, const char *name, const tiny_model *adapter, bool now, hd_error *err)
{
    const hd_adapter_wish wish = {.name = name, .path = adapter->folder, .scale = 1.0};
    return hd_models_add_lora(s->models, "m", &wish, now, err);
}

static hd_str text(const char *t)
{
    return (hd_str){t, strlen(t)};
}

/* ---- a request, as the router makes its way ---- */

typedef struct asker {
    hd_job job;
    service *s;
    const char *adapter;
    pthread_mutex_t lock;
    pthread_cond_t over;
    bool done;
    hd_status status;
    hd_error err;
} asker;

static void finish(asker *q, hd_status status)
{
    pthread_mutex_lock(&q->lock);
    q->status = status;
    q->done = true;
    pthread_cond_broadcast(&q->over);
    pthread_mutex_unlock(&q->lock);
}

static void ask(hd_job *job)
{
    asker *q = (asker *)((char *)job - offsetof(asker, job));
    hd_served *model;
    hd_lora *lora = NULL;
    hd_status status = hd_models_use(q->s->models, text("m"), job, &model, &q->err);
    if (status == HD_OK && !model) return; /* parked */
    if (status == HD_OK && q->adapter) {
        status = hd_adapters_take(q->s->adapters, model, text(q->adapter), job, &lora, &q->err);
        if (status == HD_OK && !lora) {
            hd_models_release(model);
            return;
        }
    }
    hd_lora_close(&lora);
    if (model) hd_models_release(model);
    finish(q, status);
}

static void begin_asking(asker *q, service *s, const char *adapter)
{
    *q = (asker){.job.run = ask, .s = s, .adapter = adapter};
    pthread_mutex_init(&q->lock, NULL);
    pthread_cond_init(&q->over, NULL);
    hd_workers_push(s->gateway.workers, &q->job);
}

static bool is_done(asker *q)
{
    pthread_mutex_lock(&q->lock);
    bool done = q->done;
    pthread_mutex_unlock(&q->lock);
    return done;
}

/* Its end, which comes within WAIT_MS. */
static hd_status answered(asker *q)
{
    struct timespec until;
    clock_gettime(CLOCK_REALTIME, &until);
    until.tv_sec += WAIT_MS / 1000;
    int rc = 0;
    pthread_mutex_lock(&q->lock);
    while (!q->done && rc == 0)
        rc = pthread_cond_timedwait(&q->over, &q->lock, &until);
    bool done = q->done;
    pthread_mutex_unlock(&q->lock);
    if (!done) fail_msg("no answer to a request for '%s'", q->adapter ? q->adapter : "the model");
    pthread_cond_destroy(&q->over);
    pthread_mutex_destroy(&q->lock);
    return q->status;
}

/* ---- states, as /v1/models shows them ---- */

typedef struct search {
    const char *name;
    hd_model_state state;
    bool found;
} search;

static void find_state(void *arg, const hd_model_view *view)
{
    search *f = arg;
    if (strcmp(view->name, f->name) != 0) return;
    f->state = view->state;
    f->found = true;
}

static hd_model_state state_of(service *s, const char *name)
{
    search f = {.name = name};
    hd_models_list(s->models, find_state, &f);
    assert_true(f.found);
    return f.state;
}

/* ---- tests ---- */

static void nobody_else_waits_for_an_adapter_that_comes_back(void **state)
{
    (void)state;
    service s;
    asker a, b, c, other, plain;
    hd_error err = {0};
    open_service(&s);
    must(add(&s, "one", &s.one, true, &err), &err);
    must(add(&s, "two", &s.two, true, &err), &err);
    assert_int_equal(state_of(&s, "one"), HD_MODEL_READY);
    must(hd_models_unload(s.models, "m", &err), &err);
    assert_int_equal(state_of(&s, "one"), HD_MODEL_UNLOADED);
    begin_asking(&other, &s, "two"); /* brings the base back, and that adapter */
    must(answered(&other), &other.err);
    set_gate(true);
    begin_asking(&a, &s, "one");
    begin_asking(&b, &s, "one"); /* more of them than there are workers */
    begin_asking(&c, &s, "one");
    wait_at_gate(1);
    assert_int_equal(state_of(&s, "one"), HD_MODEL_LOADING); /* the list does not wait */
    begin_asking(&other, &s, "two");                         /* nor do others */
    must(answered(&other), &other.err);
    begin_asking(&plain, &s, NULL);
    must(answered(&plain), &plain.err);
    assert_false(is_done(&a) || is_done(&b) || is_done(&c));
    set_gate(false);
    must(answered(&a), &a.err);
    must(answered(&b), &b.err);
    must(answered(&c), &c.err);
    assert_int_equal(atomic_load(&loads), 4); /* each once, and once again */
    assert_int_equal(state_of(&s, "one"), HD_MODEL_READY);
    close_service(&s);
}

static void removed_while_it_comes_back(void **state)
{
    (void)state;
    service s;
    asker a;
    hd_error err = {0};
    open_service(&s);
    must(add(&s, "one", &s.one, false, &err), &err);
    set_gate(true);
    begin_asking(&a, &s, "one");
    wait_at_gate(1);
    must(hd_adapters_remove(s.adapters, "one", &err), &err);
    assert_int_equal(answered(&a), HD_E_NOT_FOUND);  /* at once, not when the file has been read */
    must(add(&s, "one", &s.two, false, &err), &err); /* the name is free */
    set_gate(false);
    begin_asking(&a, &s, "one");
    must(answered(&a), &a.err);
    assert_int_equal(atomic_load(&loads), 2);
    close_service(&s);
}

static void a_failure_is_told_and_tried_again_with_the_base(void **state)
{
    (void)state;
    service s;
    asker a;
    hd_error err = {0};
    open_service(&s);
    tiny_free(&s.one); /* the file is gone */
    must(add(&s, "one", &s.one, false, &err), &err);
    for (int i = 0; i < 2; i++) {
        begin_asking(&a, &s, "one");
        assert_int_equal(answered(&a), HD_E_MODEL_LOST);
        assert_non_null(strstr(a.err.text, "the adapter 'one' could not be loaded"));
    }
    assert_int_equal(atomic_load(&loads), 1); /* not for each request */
    assert_int_equal(state_of(&s, "one"), HD_MODEL_FAILED);
    must(hd_models_unload(s.models, "m", &err), &err);
    tiny_adapter(&s.one, 75);
    tiny_adapt_llama(&s.one, 4);
    must(hd_adapters_remove(s.adapters, "one", &err), &err); /* its folder has another name now */
    tiny_adapter_write(&s.one);
    must(add(&s, "one", &s.one, false, &err), &err);
    begin_asking(&a, &s, "one");
    must(answered(&a), &a.err);
    close_service(&s);
}

/* Closing waits for a load that is under way. */
static void closing_in_the_middle_of_a_load(void **state)
{
    (void)state;
    service s;
    asker a;
    hd_error err = {0};
    open_service(&s);
    must(add(&s, "one", &s.one, false, &err), &err);
    set_gate(true);
    begin_asking(&a, &s, "one");
    wait_at_gate(1);
    must(hd_adapters_remove(s.adapters, "one", &err), &err);
    assert_int_equal(answered(&a), HD_E_NOT_FOUND);
    close_service(&s); /* opens the gate */
}

/* ---- loads beside unloads ---- */

static atomic_bool over;

static void *keep_unloading(void *arg)
{
    service *s = arg;
    hd_error err;
    while (!atomic_load(&over))
        must(hd_models_unload(s->models, "m", &err), &err);
    return NULL;
}

/* Figures and lists, as a monitor asks for them. */
static void *keep_looking(void *arg)
{
    service *s = arg;
    hd_error err;
    while (!atomic_load(&over)) {
        hd_buf page;
        hd_buf_init(&page, (size_t)8 << 20);
        must(hd_metrics_write(&page, &s->gateway, &err), &err);
        assert_non_null(strstr(page.data, "hadal:lora_adapters"));
        assert_non_null(strstr(page.data, "vllm:lora_requests_info{max_lora=\"16\""));
        hd_buf_free(&page);
        (void)state_of(s, "m");
        usleep(100);
    }
    return NULL;
}

/* "Loaded" means that somebody looked at the adapter, whoever unloads its base meanwhile. */
static void a_load_beside_unloads_has_looked(void **state)
{
    (void)state;
    enum { ROUNDS = 40 };
    service s;
    pthread_t unloading, looking;
    asker a;
    hd_error err = {0};
    open_service(&s);
    atomic_store(&over, false);
    assert_int_equal(pthread_create(&unloading, NULL, keep_unloading, &s), 0);
    assert_int_equal(pthread_create(&looking, NULL, keep_looking, &s), 0);
    for (int i = 0; i < ROUNDS; i++) {
        must(add(&s, "one", &s.one, true, &err), &err);
        assert_true(atomic_load(&loads) >= 1);
        atomic_store(&loads, 0);
        begin_asking(&a, &s, "one");
        must(answered(&a), &a.err);
        must(hd_adapters_remove(s.adapters, "one", &err), &err);
        atomic_store(&loads, 0);
    }
    atomic_store(&over, true);
    pthread_join(unloading, NULL);
    pthread_join(looking, NULL);
    close_service(&s);
}

int main(void)
{
    hd_log_set_level(HD_LOG_ERROR);
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(nobody_else_waits_for_an_adapter_that_comes_back),
        cmocka_unit_test(removed_while_it_comes_back),
        cmocka_unit_test(a_failure_is_told_and_tried_again_with_the_base),
        cmocka_unit_test(closing_in_the_middle_of_a_load),
        cmocka_unit_test(a_load_beside_unloads_has_looked),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
