"""The figures of workdays: table, result file, learning curve as PNG, and a page that holds both."""

from __future__ import annotations

import base64
import html
import importlib.util
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from rich.console import Console
from rich.table import Table

from metaclaw.bench.results import Arm, Check, write
from metaclaw.bench.workdays import metrics
from metaclaw.bench.workdays.runfile import Record
from metaclaw.errors import MetaClawError

SHOWN = ("right", "credit", "files", "choices", "choice_credit", "carry_over")
COLOURS = {
    "frozen": "#9aa0a6", "feedback-log": "#8d6e63", "handwritten": "#34a853", "placebo": "#cfd8dc",
    "shuffled-feedback": "#ef9a9a", "skills": "#4c8bf5", "weights": "#f5a623", "both": "#7b1fa2",
}  # fmt: skip
CURVE_DAYS = 3  # the curve is the mean over so many days: a day alone is 11 to 42 questions

BySeed = Mapping[int, Sequence[Record]]
Baselines = Mapping[str, Mapping[str, Mapping[str, float]]]


def make_sure_it_can_draw() -> None:
    """MetaClawError where the curve could not be drawn: better now than after a night's run."""
    if importlib.util.find_spec("matplotlib") is None:
        raise MetaClawError("The learning curve needs matplotlib: pip install 'metaclaw[demo]'.")


def publish(
    bench: str, command: str, model: str, arms: Mapping[str, BySeed], baselines: Baselines,
    prices: tuple[float, float], folder: Path, console: Console, extra: Mapping[str, Any] | None = None,
) -> Path:  # fmt: skip
    """Print the table and write `BENCH.json`, `.png` and `.html` below `folder`.

    `baselines` are what somebody gets who knows nothing, or all, by course and by who it is.
    """
    seeds = sorted({seed for by_seed in arms.values() for seed in by_seed})
    whole = {name: metrics.summary(by_seed, *prices) for name, by_seed in arms.items()}
    heads = {name: found for name, by_seed in arms.items() if (found := metrics.share("right", by_seed))}
    against = {
        name: {measure: metrics.compared(measure, arms[name], arms["frozen"]) for measure in SHOWN}
        for name in arms
        if "frozen" in arms and name != "frozen"
    }
    checks = make_checks(against)
    console.print(table(whole))
    for name, check in checks.items():
        console.print(f"{'holds ' if check.holds else 'FAILS '} {name}: {check.value} (bar: {check.bar})", markup=False)
    for course, rows in baselines.items():
        for who, worth in rows.items():
            console.print(f"{course}, {who}: " + ", ".join(f"{k} {v:.1%}" for k, v in worth.items()), markup=False)
    details = {"details": whole, "against_frozen": against, "baselines": baselines, **(extra or {})}
    path = write(folder, bench, command, model, seeds, heads, checks, details)
    picture = path.with_suffix(".png")
    draw(whole, picture, f"{bench} with {model}, seeds {', '.join(map(str, seeds))}")
    path.with_suffix(".html").write_text(page(bench, command, model, whole, baselines, picture), encoding="utf-8")
    console.print(f"written: {path}, {picture.name} and {path.with_suffix('.html').name}", highlight=False)
    return path


def make_checks(against: Mapping[str, Mapping[str, Mapping[str, Any] | None]]) -> dict[str, Check]:
    """The figures that were asked for, of the arms that were run."""
    checks: dict[str, Check] = {}
    if "skills" in against:
        checks["skills_relative_gain"] = _gain(against["skills"]["right"], 0.32, less=1)
    if "both" in against:
        checks["both_over_frozen"] = _gain(against["both"]["right"], 1.9)
    for arm in ("placebo", "shuffled-feedback"):
        compared = against.get(arm, {}).get("right")
        if compared:
            low = compared["difference_ci95"][0]
            name = f"{arm.replace('-', '_')}_no_better_than_frozen"
            checks[name] = Check(compared["difference"], "interval of the difference reaches 0 or below", low <= 0)
    return checks


def _gain(compared: Mapping[str, Any] | None, least: float, less: float = 0) -> Check:
    """A ratio to `frozen`, less so much, of a difference that is no chance: its interval is above 0.

    Where `frozen` has none right there is no ratio, and the difference stands in its place.
    """
    bar = f"at least {least:g}, by a difference whose interval is above 0"
    if not compared:
        return Check(None, bar, False)
    sure = compared["difference_ci95"][0] > 0
    if compared["ratio"] is None:
        return Check(compared["difference"], f"{bar} (the difference: frozen has none right)", sure)
    value = round(compared["ratio"] - less, 4)
    return Check(value, bar, sure and value >= least)


def table(whole: Mapping[str, Mapping[str, Any]]) -> Table:
    costs = ("tokens in", "tokens out", "seconds")
    shown = Table("arm", *SHOWN, "n", *costs, title="Shares, with 95 % intervals over days; costs a question")
    for name, found in whole.items():
        per = found["per_question"]
        cells = [_cell(found.get(measure)) for measure in SHOWN]
        n = str(found["right"]["n"]) if "right" in found else "0"
        shown.add_row(name, *cells, n, f"{per['prompt_tokens']:.0f}", f"{per['completion_tokens']:.0f}",
                      f"{per['seconds']:.1f}")  # fmt: skip
    return shown


def smooth(by_day: Mapping[int, float], over: int = CURVE_DAYS) -> list[tuple[float, float]]:
    """The curve's points: means over so many days, at their middle."""
    days = sorted(by_day)
    groups = [days[start : start + over] for start in range(0, len(days), over)]
    return [(sum(group) / len(group), sum(by_day[day] for day in group) / len(group)) for group in groups]


def draw(whole: Mapping[str, Mapping[str, Any]], path: Path, title: str, over: int = CURVE_DAYS) -> None:
    """The learning curve of each arm, as means of `over` days."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    figure, axes = pyplot.subplots(figsize=(9, 4.5), layout="constrained")
    for name, found in whole.items():
        points = smooth(found["by_day"], over)
        line = "--" if name == "both" else "-"  # where it runs on that of skills, both are seen
        axes.plot(*zip(*points, strict=True), line, marker="o", markersize=3, label=name, color=COLOURS.get(name))
    axes.set_ylim(0, 1.02)
    axes.set_xlabel("workday")
    axes.locator_params(axis="x", integer=True)
    axes.set_ylabel("questions right" if over == 1 else f"questions right (mean of {over} days)")
    axes.set_title(title)
    axes.legend(loc="upper left", fontsize=8)
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def page(
    bench: str, command: str, model: str, whole: Mapping[str, Mapping[str, Any]],
    baselines: Baselines, picture: Path,
) -> str:  # fmt: skip
    """One page without anything from elsewhere."""
    image = base64.b64encode(picture.read_bytes()).decode()
    arms = [[name, *(_cell(found.get(measure)) for measure in metrics.MEASURES)] for name, found in whole.items()]
    floors = [
        [course, name, ", ".join(f"{key} {value:.1%}" for key, value in row.items())]
        for course, rows in baselines.items()
        for name, row in rows.items()
    ]
    families = sorted({family for found in whole.values() for family in found["by_rule"]})
    rules = [
        [family, *(_held(found["by_rule"].get(family)) for found in whole.values())] for family in families
    ]
    return "\n".join([
        f"<!doctype html><meta charset=utf-8><title>{html.escape(bench)}</title>",
        "<style>body{font:15px/1.5 sans-serif;max-width:70em;margin:2em auto}"
        "td,th{padding:.2em .8em;text-align:left;border-bottom:1px solid #ddd}</style>",
        f"<h1>{html.escape(bench)}: {html.escape(model)}</h1><p><code>{html.escape(command)}</code></p>",
        f'<img alt="Learning curve by arm" width=900 src="data:image/png;base64,{image}">',
        _rows(["arm", *metrics.MEASURES], arms),
        "<h2>What each rule's checks say</h2>", _rows(["rule", *whole], rules),
        "<h2>Baselines</h2>", _rows(["course", "who", "worth"], floors),
    ])  # fmt: skip


def _rows(head: Sequence[str], rows: Sequence[Sequence[str]]) -> str:
    lines = ["<tr>" + "".join(f"<th>{html.escape(cell)}</th>" for cell in head) + "</tr>"]
    lines += ["<tr>" + "".join(f"<td>{html.escape(cell)}</td>" for cell in row) + "</tr>" for row in rows]
    return "<table>" + "\n".join(lines) + "</table>"


def _cell(found: Mapping[str, Any] | Arm | None) -> str:
    if not isinstance(found, Mapping):
        return "-"
    low, high = found["ci95"]
    return f"{found['value']:.1%} ({low:.0%} to {high:.0%})"


def _held(found: Mapping[str, float] | None) -> str:
    return f"{found['held']:.0%} of {found['n']:.0f}" if found else "-"
