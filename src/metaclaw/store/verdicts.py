"""The table `verdicts`, which the library and the registry share: the comparisons that decided on what was learned."""

from __future__ import annotations

import json
import time
from collections.abc import Callable, Collection, Mapping
from typing import Any

from metaclaw.store.connection import Connection
from metaclaw.store.database import Database
from metaclaw.types import Verdict

ERASED = "(erased)"


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


def erase_text(
    connection: Connection, namespace: str, subjects: Collection[str], quotes: Callable[[str], bool]
) -> None:
    """Take texts out of the evidence and leave the numbers: all texts of `subjects`, of others those that `quotes`."""
    rows: list[Any] = connection.execute(
        "SELECT id, subject, evidence FROM verdicts WHERE namespace = ?", (namespace,)
    ).fetchall()
    for number, subject, evidence in rows:
        goes: Callable[[str], bool] = (lambda _: True) if subject in subjects else quotes
        clean = json.dumps(without_text(json.loads(evidence), goes))
        if clean != evidence:
            connection.execute("UPDATE verdicts SET evidence = ? WHERE id = ?", (clean, number))


def figures(evidence: Mapping[str, Any]) -> dict[str, Any]:
    """The evidence without any text, for places from which nothing is erased one by one."""
    return {key: without_text(value, lambda _: True) for key, value in evidence.items()}


def without_text(value: Any, goes: Callable[[str], bool]) -> Any:
    """The same value with `ERASED` in place of every text that goes."""
    match value:
        case str():
            return ERASED if goes(value) else value
        case list():
            return [without_text(one, goes) for one in value]
        case dict():
            return {key: without_text(one, goes) for key, one in value.items()}
    return value


def _as_verdict(row: tuple[Any, ...]) -> Verdict:
    return Verdict(
        subject=row[0], baseline=row[1], candidate=row[2], n=row[3], effect=row[4], confidence=row[5],
        decision=row[6], evidence=json.loads(row[7]),
    )
