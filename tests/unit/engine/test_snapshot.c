/* Snapshots: the format of docs/engine.md byte by byte, round trips, and every kind of damage refused. */
#include "unit/engine/core_fixture.h"

enum { HEADER = 32, N = 45, ROW = 16 * 4, STREAMS = 4, PAGE = STREAMS * 32 * ROW, LOGITS = TINY_VOCAB * 4 };

static tiny_model llama;
static int32_t ids[256];

static int make_model(void **state)
{
    (void)state;
    tiny_llama(&llama, 31);
    tiny_write(&llama);
    tiny_ids(ids, HD_ARRAY_LEN(ids), TINY_VOCAB, 32);
    return 0;
}

static int drop_model(void **state)
{
    (void)state;
    tiny_free(&llama);
    return 0;
}

typedef struct snapshot {
    uint8_t *data;
    size_t size;
} snapshot;

static snapshot snapshot_of(const hd_seq *s)
{
    snapshot shot;
    hd_error err = {0};
    must(hd_seq_snapshot(s, &shot.data, &shot.size, &err), &err);
    return shot;
}

static uint64_t u64_at(const uint8_t *p)
{
    uint64_t v = 0;
    for (int i = 7; i >= 0; i--)
        v = v << 8 | p[i];
    return v;
}

static void put_u64_at(uint8_t *p, uint64_t v)
{
    for (int i = 0; i < 8; i++)
        p[i] = (uint8_t)(v >> (8 * i));
}

/* As docs/engine.md says, for making damaged snapshots whose checksum is right. */
static void seal(uint8_t *data, size_t size)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i + 8 < size; i += 8) {
        h = (h ^ u64_at(data + i)) * 0x100000001b3u;
        h ^= h >> 29;
    }
    put_u64_at(data + size - 8, h);
}

static void the_format_is_as_documented(void **state)
{
    (void)state;
    hd_core *core = core_of(&llama, 64, 0);
    hd_seq *s = seq_of(core);
    seq_feed(s, ids, N);
    snapshot shot = snapshot_of(s);
    assert_int_equal(shot.size, HEADER + 46 * 4 + 2 * PAGE + LOGITS + 8); /* ids padded to 8 bytes */
    assert_memory_equal(shot.data, "HDSNAP1\0", 8);
    assert_int_equal(u64_at(shot.data + 8), core->fingerprint);
    assert_int_equal(u64_at(shot.data + 16), N);
    assert_int_equal(u64_at(shot.data + 24), 1);
    assert_memory_equal(shot.data + HEADER, ids, N * 4);
    const uint8_t *pages = shot.data + HEADER + 46 * 4;
    assert_memory_equal(pages, s->pages[0], PAGE);
    for (int stream = 0; stream < STREAMS; stream++) {
        const uint8_t *second = pages + PAGE + stream * 32 * ROW;
        assert_memory_equal(second, s->pages[1] + stream * 32 * ROW, 13 * ROW);
        for (int i = 13 * ROW; i < 32 * ROW; i++)
            assert_int_equal(second[i], 0);
    }
    assert_memory_equal(pages + 2 * PAGE, hd_seq_logits(s), LOGITS);
    uint64_t sum = u64_at(shot.data + shot.size - 8);
    seal(shot.data, shot.size);
    assert_int_equal(u64_at(shot.data + shot.size - 8), sum);
    hd_free(shot.data);
    hd_seq_close(&s);
    hd_core_close(&core);
}

static void a_restored_sequence_goes_on_the_same(void **state)
{
    (void)state;
    static const int64_t lengths[] = {0, 1, 32, 45, 64, 200};
    hd_error err = {0};
    for (size_t i = 0; i < HD_ARRAY_LEN(lengths); i++) {
        hd_core *core = core_of(&llama, 64, 0), *other = core_of(&llama, 16, 0); /* another engine of the same model */
        hd_seq *s = seq_of(core), *back = seq_of(other);
        if (lengths[i]) seq_feed(s, ids, lengths[i]);
        seq_feed(back, ids + 100, 77); /* is replaced */
        snapshot shot = snapshot_of(s);
        must(hd_seq_restore(back, shot.data, shot.size, &err), &err);
        assert_int_equal(hd_seq_length(back), lengths[i]);
        if (lengths[i]) {
            assert_memory_equal(hd_seq_tokens(back), ids, (size_t)lengths[i] * 4);
            assert_same_logits(hd_seq_logits(back), hd_seq_logits(s), TINY_VOCAB);
        } else
            assert_null(hd_seq_logits(back));
        assert_int_equal(other->pages.in_use, back->page_count);
        snapshot again = snapshot_of(back);
        assert_int_equal(again.size, shot.size);
        assert_memory_equal(again.data, shot.data, shot.size);
        seq_feed(s, ids + 200, 10);
        seq_feed(back, ids + 200, 10);
        assert_same_logits(hd_seq_logits(back), hd_seq_logits(s), TINY_VOCAB);
        hd_free(shot.data);
        hd_free(again.data);
        hd_seq_close(&s);
        hd_seq_close(&back);
        hd_core_close(&core);
        hd_core_close(&other);
    }
}

/* Behind a truncation there are no logits until the next feed, here and after a restore. */
static void missing_logits_stay_missing(void **state)
{
    (void)state;
    hd_core *core = core_of(&llama, 64, 0);
    hd_seq *s = seq_of(core), *back = seq_of(core);
    hd_error err = {0};
    seq_feed(s, ids, 40);
    must(hd_seq_truncate(s, 39, &err), &err);
    snapshot shot = snapshot_of(s);
    assert_int_equal(u64_at(shot.data + 24), 0);
    must(hd_seq_restore(back, shot.data, shot.size, &err), &err);
    assert_null(hd_seq_logits(back));
    seq_feed(s, ids, 1);
    seq_feed(back, ids, 1);
    assert_same_logits(hd_seq_logits(back), hd_seq_logits(s), TINY_VOCAB);
    hd_free(shot.data);
    hd_seq_close(&s);
    hd_seq_close(&back);
    hd_core_close(&core);
}

/* A reused page holds what somebody else left in it; a snapshot must not. */
static void nothing_of_others_is_in_a_snapshot(void **state)
{
    (void)state;
    hd_core *core = core_of(&llama, 64, 0);
    hd_seq *s = seq_of(core);
    seq_feed(s, ids, 3);
    snapshot clean = snapshot_of(s);
    hd_seq_close(&s);
    hd_seq *other = seq_of(core);
    seq_feed(other, ids + 50, 64);
    hd_seq_close(&other);
    s = seq_of(core);
    seq_feed(s, ids, 3);
    snapshot dirty = snapshot_of(s);
    assert_int_equal(dirty.size, clean.size);
    assert_memory_equal(dirty.data, clean.data, clean.size);
    hd_free(clean.data);
    hd_free(dirty.data);
    hd_seq_close(&s);
    hd_core_close(&core);
}

/* ---- refusals: the sequence stays what it was ---- */

typedef struct target {
    hd_core *core;
    hd_seq *seq;
    float logits[TINY_VOCAB];
} target;

static target make_target(void)
{
    target t = {.core = core_of(&llama, 64, 0)};
    t.seq = seq_of(t.core);
    seq_feed(t.seq, ids + 20, 33);
    memcpy(t.logits, hd_seq_logits(t.seq), sizeof t.logits);
    return t;
}

static void must_refuse(target *t, const uint8_t *data, size_t size, const char *words)
{
    hd_error err = {0};
    must_fail(hd_seq_restore(t->seq, data, size, &err), HD_E_FORMAT, &err, words);
    assert_int_equal(hd_seq_length(t->seq), 33);
    assert_memory_equal(hd_seq_tokens(t->seq), ids + 20, 33 * 4);
    assert_same_logits(hd_seq_logits(t->seq), t->logits, TINY_VOCAB);
    assert_int_equal(t->core->pages.in_use, 2);
}

static void drop_target(target *t)
{
    hd_seq_close(&t->seq);
    hd_core_close(&t->core);
}

static void every_damaged_byte_is_refused(void **state)
{
    (void)state;
    target t = make_target();
    hd_seq *s = seq_of(t.core);
    seq_feed(s, ids, 5);
    snapshot shot = snapshot_of(s);
    hd_seq_close(&s);
    for (size_t i = 0; i < shot.size; i++) {
        shot.data[i] ^= (uint8_t)(1u << (i % 8));
        must_refuse(&t, shot.data, shot.size, "snapshot");
        shot.data[i] ^= (uint8_t)(1u << (i % 8));
    }
    for (size_t size = 0; size < shot.size; size += size < 300 ? 1 : 97)
        must_refuse(&t, shot.data, size, "snapshot");
    must_refuse(&t, NULL, 0, "not a snapshot");
    uint8_t *longer = hd_calloc(shot.size + 8, 1);
    assert_non_null(longer);
    memcpy(longer, shot.data, shot.size);
    seal(longer, shot.size + 8);
    must_refuse(&t, longer, shot.size + 8, "size does not fit");
    hd_free(longer);
    hd_free(shot.data);
    drop_target(&t);
}

/* Damage that a right checksum covers. */
static void forged_snapshots_are_refused(void **state)
{
    (void)state;
    target t = make_target();
    hd_seq *s = seq_of(t.core);
    seq_feed(s, ids, 5);
    snapshot shot = snapshot_of(s);
    hd_seq_close(&s);
    static const struct {
        size_t at;
        uint64_t value;
        const char *words;
    } forged[] = {
        {0, 0x3250414e534448u, "not a snapshot of this version"}, /* HDSNAP2 */
        {8, 1, "made with another model"},
        {16, 7, "does not fit"},
        {16, 1025, "does not fit"},
        {16, UINT64_MAX, "does not fit"},
        {16, (uint64_t)1 << 62, "does not fit"},
        {24, 2, "does not fit"},
        {24, 0, "does not fit"},
        {HEADER, TINY_VOCAB, "token id 48, outside the vocabulary of 48"},
        {HEADER + 8, (uint64_t)0xffffffff << 32, "token id -1, outside"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(forged); i++) {
        uint64_t before = u64_at(shot.data + forged[i].at);
        put_u64_at(shot.data + forged[i].at, forged[i].value);
        seal(shot.data, shot.size);
        must_refuse(&t, shot.data, shot.size, forged[i].words);
        put_u64_at(shot.data + forged[i].at, before);
    }
    hd_free(shot.data);
    drop_target(&t);
}

static void logits_of_nothing_are_refused(void **state)
{
    (void)state;
    target t = make_target();
    uint8_t data[HEADER + LOGITS + 8] = "HDSNAP1";
    put_u64_at(data + 8, t.core->fingerprint);
    put_u64_at(data + 24, 1);
    seal(data, sizeof data);
    must_refuse(&t, data, sizeof data, "does not fit its 0 tokens");
    drop_target(&t);
}

/* Other weights, or the same ones under another configuration. */
static void snapshots_of_other_models_are_refused(void **state)
{
    (void)state;
    target t = make_target();
    static const char *const keys[] = {NULL, "rope_theta", "rms_norm_eps"};
    for (size_t i = 0; i < HD_ARRAY_LEN(keys); i++) {
        tiny_model m;
        tiny_llama(&m, keys[i] ? 31 : 99);
        if (keys[i]) tiny_set(&m, keys[i], json_real(i == 1 ? 20000.0 : 2e-5));
        tiny_write(&m);
        hd_core *core = core_of(&m, 64, 0);
        hd_seq *s = seq_of(core);
        seq_feed(s, ids, 5);
        snapshot shot = snapshot_of(s);
        must_refuse(&t, shot.data, shot.size, "made with another model");
        hd_free(shot.data);
        hd_seq_close(&s);
        hd_core_close(&core);
        tiny_free(&m);
    }
    drop_target(&t);
}

static void no_room_is_told(void **state)
{
    (void)state;
    hd_core *core = core_of(&llama, 64, 96); /* three pages */
    hd_seq *s = seq_of(core);
    hd_error err = {0};
    seq_feed(s, ids, 64);
    snapshot shot = snapshot_of(s);
    must_fail(hd_seq_restore(s, shot.data, shot.size, &err), HD_E_BUSY, &err, "the cache is full");
    assert_int_equal(hd_seq_length(s), 64);
    assert_int_equal(core->pages.in_use, 2);
    must(hd_seq_truncate(s, 32, &err), &err);
    must(hd_seq_restore(s, shot.data, shot.size, &err), &err);
    assert_int_equal(hd_seq_length(s), 64);
    assert_int_equal(core->pages.in_use, 2);
    hd_free(shot.data);
    hd_seq_close(&s);
    hd_core_close(&core);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_format_is_as_documented),
        cmocka_unit_test(a_restored_sequence_goes_on_the_same),
        cmocka_unit_test(missing_logits_stay_missing),
        cmocka_unit_test(nothing_of_others_is_in_a_snapshot),
        cmocka_unit_test(every_damaged_byte_is_refused),
        cmocka_unit_test(forged_snapshots_are_refused),
        cmocka_unit_test(logits_of_nothing_are_refused),
        cmocka_unit_test(snapshots_of_other_models_are_refused),
        cmocka_unit_test(no_room_is_told),
    };
    return cmocka_run_group_tests(tests, make_model, drop_model);
}
