/* ops/program.c: see program.h. */
#include "ops/program.h"

#include <link.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/elf.h"

/* ---- the loader's list ---- */

typedef struct search {
    const char *name; /* of the library */
    char *path;       /* found; hd_free */
    bool no_memory;
} search;

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static int compare_loaded(struct dl_phdr_info *info, size_t size, void *arg)
{
    search *s = arg;
    (void)size;
    if (!info->dlpi_name || info->dlpi_name[0] != '/' || strcmp(base_of(info->dlpi_name), s->name) != 0) return 0;
    s->path = hd_strdup(info->dlpi_name);
    s->no_memory = !s->path;
    return 1;
}

static hd_status find_loaded(const char *name, char **path, hd_error *err)
{
    search s = {.name = name};
    (void)dl_iterate_phdr(compare_loaded, &s);
    *path = s.path;
    if (s.path) return HD_OK;
    if (s.no_memory) return hd_fail(err, HD_E_MEMORY, "out of memory for a library's path");
    return hd_fail(err, HD_E_NOT_FOUND, "the library %s is needed, but it is not loaded", name);
}

/* The file that holds our code: /proc/self/exe is the loader's where that was called by hand (our tar does). */
static hd_status find_self(char **path, hd_error *err)
{
    char line[4352], found[4096];
    unsigned long from, to, here = (unsigned long)(uintptr_t)&find_self;
    FILE *f = fopen("/proc/self/maps", "re");
    *path = NULL;
    if (!f) return hd_fail(err, HD_E_IO, "/proc/self/maps can't be read: is /proc mounted?");
    while (!*path && fgets(line, sizeof line, f))
        if (sscanf(line, "%lx-%lx %*s %*s %*s %*s %4095[^\n]", &from, &to, found) == 3 && from <= here && here < to)
            *path = hd_strdup(found);
    fclose(f);
    if (!*path) return hd_fail(err, HD_E_NOT_FOUND, "the file of this program can't be found");
    if (hd_text_ends_with(*path, " (deleted)")) {
        hd_free(*path);
        *path = NULL;
        return hd_fail(err, HD_E_NOT_FOUND, "the file of this program was replaced while it runs; run the new one");
    }
    return HD_OK;
}

/* ---- opening ---- */

/* Folders in which every loader of the distribution that built it looks without being told. */
static bool is_usual(const char *folder, const char *machine)
{
    char multiarch[64];
    static const char *const plain[] = {"/lib", "/lib64", "/usr/lib", "/usr/lib64"};
    for (size_t i = 0; i < HD_ARRAY_LEN(plain); i++)
        if (strcmp(folder, plain[i]) == 0) return true;
    snprintf(multiarch, sizeof multiarch, "/lib/%s-linux-gnu", machine);
    if (strcmp(folder, multiarch) == 0) return true;
    return strncmp(folder, "/usr", 4) == 0 && strcmp(folder + 4, multiarch) == 0;
}

/* `path` becomes the file's; where it lies in an unusual folder (our tar's), Debian's is taken, which builds us. */
static hd_status set_file(hd_program_file *file, char *path, const char *machine, hd_error *err)
{
    char folder[4096];
    const char *base = base_of(path);
    snprintf(folder, sizeof folder, "%.*s", (int)(base > path + 1 ? base - path - 1 : 1), path);
    if (!is_usual(folder, machine)) snprintf(folder, sizeof folder, "/lib/%s-linux-gnu", machine);
    file->name = hd_strdup(base);
    file->folder = hd_strdup(folder);
    if (!file->name || !file->folder) return hd_fail(err, HD_E_MEMORY, "out of memory for a library's path");
    return hd_mapping_open(&file->map, path, err);
}

static hd_status read_file(const hd_program_file *file, hd_elf *elf, hd_error *err)
{
    return hd_elf_read(elf, hd_mapping_data(file->map), hd_mapping_size(file->map), hd_mapping_path(file->map), err);
}

static bool has_library(const hd_program *p, const char *name)
{
    for (size_t i = 0; i < p->library_count; i++)
        if (strcmp(p->libraries[i].name, name) == 0) return true;
    return false;
}

/* Adds what `elf` needs and is not there yet. */
static hd_status add_needed(hd_program *p, const hd_elf *elf, hd_error *err)
{
    for (size_t i = 0; i < elf->needed_count; i++) {
        char *path = NULL;
        const char *name = elf->needed[i];
        if (has_library(p, name) || (p->loader.name && strcmp(base_of(p->loader.name), name) == 0)) continue;
        if (p->library_count == HD_PROGRAM_LIBRARIES)
            return hd_fail(err, HD_E_LIMIT, "the program needs more than %d libraries", HD_PROGRAM_LIBRARIES);
        HD_TRY(find_loaded(name, &path, err));
        hd_program_file *file = &p->libraries[p->library_count++];
        hd_status status = set_file(file, path, p->machine, err);
        hd_free(path);
        HD_TRY(status);
    }
    return HD_OK;
}

static int by_name(const void *a, const void *b)
{
    return strcmp(((const hd_program_file *)a)->name, ((const hd_program_file *)b)->name);
}

static int by_text(const void *a, const void *b)
{
    return strcmp(a, b);
}

static hd_status note_needed(hd_program *p, const hd_elf *elf, hd_error *err)
{
    for (size_t i = 0; i < elf->needed_count; i++) {
        if (strlen(elf->needed[i]) >= sizeof p->needed[0])
            return hd_fail(err, HD_E_LIMIT, "a library's name is too long: %s", elf->needed[i]);
        snprintf(p->needed[p->needed_count++], sizeof p->needed[0], "%s", elf->needed[i]);
    }
    qsort(p->needed, p->needed_count, sizeof p->needed[0], by_text);
    return HD_OK;
}

static hd_status open_loader(hd_program *p, const char *interpreter, hd_error *err)
{
    char *path = NULL;
    const char *base = base_of(interpreter);
    if (interpreter[0] != '/' || strstr(interpreter, ".."))
        return hd_fail(err, HD_E_FORMAT, "the program's loader '%s' is no absolute path", interpreter);
    p->loader.name = hd_strdup(interpreter);
    if (!p->loader.name) return hd_fail(err, HD_E_MEMORY, "out of memory for the loader's path");
    HD_TRY(find_loaded(base, &path, err));
    hd_status status = hd_mapping_open(&p->loader.map, path, err);
    hd_free(path);
    return status;
}

static hd_status open_all(hd_program *p, hd_error *err)
{
    const int x86_64 = 62, aarch64 = 183; /* EM_X86_64, EM_AARCH64 */
    char *path = NULL;
    hd_elf elf;
    HD_TRY(find_self(&path, err));
    hd_status status = hd_mapping_open(&p->program.map, path, err);
    hd_free(path);
    HD_TRY(status);
    HD_TRY(read_file(&p->program, &elf, err));
    p->machine = elf.machine == x86_64 ? "x86_64" : elf.machine == aarch64 ? "aarch64" : NULL;
    if (!p->machine) return hd_fail(err, HD_E_UNSUPPORTED, "artifacts are made for x86-64 and AArch64 only");
    p->glibc_major = elf.glibc_major;
    p->glibc_minor = elf.glibc_minor;
    HD_TRY(note_needed(p, &elf, err));
    if (elf.interpreter) HD_TRY(open_loader(p, elf.interpreter, err));
    HD_TRY(add_needed(p, &elf, err));
    for (size_t i = 0; i < p->library_count; i++) { /* the list grows */
        HD_TRY(read_file(&p->libraries[i], &elf, err));
        HD_TRY(add_needed(p, &elf, err));
    }
    qsort(p->libraries, p->library_count, sizeof p->libraries[0], by_name);
    return HD_OK;
}

hd_status hd_program_open(hd_program **out, hd_error *err)
{
    *out = hd_calloc(1, sizeof **out);
    if (!*out) return hd_fail(err, HD_E_MEMORY, "out of memory for the list of libraries");
    hd_status status = open_all(*out, err);
    if (status != HD_OK) hd_program_close(out);
    return status;
}

static void close_file(hd_program_file *file)
{
    hd_mapping_close(&file->map);
    hd_free(file->name);
    hd_free(file->folder);
}

void hd_program_close(hd_program **program)
{
    hd_program *p = *program;
    if (!p) return;
    close_file(&p->program);
    close_file(&p->loader);
    for (size_t i = 0; i < p->library_count; i++)
        close_file(&p->libraries[i]);
    hd_free(p);
    *program = NULL;
}

/* ---- where it runs ---- */

typedef struct distribution {
    const char *name;
    int major, minor; /* of its C library, as the distribution states it */
} distribution;

/* As of 2026-11; docs/deploy.md says which of them were tried. */
static const distribution distributions[] = {
    {"Debian 11", 2, 31},           {"Debian 12", 2, 36},           {"Debian 13", 2, 41},
    {"Ubuntu 20.04", 2, 31},        {"Ubuntu 22.04", 2, 35},        {"Ubuntu 24.04", 2, 39},
    {"RHEL, Rocky, Alma 8", 2, 28}, {"RHEL, Rocky, Alma 9", 2, 34}, {"RHEL, Rocky, Alma 10", 2, 39},
    {"openEuler 20.03", 2, 28},     {"openEuler 22.03", 2, 34},     {"openEuler 24.03", 2, 38},
    {"Kylin Server V10", 2, 28},    {"UOS Server 20", 2, 28},       {"Anolis OS 8", 2, 28},
    {"Anolis OS 23", 2, 36},
};

bool hd_program_runs_on(const hd_program *program, int major, int minor)
{
    return major > program->glibc_major || (major == program->glibc_major && minor >= program->glibc_minor);
}

static void list_where(const hd_program *program, bool runs, hd_buf *out)
{
    const char *comma = "";
    for (size_t i = 0; i < HD_ARRAY_LEN(distributions); i++) {
        const distribution *d = &distributions[i];
        if (hd_program_runs_on(program, d->major, d->minor) != runs) continue;
        (void)hd_buf_printf(out, "%s%s (%d.%d)", comma, d->name, d->major, d->minor);
        comma = ", ";
    }
    (void)hd_buf_puts(out, *comma ? "\n" : "none that is listed\n");
}

hd_status hd_program_distributions(const hd_program *program, hd_buf *out)
{
    (void)hd_buf_printf(out, "The program asks for a C library (glibc) of version %d.%d or newer.\n",
                        program->glibc_major, program->glibc_minor);
    (void)hd_buf_puts(out, "New enough on: ");
    list_where(program, true, out);
    (void)hd_buf_puts(out, "Too old on: ");
    list_where(program, false, out);
    return out->status;
}
