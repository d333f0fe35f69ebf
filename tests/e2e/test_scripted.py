#!/usr/bin/env python3
"""The model of tests answers as it was told, through templates and tokenizers of real models (scripted.py)."""

import json
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scripted  # noqa: E402


def run(folder, *arguments):
    done = subprocess.run(
        [scripted.PROGRAM, "run", str(folder), "--json", *arguments], capture_output=True, timeout=60, check=True
    )
    return json.loads(done.stdout)


class Scripted(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)

    def make(self, *replies, **more):
        if not Path(more.get("tokenizer_from", scripted.TINY)).exists():
            self.skipTest("reference data lacks this tokenizer")
        return scripted.make_scripted(Path(self.folder.name) / "model", replies, **more)

    def test_reply_comes_whatever_was_asked(self):
        for source in (scripted.TINY, scripted.V3):
            folder = self.make("Hello there!", tokenizer_from=source)
            for question in ("What?", "Hello there!", "Hello"):
                with self.subTest(source=source.name, question=question):
                    answer = run(folder, "-p", question)
                    self.assertEqual(answer["text"], "Hello there!")
                    self.assertEqual(answer["finish_reason"], "stop")

    def test_reasoning_goes_where_the_template_opened_it(self):
        folder = self.make("Let me see.\n</think>\n\nFour.", tokenizer_from=scripted.R1)
        answer = run(folder, "-p", "2 + 2?")
        self.assertEqual(answer["reasoning"].strip(), "Let me see.")
        self.assertEqual(answer["text"].strip(), "Four.")

    def test_ids_and_repetition(self):
        folder = self.make([10, 11, 12], repeat=True)
        answer = run(folder, "-p", "Go", "-n", "7")
        self.assertEqual(answer["ids"], [10, 11, 12, 10, 11, 12, 10])
        self.assertEqual(answer["finish_reason"], "length")


if __name__ == "__main__":
    unittest.main()
