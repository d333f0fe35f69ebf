/* tests/unzip.h: unpacks an archive of reference data into a folder, through libarchive. */
#ifndef HD_TESTS_UNZIP_H
#define HD_TESTS_UNZIP_H

#include <archive.h>
#include <archive_entry.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>

#include "data.h"

static inline bool hd_test_unzip_entry(struct archive *a, struct archive_entry *entry, const char *folder)
{
    char path[HD_TEST_PATH];
    const char *name = archive_entry_pathname(entry);
    if (!name || strchr(name, '/')) return false;
    int n = snprintf(path, sizeof path, "%s/%s", folder, name);
    FILE *out = n > 0 && n < HD_TEST_PATH ? fopen(path, "wb") : NULL;
    if (!out) return false;
    bool good = archive_read_data_into_fd(a, fileno(out)) == ARCHIVE_OK;
    return fclose(out) == 0 && good;
}

/* Every file of `zip` into `folder`, which must exist.  False: something failed. */
static inline bool hd_test_unzip(const char *zip, const char *folder)
{
    struct archive *a = archive_read_new();
    struct archive_entry *entry;
    if (!a) return false;
    archive_read_support_format_zip(a);
    bool good = archive_read_open_filename(a, zip, 1 << 16) == ARCHIVE_OK;
    int rc = ARCHIVE_EOF;
    while (good && (rc = archive_read_next_header(a, &entry)) == ARCHIVE_OK)
        good = hd_test_unzip_entry(a, entry, folder);
    archive_read_free(a);
    return good && rc == ARCHIVE_EOF;
}

#endif
