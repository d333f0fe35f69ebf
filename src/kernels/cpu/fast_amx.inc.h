/* kernels/cpu/fast_amx.inc.h: panels times tiles of activations in AMX's tile registers (Intel SDM, volume 2A,
 * TDPBSSD).
 *
 * A tile of 16 rows of activations meets a unit of 16 rows of weights (codes less their offset) in one instruction: the
 * same whole numbers as those of vi_dot4, so that scaled and summed in the same order the result is the same bit for
 * bit, whichever of the two took a row.  Products are taken four at a time, and the next four are on their way while
 * vectors scale and sum the last ones: either half alone would wait for the other. */

#define AMX_PRODUCTS 4

/* Tile registers: 0 to 3 products, 4 and 5 bytes of activations, 6 and 7 codes: of whole units, or of halves, which are
 * groups of their own. */
static const hd_tile_shapes amx_units = {
    .palette = 1, .row_bytes = {64, 64, 64, 64, 32, 32, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 8, 8}};
static const hd_tile_shapes amx_halves = {
    .palette = 1, .row_bytes = {64, 64, 64, 64, 16, 16, 64, 64}, .rows = {16, 16, 16, 16, 16, 16, 4, 4}};

/* The intrinsics want plain numbers for registers. */
#define AMX_PRODUCT(sum, rows, codes, load, q, code, to)                                                               \
    do {                                                                                                               \
        _tile_zero(sum);                                                                                               \
        _tile_loadd(rows, q, HD_UNIT);                                                                                 \
        if (load) _tile_loadd(codes, code, sizeof(vf));                                                                \
        _tile_dpbssd(sum, rows, codes);                                                                                \
        _tile_stored(sum, to, sizeof(vi));                                                                             \
    } while (0)

/* A unit where activations and weights meet. */
typedef struct amx_place {
    const uint8_t *q; /* of a tile */
    const vf *panel;
} amx_place;

/* Operands of product i of a go, which takes AMX_PRODUCTS at once: groups change fastest, then planes, then units. */
HD_INLINE amx_place amx_operand(const summing f, const int planes, amx_place at, ptrdiff_t to_rest, const int i)
{
    const int group = i % f.groups, plane = i / f.groups % planes, units = i / (f.groups * planes);
    at.q += units * TILE * (ptrdiff_t)sizeof(quant_unit) + plane * to_rest + group * (HD_UNIT / 2);
    at.panel += units * panel_width(f) + group * 4;
    return at;
}

/* Dot products [k][row] of a go.  Both planes of a unit meet the same codes. */
HD_INLINE void amx_products(const summing f, const int planes, amx_place at, ptrdiff_t to_rest, vi (*product)[TILE])
{
    const amx_place a = amx_operand(f, planes, at, to_rest, 0), b = amx_operand(f, planes, at, to_rest, 1);
    const amx_place c = amx_operand(f, planes, at, to_rest, 2), d = amx_operand(f, planes, at, to_rest, 3);
    AMX_PRODUCT(0, 4, 6, true, a.q, a.panel, product[0]);
    if (a.panel == b.panel)
        AMX_PRODUCT(1, 5, 6, false, b.q, b.panel, product[1]);
    else
        AMX_PRODUCT(1, 5, 7, true, b.q, b.panel, product[1]);
    AMX_PRODUCT(2, 4, 6, a.panel != c.panel, c.q, c.panel, product[2]);
    if (c.panel == d.panel)
        AMX_PRODUCT(3, 5, 6, false, d.q, d.panel, product[3]);
    else
        AMX_PRODUCT(3, 5, 7, b.panel != d.panel, d.q, d.panel, product[3]);
}

/* Those of one plane of one unit. */
HD_INLINE void amx_unit(const summing f, amx_place at, vi (*product)[TILE])
{
    AMX_PRODUCT(0, 4, 6, true, at.q, at.panel, product[0]);
    if (f.groups == 2) AMX_PRODUCT(1, 5, 7, true, at.q + HD_UNIT / 2, at.panel + 4, product[1]);
}

/* Scales the products of a plane of a unit and adds them to the sums of T rows, in the order of add_plane. */
HD_INLINE void amx_add(const int T, const summing f, const bool adds_min, amx_place at, vi (*product)[TILE], vf *sum)
{
    const vf *scale = at.panel + 8, *min = scale + f.groups;
    unit_view x = unit_from(TILE, at.q, 0);
    HD_UNROLL
    for (int i = 0; i < T; i++) {
        HD_UNROLL
        for (int g = 0; g < f.groups; g++)
            sum[i] = add_group(sum[i], f, adds_min, g, product[g][i], scale, min, TILE, x, i);
    }
}

/* The second plane of a unit, where it was not taken with the first. */
HD_INLINE void amx_add_rest(const int T, const summing f, amx_place at, ptrdiff_t to_rest, vf *sum)
{
    vi product[2][TILE];
    at.q += to_rest;
    amx_unit(f, at, product);
    amx_add(T, f, rest_adds_min(f), at, product, sum);
}

/* Panel times tile. */
typedef struct amx_job {
    const panel *p;
    const uint8_t *any; /* units with a second plane */
    ptrdiff_t to_rest;
    amx_place at, next; /* this tile, and the one after it (q NULL: none) */
    vi (*product)[AMX_PRODUCTS][TILE];
    int turn; /* which of the two has the products of this tile's first go */
} amx_job;

/* `rows` of the T first rows of a tile; adds to `out` unless the panel is the first one of its block. */
HD_INLINE void amx_tile(const int T, const summing f, const int planes, const amx_job *job, bool first, int rows,
                        float *out, int64_t ldo)
{
    const int units = AMX_PRODUCTS / (f.groups * planes), width = panel_width(f);
    const int64_t gos = job->p->count / units;
    const ptrdiff_t step = TILE * (ptrdiff_t)sizeof(quant_unit);
    amx_place at = job->at;
    int64_t u = 0;
    int turn = job->turn;
    vf sum[TILE];
    HD_UNROLL
    for (int i = 0; i < T; i++)
        sum[i] = !first && i < rows ? vf_load(out + i * ldo) : (vf){0};
    for (int64_t go = 0; go < gos; go++, turn ^= 1) {
        vi(*product)[TILE] = job->product[turn];
        amx_place next = {at.q + units * step, at.panel + units * width};
        if (go + 1 == gos) next = job->next;
        if (next.q) amx_products(f, planes, next, job->to_rest, job->product[turn ^ 1]);
        for (int k = 0; k < units; k++, u++, at.q += step, at.panel += width) {
            amx_add(T, f, f.has_min, at, product + k * f.groups * planes, sum);
            amx_place rest = {at.q + job->to_rest, at.panel};
            if (planes == 2)
                amx_add(T, f, rest_adds_min(f), rest, product + (k * 2 + 1) * f.groups, sum);
            else if (job->any[u])
                amx_add_rest(T, f, at, job->to_rest, sum);
        }
    }
    for (; u < job->p->count; u++, at.q += step, at.panel += width) { /* fewer than a go takes */
        vi product[2][TILE];
        amx_unit(f, at, product);
        amx_add(T, f, f.has_min, at, product, sum);
        if (job->any[u]) amx_add_rest(T, f, at, job->to_rest, sum);
    }
    HD_UNROLL
    for (int i = 0; i < T; i++)
        if (i < rows) vf_store(out + i * ldo, sum[i]);
}

/* The first `rows` rows of a tile, in the smallest form that has them. */
HD_INLINE void amx_rows(const summing f, const int planes, const amx_job *job, bool started, bool first, int rows,
                        float *out, int64_t ldo)
{
    if (!started && job->p->count >= AMX_PRODUCTS / (f.groups * planes))
        amx_products(f, planes, job->at, job->to_rest, job->product[job->turn]);
    if (rows > 8)
        amx_tile(16, f, planes, job, first, rows, out, ldo);
    else if (rows > 4)
        amx_tile(8, f, planes, job, first, rows, out, ldo);
    else
        amx_tile(4, f, planes, job, first, rows, out, ldo);
}

/* panel_form with tiles. */
HD_INLINE void amx_form(const summing f, const panel *p, int64_t u0, const inputs *in, int64_t slot, int64_t n,
                        float *out, int64_t ldo)
{
    vi product[2][AMX_PRODUCTS][TILE];
    const int64_t tile0 = slot / TILE, stretches = stretches_of(in);
    const uint8_t *dense = in->dense + tile0 * stretches + u0 / PANEL_UNITS;
    amx_job job = {.p = p, .to_rest = in->rest - in->main, .product = product};
    job.at =
        (amx_place){in->main + (size_t)tile0 * tile_bytes_of(in) + u0 * TILE * (ptrdiff_t)sizeof(quant_unit), p->data};
    hd_tiles_open(f.groups == 1 ? &amx_units : &amx_halves);
    for (int64_t t = 0; t < n; t += TILE, dense += stretches, job.at.q += tile_bytes_of(in)) {
        int rows = (int)HD_MIN(TILE, n - t);
        bool started = job.next.q != NULL, both = *dense;
        job.any = in->has_rest + (tile0 + t / TILE) * in->units + u0;
        bool goes_on = t + TILE < n && dense[stretches] == both;
        job.next = (amx_place){goes_on ? job.at.q + tile_bytes_of(in) : NULL, p->data};
        if (both)
            amx_rows(f, 2, &job, started, u0 == 0, rows, out + t * ldo, ldo);
        else
            amx_rows(f, 1, &job, started, u0 == 0, rows, out + t * ldo, ldo);
        job.turn ^= p->count / (AMX_PRODUCTS / (f.groups * (1 + both))) % 2;
    }
    hd_tiles_close();
}
