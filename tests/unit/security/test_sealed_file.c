/* Sealed files: what was written comes back, and no cut, swap, stitch or flipped bit goes unnoticed. */
#include "unit/security/folder.h"
#include "unit/security/sealed.h"

#include <dirent.h>

#include "crypto/crypto.h"

#define CHUNK 16
#define STEP (CHUNK + HD_AEAD_TAG) /* bytes of a chunk in the file */

static hd_data_folder *folder;

static int open_all(void **state)
{
    return make_root(state) == 0 && hd_data_folder_open(&folder, "d", HD_DATA_CREATE, NULL) == HD_OK ? 0 : -1;
}

static int close_all(void **state)
{
    hd_data_folder_close(&folder);
    return remove_root(state);
}

static void seal_file(const char *path, size_t chunk, const void *data, size_t len)
{
    hd_error err = {.text = ""};
    if (seal(folder, "test", TEXT("model 1"), path, chunk, data, len, &err) != HD_OK) fail_msg("%s", err.text);
}

static hd_status unseal_file(const char *path, hd_buf *out, hd_error *err)
{
    hd_buf_init(out, 1 << 24);
    return unseal(folder, "test", TEXT("model 1"), path, sizeof(char[4096]), out, err);
}

static size_t files_in(const char *path)
{
    DIR *dir = opendir(path);
    size_t count = 0;
    assert_non_null(dir);
    while (readdir(dir))
        count++;
    closedir(dir);
    return count - 2; /* . and .. */
}

static void all_lengths_come_back(void **state)
{
    (void)state;
    char data[5 * CHUNK];
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i * 7);
    for (size_t len = 0; len <= sizeof data; len++) {
        for (size_t piece = 1; piece <= 33; piece += 16) { /* with chunks and across them */
            hd_buf out;
            hd_sealed_reader *reader = NULL;
            struct stat st;
            hd_buf_init(&out, 4096);
            seal_file("f", CHUNK, data, len);
            assert_int_equal(unseal(folder, "test", TEXT("model 1"), "f", piece, &out, NULL), HD_OK);
            assert_int_equal(out.len, len);
            if (len) assert_memory_equal(out.data, data, len);
            assert_int_equal(stat("f", &st), 0);
            assert_int_equal(st.st_size, HD_SEALED_HEADER + len + HD_AEAD_TAG * HD_MAX((len + CHUNK - 1) / CHUNK, 1));
            assert_int_equal(st.st_mode & 0777, 0600);
            assert_int_equal(hd_sealed_reader_open(&reader, folder, "test", TEXT("model 1"), "f", NULL), HD_OK);
            assert_int_equal(hd_sealed_reader_size(reader), len);
            hd_sealed_reader_close(&reader);
            hd_buf_free(&out);
        }
    }
}

static void the_size_of_chunks_that_is_used(void **state)
{
    (void)state;
    static char data[2500000];
    hd_sealed_writer *writer = NULL;
    hd_buf out;
    for (size_t i = 0; i < sizeof data; i++)
        data[i] = (char)(i >> 8 ^ i);
    assert_int_equal(hd_sealed_writer_open(&writer, folder, "test", TEXT("model 1"), "f", NULL), HD_OK);
    for (size_t at = 0, n = 1; at < sizeof data; at += n, n = HD_MIN(n * 3, sizeof data - at))
        assert_int_equal(hd_sealed_writer_write(writer, data + at, n, NULL), HD_OK);
    assert_int_equal(hd_sealed_writer_commit(writer, NULL), HD_OK);
    hd_sealed_writer_close(&writer);
    assert_int_equal(unseal_file("f", &out, NULL), HD_OK);
    assert_int_equal(out.len, sizeof data);
    assert_memory_equal(out.data, data, sizeof data);
    hd_buf_free(&out);
}

static void nothing_stays_without_commit(void **state)
{
    (void)state;
    hd_sealed_writer *writer = NULL;
    hd_buf out;
    seal_file("d/f", CHUNK, "old", 3);
    size_t before = files_in("d");
    assert_int_equal(hd_sealed_writer_open(&writer, folder, "test", TEXT("model 1"), "d/f", NULL), HD_OK);
    assert_int_equal(hd_sealed_writer_write(writer, "new", 3, NULL), HD_OK);
    assert_int_equal(files_in("d"), before + 1);
    hd_sealed_writer_close(&writer);
    assert_null(writer);
    assert_int_equal(files_in("d"), before);
    assert_int_equal(unseal_file("d/f", &out, NULL), HD_OK);
    assert_string_equal(out.data, "old");
    hd_buf_free(&out);

    hd_error err;
    assert_int_equal(hd_sealed_writer_open(&writer, folder, "test", TEXT("model 1"), "d/f", NULL), HD_OK);
    assert_int_equal(hd_sealed_writer_write(writer, "new", 3, NULL), HD_OK);
    assert_int_equal(hd_sealed_writer_commit(writer, NULL), HD_OK);
    assert_int_equal(hd_sealed_writer_write(writer, "more", 4, &err), HD_E_ARGUMENT);
    assert_int_equal(hd_sealed_writer_commit(writer, &err), HD_E_ARGUMENT);
    hd_sealed_writer_close(&writer);
    assert_int_equal(files_in("d"), before);
    assert_int_equal(unseal_file("d/f", &out, NULL), HD_OK);
    assert_string_equal(out.data, "new");
    hd_buf_free(&out);
}

/* ---- what is noticed ---- */

/* The bytes of `path` must be refused, and what was given before are bytes of the original. */
static void assert_noticed(const char *path, const char *original, size_t original_len)
{
    hd_error err = {.text = ""};
    hd_buf out;
    assert_int_equal(unseal_file(path, &out, &err), HD_E_CHECKSUM);
    assert_says(&err, "is damaged");
    assert_true(out.len <= original_len);
    if (out.len) assert_memory_equal(out.data, original, out.len);
    hd_buf_free(&out);
}

static void every_flipped_bit(void **state)
{
    (void)state;
    static const char text[] = "forty bytes that fill three short chunks";
    static char file[512];
    seal_file("f", CHUNK, text, 40);
    size_t len = read_file("f", file, sizeof file);
    for (size_t bit = 8 * 16; bit < 8 * len; bit++) { /* before: magic, version and chunk size */
        file[bit / 8] ^= (char)(1 << bit % 8);
        write_file("g", file, len, 0600);
        assert_noticed("g", text, 40);
        file[bit / 8] ^= (char)(1 << bit % 8);
    }
    for (size_t bit = 0; bit < 8 * 16; bit++) {
        hd_buf out;
        file[bit / 8] ^= (char)(1 << bit % 8);
        write_file("g", file, len, 0600);
        assert_int_not_equal(unseal_file("g", &out, NULL), HD_OK);
        assert_int_equal(out.len, 0);
        hd_buf_free(&out);
        file[bit / 8] ^= (char)(1 << bit % 8);
    }
}

static void every_cut_and_every_addition(void **state)
{
    (void)state;
    static const char text[] = "forty-eight bytes that fill three chunks exactly";
    static char file[512];
    seal_file("f", CHUNK, text, 48);
    size_t len = read_file("f", file, sizeof file);
    assert_int_equal(len, HD_SEALED_HEADER + 3 * STEP);
    for (size_t cut = HD_SEALED_HEADER; cut < len; cut++) {
        write_file("g", file, cut, 0600);
        assert_noticed("g", text, 48);
    }
    for (size_t more = 1; more <= 2 * STEP; more++) {
        write_file("g", file, len + more, 0600); /* zeros behind it */
        assert_noticed("g", text, 48);
    }
    memcpy(file + len, file + len - STEP, STEP); /* the last chunk twice */
    write_file("g", file, len + STEP, 0600);
    assert_noticed("g", text, 48);
}

static void swapped_and_stitched_chunks(void **state)
{
    (void)state;
    static const char text[] = "the same sixteenthe same sixteenthe same sixteen";
    static char file[512], other[512], mixed[512];
    seal_file("f", CHUNK, text, 48);
    seal_file("o", CHUNK, text, 48);
    size_t len = read_file("f", file, sizeof file);
    assert_int_equal(read_file("o", other, sizeof other), len);
    assert_memory_not_equal(file + HD_SEALED_HEADER, other + HD_SEALED_HEADER, STEP);
    assert_memory_not_equal(file + HD_SEALED_HEADER, file + HD_SEALED_HEADER + STEP, STEP);
    for (size_t a = 0; a < 3; a++) {
        char *chunk = mixed + HD_SEALED_HEADER + a * STEP;
        for (size_t b = 0; b < 3; b++) {
            if (a == b) continue;
            memcpy(mixed, file, len);
            memcpy(chunk, file + HD_SEALED_HEADER + b * STEP, STEP); /* a chunk of another place */
            write_file("g", mixed, len, 0600);
            assert_noticed("g", text, 48);
        }
        memcpy(mixed, file, len);
        memcpy(chunk, other + HD_SEALED_HEADER + a * STEP, STEP); /* of the same place in another file */
        write_file("g", mixed, len, 0600);
        assert_noticed("g", text, 48);
    }
    memcpy(mixed, other, HD_SEALED_HEADER);
    memcpy(mixed + HD_SEALED_HEADER, file + HD_SEALED_HEADER, len - HD_SEALED_HEADER); /* under another header */
    write_file("g", mixed, len, 0600);
    assert_noticed("g", text, 48);
}

static void other_purposes_contexts_and_folders(void **state)
{
    (void)state;
    static char lengthy[HD_SEALED_CONTEXT + 1];
    hd_data_folder *elsewhere = open_folder("elsewhere");
    hd_buf out;
    hd_buf_init(&out, 4096);
    seal_file("f", CHUNK, "text", 4);
    assert_int_equal(unseal(folder, "other", TEXT("model 1"), "f", 9, &out, NULL), HD_E_CHECKSUM);
    assert_int_equal(unseal(folder, "test", TEXT("model 2"), "f", 9, &out, NULL), HD_E_CHECKSUM);
    assert_int_equal(unseal(folder, "test", TEXT("model "), "f", 9, &out, NULL), HD_E_CHECKSUM);
    assert_int_equal(unseal(folder, "test", TEXT(""), "f", 9, &out, NULL), HD_E_CHECKSUM);
    assert_int_equal(unseal(elsewhere, "test", TEXT("model 1"), "f", 9, &out, NULL), HD_E_CHECKSUM);
    assert_int_equal(out.len, 0);
    assert_int_equal(unseal(folder, "test", TEXT("model 1"), "f", 9, &out, NULL), HD_OK);
    hd_buf_clear(&out);
    hd_str most = {lengthy, HD_SEALED_CONTEXT}, too_much = {lengthy, HD_SEALED_CONTEXT + 1};
    assert_int_equal(seal(folder, "test", most, "m", CHUNK, "text", 4, NULL), HD_OK);
    assert_int_equal(unseal(folder, "test", most, "m", 9, &out, NULL), HD_OK);
    assert_int_equal(seal(folder, "test", too_much, "t", CHUNK, "text", 4, NULL), HD_E_LIMIT);
    assert_int_not_equal(access("t", F_OK), 0);
    hd_buf_free(&out);
    hd_data_folder_close(&elsewhere);
}

static void an_error_stays(void **state)
{
    (void)state;
    static char file[512];
    hd_sealed_reader *reader = NULL;
    char bytes[64];
    size_t got;
    hd_error err;
    seal_file("f", CHUNK, "two chunks of text....", 22);
    size_t len = read_file("f", file, sizeof file);
    file[len - 1] ^= 1;
    write_file("f", file, len, 0600);
    assert_int_equal(hd_sealed_reader_open(&reader, folder, "test", TEXT("model 1"), "f", NULL), HD_OK);
    assert_int_equal(hd_sealed_reader_read(reader, bytes, sizeof bytes, &got, NULL), HD_OK);
    assert_int_equal(got, CHUNK);
    for (int i = 0; i < 2; i++) {
        assert_int_equal(hd_sealed_reader_read(reader, bytes, sizeof bytes, &got, &err), HD_E_CHECKSUM);
        assert_int_equal(got, 0);
        assert_says(&err, "f is damaged");
    }
    hd_sealed_reader_close(&reader);
    assert_null(reader);
}

/* ---- what can't be opened ---- */

static void files_that_are_not_sealed(void **state)
{
    (void)state;
    static const struct {
        const char *bytes;
        size_t len;
        hd_status status;
    } cases[] = {
        {"", 0, HD_E_FORMAT},
        {"HDSEALED", 8, HD_E_FORMAT},
        {"XDSEALED\1\0\0\0\0\0\20\0", 48, HD_E_FORMAT},
        {"HDSEALED\2\0\0\0\0\0\20\0", 48, HD_E_UNSUPPORTED},
        {"HDSEALED\1\0\0\0\17\0\0\0", 48, HD_E_FORMAT},
        {"HDSEALED\1\0\0\0\1\0\20\0", 48, HD_E_FORMAT},
        {"HDSEALED\1\0\0\0\377\377\377\377", 48, HD_E_FORMAT},
        {"HDSEALED\1\0\0\0\0\0\20\0", 48, HD_E_CHECKSUM},
        {"HDSEALED\1\0\0\0\0\0\20\0", 63, HD_E_CHECKSUM},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        char file[64] = {0};
        hd_sealed_reader *reader = NULL;
        hd_error err;
        memcpy(file, cases[i].bytes, HD_MIN(cases[i].len, 16));
        write_file("f", file, cases[i].len, 0600);
        assert_int_equal(hd_sealed_reader_open(&reader, folder, "test", TEXT(""), "f", &err), cases[i].status);
        assert_null(reader);
    }
    hd_sealed_reader *reader = NULL;
    assert_int_equal(hd_sealed_reader_open(&reader, folder, "test", TEXT(""), "none", NULL), HD_E_NOT_FOUND);
    assert_int_equal(hd_sealed_reader_open(&reader, folder, "test", TEXT(""), "d", NULL), HD_E_FORMAT);
    assert_int_equal(mkfifo("fifo", 0600), 0);
    assert_int_equal(hd_sealed_reader_open(&reader, folder, "test", TEXT(""), "fifo", NULL), HD_E_FORMAT);
    hd_sealed_writer *writer = NULL;
    assert_int_equal(hd_sealed_writer_open(&writer, folder, "test", TEXT(""), "none/f", NULL), HD_E_IO);
    assert_null(writer);
}

static void out_of_memory(void **state)
{
    (void)state;
    hd_status status = HD_E_MEMORY;
    for (uint64_t n = 1; n < 40 && status != HD_OK; n++) {
        hd_alloc_fail_after(n);
        status = seal(folder, "test", TEXT("model 1"), "f", CHUNK, "text", 4, NULL);
        hd_alloc_fail_after(0);
        assert_true(status == HD_OK || status == HD_E_MEMORY);
    }
    assert_int_equal(status, HD_OK);
    assert_int_equal(files_in("."), 2); /* d and f */
    status = HD_E_MEMORY;
    for (uint64_t n = 1; n < 40 && status != HD_OK; n++) {
        hd_sealed_reader *reader = NULL;
        hd_alloc_fail_after(n);
        status = hd_sealed_reader_open(&reader, folder, "test", TEXT("model 1"), "f", NULL);
        hd_alloc_fail_after(0);
        assert_true(status == HD_OK || (status == HD_E_MEMORY && !reader));
        hd_sealed_reader_close(&reader);
    }
    assert_int_equal(status, HD_OK);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test_setup_teardown(all_lengths_come_back, open_all, close_all),
        cmocka_unit_test_setup_teardown(the_size_of_chunks_that_is_used, open_all, close_all),
        cmocka_unit_test_setup_teardown(nothing_stays_without_commit, open_all, close_all),
        cmocka_unit_test_setup_teardown(every_flipped_bit, open_all, close_all),
        cmocka_unit_test_setup_teardown(every_cut_and_every_addition, open_all, close_all),
        cmocka_unit_test_setup_teardown(swapped_and_stitched_chunks, open_all, close_all),
        cmocka_unit_test_setup_teardown(other_purposes_contexts_and_folders, open_all, close_all),
        cmocka_unit_test_setup_teardown(an_error_stays, open_all, close_all),
        cmocka_unit_test_setup_teardown(files_that_are_not_sealed, open_all, close_all),
        cmocka_unit_test_setup_teardown(out_of_memory, open_all, close_all),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
