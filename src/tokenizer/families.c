/* families.c: the pre-tokenizers that GGUF files name in tokenizer.ggml.pre.
 *
 * The patterns are those of the models' own tokenizer.json; the names are llama.cpp's. */
#include <string.h>

#include "tokenizer/tokenizer_internal.h"

#define CONTRACTION_OR_LETTERS "(?i:'s|'t|'re|'ve|'m|'ll|'d)|[^\\r\\n\\p{L}\\p{N}]?\\p{L}+|"
#define SYMBOLS_OR_SPACES "| ?[^\\s\\p{L}\\p{N}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"
#define CJK_TO_HANGUL "[\\x{4e00}-\\x{9fa5}\\x{800}-\\x{4e00}\\x{ac00}-\\x{d7ff}]+"
#define GPT2 "'s|'t|'re|'ve|'m|'ll|'d| ?\\p{L}+| ?\\p{N}+| ?[^\\s\\p{L}\\p{N}]+|\\s+(?!\\S)|\\s+"

/* Letters with case and some of their kin, as DeepSeek-LLM lists them. */
#define CASED_LETTERS                                                                                                  \
    "A-Za-z"                                                                                                           \
    "\\x{b5}\\x{c0}-\\x{d6}\\x{d8}-\\x{f6}\\x{f8}-\\x{1ba}\\x{1bc}-\\x{1bf}\\x{1c4}-\\x{293}\\x{295}-\\x{2af}"         \
    "\\x{370}-\\x{373}\\x{376}\\x{377}\\x{37b}-\\x{37d}\\x{37f}\\x{386}\\x{388}-\\x{38a}\\x{38c}\\x{38e}-\\x{3a1}"     \
    "\\x{3a3}-\\x{3f5}\\x{3f7}-\\x{481}\\x{48a}-\\x{52f}\\x{531}-\\x{556}\\x{10a0}-\\x{10c5}\\x{13a0}-\\x{13f5}"       \
    "\\x{13f8}-\\x{13fd}\\x{1c90}-\\x{1cba}\\x{1cbd}-\\x{1cbf}\\x{1d00}-\\x{1d2b}\\x{1d6b}-\\x{1d77}"                  \
    "\\x{1d79}-\\x{1d9a}\\x{1e00}-\\x{1f15}\\x{1f18}-\\x{1f1d}\\x{1f20}-\\x{1f45}\\x{1f48}-\\x{1f4d}"                  \
    "\\x{1f50}-\\x{1f57}\\x{1f59}\\x{1f5b}\\x{1f5d}\\x{1f5f}-\\x{1f7d}\\x{1f80}-\\x{1fb4}\\x{1fb6}-\\x{1fbc}"          \
    "\\x{1fbe}\\x{1fc2}-\\x{1fc4}\\x{1fc6}-\\x{1fcc}\\x{1fd0}-\\x{1fd3}\\x{1fd6}-\\x{1fdb}\\x{1fe0}-\\x{1fec}"         \
    "\\x{1ff2}-\\x{1ff4}\\x{1ff6}-\\x{1ffc}\\x{2102}\\x{2107}\\x{210a}-\\x{2113}\\x{2115}\\x{2119}-\\x{211d}"          \
    "\\x{2124}\\x{2126}\\x{2128}\\x{212a}-\\x{212d}\\x{212f}-\\x{2134}\\x{2139}\\x{213c}-\\x{213f}"                    \
    "\\x{2145}-\\x{2149}\\x{214e}\\x{2183}\\x{2184}\\x{2c00}-\\x{2c7b}\\x{2c7e}-\\x{2ce4}\\x{2ceb}-\\x{2cee}"          \
    "\\x{2cf2}\\x{2cf3}\\x{a640}-\\x{a66d}\\x{a680}-\\x{a69b}\\x{a722}-\\x{a76f}\\x{a771}-\\x{a787}"                   \
    "\\x{a78b}-\\x{a78e}\\x{ab70}-\\x{abbf}\\x{fb00}-\\x{fb06}\\x{fb13}-\\x{fb17}\\x{ff21}-\\x{ff3a}"                  \
    "\\x{ff41}-\\x{ff5a}\\x{10400}-\\x{1044f}\\x{104b0}-\\x{104d3}\\x{104d8}-\\x{104fb}\\x{10c80}-\\x{10cb2}"          \
    "\\x{10cc0}-\\x{10cf2}\\x{118a0}-\\x{118df}\\x{1e900}-\\x{1e943}"

#define STEPS_MAX 7 /* with the NULL behind them */

typedef struct family {
    const char *names[5];
    const char *steps[STEPS_MAX]; /* each isolates what it matches */
    bool nfc, whole_words, adds_bos;
} family;

static const family families[] = {
    {.names = {"deepseek-llm"},
     .steps = {"[\\r\\n]", "\\s?[" CASED_LETTERS "]+",
               "\\s?[!-/:-~\\x{ff01}-\\x{ff0f}\\x{ff1a}-\\x{ff5e}\\x{2018}-\\x{201f}\\x{3000}-\\x{3002}]+", "\\s+$",
               CJK_TO_HANGUL, HD_PATTERN_DIGIT}},
    {.names = {"deepseek-coder"}, .steps = {"[\\r\\n]", "\\s?\\p{L}+", "\\s?\\p{P}+", CJK_TO_HANGUL, HD_PATTERN_DIGIT}},
    {.names = {"deepseek-v3", "joyai-llm"},
     .steps = {"\\p{N}{1,3}", "[\\x{4e00}-\\x{9fa5}\\x{3040}-\\x{309f}\\x{30a0}-\\x{30ff}]+",
               "[!\"#$%&'()*+,\\-./:;<=>?@\\[\\\\\\]^_`{|}~][A-Za-z]+|[^\\r\\n\\p{L}\\p{P}\\p{S}]?[\\p{L}\\p{M}]+|"
               " ?[\\p{P}\\p{S}]+[\\r\\n]*|\\s*[\\r\\n]+|\\s+(?!\\S)|\\s+"}},
    {.names = {"qwen2", "deepseek-r1-qwen"}, .steps = {CONTRACTION_OR_LETTERS "\\p{N}" SYMBOLS_OR_SPACES}, .nfc = true},
    {.names = {"llama-bpe", "llama3", "llama-v3"},
     .steps = {CONTRACTION_OR_LETTERS "\\p{N}{1,3}" SYMBOLS_OR_SPACES},
     .whole_words = true,
     .adds_bos = true},
    {.names = {"smollm"}, .steps = {HD_PATTERN_DIGIT, GPT2}},
    {.names = {"gpt-2"}, .steps = {GPT2}},
    /* What llama.cpp does with files from before the names. */
    {.names = {"default", ""}, .steps = {"[\\p{P}\\$\\+<=>\\^~\\|]+", GPT2, "\\p{N}+", "[0-9][0-9][0-9]"}},
};

hd_status hd_pretokenizer_add_gpt2(hd_pretokenizer *pre, hd_error *err)
{
    return hd_pretokenizer_add(pre, GPT2, strlen(GPT2), false, HD_SPLIT_ISOLATED, false, err);
}

static const family *find_family(hd_str name)
{
    for (size_t i = 0; i < HD_ARRAY_LEN(families); i++)
        for (size_t k = 0; k < HD_ARRAY_LEN(families[i].names) && families[i].names[k]; k++)
            if (strlen(families[i].names[k]) == name.len && memcmp(families[i].names[k], name.data, name.len) == 0)
                return &families[i];
    return NULL;
}

hd_status hd_pretokenizer_by_name(hd_pretokenizer *pre, hd_str name, bool *nfc, bool *whole_words, bool *adds_bos,
                                  hd_error *err)
{
    const family *f = find_family(name);
    if (!f)
        return hd_fail(err, HD_E_UNSUPPORTED,
                       "tokenizer.ggml.pre \"%.*s\" is not a pre-tokenizer that is known here; the model's own "
                       "tokenizer.json would do",
                       (int)HD_MIN(name.len, 80u), name.data);
    *nfc = f->nfc;
    *whole_words = f->whole_words;
    *adds_bos = f->adds_bos;
    for (int i = 0; i < STEPS_MAX && f->steps[i]; i++)
        HD_TRY(hd_pretokenizer_add(pre, f->steps[i], strlen(f->steps[i]), false, HD_SPLIT_ISOLATED, false, err));
    return HD_OK;
}

/* ---- which family it is ---- */

/* Digits in runs of several lengths, letters of several scripts with marks and case, contractions, signs of all kinds,
 * spaces and line ends of all kinds.  Every family cuts it in a way of its own (a test sees to that). */
static const char sample[] =
    "Hello  world, it's 2024!\n\n\tI'LL we'Re 1234567 3.14 a1b22c333 x+=y<<2; don't(stop) [foo]{bar}\r\n   end  \n"
    "\u00c9t\u00e9 na\u00efve e\u0301 \u00df \u0130stanbul \u03b1\u03b2\u03b3 \u0436\u0434\u0430\u0442\u044c "
    "\u4f60\u597d\uff0c\u4e16\u754c\uff01abc\u6f22\u5b57 \u3053\u3093\u306b\u3061\u306f\u30ab\u30bf "
    "\uc548\ub155 \u0939\u093f\u0928\u094d\u0926\u0940 \u0e44\u0e17\u0e22 \u0663\u0664\u0665\u0666 \u00bd\u00b2 "
    "\u2018q\u2019 \u201cq\u201d $5 \u20ac6 #tag @me ~/x ^2 |a| `code` !!! ... _under_score CamelCase \u3000 "
    "\U0001f600\U0001f468\u200d\U0001f469 http://a.b/c?d=e&f 12:30 -7 1,000,000 ok   ";

static hd_status hash_word(void *arg, const char *word, size_t len)
{
    const uint64_t prime = 0x100000001b3; /* FNV-1a */
    uint64_t *hash = arg;
    for (size_t i = 0; i < len; i++)
        *hash = (*hash ^ (uint8_t)word[i]) * prime;
    *hash = (*hash ^ 0x100) * prime; /* no byte: the end of a word */
    return HD_OK;
}

static hd_status hash_of(const hd_pretokenizer *pre, uint64_t *hash)
{
    hd_matcher *m;
    *hash = 0xcbf29ce484222325; /* FNV-1a */
    HD_TRY(hd_matcher_open(&m, NULL));
    hd_status status = hd_pretokenize(pre, m, sample, sizeof sample - 1, hash_word, hash, NULL);
    hd_matcher_close(&m);
    return status;
}

static hd_status hash_of_family(const family *f, uint64_t *hash)
{
    hd_pretokenizer pre = {0};
    bool nfc, whole_words, adds_bos;
    hd_str name = {f->names[0], strlen(f->names[0])};
    hd_status status = hd_pretokenizer_by_name(&pre, name, &nfc, &whole_words, &adds_bos, NULL);
    if (status == HD_OK) status = hash_of(&pre, hash);
    hd_pretokenizer_free(&pre);
    return status;
}

const char *hd_pretokenizer_name(const hd_pretokenizer *pre, bool nfc, bool whole_words, hd_status *status)
{
    uint64_t wanted, found;
    *status = hash_of(pre, &wanted);
    for (size_t i = 0; *status == HD_OK && i < HD_ARRAY_LEN(families); i++) {
        const family *f = &families[i];
        if (f->nfc != nfc || f->whole_words != whole_words) continue;
        *status = hash_of_family(f, &found);
        if (*status == HD_OK && found == wanted) return f->names[0];
    }
    return NULL;
}

const char *const *hd_pretokenizer_steps(const char *name)
{
    return find_family((hd_str){name, strlen(name)})->steps;
}
