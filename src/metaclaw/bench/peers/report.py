"""`peers.json`: shares, ours against each peer on the questions that both have, and what a question cost."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from rich.console import Console
from rich.table import Table

from metaclaw.bench.results import Check, share, write
from metaclaw.bench.workdays import metrics
from metaclaw.bench.workdays.runfile import Record

DRAWS = 2_000
METRIC = "share of questions fully right"
NOT_THE_SAME = (
    "These do other work too: mem0 remembers people and facts for any application, ACE writes playbooks of strategies "
    "from whole traces, and both are built and tuned for larger models than this one."
)


def publish(
    command: str, model: str, seed: int, records: Mapping[str, Sequence[Record]],
    notes: Mapping[str, Mapping[str, Any]], folder: Path, console: Console,
) -> Path:  # fmt: skip
    played = {name: list(some) for name, some in records.items() if some}
    ours = played.get("skills", [])
    against = {name: paired(ours, some) for name, some in played.items() if name != "skills" and ours}
    checks = {
        f"skills_right_more_often_than_{name.replace('-', '_')}": Check(
            found["difference"], "the 95 % interval of the difference lies above 0", found["ci95"][0] > 0
        )
        for name, found in against.items()
        if found
    }
    heads = {name: share(METRIC, [record.right for record in some]) for name, some in played.items()}
    whole = {name: metrics.summary({seed: some}) for name, some in played.items()}
    details = {"skills_against": against, "notes": notes, "not_the_same": NOT_THE_SAME, "details": whole}
    console.print(table(whole, against))
    for name, note in notes.items():
        for error, count in note.get("errors", {}).items():
            console.print(f"{name} raised {count} times: {error}", markup=False)
    path = write(folder, "peers", command, model, [seed], heads, checks, details)
    console.print(f"written: {path}", highlight=False)
    return path


def paired(ours: Sequence[Record], theirs: Sequence[Record]) -> dict[str, Any] | None:
    """How much more often we are right on the questions that both have, with its bootstrap interval over questions."""
    right = {record.id: record.right for record in theirs}
    both = [(record.right, right[record.id]) for record in ours if record.id in right]
    if not both:
        return None
    gains = np.array([float(mine) - float(other) for mine, other in both])
    drawn = np.random.default_rng(20260316).choice(gains, (DRAWS, len(gains))).mean(axis=1)
    low, high = np.quantile(drawn, (0.025, 0.975))
    return {
        "n": len(both),
        "ours": round(sum(mine for mine, _ in both) / len(both), 4),
        "theirs": round(sum(other for _, other in both) / len(both), 4),
        "difference": round(float(gains.mean()), 4),
        "ci95": [round(float(low), 4), round(float(high), 4)],
    }


def table(whole: Mapping[str, Mapping[str, Any]], against: Mapping[str, Mapping[str, Any] | None]) -> Table:
    columns = ("n", "right", "credit", "skills less it (95 %)", "requests", "tokens in", "tokens out", "seconds")
    shown = Table("arm", *columns, title="All costs a question, with what learning from it cost")
    for name, found in whole.items():
        per, less = found["per_question"], against.get(name)
        difference = f"{less['difference']:+.1%} ({less['ci95'][0]:+.0%} to {less['ci95'][1]:+.0%})" if less else "-"
        shown.add_row(
            name, str(found["right"]["n"]), f"{found['right']['value']:.1%}", f"{found['credit']['value']:.1%}",
            difference, f"{per['requests']:.1f}", f"{per['prompt_tokens']:.0f}", f"{per['completion_tokens']:.0f}",
            f"{per['seconds']:.1f}",
        )  # fmt: skip
    return shown
