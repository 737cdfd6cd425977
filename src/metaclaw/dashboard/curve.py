"""The learning curve: of each day's turns of which anything was said, the share that did not fail, with its interval.

In: the journal and the signals of a namespace, a time zone. Out: `Day`s, one for each day on the wall since the first
turn, with what changed on it. A turn of which nobody said anything counts in `turns` alone: to count it as a success
would have the curve rise when people stop complaining.
"""

from __future__ import annotations

import math
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from datetime import date, datetime, timedelta, tzinfo

from metaclaw.dashboard.rooms import Rooms
from metaclaw.journal import glances
from metaclaw.signals import ledger
from metaclaw.signals.combine import Outcome
from metaclaw.types import LIVE_STATES

MOST_DAYS = 60
MOST_CHANGES = 5_000
Z95 = 1.959964


@dataclass(frozen=True, slots=True)
class Share:
    """Of `n` judged turns, those that were right; `low` and `high` are Wilson's 95 % interval."""

    n: int
    right: int

    @property
    def value(self) -> float | None:
        return self.right / self.n if self.n else None

    @property
    def interval(self) -> tuple[float, float]:
        return wilson(self.right, self.n)

    @property
    def low(self) -> float:
        return self.interval[0]

    @property
    def high(self) -> float:
        return self.interval[1]


@dataclass(frozen=True, slots=True)
class Day:
    """`policy` answered most of its turns; `switched` names it where the days before had another.

    `generation` is the library's at its end; `changes` are those that made it, in words.
    """

    date: date
    share: Share
    turns: int
    policy: str
    switched: str
    generation: int
    changes: tuple[str, ...]


def learning_curve(rooms: Rooms, zone: tzinfo | None = None) -> list[Day]:
    """The last days, the oldest first; empty where there are no turns."""
    first = glances.first_at(rooms.database, rooms.namespace)
    if first is None:
        return []
    today = rooms.now().astimezone(zone).date()
    begins = max(datetime.fromtimestamp(first, zone).date(), today - timedelta(days=MOST_DAYS - 1))
    dates = [begins + timedelta(days=n) for n in range((today - begins).days + 1)]
    changed = _changes(rooms, _starts(dates[0], zone), zone)
    days: list[Day] = []
    policy, generation = "", _generation_before(rooms, changed)
    for day in dates:
        span = _starts(day, zone), _starts(day + timedelta(days=1), zone)
        outcomes = ledger.outcomes_between(rooms.database, rooms.namespace, *span)
        policies = glances.policies_between(rooms.database, rooms.namespace, *span)
        generation = max([generation, *(number for number, _ in changed.get(day, ()))])
        mostly = next(iter(policies), policy)
        days.append(Day(
            day, share_of(outcomes), sum(policies.values()), mostly,
            mostly if policy and mostly != policy else "", generation,
            tuple(text for _, text in changed.get(day, ())),
        ))
        policy = mostly
    return days


def share_of(outcomes: Sequence[Outcome]) -> Share:
    return Share(len(outcomes), sum(not one.failed for one in outcomes))


def together(days: Sequence[Day]) -> Share:
    return Share(sum(day.share.n for day in days), sum(day.share.right for day in days))


def wilson(right: int, n: int) -> tuple[float, float]:
    """The interval of a share; everything where nothing is known."""
    if not n:
        return 0.0, 1.0
    share, z2 = right / n, Z95 * Z95
    middle = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = Z95 / (1 + z2 / n) * math.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    return max(0.0, middle - half), min(1.0, middle + half)


def _starts(day: date, zone: tzinfo | None) -> float:
    """When it begins on the wall; days of a change of the clock are an hour longer or shorter."""
    return datetime(day.year, day.month, day.day, tzinfo=zone).timestamp()


def _changes(rooms: Rooms, since: float, zone: tzinfo | None) -> Mapping[date, Sequence[tuple[int, str]]]:
    """By day, each generation with what made it: a skill that went live or out of use, each once."""
    found: defaultdict[date, dict[tuple[int, str], None]] = defaultdict(dict)
    for name, change in reversed(rooms.catalog.changes_since(since, MOST_CHANGES)):
        if (change.old in LIVE_STATES) != (change.new in LIVE_STATES):
            day = datetime.fromtimestamp(change.created_at, zone).date()
            found[day][change.generation, f"{name} {'live' if change.new in LIVE_STATES else 'retired'}"] = None
    return {day: [*those] for day, those in found.items()}


def _generation_before(rooms: Rooms, changed: Mapping[date, Sequence[tuple[int, str]]]) -> int:
    """The library's generation where the curve begins."""
    numbers = [number for day in changed.values() for number, _ in day]
    return min(numbers) - 1 if numbers else rooms.catalog.generation()
