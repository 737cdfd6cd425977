"""Training jobs in the store: one at a time in a namespace, held by a lease, with progress that others may read."""

from __future__ import annotations

import json
import time
import uuid
from collections.abc import Collection, Mapping
from concurrent.futures import Future
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any

from metaclaw.scheduler.leases import Lease, holds, may_take, taken
from metaclaw.store import Connection, Database, verdicts
from metaclaw.training.job_folder import any_touched, entries, wipe

KIND = "train"
COLUMNS = "id, state, folder, progress, created_at, updated_at"
LONGEST_WORD = 60  # characters: what is longer in a job's progress may quote a conversation
ERASED = "What it was made of was erased."


@dataclass(frozen=True, slots=True)
class JobRow:
    id: str
    state: str
    folder: Path
    progress: Mapping[str, Any]
    created_at: float = 0.0
    updated_at: float = 0.0  # by the last report


def _row(row: tuple[Any, ...]) -> JobRow:
    """From a row that begins with `COLUMNS`."""
    return JobRow(row[0], row[1], Path(row[2]), json.loads(row[3]), row[4], row[5])


class Jobs:
    """The jobs of a namespace, as one learner sees them. `owner` names the learner in its leases."""

    def __init__(self, database: Database, namespace: str, root: Path) -> None:
        self._database = database
        self._namespace = namespace
        self._root = root
        self.owner = f"learner-{uuid.uuid4().hex[:12]}"

    def latest(self) -> JobRow | None:
        return next(iter(self.newest(1)), None)

    def newest(self, limit: int) -> list[JobRow]:
        """The last ones, the newest first."""
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM jobs WHERE namespace = ? AND kind = ?"
            " ORDER BY created_at DESC LIMIT ?",
            (self._namespace, KIND, limit),
        )
        return [_row(row) for row in rows]

    def trained_through(self, base_model: str) -> int:
        """Journal position up to which the finished jobs on this base model have seen the turns. A new base model has
        seen none: it is trained over all that the journal keeps.
        """
        rows = self._database.read(
            "SELECT coalesce(max(json_extract(progress, '$.through')), 0) FROM jobs"
            " WHERE namespace = ?1 AND state = 'done' AND coalesce(json_extract(progress, '$.base_model'), ?2) = ?2",
            (self._namespace, base_model),
        )
        return int(rows[0][0])

    def take(self) -> JobRow | None:
        """The job to work on: an unfinished one that nobody holds, else a new one; None if another learner has it."""
        return self._database.write(self._take)

    def report(self, job: JobRow, state: str, progress: Mapping[str, Any]) -> Future[bool]:
        """Progress, which also extends the lease. The future ends when it is stored, and tells whether it was: what
        another learner has taken over is not touched.
        """
        now = time.time()
        lease = taken(self.owner, now)
        row = (state, json.dumps(dict(progress)), now, lease.until, job.id, self.owner)

        def write(connection: Connection) -> bool:
            connection.execute(
                "UPDATE jobs SET state = ?, progress = ?, updated_at = ?, lease_until = ?"
                " WHERE id = ? AND lease_owner = ?",
                row,
            )
            return connection.changes() > 0

        return self._database.submit(write)

    def holds(self, job: JobRow) -> bool:
        """Whether the job is ours to work on at this moment."""
        rows = self._database.read("SELECT lease_owner, lease_until FROM jobs WHERE id = ?", (job.id,))
        return bool(rows) and holds(Lease(*rows[0]), self.owner, time.time())

    def that_took_in(self, turn_ids: Collection[str], skill_refs: Collection[str]) -> list[JobRow]:
        """The jobs whose dataset holds one of these turns, or one that had one of these skills in its prompt."""
        rows = self._database.read(
            f"SELECT {COLUMNS} FROM jobs WHERE namespace = ? AND kind = ? ORDER BY created_at",
            (self._namespace, KIND),
        )
        return [job for job in map(_row, rows) if any_touched(entries(job.folder), turn_ids, skill_refs)]

    def forget(self, job: JobRow) -> None:
        """Take the texts that a job was made of off the disk; one that is not done fails."""
        state = "failed" if job.state in ("running", "paused") else job.state
        progress = verdicts.without_text(dict(job.progress), lambda text: len(text) > LONGEST_WORD)
        if "verdict" in progress:
            progress["verdict"] = verdicts.figures(progress["verdict"])
        erased = {**progress, **({"error": ERASED} if state == "failed" else {})}
        self._database.write(
            lambda connection: connection.execute(
                "UPDATE jobs SET state = ?, progress = ? WHERE id = ?", (state, json.dumps(erased), job.id)
            )
        )
        wipe(job.folder)

    def _take(self, connection: Connection) -> JobRow | None:
        now = time.time()
        row = connection.execute(
            f"SELECT {COLUMNS}, lease_owner, lease_until FROM jobs"
            " WHERE namespace = ? AND kind = ? AND state IN ('running', 'paused') ORDER BY created_at DESC LIMIT 1",
            (self._namespace, KIND),
        ).fetchone()
        if row is None:
            return self._insert(connection, now)
        if not may_take(Lease(row[6], row[7]), self.owner, now):
            return None
        connection.execute(
            "UPDATE jobs SET lease_owner = ?, lease_until = ?, updated_at = ? WHERE id = ?",
            (self.owner, taken(self.owner, now).until, now, row[0]),
        )
        return replace(_row(row), updated_at=now)

    def _insert(self, connection: Connection, now: float) -> JobRow:
        name = f"train-{uuid.uuid4().hex[:12]}"
        folder = self._root / name
        connection.execute(
            "INSERT INTO jobs VALUES (?, ?, ?, 'running', ?, ?, ?, '{}', ?, ?)",
            (name, self._namespace, KIND, str(folder), self.owner, taken(self.owner, now).until, now, now),
        )
        return JobRow(name, "running", folder, {}, now, now)
