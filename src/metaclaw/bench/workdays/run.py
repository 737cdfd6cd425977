"""`metaclaw bench workdays`: play seeds of our own 44 days, then report all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from rich.console import Console

from metaclaw.bench.workdays import report
from metaclaw.bench.workdays.generate import generate
from metaclaw.bench.workdays.playing import Plan, play
from metaclaw.bench.workdays.proof import baselines_of
from metaclaw.bench.workdays.rules import DAYS
from metaclaw.bench.workdays.runfile import Record
from metaclaw.errors import MetaClawError

COURSE = "workdays-2"  # counts up with every change of the questions, or of what is said of an answer


def main(plan: Plan, seeds: Sequence[int], results: Path, console: Console, questions: int = 0) -> None:
    """`questions` are asked of each day, from its first; 0: all."""
    if not 1 <= plan.days <= DAYS:
        raise MetaClawError(f"--days must be between 1 and {DAYS}.")
    asyncio.run(run(plan, seeds, results, console, questions))


async def run(plan: Plan, seeds: Sequence[int], results: Path, console: Console, questions: int = 0) -> None:
    """Play what is not done yet, then write `workdays.json`, or `workdays-agent.json`, with its pictures."""
    report.make_sure_it_can_draw()
    if questions:
        plan = replace(plan, course=f"{plan.course}-{questions}-a-day")  # its results do not mix with the whole's
    courses = {seed: generate(seed).cut(plan.days, questions) for seed in seeds}
    done: dict[str, dict[int, Sequence[Record]]] = {name: {} for name in plan.arms}
    model = ""
    for seed, course in courses.items():
        files, model = await play(plan, course, console)
        for name, file in files.items():
            done[name][seed] = file.of(course)
    name = "workdays" if plan.mode == "single" else "workdays-agent"
    command = f"metaclaw bench workdays {plan.options} --seeds {','.join(map(str, seeds))} --days {plan.days}"
    command += f" --questions {questions}" if questions else ""
    baselines = {f"seed {seed}": baselines_of(course) for seed, course in courses.items()}
    report.publish(name, command, model, done, baselines, plan.prices, results, console)
