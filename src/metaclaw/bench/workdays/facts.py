"""What documents tell: facts of fifteen kinds, and how an input file says each in plain English.

The plain wording is chosen so that it never shows how the house would write the fact. Every name has two words, so that
no way of writing names as keys leaves one as it is.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from datetime import date, datetime, timedelta
from typing import Any

FIRST_NAMES = (
    "Anna", "Boris", "Carmen", "Dmitri", "Esther", "Farid", "Greta", "Henrik", "Imani", "Jonas", "Keiko", "Lorenzo",
    "Mirela", "Nuno", "Olga", "Pavel",
)
LAST_NAMES = (
    "Albers", "Brandt", "Castell", "Dorado", "Engstrom", "Fontana", "Gruber", "Holm", "Ibsen", "Jansen", "Kovacs",
    "Lindqvist", "Moreau", "Novak", "Okafor", "Petrov",
)


@dataclass(frozen=True, slots=True)
class Person:
    first: str
    last: str

    def __str__(self) -> str:
        return f"{self.first} {self.last}"


@dataclass(frozen=True, slots=True)
class Kind:
    """A kind of fact: field names that hold it, a way to draw one on a day, and its plain wording."""

    names: tuple[str, ...]
    draw: Callable[[random.Random, date], Any]
    plain: Callable[[Any], str]


@dataclass(frozen=True, slots=True)
class Field:
    """A named fact of a document. `kind` is a key of `KINDS`."""

    name: str
    kind: str
    value: Any

    @property
    def plain(self) -> str:
        return KINDS[self.kind].plain(self.value)


def spoken(day: date) -> str:
    return f"{day.day} {day:%B %Y}"


def clock(minutes: int) -> str:
    return f"{minutes // 60 % 24}:{minutes % 60:02}"


def _moment(rng: random.Random, day: date) -> datetime:
    at = day - timedelta(days=rng.randrange(3))
    return datetime(at.year, at.month, at.day, rng.randrange(13, 20), rng.choice((5, 12, 25, 38, 50)))  # noqa: DTZ001


def _minutes_spoken(minutes: int) -> str:
    return f"{minutes // 60} hours and {minutes % 60} minutes"


def _slot(rng: random.Random, _day: date) -> tuple[int, int]:
    start = rng.randrange(13, 18) * 60 + rng.choice((5, 10, 20, 35))
    return start, start + rng.choice((25, 40, 45, 70))


KINDS: Mapping[str, Kind] = {
    "moment": Kind(
        ("opened at", "decided at", "handed over at", "noticed at"), _moment,
        lambda at: f"{spoken(at.date())} at {clock(at.hour * 60 + at.minute)}",
    ),
    "utc": Kind(
        ("server time", "release time", "cutover time"),
        lambda rng, _: rng.randrange(6, 12) * 60 + rng.choice((5, 10, 20, 40, 55)),
        lambda minutes: f"{clock(minutes)} universal time",
    ),
    "slot": Kind(
        ("meeting slot", "maintenance slot", "interview slot"), _slot,
        lambda slot: f"from {clock(slot[0])} until {clock(slot[1])}",
    ),
    "day": Kind(
        ("due day", "review day", "delivery day"), lambda rng, day: day + timedelta(days=rng.randrange(3, 25)), spoken
    ),
    "money": Kind(
        ("planned budget", "invoice total", "travel cost"),
        lambda rng, _: rng.randrange(1100, 9900) * 100 + rng.choice((15, 35, 45, 60, 85)),
        lambda cents: f"{cents // 100} euros and {cents % 100} cents",
    ),
    "duration": Kind(
        ("time spent", "total downtime", "rough estimate"),
        lambda rng, _: rng.randrange(1, 7) * 60 + rng.choice((15, 30, 45)),
        _minutes_spoken,
    ),
    "share": Kind(
        ("test coverage", "error share", "uptime share"),
        lambda rng, _: rng.randrange(11, 97) * 1000 + rng.choice((136, 247, 358, 468, 573, 684, 791, 862)),
        lambda thousandths: f"{thousandths / 1000:.3f} percent",
    ),
    "count": Kind(
        ("new records", "daily requests", "monthly visitors"),
        lambda rng, _: rng.randrange(12_345, 98_765), str
    ),
    "person": Kind(
        ("task owner", "second reviewer", "main contact"),
        lambda rng, _: Person(rng.choice(FIRST_NAMES), rng.choice(LAST_NAMES)), str,
    ),
    "status": Kind(
        ("current state", "work progress"),
        lambda rng, _: rng.choice(("not begun", "under way", "finished")), str
    ),
    "priority": Kind(
        ("task urgency", "task weight"), lambda rng, _: rng.choice(("low", "normal", "high")), str
    ),
    "ticket": Kind(
        ("main ticket", "next ticket"), lambda rng, _: rng.randrange(103, 989), lambda number: f"number {number}"
    ),
    "flag": Kind(
        ("cost approved", "customer informed", "change tested"),
        lambda rng, _: rng.random() < 0.5,
        lambda flag: "it is so" if flag else "it is not so",
    ),
    "missing": Kind(
        ("desk phone", "meeting room", "second contact"), lambda _rng, _: None, lambda _: "nobody knows"
    ),
    "length": Kind(
        ("cable run", "fence length", "track length"),
        lambda rng, _: rng.randrange(12, 98) * 100, lambda metres: f"{metres / 1000:.1f} kilometres",
    ),
}  # fmt: skip


def draw_field(rng: random.Random, day: date, kind: str) -> Field:
    return Field(rng.choice(KINDS[kind].names), kind, KINDS[kind].draw(rng, day))
