/* fuzz_sealed.c: any bytes as a sealed file: refused, or, where the corpus has a real one, read whole.  And the other
 * way round: a text is sealed and the file edited as the first bytes say; then reading fails, or the edit changed
 * nothing, and what was given before the failure is the beginning of the text.
 *
 * The folder's secret is "0123456789abcdef" twice, purpose and context are "fuzz" and "context": so the real files
 * among the seeds stay real. */
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "unit/security/sealed.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

#define ROOM ((size_t)1 << 16)
#define CHUNK HD_SEALED_CHUNK_MIN
#define STEP (CHUNK + HD_AEAD_TAG)

/* Whole paths: the working folder is libFuzzer's. */
static char root[64], secret_path[96], sealed_path[96], edited_path[96];
static hd_data_folder *folder;

static void must(bool holds)
{
    if (!holds) __builtin_trap();
}

static void write_file(const char *path, const void *data, size_t len)
{
    int fd = open(path, O_WRONLY | O_CREAT | O_TRUNC, 0600);
    must(fd >= 0 && write(fd, data, len) == (ssize_t)len);
    close(fd);
}

static size_t read_file(const char *path, uint8_t *data, size_t size)
{
    int fd = open(path, O_RDONLY);
    ssize_t len = fd < 0 ? -1 : read(fd, data, size);
    must(len >= 0);
    close(fd);
    return (size_t)len;
}

static void remove_root(void)
{
    hd_data_folder_close(&folder);
    unlink(secret_path);
    unlink(sealed_path);
    unlink(edited_path);
    rmdir(root);
}

/* In memory where the machine has such a folder: every round syncs its file. */
static void make_root(void)
{
    snprintf(root, sizeof root, "%s/hadal-fuzz-XXXXXX", access("/dev/shm", W_OK) == 0 ? "/dev/shm" : "/tmp");
    must(mkdtemp(root) && atexit(remove_root) == 0);
    snprintf(secret_path, sizeof secret_path, "%s/secret", root);
    snprintf(sealed_path, sizeof sealed_path, "%s/sealed", root);
    snprintf(edited_path, sizeof edited_path, "%s/edited", root);
    write_file(secret_path, "0123456789abcdef0123456789abcdef", 32);
    must(hd_data_folder_open(&folder, root, 0, NULL) == HD_OK);
}

/* Cuts, adds, flips, copies and swaps, as `how` says; gives the new length. */
static size_t edit(uint8_t *file, size_t len, const uint8_t how[4])
{
    size_t at = ((size_t)how[1] << 8 | how[2]) % len, chunks = (len - HD_SEALED_HEADER + STEP - 1) / STEP;
    uint8_t *from = file + HD_SEALED_HEADER + how[3] % chunks * STEP,
            *to = file + HD_SEALED_HEADER + at % chunks * STEP;
    switch (how[0] % 5) {
    case 0: file[at] ^= how[3]; return len;
    case 1: return at;
    case 2: memset(file + len, how[1], how[3]); return len + how[3];
    case 3: memmove(file + at, file + at + 1, len - at - 1); return len - 1;
    default: memmove(to, from, STEP); return len; /* may change bytes behind the end only */
    }
}

static void check_edits(const uint8_t *data, size_t size)
{
    static uint8_t file[4 * ROOM], before[4 * ROOM];
    const uint8_t *text = data + 4;
    size_t text_len = size - 4;
    hd_buf out;
    hd_buf_init(&out, ROOM);
    must(seal(folder, "fuzz", TEXT("context"), sealed_path, CHUNK, text, text_len, NULL) == HD_OK);
    size_t len = read_file(sealed_path, file, sizeof file);
    memcpy(before, file, len);
    size_t edited_len = edit(file, len, data);
    bool same = edited_len == len && memcmp(before, file, len) == 0;
    write_file(edited_path, file, edited_len);
    hd_status status = unseal(folder, "fuzz", TEXT("context"), edited_path, 1 + data[3], &out, NULL);
    must((status == HD_OK) == same);
    must(out.len <= text_len && (!out.len || memcmp(out.data, text, out.len) == 0));
    must(status != HD_OK || out.len == text_len);
    hd_buf_free(&out);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    hd_buf out;
    hd_error err;
    if (!folder) make_root();
    if (size > ROOM) return 0;
    hd_buf_init(&out, ROOM);
    write_file(sealed_path, data, size);
    hd_status status = unseal(folder, "fuzz", TEXT("context"), sealed_path, 1 + size % 33, &out, &err);
    must(status == HD_OK || status == HD_E_CHECKSUM || status == HD_E_FORMAT || status == HD_E_UNSUPPORTED);
    hd_buf_free(&out);
    if (size >= 4) check_edits(data, size);
    return 0;
}
