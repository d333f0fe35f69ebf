"""Cached prompts: over a restart, from a warm-up list, and never between keys."""

import json
import tempfile
import unittest
from pathlib import Path

from scripted import TINY, make_scripted
from server import NotStarted, Server, make_key

PROMPT = "One two three four five six seven eight nine ten. " * 12  # many pages of 32 tokens


def cached(server, key=None, prompt=PROMPT):
    status, _, reply = server.post(
        "/v1/completions", {"prompt": prompt, "max_tokens": 1}, key=key if key is not None else True
    )
    assert status == 200, reply
    return reply["usage"]["prompt_tokens_details"]["cached_tokens"], reply["usage"]["prompt_tokens"]


class Prefixes(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.data = Path(self.folder.name) / "data"
        self.model = make_scripted(Path(self.folder.name) / "m", ["a"])

    def test_a_key_hits_its_own_and_no_other(self):
        with Server(self.model, data=self.data) as server:
            other = make_key(self.data, "other")
            self.assertEqual(cached(server)[0], 0)
            hit, length = cached(server)
            self.assertGreater(hit, length - 33)
            self.assertEqual(cached(server, other)[0], 0)
            self.assertGreater(cached(server, other)[0], 0)

    def test_they_survive_a_restart(self):
        with Server(self.model, data=self.data, args=["--keep-prefixes"]) as server:
            key = server.key
            cached(server)
        for path in (self.data / "prefixes").iterdir():
            self.assertNotIn(b"three", path.read_bytes())
            self.assertEqual(path.stat().st_mode & 0o777, 0o600)
        with Server(self.model, data=self.data, auth="kept", args=["--keep-prefixes"]) as server:
            self.assertGreater(cached(server, key)[0], 32)
            self.assertEqual(cached(server, make_key(self.data, "new"))[0], 0)

    def test_a_damaged_file_is_left_out(self):
        with Server(self.model, data=self.data, args=["--keep-prefixes"]) as server:
            key = server.key
            cached(server)
        (path,) = (self.data / "prefixes").iterdir()
        content = bytearray(path.read_bytes())
        content[len(content) // 2] ^= 1
        path.write_bytes(content)
        with Server(self.model, data=self.data, auth="kept", args=["--keep-prefixes"]) as server:
            self.assertEqual(cached(server, key)[0], 0)
            self.assertIn("cached prompts of the last run", server.said())

    def test_another_model_of_the_same_name_gets_none(self):
        with Server(self.model, data=self.data, args=["--keep-prefixes"]) as server:
            key = server.key
            cached(server)
        with Server(f"m={TINY}", data=self.data, auth="kept", args=["--keep-prefixes"]) as server:
            status, _, reply = server.post("/v1/completions", {"prompt": [5] * 100, "max_tokens": 1}, key=key)
            self.assertEqual((status, reply["usage"]["prompt_tokens_details"]["cached_tokens"]), (200, 0))


class WarmUp(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.TemporaryDirectory()
        self.addCleanup(self.folder.cleanup)
        self.data = Path(self.folder.name) / "data"
        self.list = Path(self.folder.name) / "list.json"
        self.model = make_scripted(Path(self.folder.name) / "m", ["a"])

    def write(self, entries):
        self.list.write_text(json.dumps(entries), "utf-8")
        return ["--warm-up", self.list]

    def test_listed_prompts_are_cached_for_their_keys(self):
        mine = make_key(self.data, "mine")
        messages = [{"role": "user", "content": PROMPT}]
        entries = [{"prompt": PROMPT, "key": "mine"}, {"messages": messages}, {"prompt": "x", "model": "nobody"}]
        with Server(self.model, data=self.data, args=self.write(entries)) as server:
            self.assertGreater(cached(server, mine)[0], 32)
            self.assertEqual(cached(server)[0], 0)
            for key in (mine, server.key):
                _, _, reply = server.post("/v1/chat/completions", {"messages": messages, "max_tokens": 1}, key=key)
                self.assertGreater(reply["usage"]["prompt_tokens_details"]["cached_tokens"], 32)

    def test_a_bad_list_names_its_fault(self):
        for entries, fault in (
            ([{"prompt": 5}], "[0].prompt: must be a string"),
            ([{"prompt": "a"}, {}], "[1]: either prompt or messages"),
            ({}, "must be a list"),
        ):
            with self.assertRaises(NotStarted) as caught:
                Server(self.model, auth=False, args=self.write(entries)).start()
            self.assertEqual(caught.exception.code, 1)
            self.assertIn(fault, caught.exception.said)


if __name__ == "__main__":
    unittest.main()
