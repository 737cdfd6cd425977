"""The canary's test: an equal one is seldom taken back, a bad one soon, and evidence against it holds it back."""

from __future__ import annotations

import random

import pytest

from metaclaw.serving.trial import Bar, Session, Step, decide, evidence_of, lift_in

SHARE = 0.25


def trial(seed: int, n: int, fails: float, canary_fails: float) -> list[Session]:
    source = random.Random(seed)
    drawn = [source.random() < SHARE for _ in range(n)]
    return [
        Session(str(number), canary, source.random() < (canary_fails if canary else fails))
        for number, canary in enumerate(drawn)
    ]


def ever(step: Step, sessions: list[Session], bar: Bar) -> bool:
    looks = range(10, len(sessions) + 1, 10)
    return any(decide(lift_in(sessions[:look], SHARE), 0, bar)[0] is step for look in looks)


def test_an_equal_canary_is_taken_back_in_one_trial_of_twenty_at_most() -> None:
    never = Bar(10**9, 1e9)
    back = sum(ever(Step.BACK, trial(seed, 160, 0.3, 0.3), never) for seed in range(100))
    assert back <= 5


def test_a_canary_that_fails_mostly_is_taken_back_before_it_serves_all() -> None:
    bar = Bar(20, 1e9)
    for seed in range(20):
        sessions = trial(seed, 160, 0.1, 0.9)
        steps = [decide(lift_in(sessions[:n], SHARE), 0, bar)[0] for n in range(10, 161, 10)]
        assert next(step for step in steps if step is not Step.GO_ON) is Step.BACK


def test_enough_sessions_or_enough_time_pass_it() -> None:
    good = trial(1, 40, 0.1, 0.1)
    lift = lift_in(good, SHARE)
    ours = sum(session.canary for session in good)
    assert decide(lift, 0, Bar(ours, 3600))[0] is Step.PASS
    assert decide(lift, 0, Bar(ours + 1, 3600))[0] is Step.GO_ON
    step, told = decide(lift, 5400, Bar(ours + 1, 3600))
    assert step is Step.PASS
    assert told.endswith(", in 1.5 hours")
    assert decide(lift_in([], SHARE), 3601, Bar(20, 3600))[0] is Step.PASS


def test_evidence_against_it_holds_it_back_also_when_its_time_is_over() -> None:
    sessions = trial(3, 160, 0.05, 0.7)
    held = [
        n for n in range(4, 160)
        if 4 <= lift_in(sessions[:n], SHARE).e_below(0.0) < 20
    ]
    assert held
    assert decide(lift_in(sessions[: held[0]], SHARE), 1e9, Bar(1, 1.0))[0] is Step.GO_ON


def test_the_evidence_is_told_in_both_arms_figures() -> None:
    sessions = [Session("a", True, True), Session("b", False, False), Session("c", False, True)]
    told = evidence_of(lift_in(sessions, SHARE))
    assert (told["n"], told["canary"], told["beside"]) == (
        3, {"sessions": 1, "failed": 1}, {"sessions": 2, "failed": 1}
    )
    assert told["confidence"] == pytest.approx(1 - 1 / max(1.0, told["e_harm"]), abs=1e-3)
