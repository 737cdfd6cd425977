"""Signals taken together, and the ledger that keeps them."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.errors import StoreError
from metaclaw.signals import ledger
from metaclaw.signals.combine import DECISIVE, WEIGHTS, combine
from metaclaw.store import Database
from metaclaw.types import Signal
from support import NAMESPACE, keep, make_turn


def signal(source: str, value: float | None, evidence: str = "") -> Signal:
    return Signal("turn", source, value, f"{source} says so", evidence)


SIGNAL = st.builds(signal, st.sampled_from(sorted(WEIGHTS)), st.none() | st.floats(-1, 1))
SIGNALS = st.lists(SIGNAL, max_size=8)


def test_who_abstains_carries_no_weight() -> None:
    alone = combine([signal("feedback", 1.0)])
    assert combine([signal("feedback", 1.0), signal("check", None), signal("judge", None)]) == alone
    nothing = combine([signal("check", None)])
    assert (nothing.value, nothing.reasons, nothing.failed, nothing.succeeded) == (None, (), False, False)


def test_a_check_outweighs_an_opinion() -> None:
    assert combine([signal("check", -1.0), signal("feedback", 1.0)]).failed
    assert combine([signal("check", 1.0), signal("feedback", -1.0)]).succeeded
    assert combine([signal("feedback", -1.0), signal("next_message", 0.5)]).failed


def test_the_users_words_outweigh_the_judge() -> None:
    assert not combine([signal("next_message", 0.5), signal("judge", -1.0)]).failed
    assert not combine([signal("next_message", -0.8), signal("judge", 1.0)]).succeeded


@pytest.mark.parametrize("source", ["tool_error", "asked_again", "regenerated", "abandoned"])
def test_a_hint_alone_decides_nothing(source: str) -> None:
    value = {"tool_error": -0.4, "asked_again": -0.6, "regenerated": -0.5, "abandoned": -0.6}[source]
    assert not combine([signal(source, value)]).decided
    assert not combine([signal("tool_error", -0.4)] * 10).decided


@pytest.mark.parametrize(("source", "value"), [
    ("check", -1.0), ("feedback", -0.3), ("next_message", -0.8), ("judge", -2 / 3), ("repeated_failure", -1.0),
])
def test_evidence_that_decides_alone(source: str, value: float) -> None:
    assert combine([signal(source, value)]).failed


def test_hints_decide_together() -> None:
    assert combine([signal("tool_error", -0.4), signal("asked_again", -0.6)]).failed
    assert not combine([signal("tool_error", -0.4), signal("repeated_failure", -0.4)]).decided


def test_what_is_undecided_is_neither() -> None:
    outcome = combine([signal("feedback", 0.1)])
    assert not outcome.failed
    assert not outcome.succeeded


@given(SIGNALS)
def test_the_outcome_is_bounded_and_gives_the_reasons_of_all_that_counted(signals: list[Signal]) -> None:
    outcome = combine(signals)
    counted = [found for found in signals if found.value is not None]
    assert (outcome.value is None) == (not counted)
    assert outcome.reasons == tuple(found.reason for found in counted)
    assert outcome.value is None or -1 <= outcome.value <= 1
    assert not (outcome.failed and outcome.succeeded)


@given(SIGNALS, SIGNAL)
def test_more_evidence_against_never_helps_and_more_for_never_harms(signals: list[Signal], more: Signal) -> None:
    before, after = combine(signals).value or 0.0, combine([*signals, more]).value or 0.0
    if more.value is None:
        assert after == before
    elif more.value <= 0:
        assert after <= before + 1e-9
    else:
        assert after >= before - 1e-9


@given(SIGNALS, st.integers(0, 7), st.floats(-1, 1))
def test_a_worse_value_never_gives_a_better_outcome(signals: list[Signal], index: int, value: float) -> None:
    if index < len(signals) and (old := signals[index].value) is not None:
        changed = [*signals[:index], signal(signals[index].source, value), *signals[index + 1 :]]
        before, after = combine(signals).value or 0.0, combine(changed).value or 0.0
        assert (after - before) * (value - old) >= -1e-9


@given(st.permutations([signal("check", 0.5), signal("tool_error", -0.4), signal("judge", -1.0)]))
def test_the_order_does_not_matter(signals: list[Signal]) -> None:
    assert combine(signals).value == pytest.approx(combine(sorted(signals, key=lambda s: s.source)).value)


def test_the_bar_is_where_it_is_said_to_be() -> None:
    assert DECISIVE == 0.5
    assert WEIGHTS["repeated_failure"] > 0.55 > WEIGHTS["tool_error"]


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


async def test_notes_of_many_turns_are_seen_at_once_and_written_together(database: Database) -> None:
    one, other = make_turn(), make_turn()
    await keep(database, one)
    await keep(database, other)
    stored = Signal(one.id, "check", -1.0, "r", "f1")
    ledger.record(database, NAMESPACE, [stored])
    notes = ledger.Notes(database, NAMESPACE)
    again, new = Signal(one.id, "check", 1.0, "read twice", "f1"), Signal(other.id, "feedback", -1.0, "r", "f2")
    notes.add([again, new])
    notes.add([new])
    assert notes.outcome_of(one.id).failed  # the stored one counts, once
    assert notes.outcome_of(other.id).failed
    assert ledger.signals_on(database, NAMESPACE, other.id) == []
    commits: list[str] = []
    notes.write(lambda connection: commits.append("beside"))
    assert ledger.signals_on(database, NAMESPACE, one.id) == [stored]
    assert ledger.signals_on(database, NAMESPACE, other.id) == [new]
    assert commits == ["beside"]
    ledger.record(database, NAMESPACE, [Signal(other.id, "check", 1.0, "r", "f3")])
    assert notes.outcome_of(other.id).succeeded  # what others wrote since is seen


def test_a_signal_needs_a_turn(database: Database) -> None:
    with pytest.raises(StoreError):
        ledger.record(database, NAMESPACE, [signal("feedback", 1.0)])
