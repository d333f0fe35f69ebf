/* Cached prefixes out and in: the same hits and answers afterwards, and nothing from bytes that are not right. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>

#include "unit/lib/prefix_bytes.h"
#include "unit/lib/scheduler_fixture.h"

enum { HEADER = 24, BEFORE_PAGE = 8 + 16 + 128, ANSWER = 10 };

static tiny_model llama, deepseek;

static void export_to(hd_scheduler *s, bytes *b)
{
    hd_error err = {0};
    *b = (bytes){.len = 0};
    must(hd_scheduler_export_prefixes(s, bytes_write, b, &err), &err);
}

static hd_status import_from(hd_scheduler *s, bytes *b, int64_t *pages, hd_error *err)
{
    b->pos = 0;
    return hd_scheduler_import_prefixes(s, bytes_read, b, pages, err);
}

static size_t record_bytes(hd_engine *e)
{
    hd_cache_usage u;
    hd_engine_get_cache(e, &u);
    return BEFORE_PAGE + u.page_bytes + 8;
}

/* Asks with this salt; returns how many tokens were cached. */
static int64_t cached_of(hd_scheduler *s, int64_t from, int64_t n, uint8_t salt, int32_t *out)
{
    answer a = {0};
    hd_request_options o = greedy(&a, from, n, ANSWER);
    o.salt[3] = salt;
    ask(s, &a, &o);
    wait_for(&a);
    assert_int_equal(a.end.reason, HD_FINISH_LENGTH);
    if (out) memcpy(out, a.got, ANSWER * sizeof *out);
    hd_request_close(&a.request);
    return a.end.cached_tokens;
}

static void what_was_cached_is_cached_again(void **state)
{
    (void)state;
    const tiny_model *models[] = {&llama, &deepseek};
    for (size_t m = 0; m < HD_ARRAY_LEN(models); m++)
        for (size_t piece = 0; piece < 8; piece += 7) {
            bytes b, again;
            int64_t pages;
            int32_t want[ANSWER], got[ANSWER];
            hd_error err = {0};
            hd_engine *e = open_with(models[m], 1, 64, 0);
            hd_scheduler *s = scheduler_of(e, 4, 0, 0);
            cached_of(s, 0, 200, 1, want);
            cached_of(s, 0, 130, 2, NULL);
            cached_of(s, 50, 100, 2, NULL);
            export_to(s, &b);
            hd_scheduler_close(&s);
            hd_engine_close(&e);
            assert_int_equal((b.len - HEADER - 8) % record_bytes(e = open_with(models[m], 1, 64, 0)), 0);
            assert_int_equal((b.len - HEADER - 8) / record_bytes(e), 6 + 4 + 3);
            s = scheduler_of(e, 4, 0, 0);
            b.piece = piece;
            must(import_from(s, &b, &pages, &err), &err);
            assert_int_equal(pages, 6 + 4 + 3);
            must(import_from(s, &b, &pages, &err), &err); /* all known */
            assert_int_equal(pages, 0);
            export_to(s, &again); /* in the same order */
            assert_int_equal(again.len, b.len);
            assert_memory_equal(again.data, b.data, b.len);
            assert_int_equal(cached_of(s, 0, 200, 1, got), 192);
            assert_memory_equal(got, want, sizeof want);
            assert_int_equal(cached_of(s, 0, 200, 2, got), 128);
            assert_memory_equal(got, want, sizeof want);
            assert_int_equal(cached_of(s, 50, 100, 2, NULL), 96);
            assert_int_equal(cached_of(s, 50, 100, 1, NULL), 0); /* not this tenant's */
            hd_scheduler_close(&s);
            hd_engine_close(&e);
            hd_free(b.data);
            hd_free(again.data);
        }
}

/* Those used last come first, and what does not fit is left. */
static void the_most_useful_come_first(void **state)
{
    (void)state;
    bytes b;
    int64_t pages;
    hd_error err = {0};
    hd_engine *e = open_with(&llama, 1, 64, 0);
    hd_scheduler *s = scheduler_of(e, 4, 0, 0);
    cached_of(s, 0, 70, 1, NULL);
    cached_of(s, 80, 70, 1, NULL);
    cached_of(s, 160, 70, 1, NULL);
    cached_of(s, 0, 70, 1, NULL); /* used again */
    export_to(s, &b);
    hd_scheduler_close(&s);
    s = scheduler_of(e, 4, 0, 4);
    must(import_from(s, &b, &pages, &err), &err);
    assert_int_equal(pages, 4);
    assert_int_equal(cached_of(s, 80, 64, 1, NULL), 0);
    hd_scheduler_close(&s);
    s = scheduler_of(e, 4, 0, 4);
    must(import_from(s, &b, &pages, &err), &err);
    assert_int_equal(cached_of(s, 0, 70, 1, NULL), 64);
    hd_scheduler_close(&s);
    hd_scheduler *none = scheduler_of(e, 4, 0, -1);
    must(import_from(none, &b, &pages, &err), &err);
    assert_int_equal(pages, 0);
    hd_free(b.data);
    export_to(none, &b);
    assert_int_equal(b.len, HEADER + 8);
    hd_scheduler_close(&none);
    hd_engine_close(&e);
    hd_free(b.data);
    hd_engine *small = open_with(&llama, 1, 64, 160); /* five pages */
    e = open_with(&llama, 1, 64, 0);
    s = scheduler_of(e, 4, 0, 0);
    cached_of(s, 0, 300, 1, NULL);
    export_to(s, &b);
    hd_scheduler_close(&s);
    s = scheduler_of(small, 4, 0, 0);
    must(import_from(s, &b, &pages, &err), &err);
    assert_int_equal(pages, 5);
    assert_int_equal(cached_of(s, 80, 70, 1, NULL), 0); /* room is made */
    hd_scheduler_close(&s);
    hd_engine_close(&small);
    hd_engine_close(&e);
    hd_free(b.data);
}

static void refuse(hd_scheduler *s, bytes *b, const char *words)
{
    hd_error err = {0};
    must_fail(import_from(s, b, NULL, &err), HD_E_FORMAT, &err, words);
}

static void bytes_that_are_not_right_are_refused(void **state)
{
    (void)state;
    bytes b;
    int64_t pages;
    hd_error err = {0};
    hd_engine *e = open_with(&llama, 1, 64, 0), *other = open_with(&deepseek, 1, 64, 0);
    size_t record = record_bytes(e);
    hd_scheduler *t = scheduler_of(e, 4, 0, 0), *u = scheduler_of(other, 4, 0, 0);
    cached_of(t, 0, 70, 1, NULL);
    export_to(t, &b);
    hd_scheduler_close(&t); /* an engine has one scheduler at a time */
    t = scheduler_of(e, 4, 0, 0);
    assert_int_equal(b.len, HEADER + 2 * record + 8);
    refuse(u, &b, "another model");
    for (size_t at = 0; at < b.len; at += at < HEADER + BEFORE_PAGE ? 1 : 97) { /* every change is seen */
        b.data[at] ^= 0x10;
        assert_int_equal(import_from(t, &b, NULL, &err), HD_E_FORMAT);
        b.data[at] ^= 0x10;
    }
    size_t whole = b.len;
    for (size_t len = 0; len < whole; len += len < HEADER + BEFORE_PAGE ? 1 : 97) {
        b.len = len;
        refuse(t, &b, "end in the middle");
    }
    b.len = whole;
    uint64_t parent = 2; /* itself */
    memcpy(b.data + HEADER + record, &parent, sizeof parent);
    bytes_sign(&b, HEADER + record, record);
    refuse(t, &b, "record 2 of the prefixes follows record 2");
    int32_t id = TINY_VOCAB;
    parent = 1;
    memcpy(b.data + HEADER + record, &parent, sizeof parent);
    memcpy(b.data + HEADER + record + 24, &id, sizeof id);
    bytes_sign(&b, HEADER + record, record);
    refuse(t, &b, "outside the vocabulary");
    hd_scheduler_close(&t);
    t = scheduler_of(e, 4, 0, 0);
    refuse(t, &b, "outside the vocabulary");
    assert_int_equal(cached_of(t, 0, 70, 1, NULL), 32);        /* what came before is there */
    memcpy(b.data + HEADER + record, b.data + HEADER, record); /* the same page twice, and once more in the cache */
    must(import_from(t, &b, &pages, &err), &err);
    assert_int_equal(pages, 0);
    hd_scheduler_close(&t);
    hd_scheduler_close(&u);
    hd_engine_close(&e);
    hd_engine_close(&other);
    hd_free(b.data);
}

/* ---- while requests run ---- */

typedef struct nosy {
    bytes b;
    hd_scheduler *s;
} nosy;

static hd_status write_nosy(void *arg, const void *data, size_t size, hd_error *err)
{
    nosy *n = arg;
    hd_error inner = {0};
    must_fail(hd_scheduler_export_prefixes(n->s, write_nosy, n, &inner), HD_E_BUSY, &inner, "already");
    return bytes_write(&n->b, data, size, err);
}

static hd_status write_nothing(void *arg, const void *data, size_t size, hd_error *err)
{
    (void)arg;
    (void)data;
    return hd_fail(err, HD_E_IO, "no space for %zu bytes", size);
}

static void transfers_and_requests_go_side_by_side(void **state)
{
    (void)state;
    enum { COUNT = 12 };
    static int32_t want[COUNT][MAX_ANSWER];
    static answer answers[COUNT];
    hd_error err = {0};
    hd_engine *e = open_with(&llama, 2, 32, 640);
    for (int i = 0; i < COUNT; i++)
        alone(e, i * 9, 40 + i * 7, 30, want[i]);
    hd_scheduler *s;
    const hd_scheduler_options so = {.batch = 6, .force_preempt_every = 3};
    must(hd_scheduler_open(&s, e, &so, &err), &err);
    memset(answers, 0, sizeof answers);
    for (int i = 0; i < COUNT; i++) {
        hd_request_options o = greedy(&answers[i], i * 9, 40 + i * 7, 30);
        ask(s, &answers[i], &o);
    }
    nosy n = {.s = s};
    for (int round = 0; round < 10; round++) {
        n.b.len = 0;
        must(hd_scheduler_export_prefixes(s, write_nosy, &n, &err), &err);
        must(import_from(s, &n.b, NULL, &err), &err);
    }
    must_fail(hd_scheduler_export_prefixes(s, write_nothing, NULL, &err), HD_E_IO, &err, "no space for 24 bytes");
    for (int i = 0; i < COUNT; i++) {
        wait_for(&answers[i]);
        assert_memory_equal(answers[i].got, want[i], 30 * sizeof(int32_t));
        hd_request_close(&answers[i].request);
    }
    hd_scheduler_close(&s);
    hd_engine_close(&e);
    hd_free(n.b.data);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(what_was_cached_is_cached_again),
        cmocka_unit_test(the_most_useful_come_first),
        cmocka_unit_test(bytes_that_are_not_right_are_refused),
        cmocka_unit_test(transfers_and_requests_go_side_by_side),
    };
    fill_ids();
    tiny_llama(&llama, 3);
    tiny_write(&llama);
    tiny_deepseek(&deepseek, 4);
    tiny_write(&deepseek);
    int failed = cmocka_run_group_tests_name("prefix_file", tests, NULL, NULL);
    tiny_free(&llama);
    tiny_free(&deepseek);
    return failed;
}
