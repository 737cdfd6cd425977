"""Keeps the library small and honest: evidence decides on a skill's state, and what teaches the same rule merges.

In: the tries that the hold-out made, and the failures that skills were written from. Out: changes in the catalog, each
with its reason and, where evidence decided, its verdict; all can be undone by `rollback`. Runs in the learner, seldom,
and never waits for a model. What a person pinned stays as it is.
"""

from __future__ import annotations

import asyncio
import dataclasses
import logging
import time
from collections.abc import Callable, Sequence

from metaclaw.errors import MetaClawError
from metaclaw.evolve.alike import Embed, Origin
from metaclaw.evolve.corroborate import VOICES
from metaclaw.evolve.exposures import begin_tries, end_tries, lifts_of, settled_tries
from metaclaw.evolve.merge import better_first, widened
from metaclaw.evolve.origins import Origins
from metaclaw.evolve.progress import settled
from metaclaw.evolve.vouching import promote, vouch_if_corroborated
from metaclaw.leash import give_way
from metaclaw.library.catalog import Catalog
from metaclaw.signals.lift import Lift
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState, Verdict

log = logging.getLogger(__name__)

EVERY_SECONDS = 60.0
LOOKS = 200  # at changed skills, in one round at most
SAME_RULE = 0.6  # `alike.link` from which two skills are one; chosen on the tuning half of `metaclaw bench curation`


class Curator:
    """Owned by the learner. `round` does what is due; `run` does so for ever."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        embed: Embed,
        session_idle_seconds: float,
        now: Callable[[], float] = time.time,
    ) -> None:
        self._database = database
        self._catalog = catalog
        self._idle_seconds = session_idle_seconds
        self._now = now
        self._origins = Origins(database, catalog, embed)
        self._judged: dict[str, int] = {}
        self._voices: dict[str, int] = {}

    async def run(self) -> None:
        while True:
            try:
                await asyncio.to_thread(self.round)
            except MetaClawError as error:
                log.error("the library was not curated, trying again: %s", error)
            except Exception:  # one odd skill must not end all curation; the log has its trace
                log.exception("the library was not curated, trying again")
            await asyncio.sleep(EVERY_SECONDS)

    def round(self) -> list[str]:
        """Count the tries that are over, act on the evidence, merge what is alike. Returns what was changed."""
        namespace = self._catalog.namespace
        while begin_tries(self._database, namespace):
            pass
        while end_tries(self._database, namespace, self._idle_seconds, self._now()):
            pass
        done = self._heed_evidence()
        if settled(self._database, namespace):  # a skill under verification keeps its version until that is over
            done += self._merge()
        done += self._heed_voices()
        for change in done:
            log.info("curated: %s", change)
        return done

    def _heed_evidence(self) -> list[str]:
        tries, pinned, done = settled_tries(self._database, self._catalog.namespace), self._catalog.pinned(), []
        for skill in self._catalog.live():
            counted = tries.get(skill.name, 0)  # fewer than before where a session was erased
            if skill.name in pinned or counted == self._judged.get(skill.name, 0):
                continue
            self._judged[skill.name] = counted
            for policy, lift in lifts_of(self._database, self._catalog, skill.ref).items():
                if change := decide(skill, lift):
                    done += self._follow(skill, change, policy, lift)
                break  # the latest policy alone: evidence from an older model says little about this one
        return done

    def _follow(self, skill: Skill, change: tuple[SkillState, str, float], policy: str, lift: Lift) -> list[str]:
        """Do what the evidence says. What helps, and nobody vouches for, stays on trial with its proof."""
        state, decision, e_value = change
        verdict, reason = verdict_on(skill, policy, lift, decision, e_value), f"{decision} ({policy})"
        if state is SkillState.RETIRED:
            self._catalog.record(verdict)
            self._catalog.change_state(skill, state, reason)
        elif skill.ref in self._catalog.unvouched():
            if not self._catalog.is_proved(skill):
                self._catalog.record(verdict)
            return []
        else:
            self._catalog.record(verdict)
            promote(self._catalog, skill, reason)
        return [f"{skill.ref} is {state.value}: {decision}"]

    def _heed_voices(self) -> list[str]:
        """What came out of a conversation, and has been said in more of them since the last look."""
        done, unvouched = [], self._catalog.unvouched()
        for skill in self._catalog.live() if unvouched else ():
            support = len(self._catalog.support_of(skill)) if skill.ref in unvouched else 0
            if support < VOICES or support == self._voices.get(skill.ref):
                continue
            self._voices[skill.ref] = support
            if why := vouch_if_corroborated(self._database, self._catalog, skill):
                done.append(f"{skill.ref} is vouched for: {why}")
        return done

    def _merge(self) -> list[str]:
        pinned, done = self._catalog.pinned(), []
        for skill in self._origins.looks(LOOKS):
            give_way()
            if skill.name not in pinned and (failed := self._origins.failed_before(skill, SAME_RULE)):
                done.append(self._succeed(skill, *failed))
                continue
            found = self._origins.nearest(skill, SAME_RULE)
            if found is None or {skill.name, found[0].name} <= pinned:
                continue
            unvouched = self._catalog.unvouched()
            kept, gone = better_first(skill, found[0], self._origins.fits(skill, found[0]), pinned, unvouched)
            if not self._undone(kept, gone):
                done.append(self._take_in(kept, gone, pinned))
        return done

    def _undone(self, kept: Skill, gone: Skill) -> bool:
        """Whether these texts were merged before: then a person has taken them apart again. A name may be another's by
        now."""
        return any(self._was_merged(one, other) for one, other in ((gone, kept), (kept, gone)))

    def _was_merged(self, one: Skill, other: Skill) -> bool:
        merged = {change[1] for change in self._catalog.history(one.name)
                  if change[4].startswith(f"merged into {other.name}@")}
        return any(old.version in merged and old.body == one.body for old in self._catalog.versions(one.name))

    def _succeed(self, skill: Skill, failed: str, cases: Sequence[Origin]) -> str:
        """Where the user said the rule again, its new words are found by all that it was asked for before."""
        unvouched = self._catalog.unvouched()
        if failed in unvouched and skill.ref not in unvouched:
            return f"{skill.ref} takes nothing over of {failed}, which nobody vouches for"
        heir = widened(skill, [case.request for case in (*self._origins.of(skill), *cases)])
        support = [*self._catalog.support_of(skill), *(case.turn_id for case in cases)]
        reason = f"takes the place of {failed}, which taught the same rule and failed"
        published, _ = self._catalog.publish(
            heir, skill.state, reason, support, self._catalog.proof_of(skill), unvouched=skill.ref in unvouched
        )
        return f"{published.ref} {reason}"

    def _take_in(self, kept: Skill, gone: Skill, pinned: frozenset[str]) -> str:
        """The one takes the other's requests and failures over, which retires: one step, which can be undone.

        What somebody vouches for takes nothing over of what nobody does, not even requests.
        """
        unvouched = self._catalog.unvouched()
        taking = kept.ref in unvouched or gone.ref not in unvouched
        cases = [*self._origins.of(kept), *(self._origins.of(gone) if taking else [])]
        support = [*self._catalog.support_of(kept), *(self._catalog.support_of(gone) if taking else [])]
        skill = kept if kept.name in pinned else widened(kept, [case.request for case in cases])
        reason = f"takes in {gone.ref}, which teaches the same rule"
        published, _ = self._catalog.publish(
            skill, kept.state, reason, support, self._catalog.proof_of(kept), [gone], unvouched=kept.ref in unvouched
        )
        return f"{published.ref} {reason}"


def decide(skill: Skill, lift: Lift) -> tuple[SkillState, str, float] | None:
    """(new state, why, e-value of that); None where the evidence changes nothing."""
    told = describe(lift)
    if lift.harms:
        return SkillState.RETIRED, f"harmful: {told}", max(lift.e_below(0.0), lift.e_turned)
    if lift.useless:
        return SkillState.RETIRED, f"useless: {told}", lift.e_useless
    if skill.state is SkillState.TRIAL and lift.helps:
        return SkillState.ACTIVE, f"helps: {told}", lift.e_above(0.0)
    return None


def describe(lift: Lift) -> str:
    """In words: both arms, and the lift with its interval."""
    low, high = lift.interval
    return (
        f"failed {lift.with_skill.failed} of {lift.with_skill.n} with it,"
        f" {lift.without.failed} of {lift.without.n} without;"
        f" lift {100 * lift.effect:+.0f} points, between {100 * low:+.0f} and {100 * high:+.0f}"
    )


def verdict_on(skill: Skill, policy: str, lift: Lift, decision: str, e_value: float) -> Verdict:
    """`confidence` is one minus the anytime-valid p-value, which is the inverse of the e-value."""
    return Verdict(
        subject=f"skill:{skill.ref}",
        baseline="withheld by chance",
        candidate="injected",
        n=lift.n,
        effect=lift.effect,
        confidence=max(0.0, 1 - 1 / e_value),
        decision=decision,
        evidence={
            "policy": policy,
            "with": dataclasses.asdict(lift.with_skill),
            "without": dataclasses.asdict(lift.without),
            "interval95": list(lift.interval),
            "e_helps": lift.e_above(0.0),
            "e_harms": lift.e_below(0.0),
            "e_turned_harmful": lift.e_turned,
            "e_useless": lift.e_useless,
        },
    )
