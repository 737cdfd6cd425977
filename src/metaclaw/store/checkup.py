"""A look at a store that changes nothing: can it be read, is it whole, and does its schema suit this MetaClaw."""

from __future__ import annotations

from dataclasses import dataclass
from importlib import resources
from pathlib import Path

import apsw

from metaclaw.errors import StoreError

MOST_CHECKED_BYTES = 512 * 1024 * 1024  # reading more than that through takes longer than a person waits for


@dataclass(frozen=True, slots=True)
class Checkup:
    """`problem` is SQLite's own word for what is damaged; empty where nothing is, None where it was not looked at."""

    size_bytes: int
    schema: int
    newest_schema: int
    newest_turn_at: float | None
    problem: str | None


def examine(path: Path) -> Checkup:
    """Raises `StoreError` where it cannot be read at all."""
    try:
        size = path.stat().st_size + sum(log.stat().st_size for log in path.parent.glob(f"{path.name}-wal"))
        with apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READONLY) as connection:
            connection.set_busy_timeout(5_000)
            problem = None
            if size <= MOST_CHECKED_BYTES:
                told = str(connection.execute("PRAGMA quick_check(1)").get)
                problem = "" if told == "ok" else told
            schema = connection.execute("SELECT max(number) FROM migrations").get
            newest_turn = connection.execute("SELECT max(created_at) FROM (SELECT created_at FROM turns"
                                             " ORDER BY position DESC LIMIT 100)").get
    except (apsw.Error, OSError) as error:
        raise StoreError(f"The store at {path} could not be read: {error}") from error
    return Checkup(size, int(schema or 0), newest_schema(), newest_turn, problem)


def newest_schema() -> int:
    """The newest schema that this MetaClaw knows."""
    folder = resources.files("metaclaw.store").joinpath("migrations")
    return max(int(item.name[:4]) for item in folder.iterdir() if item.name.endswith(".sql"))
