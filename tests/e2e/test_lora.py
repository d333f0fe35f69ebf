#!/usr/bin/env python3
"""Adapters (LoRA): `hadal convert` both ways and --merge, --lora, and `hadal serve` with several at once, loaded and
unloaded while requests go on.

The official openai client asks where it is installed; else the tests' own.  Run it alone: `python3 tests/e2e/test_lora.py`.
"""

import array
import json
import os
import random
import shutil
import struct
import tempfile
import threading
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server import Case, NotStarted, Server
from test_cli import Cli, comma, expected, model, safetensors

try:
    import openai
except ImportError:
    openai = None


def write_adapter(folder, base, seed, rank=4, alpha=8, names=None, spread=0.15, **config):
    """A lively adapter in PEFT's layout for a tiny Llama-like model, on all matrices of all layers."""
    c = json.loads(Path(base, "config.json").read_text())
    hidden, heads = c["hidden_size"], c["num_attention_heads"]
    head = c.get("head_dim") or hidden // heads
    q, kv, ffn = heads * head, c["num_key_value_heads"] * head, c["intermediate_size"]
    shapes = {"self_attn.q_proj": (q, hidden), "self_attn.k_proj": (kv, hidden), "self_attn.v_proj": (kv, hidden),
              "self_attn.o_proj": (hidden, q), "mlp.gate_proj": (ffn, hidden), "mlp.up_proj": (ffn, hidden),
              "mlp.down_proj": (hidden, ffn)}
    draw, header, data = random.Random(seed), {}, b""
    for layer in range(c["num_hidden_layers"]):
        for name, (rows, cols) in shapes.items():
            if names and name not in names:
                continue
            for half, shape in (("A", (rank, cols)), ("B", (rows, rank))):
                values = array.array("f", (draw.gauss(0, spread) for _ in range(shape[0] * shape[1])))
                begin, data = len(data), data + values.tobytes()
                header[f"base_model.model.model.layers.{layer}.{name}.lora_{half}.weight"] = {
                    "dtype": "F32", "shape": shape, "data_offsets": [begin, len(data)]}
    os.makedirs(folder, exist_ok=True)
    text = json.dumps(header).encode()
    text += b" " * (-len(text) % 8)
    Path(folder, "adapter_model.safetensors").write_bytes(struct.pack("<Q", len(text)) + text + data)
    Path(folder, "adapter_config.json").write_text(json.dumps(
        {"peft_type": "LORA", "r": rank, "lora_alpha": alpha, "bias": "none", "target_modules": sorted(shapes), **config}))
    return str(folder)


class Files(Cli):
    def setUp(self):
        self.base = model("llama")
        self.place = tempfile.mkdtemp(dir=self.folder)
        self.adapter = write_adapter(os.path.join(self.place, "adapter"), self.base, 1)

    def path(self, name):
        return os.path.join(self.place, name)

    def logits(self, *words):
        ids = expected("llama")["prompt.1"][1]
        out = self.path("logits.safetensors")
        self.hadal("eval", *words, "--ids", comma(ids), "--cpu", "reference", "--logits", out)
        return safetensors(out)["logits"][1]

    def assert_near(self, a, b, bound):
        self.assertLess(max(abs(x - y) for x, y in zip(a, b)), bound)

    def test_there_and_back(self):
        self.hadal("convert", self.adapter, self.path("a.gguf"), "--base", self.base)
        said = json.loads(self.hadal("convert", self.path("a.gguf"), self.path("back"), "--base", self.base, "--json"))
        self.assertEqual((said["rank"], said["alpha"], said["matrices"]), (4, 8, 21))
        before = safetensors(os.path.join(self.adapter, "adapter_model.safetensors"))
        after = safetensors(os.path.join(self.path("back"), "adapter_model.safetensors"))
        self.assertEqual(before, after)

    def test_all_forms_do_the_same(self):
        plain = self.logits(self.base)
        adapted = self.logits(self.base, "--lora", self.adapter + ":0.5")
        self.assertGreater(max(abs(x - y) for x, y in zip(plain, adapted)), 0.1)
        self.hadal("convert", self.adapter, self.path("a.gguf"), "--base", self.base)
        self.hadal("convert", self.base, self.path("base.gguf"), "--type", "F32")
        for one in (self.base, self.path("base.gguf")):
            for other in (self.adapter, self.path("a.gguf")):
                self.assert_near(self.logits(one, "--lora", other + ":0.5"), adapted, 1e-3)
                for out in ("merged.gguf", "merged"):
                    self.hadal("convert", one, self.path(out), "--merge", other + ":0.5", "--type", "F32")
                    self.assert_near(self.logits(self.path(out)), adapted, 1e-3)
                    if out == "merged":
                        shutil.rmtree(self.path(out))
                    else:
                        os.unlink(self.path(out))

    def test_eval_says_what_it_used(self):
        words = ("eval", self.base, "--ids", comma(expected("llama")["prompt.1"][1]), "--json")
        plain = json.loads(self.hadal(*words, "--against", self.base))
        self.assertFalse({"lora", "lora_scale", "experts", "ffn_keep"} & set(plain) | {"lora"} & set(plain["against"]))
        dialled = json.loads(self.hadal(*words, "--ffn-keep", "50%", "--against-cpu", "reference"))
        self.assertEqual((dialled["ffn_keep"], dialled["ffn_by"]), (0.5, "gate"))
        self.assertFalse({"ffn_keep", "ffn_by"} & set(dialled["against"]))
        said = json.loads(self.hadal(*words, "--lora", self.adapter + ":0.5", "--against", self.base))
        self.assertEqual((said["lora"], said["lora_scale"]), (self.adapter, 0.5))
        self.assertFalse({"lora", "lora_scale"} & set(said["against"]))
        self.assertEqual(said["against"]["loss"], plain["loss"])
        # The same model computed otherwise has the adapter, too.
        said = json.loads(self.hadal(*words, "--lora", self.adapter, "--against-cpu", "reference"))
        self.assertEqual((said["against"]["lora"], said["against"]["lora_scale"]), (self.adapter, 1))
        whole = json.loads(self.hadal(*words, "--lora", self.adapter, "--cpu", "reference"))
        self.assertEqual(said["against"]["loss"], whole["loss"])
        self.assertIn("  adapter                " + self.adapter, self.hadal(*words[:-1], "--lora", self.adapter))

    def test_what_is_refused(self):
        for words, text in (
            (("eval", self.base, "--ids", "1", "--lora", self.path("none")), "none"),
            (("eval", self.base, "--ids", "1", "--lora", self.adapter + ":0"), "--lora"),
            (("eval", model("qwen2"), "--ids", "1", "--lora", self.adapter), "is it its base?"),
            (("convert", self.adapter, self.path("x.gguf")), "--base"),
            (("convert", self.adapter, self.path("x"), "--base", self.base), "in that layout already"),
            (("convert", self.base, self.path("x.gguf"), "--base", self.base), "is no adapter"),
        ):
            self.refused(1, text, *words)

    def test_merging_into_codes_of_8_bits(self):
        """Only through 16 bits, and the error says so."""
        for type, name in (("FP8", "F8_E4M3"), ("INT8", "I8")):
            codes, plain, out = (self.path(type + end) for end in ("", "-bf16", "-again"))
            self.hadal("convert", self.base, codes, "--type", type)
            for command in ("convert", "quantize"):
                self.refused(1, f"is {name} already, and an adapter is not merged into its codes: merge it with --type BF16, "
                                "then give the result this type", command, codes, out, "--type", type, "--merge", self.adapter)
            self.hadal("convert", codes, plain, "--type", "BF16", "--merge", self.adapter)
            self.hadal("convert", plain, out, "--type", type)
            other = "INT8" if type == "FP8" else "FP8"
            self.hadal("convert", codes, out + "-other", "--type", other, "--merge", self.adapter)

    def test_merge_and_other_options(self):
        """Beside a budget and --dry-run: what is said is what is written, and the adapter is in it."""
        gguf, out, want = self.path("base.gguf"), self.path("out.gguf"), self.path("want.gguf")
        self.hadal("convert", self.base, gguf)
        self.hadal("convert", gguf, want, "--merge", self.adapter, "--type", "F32")
        merged = self.logits(want)
        far = max(abs(x - y) for x, y in zip(self.logits(gguf), merged))
        for words in (("--target-bpw", "8.6"), ("--type", "Q8_0"), ("--target-size", "2MB")):
            q = ("quantize", gguf, out, *words, "--merge", self.adapter, "--json")
            planned = json.loads(self.hadal(*q, "--dry-run"))
            self.assertFalse(os.path.exists(out))
            said = json.loads(self.hadal(*q))
            for key in ("bytes", "bpw", "tensor_types"):
                self.assertEqual(said[key], planned[key], key)
            self.assertLess(max(abs(x - y) for x, y in zip(self.logits(out), merged)), far / 2)
            os.unlink(out)
        self.refused(2, "--merge: --calibrate, --report and --low-rank look at IN without the adapter", "quantize", gguf, out,
                     "--target-bpw", "5", "--merge", self.adapter, "--calibrate", __file__)

    def test_a_foreign_part_stays(self):
        """Adapters are written beside what somebody left under the name of the part: it is refused, not written over."""
        folder, gguf = self.path("back"), self.path("a.gguf")
        Path(gguf + ".part").write_text("notes")
        self.refused(1, "is in the way", "convert", self.adapter, gguf, "--base", self.base)
        self.assertEqual(Path(gguf + ".part").read_text(), "notes")
        os.unlink(gguf + ".part")
        self.hadal("convert", self.adapter, gguf, "--base", self.base)
        os.mkdir(folder + ".part")
        Path(folder + ".part", "notes").write_text("notes")
        self.refused(1, "is in the way", "convert", gguf, folder, "--base", self.base)
        self.assertEqual(os.listdir(folder + ".part"), ["notes"])

    def test_an_adapter_is_no_model(self):
        gguf = self.path("a.gguf")
        self.hadal("convert", self.adapter, gguf, "--base", self.base)
        for one in (gguf, self.adapter):
            for words in (("run", one, "-p", "x"), ("run", one, "--ids", "1"), ("eval", one, "--ids", "1"), ("bench", one),
                          ("chat", one), ("tokenize", one, "-p", "x")):
                self.refused(1, "is an adapter (LoRA), no model: give its base model, and the adapter with --lora", *words)
            for words in (("--type", "Q8_0"), ("--type", "Q8_0", "--dry-run"), ("--target-bpw", "5"), ("--type", "INT8")):
                self.refused(1, f"is an adapter (LoRA), no model; 'hadal convert BASE OUT --merge {one}'", "quantize", one,
                             self.path("out"), *words)
            self.refused(1, "is an adapter (LoRA), no model", "quantize", one, "--calibrate", __file__, "--imatrix-out",
                         self.path("x"))
        self.assertEqual(sorted(os.listdir(self.place)), ["a.gguf", "adapter"])


class Service(Case):
    @classmethod
    def serve(cls):
        cls.base = model("llama")
        cls.place = tempfile.mkdtemp(prefix="hadal-lora-")
        cls.addClassCleanup(shutil.rmtree, cls.place)
        for seed, name in enumerate(("one", "two", "three", "four", "five")):
            write_adapter(os.path.join(cls.place, "in", name), cls.base, seed + 10)
        write_adapter(os.path.join(cls.place, "in", "wide"), cls.base, 20, rank=32)
        write_adapter(os.path.join(cls.place, "out"), cls.base, 21)
        os.symlink(os.path.join(cls.place, "out"), os.path.join(cls.place, "in", "link"))
        for folder, names in (("half", ("adapter_config.json", "adapter_model.safetensors")),
                              ("config", ("adapter_config.json",)), ("more", ("config.json",))):
            half = os.path.join(cls.place, "in", folder)
            os.makedirs(half)
            for name in ("adapter_config.json", "adapter_model.safetensors"):
                if name not in names:
                    shutil.copy(os.path.join(cls.place, "in", "one", name), half)
            for name in names:
                os.symlink(os.path.join(cls.place, "out", name), os.path.join(half, name))
        Path(cls.place, "out", "config.json").write_text("{}")
        for place, part in (("in", 1), ("out", 2)):
            Path(cls.place, place, f"split-0000{part}-of-00002.gguf").write_bytes(b"GGUF")
        os.symlink(os.path.join(cls.place, "out", "split-00002-of-00002.gguf"),
                   os.path.join(cls.place, "in", "split-00002-of-00002.gguf"))
        Path(cls.place, "in", "some.safetensors.index.json").write_text("{}")
        write_adapter(os.path.join(cls.place, "in", "huge"), cls.base, 22, alpha=3e38, spread=9)
        write_adapter(os.path.join(cls.place, "in", "large"), cls.base, 22, alpha=1e36)
        return Server(f"base={cls.base}", args=("--lora", f"one={cls.place}/in/one", "--lora", f"two={cls.place}/in/two:0.5",
                                                "--allow-lora-loading", os.path.join(cls.place, "in"), "--max-loras", "4",
                                                "--max-lora-rank", "16"))

    PROMPTS = ([5, 9, 12, 44, 7], list(range(3, 75)), [100, 200, 300])

    def answer(self, name, prompt, tokens=24):
        if openai:
            client = openai.OpenAI(base_url=self.server.url + "/v1", api_key=self.server.key, max_retries=0)
            reply = client.completions.create(model=name, prompt=prompt, max_tokens=tokens, temperature=0,
                                              extra_body={"return_token_ids": True, "ignore_eos": True}).model_dump()
        else:
            status, _, reply = self.server.post("/v1/completions", {
                "model": name, "prompt": prompt, "max_tokens": tokens, "temperature": 0, "return_token_ids": True,
                "ignore_eos": True})
            self.assertEqual(status, 200, reply)
        self.assertEqual(reply["model"], name)
        return reply["choices"][0]["token_ids"]

    def load(self, name, path, **more):
        return self.server.post("/v1/load_lora_adapter", {"lora_name": name, "lora_path": path, **more})

    def unload(self, name):
        return self.server.post("/v1/unload_lora_adapter", {"lora_name": name})

    def test_each_is_a_model(self):
        listed = {m["id"]: m for m in self.server.get("/v1/models")[2]["data"]}
        self.assertEqual((listed["one"]["root"], listed["one"]["parent"]), ("base", "base"))
        self.assertNotIn("parent", listed["base"])
        self.assertEqual(self.server.get("/v1/models/two")[2]["id"], "two")

    def test_together_as_alone(self):
        jobs = [(name, prompt) for prompt in self.PROMPTS for name in ("base", "one", "two")]
        alone = [self.answer(*job) for job in jobs]
        self.assertEqual(len({tuple(a) for a in alone}), len(jobs))  # they do differ, cached prompts or not
        with ThreadPoolExecutor(9) as pool:
            for _ in range(4):
                self.assertEqual(list(pool.map(lambda job: self.answer(*job), jobs)), alone)

    def test_hot_loading_under_load(self):
        want = {name: self.answer(name, self.PROMPTS[0]) for name in ("base", "one")}
        over, failed = threading.Event(), []

        def ask(name):
            while not over.is_set():
                if self.answer(name, self.PROMPTS[0]) != want[name]:
                    failed.append(name)

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(ask, name) for name in ("base", "one", "base", "one")]
            answers = []
            for _ in range(6):
                self.assertEqual(self.load("hot", "three")[0], 200)
                answers.append(self.answer("hot", self.PROMPTS[1]))
                self.assertEqual(self.unload("hot")[0], 200)
            over.set()
            for one in running:
                one.result()
        self.assertEqual(failed, [])
        self.assertEqual(len({tuple(a) for a in answers}), 1)
        # The same name with other values: nothing cached of the first may be found.
        self.load("hot", "four")
        self.assertNotEqual(self.answer("hot", self.PROMPTS[1]), answers[0])
        self.unload("hot")

    def test_a_file_is_as_good_as_its_folder(self):
        for path in ("three/adapter_model.safetensors", os.path.join(self.place, "in", "three", "adapter_model.safetensors")):
            self.assertEqual(self.load("file", path)[0], 200)
            got = self.answer("file", self.PROMPTS[1])
            self.assertEqual(self.unload("file")[0], 200)
            self.assertEqual(self.load("file", "three")[0], 200)
            self.assertEqual(self.answer("file", self.PROMPTS[1]), got)
            self.assertEqual(self.unload("file")[0], 200)

    def test_loading_while_unloading(self):
        """Adapters, and their base, come and go at once: "ready" is true, and nothing is answered by another."""
        want = {name: self.answer(name, self.PROMPTS[0]) for name in ("base", "one", "two")}
        over, wrong = threading.Event(), []

        def swap(name, path):
            while not over.is_set():
                for reply in (self.load(name, path), self.unload(name)):
                    if reply[0] != 200:
                        wrong.append(reply)

        def bounce():
            while not over.is_set():
                status = self.server.post("/models/unload", {"model": "base"})[0]
                if status != 200:
                    wrong.append(status)

        def look():
            while not over.is_set():
                figures = self.server.metrics()
                if sum(figures["hadal:lora_adapters"].values()) not in (2, 3, 4):
                    wrong.append(figures["hadal:lora_adapters"])
                self.server.get("/v1/models")

        with ThreadPoolExecutor(4) as pool:
            running = [pool.submit(swap, "a", "three"), pool.submit(swap, "b", "four"), pool.submit(bounce), pool.submit(look)]
            for _ in range(12):
                for name, answer in want.items():
                    self.assertEqual(self.answer(name, self.PROMPTS[0]), answer)
            over.set()
            for one in running:
                one.result()
        self.assertEqual(wrong, [])

    def test_unloading_lets_requests_finish(self):
        self.load("going", "three")
        want = self.answer("going", self.PROMPTS[2], 200)
        events = self.server.events("/v1/completions", {"model": "going", "prompt": self.PROMPTS[2], "max_tokens": 200,
                                                        "temperature": 0, "return_token_ids": True, "ignore_eos": True})
        first = next(events)[1]["choices"][0]["token_ids"]
        self.assertEqual(self.unload("going")[0], 200)
        self.refused(self.server.post("/v1/completions", {"model": "going", "prompt": [5]}), 404, "'going'", "model")
        got = first + [i for _, e in events if e != "[DONE]" for c in e["choices"] for i in c.get("token_ids") or []]
        self.assertEqual(got, want)

    def test_the_base_may_go_and_come_back(self):
        want = self.answer("one", self.PROMPTS[0])
        self.assertEqual(self.server.post("/models/unload", {"model": "base"})[0], 200)
        states = {m["id"]: m["status"] for m in self.server.get("/v1/models")[2]["data"]}
        self.assertEqual((states["base"], states["one"]), ("unloaded", "unloaded"))
        with ThreadPoolExecutor(6) as pool:  # more than there are workers
            self.assertEqual(list(pool.map(lambda _: self.answer("one", self.PROMPTS[0]), range(6))), [want] * 6)

    def test_figures(self):
        def use():
            (labels,) = self.server.metrics()["vllm:lora_requests_info"]
            return labels

        self.assertEqual(use(), 'max_lora="4",waiting_lora_adapters="",running_lora_adapters=""')
        self.answer("one", self.PROMPTS[0])
        count = self.server.metrics()["hadal:lora_adapters"]
        self.assertEqual(sorted(count), [f'status="{s}"' for s in ("failed", "loading", "ready", "unloaded")])
        self.assertGreaterEqual(count['status="ready"'], 1)
        events = [self.server.events("/v1/completions", {"model": name, "prompt": self.PROMPTS[2], "max_tokens": 4000,
                                                         "ignore_eos": True}) for name in ("one", "two", "base")]
        for one in events:
            next(one)
        self.assertEqual(use(), 'max_lora="4",waiting_lora_adapters="",running_lora_adapters="one,two"')
        for one in events:
            one.close()
        self.server.wait_for("vllm:num_requests_running", 0)
        self.assertEqual(use(), 'max_lora="4",waiting_lora_adapters="",running_lora_adapters=""')

    def test_a_scale_that_is_too_large(self):
        self.refused(self.load("x", "huge"), 400, "alpha / rank (7.5e+37)")
        self.refused(self.load("x", "huge"), 400, "lora_B.weight")
        error = self.refused(self.load("x", "large"), 400, "alpha / rank (2.5e+35)")  # each value is a number yet
        self.assertIn("would change weights by up to", error["message"])
        self.assertEqual(self.server.get("/readyz")[0], 200)

    def test_what_is_refused(self):
        self.refused(self.load("x", "../out"), 403, "leads out")
        self.refused(self.load("x", os.path.join(self.place, "out")), 403, "leads out")
        self.refused(self.load("x", "/etc/passwd"), 403, "leads out")
        self.refused(self.load("x", "link"), 403, "leads out")
        self.refused(self.load("x", "half"), 403, "leads out")
        for path in ("config", "config/adapter_model.safetensors"):
            self.refused(self.load("x", path), 403, "adapter_config.json: leads out")
        for path in ("more", "more/adapter_model.safetensors"):
            self.refused(self.load("x", path), 403, "config.json: leads out")
        self.refused(self.load("x", "split-00001-of-00002.gguf"), 403, "split-00002-of-00002.gguf: leads out")
        self.refused(self.load("x", "some.safetensors.index.json"), 400, "an index of other files")
        self.refused(self.load("x", "nothing"), 404, "no such adapter")
        self.refused(self.load("x", "wide"), 400, "rank of 32, the largest allowed is 16")
        self.refused(self.load("one", "three"), 400, "already")
        self.refused(self.load("base", "three"), 400, "a model is called 'base'")
        self.refused(self.unload("nobody"), 404, "'nobody'")
        self.refused(self.server.post("/v1/load_lora_adapter", {"lora_name": "x"}), 400, "lora_path", "lora_path")
        self.assertEqual(self.server.post("/v1/load_lora_adapter", {"lora_name": "x", "lora_path": "three"}, key=False)[0], 401)
        for name in ("x", "y"):
            self.assertEqual(self.load(name, "three")[0], 200)
        self.refused(self.load("z", "five"), 400, "the most that may be")
        for name in ("x", "y"):
            self.unload(name)


class Start(unittest.TestCase):
    def test_bad_adapters_keep_it_from_starting(self):
        base = model("llama")
        with tempfile.TemporaryDirectory() as place:
            other = write_adapter(os.path.join(place, "other"), model("qwen2"), 1)
            for words, text in ((("--lora", "a=/nowhere"), "/nowhere"), (("--lora", "nothing"), "NAME=ADAPTER"),
                                (("--lora", f"a={other}"), "is it its base?"),
                                (("--allow-lora-loading", "/nowhere"), "/nowhere")):
                with self.assertRaises(NotStarted) as failed:
                    Server(base, args=words).start()
                self.assertIn(text, failed.exception.said)

    def test_a_base_that_can_not_be_loaded(self):
        """Adapters change nothing of what `serve` does then: it goes on as long as there is another model."""
        with tempfile.TemporaryDirectory() as place:
            bad = os.path.join(place, "bad.gguf")
            Path(bad).write_bytes(b"GGUF")
            adapter = write_adapter(os.path.join(place, "a"), model("llama"), 1)
            for more in ((), ("--lora", f"a={adapter}")):
                with self.assertRaises(NotStarted) as failed:
                    Server(f"bad={bad}", args=more).start()
                self.assertEqual(failed.exception.code, 1)
                with Server(f"bad={bad}", f"good={model('llama')}", args=more) as server:
                    body = {"prompt": [5, 9], "max_tokens": 2}
                    self.assertEqual(server.post("/v1/completions", {"model": "good", **body})[0], 200)
                    for name in ("bad", "a")[: 1 + bool(more)]:
                        status, _, reply = server.post("/v1/completions", {"model": name, **body})
                        self.assertEqual(status, 503, reply)
                        self.assertIn("could not be loaded", reply["error"]["message"])

    def test_loading_is_off_unless_allowed(self):
        with Server(model("llama")) as server:
            for path, body in (("load", {"lora_name": "a", "lora_path": "a"}), ("unload", {"lora_name": "a"})):
                status, _, reply = server.post(f"/v1/{path}_lora_adapter", body)
                self.assertEqual(status, 403)
                self.assertIn("--allow-lora-loading", reply["error"]["message"])


if __name__ == "__main__":
    unittest.main()
