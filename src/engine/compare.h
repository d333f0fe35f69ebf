/* engine/compare.h: the arithmetic of comparing models: losses and divergences of next-token distributions. */
#ifndef HD_ENGINE_COMPARE_H
#define HD_ENGINE_COMPARE_H

#include <stddef.h>
#include <stdint.h>

/* Logarithm of the sum of exp(logits[vocab]), natural, summed in double: the negative logarithm of the probability of
 * token i is this less logits[i].  Most of the time goes here, so whoever needs several figures asks once. */
double hd_compare_norm(const float *logits, int32_t vocab);

/* Kullback-Leibler divergence sum p (log p - log q) in nats of softmax(p_logits) from softmax(q_logits), given the
 * norms of both: what is lost when q stands in for p.  Never negative. */
double hd_compare_kl(const float *p_logits, double p_norm, const float *q_logits, double q_norm, int32_t vocab);

/* Index of the largest logit, the lowest of equals. */
int32_t hd_compare_top(const float *logits, int32_t vocab);

/* Largest absolute difference. */
double hd_compare_difference(const float *a, const float *b, int32_t vocab);

/* Value at quantile q (0 to 1) of values[n], by rank without interpolation; sorts `values`.  n > 0. */
double hd_compare_quantile(float *values, size_t n, double q);

/* The same for doubles with the mean of the two middle ones for even n: the usual median. */
double hd_compare_median(double *values, size_t n);

#endif
