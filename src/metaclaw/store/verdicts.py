"""The table `verdicts`, which the library and the registry share: the comparisons that decided on what was learned."""

from __future__ import annotations

import json
import time
from typing import Any

from metaclaw.store.connection import Connection
from metaclaw.store.database import Database
from metaclaw.types import Verdict


def insert(connection: Connection, namespace: str, verdict: Verdict) -> None:
    connection.execute(
        "INSERT INTO verdicts (namespace, subject, baseline, candidate, n, effect, confidence, decision, evidence,"
        " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
        (
            namespace, verdict.subject, verdict.baseline, verdict.candidate, verdict.n, verdict.effect,
            verdict.confidence, verdict.decision, json.dumps(dict(verdict.evidence)), time.time(),
        ),
    )


def of_subject(database: Database, namespace: str, subject: str) -> list[Verdict]:
    """The verdicts on `skill:NAME@VERSION` or `adapter:NAME`, oldest first."""
    rows = database.read(
        "SELECT subject, baseline, candidate, n, effect, confidence, decision, evidence FROM verdicts"
        " WHERE namespace = ? AND subject = ? ORDER BY id",
        (namespace, subject),
    )
    return [_as_verdict(row) for row in rows]


def _as_verdict(row: tuple[Any, ...]) -> Verdict:
    return Verdict(
        subject=row[0], baseline=row[1], candidate=row[2], n=row[3], effect=row[4], confidence=row[5],
        decision=row[6], evidence=json.loads(row[7]),
    )
