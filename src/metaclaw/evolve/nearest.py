"""Which live skills are near a text? Their vectors are kept here, and changed by what changes in the library.

In: a catalog and an embedder. Out: the skill that says the same, or the nearest few. A look costs what the library
changed since the last, and one multiplication; embedding the whole library at each publish would cost a second at
20,000 skills.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence

import numpy as np
import numpy.typing as npt

from metaclaw.evolve.parts import differ_in_particulars, rule_of
from metaclaw.library.catalog import Catalog
from metaclaw.types import Skill, SkillKind

Vectors = npt.NDArray[np.float32]
Embed = Callable[[Sequence[str]], Vectors]
SAME_RULE = 0.8  # cosine of two skills' texts above which they say the same thing
NEAR = 0.4  # the same between a skill's text and a request with what was said of it: worth a look
AT_ONCE = 512  # texts embedded in one go


class Nearest:
    """Owned by the fast loop, of one namespace."""

    def __init__(self, catalog: Catalog, embed: Embed) -> None:
        self._catalog = catalog
        self._embed = embed
        self._position = 0
        self._skills: list[Skill] = []
        self._rows: dict[str, int] = {}
        self._vectors: Vectors = np.zeros((0, 0), dtype=np.float32)  # row i is of `_skills[i]`; spare rows follow

    def follow(self) -> None:
        """Take in what changed."""
        changes = self._catalog.changes(self._position)
        self._position = changes.position
        for name in changes.names:
            self._drop(name)
        for start in range(0, len(changes.live), AT_ONCE):
            some = changes.live[start : start + AT_ONCE]
            for skill, vector in zip(some, self._embed([_told(skill) for skill in some]), strict=True):
                self._add(skill, vector)

    def names(self) -> frozenset[str]:
        """The names of all live skills."""
        self.follow()
        return frozenset(self._rows)

    def ranked(self, text: str) -> list[tuple[Skill, float]]:
        """The live instruction skills with what their rules have in common with a text, the nearest first."""
        return [(skill, cosine) for skill, cosine in self._ranked(text, 0.0) if skill.kind is SkillKind.INSTRUCTION]

    def same(self, skill: Skill, *, but: Sequence[str] = ()) -> Skill | None:
        """The live skill that says the same, if there is one; those named `but` aside. What says it of other things
        does not: 'in cm' beside 'in mm'."""
        found = (near for near, cosine in self._ranked(_told(skill), SAME_RULE) if near.name not in but)
        return next((near for near in found if not differ_in_particulars(_told(skill), _told(near))), None)

    def near(self, text: str, most: int) -> list[Skill]:
        """The instruction skills nearest to a text, the nearest first."""
        found = [skill for skill, _ in self._ranked(text, NEAR) if skill.kind is SkillKind.INSTRUCTION]
        return found[:most]

    def _ranked(self, text: str, least: float) -> list[tuple[Skill, float]]:
        self.follow()
        if not self._skills:
            return []
        cosines = self._vectors[: len(self._skills)] @ self._embed([text])[0]
        rows = np.flatnonzero(cosines >= least)
        ordered = rows[np.argsort(-cosines[rows], kind="stable")]
        return [(self._skills[row], float(cosines[row])) for row in ordered.tolist()]

    def _add(self, skill: Skill, vector: npt.NDArray[np.float32]) -> None:
        row = len(self._skills)
        if row >= len(self._vectors):
            grown = np.zeros((max(64, 2 * row), len(vector)), dtype=np.float32)
            grown[:row] = self._vectors[:row] if row else 0
            self._vectors = grown
        self._vectors[row] = vector
        self._skills.append(skill)
        self._rows[skill.name] = row

    def _drop(self, name: str) -> None:
        """The last row takes the place of the one that goes."""
        row = self._rows.pop(name, None)
        if row is None:
            return
        last = self._skills.pop()
        if row < len(self._skills):
            self._skills[row], self._rows[last.name] = last, row
            self._vectors[row] = self._vectors[len(self._skills)]


def _told(skill: Skill) -> str:
    """The rule that it states, without the case that it was said of: two rules that were said of one request differ."""
    return rule_of(skill)
