"""`metaclaw bench workdays`: play seeds of our own 44 days, then report all of them."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

from rich.console import Console

from metaclaw.bench.workdays import report
from metaclaw.bench.workdays.generate import generate
from metaclaw.bench.workdays.playing import Plan, play
from metaclaw.bench.workdays.proof import baselines_of
from metaclaw.bench.workdays.rules import DAYS
from metaclaw.bench.workdays.runfile import Record
from metaclaw.errors import MetaClawError

COURSE = "workdays-1"  # counts up with every change of the questions


def main(plan: Plan, seeds: Sequence[int], results: Path, console: Console) -> None:
    if not 1 <= plan.days <= DAYS:
        raise MetaClawError(f"--days must be between 1 and {DAYS}.")
    asyncio.run(run(plan, seeds, results, console))


async def run(plan: Plan, seeds: Sequence[int], results: Path, console: Console) -> None:
    """Play what is not done yet, then write `workdays.json`, or `workdays-agent.json`, with its pictures."""
    report.make_sure_it_can_draw()
    done: dict[str, dict[int, Sequence[Record]]] = {name: {} for name in plan.arms}
    model = ""
    for seed in seeds:
        files, model = await play(plan, generate(seed), console)
        for name, file in files.items():
            done[name][seed] = file.records
    name = "workdays" if plan.mode == "single" else "workdays-agent"
    command = f"metaclaw bench workdays {plan.options} --seeds {','.join(map(str, seeds))} --days {plan.days}"
    baselines = {f"seed {seed}": baselines_of(generate(seed)) for seed in seeds}
    report.publish(name, command, model, done, baselines, plan.prices, results, console)
