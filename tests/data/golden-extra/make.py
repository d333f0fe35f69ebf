#!/usr/bin/env python3
"""make.py [NAME...]: makes the models of this folder anew: random weights, and their logits by transformers.

Needs torch, transformers 5 (made with 5.23.0), safetensors and gguf (0.19.0) from PyPI.  Every case is a row of CASES:
the family, the configuration, and what is done to the files.  The expectation is a float32 evaluation of exactly the
values that the file holds (quantized ones decoded by the gguf package)."""
import json
import math
import os
import pathlib
import shutil
import struct
import sys

os.environ["TRANSFORMERS_VERBOSITY"] = "error"
import gguf
import numpy as np
import torch
import transformers
from gguf import GGMLQuantizationType as Type
from gguf import quants
from safetensors.torch import load_file, save_file

HERE = pathlib.Path(__file__).resolve().parent
LENGTHS, LAST, STEPS = (1, 7, 48, 200), 16, 6

FAMILIES = {
    "llama": "Llama",
    "qwen2": "Qwen2",
    "qwen3": "Qwen3",
    "deepseek_v2": "DeepseekV2",
    "deepseek_v3": "DeepseekV3",
}

MLA = dict(num_hidden_layers=2, kv_lora_rank=20, qk_nope_head_dim=12, qk_rope_head_dim=8, v_head_dim=10, max_position_embeddings=512)

CASES = {
    "llama-odd": dict(
        family="llama", official=True,
        config=dict(vocab_size=97, hidden_size=72, intermediate_size=100, num_hidden_layers=3, num_attention_heads=6,
                    num_key_value_heads=2, head_dim=10, attention_bias=True, mlp_bias=True, tie_word_embeddings=True,
                    rms_norm_eps=1e-4, max_position_embeddings=512, eos_token_id=[2, 128009],
                    rope_parameters=dict(rope_type="llama3", rope_theta=500000.0, factor=8.0, low_freq_factor=1.0,
                                         high_freq_factor=4.0, original_max_position_embeddings=64))),
    "qwen2-window": dict(
        family="qwen2", dtype=torch.float16,
        config=dict(vocab_size=83, hidden_size=60, intermediate_size=72, num_hidden_layers=2, num_attention_heads=3,
                    num_key_value_heads=3, tie_word_embeddings=True, use_sliding_window=True, sliding_window=16,
                    max_window_layers=2, max_position_embeddings=512,
                    rope_parameters=dict(rope_type="yarn", rope_theta=1e6, factor=4.0,
                                         original_max_position_embeddings=128))),
    "qwen3-shards": dict(
        family="qwen3", shard="60KB",
        config=dict(vocab_size=89, hidden_size=80, intermediate_size=61, num_hidden_layers=2, num_attention_heads=5,
                    num_key_value_heads=1, head_dim=24, attention_bias=True, max_position_embeddings=512,
                    rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=4.0, attention_factor=0.9,
                                         truncate=False, original_max_position_embeddings=64))),
    "deepseek-v2-odd": dict(
        family="deepseek_v2", official=True,
        config=dict(MLA, vocab_size=101, hidden_size=60, intermediate_size=50, moe_intermediate_size=20,
                    num_attention_heads=3, num_key_value_heads=3, q_lora_rank=None, attention_bias=True, mlp_bias=True,
                    n_routed_experts=9, n_shared_experts=1, num_experts_per_tok=3, topk_method="group_limited_greedy",
                    n_group=3, topk_group=2, routed_scaling_factor=16.0, first_k_dense_replace=0, moe_layer_freq=2,
                    rms_norm_eps=1e-2,
                    rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=8.0, mscale=0.9,
                                         mscale_all_dim=0.6, original_max_position_embeddings=64))),
    "deepseek-v3-odd": dict(
        family="deepseek_v3", bias=-2.0, mtp=True,
        config=dict(MLA, vocab_size=103, hidden_size=64, intermediate_size=50, moe_intermediate_size=16,
                    num_attention_heads=4, num_key_value_heads=4, q_lora_rank=28, n_routed_experts=12,
                    n_shared_experts=0, num_experts_per_tok=4, n_group=4, topk_group=2, norm_topk_prob=False,
                    routed_scaling_factor=1.5, first_k_dense_replace=1, rope_interleave=False,
                    tie_word_embeddings=True, num_nextn_predict_layers=1)),
    "deepseek-v3-fp8-odd": dict(
        family="deepseek_v3", fp8=128, official=True, bias=0.5,
        config=dict(MLA, vocab_size=61, hidden_size=136, intermediate_size=132, moe_intermediate_size=24,
                    num_attention_heads=4, num_key_value_heads=4, q_lora_rank=24, n_routed_experts=6,
                    n_shared_experts=1, num_experts_per_tok=2, n_group=2, topk_group=1, first_k_dense_replace=1)),
    "llama-v2-gguf": dict(
        family="llama", version=2,
        gguf={"token_embd": Type.F16, "attn_q": Type.Q8_0, "attn_k": Type.Q5_1, "attn_v": Type.F32,
              "attn_output": Type.BF16, "ffn_gate": Type.Q4_0, "ffn_up": Type.IQ4_NL, "ffn_down": Type.Q5_0},
        config=dict(vocab_size=97, hidden_size=64, intermediate_size=96, num_hidden_layers=2, num_attention_heads=4,
                    num_key_value_heads=2, head_dim=16, attention_bias=True, tie_word_embeddings=True,
                    rms_norm_eps=1e-5, max_position_embeddings=512,
                    rope_parameters=dict(rope_type="llama3", rope_theta=10000.0, factor=8.0, low_freq_factor=1.0,
                                         high_freq_factor=4.0, original_max_position_embeddings=64))),
    "deepseek-v3-gguf": dict(
        family="deepseek_v3", bias=1.0,
        gguf={"token_embd": Type.Q8_0, "output": Type.F16, "attn_q_a": Type.Q4_1, "attn_q_b": Type.Q5_0,
              "attn_kv_a_mqa": Type.F16, "attn_k_b": Type.Q8_0, "attn_v_b": Type.Q4_0, "attn_output": Type.BF16,
              "ffn_gate": Type.Q5_1, "ffn_up": Type.IQ4_NL, "ffn_down": Type.Q4_K, "ffn_gate_exps": Type.MXFP4,
              "ffn_up_exps": Type.Q4_0, "ffn_down_exps": Type.Q8_0, "ffn_gate_shexp": Type.Q8_0,
              "ffn_up_shexp": Type.F32, "ffn_down_shexp": Type.Q6_K},
        config=dict(MLA, vocab_size=96, hidden_size=64, intermediate_size=256, moe_intermediate_size=32,
                    num_attention_heads=2, num_key_value_heads=2, q_lora_rank=32, kv_lora_rank=32,
                    qk_nope_head_dim=32, v_head_dim=16, n_routed_experts=8, n_shared_experts=8, num_experts_per_tok=3,
                    n_group=4, topk_group=2, first_k_dense_replace=1,
                    rope_parameters=dict(rope_type="yarn", rope_theta=10000.0, factor=40.0, mscale=1.0,
                                         mscale_all_dim=1.0, original_max_position_embeddings=64))),
}

# ---- weights and expectation ----


def scale_of(name, shape, case):
    """(mean, deviation) of a parameter's random values: activations and logits stay of order 1 to 10."""
    if "e_score" in name:
        return (-3.0 if case.get("bias", 0.3) < 0 else 0.0), abs(case.get("bias", 0.3))
    if name.endswith("bias"):
        return 0.0, 0.2
    if "norm" in name:
        return 1.0, 0.2
    if "embed" in name:
        return 0.0, 1.0
    return 0.0, (1.5 if "lm_head" in name or "gate.weight" in name else 1.2) / math.sqrt(shape[-1])


def randomize(model, case, seed):
    generator = torch.Generator().manual_seed(seed)
    dtype = case.get("dtype", torch.bfloat16)
    biases = [(n, b) for n, b in model.named_buffers() if "e_score" in n]
    for name, p in list(model.named_parameters()) + biases:
        if p.numel():
            mean, deviation = scale_of(name, p.shape, case)
            p.data.copy_((mean + deviation * torch.randn(p.shape, generator=generator)).to(dtype).float())


def logits_of(model, ids):
    with torch.no_grad():
        return model(input_ids=torch.tensor([ids]), use_cache=False).logits[0].float()


def expectation(model, vocab):
    generator, tensors = torch.Generator().manual_seed(1), {}
    for i, n in enumerate(LENGTHS):
        ids = torch.randint(0, vocab, (n,), generator=generator).tolist()
        logits, greedy = logits_of(model, ids), []
        last = logits[-1]
        for _ in range(STEPS):
            greedy.append(int(last.argmax()))
            last = logits_of(model, ids + greedy)[-1]
        tensors[f"prompt.{i}"] = torch.tensor(ids, dtype=torch.int32)
        tensors[f"logits.{i}"] = logits[-LAST:].contiguous() if n > 48 else logits.contiguous()
        tensors[f"greedy.{i}"] = torch.tensor(greedy, dtype=torch.int32)
    return tensors


# ---- safetensors ----


def split_experts(state):
    """transformers joins the experts of a layer; releases have a tensor for each."""
    out = {}
    for name, v in state.items():
        base = name.rsplit(".", 1)[0]
        if name.endswith("experts.gate_up_proj"):
            half = v.shape[1] // 2
            for e in range(v.shape[0]):
                out[f"{base}.{e}.gate_proj.weight"] = v[e, :half].contiguous()
                out[f"{base}.{e}.up_proj.weight"] = v[e, half:].contiguous()
        elif name.endswith("experts.down_proj"):
            for e in range(v.shape[0]):
                out[f"{base}.{e}.down_proj.weight"] = v[e].contiguous()
        else:
            out[name] = v
    return out


def to_fp8(w, block):
    """e4m3 values with a scale for each block x block square, as V3 ships; and the values that they stand for."""
    rows, cols = w.shape
    tall, wide = -(-rows // block), -(-cols // block)
    padded = torch.zeros(tall * block, wide * block)
    padded[:rows, :cols] = w
    squares = padded.view(tall, block, wide, block)
    scale = squares.abs().amax(dim=(1, 3)).clamp(min=1e-12) / 448.0
    q = (squares / scale[:, None, :, None]).view(tall * block, wide * block)[:rows, :cols].to(torch.float8_e4m3fn)
    spread = scale.repeat_interleave(block, 0).repeat_interleave(block, 1)[:rows, :cols]
    return q.contiguous(), scale.contiguous(), q.float() * spread


def quantize_fp8(model, block):
    """Rounds the model's matrices to FP8 in place; returns the file's tensors."""
    tensors = {}
    for name, p in model.named_parameters():
        if p.dim() < 2 or "embed" in name or "lm_head" in name or name.endswith("mlp.gate.weight"):
            continue
        parts = split_experts({name: p.data}) if p.dim() == 3 else {name: p.data}
        for part, v in parts.items():
            tensors[part], tensors[part + "_scale_inv"], value = to_fp8(v, block)
            parts[part] = value
        if name.endswith("experts.gate_up_proj"):
            values = list(parts.values())
            p.data.copy_(torch.stack([torch.cat(values[i:i + 2]) for i in range(0, len(values), 2)]))
        else:
            p.data.copy_(torch.stack(list(parts.values())) if p.dim() == 3 else parts[name])
    return tensors


def prediction_layer(state, config):
    """The tensors of one multi-token prediction layer, which releases carry behind the last layer."""
    last, extra = f"model.layers.{config.num_hidden_layers - 1}.", f"model.layers.{config.num_hidden_layers}."
    out = {extra + n[len(last):]: v.clone() for n, v in state.items() if n.startswith(last)}
    ones = torch.ones(config.hidden_size, dtype=torch.bfloat16)
    for name in ("enorm.weight", "hnorm.weight", "shared_head.norm.weight"):
        out[extra + name] = ones.clone()
    out[extra + "eh_proj.weight"] = torch.ones(config.hidden_size, 2 * config.hidden_size, dtype=torch.bfloat16)
    return out


def official_config(path):
    """Rewrites config.json as releases spell it: rope_theta, rope_scaling, torch_dtype, and keys of no use here."""
    c = json.loads(path.read_text())
    rope = c.pop("rope_parameters")
    c["rope_theta"] = rope.pop("rope_theta")
    kind = rope.pop("rope_type")
    c["rope_scaling"] = None if kind == "default" else dict(rope, type=kind)
    c["torch_dtype"] = c.pop("dtype", "bfloat16")
    c["transformers_version"] = "4.33.1"
    if c["model_type"].startswith("deepseek"):
        for key in ("head_dim", "qk_head_dim", "rope_interleave", "output_router_logits"):
            c.pop(key, None)
        c.update(auto_map={"AutoConfig": "configuration_deepseek.DeepseekConfig"}, aux_loss_alpha=0.001, ep_size=1,
                 seq_aux=True)
        v3 = c["model_type"].endswith("3")
        c["scoring_func"] = "sigmoid" if v3 else "softmax"
        if v3:
            c["topk_method"] = "noaux_tc"
    path.write_text(json.dumps(c, indent=2) + "\n")


def write_safetensors(model, config, case, folder):
    if "fp8" in case:
        block = case["fp8"]
        tensors = quantize_fp8(model, block)
        rest = {n: v.to(torch.bfloat16) for n, v in split_experts(model.state_dict()).items()}
        save_file({**rest, **tensors}, folder / "model.safetensors", metadata={"format": "pt"})
        config.architectures = [type(model).__name__]
        config.quantization_config = dict(activation_scheme="dynamic", fmt="e4m3", quant_method="fp8",
                                          weight_block_size=[block, block])
        config.save_pretrained(folder)
    else:
        shard = {"max_shard_size": case["shard"]} if "shard" in case else {}
        copy = type(model)(config)
        copy.load_state_dict(model.state_dict())
        copy.to(case.get("dtype", torch.bfloat16)).save_pretrained(folder, **shard)
    if "mtp" in case:
        state = load_file(folder / "model.safetensors")
        save_file({**state, **prediction_layer(state, config)}, folder / "model.safetensors", metadata={"format": "pt"})
    if case.get("official"):
        official_config(folder / "config.json")
    (folder / "generation_config.json").unlink(missing_ok=True)


# ---- GGUF, in the names and layouts of llama.cpp's converter ----

GGUF_NAMES = {
    "input_layernorm": "attn_norm", "post_attention_layernorm": "ffn_norm", "self_attn.q_proj": "attn_q",
    "self_attn.k_proj": "attn_k", "self_attn.v_proj": "attn_v", "self_attn.o_proj": "attn_output",
    "self_attn.q_a_proj": "attn_q_a", "self_attn.q_a_layernorm": "attn_q_a_norm", "self_attn.q_b_proj": "attn_q_b",
    "self_attn.kv_a_proj_with_mqa": "attn_kv_a_mqa", "self_attn.kv_a_layernorm": "attn_kv_a_norm",
    "mlp.gate_proj": "ffn_gate", "mlp.up_proj": "ffn_up", "mlp.down_proj": "ffn_down", "mlp.gate": "ffn_gate_inp",
    "mlp.shared_experts.gate_proj": "ffn_gate_shexp", "mlp.shared_experts.up_proj": "ffn_up_shexp",
    "mlp.shared_experts.down_proj": "ffn_down_shexp",
}


def permute(w, heads):
    """Llama's q and k: the pairs that rotate together come to lie side by side."""
    return w.reshape(heads, 2, w.shape[0] // heads // 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def unpermute(w, heads):
    return w.reshape(heads, w.shape[0] // heads // 2, 2, *w.shape[1:]).swapaxes(1, 2).reshape(w.shape)


def random_blocks(rng, kind, rows, cols):
    """Blocks of a type that the package decodes only: random bits under small scales."""
    block, size = gguf.GGML_QUANT_SIZES[kind]
    data = rng.integers(0, 256, (rows, cols // block, size), dtype=np.uint8)
    scale = np.frombuffer(np.float16([0.0015]).tobytes(), np.uint8)
    if kind == Type.Q4_K:  # d, dmin, then scales and values
        data[:, :, 0:2], data[:, :, 2:4] = scale, scale
    elif kind == Type.Q6_K:  # values, int8 scales, d
        data[:, :, 192:208] = rng.integers(0, 16, data[:, :, 192:208].shape, dtype=np.uint8)
        data[:, :, 208:210] = scale
    elif kind == Type.IQ4_NL:  # d, then values
        data[:, :, 0:2] = np.frombuffer(np.float16([0.002]).tobytes(), np.uint8)
    return data.reshape(rows, -1)


def encode(rng, value, kind):
    """The bytes of a tensor in a type, and the values that they stand for."""
    v = value.numpy().astype(np.float32)
    if kind == Type.F32:
        return v, value
    if kind == Type.F16:
        raw = v.astype(np.float16)
        return raw, torch.from_numpy(raw.astype(np.float32))
    if kind in (Type.Q4_K, Type.Q6_K, Type.IQ4_NL):
        raw = random_blocks(rng, kind, v.size // v.shape[-1], v.shape[-1]).reshape(*v.shape[:-1], -1)
    else:
        raw = quants.quantize(v, kind)
    return raw, torch.from_numpy(np.ascontiguousarray(quants.dequantize(raw, kind)).astype(np.float32))


def gguf_tensors(state, config):
    """{GGUF name: (value, how to put a value back into `state`)}."""
    out = {}
    for name, v in state.items():
        def put(x, name=name):
            state[name].copy_(x)
        if name == "model.embed_tokens.weight":
            out["token_embd.weight"] = v, put
        elif name == "lm_head.weight":
            if not config.tie_word_embeddings:
                out["output.weight"] = v, put
        elif name == "model.norm.weight":
            out["output_norm.weight"] = v, put
        else:
            layer, rest = name.removeprefix("model.layers.").split(".", 1)
            out.update(layer_tensor(f"blk.{layer}.", rest, v, put, config))
    return out


def layer_tensor(prefix, name, v, put, config):
    stem, suffix = name.rsplit(".", 1)
    heads = {"self_attn.q_proj": config.num_attention_heads, "self_attn.k_proj": config.num_key_value_heads}.get(stem)
    if config.model_type == "llama" and heads:
        return {prefix + GGUF_NAMES[stem] + "." + suffix: (permute(v, heads), lambda x: put(unpermute(x, heads)))}
    if suffix == "e_score_correction_bias":
        return {prefix + "exp_probs_b.bias": (v, put)}
    if name == "mlp.experts.gate_up_proj":
        half = v.shape[1] // 2
        return {prefix + "ffn_gate_exps.weight": (v[:, :half], lambda x: v[:, :half].copy_(x)),
                prefix + "ffn_up_exps.weight": (v[:, half:], lambda x: v[:, half:].copy_(x))}
    if name == "mlp.experts.down_proj":
        return {prefix + "ffn_down_exps.weight": (v, put)}
    if stem == "self_attn.kv_b_proj":
        joint = v.view(config.num_attention_heads, -1, v.shape[1])
        nope = config.qk_nope_head_dim
        return {prefix + "attn_k_b.weight": (joint[:, :nope].transpose(1, 2).contiguous(),
                                             lambda x: joint[:, :nope].copy_(x.transpose(1, 2))),
                prefix + "attn_v_b.weight": (joint[:, nope:].contiguous(), lambda x: joint[:, nope:].copy_(x))}
    return {prefix + GGUF_NAMES[stem] + "." + suffix: (v, put)}


def rope_factors(config):
    """What Llama 3's scaling divides each frequency by: the tensor rope_freqs."""
    p, dim = config.rope_parameters, config.head_dim
    plain = 1.0 / p["rope_theta"] ** (torch.arange(0, dim, 2, dtype=torch.float32) / dim)
    scaled, _ = transformers.modeling_rope_utils.ROPE_INIT_FUNCTIONS["llama3"](config, "cpu")
    return plain / scaled


def write_keys(w, c):
    w.add_block_count(c.num_hidden_layers)
    w.add_context_length(c.max_position_embeddings)
    w.add_embedding_length(c.hidden_size)
    w.add_feed_forward_length(c.intermediate_size)
    w.add_head_count(c.num_attention_heads)
    w.add_layer_norm_rms_eps(c.rms_norm_eps)
    w.add_rope_freq_base(c.rope_parameters["rope_theta"])
    if c.model_type == "llama":
        w.add_head_count_kv(c.num_key_value_heads)
        w.add_key_length(c.head_dim)
        w.add_value_length(c.head_dim)
        return
    w.add_head_count_kv(1)
    w.add_q_lora_rank(c.q_lora_rank)
    w.add_kv_lora_rank(c.kv_lora_rank)
    w.add_key_length(c.kv_lora_rank + c.qk_rope_head_dim)
    w.add_value_length(c.kv_lora_rank)
    w.add_key_length_mla(c.qk_nope_head_dim + c.qk_rope_head_dim)
    w.add_value_length_mla(c.v_head_dim)
    w.add_rope_dimension_count(c.qk_rope_head_dim)
    w.add_rope_scaling_type(gguf.RopeScalingType.YARN)
    w.add_rope_scaling_factor(c.rope_parameters["factor"])
    w.add_rope_scaling_orig_ctx_len(c.rope_parameters["original_max_position_embeddings"])
    w.add_rope_scaling_yarn_log_mul(0.1 * c.rope_parameters["mscale_all_dim"])
    w.add_leading_dense_block_count(c.first_k_dense_replace)
    w.add_expert_count(c.n_routed_experts)
    w.add_expert_used_count(c.num_experts_per_tok)
    w.add_expert_shared_count(c.n_shared_experts)
    w.add_expert_feed_forward_length(c.moe_intermediate_size)
    w.add_expert_group_count(c.n_group)
    w.add_expert_group_used_count(c.topk_group)
    w.add_expert_weights_norm(c.norm_topk_prob)
    w.add_expert_weights_scale(c.routed_scaling_factor)


def write_gguf(model, config, case, folder):
    """Writes model.gguf and rounds the model's weights to what the file holds."""
    path, rng = folder / "model.gguf", np.random.default_rng(1)
    w = gguf.GGUFWriter(path, "llama" if config.model_type == "llama" else "deepseek2")
    write_keys(w, config)
    for name, (value, put) in gguf_tensors(model.state_dict(), config).items():
        kind = case["gguf"].get(name.split(".")[-2], Type.F32) if value.dim() > 1 else Type.F32
        raw, decoded = encode(rng, value.clone(), kind)
        put(decoded)
        w.add_tensor(name, np.ascontiguousarray(raw), raw_dtype=None if kind in (Type.F32, Type.F16) else kind)
    if config.rope_parameters["rope_type"] == "llama3":
        w.add_tensor("rope_freqs.weight", rope_factors(config).numpy())
    w.write_header_to_file()
    w.write_kv_data_to_file()
    w.write_tensors_to_file()
    w.close()
    if "version" in case:
        with open(path, "r+b") as f:
            f.seek(4)
            f.write(struct.pack("<I", case["version"]))


def make(name):
    case = CASES[name]
    kind = FAMILIES[case["family"]]
    config = getattr(transformers, kind + "Config")(**case["config"])
    config._attn_implementation = "eager"
    model = getattr(transformers, kind + "ForCausalLM")(config).float().eval()
    randomize(model, case, sum(map(ord, name)))
    folder = HERE / name
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    (write_gguf if "gguf" in case else write_safetensors)(model, config, case, folder)
    save_file(expectation(model, config.vocab_size), folder / "expected.safetensors")


if __name__ == "__main__":
    for case_name in sys.argv[1:] or CASES:
        make(case_name)
        print(case_name)
