/* cli/bench_load.c: `hadal bench load`: how long from nothing to the first token, and where that time goes.
 *
 * The page cache is asked to drop the model's files, and looked at before a figure is called cold: the system keeps
 * what other programs have mapped, and memory file systems keep everything.
 */
#include <dirent.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/mman.h>
#include <sys/stat.h>
#include <unistd.h>

#include "cli/bench.h"
#include "cli/cli.h"
#include "engine/compare.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/models_dir.h"

#define READ_BYTES ((size_t)4 << 20) /* of one read when the file is read alone */
#define COLD_SHARE 0.05              /* more than this in the page cache is not cold */

static const hd_manual manual = {
    .command = "bench",
    .synopsis = "bench load MODEL [--reps N] [--json] [OPTIONS]",
    .description =
        "Measures the time from opening a model to its first token: files are mapped, weights are brought into the "
        "layout that the kernels read (repack), and one token is evaluated.  Warm is with the files in the page "
        "cache; cold is after the cache was asked to drop them, which needs no rights but does not work for files "
        "that other programs have mapped or that lie in memory; the report then says so and gives no cold figures.\n\n"
        "Figures are medians over --reps repetitions.  bytes per second are those of the model's files over the whole "
        "time.  Waiting for the disk is what a cold start takes longer than a warm one; 'files read alone' is the "
        "time to read them once from the disk and do nothing else, which no start can beat that reads everything.\n\n"
        "Files are only read; but dropping them from the page cache slows down whoever reads them next.",
    .examples = "hadal bench load model.gguf\nhadal bench load model.gguf --reps 5 --threads 8 --json",
    .environment = HD_ENVIRONMENT_MODELS,
};

typedef struct start {
    double total, repack, first; /* seconds */
} start;

typedef struct load_bench {
    const char *model;
    char *path; /* resolved */
    int64_t reps;
    bool json;
    hd_engine_flags flags;
    hd_profile *profile;
    hd_engine_info info; /* its strings are dead; the numbers count */
    char tier[16], architecture[32];
    start warm, cold;
    bool has_cold;
    double read_alone;
    uint64_t file_bytes;
    double cached; /* share in the page cache after the drop */
} load_bench;

/* ---- the files of a model ---- */

typedef hd_status (*file_fn)(load_bench *b, const char *path, size_t size, hd_error *err);

/* Of those, what is mapped when a model is opened; the rest of a folder is none of our business. */
static bool holds_tensors(const char *name)
{
    return hd_name_has_suffix(name, ".safetensors") || hd_name_has_suffix(name, ".gguf") ||
           hd_name_has_suffix(name, ".ckpt");
}

static hd_status each_in_folder(load_bench *b, const char *folder, const char *stem, file_fn fn, hd_error *err)
{
    DIR *dir = opendir(folder);
    if (!dir) return hd_fail(err, HD_E_IO, "%s: the folder cannot be read", folder);
    size_t stem_len = strlen(stem);
    hd_status status = HD_OK;
    for (const struct dirent *e; status == HD_OK && (e = readdir(dir));) {
        struct stat st;
        char *path = NULL;
        if (strncmp(e->d_name, stem, stem_len) != 0 || !holds_tensors(e->d_name)) continue;
        status = hd_path_join(&path, folder, e->d_name, err);
        if (status == HD_OK && stat(path, &st) == 0 && S_ISREG(st.st_mode) && st.st_size > 0)
            status = fn(b, path, (size_t)st.st_size, err);
        hd_free(path);
    }
    closedir(dir);
    return status;
}

static hd_status each_file(load_bench *b, file_fn fn, hd_error *err)
{
    struct stat st;
    if (stat(b->path, &st) != 0) return hd_fail(err, HD_E_IO, "%s cannot be read", b->path);
    if (S_ISDIR(st.st_mode)) return each_in_folder(b, b->path, "", fn, err);
    const char *base = hd_path_base(b->path);
    int part = 1, parts = 1;
    size_t stem = hd_gguf_split_name(base, &part, &parts);
    if (parts == 1) return fn(b, b->path, (size_t)st.st_size, err);
    char *folder = base > b->path ? hd_strndup(b->path, (size_t)(base - b->path)) : hd_strdup(".");
    char *prefix = hd_strndup(base, stem + 1); /* and the "-" before the number */
    hd_status status = folder && prefix ? each_in_folder(b, folder, prefix, fn, err)
                                        : hd_fail(err, HD_E_MEMORY, "out of memory for names of files");
    hd_free(folder);
    hd_free(prefix);
    return status;
}

static hd_status count_bytes(load_bench *b, const char *path, size_t size, hd_error *err)
{
    (void)path, (void)err;
    b->file_bytes += size;
    return HD_OK;
}

/* Bytes of a mapping that lie in the page cache. */
static size_t resident_bytes(void *data, size_t size)
{
    enum { PIECE = 65536 }; /* pages asked for at once */
    static unsigned char pages[PIECE];
    size_t page = (size_t)sysconf(_SC_PAGESIZE), found = 0;
    for (size_t at = 0; at < size; at += PIECE * page) {
        size_t n = HD_MIN(size - at, PIECE * page);
        if (mincore((uint8_t *)data + at, n, pages) != 0) return size;
        for (size_t i = 0; i < (n + page - 1) / page; i++)
            found += pages[i] & 1 ? page : 0;
    }
    return found;
}

/* Asks for the drop, and adds what stayed nevertheless to b->cached (in bytes as yet). */
static hd_status drop_file(load_bench *b, const char *path, size_t size, hd_error *err)
{
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    if (fd < 0) return hd_fail(err, HD_E_IO, "%s cannot be read", path);
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_DONTNEED);
    void *data = mmap(NULL, size, PROT_READ, MAP_SHARED, fd, 0);
    close(fd);
    if (data == MAP_FAILED) return hd_fail(err, HD_E_IO, "%s cannot be mapped", path);
    b->cached += (double)resident_bytes(data, size);
    (void)munmap(data, size);
    return HD_OK;
}

static hd_status drop_files(load_bench *b, hd_error *err)
{
    b->cached = 0;
    HD_TRY(each_file(b, drop_file, err));
    b->cached = b->file_bytes ? HD_MIN(b->cached / (double)b->file_bytes, 1.0) : 0;
    return HD_OK;
}

static hd_status read_file(load_bench *b, const char *path, size_t size, hd_error *err)
{
    (void)b, (void)size;
    int fd = open(path, O_RDONLY | O_CLOEXEC);
    uint8_t *block = hd_alloc(READ_BYTES);
    ssize_t n = block && fd >= 0 ? 1 : -1;
    (void)posix_fadvise(fd, 0, 0, POSIX_FADV_SEQUENTIAL);
    while (n > 0)
        n = read(fd, block, READ_BYTES);
    hd_free(block);
    if (fd >= 0) close(fd);
    return n == 0 ? HD_OK : hd_fail(err, HD_E_IO, "%s cannot be read", path);
}

/* ---- one start ---- */

static double repack_seconds(const hd_profile *profile)
{
    size_t count;
    double seconds = 0;
    const hd_profile_row *rows = hd_profile_rows(profile, &count);
    for (size_t i = 0; i < count; i++)
        if (strcmp(rows[i].op, "repack") == 0) seconds += rows[i].seconds;
    return seconds;
}

static hd_status first_token(hd_engine *engine, hd_error *err)
{
    static const int32_t id = 0;
    hd_session *session = NULL;
    HD_TRY(hd_session_open(&session, engine, err));
    hd_status status = hd_session_feed(session, &id, 1, err);
    hd_session_close(&session);
    return status;
}

static hd_status time_start(load_bench *b, start *out, hd_error *err)
{
    hd_engine *engine = NULL;
    double load;
    hd_profile_reset(b->profile);
    HD_TRY(hd_cli_load(&engine, b->model, &b->flags, NULL, &load, err));
    uint64_t before = hd_clock_ns();
    hd_status status = first_token(engine, err);
    out->first = hd_seconds_since(before);
    out->repack = repack_seconds(b->profile);
    out->total = load + out->first;
    hd_engine_get_info(engine, &b->info);
    snprintf(b->tier, sizeof b->tier, "%s", b->info.cpu);
    snprintf(b->architecture, sizeof b->architecture, "%s", b->info.architecture);
    hd_engine_close(&engine);
    return status;
}

/* The medians of each phase over the repetitions. */
static hd_status time_starts(load_bench *b, bool cold, start *out, hd_error *err)
{
    double total[HD_MACHINE_REPS_MAX], repack[HD_MACHINE_REPS_MAX], first[HD_MACHINE_REPS_MAX];
    for (int64_t i = 0; i < b->reps; i++) {
        start s;
        if (cold) HD_TRY(drop_files(b, err));
        if (cold && b->cached > COLD_SHARE) return HD_OK; /* b->has_cold stays false */
        HD_TRY(time_start(b, &s, err));
        total[i] = s.total;
        repack[i] = s.repack;
        first[i] = s.first;
    }
    *out = (start){.total = hd_compare_median(total, (size_t)b->reps),
                   .repack = hd_compare_median(repack, (size_t)b->reps),
                   .first = hd_compare_median(first, (size_t)b->reps)};
    b->has_cold = cold;
    return HD_OK;
}

/* Cold ones first: the read alone behind them leaves the cache warm. */
static hd_status measure(load_bench *b, hd_error *err)
{
    HD_TRY(each_file(b, count_bytes, err));
    HD_TRY(time_starts(b, true, &b->cold, err));
    if (b->has_cold) HD_TRY(drop_files(b, err));
    bool alone = b->has_cold && b->cached <= COLD_SHARE, was_cold = b->has_cold;
    double cached = b->cached;
    uint64_t before = hd_clock_ns();
    HD_TRY(each_file(b, read_file, err));
    if (alone) b->read_alone = hd_seconds_since(before);
    HD_TRY(time_starts(b, false, &b->warm, err));
    b->has_cold = was_cold;
    b->cached = cached;
    return HD_OK;
}

/* ---- reports ---- */

static double disk_seconds(const load_bench *b)
{
    return HD_MAX(b->cold.total - b->warm.total, 0.0);
}

static double rest_of(const start *s)
{
    return HD_MAX(s->total - s->repack - s->first, 0.0);
}

static json_t *start_json(const load_bench *b, const start *s)
{
    return json_pack("{s:f, s:f, s:f, s:f, s:f}", "seconds", s->total, "repack_seconds", s->repack,
                     "first_token_seconds", s->first, "rest_seconds", rest_of(s), "bytes_per_second",
                     hd_rate((int64_t)b->file_bytes, s->total));
}

static hd_status print_json(const load_bench *b, hd_error *err)
{
    json_t *o = json_object(), *cold = b->has_cold ? start_json(b, &b->cold) : json_null();
    json_object_set_new(o, "model", hd_json_text(b->model, strlen(b->model)));
    json_object_set_new(o, "architecture", json_string(b->architecture));
    json_object_set_new(o, "cpu", json_string(b->tier));
    json_object_set_new(o, "machine", hd_json_text(hd_cpu_model(), strlen(hd_cpu_model())));
    json_object_set_new(o, "threads", json_integer(b->info.threads));
    json_object_set_new(o, "repetitions", json_integer(b->reps));
    json_object_set_new(o, "file_bytes", json_integer((json_int_t)b->file_bytes));
    json_object_set_new(o, "packed_bytes", json_integer((json_int_t)b->info.packed_bytes));
    json_object_set_new(o, "warm", start_json(b, &b->warm));
    if (b->has_cold) json_object_set_new(cold, "disk_wait_seconds", json_real(disk_seconds(b)));
    json_object_set_new(o, "cold", cold);
    json_object_set_new(o, "cached_share_after_drop", json_real(b->cached));
    json_object_set_new(o, "read_alone_seconds", b->read_alone > 0 ? json_real(b->read_alone) : json_null());
    json_object_set_new(o, "peak_memory_bytes", json_integer((json_int_t)hd_bench_memory_peak()));
    return hd_json_print(stdout, o, false, err);
}

static void print_phase(const char *name, double seconds, double total)
{
    printf("  %-22s %10.3f s  %5.1f %%\n", name, seconds, total > 0 ? seconds / total * 100 : 0);
}

static void print_start(const load_bench *b, const char *name, const start *s, double disk)
{
    printf("%-24s %10.3f s  %.2f GB/s\n", name, s->total, hd_rate((int64_t)b->file_bytes, s->total) / 1e9);
    const start *work =
        disk > 0 ? &b->warm : s; /* cold, the wait for the disk lies within the phases of a warm start */
    if (disk > 0) print_phase("waiting for the disk", disk, s->total);
    print_phase("repack", work->repack, s->total);
    print_phase("first token", work->first, s->total);
    print_phase("rest", rest_of(work), s->total);
}

static void print_table(const load_bench *b)
{
    printf("model    %s: %s, %.1f MiB in files, %.1f MiB repacked\n", b->model, b->architecture,
           (double)b->file_bytes / (1 << 20), (double)b->info.packed_bytes / (1 << 20));
    printf("machine  %s, %d threads, %s\n", hd_cpu_model(), b->info.threads, b->tier);
    print_start(b, "warm start", &b->warm, 0);
    if (b->has_cold)
        print_start(b, "cold start", &b->cold, disk_seconds(b));
    else
        printf("%-24s not measured: %.0f %% of the files stay in the page cache when asked to leave it\n", "cold start",
               b->cached * 100);
    if (b->read_alone > 0)
        printf("%-24s %10.3f s  %.2f GB/s\n", "files read alone", b->read_alone,
               hd_rate((int64_t)b->file_bytes, b->read_alone) / 1e9);
    printf("%-24s %10.1f MiB\n", "peak memory", (double)hd_bench_memory_peak() / (1 << 20));
}

static hd_status run_all(load_bench *b, hd_error *err)
{
    HD_TRY(hd_model_resolve(b->model, &b->path, err));
    HD_TRY(hd_profile_open(&b->profile, err));
    b->flags.profile = b->profile;
    HD_TRY(measure(b, err));
    if (b->json) return print_json(b, err);
    print_table(b);
    return HD_OK;
}

int hd_bench_load_command(int argc, char **argv)
{
    load_bench b = {.reps = 3};
    hd_opt opts[] = {
        {.name = "reps",
         .letter = 'r',
         .type = HD_OPT_INT,
         .value = &b.reps,
         .metavar = "N",
         .min = 1,
         .max = HD_MACHINE_REPS_MAX,
         .help = "Repetitions of each start."},
        {.name = "json", .type = HD_OPT_FLAG, .value = &b.json, .help = "Prints one JSON object."},
    };
    hd_opt_group groups[] = {{"OPTIONS", opts, HD_ARRAY_LEN(opts)}, hd_engine_flags_group(&b.flags)};
    hd_args args = {.manual = &manual,
                    .groups = groups,
                    .group_count = HD_ARRAY_LEN(groups),
                    .min_operands = 2,
                    .max_operands = 2,
                    .operand_names = (const char *const[]){"load", "MODEL"}};
    int rc = hd_args_parse(&args, argc, argv);
    if (rc != HD_ARGS_OK) return rc;
    b.model = args.operands[1];
    hd_error err = {0};
    hd_status status = run_all(&b, &err);
    hd_profile_close(&b.profile);
    hd_free(b.path);
    return status == HD_OK ? HD_EXIT_OK : hd_cli_fail(argv[0], &err);
}
