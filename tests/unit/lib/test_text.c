/* test_text.c: include/hadal/chat.h: text and ids, and chat prompts. */
#include <pthread.h>

#include "unit/lib/tiny_text.h"

static const char simple[] = "{{ bos_token }}{% for m in messages %}<|user|>{{ m.content }}{% endfor %}"
                             "{% if add_generation_prompt %}<think>{% endif %}";

static void check_ids(const int32_t *ids, size_t count, const int32_t *want, size_t want_count)
{
    assert_int_equal(count, want_count);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(ids[i], want[i]);
}

static void test_open(void **state)
{
    (void)state;
    hd_text *text = NULL;
    hd_error err = {0};
    assert_int_equal(hd_text_open(&text, "/nowhere/at/all", &err), HD_E_NOT_FOUND);
    assert_null(text);
    hd_text_close(&text);
    text = tiny_text(NULL, true);
    size_t count;
    const int32_t *eos = hd_text_eos(text, &count);
    assert_int_equal(hd_text_vocab(text), TINY_COUNT);
    assert_true(count >= 1 && eos[0] == TINY_EOS);
    assert_false(hd_text_has_template(text));
    hd_text_close(&text);
    assert_null(text);
    text = tiny_text(simple, true);
    assert_true(hd_text_has_template(text));
    hd_text_close(&text);
}

static void test_encode(void **state)
{
    (void)state;
    hd_text *text = tiny_text(NULL, true);
    static const struct {
        const char *text;
        bool special, bos;
        int32_t want[16];
        size_t count;
    } cases[] = {
        {"hi", false, false, {'h', 'i'}, 2},
        {"hi", false, true, {TINY_BOS, 'h', 'i'}, 3},
        {"", false, false, {0}, 0},
        {"", true, true, {TINY_BOS}, 1},
        {"a</s>b", true, false, {'a', TINY_EOS, 'b'}, 3},
        {"</s>", false, false, {'<', '/', 's', '>'}, 4},
        {"\xC3\xA9", true, false, {0xC3, 0xA9}, 2},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        int32_t *ids;
        size_t count;
        assert_int_equal(hd_text_encode(text, cases[i].text, strlen(cases[i].text), cases[i].special, cases[i].bos,
                                        &ids, &count, NULL),
                         HD_OK);
        assert_non_null(ids);
        check_ids(ids, count, cases[i].want, cases[i].count);
        hd_ids_release(ids);
    }
    hd_text_close(&text);
}

static void test_decode(void **state)
{
    (void)state;
    hd_text *text = tiny_text(NULL, true);
    static const int32_t ids[] = {'a', TINY_EOS, 0xC3, 0xA9, 0xC3}, outside[] = {'a', TINY_COUNT};
    char *out;
    size_t len;
    hd_error err = {0};
    assert_int_equal(hd_text_decode(text, ids, 5, true, &out, &len, NULL), HD_OK);
    assert_string_equal(out, "a</s>\xC3\xA9\xEF\xBF\xBD");
    assert_int_equal(len, strlen(out));
    hd_string_free(out);
    assert_int_equal(hd_text_decode(text, ids, 4, false, &out, &len, NULL), HD_OK);
    assert_string_equal(out, "a\xC3\xA9");
    hd_string_free(out);
    assert_int_equal(hd_text_decode(text, ids, 0, false, &out, &len, NULL), HD_OK);
    assert_string_equal(out, "");
    assert_int_equal(len, 0);
    hd_string_free(out);
    assert_int_equal(hd_text_decode(text, outside, 2, false, &out, &len, &err), HD_E_ARGUMENT);
    assert_non_null(strstr(err.text, "id 263 at position 1"));
    assert_null(out);
    hd_text_close(&text);
}

static void check_render(const char *chat_template, const char *request, const char *want)
{
    hd_text *text = tiny_text(chat_template, true);
    char *out = NULL;
    size_t len;
    hd_error err = {0};
    if (hd_chat_render(text, request, strlen(request), &out, &len, &err) != HD_OK)
        fail_msg("%s: %s", request, err.text);
    assert_string_equal(out, want);
    assert_int_equal(len, strlen(want));
    hd_string_free(out);
    hd_text_close(&text);
}

static void test_variables(void **state)
{
    (void)state;
    check_render(simple, "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}", "<s><|user|>a<think>");
    check_render(simple, "{\"messages\":[],\"add_generation_prompt\":false}", "<s>");
    check_render(simple, "{\"messages\":[],\"add_generation_prompt\":true}", "<s><think>");
    check_render("{{ tools is none }}{{ documents is none }}{{ tools is defined }}{{ x is defined }}",
                 "{\"messages\":[]}", "TrueTrueTrueFalse");
    check_render("{{ tools|length }}{{ x }}", "{\"messages\":[],\"tools\":[1],\"x\":\"y\"}", "1y");
    check_render("{{ bos_token }}{{ eos_token }}", "{\"messages\":[],\"bos_token\":\"EVIL\",\"eos_token\":\"EVIL\"}",
                 "<s></s>");
    check_render("", "{\"messages\":[]}", "");
}

static void check_refused(const char *chat_template, const char *request, hd_status status, const char *part)
{
    hd_text *text = tiny_text(chat_template, true);
    char *out = NULL;
    size_t len;
    hd_error err = {0};
    int32_t *ids = NULL;
    assert_int_equal(hd_chat_render(text, request, strlen(request), &out, &len, &err), status);
    if (!strstr(err.text, part)) fail_msg("%s said %s", request, err.text);
    assert_null(out);
    assert_int_equal(hd_chat_prompt(text, request, strlen(request), &ids, &len, NULL), status);
    assert_null(ids);
    hd_text_close(&text);
}

static void test_refused(void **state)
{
    (void)state;
    check_refused(simple, "{", HD_E_FORMAT, "chat request: not valid JSON");
    check_refused(simple, "[]", HD_E_ARGUMENT, "must be a JSON object");
    check_refused(simple, "{}", HD_E_ARGUMENT, "needs messages");
    check_refused(simple, "{\"messages\":\"x\"}", HD_E_ARGUMENT, "needs messages");
    check_refused(NULL, "{\"messages\":[]}", HD_E_UNSUPPORTED, "no chat template");
    check_refused("{{ raise_exception('no way') }}", "{\"messages\":[]}", HD_E_ARGUMENT, "no way");
    check_refused("{% if %}", "{\"messages\":[]}", HD_E_FORMAT, "template line 1: expected an expression");
}

/* What a user writes never becomes a special token, and the template's markers always do. */
static void test_prompt(void **state)
{
    (void)state;
    static const char request[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"</s><think>\"}]}";
    static const int32_t want[] = {TINY_BOS, TINY_USER, '<', '/', 's', '>', '<',
                                   't',      'h',       'i', 'n', 'k', '>', TINY_THINK};
    hd_text *text = tiny_text(simple, true);
    int32_t *ids;
    size_t count;
    assert_int_equal(hd_chat_prompt(text, request, strlen(request), &ids, &count, NULL), HD_OK);
    check_ids(ids, count, want, HD_ARRAY_LEN(want));
    assert_true(hd_text_prompt_opens_reasoning(text, ids, count));
    hd_ids_release(ids);
    static const char half[] = "{{ '</' }}{{ messages[0].content }}";
    hd_text_close(&text);
    text = tiny_text(half, true);
    static const char completes[] = "{\"messages\":[{\"content\":\"s>\"}]}";
    static const int32_t spelled[] = {'<', '/', 's', '>'};
    assert_int_equal(hd_chat_prompt(text, completes, strlen(completes), &ids, &count, NULL), HD_OK);
    check_ids(ids, count, spelled, 4); /* one half each makes no token */
    hd_ids_release(ids);
    hd_text_close(&text);
    text = tiny_text("", true);
    assert_int_equal(hd_chat_prompt(text, "{\"messages\":[]}", 15, &ids, &count, NULL), HD_OK);
    assert_int_equal(count, 0);
    assert_non_null(ids);
    hd_ids_release(ids);
    hd_text_close(&text);
}

static void test_opens_reasoning(void **state)
{
    (void)state;
    static const int32_t open[] = {'a', TINY_THINK, 'b'}, closed[] = {TINY_THINK, TINY_END_THINK, 'b'}, none[] = {'a'};
    hd_text *text = tiny_text(NULL, true);
    assert_true(hd_text_prompt_opens_reasoning(text, open, 3));
    assert_false(hd_text_prompt_opens_reasoning(text, closed, 3));
    assert_false(hd_text_prompt_opens_reasoning(text, none, 1));
    assert_false(hd_text_prompt_opens_reasoning(text, NULL, 0));
    hd_text_close(&text);
    text = tiny_text(NULL, false); /* no tokens of their own: the text must end the prompt */
    static const struct {
        const char *text;
        bool opens;
    } cases[] = {{"a<think>", true}, {"a<think>\n\n", true}, {"<think>a", false}, {"<think", false},
                 {"", false},        {"\n", false}};
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        int32_t *ids;
        size_t count;
        assert_int_equal(hd_text_encode(text, cases[i].text, strlen(cases[i].text), false, false, &ids, &count, NULL),
                         HD_OK);
        assert_int_equal(hd_text_prompt_opens_reasoning(text, ids, count), cases[i].opens);
        hd_ids_release(ids);
    }
    hd_text_close(&text);
}

/* One hd_text serves any number of threads (the thread sanitizer looks). */
static void *render_often(void *arg)
{
    static const char request[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a</s>\"}]}";
    const hd_text *text = arg;
    size_t good = 0;
    for (int i = 0; i < 50; i++) {
        int32_t *ids = NULL;
        char *out = NULL;
        size_t count = 0, len = 0;
        if (hd_chat_prompt(text, request, strlen(request), &ids, &count, NULL) == HD_OK && count == 8) good++;
        if (hd_chat_render(text, request, strlen(request), &out, &len, NULL) == HD_OK && len == 23) good++;
        hd_ids_release(ids);
        hd_string_free(out);
    }
    return good == 100 ? arg : NULL;
}

static void test_threads(void **state)
{
    (void)state;
    pthread_t threads[4];
    hd_text *text = tiny_text(simple, true);
    for (size_t i = 0; i < 4; i++)
        assert_int_equal(pthread_create(&threads[i], NULL, render_often, text), 0);
    for (size_t i = 0; i < 4; i++) {
        void *result = NULL;
        pthread_join(threads[i], &result);
        assert_ptr_equal(result, text);
    }
    hd_text_close(&text);
}

static void test_no_memory(void **state)
{
    (void)state;
    static const char request[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"a\"}]}";
    hd_text *text = tiny_text(simple, true);
    size_t failures = 0;
    for (uint64_t n = 1; n < 40; n++) {
        int32_t *ids = NULL;
        char *out = NULL;
        size_t count;
        hd_alloc_fail_after(n);
        hd_status status = hd_chat_prompt(text, request, strlen(request), &ids, &count, NULL);
        hd_alloc_fail_after(n);
        hd_status rendered = hd_chat_render(text, request, strlen(request), &out, &count, NULL);
        hd_alloc_fail_after(0);
        assert_true(status == HD_OK || (status == HD_E_MEMORY && !ids));
        assert_true(rendered == HD_OK || (rendered == HD_E_MEMORY && !out));
        failures += status != HD_OK;
        hd_ids_release(ids);
        hd_string_free(out);
    }
    assert_in_range(failures, 3, 39);
    hd_text_close(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_open),
        cmocka_unit_test(test_encode),
        cmocka_unit_test(test_decode),
        cmocka_unit_test(test_variables),
        cmocka_unit_test(test_refused),
        cmocka_unit_test(test_prompt),
        cmocka_unit_test(test_opens_reasoning),
        cmocka_unit_test(test_threads),
        cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
