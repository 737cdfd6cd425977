"""More than the gateway takes at once: refused at once, in the client's format, and served again when there is room."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import web

from metaclaw.store import database, rows
from raw_http import answer, connected, ended, request
from running_gateway import CHAT, TOKEN, Door, error_of, locked, serving, until
from upstream_server import ScriptedUpstream, chat_body, completion, whole

CAPACITY = 32
KEY = f"authorization: Bearer {TOKEN}"


def slow(upstream: ScriptedUpstream) -> asyncio.Event:
    """From now on the upstream answers when the event is set."""
    release = asyncio.Event()

    async def answer_later(got: web.Request) -> web.StreamResponse:
        await release.wait()
        return await whole(completion("Hello."))(got)

    upstream.answer = answer_later
    return release


@asynccontextmanager
async def full(folder: Path, capacity: int = 1) -> AsyncIterator[tuple[Door, asyncio.Event]]:
    """A gateway that has just as many requests as it takes."""
    async with serving(folder, gateway={"max_in_flight": capacity}) as door:
        release = slow(door.upstream)
        asked = [asyncio.create_task(door.ask(chat_body(str(number)))) for number in range(capacity)]
        await until(lambda: len(door.upstream.seen) == capacity)
        try:
            yield door, release
        finally:
            release.set()
            assert {reply.status for reply, _ in await asyncio.gather(*asked)} == {200}


async def test_one_too_many_is_refused_in_the_clients_format_and_told_when_to_come_again(tmp_path: Path) -> None:
    async with full(tmp_path) as (door, release):
        reply, body = await door.ask(chat_body())
        assert (reply.status, reply.headers["retry-after"]) == (429, "1")
        assert error_of(body)["code"] == "too_many_requests"
        assert "gateway.max_in_flight" in error_of(body)["message"]
        async with openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=TOKEN, max_retries=0) as client:
            with pytest.raises(openai.RateLimitError, match="under way"):
                await client.models.list()
        async with anthropic.AsyncAnthropic(base_url=door.gateway.url, api_key=TOKEN, max_retries=0) as claude:
            with pytest.raises(anthropic.RateLimitError, match="under way"):
                await claude.messages.create(max_tokens=9, model="m", messages=[{"role": "user", "content": "Hi"}])
        assert (await door.health())["refused"] == 3
        assert len(door.upstream.seen) == 1
        release.set()
        await until(lambda: door.gateway._intake.under_way == 0)
        assert (await door.ask(chat_body()))[0].status == 200


async def test_the_body_of_what_is_refused_is_not_waited_for(tmp_path: Path) -> None:
    async with full(tmp_path) as (door, _), connected(door.gateway.url) as (reader, writer):
        writer.write(request(CHAT, KEY, "content-length: 1000000", method="POST"))
        assert (await answer(reader)).status == 429


async def test_who_asks_how_things_are_is_always_told(tmp_path: Path) -> None:
    async with full(tmp_path) as (door, _):
        assert (await door.health())["status"] == "ok"
        async with door.http.get("/v1/metaclaw/status") as reply:
            assert (reply.status, (await reply.json())["in_flight"]) == (200, 1)


@pytest.mark.parametrize("path", ["/healthz", "/", "/api/hello"])
async def test_without_a_token_no_body_is_read(tmp_path: Path, path: str) -> None:
    async with serving(tmp_path) as door, connected(door.gateway.url) as (reader, writer):
        writer.write(request(path, "content-encoding: gzip", "content-length: 4") + b"junk")
        whole = await answer(reader)
        assert (whole.status, "connection" in whole.headers) == (200, False)
        writer.write(request(path, "content-length: 30000000") + b"x" * 100_000)
        partial = await answer(reader)
        assert (partial.status, partial.headers["connection"]) == (200, "close")
        assert await ended(reader) == b""


async def test_a_client_that_leaves_makes_room(tmp_path: Path) -> None:
    async with serving(tmp_path, gateway={"max_in_flight": 1}) as door:
        release = slow(door.upstream)
        asked = asyncio.create_task(door.ask(chat_body()))
        await until(lambda: len(door.upstream.seen) == 1)
        asked.cancel()
        await until(lambda: door.gateway._intake.under_way == 0)
        release.set()
        assert (await door.ask(chat_body()))[0].status == 200


async def test_four_times_what_it_takes(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Client, gateway and upstream share a process here: the order of magnitude is asserted, the figures printed."""
    async with serving(tmp_path, gateway={"max_in_flight": CAPACITY}) as door:
        release = slow(door.upstream)

        async def timed(number: int) -> tuple[int, float]:
            began = time.perf_counter()
            reply, _ = await door.ask(chat_body(str(number)))
            return reply.status, time.perf_counter() - began

        asked = [asyncio.create_task(timed(number)) for number in range(4 * CAPACITY)]
        await until(lambda: len(door.upstream.seen) == CAPACITY and door.gateway._intake.refused == 3 * CAPACITY)
        again = [await timed(-1) for _ in range(50)]  # each alone, while it is full
        release.set()
        ended = time.perf_counter()
        results = await asyncio.gather(*asked)
        while (await timed(-2))[0] != 200:
            await asyncio.sleep(0)
        recovered = time.perf_counter() - ended
    statuses = [status for status, _ in results]
    assert (statuses.count(200), statuses.count(429)) == (CAPACITY, 3 * CAPACITY)
    burst = [seconds for status, seconds in results if status == 429]
    alone = [seconds for _, seconds in again]
    with capsys.disabled():
        print(f"\nrefused in a burst: {milliseconds(burst)}; alone: {milliseconds(alone)}")
        print(f"served again after {recovered:.3f} s")
    assert statistics.median(alone) < 0.05
    assert statistics.median(burst) < 5
    assert recovered < 5


def milliseconds(found: list[float]) -> str:
    return f"median {statistics.median(found) * 1e3:.1f} ms, worst {max(found) * 1e3:.1f} ms"


# -- what waits for the disk -------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "most"), [("MOST_WAITING", 3), ("MOST_WAITING_BYTES", 500)])
async def test_a_store_that_stands_still_costs_turns_and_not_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, most: int
) -> None:
    for room in (database, rows):
        monkeypatch.setattr(room, name, most)
    async with serving(tmp_path, gateway={"durable_timeout_seconds": 0.1}) as door:
        async with locked(door.store):
            for number in range(6):
                assert (await door.ask(chat_body(str(number))))[0].status == 200
            lost: dict[str, Any] = (await door.health())["lost"]
            assert lost["turn: StoreError"] >= 2
            assert lost["turn: StoreError"] + lost["turn: store too slow"] == 6
        kept = 6 - lost["turn: StoreError"]
        async with asyncio.timeout(10):
            while (await door.health())["late"] < kept:
                await asyncio.sleep(0.01)
        assert (await door.ask(chat_body("after")))[0].headers["x-metaclaw-turn"] in [t.id for t in await door.turns()]
        assert len(await door.turns()) == kept + 1
        assert (door.gateway._database._waiting, door.gateway._database._waiting_bytes) == (0, 0)
