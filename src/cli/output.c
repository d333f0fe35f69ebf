/* cli/output.c: see output.h. */
#include "cli/output.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/files.h"

#define HEADER_MAX 4096 /* ours describe one tensor, in some 100 bytes */

static const char *const our_tensors[] = {"logits", "experts"};

static bool is_ours(const char *name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(our_tensors); i++)
        if (strcmp(name, our_tensors[i]) == 0) return true;
    return false;
}

/* Whether the header's text describes tensors of ours, and only those. */
static bool header_is_ours(const char *text, size_t len)
{
    json_t *header = NULL;
    hd_error ignored;
    if (hd_json_parse(&header, text, len, &ignored) != HD_OK) return false;
    bool ours = json_is_object(header) && json_object_size(header) > 0;
    const char *name;
    json_t *tensor;
    json_object_foreach(header, name, tensor) ours =
        ours && is_ours(name) && json_is_string(json_object_get(tensor, "dtype"));
    json_decref(header);
    return ours;
}

/* Whether an earlier run wrote the open file, or nobody anything. */
static bool file_is_ours(int fd)
{
    uint8_t bytes[8 + HEADER_MAX];
    size_t got = 0;
    ssize_t n;
    while (got < sizeof bytes && (n = read(fd, bytes + got, sizeof bytes - got)) != 0) {
        if (n < 0 && errno != EINTR) return false;
        if (n > 0) got += (size_t)n;
    }
    if (got == 0) return true;
    hd_reader r;
    hd_reader_init(&r, bytes, got);
    uint64_t header = hd_read_u64(&r);
    const char *text = (const char *)hd_read_bytes(&r, header);
    return text && header_is_ours(text, (size_t)header);
}

static hd_status check_existing(const char *option, const char *path, const struct stat *st, const char *const *inputs,
                                size_t input_count, hd_error *err)
{
    struct stat input;
    if (!S_ISREG(st->st_mode))
        return hd_fail(err, HD_E_ARGUMENT, "%s: %s is %s; it is not replaced, take another name", option, path,
                       S_ISLNK(st->st_mode)   ? "a symbolic link"
                       : S_ISDIR(st->st_mode) ? "a folder"
                                              : "not a regular file");
    for (size_t i = 0; i < input_count; i++)
        if (inputs[i] && stat(inputs[i], &input) == 0 && input.st_dev == st->st_dev && input.st_ino == st->st_ino)
            return hd_fail(err, HD_E_ARGUMENT, "%s: %s is read by this very command; take another name", option, path);
    if (access(path, W_OK) != 0)
        return hd_fail(err, HD_E_IO, "%s: %s cannot be written: %s", option, path, strerror(errno));
    int fd = open(path, O_RDONLY | O_NOFOLLOW | O_NONBLOCK | O_CLOEXEC);
    bool ours = fd >= 0 && file_is_ours(fd);
    if (fd >= 0) close(fd);
    if (ours) return HD_OK;
    return hd_fail(err, HD_E_ARGUMENT,
                   "%s: %s is there already and not the output of an earlier run; take another name or remove it first",
                   option, path);
}

hd_status hd_output_check(const char *option, const char *path, const char *const *inputs, size_t input_count,
                          hd_error *err)
{
    struct stat st;
    hd_buf temporary;
    if (lstat(path, &st) == 0) HD_TRY(check_existing(option, path, &st, inputs, input_count, err));
    hd_buf_init(&temporary, 1 << 16);
    int fd = hd_temporary_open(path, 0666, &temporary); /* only a file made there tells that one can be made */
    int why = errno;
    if (fd >= 0) {
        close(fd);
        unlink(temporary.data);
    }
    hd_buf_free(&temporary);
    return fd >= 0 ? HD_OK : hd_fail(err, HD_E_IO, "%s: %s cannot be written: %s", option, path, strerror(why));
}

static bool folder_stat(const char *path, struct stat *st)
{
    size_t len = (size_t)(hd_path_base(path) - path);
    char *folder = len ? hd_strndup(path, len) : hd_strdup(".");
    bool found = folder && stat(folder, st) == 0;
    hd_free(folder);
    return found;
}

bool hd_output_same(const char *a, const char *b)
{
    struct stat in_a, in_b;
    if (strcmp(a, b) == 0) return true;
    return strcmp(hd_path_base(a), hd_path_base(b)) == 0 && folder_stat(a, &in_a) && folder_stat(b, &in_b) &&
           in_a.st_dev == in_b.st_dev && in_a.st_ino == in_b.st_ino;
}
