/* models/route.c: which experts a token goes to.
 *
 * V2 (arXiv:2405.04434, sections 2.2.1 and 2.2.2): softmax over all experts; a group's score is its best expert; the
 * top experts of the top groups, weighted by their softmax times the scaling factor.  V3 (arXiv:2412.19437,
 * section 2.1.2): sigmoid; a bias is added for the choice only; a group's score is the sum of its two best; weights are
 * the unbiased scores, divided by their sum, times the factor.  The reference data of golden/models settles the rest.
 */
#include <math.h>

#include "models/deepseek2_internal.h"

typedef struct route_job {
    hd_model *m;
    const hd_layer *l;
} route_job;

static void softmax(float *x, int n)
{
    float max = x[0], sum = 0.0f;
    for (int i = 1; i < n; i++)
        max = HD_MAX(max, x[i]);
    for (int i = 0; i < n; i++) {
        x[i] = expf(x[i] - max);
        sum += x[i];
    }
    for (int i = 0; i < n; i++)
        x[i] /= sum;
}

static float group_score(const hd_model_config *c, const float *score, const float *bias, int group)
{
    int size = c->experts / c->groups;
    float best = -INFINITY, second = -INFINITY;
    for (int i = group * size; i < (group + 1) * size; i++) {
        float s = score[i] + (bias ? bias[i] : 0.0f);
        if (s > best) {
            second = best;
            best = s;
        } else if (s > second)
            second = s;
    }
    return c->sigmoid && size > 1 ? best + second : best;
}

/* A group is open when fewer than groups_used others score higher (ties go to the lower index). */
static bool group_open(const hd_model_config *c, const float *score, const float *bias, int group)
{
    if (c->groups_used >= c->groups) return true;
    float own = group_score(c, score, bias, group);
    int better = 0;
    for (int g = 0; g < c->groups; g++) {
        if (g == group) continue;
        float other = group_score(c, score, bias, g);
        better += other > own || (other == own && g < group);
    }
    return better < c->groups_used;
}

static bool is_chosen(const int32_t *chosen, int count, int e)
{
    for (int j = 0; j < count; j++)
        if (chosen[j] == e) return true;
    return false;
}

/* The best expert that is allowed and not chosen yet, by repeated search: `used` is small. */
static int best_expert(const hd_model_config *c, const float *choice, const int32_t *chosen, int count)
{
    int best = -1;
    for (int e = 0; e < c->experts; e++) {
        if (choice[e] == -INFINITY || is_chosen(chosen, count, e)) continue;
        if (best < 0 || choice[e] > choice[best]) best = e;
    }
    return best;
}

/* Biases of -infinity may leave none: the first one that is not chosen. */
static int any_expert(const int32_t *chosen, int count)
{
    int e = 0;
    while (is_chosen(chosen, count, e))
        e++;
    return e;
}

/* The experts of one token whose scores stand in `score`; `choice` is scratch for as many values. */
static void choose(const hd_model_config *c, const float *score, const float *bias, float *choice, int32_t *ids)
{
    int size = c->experts / c->groups;
    for (int g = 0; g < c->groups; g++) {
        bool open = group_open(c, score, bias, g);
        for (int e = g * size; e < (g + 1) * size; e++)
            choice[e] = open ? score[e] + (bias ? bias[e] : 0.0f) : -INFINITY;
    }
    for (int j = 0; j < c->experts_used; j++) {
        ids[j] = best_expert(c, choice, ids, j);
        if (ids[j] < 0) ids[j] = any_expert(ids, j);
    }
}

static void weigh(const hd_model_config *c, const float *score, const int32_t *ids, float *weight)
{
    float sum = 1e-20f; /* as the reference implementation: no division by zero */
    for (int j = 0; j < c->experts_used; j++) {
        weight[j] = ids[j] < 0 ? 0.0f : score[ids[j]];
        sum += weight[j];
    }
    for (int j = 0; j < c->experts_used; j++)
        weight[j] = (c->renorm ? weight[j] / sum : weight[j]) * c->routed_scale;
}

/* Leaves a token the fewest of its experts that have this share of all their weights: the least goes while the others
 * have it, of equal ones the last.  Places of those that go get -1. */
static void drop_least(const hd_model_config *c, double share, const float *score, int32_t *ids)
{
    float left = 0.0f;
    for (int j = 0; j < c->experts_used; j++)
        left += score[ids[j]];
    float enough = (float)share * left;
    for (int kept = c->experts_used; kept > 1; kept--) {
        int least = -1;
        for (int j = 0; j < c->experts_used; j++)
            if (ids[j] >= 0 && (least < 0 || score[ids[j]] <= score[ids[least]])) least = j;
        left -= score[ids[least]];
        if (!(left >= enough)) return; /* nor is one dropped for weights that are no numbers */
        ids[least] = -1;
    }
}

/* Records the choice, or replaces it by the recorded one. */
static void trace(hd_expert_trace *t, int slot, int64_t token, int32_t *ids, int used)
{
    int64_t at = t->token0 + token;
    if (t->mode == HD_TRACE_OFF || slot >= t->layers || at >= t->tokens || used != t->used) return;
    int32_t *kept = t->ids + ((int64_t)slot * t->tokens + at) * t->used;
    for (int j = 0; j < used; j++) {
        if (t->mode == HD_TRACE_RECORD)
            kept[j] = ids[j];
        else
            ids[j] = kept[j];
    }
}

static void route_tokens(void *arg, int64_t begin, int64_t end, int thread)
{
    const route_job *job = arg;
    const hd_model_config *c = &job->m->config;
    const hd_deepseek2 *s = job->m->state;
    const double share = job->m->dials.expert_share;
    (void)thread;
    for (int64_t t = begin; t < end; t++) {
        float *score = s->scores + t * c->experts, *choice = s->choice + t * c->experts;
        int32_t *ids = s->ids + t * c->experts_used;
        if (c->sigmoid)
            for (int e = 0; e < c->experts; e++)
                score[e] = 1.0f / (1.0f + expf(-score[e]));
        else
            softmax(score, c->experts);
        choose(c, score, job->l->router_bias, choice, ids);
        if (job->m->exec.trace) trace(job->m->exec.trace, job->l->expert_slot, t, ids, c->experts_used);
        if (share > 0 && share < 1) drop_least(c, share, score, ids);
        weigh(c, score, ids, s->weight + t * c->experts_used);
    }
}

void hd_route(hd_model *m, const hd_layer *l, int64_t n)
{
    route_job job = {.m = m, .l = l};
    hd_pool_for(m->exec.pool, n, 8, route_tokens, &job);
    if (m->dials.expert_share <= 0) return;
    const hd_deepseek2 *s = m->state;
    for (int64_t p = 0; p < n * m->config.experts_used; p++)
        m->routed += s->ids[p] >= 0;
    m->could_route += n * m->config.experts_used;
}
