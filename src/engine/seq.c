/* engine/seq.c: sequences: tokens, pages, fork and truncate.
 *
 * Invariants: page_count * HD_PAGE_ROWS >= length; a page with several holders is never written (hd_seq_reserve copies
 * it first); has_logits and has_hidden are true only right behind the token that they belong to. */
#include <string.h>

#include "engine/engine_internal.h"

hd_status hd_seq_open(hd_seq **out, hd_core *core, hd_error *err)
{
    *out = NULL;
    hd_seq *seq = hd_calloc(1, sizeof *seq);
    if (!seq) return hd_fail(err, HD_E_MEMORY, "out of memory for a session");
    seq->core = core;
    *out = seq;
    return HD_OK;
}

void hd_seq_close(hd_seq **ref)
{
    hd_seq *seq = *ref;
    if (!seq) return;
    *ref = NULL;
    seq->length = seq->kept = 0;
    hd_seq_trim(seq);
    hd_free(seq->pages);
    hd_free(seq->tokens);
    hd_free(seq->logits);
    hd_free(seq->hidden);
    hd_lora_unref(&seq->lora);
    hd_free(seq);
}

int64_t hd_seq_length(const hd_seq *seq)
{
    return seq->length;
}

const int32_t *hd_seq_tokens(const hd_seq *seq)
{
    return seq->tokens;
}

const float *hd_seq_logits(const hd_seq *seq)
{
    return seq->has_logits ? seq->logits : NULL;
}

hd_status hd_seq_keep_hidden(hd_seq *seq, hd_error *err)
{
    size_t width = (size_t)hd_model_get_config(seq->core->model)->hidden;
    if (!seq->hidden && !(seq->hidden = hd_alloc_array(width, sizeof(float))))
        return hd_fail(err, HD_E_MEMORY, "out of memory for the hidden state of a session");
    return HD_OK;
}

const float *hd_seq_hidden(const hd_seq *seq)
{
    return seq->has_hidden ? seq->hidden : NULL;
}

hd_status hd_seq_set_lora(hd_seq *seq, hd_lora *lora, hd_error *err)
{
    if (seq->length)
        return hd_fail(err, HD_E_ARGUMENT, "a session of %lld tokens can't change its adapter", (long long)seq->length);
    hd_lora *old = seq->lora;
    seq->lora = hd_lora_ref(lora);
    hd_lora_unref(&old);
    return HD_OK;
}

bool hd_seq_is_adapted(const hd_seq *seq)
{
    return seq->lora != NULL;
}

uint64_t hd_seq_cache_bytes(const hd_seq *seq)
{
    return (uint64_t)seq->page_count * seq->core->pages.page_bytes;
}

static int64_t pages_for(int64_t tokens)
{
    return (tokens + HD_PAGE_ROWS - 1) / HD_PAGE_ROWS;
}

void hd_seq_trim(hd_seq *seq)
{
    int64_t keep = pages_for(HD_MAX(seq->length, seq->kept));
    while (seq->page_count > keep)
        hd_page_release(&seq->core->pages, seq->pages[--seq->page_count]);
}

hd_status hd_seq_grow_arrays(hd_seq *seq, int64_t tokens, hd_error *err)
{
    if (tokens > seq->tokens_cap) {
        int64_t cap = HD_MAX(tokens, HD_MIN(seq->tokens_cap * 2, seq->core->context));
        int32_t *bigger = hd_realloc_array(seq->tokens, (size_t)cap, sizeof *bigger);
        if (!bigger) return hd_fail(err, HD_E_MEMORY, "out of memory for %lld tokens", (long long)tokens);
        seq->tokens = bigger;
        seq->tokens_cap = cap;
    }
    if (pages_for(tokens) > seq->pages_cap) {
        int64_t cap = HD_MAX(pages_for(tokens), seq->pages_cap * 2);
        uint8_t **bigger = hd_realloc_array(seq->pages, (size_t)cap, sizeof *bigger);
        if (!bigger) return hd_fail(err, HD_E_MEMORY, "out of memory for %lld tokens", (long long)tokens);
        seq->pages = bigger;
        seq->pages_cap = cap;
    }
    return HD_OK;
}

static hd_status no_page(const hd_seq *seq, hd_error *err)
{
    const hd_pages *p = &seq->core->pages;
    if (p->limit && p->in_use >= p->limit)
        return hd_fail(err, HD_E_BUSY, "the cache is full: all sessions together hold its %lld pages of %d tokens",
                       (long long)p->limit, HD_PAGE_ROWS);
    return hd_fail(err, HD_E_MEMORY, "out of memory for a cache page of %zu bytes", p->page_bytes);
}

/* The page that the next token falls into may be shared with a fork: it gets a copy of its own. */
static hd_status unshare_last(hd_seq *seq, hd_error *err)
{
    if (seq->length % HD_PAGE_ROWS == 0) return HD_OK;
    uint8_t **last = &seq->pages[seq->length / HD_PAGE_ROWS];
    if (!hd_page_is_shared(*last)) return HD_OK;
    uint8_t *copy = hd_page_take(&seq->core->pages);
    if (!copy) return no_page(seq, err);
    memcpy(copy, *last, seq->core->pages.page_bytes);
    hd_page_release(&seq->core->pages, *last);
    *last = copy;
    return HD_OK;
}

hd_status hd_seq_grow(hd_seq *seq, int64_t n, hd_error *err)
{
    const hd_pages *p = &seq->core->pages;
    if (p->limit && pages_for(seq->length + n) > p->limit)
        return hd_fail(err, HD_E_LIMIT, "a session of %lld tokens does not fit into the cache, which holds %lld",
                       (long long)(seq->length + n), (long long)p->limit * HD_PAGE_ROWS);
    HD_TRY(hd_seq_grow_arrays(seq, seq->length + n, err));
    HD_TRY(unshare_last(seq, err));
    while (seq->page_count < pages_for(seq->length + n)) {
        uint8_t *page = hd_page_take(&seq->core->pages);
        if (!page) {
            hd_status status = no_page(seq, err); /* before pages are given back: it looks at how many are in use */
            hd_seq_trim(seq);
            return status;
        }
        seq->pages[seq->page_count++] = page;
    }
    return HD_OK;
}

hd_status hd_seq_reserve(hd_seq *seq, int64_t n, hd_error *err)
{
    HD_TRY(hd_seq_grow(seq, n, err));
    seq->kept = HD_MAX(seq->kept, seq->length + n);
    return HD_OK;
}

hd_status hd_seq_truncate(hd_seq *seq, int64_t length, hd_error *err)
{
    if (length < 0 || length > seq->length)
        return hd_fail(err, HD_E_ARGUMENT, "cannot cut a session of %lld tokens to %lld", (long long)seq->length,
                       (long long)length);
    if (length < seq->length) seq->has_logits = seq->has_hidden = false;
    seq->length = length;
    seq->kept = 0;
    hd_seq_trim(seq);
    return HD_OK;
}

hd_status hd_seq_need_logits(hd_seq *seq, hd_error *err)
{
    size_t vocab = (size_t)hd_model_get_config(seq->core->model)->vocab;
    if (!seq->logits && !(seq->logits = hd_alloc_array(vocab, sizeof(float))))
        return hd_fail(err, HD_E_MEMORY, "out of memory for the logits of a session");
    return HD_OK;
}

/* Arrays of the copy; pages come after them, so that nothing is shared on failure. */
static hd_status make_room(hd_seq *copy, int64_t length, bool logits, hd_error *err)
{
    if (length) HD_TRY(hd_seq_grow_arrays(copy, length, err));
    return logits ? hd_seq_need_logits(copy, err) : HD_OK;
}

hd_status hd_seq_fork(hd_seq **out, const hd_seq *seq, int64_t length, hd_error *err)
{
    *out = NULL;
    if (length < 0 || length > seq->length)
        return hd_fail(err, HD_E_ARGUMENT, "cannot take %lld tokens of a session that holds %lld", (long long)length,
                       (long long)seq->length);
    hd_seq *copy;
    HD_TRY(hd_seq_open(&copy, seq->core, err));
    copy->lora = hd_lora_ref(seq->lora);
    copy->has_logits = seq->has_logits && length == seq->length;
    hd_status status = make_room(copy, length, copy->has_logits, err);
    if (status != HD_OK) {
        hd_seq_close(&copy);
        return status;
    }
    if (length) memcpy(copy->tokens, seq->tokens, (size_t)length * sizeof *copy->tokens);
    for (; copy->page_count < pages_for(length); copy->page_count++) {
        copy->pages[copy->page_count] = seq->pages[copy->page_count];
        hd_page_share(copy->pages[copy->page_count]);
    }
    copy->length = length;
    if (copy->has_logits)
        memcpy(copy->logits, seq->logits, (size_t)hd_model_get_config(seq->core->model)->vocab * sizeof(float));
    *out = copy;
    return HD_OK;
}
