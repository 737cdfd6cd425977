"""How a canary does: its sessions and those of the incumbent, at the same time, told apart by a coin alone. Pure.

In: the sessions of a trial in the order in which they began, each with its arm and whether it failed. Out: whether the
canary goes on, serves all, or goes. The test may be looked at at any moment (`signals.lift`): a canary that does as
well as the incumbent is ever taken back with a chance of at most 1 in 20, however long the trial.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from enum import StrEnum
from typing import Any

from metaclaw.signals.lift import HARMS_E, Lift, Try, lift_of

HOLD_E = 4.0  # evidence of harm with which no canary passes: it would be there by chance in at most one of four trials


class Step(StrEnum):
    GO_ON = "go on"
    PASS = "pass"  # noqa: S105 - no password
    BACK = "back"


@dataclass(frozen=True, slots=True)
class Bar:
    """What a canary needs to serve all: so many sessions of its own, or so much time."""

    sessions: int
    seconds: float


@dataclass(frozen=True, slots=True)
class Session:
    """`canary`: the coin gave it to the canary."""

    name: str
    canary: bool
    failed: bool


def lift_in(sessions: Sequence[Session], share: float) -> Lift:
    """The failures that the canary prevents; below 0, it makes them. The incumbent's sessions go without the canary."""
    return lift_of([Try(1 - share, not one.canary, one.failed) for one in sessions])


def decide(lift: Lift, seconds: float, bar: Bar) -> tuple[Step, str]:
    """What to do now, and why, in words."""
    with_it, without = lift.with_skill, lift.without
    told = f"{with_it.failed} of {with_it.n} sessions failed, against {without.failed} of {without.n} beside it"
    against = lift.e_below(0.0)  # not `harms`, which also hears of what turned harmful, and errs once in so many tries
    if against >= HARMS_E:
        return Step.BACK, told
    if against >= HOLD_E:
        return Step.GO_ON, told
    if with_it.n >= bar.sessions:
        return Step.PASS, told
    if seconds >= bar.seconds:
        return Step.PASS, f"{told}, in {seconds / 3600:.1f} hours"
    return Step.GO_ON, told


def evidence_of(lift: Lift) -> Mapping[str, Any]:
    """As a verdict tells it. `confidence` is that the canary does harm, by the evidence against that it does none."""
    against = lift.e_below(0.0)
    return {
        "n": lift.n, "effect": round(lift.effect, 4), "confidence": round(1 - 1 / max(1.0, against), 4),
        "canary": {"sessions": lift.with_skill.n, "failed": lift.with_skill.failed},
        "beside": {"sessions": lift.without.n, "failed": lift.without.failed},
        "interval": lift.interval, "e_harm": round(against, 3), "bar_e": HARMS_E,
    }
