/* test_tokenizer_gguf.c: the tokenizer in the metadata of a GGUF file: every key, right and wrong. */
#include "tokenizer/utf8.h"
#include "unit/formats/build_gguf.h"
#include "unit/tokenizer/help.h"

static char path[] = "/tmp/hadal-tokenizer-XXXXXX";

/* ---- a small vocabulary: <bos>, <eos>, <user>, all bytes, "he", "hell", "hello", "ll" ---- */

enum { BOS = 0, EOS = 1, USER = 2, BYTES = 3, WORDS = BYTES + 256, TOKENS = WORDS + 4, MERGES = 4 };

typedef struct spec {               /* what differs from a good file; 0 or NULL: nothing */
    const char *model, *pre, *skip; /* skip: a key that is left out */
    const char *merge;              /* instead of the first merge */
    uint64_t types;                 /* instead of the number of token types */
    uint32_t wrong_type_of;         /* index of the key that gets a wrong type (below) */
    bool template_nul, no_tokens, adds_bos_false;
} spec;

enum {
    WRONG_MODEL = 1,
    WRONG_PRE,
    WRONG_TOKENS,
    WRONG_MERGES,
    WRONG_TYPES,
    WRONG_TYPE_ELEMENTS,
    WRONG_ADDS,
    WRONG_TEMPLATE
};

/* A key whose value has the wrong type, or nothing when it is left out; false: write it as it should be. */
static bool put_wrong(hd_buf *b, const spec *s, const char *key, uint32_t index)
{
    if (s->wrong_type_of != index) return false;
    put_scalar(b, key, HD_META_U32, 1, 4);
    return true;
}

static bool skipped(const spec *s, const char *key)
{
    return s->skip && strcmp(s->skip, key) == 0;
}

static void put_byte_tokens(hd_buf *b)
{
    for (int i = 0; i < 256; i++) {
        uint8_t text[4];
        int n = hd_utf8_put(text, hd_bytelevel_char((uint8_t)i));
        put_bytes(b, text, (size_t)n);
    }
}

static void put_tokens(hd_buf *b, const spec *s)
{
    if (put_wrong(b, s, "tokenizer.ggml.tokens", WRONG_TOKENS)) return;
    put_array(b, "tokenizer.ggml.tokens", HD_META_STRING, s->no_tokens ? 0 : TOKENS);
    if (s->no_tokens) return;
    put_str(b, "<bos>");
    put_str(b, "<eos>");
    put_str(b, "<user>");
    put_byte_tokens(b);
    put_str(b, "he");
    put_str(b, "hell");
    put_str(b, "hello");
    put_str(b, "ll");
}

static void put_types(hd_buf *b, const spec *s)
{
    uint64_t count = s->types ? s->types : TOKENS;
    if (put_wrong(b, s, "tokenizer.ggml.token_type", WRONG_TYPES)) return;
    if (s->wrong_type_of == WRONG_TYPE_ELEMENTS) {
        put_array(b, "tokenizer.ggml.token_type", HD_META_F32, count);
        for (uint64_t i = 0; i < count; i++)
            put_u32(b, 0x3fc00000); /* 1.5 */
        return;
    }
    put_array(b, "tokenizer.ggml.token_type", HD_META_I32, count);
    for (uint64_t i = 0; i < count; i++)
        put_u32(b, i <= EOS ? 3 : i == USER ? 4 : 1);
}

static void put_merges(hd_buf *b, const spec *s)
{
    if (put_wrong(b, s, "tokenizer.ggml.merges", WRONG_MERGES)) return;
    put_array(b, "tokenizer.ggml.merges", HD_META_STRING, MERGES);
    put_str(b, s->merge ? s->merge : "h e");
    put_str(b, "l l");
    put_str(b, "he ll");
    put_str(b, "hell o");
}

static void put_text(hd_buf *b, const spec *s, const char *key, uint32_t index, const char *text)
{
    if (skipped(s, key) || put_wrong(b, s, key, index)) return;
    put_key(b, key, HD_META_STRING);
    put_str(b, text);
}

static void put_template(hd_buf *b, const spec *s)
{
    if (put_wrong(b, s, "tokenizer.chat_template", WRONG_TEMPLATE)) return;
    put_key(b, "tokenizer.chat_template", HD_META_STRING);
    put_bytes(b, "a\0b", s->template_nul ? 3 : 1);
}

static void put_adds(hd_buf *b, const spec *s)
{
    if (put_wrong(b, s, "tokenizer.ggml.add_bos_token", WRONG_ADDS)) return;
    put_scalar(b, "tokenizer.ggml.add_bos_token", HD_META_BOOL, !s->adds_bos_false, 1);
}

static uint64_t count_skipped(const spec *s)
{
    return s->skip ? 1 : 0;
}

static void write_file(const spec *s)
{
    hd_buf b;
    hd_buf_init(&b, 1 << 20);
    put_head(&b, 3, 0, 9 - count_skipped(s));
    put_text(&b, s, "tokenizer.ggml.model", WRONG_MODEL, s->model ? s->model : "gpt2");
    put_text(&b, s, "tokenizer.ggml.pre", WRONG_PRE, s->pre ? s->pre : "deepseek-v3");
    if (!skipped(s, "tokenizer.ggml.tokens")) put_tokens(&b, s);
    if (!skipped(s, "tokenizer.ggml.merges")) put_merges(&b, s);
    if (!skipped(s, "tokenizer.ggml.token_type")) put_types(&b, s);
    put_scalar(&b, "tokenizer.ggml.bos_token_id", HD_META_U32, BOS, 4);
    put_scalar(&b, "tokenizer.ggml.eos_token_id", HD_META_U32, EOS, 4);
    if (!skipped(s, "tokenizer.ggml.add_bos_token")) put_adds(&b, s);
    put_template(&b, s);
    assert_int_equal(b.status, HD_OK);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(b.data, 1, b.len, f), b.len);
    assert_int_equal(fclose(f), 0);
    hd_buf_free(&b);
}

static hd_tokenizer *open_spec(const spec *s)
{
    hd_tokenizer *tok = NULL;
    hd_error err = {0};
    write_file(s);
    if (hd_tokenizer_open(&tok, path, &err) != HD_OK) fail_msg("%s", err.text);
    return tok;
}

/* ---- right ---- */

static void test_good(void **state)
{
    (void)state;
    size_t count;
    hd_tokenizer *tok = open_spec(&(spec){0});
    assert_int_equal(hd_tokenizer_vocab_size(tok), TOKENS);
    assert_int_equal(hd_tokenizer_bos(tok), BOS);
    assert_true(hd_tokenizer_adds_bos(tok));
    assert_int_equal(hd_tokenizer_eos(tok, &count)[0], EOS);
    assert_int_equal(count, 1);
    assert_string_equal(hd_tokenizer_bos_text(tok), "<bos>");
    assert_string_equal(hd_tokenizer_eos_text(tok), "<eos>");
    assert_string_equal(hd_tokenizer_chat_template(tok), "a");
    assert_string_equal(pieces_of(tok, "<bos>hello<user>1234 \xFF"), "[<bos>][hello][<user>][1][2][3][4][ ][\xFF]");
    assert_string_equal(pieces(tok, "<user>", 6, false, NULL), "[<][u][s][e][r][>]");
    assert_true(hd_tokenizer_is_special(tok, BOS));
    assert_false(hd_tokenizer_is_special(tok, USER)); /* user-defined: always shown */
    hd_tokenizer_close(&tok);
}

static void test_families(void **state)
{
    static const struct {
        const char *pre;
        bool nfc, adds_bos;
    } cases[] = {
        {"deepseek-llm", false, false}, {"deepseek-coder", false, false}, {"deepseek-v3", false, false},
        {"joyai-llm", false, false},    {"qwen2", true, false},           {"deepseek-r1-qwen", true, false},
        {"llama-bpe", false, true},     {"llama3", false, true},          {"llama-v3", false, true},
        {"smollm", false, false},       {"gpt-2", false, false},          {"default", false, false},
    };
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_tokenizer *tok = open_spec(&(spec){.pre = cases[i].pre, .skip = "tokenizer.ggml.add_bos_token"});
        assert_string_equal(pieces_of(tok, "hello\n"), "[hello][\n]");
        assert_string_equal(pieces_of(tok, "e\xCC\x81"), cases[i].nfc ? "[\xC3][\xA9]" : "[e][\xCC][\x81]");
        assert_int_equal(hd_tokenizer_adds_bos(tok), cases[i].adds_bos);
        hd_tokenizer_close(&tok);
    }
    hd_tokenizer *tok = open_spec(&(spec){.skip = "tokenizer.ggml.pre"}); /* as "default" */
    assert_string_equal(pieces_of(tok, "hello"), "[hello]");
    hd_tokenizer_close(&tok);
    tok = open_spec(&(spec){.pre = "llama3", .adds_bos_false = true}); /* the file has the last word */
    assert_false(hd_tokenizer_adds_bos(tok));
    hd_tokenizer_close(&tok);
}

static void test_without_types(void **state)
{
    (void)state;
    hd_tokenizer *tok = open_spec(&(spec){.skip = "tokenizer.ggml.token_type"});
    assert_string_equal(pieces_of(tok, "<bos>hello"), "[<][b][o][s][>][hello]");
    hd_tokenizer_close(&tok);
}

/* ---- wrong ---- */

static void test_bad(void **state)
{
    static const struct {
        spec s;
        hd_status status;
        const char *says;
    } cases[] = {
        {{.model = "none"}, HD_E_UNSUPPORTED, "there is no tokenizer in this file"},
        {{.skip = "tokenizer.ggml.model"}, HD_E_UNSUPPORTED, "there is no tokenizer in this file"},
        {{.model = "llama"}, HD_E_UNSUPPORTED, "tokenizer.ggml.model \"llama\" is not supported"},
        {{.wrong_type_of = WRONG_MODEL}, HD_E_FORMAT, "tokenizer.ggml.model must be a string"},
        {{.pre = "tekken"}, HD_E_UNSUPPORTED, "tokenizer.ggml.pre \"tekken\" is not a pre-tokenizer"},
        {{.wrong_type_of = WRONG_PRE}, HD_E_FORMAT, "tokenizer.ggml.pre must be a string"},
        {{.skip = "tokenizer.ggml.tokens"}, HD_E_FORMAT, "tokenizer.ggml.tokens is missing"},
        {{.wrong_type_of = WRONG_TOKENS}, HD_E_FORMAT, "tokenizer.ggml.tokens must be an array of strings"},
        {{.no_tokens = true}, HD_E_FORMAT, "tokenizer.ggml.tokens is empty"},
        {{.skip = "tokenizer.ggml.merges"}, HD_E_FORMAT, "tokenizer.ggml.merges is missing"},
        {{.wrong_type_of = WRONG_MERGES}, HD_E_FORMAT, "tokenizer.ggml.merges must be an array of strings"},
        {{.merge = "he"}, HD_E_FORMAT, "tokenizer.ggml.merges: item 0 must be \"left right\""},
        {{.merge = ""}, HD_E_FORMAT, "tokenizer.ggml.merges: item 0 must be \"left right\""},
        {{.merge = "h \xC4\xA0"}, HD_E_FORMAT, "what they give together is not in the vocabulary"},
        {{.merge = "hh e"}, HD_E_FORMAT, "the first part is not in the vocabulary"},
        {{.types = 5}, HD_E_FORMAT, "tokenizer.ggml.token_type must be an array as long as"},
        {{.wrong_type_of = WRONG_TYPES}, HD_E_FORMAT, "tokenizer.ggml.token_type must be an array as long as"},
        {{.wrong_type_of = WRONG_TYPE_ELEMENTS}, HD_E_FORMAT, "tokenizer.ggml.token_type must hold integers"},
        {{.wrong_type_of = WRONG_ADDS}, HD_E_FORMAT, "tokenizer.ggml.add_bos_token must be true or false"},
        {{.wrong_type_of = WRONG_TEMPLATE}, HD_E_FORMAT, "tokenizer.chat_template must be a string"},
        {{.template_nul = true}, HD_E_FORMAT, "tokenizer.chat_template holds a NUL character"},
    };
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_tokenizer *tok = NULL;
        hd_error err = {0};
        write_file(&cases[i].s);
        hd_status status = hd_tokenizer_open(&tok, path, &err);
        if (status != cases[i].status || !strstr(err.text, cases[i].says) || !strstr(err.text, path))
            fail_msg("case %zu: status %d, \"%s\"; wanted \"%s\"", i, status, err.text, cases[i].says);
        assert_null(tok);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_good),
        cmocka_unit_test(test_families),
        cmocka_unit_test(test_without_types),
        cmocka_unit_test(test_bad),
    };
    int fd = mkstemp(path);
    if (fd < 0) return 1;
    close(fd);
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    unlink(path);
    return failed;
}
