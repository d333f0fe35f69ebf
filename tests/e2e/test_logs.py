#!/usr/bin/env python3
"""The logs of a service: one JSON object a line, a line for each request, files that rotate, and no word of a prompt,
an answer or a key."""

import json
import re
import signal
import sys
import tempfile
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scripted  # noqa: E402
from server import NotStarted, Server, make_key  # noqa: E402

MARKER = "xyzzy-secret-of-the-prompt"
ANSWER = "plugh-secret-of-the-answer"
TIME = re.compile(r"\d{4}-\d\d-\d\dT\d\d:\d\d:\d\d\.\d{3}Z")


class Logs(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        if not scripted.TINY.exists():
            raise unittest.SkipTest("reference data lacks this tokenizer")
        cls.model = scripted.make_scripted(Path(cls.folder.name) / "m", [ANSWER])

    def path(self, name):
        return Path(self.folder.name) / f"{self._testMethodName}-{name}"

    def lines(self, text):
        """Each line parsed; every one must be an object with a time, a level and a message."""
        out = []
        for line in text.splitlines():
            entry = json.loads(line)
            self.assertRegex(entry["time"], TIME)
            self.assertIn(entry["level"], ("error", "warning", "info", "debug"))
            self.assertIsInstance(entry["message"], str)
            self.assertLessEqual(len(line.encode()), 4096)
            out.append(entry)
        return out

    def test_requests(self):
        with Server(self.model, args=["--log-format", "json"]) as server:
            named = make_key(server.data, "alice")
            body = {"messages": [{"role": "user", "content": "Hi"}], "max_tokens": 4}
            status, _, reply = server.post("/v1/chat/completions", body, key=named, x_request_id="req-1")
            self.assertEqual(status, 200)
            server.get("/v1/models/none-such", x_request_id="req-2")
            server.get("/no/such/path", x_request_id="req-3")
            server.post("/v1/chat/completions", body, key="hd-wrong", x_request_id="req-4")
            list(server.events("/v1/chat/completions", body, x_request_id="req-5"))
            server.get("/livez")
            said = server.stop()
        requests = {e["request_id"]: e for e in self.lines(said) if e["message"] == "request"}
        self.assertEqual(sorted(requests), [f"req-{i}" for i in range(1, 6)])
        first = requests["req-1"]
        self.assertEqual((first["level"], first["method"], first["route"], first["status"]),
                         ("info", "POST", "/v1/chat/completions", 200))
        self.assertEqual((first["input_tokens"], first["output_tokens"]),
                         (reply["usage"]["prompt_tokens"], reply["usage"]["completion_tokens"]))
        self.assertEqual((first["key"], first["model"]), ("alice", "m"))
        self.assertTrue(0 < first["seconds"] < 60)
        self.assertEqual((requests["req-2"]["route"], requests["req-2"]["status"]), ("/v1/models/{model}", 404))
        self.assertEqual((requests["req-3"]["route"], requests["req-3"]["status"]), ("-", 404))
        self.assertEqual((requests["req-4"]["status"], "key" in requests["req-4"]), (401, False))
        self.assertEqual((requests["req-5"]["status"], requests["req-5"]["output_tokens"]), (200, 4))
        self.assertEqual(requests["req-5"]["key"], "1")  # it has no name: its number

    def test_nothing_of_prompts_answers_and_keys(self):
        for form in ("text", "json"):
            with self.subTest(form=form), Server(self.model, args=["--log", "debug", "--log-format", form]) as server:
                key = server.key
                message = {"role": "user", "content": MARKER}
                server.post("/v1/chat/completions", {"messages": [message]})
                server.post("/v1/completions", {"prompt": MARKER})
                server.post("/v1/chat/completions", {"messages": [message], "temperature": 99})
                server.post("/v1/chat/completions", {"messages": [message], MARKER: 1})
                server.post("/v1/chat/completions", {"messages": MARKER})
                server.post("/v1/chat/completions", ('{"messages": ' + MARKER).encode())
                server.post("/v1/chat/completions", {"messages": [message], "model": MARKER})
                server.post("/v1/embeddings", {"input": MARKER})
                server.post("/tokenize", {"prompt": MARKER})
                server.get(f"/v1/models/{MARKER}")
                server.get(f"/{MARKER}?{MARKER}")
                server.get("/v1/models", user_agent=MARKER)
                server.get("/v1/models", key=key[:-1] + "x")
                list(server.events("/v1/chat/completions", {"messages": [message]}))
                server.get("/livez")
                said = server.stop()
                self.assertIn("livez", said)  # debug is on
                for secret in (MARKER, ANSWER, key, key[3:], key[:-1]):
                    self.assertNotIn(secret, said)

    def test_text(self):
        with Server(self.model) as server:
            server.get("/v1/models", x_request_id="req-9")
            said = server.stop()
        self.assertRegex(said, r"(?m)^hadal: info: request method=GET route=/v1/models status=200 seconds=0\.\d{6} "
                               r"key=1 request_id=req-9$")

    def test_file_rotates(self):
        path = self.path("log")
        args = ["--log-format", "json", "--log-file", path, "--log-size", "1", "--log-keep", "2"]
        path.write_bytes(b" " * ((1 << 20) - 100) + b"{}\n")
        with Server(self.model, args=args) as server:
            for _ in range(3):
                server.get("/v1/models")
            said = server.stop()
        self.assertEqual(said, "")
        self.assertEqual(path.stat().st_mode & 0o007, 0)
        self.assertTrue(Path(f"{path}.1").stat().st_size > 1 << 19)
        self.assertTrue(any(e["message"] == "request" for e in self.lines(path.read_text())))

    def test_hup_opens_the_file_anew(self):
        path = self.path("log")
        with Server(self.model, args=["--log-file", path]) as server:
            server.get("/v1/models", x_request_id="req-old")
            moved = path.rename(f"{path}.moved")
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while not path.exists() and time.monotonic() < deadline:
                time.sleep(0.01)
            server.get("/v1/models", x_request_id="req-new")
            server.stop()
        self.assertIn("req-old", moved.read_text())
        self.assertIn("req-new", path.read_text())
        self.assertRegex(path.read_text(), TIME)

    def test_errors(self):
        for args, text in ((["--log-file", "/none/such"], "/none/such"), (["--log-size", "1"], "--log-file")):
            with self.subTest(args=args), self.assertRaises(NotStarted) as caught:
                Server(self.model, args=args).start()
            self.assertIn(text, caught.exception.said)
        with self.assertRaises(NotStarted) as caught:
            Server("/none/such/model", args=["--log-format", "json"]).start()
        self.assertEqual(self.lines(caught.exception.said)[-1]["level"], "error")

    def test_first_key_is_not_shown_in_json(self):
        data = self.path("data")
        server = Server(self.model, args=["--log-format", "json"], auth=None, data=data)
        server.command.remove("--no-auth")
        with server:
            said = server.stop()
        self.assertIn("hadal key create", said)
        self.assertNotIn("hd-", said)
        self.lines(said)


if __name__ == "__main__":
    unittest.main()
