"""GET /metrics of a live service, and the boards that `hadal artifacts dashboards` writes, by a real Prometheus.

A mixed load on SmolLM2 ($HD_SMOLLM2) over TLS while Prometheus scrapes: at least a hundred families have data, every query
of every board gets some, promtool finds nothing but the colons of the names, no value is NaN, and no label grows with what
clients say.  Skipped without Debian's package prometheus.  Standard library only.
"""

import concurrent.futures
import http.client
import json
import os
import pathlib
import random
import re
import shutil
import socket
import ssl
import string
import subprocess
import tempfile
import time
import unittest
import urllib.parse
import urllib.request

from server import TIMEOUT, Server, smollm2

SOURCE = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.environ.get("HD_PROGRAM", str(SOURCE / "build/release/hadal"))
LOAD_SECONDS = 20  # so that rates over 10 s have data
# What only some machines tell, and limits that only some cgroups have.
OPTIONAL = ["hadal:machine_temperature_celsius", "hadal:machine_power_watts", "hadal:machine_cpu_frequency_hertz",
            "hadal:cgroup_memory_used_bytes", "hadal:cgroup_memory_limit_bytes", "hadal:cgroup_cpu_throttled_seconds_total",
            "hadal:machine_pressure_ratio", "hadal:cgroup_cpu_seconds_total", "hadal:machine_disk_bytes_total"]


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


class Prometheus:
    """A real one that scrapes `server` once a second, with its data in a temporary folder."""

    def __init__(self, server):
        self.folder = tempfile.mkdtemp(prefix="hadal-prometheus-")
        self.port = free_port()
        config = {
            "global": {"scrape_interval": "1s", "evaluation_interval": "1s"},
            "scrape_configs": [{"job_name": "hadal", "scheme": "https", "tls_config": {"insecure_skip_verify": True},
                                "authorization": {"credentials": server.key},
                                "static_configs": [{"targets": [f"{server.host}:{server.port}"]}]}],
        }
        path = pathlib.Path(self.folder, "prometheus.yml")
        path.write_text(json.dumps(config))  # JSON is YAML
        subprocess.run(["promtool", "check", "config", path], check=True, capture_output=True, timeout=TIMEOUT)
        self.log = open(pathlib.Path(self.folder, "log"), "wb")
        self.process = subprocess.Popen(
            ["prometheus", f"--config.file={path}", f"--storage.tsdb.path={self.folder}/data",
             f"--web.listen-address=127.0.0.1:{self.port}"], stdout=self.log, stderr=self.log)

    def get(self, path, **parameters):
        query = urllib.parse.urlencode(parameters)
        with urllib.request.urlopen(f"http://127.0.0.1:{self.port}{path}?{query}", timeout=TIMEOUT) as reply:
            return json.load(reply)

    def wait(self):
        """Until it has scraped once."""
        deadline = time.monotonic() + 30
        while time.monotonic() < deadline:
            try:
                if self.query("up == 1"):
                    return
            except OSError:
                pass
            time.sleep(0.2)
        raise AssertionError(pathlib.Path(self.folder, "log").read_text())

    def query(self, expression):
        reply = self.get("/api/v1/query", query=expression)
        assert reply["status"] == "success", (expression, reply)
        return reply["data"]["result"]

    def stop(self):
        self.process.terminate()
        self.process.wait(TIMEOUT)
        self.log.close()
        shutil.rmtree(self.folder, ignore_errors=True)


class Load:
    """Everything that clients do, right and wrong."""

    def __init__(self, server):
        self.server = server
        self.context = ssl._create_unverified_context()

    def post(self, path, body, key=True, method="POST", leave=None):
        connection = http.client.HTTPSConnection(self.server.host, self.server.port, timeout=TIMEOUT, context=self.context)
        headers = {"content-type": "application/json"}
        if key:
            headers["authorization"] = "Bearer " + (self.server.key if key is True else key)
        try:
            connection.request(method, path, body if isinstance(body, (str, bytes)) else json.dumps(body), headers)
            reply = connection.getresponse()
            if leave:
                reply.read(leave)
                return reply.status
            reply.read()
            return reply.status
        finally:
            connection.close()

    def raw(self, data):
        with socket.create_connection((self.server.host, self.server.port), TIMEOUT) as plain:
            with self.context.wrap_socket(plain, server_hostname="localhost") as s:
                s.sendall(data)
                while s.recv(4096):
                    pass

    def once(self, number):
        chat = [{"role": "user", "content": f"Say the number {number % 7}."}]
        tool = {"type": "function", "function": {"name": "clock", "description": "The time.", "parameters": {"type": "object", "properties": {}}}}
        model = {"model": "smol"}
        expected = [
            (200, self.post("/v1/chat/completions", {**model, "messages": chat, "max_tokens": 24})),
            (200, self.post("/v1/chat/completions", {**model, "messages": chat, "max_tokens": 24, "stream": True})),
            (200, self.post("/v1/chat/completions", {**model, "messages": chat, "max_tokens": 8, "tools": [tool]})),
            (200, self.post("/v1/completions", {**model, "prompt": "Once upon a time", "max_tokens": 16, "n": 2})),
            (200, self.post("/v1/embeddings", {**model, "input": ["one", "two"]})),
            (200, self.post("/v1/messages", {**model, "messages": chat, "max_tokens": 12, "stream": number % 2 == 0})),
            (200, self.post("/v1/messages/count_tokens", {**model, "messages": chat})),
            (200, self.post("/tokenize", {**model, "prompt": "text"})),
            (200, self.post("/detokenize", {**model, "tokens": [1, 2, 3]})),
            (200, self.post("/v1/chat/completions", {**model, "messages": chat, "max_tokens": 400, "stream": True}, leave=20)),
            (404, self.post("/v1/chat/completions", {"model": "none", "messages": chat})),
            (400, self.post("/v1/chat/completions", "{")),
            (401, self.post("/v1/chat/completions", {"messages": chat}, key=None)),
            (401, self.post("/v1/chat/completions", {"messages": chat}, key="hd-" + "A" * 43)),
            (405, self.post("/v1/chat/completions", "", method="GET")),
            (404, self.post("/nothing", {})),
            (200, self.post("/readyz", "", method="GET")),
        ]
        for wanted, got in expected:
            assert wanted == got, expected
        self.raw(b"NO SENSE\r\n\r\n")

    def run(self, seconds):
        end = time.monotonic() + seconds
        with concurrent.futures.ThreadPoolExecutor(3) as pool:
            def work(which):
                number = which
                while time.monotonic() < end:
                    self.once(number)
                    number += 3
            for done in [pool.submit(work, i) for i in range(3)]:
                done.result()


def page_of(server):
    """(text, {family: type}, {sample: {labels: value}}), all of one page."""
    text, samples = server.get("/metrics")[2], {}
    for name, labels, value in re.findall(r"^([A-Za-z_:][\w:]*)(?:\{(.*)\})? (\S+)$", text, re.MULTILINE):
        samples.setdefault(name, {})[labels] = float(value)
    return text, dict(re.findall(r"^# TYPE (\S+) (\S+)$", text, re.MULTILINE)), samples


def families_with_data(kinds, samples):
    return [name for name, kind in kinds.items() if samples.get(name) or (kind == "histogram" and samples.get(name + "_count"))]


def label_sets(samples):
    return {(name, labels) for name, family in samples.items() for labels in family}


@unittest.skipUnless(shutil.which("prometheus") and shutil.which("promtool"),
                     "NOT TESTED: Debian's package prometheus is not here (tools/setup test installs it)")
class Metrics(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.server = Server(f"smol={smollm2()}", args=["--tls-self-signed"])
        cls.server.start()
        cls.addClassCleanup(cls.server.stop)
        cls.prometheus = Prometheus(cls.server)
        cls.addClassCleanup(cls.prometheus.stop)
        cls.prometheus.wait()
        cls.load = Load(cls.server)
        cls.load.run(LOAD_SECONDS)

    def test_families(self):
        text, kinds, samples = page_of(self.server)
        have = families_with_data(kinds, samples)
        print(f"\n{len(have)} families with data, {len(text)} bytes")
        self.assertGreaterEqual(len(have), 100)
        self.assertEqual(sorted(have), sorted(kinds))  # no head without samples
        self.assertEqual(len(re.findall("^# TYPE ", text, re.MULTILINE)), len(kinds))  # each once
        self.assertEqual(re.findall(r"^# HELP (\S+) \S", text, re.MULTILINE), re.findall(r"^# TYPE (\S+) ", text, re.MULTILINE))
        self.assertNotRegex(text, r"(?i)\bnan$|\binf$")
        self.assertTrue(all(value >= 0 for family in samples.values() for value in family.values()))

    def test_they_tell_what_happened(self):
        samples = page_of(self.server)[2]

        def value(name, **labels):
            return sum(v for k, v in samples[name].items() if all(f'{a}="{b}"' in k for a, b in labels.items()))
        for cause in ["unknown_path", "wrong_method", "no_key", "wrong_key", "bad_body", "no_model"]:
            self.assertGreater(value("hadal:requests_refused_total", cause=cause), 0, cause)
        for cause in ["other_site", "draining"]:
            self.assertEqual(value("hadal:requests_refused_total", cause=cause), 0, cause)
        for dialect in ["openai_chat", "openai_completions", "anthropic"]:
            for kind in ["prompt", "answer"]:
                self.assertGreater(value("hadal:dialect_tokens_total", dialect=dialect, kind=kind), 0, (dialect, kind))
            self.assertGreater(value("hadal:dialect_answers_total", dialect=dialect, finished_reason="length"), 0, dialect)
        self.assertGreater(value("hadal:dialect_answers_total", dialect="openai_chat", finished_reason="abort"), 0)
        self.assertGreater(value("hadal:dialect_streams_total", dialect="openai_chat"), 0)
        self.assertEqual(value("hadal:dialect_streams_total", dialect="openai_completions"), 0)
        self.assertGreater(value("hadal:dialect_tool_requests_total", dialect="openai_chat"), 0)
        self.assertGreater(value("hadal:http_bad_requests_status_total", status="400"), 0)
        self.assertGreater(value("hadal:http_clients_gone_total"), 0)
        self.assertGreater(value("hadal:http_route_responses_total", route="/v1/embeddings", method="POST", **{"class": "2xx"}), 0)
        self.assertGreater(value("hadal:http_route_responses_total", route="other", **{"class": "4xx"}), 0)
        self.assertEqual(value("hadal:http_responses_total"), value("http_requests_total"))
        self.assertEqual(value("hadal:http_responses_total"), value("hadal:http_route_responses_total"))
        self.assertEqual(value("hadal:streams_open"), 0)
        self.assertEqual(value("hadal:http_requests_open"), 1)  # this one
        self.assertGreater(value("hadal:store_queries_total"), 0)
        self.assertGreater(value("hadal:tls_handshakes_total"), 0)
        self.assertGreater(value("hadal:tls_certificate_expiry_timestamp_seconds"), time.time() + 86400)
        for operator in ["matmul", "attend", "norm", "rope"]:
            self.assertGreater(value("hadal:engine_operator_seconds_total", operator=operator), 0, operator)
        sampled, steps = value("hadal:engine_sampled_steps_total"), value("hadal:engine_steps_total")
        self.assertTrue(steps / 31 - 1 <= sampled <= steps / 31 + 2, (sampled, steps))
        within = value("hadal:engine_operator_seconds_total") / value("hadal:engine_sampled_seconds_total")
        self.assertTrue(0.5 < within <= 1.01, within)
        self.assertAlmostEqual(value("process_start_time_seconds"), time.time(), delta=600)
        for folder in ["data", "models"]:
            self.assertTrue(0 <= value("hadal:disk_free_ratio", folder=folder) <= 1)
        for name in ["hadal:machine_memory_used_ratio", "hadal:machine_cpu_used_ratio"]:
            self.assertTrue(0 <= value(name) <= 1, name)

    def test_families_are_those_of_the_table(self):
        listed = subprocess.run([PROGRAM, "metrics", "--markdown"], capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout
        rows = {m[0]: (m[1], set(filter(None, m[2].split(", ")))) for m in re.findall(r"^\| `(\S+)` \| (\w+) \| [^|]* \| ([^|]*?) ?\|", listed, re.MULTILINE)}
        _, kinds, samples = page_of(self.server)
        for name, kind in kinds.items():
            self.assertEqual(rows[name][0], kind, name)
            for labels in samples.get(name, samples.get(name + "_count", {})):
                self.assertEqual(set(re.findall(r'(\w+)="', labels)), rows[name][1], name)

    def test_promtool(self):
        text = page_of(self.server)[0]
        done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, text=True, timeout=TIMEOUT)
        wrong = [line for line in (done.stdout + done.stderr).splitlines() if line and "should not contain ':'" not in line]
        # vLLM calls a histogram so
        self.assertEqual(wrong, ['vllm:iteration_tokens_total non-counter metrics should not have "_total" suffix'])

    def test_prometheus_has_them(self):
        _, kinds, _ = page_of(self.server)
        names = set(self.prometheus.get("/api/v1/label/__name__/values")["data"])
        missing = [n for n, kind in kinds.items() if (n + "_bucket" if kind == "histogram" else n) not in names]
        self.assertEqual(missing, [])
        self.assertEqual(self.prometheus.query("max(scrape_samples_scraped)")[0]["value"][1] > "100", True)

    def test_boards(self):
        """Every query of every panel gets data that is a number."""
        with tempfile.TemporaryDirectory() as folder:
            subprocess.run([PROGRAM, "artifacts", "dashboards", "--out", folder], check=True, capture_output=True, timeout=TIMEOUT)
            boards = {p.stem: json.loads(p.read_text()) for p in pathlib.Path(folder).glob("*.json")}
        self.assertEqual(sorted(boards), ["door", "engine", "machine", "service"])
        asked, empty, kinds = 0, [], page_of(self.server)[1]
        self.load.run(3)
        for name, board in boards.items():
            self.assertEqual(len({p["id"] for p in board["panels"]}), len(board["panels"]))
            for panel in board["panels"]:
                for target in panel["targets"]:
                    expression = target["expr"].replace("$instance", ".*").replace("$__rate_interval", "20s")
                    families = re.findall(r"[a-z]+:?[a-z_0-9]+(?=\{)", expression)
                    if any(f in OPTIONAL and f not in kinds for f in families):
                        continue
                    asked += 1
                    result = self.prometheus.query(expression)
                    if not result or all(r["value"][1] == "NaN" for r in result):
                        empty.append((name, panel["title"], expression))
        print(f"\n{asked} queries of {len(boards)} boards")
        self.assertEqual(empty, [])
        self.assertGreater(asked, 90)

    def test_labels_are_bounded(self):
        """2,000 paths, methods, models and keys that nobody has heard of make no more labels than one each."""
        chance = random.Random(7)

        def word():
            return "".join(chance.choice(string.ascii_letters) for _ in range(12))
        self.load.post(f"/{word()}", {}, method="BREW")
        self.load.post("/v1/models/none", "", method="GET")
        before = label_sets(page_of(self.server)[2])
        words = [[word() for _ in range(4)] for _ in range(500)]
        connection = http.client.HTTPSConnection(self.server.host, self.server.port, timeout=TIMEOUT, context=self.load.context)
        for path, method, model, key in words:
            for request in [(method.upper(), f"/{path}", None, True), ("GET", f"/v1/models/{model}", None, True),
                            ("POST", "/v1/completions", {"model": model, "prompt": path}, True),
                            ("POST", "/v1/completions", {"prompt": path}, key)]:
                verb, where, body, secret = request
                token = self.server.key if secret is True else secret
                connection.request(verb, where, json.dumps(body) if body else None,
                                   {"authorization": f"Bearer {token}", "x-request-id": path, "user-agent": model})
                reply = connection.getresponse()
                reply.read()
                self.assertIn(reply.status, (400, 401, 404, 405))
        connection.close()
        text, _, samples = page_of(self.server)
        # those counted before now have the class that they get here
        self.assertLessEqual(len(label_sets(samples) - before), 60)
        for group in words:
            for one in group:
                self.assertNotIn(one, text)
        routes = {m for m in re.findall(r'route="([^"]*)"', text)}
        self.assertLess(len(routes), 30)
        self.assertIn("other", routes)


class Table(unittest.TestCase):
    def test_boards_are_those_of_the_tool(self):
        subprocess.run([SOURCE / "tools/make-dashboards", "--check"], check=True, timeout=TIMEOUT)

    def test_docs_are_those_of_the_program(self):
        table = subprocess.run([PROGRAM, "metrics", "--markdown"], capture_output=True, text=True, check=True, timeout=TIMEOUT).stdout
        self.assertIn(table, (SOURCE / "docs/metrics.md").read_text())


if __name__ == "__main__":
    unittest.main()
