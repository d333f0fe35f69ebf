/* fuzz_gguf.c: any bytes as a GGUF file.  What the parser accepts is used as the rest of the program would: every value
 * is asked for, every tensor's bytes are touched.  A second round lets an allocation fail. */
#include <string.h>

#include "formats/formats_internal.h"

static volatile uint64_t sink; /* so that reads are not optimized away */

static void touch(const void *data, size_t len)
{
    const uint8_t *p = data;
    if (len) sink += p[0] + p[len - 1] + p[len / 2];
}

static void use_meta(const hd_gguf *g, const hd_meta *m)
{
    uint64_t u = 0, last = m->count ? m->count - 1 : 0;
    int64_t i = 0;
    double d = 0;
    bool flag = false;
    touch(m->key.data, m->key.len);
    touch(m->string.data, m->string.len);
    for (uint64_t k = 0; m->strings && k < m->count; k++)
        touch(m->strings[k].data, m->strings[k].len);
    if (hd_meta_u64(m, last, &u) && hd_meta_u64(m, last + 1, &u)) __builtin_trap(); /* none beyond the last */
    (void)hd_meta_i64(m, last, &i);
    (void)hd_meta_f64(m, last, &d);
    (void)hd_meta_bool(m, &flag);
    sink += u + (uint64_t)i + (uint64_t)(d > 0) + flag;
    char key[256];
    if (m->key.len >= sizeof key) return;
    memcpy(key, m->key.data, m->key.len);
    key[m->key.len] = '\0';
    if (hd_gguf_find(g, key) != m) __builtin_trap();
}

static void use_tensor(const hd_tensor *t, const uint8_t *data, size_t size)
{
    size_t bytes;
    const char *why;
    touch(t->data, t->bytes);
    touch(t->name, strlen(t->name));
    if (!hd_tensor_measure(t, &bytes, &why) || bytes != t->bytes) __builtin_trap();
    if ((const uint8_t *)t->data < data || (const uint8_t *)t->data + t->bytes > data + size) __builtin_trap();
}

static void use_split(const hd_gguf *g)
{
    unsigned count;
    hd_error err;
    if (hd_split_count(g, &count, &err) == HD_OK && hd_split_check(g, 1, count, &err) == HD_OK) sink += count;
}

static void use_split_name(const uint8_t *data, size_t size)
{
    char path[64];
    hd_split_name name;
    if (size >= sizeof path) return;
    memcpy(path, data, size);
    path[size] = '\0';
    if (!hd_split_name_parse(path, &name)) return;
    char *same = hd_split_name_make(path, &name, name.part);
    if (same && strcmp(same, path) != 0) __builtin_trap();
    hd_free(same);
}

static void parse_and_use(const uint8_t *data, size_t size)
{
    hd_gguf g;
    hd_error err = {0};
    if (hd_gguf_parse(&g, data, size, &err) != HD_OK) {
        if (err.status == HD_OK || !err.text[0] || g.meta || g.set.tensors) __builtin_trap();
        return;
    }
    for (size_t i = 0; i < g.meta_count; i++)
        use_meta(&g, &g.meta[i]);
    for (size_t i = 0; i < g.set.count; i++)
        use_tensor(&g.set.tensors[i], data, size);
    use_split(&g);
    hd_gguf_free(&g);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_and_use(data, size);
    use_split_name(data, size);
    hd_alloc_fail_after(1 + size % 8);
    parse_and_use(data, size);
    use_split_name(data, size);
    hd_alloc_fail_after(0);
    return 0;
}
