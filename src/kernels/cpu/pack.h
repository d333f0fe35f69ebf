/* kernels/cpu/pack.h: the row-interleaved layout that the fast tiers' integer kernels read.
 *
 * A matrix is cut into blocks of R rows (R = 32-bit lanes of the tier's vectors), each block into supers: as many
 * columns as share a head in the file (32, or 256 of the K, IQ and TQ types).  A super holds, one after the other:
 *     halves  [halves][R] 16 bits   scales as the file has them
 *     bytes   [bytes][R]            scales within the super
 *     units   of 32 columns each; a unit is `bits` vectors of R * 4 bytes in planes of 4, 2 or 1 bits a code, or 8:
 *         4 bits: 4 vectors; byte 4r+b of vector j has column 4j+b of row r in its low half and 16+4j+b in its high one
 *         2 bits: 2 vectors; byte 4r+b of vector v has column 8k+4v+b in its bits 2k and 2k+1
 *         1 bit:  1 vector; byte 4r+b has column 4k+b in its bit k
 *         8 bits: 8 vectors; byte 4r+b of vector j is column 4j+b
 *     (5 bits are 4 + 1, 6 are 4 + 2, 3 are 2 + 1: the low bits first), so that one dot-product instruction takes four
 *     columns of R rows.
 * Scales of rows (I8) stay with the matrix: they are multiplied by sums over the row.
 * Nothing is rounded: a packed matrix has the file's codes and scales, and (but for IQ1 to IQ3, whose code books are
 * written out) the file's size.  Rows are padded with zeros to whole blocks.
 */
#ifndef HD_KERNELS_PACK_H
#define HD_KERNELS_PACK_H

#include "tensor/backend.h"

#define HD_UNIT 32 /* columns of a unit */

/* Values of codes that are no plain numbers, each plus `b`: what a unit's codes are looked up in.  HD_TABLE_IQ4:
 * the non-linear 4-bit types; MXFP4: E2M1 values doubled, so that they are whole; IQ3 and IQ2: the magnitudes of their
 * grids with both signs; IQ1: eighths, of -1, 0 or 1 and an eighth more or less. */
#define HD_TABLE(b, ...) HD_TABLE_PLUS(b, __VA_ARGS__)
#define HD_TABLE_PLUS(b, v0, v1, v2, v3, v4, v5, v6, v7, v8, v9, v10, v11, v12, v13, v14, v15)                         \
    {                                                                                                                  \
        (int8_t)((v0) + (b)), (int8_t)((v1) + (b)), (int8_t)((v2) + (b)), (int8_t)((v3) + (b)), (int8_t)((v4) + (b)),  \
            (int8_t)((v5) + (b)), (int8_t)((v6) + (b)), (int8_t)((v7) + (b)), (int8_t)((v8) + (b)),                    \
            (int8_t)((v9) + (b)), (int8_t)((v10) + (b)), (int8_t)((v11) + (b)), (int8_t)((v12) + (b)),                 \
            (int8_t)((v13) + (b)), (int8_t)((v14) + (b)), (int8_t)((v15) + (b))                                        \
    }
#define HD_TABLE_IQ4(b) HD_TABLE(b, -127, -104, -83, -65, -49, -35, -22, -10, 1, 13, 25, 38, 53, 69, 89, 113)
#define HD_TABLE_MXFP4(b) HD_TABLE(b, 0, 1, 2, 3, 4, 6, 8, 12, 0, -1, -2, -3, -4, -6, -8, -12)
#define HD_TABLE_IQ3_XXS(b) HD_TABLE(b, 4, 12, 20, 28, 36, 44, 52, 62, -4, -12, -20, -28, -36, -44, -52, -62)
#define HD_TABLE_IQ3_S(b) HD_TABLE(b, 1, 3, 5, 7, 9, 11, 13, 15, -1, -3, -5, -7, -9, -11, -13, -15)
#define HD_TABLE_IQ2(b) HD_TABLE(b, 8, 25, 43, 0, -8, -25, -43, 0, 0, 0, 0, 0, 0, 0, 0, 0)
#define HD_TABLE_IQ1(b) HD_TABLE(b, -9, -7, -1, 1, 7, 9, 0, 0, 0, 0, 0, 0, 0, 0, 0, 0)

typedef struct hd_packed {
    hd_type type;
    int lanes;         /* R */
    int64_t units;     /* per row: cols / 32 */
    int64_t supers;    /* per row */
    int64_t blocks;    /* of R rows */
    size_t head_bytes; /* of a super, before its units */
    size_t unit_bytes, super_bytes, block_bytes;
    uint8_t *data;
} hd_packed;

/* True when the type of `m` packs, its rows are whole units, and scales that lie apart are of whole rows. */
bool hd_pack_supported(const hd_matrix *m);

/* Bytes that packing takes, packed_bytes; 0: it does not pack.  Nothing but the type and shape of `m` is looked at. */
size_t hd_pack_bytes(const hd_matrix *m, int lanes);

/* Packs for vectors of `lanes` lanes; codes of Q8_0 and I8 get `bias` added (128 turns them into unsigned bytes).  Runs
 * on the pool.  Sets m->packed (an hd_packed), m->packed_bytes and m->layout.  HD_E_MEMORY. */
hd_status hd_pack(hd_pool *pool, hd_matrix *m, int lanes, int bias);
void hd_unpack_free(hd_matrix *m);

#endif
