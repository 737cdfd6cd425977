"""The remote embedder: used when it is up to date and in time, counted when it is not, left alone while it is down."""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pytest

from metaclaw.config.request_path import ContextSettings
from metaclaw.context.dense import Vectors, unit
from metaclaw.context.far import FAILURES_IN_A_ROW
from metaclaw.context.live import LiveContext
from metaclaw.context.text import facets
from metaclaw.errors import UpstreamError
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState
from support import NAMESPACE, embedder, until

# Words that share nothing: only an embedder that knows better brings them together.
SKILL = Skill("kettles", "Qwxz blorf.", "Rule: blorf twice.")
QUERY = "Zzyzx?"
DIMENSIONS = 64


class Remote:
    """Knows that skill and query mean the same. All its vectors lean one way, as those of many models do."""

    name = "scripted"

    def __init__(self) -> None:
        self.answering = asyncio.Event()
        self.answering.set()
        self.down = False
        self.asked: list[str] = []
        self.answered: list[str] = []

    async def embed(self, texts: Sequence[str]) -> Vectors:
        self.asked += texts
        await self.answering.wait()
        self.answered += texts
        if self.down:
            raise UpstreamError(502, "upstream_unreachable", "It is down.")
        return unit(np.stack([_meaning(text) for text in texts]) + np.float32(3 / DIMENSIONS**0.5))


def _meaning(text: str) -> Vectors:
    said = "a kettle" if text in {*facets(SKILL), QUERY} else text
    seed = list(said.encode())
    found: Vectors = unit(np.random.default_rng(seed).standard_normal((1, DIMENSIONS)).astype(np.float32))[0]
    return found


class Stage:
    """A context that runs, with its remote; `timeout` is what a request may wait for it."""

    def __init__(self, catalog: Catalog, folder: Path, timeout: float = 10.0) -> None:
        self.remote = Remote()
        self.saved = folder / "indexes" / "remote.npz"
        settings = ContextSettings(embeddings_timeout_seconds=timeout)
        self.context = LiveContext(catalog, settings, embedder, cache_dir=self.saved.parent, remote=self.remote)

    async def __aenter__(self) -> Stage:
        self._task = asyncio.create_task(self.context.run())
        return self

    async def __aexit__(self, *_: object) -> None:
        self._task.cancel()
        await asyncio.gather(self._task, return_exceptions=True)

    async def found(self, query: str = QUERY) -> list[str]:
        return [skill.name for skill in (await self.context.for_query(query)).composition.skills]

    async def up_to_date(self) -> None:
        """Wait for the remote index of all that is live: what it was made of is saved right after."""
        await until(self.saved.exists)
        self.saved.unlink()


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> Catalog:
    found = Catalog(database, NAMESPACE, tmp_path / "skills")
    found.publish(SKILL, SkillState.ACTIVE, "new", [])
    return found


async def test_the_remote_vectors_find_what_the_static_ones_cannot(catalog: Catalog, tmp_path: Path) -> None:
    static = LiveContext(catalog, ContextSettings(), embedder)
    assert not (await static.for_query(QUERY)).composition.skills
    async with Stage(catalog, tmp_path) as stage:
        await stage.up_to_date()
        assert await stage.found() == ["kettles"]
        assert not await stage.found("Something else entirely?")
        assert not stage.context.failures


async def test_a_late_answer_is_counted_and_used_the_next_time(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    async with Stage(catalog, tmp_path, timeout=0.02) as stage:
        await stage.up_to_date()
        stage.remote.answering.clear()
        assert not await stage.found()
        assert stage.context.failures == {"embeddings late": 1}
        stage.remote.answering.set()
        await until(lambda: stage.remote.answered.count(QUERY) == 1)
        assert not await stage.found()  # what a text was given stays, while the library does
        monkeypatch.setattr("metaclaw.context.retrieve.MOST_FRESH", 0)
        catalog.publish(Skill("sea", "The sea.", "Rule: it is blue."), SkillState.ACTIVE, "new", [])
        assert not await stage.found("The mountains?")  # sees the new library, and sets the remote index to work
        await stage.up_to_date()
        catalog.rollback("sea", "wrong")
        await stage.context.warm()
        await stage.up_to_date()
        assert await stage.found() == ["kettles"]
        assert stage.remote.asked.count(QUERY) == 1


async def test_a_failing_endpoint_is_counted_and_then_left_alone(catalog: Catalog, tmp_path: Path) -> None:
    async with Stage(catalog, tmp_path) as stage:
        await stage.up_to_date()
        stage.remote.down = True
        for number in range(FAILURES_IN_A_ROW):
            assert not await stage.found(f"Question {number}?")
        asked = len(stage.remote.asked)
        assert stage.context.failures == {"embeddings failed": FAILURES_IN_A_ROW}
        stage.remote.down = False
        assert not await stage.found()
        assert len(stage.remote.asked) == asked
        assert stage.context.failures["embeddings not asked"] == 1


async def test_skills_that_cannot_be_embedded_leave_the_static_vectors(catalog: Catalog, tmp_path: Path) -> None:
    stage = Stage(catalog, tmp_path)
    stage.remote.down = True
    async with stage:
        await until(lambda: stage.context.failures["UpstreamError"] == 1)
        assert await stage.found("Qwxz blorf, please.") == ["kettles"]


async def test_the_next_start_does_not_embed_the_skills_again(catalog: Catalog, tmp_path: Path) -> None:
    async with Stage(catalog, tmp_path) as first:
        await until(first.saved.exists)
    async with Stage(catalog, tmp_path) as second:
        async with asyncio.timeout(10):
            number = 0
            while not await second.found(f"{QUERY}{' ' * number}"):  # until the saved index is loaded
                number += 1
                await asyncio.sleep(0)
        assert not set(facets(SKILL)) & set(second.remote.asked)
