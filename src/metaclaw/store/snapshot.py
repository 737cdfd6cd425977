"""A store as it is at one moment, in a file of its own, made while others read and write it.

`VACUUM INTO` reads in one transaction, which in WAL mode holds up no writer. What it writes has no free pages, so
nothing that was deleted goes along.
"""

from __future__ import annotations

from pathlib import Path

import apsw

from metaclaw.errors import StoreError
from metaclaw.store.connection import connect


def snapshot(path: Path, into: Path) -> None:
    """Raises `StoreError` where the store cannot be read, or `into` not be written."""
    connection = connect(path)
    try:
        connection.execute("VACUUM INTO ?", (str(into),)).fetchall()
    except apsw.Error as error:
        raise StoreError(f"The store at {path} could not be copied to {into}: {error}") from error
    finally:
        connection.close()
