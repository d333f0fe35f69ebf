/* ops/artifact_oci.c: a container image as an OCI layout, made without any engine.
 *
 * Two layers, so that a new version of the program costs the size of the program: libraries, loader, accounts and
 * certificates; and the program.  No shell, no package manager.  Source: OCI image format specification 1.0 and, for
 * Healthcheck, Docker's image specification 1.2, which engines that don't know it pass over. */
#include <jansson.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "crypto/crypto.h"
#include "ops/artifacts_internal.h"

#define CERTIFICATES "etc/ssl/certs/ca-certificates.crt" /* in the image; here behind a slash */
#define MEDIA "application/vnd.oci.image."
#define BLOB_PATH (sizeof "blobs/sha256/" + HD_SHA256_HEX)

enum { LAYERS = 2 };

typedef struct blob {
    char digest[HD_SHA256_HEX];
    uint64_t size;
} blob;

typedef struct image {
    const hd_description *d;
    hd_artifact_files *files; /* of the layout */
    const hd_program *program;
    blob layers[LAYERS], config, manifest;
    char diffs[LAYERS][HD_SHA256_HEX]; /* digests of the layers before compression */
} image;

static hd_status hex_digest(const void *data, size_t len, char hex[HD_SHA256_HEX], hd_error *err)
{
    uint8_t digest[HD_SHA256_BYTES];
    HD_TRY(hd_sha256_of(data, len, digest, err));
    hd_hex_encode(digest, sizeof digest, hex);
    return HD_OK;
}

static hd_status add_blob(image *m, const void *data, size_t len, blob *out, hd_error *err)
{
    char path[BLOB_PATH];
    HD_TRY(hex_digest(data, len, out->digest, err));
    out->size = len;
    snprintf(path, sizeof path, "blobs/sha256/%s", out->digest);
    return hd_artifact_add(m->files, path, 0644, data, len, err);
}

/* ---- layers ---- */

static hd_status add_layer(image *m, int which, hd_artifact_files *root, hd_error *err)
{
    hd_buf tar, packed;
    hd_buf_init(&tar, HD_ARTIFACT_MAX);
    hd_buf_init(&packed, HD_ARTIFACT_MAX);
    hd_status status = hd_artifact_sort(root, err);
    if (status == HD_OK) status = hd_artifact_tar(root, "", &tar, err);
    if (status == HD_OK) status = hex_digest(tar.data, tar.len, m->diffs[which], err);
    if (status == HD_OK) status = hd_artifact_gzip(tar.data, tar.len, &packed, err);
    if (status == HD_OK) status = add_blob(m, packed.data, packed.len, &m->layers[which], err);
    hd_buf_free(&packed);
    hd_buf_free(&tar);
    return status;
}

/* A file of the program, at `path` (absolute) in the image. */
static hd_status add_mapped(hd_artifact_files *root, const char *path, const hd_mapping *map, hd_error *err)
{
    return hd_artifact_add(root, path + 1, 0755, hd_mapping_data(map), hd_mapping_size(map), err);
}

static hd_status add_text(hd_artifact_files *root, const char *path, const char *text, hd_error *err)
{
    return hd_artifact_add(root, path, 0644, text, strlen(text), err);
}

static hd_status add_accounts(const image *m, hd_artifact_files *root, hd_error *err)
{
    char text[512];
    const char *id = hd_description_get(m->d, "userId");
    unsigned owner = (unsigned)hd_description_number(m->d, "userId");
    snprintf(text, sizeof text, "root:x:0:0:root:/:/usr/sbin/nologin\nhadal:x:%s:%s:hadal:/data:/usr/sbin/nologin\n",
             id, id);
    HD_TRY(add_text(root, "etc/passwd", text, err));
    snprintf(text, sizeof text, "root:x:0:\nhadal:x:%s:\n", id);
    HD_TRY(add_text(root, "etc/group", text, err));
    HD_TRY(add_text(root, "etc/nsswitch.conf", "passwd: files\ngroup: files\nhosts: files dns\n", err));
    HD_TRY(hd_artifact_add_folder(root, "models", 0755, 0, err));
    HD_TRY(hd_artifact_add_folder(root, "data", 0700, owner, err));
    return hd_artifact_add_folder(root, "tmp", 01777, 0, err);
}

/* What `hadal pull` trusts; a machine without it makes an image without it. */
static hd_status add_certificates(hd_artifact_files *root, hd_error *err)
{
    hd_mapping *map = NULL;
    if (access("/" CERTIFICATES, R_OK) != 0) return HD_OK;
    HD_TRY(hd_mapping_open(&map, "/" CERTIFICATES, err));
    hd_status status = hd_artifact_add(root, CERTIFICATES, 0644, hd_mapping_data(map), hd_mapping_size(map), err);
    hd_mapping_close(&map);
    return status;
}

static hd_status add_libraries(const image *m, hd_artifact_files *root, hd_error *err)
{
    for (size_t i = 0; i < m->program->library_count; i++) {
        const hd_program_file *f = &m->program->libraries[i];
        char path[4352];
        snprintf(path, sizeof path, "%s/%s", f->folder, f->name);
        HD_TRY(add_mapped(root, path, f->map, err));
    }
    if (m->program->loader.map) HD_TRY(add_mapped(root, m->program->loader.name, m->program->loader.map, err));
    HD_TRY(add_accounts(m, root, err));
    return add_certificates(root, err);
}

static hd_status add_layers(image *m, hd_error *err)
{
    hd_artifact_files root = {0};
    hd_status status = add_libraries(m, &root, err);
    if (status == HD_OK) status = add_layer(m, 0, &root, err);
    hd_artifact_files_free(&root);
    HD_TRY(status);
    status = add_mapped(&root, "/usr/bin/hadal", m->program->program.map, err);
    if (status == HD_OK) status = add_layer(m, 1, &root, err);
    hd_artifact_files_free(&root);
    return status;
}

/* ---- the image's own description ---- */

static hd_status add_json(image *m, json_t *value, blob *out, hd_error *err)
{
    hd_buf text;
    hd_buf_init(&text, 1 << 20);
    hd_status status = hd_json_append(&text, value);
    if (status != HD_OK) (void)hd_fail(err, status, "no memory for the image's description");
    if (status == HD_OK) status = add_blob(m, text.data, text.len, out, err);
    hd_buf_free(&text);
    return status;
}

static const char *get(const image *m, const char *key)
{
    return hd_description_get(m->d, key);
}

static json_t *health_check(const image *m)
{
    const json_int_t second = 1000000000;
    return json_pack("{s:[s,s,s,s,s], s:I, s:I, s:I, s:i}", "Test", "CMD", "/usr/bin/hadal", "health", "--port",
                     get(m, "port"), "Interval", 15 * second, "Timeout", 10 * second, "StartPeriod",
                     (json_int_t)hd_description_number(m->d, "loadSeconds") * second, "Retries", 4);
}

/* What is run, where nothing else is said: the model of the description. */
static json_t *run_config(const image *m)
{
    char user[64], port[32], model[600];
    snprintf(user, sizeof user, "%s:%s", get(m, "userId"), get(m, "userId"));
    snprintf(port, sizeof port, "%s/tcp", get(m, "port"));
    snprintf(model, sizeof model, "%s=/models/%s", get(m, "modelName"), get(m, "model"));
    return json_pack("{s:s, s:{s:{}}, s:[s,s,s,s], s:[s], s:[s,s,s,s,s,s,s,s,s,s,s], s:{s:{},s:{}}, s:s, s:s, s:o, "
                     "s:{s:s,s:s,s:s}}",
                     "User", user, "ExposedPorts", port, "Env", "PATH=/usr/bin", "HOME=/data",
                     "HADAL_DATA=/data/server", "HADAL_MODELS=/models", "Entrypoint", "/usr/bin/hadal", "Cmd", "serve",
                     "--model-path", model, "--precision", get(m, "precision"), "--host", "0.0.0.0", "--port",
                     get(m, "port"), "--drain", get(m, "drainSeconds"), "Volumes", "/data", "/models", "WorkingDir",
                     "/data", "StopSignal", "SIGTERM", "Healthcheck", health_check(m), "Labels",
                     "org.opencontainers.image.title", "hadal", "org.opencontainers.image.version", get(m, "version"),
                     "org.opencontainers.image.description", "A private DeepSeek service in one program");
}

static json_t *config_json(const image *m)
{
    static const char never[] = "1970-01-01T00:00:00Z"; /* the same bytes at any time */
    char one[80], two[80];
    snprintf(one, sizeof one, "sha256:%s", m->diffs[0]);
    snprintf(two, sizeof two, "sha256:%s", m->diffs[1]);
    return json_pack("{s:s, s:s, s:s, s:o, s:{s:s, s:[s,s]}, s:[{s:s,s:s},{s:s,s:s}]}", "created", never,
                     "architecture", strcmp(m->program->machine, "x86_64") == 0 ? "amd64" : "arm64", "os", "linux",
                     "config", run_config(m), "rootfs", "type", "layers", "diff_ids", one, two, "history", "created",
                     never, "created_by", "hadal artifacts oci: libraries", "created", never, "created_by",
                     "hadal artifacts oci: program");
}

static json_t *descriptor(const char *type, const blob *b)
{
    char digest[80];
    snprintf(digest, sizeof digest, "sha256:%s", b->digest);
    return json_pack("{s:s, s:s, s:I}", "mediaType", type, "digest", digest, "size", (json_int_t)b->size);
}

static json_t *manifest_json(const image *m)
{
    return json_pack("{s:i, s:s, s:o, s:[o,o]}", "schemaVersion", 2, "mediaType", MEDIA "manifest.v1+json", "config",
                     descriptor(MEDIA "config.v1+json", &m->config), "layers",
                     descriptor(MEDIA "layer.v1.tar+gzip", &m->layers[0]),
                     descriptor(MEDIA "layer.v1.tar+gzip", &m->layers[1]));
}

/* The tag of the image's name; "latest" where it has none. */
static const char *tag_of(const char *name)
{
    const char *slash = strrchr(name, '/'), *colon = strrchr(name, ':');
    if (strchr(name, '@') || !colon || (slash && colon < slash) || !colon[1]) return "latest";
    return colon + 1;
}

static hd_status add_index(image *m, hd_error *err)
{
    hd_buf text;
    json_t *manifest = descriptor(MEDIA "manifest.v1+json", &m->manifest);
    json_t *named = json_pack("{s:s}", "org.opencontainers.image.ref.name", tag_of(get(m, "image")));
    if (json_object_set_new(manifest, "annotations", named) != 0) {
        json_decref(manifest);
        manifest = NULL;
    }
    hd_buf_init(&text, 1 << 20);
    hd_status status = hd_json_append(&text, json_pack("{s:i, s:s, s:[o]}", "schemaVersion", 2, "mediaType",
                                                       MEDIA "index.v1+json", "manifests", manifest));
    if (status != HD_OK) (void)hd_fail(err, status, "no memory for the image's index");
    if (status == HD_OK) status = hd_artifact_add(m->files, "index.json", 0644, text.data, text.len, err);
    hd_buf_free(&text);
    return status;
}

static hd_status make_image(image *m, hd_error *err)
{
    static const char layout[] = "{\"imageLayoutVersion\": \"1.0.0\"}\n";
    HD_TRY(hd_artifact_add(m->files, "oci-layout", 0644, layout, sizeof layout - 1, err));
    HD_TRY(add_layers(m, err));
    HD_TRY(add_json(m, config_json(m), &m->config, err));
    HD_TRY(add_json(m, manifest_json(m), &m->manifest, err));
    return add_index(m, err);
}

hd_status hd_artifact_oci(const hd_description *d, hd_artifact_files *files, hd_error *err)
{
    hd_program *program = NULL;
    HD_TRY(hd_program_open(&program, err));
    image m = {.d = d, .files = files, .program = program};
    hd_status status = make_image(&m, err);
    hd_program_close(&program);
    return status;
}
