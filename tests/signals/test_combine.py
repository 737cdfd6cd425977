"""Signals taken together, and the ledger that keeps them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.errors import StoreError
from metaclaw.signals import ledger
from metaclaw.signals.combine import WEIGHTS, combine
from metaclaw.store import Database
from metaclaw.types import Signal
from support import NAMESPACE, keep, make_turn


def signal(source: str, value: float | None, evidence: str = "") -> Signal:
    return Signal("turn", source, value, f"{source} says so", evidence)


SIGNALS = st.lists(st.builds(signal, st.sampled_from(sorted(WEIGHTS)), st.none() | st.floats(-1, 1)), max_size=6)


def test_who_abstains_carries_no_weight() -> None:
    alone = combine([signal("feedback", 1.0)])
    assert combine([signal("feedback", 1.0), signal("check", None), signal("next_message", None)]) == alone
    nothing = combine([signal("check", None)])
    assert (nothing.value, nothing.reasons, nothing.failed, nothing.succeeded) == (None, (), False, False)


def test_a_check_outweighs_an_opinion() -> None:
    assert combine([signal("check", -1.0), signal("feedback", 1.0)]).failed
    assert combine([signal("check", 1.0), signal("feedback", -1.0)]).succeeded
    assert combine([signal("feedback", -1.0), signal("next_message", 0.5)]).failed


def test_what_is_undecided_is_neither() -> None:
    outcome = combine([signal("feedback", 0.1)])
    assert not outcome.failed
    assert not outcome.succeeded


@given(SIGNALS)
def test_the_outcome_lies_between_the_signals_and_gives_their_reasons(signals: list[Signal]) -> None:
    outcome = combine(signals)
    values = [found.value for found in signals if found.value is not None]
    assert (outcome.value is None) == (not values)
    assert len(outcome.reasons) == len(values)
    if outcome.value is not None:
        assert min(values) - 1e-9 <= outcome.value <= max(values) + 1e-9


async def test_the_same_evidence_counts_once_however_often_it_is_read(database: Database) -> None:
    turn = make_turn()
    await keep(database, turn)
    found = [Signal(turn.id, "feedback", -1.0, "r", "f1"), Signal(turn.id, "check", None, "r", "f1")]
    ledger.record(database, NAMESPACE, found)
    ledger.record(database, NAMESPACE, found)
    assert ledger.signals_on(database, NAMESPACE, turn.id) == found
    assert ledger.signals_on(database, "other", turn.id) == []
    ledger.record(database, NAMESPACE, [Signal(turn.id, "check", 1.0, "r", "f2")])
    assert ledger.outcome_of(database, NAMESPACE, turn.id).succeeded


def test_a_signal_needs_a_turn(database: Database) -> None:
    with pytest.raises(StoreError):
        ledger.record(database, NAMESPACE, [signal("feedback", 1.0)])
