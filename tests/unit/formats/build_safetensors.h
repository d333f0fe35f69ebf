/* build_safetensors.h: writes safetensors bytes from the text of a header, for the tests and the seeds of the fuzzer.
 */
#ifndef HD_TESTS_BUILD_SAFETENSORS_H
#define HD_TESTS_BUILD_SAFETENSORS_H

#include <string.h>

#include "base/base.h"

/* The length of `header`, the header, then `n` bytes 0, 1, 2, ... as the data. */
static inline void put_safetensors_bytes(hd_buf *b, const char *header, size_t len, size_t n)
{
    for (int i = 0; i < 8; i++)
        (void)hd_buf_putc(b, (char)((uint64_t)len >> (8 * i)));
    (void)hd_buf_append(b, header, len);
    for (size_t i = 0; i < n; i++)
        (void)hd_buf_putc(b, (char)i);
}

static inline void put_safetensors(hd_buf *b, const char *header, size_t n)
{
    put_safetensors_bytes(b, header, strlen(header), n);
}

#endif
