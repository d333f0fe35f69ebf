#!/usr/bin/env python3
"""The official `anthropic` client against a live `hadal serve`: messages, streams, thinking, tools, counting, errors."""

import json
import unittest

import models
from server import Case, Server

try:
    import anthropic
except ImportError:
    raise unittest.SkipTest("the Python package anthropic is not installed: tools/test-venv") from None

HI = [{"role": "user", "content": "hi"}]
TOOLS = [
    {"name": tool["function"]["name"], "description": tool["function"]["description"], "input_schema": tool["function"]["parameters"]}
    for tool in models.TOOLS
]


class Anthropic(Case):
    @classmethod
    def serve(cls):
        return Server(*(make() for make in (models.tiny, models.v3, models.r1, models.qwen, models.slow)))

    @classmethod
    def setUpClass(cls):
        super().setUpClass()
        cls.client = anthropic.Anthropic(base_url=cls.server.url, api_key=cls.server.key, max_retries=0)
        cls.addClassCleanup(cls.client.close)

    def create(self, model="tiny", messages=HI, **more):
        return self.client.messages.create(model=model, messages=messages, **{"max_tokens": 200, **more})

    def stream(self, model="tiny", messages=HI, **more):
        """The events as they come, and the message that the client makes of them."""
        with self.client.messages.stream(model=model, messages=messages, **{"max_tokens": 200, **more}) as stream:
            events = list(stream)
            return events, stream.get_final_message()

    def raises(self, kind, text, call, *args, **more):
        with self.assertRaises(kind) as caught:
            call(*args, **more)
        body = caught.exception.body
        self.assertEqual(body["type"], "error")
        self.assertIn(text, body["error"]["message"])
        self.assertTrue(body["request_id"])
        return body["error"]["type"]

    # ---- text ----

    def test_whole(self):
        message = self.create()
        self.assertEqual((message.type, message.role, message.model), ("message", "assistant", "tiny"))
        self.assertTrue(message.id.startswith("msg_"))
        (block,) = message.content
        self.assertEqual((block.type, block.text), ("text", models.HELLO))
        self.assertEqual((message.stop_reason, message.stop_sequence), ("end_turn", None))
        self.assertGreater(message.usage.input_tokens, 0)
        self.assertEqual(message.usage.output_tokens, 23)

    def test_stream(self):
        _, message = self.stream()
        self.assertEqual(message.content[0].text, models.HELLO)
        self.assertEqual((message.stop_reason, message.usage.output_tokens), ("end_turn", 23))
        self.assertGreater(message.usage.input_tokens + message.usage.cache_read_input_tokens, 0)

    def test_events_as_they_are_written(self):
        body = {"model": "tiny", "messages": HI, "max_tokens": 200}
        events = list(self.server.events("/v1/messages", body, key=None, x_api_key=self.server.key))
        names = [name for name, _ in events]
        self.assertEqual([data["type"] for _, data in events], names)
        self.assertEqual(names[:2], ["message_start", "content_block_start"])
        self.assertEqual(names[-3:], ["content_block_stop", "message_delta", "message_stop"])
        self.assertEqual(set(names[2:-3]), {"content_block_delta"})
        self.assertEqual(events[0][1]["message"]["content"], [])

    def test_system_and_blocks(self):
        count = self.client.messages.count_tokens
        plain = count(model="tiny", system="s", messages=HI).input_tokens
        parts = count(model="tiny", system=[{"type": "text", "text": "s", "cache_control": {"type": "ephemeral"}}],
                      messages=[{"role": "user", "content": [{"type": "text", "text": "h"}, {"type": "text", "text": "i"}]}])
        self.assertEqual(parts.input_tokens, plain)
        self.assertGreater(plain, count(model="tiny", messages=HI).input_tokens)

    def test_stop_sequences(self):
        message = self.create(stop_sequences=["xyzzy", "friend"])
        self.assertEqual(message.content[0].text, "Hello there, my ")
        self.assertEqual((message.stop_reason, message.stop_sequence), ("stop_sequence", "friend"))
        _, message = self.stream(stop_sequences=["friend"])
        self.assertEqual(message.content[0].text, "Hello there, my ")
        self.assertEqual((message.stop_reason, message.stop_sequence), ("stop_sequence", "friend"))

    def test_limit(self):
        message = self.create(max_tokens=3)
        self.assertEqual((message.stop_reason, message.usage.output_tokens), ("max_tokens", 3))
        _, message = self.stream(max_tokens=3)
        self.assertEqual((message.stop_reason, message.usage.output_tokens), ("max_tokens", 3))

    def test_tokens_are_counted(self):
        counted = self.client.messages.count_tokens(model="v3", messages=HI, tools=TOOLS).input_tokens
        usage = self.create("v3", max_tokens=1, tools=TOOLS).usage
        self.assertEqual(usage.input_tokens + usage.cache_read_input_tokens, counted)

    def test_cached(self):
        long = [{"role": "user", "content": "a tale to be told twice " * 40}]
        first, second = (self.create(messages=long, max_tokens=1).usage for _ in range(2))
        self.assertEqual(first.cache_read_input_tokens, 0)
        self.assertGreater(second.cache_read_input_tokens, 200)
        self.assertEqual(first.input_tokens, second.input_tokens + second.cache_read_input_tokens)

    # ---- thinking ----

    def test_thinking(self):
        message = self.create("r1")
        self.assertEqual([block.type for block in message.content], ["thinking", "text"])
        self.assertEqual(message.content[0].thinking.strip(), models.R1_THOUGHT)
        self.assertEqual(message.content[1].text.strip(), models.R1_ANSWER)
        events, streamed = self.stream("r1")
        self.assertEqual([b.type for b in streamed.content], ["thinking", "text"])
        self.assertEqual(streamed.content[0].thinking, message.content[0].thinking)
        self.assertEqual(streamed.content[1].text, message.content[1].text)
        self.assertGreater(sum(event.type == "thinking" for event in events), 5)

    def test_thinking_goes_back(self):
        first = self.create("r1")
        reply = self.create("r1", [*HI, {"role": "assistant", "content": [b.model_dump() for b in first.content]},
                                   {"role": "user", "content": "more"}])
        self.assertEqual(reply.stop_reason, "end_turn")

    # ---- tools ----

    FORMS = [
        ("v3", "Let me look.", [("get_weather", models.ARGUMENTS), ("get_weather", models.OTHER_ARGUMENTS)], models.V3_AFTER),
        ("qwen", "Sure.", [("get_weather", models.ARGUMENTS), ("get_time", "{}")], models.QWEN_AFTER),
    ]

    def check_calls(self, message, text, calls):
        self.assertEqual(message.stop_reason, "tool_use")
        self.assertEqual([b.type for b in message.content], ["text", "tool_use", "tool_use"])
        self.assertEqual(message.content[0].text, text)
        for block, (name, arguments) in zip(message.content[1:], calls):
            self.assertEqual((block.name, block.input), (name, json.loads(arguments)))
        self.assertNotEqual(message.content[1].id, message.content[2].id)

    def test_tools(self):
        for model, text, calls, _ in self.FORMS:
            self.check_calls(self.create(model, tools=TOOLS), text, calls)
            self.check_calls(self.stream(model, tools=TOOLS)[1], text, calls)

    def test_results_go_back(self):
        for model, _, _, after in self.FORMS:
            first = self.create(model, tools=TOOLS)
            said = [b.model_dump() for b in first.content if b.type == "tool_use"]
            results = [{"type": "tool_result", "tool_use_id": b["id"], "content": [{"type": "text", "text": "21"}]} for b in said]
            messages = [*HI, {"role": "assistant", "content": said}, {"role": "user", "content": results}]
            self.assertEqual(self.create(model, messages, tools=TOOLS).content[0].text, after, model)

    def test_tool_choice(self):
        message = self.create("v3", tools=TOOLS, tool_choice={"type": "none"})
        self.assertEqual([b.type for b in message.content], ["text"])
        for choice in [{"type": "any"}, {"type": "tool", "name": "get_time"}]:
            kind = self.raises(anthropic.BadRequestError, "tool_choice", self.create, "v3", tools=TOOLS, tool_choice=choice)
            self.assertEqual(kind, "invalid_request_error")

    # ---- errors ----

    def test_errors(self):
        self.assertEqual(self.raises(anthropic.NotFoundError, "xyzzy", self.create, "xyzzy"), "not_found_error")
        self.raises(anthropic.BadRequestError, "max_tokens", self.create, max_tokens=0)
        self.raises(anthropic.BadRequestError, "temperature", self.create, extra_body={"temperature": "hot"})
        self.raises(anthropic.BadRequestError, "messages[0].content", self.create, messages=[{"role": "user", "content": 7}])
        self.raises(anthropic.BadRequestError, "messages[0].content[0]", self.create,
                    messages=[{"role": "user", "content": [{"type": "image", "source": {"type": "url", "url": "http://x"}}]}])
        self.raises(anthropic.BadRequestError, "8192", self.create, messages=[{"role": "user", "content": "abc " * 20000}])
        stranger = anthropic.Anthropic(base_url=self.server.url, api_key="hd-" + "A" * 43, max_retries=0)
        self.assertEqual(
            self.raises(anthropic.AuthenticationError, "key", stranger.messages.create, model="tiny", messages=HI, max_tokens=1),
            "authentication_error")
        stranger.close()
        self.raises(anthropic.BadRequestError, "max_tokens: is missing", self.client.post, "/v1/messages",
                    body={"model": "tiny", "messages": HI}, cast_to=object)

    def test_a_stream_that_is_closed(self):
        with self.client.messages.stream(model="slow", messages=HI, max_tokens=1000) as stream:
            for _, _event in zip(range(4), stream):
                pass
            self.assertEqual(self.server.metric("vllm:num_requests_running", "slow"), 1)
        self.assertLess(self.server.wait_for("vllm:num_requests_running", 0, model="slow"), 1)


if __name__ == "__main__":
    unittest.main()
