"""Rows that come together are written together; one that cannot be written costs none of the others."""

from __future__ import annotations

import asyncio
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Any

import pytest

from metaclaw.errors import StoreError
from metaclaw.store import Connection, Database, RowWriter, rows

Outcome = tuple[int, BaseException | None]


class Journal:
    """Numbers into a table that takes none twice. `written` are the commits, each with what it tried to hold."""

    def __init__(self, database: Database) -> None:
        database.write(lambda connection: connection.execute("CREATE TABLE numbers (number INTEGER PRIMARY KEY)"))
        self.database = database
        self.written: list[list[int]] = []
        self.told: list[Outcome] = []
        self.writer = RowWriter(database, self._insert)

    def _insert(self, connection: Connection, numbers: Sequence[int]) -> None:
        self.written.append(list(numbers))
        for number in numbers:
            if number == 13:
                raise ValueError("an unlucky number")
            connection.execute("INSERT INTO numbers VALUES (?)", (number,))

    def submit(self, number: int) -> None:
        self.writer.submit(number, lambda error: self.told.append((number, error)), 1)

    async def until(self, count: int) -> list[Outcome]:
        async with asyncio.timeout(20):
            while len(self.told) < count:
                await asyncio.sleep(0.001)
        return self.told

    def stored(self) -> list[int]:
        return [number for number, in self.database.read("SELECT number FROM numbers ORDER BY number")]


@pytest.fixture
def journal(tmp_path: Path) -> Iterator[Journal]:
    with Database(tmp_path / "store.db") as database:
        yield Journal(database)


async def test_what_comes_while_a_row_is_written_goes_together(journal: Journal) -> None:
    for number in range(8):
        journal.submit(number)
    assert await journal.until(8) == [(number, None) for number in range(8)]
    assert journal.written == [[0], [1, 2, 3, 4, 5, 6, 7]]


async def test_in_a_crowd_rows_wait_for_those_of_the_next_rounds(journal: Journal) -> None:
    for number in range(4):
        journal.submit(number)
    await journal.until(4)
    journal.written.clear()
    for number in range(10, 13):
        journal.submit(number)
        await asyncio.sleep(0)
    await journal.until(7)
    assert journal.written == [[10, 11, 12]]
    journal.submit(20)
    await journal.until(8)
    assert journal.written == [[10, 11, 12], [20]]


async def test_no_row_waits_longer_than_the_limit(journal: Journal, monkeypatch: pytest.MonkeyPatch) -> None:
    for number in range(4):
        journal.submit(number)
    await journal.until(4)
    journal.written.clear()
    monkeypatch.setattr(rows, "GATHER_SECONDS", 0.0)
    for number in range(10, 13):
        journal.submit(number)
        await asyncio.sleep(0)
    await journal.until(7)
    assert len(journal.written) > 1


async def test_a_row_that_fails_spares_the_others(journal: Journal) -> None:
    wanted = [1, 2, 13, 2, 3]
    for number in wanted:
        journal.submit(number)
    told = await journal.until(5)
    assert journal.stored() == [1, 2, 3]
    assert sorted(number for number, error in told if error is None) == [1, 2, 3]
    refused = {number: error for number, error in told if error}
    assert isinstance(refused[13], ValueError)
    assert isinstance(refused[2], StoreError)


async def test_a_store_that_cannot_be_written_is_told_once_for_each_row(journal: Journal) -> None:
    journal.database.close()
    journal.submit(1)
    journal.submit(2)
    told: list[Any] = [error for _, error in await journal.until(2)]
    assert all(isinstance(error, StoreError) for error in told)
