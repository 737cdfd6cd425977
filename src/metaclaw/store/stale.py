"""The table `stale`, which library and registry share: what came from data that was erased since, and why."""

from __future__ import annotations

import time

from metaclaw.store.connection import Connection
from metaclaw.store.database import Database


def mark(connection: Connection, namespace: str, subject: str, reason: str, source: str) -> None:
    """`subject` is `skill:NAME@VERSION` or `adapter:NAME`; `source` tells what was erased. The first mark stays."""
    connection.execute(
        "INSERT OR IGNORE INTO stale VALUES (?, ?, ?, ?, ?)", (namespace, subject, reason, source, time.time())
    )


def subjects(database: Database, namespace: str, source: str) -> frozenset[str]:
    """What the erasing of `source` made stale."""
    rows = database.read("SELECT subject FROM stale WHERE namespace = ? AND source = ?", (namespace, source))
    return frozenset(row[0] for row in rows)


def lift(connection: Connection, namespace: str, subject: str) -> None:
    connection.execute("DELETE FROM stale WHERE namespace = ? AND subject = ?", (namespace, subject))


def reasons(database: Database, namespace: str) -> dict[str, str]:
    """Why each is stale, by its subject."""
    rows = database.read("SELECT subject, reason FROM stale WHERE namespace = ? ORDER BY subject", (namespace,))
    return {row[0]: row[1] for row in rows}
