"""Play a course: for each arm a gateway of its own, day after day, resumable.

    for each arm: start a gateway -> play its days (single-shot or agent), with a night now and then -> stop it

`weights` is measured on the gateway of `both`: the same questions, asked without skills and never learned from. Where a
day is played as a whole, whoever learns gets a gateway anew each morning, so that a day cut short can be forgotten.
"""

from __future__ import annotations

import asyncio
import signal
import time
from collections.abc import AsyncIterator, Iterator, Mapping, Sequence
from contextlib import AsyncExitStack, asynccontextmanager, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

import aiohttp
from rich.console import Console

from metaclaw.bench.client import WHOEVER_IS_THERE, GatewayClient
from metaclaw.bench.server import OwnGateway
from metaclaw.bench.workdays.agent import Agent
from metaclaw.bench.workdays.arms import ARMS, Arm
from metaclaw.bench.workdays.course import Course, Day
from metaclaw.bench.workdays.runfile import RunFile
from metaclaw.bench.workdays.single import SingleShot
from metaclaw.config.fast_loop import SandboxSettings
from metaclaw.errors import MetaClawError
from metaclaw.sandbox import Sandbox

IDLE_SECONDS = 5.0
NIGHT_SECONDS = 3_600.0
NO_TRAINING_SECONDS = 30.0  # after so long without a job, the night brings none
JAIL = SandboxSettings(engine="strong", seconds=10.0, memory_mb=256, output_bytes=900_000)

Mode = Literal["single", "agent"]


@dataclass(frozen=True, slots=True)
class Plan:
    """How a course is played. `upstream` and `model` name a provider; without an upstream the embedded model answers.

    `course` names the questions and their version: results of different ones do not mix. `days` counts from the first;
    whoever makes the course cuts it there.
    """

    course: str
    mode: Mode
    arms: tuple[str, ...]
    days: int
    upstream: str | None
    model: str | None
    night_every: int
    run_dir: Path
    prices: tuple[float, float]

    def __post_init__(self) -> None:
        if unknown := set(self.arms) - set(ARMS):
            raise MetaClawError(f"There is no arm {', '.join(sorted(unknown))}. Known: {', '.join(ARMS)}.")

    @property
    def options(self) -> str:
        """The plan as options of the command line, for whoever runs it again."""
        found = [f"--mode {self.mode}", f"--arms {','.join(self.arms)}"]
        found += [f"--upstream {self.upstream}"] if self.upstream else []
        return " ".join([*found, *([f"--model {self.model}"] if self.model else [])])

    def settings(self, arm: Arm) -> dict[str, Any]:
        """The gateway's settings: it learns only in arms that do, and trains only in those that may."""
        model = {"model": {"name": self.model}} if self.model else {}
        return {
            **({"upstream": {"url": self.upstream, "model": self.model}} if self.upstream else model),
            "evolve": {"enabled": arm.learns, "holdout_share": 0},
            "training": {"enabled": arm.trains},
            "serving": {"canary_share": 0},  # a night's adapter serves the whole next day
            "schedule": {"idle_seconds": IDLE_SECONDS, "sleep_hours": "", **WHOEVER_IS_THERE},
        }

    def folder(self, course: Course) -> Path:
        return self.run_dir / self.course / self.mode / f"seed{course.seed}"

    def run_file(self, course: Course, arm: Arm) -> RunFile:
        told = {
            "course": self.course, "mode": self.mode, "seed": course.seed, "arm": arm.name, "upstream": self.upstream,
            "model": self.model, "night_every": self.night_every if arm.name in ("weights", "both") else 0,
        }  # fmt: skip
        return RunFile(self.folder(course) / f"{arm.name}.jsonl", told)


def groups(names: Sequence[str]) -> list[list[Arm]]:
    """The arms by the gateway that they share: `weights` is asked before `both` learns from the day."""
    alone = [[ARMS[name]] for name in names if name not in ("weights", "both")]
    if "weights" in names:
        return [*alone, [ARMS["weights"], ARMS["both"]]]
    return [*alone, [ARMS["both"]]] if "both" in names else alone


async def play(plan: Plan, course: Course, console: Console) -> tuple[dict[str, RunFile], str]:
    """Play what is not played yet. Returns the run file of each arm that was asked for, and the model's name."""
    files: dict[str, RunFile] = {}
    model = ""
    with stopped_in_order():
        for group in groups(plan.arms):
            own = {arm.name: plan.run_file(course, arm) for arm in group}
            model = await _play_group(plan, course, group, own, console) or model
            files |= own
    policies = sorted({r.policy.partition("@")[0] for file in files.values() for r in file.records if r.policy})
    wanted = {name: file for name, file in files.items() if name in plan.arms}
    return wanted, plan.model or model or ", ".join(policies)


async def _play_group(
    plan: Plan, course: Course, group: Sequence[Arm], files: Mapping[str, RunFile], console: Console
) -> str:
    """All days of a group's arms that are left. Returns the model's name; empty where nothing was left to do."""
    main_arm = group[-1]
    due = [day for day in course.days if _night_is_due(plan, main_arm, files[main_arm.name], day)]
    left = [day for day in course.days if day in due or any(_open(file, day) for file in files.values())]
    if not left:
        return ""
    _refuse_if_behind(files, left)
    if not (main_arm.learns and (plan.mode == "agent" or course.carries_files)):
        return await _play_days(plan, course, group, files, left, "", console)
    model = ""
    for day in left:  # one that was cut short is played from its morning, by a gateway that knows nothing of it
        stretch = f"day{day.number}" if any(_open(file, day) for file in files.values()) else ""
        model = await _play_days(plan, course, group, files, [day], stretch, console)
    return model


async def _play_days(
    plan: Plan, course: Course, group: Sequence[Arm], files: Mapping[str, RunFile], days: Sequence[Day], stretch: str,
    console: Console,
) -> str:  # fmt: skip
    """Some days on one gateway, with their nights. Returns the model's name."""
    main_arm = group[-1]
    folder = plan.folder(course) / f"{main_arm.name}-gateway"
    begun = any(file.records for file in files.values())
    if begun and main_arm.learns and not folder.exists():
        raise MetaClawError(f"What {main_arm.name} learned lay in {folder}, which is gone: remove its run file too.")
    async with AsyncExitStack() as stack:
        own = OwnGateway(folder, plan.settings(main_arm), fresh=not begun, stretch=stretch)
        server = await stack.enter_async_context(own)
        client = await stack.enter_async_context(GatewayClient(server.url, server.token))
        sandbox = await stack.enter_async_context(jail())
        try:
            for day in days:
                for arm in group:
                    if _open(files[arm.name], day):
                        await _player(plan, course, arm, client, files[arm.name], sandbox).play(day)
                        _say(console, course.seed, arm, day, files[arm.name])
                if _night_is_due(plan, main_arm, files[main_arm.name], day):
                    await night(client)
                    files[main_arm.name].add_night(day.number)
        except (aiohttp.ClientError, TimeoutError) as error:
            raise MetaClawError(f"A request failed ({error!r}). The same command goes on from here.") from error
        return server.model_name


@contextmanager
def stopped_in_order() -> Iterator[None]:
    """SIGTERM ends the gateway too, as Ctrl-C does, and not only us."""
    loop, task = asyncio.get_running_loop(), asyncio.current_task()
    assert task  # noqa: S101 - we run in one
    loop.add_signal_handler(signal.SIGTERM, task.cancel)
    try:
        yield
    except asyncio.CancelledError as error:
        raise MetaClawError("Stopped. The same command goes on from here.") from error
    finally:
        loop.remove_signal_handler(signal.SIGTERM)


def _player(
    plan: Plan, course: Course, arm: Arm, client: GatewayClient, file: RunFile, sandbox: Sandbox
) -> SingleShot | Agent:
    if plan.mode == "single":
        return SingleShot(course, arm, client, file)
    return Agent(course, arm, client, file, sandbox)


async def night(client: GatewayClient) -> None:
    """Leave the gateway alone until it has trained and judged and swapped, or found nothing to train on."""
    before = (await client.status()).get("job") or {}
    started = time.monotonic()
    while time.monotonic() - started < NIGHT_SECONDS:
        await asyncio.sleep(1.0)
        job = (await client.status()).get("job") or {}
        if job == before and time.monotonic() - started > IDLE_SECONDS + NO_TRAINING_SECONDS:
            return
        if job != before and job.get("state") in ("done", "failed"):
            await client.until_swapped()
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


def _night_is_due(plan: Plan, arm: Arm, file: RunFile, day: Day) -> bool:
    return arm.trains and day.number % plan.night_every == 0 and day.number not in file.nights


def _refuse_if_behind(files: Mapping[str, RunFile], left: Sequence[Day]) -> None:
    """`weights` is asked before `both` plays the day: later, the gateway may have trained on that very day."""
    if "weights" not in files:
        return
    behind = [day.number for day in left if _open(files["weights"], day)]
    ahead = max((record.day for record in files["both"].records), default=0)
    if behind and behind[0] <= ahead:
        raise MetaClawError(
            f"`both` has played day {ahead}, and `weights` is asked before it, from day {behind[0]} on: name another "
            "--run-dir, in which both arms begin together."
        )


def _say(console: Console, seed: int, arm: Arm, day: Day, file: RunFile) -> None:
    today = [record for record in file.records if record.day == day.number]
    right = sum(record.right for record in today)
    seconds = sum(record.seconds for record in today)
    told = f"seed {seed}, {arm.name}, day {day.number}: {right} of {len(today)} right, {seconds:.0f} s"
    console.print(told, highlight=False)
