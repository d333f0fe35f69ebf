#!/usr/bin/env python3
"""`hadal quantize` on the tiny models: what it writes is what it said, runs, and is near the original; what it refuses.

Standard library only.  Run it alone: `python3 tests/e2e/test_quantize.py`.
"""

import array
import json
import os
import struct
import unittest
from pathlib import Path

from test_cli import Cli, comma, expected, model, safetensors

TYPES = ["F32", "BF16", "F16", "Q8_0", "Q6_K", "Q5_1", "Q5_K_M", "Q5_K_S", "Q5_0", "Q4_1", "Q4_K_M", "Q4_K_S", "Q4_0",
         "IQ4_NL", "MXFP4_MOE", "IQ4_XS", "MXFP4", "Q3_K_L", "Q4_FIT", "Q3_K_M", "Q3_K_S", "IQ3_XXS", "Q2_K", "Q2_K_S",
         "IQ2_XXS"]
RELEASES = ["FP8", "INT8"]  # no GGUF files but folders: test_scaled.py


TEXT = "".join(f"The {n}th house of the street has {n * 7 % 13} windows and {n * 5 % 11} doors.\n" for n in range(400))


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
        """Those of GGUF that can be written, or those that can't yet."""
        return [line.split()[0] for line in self.hadal("quantize", "--types").splitlines()
                if ("can't be written yet" in line) != written and line.split()[0] not in RELEASES]

    def test_types_are_listed(self):
        listed = self.hadal("quantize", "--types")
        self.assertEqual([line.split()[0] for line in listed.splitlines()], TYPES + RELEASES)
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

    def test_a_budget_is_kept(self):
        text = self.file("text.txt")
        Path(text).write_text("The quick brown fox jumps over the lazy dog. " * 40)
        recipe = self.file("recipe.json")
        sizes = []
        for bits in (4, 5, 7):
            said = json.loads(self.hadal("quantize", self.original, self.out, "--target-bpw", bits, "--calibrate", text,
                                         "--save-recipe", recipe, "--json"))
            self.assertLessEqual(said["bpw"], bits)
            self.assertGreater(said["bpw"], bits - 0.35)
            self.assertTrue(said["budget"]["measured"])
            self.assertTrue(all(c["divergence_alone"] >= 0 for c in said["budget"]["classes"]))
            self.assertEqual(sum(c["bytes"] for c in said["budget"]["classes"]) <= said["bytes"], True)
            sizes.append(os.path.getsize(self.out))
            self.logits(self.out)
            whole = {t: v["bytes"] for t, v in said["tensor_types"].items()}
            os.unlink(self.out)
            again = json.loads(self.hadal("quantize", self.original, self.out, "--recipe", recipe, "--json"))
            self.assertEqual({t: v["bytes"] for t, v in again["tensor_types"].items()}, whole)
            os.unlink(self.out)
            self.refused(1, "is there already and is not replaced", "quantize", self.original, self.out, "--recipe", recipe,
                         "--save-recipe", recipe)
            os.unlink(recipe)
        self.assertEqual(sizes, sorted(sizes))
        table = self.hadal("quantize", self.original, self.out, "--target-size", "1500kB")
        self.assertLessEqual(os.path.getsize(self.out), 1500000)
        self.assertGreater(os.path.getsize(self.out), 1400000)
        self.assertIn("into the feed-forward network, first eighth", table)
        self.assertIn("with --calibrate TEXT that is measured", table)

    def test_what_is_refused(self):
        q = ("quantize", self.original, self.out)
        self.refused(2, "--type or a budget is needed", *q)
        self.refused(2, "IN and OUT.gguf are needed", "quantize", self.original, "--type", "Q8_0")
        self.refused(1, "there is no type 'Q4_KM'; did you mean Q4_K_M?; 'hadal quantize --types'", *q, "--type", "Q4_KM")
        self.refused(1, "--split-size: '5 pounds' is not a size", *q, "--type", "Q8_0", "--split-size", "5 pounds")
        self.refused(1, "no-such-model", "quantize", "no-such-model", self.out, "--type", "Q8_0")
        self.refused(2, "exclude each other", *q, "--type", "Q8_0", "--target-bpw", "4")
        self.refused(2, "target-bpw", *q, "--target-bpw", "0.5")
        self.refused(1, "'5 pounds' is not a size", *q, "--target-size", "5 pounds")
        self.refused(1, "no recipe is that small", *q, "--target-size", "100kB")
        self.refused(1, "no-such-recipe", *q, "--recipe", self.file("no-such-recipe.json"))
        self.refused(1, "/no/such/folder", "quantize", self.original, "/no/such/folder/x.gguf", "--type", "Q8_0")
        self.assertFalse(os.path.exists(self.out + ".part"))


    def test_cheap_checks_come_before_the_text(self):
        """What is known without it is said before: here the text is not even there, which would be said instead."""
        q, text = ("quantize", self.original, self.out), ("--calibrate", self.file("no-such-text"))
        recipe = self.file("bad-recipe.json")
        self.refused(1, "no-such-text", *q, "--type", "Q4_0", *text)
        self.refused(1, "no-such-recipe", *q, "--recipe", self.file("no-such-recipe.json"), *text)
        for content, said in (("{", "bad-recipe.json"), ('{"types": {"x": "Q8_0"}}', "no tensor of the model is 'x'"),
                              ('{"types": {"output.weight": "Q9"}}', "'Q9', which is no type")):
            Path(recipe).write_text(content)
            self.refused(1, said, *q, "--recipe", recipe, *text)
        self.refused(1, "'5 pounds' is not a size", *q, "--target-size", "5 pounds", *text)
        self.refused(1, "no recipe is that small", *q, "--target-size", "100kB", *text)
        self.refused(1, "there is no type 'Q9'", *q, "--type", "Q9", *text)
        self.refused(1, "cannot write there", "quantize", self.original, "/no/such/folder/x.gguf", "--type", "Q4_0", *text)
        self.refused(1, "cannot write there", *q, "--target-bpw", "5", "--save-recipe", "/no/such/folder/r.json", *text)
        Path(self.out).write_text("notes")
        self.refused(1, "is there already", *q, "--type", "Q4_0", *text)


class Importance(Cli):
    """--calibrate, --imatrix and --imatrix-out."""

    def setUp(self):
        self.original = model("qwen2/model.gguf")
        self.out, self.matrix, self.text = (self.file(n) for n in ("out.gguf", "x.imatrix.gguf", "text.txt"))
        Path(self.text).write_text(TEXT)

    def tearDown(self):
        for name in (self.out, self.out + ".part", self.matrix, self.file("old.dat")):
            if os.path.lexists(name):
                os.unlink(name)

    def gather(self, *words, path=None):
        return self.hadal("quantize", path or self.original, "--calibrate", self.text, "--imatrix-out", self.matrix,
                          *words)

    def quantize(self, *words, path=None, type="Q4_0"):
        said = self.hadal("quantize", path or self.original, self.out, "--type", type, *words)
        data = Path(self.out).read_bytes()
        os.unlink(self.out)
        return said, data

    def test_a_matrix_is_gathered_and_written(self):
        said = json.loads(self.gather("--calibrate-tokens", "130", "--context", "40", "--json"))
        self.assertEqual((said["windows"], said["window"], said["texts"]), (3, 40, ["text.txt"]))
        self.assertEqual(said["path"], self.matrix)
        tensors = json.loads(self.hadal("inspect", self.original, "--tensors", "--json"))["tensors"]
        names = [t["name"] for t in tensors if len(t["shape"]) > 1]
        logits = "output.weight" if "output.weight" in names else "token_embd.weight"
        matrices = [n for n in names if n.startswith("blk.") or n == logits]
        self.assertEqual(said["entries"], len(matrices))
        seen = json.loads(self.hadal("inspect", self.matrix, "--tensors", "--json"))
        self.assertEqual(sorted(t["name"] for t in seen["tensors"]),
                         sorted(n + end for n in matrices for end in (".in_sum2", ".counts")))
        self.assertFalse(os.path.exists(self.matrix + ".part"))
        self.refused(1, "is there already and is not replaced; --imatrix", "quantize", self.original, "--calibrate",
                     self.text, "--imatrix-out", self.matrix)

    def test_the_same_file_by_either_way(self):
        plain = self.quantize()[1]
        calibrated = self.quantize("--calibrate", self.text, "--imatrix-out", self.matrix, "--context", "64")[1]
        self.assertNotEqual(calibrated, plain)
        said, read = self.quantize("--imatrix", self.matrix, "--threads", "2")
        self.assertEqual(read, calibrated)
        self.assertRegex(said, r"\nimportance \d+ tensors, \d+ windows of 64 tokens\n")
        self.assertIn(b"quantize.imatrix.chunks_count", read)
        self.assertNotIn(os.fsencode(self.folder), read)  # names without folders
        for cut in (100, len(read) // 2):
            Path(self.out + ".part").write_bytes(read[:cut])
            self.assertEqual(self.quantize("--imatrix", self.matrix)[1], read)
        Path(self.out + ".part").write_bytes(read[: len(read) // 2])
        self.refused(1, "begun with other settings", "quantize", self.original, self.out, "--type", "Q4_0")

    def test_the_older_layout(self):
        with open(self.file("old.dat"), "wb") as file:
            name, sums = b"blk.0.attn_q.weight", array.array("f", [n + 1 for n in range(256)])
            file.write(struct.pack("<ii", 1, len(name)) + name + struct.pack("<ii", 5, len(sums)) + sums.tobytes())
            file.write(struct.pack("<ii", 5, 4) + b"text")
        self.quantize("--imatrix", self.file("old.dat"))
        self.assertRegex(self.said, r"\Ahadal: quantize: \d+ tensors are not in the importance matrix; all their values "
                                    r"count alike: blk\S+, \S+, \S+, \S+, \.\.\.\n\Z")

    def test_what_is_refused(self):
        both = ("quantize", self.original, self.out, "--type", "Q4_0")
        self.refused(2, "exclude each other", *both, "--calibrate", self.text, "--imatrix", self.matrix)
        self.refused(2, "--imatrix-out needs --calibrate", *both, "--imatrix-out", self.matrix)
        self.refused(2, "OUT.gguf is needed", "quantize", self.original, "--type", "Q4_0", "--calibrate", self.text,
                     "--imatrix-out", self.matrix)
        self.refused(2, "IN and OUT.gguf are needed", "quantize", self.original, "--calibrate", self.text)
        self.refused(1, "/no/such/folder/x: cannot write there", "quantize", self.original, "--calibrate", self.text,
                     "--imatrix-out", "/no/such/folder/x")
        self.refused(1, "cannot open", *both, "--imatrix", self.matrix)
        self.refused(1, "no importance matrix: general.type", *both, "--imatrix", self.original)
        self.refused(1, "neither GGUF nor", *both, "--imatrix", self.text)
        self.refused(1, "the text is empty", *both, "--calibrate", "-")
        self.refused(1, "tokens were asked for, the model's limit is", *both, "--calibrate", self.text, "--context", "1000000")
        with open(self.file("old.dat"), "wb") as file:
            name = b"blk.0.attn_q.weight"
            file.write(struct.pack("<ii", 1, len(name)) + name + struct.pack("<iif", 5, 1, 1.0))
        self.assertEqual(self.hadal(*both, "--imatrix", self.file("old.dat"), code=1), "")
        self.assertIn("it is of another model", self.said.splitlines()[-1])  # behind the note of what is missing
        self.assertFalse(os.path.exists(self.out))

    def test_smollm2(self):
        """Read back with the gguf package; and errors weighted so leave the model nearer to itself."""
        real = os.environ.get("HD_SMOLLM2")
        if not real or not os.path.exists(real):
            self.skipTest("HD_SMOLLM2 names no file of SmolLM2")
        self.gather("--calibrate-tokens", "2048", "--context", "256", path=real)
        distance = {}
        for name, words in (("plain", []), ("weighted", ["--imatrix", self.matrix])):
            self.hadal("quantize", real, self.out, "--type", "Q3_K_S", *words)
            said = json.loads(self.hadal("eval", self.out, "--against", real, "--text-string", TEXT[:2000], "--json"))
            distance[name] = said["kl_mean"]
            os.unlink(self.out)
        self.assertLess(distance["weighted"], distance["plain"])
        try:
            import gguf
        except ImportError:
            self.skipTest("the gguf package is not installed")
        tensors = {t.name: t.data for t in gguf.GGUFReader(self.matrix).tensors}
        self.assertEqual(len(tensors), 2 * (30 * 7 + 1))  # the blocks' matrices, and the one that gives the logits
        sums, count = tensors["blk.3.ffn_down.weight.in_sum2"], tensors["blk.3.ffn_down.weight.counts"]
        self.assertEqual((sums.size, count.ravel().tolist()), (1536, [2048.0]))
        self.assertTrue((sums >= 0).all() and sums.max() > 0)


if __name__ == "__main__":
    unittest.main()
