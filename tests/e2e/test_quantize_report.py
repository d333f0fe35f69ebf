#!/usr/bin/env python3
"""`hadal quantize --report` on the tiny models: its figures are those of `hadal eval` and of the gguf package, the model is
the same but for the text in its metadata, and an interrupted report is made by the same command.

Standard library only, but for what needs the gguf package.  Run it alone: `python3 tests/e2e/test_quantize_report.py`.
"""

import json
import math
import os
import signal
import subprocess
import time
import unittest
from pathlib import Path

from test_cli import PROGRAM, TIMEOUT, Cli, comma, model

KEY = b"hadal.quantize.report"
ROOM = 4096  # bytes of its value
TEXT = "".join(f"The {n}th house of the street has {n * 7 % 13} windows and {n * 5 % 11} doors.\n" for n in range(60))
FIGURES = ["perplexity", "perplexity_original", "kl_mean", "kl_median", "kl_p99", "kl_max", "top1", "tokens",
           "predicted_tokens", "window", "windows"]


class Report(Cli):
    def setUp(self):
        self.original = model("qwen2/model.gguf")
        self.out, self.report, self.text = (self.file(n) for n in ("out.gguf", "report.json", "text.txt"))
        Path(self.text).write_text(TEXT)

    def tearDown(self):
        for name in os.listdir(self.folder):
            if os.path.isfile(self.file(name)):
                os.unlink(self.file(name))

    def quantize(self, *words, type="Q4_K_M", path=None):
        """The report, from the file."""
        how = ("--type", type) if type else ()
        self.table = self.hadal("quantize", path or self.original, self.out, *how, "--report", self.report, *words)
        return json.loads(Path(self.report).read_text())

    def evaluated(self, *words):
        said = json.loads(self.hadal("eval", self.out, "--against", self.original, "--json", *words))
        said["perplexity_original"] = said["against"]["perplexity"]
        return {key: said[key] for key in FIGURES}

    def test_figures_are_those_of_eval(self):
        report = self.quantize("--report-text", self.text, "--report-tokens", "0")
        self.assertEqual({key: report[key] for key in FIGURES}, self.evaluated("--text", self.text))
        self.assertEqual((report["text"], report["text_of_calibration"]), ("text.txt", False))
        self.assertNotIn("left_out", report)
        os.unlink(self.report)
        report = self.quantize("--report-text", self.text, "--report-tokens", "90", "--report-window", "40", type=None)
        ids = json.loads(self.hadal("tokenize", self.out, "--json", stdin=json.dumps(TEXT) + "\n"))
        self.assertEqual((report["tokens"], report["windows"]), (90, 3))
        first = json.loads(self.hadal("inspect", self.out, "--json"))["metadata"].get("tokenizer.ggml.bos_token_id")
        self.assertEqual({key: report[key] for key in FIGURES},
                         self.evaluated("--ids", comma(([first] + ids)[:90]), "--context", "40"))

    def test_what_else_it_says(self):
        report = self.quantize("--report-text", self.text, "--threads", "1")
        seen = json.loads(self.hadal("inspect", self.out, "--tensors", "--json"))
        before = {t["name"]: t for t in json.loads(self.hadal("inspect", self.original, "--tensors", "--json"))["tensors"]}
        self.assertEqual((report["recipe"], report["bytes"]), ("Q4_K_M", seen["bytes"]))
        self.assertAlmostEqual(report["bpw"], 8 * seen["bytes"] / seen["values"], places=6)
        self.assertEqual([(t["name"], t["type"], t["bytes"]) for t in report["tensors"]],
                         [(t["name"], t["type"], t["bytes"]) for t in seen["tensors"]])
        for t in report["tensors"]:
            self.assertEqual(t["type_before"], before[t["name"]]["type"])
            self.assertEqual(t["error"] > 0, t["type"] != t["type_before"], t)
            self.assertNotIn("weighted_error", t)
        self.assertEqual(report["machine"]["threads"], 1)
        self.assertTrue(report["machine"]["cpu"] and report["machine"]["tier"])
        for kind in ("prefill", "decode"):
            self.assertGreater(report["speed"][f"{kind}_tokens_per_second"], 0)
            self.assertGreater(report["speed"][f"{kind}_tokens_per_second_original"], 0)
        worst = sorted(report["tensors"], key=lambda t: -t["error"])[:10]
        lines = self.table.split("largest errors", 1)[1].splitlines()[1:]
        self.assertEqual([line.split()[0] for line in lines], [t["name"] for t in worst])
        for word in ("perplexity", "divergence", "same token", "reading", "writing", "machine", "text.txt"):
            self.assertIn(f"\n  {word}" if word != "text.txt" else word, self.table)

    def test_it_lies_in_the_metadata(self):
        self.hadal("quantize", self.original, self.out, "--type", "Q4_K_M")
        plain = Path(self.out).read_bytes()
        self.assertNotIn(KEY, plain)
        os.unlink(self.out)
        report = self.quantize("--report-text", self.text, "--json")
        said = json.loads(self.table)
        self.assertEqual(said["report"], report)
        self.assertTrue(report["in_metadata"])
        data = Path(self.out).read_bytes()
        begin = data.index(KEY) + len(KEY) + 12  # behind the value's type and length
        self.assertEqual(int.from_bytes(data[begin - 8 : begin], "little"), ROOM)
        value = data[begin : begin + ROOM].decode()
        self.assertTrue(value.endswith("}" + " " * (ROOM - len(value.rstrip()))))
        summary = {k: v for k, v in report.items() if k not in ("tensors", "in_metadata")}
        self.assertEqual(json.loads(value), summary)
        self.assertEqual(json.loads(self.hadal("inspect", self.out, "--json"))["quantize_report"], summary)
        shown = self.hadal("inspect", self.out)
        self.assertIn("\nreport of quantizing (hadal.quantize.report)\n  recipe       Q4_K_M\n", shown)
        self.assertIn(f"{report['perplexity']:.6g}, the original's {report['perplexity_original']:.6g}", shown)
        # what lies behind the metadata is the same as ever; a model made of this one has no such key
        size = sum(t["bytes"] for t in report["tensors"])
        self.assertEqual(data[-size:], plain[-size:])
        self.hadal("quantize", self.out, self.file("again.gguf"), "--type", "F16")
        self.assertNotIn(KEY, Path(self.file("again.gguf")).read_bytes())

    def test_of_a_model_that_is_there(self):
        self.hadal("quantize", self.original, self.out, "--type", "Q4_0")
        before = Path(self.out).read_bytes()
        report = self.quantize("--report-text", self.text, type=None)
        self.assertIn("there is ", self.table)
        self.assertEqual((report["recipe"], report["in_metadata"], self.said), ("Q4_0", False, ""))
        self.assertEqual(Path(self.out).read_bytes(), before)
        os.unlink(self.report)
        again = self.quantize("--report-text", self.text, type="Q4_0")
        self.assertIn("is there already: a report of it is made, nothing else", self.said)
        self.assertEqual({k: v for k, v in again.items() if k != "speed"},
                         {k: v for k, v in report.items() if k != "speed"})
        os.unlink(self.report)
        q = ("quantize", self.original, self.out, "--report", self.report)
        self.hadal(*q, "--type", "Q8_0", code=1)
        self.assertIn("is there already, and not what --type Q8_0 makes of this model", self.said)
        os.unlink(self.out)
        self.refused(1, "is not there; --type or a budget says what to write", *q)

    def test_an_interrupted_one_is_made_later(self):
        Path(self.text).write_text(TEXT * 40)
        words = [PROGRAM, "quantize", self.original, self.out, "--type", "Q5_0", "--report", self.report, "--report-text",
                 self.text, "--report-tokens", "0"]
        process = subprocess.Popen(words, stderr=subprocess.PIPE, stdout=subprocess.DEVNULL, env=self.environment)
        end = time.monotonic() + TIMEOUT
        while not os.path.exists(self.out) and time.monotonic() < end:
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        said = process.communicate(timeout=TIMEOUT)[1].decode()
        if process.returncode == 0:
            self.skipTest("it was faster than the signal")
        self.assertEqual(process.returncode, 130, said)
        self.assertFalse(os.path.exists(self.report))
        self.assertIn(b"not measured yet", Path(self.out).read_bytes())
        self.assertIn("\n  state        not measured yet\n", self.hadal("inspect", self.out))
        report = self.quantize("--report-text", self.text, "--report-tokens", "100", type="Q5_0")
        self.assertEqual((report["recipe"], report["tokens"], report["in_metadata"]), ("Q5_0", 100, True))

    def test_texts_of_calibration_are_called_so(self):
        matrix = self.file("x.imatrix.gguf")
        report = self.quantize("--calibrate", self.text, "--context", "64", "--imatrix-out", matrix, type="Q4_0")
        self.assertTrue(report["text_of_calibration"])
        self.assertIn("THE TEXT OF CALIBRATION", self.table)
        self.assertIn("THE TEXT OF CALIBRATION", self.hadal("inspect", self.out))
        weighted = {t["name"]: t["weighted_error"] for t in report["tensors"] if "weighted_error" in t}
        self.assertEqual(sorted(weighted), sorted(t["name"] for t in report["tensors"]
                                                  if t["name"].startswith(("blk.", "output.")) and t["values"] > 10000))
        os.unlink(self.report)
        again = self.quantize("--calibrate", self.text, "--context", "64", "--imatrix-out", matrix, type="Q4_0")
        self.assertEqual({t["name"]: t.get("weighted_error") for t in again["tensors"] if t["name"] in weighted}, weighted)
        os.unlink(self.report)
        report = self.quantize("--report-text", self.text, type=None)  # the model's metadata name it
        self.assertTrue(report["text_of_calibration"])
        os.rename(self.text, self.file("other.txt"))
        os.unlink(self.report)
        self.assertFalse(self.quantize("--report-text", self.file("other.txt"), type=None)["text_of_calibration"])

    def test_what_is_left_out_says_why(self):
        report = self.quantize(type="Q4_0")
        self.assertEqual(report["left_out"], {"quality": "there is no text; --report-text gives one"})
        self.assertIn("speed", report)
        self.assertNotIn("perplexity", report)
        self.assertIn("no quality:  there is no text", self.table)
        os.unlink(self.report)
        os.unlink(self.out)
        data, at = Path(self.original).read_bytes(), 0
        at = data.index(b"qwen2", data.index(b"general.architecture"))
        Path(self.file("odd.gguf")).write_bytes(data[:at] + b"qwenX" + data[at + 5 :])
        report = self.quantize("--report-text", self.text, type="Q4_0", path=self.file("odd.gguf"))
        self.assertEqual(sorted(report["left_out"]), ["quality", "speed"])
        self.assertIn('"qwenX" is not one', report["left_out"]["quality"])
        self.assertGreater(report["error"], 0)
        self.assertTrue(report["in_metadata"])
        os.unlink(self.report)
        Path(self.text).write_text("")
        self.refused(1, "the text is empty", "quantize", self.original, self.file("x.gguf"), "--type", "Q8_0", "--report",
                     self.report, "--report-text", self.text)
        self.assertFalse(os.path.exists(self.file("x.gguf")))

    def test_in_several_files(self):
        report = self.quantize("--split-size", "500kB", "--report-text", self.text, type="Q4_0")
        first = self.file("out-00001-of-00003.gguf")
        seen = json.loads(self.hadal("inspect", first, "--json"))
        self.assertEqual(seen["quantize_report"]["perplexity"], report["perplexity"])
        self.assertEqual(seen["bytes"], report["bytes"])
        self.assertEqual(len(report["tensors"]), seen["tensor_count"])
        self.refused(1, "is there already", "quantize", self.original, self.out, "--type", "Q4_0", "--split-size", "500kB",
                     "--report", self.file("second.json"))
        self.hadal("quantize", self.original, first, "--report", self.file("second.json"), "--report-text", self.text)
        second = json.loads(Path(self.file("second.json")).read_text())
        self.assertEqual(second["tensors"], report["tensors"])

    def test_of_a_release(self):
        report = self.quantize("--report-text", self.text, type="Q8_0", path=model("qwen2"))
        self.assertLess(report["error"], 0.01)
        self.assertLess(abs(report["perplexity"] / report["perplexity_original"] - 1), 0.012)

    def test_what_is_refused(self):
        q = ("quantize", self.original, self.out, "--type", "Q8_0")
        Path(self.report).write_text("{}")
        self.refused(1, "is there already and is not replaced", *q, "--report", self.report)
        self.assertEqual(Path(self.report).read_text(), "{}")
        self.refused(1, "cannot write there", *q, "--report", "/no/such/folder/report.json")
        self.refused(1, "no-such-text", *q, "--report", self.file("r.json"), "--report-text", self.file("no-such-text"))
        self.refused(2, "exclude each other", *q, "--report", self.file("r.json"), "--dry-run")
        self.refused(2, "need --report", *q, "--report-text", self.text)
        self.refused(2, "need two files", *q, "--report", self.out)
        self.refused(2, "need files of their own", *q, "--report", self.file("r.json"), "--calibrate", self.text,
                     "--imatrix-out", self.file("r.json"))
        self.refused(2, "put it in a file", *q, "--report", self.file("r.json"), "--report-text", "-")
        self.refused(2, "OUT.gguf is needed", "quantize", self.original, "--calibrate", self.text, "--imatrix-out",
                     self.file("m"), "--report", self.file("r.json"))
        self.assertFalse(os.path.exists(self.out))

    def test_errors_are_those_of_the_gguf_package(self):
        try:
            import gguf
            import numpy
        except ImportError:
            self.skipTest("the gguf package is not installed")

        def values(path):
            return {t.name: gguf.quants.dequantize(t.data, t.tensor_type).astype(numpy.float64).ravel()
                    for t in gguf.GGUFReader(path).tensors}

        report = self.quantize(type="Q4_K_M")
        before, after = values(self.original), values(self.out)
        squared = everything = 0.0
        self.assertEqual(len(report["tensors"]), len(after))
        for t in report["tensors"]:
            x, y = before[t["name"]], after[t["name"]]
            error = math.sqrt(((x - y) ** 2).sum() / (x**2).sum())
            self.assertAlmostEqual(t["error"], error, delta=1e-6 * error)
            squared, everything = squared + ((x - y) ** 2).sum(), everything + (x**2).sum()
        self.assertAlmostEqual(report["error"], math.sqrt(squared / everything), places=8)
        fields = gguf.GGUFReader(self.out).fields
        self.assertEqual(json.loads(fields["hadal.quantize.report"].contents())["recipe"], "Q4_K_M")


if __name__ == "__main__":
    unittest.main()
