/* test_scaled.c: releases in 8 bits (quantize/source.h, hd_source_add_scales): codes and scales are those of the
 * encoders, wherever runs are cut; which matrices get them; what config.json says. */
#include <sys/stat.h>

#include "quantize/convert.h"
#include "tensor/encode.h"
#include "tensor/quant.h"
#include "unit/quantize/tiny_gguf.h"

/* Two layers of which matrices have ragged blocks: 300 = 2 * 128 + 44. */
static void ragged_llama(tiny_model *m)
{
    tiny_llama(m, 5);
    tiny_set(m, "intermediate_size", json_integer(300));
    for (int l = 0; l < 2; l++) {
        static const char *const names[] = {"gate_proj", "up_proj", "down_proj"};
        for (int i = 0; i < 3; i++) {
            char name[TINY_NAME];
            snprintf(name, sizeof name, "model.layers.%d.mlp.%s.weight", l, names[i]);
            tiny_remove(m, name);
        }
        tiny_add_mlp(m, l, "mlp", 300);
    }
    tiny_write(m);
}

static char out[TINY_PATH + 16];

static void remove_folder(const char *path)
{
    char file[TINY_PATH + 300];
    DIR *dir = opendir(path);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        snprintf(file, sizeof file, "%s/%.255s", path, e->d_name);
        if (e->d_name[0] != '.') unlink(file);
    }
    if (dir) closedir(dir);
    rmdir(path);
}

static bool until(void *arg, uint64_t done, uint64_t all)
{
    uint64_t *left = arg;
    assert_true(done <= all);
    return (*left)-- > 0;
}

/* Converts to `out`; cancelled at the steps-th look at the progress. */
static hd_status convert(const char *from, hd_type codes, uint64_t steps, uint64_t split, hd_error *err)
{
    hd_checkpoint *ckpt;
    hd_source *source = NULL;
    hd_type types[512];
    hd_quant_options o = {.progress = until, .arg = &steps, .split = split, .stretch = 5000};
    hd_status status = hd_checkpoint_open(&ckpt, from, err);
    if (status != HD_OK) return status;
    status = hd_source_open_release(&source, ckpt, err);
    if (status == HD_OK) status = hd_source_add_scales(source, codes, err);
    if (status == HD_OK) {
        assert_true(hd_source_count(source) < HD_ARRAY_LEN(types));
        for (size_t i = 0; i < hd_source_count(source); i++)
            types[i] = hd_source_codes(source, i);
        assert_int_equal(hd_pool_open(&o.pool, 3, NULL), HD_OK);
        status = hd_convert_release(source, types, NULL, out, &o, err);
        hd_pool_close(&o.pool);
    }
    hd_source_close(&source);
    hd_checkpoint_close(&ckpt);
    return status;
}

static hd_checkpoint *converted(const char *from, hd_type codes)
{
    hd_checkpoint *ckpt;
    hd_error err = {0};
    remove_folder(out);
    if (convert(from, codes, UINT64_MAX, 0, &err) != HD_OK) fail_msg("%s", err.text);
    if (hd_checkpoint_open(&ckpt, out, &err) != HD_OK) fail_msg("%s", err.text);
    return ckpt;
}

static float *values_of(const hd_tensor *t)
{
    float *x = hd_alloc_array((size_t)hd_tensor_values(t), sizeof *x);
    assert_non_null(x);
    assert_true(hd_decode_row(t->type, t->data, x, hd_tensor_values(t)));
    return x;
}

/* The matrix as the encoders make it in one go. */
static void check_matrix(const hd_checkpoint *ckpt, const char *name, const float *x, int64_t rows, int64_t cols,
                         hd_type codes)
{
    char scale_name[TINY_NAME + 16];
    static uint8_t want[1 << 16];
    static float want_scales[1 << 10];
    bool fp8 = codes == HD_TYPE_F8_E4M3;
    int64_t high = fp8 ? (rows + 127) / 128 : rows, wide = fp8 ? (cols + 127) / 128 : 1;
    snprintf(scale_name, sizeof scale_name, "%s%s", name, fp8 ? "_scale_inv" : "_scale");
    const hd_tensor *t = hd_checkpoint_find(ckpt, name), *s = hd_checkpoint_find(ckpt, scale_name);
    if (!t || !s) fail_msg("%s or its scales are missing", name);
    assert_true(rows * cols <= (int64_t)sizeof want && high * wide <= (int64_t)HD_ARRAY_LEN(want_scales));
    if (fp8)
        hd_encode_f8_blocks(x, rows, cols, want, want_scales, wide);
    else
        hd_encode_i8_rows(x, rows, cols, (int8_t *)want, want_scales);
    assert_int_equal(t->type, codes);
    assert_int_equal(s->type, fp8 ? HD_TYPE_F32 : HD_TYPE_BF16);
    assert_true(t->dims == 2 && t->shape[0] == rows && t->shape[1] == cols);
    assert_true(s->dims == 2 && s->shape[0] == high && s->shape[1] == wide);
    assert_memory_equal(t->data, want, (size_t)(rows * cols));
    float *scales = values_of(s);
    assert_memory_equal(scales, want_scales, (size_t)(high * wide) * sizeof *scales);
    hd_free(scales);
}

static const hd_type both[] = {HD_TYPE_F8_E4M3, HD_TYPE_I8};

/* Every projection, and nothing else. */
static void check_release(tiny_model *m, size_t projections)
{
    for (size_t k = 0; k < HD_ARRAY_LEN(both); k++) {
        hd_checkpoint *ckpt = converted(m->folder, both[k]);
        size_t found = 0;
        for (size_t i = 0; i < m->count; i++) {
            const hd_tensor *from = &m->tensors[i];
            if (!from->data) continue;
            if (strstr(from->name, "_proj")) {
                check_matrix(ckpt, from->name, from->data, from->shape[0], from->shape[1], both[k]);
                found++;
                continue;
            }
            const hd_tensor *to = hd_checkpoint_find(ckpt, from->name);
            assert_non_null(to);
            assert_int_equal(to->type, HD_TYPE_F32);
            assert_memory_equal(to->data, from->data, from->bytes);
        }
        assert_int_equal(found, projections);
        hd_checkpoint_close(&ckpt);
    }
}

static void test_ragged_blocks(void **state)
{
    (void)state;
    tiny_model m;
    ragged_llama(&m);
    check_release(&m, 2 * 7);
    tiny_free(&m);
}

static void test_experts_and_routers(void **state)
{
    (void)state;
    tiny_model m;
    tiny_deepseek(&m, 6);
    tiny_write(&m);
    check_release(&m, 3 * 5 + 3 + 2 * (3 + 8 * 3));
    tiny_free(&m);
}

/* Stacked experts, and kv_b put together of its heads. */
static void test_from_gguf(void **state)
{
    (void)state;
    char path[TINY_PATH];
    for (int joint = 0; joint < 2; joint++) {
        tiny_gguf(path, joint);
        for (size_t k = 0; k < HD_ARRAY_LEN(both); k++) {
            hd_checkpoint *from, *to = converted(path, both[k]);
            hd_source *plain;
            assert_int_equal(hd_checkpoint_open(&from, path, NULL), HD_OK);
            assert_int_equal(hd_source_open_release(&plain, from, NULL), HD_OK);
            size_t scratch = hd_source_scratch(plain), found = 0;
            for (size_t i = 0; i < hd_source_count(plain); i++) {
                const hd_tensor *t = hd_source_tensor(plain, i);
                if (!strstr(t->name, "_proj")) continue;
                float *x = hd_alloc_array((size_t)hd_tensor_values(t) + scratch, sizeof *x);
                assert_non_null(x);
                hd_source_rows(plain, i, 0, t->shape[0], x, x + hd_tensor_values(t));
                check_matrix(to, t->name, x, t->shape[0], t->shape[1], both[k]);
                hd_free(x);
                found++;
            }
            assert_int_equal(found, 2 * 5 + 3 + 3 + 8 * 3);
            hd_source_close(&plain);
            hd_checkpoint_close(&from);
            hd_checkpoint_close(&to);
        }
        tiny_gguf_remove(path);
    }
}

static size_t read_weights(uint8_t *to, size_t most)
{
    char file[TINY_PATH + 64];
    snprintf(file, sizeof file, "%s/model.safetensors", out);
    FILE *f = fopen(file, "rb");
    assert_non_null(f);
    size_t size = fread(to, 1, most, f);
    fclose(f);
    assert_true(size > 1000 && size < most);
    return size;
}

static void test_a_cancelled_run_goes_on(void **state)
{
    (void)state;
    static uint8_t whole[1 << 20], resumed[1 << 20];
    tiny_model m;
    ragged_llama(&m);
    for (size_t k = 0; k < HD_ARRAY_LEN(both); k++) {
        hd_checkpoint *ckpt = converted(m.folder, both[k]);
        hd_error err = {0};
        hd_status status = HD_E_CANCELLED;
        hd_checkpoint_close(&ckpt);
        size_t size = read_weights(whole, sizeof whole);
        for (uint64_t steps = 0; status == HD_E_CANCELLED; steps += 3) {
            remove_folder(out);
            status = convert(m.folder, both[k], steps, 0, &err);
            if (status == HD_E_CANCELLED && convert(m.folder, both[k], UINT64_MAX, 0, &err) != HD_OK)
                fail_msg("%s", err.text);
            assert_int_equal(read_weights(resumed, sizeof resumed), size);
            assert_memory_equal(resumed, whole, size);
        }
        assert_int_equal(status, HD_OK);
    }
    tiny_free(&m);
}

static void test_shards_and_the_way_back(void **state)
{
    (void)state;
    tiny_model m;
    hd_error err = {0};
    ragged_llama(&m);
    for (size_t k = 0; k < HD_ARRAY_LEN(both); k++) {
        hd_checkpoint *ckpt;
        hd_source *plain;
        remove_folder(out);
        if (convert(m.folder, both[k], UINT64_MAX, 20000, &err) != HD_OK) fail_msg("%s", err.text);
        if (hd_checkpoint_open(&ckpt, out, &err) != HD_OK) fail_msg("%s", err.text);
        for (size_t i = 0; i < m.count; i++)
            if (m.tensors[i].data && strstr(m.tensors[i].name, "_proj"))
                check_matrix(ckpt, m.tensors[i].name, m.tensors[i].data, m.tensors[i].shape[0], m.tensors[i].shape[1],
                             both[k]);
        /* read again, its codes become numbers; the same codes over again are refused */
        if (hd_source_open_release(&plain, ckpt, &err) != HD_OK) fail_msg("%s", err.text);
        assert_int_equal(hd_source_count(plain), 2 * 9 + 3);
        assert_int_equal(hd_source_add_scales(plain, both[k], &err), HD_E_ARGUMENT);
        assert_non_null(strstr(err.text, "already"));
        hd_source_close(&plain);
        hd_checkpoint_close(&ckpt);
    }
    tiny_free(&m);
}

static void test_config(void **state)
{
    (void)state;
    tiny_model m;
    tiny_llama(&m, 8);
    tiny_write(&m);
    hd_checkpoint *ckpt = converted(m.folder, HD_TYPE_F8_E4M3);
    const json_t *q = json_object_get(hd_checkpoint_config(ckpt), "quantization_config");
    json_t *want = json_pack("{s:s, s:s, s:s, s:[i, i]}", "activation_scheme", "dynamic", "fmt", "e4m3", "quant_method",
                             "fp8", "weight_block_size", 128, 128);
    assert_true(json_equal(q, want));
    json_decref(want);
    hd_checkpoint_close(&ckpt);
    ckpt = converted(m.folder, HD_TYPE_I8);
    q = json_object_get(hd_checkpoint_config(ckpt), "quantization_config");
    const json_t *group = json_object_get(json_object_get(q, "config_groups"), "group_0");
    const json_t *weights = json_object_get(group, "weights");
    assert_string_equal(json_string_value(json_object_get(q, "format")), "int-quantized");
    assert_string_equal(json_string_value(json_object_get(weights, "strategy")), "channel");
    assert_int_equal(json_integer_value(json_object_get(weights, "num_bits")), 8);
    assert_int_equal(json_array_size(json_object_get(q, "ignore")), 1);
    hd_checkpoint_close(&ckpt);
    tiny_free(&m);
}

static void test_a_damaged_model(void **state)
{
    (void)state;
    tiny_model m;
    hd_error err = {0};
    tiny_llama(&m, 9);
    ((float *)(uintptr_t)tiny_find(&m, "model.layers.1.mlp.up_proj.weight")->data)[77] = NAN;
    tiny_write(&m);
    for (size_t k = 0; k < HD_ARRAY_LEN(both); k++) {
        char part[TINY_PATH + 32];
        remove_folder(out);
        assert_int_equal(convert(m.folder, both[k], UINT64_MAX, 0, &err), HD_E_FORMAT);
        assert_non_null(strstr(err.text, "model.layers.1.mlp.up_proj.weight"));
        assert_int_not_equal(access(out, F_OK), 0);
        snprintf(part, sizeof part, "%s.part", out);
        remove_folder(part);
    }
    tiny_free(&m);
}

static int name_folder(void **state)
{
    const char *tmp = getenv("TMPDIR");
    (void)state;
    snprintf(out, sizeof out, "%s/hadal-scaled-%d", tmp ? tmp : "/tmp", (int)getpid());
    return 0;
}

static int remove_output(void **state)
{
    (void)state;
    remove_folder(out);
    return 0;
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_ragged_blocks),
        cmocka_unit_test(test_experts_and_routers),
        cmocka_unit_test(test_from_gguf),
        cmocka_unit_test(test_a_cancelled_run_goes_on),
        cmocka_unit_test(test_shards_and_the_way_back),
        cmocka_unit_test(test_config),
        cmocka_unit_test(test_a_damaged_model),
    };
    return cmocka_run_group_tests(tests, name_folder, remove_output);
}
