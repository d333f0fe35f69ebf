/* quantize/recipe.c: which tensor gets which type. */
#include <string.h>
#include <strings.h>

#include "quantize/quantize.h"

enum { MIX_Q2_K = 10, MIX_Q3_K_M = 12, MIX_Q4_K_M = 15, MIX_Q5_K_M = 17 }; /* general.file_type of the uneven ones */

/* Names and numbers are those that GGUF files of this kind go by. */
static const hd_quant_mix mixes[] = {
    {"F32", "32 bits a weight: nothing is lost", HD_TYPE_F32, 0},
    {"BF16", "16 bits, float32's range", HD_TYPE_BF16, 32},
    {"F16", "16 bits, more precise within 65,504", HD_TYPE_F16, 1},
    {"Q8_0", "8.5 bits: as good as the original", HD_TYPE_Q8_0, 7},
    {"Q6_K", "6.6 bits", HD_TYPE_Q6_K, 18},
    {"Q5_1", "6 bits", HD_TYPE_Q5_1, 9},
    {"Q5_K_M", "5.7 bits: Q5_K, and Q6_K where it matters most", HD_TYPE_Q5_K, MIX_Q5_K_M},
    {"Q5_K_S", "5.5 bits", HD_TYPE_Q5_K, 16},
    {"Q5_0", "5.5 bits", HD_TYPE_Q5_0, 8},
    {"Q4_1", "5 bits", HD_TYPE_Q4_1, 3},
    {"Q4_K_M", "4.8 bits: Q4_K, and Q6_K where it matters most; a good choice", HD_TYPE_Q4_K, MIX_Q4_K_M},
    {"Q4_K_S", "4.5 bits", HD_TYPE_Q4_K, 14},
    {"Q4_0", "4.5 bits", HD_TYPE_Q4_0, 2},
    {"IQ4_NL", "4.5 bits, uneven steps", HD_TYPE_IQ4_NL, 25},
    {"IQ4_XS", "4.25 bits, uneven steps", HD_TYPE_IQ4_XS, 30},
    {"MXFP4", "4.25 bits, small floats", HD_TYPE_MXFP4, 38},
    {"Q3_K_M", "3.9 bits: Q3_K, and Q4_K or Q5_K where it matters most", HD_TYPE_Q3_K, MIX_Q3_K_M},
    {"Q3_K_S", "3.4 bits", HD_TYPE_Q3_K, 11},
    {"Q2_K", "2.6 bits: much is lost", HD_TYPE_Q2_K, MIX_Q2_K},
};

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

/* The number behind "blk." of a tensor's name; -1: none. */
static int layer_of(const char *name)
{
    int layer = 0;
    if (strncmp(name, "blk.", 4) != 0 || name[4] < '0' || name[4] > '9') return -1;
    for (name += 4; *name >= '0' && *name <= '9' && layer < 1 << 20; name++)
        layer = layer * 10 + (*name - '0');
    return layer;
}

static bool name_has(const char *name, const char *part)
{
    return strstr(name, part) != NULL;
}

/* Matrices of weights; not what decides much and weighs little: norms, the router of experts, biases. */
static bool is_weight(const hd_tensor *t)
{
    size_t len = strlen(t->name);
    if (t->dims < 2 || len < 7 || strcmp(t->name + len - 7, ".weight") != 0) return false;
    if (t->type == HD_TYPE_I32 || t->type == HD_TYPE_I64 || t->type == HD_TYPE_I16 || t->type == HD_TYPE_I8)
        return false;
    return !name_has(t->name, "norm") && !name_has(t->name, "ffn_gate_inp") && !name_has(t->name, "conv") &&
           !name_has(t->name, "position_embd") && !name_has(t->name, "token_types");
}

/* The first and the last eighth of the layers, and every third between: where errors cost most. */
static bool gets_more(int layer, int layers)
{
    return layer < layers / 8 || layer >= 7 * layers / 8 || (layer - layers / 8) % 3 == 2;
}

/* What the mix gives a matrix whose rows fit. */
static hd_type type_in_mix(const hd_quant_mix *mix, const hd_tensor *t, int layers, const char *output)
{
    int layer = layer_of(t->name);
    bool value = name_has(t->name, "attn_v."), down = name_has(t->name, "ffn_down"),
         k = hd_type_block(mix->type) == 256;
    if (strcmp(t->name, output) == 0) return k ? HD_TYPE_Q6_K : mix->type;
    if (layer < 0 || !(value || down || name_has(t->name, "attn_output"))) return mix->type;
    switch (mix->gguf_id) {
    case MIX_Q4_K_M:
    case MIX_Q5_K_M: return (value || down) && gets_more(layer, layers) ? HD_TYPE_Q6_K : mix->type;
    case MIX_Q3_K_M:
        if (value) return layer < 2 ? HD_TYPE_Q5_K : HD_TYPE_Q4_K;
        if (down) return layer < layers / 16 ? HD_TYPE_Q5_K : gets_more(layer, layers) ? HD_TYPE_Q4_K : HD_TYPE_Q3_K;
        return HD_TYPE_Q4_K;
    case MIX_Q2_K: return HD_TYPE_Q3_K;
    default: return mix->type;
    }
}

/* The type for rows that are no whole blocks of `type`: the next one in blocks of 32, or else in single values. */
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

size_t hd_quant_bytes(const hd_tensor *t, hd_type type)
{
    size_t bytes = 0;
    (void)hd_type_row_bytes(type, hd_tensor_values(t), &bytes);
    return bytes;
}

static bool is_there(const hd_tensor *tensors, size_t count, const char *name)
{
    for (size_t i = 0; i < count; i++)
        if (strcmp(tensors[i].name, name) == 0) return true;
    return false;
}

void hd_quant_recipe(hd_type *types, const hd_tensor *tensors, size_t count, const hd_quant_mix *mix)
{
    int layers = 0;
    const char *output = is_there(tensors, count, "output.weight") ? "output.weight" : "token_embd.weight";
    for (size_t i = 0; i < count; i++)
        layers = HD_MAX(layers, layer_of(tensors[i].name) + 1);
    for (size_t i = 0; i < count; i++) {
        const hd_tensor *t = &tensors[i];
        types[i] = t->type;
        if (is_weight(t)) types[i] = fitting(type_in_mix(mix, t, layers, output), t->shape[t->dims - 1]);
    }
}
