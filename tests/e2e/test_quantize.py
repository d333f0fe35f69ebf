#!/usr/bin/env python3
"""`hadal quantize` on the tiny models: what it writes is what it said, runs, and is near the original; what it refuses.

Standard library only.  Run it alone: `python3 tests/e2e/test_quantize.py`.
"""

import json
import os
import unittest
from pathlib import Path

from test_cli import Cli, comma, expected, model, safetensors

TYPES = ["F32", "BF16", "F16", "Q8_0", "Q6_K", "Q5_1", "Q5_K_M", "Q5_K_S", "Q5_0", "Q4_1", "Q4_K_M", "Q4_K_S", "Q4_0",
         "IQ4_NL", "MXFP4_MOE", "IQ4_XS", "MXFP4", "Q3_K_L", "Q4_FIT", "Q3_K_M", "Q3_K_S", "IQ3_XXS", "Q2_K", "Q2_K_S",
         "IQ2_XXS"]


class Quantize(Cli):
    def setUp(self):
        self.original = model("qwen2/model.gguf")
        self.out = self.file("out.gguf")

    def tearDown(self):
        for name in (self.out, self.out + ".part"):
            if os.path.lexists(name):
                os.unlink(name)

    def logits(self, path):
        ids = expected()["prompt.1"][1]
        self.hadal("eval", path, "--ids", comma(ids), "--cpu", "reference", "--logits", self.file("logits.safetensors"))
        shape, values = safetensors(self.file("logits.safetensors"))["logits"]
        os.unlink(self.file("logits.safetensors"))
        return values

    def distance(self, a, b):
        return (sum((x - y) ** 2 for x, y in zip(a, b)) / sum(x * x for x in a)) ** 0.5

    def types(self, written):
        """Those that can be written, or those that can't yet."""
        return [line.split()[0] for line in self.hadal("quantize", "--types").splitlines()
                if ("can't be written yet" in line) != written]

    def test_types_are_listed(self):
        listed = self.hadal("quantize", "--types")
        self.assertEqual([line.split()[0] for line in listed.splitlines()], TYPES)
        self.assertGreaterEqual(len(self.types(True)), 23)

    def test_types_that_cannot_be_written_say_so(self):
        for name in self.types(False):
            self.refused(1, f"{name} can't be written yet: there is no encoder for", "quantize", self.original, self.out,
                         "--type", name)
            self.assertFalse(os.path.exists(self.out + ".part"))

    def test_every_type_runs_and_is_as_large_as_was_said(self):
        before = self.logits(self.original)
        for name in self.types(True):
            planned = json.loads(self.hadal("quantize", self.original, self.out, "--type", name, "--dry-run", "--json"))
            self.assertFalse(os.path.exists(self.out))
            self.assertNotIn("seconds", planned)
            said = json.loads(self.hadal("quantize", self.original, self.out, "--type", name.lower(), "--json"))
            self.assertGreaterEqual(said.pop("seconds"), 0)
            self.assertEqual(said, planned)
            self.assertFalse(os.path.exists(self.out + ".part"))
            seen = json.loads(self.hadal("inspect", self.out, "--json"))
            self.assertEqual(seen["bytes"], said["bytes"])
            self.assertEqual({t: v["bytes"] for t, v in seen["tensor_types"].items()},
                             {t: v["bytes"] for t, v in said["tensor_types"].items()})
            self.assertAlmostEqual(said["bpw"], 8 * said["bytes"] / seen["values"], places=6)
            bound = 1e-6 if name == "F32" else 0.02 if name in ("BF16", "F16") else 0.05 if name == "Q8_0" else 0.9
            self.assertLess(self.distance(before, self.logits(self.out)), bound, name)
            os.unlink(self.out)

    def test_the_text_form(self):
        said = self.hadal("quantize", self.original, self.out, "--type", "Q8_0", "--threads", "2")
        self.assertRegex(said, r"\Awrote +\S+/out\.gguf\nweights +[\d.]+ [kM]?B, [\d.]+ bits each")
        self.assertRegex(said, r"\n  Q8_0 +\d+ tensors +[\d.]+ [kM]?B\n")
        self.assertEqual(self.said, "")

    def test_the_same_bytes_with_any_number_of_threads(self):
        self.hadal("quantize", self.original, self.out, "--type", "Q4_0", "--threads", "1")
        one = Path(self.out).read_bytes()
        os.unlink(self.out)
        self.hadal("quantize", self.original, self.out, "--type", "Q4_0", "--threads", "3")
        self.assertEqual(Path(self.out).read_bytes(), one)

    def test_a_part_is_gone_on_with(self):
        self.hadal("quantize", self.original, self.out, "--type", "Q4_1")
        whole = Path(self.out).read_bytes()
        for cut in (0, 100, len(whole) // 3, len(whole) // 2, len(whole)):
            os.unlink(self.out)
            with open(self.out + ".part", "wb") as part:
                part.write(whole[:cut])
            self.hadal("quantize", self.original, self.out, "--type", "Q4_1")
            self.assertEqual(Path(self.out).read_bytes(), whole)

    def test_nothing_is_lost(self):
        with open(self.out, "w") as notes:
            notes.write("notes")
        self.refused(1, "is there already and is not replaced", "quantize", self.original, self.out, "--type", "Q8_0")
        self.assertEqual(Path(self.out).read_text(), "notes")
        os.unlink(self.out)
        os.symlink("elsewhere", self.out)
        self.refused(1, "is there already", "quantize", self.original, self.out, "--type", "Q8_0")
        os.unlink(self.out)
        with open(self.out + ".part", "w") as notes:
            notes.write("notes")
        self.refused(1, "is in the way", "quantize", self.original, self.out, "--type", "Q8_0")
        self.assertEqual(Path(self.out + ".part").read_text(), "notes")

    def test_what_is_refused(self):
        q = ("quantize", self.original, self.out)
        self.refused(2, "--type is needed", *q)
        self.refused(2, "IN and OUT.gguf are needed", "quantize", self.original, "--type", "Q8_0")
        self.refused(1, "there is no type 'Q4_KM'; did you mean Q4_K_M?; 'hadal quantize --types'", *q, "--type", "Q4_KM")
        self.refused(1, "--split-size: '5 pounds' is not a size", *q, "--type", "Q8_0", "--split-size", "5 pounds")
        self.refused(1, "no-such-model", "quantize", "no-such-model", self.out, "--type", "Q8_0")
        self.refused(1, "/no/such/folder", "quantize", self.original, "/no/such/folder/x.gguf", "--type", "Q8_0")
        self.assertFalse(os.path.exists(self.out + ".part"))


if __name__ == "__main__":
    unittest.main()
