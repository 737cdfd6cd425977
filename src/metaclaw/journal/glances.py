"""The journal at a glance: turns without their native bytes, and how many there were by day and policy.

What a list shows is read by this; `trajectories.py` reads turns whole, which for an agent's are hundreds of kilobytes
each.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.store import Database

ANY_OF = "+namespace ="  # with the sign, SQLite leaves the index by namespace, which would have it read them all
SHOWN = 400  # characters of what was asked and answered
COLUMNS = (
    f"id, position, session, kind, side, substr(query, 1, {SHOWN}), substr(reply, 1, {SHOWN}), status, complete,"
    " skills, withheld, generation, policy, created_at"
)


@dataclass(frozen=True, slots=True)
class Glance:
    """A turn as a list shows it; `query` and `reply` are cut."""

    id: str
    position: int
    session: str
    kind: str
    side: str
    query: str
    reply: str
    status: int
    complete: bool
    skills: tuple[str, ...]
    withheld: tuple[str, ...]
    generation: int
    policy: str
    created_at: float


def newest(
    database: Database, namespace: str, limit: int, *, before: int | None = None, session: str = ""
) -> list[Glance]:
    """The last main turns, the newest first: before a position, and of one session, where these are given."""
    of = "namespace = ?1 AND session = ?2" if session else f"{ANY_OF} ?1 AND ?2 = ''"
    return _read(
        database,
        f"{of} AND kind = 'main' AND position < ?3 ORDER BY position DESC LIMIT ?4",
        (namespace, session, before if before is not None else 1 << 62, limit),
    )


def named(database: Database, namespace: str, turn_ids: Sequence[str]) -> list[Glance]:
    """Those of these ids that are there, the newest first."""
    return _read(
        database, f"{ANY_OF} ? AND id IN (SELECT value FROM json_each(?)) ORDER BY position DESC",
        (namespace, json.dumps(list(turn_ids))),
    )


def last_position(database: Database, namespace: str) -> int:
    """Where the journal ends; 0 where it is empty."""
    rows = database.read(
        f"SELECT position FROM turns WHERE {ANY_OF} ? ORDER BY position DESC LIMIT 1", (namespace,)
    )
    return int(rows[0][0]) if rows else 0


def policies_between(database: Database, namespace: str, begins: float, ends: float) -> dict[str, int]:
    """How many main turns of that time each policy version answered."""
    rows = database.read(
        f"SELECT policy, count(*) FROM turns WHERE {ANY_OF} ? AND kind = 'main' AND created_at >= ?"
        " AND created_at < ? GROUP BY policy ORDER BY 2 DESC",
        (namespace, begins, ends),
    )
    return {row[0]: row[1] for row in rows}


def first_at(database: Database, namespace: str) -> float | None:
    """When the journal begins; None where it is empty."""
    rows = database.read(f"SELECT min(created_at) FROM turns WHERE {ANY_OF} ? AND kind = 'main'", (namespace,))
    return float(rows[0][0]) if rows[0][0] is not None else None


def counts(database: Database, namespace: str) -> tuple[int, int, int]:
    """Main turns, side calls and sessions."""
    [[turns]] = database.read("SELECT count(*) FROM turns WHERE namespace = ?", (namespace,))
    main = sum(policies_between(database, namespace, 0.0, 1e18).values())
    [[sessions]] = database.read("SELECT count(*) FROM sessions WHERE namespace = ?", (namespace,))
    return main, turns - main, sessions


def _read(database: Database, where: str, values: tuple[Any, ...]) -> list[Glance]:
    rows = database.read(f"SELECT {COLUMNS} FROM turns WHERE {where}", values)
    return [
        Glance(
            id=row[0], position=row[1], session=row[2], kind=row[3], side=row[4], query=row[5], reply=row[6],
            status=row[7], complete=bool(row[8]), skills=tuple(json.loads(row[9])), withheld=tuple(json.loads(row[10])),
            generation=row[11], policy=row[12], created_at=row[13],
        )
        for row in rows
    ]
