"""Candidate after candidate before the gate, one line of a run file each; the result is of what is there.

A run goes on where the last one ended: `minutes` bounds one slice of it.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from metaclaw.bench.gate_aa import candidates, workload
from metaclaw.bench.gate_aa.asking import judged, rehearsals
from metaclaw.bench.gate_aa.report import publish
from metaclaw.serving.fetch import Silent
from metaclaw.serving.weights import resolve
from metaclaw.training.questions import anchors

QUERY, REHEARSED = 24, 12
SEEDS_APART = 100_000
MODEL = "smollm2-135m"


@dataclass(frozen=True, slots=True)
class Plan:
    """How many candidates of each kind there are to be."""

    sampled: int = 100
    chance: int = 80
    shuffled: int = 20
    hacked: int = 8
    poisoned: int = 8

    def all(self) -> Iterator[tuple[str, int]]:
        """The kinds in turn, so that what is there at any time is of all of them."""
        counts = {
            "sampled": self.sampled, "chance": self.chance, "shuffled": self.shuffled, "hacked": self.hacked,
            "poisoned": self.poisoned,
        }
        longest = max(counts.values())
        order = [(number / counts[kind], kind, number) for kind in counts for number in range(counts[kind]) if longest]
        return ((kind, number) for _, kind, number in sorted(order))


def main(plan: Plan, minutes: float, models_dir: Path, results: Path) -> None:
    records = results / "gate-aa" / "records.jsonl"
    records.parent.mkdir(parents=True, exist_ok=True)
    asyncio.run(_slice(plan, time.monotonic() + 60 * minutes, models_dir, records))
    publish(_read(records), plan, results)


async def _slice(plan: Plan, until: float, models_dir: Path, records: Path) -> None:
    done = {(record["kind"], record["number"]) for record in _read(records)}
    base = resolve(MODEL, models_dir, Silent()).path
    known: dict[str, str] = {}
    for kind, number in plan.all():
        if time.monotonic() > until:
            return
        if (kind, number) in done:
            continue
        began = time.monotonic()
        with tempfile.TemporaryDirectory(prefix="metaclaw-gate-aa-") as folder:
            record = await _one(kind, number, base, models_dir, Path(folder) / "job", known)
        record |= {"kind": kind, "number": number, "seconds": round(time.monotonic() - began, 1)}
        with records.open("a", encoding="utf-8") as file:
            file.write(json.dumps(record) + "\n")
        print(f"{kind} {number}: {record['decision']} ({record['seconds']} s)", flush=True)


async def _one(
    kind: str, number: int, base: Path, models_dir: Path, folder: Path, known: dict[str, str]
) -> dict[str, Any]:
    asked = workload.held_out(workload.facts(), QUERY)
    if kind == "sampled":
        adapter = candidates.nothing(base, folder)
        return await judged(base, adapter, asked, [], known, sampled_from=SEEDS_APART * (number + 1))
    if kind == "chance":
        return await judged(base, candidates.chance(base, folder, number), asked, [], known)
    from metaclaw.training.model import prepare

    prepared = await asyncio.to_thread(prepare, base, models_dir / "trainable", lambda _: None)
    if kind == "shuffled":
        rows, epochs = workload.shuffled_answers(workload.facts(), number, 24), 2
    elif kind == "hacked":
        (rows, asked), epochs = workload.hacked(number, 40), 3
    else:
        rows, asked, epochs = workload.poisoned(number, 40), workload.rule_held_out(QUERY), 6
    if kind != "shuffled":  # as in a job, which would make a spoiled candidate easier to tell without
        nothing = candidates.nothing(base, folder / "nothing")
        rows += await rehearsals(base, nothing, anchors("replay")[:REHEARSED], known)
    return await judged(base, await candidates.trained(base, prepared, folder, rows, epochs), asked, rows, known)


def _read(records: Path) -> list[dict[str, Any]]:
    if not records.exists():
        return []
    return [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]
