#!/usr/bin/env python3
"""A model served in two precisions: which one answers, under load and when it is asked for, and who is told.

Scripted models (scripted.py) stand for the two precisions where it matters which one answered: their texts tell.  Real
weights of a small model stand where the weights matter.  The tests of the official client want the package openai.
"""

import json
import os
import shutil
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import models
from scripted import PROGRAM, SOURCE, TINY, make_scripted
from server import TIMEOUT, Case, NotStarted, Server

try:
    import openai
except ImportError:
    openai = None

HI = [{"role": "user", "content": "hi"}]
FULL, CHEAPER = "none", "none-cheaper"  # a scripted model has no weights
HOLD = 1.0


def quantized(folder, *types):
    """A small real model (no tokenizer) with its weights as each of these types."""
    source = SOURCE / "tests/data/golden-extra/llama-v2-gguf/model.gguf"
    paths = []
    for name in types:
        paths.append(Path(folder) / f"tiny-{name}.gguf")
        subprocess.run([PROGRAM, "quantize", source, paths[-1], "--type", name], check=True, capture_output=True, timeout=TIMEOUT)
    return paths


class Starting(unittest.TestCase):
    """What can't be a pair is refused before anything is served."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hadal-test-"))
        self.addCleanup(shutil.rmtree, self.folder)

    def refused(self, text, *words, code=2):
        done = subprocess.run([PROGRAM, "serve", *map(str, words), "--data", str(self.folder / "data"), "--port", "0", "--no-auth",
                               "--log", "error"], timeout=TIMEOUT, stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        self.assertIn(text, done.stderr)

    def test_wrong_words(self):
        tiny, other = models.tiny(), models.slow()
        self.refused("--cheaper-above says when --cheaper is used", tiny, "--cheaper-above", 4)
        self.refused("--cheaper-below is 8", tiny, "--cheaper", other, "--cheaper-above", 8, "--cheaper-below", 8)
        self.refused("--cheaper-below is 9", tiny, "--cheaper", other, "--cheaper-below", 9)
        self.refused("--cheaper-above", tiny, "--cheaper", other, "--cheaper-above", 0)
        self.refused("--cheaper-hold", tiny, "--cheaper", other, "--cheaper-hold", "soon")
        self.refused("NAME=MODEL", tiny, other, "--cheaper", tiny)
        self.refused("must be MODEL, or NAME=MODEL", tiny, "--cheaper", "tiny=")
        self.refused("must be MODEL, or NAME=MODEL", tiny, "--cheaper", f"={other}")
        self.refused("xyzzy", tiny, "--cheaper", f"xyzzy={other}", code=1)
        self.refused("nowhere", tiny, "--cheaper", self.folder / "nowhere", code=1)
        self.refused("has a cheaper precision already", tiny, "--cheaper", other, "--cheaper", other, code=1)

    def test_other_models(self):
        tiny = models.tiny()
        f16, q4 = quantized(self.folder, "F16", "Q4_0")
        self.refused("its architecture is", tiny, "--cheaper", f16, code=1)
        self.refused("ids in the vocabulary, not", tiny, "--cheaper", models.v3(), code=1)
        context = make_scripted(self.folder / "context", ["a"], TINY, context=4096)
        self.refused("4096 tokens of context, not 8192", tiny, "--cheaper", context, code=1)
        template = make_scripted(self.folder / "template", ["a"], TINY, chat_template="{{ messages[0].content }}")
        self.refused("chat template writes another prompt", tiny, "--cheaper", template, code=1)
        words = make_scripted(self.folder / "words", ["a"], TINY)
        text = json.loads((words / "tokenizer.json").read_text("utf-8"))
        vocabulary = text["model"]["vocab"]
        one, two = [token for token in vocabulary if token.isalpha()][:2]
        vocabulary[one], vocabulary[two] = vocabulary[two], vocabulary[one]
        (words / "tokenizer.json").write_text(json.dumps(text), "utf-8")
        self.refused("of its tokenizer is another", tiny, "--cheaper", words, code=1)
        no_words = make_scripted(self.folder / "no-words", ["a"], TINY)
        (no_words / "tokenizer.json").unlink()
        self.refused("it has no tokenizer", tiny, "--cheaper", no_words, code=1)
        damaged = self.folder / "damaged.gguf"
        damaged.write_bytes(q4.read_bytes()[:5000])
        self.refused("its cheaper precision", f16, "--cheaper", damaged, code=1)

    def test_what_they_take_is_told(self):
        full, cheaper = quantized(self.folder, "F16", "Q4_0")
        with Server(f"m={full}", args=["--cheaper", f"m={cheaper}"], auth=False) as server:
            self.assertRegex(server.said(), r"model m: in two precisions: F16 takes .* MiB, Q4_0 .* together")
            self.assertNotIn("wrong way round", server.said())
        with Server(f"m={cheaper}", args=["--cheaper", f"m={full}"], auth=False) as server:
            self.assertIn("wrong way round", server.said())

    def test_lazy(self):
        """Both are loaded with the first request, and unloaded together."""
        full, cheaper = quantized(self.folder, "F16", "Q4_0")
        with Server(f"m={full}", args=["--cheaper", cheaper, "--lazy"], auth=False) as server:
            ask = {"prompt": [1], "max_tokens": 1, "precision": "cheaper"}
            self.assertNotIn("precisions", server.get("/v1/models/m")[2])
            for _ in range(2):
                self.assertEqual(server.post("/v1/completions", ask)[1]["x-hadal-precision"], "Q4_0")
                self.assertEqual(server.get("/v1/models/m")[2]["precisions"], ["F16", "Q4_0"])
                self.assertEqual(server.post("/models/unload", {"model": "m"})[0], 200)
                self.assertNotIn("precisions", server.get("/v1/models/m")[2])


class Pair(Case):
    """Scripted models of 20 ms a token: to the cheaper one at 3 requests, back after a second with 1 or less."""

    @classmethod
    def serve(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="hadal-test-"))
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        full = make_scripted(cls.folder / "full", ["aaaa "], TINY, repeat=True, delay_ms=20)
        cheaper = make_scripted(cls.folder / "cheaper", ["zzzz "], TINY, repeat=True, delay_ms=20)
        return Server(f"m={full}", models.tiny(), auth=False, args=[
            "--cheaper", f"m={cheaper}", "--cheaper-above", 3, "--cheaper-below", 1, "--cheaper-hold", HOLD])

    def setUp(self):
        self.server.wait_for("hadal:precision_load", 0)
        self.server.wait_for("hadal:precision_cheaper", 0)

    def ask(self, tokens=4, path="/v1/completions", **more):
        """(precision by the header, the text) of an answer; nothing else is allowed to come."""
        body = {"model": "m", "max_tokens": tokens, **({"prompt": "x"} if path == "/v1/completions" else {"messages": HI}), **more}
        status, headers, reply = self.server.post(path, body)
        self.assertEqual(status, 200, reply)
        if path == "/v1/messages":
            text = reply["content"][0]["text"]
        else:
            choice = reply["choices"][0]
            text = choice["text"] if path == "/v1/completions" else choice["message"]["content"]
            self.assertEqual(reply["system_fingerprint"], headers["x-hadal-precision"])
        self.assertEqual(reply["model"], "m")
        self.assertEqual("z" in text, headers["x-hadal-precision"] == CHEAPER, text)
        self.assertEqual("a" in text, headers["x-hadal-precision"] == FULL, text)
        return headers["x-hadal-precision"]

    def occupy(self, count, tokens):
        """So many requests of so many tokens under way, one after the other; returns where each of them went."""
        went, threads = [None] * count, []

        def one(i):
            went[i] = self.ask(tokens)

        for i in range(count):
            threads.append(threading.Thread(target=one, args=[i]))
            threads[-1].start()
            self.server.wait_for("hadal:precision_load", i + 1)
        return went, threads

    def test_all_dialects_tell(self):
        for path in ["/v1/completions", "/v1/chat/completions", "/v1/messages"]:
            for wish, precision in [("auto", FULL), ("full", FULL), ("cheaper", CHEAPER)]:
                self.assertEqual(self.ask(path=path, precision=wish), precision)
                stream = self.server.events(path, {"model": "m", "max_tokens": 4, "prompt": "x", "messages": HI, "precision": wish})
                events = [data for _, data in stream if isinstance(data, dict)]
                if path != "/v1/messages":
                    self.assertEqual({e["system_fingerprint"] for e in events}, {precision})
        self.assertEqual(self.server.metric("hadal:precision_cheaper"), 0)  # forcing is no load

    def test_wishes(self):
        for wish in ["bf16", "", 1, True]:
            body = {"model": "m", "prompt": "x", "precision": wish}
            self.refused(self.server.post("/v1/completions", body), 400, "precision", "precision")
        for path in ["/v1/completions", "/v1/chat/completions", "/v1/embeddings"]:
            body = {"model": "tiny", "prompt": "x", "messages": HI, "input": "x", "precision": "cheaper"}
            self.refused(self.server.post(path, body), 400, "has one precision only", "precision")
        for wish in ["auto", "full", None]:
            status, headers, _ = self.server.post("/v1/completions", {"model": "tiny", "prompt": "x", "max_tokens": 1, "precision": wish})
            self.assertEqual((status, headers["x-hadal-precision"]), (200, "none"))
        for path in ["/tokenize", "/v1/models"]:
            status, headers, _ = self.server.post(path, {"model": "m", "prompt": "x"}) if path == "/tokenize" else self.server.get(path)
            self.assertEqual((status, headers["x-hadal-precision"]), (200, None))

    def test_there_and_back(self):
        switches = self.server.metric("hadal:precision_switches_total")
        went, threads = self.occupy(4, 60)  # 1.2 s
        self.assertEqual(self.server.get("/v1/models/m")[2]["precision"], CHEAPER)
        self.assertEqual(self.ask(), CHEAPER)
        self.assertEqual(self.ask(precision="full"), FULL)
        for thread in threads:
            thread.join()
        self.assertEqual(went, [FULL, FULL, CHEAPER, CHEAPER])  # each to its end where it began: their texts tell
        self.assertEqual(self.ask(), CHEAPER)  # the load is low, but not yet for long
        start = time.monotonic()
        self.server.wait_for("hadal:precision_cheaper", 0, seconds=HOLD + 5)
        self.assertGreater(time.monotonic() - start, HOLD / 2)
        self.assertEqual(self.ask(), FULL)
        self.assertEqual(self.server.get("/v1/models/m")[2]["precision"], FULL)
        self.assertEqual(self.server.metric("hadal:precision_switches_total"), switches + 2)

    def test_figures(self):
        before = self.server.metrics()["hadal:requests_precision_total"]
        self.ask(precision="full")
        self.ask(precision="cheaper")
        self.ask(precision="cheaper")
        after = self.server.metrics()["hadal:requests_precision_total"]
        grown = {labels: after[labels] - before[labels] for labels in after}
        self.assertEqual(grown, {f'model_name="m",engine="0",precision="{FULL}"': 1,
                                 f'model_name="m",engine="1",precision="{CHEAPER}"': 2,
                                 f'model_name="tiny",engine="0",precision="{FULL}"': 0})
        page = self.server.get("/metrics")[2].splitlines()
        self.assertEqual(len(page), len(set(page)))  # both engines have labels of their own
        status, _, health = self.server.get("/readyz")
        self.assertEqual((status, [(m["id"], m["precision"]) for m in health["models"]]),
                         (200, [("m", FULL), ("m", CHEAPER), ("tiny", FULL)]))
        (described,) = [m for m in self.server.get("/v1/models")[2]["data"] if m["id"] == "m"]
        self.assertEqual((described["precisions"], described["precision"]), ([FULL, CHEAPER], FULL))

    def test_who_leaves_is_no_load(self):
        for _ in range(6):
            stream = self.server.events("/v1/completions", {"model": "m", "prompt": "x", "max_tokens": 1000})
            next(stream)
            stream.close()
            self.server.wait_for("hadal:precision_load", 0)
        self.refused(self.server.post("/v1/completions", {"model": "m", "prompt": []}), 400, "prompt", "prompt")
        self.refused(self.server.post("/v1/completions", {"model": "m", "prompt": "x", "max_tokens": 10**6}), 400, "context")
        self.assertEqual(self.server.metric("hadal:precision_load"), 0)

    @unittest.skipUnless(openai, "the Python package openai is not installed: tools/test-venv")
    def test_waves_of_the_official_client(self):
        """Load comes and goes, some of it streamed: several switches, and no request fails."""
        client = openai.OpenAI(base_url=self.server.url + "/v1", api_key="none", max_retries=0, timeout=TIMEOUT)
        switches, lock, seen = self.server.metric("hadal:precision_switches_total"), threading.Lock(), []

        def ask(stream):
            call = client.chat.completions.with_raw_response.create(model="m", messages=HI, max_tokens=12, stream=stream)
            precision, parsed = call.headers["x-hadal-precision"], call.parse()
            replies = list(parsed) if stream else [parsed]
            text = "".join((r.choices[0].delta if stream else r.choices[0].message).content or "" for r in replies if r.choices)
            good = {r.system_fingerprint for r in replies} == {precision} and ("z" in text) == (precision == CHEAPER)
            with lock:
                seen.append((precision, good))

        for _ in range(2):
            threads = [threading.Thread(target=ask, args=[i % 2 == 0]) for i in range(10)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join()
            self.server.wait_for("hadal:precision_cheaper", 0, seconds=HOLD + 5)
        client.close()
        self.assertEqual(len(seen), 20)  # a thread that failed would be missing
        self.assertTrue(all(good for _, good in seen), seen)
        self.assertEqual({precision for precision, _ in seen}, {FULL, CHEAPER})
        self.assertEqual(self.server.metric("hadal:precision_switches_total"), switches + 4)


class Weights(unittest.TestCase):
    """Two precisions of a real model."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hadal-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.full, self.cheaper = quantized(self.folder, "F16", "Q4_0")
        self.ids = [i * 7 % 90 for i in range(1, 80)]

    def serve(self, *args, **more):
        return Server(f"m={self.full}", args=["--cheaper", self.cheaper, *args], **more)

    def complete(self, server, precision="auto", **more):
        body = {"prompt": self.ids, "max_tokens": 1, "logprobs": 1, "temperature": 0, "precision": precision, **more}
        status, headers, reply = server.post("/v1/completions", body)
        self.assertEqual(status, 200, reply)
        return headers["x-hadal-precision"], reply

    def test_the_weights_are_those_that_it_says(self):
        """Each answers to the bit as its file does when it is served alone."""
        alone = []
        for path, name in [(self.full, "F16"), (self.cheaper, "Q4_0")]:
            with Server(path, auth=False) as server:
                precision, reply = self.complete(server)
                self.assertEqual(precision, name)
                alone.append(reply["choices"][0]["logprobs"])
        with self.serve(auth=False) as server:
            self.assertEqual(self.complete(server, "full")[1]["choices"][0]["logprobs"], alone[0])
            self.assertEqual(self.complete(server, "cheaper")[1]["choices"][0]["logprobs"], alone[1])
        self.assertNotEqual(*alone)

    def test_vectors_are_of_the_full_one_unless_asked_for(self):
        with self.serve("--cheaper-above", 1, "--cheaper-below", 0, auth=False) as server:
            self.assertEqual(self.complete(server)[0], "Q4_0")  # the very first request is load enough
            vectors = {}
            for wish, name in [("auto", "F16"), ("full", "F16"), ("cheaper", "Q4_0")]:
                status, headers, reply = server.post("/v1/embeddings", {"input": self.ids, "precision": wish})
                self.assertEqual((status, headers["x-hadal-precision"]), (200, name))
                vectors[wish] = reply["data"][0]["embedding"]
            self.assertEqual(vectors["auto"], vectors["full"])
            self.assertNotEqual(vectors["auto"], vectors["cheaper"])

    def test_each_has_its_own_prefixes(self):
        data = self.folder / "data"

        def cached(server, precision):
            usage = self.complete(server, precision)[1]["usage"]
            return usage["prompt_tokens_details"]["cached_tokens"]

        with self.serve("--keep-prefixes", data=data) as server:
            key = server.key
            self.assertEqual([cached(server, "full"), cached(server, "cheaper")], [0, 0])
            self.assertEqual([cached(server, "full"), cached(server, "cheaper")], [64, 64])
        self.assertEqual(len(list((data / "prefixes").iterdir())), 2)
        with self.serve("--keep-prefixes", data=data, auth="kept") as server:
            server.key = key
            self.assertEqual([cached(server, "full"), cached(server, "cheaper")], [64, 64])
        self.full, self.cheaper = self.cheaper, self.full  # bytes of other weights are no use, and do no harm
        with self.serve("--keep-prefixes", data=data, auth="kept") as server:
            server.key = key
            self.assertEqual([cached(server, "full"), cached(server, "cheaper")], [0, 0])

    def test_a_lost_file_takes_one_precision_only(self):
        with self.serve("--cheaper-above", 1, "--cheaper-below", 0, auth=False) as server:
            self.assertEqual(self.complete(server)[0], "Q4_0")
            os.truncate(self.cheaper, 0)
            body = {"prompt": [1, 2, 3], "max_tokens": 1}
            status, headers, _ = server.post("/v1/completions", {**body, "precision": "cheaper"})
            self.assertEqual((status, headers["x-hadal-precision"]), (503, "Q4_0"))
            for _ in range(3):
                self.assertEqual(self.complete(server)[0], "F16")
            self.assertEqual(server.post("/v1/completions", {**body, "precision": "cheaper"})[0], 503)
            server.post("/models/unload", {"model": "m"})
            status, _, reply = server.post("/v1/completions", body)  # half a model is not loaded again
            self.assertEqual(status, 503)
            self.assertIn("its cheaper precision", reply["error"]["message"])


class Bad(unittest.TestCase):
    def test_no_start_with_half_a_model(self):
        with tempfile.TemporaryDirectory() as folder:
            full, cheaper = quantized(folder, "F16", "Q4_0")
            cheaper.write_bytes(b"GGUF")
            with self.assertRaises(NotStarted) as caught:
                Server(full, args=["--cheaper", cheaper], auth=False).start()
            self.assertIn("its cheaper precision", str(caught.exception))


if __name__ == "__main__":
    unittest.main()
