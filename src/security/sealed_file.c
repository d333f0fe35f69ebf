/* security/sealed_file.c: see sealed_file.h; the format stands in docs/security.md.
 *
 * Chunk by chunk with a number and a mark on the last one in the nonce: the STREAM construction (Hoang, Reyhanitabar,
 * Rogaway, Vizar: "Online Authenticated-Encryption and its Nonce-Reuse Misuse-Resistance", 2015).  A nonce never comes
 * twice under a key because each file has a key of its own.
 */
#include "security/sealed_file.h"

#include <assert.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "base/base.h"
#include "crypto/crypto.h"
#include "security/sealed_internal.h"

#define MAGIC "HDSEALED"
#define VERSION 1
#define SALT_AT 16 /* behind magic, version, bytes in a chunk */
#define SALT_BYTES 32
#define PURPOSE_PREFIX "hadal sealed file 1: "

static_assert(SALT_AT + SALT_BYTES == HD_SEALED_HEADER, "the header of docs/security.md");

/* What writing and reading have in common. */
typedef struct stream {
    hd_aead *aead;
    uint8_t *extra; /* header and context: authenticated with each chunk */
    size_t extra_len;
    size_t chunk;    /* bytes in all chunks but the last */
    uint8_t *plain;  /* [chunk] */
    uint8_t *sealed; /* [chunk + HD_AEAD_TAG] */
    uint64_t next;   /* number of the next chunk */
    char *path;
    int fd; /* -1: not open */
} stream;

struct hd_sealed_writer {
    stream s;
    size_t filled; /* bytes in s.plain */
    hd_buf temporary;
    hd_error failed; /* HD_OK: not yet */
    bool committed;
};

struct hd_sealed_reader {
    stream s;
    uint64_t count, body; /* chunks, and their bytes in the file */
    size_t at, have;      /* of s.plain: given out, and there */
    hd_error failed;
};

/* ---- both ---- */

static hd_status no_memory(hd_error *err)
{
    return hd_fail(err, HD_E_MEMORY, "out of memory for a sealed file");
}

static void stream_free(stream *s)
{
    hd_aead_close(&s->aead);
    if (s->plain) hd_wipe(s->plain, s->chunk);
    hd_free(s->plain);
    hd_free(s->sealed);
    hd_free(s->extra);
    hd_free(s->path);
    if (s->fd >= 0) close(s->fd);
}

/* Takes the header's chunk size and salt, and the caller's context. */
static hd_status stream_init(stream *s, const hd_data_folder *folder, const char *purpose, hd_str context,
                             const uint8_t header[HD_SEALED_HEADER], size_t chunk, hd_error *err)
{
    char info[sizeof PURPOSE_PREFIX + HD_SEALED_PURPOSE];
    uint8_t key[HD_AEAD_KEY];
    if (strlen(purpose) > HD_SEALED_PURPOSE || context.len > HD_SEALED_CONTEXT)
        return hd_fail(err, HD_E_LIMIT, "%s: its purpose or context is too long", s->path);
    s->chunk = chunk;
    s->extra_len = HD_SEALED_HEADER + context.len;
    s->extra = hd_alloc(s->extra_len);
    s->plain = hd_calloc(1, chunk);
    s->sealed = hd_alloc(chunk + HD_AEAD_TAG);
    if (!s->extra || !s->plain || !s->sealed) return no_memory(err);
    memcpy(s->extra, header, HD_SEALED_HEADER);
    if (context.len) memcpy(s->extra + HD_SEALED_HEADER, context.data, context.len);
    snprintf(info, sizeof info, "%s%s", PURPOSE_PREFIX, purpose);
    HD_TRY(hd_data_folder_derive(folder, info, header + SALT_AT, SALT_BYTES, key, sizeof key, err));
    hd_status status = hd_aead_open(&s->aead, key, err);
    hd_wipe(key, sizeof key);
    return status;
}

static void make_nonce(uint8_t nonce[HD_AEAD_NONCE], uint64_t number, bool last)
{
    memset(nonce, 0, HD_AEAD_NONCE);
    for (int i = 0; i < 8; i++)
        nonce[i] = (uint8_t)(number >> (8 * i));
    nonce[8] = last;
}

/* ---- writing ---- */

static void put_u32(uint8_t *out, uint32_t value)
{
    for (int i = 0; i < 4; i++)
        out[i] = (uint8_t)(value >> (8 * i));
}

static hd_status write_all(const stream *s, const uint8_t *data, size_t len, hd_error *err)
{
    while (len > 0) {
        ssize_t n = write(s->fd, data, len);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hd_fail(err, HD_E_IO, "%s: cannot write: %s", s->path, strerror(errno));
        data += n;
        len -= (size_t)n;
    }
    return HD_OK;
}

static hd_status open_temporary(hd_sealed_writer *w, hd_error *err)
{
    w->s.fd = hd_temporary_open(w->s.path, 0600, &w->temporary);
    if (w->s.fd >= 0) return HD_OK;
    hd_buf_clear(&w->temporary); /* nothing to remove */
    if (errno == ENOMEM) return no_memory(err);
    return hd_fail(err, HD_E_IO, "%s: cannot create: %s", w->s.path, strerror(errno));
}

static hd_status writer_init(hd_sealed_writer *w, const hd_data_folder *folder, const char *purpose, hd_str context,
                             size_t chunk, hd_error *err)
{
    uint8_t header[HD_SEALED_HEADER] = MAGIC;
    put_u32(header + 8, VERSION);
    put_u32(header + 12, (uint32_t)chunk);
    HD_TRY(hd_random_bytes(header + SALT_AT, SALT_BYTES, err));
    HD_TRY(stream_init(&w->s, folder, purpose, context, header, chunk, err));
    HD_TRY(open_temporary(w, err));
    return write_all(&w->s, header, sizeof header, err);
}

hd_status hd_sealed_writer_open_chunked(hd_sealed_writer **out, const hd_data_folder *folder, const char *purpose,
                                        hd_str context, const char *path, size_t chunk, hd_error *err)
{
    *out = NULL;
    hd_sealed_writer *w = hd_calloc(1, sizeof *w);
    if (!w) return no_memory(err);
    w->s.fd = -1;
    hd_buf_init(&w->temporary, 1 << 16);
    hd_status status = (w->s.path = hd_strdup(path)) ? HD_OK : no_memory(err);
    if (status == HD_OK) status = writer_init(w, folder, purpose, context, chunk, err);
    if (status == HD_OK)
        *out = w;
    else
        hd_sealed_writer_close(&w);
    return status;
}

hd_status hd_sealed_writer_open(hd_sealed_writer **out, const hd_data_folder *folder, const char *purpose,
                                hd_str context, const char *path, hd_error *err)
{
    return hd_sealed_writer_open_chunked(out, folder, purpose, context, path, HD_SEALED_CHUNK, err);
}

static hd_status flush(hd_sealed_writer *w, bool last, hd_error *err)
{
    stream *s = &w->s;
    uint8_t nonce[HD_AEAD_NONCE];
    make_nonce(nonce, s->next++, last);
    HD_TRY(hd_aead_seal(s->aead, nonce, s->extra, s->extra_len, s->plain, w->filled, s->sealed, err));
    size_t len = w->filled + HD_AEAD_TAG;
    w->filled = 0;
    return write_all(s, s->sealed, len, err);
}

/* The failure of before; HD_OK when there was none. */
static hd_status again(const hd_error *failed, hd_error *err)
{
    return failed->status == HD_OK ? HD_OK : hd_fail(err, failed->status, "%s", failed->text);
}

static hd_status keep(hd_error *failed, hd_status status, hd_error *err)
{
    if (status != HD_OK && err) *err = *failed;
    return status;
}

static hd_status append(hd_sealed_writer *w, const uint8_t *data, size_t len, hd_error *err)
{
    while (len > 0) {
        if (w->filled == w->s.chunk) HD_TRY(flush(w, false, err)); /* more comes: it is not the last */
        size_t part = HD_MIN(len, w->s.chunk - w->filled);
        memcpy(w->s.plain + w->filled, data, part);
        w->filled += part;
        data += part;
        len -= part;
    }
    return HD_OK;
}

hd_status hd_sealed_writer_write(hd_sealed_writer *writer, const void *data, size_t len, hd_error *err)
{
    HD_TRY(again(&writer->failed, err));
    return keep(&writer->failed, append(writer, data, len, &writer->failed), err);
}

/* Makes the new name last, too. */
static hd_status sync_folder(const char *path, hd_error *err)
{
    const char *slash = strrchr(path, '/');
    char *folder = slash ? hd_strndup(path, (size_t)(slash - path) + 1) : hd_strdup(".");
    if (!folder) return no_memory(err);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    bool synced = fd >= 0 && fsync(fd) == 0;
    int why = errno;
    if (fd >= 0) close(fd);
    hd_free(folder);
    return synced ? HD_OK : hd_fail(err, HD_E_IO, "%s: its folder cannot be written: %s", path, strerror(why));
}

static hd_status commit(hd_sealed_writer *w, hd_error *err)
{
    HD_TRY(flush(w, true, err));
    if (fsync(w->s.fd) != 0) return hd_fail(err, HD_E_IO, "%s: cannot write: %s", w->s.path, strerror(errno));
    if (rename(w->temporary.data, w->s.path) != 0)
        return hd_fail(err, HD_E_IO, "%s: cannot rename: %s", w->s.path, strerror(errno));
    w->committed = true;
    return sync_folder(w->s.path, err);
}

hd_status hd_sealed_writer_commit(hd_sealed_writer *writer, hd_error *err)
{
    HD_TRY(again(&writer->failed, err));
    hd_status status = keep(&writer->failed, commit(writer, &writer->failed), err);
    if (status == HD_OK) /* for later calls */
        (void)!hd_fail(&writer->failed, HD_E_ARGUMENT, "%s: it is written and closed to more", writer->s.path);
    return status;
}

void hd_sealed_writer_close(hd_sealed_writer **writer)
{
    hd_sealed_writer *w = *writer;
    if (!w) return;
    if (!w->committed && w->temporary.len) unlink(w->temporary.data);
    stream_free(&w->s);
    hd_buf_free(&w->temporary);
    hd_free(w);
    *writer = NULL;
}

/* ---- reading ---- */

static hd_status damaged(const hd_sealed_reader *r, hd_error *err)
{
    return hd_fail(
        err, HD_E_CHECKSUM,
        "%s is damaged, or was not written for this purpose with the secret of this data folder; what it held "
        "must be made anew or restored from a backup",
        r->s.path);
}

/* Exactly `len` bytes; *whole is false when the file ends before. */
static hd_status read_at(const stream *s, uint8_t *out, size_t len, uint64_t at, bool *whole, hd_error *err)
{
    *whole = false;
    while (len > 0) {
        ssize_t n = pread(s->fd, out, len, (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n < 0) return hd_fail(err, HD_E_IO, "%s: cannot read: %s", s->path, strerror(errno));
        if (n == 0) return HD_OK;
        out += n;
        at += (uint64_t)n;
        len -= (size_t)n;
    }
    *whole = true;
    return HD_OK;
}

static hd_status read_header(const hd_sealed_reader *r, uint8_t header[HD_SEALED_HEADER], size_t *chunk, hd_error *err)
{
    bool whole;
    hd_reader in;
    HD_TRY(read_at(&r->s, header, HD_SEALED_HEADER, 0, &whole, err));
    if (!whole || memcmp(header, MAGIC, strlen(MAGIC)) != 0)
        return hd_fail(err, HD_E_FORMAT, "%s is not a sealed file", r->s.path);
    hd_reader_init(&in, header + strlen(MAGIC), 8);
    uint32_t version = hd_read_u32(&in);
    *chunk = hd_read_u32(&in);
    if (version != VERSION)
        return hd_fail(err, HD_E_UNSUPPORTED, "%s is a sealed file of version %u; this program knows version %u",
                       r->s.path, version, VERSION);
    if (*chunk < HD_SEALED_CHUNK_MIN || *chunk > HD_SEALED_CHUNK)
        return hd_fail(err, HD_E_FORMAT, "%s: chunks of %zu bytes cannot be; its beginning is damaged", r->s.path,
                       *chunk);
    return HD_OK;
}

/* How many chunks a file of this size has. */
static hd_status count_chunks(hd_sealed_reader *r, uint64_t size, hd_error *err)
{
    uint64_t full = r->s.chunk + HD_AEAD_TAG;
    if (size < HD_SEALED_HEADER) return damaged(r, err);
    r->body = size - HD_SEALED_HEADER;
    r->count = r->body / full + (r->body % full != 0);
    if (r->count == 0 || (r->body % full && r->body % full < HD_AEAD_TAG)) return damaged(r, err);
    return HD_OK;
}

static hd_status reader_init(hd_sealed_reader *r, const hd_data_folder *folder, const char *purpose, hd_str context,
                             hd_error *err)
{
    uint8_t header[HD_SEALED_HEADER];
    struct stat st;
    size_t chunk = 0;
    r->s.fd = open(r->s.path, O_RDONLY | O_NONBLOCK | O_CLOEXEC);
    if (r->s.fd < 0)
        return hd_fail(err, errno == ENOENT ? HD_E_NOT_FOUND : HD_E_IO, "%s: cannot open: %s", r->s.path,
                       strerror(errno));
    if (fstat(r->s.fd, &st) != 0) return hd_fail(err, HD_E_IO, "%s: cannot read: %s", r->s.path, strerror(errno));
    if (!S_ISREG(st.st_mode)) return hd_fail(err, HD_E_FORMAT, "%s is not a regular file", r->s.path);
    HD_TRY(read_header(r, header, &chunk, err));
    HD_TRY(stream_init(&r->s, folder, purpose, context, header, chunk, err));
    return count_chunks(r, (uint64_t)st.st_size, err);
}

hd_status hd_sealed_reader_open(hd_sealed_reader **out, const hd_data_folder *folder, const char *purpose,
                                hd_str context, const char *path, hd_error *err)
{
    *out = NULL;
    hd_sealed_reader *r = hd_calloc(1, sizeof *r);
    if (!r) return no_memory(err);
    r->s.fd = -1;
    hd_status status = (r->s.path = hd_strdup(path)) ? HD_OK : no_memory(err);
    if (status == HD_OK) status = reader_init(r, folder, purpose, context, err);
    if (status == HD_OK)
        *out = r;
    else
        hd_sealed_reader_close(&r);
    return status;
}

uint64_t hd_sealed_reader_size(const hd_sealed_reader *reader)
{
    return reader->body - reader->count * HD_AEAD_TAG;
}

/* The next chunk into s.plain. */
static hd_status load(hd_sealed_reader *r, hd_error *err)
{
    stream *s = &r->s;
    uint8_t nonce[HD_AEAD_NONCE];
    uint64_t full = s->chunk + HD_AEAD_TAG, from = s->next * full;
    bool last = s->next + 1 == r->count, whole;
    size_t len = (size_t)(last ? r->body - from : full);
    HD_TRY(read_at(s, s->sealed, len, HD_SEALED_HEADER + from, &whole, err));
    if (!whole) return damaged(r, err); /* it was cut since it was opened */
    make_nonce(nonce, s->next, last);
    hd_status status = hd_aead_unseal(s->aead, nonce, s->extra, s->extra_len, s->sealed, len, s->plain, err);
    if (status == HD_E_CHECKSUM) return damaged(r, err);
    HD_TRY(status);
    s->next++;
    r->at = 0;
    r->have = len - HD_AEAD_TAG;
    return HD_OK;
}

hd_status hd_sealed_reader_read(hd_sealed_reader *reader, void *out, size_t len, size_t *got, hd_error *err)
{
    hd_sealed_reader *r = reader;
    *got = 0;
    HD_TRY(again(&r->failed, err));
    if (r->at == r->have && r->s.next < r->count) HD_TRY(keep(&r->failed, load(r, &r->failed), err));
    *got = HD_MIN(len, r->have - r->at);
    if (*got) memcpy(out, r->s.plain + r->at, *got);
    r->at += *got;
    return HD_OK;
}

void hd_sealed_reader_close(hd_sealed_reader **reader)
{
    if (!*reader) return;
    stream_free(&(*reader)->s);
    hd_free(*reader);
    *reader = NULL;
}
