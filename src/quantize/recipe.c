/* quantize/recipe.c: which tensor gets which type.
 *
 * One table holds the rules of all mixes: the first that fits a tensor gives its type, and without one it gets the
 * mix's own.  Rules see names and shapes only.  Which tensors get more bits, and where, is what llama.cpp's quantizer
 * does for the mix of that name (src/llama-quant.cpp, read for these facts), so that files have the same size; where
 * ours differ, the comment says so. */
#include <string.h>
#include <strings.h>

#include "quantize/quantize.h"
#include "tensor/encode.h"

/* ---- mixes ---- */

/* X(name, type of most matrices, number, what it is): names and numbers are those that GGUF files of this kind go by
 * (llama_ftype); a mix of our own has the number of what it is nearest to.  By size on large models. */
#define MIX_LIST(X)                                                                                                    \
    X(F32, F32, 0, "32 bits a weight: nothing is lost")                                                                \
    X(BF16, BF16, 32, "16 bits, float32's range")                                                                      \
    X(F16, F16, 1, "16 bits, more precise within 65,504")                                                              \
    X(Q8_0, Q8_0, 7, "8.5 bits: as good as the original")                                                              \
    X(Q6_K, Q6_K, 18, "6.6 bits")                                                                                      \
    X(Q5_1, Q5_1, 9, "6 bits")                                                                                         \
    X(Q5_K_M, Q5_K, 17, "5.7 bits: Q5_K, and Q6_K where it matters most")                                              \
    X(Q5_K_S, Q5_K, 16, "5.5 bits")                                                                                    \
    X(Q5_0, Q5_0, 8, "5.5 bits")                                                                                       \
    X(Q4_1, Q4_1, 3, "5 bits")                                                                                         \
    X(Q4_K_M, Q4_K, 15, "4.8 bits: Q4_K, and Q6_K where it matters most; a good choice")                               \
    X(Q4_K_S, Q4_K, 14, "4.6 bits: Q4_K, and Q5_K where it matters most")                                              \
    X(Q4_0, Q4_0, 2, "4.5 bits")                                                                                       \
    X(IQ4_NL, IQ4_NL, 25, "4.5 bits, uneven steps")                                                                    \
    X(MXFP4_MOE, Q8_0, 38, "experts as MXFP4, all else as Q8_0")                                                       \
    X(IQ4_XS, IQ4_XS, 30, "4.3 bits, uneven steps")                                                                    \
    X(MXFP4, MXFP4, 38, "4.25 bits, small floats: every matrix")                                                       \
    X(Q3_K_L, Q3_K, 13, "4.3 bits: Q3_K, and Q5_K where it matters most")                                              \
    X(Q4_FIT, IQ4_XS, 30, "4 bits on models of experts: DeepSeek-V3 within 336 GB")                                    \
    X(Q3_K_M, Q3_K, 12, "3.9 bits: Q3_K, and Q4_K or Q5_K where it matters most")                                      \
    X(Q3_K_S, Q3_K, 11, "3.4 bits")                                                                                    \
    X(IQ3_XXS, IQ3_XXS, 23, "3.1 bits, for weights by importance")                                                     \
    X(Q2_K, Q2_K, 10, "2.9 bits: much is lost")                                                                        \
    X(Q2_K_S, Q2_K, 21, "2.7 bits, for weights by importance")                                                         \
    X(IQ2_XXS, IQ2_XXS, 19, "2.1 bits, for weights by importance")

#define MIX_NUMBER(name, type, number, summary) MIX_##name,
#define MIX_ENTRY(name, type, number, summary) {#name, summary, HD_TYPE_##type, number},
enum { MIX_LIST(MIX_NUMBER) MIX_COUNT };
static const hd_quant_mix mixes[] = {MIX_LIST(MIX_ENTRY)};

_Static_assert(MIX_COUNT <= 32, "a rule names its mixes in 32 bits");

const hd_quant_mix *hd_quant_mixes(size_t *count)
{
    *count = HD_ARRAY_LEN(mixes);
    return mixes;
}

const hd_quant_mix *hd_quant_mix_find(const char *name)
{
    static const char *const others[][2] = {{"Q4_K", "Q4_K_M"}, {"Q5_K", "Q5_K_M"}, {"Q3_K", "Q3_K_M"}};
    for (size_t i = 0; i < HD_ARRAY_LEN(others); i++)
        if (strcasecmp(name, others[i][0]) == 0) name = others[i][1];
    for (size_t i = 0; i < HD_ARRAY_LEN(mixes); i++)
        if (strcasecmp(name, mixes[i].name) == 0) return &mixes[i];
    return NULL;
}

bool hd_quant_can_write(hd_type type)
{
    return hd_type_is_plain(type) || hd_encode_supported(type);
}

bool hd_quant_mix_writable(const hd_quant_mix *mix)
{
    return hd_quant_can_write(mix->type);
}

/* ---- what a tensor is for, and where it stands ---- */

/* Roles and facts are bits, so that a rule can name several. */
enum {
    LOGITS = 1 << 0,    /* output; token_embd where there is none */
    EMBEDDING = 1 << 1, /* token_embd beside an output */
    QUERIES = 1 << 2,
    KEYS = 1 << 3,
    VALUES = 1 << 4,   /* of attention, also joined with other matrices */
    ATTN_OUT = 1 << 5, /* from attention back into the stream */
    FFN_IN = 1 << 6,   /* gate and up, of experts, too */
    DOWN = 1 << 7,     /* from the feed-forward network back into the stream */
    OTHER = 1 << 8,
    ANY_ROLE = (1 << 9) - 1
};

enum {
    NARROW = 1 << 0,      /* rows are no whole blocks of 256 */
    EXPERT = 1 << 1,      /* matrices of routed experts */
    BULK = 1 << 2,        /* most of the model: routed experts, or feed-forward networks where there are none */
    FIRST_2 = 1 << 3,     /* of the layers */
    FIRST_4 = 1 << 4,     /* likewise */
    FIRST_16TH = 1 << 5,  /* likewise */
    FIRST_8TH = 1 << 6,   /* likewise */
    SPREAD = 1 << 7,      /* the first and the last eighth of the layers, and every third between */
    GROUPED = 1 << 8,     /* four or more heads share their keys and values: these are small, and matter for all */
    DEEP = 1 << 9,        /* 80 layers whose heads share values: the models of 70 billion weights */
    EXPERTS_4 = 1 << 10,  /* four or more in a layer */
    EXPERTS_8 = 1 << 11,  /* just eight: Mixtral, where attention is a small part */
    WEIGHTED = 1 << 12,   /* errors are weighted by importance */
    UNWEIGHTED = 1 << 13, /* or all alike */
};

typedef struct model_facts {
    int layers;
    bool output; /* there is an output.weight */
    bool weighted;
    int64_t experts;              /* in a layer; 0: none */
    int64_t query_rows, key_rows; /* of attn_q and attn_k; 0: none */
} model_facts;

static bool name_has(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

static bool name_is(const char *name, const char *whole)
{
    return strcmp(name, whole) == 0;
}

/* The number behind "blk." of a tensor's name; -1: none. */
static int layer_of(const char *name)
{
    int layer = 0;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return -1;
    for (name += 4; *name >= '0' && *name <= '9' && layer < 1 << 20; name++)
        layer = layer * 10 + (*name - '0');
    return layer;
}

static bool is_expert(const hd_tensor *t)
{
    return t->dims == 3 && name_has(t->name, "ffn_");
}

static model_facts look_at(const hd_tensor *tensors, size_t count, bool weighted)
{
    model_facts m = {.weighted = weighted};
    for (size_t i = 0; i < count; i++) {
        const hd_tensor *t = &tensors[i];
        m.layers = HD_MAX(m.layers, layer_of(t->name) + 1);
        if (name_is(t->name, "output.weight")) m.output = true;
        if (is_expert(t)) m.experts = HD_MAX(m.experts, t->shape[0]);
        if (t->dims == 2 && name_has(t->name, "attn_q.weight")) m.query_rows = t->shape[0];
        if (t->dims == 2 && name_has(t->name, "attn_k.weight")) m.key_rows = t->shape[0];
    }
    return m;
}

static unsigned role_of(const hd_tensor *t, const model_facts *m)
{
    static const struct {
        const char *part;
        unsigned role;
    } parts[] = {{"attn_qkv.weight", VALUES}, {"attn_kv_b.weight", VALUES}, {"attn_v.weight", VALUES},
                 {"attn_k.weight", KEYS},     {"attn_q.weight", QUERIES},   {"attn_output.weight", ATTN_OUT},
                 {"ffn_up", FFN_IN},          {"ffn_gate", FFN_IN},         {"ffn_down", DOWN}};
    if (name_is(t->name, "output.weight")) return LOGITS;
    if (name_is(t->name, "token_embd.weight")) return m->output ? EMBEDDING : LOGITS;
    for (size_t i = 0; i < HD_ARRAY_LEN(parts); i++)
        if (name_has(t->name, parts[i].part)) return parts[i].role;
    return OTHER;
}

static unsigned facts_of_layer(int layer, int layers)
{
    unsigned facts = 0;
    if (layer < 0) return 0;
    if (layer < 2) facts |= FIRST_2;
    if (layer < 4) facts |= FIRST_4;
    if (layer < layers / 16) facts |= FIRST_16TH;
    if (layer < layers / 8) facts |= FIRST_8TH;
    if (layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2) facts |= SPREAD;
    return facts;
}

static unsigned facts_of(const hd_tensor *t, unsigned role, const model_facts *m)
{
    unsigned facts = facts_of_layer(layer_of(t->name), m->layers) | (m->weighted ? WEIGHTED : UNWEIGHTED);
    bool shared = m->key_rows && m->query_rows > m->key_rows;
    if (t->shape[t->dims - 1] % 256 != 0) facts |= NARROW;
    if (is_expert(t)) facts |= EXPERT | BULK;
    if (!m->experts && (role & (FFN_IN | DOWN))) facts |= BULK;
    if (shared && m->query_rows >= 4 * m->key_rows) facts |= GROUPED;
    if (shared && m->layers == 80) facts |= DEEP;
    if (m->experts >= 4) facts |= EXPERTS_4;
    if (m->experts == 8) facts |= EXPERTS_8;
    return facts;
}

/* ---- the rules ---- */

typedef struct rule {
    uint32_t mixes;
    unsigned roles; /* one of these */
    unsigned facts; /* all of these */
    hd_type type;
} rule;

#define M(name) (UINT32_C(1) << MIX_##name)
#define UNIFORM (M(F32) | M(BF16) | M(F16) | M(MXFP4)) /* mixes that give every matrix the same */

static const rule rules[] = {
    /* What gives the logits: its errors go straight into the answer. */
    {M(Q8_0) | M(MXFP4_MOE), LOGITS, 0, HD_TYPE_Q8_0},
    {~UNIFORM, LOGITS, NARROW, HD_TYPE_Q8_0},
    {M(IQ3_XXS) | M(IQ2_XXS), LOGITS, 0, HD_TYPE_Q5_K},
    {~UNIFORM, LOGITS, 0, HD_TYPE_Q6_K},

    /* Only one row a token is read. */
    {M(Q4_FIT), EMBEDDING, 0, HD_TYPE_Q4_K},
    {M(IQ3_XXS), EMBEDDING, 0, HD_TYPE_IQ3_S},
    {M(IQ2_XXS), EMBEDDING, 0, HD_TYPE_Q2_K},

    /* (llama.cpp gives MXFP4 to latent attention's attn_k_b and attn_v_b, too; they are a thousandth of the model.) */
    {M(MXFP4_MOE), ANY_ROLE, EXPERT, HD_TYPE_MXFP4},

    /* Ours: what each token passes through gets five bits, experts share what is left. */
    {M(Q4_FIT), DOWN, BULK, HD_TYPE_IQ4_XS},
    {M(Q4_FIT), FFN_IN, BULK | SPREAD, HD_TYPE_IQ4_XS},
    {M(Q4_FIT), FFN_IN, BULK, HD_TYPE_Q3_K},
    {M(Q4_FIT), ANY_ROLE, 0, HD_TYPE_Q5_K},

    {M(IQ2_XXS), VALUES, GROUPED, HD_TYPE_Q4_K},
    {M(IQ2_XXS), VALUES, EXPERTS_4, HD_TYPE_Q4_K},
    {M(IQ2_XXS), VALUES, 0, HD_TYPE_Q2_K},
    {M(IQ2_XXS), KEYS, EXPERTS_8, HD_TYPE_Q4_K},
    {M(IQ2_XXS), ATTN_OUT, EXPERTS_8, HD_TYPE_Q5_K},

    {~(UNIFORM | M(MXFP4_MOE)), VALUES | KEYS, EXPERTS_8, HD_TYPE_Q8_0},
    {M(Q5_K_M) | M(Q4_K_M), VALUES, SPREAD, HD_TYPE_Q6_K},
    {M(Q4_K_M) | M(Q4_K_S) | M(Q3_K_M) | M(Q3_K_S) | M(IQ3_XXS) | M(Q2_K) | M(Q2_K_S), VALUES, DEEP, HD_TYPE_Q5_K},
    {M(Q4_K_S), VALUES, FIRST_4, HD_TYPE_Q5_K},
    {M(IQ4_NL) | M(IQ4_XS), VALUES, GROUPED, HD_TYPE_Q5_K},
    {M(Q3_K_L), VALUES, 0, HD_TYPE_Q5_K},
    {M(Q3_K_M), VALUES, FIRST_2, HD_TYPE_Q5_K},
    {M(Q3_K_M), VALUES, 0, HD_TYPE_Q4_K},
    {M(IQ3_XXS) | M(Q2_K) | M(Q2_K_S), VALUES, GROUPED, HD_TYPE_Q4_K},
    {M(Q2_K), VALUES, 0, HD_TYPE_Q3_K},
    {M(IQ3_XXS), QUERIES | KEYS, 0, HD_TYPE_IQ2_S},

    {M(Q4_K_M) | M(Q4_K_S) | M(IQ4_NL) | M(IQ4_XS) | M(Q3_K_M) | M(Q3_K_S) | M(IQ3_XXS) | M(Q2_K), ATTN_OUT, EXPERTS_8,
     HD_TYPE_Q5_K},
    {M(Q3_K_L), ATTN_OUT, 0, HD_TYPE_Q5_K},
    {M(Q3_K_M), ATTN_OUT, 0, HD_TYPE_Q4_K},
    {M(IQ3_XXS), ATTN_OUT, 0, HD_TYPE_IQ3_S},
    {M(Q2_K), ATTN_OUT, 0, HD_TYPE_Q3_K},

    {M(Q5_K_M) | M(Q4_K_M), DOWN, SPREAD, HD_TYPE_Q6_K},
    {M(Q4_K_S), DOWN, FIRST_8TH, HD_TYPE_Q5_K},
    {M(IQ4_NL) | M(IQ4_XS), DOWN, FIRST_8TH | UNWEIGHTED, HD_TYPE_Q5_K},
    {M(Q5_0), DOWN, FIRST_8TH | WEIGHTED, HD_TYPE_Q5_1},
    {M(Q4_0), DOWN, FIRST_8TH | WEIGHTED, HD_TYPE_Q4_1},
    {M(Q3_K_L), DOWN, 0, HD_TYPE_Q5_K},
    {M(Q3_K_M), DOWN, FIRST_16TH, HD_TYPE_Q5_K},
    {M(Q3_K_M), DOWN, 0, HD_TYPE_Q4_K},
    {M(Q2_K), DOWN, 0, HD_TYPE_Q3_K},
    {M(Q2_K_S), DOWN, FIRST_8TH, HD_TYPE_Q4_K},
    {M(IQ2_XXS), DOWN, FIRST_8TH, HD_TYPE_Q2_K},
};

static hd_type type_by_rule(uint32_t mix, unsigned role, unsigned facts, hd_type otherwise)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(rules); i++)
        if ((rules[i].mixes & mix) && (rules[i].roles & role) && !(rules[i].facts & ~facts)) return rules[i].type;
    return otherwise;
}

/* The type for rows that are no whole blocks of `type`: the next one in blocks of 32, or else in single values.
 * (llama.cpp puts Q4_0 for Q3_K and Q2_K; IQ4_NL has the same size and smaller errors.) */
static hd_type fitting(hd_type type, int64_t cols)
{
    if (cols % hd_type_block(type) == 0) return type;
    if (cols % 32 != 0) return HD_TYPE_F16;
    switch (type) {
    case HD_TYPE_Q4_K: return HD_TYPE_Q5_0;
    case HD_TYPE_Q5_K: return HD_TYPE_Q5_1;
    case HD_TYPE_Q6_K: return HD_TYPE_Q8_0;
    default: return HD_TYPE_IQ4_NL;
    }
}

/* ---- the recipe ---- */

/* Matrices of weights; not what decides much and weighs little: norms, the router of experts, biases. */
bool hd_quant_is_weight(const hd_tensor *t)
{
    static const char *const kept[] = {"norm",          "ffn_gate_inp", "conv",
                                       "hc_",           "_ape", /* V4: how streams are mixed */
                                       "position_embd", "token_types"};
    size_t len = strlen(t->name);
    if (t->dims < 2 || hd_tensor_values(t) <= t->shape[t->dims - 1]) return false;
    if (len < 7 || !name_is(t->name + len - 7, ".weight")) return false;
    if (!hd_type_is_weight(t->type)) return false;
    for (size_t i = 0; i < HD_ARRAY_LEN(kept); i++)
        if (name_has(t->name, kept[i])) return false;
    return true;
}

void hd_quant_types(hd_type *types, const hd_tensor *tensors, size_t count, const hd_quant_mix *mix, bool weighted)
{
    model_facts m = look_at(tensors, count, weighted);
    uint32_t bit = UINT32_C(1) << (mix - mixes);
    for (size_t i = 0; i < count; i++) {
        const hd_tensor *t = &tensors[i];
        types[i] = t->type;
        if (!hd_quant_is_weight(t)) continue;
        unsigned role = role_of(t, &m);
        types[i] = fitting(type_by_rule(bit, role, facts_of(t, role, &m), mix->type), t->shape[t->dims - 1]);
    }
}

hd_status hd_quant_mix_check(const hd_quant_mix *mix, hd_error *err)
{
    if (hd_quant_mix_writable(mix)) return HD_OK;
    return hd_fail(err, HD_E_UNSUPPORTED, "%s can't be written yet: there is no encoder for %s", mix->name,
                   hd_type_name(mix->type));
}

/* ---- sizes ---- */

size_t hd_quant_bytes(const hd_tensor *t, hd_type type)
{
    size_t bytes = 0;
    (void)hd_type_row_bytes(type, hd_tensor_values(t), &bytes);
    return bytes;
}
