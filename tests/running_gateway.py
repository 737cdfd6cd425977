"""A whole gateway on the test's own loop, before a scripted upstream, with a client that has the token."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any
from unittest.mock import patch

import aiohttp
import apsw

from metaclaw.config.settings import Settings
from metaclaw.context.embed import StaticEmbedder
from metaclaw.journal import trajectories
from metaclaw.library.catalog import Catalog
from metaclaw.runtime.gateway import Gateway
from metaclaw.runtime.home import Home
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState, Turn
from upstream_server import ScriptedUpstream, upstream

TOKEN = "mc-test-token-0123456789abcdefghijklmn"
UPSTREAM_KEY = "provider-key-0123456789"
CHAT = "/v1/chat/completions"
SKILL = Skill("iso-dates", "Write dates the ISO way", "Dates are written like 2026-01-31, in every report.")
QUESTION = "Write dates the ISO way in every report, please"

loaded_once = cache(StaticEmbedder)


@dataclass
class Door:
    """What a test holds: the gateway, its upstream, an HTTP client with the token, and its own eyes on the store."""

    gateway: Gateway
    upstream: ScriptedUpstream
    http: aiohttp.ClientSession
    home: Path
    store: Path

    async def turns(self) -> list[Turn]:
        return await asyncio.to_thread(stored_turns, self.store)

    async def turn(self, turn_id: str) -> Turn:
        return next(turn for turn in await self.turns() if turn.id == turn_id)

    async def health(self) -> dict[str, Any]:
        async with self.http.get("/healthz") as reply:
            body: dict[str, Any] = await reply.json()
        return body

    async def ask(self, body: bytes, **headers: str) -> tuple[aiohttp.ClientResponse, bytes]:
        async with self.http.post(CHAT, data=body, headers={k.replace("_", "-"): v for k, v in headers.items()}) as got:
            return got, await got.read()

    def publish(self, skill: Skill = SKILL) -> tuple[Skill, int]:
        """As another process would: the learner, or a person at the command line."""
        with Database(self.store) as database:
            catalog = Catalog(database, "default", self.home / "skills" / "default")
            return catalog.publish(skill, SkillState.ACTIVE, "test", [])


@dataclass
class Several(Door):
    """`upstream` is the first of `upstreams`."""

    upstreams: list[ScriptedUpstream]

    def asked(self) -> list[int]:
        """How many requests each has seen."""
        return [len(one.seen) for one in self.upstreams]

    async def state(self, name: str) -> dict[str, Any]:
        """What the gateway knows of one of them."""
        async with self.http.get("/v1/metaclaw/status") as reply:
            found: dict[str, Any] = {one["name"]: one for one in (await reply.json())["upstreams"]}[name]
        return found


def settings_for(folder: Path, upstream_url: str, **sections: dict[str, Any]) -> Settings:
    tree: dict[str, Any] = {
        "data_dir": str(folder),
        "gateway": {"port": 0, "token": TOKEN},
        "upstream": {"url": upstream_url, "api_key": UPSTREAM_KEY},
        "evolve": {"enabled": False, "holdout_share": 0},  # tests of the hold-out set their own
        "training": {"enabled": False},
    }
    for name, values in sections.items():
        tree[name] = {**tree.get(name, {}), **values}
    return Settings.model_validate(tree)


@asynccontextmanager
async def serving(folder: Path, **sections: dict[str, Any]) -> AsyncIterator[Door]:
    """A gateway and its upstream. `sections` are settings, e.g. `gateway={"max_body_bytes": 1}`."""
    async with upstream() as scripted:
        settings = settings_for(folder, scripted.url, **sections)
        async with opened(settings) as gateway, client_of(gateway) as http:
            yield Door(gateway, scripted, http, settings.home, Home(settings).store)


@asynccontextmanager
async def serving_several(folder: Path, *tables: dict[str, Any], **sections: Any) -> AsyncIterator[Several]:
    """A gateway before several upstreams, one for each table of `upstreams`; they are called a, b, c."""
    async with AsyncExitStack() as stack:
        scripted = [await stack.enter_async_context(upstream()) for _ in tables]
        named = [
            {"name": name, "url": one.url, "api_key": f"key-of-{name}", **table}
            for name, one, table in zip("abc", scripted, tables, strict=False)
        ]
        tree = settings_for(folder, "http://unused").model_dump() | {"upstream": sections, "upstreams": named}
        settings = Settings.model_validate(tree)
        gateway = await stack.enter_async_context(opened(settings))
        http = await stack.enter_async_context(client_of(gateway))
        yield Several(gateway, scripted[0], http, settings.home, Home(settings).store, scripted)


@asynccontextmanager
async def opened(settings: Settings) -> AsyncIterator[Gateway]:
    with patch("metaclaw.runtime.gateway.StaticEmbedder", loaded_once):
        async with Gateway(settings, None) as gateway:
            yield gateway


def client_of(gateway: Gateway, **headers: str) -> aiohttp.ClientSession:
    timeout = aiohttp.ClientTimeout(total=20)
    known = {"authorization": f"Bearer {gateway.token}", **headers}
    return aiohttp.ClientSession(gateway.url, headers=known, timeout=timeout, auto_decompress=False)


def stored_turns(store: Path) -> list[Turn]:
    with Database(store) as database:
        return trajectories.turns_after(database, "default", 0, 1_000_000)


@asynccontextmanager
async def locked(store: Path) -> AsyncIterator[None]:
    """Somebody else holds the store, and does not let go."""
    connection = apsw.Connection(str(store))
    connection.set_busy_timeout(5_000)
    connection.execute("BEGIN EXCLUSIVE")
    try:
        yield
    finally:
        connection.execute("ROLLBACK")
        connection.close()


async def until(true: Callable[[], bool], seconds: float = 10.0) -> None:
    """Return when `true()` is; for facts of other processes, which nobody announces."""
    async with asyncio.timeout(seconds):
        while not true():
            await asyncio.sleep(0.01)


def error_of(raw: bytes) -> dict[str, Any]:
    """The error inside a body in OpenAI's shape; fails where the shape is another."""
    body = json.loads(raw)
    assert set(body) == {"error"}
    error: dict[str, Any] = body["error"]
    assert set(error) == {"message", "type", "param", "code"}
    assert error["message"].endswith((".", "again.")), error
    return error
