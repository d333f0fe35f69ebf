/* kernels/cpu/fast_amx.inc.h: panels times tiles of activations in AMX's tile registers (Intel SDM, volume 2A, TDPBSUD).
 *
 * A tile of 16 rows of activations (signed bytes) meets a unit of 16 rows of weights (unsigned codes) in one instruction:
 * the same whole numbers as those of vi_dot4, so that scaled and summed in the same order the result is the same bit
 * for bit, whichever of the two took a row.  Sums of the next unit are under way while this one's are scaled. */

/* A tile of fewer rows goes through the vector loops, which then need less time. */
#define AMX_ROWS 6

/* Tile registers (the intrinsics want plain numbers): 0 and 1 products; 2 bytes of 16 rows of activations and 3 codes of
 * a unit; 4 and 5 the same of half a unit, which is a group of its own. */

/* The palette of tile shapes: rows, and bytes of a row, of each register. */
typedef struct amx_palette {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_palette;

static void amx_begin(void)
{
    static const amx_palette p = {
        .palette = 1,
        .row_bytes = {64, 64, 32, 64, 16, 64},
        .rows = {16, 16, 16, 8, 16, 4},
    };
    __asm__ volatile("" : : "r"(&p) : "memory"); /* gcc 12 believes that the next line reads 8 bytes only */
    _tile_loadconfig(&p);
}

/* Without this, every change of threads would save and restore the tiles. */
static void amx_end(void)
{
    _tile_release();
}

/* sum[g][row] = dot products of a unit; group 0 and 1, or 0 alone. */
HD_INLINE void amx_unit(const summing f, const vf *code, const uint8_t *q, vi (*sum)[TILE])
{
    if (f.groups == 1) {
        _tile_zero(0);
        _tile_loadd(2, q, HD_UNIT);
        _tile_loadd(3, code, sizeof *code);
        _tile_dpbsud(0, 2, 3);
        _tile_stored(0, sum[0], sizeof(vi));
        return;
    }
    _tile_zero(0);
    _tile_loadd(4, q, HD_UNIT);
    _tile_loadd(5, code, sizeof *code);
    _tile_dpbsud(0, 4, 5);
    _tile_stored(0, sum[0], sizeof(vi));
    _tile_zero(1);
    _tile_loadd(4, q + HD_UNIT / 2, HD_UNIT);
    _tile_loadd(5, code + 4, sizeof *code);
    _tile_dpbsud(1, 4, 5);
    _tile_stored(1, sum[1], sizeof(vi));
}

/* Scales the products of a unit and adds them to the rows' sums, in the order of add_plane. */
HD_INLINE void amx_add(const summing f, const bool adds_min, int offset, const vf *scale, const vf *min, unit_view x,
                       const vi (*product)[TILE], vf *sum)
{
    HD_UNROLL
    for (int i = 0; i < TILE; i++) {
        float d = unit_float(TILE, x, i, FIELD_D);
        HD_UNROLL
        for (int g = 0; g < f.groups; g++) {
            int32_t nsum = unit_int(TILE, x, i, f.groups == 2 && g == 0 ? FIELD_NSUM0 : FIELD_NSUM);
            if (g == 1) nsum -= unit_int(TILE, x, i, FIELD_NSUM0);
            vi whole = product[g][i];
            if (!f.has_min) whole += vi_splat(offset * nsum);
            sum[i] = vf_fma(vf_of_int(whole), scale[g] * d, sum[i]);
            if (adds_min && f.groups == 1) sum[i] = vf_fma(min[0], vf_splat(unit_float(TILE, x, i, FIELD_PART)), sum[i]);
            if (adds_min && f.groups == 2) sum[i] = vf_fma(min[g], vf_splat(-(d * (float)nsum)), sum[i]);
        }
    }
}

/* panel_tile for `rows` rows of a tile at once. */
HD_INLINE void amx_tile(const summing f, const panel *p, int64_t u0, const inputs *in, int64_t tile, int rows,
                        float *out, int64_t ldo)
{
    const ptrdiff_t step = TILE * (ptrdiff_t)sizeof(quant_unit);
    const uint8_t *bytes = in->main + (size_t)tile * tile_bytes_of(in) + u0 * step;
    const uint8_t *any = in->has_rest + tile * in->ldr + u0;
    const ptrdiff_t to_rest = in->rest - in->main;
    const int width = 8 + f.groups * (f.has_min ? 2 : 1);
    const vf *at = p->data;
    vi product[2][2][TILE], fine[2][TILE];
    vf sum[TILE];
    HD_UNROLL
    for (int i = 0; i < TILE; i++)
        sum[i] = u0 && i < rows ? vf_load(out + i * ldo) : (vf){0};
    amx_unit(f, at, bytes, product[0]);
    for (int64_t u = 0; u < p->count; u++, at += width, bytes += step) {
        if (u + 1 < p->count) amx_unit(f, at + width, bytes + step, product[(u + 1) % 2]);
        unit_view x = unit_from(TILE, bytes, 0);
        amx_add(f, f.has_min, p->offset, at + 8, at + 8 + f.groups, x, (const vi(*)[TILE])product[u % 2], sum);
        if (!any[u]) continue;
        amx_unit(f, at, bytes + to_rest, fine);
        amx_add(f, f.has_min && f.groups == 2, p->offset, at + 8, at + 8 + f.groups, unit_moved(x, to_rest),
                (const vi(*)[TILE])fine, sum);
    }
    HD_UNROLL
    for (int i = 0; i < TILE; i++)
        if (i < rows) vf_store(out + i * ldo, sum[i]);
}
