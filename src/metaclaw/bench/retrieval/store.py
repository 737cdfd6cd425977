"""A library of any size in a store of its own, and what the gateway's view of it costs."""

from __future__ import annotations

import asyncio
import statistics
import time
from collections.abc import Sequence
from pathlib import Path

from metaclaw.config.request_path import ContextSettings
from metaclaw.context.dense import Vectors
from metaclaw.context.embed import Embedder
from metaclaw.context.follow import Follower
from metaclaw.context.live import LiveContext
from metaclaw.context.segment import skill_vectors
from metaclaw.library.catalog import Catalog
from metaclaw.store import Connection, Database
from metaclaw.types import Skill, SkillState

NAMESPACE = "default"
UPDATES = 40
Figures = dict[str, float]


def fill(folder: Path, skills: Sequence[Skill]) -> None:
    """Put the skills into a new store in one transaction: to publish 100,000 one by one takes minutes."""

    def work(connection: Connection) -> None:
        connection.executemany(
            "INSERT INTO skills (namespace, name, version, state, origin, description, body, generation, created_at)"
            " VALUES (?, ?, 1, 'active', ?, ?, ?, 1, 0)",
            [(NAMESPACE, skill.name, skill.origin, skill.description, skill.body) for skill in skills],
        )
        connection.executemany(
            "INSERT INTO skill_history (namespace, generation, name, version, old_state, new_state, reason, created_at)"
            " VALUES (?, 1, ?, 1, NULL, 'active', 'part of the benchmark', 0)",
            [(NAMESPACE, skill.name) for skill in skills],
        )
        connection.execute("INSERT INTO generations VALUES (?, 1)", (NAMESPACE,))

    with Database(folder / "metaclaw.db") as database:
        database.write(work)


def opened(database: Database, folder: Path) -> Catalog:
    return Catalog(database, NAMESPACE, folder / "skills")


async def costs(folder: Path, embedder: Embedder, queries: Sequence[str]) -> Figures:
    """Milliseconds of `LiveContext` over the store in `folder`; leaves a warm index there."""
    with Database(folder / "metaclaw.db") as database:
        catalog = opened(database, folder)
        context = LiveContext(catalog, ContextSettings(), lambda: embedder, cache_dir=folder / "indexes")
        started = time.perf_counter()
        await context.warm()
        cold = time.perf_counter() - started
        running = asyncio.create_task(context.run())
        fresh = [await _timed(context, query) for query in queries]
        repeated = [await _timed(context, query) for query in queries]
        found = {
            "cold start": round(1000 * cold, 1),
            "fresh p50": _p(fresh, 0.5), "fresh p99": _p(fresh, 0.99),
            "repeated p50": _p(repeated, 0.5), "repeated p99": _p(repeated, 0.99),
            **await _updates(catalog, context, embedder),
        }
        running.cancel()
        await asyncio.gather(running, return_exceptions=True)
        return found


async def _timed(context: LiveContext, query: str) -> float:
    started = time.perf_counter()
    await context.for_query(query)
    return time.perf_counter() - started


async def _updates(catalog: Catalog, context: LiveContext, embedder: Embedder) -> Figures:
    """How long the index takes to follow one published skill, and how long from publishing until it is served."""
    async def vectors_of(skills: Sequence[Skill]) -> Vectors:
        return await asyncio.to_thread(skill_vectors, skills, embedder.embed)

    index = Follower(catalog, lambda: embedder.name, vectors_of, None, context.failures)
    await index.catch_up()
    update, live = list[float](), list[float]()
    for number in range(UPDATES):
        skill = Skill(f"stamp-zq{number}", f"Which zq{number} stamp?", f"Rule: the zq{number} stamp is blue.")
        started = time.perf_counter()
        await asyncio.to_thread(catalog.publish, skill, SkillState.ACTIVE, "part of the benchmark", [])
        served = await context.for_query(f"Which zq{number} stamp do I take?")
        live.append(time.perf_counter() - started)
        if skill.name not in [one.name for one in served.composition.skills]:
            raise AssertionError(f"{skill.name} was not served right after it was published")
        started = time.perf_counter()
        await index.catch_up()
        update.append(time.perf_counter() - started)
    return {
        "update p50": _p(update, 0.5), "update max": _p(update, 1.0),
        "publish to live p50": _p(live, 0.5), "publish to live max": _p(live, 1.0),
    }


def _p(seconds: Sequence[float], share: float) -> float:
    """A percentile, in milliseconds."""
    if share == 0.5:
        return round(1000 * statistics.median(seconds), 4)
    ordered = sorted(seconds)
    return round(1000 * ordered[min(len(ordered) - 1, int(share * len(ordered)))], 4)
