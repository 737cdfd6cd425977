"""Deleted is gone: no byte of it in the database or its log, and a store in use says so instead of pretending."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaclaw.errors import StoreError
from metaclaw.store import Database
from metaclaw.store import scrub as module
from metaclaw.store.connection import connect
from metaclaw.store.scrub import overwriting, scrub

MARK = b"walnut-5512"


def held(path: Path) -> list[str]:
    return [file.name for file in path.parent.iterdir() if MARK in file.read_bytes()]


def fill(database: Database) -> None:
    database.write(lambda c: c.execute("CREATE TABLE kept (id INTEGER PRIMARY KEY, text TEXT)"))
    for number in range(400):  # of all sizes, so that pages are split and rows overflow
        text = (MARK.decode() if number % 3 == 0 else "other") * (1 + number % 90 * 7)
        database.write(lambda c, n=number, t=text: c.execute("INSERT INTO kept VALUES (?, ?)", (n * 7919 % 401, t)))  # type: ignore[misc]


@pytest.mark.parametrize("overwrites", [True, False])
def test_what_was_deleted_is_in_no_file(tmp_path: Path, overwrites: bool) -> None:
    path = tmp_path / "store.db"
    with Database(path) as database:
        fill(database)
        assert held(path)
        if overwrites:
            database.write(overwriting)
        database.write(lambda c: c.execute("DELETE FROM kept WHERE text LIKE 'walnut%'"))
        assert held(path), "deleting alone leaves it in the log at least: else this test shows nothing"
        scrub(path)
        assert held(path) == []
        assert database.read("SELECT count(*) FROM kept") == [(266,)]


def test_a_store_that_is_being_read_says_that_it_could_not_be_cleaned(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "PATIENCE_SECONDS", 0.0)
    monkeypatch.setattr("metaclaw.store.connection.BUSY_MILLISECONDS", 10)
    path = tmp_path / "store.db"
    with Database(path) as database:
        fill(database)
        reader = connect(path)
        rows = reader.execute("SELECT text FROM kept")
        next(rows)
        with pytest.raises(StoreError, match="it is in use"):
            scrub(path)
        reader.close(True)
        scrub(path)
