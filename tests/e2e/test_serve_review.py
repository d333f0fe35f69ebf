"""`hadal serve` at its door: sockets that systemd opened, addresses, certificates and origins that are wrong, told before
a model is loaded."""

import json
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import models
from scripted import PROGRAM
from server import TIMEOUT, Server

ACTIVATE = """
import os, sys
os.dup2(int(sys.argv[1]), 3)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS="1")
os.execv(sys.argv[2], sys.argv[2:])
"""


class Folder(unittest.TestCase):
    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hadal-door-"))
        self.addCleanup(shutil.rmtree, self.folder, ignore_errors=True)

    def run_serve(self, *words, prefix=(), code=1, **more):
        """What it says on standard error; it must end with `code`, and not have been ready."""
        done = subprocess.run([*prefix, PROGRAM, "serve", *map(str, words), "--data", str(self.folder / "data")], timeout=TIMEOUT,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True, **more)
        self.assertEqual((done.returncode, done.stdout), (code, ""), done.stderr)
        return done.stderr


class Addresses(Folder):
    def test_a_socket_of_systemd_without_keys(self):
        """--no-auth looks at the socket itself, which no flag tells of."""
        for address, fine in [("0.0.0.0", False), ("127.0.0.1", True)]:
            with socket.create_server((address, 0)) as listener:
                os.set_inheritable(listener.fileno(), True)
                prefix = [sys.executable, "-c", ACTIVATE, str(listener.fileno())]
                if fine:
                    server = Server(models.tiny(), auth=False, prefix=prefix)
                    process = subprocess.Popen(server.command, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, close_fds=False)
                    self.addCleanup(process.stdout.close)
                    self.assertEqual(process.stdout.readline(), b"ready http://127.0.0.1:%d\n" % listener.getsockname()[1])
                    process.terminate()
                    self.assertEqual(process.wait(TIMEOUT), 0)
                else:
                    said = self.run_serve(models.tiny(), "--no-auth", prefix=prefix, close_fds=False)
                    self.assertIn("not only this machine", said)

    def test_what_is_wrong_with_the_door_is_told_before_models_are_loaded(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            for words, text in [(["--port", port], "choose another port"),
                                (["--host", "192.0.2.77"], "no such address"),
                                (["--tls-cert", "no.such", "--tls-key", "no.such"], "no.such")]:
                said = self.run_serve(models.tiny(), *words)
                self.assertIn(text, said)
                self.assertNotIn("loading", said)
                self.assertNotIn("hd-", said)  # nor a key made

    def test_a_warning_where_others_can_listen(self):
        for words, warned in [([], False), (["--host", "0.0.0.0"], True), (["--host", "0.0.0.0", "--tls-self-signed"], False)]:
            with Server(models.tiny(), args=words) as server:
                self.assertEqual("travel unencrypted" in server.said(), warned, words)

    def test_too_many_models(self):
        words = [word for i in range(65) for word in ["--model-path", f"m{i}={models.tiny()}"]]
        self.assertIn("more than 64 models", self.run_serve(*words, code=2))


class Origins(Folder):
    def test_origins_that_no_browser_would_send(self):
        for origin in ["example.org", "https://example.org/", "https://example.org/page", "https://Example.org", "null", "",
                       "https://", "https://a.example\r\nset-cookie: a=b", "https://a.example, https://b.example"]:
            self.assertIn("--cors-origin", self.run_serve(models.tiny(), "--cors-origin", origin, code=2))


    def test_headers_that_the_official_clients_send(self):
        """As a browser compares them (Fetch, CORS-preflight fetch): * stands for all but authorization."""
        with Server(models.tiny(), args=["--cors-origin", "http://localhost:3000"]) as server:
            _, headers, _ = server.request("OPTIONS", "/v1/messages", key=None, origin="http://localhost:3000",
                                           access_control_request_method="POST",
                                           access_control_request_headers="anthropic-dangerous-direct-browser-access,authorization,x-stainless-os")
            allowed = headers["access-control-allow-headers"].split(", ")
            self.assertIn("*", allowed)
            self.assertIn("authorization", allowed)
            self.assertIsNone(headers["access-control-allow-credentials"])  # with it, * would be a name


class Certificates(Folder):
    def names(self, path):
        done = subprocess.run(["openssl", "x509", "-in", path, "-noout", "-ext", "subjectAltName"], capture_output=True, text=True, check=True,
                              timeout=TIMEOUT)
        return re.split(r",\s*|\n\s*", done.stdout)

    def test_a_self_signed_one_for_all_addresses_has_the_name_of_the_machine(self):
        with Server(models.tiny(), data=self.folder / "data", args=["--host", "0.0.0.0", "--tls-self-signed"]) as server:
            path = self.folder / "data/tls/certificate.pem"
            self.assertIn(f"{path}: made for {socket.gethostname()}", server.said())
            self.assertIn(f"DNS:{socket.gethostname()}", self.names(path))

    def test_one_that_expires_soon(self):
        for days, warned in [(3, True), (30, False)]:
            pair = [self.folder / f"{days}.pem", self.folder / f"{days}.key"]
            subprocess.run(["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", "/CN=a",
                            "-days", str(days), "-out", pair[0], "-keyout", pair[1]], check=True, capture_output=True, timeout=TIMEOUT)
            with Server(models.tiny(), args=["--tls-cert", pair[0], "--tls-key", pair[1]]) as server:
                self.assertEqual(bool(re.search(r"expires in [23] days", server.said())), warned, server.said())


class Requests(unittest.TestCase):
    def test_a_stop_string_with_a_nul(self):
        with Server(models.tiny()) as server:
            for path, field in [("/v1/completions", "stop"), ("/v1/messages", "stop_sequences")]:
                body = {"prompt": "a", "messages": [{"role": "user", "content": "a"}], "max_tokens": 3, field: ["b", "a\0b"]}
                status, _, reply = server.post(path, body)
                self.assertEqual(status, 400)
                self.assertIn(f"{field}[1]: must not have", reply["error"]["message"])


    def test_bodies_whose_values_would_fill_the_memory(self):
        """A body of 32 MiB was 2.5 GB of JSON values."""
        with Server(models.tiny()) as server:
            for piece, count, text in [("{},", 200_001, "lists and objects"), ("[],", 200_001, "lists and objects"),
                                       ("0,", 1_000_001, "values")]:
                status, _, reply = server.post("/tokenize", b'{"prompt": "a", "x": [' + piece.encode() * count + b"0]}")
                self.assertEqual(status, 413, piece)
                self.assertIn(text, reply["error"]["message"])
            ids = json.dumps({"tokens": [5] * 900_000, "x": "{[," * 1_000_000}).encode()
            self.assertEqual(server.post("/detokenize", ids)[0], 200)
            peak = re.search(r"VmHWM:\s+(\d+) kB", Path(f"/proc/{server.process.pid}/status").read_text())
            self.assertLess(int(peak[1]), 1_000_000)

    def test_a_message_without_blocks_is_an_empty_one(self):
        """Not none at all, wherever it stands (Anthropic's API)."""
        with Server(models.tiny()) as server:

            def count(content):
                messages = [{"role": role, "content": text} for role, text in [("user", "a"), ("assistant", content), ("user", "b")]]
                status, _, reply = server.post("/v1/messages/count_tokens", {"messages": messages})
                self.assertEqual(status, 200, reply)
                return reply["input_tokens"]

            self.assertEqual(count([]), count(""))
            self.assertEqual(count([{"type": "redacted_thinking", "data": "x"}]), count(""))


class Ending(unittest.TestCase):
    def test_sigterm_while_loading_is_an_orderly_end(self):
        """What systemd sends to a service that is stopped early; 143 would count as a failure."""
        folder = tempfile.mkdtemp(prefix="hadal-door-")
        self.addCleanup(shutil.rmtree, folder, ignore_errors=True)
        process = subprocess.Popen([PROGRAM, "serve", models.v3(), "--no-auth", "--port", "0", "--data", folder], stdout=subprocess.PIPE,
                                   stderr=subprocess.PIPE)
        while b"loading" not in process.stderr.readline():
            pass
        process.send_signal(signal.SIGTERM)
        process.communicate(timeout=TIMEOUT)
        self.assertEqual(process.returncode, 0)


if __name__ == "__main__":
    unittest.main()
