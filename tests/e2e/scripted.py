"""Model folders whose answers are given: the test-only architecture of src/models/scripted.c, with a real tokenizer.

    folder = make_scripted(tmp / "m", ["Hello!", "<think>\nHm.\n</think>\n\nYes."])

The first answer of a conversation is the first reply, the second the second, and so on; the last one stays.  Everything
else (templates, tokens, cache, batch, sampling, parsers) is what it is for any model.  Standard library only.
"""

import json
import os
import subprocess
import zipfile
from pathlib import Path

SOURCE = Path(os.environ.get("HD_SOURCE", Path(__file__).resolve().parents[2]))
PROGRAM = os.environ.get("HD_PROGRAM", str(SOURCE / "build/release/hadal"))
TOKENIZERS = SOURCE / "tests/data/golden/tokenizers"

# Small and quick: 256 bytes and a few hundred merges; its template knows <｜User｜> and <｜Assistant｜>.
TINY = SOURCE / "tests/data/golden/models/qwen2"
# Real vocabularies of 129k and 152k; their templates have tools, that of R1 reasoning as well.
V3 = TOKENIZERS / "deepseek-v3"
R1 = TOKENIZERS / "deepseek-r1-distill-qwen-7b"

# What a template puts right before an answer, as far as its words are the same in every answer.
STARTS = ("<｜Assistant｜>", "<｜tool▁outputs▁end｜>", "<|im_start|>assistant\n")


def _copy_tokenizer(folder, source, chat_template):
    """Puts tokenizer.json (which may be zipped) and tokenizer_config.json into the folder; returns both, parsed."""
    source = Path(source)
    packed = source / "tokenizer.json.zip"
    if packed.exists():
        with zipfile.ZipFile(packed) as archive:
            text = archive.read("tokenizer.json")
    else:
        text = (source / "tokenizer.json").read_bytes()
    (folder / "tokenizer.json").write_bytes(text)
    config = json.loads((source / "tokenizer_config.json").read_text("utf-8"))
    if chat_template is not None:
        config["chat_template"] = chat_template
    (folder / "tokenizer_config.json").write_text(json.dumps(config, ensure_ascii=False), "utf-8")
    return json.loads(text), config


def encode(folder, texts):
    """Ids of each text, special strings as their tokens and none added: what `hadal tokenize --json` says."""
    lines = "".join(json.dumps(text) + "\n" for text in texts)
    done = subprocess.run(
        [PROGRAM, "tokenize", str(folder), "--json"], input=lines.encode(), capture_output=True, timeout=120, check=False
    )
    if done.returncode != 0:
        raise RuntimeError(done.stderr.decode("utf-8", "replace"))
    return [json.loads(line) for line in done.stdout.splitlines()]


def _vocabulary(tokenizer):
    """One more than the highest id."""
    added = [token["id"] for token in tokenizer.get("added_tokens", [])]
    return max(list(tokenizer["model"]["vocab"].values()) + added) + 1


def _end_id(tokenizer, config):
    """The id of eos_token, which may be an object; None without one."""
    token = config.get("eos_token")
    text = token.get("content") if isinstance(token, dict) else token
    for entry in tokenizer.get("added_tokens", []):
        if entry["content"] == text:
            return entry["id"]
    return tokenizer["model"]["vocab"].get(text)


def make_scripted(folder, replies=(), tokenizer_from=TINY, chat_template=None, context=8192, starts=STARTS, **more):
    """Writes a model folder and returns its path.

    replies: texts (special strings become their tokens) or lists of ids, one for each answer of a conversation.
    tokenizer_from: a folder with tokenizer.json, zipped or not, and tokenizer_config.json.
    chat_template: instead of the tokenizer's own.
    starts: texts behind which an answer begins; those that are no tokens of their own here are left out.
    more: further keys of config.json: repeat=True, echo=True, delay_ms=50.
    """
    folder = Path(folder)
    folder.mkdir(parents=True, exist_ok=True)
    tokenizer, settings = _copy_tokenizer(folder, tokenizer_from, chat_template)
    special = {token["content"] for token in tokenizer.get("added_tokens", [])}
    starts = [text for text in starts if any(token in text for token in special)]
    texts = [reply for reply in replies if isinstance(reply, str)]
    ids = encode(folder, texts + starts)
    encoded = iter(ids[: len(texts)])
    config = {
        "model_type": "hadal_scripted",
        "vocab_size": _vocabulary(tokenizer),
        "max_position_embeddings": context,
        "script": [next(encoded) if isinstance(reply, str) else list(reply) for reply in replies],
        "start_token_id": ids[len(texts) :],
        "eos_token_id": _end_id(tokenizer, settings),
        **more,
    }
    (folder / "config.json").write_text(json.dumps(config), "utf-8")
    return folder
