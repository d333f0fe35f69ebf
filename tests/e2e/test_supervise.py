"""`hadal serve --supervise`: workers that die, stand still, or are changed for new ones while clients are being answered."""

import http.client
import json
import os
import shutil
import signal
import socket
import subprocess
import tempfile
import threading
import time
import unittest
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

from scripted import PROGRAM, make_scripted
from server import NotStarted, Server, smollm2

MARKER = "Xanthippe-4711-confidential"
REPLY = "One two three four five six seven eight nine ten eleven twelve. " * 3
STREAMS = 100
# A sanitizer takes signals for itself, and its programs start slowly.
SANITIZED = any(mark in Path(PROGRAM).read_bytes() for mark in (b"__asan_init", b"__tsan_init"))
SLOW = 5 if SANITIZED else 1
GONE = (OSError, http.client.HTTPException)


def alive(pid):
    try:
        return Path(f"/proc/{pid}/stat").read_text().rsplit(")", 1)[1].split()[0] != "Z"
    except FileNotFoundError:
        return False


class Supervised(Server):
    def __init__(self, *models, args=(), program=None, **more):
        super().__init__(*models, args=["--supervise", *args], **more)
        if program:
            self.command[0] = str(program)

    def state(self):
        return json.loads(Path(self.data, "supervisor.json").read_text())

    def until(self, what, holds, seconds=20):
        end = time.monotonic() + seconds
        while not holds(state := self.state()):
            if time.monotonic() > end:
                raise AssertionError(f"not {what} after {seconds} s: {state}\n{self.said()}")
            time.sleep(0.02)
        return state

    def ready(self, but=None, seconds=20):
        return self.until("ready", lambda s: s["state"] == "ready" and s["worker"] != but, seconds)["worker"]

    def reports(self):
        folder = Path(self.data, "crashes")
        return [json.loads(p.read_text()) for p in sorted(folder.glob("*.json"))] if folder.exists() else []

    def hadal(self, *words):
        return subprocess.run([PROGRAM, words[0], "--data", self.data, *words[1:]], capture_output=True, text=True,
                              timeout=60, check=False)

    def ask(self, text="Hi", **more):
        return self.post("/v1/completions", {"prompt": text, "temperature": 0, **more})

    def stream(self, text, count):
        """The whole text of a stream; raises when it does not end as it should."""
        out, end = [], None
        for _, data in self.events("/v1/completions", {"prompt": text, "max_tokens": count, "temperature": 0}):
            if data == "[DONE]":
                end = data
            elif data["choices"]:
                out.append(data["choices"][0]["text"])
        assert end, "a stream ended without its end"
        return "".join(out)


class Pulse:
    """Asks for /readyz 20 times a second, and for a completion whenever that says yes: which must then succeed, unless
    what the test did (`disturb`) came between the two."""

    def __init__(self, server, patience=2):
        self.server, self.patience = server, patience
        self.disturbed, self.seen, self.lies, self.stop = [], [], [], threading.Event()

    def disturb(self):
        self.disturbed.append(time.monotonic())

    def run(self):
        while not self.stop.wait(0.05):
            begin, code, failed = time.monotonic(), None, None
            try:
                code = self.server.get("/readyz", timeout=self.patience)[0]
                if code == 200:
                    reply = self.server.ask(max_tokens=1, timeout=20)
                    failed = None if reply[0] == 200 else reply
            except GONE as error:
                failed = repr(error)
            end = time.monotonic()
            self.seen.append((begin, code))
            if code == 200 and failed and not any(begin - 0.05 <= t <= end for t in self.disturbed):
                self.lies.append((begin, failed))

    def __enter__(self):
        self.thread = threading.Thread(target=self.run)
        self.thread.start()
        return self

    def __exit__(self, *_):
        self.stop.set()
        self.thread.join()


class SuperviseCase(unittest.TestCase):
    @classmethod
    def setUpClass(cls):
        cls.folder = Path(tempfile.mkdtemp(prefix="hadal-supervise-"))
        cls.model = make_scripted(cls.folder / "m", [REPLY], repeat=True)
        cls.slow = make_scripted(cls.folder / "slow", [REPLY], repeat=True, delay_ms=30)

    @classmethod
    def tearDownClass(cls):
        shutil.rmtree(cls.folder, ignore_errors=True)


class Deaths(SuperviseCase):
    def test_kill(self):
        with Supervised(self.model) as server, Pulse(server) as pulse:
            for round_number in range(1, 3):
                worker = server.ready()
                self.assertEqual(server.ask(max_tokens=2)[0], 200)
                pulse.disturb()
                killed = time.monotonic()
                os.kill(worker, signal.SIGKILL)
                # a connection made now waits in the backlog, and is answered
                self.assertEqual(server.ask(max_tokens=2, timeout=10)[0], 200)
                self.assertLess(time.monotonic() - killed, 5)
                self.assertNotEqual(server.ready(but=worker), worker)
                self.assertEqual(server.metric("hadal:worker_crashes_total"), round_number)
                self.assertEqual(server.metric("hadal:worker_restarts_total"), round_number)
                self.assertLess(server.metric("hadal:worker_uptime_seconds"), 10)
            time.sleep(0.3)
        self.assertEqual(pulse.lies, [])
        self.assertIn(200, [code for _, code in pulse.seen])

    @unittest.skipIf(SANITIZED, "a sanitizer tells of the signal itself")
    def test_report_has_no_content(self):
        with Supervised(self.slow) as server:
            streams = [threading.Thread(target=self._lost, args=(server,)) for _ in range(4)]
            for one in streams:
                one.start()
            server.wait_for("vllm:num_requests_running", 4)
            time.sleep(1.2)  # the count in the report is taken once a second
            worker = server.ready()
            os.kill(worker, signal.SIGSEGV)
            for one in streams:
                one.join()
            server.ready(but=worker)
            report, = server.reports()
            self.assertEqual((report["signal"], report["signal_name"], report["pid"]), (11, "SIGSEGV", worker))
            self.assertEqual((report["requests_under_way"], report["models"]), (4, "slow"))
            self.assertEqual(report["ready"], True)
            self.assertGreater(report["uptime_seconds"], 1)
            self.assertRegex(report["build_id"], "^[0-9a-f]{40}$|^$")
            self.assertTrue(any(frame.startswith("hadal+0x") for frame in report["backtrace"]), report)
            everything = json.dumps(report) + server.said()
            for secret in (MARKER, server.key, "127.0.0.1", "twelve"):
                self.assertNotIn(secret, everything)
            self.assertEqual(list(Path.cwd().glob("core*")), [])

    def _lost(self, server):
        try:
            server.stream(MARKER, 2000)
        except (AssertionError, *GONE):
            pass

    def test_reports_are_few(self):
        with Supervised(self.model) as server:
            crashes = Path(server.data, "crashes")
            crashes.mkdir(mode=0o700)
            for i in range(30):
                (crashes / f"crash-20200101T0000{i:02}Z-1.json").write_text("{}")
            worker = server.ready()
            os.kill(worker, signal.SIGABRT)
            server.ready(but=worker)
            names = sorted(p.name for p in crashes.iterdir())
            self.assertEqual(len(names), 20)
            self.assertEqual(names[0], "crash-20200101T000011Z-1.json")
            self.assertIn(str(worker), names[-1])

    def test_watchdog(self):
        with Supervised(self.slow, args=["--watchdog", "5"]) as server, Pulse(server) as pulse:
            self.assertEqual(len(server.stream("A long answer is no standstill", 240)) > 100, True)  # 7 s
            self.assertEqual(server.state()["crashes"], 0)
            worker = server.ready()
            pulse.disturb()
            os.kill(worker, signal.SIGSTOP)
            stopped = time.monotonic()
            server.until("restarted", lambda s: s["worker"] not in (0, worker), 15 * SLOW)
            self.assertGreater(time.monotonic() - stopped, 4)
            server.ready(but=worker)
            report, = server.reports()
            self.assertEqual(report["signal_name"], "SIGABRT")
            self.assertIn("watchdog", report["reason"])
            self.assertEqual(server.ask(max_tokens=1)[0], 200)
        self.assertEqual(pulse.lies, [])

    def test_engine_that_hangs(self):
        stuck = make_scripted(self.folder / "stuck", [REPLY], delay_ms=6500)
        with Supervised(stuck, args=["--watchdog", "5"]) as server:
            worker = server.ready()  # whose first token took 6.5 s, too, but that was loading
            with self.assertRaises((AssertionError, *GONE)):
                server.stream("Hi", 2)
            server.until("restarted", lambda s: s["worker"] not in (0, worker), 15 * SLOW)
            report, = server.reports()
            self.assertEqual((report["signal_name"], report["reason"]), ("SIGABRT", "watchdog: the engine stood still"))

    def test_back_off(self):
        with Supervised(self.model) as server:
            waits, worker = [], server.ready()
            for _ in range(4):
                begin = time.monotonic()
                os.kill(worker, signal.SIGKILL)
                worker = server.ready(but=worker)
                waits.append(time.monotonic() - begin)
            self.assertLess(waits[0], 0.5 * SLOW)
            for got, least in zip(waits[1:], (0.5, 1, 2)):
                self.assertTrue(least <= got < least + 2 * SLOW, waits)
            self.assertIn("starts in 2.0 s", server.said())
            self.assertEqual(server.state()["crashes"], 4)

    def test_first_start_fails_as_it_does_alone(self):
        (self.folder / "bad.gguf").write_bytes(b"GGUF nonsense")
        for args, code in ((["--lora", "x"], 1), (["--tls-cert", "x"], 2)):
            with self.assertRaises(NotStarted) as caught:
                Supervised(self.model, args=args).start()
            self.assertEqual(caught.exception.code, code)
        with self.assertRaises(NotStarted) as caught:
            Supervised(self.folder / "bad.gguf").start()
        self.assertEqual(caught.exception.code, 1)

    def test_no_orphan(self):
        server = Supervised(self.model).start()
        worker = server.ready()
        server.process.kill()
        server.process.wait(10)
        end = time.monotonic() + 5
        while alive(worker) and time.monotonic() < end:
            time.sleep(0.02)
        self.assertFalse(alive(worker))
        said = server.hadal("status")
        self.assertEqual(said.returncode, 1)
        self.assertIn("no supervised service runs", said.stderr)
        with Supervised(self.model, data=server.data) as again:  # lock and socket are free
            self.assertEqual(again.get("/readyz")[0], 200)
        server._clean()


class Restarts(SuperviseCase):
    def run_streams(self, server, prompts, count, disturb):
        """Texts of streams that are all under way when `disturb` is called."""
        with ThreadPoolExecutor(len(prompts)) as pool:
            futures = [pool.submit(server.stream, prompt, count) for prompt in prompts]
            server.wait_for("vllm:num_requests_running", len(prompts), seconds=60)
            if disturb:
                disturb()
            return [future.result(timeout=300) for future in futures]

    def check_streams(self, server, count):
        prompts = [f"Number {i} says" for i in range(STREAMS)]
        expected = self.run_streams(server, prompts, count, None)
        worker = server.ready()

        def restart():
            said = server.hadal("restart")
            self.assertEqual((said.returncode, said.stderr), (0, ""))
            self.assertIn("restarted: the new worker was ready", said.stdout)
            self.assertNotEqual(server.state()["worker"], worker)
            self.assertEqual(server.state()["leaving"], worker)  # the streams are still under way

        with Pulse(server, patience=30) as pulse:
            self.assertEqual(self.run_streams(server, prompts, count, restart), expected)
        self.assertEqual([seen for seen in pulse.seen if seen[1] != 200], [])
        self.assertEqual(pulse.lies, [])
        server.until("gone", lambda s: not s["leaving"])
        self.assertFalse(alive(worker))
        self.assertEqual(server.state()["crashes"], 0)
        self.assertEqual(server.reports(), [])

    def test_streams(self):
        with Supervised(self.slow) as server:
            self.check_streams(server, 150)

    def test_streams_of_a_real_model(self):
        with Supervised(smollm2(), args=["--max-tokens", "64"]) as server:
            self.check_streams(server, 64)

    def test_kept_connections(self):
        """A client that keeps its connection is answered on it once more, and told to make a new one."""
        with Supervised(self.model) as server:
            connection = server.connect()
            for _ in range(2):
                connection.request("GET", "/readyz")
                self.assertEqual(connection.getresponse().read() != b"", True)
            worker = server.ready()
            self.assertEqual(server.hadal("restart").returncode, 0)
            connection.request("GET", "/readyz")
            response = connection.getresponse()
            response.read()
            self.assertEqual((response.status, response.getheader("connection")), (200, "close"))
            server.until("gone", lambda s: not s["leaving"])
            self.assertFalse(alive(worker))
            connection.close()

    def test_new_programs(self):
        place = self.folder / "bin"
        place.mkdir()
        program = place / "hadal"
        shutil.copy(PROGRAM, program)

        def replace(write):
            new = place / "new"
            write(new)
            os.chmod(new, 0o755)
            os.replace(new, program)

        with Supervised(self.slow, program=program) as server:
            worker = server.ready()
            replace(lambda new: new.write_text("#!/bin/sh\nexit 3\n"))
            with ThreadPoolExecutor(1) as pool:
                stream = pool.submit(server.stream, "Go on", 60)
                said = server.hadal("restart")
                self.assertEqual((said.returncode, said.stdout), (1, ""))
                self.assertIn("ended with exit code 3 before it was ready; the old one goes on", said.stderr)
                self.assertEqual(len(stream.result(60)) > 50, True)
            replace(lambda new: new.write_bytes(b"\0" * 100))
            said = server.hadal("restart", "--how", "beside")
            self.assertIn("the old one goes on", said.stderr)
            self.assertIn("can't be run: Exec format error", server.said())
            self.assertEqual((server.ready(), server.state()["crashes"]), (worker, 0))
            replace(lambda new: shutil.copy(PROGRAM, new))
            said = server.hadal("restart")
            self.assertEqual(said.returncode, 0, said.stderr)
            now = server.ready(but=worker)
            self.assertEqual(os.stat(f"/proc/{now}/exe").st_ino, program.stat().st_ino)
            self.assertEqual(server.ask(max_tokens=1)[0], 200)

    def test_options(self):
        options = self.folder / "options"
        options.write_text("# of the service\n\n--max-tokens  3\n--alias=other=m\n --queue 7 \n")
        with Supervised(self.model, args=["--options", options, "--queue", "9"]) as server:
            def tokens():
                return server.post("/v1/chat/completions", {"messages": [{"role": "user", "content": "Hi"}],
                                                            "model": "other"})[2]["usage"]["completion_tokens"]

            self.assertEqual(tokens(), 3)
            worker = server.ready()
            for text, why in (("--max-tokens 5\n--nonsense\n", "ended with exit code 2"), ("max-tokens 5\n", "code 2")):
                options.write_text(text)
                said = server.hadal("restart")
                self.assertEqual(said.returncode, 1)
                self.assertIn(why, said.stderr)
                self.assertEqual((server.ready(), tokens()), (worker, 3))
            self.assertIn("line 1: an option begins with --", server.said())
            options.write_text("--max-tokens 5\n--alias other=m")
            self.assertEqual(server.hadal("restart").returncode, 0)
            self.assertEqual(tokens(), 5)

    def test_in_place(self):
        with Supervised(self.slow) as server:
            worker = server.ready()
            with ThreadPoolExecutor(3) as pool:
                stream = pool.submit(server.stream, "Before", 100)
                server.wait_for("vllm:num_requests_running", 1)
                restart = pool.submit(server.hadal, "restart", "--how", "in-place")
                server.until("restarting", lambda s: s["state"] == "restarting")
                late = pool.submit(server.ask, "After", max_tokens=2)  # waits for the new one
                self.assertEqual(len(stream.result(60)) > 100, True)
                self.assertEqual(late.result(60)[0], 200)
                self.assertIn("restarted in place", restart.result(60).stdout)
            self.assertNotEqual(server.ready(), worker)
            self.assertEqual(server.state()["crashes"], 0)

    def test_one_at_a_time(self):
        with Supervised(self.slow) as server, ThreadPoolExecutor(1) as pool:
            stream = pool.submit(server.stream, "Long", 150)
            server.wait_for("vllm:num_requests_running", 1)
            self.assertEqual(server.hadal("restart").returncode, 0)
            said = server.hadal("restart")
            self.assertEqual(said.returncode, 1)
            self.assertIn("the former worker still ends its answers", said.stderr)
            os.kill(server.state()["worker"], signal.SIGKILL)  # and the third one follows while the first still answers
            self.assertEqual(len(stream.result(60)) > 100, True)
            self.assertEqual(server.ask(max_tokens=1)[0], 200)


class Signals(SuperviseCase):
    def test_term_lets_answers_end(self):
        server = Supervised(self.slow).start()
        with ThreadPoolExecutor(1) as pool:
            stream = pool.submit(server.stream, "Long", 100)
            server.wait_for("vllm:num_requests_running", 1)
            server.process.send_signal(signal.SIGTERM)
            self.assertEqual(len(stream.result(60)) > 100, True)
        said = server.stop(number=None)
        self.assertIn("shutting down", said)

    def test_second_signal_cuts(self):
        server = Supervised(self.slow).start()
        worker = server.ready()
        with ThreadPoolExecutor(1) as pool:
            stream = pool.submit(server.stream, "Long", 1000)
            server.wait_for("vllm:num_requests_running", 1)
            server.process.send_signal(signal.SIGTERM)
            server.until("stopping", lambda s: s["state"] == "stopping")
            os.kill(worker, signal.SIGTERM)  # an echo, as of a service manager that tells all processes: no second signal
            time.sleep(1)
            self.assertTrue(alive(worker))
            server.process.send_signal(signal.SIGTERM)
            self.assertIsInstance(stream.exception(20), (AssertionError, *GONE))
        server.stop(number=None)

    def test_certificates(self):
        with Supervised(self.model, args=["--tls-self-signed"]) as server:
            self.assertEqual(server.get("/readyz")[0], 200)
            server.process.send_signal(signal.SIGHUP)
            end = time.monotonic() + 10
            while "the certificates were read again" not in server.said():
                self.assertLess(time.monotonic(), end)
                time.sleep(0.05)
            self.assertEqual(server.hadal("restart").returncode, 0)
            self.assertEqual(server.get("/readyz")[0], 200)

    def test_systemd(self):
        """A socket that was opened for us, and notes: ready once, signs of life, the end."""
        listener = socket.create_server(("127.0.0.1", 0))
        notes = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        notes.bind(str(self.folder / "notify"))
        notes.settimeout(10)
        data = self.folder / "socket-data"
        script = 'exec 3<&"$1"; shift; export LISTEN_PID=$$ LISTEN_FDS=1 WATCHDOG_PID=$$; exec "$@"'
        environment = dict(os.environ, NOTIFY_SOCKET=str(self.folder / "notify"), WATCHDOG_USEC="4000000")
        server = subprocess.Popen(
            ["sh", "-c", script, "sh", str(listener.fileno()), PROGRAM, "serve", "--supervise", "--no-auth", "--data", str(data),
             str(self.model)],
            env=environment, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL, pass_fds=[listener.fileno()])
        try:
            port = listener.getsockname()[1]
            listener.close()
            said = []
            while "READY=1" not in said:
                said.append(notes.recv(4096).decode())
            self.assertEqual(server.stdout.readline().decode(), f"ready http://127.0.0.1:{port}\n")
            worker = json.loads((data / "supervisor.json").read_text())["worker"]
            os.kill(worker, signal.SIGKILL)
            with socket.create_connection(("127.0.0.1", port), timeout=10) as client:
                client.sendall(b"GET /livez HTTP/1.1\r\nHost: localhost\r\n\r\n")
                self.assertEqual(client.recv(12), b"HTTP/1.1 200")
            server.send_signal(signal.SIGTERM)
            while said[-1] != "STOPPING=1":
                said.append(notes.recv(4096).decode())
            self.assertEqual(server.wait(20), 0)
            self.assertEqual((said.count("READY=1"), "WATCHDOG=1" in said), (1, True))
            self.assertEqual(server.stdout.read(), b"")
        finally:
            server.kill()
            server.wait()
            server.stdout.close()
            notes.close()

    def test_one_service_per_folder(self):
        with Supervised(self.model) as server:
            for more in ([], ["--supervise"]):
                other = subprocess.run([PROGRAM, "serve", str(self.model), "--port", "0", "--data", server.data, *more],
                                       capture_output=True, text=True, timeout=60, check=False)
                self.assertEqual(other.returncode, 1)
                self.assertIn(f"in use by another hadal (process {server.process.pid})", other.stderr)
            said = server.hadal("status")
            self.assertEqual(said.returncode, 0)
            self.assertIn(f"supervisor   process {server.process.pid}", said.stdout)
            self.assertEqual(json.loads(server.hadal("status", "--json").stdout), server.state())


if __name__ == "__main__":
    unittest.main()
