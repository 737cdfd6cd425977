"""The table `schedule`: what a person asked of the scheduler, and what the learner tells of it. Both ends are here."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Mapping
from typing import Any

from metaclaw.store import Database

ROW = "INSERT INTO schedule VALUES (?, NULL, '', '{}', 0) ON CONFLICT DO NOTHING"


class Board:
    """The row of a namespace. Commands ask; the learner answers and tells."""

    def __init__(self, database: Database, namespace: str, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._namespace = namespace
        self._clock = clock

    def ask(self) -> None:
        """Training is wanted now, whatever the windows say."""
        self._set("asked_at = ?, answer = ''", self._clock())

    def asked_seconds(self) -> float | None:
        """How long ago it was asked for; None where it is not, or was answered."""
        rows = self._rows("asked_at")
        return max(0.0, self._clock() - rows[0][0]) if rows and rows[0][0] is not None else None

    def answer(self, text: str) -> None:
        """What came of it; what was asked is then settled."""
        self._set("asked_at = NULL, answer = ?", text)

    def answered(self) -> str:
        rows = self._rows("answer")
        return str(rows[0][0]) if rows else ""

    def tell(self, seen: Mapping[str, Any]) -> None:
        """What the scheduler sees and does. Waits for nothing."""
        self._submit("seen = ?, seen_at = ?", json.dumps(dict(seen)), self._clock())

    def seen(self) -> tuple[Mapping[str, Any], float]:
        """What the learner last told, and how many seconds ago; nothing, and for ever ago, if it never did."""
        rows = self._rows("seen, seen_at")
        if not rows or not rows[0][1]:
            return {}, float("inf")
        return json.loads(rows[0][0]), max(0.0, self._clock() - rows[0][1])

    def _rows(self, columns: str) -> list[tuple[Any, ...]]:
        return self._database.read(f"SELECT {columns} FROM schedule WHERE namespace = ?", (self._namespace,))

    def _set(self, change: str, *values: Any) -> None:
        self._submit(change, *values).result()

    def _submit(self, change: str, *values: Any) -> Any:
        def write(connection: Any) -> None:
            connection.execute(ROW, (self._namespace,))
            connection.execute(f"UPDATE schedule SET {change} WHERE namespace = ?", (*values, self._namespace))

        return self._database.submit(write)
