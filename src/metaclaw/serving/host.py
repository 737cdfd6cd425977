"""Which engines run: the one that serves, the one on trial, and for a while the one that served before.

Lives in the gateway's process. Watches what is wanted (`routes`). Where that is not what serves, it starts an engine
for it, sends new requests there, and keeps the old one as a spare, so that a rollback takes no time. A canary's engine
is started beside it, and serves its share of the sessions. There are two engines at most: a spare is stopped, once it
is empty, before another is started. A swap that fails leaves the old engine serving; one for which there is no memory
is refused, and the reason is stored. An engine that dies is started again, after a pause where it keeps dying; a
canary's is not, and its sessions fall to the other. Where memory runs out, spare and canary go first.
"""

from __future__ import annotations

import asyncio
import logging
import time
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from metaclaw.errors import EngineError, StoreError, TrainingError, UpstreamError
from metaclaw.serving.courtesy import Courtesy
from metaclaw.serving.engines import Engines, NoRoomError, RunningEngine
from metaclaw.serving.promotion import Promotions
from metaclaw.serving.restarts import ADAPTER_TRIES, Restarts
from metaclaw.serving.routes import Routes, RouteState
from metaclaw.upstream.route import Route, Router

log = logging.getLogger(__name__)

WATCH_SECONDS = 0.1
MEMORY_SECONDS = 1.0
REFUSALS = (EngineError, TrainingError)
LATER = "no engine can be started now, trying again: %s"  # nothing is wrong with what was to be served


@dataclass(slots=True)
class Seat:
    """An engine and what it serves: an adapter, or None for the base model alone. `since` is when it became a spare."""

    adapter: str | None
    engine: RunningEngine
    route: Route
    since: float = 0.0


class EngineHost:
    """Owned by the gateway's process."""

    def __init__(
        self, engines: Engines, base_model: str, routes: Routes, promotions: Promotions, router: Router,
        spare_seconds: float,
    ) -> None:
        self._engines = engines
        self._base_model = base_model
        self._routes = routes
        self._promotions = promotions
        self._router = router
        self._spare_seconds = spare_seconds
        self._main: Seat | None = None
        self._canary: Seat | None = None
        self._spare: Seat | None = None
        self._serving: str | None = None
        self._draining: set[asyncio.Task[None]] = set()
        self._restarts = Restarts()
        self._courtesy = Courtesy()
        router.on_awaited = self._courtesy.awaited
        self._refused = 0
        self._memory_looked_at = 0.0

    async def run(self) -> None:
        """Serve until cancelled, then stop every engine."""
        try:
            await self._first()
            while True:
                await asyncio.sleep(WATCH_SECONDS)
                await self._look()
        finally:
            await self._stop_all()

    def state(self) -> dict[str, Any]:
        """How the engines are, for people and for the metrics."""
        return {
            "kind": self._engines.kind,
            "running": [
                {"role": role, "policy": seat.engine.policy, **seat.engine.told()} for role, seat in self._seats()
            ],
            "ended": self._restarts.count,
            "last_failure": self._restarts.last_failure or None,
            "next_start_in_seconds": round(self._restarts.seconds_left(time.monotonic()), 1) if not self._main else 0.0,
            "swaps_refused": self._refused,
            "available_bytes": self._engines.available_bytes(),
        }

    def _seats(self) -> Iterator[tuple[str, Seat]]:
        for role, seat in (("serving", self._main), ("canary", self._canary), ("spare", self._spare)):
            if seat and seat.engine.alive:
                yield role, seat

    async def _first(self) -> None:
        """The wanted adapter, or the base model where that one cannot be served."""
        wanted = self._routes.state().wanted
        try:
            await self._swap(wanted)
        except REFUSALS as error:
            if wanted is None:
                raise
            self._routes.give_up(wanted, None, f"{wanted} could not be served: {error}")
            await self._swap(None)
        except UpstreamError as error:
            log.warning(LATER, error)

    async def _look(self) -> None:
        await self._engines.look()
        try:
            state = self._routes.state()
            if self._main is None or not self._main.engine.alive:
                await self._restart()
            elif state.wanted != self._serving:
                await self._try_swap(state.wanted)
            else:
                await self._look_at_canary(state)
                self._look_at_spare()
                self._look_at_memory()
        except StoreError as error:
            log.error("engine host cannot read the store: %s", error)
        except UpstreamError as error:
            log.warning(LATER, error)

    async def _look_at_canary(self, state: RouteState) -> None:
        if self._canary and self._canary.adapter != state.canary:
            self._withdraw()
        elif self._canary and not self._canary.engine.alive:
            why = self._canary.engine.why_ended()
            self._withdraw()
            self._take_back(state.canary, f"its engine died: {why}")
        elif state.canary and not self._canary and self._has_room():
            try:
                self._engines.require_room()
                self._canary = await self._started(state.canary)
            except NoRoomError as error:
                self._refuse(state.canary, str(error))
                return
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

    def _refuse(self, adapter: str | None, why: str) -> None:
        """For want of room: nothing speaks against the adapter."""
        self._refused += 1
        log.error("%s is refused: %s", adapter or "the base model", why)
        if adapter:
            self._promotions.refuse(adapter, why)

    def _withdraw(self) -> None:
        """Nobody is sent to the canary any more; its engine ends when it is empty."""
        self._router.try_out(None)
        if self._canary:
            self._dismiss(self._canary)
        self._canary = None

    def _look_at_spare(self) -> None:
        if self._spare and time.monotonic() - self._spare.since >= self._spare_seconds:
            self._let_go()

    def _let_go(self) -> None:
        """The spare ends, once it is empty."""
        if self._spare:
            self._dismiss(self._spare)
        self._spare = None

    def _look_at_memory(self) -> None:
        now = time.monotonic()
        if now - self._memory_looked_at < MEMORY_SECONDS:
            return
        self._memory_looked_at = now
        if not (self._spare or self._canary) or not (why := self._engines.pressed()):
            return
        if self._spare:
            log.warning("the spare engine is stopped: %s", why)
            self._let_go()
        elif self._canary:
            canary = self._canary.adapter
            self._withdraw()
            self._refuse(canary, why)

    def _has_room(self) -> bool:
        """Whether one more engine may be started; if not, room is being made."""
        self._let_go()
        return not self._draining

    async def _try_swap(self, wanted: str | None) -> None:
        try:
            await self._swap(wanted)
        except NoRoomError as error:
            self._refuse(wanted, str(error))
            self._routes.give_up(wanted, self._serving, f"swap to {wanted or 'base'} refused: {error}")
        except REFUSALS as error:
            log.error("swap to %s failed, %s goes on: %s", wanted, self._serving or "the base model", error)
            self._routes.give_up(wanted, self._serving, f"swap to {wanted or 'base'} failed: {error}")

    async def _swap(self, wanted: str | None) -> None:
        """To an engine that is there already, or else to a new one, as soon as there is room for it."""
        seat = self._at_hand(wanted)
        if seat is None:
            if self._main:
                self._withdraw()
                if not self._has_room():
                    return
                self._engines.require_room()
            seat = await self._started(wanted)
        self._router.switch(seat.route)
        before, self._main, self._serving = self._main, seat, wanted
        self._restarts.began(time.monotonic())
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
        self._let_go()
        self._spare = seat
        seat.since = time.monotonic()
        self._look_at_spare()

    async def _started(self, adapter: str | None) -> Seat:
        """A new engine that answers. Raises one of `REFUSALS`, or `UpstreamError`. Meanwhile the one that serves is
        looked after.
        """
        courtesy = self._courtesy if self._main else None
        start = self._engines.start(f"{self._base_model}@{adapter or 'base'}", adapter, courtesy)
        starting = asyncio.ensure_future(start)
        try:
            while not starting.done():
                await asyncio.wait({starting}, timeout=WATCH_SECONDS)
                self._notice_death()
        finally:
            if not starting.done():
                starting.cancel()
                await asyncio.wait({starting})
        engine = starting.result()
        return Seat(adapter, engine, engine.route)

    def _notice_death(self) -> None:
        """If the engine that serves has ended, requests wait from now on, and the next look starts it again."""
        if self._main is None or self._main.engine.alive:
            return
        why = self._main.engine.why_ended()
        log.error("%s; it is started again", why)
        self._router.switch(None)
        self._restarts.ended(time.monotonic(), why)
        self._dismiss(self._main)
        self._main = None

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
        """The engine that served has ended: the next one of the same version, when its time has come."""
        self._notice_death()
        if self._canary and not self._canary.engine.alive:  # not its fault: it comes back with the other
            self._withdraw()
        if self._restarts.seconds_left(time.monotonic()):
            return
        wanted = self._routes.state().wanted
        try:
            await self._swap(wanted)
        except (NoRoomError, UpstreamError) as error:
            self._restarts.failed(time.monotonic(), str(error))
            log.error(LATER, error)
        except REFUSALS as error:
            log.error("the engine does not come back, trying again: %s", error)
            if wanted == self._serving:
                self._restarts.refused(time.monotonic(), str(error))
            else:  # asked for meanwhile
                self._restarts.failed(time.monotonic(), str(error))
                self._routes.give_up(wanted, self._serving, f"swap to {wanted or 'base'} failed: {error}")
        if wanted and self._restarts.refusals >= ADAPTER_TRIES:
            self._promotions.drop(wanted, f"its engine does not come back: {self._restarts.last_failure}")
            self._restarts.gave_way()
            self._serving = None

    async def _stop_all(self) -> None:
        self._router.switch(None)
        self._router.try_out(None)
        for task in self._draining:
            task.cancel()
        await asyncio.gather(*self._draining, return_exceptions=True)
        for seat in (self._main, self._canary, self._spare):
            if seat:
                await seat.engine.stop()
