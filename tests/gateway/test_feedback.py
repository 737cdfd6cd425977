"""What a client may say of a turn, and what is refused."""

from __future__ import annotations

from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from metaclaw.journal import trajectories
from metaclaw.store import Database
from metaclaw.types import Feedback
from running_gateway import Door, error_of, locked, serving
from upstream_server import chat_body


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as opened:
        yield opened


async def say(door: Door, body: Any) -> tuple[int, dict[str, Any]]:
    sent = {"data": body} if isinstance(body, bytes) else {"json": body}
    async with door.http.post("/v1/feedback", **sent) as reply:
        if reply.status != 200:
            return reply.status, error_of(await reply.read())
        return reply.status, await reply.json()


def kept(door: Door) -> list[Feedback]:
    with Database(door.store) as database:
        return trajectories.feedback_after(database, "default", 0)


async def test_score_text_and_check_are_kept_on_the_turn(door: Door) -> None:
    turn_id = (await door.ask(chat_body()))[0].headers["x-metaclaw-turn"]
    status, told = await say(
        door, {"turn_id": turn_id, "score": -1, "text": "no, shorter", "check": {"pattern": "[a-z]{2}"}}
    )
    assert (status, told["turn_id"]) == (200, turn_id)
    [item] = kept(door)
    assert (item.id, item.turn_id, item.score, item.text) == (told["id"], turn_id, -1, "no, shorter")
    assert item.check is not None
    assert item.check.pattern == "[a-z]{2}"


async def test_a_session_means_its_last_main_turn(door: Door) -> None:
    await door.ask(chat_body("one"), x_session_id="s")
    last = (await door.ask(chat_body("two"), x_session_id="s"))[0].headers["x-metaclaw-turn"]
    await door.ask(chat_body("title"), x_session_id="s", x_metaclaw_side="title")
    await door.ask(chat_body("three"), x_session_id="other")
    assert (await say(door, {"session": "s", "score": 0.5}))[1]["turn_id"] == last


@pytest.mark.parametrize(
    ("body", "status", "code", "told"),
    [
        ({"turn_id": "turn-none", "score": 1}, 404, "unknown_turn", "x-metaclaw-turn"),
        ({"session": "none", "score": 1}, 404, "unknown_session", "'none'"),
        ({"turn_id": "t", "check": {"pattern": "(unclosed"}}, 400, "invalid_check", "check.pattern"),
        ({"turn_id": "t", "check": {"pattern": ""}}, 400, "invalid_feedback", "check.pattern"),
        ({"turn_id": "t", "score": 1.01}, 400, "invalid_feedback", "score"),
        ({"turn_id": "t", "score": -2}, 400, "invalid_feedback", "score"),
        (b'{"turn_id": "t", "score": NaN}', 400, "invalid_feedback", "score"),
        ({"turn_id": "t", "score": 1, "scroe": 1}, 400, "invalid_feedback", "scroe"),
        ({"turn_id": "t", "check": {"pattern": "x", "flags": "i"}}, 400, "invalid_feedback", "check.flags"),
        ({"turn_id": "t"}, 400, "invalid_feedback", "'score', 'text' and 'check'"),
        ({"turn_id": "t", "text": "  "}, 400, "invalid_feedback", "'score', 'text' and 'check'"),
        ({"score": 1}, 400, "invalid_feedback", "'turn_id'"),
        ({"turn_id": "t", "text": "x" * 20_001}, 400, "invalid_feedback", "text"),
        (b"{", 400, "invalid_feedback", "body"),
        (b"", 400, "invalid_feedback", "body"),
    ],
)
async def test_what_is_refused_says_why(door: Door, body: Any, status: int, code: str, told: str) -> None:
    got, error = await say(door, body)
    assert (got, error["code"]) == (status, code)
    assert told in error["message"]
    assert kept(door) == []


async def test_feedback_that_cannot_be_kept_is_not_acknowledged(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaclaw.store.connection.BUSY_MILLISECONDS", 200)
    async with serving(tmp_path) as door:
        turn_id = (await door.ask(chat_body()))[0].headers["x-metaclaw-turn"]
        async with locked(door.store):
            status, error = await say(door, {"turn_id": turn_id, "score": 1})
        assert (status, error["code"]) == (503, "store_unavailable")
        assert "try again" in error["message"]
        assert (await say(door, {"turn_id": turn_id, "score": 1}))[0] == 200
