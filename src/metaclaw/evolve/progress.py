"""How far the fast loop has read, and what it still has to verify. Owns `cursors` and `evolve_state`."""

from __future__ import annotations

import time

from metaclaw.store import Connection, Database

FEEDBACK_CURSOR, TURN_CURSOR = "evolve-feedback", "evolve-turns"
CLOSED_CURSOR = "evolve-closed"  # in microseconds: the sessions that had closed by then have been looked at


def cursor(database: Database, namespace: str, reader: str) -> int:
    """The journal position up to which `reader` has read; 0 before it began."""
    rows = database.read("SELECT position FROM cursors WHERE namespace = ? AND reader = ?", (namespace, reader))
    return int(rows[0][0]) if rows else 0


def advance(database: Database, namespace: str, reader: str, position: int) -> None:
    database.write(lambda connection: put_cursor(connection, namespace, reader, position))


def put_cursor(connection: Connection, namespace: str, reader: str, position: int) -> None:
    """The same within a transaction of the caller's."""
    connection.execute(
        "INSERT INTO cursors VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET position = excluded.position",
        (namespace, reader, position),
    )


def write_unsettled(database: Database, namespace: str, count: int) -> None:
    """Say how many failures wait for their verification or are in it."""
    database.write(
        lambda connection: connection.execute(
            "INSERT INTO evolve_state VALUES (?, ?, ?) ON CONFLICT DO UPDATE SET"
            " unsettled = excluded.unsettled, updated_at = excluded.updated_at",
            (namespace, count, time.time()),
        )
    )


def settled(database: Database, namespace: str) -> bool:
    """Whether everything that clients said has been read, and every proposal verified or given up."""
    newest = database.read("SELECT coalesce(max(position), 0) FROM feedback WHERE namespace = ?", (namespace,))
    waiting = database.read("SELECT unsettled FROM evolve_state WHERE namespace = ?", (namespace,))
    read_all = cursor(database, namespace, FEEDBACK_CURSOR) >= int(newest[0][0])
    return read_all and not (waiting and waiting[0][0])
