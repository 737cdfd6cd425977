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

from metaclaw.errors import MetaClawError
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.kin import failure_of
from metaclaw.evolve.lessons import Lessons, Overheard, Proposer
from metaclaw.evolve.nearest import Embed
from metaclaw.evolve.progress import CLOSED_CURSOR, FEEDBACK_CURSOR, TURN_CURSOR, advance, cursor, write_unsettled
from metaclaw.evolve.verify import Ask
from metaclaw.journal import open_sessions, trajectories
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.signals import detectors, ledger, tone
from metaclaw.signals.combine import combine
from metaclaw.signals.judge import Part, transcript_of
from metaclaw.signals.sequel import Sequel, conversation_of, sequel
from metaclaw.store import Database
from metaclaw.types import Feedback, Signal, Skill, SkillState, Turn, TurnKind

log = logging.getLogger(__name__)

LOOK_BACK = 8  # turns of a session among which a turn's predecessor is looked for: agents run several threads at once
CLOSED_EVERY_SECONDS = 10.0  # how often sessions are looked for that have closed
CLOSED_AT_ONCE = 20  # of them at most, so that intake stays quick after a long absence
MOST_TO_JUDGE = 50  # turns that may wait for the judge: a slow one sees a sample, and falls behind no further

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
        proposer: Proposer,
        max_skill_tokens: int,
        judge: Judge | None = None,
        session_idle_seconds: float = 3600.0,
        now: Callable[[], float] = time.time,
        code: Callable[[Failure], Awaitable[object]] | None = None,
        overheard: Overheard = "trial",
    ) -> None:
        self._code = code
        self._database = database
        self._catalog = catalog
        self._lessons = Lessons(database, catalog, ask, embed, redactor, proposer, max_skill_tokens, overheard)
        self._judge = judge
        self._session_idle_seconds = session_idle_seconds
        self._now = now
        self._looked_for_closed_at = float("-inf")
        self._pending: asyncio.PriorityQueue[_Pending] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._unsettled = 0
        self._namespace = catalog.namespace

    def intake(self) -> int:
        """Read all that is new. Returns how many turns and feedbacks that was."""
        read_to = cursor(self._database, self._namespace, TURN_CURSOR)
        turns = trajectories.turns_after(self._database, self._namespace, read_to)
        for turn in turns:
            self._heed_turn(turn)
        if turns:  # once for all: each commit is one for which the gateway's own has to wait
            advance(self._database, self._namespace, TURN_CURSOR, turns[-1].position)
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
        self._lessons.warm()
        for skill in self._catalog.live():
            if skill.state is SkillState.TRIAL and not self._catalog.verdicts(skill.ref):
                for turn_id in self._catalog.support_of(skill):
                    failure = failure_of(turn_id, self._database, self._namespace)
                    if failure and failure.correction:
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
        self._wait_for(failure.turn.id, partial(self._lessons.settle, failure, skill), judging=False)

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
            self._learn_in_words_and_code(Failure(turn, followed.said, overheard=True))
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
                    self._learn(Failure(turn, "", overheard=True))

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
        """Unless words have been proved to do: they cost the model no call."""
        made = self._catalog.made_from(failure.turn.id)
        if not any(skill.state is SkillState.ACTIVE or self._catalog.is_proved(skill) for skill in made):
            await write(failure)

    async def _ask_judge(self, judge: Judge, turn_id: str, transcript: Sequence[Part]) -> None:
        """Once a turn, and only where it is still undecided when the judge gets to it."""
        signals = ledger.signals_on(self._database, self._namespace, turn_id)
        if combine(signals).decided or any(signal.source == "judge" for signal in signals):
            return
        self._note([await judge(turn_id, transcript)])

    def _learn(self, failure: Failure) -> None:
        """At once, and without a model: the user's words as a skill on trial."""
        unsettled, skill = self._lessons.at_once(failure)
        if unsettled:
            self._queue(failure, skill)
