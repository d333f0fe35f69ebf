/* models/rope.c: angular frequencies of rotary embeddings.
 *
 * Plain: theta^(-2i/dim) (arXiv:2104.09864).  Linear: divided by the factor (arXiv:2306.15595).  Llama 3: long waves
 * are divided, short ones kept, those between interpolated (Llama 3.1's published configuration).  YaRN:
 * arXiv:2309.00071, sections 3.2 and 3.3. */
#include <math.h>

#include "models/models_internal.h"

#define PI 3.14159265358979323846

static double llama3_frequency(const hd_rope_config *c, double f)
{
    double wave = 2.0 * PI / f;
    double low = c->original_context / c->low_freq, high = c->original_context / c->high_freq;
    if (wave > low) return f / c->factor;
    if (wave < high) return f;
    double smooth = (c->original_context / wave - c->low_freq) / (c->high_freq - c->low_freq);
    return (1.0 - smooth) * f / c->factor + smooth * f;
}

/* The dimension whose wave turns `rotations` times within the original context. */
static double yarn_dimension(const hd_rope_config *c, int dim, double rotations)
{
    return dim * log(c->original_context / (rotations * 2.0 * PI)) / (2.0 * log(c->theta));
}

static double yarn_frequency(const hd_rope_config *c, int dim, int i, double f)
{
    double low = yarn_dimension(c, dim, c->beta_fast), high = yarn_dimension(c, dim, c->beta_slow);
    if (c->truncate) {
        low = floor(low);
        high = ceil(high);
    }
    low = fmax(low, 0.0);
    high = fmin(high, dim - 1.0);
    if (low == high) high += 0.001; /* as the reference implementations: no division by zero */
    double ramp = fmin(fmax((i - low) / (high - low), 0.0), 1.0);
    return f / c->factor * ramp + f * (1.0 - ramp);
}

/* 0.1 * scale * ln(factor) + 1, YaRN's temperature, section 3.3. */
static double yarn_mscale(double factor, double scale)
{
    return factor <= 1.0 ? 1.0 : 0.1 * scale * log(factor) + 1.0;
}

static double yarn_gain(const hd_rope_config *c)
{
    if (c->attention_factor > 0.0) return c->attention_factor;
    if (c->mscale > 0.0 && c->mscale_all_dim > 0.0)
        return yarn_mscale(c->factor, c->mscale) / yarn_mscale(c->factor, c->mscale_all_dim);
    return yarn_mscale(c->factor, 1.0);
}

void hd_rope_frequencies(const hd_rope_config *c, int dim, float *freq, float *gain)
{
    *gain = c->type == HD_ROPE_YARN ? (float)yarn_gain(c) : 1.0f;
    for (int i = 0; i < dim / 2; i++) {
        double f = pow(c->theta, -2.0 * i / dim);
        switch (c->type) {
        case HD_ROPE_PLAIN: break;
        case HD_ROPE_LINEAR: f /= c->factor; break;
        case HD_ROPE_LLAMA3: f = llama3_frequency(c, f); break;
        case HD_ROPE_YARN: f = yarn_frequency(c, dim, i, f); break;
        }
        freq[i] = (float)f;
    }
}

float hd_rope_softmax_factor(const hd_rope_config *c)
{
    if (c->type == HD_ROPE_PLAIN || c->mscale_all_dim <= 0.0) return 1.0f;
    double m = yarn_mscale(c->factor, c->mscale_all_dim);
    return (float)(m * m);
}

void hd_model_rope_factors(const hd_model_config *config, float *factors)
{
    for (int i = 0; i < config->rope_dim / 2; i++) {
        double f = pow(config->rope.theta, -2.0 * i / config->rope_dim);
        factors[i] = (float)(f / llama3_frequency(&config->rope, f));
    }
}

/* Whether all are the same but for rounding: files hold float32, some computed in it. */
static bool same_factors(const float *a, const float *b, int count)
{
    const double tolerance = 1e-3; /* relative */
    for (int i = 0; i < count; i++)
        if (!(fabs((double)a[i] / (double)b[i] - 1.0) < tolerance)) return false;
    return true;
}

static double largest(const float *x, int count)
{
    double most = 1.0;
    for (int i = 0; i < count; i++)
        if ((double)x[i] > most) most = (double)x[i];
    return most;
}

bool hd_model_rope_factors_find(hd_model_config *config, const float *factors)
{
    enum { FIRST = 5, LAST = 20 }; /* original contexts of 32 to a million tokens, powers of two */
    int half = config->rope_dim / 2;
    hd_model_config c = *config;
    float *found = hd_alloc_array((size_t)half, sizeof *found);
    bool same = false;
    c.rope.type = HD_ROPE_LLAMA3;
    c.rope.low_freq = 1.0;
    c.rope.high_freq = 4.0;
    c.rope.factor = largest(factors, half);
    for (int bits = FIRST; found && bits <= LAST && !same; bits++) {
        c.rope.original_context = (double)(1 << bits);
        hd_model_rope_factors(&c, found);
        same = same_factors(found, factors, half);
    }
    hd_free(found);
    if (same) *config = c;
    return same;
}
