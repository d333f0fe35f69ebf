/* A GGUF in the older form of MLA, made here from one in the newer form, gives the same logits.
 *
 * Newer files split kv_b into attn_k_b [heads][lora][nope] (transposed) and attn_v_b [heads][v][lora], and describe the
 * cached row (key_length = lora + rope) beside the width of a head (key_length_mla).  Older ones have a single
 * attn_kv_b [heads * (nope + v)][lora], key_length is the width of a head, and the _mla keys are absent. */
#include <string.h>

#include "conformance/reference.h"
#include "tensor/quant.h"
#include "unit/formats/build_gguf.h"

enum { ALIGNMENT = 32, MAX_BYTES = 1 << 28 };

/* A tensor of the file to write; `joint` owns data that were made here. */
typedef struct item {
    char name[128];
    hd_type type;
    int dims;
    int64_t shape[HD_MAX_DIMS];
    const void *data;
    size_t bytes;
    float *joint;
} item;

/* ---- metadata ---- */

static int scalar_bytes(hd_meta_type type)
{
    switch (type) {
    case HD_META_U8:
    case HD_META_I8:
    case HD_META_BOOL: return 1;
    case HD_META_U16:
    case HD_META_I16: return 2;
    case HD_META_U64:
    case HD_META_I64:
    case HD_META_F64: return 8;
    default: return 4;
    }
}

static void put_view(hd_buf *b, hd_str s)
{
    put_bytes(b, s.data, s.len);
}

static void copy_meta(hd_buf *b, const hd_meta *m)
{
    put_view(b, m->key);
    put_u32(b, m->type);
    if (m->type == HD_META_STRING) {
        put_view(b, m->string);
    } else if (m->type == HD_META_ARRAY) {
        put_u32(b, m->elem);
        put_u64(b, m->count);
        for (uint64_t i = 0; m->elem == HD_META_STRING && i < m->count; i++)
            put_view(b, m->strings[i]);
        if (m->elem != HD_META_STRING)
            (void)hd_buf_append(b, m->data, (size_t)m->count * (size_t)scalar_bytes(m->elem));
    } else
        (void)hd_buf_append(b, m->data, (size_t)scalar_bytes(m->type));
}

static bool key_is(const hd_meta *m, const char *name)
{
    return m->key.len == strlen(name) && memcmp(m->key.data, name, m->key.len) == 0;
}

static uint64_t number(const hd_checkpoint *file, const char *name)
{
    uint64_t v = 0;
    const hd_meta *m = hd_checkpoint_meta(file, name);
    if (!m || !hd_meta_u64(m, 0, &v)) fail_msg("no number %s", name);
    return v;
}

/* The keys of the older form; gives how many were written. */
static uint64_t put_old_metas(hd_buf *b, const hd_checkpoint *file)
{
    uint64_t written = 0;
    for (size_t i = 0; i < hd_checkpoint_meta_count(file); i++) {
        const hd_meta *m = hd_checkpoint_meta_at(file, i);
        if (key_is(m, "deepseek2.attention.key_length_mla") || key_is(m, "deepseek2.attention.value_length_mla") ||
            key_is(m, "general.alignment"))
            continue;
        if (key_is(m, "deepseek2.attention.key_length"))
            put_scalar(b, "deepseek2.attention.key_length", HD_META_U32,
                       number(file, "deepseek2.attention.key_length_mla"), 4);
        else if (key_is(m, "deepseek2.attention.value_length"))
            put_scalar(b, "deepseek2.attention.value_length", HD_META_U32,
                       number(file, "deepseek2.attention.value_length_mla"), 4);
        else if (key_is(m, "deepseek2.attention.head_count_kv"))
            put_scalar(b, "deepseek2.attention.head_count_kv", HD_META_U32,
                       number(file, "deepseek2.attention.head_count"), 4);
        else
            copy_meta(b, m);
        written++;
    }
    return written;
}

/* ---- tensors ---- */

static float *decoded(const hd_tensor *t)
{
    int64_t n = t->shape[0] * t->shape[1] * t->shape[2];
    float *values = hd_alloc_array((size_t)n, sizeof *values);
    assert_non_null(values);
    assert_true(hd_decode_row(t->type, t->data, values, n));
    return values;
}

/* Rows of a head: its nope keys, then its v values. */
static float *join(const hd_tensor *k_b, const hd_tensor *v_b)
{
    int64_t heads = k_b->shape[0], lora = k_b->shape[1], nope = k_b->shape[2], v = v_b->shape[1];
    float *k = decoded(k_b), *values = decoded(v_b);
    float *joint = hd_alloc_array((size_t)(heads * (nope + v) * lora), sizeof *joint);
    assert_non_null(joint);
    for (int64_t h = 0; h < heads; h++) {
        float *to = joint + h * (nope + v) * lora;
        for (int64_t r = 0; r < nope; r++)
            for (int64_t l = 0; l < lora; l++)
                to[r * lora + l] = k[(h * lora + l) * nope + r];
        memcpy(to + nope * lora, values + h * v * lora, (size_t)(v * lora) * sizeof *to);
    }
    hd_free(k);
    hd_free(values);
    return joint;
}

/* bf16 values lose nothing when they become bf16 again: so the joint matrix keeps that type, as converters wrote it. */
static void narrow(item *it, int64_t n)
{
    uint16_t *half = (uint16_t *)(void *)it->joint;
    for (int64_t i = 0; i < n; i++) {
        uint32_t bits;
        memcpy(&bits, &it->joint[i], sizeof bits);
        half[i] = (uint16_t)(bits >> 16);
    }
    it->type = HD_TYPE_BF16;
    it->bytes = (size_t)n * 2;
}

static void make_joint(item *it, const hd_checkpoint *file, const hd_tensor *k_b)
{
    int layer;
    char name[64];
    if (sscanf(k_b->name, "blk.%d.", &layer) != 1) fail_msg("%s", k_b->name);
    snprintf(name, sizeof name, "blk.%d.attn_v_b.weight", layer);
    const hd_tensor *v_b = hd_checkpoint_find(file, name);
    assert_non_null(v_b);
    int64_t rows = k_b->shape[0] * (k_b->shape[2] + v_b->shape[1]), lora = k_b->shape[1];
    *it = (item){.type = HD_TYPE_F32, .dims = 2, .shape = {rows, lora}, .joint = join(k_b, v_b)};
    snprintf(it->name, sizeof it->name, "blk.%d.attn_kv_b.weight", layer);
    it->data = it->joint;
    it->bytes = (size_t)(rows * lora) * sizeof(float);
    if (k_b->type == HD_TYPE_BF16 && v_b->type == HD_TYPE_BF16) narrow(it, rows * lora);
}

static size_t old_tensors(item *items, const hd_checkpoint *file)
{
    size_t n = 0;
    for (size_t i = 0; i < hd_checkpoint_tensor_count(file); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(file, i);
        if (strstr(t->name, "attn_v_b")) continue;
        item *it = &items[n++];
        if (strstr(t->name, "attn_k_b")) {
            make_joint(it, file, t);
            continue;
        }
        *it = (item){.type = t->type, .dims = t->dims, .data = t->data, .bytes = t->bytes};
        snprintf(it->name, sizeof it->name, "%s", t->name);
        memcpy(it->shape, t->shape, sizeof it->shape);
    }
    return n;
}

static uint32_t gguf_type(hd_type type)
{
    hd_type found;
    for (uint32_t id = 0; id < 256; id++)
        if (hd_type_from_gguf(id, &found) && found == type) return id;
    fail_msg("%s is not a type of GGUF", hd_type_name(type));
    return 0;
}

static void put_items(hd_buf *b, const item *items, size_t count)
{
    uint64_t offset = 0;
    for (size_t i = 0; i < count; i++) {
        uint64_t reversed[HD_MAX_DIMS];
        for (int d = 0; d < items[i].dims; d++)
            reversed[d] = (uint64_t)items[i].shape[items[i].dims - 1 - d];
        put_tensor(b, items[i].name, (uint32_t)items[i].dims, reversed, gguf_type(items[i].type), offset);
        offset += (items[i].bytes + ALIGNMENT - 1) / ALIGNMENT * ALIGNMENT;
    }
    for (size_t i = 0; i < count; i++) {
        put_padding(b, ALIGNMENT);
        (void)hd_buf_append(b, items[i].data, items[i].bytes);
    }
    put_padding(b, ALIGNMENT);
}

/* ---- the test ---- */

static void write_old_form(const char *path, const char *model)
{
    hd_error err = {0};
    hd_checkpoint *file;
    hd_buf metas, whole;
    must(hd_checkpoint_open(&file, model, &err), &err);
    item *items = hd_calloc(hd_checkpoint_tensor_count(file), sizeof *items);
    assert_non_null(items);
    hd_buf_init(&metas, MAX_BYTES);
    hd_buf_init(&whole, MAX_BYTES);
    uint64_t meta_count = put_old_metas(&metas, file);
    size_t count = old_tensors(items, file);
    assert_true(count < hd_checkpoint_tensor_count(file)); /* the model does have MLA */
    put_head(&whole, 3, count, meta_count);
    (void)hd_buf_append(&whole, metas.data, metas.len);
    put_items(&whole, items, count);
    assert_int_equal(whole.status, HD_OK);
    FILE *f = fopen(path, "wb");
    assert_non_null(f);
    assert_int_equal(fwrite(whole.data, 1, whole.len, f), whole.len);
    assert_int_equal(fclose(f), 0);
    for (size_t i = 0; i < count; i++)
        hd_free(items[i].joint);
    hd_free(items);
    hd_buf_free(&metas);
    hd_buf_free(&whole);
    hd_checkpoint_close(&file);
}

/* Logits of all positions of the first prompts; the caller frees them. */
static float *all_logits(const char *model, const reference *r, size_t *count)
{
    hd_engine *e;
    hd_session *s;
    hd_engine_info info;
    hd_error err = {0};
    hd_engine_options options = {.cpu = "reference"};
    must(hd_engine_open(&e, model, &options, &err), &err);
    hd_engine_get_info(e, &info);
    *count = (size_t)r->prompt->shape[0] * (size_t)info.vocab;
    float *logits = hd_alloc_array(*count, sizeof *logits);
    assert_non_null(logits);
    must(hd_session_open(&s, e, &err), &err);
    must(hd_session_feed_all(s, r->prompt->data, r->prompt->shape[0], logits, &err), &err);
    hd_session_close(&s);
    hd_engine_close(&e);
    return logits;
}

/* Both forms give the same bits: their weights are the same and the engine reads them in the same order. */
static void compare(const char *expected, const char *model)
{
    char old[] = "/tmp/hadal-legacy-XXXXXX";
    hd_error err = {0};
    reference r = {0};
    int fd = mkstemp(old);
    assert_true(fd >= 0);
    close(fd);
    write_old_form(old, model);
    must(hd_checkpoint_open(&r.file, expected, &err), &err);
    for (int n = 0; find_case(&r, n); n++) {
        size_t count, again;
        float *a = all_logits(model, &r, &count), *b = all_logits(old, &r, &again);
        assert_int_equal(count, again);
        float worst = worst_difference(a, b, count);
        printf("  %lld tokens: largest difference %g\n", (long long)r.prompt->shape[0], (double)worst);
        if (!(worst == 0.0f)) fail_msg("%s: logits differ by %g", model, worst);
        hd_free(a);
        hd_free(b);
    }
    hd_checkpoint_close(&r.file);
    unlink(old);
}

static void compare_in(const char *folder)
{
    char expected[HD_TEST_PATH + 32], model[HD_TEST_PATH + 32];
    snprintf(expected, sizeof expected, "%s/expected.safetensors", folder);
    snprintf(model, sizeof model, "%s/model.gguf", folder);
    if (access(model, R_OK) != 0) skip();
    compare(expected, model);
}

static void golden(void **state)
{
    char folder[HD_TEST_PATH], relative[64];
    snprintf(relative, sizeof relative, "models/%s", (const char *)*state);
    if (!hd_test_golden(folder, relative)) skip();
    compare_in(folder);
}

static void mixed_types(void **state)
{
    char folder[HD_TEST_PATH];
    (void)state;
    assert_true(hd_test_file(folder, "tests/data/golden-extra/deepseek-v3-gguf"));
    compare_in(folder);
}

int main(void)
{
#define MODEL(name)                                                                                                    \
    {                                                                                                                  \
        name, golden, NULL, NULL, (void *)(uintptr_t)name                                                              \
    }
    const struct CMUnitTest tests[] = {
        MODEL("deepseek-v2-lite"),
        MODEL("deepseek-v3"),
        cmocka_unit_test(mixed_types),
    };
    return cmocka_run_group_tests_name("legacy_mla", tests, NULL, NULL);
}
