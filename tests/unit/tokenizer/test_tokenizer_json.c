/* test_tokenizer_json.c: every member of tokenizer.json, right and wrong.  The catalogue of bad files has one file for
 * each thing that can be wrong; the same files seed the fuzzer. */
#include "unit/tokenizer/help.h"

typedef struct bad_file {
    const char *name; /* tests/fuzz/corpus/tokenizer_json/bad_<name>.json */
    hd_status status;
    const char *says; /* what its error tells */
} bad_file;

static const bad_file bad_files[] = {
    {"json", HD_E_FORMAT, "not valid JSON: line 1"},
    {"json_utf8", HD_E_FORMAT, "not valid JSON"},
    {"json_duplicate", HD_E_FORMAT, "duplicate object key"},
    {"root", HD_E_FORMAT, "a tokenizer.json is a JSON object"},
    {"version", HD_E_UNSUPPORTED, "\"version\" 2.0 is not supported"},
    {"version_type", HD_E_FORMAT, "\"version\" must be a string"},
    {"model", HD_E_FORMAT, "\"model\": must be an object"},
    {"model_type", HD_E_UNSUPPORTED, "model type \"Unigram\""},
    {"model_type_type", HD_E_FORMAT, "\"type\" must be a string"},
    {"prefix", HD_E_UNSUPPORTED, "\"continuing_subword_prefix\""},
    {"prefix_type", HD_E_FORMAT, "\"continuing_subword_prefix\" must be a string"},
    {"suffix", HD_E_UNSUPPORTED, "\"end_of_word_suffix\""},
    {"suffix_type", HD_E_FORMAT, "\"end_of_word_suffix\" must be a string"},
    {"byte_fallback", HD_E_UNSUPPORTED, "\"byte_fallback\" is not supported"},
    {"byte_fallback_type", HD_E_FORMAT, "\"byte_fallback\" must be true or false"},
    {"dropout", HD_E_UNSUPPORTED, "\"dropout\" is not supported"},
    {"vocab", HD_E_FORMAT, "\"vocab\" must be an object"},
    {"vocab_type", HD_E_FORMAT, "\"vocab\" must be an object"},
    {"vocab_empty", HD_E_FORMAT, "\"vocab\" is empty"},
    {"vocab_id_type", HD_E_FORMAT, "the id of \"a\" must be an integer"},
    {"vocab_id_negative", HD_E_LIMIT, "token \"a\": id -1 is not in 0.."},
    {"vocab_id_large", HD_E_LIMIT, "token \"a\": id 2097152 is not in 0..2097151"},
    {"vocab_id_twice", HD_E_FORMAT, "id 0 is given to two tokens"},
    {"vocab_token_long", HD_E_LIMIT, "token 0: its text has 8193 bytes"},
    {"merges", HD_E_FORMAT, "\"merges\" must be an array"},
    {"merges_type", HD_E_FORMAT, "\"merges\" must be an array"},
    {"merge_one_part", HD_E_FORMAT, "merge 0 must be \"left right\""},
    {"merge_three_parts", HD_E_FORMAT, "merge 1 must be \"left right\""},
    {"merge_type", HD_E_FORMAT, "merge 0 must be"},
    {"merge_pair_length", HD_E_FORMAT, "merge 0 must be"},
    {"merge_pair_type", HD_E_FORMAT, "merge 0 must be"},
    {"merge_left", HD_E_FORMAT, "the first part is not in the vocabulary"},
    {"merge_right", HD_E_FORMAT, "the second part is not in the vocabulary"},
    {"merge_whole", HD_E_FORMAT, "what they give together is not in the vocabulary"},
    {"unk_token", HD_E_FORMAT, "\"unk_token\": \"<unk>\" is not in the vocabulary"},
    {"unk_token_type", HD_E_FORMAT, "\"unk_token\" must be a string"},
    {"fuse_unk_type", HD_E_FORMAT, "\"fuse_unk\" must be true or false"},
    {"ignore_merges_type", HD_E_FORMAT, "\"ignore_merges\" must be true or false"},
    {"normalizer", HD_E_FORMAT, "\"normalizer\" must be an object"},
    {"normalizer_no_type", HD_E_FORMAT, "\"normalizer\" has no \"type\""},
    {"normalizer_unknown", HD_E_UNSUPPORTED, "normalizer \"NFKC\" is not supported"},
    {"normalizer_list", HD_E_FORMAT, "\"normalizers\" must be an array"},
    {"normalizer_in_list", HD_E_UNSUPPORTED, "normalizer \"Lowercase\" is not supported"},
    {"normalizer_nested", HD_E_UNSUPPORTED, "normalizer \"Sequence\" is not supported"},
    {"pre_missing", HD_E_UNSUPPORTED, "there is no pre_tokenizer"},
    {"pre_type", HD_E_FORMAT, "\"pre_tokenizer\" must be an object"},
    {"pre_no_type", HD_E_FORMAT, "\"pre_tokenizer\" has no \"type\""},
    {"pre_unknown", HD_E_UNSUPPORTED, "pre_tokenizer \"Metaspace\" is not supported"},
    {"pre_list", HD_E_FORMAT, "\"pretokenizers\" must be an array"},
    {"pre_in_list", HD_E_UNSUPPORTED, "pre_tokenizer 0: pre_tokenizer \"Whitespace\" is not supported"},
    {"pre_no_byte_level", HD_E_UNSUPPORTED, "the pre_tokenizer has no ByteLevel"},
    {"pre_behind_byte_level", HD_E_UNSUPPORTED, "pre_tokenizer 1: a pre_tokenizer behind ByteLevel"},
    {"pre_too_many", HD_E_LIMIT, "pre_tokenizer 16: the pre-tokenizer has more than 16 steps"},
    {"split_behavior", HD_E_FORMAT, "\"behavior\" is missing"},
    {"split_behavior_type", HD_E_FORMAT, "\"behavior\" must be a string"},
    {"split_behavior_unknown", HD_E_UNSUPPORTED, "behavior \"Merged\" is not supported"},
    {"split_invert_type", HD_E_FORMAT, "\"invert\" must be true or false"},
    {"split_pattern", HD_E_FORMAT, "\"pattern\" must be {\"Regex\""},
    {"split_pattern_both", HD_E_FORMAT, "\"pattern\" must be {\"Regex\""},
    {"split_regex_type", HD_E_FORMAT, "\"Regex\" must be a string"},
    {"split_string_type", HD_E_FORMAT, "\"String\" must be a string"},
    {"split_empty", HD_E_FORMAT, "a pattern of 0 bytes"},
    {"split_long", HD_E_LIMIT, "a pattern of 65537 bytes"},
    {"regex_broken", HD_E_FORMAT, "regular expression \"(a\": missing closing parenthesis"},
    {"regex_class_end", HD_E_FORMAT, "the class at byte 2 has no end"},
    {"regex_class_empty", HD_E_UNSUPPORTED, "at byte 1: \"]\" is not supported"},
    {"regex_intersection", HD_E_UNSUPPORTED, "at byte 2: \"&&\" is not supported"},
    {"regex_nested_class", HD_E_UNSUPPORTED, "at byte 2: \"[b\" is not supported"},
    {"regex_word_in_class", HD_E_UNSUPPORTED, "at byte 1: \"\\W\" is not supported"},
    {"regex_hex_in_class", HD_E_UNSUPPORTED, "at byte 1: \"\\H\" is not supported"},
    {"regex_end_in_class", HD_E_UNSUPPORTED, "at byte 1: \"\\A\" is not supported"},
    {"regex_escape", HD_E_UNSUPPORTED, "at byte 1: \"\\R\" is not supported"},
    {"regex_escape_end", HD_E_UNSUPPORTED, "at byte 1: \"\\\" is not supported"},
    {"regex_back_reference", HD_E_UNSUPPORTED, "at byte 3: \"\\1\" is not supported"},
    {"regex_property", HD_E_UNSUPPORTED, "at byte 0: \"\\p{Han}\" is not supported"},
    {"regex_property_open", HD_E_UNSUPPORTED, "at byte 0: \"\\p\" is not supported"},
    {"regex_property_unknown", HD_E_FORMAT, "regular expression \"\\p{Qq}\": unknown property"},
    {"regex_u", HD_E_UNSUPPORTED, "at byte 0: \"\\u12\" is not supported"},
    {"regex_u_digits", HD_E_UNSUPPORTED, "at byte 0: \"\\u12g4\" is not supported"},
    {"regex_x", HD_E_UNSUPPORTED, "at byte 0: \"\\xe9\" is not supported"},
    {"regex_group", HD_E_UNSUPPORTED, "at byte 0: \"(?<\" is not supported"},
    {"regex_verb", HD_E_UNSUPPORTED, "at byte 0: \"(*S\" is not supported"},
    {"regex_braces_plus", HD_E_UNSUPPORTED, "at byte 1: \"{1,2}+\" is not supported"},
    {"regex_folded", HD_E_UNSUPPORTED, "at byte 6: \"ss\" is not supported"},
    {"regex_folded_wide", HD_E_UNSUPPORTED, "at byte 4: \"é)\" is not supported"},
    {"digits_type", HD_E_FORMAT, "\"individual_digits\" must be true or false"},
    {"prefix_space_type", HD_E_FORMAT, "\"add_prefix_space\" must be true or false"},
    {"use_regex_type", HD_E_FORMAT, "\"use_regex\" must be true or false"},
    {"decoder_type", HD_E_FORMAT, "\"decoder\" must be an object"},
    {"decoder_no_type", HD_E_FORMAT, "\"decoder\" has no \"type\""},
    {"decoder_unknown", HD_E_UNSUPPORTED, "decoder \"WordPiece\" is not supported"},
    {"decoder_list", HD_E_FORMAT, "\"decoders\" must be an array"},
    {"decoder_in_list", HD_E_UNSUPPORTED, "decoder \"Fuse\" is not supported"},
    {"added", HD_E_FORMAT, "\"added_tokens\" must be an array"},
    {"added_item", HD_E_FORMAT, "added token 0: must be an object"},
    {"added_content", HD_E_FORMAT, "added token 0: \"content\" is missing"},
    {"added_content_type", HD_E_FORMAT, "added token 0: \"content\" must be a string"},
    {"added_content_long", HD_E_LIMIT, "added token 0: token 3: its text has 8193 bytes"},
    {"added_id", HD_E_FORMAT, "added token 0: \"id\" must be an integer"},
    {"added_id_type", HD_E_FORMAT, "added token 0: \"id\" must be an integer"},
    {"added_id_negative", HD_E_LIMIT, "added token 0: \"id\" must be in 0..2097151"},
    {"added_id_large", HD_E_LIMIT, "added token 0: \"id\" must be in 0..2097151"},
    {"added_id_taken", HD_E_FORMAT, "added token 0: id 1 is \"<x>\" here and \"b\" before"},
    {"added_text_taken", HD_E_FORMAT, "added token 0: \"ab\" has id 3 here and 2 before"},
    {"added_special", HD_E_FORMAT, "added token 0: \"special\" must be true or false"},
    {"added_normalized", HD_E_FORMAT, "added token 0: \"normalized\" must be true or false"},
    {"added_single_word", HD_E_FORMAT, "added token 0: \"single_word\" must be true or false"},
    {"added_lstrip", HD_E_FORMAT, "added token 0: \"lstrip\" must be true or false"},
    {"added_rstrip", HD_E_FORMAT, "added token 0: \"rstrip\" must be true or false"},
};

static void test_bad_files(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(bad_files); i++) {
        char name[128];
        hd_tokenizer *tok = NULL;
        hd_error err = {0};
        snprintf(name, sizeof name, "bad_%s", bad_files[i].name);
        hd_status status = open_seed(&tok, name, &err);
        if (status != bad_files[i].status || !strstr(err.text, bad_files[i].says))
            fail_msg("%s: status %d, \"%s\"; wanted %d, \"%s\"", name, status, err.text, bad_files[i].status,
                     bad_files[i].says);
        assert_int_equal(err.status, status);
        assert_null(tok);
    }
}

/* ---- good ones ---- */

static void test_merges(void **state)
{
    (void)state;
    hd_tokenizer *tok = must_open("good_deepseek_v3"), *pairs = must_open("good_qwen2");
    assert_string_equal(pieces_of(tok, "hello world"), "[hello][ world]");
    assert_string_equal(pieces_of(tok, "hell thing"), "[hell][ ][th][ing]");
    assert_string_equal(pieces_of(tok, "hhello"), "[h][hello]");
    assert_string_equal(pieces_of(pairs, "hello world"), "[hello][ world]");
    assert_string_equal(pieces_of(tok, ""), "");
    hd_tokenizer_close(&tok);
    hd_tokenizer_close(&pairs);
}

/* The merge of "h" and "e" comes first, so that " the" is a token that merges don't reach. */
static void test_whole_words(void **state)
{
    (void)state;
    hd_tokenizer *plain = must_open("good_deepseek_v3"), *whole = must_open("good_llama3");
    assert_string_equal(pieces_of(plain, " the thing"), "[ ][t][he][ ][th][ing]");
    assert_string_equal(pieces_of(whole, " the thing"), "[ the][ ][th][ing]");
    hd_tokenizer_close(&plain);
    hd_tokenizer_close(&whole);
}

/* Steps of all behaviours on one text; the words are those of the tokenizers library. */
static void test_behaviors(void **state)
{
    static const struct {
        const char *seed, *hello, *thing;
    } cases[] = {
        {"good_split_removed", "[h]", "[h]"},
        {"good_split_isolated", "[h][e][l][l][o][ w][o][r][l][d]", "[t][h][ing]"},
        {"good_split_mergedwithprevious", "[he][l][l][o][ w][o][r][l][d]", "[t][h][ing]"},
        {"good_split_mergedwithnext", "[h][e][l][l][o][ w][or][ld]", "[th][ing]"},
        {"good_split_contiguous", "[h][e][ll][o][ w][o][r][l][d]", "[t][h][ing]"},
    };
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_tokenizer *tok = must_open(cases[i].seed);
        assert_string_equal(pieces_of(tok, "hello world"), cases[i].hello);
        assert_string_equal(pieces_of(tok, "thing"), cases[i].thing);
        hd_tokenizer_close(&tok);
    }
}

static void test_prefix_space(void **state)
{
    (void)state;
    hd_tokenizer *tok = must_open("good_gpt2");
    assert_string_equal(pieces_of(tok, "hello"), "[ ][hello]");
    assert_string_equal(pieces_of(tok, " hello"), "[ ][hello]");
    assert_string_equal(pieces_of(tok, "the world"), "[ ][t][he][ world]");
    hd_tokenizer_close(&tok);
}

static void test_unknown_bytes(void **state)
{
    (void)state;
    hd_tokenizer *unknown = must_open("good_unknown"), *llm = must_open("good_deepseek_llm");
    assert_string_equal(pieces_of(unknown, "abcha"), "[!][h][!]");
    /* Bytes that UTF-8 never has are only there as added tokens. */
    assert_string_equal(pieces(llm, "h\xF5\xFFh", 4, false, NULL), "[h][\xF5][\xFF][h]");
    /* ... and the character of that name is one of them only where it is trusted. */
    assert_string_equal(pieces(llm, "h\xC3\xB5", 3, false, NULL), "[h][\xC3][\xB5]");
    assert_string_equal(pieces(llm, "h\xC3\xB5", 3, true, NULL), "[h][\xF5]");
    hd_tokenizer_close(&unknown);
    hd_tokenizer_close(&llm);
}

static void test_facts(void **state)
{
    (void)state;
    size_t count;
    hd_tokenizer *tok = must_open("good_smollm");
    const int32_t *eos = hd_tokenizer_eos(tok, &count);
    assert_int_equal(count, 2);
    assert_int_equal(eos[0], hd_tokenizer_find(tok, "<|endoftext|>", 13));
    assert_int_equal(eos[1], hd_tokenizer_find(tok, "<|im_end|>", 10));
    assert_string_equal(hd_tokenizer_eos_text(tok), "<|endoftext|>");
    assert_int_equal(hd_tokenizer_bos(tok), -1);
    assert_string_equal(hd_tokenizer_bos_text(tok), "");
    assert_null(hd_tokenizer_chat_template(tok));
    assert_true(hd_tokenizer_is_special(tok, eos[0]));
    assert_false(hd_tokenizer_is_special(tok, 0));
    assert_false(hd_tokenizer_is_special(tok, -1));
    assert_false(hd_tokenizer_is_special(tok, hd_tokenizer_vocab_size(tok)));
    assert_int_equal(hd_tokenizer_find(tok, "<|im_end|", 9), -1);
    assert_int_equal(hd_tokenizer_find(tok, "", 0), -1);
    assert_false(hd_tokenizer_is_v4(tok));
    hd_tokenizer_close(&tok);
    tok = must_open("good_v4_names");
    assert_true(hd_tokenizer_is_v4(tok));
    assert_string_equal(hd_tokenizer_bos_text(tok), "<｜begin▁of▁sentence｜>");
    hd_tokenizer_close(&tok);
}

static void test_every_good_seed_opens(void **state)
{
    static const char *const names[] = {"good_plain",    "good_deepseek_coder", "good_regex",
                                        "good_decoders", "good_no_decoder",     "good_flags"};
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(names); i++) {
        hd_tokenizer *tok = must_open(names[i]);
        hd_buf out;
        hd_ids ids = {0};
        static const char text[] = "hello world, the thing 12 \xE4\xBD\xA0\xE5\xA5\xBD\n";
        hd_buf_init(&out, 1 << 16);
        assert_int_equal(hd_tokenizer_encode(tok, text, strlen(text), true, NULL, &ids, NULL), HD_OK);
        assert_int_equal(hd_tokenizer_decode(tok, ids.data, ids.len, true, &out), HD_OK);
        assert_string_equal(out.data, text);
        hd_buf_free(&out);
        hd_ids_free(&ids);
        hd_tokenizer_close(&tok);
    }
}

/* Every allocation fails once: an error, never a crash or a leak (the sanitizers look). */
static void test_allocation_failures(void **state)
{
    static const char text[] = "hello  world <｜User｜> e\xCC\x81 12345 \xF0\x9F\xAB\xA8";
    char path[HD_TEST_PATH];
    hd_mapping *map;
    (void)state;
    seed_path(path, "good_qwen2");
    assert_int_equal(hd_mapping_open(&map, path, NULL), HD_OK);
    const char *json = (const char *)hd_mapping_data(map);
    hd_status status = HD_E_MEMORY;
    for (uint64_t n = 1; status != HD_OK; n++) {
        hd_tokenizer *tok = NULL;
        hd_ids ids = {0};
        hd_error err = {0};
        hd_alloc_fail_after(n);
        status = hd_tokenizer_open_json(&tok, json, hd_mapping_size(map), &err);
        if (status == HD_OK) status = hd_tokenizer_encode(tok, text, strlen(text), true, NULL, &ids, &err);
        hd_alloc_fail_after(0);
        if (status == HD_OK) assert_true(n > 20); /* it did fail on the way */
        if (status != HD_OK) assert_int_equal(status, HD_E_MEMORY);
        if (status != HD_OK) assert_int_equal(err.status, HD_E_MEMORY);
        hd_ids_free(&ids);
        hd_tokenizer_close(&tok);
    }
    hd_mapping_close(&map);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_bad_files),
        cmocka_unit_test(test_merges),
        cmocka_unit_test(test_whole_words),
        cmocka_unit_test(test_behaviors),
        cmocka_unit_test(test_prefix_space),
        cmocka_unit_test(test_unknown_bytes),
        cmocka_unit_test(test_facts),
        cmocka_unit_test(test_every_good_seed_opens),
        cmocka_unit_test(test_allocation_failures),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
