/* Merging: rows of a source with adapters are W + scale * B A, in every layout; nothing else changes. */
#include <math.h>

#include "base/base.h"
#include "kernels/kernels.h"
#include "quantize/sensitivity.h"
#include "unit/engine_fixture.h"
#include "unit/tiny_adapter.h"

static const float *values_of(const tiny_model *m, const char *name)
{
    return tiny_find((tiny_model *)(uintptr_t)m, name)->data;
}

/* Row of tensor `name` of a source. */
static void source_row(const hd_source *s, const char *name, int64_t row, float *out)
{
    float scratch[256];
    size_t i = 0;
    assert_true(hd_source_scratch(s) <= HD_ARRAY_LEN(scratch));
    while (i < hd_source_count(s) && strcmp(hd_source_tensor(s, i)->name, name) != 0)
        i++;
    if (i == hd_source_count(s)) fail_msg("the source has no %s", name);
    hd_source_rows(s, i, row, 1, out, scratch);
}

typedef struct fixture {
    tiny_model model, adapter;
    hd_checkpoint *ckpt;
    hd_adapter *opened;
} fixture;

static void open_fixture(fixture *f, bool deepseek)
{
    hd_error err = {0};
    if (deepseek)
        tiny_deepseek(&f->model, 21);
    else
        tiny_llama(&f->model, 21);
    tiny_write(&f->model);
    tiny_adapter(&f->adapter, 22);
    if (deepseek) {
        tiny_adapt_deepseek(&f->adapter, 4);
        tiny_adapt(&f->adapter, 1, "self_attn.kv_b_proj", 28, 12, 4);
    } else
        tiny_adapt_llama(&f->adapter, 4);
    tiny_adapter_write(&f->adapter);
    must(hd_checkpoint_open(&f->ckpt, f->model.folder, &err), &err);
    must(hd_adapter_open(&f->opened, f->adapter.folder, &err), &err);
}

static void close_fixture(fixture *f)
{
    hd_adapter_close(&f->opened);
    hd_checkpoint_close(&f->ckpt);
    tiny_free(&f->model);
    tiny_free(&f->adapter);
}

/* W + 2 * scale * B A of "model.layers.<layer>.<name>", row `row`. */
static void want_row(const fixture *f, int layer, const char *name, int64_t row, int64_t cols, double scale, float *out)
{
    char full[TINY_NAME];
    snprintf(full, sizeof full, "model.layers.%d.%.40s.weight", layer, name);
    const float *w = values_of(&f->model, full);
    snprintf(full, sizeof full, "base_model.model.model.layers.%d.%.30s.lora_A.weight", layer, name);
    const float *a = values_of(&f->adapter, full);
    snprintf(full, sizeof full, "base_model.model.model.layers.%d.%.30s.lora_B.weight", layer, name);
    const float *b = values_of(&f->adapter, full);
    for (int64_t c = 0; c < cols; c++) {
        double sum = 0;
        for (int j = 0; j < 4; j++)
            sum += (double)b[row * 4 + j] * (double)a[j * cols + c];
        out[c] = (float)((double)w[row * cols + c] + 2.0 * scale * sum);
    }
}

static void assert_near(const float *a, const float *b, int64_t n)
{
    for (int64_t i = 0; i < n; i++)
        if (!(fabsf(a[i] - b[i]) <= 2e-6f)) fail_msg("value %lld: %.9g and %.9g", (long long)i, a[i], b[i]);
}

static void a_release_is_merged(void **state)
{
    (void)state;
    fixture f;
    hd_source *s;
    hd_error err = {0};
    float row[64], want[64];
    open_fixture(&f, false);
    must(hd_source_open_release(&s, f.ckpt, &err), &err);
    must(hd_source_merge(s, f.opened, 0.5f, &err), &err);
    must(hd_source_merge(s, f.opened, 0.25f, &err), &err); /* and again: they add up */
    source_row(s, "model.layers.1.self_attn.q_proj.weight", 5, row);
    want_row(&f, 1, "self_attn.q_proj", 5, 32, 0.75, want);
    assert_near(row, want, 32);
    source_row(s, "model.layers.0.mlp.down_proj.weight", 31, row);
    want_row(&f, 0, "mlp.down_proj", 31, 40, 0.75, want);
    assert_near(row, want, 40);
    source_row(s, "lm_head.weight", 7, row);
    assert_memory_equal(row, values_of(&f.model, "lm_head.weight") + 7 * 32, 32 * sizeof(float));
    hd_source_close(&s);
    close_fixture(&f);
}

/* Rows of heads are reordered on the way to GGUF: the delta goes with them. */
static void rotated_rows_take_their_delta_along(void **state)
{
    (void)state;
    fixture f;
    hd_source *s;
    hd_error err = {0};
    float row[64], want[64];
    open_fixture(&f, false);
    must(hd_source_open_gguf(&s, f.ckpt, NULL, "tiny", &err), &err);
    must(hd_source_merge(s, f.opened, 1.0f, &err), &err);
    source_row(s, "blk.0.attn_k.weight", 9, row); /* row 1 of head 1 in GGUF: its row 4 in the release */
    want_row(&f, 0, "self_attn.k_proj", 12, 32, 1, want);
    assert_near(row, want, 32);
    source_row(s, "blk.0.attn_v.weight", 9, row);
    want_row(&f, 0, "self_attn.v_proj", 9, 32, 1, want);
    assert_near(row, want, 32);
    hd_source_close(&s);
    close_fixture(&f);
}

/* kv_b is split and its keys transposed in GGUF. */
static void latent_heads_take_their_delta_along(void **state)
{
    (void)state;
    fixture f;
    hd_source *s;
    hd_error err = {0};
    float row[64], want[64];
    open_fixture(&f, true);
    must(hd_source_open_gguf(&s, f.ckpt, NULL, "tiny", &err), &err);
    must(hd_source_merge(s, f.opened, 1.0f, &err), &err);
    source_row(s, "blk.1.attn_v_b.weight", 6 + 2, row); /* head 1, value 2 */
    want_row(&f, 1, "self_attn.kv_b_proj", 14 + 8 + 2, 12, 1, want);
    assert_near(row, want, 12);
    source_row(s, "blk.1.attn_k_b.weight", 12 + 3, row); /* head 1, latent 3: column 3 of rows 14 .. 21 */
    for (int i = 0; i < 8; i++) {
        want_row(&f, 1, "self_attn.kv_b_proj", 14 + i, 12, 1, want);
        assert_near(&row[i], &want[3], 1);
    }
    source_row(s, "blk.2.ffn_down_shexp.weight", 3, row);
    want_row(&f, 2, "mlp.shared_experts.down_proj", 3, 16, 1, want);
    assert_near(row, want, 16);
    hd_source_close(&s);
    close_fixture(&f);
}

static void another_base_is_refused(void **state)
{
    (void)state;
    fixture llama, deepseek;
    hd_source *s;
    hd_error err = {0};
    open_fixture(&llama, false);
    open_fixture(&deepseek, true);
    must(hd_source_open_release(&s, llama.ckpt, &err), &err);
    must_fail(hd_source_merge(s, deepseek.opened, 1.0f, &err), HD_E_ARGUMENT, &err, "is it its base?");
    hd_source_close(&s);
    close_fixture(&llama);
    close_fixture(&deepseek);
}

/* Sensitivities find matrices by their bytes in the file; those that are put together are not skipped but named. */
static void what_is_put_together_has_no_measured_cost(void **state)
{
    (void)state;
    fixture f;
    hd_source *s;
    hd_error err = {0};
    hd_sensitivity report;
    hd_sensitivity_options o = {.threads = 1, .window = 64};
    static hd_choices choices[64];
    int classes[64];
    hd_type probe[64];
    double cost[64];
    open_fixture(&f, false);
    must(hd_kernels_cpu(&o.backend, HD_CPU_REFERENCE, &err), &err);
    must(hd_source_open_gguf(&s, f.ckpt, NULL, "tiny", &err), &err);
    assert_true(hd_source_count(s) < HD_ARRAY_LEN(classes));
    for (size_t i = 0; i < hd_source_count(s); i++)
        probe[i] = HD_TYPE_Q8_0;
    hd_sensitivity_classes(classes, &report, s);
    must_fail(hd_sensitivity_measure(cost, &report, classes, s, choices, probe, &o, &err), HD_E_UNSUPPORTED, &err,
              "tensor 'blk.0.attn_q.weight' is not in the file as it is");
    hd_source_close(&s);
    close_fixture(&f);
}

/* A scale that takes finite values beyond float32 is told as that, not as a damaged model. */
static void a_huge_scale_is_refused(void **state)
{
    (void)state;
    fixture f;
    hd_source *s;
    hd_error err = {0};
    open_fixture(&f, false);
    must(hd_source_open_release(&s, f.ckpt, &err), &err);
    assert_false(hd_source_is_merged(s));
    must_fail(hd_source_merge(s, f.opened, 3e38f, &err), HD_E_LIMIT, &err, "lora_B.weight': its values times");
    hd_source_close(&s);
    must(hd_source_open_release(&s, f.ckpt, &err), &err);
    must(hd_source_merge(s, f.opened, 1.0f, &err), &err);
    assert_true(hd_source_is_merged(s));
    hd_source_close(&s);
    close_fixture(&f);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(a_release_is_merged),
        cmocka_unit_test(rotated_rows_take_their_delta_along),
        cmocka_unit_test(latent_heads_take_their_delta_along),
        cmocka_unit_test(another_base_is_refused),
        cmocka_unit_test(what_is_put_together_has_no_measured_cost),
        cmocka_unit_test(a_huge_scale_is_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
