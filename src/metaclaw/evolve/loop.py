"""The fast loop. Reads new feedback and turns, and turns failures into skills.

Intake is quick and never waits for a model: signals are written, and a correction in the user's own words is live as a
`trial` skill within milliseconds. Verification follows in its own task, one failure at a time: a replay that confirms
the skill makes it `active`, one that contradicts it retires it and lets the model try. The judge, where there is one,
takes its turns in the same task, when no failure waits. The cursors are stored, so a restart goes on where it stopped;
evidence that is read twice counts once. What a restart forgets: turns that waited for the judge, and
code that was still to be written.
"""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
import logging
import math
import time
from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Literal

import numpy as np
import numpy.typing as npt

from metaclaw.errors import MetaClawError
from metaclaw.evolve import by_model, extractive
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.progress import CLOSED_CURSOR, FEEDBACK_CURSOR, TURN_CURSOR, advance, cursor, write_unsettled
from metaclaw.evolve.screen import objections
from metaclaw.evolve.verify import Ask, can_score, verify
from metaclaw.journal import open_sessions, trajectories
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.signals import detectors, ledger, tone
from metaclaw.signals.combine import combine
from metaclaw.signals.judge import Part, transcript_of
from metaclaw.signals.sequel import Sequel, conversation_of, sequel
from metaclaw.store import Database
from metaclaw.types import Feedback, Signal, Skill, SkillState, Turn, TurnKind, Verdict

log = logging.getLogger(__name__)

SAME_RULE = 0.8  # cosine of two skills' texts above which they say the same thing
LOOK_BACK = 8  # turns of a session among which a turn's predecessor is looked for: agents run several threads at once
CLOSED_EVERY_SECONDS = 10.0  # how often sessions are looked for that have closed
CLOSED_AT_ONCE = 20  # of them at most, so that intake stays quick after a long absence
MOST_TO_JUDGE = 50  # turns that may wait for the judge: a slow one sees a sample, and falls behind no further

Embed = Callable[[Sequence[str]], npt.NDArray[np.float32]]
Judge = Callable[[str, Sequence[Part]], Awaitable[Signal]]


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class _Pending:
    """Work on a turn. What a user waits for comes before the judge's turns, else the older first."""

    judging: bool
    number: int
    turn_id: str
    work: Callable[[], Awaitable[None]] = dataclasses.field(compare=False)


class FastLoop:
    """Owned by the learner. `intake` reads what is new; `verify_pending` runs until cancelled."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        ask: Ask,
        embed: Embed,
        redactor: Redactor,
        proposer: Literal["auto", "extractive", "model"],
        max_skill_tokens: int,
        judge: Judge | None = None,
        session_idle_seconds: float = 3600.0,
        now: Callable[[], float] = time.time,
        code: Callable[[Failure], Awaitable[object]] | None = None,
    ) -> None:
        self._code = code
        self._database = database
        self._catalog = catalog
        self._ask = ask
        self._embed = embed
        self._redactor = redactor
        self._proposer = proposer
        self._max_skill_tokens = max_skill_tokens
        self._judge = judge
        self._session_idle_seconds = session_idle_seconds
        self._now = now
        self._looked_for_closed_at = float("-inf")
        self._pending: asyncio.PriorityQueue[_Pending] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._unsettled = 0
        self._tried: set[tuple[int, tuple[str, ...]]] = set()
        self._namespace = catalog.namespace

    def intake(self) -> int:
        """Read all that is new. Returns how many turns and feedbacks that was."""
        read_to = cursor(self._database, self._namespace, TURN_CURSOR)
        turns = trajectories.turns_after(self._database, self._namespace, read_to)
        for turn in turns:
            self._heed_turn(turn)
            advance(self._database, self._namespace, TURN_CURSOR, turn.position)
        read_to = cursor(self._database, self._namespace, FEEDBACK_CURSOR)
        items = trajectories.feedback_after(self._database, self._namespace, read_to)
        for item in items:
            self._heed_feedback(item)
            advance(self._database, self._namespace, FEEDBACK_CURSOR, item.position)
        if not turns:  # all is read: a session that has closed has nothing more to say
            self._heed_closed_sessions()
        return len(turns) + len(items)

    def resume(self) -> None:
        """Queue the trial skills whose verification a restart interrupted."""
        self._count_unsettled(0)
        for skill in self._catalog.live():
            if skill.state is SkillState.TRIAL and not self._catalog.verdicts(skill.ref):
                for turn_id in self._catalog.support_of(skill):
                    if failure := self._failure_of(turn_id):
                        self._queue(failure, skill)

    async def verify_pending(self) -> None:
        """Verify what is on trial, let the model propose where words are missing or did not hold, and judge."""
        while True:
            pending = await self._pending.get()
            try:
                await pending.work()
            except MetaClawError as error:  # stays on trial: not proved, and not disproved either
                log.warning("verification put off for turn %s: %s", pending.turn_id, error)
            except Exception:  # one odd case must not end all verification; the log has its trace
                log.exception("verification of turn %s failed", pending.turn_id)
            finally:
                self._count_unsettled(-1)

    def _queue(self, failure: Failure, skill: Skill | None) -> None:
        self._wait_for(failure.turn.id, partial(self._settle, failure, skill), judging=False)

    def _wait_for(self, turn_id: str, work: Callable[[], Awaitable[None]], *, judging: bool) -> None:
        self._count_unsettled(+1)
        self._pending.put_nowait(_Pending(judging, next(self._numbers), turn_id, work))

    def _count_unsettled(self, change: int) -> None:
        self._unsettled += change
        write_unsettled(self._database, self._namespace, self._unsettled)

    def _heed_feedback(self, item: Feedback) -> None:
        turn = trajectories.turn(self._database, self._namespace, item.turn_id)
        if turn is None or turn.kind is not TurnKind.MAIN:
            return
        found = detectors.explicit_feedback(turn, [item]) + detectors.posted_checks(turn, [item])
        ledger.record(self._database, self._namespace, found)
        praised = combine(found).succeeded  # kind words on a turn that failed otherwise are not its correction
        if not praised and ledger.outcome_of(self._database, self._namespace, turn.id).failed:
            self._learn_in_words_and_code(Failure(turn, item.text, item.check))

    def _heed_turn(self, turn: Turn) -> None:
        """What this turn says of those before it in its session."""
        if turn.kind is not TurnKind.MAIN:
            return
        earlier = trajectories.turns_before(self._database, turn, LOOK_BACK)
        messages = conversation_of(turn) if earlier else ()
        for before in earlier:
            if followed := sequel(before, turn, messages):
                self._heed_sequel(before, followed)
                self._note(detectors.asked_again(followed.said, earlier))
                break

    def _heed_sequel(self, turn: Turn, followed: Sequel) -> None:
        found = detectors.what_followed(turn, followed)
        if any(signal.source == "next_message" and signal.value == tone.WRONG for signal in found):
            ledger.record(self._database, self._namespace, found)
            self._learn_in_words_and_code(Failure(turn, followed.said))
            return
        self._note(found)
        self._let_judge(turn, followed)

    def _heed_closed_sessions(self) -> None:
        """How the sessions ended that a client closed, or that nothing has come from for long."""
        now = self._now()
        if now - self._looked_for_closed_at < CLOSED_EVERY_SECONDS:
            return
        self._looked_for_closed_at = now
        since = cursor(self._database, self._namespace, CLOSED_CURSOR) / 1e6
        found = open_sessions.closed(self._database, self._namespace, self._session_idle_seconds, now, since)
        for session in found[:CLOSED_AT_ONCE]:
            if last := trajectories.last_turn_of(self._database, self._namespace, session.name):
                self._note(detectors.abandoned(last))
                self._let_judge(last, Sequel(before=conversation_of(last)))
            advance(self._database, self._namespace, CLOSED_CURSOR, math.ceil(session.closed_at * 1e6))

    def _note(self, found: Sequence[Signal]) -> None:
        """Write signals down. A turn that fails by them, without words, ends the trials under it."""
        for turn_id in {signal.turn_id for signal in found}:
            failed_before = ledger.outcome_of(self._database, self._namespace, turn_id).failed
            ledger.record(self._database, self._namespace, [signal for signal in found if signal.turn_id == turn_id])
            if not failed_before and ledger.outcome_of(self._database, self._namespace, turn_id).failed:
                turn = trajectories.turn(self._database, self._namespace, turn_id)
                if turn is not None:
                    self._learn(Failure(turn, ""))

    def _let_judge(self, turn: Turn, followed: Sequel) -> None:
        """Queue the turn for the judge, if there is one and nothing else has decided."""
        if self._judge is None or turn.status != 200 or self._pending.qsize() >= MOST_TO_JUDGE:
            return
        if ledger.outcome_of(self._database, self._namespace, turn.id).decided:
            return
        if transcript := transcript_of(turn, followed):
            self._wait_for(turn.id, partial(self._ask_judge, self._judge, turn.id, transcript), judging=True)

    def _learn_in_words_and_code(self, failure: Failure) -> None:
        """A rule at once; a program when there is time, where one may help."""
        self._learn(failure)
        if self._code is not None:
            self._wait_for(failure.turn.id, partial(self._write_code, self._code, failure), judging=False)

    async def _write_code(self, write: Callable[[Failure], Awaitable[object]], failure: Failure) -> None:
        await write(failure)

    async def _ask_judge(self, judge: Judge, turn_id: str, transcript: Sequence[Part]) -> None:
        """Once a turn, and only where it is still undecided when the judge gets to it."""
        signals = ledger.signals_on(self._database, self._namespace, turn_id)
        if combine(signals).decided or any(signal.source == "judge" for signal in signals):
            return
        self._note([await judge(turn_id, transcript)])

    def _learn(self, failure: Failure) -> None:
        """At once, and without a model: the user's words as a skill on trial."""
        self._retire_trials(failure)
        if not failure.correction and not can_score(failure):
            return  # nothing to learn a rule from, and nothing to prove one by
        skill = extractive.propose(failure) if self._proposer != "model" else None
        if skill is None:
            if self._proposer != "extractive":
                self._queue(failure, None)
            return
        published = self._publish(skill, failure, SkillState.TRIAL, "the user's own words, on trial")
        if published:
            self._queue(failure, published)

    def _retire_trials(self, failure: Failure) -> None:
        """What is on trial ends with the first failure under it."""
        for skill in self._catalog.live():
            if skill.state is SkillState.TRIAL and skill.ref in failure.turn.skills:
                self._catalog.change_state(skill, SkillState.RETIRED, f"failed while on trial, in {failure.turn.id}")

    async def _settle(self, failure: Failure, skill: Skill | None) -> None:
        if skill is not None:
            verdict = await verify(failure, skill, self._ask, self._max_skill_tokens)
            if verdict is None:
                return  # cannot be replayed: it stays on trial
            self._catalog.record(verdict)
            if not verdict.decision.startswith("rejected"):
                if verdict.decision.startswith("admitted"):
                    self._catalog.change_state(skill, SkillState.ACTIVE, verdict.decision)
                return
            self._catalog.change_state(skill, SkillState.RETIRED, verdict.decision)
        if self._proposer != "extractive" and self._worth_a_try(failure):
            await self._let_the_model_try(failure, [skill.body] if skill else [])

    def _worth_a_try(self, failure: Failure) -> bool:
        """Once a generation for failures under the same skills where the user gave no words: no new evidence else."""
        if failure.correction:
            return True
        key = (self._catalog.generation(), failure.turn.skills)
        fresh = key not in self._tried
        self._tried.add(key)
        return fresh

    async def _let_the_model_try(self, failure: Failure, rejected: Sequence[str]) -> None:
        skill = await by_model.propose(failure, rejected, self._ask)
        if skill is None or self._objected(skill):
            return
        verdict = await verify(failure, skill, self._ask, self._max_skill_tokens)
        if verdict is None or not verdict.decision.startswith("admitted"):
            log.info("the model's skill %s was not admitted: %s", skill.name, verdict and verdict.decision)
            return
        self._publish(skill, failure, SkillState.ACTIVE, verdict.decision, verdict)

    def _publish(
        self, skill: Skill, failure: Failure, state: SkillState, reason: str, verdict: Verdict | None = None
    ) -> Skill | None:
        if self._objected(skill):
            return None
        live = self._catalog.live()
        same = self._nearest(skill, live)
        if same is not None:
            log.info("skill %s already says this", same.ref)
            return None
        named = _named_apart(skill, {other.name for other in live})
        published, generation = self._catalog.publish(named, state, reason, [failure.turn.id], verdict)
        log.info("skill %s is live as %s from generation %d on", published.ref, state.value, generation)
        return published

    def _objected(self, skill: Skill) -> bool:
        found = objections(skill, self._redactor)
        if found:
            log.warning("proposal %s refused: %s", skill.name, "; ".join(found))
        return bool(found)

    def _nearest(self, skill: Skill, live: Sequence[Skill]) -> Skill | None:
        """The live skill that says the same, if there is one."""
        if not live:
            return None
        vectors = self._embed([other.body for other in live])
        cosines = vectors @ self._embed([skill.body])[0]
        best = int(np.argmax(cosines))
        return live[best] if cosines[best] >= SAME_RULE else None

    def _failure_of(self, turn_id: str) -> Failure | None:
        turn = trajectories.turn(self._database, self._namespace, turn_id)
        if turn is None:
            return None
        said = [item for item in trajectories.feedback_on(self._database, self._namespace, turn_id) if item.text]
        if said:
            return Failure(turn, said[-1].text, said[-1].check)
        signals = ledger.signals_on(self._database, self._namespace, turn_id)
        said_next = [signal.evidence for signal in signals if signal.source == "next_message"]
        return Failure(turn, said_next[-1]) if said_next else None


def _named_apart(skill: Skill, taken: set[str]) -> Skill:
    """The skill under a name that no other live rule has."""
    name, number = skill.name, 2
    while name in taken:
        name, number = f"{skill.name}-{number}", number + 1
    return dataclasses.replace(skill, name=name)
