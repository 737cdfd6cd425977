"""Tokens taken out of the engine's reply: every other byte stays, and what does not add up is not recorded."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaclaw.types import Sampled
from metaclaw.upstream.sampled import SampleTap, asking

END = {"id": 2, "token": "", "bytes": [], "logprob": -0.125}
TRICKY = 'a ,"logprobs":{ \\ 🌟'  # what the reply says must not be taken for what the engine adds


def entry(number: int, text: str, logprob: float) -> dict[str, Any]:
    return {"id": number, "token": text, "bytes": list(text.encode()), "logprob": logprob, "top_logprobs": []}


def event(text: str, *entries: dict[str, Any], finish: str | None = None, predicted: int | None = None) -> bytes:
    """As llama.cpp writes it, with the probabilities where there are any."""
    choice: dict[str, Any] = {"finish_reason": finish, "index": 0, "delta": {"content": text} if text else {}}
    if entries:
        choice["logprobs"] = {"content": list(entries)}
    body: dict[str, Any] = {"choices": [choice], "id": "x"}
    if predicted is not None:
        body["timings"] = {"predicted_n": predicted}
    return b"data: " + json.dumps(body, separators=(",", ":"), ensure_ascii=False).encode() + b"\n\n"


def heard(*events: bytes, size: int = 1_000_000) -> tuple[bytes, SampleTap]:
    tap, stream = SampleTap(), b"".join(events)
    return b"".join(tap.feed(stream[at : at + size]) for at in range(0, len(stream), size)) + tap.rest, tap


@pytest.mark.parametrize("size", [1, 7, 1_000_000])
def test_a_stream_comes_out_as_if_nobody_had_asked(size: int) -> None:
    out, tap = heard(
        event(TRICKY, entry(5, TRICKY, -0.5)), event(" b", entry(6, " b", -1.5)),
        event("", finish="stop", predicted=3), b"data: [DONE]\n\n", size=size,
    )
    assert out == event(TRICKY) + event(" b") + event("", finish="stop", predicted=3) + b"data: [DONE]\n\n"
    assert tap.sampled(TRICKY + " b") == Sampled((5, 6), (-0.5, -1.5))  # that of the end is not told in a stream
    assert tap.sampled(TRICKY) is None, "another reply"


def whole(*entries: dict[str, Any], text: str, finish: str = "stop", predicted: int) -> tuple[bytes, bytes, SampleTap]:
    choice: dict[str, Any] = {"finish_reason": finish, "message": {"content": text}}
    body = {"choices": [choice], "timings": {"predicted_n": predicted}}
    plain = json.dumps(body, separators=(",", ":")).encode()
    choice["logprobs"] = {"content": list(entries)}
    tap = SampleTap()
    return tap.whole(json.dumps(body, separators=(",", ":")).encode()), plain, tap


def test_a_whole_reply_tells_its_end_too() -> None:
    out, plain, tap = whole(entry(5, "a", -0.5), END, text="a", predicted=2)
    assert out == plain
    assert tap.sampled("a") == Sampled((5, 2), (-0.5, -0.125))


@pytest.mark.parametrize(
    ("entries", "text", "finish", "predicted"),
    [
        ([entry(5, "🌟", -0.5), END], "🌟", "stop", 4),  # three tokens for one character, of which one is told
        ([entry(5, "a", -0.5), entry(6, "b", -0.5)], "ab", "length", 2),  # cut, so its end is not the model's
        ([entry(5, "a", -0.5)], "ab", "stop", 2),  # a stop string within a token
        ([entry(5, "a", -0.5), entry(6, "b", -0.5)], "ab", "stop", 5),
        ([END], "", "tool_calls", 1),
        ([], "", "stop", 0),
        ([{"id": 5, "bytes": [97]}, END], "a", "stop", 2),
    ],
)
def test_what_does_not_add_up_stays_text_only(
    entries: list[dict[str, Any]], text: str, finish: str, predicted: int
) -> None:
    out, plain, tap = whole(*entries, text=text, finish=finish, predicted=predicted)
    assert out == plain
    assert tap.sampled(text) is None


@pytest.mark.parametrize(
    "raw", [b"", b"{", b'{"choices":[]}', b'{"a":1,"logprobs":', b'{"choices":[{"x":1,"logprobs":3}]}']
)
def test_garbage_is_nobodys_token(raw: bytes) -> None:
    tap = SampleTap()
    tap.whole(raw)
    assert tap.feed(b"data: " + raw + b"\n\n").startswith(b"data: ")
    assert tap.sampled("") is None


def test_the_engine_is_asked_and_every_other_byte_stays() -> None:
    body = b'{ "messages":[{"role":"user","content":"logprobs"}], "x":1e2, "tools":[] }'
    wanted = asking(body)
    assert wanted is not None
    assert json.loads(wanted) == {**json.loads(body), "logprobs": True, "top_logprobs": 1}
    assert wanted.endswith(body[1:].lstrip()) or body[1:] in wanted
    again = asking(b'{"logprobs": false, "messages": []}')
    assert again is not None
    assert json.loads(again)["logprobs"] is True


@pytest.mark.parametrize(
    "field", [{"logprobs": True}, {"n_probs": 3}, {"tools": [{}]}, {"response_format": {"type": "json"}}, {"n": 2}]
)
def test_where_the_client_has_its_own_wishes_nothing_is_added(field: dict[str, Any]) -> None:
    assert asking(json.dumps({"messages": [], **field}).encode()) is None
    assert asking(b"no json") is None
