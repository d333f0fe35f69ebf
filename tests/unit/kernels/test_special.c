/* What kernels do with values that models should not have: NaN, infinities, zeros, scales at the ends of their range.
 *
 * The rule: a result is finite on a tier exactly where it is on the twin, and then within the operator's bound; and one
 * token's NaN never reaches another token.  A kernel that loses a NaN would turn a damaged model into plausible text.
 */
#include "unit/kernels/cases_attend.h"
#include "unit/kernels/cases_elementwise.h"
#include "unit/kernels/cases_linear.h"

/* An infinite key has the weight 0 or makes everything NaN; as a sum of two bfloat16 it has no second part, and is NaN
 * in any case.  Either is honest. */
static bool nan_will_do;

static void compare(op_case *c, const hd_backend *backend)
{
    if (c->prepare) c->prepare(c, backend);
    guarded twin = run_part(c, &hd_backend_reference, 1, 0, c->tokens);
    guarded got = run_part(c, backend, 1, 0, c->tokens);
    float *unit = hd_alloc_array((size_t)c->width, sizeof *unit);
    assert_non_null(unit);
    for (int64_t t = 0; t < c->tokens; t++) {
        const float *want = (const float *)(void *)twin.data + t * output_stride(c);
        const float *have = (const float *)(void *)got.data + t * output_stride(c);
        c->unit(c, t, want, unit);
        for (int64_t i = 0; i < c->width; i++) {
            if (nan_will_do && isnan(have[i])) continue;
            if ((isfinite(want[i]) != 0) != (isfinite(have[i]) != 0))
                fail_msg("%s: %s: token %d value %d is %g, on the twin %g", c->name, backend->name, (int)t, (int)i,
                         (double)have[i], (double)want[i]);
            double error = fabs((double)have[i] - (double)want[i]);
            if (isfinite(want[i]) && !(error <= bounds[c->bound].worst * (double)unit[i]))
                fail_msg("%s: %s: token %d value %d is %g, on the twin %g (unit %g)", c->name, backend->name, (int)t,
                         (int)i, (double)have[i], (double)want[i], (double)unit[i]);
        }
    }
    check_batches(c, backend, &got);
    hd_free(unit);
    guarded_close(&twin);
    guarded_close(&got);
    if (c->finish) c->finish(c, backend);
    c->close(c);
}

/* Calls make(index, argument) for each tier. */
#define ON_EACH_TIER(make)                                                                                             \
    for (size_t tier_ = 0; tier_ < HD_ARRAY_LEN(tiers); tier_++) {                                                     \
        const hd_backend *backend_ = checked_tier(tiers[tier_]);                                                       \
        if (backend_) compare((make), backend_);                                                                       \
    }

/* ---- activations ---- */

/* Tokens 10 .. 15 have one bad value each, in all places of a group and of a vector. */
static void spoil_values(float *x, int64_t ld, int64_t cols)
{
    static const float bad[] = {NAN, INFINITY, -INFINITY};
    for (int t = 10; t < 16; t++)
        x[t * ld + (t * 37) % cols] = bad[t % 3];
    for (int64_t t = 20; t < 40; t++)
        x[t * ld + (t * 5) % cols] = NAN;
}

static op_case *bad_inputs(hd_type type)
{
    matmul_case *m = new_matmul(type, 33, whole_blocks(type, 64), 0, false, 1);
    spoil_values(m->x, m->ldx, m->plain[0].cols);
    return &m->base;
}

static void test_matmul_of_nan(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(weight_types); i++)
        ON_EACH_TIER(bad_inputs(weight_types[i]))
}

static op_case *bad_moe(int index)
{
    op_case *c = make_moe(index);
    moe_case *m = (moe_case *)c;
    spoil_values(m->x, m->hidden, m->hidden);
    return c;
}

static void test_moe_of_nan(void **state)
{
    (void)state;
    for (int i = 0; i < 11; i++)
        ON_EACH_TIER(bad_moe(i))
}

static op_case *bad_rows(op_maker make, int index)
{
    op_case *c = make(index);
    rows_case *r = (rows_case *)c;
    spoil_values(r->x, r->ldx, r->cols);
    return c;
}

static void test_rows_of_nan(void **state)
{
    (void)state;
    for (int i = 1; i < 7; i++) {
        ON_EACH_TIER(bad_rows(make_rms_norm, 2 * i))
        ON_EACH_TIER(bad_rows(make_swiglu, i))
    }
}

/* ---- weights ---- */

/* The terms of `w`, and a little of the largest one of each row: scales that are below 2^-14 of it lose bits. */
static void set_terms(matmul_case *m)
{
    const hd_matrix *w = &m->plain[0];
    hd_free(m->values[0]);
    m->values[0] = decoded(w);
    for (int64_t r = 0; r < w->rows; r++) {
        float *row = m->values[0] + r * w->cols, most = 0.0f;
        for (int64_t c = 0; c < w->cols; c++)
            if (isfinite(row[c])) most = fmaxf(most, fabsf(row[c]));
        for (int64_t c = 0; c < w->cols; c++)
            row[c] = fabsf(row[c]) + most * 0x1p-10f;
    }
}

/* Blocks 0, 1, 2 ... of row 5, 10, 15 ... get the scale.  Inputs are narrow, of two planes throughout: where only some
 * units have the second, an infinite scale meets zeros in a tile that a single token leaves out. */
static op_case *bad_scales(hd_type type, float scale)
{
    const block_form *form = block_form_of(type);
    matmul_case *m = new_matmul(type, 40, 256, 0, false, 2);
    hd_matrix *w = &m->plain[0];
    size_t blocks = w->row_bytes / (size_t)hd_type_block_bytes(type);
    for (int64_t r = 5; r < w->rows; r += 5) {
        size_t block = (size_t)(r / 5) % blocks;
        uint8_t *at =
            (uint8_t *)(uintptr_t)w->data + (size_t)r * w->row_bytes + block * (size_t)hd_type_block_bytes(type);
        if (form->scale_at >= 0) put_half(at + form->scale_at, scale);
        if (form->min_at >= 0 && r % 2) put_half(at + form->min_at, -scale);
        if (type == HD_TYPE_MXFP4) at[0] = isnan(scale) ? 255 : scale < 0x1p-18f ? 3 : 130;
    }
    set_terms(m);
    return &m->base;
}

static void test_scales(void **state)
{
    static const float scales[] = {0.0f, 0x1p-24f, 0x1p-20f, -1.0f, 1.0f, INFINITY, NAN};
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(block_forms); i++)
        for (size_t k = 0; k < HD_ARRAY_LEN(scales); k++)
            if (scales[k] >= 0.0f || block_forms[i].min_at < 0 || block_forms[i].scale_at < 0)
                ON_EACH_TIER(bad_scales(block_forms[i].type, scales[k]))
}

/* All scales of the matrix the same. */
static op_case *same_scales(hd_type type, float scale)
{
    const block_form *form = block_form_of(type);
    matmul_case *m = new_matmul(type, 17, 512, 0, false, 3);
    hd_matrix *w = &m->plain[0];
    for (size_t at = 0; at < w->row_bytes * 17; at += (size_t)hd_type_block_bytes(type)) {
        uint8_t *block = (uint8_t *)(uintptr_t)w->data + at;
        if (form->scale_at >= 0) put_half(block + form->scale_at, scale);
        if (form->min_at >= 0) put_half(block + form->min_at, scale);
        if (type == HD_TYPE_MXFP4) block[0] = scale > 1.0f ? 170 : 0;
    }
    set_terms(m);
    for (int64_t t = 0; t < m->base.tokens; t++) /* so that float32 holds the largest sums */
        for (int64_t c = 0; c < w->cols; c++)
            m->x[t * m->ldx + c] *= 1e-6f;
    return &m->base;
}

static void test_all_scales_at_an_end(void **state)
{
    (void)state;
    for (size_t i = 0; i < HD_ARRAY_LEN(block_forms); i++) {
        ON_EACH_TIER(same_scales(block_forms[i].type, 0.0f))
        ON_EACH_TIER(same_scales(block_forms[i].type, 0x1p-24f))
        ON_EACH_TIER(same_scales(block_forms[i].type, 65504.0f))
    }
}

/* Every pair of a signed byte of Q8_0 and an activation of a whole number, -128 among the codes. */
static op_case *all_bytes(void)
{
    matmul_case *m = new_matmul(HD_TYPE_Q8_0, 256, 64, 0, true, 4);
    hd_matrix *w = &m->plain[0];
    for (int64_t r = 0; r < w->rows; r++)
        for (int64_t c = 0; c < w->cols; c++) {
            uint8_t *block = (uint8_t *)(uintptr_t)w->data + (size_t)r * w->row_bytes + (size_t)(c / 32) * 34;
            put_half(block, 1.0f);
            block[2 + c % 32] = (uint8_t)(r + (c % 4 == 3 ? c : 0)); /* the same code in all places, but for one */
        }
    for (int64_t t = 0; t < m->base.tokens; t++)
        for (int64_t c = 0; c < w->cols; c++)
            m->x[t * m->ldx + c] = t == 0 ? 127.0f : t == 1 ? -127.0f : m->x[t * m->ldx + c];
    set_terms(m);
    return &m->base;
}

static void test_all_bytes(void **state)
{
    (void)state;
    ON_EACH_TIER(all_bytes())
}

/* ---- attention ---- */

/* Position 40 of the first sequence has a bad key or value: queries that see it, and only those, feel it.  It stands
 * where a block of queries ends, since masked positions of one block are multiplied by a weight of zero. */
static op_case *bad_cache(bool key, float bad)
{
    attend_case *a = (attend_case *)make_attend(2);
    cache *rows = key ? &a->k[1] : &a->v[1];
    put_cached(cached_row(rows, 36), rows->rows.type, 50, bad); /* before the queries of the second span */
    return &a->base;
}

static void test_attend_to_nan(void **state)
{
    (void)state;
    for (int key = 0; key < 2; key++) {
        ON_EACH_TIER(bad_cache(key, NAN))
        nan_will_do = key;
        ON_EACH_TIER(bad_cache(key, INFINITY))
        ON_EACH_TIER(bad_cache(key, -INFINITY))
        nan_will_do = false;
    }
}

static op_case *bad_query(int form, float bad)
{
    attend_case *a = (attend_case *)make_attend(form);
    for (int64_t t = 0; t < a->base.tokens; t += 3)
        a->q[t * a->ldq + t] = bad;
    return &a->base;
}

static void test_attend_with_nan(void **state)
{
    (void)state;
    for (int form = 1; form < 5; form++) {
        ON_EACH_TIER(bad_query(form, NAN))
        ON_EACH_TIER(bad_query(form, INFINITY))
        ON_EACH_TIER(bad_query(form, 1e20f)) /* scores that differ by 1e20: one weight is 1, the others are 0 */
    }
}

static op_case *bad_mla_query(int form)
{
    attend_case *a = (attend_case *)make_attend_mla(form);
    for (int64_t t = 0; t < a->base.tokens; t += 3)
        a->q[t * a->ldq + t % 30] = NAN;
    return &a->base;
}

static void test_attend_mla_with_nan(void **state)
{
    (void)state;
    for (int form = 0; form < 3; form++)
        ON_EACH_TIER(bad_mla_query(form))
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(test_matmul_of_nan),        cmocka_unit_test(test_moe_of_nan),
        cmocka_unit_test(test_rows_of_nan),          cmocka_unit_test(test_scales),
        cmocka_unit_test(test_all_scales_at_an_end), cmocka_unit_test(test_all_bytes),
        cmocka_unit_test(test_attend_to_nan),        cmocka_unit_test(test_attend_with_nan),
        cmocka_unit_test(test_attend_mla_with_nan),
    };
    return cmocka_run_group_tests_name("special values", tests, NULL, NULL);
}
