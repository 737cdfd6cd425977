"""Pictures of results as PNG: learning curves where a result has days, else a bar an arm where all are shares.

Needs matplotlib (`pip install 'metaclaw[demo]'`); `drawable`, which tells whether there is a picture, needs nothing.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from metaclaw.bench.report.committed import Result
from metaclaw.bench.report.wording import is_share, title
from metaclaw.bench.results import Arm
from metaclaw.bench.workdays.report import COLOURS, CURVE_DAYS, draw

MOST_BARS = 8
OTHER = "#607d8b"


def drawable(result: Result) -> bool:
    """Whether the result has curves, or few enough arms that are shares of one metric."""
    return bool(by_day(result) or bars(result))


def by_day(result: Result) -> dict[str, dict[str, Any]]:
    """By arm, what `workdays.report.draw` draws: `{"by_day": {day: share right}}`; empty where a result has no days."""
    if exams := _exams(result):
        return exams
    details = result.rest.get("details", {})
    return {
        arm: {"by_day": {int(day): value for day, value in found["by_day"].items()}}
        for arm, found in details.items()
        if isinstance(found, Mapping) and found.get("by_day")
    }


def _exams(result: Result) -> dict[str, dict[str, Any]]:
    """Of a result whose days end with an exam, by arm the share of it that is right."""
    days = result.rest.get("by_day")
    if not isinstance(days, Mapping):
        return {}
    return {
        arm: {"by_day": {day["day"]: day["exam"] for day in found if day.get("exam") is not None}}
        for arm, found in days.items()
    }


def bars(result: Result) -> dict[str, Arm]:
    """The arms as bars, where they are shares of one metric and few; else none."""
    arms = result.arms.values()
    alike = len({arm.metric for arm in arms}) == 1 and all(is_share(arm) for arm in arms)
    return dict(result.arms) if alike and 2 <= len(arms) <= MOST_BARS else {}


def picture(result: Result, folder: Path) -> Path:
    """Draw `FOLDER/NAME.png`."""
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / f"{result.name}.png"
    head = f"{title(result.name)[0]}: {result.model}, seeds {', '.join(map(str, result.seeds))}"
    if found := by_day(result):
        draw(found, path, head, 1 if _exams(result) else CURVE_DAYS)
    else:
        draw_bars(bars(result), path, head)
    return path


def draw_bars(arms: Mapping[str, Arm], path: Path, head: str) -> None:
    """One bar an arm, with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    values = [arm.value for arm in arms.values()]
    below = [max(0.0, arm.value - arm.ci95[0]) for arm in arms.values()]
    above = [max(0.0, arm.ci95[1] - arm.value) for arm in arms.values()]
    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    colours = [COLOURS.get(arm, OTHER) for arm in arms]
    drawn = axes.bar(list(arms), values, yerr=[below, above], capsize=5, color=colours)
    axes.bar_label(drawn, [f"{value:.0%}" for value in values], padding=4)
    axes.set_ylim(0, 1.1)
    axes.set_ylabel(next(iter(arms.values())).metric)
    axes.set_title(head)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)
