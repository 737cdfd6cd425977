"""Turns as they come, the failed ones, those that hold some words; and one whole, with what came of it."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from metaclaw.dashboard.rooms import Asked, Page, Rooms
from metaclaw.errors import RequestError
from metaclaw.journal import glances, trajectories
from metaclaw.journal.glances import Glance
from metaclaw.signals import ledger
from metaclaw.signals.combine import Outcome, combine
from metaclaw.types import Signal

SHOWN = 40
MOST_WORDS = 8


@dataclass(frozen=True, slots=True)
class Row:
    """A turn of a list, and what was said of it."""

    turn: Glance
    outcome: Outcome
    signals: tuple[Signal, ...]
    said: tuple[str, ...]


def turns(rooms: Rooms, asked: Asked) -> Page:
    return Page("turns.html", _listed(rooms, asked))


def rows(rooms: Rooms, asked: Asked) -> Page:
    """The list alone, for a page that is open; nothing where it shows all there is."""
    if asked.fields.get("seen") == _newest(rooms):
        return Page("")
    return Page("_turns.html", _listed(rooms, asked))


def turn(rooms: Rooms, asked: Asked) -> Page:
    """One turn. Raises `RequestError` (404) where there is none."""
    found = trajectories.turn(rooms.database, rooms.namespace, asked.named["id"])
    if found is None:
        raise RequestError(404, "unknown_turn", "There is no such turn here. It may have been erased.")
    return Page("turn.html", {
        "turn": found,
        "outcome": ledger.outcome_of(rooms.database, rooms.namespace, found.id),
        "signals": ledger.signals_on(rooms.database, rooms.namespace, found.id),
        "feedback": trajectories.feedback_on(rooms.database, rooms.namespace, found.id),
        "made": rooms.catalog.made_from(found.id),
    })


def _listed(rooms: Rooms, asked: Asked) -> dict[str, Any]:
    fields = asked.fields
    words, session = fields.get("q", "").split()[:MOST_WORDS], fields.get("session", "")
    failed, before = fields.get("show") == "failed", asked.number("before")
    newest = _newest(rooms)  # before the list is read: what comes in between is shown twice rather than never
    found = _found(rooms, words, failed=failed, before=before, session=session)
    plain = not words and not failed
    return {
        "rows": [_row(rooms, one) for one in found],
        "q": " ".join(words), "failed": failed, "session": session, "before": before,
        "older": found[-1].position if plain and len(found) == SHOWN else None,
        "live": not words and before is None and fields.get("live") != "0",
        "seen": newest,
    }


def _found(rooms: Rooms, words: list[str], *, failed: bool, before: int | None, session: str) -> list[Glance]:
    database, namespace = rooms.database, rooms.namespace
    if words:
        held = trajectories.turns_holding(database, namespace, words, SHOWN)
        return glances.named(database, namespace, [one.id for one in held])
    if failed:
        return glances.named(database, namespace, ledger.newest_failures(database, namespace, SHOWN))
    return glances.newest(database, namespace, SHOWN, before=before, session=session)


def _row(rooms: Rooms, found: Glance) -> Row:
    signals = ledger.signals_on(rooms.database, rooms.namespace, found.id)
    said = trajectories.feedback_on(rooms.database, rooms.namespace, found.id)
    return Row(
        found, combine(signals), tuple(one for one in signals if one.value is not None),
        tuple(one.text for one in said if one.text),
    )


def _newest(rooms: Rooms) -> str:
    """What tells a list from an older one."""
    return f"{glances.last_position(rooms.database, rooms.namespace)}-{ledger.newest(rooms.database)}"
