"""The gateway's latency at rest and beside the real trainer, in turns: `wrk` against it, before a mock upstream."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

from metaclaw.bench.gate_aa import candidates, workload
from metaclaw.bench.gateway import contenders, load
from metaclaw.bench.gateway.library import QUESTIONS
from metaclaw.training.model import prepare

ROUNDS = 6
SECONDS = 5
SHAPES = (load.Shape(stream=False, size_bytes=0, connections=4), load.Shape(stream=True, size_bytes=0, connections=4))
SKILLS = 100
EPOCHS = 1_000  # more than there is time for: it is stopped


def rounds(
    known: Sequence[dict[str, Any]], until: float, base: Path, models_dir: Path, folder: Path
) -> Iterator[dict[str, Any]]:
    """The rounds that are missing, each at rest and beside training."""
    done = sum(record["kind"] == "latency" for record in known)
    if done >= ROUNDS or time.monotonic() > until:
        return
    prepared = prepare(base, models_dir / "trainable", lambda _: None)
    (work := folder / "beside").mkdir()
    with contenders.mock_upstream(work) as upstream, contenders.metaclaw(upstream, work, SKILLS) as ours:
        _load(ours, 0)  # warms up
        for number in range(done, ROUNDS):
            if time.monotonic() > until:
                return
            rest = _load(ours, number)
            training, steps = asyncio.run(_beside_training(ours, number, base, prepared, folder / f"job-{number}"))
            yield {"kind": "latency", "round": number, "rest": rest, "training": training, "steps": steps}


async def _beside_training(
    ours: contenders.Contender, number: int, base: Path, prepared: Path, folder: Path
) -> tuple[dict[str, Any], int]:
    """What the load found while the trainer trained, and how many steps that made meanwhile."""
    steps = 0
    stepping = asyncio.Event()

    def hear(event: Mapping[str, Any]) -> None:
        nonlocal steps
        if "step" in event:
            steps += 1
            stepping.set()

    rows, _ = workload.hacked(number, 40)
    training = asyncio.create_task(candidates.trained(base, prepared, folder, rows, EPOCHS, hear))
    try:
        waiting = asyncio.create_task(stepping.wait())
        await asyncio.wait({training, waiting}, return_when=asyncio.FIRST_COMPLETED)
        waiting.cancel()
        if training.done():
            await training  # it says why it ended
        before = steps
        found = await asyncio.to_thread(_load, ours, number)
        return found, steps - before
    finally:
        training.cancel()
        with contextlib.suppress(asyncio.CancelledError):
            await training


def _load(ours: contenders.Contender, seed: int) -> dict[str, Any]:
    found = {}
    for shape in SHAPES:
        run = load.run(ours.url, ours.headers, shape, SECONDS, QUESTIONS, seed)
        found[shape.name] = {
            "p50_ms": run.p50_ms, "p99_ms": run.p99_ms, "per_second": round(run.per_second), "failed": run.failed,
        }
    return found
