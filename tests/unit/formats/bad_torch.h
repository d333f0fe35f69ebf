/* bad_torch.h: the catalogues of bad PyTorch checkpoints: pickles that want to do more than build tensors or are
 * damaged, zips, and files whose parts are at odds. */
#ifndef HD_TESTS_BAD_TORCH_H
#define HD_TESTS_BAD_TORCH_H

#include "unit/formats/bad_file.h"
#include "unit/formats/good_torch.h"

/* ---- pickles ---- */

typedef struct bad_pickle {
    const char *name;
    const char *bytes;
    size_t len;
    hd_status status;
    const char *words;
} bad_pickle;

#define PK_ID(...) PK2 "}" PK_TEXT1("w") PK_V2 "(" __VA_ARGS__ "Q"
#define PK_SIZES(offset, size, stride) PK_STATE(PK_TENSOR(PK_FLOATS, offset, size, stride))
#define ONLY_TENSORS "is not allowed: a checkpoint may only build tensors"

static const bad_pickle bad_pickles[] = {
    /* what attacks are made of */
    {"bad-global-os-system", PK_BYTES(PK2 "cos\nsystem\nX\4\0\0\0true\x85R."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: 'os.system' " ONLY_TENSORS},
    {"bad-global-posix-system", PK_BYTES(PK2 "cposix\nsystem\nX\4\0\0\0true\x85R."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: 'posix.system' " ONLY_TENSORS},
    {"bad-global-eval", PK_BYTES(PK2 "c__builtin__\neval\nX\4\0\0\0None\x85R."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: '__builtin__.eval' " ONLY_TENSORS},
    {"bad-global-getattr", PK_BYTES(PK2 "cbuiltins\ngetattr\n."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: 'builtins.getattr' " ONLY_TENSORS},
    {"bad-global-torch-load", PK_BYTES(PK2 "ctorch\nload\n."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: 'torch.load' " ONLY_TENSORS},
    {"bad-global-load-from-bytes", PK_BYTES(PK2 "ctorch.storage\n_load_from_bytes\n."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: 'torch.storage._load_from_bytes' " ONLY_TENSORS},
    {"bad-global-typed-storage", PK_BYTES(PK2 "ctorch.storage\nTypedStorage\n."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: 'torch.storage.TypedStorage' " ONLY_TENSORS},
    {"bad-global-module-of-another", PK_BYTES(PK2 "ctorch\nOrderedDict\n."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: 'torch.OrderedDict' " ONLY_TENSORS},
    {"bad-global-dotted", PK_BYTES(PK2 "ccollections\nOrderedDict.__init__\n."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: 'collections.OrderedDict.__init__' " ONLY_TENSORS},
    {"bad-global-with-nul", PK_BYTES(PK2 "ccollections\nOrderedDict\0\n."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: 'collections.OrderedDict?' " ONLY_TENSORS},
    {"bad-global-with-escape", PK_BYTES(PK2 "c\33[2J\nx\n."), HD_E_UNSUPPORTED,
     "pickle opcode GLOBAL: '?[2J.x' " ONLY_TENSORS},
    {"bad-global-empty", PK_BYTES(PK2 "c\n\n."), HD_E_UNSUPPORTED, "pickle opcode GLOBAL: '.' " ONLY_TENSORS},
    {"bad-global-long",
     PK_BYTES(
         PK2
         "cxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx"
         "xxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxxx\nx\n."),
     HD_E_UNSUPPORTED, "pickle opcode GLOBAL: 'xxxx"},
    {"bad-global-cut", PK_BYTES(PK2 "cos"), HD_E_FORMAT, "pickle opcode GLOBAL: the pickle is cut short"},
    {"bad-stack-global-eval", PK_BYTES("\x80\4\x8c\10builtins\x8c\4eval\x93\x8c\4None\x85R."), HD_E_UNSUPPORTED,
     "pickle opcode STACK_GLOBAL: 'builtins.eval' " ONLY_TENSORS},
    {"bad-stack-global-of-numbers", PK_BYTES("\x80\4K\1K\2\x93."), HD_E_FORMAT,
     "pickle opcode STACK_GLOBAL: wants two strings, not int and int"},
    {"bad-inst", PK_BYTES(PK2 "(X\4\0\0\0trueios\nsystem\n."), HD_E_UNSUPPORTED, "pickle opcode INST: " ONLY_TENSORS},
    {"bad-obj", PK_BYTES(PK2 "(ccollections\nOrderedDict\no."), HD_E_UNSUPPORTED, "pickle opcode OBJ: " ONLY_TENSORS},
    {"bad-newobj", PK_BYTES(PK2 "ccollections\nOrderedDict\n)\x81."), HD_E_UNSUPPORTED,
     "pickle opcode NEWOBJ: " ONLY_TENSORS},
    {"bad-newobj-ex",
     PK_BYTES("\x80\4"
              "ccollections\nOrderedDict\n)}\x92."),
     HD_E_UNSUPPORTED, "pickle opcode NEWOBJ_EX: " ONLY_TENSORS},
    {"bad-ext1", PK_BYTES(PK2 "\x82\1."), HD_E_UNSUPPORTED, "pickle opcode EXT1: " ONLY_TENSORS},
    {"bad-ext2", PK_BYTES(PK2 "\x83\1\0."), HD_E_UNSUPPORTED, "pickle opcode EXT2: " ONLY_TENSORS},
    {"bad-ext4", PK_BYTES(PK2 "\x84\1\0\0\0."), HD_E_UNSUPPORTED, "pickle opcode EXT4: " ONLY_TENSORS},
    {"bad-persid", PK_BYTES(PK2 "Pstorage\n."), HD_E_UNSUPPORTED, "pickle opcode PERSID: " ONLY_TENSORS},
    {"bad-build-on-tensor", PK_BYTES(PK_STATE(PK_MATRIX "}b")), HD_E_UNSUPPORTED,
     "pickle opcode BUILD: on a tensor with a dict is not allowed"},
    {"bad-build-on-dict", PK_BYTES(PK2 "}}b."), HD_E_UNSUPPORTED, "pickle opcode BUILD: on a dict with a dict"},
    {"bad-build-on-global", PK_BYTES(PK2 "ccollections\nOrderedDict\n}b."), HD_E_UNSUPPORTED,
     "pickle opcode BUILD: on a name with a dict"},
    {"bad-build-with-tuple",
     PK_BYTES(PK2 PK_DICT "N}\x86"
                          "b."),
     HD_E_UNSUPPORTED, "pickle opcode BUILD: on a dict with a tuple"},
    {"bad-reduce-of-type", PK_BYTES(PK2 "ctorch\nFloatStorage\n)R."), HD_E_UNSUPPORTED,
     "pickle opcode REDUCE: 'torch.FloatStorage' may not be called"},
    {"bad-reduce-of-dtype", PK_BYTES(PK2 "ctorch\nfloat32\n)R."), HD_E_UNSUPPORTED,
     "pickle opcode REDUCE: 'torch.float32' may not be called"},
    {"bad-reduce-of-text", PK_BYTES(PK2 PK_TEXT1("f") ")R."), HD_E_FORMAT,
     "pickle opcode REDUCE: calls a string with a tuple"},
    {"bad-reduce-with-list", PK_BYTES(PK2 "ccollections\nOrderedDict\n]R."), HD_E_FORMAT,
     "pickle opcode REDUCE: calls a name with a list"},
    {"bad-reduce-dict-of-pairs", PK_BYTES(PK2 "ccollections\nOrderedDict\n]\x85R."), HD_E_UNSUPPORTED,
     "pickle opcode REDUCE: an OrderedDict made from arguments"},
    {"bad-pop", PK_BYTES(PK2 "N0."), HD_E_UNSUPPORTED, "pickle opcode POP: " ONLY_TENSORS},
    {"bad-dup", PK_BYTES(PK2 "N2."), HD_E_UNSUPPORTED, "pickle opcode DUP: " ONLY_TENSORS},
    {"bad-bytes", PK_BYTES("\x80\3C\1x."), HD_E_UNSUPPORTED, "pickle opcode SHORT_BINBYTES: " ONLY_TENSORS},
    {"bad-next-buffer", PK_BYTES("\x80\5\x97."), HD_E_UNSUPPORTED, "pickle opcode NEXT_BUFFER: " ONLY_TENSORS},
    {"bad-unknown", PK_BYTES(PK2 "\xff."), HD_E_FORMAT, "pickle opcode 0xff is not known"},
    /* storages */
    {"bad-id-text", PK_BYTES(PK_ID(PK_TEXT1("0"))), HD_E_FORMAT, "pickle opcode BINPERSID: the persistent id is not"},
    {"bad-id-of-4", PK_BYTES(PK_ID("(X\7\0\0\0storagectorch\nFloatStorage\n" PK_TEXT1("0") "K\6t")), HD_E_FORMAT,
     "pickle opcode BINPERSID: the persistent id is not"},
    {"bad-id-of-module", PK_BYTES(PK_ID("(X\6\0\0\0modulectorch\nFloatStorage\n" PK_TEXT1("0") PK_TEXT1("c") "K\6t")),
     HD_E_FORMAT, "pickle opcode BINPERSID: the persistent id is not"},
    {"bad-id-of-dtype", PK_BYTES(PK_ID("(X\7\0\0\0storagectorch\nfloat32\n" PK_TEXT1("0") PK_TEXT1("c") "K\6t")),
     HD_E_FORMAT, "pickle opcode BINPERSID: the persistent id is not"},
    {"bad-id-key-number", PK_BYTES(PK_ID("(X\7\0\0\0storagectorch\nFloatStorage\nK\0" PK_TEXT1("c") "K\6t")),
     HD_E_FORMAT, "pickle opcode BINPERSID: the persistent id is not"},
    {"bad-id-length-text",
     PK_BYTES(PK_ID("(X\7\0\0\0storagectorch\nFloatStorage\n" PK_TEXT1("0") PK_TEXT1("c") PK_TEXT1("6") "t")),
     HD_E_FORMAT, "pickle opcode BINPERSID: the persistent id is not"},
    {"bad-id-length-negative",
     PK_BYTES(PK_STATE(PK_TENSOR(PK_STORAGE("FloatStorage", "0", "J\xff\xff\xff\xff"), "K\0", "K\1\x85", "K\1\x85"))),
     HD_E_FORMAT, "pickle opcode BINPERSID: a storage of a negative length"},
    {"bad-id-of-nothing", PK_BYTES(PK2 "Q."), HD_E_FORMAT,
     "pickle opcode BINPERSID: wants 1 value, but the stack holds 0"},
    /* tensors */
    {"bad-tensor-of-5", PK_BYTES(PK_STATE(PK_V2 "(" PK_FLOATS "K\0K\6\x85K\1\x85\x89tR")), HD_E_FORMAT,
     "pickle opcode REDUCE: the arguments of _rebuild_tensor_v2 are not a tensor's"},
    {"bad-tensor-of-8", PK_BYTES(PK_STATE(PK_V2 "(" PK_FLOATS "K\0K\6\x85K\1\x85\x89NNNtR")), HD_E_FORMAT,
     "pickle opcode REDUCE: the arguments of _rebuild_tensor_v2 are not a tensor's"},
    {"bad-tensor-of-9", PK_BYTES(PK_STATE(PK_V2 "(" PK_FLOATS "K\0K\6\x85K\1\x85\x89NNNNtR")), HD_E_FORMAT,
     "pickle opcode REDUCE: calls a name with a long tuple"},
    {"bad-tensor-without-storage", PK_BYTES(PK_STATE(PK_V2 "(NK\0K\6\x85K\1\x85\x89NtR")), HD_E_FORMAT,
     "pickle opcode REDUCE: the arguments of _rebuild_tensor_v2 are not a tensor's"},
    {"bad-tensor-of-tensor", PK_BYTES(PK_STATE(PK_V2 "(" PK_MATRIX "K\0K\6\x85K\1\x85\x89NtR")), HD_E_FORMAT,
     "pickle opcode REDUCE: the arguments of _rebuild_tensor_v2 are not a tensor's"},
    {"bad-v3-without-dtype", PK_BYTES(PK_STATE(PK_V3 "(" PK_FLOATS "K\0K\6\x85K\1\x85\x89NNtR")), HD_E_FORMAT,
     "pickle opcode REDUCE: the arguments of _rebuild_tensor_v3 are not a tensor's"},
    {"bad-v3-of-storage-type", PK_BYTES(PK_STATE(PK_V3 "(" PK_FLOATS "K\0K\6\x85K\1\x85\x89Nctorch\nFloatStorage\ntR")),
     HD_E_FORMAT, "pickle opcode REDUCE: the arguments of _rebuild_tensor_v3 are not a tensor's"},
    {"bad-dtype", PK_BYTES(PK_STATE(PK_V3 "(" PK_FLOATS "K\0K\6\x85K\1\x85\x89Nctorch\ncomplex64\ntR")),
     HD_E_UNSUPPORTED, "pickle opcode GLOBAL: 'torch.complex64' " ONLY_TENSORS},
    {"bad-hooks", PK_BYTES(PK_STATE(PK_V2 "(" PK_FLOATS "K\0K\6\x85K\1\x85\x89}NNstR")), HD_E_UNSUPPORTED,
     "pickle opcode REDUCE: a tensor with hooks or metadata"},
    {"bad-metadata", PK_BYTES(PK_STATE(PK_V2 "(" PK_FLOATS "K\0K\6\x85K\1\x85\x89N}X\3\0\0\0neg\x88stR")),
     HD_E_UNSUPPORTED, "pickle opcode REDUCE: a tensor with hooks or metadata"},
    {"bad-offset-negative", PK_BYTES(PK_SIZES("J\xff\xff\xff\xff", "K\6\x85", "K\1\x85")), HD_E_FORMAT,
     "pickle opcode REDUCE: a tensor at a negative offset"},
    {"bad-offset-text", PK_BYTES(PK_SIZES(PK_TEXT1("0"), "K\6\x85", "K\1\x85")), HD_E_FORMAT,
     "pickle opcode REDUCE: the arguments of _rebuild_tensor_v2 are not a tensor's"},
    {"bad-offset-large",
     PK_BYTES(PK_SIZES("\x8a\11"
                       "123456789",
                       "K\6\x85", "K\1\x85")),
     HD_E_FORMAT, "pickle opcode REDUCE: the arguments of _rebuild_tensor_v2 are not a tensor's"},
    {"bad-size-negative", PK_BYTES(PK_SIZES("K\0", "J\xff\xff\xff\xff\x85", "K\1\x85")), HD_E_FORMAT,
     "pickle opcode REDUCE: a tensor's size is not a tuple of integers of at least 0"},
    {"bad-size-list", PK_BYTES(PK_SIZES("K\0", "]K\6a", "K\1\x85")), HD_E_FORMAT,
     "pickle opcode REDUCE: a tensor's size is not a tuple"},
    {"bad-size-bool", PK_BYTES(PK_SIZES("K\0", "\x88\x85", "K\1\x85")), HD_E_FORMAT,
     "pickle opcode REDUCE: a tensor's size is not a tuple"},
    {"bad-stride-negative", PK_BYTES(PK_SIZES("K\0", "K\6\x85", "\x8a\1\xff\x85")), HD_E_FORMAT,
     "pickle opcode REDUCE: a tensor's stride is not a tuple"},
    {"bad-stride-missing", PK_BYTES(PK_SIZES("K\0", "K\2K\3\x86", "K\1\x85")), HD_E_FORMAT,
     "pickle opcode REDUCE: a tensor of 2 sizes and 1 strides"},
    {"bad-dims-5", PK_BYTES(PK_SIZES("K\0", "(K\1K\1K\1K\1K\1t", "(K\1K\1K\1K\1K\1t")), HD_E_UNSUPPORTED,
     "pickle opcode REDUCE: a tensor of more than 4 dimensions"},
    {"bad-dims-9", PK_BYTES(PK_SIZES("K\0", "(K\1K\1K\1K\1K\1K\1K\1K\1K\1t", ")")), HD_E_UNSUPPORTED,
     "pickle opcode REDUCE: a tensor of more than 4 dimensions"},
    {"bad-parameter-of-none", PK_BYTES(PK_STATE(PK_PARAMETER "N\x88N\x87R")), HD_E_FORMAT,
     "pickle opcode REDUCE: the arguments of _rebuild_parameter are not a parameter's"},
    {"bad-parameter-of-2", PK_BYTES(PK_STATE(PK_PARAMETER PK_MATRIX "\x88\x86R")), HD_E_FORMAT,
     "pickle opcode REDUCE: the arguments of _rebuild_parameter are not a parameter's"},
    /* the stack machine */
    {"bad-empty", PK_BYTES(""), HD_E_FORMAT, "the pickle does not begin with opcode PROTO"},
    {"bad-protocol-0", PK_BYTES("(dp0\n."), HD_E_FORMAT, "the pickle does not begin with opcode PROTO"},
    {"bad-protocol-1", PK_BYTES("\x80\1}."), HD_E_UNSUPPORTED, "pickle opcode PROTO: protocol 1; 2 to 5 are read"},
    {"bad-protocol-6", PK_BYTES("\x80\6}."), HD_E_UNSUPPORTED, "pickle opcode PROTO: protocol 6; 2 to 5 are read"},
    {"bad-proto-again", PK_BYTES(PK2 "}\x80\2."), HD_E_FORMAT, "pickle opcode PROTO: stands elsewhere"},
    {"bad-frame-long", PK_BYTES("\x80\4\x95\2\0\0\0\0\0\0\0."), HD_E_FORMAT,
     "pickle opcode FRAME: the frame is longer"},
    {"bad-without-stop", PK_BYTES(PK2 "}"), HD_E_FORMAT, "the pickle is cut short: it lacks opcode STOP"},
    {"bad-bytes-behind-stop", PK_BYTES(PK2 "}.."), HD_E_FORMAT, "pickle opcode STOP: 1 bytes follow"},
    {"bad-stop-of-nothing", PK_BYTES(PK2 "."), HD_E_FORMAT, "pickle opcode STOP: 0 values and 0 marks are left"},
    {"bad-stop-of-two", PK_BYTES(PK2 "NN."), HD_E_FORMAT, "pickle opcode STOP: 2 values and 0 marks are left"},
    {"bad-stop-in-mark", PK_BYTES(PK2 "}(."), HD_E_FORMAT, "pickle opcode STOP: 1 values and 1 marks are left"},
    {"bad-tuple-without-mark", PK_BYTES(PK2 "NNt."), HD_E_FORMAT, "pickle opcode TUPLE: there is no MARK"},
    {"bad-tuple-of-nothing", PK_BYTES(PK2 "N(\x85."), HD_E_FORMAT,
     "pickle opcode TUPLE1: wants 1 value, but the stack holds 0"},
    {"bad-tuple3-of-2", PK_BYTES(PK2 "NN\x87."), HD_E_FORMAT,
     "pickle opcode TUPLE3: wants 3 values, but the stack holds 2"},
    {"bad-tuple2-of-1", PK_BYTES(PK2 "N\x86."), HD_E_FORMAT,
     "pickle opcode TUPLE2: wants 2 values, but the stack holds 1"},
    {"bad-append-to-dict", PK_BYTES(PK2 "}Na."), HD_E_FORMAT, "pickle opcode APPEND: adds to a dict, not to a list"},
    {"bad-append-to-nothing", PK_BYTES(PK2 "Na."), HD_E_FORMAT, "pickle opcode APPEND: wants 1 value"},
    {"bad-appends-to-tuple", PK_BYTES(PK2 ")(Ne."), HD_E_FORMAT,
     "pickle opcode APPENDS: adds to a tuple, not to a list"},
    {"bad-appends-without-mark", PK_BYTES(PK2 "]Ne."), HD_E_FORMAT, "pickle opcode APPENDS: there is no MARK"},
    {"bad-setitem-on-list", PK_BYTES(PK2 "]NNs."), HD_E_FORMAT, "pickle opcode SETITEM: adds to a list, not to a dict"},
    {"bad-setitem-of-1", PK_BYTES(PK2 "}Ns."), HD_E_FORMAT, "pickle opcode SETITEM: wants 3 values"},
    {"bad-setitems-odd", PK_BYTES(PK2 "}(Nu."), HD_E_FORMAT, "pickle opcode SETITEMS: a key without a value"},
    {"bad-setitems-on-tensor", PK_BYTES(PK2 PK_MATRIX "(NNu."), HD_E_FORMAT,
     "pickle opcode SETITEMS: adds to a tensor"},
    {"bad-setitems-without-mark", PK_BYTES(PK2 "}NNu."), HD_E_FORMAT, "pickle opcode SETITEMS: there is no MARK"},
    {"bad-put-far", PK_BYTES(PK2 "}r\xff\xff\xff\xff."), HD_E_FORMAT,
     "pickle opcode LONG_BINPUT: entry 4294967295 of a memo that has 0"},
    {"bad-put-of-nothing", PK_BYTES(PK2 "q\0."), HD_E_FORMAT, "pickle opcode BINPUT: wants 1 value"},
    {"bad-get-unset", PK_BYTES(PK2 "h\0."), HD_E_FORMAT, "pickle opcode BINGET: entry 0 of a memo that has 0"},
    {"bad-get-far", PK_BYTES(PK2 "}q\0j\1\0\0\0."), HD_E_FORMAT,
     "pickle opcode LONG_BINGET: entry 1 of a memo that has 1"},
    {"bad-memoize-of-nothing", PK_BYTES("\x80\4\x94."), HD_E_FORMAT, "pickle opcode MEMOIZE: wants 1 value"},
    {"bad-text-past-end", PK_BYTES(PK2 "X\2\0\0\0x"), HD_E_FORMAT, "pickle opcode BINUNICODE: the pickle is cut short"},
    {"bad-text-huge", PK_BYTES(PK2 "X\1\0\x10\0x"), HD_E_LIMIT,
     "pickle opcode BINUNICODE: a string of 1048577 bytes; at most 1048576 are read"},
    {"bad-text8-huge", PK_BYTES("\x80\4\x8d\xff\xff\xff\xff\xff\xff\xff\xff."), HD_E_LIMIT,
     "pickle opcode BINUNICODE8: a string of 18446744073709551615 bytes"},
    {"bad-long1-cut", PK_BYTES(PK2 "\x8a\x08\1"), HD_E_FORMAT, "pickle opcode LONG1: the pickle is cut short"},
    {"bad-float-cut", PK_BYTES(PK2 "G\1"), HD_E_FORMAT, "pickle opcode BINFLOAT: the pickle is cut short"},
    /* what was built */
    {"bad-is-none", PK_BYTES(PK2 "N."), HD_E_FORMAT, "the pickle holds no state dict"},
    {"bad-is-tensor", PK_BYTES(PK2 PK_MATRIX "."), HD_E_FORMAT, "the pickle holds no state dict"},
    {"bad-is-empty-dict", PK_BYTES(PK2 "}."), HD_E_FORMAT, "the pickle holds no state dict"},
    {"bad-nested-twice", PK_BYTES(PK2 "}X\5\0\0\0model}X\5\0\0\0model}" PK_TEXT1("w") PK_MATRIX "sss."), HD_E_FORMAT,
     "the pickle holds no state dict"},
    {"bad-nested-elsewhere", PK_BYTES(PK2 "}X\3\0\0\0net}" PK_TEXT1("w") PK_MATRIX "ss."), HD_E_FORMAT,
     "the pickle holds no state dict"},
    {"bad-list-of-tensors", PK_BYTES(PK2 "]" PK_MATRIX "a."), HD_E_FORMAT, "the pickle holds no state dict"},
    {"bad-dict-in-itself", PK_BYTES(PK2 "}q\0" PK_TEXT1("w") PK_MATRIX "sX\5\0\0\0modelh\0s."), HD_E_UNSUPPORTED,
     "the state dict's entry 'model' is a dict, not a tensor"},
    {"bad-list-in-itself", PK_BYTES(PK2 "]q\0h\0a."), HD_E_FORMAT, "the pickle holds no state dict"},
    {"bad-laughs", /* a tuple of two tuples of two tuples ... : 2^8 values, were anybody to walk them */
     PK_BYTES(PK2 "}" PK_TEXT1("w") PK_MATRIX
              "s" PK_TEXT1("x") "]q\0h\0\x86q\1h\1\x86q\2h\2\x86q\3h\3\x86q\4h\4\x86q\5h\5"
                                "\x86q\6h\6\x86q\7h\7\x86s."),
     HD_E_UNSUPPORTED, "the state dict's entry 'x' is a tuple, not a tensor"},
    {"bad-key-number", PK_BYTES(PK2 "}K\1" PK_MATRIX "s."), HD_E_FORMAT, "a key that is a int, not a string"},
    {"bad-name-empty", PK_BYTES(PK2 "}X\0\0\0\0" PK_MATRIX "s."), HD_E_FORMAT, "the tensor name '' is not"},
    {"bad-name-with-control", PK_BYTES(PK2 "}" PK_TEXT1("\n") PK_MATRIX "s."), HD_E_FORMAT,
     "the tensor name '?' is not"},
    {"bad-name-not-utf8", PK_BYTES(PK2 "}" PK_TEXT1("\xff") PK_MATRIX "s."), HD_E_FORMAT, "the tensor name '?' is not"},
    {"bad-name-twice", PK_BYTES(PK2 "}(" PK_TEXT1("w") PK_MATRIX PK_TEXT1("w") PK_HALF "u."), HD_E_FORMAT,
     "the state dict has two tensors 'w'"},
};

/* As many of an opcode as a limit forbids. */
static void put_many(hd_buf *b, const char *start, char opcode, size_t count)
{
    (void)hd_buf_puts(b, start);
    if (hd_buf_reserve(b, count) != HD_OK) return;
    for (size_t i = 0; i < count; i++)
        (void)hd_buf_putc(b, opcode);
}

static void pickle_marks(hd_buf *b)
{
    put_many(b, PK2, '(', 257);
}

static void pickle_stack(hd_buf *b)
{
    put_many(b, PK2, ']', 1048577);
}

static void pickle_memo(hd_buf *b)
{
    put_many(b, "\x80\4N", (char)0x94, 4194305);
}

static void pickle_objects(hd_buf *b)
{
    put_many(b, PK2 "N", (char)0x85, 16777217);
}

static void pickle_bytes(hd_buf *b)
{
    put_many(b, PK2, 'N', (size_t)64 << 20);
}

static const bad_file bad_pickles_large[] = {
    {"bad-marks", pickle_marks, HD_E_LIMIT, "pickle opcode MARK: more than 256 open marks"},
    {"bad-stack", pickle_stack, HD_E_LIMIT, "pickle opcode EMPTY_LIST: more than 1048576 values on the stack"},
    {"bad-memo", pickle_memo, HD_E_LIMIT, "pickle opcode MEMOIZE: more than 4194304 values are remembered"},
    {"bad-objects", pickle_objects, HD_E_LIMIT, "pickle opcode TUPLE1: its values take more than 268435456 bytes"},
    {"bad-bytes", pickle_bytes, HD_E_LIMIT, "a pickle of 67108866 bytes; at most 67108864 are read"},
};

/* ---- zips ---- */

static zip_places put_two(hd_buf *b, bool wide)
{
    static const zip_part parts[] = {{"m/data.pkl", "first", 5}, {"m/data/0", "second", 6}};
    return put_zip(b, parts, HD_ARRAY_LEN(parts), wide);
}

static void zip_empty(hd_buf *b)
{
    (void)hd_buf_reserve(b, 1);
}

static void zip_cut(hd_buf *b)
{
    (void)put_two(b, false);
    hd_buf_truncate(b, b->len - 1);
}

static void zip_not(hd_buf *b)
{
    (void)hd_buf_puts(b, "PK\3\4 and then something that is no zip at all");
}

static void zip_comment(hd_buf *b)
{
    set_le(b, put_two(b, false).end + 20, 1, 2);
}

static void zip_disk(hd_buf *b)
{
    set_le(b, put_two(b, false).end + 4, 1, 2);
}

static void zip_entries_here(hd_buf *b)
{
    set_le(b, put_two(b, false).end + 8, 1, 2);
}

static void zip_directory_outside(hd_buf *b)
{
    set_le(b, put_two(b, false).end + 16, 0xfffffff0, 4);
}

static void zip_directory_short(hd_buf *b)
{
    set_le(b, put_two(b, false).end + 12, 40, 4);
}

static void zip_entries_too_many(hd_buf *b)
{
    set_le(b, put_two(b, false).end + 8, 0x00ff00ff, 4);
}

static void zip_entries_too_few(hd_buf *b)
{
    set_le(b, put_two(b, false).end + 8, 0x00010001, 4);
}

static void zip_locator_past_end(hd_buf *b)
{
    set_le(b, put_two(b, true).locator + 8, UINT64_MAX - 3, 8);
}

static void zip_locator_elsewhere(hd_buf *b)
{
    set_le(b, put_two(b, true).locator + 8, 0, 8);
}

static void zip_locator_disks(hd_buf *b)
{
    set_le(b, put_two(b, true).locator + 16, 2, 4);
}

static void zip_end64_disk(hd_buf *b)
{
    set_le(b, put_two(b, true).end64 + 16, 1, 4);
}

static void zip_end64_huge(hd_buf *b)
{
    zip_places at = put_two(b, true);
    set_le(b, at.end64 + 24, UINT64_MAX, 8);
    set_le(b, at.end64 + 32, UINT64_MAX, 8);
}

static void zip_ends_disagree(hd_buf *b)
{
    set_le(b, put_two(b, true).end + 16, 7, 4);
}

static void zip_entry_signature(hd_buf *b)
{
    set_le(b, put_two(b, false).entry[1], 0, 4);
}

static void zip_entry_name_long(hd_buf *b)
{
    set_le(b, put_two(b, false).entry[1] + 28, 0xffff, 2);
}

static void zip_entry_name_empty(hd_buf *b)
{
    zip_places at = put_two(b, false);
    set_le(b, at.entry[1] + 28, 0, 2);
    set_le(b, at.entry[1] + 32, 8, 2); /* the name becomes a comment */
}

static void zip_entry_name_control(hd_buf *b)
{
    set_le(b, put_two(b, false).entry[1] + 46, '\n', 1);
}

static void zip_entry_disk(hd_buf *b)
{
    set_le(b, put_two(b, false).entry[1] + 34, 1, 2);
}

static void zip_entry_without_wide(hd_buf *b)
{
    set_le(b, put_two(b, false).entry[1] + 42, UINT32_MAX, 4);
}

static void zip_entry_wide_short(hd_buf *b)
{
    set_le(b, put_two(b, true).entry[1] + 46 + 8 + 5 + 2, 16, 2);
}

static void zip_entry_wide_past_end(hd_buf *b)
{
    set_le(b, put_two(b, true).entry[1] + 46 + 8 + 5 + 2, 0xffff, 2);
}

static void zip_encrypted(hd_buf *b)
{
    set_le(b, put_two(b, false).entry[1] + 8, 0x0809, 2);
}

static void zip_flags(hd_buf *b)
{
    set_le(b, put_two(b, false).entry[1] + 8, 0x0828, 2);
}

static void zip_compressed(hd_buf *b)
{
    set_le(b, put_two(b, false).entry[1] + 10, 8, 2);
}

static void zip_sizes_differ(hd_buf *b)
{
    set_le(b, put_two(b, false).entry[1] + 20, 5, 4);
}

static void zip_local_outside(hd_buf *b)
{
    set_le(b, put_two(b, false).entry[1] + 42, 0x7fffffff, 4);
}

static void zip_local_signature(hd_buf *b)
{
    set_le(b, put_two(b, false).local[1], 0, 4);
}

static void zip_local_name(hd_buf *b)
{
    set_le(b, put_two(b, false).local[1] + 30, 'x', 1);
}

static void zip_local_method(hd_buf *b)
{
    set_le(b, put_two(b, false).local[1] + 8, 8, 2);
}

static void zip_local_extra(hd_buf *b)
{
    set_le(b, put_two(b, false).local[1] + 28, 0xffff, 2);
}

static void zip_bytes_outside(hd_buf *b)
{
    zip_places at = put_two(b, false);
    set_le(b, at.entry[1] + 20, 4096, 4);
    set_le(b, at.entry[1] + 24, 4096, 4);
}

static void zip_bytes_huge(hd_buf *b)
{
    zip_places at = put_two(b, true);
    set_le(b, at.entry[1] + 46 + 8 + 5 + 4, UINT64_MAX, 8);
    set_le(b, at.entry[1] + 46 + 8 + 5 + 12, UINT64_MAX, 8);
}

static void zip_overlap(hd_buf *b)
{
    zip_places at = put_two(b, false);
    set_le(b, at.entry[0] + 20, 64, 4);
    set_le(b, at.entry[0] + 24, 64, 4);
}

static void zip_name_twice(hd_buf *b)
{
    static const zip_part parts[] = {{"m/data.pkl", "first", 5}, {"m/data.pkl", "second", 6}};
    (void)put_zip(b, parts, HD_ARRAY_LEN(parts), false);
}

/* An end record that promises more entries than are read; the directory has the bytes for them. */
static void zip_entries_over_limit(hd_buf *b)
{
    size_t count = 1048577, bytes = count * 46;
    put_many(b, "", 0, bytes);
    put_zip_le(b, 0x06064b50, 4);
    put_zip_le(b, 44, 8);
    put_zip_le(b, 0, 2 + 2 + 4 + 4);
    put_zip_le(b, count, 8);
    put_zip_le(b, count, 8);
    put_zip_le(b, bytes, 8);
    put_zip_le(b, 0, 8);
    put_zip_le(b, 0x07064b50, 4);
    put_zip_le(b, 0, 4);
    put_zip_le(b, bytes, 8);
    put_zip_le(b, 1, 4);
    put_zip_le(b, 0x06054b50, 4);
    put_zip_le(b, 0, 4);
    put_zip_le(b, UINT64_MAX, 2 + 2 + 4);
    put_zip_le(b, UINT32_MAX, 4);
    put_zip_le(b, 0, 2);
}

static const bad_file bad_zip[] = {
    {"bad-zip-empty", zip_empty, HD_E_FORMAT, "not a zip file, or cut short"},
    {"bad-zip-cut", zip_cut, HD_E_FORMAT, "not a zip file, or cut short"},
    {"bad-zip-not", zip_not, HD_E_FORMAT, "not a zip file, or cut short"},
    {"bad-zip-comment", zip_comment, HD_E_FORMAT, "a zip with a comment that is cut short"},
    {"bad-zip-disk", zip_disk, HD_E_UNSUPPORTED, "a zip on several disks"},
    {"bad-zip-entries-here", zip_entries_here, HD_E_UNSUPPORTED, "a zip on several disks"},
    {"bad-zip-directory-outside", zip_directory_outside, HD_E_FORMAT, "does not end where its end record begins"},
    {"bad-zip-directory-short", zip_directory_short, HD_E_FORMAT, "directory (40 bytes at"},
    {"bad-zip-entries-too-many", zip_entries_too_many, HD_E_FORMAT,
     "255 zip entries don't fit into a directory of 110"},
    {"bad-zip-entries-too-few", zip_entries_too_few, HD_E_FORMAT, "holds more than its 1 entries"},
    {"bad-zip-locator-past-end", zip_locator_past_end, HD_E_FORMAT, "64-bit end record is not where its locator says"},
    {"bad-zip-locator-elsewhere", zip_locator_elsewhere, HD_E_FORMAT,
     "64-bit end record is not where its locator says"},
    {"bad-zip-locator-disks", zip_locator_disks, HD_E_UNSUPPORTED, "a zip on several disks"},
    {"bad-zip-end64-disk", zip_end64_disk, HD_E_UNSUPPORTED, "a zip on several disks"},
    {"bad-zip-end64-huge", zip_end64_huge, HD_E_FORMAT, "don't fit into a directory of"},
    {"bad-zip-ends-disagree", zip_ends_disagree, HD_E_FORMAT, "the zip's two end records disagree"},
    {"bad-zip-entry-signature", zip_entry_signature, HD_E_FORMAT, "an entry is cut short or has no signature"},
    {"bad-zip-entry-name-long", zip_entry_name_long, HD_E_FORMAT, "an entry is cut short or has no signature"},
    {"bad-zip-entry-name-empty", zip_entry_name_empty, HD_E_FORMAT, "the zip entry's name '' is not"},
    {"bad-zip-entry-name-control", zip_entry_name_control, HD_E_FORMAT, "the zip entry's name '?/data/0' is not"},
    {"bad-zip-entry-disk", zip_entry_disk, HD_E_UNSUPPORTED, "a zip on several disks"},
    {"bad-zip-entry-without-wide", zip_entry_without_wide, HD_E_FORMAT, "'m/data/0': its 64-bit sizes are missing"},
    {"bad-zip-entry-wide-short", zip_entry_wide_short, HD_E_FORMAT, "'m/data/0': its 64-bit sizes are missing"},
    {"bad-zip-entry-wide-past-end", zip_entry_wide_past_end, HD_E_FORMAT, "'m/data/0': its 64-bit sizes are missing"},
    {"bad-zip-encrypted", zip_encrypted, HD_E_UNSUPPORTED, "zip entry 'm/data/0' is encrypted"},
    {"bad-zip-flags", zip_flags, HD_E_UNSUPPORTED, "zip entry 'm/data/0' has flags 0x0828, which are not known"},
    {"bad-zip-compressed", zip_compressed, HD_E_UNSUPPORTED, "zip entry 'm/data/0' is compressed (method 8)"},
    {"bad-zip-sizes-differ", zip_sizes_differ, HD_E_FORMAT, "'m/data/0' is stored, but its two sizes differ"},
    {"bad-zip-local-outside", zip_local_outside, HD_E_FORMAT, "zip entry 'm/data/0' lies outside the file"},
    {"bad-zip-local-signature", zip_local_signature, HD_E_FORMAT, "'m/data/0': its local header is missing"},
    {"bad-zip-local-name", zip_local_name, HD_E_FORMAT, "'m/data/0': its local header is missing or speaks of another"},
    {"bad-zip-local-method", zip_local_method, HD_E_FORMAT,
     "'m/data/0': its local header is missing or speaks of another"},
    {"bad-zip-local-extra", zip_local_extra, HD_E_FORMAT, "'m/data/0': its local header is missing"},
    {"bad-zip-bytes-outside", zip_bytes_outside, HD_E_FORMAT, "zip entry 'm/data/0' lies outside the file"},
    {"bad-zip-bytes-huge", zip_bytes_huge, HD_E_FORMAT, "zip entry 'm/data/0' lies outside the file"},
    {"bad-zip-overlap", zip_overlap, HD_E_FORMAT, "the zip entries 'm/data.pkl' and 'm/data/0' overlap"},
    {"bad-zip-name-twice", zip_name_twice, HD_E_FORMAT, "the zip has two entries 'm/data.pkl'"},
};

static const bad_file bad_zip_large[] = {
    {"bad-zip-entries-over-limit", zip_entries_over_limit, HD_E_LIMIT, "1048577 zip entries; at most 1048576 are read"},
};

/* ---- files whose parts are at odds ---- */

static void put_parts(hd_buf *b, const char *first, const char *second, const char *second_bytes)
{
    const zip_part parts[] = {{first, PK_BYTES(PK_STATE(PK_MATRIX))}, {second, second_bytes, strlen(second_bytes)}};
    (void)put_zip(b, parts, HD_ARRAY_LEN(parts), false);
}

static void torch_without_pickle(hd_buf *b)
{
    put_parts(b, "m/data.txt", "m/data/0", "");
}

static void torch_pickle_at_root(hd_buf *b)
{
    put_parts(b, "data.pkl", "data/0", "");
}

static void torch_pickle_below(hd_buf *b)
{
    put_parts(b, "m/code/data.pkl", "m/data/0", "");
}

static void torch_two_pickles(hd_buf *b)
{
    put_parts(b, "m/data.pkl", "n/data.pkl", "");
}

static void torch_big_endian(hd_buf *b)
{
    put_parts(b, "m/data.pkl", "m/byteorder", "big");
}

static void torch_folder_long(hd_buf *b)
{
    char name[300];
    memset(name, 'f', sizeof name);
    memcpy(name + 256, "/data.pkl", 10);
    put_parts(b, name, "x", "");
}

static void torch_storage_missing(hd_buf *b)
{
    put_parts(b, "m/data.pkl", "n/data/0", "123456781234567812345678");
}

static void torch_storage_short(hd_buf *b)
{
    put_parts(b, "m/data.pkl", "m/data/0", "12345678123456781234567");
}

static void torch_bad_pickle(hd_buf *b)
{
    (void)put_torch(b, PK_BYTES(PK2 "cos\nsystem\nX\4\0\0\0true\x85R."), false);
}

static void torch_storage_key_long(hd_buf *b)
{
    hd_buf pickle;
    hd_buf_init(&pickle, 4096);
    (void)hd_buf_append(&pickle,
                        PK_BYTES(PK2 "}" PK_TEXT1("w") PK_V2 "((X\7\0\0\0storagectorch\nFloatStorage\nX\0\1\0\0"));
    for (int i = 0; i < 256; i++)
        (void)hd_buf_putc(&pickle, '0');
    (void)hd_buf_append(&pickle, PK_BYTES("X\3\0\0\0cpuK\6tQK\0K\6\x85K\1\x85\x89NtRs."));
    (void)put_torch(b, pickle.data, pickle.len, false);
    hd_buf_free(&pickle);
}

#define TORCH_TENSOR(function, storage, offset, size, stride)                                                          \
    static void function(hd_buf *b)                                                                                    \
    {                                                                                                                  \
        (void)put_torch(b, PK_BYTES(PK_STATE(PK_TENSOR(storage, offset, size, stride))), false);                       \
    }

/* 2^62 as an opcode. */
#define HUGE_NUMBER "\x8a\10\0\0\0\0\0\0\0\x40"

TORCH_TENSOR(torch_storage_overflow, PK_STORAGE("DoubleStorage", "0", HUGE_NUMBER), "K\0", "K\1\x85", "K\1\x85")
TORCH_TENSOR(torch_storage_of_another_type, PK_STORAGE("HalfStorage", "0", "K\6"), "K\0", "K\6\x85", "K\1\x85")
TORCH_TENSOR(torch_past_storage, PK_FLOATS, "K\0", "K\7\x85", "K\1\x85")
TORCH_TENSOR(torch_offset_past_storage, PK_FLOATS, "K\6", ")", ")")
TORCH_TENSOR(torch_offset_huge, PK_FLOATS, HUGE_NUMBER, "K\1\x85", "K\1\x85")
TORCH_TENSOR(torch_stride_past_storage, PK_FLOATS, "K\0", "K\3\x85", "K\3\x85")
TORCH_TENSOR(torch_stride_overflow, PK_FLOATS, "K\0", "K\7K\7\x86", HUGE_NUMBER HUGE_NUMBER "\x86")
TORCH_TENSOR(torch_shape_overflow, PK_FLOATS, "K\0", HUGE_NUMBER HUGE_NUMBER "\x86", "K\0K\0\x86")
TORCH_TENSOR(torch_bytes_overflow, PK_FLOATS, "K\0", HUGE_NUMBER "\x85", "K\0\x85")
TORCH_TENSOR(torch_expanded, PK_FLOATS, "K\0", "M\xff\xff\x85", "K\0\x85")
TORCH_TENSOR(torch_strides_overlap, PK_FLOATS, "K\0", "K\3K\2\x86", "K\1K\1\x86")
TORCH_TENSOR(torch_strides_meet, PK_FLOATS, "K\0", "K\2K\3\x86", "K\2K\1\x86")

/* Transposed matrices of one storage: each alone is fine, all together are more than the file. */
static void torch_copies(hd_buf *b)
{
    hd_buf pickle;
    hd_buf_init(&pickle, 4096);
    (void)hd_buf_append(&pickle, PK_BYTES(PK2 "}("));
    (void)hd_buf_append(&pickle, PK_BYTES(PK_TEXT1("0")));
    (void)hd_buf_append(&pickle, PK_BYTES(PK_V2 "q\0(" PK_STORAGE(
                                     "HalfStorage", "1", "M\0\1") "q\1K\0K\x10K\x10\x86q\2K\1K\x10\x86q\3\x89NtR"));
    for (char i = 1; i < 10; i++) {
        (void)hd_buf_append(&pickle, PK_BYTES("X\1\0\0\0"));
        (void)hd_buf_putc(&pickle, (char)('0' + i));
        (void)hd_buf_append(&pickle, PK_BYTES("h\0(h\1K\0h\2h\3\x89NtR"));
    }
    (void)hd_buf_append(&pickle, PK_BYTES("u."));
    (void)put_torch(b, pickle.data, pickle.len, false);
    hd_buf_free(&pickle);
}

/* What torch.save wrote before 1.6. */
static void torch_old(hd_buf *b)
{
    (void)hd_buf_append(b, PK_BYTES("\x80\2\x8a\12l\xfc\x9c\x46\xf9 j\xa8P\x19.\x80\2M\xe9\3."));
}

static const bad_file bad_torch[] = {
    {"bad-without-pickle", torch_without_pickle, HD_E_FORMAT, "not a PyTorch checkpoint: the zip has no NAME/data.pkl"},
    {"bad-pickle-at-root", torch_pickle_at_root, HD_E_FORMAT, "not a PyTorch checkpoint: the zip has no NAME/data.pkl"},
    {"bad-pickle-below", torch_pickle_below, HD_E_FORMAT, "not a PyTorch checkpoint: the zip has no NAME/data.pkl"},
    {"bad-two-pickles", torch_two_pickles, HD_E_FORMAT, "the zip has two data.pkl"},
    {"bad-big-endian", torch_big_endian, HD_E_UNSUPPORTED, "the byte order is 'big'; only 'little' is read"},
    {"bad-folder-long", torch_folder_long, HD_E_LIMIT, "a name of 256 bytes; at most 255"},
    {"bad-pickle", torch_bad_pickle, HD_E_UNSUPPORTED, "pickle opcode GLOBAL: 'os.system' " ONLY_TENSORS},
    {"bad-storage-missing", torch_storage_missing, HD_E_FORMAT, "tensor 'w': its storage 'data/0' is not in the zip"},
    {"bad-storage-key-long", torch_storage_key_long, HD_E_FORMAT, "000...' is not in the zip"},
    {"bad-storage-short", torch_storage_short, HD_E_FORMAT, "its storage 'data/0' has 23 bytes, not 6 of type F32"},
    {"bad-storage-overflow", torch_storage_overflow, HD_E_FORMAT, "has 24 bytes, not 4611686018427387904 of type F64"},
    {"bad-storage-of-another-type", torch_storage_of_another_type, HD_E_FORMAT, "has 24 bytes, not 6 of type F16"},
    {"bad-past-storage", torch_past_storage, HD_E_FORMAT, "tensor 'w' leads out of its storage 'data/0'"},
    {"bad-offset-past-storage", torch_offset_past_storage, HD_E_FORMAT, "tensor 'w' leads out of its storage"},
    {"bad-offset-huge", torch_offset_huge, HD_E_FORMAT, "tensor 'w' leads out of its storage"},
    {"bad-stride-past-storage", torch_stride_past_storage, HD_E_FORMAT, "tensor 'w' leads out of its storage"},
    {"bad-stride-overflow", torch_stride_overflow, HD_E_FORMAT, "tensor 'w' leads out of its storage"},
    {"bad-shape-overflow", torch_shape_overflow, HD_E_FORMAT, "tensor 'w': the number of its values overflows"},
    {"bad-bytes-overflow", torch_bytes_overflow, HD_E_FORMAT, "tensor 'w': the number of its bytes overflows"},
    {"bad-expanded", torch_expanded, HD_E_UNSUPPORTED, "tensor 'w': its strides make values overlap"},
    {"bad-strides-overlap", torch_strides_overlap, HD_E_UNSUPPORTED, "tensor 'w': its strides make values overlap"},
    {"bad-strides-meet", torch_strides_meet, HD_E_UNSUPPORTED, "tensor 'w': its strides make values overlap"},
    {"bad-copies", torch_copies, HD_E_LIMIT, "that are not stored row by row have more bytes than the file"},
    {"bad-old", torch_old, HD_E_UNSUPPORTED, "written by torch.save from before version 1.6"},
};

#endif
