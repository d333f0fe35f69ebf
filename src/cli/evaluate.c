/* cli/evaluate.c: see evaluate.h. */
#include "cli/evaluate.h"

#include <math.h>
#include <string.h>

#include "base/base.h"
#include "cli/cli.h"
#include "engine/compare.h"

#define HD_EVAL_PIECE 512 /* the engine's own chunk */

/* ---- opening ---- */

hd_status hd_eval_side_open(hd_eval_side *side, const char *model, const hd_engine_flags *flags, hd_error *err)
{
    return hd_cli_load(&side->engine, model, flags, NULL, NULL, err);
}

void hd_eval_side_close(hd_eval_side *side)
{
    hd_session_close(&side->session);
    hd_engine_close(&side->engine);
    hd_free(side->logits);
    side->logits = NULL;
}

void hd_evaluation_close(hd_evaluation *e)
{
    hd_eval_side_close(&e->own);
    hd_eval_side_close(&e->other);
    hd_free(e->kl);
    e->kl = NULL;
}

void hd_evaluation_cancel(void *evaluation)
{
    const hd_evaluation *e = evaluation;
    if (e->own.engine) hd_cli_cancel(e->own.engine);
    if (e->other.engine) hd_cli_cancel(e->other.engine);
}

/* Tokens whose logits are kept together: the engine's chunk, unless they take too much memory. */
static int64_t piece_tokens(const hd_evaluation *e)
{
    int64_t chunk = e->chunk ? e->chunk : HD_EVAL_PIECE;
    int64_t fit = HD_EVAL_PIECE_BYTES / ((int64_t)e->vocab * (int64_t)sizeof(float));
    return HD_MAX(HD_MIN(chunk, fit), 1);
}

static hd_status prepare_side(const hd_evaluation *e, hd_eval_side *side, hd_error *err)
{
    size_t values = (size_t)(e->piece * e->vocab);
    if (!side->session) HD_TRY(hd_session_open(&side->session, side->engine, err));
    side->logits = hd_alloc_array(values, sizeof *side->logits);
    return side->logits ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for %zu logits", values);
}

hd_status hd_evaluation_prepare(hd_evaluation *e, hd_error *err)
{
    hd_engine_info info, other;
    hd_engine_get_info(e->own.engine, &info);
    e->vocab = info.vocab;
    e->context = info.context;
    e->piece = piece_tokens(e);
    if (e->compares) {
        hd_engine_get_info(e->other.engine, &other);
        if (other.vocab != info.vocab)
            return hd_fail(err, HD_E_ARGUMENT,
                           "the models have vocabularies of %d and %d tokens; they can't be compared", (int)info.vocab,
                           (int)other.vocab);
        e->context = HD_MIN(e->context, other.context);
    }
    if (e->last == 0 || e->last > e->count) e->last = e->count;
    for (int64_t i = 0; i < e->count; i++)
        if (e->ids[i] >= e->vocab)
            return hd_fail(err, HD_E_ARGUMENT, "token id %d at place %lld is outside the vocabulary of %d",
                           (int)e->ids[i], (long long)i, (int)e->vocab);
    e->window = HD_MIN(e->count, e->context);
    if (e->most) e->window = HD_MIN(e->window, e->most);
    HD_TRY(prepare_side(e, &e->own, err));
    if (!e->compares) return HD_OK;
    HD_TRY(prepare_side(e, &e->other, err));
    e->kl = hd_alloc_array((size_t)e->last, sizeof *e->kl);
    return e->kl ? HD_OK : hd_fail(err, HD_E_MEMORY, "out of memory for %lld divergences", (long long)e->last);
}

/* ---- evaluation ---- */

/* Counts the logits of one position; `next` is the id that follows in the window, or -1. */
static void count_row(hd_evaluation *e, int64_t row, int32_t next)
{
    const float *own = e->own.logits + row * e->vocab;
    if (next < 0 && !e->compares) return;
    double norm = hd_compare_norm(own, e->vocab);
    if (next >= 0) {
        e->own.loss += norm - (double)own[next];
        e->predicted++;
    }
    if (!e->compares) return;
    const float *other = e->other.logits + row * e->vocab;
    double other_norm = hd_compare_norm(other, e->vocab);
    if (next >= 0) e->other.loss += other_norm - (double)other[next];
    e->kl[e->compared++] = (float)hd_compare_kl(other, other_norm, own, norm, e->vocab);
    e->agreed += hd_compare_top(other, e->vocab) == hd_compare_top(own, e->vocab);
    e->difference = HD_MAX(e->difference, hd_compare_difference(own, other, e->vocab));
}

static hd_status feed_piece(hd_evaluation *e, int64_t at, int64_t n, hd_error *err)
{
    if (hd_interrupted()) return hd_fail(err, HD_E_CANCELLED, "interrupted");
    HD_TRY(hd_session_feed_all(e->own.session, e->ids + at, n, e->own.logits, err));
    if (e->compares) HD_TRY(hd_session_feed_all(e->other.session, e->ids + at, n, e->other.logits, err));
    return HD_OK;
}

static hd_status skip_tokens(hd_evaluation *e, int64_t at, int64_t n, hd_error *err)
{
    if (n <= 0) return HD_OK;
    HD_TRY(hd_cli_feed(e->own.session, e->own.engine, e->ids + at, n, e->chunk, err));
    if (e->compares) HD_TRY(hd_cli_feed(e->other.session, e->other.engine, e->ids + at, n, e->chunk, err));
    return HD_OK;
}

static hd_status eval_window(hd_evaluation *e, int64_t first, int64_t end, hd_error *err)
{
    int64_t skip = first + HD_MAX(end - first - e->last, 0);
    HD_TRY(hd_session_truncate(e->own.session, 0, err));
    if (e->compares) HD_TRY(hd_session_truncate(e->other.session, 0, err));
    HD_TRY(skip_tokens(e, first, skip - first, err));
    for (int64_t at = skip; at < end; at += e->piece) {
        int64_t count = HD_MIN(e->piece, end - at);
        if (e->count > e->piece) hd_progress_show("evaluating", (double)at / (double)e->count);
        HD_TRY(feed_piece(e, at, count, err));
        for (int64_t i = 0; i < count; i++)
            count_row(e, i, at + i + 1 < end ? e->ids[at + i + 1] : -1);
        if (e->kept)
            memcpy(e->kept + (at - skip) * e->vocab, e->own.logits, (size_t)(count * e->vocab) * sizeof(float));
    }
    return HD_OK;
}

hd_status hd_evaluation_run(hd_evaluation *e, hd_error *err)
{
    for (int64_t at = 0; at < e->count; at += e->window, e->windows++)
        HD_TRY(eval_window(e, at, HD_MIN(at + e->window, e->count), err));
    hd_progress_clear();
    return HD_OK;
}

/* ---- figures ---- */

double hd_evaluation_loss(const hd_evaluation *e, const hd_eval_side *side)
{
    return side->loss / (double)e->predicted;
}

double hd_evaluation_perplexity(const hd_evaluation *e, const hd_eval_side *side)
{
    return exp(hd_evaluation_loss(e, side));
}

hd_divergence hd_evaluation_divergence(hd_evaluation *e)
{
    hd_divergence d = {0};
    for (size_t i = 0; i < e->compared; i++)
        d.mean += (double)e->kl[i] / (double)e->compared;
    d.median = hd_compare_quantile(e->kl, e->compared, 0.5);
    d.p99 = hd_compare_quantile(e->kl, e->compared, 0.99);
    d.max = hd_compare_quantile(e->kl, e->compared, 1);
    d.top1 = (double)e->agreed / (double)e->compared;
    return d;
}
