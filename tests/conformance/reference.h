/* Shared by the conformance tests of models: reference files and comparisons.
 *
 * Logits may differ by 2e-3; greedy text must be equal wherever the reference's two best are more than 1e-3 apart. */
#ifndef HD_TESTS_REFERENCE_H
#define HD_TESTS_REFERENCE_H

#include <math.h>
#include <setjmp.h>
#include <stdarg.h>
#include <stdint.h>

#include <cmocka.h>

#include "data.h"
#include "formats/formats.h"
#include "hadal/engine.h"

#define TOLERANCE 2e-3f
#define GAP 1e-3f

typedef struct reference {
    hd_checkpoint *file;
    const hd_tensor *prompt, *logits, *greedy;
} reference;

static inline bool find_case(reference *r, int n)
{
    char name[32];
    snprintf(name, sizeof name, "prompt.%d", n);
    r->prompt = hd_checkpoint_find(r->file, name);
    snprintf(name, sizeof name, "logits.%d", n);
    r->logits = hd_checkpoint_find(r->file, name);
    snprintf(name, sizeof name, "greedy.%d", n);
    r->greedy = hd_checkpoint_find(r->file, name);
    return r->prompt && r->logits && r->greedy;
}

static inline void must(hd_status status, const hd_error *err)
{
    if (status != HD_OK) fail_msg("%s", err->text);
}

static inline float worst_difference(const float *a, const float *b, size_t n)
{
    float worst = 0.0f;
    for (size_t i = 0; i < n; i++) {
        float d = fabsf(a[i] - b[i]);
        if (!(d <= worst)) worst = d; /* NaN sticks */
    }
    return worst;
}

static inline int32_t best(const float *logits, int32_t n, float *gap)
{
    int32_t first = 0, second = -1;
    for (int32_t i = 1; i < n; i++) {
        if (logits[i] > logits[first]) {
            second = first;
            first = i;
        } else if (second < 0 || logits[i] > logits[second])
            second = i;
    }
    *gap = logits[first] - logits[second < 0 ? 0 : second];
    return first;
}

static inline void check_greedy(hd_session *s, const hd_tensor *greedy, int32_t vocab, const char *where)
{
    const int32_t *want = greedy->data;
    hd_error err = {0};
    for (int64_t i = 0; i < greedy->shape[0]; i++) {
        float gap;
        int32_t got = best(hd_session_logits(s), vocab, &gap);
        if (got != want[i] && gap > GAP)
            fail_msg("%s: greedy token %lld is %d, not %d (gap %g)", where, (long long)i, got, want[i], gap);
        must(hd_session_feed(s, &want[i], 1, &err), &err);
    }
}

static inline void check_case(hd_engine *e, const reference *r, const char *where)
{
    hd_engine_info info;
    hd_session *s;
    hd_error err = {0};
    hd_engine_get_info(e, &info);
    int64_t n = r->prompt->shape[0], rows = r->logits->shape[0];
    size_t vocab = (size_t)info.vocab;
    float *logits = hd_alloc_array((size_t)n * vocab, sizeof *logits);
    must(hd_session_open(&s, e, &err), &err);
    must(hd_session_feed_all(s, r->prompt->data, n, logits, &err), &err);
    float worst = worst_difference(logits + (size_t)(n - rows) * vocab, r->logits->data, (size_t)rows * vocab);
    printf("  %s: %lld tokens, largest difference %.1e\n", where, (long long)n, (double)worst);
    if (!(worst <= TOLERANCE)) fail_msg("%s: logits differ by %g", where, worst);
    check_greedy(s, r->greedy, info.vocab, where);
    hd_session_close(&s);
    hd_free(logits);
}

/* Every prompt of folder/expected.safetensors on the model at `model`, on the reference tier, with the adapter at
 * `adapter`; NULL: none. */
static inline void check_adapted(const char *folder, const char *model, const char *adapter, const char *label)
{
    char path[HD_TEST_PATH + 32], where[256];
    hd_error err = {0};
    reference r = {0};
    hd_engine *e;
    hd_lora *lora = NULL;
    hd_engine_options options = {.cpu = "reference", .lora_rank = adapter ? 64 : 0};
    snprintf(path, sizeof path, "%s/expected.safetensors", folder);
    must(hd_checkpoint_open(&r.file, path, &err), &err);
    must(hd_engine_open(&e, model, &options, &err), &err);
    if (adapter) must(hd_lora_open(&lora, e, adapter, 1.0, &err), &err);
    hd_engine_use_lora(e, lora);
    for (int n = 0; find_case(&r, n); n++) {
        snprintf(where, sizeof where, "%s prompt %d", label, n);
        check_case(e, &r, where);
    }
    hd_lora_close(&lora);
    hd_engine_close(&e);
    hd_checkpoint_close(&r.file);
}

static inline void check_model(const char *folder, const char *model, const char *label)
{
    check_adapted(folder, model, NULL, label);
}

#endif
