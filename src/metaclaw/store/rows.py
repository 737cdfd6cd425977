"""Rows of one kind, written many at a time: a commit costs about the same for one as for a dozen."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any, TypeVar

from metaclaw.errors import StoreError
from metaclaw.store.connection import Connection, as_ours
from metaclaw.store.database import LARGEST_GROUP, MOST_WAITING, MOST_WAITING_BYTES, Database

T = TypeVar("T")
Insert = Callable[[Connection, Sequence[Any]], None]
Told = Callable[[BaseException | None], None]

ROWS_A_STATEMENT = 16
GATHER_SECONDS = 0.002  # at most so long do rows wait for others; under load a commit then takes twice as many


@dataclass(frozen=True, slots=True)
class _Row:
    row: Any
    told: Told
    size: int


class _InsertError(Exception):
    """`insert` failed, with `cause`, not the transaction around it."""

    def __init__(self, cause: Exception) -> None:
        super().__init__(str(cause))
        self.cause = cause


class RowWriter:
    """Rows of one kind from one event loop: those that come while some are being written are written together, next,
    and in a crowd those that come right behind each other.

    `insert` takes many at once; where that fails, each by itself. With each statement the two threads hand Python's
    lock to and fro, and wait for it: so there is one write for many rows, and no savepoint in it.
    """

    def __init__(self, database: Database, insert: Insert) -> None:
        self._database = database
        self._insert = insert
        self._next: list[_Row] = []
        self._bytes = 0
        self._writing = 0
        self._crowded = False  # the last rows were several
        self._gathering = False

    def submit(self, row: Any, told: Told, size: int) -> None:
        """`told` is called on this loop: with None after the commit is on disk, else with what went wrong."""
        loop = asyncio.get_running_loop()
        waiting = self._writing + len(self._next)
        if waiting >= MOST_WAITING or (waiting and self._bytes + size > MOST_WAITING_BYTES):
            refusal = StoreError(
                f"The store at {self._database.path} is too slow: {waiting} rows wait. Check its disk."
            )
            loop.call_soon(told, refusal)
            return
        self._next.append(_Row(row, told, size))
        self._bytes += size
        if not (self._writing or self._gathering):
            self._begin(loop)

    def _begin(self, loop: asyncio.AbstractEventLoop) -> None:
        """Where rows come in crowds, wait while they keep coming; one that comes alone is written at once."""
        if self._crowded:
            self._gathering = True
            loop.call_soon(self._look, loop, 0, loop.time() + GATHER_SECONDS)
        else:
            self._write()

    def _look(self, loop: asyncio.AbstractEventLoop, seen: int, until: float) -> None:
        """Write, unless more than those `seen` came in the last round of the loop: then still more may."""
        if seen < len(self._next) < LARGEST_GROUP and loop.time() < until:
            loop.call_soon(self._look, loop, len(self._next), until)
        else:
            self._gathering = False
            self._write()

    def _write(self) -> None:
        rows, self._next = self._next[:LARGEST_GROUP], self._next[LARGEST_GROUP:]
        self._writing = len(rows)
        self._crowded = len(rows) > 1
        self._write_down(rows)

    def _write_down(self, rows: Sequence[_Row]) -> None:
        written = self._database.submit_async(lambda connection: self._insert_all(connection, rows))
        written.add_done_callback(lambda done: self._written(rows, done.exception()))

    def _insert_all(self, connection: Connection, rows: Sequence[_Row]) -> None:
        try:
            self._insert(connection, [row.row for row in rows])
        except Exception as error:
            raise _InsertError(error) from error

    def _written(self, rows: Sequence[_Row], failure: BaseException | None) -> None:
        if isinstance(failure, _InsertError):
            if len(rows) > 1:
                for row in rows:
                    self._write_down([row])
                return
            failure = as_ours(failure.cause)
        self._writing -= len(rows)
        self._bytes -= sum(row.size for row in rows)
        if self._next and not self._writing:
            self._begin(asyncio.get_running_loop())
        for row in rows:
            row.told(failure)


def in_runs(rows: Sequence[T]) -> Iterator[Sequence[T]]:
    """A few rows at a time, for statements that take several: there are then few different ones to keep prepared."""
    return (rows[start : start + ROWS_A_STATEMENT] for start in range(0, len(rows), ROWS_A_STATEMENT))
