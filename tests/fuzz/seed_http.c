/* seed_http.c: writes the requests of the unit tests as seeds of the fuzzer:
 *     seed-http FOLDER            writes FOLDER/{good,bad}-NAME
 *     seed-http --check FOLDER    compares instead; exit 1 when one is missing or differs */
#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "unit/server/http_cases.h"

static bool same(const char *path, const char *bytes, size_t len)
{
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    bool equal = true;
    for (size_t i = 0; i < len && equal; i++)
        equal = fgetc(f) == (unsigned char)bytes[i];
    equal = equal && fgetc(f) == EOF;
    fclose(f);
    return equal;
}

static bool write_file(const char *path, const char *bytes, size_t len)
{
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    bool written = fwrite(bytes, 1, len, f) == len;
    return fclose(f) == 0 && written;
}

/* Gives the number that failed. */
static int seed(const char *folder, const char *kind, const char *name, const char *bytes, size_t len, bool check)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s-%s", folder, kind, name);
    if (check ? same(path, bytes, len) : write_file(path, bytes, len)) return 0;
    fprintf(stderr, "%s: %s\n", path, check ? "missing, or not what the catalogue has" : "cannot write");
    return 1;
}

int main(int argc, char **argv)
{
    bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
    int failed = 0;
    if (argc != 2 && !check) {
        fprintf(stderr, "usage: seed-http [--check] FOLDER\n");
        return 2;
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(good_requests); i++)
        failed +=
            seed(argv[argc - 1], "good", good_requests[i].name, good_requests[i].bytes, good_requests[i].len, check);
    for (size_t i = 0; i < HD_ARRAY_LEN(bad_requests); i++)
        failed += seed(argv[argc - 1], "bad", bad_requests[i].name, bad_requests[i].bytes, bad_requests[i].len, check);
    return failed ? 1 : 0;
}
