"""Where does learning lose what the user said? Workdays before a worker who does all that he is told, in one process.

The journal, the fast loop with its extractive proposer, its verification, the curator and the retrieval are the real
ones; only the HTTP door is left out, so that a seed takes a minute. Comes in: a course. Goes out: for each rule that a
question asks for, what became of it between the user's mouth and the prompt.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections import Counter
from collections.abc import AsyncIterator, Sequence
from contextlib import ExitStack, asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from metaclaw.bench.workdays.arms import ARMS
from metaclaw.bench.workdays.follower import Follower, outdated_in, states
from metaclaw.bench.workdays.generate import AnyQuestion, Day, Workdays, generate
from metaclaw.bench.workdays.outcome import feedback_of
from metaclaw.bench.workdays.rules import Rule
from metaclaw.bench.workdays.single import request_of, score_reply
from metaclaw.config.request_path import ContextSettings
from metaclaw.context.embed import Embedder, StaticEmbedder
from metaclaw.context.live import Context, LiveContext
from metaclaw.dialects import chat
from metaclaw.evolve.curate import Curator
from metaclaw.evolve.lessons import Lessons
from metaclaw.evolve.loop import FastLoop
from metaclaw.evolve.progress import settled
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Check, Feedback, Skill, SkillState, Turn, TurnKind

NAMESPACE = "following"
GIVEN, NOT_TOLD, OUTDATED = "given", "not told yet", "an outdated form is given"


@dataclass(slots=True)
class Followed:
    """`fates` counts, over the rules that questions asked for, what became of each; `right` is by question, in order.

    `given` is how many skills each question's prompt held, and `useful` how many of them state a rule that it asks for.
    """

    right: list[bool] = field(default_factory=list)
    by_day: dict[int, list[bool]] = field(default_factory=dict)
    fates: Counter[str] = field(default_factory=Counter)
    lost: list[tuple[str, str, str]] = field(default_factory=list)  # question, rule, fate
    given: list[int] = field(default_factory=list)
    useful: list[int] = field(default_factory=list)
    skills: int = 0

    @property
    def share(self) -> float:
        return sum(self.right) / max(1, len(self.right))


class Office:
    """A gateway's learning parts around a follower, on a library of its own."""

    def __init__(self, days: Workdays, database: Database, catalog: Catalog, embedder: Embedder) -> None:
        settings = ContextSettings()
        self._days = days
        self.follower = Follower(days)
        self.catalog = catalog
        self._database = database
        self.live = LiveContext(catalog, settings, lambda: embedder)
        lessons = Lessons(
            database, catalog, self._replay, embedder.embed, Redactor(), "extractive", settings.max_skill_tokens
        )
        self.loop = FastLoop(database, catalog, lessons, embedder.embed)
        self._curator = Curator(database, catalog, embedder.embed, session_idle_seconds=1.0, now=lambda: 1e12)
        self._recorder = Recorder(database, Redactor(), durable_timeout_seconds=60)
        self._told: list[str] = []
        self.found = Followed()

    async def play(self, day: Day) -> None:
        for question in day.questions:
            await self._ask(day, question)
        while self._curator.round():
            pass
        self.found.skills = len(self.catalog.live())

    async def _ask(self, day: Day, question: AnyQuestion) -> None:
        """Ask, score, tell, and wait until all is learned, as the single-shot harness does."""
        body = request_of(self._days, day, day.files, question, "")
        raw = json.dumps({"model": "follower", **body}).encode()
        parsed = chat.parse(raw)
        context = await self.live.for_query(parsed.query, session=question.id)
        told = {**body, "messages": chat.inject(body["messages"], context.composition.text)}
        reply = str(self.follower.message(told)["content"])
        score = score_reply(day.files, question, reply)
        self._note(question, context, score.right)
        said, check = feedback_of(self._days, ARMS["skills"], question, score, reply)
        await self._recorder.turn(self._turn(question, raw, parsed.query, reply, context))
        words, value = ("", 1.0) if score.right else (said, -1.0)
        await self._recorder.feedback(
            Feedback(f"feedback-{question.id}", NAMESPACE, f"turn-{question.id}", value, words,
                     Check(check) if check else None, float(len(self.found.right)))
        )  # fmt: skip
        self._told.append(words)
        while self.loop.intake():
            pass
        while not settled(self._database, NAMESPACE):  # noqa: ASYNC110 - the verification, whose model answers at once
            await asyncio.sleep(0)

    async def _replay(self, body: dict[str, object]) -> str:
        return str(self.follower.message(body)["content"])

    def _turn(self, question: AnyQuestion, raw: bytes, query: str, reply: str, context: Context) -> Turn:
        return Turn(
            id=f"turn-{question.id}", namespace=NAMESPACE, session=f"session-{question.id}", kind=TurnKind.MAIN,
            dialect="chat", request=raw, response=b"{}", query=query, reply=reply, status=200, complete=True,
            skills=tuple(skill.ref for skill in context.composition.skills), injected=context.composition.text,
            generation=context.generation, policy="script", usage={}, timings={},
            created_at=float(len(self.found.right)),
        )  # fmt: skip

    def _note(self, question: AnyQuestion, context: Context, right: bool) -> None:
        text, skills = context.composition.text, context.composition.skills
        self.found.right.append(right)
        self.found.by_day.setdefault(question.day, []).append(right)
        outdated = outdated_in(self._days, {rule.family: rule for rule in question.rules}, text)
        for rule in question.rules:
            fate = OUTDATED if rule.family in outdated else self._fate(rule, text)
            self.found.fates[fate] += 1
            if fate not in (GIVEN, NOT_TOLD):
                self.found.lost.append((question.id, rule.key, fate))
        self.found.given.append(len(skills))
        self.found.useful.append(sum(any(states(skill.body, rule) for rule in question.rules) for skill in skills))

    def _fate(self, rule: Rule, text: str) -> str:
        if states(text, rule) or (rule.revoked and not any(states(text, old) for old in self._before(rule))):
            return GIVEN
        if not any(states(said, rule) for said in self._told):
            return NOT_TOLD
        stating = [skill for skill in self.catalog.all() if states(skill.body, rule)]
        if any(skill.state in (SkillState.ACTIVE, SkillState.TRIAL) for skill in stating):
            return "in the library, not given"
        return self._why_gone(stating)

    def _before(self, rule: Rule) -> list[Rule]:
        return [event.rule for event in self._days.house.events
                if event.rule.family == rule.family and not event.rule.revoked]

    def _why_gone(self, stating: Sequence[Skill]) -> str:
        """What the store says of the skills that stated a rule."""
        if not stating:
            return "never a skill"
        reasons = [self.catalog.history(skill.name)[-1][4].split(",")[0].split(" in ")[0] for skill in stating]
        state = "waits" if any(skill.state is SkillState.CANDIDATE for skill in stating) else "retired"
        return f"{state}: {reasons[-1][:60].rstrip('0123456789@')}"


def table(found: Sequence[Followed]) -> list[tuple[str, int, float]]:
    """What became of the rules that were asked for, with how often and in which share of all, the most frequent first.
    """
    fates: Counter[str] = sum((one.fates for one in found), Counter())
    return [(fate, count, round(count / fates.total(), 4)) for fate, count in fates.most_common()]


@asynccontextmanager
async def opened(days: Workdays, embedder: Embedder) -> AsyncIterator[Office]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metaclaw-following-")))
        database = stack.enter_context(Database(folder / "metaclaw.db"))
        office = Office(days, database, Catalog(database, NAMESPACE, folder / "skills"), embedder)
        verifying = asyncio.create_task(office.loop.verify_pending())
        try:
            yield office
        finally:
            verifying.cancel()
            await asyncio.gather(verifying, return_exceptions=True)


async def follow(days: Workdays, embedder: Embedder, most_days: int) -> Followed:
    """Play the first days of a course."""
    async with opened(days, embedder) as office:
        for day in days.days[:most_days]:
            await office.play(day)
        return office.found


def main(seeds: Sequence[int], most_days: int, console: Console) -> None:
    """Play seeds, and print what became of the rules that their questions asked for."""
    logging.disable(logging.WARNING)  # thousands of failures have much to say
    embedder, found = StaticEmbedder(), list[Followed]()
    for seed in seeds:
        found.append(asyncio.run(follow(generate(seed), embedder, most_days)))
        one = found[-1]
        given = f"{one.skills} skills, {sum(one.given) / len(one.given):.1f} a request"
        console.print(f"seed {seed}: {one.share:.1%} right, {given}", highlight=False)
    for fate, count, share in table(found):
        console.print(f"{share:7.1%} {count:6} {fate}", highlight=False)
