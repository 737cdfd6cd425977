"""Is the user away? Pure: the clock and what is known of activity come in, a yes or no with its reason goes out."""

from __future__ import annotations

from dataclasses import dataclass
from datetime import datetime, time

from metaclaw.errors import ConfigError


@dataclass(frozen=True, slots=True)
class SleepHours:
    """From `start` to `end` in local time; `end` before `start` crosses midnight."""

    start: time
    end: time

    @classmethod
    def parse(cls, text: str) -> SleepHours | None:
        """From '23:00-07:00'; None from an empty text. Raises `ConfigError` for anything else."""
        if not text.strip():
            return None
        try:
            start, end = (time.fromisoformat(part.strip()) for part in text.split("-"))
        except ValueError as error:
            raise ConfigError(f"schedule.sleep_hours: '{text}' is not of the form 23:00-07:00.") from error
        return cls(start, end)

    def contain(self, moment: datetime) -> bool:
        now = moment.time()
        if self.start <= self.end:
            return self.start <= now < self.end
        return now >= self.start or now < self.end


@dataclass(frozen=True, slots=True)
class Activity:
    """What is known of the user: requests under way, and when the last one began or ended."""

    under_way: int
    last: datetime


@dataclass(frozen=True, slots=True)
class Window:
    open: bool
    reason: str


def window(
    now: datetime, activity: Activity, idle_seconds: float, sleep: SleepHours | None, sleep_quiet_seconds: float
) -> Window:
    """Open when nothing is under way and it has been quiet for long enough; less is enough in the sleep hours."""
    if activity.under_way:
        return Window(False, f"{activity.under_way} requests under way")
    quiet = (now - activity.last).total_seconds()
    asleep = sleep is not None and sleep.contain(now)
    needed = min(idle_seconds, sleep_quiet_seconds) if asleep else idle_seconds
    if quiet >= needed:
        return Window(True, "sleep hours" if asleep and quiet < idle_seconds else "idle")
    return Window(False, f"quiet for {max(quiet, 0):.0f} of {needed:.0f} s")
