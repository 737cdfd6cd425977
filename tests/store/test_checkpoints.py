"""What was written is moved out of SQLite's log in large steps, and the log stays bounded."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from metaclaw.store import Connection, Database, checkpoints

PAGE = 4096
PAGES_A_COMMIT = 100


def write_pages(database: Database, commits: int) -> None:
    def insert(connection: Connection) -> None:
        connection.execute("INSERT INTO filled VALUES (zeroblob(?))", (PAGES_A_COMMIT * PAGE,))

    for _ in range(commits):
        database.write(insert)


@pytest.fixture
def database(tmp_path: Path) -> Any:
    with Database(tmp_path / "store.db") as opened:
        opened.write(lambda connection: connection.execute("CREATE TABLE filled (content BLOB)"))
        yield opened


def test_the_log_begins_anew_when_it_is_long(database: Database) -> None:
    log = Path(f"{database.path}-wal")
    write_pages(database, 3 * checkpoints.MOST_LOG_PAGES // PAGES_A_COMMIT)
    assert log.stat().st_size < 1.25 * checkpoints.MOST_LOG_PAGES * PAGE
    assert len(database.read("SELECT 1 FROM filled")) == 3 * checkpoints.MOST_LOG_PAGES // PAGES_A_COMMIT


def test_a_page_is_moved_once_and_not_after_each_commit(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    moved: list[int] = []

    class Counting(Connection):
        def wal_checkpoint(self, *args: Any, **named: Any) -> tuple[int, int]:
            found = super().wal_checkpoint(*args, **named)
            moved.append(found[1])
            return found

    def counting(path: Path) -> Connection:
        connection = Counting(str(path))
        connection.execute("PRAGMA journal_mode=WAL").fetchall()
        return connection

    monkeypatch.setattr(checkpoints, "connect", counting)
    with Database(tmp_path / "store.db") as database:
        database.write(lambda connection: connection.execute("CREATE TABLE filled (content BLOB)"))
        commits = (checkpoints.MOST_LOG_PAGES - checkpoints.CHECKPOINT_PAGES) // PAGES_A_COMMIT
        write_pages(database, commits)
    most = checkpoints.MOST_LOG_PAGES // checkpoints.CHECKPOINT_PAGES
    assert 1 <= len(moved) <= most < commits
    assert moved == sorted(moved)
