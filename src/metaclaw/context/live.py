"""The library as the hot path sees it: the live skills of the current generation, indexed, and answers remembered.

In: a request's text. Out: what to inject, with the generation that it belongs to. Each request looks whether the
library's bell has been rung, so that a published skill is in the very next request. An agent's loop
repeats its last user text for many turns: what a text was given once it is given again, from memory and in the same
bytes, until the library changes. Whatever fails here is counted, and the request goes on without skills.
"""

from __future__ import annotations

import asyncio
import logging
import threading
import time
from collections import Counter, OrderedDict
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, TypeVar

from metaclaw.config.request_path import ContextSettings
from metaclaw.context.compose import Composition, compose
from metaclaw.context.dense import Vectors
from metaclaw.context.embed import Embedder, RemoteEmbedder
from metaclaw.context.far import FarEmbedder, FarIndex
from metaclaw.context.follow import Follower
from metaclaw.context.holdout import NO_DRAW, Draw, draw, today
from metaclaw.context.segment import Segment, skill_vectors
from metaclaw.context.text import clipped
from metaclaw.errors import MetaClawError
from metaclaw.library.catalog import Catalog
from metaclaw.types import Skill

log = logging.getLogger(__name__)

K = TypeVar("K")
NOTHING = Composition("", ())
ANSWERS = 2_048  # remembered, of one generation
LOOK_AGAIN_SECONDS = 0.2  # for a change whose bell was not rung: its process died, or could not write the file
RETRY_SECONDS = 30.0  # until the remote index is tried again


@dataclass(frozen=True, slots=True)
class Context:
    generation: int
    composition: Composition
    draw: Draw = NO_DRAW

    def without_skills(self) -> Context:
        return Context(self.generation, NOTHING)


class LiveContext:
    """Owned by one gateway. `make_embedder` is called in a thread when it is needed for the first time.

    `cache_dir` is where indexes are kept between starts. `remote` is asked first, where there is one. `on_indexed` is
    called when an index has been built. A matching skill is withheld in `holdout_share` of the sessions
    (`context.holdout`).
    """

    def __init__(
        self,
        catalog: Catalog,
        settings: ContextSettings,
        make_embedder: Callable[[], Embedder],
        model_tokens: int | None = None,
        cache_dir: Path | None = None,
        remote: RemoteEmbedder | None = None,
        on_indexed: Callable[[], None] = lambda: None,
        holdout_share: float = 0.0,
    ) -> None:
        self.failures: Counter[str] = Counter()
        self._catalog = catalog
        self._on_indexed = on_indexed
        self._told_of: Segment | None = None
        self._settings = settings
        self._model_tokens = model_tokens
        self._make_embedder = make_embedder
        self._embedder: Embedder | None = None
        self._loading = threading.Lock()
        near, far = (cache_dir / "static.npz", cache_dir / "remote.npz") if cache_dir else (None, None)
        self._near = Follower(catalog, lambda: self._static().name, self._vectors_of, near, self.failures)
        self._far: FarIndex | None = None
        if remote:
            embedder = FarEmbedder(remote, settings.embeddings_timeout_seconds, self.failures)
            self._far = FarIndex(catalog, embedder, far, self.failures)
        self._answers: OrderedDict[tuple[str, int], Context] = OrderedDict()
        self._drawn: OrderedDict[tuple[str, int, str, int], Context] = OrderedDict()  # less what is withheld
        self._known = 0  # the library's generation, as of the bell's last ringing
        self._heard = b""
        self._look_again_at = 0.0
        self._answered = 0  # the generation of the answers
        self._holdout_share = holdout_share
        self._pinned = frozenset[str]()  # of the generation of the answers
        self._always: Sequence[Skill] = ()  # the same: what a person wants in every request
        self._changed = asyncio.Event()

    async def for_query(
        self, query: str, *, with_skills: bool = True, taken_tokens: int = 0, session: str = ""
    ) -> Context:
        """What to inject for `query`; nothing when the library fails, which is counted.

        `taken_tokens` is what request and reply need of the model's context: no client recovers from an overfull one.
        Without a `session` nothing is withheld.
        """
        try:
            generation = self._generation()
            if not with_skills or not generation:
                return Context(generation, NOTHING)
            if generation != self._near.generation or self._near.index is None:
                await self._catch_up(generation)
            if self._answered != self._near.generation:
                self._forget()
            key = clipped(query), self._budget(taken_tokens)
            answer = self._answers.get(key)
            if answer is None:
                answer = await self._answer(*key)
            else:
                self._answers.move_to_end(key)
            return self._held_out(answer, session, key, today())
        except Exception as error:  # noqa: BLE001 - whatever is wrong with an index, the request goes on without it
            self._count(error, "no skills for this request")
            return Context(self._near.generation, NOTHING)

    def _forget(self) -> None:
        """What was answered under another generation."""
        self._answers.clear()
        self._drawn.clear()
        self._pinned, self._always = self._catalog.pinned(), self._catalog.pinned_for_all()
        self._answered = self._near.generation

    def _generation(self) -> int:
        """The library's, from the store only when the bell says that it changed, or after a while."""
        rung, now = self._catalog.bell.last_rung(), time.monotonic()
        if rung != self._heard or now >= self._look_again_at:
            self._known = self._catalog.generation()
            self._heard, self._look_again_at = rung, now + LOOK_AGAIN_SECONDS
        return self._known

    async def warm(self) -> None:
        """Load the embedder and index the library, before the first request does. Raises `MetaClawError`."""
        loading = asyncio.ensure_future(asyncio.to_thread(self._static))  # beside reading the library
        try:
            await self._catch_up(self._catalog.generation())
        finally:
            await loading

    async def run(self) -> None:
        """Warm up, then do what no request should wait for, whenever the library changed. Ends when cancelled."""
        try:
            await self._attempt(self.warm(), "skills will not be found by meaning")
            self._tell_of_index()
            while True:
                await self._changed.wait()
                self._changed.clear()
                await self._attempt(self._near.tidy(), "the index stays as it is")
                self._tell_of_index()
                if self._far and not await self._attempt(self._far.keep_up(), "the static vectors rank alone"):
                    asyncio.get_running_loop().call_later(RETRY_SECONDS, self._changed.set)
        finally:
            if self._far:
                await self._far.close()

    def _tell_of_index(self) -> None:
        """Once for each large segment: a change of a few skills builds none."""
        large = self._near.index.large if self._near.index else None
        if large is not self._told_of:
            self._told_of = large
            self._on_indexed()

    async def _catch_up(self, generation: int) -> None:
        await self._near.catch_up(generation)
        self._changed.set()

    async def _answer(self, query: str, budget: int) -> Context:
        """Ranked by the remote vectors where they are up to date and the query's come in time, else by the static."""
        generation, index = self._near.generation, self._near.index
        seen = await self._far.sight(query, generation) if self._far else None
        index, embed = seen or (index, self._static().embed)
        if index is None:
            return Context(generation, NOTHING)
        matches = index.rank(query, embed, self._settings.max_skills, self._settings.min_score)
        named = {skill.name for skill in self._always}
        skills = [*self._always, *(match.skill for match in matches if match.skill.name not in named)]
        answer = Context(generation, compose(skills, budget))
        if self._answered == generation:
            _remember(self._answers, (query, budget), answer)
        return answer

    def _held_out(self, answer: Context, session: str, key: tuple[str, int], day: int) -> Context:
        """The answer less what is withheld in this session. The rest stays as it was: nothing moves up."""
        skills = answer.composition.skills
        if not (session and skills and self._holdout_share):
            return answer
        place = (*key, session, day)
        known = self._drawn.get(place)  # an agent's loop asks again and again
        if known and known.generation == answer.generation:
            return known
        drawn = draw(skills, self._pinned, self._holdout_share, f"{self._catalog.namespace}\0{session}", day)
        composition = answer.composition
        if drawn.withheld:
            kept = compose([skill for skill in skills if skill.ref not in drawn.withheld], key[1])
            composition = replace(kept, tools=composition.tools)
        context = Context(answer.generation, composition, drawn)
        if self._answered == answer.generation:
            _remember(self._drawn, place, context)
        return context

    def _budget(self, taken_tokens: int) -> int:
        most = self._settings.max_skill_tokens
        return most if self._model_tokens is None else min(most, self._model_tokens - taken_tokens)

    async def _vectors_of(self, skills: Sequence[Skill]) -> Vectors:
        return await asyncio.to_thread(lambda: skill_vectors(skills, self._static().embed))

    def _static(self) -> Embedder:
        with self._loading:
            if self._embedder is None:
                self._embedder = self._make_embedder()
            return self._embedder

    async def _attempt(self, step: Coroutine[Any, Any, None], otherwise: str) -> bool:
        try:
            await step
        except MetaClawError as error:
            self._count(error, otherwise)
            return False
        return True

    def _count(self, error: Exception, otherwise: str) -> None:
        self.failures[type(error).__name__] += 1
        log.error("%s: %s", otherwise, error)


def _remember(known: OrderedDict[K, Context], key: K, context: Context) -> None:
    known[key] = context
    if len(known) > ANSWERS:
        known.popitem(last=False)
