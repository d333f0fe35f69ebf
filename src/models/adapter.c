/* models/adapter.c: adapters out of files, untrusted bytes; see adapter.h.
 *
 * Invariants: parts[i] has both tensors, of plain types or Q8_0, with shapes that agree; no matrix has two parts. */
#include "models/adapter.h"

#include <limits.h>
#include <math.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "models/adapter_internal.h"
#include "tensor/quant.h"

#define PATH_BYTES ((size_t)1 << 16)

struct hd_adapter {
    hd_checkpoint *ckpt;
    hd_peft_config config; /* of PEFT */
    char *architecture;    /* of GGUF */
    double alpha;
    hd_adapter_part *parts;
    size_t count;
};

/* ---- names ---- */

#define PEFT_PREFIX "base_model.model."

/* One tensor of the file: which half of which matrix. */
typedef struct half {
    hd_name_id id;
    int layer;
    bool is_b;
    const hd_tensor *tensor;
} half;

/* Takes `end` off a name, into `out`; false: it does not end so, or is too long. */
static bool without_end(const char *name, const char *end, char out[HD_NAME_MAX])
{
    size_t len = strlen(name), n = strlen(end);
    if (len < n || len - n >= HD_NAME_MAX || strcmp(name + len - n, end) != 0) return false;
    memcpy(out, name, len - n);
    out[len - n] = '\0';
    return true;
}

/* "blk.0.attn_q.weight.lora_a", "base_model.model.model.layers.0.self_attn.q_proj.lora_A.weight": `out` gets the
 * matrix's own name. */
static bool split_name(hd_format layout, const char *name, char out[HD_NAME_MAX], bool *is_b)
{
    if (layout == HD_FORMAT_GGUF) {
        *is_b = without_end(name, ".lora_b", out);
        return *is_b || without_end(name, ".lora_a", out);
    }
    size_t prefix = sizeof PEFT_PREFIX - 1;
    if (strncmp(name, PEFT_PREFIX, prefix) != 0) return false;
    *is_b = without_end(name + prefix, ".lora_B.weight", out);
    if (!*is_b && !without_end(name + prefix, ".lora_A.weight", out)) return false;
    size_t len = strlen(out);
    return (size_t)snprintf(out + len, HD_NAME_MAX - len, ".weight") < HD_NAME_MAX - len;
}

/* The matrices that an adapter may change; of routed experts none. */
static bool is_adapted(hd_name_id id)
{
    switch (id) {
    case HD_NAME_q_weight:
    case HD_NAME_k_weight:
    case HD_NAME_v_weight:
    case HD_NAME_o_weight:
    case HD_NAME_gate_weight:
    case HD_NAME_up_weight:
    case HD_NAME_down_weight:
    case HD_NAME_q_a:
    case HD_NAME_q_b:
    case HD_NAME_kv_a:
    case HD_NAME_kv_b:
    case HD_NAME_gate_shexp:
    case HD_NAME_up_shexp:
    case HD_NAME_down_shexp: return true;
    default: return false;
    }
}

static hd_status refuse_name(const hd_adapter *a, const char *name, hd_error *err)
{
    const char *path = hd_checkpoint_path(a->ckpt);
    if (strstr(name, "lora_magnitude_vector"))
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: tensor '%.100s' is DoRA's, which is not read; only plain LoRA is",
                       path, name);
    if (strstr(name, "lora_embedding_"))
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: tensor '%.100s' adapts an embedding, which is not evaluated here",
                       path, name);
    return hd_fail(err, HD_E_FORMAT, "%s: tensor '%.100s' is neither half of a low-rank pair (%s)", path, name,
                   hd_checkpoint_format(a->ckpt) == HD_FORMAT_GGUF ? "NAME.lora_a, NAME.lora_b"
                                                                   : "NAME.lora_A.weight, NAME.lora_B.weight");
}

static hd_status read_half(const hd_adapter *a, const hd_tensor *t, half *out, hd_error *err)
{
    char name[HD_NAME_MAX];
    hd_format layout = hd_checkpoint_format(a->ckpt);
    const char *path = hd_checkpoint_path(a->ckpt);
    out->tensor = t;
    if (!split_name(layout, t->name, name, &out->is_b)) return refuse_name(a, t->name, err);
    bool known = layout == HD_FORMAT_GGUF ? hd_name_find_gguf(name, &out->id, &out->layer)
                                          : hd_name_find_release(name, &out->id, &out->layer);
    if (!known)
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: tensor '%.100s': no architecture read here has a matrix '%.100s'",
                       path, t->name, name);
    if (hd_name_of_experts(out->id))
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: tensor '%.100s': adapters of routed experts are not read yet", path,
                       t->name);
    if (!is_adapted(out->id))
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "%s: tensor '%.100s': only matrices of attention and of the feed-forward network are adapted",
                       path, t->name);
    if (t->dims != 2 || (!hd_type_is_plain(t->type) && t->type != HD_TYPE_Q8_0))
        return hd_fail(err, HD_E_FORMAT, "%s: tensor '%.100s' is no matrix of F32, F16, BF16 or Q8_0", path, t->name);
    return HD_OK;
}

static int compare_halves(const void *x, const void *y)
{
    const half *a = x, *b = y;
    if (a->layer != b->layer) return a->layer < b->layer ? -1 : 1;
    if (a->id != b->id) return a->id < b->id ? -1 : 1;
    return (int)a->is_b - (int)b->is_b;
}

/* ---- values ---- */

static hd_status check_finite(const hd_adapter *a, const hd_tensor *t, hd_error *err)
{
    enum { PIECE = 1024 };
    float x[PIECE];
    const uint8_t *from = t->data;
    int64_t values = hd_tensor_values(t), block = hd_type_block(t->type);
    for (int64_t at = 0; at < values; at += PIECE) {
        int64_t n = HD_MIN((int64_t)PIECE, values - at); /* whole blocks: a row is, and so is a piece */
        (void)hd_decode_row(t->type, from + (size_t)(at / block) * (size_t)hd_type_block_bytes(t->type), x, n);
        for (int64_t i = 0; i < n; i++)
            if (!isfinite(x[i]))
                return hd_fail(err, HD_E_FORMAT, "%s: tensor '%.100s': value %lld is not a finite number",
                               hd_checkpoint_path(a->ckpt), t->name, (long long)(at + i));
    }
    return HD_OK;
}

/* ---- pairs ---- */

static hd_status pair(hd_adapter *a, const half *first, const half *second, hd_error *err)
{
    const char *path = hd_checkpoint_path(a->ckpt);
    const hd_tensor *ta = first->tensor, *tb = second ? second->tensor : NULL;
    if (!second || first->is_b || !second->is_b || first->id != second->id || first->layer != second->layer)
        return hd_fail(err, HD_E_FORMAT, "%s: tensor '%.100s' has no other half", path, ta->name);
    if (ta->shape[0] != tb->shape[1])
        return hd_fail(err, HD_E_FORMAT, "%s: tensors '%.100s' of %lld rows and '%.100s' of %lld columns don't meet",
                       path, ta->name, (long long)ta->shape[0], tb->name, (long long)tb->shape[1]);
    if (ta->shape[0] < 1 || ta->shape[0] > HD_ADAPTER_RANK_MAX || ta->shape[1] < 1 || tb->shape[0] < 1)
        return hd_fail(err, HD_E_LIMIT, "%s: tensor '%.100s' has a rank of %lld; 1 to %d are read", path, ta->name,
                       (long long)ta->shape[0], HD_ADAPTER_RANK_MAX);
    HD_TRY(check_finite(a, ta, err));
    HD_TRY(check_finite(a, tb, err));
    hd_adapter_part *p = &a->parts[a->count++];
    *p = (hd_adapter_part){.id = first->id,
                           .layer = first->layer,
                           .rank = ta->shape[0],
                           .rows = tb->shape[0],
                           .cols = ta->shape[1],
                           .a = ta,
                           .b = tb};
    if (hd_checkpoint_format(a->ckpt) != HD_FORMAT_GGUF) return hd_peft_scale(&a->config, p, path, err);
    p->alpha = a->alpha != 0 ? a->alpha : (double)p->rank; /* llama.cpp: no alpha, no scaling */
    p->scale = (float)(p->alpha / (double)p->rank);
    return HD_OK;
}

static hd_status pair_all(hd_adapter *a, half *halves, size_t count, hd_error *err)
{
    for (size_t i = 0; i < count; i++)
        HD_TRY(read_half(a, hd_checkpoint_tensor(a->ckpt, i), &halves[i], err));
    qsort(halves, count, sizeof *halves, compare_halves);
    for (size_t i = 0; i < count; i += 2)
        HD_TRY(pair(a, &halves[i], i + 1 < count ? &halves[i + 1] : NULL, err));
    for (size_t i = 1; i < a->count; i++)
        if (a->parts[i].id == a->parts[i - 1].id && a->parts[i].layer == a->parts[i - 1].layer)
            return hd_fail(err, HD_E_FORMAT, "%s: tensor '%.100s' is there twice", hd_checkpoint_path(a->ckpt),
                           a->parts[i].a->name);
    return HD_OK;
}

static hd_status read_parts(hd_adapter *a, hd_error *err)
{
    size_t count = hd_checkpoint_tensor_count(a->ckpt);
    if (!count) return hd_fail(err, HD_E_FORMAT, "%s: holds no tensors", hd_checkpoint_path(a->ckpt));
    half *halves = hd_alloc_array(count, sizeof *halves);
    a->parts = hd_alloc_array(count / 2 + 1, sizeof *a->parts);
    hd_status status = halves && a->parts ? pair_all(a, halves, count, err)
                                          : hd_fail(err, HD_E_MEMORY, "no memory for an adapter of %zu tensors", count);
    hd_free(halves);
    return status;
}

/* ---- GGUF ---- */

static bool meta_is(const hd_checkpoint *ckpt, const char *key, const char *text)
{
    const hd_meta *m = hd_checkpoint_meta(ckpt, key);
    return m && m->type == HD_META_STRING && m->string.len == strlen(text) &&
           memcmp(m->string.data, text, m->string.len) == 0;
}

static hd_status read_gguf(hd_adapter *a, hd_error *err)
{
    const char *path = hd_checkpoint_path(a->ckpt);
    const hd_meta *arch = hd_checkpoint_meta(a->ckpt, "general.architecture");
    const hd_meta *alpha = hd_checkpoint_meta(a->ckpt, "adapter.lora.alpha");
    if (!meta_is(a->ckpt, "general.type", "adapter"))
        return hd_fail(err, HD_E_FORMAT, "%s: is no adapter: general.type is not \"adapter\"", path);
    if (!meta_is(a->ckpt, "adapter.type", "lora"))
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: adapter.type is not \"lora\", the only kind that is read", path);
    if (hd_checkpoint_meta(a->ckpt, "adapter.alora.invocation_tokens"))
        return hd_fail(err, HD_E_UNSUPPORTED, "%s: is an activated LoRA (aLoRA), which is not evaluated here", path);
    if (alpha && (!hd_meta_f64(alpha, 0, &a->alpha) || !isfinite(a->alpha)))
        return hd_fail(err, HD_E_FORMAT, "%s: adapter.lora.alpha is not a finite number", path);
    if (!arch || arch->type != HD_META_STRING)
        return hd_fail(err, HD_E_FORMAT, "%s: general.architecture is missing", path);
    a->architecture = hd_strndup(arch->string.data, arch->string.len);
    return a->architecture ? HD_OK : hd_fail(err, HD_E_MEMORY, "no memory for an adapter");
}

/* ---- opening ---- */

static bool is_folder(const char *path)
{
    struct stat st;
    return stat(path, &st) == 0 && S_ISDIR(st.st_mode);
}

/* FOLDER/NAME, `name` may be cut from nothing; sticky in the buffer. */
static const char *path_in(hd_buf *buf, const char *folder, size_t len, const char *name)
{
    hd_buf_init(buf, PATH_BYTES);
    return hd_buf_printf(buf, "%.*s%s%s", (int)len, folder, len ? "/" : "", name) == HD_OK ? buf->data : NULL;
}

/* ---- files that must lie in a folder ---- */

/* `within`, a folder: the file may be opened.  What is not there may: it is not opened. */
static hd_status check_place(void *within, const char *file, hd_error *err)
{
    const char *folder = within;
    char real[PATH_MAX], real_folder[PATH_MAX];
    if (!folder) return HD_OK;
    if (!realpath(folder, real_folder))
        return hd_fail(err, HD_E_DENIED, "%s: the folder that it must lie in is not there", file);
    if (!realpath(file, real)) {
        struct stat st;
        if (stat(file, &st) != 0) return HD_OK; /* nor could it be opened */
        return hd_fail(err, HD_E_DENIED, "%s: its path is too long to be followed", file);
    }
    size_t len = strlen(real_folder);
    if (len > 1 && (strncmp(real, real_folder, len) != 0 || real[len] != '/')) /* all lies in "/" */
        return hd_fail(err, HD_E_DENIED, "%s: leads out of the folder that it must lie in", file);
    return HD_OK;
}

/* The tensors, of whatever layout. */
static hd_status open_weights(hd_adapter *a, const char *path, const char *within, hd_error *err)
{
    if (is_folder(path)) return hd_fail(err, HD_E_FORMAT, "%s: is a folder, not a file of tensors", path);
    if (within) HD_TRY(hd_checkpoint_visit_files(path, check_place, (void *)(uintptr_t)within, err));
    return hd_checkpoint_open(&a->ckpt, path, err);
}

static hd_status read_config(hd_adapter *a, const char *path, const char *within, hd_error *err)
{
    HD_TRY(check_place((void *)(uintptr_t)within, path, err));
    return hd_peft_read(&a->config, path, err);
}

/* The weights of a PEFT folder, and its configuration. */
static hd_status open_peft(hd_adapter *a, const char *folder, size_t len, const char *weights, const char *within,
                           hd_error *err)
{
    hd_buf config, file;
    const char *at = path_in(&config, folder, len, HD_PEFT_CONFIG);
    hd_status status = at ? read_config(a, at, within, err) : hd_fail(err, HD_E_MEMORY, "no memory for a path");
    if (status == HD_OK && !weights) {
        at = path_in(&file, folder, len, "adapter_model.safetensors");
        if (at && access(at, F_OK) != 0) {
            hd_buf_free(&file);
            at = path_in(&file, folder, len, "adapter_model.bin");
        }
        status = at ? open_weights(a, at, within, err) : hd_fail(err, HD_E_MEMORY, "no memory for a path");
        hd_buf_free(&file);
    }
    hd_buf_free(&config);
    a->alpha = a->config.alpha;
    if (status == HD_OK && hd_checkpoint_format(a->ckpt) == HD_FORMAT_GGUF)
        return hd_fail(err, HD_E_FORMAT, "%s: is GGUF beside an " HD_PEFT_CONFIG, hd_checkpoint_path(a->ckpt));
    return status;
}

static hd_status open_any(hd_adapter *a, const char *path, const char *within, hd_error *err)
{
    if (is_folder(path)) {
        size_t len = strlen(path);
        while (len > 1 && path[len - 1] == '/')
            len--;
        HD_TRY(open_peft(a, path, len, NULL, within, err));
    } else {
        HD_TRY(open_weights(a, path, within, err));
        const char *slash = strrchr(path, '/');
        if (hd_checkpoint_format(a->ckpt) == HD_FORMAT_GGUF)
            HD_TRY(read_gguf(a, err));
        else
            HD_TRY(open_peft(a, path, slash ? (size_t)(slash - path) : 0, path, within, err));
    }
    HD_TRY(read_parts(a, err));
    return hd_checkpoint_check(a->ckpt, err);
}

hd_status hd_adapter_open_within(hd_adapter **out, const char *path, const char *folder, hd_error *err)
{
    *out = NULL;
    hd_adapter *a = hd_calloc(1, sizeof *a);
    if (!a) return hd_fail(err, HD_E_MEMORY, "no memory for an adapter");
    hd_status status = open_any(a, path, folder, err);
    if (status == HD_OK) {
        *out = a;
        return HD_OK;
    }
    hd_adapter_close(&a);
    return status;
}

hd_status hd_adapter_open(hd_adapter **out, const char *path, hd_error *err)
{
    return hd_adapter_open_within(out, path, NULL, err);
}

void hd_adapter_close(hd_adapter **adapter)
{
    hd_adapter *a = *adapter;
    if (!a) return;
    *adapter = NULL;
    hd_checkpoint_close(&a->ckpt);
    hd_peft_free(&a->config);
    hd_free(a->architecture);
    hd_free(a->parts);
    hd_free(a);
}

bool hd_adapter_is_one(const char *path)
{
    hd_buf config;
    bool found = false;
    if (is_folder(path)) {
        const char *at = path_in(&config, path, strlen(path), HD_PEFT_CONFIG);
        found = at && access(at, F_OK) == 0;
        hd_buf_free(&config);
        return found;
    }
    hd_checkpoint *ckpt = NULL;
    if (hd_text_ends_with(path, "adapter_model.safetensors") || hd_text_ends_with(path, "adapter_model.bin"))
        return true;
    if (hd_text_ends_with(path, ".gguf") && hd_checkpoint_open(&ckpt, path, NULL) == HD_OK)
        found = meta_is(ckpt, "general.type", "adapter");
    hd_checkpoint_close(&ckpt);
    return found;
}

hd_status hd_adapter_explain(hd_status status, const char *path, hd_error *err)
{
    bool unread = status == HD_E_NOT_FOUND || status == HD_E_FORMAT || status == HD_E_UNSUPPORTED;
    if (!unread || !hd_adapter_is_one(path)) return status;
    return hd_fail(err, HD_E_ARGUMENT,
                   "%s: is an adapter (LoRA), no model: give its base model, and the adapter with --lora, or merge the "
                   "two with 'hadal convert BASE OUT --merge ADAPTER'",
                   path);
}

/* ---- facts ---- */

void hd_adapter_get_info(const hd_adapter *adapter, hd_adapter_info *out)
{
    *out = (hd_adapter_info){.layout = hd_checkpoint_format(adapter->ckpt),
                             .architecture = adapter->architecture,
                             .base = adapter->config.base,
                             .alpha = adapter->alpha,
                             .rslora = adapter->config.rslora,
                             .count = adapter->count};
    for (size_t i = 0; i < adapter->count; i++) {
        const hd_adapter_part *p = &adapter->parts[i];
        out->rank = HD_MAX(out->rank, p->rank);
        out->parameters += p->rank * (p->rows + p->cols);
    }
}

const hd_adapter_part *hd_adapter_parts(const hd_adapter *adapter)
{
    return adapter->parts;
}

hd_status hd_adapter_check_file(const hd_adapter *adapter, hd_error *err)
{
    return hd_checkpoint_check(adapter->ckpt, err);
}

/* ---- against the base ---- */

static bool has_experts(const hd_model_config *c, int layer)
{
    return c->experts > 0 && layer >= c->dense_lead && layer % HD_MAX(c->expert_every, 1) == 0;
}

/* Rows and columns of latent attention's matrices; false: it has none of that name. */
static bool latent_shape(const hd_model_config *c, hd_name_id id, int64_t *rows, int64_t *cols)
{
    int64_t q = (int64_t)c->heads * c->head_dim;
    switch (id) {
    case HD_NAME_q_weight: *rows = q, *cols = c->hidden; return c->q_lora == 0;
    case HD_NAME_q_a: *rows = c->q_lora, *cols = c->hidden; return c->q_lora > 0;
    case HD_NAME_q_b: *rows = q, *cols = c->q_lora; return c->q_lora > 0;
    case HD_NAME_kv_a: *rows = c->kv_lora + c->rope_dim, *cols = c->hidden; return true;
    case HD_NAME_kv_b: *rows = (int64_t)c->heads * (c->nope + c->v_dim), *cols = c->kv_lora; return true;
    case HD_NAME_o_weight: *rows = c->hidden, *cols = (int64_t)c->heads * c->v_dim; return true;
    default: return false;
    }
}

static bool attention_shape(const hd_model_config *c, hd_name_id id, int64_t *rows, int64_t *cols)
{
    if (c->arch == HD_ARCH_DEEPSEEK2) return latent_shape(c, id, rows, cols);
    int64_t q = (int64_t)c->heads * c->head_dim, kv = (int64_t)c->kv_heads * c->head_dim;
    switch (id) {
    case HD_NAME_q_weight: *rows = q, *cols = c->hidden; return true;
    case HD_NAME_k_weight:
    case HD_NAME_v_weight: *rows = kv, *cols = c->hidden; return true;
    case HD_NAME_o_weight: *rows = c->hidden, *cols = q; return true;
    default: return false;
    }
}

/* False: a base of this configuration has no such matrix in that layer. */
static bool shape_of(const hd_model_config *c, const hd_adapter_part *p, int64_t *rows, int64_t *cols)
{
    int64_t shared = (int64_t)c->expert_ffn * c->experts_shared;
    bool experts = has_experts(c, p->layer);
    switch (p->id) {
    case HD_NAME_gate_weight:
    case HD_NAME_up_weight: *rows = c->ffn, *cols = c->hidden; return !experts;
    case HD_NAME_down_weight: *rows = c->hidden, *cols = c->ffn; return !experts;
    case HD_NAME_gate_shexp:
    case HD_NAME_up_shexp: *rows = shared, *cols = c->hidden; return experts && shared > 0;
    case HD_NAME_down_shexp: *rows = c->hidden, *cols = shared; return experts && shared > 0;
    default: return attention_shape(c, p->id, rows, cols);
    }
}

hd_status hd_adapter_check(const hd_adapter *adapter, const hd_model_config *base, hd_error *err)
{
    const char *path = hd_checkpoint_path(adapter->ckpt), *arch = hd_arch_name(base->arch);
    if (base->arch == HD_ARCH_SCRIPTED)
        return hd_fail(err, HD_E_ARGUMENT, "%s: a scripted model has no matrices to adapt", path);
    if (adapter->architecture && strcmp(adapter->architecture, arch) != 0)
        return hd_fail(err, HD_E_ARGUMENT, "%s: is an adapter for the architecture %.40s, the model is %s", path,
                       adapter->architecture, arch);
    for (size_t i = 0; i < adapter->count; i++) {
        const hd_adapter_part *p = &adapter->parts[i];
        int64_t rows = 0, cols = 0;
        if (p->layer >= base->layers)
            return hd_fail(err, HD_E_ARGUMENT, "%s: tensor '%.100s': the model has only %d layers; is it its base?",
                           path, p->a->name, base->layers);
        if (!shape_of(base, p, &rows, &cols))
            return hd_fail(err, HD_E_ARGUMENT,
                           "%s: tensor '%.100s': the model (%s) has no such matrix; is it its base?", path, p->a->name,
                           arch);
        if (rows != p->rows || cols != p->cols)
            return hd_fail(err, HD_E_ARGUMENT,
                           "%s: tensor '%.100s' is for a matrix of %lld x %lld, the model's is %lld x %lld; "
                           "is it its base?",
                           path, p->a->name, (long long)p->rows, (long long)p->cols, (long long)rows, (long long)cols);
    }
    return HD_OK;
}

int64_t hd_adapter_row(const hd_adapter *adapter, const hd_adapter_part *part, const hd_model_config *base,
                       hd_format layout, int64_t row)
{
    bool rotated = part->id == HD_NAME_q_weight || part->id == HD_NAME_k_weight;
    hd_format own = hd_checkpoint_format(adapter->ckpt);
    if (base->arch != HD_ARCH_LLAMA || !rotated || own == layout) return row;
    /* Pairs (i, i + d/2) of a release are (2i, 2i + 1) in GGUF. */
    int64_t d = base->head_dim, i = row % d;
    return row - i + (layout == HD_FORMAT_GGUF ? i % 2 * (d / 2) + i / 2 : i % (d / 2) * 2 + i / (d / 2));
}

static void decode(const hd_tensor *t, int64_t row, float *out)
{
    size_t bytes = 0;
    (void)hd_type_row_bytes(t->type, t->shape[1], &bytes); /* the parser saw to it */
    (void)hd_decode_row(t->type, (const uint8_t *)t->data + (size_t)row * bytes, out, t->shape[1]);
}

/* What an adapter may add to a weight: no model's weights come near it, and the products with activations, which norms
 * then square, stay within float32. */
#define CHANGE_MAX 1e9

/* An adapter's values are finite (check_finite), but nothing bounds the numbers that they are multiplied by. */
static hd_status check_change(const hd_adapter *adapter, const hd_adapter_part *part, float scale, double largest_a,
                              double largest_b, hd_error *err)
{
    double change = (double)part->rank * largest_a * largest_b; /* of a weight, at most */
    if (change <= CHANGE_MAX) return HD_OK;                     /* false of what is not a number */
    return hd_fail(err, HD_E_LIMIT,
                   "%s: tensor '%.100s': its values times alpha / rank (%g), times the scale it was given (%g), would "
                   "change weights by up to %g, beyond what can be computed with (%g); is the alpha right?",
                   hd_checkpoint_path(adapter->ckpt), part->b->name, (double)part->scale, (double)scale, change,
                   CHANGE_MAX);
}

/* The larger; what is not a number stays. */
static double larger(double a, double b)
{
    return b <= a || isnan(a) ? a : b;
}

hd_status hd_adapter_values(const hd_adapter *adapter, const hd_adapter_part *part, const hd_model_config *base,
                            hd_format layout, float scale, float *a, float *b, hd_error *err)
{
    double largest_a = 0, largest_b = 0;
    for (int64_t r = 0; r < part->rank; r++)
        decode(part->a, r, a + r * part->cols);
    for (int64_t i = 0; i < part->rank * part->cols; i++)
        largest_a = larger(largest_a, fabs((double)a[i]));
    for (int64_t r = 0; r < part->rows; r++) {
        float *row = b + r * part->rank;
        decode(part->b, hd_adapter_row(adapter, part, base, layout, r), row);
        for (int64_t j = 0; j < part->rank; j++) {
            row[j] *= part->scale * scale;
            largest_b = larger(largest_b, fabs((double)row[j]));
        }
    }
    return check_change(adapter, part, scale, isinf(largest_b) ? 1 : largest_a, largest_b, err);
}
