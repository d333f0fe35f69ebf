#!/usr/bin/env python3
"""`hadal plan`: what is said of published models, from shapes alone.

Standard library only.  Run it alone: `python3 tests/e2e/test_plan.py`.
"""

import json
import unittest

from test_cli import Cli

V3_PARAMETERS = 671_026_419_200
V3_BUDGET = 336_000_000_000  # bytes of one file in four bits


class Plan(Cli):
    def test_recipes_of_a_large_model(self):
        recipes = json.loads(self.hadal("plan", "quantize", "deepseek-v3", "--json"))
        for r in recipes:
            self.assertEqual(set(r), {"recipe", "bytes", "bpw", "tensor_bytes", "metadata_bytes", "writable"})
            self.assertAlmostEqual(r["bpw"], 8 * r["bytes"] / V3_PARAMETERS, places=6)
            self.assertGreater(r["bytes"], r["tensor_bytes"] + r["metadata_bytes"])
            self.assertLess(r["bytes"], r["tensor_bytes"] + r["metadata_bytes"] + 1_000_000)
        listed = [line.split()[0] for line in self.hadal("quantize", "--types").splitlines()]
        self.assertEqual([r["recipe"] for r in recipes] + ["FP8", "INT8"], listed)  # those are no GGUF files
        by_name = {r["recipe"]: r for r in recipes}
        self.assertAlmostEqual(by_name["BF16"]["bpw"], 16, places=1)
        self.assertTrue(0.98 * V3_BUDGET < by_name["Q4_FIT"]["bytes"] <= V3_BUDGET)
        self.assertTrue(by_name["Q4_FIT"]["writable"])
        self.assertEqual(json.loads(self.hadal("plan", "quantize", "DeepSeek-R1", "--json")), recipes)

    def test_the_text_form(self):
        said = self.hadal("plan", "quantize", "deepseek-v2-lite")
        self.assertRegex(said, r"\Adeepseek-v2-lite: 15706484224 weights in \d+ tensors, 27 layers ")
        self.assertRegex(said, r"\nQ4_K_M +[\d.]+ GB +[45]\.\d{3} +\d+ ")
        self.assertEqual(self.said, "")

    def test_what_is_refused(self):
        self.refused(2, "quantize is missing", "plan")
        self.refused(2, "unknown action 'cost'; there is quantize", "plan", "cost", "deepseek-v3")
        self.refused(2, "MODEL is missing", "plan", "quantize")
        self.refused(1, "did you mean deepseek-v3?", "plan", "quantize", "deepseek-v33")
        self.refused(1, "no shapes of 'mistral'; 'hadal plan --help'", "plan", "quantize", "mistral")


if __name__ == "__main__":
    unittest.main()
