"""An Anthropic message made of a chat completion, whole or as it streams.

In a stream, blocks come one after the other, as Anthropic sends them and its SDKs expect them. Tool calls that arrive
interleaved are therefore told in turn: a call waits until the arguments of the one before it are complete.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from typing import Any

from metaclaw.dialects import call_deltas, messages, sse
from metaclaw.dialects.base import error_in, error_status, object_or_empty
from metaclaw.dialects.chat import DONE, text_of
from metaclaw.dialects.loose import count_of, dict_of, dicts_of, list_of
from metaclaw.errors import UpstreamError

STOP_REASONS = {
    "stop": "end_turn", "length": "max_tokens", "tool_calls": "tool_use", "function_call": "tool_use",
    "content_filter": "refusal",
}
DELTAS = {"thinking": ("thinking_delta", "thinking"), "text": ("text_delta", "text")}
CALL_DELTA = ("input_json_delta", "partial_json")


def whole(body: Mapping[str, Any], asked: Mapping[str, Any]) -> dict[str, Any]:
    """Raises `UpstreamError` where `body` is no chat completion: with what it says where it is an error, else 502."""
    choice = next(iter(dicts_of(body.get("choices"))), {})
    message = choice.get("message")
    if not isinstance(message, dict):
        if body.get("error"):
            raise UpstreamError(error_status(body), *error_in(body))
        raise UpstreamError(502, "upstream_garbage", "The upstream's reply is not a chat completion. Try again.")
    content = [
        *({"type": "thinking", "thinking": thought, "signature": ""} for thought in [_thought(message)] if thought),
        *({"type": "text", "text": text} for text in [_said(message)] if text),
    ]
    asked_for = enumerate(dicts_of(message.get("tool_calls")))
    calls = [_tool_use(call, f"{body.get('id')}_{number}", _input(call)) for number, call in asked_for]
    stop = _stop(choice, asked, called=bool(calls))
    return {**_message(body, asked, [*content, *calls]), **stop, "usage": _usage(body.get("usage"))}


class Stream:
    """A `StreamTranslation`."""

    def __init__(self, asked: Mapping[str, Any]) -> None:
        self._asked = asked
        self._blocks: list[_Block] = []  # the one under way, and those that wait for its end
        self._index = 0  # of the one under way
        self._calls = 0
        self._begun = False
        self._id: Any = None
        self._finish: Mapping[str, Any] | None = None  # the choice that ended the reply
        self._usage: Any = None
        self._over = False

    def feed(self, event: bytes) -> Iterator[bytes]:
        data = sse.data_of(event)
        if self._over:
            return
        if not data:
            if event.startswith(b":"):
                yield event  # a comment keeps the connection alive in any format
            return
        if data == DONE:
            yield from self._close()
            return
        body = object_or_empty(data)
        if body.get("error"):
            self._over = True
            yield messages.error_event(error_status(body), *error_in(body))
        elif body:
            yield from self._chunk(body)

    def end(self) -> Iterator[bytes]:
        if self._finish is not None and not self._over:
            yield from self._close()

    def _chunk(self, body: Mapping[str, Any]) -> Iterator[bytes]:
        yield from self._begin(body)
        self._usage = body.get("usage") or self._usage
        for choice in dicts_of(body.get("choices")):
            if not choice.get("index"):
                yield from self._choice(choice)

    def _begin(self, body: Mapping[str, Any]) -> Iterator[bytes]:
        if not self._begun:
            self._begun, self._id = True, body.get("id")
            message = {**_message(body, self._asked, []), "stop_reason": None, "stop_sequence": None}
            yield _event("message_start", message={**message, "usage": _usage(None)})

    def _choice(self, choice: Mapping[str, Any]) -> Iterator[bytes]:
        delta = dict_of(choice.get("delta"))
        self._say("thinking", _thought(delta))
        self._say("text", _said(delta))
        for call in dicts_of(delta.get("tool_calls")):
            self._call(call)
        if choice.get("finish_reason"):
            self._finish = choice
        yield from self._flow(to_the_end=self._finish is not None)

    def _say(self, kind: str, text: str) -> None:
        if not text:
            return
        if not self._blocks or self._blocks[-1].kind != kind:
            empty = {"thinking": "", "signature": ""} if kind == "thinking" else {"text": ""}
            self._blocks.append(_Block({"type": kind, **empty}))
        self._blocks[-1].take(text)

    def _call(self, call: Mapping[str, Any]) -> None:
        block = call_deltas.known([one for one in self._blocks if one.kind == "tool_use"], call)
        if block is None:
            if not dict_of(call.get("function")).get("name"):
                return  # more of a call that was complete
            block = _Block(_tool_use(call, f"{self._id}_{self._calls}", {}), call.get("index"))
            self._blocks.append(block)
            self._calls += 1
        block.take(_arguments(call))

    def _flow(self, to_the_end: bool) -> Iterator[bytes]:
        """What can be told now: the block under way, and the next ones where it is over."""
        while self._blocks:
            block = self._blocks[0]
            yield from block.tell(self._index)
            if not to_the_end and (len(self._blocks) == 1 or not block.complete()):
                return
            yield _event("content_block_stop", index=self._index)
            self._blocks.pop(0)
            self._index += 1

    def _close(self) -> Iterator[bytes]:
        yield from self._begin({})
        yield from self._flow(to_the_end=True)
        stop = _stop(self._finish or {}, self._asked, called=self._calls > 0)
        yield _event("message_delta", delta=stop, usage=_usage(self._usage))
        yield _event("message_stop")
        self._over = True


@dataclass(slots=True)
class _Block:
    """`start` is the content block as it begins; `number` the index of its call in the chat stream, `arguments` what
    has come of them. Of text nothing is kept: there may be any amount of it.
    """

    start: dict[str, Any]
    number: Any = None
    arguments: str = ""
    waiting: list[str] = field(default_factory=list)
    begun: bool = False

    @property
    def kind(self) -> str:
        return str(self.start["type"])

    @property
    def call_id(self) -> Any:
        return self.start["id"]

    @property
    def name(self) -> Any:
        return self.start["name"]

    def take(self, piece: str) -> None:
        if piece:
            self.waiting.append(piece)
            if self.kind == "tool_use":
                self.arguments += piece

    def complete(self) -> bool:
        """Whether nothing can follow."""
        return self.kind != "tool_use" or call_deltas.is_complete(self.arguments)

    def tell(self, index: int) -> Iterator[bytes]:
        if not self.begun:
            self.begun = True
            yield _event("content_block_start", index=index, content_block=self.start)
        kind, member = DELTAS.get(self.kind, CALL_DELTA)
        for piece in self.waiting:
            yield _event("content_block_delta", index=index, delta={"type": kind, member: piece})
        self.waiting.clear()


def _event(kind: str, **members: Any) -> bytes:
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def _message(body: Mapping[str, Any], asked: Mapping[str, Any], content: list[dict[str, Any]]) -> dict[str, Any]:
    model = body.get("model") or asked.get("model")
    return {
        "id": f"msg_{body.get('id') or 'unnamed'}", "type": "message", "role": "assistant", "model": model,
        "content": content,
    }


def _thought(message: Mapping[str, Any]) -> str:
    return _string(message.get("reasoning_content")) or _string(message.get("reasoning"))


def _said(message: Mapping[str, Any]) -> str:
    return _string(message.get("content")) or _string(message.get("refusal"))


def _string(value: Any) -> str:
    return value if isinstance(value, str) else text_of(value)


def _tool_use(call: Mapping[str, Any], spare_id: str, arguments: dict[str, Any]) -> dict[str, Any]:
    name = call.get("id") or f"toolu_{spare_id}"
    return {"type": "tool_use", "id": name, "name": dict_of(call.get("function")).get("name"), "input": arguments}


def _arguments(call: Mapping[str, Any]) -> str:
    """As JSON text; some servers send the object itself."""
    arguments = dict_of(call.get("function")).get("arguments")
    return json.dumps(arguments) if isinstance(arguments, dict) else _string(arguments)


def _input(call: Mapping[str, Any]) -> dict[str, Any]:
    """The arguments; where the model wrote no JSON object, what it wrote, so that its tool can say so."""
    text = _arguments(call)
    found = _object(text) if text.strip() else {}
    return {"unreadable_arguments": text} if found is None else found


def _object(text: str) -> dict[str, Any] | None:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        return None
    return found if isinstance(found, dict) else None


def _stop(choice: Mapping[str, Any], asked: Mapping[str, Any], *, called: bool) -> dict[str, Any]:
    """Servers that tell which sequence stopped them (vLLM) do so in the choice's `stop_reason`."""
    told, matched = choice.get("finish_reason") or "stop", choice.get("stop_reason")
    if told == "stop" and called:  # some servers say so of calls too
        told = "tool_calls"
    if told == "stop" and isinstance(matched, str) and matched in list_of(asked.get("stop_sequences")):
        return {"stop_reason": "stop_sequence", "stop_sequence": matched}
    return {"stop_reason": STOP_REASONS.get(str(told), "end_turn"), "stop_sequence": None}


def _usage(found: Any) -> dict[str, Any]:
    """Chat counts cached tokens among those of the prompt, Anthropic beside them."""
    cached = count_of(found, "prompt_tokens_details", "cached_tokens")
    usage: dict[str, Any] = {
        "input_tokens": max(0, count_of(found, "prompt_tokens") - cached),
        "cache_creation_input_tokens": 0,
        "cache_read_input_tokens": cached,
        "output_tokens": count_of(found, "completion_tokens"),
    }
    if thought := count_of(found, "completion_tokens_details", "reasoning_tokens"):
        usage["output_tokens_details"] = {"thinking_tokens": thought}
    return usage
