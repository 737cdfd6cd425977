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
from collections.abc import Awaitable, Callable, Iterator, Sequence
from functools import partial
from typing import Literal

from metaclaw.errors import MetaClawError, UpstreamError
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.in_use import WentWell
from metaclaw.evolve.kin import failure_of, kin_of
from metaclaw.evolve.lessons import Lessons
from metaclaw.evolve.nearest import Embed
from metaclaw.evolve.parts import about, rule_of
from metaclaw.evolve.progress import (
    CLOSED_CURSOR,
    FEEDBACK_CURSOR,
    TURN_CURSOR,
    advance,
    cursor,
    put_cursor,
    write_unsettled,
)
from metaclaw.evolve.secondhand import secondhand
from metaclaw.evolve.trials import Trials
from metaclaw.journal import open_sessions, trajectories
from metaclaw.leash import give_way
from metaclaw.library.catalog import Catalog
from metaclaw.signals import detectors, ledger, tone
from metaclaw.signals.combine import combine
from metaclaw.signals.judge import Part, transcript_of
from metaclaw.signals.sequel import Sequel, conversation_of, sequel
from metaclaw.store import Database
from metaclaw.types import Feedback, Message, Signal, Skill, SkillState, Turn, TurnKind

log = logging.getLogger(__name__)

Posted = Literal["shown", "all"]
WriteCode = Callable[[Failure, WentWell], Awaitable[Skill | None]]
LOOK_BACK = 8  # turns of a session among which a turn's predecessor is looked for: agents run several threads at once
AT_ONCE = 100  # turns, and feedbacks, that are read in one round
CLOSED_EVERY_SECONDS = 10.0  # how often sessions are looked for that have closed
CLOSED_AT_ONCE = 20  # of them at most, so that intake stays quick after a long absence
PUT_OFF_SECONDS = (2.0, 8.0, 30.0)  # until what found no model is tried again, each time
MOST_TO_JUDGE = 50  # turns that may wait for the judge: a slow one sees a sample, and falls behind no further

Judge = Callable[[str, Sequence[Part]], Awaitable[Signal]]


@dataclasses.dataclass(frozen=True, slots=True, order=True)
class _Pending:
    """Work on a turn. What a user waits for comes before the judge's turns, else the older first."""

    judging: bool
    number: int
    turn_id: str
    work: Callable[[], Awaitable[None]] = dataclasses.field(compare=False)
    put_off: int = 0


class FastLoop:
    """Owned by the learner. `intake` reads what is new; `verify_pending` runs until cancelled."""

    def __init__(
        self,
        database: Database,
        catalog: Catalog,
        lessons: Lessons,
        embed: Embed,
        judge: Judge | None = None,
        session_idle_seconds: float = 3600.0,
        now: Callable[[], float] = time.time,
        code: WriteCode | None = None,
        posted: Posted = "shown",
    ) -> None:
        self._code = code
        self._embed = embed
        self._posted = posted
        self._database = database
        self._catalog = catalog
        self._lessons = lessons
        self._trials = Trials(database, catalog)
        self._judge = judge
        self._session_idle_seconds = session_idle_seconds
        self._now = now
        self._looked_for_closed_at = float("-inf")
        self._pending: asyncio.PriorityQueue[_Pending] = asyncio.PriorityQueue()
        self._numbers = itertools.count()
        self._unsettled = 0
        self._namespace = catalog.namespace
        self._notes = ledger.Notes(database, catalog.namespace)

    def intake(self) -> int:
        """Read what is new. Returns how many turns and feedbacks that was: from `AT_ONCE` on there may be more."""
        turns = self._take_turns()
        read_to = cursor(self._database, self._namespace, FEEDBACK_CURSOR)
        items = trajectories.feedback_after(self._database, self._namespace, read_to, AT_ONCE)
        for item in items:
            self._heed_feedback(item)
            advance(self._database, self._namespace, FEEDBACK_CURSOR, item.position)
        if not turns:  # all is read: a session that has closed has nothing more to say
            self._heed_closed_sessions()
        return turns + len(items)

    def _take_turns(self) -> int:
        """What the turns since last time say of those before them, in one commit for all."""
        read_to = cursor(self._database, self._namespace, TURN_CURSOR)
        turns = trajectories.turns_after(self._database, self._namespace, read_to, AT_ONCE)
        if not turns:
            return 0
        last: dict[tuple[str, str], Turn] = {}  # of each session's agents: read once is enough
        for turn in turns:
            give_way()
            if turn.kind is TurnKind.MAIN:
                self._heed_turn(turn, last.get((turn.session, turn.agent)))
                if turn.complete:
                    last[turn.session, turn.agent] = turn
        end = turns[-1].position
        self._notes.write(lambda connection: put_cursor(connection, self._namespace, TURN_CURSOR, end))
        return len(turns)

    def resume(self) -> None:
        """Queue the trial skills whose verification a restart interrupted. Programs, the judge's turns and failures
        that had no skill yet are not taken up again."""
        self._count_unsettled(0)
        self._lessons.warm()
        for skill in self._catalog.live():
            if skill.state is SkillState.TRIAL and not self._catalog.verdicts(skill.ref):
                for turn_id in self._catalog.support_of(skill):
                    failure = failure_of(turn_id, self._database, self._namespace)
                    if failure and failure.correction:
                        failure = failure if failure.overheard else self._as_posted(failure)
                        self._queue(about(failure, rule_of(skill)), skill)

    async def verify_pending(self) -> None:
        """Verify what is on trial, let the model propose where words are missing or did not hold, and judge."""
        while True:
            pending = await self._pending.get()
            try:
                await pending.work()
            except MetaClawError as error:  # stays on trial: not proved, and not disproved either
                log.warning("verification put off for turn %s: %s", pending.turn_id, error)
                if self._try_later(pending, error):
                    continue
            except Exception:  # one odd case must not end all verification; the log has its trace
                log.exception("verification of turn %s failed", pending.turn_id)
            self._count_unsettled(-1)

    def _try_later(self, pending: _Pending, error: MetaClawError) -> bool:
        """Whether it waits for a model that is not there just now, such as one that is being loaded."""
        may_pass = isinstance(error, UpstreamError) and error.may_pass
        if not may_pass or pending.put_off == len(PUT_OFF_SECONDS):
            return False
        again = dataclasses.replace(pending, put_off=pending.put_off + 1)
        asyncio.get_running_loop().call_later(PUT_OFF_SECONDS[pending.put_off], self._pending.put_nowait, again)
        return True

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
            self._learn_in_words_and_code(self._as_posted(Failure(turn, item.text, item.check)))

    def _as_posted(self, failure: Failure) -> Failure:
        """With what is known of whose words the feedback is."""
        return dataclasses.replace(failure, doubt=secondhand(failure), believed=self._posted == "all")

    def _heed_turn(self, turn: Turn, last: Turn | None) -> None:
        """What this turn says of those before it in its session; `last` is the one right before it, if at hand."""
        messages: Sequence[Message] | None = None
        for before in self._earlier(turn, last):
            messages = conversation_of(turn) if messages is None else messages
            if followed := sequel(before, turn, messages):
                self._heed_sequel(before, followed)
                if followed.said:
                    earlier = trajectories.turns_before(self._database, turn, LOOK_BACK)
                    self._note(detectors.asked_again(followed.said, earlier))
                break

    def _earlier(self, turn: Turn, last: Turn | None) -> Iterator[Turn]:
        """Newest first. Nearly always it is the first that the turn follows on: the others are read when asked for."""
        first = [last] if last else trajectories.turns_before(self._database, turn, 1)
        yield from first
        if first:
            yield from trajectories.turns_before(self._database, turn, LOOK_BACK)[1:]

    def _heed_sequel(self, turn: Turn, followed: Sequel) -> None:
        found = detectors.what_followed(turn, followed)
        if any(signal.source == "next_message" and signal.value == tone.WRONG for signal in found):
            self._notes.add(found)
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
        if found:
            read_to = math.ceil(found[:CLOSED_AT_ONCE][-1].closed_at * 1e6)
            self._notes.write(lambda connection: put_cursor(connection, self._namespace, CLOSED_CURSOR, read_to))

    def _note(self, found: Sequence[Signal]) -> None:
        """Take signals down. A turn that fails by them, without words, ends the trials under it."""
        for turn_id in {signal.turn_id for signal in found}:
            failed_before = self._notes.outcome_of(turn_id).failed
            self._notes.add([signal for signal in found if signal.turn_id == turn_id])
            if not failed_before and self._notes.outcome_of(turn_id).failed:
                turn = trajectories.turn(self._database, self._namespace, turn_id)
                if turn is not None:
                    self._learn(Failure(turn, "", overheard=True))

    def _let_judge(self, turn: Turn, followed: Sequel) -> None:
        """Queue the turn for the judge, if there is one and nothing else has decided."""
        if self._judge is None or turn.status != 200 or self._pending.qsize() >= MOST_TO_JUDGE:
            return
        if self._notes.outcome_of(turn.id).decided:
            return
        if transcript := transcript_of(turn, followed):
            self._wait_for(turn.id, partial(self._ask_judge, self._judge, turn.id, transcript), judging=True)

    def _learn_in_words_and_code(self, failure: Failure) -> None:
        """A rule at once; a program when there is time, where one may help."""
        self._learn(failure)
        if self._code is not None:
            self._wait_for(failure.turn.id, partial(self._write_code, self._code, failure), judging=False)

    async def _write_code(self, write: WriteCode, failure: Failure) -> None:
        """Unless words have been proved to do: they cost the model no call."""
        made = self._catalog.made_from(failure.turn.id)
        if not any(skill.state is SkillState.ACTIVE or self._catalog.is_proved(skill) for skill in made):
            program = await write(failure, partial(self._went_well, failure))
            if program is not None and program.state is SkillState.ACTIVE:
                self._trials.give_way(failure.turn.id, program)

    async def _went_well(self, failure: Failure) -> list[Failure]:
        """Turns of its kind that went well, as far as a reply to them can be told right from wrong."""
        kin = await asyncio.to_thread(kin_of, failure, self._database, self._embed)
        found = [failure_of(turn.id, self._database, self._namespace) for turn in kin.successes]
        return [one for one in found if one and one.can_score and one.is_right(one.turn.reply)]

    async def _ask_judge(self, judge: Judge, turn_id: str, transcript: Sequence[Part]) -> None:
        """Once a turn, and only where it is still undecided when the judge gets to it."""
        signals = ledger.signals_on(self._database, self._namespace, turn_id)
        if combine(signals).decided or any(signal.source == "judge" for signal in signals):
            return
        self._note([await judge(turn_id, transcript)])
        self._notes.write()

    def _learn(self, failure: Failure) -> None:
        """At once, and without a model: the user's words as a skill on trial."""
        self._notes.write()  # what is learned rests on it
        for said, skill in self._lessons.at_once(failure):
            self._queue(said, skill)
