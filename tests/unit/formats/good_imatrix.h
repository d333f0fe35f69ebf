/* good_imatrix.h: importance matrices that must open, in both layouts; also seeds of the fuzzer. */
#ifndef HD_TESTS_GOOD_IMATRIX_H
#define HD_TESTS_GOOD_IMATRIX_H

#include "unit/formats/build_gguf.h"

static inline void put_floats(hd_buf *b, const float *x, size_t n)
{
    (void)hd_buf_append(b, x, n * sizeof *x);
}

/* The head of a GGUF one with `more` metadata entries to come. */
static inline void put_imatrix_head(hd_buf *b, uint64_t tensors, uint64_t more)
{
    put_head(b, 3, tensors, 1 + more);
    put_key(b, "general.type", HD_META_STRING);
    put_str(b, "imatrix");
}

/* Two entries as llama.cpp writes them, one of two experts the second of which saw nothing; and a tensor of a kind that
 * is not known. */
static inline void put_good_imatrix(hd_buf *b)
{
    static const float experts[] = {1, 2, 3, 0, 0, 0}, counts[] = {4, 0}, plain[] = {5, 6, 7, 8}, one[] = {2};
    const uint64_t sums[] = {3, 2}, seen[] = {1, 2};
    put_imatrix_head(b, 5, 3);
    put_array(b, "imatrix.datasets", HD_META_STRING, 3);
    put_str(b, "first.txt");
    put_str(b, "no\ntext"); /* is left out */
    put_str(b, "second.txt");
    put_scalar(b, "imatrix.chunk_count", HD_META_U32, 7, 4);
    put_scalar(b, "imatrix.chunk_size", HD_META_U32, 512, 4);
    put_tensor(b, "blk.1.ffn_up_exps.weight.in_sum2", 2, sums, 0, 0);
    put_tensor(b, "blk.1.ffn_up_exps.weight.counts", 2, seen, 0, 32);
    put_vector(b, "blk.0.attn_q.weight.counts", 1, 96);
    put_vector(b, "blk.0.attn_q.weight.in_sum2", 4, 64);
    put_vector(b, "something.else", 1, 128);
    put_padding(b, 32);
    put_floats(b, experts, 6);
    put_padding(b, 32);
    put_floats(b, counts, 2);
    put_padding(b, 32);
    put_floats(b, plain, 4);
    put_padding(b, 32);
    put_floats(b, one, 1);
    put_padding(b, 32);
    put_floats(b, one, 1);
}

/* An entry of the older layout. */
static inline void put_old_entry(hd_buf *b, const char *name, uint32_t windows, const float *x, uint32_t n)
{
    put_u32(b, (uint32_t)strlen(name));
    (void)hd_buf_puts(b, name);
    put_u32(b, windows);
    put_u32(b, n);
    put_floats(b, x, n);
}

static inline void put_old_imatrix(hd_buf *b)
{
    static const float x[] = {5, 6, 7, 8, 9, 10};
    put_u32(b, 2);
    put_old_entry(b, "blk.0.attn_q.weight", 3, x, 4);
    put_old_entry(b, "blk.0.ffn_up.weight", 0, x, 6);
    put_u32(b, 3);
    put_u32(b, 8);
    (void)hd_buf_puts(b, "text.txt");
}

/* Without what follows the entries. */
static inline void put_old_imatrix_short(hd_buf *b)
{
    static const float x[] = {1};
    put_u32(b, 1);
    put_old_entry(b, "a", 1, x, 1);
}

#endif
