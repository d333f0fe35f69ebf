/* gateway/openai_embeddings.c: POST /v1/embeddings: the last token's hidden state, at length 1.
 *
 * All inputs are requests of the scheduler at once.  As with generations, the engine's thread fills what a worker then
 * writes.
 */
#include <math.h>
#include <string.h>

#include "gateway/gateway_internal.h"
#include "gateway/prompts.h"

typedef struct embedding_request {
    hd_str model, encoding;
    const json_t *input;
    int64_t dimensions, priority;
} embedding_request;

static const hd_shape encoding = {.kind = HD_SHAPE_STRING, .choices = "float|base64"};

static const hd_field fields[] = {
    {.name = "model",
     .shape = &hd_shape_string,
     HD_BIND(embedding_request, model),
     .doc = "Without it: the first model."},
    {.name = "input",
     .shape = &hd_shape_prompt,
     HD_BIND(embedding_request, input),
     .required = true,
     .doc = "A text, ids of tokens, or a list of either."},
    {.name = "encoding_format",
     .shape = &encoding,
     HD_BIND(embedding_request, encoding),
     .doc = "base64: of 32-bit floats, little-endian."},
    {.name = "dimensions",
     .shape = &hd_shape_count,
     HD_BIND(embedding_request, dimensions),
     .doc = "Only the first so many numbers, again at length 1."},
    {.name = "priority", .shape = &hd_shape_priority, HD_BIND(embedding_request, priority)},
    {.name = "precision",
     .shape = &hd_shape_precision,
     .doc = "Of a model that is served in two precisions: full (also auto: vectors of both can't be compared) or "
            "cheaper."},
    {.name = NULL},
};
const hd_shape hd_embedding_shape = {.kind = HD_SHAPE_OBJECT, .fields = fields, .name = "EmbeddingRequest"};

typedef struct input {
    struct embedding *embedding;
    hd_request *request;
    float *values; /* [width] */
} input;

typedef struct embedding {
    hd_job job;
    hd_call *call;
    hd_prompt *prompts;
    input *inputs; /* [count] */
    size_t count;
    int64_t width; /* of the reply's vectors */
    bool base64;
    pthread_mutex_t lock; /* guards what follows, and the inputs' requests */
    hd_error error;
    bool gone;
    int open; /* inputs under way, and one for the thread that starts them */
} embedding;

/* ---- the engine's thread ---- */

/* At length 1, so that the product of two is the cosine between them. */
static void on_embedding(void *arg, const float *values, int64_t width)
{
    input *in = arg;
    double sum = 0;
    int64_t n = HD_MIN(in->embedding->width, width);
    for (int64_t i = 0; i < n; i++)
        sum += (double)values[i] * (double)values[i];
    double scale = sum > 0 ? 1 / sqrt(sum) : 0;
    for (int64_t i = 0; i < n; i++)
        in->values[i] = (float)((double)values[i] * scale);
}

static void one_less(embedding *e)
{
    pthread_mutex_lock(&e->lock);
    bool last = --e->open == 0;
    pthread_mutex_unlock(&e->lock);
    if (last) hd_workers_push(e->call->gateway->workers, &e->job);
}

static void on_finish(void *arg, const hd_finish_event *event)
{
    embedding *e = ((input *)arg)->embedding;
    pthread_mutex_lock(&e->lock);
    if (event->reason == HD_FINISH_ERROR && e->error.status == HD_OK) e->error = *event->error;
    if (event->reason == HD_FINISH_CANCELLED && e->error.status == HD_OK)
        (void)hd_fail(&e->error, HD_E_BUSY, "the service is shutting down: ask again");
    pthread_mutex_unlock(&e->lock);
    if (event->reason == HD_FINISH_STOP)
        atomic_store_explicit(&e->call->model->passed_ns, hd_clock_ns(), memory_order_relaxed);
    one_less(e);
}

/* With the lock held. */
static void cancel(embedding *e)
{
    for (size_t i = 0; i < e->count; i++)
        if (e->inputs[i].request) hd_request_cancel(e->inputs[i].request);
}

static void gone(void *arg)
{
    embedding *e = arg;
    pthread_mutex_lock(&e->lock);
    e->gone = true;
    cancel(e);
    pthread_mutex_unlock(&e->lock);
}

/* ---- the reply ---- */

static void write_base64(hd_buf *out, const float *values, int64_t count)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    const unsigned char *bytes = (const unsigned char *)values; /* little-endian on every machine that we run on */
    size_t len = (size_t)count * sizeof *values;
    (void)hd_buf_putc(out, '"');
    for (size_t i = 0; i < len; i += 3) {
        size_t n = HD_MIN(len - i, (size_t)3);
        uint32_t three =
            (uint32_t)bytes[i] << 16 | (n > 1 ? (uint32_t)bytes[i + 1] << 8 : 0) | (n > 2 ? bytes[i + 2] : 0);
        (void)hd_buf_putc(out, digits[three >> 18]);
        (void)hd_buf_putc(out, digits[three >> 12 & 63]);
        (void)hd_buf_putc(out, n > 1 ? digits[three >> 6 & 63] : '=');
        (void)hd_buf_putc(out, n > 2 ? digits[three & 63] : '=');
    }
    (void)hd_buf_putc(out, '"');
}

static void write_vector(hd_buf *out, const embedding *e, size_t index)
{
    const float *values = e->inputs[index].values;
    hd_out_begin(out, '{');
    hd_out_member_string(out, "object", "embedding");
    hd_out_member_int(out, "index", (int64_t)index);
    hd_out_key(out, "embedding");
    if (e->base64) {
        write_base64(out, values, e->width);
    } else {
        hd_out_begin(out, '[');
        for (int64_t i = 0; i < e->width; i++)
            hd_out_real(out, (double)values[i]);
        hd_out_end(out, ']');
    }
    hd_out_end(out, '}');
}

static void write_reply(hd_buf *out, const embedding *e)
{
    int64_t tokens = 0;
    hd_out_begin(out, '{');
    hd_out_member_string(out, "object", "list");
    hd_out_member_begin(out, "data", '[');
    for (size_t i = 0; i < e->count; i++) {
        write_vector(out, e, i);
        tokens += (int64_t)e->prompts[i].count;
    }
    hd_out_end(out, ']');
    hd_out_member_string(out, "model", hd_call_model_name(e->call));
    hd_out_member_begin(out, "usage", '{');
    hd_out_member_int(out, "prompt_tokens", tokens);
    hd_out_member_int(out, "total_tokens", tokens);
    hd_call_count_tokens(e->call, tokens, 0);
    hd_out_end(out, '}');
    hd_out_end(out, '}');
}

static void free_embedding(embedding *e)
{
    for (size_t i = 0; e->inputs && i < e->count; i++)
        hd_free(e->inputs[i].values);
    hd_free(e->inputs);
    hd_prompts_free(e->prompts, e->count);
    pthread_mutex_destroy(&e->lock);
    hd_free(e);
}

static void finish(hd_job *job)
{
    embedding *e = (embedding *)((char *)job - offsetof(embedding, job));
    hd_call *call = e->call;
    hd_exchange_watch(call->exchange, NULL, NULL, NULL);
    for (size_t i = 0; i < e->count; i++)
        hd_request_close(&e->inputs[i].request);
    if (e->error.status != HD_OK) {
        hd_call_fail(call, &e->error);
    } else {
        hd_buf out;
        hd_buf_init(&out, (size_t)256 << 20);
        write_reply(&out, e);
        hd_call_reply_json(call, 200, &out);
    }
    free_embedding(e);
    hd_call_close(call);
}

/* ---- the beginning ---- */

static hd_status submit_input(embedding *e, input *in, const hd_prompt *prompt, int priority, hd_error *err)
{
    hd_request_options o = {.prompt = prompt->ids,
                            .prompt_count = (int64_t)prompt->count,
                            .priority = priority,
                            .lora = e->call->lora,
                            .embed = true,
                            .embedding = on_embedding,
                            .finish = on_finish,
                            .arg = in};
    memcpy(o.salt, e->call->key.tenant, sizeof o.salt);
    hd_sampling_defaults(e->call->model->engine, &o.sampling);
    in->values = hd_calloc((size_t)e->width, sizeof *in->values);
    if (!in->values) return hd_fail(err, HD_E_MEMORY, "out of memory for an embedding");
    if (e->gone) return hd_fail(err, HD_E_CANCELLED, "the client has left");
    HD_TRY(hd_request_open(&in->request, e->call->model->scheduler, &o, err));
    e->open++;
    return HD_OK;
}

static hd_status submit(embedding *e, int priority, bool *taken, hd_error *err)
{
    hd_error why;
    hd_status status = HD_OK;
    e->open = 1;
    hd_exchange_watch(e->call->exchange, gone, NULL, e);
    pthread_mutex_lock(&e->lock);
    for (size_t i = 0; i < e->count && status == HD_OK; i++)
        status = submit_input(e, &e->inputs[i], &e->prompts[i], priority, &why);
    bool none = e->open == 1;
    if (status != HD_OK && !none) {
        if (e->error.status == HD_OK) e->error = why;
        cancel(e);
    }
    pthread_mutex_unlock(&e->lock);
    if (status != HD_OK && none) {
        hd_exchange_watch(e->call->exchange, NULL, NULL, NULL);
        return hd_fail(err, why.status, "%s", why.text);
    }
    *taken = true;
    one_less(e);
    return HD_OK;
}

static hd_status prepare(embedding *e, const embedding_request *r, bool *taken, hd_error *err)
{
    int64_t width = e->call->model->info.hidden;
    HD_TRY(hd_prompts_read(e->call, r->input, "input", &e->prompts, &e->count, err));
    if (r->dimensions > width)
        return hd_call_refuse(e->call, err, "dimensions", "this model's vectors have %lld numbers", (long long)width);
    e->width = r->dimensions > 0 ? r->dimensions : width;
    e->inputs = hd_calloc(e->count, sizeof *e->inputs);
    if (!e->inputs) return hd_fail(err, HD_E_MEMORY, "out of memory for %zu embeddings", e->count);
    for (size_t i = 0; i < e->count; i++)
        e->inputs[i].embedding = e;
    return submit(e, (int)r->priority, taken, err);
}

hd_status hd_embeddings(hd_call *call, bool *taken, hd_error *err)
{
    embedding_request r = {.dimensions = -1};
    hd_shape_bind(&hd_embedding_shape, call->body, &r);
    embedding *e = hd_calloc(1, sizeof *e);
    if (!e) return hd_fail(err, HD_E_MEMORY, "out of memory for an embedding");
    pthread_mutex_init(&e->lock, NULL);
    e->job.run = finish;
    e->call = call;
    e->base64 = r.encoding.len == strlen("base64");
    hd_status status = prepare(e, &r, taken, err);
    if (status != HD_OK) free_embedding(e);
    return status;
}
