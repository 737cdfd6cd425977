"""An index that follows the library: loaded or made once, then changed by what changed.

One of them belongs to one embedder. Work that takes long happens in threads, and nobody waits for what can be put off:
joining what is new with the large segment, and writing that to disk, is done by `tidy`.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Awaitable, Callable, Sequence
from pathlib import Path

from metaclaw.context import segment
from metaclaw.context.dense import Vectors
from metaclaw.context.retrieve import SkillIndex
from metaclaw.errors import CacheError
from metaclaw.library.catalog import Catalog, Changes
from metaclaw.types import Skill

log = logging.getLogger(__name__)


class Follower:
    """`vectors_of` embeds skills; `embedder` tells, in a thread, whose vectors those are.

    `file` is where the large segment is kept, if it is; its failures are counted in `failures`. Read `index` and
    `generation` together, without awaiting in between.
    """

    def __init__(
        self,
        catalog: Catalog,
        embedder: Callable[[], str],
        vectors_of: Callable[[Sequence[Skill]], Awaitable[Vectors]],
        file: Path | None,
        failures: Counter[str],
    ) -> None:
        self.index: SkillIndex | None = None
        self.generation = 0
        self._catalog = catalog
        self._embedder = embedder
        self._vectors_of = vectors_of
        self._file = file
        self._failures = failures
        self._position = 0
        self._on_disk: segment.Segment | None = None
        self._changing = asyncio.Lock()

    async def catch_up(self, generation: int | None = None) -> None:
        """Bring the index to the library as it is now; already at `generation`, it stays. Raises `MetaClawError`."""
        async with self._changing:
            if self.index is None:
                await self._begin()
            elif generation is None or self.generation < generation:
                await self._change(self.index, self._position)

    async def tidy(self) -> None:
        """Join what is new with the large segment once that is worth it, and keep the large segment on disk."""
        index, position = self.index, self._position
        if index is not None and index.crowded:
            whole = await asyncio.to_thread(index.joined)
            async with self._changing:  # what came in the meantime is not in it yet
                await self._change(whole, position)
        if self.index is not None and self.index.large is not self._on_disk:
            self._on_disk = self.index.large
            await asyncio.to_thread(self._save, self._on_disk)

    async def _begin(self) -> None:
        changes = await asyncio.to_thread(self._catalog.changes, 0)
        saved = await asyncio.to_thread(self._load, changes.live)
        others = [skill for skill in changes.live if skill.name not in saved.rows] if saved else changes.live
        vectors = await self._vectors_of(others)
        if saved:
            self._on_disk = saved
            index = await asyncio.to_thread(SkillIndex.restored, saved, others, vectors)
        else:
            index = await asyncio.to_thread(SkillIndex.of, others, vectors)
        self._take(index, changes)

    async def _change(self, index: SkillIndex, position: int) -> None:
        """Take `index`, which is of `position`, with all that happened since."""
        changes = await asyncio.to_thread(self._catalog.changes, position)
        vectors = await self._vectors_of(changes.live)
        self._take(await asyncio.to_thread(index.changed, changes.names, changes.live, vectors), changes)

    def _take(self, index: SkillIndex, changes: Changes) -> None:
        self.index, self.generation, self._position = index, changes.generation, changes.position

    def _load(self, live: Sequence[Skill]) -> segment.Segment | None:
        try:
            return segment.load(self._file, self._embedder(), live) if self._file else None
        except CacheError as error:
            self._count(error)
            return None

    def _save(self, large: segment.Segment) -> None:
        try:
            if self._file:
                segment.save(large, self._embedder(), self._file)
        except CacheError as error:
            self._count(error)

    def _count(self, error: CacheError) -> None:
        self._failures[type(error).__name__] += 1
        log.warning("%s", error)
