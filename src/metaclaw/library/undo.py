"""What rolling a skill back means: the last change of what was live by its name, found in its history. Pure."""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from dataclasses import dataclass

from metaclaw.library.mirror import says_the_same
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


def last_step(versions: Sequence[Skill], changes: Sequence[Change]) -> Step | None:
    """How to undo the last change of what is live; None where there is nothing to undo."""
    live = next((skill for skill in versions if skill.state in LIVE_STATES), None)
    if live is not None:
        began = next(change for change in changes if change.version == live.version and change.new in LIVE_STATES)
        return Step(live, _replaced_by(live, versions, changes), began.generation, began.cause == MERGE)
    ended = next((change for change in reversed(changes) if change.old in LIVE_STATES), None)
    if ended is None or ended.cause == ROLLBACK:
        return None
    gone = next(skill for skill in versions if skill.version == ended.version)
    return Step(None, dataclasses.replace(gone, state=ended.old or SkillState.TRIAL), ended.generation, merged=False)


def _replaced_by(live: Skill, versions: Sequence[Skill], changes: Sequence[Change]) -> Skill | None:
    """The version that was live before, unless its text was retired for itself and not brought back since."""
    by_version = {skill.version: skill for skill in versions}
    for change in reversed(changes):
        skill = by_version[change.version]
        if change.new not in LIVE_STATES or says_the_same(skill, live):
            continue
        last = next(c for c in reversed(changes) if says_the_same(by_version[c.version], skill))
        if last.new in LIVE_STATES:
            return dataclasses.replace(skill, state=last.new)
    return None
