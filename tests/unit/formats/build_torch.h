/* build_torch.h: writes zips as torch.save does, and pickles out of pieces, for the tests and the seeds of the fuzzers.
 */
#ifndef HD_TESTS_BUILD_TORCH_H
#define HD_TESTS_BUILD_TORCH_H

#include <string.h>

#include "base/base.h"

/* ---- zips ---- */

#define ZIP_PARTS_MAX 8

typedef struct zip_part {
    const char *name;
    const void *data;
    size_t len;
} zip_part;

/* Where things were put, so that a test can damage them. */
typedef struct zip_places {
    size_t local[ZIP_PARTS_MAX], entry[ZIP_PARTS_MAX], directory, end64, locator, end;
} zip_places;

static inline void put_zip_le(hd_buf *b, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes; i++)
        (void)hd_buf_putc(b, (char)(i < 8 ? value >> (8 * i) : 0));
}

static inline void set_le(hd_buf *b, size_t at, uint64_t value, int bytes)
{
    for (int i = 0; i < bytes && b->status == HD_OK; i++)
        b->data[at + (size_t)i] = (char)(value >> (8 * i));
}

/* A local header with an extra field that puts the bytes at a multiple of 64, as torch has it, and the bytes. */
static inline void put_zip_local(hd_buf *b, const zip_part *part)
{
    size_t name = strlen(part->name), fixed = b->len + 30 + name + 4, pad = (64 - fixed % 64) % 64;
    put_zip_le(b, 0x04034b50, 4);
    put_zip_le(b, 0, 2);
    put_zip_le(b, 0x0808, 2);
    put_zip_le(b, 0, 2 + 4 + 4 + 4 + 4); /* method, time, CRC-32, sizes: those stand behind the bytes */
    put_zip_le(b, name, 2);
    put_zip_le(b, 4 + pad, 2);
    (void)hd_buf_puts(b, part->name);
    (void)hd_buf_puts(b, "FB");
    put_zip_le(b, pad, 2);
    for (size_t i = 0; i < pad; i++)
        (void)hd_buf_putc(b, 'Z');
    if (part->len) (void)hd_buf_append(b, part->data, part->len);
    put_zip_le(b, 0x08074b50, 4);
    put_zip_le(b, 0, 4);
    put_zip_le(b, part->len, 4);
    put_zip_le(b, part->len, 4);
}

/* An entry of the directory; a wide one has its sizes and its place in the 64-bit extra field. */
static inline void put_zip_entry(hd_buf *b, const zip_part *part, size_t local, bool wide)
{
    put_zip_le(b, 0x02014b50, 4);
    put_zip_le(b, 0, 4);
    put_zip_le(b, 0x0808, 2);
    put_zip_le(b, 0, 2 + 4 + 4);
    put_zip_le(b, wide ? UINT32_MAX : part->len, 4);
    put_zip_le(b, wide ? UINT32_MAX : part->len, 4);
    put_zip_le(b, strlen(part->name), 2);
    put_zip_le(b, wide ? 5 + 28 : 0, 2);
    put_zip_le(b, 0, 2 + 2 + 6); /* comment, disk, attributes */
    put_zip_le(b, wide ? UINT32_MAX : local, 4);
    (void)hd_buf_puts(b, part->name);
    if (!wide) return;
    (void)hd_buf_append(b, "FB\1\0Z", 5); /* another field before it */
    put_zip_le(b, 1, 2);
    put_zip_le(b, 24, 2);
    put_zip_le(b, part->len, 8);
    put_zip_le(b, part->len, 8);
    put_zip_le(b, local, 8);
}

/* A zip of these parts; a wide one has 64-bit numbers throughout, as files of more than 4 GB have. */
static inline zip_places put_zip(hd_buf *b, const zip_part *parts, size_t count, bool wide)
{
    zip_places at = {0};
    for (size_t i = 0; i < count; i++) {
        at.local[i] = b->len;
        put_zip_local(b, &parts[i]);
    }
    at.directory = b->len;
    for (size_t i = 0; i < count; i++) {
        at.entry[i] = b->len;
        put_zip_entry(b, &parts[i], at.local[i], wide);
    }
    size_t bytes = b->len - at.directory;
    if (wide) {
        at.end64 = b->len;
        put_zip_le(b, 0x06064b50, 4);
        put_zip_le(b, 44, 8);
        put_zip_le(b, 0, 2 + 2 + 4 + 4); /* versions, disks */
        put_zip_le(b, count, 8);
        put_zip_le(b, count, 8);
        put_zip_le(b, bytes, 8);
        put_zip_le(b, at.directory, 8);
        at.locator = b->len;
        put_zip_le(b, 0x07064b50, 4);
        put_zip_le(b, 0, 4);
        put_zip_le(b, at.end64, 8);
        put_zip_le(b, 1, 4);
    }
    at.end = b->len;
    put_zip_le(b, 0x06054b50, 4);
    put_zip_le(b, 0, 4);
    put_zip_le(b, wide ? UINT16_MAX : count, 2);
    put_zip_le(b, wide ? UINT16_MAX : count, 2);
    put_zip_le(b, wide ? UINT32_MAX : bytes, 4);
    put_zip_le(b, wide ? UINT32_MAX : at.directory, 4);
    put_zip_le(b, 0, 2);
    return at;
}

/* ---- pickles: pieces of string literals, to be put side by side ---- */

#define PK2 "\x80\2"
#define PK_TEXT1(letter) "X\1\0\0\0" letter
#define PK_DICT "ccollections\nOrderedDict\n)R" /* an empty OrderedDict */
#define PK_V2 "ctorch._utils\n_rebuild_tensor_v2\n"
#define PK_V3 "ctorch._utils\n_rebuild_tensor_v3\n"
#define PK_PARAMETER "ctorch._utils\n_rebuild_parameter\n"

/* A storage of torch.TYPE under a key of one letter; COUNT is an opcode with its number. */
#define PK_STORAGE(type, key, count) "(X\7\0\0\0storagectorch\n" type "\n" PK_TEXT1(key) "X\3\0\0\0cpu" count "tQ"
#define PK_UNTYPED(key, count)                                                                                         \
    "(X\7\0\0\0storagectorch.storage\nUntypedStorage\n" PK_TEXT1(key) "X\3\0\0\0cpu" count "tQ"

/* A tensor of version 2; all but the storage are opcodes of numbers and tuples. */
#define PK_TENSOR(storage, offset, size, stride) PK_V2 "(" storage offset size stride "\x89" PK_DICT "tR"

/* Six float32 under the key "0", as a matrix of 2 x 3. */
#define PK_FLOATS PK_STORAGE("FloatStorage", "0", "K\6")
#define PK_MATRIX PK_TENSOR(PK_FLOATS, "K\0", "K\2K\3\x86", "K\3K\1\x86")

/* A state dict that holds this as 'w'. */
#define PK_STATE(tensor) PK2 "}" PK_TEXT1("w") tensor "s."

/* A literal as pointer and length. */
#define PK_BYTES(literal) (literal), sizeof(literal) - 1

#endif
