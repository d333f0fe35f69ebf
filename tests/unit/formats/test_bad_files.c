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
#include "unit/formats/bad_mindspore.h"
#include "unit/formats/bad_safetensors.h"
#include "unit/formats/bad_torch.h"

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

static hd_status read_mindspore(const uint8_t *data, size_t size, hd_error *err)
{
    hd_tensor_set set;
    HD_TRY(hd_mindspore_parse(&set, data, size, err));
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

static hd_status read_pickle(const uint8_t *data, size_t size, hd_error *err)
{
    hd_pickle pickle;
    HD_TRY(hd_pickle_parse(&pickle, data, size, err));
    hd_pickle_free(&pickle);
    return HD_OK;
}

static hd_status read_zip(const uint8_t *data, size_t size, hd_error *err)
{
    hd_zip zip;
    HD_TRY(hd_zip_parse(&zip, data, size, err));
    hd_zip_free(&zip);
    return HD_OK;
}

static hd_status read_torch(const uint8_t *data, size_t size, hd_error *err)
{
    hd_tensor_set set;
    HD_TRY(hd_torch_parse(&set, data, size, err));
    hd_tensor_set_free(&set);
    return HD_OK;
}

/* The bytes are copied to a block of just their size. */
static void check_bytes(const bad_file *bad, const char *data, size_t len, read_fn read)
{
    uint8_t *bytes = hd_alloc(len);
    assert_non_null(bytes);
    if (len) memcpy(bytes, data, len);
    hd_error err = {0};
    hd_status status = read(bytes, len, &err);
    if (status != bad->status || !strstr(err.text, bad->words))
        fail_msg("%s: status %d, wanted %d; \"%s\" should contain \"%s\"", bad->name, (int)status, (int)bad->status,
                 err.text, bad->words);
    if (len <= BAD_FILE_SEED_MAX) assert_int_equal(read(bytes, len, NULL), bad->status); /* no text is wanted */
    hd_free(bytes);
}

static void check_one(const bad_file *bad, read_fn read)
{
    hd_buf b;
    hd_buf_init(&b, (size_t)80 << 20);
    bad->build(&b);
    assert_int_equal(b.status, HD_OK);
    check_bytes(bad, b.data, b.len, read);
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

static void mindspore_files_are_refused(void **state)
{
    (void)state;
    check_all(bad_mindspore, HD_ARRAY_LEN(bad_mindspore), read_mindspore);
    check_all(bad_mindspore_large, HD_ARRAY_LEN(bad_mindspore_large), read_mindspore);
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

static void pickles_are_refused(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(bad_pickles); i++) {
        const bad_pickle *p = &bad_pickles[i];
        check_bytes(&(const bad_file){p->name, NULL, p->status, p->words}, p->bytes, p->len, read_pickle);
        for (size_t j = 0; j < i; j++)
            assert_string_not_equal(p->name, bad_pickles[j].name);
    }
    check_all(bad_pickles_large, HD_ARRAY_LEN(bad_pickles_large), read_pickle);
}

static void zips_are_refused(void **state)
{
    (void)state;
    check_all(bad_zip, HD_ARRAY_LEN(bad_zip), read_zip);
    check_all(bad_zip_large, HD_ARRAY_LEN(bad_zip_large), read_zip);
}

static void torch_files_are_refused(void **state)
{
    (void)state;
    check_all(bad_torch, HD_ARRAY_LEN(bad_torch), read_torch);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(gguf_files_are_refused),
        cmocka_unit_test(safetensors_files_are_refused),
        cmocka_unit_test(mindspore_files_are_refused),
        cmocka_unit_test(indexes_are_refused),
        cmocka_unit_test(pickles_are_refused),
        cmocka_unit_test(importance_matrices_are_refused),
        cmocka_unit_test(zips_are_refused),
        cmocka_unit_test(torch_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
