"""Play workdays: for each seed and arm a gateway of its own, day after day, resumable.

    generate(seed) -> for each arm: start a gateway, play its days (single-shot or agent), stop it -> report

`weights` is measured on the gateway of `both`: the same questions, asked without skills and never learned from.
"""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Console

from metaclaw.bench.client import GatewayClient
from metaclaw.bench.server import OwnGateway
from metaclaw.bench.workdays import report
from metaclaw.bench.workdays.agent import Agent
from metaclaw.bench.workdays.arms import ARMS, Arm
from metaclaw.bench.workdays.generate import Day, Workdays, generate
from metaclaw.bench.workdays.rules import DAYS
from metaclaw.bench.workdays.runfile import Record, RunFile
from metaclaw.bench.workdays.single import SingleShot
from metaclaw.config import SandboxSettings
from metaclaw.errors import MetaClawError
from metaclaw.sandbox import Sandbox

VERSION = 1  # of the questions: results of different ones do not mix
IDLE_SECONDS = 5.0
NIGHT_SECONDS = 3_600.0
NO_TRAINING_SECONDS = 30.0  # after so long without a job, the night brings none
JAIL = SandboxSettings(engine="strong", seconds=10.0, memory_mb=256, output_bytes=900_000)

Mode = Literal["single", "agent"]


@dataclass(frozen=True, slots=True)
class Plan:
    """What is run. `upstream` and `model` name a provider; without an upstream the embedded model answers."""

    mode: Mode
    arms: tuple[str, ...]
    seeds: tuple[int, ...]
    days: int
    upstream: str | None
    model: str | None
    night_every: int
    run_dir: Path
    prices: tuple[float, float]

    @property
    def bench(self) -> str:
        return "workdays" if self.mode == "single" else "workdays-agent"

    @property
    def command(self) -> str:
        parts = ["metaclaw bench workdays", f"--mode {self.mode}", f"--arms {','.join(self.arms)}",
                 f"--seeds {','.join(map(str, self.seeds))}", f"--days {self.days}"]  # fmt: skip
        parts += [f"--upstream {self.upstream}"] if self.upstream else []
        return " ".join([*parts, *([f"--model {self.model}"] if self.model else [])])

    def settings(self, arm: Arm) -> dict[str, Any]:
        """The gateway's settings: it learns only in arms that do, and trains only when the bench calls it a night."""
        model = {"model": {"name": self.model}} if self.model else {}
        return {
            **({"upstream": {"url": self.upstream, "model": self.model}} if self.upstream else model),
            "evolve": {"enabled": arm.learns},
            "training": {"enabled": arm.trains},
            "schedule": {"idle_seconds": IDLE_SECONDS, "sleep_hours": ""},
        }


def main(plan: Plan, results: Path, console: Console) -> None:
    """Run what is not done yet, then report all of it."""
    unknown = set(plan.arms) - set(ARMS)
    if unknown:
        raise MetaClawError(f"There is no arm {', '.join(sorted(unknown))}. Known: {', '.join(ARMS)}.")
    if not 1 <= plan.days <= DAYS:
        raise MetaClawError(f"--days must be between 1 and {DAYS}.")
    asyncio.run(run(plan, results, console))


async def run(plan: Plan, results: Path, console: Console) -> None:
    done: dict[str, dict[int, Sequence[Record]]] = {name: {} for name in plan.arms}
    model = plan.model or ""
    for seed in plan.seeds:
        days = generate(seed)
        for group in groups(plan.arms):
            files = {arm.name: _run_file(plan, seed, arm) for arm in group}
            model = await _play(plan, days, group, files, console) or model
            for name, file in files.items():
                if name in done:
                    done[name][seed] = file.records
    policies = {r.policy.partition("@")[0] for some in done.values() for rs in some.values() for r in rs if r.policy}
    report.publish(plan.bench, plan.command, model or ", ".join(sorted(policies)), done, plan.prices, results, console)


def groups(names: Sequence[str]) -> list[list[Arm]]:
    """The arms by the gateway that they share: `weights` is asked before `both` learns from the day."""
    alone = [[ARMS[name]] for name in names if name not in ("weights", "both")]
    together = [[ARMS["weights"], ARMS["both"]]] if {"weights", "both"} & set(names) else []
    return alone + together


async def _play(
    plan: Plan, days: Workdays, group: Sequence[Arm], files: Mapping[str, RunFile], console: Console
) -> str:
    """All days of a group's arms on one gateway. Returns the model's name; empty where nothing was left to do."""
    wanted = days.days[: plan.days]
    left = [day for day in wanted if any(_open(file, day) for file in files.values())]
    if not left:
        return ""
    main_arm = group[-1]
    folder = plan.run_dir / plan.mode / f"seed{days.seed}" / f"{main_arm.name}-gateway"
    begun = any(file.records for file in files.values())
    if begun and main_arm.learns and not folder.exists():
        raise MetaClawError(f"What {main_arm.name} learned lay in {folder}, which is gone: remove its run file too.")
    async with AsyncExitStack() as stack:
        server = await stack.enter_async_context(OwnGateway(folder, plan.settings(main_arm), fresh=not begun))
        client = await stack.enter_async_context(GatewayClient(server.url, server.token))
        sandbox = await stack.enter_async_context(jail())
        for day in left:
            for arm in group:
                await _player(plan, days, arm, client, files[arm.name], sandbox).play(day)
                _say(console, days.seed, arm, day, files[arm.name])
            if main_arm.trains and day.number % plan.night_every == 0:
                await night(client)
        return server.model_name


def _player(
    plan: Plan, days: Workdays, arm: Arm, client: GatewayClient, file: RunFile, sandbox: Sandbox
) -> SingleShot | Agent:
    if plan.mode == "single":
        return SingleShot(days, arm, client, file)
    return Agent(days, arm, client, file, sandbox)


async def night(client: GatewayClient) -> None:
    """Leave the gateway alone until it has trained and judged, or found nothing to train on."""
    before = (await client.status()).get("job") or {}
    started = time.monotonic()
    while time.monotonic() - started < NIGHT_SECONDS:
        await asyncio.sleep(1.0)
        job = (await client.status()).get("job") or {}
        if job == before and time.monotonic() - started > IDLE_SECONDS + NO_TRAINING_SECONDS:
            return
        if job != before and job.get("state") in ("done", "failed"):
            return


@asynccontextmanager
async def jail() -> AsyncIterator[Sandbox]:
    """Where the agent's programs run; it is started with the first of them."""
    sandbox = Sandbox(JAIL)
    try:
        yield sandbox
    finally:
        await sandbox.close()


def _open(file: RunFile, day: Day) -> bool:
    return any(question.id not in file.answered for question in day.questions)


def _run_file(plan: Plan, seed: int, arm: Arm) -> RunFile:
    told = {
        "bench": plan.bench, "version": VERSION, "seed": seed, "arm": arm.name, "upstream": plan.upstream,
        "model": plan.model, "night_every": plan.night_every if arm.name in ("weights", "both") else 0,
    }  # fmt: skip
    return RunFile(plan.run_dir / plan.mode / f"seed{seed}" / f"{arm.name}.jsonl", told)


def _say(console: Console, seed: int, arm: Arm, day: Day, file: RunFile) -> None:
    today = [record for record in file.records if record.day == day.number]
    right = sum(record.right for record in today)
    seconds = sum(record.seconds for record in today)
    console.print(
        f"seed {seed}, {arm.name}, day {day.number}: {right} of {len(today)} right, {seconds:.0f} s", highlight=False
    )

