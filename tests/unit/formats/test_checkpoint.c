/* Models as they lie on disk: files, folders, split parts, indexes, what is missing or at odds, and files that change
 * while they are open. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>

#include <cmocka.h>
#include <dirent.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "formats/formats.h"
#include "unit/formats/good_gguf.h"
#include "unit/formats/good_mindspore.h"
#include "unit/formats/good_safetensors.h"
#include "unit/formats/good_torch.h"

#define TWO_PART_INDEX "model.safetensors.index.json"

static char folder[64];
static hd_buf bytes;

/* ---- a folder of its own for each test ---- */

static int set_up(void **state)
{
    (void)state;
    hd_buf_init(&bytes, (size_t)64 << 20);
    snprintf(folder, sizeof folder, "/tmp/hadal-checkpoint-XXXXXX");
    return mkdtemp(folder) ? 0 : -1;
}

static const char *in(const char *name)
{
    static char path[4][512];
    static int turn;
    char *p = path[turn++ % 4];
    snprintf(p, 512, "%s/%s", folder, name);
    return p;
}

static int tear_down(void **state)
{
    (void)state;
    hd_buf_free(&bytes);
    DIR *dir = opendir(folder);
    for (struct dirent *e; dir && (e = readdir(dir));) {
        if (strcmp(e->d_name, ".") == 0 || strcmp(e->d_name, "..") == 0) continue;
        if (unlink(in(e->d_name)) != 0) rmdir(in(e->d_name));
    }
    if (dir) closedir(dir);
    return rmdir(folder);
}

/* Writes what was built so far and starts the next file. */
static void save(const char *name)
{
    FILE *f = fopen(in(name), "wb");
    assert_non_null(f);
    assert_int_equal(bytes.status, HD_OK);
    if (bytes.len) assert_int_equal(fwrite(bytes.data, 1, bytes.len, f), bytes.len);
    assert_int_equal(fclose(f), 0);
    hd_buf_clear(&bytes);
}

static void save_text(const char *name, const char *text)
{
    (void)hd_buf_puts(&bytes, text);
    save(name);
}

static hd_checkpoint *open_ok(const char *path)
{
    hd_checkpoint *ckpt = NULL;
    hd_error err = {0};
    if (hd_checkpoint_open(&ckpt, path, &err) != HD_OK) fail_msg("%s", err.text);
    assert_string_equal(hd_checkpoint_path(ckpt), path);
    return ckpt;
}

static void refuse(const char *path, hd_status status, const char *words)
{
    hd_checkpoint *ckpt = (hd_checkpoint *)folder;
    hd_error err = {0};
    hd_status got = hd_checkpoint_open(&ckpt, path, &err);
    assert_null(ckpt);
    if (got != status || !strstr(err.text, words))
        fail_msg("status %d, wanted %d; \"%s\" should contain \"%s\"", (int)got, (int)status, err.text, words);
}

/* ---- what a path holds ---- */

static void a_gguf_file(void **state)
{
    (void)state;
    put_every_type(&bytes, 3);
    save("m.gguf");
    hd_checkpoint *c = open_ok(in("m.gguf"));
    assert_int_equal(hd_checkpoint_format(c), HD_FORMAT_GGUF);
    assert_int_equal(hd_checkpoint_tensor_count(c), 2);
    assert_string_equal(hd_checkpoint_tensor(c, 0)->name, "matrix");
    assert_ptr_equal(hd_checkpoint_find(c, "vector"), hd_checkpoint_tensor(c, 1));
    assert_null(hd_checkpoint_tensor(c, 2));
    assert_null(hd_checkpoint_find(c, "vecto"));
    assert_int_equal(hd_checkpoint_meta_count(c), 25);
    assert_ptr_equal(hd_checkpoint_meta(c, "s.u8"), hd_checkpoint_meta_at(c, 0));
    assert_null(hd_checkpoint_meta_at(c, 25));
    assert_null(hd_checkpoint_meta(c, "s.u9"));
    assert_null(hd_checkpoint_config(c));
    assert_null(hd_checkpoint_generation_config(c));
    hd_checkpoint_close(&c);
    assert_null(c);
    hd_checkpoint_close(&c);
}

static void a_gguf_file_of_another_name(void **state)
{
    (void)state;
    put_every_type(&bytes, 2);
    save("sha256-0123");
    hd_checkpoint *c = open_ok(in("sha256-0123"));
    assert_int_equal(hd_checkpoint_format(c), HD_FORMAT_GGUF);
    hd_checkpoint_close(&c);
    put_every_dtype(&bytes);
    save("blob");
    c = open_ok(in("blob"));
    assert_int_equal(hd_checkpoint_format(c), HD_FORMAT_SAFETENSORS);
    hd_checkpoint_close(&c);
}

static void a_folder_with_configs(void **state)
{
    (void)state;
    put_every_dtype(&bytes);
    save("model.safetensors");
    save_text("config.json", "{\"model_type\": \"llama\"}");
    save_text("generation_config.json", "{\"eos_token_id\": [1, 2]}");
    hd_checkpoint *c = open_ok(folder);
    assert_int_equal(hd_checkpoint_format(c), HD_FORMAT_SAFETENSORS);
    assert_string_equal(json_string_value(json_object_get(hd_checkpoint_config(c), "model_type")), "llama");
    assert_int_equal(json_array_size(json_object_get(hd_checkpoint_generation_config(c), "eos_token_id")), 2);
    assert_int_equal(hd_checkpoint_meta_count(c), 0);
    assert_null(hd_checkpoint_meta(c, "general.name"));
    hd_checkpoint_close(&c);
    c = open_ok(in("model.safetensors")); /* the file alone brings the configs beside it */
    assert_non_null(hd_checkpoint_config(c));
    hd_checkpoint_close(&c);
    assert_int_equal(chdir(folder), 0);
    c = open_ok("model.safetensors"); /* without a folder in its path */
    assert_non_null(hd_checkpoint_config(c));
    hd_checkpoint_close(&c);
    assert_int_equal(chdir("/"), 0);
}

static void a_folder_with_one_gguf(void **state)
{
    (void)state;
    put_every_type(&bytes, 3);
    save("any.gguf");
    save_text("config.json", "{}"); /* without safetensors: not looked at */
    save_text(".hidden.gguf", "");
    hd_checkpoint *c = open_ok(folder);
    assert_int_equal(hd_checkpoint_format(c), HD_FORMAT_GGUF);
    assert_null(hd_checkpoint_config(c));
    hd_checkpoint_close(&c);
    save_text("second.gguf", "");
    refuse(folder, HD_E_ARGUMENT, "holds several models");
}

static void a_folder_of_mindspore(void **state)
{
    (void)state;
    put_every_mindspore_type(&bytes);
    save("any.ckpt");
    refuse(folder, HD_E_NOT_FOUND, "holds no model"); /* without config.json nobody knows what it is */
    save_text("config.json", "{\"model_type\": \"llama\"}");
    hd_checkpoint *c = open_ok(folder);
    assert_int_equal(hd_checkpoint_format(c), HD_FORMAT_SAFETENSORS);
    assert_string_equal(hd_checkpoint_files(c), "MindSpore");
    assert_int_equal(hd_checkpoint_tensor_count(c), 15);
    assert_non_null(hd_checkpoint_config(c));
    hd_checkpoint_close(&c);
    c = open_ok(in("any.ckpt"));
    assert_non_null(hd_checkpoint_config(c));
    hd_checkpoint_close(&c);
    put_mindspore_slices(&bytes);
    save("other.ckpt");
    refuse(folder, HD_E_ARGUMENT, "holds several models");
    c = open_ok(in("other.ckpt"));
    assert_memory_equal(hd_checkpoint_find(c, "cut")->data, "\0\1\2\3", 4);
    hd_checkpoint_drop(c, hd_checkpoint_find(c, "cut")->data, 48); /* its own memory: nothing is lost */
    assert_memory_equal(hd_checkpoint_find(c, "cut")->data, "\0\1\2\3", 4);
    hd_checkpoint_close(&c);
    save_text("x.ckpt.index.json", "{\"weight_map\":{\"f16\":\"any.ckpt\",\"cut\":\"other.ckpt\"}}");
    c = open_ok(folder);
    assert_int_equal(hd_checkpoint_tensor_count(c), 2);
    assert_string_equal(hd_checkpoint_tensor(c, 1)->name, "cut");
    hd_checkpoint_close(&c);
    put_every_dtype(&bytes);
    save("model.safetensors"); /* wins */
    c = open_ok(folder);
    assert_string_equal(hd_checkpoint_files(c), "safetensors");
    hd_checkpoint_close(&c);
}

static void bad_files_of_mindspore(void **state)
{
    (void)state;
    save_text("text.ckpt", "text");
    refuse(in("text.ckpt"), HD_E_FORMAT, "text.ckpt: byte 0: ");
    save_text("empty.ckpt", "");
    refuse(in("empty.ckpt"), HD_E_FORMAT, "empty.ckpt: a MindSpore checkpoint without any tensor");
    save_text("zip.ckpt", "PK\3\4");
    refuse(in("zip.ckpt"), HD_E_FORMAT, "zip.ckpt: not a zip file");
}

static void what_holds_no_model(void **state)
{
    (void)state;
    refuse(in("absent"), HD_E_NOT_FOUND, "absent: cannot open: No such file");
    refuse("", HD_E_NOT_FOUND, "cannot open");
    refuse(folder, HD_E_NOT_FOUND, "holds no model");
    put_every_dtype(&bytes);
    save("model.safetensors");
    refuse(folder, HD_E_NOT_FOUND, "neither config.json with model.safetensors");
    save_text("notes.txt", "just text");
    refuse(in("notes.txt"), HD_E_FORMAT, "neither a GGUF nor a safetensors file");
    refuse(in("notes.txt/below"), HD_E_NOT_FOUND, "cannot open");
    save_text("empty", "");
    refuse(in("empty"), HD_E_FORMAT, "neither a GGUF nor a safetensors file");
    save_text("empty.gguf", "");
    refuse(in("empty.gguf"), HD_E_FORMAT, "empty.gguf: not a GGUF file");
    assert_int_equal(mkdir(in("folder.gguf"), 0700), 0);
    refuse(in("folder.gguf"), HD_E_NOT_FOUND, "holds no model");
    assert_int_equal(symlink("circle.gguf", in("circle.gguf")), 0);
    refuse(in("circle.gguf"), HD_E_IO, "circle.gguf: cannot open: Too many levels of symbolic links");
    unlink(in("circle.gguf"));
    assert_int_equal(mkfifo(in("pipe.gguf"), 0600), 0);
    refuse(in("pipe.gguf"), HD_E_ARGUMENT, "not a regular file");
}

static void bad_configs(void **state)
{
    (void)state;
    put_every_dtype(&bytes);
    save("model.safetensors");
    save_text("config.json", "[]");
    refuse(folder, HD_E_FORMAT, "config.json: not a JSON object");
    save_text("config.json", "{\"hidden_size\": 1, \"hidden_size\": 2}");
    refuse(folder, HD_E_FORMAT, "config.json: not valid JSON");
    save_text("config.json", "");
    refuse(folder, HD_E_FORMAT, "config.json: not valid JSON");
    save_text("config.json", "{\"rope_theta\": NaN}");
    refuse(folder, HD_E_FORMAT, "config.json: not valid JSON");
    for (int i = 0; i < (4 << 20) + 1; i++)
        (void)hd_buf_putc(&bytes, ' ');
    save("config.json");
    refuse(folder, HD_E_LIMIT, "at most 4194304 are read");
    save_text("config.json", "{}");
    save_text("generation_config.json", "7");
    refuse(folder, HD_E_FORMAT, "generation_config.json: not a JSON object");
}

/* A bad file's error names the file. */
static void bad_bytes_name_their_file(void **state)
{
    (void)state;
    put_head(&bytes, 1, 0, 0);
    save("old.gguf");
    refuse(in("old.gguf"), HD_E_UNSUPPORTED, "/old.gguf: GGUF version 1");
    put_safetensors(&bytes, "[]", 0);
    save("x.safetensors");
    refuse(in("x.safetensors"), HD_E_FORMAT, "/x.safetensors: the header");
    save_text("x.index.json", "{}");
    refuse(in("x.index.json"), HD_E_FORMAT, "/x.index.json: \"weight_map\" is missing");
}

/* ---- split GGUF ---- */

static void save_parts(void)
{
    put_part(&bytes, 0, 3, "first", 3);
    save("m-00001-of-00003.gguf");
    put_part(&bytes, 1, 3, "second", 0);
    save("m-00002-of-00003.gguf");
    put_part(&bytes, 2, 3, "third", 0);
    save("m-00003-of-00003.gguf");
}

static void any_part_opens_all(void **state)
{
    (void)state;
    save_parts();
    static const char *const ways[] = {"m-00001-of-00003.gguf", "m-00002-of-00003.gguf", "m-00003-of-00003.gguf", ""};
    for (size_t i = 0; i < HD_ARRAY_LEN(ways); i++) {
        hd_checkpoint *c = open_ok(in(ways[i]));
        assert_int_equal(hd_checkpoint_tensor_count(c), 3);
        assert_string_equal(hd_checkpoint_tensor(c, 0)->name, "first");
        assert_string_equal(hd_checkpoint_tensor(c, 2)->name, "third");
        assert_non_null(hd_checkpoint_find(c, "second"));
        assert_non_null(hd_checkpoint_meta(c, "general.name")); /* of the first part */
        hd_checkpoint_close(&c);
    }
}

static void parts_at_odds(void **state)
{
    (void)state;
    save_parts();
    const char *first = "m-00001-of-00003.gguf";
    unlink(in("m-00002-of-00003.gguf"));
    refuse(in(first), HD_E_NOT_FOUND, "m-00002-of-00003.gguf: part 2 of 3 is missing");
    put_part(&bytes, 0, 3, "first", 3); /* the first part once more: a circle */
    save("m-00002-of-00003.gguf");
    refuse(in(first), HD_E_FORMAT, "m-00002-of-00003.gguf: split.no is 0, but the file's name says part 2");
    put_part(&bytes, 1, 4, "second", 0);
    save("m-00002-of-00003.gguf");
    refuse(in(first), HD_E_FORMAT, "m-00002-of-00003.gguf: split.count is 4, but the model has 3 parts");
    put_vector(&bytes, "x", 1, 0);
    save("m-00002-of-00003.gguf");
    refuse(in(first), HD_E_FORMAT, "m-00002-of-00003.gguf: not a GGUF file");
    put_part(&bytes, 1, 3, "third", 0);
    save("m-00002-of-00003.gguf");
    refuse(in(first), HD_E_FORMAT, "two files hold a tensor 'third'");
    put_part(&bytes, 0, 3, "first", 4);
    save(first);
    put_part(&bytes, 1, 3, "second", 0);
    save("m-00002-of-00003.gguf");
    refuse(in(first), HD_E_FORMAT, "split.tensors.count disagrees with the 3 tensors of the 3 parts");
}

static void parts_of_other_names(void **state)
{
    (void)state;
    put_part(&bytes, 0, 3, "first", 3);
    save("renamed.gguf");
    refuse(in("renamed.gguf"), HD_E_FORMAT, "one of 3 parts of a model, but its name does not end in");
    put_part(&bytes, 0, 3, "first", 3);
    save("m-00001-of-00002.gguf");
    refuse(in("m-00001-of-00002.gguf"), HD_E_FORMAT, "the name says 2 parts, split.count says 3");
    put_nothing(&bytes);
    save("n-00001-of-00002.gguf");
    refuse(in("n-00001-of-00002.gguf"), HD_E_FORMAT, "the name says 2 parts, split.count says 1");
    put_nothing(&bytes);
    save("whole-00001-of-00001.gguf");
    hd_checkpoint *c = open_ok(in("whole-00001-of-00001.gguf"));
    hd_checkpoint_close(&c);
}

/* ---- safetensors with an index ---- */

static void save_shards(void)
{
    put_good_index(&bytes);
    save(TWO_PART_INDEX);
    save_text("config.json", "{}");
    put_safetensors(&bytes, "{\"a\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    save("model-00001-of-00002.safetensors");
    put_safetensors(&bytes,
                    "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]},"
                    "\"a\":{\"dtype\":\"F32\",\"shape\":[2],\"data_offsets\":[4,12]},"
                    "\"extra\":{\"dtype\":\"F32\",\"shape\":[0],\"data_offsets\":[12,12]},"
                    "\"c\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[12,16]}}",
                    16);
    save("model-00002-of-00002.safetensors");
}

/* Only the tensors that the index names, each from the file that it names. */
static void an_index_chooses(void **state)
{
    (void)state;
    save_shards();
    static const char *const ways[] = {"", TWO_PART_INDEX};
    for (size_t i = 0; i < HD_ARRAY_LEN(ways); i++) {
        hd_checkpoint *c = open_ok(in(ways[i]));
        assert_int_equal(hd_checkpoint_tensor_count(c), 3);
        assert_string_equal(hd_checkpoint_tensor(c, 0)->name, "a");
        assert_int_equal(hd_checkpoint_find(c, "a")->shape[0], 1);
        assert_non_null(hd_checkpoint_find(c, "b"));
        assert_non_null(hd_checkpoint_find(c, "c"));
        assert_null(hd_checkpoint_find(c, "extra"));
        assert_non_null(hd_checkpoint_config(c));
        hd_checkpoint_close(&c);
    }
    hd_checkpoint *c = open_ok(in("model-00002-of-00002.safetensors")); /* one shard by itself: all that it holds */
    assert_int_equal(hd_checkpoint_tensor_count(c), 4);
    hd_checkpoint_close(&c);
}

static void an_index_at_odds(void **state)
{
    (void)state;
    save_shards();
    put_safetensors(&bytes, "{\"b\":{\"dtype\":\"F32\",\"shape\":[1],\"data_offsets\":[0,4]}}", 4);
    save("model-00002-of-00002.safetensors");
    refuse(folder, HD_E_FORMAT, "tensor 'c' should be in 'model-00002-of-00002.safetensors', but");
    unlink(in("model-00002-of-00002.safetensors"));
    refuse(folder, HD_E_NOT_FOUND, "names 'model-00002-of-00002.safetensors', which is missing");
    assert_int_equal(mkdir(in("model-00002-of-00002.safetensors"), 0700), 0);
    refuse(folder, HD_E_ARGUMENT, "model-00002-of-00002.safetensors: not a regular file");
    save_text(TWO_PART_INDEX, "{\"weight_map\":{\"a\":\"model.safetensors.index.json\"}}"); /* a circle */
    refuse(folder, HD_E_FORMAT, "model.safetensors.index.json: not a safetensors file");
    save_text(TWO_PART_INDEX, "{\"weight_map\":{\"a\":\"../other.safetensors\"}}");
    refuse(folder, HD_E_FORMAT, "which is not a plain file name");
    assert_int_equal(truncate(in(TWO_PART_INDEX), ((off_t)64 << 20) + 1), 0);
    refuse(folder, HD_E_LIMIT, "67108865 bytes; at most 67108864 are read");
}

/* Where both are there, model.safetensors is the model, as the transformers library has it. */
static void a_single_file_wins_over_an_index(void **state)
{
    (void)state;
    save_shards();
    put_every_dtype(&bytes);
    save("model.safetensors");
    hd_checkpoint *c = open_ok(folder);
    assert_null(hd_checkpoint_find(c, "a"));
    assert_non_null(hd_checkpoint_find(c, "bf16"));
    hd_checkpoint_close(&c);
}

static void odd_addresses_are_mended(void **state)
{
    (void)state;
    put_misaligned(&bytes);
    assert_int_equal((bytes.len - 8) % 4, 1); /* so that the test means something */
    save("m.safetensors");
    hd_checkpoint *c = open_ok(in("m.safetensors"));
    const hd_tensor *t = hd_checkpoint_find(c, "odd");
    const uint8_t wanted[8] = {0, 1, 2, 3, 4, 5, 6, 7};
    assert_int_equal((uintptr_t)t->data % 4, 0);
    assert_memory_equal(t->data, wanted, 8);
    hd_checkpoint_drop(c, t->data, t->bytes); /* no bytes of the file: nothing happens */
    assert_memory_equal(t->data, wanted, 8);
    hd_checkpoint_close(&c);
}

/* ---- PyTorch ---- */

static void a_folder_with_pytorch(void **state)
{
    (void)state;
    put_torch_matrix(&bytes);
    save("pytorch_model.bin");
    refuse(folder, HD_E_NOT_FOUND, "neither config.json with model.safetensors or pytorch_model.bin");
    save_text("config.json", "{\"model_type\": \"llama\"}");
    put_every_type(&bytes, 3);
    save("quantized.gguf"); /* what was made of the folder does not change what the folder is */
    hd_checkpoint *c = open_ok(folder);
    assert_int_equal(hd_checkpoint_format(c), HD_FORMAT_SAFETENSORS);
    assert_string_equal(hd_checkpoint_files(c), "PyTorch");
    assert_non_null(hd_checkpoint_find(c, "w"));
    assert_non_null(hd_checkpoint_config(c));
    hd_checkpoint_close(&c);
    put_every_dtype(&bytes);
    save("model.safetensors"); /* which needs no unpickling, and wins */
    c = open_ok(folder);
    assert_string_equal(hd_checkpoint_files(c), "safetensors");
    hd_checkpoint_close(&c);
}

static void a_pytorch_file_by_name_or_bytes(void **state)
{
    (void)state;
    static const char *const names[] = {"m.pt", "m.pth", "m.bin", "blob"};
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        put_torch_views(&bytes);
        save(names[i]);
        hd_checkpoint *c = open_ok(in(names[i]));
        assert_int_equal(hd_checkpoint_tensor_count(c), 7);
        assert_memory_equal(hd_checkpoint_find(c, "b")->data, ((const float[]){0, 3, 1, 4, 2, 5}), 24);
        hd_checkpoint_close(&c);
    }
    save_text("m.pt", "neither a zip nor JSON");
    refuse(in("m.pt"), HD_E_FORMAT, "/m.pt: not a zip file, or cut short");
    put_every_dtype(&bytes);
    save("m.bin"); /* by its bytes safetensors */
    hd_checkpoint *c = open_ok(in("m.bin"));
    assert_string_equal(hd_checkpoint_files(c), "safetensors");
    hd_checkpoint_close(&c);
    put_torch_matrix(&bytes);
    save("m.safetensors");
    refuse(in("m.safetensors"), HD_E_FORMAT, "/m.safetensors: not a safetensors file");
}

/* Of a file's views only those are taken that the index names; the copies of the others are kept until close. */
static void an_index_of_pytorch_files(void **state)
{
    (void)state;
    put_torch_views(&bytes);
    save("pytorch_model-00001-of-00002.bin");
    put_torch_matrix(&bytes);
    save("pytorch_model-00002-of-00002.bin");
    save_text("config.json", "{}");
    save_text("pytorch_model.bin.index.json", "{\"weight_map\":{\"a\":\"pytorch_model-00001-of-00002.bin\","
                                              "\"c\":\"pytorch_model-00001-of-00002.bin\","
                                              "\"w\":\"pytorch_model-00002-of-00002.bin\"}}");
    hd_checkpoint *c = open_ok(folder);
    assert_int_equal(hd_checkpoint_tensor_count(c), 3);
    assert_memory_equal(hd_checkpoint_find(c, "c")->data, ((const float[]){1, 2, 4, 5}), 16);
    assert_null(hd_checkpoint_find(c, "b"));
    hd_checkpoint_close(&c);
    unlink(in("pytorch_model-00002-of-00002.bin"));
    refuse(folder, HD_E_NOT_FOUND, "names 'pytorch_model-00002-of-00002.bin', which is missing");
}

/* ---- memory and files that fail ---- */

static void open_without_memory(const char *path)
{
    hd_status status = HD_E_MEMORY;
    uint64_t n;
    for (n = 1; status != HD_OK && n < 1000; n++) {
        hd_checkpoint *c = NULL;
        hd_error err = {0};
        hd_alloc_fail_after(n);
        status = hd_checkpoint_open(&c, path, &err);
        hd_alloc_fail_after(0);
        if (status != HD_OK && status != HD_E_MEMORY) fail_msg("allocation %d: %s", (int)n, err.text);
        hd_checkpoint_close(&c);
    }
    assert_true(n > 10 && n < 1000);
}

static void every_allocation_may_fail(void **state)
{
    (void)state;
    save_parts();
    open_without_memory(folder);
    save_shards();
    open_without_memory(folder);
    put_misaligned(&bytes);
    save("m.safetensors");
    open_without_memory(in("m.safetensors"));
    put_torch_views(&bytes);
    save("m.pt");
    open_without_memory(in("m.pt"));
}

static struct sigaction handler; /* of mapping.c */

/* Writes a model of one tensor of 64 KiB and opens it. */
static hd_checkpoint *open_large(void)
{
    put_head(&bytes, 3, 1, 0);
    put_vector(&bytes, "large", 16384, 0);
    put_data(&bytes, 32, 65536);
    save("large.gguf");
    hd_checkpoint *c = open_ok(in("large.gguf"));
    assert_int_equal(hd_checkpoint_check(c, NULL), HD_OK);
    return c;
}

static void a_file_cut_short_ends_the_model(void **state)
{
    (void)state;
    hd_error err = {0};
    hd_checkpoint *c = open_large();
    assert_int_equal(sigaction(SIGBUS, &handler, NULL), 0); /* cmocka had put its own there */
    const hd_tensor *t = hd_checkpoint_find(c, "large");
    assert_int_equal(truncate(in("large.gguf"), 4096), 0);
    assert_int_equal(((const volatile uint8_t *)t->data)[t->bytes - 1], 0);
    assert_int_equal(hd_checkpoint_check(c, &err), HD_E_MODEL_LOST);
    assert_non_null(strstr(err.text, "/large.gguf: the file shrank"));
    hd_checkpoint_close(&c);
}

static void a_file_that_lost_one_byte_ends_the_model(void **state)
{
    (void)state;
    hd_checkpoint *c = open_large();
    struct stat st;
    assert_int_equal(stat(in("large.gguf"), &st), 0);
    assert_int_equal(truncate(in("large.gguf"), st.st_size - 1), 0);
    assert_int_equal(hd_checkpoint_check(c, NULL), HD_E_MODEL_LOST);
    hd_checkpoint_close(&c);
}

/* As package managers and hadal pull do it: the open model keeps the old file. */
static void a_replaced_file_is_no_loss(void **state)
{
    (void)state;
    hd_checkpoint *c = open_large();
    const hd_tensor *t = hd_checkpoint_find(c, "large");
    save_text("other", "short");
    assert_int_equal(rename(in("other"), in("large.gguf")), 0);
    assert_int_equal(((const uint8_t *)t->data)[65535], 255);
    assert_int_equal(hd_checkpoint_check(c, NULL), HD_OK);
    hd_checkpoint_drop(c, t->data, t->bytes);
    assert_int_equal(((const uint8_t *)t->data)[65535], 255); /* read again from the file */
    hd_checkpoint_close(&c);
}

#define TEST(f) cmocka_unit_test_setup_teardown(f, set_up, tear_down)

int main(void)
{
    hd_mapping *m = NULL;
    if (hd_mapping_open(&m, "/dev/null", NULL) == HD_OK) return 1; /* no file, but it installs the handler */
    if (sigaction(SIGBUS, NULL, &handler) != 0) return 1;
    const struct CMUnitTest tests[] = {
        TEST(a_gguf_file),
        TEST(a_gguf_file_of_another_name),
        TEST(a_folder_with_configs),
        TEST(a_folder_with_one_gguf),
        TEST(a_folder_of_mindspore),
        TEST(bad_files_of_mindspore),
        TEST(what_holds_no_model),
        TEST(bad_configs),
        TEST(bad_bytes_name_their_file),
        TEST(any_part_opens_all),
        TEST(parts_at_odds),
        TEST(parts_of_other_names),
        TEST(an_index_chooses),
        TEST(an_index_at_odds),
        TEST(a_single_file_wins_over_an_index),
        TEST(odd_addresses_are_mended),
        TEST(a_folder_with_pytorch),
        TEST(a_pytorch_file_by_name_or_bytes),
        TEST(an_index_of_pytorch_files),
        TEST(every_allocation_may_fail),
        TEST(a_file_cut_short_ends_the_model),
        TEST(a_file_that_lost_one_byte_ends_the_model),
        TEST(a_replaced_file_is_no_loss),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
