"""Every way in which an upstream fails, in every format: the client hears of it in its own, with the status kept."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from metaclaw.dialects.base import Dialect
from metaclaw.dialects.sse import EventSplitter
from metaclaw.dialects.translation import DIALECTS
from recorded_streams import HELLO, event
from running_gateway import Door, serving
from upstream_server import Answer, delta, garbage, hang, refusing_url, short_body, streamed, whole

LEGS = [(name, name) for name in DIALECTS] + [
    ("messages", "chat"), ("responses", "chat"), ("chat", "messages"), ("responses", "messages")
]
REQUESTS: dict[str, dict[str, Any]] = {
    "chat": {"model": "m", "messages": [{"role": "user", "content": "Hi"}]},
    "messages": {"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]},
    "responses": {"model": "m", "input": "Hi"},
}
BEGUN = {  # the beginning of a stream
    "chat": delta("half"),
    "messages": b"".join(HELLO[:4]),
    "responses": event("response.output_text.delta", delta="half", item_id="i", output_index=0, content_index=0),
}
STATUSES = (400, 401, 403, 404, 413, 422, 429, 500, 502, 503, 529)
HTML = b"<html>busy</html>"


async def vanish(request: web.Request) -> web.StreamResponse:
    """Hang up without a word."""
    assert request.transport
    request.transport.abort()
    return web.Response()


BROKEN: dict[str, tuple[Answer, int, str]] = {
    "vanishes": (vanish, 502, "broke off"),
    "hangs": (hang, 504, "upstream.idle_timeout_seconds"),
    "is no HTTP": (garbage, 502, "broke off"),
    "breaks off its body": (short_body, 502, "broke off"),
    "says 200 to nonsense": (whole(b"all is well", content_type="text/plain"), 502, ""),
    "says 200 to nothing": (whole(b""), 502, ""),
    "says 502 in HTML": (whole(HTML, 502, content_type="text/html"), 502, "busy"),
    "says 503 in HTML, as a stream": (whole(HTML, 503, content_type="text/event-stream"), 503, "busy"),
    "says 500 and no more": (whole(b"", 500), 500, ""),
    "says 404 in plain text": (whole(b"no such page", 404, content_type="text/plain"), 404, "no such page"),
}


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("client", "upstream"), LEGS)
async def test_an_upstream_that_fails_before_its_reply(
    tmp_path: Path, client: str, upstream: str, stream: bool
) -> None:
    async with serving(tmp_path, upstream={"formats": [upstream], "idle_timeout_seconds": 0.2}) as door:
        for name, (answer, status, told) in BROKEN.items():
            door.upstream.answer = answer
            reply, raw = await ask(door, client, stream)
            assert (reply.status, reply.content_type) == (status, "application/json"), name
            assert_error(raw, DIALECTS[client], status, told)
        turns = await door.turns()
        assert [turn.status for turn in turns] == [status for _, status, _ in BROKEN.values()]
        assert not [turn for turn in turns if turn.complete]


@pytest.mark.parametrize("stream", [False, True])
@pytest.mark.parametrize(("client", "upstream"), LEGS)
async def test_an_upstream_that_refuses(tmp_path: Path, client: str, upstream: str, stream: bool) -> None:
    async with serving(tmp_path, upstream={"formats": [upstream]}) as door:
        for status in STATUSES:
            said = DIALECTS[upstream].error_body(status, "theirs", "what they say")
            door.upstream.answer = whole(said, status, {"retry-after": "17", "x-request-id": "r"})
            reply, raw = await ask(door, client, stream)
            assert (reply.status, reply.headers["retry-after"], reply.headers["x-request-id"]) == (status, "17", "r")
            assert raw == said or client != upstream
            assert_error(raw, DIALECTS[client], status, "what they say")
        assert len(door.upstream.seen) == len(STATUSES)  # nothing is sent twice


@pytest.mark.parametrize("client", DIALECTS)
async def test_an_upstream_that_is_down(tmp_path: Path, client: str) -> None:
    url = refusing_url()
    async with serving(tmp_path, upstream={"url": url, "formats": [client]}) as door:
        reply, raw = await ask(door, client, stream=True)
        assert reply.status == 502
        assert_error(raw, DIALECTS[client], 502, url)


@pytest.mark.parametrize(("client", "upstream"), LEGS)
async def test_a_stream_that_breaks_off_ends_with_an_error(tmp_path: Path, client: str, upstream: str) -> None:
    async def and_then_nothing() -> Any:
        yield BEGUN[upstream]
        await hang(None)  # type: ignore[arg-type]

    broken: dict[str, tuple[Answer, int]] = {
        "ends": (streamed([BEGUN[upstream]]), 502),
        "ends within an event": (streamed([BEGUN[upstream], b'data: {"half']), 502),
        "is reset": (streamed([BEGUN[upstream]], reset=True), 502),
        "falls silent": (streamed(and_then_nothing), 504),
        "is nonsense": (streamed([b"\x00\xff nonsense\n\n"]), 502),
        "is empty": (streamed([]), 502),
    }
    async with serving(tmp_path, upstream={"formats": [upstream], "idle_timeout_seconds": 0.2}) as door:
        for name, (answer, status) in broken.items():
            door.upstream.answer = answer
            reply, raw = await ask(door, client, stream=True)
            assert (reply.status, reply.content_type) == (200, "text/event-stream"), name
            *_, last = EventSplitter().feed(raw)
            expected = DIALECTS[client].error_event(status, "code", "message")
            assert shape(data_in(last)) == shape(data_in(expected)), name
        assert not [turn for turn in await door.turns() if turn.complete]


async def ask(door: Door, client: str, stream: bool) -> tuple[Any, bytes]:
    body = {**REQUESTS[client], **({"stream": True} if stream else {})}
    async with door.http.post(f"/v1{DIALECTS[client].PATH}", json=body) as reply:
        return reply, await reply.read()


def assert_error(raw: bytes, dialect: Dialect, status: int, told: str) -> None:
    assert shape(json.loads(raw)) == shape(json.loads(dialect.error_body(status, "code", "message")))
    assert told in raw.decode()


def shape(value: Any) -> Any:
    """The keys, at every depth."""
    return {key: shape(inner) for key, inner in value.items()} if isinstance(value, dict) else None


def data_in(event: bytes) -> Any:
    return json.loads(event.partition(b"data: ")[2])
