/* test_ahead.c: kernels/cpu/ahead.h: all that is read is asked for, in time, and nothing else. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "kernels/cpu/ahead.h"

#define LINES 4096

static _Alignas(HD_CACHE_LINE) uint8_t memory[LINES * HD_CACHE_LINE];
static int asked[LINES];

/* Follows `ask` over `count` lines and counts those within the memory; returns how many were not. */
static int follow(hd_ask ask, size_t count)
{
    int outside = 0;
    for (size_t i = 0; i < count; i++) {
        ptrdiff_t line = (ask.row + ask.column - memory) / HD_CACHE_LINE;
        if (line >= 0 && line < LINES)
            asked[line]++;
        else
            outside++;
        hd_ask_lines(&ask, HD_CACHE_LINE);
    }
    return outside;
}

static void test_each_line_of_a_segment_once(void **state)
{
    (void)state;
    static const size_t sizes[] = {1, 2, 63, 64, 65, 242, 288, 512, 513, 1900};
    for (int streams = 1; streams <= 8; streams *= 8)
        for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
            memset(asked, 0, sizeof asked);
            hd_ask ask = hd_ask_for((hd_segment){memory, sizes[i] * HD_CACHE_LINE}, streams);
            size_t columns = ask.columns / ask.step, slots = ask.columns / HD_CACHE_LINE;
            assert_true(columns <= (size_t)streams);
            assert_in_range(slots, sizes[i], sizes[i] + columns); /* the last column may be shorter */
            assert_int_equal(follow(ask, slots), 0);
            for (size_t line = 0; line < slots; line++)
                assert_int_equal(asked[line], 1);
        }
}

/* Segments lie in memory in another order than they are read in. */
typedef struct reading {
    size_t lines; /* of a segment */
    int count;
} reading;

static hd_segment segment(const void *arg, int64_t n)
{
    const reading *r = arg;
    size_t place = (size_t)(n * 7 % r->count);
    return (hd_segment){memory + place * r->lines * HD_CACHE_LINE, r->lines * HD_CACHE_LINE};
}

/* Reads segments [begin, end) and follows what is asked for meanwhile. */
static void read_all(hd_ahead *a, const reading *r, int64_t begin, int64_t end)
{
    for (int64_t n = begin; n < end; n++) {
        if (n > begin) assert_true(a->begun == n && a->next > n); /* it was asked for before */
        hd_ahead_begin(a, segment, r, n, end);
        assert_int_equal(follow(hd_ahead_ask(a), r->lines), 0);
    }
}

static void test_segments_in_the_order_of_reading(void **state)
{
    (void)state;
    static const size_t lines[] = {17, 242, 600}; /* below and above what is asked for at a time */
    for (int streams = 1; streams <= 8; streams *= 8)
        for (size_t i = 0; i < 3; i++) {
            reading r = {lines[i], 6};
            hd_ahead a;
            hd_ahead_forget(&a, streams);
            memset(asked, 0, sizeof asked);
            read_all(&a, &r, 0, 6);
            assert_int_equal(a.next, 6);
            /* all segments but those that were asked for at the start are asked for while others are read */
            hd_ahead first;
            hd_ahead_forget(&first, streams);
            hd_ahead_begin(&first, segment, &r, 0, 6);
            for (int64_t n = first.next; n < 6; n++) {
                ptrdiff_t from = (segment(&r, n).at - memory) / HD_CACHE_LINE;
                for (ptrdiff_t line = from; line < from + (ptrdiff_t)r.lines; line++)
                    assert_true(asked[line] >= 1);
            }
            for (size_t line = 6 * r.lines + 8; line < LINES; line++)
                assert_int_equal(asked[line], 0);
        }
}

static void test_starts_anew_elsewhere(void **state)
{
    (void)state;
    reading r = {300, 6};
    hd_ahead a;
    hd_ahead_forget(&a, 8);
    hd_ahead_begin(&a, segment, &r, 0, 3);
    assert_true(a.next >= 2 && a.next <= 3);
    hd_ahead_begin(&a, segment, &r, 4, 6); /* a piece that another thread left */
    assert_int_equal(a.begun, 5);
    assert_int_equal(a.next, 6);
    assert_ptr_equal(a.now.at, segment(&r, 4).at);
}

static hd_segment nothing(const void *arg, int64_t n)
{
    (void)arg, (void)n;
    return (hd_segment){0};
}

static void test_segments_without_bytes_end(void **state)
{
    (void)state;
    hd_ahead a;
    hd_ahead_forget(&a, 8);
    hd_ahead_begin(&a, nothing, NULL, 0, INT64_MAX / 2);
    assert_in_range(a.next, 1, HD_AHEAD_BYTES / HD_CACHE_LINE + 1);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_each_line_of_a_segment_once),
        cmocka_unit_test(test_segments_in_the_order_of_reading),
        cmocka_unit_test(test_starts_anew_elsewhere),
        cmocka_unit_test(test_segments_without_bytes_end),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
