/* formats/file_write.c: writes a model file from front to back into PATH.part, which becomes PATH when it is whole.
 *
 * The header is made first and has every offset, so the place of a tensor is known before its bytes are, and a part
 * that begins with the same header was written by the same run: it is cut to its whole tensors and gone on with.  Where
 * the format has bytes of its own between tensors (inserts), they must be the same, too. */
#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/formats_internal.h"

#define HEADER_MAX ((size_t)1 << 30) /* a vocabulary of 130,000 words with merges has 10 MB */

struct hd_file_writer {
    char *path, *part;
    int fd;
    uint64_t *end; /* [count] of each tensor's bytes in the file, without padding */
    size_t count, next;
    uint64_t data; /* where the first tensor lies: behind the header */
    uint64_t at;   /* bytes in the file */
    uint64_t alignment;
    char *text;              /* of the inserts */
    hd_file_insert *inserts; /* [insert_count], `at` in the file */
    size_t insert_count;
    bool finished; /* the file was there, whole, before */
    int64_t found; /* nanoseconds since 1970 when what was found was written; INT64_MAX: nothing was */
};

static hd_status io_error(const hd_file_writer *w, const char *what, hd_error *err)
{
    return hd_fail(err, HD_E_IO, "%s: cannot %s: %s", w->part, what, strerror(errno));
}

/* The first insert at or behind a place of the file; insert_count: none. */
static size_t first_insert(const hd_file_writer *w, uint64_t at)
{
    size_t begin = 0, end = w->insert_count;
    while (begin < end) {
        size_t middle = begin + (end - begin) / 2;
        if (w->inserts[middle].at < at)
            begin = middle + 1;
        else
            end = middle;
    }
    return begin;
}

/* Whether the file has these bytes there. */
static bool has_bytes(int fd, uint64_t at, const void *data, size_t bytes)
{
    const uint8_t *p = data;
    char piece[1 << 14];
    for (size_t done = 0; done < bytes;) {
        ssize_t n = pread(fd, piece, HD_MIN(sizeof piece, bytes - done), (off_t)(at + done));
        if (n < 0 && errno == EINTR) continue;
        if (n <= 0 || memcmp(piece, p + done, (size_t)n) != 0) return false;
        done += (size_t)n;
    }
    return true;
}

/* Whether the file has our inserts up to a place that is the end of a tensor. */
static bool has_inserts(const hd_file_writer *w, uint64_t end)
{
    for (size_t i = 0; i < w->insert_count && w->inserts[i].at < end; i++)
        if (!has_bytes(w->fd, w->inserts[i].at, w->text + w->inserts[i].text, w->inserts[i].len)) return false;
    return true;
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

static hd_status open_part(hd_file_writer *w, hd_error *err)
{
    struct stat st;
    w->fd = open(w->part, O_RDWR | O_CREAT | O_NOFOLLOW | O_CLOEXEC, 0666);
    if (w->fd < 0 || fstat(w->fd, &st) != 0) return io_error(w, "open it for writing", err);
    if (!S_ISREG(st.st_mode)) return hd_fail(err, HD_E_IO, "%s: not a regular file; take another name", w->part);
    if (flock(w->fd, LOCK_EX | LOCK_NB) != 0 && errno == EWOULDBLOCK) /* some network file systems can't lock */
        return hd_fail(err, HD_E_IO, "%s: another process is writing it", w->part);
    return HD_OK;
}

static int64_t written_ns(const struct stat *st)
{
    return (int64_t)st->st_mtim.tv_sec * 1000000000 + st->st_mtim.tv_nsec;
}

static hd_status in_the_way(const hd_file_writer *w, hd_error *err)
{
    return hd_fail(err, HD_E_IO, "%s: is in the way: it was begun with other settings; remove it to start anew",
                   w->part);
}

/* Goes on behind the whole tensors of a part that is ours, or writes the header of a new one. */
static hd_status begin_part(hd_file_writer *w, const hd_buf *header, hd_error *err)
{
    struct stat st;
    if (fstat(w->fd, &st) != 0) return io_error(w, "read it", err);
    int64_t common = common_bytes(w->fd, header);
    if (common < 0) return io_error(w, "read it", err);
    bool ours = (size_t)common == header->len; /* else a run was killed within the header, or before */
    if (st.st_size > 0 && !common) return in_the_way(w, err);
    w->at = header->len;
    if (!ours && ftruncate(w->fd, 0) != 0) return io_error(w, "write", err);
    if (!ours && !hd_write_all(w->fd, header->data, header->len)) return io_error(w, "write", err);
    while (ours && w->next < w->count && w->end[w->next] <= (uint64_t)st.st_size)
        w->at = w->end[w->next++];
    if (w->next) w->found = written_ns(&st);
    if (ours && !has_inserts(w, w->at)) return in_the_way(w, err);
    if (ours && (ftruncate(w->fd, (off_t)w->at) != 0 || lseek(w->fd, (off_t)w->at, SEEK_SET) < 0))
        return io_error(w, "go on writing", err);
    return HD_OK;
}

/* Whether PATH is there and is just what this run would have made of it, as far as header and size tell. */
static bool is_finished(hd_file_writer *w, const hd_buf *header)
{
    struct stat st;
    w->fd = open(w->path, O_RDONLY | O_NOFOLLOW | O_CLOEXEC);
    if (w->fd >= 0 && fstat(w->fd, &st) == 0 && S_ISREG(st.st_mode) && (uint64_t)st.st_size == hd_file_writer_size(w) &&
        common_bytes(w->fd, header) == (int64_t)header->len && has_inserts(w, (uint64_t)st.st_size)) {
        w->finished = true;
        w->found = written_ns(&st);
        w->next = w->count;
        w->at = (uint64_t)st.st_size;
        return true;
    }
    if (w->fd >= 0) close(w->fd);
    w->fd = -1;
    return false;
}

static bool copy_inserts(hd_file_writer *w, const hd_file_layout *layout)
{
    w->insert_count = layout->insert_count;
    w->text = hd_alloc(HD_MAX(layout->text.len, 1));
    w->inserts = hd_alloc_array(HD_MAX(w->insert_count, 1), sizeof *w->inserts);
    if (!w->text || !w->inserts) return false;
    if (layout->text.len) memcpy(w->text, layout->text.data, layout->text.len);
    for (size_t i = 0; i < w->insert_count; i++) {
        w->inserts[i] = layout->inserts[i];
        w->inserts[i].at += w->data;
    }
    return true;
}

static hd_status writer_start(hd_file_writer *w, const hd_file_layout *layout, const char *path, bool keep_finished,
                              hd_error *err)
{
    size_t len = strlen(path);
    struct stat st;
    w->path = hd_strdup(path);
    w->part = hd_alloc(len + sizeof HD_PART_SUFFIX);
    w->end = hd_alloc_array(HD_MAX(w->count, 1), sizeof *w->end);
    if (!w->path || !w->part || !w->end || !copy_inserts(w, layout))
        return hd_fail(err, HD_E_MEMORY, "no memory for %zu tensors", w->count);
    memcpy(w->part, path, len);
    memcpy(w->part + len, HD_PART_SUFFIX, sizeof HD_PART_SUFFIX);
    for (size_t i = 0; i < w->count; i++)
        w->end[i] = w->data + layout->end[i];
    if (lstat(path, &st) == 0) {
        if (keep_finished && is_finished(w, &layout->header)) return HD_OK;
        return hd_fail(err, HD_E_IO, "%s: is there already and is not replaced; take another name", path);
    }
    HD_TRY(open_part(w, err));
    return begin_part(w, &layout->header, err);
}

hd_status hd_file_writer_new(hd_file_writer **out, const hd_file_layout *layout, const char *path, bool keep_finished,
                             hd_error *err)
{
    hd_file_writer *w = hd_calloc(1, sizeof *w);
    *out = NULL;
    if (!w) return hd_fail(err, HD_E_MEMORY, "no memory to write a file");
    w->fd = -1;
    w->found = INT64_MAX;
    w->count = layout->count;
    w->data = layout->header.len;
    w->alignment = layout->alignment;
    hd_status status = writer_start(w, layout, path, keep_finished, err);
    if (status != HD_OK)
        hd_file_writer_close(&w);
    else
        *out = w;
    return status;
}

hd_status hd_file_layout_init(hd_file_layout *layout, size_t count, hd_error *err)
{
    *layout = (hd_file_layout){.count = count, .alignment = 1};
    hd_buf_init(&layout->header, HEADER_MAX);
    hd_buf_init(&layout->text, HEADER_MAX);
    layout->end = hd_alloc_array(HD_MAX(count, 1), sizeof *layout->end);
    return layout->end ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for %zu tensors", count);
}

void hd_file_layout_free(hd_file_layout *layout)
{
    hd_buf_free(&layout->header);
    hd_buf_free(&layout->text);
    hd_free(layout->inserts);
    hd_free(layout->end);
}

hd_status hd_file_layout_insert(hd_file_layout *layout, uint64_t at, const void *bytes, size_t len)
{
    if (layout->insert_count == layout->insert_cap) {
        size_t cap = HD_MAX(layout->insert_cap * 2, 64);
        hd_file_insert *bigger = hd_realloc_array(layout->inserts, cap, sizeof *bigger);
        if (!bigger) return HD_E_MEMORY;
        layout->inserts = bigger;
        layout->insert_cap = cap;
    }
    layout->inserts[layout->insert_count++] = (hd_file_insert){at, layout->text.len, len};
    return hd_buf_append(&layout->text, bytes, len);
}

bool hd_file_writer_has(const hd_file_writer *w, size_t tensor, const void *data, size_t bytes)
{
    uint64_t at = tensor ? hd_align_up(w->end[tensor - 1], w->alignment) : w->data;
    const uint8_t *p = data;
    if (tensor >= w->next) return false;
    for (size_t i = first_insert(w, at); bytes; i++) {
        uint64_t stop = i < w->insert_count ? HD_MIN(w->inserts[i].at, w->end[tensor]) : w->end[tensor];
        size_t n = (size_t)HD_MIN(stop - at, bytes);
        if (n && !has_bytes(w->fd, at, p, n)) return false;
        p += n;
        bytes -= n;
        if (bytes && stop == w->end[tensor]) return false; /* more than the tensor has */
        if (bytes) at = stop + w->inserts[i].len;
    }
    return true;
}

size_t hd_file_writer_next(const hd_file_writer *w)
{
    return w->next;
}

bool hd_file_writer_older(const hd_file_writer *w, int64_t ns)
{
    return w->found < ns;
}

uint64_t hd_file_writer_size(const hd_file_writer *w)
{
    return w->count ? hd_align_up(w->end[w->count - 1], w->alignment) : w->at;
}

uint64_t hd_file_writer_written(const hd_file_writer *w)
{
    return w->at;
}

/* Zeros up to the place of the next tensor. */
static bool pad(hd_file_writer *w)
{
    static const uint8_t zeros[256];
    for (uint64_t left = hd_align_up(w->at, w->alignment) - w->at; left;) {
        size_t n = (size_t)HD_MIN(left, sizeof zeros);
        if (!hd_write_all(w->fd, zeros, n)) return false;
        left -= n;
        w->at += n;
    }
    return true;
}

/* Bytes that the next tensor still lacks, without inserts. */
static uint64_t bytes_left(const hd_file_writer *w)
{
    uint64_t end = w->end[w->next], left = end - w->at;
    for (size_t i = first_insert(w, w->at); i < w->insert_count && w->inserts[i].at < end; i++)
        left -= w->inserts[i].len;
    return left;
}

/* Writes what belongs here before bytes of the next tensor; *stop is where it is interrupted next, or ends. */
static bool put_insert(hd_file_writer *w, uint64_t *stop)
{
    uint64_t end = w->end[w->next];
    size_t i = first_insert(w, w->at);
    if (i < w->insert_count && w->inserts[i].at == w->at && w->at < end) {
        if (!hd_write_all(w->fd, w->text + w->inserts[i].text, w->inserts[i].len)) return false;
        w->at += w->inserts[i++].len;
    }
    *stop = i < w->insert_count ? HD_MIN(w->inserts[i].at, end) : end;
    return true;
}

hd_status hd_file_writer_put(hd_file_writer *w, const void *data, size_t bytes, hd_error *err)
{
    uint64_t before = w->next ? w->end[w->next - 1] : 0, stop;
    const uint8_t *p = data;
    if (w->next == w->count) return hd_fail(err, HD_E_ARGUMENT, "%s: all tensors are written", w->part);
    if (w->at == before && !pad(w)) return io_error(w, "write", err); /* the first bytes of a tensor but the first */
    if (bytes > bytes_left(w))
        return hd_fail(err, HD_E_ARGUMENT, "%s: %zu bytes are more than the tensor has left", w->part, bytes);
    do {
        if (!put_insert(w, &stop)) return io_error(w, "write", err);
        size_t n = (size_t)HD_MIN(stop - w->at, bytes);
        if (!hd_write_all(w->fd, p, n)) return io_error(w, "write", err);
        w->at += n;
        p += n;
        bytes -= n;
    } while (bytes);
    if (w->at == w->end[w->next]) w->next++;
    return HD_OK;
}

hd_status hd_file_writer_put_whole(hd_file_writer *w, size_t tensor, const void *data, size_t bytes, const char *other,
                                   hd_error *err)
{
    if (w->next <= tensor) return hd_file_writer_put(w, data, bytes, err);
    if (hd_file_writer_has(w, tensor, data, bytes)) return HD_OK;
    return hd_fail(err, HD_E_IO, "%s: %s; remove it to start anew", w->part, other);
}

/* Never in the place of a file that came meanwhile: where a link of that name can be made, there was none. */
static hd_status take_name(const hd_file_writer *w, hd_error *err)
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

hd_status hd_file_writer_finish(hd_file_writer *w, hd_error *err)
{
    if (w->finished) return HD_OK;
    if (w->next < w->count)
        return hd_fail(err, HD_E_ARGUMENT, "%s: %zu of %zu tensors are missing", w->part, w->count - w->next, w->count);
    if (!pad(w) || fsync(w->fd) != 0) return io_error(w, "write", err); /* some readers want the last one padded, too */
    HD_TRY(take_name(w, err));
    hd_sync_folder_of(w->path);
    return HD_OK;
}

void hd_file_writer_close(hd_file_writer **writer)
{
    hd_file_writer *w = *writer;
    if (!w) return;
    *writer = NULL;
    if (w->fd >= 0) close(w->fd);
    hd_free(w->path);
    hd_free(w->part);
    hd_free(w->end);
    hd_free(w->text);
    hd_free(w->inserts);
    hd_free(w);
}
