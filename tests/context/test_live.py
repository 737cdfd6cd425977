"""The hot path's view: a published skill is in the very next call, and a broken library costs no request."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager, suppress
from functools import partial
from pathlib import Path

import pytest

from metaclaw.config.request_path import ContextSettings
from metaclaw.context.dense import Vectors
from metaclaw.context.embed import Embedder
from metaclaw.context.holdout import NO_DRAW
from metaclaw.context.live import NOTHING, LiveContext
from metaclaw.errors import StoreError, WeightsError
from metaclaw.library.catalog import Catalog, Changes
from metaclaw.store import Database
from metaclaw.types import SkillState
from support import NAMESPACE, embedder, make_skill, until

QUERY = "Suggest a file name for the notes of the garden party."
SKILL = make_skill("file-names", "Rule: the date first.", description="Use for: Suggest a file name for the notes.")


class BreakableCatalog(Catalog):
    broken = False
    readings = 0

    def generation(self) -> int:
        if self.broken:
            raise StoreError("the disk is gone")
        return super().generation()

    def changes(self, position: int) -> Changes:
        self.readings += 1
        return super().changes(position)


class CountingEmbedder:
    """The real one; keeps what it was asked."""

    name = embedder().name

    def __init__(self) -> None:
        self.calls = 0
        self.texts: list[str] = []

    def embed(self, texts: Sequence[str]) -> Vectors:
        self.calls += 1
        self.texts += texts
        return embedder().embed(texts)


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> BreakableCatalog:
    return BreakableCatalog(database, NAMESPACE, tmp_path / "skills")


def live(catalog: Catalog) -> LiveContext:
    return LiveContext(catalog, ContextSettings(), embedder)


def _same(known: Embedder) -> Embedder:
    return known


@asynccontextmanager
async def running(context: LiveContext) -> AsyncIterator[None]:
    task = asyncio.create_task(context.run())
    try:
        yield
    finally:
        task.cancel()
        with suppress(asyncio.CancelledError):
            await task


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
    assert (await context.for_query(QUERY)).composition.skills  # nothing says that there is news: memory serves
    catalog.bell.ring()
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


async def test_a_generation_is_read_once_and_a_text_ranked_once(catalog: BreakableCatalog) -> None:
    catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    counting = CountingEmbedder()
    context = LiveContext(catalog, ContextSettings(), lambda: counting)
    first = await context.for_query(QUERY)
    asked = counting.calls
    for _ in range(5):
        assert await context.for_query(QUERY) is first
    assert (catalog.readings, counting.calls) == (1, asked)
    catalog.publish(make_skill("sea"), SkillState.ACTIVE, "new", [])
    again = await context.for_query(QUERY)
    assert (again.generation, again.composition) == (2, first.composition)  # the same bytes, for a provider's cache
    assert catalog.readings == 2


async def test_many_texts_are_remembered_but_not_all(
    catalog: BreakableCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("metaclaw.context.live.ANSWERS", 2)
    catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    counting = CountingEmbedder()
    context = LiveContext(catalog, ContextSettings(), lambda: counting)
    for query in ("first", "second", "first", "third"):
        await context.for_query(query)
    asked = counting.calls
    await context.for_query("first")
    assert counting.calls == asked
    await context.for_query("second")
    assert counting.calls == asked + 1


async def test_the_next_start_finds_its_index_and_a_damaged_one_is_made_anew(
    catalog: BreakableCatalog, tmp_path: Path
) -> None:
    published, _ = catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    file = tmp_path / "indexes" / "static.npz"
    async with running(LiveContext(catalog, ContextSettings(), embedder, cache_dir=file.parent)):
        await until(file.exists)
    for damage, failures in ((b"", {}), (b"damaged", {"CacheError": 1})):
        if damage:
            file.write_bytes(damage)
        counting = CountingEmbedder()
        context = LiveContext(catalog, ContextSettings(), partial(_same, counting), cache_dir=file.parent)
        assert (await context.for_query(QUERY)).composition.skills == (published,)
        assert context.failures == failures
        assert (SKILL.description in counting.texts) is bool(damage)  # made from the text again, or not


async def test_an_index_that_cannot_be_kept_is_counted_and_used(catalog: BreakableCatalog, tmp_path: Path) -> None:
    catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    (tmp_path / "indexes").write_text("a file where the folder should be")
    context = LiveContext(catalog, ContextSettings(), embedder, cache_dir=tmp_path / "indexes")
    async with running(context):
        await until(lambda: context.failures["CacheError"] > 0)
        assert (await context.for_query(QUERY)).composition.skills


async def test_a_library_that_fails_at_the_start_is_counted_and_tried_again(catalog: BreakableCatalog) -> None:
    catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    catalog.broken = True
    context = live(catalog)
    async with running(context):
        await until(lambda: context.failures["StoreError"] > 0)
        catalog.broken = False
        assert (await context.for_query(QUERY)).composition.skills


async def test_skills_that_would_not_fit_beside_the_request_are_left_out(catalog: BreakableCatalog) -> None:
    catalog.publish(SKILL, SkillState.TRIAL, "new", [])
    context = LiveContext(catalog, ContextSettings(), embedder, model_tokens=1000)
    assert (await context.for_query(QUERY, taken_tokens=500)).composition.skills
    assert (await context.for_query(QUERY, taken_tokens=990)).composition.skills == ()
    assert (await context.for_query(QUERY, taken_tokens=5000)).composition.text == ""


async def test_a_change_whose_bell_was_not_rung_is_seen_after_a_while(
    catalog: BreakableCatalog, monkeypatch: pytest.MonkeyPatch
) -> None:
    context = live(catalog)
    assert not (await context.for_query(QUERY)).composition.skills
    monkeypatch.setattr(catalog.bell, "ring", lambda: None)
    catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    assert not (await context.for_query(QUERY)).composition.skills
    async with asyncio.timeout(5):
        while not (await context.for_query(QUERY)).composition.skills:
            await asyncio.sleep(0.01)


async def test_a_skill_is_withheld_in_its_share_of_sessions_and_the_rest_stays(catalog: BreakableCatalog) -> None:
    other = make_skill("other-names", "Rule: no blanks.", description="Use for: Suggest a file name for the party.")
    published = {catalog.publish(skill, SkillState.TRIAL, "new", [])[0].ref for skill in (SKILL, other)}
    context = LiveContext(catalog, ContextSettings(min_score=0.1), embedder, holdout_share=0.5)
    arms = set()
    for number in range(40):
        found = await context.for_query(QUERY, session=f"s{number}")
        injected = {skill.ref for skill in found.composition.skills}
        assert (found.draw.share, set(found.draw.drawn)) == (0.5, published)
        assert injected == published - set(found.draw.withheld)
        assert [skill.body in found.composition.text for skill in (SKILL, other)] == [
            f"{skill.name}@1" in injected for skill in (SKILL, other)
        ]
        assert found == await context.for_query(QUERY, session=f"s{number}")
        arms.add(frozenset(injected))
    assert len(arms) == 4  # each alone, both, none


async def test_nothing_is_withheld_without_a_session_without_a_share_or_where_pinned(
    catalog: BreakableCatalog,
) -> None:
    published, _ = catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    drawing = LiveContext(catalog, ContextSettings(), embedder, holdout_share=1.0)
    assert (await drawing.for_query(QUERY, session="s")).composition == NOTHING
    assert (await drawing.for_query(QUERY)).composition.skills == (published,)
    assert (await live(catalog).for_query(QUERY, session="s")).draw == NO_DRAW
    catalog.pin(SKILL.name, "it must not break")
    found = await drawing.for_query(QUERY, session="s")
    assert (found.composition.skills, found.draw, found.generation) == ((published,), NO_DRAW, 2)
    catalog.unpin(SKILL.name, "may be measured again")
    assert (await drawing.for_query(QUERY, session="s")).draw.withheld == (published.ref,)


async def test_what_is_pinned_for_all_is_in_every_request_first_and_once(catalog: BreakableCatalog) -> None:
    fits, _ = catalog.publish(SKILL, SkillState.ACTIVE, "new", [])
    manner, _ = catalog.publish(make_skill("manner", "Rule: answer in British English."), SkillState.ACTIVE, "new", [])
    context = LiveContext(catalog, ContextSettings(), embedder, holdout_share=1.0)
    unlike = "What is the capital of Peru?"
    assert (await context.for_query(unlike)).composition == NOTHING
    catalog.pin("manner", "in all that we write", always=True)
    found = await context.for_query(unlike, session="s")
    assert (found.composition.skills, found.draw) == ((manner,), NO_DRAW)
    assert set((await context.for_query(QUERY)).composition.skills) == {fits, manner}
    assert (await context.for_query(unlike, with_skills=False)).composition == NOTHING
    catalog.pin(SKILL.name, "this too", always=True)
    assert (await context.for_query(QUERY)).composition.text.count(SKILL.body) == 1
    catalog.unpin("manner", "no more")
    assert (await context.for_query(unlike)).composition.skills == (fits,)


async def test_an_index_is_told_of_when_it_is_built_and_not_with_each_change(catalog: BreakableCatalog) -> None:
    for number in range(20):  # of so many, one that changes is no reason to build anew
        catalog.publish(make_skill(f"rule-{number}", f"Rule {number}."), SkillState.ACTIVE, "new", [])
    told: list[int] = []
    context = LiveContext(catalog, ContextSettings(), embedder, on_indexed=lambda: told.append(1))
    running = asyncio.create_task(context.run())
    await until(lambda: bool(told))
    for number in range(3):
        catalog.publish(SKILL, SkillState.ACTIVE, f"again, {number}", [])
        await context.for_query(QUERY)
        await until(lambda: not context._changed.is_set())
    running.cancel()
    await asyncio.gather(running, return_exceptions=True)
    assert told == [1]
