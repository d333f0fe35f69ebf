#!/usr/bin/env python3
"""`hadal key` as its users meet it: keys made, listed and revoked, several processes at once, folders that are wrong.

Runs $HD_PROGRAM (else build/release/hadal).  Standard library only.
Run it alone: `python3 tests/e2e/test_key.py`, or through `python3 -m unittest discover -s tests/e2e`.
"""

import json
import os
import re
import shutil
import signal
import stat
import subprocess
import tempfile
import unittest
from pathlib import Path

SOURCE = Path(os.environ.get("HD_SOURCE", Path(__file__).resolve().parents[2]))
PROGRAM = os.environ.get("HD_PROGRAM", str(SOURCE / "build/release/hadal"))
TIMEOUT = 60  # seconds; a command takes well under one
KEY = re.compile(r"hd-[A-Za-z0-9_-]{43}")


class Key(unittest.TestCase):
    def setUp(self):
        self.folder = tempfile.mkdtemp(prefix="hadal-key-")
        self.addCleanup(shutil.rmtree, self.folder)
        self.data = os.path.join(self.folder, "data")
        self.environment = dict(os.environ, HOME=self.folder, TZ="UTC")
        for name in ["HADAL_DATA", "XDG_DATA_HOME"]:
            self.environment.pop(name, None)

    def start(self, *words, **more):
        command = [PROGRAM, "key", *map(str, words)]
        return subprocess.Popen(
            command, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.PIPE, env=self.environment, **more
        )

    def key(self, *words, code=0):
        """Runs `hadal key`; fails unless it exits with `code`.  Returns stdout; stderr is in self.said."""
        with self.start(*words) as process:
            out, said = process.communicate(timeout=TIMEOUT)
        self.said = said.decode()
        self.assertEqual(process.returncode, code, self.said)
        return out.decode()

    def refused(self, code, text, *words):
        self.assertEqual(self.key(*words, code=code), "")
        self.assertTrue(self.said.startswith("hadal: key: "), self.said)
        self.assertIn(text, self.said)
        self.assertEqual(self.said.count("\n"), 2 if code == 2 else 1, self.said)

    def create(self, *words):
        out = self.key("create", "--data", self.data, *words)
        self.assertRegex(out.splitlines()[-1], KEY)
        return out.splitlines()[-1]

    def rows(self):
        return json.loads(self.key("list", "--data", self.data, "--json"))


class Life(Key):
    def test_create_list_revoke(self):
        laptop, nameless = self.create("--name", "laptop"), self.create()
        self.assertNotEqual(laptop, nameless)
        rows = self.rows()
        self.assertEqual([row["id"] for row in rows], [1, 2])
        self.assertEqual([row["name"] for row in rows], ["laptop", None])
        self.assertEqual([row["hint"] for row in rows], [laptop[:7], nameless[:7]])
        for row in rows:
            self.assertEqual(sorted(row), ["created", "hint", "id", "last_used", "name", "revoked"])
            self.assertRegex(row["created"], r"^20\d\d-\d\d-\d\dT\d\d:\d\d:\d\dZ$")
            self.assertIsNone(row["revoked"])
            self.assertIsNone(row["last_used"])
        self.assertEqual(self.key("revoke", "--data", self.data, "laptop"), "")
        self.assertEqual(self.said, f"key 1 ({laptop[:7]}...) is revoked\n")
        self.assertEqual([row["revoked"] is None for row in self.rows()], [False, True])
        third = self.create("--name", "laptop")  # the name is free again
        self.key("revoke", "--data", self.data, third)
        self.key("revoke", "--data", self.data, "2")
        self.assertEqual([row["revoked"] is None for row in self.rows()], [False, False, False])
        self.refused(1, "key 2 is revoked already", "revoke", "--data", self.data, "2")
        self.refused(1, "no live key has the name laptop", "revoke", "--data", self.data, "laptop")
        self.refused(1, "no live key has the number 9", "revoke", "--data", self.data, "9")

    def test_the_table(self):
        text = self.create("--name", "laptop")
        lines = self.key("list", "--data", self.data).splitlines()
        self.assertEqual(lines[0].split(), ["ID", "NAME", "KEY", "CREATED", "LAST", "USED", "REVOKED"])
        self.assertRegex(lines[1], rf"^ +1  laptop  {text[:7]}\.\.\.  20\d\d-\d\d-\d\d \d\d:\d\d  - +-$")
        self.assertNotIn(text[:12], "".join(lines))

    def test_no_key_yet(self):
        self.create()
        self.key("revoke", "--data", self.data, "1")
        os.remove(os.path.join(self.data, "hadal.db"))
        self.assertEqual(self.key("list", "--data", self.data), "")
        self.assertIn("has no key yet", self.said)
        self.assertEqual(self.rows(), [])

    def test_where_the_folder_is(self):
        self.key("create")
        self.assertTrue(os.path.exists(self.folder + "/.local/share/hadal/server/hadal.db"))
        self.environment["XDG_DATA_HOME"] = self.folder + "/xdg"
        self.key("create")
        self.assertTrue(os.path.exists(self.folder + "/xdg/hadal/server/hadal.db"))
        self.environment["HADAL_DATA"] = self.folder + "/variable"
        self.key("create")
        self.assertTrue(os.path.exists(self.folder + "/variable/hadal.db"))
        self.key("create", "--data", self.data)
        self.assertTrue(os.path.exists(self.data + "/hadal.db"))

    def test_names_that_are_refused(self):
        for name, why in [("7", "looks like the number"), ("hd-x", "looks like a key"), ("a\nb", "control"), ("a" * 65, "at most 64")]:
            self.refused(1, why, "create", "--data", self.data, "--name", name)
        self.create("--name", "one")
        self.refused(1, "'one' is there already", "create", "--data", self.data, "--name", "one")
        self.assertEqual(len(self.rows()), 1)

    def test_a_mistyped_key_is_not_repeated(self):
        text = self.create()
        self.refused(1, "no live key has the text", "revoke", "--data", self.data, text[:-1] + "?")
        self.assertNotIn(text[:-1], self.said)

    def test_output_that_takes_nothing(self):
        with open("/dev/full", "wb") as full:
            done = subprocess.run([PROGRAM, "key", "create", "--data", self.data], stdout=full, stderr=subprocess.PIPE,
                                  timeout=TIMEOUT, env=self.environment)
        self.assertEqual(done.returncode, 1)
        self.assertEqual(done.stderr.decode().count("could not be written"), 1)


class Usage(Key):
    def test_wrong_usage(self):
        for text, *words in [
            ("create|list|revoke is missing",),
            ("did you mean create?", "crate"),
            ("there are create, list and revoke", "xyzzy"),
            ("which one", "revoke"),
            ("--name gives", "create", "laptop"),
            ("list takes no argument", "list", "laptop"),
            ("--name is for create", "list", "--name", "x"),
            ("give the name without it", "revoke", "--name", "x"),
            ("--json is for list", "create", "--json"),
            ("did you mean --data?", "list", "--date", "x"),
            ("unexpected argument", "revoke", "a", "b"),
        ]:
            self.refused(2, text, *words)
        self.assertEqual(os.listdir(self.folder), [])

    def test_manual(self):
        manual = self.key("--help")
        for word in ["NAME\n", "SYNOPSIS\n", "EXAMPLES\n", "EXIT CODES\n", "HADAL_DATA", "--data DIR", "revoke [--data DIR]"]:
            self.assertIn(word, manual)


class Folders(Key):
    def test_permissions(self):
        old = os.umask(0)
        try:
            self.create()
        finally:
            os.umask(old)
        self.assertEqual(stat.S_IMODE(os.stat(self.data).st_mode), 0o700)
        for name in os.listdir(self.data):
            self.assertEqual(stat.S_IMODE(os.stat(os.path.join(self.data, name)).st_mode), 0o600, name)
        self.assertEqual(sorted(os.listdir(self.data)), ["hadal.db", "secret"])

    def test_folders_that_are_wrong(self):
        self.refused(1, "no such folder", "list", "--data", self.data)
        self.refused(1, "no data folder of hadal", "list", "--data", self.folder)
        self.assertEqual(os.listdir(self.folder), [])  # looking makes nothing
        Path(self.data).write_text("x")
        self.refused(1, "not a folder", "create", "--data", self.data)
        os.remove(self.data)
        self.create()
        os.chmod(self.data, 0o770)
        self.refused(1, f"chmod 700 '{self.data}'", "list", "--data", self.data)
        os.chmod(self.data, 0o700)
        os.chmod(self.data + "/secret", 0o644)
        self.refused(1, f"chmod 600 '{self.data}/secret'", "list", "--data", self.data)

    def test_damaged_and_foreign_files(self):
        self.create("--name", "kept")
        database, secret = Path(self.data, "hadal.db"), Path(self.data, "secret")
        good, good_secret = database.read_bytes(), secret.read_bytes()
        for bad, why in [
            (b"garbage" * 1000, "is no database"),
            (good[:16] + b"\xff" * 84 + good[100:], "database"),
            (good[:60] + (99).to_bytes(4, "big") + good[64:], "newer hadal"),
            (good[:68] + b"\0\0\0\0" + good[72:], "another program"),
        ]:
            database.write_bytes(bad)
            self.refused(1, why, "list", "--data", self.data)
            self.refused(1, why, "create", "--data", self.data)
            self.assertEqual(database.read_bytes(), bad)  # nothing is written over
        database.write_bytes(good)
        for bad, why in [(b"x" * 31, "damaged"), (b"x" * 32, "do not belong together")]:
            secret.write_bytes(bad)
            self.refused(1, why, "list", "--data", self.data)
        secret.unlink()
        self.refused(1, "secret is gone", "create", "--data", self.data)
        secret.write_bytes(good_secret)
        secret.chmod(0o600)
        self.assertEqual([row["name"] for row in self.rows()], ["kept"])


class AtOnce(Key):
    def test_many_make_keys_in_a_folder_that_is_not_there_yet(self):
        processes = [self.start("create", "--data", self.data, "--name", f"k{i}") for i in range(8)]
        keys = set()
        for process in processes:
            with process:
                out, said = process.communicate(timeout=TIMEOUT)
            self.assertEqual(process.returncode, 0, said)
            keys.add(out.decode().splitlines()[-1])
        self.assertEqual(len(keys), 8)
        self.assertEqual(sorted(row["name"] for row in self.rows()), [f"k{i}" for i in range(8)])
        for text in keys:
            self.key("revoke", "--data", self.data, text)

    def test_one_name_goes_to_one_of_them(self):
        self.create()
        processes = [self.start("create", "--data", self.data, "--name", "same") for _ in range(6)]
        codes = []
        for process in processes:
            with process:
                process.communicate(timeout=TIMEOUT)
            codes.append(process.returncode)
        self.assertEqual(sorted(codes), [0, 1, 1, 1, 1, 1])
        self.assertEqual(len(self.rows()), 2)

    def test_killed_in_between(self):
        """Whatever moment the kill takes, the folder stays usable, and a key that was printed is there."""
        shown = []
        for wait in [0, 0.001, 0.002, 0.004, 0.006, 0.008, 0.012, 0.02]:
            process = self.start("create", "--data", self.data)
            try:
                out, _ = process.communicate(timeout=wait or 0.0001)
            except subprocess.TimeoutExpired:
                process.send_signal(signal.SIGKILL)
                out, _ = process.communicate(timeout=TIMEOUT)
            shown += KEY.findall(out.decode())
        self.create()
        for text in shown:
            self.key("revoke", "--data", self.data, text)


if __name__ == "__main__":
    unittest.main()
