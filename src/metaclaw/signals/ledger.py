"""Signals into the store and back. The same evidence counts once, however often it is read."""

from __future__ import annotations

import time
from collections.abc import Sequence

from metaclaw.signals.combine import Outcome, combine
from metaclaw.store import Connection, Database
from metaclaw.types import Signal


def record(database: Database, namespace: str, signals: Sequence[Signal]) -> None:
    rows = [(namespace, s.turn_id, s.source, s.value, s.reason, s.evidence, time.time()) for s in signals]
    database.write(
        lambda connection: connection.executemany(
            "INSERT OR IGNORE INTO signals (namespace, turn_id, source, value, reason, evidence, created_at)"
            " VALUES (?, ?, ?, ?, ?, ?, ?)",
            rows,
        )
    )


def signals_on(database: Database, namespace: str, turn_id: str) -> list[Signal]:
    rows = database.read(
        "SELECT turn_id, source, value, reason, evidence FROM signals WHERE namespace = ? AND turn_id = ? ORDER BY id",
        (namespace, turn_id),
    )
    return [Signal(*row) for row in rows]


def newest(database: Database) -> int:
    """The number of the last signal that is there, for `signals_after`."""
    return int(database.read("SELECT coalesce(max(id), 0) FROM signals")[0][0])


def signals_after(database: Database, namespace: str, number: int) -> list[tuple[int, Signal]]:
    """Signals that came after the one of this number, each with its own."""
    rows = database.read(
        "SELECT id, turn_id, source, value, reason, evidence FROM signals WHERE namespace = ? AND id > ? ORDER BY id",
        (namespace, number),
    )
    return [(row[0], Signal(*row[1:])) for row in rows]


def outcome_of(database: Database, namespace: str, turn_id: str) -> Outcome:
    return combine(signals_on(database, namespace, turn_id))


def erase(connection: Connection, turn_ids: Sequence[str]) -> None:
    """Delete the evidence on these turns, within a transaction of the caller's."""
    connection.executemany("DELETE FROM signals WHERE turn_id = ?", [(turn_id,) for turn_id in turn_ids])
