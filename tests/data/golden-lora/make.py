#!/usr/bin/env python3
"""make.py [NAME...]: makes the adapters of this folder anew: random ones, saved by PEFT, and the logits that PEFT gives.

Needs torch, transformers 5 (made with 5.23.0), peft (0.21.2) and safetensors from PyPI.  Every case is a row of CASES:
the base, how PEFT adapts it, and the type of its values.  The expectation is a float32 evaluation by PEFT of exactly the
values that the files hold; that of merge_and_unload is held against it here.  The cases of REFUSED have no expectation."""
import json
import os
import pathlib
import shutil
import sys
import tempfile

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import torch
from peft import LoraConfig, get_peft_model
from peft.utils import transformers_weight_conversion
from safetensors.torch import load_file, save_file
from transformers import AutoModelForCausalLM

HERE = pathlib.Path(__file__).resolve().parent
EXTRA, GOLDEN = HERE.parent / "golden-extra", HERE.parent / "golden" / "models"
BASES = {"llama-odd": EXTRA, "qwen3-shards": EXTRA, "qwen2": GOLDEN, "deepseek-v3-fp8": GOLDEN}
LENGTHS, LAST, STEPS = (1, 9, 40), 4, 5

CONVERT = transformers_weight_conversion._convert_peft_config_moe
ATTENTION = ["q_proj", "k_proj", "v_proj", "o_proj"]
DENSE = ["gate_proj", "up_proj", "down_proj"]
LATENT = (r".*(self_attn\.(q_a_proj|q_b_proj|kv_a_proj_with_mqa|o_proj)"
          r"|(layers\.0\.mlp|shared_experts)\.(gate|up|down)_proj)")

CASES = {
    "llama-all": dict(base="llama-odd", lora=dict(r=4, lora_alpha=8, target_modules="all-linear")),
    "llama-patterns": dict(
        base="llama-odd", dtype=torch.bfloat16,
        lora=dict(r=3, lora_alpha=5, use_rslora=True, target_modules=["q_proj", "v_proj", "o_proj", "up_proj", "down_proj"],
                  rank_pattern={"q_proj": 6, "layers.1.mlp.down_proj": 1}, alpha_pattern={"v_proj": 2, "2.mlp.up_proj": 11.5})),
    "qwen3-attention": dict(
        base="qwen3-shards", dtype=torch.float16,
        lora=dict(r=5, lora_alpha=3, target_modules=ATTENTION, layers_to_transform=[1])),
    "qwen2-rslora": dict(
        base="qwen2", dtype=torch.bfloat16,
        lora=dict(r=2, lora_alpha=4, use_rslora=True, target_modules=ATTENTION + DENSE, layers_to_transform=[0])),
    "deepseek-v3-latent": dict(
        base="deepseek-v3-fp8", dtype=torch.bfloat16, modules=True,
        lora=dict(r=2, lora_alpha=6, target_modules=LATENT, alpha_pattern={"q_b_proj": 3})),
    "deepseek-v3-kv_b": dict(
        base="deepseek-v3-fp8", dtype=torch.bfloat16, lora=dict(r=3, lora_alpha=3, target_modules=["kv_b_proj", "o_proj"])),
}

REFUSED = {
    "dora": dict(base="llama-odd", lora=dict(r=1, use_dora=True, target_modules=["k_proj"], layers_to_transform=[0])),
    "embedding": dict(base="llama-odd", lora=dict(r=1, target_modules=["embed_tokens"])),
    "output": dict(base="qwen3-shards", lora=dict(r=1, target_modules=["lm_head"])),
    "experts": dict(base="deepseek-v3-fp8", lora=dict(r=1, target_modules=["shared_experts.down_proj"])),
    "router": dict(base="deepseek-v3-fp8", lora=dict(r=1, target_modules=[], target_parameters=["mlp.gate.weight"])),
    "bias": dict(base="llama-odd", lora=dict(r=1, bias="lora_only", target_modules=["k_proj"], layers_to_transform=[0])),
    "whole-module": dict(base="llama-odd", lora=dict(r=1, target_modules=["k_proj"], layers_to_transform=[0], modules_to_save=["norm"])),
    "pissa": dict(base="llama-odd", lora=dict(r=1, init_lora_weights="pissa", target_modules=["k_proj"], layers_to_transform=[0])),
}


def plain_copy(folder, out):
    """The base without FP8: each block of 128 x 128 times its scale."""
    state = load_file(folder / "model.safetensors")
    config = json.loads((folder / "config.json").read_text())
    block = config.pop("quantization_config")["weight_block_size"][0]
    for name in [n for n in state if n.endswith("_scale_inv")]:
        scale = state.pop(name).repeat_interleave(block, 0).repeat_interleave(block, 1)
        w = state[name.removesuffix("_scale_inv")].float()
        state[name.removesuffix("_scale_inv")] = w * scale[:w.shape[0], :w.shape[1]]
    save_file({n: v.float() for n, v in state.items()}, out / "model.safetensors", metadata={"format": "pt"})
    (out / "config.json").write_text(json.dumps(config))
    return out


def open_base(name, scratch):
    folder = BASES[name] / name
    if name.endswith("-fp8"):
        folder = plain_copy(folder, pathlib.Path(scratch))
    model = AutoModelForCausalLM.from_pretrained(folder, dtype=torch.float32, attn_implementation="eager").eval()
    return model


def keep_modules(yes):
    """Newer PEFT takes gate_proj, up_proj and down_proj of a model with experts for the fused weights of all routed ones,
    also where only the shared ones were named.  `yes`: as PEFT did before, modules stay modules."""
    transformers_weight_conversion._convert_peft_config_moe = (lambda *a: None) if yes else CONVERT


def randomize(model, seed, dtype):
    """Halves that move logits as much as their size; rounded to what the file will hold."""
    generator = torch.Generator().manual_seed(seed)
    for name, p in model.named_parameters():
        if ".lora_" in name:
            spread = p.shape[-1]**-0.5 if ".lora_A" in name or ".lora_embedding_A" in name else 0.4
            p.data = (spread * torch.randn(p.shape, generator=generator)).to(dtype).float()


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def expectation(model, vocab):
    generator, tensors = torch.Generator().manual_seed(2), {}
    for i, n in enumerate(LENGTHS):
        ids = torch.randint(3, vocab, (n,), generator=generator).tolist()
        logits, greedy = logits_of(model, ids), []
        last = logits[-1]
        for _ in range(STEPS):
            greedy.append(int(last.argmax()))
            last = logits_of(model, ids + greedy)[-1]
        tensors[f"prompt.{i}"] = torch.tensor(ids, dtype=torch.int32)
        tensors[f"logits.{i}"] = logits[-LAST:].contiguous()
        tensors[f"greedy.{i}"] = torch.tensor(greedy, dtype=torch.int32)
    return tensors


def save(model, folder, base, dtype):
    shutil.rmtree(folder, ignore_errors=True)
    model.save_pretrained(folder, save_embedding_layers=False)
    (folder / "README.md").unlink(missing_ok=True)
    config = json.loads((folder / "adapter_config.json").read_text())
    config["base_model_name_or_path"] = base
    if isinstance(config["target_modules"], list):
        config["target_modules"].sort()  # PEFT keeps a set
    (folder / "adapter_config.json").write_text(json.dumps(config, indent=2) + "\n")
    weights = folder / "adapter_model.safetensors"
    save_file({n: v.to(dtype).contiguous() for n, v in load_file(weights).items()}, weights, metadata={"format": "pt"})


def make(name):
    case = CASES.get(name) or REFUSED[name]
    with tempfile.TemporaryDirectory() as scratch:
        base = open_base(case["base"], scratch)
    vocab = base.config.vocab_size
    plain = expectation(base, vocab)
    keep_modules(case.get("modules"))
    model = get_peft_model(base, LoraConfig(task_type="CAUSAL_LM", **case["lora"])).eval()
    dtype = case.get("dtype", torch.float32)
    if name in REFUSED:
        return save(model, HERE / "refused" / name, case["base"], dtype)
    randomize(model, sum(map(ord, name)), dtype)
    save(model, HERE / name, case["base"], dtype)
    expected = expectation(model, vocab)
    save_file(expected, HERE / name / "expected.safetensors")
    merged = model.merge_and_unload()
    apart = moved = 0.0
    for i in range(len(LENGTHS)):
        logits = expected[f"logits.{i}"]
        apart = max(apart, float((logits_of(merged, expected[f"prompt.{i}"].tolist())[-LAST:] - logits).abs().max()))
        moved = max(moved, float((logits - plain[f"logits.{i}"]).abs().max()))
    print(f"{name}: moves logits by up to {moved:.2g}; merged and unmerged are {apart:.1e} apart")
    assert apart < 1e-3 < moved


if __name__ == "__main__":
    for case_name in sys.argv[1:] or [*CASES, *REFUSED]:
        make(case_name)
