"""A simulated day and a half of one namespace: the user, the machine and the store, drawn from a seed; and the truth.

What is allowed at a moment is worked out here from what is the case, in another way than the scheduler does it.
"""

from __future__ import annotations

import bisect
from collections.abc import Iterator
from dataclasses import dataclass
from datetime import UTC, datetime, time, timedelta
from random import Random
from zoneinfo import ZoneInfo

from metaclaw.scheduler.leases import Lease
from metaclaw.scheduler.windows import Rule, SleepHours, Span

HOURS = 36
STEP = (0.2, 0.6)  # the scheduler's step, and the longest that its senses may take besides
NIGHTS = (  # zones, and days around which some of them change their clocks
    ("UTC", (2026, 3, 4)), ("Europe/Berlin", (2026, 3, 28)), ("Europe/Berlin", (2026, 10, 24)),
    ("America/New_York", (2026, 3, 7)), ("America/New_York", (2026, 10, 31)), ("Australia/Lord_Howe", (2026, 4, 4)),
    ("Asia/Kolkata", (2026, 7, 1)), ("America/St_Johns", (2026, 10, 31)),
)
Stretch = tuple[float, float]  # seconds since the beginning


@dataclass
class Job:
    """A row of the store, with what the trainer keeps on disk."""

    needed: float
    lease: Lease
    fails: bool
    state: str = "running"
    durable: float = 0.0


class World:
    """All that happens in one seed, drawn beforehand, and the store."""

    def __init__(self, seed: int) -> None:
        self.random = draw = Random(seed)
        zone, day = draw.choice(NIGHTS)
        self.zone = ZoneInfo(zone)
        self.start = datetime(*day, draw.randrange(24), draw.randrange(60), tzinfo=UTC)
        self.end = HOURS * 3600.0
        self.rule = Rule(
            idle_seconds=draw.uniform(120, 3600), quiet_seconds=draw.uniform(10, 300), zone=self.zone,
            sleep=draw.choice([None, self._hours(), self._hours()]), min_seconds=draw.choice([0, 300, 600, 1800]),
            on_battery=draw.random() < 0.3, max_load=draw.choice([0.3, 0.5, 1.0]),
        )
        self.present = self._stretches(draw.randrange(6), 60, 14_400)
        self.requests = sorted(self._requests())
        self.meetings = self._stretches(draw.randrange(4), 900, 5_400)
        self.battery = self._stretches(draw.randrange(3), 600, 14_400)
        self.loads = [(s, draw.choice([0.2, 0.45, 0.7, 0.95])) for s in sorted(self._moments(draw.randrange(5)))]
        self.loads.append((self.end, 0.1))
        self.asleep = self._stretches(draw.randrange(3), 60, 10_800)
        self.crashes = self._moments(draw.randrange(5))
        self.kills = self._moments(draw.randrange(4))
        self.asks = self._moments(draw.randrange(3))
        self.data = self._moments(draw.randrange(1, 4))
        self.edges = sorted({edge for one in self.requests for edge in one})
        self.spans = tuple(Span(self.at(a), self.at(b)) for a, b in self.meetings)
        self.jobs: list[Job] = []
        self.asked = False
        self.trained_through = -1.0

    def at(self, seconds: float) -> datetime:
        return self.start + timedelta(seconds=seconds)

    def _hours(self) -> SleepHours:
        return SleepHours(time(self.random.randrange(24), self.random.choice([0, 15, 30])),
                          time(self.random.randrange(24), self.random.choice([0, 15, 30])))

    def _moments(self, count: int) -> list[float]:
        return [self.random.uniform(0, self.end * 0.8) for _ in range(count)]

    def _stretches(self, count: int, least: float, most: float) -> list[Stretch]:
        return [(start, start + self.random.uniform(least, most)) for start in self._moments(count)]

    def _requests(self) -> Iterator[Stretch]:
        """Most of them while the user is there; some of agents that work alone."""
        for start in self._moments(self.random.randrange(16)):
            yield start, start + self.random.uniform(0.5, 120)
        for start, end in self.present:
            for _ in range(self.random.randrange(4)):
                begun = self.random.uniform(start, end)
                yield begun, begun + self.random.uniform(0.5, 60)

    # The truth, as it is at a moment.

    def under_way(self, t: float) -> int:
        return sum(a <= t < b for a, b in self.requests)

    def last_edge(self, t: float) -> float:
        index = bisect.bisect_right(self.edges, t)
        return self.edges[index - 1] if index else -1e9

    def last_input(self, t: float) -> float:
        return max((min(t, b) for a, b in self.present if a <= t), default=-1e9)

    def last_woken(self, t: float) -> float:
        return max((b for _, b in self.asleep if b <= t), default=-1e9)

    def load(self, t: float) -> float:
        return next((share for start, share in reversed(self.loads) if start <= t), 0.1)

    def away(self, t: float) -> bool:
        """Sleep hours by arithmetic on minutes of the day; meetings by their ends."""
        if any(a <= t < b for a, b in self.meetings):
            return True
        sleep = self.rule.sleep
        if sleep is None:
            return False
        local = self.at(t).astimezone(self.zone)
        minute = local.hour * 60 + local.minute
        start, end = (at.hour * 60 + at.minute for at in (sleep.start, sleep.end))
        return (minute - start) % 1440 < (end - start) % 1440

    def allowed(self, t: float) -> bool:
        """Whether a job may be at work."""
        if self.under_way(t):
            return False
        if self.asked:
            return t - max(self.last_edge(t), self.last_woken(t)) >= 2
        if any(a <= t < b for a, b in self.battery) and not self.rule.on_battery:
            return False
        if self.load(t) > (1 + self.rule.max_load) / 2:
            return False
        quiet = t - max(self.last_edge(t), self.last_input(t), self.last_woken(t))
        short = min(self.rule.quiet_seconds, self.rule.idle_seconds)
        return quiet >= self.rule.idle_seconds - 1e-6 or (quiet >= short - 1e-6 and self.away(t))

    def long_enough(self, t: float) -> bool:
        quiet = t - max(self.last_edge(t), self.last_input(t), self.last_woken(t))
        if self.asked or quiet >= self.rule.idle_seconds - 1e-6:
            return True
        return all(self.away(t + 60 * minute) for minute in range(int(self.rule.min_seconds // 60) + 1))

    def fresh(self) -> bool:
        return any(self.trained_through < moment <= self.now for moment in self.data)

    now = 0.0


def moments(world: World) -> list[float]:
    """When learners step: densely after each event and each threshold that it sets, sparsely elsewhere."""
    draw, rule = world.random, world.rule
    events = [edge for many in (world.requests, world.present, world.meetings, world.battery, world.asleep)
              for one in many for edge in one]
    events += world.crashes + world.kills + world.asks + world.data + [start for start, _ in world.loads]
    away = world.away(0)
    for minute in range(HOURS * 60):  # clocks strike whole minutes, whatever the zone
        if world.away(60.0 * minute) != away:
            away = not away
            events.append(60.0 * minute)
    later = [event + wait for event in events for wait in (2.0, rule.quiet_seconds, rule.idle_seconds)]
    found = [900.0 * number for number in range(int(world.end // 900) + 1)]
    found += [moment + draw.uniform(0, 0.2) for moment in later]
    for event in events:
        moment = event
        while moment < event + 1.5:
            moment += draw.uniform(*STEP)
            found.append(moment)
    # The quiet at the end: long enough for all that is left, crashes and leases that have to run out included.
    found += [world.end + 200.0 * number for number in range(1, 400)]
    return sorted(found)
