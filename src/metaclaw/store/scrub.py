"""What was deleted is gone from the files too: free pages rewritten, and the log emptied into the database.

SQLite leaves the bytes of a deleted row where they were, in the database and in its write-ahead log. `overwriting` has
them overwritten as they are deleted; `scrub` then writes the database anew, so that no earlier copy is left in it, and
truncates the log. What the disk itself keeps of overwritten blocks (snapshots, wear levelling) is beyond a program.
"""

from __future__ import annotations

import time
from pathlib import Path

import apsw

from metaclaw.errors import StoreError
from metaclaw.store.connection import Connection, connect

PATIENCE_SECONDS = 15.0
RETRY_SECONDS = 0.05
# Rewriting takes about a second for 100 MB (measured: 0.9 s), and other writers wait at most five. Beyond that the
# overwriting alone has to do, whose leavings are what pages held that were split before.
LARGEST_TO_REWRITE_BYTES = 256 * 1024 * 1024


def overwriting(connection: Connection) -> None:
    """From here on this connection overwrites what it deletes."""
    connection.execute("PRAGMA secure_delete=ON").fetchall()


def scrub(path: Path) -> None:
    """Raises `StoreError` where others keep the store too busy; then it can be done again."""
    connection = connect(path)
    deadline = time.monotonic() + PATIENCE_SECONDS
    try:
        overwriting(connection)
        if path.stat().st_size <= LARGEST_TO_REWRITE_BYTES:
            connection.execute("VACUUM").fetchall()
        while True:
            try:
                connection.wal_checkpoint(mode=apsw.SQLITE_CHECKPOINT_TRUNCATE)
                return
            except apsw.BusyError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(RETRY_SECONDS)
    except apsw.Error as error:
        raise StoreError(
            f"The rows are deleted, but their bytes may still lie in {path}: it is in use ({error})."
            " Run the same command again, best while no gateway runs."
        ) from error
    finally:
        connection.close()
