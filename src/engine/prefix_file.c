/* engine/prefix_file.c: cached prefixes as bytes and back (include/hadal/scheduler.h).
 *
 * Format, little-endian (docs/engine.md): "HDPREF1\0" | u64 fingerprint of model, tier and page format | u64 bytes of a
 * page | records, numbered from 1 on | u64 of all ones.  A record: u64 number of the page before it (0: none) |
 * salt[16] (zeros unless there is none) | i32 token[32] | page | u64 checksum of all before in it.  The bytes are
 * untrusted on the way in: a record may only follow one that came before it, and ids must lie in the vocabulary.
 *
 * The scheduler's thread copies pages in slices; bytes are written, read and checked on the caller's. */
#include <string.h>

#include "base/base.h"
#include "engine/scheduler_internal.h"

#define MAGIC "HDPREF1" /* and its NUL: 8 bytes */
#define HEADER 24
#define THE_END UINT64_MAX
#define SLICE ((size_t)4 << 20) /* bytes that the scheduler's thread copies at once: about a millisecond */

/* Where the parts of a record lie. */
enum { AT_PARENT = 0, AT_SALT = 8, AT_TOKENS = AT_SALT + HD_SALT_BYTES, AT_PAGE = AT_TOKENS + 4 * HD_PAGE_ROWS };

typedef struct transfer {
    const hd_core *core;
    uint8_t *slice;      /* [capacity] records */
    size_t record_bytes; /* of one */
    size_t count, capacity;
    bool out, more;    /* more: not the last slice (out); room was left (in) */
    uint64_t records;  /* in: read so far */
    int64_t added;     /* in: pages */
    hd_status started; /* of hd_prefix_begin; error has the text */
    hd_error error;
} transfer;

static hd_status open_transfer(transfer *t, const hd_scheduler *s, bool out, hd_error *err)
{
    size_t page = s->core->pages.page_bytes;
    *t = (transfer){.core = s->core, .out = out, .record_bytes = AT_PAGE + page + sizeof(uint64_t), .more = true};
    t->capacity = HD_MAX(SLICE / t->record_bytes, 1u);
    t->slice = hd_alloc_array(t->capacity, t->record_bytes);
    return t->slice ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for %zu bytes of prefixes", SLICE);
}

/* ---- on the scheduler's thread ---- */

static void begin(hd_scheduler *s, void *arg)
{
    transfer *t = arg;
    t->started = s->prefixes ? hd_prefix_begin(s->prefixes, t->out, &t->error) : HD_OK;
    t->more = s->prefixes != NULL;
}

static void end(hd_scheduler *s, void *arg)
{
    (void)arg;
    if (s->prefixes) hd_prefix_end(s->prefixes);
}

static void take_slice(hd_scheduler *s, void *arg)
{
    transfer *t = arg;
    hd_prefix_page page;
    for (t->count = 0; t->count < t->capacity; t->count++) {
        uint8_t *record = t->slice + t->count * t->record_bytes;
        if (!hd_prefix_take(s->prefixes, &page, record + AT_PAGE)) {
            t->more = false;
            return;
        }
        memcpy(record + AT_PARENT, &page.parent, sizeof page.parent);
        memcpy(record + AT_SALT, page.salt, sizeof page.salt);
        memcpy(record + AT_TOKENS, page.tokens, sizeof page.tokens);
    }
}

static hd_prefix_page page_of(const uint8_t *record)
{
    hd_prefix_page page;
    memcpy(&page.parent, record + AT_PARENT, sizeof page.parent);
    memcpy(page.salt, record + AT_SALT, sizeof page.salt);
    memcpy(page.tokens, record + AT_TOKENS, sizeof page.tokens);
    return page;
}

static void put_slice(hd_scheduler *s, void *arg)
{
    transfer *t = arg;
    for (size_t i = 0; t->more && i < t->count; i++) {
        const uint8_t *record = t->slice + i * t->record_bytes;
        hd_prefix_page page = page_of(record);
        bool added;
        t->more = hd_prefix_put(s->prefixes, &page, record + AT_PAGE, &added);
        t->added += added;
    }
}

static hd_status closing(hd_error *err)
{
    return hd_fail(err, HD_E_CANCELLED, "the scheduler is closing");
}

/* Begins, lets `move` do the rest on this thread, and ends. */
static hd_status run(hd_scheduler *s, transfer *t,
                     hd_status (*move)(hd_scheduler *s, transfer *t, void *arg, hd_error *), void *arg, hd_error *err)
{
    if (!hd_scheduler_call(s, begin, t)) return closing(err);
    if (t->started != HD_OK) {
        if (err) *err = t->error;
        return t->started;
    }
    hd_status status = move(s, t, arg, err);
    (void)hd_scheduler_call(s, end, t); /* a scheduler that is closing ends it by itself */
    return status;
}

/* ---- out ---- */

typedef struct output {
    hd_write_fn write;
    void *arg;
} output;

static hd_status write_slice(transfer *t, const output *out, hd_error *err)
{
    for (size_t i = 0; i < t->count; i++) {
        uint8_t *record = t->slice + i * t->record_bytes;
        uint64_t sum = hd_snapshot_checksum(record, t->record_bytes - sizeof sum);
        memcpy(record + t->record_bytes - sizeof sum, &sum, sizeof sum);
    }
    return t->count ? out->write(out->arg, t->slice, t->count * t->record_bytes, err) : HD_OK;
}

static hd_status write_all(hd_scheduler *s, transfer *t, void *arg, hd_error *err)
{
    const output *out = arg;
    const uint64_t fields[] = {t->core->fingerprint, t->core->pages.page_bytes}, last = THE_END;
    uint8_t header[HEADER] = MAGIC;
    memcpy(header + 8, fields, sizeof fields); /* every supported machine is little-endian */
    HD_TRY(out->write(out->arg, header, sizeof header, err));
    while (t->more) {
        if (!hd_scheduler_call(s, take_slice, t)) return closing(err);
        HD_TRY(write_slice(t, out, err));
    }
    return out->write(out->arg, &last, sizeof last, err);
}

hd_status hd_scheduler_export_prefixes(hd_scheduler *scheduler, hd_write_fn write, void *arg, hd_error *err)
{
    transfer t;
    output out = {.write = write, .arg = arg};
    HD_TRY(hd_scheduler_begin_transfer(scheduler, err));
    hd_status status = open_transfer(&t, scheduler, true, err);
    if (status == HD_OK) status = run(scheduler, &t, write_all, &out, err);
    hd_free(t.slice);
    hd_scheduler_end_transfer(scheduler);
    return status;
}

/* ---- in ---- */

typedef struct input {
    hd_read_fn read;
    void *arg;
} input;

static hd_status read_fully(const input *in, uint8_t *to, size_t size, hd_error *err)
{
    for (size_t done = 0, got; done < size; done += got) {
        HD_TRY(in->read(in->arg, to + done, size - done, &got, err));
        if (got == 0 || got > size - done) return hd_fail(err, HD_E_FORMAT, "the prefixes end in the middle");
    }
    return HD_OK;
}

static hd_status read_header(const transfer *t, const input *in, hd_error *err)
{
    uint8_t header[HEADER];
    hd_reader r;
    HD_TRY(read_fully(in, header, sizeof header, err));
    if (memcmp(header, MAGIC, 8) != 0) return hd_fail(err, HD_E_FORMAT, "not prefixes of this version");
    hd_reader_init(&r, header + 8, sizeof header - 8);
    if (hd_read_u64(&r) != t->core->fingerprint || hd_read_u64(&r) != t->core->pages.page_bytes)
        return hd_fail(err, HD_E_FORMAT, "the prefixes were made with another model, CPU tier or version");
    return HD_OK;
}

/* `number` is that of this record. */
static hd_status check_record(const transfer *t, const uint8_t *record, uint64_t number, hd_error *err)
{
    uint64_t sum;
    size_t body = t->record_bytes - sizeof sum;
    int32_t vocab = hd_model_get_config(t->core->model)->vocab;
    hd_prefix_page page = page_of(record);
    memcpy(&sum, record + body, sizeof sum);
    if (sum != hd_snapshot_checksum(record, body))
        return hd_fail(err, HD_E_FORMAT, "the prefixes are damaged: checksum mismatch in record %llu",
                       (unsigned long long)number);
    if (page.parent >= number)
        return hd_fail(err, HD_E_FORMAT, "record %llu of the prefixes follows record %llu, which comes later",
                       (unsigned long long)number, (unsigned long long)page.parent);
    for (int i = 0; i < HD_PAGE_ROWS; i++)
        if (page.tokens[i] < 0 || page.tokens[i] >= vocab)
            return hd_fail(err, HD_E_FORMAT, "record %llu of the prefixes holds token id %d, outside the vocabulary",
                           (unsigned long long)number, page.tokens[i]);
    return HD_OK;
}

/* *last: the end was met. */
static hd_status read_slice(transfer *t, const input *in, bool *last, hd_error *err)
{
    for (t->count = 0; t->count < t->capacity; t->count++) {
        uint8_t *record = t->slice + t->count * t->record_bytes;
        uint64_t parent;
        HD_TRY(read_fully(in, record, sizeof parent, err));
        memcpy(&parent, record, sizeof parent);
        *last = parent == THE_END;
        if (*last) return HD_OK;
        HD_TRY(read_fully(in, record + sizeof parent, t->record_bytes - sizeof parent, err));
        HD_TRY(check_record(t, record, t->records + 1, err));
        t->records++;
    }
    return HD_OK;
}

/* What was read before an error stays, in whole records. */
static hd_status read_all(hd_scheduler *s, transfer *t, void *arg, hd_error *err)
{
    const input *in = arg;
    bool last = false;
    HD_TRY(read_header(t, in, err));
    while (t->more && !last) {
        hd_status status = read_slice(t, in, &last, err);
        if (!hd_scheduler_call(s, put_slice, t)) return closing(err);
        HD_TRY(status);
    }
    return HD_OK;
}

hd_status hd_scheduler_import_prefixes(hd_scheduler *scheduler, hd_read_fn read, void *arg, int64_t *pages,
                                       hd_error *err)
{
    transfer t = {.added = 0};
    input in = {.read = read, .arg = arg};
    if (pages) *pages = 0;
    HD_TRY(hd_scheduler_begin_transfer(scheduler, err));
    hd_status status = open_transfer(&t, scheduler, false, err);
    if (status == HD_OK) status = run(scheduler, &t, read_all, &in, err);
    if (pages) *pages = t.added;
    hd_free(t.slice);
    hd_scheduler_end_transfer(scheduler);
    return status;
}
