"""For schemathesis (test_schemathesis.py): brings every second body nearer to what the server takes, so that not only its
refusals are looked at.  The schema can't say that content may be missing beside tool calls only, or what fits a context."""

import itertools

import schemathesis

_turn = itertools.count()
_NOT_YET = ("tool_choice", "response_format", "suffix", "best_of", "echo", "logit_bias", "top_logprobs")


def _mend(body):
    for name in _NOT_YET:
        body.pop(name, None)
    for name in ("max_tokens", "max_completion_tokens"):
        if isinstance(body.get(name), (int, float)):
            body[name] = 1 + int(body[name]) % 40
    for message in body.get("messages") or []:
        if isinstance(message, dict) and not isinstance(message.get("content"), str):
            message["content"] = "hi"
    if isinstance(body.get("model"), str):
        del body["model"]


@schemathesis.hook
def before_call(context, case, kwargs):
    if not isinstance(case.body, dict) or not case.operation.path.startswith("/v1/"):
        return
    turn = next(_turn)
    if turn % 2:
        _mend(case.body)
    if turn % 4 == 1:
        case.body["stream"] = True  # its events are described, too
