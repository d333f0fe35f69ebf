/* engine/picker.c: choosing the next token from logits.
 *
 * Order: logit bias, repetition, presence and frequency penalties; then top-k, temperature, top-p, min-p; then one
 * draw. The generator is counter-based on the seed, so a choice depends on seed, logits and the number of choices
 * before.
 *
 * A picker remembers settings and what it chose; everything as wide as the vocabulary lies in a room, which whoever
 * chooses one token at a time shares among all its pickers.  Invariant: between calls a room's marks are zeros. */
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
    int32_t *chosen; /* what it chose, kept only where penalties look at it */
    size_t chosen_count, chosen_cap;
};

struct hd_picker_room {
    float *logits;         /* [vocab] working copy */
    uint32_t *marks;       /* [vocab] how often an id occurred */
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
    p->s = *sampling;
    p->vocab = vocab;
    p->rng = sampling->seed;
    p->bias = hd_alloc_array(sampling->bias_count, sizeof *p->bias);
    if (!p->bias) {
        hd_picker_close(&p);
        return hd_fail(err, HD_E_MEMORY, "out of memory for the bias of %zu tokens", sampling->bias_count);
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
    hd_free(p->chosen);
    hd_free(p);
}

hd_status hd_picker_room_open(hd_picker_room **out, int32_t vocab, hd_error *err)
{
    *out = NULL;
    size_t n = (size_t)vocab;
    hd_picker_room *room = hd_calloc(1, sizeof *room);
    if (!room) return hd_fail(err, HD_E_MEMORY, "out of memory for a sampler");
    room->logits = hd_alloc_array(n, sizeof *room->logits);
    room->marks = hd_calloc(n, sizeof *room->marks);
    room->candidates = hd_alloc_array(n, sizeof *room->candidates);
    if (!room->logits || !room->marks || !room->candidates) {
        hd_picker_room_close(&room);
        return hd_fail(err, HD_E_MEMORY, "out of memory for a sampler over %d tokens", vocab);
    }
    *out = room;
    return HD_OK;
}

void hd_picker_room_close(hd_picker_room **ref)
{
    hd_picker_room *room = *ref;
    if (!room) return;
    *ref = NULL;
    hd_free(room->logits);
    hd_free(room->marks);
    hd_free(room->candidates);
    hd_free(room);
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

/* ---- bias and penalties ---- */

static bool counts_chosen(const hd_picker *p)
{
    return p->s.presence_penalty != 0.0f || p->s.frequency_penalty != 0.0f;
}

static void penalize_repetition(const hd_picker *p, hd_picker_room *room, const int32_t *tokens, int64_t count)
{
    if (p->s.repetition_penalty == 1.0f) return;
    for (int64_t i = 0; i < count; i++) {
        int32_t id = tokens[i];
        if (room->marks[id]++) continue;
        float *l = &room->logits[id];
        *l = *l > 0.0f ? *l / p->s.repetition_penalty : *l * p->s.repetition_penalty;
    }
    for (int64_t i = 0; i < count; i++)
        room->marks[tokens[i]] = 0;
}

static void penalize_chosen(const hd_picker *p, hd_picker_room *room)
{
    for (size_t i = 0; i < p->chosen_count; i++)
        room->marks[p->chosen[i]]++;
    for (size_t i = 0; i < p->chosen_count; i++) {
        int32_t id = p->chosen[i];
        uint32_t times = room->marks[id];
        if (times) room->logits[id] -= p->s.presence_penalty + p->s.frequency_penalty * (float)times;
        room->marks[id] = 0;
    }
}

/* The logits to choose from: those of the model, or the room's copy where anything changes them. */
static const float *adjust(const hd_picker *p, hd_picker_room *room, const hd_pick *pick)
{
    if (!p->s.bias_count && p->s.repetition_penalty == 1.0f && !counts_chosen(p)) return pick->logits;
    memcpy(room->logits, pick->logits, (size_t)p->vocab * sizeof *room->logits);
    for (size_t i = 0; i < p->s.bias_count; i++)
        room->logits[p->bias[i].id] += p->bias[i].bias;
    penalize_repetition(p, room, pick->tokens, pick->count);
    penalize_chosen(p, room);
    return room->logits;
}

/* Room in p->chosen for one more, before anything has been chosen. */
static hd_status make_room(hd_picker *p, hd_error *err)
{
    if (!counts_chosen(p) || p->chosen_count < p->chosen_cap) return HD_OK;
    size_t cap = HD_MAX(p->chosen_cap * 2, 64u);
    int32_t *bigger = hd_realloc_array(p->chosen, cap, sizeof *bigger);
    if (!bigger) return hd_fail(err, HD_E_MEMORY, "out of memory for a sampler");
    p->chosen = bigger;
    p->chosen_cap = cap;
    return HD_OK;
}

/* ---- the best ---- */

enum { LANES = 16 }; /* maxima kept side by side: compilers make vectors of them */

/* The highest value, NaN left out (minus infinity when there is nothing else); *nan: whether there is one. */
static float highest(const float *x, int32_t n, bool *nan)
{
    float most[LANES];
    int odd[LANES] = {0};
    int32_t i = 0;
    for (int j = 0; j < LANES; j++)
        most[j] = -INFINITY;
    for (; i + LANES <= n; i += LANES)
        for (int j = 0; j < LANES; j++) {
            most[j] = x[i + j] > most[j] ? x[i + j] : most[j];
            odd[j] |= x[i + j] != x[i + j];
        }
    for (; i < n; i++) {
        most[0] = x[i] > most[0] ? x[i] : most[0];
        odd[0] |= x[i] != x[i];
    }
    *nan = false;
    for (int j = 0; j < LANES; j++) {
        most[0] = most[j] > most[0] ? most[j] : most[0];
        *nan |= odd[j] != 0;
    }
    return most[0];
}

typedef struct best {
    int32_t id; /* the first of the highest values; the last id when all are NaN */
    float value;
    bool nan; /* there is one */
} best;

/* In blocks that stay in the nearest cache, so that only the one with the best is looked at twice. */
static best find_best(const float *x, int32_t n)
{
    enum { BLOCK = 1024 };
    best b = {.value = -INFINITY};
    for (int32_t i = 0; i < n; i += BLOCK) {
        bool nan;
        float value = highest(x + i, HD_MIN(BLOCK, n - i), &nan);
        b.nan |= nan;
        if (!(value > b.value)) continue;
        b.value = value;
        b.id = i;
    }
    while (b.id < n - 1 && x[b.id] != b.value)
        b.id++;
    return b;
}

/* ---- filters ---- */

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

/* Reorders c[n] so that the fewest best candidates whose values add up to `goal` or, with `beyond`, to more than it,
 * come first; returns how many they are, all if they don't reach it.  Quickselect on (value, id): on average the work
 * is proportional to n. */
static int64_t select_mass(candidate *c, int64_t n, double goal, bool beyond)
{
    int64_t low = 0, high = n;
    while (high - low > 1) {
        candidate pivot = c[low + (high - low) / 2];
        int64_t mid = low;
        double sum = 0.0;
        for (int64_t i = low; i < high; i++) {
            if (by_value(&c[i], &pivot) > 0) continue;
            sum += c[i].value;
            candidate t = c[i];
            c[i] = c[mid];
            c[mid++] = t;
        }
        bool reached = beyond ? sum > goal : sum >= goal;
        if (reached && mid == high) { /* the pivot is the last: it needs a closer look */
            int64_t last = low;
            while (c[last].id != pivot.id)
                last++;
            c[last] = c[high - 1];
            c[high - 1] = pivot;
            sum -= pivot.value;
            reached = beyond ? sum > goal : sum >= goal;
            if (!reached) return high;
            high--;
        } else if (reached)
            high = mid;
        else {
            goal -= sum;
            low = mid;
        }
    }
    return high;
}

/* Candidates in the order in which they are drawn: the first `sorted` as they stand, those behind them by value. */
typedef struct choice {
    candidate *c;
    int64_t n, sorted;
} choice;

static float most_likely(const candidate *c, int64_t n)
{
    float top = 0.0f;
    for (int64_t i = 0; i < n; i++)
        top = HD_MAX(top, c[i].value);
    return top;
}

/* The fewest most likely candidates whose probabilities reach top_p (arXiv:1904.09751).  The front is sorted piece by
 * piece until it is reached; a nucleus so wide that it would take long is only split off. */
static void keep_nucleus(choice *all, float top_p)
{
    enum { FIRST_PIECE = 64, MOST_SORTED = 4096 };
    candidate *c = all->c;
    /* Those below (1 - top_p) / n add up to less than what is cut off anyway: no need to look at them. */
    int64_t left = keep_above(c, all->n, (1.0f - top_p) / (float)all->n), done = 0;
    if (left == 0) left = all->n;
    double sum = 0.0;
    bool wide = MOST_SORTED * most_likely(c, left) < top_p;
    for (int64_t piece = FIRST_PIECE; !wide && done < left && done < MOST_SORTED; piece *= 4) {
        int64_t end = done + HD_MIN(piece, left - done);
        keep_best(c + done, left - done, end - done);
        qsort(c + done, (size_t)(end - done), sizeof *c, by_value);
        for (; done < end; done++) {
            sum += c[done].value;
            if (sum < top_p) continue;
            all->n = all->sorted = done + 1;
            return;
        }
    }
    all->sorted = done;
    all->n = done < left ? done + select_mass(c + done, left - done, top_p - sum, false) : done;
}

static void keep_min_p(choice *all, float min_p)
{
    float top = most_likely(all->c, all->n);
    bool in_order = all->sorted == all->n;
    all->n = keep_above(all->c, all->n, min_p * top);
    all->sorted = in_order ? all->n : HD_MIN(all->sorted, all->n); /* what goes is less than what stays */
}

/* ---- the draw ---- */

/* The candidate of c[n] at which the sum of values, the highest first, passes `at`; rounding may leave a rest behind
 * all of them: then the last that has any probability, or `otherwise`. */
static int32_t draw_unsorted(candidate *c, int64_t n, double at, int32_t otherwise)
{
    const candidate *last = NULL;
    int64_t count = select_mass(c, n, at, true);
    for (int64_t i = 0; i < count; i++)
        if (c[i].value > 0.0f && (!last || by_value(&c[i], last) > 0)) last = &c[i];
    return last ? last->id : otherwise;
}

static int32_t draw(hd_picker *p, const choice *all)
{
    const candidate *c = all->c;
    double sum = 0.0;
    for (int64_t i = 0; i < all->n; i++)
        sum += c[i].value;
    double at = uniform(p) * sum;
    int32_t last = c[0].id; /* rounding may leave a rest behind all: never give it to one of probability 0 */
    for (int64_t i = 0; i < all->sorted; i++) {
        if (!(c[i].value > 0.0f)) continue;
        last = c[i].id;
        at -= c[i].value;
        if (at < 0.0) return last;
    }
    int64_t rest = all->n - all->sorted;
    return rest ? draw_unsorted(all->c + all->sorted, rest, at, last) : last;
}

static int32_t sample(hd_picker *p, hd_picker_room *room, const float *logits, const best *b)
{
    float max = b->value;
    if (p->s.temperature == 0.0f || !isfinite(max)) return b->id;
    choice all = {.c = room->candidates};
    for (int32_t id = 0; id < p->vocab; id++)
        if (!isnan(logits[id])) all.c[all.n++] = (candidate){.id = id, .value = logits[id]};
    if (p->s.top_k > 0 && p->s.top_k < all.n) {
        keep_best(all.c, all.n, p->s.top_k);
        all.n = p->s.top_k;
    }
    soften(all.c, all.n, max, p->s.temperature);
    all.sorted = all.n;
    if (p->s.top_p < 1.0f) keep_nucleus(&all, p->s.top_p);
    if (p->s.min_p > 0.0f) keep_min_p(&all, p->s.min_p);
    return draw(p, &all);
}

/* ---- log-probabilities ---- */

/* ln(sum(exp(logits))), in double: 150,000 terms. */
static double log_sum(const float *logits, int32_t n, float max)
{
    double sum = 0.0;
    for (int32_t i = 0; i < n; i++)
        sum += exp((double)logits[i] - max);
    return max + log(sum);
}

/* The `count` best in order.  A few are kept sorted in one pass, many are selected. */
static void find_top(candidate *c, const float *logits, int32_t vocab, int64_t count)
{
    enum { FEW = 32 };
    int64_t n = 0;
    for (int32_t id = 0; id < vocab; id++) {
        if (count > FEW) {
            c[id] = (candidate){.id = id, .value = logits[id]};
            continue;
        }
        if (n == count && !(logits[id] > c[n - 1].value)) continue;
        int64_t at = n < count ? n++ : n - 1;
        for (; at > 0 && logits[id] > c[at - 1].value; at--)
            c[at] = c[at - 1];
        c[at] = (candidate){.id = id, .value = logits[id]};
    }
    if (count <= FEW) return;
    keep_best(c, vocab, count);
    qsort(c, (size_t)count, sizeof *c, by_value);
}

static void fill_logprobs(hd_picker_room *room, int32_t vocab, const hd_pick *pick, float max, hd_logprob *chosen)
{
    chosen->logprob = NAN;
    if (!pick->logprobs && !pick->top_count) return;
    double norm = log_sum(pick->logits, vocab, max);
    chosen->logprob = (float)(pick->logits[chosen->id] - norm);
    if (!pick->top_count) return;
    const candidate *c = room->candidates;
    find_top(room->candidates, pick->logits, vocab, (int64_t)pick->top_count);
    for (size_t i = 0; i < pick->top_count; i++)
        pick->top[i] = (hd_logprob){.id = c[i].id, .logprob = (float)(c[i].value - norm)};
}

/* Finite weights and a finite adapter still overflow together, and then no file is damaged. */
static hd_status refuse_logits(const hd_pick *pick, hd_error *err)
{
    if (pick->adapted)
        return hd_fail(
            err, HD_E_INTERNAL,
            "with this adapter the model computes values that are not numbers: its alpha or its scale may be "
            "too large; give it a smaller scale");
    return hd_fail(err, HD_E_INTERNAL,
                   "the model computes values that are not numbers: its file may be damaged; "
                   "fetch it again or compare its checksum with its source");
}

hd_status hd_picker_next(hd_picker *p, hd_picker_room *room, const hd_pick *pick, hd_logprob *chosen, hd_error *err)
{
    if (pick->top_count > (size_t)p->vocab)
        return hd_fail(err, HD_E_ARGUMENT, "%zu log-probabilities of a vocabulary of %d", pick->top_count, p->vocab);
    best of_model = find_best(pick->logits, p->vocab);
    if (of_model.nan || !isfinite(of_model.value)) return refuse_logits(pick, err);
    HD_TRY(make_room(p, err));
    const float *logits = adjust(p, room, pick);
    best adjusted = logits == pick->logits ? of_model : find_best(logits, p->vocab);
    chosen->id = sample(p, room, logits, &adjusted);
    fill_logprobs(room, p->vocab, pick, of_model.value, chosen);
    if (counts_chosen(p)) p->chosen[p->chosen_count++] = chosen->id;
    return HD_OK;
}
