"""2,000 failures of 50 latent rules through the fast loop: does the library stay small, and every rule covered?

The journal, the fast loop with its extractive proposer, its verification, the hold-out, the curator and the retrieval
are the real ones; the model is a script that follows a rule if it is told one. A rule is covered if most of its
held-out requests are given a skill that states it in a user's words. Their topics are none of the stream's, and two
wordings of seven are new. Thresholds were chosen on half of the rules; the other half is told apart.
"""

from __future__ import annotations

import asyncio
import json
import logging
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from metaclaw.bench import results
from metaclaw.bench.curation import data
from metaclaw.bench.curation.data import Case, Rule
from metaclaw.config.request_path import ContextSettings
from metaclaw.context.dense import Vectors
from metaclaw.context.embed import Embedder, StaticEmbedder
from metaclaw.context.live import Context, LiveContext
from metaclaw.evolve.curate import Curator
from metaclaw.evolve.lessons import Lessons
from metaclaw.evolve.loop import FastLoop
from metaclaw.evolve.progress import settled
from metaclaw.journal.recorder import Recorder
from metaclaw.journal.redact import Redactor
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Feedback, Turn, TurnKind

NAMESPACE = "curation"
FAILURES, MOST_SKILLS = 2_000, 75
CURATED_EVERY = 25  # failures: in life a minute passes, not a number of them
HELD_OUT_EACH = 4  # topics for each wording
HOLDOUT_SHARE = 0.05
TAIL = 40  # characters at the end of what a user said, by which it is known again in a skill


@dataclass(frozen=True, slots=True)
class Outcome:
    """Of each rule, whether its held-out requests were given it: in wordings of the stream, and in others."""

    live: int
    seen: Mapping[str, list[bool]]
    unseen: Mapping[str, list[bool]]
    mixed: int  # skills that were written from failures of several rules

    def requests(self, rules: Sequence[Rule]) -> list[bool]:
        return [one for rule in rules for one in (*self.seen[rule.name], *self.unseen[rule.name])]

    def in_new_words(self, rules: Sequence[Rule]) -> list[bool]:
        return [one for rule in rules for one in self.unseen[rule.name]]

    def covered(self, rules: Sequence[Rule]) -> list[bool]:
        return [2 * sum(self.requests([rule])) > len(self.requests([rule])) for rule in rules]


class Remembering:
    """The real embedder, which here is asked for the same texts thousands of times."""

    def __init__(self) -> None:
        self._real = StaticEmbedder()
        self._known: dict[str, Vectors] = {}
        self.name = self._real.name

    def embed(self, texts: Sequence[str]) -> Vectors:
        new = [text for text in dict.fromkeys(texts) if text not in self._known]
        if new:
            self._known |= dict(zip(new, self._real.embed(new), strict=True))
        return np.stack([self._known[text] for text in texts]) if texts else self._real.embed([])


class Follower:
    """The model: gives the right answer to a request of the stream where a text before it states the rule."""

    def __init__(self, cases: Sequence[Case]) -> None:
        self._cases = {case.request: case for case in cases}

    async def __call__(self, body: dict[str, Any]) -> str:
        text = "\n".join(str(message["content"]) for message in body["messages"])
        case = self._cases.get(str(body["messages"][-1]["content"]))
        return case.answer if case and states(text, case.rule) and case.answer else "As you like."


def states(text: str, rule: Rule) -> bool:
    return any(said[-TAIL:] in text for said in rule.said)


async def play(
    rules: Sequence[Rule], n: int, seed: int, embedder: Embedder, *, curated: bool = True, injected: bool = False
) -> Outcome:
    """`injected`: the failures happened under the skills that the library had for them, else without any."""
    cases = data.stream(rules, n, seed)
    with _library() as (database, catalog):
        live = LiveContext(catalog, ContextSettings(), lambda: embedder, holdout_share=HOLDOUT_SHARE)
        budget = ContextSettings().max_skill_tokens
        lessons = Lessons(database, catalog, Follower(cases), embedder.embed, Redactor(), "extractive", budget)
        loop = FastLoop(database, catalog, lessons, embedder.embed)
        curator = Curator(database, catalog, embedder.embed, session_idle_seconds=1.0, now=lambda: 1e12)
        recorder = Recorder(database, Redactor(), durable_timeout_seconds=60)
        verifying = asyncio.create_task(loop.verify_pending())
        for number, case in enumerate(cases):
            found = await live.for_query(case.request, with_skills=injected, session=f"session-{number}")
            await _fail(case, number, found, recorder)
            while loop.intake():
                pass
            while not settled(database, NAMESPACE):  # noqa: ASYNC110 - the verification, whose model answers at once
                await asyncio.sleep(0)
            if curated and number % CURATED_EVERY == CURATED_EVERY - 1:
                curator.round()
        while curated and curator.round():
            pass
        verifying.cancel()
        seen = {rule.name: await _shares(live, rule, rule.requests, seed) for rule in rules}
        unseen = {rule.name: await _shares(live, rule, rule.late_requests, seed) for rule in rules}
        return Outcome(len(catalog.live()), seen, unseen, _mixed(catalog, cases))


async def _shares(live: LiveContext, rule: Rule, wordings: Sequence[str], seed: int) -> list[bool]:
    """For each held-out request, whether it is given the rule."""
    return [
        states((await live.for_query(request)).composition.text, rule)
        for request in data.held_out_requests(wordings, HELD_OUT_EACH, seed)
    ]


async def _fail(case: Case, number: int, found: Context, recorder: Recorder) -> None:
    """A request with the skills that it is given, a wrong reply, and the user's word on it."""
    turn = Turn(
        id=f"turn-{number:05}", namespace=NAMESPACE, session=f"session-{number}", kind=TurnKind.MAIN, dialect="chat",
        request=_chat(case.request), response=b"{}", query=case.request, reply="Done as usual.", status=200,
        complete=True, skills=tuple(skill.ref for skill in found.composition.skills),
        injected=found.composition.text, generation=found.generation, policy="script", usage={}, timings={},
        created_at=float(number), drawn=found.draw.drawn, withheld=found.draw.withheld,
        holdout_share=found.draw.share,
    )
    await recorder.turn(turn)
    await recorder.feedback(
        Feedback(f"feedback-{number}", NAMESPACE, turn.id, -1.0, case.correction, None, float(number))
    )


def main(seed: int, folder: Path, failures: int = FAILURES) -> None:
    logging.disable(logging.WARNING)  # thousands of skills have much to say
    tuning, held_out = data.rules("tuning"), data.rules("held_out")
    both, embedder = [*tuning, *held_out], Remembering()
    found = {
        name: asyncio.run(play(both, failures, seed, embedder, **how))
        for name, how in {
            "curated": {}, "curated, failures despite skills": {"injected": True}, "not curated": {"curated": False},
        }.items()
    }  # fmt: skip
    arms = {}
    for name, outcome in found.items():
        for half, rules in {"tuning rules": tuning, "held-out rules": held_out}.items():
            arms[f"{name}: {half}"] = results.share("rules covered", outcome.covered(rules))
            arms[f"{name}: {half}, requests"] = results.share(
                "held-out requests that are given their rule", outcome.requests(rules)
            )
            arms[f"{name}: {half}, new wordings"] = results.share(
                "the same, in wordings that the stream does not have", outcome.in_new_words(rules)
            )
    curated = found["curated"]
    checks = {
        "live_skills": results.Check(curated.live, f"at most {MOST_SKILLS}", curated.live <= MOST_SKILLS),
        "rules_covered": results.Check(sum(curated.covered(both)), "50 of 50", all(curated.covered(both))),
        "rules_covered_held_out": results.Check(
            sum(curated.covered(held_out)), "25 of 25", all(curated.covered(held_out))
        ),
    }
    path = results.write(
        folder, "curation", f"metaclaw bench curation --seed {seed}", "script", [seed], arms, checks,
        {
            "failures": failures,
            "live_skills": {name: outcome.live for name, outcome in found.items()},
            "skills_of_several_rules": {name: outcome.mixed for name, outcome in found.items()},
            "rules_not_covered": {
                name: [rule.name for rule, held in zip(both, outcome.covered(both), strict=True) if not held]
                for name, outcome in found.items()
            },
        },
    )
    print(path.read_text(encoding="utf-8"))


def _chat(request: str) -> bytes:
    return json.dumps({"model": "script", "messages": [{"role": "user", "content": request}]}).encode()


def _mixed(catalog: Catalog, cases: Sequence[Case]) -> int:
    taught = [{cases[int(turn.removeprefix("turn-"))].rule.name for turn in catalog.support_of(skill)}
              for skill in catalog.live()]
    return sum(len(rules) > 1 for rules in taught)


@contextmanager
def _library() -> Iterator[tuple[Database, Catalog]]:
    with ExitStack() as stack:
        folder = Path(stack.enter_context(tempfile.TemporaryDirectory(prefix="metaclaw-curation-")))
        database = stack.enter_context(Database(folder / "metaclaw.db"))
        yield database, Catalog(database, NAMESPACE, folder / "skills")
