/* formats/gguf_write.c: writes a GGUF file from front to back into PATH.part, which becomes PATH when it is whole.
 *
 * The header is made first and has every offset, so the place of a tensor is known before its bytes are, and a part
 * that begins with the same header was written by the same run: it is cut to its whole tensors and gone on with. */
#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/formats_internal.h"

#define HEADER_MAX ((size_t)1 << 30) /* a vocabulary of 130,000 words with merges has 10 MB */

struct hd_gguf_writer {
    char *path, *part;
    int fd;
    uint64_t *end; /* [count] of each tensor's bytes in the file, without padding */
    size_t count, next;
    uint64_t data; /* where the first tensor lies: behind the header */
    uint64_t at;   /* bytes in the file */
    uint64_t alignment;
};

/* ---- the header ---- */

static void put_u32(hd_buf *b, uint32_t v)
{
    (void)hd_buf_append(b, &v, sizeof v); /* every supported machine is little-endian, as the file is */
}

static void put_u64(hd_buf *b, uint64_t v)
{
    (void)hd_buf_append(b, &v, sizeof v);
}

static void put_string(hd_buf *b, hd_str s)
{
    put_u64(b, s.len);
    (void)hd_buf_append(b, s.data, s.len);
}

static void put_meta(hd_buf *b, const hd_meta *m)
{
    hd_meta_type type = m->type;
    uint64_t count = 1;
    put_string(b, m->key);
    put_u32(b, (uint32_t)m->type);
    if (type == HD_META_ARRAY) {
        type = m->elem;
        count = m->count;
        put_u32(b, (uint32_t)m->elem);
        put_u64(b, count);
    }
    if (type != HD_META_STRING)
        (void)hd_buf_append(b, m->data, (size_t)count * hd_meta_scalar_bytes((uint32_t)type));
    else if (m->type == HD_META_STRING)
        put_string(b, m->string);
    else
        for (uint64_t i = 0; i < count; i++)
            put_string(b, m->strings[i]);
}

static int gguf_number(hd_type type)
{
    for (uint32_t id = 0; id < 64; id++) {
        hd_type found;
        if (hd_type_from_gguf(id, &found) && found == type) return (int)id;
    }
    return -1;
}

static uint64_t aligned(uint64_t at, uint64_t alignment)
{
    return (at + alignment - 1) / alignment * alignment;
}

/* One tensor's entry; *end is where its bytes end, from the start of the data. */
static hd_status put_tensor(hd_buf *b, const hd_tensor *t, uint64_t alignment, uint64_t *end, hd_error *err)
{
    size_t bytes;
    const char *why;
    int number = gguf_number(t->type);
    if (number < 0)
        return hd_fail(err, HD_E_UNSUPPORTED, "tensor '%s': GGUF has no type %s", t->name, hd_type_name(t->type));
    if (!hd_name_valid((hd_str){t->name, strlen(t->name)}, HD_GGUF_NAME_MAX))
        return hd_fail(err, HD_E_ARGUMENT, "'%s' can't be the name of a tensor in GGUF: 1 to %d bytes of UTF-8",
                       t->name, HD_GGUF_NAME_MAX);
    if (!hd_tensor_measure(t, &bytes, &why)) return hd_fail(err, HD_E_ARGUMENT, "tensor '%s': %s", t->name, why);
    uint64_t begin = aligned(*end, alignment);
    if (__builtin_add_overflow(begin, bytes, end) || *end > INT64_MAX / 2)
        return hd_fail(err, HD_E_LIMIT, "tensor '%s' would lie beyond any file's end", t->name);
    put_string(b, (hd_str){t->name, strlen(t->name)});
    put_u32(b, (uint32_t)t->dims);
    for (int d = t->dims - 1; d >= 0; d--) /* the fastest dimension first */
        put_u64(b, (uint64_t)t->shape[d]);
    put_u32(b, (uint32_t)number);
    put_u64(b, begin);
    return HD_OK;
}

static hd_status find_alignment(hd_gguf_writer *w, const hd_meta *meta, size_t count, hd_error *err)
{
    w->alignment = HD_GGUF_ALIGNMENT;
    for (size_t i = 0; i < count; i++) {
        static const char key[] = "general.alignment";
        if (meta[i].key.len != strlen(key) || memcmp(meta[i].key.data, key, strlen(key)) != 0) continue;
        if (meta[i].type != HD_META_U32 || !hd_meta_u64(&meta[i], 0, &w->alignment) || w->alignment < 8 ||
            (w->alignment & (w->alignment - 1)))
            return hd_fail(err, HD_E_ARGUMENT, "general.alignment must be a uint32, a power of two of at least 8");
    }
    return HD_OK;
}

static hd_status make_header(hd_gguf_writer *w, hd_buf *b, const hd_meta *meta, size_t meta_count,
                             const hd_tensor *tensors, hd_error *err)
{
    uint64_t end = 0;
    HD_TRY(find_alignment(w, meta, meta_count, err));
    (void)hd_buf_append(b, HD_GGUF_MAGIC, 4);
    put_u32(b, HD_GGUF_VERSION);
    put_u64(b, w->count);
    put_u64(b, meta_count);
    for (size_t i = 0; i < meta_count; i++)
        put_meta(b, &meta[i]);
    for (size_t i = 0; i < w->count; i++) {
        HD_TRY(put_tensor(b, &tensors[i], w->alignment, &end, err));
        w->end[i] = end;
    }
    while (w->count && b->status == HD_OK && b->len % w->alignment)
        (void)hd_buf_putc(b, '\0');
    if (b->status == HD_E_LIMIT) return hd_fail(err, HD_E_LIMIT, "the metadata have more than %zu bytes", HEADER_MAX);
    if (b->status != HD_OK) return hd_fail(err, b->status, "no memory for the file's header");
    w->data = b->len;
    for (size_t i = 0; i < w->count; i++)
        w->end[i] += w->data;
    return HD_OK;
}

/* ---- the part ---- */

static hd_status io_error(const hd_gguf_writer *w, const char *what, hd_error *err)
{
    return hd_fail(err, HD_E_IO, "%s: cannot %s: %s", w->part, what, strerror(errno));
}

/* How many bytes of the header the part begins with: all, or as many as it has; 0 when it is something else.  -1: it
 * can't be read. */
static int64_t common_bytes(int fd, const hd_buf *header)
{
    char piece[1 << 14];
    size_t at = 0;
    while (at < header->len) {
        ssize_t n = pread(fd, piece, HD_MIN(sizeof piece, header->len - at), (off_t)at);
        if (n < 0 && errno == EINTR) continue;
        if (n == 0) break;
        if (n < 0) return -1;
        if (memcmp(piece, header->data + at, (size_t)n) != 0) return 0;
        at += (size_t)n;
    }
    return (int64_t)at;
}

static hd_status open_part(hd_gguf_writer *w, hd_error *err)
{
    struct stat st;
    w->fd = open(w->part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (w->fd < 0 || fstat(w->fd, &st) != 0) return io_error(w, "open it for writing", err);
    if (!S_ISREG(st.st_mode)) return hd_fail(err, HD_E_IO, "%s: not a regular file; take another name", w->part);
    if (flock(w->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) /* some network file systems can't lock */
        return hd_fail(err, HD_E_IO, "%s: another process is writing it", w->part);
    return HD_OK;
}

/* Goes on behind the whole tensors of a part that is ours, or writes the header of a new one. */
static hd_status begin_part(hd_gguf_writer *w, const hd_buf *header, hd_error *err)
{
    struct stat st;
    if (fstat(w->fd, &st) != 0) return io_error(w, "read it", err);
    int64_t common = common_bytes(w->fd, header);
    if (common < 0) return io_error(w, "read it", err);
    bool ours = (size_t)common == header->len; /* else a run was killed within the header, or before */
    if (st.st_size > 0 && !common)
        return hd_fail(err, HD_E_IO, "%s: is in the way: it was begun with other settings; remove it to start anew",
                       w->part);
    w->at = header->len;
    if (!ours && ftruncate(w->fd, 0) != 0) return io_error(w, "write", err);
    if (!ours && !hd_write_all(w->fd, header->data, header->len)) return io_error(w, "write", err);
    while (ours && w->next < w->count && w->end[w->next] <= (uint64_t)st.st_size)
        w->at = w->end[w->next++];
    if (ours && (ftruncate(w->fd, (off_t)w->at) != 0 || lseek(w->fd, (off_t)w->at, SEEK_SET) < 0))
        return io_error(w, "go on writing", err);
    return HD_OK;
}

static hd_status writer_start(hd_gguf_writer *w, const char *path, const hd_meta *meta, size_t meta_count,
                              const hd_tensor *tensors, hd_error *err)
{
    size_t len = strlen(path);
    hd_buf header;
    w->path = hd_strdup(path);
    w->part = hd_alloc(len + sizeof ".part");
    w->end = hd_alloc_array(HD_MAX(w->count, 1), sizeof *w->end);
    if (!w->path || !w->part || !w->end) return hd_fail(err, HD_E_MEMORY, "no memory for %zu tensors", w->count);
    memcpy(w->part, path, len);
    memcpy(w->part + len, ".part", sizeof ".part");
    struct stat st;
    if (lstat(path, &st) == 0)
        return hd_fail(err, HD_E_IO, "%s: is there already and is not replaced; take another name", path);
    hd_buf_init(&header, HEADER_MAX);
    hd_status status = make_header(w, &header, meta, meta_count, tensors, err);
    if (status == HD_OK) status = open_part(w, err);
    if (status == HD_OK) status = begin_part(w, &header, err);
    hd_buf_free(&header);
    return status;
}

hd_status hd_gguf_writer_open(hd_gguf_writer **out, const char *path, const hd_meta *meta, size_t meta_count,
                              const hd_tensor *tensors, size_t count, hd_error *err)
{
    hd_gguf_writer *w = hd_calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return hd_fail(err, HD_E_MEMORY, "no memory to write a file");
    w->fd = -1;
    w->count = count;
    hd_status status = writer_start(w, path, meta, meta_count, tensors, err);
    if (status != HD_OK)
        hd_gguf_writer_close(&w);
    else
        *out = w;
    return status;
}

bool hd_gguf_writer_has(const hd_gguf_writer *w, size_t tensor, const void *data, size_t bytes)
{
    uint64_t at = tensor ? aligned(w->end[tensor - 1], w->alignment) : w->data;
    const uint8_t *p = data;
    char piece[1 << 14];
    if (tensor >= w->next || bytes > w->end[tensor] - at) return false;
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(w->fd, piece, HD_MIN(sizeof piece, bytes - done), (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || memcmp(piece, p + done, (size_t)n) != 0) return false;
        done += (size_t)n;
    }
    return true;
}

size_t hd_gguf_writer_next(const hd_gguf_writer *w)
{
    return w->next;
}

uint64_t hd_gguf_writer_size(const hd_gguf_writer *w)
{
    return w->count ? aligned(w->end[w->count - 1], w->alignment) : w->at;
}

uint64_t hd_gguf_writer_written(const hd_gguf_writer *w)
{
    return w->at;
}

/* Zeros up to the place of the next tensor. */
static bool pad(hd_gguf_writer *w)
{
    static const uint8_t zeros[256];
    for (uint64_t left = aligned(w->at, w->alignment) - w->at; left;) {
        size_t n = (size_t)HD_MIN(left, sizeof zeros);
        if (!hd_write_all(w->fd, zeros, n)) return false;
        left -= n;
        w->at += n;
    }
    return true;
}

hd_status hd_gguf_writer_put(hd_gguf_writer *w, const void *data, size_t bytes, hd_error *err)
{
    uint64_t before = w->next ? w->end[w->next - 1] : 0;
    if (w->next == w->count) return hd_fail(err, HD_E_ARGUMENT, "%s: all tensors are written", w->part);
    if (w->at == before && !pad(w)) return io_error(w, "write", err); /* the first bytes of a tensor but the first */
    if (bytes > w->end[w->next] - w->at)
        return hd_fail(err, HD_E_ARGUMENT, "%s: %zu bytes are more than the tensor has left", w->part, bytes);
    if (!hd_write_all(w->fd, data, bytes)) return io_error(w, "write", err);
    w->at += bytes;
    if (w->at == w->end[w->next]) w->next++;
    return HD_OK;
}

/* Never in the place of a file that came meanwhile: where a link of that name can be made, there was none. */
static hd_status take_name(const hd_gguf_writer *w, hd_error *err)
{
    struct stat st;
    if (link(w->part, w->path) == 0) {
        (void)unlink(w->part);
        return HD_OK;
    }
    if (errno == EEXIST || lstat(w->path, &st) == 0)
        return hd_fail(err, HD_E_IO, "%s: is there already and is not replaced; the new file is %s", w->path, w->part);
    return rename(w->part, w->path) == 0 ? HD_OK : io_error(w, "rename it", err); /* a file system without links */
}

hd_status hd_gguf_writer_finish(hd_gguf_writer *w, hd_error *err)
{
    if (w->next < w->count)
        return hd_fail(err, HD_E_ARGUMENT, "%s: %zu of %zu tensors are missing", w->part, w->count - w->next, w->count);
    if (!pad(w) || fsync(w->fd) != 0) return io_error(w, "write", err); /* some readers want the last one padded, too */
    HD_TRY(take_name(w, err));
    hd_sync_folder_of(w->path);
    return HD_OK;
}

void hd_gguf_writer_close(hd_gguf_writer **writer)
{
    hd_gguf_writer *w = *writer;
    if (!w) return;
    *writer = NULL;
    if (w->fd >= 0) close(w->fd);
    hd_free(w->path);
    hd_free(w->part);
    hd_free(w->end);
    hd_free(w);
}
