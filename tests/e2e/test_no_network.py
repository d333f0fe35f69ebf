#!/usr/bin/env python3
"""`hadal serve` opens no connection outward: it runs in a network namespace of its own, whose only way out is a pair of
interfaces that this test listens on.  Every frame that leaves must be part of an answer to this test's own requests.
Needs root (skipped without).  Standard library and iproute2 only.
"""

import contextlib
import os
import re
import shutil
import socket
import struct
import subprocess
import threading
import time
import unittest

import models
from server import TIMEOUT, Server

INSIDE, OUTSIDE = "10.213.77.2", "10.213.77.1"  # of a private range; nothing else is here
ETH_ALL, ETH_IPV4, ETH_ARP = 3, 0x0800, 0x0806
TCP = 6
SYN, ACK = 0x02, 0x10


def ip(*words):
    subprocess.run(["ip", *words], check=True, capture_output=True, timeout=TIMEOUT)


class Watch(threading.Thread):
    """Collects what comes out of the namespace."""

    def __init__(self, interface):
        super().__init__(daemon=True)
        self.socket = socket.socket(socket.AF_PACKET, socket.SOCK_RAW, socket.htons(ETH_ALL))
        self.socket.setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 1 << 24)
        self.socket.bind((interface, ETH_ALL))
        self.frames, self.over = [], False

    def run(self):
        self.socket.settimeout(0.1)
        while not self.over:
            with contextlib.suppress(TimeoutError):
                data, (_, _, kind, *_) = self.socket.recvfrom(65536)
                if kind != socket.PACKET_OUTGOING:  # that is what this test sends into it
                    self.frames.append(data)

    def stop(self):
        time.sleep(0.3)  # the last ones are still on their way
        self.over = True
        self.join()
        self.socket.close()


def describe(frame):
    """(protocol, source port, flags) of a frame, or a text that says what else it is."""
    (kind,) = struct.unpack_from("!H", frame, 12)
    if kind != ETH_IPV4:
        return "ARP" if kind == ETH_ARP else f"frame of type {kind:#x}"
    protocol, target, at = frame[23], socket.inet_ntoa(frame[30:34]), 14 + (frame[14] & 15) * 4
    if protocol != TCP or target != OUTSIDE:
        return f"IP protocol {protocol} to {target}: {frame[at:at + 64]!r}"
    return TCP, struct.unpack_from("!H", frame, at)[0], frame[at + 13]


class NoNetwork(unittest.TestCase):
    def setUp(self):
        if os.geteuid() != 0 or not shutil.which("ip"):
            self.skipTest("only root can make a network namespace, and by iproute2's ip")
        self.space, self.out = f"hadal{os.getpid()}", f"hd{os.getpid() % 100000}a"
        inner = f"hd{os.getpid() % 100000}b"
        try:
            ip("netns", "add", self.space)
        except subprocess.CalledProcessError as error:
            self.skipTest(f"no network namespace can be made here: {error.stderr.decode().strip()}")
        self.addCleanup(subprocess.run, ["ip", "netns", "del", self.space], check=False, capture_output=True)
        ip("link", "add", self.out, "type", "veth", "peer", "name", inner)
        self.addCleanup(subprocess.run, ["ip", "link", "del", self.out], check=False, capture_output=True)
        ip("link", "set", inner, "netns", self.space)
        # the kernel's own IPv6 speaks by itself (router and neighbour discovery); ours would be seen as IPv4 just as well
        self.inside("sh", "-c", "echo 1 > /proc/sys/net/ipv6/conf/all/disable_ipv6 || true")
        ip("addr", "add", f"{OUTSIDE}/30", "dev", self.out)
        ip("-n", self.space, "addr", "add", f"{INSIDE}/30", "dev", inner)
        ip("-n", self.space, "link", "set", "lo", "up")
        ip("link", "set", self.out, "up")
        self.watch = Watch(self.out)  # before the other end is up
        self.watch.start()
        ip("-n", self.space, "link", "set", inner, "up")
        ip("-n", self.space, "route", "add", "default", "via", OUTSIDE)  # there is a way to everywhere, if one wanted

    def inside(self, *words):
        command = ["ip", "netns", "exec", self.space, *words]
        return subprocess.run(command, check=False, capture_output=True, text=True, timeout=TIMEOUT).stdout

    def counter(self, protocol, name):
        names, values = re.findall(rf"^{protocol}: (.*)$", self.inside("cat", "/proc/net/snmp"), re.MULTILINE)
        return int(dict(zip(names.split(), values.split()))[name])

    def test_only_answers_leave(self):
        server = Server(models.tiny(), models.r1(), args=["--host", INSIDE, "--idle", "1"], prefix=["ip", "netns", "exec", self.space])
        with server:
            for path in ["/livez", "/readyz", "/version", "/openapi.json", "/v1/models", "/metrics"]:
                self.assertEqual(server.get(path)[0], 200, path)
            chat = {"messages": [{"role": "user", "content": "See http://example.org/x.png and http://192.0.2.7/"}]}
            self.assertEqual(server.post("/v1/chat/completions", {**chat, "model": "tiny"})[0], 200)
            self.assertEqual(list(server.events("/v1/chat/completions", {**chat, "model": "r1"}))[-1][1], "[DONE]")
            self.assertEqual(server.post("/v1/messages", {**chat, "max_tokens": 9})[0], 200)
            self.assertEqual(server.post("/v1/embeddings", {"input": "a"})[0], 200)
            self.assertEqual(server.post("/models/unload", {"model": "tiny"})[0], 200)
            self.assertEqual(server.post("/models/load", {"model": "tiny"})[0], 200)
            for bad in [b"garbage", b'{"messages": "http://example.org"}']:
                self.assertEqual(server.post("/v1/chat/completions", bad)[0], 400)
            self.assertEqual(server.get("/v1/models", key="hd-" + "A" * 43)[0], 401)
            time.sleep(2)  # what it does by itself (the keeper, idle models) counts, too
            opened, datagrams = self.counter("Tcp", "ActiveOpens"), self.counter("Udp", "OutDatagrams")
            port = server.port
        self.watch.stop()
        seen = [describe(frame) for frame in self.watch.frames]
        answers = [one for one in seen if isinstance(one, tuple)]
        self.assertEqual([one for one in seen if one != "ARP" and not isinstance(one, tuple)], [])
        self.assertGreater(len(answers), 50)  # the watch works
        for _, source, flags in answers:
            self.assertEqual(source, port)
            self.assertFalse(flags & SYN and not flags & ACK, "a connection was opened outward")
        self.assertEqual((opened, datagrams), (0, 0))  # neither on an interface that is not watched: no DNS at 127.0.0.53

    def test_the_watch_would_see_it(self):
        """A name that is looked up, and a connection that is tried, from inside."""
        script = "import socket; s=socket.socket(socket.AF_INET, socket.SOCK_DGRAM); s.sendto(b'x', ('192.0.2.1', 53)); " \
                 "t=socket.socket(); t.settimeout(0.2); t.connect(('192.0.2.1', 80))"
        self.inside("python3", "-c", script)
        self.watch.stop()
        self.assertEqual(len([frame for frame in self.watch.frames if str(describe(frame)).startswith("IP protocol 17 to 192.0.2.1")]), 1)
        self.assertGreaterEqual(len([frame for frame in self.watch.frames if str(describe(frame)).startswith("IP protocol 6 to 192.0.2.1")]), 1)
        self.assertEqual((self.counter("Tcp", "ActiveOpens"), self.counter("Udp", "OutDatagrams")), (1, 1))


if __name__ == "__main__":
    unittest.main()
