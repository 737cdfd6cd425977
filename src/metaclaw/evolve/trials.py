"""When does a skill end by what happens under it? A trial with failures, or with a comparison that it lost; a program
with failures of a model that it was offered to, and that left it uncalled.

What nobody vouches for ends with the first failure. A rule that somebody posted, or vouches for, is not contradicted by
a model that fails with it as it does without: a weak one fails at most of what it is asked, and users then explain the
same rule again by the case at hand. It ends where it does harm, where the user says that what holds on its subject has
changed, or when the model has failed `PATIENCE` times under it and never done well.

A tool that is only offered changes what a small model says. Measured on the embedded one: beside a program that was
right in all its tests, and that it never called, it did 3 of 22 tasks well; by the rule's words alone 41 of 42. So a
program ends, proved or not, when it was offered in `OFFERS` turns that failed, with none between them that is known to
have gone well, and was called in none of them.
"""

from __future__ import annotations

from collections.abc import Sequence

from metaclaw.evolve.failure import Failure
from metaclaw.evolve.hearing import Heard, is_to_blame
from metaclaw.evolve.parts import speaks_of_change
from metaclaw.evolve.verify import MENDS_NOTHING, Comparison
from metaclaw.evolve.vouching import posted_plainly
from metaclaw.journal import trajectories
from metaclaw.library.catalog import Catalog
from metaclaw.library.mirror import PERSON
from metaclaw.signals import ledger
from metaclaw.store import Database
from metaclaw.types import Skill, SkillKind, SkillState

PATIENCE = 5
OFFERS = 4
LOOKED_AT = 40  # turns with the program, the newest: what became of most is not known
UNCALLED = f"offered in {OFFERS} turns that failed, and called in none"


class Trials:
    """Of one namespace."""

    def __init__(self, database: Database, catalog: Catalog) -> None:
        self._database = database
        self._catalog = catalog

    def end(self, failure: Failure, heard: Sequence[Heard]) -> dict[str, Skill]:
        """End those that this failure ends, unless the user speaks of other things. Returns what ended, by ref."""
        if not failure.turn.skills:
            return {}
        ended = {
            skill.ref: skill for skill in self._catalog.live()
            if skill.state is SkillState.TRIAL and is_to_blame(skill, failure, heard)
            and not self._catalog.is_proved(skill)  # a comparison has spoken for it
            and (_has_changed(skill, heard) or not self._is_bearable(skill))
        }
        for skill in ended.values():
            self._catalog.change_state(skill, SkillState.RETIRED, f"failed while on trial, in {failure.turn.id}")
        return ended

    def put_away(self, failure: Failure) -> list[Skill]:
        """End the programs that this failure shows to be of no use to the model. Returns them."""
        offered = failure.turn.tools.offered if failure.turn.tools else ()
        if not offered:
            return []
        pinned = self._catalog.pinned()
        ended = [
            skill for skill in self._catalog.live()
            if skill.kind is SkillKind.CODE and skill.ref in offered and skill.name not in pinned
            and skill.origin != PERSON and self._is_left_aside(skill)
        ]
        for skill in ended:
            self._catalog.change_state(skill, SkillState.RETIRED, UNCALLED)
        return ended

    def outlives(self, skill: Skill, lost: Comparison) -> bool:
        """Whether a comparison that a skill lost leaves it on trial."""
        return lost.decision == MENDS_NOTHING and not self._is_hearsay(skill)

    def give_way(self, turn_id: str, program: Skill) -> None:
        """End those of a failure that a program, proved, now mends."""
        for skill in self._catalog.made_from(turn_id):
            if skill.state is SkillState.TRIAL and skill.kind is SkillKind.INSTRUCTION:
                self._catalog.change_state(skill, SkillState.RETIRED, f"did not mend what {program.ref} does")

    def _is_left_aside(self, program: Skill) -> bool:
        namespace = self._catalog.namespace
        turns = trajectories.turns_offered(self._database, namespace, program.ref, LOOKED_AT)
        outcomes = [(ledger.outcome_of(self._database, namespace, turn_id), called) for turn_id, called in turns]
        last = [(outcome.failed, called) for outcome, called in outcomes if outcome.decided][:OFFERS]
        return len(last) == OFFERS and all(failed and not called for failed, called in last)

    def _is_bearable(self, skill: Skill) -> bool:
        if skill.kind is not SkillKind.INSTRUCTION or self._is_hearsay(skill):
            return False
        namespace = self._catalog.namespace
        turns = trajectories.turns_with_skill(self._database, namespace, skill.ref, PATIENCE)
        outcomes = [ledger.outcome_of(self._database, namespace, turn_id) for turn_id in turns]
        return len(outcomes) < PATIENCE or not all(one.failed for one in outcomes)

    def _is_hearsay(self, skill: Skill) -> bool:
        """Whether nobody vouches for its words, nor posted them plainly: a claim that shows no answer is a user's."""
        return skill.ref in self._catalog.unvouched() and not posted_plainly(self._database, self._catalog, skill)


def _has_changed(skill: Skill, heard: Sequence[Heard]) -> bool:
    said = (one.failure.words.own for one in heard if skill.ref in one.subjects and not one.known)
    return any(map(speaks_of_change, said))
