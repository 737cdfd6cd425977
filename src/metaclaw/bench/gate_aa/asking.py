"""One candidate before the gate, on a real engine: the same `Comparer` and `judge` as in a training job.

In: an adapter, held-out rows, what was trained on. Out: a record, one line of JSON.
"""

from __future__ import annotations

import itertools
from collections.abc import AsyncIterator, Mapping, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

from metaclaw.serving.arena import EngineArena, open_arena
from metaclaw.serving.engine import EngineSpec
from metaclaw.training import gate
from metaclaw.training.comparison import Comparer, Trained
from metaclaw.training.questions import as_user, body
from metaclaw.training.quiet import Quiet
from metaclaw.upstream.client import UpstreamClient

MOST_TOKENS = 12  # of a reply: the questions want a word
TEMPERATURE = 0.8
START_SECONDS = 120.0


class BenchArena:
    """An engine's arena with short replies; with `seeds`, each question is sampled, with the next of them."""

    def __init__(self, arena: EngineArena, seeds: itertools.count[int] | None, known: dict[str, str]) -> None:
        self._arena = arena
        self._seeds = seeds
        self._known = known
        self.pause, self.resume = arena.pause, arena.resume

    async def ask(self, body: dict[str, Any], *, candidate: bool) -> str:
        asked = body | {"max_tokens": min(MOST_TOKENS, body["max_tokens"])}
        if self._seeds is not None:
            asked |= {"temperature": TEMPERATURE, "seed": next(self._seeds)}
            return await self._arena.ask(asked, candidate=candidate)
        if candidate:
            return await self._arena.ask(asked, candidate=True)
        key = repr(sorted(asked.items()))  # the incumbent is the same for all, and greedy or seeded
        if key not in self._known:
            self._known[key] = await self._arena.ask(asked, candidate=False)
        return self._known[key]


async def judged(
    base: Path, adapter: Path, held_out: Mapping[str, Sequence[Any]], rows: Sequence[dict[str, Any]],
    known: dict[str, str], sampled_from: int | None = None,
) -> dict[str, Any]:
    """`known` remembers the incumbent's answers; `sampled_from` is the first seed where answers are sampled."""
    async with _arena(base, adapter, sampled_from, known) as arena:
        comparison = await Comparer(arena, Quiet().ask).compare(held_out, Trained.of(rows, ""))
    verdict = gate.judge("candidate", "base", comparison)
    return {
        "promoted": gate.admits(verdict), "decision": verdict.decision, "better": gate.better(comparison.query),
        "query": verdict.evidence["query"], "evidence": verdict.evidence if gate.better(comparison.query) else {},
        "pairs": [[pair.incumbent_right, pair.candidate_right] for pair in comparison.query],
        "differ": sum(pair.incumbent != pair.candidate for pair in comparison.query),
    }


async def rehearsals(base: Path, adapter: Path, prompts: Sequence[str], known: dict[str, str]) -> list[dict[str, Any]]:
    """Training rows of the model's own answers, as a job makes them."""
    async with _arena(base, adapter, None, known) as arena:
        replies = [await arena.ask(body(as_user(prompt), MOST_TOKENS), candidate=False) for prompt in prompts]
    return [
        {
            "id": f"replay-{number}", "split": "replay", "messages": as_user(prompt), "teacher_messages": None,
            "reply": reply or ".", "weight": 1.0,
        }
        for number, (prompt, reply) in enumerate(zip(prompts, replies, strict=True))
    ]


@asynccontextmanager
async def _arena(
    base: Path, adapter: Path, sampled_from: int | None, known: dict[str, str]
) -> AsyncIterator[BenchArena]:
    spec = EngineSpec(base, "arena", (adapter,), apply_loras=False, context_tokens=512)
    seeds = None if sampled_from is None else itertools.count(sampled_from)
    async with UpstreamClient(10, 120) as client, open_arena(spec, client, START_SECONDS) as engine:
        yield BenchArena(engine, seeds, known)
