"""Scripted models (scripted.py) that several tests talk to, and what they answer.  Each is made once and kept until the
tests end; nothing writes to a model's folder."""

import atexit
import functools
import shutil
import tempfile
from pathlib import Path

from scripted import R1, TINY, V3, make_scripted

HELLO = "Hello there, my friend: one, two, three!"
SECOND = "A second answer."

ARGUMENTS = '{"city": "Paris \\u00e9 \\"x\\"", "days": 3, "more": {"a": [1, 2.5, null, true]}}'
OTHER_ARGUMENTS = '{"city": "Oslo"}'


def _call(name, arguments):
    return f"<｜tool▁call▁begin｜>function<｜tool▁sep｜>{name}\n```json\n{arguments}\n```<｜tool▁call▁end｜>"


# A text, then two calls, in the form of DeepSeek-V3; and the answer to their results.
V3_CALLS = (
    "Let me look.<｜tool▁calls▁begin｜>" + _call("get_weather", ARGUMENTS) + "\n"
    + _call("get_weather", OTHER_ARGUMENTS) + "<｜tool▁calls▁end｜>"
)
V3_AFTER = "It is 21 degrees in Paris."

R1_THOUGHT = "The user greets me, 你好 too.\nSo I greet back."
R1_ANSWER = "Hello! 你好 \U0001f600"

# Qwen's form, with the words of its template that matter here.
QWEN_TEMPLATE = (
    "{% if tools %}<|file_sep|>system\n# Tools\n{% for t in tools %}{{ t | tojson }}\n{% endfor %}<|quad_end|>\n{% endif %}"
    "{% for m in messages %}"
    "{% if m.role == 'tool' %}<|file_sep|>user\n<tool_response>\n{{ m.content }}\n</tool_response><|quad_end|>\n"
    "{% elif m.tool_calls %}<|file_sep|>assistant\n{{ m.content or '' }}"
    "{% for c in m.tool_calls %}\n<tool_call>\n"
    '{"name": "{{ c.function.name }}", "arguments": {{ c.function.arguments | tojson }}}'
    "\n</tool_call>{% endfor %}<|quad_end|>\n"
    "{% else %}<|file_sep|>{{ m.role }}\n{{ m.content }}<|quad_end|>\n{% endif %}"
    "{% endfor %}{% if add_generation_prompt %}<|file_sep|>assistant\n{% endif %}"
)
QWEN_START = "<|file_sep|>assistant\n"
QWEN_CALLS = (
    'Sure.\n<tool_call>\n{"name": "get_weather", "arguments": ' + ARGUMENTS + "}\n</tool_call>\n"
    '<tool_call>\n{"name": "get_time", "arguments": {}}\n</tool_call>'
)
QWEN_AFTER = "It is noon."

TOOLS = [
    {
        "type": "function",
        "function": {
            "name": name,
            "description": f"What {name} says.",
            "parameters": {"type": "object", "properties": {"city": {"type": "string"}, "days": {"type": "integer"}}},
        },
    }
    for name in ["get_weather", "get_time"]
]


@functools.cache
def _folder():
    folder = tempfile.mkdtemp(prefix="hadal-models-")
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    return Path(folder)


@functools.cache
def tiny():
    """Two answers to a conversation; quick to load."""
    return make_scripted(_folder() / "tiny", [HELLO, SECOND], TINY)


@functools.cache
def slow(delay_ms=50):
    """Goes on until it is stopped, a token every so many milliseconds; its name is `slow` for 50, else `slow-N`."""
    name = "slow" if delay_ms == 50 else f"slow-{delay_ms}"
    return make_scripted(_folder() / name, ["a b c d "], TINY, repeat=True, delay_ms=delay_ms)


@functools.cache
def v3():
    return make_scripted(_folder() / "v3", [V3_CALLS, V3_AFTER], V3)


@functools.cache
def r1():
    return make_scripted(_folder() / "r1", [f"{R1_THOUGHT}\n</think>\n\n{R1_ANSWER}", SECOND], R1)


@functools.cache
def qwen():
    return make_scripted(_folder() / "qwen", [QWEN_CALLS, QWEN_AFTER], R1, chat_template=QWEN_TEMPLATE, starts=(QWEN_START,))
