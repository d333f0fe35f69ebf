/* ops/plan_fit.c: memory and speed of a model on a machine.  Formulas stand in docs/plan.md, and beside each figure. */
#include <math.h>

#include "ops/plan.h"

#define PAGE_TOKENS 32 /* of the cache: sequences take whole pages */

hd_plan_rates hd_plan_assumed_rates(void)
{
    return (hd_plan_rates){.bandwidth = NAN,
                           .operations = NAN,
                           .numbers = "",
                           .decode = 0.6,
                           .prefill = 0.4,
                           .cache = 0.5,
                           .attention = 0.2};
}

/* A count that is printed: what passes this says "any number" as well. */
static int64_t count_of(double value)
{
    return (int64_t)fmin(fmax(value, 0), 1e15);
}

/* ---- memory ---- */

static double cache_bytes(const hd_plan_model *m, int64_t context, int64_t users)
{
    double pages = ceil((double)context / PAGE_TOKENS);
    return (double)users * (pages * PAGE_TOKENS * m->cache_token_bytes + m->cache_fixed_bytes);
}

/* Rows of the embedding come from the file in stretches of 64 KiB, as Linux maps them around a page that is touched; of
 * so many stretches, n tokens touch all but the share e^(-n / stretches) if they are all different. */
static double embedding_bytes(const hd_plan_model *m, const hd_plan_ask *a)
{
    const double stretch = 65536;
    double bytes = (double)m->embedding_bytes, tokens = (double)a->users * (double)a->context;
    return a->here && bytes > 0 ? bytes * (1 - exp(-tokens * stretch / bytes)) : 0;
}

static void fit_memory(hd_plan_fit *f, const hd_plan_model *m, const hd_plan_ask *a)
{
    double all = a->machine->memory * a->count;
    f->weights = (double)(a->here ? m->resident_bytes : m->weight_bytes);
    f->cache = cache_bytes(m, a->context, a->users);
    f->work = (double)(m->activation_bytes + m->scratch_bytes) + (double)a->users * m->vocab * sizeof(float);
    f->program = a->here ? (double)m->program_bytes : 0;
    f->embedding = embedding_bytes(m, a);
    f->loading_peak = f->weights + f->program + (a->here ? (double)m->loading_bytes : 0);
    f->serving_peak = f->weights + f->program + f->cache + f->work + f->embedding;
    f->needed = fmax(f->loading_peak, f->serving_peak);
    f->available = all * (1 - a->reserve);
    f->known = isfinite(all);
    f->fits = f->known && f->needed <= f->available;
    double one = a->machine->memory * (1 - a->reserve);
    f->machines = f->known && one > 0 ? count_of(ceil(f->needed / one)) : 0;
    double room =
        f->available - (f->weights + f->program + f->embedding + (double)(m->activation_bytes + m->scratch_bytes));
    double user = cache_bytes(m, a->context, 1) + (double)m->vocab * sizeof(float);
    f->most_users = f->known && room > 0 && f->loading_peak <= f->available ? count_of(room / user) : 0;
}

/* ---- speed ---- */

static double bandwidth_of(const hd_plan_ask *a)
{
    return a->here && isfinite(a->rates.bandwidth) ? a->rates.bandwidth : a->machine->bandwidth * a->count;
}

static double operations_of(const hd_plan_ask *a)
{
    return a->here && isfinite(a->rates.operations) ? a->rates.operations : a->machine->operations * a->count;
}

double hd_plan_step_bytes(const hd_plan_model *m, double users)
{
    if (!m->experts) return m->shared_bytes;
    double missed = pow(1 - (double)m->experts_used / m->experts, users);
    return m->shared_bytes + m->expert_bytes * m->experts * (1 - missed);
}

/* A step waits for the slower of the two: bytes of weights through memory, or products through the vector units.  The
 * cache comes behind the weights: it is read by attention, which is another pass over memory. */
double hd_plan_step_seconds(const hd_plan_model *m, const hd_plan_ask *a, double users)
{
    double bandwidth = bandwidth_of(a), operations = operations_of(a);
    double weights = hd_plan_step_bytes(m, users) / (bandwidth * a->rates.decode);
    double products = 2 * users * (m->products + m->output_products) / (operations * a->rates.prefill);
    double cache = users * (double)a->context * m->cache_token_bytes / (bandwidth * a->rates.cache);
    if (!isfinite(products)) products = 0; /* operations are not published: memory is the limit of few users */
    return fmax(weights, products) + cache;
}

/* Reading `prompt` tokens: each looks back on half of them on average. */
static double prefill_seconds(const hd_plan_model *m, const hd_plan_ask *a)
{
    double n = (double)a->prompt, operations = operations_of(a);
    double products = 2 * (n * m->products + m->output_products) / (operations * a->rates.prefill);
    double looks = 2 * n * (n / 2) * m->row_products / (operations * a->rates.attention);
    double weights = hd_plan_step_bytes(m, n) / (bandwidth_of(a) * a->rates.decode);
    return fmax(products, isfinite(weights) ? weights : 0) + looks;
}

/* The most users that each get `rate`: steps only grow longer with users. */
static int64_t users_at(const hd_plan_model *m, const hd_plan_ask *a, int64_t most)
{
    int64_t low = 0, high = HD_MIN(most, (int64_t)1 << 20);
    if (!(a->rate > 0) || !isfinite(hd_plan_step_seconds(m, a, 1))) return -1;
    while (low < high) {
        int64_t middle = low + (high - low + 1) / 2;
        if (1 / hd_plan_step_seconds(m, a, (double)middle) >= a->rate)
            low = middle;
        else
            high = middle - 1;
    }
    return low;
}

void hd_plan_fit_make(hd_plan_fit *f, const hd_plan_model *m, const hd_plan_ask *a)
{
    *f = (hd_plan_fit){0};
    fit_memory(f, m, a);
    f->decode_bytes = hd_plan_step_bytes(m, 1) + (double)a->context * m->cache_token_bytes;
    f->prefill_products =
        m->products + m->output_products / (double)a->prompt + (double)a->prompt / 2 * m->row_products;
    f->decode = 1 / hd_plan_step_seconds(m, a, 1);
    f->prefill = (double)a->prompt / prefill_seconds(m, a);
    f->rate_users = users_at(m, a, f->most_users);
    f->rate_tokens = f->rate_users > 0 ? (double)f->rate_users / hd_plan_step_seconds(m, a, (double)f->rate_users) : 0;
}
