/* tiny_text.h: a tokenizer of 256 bytes and a few added tokens, written to a temporary folder and opened as a hd_text.
 */
#ifndef HD_TESTS_TINY_TEXT_H
#define HD_TESTS_TINY_TEXT_H

#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "hadal/chat.h"
#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/utf8.h"

/* Ids: each byte is its own; then these, in this order. */
enum { TINY_BOS = 256, TINY_EOS, TINY_USER, TINY_THINK, TINY_END_THINK, TINY_CALL, TINY_END_CALL, TINY_COUNT };

static char tiny_folder[] = "/tmp/hadal-text-XXXXXX";

static inline json_t *tiny_vocab(void)
{
    json_t *vocab = json_object();
    for (int byte = 0; byte < 256; byte++) {
        uint8_t name[5] = {0};
        hd_utf8_put(name, hd_bytelevel_char((uint8_t)byte));
        json_object_set_new(vocab, (const char *)name, json_integer(byte));
    }
    return vocab;
}

static inline void tiny_write(const char *name, json_t *root)
{
    char path[256];
    snprintf(path, sizeof path, "%s/%s", tiny_folder, name);
    assert_int_equal(json_dump_file(root, path, 0), 0);
    json_decref(root);
}

static inline void tiny_remove(void)
{
    static const char *const names[] = {"tokenizer.json", "tokenizer_config.json"};
    char path[256];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", tiny_folder, names[i]);
        unlink(path);
    }
    rmdir(tiny_folder);
}

/* A hd_text with this chat template (NULL: none).  Without think markers those ids and the calls' are missing. */
static inline hd_text *tiny_text(const char *chat_template, bool with_think)
{
    static const char *const added[] = {"<s>",      "</s>",        "<|user|>",    "<think>",
                                        "</think>", "<tool_call>", "</tool_call>"};
    json_t *tokens = json_array();
    for (int i = 0; i < (with_think ? TINY_COUNT - TINY_BOS : 3); i++)
        json_array_append_new(tokens,
                              json_pack("{s:i,s:s,s:b,s:b,s:b,s:b,s:b}", "id", 256 + i, "content", added[i],
                                        "single_word", 0, "lstrip", 0, "rstrip", 0, "normalized", 0, "special", 1));
    strcpy(tiny_folder + sizeof tiny_folder - 7, "XXXXXX"); /* hd-lint: allow unsafe-string: its own six bytes */
    assert_non_null(mkdtemp(tiny_folder));
    tiny_write("tokenizer.json",
               json_pack("{s:s,s:o,s:n,s:{s:s,s:b,s:b},s:n,s:{s:s},s:{s:s,s:o,s:[]}}", "version", "1.0", "added_tokens",
                         tokens, "normalizer", "pre_tokenizer", "type", "ByteLevel", "add_prefix_space", 0, "use_regex",
                         1, "post_processor", "decoder", "type", "ByteLevel", "model", "type", "BPE", "vocab",
                         tiny_vocab(), "merges"));
    json_t *config = json_pack("{s:s,s:s,s:b}", "bos_token", "<s>", "eos_token", "</s>", "add_bos_token", 1);
    if (chat_template) json_object_set_new(config, "chat_template", json_string(chat_template));
    tiny_write("tokenizer_config.json", config);
    hd_text *text = NULL;
    hd_error err = {0};
    hd_status status = hd_text_open(&text, tiny_folder, &err);
    tiny_remove();
    if (status != HD_OK) fail_msg("%s", err.text);
    return text;
}

#endif
