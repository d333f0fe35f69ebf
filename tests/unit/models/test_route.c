/* Routing against a brute-force reading of the papers, on hand-made scores and random ones. */
#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stddef.h>
#include <stdint.h>
#include <string.h>

#include <cmocka.h>

#include "models/deepseek2_internal.h"

enum { EXPERTS = 24, USED = 6, TOKENS = 40 };

typedef struct router {
    hd_model model;
    hd_deepseek2 state;
    hd_layer layer;
    float scores[TOKENS * EXPERTS], choice[TOKENS * EXPERTS], weight[TOKENS * USED], bias[EXPERTS];
    int32_t ids[TOKENS * USED];
} router;

static router r;

static void set_up(int experts, int used, int groups, int groups_used, bool sigmoid)
{
    memset(&r, 0, sizeof r);
    r.model.config = (hd_model_config){.experts = experts,
                                       .experts_used = used,
                                       .groups = groups,
                                       .groups_used = groups_used,
                                       .sigmoid = sigmoid,
                                       .renorm = sigmoid,
                                       .routed_scale = 2.5f};
    r.state = (hd_deepseek2){.scores = r.scores, .choice = r.choice, .weight = r.weight, .ids = r.ids};
    r.model.state = &r.state;
    r.layer.router_bias = sigmoid ? r.bias : NULL;
}

static uint64_t seed;

static float random_unit(void)
{
    seed = seed * 6364136223846793005u + 1442695040888963407u;
    return (float)(seed >> 40) / 16777216.0f;
}

/* ---- brute force, in double ---- */

static void affinities(const hd_model_config *c, const float *logit, double *p)
{
    double sum = 0.0;
    for (int e = 0; e < c->experts; e++)
        sum += exp(logit[e]);
    for (int e = 0; e < c->experts; e++)
        p[e] = c->sigmoid ? 1.0 / (1.0 + exp(-logit[e])) : exp(logit[e]) / sum;
}

/* The place of item i among n by descending value, equal ones by index. */
static int rank(const double *values, int n, int i)
{
    int better = 0;
    for (int j = 0; j < n; j++)
        better += values[j] > values[i] || (values[j] == values[i] && j < i);
    return better;
}

static double group_value(const hd_model_config *c, const double *biased, int g)
{
    int size = c->experts / c->groups;
    double best[2] = {-1e9, -1e9};
    for (int j = 0; j < size; j++) {
        double v = biased[g * size + j];
        if (v > best[0]) {
            best[1] = best[0];
            best[0] = v;
        } else if (v > best[1])
            best[1] = v;
    }
    return c->sigmoid && size > 1 ? best[0] + best[1] : best[0];
}

/* weight[e] of every expert; 0 where it is not chosen. */
static void by_definition(const hd_model_config *c, const float *logit, double *weight)
{
    double p[EXPERTS], biased[EXPERTS], groups[EXPERTS], sum = 0.0;
    int size = c->experts / c->groups;
    affinities(c, logit, p);
    for (int e = 0; e < c->experts; e++)
        biased[e] = p[e] + (c->sigmoid ? r.bias[e] : 0.0);
    for (int g = 0; g < c->groups; g++)
        groups[g] = group_value(c, biased, g);
    for (int e = 0; e < c->experts; e++)
        if (rank(groups, c->groups, e / size) >= c->groups_used) biased[e] = -1e9;
    for (int e = 0; e < c->experts; e++) {
        weight[e] = rank(biased, c->experts, e) < c->experts_used ? p[e] : 0.0;
        sum += weight[e];
    }
    for (int e = 0; e < c->experts; e++)
        weight[e] *= c->routed_scale / (c->renorm ? sum : 1.0);
}

static void check_against_definition(int tokens)
{
    const hd_model_config *c = &r.model.config;
    static float logits[TOKENS * EXPERTS];
    memcpy(logits, r.scores, sizeof logits);
    hd_route(&r.model, &r.layer, tokens);
    for (int t = 0; t < tokens; t++) {
        double want[EXPERTS];
        bool seen[EXPERTS] = {false};
        by_definition(c, logits + t * c->experts, want);
        for (int j = 0; j < c->experts_used; j++) {
            int e = r.ids[t * c->experts_used + j];
            assert_in_range(e, 0, c->experts - 1);
            assert_false(seen[e]);
            seen[e] = true;
            if (!(fabs(r.weight[t * c->experts_used + j] - want[e]) < 1e-5))
                fail_msg("token %d, expert %d: weight %g, not %g", t, e, r.weight[t * c->experts_used + j], want[e]);
        }
        for (int e = 0; e < c->experts; e++)
            assert_true(seen[e] || want[e] == 0.0);
    }
}

static void random_scores_follow_the_definition(void **state)
{
    (void)state;
    static const int shapes[][4] = {{24, 6, 1, 1}, {24, 6, 4, 2}, {24, 1, 8, 1}, {24, 6, 8, 8}, {24, 6, 24, 6},
                                    {8, 2, 4, 2},  {1, 1, 1, 1},  {24, 3, 8, 1}, {16, 4, 4, 2}};
    for (size_t i = 0; i < 2 * HD_ARRAY_LEN(shapes); i++) {
        const int *s = shapes[i / 2];
        set_up(s[0], s[1], s[2], s[3], i % 2);
        seed = i;
        for (int j = 0; j < TOKENS * EXPERTS; j++)
            r.scores[j] = 6.0f * random_unit() - 3.0f;
        for (int e = 0; e < EXPERTS; e++)
            r.bias[e] = 0.4f * random_unit() - 0.2f;
        check_against_definition(TOKENS);
    }
}

/* The bias decides who is chosen and leaves the weights alone. */
static void the_bias_chooses_only(void **state)
{
    (void)state;
    set_up(4, 1, 1, 1, true);
    r.model.config.renorm = false;
    r.scores[2] = 1.0f;
    r.bias[3] = 0.5f;
    hd_route(&r.model, &r.layer, 1);
    assert_int_equal(r.ids[0], 3);
    assert_true(fabsf(r.weight[0] - 0.5f * 2.5f) < 1e-6f); /* sigmoid(0), times the factor */
}

/* V2 takes a group by its best expert, V3 by its two best. */
static void groups_are_judged_by_one_or_two(void **state)
{
    (void)state;
    static const float scores[6] = {3.0f, -9.0f, -9.0f, 2.0f, 2.0f, -9.0f};
    for (int sigmoid = 0; sigmoid < 2; sigmoid++) {
        set_up(6, 1, 2, 1, sigmoid);
        memcpy(r.scores, scores, sizeof scores);
        hd_route(&r.model, &r.layer, 1);
        assert_int_equal(r.ids[0], sigmoid ? 3 : 0);
    }
}

static void ties_go_to_the_lower_index(void **state)
{
    (void)state;
    for (int sigmoid = 0; sigmoid < 2; sigmoid++) {
        set_up(24, 6, 4, 2, sigmoid);
        hd_route(&r.model, &r.layer, TOKENS); /* all scores are 0 */
        for (int i = 0; i < TOKENS * USED; i++)
            assert_int_equal(r.ids[i], i % USED);
    }
}

/* Scores that are no numbers come of damaged weights: any experts will do, but they must exist. */
static void odd_scores_choose_valid_experts(void **state)
{
    (void)state;
    static const float odd[] = {NAN, INFINITY, -INFINITY, 1e30f, -1e30f, 0.0f};
    for (int i = 0; i < 40; i++) {
        set_up(24, 6, 4, 2, i % 2);
        seed = (uint64_t)i;
        for (int j = 0; j < TOKENS * EXPERTS; j++)
            r.scores[j] = i < 12 ? odd[i / 2] : odd[(int)(random_unit() * 6.0f)];
        for (int e = 0; e < EXPERTS; e++)
            r.bias[e] = i < 30 ? 0.0f : odd[(int)(random_unit() * 6.0f)];
        hd_route(&r.model, &r.layer, TOKENS);
        for (int j = 0; j < TOKENS * USED; j++)
            assert_in_range(r.ids[j], 0, EXPERTS - 1);
        for (int j = 0; j < TOKENS * USED; j++)
            for (int k = j - j % USED; k < j; k++)
                assert_int_not_equal(r.ids[k], r.ids[j]);
    }
}

static void a_trace_records_and_forces(void **state)
{
    (void)state;
    static int32_t kept[2 * 50 * USED];
    hd_expert_trace t = {.mode = HD_TRACE_RECORD, .ids = kept, .layers = 2, .tokens = 50, .used = USED, .token0 = 20};
    set_up(24, 6, 1, 1, false);
    r.model.exec.trace = &t;
    r.layer.expert_slot = 1;
    seed = 5;
    for (int j = 0; j < TOKENS * EXPERTS; j++)
        r.scores[j] = random_unit();
    hd_route(&r.model, &r.layer, TOKENS); /* 20 .. 59: room for 30 of them */
    assert_memory_equal(kept + (50 + 20) * USED, r.ids, 30 * USED * sizeof *kept);
    for (int i = 0; i < (50 + 20) * USED; i++)
        assert_int_equal(kept[i], 0);
    for (int i = 0; i < 30 * USED; i++)
        kept[(50 + 20) * USED + i] = 23 - i % USED;
    t.mode = HD_TRACE_FORCE;
    for (int j = 0; j < TOKENS * EXPERTS; j++)
        r.scores[j] = j % EXPERTS == 7 ? 1.0f : 0.0f;
    hd_route(&r.model, &r.layer, TOKENS);
    for (int i = 0; i < TOKENS * USED; i++) {
        int free_choice = i % USED ? i % USED - 1 : 7; /* the best, then equals by index */
        assert_int_equal(r.ids[i], i < 30 * USED ? 23 - i % USED : free_choice);
        if (i < 30 * USED) assert_true(fabs(r.weight[i] - 2.5 / (23.0 + exp(1.0))) < 1e-6); /* own weights */
    }
}

/* By trying how many of the best are enough. */
static void the_fewest_experts_of_a_share_are_kept(void **state)
{
    (void)state;
    for (int round = 0; round < 2; round++) {
        set_up(EXPERTS, USED, 1, 1, round == 1);
        r.model.dials.expert_share = 0.6;
        hd_error err = {0};
        assert_int_equal(hd_pool_open(&r.model.exec.pool, 1, &err), HD_OK);
        for (int i = 0; i < TOKENS * EXPERTS; i++)
            r.scores[i] = 6.0f * random_unit();
        hd_route(&r.model, &r.layer, TOKENS);
        hd_pool_close(&r.model.exec.pool);
        int dropped = 0;
        for (int t = 0; t < TOKENS; t++) {
            float score[USED], best[USED] = {0}, all = 0.0f, enough = 0.0f, weights = 0.0f;
            const float *scores = r.scores + t * EXPERTS;
            for (int e = 0; e < EXPERTS; e++) { /* without biases the choice is the best USED ones */
                float v = scores[e];
                for (int j = 0; j < USED; j++)
                    if (v > best[j]) {
                        float next = best[j];
                        best[j] = v;
                        v = next;
                    }
            }
            for (int j = 0; j < USED; j++)
                all += best[j];
            int kept = 0, want = 0;
            while (enough < 0.6f * all)
                enough += best[want++];
            for (int j = 0; j < USED; j++) {
                int32_t id = r.ids[t * USED + j];
                kept += id >= 0;
                score[j] = id >= 0 ? scores[id] : 0.0f;
                assert_true(score[j] == 0.0f || score[j] >= best[want - 1]);
                weights += r.weight[t * USED + j];
            }
            assert_int_equal(kept, want);
            dropped += USED - kept;
            if (round == 1) assert_true(fabsf(weights - 2.5f) < 1e-5f); /* renormalized over those that stay */
        }
        assert_true(dropped > 0);
        assert_int_equal(r.model.could_route, TOKENS * USED);
        assert_int_equal(r.model.routed, TOKENS * USED - dropped);
    }
}

int main(void)
{
    const struct CMUnitTest tests[] = {
        cmocka_unit_test(the_fewest_experts_of_a_share_are_kept),
        cmocka_unit_test(random_scores_follow_the_definition),
        cmocka_unit_test(the_bias_chooses_only),
        cmocka_unit_test(groups_are_judged_by_one_or_two),
        cmocka_unit_test(ties_go_to_the_lower_index),
        cmocka_unit_test(odd_scores_choose_valid_experts),
        cmocka_unit_test(a_trace_records_and_forces),
    };
    return cmocka_run_group_tests(tests, NULL, NULL);
}
