/* engine/compare.c: see compare.h. */
#include "engine/compare.h"

#include <math.h>
#include <stdlib.h>

#include "base/base.h"

int32_t hd_compare_top(const float *logits, int32_t vocab)
{
    int32_t best = 0;
    for (int32_t i = 1; i < vocab; i++)
        if (logits[i] > logits[best]) best = i;
    return best;
}

/* The largest is taken out, so that nothing overflows. */
double hd_compare_norm(const float *logits, int32_t vocab)
{
    int32_t top = hd_compare_top(logits, vocab);
    double most = (double)logits[top], others = 0;
    for (int32_t i = 0; i < vocab; i++)
        if (i != top) others += exp((double)logits[i] - most);
    return most + log1p(others);
}

double hd_compare_kl(const float *p_logits, double p_norm, const float *q_logits, double q_norm, int32_t vocab)
{
    double sum = 0;
    for (int32_t i = 0; i < vocab; i++) {
        double log_p = (double)p_logits[i] - p_norm, p = exp(log_p);
        if (p > 0) sum += p * (log_p - ((double)q_logits[i] - q_norm));
    }
    return sum < 0 ? 0 : sum; /* rounding may leave -1e-17; NaN stays */
}

double hd_compare_difference(const float *a, const float *b, int32_t vocab)
{
    double most = 0;
    for (int32_t i = 0; i < vocab; i++)
        most = HD_MAX(most, fabs((double)a[i] - (double)b[i]));
    return most;
}

static int by_float(const void *a, const void *b)
{
    float x = *(const float *)a, y = *(const float *)b;
    return (x > y) - (x < y);
}

static int by_double(const void *a, const void *b)
{
    double x = *(const double *)a, y = *(const double *)b;
    return (x > y) - (x < y);
}

double hd_compare_quantile(float *values, size_t n, double q)
{
    qsort(values, n, sizeof *values, by_float);
    double rank = ceil(q * (double)n);
    size_t index = rank < 1 ? 0 : (size_t)rank - 1;
    return (double)values[HD_MIN(index, n - 1)];
}

double hd_compare_median(double *values, size_t n)
{
    qsort(values, n, sizeof *values, by_double);
    return n % 2 ? values[n / 2] : (values[n / 2 - 1] + values[n / 2]) / 2;
}
