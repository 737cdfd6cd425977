"""Turns and feedback into the store, redacted, durable before the caller goes on.

In: a finished turn, or what a client said of one. Out: nothing; or a count of what was lost and why.
A reply never depends on this: when the store refuses or is slow, the loss is counted and the reply ends.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import json
import logging
import re
import struct
from collections import Counter
from collections.abc import Callable, Sequence
from functools import partial
from typing import Any

import orjson

from metaclaw.dialects.reply_message import in_one_piece, reply_message
from metaclaw.errors import RequestError
from metaclaw.journal.open_sessions import note_turns
from metaclaw.journal.packing import Packer, packed
from metaclaw.journal.redact import Redactor
from metaclaw.store import Connection, Database, RowWriter, in_runs
from metaclaw.types import Check, Feedback, ToolUse, Turn

log = logging.getLogger(__name__)

TOO_SLOW = "turn: store too slow"
TURN_COLUMNS = (
    "id, namespace, session, kind, dialect, request, response, query, reply, status, complete, skills, injected,"
    " generation, policy, usage, timings, created_at, agent, side, tools, drawn, withheld, holdout_share, builds_on,"
    " response_packed"
)
COLUMN_NAMES = TURN_COLUMNS.split(", ")
REQUEST, RESPONSE = COLUMN_NAMES.index("request"), COLUMN_NAMES.index("response")
LOGPROBS = re.compile(rb'"logprobs"\s*:\s*[\[{]\s*["{]')
PLACES = f"({', '.join('?' * len(COLUMN_NAMES))})"


class Recorder:
    """Owned by the gateway, on its event loop.

    `on_recorded` is called after each commit, to wake whoever learns: with True where a user waits for what is learned.
    `on_turn` is called with each turn, before it is redacted, by whoever served it.
    """

    def __init__(
        self,
        database: Database,
        redactor: Redactor,
        durable_timeout_seconds: float,
        on_recorded: Callable[[bool], None] = lambda _: None,
        on_turn: Callable[[Turn], None] | None = None,
    ) -> None:
        self._database = database
        self._rows = RowWriter(database, self._insert)
        self._redactor = redactor
        self._packer = Packer()
        self._timeout = durable_timeout_seconds
        self._on_recorded = on_recorded
        self._on_turn = on_turn
        self.lost: Counter[str] = Counter()
        self.late = 0
        self._waiting: dict[str, tuple[float, asyncio.Future[bool]]] = {}
        self._late: set[str] = set()  # given up, and still on their way
        self._watch: asyncio.TimerHandle | None = None
        self._settled = asyncio.Event()

    def turn(self, turn: Turn, prefix: str = "", closes: bool = False) -> asyncio.Future[bool]:
        """Store a turn, and its session's state with it; the future is true once both are on disk.

        `prefix` is what its session was recognised by where no client named it; `closes`: it is the session's last.
        False when the store refused it, or has not answered in time: the turn then counts in `lost`, and when it comes
        through after all, in `late` instead. Cancelling the future cancels the waiting, never the write.
        """
        if self._on_turn:
            self._on_turn(turn)
        loop = asyncio.get_running_loop()
        kept: asyncio.Future[bool] = loop.create_future()
        self._waiting[turn.id] = loop.time() + self._timeout, kept
        size = len(turn.request) + len(turn.response)
        self._rows.submit((turn, prefix, closes), partial(self._told, turn.id), size)
        if self._watch is None:
            self._watch = loop.call_later(self._timeout, self._look_for_late, loop)
        return kept

    async def settle(self) -> None:
        """Return when nobody waits for a turn to be written down any more."""
        while self._waiting:
            self._settled.clear()
            await self._settled.wait()

    def _told(self, turn_id: str, error: BaseException | None) -> None:
        _, kept = self._waiting.pop(turn_id, (0.0, None))
        if kept is None:
            self._late.discard(turn_id)
            if error is None:
                self.lost -= Counter({TOO_SLOW: 1})
                self.late += 1
        elif not kept.done():
            kept.set_result(error is None)
        if error is None:
            self._on_recorded(False)
        elif kept is not None:
            self._count(f"turn: {type(error).__name__}", turn_id)
        if not self._waiting:
            self._settled.set()

    def _look_for_late(self, loop: asyncio.AbstractEventLoop) -> None:
        """One timer for all: they come due in the order in which they came."""
        self._watch = None
        while self._waiting:
            turn_id, (due, kept) = next(iter(self._waiting.items()))
            if due > loop.time():
                self._watch = loop.call_at(due, self._look_for_late, loop)
                return
            del self._waiting[turn_id]
            self._late.add(turn_id)
            self._count(TOO_SLOW, turn_id)
            if not kept.done():
                kept.set_result(False)
        self._settled.set()

    async def feedback(self, feedback: Feedback) -> None:
        """Store feedback. Raises `RequestError` (404) for an unknown turn and `StoreError` when it is not kept."""
        check = Check(self._redactor.text(feedback.check.pattern)) if feedback.check else None
        clean = dataclasses.replace(feedback, text=self._redactor.text(feedback.text), check=check)
        await self._database.write_async(lambda connection: _insert_feedback(connection, clean))
        self._on_recorded(True)

    def _insert(self, connection: Connection, rows: Sequence[tuple[Turn, str, bool]]) -> None:
        values = [self._values(turn) for turn, _, _ in rows]
        _insert_turns(connection, self._packed(connection, [turn for turn, _, _ in rows], values))
        _insert_samples(connection, [turn for (turn, _, _), row in zip(rows, values, strict=True) if _whole(turn, row)])
        note_turns(connection, rows)

    def _packed(
        self, connection: Connection, turns: Sequence[Turn], values: Sequence[tuple[Any, ...]]
    ) -> list[tuple[Any, ...]]:
        """All of `TURN_COLUMNS`."""
        rows: list[tuple[Any, ...]] = []
        beside: set[str] = set()
        for turn, row in zip(turns, values, strict=True):
            request, builds_on = self._packer.pack(connection, turn, row[REQUEST], beside)
            response, is_packed = packed(row[RESPONSE])
            rows.append((*row[:REQUEST], request, response, *row[RESPONSE + 1 :], builds_on, is_packed))
            beside.add(turn.id)
        return rows

    def _values(self, turn: Turn) -> tuple[Any, ...]:
        """In the order of `TURN_COLUMNS` but for the last two, redacted."""
        text, raw = self._redactor.text, self._redactor.bytes
        reply = text(turn.reply)
        is_secret = reply is not turn.reply or text(turn.aside) is not turn.aside
        return (
            turn.id, turn.namespace, turn.session, turn.kind.value, turn.dialect, raw(turn.request),
            raw(_in_one_piece(turn) if is_secret else turn.response), text(turn.query), reply, turn.status,
            int(turn.complete), _json(turn.skills), turn.injected, turn.generation, turn.policy, _json(turn.usage),
            _json(turn.timings), turn.created_at, turn.agent, turn.side,
            text(tools_text(turn.tools)) if turn.tools else "", _json(turn.drawn), _json(turn.withheld),
            turn.holdout_share,
        )

    def _count(self, reason: str, turn_id: str) -> bool:
        self.lost[reason] += 1
        log.error("turn %s was not recorded (%s); %d lost so far", turn_id, reason, self.lost.total())
        return False


def tools_text(tools: ToolUse) -> str:
    """As the store keeps it."""
    return json.dumps(dataclasses.asdict(tools))  # the quicker writer refuses half an emoji, which a model may write


def _insert_turns(connection: Connection, rows: Sequence[tuple[Any, ...]]) -> None:
    for some in in_runs(rows):
        sql = f"INSERT INTO turns ({TURN_COLUMNS}) VALUES {', '.join([PLACES] * len(some))}"
        connection.execute(sql, [*itertools.chain.from_iterable(some)])


def _in_one_piece(turn: Turn) -> bytes:
    """A reply of which something is to be taken out: a stream tells it in pieces that look like nothing, and so do the
    log-probabilities of its tokens. What it said and called is kept then, in the client's format, and nothing else.
    """
    if turn.response.lstrip().startswith(b"{") and not LOGPROBS.search(turn.response):
        return turn.response
    said = reply_message(turn.dialect, turn.response) or {"role": "assistant", "content": turn.reply}
    return in_one_piece(turn.dialect, said)


def _whole(turn: Turn, row: Sequence[Any]) -> bool:
    """Whether its tokens may be kept: nothing was taken out of its text, which they could tell all the same."""
    if turn.sampled is None:
        return False
    stored = dict(zip(COLUMN_NAMES, row, strict=False))
    return all(stored[name] == getattr(turn, name) for name in ("request", "response", "query", "reply"))


def _insert_samples(connection: Connection, turns: Sequence[Turn]) -> None:
    rows = [
        (turn.id, turn.namespace, struct.pack(f"<{len(kept.tokens)}i", *kept.tokens),
         struct.pack(f"<{len(kept.logprobs)}f", *kept.logprobs))
        for turn in turns if (kept := turn.sampled)
    ]
    connection.executemany("INSERT INTO samples (turn_id, namespace, tokens, logprobs) VALUES (?, ?, ?, ?)", rows)


def _json(value: Any) -> str:
    return orjson.dumps(value).decode()


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
