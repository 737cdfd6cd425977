"""Which versions of skills came from some turns: those written from them, and whatever was built upon those. Pure.

A later version of a name builds on the earlier ones: a refinement, an edit, a rollback that copies. A merge takes over
the text of what it retires. So whoever asks where a text may have gone gets an answer that errs to the safe side.
"""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metaclaw.library.undo import MERGE

Ref = tuple[str, int]


@dataclass(frozen=True, slots=True)
class Made:
    """A row of the library's history: a version that was made, or retired, in `generation`."""

    generation: int
    name: str
    version: int
    is_new: bool
    cause: str


def descended(history: Sequence[Made], written_from: Iterable[Ref]) -> frozenset[Ref]:
    """Every version that holds, or may hold, the text of those in `written_from`."""
    first: dict[str, int] = {}
    for name, version in written_from:
        first[name] = min(version, first.get(name, version))
    merges = [made for made in history if made.cause == MERGE]
    grew = True
    while grew:
        grew = False
        for into in (made for made in merges if made.is_new):
            gone = [made for made in merges if not made.is_new and made.generation == into.generation]
            taken_over = any(made.version >= first.get(made.name, made.version + 1) for made in gone)
            if taken_over and into.version < first.get(into.name, into.version + 1):
                first[into.name], grew = into.version, True
    return frozenset(
        (made.name, made.version) for made in history if made.version >= first.get(made.name, made.version + 1)
    )
