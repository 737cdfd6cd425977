"""The edits that were not taken, with their reasons: what the next proposal for a like failure is told. Owns its table.

A text that the static gate stopped is not kept: shown to a model it could come back in other words.
"""

from __future__ import annotations

import itertools
import json
import time
from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.evolve.nearest import Embed
from metaclaw.store import Connection, Database

LOOKED_AT = 200  # the newest
ALIKE = 0.5  # cosine of the two failed requests
MOST = 3


@dataclass(frozen=True, slots=True)
class RejectedEdit:
    """`failed` are pairs of a request and the reply that the edit did not mend; `kind` is create, refine or merge."""

    turn_id: str
    kind: str
    name: str
    body: str
    origin: str
    query: str
    reason: str
    failed: tuple[tuple[str, str], ...] = ()


def record(database: Database, namespace: str, edit: RejectedEdit) -> None:
    failed = json.dumps([[asked[:500], reply[:500]] for asked, reply in edit.failed])
    row = (namespace, edit.turn_id, edit.kind, edit.name, edit.body, edit.origin, edit.query[:2_000], edit.reason,
           failed, time.time())
    database.write(
        lambda connection: connection.execute(
            "INSERT INTO rejected_edits (namespace, turn_id, kind, name, body, origin, query, reason, failed,"
            " created_at) VALUES (?, ?, ?, ?, ?, ?, ?, ?, ?, ?)",
            row,
        )
    )


def newest(database: Database, namespace: str, limit: int = LOOKED_AT) -> list[RejectedEdit]:
    rows = database.read(
        "SELECT turn_id, kind, name, body, origin, query, reason, failed FROM rejected_edits WHERE namespace = ?"
        " ORDER BY id DESC LIMIT ?",
        (namespace, limit),
    )
    return [_as_edit(row) for row in rows]


def _as_edit(row: tuple[Any, ...]) -> RejectedEdit:
    turn_id, kind, name, body, origin, query, reason, failed = row
    pairs = tuple((asked, reply) for asked, reply in json.loads(failed))
    return RejectedEdit(turn_id, kind, name, body, origin, query, reason, pairs)


def on_failures_like(database: Database, namespace: str, query: str, embed: Embed) -> list[RejectedEdit]:
    """Those whose failed request was like this one, the most alike first; each text once."""
    edits: Sequence[RejectedEdit] = [edit for edit in newest(database, namespace) if edit.body]
    if not edits:
        return []
    vectors = embed([query, *(edit.query for edit in edits)])
    cosines = (vectors[1:] @ vectors[0]).tolist()
    ranked = sorted(zip(cosines, range(len(edits)), strict=True), key=lambda row: (-row[0], row[1]))
    alike = {edits[at].body: edits[at] for cosine, at in reversed(ranked) if cosine >= ALIKE}
    return list(reversed(alike.values()))[:MOST]


def erase(connection: Connection, namespace: str, turn_ids: Collection[str], quotes: Callable[[str], bool]) -> None:
    """Delete, within a transaction of the caller's, what was proposed for these turns or holds a text that `quotes`."""
    rows: list[Any] = connection.execute(
        "SELECT id, turn_id, body, query, reason, failed FROM rejected_edits WHERE namespace = ?", (namespace,)
    ).fetchall()
    gone = [
        (number,) for number, turn_id, *texts, failed in rows
        if turn_id in turn_ids or any(map(quotes, [*texts, *itertools.chain.from_iterable(json.loads(failed))]))
    ]
    connection.executemany("DELETE FROM rejected_edits WHERE id = ?", gone)
