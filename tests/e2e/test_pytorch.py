#!/usr/bin/env python3
"""PyTorch checkpoints: the tiny models written as torch.save writes them run, convert and quantize as their safetensors do;
a pickle that wants to do more is refused and does nothing.

Standard library only.  Run it alone: `python3 tests/e2e/test_pytorch.py`.
"""

import json
import os
import pickle
import shutil
import unittest
import zipfile
from pathlib import Path

import torch_file
from test_cli import Cli, comma, expected, model, safetensors, those_here


class Command:
    """What a pickle of an attacker does when Python opens it."""

    def __init__(self, path):
        self.path = path

    def __reduce__(self):
        return (os.system, (f"touch {self.path}",))


class PyTorch(Cli):
    def setUp(self):
        self.folder_of_model = Path(self.file("torch-model"))

    def tearDown(self):
        shutil.rmtree(self.folder_of_model, ignore_errors=True)

    def make(self, name="qwen2", **how):
        """A folder like the golden model's, with pytorch_model.bin."""
        shutil.rmtree(self.folder_of_model, ignore_errors=True)
        shutil.copytree(model(name), self.folder_of_model, ignore=shutil.ignore_patterns("*.safetensors", "*.gguf"))
        self.tensors = torch_file.read_safetensors(os.path.join(model(name), "model.safetensors"))
        torch_file.write(self.folder_of_model / "pytorch_model.bin", self.tensors, **how)
        return str(self.folder_of_model)

    def logits(self, path, name="qwen2"):
        ids = expected(name)["prompt.1"][1]
        out = self.file("logits.safetensors")
        self.hadal("eval", path, "--ids", comma(ids), "--cpu", "reference", "--logits", out)
        values = safetensors(out)["logits"][1]
        os.unlink(out)
        return values

    def test_the_logits_are_the_same(self):
        for name in those_here("qwen2", "deepseek-v3-fp8"):
            with self.subTest(name):
                self.assertEqual(self.logits(self.make(name), name), self.logits(model(name), name))

    def test_ways_to_write_it(self):
        wanted = self.logits(model("qwen2"))
        for how in ({"protocol": 4}, {"protocol": 5}, {"wrap": lambda state: {"epoch": 3, "state_dict": state, "lr": [0.1]}},
                    {"wrap": lambda state: {"model": state, "optimizer": {"state": {}, "param_groups": [(1, None)]}}}):
            with self.subTest(how):
                self.assertEqual(self.logits(self.make(**how)), wanted)

    def test_a_file_by_name(self):
        folder = Path(self.make())
        for name in ("weights.pt", "weights.pth", "weights"):
            os.replace(next(p for p in folder.iterdir() if p.stem in ("pytorch_model", "weights")), folder / name)
            seen = json.loads(self.hadal("inspect", str(folder / name), "--json"))
            self.assertEqual(seen["format"], "PyTorch")
            self.assertEqual(self.logits(str(folder / name)), self.logits(model("qwen2")))

    def test_several_files(self):
        folder = Path(self.make())
        os.unlink(folder / "pytorch_model.bin")
        names, index = list(self.tensors), {}
        for part, some in enumerate((names[::2], names[1::2]), 1):
            file = f"pytorch_model-0000{part}-of-00002.bin"
            torch_file.write(folder / file, {name: self.tensors[name] for name in some})
            index.update({name: file for name in some})
        (folder / "pytorch_model.bin.index.json").write_text(json.dumps({"metadata": {}, "weight_map": index}))
        self.assertEqual(self.logits(str(folder)), self.logits(model("qwen2")))
        os.unlink(folder / "pytorch_model-00002-of-00002.bin")
        self.refused(1, "'pytorch_model-00002-of-00002.bin', which is missing", "inspect", str(folder))

    def test_converted_and_quantized(self):
        folder, gguf, back = self.make(), self.file("torch.gguf"), self.file("torch-back")
        try:
            self.hadal("convert", folder, gguf)
            self.assertEqual(self.logits(gguf), self.logits(model("qwen2")))
            self.hadal("convert", folder, back, "--to", "safetensors")
            self.assertEqual(torch_file.read_safetensors(os.path.join(back, "model.safetensors")), self.tensors)
            os.unlink(gguf)
            self.hadal("quantize", folder, gguf, "--type", "Q8_0")
            self.assertEqual(json.loads(self.hadal("inspect", gguf, "--json"))["format"], "GGUF")
            self.hadal("run", folder, "-p", "Hello", "--max-tokens", "2")
        finally:
            shutil.rmtree(back, ignore_errors=True)
            if os.path.exists(gguf):
                os.unlink(gguf)

    def test_nothing_is_executed(self):
        folder, proof = self.make(), self.file("executed")
        path = Path(folder, "pytorch_model.bin")
        for protocol in (2, 4):
            with zipfile.ZipFile(path, "w") as archive:
                archive.writestr("pytorch_model/data.pkl", pickle.dumps({"w": Command(proof)}, protocol))
            opcode = "GLOBAL" if protocol == 2 else "STACK_GLOBAL"
            self.refused(1, f"pickle opcode {opcode}: '{os.system.__module__}.system' is not allowed: a checkpoint may only "
                         "build tensors", "inspect", folder)
            self.assertFalse(os.path.exists(proof))

    def test_refusals(self):
        self.refused(1, "is compressed (method 8)", "inspect", self.make(compression=zipfile.ZIP_DEFLATED))
        path = Path(self.make(), "pytorch_model.bin")
        path.write_bytes(path.read_bytes()[:-1])
        self.refused(1, "pytorch_model.bin: not a zip file, or cut short", "inspect", str(path))
        path.write_bytes(b"\x80\x02\x8a\nl\xfc\x9cF\xf9 j\xa8P\x19.")
        self.refused(1, "from before version 1.6", "inspect", str(path))


if __name__ == "__main__":
    unittest.main()
