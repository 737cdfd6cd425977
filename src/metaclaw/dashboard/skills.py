"""What was learned in words: every skill with what it is worth, and the whole story of one."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from metaclaw.dashboard.rooms import Asked, Page, Rooms
from metaclaw.errors import RequestError, SkillError
from metaclaw.evolve.exposures import lifts_of, settled_tries
from metaclaw.journal import trajectories
from metaclaw.library.difference import difference
from metaclaw.library.undo import last_step
from metaclaw.signals import ledger
from metaclaw.signals.lift import Lift
from metaclaw.types import LIVE_STATES, Signal, Skill, SkillState, Turn

SHOWN = 50
VIEWS = {
    "use": "In use", "waiting": "Waiting for you", "retired": "Retired", "all": "All",
}
ORDER = (SkillState.CANDIDATE, SkillState.TRIAL, SkillState.ACTIVE, SkillState.RETIRED)


@dataclass(frozen=True, slots=True)
class Waiting:
    """A candidate, why it waits, and what the screen says against it."""

    skill: Skill
    reason: str
    warnings: tuple[str, ...]


@dataclass(frozen=True, slots=True)
class Row:
    """A skill of the list: `lift` under the policy that it was tried under last, None where it never was."""

    skill: Skill
    waits: bool
    unvouched: bool
    lift: Lift | None
    problem: str


@dataclass(frozen=True, slots=True)
class Origin:
    """A failure that a version was written from; `turn` is None where it was erased."""

    ref: str
    turn_id: str
    turn: Turn | None
    said: tuple[str, ...]
    signals: tuple[Signal, ...]


def skills(rooms: Rooms, asked: Asked) -> Page:
    view = asked.fields.get("view", "use")
    view = view if view in VIEWS else "use"
    waiting = {one.skill.name: one for one in waiting_of(rooms)}
    problems = rooms.catalog.mirror.problems()
    every = rooms.catalog.all()
    found = sorted(
        (skill for skill in every if _belongs(skill, view, skill.name in waiting)),
        key=lambda skill: (skill.name not in waiting, ORDER.index(skill.state), skill.name),
    )
    start = min(asked.number("from") or 0, len(found))
    tried, unvouched = settled_tries(rooms.database, rooms.namespace), rooms.catalog.unvouched()
    return Page("skills.html", {
        "rows": [
            Row(skill, skill.name in waiting, is_tried_unvouched(skill, unvouched),
                lift_of(rooms, skill) if tried.get(skill.name) else None, problems.get(skill.name, ""))
            for skill in found[start : start + SHOWN]
        ],
        "waiting": [*waiting.values()] if view in ("use", "waiting") else [],
        "never": {name: why for name, why in problems.items() if name not in {skill.name for skill in every}},
        "view": view, "views": VIEWS, "count": len(found), "start": start,
        "next": start + SHOWN if len(found) > start + SHOWN else None,
        "generation": rooms.catalog.generation(), "holdout_share": rooms.holdout_share,
    })


def skill(rooms: Rooms, asked: Asked) -> Page:
    """One skill. Raises `RequestError` (404) where there is none."""
    name, catalog = asked.named["name"], rooms.catalog
    try:
        versions = catalog.versions(name)
    except SkillError as error:
        raise RequestError(404, "unknown_skill", str(error)) from error
    current, candidate = catalog.get(name), catalog.candidate(name)
    imports = {one.version: one for one in catalog.imports() if one.name == name}
    return Page("skill.html", {
        "skill": current,
        "live": current.state in LIVE_STATES,
        "waiting": _waiting(rooms, candidate) if candidate else None,
        "tried": _waiting(rooms, current) if is_tried_unvouched(current, catalog.unvouched()) else None,
        "pinned": name in catalog.pinned(),
        "problem": catalog.mirror.problems().get(name, ""),
        "lifts": lifts_of(rooms.database, catalog, current.ref),
        "holdout_share": rooms.holdout_share,
        "origins": [one for version in reversed(versions) for one in _origins(rooms, version)],
        "imports": imports,
        "verdicts": [(one, verdict) for one in reversed(versions) for verdict in reversed(catalog.verdicts(one.ref))],
        "versions": versions[::-1],
        "changes": catalog.changes_of(name)[::-1],
        "undo": _undo(versions, rooms, name),
        **_compared(versions, candidate, current, asked),
    })


def waiting_of(rooms: Rooms) -> list[Waiting]:
    return [_waiting(rooms, skill) for skill in rooms.catalog.waiting()]


def lift_of(rooms: Rooms, skill: Skill) -> Lift | None:
    """Under the policy that it was tried under last."""
    return next(iter(lifts_of(rooms.database, rooms.catalog, skill.ref).values()), None)


def lines_of(text: str) -> Iterator[tuple[str, str]]:
    """A unified diff's lines, each with what it is: `file`, `place`, `more`, `less` or `same`."""
    for line in text.splitlines():
        if line.startswith(("---", "+++")):
            yield "file", line
        else:
            yield {"@": "place", "+": "more", "-": "less"}.get(line[:1], "same"), line


def _belongs(skill: Skill, view: str, waits: bool) -> bool:
    if view == "waiting":
        return waits
    if view == "retired":
        return skill.state is SkillState.RETIRED
    return view == "all" or skill.state in LIVE_STATES


def is_tried_unvouched(skill: Skill, unvouched: frozenset[str]) -> bool:
    """Whether it is on trial until somebody vouches for it."""
    return skill.state is SkillState.TRIAL and skill.ref in unvouched


def _waiting(rooms: Rooms, skill: Skill) -> Waiting:
    changes = [one for one in rooms.catalog.changes_of(skill.name) if one.version == skill.version]
    return Waiting(skill, changes[-1].reason if changes else "", tuple(rooms.warnings(skill)))


def _origins(rooms: Rooms, version: Skill) -> Iterator[Origin]:
    for turn_id in rooms.catalog.support_of(version):
        said = trajectories.feedback_on(rooms.database, rooms.namespace, turn_id)
        signals = ledger.signals_on(rooms.database, rooms.namespace, turn_id)
        yield Origin(
            version.ref, turn_id, trajectories.turn(rooms.database, rooms.namespace, turn_id),
            tuple(one.text for one in said if one.text), tuple(one for one in signals if one.value is not None),
        )


def _undo(versions: list[Skill], rooms: Rooms, name: str) -> str:
    """What rolling back would do, in words; '' where there is nothing to undo."""
    step = last_step(versions, rooms.catalog.changes_of(name))
    if step is None:
        return ""
    if step.leaves is None:
        return "It was taken out of use: rolling back brings it into use again."
    others = ", and what was merged into it comes back" if step.merged else ""
    if step.returns is None:
        return f"Version {step.leaves.version} leaves, and nothing of this name is live then{others}."
    return f"Version {step.leaves.version} leaves, and version {step.returns.version} is live again{others}."


def _compared(versions: list[Skill], candidate: Skill | None, current: Skill, asked: Asked) -> dict[str, Any]:
    """Two versions and their difference: those asked for, else what waits with what is live, else the last two."""
    by_number = {one.version: one for one in versions}
    new = by_number.get(asked.number("new") or 0) or candidate or versions[-1]
    old = by_number.get(asked.number("old") or 0)
    if old is None and candidate and new is candidate and current.version != candidate.version:
        old = current
    if old is None:
        old = next((one for one in reversed(versions) if one.version < new.version), None)
    text = difference(old, new) if old else ""
    return {"old": old, "new": new, "diff": [*lines_of(text)]}
