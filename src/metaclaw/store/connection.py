"""A connection to the store, and a piece of work on it that spares the transaction around it when it fails."""

from __future__ import annotations

import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import apsw

from metaclaw.errors import StoreError

Connection = apsw.Connection

OLDEST_SAFE_SQLITE = (3, 51, 3)
BUSY_MILLISECONDS = 5_000
LOOK_AGAIN_SECONDS, LOOKS = 0.0002, 50  # whether the other process has committed; after so many looks it takes longer
LOOK_SELDOM_SECONDS = 0.005


def connect(path: Path) -> Connection:
    version = tuple(map(int, apsw.sqlite_lib_version().split(".")))
    if version < OLDEST_SAFE_SQLITE:
        raise StoreError(f"SQLite {apsw.sqlite_lib_version()} can corrupt a shared store. Upgrade `apsw`.")
    try:
        connection = Connection(str(path))
        connection.set_busy_handler(_Patience())
        # fetched, since a statement that answers holds up those after it
        _enter_wal(connection)
        connection.execute("PRAGMA synchronous=FULL; PRAGMA foreign_keys=ON").fetchall()
    except apsw.Error as error:
        raise StoreError(f"The store at {path} cannot be opened: {error}") from error
    return connection


class _Patience:
    """Waits for the other process to commit. SQLite's own wait sleeps for milliseconds where a commit takes less."""

    def __init__(self) -> None:
        self._until = 0.0

    def __call__(self, tries: int) -> bool:
        """Whether to try again. `tries` is how often that was said for this lock."""
        now = time.monotonic()
        if tries == 0:
            self._until = now + BUSY_MILLISECONDS / 1000
        time.sleep(LOOK_AGAIN_SECONDS if tries < LOOKS else LOOK_SELDOM_SECONDS)
        return now < self._until


def _enter_wal(connection: Connection) -> None:
    """Two processes that do this to a new store at once get in each other's way, and SQLite does not wait by itself."""
    deadline = time.monotonic() + BUSY_MILLISECONDS / 1000
    while True:
        try:
            connection.execute("PRAGMA journal_mode=WAL").fetchall()
            return
        except apsw.BusyError:
            if time.monotonic() > deadline:
                raise
            time.sleep(0.01)


def attempt(connection: Connection, work: Callable[[Connection], Any]) -> tuple[Any, BaseException | None]:
    connection.execute("SAVEPOINT one")
    try:
        result = work(connection)
    except Exception as error:  # noqa: BLE001 - handed to whoever waits for this write
        connection.execute("ROLLBACK TO one")
        connection.execute("RELEASE one")
        return None, as_ours(error)
    connection.execute("RELEASE one")
    return result, None


def as_ours(error: Exception) -> Exception:
    """What went wrong in a piece of work, with SQLite's own errors as ours."""
    return StoreError(str(error)) if isinstance(error, apsw.Error) else error
