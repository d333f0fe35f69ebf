/* added_tokens.c: finds the tokens that are cut out of a text before anything else: special tokens and their kin.
 *
 * A trie by bytes; children of a node are a list of siblings.  Real vocabularies have up to 1,300 such tokens that
 * share their first bytes, so lists are short.  The rules (leftmost, then longest; what single_word, lstrip and rstrip
 * do) are those of the tokenizers library. */
#include <string.h>
#include <utf8proc.h>

#include "tokenizer/tokenizer_internal.h"
#include "tokenizer/unicode.h"
#include "tokenizer/utf8.h"

static void trie_init(hd_trie *t)
{
    *t = (hd_trie){0};
    memset(t->first, 0xFF, sizeof t->first);
}

void hd_added_tokens_init(hd_added_tokens *a)
{
    *a = (hd_added_tokens){0};
    trie_init(&a->raw);
    trie_init(&a->normalized);
}

void hd_added_tokens_free(hd_added_tokens *a)
{
    hd_free(a->list);
    hd_free(a->raw.nodes);
    hd_free(a->normalized.nodes);
    hd_added_tokens_init(a);
}

/* ---- the trie ---- */

static int32_t find_child(const hd_trie *t, int32_t node, uint8_t byte)
{
    int32_t at = t->nodes[node].child;
    while (at >= 0 && t->nodes[at].byte != byte)
        at = t->nodes[at].sibling;
    return at;
}

/* A new node, or -1 without memory. */
static int32_t add_node(hd_trie *t, uint8_t byte, int32_t sibling)
{
    if (t->count == t->cap) {
        size_t cap = t->cap ? t->cap * 2 : 256;
        hd_trie_node *nodes = cap > INT32_MAX ? NULL : hd_realloc_array(t->nodes, cap, sizeof *nodes);
        if (!nodes) return -1;
        t->nodes = nodes;
        t->cap = cap;
    }
    t->nodes[t->count] = (hd_trie_node){.child = -1, .sibling = sibling, .token = -1, .byte = byte};
    return (int32_t)t->count++;
}

/* Makes the path of a text; *last is its node. */
static hd_status add_path(hd_trie *t, hd_str text, int32_t *last)
{
    const uint8_t *p = (const uint8_t *)text.data;
    int32_t node = t->first[p[0]];
    if (node < 0) node = t->first[p[0]] = add_node(t, p[0], -1);
    for (size_t i = 1; i < text.len && node >= 0; i++) {
        int32_t child = find_child(t, node, p[i]);
        if (child < 0) {
            child = add_node(t, p[i], t->nodes[node].child);
            if (child >= 0) t->nodes[node].child = child;
        }
        node = child;
    }
    *last = node;
    return node < 0 ? HD_E_MEMORY : HD_OK;
}

hd_status hd_added_tokens_add(hd_added_tokens *a, hd_added token, hd_str text, hd_error *err)
{
    if (text.len == 0) return HD_OK;
    hd_trie *t = token.normalized ? &a->normalized : &a->raw;
    if (a->count == a->cap) {
        size_t cap = a->cap ? a->cap * 2 : 64;
        hd_added *list = hd_realloc_array(a->list, cap, sizeof *list);
        if (!list) return hd_fail(err, HD_E_MEMORY, "out of memory for added tokens");
        a->list = list;
        a->cap = cap;
    }
    int32_t node;
    if (add_path(t, text, &node) != HD_OK) return hd_fail(err, HD_E_MEMORY, "out of memory for added tokens");
    if (t->nodes[node].token >= 0) return HD_OK;
    t->nodes[node].token = (int32_t)a->count;
    a->list[a->count++] = token;
    return HD_OK;
}

/* The longest token at the start of text[len]; -1: none.  Stops at the first byte that is not trusted. */
static int32_t longest_at(const hd_trie *t, const uint8_t *text, const uint8_t *trusted, size_t len, size_t *length)
{
    int32_t found = -1, node = t->first[text[0]];
    for (size_t i = 1; node >= 0 && (!trusted || trusted[i - 1]); i++) {
        if (t->nodes[node].token >= 0) {
            found = t->nodes[node].token;
            *length = i;
        }
        if (i == len) break;
        node = find_child(t, node, text[i]);
    }
    return found;
}

int32_t hd_added_tokens_find(const hd_added_tokens *a, const char *text, size_t len)
{
    const hd_trie *tries[] = {&a->raw, &a->normalized};
    for (int i = 0; i < 2 && len > 0; i++) {
        size_t length = 0;
        int32_t token = longest_at(tries[i], (const uint8_t *)text, NULL, len, &length);
        if (token >= 0 && length == len) return a->list[token].id;
    }
    return -1;
}

/* ---- what single_word and the strips look at ---- */

static bool is_space(uint32_t c)
{
    return (c >= 9 && c <= 13) || c == 0x20 || c == 0x85 || c == 0xA0 || c == 0x1680 || (c >= 0x2000 && c <= 0x200A) ||
           c == 0x2028 || c == 0x2029 || c == 0x202F || c == 0x205F || c == 0x3000;
}

/* \w of Unicode technical standard 18: letters, marks, decimal and letter numbers, connectors, joiners, and the symbols
 * that are Other_Alphabetic. */
static bool is_word(uint32_t c)
{
    switch (utf8proc_category((utf8proc_int32_t)hd_unicode_older(c))) {
    case UTF8PROC_CATEGORY_LU:
    case UTF8PROC_CATEGORY_LL:
    case UTF8PROC_CATEGORY_LT:
    case UTF8PROC_CATEGORY_LM:
    case UTF8PROC_CATEGORY_LO:
    case UTF8PROC_CATEGORY_MN:
    case UTF8PROC_CATEGORY_MC:
    case UTF8PROC_CATEGORY_ME:
    case UTF8PROC_CATEGORY_ND:
    case UTF8PROC_CATEGORY_NL:
    case UTF8PROC_CATEGORY_PC: return true;
    default:
        return c == 0x200C || c == 0x200D || (c >= 0x24B6 && c <= 0x24E9) || (c >= 0x1F130 && c <= 0x1F149) ||
               (c >= 0x1F150 && c <= 0x1F169) || (c >= 0x1F170 && c <= 0x1F189);
    }
}

/* Length of the last character of text[len]; 0 when it is not UTF-8 or there is none. */
static size_t last_char(const uint8_t *text, size_t len, uint32_t *cp)
{
    size_t back = 1;
    while (back < 4 && back < len && (text[len - back] & 0xC0) == 0x80)
        back++;
    if (back > len) return 0;
    return hd_utf8_step(text + len - back, back, cp) == (int)back ? back : 0;
}

static size_t spaces_before(const uint8_t *text, size_t len)
{
    uint32_t cp;
    for (size_t step; (step = last_char(text, len, &cp)) > 0 && is_space(cp);)
        len -= step;
    return len;
}

static size_t spaces_after(const uint8_t *text, size_t len)
{
    size_t at = 0;
    uint32_t cp;
    for (int step; at < len && (step = hd_utf8_step(text + at, len - at, &cp)) > 0 && is_space(cp);)
        at += (size_t)step;
    return at;
}

static bool stands_alone(const uint8_t *text, size_t len, size_t start, size_t end)
{
    uint32_t cp;
    if (last_char(text, start, &cp) > 0 && is_word(cp)) return false;
    return end == len || hd_utf8_step(text + end, len - end, &cp) <= 0 || !is_word(cp);
}

/* ---- cutting ---- */

hd_status hd_added_tokens_cut(const hd_added_tokens *a, const hd_trie *trie, const char *text, const uint8_t *trusted,
                              size_t len, hd_stretch_fn fn, void *arg)
{
    const uint8_t *p = (const uint8_t *)text;
    size_t done = 0; /* what was handed out */
    for (size_t at = 0; at < len && trie->count > 0;) {
        size_t length = 0;
        int32_t token =
            trie->first[p[at]] < 0 ? -1 : longest_at(trie, p + at, trusted ? trusted + at : NULL, len - at, &length);
        if (token < 0) {
            at++;
            continue;
        }
        const hd_added *t = &a->list[token];
        size_t start = at, end = at + length;
        at = end;
        if (t->single_word && !stands_alone(p, len, start, end)) continue;
        if (t->lstrip) start = HD_MAX(spaces_before(p, start), done);
        if (t->rstrip) end += spaces_after(p + end, len - end);
        if (done < start) HD_TRY(fn(arg, -1, text + done, trusted ? trusted + done : NULL, start - done));
        if (start > end) continue; /* an rstrip before took all of it, where the library would panic */
        if (start < end) HD_TRY(fn(arg, t->id, text + start, NULL, 0));
        done = end;
    }
    if (done < len) HD_TRY(fn(arg, -1, text + done, trusted ? trusted + done : NULL, len - done));
    return HD_OK;
}
