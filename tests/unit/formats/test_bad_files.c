/* Every file of the catalogues is refused with its status and its words, and a parser never reads past its bytes (they
 * lie in a block of exactly their size, which the sanitizers watch). */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "formats/formats_internal.h"
#include "formats/imatrix.h"
#include "unit/formats/bad_gguf.h"
#include "unit/formats/bad_imatrix.h"
#include "unit/formats/bad_index.h"
#include "unit/formats/bad_safetensors.h"

typedef hd_status (*read_fn)(const uint8_t *data, size_t size, hd_error *err);

static hd_status read_gguf(const uint8_t *data, size_t size, hd_error *err)
{
    hd_gguf gguf;
    unsigned count;
    HD_TRY(hd_gguf_parse(&gguf, data, size, err));
    hd_status status = hd_split_count(&gguf, &count, err);
    if (status == HD_OK && count > 1) status = hd_split_check(&gguf, 1, count, err);
    hd_gguf_free(&gguf);
    return status;
}

static hd_status read_safetensors(const uint8_t *data, size_t size, hd_error *err)
{
    hd_tensor_set set;
    HD_TRY(hd_safetensors_parse_header(&set, data, size, err));
    hd_tensor_set_free(&set);
    return HD_OK;
}

static hd_status read_index(const uint8_t *data, size_t size, hd_error *err)
{
    hd_index index;
    HD_TRY(hd_index_parse(&index, (const char *)data, size, err));
    hd_index_free(&index);
    return HD_OK;
}

static hd_status read_imatrix(const uint8_t *data, size_t size, hd_error *err)
{
    hd_imatrix *m;
    HD_TRY(hd_imatrix_parse(&m, data, size, err));
    hd_imatrix_close(&m);
    return HD_OK;
}

static void check_one(const bad_file *bad, read_fn read)
{
    hd_buf b;
    hd_buf_init(&b, (size_t)64 << 20);
    bad->build(&b);
    assert_int_equal(b.status, HD_OK);
    uint8_t *bytes = hd_alloc(b.len);
    assert_non_null(bytes);
    if (b.len) memcpy(bytes, b.data, b.len);
    hd_error err = {0};
    hd_status status = read(bytes, b.len, &err);
    if (status != bad->status || !strstr(err.text, bad->words))
        fail_msg("%s: status %d, wanted %d; \"%s\" should contain \"%s\"", bad->name, (int)status, (int)bad->status,
                 err.text, bad->words);
    if (b.len <= BAD_FILE_SEED_MAX) assert_int_equal(read(bytes, b.len, NULL), bad->status); /* no text is wanted */
    hd_free(bytes);
    hd_buf_free(&b);
}

static void check_all(const bad_file *list, size_t count, read_fn read)
{
    for (size_t i = 0; i < count; i++) {
        check_one(&list[i], read);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(list[i].name, list[j].name);
    }
}

static void gguf_files_are_refused(void **state)
{
    (void)state;
    check_all(bad_gguf, HD_ARRAY_LEN(bad_gguf), read_gguf);
    check_all(bad_gguf_large, HD_ARRAY_LEN(bad_gguf_large), read_gguf);
}

static void safetensors_files_are_refused(void **state)
{
    (void)state;
    check_all(bad_safetensors, HD_ARRAY_LEN(bad_safetensors), read_safetensors);
    check_all(bad_safetensors_large, HD_ARRAY_LEN(bad_safetensors_large), read_safetensors);
}

static void indexes_are_refused(void **state)
{
    (void)state;
    check_all(bad_index, HD_ARRAY_LEN(bad_index), read_index);
    check_all(bad_index_large, HD_ARRAY_LEN(bad_index_large), read_index);
}

static void importance_matrices_are_refused(void **state)
{
    (void)state;
    check_all(bad_imatrix, HD_ARRAY_LEN(bad_imatrix), read_imatrix);
    check_all(bad_imatrix_large, HD_ARRAY_LEN(bad_imatrix_large), read_imatrix);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_files_are_refused),
        cmocka_unit_test(safetensors_files_are_refused),
        cmocka_unit_test(indexes_are_refused),
        cmocka_unit_test(importance_matrices_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
