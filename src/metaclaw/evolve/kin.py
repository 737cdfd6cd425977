"""A turn with what was said of it."""

from __future__ import annotations

from metaclaw.evolve.failure import Failure
from metaclaw.journal import trajectories
from metaclaw.signals import ledger
from metaclaw.store import Database


def failure_of(turn_id: str, database: Database, namespace: str) -> Failure | None:
    turn = trajectories.turn(database, namespace, turn_id)
    if turn is None:
        return None
    said = [item for item in trajectories.feedback_on(database, namespace, turn_id) if item.text]
    if said:
        return Failure(turn, said[-1].text, said[-1].check)
    signals = ledger.signals_on(database, namespace, turn_id)
    said_next = [signal.evidence for signal in signals if signal.source == "next_message"]
    return Failure(turn, said_next[-1] if said_next else "")
