"""An index that follows the library: changes cost what changed, and tidying loses nothing that comes meanwhile."""

from __future__ import annotations

import asyncio
from collections import Counter
from collections.abc import Sequence
from pathlib import Path

import pytest

from metaclaw.context.dense import Vectors
from metaclaw.context.follow import Follower
from metaclaw.context.retrieve import SkillIndex
from metaclaw.context.segment import skill_vectors
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState
from support import NAMESPACE, embedder, make_skill


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> Catalog:
    return Catalog(database, NAMESPACE, tmp_path / "skills")


class Watched:
    """A follower, and the names of the skills that it had embedded."""

    def __init__(self, catalog: Catalog, file: Path | None = None) -> None:
        self.embedded: list[str] = []
        self.failures: Counter[str] = Counter()
        self.follower = Follower(catalog, lambda: embedder().name, self._vectors_of, file, self.failures)

    async def _vectors_of(self, skills: Sequence[Skill]) -> Vectors:
        self.embedded += [skill.name for skill in skills]
        return skill_vectors(skills, embedder().embed)

    def names(self) -> set[str]:
        index = self.follower.index
        assert index is not None
        return {found.skill.name for found in index.search("Use the rule of the bell.", embedder().embed)}


def publish(catalog: Catalog, *names: str) -> None:
    for name in names:
        catalog.publish(make_skill(name, "Rule: ring the bell."), SkillState.ACTIVE, "new", [])


async def test_a_change_embeds_what_changed(catalog: Catalog) -> None:
    publish(catalog, "a", "b")
    watched = Watched(catalog)
    await watched.follower.catch_up()
    publish(catalog, "b", "c")
    catalog.rollback("a", "wrong")
    await watched.follower.catch_up()
    assert watched.embedded == ["a", "b", "b", "c"] or watched.embedded == ["a", "b", "c", "b"]
    assert watched.names() == {"b", "c"}
    assert watched.follower.generation == catalog.generation()


async def test_at_the_generation_already_nothing_is_read(catalog: Catalog) -> None:
    publish(catalog, "a")
    watched = Watched(catalog)
    await watched.follower.catch_up(1)
    index = watched.follower.index
    await watched.follower.catch_up(1)
    assert watched.follower.index is index


async def test_other_namespaces_are_not_followed(catalog: Catalog, database: Database, tmp_path: Path) -> None:
    publish(catalog, "a")
    watched = Watched(catalog)
    await watched.follower.catch_up()
    publish(Catalog(database, "other", tmp_path / "other"), "b")
    await watched.follower.catch_up()
    assert watched.names() == {"a"}


async def test_tidying_joins_what_is_new_and_keeps_it(
    catalog: Catalog, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaclaw.context.retrieve.MOST_FRESH", 2)
    watched = Watched(catalog, tmp_path / "index.npz")
    await watched.follower.catch_up()
    publish(catalog, "a", "b", "c")
    await watched.follower.catch_up()
    await watched.follower.tidy()
    assert watched.follower.index is not None
    assert (len(watched.follower.index.large), len(watched.follower.index.fresh)) == (3, 0)
    publish(catalog, "d")
    catalog.rollback("b", "wrong")
    again = Watched(catalog, tmp_path / "index.npz")
    await again.follower.catch_up()
    assert again.embedded == ["d"]
    assert again.names() == {"a", "c", "d"}
    assert not again.failures


async def test_what_is_published_while_it_tidies_is_not_lost(
    catalog: Catalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaclaw.context.retrieve.MOST_FRESH", 1)
    watched = Watched(catalog)
    await watched.follower.catch_up()
    publish(catalog, "a", "b")
    await watched.follower.catch_up()
    joining, go_on = asyncio.Event(), asyncio.Event()
    loop = asyncio.get_running_loop()

    def slowly(index: SkillIndex) -> SkillIndex:
        loop.call_soon_threadsafe(joining.set)
        asyncio.run_coroutine_threadsafe(go_on.wait(), loop).result()
        return joined(index)

    joined = SkillIndex.joined
    monkeypatch.setattr(SkillIndex, "joined", slowly)
    tidying = asyncio.create_task(watched.follower.tidy())
    await joining.wait()
    publish(catalog, "c")
    catalog.rollback("a", "wrong")
    await watched.follower.catch_up()  # a request need not wait for the joining
    assert watched.names() == {"b", "c"}
    go_on.set()
    await tidying
    assert watched.names() == {"b", "c"}
    assert watched.follower.generation == catalog.generation()
