"""The simulated days of the scheduler: a few hundred here, ten thousand in the bench; and they notice what is wrong."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from datetime import datetime
from typing import Any

import pytest

from metaclaw.bench.scheduling import days
from metaclaw.scheduler import leases, machine
from metaclaw.scheduler.machine import Act, Phase, State
from metaclaw.scheduler.windows import Activity, Rule, Senses, Window, window


def test_three_hundred_seeds_keep_every_invariant() -> None:
    broken, counts, slowest = days.play_all(range(300))
    assert broken == {}
    assert 0 < slowest <= days.SECOND_BY
    assert min(counts[name] for name in ("pause", "resume", "done", "failed", "crashes")) > 30


def deaf(now: datetime, activity: Activity, senses: Senses, rule: Rule, **how: Any) -> Window:
    return window(now, activity, replace(senses, last_input=None), rule, **how)


def unplugged(now: datetime, activity: Activity, senses: Senses, rule: Rule, **how: Any) -> Window:
    return window(now, activity, replace(senses, on_battery=None), rule, **how)


def utc_nights(now: datetime, activity: Activity, senses: Senses, rule: Rule, **how: Any) -> Window:
    return window(now, activity, senses, replace(rule, zone=None), **how)


def short_windows(now: datetime, activity: Activity, senses: Senses, rule: Rule, **how: Any) -> Window:
    return window(now, activity, senses, replace(rule, min_seconds=0), **how)


def stays_in(phase: Phase, step: Callable[..., tuple[State, Act]] = machine.step) -> Callable[..., tuple[State, Act]]:
    """The state machine that does not leave a phase by itself."""
    return lambda state, is_open, ready: (
        (state, Act.NOTHING) if state.phase is phase else step(state, is_open, ready)
    )


@pytest.mark.parametrize(
    ("owner", "name", "wrong", "said"),
    [
        (days, "window", deaf, "outside a window"),
        (days, "window", unplugged, "outside a window"),
        (days, "window", utc_nights, "outside a window"),
        (days, "window", short_windows, "too little of the window is left"),
        (days, "after_step", lambda activity, before, now: activity, "outside a window"),
        (machine, "step", stays_in(Phase.WORKING), "outside a window"),
        (machine, "step", stays_in(Phase.PAUSED), "a job is lost"),
        (leases, "may_take", lambda lease, owner, now: True, "two learners train"),
        (leases, "may_take", lambda lease, owner, now: lease.owner == owner, "a job is lost"),
    ],
)
def test_what_is_wrong_is_noticed(
    monkeypatch: pytest.MonkeyPatch, owner: Any, name: str, wrong: Any, said: str
) -> None:
    monkeypatch.setattr(owner, name, wrong)
    assert any(said in line for seed in range(150) for line in days.play(seed).broken)

