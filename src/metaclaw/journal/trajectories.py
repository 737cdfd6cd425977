"""The journal read back: turns, feedback and sessions as values."""

from __future__ import annotations

import json
import re
from collections.abc import Sequence
from typing import Any

from orjson import loads  # what `recorder` writes with it; `tools` is written by the other

from metaclaw.journal.packing import Bases, unpacked
from metaclaw.journal.recorder import TURN_COLUMNS
from metaclaw.store import Database
from metaclaw.types import Check, Feedback, ToolCall, ToolUse, Trajectory, Turn, TurnKind

FEEDBACK_COLUMNS = "id, namespace, turn_id, score, text, pattern, created_at, position"


def turn(database: Database, namespace: str, turn_id: str) -> Turn | None:
    found = _turns(database, "namespace = ? AND id = ?", (namespace, turn_id))
    return found[0] if found else None


def last_turn_of(database: Database, namespace: str, session: str) -> Turn | None:
    """The last main turn of the session, its main agent's where that has spoken."""
    found = _turns(
        database,
        "namespace = ? AND session = ? AND kind = 'main' ORDER BY agent <> '', position DESC LIMIT 1",
        (namespace, session),
    )
    return found[0] if found else None


def turns_before(database: Database, turn: Turn, limit: int) -> list[Turn]:
    """The last complete main turns of the same agent in the same session before this one, newest first."""
    return _turns(
        database,
        "namespace = ? AND session = ? AND agent = ? AND position < ? AND kind = 'main' AND complete = 1"
        " ORDER BY position DESC LIMIT ?",
        (turn.namespace, turn.session, turn.agent, turn.position, limit),
    )


def turns_after(database: Database, namespace: str, position: int, limit: int = 100) -> list[Turn]:
    return _turns(
        database, "namespace = ? AND position > ? ORDER BY position LIMIT ?", (namespace, position, limit)
    )


def newest_turns(
    database: Database, namespace: str, limit: int, *, session: str = "", side: bool = False
) -> list[Turn]:
    """The last `limit` turns, oldest first: of all sessions or of one, with side calls or without."""
    found = _turns(
        database,
        "namespace = ?1 AND (?2 = '' OR session = ?2) AND (?3 OR kind = 'main') ORDER BY position DESC LIMIT ?4",
        (namespace, session, side, limit),
    )
    return found[::-1]


def turns_holding(
    database: Database, namespace: str, words: Sequence[str], limit: int, *, side: bool = False
) -> list[Turn]:
    """The last `limit` turns that hold every word in what was asked, answered or injected; oldest first.

    Letters of ASCII match in either case. It reads through the journal from its end until it has found enough.
    """
    text = "query || char(10) || reply || char(10) || injected"
    conditions = [f"{text} LIKE ? ESCAPE '\\'"] * len(words)
    found = _turns(
        database,
        " AND ".join(["namespace = ?", "(? OR kind = 'main')", *conditions]) + " ORDER BY position DESC LIMIT ?",
        (namespace, side, *(f"%{_literal(word)}%" for word in words), limit),
    )
    return found[::-1]


def turns_named(database: Database, namespace: str, beginning: str, limit: int = 2) -> list[Turn]:
    """Those whose id begins like this."""
    return _turns(
        database, "namespace = ?1 AND id >= ?2 AND substr(id, 1, length(?2)) = ?2 ORDER BY id LIMIT ?3",
        (namespace, beginning, limit),
    )


def queries_with_signals(database: Database, namespace: str, limit: int) -> list[tuple[str, str]]:
    """(id, query) of the complete main turns that the newest `limit` signals are about, newest first."""
    rows = database.read(
        "SELECT id, query FROM turns WHERE id IN (SELECT turn_id FROM (SELECT turn_id FROM signals WHERE namespace = ?"
        " ORDER BY id DESC LIMIT ?)) AND kind = 'main' AND complete = 1 AND status = 200 ORDER BY position DESC",
        (namespace, limit),
    )
    return [(row[0], row[1]) for row in rows]


def turns_with_skill(database: Database, namespace: str, skill_ref: str, limit: int) -> list[str]:
    """The ids of main turns that carried this version of a skill, newest first."""
    rows = database.read(
        "SELECT id FROM turns WHERE namespace = ? AND kind = 'main' AND instr(skills, ?)"
        " ORDER BY position DESC LIMIT ?",
        (namespace, json.dumps(skill_ref), limit),
    )
    return [row[0] for row in rows]


def turns_offered(database: Database, namespace: str, skill_ref: str, limit: int) -> list[tuple[str, bool]]:
    """The ids of main turns to whose model this version of a code skill was offered, newest first, each with whether
    it was called.
    """
    name = json.dumps(skill_ref)
    rows = database.read(
        "SELECT id, instr(skills, ?1) FROM turns WHERE namespace = ?2 AND kind = 'main' AND instr(tools, ?1)"
        " ORDER BY position DESC LIMIT ?3",
        (name, namespace, limit),
    )
    return [(turn_id, bool(called)) for turn_id, called in rows]


def feedback_after(database: Database, namespace: str, position: int, limit: int = 100) -> list[Feedback]:
    return _feedback(
        database, "namespace = ? AND position > ? ORDER BY position LIMIT ?", (namespace, position, limit)
    )


def feedback_on(database: Database, namespace: str, turn_id: str) -> list[Feedback]:
    return _feedback(database, "namespace = ? AND turn_id = ? ORDER BY position", (namespace, turn_id))


def trajectory(database: Database, namespace: str, session: str) -> Trajectory:
    turns = _turns(
        database, "namespace = ? AND session = ? AND kind = 'main' ORDER BY position", (namespace, session)
    )
    return Trajectory(session, turns, {item.id: feedback_on(database, namespace, item.id) for item in turns})


def _literal(word: str) -> str:
    """As LIKE takes it for itself alone."""
    return re.sub(r"([%_\\])", r"\\\1", word)


def _turns(database: Database, where: str, values: tuple[Any, ...]) -> list[Turn]:
    bases = Bases(database)
    with database.one_moment():  # a session may be erased meanwhile
        rows = database.read(f"SELECT {TURN_COLUMNS}, position FROM turns WHERE {where}", values)
        return [as_turn(row, bases) for row in rows]


def as_turn(row: tuple[Any, ...], bases: Bases) -> Turn:
    """From a row of `TURN_COLUMNS` and the position. Raises `StoreError` where its bodies cannot be read."""
    return Turn(
        id=row[0], namespace=row[1], session=row[2], kind=TurnKind(row[3]), dialect=row[4],
        request=bases.whole(row[5], row[24]),
        response=unpacked(row[6], row[25]), query=row[7], reply=row[8], status=row[9], complete=bool(row[10]),
        skills=tuple(loads(row[11])), injected=row[12], generation=row[13], policy=row[14],
        usage=loads(row[15]), timings=loads(row[16]), created_at=row[17], agent=row[18],
        side=row[19], tools=_as_tools(row[20]) if row[20] else None, drawn=tuple(loads(row[21])),
        withheld=tuple(loads(row[22])), holdout_share=row[23], position=row[26],
    )


def _as_tools(text: str) -> ToolUse:
    stored = json.loads(text)
    return ToolUse(tuple(stored["offered"]), tuple(ToolCall(**call) for call in stored["calls"]))


def _feedback(database: Database, where: str, values: tuple[Any, ...]) -> list[Feedback]:
    rows = database.read(f"SELECT {FEEDBACK_COLUMNS} FROM feedback WHERE {where}", values)
    return [
        Feedback(
            id=row[0], namespace=row[1], turn_id=row[2], score=row[3], text=row[4],
            check=Check(row[5]) if row[5] else None, created_at=row[6], position=row[7],
        )
        for row in rows
    ]
