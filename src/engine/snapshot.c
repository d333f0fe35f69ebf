/* engine/snapshot.c: a sequence as bytes and back.
 *
 * Format, little-endian (docs/engine.md): "HDSNAP1\0" | u64 fingerprint of model, tier and page format | u64 tokens |
 * u64 has_logits | i32 token[tokens] (padded to 8 bytes) | pages | f32 logits[vocab] if has_logits (padded to 8) | u64
 * checksum of all before.  The bytes are untrusted on the way in: sizes must add up exactly, the checksum must agree,
 * and ids must lie in the vocabulary. */
#include <string.h>

#include "engine/engine_internal.h"

#define MAGIC "HDSNAP1" /* and its NUL: 8 bytes */
#define HEADER 32

/* FNV-1a (64 bit) over words of 8 bytes: finds damage, is no protection against forgery. */
uint64_t hd_snapshot_checksum(const uint8_t *data, size_t size)
{
    uint64_t h = 0xcbf29ce484222325u;
    for (size_t i = 0; i + 8 <= size; i += 8) {
        uint64_t word;
        memcpy(&word, data + i, 8);
        h = (h ^ word) * 0x100000001b3u;
        h ^= h >> 29;
    }
    return h;
}

typedef struct sizes {
    size_t tokens, pages, logits, total; /* bytes */
    int64_t page_count;
} sizes;

static size_t padded(size_t bytes)
{
    return (bytes + 7) / 8 * 8;
}

static sizes sizes_of(const hd_core *core, int64_t tokens, bool has_logits)
{
    sizes s = {.tokens = padded((size_t)tokens * sizeof(int32_t)),
               .page_count = (tokens + HD_PAGE_ROWS - 1) / HD_PAGE_ROWS};
    s.pages = (size_t)s.page_count * core->pages.page_bytes;
    s.logits = has_logits ? padded((size_t)hd_model_get_config(core->model)->vocab * sizeof(float)) : 0;
    s.total = HEADER + s.tokens + s.pages + s.logits + sizeof(uint64_t);
    return s;
}

static void put_u64(uint8_t *at, uint64_t v)
{
    memcpy(at, &v, sizeof v); /* every supported machine is little-endian */
}

/* Copies the pages.  Rows behind the last token may hold what another sequence left in a reused page: they become
 * zeros, so that no snapshot carries foreign content and equal sequences give equal bytes. */
static void copy_pages(uint8_t *out, const hd_seq *seq, int64_t count)
{
    const hd_cache_layout *l = hd_model_get_layout(seq->core->model);
    size_t page_bytes = seq->core->pages.page_bytes;
    for (int64_t i = 0; i < count; i++)
        memcpy(out + (size_t)i * page_bytes, seq->pages[i], page_bytes);
    size_t used = (size_t)(seq->length % HD_PAGE_ROWS);
    if (!used) return;
    uint8_t *last = out + (size_t)(count - 1) * page_bytes;
    for (int s = 0; s < l->streams; s++)
        memset(last + l->offset[s] + used * l->stride[s], 0, (HD_PAGE_ROWS - used) * l->stride[s]);
}

hd_status hd_seq_snapshot(const hd_seq *seq, uint8_t **data, size_t *size, hd_error *err)
{
    const hd_core *core = seq->core;
    sizes s = sizes_of(core, seq->length, seq->has_logits);
    uint8_t *bytes = hd_calloc(s.total, 1);
    *data = NULL;
    *size = 0;
    if (!bytes) return hd_fail(err, HD_E_MEMORY, "out of memory for a snapshot of %zu bytes", s.total);
    memcpy(bytes, MAGIC, 8);
    put_u64(bytes + 8, core->fingerprint ^ hd_lora_hash(seq->lora));
    put_u64(bytes + 16, (uint64_t)seq->length);
    put_u64(bytes + 24, seq->has_logits);
    uint8_t *at = bytes + HEADER;
    if (seq->length) memcpy(at, seq->tokens, (size_t)seq->length * sizeof(int32_t));
    at += s.tokens;
    copy_pages(at, seq, s.page_count);
    at += s.pages;
    if (s.logits) memcpy(at, seq->logits, (size_t)hd_model_get_config(core->model)->vocab * sizeof(float));
    put_u64(bytes + s.total - 8, hd_snapshot_checksum(bytes, s.total - 8));
    *data = bytes;
    *size = s.total;
    return HD_OK;
}

/* The checksum proves no good will: ids index the sampler's tables. */
static hd_status check_ids(const hd_core *core, const uint8_t *ids, int64_t count, hd_error *err)
{
    int32_t vocab = hd_model_get_config(core->model)->vocab;
    for (int64_t i = 0; i < count; i++) {
        int32_t id;
        memcpy(&id, ids + (size_t)i * sizeof id, sizeof id);
        if (id < 0 || id >= vocab)
            return hd_fail(err, HD_E_FORMAT, "the snapshot holds token id %d, outside the vocabulary of %d", id, vocab);
    }
    return HD_OK;
}

static hd_status check(const hd_seq *seq, const uint8_t *data, size_t size, int64_t *tokens, bool *has_logits,
                       hd_error *err)
{
    const hd_core *core = seq->core;
    hd_reader r;
    hd_reader_init(&r, data, size);
    const uint8_t *magic = hd_read_bytes(&r, 8);
    uint64_t fingerprint = hd_read_u64(&r), count = hd_read_u64(&r), logits = hd_read_u64(&r);
    if (r.failed || memcmp(magic, MAGIC, 8) != 0) return hd_fail(err, HD_E_FORMAT, "not a snapshot of this version");
    if (fingerprint != (core->fingerprint ^ hd_lora_hash(seq->lora)))
        return hd_fail(err, HD_E_FORMAT,
                       "the snapshot was made with another model, CPU tier, type of cache, adapter or version");
    if (count > (uint64_t)core->context || logits > (count > 0) ||
        sizes_of(core, (int64_t)count, logits != 0).total != size)
        return hd_fail(err, HD_E_FORMAT, "the snapshot's size does not fit its %llu tokens", (unsigned long long)count);
    uint64_t sum;
    memcpy(&sum, data + size - 8, sizeof sum);
    if (sum != hd_snapshot_checksum(data, size - 8))
        return hd_fail(err, HD_E_FORMAT, "the snapshot is damaged: checksum mismatch");
    *tokens = (int64_t)count;
    *has_logits = logits != 0;
    return check_ids(core, data + HEADER, *tokens, err);
}

static void fill(hd_seq *seq, const uint8_t *data, int64_t tokens, bool has_logits)
{
    sizes s = sizes_of(seq->core, tokens, has_logits);
    const uint8_t *at = data + HEADER;
    if (tokens) memcpy(seq->tokens, at, (size_t)tokens * sizeof(int32_t));
    at += s.tokens;
    for (int64_t i = 0; i < s.page_count; i++, at += seq->core->pages.page_bytes)
        memcpy(seq->pages[i], at, seq->core->pages.page_bytes);
    if (has_logits) memcpy(seq->logits, at, (size_t)hd_model_get_config(seq->core->model)->vocab * sizeof(float));
    seq->length = tokens;
    seq->has_logits = has_logits;
}

hd_status hd_seq_restore(hd_seq *seq, const uint8_t *data, size_t size, hd_error *err)
{
    int64_t tokens = 0;
    bool has_logits = false;
    hd_seq *fresh;
    HD_TRY(check(seq, data, size, &tokens, &has_logits, err));
    HD_TRY(hd_seq_open(&fresh, seq->core, err));
    hd_status status = tokens ? hd_seq_grow(fresh, tokens, err) : HD_OK;
    if (status == HD_OK && has_logits) status = hd_seq_need_logits(fresh, err);
    if (status == HD_OK) {
        fill(fresh, data, tokens, has_logits);
        hd_seq old = *seq; /* swap, so that the session changes only when all has gone well */
        *seq = *fresh;
        *fresh = old;
        seq->hidden = old.hidden; /* kept as before, but of no token yet */
        fresh->hidden = NULL;
        seq->lora = old.lora;
        fresh->lora = NULL;
    }
    hd_seq_close(&fresh);
    return status;
}
