#!/usr/bin/env python3
"""`hadal quantize --low-rank`: the adapter's file, what is said of it, and what is refused.  Skipped without LAPACK.

Standard library only.  Run it alone: `python3 tests/e2e/test_low_rank.py`.
"""

import json
import os
import unittest
from pathlib import Path

from test_cli import Cli, model

TEXT = "".join(f"The {n}th house of the street has {n * 7 % 13} windows and {n * 5 % 11} doors.\n" for n in range(60))


class LowRank(Cli):
    def setUp(self):
        self.original = model("qwen2/model.gguf")
        self.base, self.out, self.matrix, self.text = (self.file(n) for n in ("q.gguf", "a.lora.gguf", "x.gguf", "text.txt"))
        Path(self.text).write_text(TEXT)
        self.hadal("quantize", self.original, self.base, "--type", "Q4_0")

    def tearDown(self):
        for name in (self.base, self.out, self.out + ".part", self.matrix):
            if os.path.lexists(name):
                os.unlink(name)

    def make(self, *words):
        words = ("quantize", self.original, self.out, "--low-rank-base", self.base, *words)
        try:
            return self.hadal(*words)
        except AssertionError:
            if "needs LAPACK" in self.said:
                self.assertRegex(self.said, r"\Ahadal: quantize: --low-rank needs LAPACK, and \S+ is not here; on Debian: "
                                            r"apt-get install liblapacke libopenblas0\n\Z")
                self.skipTest("LAPACK is not installed")
            raise

    def test_the_adapter(self):
        left = []
        for rank in (1, 8, 32):
            said = json.loads(self.make("--low-rank", rank, "--low-rank-of", "blk.*.ffn_*", "--json"))
            self.assertEqual((said["rank"], said["matrices"]), (rank, 9))
            self.assertEqual(said["bytes"], 9 * rank * (256 + 512) * 2)
            self.assertLess(said["error_after"], said["error"])
            left.append(said["error_after"])
            seen = json.loads(self.hadal("inspect", self.out, "--tensors", "--json"))
            self.assertEqual(seen["bytes"], said["bytes"])
            shapes = {t["name"]: t["shape"] for t in seen["tensors"]}
            self.assertEqual(len(shapes), 18)
            self.assertEqual(sorted(shapes["blk.0.ffn_up.weight.lora_a"]), sorted([rank, 256]))
            self.assertEqual(sorted(shapes["blk.0.ffn_up.weight.lora_b"]), sorted([512, rank]))
            os.unlink(self.out)
        self.assertEqual(left, sorted(left, reverse=True))

    def test_our_own_lora_runs_it(self):
        self.make("--low-rank", "64")
        said = [json.loads(self.hadal("eval", self.base, "--text", self.text, "--context", "128", "--against", self.original,
                                      "--json", *more)) for more in ((), ("--lora", self.out))]
        self.assertLess(said[1]["kl_mean"], 0.8 * said[0]["kl_mean"])
        self.assertEqual(said[1]["lora"], self.out)
        for command in ("run", "eval", "serve"):
            self.assertIn("--lora", self.hadal(command, "--help"))
        self.assertIn("Give it with --lora to 'hadal run'", " ".join(self.hadal("quantize", "--help").split()))

    def test_importance_and_patterns(self):
        said = json.loads(self.make("--low-rank", "4", "--low-rank-of", "blk.*.attn_*", "--calibrate", self.text, "--context",
                                    "64", "--imatrix-out", self.matrix, "--json"))
        self.assertEqual(said["matrices"], 12)
        whole = Path(self.out).read_bytes()
        os.unlink(self.out)
        Path(self.out + ".part").write_bytes(whole[: len(whole) // 2])
        text = self.make("--low-rank", "4", "--low-rank-of", "blk.*.attn_*", "--imatrix", self.matrix)
        self.assertEqual(len(Path(self.out).read_bytes()), len(whole))
        self.assertRegex(text, r"\Awrote +\S+a\.lora\.gguf\nadapter +[\d.]+ kB, rank 4, 12 matrices\nerror +[\d.]+ % of these "
                               r"matrices' outputs \(without it: [\d.]+ %\)\ntime ")

    def test_a_part_of_another_file_is_left_alone(self):
        self.assertIn("rank 4, 21 matrices", self.make("--low-rank", "4"))
        whole = Path(self.out).read_bytes()
        os.unlink(self.out)
        os.unlink(self.base)
        self.hadal("quantize", self.original, self.base, "--type", "Q5_0")
        Path(self.out + ".part").write_bytes(whole[: len(whole) // 2])
        self.refused(1, "was begun from other files", "quantize", self.original, self.out, "--low-rank", "4",
                     "--low-rank-base", self.base)
        self.assertTrue(os.path.exists(self.out + ".part"))

    def test_what_is_refused(self):
        self.make("--low-rank", "1")
        q = ("quantize", self.original, self.out)
        base = ("--low-rank-base", self.base)
        self.refused(1, "is there already and is not replaced", *q, "--low-rank", "4", *base)
        os.unlink(self.out)
        self.refused(2, "--low-rank needs --low-rank-base FILE", *q, "--low-rank", "4")
        self.refused(2, "need --low-rank RANK", *q, "--type", "Q8_0", *base)
        self.refused(2, "don't go with it", *q, "--low-rank", "4", "--type", "Q8_0", *base)
        self.refused(2, "low-rank", *q, "--low-rank", "0", *base)
        self.refused(1, "'blk.0.ffn_down.weight' is 256 x 512: it has no rank of 300", *q, "--low-rank", "300", *base)
        self.refused(1, "no matrix of a layer is called 'x*'", *q, "--low-rank", "4", "--low-rank-of", "x*", *base)
        self.refused(1, "nothing to correct", *q, "--low-rank", "4", "--low-rank-base", self.original)
        self.refused(1, "it is of another model, or a pruned one", *q, "--low-rank", "4", "--low-rank-base",
                     model("deepseek-v2-lite/model.gguf"))
        self.refused(1, "no-such-file", *q, "--low-rank", "4", "--low-rank-base", self.file("no-such-file.gguf"))
        self.assertFalse(os.path.exists(self.out + ".part"))


if __name__ == "__main__":
    unittest.main()
