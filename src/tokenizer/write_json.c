/* write_json.c: a tokenizer as tokenizer.json and tokenizer_config.json: what tokenizer_json.c and settings.c read, and
 * what the tokenizers library and transformers want beside it. */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"

/* An object or array under way: every adder takes the value, and NULL (no memory) sets `failed`. */
typedef struct maker {
    bool failed;
} maker;

static void set(maker *m, json_t *object, const char *name, json_t *value)
{
    if (json_object_set_new(object, name, value) != 0) m->failed = true;
}

static void push(maker *m, json_t *array, json_t *value)
{
    if (json_array_append_new(array, value) != 0) m->failed = true;
}

static json_t *text(hd_str s)
{
    return json_stringn(s.data, s.len);
}

/* ---- model ---- */

static json_t *make_vocab(maker *m, const hd_vocab *v)
{
    json_t *o = json_object();
    for (size_t id = 0; o && id < v->size; id++) {
        hd_str s = hd_vocab_text(v, (int32_t)id);
        if (!s.data) continue;
        if (json_object_setn_new(o, s.data, s.len, json_integer((json_int_t)id)) != 0) m->failed = true;
    }
    return o;
}

static json_t *make_merges(maker *m, const hd_tokenizer *tok)
{
    hd_merge *merges;
    size_t count;
    json_t *list = json_array();
    if (!hd_bpe_list(&tok->bpe, &merges, &count)) {
        m->failed = true;
        return list;
    }
    for (size_t i = 0; i < count; i++) {
        json_t *parts = json_array();
        push(m, parts, text(hd_vocab_text(&tok->vocab, (int32_t)(merges[i].pair >> 32))));
        push(m, parts, text(hd_vocab_text(&tok->vocab, (int32_t)(uint32_t)merges[i].pair)));
        push(m, list, parts);
    }
    hd_free(merges);
    return list;
}

static json_t *make_model(maker *m, const hd_tokenizer *tok)
{
    json_t *o = json_object();
    set(m, o, "type", json_string("BPE"));
    set(m, o, "dropout", json_null());
    set(m, o, "unk_token", tok->bpe.unknown >= 0 ? text(hd_vocab_text(&tok->vocab, tok->bpe.unknown)) : json_null());
    set(m, o, "continuing_subword_prefix", json_null());
    set(m, o, "end_of_word_suffix", json_null());
    set(m, o, "fuse_unk", json_boolean(tok->bpe.fuse_unknown));
    set(m, o, "byte_fallback", json_false());
    set(m, o, "ignore_merges", json_boolean(tok->bpe.whole_words));
    set(m, o, "vocab", make_vocab(m, &tok->vocab));
    set(m, o, "merges", make_merges(m, tok));
    return o;
}

/* ---- what stands around it ---- */

static json_t *make_added(maker *m, const hd_tokenizer *tok)
{
    json_t *list = json_array();
    for (size_t i = 0; i < tok->added.count; i++) {
        const hd_added *a = &tok->added.list[i];
        json_t *o = json_object();
        set(m, o, "id", json_integer(a->id));
        set(m, o, "content", text(hd_vocab_text(&tok->vocab, a->id)));
        set(m, o, "single_word", json_boolean(a->single_word));
        set(m, o, "lstrip", json_boolean(a->lstrip));
        set(m, o, "rstrip", json_boolean(a->rstrip));
        set(m, o, "normalized", json_boolean(a->normalized));
        set(m, o, "special", json_boolean(a->special));
        push(m, list, o);
    }
    return list;
}

static json_t *make_byte_level(maker *m)
{
    json_t *o = json_object();
    set(m, o, "type", json_string("ByteLevel"));
    set(m, o, "add_prefix_space", json_false());
    set(m, o, "trim_offsets", json_true());
    set(m, o, "use_regex", json_false());
    return o;
}

static json_t *make_pre_tokenizer(maker *m, const char *name)
{
    json_t *o = json_object(), *list = json_array();
    for (const char *const *step = hd_pretokenizer_steps(name); *step; step++) {
        json_t *split = json_object(), *pattern = json_object();
        set(m, pattern, "Regex", json_string(*step));
        set(m, split, "type", json_string("Split"));
        set(m, split, "pattern", pattern);
        set(m, split, "behavior", json_string("Isolated"));
        set(m, split, "invert", json_false());
        push(m, list, split);
    }
    push(m, list, make_byte_level(m));
    set(m, o, "type", json_string("Sequence"));
    set(m, o, "pretokenizers", list);
    return o;
}

static json_t *template_token(maker *m, hd_str bos)
{
    json_t *o = json_object(), *inner = json_object();
    set(m, inner, "id", text(bos));
    set(m, inner, "type_id", json_integer(0));
    set(m, o, "SpecialToken", inner);
    return o;
}

static json_t *template_text(maker *m, const char *which)
{
    json_t *o = json_object(), *inner = json_object();
    set(m, inner, "id", json_string(which));
    set(m, inner, "type_id", json_integer(0));
    set(m, o, "Sequence", inner);
    return o;
}

/* Puts bos in front of a bare text, where the model expects it. */
static json_t *make_post_processor(maker *m, const hd_tokenizer *tok)
{
    hd_str bos = hd_vocab_text(&tok->vocab, tok->bos);
    if (!tok->adds_bos || !bos.data) return make_byte_level(m);
    json_t *o = json_object(), *single = json_array(), *pair = json_array(), *tokens = json_object();
    json_t *token = json_object(), *ids = json_array(), *texts = json_array();
    push(m, single, template_token(m, bos));
    push(m, single, template_text(m, "A"));
    push(m, pair, template_token(m, bos));
    push(m, pair, template_text(m, "A"));
    push(m, pair, template_text(m, "B"));
    push(m, ids, json_integer(tok->bos));
    push(m, texts, text(bos));
    set(m, token, "id", text(bos));
    set(m, token, "ids", ids);
    set(m, token, "tokens", texts);
    if (json_object_setn_new(tokens, bos.data, bos.len, token) != 0) m->failed = true;
    set(m, o, "type", json_string("TemplateProcessing"));
    set(m, o, "single", single);
    set(m, o, "pair", pair);
    set(m, o, "special_tokens", tokens);
    return o;
}

static json_t *make_tokenizer(maker *m, const hd_tokenizer *tok, const char *pre)
{
    json_t *o = json_object(), *nfc = tok->nfc ? json_object() : json_null();
    if (tok->nfc) set(m, nfc, "type", json_string("NFC"));
    set(m, o, "version", json_string("1.0"));
    set(m, o, "truncation", json_null());
    set(m, o, "padding", json_null());
    set(m, o, "added_tokens", make_added(m, tok));
    set(m, o, "normalizer", nfc);
    set(m, o, "pre_tokenizer", make_pre_tokenizer(m, pre));
    set(m, o, "post_processor", make_post_processor(m, tok));
    set(m, o, "decoder", make_byte_level(m));
    set(m, o, "model", make_model(m, tok));
    return o;
}

static void set_token(maker *m, json_t *o, const char *name, const hd_tokenizer *tok, int32_t id)
{
    hd_str s = hd_vocab_text(&tok->vocab, id);
    if (s.data) set(m, o, name, text(s));
}

static json_t *make_config(maker *m, const hd_tokenizer *tok, int64_t context)
{
    json_t *o = json_object();
    set(m, o, "tokenizer_class", json_string("PreTrainedTokenizerFast"));
    set_token(m, o, "bos_token", tok, tok->bos);
    set_token(m, o, "eos_token", tok, tok->eos_count ? tok->eos[0] : -1);
    set_token(m, o, "pad_token", tok, tok->pad);
    set(m, o, "add_bos_token", json_boolean(tok->adds_bos));
    set(m, o, "add_eos_token", json_false());
    set(m, o, "clean_up_tokenization_spaces", json_false());
    set(m, o, "model_max_length", json_integer((json_int_t)context));
    if (tok->chat_template) set(m, o, "chat_template", json_string(tok->chat_template));
    return o;
}

hd_status hd_tokenizer_to_json(json_t **tokenizer, json_t **config, const hd_tokenizer *tok, int64_t context,
                               hd_error *err)
{
    hd_status status;
    maker m = {0};
    *tokenizer = *config = NULL;
    const char *pre = hd_pretokenizer_name(&tok->pre, tok->nfc, tok->bpe.whole_words, &status);
    if (status == HD_OK && !pre)
        return hd_fail(err, HD_E_UNSUPPORTED, "the tokenizer cuts words in a way that can't be written down here");
    if (status == HD_OK) {
        *tokenizer = make_tokenizer(&m, tok, pre);
        *config = make_config(&m, tok, context);
    }
    if (status == HD_OK && *tokenizer && *config && !m.failed) return HD_OK;
    json_decref(*tokenizer);
    json_decref(*config);
    *tokenizer = *config = NULL;
    return hd_fail(err, HD_E_MEMORY, "no memory to write the tokenizer down");
}
