"""The state machine of the slow loop: resting, working or paused. Pure: what was, and a window, give what to do."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, replace
from enum import Enum


class Phase(Enum):
    RESTING = "resting"
    WORKING = "working"
    PAUSED = "paused"


class Act(Enum):
    NOTHING = "nothing"
    START = "start"
    PAUSE = "pause"
    RESUME = "resume"


class End(Enum):
    """How a job ended: done, failed, or lost: to another learner, or since the library changed under it. After that the
    next one may begin without a visit of the user.
    """

    DONE = "done"
    FAILED = "failed"
    LOST = "lost"


@dataclass(frozen=True, slots=True)
class State:
    """`failed`: the last job did, and nothing was heard of the user since. It would fail again; so it waits."""

    phase: Phase = Phase.RESTING
    failed: bool = False

    @property
    def going(self) -> bool:
        return self.phase is Phase.WORKING


def step(state: State, is_open: bool, ready: Callable[[], bool]) -> tuple[State, Act]:
    """What to do now. `ready` is asked only where the answer matters: it may be costly."""
    if state.phase is Phase.WORKING and not is_open:
        return replace(state, phase=Phase.PAUSED), Act.PAUSE
    if state.phase is Phase.PAUSED and is_open:
        return replace(state, phase=Phase.WORKING), Act.RESUME
    if state.phase is Phase.RESTING and is_open and not state.failed and ready():
        return replace(state, phase=Phase.WORKING), Act.START
    return state, Act.NOTHING


def ended(state: State, how: End) -> State:
    return State(Phase.RESTING, failed=how is End.FAILED)


def heard(state: State) -> State:
    """The user was there, or asked: what failed may be tried again."""
    return replace(state, failed=False)
