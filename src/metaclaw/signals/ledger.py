"""Signals into the store and back. The same evidence counts once, however often it is read."""

from __future__ import annotations

import time
from collections.abc import Callable, Sequence
from itertools import groupby
from operator import itemgetter

from metaclaw.signals.combine import Outcome, combine
from metaclaw.store import Connection, Database
from metaclaw.types import Signal

CHUNK = 500


class Notes:
    """The signals of many turns, in one commit: for each, the gateway's own commit has to wait.

    Whoever asks here sees at once what was added; others once it is written. `write` also writes when there is nothing
    to, where `beside` is given, in the same transaction.
    """

    def __init__(self, database: Database, namespace: str) -> None:
        self._database = database
        self._namespace = namespace
        self._known: dict[str, dict[tuple[str, str], Signal]] = {}  # of each turn that was added to, by what is unique
        self._unwritten: list[Signal] = []

    def add(self, signals: Sequence[Signal]) -> None:
        for signal in signals:
            known = self._signals_on(signal.turn_id)
            if known.setdefault((signal.source, signal.evidence), signal) is signal:
                self._unwritten.append(signal)

    def outcome_of(self, turn_id: str) -> Outcome:
        return combine([*self._signals_on(turn_id).values()])

    def write(self, beside: Callable[[Connection], object] | None = None) -> None:
        signals, self._unwritten = self._unwritten, []
        self._known.clear()  # from here on the store knows, and others may write there
        if not signals and beside is None:
            return

        def work(connection: Connection) -> None:
            insert(connection, self._namespace, signals)
            if beside:
                beside(connection)

        self._database.write(work)

    def _signals_on(self, turn_id: str) -> dict[tuple[str, str], Signal]:
        known = self._known.get(turn_id)
        if known is None:
            stored = signals_on(self._database, self._namespace, turn_id)
            known = self._known[turn_id] = {(signal.source, signal.evidence): signal for signal in stored}
        return known


def record(database: Database, namespace: str, signals: Sequence[Signal]) -> None:
    if signals:
        database.write(lambda connection: insert(connection, namespace, signals))


def insert(connection: Connection, namespace: str, signals: Sequence[Signal]) -> None:
    """As `record`, within a transaction of the caller's."""
    connection.executemany(
        "INSERT OR IGNORE INTO signals (namespace, turn_id, source, value, reason, evidence, created_at)"
        " VALUES (?, ?, ?, ?, ?, ?, ?)",
        [(namespace, s.turn_id, s.source, s.value, s.reason, s.evidence, time.time()) for s in signals],
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


def outcomes_between(database: Database, namespace: str, begins: float, ends: float) -> list[Outcome]:
    """Of each main turn of that time of which anything was said."""
    rows = database.read(
        "SELECT turns.id, signals.source, signals.value, signals.reason, signals.evidence FROM turns"
        " JOIN signals ON signals.turn_id = turns.id WHERE +turns.namespace = ? AND turns.kind = 'main'"
        " AND turns.created_at >= ? AND turns.created_at < ? AND signals.value IS NOT NULL ORDER BY turns.id",
        (namespace, begins, ends),
    )
    return [combine([Signal(*row) for row in said]) for _, said in groupby(rows, key=itemgetter(0))]


def newest_failures(database: Database, namespace: str, limit: int) -> list[str]:
    """The ids of the turns that went wrong by all that is known of them; those that were complained of last first."""
    found: dict[str, None] = {}
    before = newest(database) + 1
    while len(found) < limit:
        rows = database.read(
            "SELECT id, turn_id FROM signals WHERE namespace = ? AND id < ? AND value < 0 ORDER BY id DESC LIMIT ?",
            (namespace, before, CHUNK),
        )
        for number, turn_id in rows:
            before = number
            if turn_id not in found and outcome_of(database, namespace, turn_id).failed:
                found[turn_id] = None
        if len(rows) < CHUNK:
            break
    return [*found][:limit]


def outcome_of(database: Database, namespace: str, turn_id: str) -> Outcome:
    return combine(signals_on(database, namespace, turn_id))


def erase(connection: Connection, turn_ids: Sequence[str]) -> None:
    """Delete the evidence on these turns, within a transaction of the caller's."""
    connection.executemany("DELETE FROM signals WHERE turn_id = ?", [(turn_id,) for turn_id in turn_ids])
