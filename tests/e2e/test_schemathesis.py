#!/usr/bin/env python3
"""The description at /openapi.json against the server that it describes: schemathesis makes requests up, good and bad, and
checks that no reply is an error of the server's or differs from what the description says of it.
"""

import collections
import json
import os
import re
import subprocess
import sys
import tempfile
import unittest
from pathlib import Path

import models
from scripted import TINY, V3, make_scripted
from server import LONG, Case, Server

try:
    import schemathesis  # noqa: F401
except ImportError:
    raise unittest.SkipTest("the Python package schemathesis is not installed: tools/test-venv") from None

CASES = 2000
CHECKS = "not_a_server_error,status_code_conformance,content_type_conformance,response_schema_conformance"


class Description(Case):
    @classmethod
    def serve(cls):
        cls.folder = tempfile.TemporaryDirectory(prefix="hadal-models-")
        cls.addClassCleanup(cls.folder.cleanup)
        # a small vocabulary and context, so that also long answers are quick, under a template with tools
        template = json.loads((V3 / "tokenizer_config.json").read_text("utf-8"))["chat_template"]
        replies = [models.V3_CALLS, models.SECOND]
        one = make_scripted(Path(cls.folder.name) / "one", replies, TINY, chat_template=template, context=512)
        return Server(one, models.tiny())

    def test_it_stands_by_itself(self):
        status, headers, page = self.server.get("/openapi.json", key=None)
        self.assertEqual((status, headers["content-type"], page["openapi"]), (200, "application/json", "3.1.0"))
        text = json.dumps(page)
        for name in set(re.findall(r'"#/components/schemas/(\w+)"', text)):
            self.assertIn(name, page["components"]["schemas"])
        operations = [(path, method, one) for path, item in page["paths"].items() for method, one in item.items()]
        self.assertGreater(len(operations), 15)
        self.assertEqual(len({one["operationId"] for _, _, one in operations}), len(operations))
        for path, method, one in operations:
            self.assertNotIn("default", one["responses"], path)
            self.assertTrue(all(re.fullmatch(r"\d\d\d", status) for status in one["responses"]), path)

    def statuses(self, report):
        """How often each operation gave each status, of a report of events."""
        out = collections.defaultdict(collections.Counter)
        for line in report.read_text("utf-8").splitlines():
            event = json.loads(line)
            for one in event.get("ScenarioFinished", {}).get("recorder", {}).get("interactions", {}).values():
                if one.get("response"):
                    kinds = one["response"]["headers"].get("content-type", [""])
                    self.streams += kinds[0].startswith("text/event-stream")
                    path = re.sub(r"^https?://[^/]+|\?.*$", "", one["request"]["uri"])
                    out[one["request"]["method"] + " " + path][one["response"]["status_code"]] += 1
        return out

    def test_made_up_requests(self):
        report = Path(self.folder.name) / "report.ndjson"
        command = [
            sys.executable, "-m", "schemathesis.cli", "run", self.server.url + "/openapi.json", "--checks", CHECKS,
            "--header", f"Authorization: Bearer {self.server.key}", "--max-examples", "250" if LONG else "40",
            "--phases", "coverage,fuzzing", "--continue-on-failure", "--suppress-health-check", "all", "--seed", "1",
            "--request-timeout", "30", "--warnings", "off", "--no-color", "--report", "ndjson", "--report-ndjson-path", str(report),
        ]
        environment = {**os.environ, "SCHEMATHESIS_HOOKS": "schema_hooks", "PYTHONPATH": str(Path(__file__).parent)}
        done = subprocess.run(command, capture_output=True, text=True, timeout=900, cwd=self.folder.name, env=environment, check=False)
        self.assertEqual(done.returncode, 0, done.stdout[-6000:] + done.stderr[-2000:])
        made = re.search(r"(\d+) generated, (\d+) passed", done.stdout)
        self.assertIsNotNone(made, done.stdout)
        self.assertEqual(made[1], made[2])
        self.assertGreaterEqual(int(made[1]), CASES)
        self.streams = 0
        statuses = self.statuses(report)
        self.assertGreater(self.streams, 20)
        for path in ["chat/completions", "completions", "embeddings", "messages", "messages/count_tokens"]:
            seen = statuses[f"POST /v1/{path}"]
            self.assertGreater(seen[200], 20, (path, seen))  # answers were looked at,
            self.assertGreater(seen[400], 20, (path, seen))  # and refusals
        print("schemathesis:", made[0], f"{self.streams} streams", dict(sum((c for c in statuses.values()), collections.Counter())), file=sys.stderr)


if __name__ == "__main__":
    unittest.main()
