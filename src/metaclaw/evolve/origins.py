"""The failures that each live skill was written from, kept as what may be compared, and the pairs that are alike.

In: a catalog and the journal. Out: for a skill that changed, the live skill that teaches the same rule, if one does. A
look costs what the library changed since the last, and one multiplication.
"""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Iterator

import numpy as np

from metaclaw.context.text import facets
from metaclaw.evolve.alike import SHARED_END, Embed, Origin, link, origins_of
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.kin import failure_of
from metaclaw.evolve.parts import about, rule_of
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill, SkillKind

MOST_CASES = 48  # of a skill, the newest
MOST_FAILED = 256  # skills whose trial failed, the newest: a restart forgets them
FAILED = "failed while on trial"  # how the reason of such an end begins


class Origins:
    """Owned by the curator, of one namespace."""

    def __init__(self, database: Database, catalog: Catalog, embed: Embed) -> None:
        self._database = database
        self._catalog = catalog
        self._embed = embed
        self._position = 0
        self._changed: OrderedDict[str, Skill] = OrderedDict()
        self._skills: dict[str, Skill] = {}  # those that were looked at
        self._origins: dict[str, list[Origin]] = {}
        self._failed: OrderedDict[str, list[Origin]] = OrderedDict()  # by ref
        self._known: dict[str, Origin] = {}  # by turn

    def follow(self) -> None:
        """Hear of what changed."""
        changes = self._catalog.changes(self._position)
        self._position = changes.position
        for name in changes.names:
            self._changed.pop(name, None)
            skill, cases = self._skills.pop(name, None), self._origins.pop(name, [])
            self._known |= {case.turn_id: case for case in cases}
            if skill and self._catalog.history(name)[-1][4].startswith(FAILED):
                self._failed[skill.ref] = cases
                if len(self._failed) > MOST_FAILED:
                    self._failed.popitem(last=False)
        for skill in changes.live:
            if skill.kind is SkillKind.INSTRUCTION:
                self._changed[skill.name] = skill

    def looks(self, most: int) -> Iterator[Skill]:
        """The changed skills, the oldest change first, at most so many. Each is looked at once."""
        for _ in range(most):
            self.follow()
            if not self._changed:
                break
            name, skill = self._changed.popitem(last=False)
            if cases := self._read(skill):
                self._skills[name], self._origins[name] = skill, cases
                yield skill
        else:
            return
        self._known.clear()

    def of(self, skill: Skill) -> list[Origin]:
        return self._origins.get(skill.name, [])

    def fits(self, one: Skill, other: Skill) -> dict[str, float]:
        """By name: how near each one's text is to what either was asked for."""
        asked = np.stack([case.asked for case in (*self.of(one), *self.of(other))])
        nearness = (asked @ self._embed([facets(one)[2], facets(other)[2]]).T).mean(axis=0)
        return {one.name: float(nearness[0]), other.name: float(nearness[1])}

    def failed_before(self, skill: Skill, least: float) -> tuple[str, list[Origin]] | None:
        """The ref and the cases of a skill whose trial failed and that taught the same rule in other words. Once."""
        links = {ref: link(self.of(skill), cases) for ref, cases in self._failed.items()}
        ref = max(links, key=links.__getitem__, default="")
        return (ref, self._failed.pop(ref)) if ref and links[ref] >= least else None

    def nearest(self, skill: Skill, least: float) -> tuple[Skill, float] | None:
        """The most alike of those looked at, with how alike it is; None where none is so alike."""
        mine, names = self.of(skill), [name for name in self._origins if name != skill.name]
        if not mine or not names:
            return None
        sizes = [len(self._origins[name]) for name in names]
        theirs = np.concatenate([np.stack([case.vector for case in self._origins[name]]) for name in names])
        cosines = (theirs @ np.stack([case.vector for case in mine]).T).max(axis=1)
        best = np.maximum.reduceat(cosines, np.cumsum([0, *sizes[:-1]]))
        likely = [names[row] for row in np.flatnonzero(best >= least - SHARED_END).tolist()]
        found = max(((link(mine, self._origins[name]), name) for name in likely), default=(-1.0, ""))
        return (self._skills[found[1]], found[0]) if found[0] >= least else None

    def _read(self, skill: Skill) -> list[Origin]:
        turns = self._catalog.support_of(skill)[-MOST_CASES:]
        new = [turn for turn in turns if turn not in self._known]
        failures = [failure_of(turn, self._database, self._catalog.namespace) for turn in new]
        fresh = origins_of([_told(about(found, rule_of(skill))) for found in failures if found], self._embed)
        known = {turn: self._known[turn] for turn in turns if turn in self._known} | {c.turn_id: c for c in fresh}
        return [known[turn] for turn in turns if turn in known]


def _told(failure: Failure) -> tuple[str, str, str, str]:
    return failure.turn.id, failure.turn.query, failure.correction, failure.expected
