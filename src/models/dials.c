/* models/dials.c: less arithmetic for a token, by what the token itself shows (models.h, hd_dials).
 *
 * Experts: the router chooses fewer of them, or those of little weight go (route.c), everything else as it is.  Gated
 * networks: of the channels of down(silu(gate x) * up x) a token keeps those where |silu(gate x)| is largest, and up's
 * rows and down's columns of the others are not needed; or those where the whole product is largest, which tells better
 * what matters, but only when up was computed whole.  The choice looks at one token's own values: it is the same
 * whatever else is in the batch. */
#include <math.h>
#include <string.h>

#include "models/models_internal.h"

hd_status hd_dials_check(const hd_dials *d, const hd_model_config *c, hd_error *err)
{
    if (d->experts < 0 || !(d->ffn_keep >= 0 && d->ffn_keep <= 1) || !(d->expert_share >= 0 && d->expert_share <= 1))
        return hd_fail(err, HD_E_ARGUMENT,
                       "experts must not be negative, expert_share and ffn_keep must be 0 (off) to 1");
    if ((d->experts || d->expert_share > 0) && !c->experts)
        return hd_fail(err, HD_E_ARGUMENT, "%s: this model (%s) has no experts to choose from",
                       d->experts ? "--experts" : "--expert-share", hd_arch_name(c->arch));
    if (d->experts > c->experts_used)
        return hd_fail(err, HD_E_ARGUMENT,
                       "--experts %d: this model sends a token to %d of %d experts, and was trained so; 1 to %d can be "
                       "had",
                       d->experts, c->experts_used, c->experts, c->experts_used);
    if (d->ffn_keep > 0 && c->arch == HD_ARCH_SCRIPTED)
        return hd_fail(err, HD_E_ARGUMENT, "--ffn-keep: this model (%s) has no feed-forward networks",
                       hd_arch_name(c->arch));
    return HD_OK;
}

/* ---- which channels a token keeps ---- */

bool hd_dials_sparse(const hd_model *m)
{
    return m->dials.ffn_keep > 0 && m->dials.ffn_keep < 1;
}

/* Of a network of so many channels. */
static int64_t kept_of(const hd_dials *d, int64_t width)
{
    if (d->ffn_keep <= 0 || d->ffn_keep >= 1) return width;
    return HD_MAX((int64_t)llround(d->ffn_keep * (double)width), 1);
}

typedef struct keep_job {
    float *value;       /* [tokens][width] */
    const float *times; /* [tokens][width], or NULL: what values are multiplied with behind the choice */
    uint32_t *room;     /* [tokens][width] */
    int64_t width, kept;
} keep_job;

/* Numbers without their sign in the order of their size, then infinity, then what is no number, which must stay to be
 * seen. */
static uint32_t size_key(float v)
{
    uint32_t bits;
    memcpy(&bits, &v, sizeof bits);
    return bits & 0x7fffffffu;
}

/* The k-th largest of n keys, k from 1; reorders them (Hoare's selection). */
static uint32_t kth_largest(uint32_t *v, int64_t n, int64_t k)
{
    int64_t low = 0, high = n - 1, want = k - 1;
    while (low < high) {
        uint32_t pivot = v[low + (high - low) / 2];
        int64_t i = low, j = high;
        while (i <= j) {
            while (v[i] > pivot)
                i++;
            while (v[j] < pivot)
                j--;
            if (i > j) break;
            uint32_t t = v[i];
            v[i++] = v[j];
            v[j--] = t;
        }
        if (want <= j)
            high = j;
        else if (want >= i)
            low = i;
        else
            break;
    }
    return v[want];
}

/* The key of the least value that is kept; *equal receives how many of that key are.  A count of the exponents and the
 * first bits behind them leaves few values to put in order. */
static uint32_t least_kept(const float *value, int64_t width, int64_t kept, uint32_t *room, int64_t *equal)
{
    enum { SHIFT = 20, BINS = 1 << (31 - SHIFT) };
    int32_t count[BINS] = {0};
    int64_t left = kept, n = 0, bin = BINS - 1;
    for (int64_t i = 0; i < width; i++)
        count[size_key(value[i]) >> SHIFT]++;
    for (; count[bin] < left; bin--)
        left -= count[bin];
    for (int64_t i = 0; i < width; i++)
        if (size_key(value[i]) >> SHIFT == (uint32_t)bin) room[n++] = size_key(value[i]);
    uint32_t least = kth_largest(room, n, left);
    *equal = left;
    for (int64_t i = 0; i < n; i++)
        *equal -= room[i] > least;
    return least;
}

/* Leaves each token its largest values, of equal ones those that come first, and zeros for the others. */
static void keep_tokens(void *arg, int64_t begin, int64_t end, int thread)
{
    const keep_job *job = arg;
    (void)thread;
    for (int64_t t = begin; t < end; t++) {
        float *value = job->value + t * job->width;
        int64_t equal;
        uint32_t least = least_kept(value, job->width, job->kept, job->room + t * job->width, &equal);
        for (int64_t i = 0; i < job->width; i++) {
            uint32_t key = size_key(value[i]);
            if (key < least || (key == least && --equal < 0)) value[i] = 0.0f;
        }
    }
}

void hd_dials_keep(const hd_model *m, float *value, int64_t width, int64_t n)
{
    keep_job job = {.value = value, .room = m->keep_room, .width = width, .kept = kept_of(&m->dials, width)};
    if (job.kept < width) hd_pool_for(m->exec.pool, n, 8, keep_tokens, &job);
}

/* What is zero stays zero, also where its factor is infinite: it need not have been computed. */
static void multiply_tokens(void *arg, int64_t begin, int64_t end, int thread)
{
    const keep_job *job = arg;
    (void)thread;
    for (int64_t i = begin * job->width; i < end * job->width; i++)
        job->value[i] = job->value[i] == 0.0f ? 0.0f : job->value[i] * job->times[i];
}

void hd_dials_activate(const hd_model *m, const hd_product *gate, const hd_product *up, int64_t n)
{
    const hd_backend *b = m->backend;
    int64_t width = gate->w->rows, hidden = gate->w->cols;
    if (m->dials.ffn_by == HD_KEEP_BY_PRODUCT) {
        const hd_product both[] = {*gate, *up};
        b->matmul_shared(&m->exec, both, 2, m->h, hidden, n);
        b->swiglu(&m->exec, gate->y, up->y, width, n);
        hd_dials_keep(m, gate->y, width, n);
        return;
    }
    b->matmul(&m->exec, gate->y, width, gate->w, gate->bias, m->h, hidden, n);
    for (int64_t i = 0; i < n * width; i++)
        up->y[i] = 1.0f;
    b->swiglu(&m->exec, gate->y, up->y, width, n); /* silu alone */
    hd_dials_keep(m, gate->y, width, n);
    b->matmul(&m->exec, up->y, width, up->w, up->bias, m->h, hidden, n);
    keep_job job = {.value = gate->y, .times = up->y, .width = width};
    hd_pool_for(m->exec.pool, n, 8, multiply_tokens, &job);
}

/* ---- what is left to compute ---- */

/* Multiplications with the weights of one gated network. */
static double gated_work(const hd_model_config *c, const hd_dials *d, int64_t width)
{
    double kept = (double)kept_of(d, width), up = d->ffn_by == HD_KEEP_BY_GATE ? kept : (double)width;
    return (double)c->hidden * ((double)width + up + kept);
}

static double attention_work(const hd_model_config *c)
{
    double h = c->hidden, heads = c->heads;
    if (c->arch != HD_ARCH_DEEPSEEK2) return 2 * h * c->head_dim * (heads + c->kv_heads);
    double q = heads * c->head_dim;
    q = c->q_lora ? c->q_lora * (h + q) : h * q;
    return q + h * (c->kv_lora + c->rope_dim) + heads * c->kv_lora * (c->nope + c->v_dim) + heads * c->v_dim * h;
}

/* `share`: of the experts that the router chose, those that a token goes to. */
static double layers_work(const hd_model_config *c, const hd_dials *d, int expert_layers, double share)
{
    double sum = c->layers * attention_work(c) + (c->layers - expert_layers) * gated_work(c, d, c->ffn);
    if (!expert_layers) return sum;
    static const hd_dials none;
    double shared = c->experts_shared ? gated_work(c, d, (int64_t)c->expert_ffn * c->experts_shared) : 0;
    double routed = share * c->experts_used * gated_work(c, &none, c->expert_ffn);
    return sum + expert_layers * ((double)c->hidden * c->experts + shared + routed);
}

void hd_model_get_work(const hd_model *m, hd_model_work *out)
{
    static const hd_dials none;
    hd_model_config whole = m->config;
    *out = (hd_model_work){0};
    if (m->ops->forward) return; /* no weights */
    int layers = hd_model_expert_layers(m);
    whole.experts_used = m->own_experts_used;
    out->layers =
        layers_work(&m->config, &m->dials, layers, m->could_route ? (double)m->routed / (double)m->could_route : 1);
    out->layers_whole = layers_work(&whole, &none, layers, 1);
    out->output = (double)m->config.hidden * m->config.vocab;
}
