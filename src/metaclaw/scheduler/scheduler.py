"""Starts a job when a window opens, pauses it when the window closes, resumes it in the next one.

It is handed the job, a clock, the senses, and the board on which people ask for training. It owns no data and takes no
decision: `windows` and `machine` do. A step takes no time, so a pause follows the user's return as soon as it is heard
of; while a job is at work, the senses are asked several times a second.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping
from datetime import datetime, timedelta
from typing import Any, Protocol

from metaclaw.errors import LeaseLostError, MetaClawError, OvertakenError
from metaclaw.scheduler import machine
from metaclaw.scheduler.machine import Act, End, Phase, State
from metaclaw.scheduler.windows import Activity, Rule, Senses, Window, after_step, window

log = logging.getLogger(__name__)

STEP_SECONDS = 0.2
ASK_AGAIN = timedelta(seconds=2)
LOOK_AGAIN = timedelta(seconds=5)  # at the senses and the board, while nothing is at work
TELL_AGAIN = timedelta(seconds=60)
LEFT_ALONE = timedelta(seconds=30)  # a job that another learner has
GIVE_UP_SECONDS = 30.0  # what was asked for and cannot begin is answered then


class Job(Protocol):
    def ready(self, asked: bool = False) -> bool:
        """Whether there is enough to work on; less is enough where somebody asked for it."""

    async def run(self) -> None:
        """Work until done. Raises `MetaClawError` when it cannot go on, `LeaseLostError` when another took it over, and
        `OvertakenError` when another one must begin.
        """

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Sensing(Protocol):
    """What the machine tells; see `scheduler.senses`."""

    async def look(self) -> Senses: ...

    async def run(self) -> None: ...

    async def close(self) -> None: ...


class Asked(Protocol):
    """Where people ask and are answered; see `scheduler.board`."""

    def asked_seconds(self) -> float | None: ...

    def held_seconds(self) -> float | None: ...

    def answer(self, text: str) -> None: ...

    def tell(self, seen: Mapping[str, Any]) -> None: ...


class Scheduler:
    """Owned by the learner. `heard` is called with the number of the user's requests under way."""

    def __init__(
        self,
        job: Job,
        now: Callable[[], datetime],
        rule: Rule,
        senses: Sensing | None = None,
        board: Asked | None = None,
    ) -> None:
        self._job = job
        self._now = now
        self._rule = rule
        self._sensing = senses
        self._board = board
        self._activity = Activity(0, now())
        self._senses = Senses()
        self._state = State()
        self._running: asyncio.Task[None] | None = None
        self._asked: float | None = None  # seconds since it was
        self._held = False
        self._ask_again = self._look_again = self._tell_again = now()
        self._told: tuple[Any, ...] = ()
        self.window = Window(False, "just started")

    @property
    def phase(self) -> Phase:
        return self._state.phase

    def heard(self, under_way: int) -> None:
        """The user is active. Pauses the job at once."""
        self._activity = Activity(under_way, self._now())
        self._state = machine.heard(self._state)
        if under_way:
            self.step()

    def step(self) -> None:
        """Look at the clock and act on it."""
        self.window = self._window()
        self._state, act = machine.step(self._state, self.window.open, self._ready)
        if act is Act.START:
            self._running = asyncio.create_task(self._work())
        elif act is not Act.NOTHING:
            (self._job.pause if act is Act.PAUSE else self._job.resume)()
            log.info("training %s: %s", self._state.phase.value, self.window.reason)

    async def run(self) -> None:
        """Step until cancelled; the job ends with us."""
        sensing = asyncio.create_task(self._sensing.run()) if self._sensing else None
        before = self._now()
        try:
            while True:
                self._activity, before = after_step(self._activity, before, self._now()), self._now()
                try:
                    await self._round()
                except MetaClawError as error:  # the store did not answer: asked again in a moment
                    log.warning("the scheduler could not look: %s", error)
                await asyncio.sleep(STEP_SECONDS)
        finally:
            ours = [task for task in (self._running, sensing) if task]
            for task in ours:
                task.cancel()
            await asyncio.gather(*ours, return_exceptions=True)
            if self._sensing:
                await self._sensing.close()

    async def _round(self) -> None:
        """Look, act, tell. Raises `MetaClawError` where the store does not answer; the senses are acted on even so."""
        try:
            await self._look_around()
        except MetaClawError:
            self.step()
            raise
        self.step()
        self._tell()

    def _window(self) -> Window:
        asked = self._asked is not None
        return window(
            self._now(), self._activity, self._senses, self._rule, going=self._state.going, asked=asked, held=self._held
        )

    async def _look_around(self) -> None:
        """Ask the senses and the board: at each step while a job is at work or could begin, else now and then."""
        if not self._must_look():
            return
        self._look_again = self._now() + LOOK_AGAIN
        if self._sensing:
            self._senses = await self._sensing.look()
        if self._board:
            self._held = self._board.held_seconds() is not None
            before, self._asked = self._asked, self._board.asked_seconds()
            if before is None and self._asked is not None:
                self._state = machine.heard(self._state)

    def _must_look(self) -> bool:
        now = self._now()
        if self._state.going or now >= self._look_again:
            return True
        about_to_start = not self._state.failed and now >= self._ask_again
        return (self._state.phase is Phase.PAUSED or about_to_start) and self._window().open

    def _ready(self) -> bool:
        """Whether there is work, asked every few seconds only: the answer reads the journal."""
        if self._now() < self._ask_again:
            return False
        self._ask_again = self._now() + ASK_AGAIN
        if self._asked is None:
            return self._job.ready()
        if self._job.ready(asked=True):
            return True
        if self._asked > GIVE_UP_SECONDS:
            self._answer("There is too little to learn from: too few proven turns that no training saw, or to test on.")
        return False

    def _answer(self, text: str) -> None:
        if self._board and self._asked is not None:
            self._board.answer(text)
        self._asked = None

    def _tell(self) -> None:
        """Show others what is seen and done: when it changes, and now and then as a sign of life."""
        reason = "".join(sign for sign in self.window.reason if not sign.isdigit())  # seconds and shares move on
        now, essence = self._now(), (self._state, self.window.open, reason, self._asked is None)
        if self._board is None or (essence == self._told and now < self._tell_again):
            return
        self._told, self._tell_again = essence, now + TELL_AGAIN
        senses = self._senses
        self._board.tell({
            "phase": self._state.phase.value, "open": self.window.open, "reason": self.window.reason,
            "failed": self._state.failed, "on_battery": senses.on_battery, "load": senses.load,
            "last_input": senses.last_input.isoformat() if senses.last_input else None,
        })

    async def _work(self) -> None:
        how, said = End.DONE, "It ran."
        try:
            await self._job.run()
        except LeaseLostError as error:
            how, said = End.LOST, str(error)
            self._ask_again = self._now() + LEFT_ALONE
            log.warning("training: %s", error)
        except OvertakenError as error:
            how, said = End.LOST, ""  # whoever asked is answered by the next one
            log.warning("training: %s", error)
        except Exception as error:  # noqa: BLE001 - tried again after the user's next visit, whatever it is
            how, said = End.FAILED, f"It failed: {error}"
            log.error("training failed: %s: %s", type(error).__name__, error)
        self._state = machine.ended(self._state, how)
        try:
            if said:
                self._answer(said)
        except MetaClawError as error:
            log.warning("who asked for training could not be answered: %s", error)
