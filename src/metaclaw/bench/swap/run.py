"""Swap after swap of a real gateway with real engines, under streams; then its latency beside a training run.

One line of the run file for each swap, and for each round of the latency: a run goes on where the last one ended, and
`minutes` bounds one slice of it. Swaps are of two kinds: `started` has no spare, so that each starts an engine of its
own; `at hand` goes to and fro between two engines that run, as rollbacks and promotions after a trial do.
"""

from __future__ import annotations

import asyncio
import json
import tempfile
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from metaclaw.bench.gate_aa import candidates
from metaclaw.bench.server import OwnGateway
from metaclaw.bench.swap.beside import rounds
from metaclaw.bench.swap.report import KINDS, publish
from metaclaw.bench.swap.streams import Streamed, Streams
from metaclaw.serving.fetch import Silent
from metaclaw.serving.routes import Routes
from metaclaw.serving.weights import resolve
from metaclaw.store import Database
from metaclaw.training.registry import Registry

MODEL, NAMESPACE = "smollm2-135m", "default"
CLIENTS = 2
STRENGTH_SEEDS = (1, 2)
SETTLE_SECONDS = 0.3  # after a swap, in which its old engine still ends: what begins then is counted to it
LEAD_SECONDS = 0.3  # before a swap: what begins then may still wait for its first word
REST_SECONDS = 1.0
STARTED, AT_HAND = KINDS
RESTING = {STARTED: 4, AT_HAND: 1}  # requests that must have begun and ended in the rest after a swap
SWAP_SECONDS = 120.0


def main(swaps: int, minutes: float, models_dir: Path, results: Path) -> None:
    records = results / "swap" / "records.jsonl"
    records.parent.mkdir(parents=True, exist_ok=True)
    until = time.monotonic() + 60 * minutes
    base = resolve(MODEL, models_dir, Silent()).path
    with tempfile.TemporaryDirectory(prefix="metaclaw-swap-") as folder:
        for kind in KINDS:
            left = swaps - sum(record["kind"] == kind for record in _read(records))
            if left > 0 and time.monotonic() < until:
                asyncio.run(_swaps(kind, left, until, base, Path(folder) / kind, records))
        for record in rounds(_read(records), until, base, models_dir, Path(folder)):
            _write(records, record)
    publish(_read(records), swaps, results)


async def _swaps(kind: str, count: int, until: float, base: Path, folder: Path, records: Path) -> None:
    settings = {
        "model": {"name": MODEL, "context_tokens": 512},
        "evolve": {"enabled": False}, "training": {"enabled": False},
        "serving": {"canary_share": 0.0, "spare_minutes": 0 if kind == STARTED else 600},
    }
    async with OwnGateway(folder / "home", settings) as gateway:
        with Database(gateway.data_dir / "metaclaw.db") as database:
            routes = Routes(database, NAMESPACE)
            adapters = await asyncio.to_thread(_adapters, database, gateway, base, folder)
            headers = {"authorization": f"Bearer {gateway.token}"}
            async with Streams(gateway.url, headers, CLIENTS) as streams:
                await asyncio.sleep(REST_SECONDS)
                if kind == AT_HAND:  # two adapters run from here on
                    for name in adapters:
                        await _one(kind, routes, name, streams)
                streams.taken()  # the first ones warm things up
                for number in range(count):
                    if time.monotonic() > until:
                        return
                    served = await asyncio.to_thread(lambda: routes.state().serving)
                    others = [one for one in (*adapters, *([None] if kind == STARTED else [])) if one != served]
                    record = await _one(kind, routes, others[number % len(others)], streams)
                    _write(records, record)
                    print(f"{kind}: {number + 1} of {count}, {record['seconds']} s {record['failed']}", flush=True)


async def _one(kind: str, routes: Routes, wanted: str | None, streams: Streams) -> dict[str, Any]:
    """A swap, and a while of rest after it. Every request is the one's or the other's by when it began, and by nothing
    else: by when its first word came, the slow ones would fall to the swap.
    """
    began = time.monotonic()
    await asyncio.to_thread(routes.want, wanted, "asked for by the benchmark")
    async with asyncio.timeout(SWAP_SECONDS):
        while (await asyncio.to_thread(routes.state)).serving != wanted:  # noqa: ASYNC110 - nobody announces it
            await asyncio.sleep(0.05)
    swapped = time.monotonic()
    await streams.ended_since(swapped + SETTLE_SECONDS, RESTING[kind])
    done = streams.taken()
    during = [one for one in done if began - LEAD_SECONDS <= one.began <= swapped + SETTLE_SECONDS]
    return {
        "kind": kind, "to": wanted or "base", "seconds": round(swapped - began, 2), "requests": len(done),
        "failed": [one.failure for one in done if one.failure], "mixed": sum(one.mixed for one in done),
        "during_ms": _first_words(during),
        "rest_ms": _first_words([one for one in done if one not in during]),
    }


def _first_words(streamed: Sequence[Streamed]) -> list[float]:
    return [round(ms, 1) for one in streamed if (ms := one.first_word_ms) is not None]


def _adapters(database: Database, gateway: OwnGateway, base: Path, folder: Path) -> list[str]:
    """Two adapters of random numbers, registered with the gateway's own key."""
    registry = Registry(database, NAMESPACE, gateway.data_dir / "adapters" / NAMESPACE)
    names = []
    for seed in STRENGTH_SEEDS:
        made = candidates.chance(base, folder / f"adapter-{seed}", seed).parent
        names.append(registry.register(made, MODEL, None, {}).name)
    return names


def _read(records: Path) -> list[dict[str, Any]]:
    if not records.exists():
        return []
    return [json.loads(line) for line in records.read_text(encoding="utf-8").splitlines()]


def _write(records: Path, record: dict[str, Any]) -> None:
    with records.open("a", encoding="utf-8") as file:
        file.write(json.dumps(record) + "\n")
