"""The retrieval bench: tune on one split, then find what the other asks for among 1,000 to 100,000 skills.

    skills and queries -> thresholds (tuning split, 1,000 skills) -> recall and silence (held-out split, each size)
    -> time of one query, of a changed skill, of a start; memory -> bench/results/retrieval.json
"""

from __future__ import annotations

import asyncio
import gc
import random
import tempfile
import time
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from rich.console import Console

from metaclaw.bench.retrieval import quality, start, store
from metaclaw.bench.retrieval.data import LabelledSet, Query, distractors, labelled_set
from metaclaw.bench.retrieval.methods import Bm25, Embeddings, FirstOfCategory, Fts5, Hybrid, Method
from metaclaw.bench.retrieval.report import publish
from metaclaw.context.embed import StaticEmbedder
from metaclaw.context.retrieve import SkillIndex
from metaclaw.context.segment import skill_vectors
from metaclaw.types import Skill

console = Console()

SIZES = (1_000, 10_000, 100_000)
SMALLEST = 10  # the cost of a request is measured for so few as well
TIMED_QUERIES = 600
TIMED_ROUNDS = 5  # a query's time is the median of so many, since others work on this machine as well
FTS5_QUERIES = 150


@dataclass(slots=True)
class Measured:
    """By method and size: answers to the held-out queries; milliseconds of one query; and what else was timed."""

    thresholds: dict[str, float] = field(default_factory=dict)
    answers: dict[tuple[str, int], list[quality.Answered]] = field(default_factory=dict)
    latency_ms: dict[tuple[str, int], dict[str, float]] = field(default_factory=dict)
    index_seconds: dict[int, float] = field(default_factory=dict)
    context_ms: dict[int, dict[str, float]] = field(default_factory=dict)
    warm_start: dict[int, dict[str, float]] = field(default_factory=dict)


def main(seed: int, folder: Path) -> None:
    """Run all of it and write `folder/retrieval.json`."""
    questions = labelled_set(seed)
    others = distractors(max(SIZES) - len(questions.skills), seed)
    embedder = StaticEmbedder()
    measured = Measured()
    timed = [query.text for query in _some(questions.held_out, TIMED_QUERIES)]
    for size in SIZES:
        skills = [*questions.skills, *others[: size - len(questions.skills)]]
        _measure_methods(measured, size, skills, questions, timed, embedder)
    for size in (SMALLEST, *SIZES):
        skills = [*questions.skills[:size], *others[: max(0, size - len(questions.skills))]]
        _measure_living(measured, size, skills, timed, embedder)
    publish(measured, questions, seed, folder, console)


def _measure_methods(
    measured: Measured,
    size: int,
    skills: Sequence[Skill],
    questions: LabelledSet,
    timed: Sequence[str],
    embedder: StaticEmbedder,
) -> None:
    started = time.perf_counter()
    index = SkillIndex.of(skills, skill_vectors(skills, embedder.embed))
    measured.index_seconds[size] = round(time.perf_counter() - started, 2)
    console.print(f"{size} skills: indexed in {measured.index_seconds[size]} s", highlight=False)
    methods: dict[str, Method] = {
        "hybrid": Hybrid(index, embedder), "bm25": Bm25(index), "embeddings": Embeddings(index, embedder),
        "first-k": FirstOfCategory(skills),
    }
    for name, method in methods.items():
        if size == SIZES[0]:
            measured.thresholds[name] = quality.threshold(quality.answer_all(method, questions.tuning))
        measured.answers[name, size] = quality.answer_all(method, questions.held_out)
        measured.latency_ms[name, size] = _timed(method, timed, TIMED_ROUNDS)
        first = quality.recalls(measured.answers[name, size])["recall@6"]
        console.print(f"  {name}: recall@6 {first.value:.3f}, {measured.latency_ms[name, size]}", highlight=False)
    fts5 = Fts5(skills)
    sample = _some([query for query in questions.held_out if query.skill], FTS5_QUERIES)
    measured.answers["fts5", size] = quality.answer_all(fts5, sample)
    measured.latency_ms["fts5", size] = _timed(fts5, [query.text for query in sample], 1)
    console.print(f"  fts5: {measured.latency_ms['fts5', size]}", highlight=False)


def _measure_living(
    measured: Measured, size: int, skills: Sequence[Skill], queries: Sequence[str], embedder: StaticEmbedder
) -> None:
    with tempfile.TemporaryDirectory(prefix="metaclaw-retrieval-") as name:
        folder = Path(name)
        store.fill(folder, skills)
        measured.context_ms[size] = asyncio.run(store.costs(folder, embedder, queries))
        starts = [start.measured(folder) for _ in range(3)]
        measured.warm_start[size] = {
            figure: sorted(one[figure] for one in starts)[1] for figure in starts[0]
        }
    console.print(f"{size} skills, living: {measured.context_ms[size]}, warm start {measured.warm_start[size]}",
                  highlight=False)


def _some(queries: Sequence[Query], count: int) -> list[Query]:
    """So many of them, by chance: the kinds come in turn, so that each seventh, say, would be of one kind."""
    return random.Random(0).sample(list(queries), min(count, len(queries)))


def _timed(method: Method, queries: Sequence[str], rounds: int) -> dict[str, float]:
    """Milliseconds a query: of the medians of its rounds, of single runs, and of the processor in its best round."""
    singles, medians, processor = list[float](), list[float](), list[float]()
    gc.collect()
    for query in queries:
        taken, used = list[float](), list[float]()
        for _ in range(rounds):
            started, cpu_started = time.perf_counter(), time.thread_time()
            method(query)
            taken.append(1000 * (time.perf_counter() - started))
            used.append(1000 * (time.thread_time() - cpu_started))
        singles += taken
        medians.append(sorted(taken)[rounds // 2])
        processor.append(min(used))
    return {
        "p50": _at(medians, 0.5), "p99": _at(medians, 0.99), "p99 of single runs": _at(singles, 0.99),
        "processor p50": _at(processor, 0.5), "processor p99": _at(processor, 0.99),
    }


def _at(values: Sequence[float], share: float) -> float:
    return round(sorted(values)[min(len(values) - 1, int(share * len(values)))], 4)
