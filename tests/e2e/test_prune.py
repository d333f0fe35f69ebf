#!/usr/bin/env python3
"""`hadal quantize --prune-ffn` and `--keep-experts` on the tiny models: what is left is as large as was said, runs, goes
through `hadal convert` with the same logits, is made again to the byte; what it refuses.

Standard library only.  Run it alone: `python3 tests/e2e/test_prune.py`.
"""

import json
import os
import shutil
import unittest
from pathlib import Path

from test_cli import Cli, comma, expected, model, safetensors

TEXT = "".join(f"The {n}th house of the street has {n * 7 % 13} windows and {n * 5 % 11} doors.\n" for n in range(60))


class Prune(Cli):
    def setUp(self):
        self.out, self.matrix, self.folder_out = (self.file(n) for n in ("out.gguf", "x.imatrix.gguf", "release"))
        self.text = self.file("text.txt")
        Path(self.text).write_text(TEXT)

    def tearDown(self):
        for name in (self.out, self.out + ".part", self.matrix):
            if os.path.lexists(name):
                os.unlink(name)
        shutil.rmtree(self.folder_out, ignore_errors=True)

    def gather(self, name):
        original = model(f"{name}/model.gguf")
        self.hadal("quantize", original, "--calibrate", self.text, "--imatrix-out", self.matrix, "--context", "64")
        return original

    def logits(self, path, name):
        ids = expected(name)["prompt.1"][1]
        self.hadal("eval", path, "--ids", comma(ids), "--cpu", "reference", "--logits", self.file("logits.safetensors"))
        shape, values = safetensors(self.file("logits.safetensors"))["logits"]
        os.unlink(self.file("logits.safetensors"))
        return values

    def distance(self, a, b):
        return (sum((x - y) ** 2 for x, y in zip(a, b)) / sum(x * x for x in a)) ** 0.5

    def prune(self, original, *words, type="BF16"):
        words = ("quantize", original, self.out, "--type", type, "--imatrix", self.matrix, *words, "--json")
        planned = json.loads(self.hadal(*words, "--dry-run"))
        self.assertFalse(os.path.exists(self.out))
        said = json.loads(self.hadal(*words))
        for key in ("bytes", "bpw", "bpw_before", "tensor_types"):
            self.assertEqual(said[key], planned[key])
        self.assertEqual(said["prune"], planned["prune"])
        seen = json.loads(self.hadal("inspect", self.out, "--json"))
        self.assertEqual(seen["bytes"], said["bytes"])
        return said

    def check_convert(self, name, bound=1e-6):
        """A release of what is left has the same logits, but for BF16 in the place of blocks."""
        self.hadal("convert", self.out, self.folder_out, "--to", "safetensors")
        self.assertLess(self.distance(self.logits(self.out, name), self.logits(self.folder_out, name)), bound)
        return json.loads(Path(self.folder_out, "config.json").read_text())

    def test_channels(self):
        original = self.gather("qwen2")
        before, far = self.logits(original, "qwen2"), []
        for share, multiple, left in (("1%", 1, 507), ("20%", 32, 416), ("60%", 32, 192)):
            said = self.prune(original, "--prune-ffn", share, "--prune-multiple", multiple)["prune"]
            self.assertEqual((said["ffn"], said["ffn_before"]), (left, 512))
            gone = 3 * 3 * 256 * (512 - left)
            self.assertEqual(said["multiply_adds_layers_before"] - said["multiply_adds_layers"], gone)
            self.assertAlmostEqual(said["less_in_layers"], gone / said["multiply_adds_layers_before"])
            far.append(self.distance(before, self.logits(self.out, "qwen2")))
            os.unlink(self.out)
        self.assertEqual(far, sorted(far))
        self.assertLess(far[0], 0.1)
        self.prune(original, "--prune-ffn", "25%")
        self.assertEqual(self.check_convert("qwen2")["intermediate_size"], 384)

    def test_a_report_of_a_pruned_model_that_is_there(self):
        """Without the options of the run that made it: sizes are OUT's, and what has other shapes is counted."""
        original, report = self.gather("qwen2"), self.file("report.json")
        made = self.prune(original, "--prune-ffn", "25%", type="Q8_0")
        words = ("quantize", original, self.out, "--report", report, "--report-text", self.text, "--report-window", "64")
        said = json.loads(self.hadal(*words, "--json"))
        for key in ("bytes", "bpw", "bytes_before", "bpw_before", "tensor_types"):
            self.assertEqual(said[key], made[key], key)
        self.assertEqual(said["report"]["bytes"], said["bytes"])
        self.assertEqual(said["report"]["tensors_of_other_shapes"], 9)
        os.unlink(report)
        self.assertIn("weights   ", self.hadal(*words))
        os.unlink(report)
        self.refused(1, "is there already, and only the run that prunes knows", *words, "--prune-ffn", "25%", "--imatrix",
                     self.matrix)

    def test_blocks_of_256(self):
        original = self.gather("qwen2")
        self.assertEqual(self.prune(original, "--prune-ffn", "30%", type="Q4_K_M")["prune"]["ffn"], 256)
        self.assertGreater(len(self.logits(self.out, "qwen2")), 0)
        os.unlink(self.out)
        self.refused(1, "nearer to none than to the 256 that go together", "quantize", original, self.out, "--type", "Q4_K_M",
                     "--prune-ffn", "20%", "--imatrix", self.matrix)
        self.assertEqual(self.prune(original, "--prune-ffn", "20%", type="Q4_0")["prune"]["ffn"], 416)

    def test_the_text_form(self):
        original = self.gather("qwen2")
        said = self.hadal("quantize", original, self.out, "--type", "Q8_0", "--prune-ffn", "50%", "--imatrix", self.matrix)
        self.assertRegex(said, r"\nchannels  256 of 512\na token   [\d.]+ million multiply-adds, [\d.]+ % less; without the "
                               r"output matrix [\d.]+ million, [\d.]+ % less\n")

    def test_importance_reaches_what_is_left(self):
        """Gathered in the same run or before it, in one run or two: the same bytes."""
        original = self.gather("qwen2")
        words = ("--type", "Q4_0", "--prune-ffn", "25%")
        self.prune(original, *words[2:], type="Q4_0")
        read = Path(self.out).read_bytes()
        for cut in (0, len(read) // 3, len(read) - 1):
            os.unlink(self.out)
            Path(self.out + ".part").write_bytes(read[:cut])
            self.hadal("quantize", original, self.out, *words, "--imatrix", self.matrix, "--threads", "1")
            self.assertEqual(Path(self.out).read_bytes(), read)
        os.unlink(self.out)
        Path(self.out + ".part").write_bytes(read[: len(read) // 2])
        self.refused(1, "begun with other settings", "quantize", original, self.out, "--type", "Q4_0", "--prune-ffn", "50%",
                     "--imatrix", self.matrix)

    def test_a_budget_beside_it(self):
        original = self.gather("qwen2")
        said = json.loads(self.hadal("quantize", original, self.out, "--target-bpw", "5", "--prune-ffn", "25%", "--imatrix",
                                     self.matrix, "--json"))
        self.assertLessEqual(said["bpw"], 5)
        self.assertEqual(said["prune"]["ffn"], 384)
        self.logits(self.out, "qwen2")

    def test_experts(self):
        for name, keep, words in (("deepseek-v2-lite", 12, ("--prune-experts", "25%")),
                                  ("deepseek-v3", 12, ("--keep-experts", 12)), ("deepseek-v3", 8, ("--prune-experts", "45%"))):
            with self.subTest(name=name, keep=keep):
                original = self.gather(name)
                said = self.prune(original, *words)["prune"]
                self.assertEqual((said["experts"], said["experts_before"], said["expert_ffn"]), (keep, 16, 128))
                config = self.check_convert(name)
                self.assertEqual(config["n_routed_experts"], keep)
                self.tearDown()

    def test_experts_and_channels(self):
        original = self.gather("deepseek-v3")
        said = self.prune(original, "--keep-experts", "8", "--prune-ffn", "25%", type="Q8_0")["prune"]
        self.assertEqual([said[k] for k in ("experts", "expert_ffn", "ffn")], [8, 96, 384])
        config = self.check_convert("deepseek-v3", 0.03)
        self.assertEqual([config[k] for k in ("n_routed_experts", "moe_intermediate_size", "intermediate_size", "n_group")],
                         [8, 96, 384, 4])

    def test_what_is_refused(self):
        original = self.gather("deepseek-v3")
        q = ("quantize", original, self.out, "--type", "Q8_0")
        i = ("--imatrix", self.matrix)
        self.refused(2, "pruning needs --calibrate TEXT or --imatrix FILE", *q, "--prune-ffn", "20%")
        for share in ("20", "0%", "100%", "-5%", "five%", "", "20%%", "nan%"):
            self.refused(2, "--prune-ffn wants a share between 0% and 100%, as 20%", *q, f"--prune-ffn={share}", *i)
        self.refused(2, "--prune-experts wants a share", *q, "--prune-experts", "2", *i)
        self.refused(2, "exclude each other", *q, "--prune-experts", "20%", "--keep-experts", "8", *i)
        self.refused(2, "--prune-multiple needs --prune-ffn", *q, "--prune-multiple", "8", "--keep-experts", "8", *i)
        self.refused(2, "a budget is measured on the whole model", "quantize", original, self.out, "--target-bpw", "5",
                     "--prune-ffn", "20%", "--calibrate", self.text)
        self.refused(2, "keep-experts", *q, "--keep-experts", "0", *i)
        self.refused(1, "none would go", *q, "--keep-experts", "16", *i)
        self.refused(1, "6 experts don't divide into the model's 4 groups, of which each keeps as many; take 4 or 8", *q,
                     "--keep-experts", "6", *i)
        self.refused(1, "4 experts are too few: each token gets 4 of them, from 2 of 4 groups, so that at least 8 must stay",
                     *q, "--keep-experts", "4", *i)
        self.refused(1, "the model has no experts", "quantize", model("qwen2/model.gguf"), self.out, "--type", "Q8_0",
                     "--prune-experts", "20%", *i)
        self.refused(1, "the importance matrix lacks 'blk.1.ffn_down.weight'", "quantize", model("qwen2/model.gguf"), self.out,
                     "--type", "Q8_0", "--prune-ffn", "20%", *i)
        self.assertFalse(os.path.exists(self.out + ".part"))


if __name__ == "__main__":
    unittest.main()
