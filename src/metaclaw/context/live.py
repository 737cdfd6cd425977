"""The library as the hot path sees it: the live skills of the current generation, indexed once a generation.

In: a request's text. Out: what to inject, with the generation that it belongs to. Each request asks the store for the
generation (an indexed read, microseconds), so that a published skill is in the very next request. Whatever fails here
is counted, and the request goes on without skills.
"""

from __future__ import annotations

import asyncio
import logging
from collections import Counter
from collections.abc import Callable
from dataclasses import dataclass

from metaclaw.config import ContextSettings
from metaclaw.context.compose import Composition, compose
from metaclaw.context.retrieve import Embedder, SkillIndex
from metaclaw.errors import MetaClawError
from metaclaw.library.catalog import Catalog

log = logging.getLogger(__name__)

NOTHING = Composition("", ())


@dataclass(frozen=True, slots=True)
class Context:
    generation: int
    composition: Composition


class LiveContext:
    """Owned by one gateway. `make_embedder` is called in a thread when the first skill needs it."""

    def __init__(
        self,
        catalog: Catalog,
        settings: ContextSettings,
        make_embedder: Callable[[], Embedder],
        model_tokens: int | None = None,
    ) -> None:
        self._catalog = catalog
        self._settings = settings
        self._model_tokens = model_tokens
        self._make_embedder = make_embedder
        self._embedder: Embedder | None = None
        self._index: tuple[int, SkillIndex | None] = (0, None)
        self._building = asyncio.Lock()
        self.failures: Counter[str] = Counter()

    async def for_query(self, query: str, *, with_skills: bool = True, taken_tokens: int = 0) -> Context:
        """What to inject for `query`; nothing when the library fails, which is counted.

        `taken_tokens` is what request and reply need of the model's context: no client recovers from an overfull one.
        """
        try:
            generation = self._catalog.generation()
            if not with_skills or not generation:
                return Context(generation, NOTHING)
            generation, index = await self._current_index(generation)
        except MetaClawError as error:
            self.failures[type(error).__name__] += 1
            log.error("no skills for this request: %s", error)
            return Context(self._index[0], NOTHING)
        if index is None:
            return Context(generation, NOTHING)
        matches = index.rank(query, self._settings.max_skills, self._settings.min_score)
        return Context(generation, compose([match.skill for match in matches], self._budget(taken_tokens)))

    def _budget(self, taken_tokens: int) -> int:
        most = self._settings.max_skill_tokens
        return most if self._model_tokens is None else min(most, self._model_tokens - taken_tokens)

    async def warm(self) -> None:
        """Load the embedding and index the library, before the first request does."""
        generation = self._catalog.generation()
        await asyncio.to_thread(self._ensure_embedder)
        await self._current_index(generation)

    async def _current_index(self, generation: int) -> tuple[int, SkillIndex | None]:
        if self._index[0] != generation or (generation and self._index[1] is None):
            async with self._building:
                if self._index[0] < generation or self._index[1] is None:
                    self._index = await asyncio.to_thread(self._build)
        return self._index

    def _build(self) -> tuple[int, SkillIndex | None]:
        generation, skills = self._catalog.snapshot()
        return generation, SkillIndex(skills, self._ensure_embedder()) if generation else None

    def _ensure_embedder(self) -> Embedder:
        if self._embedder is None:
            self._embedder = self._make_embedder()
        return self._embedder
