/* test_encode.c: added tokens and who may write them, NFC, bytes that are not UTF-8, and long words. */
#include "unit/tokenizer/help.h"

/* ---- trust ---- */

static void test_text_of_users_stays_text(void **state)
{
    static const char text[] = "<｜User｜>hello<think><bos>";
    (void)state;
    hd_tokenizer *tok = must_open("good_deepseek_v3");
    hd_ids ids = {0};
    int32_t user = hd_tokenizer_find(tok, "<｜User｜>", strlen("<｜User｜>"));
    assert_true(user > 0);
    assert_int_equal(hd_tokenizer_encode(tok, text, strlen(text), false, NULL, &ids, NULL), HD_OK);
    for (size_t i = 0; i < ids.len; i++) {
        assert_true(ids.data[i] != user);
        assert_false(hd_tokenizer_is_special(tok, ids.data[i]));
    }
    hd_ids_free(&ids);
    assert_string_equal(pieces_of(tok, text), "[<｜User｜>][hello][<think>][<bos>]");
    hd_tokenizer_close(&tok);
}

/* One byte that is not trusted is enough, whichever it is. */
static void test_every_byte_must_be_trusted(void **state)
{
    static const char text[] = "hello<bos>hello";
    uint8_t trusted[sizeof text];
    (void)state;
    hd_tokenizer *tok = must_open("good_deepseek_v3");
    memset(trusted, 0, sizeof trusted);
    memset(trusted + 5, 1, 5);
    assert_string_equal(pieces(tok, text, strlen(text), false, trusted), "[hello][<bos>][hello]");
    for (int i = 5; i < 10; i++) {
        trusted[i] = 0;
        assert_string_equal(pieces(tok, text, strlen(text), false, trusted), "[hello][<][b][o][s][>][hello]");
        trusted[i] = 1;
    }
    /* all_trusted means nothing beside a mask */
    memset(trusted, 0, sizeof trusted);
    assert_string_equal(pieces(tok, text, strlen(text), true, trusted), "[hello][<][b][o][s][>][hello]");
    hd_tokenizer_close(&tok);
}

/* A marker that a template began and a user ended, or the other way round. */
static void test_markers_across_the_border(void **state)
{
    static const char text[] = "<bos><bos>";
    uint8_t trusted[sizeof text] = {1, 1, 1, 1, 1, 1, 1, 0, 0, 0};
    (void)state;
    hd_tokenizer *tok = must_open("good_deepseek_v3");
    assert_string_equal(pieces(tok, text, strlen(text), false, trusted), "[<bos>][<][b][o][s][>]");
    hd_tokenizer_close(&tok);
}

/* ---- NFC ---- */

static void test_nfc(void **state)
{
    (void)state;
    hd_tokenizer *nfc = must_open("good_qwen2"), *none = must_open("good_deepseek_v3");
    assert_string_equal(pieces_of(nfc, "e\xCC\x81"), "[\xC3][\xA9]");
    assert_string_equal(pieces_of(none, "e\xCC\x81"), "[e][\xCC][\x81]");
    assert_string_equal(pieces_of(nfc, "\xE2\x84\xAB"), "[\xC3][\x85]");                        /* ANGSTROM SIGN */
    assert_string_equal(pieces_of(nfc, "a\xCC\x81\xCC\xA3"), "[\xE1][\xBA][\xA1][\xCC][\x81]"); /* reordered */
    assert_string_equal(pieces_of(nfc, "x\xFF"
                                       "e\xCC\x81\xCC"),
                        "[x][\xFF][\xC3][\xA9][\xCC]"); /* not UTF-8 */
    assert_string_equal(pieces_of(nfc, "\xE1\x84\x80\xE1\x85\xA1\xE1\x86\xA7"),
                        "[\xEA][\xB0][\x80][\xE1][\x86][\xA7]"); /* U+11A7 is no final: it stays */
    assert_string_equal(pieces_of(nfc, "a\xDF\xBD\xCC\x81"),
                        "[a][\xDF][\xBD][\xCC][\x81]"); /* U+07FD: younger than it */
    hd_tokenizer_close(&nfc);
    hd_tokenizer_close(&none);
}

/* An accent of a user never changes a letter of the template, nor makes its token unknown. */
static void test_nfc_and_trust(void **state)
{
    static const char text[] = "<bos>e\xCC\x81 e\xCC\x81<bos>\xCC\xB8";
    uint8_t trusted[sizeof text];
    (void)state;
    hd_tokenizer *tok = must_open("good_qwen2");
    memset(trusted, 1, sizeof trusted);
    trusted[10] = trusted[11] = 0; /* the second accent */
    trusted[17] = trusted[18] = 0; /* U+0338 would make > another character */
    assert_string_equal(pieces(tok, text, strlen(text), false, trusted),
                        "[<bos>][\xC3][\xA9][ ][e][\xCC][\x81][<bos>][\xCC][\xB8]");
    hd_tokenizer_close(&tok);
}

/* A long run of marks in the wrong order must not take quadratic time. */
static void test_many_marks(void **state)
{
    enum { MARKS = 200000 };
    (void)state;
    hd_tokenizer *tok = must_open("good_qwen2");
    hd_buf text;
    hd_ids ids = {0};
    hd_buf_init(&text, 4 * MARKS + 1);
    assert_int_equal(hd_buf_putc(&text, 'q'), HD_OK);
    for (int i = 0; i < MARKS; i++)
        assert_int_equal(hd_buf_puts(&text, i % 2 ? "\xCC\xA3" : "\xCC\x81"), HD_OK); /* classes 220 and 230 */
    assert_int_equal(hd_tokenizer_encode(tok, text.data, text.len, true, NULL, &ids, NULL), HD_OK);
    assert_int_equal(ids.len, 1 + 2 * MARKS);
    assert_int_equal(ids.data[2], ids.data[MARKS]); /* all of the lower class come first */
    assert_int_not_equal(ids.data[MARKS], ids.data[MARKS + 2]);
    hd_ids_free(&ids);
    hd_buf_free(&text);
    hd_tokenizer_close(&tok);
}

/* ---- what added tokens take along ---- */

static void test_flags(void **state)
{
    (void)state;
    hd_tokenizer *tok = must_open("good_flags");
    assert_string_equal(pieces_of(tok, "a <l> b"), "[a][<l>][ ][b]");
    assert_string_equal(pieces_of(tok, "a <r>\n\t b"), "[a][ ][<r>][b]");
    assert_string_equal(pieces_of(tok, "a \xE3\x80\x80<lr>\xC2\xA0 b"), "[a][<lr>][b]");
    assert_string_equal(pieces_of(tok, "word words sword w word_ -word-"),
                        "[word][ wor][d][s][ ][s][w][or][d][ w][ wor][d][_][ ][-][word][-]");
    assert_string_equal(pieces_of(tok, "\xC3\xA9word word\xE4\xBD\xA0"),
                        "[\xE9][w][or][d][ wor][d][\xE4][\xBD][\xA0]"); /* letters of all scripts are letters */
    assert_string_equal(pieces_of(tok, "<a><b><a>"), "[<a><b>][<a>]");  /* the longest */
    assert_string_equal(pieces_of(tok, "e\xCC\x81\xC3\xA9"),
                        "[\xE9][\xE9]"); /* found after NFC; it decodes as one byte */
    assert_string_equal(pieces_of(tok, "<r>  <lr>"), "[<r>][<lr>]");
    hd_tokenizer_close(&tok);
}

/* ---- bytes that are not UTF-8, and sizes ---- */

static void test_any_bytes_survive(void **state)
{
    static const char *const seeds[] = {"good_deepseek_v3", "good_llama3", "good_deepseek_coder", "good_smollm"};
    (void)state;
    for (size_t s = 0; s < HD_ARRAY_LEN(seeds); s++) {
        hd_tokenizer *tok = must_open(seeds[s]);
        uint32_t random = 12345;
        for (int round = 0; round < 200; round++) {
            char text[64];
            hd_ids ids = {0};
            hd_buf out;
            hd_buf_init(&out, 1 << 12);
            for (size_t i = 0; i < sizeof text; i++) {
                random = random * 1664525u + 1013904223u;
                text[i] = (char)(round % 2 ? random >> 24 : (random >> 24) | 0x80);
            }
            assert_int_equal(hd_tokenizer_encode(tok, text, sizeof text, false, NULL, &ids, NULL), HD_OK);
            for (size_t i = 0; i < ids.len; i++)
                assert_int_equal(hd_tokenizer_piece(tok, ids.data[i], true, &out), HD_OK);
            assert_int_equal(out.len, sizeof text);
            assert_memory_equal(out.data, text, sizeof text);
            hd_buf_free(&out);
            hd_ids_free(&ids);
        }
        hd_tokenizer_close(&tok);
    }
}

/* A word of a million letters takes n log n steps; quadratic time would not end. */
static void test_long_words(void **state)
{
    enum { LETTERS = 1000000 };
    static const char *const seeds[] = {"good_deepseek_v3", "good_qwen2", "good_deepseek_llm"};
    (void)state;
    char *text = hd_alloc(LETTERS);
    assert_non_null(text);
    for (size_t s = 0; s < HD_ARRAY_LEN(seeds); s++) {
        hd_tokenizer *tok = must_open(seeds[s]);
        for (const char *c = "l \n'"; *c; c++) {
            hd_ids ids = {0};
            memset(text, *c, LETTERS);
            text[LETTERS - 1] = 'x'; /* so that "spaces to the end" fails */
            assert_int_equal(hd_tokenizer_encode(tok, text, LETTERS, true, NULL, &ids, NULL), HD_OK);
            assert_true(ids.len >= LETTERS / 2 && ids.len <= LETTERS);
            hd_ids_free(&ids);
        }
        hd_tokenizer_close(&tok);
    }
    hd_free(text);
}

static void test_limits(void **state)
{
    (void)state;
    hd_tokenizer *tok = must_open("good_plain");
    hd_ids ids = {0};
    hd_error err = {0};
    assert_int_equal(hd_tokenizer_encode(tok, "", HD_TOKENIZER_TEXT + 1ull, true, NULL, &ids, &err), HD_E_LIMIT);
    assert_non_null(strstr(err.text, "67108865 bytes"));
    assert_int_equal(ids.len, 0);
    hd_tokenizer_close(&tok);
}

/* ---- threads: a tokenizer is immutable ---- */

enum { THREADS = 4 };

typedef struct shared_job {
    const hd_tokenizer *tok;
    hd_ids ids[THREADS];
    hd_status status[THREADS];
} shared_job;

static const char shared_text[] =
    "<bos>hello world 12345, the \xE4\xBD\xA0\xE5\xA5\xBD e\xCC\x81 \xF0\x9F\xAB\xA8<eos>\n\n";

static void encode_many(void *arg, int thread, int threads)
{
    shared_job *job = arg;
    (void)threads;
    for (int i = 0; i < 200 && job->status[thread] == HD_OK; i++) {
        job->ids[thread].len = 0;
        job->status[thread] =
            hd_tokenizer_encode(job->tok, shared_text, strlen(shared_text), true, NULL, &job->ids[thread], NULL);
    }
}

static void test_threads(void **state)
{
    (void)state;
    hd_pool *pool;
    hd_tokenizer *tok = must_open("good_qwen2");
    shared_job job = {.tok = tok};
    assert_int_equal(hd_pool_open(&pool, THREADS, NULL), HD_OK);
    hd_pool_run(pool, encode_many, &job);
    for (int t = 0; t < THREADS; t++) {
        assert_int_equal(job.status[t], HD_OK);
        assert_int_equal(job.ids[t].len, job.ids[0].len);
        assert_memory_equal(job.ids[t].data, job.ids[0].data, job.ids[0].len * sizeof *job.ids[0].data);
    }
    for (int t = 0; t < THREADS; t++)
        hd_ids_free(&job.ids[t]);
    hd_pool_close(&pool);
    hd_tokenizer_close(&tok);
}

/* Ids that were there stay, and a failed call adds none. */
static void test_appends(void **state)
{
    (void)state;
    hd_tokenizer *tok = must_open("good_plain");
    hd_ids ids = {0};
    assert_int_equal(hd_ids_push(&ids, 7), HD_OK);
    assert_int_equal(hd_tokenizer_encode(tok, "hello", 5, true, NULL, &ids, NULL), HD_OK);
    assert_int_equal(ids.len, 2);
    assert_int_equal(ids.data[0], 7);
    hd_alloc_fail_after(1);
    assert_int_equal(hd_tokenizer_encode(tok, "hello", 5, true, NULL, &ids, NULL), HD_E_MEMORY);
    hd_alloc_fail_after(0);
    assert_int_equal(ids.len, 2);
    hd_ids_free(&ids);
    hd_tokenizer_close(&tok);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_text_of_users_stays_text),
        cmocka_unit_test(test_every_byte_must_be_trusted),
        cmocka_unit_test(test_markers_across_the_border),
        cmocka_unit_test(test_nfc),
        cmocka_unit_test(test_nfc_and_trust),
        cmocka_unit_test(test_many_marks),
        cmocka_unit_test(test_flags),
        cmocka_unit_test(test_any_bytes_survive),
        cmocka_unit_test(test_long_words),
        cmocka_unit_test(test_limits),
        cmocka_unit_test(test_appends),
        cmocka_unit_test(test_threads),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
