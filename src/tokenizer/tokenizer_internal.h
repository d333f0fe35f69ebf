/* tokenizer/tokenizer_internal.h: what the files of this room share.
 *
 * The way of a text: added tokens are cut out (added_tokens.c), the rest is normalized (normalize.c) and cut again, cut
 * into words by the pre-tokenizer (pretokenize.c, regex.c), and each word is merged from single bytes (bpe.c).
 * tokenizer_json.c and tokenizer_gguf.c fill a hd_tokenizer while it is opened; afterwards nothing changes it.
 */
#ifndef HD_TOKENIZER_INTERNAL_H
#define HD_TOKENIZER_INTERNAL_H

#include "tokenizer/tokenizer.h"

#define HD_TOKENIZER_JSON (256u << 20)   /* longest tokenizer.json; real ones are below 40 MB */
#define HD_TOKENIZER_SETTINGS (8u << 20) /* longest of the small files beside it */
#define HD_TOKENIZER_IDS (1 << 21)       /* ids are below this; the largest real vocabulary has 262,144 */
#define HD_TOKENIZER_TEXT (64u << 20)    /* longest text of one call: a word may need 40 times its size in memory */
#define HD_TOKENIZER_TOKEN (1u << 13)    /* longest text of a token; real ones are below 1,024 bytes */
#define HD_TOKENIZER_SPLITS 16           /* steps of a pre-tokenizer; real ones have up to 7 */
#define HD_TOKENIZER_REGEX (1u << 16)    /* longest regular expression; real ones are below 2,000 bytes */
#define HD_TOKENIZER_EOS 16              /* end-of-text ids */

/* ---- vocab.c: texts of tokens by id, and back ---- */

typedef struct hd_token {
    uint32_t at, len; /* text in hd_vocab.text: byte-level characters, or as is for many added tokens */
    uint8_t flags;
} hd_token;

enum { HD_TOKEN_USED = 1, HD_TOKEN_SPECIAL = 2, HD_TOKEN_ADDED = 4 };

typedef struct hd_vocab {
    hd_token *tokens; /* by id; an id without HD_TOKEN_USED is a gap */
    size_t size, cap; /* highest id + 1 */
    hd_buf text;
    int32_t *slots; /* hash table of ids by text, -1 empty; its length is a power of two */
    size_t slot_count, slot_used;
    size_t longest; /* bytes of the longest text */
    uint64_t seed;  /* so that a hostile file can't choose colliding texts */
} hd_vocab;

void hd_vocab_init(hd_vocab *v);
void hd_vocab_free(hd_vocab *v);

/* Adds a token.  HD_E_FORMAT when the id is taken; HD_E_LIMIT for an id or text that is too large.  Of two tokens with
 * one text, hd_vocab_find gives the first. */
hd_status hd_vocab_add(hd_vocab *v, int64_t id, const char *text, size_t len, uint8_t flags, hd_error *err);
int32_t hd_vocab_find(const hd_vocab *v, const char *text, size_t len); /* -1: none */
hd_str hd_vocab_text(const hd_vocab *v, int32_t id);                    /* NULL data for a gap */
uint64_t hd_vocab_seed(void);

/* The byte-level alphabet of GPT-2: each byte is one printable character. */
uint32_t hd_bytelevel_char(uint8_t byte);
int hd_bytelevel_byte(uint32_t cp); /* -1: not of the alphabet */

/* Whether every character of a text belongs to the alphabet: then the token stands for the bytes that hd_bytelevel_next
 * reads one by one, else for its text as it is. */
bool hd_bytelevel_all(hd_str text);
uint8_t hd_bytelevel_next(hd_str text, size_t *at);

/* ---- bpe.c: one word to ids ---- */

typedef struct hd_merge {
    uint64_t pair; /* left << 32 | right; UINT64_MAX: an empty slot */
    uint32_t rank;
    int32_t id; /* of both together */
} hd_merge;

typedef struct hd_bpe {
    hd_merge *merges; /* hash table by pair, linear probing */
    size_t mask;      /* slots - 1 */
    uint64_t seed;
    int32_t byte_ids[256]; /* -1: the vocabulary lacks it */
    int32_t unknown;       /* id for such a byte; -1: it gives nothing */
    bool fuse_unknown;     /* a run of them gives one */
    bool whole_words;      /* ignore_merges: a word that is a token is that token */
} hd_bpe;

typedef struct hd_bpe_work { /* memory for one encoding, reused from word to word; zero-initialize */
    struct hd_bpe_symbol *symbols;
    uint64_t *heap;
    size_t symbol_cap, heap_cap, heap_len;
    hd_buf text;
} hd_bpe_work;

hd_status hd_bpe_init(hd_bpe *bpe, size_t merges, hd_error *err);
void hd_bpe_free(hd_bpe *bpe);
/* Takes a merge given by texts; ranks rise from call to call.  HD_E_FORMAT when a part or the whole is not a token. */
hd_status hd_bpe_add_merge(hd_bpe *bpe, const hd_vocab *vocab, uint32_t rank, hd_str left, hd_str right, hd_error *err);
/* Finds the ids of the bytes that have none yet.  An added token may stand only for a byte that UTF-8 never has, so
 * that no text of a user becomes one. */
void hd_bpe_set_bytes(hd_bpe *bpe, const hd_vocab *vocab);
/* All merges by rank, lowest first; the caller frees *out.  False: no memory. */
bool hd_bpe_list(const hd_bpe *bpe, hd_merge **out, size_t *count);
void hd_bpe_work_free(hd_bpe_work *work);
hd_status hd_bpe_encode(const hd_bpe *bpe, const hd_vocab *vocab, hd_bpe_work *work, const uint8_t *word, size_t len,
                        hd_ids *out);

/* ---- regex.c: the regular expressions of tokenizer.json, which are written for Oniguruma, run by PCRE2 ---- */

typedef struct hd_regex hd_regex;
typedef struct hd_matcher hd_matcher; /* memory for one thread's matching */

/* `literal`: the pattern is plain text.  HD_E_UNSUPPORTED for a construct that means something else in PCRE2,
 * HD_E_FORMAT for what PCRE2 does not take. */
hd_status hd_regex_compile(hd_regex **out, const char *pattern, size_t len, bool literal, hd_error *err);
void hd_regex_free(hd_regex **re);
hd_status hd_matcher_open(hd_matcher **out, hd_error *err);
void hd_matcher_close(hd_matcher **m);

/* Next match at or after `from` in text[len], which must be valid UTF-8.  *found false: none.  HD_E_LIMIT when the
 * pattern runs away. */
hd_status hd_regex_next(const hd_regex *re, hd_matcher *m, const char *text, size_t len, size_t from, bool *found,
                        size_t *start, size_t *end, hd_error *err);

/* ---- pretokenize.c: text to words ---- */

typedef enum hd_split_kind { HD_SPLIT_REGEX, HD_SPLIT_PREFIX_SPACE } hd_split_kind;
typedef enum hd_split_behavior {
    HD_SPLIT_REMOVED,
    HD_SPLIT_ISOLATED,
    HD_SPLIT_MERGED_WITH_PREVIOUS,
    HD_SPLIT_MERGED_WITH_NEXT,
    HD_SPLIT_CONTIGUOUS
} hd_split_behavior;

typedef struct hd_split {
    hd_split_kind kind;
    hd_split_behavior behavior;
    bool invert; /* what matches and what does not change roles */
    hd_regex *re;
} hd_split;

typedef struct hd_pretokenizer {
    hd_split splits[HD_TOKENIZER_SPLITS];
    int count;
} hd_pretokenizer;

typedef hd_status (*hd_word_fn)(void *arg, const char *word, size_t len);

/* What the step Digits takes for one: the library asks Rust, which has the numbers of Unicode 17 too. */
#define HD_PATTERN_DIGIT "[\\p{N}\\x{11de0}-\\x{11de9}\\x{16ff4}-\\x{16ff6}]"

void hd_pretokenizer_free(hd_pretokenizer *pre);
/* Adds a step.  HD_E_LIMIT when there are too many, and the errors of hd_regex_compile. */
hd_status hd_pretokenizer_add(hd_pretokenizer *pre, const char *pattern, size_t len, bool literal,
                              hd_split_behavior behavior, bool invert, hd_error *err);
hd_status hd_pretokenizer_add_prefix_space(hd_pretokenizer *pre, hd_error *err);
/* The pattern of GPT-2, which ByteLevel with use_regex stands for. */
hd_status hd_pretokenizer_add_gpt2(hd_pretokenizer *pre, hd_error *err);
/* The steps that llama.cpp calls `name` in tokenizer.ggml.pre; *nfc says whether text is normalized, *whole_words
 * whether merges are ignored for words that are tokens, *adds_bos whether bos goes in front where the file does not
 * say. HD_E_UNSUPPORTED for a name that is not known here. */
hd_status hd_pretokenizer_by_name(hd_pretokenizer *pre, hd_str name, bool *nfc, bool *whole_words, bool *adds_bos,
                                  hd_error *err);

/* The name of the family that cuts text as `pre` does, normalizes as `nfc` says and ignores merges as `whole_words`
 * says; NULL: none.  Found out by cutting a text that every family cuts in a way of its own: patterns can be written in
 * many ways.  *status tells of want of memory. */
const char *hd_pretokenizer_name(const hd_pretokenizer *pre, bool nfc, bool whole_words, hd_status *status);
/* The steps of a family that hd_pretokenizer_name gave: patterns, each isolating what it matches; NULL behind them. */
const char *const *hd_pretokenizer_steps(const char *name);

/* Calls `fn` for each word of text[len], in order.  Bytes that are not UTF-8 are words of their own. */
hd_status hd_pretokenize(const hd_pretokenizer *pre, hd_matcher *m, const char *text, size_t len, hd_word_fn fn,
                         void *arg, hd_error *err);

/* ---- added_tokens.c: tokens that are found in the text before anything else ---- */

typedef struct hd_added {
    int32_t id;
    bool special, normalized, single_word, lstrip, rstrip;
} hd_added;

typedef struct hd_trie_node {
    int32_t child, sibling; /* -1: none */
    int32_t token;          /* index of the added token that ends here; -1: none */
    uint8_t byte;
} hd_trie_node;

typedef struct hd_trie {
    hd_trie_node *nodes;
    size_t count, cap;
    int32_t first[256]; /* node of each first byte; -1: none */
} hd_trie;

typedef struct hd_added_tokens {
    hd_added *list;
    size_t count, cap;
    hd_trie raw;        /* looked for in the text as it came */
    hd_trie normalized; /* looked for after normalization */
} hd_added_tokens;

void hd_added_tokens_init(hd_added_tokens *a);
void hd_added_tokens_free(hd_added_tokens *a);
/* `text`: what to look for (normalized by the caller where token.normalized).  The first of equal texts stays. */
hd_status hd_added_tokens_add(hd_added_tokens *a, hd_added token, hd_str text, hd_error *err);
int32_t hd_added_tokens_find(const hd_added_tokens *a, const char *text, size_t len); /* an id, or -1 */

/* A stretch of the text: an added token (id >= 0), or text between two (id -1). */
typedef hd_status (*hd_stretch_fn)(void *arg, int32_t id, const char *text, const uint8_t *trusted, size_t len);

/* Cuts text[len] at the leftmost longest tokens all of whose bytes are trusted (NULL: all are), as the tokenizers
 * library does, and calls `fn` for each stretch in order. */
hd_status hd_added_tokens_cut(const hd_added_tokens *a, const hd_trie *trie, const char *text, const uint8_t *trusted,
                              size_t len, hd_stretch_fn fn, void *arg);

/* ---- normalize.c: NFC ---- */

typedef struct hd_normalized {
    hd_buf text;
    hd_buf trusted; /* as long as text; empty when the input had no mask */
} hd_normalized;
void hd_normalized_free(hd_normalized *n);

/* NFC of text[len] (Unicode standard annex 15).  Bytes that are not UTF-8 stay, and a character of the request never
 * changes one of the template: neighbours of different trust don't compose. */
hd_status hd_normalize_nfc(const char *text, const uint8_t *trusted, size_t len, hd_normalized *out);

/* ---- the tokenizer itself ---- */

struct hd_tokenizer {
    hd_vocab vocab;
    hd_bpe bpe;
    hd_pretokenizer pre;
    hd_added_tokens added;
    bool nfc;
    int32_t bos, pad; /* -1: none */
    bool adds_bos;
    int32_t eos[HD_TOKENIZER_EOS];
    size_t eos_count;
    char *bos_text, *eos_text; /* never NULL once open */
    char *chat_template;       /* NULL: none */
};

/* tokenizer.c: an empty one to fill */
hd_status hd_tokenizer_new(hd_tokenizer **out, hd_error *err);
/* From the text of a tokenizer.json, with no files beside it. */
hd_status hd_tokenizer_open_json(hd_tokenizer **out, const char *text, size_t len, hd_error *err);

/* tokenizer_json.c */
hd_status hd_tokenizer_read_json(hd_tokenizer *tok, const json_t *root, hd_error *err);
/* A token of the file's added_tokens: known to the vocabulary, found in texts. */
hd_status hd_tokenizer_add_token(hd_tokenizer *tok, hd_added token, hd_str text, hd_error *err);

/* tokenizer_json_pre.c: the members `normalizer`, `pre_tokenizer` and `decoder` */
hd_status hd_tokenizer_read_normalizer(hd_tokenizer *tok, const json_t *node, hd_error *err);
hd_status hd_tokenizer_read_pre_tokenizer(hd_tokenizer *tok, const json_t *node, hd_error *err);
hd_status hd_tokenizer_read_decoder(const json_t *node, hd_error *err);

/* tokenizer.ggml.token_type (the GGUF specification); bytes of their own (6) are no part of byte-level BPE */
enum {
    HD_GGUF_TOKEN_NORMAL = 1,
    HD_GGUF_TOKEN_UNKNOWN = 2,
    HD_GGUF_TOKEN_CONTROL = 3,
    HD_GGUF_TOKEN_USER_DEFINED = 4,
    HD_GGUF_TOKEN_UNUSED = 5
};

/* tokenizer_gguf.c */
hd_status hd_tokenizer_read_gguf(hd_tokenizer *tok, const hd_checkpoint *ckpt, hd_error *err);

/* settings.c: bos, eos and the chat template, from the files beside tokenizer.json or by the names of well-known tokens
 */
hd_status hd_tokenizer_read_settings(hd_tokenizer *tok, const json_t *root, const char *folder, hd_error *err);
void hd_tokenizer_add_eos(hd_tokenizer *tok, int64_t id);        /* ids outside the vocabulary are ignored */
hd_status hd_tokenizer_finish(hd_tokenizer *tok, hd_error *err); /* fills what no file said */

/* small readers of JSON objects: each gives `fallback` when the member is absent or null */
hd_status hd_json_get_bool(const json_t *object, const char *key, bool fallback, bool *out, hd_error *err);
hd_status hd_json_get_string(const json_t *object, const char *key, hd_str *out, hd_error *err); /* absent: NULL data */

#endif
