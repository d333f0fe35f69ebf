/* ops/artifact_packages.c: a tar that runs anywhere, with its own loader and libraries, and a package for Debian.
 *
 * The package asks for Debian's libraries by name; which package has which is a table here, so that a package does not
 * depend on the machine that made it. */
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "ops/artifacts_internal.h"

static const char *get(const hd_description *d, const char *key)
{
    return hd_description_get(d, key);
}

static const char *base_of(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash ? slash + 1 : path;
}

static hd_status add_mapped(hd_artifact_files *files, const char *path, const hd_mapping *map, hd_error *err)
{
    return hd_artifact_add(files, path, 0755, hd_mapping_data(map), hd_mapping_size(map), err);
}

/* Packs `files` (sorted here) as a compressed tar named `name` into `out`. */
static hd_status add_packed(hd_artifact_files *out, const char *name, hd_artifact_files *files, const char *prefix,
                            hd_error *err)
{
    hd_buf tar, packed;
    hd_buf_init(&tar, HD_ARTIFACT_MAX);
    hd_buf_init(&packed, HD_ARTIFACT_MAX);
    hd_status status = hd_artifact_sort(files, err);
    if (status == HD_OK) status = hd_artifact_tar(files, prefix, &tar, err);
    if (status == HD_OK) status = hd_artifact_gzip(tar.data, tar.len, &packed, err);
    if (status == HD_OK) status = hd_artifact_add(out, name, 0644, packed.data, packed.len, err);
    hd_buf_free(&packed);
    hd_buf_free(&tar);
    return status;
}

/* ---- tar ---- */

static hd_status add_readme(const hd_description *d, const hd_program *p, hd_artifact_files *files, hd_error *err)
{
    hd_buf text;
    hd_buf_init(&text, 1 << 16);
    hd_status status = hd_artifact_render(d, "package/README.txt", NULL, &text, err);
    if (status == HD_OK) {
        status = hd_program_distributions(p, &text);
        if (status != HD_OK) (void)hd_fail(err, status, "no room for a text");
    }
    if (status == HD_OK) status = hd_artifact_add(files, "README.txt", 0644, text.data, text.len, err);
    hd_buf_free(&text);
    return status;
}

hd_status hd_artifact_program_tree(const hd_description *d, const hd_program *p, hd_artifact_files *files,
                                   const char *prefix, hd_error *err)
{
    char path[512];
    const hd_artifact_override loader[] = {{"loader", p->loader.map ? base_of(p->loader.name) : ""}, {NULL, NULL}};
    snprintf(path, sizeof path, "%shadal", prefix);
    HD_TRY(hd_artifact_add_rendered(d, files, "package/launcher", loader, path, 0755, err));
    snprintf(path, sizeof path, "%slib/hadal", prefix);
    HD_TRY(add_mapped(files, path, p->program.map, err));
    for (size_t i = 0; i < p->library_count; i++) {
        snprintf(path, sizeof path, "%slib/%.400s", prefix, p->libraries[i].name);
        HD_TRY(add_mapped(files, path, p->libraries[i].map, err));
    }
    if (!p->loader.map) return HD_OK;
    snprintf(path, sizeof path, "%slib/%.400s", prefix, base_of(p->loader.name));
    return add_mapped(files, path, p->loader.map, err);
}

static hd_status fill_tree(const hd_description *d, const hd_program *p, hd_artifact_files *files, hd_error *err)
{
    char unit[128];
    HD_TRY(hd_artifact_program_tree(d, p, files, "", err));
    snprintf(unit, sizeof unit, "systemd/%s.service", get(d, "name"));
    HD_TRY(hd_artifact_add_rendered(d, files, "systemd/hadal.service", NULL, unit, 0644, err));
    HD_TRY(hd_artifact_add_rendered(d, files, "systemd/sysusers.conf", NULL, "systemd/sysusers.conf", 0644, err));
    HD_TRY(hd_artifact_add_rendered(d, files, "systemd/tmpfiles.conf", NULL, "systemd/tmpfiles.conf", 0644, err));
    return add_readme(d, p, files, err);
}

hd_status hd_artifact_tarball(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    char name[400], prefix[400];
    hd_program *program = NULL;
    hd_artifact_files tree = {0};
    HD_TRY(hd_program_open(&program, err));
    snprintf(prefix, sizeof prefix, "%s-%.200s-linux-%s/", get(d, "name"), get(d, "version"), program->machine);
    snprintf(name, sizeof name, "%s-%.200s-linux-%s.tar.gz", get(d, "name"), get(d, "version"), program->machine);
    hd_status status = fill_tree(d, program, &tree, err);
    if (status == HD_OK) status = add_packed(files, name, &tree, prefix, err);
    hd_artifact_files_free(&tree);
    hd_program_close(&program);
    return status;
}

/* ---- Debian ---- */

/* Which package of Debian 12 has which library, and from which version on it is new enough for us. */
static const struct {
    const char *library, *package;
} packages[] = {
    {"libarchive.so.13", "libarchive13 (>= 3.6) | libarchive13t64"},
    {"libcrypto.so.3", "libssl3 (>= 3.0) | libssl3t64"},
    {"libcurl.so.4", "libcurl4 (>= 7.88) | libcurl4t64"},
    {"libedit.so.2", "libedit2"},
    {"libevent_core-2.1.so.7", "libevent-core-2.1-7 | libevent-core-2.1-7t64"},
    {"libgcc_s.so.1", "libgcc-s1"},
    {"libjansson.so.4", "libjansson4 (>= 2.14)"},
    {"libpcre2-8.so.0", "libpcre2-8-0 (>= 10.42)"},
    {"libsqlite3.so.0", "libsqlite3-0 (>= 3.40)"},
    {"libssl.so.3", "libssl3 (>= 3.0) | libssl3t64"},
    {"libutf8proc.so.2", "libutf8proc2"},
    {"libyaml-0.so.2", "libyaml-0-2"},
    {"libz.so.1", "zlib1g"},
    {"libzstd.so.1", "libzstd1"},
};

/* Parts of the C library. */
static bool is_libc(const char *library)
{
    static const char *const parts[] = {"libc.so.", "libm.so.", "ld-linux", "libdl.so.", "libpthread.so.", "librt.so."};
    for (size_t i = 0; i < HD_ARRAY_LEN(parts); i++)
        if (strncmp(library, parts[i], strlen(parts[i])) == 0) return true;
    return false;
}

static hd_status append_dependencies(const hd_program *p, hd_buf *out, hd_error *err)
{
    (void)hd_buf_printf(out, "libc6 (>= %d.%d)", p->glibc_major, p->glibc_minor);
    for (size_t i = 0; i < p->needed_count; i++) {
        const char *found = NULL;
        for (size_t k = 0; k < HD_ARRAY_LEN(packages) && !found; k++)
            if (strcmp(packages[k].library, p->needed[i]) == 0) found = packages[k].package;
        if (!found && is_libc(p->needed[i])) continue;
        if (!found)
            return hd_fail(err, HD_E_UNSUPPORTED,
                           "no package of Debian is known that has %s, which this program needs; `hadal artifacts tar` "
                           "brings it along",
                           p->needed[i]);
        if (!out->data || !strstr(out->data, found)) (void)hd_buf_printf(out, ", %s", found); /* libssl3 has two */
    }
    return HD_OK;
}

static const char *debian_machine(const hd_program *p)
{
    return strcmp(p->machine, "x86_64") == 0 ? "amd64" : "arm64";
}

static hd_status add_control(const hd_description *d, const hd_program *p, const hd_artifact_files *data,
                             hd_artifact_files *control, hd_error *err)
{
    hd_buf depends;
    uint64_t bytes = 0;
    char kilobytes[32];
    for (size_t i = 0; i < data->count; i++)
        bytes += data->items[i].len;
    snprintf(kilobytes, sizeof kilobytes, "%llu", (unsigned long long)((bytes + 1023) / 1024));
    hd_buf_init(&depends, 1 << 16);
    hd_status status = append_dependencies(p, &depends, err);
    if (status == HD_OK && depends.status != HD_OK) status = hd_fail(err, depends.status, "no room for dependencies");
    if (status == HD_OK) {
        const hd_artifact_override values[] = {
            {"machine", debian_machine(p)}, {"depends", depends.data}, {"installedKilobytes", kilobytes}, {NULL, NULL}};
        status = hd_artifact_add_rendered(d, control, "package/control", values, "control", 0644, err);
    }
    hd_buf_free(&depends);
    return status;
}

hd_status hd_artifact_system_files(const hd_description *d, hd_artifact_files *data, hd_error *err)
{
    char path[256];
    const char *name = get(d, "name");
    snprintf(path, sizeof path, "usr/lib/systemd/system/%s.service", name);
    HD_TRY(hd_artifact_add_rendered(d, data, "systemd/hadal.service", NULL, path, 0644, err));
    snprintf(path, sizeof path, "usr/lib/sysusers.d/%s.conf", name);
    HD_TRY(hd_artifact_add_rendered(d, data, "systemd/sysusers.conf", NULL, path, 0644, err));
    snprintf(path, sizeof path, "usr/lib/tmpfiles.d/%s.conf", name);
    HD_TRY(hd_artifact_add_rendered(d, data, "systemd/tmpfiles.conf", NULL, path, 0644, err));
    snprintf(path, sizeof path, "etc/%s/options", name);
    HD_TRY(hd_artifact_add_rendered(d, data, "systemd/options", NULL, path, 0644, err));
    snprintf(path, sizeof path, "usr/share/doc/%s/README", name);
    return hd_artifact_add_rendered(d, data, "package/README.Debian", NULL, path, 0644, err);
}

static hd_status fill_data(const hd_description *d, const hd_program *p, hd_artifact_files *data, hd_error *err)
{
    HD_TRY(add_mapped(data, "usr/bin/hadal", p->program.map, err));
    return hd_artifact_system_files(d, data, err);
}

static hd_status fill_control(const hd_description *d, const hd_program *p, const hd_artifact_files *data,
                              hd_artifact_files *control, hd_error *err)
{
    static const char *const scripts[] = {"postinst", "prerm", "postrm"};
    char path[64];
    HD_TRY(add_control(d, p, data, control, err));
    HD_TRY(hd_artifact_add_rendered(d, control, "package/conffiles", NULL, "conffiles", 0644, err));
    for (size_t i = 0; i < HD_ARRAY_LEN(scripts); i++) {
        snprintf(path, sizeof path, "package/%s", scripts[i]);
        HD_TRY(hd_artifact_add_rendered(d, control, path, NULL, scripts[i], 0755, err));
    }
    return HD_OK;
}

/* The three members of a package, in their order (deb(5)). */
static hd_status pack_deb(const hd_description *d, const hd_program *p, hd_artifact_files *package, hd_error *err)
{
    hd_artifact_files data = {0}, control = {0};
    hd_status status = fill_data(d, p, &data, err);
    if (status == HD_OK) status = fill_control(d, p, &data, &control, err);
    if (status == HD_OK) status = hd_artifact_add(package, "debian-binary", 0644, "2.0\n", 4, err);
    if (status == HD_OK) status = add_packed(package, "control.tar.gz", &control, "./", err);
    if (status == HD_OK) status = add_packed(package, "data.tar.gz", &data, "./", err);
    hd_artifact_files_free(&control);
    hd_artifact_files_free(&data);
    return status;
}

hd_status hd_artifact_deb(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    char name[400];
    hd_buf ar;
    hd_program *program = NULL;
    hd_artifact_files package = {0};
    HD_TRY(hd_program_open(&program, err));
    hd_buf_init(&ar, HD_ARTIFACT_MAX);
    hd_status status = pack_deb(d, program, &package, err);
    if (status == HD_OK) status = hd_artifact_ar(&package, &ar, err);
    snprintf(name, sizeof name, "%s_%.200s_%s.deb", get(d, "name"), get(d, "version"), debian_machine(program));
    if (status == HD_OK) status = hd_artifact_add(files, name, 0644, ar.data, ar.len, err);
    hd_buf_free(&ar);
    hd_artifact_files_free(&package);
    hd_program_close(&program);
    return status;
}
