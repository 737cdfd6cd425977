"""The demo's table, result file and picture."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from textwrap import fill
from typing import TYPE_CHECKING, Any

from rich.console import Console
from rich.markup import escape
from rich.table import Table

from metaclaw.bench.demo.workload import KINDS, Task
from metaclaw.bench.results import Arm, Check, share, write

if TYPE_CHECKING:
    from metaclaw.bench.demo.run import DemoPlan, Record

TRAINER_FIGURES = ("steps", "seconds", "tokens", "tokens_per_second", "loss", "kl_to_base", "peak_rss_mb")
LABEL_CHARACTERS = 14  # of a line below a bar
Rows = Sequence[tuple[Task, str, bool]]
TITLES = {
    "frozen": "frozen", "skills": "+ skills", "skills_by_model": "+ skills, by the model", "weights": "weights only",
    "both": "+ skills and weights",
}
COLOURS = {
    "frozen": "#9aa0a6", "skills": "#4c8bf5", "skills_by_model": "#8ab4f8", "weights": "#f5a623", "both": "#34a853",
}


def publish(plan: DemoPlan, model: str, record: Record, folder: Path, console: Console) -> None:
    """Print the table, write `demo.json` and `demo.png` below `folder`."""
    played = [arm for arm in TITLES if arm in record.arms]
    arms = {arm: share("share of held-out tasks right", [ok for _, _, ok in record.arms[arm]]) for arm in played}
    checks = make_checks(plan, arms, record)
    kinds = {arm: by_kind(record.arms[arm]) for arm in played}
    console.print(table(arms))
    console.print(kinds_table(kinds))
    for kind, texts in record.written.items():
        console.print(words_table(kind, texts))
    for name, check in checks.items():
        console.print(f"{'holds ' if check.holds else 'FAILS '} {name}: {check.value} (bar: {check.bar})", markup=False)
    console.print("seconds: " + ", ".join(f"{part} {n:.0f}" for part, n in record.seconds.items()), highlight=False)
    extra = {"plan": plan.name, "by_kind": kinds, "seconds": record.seconds, "swap": record.swap,
             "gate": (record.status.get("job") or {}).get("verdict"),
             "skills": record.status.get("skills"), "written": record.written, "trainer": trained(record)}
    command = "make demo" + (" FULL=1" if plan.name == "full" else "")
    path = write(folder, "demo", command, model, [plan.seed], arms, checks, extra)
    draw(arms, path.with_suffix(".png"), model)
    console.print(f"written: {path} and {path.with_suffix('.png').name}", highlight=False)


def make_checks(plan: DemoPlan, arms: Mapping[str, Arm], record: Record) -> dict[str, Check]:
    """The figures that the demo must show, each with its bar."""
    frozen, skills, both = (arms[arm].value for arm in ("frozen", "skills", "both"))
    gate = (record.status.get("job") or {}).get("verdict") or {}
    unrelated = gate.get("unrelated", {})
    leak_share = unrelated["leaks"] / unrelated["n"] if unrelated.get("n") else None
    broken = record.swap.get("failed", 0) + record.swap.get("mixed", 0) if record.swap else None
    return {
        "skills_relative_gain": _at_least(skills / frozen - 1 if frozen else None, 0.32),
        "both_over_frozen": _at_least(both / frozen if frozen else None, 1.9),
        "leaks_into_unrelated": _at_most(leak_share, 0.05),
        "failed_or_mixed_in_swap": _at_most(broken, 0),
        "held_out_tasks": _at_least(arms["frozen"].n, plan.least_tasks),
        "minutes": _at_most(round(sum(record.seconds.values()) / 60, 1), plan.most_minutes),
    }


def trained(record: Record) -> dict[str, Any]:
    """The figures of the training run, without its paths."""
    told = (record.status.get("job") or {}).get("trainer", {})
    return {key: told[key] for key in TRAINER_FIGURES if key in told}


def by_kind(rows: Rows) -> dict[str, str]:
    return {k: f"{sum(ok for t, _, ok in rows if t.kind == k)}/{sum(t.kind == k for t, _, _ in rows)}" for k in KINDS}


def table(arms: Mapping[str, Arm]) -> Table:
    shown = Table("arm", "right", "95 % interval", "n", title="Held-out tasks, which nothing was taught on")
    for arm, result in arms.items():
        low, high = result.ci95
        shown.add_row(TITLES[arm], f"{result.value:.1%}", f"{low:.1%} to {high:.1%}", str(result.n))
    return shown


def kinds_table(kinds: Mapping[str, Mapping[str, str]]) -> Table:
    shown = Table("kind of task", *(TITLES[arm] for arm in kinds))
    for kind in KINDS:
        shown.add_row(kind, *(found[kind] for found in kinds.values()))
    return shown


def words_table(kind: str, texts: Mapping[str, str]) -> Table:
    """A convention's skill in the words of each who wrote one, side by side."""
    shown = Table(*(f"by {who}" for who in texts), title=f"What was learned of: {kind}", show_lines=True)
    shown.add_row(*(escape(text) or "nothing" for text in texts.values()))
    return shown


def draw(arms: Mapping[str, Arm], path: Path, model: str) -> None:
    """One bar an arm, with its interval."""
    import matplotlib

    matplotlib.use("Agg")
    from matplotlib import pyplot

    values = [arm.value for arm in arms.values()]
    below = [arm.value - arm.ci95[0] for arm in arms.values()]
    above = [arm.ci95[1] - arm.value for arm in arms.values()]
    figure, axes = pyplot.subplots(figsize=(7, 4), layout="constrained")
    bars = axes.bar([fill(TITLES[arm], LABEL_CHARACTERS) for arm in arms], values, yerr=[below, above], capsize=6,
                    color=[COLOURS[arm] for arm in arms])
    for bar, value in zip(bars, values, strict=True):
        middle = bar.get_x() + bar.get_width() / 2
        axes.text(middle, 0.02, f"{value:.0%}", ha="center", color="white", weight="bold")
    axes.set_ylim(0, 1.05)
    axes.set_ylabel("held-out tasks right")
    axes.set_title(f"One working week with {model} (n = {arms['frozen'].n} an arm, 95 % intervals)")
    axes.spines[["top", "right"]].set_visible(False)
    figure.savefig(path, dpi=150)
    pyplot.close(figure)


def _at_least(value: Any, bar: float) -> Check:
    shown = None if value is None else round(float(value), 4)
    return Check(shown, f"at least {bar:g}", value is not None and value >= bar)


def _at_most(value: Any, bar: float) -> Check:
    shown = None if value is None else round(float(value), 4)
    return Check(shown, f"at most {bar:g}", value is not None and value <= bar)
