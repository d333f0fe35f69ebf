/* kernels/cpu/pack.h: the row-interleaved layout that the fast tiers' integer kernels read.
 *
 * A matrix is cut into blocks of R rows (R = 32-bit lanes of the tier's vectors), each block into units of 32 columns.
 * A unit holds, one after the other:
 *     scales  [32/group][R] float16          value of one step of the code
 *     minima  [32/group][R] float16          only with has_min: value of code 0
 *     codes   4 bits: 4 vectors of R*4 bytes; byte 4*r+b of vector j has the code of row r, column 4*j+b in its low
 * half and that of column 16+4*j+b in its high half 8 bits: 8 vectors of R*4 bytes; byte 4*r+b of vector j is the code
 * of row r, column 4*j+b so that one dot-product instruction takes four columns of R rows.  A weight is row_scale[r] *
 * (scale * (code - offset) + minimum). row_scale is a power of two that brings the row's float16 values near 1: small
 * scales would lose bits as subnormals. Codes are exact; scales of types that multiply two small numbers (K types) are
 * rounded to 11 bits (2^-11 relative at most). Rows are padded with zeros to whole blocks.
 */
#ifndef HD_KERNELS_PACK_H
#define HD_KERNELS_PACK_H

#include "tensor/backend.h"

#define HD_UNIT 32 /* columns of a unit */

typedef struct hd_packed {
    int lanes; /* R */
    int bits;  /* 4 or 8 */
    int group; /* columns that share a scale: 16 or 32 */
    bool has_min;
    int offset;    /* subtracted from codes (0..255); 8-bit codes are unsigned bytes where unsigned_codes was asked for,
                      else signed */
    int64_t units; /* per row: cols / 32 */
    int64_t blocks;
    size_t unit_bytes, block_bytes;
    float *row_scale; /* [blocks * lanes] */
    uint8_t *data;
} hd_packed;

/* True when `m` has a type that packs without loss of codes, and whole units. */
bool hd_pack_supported(const hd_matrix *m);

/* Packs for vectors of `lanes` lanes; with `unsigned_codes`, 8-bit codes are stored as code + 128.  Runs on the pool.
 * Sets m->packed (an hd_packed), m->packed_bytes and m->layout.  HD_E_MEMORY. */
hd_status hd_pack(hd_pool *pool, hd_matrix *m, int lanes, bool unsigned_codes);
void hd_unpack_free(hd_matrix *m);

#endif
