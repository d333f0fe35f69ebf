/* test_recipe.c: quantize/quantize.h: which type each mix gives to which tensor, from names and shapes alone. */
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>

#include <cmocka.h>

#include "models/published.h"
#include "quantize/quantize.h"

#define TENSORS_MAX 1024

/* A model of any shape. */
typedef struct shape {
    int layers;
    int64_t hidden, ffn, vocab, query_rows, key_rows, experts;
    bool tied;
} shape;

static const shape llama_8b = {32, 4096, 14336, 128256, 4096, 1024, 0, false};
static const shape many_heads = {32, 4096, 11008, 32000, 4096, 4096, 0, false}; /* each has its own keys and values */
static const shape llama_70b = {80, 8192, 28672, 128256, 8192, 1024, 0, false};
static const shape smollm2 = {30, 576, 1536, 49152, 576, 192, 0, true};
static const shape mixtral = {32, 4096, 14336, 32000, 4096, 1024, 8, false};

static hd_tensor tensors[TENSORS_MAX];
static char names[TENSORS_MAX][64];
static size_t count;

static void add(int layer, const char *name, int64_t planes, int64_t rows, int64_t cols)
{
    hd_tensor *t = &tensors[count];
    if (layer < 0)
        snprintf(names[count], sizeof names[0], "%s", name);
    else
        snprintf(names[count], sizeof names[0], "blk.%d.%s", layer, name);
    *t = (hd_tensor){.name = names[count], .type = rows ? HD_TYPE_BF16 : HD_TYPE_F32, .shape = {1, 1, 1, 1}};
    if (planes) t->shape[t->dims++] = planes;
    if (rows) t->shape[t->dims++] = rows;
    t->shape[t->dims++] = cols;
    count++;
}

static void build(const shape *s)
{
    const char *moe = s->experts ? "_exps" : "";
    char name[32];
    count = 0;
    add(-1, "token_embd.weight", 0, s->vocab, s->hidden);
    add(-1, "output_norm.weight", 0, 0, s->hidden);
    if (!s->tied) add(-1, "output.weight", 0, s->vocab, s->hidden);
    for (int l = 0; l < s->layers; l++) {
        add(l, "attn_norm.weight", 0, 0, s->hidden);
        add(l, "ffn_norm.weight", 0, 0, s->hidden);
        add(l, "attn_q.weight", 0, s->query_rows, s->hidden);
        add(l, "attn_k.weight", 0, s->key_rows, s->hidden);
        add(l, "attn_v.weight", 0, s->key_rows, s->hidden);
        add(l, "attn_output.weight", 0, s->hidden, s->query_rows);
        if (s->experts) add(l, "ffn_gate_inp.weight", 0, s->experts, s->hidden);
        snprintf(name, sizeof name, "ffn_gate%s.weight", moe);
        add(l, name, s->experts, s->ffn, s->hidden);
        snprintf(name, sizeof name, "ffn_up%s.weight", moe);
        add(l, name, s->experts, s->ffn, s->hidden);
        snprintf(name, sizeof name, "ffn_down%s.weight", moe);
        add(l, name, s->experts, s->hidden, s->ffn);
    }
}

static hd_type types[TENSORS_MAX];

static void make(const char *mix, bool weighted)
{
    const hd_quant_mix *found = hd_quant_mix_find(mix);
    assert_non_null(found);
    hd_quant_types(types, tensors, count, found, weighted);
}

static void expect(const char *mix, const char *name, hd_type type)
{
    make(mix, false);
    for (size_t i = 0; i < count; i++) {
        if (strcmp(names[i], name) != 0) continue;
        if (types[i] != type) fail_msg("%s: %s is %s", mix, name, hd_type_name(types[i]));
        return;
    }
    fail_msg("there is no %s", name);
}

static uint64_t bytes_of(const char *mix, bool weighted)
{
    uint64_t sum = 0;
    make(mix, weighted);
    for (size_t i = 0; i < count; i++)
        sum += hd_quant_bytes(&tensors[i], types[i]);
    return sum;
}

static void test_names(void **state)
{
    (void)state;
    size_t n;
    const hd_quant_mix *all = hd_quant_mixes(&n);
    assert_true(n >= 25);
    for (size_t i = 0; i < n; i++)
        assert_ptr_equal(hd_quant_mix_find(all[i].name), &all[i]);
    assert_null(hd_quant_mix_find("Q4"));
    assert_ptr_equal(hd_quant_mix_find("q4_k"), hd_quant_mix_find("Q4_K_M"));
    assert_ptr_equal(hd_quant_mix_find("Q3_k"), hd_quant_mix_find("Q3_K_M"));
    assert_int_equal(hd_quant_mix_find("Q2_K_S")->gguf_id, 21);
    assert_int_equal(hd_quant_mix_find("MXFP4_MOE")->gguf_id, 38);
    assert_true(hd_quant_mix_writable(hd_quant_mix_find("BF16")) && hd_quant_mix_writable(hd_quant_mix_find("Q4_FIT")));
}

static void test_what_gives_the_logits(void **state)
{
    (void)state;
    build(&llama_8b);
    expect("Q4_0", "output.weight", HD_TYPE_Q6_K);
    expect("Q8_0", "output.weight", HD_TYPE_Q8_0);
    expect("IQ2_XXS", "output.weight", HD_TYPE_Q5_K);
    expect("MXFP4", "output.weight", HD_TYPE_MXFP4);
    expect("MXFP4_MOE", "output.weight", HD_TYPE_Q8_0);
    expect("F16", "output.weight", HD_TYPE_F16);
    expect("Q4_0", "token_embd.weight", HD_TYPE_Q4_0);
    expect("IQ3_XXS", "token_embd.weight", HD_TYPE_IQ3_S);
    expect("Q4_FIT", "token_embd.weight", HD_TYPE_Q4_K);
    build(&smollm2); /* the embedding is the output; its rows are no whole blocks of 256 */
    expect("Q4_0", "token_embd.weight", HD_TYPE_Q8_0);
    expect("IQ2_XXS", "token_embd.weight", HD_TYPE_Q8_0);
    expect("MXFP4", "token_embd.weight", HD_TYPE_MXFP4);
    expect("BF16", "token_embd.weight", HD_TYPE_BF16);
}

static void test_attention(void **state)
{
    (void)state;
    build(&llama_8b); /* four heads share their values */
    expect("Q4_K_M", "blk.0.attn_v.weight", HD_TYPE_Q6_K);
    expect("Q4_K_M", "blk.4.attn_v.weight", HD_TYPE_Q4_K);
    expect("Q4_K_M", "blk.6.attn_v.weight", HD_TYPE_Q6_K);
    expect("Q4_K_M", "blk.28.attn_v.weight", HD_TYPE_Q6_K);
    expect("Q4_K_M", "blk.6.attn_q.weight", HD_TYPE_Q4_K);
    expect("Q4_K_S", "blk.3.attn_v.weight", HD_TYPE_Q5_K);
    expect("Q4_K_S", "blk.4.attn_v.weight", HD_TYPE_Q4_K);
    expect("Q2_K", "blk.9.attn_v.weight", HD_TYPE_Q4_K);
    expect("Q2_K_S", "blk.9.attn_v.weight", HD_TYPE_Q4_K);
    expect("IQ4_XS", "blk.9.attn_v.weight", HD_TYPE_Q5_K);
    expect("Q2_K", "blk.9.attn_output.weight", HD_TYPE_Q3_K);
    expect("IQ3_XXS", "blk.9.attn_q.weight", HD_TYPE_IQ2_S);
    expect("IQ3_XXS", "blk.9.attn_output.weight", HD_TYPE_IQ3_S);
    expect("IQ2_XXS", "blk.9.attn_q.weight", HD_TYPE_IQ2_XXS);
    build(&many_heads);
    expect("Q2_K", "blk.9.attn_v.weight", HD_TYPE_Q3_K);
    expect("Q2_K_S", "blk.9.attn_v.weight", HD_TYPE_Q2_K);
    expect("IQ4_XS", "blk.9.attn_v.weight", HD_TYPE_IQ4_XS);
    expect("Q3_K_M", "blk.1.attn_v.weight", HD_TYPE_Q5_K);
    expect("Q3_K_M", "blk.2.attn_v.weight", HD_TYPE_Q4_K);
    expect("Q3_K_L", "blk.2.attn_output.weight", HD_TYPE_Q5_K);
    build(&llama_70b);
    expect("Q3_K_S", "blk.9.attn_v.weight", HD_TYPE_Q5_K);
    expect("Q4_K_M", "blk.9.attn_v.weight", HD_TYPE_Q6_K);
    expect("Q4_K_M", "blk.10.attn_v.weight", HD_TYPE_Q5_K);
    build(&mixtral);
    expect("Q4_K_M", "blk.9.attn_k.weight", HD_TYPE_Q8_0);
    expect("Q4_K_M", "blk.9.attn_output.weight", HD_TYPE_Q5_K);
    expect("F16", "blk.9.attn_k.weight", HD_TYPE_F16);
}

static void test_feed_forward(void **state)
{
    (void)state;
    build(&llama_8b);
    expect("Q4_K_S", "blk.3.ffn_down.weight", HD_TYPE_Q5_K);
    expect("Q4_K_S", "blk.4.ffn_down.weight", HD_TYPE_Q4_K);
    expect("Q3_K_M", "blk.1.ffn_down.weight", HD_TYPE_Q5_K);
    expect("Q3_K_M", "blk.2.ffn_down.weight", HD_TYPE_Q4_K);
    expect("Q3_K_L", "blk.9.ffn_down.weight", HD_TYPE_Q5_K);
    expect("Q2_K_S", "blk.0.ffn_down.weight", HD_TYPE_Q4_K);
    expect("IQ2_XXS", "blk.3.ffn_down.weight", HD_TYPE_Q2_K);
    expect("Q4_FIT", "blk.4.ffn_down.weight", HD_TYPE_IQ4_XS);
    expect("Q4_FIT", "blk.3.ffn_up.weight", HD_TYPE_IQ4_XS);
    expect("Q4_FIT", "blk.4.ffn_up.weight", HD_TYPE_Q3_K);
    expect("Q4_FIT", "blk.4.attn_q.weight", HD_TYPE_Q5_K);
    build(&mixtral);
    expect("MXFP4_MOE", "blk.4.ffn_up_exps.weight", HD_TYPE_MXFP4);
    expect("MXFP4_MOE", "blk.4.attn_q.weight", HD_TYPE_Q8_0);
    expect("Q4_K_M", "blk.4.ffn_gate_inp.weight", HD_TYPE_BF16);
    expect("Q4_K_M", "blk.4.ffn_norm.weight", HD_TYPE_F32);
}

/* With importance some mixes are smaller, others have more where it helps. */
static void test_weighted(void **state)
{
    (void)state;
    build(&llama_8b);
    assert_true(bytes_of("IQ4_XS", true) < bytes_of("IQ4_XS", false));
    assert_true(bytes_of("Q4_0", true) > bytes_of("Q4_0", false));
    assert_true(bytes_of("Q4_K_M", true) == bytes_of("Q4_K_M", false));
}

/* Rows of 576 and of 40 are no whole blocks of 256, those of 40 none of 32. */
static void test_rows_that_do_not_fit(void **state)
{
    (void)state;
    build(&smollm2);
    add(0, "odd.weight", 0, 8, 40);
    add(0, "one.weight", 0, 1, 256); /* a vector, whatever its shape says */
    expect("Q4_K_S", "blk.9.attn_q.weight", HD_TYPE_Q5_0);
    expect("Q4_K_S", "blk.0.attn_v.weight", HD_TYPE_Q5_1);
    expect("Q4_K_M", "blk.0.attn_v.weight", HD_TYPE_Q8_0);
    expect("Q2_K", "blk.0.attn_q.weight", HD_TYPE_IQ4_NL);
    expect("IQ4_XS", "blk.0.attn_q.weight", HD_TYPE_IQ4_NL);
    expect("Q2_K", "blk.9.ffn_down.weight", HD_TYPE_Q3_K);
    expect("Q8_0", "blk.0.odd.weight", HD_TYPE_F16);
    expect("BF16", "blk.0.odd.weight", HD_TYPE_BF16);
    expect("Q4_K_M", "blk.0.one.weight", HD_TYPE_BF16);
}

/* The largest model of the house in four bits: scales, header and metadata included. */
static void test_a_large_model_fits(void **state)
{
    (void)state;
    hd_tensor *list;
    size_t n;
    assert_int_equal(hd_published_tensors(hd_published_find("deepseek-v3"), &list, &n, NULL), HD_OK);
    hd_type *recipe = hd_alloc_array(n, sizeof *recipe);
    hd_quant_types(recipe, list, n, hd_quant_mix_find("Q4_FIT"), false);
    for (size_t i = 0; i < n; i++)
        list[i].type = recipe[i];
    uint64_t bytes = hd_gguf_file_bytes(list, n, 16 << 20);
    assert_true(bytes <= 336000000000 && bytes > 330000000000);
    hd_free(recipe);
    hd_free(list);
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_names),
        cmocka_unit_test(test_what_gives_the_logits),
        cmocka_unit_test(test_attention),
        cmocka_unit_test(test_feed_forward),
        cmocka_unit_test(test_weighted),
        cmocka_unit_test(test_rows_that_do_not_fit),
        cmocka_unit_test(test_a_large_model_fits),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
