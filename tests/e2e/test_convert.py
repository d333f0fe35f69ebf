#!/usr/bin/env python3
"""`hadal convert` on the tiny models: what it writes runs the same, comes back bit for bit, and goes on when interrupted;
`hadal quantize` of a release; what is refused.

Standard library only.  Run it alone: `python3 tests/e2e/test_convert.py`.
"""

import json
import os
import shutil
import signal
import subprocess
import time
import unittest
from pathlib import Path

from test_cli import PROGRAM, Cli, comma, expected, model, safetensors


class Convert(Cli):
    def setUp(self):
        self.release = model("qwen2")
        self.gguf = self.file("converted.gguf")
        self.back = self.file("converted")

    def tearDown(self):
        for name in (self.gguf, self.gguf + ".part"):
            if os.path.lexists(name):
                os.unlink(name)
        for name in (self.back, self.back + ".part"):
            shutil.rmtree(name, ignore_errors=True)

    def logits(self, path):
        ids = expected()["prompt.1"][1]
        self.hadal("eval", path, "--ids", comma(ids), "--cpu", "reference", "--logits", self.file("logits.safetensors"))
        shape, values = safetensors(self.file("logits.safetensors"))["logits"]
        os.unlink(self.file("logits.safetensors"))
        return values

    def test_there_and_back(self):
        before = self.logits(self.release)
        said = json.loads(self.hadal("convert", self.release, self.gguf, "--json"))
        self.assertEqual(said["layout"], "gguf")
        self.assertEqual(said["tensors"], 39)
        self.assertNotIn("left_out", said)
        self.assertEqual(self.logits(self.gguf), before)
        text = self.hadal("convert", self.gguf, self.back)
        self.assertIn("39 tensors", text)
        self.assertEqual(self.logits(self.back), before)
        names = sorted(os.listdir(self.back))
        self.assertEqual(names, ["config.json", "generation_config.json", "model.safetensors", "tokenizer.json",
                                 "tokenizer_config.json"])
        old = json.loads(Path(self.release, "config.json").read_text())
        new = json.loads(Path(self.back, "config.json").read_text())
        for key in ("architectures", "model_type", "hidden_size", "num_attention_heads", "num_key_value_heads",
                    "num_hidden_layers", "intermediate_size", "vocab_size", "rms_norm_eps", "rope_theta",
                    "tie_word_embeddings", "max_position_embeddings", "torch_dtype", "eos_token_id"):
            self.assertEqual(new[key], old[key], key)
        old = json.loads(Path(self.release, "tokenizer_config.json").read_text())
        new = json.loads(Path(self.back, "tokenizer_config.json").read_text())
        for key in ("bos_token", "eos_token", "pad_token", "chat_template", "add_bos_token"):
            self.assertEqual(new[key], old[key], key)

    def test_several_files(self):
        self.hadal("convert", self.release, self.gguf, "--split-size", "1MB")
        parts = sorted(Path(self.gguf).parent.glob("converted-0*.gguf"))
        try:
            self.assertGreater(len(parts), 2)
            self.assertEqual(self.logits(str(parts[0])), self.logits(self.release))
            self.hadal("convert", str(parts[1]), self.back, "--split-size", "1.5 MB")
        finally:
            for part in parts:
                part.unlink()
        shards = [name for name in os.listdir(self.back) if name.endswith(".safetensors")]
        self.assertGreater(len(shards), 2)
        self.assertIn("model.safetensors.index.json", os.listdir(self.back))
        self.assertEqual(self.logits(self.back), self.logits(self.release))

    def test_a_release_is_quantized(self):
        said = json.loads(self.hadal("quantize", self.release, self.gguf, "--type", "Q8_0", "--json"))
        seen = json.loads(self.hadal("inspect", self.gguf, "--json"))
        self.assertEqual(seen["bytes"], said["bytes"])
        a, b = self.logits(self.release), self.logits(self.gguf)
        self.assertLess((sum((x - y) ** 2 for x, y in zip(a, b)) / sum(x * x for x in a)) ** 0.5, 0.05)

    def test_mindspore(self):
        """As a folder: what it holds, the same logits, and back to safetensors bit for bit; in several files, too."""
        before = self.logits(self.release)
        ckpt, plain = self.file("ms"), self.file("plain")
        try:
            said = json.loads(self.hadal("convert", self.release, ckpt, "--to", "mindspore", "--json"))
            self.assertEqual(said["layout"], "mindspore")
            names = sorted(os.listdir(ckpt))
            self.assertIn("model.ckpt", names)
            self.assertIn("config.json", names)
            self.assertIn("tokenizer.json", names)
            self.assertFalse([name for name in names if "safetensors" in name])
            self.assertEqual(self.logits(ckpt), before)
            self.assertEqual(self.logits(ckpt + "/model.ckpt"), before)
            self.assertEqual(json.loads(self.hadal("inspect", ckpt, "--json"))["format"], "MindSpore")
            self.hadal("convert", ckpt, self.back)
            self.hadal("convert", self.release, plain)
            one = Path(self.back, "model.safetensors").read_bytes()
            self.assertEqual(one, Path(plain, "model.safetensors").read_bytes())
            self.hadal("convert", ckpt, self.gguf)
            self.assertEqual(self.logits(self.gguf), before)
            shutil.rmtree(ckpt)
            self.hadal("convert", self.gguf, ckpt, "--to", "mindspore", "--split-size", "1MB")
            self.assertIn("model.ckpt.index.json", os.listdir(ckpt))
            self.assertEqual(self.logits(ckpt), before)
        finally:
            shutil.rmtree(ckpt, ignore_errors=True)
            shutil.rmtree(plain, ignore_errors=True)

    def test_a_file_of_mindspore(self):
        """OUT.ckpt is one file; small files come beside it where they are missing, and nobody's are replaced."""
        folder = Path(self.file("beside"))
        folder.mkdir()
        out = folder / "qwen.ckpt"
        try:
            self.refused(1, "one file", "convert", self.release, str(out), "--split-size", "1MB")
            self.assertEqual(os.listdir(folder), [])
            self.hadal("convert", self.release, str(out))
            self.assertEqual(self.logits(str(folder)), self.logits(self.release))
            whole = out.read_bytes()
            self.refused(1, "is there already", "convert", self.release, str(out))
            second = folder / "again.ckpt"
            self.hadal("convert", self.release, str(second))  # the same small files
            self.assertEqual(second.read_bytes(), whole)
            self.refused(1, "several models", "inspect", str(folder))
            config = folder / "config.json"
            config.write_text(config.read_text().replace("qwen2", "qwen3"))
            theirs = config.read_text()
            (folder / "tokenizer.json").unlink()
            self.refused(1, "belongs to another model", "convert", self.release, str(folder / "third.ckpt"))
            self.assertEqual(config.read_text(), theirs)
            self.assertNotIn("tokenizer.json", os.listdir(folder))
            self.assertNotIn("third.ckpt", os.listdir(folder))
        finally:
            shutil.rmtree(folder)

    def test_an_interrupted_file_of_mindspore_goes_on(self):
        folder = Path(self.file("beside"))
        folder.mkdir()
        out, part = folder / "x.ckpt", folder / "x.ckpt.part"
        try:
            self.hadal("convert", self.release, str(out))
            whole = out.read_bytes()
            for cut in (1, 50, 1000, len(whole) // 3, len(whole) // 2, len(whole) - 1, len(whole)):
                out.unlink()
                part.write_bytes(whole[:cut])
                self.hadal("convert", self.release, str(out))
                self.assertEqual(out.read_bytes(), whole, cut)
                self.assertFalse(part.exists())
        finally:
            shutil.rmtree(folder)

    def test_types(self):
        self.hadal("convert", self.release, self.back, "--to", "safetensors", "--type", "F32")
        self.assertEqual(self.logits(self.back), self.logits(self.release))

    def test_an_interrupted_run_goes_on(self):
        whole = self.file("whole.gguf")
        self.hadal("convert", self.release, whole)
        size = os.path.getsize(whole)
        for wait in (0.0, 0.002, 0.005, 0.01, 0.02, 0.05):
            run = subprocess.Popen([PROGRAM, "convert", self.release, self.gguf], stdout=subprocess.DEVNULL,
                                   stderr=subprocess.DEVNULL)
            time.sleep(wait)
            run.send_signal(signal.SIGKILL)
            run.wait()
            if not os.path.exists(self.gguf):
                self.hadal("convert", self.release, self.gguf)
            self.assertEqual(Path(self.gguf).read_bytes(), Path(whole).read_bytes())
            self.assertEqual(os.path.getsize(self.gguf), size)
            os.unlink(self.gguf)
        os.unlink(whole)

    def test_importance_of_a_release(self):
        """Gathered from its GGUF file, as the error says, and used with the folder: the same file by both ways."""
        text, matrix, out = self.file("text.txt"), self.file("x.imatrix.gguf"), self.file("q4.gguf")
        Path(text).write_text("The quick brown fox jumps over the lazy dog. " * 40)
        self.refused(1, f"--calibrate needs a GGUF file: 'hadal convert {self.release} x.gguf' makes one, to be given as IN; "
                        f"what --imatrix-out keeps of it goes with {self.release}, too, by --imatrix",
                     "quantize", self.release, out, "--type", "Q4_0", "--calibrate", text)
        self.hadal("convert", self.release, self.gguf)
        self.hadal("quantize", self.gguf, "--calibrate", text, "--imatrix-out", matrix)
        written = []
        for one in (self.release, self.gguf):
            self.hadal("quantize", one, out, "--type", "Q4_0", "--imatrix", matrix)
            self.assertEqual(self.said, "")
            written.append(Path(out).read_bytes()[-100000:])
            os.unlink(out)
        os.unlink(matrix)
        self.assertEqual(*written)

    def test_what_goes_along_from_release_to_release(self):
        """The type that config.json names is that of the weights; small files that belong to the model, and no others."""
        copy = self.file("copy")
        shutil.copytree(self.release, copy)
        goes = ("LICENSE-MODEL", "modeling_x.py", "configuration_x.py", "added_tokens.json", "tokenizer.model", "NOTICE")
        stays = ("notes.txt", "secret.json", "run.py", ".hidden", "README.md")
        for name in goes + stays:
            Path(copy, name).write_text("{}")
        os.rename(copy + "/tokenizer.json", self.file("blob"))  # as in a hub's cache
        os.symlink(self.file("blob"), copy + "/tokenizer.json")
        for key in ("torch_dtype", "dtype"):
            config = json.loads(Path(copy, "config.json").read_text())
            config.pop("torch_dtype", None)
            config[key] = "float64"
            Path(copy, "config.json").write_text(json.dumps(config))
            for type, name in (("BF16", "bfloat16"), ("F16", "float16"), ("F32", "float32"), ("INT8", "bfloat16"),
                               ("FP8", "bfloat16")):
                self.hadal("convert", copy, self.back, "--type", type)
                said = json.loads(Path(self.back, "config.json").read_text())
                self.assertEqual([said.get(k) for k in ("torch_dtype", "dtype")],
                                 [name, None] if key == "torch_dtype" else [None, name])
                there = os.listdir(self.back)
                self.assertEqual([n for n in goes if n not in there], [])
                self.assertEqual([n for n in stays if n in there], [])
                self.assertFalse(os.path.islink(self.back + "/tokenizer.json"))
                self.logits(self.back)
                shutil.rmtree(self.back)
        shutil.rmtree(copy)

    def test_names_that_are_said_and_made(self):
        """Several files are named as they are; a slash behind OUT changes nothing; a name that is no UTF-8 is replaced."""
        said = self.hadal("convert", self.release, self.back + "//", "--split-size", "500kB")
        self.assertRegex(said, r"\Awrote     \S+/converted, with the weights in \d+ files\n")
        self.assertIn("model.safetensors.index.json", os.listdir(self.back))
        shutil.rmtree(self.back)
        self.hadal("convert", self.release, self.back + "/", "--to", "mindspore")
        self.assertIn("model.ckpt", os.listdir(self.back))
        place = os.path.join(self.folder, "several")
        os.mkdir(place)
        words = ("quantize", self.release, place + "/x.gguf", "--type", "Q8_0", "--split-size", "300kB")
        planned = self.hadal(*words, "--dry-run")
        self.assertEqual(os.listdir(place), [])
        said = self.hadal(*words)
        names = sorted(os.listdir(place))
        for text, verb in ((planned, "would be  "), (said, "wrote     ")):
            self.assertEqual(text.splitlines()[0], f"{verb}{place}/{names[0]} and {len(names) - 1} more")
        shutil.rmtree(place)
        os.mkdir(place)
        said = json.loads(self.hadal(*words, "--json"))
        self.assertEqual((said["path"], said["files"]), (f"{place}/{names[0]}", len(names)))
        shutil.rmtree(place)
        os.mkdir(place)
        said = json.loads(self.hadal("convert", self.release, place + "/x.gguf", "--split-size", "500kB", "--json"))
        self.assertEqual((said["path"], said["files"]), (place + "/" + min(os.listdir(place)), len(os.listdir(place))))
        shutil.rmtree(place)
        odd = os.fsencode(self.folder) + b"/na\xffme\n"
        shutil.copytree(os.fsencode(self.release), odd)
        subprocess.run([PROGRAM, b"convert", odd, os.fsencode(self.gguf)], check=True, env=self.environment,
                       stdout=subprocess.DEVNULL)
        self.assertIn(b"na?me?", Path(self.gguf).read_bytes())
        self.assertNotIn(b"na\xffme", Path(self.gguf).read_bytes())
        shutil.rmtree(odd)

    def test_shards_of_another_size_are_not_taken_along(self):
        """They lie in the part, which gets the final name as a whole."""
        self.hadal("convert", self.release, self.back, "--type", "BF16", "--split-size", "500kB")
        names = sorted(n for n in os.listdir(self.back) if n.startswith("model-"))
        self.assertGreater(len(names), 2)
        os.rename(self.back, self.back + ".part")
        for more in ((), ("--split-size", "1MB")):
            self.refused(1, "' in it is of a run with another --split-size or layout; remove the folder to start anew",
                         "convert", self.release, self.back, "--type", "BF16", "--to", "safetensors", *more)
        self.assertEqual(sorted(n for n in os.listdir(self.back + ".part") if n.startswith("model-")), names)
        os.unlink(self.back + ".part/" + names[-1])
        self.hadal("convert", self.release, self.back, "--type", "BF16", "--split-size", "500kB")  # its own are gone on with
        self.assertEqual(sorted(n for n in os.listdir(self.back) if n.startswith("model-")), names)

    def test_refusals(self):
        release, gguf = self.release, self.gguf
        self.refused(1, "is GGUF already; 'hadal quantize'", "convert", model("qwen2/model.gguf"), gguf)
        self.refused(1, "is there already", "convert", release, release)
        self.refused(1, "--split-size: 'many' is not a size", "convert", release, gguf, "--split-size", "many")
        self.refused(2, "onnx", "convert", release, gguf, "--to", "onnx")
        self.refused(2, "OUT", "convert", release)
        self.refused(1, "no-such-model", "convert", "no-such-model", gguf)
        self.refused(1, "/no/such/folder", "convert", release, "/no/such/folder/x.gguf")
        self.assertFalse(os.path.exists(gguf))

    def test_a_tensor_too_many(self):
        broken = self.file("broken")
        shutil.copytree(self.release, broken)
        try:
            config = json.loads(Path(broken, "config.json").read_text())
            config["num_hidden_layers"] = 2
            Path(broken, "config.json").write_text(json.dumps(config))
            self.refused(1, "is not part of this architecture as configured", "convert", broken, self.gguf)
        finally:
            shutil.rmtree(broken)


if __name__ == "__main__":
    unittest.main()
