/* help.h: opening small tokenizers in the tests of the tokenizer room.  The files are those that seed the fuzzer. */
#ifndef HD_TESTS_TOKENIZER_HELP_H
#define HD_TESTS_TOKENIZER_HELP_H

#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "data.h"
#include "tokenizer/tokenizer_internal.h"

/* tests/fuzz/corpus/tokenizer_json/<name>.json */
static inline void seed_path(char path[HD_TEST_PATH], const char *name)
{
    char relative[256];
    snprintf(relative, sizeof relative, "tests/fuzz/corpus/tokenizer_json/%s.json", name);
    if (!hd_test_file(path, relative)) fail_msg("%s is missing", path);
}

/* Opens a seed as the text of a tokenizer.json, with no files beside it. */
static inline hd_status open_seed(hd_tokenizer **tok, const char *name, hd_error *err)
{
    char path[HD_TEST_PATH];
    hd_mapping *map;
    seed_path(path, name);
    assert_int_equal(hd_mapping_open(&map, path, NULL), HD_OK);
    hd_status status = hd_tokenizer_open_json(tok, (const char *)hd_mapping_data(map), hd_mapping_size(map), err);
    hd_mapping_close(&map);
    return status;
}

static inline hd_tokenizer *must_open(const char *name)
{
    hd_tokenizer *tok = NULL;
    hd_error err = {0};
    if (open_seed(&tok, name, &err) != HD_OK) fail_msg("%s: %s", name, err.text);
    return tok;
}

/* Ids of a text, each shown as its piece in brackets: "[he][llo]".  The string is gone with the next call. */
static inline const char *pieces(const hd_tokenizer *tok, const char *text, size_t len, bool all,
                                 const uint8_t *trusted)
{
    static char shown[1 << 16]; /* of the last call */
    hd_buf out;
    hd_ids ids = {0};
    hd_error err = {0};
    hd_buf_init(&out, sizeof shown - 1);
    if (hd_tokenizer_encode(tok, text, len, all, trusted, &ids, &err) != HD_OK) fail_msg("%s", err.text);
    for (size_t i = 0; i < ids.len; i++) {
        assert_int_equal(hd_buf_putc(&out, '['), HD_OK);
        assert_int_equal(hd_tokenizer_piece(tok, ids.data[i], true, &out), HD_OK);
        assert_int_equal(hd_buf_putc(&out, ']'), HD_OK);
    }
    snprintf(shown, sizeof shown, "%s", out.len ? out.data : "");
    hd_ids_free(&ids);
    hd_buf_free(&out);
    return shown;
}

static inline const char *pieces_of(const hd_tokenizer *tok, const char *text)
{
    return pieces(tok, text, strlen(text), true, NULL);
}

#endif
