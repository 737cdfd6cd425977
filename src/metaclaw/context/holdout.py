"""Which matching skills a request goes without, drawn by chance, so that with and without can be compared. Pure.

The coin is thrown once for a session, a skill and a day, by a hash: every process and every restart throws it alike,
and nothing is stored. Not for each request, because the requests of a session are no independent tries: an agent sends
one text many times, and once the user has said what is right, that stands in the conversation, with the skill or
without. The day ends a stretch, so that a session that never ends is not without a skill for ever.
"""

from __future__ import annotations

import time
from collections.abc import Collection, Sequence
from dataclasses import dataclass
from functools import lru_cache
from hashlib import blake2b

from metaclaw.types import Skill

DAY_SECONDS = 86_400


@dataclass(frozen=True, slots=True)
class Draw:
    """`drawn` are the refs that a coin was thrown for, `withheld` those of them that lost; `share` how many lose."""

    share: float = 0.0
    drawn: tuple[str, ...] = ()
    withheld: tuple[str, ...] = ()


NO_DRAW = Draw()


def draw(skills: Sequence[Skill], pinned: Collection[str], share: float, place: str, day: int) -> Draw:
    """A coin for each skill but the pinned ones. `place` names the session, its namespace included."""
    drawn = [skill for skill in skills if skill.name not in pinned]
    withheld = tuple(skill.ref for skill in drawn if withholds(place, skill.name, day, share))
    return Draw(share, tuple(skill.ref for skill in drawn), withheld) if drawn else NO_DRAW


@lru_cache(maxsize=4096)  # a session asks again with each of its requests
def withholds(place: str, name: str, day: int, share: float) -> bool:
    """One coin. By the skill's name and not its version: an edit in the middle of a session changes no arm."""
    digest = blake2b(f"{place}\0{day}\0{name}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


def day_of(seconds: float) -> int:
    """The day (UTC) of a time in seconds since the epoch."""
    return int(seconds // DAY_SECONDS)


def today() -> int:
    return day_of(time.time())
