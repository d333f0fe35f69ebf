/* cli/files.c: see files.h. */
#include "cli/files.h"

#include <dirent.h>
#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

static hd_status no_memory(hd_error *err)
{
    return hd_fail(err, HD_E_MEMORY, "out of memory for a path");
}

hd_status hd_path_join(char **out, const char *a, const char *b, hd_error *err)
{
    size_t a_len = strlen(a), b_len = strlen(b);
    while (a_len > 0 && a[a_len - 1] == '/')
        a_len--;
    *out = hd_alloc(a_len + b_len + 2);
    if (!*out) return no_memory(err);
    snprintf(*out, a_len + b_len + 2, "%.*s/%s", (int)a_len, a, b);
    return HD_OK;
}

const char *hd_path_base(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

bool hd_path_is_safe(const char *relative)
{
    if (!*relative || strlen(relative) > 512) return false;
    for (const char *part = relative;;) {
        size_t len = strcspn(part, "/");
        if (len == 0 || part[0] == '.') return false;
        for (size_t i = 0; i < len; i++) {
            unsigned char c = (unsigned char)part[i], next = (unsigned char)part[i + 1];
            bool control = c < 0x20 || c == 0x7f || (c == 0xc2 && next >= 0x80 && next < 0xa0); /* the last: C1 */
            if (control || c == '\\') return false;
        }
        if (!part[len]) return true;
        part += len + 1;
    }
}

/* `name` in the folder `parent`; depth keeps the recursion bounded, our trees are shallow. */
static hd_status remove_at(int parent, const char *name, int depth, hd_error *err)
{
    if (unlinkat(parent, name, 0) == 0 || errno == ENOENT) return HD_OK;
    if ((errno != EISDIR && errno != EPERM) || depth > 32)
        return hd_fail(err, HD_E_IO, "%s: cannot remove: %s", name, strerror(errno));
    int fd = openat(parent, name, O_RDONLY | O_DIRECTORY | O_NOFOLLOW | O_CLOEXEC);
    DIR *dir = fd < 0 ? NULL : fdopendir(fd);
    if (!dir) {
        if (fd >= 0) close(fd);
        return hd_fail(err, HD_E_IO, "%s: cannot read this folder: %s", name, strerror(errno));
    }
    hd_status status = HD_OK;
    for (struct dirent *entry; status == HD_OK && (entry = readdir(dir));)
        if (strcmp(entry->d_name, ".") != 0 && strcmp(entry->d_name, "..") != 0)
            status = remove_at(fd, entry->d_name, depth + 1, err);
    closedir(dir);
    if (status == HD_OK && unlinkat(parent, name, AT_REMOVEDIR) != 0)
        status = hd_fail(err, HD_E_IO, "%s: cannot remove this folder: %s", name, strerror(errno));
    return status;
}

hd_status hd_tree_remove(const char *path, hd_error *err)
{
    return remove_at(AT_FDCWD, path, 0, err);
}

hd_status hd_path_check_free(const char *path, hd_error *err)
{
    struct stat st;
    if (lstat(path, &st) != 0) return HD_OK;
    return hd_fail(err, HD_E_ARGUMENT, "%s: is there already and is not replaced; take another name or remove it",
                   path);
}

hd_status hd_folder_check(const char *path, hd_error *err)
{
    const char *base = hd_path_base(path);
    char *folder = base == path ? hd_strdup(".") : hd_strndup(path, (size_t)(base - path));
    if (!folder) return no_memory(err);
    bool fine = access(folder, W_OK) == 0;
    hd_free(folder);
    return fine ? HD_OK : hd_fail(err, HD_E_IO, "%s: cannot write there: %s", path, strerror(errno));
}

/* The first number in a file of /proc or /sys; UINT64_MAX when there is none ("max"). */
static uint64_t read_number(const char *path)
{
    char text[64] = "";
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    ssize_t n = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (fd >= 0) close(fd);
    if (n <= 0 || text[0] < '0' || text[0] > '9') return UINT64_MAX;
    return strtoull(text, NULL, 10);
}

uint64_t hd_memory_limit(void)
{
    long pages = sysconf(_SC_PHYS_PAGES), page = sysconf(_SC_PAGESIZE);
    uint64_t machine = pages > 0 && page > 0 ? (uint64_t)pages * (uint64_t)page : 0;
    uint64_t v2 = read_number("/sys/fs/cgroup/memory.max"),
             v1 = read_number("/sys/fs/cgroup/memory/memory.limit_in_bytes");
    uint64_t cgroup = HD_MIN(v2, v1);
    return machine && machine < cgroup ? machine : cgroup == UINT64_MAX ? machine : cgroup;
}

const char *hd_environment(const char *name)
{
    const char *value = getenv(name);
    return value && *value ? value : NULL;
}

hd_status hd_xdg_path(char **out, const char *variable, const char *fallback, const char *rest, hd_error *err)
{
    *out = NULL;
    const char *base = hd_environment(variable), *home = hd_environment("HOME");
    if (base && base[0] == '/') return hd_path_join(out, base, rest, err); /* the specification ignores relative ones */
    if (!home) return hd_fail(err, HD_E_NOT_FOUND, "neither HOME nor %s is set", variable);
    char *below = NULL;
    HD_TRY(hd_path_join(&below, home, fallback, err));
    hd_status status = hd_path_join(out, below, rest, err);
    hd_free(below);
    return status;
}
