"""Streams in the shapes that the providers' documentation shows: Anthropic's messages, and chat completions."""

from __future__ import annotations

import json
from typing import Any

from upstream_server import DONE

MODEL = "claude-opus-5-5"


def event(kind: str, **members: Any) -> bytes:
    """One event as Anthropic sends it."""
    return f"event: {kind}\ndata: {json.dumps({'type': kind, **members})}\n\n".encode()


def started(**usage: Any) -> bytes:
    message: dict[str, Any] = {
        "id": "msg_01", "type": "message", "role": "assistant", "model": MODEL, "content": [], "stop_reason": None,
        "stop_sequence": None, "usage": {"input_tokens": 25, "output_tokens": 1, **usage},
    }
    return event("message_start", message=message)


def block(index: int, start: dict[str, Any], *deltas: dict[str, Any]) -> list[bytes]:
    return [
        event("content_block_start", index=index, content_block=start),
        *(event("content_block_delta", index=index, delta=delta) for delta in deltas),
        event("content_block_stop", index=index),
    ]


def ended(reason: str, **usage: Any) -> list[bytes]:
    delta = {"stop_reason": reason, "stop_sequence": None}
    return [event("message_delta", delta=delta, usage={"output_tokens": 15, **usage}), event("message_stop")]


def text_block(index: int, *pieces: str) -> list[bytes]:
    return block(index, {"type": "text", "text": ""}, *({"type": "text_delta", "text": piece} for piece in pieces))


def tool_block(index: int, name: str, call_id: str, *pieces: str) -> list[bytes]:
    start = {"type": "tool_use", "id": call_id, "name": name, "input": {}}
    return block(index, start, *({"type": "input_json_delta", "partial_json": piece} for piece in pieces))


HELLO = [started(), event("ping"), *text_block(0, "Hello", "!"), *ended("end_turn")]

THINKING_THEN_TOOLS = [
    started(cache_creation_input_tokens=10, cache_read_input_tokens=1000),
    event("ping"),
    *block(
        0, {"type": "thinking", "thinking": "", "signature": ""},
        {"type": "thinking_delta", "thinking": "Two cities,"}, {"type": "thinking_delta", "thinking": " two calls."},
        {"type": "signature_delta", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"},
    ),
    *text_block(1, "Let me", " look."),
    *tool_block(2, "get_weather", "toolu_01", "", '{"city":', ' "Paris"}'),
    event("ping"),
    *tool_block(3, "get_weather", "toolu_02", "", '{"city": "Rome', '", "days": [1, 2]}'),
    *ended("tool_use", output_tokens_details={"thinking_tokens": 9}),
]

OVERLOADED = [
    started(), *text_block(0, "Hel")[:2],
    event("error", error={"type": "overloaded_error", "message": "Overloaded"}),
]


def chunk(delta: dict[str, Any], finish: str | None = None, **more: Any) -> bytes:
    """One event of a streamed chat completion."""
    choice = {"index": 0, "delta": delta, "logprobs": None, "finish_reason": finish}
    return b"data: " + json.dumps({**CHUNK, "choices": [choice], "usage": None, **more}).encode() + b"\n\n"


def call_chunk(index: int, arguments: str, name: str | None = None, call_id: str | None = None) -> bytes:
    call: dict[str, Any] = {"index": index, "function": {"arguments": arguments}}
    if name:
        call = {"index": index, "id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}
    return chunk({"tool_calls": [call]})


CHUNK = {"id": "chatcmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "gpt", "system_fingerprint": "f"}
USAGE = {
    "prompt_tokens": 120, "completion_tokens": 30, "total_tokens": 150,
    "prompt_tokens_details": {"cached_tokens": 100}, "completion_tokens_details": {"reasoning_tokens": 7},
}
USAGE_CHUNK = b"data: " + json.dumps({**CHUNK, "choices": [], "usage": USAGE}).encode() + b"\n\n"

CHAT_HELLO = [
    chunk({"role": "assistant", "content": "", "refusal": None}), chunk({"content": "Hello"}), chunk({"content": "!"}),
    chunk({}, "stop"), USAGE_CHUNK, DONE,
]

CHAT_REASONING_THEN_TOOLS = [
    chunk({"role": "assistant", "content": None, "reasoning_content": "Two cities,"}),
    chunk({"reasoning_content": " two calls."}),
    b": keep-alive\n\n",
    chunk({"content": "Let me"}),
    chunk({"content": " look."}),
    call_chunk(0, "", "get_weather", "call_a"),
    call_chunk(0, '{"city":'),
    call_chunk(0, ' "Paris"}'),
    call_chunk(1, "", "get_weather", "call_b"),
    call_chunk(1, '{"city": "Rome"}'),
    chunk({}, "tool_calls"),
    USAGE_CHUNK,
    DONE,
]

CHAT_INTERLEAVED = [
    call_chunk(0, "", "get_weather", "call_a"),
    call_chunk(1, "", "get_time", "call_b"),
    call_chunk(0, '{"city":'),
    call_chunk(1, '{"zone"'),
    call_chunk(0, ' "Paris"}'),
    call_chunk(1, ': "CET"}'),
    call_chunk(2, "{}", "get_news", "call_c"),
    chunk({}, "tool_calls"),
    USAGE_CHUNK,
    DONE,
]


def told(events: list[bytes]) -> list[dict[str, Any]]:
    """The bodies of events, each of which must be framed as the HTML standard has it; comments have none."""
    bodies = []
    for one in events:
        assert one.endswith(b"\n\n")
        assert one.count(b"\n\n") == 1
        if one.startswith(b":"):
            continue
        data = next(line[6:] for line in one.split(b"\n") if line.startswith(b"data: "))
        bodies.append({"type": "done"} if data == b"[DONE]" else json.loads(data))
    return bodies
