/* good_torch.h: PyTorch checkpoints that must open; also seeds of the fuzzers. */
#ifndef HD_TESTS_GOOD_TORCH_H
#define HD_TESTS_GOOD_TORCH_H

#include "unit/formats/build_torch.h"

typedef struct good_pickle {
    const char *name;
    const char *bytes;
    size_t len;
    size_t tensors;
} good_pickle;

#define PK_HALF PK_TENSOR(PK_STORAGE("HalfStorage", "1", "M\0\1"), "K\0", "K\4\x85", "K\1\x85")

/* What torch.save writes of a linear layer's state dict: OrderedDicts, a memo, an attribute of versions. */
#define PK_MODULE                                                                                                      \
    PK2 "ccollections\nOrderedDict\nq\0)Rq\1(X\6\0\0\0weightq\2" PK_V2                                                 \
        "q\3((X\7\0\0\0storageq\4ctorch\nFloatStorage\n"                                                               \
        "q\5" PK_TEXT1(                                                                                                \
            "0") "q\6X\3\0\0\0cpuq\7K\6tq\10QK\0K\2K\3\x86q\11K\3K\1\x86q\12\x89h\0)Rq\13tq\14Rq\15"                   \
                 "X\4\0\0\0biasq\16h\3((h\4h\5" PK_TEXT1(                                                              \
                     "1") "q\17h\7K\2tq\20QK\0K\2\x85q\21K\1\x85q\22\x89h\0)Rq\23tq\24Rq\25u"                          \
                          "}q\26X\11\0\0\0_metadataq\27h\0)Rq\30X\0\0\0\0q\31}q\32X\7\0\0\0versionq\33K\1sssb."

/* A matrix in the opcodes of protocol 4. */
#define PK_PROTOCOL4                                                                                                   \
    "\x80\4\x95\x80\0\0\0\0\0\0\0}\x94\x8c\1w\x94\x8c\14torch._utils\x94\x8c\22_rebuild_tensor_v2\x94\x93\x94(("       \
    "\x8c\7storage\x94\x8c\5torch\x94\x8c\14FloatStorage\x94\x93\x94\x8c\1"                                            \
    "0\x94\x8d\3\0\0\0\0\0\0\0cpu\x94K\6t\x94QK\0K\2K\3\x86\x94K\3K\1\x86\x94\x89"                                     \
    "\x8c\13collections\x94\x8c\13OrderedDict\x94\x93\x94)R\x94t\x94R\x94s."

static const good_pickle good_pickles[] = {
    {"good-matrix", PK_BYTES(PK_STATE(PK_MATRIX)), 1},
    {"good-module", PK_BYTES(PK_MODULE), 2},
    {"good-protocol-4", PK_BYTES(PK_PROTOCOL4), 1},
    {"good-scalar", PK_BYTES(PK_STATE(PK_TENSOR(PK_FLOATS, "K\5", ")", ")"))), 1},
    {"good-parameter", PK_BYTES(PK_STATE(PK_PARAMETER PK_MATRIX "\x88" PK_DICT "\x87R")), 1},
    {"good-hooks-none", PK_BYTES(PK_STATE(PK_V2 "(" PK_FLOATS "K\0K\6\x85K\1\x85\x89N}tR")), 1},
    {"good-v3",
     PK_BYTES(PK_STATE(PK_V3 "(" PK_UNTYPED("0", "K\30") "K\0K\6\x85K\1\x85\x89" PK_DICT "ctorch\nfloat8_e4m3fn\ntR")),
     1},
    {"good-two-of-one-storage", PK_BYTES(PK2 "}(" PK_TEXT1("a") PK_MATRIX PK_TEXT1("b") PK_MATRIX "u."), 2},
    {"good-nested",
     PK_BYTES(PK2 "}(X\5\0\0\0epochK\3X\12\0\0\0state_dict" PK_DICT PK_TEXT1("w") PK_MATRIX "sX\4\0\0\0best" PK_HALF
                                                                                            "u."),
     1},
    {"good-model-beside-lists",
     PK_BYTES(PK2 "}(X\5\0\0\0model}" PK_TEXT1("w") PK_MATRIX "sX\4\0\0\0args](K\1K\2e]a(NNNNNNNNNtX\3\0\0\0optu."), 1},
    {"good-besides",
     PK_BYTES(PK2 "}(" PK_TEXT1("w")
                  PK_MATRIX PK_TEXT1("n") "N" PK_TEXT1("b") "\x88" PK_TEXT1("i") "J\xff\xff\xff\xff" PK_TEXT1(
                      "l") "\x8a\3\1\2\x80" PK_TEXT1("L") "\x8a\11"
                                                          "123456789" PK_TEXT1("f") "G12345678" PK_TEXT1("t")
                                                              PK_TEXT1("x") "u."),
     1},
};

/* ---- whole files ---- */

/* Six float32 0 .. 5 and, in the second storage, 0x3c00 (half a 1.0) 256 times. */
static inline zip_places put_torch(hd_buf *b, const char *pickle, size_t len, bool wide)
{
    static const float floats[6] = {0, 1, 2, 3, 4, 5};
    uint8_t halves[512];
    for (size_t i = 0; i < sizeof halves; i++)
        halves[i] = i % 2 ? 0x3c : 0;
    const zip_part parts[] = {{"m/data.pkl", pickle, len},
                              {"m/byteorder", "little", 6},
                              {"m/data/0", floats, sizeof floats},
                              {"m/data/1", halves, sizeof halves},
                              {"m/version", "3\n", 2}};
    return put_zip(b, parts, HD_ARRAY_LEN(parts), wide);
}

static inline void put_torch_matrix(hd_buf *b)
{
    (void)put_torch(b, PK_BYTES(PK_STATE(PK_MATRIX)), false);
}

static inline void put_torch_wide(hd_buf *b)
{
    (void)put_torch(b, PK_BYTES(PK_STATE(PK_MATRIX)), true);
}

/* Views of one storage, as torch's slices and transposed matrices are, and tensors without values or dimensions. */
#define PK_VIEWS                                                                                                       \
    PK2 "}(" PK_TEXT1("a") PK_MATRIX PK_TEXT1("b") PK_TENSOR(PK_FLOATS, "K\0", "K\3K\2\x86", "K\1K\3\x86")             \
        PK_TEXT1("c") PK_TENSOR(PK_FLOATS, "K\1", "K\2K\2\x86", "K\3K\1\x86") PK_TEXT1("d")                            \
            PK_TENSOR(PK_FLOATS, "K\1", "K\3\x85", "K\2\x85") PK_TEXT1("e")                                            \
                PK_TENSOR(PK_FLOATS, "K\0", "K\0K\4\x86", "K\4K\1\x86") PK_TEXT1("f")                                  \
                    PK_TENSOR(PK_FLOATS, "K\5", ")", ")") PK_TEXT1("g")                                                \
                        PK_TENSOR(PK_FLOATS, "K\3", "K\1K\3\x86", "K\0K\1\x86") "u."

static inline void put_torch_views(hd_buf *b)
{
    (void)put_torch(b, PK_BYTES(PK_VIEWS), false);
}

/* The float32 of a file whose entries are not aligned: the folder's name and no extra field put them at an odd place.
 */
static inline void put_torch_misaligned(hd_buf *b)
{
    size_t before = b->len;
    zip_places at = put_torch(b, PK_BYTES(PK_STATE(PK_MATRIX)), false);
    /* One byte of the padding goes to the data: the local header's extra field is one byte shorter. */
    size_t local = at.local[2], extra = local + 28;
    if (b->status != HD_OK || before != 0) return;
    size_t len = (uint8_t)b->data[extra] | (size_t)(uint8_t)b->data[extra + 1] << 8;
    set_le(b, extra, len - 1, 2);
}

#endif
