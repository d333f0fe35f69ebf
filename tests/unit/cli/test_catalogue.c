/* The catalogue: the embedded one, a user's over it, and malformed ones. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "cli/catalogue.h"
#include "cli/files.h"

#define SOURCE "{\"source\": \"hf:a/b\", \"format\": \"gguf\", \"bytes\": 5}"
#define ENTRY "{\"title\": \"T\", \"sources\": [" SOURCE "]}"

static hd_status parse(hd_catalogue **out, const char *embedded, const char *user)
{
    hd_error err = {0};
    hd_status status = hd_catalogue_parse(out, embedded, strlen(embedded), user, user ? strlen(user) : 0, &err);
    assert_true(status == HD_OK || err.text[0]);
    assert_true(status == HD_OK || !*out);
    return status;
}

/* Nothing of the machine's own: no configuration folder. */
static hd_catalogue *embedded(void)
{
    hd_catalogue *c = NULL;
    setenv("XDG_CONFIG_HOME", "/nonexistent", 1);
    assert_int_equal(hd_catalogue_open(&c, NULL), HD_OK);
    return c;
}

static void test_embedded_has_the_releases(void **state)
{
    (void)state;
    static const char *const names[] = {
        "smollm2-135m",
        "r1-distill-qwen-1.5b",
        "r1-distill-qwen-7b",
        "r1-distill-qwen-14b",
        "r1-distill-qwen-32b",
        "r1-distill-llama-8b",
        "r1-distill-llama-70b",
        "r1-0528-qwen3-8b",
        "v2-lite",
        "v2",
        "v2.5",
        "v3",
        "v3-0324",
        "v3.1",
        "v3.2",
        "r1",
        "r1-0528",
        "v4-flash",
        "v4-pro",
        "llm-7b-chat",
        "coder-1.3b-instruct",
        "coder-v2-lite",
        "DeepSeek-R1",
        "DeepSeek-V3.1",
    };
    hd_catalogue *c = embedded();
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++)
        assert_non_null(hd_catalogue_find(c, names[i]));
    assert_null(hd_catalogue_find(c, "gpt"));
    assert_null(hd_catalogue_find(c, ""));
    hd_catalogue_close(&c);
    hd_catalogue_close(&c);
}

/* What the catalogue says of every entry; only one address could be tried. */
static void test_embedded_entries_are_complete(void **state)
{
    (void)state;
    hd_catalogue *c = embedded();
    size_t tried = 0;
    for (size_t i = 0; i < hd_catalogue_count(c); i++) {
        const hd_catalogue_entry *entry = hd_catalogue_at(c, i);
        assert_true(entry->title[0] && entry->licence[0] && entry->languages[0] && entry->parameters[0] &&
                    entry->context);
        assert_ptr_equal(hd_catalogue_find(c, entry->name), entry);
        for (size_t s = 0; s < entry->source_count; s++) {
            const hd_catalogue_source *source = &entry->sources[s];
            assert_true(strcmp(source->format, "gguf") == 0 || strcmp(source->format, "safetensors") == 0);
            assert_true(source->bytes > 50000000 && source->memory > source->bytes);
            assert_ptr_equal(hd_catalogue_find_source(c, source->source), entry); /* no address stands twice */
            tried += source->tried;
            assert_true(!source->tried || strncmp(source->source, "pypi:", 5) == 0);
        }
        for (size_t a = 0; a < entry->alias_count; a++)
            assert_ptr_equal(hd_catalogue_find(c, entry->aliases[a]), entry);
    }
    assert_int_equal(tried, 1);
    hd_catalogue_close(&c);
}

static void test_users_entries_lie_over(void **state)
{
    (void)state;
    hd_catalogue *c = NULL;
    const char *below = "{\"models\": {\"a\": " ENTRY ", \"b\": " ENTRY "}}";
    const char *over =
        "{\"models\": {\"b\": {\"title\": \"Mine\", \"aliases\": [\"Other\"], \"languages\": [\"zh\", \"en\"],"
        "\"runs\": false, \"sources\": [{\"source\": \"file:/x\", \"format\": \"gguf\", \"tried\": true}]},"
        "\"c\": " ENTRY "}}";
    assert_int_equal(parse(&c, below, over), HD_OK);
    assert_int_equal(hd_catalogue_count(c), 3);
    assert_string_equal(hd_catalogue_find(c, "A")->title, "T");
    const hd_catalogue_entry *b = hd_catalogue_find(c, "other");
    assert_string_equal(b->name, "b");
    assert_string_equal(b->title, "Mine");
    assert_string_equal(b->languages, "zh, en");
    assert_string_equal(b->licence, "");
    assert_false(b->runs);
    assert_true(b->sources[0].tried);
    assert_true(hd_catalogue_find(c, "c")->runs);
    assert_ptr_equal(hd_catalogue_find_source(c, "file:/x"), b);
    assert_null(hd_catalogue_find_source(c, "file:/y"));
    hd_catalogue_close(&c);
}

static void test_malformed(void **state)
{
    (void)state;
    static const char *const bad[] = {
        "",
        "[]",
        "{}",
        "{\"models\": []}",
        "{\"models\": {\"a\": 1}}",
        "{\"models\": {\"a\": {\"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\"}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"sources\": []}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"sources\": [1]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"sources\": [{\"format\": \"gguf\"}]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"sources\": [{\"source\": \"hf:a/b\"}]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"sources\": [{\"source\": \"x\", \"format\": \"gguf\", \"bytes\": "
        "-1}]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"sources\": [{\"source\": \"x\", \"format\": \"gguf\", \"bytes\": "
        "\"1\"}]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"sources\": [{\"source\": \"x\", \"format\": \"gguf\", \"sha256\": "
        "\"1\"}]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"sources\": [{\"source\": \"x\", \"format\": \"gguf\", \"tried\": "
        "1}]}}}",
        "{\"models\": {\"a\": {\"title\": 1, \"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\\u0000T\", \"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"aliases\": \"x\", \"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"aliases\": [1], \"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"languages\": [1], \"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"languages\": \"en\", \"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"context\": 1.5, \"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"runs\": \"no\", \"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"sampling\": 1, \"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a\": {\"title\": \"T\", \"sampling\": {\"top_p\": \"1\"}, \"sources\": [" SOURCE "]}}}",
        "{\"models\": {\"a/b\": " ENTRY "}}",
        "{\"models\": {\"..\": " ENTRY "}}",
        "{\"models\": {\"hf:a\": " ENTRY "}}",
        "{\"models\": {\"\": " ENTRY "}}",
        "{\"models\": {\"a\": " ENTRY ", \"a\": " ENTRY "}}",
    };
    const char *good = "{\"models\": {\"a\": " ENTRY "}}";
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        hd_catalogue *c = NULL;
        assert_int_equal(parse(&c, bad[i], NULL), HD_E_FORMAT);
        assert_int_equal(parse(&c, good, bad[i]), HD_E_FORMAT);
    }
}

static void test_out_of_memory(void **state)
{
    (void)state;
    const char *text =
        "{\"models\": {\"a\": {\"title\": \"T\", \"aliases\": [\"x\"], \"languages\": [\"en\"], \"sources\": [" SOURCE
        "]}}}";
    for (uint64_t n = 1;; n++) {
        hd_catalogue *c = NULL;
        hd_alloc_fail_after(n);
        hd_status status = hd_catalogue_parse(&c, text, strlen(text), text, strlen(text), NULL);
        hd_alloc_fail_after(0);
        hd_catalogue_close(&c);
        if (status == HD_OK) break;
        assert_int_equal(status, HD_E_MEMORY);
        assert_true(n < 100);
    }
}

static void test_suggest(void **state)
{
    (void)state;
    hd_catalogue *c = embedded();
    assert_string_equal(hd_catalogue_suggest(c, "r1-distil-qwen-1.5b"), "r1-distill-qwen-1.5b");
    assert_null(hd_catalogue_suggest(c, "something else altogether"));
    hd_catalogue_close(&c);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_embedded_has_the_releases),
        cmocka_unit_test(test_embedded_entries_are_complete),
        cmocka_unit_test(test_users_entries_lie_over),
        cmocka_unit_test(test_malformed),
        cmocka_unit_test(test_out_of_memory),
        cmocka_unit_test(test_suggest),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
