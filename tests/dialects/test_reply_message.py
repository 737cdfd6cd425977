"""One assistant message from a reply in any format, whole or streamed, and the same either way."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaclaw.dialects.reply_message import in_one_piece, reply_message
from metaclaw.types import Message

CALL = {"id": "c1", "type": "function", "function": {"name": "look", "arguments": '{"at": 1}'}}
SAID = {"role": "assistant", "content": "Höhe: 8848 m", "tool_calls": [CALL]}


def events(*bodies: dict[str, Any]) -> bytes:
    return b"".join(b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies)


def deltas(*parts: dict[str, Any]) -> bytes:
    return events(*({"choices": [{"index": 0, "delta": part}]} for part in parts)) + b"data: [DONE]\n\n"


CHAT_STREAM = deltas(
    {"role": "assistant", "content": "Höhe: "}, {"content": "8848 m"},
    {"tool_calls": [{"index": 0, "id": "c1", "function": {"name": "look", "arguments": '{"at"'}}]},
    {"tool_calls": [{"index": 0, "function": {"arguments": ": 1}"}}]},
)
CHAT_WHOLE = json.dumps({"choices": [{"message": {**SAID, "refusal": None}}]}).encode()
BLOCKS = [
    {"type": "text", "text": "Höhe: 8848 m"},
    {"type": "tool_use", "id": "c1", "name": "look", "input": {"at": 1}},
]
MESSAGE_WHOLE = json.dumps({"type": "message", "content": BLOCKS, "stop_reason": "tool_use"}).encode()
MESSAGE_STREAM = events(
    {"type": "message_start", "message": {"id": "m", "usage": {}}},
    {"type": "content_block_start", "index": 0, "content_block": {"type": "text", "text": ""}},
    {"type": "content_block_delta", "index": 0, "delta": {"type": "text_delta", "text": "Höhe: 8848 m"}},
    {"type": "content_block_stop", "index": 0},
    {"type": "content_block_start", "index": 1, "content_block": {"type": "tool_use", "id": "c1", "name": "look"}},
    {"type": "content_block_delta", "index": 1, "delta": {"type": "input_json_delta", "partial_json": '{"at": 1}'}},
    {"type": "content_block_stop", "index": 1},
    {"type": "message_delta", "delta": {"stop_reason": "tool_use"}, "usage": {}},
    {"type": "message_stop"},
)
RESPONSE = {"status": "completed", "output": [
    {"type": "message", "role": "assistant", "content": [{"type": "output_text", "text": "Höhe: 8848 m"}]},
    {"type": "function_call", "call_id": "c1", "name": "look", "arguments": '{"at": 1}'},
]}
RESPONSE_STREAM = events({"type": "response.created"}, {"type": "response.completed", "response": RESPONSE})


@pytest.mark.parametrize(("form", "raw"), [
    ("chat", CHAT_WHOLE), ("chat", CHAT_STREAM), ("messages", MESSAGE_WHOLE), ("messages", MESSAGE_STREAM),
    ("responses", json.dumps(RESPONSE).encode()), ("responses", RESPONSE_STREAM),
], ids=["chat", "chat stream", "messages", "messages stream", "responses", "responses stream"])
def test_the_same_message_from_every_format(form: str, raw: bytes) -> None:
    assert reply_message(form, raw) == SAID


@pytest.mark.parametrize("number", [{}, {"index": 0, "id": ""}])
def test_calls_without_numbers_of_their_own_are_several(number: dict[str, Any]) -> None:
    pieces = [("look", '{"at"'), ("", ": 1}"), ("go", "{}")]
    told = [{"tool_calls": [{**number, "function": {"name": name, "arguments": piece}}]} for name, piece in pieces]
    functions = [CALL["function"], {"name": "go", "arguments": "{}"}]
    made = [{"id": "", "type": "function", "function": function} for function in functions]
    assert reply_message("chat", deltas(*told)) == {"role": "assistant", "content": None, "tool_calls": made}


@pytest.mark.parametrize("form", ["chat", "messages", "responses"])
@pytest.mark.parametrize("said", [
    SAID, {"role": "assistant", "content": "Yes."}, {"role": "assistant", "content": None, "tool_calls": [CALL, CALL]},
])
def test_a_message_in_one_piece_is_the_same_message(form: str, said: Message) -> None:
    assert reply_message(form, in_one_piece(form, said)) == said


@pytest.mark.parametrize("form", ["chat", "messages", "responses", "unheard-of"])
@pytest.mark.parametrize("raw", [
    b"", b"{}", b"no json", b'{"error": {"message": "busy"}}', b"data: {}\n\n", b'{"choices": [{"message": 1}]}',
    b'{"content": [1], "output": [2]}',
])
def test_what_says_nothing_gives_nothing(form: str, raw: bytes) -> None:
    assert reply_message(form, raw) is None


def test_what_broke_off_gives_what_had_come() -> None:
    assert reply_message("chat", deltas({"content": "Hö"})[:-10]) == {"role": "assistant", "content": "Hö"}
