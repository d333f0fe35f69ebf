/* quantize/low_rank_factor.c: the best factors of one matrix, by LAPACK; see low_rank.h.
 *
 * LAPACK is loaded when it is needed, by the name of Debian's library: linked, its optimized versions would start
 * threads in every run of the program.  Of it one function is called, dsyevr: eigenvectors of a symmetric matrix, the
 * largest only (its prototype: LAPACK Users' Guide, LAPACKE). */
#include <dlfcn.h>
#include <math.h>
#include <pthread.h>
#include <string.h>

#include "quantize/low_rank.h"

#define LIBRARY "liblapacke.so.3"
#define COLUMN_MAJOR 102 /* LAPACK_COL_MAJOR */
#define LANES 16         /* sums beside each other, which compilers make vectors of */
#define PIECE 512        /* products that are added up as float32 */

typedef int dsyevr_function(int layout, char jobz, char range, char uplo, int n, double *a, int lda, double vl,
                            double vu, int il, int iu, double tolerance, int *found, double *w, double *z, int ldz,
                            int *support);

static pthread_once_t once = PTHREAD_ONCE_INIT;
static dsyevr_function *dsyevr;

static void load(void)
{
    void *library = dlopen(LIBRARY, RTLD_NOW | RTLD_LOCAL); /* stays for good */
    void *symbol = library ? dlsym(library, "LAPACKE_dsyevr") : NULL;
    memcpy(&dsyevr, &symbol, sizeof dsyevr); /* ISO C has no cast for it */
}

hd_status hd_low_rank_check(hd_error *err)
{
    (void)pthread_once(&once, load);
    if (dsyevr) return HD_OK;
    return hd_fail(err, HD_E_UNSUPPORTED,
                   "--low-rank needs LAPACK, and %s is not here; on Debian: apt-get install liblapacke libopenblas0",
                   LIBRARY);
}

/* ---- products ---- */

static double dot(const float *x, const float *y, int64_t n)
{
    double sum = 0;
    for (int64_t at = 0; at < n; at += PIECE) {
        float lanes[LANES] = {0};
        int64_t end = HD_MIN(at + PIECE, n), k = at;
        for (; k + LANES <= end; k += LANES)
            for (int l = 0; l < LANES; l++)
                lanes[l] += x[k + l] * y[k + l];
        for (; k < end; k++)
            lanes[0] += x[k] * y[k];
        for (int l = 0; l < LANES; l++)
            sum += (double)lanes[l];
    }
    return sum;
}

typedef struct factoring {
    const float *e, *weight;
    int64_t rows, cols;
    float *f;     /* [n][m]: E diag(sqrt(weight)), or its transpose: the smaller side first */
    double *gram; /* [n][n] */
    int64_t n, m;
    float *u; /* [rank][rows] */
    float *a; /* [rank][cols] */
    int rank;
} factoring;

static void weigh_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    factoring *s = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j < s->cols; j++) {
            float x = s->e[i * s->cols + j] * (s->weight ? sqrtf(s->weight[j]) : 1.0f);
            s->f[s->n == s->rows ? i * s->m + j : j * s->m + i] = x;
        }
}

static void gram_rows(void *arg, int64_t begin, int64_t end, int thread)
{
    factoring *s = arg;
    (void)thread;
    for (int64_t i = begin; i < end; i++)
        for (int64_t j = 0; j <= i; j++) /* LAPACK's upper triangle: column i, row j */
            s->gram[i * s->n + j] = dot(s->f + i * s->m, s->f + j * s->m, s->m);
}

/* Row k of A: the sum of u[k][i] times row i of E. */
static void project(void *arg, int64_t begin, int64_t end, int thread)
{
    factoring *s = arg;
    (void)thread;
    for (int64_t k = begin; k < end; k++) {
        float *to = s->a + k * s->cols;
        memset(to, 0, (size_t)s->cols * sizeof *to);
        for (int64_t i = 0; i < s->rows; i++) {
            float u = s->u[k * s->rows + i];
            const float *row = s->e + i * s->cols;
            for (int64_t j = 0; j < s->cols; j++)
                to[j] += u * row[j];
        }
    }
}

/* ---- the factors ---- */

/* The left singular vectors out of the eigenvectors z[rank][n] of the Gram matrix. */
static void take_vectors(factoring *s, const double *z, const double *values)
{
    for (int64_t k = 0; k < s->rank; k++) {
        float *u = s->u + k * s->rows;
        const double *v = z + k * s->n;
        memset(u, 0, (size_t)s->rows * sizeof *u);
        if (!(values[k] > 0)) continue; /* nothing in that direction */
        double length = s->n == s->rows ? 1 : sqrt(values[k]);
        for (int64_t i = 0; s->n == s->rows && i < s->rows; i++)
            u[i] = (float)v[i];
        for (int64_t j = 0; s->n != s->rows && j < s->n; j++) /* F v / sigma */
            for (int64_t i = 0; i < s->rows; i++)
                u[i] += (float)(v[j] / length) * s->f[j * s->m + i];
    }
}

static hd_status eigenvectors(factoring *s, double *left, hd_error *err)
{
    int n = (int)s->n, found = 0;
    double all = 0, *values = hd_alloc_array((size_t)n, sizeof *values);
    double *z = hd_alloc_array((size_t)s->rank * (size_t)n, sizeof *z);
    int *support = hd_alloc_array(2 * (size_t)n, sizeof *support);
    hd_status status = values && z && support ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for eigenvectors");
    for (int64_t i = 0; i < n; i++)
        all += s->gram[i * n + i];
    if (status == HD_OK && dsyevr(COLUMN_MAJOR, 'V', 'I', 'U', n, s->gram, n, 0, 0, n - s->rank + 1, n, 0, &found,
                                  values, z, n, support) != 0)
        status = hd_fail(err, HD_E_INTERNAL, "LAPACK found no eigenvectors");
    for (int k = 0; status == HD_OK && k < found; k++)
        all -= HD_MAX(values[k], 0.0);
    *left = HD_MAX(all, 0.0);
    if (status == HD_OK) take_vectors(s, z, values);
    hd_free(values);
    hd_free(z);
    hd_free(support);
    return status;
}

static double size_of(const float *x, int64_t n)
{
    return sqrt(dot(x, x, n) / (double)n);
}

/* b[rows][rank] out of u, and both scaled to one size. */
static void balance(const factoring *s, float *b)
{
    for (int64_t k = 0; k < s->rank; k++) {
        double in = size_of(s->a + k * s->cols, s->cols), out = size_of(s->u + k * s->rows, s->rows);
        float scale = in > 0 && out > 0 ? (float)sqrt(in / out) : 0.0f;
        for (int64_t i = 0; i < s->rows; i++)
            b[i * s->rank + k] = s->u[k * s->rows + i] * scale;
        for (int64_t j = 0; j < s->cols; j++)
            s->a[k * s->cols + j] *= scale > 0 ? 1.0f / scale : 0.0f;
    }
}

hd_status hd_low_rank_factor(float *a, float *b, double *left, const float *e, const float *weight, int64_t rows,
                             int64_t cols, int rank, hd_pool *pool, hd_error *err)
{
    HD_TRY(hd_low_rank_check(err));
    factoring s = {.e = e, .weight = weight, .rows = rows, .cols = cols, .a = a, .rank = rank};
    s.n = HD_MIN(rows, cols);
    s.m = HD_MAX(rows, cols);
    s.f = hd_alloc_array((size_t)(rows * cols), sizeof *s.f);
    s.gram = hd_alloc_array((size_t)(s.n * s.n), sizeof *s.gram);
    s.u = hd_alloc_array((size_t)(rank * rows), sizeof *s.u);
    hd_status status = s.f && s.gram && s.u ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory to factor a matrix");
    if (status == HD_OK) {
        hd_pool_for(pool, rows, 1, weigh_rows, &s);
        hd_pool_for(pool, s.n, 1, gram_rows, &s);
        status = eigenvectors(&s, left, err);
    }
    if (status == HD_OK) {
        hd_pool_for(pool, rank, 1, project, &s);
        balance(&s, b);
    }
    hd_free(s.f);
    hd_free(s.gram);
    hd_free(s.u);
    return status;
}
