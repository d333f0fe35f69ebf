/* tokenizer.c: opens a tokenizer from whatever a path names, and gives out the facts of it. */
#include "tokenizer/tokenizer.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "tokenizer/tokenizer_internal.h"

hd_status hd_tokenizer_new(hd_tokenizer **out, hd_error *err)
{
    hd_tokenizer *tok = *out = hd_calloc(1, sizeof *tok);
    if (!tok) return hd_fail(err, HD_E_MEMORY, "out of memory for a tokenizer");
    hd_vocab_init(&tok->vocab);
    hd_added_tokens_init(&tok->added);
    tok->bos = tok->pad = -1;
    return HD_OK;
}

void hd_tokenizer_close(hd_tokenizer **tok)
{
    hd_tokenizer *t = *tok;
    *tok = NULL;
    if (!t) return;
    hd_vocab_free(&t->vocab);
    hd_bpe_free(&t->bpe);
    hd_pretokenizer_free(&t->pre);
    hd_added_tokens_free(&t->added);
    hd_free(t->bos_text);
    hd_free(t->eos_text);
    hd_free(t->chat_template);
    hd_free(t);
}

/* ---- opening ---- */

/* `folder` NULL: there are no files beside it. */
static hd_status fill_from_json(hd_tokenizer *tok, const json_t *root, const char *folder, hd_error *err)
{
    HD_TRY(hd_tokenizer_read_json(tok, root, err));
    HD_TRY(hd_tokenizer_read_settings(tok, root, folder, err));
    return hd_tokenizer_finish(tok, err);
}

static hd_status open_root(hd_tokenizer **out, const json_t *root, const char *folder, hd_error *err)
{
    HD_TRY(hd_tokenizer_new(out, err));
    hd_status status = fill_from_json(*out, root, folder, err);
    if (status != HD_OK) hd_tokenizer_close(out);
    return status;
}

hd_status hd_tokenizer_open_json(hd_tokenizer **out, const char *text, size_t len, hd_error *err)
{
    json_t *root;
    *out = NULL;
    HD_TRY(hd_json_parse(&root, text, len, err));
    hd_status status = open_root(out, root, NULL, err);
    json_decref(root);
    return status;
}

static hd_status open_json_file(hd_tokenizer **out, const char *path, const char *folder, hd_error *err)
{
    json_t *root;
    HD_TRY(hd_json_parse_file(&root, path, HD_TOKENIZER_JSON, err));
    hd_status status = open_root(out, root, folder, err);
    json_decref(root);
    return status == HD_OK ? HD_OK : hd_fail_in(err, status, "%s", path);
}

hd_status hd_tokenizer_open_gguf(hd_tokenizer **out, const hd_checkpoint *ckpt, hd_error *err)
{
    HD_TRY(hd_tokenizer_new(out, err));
    hd_status status = hd_tokenizer_read_gguf(*out, ckpt, err);
    if (status == HD_OK) status = hd_tokenizer_finish(*out, err);
    if (status == HD_OK) return HD_OK;
    hd_tokenizer_close(out);
    return hd_fail_in(err, status, "%s", hd_checkpoint_path(ckpt));
}

static hd_status open_checkpoint(hd_tokenizer **out, const char *path, hd_error *err)
{
    hd_checkpoint *ckpt;
    HD_TRY(hd_checkpoint_open(&ckpt, path, err));
    hd_status status;
    if (hd_checkpoint_format(ckpt) == HD_FORMAT_GGUF)
        status = hd_tokenizer_open_gguf(out, ckpt, err);
    else
        status = hd_fail(err, HD_E_NOT_FOUND, "%s: there is no tokenizer.json beside the weights", path);
    hd_checkpoint_close(&ckpt);
    return status;
}

/* A folder's tokenizer.json; without one, the only GGUF file there, unless the weights are known to be another file
 * (`named`): a GGUF beside them belongs to another model. */
static hd_status open_folder(hd_tokenizer **out, const char *folder, const char *named, hd_error *err)
{
    hd_buf path;
    hd_buf_init(&path, 1 << 16);
    if (hd_buf_printf(&path, "%s/tokenizer.json", folder) != HD_OK) {
        hd_buf_free(&path);
        return hd_fail(err, HD_E_MEMORY, "out of memory for a path");
    }
    hd_status status;
    if (access(path.data, F_OK) == 0)
        status = open_json_file(out, path.data, folder, err);
    else if (named)
        status = hd_fail(err, HD_E_NOT_FOUND, "%s: there is no tokenizer.json beside the weights", named);
    else
        status = open_checkpoint(out, folder, err);
    hd_buf_free(&path);
    return status;
}

/* By name, or by the first bytes; the file is a regular one. */
static bool is_gguf(const char *path)
{
    char magic[4] = "";
    if (hd_text_ends_with(path, ".gguf")) return true;
    FILE *f = fopen(path, "rb");
    bool yes = f && fread(magic, 1, sizeof magic, f) == sizeof magic && memcmp(magic, "GGUF", 4) == 0;
    if (f) (void)fclose(f);
    return yes;
}

/* A release's weights or their index, by name. */
static bool is_weights(const char *path)
{
    static const char *const ends[] = {
        ".safetensors", ".safetensors.index.json", ".bin", ".bin.index.json", ".pt", ".pth",
        ".ckpt",        ".ckpt.index.json"};
    for (size_t i = 0; i < HD_ARRAY_LEN(ends); i++)
        if (hd_text_ends_with(path, ends[i])) return true;
    return false;
}

static hd_status open_file(hd_tokenizer **out, const char *path, hd_error *err)
{
    if (is_gguf(path)) return open_checkpoint(out, path, err);
    const char *slash = strrchr(path, '/');
    char *folder = slash ? hd_strndup(path, HD_MAX((size_t)(slash - path), 1u)) : hd_strdup(".");
    if (!folder) return hd_fail(err, HD_E_MEMORY, "out of memory for a path");
    hd_status status = is_weights(path) ? open_folder(out, folder, path, err) : open_json_file(out, path, folder, err);
    hd_free(folder);
    return status;
}

hd_status hd_tokenizer_open(hd_tokenizer **out, const char *path, hd_error *err)
{
    struct stat st;
    *out = NULL;
    if (stat(path, &st) != 0) return hd_fail(err, HD_E_NOT_FOUND, "%s: there is no such file or folder", path);
    if (S_ISDIR(st.st_mode)) return open_folder(out, path, NULL, err);
    if (!S_ISREG(st.st_mode)) return hd_fail(err, HD_E_ARGUMENT, "%s: not a regular file", path); /* pipes hang */
    return open_file(out, path, err);
}

/* ---- facts ---- */

int32_t hd_tokenizer_vocab_size(const hd_tokenizer *tok)
{
    return (int32_t)tok->vocab.size;
}

int32_t hd_tokenizer_bos(const hd_tokenizer *tok)
{
    return tok->bos;
}

int32_t hd_tokenizer_pad(const hd_tokenizer *tok)
{
    return tok->pad;
}

bool hd_tokenizer_adds_bos(const hd_tokenizer *tok)
{
    return tok->adds_bos && tok->bos >= 0;
}

const int32_t *hd_tokenizer_eos(const hd_tokenizer *tok, size_t *count)
{
    *count = tok->eos_count;
    return tok->eos;
}

const char *hd_tokenizer_chat_template(const hd_tokenizer *tok)
{
    return tok->chat_template;
}

const char *hd_tokenizer_bos_text(const hd_tokenizer *tok)
{
    return tok->bos_text;
}

const char *hd_tokenizer_eos_text(const hd_tokenizer *tok)
{
    return tok->eos_text;
}

int32_t hd_tokenizer_find(const hd_tokenizer *tok, const char *text, size_t len)
{
    return hd_added_tokens_find(&tok->added, text, len);
}

bool hd_tokenizer_is_v4(const hd_tokenizer *tok)
{
    static const char *const markers[] = {"｜DSML｜", "<｜User｜>", "<｜Assistant｜>", "<think>",
                                          "<｜latest_reminder｜>"}; /* V3.2 has the others too */
    if (tok->chat_template) return false;
    for (size_t i = 0; i < HD_ARRAY_LEN(markers); i++)
        if (hd_tokenizer_find(tok, markers[i], strlen(markers[i])) < 0) return false;
    return true;
}

bool hd_tokenizer_is_special(const hd_tokenizer *tok, int32_t id)
{
    return id >= 0 && (size_t)id < tok->vocab.size && tok->vocab.tokens[id].flags & HD_TOKEN_SPECIAL;
}
