"""Several upstreams: the next one is asked where the first fails, and never after a byte has reached the client."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from recorded_streams import HELLO
from running_gateway import CHAT, Several, error_of, serving_several
from upstream_server import (
    DONE,
    Answer,
    Taps,
    chat_body,
    completion,
    delta,
    garbage,
    hang,
    refusing_url,
    short_body,
    streamed,
    whole,
)

BODY = chat_body("Hi")
STREAM = chat_body("Hi", stream=True)
FIRST, THEN, LAST = {"order": 1}, {"order": 2}, {"order": 3}


async def silence() -> AsyncIterator[bytes]:
    await asyncio.Event().wait()
    yield b""


FAILURES: dict[str, Answer] = {
    "hang": hang,
    "garbage": garbage,
    "short body": short_body,
    "nonsense": whole(b"all is well"),
    "429": whole(b'{"error": {}}', 429),
    "500": whole(b'{"error": {}}', 500),
    "503 as a stream": whole(b"busy", 503, content_type="text/event-stream"),
    "an empty stream": streamed([]),
    "a stream that is reset at once": streamed([], reset=True),
    "a stream that stays silent": streamed(silence),
}


@pytest.mark.parametrize("failure", FAILURES)
@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_the_next_one_is_asked_and_the_client_sees_nothing_of_it(
    tmp_path: Path, failure: str, body: bytes
) -> None:
    async with serving_several(tmp_path, FIRST, THEN, idle_timeout_seconds=0.2) as door:
        door.upstream.answer = FAILURES[failure]
        reply, raw = await door.ask(body)
        assert (reply.status, raw) == (200, completion("Hello."))
        assert reply.headers["x-metaclaw-policy"] == "provider:b/as-asked"
        assert door.asked() == [1, 1]
        assert door.upstreams[1].seen[0].body == body
        assert door.upstreams[1].seen[0].headers["authorization"] == "Bearer key-of-b"
        turn = await door.turn(reply.headers["x-metaclaw-turn"])
        assert (turn.policy, turn.status, turn.complete, turn.reply) == ("provider:b/as-asked", 200, True, "Hello.")
        assert len(await door.turns()) == 1
        assert (await door.state("a"))["cooldown_seconds_left"] > 0


async def test_one_that_is_down_is_passed_by_and_then_left_alone(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {**FIRST, "url": refusing_url()}, THEN) as door:
        assert (await door.ask(BODY))[0].status == 200
        state = await door.state("a")
        assert state["last_failure"] == "502 upstream_unreachable"
        assert 25 < state["cooldown_seconds_left"] <= 30
        assert (await door.ask(BODY))[0].status == 200
        assert door.asked() == [0, 2]


@pytest.mark.parametrize("status", [400, 401, 404, 422])
async def test_what_the_client_did_wrong_is_asked_of_nobody_else(tmp_path: Path, status: int) -> None:
    async with serving_several(tmp_path, FIRST, THEN) as door:
        door.upstream.answer = whole(b'{"error": {"message": "theirs"}}', status)
        assert (await door.ask(BODY))[0].status == status
        assert door.asked() == [1, 0]
        assert (await door.state("a"))["cooldown_seconds_left"] == 0


async def test_retry_after_is_honoured(tmp_path: Path) -> None:
    async with serving_several(tmp_path, FIRST, THEN) as door:
        door.upstream.answer = whole(b"{}", 429, {"retry-after": "120"})
        for _ in range(3):
            assert (await door.ask(BODY))[0].status == 200
        assert door.asked() == [1, 3]
        assert 115 < (await door.state("a"))["cooldown_seconds_left"] <= 120


async def test_where_all_fail_the_last_failure_is_the_reply(tmp_path: Path) -> None:
    async with serving_several(tmp_path, FIRST, THEN, LAST) as door:
        said = b'{"error": {"message": "full", "x_new": 1}}'
        for one, answer in zip(
            door.upstreams, [hang, whole(b"{}", 500), whole(said, 529, {"retry-after": "9"})], strict=True
        ):
            one.answer = answer
        door.upstream.answer = garbage
        reply, raw = await door.ask(BODY)
        assert (reply.status, raw, reply.headers["retry-after"]) == (529, said, "9")
        assert door.asked() == [1, 1, 1]
        assert [(turn.status, turn.policy, turn.complete) for turn in await door.turns()] == [
            (529, "provider:c/as-asked", False)
        ]


async def test_where_all_cool_down_one_is_asked_all_the_same(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {**FIRST, "cooldown_seconds": 5}, THEN) as door:
        for one in door.upstreams:
            one.answer = whole(b"{}", 500)
        assert (await door.ask(BODY))[0].status == 500
        door.upstream.answer = whole(completion("back"))
        assert (await door.ask(BODY))[1] == completion("back")
        assert door.asked() == [2, 1]


@pytest.mark.parametrize("reset", [False, True])
async def test_after_the_first_byte_nobody_else_is_asked(tmp_path: Path, reset: bool) -> None:
    async with serving_several(tmp_path, FIRST, THEN) as door:
        door.upstream.answer = streamed([b": ping\n\n"], reset=reset)
        reply, raw = await door.ask(STREAM)
        ping, error, _ = raw.split(b"\n\n")
        assert (reply.status, ping) == (200, b": ping")
        assert error_of(error.removeprefix(b"data: "))["code"] == "upstream_broke_off"
        assert door.asked() == [1, 0]


async def test_a_stream_of_one_that_may_be_replaced_is_still_a_stream(tmp_path: Path) -> None:
    taps = Taps()
    async with serving_several(tmp_path, FIRST, THEN) as door:
        door.upstream.answer = streamed(taps)
        taps.let_out(delta("one"))
        async with door.http.post(CHAT, data=STREAM) as reply:
            for word in ("one", "two", "three"):
                async with asyncio.timeout(5):
                    assert await reply.content.readuntil(b"\n\n") == delta(word)
                taps.let_out(delta("two" if word == "one" else "three"))
            taps.let_out(DONE, None)
            assert (await reply.read()).endswith(DONE)


async def test_each_gets_the_request_in_its_own_format_with_its_own_model_and_key(tmp_path: Path) -> None:
    async with serving_several(
        tmp_path, {**FIRST, "formats": ["messages"], "model": "claude-x"}, {**THEN, "model": "gpt-x"}
    ) as door:
        door.upstream.answer = whole(b"{}", 529)
        reply, raw = await door.ask(BODY)
        assert (reply.status, raw) == (200, completion("Hello."))
        first, second = (one.seen[0] for one in door.upstreams)
        assert (first.path, json.loads(first.body)["model"]) == ("/v1/messages", "claude-x")
        assert (first.headers["x-api-key"], first.headers["anthropic-version"]) == ("key-of-a", "2023-06-01")
        assert (second.path, json.loads(second.body)["model"]) == (CHAT, "gpt-x")
        assert second.headers["authorization"] == "Bearer key-of-b"
        assert reply.headers["x-metaclaw-policy"] == "provider:b/gpt-x"


async def test_who_cannot_be_reached_from_the_clients_format_is_passed_by(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {**FIRST, "formats": ["responses"]}, THEN) as door:
        assert (await door.ask(BODY))[0].status == 200
        assert door.asked() == [0, 1]
    async with serving_several(tmp_path / "none", *[{"formats": ["responses"]}] * 2) as door:
        reply, raw = await door.ask(BODY)
        assert (reply.status, error_of(raw)["code"]) == (400, "unsupported_format")


async def test_a_model_goes_to_who_serves_it(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {"models": ["gpt-*"]}, {"models": ["claude-*"]}) as door:
        for model, served_by in (("gpt-5", "a"), ("claude-9", "b")):
            reply, _ = await door.ask(chat_body("Hi", model=model))
            assert reply.headers["x-metaclaw-policy"] == f"provider:{served_by}/as-asked"
        reply, raw = await door.ask(chat_body("Hi", model="other"))
        assert (reply.status, error_of(raw)["code"]) == (404, "model_not_found")
        assert door.asked() == [1, 1]


async def test_a_redirect_is_the_clients_to_follow(tmp_path: Path) -> None:
    async def moved(request: web.Request) -> web.StreamResponse:
        return web.Response(status=307, headers={"location": "http://elsewhere.example/v1"})

    async with serving_several(tmp_path, FIRST, THEN) as door:
        door.upstream.answer = moved
        async with door.http.post(CHAT, data=BODY, allow_redirects=False) as reply:
            assert (reply.status, reply.headers["location"]) == (307, "http://elsewhere.example/v1")
        assert door.asked() == [1, 0]


# -- clients that leave ------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("second", [hang, streamed(silence)])
@pytest.mark.parametrize("body", [BODY, STREAM])
async def test_a_client_that_leaves_while_the_next_one_is_waited_for(
    tmp_path: Path, second: Answer, body: bytes
) -> None:
    async with serving_several(tmp_path, FIRST, THEN, LAST) as door:
        door.upstream.answer = whole(b"{}", 500)
        door.upstreams[1].answer = second
        await leaves(door, door.upstreams[1], CHAT, body)
        assert door.asked() == [1, 1, 0]
        assert (await door.state("b"))["cooldown_seconds_left"] == 0


LEAVING: list[tuple[str, str, dict[str, Any], bytes]] = [
    ("chat", CHAT, {"messages": [{"role": "user", "content": "Hi"}]}, delta("half")),
    ("messages", CHAT, {"messages": [{"role": "user", "content": "Hi"}]}, b"".join(HELLO[:4])),
    ("chat", "/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}, delta("half")),
    ("chat", "/v1/responses", {"input": "Hi"}, delta("half")),
    ("messages", "/v1/responses", {"input": "Hi"}, b"".join(HELLO[:4])),
]


@pytest.mark.parametrize(("spoken", "path", "body", "first"), LEAVING)
async def test_a_client_that_leaves_a_translated_stream(
    tmp_path: Path, spoken: str, path: str, body: dict[str, Any], first: bytes
) -> None:
    async with serving_several(tmp_path, {"formats": [spoken]}) as door:
        raw = json.dumps({"model": "m", "stream": True, **body}).encode()
        door.upstream.answer = hang
        await leaves(door, door.upstream, path, raw)
        door.upstream.left.clear()
        taps = Taps()
        taps.let_out(first)
        door.upstream.answer = streamed(taps)
        async with door.http.post(path, data=raw) as reply:
            assert await reply.content.readany()
        await asyncio.wait_for(door.upstream.left.wait(), 1)


async def leaves(door: Several, upstream: Any, path: str, body: bytes) -> None:
    """Ask, go away when `upstream` has been asked, and see that it is told of it within a second."""
    asked = asyncio.create_task(_post(door, path, body))
    upstream.asked.clear()
    await asyncio.wait_for(upstream.asked.wait(), 5)
    asked.cancel()
    await asyncio.wait_for(upstream.left.wait(), 1)


async def _post(door: Several, path: str, body: bytes) -> None:
    async with door.http.post(path, data=body) as reply:
        await reply.read()
