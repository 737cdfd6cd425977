"""`metaclaw bench learning`: the stream through one gateway that never trains and one for each objective.

In: seeds, objectives, sizes. Out: `learning.json`. It is resumable: what stands in the run files is not asked again.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from dataclasses import asdict, dataclass
from pathlib import Path

from metaclaw.bench import results
from metaclaw.bench.learning import report
from metaclaw.bench.learning.playing import NEVER, Gateway, Line, play
from metaclaw.bench.learning.stream import Size, stream

DEFAULT_MODEL = "qwen2.5-coder-1.5b"
MECHANICS = "smollm2-135m"
"""A model too small to learn any of it: its run shows that everything runs, and its figures say nothing."""


@dataclass(frozen=True, slots=True)
class Plan:
    seeds: tuple[int, ...]
    objectives: tuple[str, ...]
    days: int
    size: Size
    epochs: int
    model: str | None
    run_dir: Path


def main(plan: Plan, results_dir: Path, command: str) -> Path:
    return asyncio.run(_main(plan, results_dir, command))


async def _main(plan: Plan, results_dir: Path, command: str) -> Path:
    runs: dict[tuple[int, str], Sequence[Line]] = {}
    days = {seed: stream(seed, plan.size, plan.days) for seed in plan.seeds}
    for seed in plan.seeds:
        folder = plan.run_dir / f"seed-{seed}"
        for name, objective in ((NEVER, None), *((one, one) for one in plan.objectives)):
            gateway = Gateway(name, objective, plan.model, plan.epochs)
            told = {"seed": seed, "days": plan.days, "size": asdict(plan.size), **asdict(gateway)}
            runs[seed, name] = await play(gateway, days[seed], folder, told)
    arms, checks, extra = report.figures(runs, days, plan.objectives)
    model = plan.model or DEFAULT_MODEL
    note = "plumbing only: this model can learn none of it" if model == MECHANICS else ""
    name = "learning-mechanics" if note else "learning" if plan.objectives else "learning-skills"
    return results.write(
        results_dir, name, command, model, plan.seeds, arms, checks,
        {**extra, "days": plan.days, "size": asdict(plan.size), "epochs": plan.epochs, "note": note},
    )
