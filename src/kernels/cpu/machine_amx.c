/* kernels/cpu/machine_amx.c: measuring loops for AMX: four tiles of sums, two of each operand, as a kernel has them. */
#include "kernels/cpu/machine_internal.h"

#if defined(__AMX_INT8__) || defined(__AMXINT8__) /* gcc, clang */

#include "kernels/cpu/simd_amx.h"

#define SUMS 4
#define ROWS 16

static bool has(void)
{
    return hd_cpu_has(HD_CPU_AMX);
}

static void open_tiles(void)
{
    hd_tiles_open(&hd_whole_tiles);
    _tile_zero(0);
    _tile_zero(1);
    _tile_zero(2);
    _tile_zero(3);
    _tile_zero(4);
    _tile_zero(5);
    _tile_zero(6);
    _tile_zero(7);
}

static void run_int8(int64_t rounds)
{
    open_tiles();
    for (int64_t r = 0; r < rounds; r++) {
        _tile_dpbusd(0, 4, 6);
        _tile_dpbusd(1, 4, 7);
        _tile_dpbusd(2, 5, 6);
        _tile_dpbusd(3, 5, 7);
    }
    hd_tiles_close();
}

static void run_bf16(int64_t rounds)
{
    open_tiles();
    for (int64_t r = 0; r < rounds; r++) {
        _tile_dpbf16ps(0, 4, 6);
        _tile_dpbf16ps(1, 4, 7);
        _tile_dpbf16ps(2, 5, 6);
        _tile_dpbf16ps(3, 5, 7);
    }
    hd_tiles_close();
}

const hd_machine_loop hd_machine_amx[2] = {
    {HD_ARITHMETIC_AMX_BF16, "tdpbf16ps", SUMS *ROWS * 16 * 32 * 2.0, run_bf16, has},
    {HD_ARITHMETIC_AMX_INT8, "tdpbusd", SUMS *ROWS * 16 * 64 * 2.0, run_int8, has},
};

#endif
