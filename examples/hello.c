/* hello.c: asks a model one question through the installed library: `make && ./hello MODEL`. */
#include <hadal/chat.h>
#include <hadal/engine.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

static hd_error err;

static void check(hd_status status)
{
    if (status == HD_OK) return;
    fprintf(stderr, "hello: %s\n", err.text);
    exit(1);
}

int main(int argc, char **argv)
{
    static const char question[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Why is the sky blue?\"}]}";
    static const hd_sampling greedy = {.temperature = 0, .top_p = 1, .repetition_penalty = 1};
    int32_t *prompt, answer[100];
    size_t prompt_len, answer_len, text_len, ends;
    char *text;
    hd_engine *engine;
    hd_text *tokens;
    hd_session *session;
    hd_sampler *sampler;
    if (argc != 2) return fprintf(stderr, "usage: hello MODEL\n"), 2;
    check(hd_engine_open(&engine, argv[1], NULL, &err));
    check(hd_text_open(&tokens, argv[1], &err));
    check(hd_session_open(&session, engine, &err));
    check(hd_sampler_open(&sampler, engine, &greedy, &err));
    check(hd_chat_prompt(tokens, question, strlen(question), &prompt, &prompt_len, &err));
    check(hd_session_feed(session, prompt, (int64_t)prompt_len, &err));
    const int32_t *end = hd_text_eos(tokens, &ends);
    bool ended = false;
    for (answer_len = 0; answer_len < 100; answer_len++) {
        hd_logprob token;
        check(hd_sampler_next(sampler, session, &token, NULL, 0, &err));
        for (size_t i = 0; i < ends; i++)
            ended |= token.id == end[i];
        if (ended) break;
        answer[answer_len] = token.id;
        check(hd_session_feed(session, &token.id, 1, &err));
    }
    check(hd_text_decode(tokens, answer, answer_len, false, &text, &text_len, &err));
    puts(text);
    hd_string_free(text);
    hd_ids_release(prompt);
    hd_sampler_close(&sampler);
    hd_session_close(&session);
    hd_text_close(&tokens);
    hd_engine_close(&engine);
    return 0;
}
