"""One study from its topic to its references: 23 stages, each asked through the gateway and held to its contract.

    ask -> check -> rejected: it is asked again with the reasons (twice at most)
    a gate rejects -> the stage before is done again, then the gate (twice at most)
    the decision pivots -> the opposite claim: hypotheses, analysis and decision again (twice at most)

A stage that fails for good counts as not completed; the bench's worked answer takes its place, so that what follows is
measured too. The gateway sees an ordinary client: a session for each study, and feedback on each answer where the arm
learns.
"""

from __future__ import annotations

import json
import math
import time
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field, replace
from typing import Any, Protocol

from metaclaw.bench.client import Completion
from metaclaw.bench.research.stage import Stage
from metaclaw.bench.research.stages import BY_NAME, STAGES
from metaclaw.bench.research.study import Answer, Study
from metaclaw.bench.research.topics import ROLES, Topic
from metaclaw.sandbox import Call, Result

RETRIES = 2
SEND_BACKS = 2
PIVOTS = 2
MAX_TOKENS = 700
AFTER_PIVOT = ("hypotheses", "analysis", "decision")
NO_EXPERIMENT = "The experiment runs for each seed, returns three finite numbers, and the same ones for the same seed."


class Asks(Protocol):
    """Puts a question to a model, and hears what came of the answer."""

    async def ask(self, prompt: str, schema: Mapping[str, Any], session: str) -> Completion: ...

    async def tell(self, turn_id: str, reasons: str) -> None:
        """`reasons` why the answer was rejected; empty where it was accepted."""


class Runs(Protocol):
    """Where experiments run."""

    async def run(self, call: Call) -> Result: ...


@dataclass(frozen=True, slots=True)
class Execution:
    """One stage, asked until its answer was accepted or its retries were spent. `sent_back`: a gate that rejected."""

    stage: str
    attempts: int
    accepted: bool
    sent_back: bool = False
    reasons: tuple[str, ...] = ()
    skills: tuple[str, ...] = ()
    policy: str = ""
    prompt_tokens: int = 0
    completion_tokens: int = 0
    seconds: float = 0.0


@dataclass(frozen=True, slots=True)
class Run:
    """A study that was played to its end. `executions` are in order; `note` says where one was cut short, and why."""

    topic: str
    executions: tuple[Execution, ...]
    pivots: int
    needed_pivots: int

    def as_json(self) -> dict[str, Any]:
        return asdict(self)

    @classmethod
    def of_json(cls, raw: Mapping[str, Any]) -> Run:
        made = tuple(
            Execution(**{**one, "reasons": tuple(one["reasons"]), "skills": tuple(one["skills"])})
            for one in raw["executions"]
        )
        return cls(raw["topic"], made, raw["pivots"], raw["needed_pivots"])


@dataclass(slots=True)
class Pipeline:
    """Plays one topic. `session` names the conversation to the gateway."""

    topic: Topic
    session: str
    model: Asks
    sandbox: Runs
    study: Study = field(init=False)
    executions: list[Execution] = field(default_factory=list)

    def __post_init__(self) -> None:
        self.study = Study(self.topic)

    async def play(self) -> Run:
        for stage in STAGES:
            await self._pass(stage)
            if stage.name == "run":
                await self._experiment()
            if stage.name == "decision":
                await self._turn_round()
        return Run(self.topic.slug, tuple(self.executions), self.study.pivots, int(not self.study.candidate_is_better))

    async def _turn_round(self) -> None:
        """After a pivot, the opposite claim: its hypothesis, the analysis and the decision."""
        while self.study.get("decision", "decision") == "pivot" and self.study.pivots < PIVOTS:
            self.study.pivots += 1
            for name in AFTER_PIVOT:
                await self._pass(BY_NAME[name])

    async def _pass(self, stage: Stage) -> None:
        """Have a stage done. Of a gate that rejects, the stage before and the gate are done again."""
        done = await self._do(stage, "")
        for _ in range(SEND_BACKS if stage.back_to else 0):
            if done.accepted:
                return
            self.executions[-1] = replace(done, sent_back=True)
            why = " ".join(done.reasons)
            await self._do(BY_NAME[stage.back_to], f"The next stage, {stage.name}, was rejected: {why}")
            done = await self._do(stage, f"It was rejected before: {why}")

    async def _do(self, stage: Stage, note: str) -> Execution:
        """Ask until the answer is accepted, at most `RETRIES` times again; a gate is asked once."""
        started = time.perf_counter()
        replies: list[Completion] = []
        reasons: list[str] = []
        for _ in range(1 if stage.back_to else 1 + RETRIES):
            asked = prompt(stage, self.study, note)
            reply = await self.model.ask(asked, stage.schema(self.study), self.session)
            replies.append(reply)
            answer = parsed(reply.text)
            reasons = await self._broken(stage, answer)
            if not reply.refused:
                said = f"Stage {stage.name}: {' '.join(reasons)}" if reasons else ""
                await self.model.tell(reply.turn_id, said)
            if not reasons:
                break
            # Without the rejected answer: a small model that sees it writes it once more.
            note = f"An earlier answer was rejected. {' '.join(reasons)}"
        self.study.answers[stage.name] = stage.worked(self.study) if reasons else answer
        done = Execution(
            stage.name, len(replies), not reasons, False, tuple(reasons),
            tuple(sorted({skill for one in replies for skill in one.skills})), replies[-1].policy,
            sum(one.prompt_tokens for one in replies), sum(one.completion_tokens for one in replies),
            round(time.perf_counter() - started, 2),
        )  # fmt: skip
        self.executions.append(done)
        return done

    async def _broken(self, stage: Stage, answer: Answer) -> list[str]:
        """What an answer breaks of the contract; code must also run."""
        broken = stage.broken(answer, self.study)
        if stage.name == "code" and not broken and not await self._works(str(answer["code"])):
            broken = [NO_EXPERIMENT]
        return broken

    async def _works(self, code: str) -> bool:
        """Whether code measures: for two seeds, finite, and twice the same."""
        first = [await self._measured(code, seed) for seed in (1, 2)]
        return None not in first and first == [await self._measured(code, seed) for seed in (1, 2)]

    async def _measured(self, code: str, seed: int) -> Mapping[str, float] | None:
        done = await self.sandbox.run(Call(code, "measure", {"seed": seed}))
        value = done.value
        if not done.ok or not isinstance(value, dict) or not set(ROLES) <= set(value):
            return None
        numbers = {role: value[role] for role in ROLES}
        plain = all(isinstance(one, int | float) and math.isfinite(one) for one in numbers.values())
        return numbers if plain else None

    async def _experiment(self) -> None:
        """Run the study's code for each seed; where it fails on one of them, the bench's own program does."""
        for code in (str(self.study.get("code", "code")), self.topic.program):
            rows = [await self._measured(code, seed) for seed in self.study.seeds]
            if all(row is not None for row in rows):
                self.study.rows = [row for row in rows if row is not None]
                return


def prompt(stage: Stage, study: Study, note: str) -> str:
    """What a stage is asked: its number and task, what it works on, and why it is done again."""
    number = STAGES.index(stage) + 1
    form = ", ".join(f'"{key}"' for key in stage.schema(study)["properties"])
    head = f"Stage {number} of {len(STAGES)}, {stage.name}. {stage.task} Answer as a JSON object with {form}."
    return "\n\n".join(part for part in (head, stage.shown(study), note) if part)


def parsed(reply: str) -> Answer:
    """A reply as a JSON object; what is none is an answer with nothing in it."""
    try:
        found = json.loads(reply)
    except (ValueError, RecursionError):
        return {}
    return found if isinstance(found, dict) else {}
