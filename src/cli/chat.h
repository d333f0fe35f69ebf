/* cli/chat.h: the parts of `hadal chat`: what the user types, one turn of the conversation, the /commands.
 *
 * The conversation is the list of messages; the session's cache only saves work.  Every turn renders all messages anew
 * and feeds what differs from the tokens that the session holds.
 */
#ifndef HD_CLI_CHAT_H
#define HD_CLI_CHAT_H

#include "base/base.h"
#include "cli/engine.h"

typedef enum hd_think {
    HD_THINK_DEFAULT, /* as the model does; shown on a terminal */
    HD_THINK_ON,      /* asked for and shown */
    HD_THINK_OFF,     /* asked not to; what comes all the same is not shown */
    HD_THINK_HIDE     /* as the model does, not shown */
} hd_think;

typedef struct hd_chat_stats {
    int64_t prompt_tokens, reused_tokens, answer_tokens;
    double prefill_seconds, answer_seconds;
} hd_chat_stats;

typedef struct hd_chat {
    /* options */
    const char *system;
    int64_t max_tokens;
    hd_opt_list vars;
    hd_engine_flags engine_flags;
    hd_sampling_flags sampling_flags;
    /* the model */
    char *path;
    hd_engine *engine;
    hd_engine_info info;
    hd_text *text;
    hd_session *session;
    int32_t *ends;
    size_t end_count;
    /* the conversation */
    json_t *messages;
    hd_think think;
    char *saved_as; /* file that /save wrote or /load read: may be written again; NULL: none */
    /* the terminal */
    bool interactive; /* somebody types; else lines of a file are the turns */
    bool next_block;  /* /multi: the next message spans lines */
    bool leaving;
    hd_chat_stats last, total;
    int64_t turns;
} hd_chat;

/* ---- input (chat_input.c) ---- */

typedef struct hd_chat_input hd_chat_input;

typedef enum hd_chat_event { HD_CHAT_TEXT, HD_CHAT_END, HD_CHAT_INTERRUPTED } hd_chat_event;

/* With a terminal that can: line editing and the history of former chats (kept in the state folder); else plain lines.
 */
hd_status hd_chat_input_open(hd_chat_input **out, bool interactive, hd_error *err);
void hd_chat_input_close(hd_chat_input **in); /* saves the history */

/* Reads one message: a line; lines that end in \ and the one after; or a block from """ to """.  `block`: as if """ had
 * been typed.  HD_CHAT_END: end of input before anything was typed. */
hd_status hd_chat_input_read(hd_chat_input *in, bool block, hd_buf *text, hd_chat_event *event, hd_error *err);

/* ---- turns (chat_turn.c) ---- */

/* Adds the user's message, answers it and prints the answer.  After an error the message is taken back. */
hd_status hd_chat_say(hd_chat *chat, const char *text, size_t len, hd_error *err);

/* Answers the last message of the user once more; HD_E_ARGUMENT when there is none. */
hd_status hd_chat_retry(hd_chat *chat, hd_error *err);

/* Removes the last message of the user and what followed it; false when there is none. */
bool hd_chat_undo(hd_chat *chat);

/* Sets the system message, the first of all; an empty text removes it. */
hd_status hd_chat_set_system(hd_chat *chat, const char *text, hd_error *err);

/* Prints a line about the program itself, dim, to stderr. */
void hd_chat_note(const char *fmt, ...) HD_PRINTF(1, 2);

/* ---- /commands (chat_commands.c) ---- */

/* Obeys a line that begins with '/'.  Errors are those of the command; the chat goes on. */
hd_status hd_chat_command(hd_chat *chat, const char *line, hd_error *err);

/* "on", "off", "hide", "auto" */
bool hd_chat_set_think(hd_chat *chat, const char *mode);

#endif
