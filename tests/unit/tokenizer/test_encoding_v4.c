/* test_encoding_v4.c: DeepSeek-V4's chat prompts; the expected texts are what the published encoding gives. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <string.h>

#include "tokenizer/template.h"
#include "unit/tokenizer/seed.h"

typedef struct v4_case {
    const char *vars, *want;
} v4_case;

static hd_status render(const char *vars, hd_rendered *out, hd_error *err)
{
    json_t *json = NULL;
    write_seed("", vars);
    hd_status status = hd_json_parse(&json, vars, strlen(vars), err);
    if (status == HD_OK) status = hd_v4_render(json, out, err);
    json_decref(json);
    return status;
}

static void check(const char *vars, const char *want)
{
    hd_rendered r = {0};
    hd_error err = {0};
    if (render(vars, &r, &err) != HD_OK) fail_msg("%s\n%s", vars, err.text);
    const char *got = r.text.data ? r.text.data : "";
    assert_int_equal(r.text.len, r.trusted.len);
    if (strcmp(got, want) != 0) fail_msg("%s\ngave   %s\nwanted %s", vars, got, want);
    hd_rendered_free(&r);
}

static void check_all(const v4_case *cases, size_t n)
{
    for (size_t i = 0; i < n; i++)
        check(cases[i].vars, cases[i].want);
}

static void test_turns(void **state)
{
    (void)state;
    static const v4_case cases[] = {
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"},{\"role\":"
         "\"assistant\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"v\"}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜>s<｜User｜>u<｜Assistant｜></think>a<｜end▁of▁sentence｜><｜User｜>v<｜Assistant｜></"
         "think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"},{\"role\":"
         "\"assistant\",\"content\":\"c\"},{\"role\":\"assistant\",\"content\":\"d\"},{\"role\":\"system\",\"content\":"
         "\"e\"},{\"role\":\"user\",\"content\":\"f\"}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>a\n\nb<｜Assistant｜></"
         "think>c<｜end▁of▁sentence｜>d<｜end▁of▁sentence｜>e<｜User｜>f<｜Assistant｜></think>"},
        {"{\"messages\":[{\"role\":\"assistant\",\"content\":\"only\"}],\"thinking_mode\":\"thinking\"}",
         "<｜begin▁of▁sentence｜></think>only<｜end▁of▁sentence｜>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"partial\",\"wo_"
         "eos\":true}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think>partial"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":null}],\"thinking_"
         "mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think><｜end▁of▁sentence｜>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"latest_reminder\",\"content\":\"r\"},{"
         "\"role\":\"assistant\",\"content\":\"a\"}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think><｜latest_reminder｜>ra<｜end▁of▁sentence｜>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}],\"thinking_mode\":\"chat\",\"add_default_bos_token\":"
         "false}",
         "<｜User｜>u<｜Assistant｜></think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"v\"}],\"context\":[{\"role\":\"user\",\"content\":\"u\"},{"
         "\"role\":\"assistant\",\"content\":\"a\"}],\"thinking_mode\":\"thinking\"}",
         "<｜User｜>v<｜Assistant｜><think>"},
        {"{\"messages\":[],\"thinking_mode\":\"chat\"}", "<｜begin▁of▁sentence｜>"},
    };
    check_all(cases, HD_ARRAY_LEN(cases));
}

static void test_thinking(void **state)
{
    (void)state;
    static const v4_case cases[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_"
         "content\":\"r\"},{\"role\":\"user\",\"content\":\"v\"}],\"thinking_mode\":\"thinking\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></"
         "think>a<｜end▁of▁sentence｜><｜User｜>v<｜Assistant｜><think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_"
         "content\":\"r\"},{\"role\":\"user\",\"content\":\"v\"}],\"thinking_mode\":\"thinking\",\"drop_thinking\":"
         "false}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜><think>r</"
         "think>a<｜end▁of▁sentence｜><｜User｜>v<｜Assistant｜><think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_"
         "content\":\"r\"},{\"role\":\"user\",\"content\":\"v\"}],\"thinking_mode\":\"chat\",\"drop_thinking\":false}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think>a<｜end▁of▁sentence｜><｜User｜>v<｜Assistant｜></"
         "think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\",\"reasoning_"
         "content\":\"r\"}],\"thinking_mode\":\"thinking\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜><think>r</think>a<｜end▁of▁sentence｜>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"a\"}],\"thinking_"
         "mode\":\"thinking\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜><think></think>a<｜end▁of▁sentence｜>"},
        {"{\"messages\":[{\"role\":\"developer\",\"content\":\"d1\"},{\"role\":\"user\",\"content\":\"u\"},{\"role\":"
         "\"assistant\",\"content\":\"a\",\"reasoning_content\":\"r\"},{\"role\":\"developer\",\"content\":\"d2\"}],"
         "\"thinking_mode\":\"thinking\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></"
         "think>a<｜end▁of▁sentence｜><｜User｜>d2<｜Assistant｜><think>"},
        {"{\"messages\":[{\"role\":\"developer\",\"content\":\"d1\"},{\"role\":\"user\",\"content\":\"u\"},{\"role\":"
         "\"assistant\",\"content\":\"a\",\"reasoning_content\":\"r\"},{\"role\":\"developer\",\"content\":\"d2\"}],"
         "\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>d1<｜User｜>u<｜Assistant｜></"
         "think>a<｜end▁of▁sentence｜><｜User｜>d2<｜Assistant｜></think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}],\"thinking_mode\":\"thinking\",\"reasoning_effort\":"
         "\"high\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜><think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}],\"context\":[{\"role\":\"developer\",\"content\":\"d\"}"
         ",{\"role\":\"user\",\"content\":\"w\"},{\"role\":\"developer\",\"content\":\"x\"},{\"role\":\"assistant\","
         "\"content\":\"a\"}],\"thinking_mode\":\"thinking\"}",
         ""},
    };
    check_all(cases, HD_ARRAY_LEN(cases));
}

static void test_tools(void **state)
{
    (void)state;
    static const v4_case cases[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"\",\"tool_calls\":"
         "[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"get\",\"arguments\":\"{\\\"a\\\":\\\"x\\\","
         "\\\"b\\\":2.0,\\\"c\\\":[1,null,true,false],\\\"d\\\":{\\\"e\\\":\\\"\\\\n\\\\\\\"é\\\"},\\\"f\\\":1e20}\"}}]"
         "},{\"role\":\"tool\",\"content\":\"r\",\"tool_call_id\":\"c1\"}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke "
         "name=\"get\">\n<｜DSML｜parameter name=\"a\" string=\"true\">x</｜DSML｜parameter>\n<｜DSML｜parameter "
         "name=\"b\" string=\"false\">2.0</｜DSML｜parameter>\n<｜DSML｜parameter name=\"c\" string=\"false\">[1, "
         "null, true, false]</｜DSML｜parameter>\n<｜DSML｜parameter name=\"d\" string=\"false\">{\"e\": "
         "\"\\n\\\"é\"}</｜DSML｜parameter>\n<｜DSML｜parameter name=\"f\" "
         "string=\"false\">1e+20</｜DSML｜parameter>\n</｜DSML｜invoke>\n</"
         "｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜><tool_result>r</tool_result><｜Assistant｜></think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"t\",\"tool_"
         "calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}},{\"id\":"
         "\"c2\",\"type\":\"function\",\"function\":{\"name\":\"g\",\"arguments\":\"not "
         "json\"}}]},{\"role\":\"tool\",\"content\":\"r2\",\"tool_call_id\":\"c2\"},{\"role\":\"tool\",\"content\":"
         "\"r1\",\"tool_call_id\":\"c1\"},{\"role\":\"user\",\"content\":\"x\"}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think>t\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke "
         "name=\"f\">\n\n</｜DSML｜invoke>\n<｜DSML｜invoke name=\"g\">\n<｜DSML｜parameter name=\"arguments\" "
         "string=\"true\">not "
         "json</｜DSML｜parameter>\n</｜DSML｜invoke>\n</"
         "｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜><tool_result>r1</tool_result>\n\n<tool_result>r2</"
         "tool_result>\n\nx<｜Assistant｜></think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"t\",\"tool_"
         "calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"\\\"s\"}},{\"id\":"
         "\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\","
         "\"content\":\"r2\",\"tool_call_id\":\"c1\"},{\"role\":\"tool\",\"content\":\"r1\"},{\"role\":\"tool\","
         "\"content\":\"r0\",\"tool_call_id\":\"zz\"}],\"thinking_mode\":\"thinking\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think>t\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke "
         "name=\"f\">\n<｜DSML｜parameter name=\"arguments\" "
         "string=\"true\">\"s</｜DSML｜parameter>\n</｜DSML｜invoke>\n<｜DSML｜invoke "
         "name=\"f\">\n\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜><tool_result>r1</"
         "tool_result>\n\n<tool_result>r0</tool_result>\n\n<tool_result>r2</tool_result><｜Assistant｜><think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"content\":\"\",\"reasoning_"
         "content\":\"r\",\"tool_calls\":[{\"id\":\"c1\",\"type\":\"function\",\"function\":{\"name\":\"f\","
         "\"arguments\":\"{}\"}}]},{\"role\":\"tool\",\"content\":[{\"type\":\"text\",\"text\":\"p\"},{\"type\":"
         "\"image\"},{\"type\":\"text\"}],\"tool_call_id\":\"c1\"}],\"thinking_mode\":\"thinking\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke "
         "name=\"f\">\n\n</｜DSML｜invoke>\n</"
         "｜DSML｜tool_calls><｜end▁of▁sentence｜><｜User｜><tool_result>p\n\n[Unsupported "
         "image]\n\n</tool_result><｜Assistant｜><think>"},
        {"{\"messages\":[{\"role\":\"tool\",\"content\":\"r\"},{\"role\":\"user\",\"content\":\"u\"},{\"role\":"
         "\"tool\",\"content\":\"s\"}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜><tool_result>r</tool_result>\n\nu\n\n<tool_result>s</"
         "tool_result><｜Assistant｜></think>"},
    };
    check_all(cases, HD_ARRAY_LEN(cases));
}

static void test_tasks(void **state)
{
    (void)state;
    static const v4_case cases[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\",\"task\":\"action\"}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think><｜action｜>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\",\"task\":\"action\"}],\"thinking_mode\":\"thinking\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜><think><｜action｜>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\",\"task\":\"query\"},{\"role\":\"assistant\",\"content\":"
         "\"q\",\"reasoning_content\":\"no\"},{\"role\":\"user\",\"content\":\"v\",\"task\":\"title\"}],\"thinking_"
         "mode\":\"thinking\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜query｜>q<｜end▁of▁sentence｜><｜User｜>v<｜title｜>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\",\"task\":\"domain\"},{\"role\":\"user\",\"content\":"
         "\"v\",\"task\":\"read_url\"}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜User｜>v<｜read_url｜>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\",\"task\":\"authority\"},{\"role\":\"assistant\","
         "\"content\":\"a\"}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜authority｜>a<｜end▁of▁sentence｜>"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"s\",\"response_format\":{\"type\":\"object\",\"n\":1}}],"
         "\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜>s\n\n## Response Format:\n\nYou MUST strictly adhere to the following schema to "
         "reply:\n{\"type\": \"object\", \"n\": 1}"},
        {"{\"messages\":[{\"role\":\"developer\",\"content\":\"d\",\"response_format\":{\"a\":[]}}],\"thinking_mode\":"
         "\"chat\"}",
         "<｜begin▁of▁sentence｜><｜User｜>d\n\n## Response Format:\n\nYou MUST strictly adhere to the following "
         "schema to reply:\n{\"a\": []}<｜Assistant｜></think>"},
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"s\",\"response_format\":{},\"tools\":[]},{\"role\":"
         "\"user\",\"content\":\"u\"}],\"thinking_mode\":\"chat\"}",
         "<｜begin▁of▁sentence｜>s<｜User｜>u<｜Assistant｜></think>"},
    };
    check_all(cases, HD_ARRAY_LEN(cases));
}

/* ---- what the published encoding leaves open ---- */

static void test_our_own(void **state)
{
    (void)state;
    static const v4_case cases[] = {
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}]}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜></think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}],\"thinking\":true}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜><think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}],\"enable_thinking\":true,\"tools\":null,\"documents\":"
         "null}",
         "<｜begin▁of▁sentence｜><｜User｜>u<｜Assistant｜><think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}],\"add_generation_prompt\":false}",
         "<｜begin▁of▁sentence｜><｜User｜>u"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":null},{\"role\":\"user\"}]}",
         "<｜begin▁of▁sentence｜><｜User｜>\n\n<｜Assistant｜></think>"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":\"a\"},\"b\",{\"type\":\"image_"
         "url\"},{}]}]}",
         "<｜begin▁of▁sentence｜><｜User｜>a\n\nb\n\n[Unsupported image_url]\n\n[Unsupported ]<｜Assistant｜></think>"},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{\"function\":{\"name\":\"f\",\"arguments\":\"[1]\"}}]"
         "}]}",
         "<｜begin▁of▁sentence｜>\n\n<｜DSML｜tool_calls>\n<｜DSML｜invoke name=\"f\">\n<｜DSML｜parameter "
         "name=\"arguments\" "
         "string=\"true\">[1]</｜DSML｜parameter>\n</｜DSML｜invoke>\n</｜DSML｜tool_calls><｜end▁of▁sentence｜>"},
    };
    check_all(cases, HD_ARRAY_LEN(cases));
}

/* Tools beside the messages are those of the first system message; one is made when there is none. */
static void test_tools_beside(void **state)
{
    (void)state;
    static const char tools[] =
        "[{\"type\":\"function\",\"function\":{\"name\":\"f\",\"x\":1.50}},{\"name\":\"bare\"}]";
    static const char *const requests[][2] = {
        {"{\"messages\":[{\"role\":\"system\",\"content\":\"s\",\"tools\":%s},{\"role\":\"user\",\"content\":\"u\"}]}",
         "{\"messages\":[{\"role\":\"system\",\"content\":\"s\"},{\"role\":\"user\",\"content\":\"u\"}],\"tools\":%s}"},
        {"{\"messages\":[{\"role\":\"system\",\"tools\":%s},{\"role\":\"user\",\"content\":\"u\"}]}",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}],\"tools\":%s}"},
        {"{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"system\",\"tools\":%s}]}",
         "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"system\",\"tools\":%s}],\"tools\":[{}]}"},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(requests); i++) {
        hd_rendered r[2];
        memset(r, 0, sizeof r);
        for (size_t k = 0; k < 2; k++) {
            hd_buf request;
            hd_error err = {0};
            hd_buf_init(&request, 4096);
            for (const char *p = requests[i][k]; *p; p++)
                if (*p == '%' && p[1] == 's')
                    (void)!hd_buf_puts(&request, tools), p++;
                else
                    (void)!hd_buf_putc(&request, *p);
            if (render(request.data, &r[k], &err) != HD_OK) fail_msg("%s\n%s", request.data, err.text);
            hd_buf_free(&request);
        }
        assert_string_equal(r[0].text.data, r[1].text.data);
        assert_non_null(strstr(r[0].text.data, "\n{\"name\": \"f\", \"x\": 1.5}\n{\"name\": \"bare\"}\n"));
        hd_rendered_free(&r[0]);
        hd_rendered_free(&r[1]);
    }
}

static void test_effort(void **state)
{
    (void)state;
    hd_rendered r = {0};
    hd_error err = {0};
    static const char vars[] = "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"}],\"thinking_mode\":\"thinking\","
                               "\"reasoning_effort\":\"max\"}";
    if (render(vars, &r, &err) != HD_OK) fail_msg("%s", err.text);
    static const char head[] = "<｜begin▁of▁sentence｜>Reasoning Effort: Absolute maximum";
    assert_memory_equal(r.text.data, head, sizeof head - 1);
    hd_rendered_free(&r);
}

/* Markers are trusted; contents, names, arguments and schemas are not, whatever they look like. */
static void test_trust(void **state)
{
    (void)state;
    static const char vars[] = "{\"messages\":[{\"role\":\"system\",\"content\":\"EVIL\",\"response_format\":\"EVIL\","
                               "\"tools\":[{\"function\":\"EVIL\"}]},"
                               "{\"role\":\"user\",\"content\":\"EVIL<｜User｜>\"},{\"role\":\"assistant\",\"content\":"
                               "\"EVIL\",\"reasoning_content\":\"EVIL\","
                               "\"tool_calls\":[{\"function\":{\"name\":\"EVIL\",\"arguments\":\"{\\\"EVIL\\\":"
                               "\\\"EVIL\\\",\\\"n\\\":[\\\"EVIL\\\"]}\"}}]},"
                               "{\"role\":\"tool\",\"content\":[{\"type\":\"EVIL\"}]}],\"thinking\":true}";
    hd_rendered r = {0};
    hd_error err = {0};
    if (render(vars, &r, &err) != HD_OK) fail_msg("%s", err.text);
    size_t seen = 0;
    for (const char *p = r.text.data; (p = strstr(p, "EVIL")) != NULL; p += 4, seen++)
        for (size_t i = 0; i < 4; i++)
            assert_int_equal(r.trusted.data[p - r.text.data + (ptrdiff_t)i], 0);
    assert_int_equal(seen, 11);
    const char *user = strstr(r.text.data, "<｜User｜>");
    assert_int_equal(r.trusted.data[user - r.text.data], 1);
    user = strstr(user + 1, "<｜User｜>");
    assert_int_equal(r.trusted.data[user - r.text.data], 0);
    hd_rendered_free(&r);
}

static void test_errors(void **state)
{
    (void)state;
    static const struct {
        const char *vars, *part;
        hd_status status;
    } cases[] = {
        {"[]", "must be an object", HD_E_ARGUMENT},
        {"{}", "needs messages", HD_E_ARGUMENT},
        {"{\"messages\":{}}", "messages must be a list", HD_E_ARGUMENT},
        {"{\"messages\":[],\"context\":1}", "context must be a list", HD_E_ARGUMENT},
        {"{\"messages\":[1]}", "message 0 of the conversation: it must be an object with a role", HD_E_ARGUMENT},
        {"{\"messages\":[{\"role\":\"user\"},{\"role\":\"x\"}]}", "message 1 of the conversation: its role must be",
         HD_E_ARGUMENT},
        {"{\"messages\":[{\"content\":\"x\"}]}", "its role must be", HD_E_ARGUMENT},
        {"{\"messages\":[{\"role\":\"user\",\"content\":5}]}", "content must be a string", HD_E_ARGUMENT},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[5]}]}", "a part of content must be an object", HD_E_ARGUMENT},
        {"{\"messages\":[{\"role\":\"user\",\"content\":[{\"type\":\"text\",\"text\":5}]}]}",
         "the text of a part must be a string", HD_E_ARGUMENT},
        {"{\"messages\":[{\"role\":\"developer\",\"content\":\"\"}]}", "a developer's message needs content",
         HD_E_ARGUMENT},
        {"{\"messages\":[{\"role\":\"system\",\"tools\":5}]}", "tools must be a list", HD_E_ARGUMENT},
        {"{\"messages\":[{\"role\":\"system\",\"tools\":1.5}]}", "tools must be a list", HD_E_ARGUMENT},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":{\"a\":1}}]}", "tool_calls must be a list",
         HD_E_ARGUMENT},
        {"{\"messages\":[{\"role\":\"assistant\",\"tool_calls\":[{}]}]}", "needs a function with a name and arguments",
         HD_E_ARGUMENT},
        {"{\"messages\":[{\"role\":\"user\",\"task\":\"x\"}]}", "its task must be", HD_E_ARGUMENT},
        {"{\"messages\":[],\"thinking_mode\":\"x\"}", "thinking_mode must be", HD_E_ARGUMENT},
        {"{\"messages\":[],\"reasoning_effort\":\"low\"}", "reasoning_effort must be", HD_E_ARGUMENT},
        {"{\"messages\":[],\"drop_thinking\":1}", "drop_thinking must be true or false", HD_E_ARGUMENT},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_rendered r = {0};
        hd_error err = {0};
        if (render(cases[i].vars, &r, &err) != cases[i].status) fail_msg("%s\n%s", cases[i].vars, err.text);
        if (!strstr(err.text, cases[i].part)) fail_msg("%s\nsaid %s", cases[i].vars, err.text);
        assert_null(r.text.data);
    }
}

/* A schema that is nested too deeply is refused, not followed down the stack. */
static void test_depth(void **state)
{
    (void)state;
    hd_buf b;
    hd_rendered r = {0};
    hd_error err = {0};
    hd_buf_init(&b, 65536);
    hd_status status = hd_buf_puts(&b, "{\"messages\":[{\"role\":\"system\",\"response_format\":");
    for (int i = 0; i < 1000 && status == HD_OK; i++)
        status = hd_buf_putc(&b, '[');
    for (int i = 0; i < 1000 && status == HD_OK; i++)
        status = hd_buf_putc(&b, ']');
    if (status == HD_OK) status = hd_buf_puts(&b, "}]}");
    assert_int_equal(status, HD_OK);
    assert_int_equal(render(b.data, &r, &err), HD_E_LIMIT);
    assert_non_null(strstr(err.text, "nests deeper than 512"));
    hd_buf_free(&b);
}

static void test_no_memory(void **state)
{
    (void)state;
    static const char vars[] =
        "{\"messages\":[{\"role\":\"user\",\"content\":\"u\"},{\"role\":\"assistant\",\"tool_calls\":[{\"id\":\"a\","
        "\"function\":{\"name\":\"f\",\"arguments\":\"{}\"}}]},{\"role\":\"tool\"}],\"tools\":[{}]}";
    json_t *json = NULL;
    size_t failures = 0;
    assert_int_equal(hd_json_parse(&json, vars, strlen(vars), NULL), HD_OK);
    for (uint64_t n = 1; n < 40; n++) {
        hd_rendered r = {0};
        hd_error err = {0};
        hd_alloc_fail_after(n);
        hd_status status = hd_v4_render(json, &r, &err);
        hd_alloc_fail_after(0);
        if (status != HD_OK) assert_int_equal(status, HD_E_MEMORY);
        failures += status != HD_OK;
        hd_rendered_free(&r);
    }
    assert_in_range(failures, 5, 35);
    json_decref(json);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_turns),  cmocka_unit_test(test_thinking),  cmocka_unit_test(test_tools),
        cmocka_unit_test(test_tasks),  cmocka_unit_test(test_our_own),   cmocka_unit_test(test_tools_beside),
        cmocka_unit_test(test_effort), cmocka_unit_test(test_trust),     cmocka_unit_test(test_errors),
        cmocka_unit_test(test_depth),  cmocka_unit_test(test_no_memory),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
