#!/usr/bin/env python3
"""Releases in 8 bits: `--type FP8` and `--type INT8` of convert and quantize on the tiny models: from releases and from
GGUF, what they run as, the way back, damaged ones, what is refused; and what transformers makes of them.

Standard library only, but for the comparison with transformers: that needs torch, transformers, accelerate and
compressed-tensors, in the Python that runs the tests or in the one that $HD_TRANSFORMERS names.  Run it alone:
`python3 tests/e2e/test_scaled.py`.
"""

import json
import os
import shutil
import struct
import subprocess
import sys
import unittest
from pathlib import Path

from test_cli import Cli, comma, expected, model, safetensors, those_here

# How far logits may be from the original's, relative to their length.  A weight in e4m3 is off by up to 1/16 of itself,
# 2.6 % as a root of the mean square; an integer by half of 1/127 of its row's largest.  Errors of weights are independent,
# so a product is off by as much; these models' few layers add up to two to four times that, and seven in V2's, which
# multiplies what its experts say.
FAR = {"FP8": 0.2, "INT8": 0.06}


def distance(a, b):
    return (sum((x - y) ** 2 for x, y in zip(a, b)) / sum(x * x for x in a)) ** 0.5


def header_of(path):
    """The header of a safetensors file, and where its data begin."""
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    return json.loads(data[8 : 8 + size]), data[8 + size :]


def rewrite(path, change):
    """Changes {name: [dtype, shape, bytes]} of a safetensors file in place."""
    header, data = header_of(path)
    header.pop("__metadata__", None)
    tensors = {n: [i["dtype"], i["shape"], data[slice(*i["data_offsets"])]] for n, i in header.items()}
    change(tensors)
    header, blob = {}, b""
    for name, (dtype, shape, content) in tensors.items():
        header[name] = {"dtype": dtype, "shape": shape, "data_offsets": [len(blob), len(blob) + len(content)]}
        blob += content
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(path).write_bytes(struct.pack("<Q", len(text)) + text + blob)


# Runs in the Python that has transformers; prints what the test looks at.
JUDGE = """
import json, sys, torch
from safetensors.torch import load_file
from transformers import AutoConfig, AutoModelForCausalLM, CompressedTensorsConfig
folder, plain, logits, ids = sys.argv[1], sys.argv[2], sys.argv[3], json.loads(sys.argv[4])
integers = json.load(open(folder + "/config.json"))["quantization_config"]["quant_method"] == "compressed-tensors"

def run(m):
    with torch.no_grad():
        return m.eval()(torch.tensor([ids])).logits[0].double()

def far(a, b):
    return ((a - b).norm() / b.norm()).item()

ours, want = load_file(logits)["logits"].double(), load_file(plain + "/model.safetensors")
# FP8 becomes BF16 by itself where there is no GPU
how = {"quantization_config": CompressedTensorsConfig(dequantize=True)} if integers else {}
weights = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.bfloat16, **how).state_dict()
projections = [n for n in weights if n.endswith("_proj.weight")]
equal = sum(torch.equal(weights[n].to(torch.bfloat16), want[n]) for n in projections)
m = AutoModelForCausalLM.from_pretrained(plain, dtype=torch.float32)
m.load_state_dict({n: w.float() for n, w in weights.items() if n in m.state_dict()})
said = {"weights": len(projections), "equal": equal, "far": far(ours, run(m)), "rounded": 0.0}
if integers:
    said["rounded"] = far(ours, run(AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32)))
print(json.dumps(said))
"""


def python_with_transformers():
    """The path of it; None: there is none."""
    path = os.environ.get("HD_TRANSFORMERS", sys.executable)
    probe = [path, "-c", "import torch, transformers, accelerate, compressed_tensors"]
    return path if subprocess.run(probe, capture_output=True).returncode == 0 else None


class Scaled(Cli):
    def setUp(self):
        self.out = self.file("scaled")

    def tearDown(self):
        for name in os.listdir(self.folder):
            path = self.file(name)
            if name.startswith(("scaled", "other")):
                shutil.rmtree(path) if os.path.isdir(path) else os.unlink(path)

    def logits(self, path, name="qwen2", cpu="reference", *more):
        file = self.file("other.logits")
        self.hadal("eval", path, "--ids", comma(expected(name)["prompt.1"][1]), "--cpu", cpu, "--logits", file, *more)
        values = safetensors(file)["logits"][1]
        os.unlink(file)
        return values

    def test_every_model(self):
        """From its release, and from GGUF: the same tensors, and logits that are near the original's, with the experts
        that the original chose (another choice says nothing of the arithmetic)."""
        for name in those_here("llama", "qwen2", "qwen3", "deepseek-v2-lite", "deepseek-v2", "deepseek-v3",
                               "deepseek-v3-fp8"):
            gguf, experts, forced = self.file("other.gguf"), self.file("other.experts"), ()
            if name.startswith("deepseek"):
                before = self.logits(model(name), name, "reference", "--record-experts", experts)
                forced = ("--force-experts", experts)
            else:
                before = self.logits(model(name), name)
            self.hadal("convert", model(name), gguf)
            for type, suffix in (("FP8", "_scale_inv"), ("INT8", "_scale")):
                if type == "FP8" and name.endswith("fp8"):
                    continue
                with self.subTest(name, type=type):
                    shutil.rmtree(self.out, ignore_errors=True)
                    self.hadal("convert", model(name), self.out, "--type", type)
                    header, data = header_of(self.out + "/model.safetensors")
                    codes = {n for n, i in header.items() if i["dtype"] in ("F8_E4M3", "I8")}
                    self.assertGreater(len(codes), 6)
                    self.assertTrue(all("_proj" in n and n + suffix in header for n in codes))
                    self.assertFalse([n for n in codes if n.endswith("mlp.gate.weight") or "embed" in n or "lm_head" in n])
                    self.assertLess(distance(before, self.logits(self.out, name, "reference", *forced)), FAR[type])
                    self.assertLess(distance(before, self.logits(self.out, name, "auto", *forced)), FAR[type])
                    self.hadal("quantize", gguf, self.out + "-2", "--type", type)
                    again, more = header_of(self.out + "-2/model.safetensors")
                    for n in codes if not name.endswith("fp8") else ():  # whose GGUF file is rounded to BF16
                        for one in (n, n + suffix):
                            self.assertEqual(data[slice(*header[one]["data_offsets"])],
                                             more[slice(*again[one]["data_offsets"])], one)
                    shutil.rmtree(self.out + "-2")
            os.unlink(gguf)

    def test_the_way_back(self):
        """To BF16 and to GGUF: codes times scales, rounded to BF16 at most."""
        for type in FAR:
            self.hadal("convert", model(), self.out, "--type", type, "--split-size", "1MB")
            self.assertIn("model.safetensors.index.json", os.listdir(self.out))
            before = self.logits(self.out)
            for back in ("other", "other.gguf", "other-f32"):
                self.hadal("convert", self.out, self.file(back), *(["--type", "F32"] if "f32" in back else []))
                after = self.logits(self.file(back))
                self.assertLess(distance(before, after), 1e-6 if "f32" in back else 0.005, back)
            self.assertNotIn("quantization_config", json.loads(Path(self.file("other"), "config.json").read_text()))
            self.hadal("quantize", self.out, self.file("other-q8.gguf"), "--type", "Q8_0")
            self.assertLess(distance(before, self.logits(self.file("other-q8.gguf"))), 0.03)
            self.tearDown()

    def test_both_commands_write_the_same(self):
        for type in FAR:
            said = json.loads(self.hadal("quantize", model(), self.out, "--type", type.lower(), "--dry-run", "--json"))
            self.assertFalse(os.path.exists(self.out))
            self.hadal("quantize", model(), self.out, "--type", type.lower())
            self.hadal("convert", model(), self.file("other"), "--type", type)
            for name in os.listdir(self.out):
                self.assertEqual(Path(self.out, name).read_bytes(), Path(self.file("other"), name).read_bytes(), name)
            self.assertIn("I8" if type == "INT8" else "F8_E4M3", said["tensor_types"])
            self.tearDown()

    def damage(self, type, change=None, config=None):
        shutil.rmtree(self.out, ignore_errors=True)
        self.hadal("convert", model(), self.out, "--type", type)
        if change:
            rewrite(self.out + "/model.safetensors", change)
        if config:
            path = Path(self.out, "config.json")
            said = json.loads(path.read_text())
            config(said["quantization_config"])
            path.write_text(json.dumps(said))

    def wrong(self, text):
        """Neither run nor converted, and both say why."""
        self.refused(1, text, "eval", self.out, "--ids", "1,2,3")
        self.refused(1, text, "convert", self.out, self.file("other.gguf"))

    def test_damaged_ones(self):
        name = "model.layers.0.mlp.up_proj.weight"

        def narrow(suffix):
            def change(t):
                dtype, shape, content = t[name + suffix]
                t[name + suffix] = [dtype, [shape[0] - 1, shape[1]], content[: len(content) // shape[0] * (shape[0] - 1)]]
            return change

        self.damage("FP8", lambda t: t.pop(name + "_scale_inv"))
        self.wrong("up_proj.weight_scale_inv")
        self.damage("INT8", lambda t: t.pop(name + "_scale"))
        self.wrong("up_proj.weight has type I8, which is not one of weights without the scales of its rows")
        self.damage("FP8", narrow("_scale_inv"))
        self.wrong("up_proj.weight_scale_inv")
        self.damage("INT8", narrow("_scale"))
        self.wrong("up_proj.weight_scale")

        def scale(suffix, value):
            def change(t):
                dtype, shape, content = t[name + suffix]
                raw = struct.pack("<f", value)[-(4 if dtype == "F32" else 2):]
                t[name + suffix] = [dtype, shape, content[: -len(raw)] + raw]
            return change

        for type, suffix in (("FP8", "_scale_inv"), ("INT8", "_scale")):
            for value in (float("nan"), float("inf"), -1.0, 0.0):
                self.damage(type, scale(suffix, value))
                self.wrong(f"{name}{suffix}: the scale in row ")
                self.refused(1, f"{name}{suffix}: the scale in row ", "quantize", self.out, self.file("other.gguf"),
                             "--type", "Q8_0")

        def group(q):
            return q["config_groups"]["group_0"]["weights"]

        self.damage("FP8", config=lambda q: q.update(weight_block_size=[128, 64]))
        self.wrong('"weight_block_size" is not a pair of equal sizes')
        self.damage("FP8", config=lambda q: q.update(quant_method="gptq"))
        self.wrong('"gptq" is not supported')
        self.damage("INT8", config=lambda q: q.update(format="pack-quantized"))
        self.wrong('"pack-quantized" is not supported')
        self.damage("INT8", config=lambda q: group(q).update(strategy="group"))
        self.wrong('scales by "group"')
        self.damage("INT8", config=lambda q: group(q).update(symmetric=False))
        self.wrong("not symmetric")
        self.damage("INT8", config=lambda q: group(q).update(num_bits=4))
        self.wrong('"num_bits" 4')

    def test_refusals(self):
        release, gguf = model(), self.file("other.gguf")
        self.refused(1, "GGUF has no such type", "quantize", release, gguf, "--type", "FP8")
        self.refused(1, "GGUF has no such type", "convert", release, gguf, "--type", "INT8")
        self.refused(1, "are safetensors", "convert", release, self.out, "--type", "INT8", "--to", "mindspore")
        text = self.file("other.txt")
        Path(text).write_text("one two three")
        self.refused(1, "takes no importance matrix", "quantize", release, self.out, "--type", "INT8", "--calibrate", text)
        for type in FAR:
            self.hadal("convert", release, self.out, "--type", type)
            self.refused(1, "already", "convert", self.out, self.file("other"), "--type", type)
            shutil.rmtree(self.out)
        self.assertIn("INT8", self.hadal("quantize", "--types"))

    def test_transformers_reads_them(self):
        """The classes of the reference read what we wrote: the same weights, bit for bit as BF16, and our logits."""
        python = python_with_transformers()
        if not python:
            self.skipTest("no transformers with compressed-tensors: $HD_TRANSFORMERS names a Python that has them")
        ids = list(expected()["prompt.1"][1])
        for type in FAR:
            self.hadal("convert", model(), self.out, "--type", type)
            self.hadal("convert", self.out, self.file("other"))  # codes times scales as BF16
            logits = self.file("other.logits")
            self.hadal("eval", self.out, "--ids", comma(ids), "--cpu", "reference", "--logits", logits)
            done = subprocess.run([python, "-c", JUDGE, self.out, self.file("other"), logits, json.dumps(ids)],
                                  capture_output=True, text=True, timeout=300)
            self.assertEqual(done.returncode, 0, done.stderr[-2000:])
            said = json.loads(done.stdout.strip().splitlines()[-1])
            print(type, said)
            self.assertGreater(said["weights"], 6)
            self.assertEqual(said["equal"], said["weights"], type)
            self.assertLess(said["far"], 0.01)  # their weights are rounded to BF16, ours are not
            self.assertLess(said["rounded"], 0.06)  # and activations to 8 bits, token by token, which ours are not
            self.tearDown()


if __name__ == "__main__":
    unittest.main()
