"""The tables of training in a store that came from another data folder."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

from metaclaw.store import Connection, Database

UNFINISHED = "The store was restored from a backup, which holds no unfinished training."


def settle_in(database: Database, adapters: Path, jobs: Path) -> None:
    """Adapters and jobs lie below these folders now, of all namespaces. Training that was under way has failed: what it
    had made so far did not come along. The next window begins anew.
    """

    def work(connection: Connection) -> None:
        connection.execute("UPDATE adapters SET folder = ? || '/' || namespace || '/' || name", (str(adapters),))
        connection.execute("UPDATE jobs SET folder = ? || '/' || namespace || '/' || id", (str(jobs),))
        rows: list[Any] = connection.execute(
            "SELECT id, progress FROM jobs WHERE state IN ('running', 'paused')"
        ).fetchall()
        for name, progress in rows:
            told = json.dumps({**json.loads(progress), "error": UNFINISHED})
            connection.execute("UPDATE jobs SET state = 'failed', progress = ? WHERE id = ?", (told, name))

    database.write(work)
