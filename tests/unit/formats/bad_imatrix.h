/* bad_imatrix.h: the catalogue of bad importance matrices: GGUF, then the older layout, in the order of the fields. */
#ifndef HD_TESTS_BAD_IMATRIX_H
#define HD_TESTS_BAD_IMATRIX_H

#include <math.h>

#include "unit/formats/bad_file.h"
#include "unit/formats/good_imatrix.h"

/* ---- GGUF ---- */

static void imatrix_of_nothing(hd_buf *b)
{
    put_head(b, 3, 0, 0);
}

static void imatrix_kind_number(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_scalar(b, "general.type", HD_META_U32, 1, 4);
}

static void imatrix_kind_model(hd_buf *b)
{
    put_head(b, 3, 0, 1);
    put_key(b, "general.type", HD_META_STRING);
    put_str(b, "model");
}

static void imatrix_cut(hd_buf *b)
{
    put_good_imatrix(b);
    hd_buf_truncate(b, b->len - 40);
}

static void imatrix_windows_text(hd_buf *b)
{
    put_imatrix_head(b, 0, 1);
    put_key(b, "imatrix.chunk_count", HD_META_STRING);
    put_str(b, "7");
}

static void imatrix_window_huge(hd_buf *b)
{
    put_imatrix_head(b, 0, 1);
    put_scalar(b, "imatrix.chunk_size", HD_META_U64, (uint64_t)1 << 32, 8);
}

static void imatrix_texts_numbers(hd_buf *b)
{
    put_imatrix_head(b, 0, 1);
    put_array(b, "imatrix.datasets", HD_META_U32, 1);
    put_u32(b, 1);
}

static void imatrix_texts_many(hd_buf *b)
{
    put_imatrix_head(b, 0, 1);
    put_array(b, "imatrix.datasets", HD_META_STRING, 1025);
    for (int i = 0; i < 1025; i++)
        put_str(b, "t");
}

static void imatrix_empty(hd_buf *b)
{
    put_imatrix_head(b, 0, 0);
}

/* One tensor that should be two. */
static void imatrix_half(hd_buf *b, const char *name)
{
    put_imatrix_head(b, 1, 0);
    put_vector(b, name, 2, 0);
    put_data(b, 32, 8);
}

static void imatrix_counts_missing(hd_buf *b)
{
    imatrix_half(b, "a.in_sum2");
}

static void imatrix_sums_missing(hd_buf *b)
{
    imatrix_half(b, "a.counts");
}

/* Both tensors, of these sizes, types and numbers. */
static void imatrix_pair(hd_buf *b, uint64_t sums, uint64_t counts, uint32_t type, float sum, float seen)
{
    put_imatrix_head(b, 2, 0);
    put_tensor(b, "a.in_sum2", 1, &sums, type, 0);
    put_tensor(b, "a.counts", 1, &counts, 0, 64);
    put_padding(b, 32);
    for (int i = 0; i < 16; i++)
        put_floats(b, &sum, 1);
    for (int i = 0; i < 16; i++)
        put_floats(b, &seen, 1);
}

static void imatrix_type_f16(hd_buf *b)
{
    imatrix_pair(b, 4, 1, 1, 1, 1);
}

static void imatrix_sums_none(hd_buf *b)
{
    imatrix_pair(b, 0, 1, 0, 1, 1);
}

static void imatrix_counts_none(hd_buf *b)
{
    imatrix_pair(b, 4, 0, 0, 1, 1);
}

static void imatrix_counts_uneven(hd_buf *b)
{
    imatrix_pair(b, 8, 3, 0, 1, 1);
}

static void imatrix_sum_nan(hd_buf *b)
{
    imatrix_pair(b, 4, 1, 0, NAN, 1);
}

static void imatrix_sum_negative(hd_buf *b)
{
    imatrix_pair(b, 4, 1, 0, -1, 1);
}

static void imatrix_count_infinite(hd_buf *b)
{
    imatrix_pair(b, 4, 1, 0, 1, INFINITY);
}

static void imatrix_count_negative(hd_buf *b)
{
    imatrix_pair(b, 4, 1, 0, 1, -1);
}

/* ---- the older layout ---- */

static const float old_numbers[4] = {1, 2, 3, 4};

static void old_nothing(hd_buf *b)
{
    (void)hd_buf_reserve(b, 1);
}

static void old_entries_none(hd_buf *b)
{
    put_u32(b, 0);
}

static void old_entries_many(hd_buf *b)
{
    put_u32(b, 65537);
}

static void old_entries_missing(hd_buf *b)
{
    put_u32(b, 2);
    put_old_entry(b, "a", 1, old_numbers, 4);
}

static void old_name_empty(hd_buf *b)
{
    put_u32(b, 1);
    put_old_entry(b, "", 1, old_numbers, 4);
}

static void old_name_negative(hd_buf *b)
{
    put_u32(b, 1);
    put_u32(b, (uint32_t)-1);
    put_u64(b, 0);
}

static void old_name_long(hd_buf *b)
{
    put_u32(b, 1);
    put_u32(b, 65);
    for (int i = 0; i < 65; i++)
        (void)hd_buf_putc(b, 'a');
    put_u64(b, (uint64_t)1 << 32 | 1);
    put_floats(b, old_numbers, 1);
}

static void old_name_control(hd_buf *b)
{
    put_u32(b, 1);
    put_old_entry(b, "a\nb", 1, old_numbers, 4);
}

static void old_numbers_cut(hd_buf *b)
{
    put_u32(b, 1);
    put_u32(b, 1);
    (void)hd_buf_puts(b, "a");
    put_u32(b, 1);
}

static void old_windows_negative(hd_buf *b)
{
    put_u32(b, 1);
    put_old_entry(b, "a", (uint32_t)-3, old_numbers, 4);
}

static void old_values_none(hd_buf *b)
{
    put_u32(b, 1);
    put_old_entry(b, "a", 1, old_numbers, 0);
}

static void old_values_huge(hd_buf *b)
{
    put_u32(b, 1);
    put_u32(b, 1);
    (void)hd_buf_puts(b, "a");
    put_u32(b, 1);
    put_u32(b, INT32_MAX);
    put_floats(b, old_numbers, 4);
}

static void old_sum_infinite(hd_buf *b)
{
    static const float x[] = {1, INFINITY};
    put_u32(b, 1);
    put_old_entry(b, "a", 1, x, 2);
}

static void old_twice(hd_buf *b)
{
    put_u32(b, 2);
    put_old_entry(b, "a", 1, old_numbers, 4);
    put_old_entry(b, "a", 1, old_numbers, 4);
}

static void old_end_cut(hd_buf *b)
{
    put_old_imatrix(b);
    hd_buf_truncate(b, b->len - 1);
}

static void old_end_negative(hd_buf *b)
{
    put_old_imatrix_short(b);
    put_u32(b, (uint32_t)-1);
    put_u32(b, 0);
}

static void old_end_name_negative(hd_buf *b)
{
    put_old_imatrix_short(b);
    put_u32(b, 1);
    put_u32(b, (uint32_t)-1);
}

#define NO_IMATRIX "general.type is not 'imatrix'"
#define NO_NUMBER "neither GGUF nor a number of entries"
#define NO_NAME "has no name of 1 to 64 bytes"
#define NO_END "what follows the last entry"

static const bad_file bad_imatrix[] = {
    {"bad-kind-missing", imatrix_of_nothing, HD_E_FORMAT, NO_IMATRIX},
    {"bad-kind-number", imatrix_kind_number, HD_E_FORMAT, NO_IMATRIX},
    {"bad-kind-model", imatrix_kind_model, HD_E_FORMAT, NO_IMATRIX},
    {"bad-cut", imatrix_cut, HD_E_FORMAT, "past the end of the file"},
    {"bad-windows-text", imatrix_windows_text, HD_E_FORMAT, "imatrix.chunk_count is no number"},
    {"bad-window-huge", imatrix_window_huge, HD_E_FORMAT, "imatrix.chunk_size is no number of 32 bits"},
    {"bad-texts-numbers", imatrix_texts_numbers, HD_E_FORMAT, "imatrix.datasets is no array of strings"},
    {"bad-empty", imatrix_empty, HD_E_FORMAT, "has no entries"},
    {"bad-counts-missing", imatrix_counts_missing, HD_E_FORMAT, "'a' has no counts"},
    {"bad-sums-missing", imatrix_sums_missing, HD_E_FORMAT, "'a' has no sums"},
    {"bad-type-f16", imatrix_type_f16, HD_E_FORMAT, "'a' has F16 sums and F32 counts"},
    {"bad-sums-none", imatrix_sums_none, HD_E_FORMAT, "'a' has 0 sums and 1 counts"},
    {"bad-counts-none", imatrix_counts_none, HD_E_FORMAT, "'a' has 4 sums and 0 counts"},
    {"bad-counts-uneven", imatrix_counts_uneven, HD_E_FORMAT, "'a' has 8 sums and 3 counts"},
    {"bad-sum-nan", imatrix_sum_nan, HD_E_FORMAT, "'a' holds a sum of squares that is negative or not finite"},
    {"bad-sum-negative", imatrix_sum_negative, HD_E_FORMAT, "'a' holds a sum of squares"},
    {"bad-count-infinite", imatrix_count_infinite, HD_E_FORMAT, "'a' holds a count that is negative or not finite"},
    {"bad-count-negative", imatrix_count_negative, HD_E_FORMAT, "'a' holds a count"},
    {"bad-old-nothing", old_nothing, HD_E_FORMAT, NO_NUMBER},
    {"bad-old-entries-none", old_entries_none, HD_E_FORMAT, NO_NUMBER},
    {"bad-old-entries-many", old_entries_many, HD_E_FORMAT, NO_NUMBER},
    {"bad-old-entries-missing", old_entries_missing, HD_E_FORMAT, "entry 1 " NO_NAME},
    {"bad-old-name-empty", old_name_empty, HD_E_FORMAT, "entry 0 " NO_NAME},
    {"bad-old-name-negative", old_name_negative, HD_E_FORMAT, NO_NAME},
    {"bad-old-name-long", old_name_long, HD_E_FORMAT, NO_NAME},
    {"bad-old-name-control", old_name_control, HD_E_FORMAT, NO_NAME},
    {"bad-old-numbers-cut", old_numbers_cut, HD_E_FORMAT, "the file ends inside entry 'a'"},
    {"bad-old-windows-negative", old_windows_negative, HD_E_FORMAT, "'a' has 4 values of -3 windows"},
    {"bad-old-values-none", old_values_none, HD_E_FORMAT, "'a' has 0 values"},
    {"bad-old-values-huge", old_values_huge, HD_E_FORMAT, "the file ends inside entry 'a'"},
    {"bad-old-sum-infinite", old_sum_infinite, HD_E_FORMAT, "'a' holds a sum"},
    {"bad-old-twice", old_twice, HD_E_FORMAT, "two entries have the name 'a'"},
    {"bad-old-end-cut", old_end_cut, HD_E_FORMAT, NO_END},
    {"bad-old-end-negative", old_end_negative, HD_E_FORMAT, NO_END},
    {"bad-old-end-name-negative", old_end_name_negative, HD_E_FORMAT, NO_END},
};

static const bad_file bad_imatrix_large[] = {
    {"bad-texts-many", imatrix_texts_many, HD_E_LIMIT, "names more than 1024 texts"},
};

#endif
