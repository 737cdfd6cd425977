"""What runs come to: completion, retries, refine cycles, and the composite, with bootstrap intervals over topics. Pure.

The composite is the paper's robustness score (arXiv 2603.17187): 0.4 completion + 0.3 retry efficiency + 0.3 refine
efficiency. An efficiency is the share of the allowed repetitions that were not needed.
"""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence

import numpy as np

from metaclaw.bench.research.pipeline import PIVOTS, RETRIES, SEND_BACKS, Run
from metaclaw.bench.research.stages import STAGES
from metaclaw.bench.results import Arm

DRAWS = 4_000
GATES = sum(bool(stage.back_to) for stage in STAGES)
MOST_CYCLES = GATES * SEND_BACKS + PIVOTS


def completion(run: Run) -> float:
    """The share of stages that were accepted at last."""
    last = {execution.stage: execution.accepted for execution in run.executions}
    return sum(last.values()) / len(STAGES)


def retries(run: Run) -> int:
    """How often an answer was asked for again within a stage."""
    return sum(execution.attempts - 1 for execution in run.executions)


def retry_efficiency(run: Run) -> float:
    """1 where no stage was asked again, 0 where each used all its retries. Gates have none."""
    gates = {stage.name for stage in STAGES if stage.back_to}
    allowed = RETRIES * sum(execution.stage not in gates for execution in run.executions)
    return 1 - retries(run) / allowed


def cycles(run: Run) -> int:
    """How often work was sent back: by a gate, or by a pivot that the study's own figures did not ask for."""
    return sum(execution.sent_back for execution in run.executions) + max(0, run.pivots - run.needed_pivots)


def refine_efficiency(run: Run) -> float:
    return 1 - cycles(run) / MOST_CYCLES


def composite(run: Run) -> float:
    return 0.4 * completion(run) + 0.3 * retry_efficiency(run) + 0.3 * refine_efficiency(run)


def first_try(run: Run) -> float:
    """The share of executions whose first answer was accepted."""
    return sum(e.accepted and e.attempts == 1 for e in run.executions) / len(run.executions)


MEASURES: Mapping[str, tuple[str, Callable[[Run], float]]] = {
    "composite": ("composite robustness", composite),
    "completion": ("share of stages completed", completion),
    "retry_efficiency": ("share of allowed retries not needed", retry_efficiency),
    "refine_efficiency": ("share of allowed refine cycles not needed", refine_efficiency),
    "first_try": ("share of stages whose first answer was accepted", first_try),
    "retries": ("retries a study", retries),
    "cycles": ("refine cycles a study", cycles),
}


def mean(measure: str, runs: Sequence[Run]) -> Arm:
    """A measure's mean over studies, with its 95 % interval over topics."""
    told, value = MEASURES[measure]
    values = np.array([value(run) for run in runs])
    drawn = values[_draws(len(values))].mean(axis=1)
    return Arm(told, round(float(values.mean()), 6), _interval(drawn), len(values))


def gain(measure: str, runs: Sequence[Run], base: Sequence[Run]) -> tuple[float, tuple[float, float]] | None:
    """The relative gain of a measure's mean on the topics that both have, with its interval; None without any."""
    value = MEASURES[measure][1]
    others = {run.topic: value(run) for run in base}
    pairs = [(value(run), others[run.topic]) for run in runs if run.topic in others]
    if not pairs:
        return None
    mine, theirs = np.array(pairs).T
    picked = _draws(len(pairs))
    drawn = mine[picked].mean(axis=1) / theirs[picked].mean(axis=1) - 1
    return round(float(mine.mean() / theirs.mean() - 1), 4), _interval(drawn)


def _draws(n: int) -> np.ndarray[tuple[int, ...], np.dtype[np.int64]]:
    return np.random.default_rng(20260317).integers(0, n, (DRAWS, n))


def _interval(values: np.ndarray[tuple[int, ...], np.dtype[np.float64]]) -> tuple[float, float]:
    low, high = np.quantile(values, (0.025, 0.975))
    return round(float(low), 4), round(float(high), 4)
