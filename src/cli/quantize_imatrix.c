/* cli/quantize_imatrix.c: importance matrices of `hadal quantize`: gathered from a text, read, written. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/engine.h"
#include "cli/files.h"
#include "cli/input.h"
#include "cli/json.h"
#include "cli/quantize.h"
#include "cli/terminal.h"
#include "kernels/kernels.h"
#include "quantize/importance.h"

/* A hundred and more windows of 512: beyond, the means hardly move. */
#define TOKENS_DEFAULT 65536
/* Counts are float32, which hold whole numbers up to here. */
#define TOKENS_MAX (1 << 24)
#define CONTEXT_DEFAULT 512
/* Bytes of text for a token: common ones have 3 to 5.  What lies beyond is not even looked at. */
#define BYTES_A_TOKEN 16
#define SHOWN 4 /* names in a note */

hd_opt_group hd_calibration_group(hd_calibration *i)
{
    memset(i, 0, sizeof *i);
    i->tokens = TOKENS_DEFAULT;
    i->context = CONTEXT_DEFAULT;
    i->cpu = "auto";
    const hd_opt opts[] = {
        {.name = "calibrate",
         .type = HD_OPT_STRING,
         .value = &i->text,
         .metavar = "TEXT",
         .initial = "",
         .help = "Reads this text file with the model first, for the importance of each column; - is standard input."},
        {.name = "calibrate-tokens",
         .type = HD_OPT_INT,
         .value = &i->tokens,
         .metavar = "N",
         .max = TOKENS_MAX,
         .help = "Tokens of the text that are read; 0: all of them."},
        {.name = "context",
         .letter = 'c',
         .type = HD_OPT_INT,
         .value = &i->context,
         .metavar = "N",
         .min = 1,
         .max = TOKENS_MAX,
         .help = "Tokens that are read together; each window starts afresh, and what is left at the end is not read."},
        {.name = "imatrix",
         .type = HD_OPT_STRING,
         .value = &i->from,
         .metavar = "FILE",
         .initial = "",
         .help = "Takes the importance from a file: --imatrix-out's, or llama.cpp's (GGUF or .dat)."},
        {.name = "imatrix-out",
         .type = HD_OPT_STRING,
         .value = &i->to,
         .metavar = "FILE",
         .initial = "",
         .help = "Writes what --calibrate gathered, as GGUF; llama.cpp reads it, too."},
        {.name = "cpu",
         .type = HD_OPT_CHOICE,
         .value = &i->cpu,
         .choices = HD_CPU_CHOICES,
         .help = "Instructions that --calibrate and --report compute with."},
    };
    memcpy(i->opts, opts, sizeof opts);
    return (hd_opt_group){"OPTIONS OF IMPORTANCE", i->opts, HD_ARRAY_LEN(opts)};
}

int hd_calibration_usage(const hd_calibration *i, bool budget, const char *command)
{
    if (i->text && i->from && !budget)
        return hd_cli_usage(command, "--calibrate and --imatrix exclude each other, but with a budget");
    if (i->to && (!i->text || i->from)) return hd_cli_usage(command, "--imatrix-out needs --calibrate");
    if (i->to && !i->to[0]) return hd_cli_usage(command, "--imatrix-out: the name of the file is empty");
    return HD_ARGS_OK;
}

hd_status hd_calibration_check(const hd_calibration *i, hd_error *err)
{
    struct stat st;
    if (!i->to) return HD_OK;
    if (lstat(i->to, &st) == 0)
        return hd_fail(err, HD_E_ARGUMENT,
                       "%s: is there already and is not replaced; --imatrix %s takes it, without --calibrate", i->to,
                       i->to);
    return hd_folder_check(i->to, err);
}

/* ---- gathering ---- */

/* No more of the text than its first tokens need, cut between two characters. */
static size_t text_needed(const hd_calibration *i, const hd_buf *text)
{
    size_t len = text->len;
    if (i->tokens) len = HD_MIN(len, (size_t)i->tokens * BYTES_A_TOKEN);
    while (len > 0 && len < text->len && ((uint8_t)text->data[len] & 0xc0) == 0x80)
        len--;
    return len;
}

hd_status hd_calibration_encode(const hd_calibration *i, const char *model, int32_t **ids, size_t *count,
                                int32_t *first, hd_error *err)
{
    hd_text *text = NULL;
    hd_buf input;
    int32_t *none = NULL;
    size_t nones = 0;
    *first = -1;
    hd_buf_init(&input, HD_INPUT_MAX);
    hd_status status = hd_input_file(i->text, &input, err);
    if (status == HD_OK) status = hd_cli_open_text(&text, model, err);
    if (status == HD_OK) status = hd_text_encode(text, "", 0, false, true, &none, &nones, err);
    if (status == HD_OK && nones) *first = none[0];
    if (status == HD_OK)
        status =
            hd_text_encode(text, input.data ? input.data : "", text_needed(i, &input), false, true, ids, count, err);
    hd_ids_release(none);
    if (status == HD_OK && i->tokens) *count = HD_MIN(*count, (size_t)i->tokens);
    hd_text_close(&text);
    hd_buf_free(&input);
    return status;
}

static void show_loading(void *arg, double fraction)
{
    (void)arg;
    hd_progress_show("loading", fraction);
}

static bool show_gathering(void *arg, int64_t done, int64_t all)
{
    return hd_time_left_show(arg, "calibrating", (uint64_t)done, (uint64_t)all);
}

static hd_status gather_ids(hd_calibration *i, const char *model, int threads, const int32_t *ids, int64_t count,
                            int32_t first, hd_error *err)
{
    hd_time_left left = {0};
    hd_importance_options o = {.threads = threads,
                               .window = i->context,
                               .first = first,
                               .loading = show_loading,
                               .progress = show_gathering,
                               .arg = &left};
    hd_cpu_tier tier = HD_CPU_AUTO;
    char *path = NULL;
    (void)hd_cpu_parse(i->cpu, &tier); /* one of the choices */
    HD_TRY(hd_kernels_cpu(&o.backend, tier, err));
    HD_TRY(hd_model_resolve(model, &path, err));
    uint64_t start = hd_clock_ns();
    hd_interrupt_catch(NULL, NULL);
    hd_status status = hd_importance_gather(&i->matrix, path, ids, count, &o, err);
    hd_interrupt_release();
    hd_progress_clear();
    i->seconds = hd_seconds_since(start);
    hd_free(path);
    return status;
}

static hd_status gather(hd_calibration *i, const char *model, int threads, hd_error *err)
{
    int32_t *ids = NULL, first;
    size_t count = 0;
    hd_status status = hd_calibration_encode(i, model, &ids, &count, &first, err);
    if (status == HD_OK && count > TOKENS_MAX)
        status = hd_fail(err, HD_E_LIMIT, "%s: has more than %d tokens; use --calibrate-tokens", i->text, TOKENS_MAX);
    if (status == HD_OK && (count < 1 || (count == 1 && ids[0] == first)))
        status = hd_fail(err, HD_E_ARGUMENT, "%s: there is nothing to calibrate with: the text is empty", i->text);
    if (status == HD_OK) status = gather_ids(i, model, threads, ids, (int64_t)count, first, err);
    if (status == HD_OK) status = hd_imatrix_add_dataset(i->matrix, hd_path_base(i->text), err);
    if (status == HD_OK && i->to) status = hd_imatrix_write(i->matrix, i->to, err);
    hd_ids_release(ids);
    return status;
}

hd_status hd_calibration_make(hd_calibration *i, const char *model, int threads, hd_error *err)
{
    const char *file = i->from ? i->from : i->to;
    i->file = file ? hd_path_base(file) : NULL; /* folders are nobody else's business */
    if (i->from) return hd_imatrix_read(&i->matrix, i->from, err);
    return i->text ? gather(i, model, threads, err) : HD_OK;
}

/* ---- what is said of it ---- */

void hd_calibration_note(const hd_calibration *i, const hd_source *from, const hd_type *recipe)
{
    size_t missing = 0;
    hd_buf names;
    hd_buf_init(&names, 1 << 12);
    for (size_t t = 0; i->matrix && t < hd_source_count(from); t++) {
        const hd_tensor *tensor = hd_source_tensor(from, t);
        bool asked = hd_quant_weighs(recipe[t]) && recipe[t] != tensor->type;
        if (!asked || hd_importance_optional(tensor->name) || hd_imatrix_find(i->matrix, tensor->name)) continue;
        if (missing++ < SHOWN) (void)hd_buf_printf(&names, "%s%s", names.len ? ", " : "", tensor->name);
    }
    if (missing)
        fprintf(stderr,
                "hadal: quantize: %zu tensors are not in the importance matrix; all their values count alike: %s%s\n",
                missing, names.data ? names.data : "", missing > SHOWN ? ", ..." : "");
    hd_buf_free(&names);
}

json_t *hd_calibration_json(const hd_calibration *i)
{
    const hd_imatrix *m = i->matrix;
    json_t *texts = json_array();
    for (size_t k = 0; k < m->dataset_count; k++)
        json_array_append_new(texts, hd_json_text(m->datasets[k], strlen(m->datasets[k])));
    json_t *o = json_pack("{s:I, s:I, s:I, s:o}", "entries", (json_int_t)m->count, "windows",
                          (json_int_t)m->chunk_count, "window", (json_int_t)m->chunk_size, "texts", texts);
    if (o && i->text) json_object_set_new(o, "seconds", json_real(i->seconds));
    if (o && i->to) json_object_set_new(o, "path", hd_json_text(i->to, strlen(i->to)));
    return o;
}

void hd_calibration_print(const hd_calibration *i)
{
    const hd_imatrix *m = i->matrix;
    printf("importance %zu tensors", m->count);
    if (m->chunk_count) printf(", %u windows", m->chunk_count);
    if (m->chunk_size) printf(" of %u tokens", m->chunk_size);
    if (i->text) printf(", %.1f s", i->seconds);
    fputs("\n", stdout);
}

void hd_calibration_free(hd_calibration *i)
{
    hd_imatrix_close(&i->matrix);
}
