/* cli/cmd_serve.c: `hadal serve`: models as a service, until SIGTERM or Ctrl-C.
 *
 * Order: data folder, a look at the door, keys, the gateway with its models, then the socket: nobody is let in before
 * somebody can answer. Signals are taken by a thread of their own, so that no handler has to be safe.
 */
#include <errno.h>
#include <fcntl.h>
#include <malloc.h>
#include <pthread.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/resource.h>
#include <unistd.h>

#include "cli/cli.h"
#include "cli/data_dir.h"
#include "cli/engine.h"
#include "cli/files.h"
#include "cli/models_dir.h"
#include "cli/serve.h"
#include "cli/terminal.h"
#include "crypto/tls.h"
#include "gateway/gateway.h"
#include "ops/worker.h"
#include "security/security.h"
#include "server/server.h"

static const hd_manual manual = {
    .command = "serve",
    .synopsis = "serve MODEL [MODEL...] [OPTIONS]\nserve --model-path PATH [OPTIONS]",
    .description =
        "Serves models to programs that speak OpenAI's or Anthropic's API, many at once in one batch.  MODEL is a "
        "file, a "
        "folder, a name of `hadal models`, or NAME=MODEL to serve it under another name.  When requests are accepted, "
        "one "
        "line `ready URL` is printed on standard output; GET URL/openapi.json describes the API.\n\n"
        "Clients present a key: `hadal key create` makes one, and the first run makes one and shows it once.  "
        "--no-auth "
        "lets in every program of this machine, and is refused on any address but loopback.  All state lies in the "
        "data "
        "folder.\n\n"
        "SIGTERM and Ctrl-C end it in order: no new work is taken, answers under way are finished for --drain seconds, "
        "and "
        "the exit code is 0.  A second signal cuts them off.  SIGHUP reads the certificates again, and opens the log "
        "file anew.\n\n"
        "Without --lazy all models are loaded before the first request; with it, and with POST /models/load and "
        "/models/unload, a model is in memory only when it is asked for.\n\n"
        "With --cheaper a model is held in two precisions.  New requests go to the cheaper one when --cheaper-above "
        "requests of the model are under way, and back when there have been --cheaper-below or fewer for "
        "--cheaper-hold "
        "seconds; those under way stay where they are.  Each answer says which one gave it (x-hadal-precision), and a "
        "request may choose by its field precision.\n\n"
        "With --supervise a second process holds the socket and watches over the one that serves: docs/supervise.md.  "
        "SIGUSR2, or `hadal restart`, changes the worker for one of the program's file as it is now.",
    .examples =
        "hadal serve smollm2-135m\n"
        "hadal serve --model-path /models/r1.gguf --precision auto --host 0.0.0.0 --tls-self-signed\n"
        "hadal serve r1=/models/r1-bf16.gguf --cheaper r1=/models/r1-q4.gguf --cheaper-above 8 --cheaper-below 4\n"
        "hadal serve big=/models/v3 small=qwen.gguf --alias gpt-4=big --lazy --idle 600",
    .environment = HD_ENVIRONMENT_MODELS "\nHADAL_DATA      the data folder, where --data is not given\n"
                                         "OTEL_*          of traces, as OpenTelemetry defines them: docs/traces.md",
    .files = "DIR/hadal.db      keys, hashed\n"
             "DIR/secret        what all keys of the folder derive from: keep it, and keep it secret\n"
             "DIR/tls/          the certificate of --tls-self-signed\n"
             "DIR/prefixes/     cached prompts, encrypted, with --keep-prefixes\n"
             "DIR/crashes/      what is known of workers that died, without content, with --supervise",
};

static hd_opt_group general_group(hd_serve_flags *f)
{
    const hd_opt opts[] = {
        {.name = "model-path",
         .type = HD_OPT_LIST,
         .value = &f->model_paths,
         .metavar = "PATH",
         .help = "The same as MODEL."},
        {.name = "precision",
         .type = HD_OPT_CHOICE,
         .value = &f->precision,
         .choices = "auto|bf16|fp8|int8|q4",
         .help = "Which weights to take where a folder has several; auto takes the smallest.  Weights are served as "
                 "they are: where none has that precision, a line says so."},
        {.name = "alias",
         .type = HD_OPT_LIST,
         .value = &f->aliases,
         .metavar = "NAME=MODEL",
         .help = "Another name for a model."},
        {.name = "lazy", .type = HD_OPT_FLAG, .value = &f->lazy, .help = "Load a model when it is first asked for."},
        {.name = "idle",
         .type = HD_OPT_FLOAT,
         .value = &f->idle,
         .metavar = "SECONDS",
         .min = 0,
         .max = 1e9,
         .help = "Unload a model that nobody has asked for so long.",
         .initial = "never"},
        {.name = "data",
         .type = HD_OPT_STRING,
         .value = &f->data,
         .metavar = "DIR",
         .help = "The data folder.",
         .initial = HD_DATA_DIR_INITIAL},
        {.name = "options",
         .type = HD_OPT_STRING,
         .value = &f->options,
         .metavar = "FILE",
         .help = "More options, one a line (--queue 2048), read before those given here, which count more; lines that "
                 "begin with # are passed over.  `hadal restart` reads it again.",
         .initial = "none"},
        {.name = "no-auth",
         .type = HD_OPT_FLAG,
         .value = &f->no_auth,
         .help = "Ask nobody for a key; only on loopback."},
        {.name = "api-key-file",
         .type = HD_OPT_STRING,
         .value = &f->key_file,
         .metavar = "FILE",
         .help = "Keys that clients may present beside those of the data folder, one a line, each made by `hadal key "
                 "create`: so several copies of a service share them.  They stay in the data folder until they are "
                 "revoked.",
         .initial = "none"},
    };
    memcpy(f->general, opts, sizeof opts);
    _Static_assert(sizeof f->general == sizeof opts, "the table has its place");
    return (hd_opt_group){"OPTIONS", f->general, HD_ARRAY_LEN(opts)};
}

static hd_opt_group door_group(hd_serve_flags *f)
{
    const hd_opt opts[] = {
        {.name = "host",
         .type = HD_OPT_STRING,
         .value = &f->host,
         .metavar = "ADDRESS",
         .help = "Address or name to listen on."},
        {.name = "port",
         .letter = 'p',
         .type = HD_OPT_INT,
         .value = &f->port,
         .metavar = "N",
         .min = 0,
         .max = 65535,
         .help = "Port to listen on; 0 takes one that is free."},
        {.name = "tls-cert",
         .type = HD_OPT_STRING,
         .value = &f->certificate,
         .metavar = "FILE",
         .help = "Certificates in PEM, the server's own first.  TLS 1.3 only."},
        {.name = "tls-key",
         .type = HD_OPT_STRING,
         .value = &f->key,
         .metavar = "FILE",
         .help = "The key of --tls-cert."},
        {.name = "tls-self-signed",
         .type = HD_OPT_FLAG,
         .value = &f->self_signed,
         .help = "Make a certificate once, in the data folder, and use it."},
        {.name = "tls-client-ca",
         .type = HD_OPT_STRING,
         .value = &f->client_ca,
         .metavar = "FILE",
         .help = "Clients must show a certificate that these signed."},
        {.name = "cors-origin",
         .type = HD_OPT_STRING,
         .value = &f->cors_origin,
         .metavar = "ORIGIN",
         .help = "Whose pages may ask from a browser: an origin, or * for all.",
         .initial = "none"},
        {.name = "max-body",
         .type = HD_OPT_INT,
         .value = &f->max_body,
         .metavar = "MIB",
         .min = 1,
         .max = 1024,
         .help = "Largest request."},
        {.name = "max-connections",
         .type = HD_OPT_INT,
         .value = &f->connections,
         .metavar = "N",
         .min = 1,
         .max = 1000000,
         .help = "Connections at once."},
        {.name = "max-connections-per-address",
         .type = HD_OPT_INT,
         .value = &f->per_address,
         .metavar = "N",
         .min = 1,
         .max = 1000000,
         .help = "Connections at once from one address."},
        {.name = "drain",
         .type = HD_OPT_FLOAT,
         .value = &f->drain,
         .metavar = "SECONDS",
         .min = 0,
         .max = 86400,
         .help = "How long answers under way may go on after SIGTERM."},
    };
    memcpy(f->door, opts, sizeof opts);
    _Static_assert(sizeof f->door == sizeof opts, "the table has its place");
    return (hd_opt_group){"OPTIONS OF THE DOOR", f->door, HD_ARRAY_LEN(opts)};
}

static hd_opt_group batch_group(hd_serve_flags *f)
{
    const hd_opt opts[] = {
        {.name = "max-tokens",
         .type = HD_OPT_INT,
         .value = &f->max_tokens,
         .metavar = "N",
         .min = 1,
         .max = 1 << 30,
         .help = "Tokens of an answer whose client gives no limit."},
        {.name = "batch",
         .type = HD_OPT_INT,
         .value = &f->batch,
         .metavar = "N",
         .min = 1,
         .max = 4096,
         .help = "Requests evaluated together.",
         .initial = "256, or --chunk if that is less"},
        {.name = "piece",
         .type = HD_OPT_INT,
         .value = &f->piece,
         .metavar = "N",
         .min = 1,
         .max = 65536,
         .help = "Tokens of waiting prompts in one pass: how long a prompt may hold up the others.",
         .initial = "--chunk"},
        {.name = "queue",
         .type = HD_OPT_INT,
         .value = &f->queue,
         .metavar = "N",
         .min = 1,
         .max = 1000000,
         .help = "Requests that may wait; beyond, clients are told to come back."},
        {.name = "cache-tokens",
         .type = HD_OPT_INT,
         .value = &f->cache_tokens,
         .metavar = "N",
         .min = 32,
         .max = 1e12,
         .help = "Tokens that the cache of each model holds, all requests and cached prompts together.",
         .initial = "what three quarters of the memory leave beside the weights"},
        {.name = "prefix-pages",
         .type = HD_OPT_INT,
         .value = &f->prefix_pages,
         .metavar = "N",
         .min = -1,
         .max = 1e12,
         .help = "Pages of 32 tokens of past prompts that are kept for the next ones; -1: none.",
         .initial = "as many as fit into a thirty-second of the memory"},
        {.name = "keep-prefixes",
         .type = HD_OPT_FLAG,
         .value = &f->keep_prefixes,
         .help = "Keep cached prompts over a restart, encrypted, in the data folder."},
        {.name = "warm-up",
         .type = HD_OPT_STRING,
         .value = &f->warm_up,
         .metavar = "FILE",
         .help = "Prompts to evaluate when a model is loaded: a JSON array of {\"prompt\": TEXT} or {\"messages\": "
                 "[...]}, each with \"model\" and \"key\" (names) where it is not for all.",
         .initial = "none"},
        {.name = "lora",
         .type = HD_OPT_LIST,
         .value = &f->loras,
         .metavar = "NAME=ADAPTER[:SCALE]",
         .help = "Serves an adapter (LoRA) on the first model: a PEFT folder or a GGUF adapter.  Requests choose it by "
                 "giving NAME as the model; those of several adapters and of the model itself share a batch."},
        {.name = "allow-lora-loading",
         .type = HD_OPT_STRING,
         .value = &f->lora_folder,
         .metavar = "FOLDER",
         .help = "Lets requests load adapters from this folder and unload them, while others go on: POST "
                 "/v1/load_lora_adapter and /v1/unload_lora_adapter.",
         .initial = "off"},
        {.name = "max-loras",
         .type = HD_OPT_INT,
         .value = &f->max_loras,
         .metavar = "N",
         .min = 1,
         .max = 4096,
         .help = "Adapters that may be loaded at once."},
        {.name = "max-lora-rank",
         .type = HD_OPT_INT,
         .value = &f->max_lora_rank,
         .metavar = "N",
         .min = 1,
         .max = 1024,
         .help = "Largest rank of an adapter."},
        {.name = "stall",
         .type = HD_OPT_FLOAT,
         .value = &f->stall,
         .metavar = "SECONDS",
         .min = 1,
         .max = 86400,
         .help = "/livez fails when work waits and no pass has ended for so long."},
    };
    memcpy(f->batching, opts, sizeof opts);
    _Static_assert(sizeof f->batching == sizeof opts, "the table has its place");
    return (hd_opt_group){"OPTIONS OF THE BATCH", f->batching, HD_ARRAY_LEN(opts)};
}

static void set_defaults(hd_serve_flags *f)
{
    *f = (hd_serve_flags){.precision = "auto",
                          .max_loras = 16,
                          .max_lora_rank = 64,
                          .host = "127.0.0.1",
                          .port = 8080,
                          .max_body = 32,
                          .connections = 4096,
                          .per_address = 512,
                          .drain = 45, /* what Kubernetes leaves of 60 s when 15 go by before the signal */
                          .max_tokens = 4096,
                          .queue = 1024,
                          .cheaper_above = 8,
                          .cheaper_below = 4,
                          .cheaper_hold = 5,
                          .stall = 60};
    hd_serve_supervise_defaults(f);
}

/* ---- what is open while it serves ---- */

typedef struct service {
    const hd_serve_flags *flags;
    hd_systemd systemd;
    hd_data_folder *folder;
    hd_store *store;
    hd_api_keys *keys; /* NULL: --no-auth */
    hd_machine_watch *watch;
    hd_gateway *gateway;
    hd_server *server;
    char *certificate, *key; /* of --tls-self-signed */
    sigset_t signals;
    pthread_t listener; /* of signals */
    _Atomic bool serving, ended;
    hd_worker *worker;     /* NULL: nobody watches */
    uint64_t handed_ns;    /* when another worker took over; 0: none did */
    bool handed_stop;      /* and connections without a request are closed since */
    hd_serve_names names;  /* of models */
    hd_status load_status; /* of the thread that loads while the door is open */
    hd_error load_error;
} service;

static void close_service(service *s)
{
    if (s->gateway) hd_gateway_set_server(s->gateway, NULL);
    hd_server_close(&s->server);
    hd_gateway_close(&s->gateway);
    hd_machine_watch_close(&s->watch); /* the gateway's page asked it */
    hd_api_keys_close(&s->keys);
    hd_store_close(&s->store);
    hd_data_folder_close(&s->folder);
    hd_free(s->certificate);
    hd_free(s->key);
}

/* ---- signals ---- */

static void say(const service *s, const char *text)
{
    hd_error err;
    if (hd_systemd_notify(&s->systemd, &err, "%s", text) != HD_OK) hd_log(HD_LOG_WARN, "systemd: %s", err.text);
}

/* Clients refuse a certificate that has expired; who renews it should learn of it before. */
static void warn_of_expiry(const service *s)
{
    const int64_t day = 86400, early = 14 * day;
    hd_server_usage usage;
    hd_server_get_usage(s->server, &usage);
    int64_t left = usage.certificate_expires - (int64_t)(hd_clock_unix_ms() / 1000);
    if (!usage.certificate_expires || left > early) return;
    const char *file = s->flags->self_signed ? s->certificate : s->flags->certificate;
    const char *remedy =
        s->flags->self_signed ? "remove it and start again, and a new one is made" : "renew it, and send SIGHUP";
    if (left < 0)
        hd_log(HD_LOG_WARN, "%s has expired: %s", file, remedy);
    else
        hd_log(HD_LOG_WARN, "%s expires in %lld days: %s", file, (long long)(left / day), remedy);
}

static void reload(service *s)
{
    hd_error err;
    if (hd_systemd_reloading(&s->systemd, &err) != HD_OK) hd_log(HD_LOG_WARN, "systemd: %s", err.text);
    hd_serve_watch_reopen(&s->flags->watch);
    if (s->flags->certificate || s->flags->self_signed) {
        if (hd_server_reload(s->server, &err) == HD_OK)
            hd_log(HD_LOG_INFO, "the certificates were read again");
        else
            hd_log(HD_LOG_ERROR, "the certificates stay as they were: %s", err.text);
        warn_of_expiry(s);
    }
    say(s, "READY=1");
}

/* For the supervisor: that this thread lives, and the engine. */
static void beat(const service *s)
{
    hd_gateway_pulse pulse = {.requests = 0};
    if (!s->worker) return;
    if (atomic_load(&s->serving)) hd_gateway_take_pulse(s->gateway, &pulse);
    hd_worker_beat_keeper(s->worker, pulse.requests, pulse.working, pulse.steps + hd_pool_loops());
}

/* Another worker accepts now: this one goes on with the connections it has, each until its next reply; those that have
 * asked nothing for a while after that are closed, and the process ends with the last answer. */
static void hand_over(service *s)
{
    const uint64_t idle_ns = UINT64_C(5000000000);
    hd_server_usage usage;
    if (s->handed_stop) return;
    if (!s->handed_ns) {
        hd_log(HD_LOG_INFO, "another worker takes over: answers under way may go on for %.0f s", s->flags->handover);
        s->handed_ns = hd_clock_ns();
        hd_server_leave(s->server);
        return;
    }
    hd_server_get_usage(s->server, &usage);
    if (usage.connections && hd_clock_ns() - s->handed_ns < idle_ns) return;
    s->handed_stop = true;
    hd_server_stop(s->server, (uint64_t)(s->flags->handover * 1000));
}

/* The next signal; meanwhile systemd's watchdog hears from us, as long as the engine makes progress. */
static int next_signal(service *s, siginfo_t *info)
{
    uint64_t us = atomic_load(&s->serving) ? s->systemd.watchdog_us / 2 : 0;
    struct timespec wait = {(time_t)(us / 1000000), (long)(us % 1000000) * 1000};
    if (!us) wait.tv_sec = 1;
    int number = sigtimedwait(&s->signals, info, &wait);
    if (number < 0 && us && hd_gateway_is_alive(s->gateway)) say(s, "WATCHDOG=1");
    beat(s);
    if (s->handed_ns) hand_over(s);
    return number;
}

/* Whoever ends all processes of a service at once asks a worker twice, by itself and through the supervisor: only the
 * supervisor's word counts as the second one. */
static bool is_echo(const service *s, const siginfo_t *info, int endings)
{
    return s->worker && endings > 0 && info->si_pid != hd_worker_supervisor(s->worker);
}

static void *take_signals(void *arg)
{
    service *s = arg;
    int endings = 0;
    siginfo_t info;
    for (;;) {
        int number = next_signal(s, &info);
        if (number < 0) continue;
        if (number == SIGUSR1 && atomic_load(&s->ended)) break;
        if (number == SIGUSR1) continue; /* from outside: it means nothing */
        bool serving = atomic_load(&s->serving);
        if (number == SIGHUP) {
            if (serving) reload(s); /* else all is yet to be read */
            continue;
        }
        if (number == SIGUSR2) {
            if (s->worker && serving && !s->handed_ns) hand_over(s);
            continue;
        }
        if (is_echo(s, &info, endings)) continue;
        if (!serving) _exit(number == SIGTERM ? 0 : 128 + number); /* while loading: there is nothing to finish */
        double grace = endings++ ? 0 : s->flags->drain;
        hd_log(HD_LOG_INFO,
               endings > 1 ? "cutting answers off" : "shutting down: answers under way may go on for %.0f s", grace);
        say(s, "STOPPING=1");
        hd_gateway_drain(s->gateway);
        hd_server_stop(s->server, (uint64_t)(grace * 1000));
    }
    return NULL;
}

/* Before any other thread starts, so that all inherit the mask. */
static hd_status start_signals(service *s, hd_error *err)
{
    sigemptyset(&s->signals);
    sigaddset(&s->signals, SIGTERM);
    sigaddset(&s->signals, SIGINT);
    sigaddset(&s->signals, SIGHUP);
    sigaddset(&s->signals, SIGUSR1);
    sigaddset(&s->signals, SIGUSR2);
    pthread_sigmask(SIG_BLOCK, &s->signals, NULL);
    signal(SIGPIPE, SIG_IGN);
    int rc = pthread_create(&s->listener, NULL, take_signals, s);
    return rc == 0 ? HD_OK : hd_fail(err, HD_E_IO, "cannot start a thread: %s", strerror(rc));
}

static void stop_signals(service *s)
{
    atomic_store(&s->ended, true);
    pthread_kill(s->listener, SIGUSR1);
    pthread_join(s->listener, NULL);
}

/* ---- keys ---- */

static hd_status show_first_key(service *s, hd_error *err)
{
    char text[HD_API_KEY_CHARS + 1];
    int64_t id;
    /* A log that others read; programs of a terminal that systemd started have the variable, too. */
    bool journal = getenv("JOURNAL_STREAM") && !isatty(STDERR_FILENO);
    if (journal || !hd_serve_watch_is_for_people(&s->flags->watch)) {
        hd_log(HD_LOG_WARN, "there is no key yet: make one by `hadal key create --data %s`",
               hd_data_folder_path(s->folder));
        return HD_OK;
    }
    HD_TRY(hd_api_keys_create(s->keys, "first", text, &id, err));
    fprintf(stderr, "hadal: serve: this key opens the service; it is shown this once:\n%s\n", text);
    hd_wipe(text, sizeof text);
    return HD_OK;
}

static hd_status open_folder(service *s, hd_error *err)
{
    char *path = NULL;
    HD_TRY(hd_data_dir(&path, s->flags->data, err));
    unsigned lock = s->worker ? 0 : HD_DATA_LOCK; /* the supervisor holds it for all its workers */
    hd_status status = hd_data_folder_open(&s->folder, path, HD_DATA_CREATE | lock, err);
    hd_free(path);
    return status;
}

static hd_status open_keys(service *s, hd_error *err)
{
    int64_t live = 0;
    if (s->flags->no_auth) return HD_OK;
    HD_TRY(hd_store_open(&s->store, hd_data_folder_path(s->folder), err));
    HD_TRY(hd_api_keys_open(&s->keys, s->folder, s->store, err));
    if (s->flags->key_file) HD_TRY(hd_serve_take_keys(s->keys, s->flags->key_file, err));
    HD_TRY(hd_api_keys_count(s->keys, &live, err));
    return live ? HD_OK : show_first_key(s, err);
}

/* ---- the gateway and its models ---- */

static void show_loading(void *arg, double fraction)
{
    (void)arg;
    hd_progress_show("loading", fraction);
}

/* So many that a burst of users is not split into those who are answered and those who wait for them to end; a pass
 * takes no more tokens than a chunk. */
static int batch_of(const hd_serve_flags *f)
{
    const int64_t usual = 256;
    if (f->batch) return (int)f->batch;
    return (int)(f->engine.chunk ? HD_MIN(usual, f->engine.chunk) : usual);
}

/* What the gateway does not know: figures of process and machine, and those of who watches over us. */
static void write_more_metrics(void *arg, hd_buf *out)
{
    const service *s = arg;
    hd_machine_watch_write(s->watch, out);
    if (s->worker) hd_worker_metrics(s->worker, out);
}

static hd_status open_gateway(service *s, hd_error *err)
{
    const hd_serve_flags *f = s->flags;
    hd_gateway_options o = {
        .keys = s->keys,
        .version = HD_VERSION,
        .cors_origin = f->cors_origin,
        .default_tokens = f->max_tokens,
        .stall_seconds = f->stall,
        .idle_seconds = f->idle,
        .memory = hd_memory_limit(),
        .kept_prefixes = f->keep_prefixes ? s->folder : NULL,
        .warm_up = f->warm_up,
        .spans = hd_serve_watch_spans(&f->watch),
        .tls = f->certificate || f->self_signed,
        .early = s->worker && !hd_worker_is_hot(s->worker),
        .lora_folder = f->lora_folder,
        .max_loras = (int)f->max_loras,
        .more_metrics = write_more_metrics,
        .more_metrics_arg = s,
        .engine = {.cpu = f->engine.cpu,
                   .threads = (int)f->engine.threads,
                   .context = f->engine.context,
                   .chunk = f->engine.chunk,
                   .cache_type = f->engine.cache_type,
                   .experts = (int)f->engine.experts,
                   .expert_share = f->engine.expert_share,
                   .ffn_keep = f->engine.ffn_keep,
                   .ffn_by_product = strcmp(f->engine.ffn_by, "product") == 0,
                   .cache_tokens = f->cache_tokens,
                   .lora_rank = f->loras.count || f->lora_folder ? (int)f->max_lora_rank : 0,
                   .progress = isatty(STDERR_FILENO) ? show_loading : NULL},
        .scheduler = {
            .batch = batch_of(f), .piece = f->piece, .queue = (int)f->queue, .prefix_pages = f->prefix_pages}};
    HD_TRY(hd_gateway_open(&s->gateway, &o, err));
    return hd_serve_add_models(s->gateway, f, s->names, err);
}

static hd_status load_models(service *s, hd_error *err)
{
    hd_status status = hd_serve_load_models(s->gateway, s->flags, s->names, err);
    hd_progress_clear();
    return status;
}

/* ---- the socket ---- */

/* The name under which clients know the server: where it listens on all addresses, this machine's. */
static const char *certificate_host(const char *host, char *own, size_t size)
{
    if (strcmp(host, "0.0.0.0") != 0 && strcmp(host, "::") != 0) return host;
    if (gethostname(own, size) != 0) return NULL;
    own[size - 1] = '\0';
    return own[0] ? own : NULL;
}

static hd_status make_certificate(service *s, hd_error *err)
{
    char own[256];
    const char *folder = hd_data_folder_path(s->folder);
    HD_TRY(hd_serve_tls_files(folder, &s->certificate, &s->key, err));
    if (access(s->certificate, R_OK) == 0 && access(s->key, R_OK) == 0) return HD_OK;
    const int days = 825; /* more is refused by some clients */
    const char *host = certificate_host(s->flags->host, own, sizeof own);
    HD_TRY(hd_tls_make_self_signed(s->certificate, s->key, host, days, err));
    hd_log(HD_LOG_INFO, "%s: made for %s and localhost; it is what clients must trust", s->certificate,
           host ? host : "this machine");
    return HD_OK;
}

static hd_status listen_with(service *s, hd_server **out, int listener, hd_error *err)
{
    const hd_serve_flags *f = s->flags;
    hd_server_tls tls = {f->self_signed ? s->certificate : f->certificate, f->self_signed ? s->key : f->key,
                         f->client_ca};
    hd_server_options o = {.host = f->host,
                           .port = (int)f->port,
                           .listener = listener,
                           .tls = tls.certificate ? &tls : NULL,
                           .limits = {.body = (size_t)f->max_body << 20},
                           .connections = (int)f->connections,
                           .connections_per_address = (int)f->per_address,
                           .handle = hd_gateway_handle,
                           .arg = s->gateway,
                           .tick = s->worker ? hd_worker_beat_server : NULL,
                           .tick_arg = s->worker};
    return hd_server_open(out, &o, err);
}

/* Opens the door once and shuts it again, so that what is wrong with it is told before models are loaded, which may
 * take minutes.  What --no-auth needs is seen at the address itself: a socket of systemd has one that no flag tells,
 * and a name may stand for any. */
static hd_status try_door(service *s, hd_error *err)
{
    hd_server *server = NULL;
    int listener = -1;
    if (s->flags->self_signed) HD_TRY(make_certificate(s, err));
    if (s->systemd.listener >= 0 && (listener = fcntl(s->systemd.listener, F_DUPFD_CLOEXEC, 0)) < 0)
        return hd_fail(err, HD_E_IO, "systemd's socket can't be used: %s", strerror(errno));
    hd_status status = listen_with(s, &server, listener, err);
    bool local = server && hd_server_is_local(server);
    if (status != HD_OK && listener >= 0) close(listener);
    hd_server_close(&server);
    HD_TRY(status);
    if (s->flags->no_auth && !local)
        return hd_fail(err, HD_E_ARGUMENT,
                       "--no-auth lets in whoever reaches %s, and that is not only this machine: it goes with loopback "
                       "addresses only; leave it out, and make keys by `hadal key create`",
                       s->systemd.listener >= 0 && !s->worker ? "systemd's socket" : s->flags->host);
    if (!local && !s->flags->certificate && !s->flags->self_signed)
        hd_log(HD_LOG_WARN, "keys, prompts and answers travel unencrypted between machines: --tls-cert or "
                            "--tls-self-signed encrypts them");
    return HD_OK;
}

static hd_status open_server(service *s, hd_error *err)
{
    HD_TRY(listen_with(s, &s->server, s->systemd.listener, err));
    hd_gateway_set_server(s->gateway, s->server);
    warn_of_expiry(s);
    return HD_OK;
}

/* Each connection is an open file; the usual soft limit of 1,024 is for programs that use select(). */
static void allow_files(void)
{
    struct rlimit limit;
    if (getrlimit(RLIMIT_NOFILE, &limit) != 0) return;
    limit.rlim_cur = limit.rlim_max;
    if (setrlimit(RLIMIT_NOFILE, &limit) != 0)
        hd_log(HD_LOG_WARN, "the limit of open files stays: %s", strerror(errno));
}

/* glibc raises the size from which memory is given back at once to that of the largest block that was freed: after one
 * large request all later ones leave holes.  A fixed size keeps a service that runs for months as small as it was. */
static void keep_memory_small(void)
{
    const int large = 256 << 10;
    if (!mallopt(M_MMAP_THRESHOLD, large) || !mallopt(M_TRIM_THRESHOLD, 4 * large))
        hd_log(HD_LOG_WARN, "the allocator keeps its own limits");
}

/* From now on requests are answered. */
static void announce(service *s)
{
    char url[300];
    hd_server_url(s->server, url, sizeof url);
    atomic_store(&s->serving, true);
    hd_gateway_opened(s->gateway);
    hd_worker_is_ready(s->worker, url);
    if (!s->worker) printf("ready %s\n", url); /* else its supervisor does, once */
    fflush(stdout);
    say(s, "READY=1");
}

static void *load_behind_door(void *arg)
{
    service *s = arg;
    s->load_status = load_models(s, &s->load_error);
    if (s->load_status == HD_OK)
        announce(s);
    else
        hd_server_stop(s->server, 0);
    return NULL;
}

/* A worker that follows one that died has clients at once: they are let in, told by /readyz that models are being
 * loaded, and answered when they are. */
static hd_status serve_early(service *s, hd_error *err)
{
    pthread_t loader;
    HD_TRY(open_server(s, err));
    int rc = pthread_create(&loader, NULL, load_behind_door, s);
    if (rc != 0) return hd_fail(err, HD_E_IO, "cannot start a thread: %s", strerror(rc));
    hd_status status = hd_server_run(s->server, err);
    pthread_join(loader, NULL);
    if (s->load_status == HD_OK) return status;
    *err = s->load_error;
    return s->load_status;
}

static hd_status serve_models(service *s, hd_error *err)
{
    if (s->worker && !hd_worker_is_hot(s->worker)) return serve_early(s, err);
    HD_TRY(load_models(s, err));
    HD_TRY(open_server(s, err));
    announce(s);
    return hd_server_run(s->server, err);
}

static hd_status serve(service *s, hd_error *err)
{
    keep_memory_small();
    allow_files();
    HD_TRY(hd_systemd_open(&s->systemd, getenv, err));
    HD_TRY(open_folder(s, err));
    HD_TRY(try_door(s, err));
    HD_TRY(open_keys(s, err));
    HD_TRY(hd_serve_watch_machine(&s->watch, s->flags, hd_data_folder_path(s->folder), err));
    HD_TRY(open_gateway(s, err));
    return serve_models(s, err);
}

/* As browsers write it: a scheme, a host, perhaps a port; nothing behind them, and all in small letters. */
static bool is_origin(const char *text)
{
    size_t scheme = strspn(text, "abcdefghijklmnopqrstuvwxyz0123456789+-.");
    if (scheme == 0 || strncmp(text + scheme, "://", 3) != 0) return false;
    const char *host = text + scheme + 3;
    return *host && host[strspn(host, "abcdefghijklmnopqrstuvwxyz0123456789-._:[]")] == '\0';
}

static hd_status check_flags(const hd_serve_flags *f, hd_error *err)
{
    if (f->no_auth && strcmp(f->host, "localhost") != 0 && !hd_address_is_loopback(f->host))
        return hd_fail(err, HD_E_ARGUMENT,
                       "--no-auth lets in whoever reaches %s: it goes with 127.0.0.1, ::1 and localhost only; leave it "
                       "out, and make keys by `hadal key create`",
                       f->host);
    if (f->no_auth && f->key_file)
        return hd_fail(err, HD_E_ARGUMENT, "--no-auth asks nobody for a key; --api-key-file gives some: choose");
    if (!f->certificate != !f->key) return hd_fail(err, HD_E_ARGUMENT, "--tls-cert and --tls-key go together");
    if (f->certificate && f->self_signed)
        return hd_fail(err, HD_E_ARGUMENT, "--tls-self-signed makes a certificate; --tls-cert gives one: choose");
    if (f->client_ca && !f->certificate && !f->self_signed)
        return hd_fail(err, HD_E_ARGUMENT, "--tls-client-ca needs TLS: --tls-cert and --tls-key, or --tls-self-signed");
    if (f->cors_origin && strcmp(f->cors_origin, "*") != 0 && !is_origin(f->cors_origin))
        return hd_fail(err, HD_E_ARGUMENT,
                       "--cors-origin must be an origin as browsers write it, such as https://example.org or "
                       "http://localhost:3000 (small letters, no path, no slash at the end), or * for all");
    HD_TRY(hd_serve_check_cheaper(f, err));
    HD_TRY(hd_serve_watch_check(&f->watch, err));
    HD_TRY(hd_serve_supervise_check(f, err));
    if (f->model_count == 0)
        return hd_fail(err, HD_E_ARGUMENT, "which model?  Give a file, a folder or a name; `hadal models` lists names");
    return HD_OK;
}

/* Where a supervisor started us (HD_WORKER_VARIABLE). */
static hd_status join_supervisor(service *s, hd_error *err)
{
    const char *text = getenv(HD_WORKER_VARIABLE);
    hd_status status = text ? hd_worker_join(&s->worker, text, HD_VERSION, err) : HD_OK;
    unsetenv(HD_WORKER_VARIABLE);
    return status;
}

static int serve_words(int argc, char **argv)
{
    static const char *const operands[] = {"MODEL", "MODEL", "MODEL", "MODEL", "MODEL", "MODEL", "MODEL", "MODEL"};
    hd_serve_flags f;
    hd_error err;
    set_defaults(&f);
    hd_opt_group groups[] = {general_group(&f),
                             hd_serve_cheaper_group(&f),
                             door_group(&f),
                             batch_group(&f),
                             hd_serve_supervise_group(&f),
                             hd_engine_flags_group(&f.engine),
                             hd_serve_watch_group(&f.watch)};
    hd_args args = {.manual = &manual,
                    .groups = groups,
                    .group_count = HD_ARRAY_LEN(groups),
                    .max_operands = (int)HD_ARRAY_LEN(operands),
                    .operand_names = operands};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    if ((size_t)args.operand_count + f.model_paths.count > HD_SERVE_MODELS)
        return hd_cli_usage("serve", "more than %d models", HD_SERVE_MODELS);
    for (int i = 0; i < args.operand_count; i++)
        f.models[f.model_count++] = args.operands[i];
    for (size_t i = 0; i < f.model_paths.count; i++)
        f.models[f.model_count++] = f.model_paths.items[i];
    if (check_flags(&f, &err) != HD_OK) return hd_cli_usage("serve", "%s", err.text);
    bool supervisor = f.supervise && !getenv(HD_WORKER_VARIABLE);
    if (supervisor)
        f.watch.log_file = NULL; /* its few lines go to standard error: the file is the worker's to rotate */
    if (hd_serve_watch_open(&f.watch, &err) != HD_OK) return hd_cli_fail("serve", &err);
    if (supervisor) return hd_serve_supervise(&f);
    service s = {.flags = &f, .systemd.listener = -1};
    if (join_supervisor(&s, &err) != HD_OK) return hd_cli_fail("serve", &err);
    if (start_signals(&s, &err) != HD_OK) return hd_cli_fail("serve", &err);
    hd_status status = hd_serve_watch_trace(&f.watch, &err);
    if (status == HD_OK) status = serve(&s, &err);
    hd_worker_is_closing(s.worker);
    stop_signals(&s);
    close_service(&s);
    hd_worker_leave(&s.worker);
    int code = status == HD_OK ? HD_EXIT_OK : hd_serve_watch_fail(&f.watch, &err);
    hd_serve_watch_close(&f.watch);
    return code;
}

int hd_cmd_serve(int argc, char **argv)
{
    hd_serve_words words;
    hd_error err;
    if (hd_serve_words_open(&words, argc, argv, &err) != HD_OK) return hd_cli_usage("serve", "%s", err.text);
    int rc = serve_words(words.argc, words.argv);
    hd_serve_words_close(&words);
    return rc;
}
