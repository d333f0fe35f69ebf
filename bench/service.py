"""What the benchmarks of the service share: programs that serve, the load generator, and words about the machine.

Each command prints machine, model, command and figures; a peer's or a yardstick's figure stands beside ours, from rounds
in alternation, so that a noisy minute meets both; of several rounds the median counts.
"""
import json
import os
import random
import re
import signal
import socket
import statistics
import subprocess
import sys
import tempfile
import time
import urllib.request

ROOT = os.path.dirname(os.path.dirname(os.path.abspath(__file__)))
BUILD = os.path.join(ROOT, "build/release")
SMOLLM2 = os.environ.get("HD_SMOLLM2", os.path.expanduser(
    "~/.local/share/hadal/models/smollm2-135m/SmolLM2-135M-Instruct.Q4_1.gguf"))


def die(text):
    sys.exit(f"{os.path.join('bench', os.path.basename(sys.argv[0]))}: {text}")


def add_options(parser):
    parser.add_argument("--program", default=os.path.join(BUILD, "hadal"), help="the hadal program")
    parser.add_argument("--tools", default=os.path.join(BUILD, "bench"), help="folder of load and constant-server")
    parser.add_argument("--json", action="store_true", help="print one object")


# ---- programs that serve ----

class Server:
    """A child process that answers HTTP on `port` of this machine; ends with the `with` block."""

    def __init__(self, command, environment=None, name=None):
        self.command = [str(c) for c in command]
        self.environment = environment or {}
        self.name = name or os.path.basename(self.command[0])
        self.log = tempfile.TemporaryFile()
        self.process = subprocess.Popen(self.command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=self.log,
                                        env={**os.environ, **self.environment}, text=True)
        self.port = None

    def __enter__(self):
        return self

    def __exit__(self, *_):
        self.stop()

    def said(self):
        self.log.seek(0)
        return self.log.read().decode("utf-8", "replace").strip()

    def failed(self, why):
        self.process.kill()
        self.process.wait()
        last = (self.said().splitlines() or ["no message"])[-1]
        die(f"{self.name} {why}: {last}")

    def wait_line(self):
        """The port in the line `ready URL` or `ready PORT`."""
        line = self.process.stdout.readline()
        found = re.match(r"ready (?:\S*:)?(\d+)\s*$", line)
        if not found:
            self.failed("did not start")
        self.port = int(found.group(1))
        return self

    def wait_health(self, port, path="/health", seconds=120):
        self.port = port
        end = time.monotonic() + seconds
        while time.monotonic() < end and self.process.poll() is None:
            try:
                urllib.request.urlopen(self.url(path), timeout=5).close()
                return self
            except OSError:
                time.sleep(0.1)
        return self.failed("did not start")

    def url(self, path=""):
        return f"http://127.0.0.1:{self.port}{path}"

    def resident(self):
        """Bytes of memory in use."""
        with open(f"/proc/{self.process.pid}/statm", encoding="ascii") as file:
            return int(file.read().split()[1]) * os.sysconf("SC_PAGESIZE")

    def stop(self):
        """SIGTERM, then patience; the exit code."""
        if self.process.poll() is None:
            self.process.send_signal(signal.SIGTERM)
            self.process.stdin.close()
            try:
                self.process.wait(timeout=60)
            except subprocess.TimeoutExpired:
                self.process.kill()
                self.process.wait()
        return self.process.returncode

    def metric(self, name):
        """The sum over all labels."""
        with urllib.request.urlopen(self.url("/metrics"), timeout=30) as page:
            lines = page.read().decode().splitlines()
        return sum(float(line.rsplit(" ", 1)[1]) for line in lines if re.match(re.escape(name) + r"[ {]", line))


def hadal(args, model, folder, *flags, auth=False):
    command = [args.program, "serve", model, "--port", "0", "--data", os.path.join(folder, "data"), "--log", "warn",
               *([] if auth else ["--no-auth"]), *flags]
    return Server(command, {"LLVM_PROFILE_FILE": "/dev/null"}, "hadal serve").wait_line()


def hadal_key(args, folder, name):
    done = subprocess.run([args.program, "key", "create", "--data", os.path.join(folder, "data"), "--name", name],
                          capture_output=True, text=True, check=False)
    if done.returncode:
        die(f"hadal key: {done.stderr.strip()}")
    return done.stdout.split()[-1]


def constant(args, size):
    """A server whose every reply has `size` bytes."""
    return Server([os.path.join(args.tools, "constant-server"), size]).wait_line()


def free_port():
    with socket.socket() as s:
        s.bind(("127.0.0.1", 0))
        return s.getsockname()[1]


def llama(program, model, *flags):
    """llama.cpp's server; NAME=VALUE among the flags goes into its environment."""
    port = free_port()
    environment = {"LD_LIBRARY_PATH": os.path.dirname(os.path.abspath(program))}
    environment.update(f.split("=", 1) for f in flags if re.match(r"[A-Z_]+=", f))
    flags = [f for f in flags if not re.match(r"[A-Z_]+=", f)]
    return Server([program, "-m", model, "--host", "127.0.0.1", "--port", port, *flags],
                  environment, "llama-server").wait_health(port)


# ---- load ----

def load(args, server, path, *flags, body=None, bodies=None, key=None):
    """What the load generator prints; `body` is an object that every request has, `bodies` a list of them."""
    with tempfile.NamedTemporaryFile("w", suffix=".json") as file:
        for one in bodies or [body]:
            file.write(json.dumps(one) + "\n")
        file.flush()
        command = [os.path.join(args.tools, "load"), "--port", server.port, "--path", path,
                   "--bodies" if bodies else "--body", file.name, *flags]
        if key:
            command += ["--header", f"Authorization: Bearer {key}"]
        done = subprocess.run([str(c) for c in command], capture_output=True, text=True, check=False)
    if done.returncode:
        die(f"load: {done.stderr.strip() or done.returncode}")
    return json.loads(done.stdout)


def errors(result):
    """How many requests did not go well."""
    return sum(result["errors"].values())


def new_prompts(count, length, seed, first=1000, last=40000):
    """Lists of ids that no other call gives: ordinary tokens of any vocabulary of 49k and more."""
    draw = random.Random(seed)
    return [[draw.randrange(first, last) for _ in range(length)] for _ in range(count)]


# ---- words ----

def print_json(report):
    print(json.dumps(report, indent=1))


def machine():
    name = "unknown processor"
    with open("/proc/cpuinfo", encoding="utf-8") as file:
        for line in file:
            if line.startswith("model name"):
                name = line.split(":", 1)[1].strip()
                break
    return f"{name}, {len(os.sched_getaffinity(0))} cores; load of the machine before: {os.getloadavg()[0]:.2f}"


def told(server):
    """Its command, as one would type it."""
    hidden = ("LD_LIBRARY_PATH", "LLVM_PROFILE_FILE")
    environment = [f"{name}={value}" for name, value in server.environment.items() if name not in hidden]
    return " ".join([*environment, os.path.basename(server.command[0]), *server.command[1:]])


def median(values):
    return statistics.median(values)


def rounded(values, digits=1):
    return [round(v, digits) for v in values]
