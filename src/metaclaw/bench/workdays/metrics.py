"""What a run's records come to: shares with bootstrap intervals, by kind, rule and day, and what it cost. Pure.

Questions of one day share its rules and, in the agent harness, its conversation, so intervals are drawn by resampling
days, not questions: within each seed the same days for every arm, which pairs the arms.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict, dataclass
from typing import Any

import numpy as np
import numpy.typing as npt

from metaclaw.bench.results import Arm
from metaclaw.bench.workdays.runfile import Record

DRAWS = 2_000
By = Callable[[Record], float]
BySeed = Mapping[int, Sequence[Record]]


@dataclass(frozen=True, slots=True)
class Measure:
    """A share over the records that `of` lets in."""

    metric: str
    value: By
    of: Callable[[Record], bool]


def _is_file(record: Record) -> bool:
    return record.kind == "file"


MEASURES: Mapping[str, Measure] = {
    "right": Measure("share of questions fully right", lambda r: r.right, lambda _: True),
    "credit": Measure("mean credit of all questions", lambda r: r.credit, lambda _: True),
    "files": Measure("share of file questions with every checked rule kept", lambda r: r.right, _is_file),
    "complete": Measure("share of files with every fact, rules aside", lambda r: r.complete, _is_file),
    "file_credit": Measure("partial credit of files", lambda r: r.credit, _is_file),
    "choices": Measure("share of choices exactly right", lambda r: r.right, lambda r: not _is_file(r)),
    "choice_credit": Measure("partial credit of choices", lambda r: r.credit, lambda r: not _is_file(r)),
    "carry_over": Measure(
        "share of first questions of a day right, from the second day on",
        lambda r: r.right, lambda r: r.event == "carry-over" and r.day > 1,
    ),
}  # fmt: skip


def share(name: str, seeds: BySeed) -> Arm | None:
    """A measure of an arm with its 95 % interval; None where no record is of its kind."""
    table = _table(name, seeds)
    if table is None:
        return None
    sums, counts = table
    low, high = np.quantile(_drawn(sums, counts, seeds), (0.025, 0.975))
    value = float(sums.sum() / counts.sum())
    return Arm(MEASURES[name].metric, round(value, 6), (round(float(low), 4), round(float(high), 4)), int(counts.sum()))


def compared(name: str, arm: BySeed, base: BySeed) -> dict[str, Any] | None:
    """An arm against another on the questions that both have: difference and ratio, each with its interval."""
    both = {seed: {r.id for r in arm[seed]} & {r.id for r in base[seed]} for seed in arm if seed in base}
    mine = {seed: [r for r in arm[seed] if r.id in ids] for seed, ids in both.items() if ids}
    other = {seed: [r for r in base[seed] if r.id in ids] for seed, ids in both.items() if ids}
    table, base_table = _table(name, mine), _table(name, other)
    if table is None or base_table is None:
        return None
    (sums, counts), (base_sums, base_counts) = table, base_table
    drawn, base_drawn = _drawn(sums, counts, mine), _drawn(base_sums, base_counts, other)
    value, base_value = float(sums.sum() / counts.sum()), float(base_sums.sum() / base_counts.sum())
    ratios = drawn[base_drawn > 0] / base_drawn[base_drawn > 0]
    return {
        "n": int(counts.sum()),
        "difference": round(value - base_value, 4),
        "difference_ci95": _interval(drawn - base_drawn),
        "ratio": round(value / base_value, 4) if base_value else None,
        "ratio_ci95": _interval(ratios) if len(ratios) else None,
    }


def by_rule(seeds: BySeed) -> dict[str, dict[str, float]]:
    """How often each family of rules held in files that were checked for it."""
    found: dict[str, list[bool]] = {}
    for records in seeds.values():
        for record in records:
            for family, held in record.rules.items():
                if record.kind == "file":
                    found.setdefault(family, []).append(held)
    return {family: {"held": round(sum(held) / len(held), 4), "n": len(held)} for family, held in sorted(found.items())}


def by_day(seeds: BySeed) -> dict[int, float]:
    """The share right by workday, over all seeds: the learning curve."""
    found: dict[int, list[bool]] = {}
    for records in seeds.values():
        for record in records:
            found.setdefault(record.day, []).append(record.right)
    return {day: round(sum(right) / len(right), 4) for day, right in sorted(found.items())}


def cost(seeds: BySeed, price_in: float, price_out: float) -> dict[str, float]:
    """Per question: tokens, requests, seconds, and money at prices per million tokens."""
    records = [record for some in seeds.values() for record in some]
    n = max(1, len(records))
    tokens_in, tokens_out = sum(r.prompt_tokens for r in records), sum(r.completion_tokens for r in records)
    return {
        "prompt_tokens": round(tokens_in / n, 1),
        "completion_tokens": round(tokens_out / n, 1),
        "requests": round(sum(r.requests for r in records) / n, 3),
        "seconds": round(sum(r.seconds for r in records) / n, 2),
        "money": round((tokens_in * price_in + tokens_out * price_out) / n / 1e6, 6),
        "refused": sum(bool(r.note) for r in records),
    }


def summary(seeds: BySeed, price_in: float = 0.0, price_out: float = 0.0) -> dict[str, Any]:
    """Everything of an arm, as its result file keeps it."""
    shares = {name: share(name, seeds) for name in MEASURES}
    return {
        **{name: asdict(found) for name, found in shares.items() if found},
        "by_rule": by_rule(seeds),
        "by_day": by_day(seeds),
        "per_question": cost(seeds, price_in, price_out),
        "questions_by_seed": {str(seed): len(records) for seed, records in seeds.items()},
    }


Table = tuple[npt.NDArray[np.float64], npt.NDArray[np.float64]]


def _table(name: str, seeds: BySeed) -> Table | None:
    """Sum and count of a measure for each day of each seed; None where nothing counts."""
    measure = MEASURES[name]
    cells: dict[tuple[int, int], list[float]] = {}
    for seed, records in seeds.items():
        for record in records:
            cell = cells.setdefault((seed, record.day), [])
            if measure.of(record):
                cell.append(float(measure.value(record)))
    keys = sorted(cells)
    sums = np.array([sum(cells[key]) for key in keys])
    counts = np.array([len(cells[key]) for key in keys], dtype=np.float64)
    return (sums, counts) if counts.sum() else None


def _drawn(sums: npt.NDArray[np.float64], counts: npt.NDArray[np.float64], seeds: BySeed) -> npt.NDArray[np.float64]:
    """The measure on `DRAWS` resamplings of days, within each seed; the same days for the same seeds and days."""
    days = [len({record.day for record in seeds[seed]}) for seed in sorted(seeds)]
    rng = np.random.default_rng(20260316)
    drawn_sums, drawn_counts = np.zeros(DRAWS), np.zeros(DRAWS)
    start = 0
    for size in days:
        picked = start + rng.integers(0, size, (DRAWS, size))
        drawn_sums += sums[picked].sum(axis=1)
        drawn_counts += counts[picked].sum(axis=1)
        start += size
    return np.where(drawn_counts > 0, drawn_sums / np.maximum(drawn_counts, 1), 0.0)


def _interval(values: npt.NDArray[np.float64]) -> list[float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return [round(float(low), 4), round(float(high), 4)]
