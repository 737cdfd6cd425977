"""Who may make a skill active: evidence alone where somebody vouches for its words, else not before somebody does.

In: a catalog and the journal. Out: changes of state. Replays, the hold-out and the curator go through this door to
`active`.
"""

from __future__ import annotations

import dataclasses
import logging

from metaclaw.evolve.corroborate import Voice, corroborated
from metaclaw.evolve.extractive import rule_in
from metaclaw.evolve.kin import failure_of
from metaclaw.evolve.reach import reaches
from metaclaw.evolve.secondhand import secondhand
from metaclaw.evolve.standing import is_vouched_for
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState

log = logging.getLogger(__name__)


def promote(catalog: Catalog, skill: Skill, reason: str) -> bool:
    """Make a proved skill active. False where nobody vouches for its words: it stays on trial, with its proof."""
    if skill.ref in catalog.unvouched():
        log.info("skill %s is proved (%s) and stays on trial: nobody vouches for its words", skill.ref, reason)
        return False
    catalog.change_state(skill, SkillState.ACTIVE, reason)
    return True


def vouch_if_corroborated(database: Database, catalog: Catalog, skill: Skill) -> str:
    """Where enough sessions said the rule of a live skill, evidence may make it active. Returns why; else empty."""
    why = corroborated(rule_in(skill.body), voices_for(database, catalog, skill))
    if why:
        catalog.vouch(skill, why)
        proofs = [verdict.decision for verdict in catalog.verdicts(skill.ref)]
        if catalog.is_proved(skill):
            promote(catalog, skill, f"{why}; {proofs[-1]}")
    return why


def posted_plainly(database: Database, catalog: Catalog, skill: Skill) -> bool:
    """Whether a skill was written from feedback, and nothing tells that its words are somebody else's."""
    failures = (failure_of(turn, database, catalog.namespace) for turn in catalog.support_of(skill))
    said = (one for one in failures if one and one.correction)
    return any(is_vouched_for(dataclasses.replace(one, doubt=secondhand(one))) for one in said)


def voices_for(database: Database, catalog: Catalog, skill: Skill) -> list[Voice]:
    """What was said of the turns that a skill was written from, each in its session; not what was passed on."""
    failures = [failure_of(turn, database, catalog.namespace) for turn in catalog.support_of(skill)]
    return [
        Voice(failure.turn.session, own) for failure in failures
        if failure and not secondhand(failure) and (own := failure.words.own) and not reaches(own)
    ]
