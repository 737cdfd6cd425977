"""Which engines run: the one that serves, the one on trial, and for a while the one that served before.

Lives in the gateway's process. Watches what is wanted (`routes`). Where that is not what serves, it starts an engine
for it, checks that it answers as it did in the gate, sends new requests there, and keeps the old one as a spare, so
that a rollback takes no time. A canary's engine is started beside it, and serves its share of the sessions. There are
two engines at most: a spare is stopped, once it is empty, before another is started. A swap that fails leaves the old
engine serving. An engine that dies is started again; a canary's is not, and its sessions fall to the other.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from metaclaw.errors import EngineError, StoreError, TrainingError, UpstreamError
from metaclaw.serving.engine import Engine, EngineSpec
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.routes import Routes, RouteState
from metaclaw.training.registry import Registry
from metaclaw.upstream.client import UpstreamClient, reply_text
from metaclaw.upstream.route import Route, Router

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.1
RESTART_SECONDS = 1.0
PARITY_CHARACTERS = 24  # of the greedy reply: enough to tell a wrong adapter, little enough to bear rounding
REFUSALS = (EngineError, TrainingError, UpstreamError)

MakeSpec = Callable[[str, Path | None], EngineSpec]


@dataclass(slots=True)
class Seat:
    """An engine and what it serves: an adapter, or None for the base model alone. `since` is when it became a spare."""

    adapter: str | None
    engine: Engine
    route: Route
    since: float = 0.0


class EngineHost:
    """Owned by the gateway's process. `make_spec` takes a policy name and the adapter's GGUF file."""

    def __init__(
        self,
        base_model: str,
        make_spec: MakeSpec,
        start_timeout_seconds: float,
        routes: Routes,
        registry: Registry,
        promotions: Promotions,
        router: Router,
        client: UpstreamClient,
        spare_seconds: float,
    ) -> None:
        self._base_model = base_model
        self._make_spec = make_spec
        self._start_timeout_seconds = start_timeout_seconds
        self._routes = routes
        self._registry = registry
        self._promotions = promotions
        self._router = router
        self._client = client
        self._spare_seconds = spare_seconds
        self._main: Seat | None = None
        self._canary: Seat | None = None
        self._spare: Seat | None = None
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
        except REFUSALS as error:
            if wanted is None:
                raise
            self._routes.give_up(None, f"{wanted} could not be served: {error}")
            await self._swap(None)

    async def _look(self) -> None:
        try:
            state = self._routes.state()
            if self._main is None or not self._main.engine.alive:
                await self._restart()
            elif state.wanted != self._serving:
                await self._try_swap(state.wanted)
            else:
                await self._look_at_canary(state)
                self._look_at_spare()
        except StoreError as error:
            log.error("engine host cannot read the store: %s", error)

    async def _look_at_canary(self, state: RouteState) -> None:
        if self._canary and self._canary.adapter != state.canary:
            self._withdraw()
        elif self._canary and not self._canary.engine.alive:
            self._withdraw()
            self._take_back(state.canary, "its engine died")
        elif state.canary and not self._canary and self._has_room():
            try:
                self._canary = await self._started(state.canary)
            except REFUSALS as error:
                self._take_back(state.canary, f"it could not be served: {error}")
                return
            self._router.try_out(self._canary.route, state.canary_share)
            self._routes.canary_serves(state.canary)
            log.info("%s serves %.0f %% of the sessions", state.canary, 100 * state.canary_share)

    def _take_back(self, canary: str | None, why: str) -> None:
        log.error("canary %s is taken back: %s", canary, why)
        if canary:
            self._promotions.take_back(canary, why, {})

    def _withdraw(self) -> None:
        """Nobody is sent to the canary any more; its engine ends when it is empty."""
        self._router.try_out(None)
        if self._canary:
            self._dismiss(self._canary)
        self._canary = None

    def _look_at_spare(self) -> None:
        if self._spare and time.monotonic() - self._spare.since >= self._spare_seconds:
            self._dismiss(self._spare)
            self._spare = None

    def _has_room(self) -> bool:
        """Whether one more engine may be started; if not, room is being made."""
        if self._spare:
            self._dismiss(self._spare)
            self._spare = None
        return not self._draining

    async def _try_swap(self, wanted: str | None) -> None:
        try:
            await self._swap(wanted)
        except REFUSALS as error:
            log.error("swap to %s failed, %s goes on: %s", wanted, self._serving or "the base model", error)
            self._routes.give_up(self._serving, f"swap to {wanted or 'base'} failed: {error}")

    async def _swap(self, wanted: str | None) -> None:
        """To an engine that is there already, or else to a new one, as soon as there is room for it."""
        seat = self._at_hand(wanted)
        if seat is None:
            if self._main:
                self._withdraw()
                if not self._has_room():
                    return
            seat = await self._started(wanted)
        self._router.switch(seat.route)
        before, self._main, self._serving = self._main, seat, wanted
        self._routes.now_serving(wanted, f"serving {seat.engine.policy}")
        log.info("serving %s", seat.engine.policy)
        if before:
            self._keep(before)

    def _at_hand(self, wanted: str | None) -> Seat | None:
        """The canary's or the spare's engine, if it is of this adapter and alive; it is no longer that."""
        if self._canary and self._canary.adapter == wanted and self._canary.engine.alive:
            seat, self._canary = self._canary, None
            self._router.try_out(None)
            return seat
        if self._spare and self._spare.adapter == wanted and self._spare.engine.alive:
            seat, self._spare = self._spare, None
            return seat
        return None

    def _keep(self, seat: Seat) -> None:
        if self._spare:
            self._dismiss(self._spare)
        self._spare = seat
        seat.since = time.monotonic()
        self._look_at_spare()

    async def _started(self, adapter: str | None) -> Seat:
        """A new engine that answers, and as the gate heard it. Raises one of `REFUSALS`."""
        policy = f"{self._base_model}@{adapter or 'base'}"
        gguf = await asyncio.to_thread(self._registry.checked_gguf, adapter, self._base_model) if adapter else None
        engine = await Engine.start(self._make_spec(policy, gguf), timeout_seconds=self._start_timeout_seconds)
        seat = Seat(adapter, engine, engine.route)
        try:
            await engine.probe()
            if adapter:
                await self._check_parity(adapter, seat.route)
        except BaseException:
            await engine.stop()
            raise
        return seat

    async def _check_parity(self, adapter: str, route: Route) -> None:
        """The engine must begin its reply as the gate's did: the file that was judged is the one that serves."""
        parity = self._registry.get(adapter).lineage.get("parity")
        if not parity:
            return
        body = {"messages": [{"role": "user", "content": parity["prompt"]}], "temperature": 0, "max_tokens": 16}
        reply = reply_text(await self._client.json(route, "/chat/completions", body))
        if reply[:PARITY_CHARACTERS] != parity["reply"][:PARITY_CHARACTERS]:
            raise TrainingError(f"Adapter '{adapter}' answers '{reply}', the gate heard '{parity['reply']}'.")

    def _dismiss(self, seat: Seat) -> None:
        task = asyncio.create_task(self._drain(seat))
        self._draining.add(task)
        task.add_done_callback(self._draining.discard)

    async def _drain(self, seat: Seat) -> None:
        try:
            await self._router.drained(seat.route)
        finally:
            await seat.engine.stop()

    async def _restart(self) -> None:
        log.error("the engine of %s died; starting it again", self._serving or "the base model")
        self._router.switch(None)
        self._main = None
        try:
            await self._swap(self._serving)
        except REFUSALS as error:
            log.error("the engine does not come back, trying again: %s", error)
            await asyncio.sleep(RESTART_SECONDS)

    async def _stop_all(self) -> None:
        self._router.switch(None)
        self._router.try_out(None)
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        for seat in (self._main, self._canary, self._spare):
            if seat:
                await seat.engine.stop()
