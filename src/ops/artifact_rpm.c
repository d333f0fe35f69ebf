/* ops/artifact_rpm.c: a package for the distributions of RPM (RHEL, openEuler, Kylin Server …), with our own loader and
 * libraries: it asks for no library of the system, so that their versions and names don't matter.
 *
 * Source: the Linux Standard Base, "RPM package file format", and for the tags above 5000 RPM's own manual of tags.  A
 * package is a lead, a header of digests, a header of what is in it, and a compressed cpio archive.  Numbers are
 * big-endian.  Not signed: `rpmsign --addsign` does that with the key of whoever hands it out. */
#include <stdio.h>
#include <string.h>

#include "crypto/crypto.h"
#include "ops/artifacts_internal.h"

enum { INT16 = 3, INT32 = 4, STRING = 6, BIN = 7, STRINGS = 8, I18N = 9 }; /* types of tags */

#define ENTRIES 64
#define ENTRY_BYTES 16
#define SHA256 8 /* PGPHASHALGO_SHA256 */

/* A header in the making: the index apart from the data, tags in rising order. */
typedef struct header {
    struct {
        uint32_t tag, type, offset, count;
    } entries[ENTRIES];
    uint32_t count;
    hd_buf data;
} header;

static void put32(hd_buf *out, uint32_t value)
{
    const uint8_t bytes[] = {(uint8_t)(value >> 24), (uint8_t)(value >> 16), (uint8_t)(value >> 8), (uint8_t)value};
    (void)hd_buf_append(out, bytes, sizeof bytes); /* sticky */
}

static void put16(hd_buf *out, unsigned value)
{
    const uint8_t bytes[] = {(uint8_t)(value >> 8), (uint8_t)value};
    (void)hd_buf_append(out, bytes, sizeof bytes);
}

/* Begins a tag whose `count` values follow in the data. */
static void begin(header *h, uint32_t tag, uint32_t type, uint32_t count)
{
    size_t step = type == INT32 ? 4 : type == INT16 ? 2 : 1;
    while (h->data.len % step && h->data.status == HD_OK)
        (void)hd_buf_putc(&h->data, '\0');
    if (h->count == ENTRIES) {
        h->data.status = HD_E_LIMIT;
        return;
    }
    h->entries[h->count].tag = tag;
    h->entries[h->count].type = type;
    h->entries[h->count].offset = (uint32_t)h->data.len;
    h->entries[h->count++].count = count;
}

static void put_text(header *h, const char *text)
{
    (void)hd_buf_append(&h->data, text, strlen(text) + 1);
}

static void add_text(header *h, uint32_t tag, uint32_t type, const char *text)
{
    begin(h, tag, type, 1);
    put_text(h, text);
}

static void add_number(header *h, uint32_t tag, uint32_t value)
{
    begin(h, tag, INT32, 1);
    put32(&h->data, value);
}

/* The index, with `region` as its first entry, and the data, which ends with the region's mark. */
static void finish(header *h, uint32_t region, hd_buf *out)
{
    static const uint8_t magic[] = {0x8e, 0xad, 0xe8, 0x01, 0, 0, 0, 0};
    uint32_t count = h->count + 1, mark = (uint32_t)h->data.len;
    (void)hd_buf_append(out, magic, sizeof magic);
    put32(out, count);
    put32(out, mark + ENTRY_BYTES);
    const uint32_t first[] = {region, BIN, mark, ENTRY_BYTES};
    for (size_t i = 0; i < HD_ARRAY_LEN(first); i++)
        put32(out, first[i]);
    for (uint32_t i = 0; i < h->count; i++) {
        put32(out, h->entries[i].tag);
        put32(out, h->entries[i].type);
        put32(out, h->entries[i].offset);
        put32(out, h->entries[i].count);
    }
    (void)hd_buf_append(out, h->data.data, h->data.len);
    const uint32_t last[] = {region, BIN, (uint32_t)0 - count * ENTRY_BYTES, ENTRY_BYTES};
    for (size_t i = 0; i < HD_ARRAY_LEN(last); i++)
        put32(out, last[i]);
}

/* ---- the files ---- */

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static unsigned mode_of(const hd_artifact_file *f)
{
    return (f->data ? 0100000 : 0040000) | f->mode;
}

/* Files, and the folders that are ours alone: those that every system has are left to it. */
static bool is_packed(const hd_artifact_file *f, const char *name)
{
    return f->data || strncmp(f->path, "usr/lib/hadal", 13) == 0 || strcmp(base_of(f->path), name) == 0;
}

typedef void (*put_value)(header *h, const hd_artifact_file *f, uint32_t number);

static void put_size(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)number;
    put32(&h->data, (uint32_t)f->len);
}

static void put_mode(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)number;
    put16(&h->data, mode_of(f));
}

static void put_zero16(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)f;
    (void)number;
    put16(&h->data, 0);
}

static void put_zero(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)f;
    (void)number;
    put32(&h->data, 0);
}

static void put_one(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)f;
    (void)number;
    put32(&h->data, 1);
}

static void put_number(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)f;
    put32(&h->data, number);
}

static void put_inode(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)f;
    put32(&h->data, number + 1);
}

static void put_digest(header *h, const hd_artifact_file *f, uint32_t number)
{
    uint8_t digest[HD_SHA256_BYTES];
    char hex[HD_SHA256_HEX];
    (void)number;
    if (!f->data) {
        put_text(h, "");
        return;
    }
    if (hd_sha256_of(f->data, f->len, digest, NULL) != HD_OK) {
        h->data.status = HD_E_MEMORY;
        return;
    }
    hd_hex_encode(digest, sizeof digest, hex);
    put_text(h, hex);
}

/* A changed configuration file stays where it is: %config(noreplace). */
static void put_flags(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)number;
    put32(&h->data, f->data && strncmp(f->path, "etc/", 4) == 0 ? 1 | 16 : 0);
}

static void put_verify(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)f;
    (void)number;
    put32(&h->data, UINT32_MAX);
}

static void put_empty(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)f;
    (void)number;
    put_text(h, "");
}

static void put_root(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)f;
    (void)number;
    put_text(h, "root");
}

static void put_base(header *h, const hd_artifact_file *f, uint32_t number)
{
    (void)number;
    put_text(h, base_of(f->path));
}

static void put_folder(header *h, const hd_artifact_file *f, uint32_t number)
{
    char folder[512];
    (void)number;
    snprintf(folder, sizeof folder, "/%.*s", (int)(base_of(f->path) - f->path), f->path);
    put_text(h, folder);
}

static void add_each(header *h, const hd_artifact_files *files, uint32_t tag, uint32_t type, put_value put)
{
    begin(h, tag, type, (uint32_t)files->count);
    for (size_t i = 0; i < files->count; i++)
        put(h, &files->items[i], (uint32_t)i);
}

/* ---- what is in it ---- */

typedef struct package {
    const hd_description *d;
    const char *machine;
    hd_artifact_files files;
    hd_buf post, before_removal, cpio, payload;
    char payload_digest[HD_SHA256_HEX];
} package;

static const char *get(const package *p, const char *key)
{
    return hd_description_get(p->d, key);
}

/* Tags 1 to 1046: names, scripts, files. */
static void add_head(const package *p, header *h)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < p->files.count; i++)
        bytes += p->files.items[i].len;
    begin(h, 100, STRINGS, 1);
    put_text(h, "C");
    add_text(h, 1000, STRING, get(p, "name"));
    add_text(h, 1001, STRING, get(p, "version"));
    add_text(h, 1002, STRING, "1");
    add_text(h, 1004, I18N, "private DeepSeek service in one program");
    add_text(h, 1005, I18N, "Runs DeepSeek models on this machine; brings its libraries along.");
    add_number(h, 1009, (uint32_t)bytes);
    add_text(h, 1014, STRING, "Apache-2.0 and those of the libraries");
    add_text(h, 1016, I18N, "System Environment/Daemons");
    add_text(h, 1021, STRING, "linux");
    add_text(h, 1022, STRING, p->machine);
    add_text(h, 1024, STRING, p->post.data);
    add_text(h, 1025, STRING, p->before_removal.data);
    add_each(h, &p->files, 1028, INT32, put_size);
    add_each(h, &p->files, 1030, INT16, put_mode);
    add_each(h, &p->files, 1033, INT16, put_zero16);
    add_each(h, &p->files, 1034, INT32, put_zero);
    add_each(h, &p->files, 1035, STRINGS, put_digest);
    add_each(h, &p->files, 1036, STRINGS, put_empty);
    add_each(h, &p->files, 1037, INT32, put_flags);
    add_each(h, &p->files, 1039, STRINGS, put_root);
    add_each(h, &p->files, 1040, STRINGS, put_root);
    add_text(h, 1044, STRING, "hadal.src.rpm"); /* or it would be taken for a source package */
    add_each(h, &p->files, 1045, INT32, put_verify);
}

/* What the format itself asks of the program that installs it; the rest we bring along. */
static const struct {
    const char *name, *version;
} requires[] = {{"rpmlib(CompressedFileNames)", "3.0.4-1"},
                {"rpmlib(FileDigests)", "4.6.0-1"},
                {"rpmlib(PayloadFilesHavePrefix)", "4.0-1"}};

/* Tags 1047 to the end: relations, folders, payload. */
static void add_rest(const package *p, header *h)
{
    const uint32_t equal = 8, rpmlib = 1u << 24 | 8 | 2; /* RPMSENSE_EQUAL; RPMLIB, EQUAL and LESS */
    const uint32_t count = (uint32_t)HD_ARRAY_LEN(requires);
    char version[HD_DESCRIPTION_VALUE + 8];
    snprintf(version, sizeof version, "%s-1", get(p, "version"));
    begin(h, 1047, STRINGS, 1);
    put_text(h, get(p, "name"));
    begin(h, 1048, INT32, count);
    for (uint32_t i = 0; i < count; i++)
        put32(&h->data, rpmlib);
    begin(h, 1049, STRINGS, count);
    for (uint32_t i = 0; i < count; i++)
        put_text(h, requires[i].name);
    begin(h, 1050, STRINGS, count);
    for (uint32_t i = 0; i < count; i++)
        put_text(h, requires[i].version);
    add_text(h, 1086, STRING, "/bin/sh");
    add_text(h, 1087, STRING, "/bin/sh");
    add_each(h, &p->files, 1095, INT32, put_one);
    add_each(h, &p->files, 1096, INT32, put_inode);
    add_each(h, &p->files, 1097, STRINGS, put_empty);
    begin(h, 1112, INT32, 1);
    put32(&h->data, equal);
    begin(h, 1113, STRINGS, 1);
    put_text(h, version);
    add_each(h, &p->files, 1116, INT32, put_number); /* each has its own entry in the list of folders */
    add_each(h, &p->files, 1117, STRINGS, put_base);
    add_each(h, &p->files, 1118, STRINGS, put_folder);
    add_text(h, 1124, STRING, "cpio");
    add_text(h, 1125, STRING, "gzip");
    add_text(h, 1126, STRING, "6");
    add_number(h, 5011, SHA256);
    begin(h, 5092, STRINGS, 1);
    put_text(h, p->payload_digest);
    add_number(h, 5093, SHA256);
}

static hd_status hex_digest(const hd_buf *data, char hex[HD_SHA256_HEX], hd_error *err)
{
    uint8_t digest[HD_SHA256_BYTES];
    HD_TRY(hd_sha256_of(data->data, data->len, digest, err));
    hd_hex_encode(digest, sizeof digest, hex);
    return HD_OK;
}

/* The old first 96 bytes, of which only the magic is still read. */
static void put_lead(const package *p, hd_buf *out)
{
    static const uint8_t magic[] = {0xed, 0xab, 0xee, 0xdb, 3, 0};
    char name[66] = "";
    const char zeros[16] = "";
    snprintf(name, sizeof name, "%s", get(p, "name"));
    (void)hd_buf_append(out, magic, sizeof magic);
    put16(out, 0);                                          /* binary */
    put16(out, strcmp(p->machine, "x86_64") == 0 ? 1 : 19); /* processor */
    (void)hd_buf_append(out, name, sizeof name);
    put16(out, 1); /* Linux */
    put16(out, 5); /* a header of digests follows */
    (void)hd_buf_append(out, zeros, sizeof zeros);
}

static hd_status put_package(const package *p, const hd_buf *head, hd_buf *out, hd_error *err)
{
    header digests = {.count = 0};
    char hex[HD_SHA256_HEX];
    HD_TRY(hex_digest(head, hex, err));
    hd_buf_init(&digests.data, 4096);
    add_text(&digests, 273, STRING, hex);
    add_number(&digests, 1000, (uint32_t)(head->len + p->payload.len));
    add_number(&digests, 1007, (uint32_t)p->cpio.len);
    put_lead(p, out);
    finish(&digests, 62, out);
    while (out->len % 8 && out->status == HD_OK)
        (void)hd_buf_putc(out, '\0');
    (void)hd_buf_append(out, head->data, head->len);
    (void)hd_buf_append(out, p->payload.data, p->payload.len);
    hd_status status = digests.data.status == HD_OK ? out->status : digests.data.status;
    hd_buf_free(&digests.data);
    return status == HD_OK ? HD_OK : hd_fail(err, status, "no room for the package");
}

static hd_status make_package(package *p, hd_buf *out, hd_error *err)
{
    header h = {.count = 0};
    hd_buf head;
    HD_TRY(hd_artifact_cpio(&p->files, "./", &p->cpio, err));
    HD_TRY(hd_artifact_gzip(p->cpio.data, p->cpio.len, &p->payload, err));
    HD_TRY(hex_digest(&p->payload, p->payload_digest, err));
    hd_buf_init(&h.data, 1 << 20);
    hd_buf_init(&head, 1 << 20);
    add_head(p, &h);
    add_rest(p, &h);
    finish(&h, 63, &head);
    hd_status status = h.data.status == HD_OK ? head.status : h.data.status;
    status = status == HD_OK ? put_package(p, &head, out, err) : hd_fail(err, status, "no room for the package");
    hd_buf_free(&head);
    hd_buf_free(&h.data);
    return status;
}

/* Keeps what is packed, in its order. */
static void keep_packed(hd_artifact_files *files, const char *name)
{
    size_t kept = 0;
    for (size_t i = 0; i < files->count; i++) {
        if (is_packed(&files->items[i], name)) {
            files->items[kept++] = files->items[i];
            continue;
        }
        hd_free(files->items[i].path);
    }
    files->count = kept;
}

static hd_status fill(package *p, const hd_program *program, hd_error *err)
{
    const hd_artifact_override where[] = {{"packageFolder", "usr/lib/hadal"}, {NULL, NULL}};
    HD_TRY(hd_artifact_program_tree(p->d, program, &p->files, "usr/lib/hadal/", err));
    HD_TRY(hd_artifact_add_rendered(p->d, &p->files, "package/rpm-launcher", where, "usr/bin/hadal", 0755, err));
    HD_TRY(hd_artifact_system_files(p->d, &p->files, err));
    HD_TRY(hd_artifact_render(p->d, "package/postinst.rpm", NULL, &p->post, err));
    HD_TRY(hd_artifact_render(p->d, "package/preun.rpm", NULL, &p->before_removal, err));
    HD_TRY(hd_artifact_sort(&p->files, err));
    keep_packed(&p->files, get(p, "name"));
    return HD_OK;
}

hd_status hd_artifact_rpm(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    char name[400];
    hd_buf out;
    hd_program *program = NULL;
    HD_TRY(hd_program_open(&program, err));
    package p = {.d = d, .machine = program->machine};
    hd_buf_init(&p.post, 1 << 16);
    hd_buf_init(&p.before_removal, 1 << 16);
    hd_buf_init(&p.cpio, HD_ARTIFACT_MAX);
    hd_buf_init(&p.payload, HD_ARTIFACT_MAX);
    hd_buf_init(&out, HD_ARTIFACT_MAX);
    hd_status status = fill(&p, program, err);
    if (status == HD_OK) status = make_package(&p, &out, err);
    snprintf(name, sizeof name, "%s-%.200s-1.%s.rpm", get(&p, "name"), get(&p, "version"), p.machine);
    if (status == HD_OK) status = hd_artifact_add(files, name, 0644, out.data, out.len, err);
    hd_buf_free(&out);
    hd_buf_free(&p.payload);
    hd_buf_free(&p.cpio);
    hd_buf_free(&p.before_removal);
    hd_buf_free(&p.post);
    hd_artifact_files_free(&p.files);
    hd_program_close(&program);
    return status;
}
