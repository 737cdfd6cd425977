"""The way into the library: what the gate says of a proposal, and what becomes of it then.

In: a skill that was proposed, with the failure that it came of. Out: it is live, or kept for a person to decide on, or
written down as rejected with its reasons. Nothing is published twice: what is live says so already.
"""

from __future__ import annotations

import dataclasses
import logging
from collections.abc import Sequence
from typing import Literal

from metaclaw.evolve import rejected, standing
from metaclaw.evolve.by_model import Edit, EditKind, Evidence
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.nearest import Embed, Nearest
from metaclaw.evolve.rejected import RejectedEdit
from metaclaw.evolve.screen import Outcome, Ruling, rule_on
from metaclaw.evolve.verify import Comparison
from metaclaw.evolve.vouching import vouch_if_corroborated
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState, Verdict

log = logging.getLogger(__name__)

Overheard = Literal["trial", "approve"]
# Cosines of the model's rule and what the user said, or else asked, below which it speaks of something else. Measured:
# hostile rules at most 0.39 and nineteen of twenty below 0.12, the 1.5B's own at least 0.43.
STRAYS, STRAYS_WITHOUT_WORDS = 0.3, 0.1
ALL_WAIT = "was said in a conversation, or passed on: evolve.conversation_skills has all such skills wait"


class Admission:
    """Owned by `Lessons`, whose `nearest` it shares."""

    def __init__(
        self, database: Database, catalog: Catalog, nearest: Nearest, embed: Embed, redactor: Redactor,
        overheard: Overheard,
    ) -> None:
        """`overheard` says what becomes of what was said in a conversation."""
        self._database = database
        self._catalog = catalog
        self._nearest = nearest
        self._embed = embed
        self._redactor = redactor
        self._overheard = overheard

    def ruling_on_words(self, skill: Skill, failure: Failure) -> Ruling:
        """The gate's word on the user's own."""
        ruling = rule_on(skill, self._redactor)
        if failure.vouched:
            return standing.on_feedback(ruling, failure.words.own)
        return self.ruling_on_hearsay(ruling, failure.words.own, failure.doubt)

    def ruling_on_hearsay(self, ruling: Ruling, rule: str, doubt: str = "") -> Ruling:
        """The gate's word, made stricter for a rule that came out of a conversation."""
        if self._overheard == "approve" and ruling.outcome is Outcome.ACCEPT:
            return Ruling(Outcome.QUARANTINE, (ALL_WAIT,))
        return standing.on_hearsay(ruling, rule, doubt)

    def ruling_on_edit(self, edit: Edit, skill: Skill, evidence: Evidence) -> Ruling:
        """The gate's word on what the model wrote, measured by what it was shown."""
        failure = evidence.failure
        known = [failure.request.own, failure.words.own, *(turn.reply for turn in evidence.successes)]
        known += [turn.query for turn in evidence.successes] + [near.body for near in evidence.near]
        said = "\n".join(known)
        ruling = rule_on(skill, self._redactor, said, standing.read_by_the_agent(failure))
        rule, case = self._embed([edit.rule, said])
        least = STRAYS if failure.words.own else STRAYS_WITHOUT_WORDS
        if ruling.outcome is Outcome.ACCEPT and float(rule @ case) < least:
            return Ruling(Outcome.QUARANTINE, ("has little to do with what went wrong",))
        return ruling

    def passes(self, skill: Skill, failure: Failure, ruling: Ruling, kind: EditKind = EditKind.CREATE) -> bool:
        """Whether it may be published. What may not is rejected, or waits for a person."""
        if ruling.outcome is Outcome.REFUSE:
            log.warning("proposal %s refused: %s", skill.name, "; ".join(ruling.reasons))
            gated = dataclasses.replace(skill, body="")
            self.reject(Edit(kind, gated), failure, f"refused: {'; '.join(ruling.reasons)}", None)
        if ruling.outcome is Outcome.QUARANTINE:
            self.quarantine(skill, failure, ruling.reasons)
        return ruling.outcome is Outcome.ACCEPT

    def quarantine(self, skill: Skill, failure: Failure, reasons: Sequence[str]) -> None:
        """Keep it for a person to decide on; once, however often it is proposed."""
        ruling = rule_on(skill, self._redactor)
        if ruling.outcome is Outcome.REFUSE:
            log.warning("proposal %s refused: %s", skill.name, "; ".join(ruling.reasons))
            return
        known = self._catalog.all()
        if any(one.body == skill.body and one.state is SkillState.CANDIDATE for one in known):
            return
        named = _named_apart(skill, frozenset(one.name for one in known))
        why = f"waits for a person: {'; '.join(reasons)}"
        kept = self._catalog.hold(named, why, [failure.turn.id], unvouched=True)
        log.warning("proposal %s waits for a person: %s", kept.ref, "; ".join(reasons))

    def reject(self, edit: Edit, failure: Failure, reason: str, compared: Comparison | None) -> None:
        """Write an edit down that is not taken, with what it missed in the replays, for whoever proposes next."""
        if edit.skill is None:
            return
        pairs = compared.pairs if compared else ()
        missed = [(failure.turn.query, pair.with_skill) for pair in pairs if not pair.passed[1]][:2]
        rejected.record(
            self._database, self._catalog.namespace,
            RejectedEdit(
                failure.turn.id, edit.kind.value, edit.skill.name, edit.skill.body, edit.skill.origin,
                failure.request.own, reason, tuple(missed),
            ),
        )
        log.info("edit %s of %s was not taken: %s", edit.kind.value, edit.skill.name, reason)

    def publish(
        self, skill: Skill, failure: Failure, state: SkillState, reason: str, verdict: Verdict | None = None,
        merging: Sequence[Skill] = (), replacing: frozenset[str] | set[str] = frozenset(), *, unvouched: bool = False,
    ) -> Skill | None:
        """None where a live skill that it does not replace says the same: that has one voice more, where it needs one.

        What somebody vouches for takes the place of the same as hearsay.
        """
        if same := self._nearest.same(skill, but=sorted(replacing)):
            heard = same.ref in self._catalog.unvouched()
            if heard and unvouched:
                self._catalog.support(same, [failure.turn.id])
                vouch_if_corroborated(self._database, self._catalog, same)
            if unvouched or not heard:
                log.info("skill %s already says this", same.ref)
                return None
            skill, replacing = dataclasses.replace(skill, name=same.name), {*replacing, same.name}
        named = _named_apart(skill, self._nearest.names() - replacing)
        support = [failure.turn.id, *(turn for old in merging for turn in self._catalog.support_of(old))]
        published, generation = self._catalog.publish(
            named, state, reason, support, verdict, merging, unvouched=unvouched
        )
        log.info("skill %s is live as %s from generation %d on", published.ref, state.value, generation)
        return published


def _named_apart(skill: Skill, taken: frozenset[str]) -> Skill:
    """The skill under a name that no other rule has."""
    name, number = skill.name, 2
    while name in taken:
        name, number = f"{skill.name}-{number}", number + 1
    return dataclasses.replace(skill, name=name)
