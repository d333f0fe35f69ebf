"""PyTorch checkpoints without PyTorch: a zip and a pickle as torch.save writes them, by the standard library.

Pickle stores functions and classes by module and name, so stand-ins in modules of the same names are all that it takes.
"""

import collections
import json
import pickle
import struct
import sys
import types
import unittest.mock
import zipfile
from pathlib import Path

STORAGES = {"F32": ("FloatStorage", 4), "F16": ("HalfStorage", 2), "BF16": ("BFloat16Storage", 2), "F64": ("DoubleStorage", 8),
            "I64": ("LongStorage", 8), "I32": ("IntStorage", 4), "U8": ("ByteStorage", 1)}
# Types that torch.save has no storage class for.
UNTYPED = {"F8_E4M3": "float8_e4m3fn", "F8_E5M2": "float8_e5m2"}


def stand_in(module, name, value):
    value.__module__, value.__name__, value.__qualname__ = module.__name__, name, name
    setattr(module, name, value)
    return value


class Dtype:
    def __init__(self, name):
        self.name = name

    def __reduce__(self):
        return self.name  # pickled as a global of its module


def modules():
    torch, utils, storage = (types.ModuleType(name) for name in ("torch", "torch._utils", "torch.storage"))
    for name, _ in STORAGES.values():
        stand_in(torch, name, type(name, (), {}))
    stand_in(storage, "UntypedStorage", type("UntypedStorage", (), {}))
    for version in ("v2", "v3"):
        stand_in(utils, f"_rebuild_tensor_{version}", lambda *args: args)
    for name in UNTYPED.values():
        dtype = Dtype(name)
        dtype.__module__ = "torch"
        setattr(torch, name, dtype)
    return {m.__name__: m for m in (torch, utils, storage)}


class Storage:
    def __init__(self, kind, key, count):
        self.id = ("storage", kind, str(key), "cpu", count)


class Tensor:
    def __init__(self, rebuild, *args):
        self.how = (rebuild, args)

    def __reduce__(self):
        return self.how


class Pickler(pickle.Pickler):
    def persistent_id(self, obj):
        return obj.id if isinstance(obj, Storage) else None


def read_safetensors(path):
    """{name: (dtype, shape, bytes)}"""
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    header.pop("__metadata__", None)
    return {name: (t["dtype"], t["shape"], data[8 + size :][slice(*t["data_offsets"])]) for name, t in header.items()}


def make_tensor(torch, key, dtype, shape, data):
    strides, step = [], 1
    for size in reversed(shape):
        strides.insert(0, step)
        step *= size
    rest = (tuple(shape), tuple(strides), False, collections.OrderedDict())
    if dtype in UNTYPED:
        storage = Storage(torch["torch.storage"].UntypedStorage, key, len(data))
        return Tensor(torch["torch._utils"]._rebuild_tensor_v3, storage, 0, *rest, getattr(torch["torch"], UNTYPED[dtype]))
    name, width = STORAGES[dtype]
    storage = Storage(getattr(torch["torch"], name), key, len(data) // width)
    return Tensor(torch["torch._utils"]._rebuild_tensor_v2, storage, 0, *rest)


def write(path, tensors, protocol=2, wrap=lambda state: state, compression=zipfile.ZIP_STORED):
    """Writes {name: (dtype, shape, bytes)} to `path`; `wrap` may put the state dict into another one."""
    torch, folder = modules(), Path(path).stem
    with unittest.mock.patch.dict(sys.modules, torch), zipfile.ZipFile(path, "w", compression) as archive:
        state = collections.OrderedDict()
        for key, (name, tensor) in enumerate(tensors.items()):
            state[name] = make_tensor(torch, key, *tensor)
        state._metadata = collections.OrderedDict({"": {"version": 1}})
        with archive.open(f"{folder}/data.pkl", "w") as file:
            Pickler(file, protocol).dump(wrap(state))
        archive.writestr(f"{folder}/byteorder", "little")
        for key, (_, _, data) in enumerate(tensors.values()):
            archive.writestr(f"{folder}/data/{key}", data)
        archive.writestr(f"{folder}/version", "3\n")
