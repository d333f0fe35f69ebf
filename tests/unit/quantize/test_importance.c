/* test_importance.c: quantize/importance.h: what is gathered from tiny models is what the plainest count gives: dense
 * layers, experts, MLA in both forms, joint and split. */
#include "quantize/importance.h"

#include "engine/engine.h"
#include "unit/quantize/recorder.h"
#include "unit/quantize/tiny_gguf.h"

enum { IDS = 320 };

static int32_t ids[IDS];

static hd_importance_options options_of(int threads, int64_t window, int32_t first)
{
    hd_importance_options o = {.threads = threads, .window = window, .first = first};
    hd_error err;
    must(hd_kernels_cpu(&o.backend, HD_CPU_REFERENCE, &err), &err);
    return o;
}

static hd_imatrix *gather(const char *path, int64_t n, const hd_importance_options *o)
{
    hd_imatrix *m;
    hd_error err = {0};
    must(hd_importance_gather(&m, path, ids, n, o, &err), &err);
    return m;
}

/* The same windows through the recorder.  The core stays open: its checkpoint has the addresses. */
static hd_core *record_pass(const char *path, int64_t n, int64_t window, int32_t first)
{
    hd_core *core;
    hd_seq *seq;
    hd_error err = {0};
    int refused;
    int32_t copy[IDS];
    static float logits[IDS * TINY_VOCAB]; /* asked for, so that the matrix that gives them meets every token */
    const hd_core_options o = {.backend = recorder(), .threads = 1, .context = window, .chunk = window};
    must(hd_core_open(&core, path, &o, &err), &err);
    for (char name[96]; latent_layers < 3; latent_layers++) { /* of tiny_deepseek */
        snprintf(name, sizeof name, "model.layers.%d.self_attn.kv_b_proj.weight", (int)latent_layers);
        const hd_tensor *t = hd_checkpoint_find(hd_core_checkpoint(core), name);
        if (!t) break;
        latent_of[latent_layers] = (const uint8_t *)t->data + 1; /* no matrix begins there */
    }
    must(hd_seq_open(&seq, core, &err), &err);
    for (int64_t at = 0; at + window <= n; at += window) {
        memcpy(copy, ids + at, (size_t)window * sizeof *ids);
        if (first >= 0) copy[0] = first;
        must(hd_seq_truncate(seq, 0, &err), &err);
        const hd_seq_feed feed = {.seq = seq, .ids = copy, .n = window, .logits = logits};
        must(hd_core_step(core, &feed, 1, &refused, &err), &err);
    }
    hd_seq_close(&seq);
    return core;
}

static void check_row(const hd_imatrix_entry *e, size_t row, const record *r)
{
    if (e->counts[row] != (float)r->count)
        fail_msg("%s: row %zu has %g inputs, wanted %g", e->name, row, (double)e->counts[row], r->count);
    for (size_t c = 0; c < e->cols; c++) {
        double got = (double)e->sums[row * e->cols + c], want = r->sums[c];
        if (!(fabs(got - want) <= 1e-3 * want + 1e-6))
            fail_msg("%s: row %zu column %zu is %.6g, wanted %.6g", e->name, row, c, got, want);
    }
}

/* Matrices that are tensors of their own and met something: an expert that no token was routed to has no entry. */
static size_t tensors_met(const hd_core *core)
{
    size_t met = latent_layers;
    for (size_t i = 0; i < hd_checkpoint_tensor_count(hd_core_checkpoint(core)); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(hd_core_checkpoint(core), i);
        met += record_of(t->data)->count > 0;
    }
    return met;
}

/* Every entry is what was recorded; `rows` are all that there must be, 0: tensors_met. */
static void check_all(const hd_imatrix *m, const hd_core *core, size_t rows)
{
    size_t seen = 0;
    for (size_t i = 0; i < m->count; i++) {
        const hd_imatrix_entry *e = m->entries[i];
        const hd_tensor *t = hd_checkpoint_find(hd_core_checkpoint(core), e->name);
        assert_non_null(t);
        bool joint = strstr(e->name, "kv_b_proj");
        for (size_t r = 0; r < e->rows; r++, seen++) {
            const uint8_t *at = (const uint8_t *)t->data + (joint ? 1 : r * (t->bytes / e->rows));
            check_row(e, r, record_of(at));
        }
    }
    assert_int_equal(seen, rows ? rows : tensors_met(core));
}

static void compare(const char *path, int64_t n, int64_t window, int32_t first, size_t rows)
{
    hd_importance_options o = options_of(2, window, first);
    hd_imatrix *m = gather(path, n, &o);
    assert_int_equal(m->chunk_count, n / window);
    assert_int_equal(m->chunk_size, window);
    hd_core *core = record_pass(path, n, window, first);
    check_all(m, core, rows);
    hd_core_close(&core);
    hd_imatrix_close(&m);
}

static void test_dense(void **state)
{
    (void)state;
    tiny_model m;
    tiny_llama(&m, 3);
    tiny_write(&m);
    compare(m.folder, 70, 20, -1, 2 * 7 + 1); /* what is left of the text is not read */
    compare(m.folder, 70, 20, 5, 2 * 7 + 1);
    compare(m.folder, 19, 19, -1, 2 * 7 + 1);
    tiny_free(&m);
}

/* Experts of separate tensors, and a joint kv_b. */
static void test_experts(void **state)
{
    (void)state;
    tiny_model m;
    tiny_deepseek(&m, 4);
    tiny_write(&m);
    compare(m.folder, 80, 40, -1, 0);
    compare(m.folder, IDS, 150, 2, 0);
    tiny_free(&m);
}

/* Experts and heads that lie in one tensor. */
static void test_gguf(void **state)
{
    (void)state;
    char path[TINY_PATH];
    tiny_gguf(path, false);
    size_t rows = 2 * (4 + 3 + 2 * 4) + 1 + 3 * 8 + 1;
    compare(path, 80, 40, -1, rows);
    compare(path, IDS, 150, -1, rows); /* long spans, which the plain pass decompresses */
    tiny_gguf_remove(path);
    tiny_gguf(path, true);
    hd_importance_options o = options_of(1, 40, -1);
    hd_imatrix *m = gather(path, 80, &o);
    const hd_imatrix_entry *joint = hd_imatrix_find(m, "blk.1.ffn_gate_up_exps.weight"), *down;
    down = hd_imatrix_find(m, "blk.1.ffn_down_exps.weight");
    assert_true(joint && down && joint->rows == 8 && joint->cols == 64);
    for (size_t e = 0; e < 8; e++) /* its two halves meet one input */
        assert_true(joint->counts[e] == down->counts[e]);
    hd_imatrix_close(&m);
    tiny_gguf_remove(path);
}

static void test_threads_and_chunks(void **state)
{
    (void)state;
    tiny_model t;
    tiny_deepseek(&t, 9);
    tiny_write(&t);
    hd_importance_options one = options_of(1, 60, -1), three = options_of(3, 60, -1);
    hd_imatrix *a = gather(t.folder, 120, &one), *b = gather(t.folder, 120, &three);
    assert_int_equal(a->count, b->count);
    for (size_t i = 0; i < a->count; i++) {
        assert_string_equal(a->entries[i]->name, b->entries[i]->name);
        assert_memory_equal(a->entries[i]->sums, b->entries[i]->sums,
                            a->entries[i]->rows * a->entries[i]->cols * sizeof(float));
    }
    hd_imatrix_close(&a);
    hd_imatrix_close(&b);
    tiny_free(&t);
}

static bool stop_at(void *arg, int64_t done, int64_t all)
{
    return all == 100 && done < *(const int64_t *)arg;
}

static void test_what_goes_wrong(void **state)
{
    (void)state;
    tiny_model t;
    hd_imatrix *m;
    hd_error err = {0};
    int64_t until = 50;
    tiny_llama(&t, 9);
    tiny_write(&t);
    hd_importance_options o = options_of(1, 25, -1);
    must_fail(hd_importance_gather(&m, t.folder, ids, 0, &o, &err), HD_E_ARGUMENT, &err, "no text");
    must_fail(hd_importance_gather(&m, "/no/such", ids, 100, &o, &err), HD_E_NOT_FOUND, &err, "/no/such");
    int32_t before = ids[30];
    ids[30] = TINY_VOCAB;
    must_fail(hd_importance_gather(&m, t.folder, ids, 100, &o, &err), HD_E_ARGUMENT, &err, "vocabulary");
    ids[30] = before;
    o.first = TINY_VOCAB;
    must_fail(hd_importance_gather(&m, t.folder, ids, 100, &o, &err), HD_E_ARGUMENT, &err, "vocabulary");
    o.first = -1;
    o.progress = stop_at;
    o.arg = &until;
    must_fail(hd_importance_gather(&m, t.folder, ids, 110, &o, &err), HD_E_CANCELLED, &err, "interrupted");
    assert_null(m);
    o.progress = NULL;
    for (uint64_t n = 1; n < 600; n += 3) {
        hd_alloc_fail_after(n);
        hd_status status = hd_importance_gather(&m, t.folder, ids, 50, &o, &err);
        hd_alloc_fail_after(0);
        assert_true(status == HD_OK || status == HD_E_MEMORY);
        assert_int_equal(status == HD_OK, m != NULL);
        hd_imatrix_close(&m);
        if (status == HD_OK) break;
    }
    tiny_free(&t);
}

static int make_ids(void **state)
{
    (void)state;
    tiny_ids(ids, IDS, TINY_VOCAB, 11);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_dense),
        cmocka_unit_test(test_experts),
        cmocka_unit_test(test_gguf),
        cmocka_unit_test(test_threads_and_chunks),
        cmocka_unit_test(test_what_goes_wrong),
    };
    return cmocka_run_group_tests(tests, make_ids, NULL);
}
