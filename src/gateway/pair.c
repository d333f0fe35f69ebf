/* gateway/pair.c: two precisions of one model: opened and compared, and a request's way to one of them. */
#include "gateway/pair.h"

#include <stdio.h>
#include <string.h>

#include "base/base.h"
#include "gateway/served.h"

/* ---- what a request may ask for ---- */

const hd_shape hd_shape_precision = {.kind = HD_SHAPE_STRING, .choices = "auto|full|cheaper"};

hd_wish hd_wish_parse(const char *text)
{
    if (!text || strcmp(text, "auto") == 0) return HD_WISH_AUTO;
    return strcmp(text, "full") == 0 ? HD_WISH_FULL : HD_WISH_CHEAPER;
}

/* ---- open and close ---- */

static void free_cheaper(hd_served *s)
{
    if (!s) return;
    hd_served_shut(s);
    hd_free(s->name);
    hd_free(s->path);
    hd_free(s->title);
    hd_free(s);
}

/* Under the same name, for that is what clients know; logs and files need one that tells both apart. */
static hd_served *new_cheaper(const hd_served *full, const char *path)
{
    const char *mark = " (cheaper)";
    size_t size = strlen(full->name) + strlen(mark) + 1;
    hd_served *s = hd_calloc(1, sizeof *s);
    if (!s) return NULL;
    s->name = hd_strdup(full->name);
    s->path = hd_strdup(path);
    s->title = hd_alloc_array(size, 1);
    s->owner = full->owner;
    s->parked_end = &s->parked;
    s->created = full->created;
    hd_model_metrics_init(&s->metrics);
    if (s->name && s->path && s->title) {
        snprintf(s->title, size, "%s%s", full->name, mark);
        return s;
    }
    free_cheaper(s);
    return NULL;
}

hd_status hd_pair_open(hd_served *full, const char *path, const hd_precision_rule *rule, hd_error *err)
{
    if (full->pair)
        return hd_fail(err, HD_E_ARGUMENT, "the model '%s' has a cheaper precision already: %s", full->name,
                       full->pair->cheaper->path);
    if (rule->above < 1 || rule->below < 0 || rule->below >= rule->above)
        return hd_fail(err, HD_E_ARGUMENT, "a load of %d can't be below one of %d", rule->below, rule->above);
    hd_pair *pair = hd_calloc(1, sizeof *pair);
    hd_served *cheaper = new_cheaper(full, path);
    if (!pair || !cheaper) {
        hd_free(pair);
        free_cheaper(cheaper);
        return hd_fail(err, HD_E_MEMORY, "out of memory for a second precision");
    }
    pthread_mutex_init(&pair->lock, NULL);
    pair->full = full;
    pair->cheaper = cheaper;
    pair->precision.rule = *rule;
    full->pair = cheaper->pair = pair;
    return HD_OK;
}

void hd_pair_close(hd_pair **ref)
{
    hd_pair *pair = *ref;
    if (!pair) return;
    *ref = NULL;
    free_cheaper(pair->cheaper);
    pthread_mutex_destroy(&pair->lock);
    hd_free(pair);
}

/* ---- whether both are one model ---- */

static hd_status differ(const hd_pair *pair, hd_error *err, const char *what)
{
    return hd_fail(err, HD_E_ARGUMENT, "%s can't be the cheaper precision of %s: %s", pair->cheaper->path,
                   pair->full->path, what);
}

static hd_status compare_shapes(const hd_pair *pair, hd_error *err)
{
    const hd_engine_info *a = &pair->full->info, *b = &pair->cheaper->info;
    const struct {
        const char *what;
        int64_t full, cheaper;
    } sizes[] = {{"layers", a->layers, b->layers},
                 {"numbers in a hidden state", a->hidden, b->hidden},
                 {"ids in the vocabulary", a->vocab, b->vocab},
                 {"tokens of context", a->context, b->context},
                 {"bytes of cache for a token", (int64_t)a->cache_bytes_per_token, (int64_t)b->cache_bytes_per_token}};
    char text[200];
    if (strcmp(a->architecture, b->architecture) != 0) {
        snprintf(text, sizeof text, "its architecture is %.64s, not %.64s", b->architecture, a->architecture);
        return differ(pair, err, text);
    }
    for (size_t i = 0; i < HD_ARRAY_LEN(sizes); i++) {
        if (sizes[i].full == sizes[i].cheaper) continue;
        snprintf(text, sizeof text, "it has %lld %s, not %lld", (long long)sizes[i].cheaper, sizes[i].what,
                 (long long)sizes[i].full);
        return differ(pair, err, text);
    }
    return HD_OK;
}

/* A token's bytes; none where the vocabulary has a hole. */
static hd_str token_of(const hd_text *text, int32_t id)
{
    char *bytes = NULL;
    size_t len = 0;
    if (hd_text_token(text, id, &bytes, &len, NULL) != HD_OK) return (hd_str){NULL, 0};
    return (hd_str){bytes, len};
}

static bool same_bytes(hd_str a, hd_str b)
{
    if (!a.data || !b.data) return a.data == b.data;
    return a.len == b.len && memcmp(a.data, b.data, a.len) == 0;
}

static bool same_token(const hd_text *a, const hd_text *b, int32_t id)
{
    hd_str one = token_of(a, id), two = token_of(b, id);
    bool same = same_bytes(one, two);
    hd_string_free((char *)(uintptr_t)one.data);
    hd_string_free((char *)(uintptr_t)two.data);
    return same;
}

/* The same tokens may be put together in other ways: merges and the cutting of words show in a text that has letters,
 * numbers, spaces and signs of several kinds. */
static bool same_ids(const hd_text *a, const hd_text *b)
{
    static const char sample[] =
        "The year 2024's 1,234.5 items:\n\n\tif (x_1 >= -7) return \"naïve\"; // 你好，世界 🙂  ok";
    int32_t *one = NULL, *two = NULL;
    size_t m = 0, n = 0;
    hd_status x = hd_text_encode(a, sample, sizeof sample - 1, false, true, &one, &m, NULL);
    hd_status y = hd_text_encode(b, sample, sizeof sample - 1, false, true, &two, &n, NULL);
    bool same = x == y && m == n && (m == 0 || memcmp(one, two, m * sizeof *one) == 0);
    hd_ids_release(one);
    hd_ids_release(two);
    return same;
}

/* A conversation as both templates write it. */
static bool same_template(const hd_text *a, const hd_text *b)
{
    static const char sample[] =
        "{\"messages\":[{\"role\":\"system\",\"content\":\"a\"},{\"role\":\"user\",\"content\":\"b\"},"
        "{\"role\":\"assistant\",\"content\":\"c\"},{\"role\":\"user\",\"content\":\"d\"}]}";
    char *one = NULL, *two = NULL;
    size_t m = 0, n = 0;
    hd_status x = hd_chat_render(a, sample, sizeof sample - 1, &one, &m, NULL);
    hd_status y = hd_chat_render(b, sample, sizeof sample - 1, &two, &n, NULL);
    bool same = x == y && m == n && (m == 0 || memcmp(one, two, m) == 0);
    hd_string_free(one);
    hd_string_free(two);
    return same;
}

static hd_status compare_texts(const hd_pair *pair, hd_error *err)
{
    const hd_served *full = pair->full, *cheaper = pair->cheaper;
    const hd_text *a = full->text, *b = cheaper->text;
    if (!a != !b) return differ(pair, err, b ? "that has no tokenizer" : "it has no tokenizer");
    if (full->end_count != cheaper->end_count ||
        (full->end_count && memcmp(full->ends, cheaper->ends, full->end_count * sizeof *full->ends) != 0))
        return differ(pair, err, "other ids end its answers");
    if (!a) return HD_OK;
    if (hd_text_vocab(a) != hd_text_vocab(b)) return differ(pair, err, "its tokenizer has another number of tokens");
    for (int32_t id = 0; id < hd_text_vocab(a); id++) {
        char text[100];
        if (same_token(a, b, id)) continue;
        snprintf(text, sizeof text, "token %d of its tokenizer is another", (int)id);
        return differ(pair, err, text);
    }
    if (!same_ids(a, b)) return differ(pair, err, "its tokenizer cuts texts in another way");
    if (!same_template(a, b)) return differ(pair, err, "its chat template writes another prompt");
    return HD_OK;
}

/* ---- loading ---- */

#define MIB(bytes) ((double)(bytes) / (1 << 20))

/* Weights in memory: packed copies, or the mapped files themselves. */
static uint64_t weights_of(const hd_served *s)
{
    return HD_MAX(s->info.weight_bytes, s->info.packed_bytes) + s->info.scratch_bytes;
}

static void tell_memory(const hd_pair *pair, const hd_gateway_options *options)
{
    const hd_served *a = pair->full, *b = pair->cheaper;
    uint64_t both = weights_of(a) + weights_of(b);
    hd_cache_usage x, y;
    hd_engine_get_cache(a->engine, &x);
    hd_engine_get_cache(b->engine, &y);
    hd_log(HD_LOG_INFO,
           "model %s: in two precisions: %s takes %.1f MiB, %s %.1f MiB, together %.1f MiB; their caches may take "
           "%.1f and %.1f MiB",
           a->name, a->precision, MIB(weights_of(a)), b->precision, MIB(weights_of(b)), MIB(both),
           MIB((uint64_t)x.pages_limit * x.page_bytes), MIB((uint64_t)y.pages_limit * y.page_bytes));
    if (options->memory && both > options->memory)
        hd_log(HD_LOG_WARN, "model %s: both precisions take more than the %.1f MiB of memory that there are", a->name,
               MIB(options->memory));
    if (a->info.weight_bytes && b->info.weight_bytes >= a->info.weight_bytes)
        hd_log(HD_LOG_WARN, "model %s: its cheaper precision is not smaller: are %s and %s the wrong way round?",
               a->name, a->path, b->path);
}

/* Two recipes may have most weights in the same type: answers must tell them apart all the same. */
static void tell_apart(const hd_pair *pair)
{
    hd_served *b = pair->cheaper;
    if (strcmp(pair->full->precision, b->precision) == 0)
        snprintf(b->precision, sizeof b->precision, "%.16s-cheaper", pair->full->precision);
}

static hd_status compare(hd_pair *pair, hd_error *err)
{
    HD_TRY(compare_shapes(pair, err));
    return compare_texts(pair, err);
}

hd_status hd_pair_load(hd_pair *pair, const hd_gateway_options *options, hd_error *err)
{
    hd_error why;
    hd_served *full = pair->full, *cheaper = pair->cheaper;
    hd_status status = hd_served_open(cheaper, options, &why);
    if (status != HD_OK) return hd_fail(err, status, "its cheaper precision %s: %s", cheaper->path, why.text);
    status = compare(pair, err);
    if (status != HD_OK) {
        hd_served_shut(cheaper);
        return status;
    }
    tell_apart(pair);
    tell_memory(pair, options);
    /* what one would take, the other takes, too */
    full->room = cheaper->room = HD_MIN(full->room, cheaper->room);
    return HD_OK;
}

/* ---- requests ---- */

/* With the lock held. */
static bool look(hd_pair *pair)
{
    bool before = pair->precision.cheaper, now = hd_precision_look(&pair->precision, pair->load, hd_clock_ns());
    if (now != before)
        hd_log(HD_LOG_INFO, "model %s: %d requests: new ones go to %s", pair->full->name, pair->load,
               now ? pair->cheaper->precision : pair->full->precision);
    return now;
}

static hd_served *choose(const hd_pair *pair, hd_wish wish, bool cheaper)
{
    if (wish != HD_WISH_AUTO) return wish == HD_WISH_FULL ? pair->full : pair->cheaper;
    bool full_lost = atomic_load(&pair->full->lost), cheaper_lost = atomic_load(&pair->cheaper->lost);
    if (full_lost != cheaper_lost) cheaper = full_lost;
    return cheaper ? pair->cheaper : pair->full;
}

hd_served *hd_pair_join(hd_pair *pair, hd_wish wish)
{
    pthread_mutex_lock(&pair->lock);
    pair->load++;
    bool cheaper = look(pair);
    pthread_mutex_unlock(&pair->lock);
    return choose(pair, wish, cheaper);
}

void hd_pair_leave(hd_pair *pair)
{
    pthread_mutex_lock(&pair->lock);
    pair->load--;
    pthread_mutex_unlock(&pair->lock);
}

void hd_pair_look(hd_pair *pair)
{
    pthread_mutex_lock(&pair->lock);
    (void)look(pair);
    pthread_mutex_unlock(&pair->lock);
}

void hd_pair_get_figures(hd_pair *pair, hd_pair_figures *out)
{
    pthread_mutex_lock(&pair->lock);
    *out = (hd_pair_figures){pair->precision.cheaper, pair->load, pair->precision.switches};
    pthread_mutex_unlock(&pair->lock);
}
