/* Every conversion of golden/models keeps what the reference says of them: safetensors to GGUF and back, in one file
 * and in several; to MindSpore's files and back; and our GGUF is, tensor by tensor and key by key, what llama.cpp's
 * conversion made of the same model.
 */
#include <string.h>
#include <sys/stat.h>

#include "conformance/reference.h"
#include "hadal/chat.h"
#include "quantize/convert.h"
#include "tensor/quant.h"

static char scratch[] = "/tmp/hadal-convert-XXXXXX";

static void remove_scratch_files(void)
{
    char command[256];
    snprintf(command, sizeof command, "rm -rf %s/*", scratch);
    if (system(command) != 0) fail_msg("%s", command); /* hd-lint: allow: a test's own folder */
}

typedef struct opened {
    hd_checkpoint *ckpt;
    hd_tokenizer *tok;
    hd_source *source;
    hd_type *types;
} opened;

static void open_as(opened *o, const char *path, hd_format layout)
{
    hd_error err = {0};
    must(hd_checkpoint_open(&o->ckpt, path, &err), &err);
    must(hd_tokenizer_open(&o->tok, path, &err), &err);
    if (layout == HD_FORMAT_GGUF)
        must(hd_source_open_gguf(&o->source, o->ckpt, o->tok, "test", &err), &err);
    else
        must(hd_source_open_release(&o->source, o->ckpt, &err), &err);
    o->types = hd_alloc_array(hd_source_count(o->source), sizeof *o->types);
    for (size_t i = 0; i < hd_source_count(o->source); i++)
        o->types[i] = hd_source_tensor(o->source, i)->type;
}

static void close_all(opened *o)
{
    hd_free(o->types);
    hd_source_close(&o->source);
    hd_tokenizer_close(&o->tok);
    hd_checkpoint_close(&o->ckpt);
}

/* FP8 is widened to float32 here, so that nothing is rounded; `split` 0: one file. */
static void to_gguf(const char *from, const char *to, uint64_t split)
{
    hd_error err = {0};
    opened o;
    hd_quant_options options = {.split = split};
    open_as(&o, from, HD_FORMAT_GGUF);
    for (size_t i = 0; i < hd_source_count(o.source); i++)
        if (strstr(from, "fp8")) o.types[i] = HD_TYPE_F32;
    must(hd_quantize(o.source, o.types, NULL, to, &options, &err), &err);
    close_all(&o);
}

/* FP8 is widened here, too. */
static void to_files(const char *from, const char *to, hd_release_files files, uint64_t split)
{
    hd_error err = {0};
    opened o;
    hd_quant_options options = {.split = split, .files = files};
    open_as(&o, from, HD_FORMAT_SAFETENSORS);
    for (size_t i = 0; i < hd_source_count(o.source); i++)
        if (strstr(from, "fp8")) o.types[i] = HD_TYPE_F32;
    must(hd_convert_release(o.source, o.types, o.tok, to, &options, &err), &err);
    close_all(&o);
}

static void to_release(const char *from, const char *to, uint64_t split)
{
    to_files(from, to, HD_FILES_SAFETENSORS, split);
}

/* ---- comparisons ---- */

static void check_equal_tensors(const char *one, const char *other)
{
    hd_checkpoint *a, *b;
    hd_error err = {0};
    must(hd_checkpoint_open(&a, one, &err), &err);
    must(hd_checkpoint_open(&b, other, &err), &err);
    assert_int_equal(hd_checkpoint_tensor_count(a), hd_checkpoint_tensor_count(b));
    for (size_t i = 0; i < hd_checkpoint_tensor_count(a); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(a, i), *u = hd_checkpoint_find(b, t->name);
        if (!u) fail_msg("%s: %s is missing", other, t->name);
        if (t->type != u->type || t->dims != u->dims || memcmp(t->shape, u->shape, sizeof t->shape) != 0)
            fail_msg("%s: %s has another type or shape", other, t->name);
        if (memcmp(t->data, u->data, t->bytes) != 0) fail_msg("%s: %s has other bytes", other, t->name);
    }
    hd_checkpoint_close(&a);
    hd_checkpoint_close(&b);
}

static bool same_number(const hd_meta *a, const hd_meta *b)
{
    double x, y;
    bool p, q;
    if (hd_meta_bool(a, &p)) return hd_meta_bool(b, &q) && p == q;
    return hd_meta_f64(a, 0, &x) && hd_meta_f64(b, 0, &y) && fabs(x - y) <= 1e-6 * fabs(x);
}

static bool same_text(hd_str a, hd_str b)
{
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static bool same_array(const hd_meta *a, const hd_meta *b)
{
    if (a->elem != b->elem || a->count != b->count) return false;
    for (uint64_t i = 0; i < a->count; i++) {
        int64_t x, y;
        if (a->elem == HD_META_STRING && !same_text(a->strings[i], b->strings[i])) return false;
        if (a->elem != HD_META_STRING && (!hd_meta_i64(a, i, &x) || !hd_meta_i64(b, i, &y) || x != y)) return false;
    }
    return true;
}

static bool same_value(const hd_meta *a, const hd_meta *b)
{
    if (a->type != b->type) return false;
    if (a->type == HD_META_STRING) return same_text(a->string, b->string);
    return a->type == HD_META_ARRAY ? same_array(a, b) : same_number(a, b);
}

/* All keys of llama.cpp's conversion but those that only describe (the name, what it was made of). */
static void check_metadata(const char *theirs, const char *ours)
{
    hd_checkpoint *a, *b;
    hd_error err = {0};
    must(hd_checkpoint_open(&a, theirs, &err), &err);
    must(hd_checkpoint_open(&b, ours, &err), &err);
    for (size_t i = 0; i < hd_checkpoint_meta_count(a); i++) {
        const hd_meta *m = hd_checkpoint_meta_at(a, i), *n;
        char key[128];
        snprintf(key, sizeof key, "%.*s", (int)m->key.len, m->key.data);
        bool describes = strncmp(key, "general.", 8) == 0 && strcmp(key, "general.architecture") != 0 &&
                         strcmp(key, "general.file_type") != 0;
        n = hd_checkpoint_meta(b, key);
        if (describes || (n && same_value(m, n))) continue;
        fail_msg("%s: %s %s", ours, key, n ? "has another value" : "is missing");
    }
    hd_checkpoint_close(&a);
    hd_checkpoint_close(&b);
}

static void encode(const char *path, const char *text, hd_ids *ids)
{
    hd_tokenizer *tok;
    hd_error err = {0};
    must(hd_tokenizer_open(&tok, path, &err), &err);
    must(hd_tokenizer_encode(tok, text, strlen(text), true, NULL, ids, &err), &err);
    hd_tokenizer_close(&tok);
}

static void check_tokenizer(const char *one, const char *other)
{
    static const char text[] = "<｜User｜>It's 12345 tests, naïve 你好世界!\n\n  x += 1;<｜Assistant｜>";
    hd_ids a = {0}, b = {0};
    encode(one, text, &a);
    encode(other, text, &b);
    assert_int_equal(a.len, b.len);
    assert_memory_equal(a.data, b.data, a.len * sizeof *a.data);
    hd_ids_free(&a);
    hd_ids_free(&b);
}

/* ---- the paths ---- */

/* As a checkpoint of MindSpore, in one file and in several, it is the model that it was, and so are a GGUF file and
 * safetensors made of it. */
static void check_mindspore(const char *folder, bool widened)
{
    char one[128], several[128], index[160], gguf[128], back[128], direct[128];
    snprintf(one, sizeof one, "%s/one", scratch);
    snprintf(several, sizeof several, "%s/several", scratch);
    snprintf(index, sizeof index, "%s/model.ckpt.index.json", several);
    snprintf(gguf, sizeof gguf, "%s/from-ckpt.gguf", scratch);
    snprintf(back, sizeof back, "%s/back", scratch);
    snprintf(direct, sizeof direct, "%s/direct", scratch);
    to_files(folder, one, HD_FILES_MINDSPORE, 0);
    check_model(folder, one, one);
    check_tokenizer(folder, one);
    to_release(folder, direct, 0);
    check_equal_tensors(direct, one);
    if (!widened) check_equal_tensors(folder, one);
    to_files(one, several, HD_FILES_MINDSPORE, 1 << 20);
    assert_int_equal(access(index, R_OK), 0);
    check_equal_tensors(one, several);
    to_release(several, back, 0);
    check_equal_tensors(one, back);
    to_gguf(one, gguf, 0);
    check_model(folder, gguf, gguf);
    remove_scratch_files();
}

static void test_model(void **state)
{
    const char *name = *state;
    char relative[128], folder[HD_TEST_PATH], theirs[HD_TEST_PATH + 16], gguf[128], part[128], back[128];
    snprintf(relative, sizeof relative, "models/%s", name);
    if (!hd_test_golden(folder, relative)) skip();
    snprintf(theirs, sizeof theirs, "%s/model.gguf", folder);
    snprintf(gguf, sizeof gguf, "%s/%s.gguf", scratch, name);
    snprintf(part, sizeof part, "%s/split-00001-of-00003.gguf", scratch);
    snprintf(back, sizeof back, "%s/%s", scratch, name);

    to_gguf(folder, gguf, 0);
    check_model(folder, gguf, gguf);
    check_tokenizer(folder, gguf);
    if (access(theirs, R_OK) == 0) check_equal_tensors(theirs, gguf);
    if (access(theirs, R_OK) == 0) check_metadata(theirs, gguf);

    to_release(gguf, back, 0);
    check_model(folder, back, back);
    check_tokenizer(folder, back);
    if (!strstr(name, "fp8")) check_equal_tensors(folder, back);
    remove_scratch_files();
    check_mindspore(folder, strstr(name, "fp8"));
}

/* Several files hold the same as one. */
static void test_split(void **state)
{
    char folder[HD_TEST_PATH], one[128], several[128], first[160], back[128];
    struct stat st;
    (void)state;
    if (!hd_test_golden(folder, "models/qwen2")) skip();
    snprintf(one, sizeof one, "%s/one.gguf", scratch);
    snprintf(several, sizeof several, "%s/several.gguf", scratch);
    snprintf(back, sizeof back, "%s/back", scratch);
    to_gguf(folder, one, 0);
    assert_int_equal(stat(one, &st), 0);
    to_gguf(folder, several, (uint64_t)st.st_size / 3);
    snprintf(first, sizeof first, "%s/several-00001-of-00004.gguf", scratch);
    if (access(first, R_OK) != 0) snprintf(first, sizeof first, "%s/several-00001-of-00003.gguf", scratch);
    check_equal_tensors(one, first);
    check_tokenizer(one, first);
    to_release(first, back, (uint64_t)st.st_size / 3);
    check_equal_tensors(folder, back);
    check_model(folder, back, back);
    remove_scratch_files();
}

static int make_scratch(void **state)
{
    (void)state;
    return mkdtemp(scratch) ? 0 : -1;
}

static int remove_scratch(void **state)
{
    (void)state;
    return rmdir(scratch);
}

int main(void)
{
#define MODEL(name)                                                                                                    \
    {                                                                                                                  \
        "conversions of " name, test_model, NULL, NULL, (void *)(uintptr_t)name                                        \
    }
    const struct CMUnitTest tests[] = {
        MODEL("llama"),           MODEL("llama3-rope"),      MODEL("qwen2"),
        MODEL("qwen3"),           MODEL("deepseek-v2"),      MODEL("deepseek-v3"),
        MODEL("deepseek-v3-fp8"), MODEL("deepseek-v2-lite"), cmocka_unit_test(test_split),
    };
    return cmocka_run_group_tests_name("convert", tests, make_scratch, remove_scratch);
}
