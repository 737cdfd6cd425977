"""Blue and green: the engine that serves, and the one that takes over.

Lives in the gateway's process. Watches what is wanted (`routes`), and when that is not what serves: starts an engine
for it, checks that it answers as it did in the gate, sends new requests there, waits until the old one is empty, stops
it. A swap that fails leaves the old engine serving. An engine that dies is started again.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from pathlib import Path

from metaclaw.errors import EngineError, StoreError, TrainingError, UpstreamError
from metaclaw.serving.engine import Engine, EngineSpec
from metaclaw.serving.routes import Routes
from metaclaw.training.registry import Registry
from metaclaw.upstream.client import UpstreamClient, reply_text
from metaclaw.upstream.route import Route, Router

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.1
RESTART_SECONDS = 1.0
PARITY_CHARACTERS = 24  # of the greedy reply: enough to tell a wrong adapter, little enough to bear rounding

MakeSpec = Callable[[str, Path | None], EngineSpec]


class EngineHost:
    """Owned by the gateway's process. `make_spec` takes a policy name and the adapter's GGUF file."""

    def __init__(
        self,
        base_model: str,
        make_spec: MakeSpec,
        start_timeout_seconds: float,
        routes: Routes,
        registry: Registry,
        router: Router,
        client: UpstreamClient,
    ) -> None:
        self._base_model = base_model
        self._make_spec = make_spec
        self._start_timeout_seconds = start_timeout_seconds
        self._routes = routes
        self._registry = registry
        self._router = router
        self._client = client
        self._engine: Engine | None = None
        self._serving: str | None = None
        self._draining: set[asyncio.Task[None]] = set()

    async def run(self) -> None:
        """Serve until cancelled, then stop every engine."""
        try:
            await self._first()
            while True:
                await asyncio.sleep(WATCH_SECONDS)
                await self._look()
        finally:
            await self._stop_all()

    async def _first(self) -> None:
        """The wanted adapter, or the base model where that one cannot be served."""
        wanted = self._routes.state().wanted
        try:
            await self._swap(wanted)
        except (EngineError, TrainingError, UpstreamError) as error:
            if wanted is None:
                raise
            self._routes.give_up(None, f"{wanted} could not be served: {error}")
            await self._swap(None)

    async def _look(self) -> None:
        try:
            if self._engine is None or not self._engine.alive:
                await self._restart()
                return
            wanted = self._routes.state().wanted
            if wanted != self._serving:
                await self._try_swap(wanted)
        except StoreError as error:
            log.error("engine host cannot read the store: %s", error)

    async def _try_swap(self, wanted: str | None) -> None:
        try:
            await self._swap(wanted)
        except (EngineError, TrainingError, UpstreamError) as error:
            log.error("swap to %s failed, %s goes on: %s", wanted, self._serving or "the base model", error)
            self._routes.give_up(self._serving, f"swap to {wanted or 'base'} failed: {error}")

    async def _swap(self, wanted: str | None) -> None:
        policy = f"{self._base_model}@{wanted or 'base'}"
        gguf = await asyncio.to_thread(self._registry.checked_gguf, wanted, self._base_model) if wanted else None
        engine = await Engine.start(self._make_spec(policy, gguf), timeout_seconds=self._start_timeout_seconds)
        route = engine.route
        try:
            await engine.probe()
            if wanted:
                await self._check_parity(wanted, route)
        except (EngineError, TrainingError, UpstreamError):
            await engine.stop()
            raise
        before, old = self._router.switch(route), self._engine
        self._engine, self._serving = engine, wanted
        self._routes.now_serving(wanted, f"serving {policy}")
        log.info("serving %s", policy)
        if before is not None and old is not None:
            task = asyncio.create_task(self._drain(before, old))
            self._draining.add(task)
            task.add_done_callback(self._draining.discard)

    async def _check_parity(self, adapter: str, route: Route) -> None:
        """The engine must begin its reply as the gate's did: the file that was judged is the one that serves."""
        parity = self._registry.get(adapter).lineage.get("parity")
        if not parity:
            return
        body = {"messages": [{"role": "user", "content": parity["prompt"]}], "temperature": 0, "max_tokens": 16}
        reply = reply_text(await self._client.json(route, "/chat/completions", body))
        if reply[:PARITY_CHARACTERS] != parity["reply"][:PARITY_CHARACTERS]:
            raise TrainingError(f"Adapter '{adapter}' answers '{reply}', the gate heard '{parity['reply']}'.")

    async def _drain(self, route: Route, engine: Engine) -> None:
        try:
            await self._router.drained(route)
        finally:
            await engine.stop()

    async def _restart(self) -> None:
        log.error("the engine of %s died; starting it again", self._serving or "the base model")
        self._router.switch(None)
        self._engine = None
        try:
            await self._swap(self._serving)
        except (EngineError, TrainingError, UpstreamError) as error:
            log.error("the engine does not come back, trying again: %s", error)
            await asyncio.sleep(RESTART_SECONDS)

    async def _stop_all(self) -> None:
        self._router.switch(None)
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        if self._engine:
            await self._engine.stop()
