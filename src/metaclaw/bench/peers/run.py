"""`metaclaw bench peers`: the same questions, the same model and the same feedback, by what one puts before the model.

    one provider (the embedded engine, or somebody's), behind a meter
    for each arm: its memory, or its gateway -> the days, one question after the other -> the run file

Each arm hears after each question what the user says of its own answer, in words alone: the pattern that the other
benchmarks send ours with the feedback would be for nobody else. Resumable: the same command goes on.
"""

from __future__ import annotations

import asyncio
import json
import shutil
from collections import Counter
from collections.abc import AsyncIterator, Mapping
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import aiohttp
from rich.console import Console

from metaclaw.bench.client import WHOEVER_IS_THERE, GatewayClient
from metaclaw.bench.peers import report
from metaclaw.bench.peers.memory import FirstK
from metaclaw.bench.peers.meter import Meter, MeteredRun
from metaclaw.bench.peers.process import Peer, PeerError, environment
from metaclaw.bench.peers.provider import Provider, provider
from metaclaw.bench.server import OwnGateway
from metaclaw.bench.workdays.arms import Arm
from metaclaw.bench.workdays.generate import Workdays, generate
from metaclaw.bench.workdays.playing import IDLE_SECONDS, stopped_in_order
from metaclaw.bench.workdays.rules import DAYS
from metaclaw.bench.workdays.run import COURSE
from metaclaw.bench.workdays.single import Memory, SingleShot
from metaclaw.errors import MetaClawError

MEM0 = ("mem0ai==2.2.1", "langchain==1.5.2", "wordllama==0.4.0.post1")
ACE = ("ace-framework==0.7.1",)


@dataclass(frozen=True, slots=True)
class Way:
    """An arm, and the peer that it is, if any: the module of its side, its packages, and its own settings."""

    arm: Arm
    side: str = ""
    packages: tuple[str, ...] = ()
    config: Mapping[str, Any] | None = None


WAYS = {
    way.arm.name: way
    for way in (
        Way(Arm("raw")),
        Way(Arm("feedback-log")),
        Way(Arm("mem0"), "mem0", MEM0, {"infer": True}),
        Way(Arm("mem0-verbatim"), "mem0", MEM0, {"infer": False}),
        Way(Arm("ace"), "ace", ACE, {}),
        Way(Arm("first-k", learns=True, checked=False)),
        Way(Arm("skills", learns=True, skills=True, checked=False)),
    )
}


@dataclass(frozen=True, slots=True)
class Plan:
    """`upstream` and `model` name a provider; without an upstream the embedded model's engine answers. Of each day, so
    many `questions` are asked. Environments of peers are made below `venvs`."""

    arms: tuple[str, ...]
    seed: int
    days: int
    questions: int
    upstream: str | None
    model: str | None
    run_dir: Path
    venvs: Path

    def __post_init__(self) -> None:
        if unknown := set(self.arms) - set(WAYS):
            raise MetaClawError(f"There is no arm {', '.join(sorted(unknown))}. Known: {', '.join(WAYS)}.")
        if not 1 <= self.days <= DAYS:
            raise MetaClawError(f"--days must be between 1 and {DAYS}.")

    @property
    def command(self) -> str:
        found = ["metaclaw bench peers", f"--arms {','.join(self.arms)} --seed {self.seed} --days {self.days}"]
        found += [f"--questions {self.questions}"]
        found += [f"--upstream {self.upstream}"] if self.upstream else []
        return " ".join([*found, *([f"--model {self.model}"] if self.model else [])])

    @property
    def folder(self) -> Path:
        return self.run_dir / COURSE / f"seed{self.seed}"

    def file(self, way: Way, ending: str) -> Path:
        return self.folder / f"{way.arm.name}{ending}"

    def told(self, way: Way) -> Mapping[str, Any]:
        """What a run file says of its run: one of another run is refused."""
        return {
            "course": COURSE, "bench": "peers", "seed": self.seed, "arm": way.arm.name, "upstream": self.upstream,
            "model": self.model, "questions": self.questions, "packages": list(way.packages),
        }  # fmt: skip


def main(plan: Plan, results: Path, console: Console) -> None:
    asyncio.run(run(plan, results, console))


async def run(plan: Plan, results: Path, console: Console) -> None:
    """Play what is not played yet, then write `peers.json`; also where the run is stopped, with what there is.

    A peer that cannot be run is told there, with its error.
    """
    course = generate(plan.seed).cut(plan.days, plan.questions)
    async with provider(plan.upstream, plan.model) as asked, Meter(asked.url, asked.key) as meter:
        ways = [WAYS[name] for name in plan.arms]
        files = {way.arm.name: MeteredRun(plan.file(way, ".jsonl"), plan.told(way), meter) for way in ways}
        try:
            with stopped_in_order():
                for way in ways:
                    await _play_or_say(plan, way, course, asked, meter, files[way.arm.name], console)
        finally:
            notes = {way.arm.name: _notes(plan.file(way, "-told.json")) for way in ways}
            records = {name: file.of(course) for name, file in files.items()}
            if any(records.values()):
                report.publish(plan.command, asked.model, plan.seed, records, notes, results, console)


async def _play_or_say(
    plan: Plan, way: Way, course: Workdays, asked: Provider, meter: Meter, file: MeteredRun, console: Console
) -> None:
    try:
        await _play(plan, way, course, asked, meter, file, console)
    except PeerError as error:
        plan.file(way, "-told.json").write_text(json.dumps({"could_not_be_run": str(error)}), encoding="utf-8")
        console.print(f"{way.arm.name} could not be run: {error}", markup=False)
    except (aiohttp.ClientError, TimeoutError) as error:
        raise MetaClawError(f"A request failed ({error!r}). The same command goes on from here.") from error


async def _play(
    plan: Plan, way: Way, course: Workdays, asked: Provider, meter: Meter, file: MeteredRun, console: Console
) -> None:
    """The days of an arm that are left."""
    told = plan.file(way, "-told.json")
    if not file.records:
        told.unlink(missing_ok=True)
    days = [day for day in course.days if any(question.id not in file.answered for question in day.questions)]
    if not days:
        return
    async with AsyncExitStack() as stack:
        client, memory = await stack.enter_async_context(_opened(plan, way, asked, meter, fresh=not file.records))
        meter.take()  # what a start asks is no question's
        player = SingleShot(course, way.arm, client, file, memory)
        for day in days:
            try:
                await player.play(day)
            finally:
                told.write_text(json.dumps(_noted(_notes(told), memory)), encoding="utf-8")
            today = [record for record in file.records if record.day == day.number]
            right, seconds = sum(record.right for record in today), sum(record.seconds for record in today)
            console.print(f"{way.arm.name}, day {day.number}: {right} of {len(today)} right, {seconds:.0f} s")


@asynccontextmanager
async def _opened(
    plan: Plan, way: Way, asked: Provider, meter: Meter, *, fresh: bool
) -> AsyncIterator[tuple[GatewayClient, Memory | None]]:
    """Whom the arm asks, and its memory: both as an earlier run left them, unless `fresh`."""
    folder = plan.file(way, "-home")
    if not fresh and not folder.exists() and (way.side or way.arm.learns):
        raise MetaClawError(f"What {way.arm.name} learned lay in {folder}, which is gone: remove its run file too.")
    async with AsyncExitStack() as stack:
        if way.arm.learns:
            server = await stack.enter_async_context(OwnGateway(folder, _settings(meter, asked), fresh=fresh))
            client = await stack.enter_async_context(GatewayClient(server.url, server.token))
            yield client, None if way.arm.skills else FirstK(folder / "skills" / "default")
            return
        client = await stack.enter_async_context(GatewayClient(meter.base, "none", asked.model))
        if not way.side:
            yield client, None
            return
        python = await asyncio.to_thread(environment, way.side, way.packages, plan.venvs)
        if fresh:
            shutil.rmtree(folder, ignore_errors=True)
        folder.mkdir(parents=True, exist_ok=True)
        config = {"url": meter.url, "model": asked.model, "folder": str(folder.absolute()), **(way.config or {})}
        log = plan.file(way, ".log")
        yield client, await stack.enter_async_context(Peer(way.side, python, config, log))


def _settings(meter: Meter, asked: Provider) -> dict[str, Any]:
    """Of a gateway of ours before the same provider; everything else as it comes."""
    return {
        "upstream": {"url": meter.url, "model": asked.model},
        "evolve": {"holdout_share": 0},
        "training": {"enabled": False},
        "schedule": {"idle_seconds": IDLE_SECONDS, "sleep_hours": "", **WHOEVER_IS_THERE},
    }


def _notes(told: Path) -> dict[str, Any]:
    """What is to be told of an arm beside its records, as far as anything is."""
    found: dict[str, Any] = json.loads(told.read_text(encoding="utf-8")) if told.exists() else {}
    return found


def _noted(notes: Mapping[str, Any], memory: Memory | None) -> dict[str, Any]:
    """With a peer's version, how much it holds, and what it raised since the last time."""
    if not isinstance(memory, Peer):
        return dict(notes)
    errors = Counter(notes.get("errors", {})) + memory.errors
    memory.errors.clear()
    return {"version": memory.version, "holds": memory.holds, "errors": dict(errors)}
