"""Rows of one kind, written many at a time: those that come while some are being written wait for each other."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from metaclaw.errors import StoreError
from metaclaw.store.connection import Connection, attempt
from metaclaw.store.database import LARGEST_GROUP, MOST_WAITING, MOST_WAITING_BYTES, Database

T = TypeVar("T")
Insert = Callable[[Connection, Sequence[Any]], None]
Told = Callable[[BaseException | None], None]

ROWS_A_STATEMENT = 16


@dataclass(frozen=True, slots=True)
class _Row:
    row: Any
    told: Told
    size: int


class RowWriter:
    """Rows of one kind from one event loop: those that come while some are being written are written together, next.

    `insert` takes many at once; where that fails, each by itself. A row at a time, the two threads would hand Python's
    lock over a dozen times for each, and each time wait for it.
    """

    def __init__(self, database: Database, insert: Insert) -> None:
        self._database = database
        self._insert = insert
        self._next: list[_Row] = []
        self._bytes = 0
        self._writing = 0

    def submit(self, row: Any, told: Told, size: int) -> None:
        """`told` is called on this loop: with None after the commit is on disk, else with what went wrong."""
        waiting = self._writing + len(self._next)
        if waiting >= MOST_WAITING or (waiting and self._bytes + size > MOST_WAITING_BYTES):
            refusal = StoreError(
                f"The store at {self._database.path} is too slow: {waiting} rows wait. Check its disk."
            )
            asyncio.get_running_loop().call_soon(told, refusal)
            return
        self._next.append(_Row(row, told, size))
        self._bytes += size
        if not self._writing:
            self._write()

    def _write(self) -> None:
        rows, self._next = self._next[:LARGEST_GROUP], self._next[LARGEST_GROUP:]
        self._writing = len(rows)
        written = self._database.submit_async(lambda connection: self._insert_all(connection, rows))
        written.add_done_callback(lambda done: self._written(rows, done))

    def _insert_all(self, connection: Connection, rows: Sequence[_Row]) -> list[BaseException | None]:
        """What became of each."""
        _, raised = attempt(connection, lambda one: self._insert(one, [row.row for row in rows]))
        if raised is None or len(rows) == 1:
            return [raised] * len(rows)
        return [outcome for row in rows for outcome in self._insert_all(connection, [row])]

    def _written(self, rows: Sequence[_Row], done: asyncio.Future[list[BaseException | None]]) -> None:
        failure = done.exception()
        outcomes = [failure] * len(rows) if failure else done.result()
        self._writing = 0
        self._bytes -= sum(row.size for row in rows)
        if self._next:
            self._write()
        for row, outcome in zip(rows, outcomes, strict=True):
            row.told(outcome)


def in_runs(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """A few rows at a time, for statements that take several: there are then few different ones to keep prepared."""
    return (rows[start : start + ROWS_A_STATEMENT] for start in range(0, len(rows), ROWS_A_STATEMENT))
