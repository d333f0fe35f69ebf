/* ops/plan_modes.c: ways to run a model, weighed against each other.
 *
 * Scores are judgements, 1 to 5, each with its reason; weights are the user's.  The total is a weighted mean. */
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <strings.h>

#include "ops/plan.h"

static const char *const modes[HD_PLAN_MODES] = {"local", "private cloud", "hybrid", "edge", "container", "rented"};
static const char *const criteria[HD_PLAN_CRITERIA] = {"control", "cost",   "start",  "growth",
                                                       "speed",   "effort", "offline"};

/* How much each counts unless told otherwise: what operators of private services ask for first is that data stay. */
static const double usual[HD_PLAN_CRITERIA] = {5, 4, 2, 2, 3, 3, 4};

typedef struct judgement {
    int score;
    const char *reason;
} judgement;

static const judgement scores[HD_PLAN_MODES][HD_PLAN_CRITERIA] = {
    {{5, "weights and prompts never leave the house"},
     {4, "paid once; cheap when it is used most of the day, dear when it stands idle"},
     {2, "hardware has to be bought and installed first"},
     {2, "more users mean another machine"},
     {5, "no line between users and model but the house's own"},
     {2, "drivers, disks and power are the owner's to mend"},
     {5, "works without any network"}},
    {{4, "the house's own machines, shared with others of it"},
     {3, "shared by departments, so that it stands idle less; the platform costs, too"},
     {3, "where the platform stands already, a matter of days"},
     {4, "capacity moves between departments"},
     {4, "one data centre's network between"},
     {3, "the platform's team carries machines, the user the model"},
     {4, "works without the internet, not without the data centre"}},
    {{3, "what may leave goes out, the rest stays: rules have to be right"},
     {4, "own machines for the steady load, rented ones for peaks"},
     {3, "the rented part at once, the own part later"},
     {5, "peaks go outside"},
     {3, "as the place that answers: two kinds of delay"},
     {1, "two systems and the rules between them"},
     {3, "the own part goes on, with less capacity"}},
    {{5, "data stay where they arise"},
     {4, "small machines, small power; many of them"},
     {3, "one small box at a time, each by hand unless it is prepared"},
     {2, "a box holds what it holds: small models only"},
     {4, "no way to a data centre; but slow processors"},
     {2, "many places to update and to watch"},
     {5, "made for places without a line"}},
    {{4, "as local, when the images are one's own"},
     {4, "as local; a scheduler packs machines fuller"},
     {4, "one image, one command, where a cluster runs"},
     {4, "replicas come and go with the queue; weights have to be loaded"},
     {4, "as local, a little less for the network between"},
     {3, "the cluster has to be known and kept up to date"},
     {4, "with a registry inside"}},
    {{1, "prompts leave the house; what happens to them is a matter of contract"},
     {3, "nothing up front; grows with every token"},
     {5, "a key, and it answers"},
     {5, "as much as one pays for"},
     {3, "the internet between; other customers beside"},
     {5, "nothing to keep up"},
     {1, "no line, no answer"}},
};

const char *hd_plan_mode_name(int mode)
{
    return modes[mode];
}

const char *hd_plan_criterion_name(int criterion)
{
    return criteria[criterion];
}

int hd_plan_score(int mode, int criterion, const char **reason)
{
    if (reason) *reason = scores[mode][criterion].reason;
    return scores[mode][criterion].score;
}

void hd_plan_modes_default(hd_plan_modes *out)
{
    *out = (hd_plan_modes){0};
    memcpy(out->weights, usual, sizeof usual);
    hd_plan_modes_rank(out);
}

hd_status hd_plan_modes_weigh(hd_plan_modes *m, const char *text, hd_error *err)
{
    const char *sign = strchr(text, '=');
    char *end = NULL;
    size_t len = sign ? (size_t)(sign - text) : 0;
    double weight = sign ? strtod(sign + 1, &end) : NAN;
    if (!sign || !sign[1] || *end || !(weight >= 0 && weight <= 100))
        return hd_fail(err, HD_E_ARGUMENT, "--weight %.64s: it must be NAME=WEIGHT, such as cost=5, from 0 to 100",
                       text);
    for (int i = 0; i < HD_PLAN_CRITERIA; i++) {
        if (strlen(criteria[i]) != len || strncasecmp(criteria[i], text, len) != 0) continue;
        m->weights[i] = weight;
        return HD_OK;
    }
    return hd_fail(err, HD_E_ARGUMENT,
                   "--weight %.*s: there are control, cost, start, growth, speed, effort and offline",
                   (int)HD_MIN(len, 64), text);
}

void hd_plan_modes_rank(hd_plan_modes *m)
{
    for (int i = 0; i < HD_PLAN_MODES; i++) {
        double sum = 0, all = 0;
        for (int c = 0; c < HD_PLAN_CRITERIA; c++) {
            sum += m->weights[c] * scores[i][c].score;
            all += m->weights[c];
        }
        m->total[i] = all > 0 ? sum / all : 0;
        int at = i;
        for (; at > 0 && m->total[m->order[at - 1]] < m->total[i]; at--)
            m->order[at] = m->order[at - 1];
        m->order[at] = i;
    }
}
