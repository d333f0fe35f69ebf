#!/usr/bin/env python3
"""`hadal serve` as the people who run it meet it: starting, keys, addresses, TLS, browsers, several models, health,
metrics, full queues, and every way to end.  Standard library and openssl only.
"""

import contextlib
import http.client
import json
import os
import re
import shutil
import signal
import socket
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
from pathlib import Path

import models
from scripted import PROGRAM
from server import TIMEOUT, Case, NotStarted, Server, make_key

HI = [{"role": "user", "content": "hi"}]
KEY = re.compile(r"^hd-[A-Za-z0-9_-]{43}$", re.MULTILINE)


class Folder(unittest.TestCase):
    """With a folder for this test."""

    def setUp(self):
        self.folder = Path(tempfile.mkdtemp(prefix="hadal-test-"))
        self.addCleanup(shutil.rmtree, self.folder)
        self.data = self.folder / "data"

    def refused(self, text, *words, code=2):
        """`hadal serve` with these words ends at once with that code and one message."""
        done = subprocess.run([PROGRAM, "serve", *map(str, words), "--data", str(self.data), "--log", "error"], timeout=TIMEOUT,
                              stdin=subprocess.DEVNULL, capture_output=True, text=True)
        self.assertEqual(done.returncode, code, done.stderr)
        self.assertIn(text, done.stderr)
        self.assertEqual(done.stdout, "")
        self.assertTrue(done.stderr.startswith("hadal: "), done.stderr)


class Starting(Folder):
    def test_first_key(self):
        with Server(models.tiny(), data=self.data, auth="first") as server:
            (key,) = KEY.findall(server.said())
            self.assertEqual(server.get("/v1/models", key=key)[0], 200)
            self.assertEqual(server.get("/v1/models", key=None)[0], 401)
        with Server(models.tiny(), data=self.data, auth="first") as server:
            self.assertEqual(KEY.findall(server.said()), [])  # shown once
            self.assertEqual(server.get("/v1/models", key=key)[0], 200)

    def test_no_first_key_into_a_journal(self):
        server = Server(models.tiny(), data=self.data, auth="first")
        server.environment["JOURNAL_STREAM"] = "8:1"
        with server:
            self.assertEqual(KEY.findall(server.said()), [])
            self.assertIn("hadal key create --data", server.said())
            key = make_key(str(self.data))
            self.assertEqual(server.get("/v1/models", key=key)[0], 200)

    def test_without_keys_only_on_loopback(self):
        for host in ["0.0.0.0", "::", "192.0.2.1", "example.org"]:
            self.refused("--no-auth", models.tiny(), "--no-auth", "--host", host)
        for host in ["127.0.0.1", "localhost", "::1"]:
            try:
                with Server(models.tiny(), auth=False, args=["--host", host]) as server:
                    self.assertEqual(server.get("/v1/models")[0], 200)
            except NotStarted as error:
                if host != "::1":  # a machine may have no IPv6
                    raise
                self.assertIn("::1", error.said)

    def test_without_keys_names_of_others_are_refused(self):
        """A page whose name suddenly means this machine (DNS rebinding) gets nothing."""
        with Server(models.tiny(), auth=False) as server:
            self.assertEqual(server.get("/v1/models", host=f"localhost:{server.port}")[0], 200)
            for host in ["evil.example", "localhost.evil.example", "127.evil.example", "127.0.0.1.evil.example", "1", "l",
                         "128.0.0.1", f"127.0.0.1.:{server.port}", "[::2]"]:
                self.assertEqual(server.get("/v1/models", host=host)[0], 403, host)

    def test_the_words_that_people_write(self):
        for precision in ["auto", "bf16", "fp8", "int8", "q4"]:
            with Server("--model-path", models.tiny(), args=["--precision", precision]) as server:
                self.assertEqual(server.get("/v1/models")[2]["data"][0]["id"], "tiny")
        self.refused("--precision", "--model-path", models.tiny(), "--precision", "q3")

    def test_the_precision_of_a_folder_with_several(self):
        source = Path(os.environ.get("HD_SOURCE", Path(__file__).resolve().parents[2])) / "tests/data/golden-extra"
        folder = self.folder / "several"
        folder.mkdir()
        shutil.copy(source / "llama-v2-gguf/model.gguf", folder / "m-Q4_0.gguf")
        shutil.copy(source / "deepseek-v3-gguf/model.gguf", folder / "m-BF16.gguf")
        sizes = {path.name: path.stat().st_size for path in folder.iterdir()}
        for precision, name in [("bf16", "m-BF16.gguf"), ("q4", "m-Q4_0.gguf"), ("auto", min(sizes, key=sizes.get))]:
            with Server(folder, args=["--precision", precision], auth=False) as server:
                self.assertIn("prompts must be ids", server.said())  # these files have no tokenizer
                self.refused_chat(server)
                self.assertEqual(server.post("/v1/completions", {"model": str(folder / name), "prompt": [1], "max_tokens": 1})[0], 200)

    def refused_chat(self, server):
        for path, body in [("/v1/chat/completions", {"messages": HI}), ("/v1/completions", {"prompt": "a"}), ("/tokenize", {"prompt": "a"})]:
            status, _, reply = server.post(path, body)
            self.assertEqual((status, reply["error"]["code"]), (400, "unsupported"), path)

    def test_wrong_words(self):
        tiny = models.tiny()
        self.refused("which model")
        self.refused("nowhere", self.folder / "nowhere", code=1)
        self.refused("go together", tiny, "--tls-cert", "x")
        self.refused("choose", tiny, "--tls-cert", "x", "--tls-key", "y", "--tls-self-signed")
        self.refused("needs TLS", tiny, "--tls-client-ca", "x")
        self.refused("two models are called", tiny, tiny, code=1)
        self.refused("xyzzy", tiny, "--alias", "a=xyzzy", code=1)
        self.refused("NAME=MODEL", tiny, "--alias", "a", code=1)
        self.refused("--port", tiny, "--port", "65536")
        self.refused("no.such.file", tiny, "--tls-cert", "no.such.file", "--tls-key", "no.such.file", code=1)

    def test_a_port_that_is_taken(self):
        with socket.create_server(("127.0.0.1", 0)) as taken:
            port = taken.getsockname()[1]
            self.refused(str(port), models.tiny(), "--port", port, code=1)

    def test_a_data_folder_has_one_server(self):
        with Server(models.tiny(), data=self.data):
            self.refused("another", models.tiny(), "--port", 0, code=1)

    def test_state_lies_in_the_data_folder(self):
        home = self.folder / "home"
        home.mkdir()
        with Server(models.tiny(), data=self.data, env={"HOME": str(home)}) as server:
            server.post("/v1/completions", {"prompt": "a"})
        self.assertEqual(list(home.iterdir()), [])
        self.assertTrue((self.data / "hadal.db").exists())

    def test_nothing_of_a_talk_in_the_log(self):
        with Server(models.tiny(), args=["--log", "debug"]) as server:
            server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "xyzzyprompt"}]})
            server.post("/v1/chat/completions", {"messages": [{"role": "xyzzyrole", "content": "xyzzyprompt"}]})
            key = server.key
            said = server.stop()
        for secret in ["xyzzy", "friend", key]:
            self.assertNotIn(secret, said)

    def test_an_answer_without_limit_ends(self):
        with Server(models.slow(0), args=["--max-tokens", "50"]) as server:
            reply = server.post("/v1/completions", {"prompt": "a"})[2]
            self.assertEqual((reply["choices"][0]["finish_reason"], reply["usage"]["completion_tokens"]), ("length", 50))


class Several(Folder):
    def states(self, server):
        return {model["id"]: model["status"] for model in server.get("/v1/models")[2]["data"]}

    def broken(self):
        """A folder whose model can't be loaded, since its script has an id that the vocabulary lacks."""
        folder = self.folder / "broken"
        shutil.copytree(models.tiny(), folder)
        config = json.loads((folder / "config.json").read_text())
        (folder / "config.json").write_text(json.dumps({**config, "script": [10**6]}))
        return folder, config

    def test_names_and_aliases(self):
        with Server(f"big={models.tiny()}", models.slow(), args=["--alias", "gpt-4=big"]) as server:
            self.assertEqual(self.states(server), {"big": "ready", "slow": "ready", "gpt-4": "ready"})
            status, _, reply = server.post("/v1/completions", {"model": "gpt-4", "prompt": "a"})
            self.assertEqual((status, reply["choices"][0]["text"]), (200, models.HELLO))
            self.assertEqual(server.get("/v1/models/gpt-4")[2]["root"], "big")

    def test_names_like_those_of_hubs(self):
        with Server(f"org/big model={models.tiny()}") as server:
            for path in ["org/big%20model", "org%2Fbig%20model"]:
                self.assertEqual(server.get(f"/v1/models/{path}")[2]["id"], "org/big model")
            self.assertEqual(server.post("/v1/completions", {"model": "org/big model", "prompt": "a"})[0], 200)

    def test_loaded_and_unloaded_by_request(self):
        with Server(models.tiny(), models.slow()) as server:
            self.assertEqual(server.post("/models/unload", {"model": "tiny"})[2], {"id": "tiny", "status": "unloaded"})
            self.assertEqual(self.states(server), {"tiny": "unloaded", "slow": "ready"})
            self.assertEqual(server.post("/models/unload", {"model": "tiny"})[0], 200)  # it is what it should be
            self.assertEqual(server.post("/models/load", {"model": "tiny"})[2], {"id": "tiny", "status": "ready"})
            server.post("/models/unload", {"model": "tiny"})
            reply = server.post("/v1/completions", {"model": "tiny", "prompt": "a"})[2]  # asking loads
            self.assertEqual(reply["choices"][0]["text"], models.HELLO)
            for what in ["load", "unload"]:
                self.assertEqual(server.post(f"/models/{what}", {"model": "xyzzy"})[0], 404)

    def test_unloading_waits_for_answers(self):
        with Server(models.slow(), models.tiny()) as server:
            events = server.events("/v1/completions", {"model": "slow", "prompt": "a", "max_tokens": 20})
            next(events)
            done = []
            thread = threading.Thread(target=lambda: done.append(server.post("/models/unload", {"model": "slow"})))
            thread.start()
            rest = list(events)
            thread.join(TIMEOUT)
            self.assertEqual(rest[-2][1]["choices"][0]["finish_reason"], "length")
            self.assertEqual(done[0][0], 200)
            self.assertEqual(self.states(server)["slow"], "unloaded")

    def test_lazy_and_idle(self):
        with Server(models.tiny(), args=["--lazy", "--idle", "1"]) as server:
            self.assertEqual(self.states(server), {"tiny": "unloaded"})
            self.assertEqual(server.get("/readyz")[0], 200)
            replies = []
            threads = [threading.Thread(target=lambda: replies.append(server.post("/v1/completions", {"prompt": "a"})[0]))
                       for _ in range(8)]
            for thread in threads:
                thread.start()
            for thread in threads:
                thread.join(TIMEOUT)
            self.assertEqual(replies, [200] * 8)
            self.assertEqual(self.states(server), {"tiny": "ready"})
            self.assertEqual(server.said().count("model tiny: loading"), 1)
            deadline = time.monotonic() + 10
            while self.states(server)["tiny"] != "unloaded" and time.monotonic() < deadline:
                time.sleep(0.1)
            self.assertEqual(self.states(server), {"tiny": "unloaded"})
            self.assertEqual(server.post("/v1/completions", {"prompt": "a"})[0], 200)

    def test_one_that_fails_does_not_disturb_another(self):
        folder, config = self.broken()
        with Server(folder, models.tiny()) as server:
            self.assertEqual(self.states(server), {"broken": "failed", "tiny": "ready"})
            self.assertEqual(server.get("/readyz")[0], 200)
            self.assertEqual(server.post("/v1/completions", {"model": "tiny", "prompt": "a"})[0], 200)
            status, headers, reply = server.post("/v1/completions", {"model": "broken", "prompt": "a"})
            self.assertEqual(status, 503)
            self.assertIn("could not be loaded", reply["error"]["message"])
            self.assertTrue(headers["retry-after"])
            (folder / "config.json").write_text(json.dumps(config))  # mended: an explicit request need not wait
            self.assertEqual(server.post("/models/load", {"model": "broken"})[0], 200)
            self.assertEqual(server.post("/v1/completions", {"model": "broken", "prompt": "a"})[0], 200)

    def test_nothing_to_serve(self):
        folder, _ = self.broken()
        self.refused("script", folder, code=1)


class Health(Case):
    @classmethod
    def serve(cls):
        return Server(models.tiny(), models.slow())

    def test_pages(self):
        for path in ["/livez", "/readyz", "/health", "/ping"]:
            status, _, reply = self.server.get(path, key=None)
            self.assertEqual((status, reply["status"]), (200, "ok"), path)
            self.assertEqual([m["id"] for m in reply["models"]], ["tiny", "slow"])
        self.assertRegex(self.server.get("/version", key=None)[2]["version"], r"^\d+\.\d+\.\d+$")
        self.assertEqual(self.server.get("/openapi.json", key=None)[2]["openapi"], "3.1.0")

    def test_metrics(self):
        self.server.post("/v1/completions", {"model": "tiny", "prompt": "a", "n": 2})
        status, headers, text = self.server.get("/metrics", key=None)  # from this machine without a key
        self.assertEqual(status, 200)
        self.assertTrue(headers["content-type"].startswith("text/plain; version=0.0.4"), headers["content-type"])
        kinds = dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE))
        for name in """num_requests_running num_requests_waiting num_requests_swapped kv_cache_usage_perc
                       cache_config_info""".split():
            self.assertEqual(kinds[f"vllm:{name}"], "gauge", name)
        for name in """prefix_cache_queries_total prefix_cache_hits_total prompt_tokens_total prompt_tokens_cached_total
                       generation_tokens_total request_success_total num_preemptions_total""".split():
            self.assertEqual(kinds[f"vllm:{name}"], "counter", name)
        for name in """iteration_tokens_total time_to_first_token_seconds inter_token_latency_seconds
                       request_time_per_output_token_seconds e2e_request_latency_seconds request_queue_time_seconds
                       request_prefill_time_seconds request_decode_time_seconds request_inference_time_seconds
                       request_prompt_tokens request_generation_tokens request_max_num_generation_tokens request_params_n
                       request_params_max_tokens request_prefill_kv_computed_tokens""".split():
            self.assertEqual(kinds[f"vllm:{name}"], "histogram", name)
        samples = self.server.metrics()
        for name, kind in kinds.items():
            if kind == "histogram":
                for labels, count in samples[f"{name}_count"].items():
                    buckets = [v for k, v in samples[f"{name}_bucket"].items() if k.startswith(labels)]
                    self.assertEqual(buckets, sorted(buckets), name)
                    self.assertEqual(buckets[-1], count, name)
            else:
                self.assertTrue(samples[name], name)
        for name in ["process_cpu_seconds_total", "process_resident_memory_bytes", "process_start_time_seconds", "process_open_fds", "process_max_fds"]:
            self.assertIn(name, kinds)
        self.assertGreaterEqual(self.server.metric("vllm:generation_tokens_total", "tiny"), 46)

    def test_a_key_of_metrics_is_checked(self):
        self.assertEqual(self.server.get("/metrics", key=None, host="evil.example")[0], 401)
        self.assertEqual(self.server.get("/metrics", key="hd-" + "A" * 43)[0], 401)

    def test_stalls_are_seen(self):
        with Server(models.slow(3000), args=["--stall", "1", "--lazy"]) as server:
            body = {"prompt": "a", "max_tokens": 1}
            thread = threading.Thread(target=server.post, args=("/v1/completions", body))
            thread.start()
            seen, deadline = 200, time.monotonic() + 15
            while seen == 200 and time.monotonic() < deadline:
                time.sleep(0.1)
                seen, _, reply = server.get("/livez")
            self.assertEqual((seen, reply["status"]), (503, "stalled"))
            self.assertEqual(server.get("/readyz")[0], 503)
            thread.join(TIMEOUT)
            self.assertEqual(server.get("/livez")[0], 200)


class Queue(unittest.TestCase):
    def test_full(self):
        with Server(models.slow(20), args=["--batch", "1", "--queue", "2"]) as server:
            streams = [server.events("/v1/completions", {"prompt": "a", "max_tokens": 400}) for _ in range(1)]
            next(streams[0])
            threads = [threading.Thread(target=server.post, args=("/v1/completions", {"prompt": "b", "max_tokens": 1})) for _ in range(2)]
            for thread in threads:
                thread.start()
            server.wait_for("vllm:num_requests_waiting", 2)
            status, headers, reply = server.post("/v1/completions", {"prompt": "c", "max_tokens": 1})
            self.assertEqual(status, 429)
            self.assertGreater(int(headers["retry-after"]), 0)
            self.assertEqual(reply["error"]["code"], "rate_limit_exceeded")
            self.assertEqual(server.metric("vllm:admission_rejections_total"), 1)
            streams[0].close()
            for thread in threads:
                thread.join(TIMEOUT)
            self.assertEqual(server.post("/v1/completions", {"prompt": "c", "max_tokens": 1})[0], 200)

    def test_urgent_ones_go_first(self):
        with Server(models.slow(20), args=["--batch", "1"]) as server:
            first = server.events("/v1/completions", {"prompt": "a", "max_tokens": 120})
            next(first)
            order = []

            def ask(priority):
                server.post("/v1/completions", {"prompt": "b", "max_tokens": 2, "priority": priority})
                order.append(priority)

            threads = []
            for count, priority in enumerate([0, -5, 5], 1):
                threads.append(threading.Thread(target=ask, args=(priority,)))
                threads[-1].start()
                server.wait_for("vllm:num_requests_waiting", count)
            list(first)
            for thread in threads:
                thread.join(TIMEOUT)
            self.assertEqual(order, [5, 0, -5])


class Browsers(unittest.TestCase):
    def test_off(self):
        with Server(models.tiny()) as server:
            status, headers, _ = server.request("OPTIONS", "/v1/models", key=None, origin="https://a.example")
            self.assertEqual(status, 405)
            self.assertIsNone(headers["access-control-allow-origin"])
            status, headers, _ = server.get("/v1/models", origin="https://a.example")
            self.assertEqual(status, 403)
            self.assertIsNone(headers["access-control-allow-origin"])
            self.assertEqual(server.get("/v1/models", origin="null")[0], 403)
            self.assertEqual(server.get("/v1/models", origin=server.url)[0], 200)  # its own pages

    def test_one_origin(self):
        with Server(models.tiny(), args=["--cors-origin", "https://a.example"]) as server:
            status, headers, _ = server.request("OPTIONS", "/v1/chat/completions", key=None, origin="https://a.example",
                                                access_control_request_method="POST")
            self.assertIn(status, [200, 204])
            self.assertEqual(headers["access-control-allow-origin"], "https://a.example")
            self.assertIn("authorization", headers["access-control-allow-headers"])
            self.assertIn("origin", headers["vary"].lower())
            status, headers, _ = server.get("/v1/models", origin="https://a.example")
            self.assertEqual((status, headers["access-control-allow-origin"]), (200, "https://a.example"))
            for other in ["https://a.example.evil", "http://a.example", "https://b.example", "null"]:
                self.assertEqual(server.get("/v1/models", origin=other)[0], 403, other)

    def test_all_origins(self):
        with Server(models.tiny(), args=["--cors-origin", "*"]) as server:
            status, headers, _ = server.get("/v1/models", origin="https://a.example")
            self.assertEqual((status, headers["access-control-allow-origin"]), (200, "*"))
            with contextlib.closing(server.connect()) as connection:
                connection.request("POST", "/v1/completions", json.dumps({"prompt": "a", "stream": True}),
                                   server.headers(content_type="application/json", origin="https://a.example"))
                self.assertEqual(connection.getresponse().getheader("access-control-allow-origin"), "*")


def openssl(*words, cwd):
    subprocess.run(["openssl", *map(str, words)], cwd=cwd, check=True, capture_output=True, timeout=TIMEOUT)


def make_certificate(folder, name, signer=None):
    """NAME.pem and NAME.key there, signed by that other name's, or by itself."""
    new = ["req", "-x509" if not signer else "-new", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-subj", f"/CN={name}",
           "-keyout", f"{name}.key"]
    if not signer:
        openssl(*new, "-days", 2, "-addext", "subjectAltName=IP:127.0.0.1", "-out", f"{name}.pem", cwd=folder)
        return
    openssl(*new, "-out", f"{name}.csr", cwd=folder)
    openssl("x509", "-req", "-in", f"{name}.csr", "-CA", f"{signer}.pem", "-CAkey", f"{signer}.key", "-CAcreateserial", "-days", 2,
            "-out", f"{name}.pem", cwd=folder)


class Tls(Folder):
    def context(self, trusted, client=None, version=None):
        context = ssl.create_default_context(cafile=str(trusted))
        if client:
            context.load_cert_chain(self.folder / f"{client}.pem", self.folder / f"{client}.key")
        if version:
            context.maximum_version = version
        return context

    def ask(self, server, context):
        """(version of TLS, status, the server's certificate)."""
        connection = http.client.HTTPSConnection(server.host, server.port, timeout=TIMEOUT, context=context)
        with contextlib.closing(connection):
            connection.request("GET", "/v1/models", headers=server.headers())
            version, certificate = connection.sock.version(), connection.sock.getpeercert(True)
            return version, connection.getresponse().status, certificate

    def test_self_signed(self):
        with Server(models.tiny(), data=self.data, args=["--tls-self-signed"]) as server:
            self.assertTrue(server.url.startswith("https://127.0.0.1:"))
            trusted = self.data / "tls/certificate.pem"
            version, status, first = self.ask(server, self.context(trusted))
            self.assertEqual((version, status), ("TLSv1.3", 200))
            with self.assertRaises(ssl.SSLError):
                self.ask(server, self.context(trusted, version=ssl.TLSVersion.TLSv1_2))
            with socket.create_connection((server.host, server.port), TIMEOUT) as plain:
                plain.sendall(b"GET /v1/models HTTP/1.1\r\nHost: a\r\n\r\n")
                with contextlib.suppress(ConnectionResetError):
                    self.assertNotIn(b"HTTP/1.1 ", plain.recv(1000))
            self.assertEqual(os.stat(self.data / "tls/key.pem").st_mode & 0o777, 0o600)
        with Server(models.tiny(), data=self.data, args=["--tls-self-signed"]) as server:
            self.assertEqual(self.ask(server, self.context(trusted))[2], first)  # the same one

    def test_reloaded_without_a_restart(self):
        for name in ["one", "two"]:
            make_certificate(self.folder, name)
        here = {name: self.folder / name for name in ["live.pem", "live.key"]}

        def install(name):
            for file in here:
                shutil.copy(self.folder / file.replace("live", name), here[file])

        install("one")
        with Server(models.slow(), args=["--tls-cert", here["live.pem"], "--tls-key", here["live.key"]]) as server:
            one = self.ask(server, self.context(self.folder / "one.pem"))[2]
            stream = server.events("/v1/completions", {"prompt": "a", "max_tokens": 30})
            next(stream)
            install("two")
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while "were read again" not in server.said() and time.monotonic() < deadline:
                time.sleep(0.02)
            two = self.ask(server, self.context(self.folder / "two.pem"))[2]
            self.assertNotEqual(one, two)
            here["live.key"].write_text("garbage")
            server.process.send_signal(signal.SIGHUP)
            deadline = time.monotonic() + 10
            while "stay as they were" not in server.said() and time.monotonic() < deadline:
                time.sleep(0.02)
            self.assertIn("stay as they were", server.said())
            self.assertEqual(self.ask(server, self.context(self.folder / "two.pem"))[2], two)
            self.assertEqual(list(stream)[-1][1], "[DONE]")  # the stream did not notice

    def test_hangup_without_tls(self):
        with Server(models.tiny()) as server:
            server.process.send_signal(signal.SIGHUP)
            time.sleep(0.1)
            self.assertEqual(server.get("/readyz")[0], 200)

    def test_clients_with_certificates(self):
        make_certificate(self.folder, "door")
        make_certificate(self.folder, "authority")
        make_certificate(self.folder, "friend", "authority")
        make_certificate(self.folder, "stranger")
        files = ["--tls-cert", self.folder / "door.pem", "--tls-key", self.folder / "door.key", "--tls-client-ca", self.folder / "authority.pem"]
        with Server(models.tiny(), args=files) as server:
            self.assertEqual(self.ask(server, self.context(self.folder / "door.pem", "friend"))[1], 200)
            for client in [None, "stranger"]:
                with self.assertRaises((ssl.SSLError, ConnectionError, http.client.HTTPException)):
                    self.ask(server, self.context(self.folder / "door.pem", client))


class Ending(unittest.TestCase):
    BODY = {"prompt": "a", "max_tokens": 30}

    def half_sent(self, server):
        """A connection whose request lacks its last bytes, so that it is not idle."""
        body = json.dumps(self.BODY).encode()
        head = f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {server.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection = socket.create_connection((server.host, server.port), TIMEOUT)
        connection.sendall(head.encode() + body[:-1])
        return connection, body[-1:]

    def test_streams_are_finished(self):
        with Server(models.slow()) as server:
            stream = server.events("/v1/completions", self.BODY)
            got = [next(stream)]
            late, rest = self.half_sent(server)
            time.sleep(0.1)
            server.process.send_signal(signal.SIGTERM)
            time.sleep(0.2)
            with self.assertRaises(OSError):
                server.get("/livez")  # nobody new is let in
            with late:
                late.sendall(rest)
                reply = late.makefile("rb").read()
            self.assertTrue(reply.startswith(b"HTTP/1.1 503 "), reply)
            self.assertIn(b"retry-after:", reply.lower())
            self.assertIn(b"connection: close", reply.lower())
            got += list(stream)
            self.assertEqual(got[-1][1], "[DONE]")
            self.assertEqual(got[-2][1]["choices"][0]["finish_reason"], "length")
            self.assertEqual(len([1 for _, d in got[:-1] if d["choices"][0]["text"]]), 30)
            server.stop(number=None)

    def cut(self, server, stop, seconds):
        stream = server.events("/v1/completions", {"prompt": "a", "max_tokens": 2000})
        next(stream)
        start = time.monotonic()
        stop()
        with self.assertRaises((OSError, http.client.HTTPException, AssertionError)) as caught:
            if list(stream)[-1][1] != "[DONE]":
                raise http.client.HTTPException("cut")
        server.stop(number=None, timeout=20)
        self.assertLess(time.monotonic() - start, seconds, caught.exception)

    def test_a_second_signal_cuts(self):
        with Server(models.slow()) as server:

            def twice():
                server.process.send_signal(signal.SIGTERM)
                time.sleep(0.3)
                self.assertIsNone(server.process.poll())
                server.process.send_signal(signal.SIGINT)

            self.cut(server, twice, 5)

    def test_the_time_for_draining_ends(self):
        with Server(models.slow(), args=["--drain", "0.5"]) as server:
            self.cut(server, lambda: server.process.send_signal(signal.SIGTERM), 5)

    def test_at_once_when_nothing_is_under_way(self):
        for number in [signal.SIGTERM, signal.SIGINT]:
            with Server(models.tiny()) as server:
                idle = server.connect()
                idle.request("GET", "/version")
                idle.getresponse().read()
                start = time.monotonic()
                server.stop(number=number)
                self.assertLess(time.monotonic() - start, 2)
                idle.close()

    def test_signals_that_mean_nothing(self):
        with Server(models.tiny()) as server:
            for number in [signal.SIGUSR1, signal.SIGPIPE, signal.SIGHUP]:
                server.process.send_signal(number)
            time.sleep(0.1)
            self.assertEqual(server.get("/readyz")[0], 200)  # and SIGTERM is still heard

    def test_while_loading(self):
        process = subprocess.Popen([PROGRAM, "serve", models.v3(), "--no-auth", "--port", "0"], stdout=subprocess.PIPE, stderr=subprocess.PIPE,
                                   env={**os.environ, "HADAL_DATA": tempfile.mkdtemp(prefix="hadal-serve-")})
        time.sleep(0.15)
        process.send_signal(signal.SIGTERM)
        out, said = process.communicate(timeout=TIMEOUT)
        self.assertIn(process.returncode, [0, 143], said)
        self.assertRegex(out, rb"\A(ready \S+\n)?\Z")  # it may just have been ready

    def test_requests_in_the_queue(self):
        """Those that wait were accepted: they are answered before the end."""
        with Server(models.slow(5), args=["--batch", "1"]) as server:
            replies = []
            bodies = [{**self.BODY, "max_tokens": count} for count in [500, 30, 30, 30]]
            threads = [threading.Thread(target=lambda body: replies.append(server.post("/v1/completions", body)[0]), args=(body,))
                       for body in bodies]
            threads[0].start()
            server.wait_for("vllm:num_requests_running", 1)
            for thread in threads[1:]:
                thread.start()
            server.wait_for("vllm:num_requests_waiting", 3)
            server.process.send_signal(signal.SIGTERM)
            for thread in threads:
                thread.join(TIMEOUT)
            self.assertEqual(replies, [200] * 4)
            server.stop(number=None)


if __name__ == "__main__":
    unittest.main()
