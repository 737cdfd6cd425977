"""`metaclaw bench metaclaw-bench`: play one variant of the public days, then report it beside constant answers."""

from __future__ import annotations

import asyncio
import dataclasses
import itertools
from collections.abc import Callable
from pathlib import Path

from rich.console import Console

from metaclaw.bench.metaclaw_bench.checkers import Variant
from metaclaw.bench.metaclaw_bench.data import PublicData, Round, load
from metaclaw.bench.workdays import report
from metaclaw.bench.workdays.playing import Plan, play


def main(plan: Plan, data: Path, variant: Variant, results: Path, console: Console) -> None:
    asyncio.run(run(plan, data, variant, results, console))


async def run(plan: Plan, folder: Path, variant: Variant, results: Path, console: Console) -> None:
    """Play what is not done yet, then write `metaclaw-bench-VARIANT.json`, one for each way of playing."""
    report.make_sure_it_can_draw()
    whole = load(folder, variant)
    data = dataclasses.replace(whole, days=whole.days[: plan.days])
    for left_out in data.left_out:
        console.print(f"left out: {left_out}", markup=False)
    files, model = await play(plan, data, console)
    arms = {name: {data.seed: file.of(data)} for name, file in files.items()}
    name = f"metaclaw-bench-{variant}" + ("-agent" if plan.mode == "agent" else "")
    command = f"metaclaw bench metaclaw-bench --data DIR --variant {variant} {plan.options}"
    command += f" --days {plan.days}" if len(data.days) < len(whole.days) else ""
    extra = {"data": data.name, "variant": variant, "left_out": list(data.left_out)}
    report.publish(name, command, model, arms, {data.name: constants(data)}, plan.prices, results, console, extra)


def constants(data: PublicData) -> dict[str, dict[str, float]]:
    """What constant answers are worth, with no file written: every option ticked, and the best fixed letters."""
    everything = _worth(data, lambda one: frozenset(one.letters))
    alphabet = sorted({letter for one in data.questions for letter in one.letters})
    sets = [frozenset(some) for size in range(1, 5) for some in itertools.combinations(alphabet, size)]
    fixed = {some: _worth(data, lambda one, some=some: some & frozenset(one.letters)) for some in sets}  # type: ignore[misc]
    best = max(fixed, key=lambda some: fixed[some]["accuracy"])
    return {
        "every option ticked": everything,
        f"always {''.join(sorted(best))}": fixed[best],
        "nothing": _worth(data, lambda _: frozenset()),
    }


def _worth(data: PublicData, ticks: Callable[[Round], frozenset[str]]) -> dict[str, float]:
    """`accuracy` is the data's own measure, the mean credit of all rounds; `right` is exact."""
    scores = [one.judge(day.files, day.files, ticks(one)) for day in data.days for one in day.questions]
    n = max(1, len(scores))
    return {
        "accuracy": round(sum(score.credit for score in scores) / n, 4),
        "right": round(sum(score.right for score in scores) / n, 4),
    }
