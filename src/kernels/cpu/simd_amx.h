/* kernels/cpu/simd_amx.h: a thread's tile registers: their shapes set, and given back. */
#ifndef HD_KERNELS_SIMD_AMX_H
#define HD_KERNELS_SIMD_AMX_H

#include <immintrin.h>
#include <stdint.h>

/* What ldtilecfg takes (Intel SDM, volume 2A): palette 1, then bytes of a row, and rows, of each register. */
typedef struct hd_tile_shapes {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} hd_tile_shapes;

/* Eight registers of 16 rows of 64 bytes. */
static const hd_tile_shapes hd_whole_tiles = {
    .palette = 1, .row_bytes = {64, 64, 64, 64, 64, 64, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 16, 16}};

static inline void hd_tiles_open(const hd_tile_shapes *shapes)
{
    __asm__ volatile("" : : "r"(shapes) : "memory"); /* gcc 12 believes that the next line reads 8 bytes only */
    _tile_loadconfig(shapes);
}

/* Without this, every change of threads would save and restore the tiles. */
static inline void hd_tiles_close(void)
{
    _tile_release();
}

#endif
