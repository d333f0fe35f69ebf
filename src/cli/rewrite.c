/* cli/rewrite.c: see rewrite.h. */
#include "cli/rewrite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "base/cpu.h"
#include "cli/adapters.h"
#include "cli/cli.h"
#include "cli/files.h"
#include "cli/terminal.h"

/* ---- opening ---- */

hd_status hd_rewrite_set_out(hd_rewrite *w, const char *out, hd_error *err)
{
    size_t len = strlen(out);
    while (len > 1 && out[len - 1] == '/')
        len--;
    w->out = w->out_owned = hd_strndup(out, len);
    return w->out ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for a path");
}

/* The last part of the path, without the suffix of a file: what a model without a name is called.  Paths may have any
 * bytes, GGUF's texts are UTF-8. */
static hd_status model_name(const char *path, hd_buf *name, hd_error *err)
{
    static const char *const suffixes[] = {
        ".safetensors", ".safetensors.index.json", ".gguf", ".bin", ".bin.index.json", ".pt", ".pth",
        ".ckpt",        ".ckpt.index.json"};
    size_t len = strlen(path);
    while (len > 1 && path[len - 1] == '/')
        len--;
    size_t begin = len;
    while (begin > 0 && path[begin - 1] != '/')
        begin--;
    for (size_t i = 0; i < HD_ARRAY_LEN(suffixes); i++) {
        size_t n = strlen(suffixes[i]);
        if (len - begin > n && strncmp(path + len - n, suffixes[i], n) == 0) len -= n;
    }
    if (hd_buf_printf(name, "%.*s", (int)(len - begin), path + begin) == HD_OK) {
        hd_text_clean(name->data);
        return HD_OK;
    }
    return hd_fail(err, name->status, "no memory for a name");
}

/* A release without a tokenizer is no error: the file is made without one. */
static hd_status open_tokenizer(hd_rewrite *w, hd_format layout, hd_error *err)
{
    hd_error why = {0};
    bool gguf = hd_checkpoint_format(w->ckpt) == HD_FORMAT_GGUF;
    if (gguf == (layout == HD_FORMAT_GGUF)) return HD_OK; /* goes along as it is */
    hd_status status =
        gguf ? hd_tokenizer_open_gguf(&w->tok, w->ckpt, &why) : hd_tokenizer_open(&w->tok, w->path, &why);
    if (status == HD_OK) return HD_OK;
    bool none = status == HD_E_NOT_FOUND || (gguf && !hd_checkpoint_meta(w->ckpt, "tokenizer.ggml.tokens"));
    if (!none) return hd_fail(err, status, "%s", why.text);
    fprintf(stderr, "warning: the model comes without a tokenizer; %s will have none\n", w->out);
    return HD_OK;
}

/* As they are, or will be. */
static hd_status take_types(hd_rewrite *w, hd_error *err)
{
    size_t count = hd_source_count(w->source);
    hd_free(w->types);
    w->types = hd_alloc_array(HD_MAX(count, 1), sizeof *w->types);
    if (!w->types) return hd_fail(err, HD_E_MEMORY, "no memory for the list of tensors");
    for (size_t i = 0; i < count; i++)
        w->types[i] = hd_source_codes(w->source, i);
    return HD_OK;
}

static hd_status merge_one(hd_rewrite *w, const char *words, hd_error *err)
{
    char *path = NULL;
    double scale;
    hd_adapter *adapter = NULL;
    HD_TRY(hd_cli_adapter_words("merge", words, &path, &scale, err));
    hd_status status = hd_adapter_open(&adapter, path, err);
    if (status == HD_OK) status = hd_source_merge(w->source, adapter, (float)scale, err);
    hd_adapter_close(&adapter);
    hd_free(path);
    return status;
}

/* A GGUF adapter is a file of tensors like any other: asked before, since nothing else would notice. */
static hd_status check_model(const hd_rewrite *w, hd_error *err)
{
    if (!hd_adapter_is_one(w->path)) return HD_OK;
    return hd_fail(
        err, HD_E_ARGUMENT,
        "%s: is an adapter (LoRA), no model; 'hadal convert BASE OUT --merge %s' makes a model of it and its "
        "base, or the base is quantized and the adapter given with --lora",
        w->in, w->in);
}

hd_status hd_rewrite_open_checkpoint(hd_rewrite *w, hd_error *err)
{
    HD_TRY(hd_model_resolve(w->in, &w->path, err));
    HD_TRY(check_model(w, err));
    return hd_checkpoint_open(&w->ckpt, w->path, err);
}

hd_status hd_rewrite_open(hd_rewrite *w, hd_format layout, hd_error *err)
{
    hd_buf name;
    HD_TRY(hd_rewrite_open_checkpoint(w, err));
    HD_TRY(open_tokenizer(w, layout, err));
    hd_buf_init(&name, 1 << 16);
    hd_status status = model_name(w->path, &name, err);
    if (status == HD_OK && layout == HD_FORMAT_GGUF)
        status = hd_source_open_gguf(&w->source, w->ckpt, w->tok, name.data, err);
    else if (status == HD_OK)
        status = hd_source_open_release(&w->source, w->ckpt, err);
    hd_buf_free(&name);
    HD_TRY(status);
    for (size_t i = 0; i < w->merge.count; i++)
        HD_TRY(merge_one(w, w->merge.items[i], err));
    return take_types(w, err);
}

hd_status hd_rewrite_scale(hd_rewrite *w, hd_type codes, const char *option, hd_error *err)
{
    if (w->files != HD_FILES_SAFETENSORS)
        return hd_fail(err, HD_E_ARGUMENT, "--type %s: releases in 8 bits are safetensors; take --to safetensors",
                       option);
    HD_TRY(hd_source_add_scales(w->source, codes, err));
    return take_types(w, err);
}

void hd_rewrite_close(hd_rewrite *w)
{
    hd_free(w->types);
    hd_source_close(&w->source);
    if (w->tok) hd_tokenizer_close(&w->tok);
    hd_checkpoint_close(&w->ckpt);
    hd_free(w->path);
    hd_free(w->out_owned);
}

/* ---- the place ---- */

uint64_t hd_rewrite_bytes(const hd_rewrite *w)
{
    uint64_t bytes = 0;
    for (size_t i = 0; i < hd_source_count(w->source); i++)
        bytes += hd_quant_bytes(hd_source_tensor(w->source, i), w->types[i]);
    return bytes;
}

hd_status hd_rewrite_check_name(const hd_rewrite *w, hd_error *err)
{
    return hd_path_check_free(w->out, err);
}

/* ---- the run ---- */

bool hd_time_left_show(hd_time_left *t, const char *what, uint64_t done, uint64_t all)
{
    char line[64];
    if (!t->begun) *t = (hd_time_left){hd_clock_ns(), done, true};
    double seconds = (double)(hd_clock_ns() - t->start) / 1e9;
    snprintf(line, sizeof line, "%s", what);
    if (done > t->first && seconds > 2.0) {
        int left = (int)(seconds * (double)(all - done) / (double)(done - t->first)) + 1;
        snprintf(line, sizeof line, "%s, %d:%02d left", what, left / 60, left % 60);
    }
    hd_progress_show(line, all ? (double)done / (double)all : 1.0);
    return !hd_interrupted();
}

typedef struct progress {
    const char *doing;
    hd_time_left left;
} progress;

static bool show_progress(void *arg, uint64_t done, uint64_t all)
{
    progress *p = arg;
    return hd_time_left_show(&p->left, p->doing, done, all);
}

hd_status hd_rewrite_run(hd_rewrite *w, const hd_quant_mix *mix, const char *doing, hd_error *err)
{
    progress p = {.doing = doing};
    hd_quant_options options = {.progress = show_progress,
                                .arg = &p,
                                .files = w->files,
                                .split = w->split,
                                .imatrix = w->imatrix,
                                .imatrix_file = w->imatrix_file,
                                .report = w->report};
    HD_TRY(hd_pool_open(&options.pool, w->threads ? (int)w->threads : hd_cpu_threads(), err));
    uint64_t start = hd_clock_ns();
    hd_interrupt_catch(NULL, NULL);
    hd_status status;
    if (hd_source_layout(w->source) == HD_FORMAT_GGUF)
        status = hd_quantize(w->source, w->types, mix, w->out, &options, err);
    else
        status = hd_convert_release(w->source, w->types, w->tok, w->out, &options, err);
    hd_interrupt_release();
    hd_progress_clear();
    w->seconds = (double)(hd_clock_ns() - start) / 1e9;
    hd_pool_close(&options.pool);
    return status;
}

/* ---- what was written ---- */

hd_status hd_rewrite_files(const hd_rewrite *w, char **first, size_t *count, hd_error *err)
{
    const hd_quant_options o = {.split = w->split, .files = w->files};
    HD_TRY(hd_quant_files(count, first, w->source, w->types, w->out, &o, err));
    if (hd_source_layout(w->source) == HD_FORMAT_GGUF) return HD_OK;
    hd_free(*first); /* a folder's own name says more */
    *first = hd_strdup(w->out);
    return *first ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for a path");
}

hd_status hd_rewrite_print_out(const hd_rewrite *w, const char *verb, hd_error *err)
{
    char *first = NULL;
    size_t count = 1;
    HD_TRY(hd_rewrite_files(w, &first, &count, err));
    fputs(verb, stdout);
    hd_terminal_name(stdout, first, 0);
    if (count > 1 && hd_source_layout(w->source) == HD_FORMAT_GGUF)
        printf(" and %zu more", count - 1);
    else if (count > 1)
        printf(", with the weights in %zu files", count);
    hd_free(first);
    return HD_OK;
}

/* ---- sizes ---- */

hd_status hd_rewrite_parse_size(uint64_t *bytes, const char *option, const char *text, hd_error *err)
{
    static const struct {
        const char *name;
        double factor;
    } units[] = {{"", 1.0},
                 {"B", 1.0},
                 {"kB", 1e3},
                 {"MB", 1e6},
                 {"GB", 1e9},
                 {"TB", 1e12},
                 {"KiB", 1024.0},
                 {"MiB", 1048576.0},
                 {"GiB", 1073741824.0},
                 {"k", 1e3},
                 {"M", 1e6},
                 {"G", 1e9},
                 {"T", 1e12},
                 {"TiB", 1099511627776.0}};
    char *end;
    double value = strtod(text, &end);
    bool number = end != text && text[0] >= '0' && text[0] <= '9';
    while (*end == ' ')
        end++;
    for (size_t i = 0; number && i < HD_ARRAY_LEN(units); i++) {
        if (strcasecmp(end, units[i].name) != 0) continue;
        value *= units[i].factor;
        if (!(value >= 1.0 && value < 1e18)) break;
        *bytes = (uint64_t)value;
        return HD_OK;
    }
    return hd_fail(err, HD_E_ARGUMENT, "--%s: '%s' is not a size; write it as 4GB, 500MB or 336000000000", option,
                   text);
}
