"""Turns and feedback into the store, redacted, durable before the caller goes on.

In: a finished turn, or what a client said of one. Out: nothing; or a count of what was lost and why.
A reply never depends on this: when the store refuses or is slow, the loss is counted and the reply ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import json
import logging
from collections import Counter
from collections.abc import Callable

from metaclaw.errors import RequestError, StoreError
from metaclaw.journal.open_sessions import note_turn
from metaclaw.journal.redact import Redactor
from metaclaw.store import Connection, Database
from metaclaw.types import Check, Feedback, Turn

log = logging.getLogger(__name__)

TOO_SLOW = "turn: store too slow"
TURN_COLUMNS = (
    "id, namespace, session, kind, dialect, request, response, query, reply, status, complete, skills, injected,"
    " generation, policy, usage, timings, created_at, agent, side, drawn, withheld, holdout_share"
)


class Recorder:
    """Owned by the gateway, on its event loop. `on_recorded` is called after each commit, to wake whoever learns."""

    def __init__(
        self,
        database: Database,
        redactor: Redactor,
        durable_timeout_seconds: float,
        on_recorded: Callable[[], None] = lambda: None,
    ) -> None:
        self._database = database
        self._redactor = redactor
        self._timeout = durable_timeout_seconds
        self._on_recorded = on_recorded
        self.lost: Counter[str] = Counter()
        self.late = 0

    async def turn(self, turn: Turn, prefix: str = "", closes: bool = False) -> bool:
        """Store a turn, and its session's state with it; true once both are on disk.

        `prefix` is what its session was recognised by where no client named it; `closes`: it is the session's last.
        False when the store refused it, or has not answered in time: the turn then counts in `lost`, and when it comes
        through after all, in `late` instead.
        """
        size = len(turn.request) + len(turn.response)
        write = self._database.submit_async(lambda connection: self._insert(connection, turn, prefix, closes), size)
        try:
            async with asyncio.timeout(self._timeout):
                await asyncio.shield(write)
        except TimeoutError:
            write.add_done_callback(self._came_late)
            return self._count(TOO_SLOW, turn.id)
        except StoreError as error:
            return self._count(f"turn: {type(error).__name__}", turn.id)
        self._on_recorded()
        return True

    def _came_late(self, write: asyncio.Future[None]) -> None:
        if write.exception() is None:
            self.lost -= Counter({TOO_SLOW: 1})
            self.late += 1
            self._on_recorded()

    async def feedback(self, feedback: Feedback) -> None:
        """Store feedback. Raises `RequestError` (404) for an unknown turn and `StoreError` when it is not kept."""
        check = Check(self._redactor.text(feedback.check.pattern)) if feedback.check else None
        clean = dataclasses.replace(feedback, text=self._redactor.text(feedback.text), check=check)
        await self._database.write_async(lambda connection: _insert_feedback(connection, clean))
        self._on_recorded()

    def _insert(self, connection: Connection, turn: Turn, prefix: str, closes: bool) -> None:
        _insert_turn(connection, self._clean(turn))
        note_turn(connection, turn, prefix, closes)

    def _clean(self, turn: Turn) -> Turn:
        text, raw = self._redactor.text, self._redactor.bytes
        return dataclasses.replace(
            turn, request=raw(turn.request), response=raw(turn.response), query=text(turn.query), reply=text(turn.reply)
        )

    def _count(self, reason: str, turn_id: str) -> bool:
        self.lost[reason] += 1
        log.error("turn %s was not recorded (%s); %d lost so far", turn_id, reason, self.lost.total())
        return False


def _insert_turn(connection: Connection, turn: Turn) -> None:
    connection.execute(
        f"INSERT INTO turns ({TURN_COLUMNS}) VALUES ({', '.join('?' * 23)})",
        (
            turn.id, turn.namespace, turn.session, turn.kind.value, turn.dialect, turn.request, turn.response,
            turn.query, turn.reply, turn.status, int(turn.complete), json.dumps(turn.skills), turn.injected,
            turn.generation, turn.policy, json.dumps(turn.usage), json.dumps(turn.timings), turn.created_at,
            turn.agent, turn.side, json.dumps(turn.drawn), json.dumps(turn.withheld), turn.holdout_share,
        ),
    )


def _insert_feedback(connection: Connection, feedback: Feedback) -> None:
    known = connection.execute(
        "SELECT 1 FROM turns WHERE namespace = ? AND id = ?", (feedback.namespace, feedback.turn_id)
    ).fetchone()
    if known is None:
        raise RequestError(
            404, "unknown_turn", f"There is no turn '{feedback.turn_id}'. Send the id from the reply's x-metaclaw-turn."
        )
    connection.execute(
        "INSERT INTO feedback (id, namespace, turn_id, score, text, pattern, created_at) VALUES (?, ?, ?, ?, ?, ?, ?)",
        (
            feedback.id, feedback.namespace, feedback.turn_id, feedback.score, feedback.text,
            feedback.check.pattern if feedback.check else None, feedback.created_at,
        ),
    )
