/* fuzz_prefixes.c: any bytes as exported prefixes.  The first byte says how the rest is meant: as it is; behind a right
 * header; or as records with right checksums, so that what lies behind those is reached, too.  Afterwards the cache
 * must give out what it holds, and a request must run on it. */
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <unistd.h>

#include "unit/lib/prefix_bytes.h"

enum { HEADER = 24, VOCAB = 40, PAGE_TOKENS = 32, BEFORE_PAGE = 8 + 16 + 4 * PAGE_TOKENS, PROMPT = 100 };

static hd_engine *engine;
static bytes header; /* of an export of this engine */
static size_t record_bytes;

static hd_engine *open_engine(void)
{
    static const char config[] = "{\"model_type\":\"hadal_scripted\",\"vocab_size\":40,\"script\":[1,2,3]}";
    char folder[] = "/tmp/hadal-fuzz-XXXXXX", path[64];
    hd_engine *e = NULL;
    if (!mkdtemp(folder)) return NULL;
    snprintf(path, sizeof path, "%s/config.json", folder);
    FILE *f = fopen(path, "w");
    if (f && fputs(config, f) >= 0 && fclose(f) == 0) {
        const hd_engine_options o = {.cpu = "reference", .threads = 1, .chunk = 64, .cache_tokens = 640};
        (void)!hd_engine_open(&e, folder, &o, NULL);
    }
    unlink(path);
    rmdir(folder);
    return e;
}

static hd_scheduler *open_scheduler(void)
{
    hd_scheduler *s;
    const hd_scheduler_options o = {.batch = 2, .prefix_pages = 16};
    if (hd_scheduler_open(&s, engine, &o, NULL) != HD_OK) __builtin_trap();
    return s;
}

static void set_up(void)
{
    hd_cache_usage u;
    engine = open_engine();
    if (!engine) __builtin_trap();
    hd_engine_get_cache(engine, &u);
    record_bytes = BEFORE_PAGE + u.page_bytes + 8;
    hd_scheduler *s = open_scheduler();
    if (hd_scheduler_export_prefixes(s, bytes_write, &header, NULL) != HD_OK) __builtin_trap();
    hd_scheduler_close(&s);
}

/* Each of these bytes becomes a record: four bits for the page before it, four for its tokens. */
static void put_records(bytes *b, const uint8_t *data, size_t size)
{
    for (size_t i = 0; i < size && i < 64; i++) {
        size_t at = b->len;
        uint64_t parent = data[i] >> 4;
        int32_t tokens[PAGE_TOKENS];
        static const uint8_t zeros[256];
        for (int t = 0; t < PAGE_TOKENS; t++)
            tokens[t] = (data[i] & 15) == 15 ? VOCAB : data[i] & 15;
        if (bytes_write(b, &parent, sizeof parent, NULL) != HD_OK) return;
        if (bytes_write(b, zeros, 16, NULL) != HD_OK || bytes_write(b, tokens, sizeof tokens, NULL) != HD_OK) return;
        while (b->len < at + record_bytes)
            if (bytes_write(b, zeros, HD_MIN(sizeof zeros, at + record_bytes - b->len), NULL) != HD_OK) return;
        bytes_sign(b, at, record_bytes);
    }
    const uint64_t last = UINT64_MAX;
    (void)!bytes_write(b, &last, sizeof last, NULL);
}

static pthread_mutex_t lock = PTHREAD_MUTEX_INITIALIZER;
static pthread_cond_t changed = PTHREAD_COND_INITIALIZER;
static bool done;

static hd_go_on on_token(void *arg, const hd_token_event *event)
{
    (void)arg;
    (void)event;
    return HD_GO_ON;
}

static void on_finish(void *arg, const hd_finish_event *event)
{
    (void)arg;
    if (event->reason != HD_FINISH_LENGTH) __builtin_trap();
    pthread_mutex_lock(&lock);
    done = true;
    pthread_cond_signal(&changed);
    pthread_mutex_unlock(&lock);
}

/* Its tokens are those of records, so that it may hit them. */
static void run_request(hd_scheduler *s, int32_t token)
{
    int32_t prompt[PROMPT];
    hd_request *r;
    for (int i = 0; i < PROMPT; i++)
        prompt[i] = token;
    const hd_request_options o = {.prompt = prompt,
                                  .prompt_count = PROMPT,
                                  .max_tokens = 2,
                                  .sampling = {.top_p = 1.0f, .repetition_penalty = 1.0f},
                                  .token = on_token,
                                  .finish = on_finish};
    done = false;
    if (hd_request_open(&r, s, &o, NULL) != HD_OK) __builtin_trap();
    pthread_mutex_lock(&lock);
    while (!done)
        pthread_cond_wait(&changed, &lock);
    pthread_mutex_unlock(&lock);
    hd_request_close(&r);
}

static void import_and_use(bytes *in, int32_t token)
{
    hd_error err = {0};
    int64_t pages = -1;
    bytes out = {.len = 0};
    hd_scheduler *s = open_scheduler();
    hd_status status = hd_scheduler_import_prefixes(s, bytes_read, in, &pages, &err);
    if (pages < 0 || pages > 16 || (status != HD_OK && !err.text[0])) __builtin_trap();
    run_request(s, token);
    if (hd_scheduler_export_prefixes(s, bytes_write, &out, NULL) != HD_OK) __builtin_trap();
    hd_free(out.data);
    hd_scheduler_close(&s);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size);

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    bytes in = {.len = 0};
    if (!engine) set_up();
    if (size == 0) return 0;
    bool prefixed = data[0] % 3 > 0;
    if (prefixed && bytes_write(&in, header.data, HEADER, NULL) != HD_OK) return 0;
    if (data[0] % 3 == 2)
        put_records(&in, data + 1, size - 1);
    else if (size > 1 && bytes_write(&in, data + 1, size - 1, NULL) != HD_OK)
        return 0;
    import_and_use(&in, data[size - 1] & 7);
    hd_free(in.data);
    return 0;
}
