/* ops/elf.c: see elf.h. */
#include "ops/elf.h"

#include <elf.h>
#include <string.h>

#define VERSIONS_MAX 4096 /* records of needed versions; a program has some dozens */

typedef struct file {
    const uint8_t *data;
    size_t len;
    const char *name;
    Elf64_Ehdr head;
    hd_error *err;
} file;

static hd_status damaged(const file *f, const char *what)
{
    return hd_fail(f->err, HD_E_FORMAT, "%s: %s", f->name, what);
}

/* Copies a record out of the file, which may lie at any byte. */
static bool get(const file *f, uint64_t offset, void *out, size_t size)
{
    if (offset > f->len || size > f->len - offset) return false;
    memcpy(out, f->data + offset, size);
    return true;
}

/* A string that ends within the file; NULL: it does not. */
static const char *text_at(const file *f, uint64_t offset)
{
    if (offset >= f->len || !memchr(f->data + offset, '\0', f->len - (size_t)offset)) return NULL;
    return (const char *)f->data + offset;
}

static bool get_segment(const file *f, unsigned i, Elf64_Phdr *out)
{
    return get(f, f->head.e_phoff + (uint64_t)i * sizeof *out, out, sizeof *out);
}

/* Where in the file an address of the loaded program lies; false: nowhere. */
static bool place_of(const file *f, uint64_t address, uint64_t *offset)
{
    Elf64_Phdr s;
    for (unsigned i = 0; i < f->head.e_phnum && get_segment(f, i, &s); i++) {
        if (s.p_type != PT_LOAD || address < s.p_vaddr || address - s.p_vaddr >= s.p_filesz) continue;
        *offset = s.p_offset + (address - s.p_vaddr);
        return *offset >= s.p_offset;
    }
    return false;
}

static hd_status read_head(file *f)
{
    if (!get(f, 0, &f->head, sizeof f->head) || memcmp(f->head.e_ident, ELFMAG, SELFMAG) != 0)
        return damaged(f, "it is no program of Linux (ELF)");
    if (f->head.e_ident[EI_CLASS] != ELFCLASS64 || f->head.e_ident[EI_DATA] != ELFDATA2LSB)
        return damaged(f, "it is not for a 64-bit little-endian machine");
    if (f->head.e_phentsize != sizeof(Elf64_Phdr)) return damaged(f, "its program header is damaged");
    return HD_OK;
}

/* The values of the dynamic section that are of use. */
typedef struct dynamic {
    uint64_t offset, size; /* of the section */
    uint64_t strings, versions, version_count;
} dynamic;

static hd_status find_segments(const file *f, hd_elf *out, dynamic *d)
{
    Elf64_Phdr s;
    for (unsigned i = 0; i < f->head.e_phnum; i++) {
        if (!get_segment(f, i, &s)) return damaged(f, "its program header is cut off");
        if (s.p_type == PT_DYNAMIC) {
            d->offset = s.p_offset;
            d->size = s.p_filesz;
        }
        if (s.p_type == PT_INTERP && !(out->interpreter = text_at(f, s.p_offset)))
            return damaged(f, "the name of its loader is cut off");
    }
    return HD_OK;
}

static hd_status read_dynamic(const file *f, hd_elf *out, dynamic *d)
{
    Elf64_Dyn entry;
    uint64_t strings = 0, versions = 0;
    for (uint64_t at = 0; at + sizeof entry <= d->size; at += sizeof entry) {
        if (!get(f, d->offset + at, &entry, sizeof entry)) return damaged(f, "its dynamic section is cut off");
        if (entry.d_tag == DT_NULL) break;
        if (entry.d_tag == DT_STRTAB) strings = entry.d_un.d_ptr;
        if (entry.d_tag == DT_VERNEED) versions = entry.d_un.d_ptr;
        if (entry.d_tag == DT_VERNEEDNUM) d->version_count = entry.d_un.d_val;
    }
    if (!place_of(f, strings, &d->strings)) return damaged(f, "it has no names");
    if (!versions) d->version_count = 0;
    if (versions && !place_of(f, versions, &d->versions)) return damaged(f, "its symbol versions lie outside of it");
    for (uint64_t at = 0; at + sizeof entry <= d->size && get(f, d->offset + at, &entry, sizeof entry);
         at += sizeof entry) {
        if (entry.d_tag == DT_NULL) break;
        if (entry.d_tag != DT_NEEDED) continue;
        const char *name = entry.d_un.d_val < f->len ? text_at(f, d->strings + entry.d_un.d_val) : NULL;
        if (!name || !*name || strchr(name, '/')) return damaged(f, "the name of a library that it needs is damaged");
        if (out->needed_count == HD_ELF_NEEDED_MAX) return damaged(f, "it needs more libraries than we allow (64)");
        out->needed[out->needed_count++] = name;
    }
    return HD_OK;
}

/* "GLIBC_2.34", also "GLIBC_2.2.5"; GLIBC_PRIVATE and others' versions say nothing. */
static void note_version(hd_elf *out, const char *version)
{
    int major = 0, minor = 0;
    if (strncmp(version, "GLIBC_", 6) != 0) return;
    const char *p = version + 6;
    for (; *p >= '0' && *p <= '9' && major < 1000; p++)
        major = 10 * major + (*p - '0');
    if (*p++ != '.') return;
    for (; *p >= '0' && *p <= '9' && minor < 1000; p++)
        minor = 10 * minor + (*p - '0');
    if (major < out->glibc_major || (major == out->glibc_major && minor <= out->glibc_minor)) return;
    out->glibc_major = major;
    out->glibc_minor = minor;
}

static hd_status read_versions(const file *f, hd_elf *out, const dynamic *d)
{
    Elf64_Verneed need;
    Elf64_Vernaux version;
    uint64_t at = d->versions;
    unsigned records = 0;
    for (uint64_t i = 0; i < d->version_count; i++, at += need.vn_next) {
        if (!get(f, at, &need, sizeof need)) return damaged(f, "its symbol versions are cut off");
        uint64_t aux = at + need.vn_aux;
        for (unsigned k = 0; k < need.vn_cnt; k++, aux += version.vna_next) {
            const char *name;
            if (++records > VERSIONS_MAX || !get(f, aux, &version, sizeof version) ||
                !(name = text_at(f, d->strings + version.vna_name)))
                return damaged(f, "its symbol versions are damaged");
            note_version(out, name);
        }
        if (need.vn_next == 0) break;
    }
    return HD_OK;
}

hd_status hd_elf_read(hd_elf *out, const void *data, size_t len, const char *name, hd_error *err)
{
    file f = {.data = data, .len = len, .name = name, .err = err};
    dynamic d = {0};
    *out = (hd_elf){0};
    HD_TRY(read_head(&f));
    out->machine = f.head.e_machine;
    HD_TRY(find_segments(&f, out, &d));
    if (!d.size) return HD_OK; /* linked statically: it needs nothing */
    HD_TRY(read_dynamic(&f, out, &d));
    return read_versions(&f, out, &d);
}
