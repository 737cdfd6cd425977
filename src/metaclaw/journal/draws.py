"""The hold-out's coins read back: which turns went with a skill, which without, and when their session ended."""

from __future__ import annotations

import json
from dataclasses import dataclass

from metaclaw.store import Database


@dataclass(frozen=True, slots=True)
class DrawnTurn:
    """A main turn that coins were thrown in; `drawn` and `withheld` are skill refs."""

    position: int
    id: str
    session: str
    policy: str
    created_at: float
    drawn: tuple[str, ...]
    withheld: tuple[str, ...]
    share: float


def drawn_after(database: Database, namespace: str, position: int, limit: int = 500) -> list[DrawnTurn]:
    """Answered turns only: where the upstream failed, nothing was tried."""
    rows = database.read(
        "SELECT position, id, session, policy, created_at, drawn, withheld, holdout_share FROM turns"
        " WHERE namespace = ? AND position > ? AND drawn <> '[]' AND kind = 'main' AND status = 200"
        " ORDER BY position LIMIT ?",
        (namespace, position, limit),
    )
    return [
        DrawnTurn(number, turn, session, policy, at, tuple(json.loads(drawn)), tuple(json.loads(withheld)), share)
        for number, turn, session, policy, at, drawn, withheld, share in rows
    ]


def turns_under(
    database: Database, namespace: str, session: str, policy: str, skill_ref: str, since: int, before: float
) -> list[str]:
    """The turns of a session under a policy that the skill was drawn in, from a position on and before a time."""
    rows = database.read(
        "SELECT id FROM turns WHERE namespace = ? AND session = ? AND position >= ? AND created_at < ? AND policy = ?"
        " AND kind = 'main' AND EXISTS (SELECT 1 FROM json_each(drawn) WHERE value = ?) ORDER BY position",
        (namespace, session, since, before, policy, skill_ref),
    )
    return [row[0] for row in rows]


def ends_at(database: Database, namespace: str, session: str, idle_seconds: float) -> float:
    """When the session closed, or will have if nothing more comes; 0 where it is not known."""
    rows = database.read(
        "SELECT coalesce(closed_at, last_at + ?) FROM sessions WHERE namespace = ? AND session = ?",
        (idle_seconds, namespace, session),
    )
    return float(rows[0][0]) if rows else 0.0
