"""A chat completion made of an Anthropic message, whole or as it streams.

Thinking becomes `reasoning_content`. Its blocks also travel whole, with their signatures, as `thinking_blocks`: where a
client sends its assistant messages back as they came, Claude goes on thinking between tool calls.
"""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from typing import Any

from metaclaw.dialects import chat, sse
from metaclaw.dialects.base import error_in, object_or_empty
from metaclaw.dialects.loose import count_of, dict_of, dicts_of, string_of
from metaclaw.dialects.messages import status_of
from metaclaw.errors import UpstreamError

FINISH_REASONS = {
    "end_turn": "stop", "stop_sequence": "stop", "pause_turn": "stop", "max_tokens": "length",
    "model_context_window_exceeded": "length", "tool_use": "tool_calls", "refusal": "content_filter",
}
THINKING = ("thinking", "redacted_thinking")
ALIVE = b": ping\n\n"  # a comment keeps the connection alive in any format
NO_TIME = 0  # an Anthropic message does not tell when it was made, and this room has no clock


def whole(body: Mapping[str, Any]) -> dict[str, Any]:
    """Raises `UpstreamError` where `body` is no message: with what it says where it is an error, else 502."""
    if not isinstance(body.get("content"), list):
        if error := body.get("error"):
            raise UpstreamError(status_of(dict_of(error).get("type")), *error_in(body))
        raise UpstreamError(502, "upstream_garbage", "The upstream's reply is not an Anthropic message. Try again.")
    found = dicts_of(body["content"])
    message: dict[str, Any] = {"role": "assistant", "content": _joined(found, "text") or None, "refusal": None}
    if thought := _joined(found, "thinking"):
        message["reasoning_content"] = thought
    if thinking := [block for block in found if block.get("type") in THINKING]:
        message["thinking_blocks"] = thinking
    if calls := [_call(block, json.dumps(block.get("input") or {})) for block in found if _is_call(block)]:
        message["tool_calls"] = calls
    choice = {"index": 0, "message": message, "finish_reason": _finish(body.get("stop_reason")), "logprobs": None}
    return {**_envelope(body, "chat.completion"), "choices": [choice], "usage": _usage(body.get("usage"))}


class Stream:
    """A `StreamTranslation`. `with_usage`: whether the client asked for a last chunk with the token counts."""

    def __init__(self, *, with_usage: bool) -> None:
        self._with_usage = with_usage
        self._envelope: dict[str, Any] = _envelope({}, "chat.completion.chunk")
        self._blocks: dict[int, dict[str, Any]] = {}  # those under way, by their index
        self._calls = 0
        self._usage: dict[str, Any] = {}
        self._finished = False
        self._over = False

    def feed(self, event: bytes) -> Iterator[bytes]:
        body = object_or_empty(sse.data_of(event))
        index = count_of(body, "index")
        if self._over:
            return
        match body.get("type"):
            case "message_start":
                yield from self._begin(dict_of(body.get("message")))
            case "content_block_start":
                yield from self._block(index, dict_of(body.get("content_block")))
            case "content_block_delta":
                yield from self._delta(self._blocks.get(index, {}), dict_of(body.get("delta")))
            case "content_block_stop":
                yield from self._stop(self._blocks.pop(index, {}))
            case "message_delta":
                self._count(body.get("usage"))
                if reason := dict_of(body.get("delta")).get("stop_reason"):
                    self._finished = True
                    yield self._chunk({}, _finish(reason))
            case "message_stop":
                yield from self._close()
            case "error":
                self._over = True
                yield chat.error_event(status_of(dict_of(body.get("error")).get("type")), *error_in(body))
            case "ping":
                yield ALIVE
            case _ if event.startswith(b":"):
                yield event

    def end(self) -> Iterator[bytes]:
        if self._finished and not self._over:
            yield from self._close()

    def _begin(self, message: Mapping[str, Any]) -> Iterator[bytes]:
        self._envelope = _envelope(message, "chat.completion.chunk")
        self._count(message.get("usage"))
        yield self._chunk({"role": "assistant", "content": ""})

    def _block(self, index: int, block: dict[str, Any]) -> Iterator[bytes]:
        self._blocks[index] = {**block, "number": self._calls, "told": False}
        if _is_call(block):
            yield self._chunk({"tool_calls": [{"index": self._calls, **_call(block, "")}]})
            self._calls += 1
        elif text := string_of(block.get("text") or block.get("thinking")):  # most begin empty
            yield self._chunk({"content" if "text" in block else "reasoning_content": text})

    def _delta(self, block: dict[str, Any], delta: Mapping[str, Any]) -> Iterator[bytes]:
        match delta.get("type"):
            case "text_delta":
                yield self._chunk({"content": string_of(delta.get("text"))})
            case "thinking_delta":
                thought = string_of(delta.get("thinking"))
                block["thinking"] = string_of(block.get("thinking")) + thought
                yield self._chunk({"reasoning_content": thought})
            case "signature_delta":
                block["signature"] = delta.get("signature")
            case "input_json_delta" if piece := string_of(delta.get("partial_json")):
                block["told"] = True
                yield self._arguments(block, piece)

    def _stop(self, block: dict[str, Any]) -> Iterator[bytes]:
        """A call whose arguments came with its start, or that has none, and the block of a thought."""
        number, told = block.pop("number", 0), block.pop("told", False)
        if _is_call(block) and not told:
            yield self._arguments({"number": number}, json.dumps(block.get("input") or {}))
        elif block.get("type") in THINKING:
            yield self._chunk({"thinking_blocks": [block]})

    def _arguments(self, block: Mapping[str, Any], piece: str) -> bytes:
        return self._chunk({"tool_calls": [{"index": block.get("number", 0), "function": {"arguments": piece}}]})

    def _count(self, usage: Any) -> None:
        self._usage |= {name: count for name, count in dict_of(usage).items() if count is not None}

    def _chunk(self, delta: dict[str, Any], finish: str | None = None) -> bytes:
        choice = {"index": 0, "delta": delta, "finish_reason": finish, "logprobs": None}
        return _event({**self._envelope, "choices": [choice], **({"usage": None} if self._with_usage else {})})

    def _close(self) -> Iterator[bytes]:
        self._over = True
        if not self._finished:
            yield self._chunk({}, "stop")
        if self._with_usage:
            yield _event({**self._envelope, "choices": [], "usage": _usage(self._usage)})
        yield b"data: " + chat.DONE + b"\n\n"


def _event(body: dict[str, Any]) -> bytes:
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def _envelope(body: Mapping[str, Any], kind: str) -> dict[str, Any]:
    return {"id": f"chatcmpl-{body.get('id')}", "object": kind, "created": NO_TIME, "model": body.get("model")}


def _joined(found: list[dict[str, Any]], kind: str) -> str:
    return "".join(string_of(block.get(kind)) for block in found if block.get("type") == kind)


def _is_call(block: Mapping[str, Any]) -> bool:
    return block.get("type") == "tool_use"


def _call(block: Mapping[str, Any], arguments: str) -> dict[str, Any]:
    return {
        "id": block.get("id"), "type": "function", "function": {"name": block.get("name"), "arguments": arguments}
    }


def _finish(reason: Any) -> str:
    return FINISH_REASONS.get(str(reason), "stop")


def _usage(found: Any) -> dict[str, Any]:
    """Anthropic counts cached tokens beside those of the input, chat among them."""
    read, written = count_of(found, "cache_read_input_tokens"), count_of(found, "cache_creation_input_tokens")
    asked, replied = count_of(found, "input_tokens") + read + written, count_of(found, "output_tokens")
    told: dict[str, Any] = {
        "prompt_tokens": asked, "completion_tokens": replied, "total_tokens": asked + replied,
        "prompt_tokens_details": {"cached_tokens": read},
    }
    if thought := count_of(found, "output_tokens_details", "thinking_tokens"):
        told["completion_tokens_details"] = {"reasoning_tokens": thought}
    return told
