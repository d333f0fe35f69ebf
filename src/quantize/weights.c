/* quantize/weights.c: what errors cost, out of an importance matrix; the formulas stand in importance.h. */
#include <float.h>
#include <math.h>
#include <string.h>

#include "quantize/importance.h"

/* Of numbers of a file, which may be as odd as they like: never infinite. */
static float to_float(double x)
{
    return x < (double)FLT_MAX ? (float)x : FLT_MAX;
}

/* The mean over all matrices of each column; returns the mean of these, 0 where nothing was counted. */
static double layer_mean(float *mean, const hd_imatrix_entry *e, int64_t matrices, int64_t cols)
{
    double inputs = 0, all = 0;
    for (size_t r = 0; r < e->rows; r++)
        inputs += (double)e->counts[r];
    if (e->rows == 1) inputs *= (double)matrices; /* one count for each of them */
    for (int64_t c = 0; c < cols; c++) {
        double sum = 0;
        for (int64_t m = 0; m < matrices; m++)
            sum += (double)e->sums[m * cols + c];
        sum = inputs > 0 ? sum / inputs : 0;
        mean[c] = to_float(sum);
        all += sum;
    }
    return all / (double)cols;
}

static double sum_of(const float *x, int64_t n)
{
    double sum = 0;
    for (int64_t i = 0; i < n; i++)
        sum += (double)x[i];
    return sum;
}

bool hd_importance_fits(const hd_imatrix_entry *e, int64_t matrices, int64_t cols)
{
    bool same = matrices > 0 && cols > 0 && e->rows * e->cols == (size_t)matrices * (size_t)cols;
    return same && ((int64_t)e->rows == matrices || e->rows == 1);
}

bool hd_importance_columns(float *columns, const hd_imatrix_entry *e, int64_t matrices, int64_t cols)
{
    bool apart = (int64_t)e->rows == matrices;
    if (!hd_importance_fits(e, matrices, cols)) return false;
    float *mean = columns; /* the first row's place is filled last */
    double all = layer_mean(mean, e, matrices, cols);
    for (int64_t m = matrices - 1; m >= 0; m--) {
        const float *sums = e->sums + m * cols;
        double count = (double)e->counts[apart ? m : 0], own = sum_of(sums, cols) / (double)cols;
        bool seen = count > 0 && own > 0;
        double prior = !seen || apart ? HD_IMPORTANCE_PRIOR : 0, scale = seen && all > 0 ? own / count / all : 1;
        if (!seen) count = 0;
        for (int64_t c = 0; c < cols; c++) {
            double sum = (seen ? (double)sums[c] : 0) + prior * scale * (double)mean[c];
            columns[m * cols + c] = all > 0 ? to_float(sum / (count + prior)) : 1.0f;
        }
    }
    return true;
}

double hd_importance_hits(const hd_imatrix_entry *e, int64_t matrices, int64_t m)
{
    double all = 0;
    if (matrices < 2 || (int64_t)e->rows != matrices) return 1;
    for (size_t r = 0; r < e->rows; r++)
        all += (double)e->counts[r];
    double hits = ((double)e->counts[m] + HD_IMPORTANCE_PRIOR) / (all / (double)matrices + HD_IMPORTANCE_PRIOR);
    return isfinite(hits) && hits > 0 ? hits : 1;
}

void hd_importance_weights(float *weight, const float *columns, int64_t rows, int64_t cols, int64_t at, int64_t n)
{
    for (int64_t done = 0; done < n;) {
        int64_t row = (at + done) / cols, col = (at + done) % cols, take = HD_MIN(cols - col, n - done);
        memcpy(weight + done, columns + row / rows * cols + col, (size_t)take * sizeof *weight);
        done += take;
    }
}
