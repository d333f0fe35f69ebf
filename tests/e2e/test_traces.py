#!/usr/bin/env python3
"""Traces: a stub of a collector decodes what a service sends by OTLP/HTTP, with the messages of PyPI's
opentelemetry-proto."""

import contextlib
import http.server
import json
import re
import socket
import sys
import tempfile
import threading
import time
import unittest
from pathlib import Path

sys.path.insert(0, str(Path(__file__).resolve().parent))
import scripted  # noqa: E402
from server import NotStarted, Server, make_key  # noqa: E402

try:
    from opentelemetry.proto.collector.trace.v1.trace_service_pb2 import (
        ExportTraceServiceRequest,
        ExportTraceServiceResponse,
    )
except ImportError:
    ExportTraceServiceRequest = None

MARKER = "xyzzy-secret-of-the-prompt"
ANSWER = "plugh-secret-of-the-answer"
TRACE, PARENT = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
SERVER, INTERNAL, ERROR = 2, 1, 2


def plain(value):
    kind = value.WhichOneof("value")
    if kind == "array_value":
        return [plain(item) for item in value.array_value.values]
    return getattr(value, kind)


class Span:
    def __init__(self, span, resource):
        self.name, self.kind, self.state = span.name, span.kind, span.trace_state
        self.trace, self.id, self.parent = span.trace_id.hex(), span.span_id.hex(), span.parent_span_id.hex()
        self.start, self.end, self.flags = span.start_time_unix_nano, span.end_time_unix_nano, span.flags
        self.attributes = {a.key: plain(a.value) for a in span.attributes}
        self.events = {e.name: e.time_unix_nano for e in span.events}
        self.failed, self.resource = span.status.code == ERROR, resource


class Collector:
    """answer(number, request) -> (status, headers, body) of the request with that number, or None to hang."""

    def __init__(self, answer=None):
        self.spans, self.raw, self.requests, self.lock = [], b"", [], threading.Lock()
        self.answer = answer or (lambda number, request: (200, {}, b""))
        collector = self

        class Handler(http.server.BaseHTTPRequestHandler):
            protocol_version = "HTTP/1.1"

            def do_POST(self):
                body = self.rfile.read(int(self.headers["content-length"]))
                status, headers, reply = collector.take(self.path, self.headers, body)
                with contextlib.suppress(OSError):
                    self.send_response(status)
                    for name, value in {**headers, "content-length": str(len(reply))}.items():
                        self.send_header(name, value)
                    self.end_headers()
                    self.wfile.write(reply)

            def log_message(self, *_):
                pass

        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.url = f"http://127.0.0.1:{self.server.server_port}"
        threading.Thread(target=self.server.serve_forever, daemon=True).start()

    def take(self, path, headers, body):
        with self.lock:
            number = len(self.requests)
            self.requests.append((path, dict(headers.items()), time.monotonic()))
        status, more, reply = self.answer(number, body)
        if status == 200:
            request = ExportTraceServiceRequest.FromString(body)
            with self.lock:
                self.raw += body
                for group in request.resource_spans:
                    resource = {a.key: plain(a.value) for a in group.resource.attributes}
                    self.spans += [Span(s, resource) for scope in group.scope_spans for s in scope.spans]
        return status, more, reply

    def wait(self, name, count=1, seconds=20):
        """The spans of that name, once there are so many."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            with self.lock:
                found = [s for s in self.spans if s.name == name]
            if len(found) >= count:
                return sorted(found, key=lambda s: s.start)  # the worker that is done first tells first
            time.sleep(0.02)
        raise AssertionError(f"{len(found)} spans {name!r}; there are {[s.name for s in self.spans]}")

    def of(self, trace):
        with self.lock:
            return [s for s in self.spans if s.trace == trace]

    def close(self):
        self.server.shutdown()
        self.server.server_close()


QUICK = {"OTEL_BSP_SCHEDULE_DELAY": "100"}
CHAT = "POST /v1/chat/completions"


@unittest.skipUnless(ExportTraceServiceRequest, "needs PyPI's opentelemetry-proto")
class Traces(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = tempfile.TemporaryDirectory()
        cls.addClassCleanup(cls.folder.cleanup)
        if not scripted.TINY.exists():
            raise unittest.SkipTest("reference data lacks this tokenizer")
        cls.model = scripted.make_scripted(Path(cls.folder.name) / "m", [ANSWER])

    def collector(self, answer=None):
        collector = Collector(answer)
        self.addCleanup(collector.close)
        return collector

    def serve(self, collector, *args, env=None):
        return Server(self.model, args=["--otlp-endpoint", collector.url, *args], env={**QUICK, **(env or {})})

    def chat(self, server, *, text=MARKER, stream=False, headers=None, **more):
        body = {"messages": [{"role": "user", "content": text}], **more}
        if stream:
            return list(server.events("/v1/chat/completions", body, **(headers or {})))
        return server.post("/v1/chat/completions", body, **(headers or {}))

    def test_tree_and_attributes(self):
        collector = self.collector()
        with self.serve(collector, env={"OTEL_SERVICE_NAME": "answers",
                                        "OTEL_RESOURCE_ATTRIBUTES": "deployment.environment.name=test,a=b%20c"}) as server:
            key = make_key(server.data, "alice")
            before = time.time_ns()
            _, headers, reply = self.chat(server, model="m", max_tokens=3, temperature=0.5, top_p=0.9, seed=7,
                                          headers={"key": key, "x_request_id": "req-1"})
            after = time.time_ns()
            server.get("/livez")
            server.get("/no/such/path")
            root = collector.wait(CHAT)[0]
            said = server.stop()
        self.assertEqual({path for path, _, _ in collector.requests}, {"/v1/traces"})
        self.assertEqual({h["Content-Type"] for _, h, _ in collector.requests}, {"application/x-protobuf"})
        spans = {s.name: s for s in collector.of(root.trace)}
        self.assertEqual(sorted(spans), sorted([CHAT, "chat m", "queue", "prefill", "decode"]))
        self.assertEqual((root.kind, root.parent, root.failed), (SERVER, "", False))
        self.assertEqual(spans["chat m"].parent, root.id)
        self.assertEqual({spans[n].parent for n in ("queue", "prefill", "decode")}, {spans["chat m"].id})
        self.assertEqual(len({s.id for s in spans.values()}), 5)
        self.assertRegex(root.trace, r"^(?!0{32})[0-9a-f]{32}$")
        times = [root.start, spans["chat m"].start, spans["queue"].start, spans["queue"].end, spans["prefill"].end,
                 spans["decode"].end, spans["chat m"].end, root.end]
        self.assertEqual(times, sorted(times))
        self.assertEqual((spans["queue"].end, spans["prefill"].end), (spans["prefill"].start, spans["decode"].start))
        self.assertTrue(before - 10**6 <= root.start and root.end <= after + 10**6, (before, root.start, root.end, after))
        http_ = root.attributes
        self.assertEqual((http_["http.request.method"], http_["http.route"], http_["http.response.status_code"]),
                         ("POST", "/v1/chat/completions", 200))
        self.assertEqual((http_["server.address"], http_["server.port"], http_["url.scheme"], http_["url.path"]),
                         ("127.0.0.1", server.port, "http", "/v1/chat/completions"))
        self.assertEqual((http_["hadal.request.id"], http_["hadal.key.name"]), ("req-1", "alice"))
        self.assertNotIn("error.type", http_)
        ai = spans["chat m"].attributes
        self.assertEqual((ai["gen_ai.operation.name"], ai["gen_ai.provider.name"], ai["gen_ai.system"]),
                         ("chat", "hadal", "hadal"))
        self.assertEqual((ai["gen_ai.request.model"], ai["gen_ai.response.model"]), ("m", "m"))
        self.assertEqual((ai["gen_ai.request.max_tokens"], ai["gen_ai.request.temperature"], ai["gen_ai.request.top_p"],
                          ai["gen_ai.request.seed"]), (3, 0.5, 0.9, 7))
        self.assertEqual((ai["gen_ai.usage.input_tokens"], ai["gen_ai.usage.output_tokens"]),
                         (reply["usage"]["prompt_tokens"], 3))
        self.assertEqual((ai["gen_ai.response.finish_reasons"], ai["gen_ai.response.id"]), (["length"], reply["id"]))
        self.assertTrue(0 < ai["gen_ai.server.time_to_first_token"] < 60)
        self.assertAlmostEqual(ai["gen_ai.server.time_to_first_token"] * 1e9,
                               spans["chat m"].events["first_token"] - root.start, delta=2e6)
        self.assertEqual(root.resource["service.name"], "answers")
        self.assertEqual((root.resource["deployment.environment.name"], root.resource["a"]), ("test", "b c"))
        self.assertNotIn("gen_ai.input.messages", ai)
        loads = {s.name: s for s in collector.spans if s.trace == collector.wait("load model")[0].trace}
        self.assertEqual(loads["load model"].attributes["hadal.model.name"], "m")
        self.assertEqual(loads["warm up"].parent, loads["load model"].id)
        for secret in (MARKER, ANSWER, key):
            self.assertNotIn(secret.encode(), collector.raw)
        self.assertFalse([s for s in collector.spans if "livez" in s.name or "such" in s.name])
        self.assertIn(f"trace_id={root.trace}", said)

    def test_stream_choices_and_other_routes(self):
        collector = self.collector()
        with self.serve(collector) as server:
            self.chat(server, stream=True)
            self.chat(server, n=2)
            server.post("/v1/completions", {"prompt": MARKER, "max_tokens": 2})
            server.post("/v1/messages", {"model": "m", "max_tokens": 2, "messages": [{"role": "user", "content": MARKER}]})
            server.post("/v1/embeddings", {"input": MARKER})
            server.get("/v1/models")
            server.stop()
        stream, two = collector.wait("chat", 2)[:2]
        self.assertIn("gen_ai.response.time_to_first_chunk", stream.attributes)
        self.assertTrue(stream.attributes["gen_ai.request.stream"])
        self.assertNotIn("gen_ai.response.time_to_first_chunk", two.attributes)
        self.assertEqual(two.attributes["gen_ai.request.choice.count"], 2)
        self.assertEqual(two.attributes["gen_ai.response.finish_reasons"], ["stop", "stop"])
        self.assertEqual(sorted(s.attributes["hadal.choice.index"] for s in collector.of(two.trace) if s.name == "decode"),
                         [0, 1])
        self.assertEqual(collector.wait("text_completion")[0].attributes["gen_ai.operation.name"], "text_completion")
        self.assertEqual(collector.wait("chat m")[0].attributes["gen_ai.response.id"][:4], "msg_")
        embeddings = collector.wait("embeddings")[0].attributes
        self.assertTrue(embeddings["gen_ai.usage.input_tokens"] > 0)
        self.assertNotIn("gen_ai.usage.output_tokens", embeddings)
        self.assertEqual([s.name for s in collector.of(collector.wait("GET /v1/models")[0].trace)], ["GET /v1/models"])
        self.assertNotIn(MARKER.encode(), collector.raw)

    def test_traceparent(self):
        collector = self.collector()
        bad = ["", "00", f"00-{TRACE}-{PARENT}", f"00-{TRACE.upper()}-{PARENT}-01", f"ff-{TRACE}-{PARENT}-01",
               f"00-{'0' * 32}-{PARENT}-01", f"00-{TRACE}-{'0' * 16}-01", f"00-{TRACE}-{PARENT}-01-x", "x" * 4000]
        with self.serve(collector) as server:
            self.chat(server, headers={"traceparent": f"00-{TRACE}-{PARENT}-01", "tracestate": "vendor=1"})
            self.chat(server, headers={"traceparent": f"00-{TRACE}-{PARENT}-00"})
            for value in bad:
                self.assertEqual(self.chat(server, headers={"traceparent": value})[0], 200)
            server.stop()
        roots = [s for s in collector.spans if s.name == CHAT]
        self.assertEqual(len(roots), 1 + len(bad))  # the one that said "not sampled" is not
        mine = [s for s in roots if s.trace == TRACE]
        self.assertEqual([(s.parent, s.state, s.flags) for s in mine], [(PARENT, "vendor=1", 0x301)])
        self.assertEqual({s.parent for s in roots if s.trace != TRACE}, {""})
        self.assertEqual(len({s.trace for s in roots}), len(roots))

    def test_sampling(self):
        for args, env, least, most in ((["--trace-sample", "0"], {}, 0, 0), (["--trace-sample", "0.5"], {}, 20, 80),
                                       ([], {"OTEL_TRACES_SAMPLER": "always_off"}, 0, 0),
                                       ([], {"OTEL_TRACES_SAMPLER": "parentbased_traceidratio",
                                             "OTEL_TRACES_SAMPLER_ARG": "0.5"}, 20, 80)):
            with self.subTest(args=args, env=env):
                collector = self.collector()
                with self.serve(collector, *args, env=env) as server:
                    for _ in range(100):
                        server.get("/v1/models")
                    self.chat(server, headers={"traceparent": f"00-{TRACE}-{PARENT}-01"})
                    server.stop()
                names = [s.name for s in collector.spans]
                self.assertTrue(least <= names.count("GET /v1/models") <= most, names.count("GET /v1/models"))
                self.assertEqual(names.count(CHAT), 0 if env.get("OTEL_TRACES_SAMPLER") == "always_off" else 1)

    def test_content_when_asked_for(self):
        collector = self.collector()
        with self.serve(collector, "--trace-content") as server:
            self.chat(server)
            self.chat(server, stream=True)
            server.post("/v1/messages", {"model": "m", "max_tokens": 20, "system": "Be kind.",
                                         "messages": [{"role": "user", "content": [{"type": "text", "text": MARKER}]}]})
            said = server.stop()
        self.assertRegex(said, r"warning: traces hold prompts and answers")
        self.assertNotIn(MARKER, said)
        for span in [*collector.wait("chat", 2), *collector.wait("chat m")]:
            asked = json.loads(span.attributes["gen_ai.input.messages"])
            given = json.loads(span.attributes["gen_ai.output.messages"])
            self.assertEqual(asked, [{"role": "user", "parts": [{"type": "text", "content": MARKER}]}])
            self.assertEqual([(m["role"], m["parts"], m["finish_reason"]) for m in given],
                             [("assistant", [{"type": "text", "content": ANSWER}], "stop")])
        system = collector.wait("chat m")[0].attributes["gen_ai.system_instructions"]
        self.assertEqual(json.loads(system), [{"type": "text", "content": "Be kind."}])

    def test_errors(self):
        collector = self.collector()
        with self.serve(collector) as server:
            self.chat(server, max_tokens=-5)
            self.chat(server, headers={"key": "hd-wrong"})
            self.chat(server, model=MARKER + "-of-no-model")
            server.stop()
        spans = collector.wait(CHAT, 3)
        self.assertEqual([s.attributes["http.response.status_code"] for s in spans], [400, 401, 404])
        self.assertEqual([s.failed for s in spans], [False] * 3)  # the client's errors
        self.assertNotIn(MARKER.encode(), collector.raw)

    def test_headers_and_paths(self):
        collector = self.collector()
        env = {**QUICK, "OTEL_EXPORTER_OTLP_TRACES_ENDPOINT": collector.url + "/some/where",
               "OTEL_EXPORTER_OTLP_HEADERS": "authorization=Basic%20c2VjcmV0,x-tenant=a"}
        with Server(self.model, env=env) as server:
            self.chat(server)
            said = server.stop()
        path, headers, _ = collector.requests[0]
        self.assertEqual((path, headers["authorization"], headers["x-tenant"]), ("/some/where", "Basic c2VjcmV0", "a"))
        self.assertNotIn("c2VjcmV0", said)

    def test_retries(self):
        def answer(number, _):
            return ((503, {"retry-after": "1"}, b""), (429, {}, b""))[number] if number < 2 else (200, {}, b"")

        collector = self.collector(answer)
        with self.serve(collector) as server:
            self.chat(server)
            collector.wait(CHAT)
            server.wait_for("hadal:trace_spans_dropped_total", 0)
            self.assertTrue(server.metric("hadal:trace_spans_exported_total") >= 2)
            said = server.stop()
        times = [at for _, _, at in collector.requests]
        self.assertTrue(0.9 < times[1] - times[0] < 3 and times[2] - times[1] > 0.9, times)
        self.assertEqual(len([line for line in said.splitlines() if "can't be sent" in line]), 1)
        self.assertIn("takes spans again", said)

    def test_partial_success_and_refusal(self):
        def answer(number, body):
            if number == 0:
                reply = ExportTraceServiceResponse()
                reply.partial_success.rejected_spans = 2
                reply.partial_success.error_message = "no"
                return 200, {}, reply.SerializeToString()
            return 400, {}, b"go away"

        collector = self.collector(answer)
        with self.serve(collector) as server:
            server.wait_for("hadal:trace_spans_dropped_total", 2)  # both of the model's load
            self.chat(server)
            server.wait_for("hadal:trace_spans_dropped_total", 7)
            self.assertEqual(len(collector.requests), 2)  # a 400 is not tried again
            server.stop()

    def test_collector_that_is_away_or_hangs(self):
        with socket.create_server(("127.0.0.1", 0)) as deaf:  # accepts by the kernel alone, and says nothing
            for url in ("http://127.0.0.1:1", f"http://127.0.0.1:{deaf.getsockname()[1]}"):
                env = {**QUICK, "OTEL_BSP_MAX_QUEUE_SIZE": "10", "OTEL_EXPORTER_OTLP_TIMEOUT": "60000"}
                with self.subTest(url=url), Server(self.model, args=["--otlp-endpoint", url], env=env) as server:
                    start = time.monotonic()
                    for _ in range(30):
                        self.assertEqual(self.chat(server)[0], 200)
                    self.assertLess(time.monotonic() - start, 10)
                    self.assertGreater(server.metric("hadal:trace_spans_dropped_total"), 30 * 5 - 30)
                    self.assertEqual(server.metric("hadal:trace_spans_exported_total"), 0)
                    self.assertEqual(server.get("/readyz")[0], 200)
                    start = time.monotonic()
                    server.stop()
                    self.assertLess(time.monotonic() - start, 8)

    def test_flush_at_the_end(self):
        collector = self.collector()
        with self.serve(collector, env={"OTEL_BSP_SCHEDULE_DELAY": "60000"}) as server:
            self.chat(server)
            self.assertEqual(collector.requests, [])
            server.stop()
        self.assertEqual(len([s for s in collector.spans if s.name == CHAT]), 1)

    def test_off(self):
        collector = self.collector()
        for env in ({}, {"OTEL_SDK_DISABLED": "true", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url},
                    {"OTEL_TRACES_EXPORTER": "none", "OTEL_EXPORTER_OTLP_ENDPOINT": collector.url}):
            with self.subTest(env=env), Server(self.model, env=env) as server:
                self.chat(server)
                self.assertNotIn("hadal:trace_spans_exported_total", server.metrics())
                server.stop()
        self.assertEqual(collector.requests, [])

    def test_settings_that_make_no_sense(self):
        cases = ((["--otlp-endpoint", "collector:4318"], {}, "--otlp-endpoint"),
                 (["--otlp-endpoint", "ftp://x"], {}, "http"),
                 (["--trace-content"], {}, "--otlp-endpoint"),
                 (["--otlp-endpoint", "http://collector:4318", "--trace-content"], {}, "https://"),
                 (["--otlp-endpoint", "http://localhost:1"], {"OTEL_TRACES_SAMPLER": "sometimes"}, "OTEL_TRACES_SAMPLER"),
                 (["--otlp-endpoint", "http://localhost:1"], {"OTEL_EXPORTER_OTLP_HEADERS": "secret"}, "HEADERS"),
                 (["--otlp-endpoint", "http://localhost:1"], {"OTEL_EXPORTER_OTLP_PROTOCOL": "grpc"}, "http/protobuf"))
        for args, env, text in cases:
            with self.subTest(args=args, env=env), self.assertRaises(NotStarted) as caught:
                Server(self.model, args=args, env=env).start()
            self.assertIn(text, caught.exception.said)
            self.assertNotRegex(caught.exception.said, re.compile(r"\bsecret\b"))


if __name__ == "__main__":
    unittest.main()
