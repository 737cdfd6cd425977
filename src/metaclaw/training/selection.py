"""What the journal has to offer for training now, by a query that cannot let the wrong turns in.

Promise 4 stands in `MAY_TRAIN`: only finished turns that were sampled under the generation that the library has in the
very moment of reading, that no skill was written from, and that carried none which nobody vouches for. They are main
turns, or side calls that asked one of an older generation again (`renewal.py`), to which the same applies. Signals come
with their turn, in the same read.
"""

from __future__ import annotations

import json
import struct
from collections.abc import Collection
from dataclasses import dataclass
from typing import Any

from metaclaw.journal import trajectories
from metaclaw.journal.packing import Bases
from metaclaw.journal.recorder import TURN_COLUMNS
from metaclaw.store import Database
from metaclaw.training import dataset
from metaclaw.training.dataset import OUT, Candidate, Entry
from metaclaw.types import Check, Sampled, Signal

MOST_CHECKS = 1_000  # clients' checks, the newest, whose turns may be asked again
MOST_LISTED = 100_000  # turns of the manifest, the newest: beyond that, nobody reads the reasons
GENERATION = "coalesce((SELECT generation FROM generations WHERE namespace = ?1), 0)"
SIGNALS = (
    "(SELECT json_group_array(json_array(source, value)) FROM (SELECT source, value FROM signals"
    " WHERE signals.namespace = ?1 AND signals.turn_id = turns.id ORDER BY signals.id))"
)
RENEWED = "(SELECT turn_id FROM renewals WHERE renewals.namespace = ?1 AND renewals.renewed_by = turns.id)"
CHECK = (
    f"(SELECT pattern FROM feedback WHERE feedback.namespace = ?1 AND feedback.turn_id IN (turns.id, {RENEWED})"
    " AND pattern IS NOT NULL ORDER BY position DESC LIMIT 1)"
)
# A prompt stands where it was first asked: asked again, it is no news.
POSITION = f"coalesce((SELECT first.position FROM turns AS first WHERE first.id = {RENEWED}), turns.position)"
# What nobody vouches for is not taught for good: the skill may be somebody else's words, passed on in a conversation.
IS_HEARSAY = (
    "EXISTS (SELECT 1 FROM json_each(turns.skills) AS carried JOIN hearsay ON hearsay.namespace = ?1"
    " AND carried.value = hearsay.name || '@' || hearsay.version)"
)
IS_SUPPORT = (
    f"EXISTS (SELECT 1 FROM support WHERE support.namespace = ?1 AND support.turn_id IN (turns.id, {RENEWED}))"
)
TURNS = ", ".join(f"turns.{column}" for column in TURN_COLUMNS.split(", "))
COLUMNS = f"SELECT {TURNS}, {POSITION}, {SIGNALS}, {CHECK}, samples.tokens, samples.logprobs, {RENEWED} IS NOT NULL"
SAMPLES = " LEFT JOIN samples ON samples.turn_id = turns.id"
WHOLE = " WHERE turns.namespace = ?1 AND turns.complete = 1 AND turns.status = 200"
MAIN = " AND turns.kind = 'main'"
FINISHED = f"{COLUMNS} FROM turns{SAMPLES}{WHOLE}{MAIN}"
THIS_GENERATION, NO_SUPPORT = f" AND turns.generation = {GENERATION}", f" AND NOT {IS_SUPPORT}"
NO_HEARSAY = f" AND NOT {IS_HEARSAY}"
IN_ORDER = f" ORDER BY {POSITION}, turns.position"
MAY_TRAIN = f"{WHOLE} AND (turns.kind = 'main' OR {RENEWED} IS NOT NULL){THIS_GENERATION}{NO_SUPPORT}{NO_HEARSAY}"
ELIGIBLE = f"{COLUMNS} FROM turns{SAMPLES}{MAY_TRAIN}{IN_ORDER}"
STILL_ELIGIBLE = f"SELECT count(*) FROM turns{MAY_TRAIN} AND turns.id IN (SELECT value FROM json_each(?2))"
CHECKED = (
    "(SELECT DISTINCT turn_id FROM (SELECT turn_id FROM feedback WHERE namespace = ?1 AND pattern IS NOT NULL"
    f" ORDER BY position DESC LIMIT {MOST_CHECKS}))"
)
RENEWABLE = (  # read from the checks on, which are fewer than the turns
    f"{COLUMNS} FROM {CHECKED} AS checked CROSS JOIN turns ON turns.id = checked.turn_id{SAMPLES}{WHOLE}{MAIN}"
    f" AND turns.generation <> {GENERATION}{NO_SUPPORT} AND NOT EXISTS (SELECT 1 FROM renewals"
    " WHERE renewals.namespace = ?1 AND renewals.turn_id = turns.id"
    f" AND renewals.generation = {GENERATION}) ORDER BY turns.position DESC LIMIT ?2"
)
LEFT_OUT = (
    f"SELECT id, session, generation, policy, skills, {SIGNALS}, position, CASE"
    " WHEN kind <> 'main' THEN 'a side call'"
    f" WHEN generation <> {GENERATION} THEN 'of another generation of the library'"
    f" WHEN {IS_SUPPORT} THEN 'support of a skill'"
    f" WHEN {IS_HEARSAY} THEN 'under a skill that nobody vouches for'"
    " ELSE 'its reply did not come to its end' END"
    f" FROM turns WHERE namespace = ?1 AND NOT (kind = 'main' AND generation = {GENERATION} AND NOT {IS_SUPPORT}"
    f" AND NOT {IS_HEARSAY}"
    " AND complete = 1 AND status = 200) ORDER BY position DESC LIMIT ?2"
)


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the library says: its generation, and whether it is at rest."""

    generation: int
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Selection:
    """The dataset, and what of the journal it rests on."""

    data: dataset.Dataset

    @property
    def through(self) -> int:
        """The journal position of the newest turn that was looked at."""
        return max((entry.position for entry in self.data.manifest), default=0)

    def fresh(self, seen: int) -> int:
        """How many of the turns that teach or test came after position `seen`."""
        useful = [entry for entry in self.data.manifest if entry.split in ("train", "query")]
        return sum(entry.position > seen for entry in useful)


def newest(database: Database) -> tuple[int, int]:
    """The last turn and the last signal: while both stay, so does what a selection would find."""
    [row] = database.read(
        "SELECT (SELECT coalesce(max(position), 0) FROM turns), (SELECT coalesce(max(id), 0) FROM signals)"
    )
    return int(row[0]), int(row[1])


def select(database: Database, namespace: str, most_train: int, *, explain: bool = True) -> Selection:
    """`explain` lists also the turns that the query keeps away, with the reason."""
    found = _candidates(database, ELIGIBLE, namespace)
    taken = {one.turn.id for one in found}
    left_out = [
        entry for entry in map(_entry, database.read(LEFT_OUT, (namespace, MOST_LISTED))) if entry.turn_id not in taken
    ] if explain else []
    return Selection(dataset.build(found, most_train, left_out))


def still_eligible(database: Database, namespace: str, turn_ids: Collection[str]) -> bool:
    """Whether the query lets all of these turns in at this moment, as it did when they were selected."""
    [[count]] = database.read(STILL_ELIGIBLE, (namespace, json.dumps(sorted(turn_ids))))
    return bool(count == len(turn_ids))


def finished(
    database: Database, namespace: str, *, all_generations: bool = False, with_support: bool = False
) -> list[Candidate]:
    """What may leave for other trainers: by itself the same turns as for our own; the rest is for the person to ask."""
    narrowed = ("" if all_generations else THIS_GENERATION) + ("" if with_support else NO_SUPPORT) + NO_HEARSAY
    return _candidates(database, f"{FINISHED}{narrowed}{IN_ORDER}", namespace)


def renewable(database: Database, namespace: str, most: int) -> list[Candidate]:
    """The newest turns that only their generation keeps away, that a client's check can tell right from wrong, and that
    were not asked again under this generation yet.
    """
    return _candidates(database, RENEWABLE, namespace, most)


def _candidates(database: Database, sql: str, namespace: str, *values: object) -> list[Candidate]:
    bases = Bases(database)
    with database.one_moment():  # a session may be erased meanwhile
        return [_candidate(row, bases) for row in database.read(sql, (namespace, *values))]


def _candidate(row: tuple[Any, ...], bases: Bases) -> Candidate:
    *columns, signals, pattern, tokens, logprobs, again = row
    turn = trajectories.as_turn(tuple(columns), bases)
    said = tuple(Signal(turn.id, source, value, "") for source, value in json.loads(signals))
    sampled = Sampled(_numbers("i", tokens), _numbers("f", logprobs)) if tokens else None
    return Candidate(turn, said, Check(pattern) if pattern else None, sampled, again=bool(again))


def _entry(row: tuple[Any, ...]) -> Entry:
    turn_id, session, generation, policy, skills, signals, position, why = row
    values = tuple((source, value) for source, value in json.loads(signals))
    return Entry(turn_id, session, generation, policy, tuple(json.loads(skills)), values, OUT, why, position)


def _numbers(kind: str, raw: bytes) -> tuple[Any, ...]:
    return struct.unpack(f"<{len(raw) // 4}{kind}", raw)
