/* test_tools.c: tool calls as the models' own templates (and V4's encoding) write them, parsed back from the tokens and
 * from the letters of the text, for every tokenizer of golden/tokenizers that knows calls. */
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>
#include <jansson.h>

#include "base/base.h"
#include "data.h"
#include "hadal/chat.h"
#include "unzip.h"

#define CALLS_MAX 8
#define ANSWER "<｜Assistant｜>"
#define END_THINK "</think>"
#define EOS "<｜end▁of▁sentence｜>"

static char scratch[] = "/tmp/hadal-tools-XXXXXX";

/* ---- what the templates write ---- */

typedef struct release {
    const char *name;
    size_t calls;      /* most that its template writes as one answer: those of V2.5 and V3 end it after the second */
    const char *empty; /* the content of a message with calls alone */
    bool with_text;    /* the template writes content in front of calls */
} release;

static const release releases[] = {
    {"deepseek-v2.5", 2, "null", false},
    {"deepseek-v3", 2, "null", false},
    {"deepseek-r1", 4, "null", true},
    {"deepseek-v3.1", 4, "null", true},
    {"deepseek-v4", 4, "null", true},
    {"deepseek-r1-0528-qwen3-8b", 4, "\"\"", true},
    {"deepseek-r1-distill-qwen-7b", 2, "null", false},
    {"deepseek-r1-distill-llama-8b", 2, "null", false},
};

typedef struct call {
    const char *name, *arguments;
} call;

static const call calls[] = {
    {"get_weather", "{\"city\": \"Hangzhou \xE6\x9D\xAD\xE5\xB7\x9E\", \"days\": 3, \"metric\": true}"},
    {"now", "{}"},
    {"write-file.v2",
     "{\"path\": \"a/b\", \"text\": \"\\\"quoted\\\"\\n\\ttab \\\\ ```json {\\\"x\\\": 1} </tool_call>\\n\\n<b>\", "
     "\"mode\": null}"},
    {"search",
     "{\"query\": \"<｜tool▁call▁end｜><｜tool▁calls▁end｜> }\", \"filter\": {\"tags\": [\"a}\", \"\", [1, -2.5e3]], "
     "\"deep\": {\"er\": {}}}, \"limit\": 0}"},
};

static char *request_of(const release *r, size_t first, size_t count, const char *content)
{
    json_t *list = json_array();
    for (size_t i = 0; i < count; i++) {
        const call *c = &calls[(first + i) % HD_ARRAY_LEN(calls)];
        json_array_append_new(list, json_pack("{s:s,s:s,s:{s:s,s:s}}", "id", "x", "type", "function", "function",
                                              "name", c->name, "arguments", c->arguments));
    }
    json_t *text = json_loads(content ? content : r->empty, JSON_DECODE_ANY, NULL);
    json_t *root = json_pack("{s:[{s:s,s:s},{s:s,s:o,s:o}],s:b}", "messages", "role", "user", "content", "Q", "role",
                             "assistant", "content", text, "tool_calls", list, "add_generation_prompt", 0);
    char *request = json_dumps(root, 0);
    assert_non_null(request);
    json_decref(root);
    return request;
}

/* The assistant's turn of a rendered prompt: what the model is to write.  The string is the caller's. */
static char *answer_of(const hd_text *text, const char *request)
{
    char *prompt = NULL;
    size_t len = 0;
    hd_error err = {0};
    if (hd_chat_render(text, request, strlen(request), &prompt, &len, &err) != HD_OK) fail_msg("%s", err.text);
    char *begin = strstr(prompt, ANSWER);
    if (!begin) fail_msg("no answer in %s", prompt);
    begin += strlen(ANSWER);
    if (strncmp(begin, END_THINK, strlen(END_THINK)) == 0) begin += strlen(END_THINK);
    char *end = strstr(begin, EOS), *answer = hd_strndup(begin, end ? (size_t)(end - begin) : strlen(begin));
    assert_non_null(answer);
    hd_string_free(prompt);
    return answer;
}

/* ---- what is parsed back ---- */

typedef struct parsed {
    hd_buf text, name[CALLS_MAX], arguments[CALLS_MAX], wrong[CALLS_MAX];
    size_t calls, ended;
} parsed;

static void parsed_init(parsed *out)
{
    *out = (parsed){.calls = 0};
    hd_buf_init(&out->text, 1 << 20);
    for (size_t i = 0; i < CALLS_MAX; i++) {
        hd_buf_init(&out->name[i], 1 << 20);
        hd_buf_init(&out->arguments[i], 1 << 20);
        hd_buf_init(&out->wrong[i], 1 << 20);
    }
}

static void parsed_free(parsed *out)
{
    hd_buf_free(&out->text);
    for (size_t i = 0; i < CALLS_MAX; i++) {
        hd_buf_free(&out->name[i]);
        hd_buf_free(&out->arguments[i]);
        hd_buf_free(&out->wrong[i]);
    }
}

static void collect(void *arg, hd_piece_kind kind, const char *data, size_t len)
{
    parsed *out = arg;
    if (kind == HD_PIECE_TOOL_BEGIN) out->calls++;
    if (kind == HD_PIECE_TOOL_END) out->ended++;
    assert_true(out->calls <= CALLS_MAX && out->ended <= out->calls);
    size_t i = out->calls ? out->calls - 1 : 0;
    hd_buf *into = kind == HD_PIECE_TOOL_BEGIN       ? &out->name[i]
                   : kind == HD_PIECE_TOOL_ARGUMENTS ? &out->arguments[i]
                   : kind == HD_PIECE_TOOL_END       ? &out->wrong[i]
                                                     : &out->text;
    assert_int_equal(hd_buf_append(into, data, len), HD_OK);
}

/* As the model would: with its tokens for markers, or letter by letter. */
static void parse(const hd_text *text, const char *answer, bool tokens, parsed *out)
{
    hd_answer_options options = {.split_reasoning = true, .parse_tools = true};
    hd_answer *a = NULL;
    hd_error err = {0};
    bool stopped;
    parsed_init(out);
    assert_int_equal(hd_answer_open(&a, text, &options, collect, out, &err), HD_OK);
    int32_t *ids = NULL;
    size_t count = 0;
    assert_int_equal(hd_text_encode(text, answer, strlen(answer), tokens, false, &ids, &count, &err), HD_OK);
    for (size_t i = 0; i < count; i++)
        assert_int_equal(hd_answer_push(a, ids[i], &stopped, &err), HD_OK);
    assert_int_equal(hd_answer_finish(a, &err), HD_OK);
    hd_ids_release(ids);
    hd_answer_close(&a);
}

static void check_call(const char *name, const parsed *out, size_t i, const call *want)
{
    const char *got = out->arguments[i].data;
    if (out->wrong[i].len) fail_msg("%s: call %zu: %s", name, i, out->wrong[i].data);
    assert_string_equal(out->name[i].data, want->name);
    json_t *a = json_loads(got, 0, NULL), *b = json_loads(want->arguments, 0, NULL);
    if (!a || !json_equal(a, b)) fail_msg("%s: call %zu\ngave   %s\nwanted %s", name, i, got, want->arguments);
    json_decref(a);
    json_decref(b);
}

static void check(const hd_text *text, const release *r, size_t first, size_t count, const char *content)
{
    char *request = request_of(r, first, count, content), *answer = answer_of(text, request);
    const char *want = content ? "Let me see." : "";
    for (int tokens = 0; tokens < 2; tokens++) {
        parsed out;
        parse(text, answer, tokens, &out);
        if (out.calls != count || out.ended != count)
            fail_msg("%s: %zu calls of %zu in %s", r->name, out.calls, count, answer);
        for (size_t i = 0; i < count; i++)
            check_call(r->name, &out, i, &calls[(first + i) % HD_ARRAY_LEN(calls)]);
        const char *got = out.text.len ? out.text.data : "";
        if (strcmp(got, want) != 0) fail_msg("%s: the text is \"%s\", wanted \"%s\"", r->name, got, want);
        parsed_free(&out);
    }
    hd_free(answer);
    free(request); /* hd-lint: allow raw-memory: jansson allocated it */
}

/* ---- the releases ---- */

static bool golden(char path[HD_TEST_PATH], const char *fmt, const char *name)
{
    char relative[512];
    snprintf(relative, sizeof relative, fmt, name);
    return hd_test_golden(path, relative);
}

/* NULL: it is not there. */
static hd_text *open_golden(const char *name)
{
    char zip[HD_TEST_PATH], config[HD_TEST_PATH], json[sizeof scratch + 32], link[sizeof scratch + 32];
    hd_text *text = NULL;
    hd_error err = {0};
    if (!golden(zip, "tokenizers/%s/tokenizer.json.zip", name)) return NULL;
    assert_true(golden(config, "tokenizers/%s/tokenizer_config.json", name));
    if (!hd_test_unzip(zip, scratch)) fail_msg("%s can't be unpacked", zip);
    char *target = realpath(config, NULL);
    assert_non_null(target);
    snprintf(link, sizeof link, "%s/tokenizer_config.json", scratch);
    snprintf(json, sizeof json, "%s/tokenizer.json", scratch);
    assert_int_equal(symlink(target, link), 0);
    free(target); /* hd-lint: allow raw-memory: realpath allocated it */
    hd_status status = hd_text_open(&text, scratch, &err);
    unlink(link);
    unlink(json);
    if (status != HD_OK) fail_msg("%s: %s", name, err.text);
    return text;
}

static int opened;

static void test_releases(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(releases); i++) {
        const release *r = &releases[i];
        hd_text *text = open_golden(r->name);
        if (!text) continue;
        opened++;
        assert_true(hd_text_knows_tools(text));
        for (size_t first = 0; first < HD_ARRAY_LEN(calls); first++)
            for (size_t count = 1; count <= r->calls; count++) {
                check(text, r, first, count, NULL);
                if (r->with_text) check(text, r, first, count, "\"Let me see.\"");
            }
        hd_text_close(&text);
    }
}

/* Models that were taught no calls say so, and give markers as text. */
static void test_no_calls(void **state)
{
    (void)state;
    hd_text *text = open_golden("deepseek-coder-33b-base");
    static const char answer[] = "<tool_call>\n{\"name\": \"f\", \"arguments\": {}}\n</tool_call>";
    parsed out;
    if (!text) skip();
    assert_false(hd_text_knows_tools(text));
    parse(text, answer, true, &out);
    assert_int_equal(out.calls, 0);
    assert_string_equal(out.text.data, answer);
    parsed_free(&out);
    hd_text_close(&text);
}

int main(void)
{
    const struct CMUnitTest tests[] = {cmocka_unit_test(test_releases), cmocka_unit_test(test_no_calls)};
    if (!mkdtemp(scratch)) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    rmdir(scratch);
    printf("%d of %zu tokenizers that know calls were there\n", opened, HD_ARRAY_LEN(releases));
    return failed || opened ? failed : hd_test_skip("golden/tokenizers");
}
