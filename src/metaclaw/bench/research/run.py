"""`metaclaw bench research`: the studies of each arm through a gateway of its own, resumable, and what they come to.

    learning arms: six studies with feedback -> (both: a night) -> six held-out studies, from which nothing is learned
    frozen:        the six held-out studies

A run file holds a line for each study that was played to its end; the same command goes on from there.
"""

from __future__ import annotations

import asyncio
from collections.abc import Mapping, Sequence
from contextlib import AsyncExitStack
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console
from rich.table import Table

from metaclaw.bench.client import MEASURED, WHOEVER_IS_THERE, WITHOUT_SKILLS, Completion, GatewayClient
from metaclaw.bench.research import score
from metaclaw.bench.research.pipeline import MAX_TOKENS, Pipeline, Run
from metaclaw.bench.research.topics import HELD_OUT, LEARNED_ON, Topic
from metaclaw.bench.results import Arm, Check, write
from metaclaw.bench.runfile import Lines
from metaclaw.bench.server import OwnGateway
from metaclaw.bench.workdays.outcome import settled
from metaclaw.bench.workdays.playing import IDLE_SECONDS, jail, night, stopped_in_order
from metaclaw.errors import MetaClawError

PIPELINE = "research-1"  # counts up with every change of topics, stages or rules
ARMS = ("frozen", "skills", "both")
REACH = 0.183
NIGHT = {"night": "over"}
SYSTEM = (
    "You carry out one stage of a research pipeline. Answer with JSON only. What the laboratory expects of a stage, "
    "you are told when an answer is rejected, or know from before."
)


@dataclass(frozen=True, slots=True)
class Plan:
    """Which arms on which model. `held_out` and `learned_on` are so many topics of each half, from the first."""

    arms: tuple[str, ...]
    learned_on: int
    held_out: int
    upstream: str | None
    model: str | None
    run_dir: Path

    def __post_init__(self) -> None:
        if unknown := set(self.arms) - set(ARMS):
            raise MetaClawError(f"There is no arm {', '.join(sorted(unknown))}. Known: {', '.join(ARMS)}.")

    @property
    def options(self) -> str:
        found = [f"--arms {','.join(self.arms)}"]
        found += [f"--learned-on {self.learned_on}"] if self.learned_on != len(LEARNED_ON) else []
        found += [f"--held-out {self.held_out}"] if self.held_out != len(HELD_OUT) else []
        found += [f"--upstream {self.upstream}"] if self.upstream else []
        return " ".join([*found, *([f"--model {self.model}"] if self.model else [])])

    def topics(self, arm: str) -> list[tuple[Topic, bool]]:
        """An arm's studies in order, each with whether it is learned from."""
        taught = [] if arm == "frozen" else [(topic, True) for topic in LEARNED_ON[: self.learned_on]]
        return [*taught, *((topic, False) for topic in HELD_OUT[: self.held_out])]

    def settings(self, arm: str) -> dict[str, Any]:
        model = {"model": {"name": self.model}} if self.model else {}
        return {
            **({"upstream": {"url": self.upstream, "model": self.model}} if self.upstream else model),
            "evolve": {"enabled": arm != "frozen", "holdout_share": 0},
            "training": {"enabled": arm == "both"},
            "serving": {"canary_share": 0},  # the night's adapter answers all that is held out
            "schedule": {"idle_seconds": IDLE_SECONDS, "sleep_hours": "", **WHOEVER_IS_THERE},
        }

    def study_file(self, arm: str) -> StudyFile:
        """What is held out depends on what was learned before: a file of another `learned_on` is another run's."""
        learned_on = {} if arm == "frozen" else {"learned_on": self.learned_on}
        told = {"pipeline": PIPELINE, "arm": arm, "upstream": self.upstream, "model": self.model, **learned_on}
        return StudyFile(self.run_dir / PIPELINE / f"{arm}.jsonl", told)


class StudyFile:
    """Played studies, a line of JSON each, and one for the night, once it is over."""

    def __init__(self, path: Path, plan: Mapping[str, Any]) -> None:
        self._lines = Lines(path, plan)
        self.path = path
        self.slept = NIGHT in self._lines.found
        self.runs = {run.topic: run for run in map(Run.of_json, (one for one in self._lines.found if one != NIGHT))}

    def add(self, run: Run) -> None:
        """Kept on disk when this returns."""
        self.runs[run.topic] = run
        self._lines.add(run.as_json())

    def add_night(self) -> None:
        self.slept = True
        self._lines.add(NIGHT)


@dataclass(frozen=True, slots=True)
class Asker:
    """The pipeline's side of the gateway: an ordinary client of chat completions."""

    client: GatewayClient
    headers: Mapping[str, str]
    learns: bool

    async def ask(self, prompt: str, schema: Mapping[str, Any], session: str) -> Completion:
        messages = [{"role": "system", "content": SYSTEM}, {"role": "user", "content": prompt}]
        form = {"type": "json_schema", "json_schema": {"name": "answer", "schema": schema}}
        body = {"messages": messages, "temperature": 0, "max_tokens": MAX_TOKENS, "response_format": form}
        return await self.client.complete(body, {"x-session-id": session, **self.headers})

    async def tell(self, turn_id: str, reasons: str) -> None:
        if self.learns:
            await self.client.feedback(turn_id, -1 if reasons else 1, reasons)
            await settled(self.client)


def main(plan: Plan, results: Path, console: Console) -> None:
    asyncio.run(run(plan, results, console))


async def run(plan: Plan, results: Path, console: Console) -> None:
    """Play what is not played yet, then write `research.json`."""
    files: dict[str, StudyFile] = {}
    model = ""
    with stopped_in_order():
        for arm in plan.arms:
            files[arm] = plan.study_file(arm)
            model = await play(plan, arm, files[arm], console) or model
    policies = {e.policy.partition("@")[0] for file in files.values() for r in file.runs.values() for e in r.executions}
    publish(plan, plan.model or model or ", ".join(sorted(policies - {""})), files, results, console)


async def play(plan: Plan, arm: str, file: StudyFile, console: Console) -> str:
    """An arm's studies that are left. Returns the model's name; empty where nothing was left to do."""
    left = [(topic, taught) for topic, taught in plan.topics(arm) if topic.slug not in file.runs]
    model = ""
    for topic in (topic for topic, taught in left if taught):  # one that was cut short forgets what it was told
        model = await _play_some(plan, arm, file, [(topic, True)], topic.slug, console)
    held_out = [(topic, taught) for topic, taught in left if not taught]
    return await _play_some(plan, arm, file, held_out, "", console) if held_out else model


async def _play_some(
    plan: Plan, arm: str, file: StudyFile, studies: Sequence[tuple[Topic, bool]], stretch: str, console: Console
) -> str:
    """Some studies on the arm's gateway, the night before those that are held out. Returns the model's name."""
    folder = file.path.with_name(f"{arm}-gateway")
    if file.runs and arm != "frozen" and not folder.exists():
        raise MetaClawError(f"What {arm} learned lay in {folder}, which is gone: remove {file.path} too.")
    async with AsyncExitStack() as stack:
        own = OwnGateway(folder, plan.settings(arm), fresh=not file.runs, stretch=stretch)
        server = await stack.enter_async_context(own)
        client = await stack.enter_async_context(GatewayClient(server.url, server.token))
        sandbox = await stack.enter_async_context(jail())
        try:
            for topic, taught in studies:
                if arm == "both" and not taught and not file.slept:
                    await night(client)
                    file.add_night()
                headers = {} if taught else {**MEASURED, **(WITHOUT_SKILLS if arm == "frozen" else {})}
                asker = Asker(client, headers, learns=taught)
                played = await Pipeline(topic, f"research-{arm}-{topic.slug}", asker, sandbox).play()
                file.add(played)
                console.print(line(arm, played), highlight=False)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise MetaClawError(f"A request failed ({error!r}). The same command goes on from here.") from error
        return server.model_name


def line(arm: str, played: Run) -> str:
    return (
        f"{arm}, {played.topic}: completion {score.completion(played):.0%}, {score.retries(played)} retries, "
        f"{score.cycles(played)} cycles, composite {score.composite(played):.3f}"
    )


def publish(plan: Plan, model: str, files: Mapping[str, StudyFile], results: Path, console: Console) -> None:
    """Print the table of the held-out half and write `research.json`."""
    held = {arm: halves(file, HELD_OUT) for arm, file in files.items() if halves(file, HELD_OUT)}
    taught = {arm: halves(file, LEARNED_ON) for arm, file in files.items() if halves(file, LEARNED_ON)}
    shown = Table("arm", *score.MEASURES, "n", title="Held-out studies: means, with 95 % intervals over topics")
    for arm, runs in held.items():
        found = [score.mean(measure, runs) for measure in score.MEASURES]
        cells = [f"{one.value:.3f} ({one.ci95[0]:.3f} to {one.ci95[1]:.3f})" for one in found]
        shown.add_row(arm, *cells, str(len(runs)))
    console.print(shown)
    checks = make_checks(held)
    for name, check in checks.items():
        console.print(f"{'holds ' if check.holds else 'FAILS '} {name}: {check.value} (bar: {check.bar})", markup=False)
    details = {
        half: {arm: {m: asdict(score.mean(m, runs)) for m in score.MEASURES} for arm, runs in by_arm.items()}
        for half, by_arm in (("held_out", held), ("while_learning", taught))
    }
    gains = {arm: score.gain("composite", runs, held["frozen"]) for arm, runs in held.items() if "frozen" in held}
    arms: dict[str, Arm] = {arm: score.mean("composite", runs) for arm, runs in held.items()}
    extra = {"details_by_half": details, "gain_of_composite": gains, "by_stage": by_stage(held)}
    command = f"metaclaw bench research {plan.options}"
    path = write(results, "research", command, model, [1], arms, checks, extra)
    console.print(f"written: {path}", highlight=False)


def halves(file: StudyFile, topics: Sequence[Topic]) -> list[Run]:
    return [file.runs[topic.slug] for topic in topics if topic.slug in file.runs]


def make_checks(held: Mapping[str, Sequence[Run]]) -> dict[str, Check]:
    """The figures that were asked for, of the arms that were run."""
    checks: dict[str, Check] = {}
    for arm in ("skills", "both"):
        found = score.gain("composite", held[arm], held["frozen"]) if arm in held and "frozen" in held else None
        if found:
            checks[f"{arm}_gain_of_composite"] = Check(found[0], f"at least {REACH}", found[0] >= REACH)
    topics = max((len(runs) for runs in held.values()), default=0)
    checks["held_out_topics"] = Check(topics, "at least 6", topics >= 6)
    return checks


def by_stage(held: Mapping[str, Sequence[Run]]) -> dict[str, dict[str, float]]:
    """How often each stage's first answer was accepted, by arm: where the rest is lost."""
    found: dict[str, dict[str, float]] = {}
    for arm, runs in held.items():
        executions = [execution for run in runs for execution in run.executions]
        for stage in dict.fromkeys(execution.stage for execution in executions):
            own = [e.accepted and e.attempts == 1 for e in executions if e.stage == stage]
            found.setdefault(stage, {})[arm] = round(sum(own) / len(own), 3)
    return found
