/* engine/picker.c: choosing the next token from logits.
 *
 * Order: logit bias, repetition, presence and frequency penalties; then top-k, temperature, top-p, min-p; then one
 * draw. The generator is counter-based on the seed, so a choice depends on seed, logits and the number of choices
 * before. */
#include <math.h>
#include <stdlib.h>
#include <string.h>

#include "engine/engine.h"

typedef struct candidate {
    int32_t id;
    float value; /* logit, then probability */
} candidate;

struct hd_picker {
    hd_sampling s;
    int32_t vocab;
    hd_logit_bias *bias;
    uint64_t rng;
    float *logits;         /* [vocab] working copy */
    uint32_t *generated;   /* [vocab] how often this picker chose each id */
    uint8_t *seen;         /* [vocab] marks for the repetition penalty */
    candidate *candidates; /* [vocab] */
};

static hd_status check_range(const char *name, double value, double min, double max, hd_error *err)
{
    if (value >= min && value <= max) return HD_OK; /* false for NaN too */
    return hd_fail(err, HD_E_ARGUMENT, "%s is %g, must be from %g to %g", name, value, min, max);
}

hd_status hd_sampling_check(const hd_sampling *s, int32_t vocab, hd_error *err)
{
    HD_TRY(check_range("temperature", s->temperature, 0, 100, err));
    HD_TRY(check_range("top_k", s->top_k, 0, INT32_MAX, err));
    HD_TRY(check_range("top_p", s->top_p, 0, 1, err));
    HD_TRY(check_range("min_p", s->min_p, 0, 1, err));
    HD_TRY(check_range("repetition_penalty", s->repetition_penalty, 0.01, 100, err));
    HD_TRY(check_range("presence_penalty", s->presence_penalty, -100, 100, err));
    HD_TRY(check_range("frequency_penalty", s->frequency_penalty, -100, 100, err));
    for (size_t i = 0; i < s->bias_count; i++) {
        if (s->bias[i].id < 0 || s->bias[i].id >= vocab)
            return hd_fail(err, HD_E_ARGUMENT, "logit_bias: token id %d is outside the vocabulary of %d", s->bias[i].id,
                           vocab);
        if (isnan(s->bias[i].bias))
            return hd_fail(err, HD_E_ARGUMENT, "logit_bias of token %d is not a number", s->bias[i].id);
    }
    return HD_OK;
}

hd_status hd_picker_open(hd_picker **out, int32_t vocab, const hd_sampling *sampling, hd_error *err)
{
    *out = NULL;
    HD_TRY(hd_sampling_check(sampling, vocab, err));
    hd_picker *p = hd_calloc(1, sizeof *p);
    if (!p) return hd_fail(err, HD_E_MEMORY, "out of memory for a sampler");
    size_t n = (size_t)vocab;
    p->s = *sampling;
    p->vocab = vocab;
    p->rng = sampling->seed;
    p->bias = hd_alloc_array(sampling->bias_count, sizeof *p->bias);
    p->logits = hd_alloc_array(n, sizeof *p->logits);
    p->generated = hd_calloc(n, sizeof *p->generated);
    p->seen = hd_calloc(n, sizeof *p->seen);
    p->candidates = hd_alloc_array(n, sizeof *p->candidates);
    if (!p->bias || !p->logits || !p->generated || !p->seen || !p->candidates) {
        hd_picker_close(&p);
        return hd_fail(err, HD_E_MEMORY, "out of memory for a sampler over %d tokens", vocab);
    }
    if (sampling->bias_count) memcpy(p->bias, sampling->bias, sampling->bias_count * sizeof *p->bias);
    p->s.bias = p->bias;
    *out = p;
    return HD_OK;
}

void hd_picker_close(hd_picker **ref)
{
    hd_picker *p = *ref;
    if (!p) return;
    *ref = NULL;
    hd_free(p->bias);
    hd_free(p->logits);
    hd_free(p->generated);
    hd_free(p->seen);
    hd_free(p->candidates);
    hd_free(p);
}

/* SplitMix64 (Steele, Lea, Flood 2014): a uniform double in [0, 1) with 53 bits. */
static double uniform(hd_picker *p)
{
    uint64_t z = p->rng += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    z ^= z >> 31;
    return (double)(z >> 11) * 0x1.0p-53;
}

static void penalize_repetition(hd_picker *p, const int32_t *tokens, int64_t count)
{
    if (p->s.repetition_penalty == 1.0f) return;
    for (int64_t i = 0; i < count; i++) {
        int32_t id = tokens[i];
        if (p->seen[id]) continue;
        p->seen[id] = 1;
        float *l = &p->logits[id];
        *l = *l > 0.0f ? *l / p->s.repetition_penalty : *l * p->s.repetition_penalty;
    }
    for (int64_t i = 0; i < count; i++)
        p->seen[tokens[i]] = 0;
}

static void adjust(hd_picker *p, const float *logits, const int32_t *tokens, int64_t count)
{
    memcpy(p->logits, logits, (size_t)p->vocab * sizeof *p->logits);
    for (size_t i = 0; i < p->s.bias_count; i++)
        p->logits[p->bias[i].id] += p->bias[i].bias;
    penalize_repetition(p, tokens, count);
    if (p->s.presence_penalty == 0.0f && p->s.frequency_penalty == 0.0f) return;
    for (int32_t id = 0; id < p->vocab; id++)
        if (p->generated[id]) p->logits[id] -= p->s.presence_penalty + p->s.frequency_penalty * (float)p->generated[id];
}

static int32_t argmax(const float *x, int32_t n)
{
    int32_t best = 0;
    for (int32_t i = 1; i < n; i++)
        if (x[i] > x[best] || isnan(x[best])) best = i;
    return best;
}

/* Higher values first; equal ones by id, so that the order never depends on the sort. */
static int by_value(const void *a, const void *b)
{
    const candidate *x = a, *y = b;
    if (x->value != y->value) return x->value > y->value ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* Keeps the k best of n candidates (unordered) by quickselect on (value, id). */
static void keep_best(candidate *c, int64_t n, int64_t k)
{
    int64_t low = 0, high = n - 1;
    while (low < high) {
        candidate pivot = c[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (by_value(&c[i], &pivot) < 0)
                i++;
            while (by_value(&c[j], &pivot) > 0)
                j--;
            if (i > j) break;
            candidate t = c[i];
            c[i++] = c[j];
            c[j--] = t;
        }
        if (k - 1 <= j)
            high = j;
        else if (k - 1 >= i)
            low = i;
        else
            return;
    }
}

/* Turns the logits of n candidates into probabilities at the temperature. */
static void soften(candidate *c, int64_t n, float max, float temperature)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++) {
        c[i].value = expf((c[i].value - max) / temperature);
        sum += c[i].value;
    }
    for (int64_t i = 0; i < n; i++)
        c[i].value = (float)(c[i].value / sum);
}

/* Drops candidates below `floor`; returns how many are left. */
static int64_t keep_above(candidate *c, int64_t n, float floor)
{
    int64_t left = 0;
    for (int64_t i = 0; i < n; i++)
        if (c[i].value >= floor) c[left++] = c[i];
    return left;
}

/* The fewest most likely candidates whose probabilities reach top_p (arXiv:1904.09751), sorted. */
static int64_t keep_nucleus(candidate *c, int64_t n, float top_p)
{
    /* Those below (1 - top_p) / n add up to less than what is cut off anyway: no need to sort them. */
    int64_t left = keep_above(c, n, (1.0f - top_p) / (float)n);
    if (left == 0) left = n;
    qsort(c, (size_t)left, sizeof *c, by_value);
    double sum = 0.0;
    for (int64_t i = 0; i < left; i++) {
        sum += c[i].value;
        if (sum >= top_p) return i + 1;
    }
    return left;
}

static int32_t draw(hd_picker *p, const candidate *c, int64_t n)
{
    double sum = 0.0;
    for (int64_t i = 0; i < n; i++)
        sum += c[i].value;
    double at = uniform(p) * sum;
    int32_t last = c[0].id; /* rounding may leave a rest behind all: never give it to one of probability 0 */
    for (int64_t i = 0; i < n; i++) {
        if (!(c[i].value > 0.0f)) continue;
        last = c[i].id;
        at -= c[i].value;
        if (at < 0.0) break;
    }
    return last;
}

static int32_t sample(hd_picker *p)
{
    int32_t best = argmax(p->logits, p->vocab);
    float max = p->logits[best];
    if (p->s.temperature == 0.0f || !isfinite(max)) return best;
    candidate *c = p->candidates;
    int64_t n = 0;
    for (int32_t id = 0; id < p->vocab; id++)
        if (!isnan(p->logits[id])) c[n++] = (candidate){.id = id, .value = p->logits[id]};
    if (p->s.top_k > 0 && p->s.top_k < n) {
        keep_best(c, n, p->s.top_k);
        n = p->s.top_k;
    }
    soften(c, n, max, p->s.temperature);
    if (p->s.top_p < 1.0f) n = keep_nucleus(c, n, p->s.top_p);
    if (p->s.min_p > 0.0f) {
        float top = 0.0f;
        for (int64_t i = 0; i < n; i++)
            top = HD_MAX(top, c[i].value);
        n = keep_above(c, n, p->s.min_p * top);
    }
    return draw(p, c, n);
}

/* ln(sum(exp(logits))), in double: 150,000 terms. */
static double log_sum(const float *logits, int32_t n, float max)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    return max + log(sum);
}

static void fill_top(hd_picker *p, const float *logits, double norm, hd_logprob *top, size_t count)
{
    candidate *c = p->candidates;
    for (int32_t id = 0; id < p->vocab; id++)
        c[id] = (candidate){.id = id, .value = isnan(logits[id]) ? -INFINITY : logits[id]};
    keep_best(c, p->vocab, (int64_t)count);
    qsort(c, count, sizeof *c, by_value);
    for (size_t i = 0; i < count; i++)
        top[i] = (hd_logprob){.id = c[i].id, .logprob = (float)(c[i].value - norm)};
}

hd_status hd_picker_next(hd_picker *p, const float *logits, const int32_t *tokens, int64_t count, hd_logprob *chosen,
                         hd_logprob *top, size_t top_count, hd_error *err)
{
    if (top_count > (size_t)p->vocab)
        return hd_fail(err, HD_E_ARGUMENT, "%zu log-probabilities of a vocabulary of %d", top_count, p->vocab);
    double norm = log_sum(logits, p->vocab, logits[argmax(logits, p->vocab)]);
    if (!isfinite(norm))
        return hd_fail(err, HD_E_INTERNAL,
                       "the model computes values that are not numbers: its file may be damaged; "
                       "fetch it again or compare its checksum with its source");
    adjust(p, logits, tokens, count);
    int32_t id = sample(p);
    *chosen = (hd_logprob){.id = id, .logprob = (float)(logits[id] - norm)};
    if (top_count) fill_top(p, logits, norm, top, top_count);
    p->generated[id]++;
    return HD_OK;
}
