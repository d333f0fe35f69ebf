/* fuzz_imatrix.c: any bytes as an importance matrix, of either layout.  What is accepted is used as quantization does.
 * A second round lets an allocation fail. */
#include <math.h>
#include <string.h>

#include "formats/imatrix.h"
#include "quantize/importance.h"

static void use_entry(const hd_imatrix *m, const hd_imatrix_entry *e)
{
    static float columns[1 << 12];
    size_t values = e->rows * e->cols;
    if (!e->rows || !e->cols || hd_imatrix_find(m, e->name) != e) __builtin_trap();
    if (values > HD_ARRAY_LEN(columns)) return;
    if (!hd_importance_columns(columns, e, (int64_t)e->rows, (int64_t)e->cols)) __builtin_trap();
    for (size_t i = 0; i < values; i++)
        if (!(columns[i] >= 0.0f)) __builtin_trap();
    if (hd_importance_columns(columns, e, (int64_t)e->rows + 1, (int64_t)e->cols)) __builtin_trap();
}

static void parse_and_use(const uint8_t *data, size_t size)
{
    hd_imatrix *m;
    hd_error err = {0};
    if (hd_imatrix_parse(&m, data, size, &err) != HD_OK) {
        if (m || err.status == HD_OK || !err.text[0]) __builtin_trap();
        return;
    }
    for (size_t i = 0; i < m->count; i++)
        use_entry(m, m->entries[i]);
    if (!m->count || hd_imatrix_find(m, "no such name")) __builtin_trap();
    hd_imatrix_close(&m);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    parse_and_use(data, size);
    hd_alloc_fail_after(1 + size % 16);
    parse_and_use(data, size);
    hd_alloc_fail_after(0);
    return 0;
}
