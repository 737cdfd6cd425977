"""The ledger read for many turns at once: a day's outcomes, and the last failures."""

from __future__ import annotations

import pytest

from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.types import Signal, TurnKind
from support import NAMESPACE, keep, make_turn


async def test_a_days_outcomes_are_those_of_main_turns_of_which_something_was_said(database: Database) -> None:
    turns = [make_turn(created_at=float(n)) for n in range(5)]
    side, foreign = make_turn(created_at=2.0, kind=TurnKind.SIDE), make_turn(created_at=2.0, namespace="other")
    await keep(database, *turns, side, foreign)
    ledger.record(database, NAMESPACE, [
        Signal(turns[0].id, "feedback", -1.0, "before"), Signal(turns[1].id, "feedback", -1.0, "bad"),
        Signal(turns[2].id, "judge", None, "abstains"), Signal(turns[3].id, "feedback", 1.0, "good"),
        Signal(turns[3].id, "tool_error", -0.4, "a call failed"), Signal(side.id, "feedback", -1.0, "side"),
    ])
    ledger.record(database, "other", [Signal(foreign.id, "feedback", -1.0, "bad")])
    found = ledger.outcomes_between(database, NAMESPACE, 1.0, 4.0)
    assert sorted((one.failed, len(one.reasons)) for one in found) == [(False, 2), (True, 1)]


@pytest.mark.parametrize("chunk", [1, 2, 500])
async def test_the_last_failures_are_those_by_all_that_is_known(
    database: Database, chunk: int, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(ledger, "CHUNK", chunk)
    turns = [make_turn() for _ in range(4)]
    await keep(database, *turns)
    ledger.record(database, NAMESPACE, [
        Signal(turns[0].id, "feedback", -1.0, "bad"), Signal(turns[1].id, "feedback", -1.0, "bad"),
        Signal(turns[2].id, "tool_error", -0.4, "weak"), Signal(turns[1].id, "check", 1.0, "it was right after all"),
        Signal(turns[3].id, "feedback", -1.0, "bad"), Signal(turns[0].id, "next_message", -0.8, "again"),
    ])
    assert ledger.newest_failures(database, NAMESPACE, 9) == [turns[0].id, turns[3].id]
    assert ledger.newest_failures(database, NAMESPACE, 1) == [turns[0].id]
