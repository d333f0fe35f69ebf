/* Good GGUF files: every metadata type, both versions, shapes, alignment, and what happens without memory. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <math.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "formats/formats_internal.h"
#include "unit/formats/good_gguf.h"

static hd_buf bytes;

static int set_up(void **state)
{
    (void)state;
    hd_buf_init(&bytes, (size_t)64 << 20);
    return 0;
}

static int tear_down(void **state)
{
    (void)state;
    hd_buf_free(&bytes);
    return 0;
}

static void parse_ok(hd_gguf *g)
{
    hd_error err = {0};
    assert_int_equal(bytes.status, HD_OK);
    if (hd_gguf_parse(g, (const uint8_t *)bytes.data, bytes.len, &err) != HD_OK) fail_msg("%s", err.text);
}

static const hd_meta *key(const hd_gguf *g, const char *name)
{
    const hd_meta *m = hd_gguf_find(g, name);
    if (!m) fail_msg("no key %s", name);
    return m;
}

static void expect_i64(const hd_gguf *g, const char *name, uint64_t i, int64_t wanted)
{
    int64_t v = 0;
    double d = 0;
    uint64_t u = 0;
    const hd_meta *m = key(g, name);
    assert_true(hd_meta_i64(m, i, &v));
    assert_true(v == wanted);
    assert_true(hd_meta_f64(m, i, &d));
    assert_true(d == (double)wanted);
    assert_int_equal(hd_meta_u64(m, i, &u), wanted >= 0);
    if (wanted >= 0) assert_true(u == (uint64_t)wanted);
}

static void expect_f64(const hd_gguf *g, const char *name, uint64_t i, double wanted)
{
    double d = 0;
    int64_t v;
    uint64_t u;
    const hd_meta *m = key(g, name);
    assert_true(hd_meta_f64(m, i, &d));
    assert_true(d == wanted);
    assert_false(hd_meta_i64(m, i, &v)); /* a float is no integer, even when it is whole */
    assert_false(hd_meta_u64(m, i, &u));
}

static void check_scalars(const hd_gguf *g)
{
    int64_t v;
    uint64_t u = 0;
    double d = 0;
    bool flag = false;
    expect_i64(g, "s.u8", 0, 200);
    expect_i64(g, "s.i8", 0, -100);
    expect_i64(g, "s.u16", 0, 60000);
    expect_i64(g, "s.i16", 0, -30000);
    expect_i64(g, "s.u32", 0, 4000000000);
    expect_i64(g, "s.i32", 0, -2000000000);
    expect_i64(g, "s.i64", 0, INT64_MIN);
    expect_f64(g, "s.f32", 0, 1.5);
    expect_f64(g, "s.f64", 0, -2.5);
    assert_true(hd_meta_u64(key(g, "s.u64"), 0, &u));
    assert_true(u == UINT64_MAX);
    assert_true(hd_meta_f64(key(g, "s.u64"), 0, &d));
    assert_true(d == (double)UINT64_MAX);
    assert_false(hd_meta_i64(key(g, "s.u64"), 0, &v)); /* does not fit */
    assert_true(hd_meta_bool(key(g, "s.bool"), &flag));
    assert_true(flag);
    assert_true(hd_meta_u64(key(g, "s.bool"), 0, &u));
    assert_true(u == 1);
    assert_false(hd_meta_f64(key(g, "s.bool"), 0, &d));
    assert_false(hd_meta_bool(key(g, "s.u8"), &flag));
    assert_false(hd_meta_u64(key(g, "s.u8"), 1, &u)); /* a scalar has one element */
    const hd_meta *s = key(g, "s.string");
    assert_int_equal(s->string.len, 3);
    assert_memory_equal(s->string.data, "a\0\xff", 3);
    assert_false(hd_meta_u64(s, 0, &u));
    assert_false(hd_meta_f64(s, 0, &d));
    assert_false(hd_meta_bool(s, &flag));
}

static void check_arrays(const hd_gguf *g)
{
    uint64_t u = 0;
    bool flag;
    expect_i64(g, "a.u8", 2, 3);
    expect_i64(g, "a.i8", 1, -1);
    expect_i64(g, "a.u16", 1, 65535);
    expect_i64(g, "a.i16", 1, -1);
    expect_i64(g, "a.u32", 0, 4294967295);
    expect_i64(g, "a.i32", 0, 7);
    expect_i64(g, "a.i32", 1, -1);
    expect_i64(g, "a.i64", 0, -1);
    expect_f64(g, "a.f32", 0, -1.5);
    expect_f64(g, "a.f32", 1, 1.5);
    expect_f64(g, "a.f64", 0, 2.5);
    assert_true(hd_meta_u64(key(g, "a.u64"), 0, &u));
    assert_true(u == 1ull << 63);
    assert_true(hd_meta_u64(key(g, "a.bool"), 1, &u));
    assert_true(u == 0);
    assert_false(hd_meta_bool(key(g, "a.bool"), &flag)); /* an array is no bool */
    assert_false(hd_meta_u64(key(g, "a.u8"), 3, &u));
    assert_false(hd_meta_u64(key(g, "a.u8"), UINT64_MAX, &u));
    const hd_meta *s = key(g, "a.string");
    assert_int_equal(s->type, HD_META_ARRAY);
    assert_int_equal(s->elem, HD_META_STRING);
    assert_int_equal(s->count, 3);
    assert_int_equal(s->strings[1].len, 0);
    assert_int_equal(s->strings[2].len, 5);
    assert_memory_equal(s->strings[2].data, "three", 5);
    assert_false(hd_meta_u64(s, 0, &u));
    assert_int_equal(key(g, "a.empty")->count, 0);
    assert_null(hd_gguf_find(g, "a.absent"));
    assert_null(hd_gguf_find(g, ""));
}

static void check_every_type(uint32_t version)
{
    hd_gguf g;
    put_every_type(&bytes, version);
    parse_ok(&g);
    assert_int_equal(g.version, version);
    assert_int_equal(g.meta_count, 25);
    assert_memory_equal(g.meta[0].key.data, "s.u8", 4); /* file order */
    check_scalars(&g);
    check_arrays(&g);
    assert_int_equal(g.set.count, 2);
    const hd_tensor *m = &g.set.tensors[0], *v = &g.set.tensors[1];
    const int64_t matrix[4] = {3, 4, 1, 1}, vector[4] = {8, 1, 1, 1};
    assert_string_equal(m->name, "matrix");
    assert_int_equal(m->type, HD_TYPE_F16);
    assert_int_equal(m->dims, 2);
    assert_memory_equal(m->shape, matrix, sizeof matrix); /* the file's order reversed */
    assert_int_equal(m->bytes, 24);
    assert_ptr_equal(m->data, bytes.data + bytes.len - 24);
    assert_memory_equal(v->shape, vector, sizeof vector);
    assert_ptr_equal(v->data, bytes.data + bytes.len - 56);
    hd_gguf_free(&g);
}

static void every_type_version_3(void **state)
{
    (void)state;
    check_every_type(3);
}

static void every_type_version_2(void **state)
{
    (void)state;
    check_every_type(2);
}

static void odd_shapes(void **state)
{
    (void)state;
    hd_gguf g;
    put_odd_shapes(&bytes);
    parse_ok(&g);
    assert_int_equal(g.alignment, 64);
    const hd_tensor *t = g.set.tensors;
    const int64_t ones[4] = {1, 1, 1, 1}, none[4] = {5, 0, 32, 1}, blocks[4] = {1, 2, 64, 1};
    assert_int_equal(t[0].dims, 0);
    assert_int_equal(t[0].bytes, 4);
    assert_memory_equal(t[0].shape, ones, sizeof ones);
    assert_int_equal(t[1].bytes, 0);
    assert_memory_equal(t[1].shape, none, sizeof none);
    assert_int_equal(t[2].type, HD_TYPE_Q4_0);
    assert_int_equal(t[2].bytes, 4 * 18);
    assert_memory_equal(t[2].shape, blocks, sizeof blocks);
    assert_ptr_equal(t[3].data, bytes.data + bytes.len - 4);
    hd_gguf_free(&g);
}

static void no_tensors_no_metadata(void **state)
{
    (void)state;
    hd_gguf g;
    put_nothing(&bytes);
    parse_ok(&g);
    assert_int_equal(g.meta_count, 0);
    assert_int_equal(g.set.count, 0);
    assert_int_equal(g.alignment, 32);
    assert_null(hd_gguf_find(&g, "general.name"));
    hd_gguf_free(&g);
}

/* Cutting a good file anywhere must give an error, never a crash; only the last byte of data may be spared by nobody.
 */
static void every_cut_is_refused(void **state)
{
    (void)state;
    put_every_type(&bytes, 3);
    for (size_t len = 0; len < bytes.len; len++) {
        hd_gguf g;
        hd_error err = {0};
        uint8_t *part = hd_alloc(len);
        memcpy(part, bytes.data, len);
        assert_int_equal(hd_gguf_parse(&g, part, len, &err), HD_E_FORMAT);
        assert_true(err.text[0] != '\0');
        hd_free(part);
    }
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    put_every_type(&bytes, 3);
    hd_status status = HD_E_MEMORY;
    uint64_t n;
    for (n = 1; status != HD_OK && n < 100; n++) {
        hd_gguf g;
        hd_error err = {0};
        hd_alloc_fail_after(n);
        status = hd_gguf_parse(&g, (const uint8_t *)bytes.data, bytes.len, &err);
        hd_alloc_fail_after(0);
        if (status == HD_OK)
            hd_gguf_free(&g);
        else
            assert_int_equal(status, HD_E_MEMORY);
    }
    assert_true(n > 5 && n < 100);
}

/* A tokenizer of 150,000 tokens and a model of 100,000 tensors: time must grow with the file, not with its square.  The
 * bound is far above what is needed, and far below what a quadratic step would take. */
static void large_files_are_quick(void **state)
{
    (void)state;
    put_head(&bytes, 3, 100000, 3);
    put_array(&bytes, "tokens", HD_META_STRING, 150000);
    for (int i = 0; i < 150000; i++)
        put_str(&bytes, "token");
    put_array(&bytes, "scores", HD_META_F32, 150000);
    for (int i = 0; i < 150000; i++)
        put_u32(&bytes, 0);
    put_scalar(&bytes, "end", HD_META_U8, 0, 1);
    for (int i = 0; i < 100000; i++) {
        char name[40];
        snprintf(name, sizeof name, "blk.%d.weight", (i * 7919) % 100000);
        put_vector(&bytes, name, 8, 32 * (uint64_t)i);
    }
    put_data(&bytes, 32, (size_t)32 * 100000);
    hd_gguf g;
    clock_t start = clock(); /* of this process, so that a busy machine does not count */
    parse_ok(&g);
    uint64_t ms = (uint64_t)(clock() - start) * 1000 / CLOCKS_PER_SEC;
    print_message("%zu bytes parsed in %llu ms\n", bytes.len, (unsigned long long)ms);
    assert_true(ms < 5000);
    assert_int_equal(g.set.count, 100000);
    assert_int_equal(key(&g, "tokens")->strings[149999].len, 5);
    hd_gguf_free(&g);
}

static void split_names(void **state)
{
    (void)state;
    hd_split_name n;
    assert_true(hd_split_name_parse("dir/model-00002-of-00012.gguf", &n));
    assert_int_equal(n.part, 2);
    assert_int_equal(n.count, 12);
    assert_int_equal(n.stem_len, strlen("dir/model"));
    char *made = hd_split_name_make("dir/model-00002-of-00012.gguf", &n, 11);
    assert_string_equal(made, "dir/model-00011-of-00012.gguf");
    hd_free(made);
    static const char *const others[] = {
        "model.gguf",
        "",
        "model-0001-of-0002.gguf",
        "model-00003-of-00002.gguf",
        "model-00000-of-00002.gguf",
        "model-0000x-of-00002.gguf",
        "model-00001-of-0000 .gguf",
        "model-00001-to-00002.gguf",
        "model-00001-of-00002.GGUF",
        "model-00001-of-00002.gguf.part",
        "model_00001-of-00002.gguf",
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(others); i++)
        if (hd_split_name_parse(others[i], &n)) fail_msg("'%s' is no part's name", others[i]);
}

int main(void)
{
#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)
    const struct CMUnitTest tests[] = {
        TEST(every_type_version_3),   TEST(every_type_version_2), TEST(odd_shapes),
        TEST(no_tensors_no_metadata), TEST(every_cut_is_refused), TEST(every_allocation_may_fail),
        TEST(large_files_are_quick),  TEST(split_names),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
