/* seed_formats.c: writes the good and bad files of the unit tests as seeds of the fuzzers:
 *     seed-formats CORPUS            writes CORPUS/{gguf,...,imatrix,pickle,torch,mindspore,config,checkpoint}/...
 *     seed-formats --check CORPUS    compares instead; exit 1 when one is missing or differs
 * so that whoever adds a bad file to a catalogue also adds it to the corpus. */
#include <stdio.h>
#include <string.h>

#include "unit/formats/bad_gguf.h"
#include "unit/formats/bad_imatrix.h"
#include "unit/formats/bad_index.h"
#include "unit/formats/bad_mindspore.h"
#include "unit/formats/bad_safetensors.h"
#include "unit/formats/bad_torch.h"
#include "unit/formats/good_gguf.h"
#include "unit/formats/good_mindspore.h"
#include "unit/formats/good_safetensors.h"
#include "unit/models/bad_config.h"
#include "unit/models/bad_config_gguf.h"

static void good_v2(hd_buf *b)
{
    put_every_type(b, 2);
}

static void good_v3(hd_buf *b)
{
    put_every_type(b, 3);
}

static void good_part(hd_buf *b)
{
    put_part(b, 0, 2, "first", 2);
}

static void split_name(hd_buf *b)
{
    (void)hd_buf_puts(b, "model-00002-of-00009.gguf");
}

static void split_name_wrong(hd_buf *b)
{
    (void)hd_buf_puts(b, "model-0000x-of-00009.gguf");
}

static const bad_file good_gguf[] = {
    {"good-v2", good_v2, HD_OK, NULL},
    {"good-v3", good_v3, HD_OK, NULL},
    {"good-odd-shapes", put_odd_shapes, HD_OK, NULL},
    {"good-nothing", put_nothing, HD_OK, NULL},
    {"good-part", good_part, HD_OK, NULL},
    {"name-of-a-part", split_name, HD_OK, NULL},
    {"name-of-no-part", split_name_wrong, HD_OK, NULL},
};

static const bad_file good_safetensors[] = {
    {"good-every-dtype", put_every_dtype, HD_OK, NULL},
    {"good-no-tensors", put_no_tensors, HD_OK, NULL},
    {"good-misaligned", put_misaligned, HD_OK, NULL},
};

static const bad_file good_mindspore[] = {
    {"good-every-type", put_every_mindspore_type, HD_OK, NULL},
    {"good-slices", put_mindspore_slices, HD_OK, NULL},
};

static void good_llama(hd_buf *b)
{
    put_metas(b, good_llama_gguf, HD_ARRAY_LEN(good_llama_gguf), NULL);
}

static void good_deepseek2(hd_buf *b)
{
    put_metas(b, good_deepseek2_gguf, HD_ARRAY_LEN(good_deepseek2_gguf), NULL);
}

static const bad_file good_checkpoint[] = {
    {"good-llama", good_llama, HD_OK, NULL},
    {"good-deepseek2", good_deepseek2, HD_OK, NULL},
    {"good-odd-shapes", put_odd_shapes, HD_OK, NULL},
    {"good-misaligned", put_misaligned, HD_OK, NULL},
    {"good-every-dtype", put_every_dtype, HD_OK, NULL},
    {"good-torch", put_torch_views, HD_OK, NULL},
    {"good-mindspore", put_every_mindspore_type, HD_OK, NULL},
    {"good-mindspore-slices", put_mindspore_slices, HD_OK, NULL},
};

static const bad_file good_torch[] = {
    {"good-matrix", put_torch_matrix, HD_OK, NULL},
    {"good-wide", put_torch_wide, HD_OK, NULL},
    {"good-views", put_torch_views, HD_OK, NULL},
    {"good-misaligned", put_torch_misaligned, HD_OK, NULL},
};

static const bad_file good_imatrix[] = {
    {"good", put_good_imatrix, HD_OK, NULL},
    {"good-old", put_old_imatrix, HD_OK, NULL},
    {"good-old-short", put_old_imatrix_short, HD_OK, NULL},
};

static const bad_file good_index[] = {{"good", put_good_index, HD_OK, NULL}};

/* True when the file holds exactly these bytes. */
static bool same(const char *path, const hd_buf *b)
{
    FILE *f = fopen(path, "rb");
    if (!f) return false;
    bool equal = true;
    for (size_t i = 0; i < b->len && equal; i++)
        equal = fgetc(f) == (uint8_t)b->data[i];
    equal = equal && fgetc(f) == EOF;
    fclose(f);
    return equal;
}

static bool write_file(const char *path, const hd_buf *b)
{
    FILE *f = fopen(path, "wb");
    if (!f) return false;
    bool written = !b->len || fwrite(b->data, 1, b->len, f) == b->len;
    return fclose(f) == 0 && written;
}

/* What a row changes, as the end of a file name: names must not move when a row is added. */
static void append_value(char *name, size_t size, const char *value)
{
    size_t len = strlen(name);
    for (size_t i = 0; value[i] && i < 40 && len + 1 < size; i++)
        name[len++] = strchr("0123456789.-+abcdefghijklmnopqrstuvwxyz_", value[i]) ? value[i] : '~';
    name[len] = '\0';
}

/* Writes or compares one seed; gives the number that failed. */
static int seed_one(const char *corpus, const char *fuzzer, const char *name, const hd_buf *b, bool check)
{
    char path[4096];
    snprintf(path, sizeof path, "%s/%s/%s", corpus, fuzzer, name);
    if (b->status == HD_OK && (check ? same(path, b) : write_file(path, b))) return 0;
    fprintf(stderr, "%s: %s\n", path,
            check ? "missing, or not what the catalogue builds" : "too large, or cannot write");
    return 1;
}

static int seed(const char *corpus, const char *fuzzer, const bad_file *list, size_t count, bool check)
{
    int failed = 0;
    for (size_t i = 0; i < count; i++) {
        hd_buf b;
        hd_buf_init(&b, BAD_FILE_SEED_MAX);
        list[i].build(&b);
        failed += seed_one(corpus, fuzzer, list[i].name, &b, check);
        hd_buf_free(&b);
    }
    return failed;
}

static int seed_pickles(const char *corpus, bool check)
{
    int failed = 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(good_pickles) + HD_ARRAY_LEN(bad_pickles); i++) {
        const good_pickle *good = i < HD_ARRAY_LEN(good_pickles) ? &good_pickles[i] : NULL;
        const bad_pickle *bad = good ? NULL : &bad_pickles[i - HD_ARRAY_LEN(good_pickles)];
        hd_buf b;
        hd_buf_init(&b, BAD_FILE_SEED_MAX);
        (void)hd_buf_append(&b, good ? good->bytes : bad->bytes, good ? good->len : bad->len);
        failed += seed_one(corpus, "pickle", good ? good->name : bad->name, &b, check);
        hd_buf_free(&b);
    }
    return failed;
}

static int seed_configs(const char *corpus, bool check)
{
    int failed = 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(good_configs) + HD_ARRAY_LEN(bad_configs); i++) {
        hd_buf b;
        char name[128];
        hd_buf_init(&b, 1 << 16);
        if (i < HD_ARRAY_LEN(good_configs)) {
            snprintf(name, sizeof name, "good-%s", good_configs[i].name);
            (void)hd_buf_puts(&b, good_configs[i].config);
            (void)hd_buf_putc(&b, 0);
            (void)hd_buf_puts(&b, good_generation);
        } else {
            const bad_config *bad = &bad_configs[i - HD_ARRAY_LEN(good_configs)];
            snprintf(name, sizeof name, "bad-%s-%s-", bad->base, bad->key);
            append_value(name, sizeof name, bad->value ? bad->value : "none");
            failed += !put_bad_config(&b, bad);
        }
        failed += seed_one(corpus, "config", name, &b, check);
        hd_buf_free(&b);
    }
    return failed;
}

static int seed_metas(const char *corpus, bool check)
{
    int failed = 0;
    for (size_t i = 0; i < HD_ARRAY_LEN(bad_metas); i++) {
        hd_buf b;
        char name[128];
        hd_buf_init(&b, 1 << 16);
        const meta_value *v = &bad_metas[i].value;
        snprintf(name, sizeof name, "bad-%s-%d-%.0f-", v->key, (int)v->type, v->number);
        append_value(name, sizeof name, v->text ? v->text : "");
        put_bad_meta(&b, &bad_metas[i]);
        failed += seed_one(corpus, "checkpoint", name, &b, check);
        hd_buf_free(&b);
    }
    return failed;
}

int main(int argc, char **argv)
{
    bool check = argc == 3 && strcmp(argv[1], "--check") == 0;
    if (argc != 2 + check) {
        fprintf(stderr, "usage: seed-formats [--check] CORPUS\n");
        return 2;
    }
    const char *corpus = argv[1 + check];
    int failed = seed(corpus, "gguf", good_gguf, HD_ARRAY_LEN(good_gguf), check) +
                 seed(corpus, "gguf", bad_gguf, HD_ARRAY_LEN(bad_gguf), check) +
                 seed(corpus, "safetensors", good_safetensors, HD_ARRAY_LEN(good_safetensors), check) +
                 seed(corpus, "safetensors", bad_safetensors, HD_ARRAY_LEN(bad_safetensors), check) +
                 seed(corpus, "mindspore", good_mindspore, HD_ARRAY_LEN(good_mindspore), check) +
                 seed(corpus, "mindspore", bad_mindspore, HD_ARRAY_LEN(bad_mindspore), check) +
                 seed(corpus, "index", good_index, HD_ARRAY_LEN(good_index), check) +
                 seed(corpus, "index", bad_index, HD_ARRAY_LEN(bad_index), check) +
                 seed(corpus, "imatrix", good_imatrix, HD_ARRAY_LEN(good_imatrix), check) +
                 seed(corpus, "imatrix", bad_imatrix, HD_ARRAY_LEN(bad_imatrix), check) +
                 seed(corpus, "torch", good_torch, HD_ARRAY_LEN(good_torch), check) +
                 seed(corpus, "torch", bad_zip, HD_ARRAY_LEN(bad_zip), check) +
                 seed(corpus, "torch", bad_torch, HD_ARRAY_LEN(bad_torch), check) + seed_pickles(corpus, check) +
                 seed(corpus, "checkpoint", good_checkpoint, HD_ARRAY_LEN(good_checkpoint), check) +
                 seed_configs(corpus, check) + seed_metas(corpus, check);
    return failed ? 1 : 0;
}
