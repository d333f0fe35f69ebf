/* hello.c: asks a model one question through the installed library: `make && ./hello MODEL`. */
#include <hadal/chat.h>
#include <hadal/engine.h>
#include <stdio.h>
#include <string.h>

static hd_error err;
#define TRY(call)                                                                                                      \
    if ((call) != HD_OK) return fprintf(stderr, "hello: %s\n", err.text), 1

int main(int argc, char **argv)
{
    static const char question[] = "{\"messages\": [{\"role\": \"user\", \"content\": \"Why is the sky blue?\"}]}";
    const hd_sampling greedy = {.temperature = 0, .top_p = 1, .repetition_penalty = 1};
    hd_engine *engine;
    hd_text *text;
    hd_session *session;
    hd_sampler *sampler;
    hd_logprob next;
    int32_t *prompt;
    size_t length, ends;
    char *answer;
    if (argc != 2) return fprintf(stderr, "usage: hello MODEL\n"), 2;
    TRY(hd_engine_open(&engine, argv[1], NULL, &err));
    TRY(hd_text_open(&text, argv[1], &err));
    TRY(hd_session_open(&session, engine, &err));
    TRY(hd_sampler_open(&sampler, engine, &greedy, &err));
    TRY(hd_chat_prompt(text, question, strlen(question), &prompt, &length, &err));
    TRY(hd_session_feed(session, prompt, (int64_t)length, &err));
    const int32_t *end = hd_text_eos(text, &ends), *all;
    for (int n = 0; n < 100; n++) {
        TRY(hd_sampler_next(sampler, session, &next, NULL, 0, &err));
        if (ends && next.id == end[0]) break;
        TRY(hd_session_feed(session, &next.id, 1, &err));
    }
    all = hd_session_tokens(session); /* the prompt, then the answer */
    TRY(hd_text_decode(text, all + length, (size_t)hd_session_length(session) - length, false, &answer, &length, &err));
    return puts(answer) < 0; /* a program that goes on would now close what it opened */
}
