"""What rolling a skill back means: the last change of what was live by its name, found in its history. Pure.

The history is read as a stack of what was live: going live puts a version on top, being retired puts "nothing" on top,
and rolling back takes the top away. So undoing goes further back each time, and never forward.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from metaclaw.types import LIVE_STATES, Skill, SkillState

# What kind of act a change was, where undoing it depends on that.
ROLLBACK, MERGE, RETIRE, DELETED = "rollback", "merge", "retire", "deleted"


@dataclass(frozen=True, slots=True)
class Change:
    """One row of a skill's history."""

    generation: int
    version: int
    old: SkillState | None
    new: SkillState
    reason: str
    created_at: float
    cause: str


@dataclass(frozen=True, slots=True)
class Step:
    """Undoing takes `leaves` out of use and brings `returns` back, in the state that it carries.

    `merged` tells that others went with the change, in `generation`.
    """

    leaves: Skill | None
    returns: Skill | None
    generation: int
    merged: bool


@dataclass(frozen=True, slots=True)
class _Live:
    """A version that was live, in its last state then; None for nothing. `began` is the change that made it so."""

    skill: Skill | None
    began: Change


def last_step(versions: Sequence[Skill], changes: Sequence[Change]) -> Step | None:
    """How to undo the last change of what is live; None where there is nothing to undo."""
    stack = _stack({skill.version: skill for skill in versions}, changes)
    if not stack:
        return None
    top, below = stack[-1], stack[-2] if len(stack) > 1 else None
    merged = top.skill is not None and top.began.cause == MERGE
    return Step(top.skill, below.skill if below else None, top.began.generation, merged)


def _stack(versions: dict[int, Skill], changes: Sequence[Change]) -> list[_Live]:
    stack: list[_Live] = []
    for change in changes:
        was, is_now = change.old in LIVE_STATES, change.new in LIVE_STATES
        now = _Live(dataclasses.replace(versions[change.version], state=change.new), change)
        if was and is_now:
            stack[-1] = dataclasses.replace(now, began=stack[-1].began)
        elif is_now and change.cause == ROLLBACK:
            if stack and stack[-1].skill is None:
                stack.pop()
            stack[-1:] = [now]  # it stands for the version that came back
        elif is_now:
            stack.append(now)
        elif was and change.cause == ROLLBACK:
            stack.pop()
        elif was:
            stack.append(_Live(None, change))
    return stack
