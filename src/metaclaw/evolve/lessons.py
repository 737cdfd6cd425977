"""What becomes of a failure: a skill at once, its verification, and the model's edit. The loop decides when.

At once, without a model: the user's own words as a skill on trial. Then replays confirm it (`active`), contradict it
(`retired`, and the model proposes), or cannot tell; `trials` says what outlives that. What came out of a conversation,
or was posted and may be passed on, stays on trial, proved or not, until somebody vouches for it (`standing`,
`secondhand`, `corroborate`). A confirmed skill in the user's words stands in until the model's version of it proves
better. What the static gate does not let through by itself is kept as a candidate for a person; what is not taken is
written down with its reasons.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
from collections.abc import Mapping, Sequence
from typing import Literal

from metaclaw.context.compose import compose, estimate_tokens
from metaclaw.evolve import by_model, extractive, rejected, standing
from metaclaw.evolve.admission import Admission, Overheard
from metaclaw.evolve.by_model import Edit, EditKind, Evidence
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.hearing import Heard, hear
from metaclaw.evolve.kin import Kin, failure_of, kin_of
from metaclaw.evolve.nearest import Embed, Nearest
from metaclaw.evolve.patience import Patience
from metaclaw.evolve.quoting import told_apart
from metaclaw.evolve.screen import Outcome, gives_orders, rule_on
from metaclaw.evolve.trials import Trials
from metaclaw.evolve.verify import Ask, Comparison, Replays, verdict_of, why_better
from metaclaw.evolve.vouching import promote, vouch_if_corroborated
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState, Verdict

log = logging.getLogger(__name__)

Proposer = Literal["auto", "extractive", "model"]
MOST_NEAR = 3  # skills that the model is shown
CHANGED_IN = "its user says that this has changed, in"
MISSED = "its rule was missed in {}: found by that request too"
Cues = tuple[tuple[str, str], ...]
NO_BETTER = "not better than what it would replace"
REPLACES = "would take the place of what somebody vouched for, with words that nobody does"


class Lessons:
    """Owned by the fast loop, of one namespace. `at_once` never waits; `settle` asks the model many times."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        ask: Ask,
        embed: Embed,
        redactor: Redactor,
        proposer: Proposer,
        max_skill_tokens: int,
        overheard: Overheard = "trial",
    ) -> None:
        """`overheard` says what becomes of what was said in a conversation."""
        self._database = database
        self._catalog = catalog
        self._ask = ask
        self._embed = embed
        self._redactor = redactor
        self._proposer = proposer
        self._max_skill_tokens = max_skill_tokens
        self._nearest = Nearest(catalog, embed)
        self._admission = Admission(database, catalog, self._nearest, embed, redactor, overheard)
        self._plain: dict[tuple[str, str], str] = {}
        self._tried: set[tuple[int, tuple[str, ...]]] = set()
        self._patience = Patience()
        self._trials = Trials(database, catalog)

    def warm(self) -> None:
        """Embed what the library holds and read the gate's word lists, so that the first lesson need not."""
        self._nearest.follow()
        words = told_apart("Warm up.").own
        standing.on_hearsay(rule_on(Skill("warm-up", words, words), self._redactor), words)

    def at_once(self, failure: Failure) -> list[tuple[Failure, Skill | None]]:
        """What there is to settle: for each rule that was said, the failure in its words, and the skill that is live
        meanwhile."""
        self._trials.put_away(failure)
        if not failure.correction and not failure.can_score:
            self._trials.end(failure, [])
            return []  # nothing to learn a rule from, and nothing to prove one by
        heard, failure = hear(failure, self._nearest, self._catalog.pinned())
        ended = self._trials.end(failure, heard)
        may_ask = self._proposer != "extractive"
        if self._proposer == "model":
            return [(failure, None)]
        if gives_orders(failure.passed_on) and (skill := extractive.as_passed_on(failure)):
            self._admission.quarantine(skill, failure, ["passes on a text that tells somebody what to do from now on"])
            return [(failure, None)] if may_ask and failure.can_score else []
        if not heard or (len(heard) == 1 and heard[0].is_new and extractive.propose(heard[0].failure) is None):
            worth_asking = may_ask and (failure.can_score or bool(failure.words.own))
            return [(failure, None)] if worth_asking else []
        published = [(one.failure, self._take_in(one, ended)) for one in heard]
        return [(said, skill) for said, skill in published if skill]

    def _take_in(self, heard: Heard, ended: Mapping[str, Skill]) -> Skill | None:
        """Publish a rule that is new, or that is said anew; let a known one be found by what was asked.

        `ended` are the skills, by ref, whose trial has just ended: their rule, said again, goes on under their name.
        """
        failure, before, known = heard.failure, heard.outdated, heard.known
        vouched, unvouched = heard.vouched, self._catalog.unvouched()
        believed = vouched and failure.shown
        if before and not vouched and before.ref not in unvouched:  # nobody answers for what would replace it
            before = None
        if known is not None:
            self._end_what_is_gone(heard)
            before = ended.get(known.ref) or (known if believed and known.ref in unvouched else None)
            if before is None:
                self._heed_again(known, heard)
                return None
        skill = extractive.as_passed_on(failure) if heard.quotes else extractive.propose(failure)
        ruling = self._admission.ruling_on_words(skill, failure) if skill else None
        if heard.quotes and before and ruling and ruling.outcome is Outcome.QUARANTINE:  # 'this rule no longer holds'
            self._catalog.change_state(before, SkillState.RETIRED, f"taken back by its user, in {failure.turn.id}")
            return None
        if skill is None or ruling is None or not self._admission.passes(skill, failure, ruling):
            return None
        if known is None:
            self._end_what_is_gone(heard)
        reason = standing.why_on_trial(failure, vouched=vouched)
        if before is None:
            return self._admission.publish(skill, failure, SkillState.TRIAL, reason, unvouched=not believed)
        again = dataclasses.replace(skill, name=before.name, cues=_joined(before.cues, skill.cues))
        reason = reason if known else f"{reason}: says anew what {before.ref} said"
        return self._admission.publish(
            again, failure, SkillState.TRIAL, reason, replacing={before.name}, unvouched=not believed
        )

    def _end_what_is_gone(self, heard: Heard) -> None:
        """Retire what holds no longer by what its user says: where nobody answers for that, only what is no better."""
        live, unvouched = {skill.ref for skill in self._catalog.live()}, self._catalog.unvouched()
        for one in heard.gone:
            if one.ref in live and (heard.vouched or one.ref in unvouched):
                self._catalog.change_state(one, SkillState.RETIRED, f"{CHANGED_IN} {heard.failure.turn.id}")

    def _heed_again(self, known: Skill, heard: Heard) -> None:
        """A live rule was said again: it is found by what was asked, and has one voice more, where it needs one."""
        turn_id, cue = heard.failure.turn.id, heard.failure.cue
        if not heard.given and cue not in known.description:
            self._catalog.widen(known, turn_id, cue, MISSED.format(turn_id))
        if known.ref in self._catalog.unvouched():
            self._catalog.support(known, [turn_id])
            vouch_if_corroborated(self._database, self._catalog, known)

    async def settle(self, failure: Failure, skill: Skill | None) -> None:
        """Verify what is on trial, and let the model try where that may help. What has ended meanwhile is left."""
        if skill is not None and skill.ref not in {one.ref for one in self._catalog.live()}:
            return
        kin = await asyncio.to_thread(kin_of, failure, self._database, self._embed)
        replays = self._replays([failure, *kin.cases], kin)
        stands: Comparison | None = None
        if skill is not None:
            stands = await replays.compare(skill)
            if stands is None:
                return  # cannot be replayed: it stays on trial
            self._heed(verdict_of(skill, stands), skill, failure, stands)
            if not stands.admitted and not _rejected(stands):
                return
        if self._proposer == "extractive" or not self._worth_a_try(failure, stands, replays):
            return
        if self._patience.is_due(failure.turn.policy):
            took = await self._let_the_model_try(failure, skill, stands, kin, replays)
            self._patience.went(failure.turn.policy, well=took)

    def _replays(self, cases: Sequence[Failure], kin: Kin) -> Replays:
        return Replays(cases, kin.probes, self._ask, self._max_skill_tokens, plain=self._plain)

    def _heed(self, verdict: Verdict, skill: Skill, failure: Failure, stands: Comparison) -> None:
        self._catalog.record(verdict)
        if stands.admitted:
            promote(self._catalog, skill, verdict.decision)
        elif _rejected(stands):
            if not self._trials.outlives(skill, stands):
                self._catalog.change_state(skill, SkillState.RETIRED, verdict.decision)
            self._admission.reject(Edit(EditKind.CREATE, skill), failure, verdict.decision, stands)

    def _worth_a_try(self, failure: Failure, stands: Comparison | None, replays: Replays) -> bool:
        """A confirmed skill is only replaced on the evidence of several requests. Without words, once a generation for
        failures under the same skills: there is no new evidence else."""
        if stands is not None and stands.admitted:
            return len(replays.cases) > 1
        if failure.words.own:
            return True
        key = (self._catalog.generation(), failure.turn.skills)
        fresh = key not in self._tried
        self._tried.add(key)
        return fresh

    async def _let_the_model_try(
        self, failure: Failure, words: Skill | None, stands: Comparison | None, kin: Kin, replays: Replays
    ) -> bool:
        """`words` is the skill in the user's words, and `stands` is how it did: if that is confirmed, it stands in
        until the model's version is better. Returns whether the model's edit was taken, or kept for a person.
        """
        confirmed = words if stands is not None and stands.admitted else None
        unproved = words if words and stands is not None and self._trials.outlives(words, stands) else None
        evidence = self._evidence(failure, confirmed or unproved, kin)
        edit = await by_model.propose(evidence, self._ask)
        if edit is None or edit.skill is None:
            log.info("the model proposes nothing for turn %s", failure.turn.id)
            return False
        skill, changed = edit.skill, [one for one in evidence.near if one.name in edit.names]
        unvouched = self._catalog.unvouched()
        hearsay = standing.edit_is_hearsay(edit, evidence, unvouched)
        ruling = self._admission.ruling_on_edit(edit, skill, evidence)
        if hearsay:
            ruling = self._admission.ruling_on_hearsay(ruling, skill.body)
        if not self._admission.passes(skill, failure, ruling, edit.kind):
            return False
        if edit.kind is EditKind.CREATE and confirmed and stands and self._is_no_better(skill, confirmed, stands):
            self._admission.reject(edit, failure, NO_BETTER, None)
            return False
        if edit.kind is EditKind.MERGE:  # what they were written for must hold under the one skill too
            replays = self._replays([*replays.cases, *self._support_of(changed)], kin)
        compared = await replays.compare(skill)
        if compared is None:
            self._admission.quarantine(skill, failure, ["a model's words, and nothing could be replayed to prove them"])
            return True
        reason = compared.decision if compared.admitted else ""
        if reason and edit.kind is EditKind.REFINE:
            reason = self._why(skill, changed[0], compared, await replays.compare(changed[0]))
        elif reason and edit.kind is EditKind.CREATE and confirmed:
            reason = self._why(skill, confirmed, compared, stands)
        if not reason:
            why = NO_BETTER if compared.admitted else compared.decision
            self._admission.reject(edit, failure, why, compared)
            return False
        if edit.kind is EditKind.CREATE and (stood_in := confirmed or unproved):  # its version of that
            changed, skill = [stood_in], dataclasses.replace(skill, name=stood_in.name)
        if hearsay and any(old.ref not in unvouched for old in changed):
            self._admission.quarantine(skill, failure, [REPLACES])
            return True
        self._take(edit, skill, changed, failure, reason, compared, unvouched=hearsay or not failure.shown)
        return True

    def _why(self, skill: Skill, old: Skill, compared: Comparison, before: Comparison | None) -> str:
        return why_better(compared, before, self._tokens(skill), self._tokens(old)) if before else ""

    def _is_no_better(self, skill: Skill, confirmed: Skill, stands: Comparison) -> bool:
        """Whether no replay could tell so: what stands was right each time, and says it in no more words."""
        return all(pair.passed[1] for pair in stands.pairs) and self._tokens(skill) >= self._tokens(confirmed)

    def _take(
        self, edit: Edit, skill: Skill, changed: Sequence[Skill], failure: Failure, reason: str, compared: Comparison,
        *, unvouched: bool,
    ) -> None:
        """Publish the edit's skill; what it replaces or takes in goes in the same step."""
        names = {old.name for old in changed}
        live = {one.name: one for one in self._catalog.live()}
        if gone := names - live.keys():  # a person, or evidence, was faster
            self._admission.reject(edit, failure, f"{', '.join(sorted(gone))} is not live any more", compared)
            return
        merging = [live[name] for name in sorted(names - {skill.name})]
        state = SkillState.TRIAL if unvouched else SkillState.ACTIVE
        verdict = verdict_of(skill, compared)
        self._admission.publish(skill, failure, state, reason, verdict, merging, names, unvouched=unvouched)

    def _evidence(self, failure: Failure, confirmed: Skill | None, kin: Kin) -> Evidence:
        near = self._nearest.near(f"{failure.request.own}\n{failure.words.own}", MOST_NEAR)
        tried = rejected.on_failures_like(
            self._database, self._catalog.namespace, failure.turn.query, self._embed
        )
        others = [one for one in near if not confirmed or one.name != confirmed.name]
        return Evidence(failure, kin.successes, others, tried)

    def _support_of(self, skills: Sequence[Skill]) -> list[Failure]:
        """The failures that skills were written from, where they can be scored."""
        turns = dict.fromkeys(turn for skill in skills for turn in self._catalog.support_of(skill))
        found = [failure_of(turn, self._database, self._catalog.namespace) for turn in turns]
        return [one for one in found if one and one.can_score]

    def _tokens(self, skill: Skill) -> int:
        return estimate_tokens(compose([skill], self._max_skill_tokens).text)


def _rejected(compared: Comparison) -> bool:
    return compared.decision.startswith("rejected")


def _joined(some: Cues, others: Cues) -> Cues:
    """Each request once."""
    return tuple({text: (turn_id, text) for turn_id, text in (*some, *others)}.values())
