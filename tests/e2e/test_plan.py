#!/usr/bin/env python3
"""`hadal plan`: memory, speed and cost of a model from its shapes, and what each recipe makes of it.

Standard library only.  Run it alone: `python3 tests/e2e/test_plan.py`.
"""

import html.parser
import json
import re
import struct
import tempfile
import unittest
from pathlib import Path

from test_cli import Cli, golden

V3_PARAMETERS = 671_026_419_200
V3_BUDGET = 336_000_000_000  # bytes of one file in four bits

# (memory of one in bytes, how many, whether a tenth is left free, whether 671 billion weights in FP8 fit)
MACHINES = [
    ("gpu", 80e9, 8, False),
    ("gpu", 80e9, 16, True),
    ("gpu", 96e9, 8, True),
    ("gpu", 141e9, 8, True),
    ("gpu", 192e9, 4, True),
    ("gpu", 32e9, 8, False),
    ("accelerator", 64e9, 8, False),
    ("accelerator", 64e9, 16, True),
    ("cpu", 512e9, 1, False),
    ("cpu", 768e9, 1, True),
    ("gpu", 24e9, 1, False),
]


def tensor_bytes(path):
    """Of a safetensors file, by its own list."""
    with open(path, "rb") as f:
        header = json.loads(f.read(struct.unpack("<Q", f.read(8))[0]))
    return sum(b - a for name, t in header.items() if name != "__metadata__" for a, b in [t["data_offsets"]])


class Page(html.parser.HTMLParser):
    """The tags of a page, whether they close, and what they refer to."""

    def __init__(self, text):
        super().__init__()
        self.open, self.seen, self.references = [], set(), []
        self.feed(text)

    def handle_starttag(self, tag, attributes):
        self.seen.add(tag)
        self.references += [v for k, v in attributes if k in ("src", "href", "srcset", "action", "data")]
        if tag not in ("meta", "br"):
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.seen.add(tag)

    def handle_endtag(self, tag):
        assert self.open and self.open.pop() == tag, f"</{tag}> closes nothing"


class Plan(Cli):
    def plan(self, *words):
        return json.loads(self.hadal("plan", *words, "--no-probe", "--json"))

    def machine_file(self, **keys):
        with tempfile.NamedTemporaryFile("w", suffix=".json", delete=False) as f:
            json.dump({"name": "ours", "kind": "gpu", **keys}, f)
        self.addCleanup(Path(f.name).unlink)
        return f.name

    # ---- plan quantize ----

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
        mine = self.plan("deepseek-v3")["recipes"]
        self.assertEqual([(r["recipe"], r["tensor_bytes"]) for r in recipes],
                         [(r["recipe"], r["weights_bytes"]) for r in mine])

    def test_the_text_form_of_recipes(self):
        said = self.hadal("plan", "quantize", "deepseek-v2-lite")
        self.assertRegex(said, r"\Adeepseek-v2-lite: 15706484224 weights in \d+ tensors, 27 layers ")
        self.assertRegex(said, r"\nQ4_K_M +[\d.]+ GB +[45]\.\d{3} +\d+ ")
        self.assertEqual(self.said, "")

    # ---- bytes ----

    def test_weights_are_exact_to_the_byte(self):
        """From config.json alone, of ten shapes, and from the files themselves."""
        folders = [f for f in sorted((golden() / "models").iterdir()) if (f / "model.safetensors").exists()]
        if not folders:
            self.skipTest("no reference data")
        for folder in folders:
            real = tensor_bytes(folder / "model.safetensors")
            self.assertEqual(self.plan(folder / "config.json")["weights_bytes"], real, folder.name)
            self.assertEqual(self.plan(folder)["weights_bytes"], real, folder.name)

    def test_recipes_are_what_quantize_writes(self):
        folder = golden() / "models" / "deepseek-v2-lite"
        if not (folder / "model.safetensors").exists():
            self.skipTest("no reference data")
        recipes = {r["recipe"]: r for r in self.plan(folder / "config.json")["recipes"]}
        with tempfile.TemporaryDirectory() as d:
            for name in ["Q8_0", "Q4_0", "BF16"]:
                out = Path(d) / f"{name}.gguf"
                self.hadal("quantize", folder, out, "--type", name)
                self.assertEqual(self.plan(out)["weights_bytes"], recipes[name]["weights_bytes"], name)

    def test_published_models(self):
        flash = self.plan("deepseek-v4-flash")
        self.assertEqual((flash["parameters"], flash["cache_bytes_per_token"]), (284_334_567_511, 6880))
        self.assertIn("does not evaluate", flash["note"])
        v3 = self.plan("deepseek-r1", "--context", "1024")
        self.assertEqual((v3["cache_bytes_per_token"], v3["cache_bytes_per_user"]), (70272, 70272 * 1024))
        self.assertEqual(round(v3["active_parameters"] / 1e9), 38)
        self.assertEqual(self.plan("deepseek-r1", "--cache-type", "q8_0")["cache_bytes_per_token"], 37332)
        for name in ["deepseek-llm-7b", "deepseek-llm-67b", "deepseek-v2-lite", "deepseek-v2", "deepseek-v3.2",
                     "deepseek-v4-pro", "r1-distill-qwen-32b", "r1-distill-llama-70b", "r1-0528-qwen3-8b"]:
            plan = self.plan(name, "--type", "Q4_K_M")
            self.assertTrue(4.4 < 8 * plan["weights_bytes"] / plan["parameters"] < 5.3, name)
        self.refused(1, "552 billion weights", "plan", "deepseek-v4.1-flash")

    # ---- fits ----

    def test_does_671b_fit(self):
        for kind, memory, count, fits in MACHINES:
            plan = self.plan("deepseek-r1", "--machine", f"{self.machine_file(memory_bytes=memory, kind=kind)}:{count}")
            self.assertIs(plan["fits"], fits, (kind, memory, count))
            self.assertEqual(plan["machines_needed"] <= count, fits)
        plan = self.plan("deepseek-r1", "--machine", "nvidia-v100-32g:8")
        self.assertIs(plan["fits"], False)
        self.assertIsNone(self.plan("deepseek-r1", "--machine", "amd-epyc-9654")["fits"])
        self.assertIs(self.plan("deepseek-r1", "--machine", "amd-epyc-9654", "--memory", "768")["fits"], True)
        self.assertIsNone(self.plan("deepseek-r1", "--machine", "huawei-ascend-910b:16")["tokens_per_second"])

    def test_speed_of_a_described_machine(self):
        m = self.machine_file(memory_bytes=2e12, bandwidth_bytes_per_second=1e12, operations_per_second=1e15)
        one, two = (self.plan("deepseek-r1", "--type", "Q4_K_M", "-m", f"{m}:{n}", "--rate", "5") for n in (1, 2))
        self.assertAlmostEqual(two["tokens_per_second"] / one["tokens_per_second"], 2, places=6)
        self.assertIs(one["rates_measured"], False)
        self.assertGreater(one["rate_users"], 1)
        self.assertLessEqual(one["rate_users"], one["most_users"])

    def test_this_computer(self):
        folder = golden() / "models" / "qwen2"
        if not (folder / "model.safetensors").exists():
            self.skipTest("no reference data")
        plan = json.loads(self.hadal("plan", folder, "--context", "64", "--json"))
        self.assertIs(plan["rates_measured"], True)
        self.assertIs(plan["fits"], True)
        self.assertIs(plan["machine"]["here"], True)
        for key in ["tokens_per_second", "prefill_tokens_per_second"]:
            self.assertGreater(plan[key], 10)
        self.assertEqual(plan["peak_bytes"], max(plan["loading_peak_bytes"], plan["serving_peak_bytes"]))

    # ---- reports ----

    def test_figures_have_formulas(self):
        plan = self.plan("deepseek-r1", "-m", "nvidia-h100-sxm:16", "--tokens-a-day", "1e8", "--rate", "10")
        self.assertGreater(len(plan["figures"]), 30)
        for figure in plan["figures"]:
            self.assertGreater(len(figure["formula"]), 5, figure)
        said = self.hadal("plan", "deepseek-r1", "-m", "nvidia-h100-sxm:16", "--tokens-a-day", "1e8", "--no-probe")
        for figure in plan["figures"][:10]:
            self.assertIn(figure["formula"], said)
        self.assertIn("NVIDIA H100", said)

    def test_cost(self):
        plan = self.plan("deepseek-r1", "-m", "nvidia-h100-sxm:16", "--tokens-a-day", "1e9", "--staff", "100000",
                         "--upkeep", "0", "--use", "100%", "--pue", "1", "--electricity", "0.2")
        cost = plan["cost"]
        self.assertEqual(cost["purchase"], 480000)
        self.assertAlmostEqual(cost["power_a_year"], 16 * 0.7 * 8760 * 0.2, places=4)
        self.assertAlmostEqual(cost["own_5_years"], 480000 + 5 * (cost["power_a_year"] + 100000), places=3)
        # 0.75 x 0.15 + 0.25 x 0.60 a million
        self.assertAlmostEqual(cost["api_3_years"], 3 * 365 * 1000 * 0.2625, places=4)
        self.assertAlmostEqual(cost["break_even_tokens_a_day_3_years"] * 3 * 365 * 0.2625e-6, cost["own_3_years"], places=3)
        self.assertEqual(len(cost["sensitivities"]), 5)
        self.refused(1, "give --price", "plan", "deepseek-r1", "-m", "nvidia-h20:8", "--tokens-a-day", "1", "--no-probe")
        self.refused(1, "give --price in USD", "plan", "deepseek-r1", "-m", "huawei-atlas-300i-duo:8", "--tokens-a-day", "1",
                     "--no-probe")

    def test_the_page(self):
        with tempfile.TemporaryDirectory() as d:
            folder = Path(d) / "<b>&\"evil\"'"
            folder.mkdir()
            config = json.dumps({"model_type": "llama", "num_hidden_layers": 2, "hidden_size": 64, "num_attention_heads": 2,
                                 "intermediate_size": 64, "vocab_size": 64})
            (folder / "config.json").write_text(config)
            machine = self.machine_file(memory_bytes=1e9, title="<script>alert(1)</script>", note='"a" & <b>', price=5,
                                        currency="USD", power_watts=5, bandwidth_bytes_per_second=1e9)
            out = Path(d) / "plan.html"
            self.hadal("plan", folder, "-m", machine, "--tokens-a-day", "1e6", "--html", out, "--no-probe")
            text = out.read_text()
            page = Page(text)
            self.assertEqual(page.open, [])
            self.assertEqual(page.references, [])
            self.assertTrue({"svg", "table", "title", "style", "rect"} <= page.seen)
            self.assertFalse({"script", "b>&", "link", "img", "iframe"} & page.seen)
            self.assertNotIn("<script", text)
            self.assertIn("&lt;script&gt;", text)
            self.assertEqual(re.findall(r"https?://(?!www\.w3\.org/2000/svg)", text), [])
            self.assertIn("default-src 'none'", text)
            self.assertNotRegex(text, r"\b(nan|inf)\b")
            self.refused(1, "plan.html", "plan", folder, "--html", Path(d) / "no" / "plan.html", "--no-probe")

    def test_the_table(self):
        table = json.loads(self.hadal("plan", "--machines", "--json"))
        for m in table["machines"] + table["prices"]:
            self.assertTrue(m["source"], m["name"])
            self.assertRegex(m["date"], r"^20\d\d-\d\d-\d\d$")
        said = self.hadal("plan", "--machines")
        for m in table["machines"] + table["prices"]:
            self.assertIn(m["name"], said)
        with tempfile.TemporaryDirectory() as d:  # what it prints can be given back
            out = Path(d) / "ours.json"
            out.write_text(json.dumps(table))
            self.assertIs(self.plan("deepseek-r1", "-m", f"{out}#nvidia-h20:8")["fits"], True)
            self.refused(1, f"has {len(table['machines'])} machines: say which", "plan", "deepseek-r1", "-m", out)
            self.refused(1, "no machine named x", "plan", "deepseek-r1", "-m", f"{out}#x")

    def test_ways_to_run_it(self):
        modes = self.plan("deepseek-r1", "--weight", "control=0", "--weight", "offline=0", "--weight", "start=100")["modes"]
        self.assertEqual([len(m["scores"]) for m in modes], [7] * 6)
        self.assertEqual(modes[0]["mode"], "rented")
        totals = [m["total"] for m in modes]
        self.assertEqual(totals, sorted(totals, reverse=True))
        self.refused(1, "NAME=WEIGHT", "plan", "deepseek-r1", "--weight", "cost", "--no-probe")
        self.refused(1, "there are control, cost", "plan", "deepseek-r1", "--weight", "beauty=1", "--no-probe")

    # ---- what is refused ----

    def test_what_is_refused(self):
        self.refused(2, "MODEL is missing", "plan")
        self.refused(2, "unknown action 'cost'; there is quantize", "plan", "cost", "deepseek-v3")
        self.refused(2, "MODEL is missing", "plan", "quantize")
        self.refused(1, "did you mean deepseek-v3?", "plan", "quantize", "deepseek-v33")
        self.refused(1, "no shapes of 'mistral'; 'hadal plan --help'", "plan", "quantize", "mistral")
        self.refused(1, "did you mean deepseek-v3?", "plan", "deepseek-v33")
        self.refused(1, "no shapes of 'mistral': it is no file", "plan", "mistral")
        self.refused(1, "there is no such recipe", "plan", "deepseek-v3", "--type", "Q9")
        self.refused(1, "did you mean nvidia-h20?", "plan", "deepseek-v3", "-m", "nvidia-h21")
        self.refused(1, "1 to 4096", "plan", "deepseek-v3", "-m", "nvidia-h20:0")
        self.refused(1, "hadal plan --machines", "plan", "deepseek-v3", "--api", "x", "--tokens-a-day", "1", "--price", "1",
                     "--watts", "1", "--no-probe")

    def test_bad_machine_files(self):
        for keys, says in [({"memory_bytes": "1"}, 'ours: "memory_bytes" must be a number'),
                           ({"memory": 1}, 'ours: "memory" is no key'),
                           ({"kind": "tpu"}, '"kind" must be cpu, gpu or accelerator'),
                           ({"bandwidth_bytes_per_second": -1}, '"bandwidth_bytes_per_second" must be above 0')]:
            self.refused(1, says, "plan", "deepseek-v3", "-m", self.machine_file(**keys))
        with tempfile.NamedTemporaryFile("w", suffix=".json") as f:
            f.write('{"name": "a",')
            f.flush()
            self.refused(1, f.name, "plan", "deepseek-v3", "-m", f.name)

    def test_bad_configurations(self):
        with tempfile.TemporaryDirectory() as d:
            config = Path(d) / "config.json"
            for text, says in [("{", "config.json"), ("[]", "not an object"), ("{}", '"model_type" is missing'),
                               ('{"model_type": "mamba"}', "not an architecture"),
                               ('{"model_type": "deepseek_v4", "num_hidden_layers": 1e9}', '"num_hidden_layers"'),
                               ('{"model_type": "llama", "num_hidden_layers": 0}', '"num_hidden_layers" is out of range')]:
                config.write_text(text)
                self.refused(1, says, "plan", config)


if __name__ == "__main__":
    unittest.main()
