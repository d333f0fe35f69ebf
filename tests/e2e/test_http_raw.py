#!/usr/bin/env python3
"""Bytes on the wire: requests cut in any way, pipelined, half-closed, malformed, smuggled; clients that leave early.

All of it against a live `hadal serve`.  The parser's own tests (tests/unit/server) know far more cases; these show that
nothing between the socket and the gateway undoes its work.  Standard library only.
"""

import json
import os
import random
import socket
import struct
import threading
import time
import unittest

import models
from server import TIMEOUT, Case, Server

HIDDEN = b"GET /v1/xyzzy HTTP/1.1\r\nHost: a\r\n\r\n"  # a smuggled request would be answered with 404


class Raw(Case):
    @classmethod
    def serve(cls):
        return Server(models.tiny(), models.slow(300), args=["--max-body", "1"])

    def connect(self):
        connection = socket.create_connection((self.server.host, self.server.port), TIMEOUT)
        connection.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
        self.addCleanup(connection.close)
        return connection

    def head(self, line, *headers):
        lines = [line, "Host: localhost", f"Authorization: Bearer {self.server.key}", *headers]
        return ("\r\n".join(lines) + "\r\n\r\n").encode()

    def post(self, body, *headers, path="/v1/completions"):
        data = body if isinstance(body, bytes) else json.dumps(body).encode()
        return self.head(f"POST {path} HTTP/1.1", f"Content-Length: {len(data)}", *headers) + data

    def replies(self, data):
        """Each reply of those bytes as (status, headers, body)."""
        out = []
        while data:
            head, _, data = data.partition(b"\r\n\r\n")
            status, *lines = head.decode().split("\r\n")
            headers = {name.lower(): value for name, _, value in (line.partition(": ") for line in lines)}
            self.assertRegex(status, r"^HTTP/1\.1 \d\d\d ")
            if headers.get("transfer-encoding") == "chunked":
                body = b""
                while True:
                    size, _, data = data.partition(b"\r\n")
                    body, data = body + data[: int(size, 16)], data[int(size, 16) + 2 :]
                    if int(size, 16) == 0:
                        break
            else:
                size = int(headers.get("content-length", 0))
                self.assertGreaterEqual(len(data), size)
                body, data = data[:size], data[size:]
            out.append((int(status.split()[1]), headers, body))
        return out

    def all(self, connection):
        """What comes until the server closes."""
        data = b""
        try:
            while piece := connection.recv(65536):
                data += piece
        except ConnectionResetError:
            pass
        return data

    def ask(self, *pieces, close=True, pause=0):
        """The replies to these bytes; `close`: the client ends its direction behind them."""
        connection = self.connect()
        try:
            for piece in pieces:
                connection.sendall(piece)
                if pause:
                    time.sleep(pause)
            if close:
                connection.shutdown(socket.SHUT_WR)
        except (BrokenPipeError, ConnectionResetError, OSError):
            pass  # refused before all was written
        return self.replies(self.all(connection))


class Cut(Raw):
    BODY = {"model": "tiny", "prompt": "abc \u00e9"}

    def check(self, replies, count=1):
        self.assertEqual([status for status, _, _ in replies], [200] * count)
        for _, headers, body in replies:
            self.assertEqual(json.loads(body)["choices"][0]["text"], models.HELLO)

    def test_byte_by_byte(self):
        data = self.post(self.BODY, "Connection: close")
        self.check(self.ask(*(data[i : i + 1] for i in range(len(data))), close=False, pause=0.0005))

    def test_in_pieces_of_any_size(self):
        chunked = self.head("POST /v1/completions HTTP/1.1", "Transfer-Encoding: chunked")
        body = json.dumps(self.BODY).encode()
        for n in [1, 7, 100]:
            chunked_body = b"".join(b"%x\r\n%s\r\n" % (len(body[i : i + n]), body[i : i + n]) for i in range(0, len(body), n))
            data = chunked + chunked_body + b"0\r\n\r\n"
            rng = random.Random(n)
            cuts = sorted(rng.sample(range(1, len(data)), 5))
            self.check(self.ask(*(data[a:b] for a, b in zip([0, *cuts], [*cuts, len(data)])), pause=0.002))

    def test_pipelined(self):
        one = self.post(self.BODY)
        self.check(self.ask(one * 10), 10)
        version = self.head("GET /version HTTP/1.1")
        statuses = [status for status, _, _ in self.ask(version + one + self.head("GET /v1/xyzzy HTTP/1.1") + version)]
        self.assertEqual(statuses, [200, 200, 404, 200])

    def test_pipelined_behind_a_stream(self):
        stream = self.post({**self.BODY, "stream": True})
        first, second = self.ask(stream + self.post(self.BODY))
        self.assertEqual(first[1]["content-type"], "text/event-stream; charset=utf-8")
        self.assertTrue(first[2].endswith(b"data: [DONE]\n\n"))
        self.check([second])

    def test_half_closed(self):
        """A client that has said all it wants to still hears the answer, also one that takes its time."""
        self.check(self.ask(self.post(self.BODY)))
        ((status, _, body),) = self.ask(self.post({"model": "slow-300", "prompt": "a", "max_tokens": 3}))
        self.assertEqual((status, json.loads(body)["usage"]["completion_tokens"]), (200, 3))
        ((status, _, body),) = self.ask(self.post({"model": "slow-300", "prompt": "a", "max_tokens": 3, "stream": True}))
        self.assertTrue(body.endswith(b"data: [DONE]\n\n"))

    def test_cut_off(self):
        """Half a request and FIN: no answer as if it were whole, and no waiting."""
        data = self.post(self.BODY)
        for end in [1, 30, len(data) - 1]:
            start = time.monotonic()
            replies = self.ask(data[:end])
            self.assertLess(time.monotonic() - start, 5)
            self.assertNotIn(200, [status for status, _, _ in replies])

    def test_expect(self):
        connection = self.connect()
        data = json.dumps(self.BODY).encode()
        connection.sendall(self.head("POST /v1/completions HTTP/1.1", "Expect: 100-continue", f"Content-Length: {len(data)}", "Connection: close"))
        self.assertEqual(connection.recv(25), b"HTTP/1.1 100 Continue\r\n\r\n")
        connection.sendall(data)
        self.check(self.replies(self.all(connection)))

    def test_old_clients(self):
        body = json.dumps({**self.BODY, "stream": True}).encode()
        head = f"POST /v1/completions HTTP/1.0\r\nAuthorization: Bearer {self.server.key}\r\nContent-Length: {len(body)}\r\n\r\n"
        connection = self.connect()
        connection.sendall(head.encode() + body)
        data = self.all(connection)
        self.assertNotIn(b"chunked", data.lower())
        self.assertTrue(data.endswith(b"data: [DONE]\n\n"), data)


class Malformed(Raw):
    def refused(self, data, *statuses):
        """One reply, with one of these statuses, and the end: nothing behind it is read."""
        replies = self.ask(data, close=False)
        self.assertEqual(len(replies), 1, replies)
        status, headers, body = replies[0]
        self.assertIn(status, statuses or [400], (data[:200], body))
        self.assertEqual(headers["connection"], "close")
        if headers.get("content-type", "").startswith("application/json"):
            self.assertIn("error", json.loads(body))

    def test_smuggled(self):
        post = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\n"
        chunks = b"0\r\n\r\n"
        length = b"Content-Length: %d\r\n" % len(chunks)
        for name, headers, body, *statuses in [
            ("CL.TE", length + b"Transfer-Encoding: chunked\r\n", chunks),
            ("TE.CL", b"Transfer-Encoding: chunked\r\n" + length, chunks),
            ("CL.CL", b"Content-Length: 5\r\nContent-Length: 0\r\n", chunks),
            ("CL.CL, the same", length * 2, chunks),
            ("CL, CL", b"Content-Length: 5, 5\r\n", chunks),
            ("CL +", b"Content-Length: +5\r\n", chunks),
            ("CL -", b"Content-Length: -5\r\n", chunks),
            ("CL hexadecimal", b"Content-Length: 0x5\r\n", chunks),
            ("CL with zeros", b"Content-Length: 005\r\n", chunks),
            ("CL beyond 64 bits", b"Content-Length: 18446744073709551621\r\n", chunks, 400, 413),
            ("CL empty", b"Content-Length:\r\n", chunks),
            ("CL with a blank inside", b"Content-Length: 5 0\r\n", chunks),
            ("CL with a tail", b"Content-Length: 5x\r\n", chunks),
            ("CL with a blank before the colon", b"Content-Length : 5\r\n", chunks),
            ("TE with a blank before the colon", b"Transfer-Encoding : chunked\r\n", chunks),
            ("TE xchunked", b"Transfer-Encoding: xchunked\r\n", chunks, 400, 501),
            ("TE twice", b"Transfer-Encoding: chunked\r\nTransfer-Encoding: chunked\r\n", chunks),
            ("TE chunked, chunked", b"Transfer-Encoding: chunked, chunked\r\n", chunks, 400, 501),
            ("TE chunked, identity", b"Transfer-Encoding: chunked, identity\r\n", chunks, 400, 501),
            ("TE gzip, chunked", b"Transfer-Encoding: gzip, chunked\r\n", chunks, 400, 501),
            ("TE identity", b"Transfer-Encoding: identity\r\n" + length, chunks, 400, 501),
            ("TE in capitals", b"Transfer-Encoding: Chunked\r\n", chunks, 400, 501),
            ("TE quoted", b'Transfer-Encoding: "chunked"\r\n', chunks, 400, 501),
            ("TE with a vertical tab", b"Transfer-Encoding:\x0bchunked\r\n", chunks),
            ("TE with NUL", b"Transfer-Encoding: chunked\0\r\n", chunks),
            ("TE folded", b"Transfer-Encoding:\r\n chunked\r\n", chunks),
            ("TE behind LF", b"X: y\nTransfer-Encoding: chunked\r\n", chunks),
            ("TE behind CR", b"X: y\rTransfer-Encoding: chunked\r\n", chunks),
            ("TE behind NUL", b"X\0: y\r\nTransfer-Encoding: chunked\r\n", chunks),
            ("TE of HTTP/1.0", b"Transfer-Encoding: chunked\r\n", chunks),
            ("folded", b"X: y\r\n z\r\n", b""),
            ("a line without colon", b"X\r\n", b""),
            ("a name with a blank", b"X y: z\r\n", b""),
            ("two hosts", b"Host: b\r\n", b""),
            ("two keys", b"Authorization: Bearer a\r\nAuthorization: Bearer b\r\n", b""),
        ]:
            with self.subTest(name):
                first = post.replace(b"1.1", b"1.0") if "1.0" in name else post
                self.refused(first + headers + b"\r\n" + body + HIDDEN, *statuses)

    def test_chunks(self):
        head = b"POST /v1/completions HTTP/1.1\r\nHost: a\r\nTransfer-Encoding: chunked\r\n\r\n"
        for name, body in [
            ("+", b"+0\r\n\r\n"),
            ("-", b"-1\r\n\r\n"),
            ("0x", b"0x0\r\n\r\n"),
            ("a blank before", b" 0\r\n\r\n"),
            ("a blank behind", b"0 \r\n\r\n"),
            ("none", b"\r\n\r\n"),
            ("no digit", b"g\r\n\r\n"),
            ("beyond 64 bits", b"1" + b"0" * 16 + b"\r\n"),
            ("LF", b"1\nx\r\n0\r\n\r\n"),
            ("LF behind the data", b"1\r\nx\n0\r\n\r\n"),
            ("data too long", b"1\r\nxy\r\n0\r\n\r\n"),
            ("LF at the end", b"0\r\n\n"),
            ("LF in an extension", b"0;a\nb\r\n\r\n"),
            ("a length in the trailers", b"0\r\nContent-Length: 5\r\n\r\n"),
            ("a folded trailer", b"0\r\nX: y\r\n z\r\n\r\n"),
        ]:
            with self.subTest(name):
                self.refused(head + body + HIDDEN, 400)
        for size in [b"fffffffffffffff0", b"200000"]:  # past the limit of bodies, 1 MiB here
            self.refused(head + size + b"\r\n" + b"x" * 100, 413)

    def test_lines(self):
        for name, data, *statuses in [
            ("LF", b"GET / HTTP/1.1\nHost: a\n\n"),
            ("HTTP/0.9", b"GET /\r\n"),
            ("HTTP/2", b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505),
            ("HTTP/1.2", b"GET / HTTP/1.2\r\nHost: a\r\n\r\n", 505),
            ("two blanks", b"GET  / HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("CONNECT", b"CONNECT a:80 HTTP/1.1\r\nHost: a:80\r\n\r\n", 501),
            ("no host", b"GET / HTTP/1.1\r\n\r\n"),
            ("TLS", b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03"),
            ("another host", b"GET http://b/ HTTP/1.1\r\nHost: a\r\n\r\n"),
            ("a long line", b"GET /" + b"a" * 9000 + b" HTTP/1.1\r\nHost: a\r\n\r\n", 414),
            ("a long head", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: " + b"y" * 40000 + b"\r\n\r\n", 431),
            ("many headers", b"GET / HTTP/1.1\r\nHost: a\r\n" + b"X: y\r\n" * 200 + b"\r\n", 431),
            ("an expectation", b"POST / HTTP/1.1\r\nHost: a\r\nExpect: x\r\nContent-Length: 1\r\n\r\n", 417),
            ("a body that is too long", b"POST /tokenize HTTP/1.1\r\nHost: a\r\nContent-Length: 1048577\r\n\r\n", 413),
        ]:
            with self.subTest(name):
                self.refused(data + HIDDEN, *statuses)

    def test_garbage(self):
        """Whatever comes, the server answers with an error or closes, and goes on."""
        rng = random.Random(1)
        good = self.post({"prompt": "abc", "max_tokens": 1})
        for _ in range(150):
            data = bytearray(good)
            for _ in range(rng.randint(1, 6)):
                at = rng.randrange(len(data))
                data[at : at + rng.randint(0, 3)] = rng.randbytes(rng.randint(0, 3))
            replies = self.ask(bytes(data))
            for status, _, _ in replies:
                self.assertNotIn(status // 100, [5] if status not in [501, 505] else [], bytes(data))
        self.assertEqual(self.server.get("/version")[0], 200)


class Leaving(Raw):
    MODEL = "slow-300"  # a token every 300 ms: one step

    def begin(self, **more):
        connection = self.connect()
        connection.sendall(self.post({"model": self.MODEL, "prompt": "a", "max_tokens": 1000, **more}))
        self.server.wait_for("vllm:num_requests_running", 1, model=self.MODEL)
        return connection

    def gone(self):
        """Within a step, and a little for the test itself."""
        took = self.server.wait_for("vllm:num_requests_running", 0, model=self.MODEL, seconds=5)
        self.assertLess(took, 0.3 + 0.25)

    def test_before_the_first_byte(self):
        for stream in [False, True]:
            self.begin(stream=stream).close()
            self.gone()

    def test_by_reset(self):
        connection = self.begin()
        connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        connection.close()
        self.gone()

    def test_killed(self):
        """A process that dies leaves nothing behind that speaks for it."""
        listening = self.connect()
        child = os.fork()
        if child == 0:
            listening.sendall(self.post({"model": self.MODEL, "prompt": "a", "max_tokens": 1000}))
            time.sleep(60)
            os._exit(0)
        listening.close()
        self.server.wait_for("vllm:num_requests_running", 1, model=self.MODEL)
        os.kill(child, 9)
        os.waitpid(child, 0)
        self.gone()

    def test_in_the_queue(self):
        """One that waits is forgotten, too."""
        with Server(models.slow(300), args=["--batch", "1"]) as server:
            events = server.events("/v1/completions", {"prompt": "a", "max_tokens": 1000})
            next(events)
            waiting = threading.Thread(target=lambda: self.assertRaises(OSError, server.post, "/v1/completions", {"prompt": "a"}, timeout=1))
            waiting.start()
            server.wait_for("vllm:num_requests_waiting", 1)
            waiting.join(TIMEOUT)
            server.wait_for("vllm:num_requests_waiting", 0, seconds=1)
            events.close()

    def test_slow_readers_stop_nobody(self):
        """A client that does not read holds its own answer only."""
        with Server(f"endless={models.slow(0)}", models.tiny()) as server:
            lazy = socket.socket()
            self.addCleanup(lazy.close)
            lazy.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 4096)
            lazy.connect((server.host, server.port))
            body = json.dumps({"model": "endless", "prompt": "a", "stream": True, "max_tokens": 8000, "logprobs": 20}).encode()
            lazy.sendall(f"POST /v1/completions HTTP/1.1\r\nHost: a\r\nAuthorization: Bearer {server.key}\r\n"
                         f"Content-Length: {len(body)}\r\n\r\n".encode() + body)
            server.wait_for("vllm:num_requests_swapped", 1, seconds=20)
            events = list(server.events("/v1/completions", {"model": "endless", "prompt": "a", "max_tokens": 100}))
            self.assertEqual(events[-1][1], "[DONE]")
            data = b""
            while not data.endswith(b"data: [DONE]\n\n\r\n0\r\n\r\n"):
                piece = lazy.recv(1 << 20)
                self.assertTrue(piece, data[-200:])
                data += piece
            lazy.close()


if __name__ == "__main__":
    unittest.main()
