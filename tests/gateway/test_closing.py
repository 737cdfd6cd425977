"""Sessions through the HTTP door: agents told apart, side calls marked, conversations closed."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from pathlib import Path
from urllib.parse import quote

import pytest
import pytest_asyncio

from metaclaw.journal import open_sessions, trajectories
from metaclaw.store import Database
from running_gateway import QUESTION, Door, error_of, serving
from upstream_server import chat_body, garbage

TITLE = json.dumps({"messages": [
    {"role": "system", "content": "You are a title generator. You output ONLY a thread title."},
    {"role": "user", "content": QUESTION},
]}).encode()


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as opened:
        yield opened


async def session_of(door: Door, body: bytes, **headers: str) -> str:
    reply, _ = await door.ask(body, **headers)
    assert reply.status == 200
    return str(reply.headers["x-metaclaw-session"])


async def close(door: Door, session: str) -> tuple[int, bytes]:
    async with door.http.post(f"/v1/metaclaw/sessions/{quote(session, safe='')}/close") as reply:
        return reply.status, await reply.read()


def over(door: Door) -> list[str]:
    with Database(door.store) as database:
        return [session.name for session in open_sessions.closed(database, "default", 3600, time.time())]


async def test_agents_of_a_session_are_told_apart_and_only_their_own_turns_precede(door: Door) -> None:
    await door.ask(chat_body("main 1"), x_claude_code_session_id="s")
    await door.ask(chat_body("sub 1"), x_claude_code_session_id="s", x_claude_code_agent_id="a")
    await door.ask(chat_body("main 2"), x_claude_code_session_id="s")
    await door.ask(chat_body("sub 2"), x_claude_code_session_id="s", x_claude_code_agent_id="a")
    turns = await door.turns()
    assert [(turn.session, turn.agent, turn.side) for turn in turns] == [("s", who, "") for who in ("", "a", "", "a")]
    with Database(door.store) as database:
        before = [trajectories.turn_before(database, turn) for turn in turns]
        assert [turn and turn.query for turn in before] == [None, None, "main 1", "sub 1"]
        last = trajectories.last_turn_of(database, "default", "s")
    assert last is not None
    assert last.query == "main 2"  # feedback on a session is about what its user saw


async def test_a_side_call_is_kept_with_its_reason_and_gets_no_skill(door: Door) -> None:
    await asyncio.to_thread(door.publish)
    reply, _ = await door.ask(TITLE, x_session_id="s")
    assert reply.headers["x-metaclaw-skills"] == ""
    assert door.upstream.seen[-1].body == TITLE
    await door.ask(chat_body(QUESTION), x_session_id="s")
    assert [(turn.kind.value, turn.side) for turn in await door.turns()] == [("side", "title"), ("main", "")]


async def test_a_header_closes_a_session_with_the_turn(door: Door) -> None:
    await session_of(door, chat_body(), x_session_id="s")
    assert over(door) == []
    await session_of(door, chat_body(), x_session_id="s", x_metaclaw_close="1")
    assert over(door) == ["s"]
    await session_of(door, chat_body(), x_session_id="s")
    assert over(door) == []
    assert "x-metaclaw-close" not in door.upstream.seen[-2].headers


async def test_a_conversation_without_a_name_gets_a_new_session_after_a_closing_one(door: Door) -> None:
    first = await session_of(door, chat_body("Hi"))
    assert await session_of(door, chat_body("Hi")) == first
    assert await session_of(door, chat_body("Hi"), x_metaclaw_close="1") == first
    second = await session_of(door, chat_body("Hi"))
    assert second != first
    assert over(door) == [first]


async def test_idle_time_parts_conversations_that_begin_alike(tmp_path: Path) -> None:
    async with serving(tmp_path, gateway={"session_idle_seconds": 0.05}) as door:
        first = await session_of(door, chat_body("Hi"))
        named = await session_of(door, chat_body("Hi"), x_session_id="s")
        async with asyncio.timeout(10):
            while await session_of(door, chat_body("Hi")) == first:
                await asyncio.sleep(0.06)
        assert await session_of(door, chat_body("Hi"), x_session_id="s") == named


async def test_a_post_closes_a_session_whatever_its_name(door: Door) -> None:
    for name in ("s", "agent:main:tg/1", "a b%2F"):
        await session_of(door, chat_body(), x_session_id=name)
        status, body = await close(door, name)
        assert (status, json.loads(body)) == (200, {"session": name, "closed": True})
    assert sorted(over(door)) == sorted(["s", "agent:main:tg/1", "a b%2F"])


async def test_an_id_with_line_breaks_splits_no_header(door: Door) -> None:
    reply, _ = await door.ask(chat_body(session_id="a\r\nset-cookie: b=1"))
    assert (reply.status, reply.headers["x-metaclaw-session"]) == (200, "a??set-cookie: b=1")
    assert "set-cookie" not in reply.headers


async def test_a_session_that_is_not_known_cannot_be_closed(door: Door) -> None:
    status, body = await close(door, "none")
    assert (status, error_of(body)["code"]) == (404, "unknown_session")


@pytest.mark.parametrize("headers", [{"authorization": ""}, {"authorization": "Bearer no"}])
async def test_closing_needs_the_token(door: Door, headers: dict[str, str]) -> None:
    await session_of(door, chat_body(), x_session_id="s")
    async with door.http.post("/v1/metaclaw/sessions/s/close", headers=headers) as reply:
        assert reply.status == 401
    assert over(door) == []


async def test_a_request_that_fails_keeps_its_place(door: Door) -> None:
    door.upstream.answer = garbage
    reply, _ = await door.ask(chat_body(), x_session_id="s", x_metaclaw_close="1")
    assert reply.status == 502
    assert over(door) == ["s"]
