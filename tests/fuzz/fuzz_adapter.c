/* fuzz_adapter.c: any bytes as an adapter: two bytes say how many of those that follow are adapter_config.json, the
 * rest is the file of weights; with a length of 0 the rest is a file of its own kind (GGUF).  What is accepted is held
 * against a base and its values are read.  A second round lets an allocation fail. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "base/base.h"
#include "models/adapter.h"

static char folder[256], config_path[300], weights_path[300];

static void forget(void)
{
    unlink(config_path);
    unlink(weights_path);
    rmdir(folder);
}

static void begin(void)
{
    const char *tmp = getenv("TMPDIR");
    if (folder[0]) return;
    snprintf(folder, sizeof folder, "%s/hadal-fuzz-XXXXXX", tmp ? tmp : "/tmp");
    if (!mkdtemp(folder)) abort();
    snprintf(config_path, sizeof config_path, "%s/adapter_config.json", folder);
    snprintf(weights_path, sizeof weights_path, "%s/adapter_model.safetensors", folder);
    atexit(forget);
}

static void put(const char *path, const uint8_t *data, size_t size)
{
    FILE *f = fopen(path, "wb");
    if (!f || (size && fwrite(data, size, 1, f) != 1) || fclose(f) != 0) abort();
}

static void use_part(const hd_adapter *a, const hd_adapter_part *p, const hd_model_config *base)
{
    static float x[1 << 14], y[1 << 14];
    if (p->rank < 1 || p->rank > HD_ADAPTER_RANK_MAX || !isfinite(p->alpha)) __builtin_trap();
    if (p->rank * p->cols > (int64_t)HD_ARRAY_LEN(x) || p->rank * p->rows > (int64_t)HD_ARRAY_LEN(y)) return;
    hd_status status = hd_adapter_values(a, p, base, HD_FORMAT_GGUF, 1.0f, x, y, NULL);
    for (int64_t i = 0; i < p->rank * p->cols; i++)
        if (!isfinite(x[i])) __builtin_trap();
    for (int64_t i = 0; status == HD_OK && i < p->rank * p->rows; i++)
        if (!isfinite(y[i])) __builtin_trap();
}

static void open_and_use(const char *path)
{
    static const hd_model_config base = {.arch = HD_ARCH_LLAMA,
                                         .layers = 2,
                                         .hidden = 32,
                                         .heads = 4,
                                         .kv_heads = 2,
                                         .head_dim = 8,
                                         .ffn = 40,
                                         .vocab = 48};
    hd_error err = {0};
    hd_adapter *a = NULL;
    hd_adapter_info info;
    hd_status status = hd_adapter_open(&a, path, &err);
    if (status != HD_OK) {
        if (a || err.status != status || !err.text[0]) __builtin_trap();
        return;
    }
    hd_adapter_get_info(a, &info);
    bool fits = hd_adapter_check(a, &base, &err) == HD_OK;
    for (size_t i = 0; fits && i < info.count; i++)
        use_part(a, &hd_adapter_parts(a)[i], &base);
    hd_adapter_close(&a);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    if (size < 2) return 0;
    size_t json = (size_t)data[0] | (size_t)data[1] << 8;
    json = HD_MIN(json, size - 2);
    begin();
    unlink(config_path);
    if (json) put(config_path, data + 2, json);
    put(weights_path, data + 2 + json, size - 2 - json);
    open_and_use(json ? folder : weights_path);
    hd_alloc_fail_after(1 + size % 32);
    open_and_use(json ? folder : weights_path);
    hd_alloc_fail_after(0);
    return 0;
}
