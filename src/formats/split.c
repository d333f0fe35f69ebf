/* formats/split.c: GGUF models in several files, "<stem>-00001-of-00003.gguf", as llama.cpp's gguf-split writes them.
 *
 * Each part says split.no (from 0), split.count and split.tensors.count (of all parts together).
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "formats/formats_internal.h"

#define SUFFIX_LEN (sizeof "-00001-of-00003.gguf" - 1)

static bool parse_number(const char *digits, unsigned *out)
{
    unsigned v = 0;
    for (int i = 0; i < 5; i++) {
        if (digits[i] < '0' || digits[i] > '9') return false;
        v = v * 10 + (unsigned)(digits[i] - '0');
    }
    *out = v;
    return true;
}

bool hd_split_name_parse(const char *path, hd_split_name *out)
{
    size_t len = strlen(path);
    if (len < SUFFIX_LEN) return false;
    const char *s = path + len - SUFFIX_LEN;
    if (s[0] != '-' || memcmp(s + 6, "-of-", 4) != 0 || strcmp(s + 15, ".gguf") != 0) return false;
    if (!parse_number(s + 1, &out->part) || !parse_number(s + 10, &out->count)) return false;
    out->stem_len = len - SUFFIX_LEN;
    return out->part >= 1 && out->part <= out->count;
}

char *hd_split_name_make(const char *path, const hd_split_name *name, unsigned part)
{
    char *made = hd_alloc(name->stem_len + SUFFIX_LEN + 1);
    if (!made) return NULL;
    memcpy(made, path, name->stem_len);
    snprintf(made + name->stem_len, SUFFIX_LEN + 1, "-%05u-of-%05u.gguf", part % 100000, name->count % 100000);
    return made;
}

/* An array is no number here, though hd_meta_u64 would take its first element. */
static bool whole_number(const hd_meta *m, uint64_t *out)
{
    return m->type != HD_META_ARRAY && hd_meta_u64(m, 0, out);
}

hd_status hd_split_count(const hd_gguf *gguf, unsigned *count, hd_error *err)
{
    const hd_meta *m = hd_gguf_find(gguf, "split.count");
    uint64_t n = 1;
    if (m && !whole_number(m, &n)) return hd_fail(err, HD_E_FORMAT, "split.count is not a whole number");
    if (n > HD_GGUF_SPLIT_MAX)
        return hd_fail(err, HD_E_LIMIT, "split.count is %" PRIu64 "; at most %d parts are read", n, HD_GGUF_SPLIT_MAX);
    *count = n ? (unsigned)n : 1; /* llama.cpp writes 0 for a model that was merged again */
    return HD_OK;
}

hd_status hd_split_check(const hd_gguf *gguf, unsigned part, unsigned count, hd_error *err)
{
    const hd_meta *no = hd_gguf_find(gguf, "split.no");
    unsigned says_count;
    uint64_t says_no;
    HD_TRY(hd_split_count(gguf, &says_count, err));
    if (says_count != count)
        return hd_fail(err, HD_E_FORMAT, "split.count is %u, but the model has %u parts by its other files", says_count,
                       count);
    if (!no || !whole_number(no, &says_no))
        return hd_fail(err, HD_E_FORMAT, "split.no is missing or not a whole number");
    if (says_no != part - 1)
        return hd_fail(err, HD_E_FORMAT,
                       "split.no is %" PRIu64 ", but the file's name says part %u, which is number %u: it was renamed "
                       "or copied over another part",
                       says_no, part, part - 1);
    return HD_OK;
}
