/* Adapters in the other layout and back: the same bits, the same scales, rows of rotated heads in the base's order. */
#include "base/base.h"
#include "quantize/adapter_convert.h"
#include "unit/engine_fixture.h"
#include "unit/tiny_adapter.h"

static const hd_model_config llama = {.arch = HD_ARCH_LLAMA,
                                      .layers = 2,
                                      .hidden = 32,
                                      .heads = 4,
                                      .kv_heads = 2,
                                      .head_dim = 8,
                                      .ffn = 40,
                                      .vocab = TINY_VOCAB};

static hd_adapter *opened(const char *path)
{
    hd_adapter *a;
    hd_error err = {0};
    must(hd_adapter_open(&a, path, &err), &err);
    must(hd_adapter_check(a, &llama, &err), &err);
    return a;
}

typedef struct places {
    char gguf[TINY_PATH + 64], back[TINY_PATH + 64];
} places;

/* There and back, inside the adapter's own folder. */
static void convert_both_ways(const tiny_model *m, places *p)
{
    hd_error err = {0};
    tiny_path(m, "adapter.gguf", p->gguf);
    tiny_path(m, "back", p->back);
    hd_adapter *a = opened(m->folder);
    hd_adapter_target to = {.base = &llama, .base_name = "base", .name = "name", .path = p->gguf};
    must(hd_adapter_to_gguf(a, &to, &err), &err);
    hd_adapter_close(&a);
    a = opened(p->gguf);
    to.path = p->back;
    must(hd_adapter_to_peft(a, &to, &err), &err);
    hd_adapter_close(&a);
}

static void clean(tiny_model *m, const places *p)
{
    char path[2 * TINY_PATH];
    snprintf(path, sizeof path, "%s/adapter_config.json", p->back);
    unlink(path);
    snprintf(path, sizeof path, "%s/adapter_model.safetensors", p->back);
    unlink(path);
    rmdir(p->back);
    tiny_free(m);
}

static void values_come_back_bit_for_bit(void **state)
{
    (void)state;
    tiny_model m;
    places p;
    tiny_adapter(&m, 11);
    tiny_adapt_llama(&m, 4);
    tiny_adapter_write(&m);
    convert_both_ways(&m, &p);
    hd_adapter *a = opened(m.folder), *b = opened(p.back), *g = opened(p.gguf);
    hd_adapter_info info, other;
    hd_adapter_get_info(a, &info);
    hd_adapter_get_info(b, &other);
    assert_int_equal(info.count, other.count);
    assert_string_equal(other.base, "base");
    const hd_adapter_part *x = hd_adapter_parts(a), *y = hd_adapter_parts(b), *z = hd_adapter_parts(g);
    for (size_t i = 0; i < info.count; i++) {
        assert_true(x[i].scale == y[i].scale && x[i].scale == z[i].scale);
        assert_memory_equal(x[i].a->data, y[i].a->data, x[i].a->bytes);
        assert_memory_equal(x[i].b->data, y[i].b->data, x[i].b->bytes);
        bool rotated = x[i].id == HD_NAME_q_weight || x[i].id == HD_NAME_k_weight;
        assert_true((memcmp(x[i].b->data, z[i].b->data, x[i].b->bytes) == 0) == !rotated);
    }
    hd_adapter_close(&a);
    hd_adapter_close(&b);
    hd_adapter_close(&g);
    clean(&m, &p);
}

/* Different alphas and ranks: GGUF has one alpha, the rest goes into B; what comes out does the same. */
static void patterns_keep_their_effect(void **state)
{
    (void)state;
    tiny_model m;
    places p;
    float a_values[2][9 * 32], b_values[2][32 * 9];
    hd_error err = {0};
    tiny_adapter(&m, 12);
    tiny_adapt(&m, 0, "self_attn.q_proj", 32, 32, 4);
    tiny_adapt(&m, 0, "self_attn.v_proj", 16, 32, 9);
    tiny_adapt(&m, 1, "self_attn.k_proj", 16, 32, 4);
    tiny_set(&m, "use_rslora", json_true());
    tiny_set(&m, "rank_pattern", json_pack("{s:i}", "v_proj", 9));
    tiny_set(&m, "alpha_pattern", json_pack("{s:i}", "k_proj", 32));
    tiny_adapter_write(&m);
    convert_both_ways(&m, &p);
    hd_adapter *list[2] = {opened(m.folder), opened(p.back)};
    for (int i = 0; i < 3; i++) {
        const hd_adapter_part *part = NULL;
        for (int k = 0; k < 2; k++) {
            part = &hd_adapter_parts(list[k])[i];
            must(hd_adapter_values(list[k], part, &llama, HD_FORMAT_GGUF, 1.0f, a_values[k], b_values[k], &err), &err);
        }
        assert_memory_equal(a_values[0], a_values[1], (size_t)(part->rank * part->cols) * sizeof(float));
        for (int64_t j = 0; j < part->rows * part->rank; j++)
            assert_float_equal(b_values[0][j], b_values[1][j], 1e-6);
    }
    hd_adapter_close(&list[0]);
    hd_adapter_close(&list[1]);
    clean(&m, &p);
}

static void what_is_there_is_not_replaced(void **state)
{
    (void)state;
    tiny_model m;
    hd_error err = {0};
    char path[TINY_PATH + 64];
    tiny_adapter(&m, 13);
    tiny_adapt_llama(&m, 4);
    tiny_adapter_write(&m);
    tiny_path(&m, "adapter.gguf", path);
    assert_int_equal(json_dump_file(m.config, path, 0), 0);
    hd_adapter *a = opened(m.folder);
    const hd_adapter_target to = {.base = &llama, .name = "name", .path = path};
    must_fail(hd_adapter_to_gguf(a, &to, &err), HD_E_IO, &err, "adapter.gguf");
    hd_adapter_close(&a);
    tiny_free(&m);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(values_come_back_bit_for_bit),
        cmocka_unit_test(patterns_keep_their_effect),
        cmocka_unit_test(what_is_there_is_not_replaced),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
