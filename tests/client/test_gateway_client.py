"""Both clients against a real gateway: typed answers, typed failures, and repeats only where they are safe."""

from __future__ import annotations

import asyncio
import inspect
import subprocess
import sys
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from metaclaw.client import (
    AsyncMetaClaw,
    BusyError,
    Closed,
    GarbledError,
    MetaClaw,
    NotReachedError,
    NotThereError,
    RefusedError,
    TimedOutError,
    TokenError,
    Turn,
    calls,
)
from metaclaw.client.calls import Call
from metaclaw.dialects import chat
from metaclaw.store import Database
from metaclaw.wire.messages import Request, Response
from metaclaw.wire.server import Limits, Server
from running_gateway import QUESTION, SKILL, TOKEN, locked, serving
from upstream_server import chat_body

Ask = Callable[..., Awaitable[Any]]  # `ask("status")`, by either client
KINDS = pytest.mark.parametrize("kind", [MetaClaw, AsyncMetaClaw])


@asynccontextmanager
async def client(kind: type[MetaClaw] | type[AsyncMetaClaw], *arguments: Any, **options: Any) -> AsyncIterator[Ask]:
    """Either client, called the same way; the one that waits, in a thread."""
    if kind is AsyncMetaClaw:
        async with AsyncMetaClaw(*arguments, **options) as gateway:
            yield lambda name, *given, **more: getattr(gateway, name)(*given, **more)
    else:
        with MetaClaw(*arguments, **options) as waiting:
            yield lambda name, *given, **more: asyncio.to_thread(getattr(waiting, name), *given, **more)


@asynccontextmanager
async def answering(*answers: Response) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that gives these answers in turn, the last one for ever. Yields its URL, and what it was asked."""
    asked: list[str] = []

    async def handler(request: Request) -> Response:
        asked.append(request.path)
        await request.read(1 << 20)
        return answers[min(len(asked), len(answers)) - 1]

    server = Server(handler, Limits(5, 5, 50), chat.error_body)
    port = await server.listen("127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{port}", asked
    finally:
        await server.close(1)


@asynccontextmanager
async def mute(*, hangs_up: bool) -> AsyncIterator[tuple[str, list[str]]]:
    """A server that takes requests and says nothing."""
    asked: list[str] = []
    over = asyncio.Event()

    async def take(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.append((await reader.readuntil(b"\r\n")).decode())
        if not hangs_up:
            await over.wait()
        writer.close()

    server = await asyncio.start_server(take, "127.0.0.1", 0)
    try:
        yield f"http://127.0.0.1:{server.sockets[0].getsockname()[1]}", asked
    finally:
        over.set()
        server.close()


def busy(retry_after: str | None = None) -> Response:
    response = Response(chat.error_body(503, "store_unavailable", "Not kept."), 503, content_type="application/json")
    if retry_after:
        response.headers["retry-after"] = retry_after
    return response


@pytest.fixture(autouse=True)
def hasty(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(calls, "PAUSES_SECONDS", (0.001, 0.001))


@KINDS
async def test_what_a_program_does_with_it(tmp_path: Path, kind: type[MetaClaw]) -> None:
    async with serving(tmp_path) as door, client(kind, door.gateway.url, TOKEN) as ask:
        door.publish()
        reply, _ = await door.ask(chat_body(QUESTION), x_session_id="a/b ü")
        turn = Turn.of(reply.headers)
        assert (turn.session, turn.skills, turn.generation) == ("a/b ü", (f"{SKILL.name}@1",), 1)
        kept = await ask("feedback", turn.id, score=-1, text="No.", pattern=r"\d+")
        assert kept.turn_id == turn.id
        assert (await ask("feedback", session="a/b ü", score=1)).turn_id == turn.id
        assert await ask("close_session", "a/b ü") == Closed("a/b ü")
        status = await ask("status")
        assert [(one.name, one.version, one.state) for one in status.skills] == [(SKILL.name, 1, "active")]
        assert (status.namespace, status.generation, status.adapter.serving) == ("default", 1, None)
        assert status.health.ready
        assert status.raw["upstreams"]
    assert Turn.of({"X-MetaClaw-Turn": "t", "x-metaclaw-session": "s", "x-metaclaw-policy": "p",
                    "x-metaclaw-generation": "2", "x-metaclaw-skills": ""}).skills == ()


@KINDS
async def test_what_the_gateway_refuses(tmp_path: Path, kind: type[MetaClaw]) -> None:
    async with serving(tmp_path) as door:
        async with client(kind, door.gateway.url, "mc-another") as ask:
            with pytest.raises(TokenError):
                await ask("status")
            assert (await ask("health")).ready
        async with client(kind, door.gateway.url, TOKEN) as ask:
            with pytest.raises(NotThereError) as gone:
                await ask("close_session", "nobody")
            assert (gone.value.status, gone.value.code) == (404, "unknown_session")
            with pytest.raises(RefusedError, match="not a regular expression") as bad:
                await ask("feedback", "turn-1", pattern="(")
            assert (type(bad.value), bad.value.code) == (RefusedError, "invalid_check")
            with pytest.raises(ValueError, match="either turn_id or session"):
                await ask("feedback", score=1)
            with pytest.raises(ValueError, match="at least one"):
                await ask("feedback", "turn-1", text=" ")


@KINDS
async def test_what_was_surely_not_done_is_asked_again(kind: type[MetaClaw]) -> None:
    kept = Response.json({"id": "feedback-1", "turn_id": "turn-1"})
    async with answering(busy(), busy("0"), kept) as (url, asked), client(kind, url, "t") as ask:
        assert (await ask("feedback", "turn-1", score=1)).id == "feedback-1"
        assert asked == ["/v1/feedback"] * 3
    async with answering(busy()) as (url, asked), client(kind, url, "t") as ask:
        with pytest.raises(BusyError) as refused:
            await ask("feedback", "turn-1", score=1)
        assert (refused.value.code, len(asked)) == ("store_unavailable", 3)
    async with answering(busy("3600")) as (url, asked), client(kind, url, "t") as ask:
        with pytest.raises(BusyError) as refused:
            await ask("status")
        assert (refused.value.retry_after_seconds, len(asked)) == (3600, 1)


@KINDS
async def test_feedback_that_may_have_been_kept_is_not_sent_twice(kind: type[MetaClaw]) -> None:
    async with mute(hangs_up=True) as (url, asked), client(kind, url, "t") as ask:
        with pytest.raises(TimedOutError):
            await ask("feedback", "turn-1", score=1)
        assert len(asked) == 1
        with pytest.raises(TimedOutError):
            await ask("close_session", "s")
        assert len(asked) == 4, "twice closed is closed"


@KINDS
async def test_nobody_there_somebody_silent_and_somebody_else(kind: type[MetaClaw]) -> None:
    async with answering(Response.json({"hello": "I am another"})) as (url, _), client(kind, url, "t") as ask:
        with pytest.raises(GarbledError, match="no MetaClaw gateway"):
            await ask("status")
    async with client(kind, url, "t") as ask:
        with pytest.raises(NotReachedError, match="metaclaw start"):
            await ask("status")
    async with mute(hangs_up=False) as (url, _), client(kind, url, "t", timeout_seconds=0.05) as ask:
        with pytest.raises(TimedOutError):
            await ask("feedback", "turn-1", score=1)


@KINDS
async def test_a_store_that_takes_nothing_is_a_busy_gateway(
    tmp_path: Path, kind: type[MetaClaw], monkeypatch: pytest.MonkeyPatch
) -> None:
    """The real gateway says so itself, and what it says is true: nothing was kept."""
    monkeypatch.setattr("metaclaw.store.connection.BUSY_MILLISECONDS", 50)
    async with serving(tmp_path) as door, client(kind, door.gateway.url, TOKEN, timeout_seconds=60) as ask:
        reply, _ = await door.ask(chat_body())
        async with locked(door.store):
            with pytest.raises(BusyError):
                await ask("feedback", reply.headers["x-metaclaw-turn"], score=1)
        with Database(door.store) as database:
            assert database.read("SELECT count(*) FROM feedback") == [(0,)]


def test_the_token_of_this_machine_is_found(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("HOME", str(tmp_path))
    for name in ("METACLAW_DATA_DIR", "METACLAW_GATEWAY__TOKEN"):
        monkeypatch.delenv(name, raising=False)
    assert calls.known_token() == ""
    for folder, token in ((tmp_path / ".metaclaw", "mc-default"), (tmp_path / "data", "mc-data")):
        folder.mkdir()
        (folder / "token").write_text(f"{token}\n", encoding="ascii")
    assert calls.known_token() == "mc-default"
    monkeypatch.setenv("METACLAW_DATA_DIR", str(tmp_path / "data"))
    assert calls.known_token() == "mc-data"
    monkeypatch.setenv("METACLAW_GATEWAY__TOKEN", "mc-set")
    assert calls.known_token() == "mc-set"


def test_both_clients_offer_the_same() -> None:
    def offered(kind: type[Any]) -> dict[str, str]:
        found = inspect.getmembers(kind, inspect.isfunction)
        return {name: str(inspect.signature(one)) for name, one in found if not name.startswith("_")}

    blocking, asynchronous = offered(MetaClaw), offered(AsyncMetaClaw)
    assert asynchronous.pop("close")
    assert blocking == asynchronous


def test_it_loads_neither_settings_nor_models() -> None:
    heavy = ("pydantic", "apsw", "numpy", "torch", "typer", "wordllama", "aiohttp")
    script = f"import sys, metaclaw.client; print([m for m in {heavy} if m in sys.modules])"
    said = subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout
    assert said.strip() == "[]"


def test_a_call_says_what_it_sends() -> None:
    assert Call("GET", "/", dict).headers("") == {"accept": "application/json"}
    assert calls.close_session("a/b?").path == "/v1/metaclaw/sessions/a%2Fb%3F/close"
    with pytest.raises(ValueError, match="no http or https URL"):
        MetaClaw("localhost:8790")
