"""Starts a job when a window opens, pauses it when the window closes, resumes it in the next one.

It is handed the job, a clock and what is known of activity; it owns no data. A step takes no time, so a pause
follows the user's return as soon as it is heard of.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable
from datetime import datetime, timedelta
from typing import Protocol

from metaclaw.errors import MetaClawError
from metaclaw.scheduler.windows import Activity, SleepHours, Window, window

log = logging.getLogger(__name__)

STEP_SECONDS = 0.2
ASK_AGAIN = timedelta(seconds=2)


class Job(Protocol):
    def ready(self) -> bool:
        """Whether there is enough to work on."""

    async def run(self) -> None:
        """Work until done. Raises `MetaClawError` when it cannot go on."""

    def pause(self) -> None: ...

    def resume(self) -> None: ...


class Scheduler:
    """Owned by the learner. `heard` is called with the number of the user's requests under way."""

    def __init__(
        self,
        job: Job,
        now: Callable[[], datetime],
        idle_seconds: float,
        sleep: SleepHours | None,
        sleep_quiet_seconds: float,
    ) -> None:
        self._job = job
        self._now = now
        self._rule = (idle_seconds, sleep, sleep_quiet_seconds)
        self._activity = Activity(0, now())
        self._running: asyncio.Task[None] | None = None
        self._paused = False
        self._failed = False
        self._ask_again = now()
        self.window = Window(False, "just started")

    def heard(self, under_way: int) -> None:
        """The user is active. Pauses the job at once."""
        self._activity = Activity(under_way, self._now())
        self._failed = False
        if under_way:
            self.step()

    def step(self) -> None:
        """Look at the clock and act on it."""
        self.window = window(self._now(), self._activity, *self._rule)
        working = self._running is not None and not self._running.done()
        if working and self.window.open == self._paused:
            self._paused = not self.window.open
            (self._job.pause if self._paused else self._job.resume)()
            log.info("training %s: %s", "paused" if self._paused else "resumed", self.window.reason)
        elif not working and self.window.open and not self._failed and self._ready():
            self._paused = False
            self._running = asyncio.create_task(self._work())

    def _ready(self) -> bool:
        """Whether there is work, asked every few seconds only: the answer reads the journal."""
        if self._now() < self._ask_again:
            return False
        self._ask_again = self._now() + ASK_AGAIN
        return self._job.ready()

    async def run(self) -> None:
        """Step until cancelled; the job ends with us."""
        try:
            while True:
                try:
                    self.step()
                except MetaClawError as error:  # the store did not answer: asked again in a moment
                    log.warning("the scheduler could not look: %s", error)
                await asyncio.sleep(STEP_SECONDS)
        finally:
            if self._running:
                self._running.cancel()
                await asyncio.gather(self._running, return_exceptions=True)

    async def _work(self) -> None:
        try:
            await self._job.run()
        except Exception as error:  # noqa: BLE001 - tried again after the user's next visit, whatever it is
            self._failed = True
            log.error("training failed: %s: %s", type(error).__name__, error)
