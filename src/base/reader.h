/* base/reader.h: bounds-checked little-endian reader with a sticky error.
 *
 * After the first read past the end every read returns zero (or NULL) and `failed` stays set, so that a parser checks
 * once per record.  `pos` never passes `len`.  Not thread-safe.
 */
#ifndef HD_BASE_READER_H
#define HD_BASE_READER_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

typedef struct hd_reader {
    const uint8_t *data;
    size_t len;
    size_t pos;
    bool failed;
} hd_reader;

void hd_reader_init(hd_reader *r, const void *data, size_t len);
size_t hd_reader_left(const hd_reader *r);

/* `len` bytes in place, or NULL. */
const uint8_t *hd_read_bytes(hd_reader *r, uint64_t len);
uint8_t hd_read_u8(hd_reader *r);
uint16_t hd_read_u16(hd_reader *r);
uint32_t hd_read_u32(hd_reader *r);
uint64_t hd_read_u64(hd_reader *r);

#endif
