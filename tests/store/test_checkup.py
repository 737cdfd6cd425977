"""A look at a store that changes nothing."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaclaw.errors import StoreError
from metaclaw.store import Database
from metaclaw.store.checkup import examine, newest_schema
from support import keep, make_turn


async def test_a_whole_store(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Database(path) as database:
        await keep(database, make_turn(created_at=7.0), make_turn(created_at=9.0))
        found = examine(path)  # while another process has it open
    assert (found.problem, found.schema, found.newest_turn_at) == ("", newest_schema(), 9.0)
    assert found.size_bytes > 0


def test_a_damaged_one_and_one_that_is_none(tmp_path: Path) -> None:
    path = tmp_path / "store.db"
    with Database(path) as database:
        database.write(lambda connection: connection.execute("CREATE TABLE extra (a TEXT)"))
        database.write(lambda connection: connection.executemany("INSERT INTO extra VALUES (?)", [("x" * 500,)] * 500))
    raw = bytearray(path.read_bytes())
    raw[-40_000:-20_000] = b"\xff" * 20_000
    path.write_bytes(raw)
    assert examine(path).problem
    path.write_bytes(b"this is no database, whatever its name says")
    with pytest.raises(StoreError, match="could not be read"):
        examine(path)
