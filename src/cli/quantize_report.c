/* cli/quantize_report.c: reports of `hadal quantize`: what became of a model, as JSON and in its own metadata.
 *
 * The metadata come before the tensors, so a text of a fixed length is kept free there and filled in when the figures
 * are known; a model without a report, or with one still to be made, is whole.
 */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "cli/cli.h"
#include "cli/files.h"
#include "cli/json.h"
#include "cli/output.h"
#include "cli/quantize.h"
#include "cli/quantize_report.h"
#include "cli/terminal.h"
#include "quantize/errors.h"

/* Perplexities of a text of 8,192 tokens are good to some percent, their ratio to far less; a minute with a small
 * model, ten with a very large one. */
#define TOKENS_DEFAULT 8192
#define TOKENS_MAX (1 << 24)
#define NAME_BYTES 200 /* of a text's or a recipe's name in the report */
#define WORST 10       /* tensors that the text form lists */

hd_opt_group hd_report_group(hd_report_flags *r)
{
    memset(r, 0, sizeof *r);
    r->tokens = TOKENS_DEFAULT;
    const hd_opt opts[] = {
        {.name = "report",
         .type = HD_OPT_STRING,
         .value = &r->path,
         .metavar = "FILE",
         .initial = "",
         .help =
             "Writes a report as JSON: perplexity, divergence from IN, errors of tensors, size, speed here.  For an "
             "OUT.gguf that is there already it is all that is done."},
        {.name = "report-text",
         .type = HD_OPT_STRING,
         .value = &r->text,
         .metavar = "TEXT",
         .initial = "that of --calibrate, if any",
         .help = "The text for perplexity and divergence; best one that nothing was calibrated with."},
        {.name = "report-tokens",
         .type = HD_OPT_INT,
         .value = &r->tokens,
         .metavar = "N",
         .max = TOKENS_MAX,
         .help = "Tokens of it that are read, from its beginning; 0: all of them."},
        {.name = "report-window",
         .type = HD_OPT_INT,
         .value = &r->window,
         .metavar = "N",
         .min = 2,
         .max = TOKENS_MAX,
         .initial = "the model's context",
         .help = "Tokens that are read together; each window starts afresh, as with 'hadal eval --context N'."},
    };
    memcpy(r->opts, opts, sizeof opts);
    return (hd_opt_group){"OPTIONS OF REPORTS", r->opts, HD_ARRAY_LEN(opts)};
}

void hd_report_free(hd_report_flags *r)
{
    json_decref(r->made);
}

int hd_report_usage(const hd_report_flags *r, const char *out, const char *const *others, size_t other_count,
                    bool dry_run, const char *command)
{
    if (!r->path && (r->text || r->window))
        return hd_cli_usage(command, "--report-text and --report-window need --report");
    if (!r->path) return HD_ARGS_OK;
    if (!r->path[0]) return hd_cli_usage(command, "--report: the name of the file is empty");
    if (!out) return hd_cli_usage(command, "--report is of a model: OUT.gguf is needed");
    if (dry_run) return hd_cli_usage(command, "--report and --dry-run exclude each other: there is nothing to measure");
    if (hd_output_same(r->path, out)) return hd_cli_usage(command, "--report and OUT.gguf need two files");
    for (size_t i = 0; i < other_count; i++)
        if (others[i] && hd_output_same(r->path, others[i]))
            return hd_cli_usage(command, "--report, --imatrix-out and --save-recipe need files of their own");
    if (r->text && strcmp(r->text, "-") == 0)
        return hd_cli_usage(command, "--report-text -: is read hours later; put it in a file");
    return HD_ARGS_OK;
}

hd_status hd_report_check(const hd_report_flags *r, hd_error *err)
{
    hd_mapping *text = NULL;
    if (!r->path) return HD_OK;
    HD_TRY(hd_path_check_free(r->path, err));
    HD_TRY(hd_folder_check(r->path, err));
    if (!r->text) return HD_OK;
    HD_TRY(hd_mapping_open(&text, r->text, err));
    bool empty = hd_mapping_size(text) == 0;
    hd_mapping_close(&text);
    return empty ? hd_fail(err, HD_E_ARGUMENT, "%s: there is nothing to report with: the text is empty", r->text)
                 : HD_OK;
}

/* ---- models that are there already ---- */

bool hd_report_alone(const hd_report_flags *r, const hd_rewrite *w)
{
    struct stat st;
    return r->path && w->out && stat(w->out, &st) == 0;
}

static hd_status check_types(const hd_rewrite *w, const hd_quant_mix *mix, const hd_type *wanted, hd_error *err)
{
    for (size_t i = 0; i < hd_source_count(w->source); i++)
        if (w->types[i] != wanted[i])
            return hd_fail(
                err, HD_E_ARGUMENT,
                "%s: is there already, and not what --type %s makes of this model: '%s' has type %s; without "
                "--type the report is of it as it is",
                w->out, mix->name, hd_source_tensor(w->source, i)->name, hd_type_name(w->types[i]));
    return HD_OK;
}

static hd_status compare_types(const hd_rewrite *w, const hd_quant_mix *mix, bool weighted, hd_error *err)
{
    size_t count = hd_source_count(w->source);
    hd_type *wanted = hd_alloc_array(HD_MAX(count, 1), sizeof *wanted);
    if (!wanted) return hd_fail(err, HD_E_MEMORY, "no memory for the list of tensors");
    hd_quant_types(wanted, hd_source_tensors(w->source), count, mix, weighted);
    hd_status status = check_types(w, mix, wanted, err);
    hd_free(wanted);
    return status;
}

hd_status hd_report_adopt(hd_rewrite *w, const hd_quant_mix *mix, bool weighted, hd_error *err)
{
    hd_checkpoint *c = NULL;
    HD_TRY(hd_checkpoint_open(&c, w->out, err));
    for (size_t i = 0; i < hd_source_count(w->source); i++) {
        const hd_tensor *t = hd_checkpoint_find(c, hd_source_tensor(w->source, i)->name);
        if (t) w->types[i] = t->type;
    }
    hd_checkpoint_close(&c);
    return mix ? compare_types(w, mix, weighted, err) : HD_OK;
}

/* ---- names ---- */

/* For JSON: without folders, which are nobody else's business, and no more than goes into the metadata in any case. */
static json_t *short_name(const char *path)
{
    const char *name = hd_path_base(path);
    size_t len = strlen(name);
    if (len > NAME_BYTES) len = NAME_BYTES;
    while (len && len < strlen(name) && ((uint8_t)name[len] & 0xc0) == 0x80)
        len--;
    return hd_json_text(name, len);
}

/* What the metadata say of the recipe: an earlier report's, or the mix of the number in general.file_type. */
static json_t *recipe_of(const hd_checkpoint *c)
{
    const hd_meta *m = hd_checkpoint_meta(c, HD_QUANT_REPORT_KEY);
    json_t *report = NULL, *name = NULL;
    uint64_t id;
    size_t count;
    if (m && m->type == HD_META_STRING && hd_json_parse(&report, m->string.data, m->string.len, NULL) == HD_OK)
        name = json_incref(json_object_get(report, "recipe"));
    json_decref(report);
    if (json_is_string(name)) return name;
    json_decref(name);
    const hd_quant_mix *mixes = hd_quant_mixes(&count);
    m = hd_checkpoint_meta(c, "general.file_type");
    for (size_t i = 0; m && hd_meta_u64(m, 0, &id) && i < count; i++)
        if (mixes[i].gguf_id == id) return json_string(mixes[i].name);
    return json_string("unknown");
}

void hd_report_reserve(hd_report_flags *r, hd_rewrite *w, const char *recipe)
{
    hd_buf text;
    if (!r->path) return;
    json_t *o = json_pack("{s:o, s:s}", "recipe", short_name(recipe), "state", "not measured yet");
    bool made = hd_json_dump(o, &text, NULL) == HD_OK && text.len <= HD_QUANT_REPORT_BYTES;
    memset(r->reserved, ' ', HD_QUANT_REPORT_BYTES);
    if (made) memcpy(r->reserved, text.data, text.len);
    hd_buf_free(&text);
    json_decref(o);
    w->report = r->reserved;
}

/* ---- tensors ---- */

typedef struct making {
    hd_report_flags *r;
    const hd_rewrite *w;
    const hd_calibration *calibration;
    const char *recipe; /* NULL: as OUT says */
    char *out;          /* its first file */
    uint64_t bytes, bytes_before;
    bool room;       /* in the metadata */
    bool calibrated; /* they name the text as the one of the importance matrix */
    hd_time_left left;
} making;

static bool show(void *arg, uint64_t done, uint64_t all)
{
    making *m = arg;
    return hd_time_left_show(&m->left, "measuring errors", done, all);
}

static json_t *tensor_json(const hd_tensor *before, const hd_tensor_error *e)
{
    json_t *o = json_pack("{s:o, s:s, s:s, s:I, s:I, s:o}", "name", hd_json_text(before->name, strlen(before->name)),
                          "type", hd_type_name(e->written->type), "type_before", hd_type_name(before->type), "bytes",
                          (json_int_t)e->written->bytes, "values", (json_int_t)hd_tensor_values(before), "error",
                          hd_json_real(hd_relative_error(e->squared, e->all)));
    if (o && e->weighted)
        json_object_set_new(o, "weighted_error", hd_json_real(hd_relative_error(e->weighted_squared, e->weighted_all)));
    return o;
}

static void add_tensors(making *m, const hd_tensor_error *errors)
{
    json_t *list = json_array();
    double squared = 0, all = 0;
    size_t missing = 0;
    for (size_t i = 0; i < hd_source_count(m->w->source); i++) {
        squared += errors[i].squared;
        all += errors[i].all;
        if (errors[i].written)
            json_array_append_new(list, tensor_json(hd_source_tensor(m->w->source, i), &errors[i]));
        else
            missing++;
    }
    json_object_set_new(m->r->made, "error", hd_json_real(hd_relative_error(squared, all)));
    json_object_set_new(m->r->made, "tensors_of_other_shapes", json_integer((json_int_t)missing));
    json_object_set_new(m->r->made, "tensors", list);
}

static hd_status measure_errors(making *m, const hd_checkpoint *written, hd_error *err)
{
    hd_error_options o = {.imatrix = m->w->imatrix, .progress = show, .arg = m};
    hd_tensor_error *errors = hd_alloc_array(HD_MAX(hd_source_count(m->w->source), 1), sizeof *errors);
    hd_status status = errors ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for the report");
    if (status == HD_OK) status = hd_pool_open(&o.pool, (int)m->w->threads, err);
    hd_interrupt_catch(NULL, NULL);
    if (status == HD_OK) status = hd_quant_errors(errors, m->w->source, written, &o, err);
    hd_interrupt_release();
    hd_progress_clear();
    if (status == HD_OK) add_tensors(m, errors);
    hd_pool_close(&o.pool);
    hd_free(errors);
    return status;
}

static void add_sizes(making *m, const hd_checkpoint *written)
{
    json_t *o = m->r->made;
    uint64_t values = 0, values_before = 0;
    for (size_t i = 0; i < hd_checkpoint_tensor_count(written); i++) {
        const hd_tensor *t = hd_checkpoint_tensor(written, i);
        m->bytes += t->bytes;
        values += (uint64_t)hd_tensor_values(t);
    }
    for (size_t i = 0; i < hd_checkpoint_tensor_count(m->w->ckpt); i++) { /* the source may be pruned */
        const hd_tensor *t = hd_checkpoint_tensor(m->w->ckpt, i);
        m->bytes_before += t->bytes;
        values_before += (uint64_t)hd_tensor_values(t);
    }
    json_object_set_new(o, "bytes", json_integer((json_int_t)m->bytes));
    json_object_set_new(o, "bpw", hd_json_real(8 * (double)m->bytes / (double)values));
    json_object_set_new(o, "bytes_before", json_integer((json_int_t)m->bytes_before));
    json_object_set_new(o, "bpw_before", hd_json_real(8 * (double)m->bytes_before / (double)values_before));
}

/* The text for the figures; NULL: none. */
static const char *text_of(const making *m)
{
    return m->r->text ? m->r->text : m->calibration->text;
}

/* Whether OUT's metadata name the text as the importance matrix's. */
static bool names_text(const making *m, const hd_checkpoint *written)
{
    const hd_meta *meta = hd_checkpoint_meta(written, "quantize.imatrix.dataset");
    const char *text = text_of(m), *base = text ? hd_path_base(text) : "";
    return meta && meta->type == HD_META_STRING && *base && meta->string.len == strlen(base) &&
           memcmp(meta->string.data, base, meta->string.len) == 0;
}

/* All that is told by the two files alone; OUT is closed again, since it is written to at the end. */
static hd_status look_at_files(making *m, hd_error *err)
{
    hd_checkpoint *written = NULL;
    HD_TRY(hd_checkpoint_open(&written, m->out, err));
    const hd_meta *meta = hd_checkpoint_meta(written, HD_QUANT_REPORT_KEY);
    m->room = meta && meta->type == HD_META_STRING;
    m->calibrated = names_text(m, written);
    json_object_set_new(m->r->made, "recipe", m->recipe ? short_name(m->recipe) : recipe_of(written));
    add_sizes(m, written);
    hd_status status = measure_errors(m, written, err);
    hd_checkpoint_close(&written);
    return status;
}

/* ---- figures ---- */

/* Whether that text is one that the model was calibrated with, as far as can be told: the file of this command, or one
 * of the names that the importance matrix, or OUT, gives. */
static bool calibrated_with(const making *m, const char *text)
{
    const hd_imatrix *matrix = m->w->imatrix;
    if (m->calibrated || (m->calibration->text && hd_output_same(m->calibration->text, text))) return true;
    for (size_t i = 0; matrix && i < matrix->dataset_count; i++)
        if (strcmp(hd_path_base(matrix->datasets[i]), hd_path_base(text)) == 0) return true;
    return false;
}

static hd_status add_figures(making *m, hd_error *err)
{
    hd_figures_wish wish = {.out = m->out,
                            .in = m->w->in,
                            .out_bytes = m->bytes,
                            .in_bytes = m->bytes_before,
                            .text = text_of(m),
                            .no_text = "there is no text; --report-text gives one",
                            .tokens = m->r->tokens,
                            .window = m->r->window,
                            .cpu = m->calibration->cpu,
                            .threads = m->w->threads};
    if (wish.text && strcmp(wish.text, "-") == 0) {
        wish.text = NULL;
        wish.no_text = "the text of --calibrate is read and gone; --report-text gives one";
    }
    if (wish.text) {
        json_object_set_new(m->r->made, "text", short_name(wish.text));
        json_object_set_new(m->r->made, "text_of_calibration", json_boolean(calibrated_with(m, wish.text)));
    }
    return hd_figures_add(m->r->made, &wish, err);
}

/* ---- where it goes ---- */

/* All but the list of tensors, as one line; without the reasons where these are too long. */
static hd_status make_summary(const json_t *report, hd_buf *text, hd_error *err)
{
    json_t *o = json_copy((json_t *)report);
    (void)json_object_del(o, "tensors");
    hd_status status = hd_json_dump(o, text, err);
    if (status == HD_OK && text->len > HD_QUANT_REPORT_BYTES) {
        (void)json_object_del(o, "left_out");
        hd_buf_free(text);
        status = hd_json_dump(o, text, err);
    }
    json_decref(o);
    return status;
}

/* A report that can't be kept in the model is no less a report. */
static hd_status fill_metadata(making *m, hd_error *err)
{
    hd_buf text;
    hd_error why = {0};
    hd_status status = make_summary(m->r->made, &text, err);
    if (status == HD_OK && m->room) {
        bool filled = hd_gguf_fill_text(m->out, HD_QUANT_REPORT_KEY, text.data, text.len, &why) == HD_OK;
        if (!filled) fprintf(stderr, "hadal: quantize: the report is not in the metadata: %s\n", why.text);
        m->room = filled;
    }
    json_object_set_new(m->r->made, "in_metadata", json_boolean(m->room));
    hd_buf_free(&text);
    return status;
}

static hd_status make_all(making *m, hd_error *err)
{
    m->r->made = json_object();
    if (!m->r->made) return hd_fail(err, HD_E_MEMORY, "no memory for the report");
    HD_TRY(look_at_files(m, err));
    HD_TRY(add_figures(m, err));
    json_t *tensors = json_incref(json_object_get(m->r->made, "tensors")); /* last, where they don't bury the rest */
    (void)json_object_del(m->r->made, "tensors");
    json_object_set_new(m->r->made, "tensors", tensors);
    HD_TRY(fill_metadata(m, err));
    /* asked again: hours lie between */
    HD_TRY(hd_path_check_free(m->r->path, err));
    return hd_file_write_json(m->r->path, json_incref(m->r->made), err);
}

static hd_status find_out(making *m, hd_error *err)
{
    const hd_rewrite *w = m->w;
    const hd_quant_options o = {.split = w->split};
    if (!hd_report_alone(m->r, w)) return hd_quant_files(NULL, &m->out, w->source, w->types, w->out, &o, err);
    m->out = hd_strdup(w->out);
    return m->out ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for a path");
}

hd_status hd_report_make(hd_report_flags *r, const hd_rewrite *w, const hd_calibration *calibration, const char *recipe,
                         hd_error *err)
{
    making m = {.r = r, .w = w, .calibration = calibration, .recipe = recipe};
    if (!r->path) return HD_OK;
    hd_status status = find_out(&m, err);
    if (status == HD_OK) status = make_all(&m, err);
    hd_free(m.out);
    if (status == HD_OK) return HD_OK;
    return hd_fail_in(err, status, "%s is whole, only its report is missing; the same command makes it", w->out);
}

void hd_report_print(const hd_report_flags *r)
{
    if (!r->made) return;
    fputs("report    ", stdout);
    hd_terminal_name(stdout, r->path, 0);
    putchar('\n');
    hd_report_print_figures(r->made, "  ");
    hd_report_print_tensors(r->made, WORST);
}
