"""A whole gateway whose engines are HTTP servers of ours, in the place of llama.cpp processes."""

from __future__ import annotations

import asyncio
import contextlib
import os
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from aiohttp import ClientSession, web

from judged_adapters import admitted_adapter
from metaclaw.config.settings import Settings
from metaclaw.errors import EngineError
from metaclaw.runtime.engines import Embedded
from metaclaw.runtime.gateway import Gateway
from metaclaw.runtime.home import Home
from metaclaw.serving.courtesy import Courtesy
from metaclaw.serving.engine import EngineSpec
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.routes import Routes
from metaclaw.store import Database
from metaclaw.training.registry import Registry
from metaclaw.upstream.route import Route
from running_gateway import TOKEN, client_of, until

SHARE = 0.5


class StandIn:
    """An engine that answers with its policy's name; a request that says `hold` waits until it is let go."""

    running: list[StandIn]
    started: list[str]
    broken: set[str]
    most = 0
    ready: asyncio.Event | None = None  # what a start waits for
    waiting = 0

    def __init__(self, spec: EngineSpec) -> None:
        self.spec, self.alive, self.url = spec, True, ""
        self.held, self.let_go = asyncio.Event(), asyncio.Event()
        self._runner: web.AppRunner | None = None

    @classmethod
    async def start(
        cls, spec: EngineSpec, *, timeout_seconds: float, courtesy: Courtesy | None = None
    ) -> StandIn:
        if spec.policy in cls.broken:
            raise EngineError("it ended while it was loading")
        if cls.ready:
            cls.waiting += 1
            await cls.ready.wait()
            cls.waiting -= 1
        engine = cls(spec)
        app = web.Application()
        app.router.add_post("/v1/chat/completions", engine._answer)
        engine._runner = web.AppRunner(app)
        await engine._runner.setup()
        await web.TCPSite(engine._runner, "127.0.0.1", 0).start()
        engine.url = f"http://127.0.0.1:{engine._runner.addresses[0][1]}/v1"
        cls.running.append(engine)
        cls.started.append(spec.policy)
        cls.most = max(cls.most, len(cls.running))
        return engine

    def giving_way(self, courtesy: Courtesy | None) -> contextlib.AbstractContextManager[None]:
        return contextlib.nullcontext()

    @property
    def policy(self) -> str:
        return self.spec.policy

    @property
    def pid(self) -> int:
        return os.getpid()

    @property
    def route(self) -> Route:
        return Route(self.url, self.policy)

    def told(self) -> dict[str, Any]:
        return {"pid": self.pid, "resident_bytes": 3 << 20}

    def why_ended(self) -> str:
        return f"the engine of {self.policy} was ended by signal 9"

    async def probe(self) -> str:
        return "yes"

    async def die(self) -> None:
        """As by kill -9: who is in it is cut off, and nothing listens any more."""
        self.alive = False
        if self._runner:
            for server in self._runner.server.connections if self._runner.server else []:
                if server.transport:
                    server.transport.abort()
            self.let_go.set()
            await self._runner.cleanup()
            self._runner = None

    async def stop(self) -> None:
        self.alive = False
        if self in self.running:
            self.running.remove(self)
        if self._runner:
            await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if "hold" in (await request.json())["messages"][-1]["content"]:
            self.held.set()
            await self.let_go.wait()
        message = {"role": "assistant", "content": f"from {self.policy}"}
        choice = {"index": 0, "message": message, "finish_reason": "stop"}
        return web.json_response({"model": self.policy, "choices": [choice]})


class Live:
    """A gateway with its routes and registry as another process sees them."""

    def __init__(self, gateway: Gateway, http: ClientSession, database: Database, folder: Path) -> None:
        self.gateway, self.http, self._folder = gateway, http, folder
        self.routes = Routes(database, "default")
        self.registry = Registry(database, "default", Home(settings_of(folder)).adapters)
        self.promotions = Promotions(self.routes, self.registry, SHARE)

    def adapter(self, name: str, parent: str | None = None) -> str:
        return admitted_adapter(self.registry, self._folder, name, parent).name

    async def ask(self, session: str, text: str = "Hello.", **headers: str) -> str:
        """The policy that answered, by the reply and by its header."""
        body = {"model": "m", "messages": [{"role": "user", "content": text}]}
        headers = {"x-session-id": session, **{name.replace("_", "-"): value for name, value in headers.items()}}
        async with self.http.post("/v1/chat/completions", json=body, headers=headers) as reply:
            assert reply.status == 200, await reply.text()
            said = (await reply.json())["choices"][0]["message"]["content"]
            assert said == f"from {reply.headers['x-metaclaw-policy']}"
            return str(reply.headers["x-metaclaw-policy"])

    async def on_trial(self, name: str) -> None:
        self.promotions.offer(self.registry.get(name))
        await until(lambda: self.routes.state().canary_since is not None)

    async def sides(self) -> dict[str, str]:
        return {f"s{number}": await self.ask(f"s{number}") for number in range(24)}


def settings_of(folder: Path, **serving: Any) -> Settings:
    return Settings.model_validate({
        "data_dir": str(folder), "gateway": {"port": 0, "token": TOKEN}, "evolve": {"enabled": False},
        "training": {"enabled": False}, "serving": {"canary_share": SHARE, **serving},
    })


@asynccontextmanager
async def serving(folder: Path, **settings: Any) -> AsyncIterator[Live]:
    (folder / "tiny.gguf").write_bytes(b"GGUF")
    async with Gateway(settings_of(folder, **settings), Embedded("tiny", str(folder / "tiny.gguf"))) as gateway:
        await gateway.ready()
        async with client_of(gateway) as http:
            with Database(Home(settings_of(folder)).store) as database:
                yield Live(gateway, http, database, folder)
