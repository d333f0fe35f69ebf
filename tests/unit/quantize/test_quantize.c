/* test_quantize.c: quantize/quantize.h: recipes by name and shape; runs that are cancelled go on to the same file. */
#include <dirent.h>
#include <fcntl.h>
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <time.h>
#include <unistd.h>

#include <cmocka.h>

#include "quantize/quantize.h"
#include "tensor/quant.h"

static char folder[] = "/tmp/hadal-quantize-XXXXXX", original[96], output[96], part[128];

#define LAYERS 8
#define ROWS 8
#define TENSORS_MAX (8 * LAYERS + 4)

static hd_tensor tensors[TENSORS_MAX];
static char names[TENSORS_MAX][64];
static size_t count;
static float numbers[64 * 1024 * 5];

static void add(const char *name, int layer, int64_t rows, int64_t cols)
{
    hd_tensor *t = &tensors[count];
    if (layer < 0)
        snprintf(names[count], sizeof names[0], "%s", name);
    else
        snprintf(names[count], sizeof names[0], "blk.%d.%s", layer, name);
    *t = (hd_tensor){.name = names[count], .type = HD_TYPE_F32, .dims = rows ? 2 : 1, .shape = {rows, cols, 1, 1}};
    if (!rows) t->shape[0] = cols, t->shape[1] = 1;
    t->bytes = (size_t)(HD_MAX(rows, 1) * cols) * 4;
    t->data = numbers;
    count++;
}

static const hd_meta metas[] = {
    {.key = {"general.architecture", 20}, .type = HD_META_STRING, .string = {"llama", 5}},
    {.key = {"general.file_type", 17}, .type = HD_META_U32, .data = (const uint8_t *)"\x01\0\0"},
    {.key = {"split.count", 11}, .type = HD_META_U16, .data = (const uint8_t *)"\0"},
};

static void write_original(void)
{
    hd_file_writer *w;
    unlink(original);
    assert_int_equal(hd_gguf_writer_open(&w, original, metas, HD_ARRAY_LEN(metas), tensors, count, false, NULL), HD_OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(hd_file_writer_put(w, tensors[i].data, tensors[i].bytes, NULL), HD_OK);
    assert_int_equal(hd_file_writer_finish(w, NULL), HD_OK);
    hd_file_writer_close(&w);
}

static int make_original(void **state)
{
    (void)state;
    if (!mkdtemp(folder)) return -1;
    snprintf(original, sizeof original, "%s/original.gguf", folder);
    snprintf(output, sizeof output, "%s/output.gguf", folder);
    snprintf(part, sizeof part, "%s.part", output);
    for (size_t i = 0; i < HD_ARRAY_LEN(numbers); i++)
        numbers[i] = 0.02f * sinf((float)i * 1.7f) * (1.0f + cosf((float)(i / 32)));
    add("token_embd.weight", -1, 1024 * 5, 64); /* several stretches, see quantize_to */
    add("output.weight", -1, ROWS, 512);
    for (int l = 0; l < LAYERS; l++) {
        add("attn_norm.weight", l, 0, 512);
        add("attn_q.weight", l, ROWS, 512);
        add("attn_v.weight", l, ROWS, 512);
        add("ffn_gate_inp.weight", l, ROWS, 512);
        add("ffn_down.weight", l, ROWS, 96); /* no whole blocks of 256 */
        add("odd.weight", l, ROWS, 40);      /* nor of 32 */
    }
    write_original();
    return 0;
}

static int remove_all(void **state)
{
    (void)state;
    unlink(original);
    unlink(output);
    unlink(part);
    return rmdir(folder);
}

static hd_checkpoint *open_file(const char *path)
{
    hd_checkpoint *c;
    hd_error err;
    if (hd_checkpoint_open(&c, path, &err) != HD_OK) fail_msg("%s", err.text);
    return c;
}

/* The type that a mix gives a tensor of the original. */
static hd_type type_of(const char *mix, const char *name)
{
    hd_type types[TENSORS_MAX], found = HD_TYPE_COUNT;
    hd_checkpoint *c = open_file(original);
    hd_quant_types(types, hd_checkpoint_tensor(c, 0), count, hd_quant_mix_find(mix), false);
    for (size_t i = 0; i < count; i++)
        if (strcmp(hd_checkpoint_tensor(c, i)->name, name) == 0) found = types[i];
    hd_checkpoint_close(&c);
    return found;
}

static void test_recipes(void **state)
{
    (void)state;
    assert_null(hd_quant_mix_find("Q4"));
    assert_ptr_equal(hd_quant_mix_find("q4_k"), hd_quant_mix_find("Q4_K_M"));
    assert_int_equal(type_of("Q4_0", "blk.0.attn_q.weight"), HD_TYPE_Q4_0);
    assert_int_equal(type_of("Q4_0", "output.weight"), HD_TYPE_Q6_K);
    assert_int_equal(type_of("Q4_K_S", "output.weight"), HD_TYPE_Q6_K);
    assert_int_equal(type_of("Q4_K_M", "blk.3.attn_q.weight"), HD_TYPE_Q4_K);
    assert_int_equal(type_of("Q4_K_M", "blk.0.attn_v.weight"), HD_TYPE_Q6_K); /* the first eighth */
    assert_int_equal(type_of("Q4_K_M", "blk.1.attn_v.weight"), HD_TYPE_Q4_K);
    assert_int_equal(type_of("Q4_K_S", "blk.5.attn_v.weight"), HD_TYPE_Q4_K);
    assert_int_equal(type_of("Q3_K_M", "blk.0.attn_v.weight"), HD_TYPE_Q5_K);
    /* what stays, and what does not fit */
    assert_int_equal(type_of("Q4_K_M", "blk.0.attn_norm.weight"), HD_TYPE_F32);
    assert_int_equal(type_of("Q4_K_M", "blk.0.ffn_gate_inp.weight"), HD_TYPE_F32);
    assert_int_equal(type_of("Q4_K_M", "blk.1.ffn_down.weight"), HD_TYPE_Q5_0);
    assert_int_equal(type_of("Q4_K_M", "blk.0.ffn_down.weight"), HD_TYPE_Q8_0);
    assert_int_equal(type_of("Q2_K", "token_embd.weight"), HD_TYPE_IQ4_NL);
    assert_int_equal(type_of("Q8_0", "blk.0.odd.weight"), HD_TYPE_F16);
    assert_int_equal(type_of("BF16", "blk.0.odd.weight"), HD_TYPE_BF16);
}

static bool cancel_after(void *arg, uint64_t done, uint64_t all)
{
    (void)all;
    return done < *(uint64_t *)arg;
}

static uint64_t split_at; /* for quantize_to; 0: one file */

/* As if it had been written an hour ago. */
static void make_old(const char *path)
{
    struct timespec times[2] = {{.tv_nsec = UTIME_OMIT}, {.tv_sec = time(NULL) - 3600}};
    assert_int_equal(utimensat(AT_FDCWD, path, times, 0), 0);
}

/* A file of the folder whose name has `what` in it. */
static const char *find_part(const char *what, char path[128])
{
    bool found = false;
    DIR *dir = opendir(folder);
    assert_non_null(dir);
    for (struct dirent *e; !found && (e = readdir(dir));)
        if ((found = strstr(e->d_name, what) != NULL)) snprintf(path, 128, "%s/%.60s", folder, e->d_name);
    closedir(dir);
    return found ? path : NULL;
}

static hd_status quantize_to(const char *mix, int threads, uint64_t until, hd_error *err)
{
    hd_type types[TENSORS_MAX];
    hd_checkpoint *c = open_file(original);
    hd_source *source;
    hd_quant_options options = {.progress = cancel_after, .arg = &until, .stretch = 1 << 16, .split = split_at};
    assert_int_equal(hd_pool_open(&options.pool, threads, NULL), HD_OK);
    assert_int_equal(hd_source_open_gguf(&source, c, NULL, "", NULL), HD_OK);
    hd_quant_types(types, hd_source_tensors(source), hd_source_count(source), hd_quant_mix_find(mix), false);
    hd_status status = hd_quantize(source, types, hd_quant_mix_find(mix), output, &options, err);
    hd_source_close(&source);
    hd_pool_close(&options.pool);
    hd_checkpoint_close(&c);
    return status;
}

static void check_tensor(const hd_tensor *t, const hd_tensor *from, double bound)
{
    static float x[HD_ARRAY_LEN(numbers)];
    int64_t n = 1;
    double off = 0, all = 0;
    for (int d = 0; d < t->dims; d++)
        n *= t->shape[d];
    assert_memory_equal(t->shape, from->shape, sizeof t->shape);
    assert_true(hd_decode_row(t->type, t->data, x, n));
    for (int64_t i = 0; i < n; i++) {
        double d = (double)x[i] - ((const float *)from->data)[i];
        off += d * d;
        all += (double)x[i] * x[i];
    }
    if (!(sqrt(off / all) <= bound)) fail_msg("%s: error %.4f", t->name, sqrt(off / all));
}

static void test_the_file(void **state)
{
    (void)state;
    uint64_t number;
    unlink(output);
    assert_int_equal(quantize_to("Q4_K_M", 2, UINT64_MAX, NULL), HD_OK);
    hd_checkpoint *c = open_file(output);
    assert_int_equal(hd_checkpoint_tensor_count(c), count);
    for (size_t i = 0; i < count; i++) {
        const hd_tensor *t = hd_checkpoint_tensor(c, i);
        assert_string_equal(t->name, tensors[i].name);
        check_tensor(t, &tensors[i], t->type == HD_TYPE_F32 ? 0.0 : 0.12);
    }
    assert_true(hd_meta_u64(hd_checkpoint_meta(c, "general.file_type"), 0, &number) && number == 15);
    assert_true(hd_meta_u64(hd_checkpoint_meta(c, "general.quantization_version"), 0, &number) && number == 2);
    assert_non_null(hd_checkpoint_meta(c, "general.architecture"));
    assert_null(hd_checkpoint_meta(c, "split.count"));
    hd_checkpoint_close(&c);
}

static size_t read_output(uint8_t *to, size_t most)
{
    FILE *f = fopen(output, "rb");
    assert_non_null(f);
    size_t size = fread(to, 1, most, f);
    fclose(f);
    return size;
}

static void test_a_cancelled_run_goes_on(void **state)
{
    (void)state;
    static uint8_t whole[1 << 20], resumed[1 << 20];
    hd_error err;
    unlink(output);
    assert_int_equal(quantize_to("Q5_0", 1, UINT64_MAX, NULL), HD_OK);
    size_t size = read_output(whole, sizeof whole);
    assert_true(size > 1000 && size < sizeof whole);
    for (uint64_t until = 0; until < 360000; until += 9000) {
        unlink(output);
        hd_status status = quantize_to("Q5_0", 3, until, &err);
        assert_true(status == HD_E_CANCELLED || status == HD_OK);
        if (status == HD_E_CANCELLED) assert_int_not_equal(access(output, F_OK), 0);
        if (status == HD_E_CANCELLED) assert_int_equal(quantize_to("Q5_0", 2, UINT64_MAX, NULL), HD_OK);
        assert_int_equal(read_output(resumed, sizeof resumed), size);
        assert_memory_equal(resumed, whole, size);
    }
    /* a part of another type is in the way, and stays */
    unlink(output);
    assert_int_equal(quantize_to("Q5_0", 1, 330000, &err), HD_E_CANCELLED);
    assert_int_equal(quantize_to("Q4_0", 1, UINT64_MAX, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "other settings"));
    unlink(part);
    /* and so is one that was made of another model of the same shapes */
    assert_int_equal(quantize_to("Q5_0", 1, 330000, &err), HD_E_CANCELLED);
    float before = numbers[3];
    numbers[3] = 0.5f;
    write_original();
    assert_int_equal(quantize_to("Q5_0", 1, UINT64_MAX, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "older than the model"));
    make_old(original);
    assert_int_equal(quantize_to("Q5_0", 1, UINT64_MAX, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "another model"));
    numbers[3] = before;
    write_original();
    make_old(original);
    assert_int_equal(quantize_to("Q5_0", 1, UINT64_MAX, &err), HD_OK);
    assert_int_equal(read_output(resumed, sizeof resumed), size);
    assert_memory_equal(resumed, whole, size);
    unlink(output);
}

/* A finished part counts like one under way: it may be of what the model was before. */
static void test_parts_older_than_the_model(void **state)
{
    (void)state;
    hd_error err;
    char first[128];
    unlink(output);
    split_at = 200000;
    make_old(original);
    assert_int_equal(quantize_to("Q8_0", 1, 400000, &err), HD_E_CANCELLED);
    assert_non_null(find_part("-00001-of-", first));
    make_old(first);
    assert_int_equal(utimensat(AT_FDCWD, original, NULL, 0), 0);
    assert_int_equal(quantize_to("Q8_0", 1, UINT64_MAX, &err), HD_E_IO);
    assert_non_null(strstr(err.text, "older than the model"));
    make_old(original);
    assert_int_equal(utimensat(AT_FDCWD, first, NULL, 0), 0);
    assert_int_equal(quantize_to("Q8_0", 1, UINT64_MAX, &err), HD_OK);
    for (; find_part("-of-", first); unlink(first))
        ;
    split_at = 0;
}

static void test_damaged_models(void **state)
{
    (void)state;
    hd_error err;
    float before = numbers[70];
    unlink(output);
    numbers[70] = NAN;
    write_original();
    assert_int_equal(quantize_to("Q4_0", 2, UINT64_MAX, &err), HD_E_FORMAT);
    assert_non_null(strstr(err.text, "token_embd.weight"));
    assert_int_not_equal(access(output, F_OK), 0);
    unlink(part);
    numbers[70] = 70000.0f; /* more than F16 holds */
    write_original();
    assert_int_equal(quantize_to("F16", 2, UINT64_MAX, &err), HD_E_UNSUPPORTED);
    assert_non_null(strstr(err.text, "beyond what F16"));
    unlink(part);
    numbers[70] = before;
    write_original();
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_recipes),
        cmocka_unit_test(test_the_file),
        cmocka_unit_test(test_a_cancelled_run_goes_on),
        cmocka_unit_test(test_parts_older_than_the_model),
        cmocka_unit_test(test_damaged_models),
    };
    return cmocka_run_group_tests(tests, make_original, remove_all);
}
