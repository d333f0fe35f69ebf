#!/usr/bin/env python3
"""The program as its users meet it: commands, exact output, errors with exit codes, Ctrl-C, a chat in a terminal.

Runs $HD_PROGRAM (else build/release/hadal) on the tiny models of the reference data.  Standard library only.
Run it alone: `python3 tests/e2e/test_cli.py`, or through `python3 -m unittest discover -s tests/e2e`.
"""

import array
import errno
import json
import math
import os
import pty
import re
import select
import shutil
import signal
import struct
import subprocess
import sys
import tempfile
import time
import unittest
import zipfile
from pathlib import Path

SOURCE = Path(os.environ.get("HD_SOURCE", Path(__file__).resolve().parents[2]))
PROGRAM = os.environ.get("HD_PROGRAM", str(SOURCE / "build/release/hadal"))
TIMEOUT = 60  # seconds; a command takes well under one


def golden():
    if "HD_GOLDEN" in os.environ:
        return Path(os.environ["HD_GOLDEN"])
    shared = SOURCE / "../shared/golden"
    return shared if shared.exists() else SOURCE / "tests/data/golden"


def model(name="qwen2"):
    """Path of a tiny model: a folder, or 'qwen2/model.gguf'.  Skips the test when the reference data lacks it."""
    path = golden() / "models" / name
    if not path.exists():
        raise unittest.SkipTest(f"reference data lacks models/{name}")
    return str(path)


def those_here(*names):
    """Those of the tiny models that the reference data has; the subset in tests/data has some."""
    return [name for name in names if (golden() / "models" / name).exists()]


def safetensors(path):
    """{name: (shape, flat array)} of a safetensors file with float32 and int32 tensors."""
    data = Path(path).read_bytes()
    (size,) = struct.unpack("<Q", data[:8])
    header = json.loads(data[8 : 8 + size])
    out = {}
    for name, info in header.items():
        if name == "__metadata__":
            continue
        begin, end = info["data_offsets"]
        values = array.array({"F32": "f", "I32": "i"}[info["dtype"]])
        values.frombytes(data[8 + size + begin : 8 + size + end])
        out[name] = (info["shape"], values)
    return out


def expected(name="qwen2"):
    return safetensors(os.path.join(model(name), "expected.safetensors"))


def comma(ids):
    return ",".join(map(str, ids))


class Cli(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.mkdtemp(prefix="hadal-e2e-")
        cls.environment = dict(os.environ, XDG_STATE_HOME=cls.folder + "/state", HOME=cls.folder, TERM="xterm")
        cls.environment.pop("NO_COLOR", None)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder)

    def file(self, name):
        return os.path.join(self.folder, name)

    def hadal(self, *words, stdin=b"", code=0):
        """Runs the program; fails unless it exits with `code`.  Returns stdout as text; stderr is in self.said."""
        if isinstance(stdin, str):
            stdin = stdin.encode()
        if words and words[0] in ["run", "eval", "bench", "chat"] and "--threads" not in words:
            words = (*words, "--threads", "1")  # other tests may be busy on the other processors
        done = subprocess.run(
            [PROGRAM, *map(str, words)], input=stdin, capture_output=True, timeout=TIMEOUT, env=self.environment
        )
        self.said = done.stderr.decode()
        self.assertEqual(done.returncode, code, f"hadal {' '.join(map(str, words))}\n{self.said}")
        return done.stdout.decode()

    def refused(self, code, text, *words, stdin=b""):
        """The command fails with `code` and one clear message that contains `text`; nothing goes to stdout."""
        self.assertEqual(self.hadal(*words, stdin=stdin, code=code), "")
        self.assertIn(text, self.said)
        self.assertTrue(self.said.startswith("hadal: "), self.said)
        self.assertEqual(self.said.count("\n"), 2 if code == 2 else 1, self.said)


class Program(Cli):
    COMMANDS = ["chat", "run", "inspect", "tokenize", "prompt", "eval", "bench", "quantize", "plan", "models", "pull",
                "key"]

    def test_overview_and_version(self):
        overview = self.hadal("--help")
        for command in self.COMMANDS:
            self.assertIn(f"\n  {command} ", overview)
        self.assertEqual(self.hadal("help"), overview)
        self.assertRegex(self.hadal("--version"), r"^hadal \d+\.\d+\.\d+\n$")

    def test_no_command_is_wrong_usage(self):
        self.assertEqual(self.hadal(code=2), "")
        self.assertIn("Usage: hadal COMMAND", self.said)

    def test_manual_pages(self):
        for command in self.COMMANDS:
            page = self.hadal(command, "--help")
            self.assertEqual(self.hadal("help", command), page)
            for heading in ["NAME", "SYNOPSIS", "DESCRIPTION", "OPTIONS", "EXAMPLES", "EXIT CODES"]:
                self.assertIn(f"\n{heading}\n" if heading != "NAME" else "NAME\n", page, command)
            self.assertLessEqual(max(map(len, page.splitlines())), 100, command)
            if command != "plan":
                self.assertIn("HADAL_DATA" if command == "key" else "HADAL_MODELS", page)
            self.assertIn("130  interrupted", page)
        for command in ["run", "eval", "bench", "chat"]:
            self.assertIn("--cpu auto|reference|avx2|avx512|avx512bf16|amx|neon|neondot|neoni8mm", self.hadal(command, "--help"))

    def test_wrong_usage(self):
        m = model()
        for text, words in [
            ("unknown command 'tokenise'; did you mean 'tokenize'?", ["tokenise"]),
            ("unknown command 'x'", ["help", "x"]),
            ("'--json' is not a command", ["--json"]),
            ("unknown option --temprature; did you mean --temperature?", ["run", m, "--temprature", "1"]),
            ("MODEL is missing", ["run", "--ids", "1"]),
            ("--threads: 0 is out of range", ["bench", m, "--threads", "0"]),
            ("'fast' is not one of auto|reference", ["eval", m, "--ids", "1", "--cpu", "fast"]),
            ("give one of --ids", ["eval", m]),
            ("only one of --ids", ["eval", m, "--ids", "1", "--text-string", "a"]),
            ("--logits: the name of the file is empty", ["eval", m, "--ids", "1", "--logits", ""]),
            ("need two files", ["eval", m, "--ids", "1", "--logits", "a", "--record-experts", "./a"]),
            ("exclude each other", ["eval", m, "--ids", "1", "--record-experts", "a", "--force-experts", "b"]),
            ("--ids is the whole prompt", ["run", m, "--ids", "1", "-p", "a"]),
            ("--special goes with --raw", ["run", m, "-p", "a", "--special"]),
            ("--stop-at-end goes with --ids", ["run", m, "-p", "a", "--stop-at-end"]),
            ("which --raw leaves out", ["run", m, "-p", "a", "--raw", "--var", "x=1"]),
            ("99999999999999999999 is too large", ["run", m, "-p", "a", "-n", "99999999999999999999"]),
            ("--logprobs goes with --json", ["run", m, "-p", "a", "--logprobs", "2"]),
            ("the string is empty", ["run", m, "-p", "a", "--stop", ""]),
            ("leaves nothing to measure", ["bench", m, "--prefill", "0", "--decode", "0"]),
            ("--json reads standard input", ["tokenize", m, "--json", "-p", "a"]),
            ("--decode takes ids", ["tokenize", m, "--decode", "-p", "a"]),
            ("unexpected argument 'b' after MODEL", ["run", m, "b"]),
        ]:
            with self.subTest(text):
                self.refused(2, text, *words)

    def test_models_that_are_not_there(self):
        for command in [["run", "-p", "a"], ["eval", "--ids", "1"], ["bench"], ["inspect"], ["tokenize"], ["prompt"]]:
            with self.subTest(command[0]):
                self.refused(1, "/no/such/model", command[0], "/no/such/model", *command[1:])
        junk = self.file("junk.gguf")
        Path(junk).write_bytes(b"GGUF but not really")
        for command in [["run", "--ids", "1", "--print-ids"], ["inspect"]]:
            self.refused(1, "junk.gguf", command[0], junk, *command[1:])

    def test_full_disk(self):
        m = model("qwen2")
        for words in [["inspect", m], ["inspect", m, "--json"], ["--help"], ["help", "run"], ["version"],
                      ["models", "--catalogue"], ["pull", "--help"], ["run", "--help"], ["prompt", m, "--user", "Hi"]]:
            with self.subTest(words), open("/dev/full", "wb") as full:
                done = subprocess.run([PROGRAM, *words], stdout=full, stderr=subprocess.PIPE, env=self.environment)
                self.assertEqual(done.returncode, 1)
                self.assertEqual(done.stderr.count(b"standard output could not be written"), 1, done.stderr)

    def test_a_reader_that_leaves_ends_the_program(self):
        """Exit code 1 and no message, though standard input stays open."""
        m = model("qwen2")
        line = {"tokenize": b'"Hello"\n', "prompt": b'{"messages":[{"role":"user","content":"Hi"}]}\n', "chat": b"Hi\n"}
        for words in [["tokenize", m, "--json"], ["prompt", m, "--json"],
                      ["chat", m, "-n", "100000", "--cpu", "reference", "--threads", "1", "--logit-bias", "1=-1000"]]:
            with self.subTest(words[0]), subprocess.Popen(
                [PROGRAM, *words], stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                env=self.environment,
            ) as process:
                self.addCleanup(process.kill)
                process.stdin.write(line[words[0]])
                process.stdin.flush()
                self.assertTrue(process.stdout.read(1))
                process.stdout.close()
                try:
                    process.stdin.write(line[words[0]])
                    process.stdin.flush()
                except BrokenPipeError:
                    pass
                self.assertEqual(process.wait(10), 1)
                self.assertEqual(process.stderr.read(), b"")
                try:
                    process.stdin.close()
                except BrokenPipeError:
                    pass

    def test_json_that_nobody_reads(self):
        for name in those_here("llama", "qwen2", "deepseek-v2-lite", "deepseek-v3-fp8"):
            words = ["inspect", model(name), "--json", "--tensors"]
            with self.subTest(name):
                reader, writer = os.pipe()
                os.close(reader)
                done = subprocess.run([PROGRAM, *words], stdout=writer, stderr=subprocess.PIPE, env=self.environment)
                os.close(writer)
                self.assertEqual((done.returncode, done.stderr), (1, b""))

    def test_help_is_asked_for_by_an_option_only(self):
        out = self.hadal("run", model(), "-n", "1", "-p", "-h")
        self.assertNotIn("SYNOPSIS", out)
        self.assertIn("SYNOPSIS", self.hadal("run", "--nonsense", "-h"))
        self.assertIn("--stop $'\\n\\n'", self.hadal("run", "--help"))

    def test_no_home(self):
        self.environment = {k: v for k, v in self.environment.items() if k not in ["HOME", "XDG_DATA_HOME", "HADAL_MODELS"]}
        self.refused(1, "HADAL_MODELS", "run", "no-such-model", "-p", "a")
        self.assertNotIn("--models-dir", self.said)


class Run(Cli):
    def test_ids_go_in_and_out(self):
        for name in those_here("llama", "qwen2", "deepseek-v3", "deepseek-v3-fp8"):
            tensors = expected(name)
            for n in range(3):
                prompt, greedy = tensors[f"prompt.{n}"][1], tensors[f"greedy.{n}"][1]
                out = self.hadal("run", model(name), "--ids", comma(prompt), "-n", "12", "--greedy", "--print-ids",
                                 "--cpu", "reference")
                self.assertEqual(out, comma(greedy) + "\n", f"{name} {n}")
                self.assertEqual(self.said, "")

    def test_a_reader_that_leaves_ends_the_answer(self):
        process = subprocess.Popen(
            [PROGRAM, "run", model(), "--ids", "5,9,12", "-n", "100000", "--cpu", "reference", "--threads", "1"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment,
        )
        process.stdout.read(1)
        process.stdout.close()
        self.assertEqual(process.stderr.read(), b"")
        self.assertEqual(process.wait(TIMEOUT), 1)
        process.stderr.close()

    def test_stop_at_end(self):
        tensors = expected()
        prompt, greedy = tensors["prompt.1"][1], list(tensors["greedy.1"][1])
        first = greedy[3]  # pretend that the fourth token ends a text
        folder = self.file("ends")
        shutil.copytree(model(), folder)
        os.chmod(folder, 0o755)
        Path(folder, "generation_config.json").write_text(json.dumps({"eos_token_id": [first, 767]}))
        words = ["run", folder, "--ids", comma(prompt), "-n", "12", "--greedy", "--print-ids", "--cpu", "reference"]
        self.assertEqual(self.hadal(*words), comma(greedy) + "\n")
        cut = greedy[: greedy.index(first) + 1]
        self.assertEqual(self.hadal(*words, "--stop-at-end"), comma(cut) + "\n")
        answer = json.loads(self.hadal(*words, "--stop-at-end", "--json"))
        self.assertEqual((answer["ids"], answer["finish_reason"]), (cut, "stop"))

    def test_json(self):
        answer = json.loads(
            self.hadal("run", model(), "-p", "Hello", "-n", "5", "--json", "--logprobs", "3", "--seed", "7")
        )
        self.assertEqual(answer["usage"]["completion_tokens"], len(answer["ids"]))
        self.assertEqual(
            answer["usage"]["total_tokens"], answer["usage"]["prompt_tokens"] + answer["usage"]["completion_tokens"]
        )
        self.assertIn(answer["finish_reason"], ["stop", "length"])
        self.assertEqual(answer["seed"], 7)
        self.assertIsInstance(answer["text"], str)
        for key in ["load_seconds", "prefill_seconds", "prefill_tokens_per_second", "decode_tokens_per_second"]:
            self.assertGreaterEqual(answer["timings"][key], 0)
        self.assertEqual([one["id"] for one in answer["logprobs"]], answer["ids"])
        for one in answer["logprobs"]:
            best = [other["logprob"] for other in one["top"]]
            self.assertEqual(len(best), 3)
            self.assertEqual(best, sorted(best, reverse=True))
            self.assertLessEqual(one["logprob"], best[0] + 1e-6)

    def test_seed(self):
        words = ["run", model(), "--ids", "5,9,12", "-n", "16", "--print-ids", "--temperature", "2", "--top-k", "0"]
        one, same, other = [self.hadal(*words, "--seed", seed) for seed in ["1", "1", "2"]]
        self.assertEqual(one, same)
        self.assertNotEqual(one, other)
        self.assertNotEqual(self.hadal(*words), self.hadal(*words))  # a new seed each time

    def test_sampling_options_reach_the_sampler(self):
        words = ["run", model(), "--ids", "5,9,12", "-n", "6", "--greedy", "--print-ids"]
        self.assertEqual(self.hadal(*words, "--logit-bias", "42=1000"), "42,42,42,42,42,42\n")
        ids = self.hadal(*words, "--logit-bias", "42=100", "--presence-penalty", "90", "--logit-bias", "43=50")
        self.assertEqual(ids.split(",")[:2], ["42", "43"])
        self.refused(1, "not ID=BIAS", *words, "--logit-bias", "42")

    def test_reasoning_is_kept_out_of_the_answer(self):
        folder = self.file("thinks")
        shutil.copytree(model(), folder)
        os.chmod(folder, 0o755)
        path = Path(folder, "tokenizer_config.json")
        os.chmod(path, 0o644)
        config = json.loads(path.read_text())
        special = "<｜Assistant｜>"
        config["chat_template"] = config["chat_template"].replace(f"'{special}' }}}}{{% endif %}}", f"'{special}<think>' }}}}{{% endif %}}")
        path.write_text(json.dumps(config))
        self.assertTrue(self.hadal("prompt", folder, "--user", "Hi").endswith("<think>"))
        end = self.hadal("tokenize", folder, "-p", "</think>").strip()
        word = self.hadal("tokenize", folder, "-p", "a").strip()
        # the penalties make the biased tokens come as: word, end, word, and then what the model likes
        words = ["run", folder, "-p", "Hi", "-n", "3", "--greedy", "--frequency-penalty", "100", "--logit-bias",
                 f"{word}=290", "--logit-bias", f"{end}=200"]
        answer = json.loads(self.hadal(*words, "--json"))
        self.assertEqual(answer["ids"], [int(word), int(end), int(word)])
        self.assertEqual((answer["reasoning"], answer["text"]), ("a", "a"))
        self.assertEqual(self.hadal(*words), "a\n")
        self.assertEqual(self.hadal(*words, "--reasoning", "stdout"), "a\na\n")
        self.assertEqual((self.hadal(*words, "--reasoning", "stderr"), self.said), ("a\n", "a\n"))
        words[words.index("-n") + 1] = "1"
        self.assertEqual(self.hadal(*words), "\n")
        self.assertIn("ended within the reasoning", self.said)

    def test_prompt_from_standard_input(self):
        words = ["run", model(), "-n", "8", "--greedy"]
        piped = self.hadal(*words, stdin="Hello\n")
        self.assertEqual(piped, self.hadal(*words, "-p", "Hello"))
        self.assertTrue(piped.endswith("\n"))
        self.refused(1, "the prompt is empty", *words, stdin="\n")

    def test_raw_differs_from_chat(self):
        words = ["run", model(), "-p", "Hello", "-n", "1", "--json", "--greedy"]
        chat, raw = json.loads(self.hadal(*words)), json.loads(self.hadal(*words, "--raw"))
        self.assertGreater(chat["usage"]["prompt_tokens"], raw["usage"]["prompt_tokens"])
        self.refused(1, "--system has no place", *words, "--raw", "--system", "be brief")

    def test_stop_string(self):
        words = ["run", model(), "--ids", "5,9,12", "-n", "40", "--greedy", "--json"]
        text = json.loads(self.hadal(*words))["text"]
        self.assertGreater(len(text), 12)
        stop = text[8:11]
        cut = json.loads(self.hadal(*words, "--stop", stop))
        self.assertEqual(cut["finish_reason"], "stop")
        self.assertEqual(cut["text"], text[: text.index(stop)])

    def test_print_ids_with_a_stop_string(self):
        words = ["run", model(), "--ids", "5,9,12", "-n", "40", "--greedy"]
        text = json.loads(self.hadal(*words, "--json"))["text"]
        out = self.hadal(*words, "--print-ids", "--stop", text[8:11])
        self.assertRegex(out, r"\A\d+(,\d+)*\n\Z")
        self.assertEqual(out, comma(json.loads(self.hadal(*words, "--json", "--stop", text[8:11]))["ids"]) + "\n")

    def test_notes_come_behind_the_answer(self):
        done = subprocess.run(
            [PROGRAM, "run", model(), "--ids", "1,2,3", "--context", "5", "-n", "99", "--print-ids", "--greedy"],
            stdout=subprocess.PIPE, stderr=subprocess.STDOUT, timeout=TIMEOUT, env=self.environment,
        )
        self.assertRegex(done.stdout.decode(), r"\A\d+,\d+,\d+\nhadal: run: the context is full")

    def test_bad_ids(self):
        m = model()
        for text, ids in [("empty", ""), ("'x' is not a token id", "1,x"), ("'-1' is not a token id", "-1"),
                          ("ends with a comma", "1,"), ("is not a token id", "99999999999"), ("vocabulary", "768")]:
            with self.subTest(ids):
                self.refused(1, text, "run", m, f"--ids={ids}", "--print-ids", "-n", "1")

    def test_context(self):
        m = model()
        self.refused(1, "4 tokens are more than the context of 3", "run", m, "--ids", "1,2,3,4", "--context", "3")
        out = self.hadal("run", m, "--ids", "1,2,3", "--context", "5", "-n", "99", "--print-ids", "--greedy")
        self.assertEqual(len(out.split(",")), 3)  # two fit, and the one after them needs no place
        self.assertIn("context", self.said)
        self.refused(1, "context", "run", m, "--ids", "1", "--context", "99999999")

    def test_interrupt(self):
        process = subprocess.Popen(
            [PROGRAM, "run", model(), "--ids", "5,9,12", "-n", "4000", "--print-ids", "--cpu", "reference", "--threads", "1"],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment,
        )
        first = process.stdout.read(1)
        process.send_signal(signal.SIGINT)
        out, said = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 130)
        ids = (first + out).decode()
        self.assertRegex(ids, r"^\d+(,\d+)*\n$")  # whole ids, and the line is ended
        self.assertLess(len(ids.split(",")), 4000)
        self.assertEqual(said.decode(), "hadal: run: interrupted\n")

    def test_interrupt_while_reading_standard_input(self):
        process = subprocess.Popen(
            [PROGRAM, "run", model()], stdin=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment
        )
        time.sleep(0.2)
        process.send_signal(signal.SIGINT)
        process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 130)


class Eval(Cli):
    def logits(self, m, ids, *more):
        out = self.file("logits.safetensors")
        self.hadal("eval", m, "--ids", comma(ids), "--logits", out, *more)
        tensors = safetensors(out)
        self.assertEqual(list(tensors), ["logits"])
        return tensors["logits"]

    def test_logits(self):
        for name in those_here("llama", "qwen2", "deepseek-v2-lite", "deepseek-v3-fp8"):
            tensors = expected(name)
            for n in range(3):
                prompt, (shape, want) = tensors[f"prompt.{n}"][1], tensors[f"logits.{n}"]
                got_shape, got = self.logits(model(name), prompt, "--cpu", "reference")
                self.assertEqual(got_shape, [len(prompt), shape[1]])
                self.assertLess(max(abs(a - b) for a, b in zip(got, want)), 2e-3, f"{name} {n}")

    def test_a_file_and_a_folder_give_the_same(self):
        ids = expected()["prompt.1"][1]
        self.assertEqual(
            self.logits(model("qwen2"), ids, "--cpu", "reference"),
            self.logits(model("qwen2/model.safetensors"), ids, "--cpu", "reference"),
        )

    def test_last_and_chunk(self):
        ids = expected()["prompt.2"][1]
        shape, whole = self.logits(model(), ids, "--cpu", "reference")
        for more in [["--chunk", "5"], ["--chunk", "1"]]:
            self.assertLess(max(abs(a - b) for a, b in zip(self.logits(model(), ids, "--cpu", "reference", *more)[1], whole)), 1e-4)
        tail_shape, tail = self.logits(model(), ids, "--cpu", "reference", "--last", "3")
        self.assertEqual(tail_shape, [3, shape[1]])
        self.assertLess(max(abs(a - b) for a, b in zip(tail, whole[-3 * shape[1] :])), 1e-4)

    def test_perplexity(self):
        ids = list(expected()["prompt.2"][1])
        shape, logits = self.logits(model(), ids, "--cpu", "reference")
        loss = 0
        for i in range(len(ids) - 1):
            row = logits[i * shape[1] : (i + 1) * shape[1]]
            most = max(row)
            loss += most + math.log(sum(math.exp(x - most) for x in row)) - row[ids[i + 1]]
        report = json.loads(self.hadal("eval", model(), "--ids", comma(ids), "--cpu", "reference", "--json"))
        self.assertAlmostEqual(report["loss"], loss / (len(ids) - 1), places=4)
        self.assertAlmostEqual(report["perplexity"] / math.exp(loss / (len(ids) - 1)), 1, places=3)
        self.assertEqual((report["tokens"], report["predicted_tokens"], report["windows"]), (48, 47, 1))

    def test_windows(self):
        ids = self.file("ids")
        Path(ids).write_text("[" + ", ".join(str(5 + i % 90) for i in range(50)) + "]\n")
        report = json.loads(self.hadal("eval", model(), "--ids-file", ids, "--context", "20", "--json"))
        self.assertEqual((report["window"], report["windows"], report["predicted_tokens"]), (20, 3, 47))
        self.refused(1, "--logits and --last need one window", "eval", model(), "--ids-file", ids, "--context", "20",
                     "--logits", self.file("x"))

    def test_text(self):
        text = self.file("text")
        Path(text).write_text("Hello world, hello again.\n")
        by_file = json.loads(self.hadal("eval", model(), "--text", text, "--json"))
        by_pipe = json.loads(self.hadal("eval", model(), "--text", "-", "--json", stdin=Path(text).read_bytes()))
        by_string = json.loads(self.hadal("eval", model(), "--text-string", Path(text).read_text(), "--json"))
        self.assertEqual(by_file, by_pipe)
        self.assertEqual(by_file, by_string)
        self.refused(1, "No such file", "eval", model(), "--text", "/no/such/file")

    def test_against_itself_and_another(self):
        ids = comma(expected()["prompt.2"][1])
        report = json.loads(self.hadal("eval", model(), "--ids", ids, "--against-cpu", "reference", "--cpu",
                                       "reference", "--json"))
        self.assertEqual([report[key] for key in ("kl_mean", "kl_median", "kl_p99", "kl_max", "top1")], [0, 0, 0, 0, 1])
        self.assertEqual(report["against"]["largest_logit_difference"], 0)
        self.assertEqual(report["against"]["compared_tokens"], 48)
        self.assertEqual(report["perplexity"], report["against"]["perplexity"])
        other = json.loads(self.hadal("eval", model(), "--ids", ids, "--against", model("deepseek-v3-fp8"), "--json"))
        self.assertGreater(other["kl_mean"], 0.1)
        self.assertTrue(0 < other["kl_median"] <= other["kl_p99"] <= other["kl_max"])
        self.assertLess(other["top1"], 0.5)
        alone = json.loads(self.hadal("eval", model(), "--ids", ids, "--json"))
        self.assertEqual({"kl_mean", "kl_p99", "top1", "against"} & set(alone), set())
        self.assertIn("same top token", self.hadal("eval", model(), "--ids", ids, "--against", model("qwen2")))

    def test_cache_types(self):
        ids = comma(expected()["prompt.2"][1])
        words = ["eval", model("qwen2"), "--ids", ids, "--cpu", "reference", "--json"]
        report = json.loads(self.hadal(*words, "--cache-type", "q8_0", "--against-cache-type", "f32"))
        self.assertEqual((report["cache_type"], report["against"]["cache_type"]), ("q8_0", "f32"))
        self.assertTrue(0 < report["kl_mean"] < 0.05, report)
        same = json.loads(self.hadal(*words, "--cache-type", "f16", "--against-cpu", "reference"))["against"]
        self.assertEqual((same["cache_type"], same["largest_logit_difference"]), ("f16", 0))
        self.refused(2, "'q4' is not one of auto|f32|f16|bf16|q8_0", *words, "--cache-type", "q4")
        self.refused(1, "pieces of 16; use f16 or bf16", "run", model("deepseek-v2"), "--ids", "1", "--cache-type", "q8_0")

    def test_dials(self):
        ids = comma(expected()["prompt.2"][1])
        words = ["eval", model("qwen2"), "--ids", ids, "--json", "--against", model("qwen2")]
        whole = json.loads(self.hadal(*words, "--ffn-keep", "100%"))
        self.assertEqual([whole[key] for key in ("kl_max", "top1", "arithmetic", "layer_arithmetic")], [0, 1, 1, 1])
        percent = json.loads(self.hadal(*words, "--ffn-keep", "50%"))
        self.assertEqual(percent, json.loads(self.hadal(*words, "--ffn-keep", "0.5")))
        self.assertGreater(percent["kl_mean"], 0)
        self.assertTrue(0.5 < percent["layer_arithmetic"] < percent["arithmetic"] < 1)
        product = json.loads(self.hadal(*words, "--ffn-keep", "50%", "--ffn-by", "product"))
        self.assertLess(percent["arithmetic"], product["arithmetic"])
        for report in (percent, product):  # what is compared with stays whole
            self.assertEqual((report["against"]["arithmetic"], report["against"]["loss"]), (1, whole["loss"]))
        self.assertIn("% in its layers", self.hadal("eval", model("qwen2"), "--ids", ids, "--ffn-keep", "50%"))
        self.refused(2, "'much' is not a share, such as 70% or 0.7", *words, "--ffn-keep", "much")
        self.refused(2, "0% is out of range; it may be 1% to 100%, or 0.01 to 1", *words, "--ffn-keep", "0%")
        self.refused(2, "'up' is not one of gate|product", *words, "--ffn-by", "up")
        self.refused(1, "this model (qwen2) has no experts to choose from", *words, "--experts", "1")

    def test_fewer_experts(self):
        m, ids = model("deepseek-v3-fp8"), comma(expected()["prompt.2"][1])
        words = ["eval", m, "--ids", ids, "--json", "--against", m]
        fewer = json.loads(self.hadal(*words, "--experts", "1"))
        self.assertGreater(fewer["kl_mean"], 0)
        self.assertTrue(fewer["layer_arithmetic"] < fewer["arithmetic"] < 1)
        self.assertEqual(fewer["against"]["arithmetic"], 1)
        self.refused(1, "this model sends a token to", *words, "--experts", "999")
        most = re.search(r"1 to (\d+) can be had", self.said)[1]
        own = json.loads(self.hadal(*words, "--experts", most))
        self.assertEqual((own["kl_max"], own["arithmetic"]), (0, 1))

    def test_experts(self):
        m, ids, experts = model("deepseek-v3-fp8"), "5,9,12,40,77", self.file("experts.safetensors")
        self.hadal("eval", m, "--ids", ids, "--cpu", "reference", "--record-experts", experts)
        self.assertEqual(safetensors(experts)["experts"][0][1], 5)
        report = json.loads(self.hadal("eval", m, "--ids", ids, "--cpu", "reference", "--force-experts", experts,
                                       "--against-cpu", "reference", "--json"))
        self.assertEqual(report["against"]["largest_logit_difference"], 0)
        self.refused(1, "no experts", "eval", model(), "--ids", ids, "--record-experts", experts)

    def test_places_that_cannot_be_written_are_named_at_once(self):
        for option in ["--logits", "--record-experts"]:
            # an id outside the vocabulary is noticed once the model is loaded
            self.refused(1, "/no/such/folder", "eval", model(), "--ids", "99999999", option, "/no/such/folder/x")

    def test_only_its_own_output_is_replaced(self):
        folder = self.file("mine")
        shutil.copytree(model(), folder)
        os.chmod(folder, 0o755)
        own, text, link, pipe = [os.path.join(folder, name) for name in ["own", "notes.txt", "link", "pipe"]]
        Path(text).write_text("what nobody wants to lose")
        os.symlink(text, link)
        os.mkfifo(pipe)
        words = ["eval", folder, "--ids", "1,2,3"]
        for target in [folder + "/model.safetensors", folder + "/config.json", text, link, pipe, folder]:
            before = os.path.isfile(target) and Path(target).read_bytes()
            for option in ["--logits", "--record-experts"]:
                with self.subTest(target=target, option=option):
                    self.refused(1, target, *words, option, target)
                    self.assertIn("take another name", self.said)
                    self.assertEqual(os.path.isfile(target) and Path(target).read_bytes(), before)
        self.assertTrue(os.path.islink(link))
        self.hadal(*words, "--logits", own)
        first = Path(own).read_bytes()
        self.hadal(*words, "--logits", own)  # scripts run again
        self.assertEqual(Path(own).read_bytes(), first)
        Path(own).write_bytes(b"")
        self.hadal(*words, "--logits", own)
        self.assertEqual(Path(own).read_bytes(), first)
        self.refused(1, "read by this very command", *words, "--force-experts", own, "--logits", own)
        self.assertEqual(sorted(os.listdir(folder)), sorted([*os.listdir(model()), "own", "notes.txt", "link", "pipe"]))

    def test_interrupt_reaches_the_other_model(self):
        """Ctrl-C while MODEL is in a long step: OTHER does not begin its own."""
        ids = self.file("many-ids")
        Path(ids).write_text(",".join(str(5 + i % 90) for i in range(2000)))
        words = [PROGRAM, "eval", model(), "--ids-file", ids, "--chunk", "2000", "--cpu", "reference", "--threads", "1"]

        def seconds(more, interrupt):
            process = subprocess.Popen([*words, *more], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, env=self.environment)
            if interrupt:
                time.sleep(0.7)
                process.send_signal(signal.SIGINT)
            _, status, used = os.wait4(process.pid, 0)
            process.returncode = os.waitstatus_to_exitcode(status)
            self.assertEqual(process.returncode, 130 if interrupt else 0)
            return used.ru_utime

        self.assertLess(seconds(["--against-cpu", "reference"], True), 1.5 * seconds([], False))


class Text(Cli):
    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        source = golden() / "tokenizers" / "deepseek-v3"
        if not source.exists():
            raise unittest.SkipTest("reference data lacks tokenizers/deepseek-v3")
        cls.tokenizer = cls.folder + "/tokenizer"
        os.mkdir(cls.tokenizer)
        with zipfile.ZipFile(source / "tokenizer.json.zip") as z:
            z.extractall(cls.tokenizer)
        shutil.copy(source / "tokenizer_config.json", cls.tokenizer)
        cls.cases = json.loads((source / "expected.json").read_text())

    def test_tokenize_json(self):
        cases = self.cases["encode"]
        lines = "".join(json.dumps(c["text"], ensure_ascii=i % 2 == 0) + "\n" for i, c in enumerate(cases))
        got = [json.loads(line) for line in self.hadal("tokenize", self.tokenizer, "--json", stdin=lines).splitlines()]
        self.assertEqual(got, [c["ids"] for c in cases])

    def test_decode_json(self):
        cases = self.cases["encode"]
        lines = "".join(json.dumps(c["ids"]) + "\n" for c in cases)
        out = self.hadal("tokenize", self.tokenizer + "/tokenizer.json", "--json", "--decode", stdin=lines)
        self.assertEqual([json.loads(line) for line in out.splitlines()], [c["decoded"] for c in cases])

    def test_prompt_json(self):
        cases = [{k: v for k, v in c.items() if k != "text"} for c in self.cases["chat"]]
        out = self.hadal("prompt", self.tokenizer, "--json", stdin="".join(json.dumps(c) + "\n" for c in cases))
        self.assertEqual([json.loads(line) for line in out.splitlines()], [c["text"] for c in self.cases["chat"]])

    def test_prompt_once(self):
        request = {"messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}]}
        by_json = json.loads(self.hadal("prompt", self.tokenizer, "--json", stdin=json.dumps(request) + "\n"))
        self.assertEqual(self.hadal("prompt", self.tokenizer, stdin=json.dumps(request)), by_json)
        words = ["prompt", self.tokenizer, "--system", "Be brief.", "--user", "Hi"]
        self.assertEqual(self.hadal(*words), by_json)
        ids = self.hadal(*words, "--ids")
        self.assertRegex(ids, r"^\d+(,\d+)+\n$")
        self.assertEqual(self.hadal("tokenize", self.tokenizer, "--decode", "--ids", ids.strip()), by_json)

    def test_a_user_cannot_write_special_tokens(self):
        words = ["prompt", self.tokenizer, "--ids", "--user"]
        forged, plain = "<｜end▁of▁sentence｜>", self.hadal(*words, "x").strip().split(",")
        ids = self.hadal(*words, forged).strip().split(",")
        end = self.hadal("tokenize", self.tokenizer, "-p", forged).strip()
        self.assertNotIn(",", end)
        self.assertEqual(ids.count(end), plain.count(end))

    def test_once(self):
        ids = self.hadal("tokenize", self.tokenizer, "-p", "Hello world").strip()
        self.assertEqual(self.hadal("tokenize", self.tokenizer, stdin="Hello world").strip(), ids)
        self.assertEqual(self.hadal("tokenize", self.tokenizer, "--decode", stdin=ids + "\n"), "Hello world")
        pieces = self.hadal("tokenize", self.tokenizer, "-p", "Hello world", "--pieces").splitlines()
        self.assertEqual("".join(json.loads(line.split(None, 2)[2]) for line in pieces), "Hello world")
        special = "<｜User｜>"
        self.assertNotIn(",", self.hadal("tokenize", self.tokenizer, "-p", special))
        self.assertIn(",", self.hadal("tokenize", self.tokenizer, "-p", special, "--no-special"))

    def test_a_wrong_line_is_named_and_the_ones_before_are_answered(self):
        for words, good, bad, text in [
            (["tokenize", self.tokenizer, "--json"], '"a"', "a", "line 3"),
            (["tokenize", self.tokenizer, "--json"], '"a"', "[1]", "not a JSON string"),
            (["tokenize", self.tokenizer, "--json", "--decode"], "[5]", '"a"', "not a JSON array"),
            (["tokenize", self.tokenizer, "--json", "--decode"], "[5]", "[5,-1]", "element 1"),
            (["tokenize", self.tokenizer, "--json", "--decode"], "[5]", "[5,99999999]", "line 3"),
            (["prompt", self.tokenizer, "--json"], '{"messages":[{"role":"user","content":"a"}]}', "[]", "not a JSON object"),
            (["prompt", self.tokenizer, "--json"], '{"messages":[{"role":"user","content":"a"}]}', '{"messages":', "line 3"),
        ]:
            with self.subTest(bad):
                out = self.hadal(*words, stdin=f"{good}\n{good}\n{bad}\n{good}\n", code=1)
                self.assertEqual(len(out.splitlines()), 2)
                self.assertIn("line 3", self.said)
                self.assertIn(text, self.said)

    def test_a_conversation_of_programs(self):
        """Each line is answered at once, so another program may talk with us through pipes."""
        with subprocess.Popen([PROGRAM, "tokenize", self.tokenizer, "--json"], stdin=subprocess.PIPE,
                              stdout=subprocess.PIPE, env=self.environment) as process:
            for text in ["one", "two"]:
                process.stdin.write(json.dumps(text).encode() + b"\n")
                process.stdin.flush()
                self.assertTrue(select.select([process.stdout], [], [], TIMEOUT)[0])
                self.assertIsInstance(json.loads(process.stdout.readline()), list)
            process.stdin.close()
            self.assertEqual(process.wait(TIMEOUT), 0)


class Beside(Cli):
    """Which tokenizer belongs to weights."""

    def test_a_gguf_beside_safetensors_is_not_its_tokenizer(self):
        folder = Path(self.file("beside"))
        folder.mkdir()
        for name in ["config.json", "model.safetensors"]:
            shutil.copy(Path(model()) / name, folder)
        shutil.copy(model("qwen2/model.gguf"), folder / "other.gguf")
        weights = str(folder / "model.safetensors")
        self.refused(1, "there is no tokenizer.json beside the weights", "tokenize", weights, "-p", "x")
        self.assertIn("absent", json.loads(self.hadal("inspect", weights, "--json"))["tokenizer"])

    def test_what_is_no_file_is_refused_at_once(self):
        pipe = self.file("pipe.json")
        os.mkfifo(pipe)
        for command in ["tokenize", "run"]:
            self.refused(1, "not a regular file", command, pipe, "-p", "x")

    def test_a_damaged_gguf_is_not_read_as_json(self):
        bad = self.file("bad.gguf")
        Path(bad).write_bytes(b"")
        self.hadal("tokenize", bad, "-p", "x", code=1)
        self.assertNotIn("JSON", self.said)


class Inspect(Cli):
    def test_path_cannot_drive_a_terminal(self):
        path = self.file("a\x1b[2J\n\x9bm.gguf")
        os.symlink(model("qwen2/model.gguf"), path)
        first = self.hadal("inspect", path).split("\n")[0]
        self.assertEqual(first, "path            " + self.folder + "/a?[2J???m.gguf")

    def test_facts(self):
        for path in ["qwen2", "qwen2/model.gguf", "deepseek-v3-fp8"]:
            with self.subTest(path):
                facts = json.loads(self.hadal("inspect", model(path), "--json", "--tensors"))
                self.assertEqual(facts["tensor_count"], len(facts["tensors"]))
                self.assertEqual(facts["bytes"], sum(t["bytes"] for t in facts["tensors"]))
                self.assertEqual(facts["bytes"], sum(t["bytes"] for t in facts["tensor_types"].values()))
                self.assertEqual(facts["context"], 4096)
                self.assertTrue(facts["tokenizer"]["chat_template"])
                text = self.hadal("inspect", model(path), "--tensors")
                self.assertIn("4096 tokens", text)
                for tensor in facts["tensors"]:
                    self.assertIn(tensor["name"], text)


class Bench(Cli):
    def test_json(self):
        words = ["bench", model("qwen2/model.gguf"), "--threads", "2", "--json", "--prefill", "32", "--decode", "4"]
        for more in [[], ["--depth", "16"], ["--batch", "3", "--reps", "2"], ["--prefill", "0"]]:
            report = json.loads(self.hadal(*words, *more))
            for key in ["decode_tokens_per_second", "load_seconds", "peak_memory_bytes"]:
                self.assertGreater(report[key], 0)
            self.assertEqual(report["prefill_tokens_per_second"] is None, "--prefill" in more)
            self.assertEqual(report["threads"], 2)
        self.refused(1, "5000 tokens are needed, the context has 4096", *words, "--prefill", "0", "--depth", "4996")

    def test_sweeps(self):
        words = ["bench", model(), "--json", "--reps", "1", "--decode", "2", "--prefill", "8,16", "--depth", "0,24,5",
                 "--batch", "1,3"]
        report = json.loads(self.hadal(*words))
        cases = [(c["test"], c["tokens"], c["depth"], c["batch"]) for c in report["cases"]]
        self.assertEqual(cases, [case for depth in [0, 24, 5] for case in [
            ("prefill", 8, depth, 1), ("prefill", 16, depth, 1), ("decode", 2, depth, 1), ("decode", 2, depth, 3)]])
        for case in report["cases"]:
            self.assertGreater(case["tokens_per_second"], 0)
            low, high = case["tokens_per_second_range"]
            self.assertLessEqual(low, high)
        # the first of each kind stands where scripts look for it
        self.assertEqual(report["prefill_tokens_per_second"], report["cases"][0]["tokens_per_second"])
        self.assertEqual(report["decode_tokens_per_second"], report["cases"][2]["tokens_per_second"])
        self.assertEqual([report[k] for k in ["prefill", "decode", "depth", "batch"]], [8, 2, 0, 1])
        self.assertGreaterEqual(report["peak_memory_bytes"], report["memory_after_load_bytes"])
        self.assertGreater(report["memory_after_load_bytes"], 0)

    def test_profile(self):
        report = json.loads(self.hadal("bench", model(), "--json", "--reps", "2", "--prefill", "8", "--decode", "2", "--profile"))
        for case in report["cases"]:
            profile = case["profile"]
            rows = profile["operators"]
            self.assertIn("matmul", {row["operator"] for row in rows})
            self.assertNotIn("repack", {row["operator"] for row in rows})
            shares = sum(row["time_share"] for row in rows) + profile["outside_operators_share"]
            self.assertAlmostEqual(shares, 1, places=6)
            self.assertGreater(profile["bandwidth_share"], 0)
            self.assertAlmostEqual(profile["bytes_per_token"], sum(row["bytes_per_token"] for row in rows), delta=1)
        prefill, decode = (case["profile"] for case in report["cases"])
        # a prompt reads each matrix once for all its tokens
        self.assertLess(prefill["bytes_per_token"], decode["bytes_per_token"] / 2)
        self.assertGreater(report["limits"]["read_bytes_per_second"]["median"], 0)
        table = self.hadal("bench", model(), "--reps", "1", "--prefill", "8", "--decode", "2", "--profile")
        self.assertIn("decode 2 at 0 x 1: where the time goes", table)
        self.assertIn("outside operators", table)

    def test_bad_lists(self):
        for words, text in [(["--depth", "0,,4"], "--depth: '' is not a number"),
                            (["--depth", "1,x"], "--depth: 'x' is not a number"),
                            (["--prefill", "-1"], "--prefill: -1 is out of range"),
                            (["--prefill", "8,"], "--prefill: '' is not a number"),
                            (["--batch", "1,0"], "--batch: 0 is out of range; from 1 to 256"),
                            (["--batch", "257"], "--batch: 257 is out of range"),
                            (["--depth", "9" * 30], "is not a number"),
                            (["--depth", ",".join("1" * 33)], "more than 32 numbers"),
                            (["--prefill", "0,0", "--decode", "0"], "leaves nothing to measure")]:
            with self.subTest(text):
                self.refused(2, text, "bench", model(), *words)
        self.refused(1, "--batch 9: a step of this engine takes 8 tokens", "bench", model(), "--batch", "9", "--chunk", "8")

    def test_load(self):
        for path in ["qwen2/model.gguf", "qwen2"]:
            with self.subTest(path):
                report = json.loads(self.hadal("bench", "load", model(path), "--json", "--reps", "2"))
                self.assertGreater(report["file_bytes"], 0)
                for phase in ["seconds", "first_token_seconds", "bytes_per_second"]:
                    self.assertGreater(report["warm"][phase], 0)
                if report["cold"] is None:
                    self.assertGreater(report["cached_share_after_drop"], 0)  # a file system that keeps its pages
                else:
                    self.assertGreater(report["read_alone_seconds"], 0)
        self.assertRegex(self.hadal("bench", "load", model(), "--reps", "1"), r"warm start +[\d.]+ s")
        self.refused(2, "MODEL is missing", "bench", "load")
        self.refused(1, "/no/such/model", "bench", "load", "/no/such/model")
        self.assertIn("bench load MODEL", self.hadal("bench", "load", "--help"))

    def test_machine(self):
        report = json.loads(self.hadal("bench", "machine", "--buffer", "8", "--reps", "2", "--json"))
        self.assertGreaterEqual(report["read_bytes_per_second"]["best"], report["read_bytes_per_second"]["median"])
        for kind in report["operations_per_second"].values():
            self.assertGreater(kind["median"], 0)
            self.assertTrue(kind["instruction"])
        self.assertRegex(self.hadal("bench", "machine", "--buffer", "8", "--reps", "1"), r"read +[\d.]+ GB/s")
        self.refused(2, "unexpected argument 'x'", "bench", "machine", "x")
        self.assertIn("bench machine", self.hadal("bench", "machine", "--help"))

    def test_interrupt(self):
        process = subprocess.Popen([PROGRAM, "bench", model(), "--threads", "1", "--prefill", "8", "--decode", "1000",
                                    "--reps", "1000"], stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment)
        for line in process.stdout:
            if line.startswith(b"prefill 8 "):
                break
        process.send_signal(signal.SIGINT)
        _, said = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 130)
        self.assertEqual(said.decode().count("\n"), 1, said)

    def versus(self, *words):
        return subprocess.run([sys.executable, SOURCE / "bench/versus", "--program", PROGRAM, *words], capture_output=True,
                              text=True, timeout=TIMEOUT, env=self.environment)

    def test_versus_says_what_is_wrong(self):
        for words, text in [(["/no/such/model"], "/no/such/model"), ([model(), "--rounds", "0"], "--rounds: 0"),
                            ([model(), "--prefill", "4,0"], "--prefill: 0"), ([model(), "--depth", "x"], "--depth: 'x'"),
                            ([model(), "--program", "/no/such"], "/no/such"),
                            ([model(), "--peer-flags", "-fa 1"], "behind a --peer"),
                            ([model(), "--peer", "hadal=/bin/echo"], "the name hadal is taken"),
                            ([model(), "--prefill", "0", "--decode", "0"], "nothing is left to measure")]:
            with self.subTest(text):
                done = self.versus(*words)
                self.assertNotEqual(done.returncode, 0)
                self.assertNotIn("Traceback", done.stderr)
                self.assertIn(text, done.stderr)

    def test_versus_without_a_working_peer(self):
        words = [model(), "--prefill", "4", "--decode", "2", "--rounds", "2", "--threads", "1"]
        for peer, text in [("/bin/echo", "did not print JSON"), ("/no/such", "/no/such"), ("/bin/false", "ended with 1")]:
            with self.subTest(peer):
                done = self.versus(*words, "--peer", "x=" + peer, "--json")
                self.assertEqual(done.returncode, 1)
                self.assertIn(text, done.stderr)
                report = json.loads(done.stdout)["reports"][0]
                self.assertIn(text, report["failed"]["x"])
                self.assertEqual([len(case["figures"]["hadal"]) for case in report["cases"]], [2, 2])

    def test_versus_goes_on_behind_a_model_that_fails(self):
        done = self.versus("/no/such", model(), "--prefill", "4", "--decode", "0", "--rounds", "1", "--threads", "1", "--json")
        self.assertEqual(done.returncode, 1)
        self.assertIn("/no/such: ", done.stderr)
        self.assertEqual([report["rounds"] for report in json.loads(done.stdout)["reports"]], [1])

    def test_versus_interrupted_reports_what_it_has(self):
        words = [sys.executable, SOURCE / "bench/versus", "--program", PROGRAM, model(), "--prefill", "4", "--decode", "0",
                 "--rounds", "100000", "--threads", "1", "--json"]
        process = subprocess.Popen(words, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=self.environment)
        for line in process.stderr:
            if "round 3 " in line:
                break
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 130, said)
        self.assertIn("interrupted", said)
        self.assertNotIn("Traceback", said)
        report = json.loads(out)["reports"][0]
        self.assertGreaterEqual(report["rounds"], 2)
        self.assertEqual(len(report["cases"][0]["figures"]["hadal"]), report["rounds"])

    def test_versus(self):
        """A peer that knows depths, one that does not, and one for batches."""
        script = ("#!/usr/bin/env python3\nimport json, sys\n"
                  "if '--help' in sys.argv: print({help!r}); sys.exit()\n"
                  "if '-gp' in sys.argv: assert sys.argv[sys.argv.index('-gp') + 1] == '16,2'\n"
                  "assert '-x' in sys.argv\nprint(json.dumps({rows!r}))\n")
        row = {"n_prompt": 0, "n_gen": 0, "n_depth": 0}
        deep = [{**row, "n_prompt": 4, "n_depth": 16, "avg_ts": 1e-6}, {**row, "n_gen": 2, "n_depth": 16, "avg_ts": 1e9}]
        flat = [{**row, "n_prompt": 16, "n_gen": 2, "avg_ts": 1e-6}]
        batched = ("#!/usr/bin/env python3\nimport json\nprint('loading')\n"
                   "print(json.dumps({'tg': 3, 'pl': 2, 'speed_tg': 1e-6}))\n")
        for name, text in [("a/llama-bench", script.format(help="-d, --n-depth <n>", rows=deep)),
                           ("b/llama-bench", script.format(help="-gp <pp,tg>", rows=flat)), ("a/llama-batched-bench", batched)]:
            path = Path(self.file(name))
            path.parent.mkdir(exist_ok=True)
            path.write_text(text)
            path.chmod(0o755)
        done = self.versus(model(), "--peer", "deep=" + self.file("a/llama-bench"), "--peer-flags", "-x 1", "--peer",
                           "flat=" + self.file("b/llama-bench"), "--peer-flags", "-x 2", "--prefill", "4", "--decode", "2",
                           "--depth", "16", "--batch", "2", "--batch-decode", "3", "--rounds", "3", "--threads", "1", "--json")
        self.assertEqual((done.returncode, done.stderr.count("round")), (0, 9), done.stderr)
        prefill, decode, batch = json.loads(done.stdout)["reports"][0]["cases"]
        self.assertEqual(prefill["case"], "prefill 4 after 16")
        self.assertGreater(prefill["ratios"]["deep"], 1)
        self.assertNotIn("flat", prefill["ratios"])
        self.assertLess(decode["ratios"]["deep"], 1)
        self.assertGreater(decode["ratios"]["flat"], 1)
        self.assertEqual(decode["ratio"], decode["ratios"]["deep"])  # to the best of the others
        self.assertEqual(list(batch["ratios"]), ["deep"])
        done = self.versus(model(), "--peer", "deep=" + self.file("a/llama-bench"), "--peer-flags", "-x 1", "--prefill", "4",
                           "--decode", "0", "--depth", "16", "--rounds", "1", "--threads", "1", "--markdown")
        self.assertRegex(done.stdout, r"\| qwen2 \| prefill 4 after 16 \| [\d.]+ \| 0.00 \| [\d.]+ \|")

    def test_perplexity(self):
        words = [sys.executable, SOURCE / "bench/perplexity", model("qwen2"), "--program", PROGRAM, "--threads", "1",
                 "--tokens", "40", "--context", "16"]
        done = subprocess.run([*words, "--cpu", "reference", "--json"], capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 0, done.stderr)
        report = json.loads(done.stdout)
        self.assertEqual((report["tokens"], report["window"], report["difference_percent"]), (40, 16, 0))
        done = subprocess.run([*words, "--limit", "-1"], capture_output=True, text=True, timeout=TIMEOUT)
        self.assertEqual(done.returncode, 1)
        self.assertIn("EXCEEDED", done.stdout)
        done = subprocess.run([*words, "--text", "/no/such"], capture_output=True, text=True, timeout=TIMEOUT)
        self.assertIn("/no/such", done.stderr)
        self.assertNotIn("Traceback", done.stderr)

    def test_table(self):
        table = self.hadal("bench", model(), "--prefill", "8", "--decode", "2", "--reps", "1")
        self.assertRegex(table, r"prefill 8 +[\d.]+ tokens/s")
        self.assertRegex(table, r"decode 2 at 0 x 1 +[\d.]+ tokens/s")


class Terminal:
    """The program on a pseudo-terminal."""

    def __init__(self, words, environment):
        self.seen = ""
        self.pid, self.fd = pty.fork()
        if self.pid == 0:
            signal.signal(signal.SIGHUP, signal.SIG_DFL)  # it is ignored where the tests run under nohup
            os.execve(PROGRAM, [PROGRAM, *words], environment)

    def type(self, text):
        os.write(self.fd, text.encode())

    def wait_for(self, pattern, since=0):
        """Reads until the pattern shows after position `since`; returns the position behind it."""
        end = time.monotonic() + TIMEOUT
        while True:
            match = re.compile(pattern).search(self.seen, since)
            if match:
                return match.end()
            left = end - time.monotonic()
            if left <= 0 or not select.select([self.fd], [], [], left)[0]:
                raise AssertionError(f"waited for {pattern!r}, saw {self.seen[since:]!r}")
            try:
                data = os.read(self.fd, 65536)
            except OSError as e:
                if e.errno != errno.EIO:
                    raise
                data = b""
            if not data:
                raise AssertionError(f"ended before {pattern!r}, saw {self.seen[since:]!r}")
            self.seen += data.decode(errors="replace")

    def exit_code(self):
        end = time.monotonic() + TIMEOUT
        while time.monotonic() < end:
            pid, status = os.waitpid(self.pid, os.WNOHANG)
            if pid:
                self.pid = 0
                return os.waitstatus_to_exitcode(status)
            if select.select([self.fd], [], [], 0.02)[0]:
                try:
                    self.seen += os.read(self.fd, 65536).decode(errors="replace")
                except OSError:
                    pass
        raise AssertionError(f"did not end; saw {self.seen[-500:]!r}")

    def close(self):
        if self.pid:
            os.kill(self.pid, signal.SIGKILL)
            os.waitpid(self.pid, 0)
        os.close(self.fd)


SPEED = r"\[\d+ tokens, [\d.]+ tokens/s;"


class Chat(Cli):
    def chat(self, *words, **environment):
        terminal = Terminal(["chat", *words, "--threads", "1"], dict(self.environment, **environment))
        self.addCleanup(terminal.close)
        return terminal

    def test_conversation(self):
        t = self.chat(model(), "-n", "12", "--seed", "1", "--temperature", "1")
        at = t.wait_for(r">>> ")
        t.type("Hello\n")
        at = t.wait_for(SPEED, at)
        t.wait_for(r">>> ", at)
        t.type("Hello again\n")
        at = t.wait_for(SPEED + r" read (\d+) of (\d+)", at)
        t.wait_for(r">>> ", at)
        fed, prompt = map(int, re.findall(r"read (\d+) of (\d+)", t.seen)[-1])
        self.assertLess(fed, prompt)  # the first turn was not read again
        t.type("\x04")
        self.assertEqual(t.exit_code(), 0)

    def test_closed_input_is_not_the_model_file(self):
        command = [PROGRAM, "chat", model("qwen2/model.gguf"), "--threads", "1"]
        done = subprocess.run(
            command, preexec_fn=lambda: os.close(0), capture_output=True, timeout=TIMEOUT, env=self.environment
        )
        self.assertEqual((done.returncode, done.stdout), (1, b""))
        self.assertIn(b"standard input could not be read", done.stderr)

    def test_interrupt_stops_the_answer_only(self):
        t = self.chat(model(), "-n", "100000", "--temperature", "1", "--cpu", "reference", "--logit-bias", "1=-1000")
        at = t.wait_for(r">>> ")
        for _ in range(4):  # Ctrl-C falls into an evaluation or between two: the next answer comes all the same
            t.type("Hello\n")
            at = t.wait_for(r"Hello\r?\n[^>]*\S[^>]", at)  # the answer begins
            t.type("\x03")
            at = t.wait_for(r"\[stopped\]", at)
            at = t.wait_for(r">>> ", at)
        t.type("/undo\n")
        at = t.wait_for(r"taken back", at)
        at = t.wait_for(r">>> ", at)
        t.type("\x03")  # at the prompt: a new line
        at = t.wait_for(r"leaves\]", at)
        t.wait_for(r">>> ", at)
        t.type("/exit\n")
        self.assertEqual(t.exit_code(), 0)

    def test_commands(self):
        saved = self.file("saved.json")
        t = self.chat(model(), "-n", "4", "--greedy")
        at = t.wait_for(r">>> ")

        def say(text, pattern):
            nonlocal at
            t.type(text + "\n")
            at = t.wait_for(pattern, at)
            at = t.wait_for(r">>> ", at)

        say("/help", r"/think \[on\|off\|hide\|auto\]")
        say("/system Be brief.", r"system message is set")
        say("/system", r"\[Be brief\.\]")
        say("one", SPEED)
        say("/retry", SPEED)
        say('"""two\nlines"""', SPEED)
        say("three \\\nmore", SPEED)
        t.type("/multi\n")  # the next message is a block already
        at = t.wait_for(r"as many lines", at)
        at = t.wait_for(r"\.\.\. ", at)
        say('four\nfive"""', SPEED)
        say("/set temperature=0.5", r"temperature=0\.5")
        say("/set temprature=1", r"did you mean temperature")
        say("/set top_p=7", r"out of range")
        say("/think off", r"asked not to")
        say("/think maybe", r"/think on\|off")
        say("/stats", r"context +\d+ of 4096 tokens, 9 messages")
        say("/save " + saved, r"9 messages are in")
        say("/undo", r"taken back")
        say("/save", r"7 messages are in")
        say("/clear", r"the system message stays")
        say("/load " + saved, r"7 messages from")
        say("/save " + model() + "/config.json", r"is there already")
        say("/load " + model() + "/config.json", r"no list 'messages'")
        say("/lod x", r"did you mean /load")
        say("//not a command", SPEED)
        t.type("/quit\n")
        self.assertEqual(t.exit_code(), 0)
        messages = json.loads(Path(saved).read_text())["messages"]
        self.assertEqual([m["role"] for m in messages], ["system"] + ["user", "assistant"] * 3)
        self.assertEqual([m["content"] for m in messages[1::2]], ["one", "two\nlines", "three \nmore"])
        self.assertEqual(os.stat(saved).st_mode & 0o777, 0o600)

    def test_saving_leaves_the_files_beside_alone(self):
        saved, beside, target = self.file("talk"), self.file("talk.new"), self.file("target")
        Path(target).write_text("kept")
        os.symlink(target, beside)
        self.hadal("chat", model(), "-n", "1", stdin=f"Hello\n/save {saved}\n")
        self.assertEqual(Path(target).read_text(), "kept")
        self.assertTrue(os.path.islink(beside))
        self.assertEqual(len(json.loads(Path(saved).read_text())["messages"]), 2)

    def test_a_loaded_text_cannot_steer_the_terminal(self):
        evil = self.file("evil.json")
        Path(evil).write_text(json.dumps({"messages": [{"role": "system", "content": "a\x1b]0;owned\x07b\x9bc"}]}))
        t = self.chat(model())
        at = t.wait_for(r">>> ")
        t.type(f"/load {evil}\n")
        at = t.wait_for(r"1 messages? from", at)
        at = t.wait_for(r">>> ", at)
        t.type("/system\n")
        t.wait_for(r"\[a\^\[\]0;owned\^Gb\^\[c\]", at)
        self.assertNotIn("\x1b]0;owned", t.seen)
        t.wait_for(r">>> ", at)
        t.type("\x04")
        self.assertEqual(t.exit_code(), 0)

    def test_signals_that_end_it(self):
        history = Path(self.folder, "state/hadal/chat_history")
        endless = ["-n", "100000", "--cpu", "reference", "--logit-bias", "1=-1000"]
        for number, code in [(signal.SIGTERM, 143), (signal.SIGHUP, 129)]:
            for answering in [False, True]:
                with self.subTest(number=number, answering=answering):
                    word = f"{number.name}-{answering}"
                    t = self.chat(model(), *endless)
                    at = t.wait_for(r">>> ")
                    t.type(f"/set {word}\n")  # a line for the history
                    at = t.wait_for(r"/set NAME=VALUE", at)
                    at = t.wait_for(r">>> ", at)
                    if answering:
                        t.type("Hello\n")
                        t.wait_for(r"Hello\r?\n[^>]*\S[^>]", at)
                    for _ in range(2 if number == signal.SIGHUP else 1):  # a shell that ends repeats it
                        os.kill(t.pid, number)
                    self.assertEqual(t.exit_code(), code)
                    self.assertIn(word, history.read_text())
        process = subprocess.Popen([PROGRAM, "chat", model(), *endless, "--threads", "1"], stdin=subprocess.PIPE,
                                   stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment)
        process.stdin.write(b"Hello\n")
        process.stdin.flush()
        process.stdout.read(1)
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 143)

    def test_the_last_model_is_found_from_another_folder(self):
        shutil.copytree(model(), self.file("relative"))
        environment = dict(self.environment, XDG_STATE_HOME=self.folder + "/state-relative")
        for words, folder in [(["relative"], self.folder), ([], "/")]:
            done = subprocess.run([PROGRAM, "chat", *words, "-n", "1", "--threads", "1"], input=b"Hello\n", cwd=folder,
                                  env=environment, capture_output=True, timeout=TIMEOUT)
            self.assertEqual(done.returncode, 0, done.stderr)
        last = Path(self.folder, "state-relative/hadal/last-model")
        self.assertEqual(last.read_text(), os.path.realpath(self.file("relative")) + "\n")
        self.assertEqual(last.stat().st_mode & 0o777, 0o600)

    def test_history_and_last_model(self):
        t = self.chat(model(), "-n", "2")
        at = t.wait_for(r">>> ")
        t.type("remember me\n")
        at = t.wait_for(SPEED, at)
        t.wait_for(r">>> ", at)
        t.type("\x04")
        self.assertEqual(t.exit_code(), 0)
        history = Path(self.folder, "state/hadal/chat_history")
        self.assertIn("remember", history.read_text())
        self.assertEqual(history.stat().st_mode & 0o777, 0o600)
        t = self.chat("-n", "2")  # no MODEL: the last one
        at = t.wait_for(r">>> ")
        t.type("\x1b[A\n")  # arrow up: the last line of the last chat
        at = t.wait_for(SPEED, at)
        self.assertIn("remember me", t.seen)
        t.wait_for(r">>> ", at)
        t.type("\x04")
        self.assertEqual(t.exit_code(), 0)

    def test_editing_a_line(self):
        t = self.chat(model(), "-n", "2")
        at = t.wait_for(r">>> ")
        t.type("ello wörld\x01H\x05!\n")  # Ctrl-A to the start, Ctrl-E to the end
        at = t.wait_for(SPEED, at)
        saved = self.file("edited.json")
        t.type(f"/save {saved}\n")
        at = t.wait_for(r"2 messages are in", at)
        t.wait_for(r">>> ", at)
        t.type("\x04")
        self.assertEqual(t.exit_code(), 0)
        self.assertEqual(json.loads(Path(saved).read_text())["messages"][0]["content"], "Hello wörld!")

    def test_dumb_terminal(self):
        for term in ["dumb", ""]:
            t = self.chat(model(), "-n", "3", TERM=term)
            at = t.wait_for(r">>> ")
            t.type("Hello\n")
            at = t.wait_for(SPEED, at)
            at = t.wait_for(r">>> ", at)
            t.type("\x03")
            at = t.wait_for(r"leaves\]", at)
            t.wait_for(r">>> ", at)
            t.type("\x04")
            self.assertEqual(t.exit_code(), 0)
            self.assertNotIn("\x1b", t.seen)

    def test_full_context_drops_the_oldest_turns(self):
        t = self.chat(model(), "-n", "10", "--context", "120", "--greedy", "--logit-bias", "1=-1000")
        at = t.wait_for(r">>> ")
        for _ in range(8):
            t.type("one two three four\n")
            at = t.wait_for(SPEED, at)
        t.wait_for(r"the context of 120 tokens is full: the oldest \d+ turns? (is|are) left out")
        t.type("word " * 200 + "\n")
        at = t.wait_for(r"the message has \d+ tokens, the context holds 120", at)
        t.type("short\n")
        at = t.wait_for(SPEED, at)
        t.wait_for(r">>> ", at)
        t.type("\x04")
        self.assertEqual(t.exit_code(), 0)

    def test_lines_of_a_pipe_are_turns(self):
        out = self.hadal("chat", model(), "-n", "3", "--greedy", stdin="Hello\n/stats\nAgain\n")
        self.assertNotIn(">>>", out)
        self.assertNotIn("tokens/s;", self.said)
        self.assertIn("2 messages", self.said)  # /stats, after one turn
        self.refused(1, "there is no /nonsense", "chat", model(), stdin="/nonsense\nHello\n")

    def test_a_model_that_is_not_named(self):
        models = self.file("models")
        self.environment = dict(self.environment, XDG_STATE_HOME=self.folder + "/empty", HADAL_MODELS=models)
        self.refused(1, "MODEL is missing: there is no model in", "chat")
        shutil.copytree(model(), models + "/one")
        self.assertNotEqual(self.hadal("chat", "-n", "2", stdin="Hello\n"), "")  # the only one
        Path(self.folder, "empty/hadal/last-model").unlink()
        shutil.copytree(model(), models + "/two")
        self.refused(1, "MODEL is missing: which of the 2 models in", "chat")
        self.hadal("chat", "two", "-n", "2", stdin="Hello\n")
        shutil.rmtree(models + "/one")
        shutil.rmtree(models + "/two")
        self.refused(1, "MODEL is missing", "chat")  # the last one is not there any more
        self.refused(1, "hadal models lists", "run", "one", "-p", "Hello")


if __name__ == "__main__":
    result = unittest.main(exit=False, verbosity=1).result
    failed = len(result.failures) + len(result.errors)
    skipped = len(result.skipped)
    print(f"{result.testsRun - failed - skipped} passed, {failed} failed, {skipped} skipped")
    sys.exit(1 if failed else 0)
