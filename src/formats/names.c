/* formats/names.c: names out of files: valid or not, shown safely, sorted and found. */
#include <stdlib.h>
#include <string.h>
#include <utf8proc.h>

#include "formats/formats_internal.h"

static int compare_text(hd_str a, hd_str b)
{
    int order = memcmp(a.data, b.data, HD_MIN(a.len, b.len));
    if (order) return order;
    return (a.len > b.len) - (a.len < b.len);
}

static int compare_names(const void *a, const void *b)
{
    return compare_text(((const hd_name_entry *)a)->text, ((const hd_name_entry *)b)->text);
}

bool hd_names_alloc(hd_names *names, size_t count)
{
    names->count = 0;
    names->sorted = hd_calloc(count, sizeof *names->sorted);
    if (!names->sorted) return false;
    names->count = count;
    return true;
}

void hd_names_free(hd_names *names)
{
    hd_free(names->sorted);
    *names = (hd_names){0};
}

const hd_name_entry *hd_names_sort(hd_names *names)
{
    qsort(names->sorted, names->count, sizeof *names->sorted, compare_names);
    for (size_t i = 1; i < names->count; i++) {
        if (compare_names(&names->sorted[i - 1], &names->sorted[i]) == 0) return &names->sorted[i];
    }
    return NULL;
}

const hd_name_entry *hd_names_find(const hd_names *names, const char *text, size_t len)
{
    hd_name_entry wanted = {.text = {text, len}};
    if (names->count == 0) return NULL;
    return bsearch(&wanted, names->sorted, names->count, sizeof wanted, compare_names);
}

bool hd_name_valid(hd_str text, size_t max)
{
    if (text.len == 0 || text.len > max) return false;
    for (size_t i = 0; i < text.len;) {
        utf8proc_int32_t c;
        utf8proc_ssize_t n = utf8proc_iterate((const uint8_t *)text.data + i, (utf8proc_ssize_t)(text.len - i), &c);
        if (n <= 0 || c < 0x20 || (c >= 0x7f && c < 0xa0)) return false;
        i += (size_t)n;
    }
    return true;
}

hd_shown hd_show(hd_str text)
{
    hd_shown shown;
    size_t room = sizeof shown.text - 4, n = HD_MIN(text.len, room);
    for (size_t i = 0; i < n; i++)
        shown.text[i] = text.data[i] >= 0x20 && text.data[i] < 0x7f ? text.data[i] : '?';
    memcpy(shown.text + n, text.len > room ? "..." : "", text.len > room ? 4 : 1);
    return shown;
}
