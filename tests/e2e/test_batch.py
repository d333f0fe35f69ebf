#!/usr/bin/env python3
"""Many requests in one batch of a real model: each answer is what it is alone, nobody starves, and who leaves frees the slot.

Greedy answers are compared id by id: alone, among 31 others of other lengths, with the prefix cache cold and hot, and with
pre-emption forced by a small cache.  On the reference tier they must be the same.  On the tier that this machine would
choose they may part where the two likeliest tokens are nearer than its rounding; each such place is printed.

$HD_SMOLLM2 names the real model; $HD_TEST_LONG makes it 120 streams instead of 32.
"""

import os
import random
import statistics
import sys
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from server import LONG, SOURCE, Server, smollm2

NEAR = 0.05  # logits: what fast tiers may round away (docs/kernels.md bounds each operator; this is what all of them make of it)
COUNT = 32


def golden(name):
    """A tiny model of the reference data; skips the test without it."""
    for folder in [os.environ.get("HD_GOLDEN"), SOURCE / "../shared/golden", SOURCE / "tests/data/golden"]:
        if folder and (path := Path(folder) / "models" / name).exists():
            return path
    raise unittest.SkipTest(f"reference data lacks models/{name}")


def prompts(vocabulary, longest, seed=1):
    """Ids of COUNT prompts of different lengths, some of which begin alike."""
    rng = random.Random(seed)
    common = [rng.randrange(10, vocabulary) for _ in range(longest)]
    out = []
    for i in range(COUNT):
        length = 1 + rng.randrange(longest)
        same = length * (i % 4) // 4
        out.append(common[:same] + [rng.randrange(10, vocabulary) for _ in range(length - same)])
    return out


class Same(unittest.TestCase):
    """Greedy answers do not depend on the company."""

    def ask(self, server, prompt, tokens):
        body = {"prompt": prompt, "max_tokens": tokens, "temperature": 0, "ignore_eos": True, "return_token_ids": True, "logprobs": 2,
                "repetition_penalty": 1}
        status, _, reply = server.post("/v1/completions", body, timeout=300)
        self.assertEqual(status, 200, reply)
        choice = reply["choices"][0]
        self.assertEqual(len(choice["token_ids"]), tokens)
        gaps = [max(t.values()) - min(t.values()) for t in choice["logprobs"]["top_logprobs"]]
        return choice["token_ids"], gaps, reply["usage"]["prompt_tokens_details"]["cached_tokens"]

    def together(self, server, asked, tokens):
        with ThreadPoolExecutor(COUNT) as pool:
            return list(pool.map(lambda prompt: self.ask(server, prompt, tokens), asked))

    def compare(self, what, alone, got, exact):
        parted = []
        for i, ((ids, gaps, _), (other, _, _)) in enumerate(zip(alone, got)):
            if ids == other:
                continue
            at = next(k for k in range(len(ids)) if ids[k] != other[k])
            parted.append(f"{what}: answer {i} parts at token {at}, where the two likeliest are {gaps[at]:.4f} apart")
            self.assertFalse(exact, parted[-1])
            self.assertLess(gaps[at], NEAR, parted[-1])
        for line in parted:
            print(line, file=sys.stderr)

    def check(self, model, tier, asked, tokens, small, exact, alone=COUNT):
        """`small`: tokens of a cache that can't hold all requests at once.  `alone`: how many are asked alone as well."""
        arguments = ["--cpu", tier, "--log", "warn"]
        with Server(model, args=[*arguments, "--prefix-pages", "-1"]) as server:
            crowd = self.together(server, asked, tokens)
            self.compare("alone", [self.ask(server, prompt, tokens) for prompt in asked[:alone]], crowd, exact)
        with Server(model, args=arguments) as server:
            cold = self.together(server, asked, tokens)
            self.compare("with a cold cache", crowd, cold, exact)
            hot = self.together(server, asked, tokens)
            self.compare("with a hot cache", crowd, hot, exact)
            self.assertGreater(sum(cached for *_, cached in hot), sum(cached for *_, cached in cold))
            self.assertGreater(sum(cached > 0 for *_, cached in hot), COUNT // 4)
        with Server(model, args=[*arguments, "--cache-tokens", small]) as server:
            preemptions = 0
            for _ in range(5):  # who comes first, and so who fits beside whom, differs
                self.compare("pre-empted", crowd, self.together(server, asked, tokens), exact)
                preemptions = server.metric("vllm:num_preemptions_total")
                if preemptions:
                    break
            self.assertGreater(preemptions, 0)
        print(f"{Path(model).name}, {tier}: {COUNT} answers of {tokens} tokens, {alone} of them alone, too; "
              f"{preemptions:.0f} pre-emptions", file=sys.stderr)

    def test_reference_qwen2(self):
        self.check(golden("qwen2"), "reference", prompts(700, 100), 40, 384, True)

    def test_reference_deepseek(self):
        self.check(golden("deepseek-v3-fp8"), "reference", prompts(200, 60), 40, 256, True, alone=COUNT if LONG else 8)

    def test_chosen_tier(self):
        path = smollm2()
        self.check(path, "auto", prompts(40000, 60), 40, 256, False, alone=COUNT if LONG else 4)


class Crowd(unittest.TestCase):
    """Streams of a real model at once."""

    STREAMS, TOKENS = (120, 64) if LONG else (32, 16)

    @classmethod
    def setUpClass(cls):
        cls.server = Server(f"smol={smollm2()}", args=["--batch", "128", "--log", "warn"]).start()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def stream(self, number, start, first, done):
        words = f"Story number {number}, told by the fire: " + "once upon a time " * (number % 4)
        start.wait()
        begin, count = time.monotonic(), 0
        for _, data in self.server.events("/v1/completions", {"prompt": words, "max_tokens": self.TOKENS, "ignore_eos": True}, timeout=600):
            if data == "[DONE]":
                done[number] = count
                return
            if number not in first:
                first[number] = time.monotonic() - begin
            count += bool(data["choices"][0]["text"])

    def test_nobody_starves(self):
        start, first, done = threading.Event(), {}, {}
        threads = [threading.Thread(target=self.stream, args=(n, start, first, done)) for n in range(self.STREAMS)]
        for thread in threads:
            thread.start()
        began = time.monotonic()
        start.set()
        for thread in threads:
            thread.join(900)
        took = time.monotonic() - began
        self.assertEqual(len(done), self.STREAMS)
        self.assertGreater(min(done.values()), self.TOKENS // 2)  # a token may be a part of a character
        waits = sorted(first.values())
        median = statistics.median(waits)
        print(f"{self.STREAMS} streams of {self.TOKENS} tokens in {took:.1f} s; first token after {median:.2f} s (median), "
              f"{waits[-1]:.2f} s (longest)", file=sys.stderr)
        self.assertLessEqual(waits[-1], 3 * median)
        self.assertEqual(self.server.metric("vllm:num_requests_running"), 0)

    def test_one_killed_in_mid_stream(self):
        body = {"prompt": "Once upon a time", "max_tokens": 1000, "ignore_eos": True}
        events = self.server.events("/v1/completions", body)
        others = [self.server.events("/v1/completions", body) for _ in range(3)]
        for one in [events, *others]:
            next(one)
        self.server.wait_for("vllm:num_requests_running", 4)
        events.close()
        self.assertLess(self.server.wait_for("vllm:num_requests_running", 3), 0.5)
        for one in others:
            next(one)
            one.close()
        self.server.wait_for("vllm:num_requests_running", 0)


if __name__ == "__main__":
    unittest.main()
