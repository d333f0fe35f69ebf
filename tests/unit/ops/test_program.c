/* tests/unit/ops/test_program.c: what a program needs, read from its own file; and damaged files. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "ops/elf.h"
#include "ops/program.h"

/* The test's own program: it links what hadal links. */
static void the_program_is_found(void **state)
{
    hd_program *p = NULL;
    hd_error err = {0};
    bool found = false;
    (void)state;
    if (hd_program_open(&p, &err) != HD_OK) fail_msg("%s", err.text);
    assert_non_null(strstr(hd_mapping_path(p->program.map), "unit-ops-program"));
    assert_non_null(p->loader.map);
    assert_true(p->library_count >= 3); /* the linker leaves out what a test does not use */
    for (size_t i = 0; i < p->library_count; i++) {
        found = found || strcmp(p->libraries[i].name, "libc.so.6") == 0;
        assert_true(hd_mapping_size(p->libraries[i].map) > 1000);
        assert_int_equal(p->libraries[i].folder[0], '/');
        if (i) assert_true(strcmp(p->libraries[i - 1].name, p->libraries[i].name) < 0);
    }
    assert_true(found);
    assert_int_equal(p->glibc_major, 2);
    assert_in_range(p->glibc_minor, 14, 60);
    assert_true(hd_program_runs_on(p, 2, p->glibc_minor));
    assert_false(hd_program_runs_on(p, 2, p->glibc_minor - 1));
    assert_true(hd_program_runs_on(p, 3, 0));
    hd_program_close(&p);
    assert_null(p);
}

static void distributions_are_told(void **state)
{
    hd_program p = {.glibc_major = 2, .glibc_minor = 34};
    hd_buf out;
    (void)state;
    hd_buf_init(&out, 1 << 16);
    assert_int_equal(hd_program_distributions(&p, &out), HD_OK);
    const char *old = strstr(out.data, "Too old on");
    assert_non_null(old);
    assert_true(strstr(out.data, "Debian 12") < old);
    assert_true(strstr(out.data, "openEuler 22.03") < old);
    assert_true(strstr(out.data, "Kylin Server V10") > old);
    hd_buf_free(&out);
}

/* Every cut and every byte changed: an answer of some kind, and nothing beyond the end is read (ASan looks). */
static void damaged_files_are_survived(void **state)
{
    hd_program *p = NULL;
    hd_error err;
    hd_elf elf;
    const size_t head = 4096;
    (void)state;
    assert_int_equal(hd_program_open(&p, &err), HD_OK);
    const hd_mapping *map = p->loader.map;
    size_t len = hd_mapping_size(map);
    uint8_t *copy = hd_alloc(len);
    assert_non_null(copy);
    memcpy(copy, hd_mapping_data(map), len);
    assert_int_equal(hd_elf_read(&elf, copy, len, "x", &err), HD_OK);
    for (size_t cut = 0; cut < len; cut += cut < head ? 1 : 997) {
        uint8_t *part = hd_alloc(cut);
        assert_non_null(part);
        memcpy(part, copy, cut);
        if (hd_elf_read(&elf, part, cut, "x", &err) == HD_OK) assert_true(cut > 64);
        hd_free(part);
    }
    for (size_t at = 0; at < head; at++) {
        static const uint8_t values[] = {0x00, 0x7f, 0x80, 0xff};
        uint8_t kept = copy[at];
        for (size_t i = 0; i < sizeof values; i++) {
            copy[at] = values[i];
            (void)!hd_elf_read(&elf, copy, len, "x", &err);
        }
        copy[at] = kept;
    }
    hd_free(copy);
    hd_program_close(&p);
}

static void other_files_are_refused(void **state)
{
    hd_elf elf;
    hd_error err;
    static const char script[] =
        "#!/bin/sh\necho this is no program that an ELF reader takes; it is long enough, though\n";
    (void)state;
    assert_int_equal(hd_elf_read(&elf, script, sizeof script, "script", &err), HD_E_FORMAT);
    assert_non_null(strstr(err.text, "script"));
    assert_int_equal(hd_elf_read(&elf, "", 0, "empty", &err), HD_E_FORMAT);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_program_is_found),
        cmocka_unit_test(distributions_are_told),
        cmocka_unit_test(damaged_files_are_survived),
        cmocka_unit_test(other_files_are_refused),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
