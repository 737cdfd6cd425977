"""Moves what was written from SQLite's log into the database, beside whoever writes."""

from __future__ import annotations

import contextlib
import threading
from pathlib import Path

import apsw

from metaclaw.store.connection import Connection, connect

CHECKPOINT_PAGES = 1_000  # of 4 KiB, as SQLite itself has it
MOST_LOG_PAGES = 8_000  # then the writer moves the last of them itself, and the log begins anew


class Checkpoints:
    """On a thread and a connection of its own, whenever so many pages have come that are not in the database yet.

    SQLite would do it within a commit, every thousand pages: then whoever waits for that commit waits for the disk to
    take the pages one by one, tens of milliseconds. Beside the writer it holds nobody up; only when it cannot keep up
    does the writer do it itself, so that the log stays bounded.
    """

    def __init__(self, path: Path, writer: Connection) -> None:
        self._path = path
        self._wanted = threading.Event()
        self._closing = False
        self._moved = 0  # pages of the log that are in the database as well
        self._thread: threading.Thread | None = None
        writer.wal_autocheckpoint(0)
        writer.set_wal_hook(self._written)

    def close(self) -> None:
        self._closing = True
        self._wanted.set()
        if self._thread:
            self._thread.join()

    def _written(self, writer: Connection, name: str, pages: int) -> int:
        """Called by SQLite after each commit, with the pages that the log holds."""
        if pages < self._moved:  # it has begun anew
            self._moved = 0
        if pages - self._moved >= CHECKPOINT_PAGES and not self._wanted.is_set():
            if self._thread is None:
                self._thread = threading.Thread(target=self._run, name="store-checkpoints", daemon=True)
                self._thread.start()
            self._wanted.set()
        if pages >= MOST_LOG_PAGES:
            with contextlib.suppress(apsw.BusyError):  # the other thread is at it
                writer.wal_checkpoint(name, apsw.SQLITE_CHECKPOINT_PASSIVE)
        return apsw.SQLITE_OK

    def _run(self) -> None:
        connection = connect(self._path)
        try:
            while not self._closing:
                self._wanted.wait()
                with contextlib.suppress(apsw.Error):  # the next commit asks again
                    _, self._moved = connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_PASSIVE)
                self._wanted.clear()  # only now: what comes meanwhile is moved with the next thousand
        finally:
            connection.close()
