"""The hot path's view: a published skill is in the very next call, and a broken library costs no request."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaclaw.config import ContextSettings
from metaclaw.context.live import LiveContext
from metaclaw.context.retrieve import Embedder, SkillIndex
from metaclaw.errors import StoreError, WeightsError
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState
from support import NAMESPACE, embedder, make_skill

QUERY = "Suggest a file name for the notes of the garden party."
SKILL = make_skill("file-names", "Rule: the date first.", description="Use for: Suggest a file name for the notes.")


class BreakableCatalog(Catalog):
    broken = False

    def generation(self) -> int:
        if self.broken:
            raise StoreError("the disk is gone")
        return super().generation()


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> BreakableCatalog:
    return BreakableCatalog(database, NAMESPACE, tmp_path / "skills")


def live(catalog: Catalog) -> LiveContext:
    return LiveContext(catalog, ContextSettings(), embedder)


async def test_a_published_skill_is_in_the_very_next_call_and_a_retired_one_is_not(catalog: BreakableCatalog) -> None:
    context = live(catalog)
    await context.warm()
    assert (await context.for_query(QUERY)).composition.skills == ()
    published, _ = catalog.publish(SKILL, SkillState.TRIAL, "new", [])
    found = await context.for_query(QUERY)
    assert (found.generation, found.composition.skills) == (1, (published,))
    assert "Rule: the date first." in found.composition.text
    catalog.change_state(published, SkillState.RETIRED, "harmful")
    found = await context.for_query(QUERY)
    assert (found.generation, found.composition.text) == (2, "")


async def test_another_process_publishing_is_seen_as_well(catalog: BreakableCatalog, database: Database) -> None:
    context = live(catalog)
    assert not (await context.for_query(QUERY)).composition.skills
    with Database(database.path) as other:
        Catalog(other, NAMESPACE, catalog.folder).publish(SKILL, SkillState.TRIAL, "new", [])
    assert (await context.for_query(QUERY)).composition.skills


async def test_without_skills_the_generation_is_still_told(catalog: BreakableCatalog) -> None:
    catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    found = await live(catalog).for_query(QUERY, with_skills=False)
    assert (found.generation, found.composition.skills) == (1, ())


async def test_a_broken_library_gives_no_skills_and_counts_the_failure(catalog: BreakableCatalog) -> None:
    context = live(catalog)
    catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    assert (await context.for_query(QUERY)).composition.skills
    catalog.broken = True
    for _ in range(2):
        assert (await context.for_query(QUERY)).composition.skills == ()
    assert context.failures == {"StoreError": 2}
    catalog.broken = False
    assert (await context.for_query(QUERY)).composition.skills


async def test_missing_word_vectors_give_no_skills_and_are_counted(catalog: BreakableCatalog) -> None:
    def missing() -> Embedder:
        raise WeightsError("no vectors")

    context = LiveContext(catalog, ContextSettings(), missing)
    catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    assert (await context.for_query(QUERY)).composition.skills == ()
    assert context.failures == {"WeightsError": 1}


async def test_a_generation_is_indexed_once(catalog: BreakableCatalog, monkeypatch: pytest.MonkeyPatch) -> None:
    built: list[int] = []
    whole = SkillIndex.__init__

    def counted(self: SkillIndex, skills: list[Skill], known: Embedder) -> None:
        built.append(len(skills))
        whole(self, skills, known)

    monkeypatch.setattr(SkillIndex, "__init__", counted)
    catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    context = live(catalog)
    for _ in range(5):
        await context.for_query(QUERY)
    assert built == [1]


async def test_skills_that_would_not_fit_beside_the_request_are_left_out(catalog: BreakableCatalog) -> None:
    catalog.publish(SKILL, SkillState.TRIAL, "new", [])
    context = LiveContext(catalog, ContextSettings(), embedder, model_tokens=1000)
    assert (await context.for_query(QUERY, taken_tokens=500)).composition.skills
    assert (await context.for_query(QUERY, taken_tokens=990)).composition.skills == ()
    assert (await context.for_query(QUERY, taken_tokens=5000)).composition.text == ""
