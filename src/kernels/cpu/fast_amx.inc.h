/* kernels/cpu/fast_amx.inc.h: panels times tiles of activations in AMX's tile registers (Intel SDM, volume 2A,
 * TDPBSUD).
 *
 * A tile of 16 rows of activations (signed bytes) meets a unit of 16 rows of weights (unsigned codes) in one
 * instruction: the same whole numbers as those of vi_dot4, so that scaled and summed in the same order the result is
 * the same bit for bit, whichever of the two took a row.  Products are taken four at a time: one alone would wait for
 * its tiles. */

/* A tile of fewer rows goes through the vector loops, which then need less time. */
#define AMX_ROWS 6

#define AMX_PRODUCTS 4

/* Tile registers: 0 to 3 products, 4 and 5 bytes of activations, 6 and 7 codes. */

/* The palette of tile shapes: rows, and bytes of a row, of each register. */
typedef struct amx_palette {
    uint8_t palette, start_row, reserved[14];
    uint16_t row_bytes[16];
    uint8_t rows[16];
} amx_palette;

/* Tiles for products of whole units, or of halves, which are groups of their own. */
static void amx_begin(int groups)
{
    static const amx_palette whole = {
        .palette = 1, .row_bytes = {64, 64, 64, 64, 32, 32, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 8, 8}};
    static const amx_palette half = {
        .palette = 1, .row_bytes = {64, 64, 64, 64, 16, 16, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 4, 4}};
    const amx_palette *p = groups == 1 ? &whole : &half;
    __asm__ volatile("" : : "r"(p) : "memory"); /* gcc 12 believes that the next line reads 8 bytes only */
    _tile_loadconfig(p);
}

/* Without this, every change of threads would save and restore the tiles. */
static void amx_end(void)
{
    _tile_release();
}

/* The intrinsics want plain numbers for registers. */
#define AMX_PRODUCT(sum, rows, codes, q, code, to)                                                                     \
    do {                                                                                                               \
        _tile_zero(sum);                                                                                               \
        _tile_loadd(rows, q, HD_UNIT);                                                                                 \
        _tile_loadd(codes, code, sizeof(vf));                                                                          \
        _tile_dpbsud(sum, rows, codes);                                                                                \
        _tile_stored(sum, to, sizeof(vi));                                                                             \
    } while (0)

/* Dot products [k][row] of AMX_PRODUCTS groups from a unit on: whole units, or first and second halves in turn. */
HD_INLINE void amx_products(const int groups, const vf *code, int width, const uint8_t *q, ptrdiff_t step,
                            vi (*product)[TILE])
{
    const vf *code1 = groups == 1 ? code + width : code + 4, *code2 = code + 2 / groups * width;
    const uint8_t *q1 = groups == 1 ? q + step : q + HD_UNIT / 2, *q2 = q + 2 / groups * step;
    AMX_PRODUCT(0, 4, 6, q, code, product[0]);
    AMX_PRODUCT(1, 5, 7, q1, code1, product[1]);
    AMX_PRODUCT(2, 4, 6, q2, code2, product[2]);
    AMX_PRODUCT(3, 5, 7, q2 + (q1 - q), code2 + (code1 - code), product[3]);
}

/* Those of one unit. */
HD_INLINE void amx_unit(const int groups, const vf *code, const uint8_t *q, vi (*product)[TILE])
{
    AMX_PRODUCT(0, 4, 6, q, code, product[0]);
    if (groups == 2) AMX_PRODUCT(1, 5, 7, q + HD_UNIT / 2, code + 4, product[1]);
}

/* Scales the products of a unit and adds them to the rows' sums, in the order of add_plane. */
HD_INLINE void amx_add(const summing f, const bool adds_min, int offset, const vf *scale, const vf *min, unit_view x,
                       vi (*product)[TILE], vf *sum)
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
            if (adds_min && f.groups == 1)
                sum[i] = vf_fma(min[0], vf_splat(unit_float(TILE, x, i, FIELD_PART)), sum[i]);
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
    vi product[AMX_PRODUCTS][TILE], fine[2][TILE];
    vf sum[TILE];
    HD_UNROLL
    for (int i = 0; i < TILE; i++)
        sum[i] = u0 && i < rows ? vf_load(out + i * ldo) : (vf){0};
    for (int64_t u = 0; u < p->count;) {
        int units = p->count - u < AMX_PRODUCTS / f.groups ? 1 : AMX_PRODUCTS / f.groups;
        if (units > 1)
            amx_products(f.groups, at, width, bytes, step, product);
        else
            amx_unit(f.groups, at, bytes, product);
        for (int k = 0; k < units; k++, u++, at += width, bytes += step) {
            unit_view x = unit_from(TILE, bytes, 0);
            amx_add(f, f.has_min, p->offset, at + 8, at + 8 + f.groups, x, product + k * f.groups, sum);
            if (!any[u]) continue;
            amx_unit(f.groups, at, bytes + to_rest, fine);
            amx_add(f, f.has_min && f.groups == 2, p->offset, at + 8, at + 8 + f.groups, unit_moved(x, to_rest), fine,
                    sum);
        }
    }
    HD_UNROLL
    for (int i = 0; i < TILE; i++)
        if (i < rows) vf_store(out + i * ldo, sum[i]);
}
