"""A live `hadal serve` for tests, and a small client for what the official ones cannot say.

    with Server(folder_of_a_model) as server:
        status, headers, reply = server.post("/v1/completions", {"prompt": "Hi"})

It listens on a free port of 127.0.0.1, keeps its state in a temporary data folder, and asks for the key `server.key`
unless auth=False.  When it stops, its exit code must be 0, and no sanitizer may have said a word.  Standard library only.
"""

import contextlib
import http.client
import json
import os
import re
import select
import shutil
import signal
import ssl
import subprocess
import tempfile
import time
import unittest
from urllib.parse import urlsplit

from scripted import PROGRAM, SOURCE

READY_SECONDS = 120
TIMEOUT = 60  # seconds; a request takes well under one
SANITIZER = re.compile(r"AddressSanitizer|LeakSanitizer|ThreadSanitizer|MemorySanitizer|runtime error:")


class NotStarted(Exception):
    """The server ended before it was ready; `code` and `said` tell how."""

    def __init__(self, code, said):
        super().__init__(f"exit code {code}: {said}")
        self.code, self.said = code, said


class Server:
    def __init__(self, *models, args=(), auth=True, data=None, env=None, prefix=()):
        """models: folders, files or NAME=MODEL.  prefix: words before the program's, such as `ip netns exec x`."""
        self._own = None if data else tempfile.mkdtemp(prefix="hadal-serve-")
        self.data = str(data or os.path.join(self._own, "data"))
        self.environment = dict(os.environ, **(env or {}))
        self.environment.pop("JOURNAL_STREAM", None)  # a first key is shown to people only
        self.key = make_key(self.data) if auth is True else None
        words = [*map(str, models), "--port", "0", "--data", self.data, *map(str, args)]
        if not auth:
            words.append("--no-auth")
        self.command = [*map(str, prefix), PROGRAM, "serve", *words]
        self.process, self.url = None, None

    # ---- its life ----

    def start(self):
        self._stderr = tempfile.TemporaryFile()
        self.process = subprocess.Popen(
            self.command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=self._stderr, env=self.environment
        )
        line = self._read_line()
        match = re.fullmatch(r"ready (https?://\S+:\d+)\n", line)
        if not match:
            self.process.kill()
            code = self.process.wait(TIMEOUT)
            said = self.said()
            self._clean()
            raise NotStarted(code, said if not line else f"{line!r}\n{said}")
        self.url = match[1]
        parts = urlsplit(self.url)
        self.host, self.port, self.tls = parts.hostname, parts.port, parts.scheme == "https"
        return self

    def _read_line(self):
        """The first line of its output; "" when it ended without one."""
        deadline, line = time.monotonic() + READY_SECONDS, b""
        while not line.endswith(b"\n"):
            if not select.select([self.process.stdout], [], [], max(0, deadline - time.monotonic()))[0]:
                break
            piece = os.read(self.process.stdout.fileno(), 1)
            if not piece:
                self.process.wait(TIMEOUT)  # its end, so that the exit code is its own
                break
            line += piece
        return line.decode()

    def said(self):
        """All that it wrote to standard error so far."""
        self._stderr.seek(0)
        return self._stderr.read().decode("utf-8", "replace")

    def stop(self, code=0, number=signal.SIGTERM, timeout=TIMEOUT):
        """Ends it, and fails unless it ends with `code` and in order.  Returns what it said."""
        if self.process.poll() is None and number:
            self.process.send_signal(number)
        try:
            ended = self.process.wait(timeout)
        except subprocess.TimeoutExpired:
            self.process.kill()
            self.process.wait(TIMEOUT)
            said = self.said()
            self._clean()
            raise AssertionError(f"it did not end within {timeout} s\n{said}") from None
        said = self.said()
        more = self.process.stdout.read()
        self._clean()
        assert ended == code, f"exit code {ended}, not {code}\n{said}"
        assert not SANITIZER.search(said), said
        assert more == b"", f"more than the one line on standard output: {more!r}"
        return said

    def _clean(self):
        self.process.stdout.close()
        self._stderr.close()
        if self._own:
            shutil.rmtree(self._own, ignore_errors=True)

    def __enter__(self):
        return self.start()

    def __exit__(self, kind, value, trace):
        if self._stderr.closed:
            return
        try:
            self.stop()
        except AssertionError:
            if kind is None:  # else the first failure tells more
                raise

    # ---- a client ----

    def connect(self, timeout=TIMEOUT):
        if not self.tls:
            return http.client.HTTPConnection(self.host, self.port, timeout=timeout)
        context = ssl.create_default_context()
        context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
        return http.client.HTTPSConnection(self.host, self.port, timeout=timeout, context=context)

    def headers(self, key=True, **more):
        """Headers of a request; names with _ for -."""
        key = self.key if key is True else key
        out = {"authorization": f"Bearer {key}"} if key else {}
        return {**out, **{name.replace("_", "-"): value for name, value in more.items()}}

    def request(self, method, path, body=None, key=True, timeout=TIMEOUT, **headers):
        """(status, headers, reply): the reply parsed when it is JSON, else text.  body: JSON, or bytes as they are."""
        data = body if body is None or isinstance(body, bytes) else json.dumps(body).encode()
        if data is not None:
            headers.setdefault("content_type", "application/json")
        with contextlib.closing(self.connect(timeout)) as connection:
            connection.request(method, path, data, self.headers(key, **headers))
            response = connection.getresponse()
            text = response.read()
        is_json = response.getheader("content-type", "").startswith("application/json")
        return response.status, response.headers, json.loads(text) if is_json and text else text.decode()

    def get(self, path, **more):
        return self.request("GET", path, **more)

    def post(self, path, body, **more):
        return self.request("POST", path, body, **more)

    def events(self, path, body, key=True, timeout=TIMEOUT, **headers):
        """Yields (event, data) of a stream of server-sent events; data is parsed unless it is [DONE].  Closing the
        generator closes the connection."""
        with contextlib.closing(self.connect(timeout)) as connection:
            connection.request("POST", path, json.dumps({**body, "stream": True}).encode(),
                               self.headers(key, content_type="application/json", **headers))
            response = connection.getresponse()
            if response.status != 200:
                raise AssertionError(f"{response.status}: {response.read().decode()}")
            name, data = None, []
            for line in response:
                line = line.decode().rstrip("\n")
                if line.startswith("event: "):
                    name = line[7:]
                elif line.startswith("data: "):
                    data.append(line[6:])
                elif not line and data:
                    text = "\n".join(data)
                    yield name, text if text == "[DONE]" else json.loads(text)
                    name, data = None, []
                elif line and not line.startswith(":"):
                    raise AssertionError(f"not a line of a stream: {line!r}")

    def metrics(self):
        """{name: {labels: value}} of /metrics; labels as they are written."""
        out = {}
        for line in self.get("/metrics")[2].splitlines():
            if line and not line.startswith("#"):
                match = re.fullmatch(r"([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)", line)
                assert match, line
                out.setdefault(match[1], {})[match[2] or ""] = float(match[3])
        return out

    def metric(self, name, model=None):
        """The sum over all samples of that name; with `model`, of that model's."""
        return sum(value for labels, value in self.metrics().get(name, {}).items()
                   if model is None or f'model_name="{model}"' in labels)

    def wait_for(self, name, value, seconds=10, model=None):
        """Waits until that metric has the value; returns how many seconds that took."""
        start = time.monotonic()
        while (now := self.metric(name, model)) != value:
            if time.monotonic() - start > seconds:
                raise AssertionError(f"{name} is {now}, not {value}, after {seconds} s")
            time.sleep(0.005)
        return time.monotonic() - start


def make_key(data, name=None):
    """A new key of that data folder."""
    words = ["--name", name] if name else []
    done = subprocess.run([PROGRAM, "key", "create", "--data", data, *words], capture_output=True, timeout=TIMEOUT, check=True)
    return done.stdout.decode().splitlines()[-1]


def revoke_key(data, key):
    subprocess.run([PROGRAM, "key", "revoke", "--data", data, key], capture_output=True, timeout=TIMEOUT, check=True)


class Case(unittest.TestCase):
    """A test case with one server for all of its tests, which `serve` makes."""

    @classmethod
    def serve(cls):
        raise NotImplementedError

    @classmethod
    def setUpClass(cls):
        cls.server = cls.serve().start()

    @classmethod
    def tearDownClass(cls):
        cls.server.stop()

    def refused(self, reply, status, text, param=None, kind=None):
        """That reply is an error in OpenAI's envelope, about that field, with `text` in its message.  Returns it."""
        code, headers, body = reply
        self.assertEqual(code, status, body)
        self.assertEqual(headers["content-type"], "application/json")
        error = body["error"]
        self.assertEqual(sorted(error), ["code", "message", "param", "type"])
        self.assertIn(text, error["message"])
        self.assertEqual(error["param"], param, error)
        if kind:
            self.assertEqual(error["type"], kind)
        return error


def smollm2():
    """The real model's file; skips the test without it."""
    path = os.environ.get("HD_SMOLLM2")
    if not path or not os.path.exists(path):
        raise unittest.SkipTest("HD_SMOLLM2 names no file of SmolLM2")
    return path


LONG = bool(os.environ.get("HD_TEST_LONG"))

__all__ = ["Case", "LONG", "NotStarted", "Server", "SOURCE", "TIMEOUT", "make_key", "revoke_key", "smollm2"]
