"""A web server for tests, on 127.0.0.1: serves bytes from memory, and misbehaves when told to.

Each path has a Resource; `requests` keeps what was asked, in order.  Standard library only."""

import collections
import http.server
import socket
import struct
import threading
import urllib.parse

Request = collections.namedtuple("Request", "method path query headers")


class Resource:
    """What one path answers.  `faults` are consumed one a request, before the bytes are served as they should be:
    an int is a status code, ("cut", n) sends n bytes of the body and breaks the connection, ("retry-after", status,
    seconds) asks to wait, ("stall", seconds) sends a byte and then nothing for that time."""

    def __init__(self, body=b"", status=200, headers=None, ranges=True, etag=True, faults=()):
        self.body = body if isinstance(body, bytes) else body.encode()
        self.status, self.headers, self.ranges = status, dict(headers or {}), ranges
        self.etag = f'"{hash(self.body) & 0xFFFFFFFF:x}"' if etag is True else etag
        self.faults = collections.deque(faults)


class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def log_message(self, *args):
        pass

    def do_HEAD(self):
        self.do_GET()

    def do_GET(self):
        mock = self.server.mock
        url = urllib.parse.urlsplit(self.path)
        headers = {k.lower(): v for k, v in self.headers.items()}
        request = Request(self.command, url.path, url.query, headers)
        with mock.lock:
            mock.requests.append(request)
            resource = mock.resources.get(self.path) or mock.resources.get(url.path)
            fault = resource.faults.popleft() if resource and resource.faults else None
        if mock.handler:
            resource = mock.handler(request) or resource
        if not resource:
            resource = Resource(b"not here", status=404)
        self.answer(request, resource, fault)

    def answer(self, request, resource, fault):
        status, body, extra = resource.status, resource.body, dict(resource.headers)
        if isinstance(fault, int):
            status, body = fault, b"told to fail"
        elif fault and fault[0] == "retry-after":
            status, body = fault[1], b"later"
            extra["Retry-After"] = str(fault[2])
        start = 0
        if status == 200:
            if resource.etag:
                extra["ETag"] = resource.etag
            status, start = self.range(request, resource, extra)
            body = body[start:] if status != 416 else b""
        self.send_response(status)
        extra.setdefault("Content-Length", str(len(body)))
        for name, value in extra.items():
            self.send_header(name, value)
        self.end_headers()
        if request.method == "HEAD":
            return
        if isinstance(fault, tuple) and fault[0] == "cut":
            self.wfile.write(body[: fault[1]])
            self.wfile.flush()
            self.reset()
        elif isinstance(fault, tuple) and fault[0] == "stall":
            self.wfile.write(body[:1])
            self.wfile.flush()
            self.server.mock.stopping.wait(fault[1])
            self.wfile.write(body[1:])
        else:
            self.wfile.write(body)

    @staticmethod
    def range(request, resource, extra):
        """The status and the first byte to send."""
        wanted = request.headers.get("range")
        if not wanted or not resource.ranges:
            return 200, 0
        if request.headers.get("if-range", resource.etag) != resource.etag:
            return 200, 0
        start = int(wanted.removeprefix("bytes=").rstrip("-"))
        if start >= len(resource.body):
            extra["Content-Range"] = f"bytes */{len(resource.body)}"
            return 416, 0
        extra["Content-Range"] = f"bytes {start}-{len(resource.body) - 1}/{len(resource.body)}"
        return 206, start

    def reset(self):
        """Breaks the connection so that the client sees it at once."""
        self.connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        self.close_connection = True
        self.connection.close()
        self.wfile = self.rfile = open("/dev/null", "wb")


class MockServer:
    def __init__(self, tls_context=None):
        self.resources, self.requests = {}, []
        self.handler = None  # request -> Resource or None, before the resources
        self.lock, self.stopping = threading.Lock(), threading.Event()
        self.server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Handler)
        self.server.daemon_threads = True
        self.server.handle_error = lambda *args: None  # clients that leave are part of the tests
        self.server.mock = self
        if tls_context:
            self.server.socket = tls_context.wrap_socket(self.server.socket, server_side=True)
        self.port = self.server.server_address[1]
        self.scheme = "https" if tls_context else "http"
        self.url = f"{self.scheme}://127.0.0.1:{self.port}"
        threading.Thread(target=self.server.serve_forever, args=(0.02,), daemon=True).start()

    def close(self):
        self.stopping.set()
        self.server.shutdown()
        self.server.server_close()

    def add(self, path, *args, **named):
        self.resources[path] = resource = Resource(*args, **named)
        return resource

    def asked(self, path):
        return [request for request in self.requests if request.path == path]
