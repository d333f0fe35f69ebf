/* tests/unit/security/sealed.h: whole sealed files in one call, for the tests and the fuzzer. */
#ifndef HD_TEST_SECURITY_SEALED_H
#define HD_TEST_SECURITY_SEALED_H

#include "base/base.h"
#include "security/sealed_internal.h"

#define TEXT(s) ((hd_str){(s), sizeof(s) - 1})

/* Writes and commits `data`. */
static inline hd_status seal(const hd_data_folder *folder, const char *purpose, hd_str context, const char *path,
                             size_t chunk, const void *data, size_t len, hd_error *err)
{
    hd_sealed_writer *writer = NULL;
    HD_TRY(hd_sealed_writer_open_chunked(&writer, folder, purpose, context, path, chunk, err));
    hd_status status = hd_sealed_writer_write(writer, data, len, err);
    if (status == HD_OK) status = hd_sealed_writer_commit(writer, err);
    hd_sealed_writer_close(&writer);
    return status;
}

/* Appends to `out` what is read before the end or an error, `piece` bytes a read. */
static inline hd_status unseal(const hd_data_folder *folder, const char *purpose, hd_str context, const char *path,
                               size_t piece, hd_buf *out, hd_error *err)
{
    hd_sealed_reader *reader = NULL;
    char bytes[4096];
    size_t got = 1;
    HD_TRY(hd_sealed_reader_open(&reader, folder, purpose, context, path, err));
    hd_status status = HD_OK;
    while (status == HD_OK && got > 0) {
        status = hd_sealed_reader_read(reader, bytes, HD_MIN(piece, sizeof bytes), &got, err);
        if (status == HD_OK) status = hd_buf_append(out, bytes, got);
    }
    hd_sealed_reader_close(&reader);
    return status;
}

#endif
