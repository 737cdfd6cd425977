"""The table `schedule`: what a person asked of the scheduler, and what the learner tells of it. Both ends are here."""

from __future__ import annotations

import json
import sys
import time
from collections.abc import Callable, Mapping
from typing import Any

from metaclaw.store import Database

ROW = (
    "INSERT INTO schedule (namespace, asked_at, answer, seen, seen_at) VALUES (?, NULL, '', '{}', 0)"
    " ON CONFLICT DO NOTHING"
)
UNTIL_TAKEN_BACK = sys.float_info.max


class Board:
    """The row of a namespace. Commands ask; the learner answers and tells."""

    def __init__(self, database: Database, namespace: str, clock: Callable[[], float] = time.time) -> None:
        self._database = database
        self._namespace = namespace
        self._clock = clock

    def ask(self) -> None:
        """Training is wanted now, whatever the windows say. Takes a hold back."""
        self._set("asked_at = ?, answer = '', held_until = NULL", self._clock())

    def hold(self, seconds: float | None = None) -> None:
        """No training for so long; without a number, until it is taken back. A job that is at work pauses."""
        self._set("held_until = ?", UNTIL_TAKEN_BACK if seconds is None else self._clock() + seconds)

    def take_back(self) -> None:
        """End the hold: the windows decide again."""
        self._set("held_until = NULL")

    def held_seconds(self) -> float | None:
        """How much longer training is held, infinite until taken back; None where it is not."""
        rows = self._rows("held_until")
        if not rows or rows[0][0] is None or rows[0][0] <= self._clock():
            return None
        return float("inf") if rows[0][0] >= UNTIL_TAKEN_BACK else float(rows[0][0]) - self._clock()

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
