"""Whether anybody has a store open, and nobody while we hold it."""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import apsw

from metaclaw.errors import StoreError


@contextmanager
def held_alone(path: Path) -> Iterator[None]:
    """Nobody else opens the store meanwhile. Raises `StoreError` where somebody has it open, also if they do nothing.

    Whoever has a store open in WAL mode holds a shared lock on its file, and leaving that mode takes an exclusive one.
    Its log is emptied into it and gone: the file is the whole store then, and may be moved.
    """
    connection = None
    try:
        connection = apsw.Connection(str(path), flags=apsw.SQLITE_OPEN_READWRITE)
        connection.execute("PRAGMA locking_mode=EXCLUSIVE; PRAGMA journal_mode=DELETE; BEGIN EXCLUSIVE").fetchall()
    except apsw.Error as error:
        if connection:
            connection.close(True)
        raise StoreError(
            f"The store at {path} is in use ({error}). Stop the gateway (`metaclaw stop`) and other metaclaw commands."
        ) from error
    try:
        yield
    finally:
        connection.close(True)
