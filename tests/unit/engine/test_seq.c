/* Sequences: which pages they hold and share, and what a step that fails leaves behind. */
#include "unit/engine/core_fixture.h"

static tiny_model llama;
static int32_t ids[512];

static int make_model(void **state)
{
    (void)state;
    tiny_llama(&llama, 21);
    tiny_write(&llama);
    tiny_ids(ids, HD_ARRAY_LEN(ids), TINY_VOCAB, 22);
    return 0;
}

static int drop_model(void **state)
{
    (void)state;
    tiny_free(&llama);
    return 0;
}

static void pages_follow_the_length(void **state)
{
    (void)state;
    hd_core *core = core_of(&llama, 8, 0);
    hd_seq *s = seq_of(core);
    hd_error err = {0};
    static const int64_t lengths[] = {1, 31, 32, 33, 64, 65, 200};
    for (size_t i = 0; i < HD_ARRAY_LEN(lengths); i++) {
        seq_feed(s, ids + s->length, lengths[i] - s->length);
        assert_int_equal(s->length, lengths[i]);
        assert_int_equal(s->page_count, (lengths[i] + 31) / 32);
        assert_int_equal(core->pages.in_use, s->page_count);
        assert_int_equal(hd_seq_cache_bytes(s), (uint64_t)s->page_count * core->pages.page_bytes);
    }
    must(hd_seq_truncate(s, 64, &err), &err);
    assert_int_equal(core->pages.in_use, 2);
    must(hd_seq_truncate(s, 33, &err), &err);
    assert_int_equal(core->pages.in_use, 2);
    must(hd_seq_truncate(s, 0, &err), &err);
    assert_int_equal(core->pages.in_use, 0);
    hd_seq_close(&s);
    hd_core_close(&core);
}

static void a_fork_shares_pages_until_they_change(void **state)
{
    (void)state;
    hd_core *core = core_of(&llama, 8, 0);
    hd_seq *a = seq_of(core), *b, *c;
    hd_error err = {0};
    seq_feed(a, ids, 70); /* two full pages and six rows */
    must(hd_seq_fork(&b, a, hd_seq_length(a), &err), &err);
    must(hd_seq_fork(&c, b, hd_seq_length(b), &err), &err);
    assert_int_equal(core->pages.in_use, 3);
    for (int i = 0; i < 3; i++)
        assert_true(a->pages[i] == b->pages[i] && b->pages[i] == c->pages[i]);
    seq_feed(b, ids, 1); /* copy on write: the last page only */
    assert_int_equal(core->pages.in_use, 4);
    assert_true(a->pages[0] == b->pages[0] && a->pages[1] == b->pages[1]);
    assert_true(a->pages[2] == c->pages[2] && b->pages[2] != a->pages[2]);
    assert_false(hd_page_is_shared(b->pages[2]));
    seq_feed(a, ids, 1);
    assert_int_equal(core->pages.in_use, 5);
    assert_false(hd_page_is_shared(c->pages[2])); /* the others have left it */
    const uint8_t *kept = c->pages[2];
    seq_feed(c, ids, 1);
    assert_ptr_equal(c->pages[2], kept); /* its only holder writes in place */
    must(hd_seq_truncate(c, 64, &err), &err);
    assert_int_equal(core->pages.in_use, 4);
    seq_feed(c, ids, 1); /* a new page: nothing to copy */
    assert_true(hd_page_is_shared(c->pages[1]) && !hd_page_is_shared(c->pages[2]));
    must(hd_seq_truncate(c, 40, &err), &err);
    seq_feed(c, ids, 1); /* into the middle of a shared page */
    assert_true(c->pages[1] != a->pages[1] && a->pages[1] == b->pages[1] && c->pages[0] == a->pages[0]);
    hd_seq_close(&a);
    assert_int_equal(core->pages.in_use, 2 + 2); /* b's three and c's own second; the first is common */
    hd_seq_close(&b);
    assert_int_equal(core->pages.in_use, 2);
    hd_seq_close(&c);
    assert_int_equal(core->pages.in_use, 0);
    hd_core_close(&core);
}

static void a_fork_of_nothing_is_empty(void **state)
{
    (void)state;
    hd_core *core = core_of(&llama, 8, 0);
    hd_seq *a = seq_of(core), *b;
    hd_error err = {0};
    must(hd_seq_fork(&b, a, hd_seq_length(a), &err), &err);
    assert_int_equal(hd_seq_length(b), 0);
    assert_null(hd_seq_logits(b));
    seq_feed(b, ids, 40);
    assert_int_equal(hd_seq_length(a), 0);
    hd_seq_close(&a);
    hd_seq_close(&b);
    hd_core_close(&core);
}

/* Too long, no memory, no room: the pages that were taken for it are given back, and others may have them. */
static void reserving_fails_whole(void **state)
{
    (void)state;
    hd_core *core = core_of(&llama, 8, 160); /* five pages */
    hd_seq *a = seq_of(core), *b = seq_of(core);
    hd_error err = {0};
    seq_feed(a, ids, 40);
    must_fail(hd_seq_reserve(b, 97, &err), HD_E_BUSY, &err, "hold its 5 pages of 32 tokens");
    assert_int_equal(b->page_count, 0);
    assert_int_equal(core->pages.in_use, 2);
    must(hd_seq_reserve(b, 96, &err), &err);
    assert_int_equal(b->page_count, 3);
    must_fail(hd_seq_reserve(a, 25, &err), HD_E_BUSY, &err, "the cache is full");
    hd_seq_trim(b);
    assert_int_equal(core->pages.in_use, 5); /* kept */
    must(hd_seq_truncate(b, 0, &err), &err);
    assert_int_equal(core->pages.in_use, 2);
    must_fail(hd_seq_reserve(a, 121, &err), HD_E_LIMIT, &err, "161 tokens does not fit");
    hd_alloc_fail_after(2); /* the array of tokens grows, that of pages does not */
    hd_status status = hd_seq_reserve(a, 100, &err);
    hd_alloc_fail_after(0);
    must_fail(status, HD_E_MEMORY, &err, "out of memory");
    assert_int_equal(a->page_count, 2);
    seq_feed(a, ids + 40, 120);
    hd_seq_close(&a);
    hd_seq_close(&b);
    hd_core_close(&core);
}

static void steps_check_their_feeds(void **state)
{
    (void)state;
    hd_core *core = core_of(&llama, 8, 0);
    hd_seq *a = seq_of(core), *b = seq_of(core);
    hd_error err = {0};
    int refused;
    seq_feed(a, ids, 5);
    float kept[TINY_VOCAB];
    memcpy(kept, hd_seq_logits(a), sizeof kept);
    hd_seq_feed bad[] = {{.seq = a, .ids = ids, .n = 1}, {.seq = b, .ids = ids, .n = -1}};
    must_fail(hd_core_step(core, bad, 2, &refused, &err), HD_E_ARGUMENT, &err, "1 to 8 tokens");
    bad[1].n = 0;
    must_fail(hd_core_step(core, bad, 2, &refused, &err), HD_E_ARGUMENT, &err, "1 to 8 tokens");
    bad[1].n = 8; /* nine together */
    must_fail(hd_core_step(core, bad, 2, &refused, &err), HD_E_ARGUMENT, &err, "1 to 8 tokens");
    bad[1].n = INT64_MAX;
    must_fail(hd_core_step(core, bad, 2, &refused, &err), HD_E_ARGUMENT, &err, "1 to 8 tokens");
    bad[1] = bad[0];
    must_fail(hd_core_step(core, bad, 2, &refused, &err), HD_E_ARGUMENT, &err, "each of them once");
    assert_int_equal(refused, 1);
    const int32_t outside[] = {TINY_VOCAB};
    hd_seq_feed unknown = {.seq = a, .ids = outside, .n = 1};
    must_fail(hd_core_step(core, &unknown, 1, &refused, &err), HD_E_ARGUMENT, &err, "token id 48 is outside");
    assert_int_equal(refused, -1); /* the model found it */
    assert_int_equal(hd_seq_length(a), 5);
    assert_int_equal(hd_seq_length(b), 0);
    assert_int_equal(core->pages.in_use, 1);
    assert_false(a->in_step || b->in_step);
    assert_same_logits(hd_seq_logits(a), kept, TINY_VOCAB);
    hd_seq_close(&a);
    hd_seq_close(&b);
    hd_core_close(&core);
}

/* Feeds of several lengths, some wanting the logits of all their tokens, in one pass. */
static void mixed_feeds_in_one_step(void **state)
{
    (void)state;
    static float rows[9 * TINY_VOCAB], want[9 * TINY_VOCAB];
    hd_core *core = core_of(&llama, 16, 0);
    hd_seq *a = seq_of(core), *b = seq_of(core), *c = seq_of(core), *alone = seq_of(core);
    hd_error err = {0};
    int refused;
    seq_feed(a, ids, 40);
    hd_seq_feed feeds[] = {{.seq = b, .ids = ids, .n = 9, .logits = rows},
                           {.seq = a, .ids = ids + 40, .n = 1},
                           {.seq = c, .ids = ids + 100, .n = 6}};
    must(hd_core_step(core, feeds, 3, &refused, &err), &err);
    hd_seq_feed one = {.seq = alone, .ids = ids, .n = 9, .logits = want};
    must(hd_core_step(core, &one, 1, &refused, &err), &err);
    assert_same_logits(rows, want, HD_ARRAY_LEN(rows));
    assert_same_logits(hd_seq_logits(b), want + 8 * TINY_VOCAB, TINY_VOCAB);
    must(hd_seq_truncate(alone, 0, &err), &err);
    seq_feed(alone, ids + 100, 6);
    assert_same_logits(hd_seq_logits(c), hd_seq_logits(alone), TINY_VOCAB);
    must(hd_seq_truncate(alone, 0, &err), &err);
    seq_feed(alone, ids, 41);
    assert_same_logits(hd_seq_logits(a), hd_seq_logits(alone), TINY_VOCAB);
    hd_seq_close(&a);
    hd_seq_close(&b);
    hd_seq_close(&c);
    hd_seq_close(&alone);
    hd_core_close(&core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(pages_follow_the_length),    cmocka_unit_test(a_fork_shares_pages_until_they_change),
        cmocka_unit_test(a_fork_of_nothing_is_empty), cmocka_unit_test(reserving_fails_whole),
        cmocka_unit_test(steps_check_their_feeds),    cmocka_unit_test(mixed_feeds_in_one_step),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
