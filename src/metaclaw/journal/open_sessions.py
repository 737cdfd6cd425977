"""When sessions open and close, and which one a conversation without a name belongs to. Owns the table `sessions`.

In: what the gateway recognised in a request. Out: the session's name, and rows for whoever learns.
A session closes when a client says so, or after an idle time. The next turn under a name that the client sends opens it
again; a conversation that is recognised by its beginning alone gets a new session then.
"""

from __future__ import annotations

import itertools
import logging
import time
from collections import OrderedDict
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import TypeVar

from metaclaw.errors import RequestError, StoreError
from metaclaw.store import Connection, Database, in_runs
from metaclaw.types import Session, Turn, TurnKind

log = logging.getLogger(__name__)

MOST_KNOWN = 10_000  # conversations and traces that are kept in mind; those before them are looked up in the store
LATEST = (
    "SELECT session, last_at, closed_at FROM sessions WHERE namespace = ? AND prefix = ?"
    " AND prefix <> ''"  # said again so that the index is taken, which holds no others
    " ORDER BY opened_at DESC LIMIT 1"
)
OPEN_SESSIONS = "INSERT INTO sessions (namespace, session, prefix, opened_at, last_at, closed_at)"
OPEN_ONES = (
    "ON CONFLICT (namespace, session) DO UPDATE SET last_at = max(last_at, excluded.last_at), closed_at ="
    # closed while this turn was under way: it stays closed
    " CASE WHEN excluded.closed_at IS NULL AND closed_at > excluded.last_at THEN closed_at ELSE excluded.closed_at END"
)
T = TypeVar("T")


@dataclass(slots=True)
class _Known:
    session: str
    agent: str
    last_at: float
    closed: bool = False


class OpenSessions:
    """The names of conversations that their clients do not name. Used on one event loop only."""

    def __init__(
        self, database: Database, namespace: str, idle_seconds: float, clock: Callable[[], float] = time.time
    ) -> None:
        self._database = database
        self._namespace = namespace
        self._idle_seconds = idle_seconds
        self._clock = clock
        self._known: OrderedDict[str, _Known] = OrderedDict()
        self._traces: OrderedDict[str, _Known] = OrderedDict()
        self._replies: OrderedDict[str, _Known] = OrderedDict()

    def place(self, prefix: str, trace: str = "", *, opens: bool = True) -> tuple[str, str]:
        """Session and agent of a request that begins like `prefix` and is part of `trace`.

        An unknown beginning within a known trace is a sub-agent's: its own session is that of the trace. A side call
        (`opens` false) joins what is there, and opens nothing.
        """
        now = self._clock()
        known = self._known.get(prefix) or self._stored(prefix)
        if known is None or self._over(known, now):
            held = self._traces.get(trace)
            if held and not self._over(held, now):
                known = _Known(held.session, prefix, now)
            elif opens:
                # Ordered by time: in the store's indexes a new session stands beside the one before it.
                known = _Known(f"{int(now * 1000):x}-{prefix}", "", now)
            else:
                return prefix, ""
        if opens:
            known.last_at = now
            _remember(self._known, prefix, known)
            if trace:
                _remember(self._traces, trace, known)
        return known.session, known.agent

    def replied(self, reply_id: str, session: str, agent: str) -> None:
        """A reply that a provider keeps: a request may go on from it, and tell no more than its id."""
        _remember(self._replies, reply_id, _Known(session, agent, self._clock()))

    def of_reply(self, reply_id: str) -> tuple[str, str] | None:
        """Session and agent of the reply; None where it is not known, or its session is over."""
        known = self._replies.get(reply_id)
        return (known.session, known.agent) if known and not self._over(known, self._clock()) else None

    def forget(self, session: str) -> None:
        """The next request that begins like this session's, or goes on from it, opens a new one."""
        for known in (*self._known.values(), *self._replies.values()):
            if known.session == session:
                known.closed = True

    async def close(self, session: str) -> None:
        """Say in the store that the session is over. Raises `RequestError` (404) where there is none."""
        now = self._clock()
        found = await self._database.write_async(lambda connection: _close(connection, self._namespace, session, now))
        if not found:
            raise RequestError(404, "unknown_session", f"There is no session '{session}'.")
        self.forget(session)

    def _stored(self, prefix: str) -> _Known | None:
        try:
            rows = self._database.read(LATEST, (self._namespace, prefix))
        except StoreError as error:  # costs the link to what was said before, and no reply
            log.warning("earlier turns of a conversation were not found: %s", error)
            return None
        return _Known(rows[0][0], "", rows[0][1], rows[0][2] is not None) if rows else None

    def _over(self, known: _Known, now: float) -> bool:
        return known.closed or now - known.last_at > self._idle_seconds


def note_turns(connection: Connection, turns: Sequence[tuple[Turn, str, bool]]) -> None:
    """Within the turns' transaction: each with what its session was recognised by, and whether it is the last.

    A main turn opens its session, or opens it again; a side call does neither.
    """
    now = time.time()
    opening = [
        (turn.namespace, turn.session, prefix, turn.created_at, turn.created_at, now if closes else None)
        for turn, prefix, closes in turns if turn.kind is TurnKind.MAIN
    ]
    for some in in_runs(opening):
        sql = f"{OPEN_SESSIONS} VALUES {', '.join(['(?, ?, ?, ?, ?, ?)'] * len(some))} {OPEN_ONES}"
        connection.execute(sql, [*itertools.chain.from_iterable(some)])
    for turn, _, closes in turns:
        if closes and turn.kind is not TurnKind.MAIN:
            _close(connection, turn.namespace, turn.session, now)


def closed(
    database: Database, namespace: str, idle_seconds: float, now: float, after: float = 0.0
) -> list[Session]:
    """The sessions that closed later than `after` and are closed by `now`, in that order."""
    rows = database.read(
        "SELECT session, opened_at, last_at, coalesce(closed_at, last_at + ?1) AS ended FROM sessions"
        " WHERE namespace = ?2 AND ended > ?3 AND ended <= ?4 ORDER BY ended, session",
        (idle_seconds, namespace, after, now),
    )
    return [Session(*row) for row in rows]


def _close(connection: Connection, namespace: str, session: str, now: float) -> bool:
    connection.execute(
        "UPDATE sessions SET closed_at = ? WHERE namespace = ? AND session = ?", (now, namespace, session)
    )
    return bool(connection.changes())


def _remember(known: OrderedDict[str, T], key: str, value: T) -> None:
    known[key] = value
    known.move_to_end(key)
    if len(known) > MOST_KNOWN:
        known.popitem(last=False)
