"""A session out of the journal: its turns, its feedback, what was sampled, and the side calls that may quote it.

In: the name of a session. Out: what there is of it (`found`), and its deletion, within a transaction of the caller's.
What was erased stays known by the ids of its turns and by the hash of the session's name.
"""

from __future__ import annotations

import hashlib
import json
import time
from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

from metaclaw.errors import RequestError
from metaclaw.store import Connection, Database
from metaclaw.store.scrub import overwriting

SHORTEST_QUOTE = 12  # characters: what is shorter, others say too
# The learner's own calls. Judging, replaying and proposing quote turns; what is asked again is told apart.
OF_THE_LEARNER = "(side = 'declared' AND id NOT IN (SELECT renewed_by FROM renewals WHERE renewed_by IS NOT NULL))"
SESSION = "namespace = ? AND session = ?"


@dataclass(frozen=True, slots=True)
class Trace:
    """What a session left in the journal. `quoting` are side calls of other sessions that may hold its words.

    `words` are what was said in it; `kindred` other sessions that begin as this one does. `again`: it was erased
    before, and only what came late is left.
    """

    session: str
    opened_at: float
    turns: tuple[str, ...]
    quoting: tuple[str, ...]
    words: tuple[str, ...]
    feedback: int
    kindred: tuple[str, ...]
    again: bool = False

    @property
    def source(self) -> str:
        """What the session is called once its name is gone."""
        return hash_of(self.session)

    @property
    def all_turns(self) -> tuple[str, ...]:
        return (*self.turns, *self.quoting)

    def quotes(self, text: str) -> bool:
        """Whether a text holds a piece of what was said, or is one."""
        if len(text) < SHORTEST_QUOTE:
            return False
        return any(text in word or word[: 3 * SHORTEST_QUOTE] in text for word in self.words)


def found(database: Database, namespace: str, session: str) -> Trace:
    """Raises `RequestError` (404) where there is no such session, and none was erased under that name."""
    rows = database.read(
        f"SELECT id, query, reply, created_at FROM turns WHERE {SESSION} ORDER BY position", (namespace, session)
    )
    erased = database.read(
        "SELECT opened_at FROM erasures WHERE namespace = ? AND session_sha256 = ?", (namespace, hash_of(session))
    )
    if not rows and not erased:
        raise RequestError(
            404, "unknown_session",
            f"There is no session '{session}'. Its name is in the reply's x-metaclaw-session and in `metaclaw data"
            " sessions`.",
        )
    said = database.read(
        "SELECT text FROM feedback WHERE namespace = ? AND turn_id IN (SELECT id FROM turns WHERE namespace = ?"
        " AND session = ?)", (namespace, namespace, session),
    )
    spoken = {text.strip() for row in rows for text in row[1:3]} | {row[0].strip() for row in said}
    words = tuple(sorted(text for text in spoken if len(text) >= SHORTEST_QUOTE))
    opened_at = float(min([row[3] for row in rows] + [row[0] for row in erased]))
    return Trace(
        session, opened_at, tuple(row[0] for row in rows), _quoting(database, namespace, session, opened_at, words),
        words, len(said), _kindred(database, namespace, session), again=not rows,
    )


def erase(connection: Connection, namespace: str, trace: Trace) -> None:
    """Delete it all. Signals and support on these turns must be gone already."""
    now = time.time()
    _delete(connection, namespace, trace.all_turns, now)
    connection.execute(f"DELETE FROM sessions WHERE {SESSION}", (namespace, trace.session))
    connection.execute(
        "INSERT INTO erasures VALUES (?, ?, ?, ?) ON CONFLICT DO UPDATE SET erased_at = excluded.erased_at",
        (namespace, hash_of(trace.session), trace.opened_at, now),
    )


def erase_late(connection: Connection, namespace: str, session: str, call: str) -> None:
    """Delete a call that came for a session after that was erased. There are no signals on it yet."""
    overwriting(connection)
    _delete(connection, namespace, [call], time.time())
    connection.execute(
        f"DELETE FROM sessions WHERE {SESSION} AND NOT EXISTS (SELECT 1 FROM turns WHERE {SESSION})",
        (namespace, session, namespace, session),
    )


def forget_injected(connection: Connection, namespace: str, skill_refs: Iterable[str]) -> None:
    """Take what was injected out of all turns, of other sessions too, that had one of these versions in the prompt."""
    connection.executemany(
        "UPDATE turns SET injected = '' WHERE namespace = ? AND injected <> '' AND instr(skills, ?)",
        [(namespace, json.dumps(ref)) for ref in skill_refs],
    )


def erased_among(database: Database, namespace: str, turn_ids: Iterable[str]) -> frozenset[str]:
    """Which of these turns were erased."""
    rows = database.read("SELECT turn_id FROM erased_turns WHERE namespace = ?", (namespace,))
    return frozenset(row[0] for row in rows) & frozenset(turn_ids)


def was_erased(connection: Connection, namespace: str, turn_id: str) -> bool:
    rows = connection.execute("SELECT 1 FROM erased_turns WHERE namespace = ? AND turn_id = ?", (namespace, turn_id))
    return bool(rows.fetchall())


def _delete(connection: Connection, namespace: str, turn_ids: Iterable[str], now: float) -> None:
    ids = [(turn_id,) for turn_id in turn_ids]
    newest = _newest(connection)
    connection.executemany("DELETE FROM samples WHERE turn_id = ?", ids)
    connection.executemany("DELETE FROM feedback WHERE turn_id = ?", ids)
    connection.executemany("DELETE FROM turns WHERE id = ?", ids)
    connection.executemany(
        "INSERT OR IGNORE INTO erased_turns VALUES (?, ?, ?)", [(namespace, turn_id, now) for turn_id, in ids]
    )
    _keep_positions(connection, namespace, newest, now)


def _quoting(
    database: Database, namespace: str, session: str, since: float, words: Sequence[str]
) -> tuple[str, ...]:
    """The learner's calls since then, all of them but those that asked a turn of another session again, word for word;
    and of these and of clients' side calls those that hold a whole text of the session.
    """
    rows = database.read(
        f"SELECT id, {OF_THE_LEARNER}, CASE WHEN {OF_THE_LEARNER} THEN x'' ELSE request END FROM turns"
        " WHERE namespace = ? AND kind = 'side' AND created_at >= ? AND session <> ? ORDER BY position",
        (namespace, since, session),
    )
    needles = {json.dumps(text, ensure_ascii=plain)[1:-1].encode() for text in words for plain in (True, False)}
    return tuple(
        turn_id for turn_id, of_the_learner, request in rows
        if of_the_learner or any(text in request for text in needles)
    )


def _kindred(database: Database, namespace: str, session: str) -> tuple[str, ...]:
    rows = database.read(
        f"SELECT session FROM sessions WHERE namespace = ? AND session <> ? AND prefix <> '' AND prefix ="
        f" (SELECT prefix FROM sessions WHERE {SESSION}) ORDER BY opened_at",
        (namespace, session, namespace, session),
    )
    return tuple(row[0] for row in rows)


def _newest(connection: Connection) -> tuple[int, int]:
    rows: list[Any] = connection.execute(
        "SELECT (SELECT coalesce(max(position), 0) FROM turns), (SELECT coalesce(max(position), 0) FROM feedback)"
    ).fetchall()
    return int(rows[0][0]), int(rows[0][1])


def _keep_positions(connection: Connection, namespace: str, before: tuple[int, int], now: float) -> None:
    """SQLite would give a position at the end away again, and whoever has read beyond it would miss the new turn.

    So an empty side turn, with empty feedback, takes the place of the last ones.
    """
    turns, feedback = _newest(connection)
    if (turns, feedback) == before:
        return
    name = f"erased-{before[0]}-{before[1]}"
    connection.execute(
        "INSERT INTO turns (position, id, namespace, session, kind, dialect, request, response, query, reply, status,"
        " complete, skills, injected, generation, policy, usage, timings, created_at, side) VALUES"
        " (?, ?, ?, '', 'side', 'chat', x'', x'', '', '', 0, 0, '[]', '', 0, '', '{}', '{}', ?, 'erased')",
        (before[0] if turns < before[0] else None, name, namespace, now),
    )
    if feedback < before[1]:
        connection.execute(
            "INSERT INTO feedback (position, id, namespace, turn_id, score, text, created_at) VALUES"
            " (?, ?, ?, ?, NULL, '', ?)",
            (before[1], name, namespace, name, now),
        )


def hash_of(session: str) -> str:
    return hashlib.sha256(session.encode(errors="surrogatepass")).hexdigest()
