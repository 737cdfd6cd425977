"""What the journal has to offer for training now: the turns of the current generation and what is known of them."""

from __future__ import annotations

from dataclasses import dataclass

from metaclaw.journal import trajectories
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.training import dataset
from metaclaw.types import Check, Turn


@dataclass(frozen=True, slots=True)
class Evidence:
    """What the library says: its generation, the turns that its skills were written from, and whether it is at rest."""

    generation: int
    support: frozenset[str]
    settled: bool = True


@dataclass(frozen=True, slots=True)
class Selection:
    """The dataset, and the journal position of the newest turn that was looked at."""

    data: dataset.Dataset
    positions: dict[str, int]

    @property
    def through(self) -> int:
        return max(self.positions.values(), default=0)

    def fresh(self, seen: int) -> int:
        """How many of the turns that teach or test came after position `seen`."""
        useful = [entry for entry in self.data.manifest if entry.split in ("train", "query")]
        return sum(self.positions[entry.turn_id] > seen for entry in useful)


def newest(database: Database) -> tuple[int, int]:
    """The last turn and the last signal: while both stay, so does what a selection would find."""
    [row] = database.read(
        "SELECT (SELECT coalesce(max(position), 0) FROM turns), (SELECT coalesce(max(id), 0) FROM signals)"
    )
    return int(row[0]), int(row[1])


def select(database: Database, namespace: str, evidence: Evidence, most_train: int) -> Selection:
    turns = trajectories.turns_of_generation(database, namespace, evidence.generation)
    data = dataset.build(
        turns,
        evidence.support,
        lambda turn: ledger.outcome_of(database, namespace, turn.id),
        lambda turn: _check_on(database, namespace, turn),
        most_train,
    )
    return Selection(data, {turn.id: turn.position for turn in turns})


def _check_on(database: Database, namespace: str, turn: Turn) -> Check | None:
    items = trajectories.feedback_on(database, namespace, turn.id)
    return next((item.check for item in reversed(items) if item.check), None)
