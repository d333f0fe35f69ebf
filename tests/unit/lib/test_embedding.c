/* Hidden states: what the output matrix reads, the same alone and in a batch, from a session and from a scheduler. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/lib/scheduler_fixture.h"

enum { MAX_WIDTH = 512, TEXTS = 12 };

static tiny_model llama, deepseek;

static int64_t hidden_of(hd_engine *e, int64_t from, int64_t n, float *out)
{
    hd_session *s = session_of(e);
    hd_error err = {0};
    int64_t width;
    assert_null(hd_session_hidden(s, &width));
    must(hd_session_keep_hidden(s, &err), &err);
    assert_null(hd_session_hidden(s, &width)); /* no token yet */
    feed(s, ids + from, n);
    assert_true(width <= MAX_WIDTH);
    memcpy(out, hd_session_hidden(s, &width), (size_t)width * sizeof *out);
    hd_session_close(&s);
    return width;
}

/* logits = output * hidden, in double from the file's own float32 values. */
static void the_output_matrix_makes_logits_of_it(void **state)
{
    (void)state;
    float hidden[MAX_WIDTH], logits[TINY_VOCAB];
    hd_engine *e = open_with(&llama, 1, 16, 0);
    hd_engine_info info;
    hd_engine_get_info(e, &info);
    int64_t width = hidden_of(e, 0, 40, hidden);
    assert_int_equal(width, info.hidden);
    fresh_logits(e, ids, 40, logits);
    const float *output = tiny_find(&llama, "lm_head.weight")->data;
    for (int64_t i = 0; i < TINY_VOCAB; i++) {
        double sum = 0.0;
        for (int64_t j = 0; j < width; j++)
            sum += (double)output[i * width + j] * (double)hidden[j];
        assert_float_equal(sum, logits[i], 1e-4);
    }
    hd_engine_close(&e);
}

static void it_goes_with_the_token_that_it_belongs_to(void **state)
{
    (void)state;
    float want[MAX_WIDTH];
    uint8_t *data;
    size_t size;
    hd_error err = {0};
    hd_engine *e = open_with(&llama, 1, 16, 0);
    int64_t width = hidden_of(e, 0, 40, want);
    hd_session *s = session_of(e), *other = session_of(e), *pair[2] = {s, other};
    must(hd_session_keep_hidden(s, &err), &err);
    feed(s, ids, 39);
    feed(other, ids, 20);
    const int32_t next[2] = {ids[39], 7};
    must(step_each(e, pair, next, 2, &err), &err); /* beside another session */
    assert_memory_equal(hd_session_hidden(s, &width), want, (size_t)width * sizeof *want);
    assert_null(hd_session_hidden(other, &width));
    must(hd_session_snapshot(other, &data, &size, &err), &err);
    must(hd_session_truncate(s, 39, &err), &err);
    assert_null(hd_session_hidden(s, &width));
    feed(s, &ids[39], 1);
    assert_memory_equal(hd_session_hidden(s, &width), want, (size_t)width * sizeof *want);
    must(hd_session_restore(s, data, size, &err), &err); /* still kept, but of no token */
    assert_null(hd_session_hidden(s, &width));
    feed(s, ids, 1);
    assert_non_null(hd_session_hidden(s, &width));
    hd_bytes_free(data);
    hd_session_close(&s);
    hd_session_close(&other);
    hd_engine_close(&e);
}

/* ---- through a scheduler ---- */

typedef struct text {
    answer a; /* first: the other callbacks count on it */
    float values[MAX_WIDTH];
    int64_t width;
} text;

static void on_embedding(void *arg, const float *values, int64_t width)
{
    text *t = arg;
    if (t->width || t->a.done || width > MAX_WIDTH) abort();
    t->width = width;
    memcpy(t->values, values, (size_t)width * sizeof *values);
}

static int64_t words_of(int i)
{
    return 1 + i * 53 % 200;
}

static hd_request_options embedding(text *t, int i)
{
    return (hd_request_options){.prompt = ids + i * 3,
                                .prompt_count = words_of(i),
                                .embed = true,
                                .embedding = on_embedding,
                                .finish = on_finish,
                                .arg = t};
}

static void check_batch(const tiny_model *m)
{
    static text texts[TEXTS];
    static answer answers[TEXTS];
    float want[MAX_WIDTH];
    hd_scheduler_usage u;
    hd_engine *e = open_with(m, 2, 64, 0);
    hd_scheduler *s = scheduler_of(e, 8, 40, 0);
    for (int round = 0; round < 2; round++) {
        memset(texts, 0, sizeof texts);
        memset(answers, 0, sizeof answers);
        for (int i = 0; i < TEXTS; i++) { /* answers and embeddings side by side */
            hd_request_options o = embedding(&texts[i], i), p = greedy(&answers[i], i * 3, words_of(i), 8);
            ask(s, &texts[i].a, &o);
            ask(s, &answers[i], &p);
        }
        for (int i = 0; i < TEXTS; i++) {
            wait_for(&texts[i].a);
            wait_for(&answers[i]);
            hd_request_close(&texts[i].a.request);
            hd_request_close(&answers[i].request);
        }
    }
    hd_scheduler_get_usage(s, &u);
    assert_int_equal(u.answer_tokens, 2 * TEXTS * 8);
    hd_scheduler_close(&s);
    for (int i = 0; i < TEXTS; i++) {
        int64_t width = hidden_of(e, i * 3, words_of(i), want);
        assert_int_equal(texts[i].a.end.reason, HD_FINISH_STOP);
        assert_int_equal(texts[i].a.end.answer_tokens, 0);
        assert_int_equal(texts[i].a.end.prompt_tokens, words_of(i));
        assert_int_equal(texts[i].width, width);
        assert_memory_equal(texts[i].values, want, (size_t)width * sizeof *want);
    }
    hd_engine_close(&e);
}

static void requests_get_what_a_session_alone_gets(void **state)
{
    (void)state;
    check_batch(&llama);
    check_batch(&deepseek);
}

static void an_embedding_needs_its_callback_only(void **state)
{
    (void)state;
    hd_error err = {0};
    hd_request *r;
    text t = {.width = 0};
    hd_engine *e = open_with(&llama, 1, 16, 96);
    hd_scheduler *s = scheduler_of(e, 2, 0, 0);
    hd_request_options o = embedding(&t, 0);
    o.embedding = NULL;
    must_fail(hd_request_open(&r, s, &o, &err), HD_E_ARGUMENT, &err, "both callbacks");
    o = embedding(&t, 0);
    o.max_tokens = -1;
    must_fail(hd_request_open(&r, s, &o, &err), HD_E_ARGUMENT, &err, "max_tokens");
    o = embedding(&t, 0);
    o.prompt_count = 97;
    must_fail(hd_request_open(&r, s, &o, &err), HD_E_LIMIT, &err, "the cache holds 96");
    o.prompt_count = 96;
    ask(s, &t.a, &o);
    wait_for(&t.a);
    assert_int_equal(t.a.end.reason, HD_FINISH_STOP);
    hd_request_close(&t.a.request);
    hd_scheduler_close(&s);
    hd_engine_close(&e);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_output_matrix_makes_logits_of_it),
        cmocka_unit_test(it_goes_with_the_token_that_it_belongs_to),
        cmocka_unit_test(requests_get_what_a_session_alone_gets),
        cmocka_unit_test(an_embedding_needs_its_callback_only),
    };
    fill_ids();
    tiny_llama(&llama, 3);
    tiny_write(&llama);
    tiny_deepseek(&deepseek, 4);
    tiny_write(&deepseek);
    int failed = cmocka_run_group_tests_name("embedding", tests, NULL, NULL);
    tiny_free(&llama);
    tiny_free(&deepseek);
    return failed;
}
