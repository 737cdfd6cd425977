"""A better embedder behind a network, used where it answers in time.

Skills, which can wait, are embedded in batches; requests, which cannot, under a time budget: an answer that is late or
fails is counted, and the request is ranked by the static vectors. What comes late is remembered for the next time.
After several failures in a row the endpoint is left alone for a while.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter, OrderedDict
from collections.abc import Sequence
from pathlib import Path

import numpy as np

from metaclaw.context.dense import Vectors, unit
from metaclaw.context.embed import Embed, RemoteEmbedder
from metaclaw.context.follow import Follower
from metaclaw.context.retrieve import SkillIndex, looked_for
from metaclaw.context.segment import combined, texts_of
from metaclaw.errors import MetaClawError
from metaclaw.library.catalog import Catalog
from metaclaw.types import Skill

log = logging.getLogger(__name__)

BATCH = 32  # skills in one call, with three texts each
REMEMBERED = 4_096  # texts of requests
FAILURES_IN_A_ROW = 3
REST_SECONDS = 30.0
# What any two of these have in common is the model's habit, not meaning: many models never go below a cosine of 0.7.
NEUTRAL = (
    "The train leaves at nine.", "def area(r): return 3.14 * r * r", "She plays the violin.", "How do volcanoes form?",
    "Invoice total: 410 euros", "Please water the plants.", "The server answered with an error.", "A lentil recipe",
    "Le musée ferme à six heures.", "Our goalkeeper was injured.", "会议在下午三点开始。", "Write a poem about rain.",
)


class FarEmbedder:
    """Unit vectors from `remote`, less what all of its vectors have in common, so that scores mean the same as ours."""

    def __init__(self, remote: RemoteEmbedder, timeout_seconds: float, failures: Counter[str]) -> None:
        self.name = remote.name
        self._remote = remote
        self._timeout_seconds = timeout_seconds
        self._failures = failures
        self._common: Vectors | None = None
        self._remembered: OrderedDict[str, Vectors] = OrderedDict()
        self._under_way: set[asyncio.Task[None]] = set()
        self._failed_in_a_row = 0
        self._resting_until = 0.0

    async def skill_vectors(self, skills: Sequence[Skill]) -> Vectors:
        """One vector a skill; takes as long as it takes. Raises `MetaClawError`."""
        found = [await self._vectors([])]
        for start in range(0, len(skills), BATCH):
            some = skills[start : start + BATCH]
            found.append(combined(some, await self._vectors(texts_of(some))))
        return np.concatenate(found)

    async def recall(self, texts: Sequence[str]) -> Embed | None:
        """What embeds these texts; None where the time budget was not enough or the endpoint failed."""
        missing = [text for text in dict.fromkeys(texts) if text not in self._remembered]
        if missing and not await self._in_time(missing):
            return None
        for text in texts:
            self._remembered.move_to_end(text)
        known = {text: self._remembered[text] for text in texts}
        return lambda asked: np.stack([known[text] for text in asked])

    async def close(self) -> None:
        """End what is under way."""
        for task in self._under_way:
            task.cancel()
        await asyncio.gather(*self._under_way, return_exceptions=True)

    async def _in_time(self, texts: list[str]) -> bool:
        now = asyncio.get_running_loop().time()
        if now < self._resting_until:
            self._failures["embeddings not asked"] += 1
            return False
        task = asyncio.create_task(self._remember(texts))
        self._under_way.add(task)
        task.add_done_callback(self._under_way.discard)
        await asyncio.wait([task], timeout=self._timeout_seconds)
        arrived = all(text in self._remembered for text in texts)
        if not arrived and not task.done():
            self._failures["embeddings late"] += 1
        self._failed_in_a_row = 0 if arrived else self._failed_in_a_row + 1
        if self._failed_in_a_row >= FAILURES_IN_A_ROW:
            self._failed_in_a_row, self._resting_until = 0, now + REST_SECONDS
        return arrived

    async def _remember(self, texts: list[str]) -> None:
        try:
            vectors = await self._vectors(texts)
        except MetaClawError as error:
            self._failures["embeddings failed"] += 1
            log.warning("this request is ranked without %s: %s", self.name, error)
            return
        self._remembered |= zip(texts, vectors, strict=True)
        while len(self._remembered) > REMEMBERED:
            self._remembered.popitem(last=False)

    async def _vectors(self, texts: Sequence[str]) -> Vectors:
        if self._common is None:
            self._common = (await self._remote.embed(NEUTRAL)).mean(axis=0)
        if not texts:
            return np.zeros((0, len(self._common)), dtype=np.float32)
        return unit(await self._remote.embed(texts) - self._common)


class FarIndex:
    """The library by the remote vectors, a little behind. `file` is where it is kept between starts."""

    def __init__(self, catalog: Catalog, embedder: FarEmbedder, file: Path | None, failures: Counter[str]) -> None:
        self._embedder = embedder
        self._follower = Follower(catalog, lambda: embedder.name, embedder.skill_vectors, file, failures)

    async def sight(self, query: str, generation: int) -> tuple[SkillIndex, Embed] | None:
        """What ranks `query`; None where the index is not of this generation or the query's vectors do not come."""
        index = self._follower.index
        if index is None or self._follower.generation != generation:
            return None
        embed = await self._embedder.recall(looked_for(query))
        return None if embed is None else (index, embed)

    async def keep_up(self) -> None:
        """Bring the index to the library as it is now. Raises `MetaClawError`."""
        await self._follower.catch_up()
        await self._follower.tidy()

    async def close(self) -> None:
        await self._embedder.close()
