/* write_gguf.c: a tokenizer as GGUF metadata (keys tokenizer.*; the GGUF specification): what tokenizer_gguf.c reads.
 */
#include <stdio.h>
#include <string.h>

#include "tokenizer/tokenizer_internal.h"

#define PLACEHOLDER 24 /* bytes of "[PAD1234567]" */

static hd_status no_memory(hd_error *err)
{
    return hd_fail(err, HD_E_MEMORY, "no memory to write the tokenizer down");
}

static int32_t type_of(const hd_vocab *v, size_t id)
{
    unsigned flags = id < v->size ? v->tokens[id].flags : 0;
    if (!(flags & HD_TOKEN_USED)) return HD_GGUF_TOKEN_UNUSED;
    if (!(flags & HD_TOKEN_ADDED)) return HD_GGUF_TOKEN_NORMAL;
    return flags & HD_TOKEN_SPECIAL ? HD_GGUF_TOKEN_CONTROL : HD_GGUF_TOKEN_USER_DEFINED;
}

/* A text for an id that has none: readers want each id's own. */
static hd_str placeholder(hd_meta_list *list, size_t id)
{
    char *text = hd_arena_alloc(&list->arena, PLACEHOLDER, 1);
    int len = text ? snprintf(text, PLACEHOLDER, "[PAD%zu]", id) : 0;
    return (hd_str){text, (size_t)len};
}

static hd_status put_tokens(const hd_tokenizer *tok, size_t vocab, hd_meta_list *list, hd_error *err)
{
    hd_str *texts = hd_arena_alloc(&list->arena, vocab, sizeof *texts);
    int32_t *types = hd_arena_alloc(&list->arena, vocab, sizeof *types);
    if (!texts || !types) return no_memory(err);
    for (size_t id = 0; id < vocab; id++) {
        types[id] = type_of(&tok->vocab, id);
        texts[id] = types[id] == HD_GGUF_TOKEN_UNUSED ? placeholder(list, id) : hd_vocab_text(&tok->vocab, (int32_t)id);
    }
    hd_meta_add_texts(list, "tokenizer.ggml.tokens", texts, vocab);
    hd_meta_add_i32s(list, "tokenizer.ggml.token_type", types, vocab);
    return HD_OK;
}

/* "left right" in the order of ranks; ranks of merges that stood twice in a file are left out. */
static hd_status put_merges(const hd_tokenizer *tok, hd_meta_list *list, hd_error *err)
{
    size_t count;
    hd_status status = HD_OK;
    hd_merge *merges;
    if (!hd_bpe_list(&tok->bpe, &merges, &count)) return no_memory(err);
    hd_str *texts = hd_arena_alloc(&list->arena, count, sizeof *texts);
    for (size_t i = 0; texts && i < count; i++) {
        hd_str left = hd_vocab_text(&tok->vocab, (int32_t)(merges[i].pair >> 32));
        hd_str right = hd_vocab_text(&tok->vocab, (int32_t)(uint32_t)merges[i].pair);
        char *text = hd_arena_alloc(&list->arena, left.len + right.len + 1, 1);
        if (!text) break;
        memcpy(text, left.data, left.len);
        text[left.len] = ' ';
        memcpy(text + left.len + 1, right.data, right.len);
        texts[i] = (hd_str){text, left.len + right.len + 1};
    }
    if (list->arena.failed) status = no_memory(err);
    if (status == HD_OK) hd_meta_add_texts(list, "tokenizer.ggml.merges", texts, count);
    hd_free(merges);
    return status;
}

static void put_id(hd_meta_list *list, const char *key, int32_t id)
{
    if (id >= 0) hd_meta_add_u32(list, key, (uint32_t)id);
}

static void put_ends(const hd_tokenizer *tok, hd_meta_list *list)
{
    static const char *const ends[] = {"tokenizer.ggml.eos_token_id", "tokenizer.ggml.eot_token_id",
                                       "tokenizer.ggml.eom_token_id"};
    put_id(list, "tokenizer.ggml.bos_token_id", tok->bos);
    for (size_t i = 0; i < HD_MIN(tok->eos_count, HD_ARRAY_LEN(ends)); i++)
        put_id(list, ends[i], tok->eos[i]);
    put_id(list, "tokenizer.ggml.padding_token_id", tok->pad);
    hd_meta_add_bool(list, "tokenizer.ggml.add_bos_token", tok->adds_bos);
    hd_meta_add_bool(list, "tokenizer.ggml.add_eos_token", false);
}

hd_status hd_tokenizer_to_gguf(const hd_tokenizer *tok, size_t vocab, hd_meta_list *list, hd_error *err)
{
    hd_status status;
    const char *pre = hd_pretokenizer_name(&tok->pre, tok->nfc, tok->bpe.whole_words, &status);
    if (status != HD_OK) return no_memory(err);
    if (!pre)
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "the tokenizer cuts words in a way that GGUF has no name for (or none that is known here)");
    if (tok->vocab.size > vocab)
        return hd_fail(err, HD_E_FORMAT, "the tokenizer has ids up to %zu, the model has %zu", tok->vocab.size - 1,
                       vocab);
    hd_meta_add_text(list, "tokenizer.ggml.model", "gpt2", 4);
    hd_meta_add_text(list, "tokenizer.ggml.pre", pre, strlen(pre));
    HD_TRY(put_tokens(tok, vocab, list, err));
    HD_TRY(put_merges(tok, list, err));
    put_ends(tok, list);
    if (tok->chat_template)
        hd_meta_add_text(list, "tokenizer.chat_template", tok->chat_template, strlen(tok->chat_template));
    return list->status == HD_OK ? HD_OK : no_memory(err);
}
