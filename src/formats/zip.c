/* formats/zip.c: where the entries of a zip file lie: its directory, read in place.
 *
 * The bytes of a PyTorch checkpoint stay where they are in the mapped file, so all that is wanted of the zip is the
 * place of each entry.  libarchive, which unpacks packages elsewhere, reads a zip as a stream and can't tell that.
 * After PKWARE's APPNOTE: the record at the end of the file, with or without its 64-bit form, the central directory,
 * and the local header before each entry.
 *
 * Invariant of what is given out: entries are stored as they are (method 0, not encrypted), lie inside the file before
 * the directory, overlap neither each other nor anybody's header, and have different names.
 */
#include <inttypes.h>
#include <stdlib.h>
#include <string.h>

#include "formats/formats_internal.h"

#define END_BYTES 22        /* end of central directory, without a comment */
#define END64_BYTES 56      /* its 64-bit form, without an extensible part */
#define LOCATOR_BYTES 20    /* of the 64-bit form */
#define ENTRY_BYTES 46      /* in the directory, without name, extra field and comment */
#define LOCAL_BYTES 30      /* header before the entry's bytes, without name and extra field */
#define EXTRA_ZIP64 0x0001  /* the extra field that holds what 32 bits can't */
#define FLAGS_KNOWN 0x080e  /* compression options, sizes behind the data, names in UTF-8: none changes the bytes */
#define FLAGS_SECRET 0x2041 /* encrypted, strongly encrypted, masked directory */

/* What the end record says of the directory. */
typedef struct directory {
    uint64_t entries, bytes, offset;
} directory;

typedef struct parser {
    const uint8_t *data;
    size_t size;
    uint64_t begin; /* of the directory: entries end before it */
    hd_error *err;
} parser;

/* An entry as the directory has it. */
typedef struct record {
    uint16_t flags, method;
    uint64_t packed, bytes, local;
    hd_str name;
} record;

/* ---- the end of the file ---- */

static bool has_signature(const parser *p, uint64_t at, const char *signature)
{
    return at <= p->size && p->size - at >= 4 && memcmp(p->data + at, signature, 4) == 0;
}

/* The 64-bit record that the locator at `at` points to. */
static hd_status read_end64(const parser *p, uint64_t at, directory *dir, uint64_t *end)
{
    hd_reader r;
    hd_reader_init(&r, p->data + at, LOCATOR_BYTES);
    (void)hd_read_u64(&r); /* signature, disk */
    uint64_t place = hd_read_u64(&r);
    if (hd_read_u32(&r) != 1) return hd_fail(p->err, HD_E_UNSUPPORTED, "a zip on several disks");
    if (place > at || at - place < END64_BYTES || !has_signature(p, place, "PK\6\6"))
        return hd_fail(p->err, HD_E_FORMAT, "the zip's 64-bit end record is not where its locator says");
    hd_reader_init(&r, p->data + place + 4, END64_BYTES - 4);
    (void)hd_read_u64(&r); /* bytes of this record */
    (void)hd_read_u32(&r); /* versions */
    uint32_t disk = hd_read_u32(&r), first_disk = hd_read_u32(&r);
    uint64_t here = hd_read_u64(&r);
    dir->entries = hd_read_u64(&r);
    dir->bytes = hd_read_u64(&r);
    dir->offset = hd_read_u64(&r);
    if (disk || first_disk || here != dir->entries) return hd_fail(p->err, HD_E_UNSUPPORTED, "a zip on several disks");
    *end = place;
    return HD_OK;
}

/* Whether a number of the 32-bit record agrees with the 64-bit one, or leaves it to that. */
static bool agrees(uint64_t narrow, uint64_t most, uint64_t wide)
{
    return narrow == most || narrow == wide;
}

/* Files have no comment behind the record: torch writes none, and looking for one invites a second, false record. */
static hd_status read_end(parser *p, directory *dir)
{
    if (p->size < END_BYTES || !has_signature(p, p->size - END_BYTES, "PK\5\6"))
        return hd_fail(p->err, HD_E_FORMAT, "not a zip file, or cut short: it does not end in a zip's directory");
    uint64_t end = p->size - END_BYTES;
    hd_reader r;
    hd_reader_init(&r, p->data + end + 4, END_BYTES - 4);
    uint32_t disks = hd_read_u32(&r);
    uint16_t here = hd_read_u16(&r), entries = hd_read_u16(&r);
    uint32_t bytes = hd_read_u32(&r), offset = hd_read_u32(&r);
    if (hd_read_u16(&r) != 0) return hd_fail(p->err, HD_E_FORMAT, "a zip with a comment that is cut short");
    if (disks || here != entries) return hd_fail(p->err, HD_E_UNSUPPORTED, "a zip on several disks");
    *dir = (directory){entries, bytes, offset};
    if (end >= LOCATOR_BYTES && has_signature(p, end - LOCATOR_BYTES, "PK\6\7")) {
        HD_TRY(read_end64(p, end - LOCATOR_BYTES, dir, &end));
        if (!agrees(entries, UINT16_MAX, dir->entries) || !agrees(bytes, UINT32_MAX, dir->bytes) ||
            !agrees(offset, UINT32_MAX, dir->offset))
            return hd_fail(p->err, HD_E_FORMAT, "the zip's two end records disagree");
    }
    if (dir->offset > end || dir->bytes != end - dir->offset)
        return hd_fail(p->err, HD_E_FORMAT,
                       "the zip's directory (%" PRIu64 " bytes at %" PRIu64
                       ") does not end where its end record begins (%" PRIu64 ")",
                       dir->bytes, dir->offset, end);
    p->begin = dir->offset;
    return HD_OK;
}

/* ---- entries ---- */

/* The 64-bit values of an extra field, for those of the entry that are all ones. */
static bool widen(record *rec, const uint8_t *extra, size_t len)
{
    uint64_t *wanted[3];
    size_t count = 0;
    if (rec->bytes == UINT32_MAX) wanted[count++] = &rec->bytes;
    if (rec->packed == UINT32_MAX) wanted[count++] = &rec->packed;
    if (rec->local == UINT32_MAX) wanted[count++] = &rec->local;
    hd_reader r;
    hd_reader_init(&r, extra, len);
    while (count && !r.failed && hd_reader_left(&r) >= 4) {
        uint16_t id = hd_read_u16(&r), bytes = hd_read_u16(&r);
        const uint8_t *field = hd_read_bytes(&r, bytes);
        if (!field || id != EXTRA_ZIP64) continue;
        hd_reader values;
        hd_reader_init(&values, field, bytes);
        for (size_t i = 0; i < count; i++)
            *wanted[i] = hd_read_u64(&values);
        return !values.failed;
    }
    return count == 0;
}

static hd_status read_record(const parser *p, hd_reader *r, record *rec)
{
    uint32_t signature = hd_read_u32(r);
    (void)hd_read_u32(r); /* versions */
    rec->flags = hd_read_u16(r);
    rec->method = hd_read_u16(r);
    (void)hd_read_u64(r); /* time, CRC-32: weights are not read twice (the safetensors format has none either) */
    rec->packed = hd_read_u32(r);
    rec->bytes = hd_read_u32(r);
    uint16_t name = hd_read_u16(r), extra = hd_read_u16(r), comment = hd_read_u16(r), disk = hd_read_u16(r);
    (void)hd_read_bytes(r, 6); /* attributes */
    rec->local = hd_read_u32(r);
    rec->name = (hd_str){(const char *)hd_read_bytes(r, name), name};
    const uint8_t *fields = hd_read_bytes(r, extra);
    (void)hd_read_bytes(r, comment);
    if (r->failed || signature != 0x02014b50)
        return hd_fail(p->err, HD_E_FORMAT,
                       "the zip's directory is damaged: an entry is cut short or has no signature");
    if (!hd_name_valid(rec->name, HD_ZIP_NAME_MAX))
        return hd_fail(p->err, HD_E_FORMAT,
                       "the zip entry's name '%s' is not 1 to %d bytes of UTF-8 without control "
                       "characters",
                       hd_show(rec->name).text, HD_ZIP_NAME_MAX);
    if (disk != 0) return hd_fail(p->err, HD_E_UNSUPPORTED, "a zip on several disks");
    if (!widen(rec, fields, extra))
        return hd_fail(p->err, HD_E_FORMAT, "zip entry '%s': its 64-bit sizes are missing", hd_show(rec->name).text);
    return HD_OK;
}

static hd_status check_stored(const parser *p, const record *rec)
{
    const hd_shown name = hd_show(rec->name);
    if (rec->flags & FLAGS_SECRET) return hd_fail(p->err, HD_E_UNSUPPORTED, "zip entry '%s' is encrypted", name.text);
    if (rec->method != 0)
        return hd_fail(p->err, HD_E_UNSUPPORTED,
                       "zip entry '%s' is compressed (method %u); torch.save stores entries as they are", name.text,
                       rec->method);
    if (rec->flags & ~FLAGS_KNOWN)
        return hd_fail(p->err, HD_E_UNSUPPORTED, "zip entry '%s' has flags 0x%04x, which are not known", name.text,
                       rec->flags);
    if (rec->packed != rec->bytes)
        return hd_fail(p->err, HD_E_FORMAT, "zip entry '%s' is stored, but its two sizes differ", name.text);
    return HD_OK;
}

/* The entry's place, behind its local header, which must speak of the same entry. */
static hd_status find_bytes(const parser *p, const record *rec, hd_zip_entry *out)
{
    const hd_shown name = hd_show(rec->name);
    if (rec->local >= p->begin) return hd_fail(p->err, HD_E_FORMAT, "zip entry '%s' lies outside the file", name.text);
    hd_reader r;
    hd_reader_init(&r, p->data + rec->local, (size_t)(p->begin - rec->local));
    uint32_t signature = hd_read_u32(&r);
    (void)hd_read_u16(&r); /* version */
    uint16_t flags = hd_read_u16(&r), method = hd_read_u16(&r);
    (void)hd_read_bytes(&r, 16); /* time, CRC-32 and sizes, which may stand behind the bytes instead */
    uint16_t name_len = hd_read_u16(&r), extra = hd_read_u16(&r);
    const uint8_t *local_name = hd_read_bytes(&r, name_len);
    (void)hd_read_bytes(&r, extra);
    if (r.failed || signature != 0x04034b50 || flags != rec->flags || method != rec->method ||
        name_len != rec->name.len || memcmp(local_name, rec->name.data, name_len) != 0)
        return hd_fail(p->err, HD_E_FORMAT, "zip entry '%s': its local header is missing or speaks of another entry",
                       name.text);
    const uint8_t *bytes = hd_read_bytes(&r, rec->bytes);
    if (!bytes) return hd_fail(p->err, HD_E_FORMAT, "zip entry '%s' lies outside the file", name.text);
    *out =
        (hd_zip_entry){.name = rec->name, .header = p->data + rec->local, .data = bytes, .bytes = (size_t)rec->bytes};
    return HD_OK;
}

static int compare_places(const void *a, const void *b)
{
    const hd_zip_entry *x = a, *y = b;
    return (x->header > y->header) - (x->header < y->header);
}

/* Sorts the entries by place and by name. */
static hd_status check_entries(const parser *p, hd_zip *zip)
{
    qsort(zip->entries, zip->count, sizeof *zip->entries, compare_places);
    for (size_t i = 1; i < zip->count; i++) {
        const hd_zip_entry *before = &zip->entries[i - 1], *e = &zip->entries[i];
        if (e->header < before->data + before->bytes)
            return hd_fail(p->err, HD_E_FORMAT, "the zip entries '%s' and '%s' overlap", hd_show(before->name).text,
                           hd_show(e->name).text);
    }
    for (size_t i = 0; i < zip->count; i++)
        zip->names.sorted[i] = (hd_name_entry){zip->entries[i].name, i};
    const hd_name_entry *twice = hd_names_sort(&zip->names);
    if (twice) return hd_fail(p->err, HD_E_FORMAT, "the zip has two entries '%s'", hd_show(twice->text).text);
    return HD_OK;
}

static hd_status read_entries(parser *p, hd_zip *zip, const directory *dir)
{
    if (dir->entries > dir->bytes / ENTRY_BYTES)
        return hd_fail(p->err, HD_E_FORMAT, "%" PRIu64 " zip entries don't fit into a directory of %" PRIu64 " bytes",
                       dir->entries, dir->bytes);
    if (dir->entries > HD_ZIP_ENTRIES_MAX)
        return hd_fail(p->err, HD_E_LIMIT, "%" PRIu64 " zip entries; at most %zu are read", dir->entries,
                       HD_ZIP_ENTRIES_MAX);
    zip->entries = hd_calloc((size_t)dir->entries, sizeof *zip->entries);
    if (!zip->entries || !hd_names_alloc(&zip->names, (size_t)dir->entries))
        return hd_fail(p->err, HD_E_MEMORY, "no memory for %" PRIu64 " zip entries", dir->entries);
    hd_reader r;
    hd_reader_init(&r, p->data + dir->offset, (size_t)dir->bytes);
    for (; zip->count < dir->entries; zip->count++) {
        record rec;
        HD_TRY(read_record(p, &r, &rec));
        HD_TRY(check_stored(p, &rec));
        HD_TRY(find_bytes(p, &rec, &zip->entries[zip->count]));
    }
    if (hd_reader_left(&r))
        return hd_fail(p->err, HD_E_FORMAT, "the zip's directory holds more than its %" PRIu64 " entries",
                       dir->entries);
    return check_entries(p, zip);
}

/* ---- the door ---- */

hd_status hd_zip_parse(hd_zip *out, const uint8_t *data, size_t size, hd_error *err)
{
    *out = (hd_zip){0};
    parser p = {.data = data, .size = size, .err = err};
    directory dir = {0};
    HD_TRY(read_end(&p, &dir));
    hd_status status = read_entries(&p, out, &dir);
    if (status != HD_OK) hd_zip_free(out);
    return status;
}

void hd_zip_free(hd_zip *zip)
{
    hd_free(zip->entries);
    hd_names_free(&zip->names);
    *zip = (hd_zip){0};
}

const hd_zip_entry *hd_zip_find(const hd_zip *zip, const char *name, size_t len)
{
    const hd_name_entry *found = hd_names_find(&zip->names, name, len);
    return found ? &zip->entries[found->item] : NULL;
}
