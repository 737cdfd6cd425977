"""What the retrieval bench found: the figures asked for, each with its bar, and the result file."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING, Any

from rich.console import Console

from metaclaw.bench import results
from metaclaw.bench.retrieval import quality
from metaclaw.bench.retrieval.data import LabelledSet
from metaclaw.config.request_path import ContextSettings

if TYPE_CHECKING:
    from metaclaw.bench.retrieval.run import Measured

COMMAND = "make bench-retrieval"
SMALL, MIDDLE, LARGE = 1_000, 10_000, 100_000
SINGLE = ("bm25", "embeddings", "first-k")


def publish(measured: Measured, questions: LabelledSet, seed: int, folder: Path, console: Console) -> None:
    """Write `folder/retrieval.json` and print the checks."""
    arms = {
        f"{method}, {size} skills: {figure}": arm
        for (method, size), answered in measured.answers.items()
        for figure, arm in _figures(measured, method, answered).items()
    }
    checks = _checks(measured, questions)
    for name, check in checks.items():
        console.print(f"{'holds ' if check.holds else 'FAILS '} {name}: {check.value} (bar: {check.bar})", markup=False)
    extra: dict[str, Any] = {
        "labelled": {
            "skills": len(questions.skills), "tuning queries": len(questions.tuning),
            "held-out queries": len(questions.held_out),
            "held-out with a skill": sum(query.skill is not None for query in questions.held_out),
            "held-out unrelated": sum(query.kind == "unrelated" for query in questions.held_out),
        },
        "thresholds_from_tuning": {name: round(bar, 4) for name, bar in measured.thresholds.items()},
        "threshold_in_use": {"hybrid": ContextSettings().min_score},
        "hybrid_by_slice": {
            str(size): quality.by_slice(answered)
            for (method, size), answered in measured.answers.items() if method == "hybrid"
        },
        "latency_ms": {f"{name}, {size} skills": ms for (name, size), ms in measured.latency_ms.items()},
        "latency_note": "p50 and p99 over queries, each the median of its rounds; fts5 on a sample, one round",
        "index_seconds": {str(size): seconds for size, seconds in measured.index_seconds.items()},
        "context_ms": {str(size): figures for size, figures in measured.context_ms.items()},
        "warm_start": {str(size): figures for size, figures in measured.warm_start.items()},
    }
    model = "static word vectors (wordllama, 256 dimensions)"
    path = results.write(folder, "retrieval", COMMAND, model, [seed], arms, checks, extra)
    console.print(f"written: {path}", highlight=False)


def _figures(measured: Measured, method: str, answered: list[quality.Answered]) -> dict[str, results.Arm]:
    figures = quality.recalls(answered)
    if method in measured.thresholds and method != "first-k":  # which has no score to keep silent by
        bar = ContextSettings().min_score if method == "hybrid" else measured.thresholds[method]
        figures |= quality.abstention(answered, bar)
    return figures


def _checks(measured: Measured, questions: LabelledSet) -> dict[str, results.Check]:
    """The figures that were asked for."""
    found = {method: _recall_at_6(measured, method, LARGE) for method in ("hybrid", *SINGLE)}
    small = _recall_at_6(measured, "hybrid", SMALL)
    asked = [query for query in (*questions.tuning, *questions.held_out) if query.skill]
    large, middle = measured.context_ms[LARGE], measured.context_ms[MIDDLE]
    distance = abs(ContextSettings().min_score - measured.thresholds["hybrid"])
    return {
        "labelled_queries": _at_least(len(asked), 2_000),
        "labelled_skills": _at_least(len({query.skill for query in asked}), 500),
        "recall_at_6_of_100000_over_1000": _at_least(found["hybrid"] / small, 0.9),
        **{f"recall_at_6_over_{method}": _above(found["hybrid"] - found[method], 0) for method in SINGLE},
        "p99_ms_of_100000": _at_most(measured.latency_ms["hybrid", LARGE]["p99"], 5),
        "update_ms_of_100000": _at_most(large["update max"], 20),
        "warm_start_seconds_of_100000": _at_most(measured.warm_start[LARGE]["seconds"], 2),
        "publish_to_live_ms_of_100000": _at_most(large["publish to live p50"], 50),
        "fresh_ms_of_10000": _at_most(middle["fresh p50"], 0.3),
        "repeated_ms_of_10000": _at_most(middle["repeated p50"], 0.02),
        "threshold_in_use_off_the_tuned_one": _at_most(distance, 0.03),
    }


def _recall_at_6(measured: Measured, method: str, size: int) -> float:
    return quality.recalls(measured.answers[method, size])["recall@6"].value


def _at_least(value: float, bar: float) -> results.Check:
    return results.Check(round(value, 4), f"at least {bar:g}", value >= bar)


def _at_most(value: float, bar: float) -> results.Check:
    return results.Check(round(value, 4), f"at most {bar:g}", value <= bar)


def _above(value: float, bar: float) -> results.Check:
    return results.Check(round(value, 4), f"above {bar:g}", value > bar)
