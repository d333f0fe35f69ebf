/* ops/plan_cost.c: what owning costs, what an interface costs, and where they meet. */
#include <math.h>

#include "ops/plan.h"

#define DAYS 365.0
#define HOURS (24 * DAYS)
#define MILLION 1e6

double hd_plan_cost_of_use(double price, double units)
{
    return price * units;
}

double hd_plan_saving(double before, double after)
{
    return before > 0 ? 1 - after / before : NAN;
}

static double api_token(const hd_plan_cost_ask *a)
{
    double in = a->input_share * ((1 - a->cached_share) * a->input + a->cached_share * a->cached);
    return (in + (1 - a->input_share) * a->output) / MILLION;
}

void hd_plan_cost_make(hd_plan_cost *c, const hd_plan_cost_ask *a)
{
    *c = (hd_plan_cost){.power_year = a->watts / 1000 * a->use * HOURS * a->overhead * a->electricity,
                        .upkeep_year = a->machine_price * a->upkeep,
                        .staff_year = a->staff,
                        .api_token = api_token(a)};
    double year = c->power_year + c->upkeep_year + c->staff_year;
    double api_year = hd_plan_cost_of_use(c->api_token, a->tokens_a_day * DAYS);
    c->break_even[0] = NAN;
    for (int i = 0; i <= 5; i++) {
        c->own[i] = a->machine_price + i * year;
        c->api[i] = i * api_year;
        if (i) c->break_even[i] = c->api_token > 0 ? c->own[i] / (i * DAYS * c->api_token) : NAN;
    }
    c->own_million = a->tokens_a_day > 0 ? c->own[3] / (3 * DAYS * a->tokens_a_day) * MILLION : NAN;
    double gain = (api_year - year) / DAYS;
    c->break_even_days = gain > 0 ? a->machine_price / gain : NAN;
}

static double difference(const hd_plan_cost_ask *a)
{
    hd_plan_cost c;
    hd_plan_cost_make(&c, a);
    return c.own[3] - c.api[3];
}

void hd_plan_sensitivities(hd_plan_sensitivity out[HD_PLAN_SENSITIVITIES], const hd_plan_cost_ask *ask)
{
    static const char *const names[HD_PLAN_SENSITIVITIES] = {"price of the machine", "price of the interface",
                                                             "tokens a day", "price of electricity", "staff"};
    for (int i = 0; i < HD_PLAN_SENSITIVITIES; i++) {
        double result[2];
        for (int side = 0; side < 2; side++) {
            hd_plan_cost_ask a = *ask;
            double by = side ? 1.2 : 0.8;
            switch (i) {
            case 0: a.machine_price *= by; break;
            case 1:
                a.input *= by;
                a.cached *= by;
                a.output *= by;
                break;
            case 2: a.tokens_a_day *= by; break;
            case 3: a.electricity *= by; break;
            default: a.staff *= by; break;
            }
            result[side] = difference(&a);
        }
        out[i] = (hd_plan_sensitivity){names[i], result[0], result[1]};
    }
}
