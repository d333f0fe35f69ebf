/* Choosing tokens: each filter against a brute-force computation, penalties, extremes, reproducible draws. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>

#include <cmocka.h>

#include "engine/engine.h"

enum { V = 200, DRAWS = 4000, WIDE = 20000 };

/* Everything off. */
static const hd_sampling plain = {.temperature = 1.0f, .top_p = 1.0f, .repetition_penalty = 1.0f};

static float random_unit(uint64_t *seed)
{
    *seed = *seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(*seed >> 40) / 16777216.0f;
}

static void random_logits(float *logits, int n, uint64_t seed)
{
    for (int i = 0; i < n; i++)
        logits[i] = 8.0f * random_unit(&seed) - 4.0f;
}

static hd_picker *picker_of(const hd_sampling *s, int32_t vocab)
{
    hd_picker *p;
    hd_error err = {0};
    if (hd_picker_open(&p, vocab, s, &err) != HD_OK) fail_msg("%s", err.text);
    return p;
}

static hd_picker_room *room; /* of WIDE ids, which all tests share */

/* With log-probabilities. */
static hd_status pick(hd_picker *p, const float *logits, const int32_t *tokens, int64_t count, hd_logprob *chosen,
                      hd_logprob *top, size_t top_count, hd_error *err)
{
    const hd_pick what = {
        .logits = logits, .tokens = tokens, .count = count, .logprobs = true, .top = top, .top_count = top_count};
    return hd_picker_next(p, room, &what, chosen, err);
}

static hd_logprob next(hd_picker *p, const float *logits, const int32_t *tokens, int64_t count)
{
    hd_logprob chosen;
    hd_error err = {0};
    if (pick(p, logits, tokens, count, &chosen, NULL, 0, &err) != HD_OK) fail_msg("%s", err.text);
    return chosen;
}

/* How often each id comes in DRAWS choices without history. */
static void draw_many(const hd_sampling *s, const float *logits, int vocab, int *counts)
{
    hd_picker *p = picker_of(s, vocab);
    memset(counts, 0, (size_t)vocab * sizeof *counts);
    for (int i = 0; i < DRAWS; i++)
        counts[next(p, logits, NULL, 0).id]++;
    hd_picker_close(&p);
}

/* ---- brute force ---- */

static const float *order_by;

static int by_logit(const void *a, const void *b)
{
    int32_t x = *(const int32_t *)a, y = *(const int32_t *)b;
    if (order_by[x] != order_by[y]) return order_by[x] > order_by[y] ? -1 : 1;
    return (x > y) - (x < y);
}

/* The definition: sort all, keep top_k, soften, keep the nucleus, keep what reaches min_p; then probabilities. */
static void brute_force(const hd_sampling *s, const float *logits, int vocab, double *probability)
{
    int32_t order[V];
    double p[V], sum = 0.0, mass = 0.0;
    int n = s->top_k && s->top_k < vocab ? s->top_k : vocab;
    for (int i = 0; i < vocab; i++) {
        order[i] = i;
        probability[i] = 0.0;
    }
    order_by = logits;
    qsort(order, (size_t)vocab, sizeof *order, by_logit);
    for (int i = 0; i < n; i++) {
        p[i] = exp(((double)logits[order[i]] - logits[order[0]]) / s->temperature);
        sum += p[i];
    }
    if (s->top_p < 1.0f)
        for (int i = 0; i < n; i++) {
            mass += p[i] / sum;
            if (mass >= s->top_p) n = i + 1;
        }
    while (n > 1 && p[n - 1] < s->min_p * p[0])
        n--;
    sum = 0.0;
    for (int i = 0; i < n; i++)
        sum += p[i];
    for (int i = 0; i < n; i++)
        probability[order[i]] = p[i] / sum;
}

/* Every id that may come is drawn about as often as it should be, and no other ever. */
static void check_draws(const hd_sampling *s, const float *logits, int vocab)
{
    double probability[V];
    int counts[V];
    brute_force(s, logits, vocab, probability);
    draw_many(s, logits, vocab, counts);
    for (int i = 0; i < vocab; i++) {
        double want = probability[i] * DRAWS, sigma = sqrt(want * (1.0 - probability[i]));
        if (probability[i] == 0.0 && counts[i]) fail_msg("id %d came %d times, but should never", i, counts[i]);
        if (fabs(counts[i] - want) > 5.0 * sigma + 1.0) fail_msg("id %d came %d times, not %.1f", i, counts[i], want);
    }
}

static void draws_follow_the_definition(void **state)
{
    (void)state;
    static const struct {
        float temperature;
        int top_k;
        float top_p, min_p;
    } cases[] = {
        {1.0f, 0, 1.0f, 0.0f},  {0.5f, 0, 1.0f, 0.0f},   {2.0f, 0, 1.0f, 0.0f},    {1.0f, 1, 1.0f, 0.0f},
        {1.0f, 5, 1.0f, 0.0f},  {1.0f, V, 1.0f, 0.0f},   {1.0f, 9999, 1.0f, 0.0f}, {1.0f, 0, 0.5f, 0.0f},
        {1.0f, 0, 0.95f, 0.0f}, {0.7f, 0, 0.0f, 0.0f},   {1.0f, 0, 1e-6f, 0.0f},   {1.0f, 0, 0.99999f, 0.0f},
        {1.0f, 0, 1.0f, 0.3f},  {1.0f, 0, 1.0f, 1.0f},   {0.6f, 20, 0.95f, 0.05f}, {1.5f, 50, 0.8f, 0.1f},
        {0.01f, 0, 1.0f, 0.0f}, {100.0f, 0, 0.9f, 0.5f},
    };
    float logits[V];
    for (size_t i = 0; i < HD_ARRAY_LEN(cases); i++) {
        hd_sampling s = plain;
        s.temperature = cases[i].temperature;
        s.top_k = cases[i].top_k;
        s.top_p = cases[i].top_p;
        s.min_p = cases[i].min_p;
        s.seed = i;
        random_logits(logits, V, i + 1);
        check_draws(&s, logits, V);
        check_draws(&s, logits, 1);
        check_draws(&s, logits, 2);
    }
}

/* Nearly equal probabilities, each near what the quick cut of a nucleus may drop: none of them too many. */
static void a_flat_nucleus_is_whole(void **state)
{
    (void)state;
    float logits[V] = {1.4f};
    for (int i = 1; i <= 9; i++) {
        hd_sampling s = plain;
        s.top_p = (float)i / 10.0f;
        check_draws(&s, logits, V);
    }
}

/* The set that top-k keeps is exact, whatever the order of the logits, ties by the lower id. */
static void top_k_keeps_exactly_the_best(void **state)
{
    (void)state;
    float logits[V];
    double probability[V];
    int counts[V];
    for (int pattern = 0; pattern < 6; pattern++) {
        for (int i = 0; i < V; i++) {
            static const float saw[] = {0, 1, 0, -1};
            const float values[] = {(float)i * 0.01f, (float)-i * 0.01f,           0.0f,
                                    saw[i % 4],       (float)(i * 37 % V) * 0.01f, i < V / 2 ? 0.5f : 0.4f};
            logits[i] = values[pattern];
        }
        for (int k = 1; k <= V; k += k < 8 ? 1 : 31) {
            hd_sampling s = plain;
            s.top_k = k;
            brute_force(&s, logits, V, probability);
            draw_many(&s, logits, V, counts);
            for (int i = 0; i < V; i++)
                if (counts[i]) assert_true(probability[i] > 0.0);
            for (int i = 0; k < 8 && i < V; i++)
                if (probability[i] > 0.0) assert_true(counts[i] > 0);
        }
    }
}

static void temperature_zero_is_the_best(void **state)
{
    (void)state;
    float logits[V];
    hd_sampling s = plain;
    s.temperature = 0.0f;
    s.top_k = 3;
    hd_picker *p = picker_of(&s, V);
    for (uint64_t seed = 0; seed < 20; seed++) {
        random_logits(logits, V, seed);
        int best = 0;
        for (int i = 1; i < V; i++)
            if (logits[i] > logits[best]) best = i;
        assert_int_equal(next(p, logits, NULL, 0).id, best);
        logits[0] = logits[best]; /* the first of equals */
        assert_int_equal(next(p, logits, NULL, 0).id, 0);
    }
    hd_picker_close(&p);
}

static void the_same_seed_gives_the_same_ids(void **state)
{
    (void)state;
    float logits[V];
    hd_sampling s = plain;
    int32_t ids[3][100];
    for (int run = 0; run < 3; run++) {
        s.seed = run == 2 ? 8 : 7;
        hd_picker *p = picker_of(&s, V);
        for (int i = 0; i < 100; i++) {
            random_logits(logits, V, (uint64_t)i);
            ids[run][i] = next(p, logits, NULL, 0).id;
        }
        hd_picker_close(&p);
    }
    assert_memory_equal(ids[0], ids[1], sizeof ids[0]);
    assert_memory_not_equal(ids[0], ids[2], sizeof ids[0]);
}

/* ---- the choice itself ---- */

typedef struct weighed {
    int32_t id;
    float p;
} weighed;

static int by_weight(const void *a, const void *b)
{
    const weighed *x = a, *y = b;
    if (x->p != y->p) return x->p > y->p ? -1 : 1;
    return (x->id > y->id) - (x->id < y->id);
}

/* SplitMix64, as docs/engine.md says. */
static double reference_draw(uint64_t *state)
{
    uint64_t z = *state += 0x9e3779b97f4a7c15u;
    z = (z ^ (z >> 30)) * 0xbf58476d1ce4e5b9u;
    z = (z ^ (z >> 27)) * 0x94d049bb133111ebu;
    return (double)((z ^ (z >> 31)) >> 11) * 0x1.0p-53;
}

/* With everything sorted and summed from the front. */
static int32_t reference_choice(const hd_sampling *s, const float *logits, int n, uint64_t *rng)
{
    static weighed c[WIDE];
    double sum = 0.0, mass = 0.0;
    float max = -INFINITY;
    int kept = n;
    for (int i = 0; i < n; i++)
        max = fmaxf(max, logits[i]);
    for (int i = 0; i < n; i++) {
        c[i] = (weighed){.id = i, .p = expf((logits[i] - max) / s->temperature)};
        sum += c[i].p;
    }
    for (int i = 0; i < n; i++)
        c[i].p = (float)(c[i].p / sum);
    if (s->top_p < 1.0f) {
        qsort(c, (size_t)n, sizeof *c, by_weight);
        for (kept = 0; kept < n && mass < s->top_p; kept++)
            mass += c[kept].p;
    }
    float floor = 0.0f;
    for (int i = 0; i < kept; i++)
        floor = fmaxf(floor, s->min_p * c[i].p);
    int left = 0;
    sum = 0.0;
    for (int i = 0; i < kept; i++) {
        if (c[i].p < floor) continue;
        c[left++] = c[i];
        sum += c[i].p;
    }
    double at = reference_draw(rng) * sum;
    for (int i = 0; i < left; i++) {
        at -= c[i].p;
        if (at < 0.0) return c[i].id;
    }
    return c[left - 1].id;
}

/* From a nucleus of one to one that is nearly the whole vocabulary, with equal values among them. */
static void no_shortcut_changes_the_choice(void **state)
{
    (void)state;
    static const float temperatures[] = {0.3f, 0.6f, 1.0f, 3.0f, 100.0f}, top_ps[] = {0.1f, 0.5f, 0.95f, 0.999f, 1.0f};
    static float logits[WIDE];
    for (int pattern = 0; pattern < 3; pattern++)
        for (int t = 0; t < 5; t++)
            for (int k = 0; k < 10; k++) {
                hd_sampling s = plain;
                s.temperature = temperatures[t];
                s.top_p = top_ps[k % 5];
                s.min_p = k < 5 ? 0.0f : 0.97f;
                s.seed = (uint64_t)(t * 10 + k);
                uint64_t rng = s.seed;
                random_logits(logits, WIDE, s.seed + 99);
                for (int i = 0; i < WIDE; i++) {
                    if (pattern == 1) logits[i] = roundf(logits[i]); /* thousands are equal */
                    if (pattern == 2) logits[i] *= i % 100 == 0 ? 3.0f : 0.5f;
                }
                hd_picker *p = picker_of(&s, WIDE);
                for (int i = 0; i < 3; i++)
                    assert_int_equal(next(p, logits, NULL, 0).id, reference_choice(&s, logits, WIDE, &rng));
                hd_picker_close(&p);
            }
}

/* Without log-probabilities nothing but their value changes. */
static void logprobs_are_computed_when_wanted(void **state)
{
    (void)state;
    float logits[V];
    hd_error err = {0};
    hd_logprob chosen, top[5];
    for (int round = 0; round < 2; round++) {
        hd_sampling s = plain;
        s.temperature = (float)round;
        random_logits(logits, V, 4);
        hd_picker *p = picker_of(&s, V), *q = picker_of(&s, V);
        for (int i = 0; i < 20; i++) {
            hd_pick what = {.logits = logits};
            assert_int_equal(hd_picker_next(p, room, &what, &chosen, &err), HD_OK);
            assert_true(isnan(chosen.logprob));
            assert_int_equal(chosen.id, next(q, logits, NULL, 0).id);
        }
        const hd_pick what = {.logits = logits, .top = top, .top_count = 5};
        assert_int_equal(hd_picker_next(p, room, &what, &chosen, &err), HD_OK);
        assert_false(isnan(chosen.logprob));
        hd_picker_close(&p);
        hd_picker_close(&q);
    }
    logits[77] = NAN;
    hd_picker *p = picker_of(&plain, V);
    const hd_pick what = {.logits = logits};
    assert_int_equal(hd_picker_next(p, room, &what, &chosen, &err), HD_E_INTERNAL);
    assert_non_null(strstr(err.text, "its file may be damaged"));
    const hd_pick adapted = {.logits = logits, .adapted = true};
    assert_int_equal(hd_picker_next(p, room, &adapted, &chosen, &err), HD_E_INTERNAL);
    assert_non_null(strstr(err.text, "alpha or its scale may be too large"));
    assert_null(strstr(err.text, "damaged"));
    hd_picker_close(&p);
}

/* ---- bias and penalties ---- */

static void bias_moves_forces_and_bans(void **state)
{
    (void)state;
    float logits[4] = {1.0f, 2.0f, 3.0f, 4.0f};
    const hd_logit_bias forces[] = {{.id = 1, .bias = INFINITY}};
    const hd_logit_bias bans[] = {{.id = 3, .bias = -INFINITY}, {.id = 2, .bias = -INFINITY}};
    const hd_logit_bias moves[] = {{.id = 0, .bias = 1.5f}, {.id = 0, .bias = 1.51f}}; /* of one id they add up */
    const hd_logit_bias nothing[] = {{0, -INFINITY}, {1, -INFINITY}, {2, -INFINITY}, {3, -INFINITY}};
    const hd_logit_bias both[] = {{0, INFINITY}, {0, -INFINITY}};
    int counts[4];
    hd_sampling s = plain;
    s.bias = forces;
    s.bias_count = 1;
    draw_many(&s, logits, 4, counts);
    assert_int_equal(counts[1], DRAWS);
    s.bias = bans;
    s.bias_count = 2;
    draw_many(&s, logits, 4, counts);
    assert_true(counts[0] > 0 && counts[1] > counts[0] && counts[2] == 0 && counts[3] == 0);
    s.temperature = 0.0f;
    s.bias = moves;
    draw_many(&s, logits, 4, counts);
    assert_int_equal(counts[0], DRAWS);
    for (int t = 0; t < 2; t++) {
        s.temperature = (float)t;
        s.bias = nothing; /* no choice is right, but one is made */
        s.bias_count = 4;
        draw_many(&s, logits, 4, counts);
        s.bias = both; /* adds up to NaN: never chosen */
        s.bias_count = 2;
        draw_many(&s, logits, 4, counts);
        assert_int_equal(counts[0], 0);
    }
}

/* Greedy choice after `count` tokens. */
static int32_t best_after(const hd_sampling *s, const float *logits, int32_t vocab, const int32_t *tokens,
                          int64_t count)
{
    hd_picker *p = picker_of(s, vocab);
    int32_t id = next(p, logits, tokens, count).id;
    hd_picker_close(&p);
    return id;
}

/* Positive logits are divided, negative ones multiplied, each token once however often it stands there. */
static void repetition_penalty_counts_each_token_once(void **state)
{
    (void)state;
    hd_sampling s = plain;
    s.temperature = 0.0f;
    s.repetition_penalty = 1.5f;
    const int32_t tokens[] = {0, 0, 0, 0, 1};
    assert_int_equal(best_after(&s, (const float[]){3.0f, 1.9f, 2.1f}, 3, tokens, 5), 2);
    assert_int_equal(best_after(&s, (const float[]){3.0f, 1.9f, 1.99f}, 3, tokens, 5), 0);   /* 2.0, not 3/1.5^4 */
    assert_int_equal(best_after(&s, (const float[]){-1.0f, -2.0f, -1.4f}, 3, tokens, 5), 2); /* -1.5 */
    assert_int_equal(best_after(&s, (const float[]){-1.0f, -2.0f, -1.6f}, 3, tokens, 5), 0);
    assert_int_equal(best_after(&s, (const float[]){3.0f, 1.9f, 2.1f}, 3, tokens, 0), 0);
}

/* Presence and frequency look at what this sampler chose, not at the prompt. */
static void presence_and_frequency_count_what_was_chosen(void **state)
{
    (void)state;
    const float logits[] = {3.0f, 2.5f, 1.0f};
    const int32_t prompt[] = {0, 0, 0};
    hd_sampling s = plain;
    s.temperature = 0.0f;
    s.presence_penalty = 0.6f;
    hd_picker *p = picker_of(&s, 3);
    static const int32_t presence[] = {0, 1, 0, 0}; /* 3.0; 2.4 < 2.5; then 2.4 and 1.9 for good */
    for (int i = 0; i < 4; i++)
        assert_int_equal(next(p, logits, prompt, 3).id, presence[i]);
    hd_picker_close(&p);
    s.presence_penalty = 0.0f;
    s.frequency_penalty = 0.4f;
    p = picker_of(&s, 3);
    static const int32_t frequency[] = {0, 0, 1, 0, 1, 0}; /* 3, 2.6, (2.2) 2.5, 2.2, (1.8) 2.1, 1.8 over 1.7 */
    for (int i = 0; i < 6; i++)
        assert_int_equal(next(p, logits, prompt, 3).id, frequency[i]);
    hd_picker_close(&p);
    s.frequency_penalty = -1.0f; /* negative: the same again and again */
    p = picker_of(&s, 3);
    for (int i = 0; i < 4; i++)
        assert_int_equal(next(p, logits, prompt, 3).id, 0);
    hd_picker_close(&p);
}

/* ---- log-probabilities ---- */

static void logprobs_are_of_the_unmodified_logits(void **state)
{
    (void)state;
    float logits[V];
    hd_logprob chosen, top[V];
    hd_error err = {0};
    const hd_logit_bias bias[] = {{.id = 3, .bias = 100.0f}};
    const int32_t tokens[] = {3, 4};
    hd_sampling s = {.temperature = 0.3f,
                     .top_k = 2,
                     .top_p = 0.5f,
                     .min_p = 0.5f,
                     .repetition_penalty = 2.0f,
                     .presence_penalty = 1.0f,
                     .bias = bias,
                     .bias_count = 1};
    random_logits(logits, V, 5);
    hd_picker *p = picker_of(&s, V);
    assert_int_equal(pick(p, logits, tokens, 2, &chosen, top, V, &err), HD_OK);
    double norm = 0.0, sum = 0.0;
    for (int i = 0; i < V; i++)
        norm += exp(logits[i]);
    norm = log(norm);
    assert_int_equal(chosen.id, 3);
    assert_true(fabs(chosen.logprob - (logits[3] - norm)) < 1e-5);
    for (int i = 0; i < V; i++) {
        assert_true(fabs(top[i].logprob - (logits[top[i].id] - norm)) < 1e-5);
        assert_true(i == 0 || top[i].logprob <= top[i - 1].logprob);
        sum += exp(top[i].logprob);
    }
    assert_true(fabs(sum - 1.0) < 1e-4);
    hd_logprob few[3];
    assert_int_equal(pick(p, logits, tokens, 2, &chosen, few, 3, &err), HD_OK);
    assert_memory_equal(few, top, sizeof few);
    assert_int_equal(pick(p, logits, tokens, 2, &chosen, top, V + 1, &err), HD_E_ARGUMENT);
    assert_non_null(strstr(err.text, "201 log-probabilities of a vocabulary of 200"));
    hd_picker_close(&p);
    for (int i = 0; i < V; i++)
        logits[i] = 1.0f; /* ties come by id */
    p = picker_of(&plain, V);
    assert_int_equal(pick(p, logits, tokens, 0, &chosen, few, 3, &err), HD_OK);
    assert_true(few[0].id == 0 && few[1].id == 1 && few[2].id == 2);
    hd_picker_close(&p);
}

/* ---- extremes ---- */

static void nan_and_infinity_end_nowhere(void **state)
{
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY, 3e38f, -3e38f, 0.0f, 1e-45f};
    const hd_sampling settings[] = {
        plain,
        {.temperature = 0.0f, .top_p = 1.0f, .repetition_penalty = 1.3f},
        {.temperature = 1e-45f, .top_p = 0.5f, .min_p = 0.1f, .repetition_penalty = 0.5f},
        {.temperature = 100.0f, .top_k = 3, .top_p = 0.9f, .repetition_penalty = 1.0f, .presence_penalty = 2.0f},
    };
    const int32_t tokens[] = {0, 1, 2};
    uint64_t seed = 1;
    for (int round = 0; round < 400; round++) {
        float logits[9];
        hd_logprob chosen, top[9];
        bool nan = false;
        float most = -INFINITY;
        for (int i = 0; i < 9; i++) {
            logits[i] = odd[round < 7 ? round : (int)(random_unit(&seed) * 7.0f)]; /* first all the same */
            nan |= isnan(logits[i]);
            most = fmaxf(most, logits[i]);
        }
        bool sound = !nan && isfinite(most); /* else the model is damaged */
        hd_picker *p = picker_of(&settings[round % 4], 9);
        for (int i = 0; i < 3; i++) {
            hd_status status = pick(p, logits, tokens, 3, &chosen, top, 9, NULL);
            assert_int_equal(status, sound ? HD_OK : HD_E_INTERNAL);
            if (sound) assert_in_range(chosen.id, 0, 8);
        }
        hd_picker_close(&p);
    }
}

/* A banned token has probability 0 and stands last: not even rounding may draw it. */
static void what_has_no_probability_never_comes(void **state)
{
    (void)state;
    float logits[V];
    int counts[V];
    const hd_logit_bias ban[] = {{.id = V - 1, .bias = -INFINITY}, {.id = 0, .bias = -INFINITY}};
    hd_sampling s = plain;
    s.bias = ban;
    s.bias_count = 2;
    random_logits(logits, V, 3);
    for (int i = V / 2; i < V; i++)
        logits[i] = -1e30f; /* underflows to 0 */
    for (uint64_t seed = 0; seed < 20; seed++) {
        s.seed = seed;
        draw_many(&s, logits, V, counts);
        assert_int_equal(counts[0], 0);
        for (int i = V / 2; i < V; i++)
            assert_int_equal(counts[i], 0);
    }
}

static void must_refuse(const hd_sampling *s, const char *words)
{
    hd_picker *p;
    hd_error err = {0};
    assert_int_equal(hd_picker_open(&p, V, s, &err), HD_E_ARGUMENT);
    assert_null(p);
    if (!strstr(err.text, words)) fail_msg("\"%s\" should contain \"%s\"", err.text, words);
}

static void settings_are_checked(void **state)
{
    (void)state;
#define FIELD(name) offsetof(hd_sampling, name), #name " is"
    const struct {
        size_t field;
        const char *words;
        float below, above;
    } ranges[] = {
        {FIELD(temperature), -0.1f, 101.0f},
        {FIELD(top_p), -0.1f, 1.1f},
        {FIELD(min_p), -0.1f, 2.0f},
        {FIELD(repetition_penalty), 0.0f, 101.0f},
        {FIELD(presence_penalty), -1000.0f, 1000.0f},
        {FIELD(frequency_penalty), -1000.0f, 1000.0f},
    };
    for (size_t i = 0; i < HD_ARRAY_LEN(ranges); i++) {
        const float values[] = {ranges[i].below, ranges[i].above, NAN, INFINITY, -INFINITY};
        for (size_t j = 0; j < HD_ARRAY_LEN(values); j++) {
            hd_sampling s = plain;
            memcpy((char *)&s + ranges[i].field, &values[j], sizeof values[j]);
            must_refuse(&s, ranges[i].words);
        }
    }
    const hd_logit_bias bad[] = {{V, 1.0f}, {-1, 1.0f}, {1, NAN}};
    hd_sampling s = plain;
    s.top_k = -1;
    must_refuse(&s, "top_k is -1");
    s.top_k = 0;
    s.bias_count = 1;
    static const char *const words[] = {"logit_bias: token id 200 is outside", "logit_bias: token id -1 is outside",
                                        "logit_bias of token 1 is not a number"};
    for (size_t i = 0; i < HD_ARRAY_LEN(bad); i++) {
        s.bias = &bad[i];
        must_refuse(&s, words[i]);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(draws_follow_the_definition),
        cmocka_unit_test(a_flat_nucleus_is_whole),
        cmocka_unit_test(top_k_keeps_exactly_the_best),
        cmocka_unit_test(temperature_zero_is_the_best),
        cmocka_unit_test(the_same_seed_gives_the_same_ids),
        cmocka_unit_test(no_shortcut_changes_the_choice),
        cmocka_unit_test(logprobs_are_computed_when_wanted),
        cmocka_unit_test(bias_moves_forces_and_bans),
        cmocka_unit_test(repetition_penalty_counts_each_token_once),
        cmocka_unit_test(presence_and_frequency_count_what_was_chosen),
        cmocka_unit_test(logprobs_are_of_the_unmodified_logits),
        cmocka_unit_test(nan_and_infinity_end_nowhere),
        cmocka_unit_test(what_has_no_probability_never_comes),
        cmocka_unit_test(settings_are_checked),
    };
    if (hd_picker_room_open(&room, WIDE, NULL) != HD_OK) return 1;
    int failed = cmocka_run_group_tests(tests, NULL, NULL);
    hd_picker_room_close(&room);
    return failed;
}
