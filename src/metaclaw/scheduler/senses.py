"""What the machine and the calendar tell, put together: asked a few times a second while a job is at work.

Input is asked each time, since a return must be seen within a second; battery and load change slowly, and on macOS the
question costs a process: they are asked every few seconds.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from datetime import datetime, timedelta

from metaclaw.scheduler.agenda import Agenda
from metaclaw.scheduler.power import Load, on_battery
from metaclaw.scheduler.presence import Presence
from metaclaw.scheduler.windows import Senses

POWER_AGAIN = timedelta(seconds=5)


class Machine:
    """`look` is handed to the scheduler. None of the sources is needed."""

    def __init__(
        self,
        now: Callable[[], datetime],
        presence: Presence | None = None,
        agenda: Agenda | None = None,
        battery: Callable[[], bool | None] | None = on_battery,
        load: Load | None = None,
    ) -> None:
        self._now = now
        self._presence = presence
        self._agenda = agenda
        self._battery = battery
        self._load = load
        self._power: tuple[bool | None, float | None] = (None, None)
        self._power_again = now()

    async def look(self) -> Senses:
        idle = await self._presence.idle_seconds() if self._presence else {}
        now = self._now()
        if now >= self._power_again:
            self._power_again = now + POWER_AGAIN
            battery = await asyncio.to_thread(self._battery) if self._battery else None
            self._power = battery, self._load.share(now.timestamp()) if self._load else None
        return Senses(
            last_input=now - timedelta(seconds=min(idle.values())) if idle else None,
            on_battery=self._power[0],
            load=self._power[1],
            meetings=self._agenda.meetings(now) if self._agenda else (),
        )

    async def run(self) -> None:
        """What reads by itself: the calendar. Until cancelled."""
        if self._agenda:
            await self._agenda.run()

    async def close(self) -> None:
        if self._presence:
            await self._presence.close()
