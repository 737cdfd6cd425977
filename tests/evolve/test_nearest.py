"""Live skills near a text, in step with the library at the cost of what changed."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import numpy.typing as npt
import pytest

from metaclaw.evolve.nearest import Nearest
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import SkillKind, SkillState
from support import NAMESPACE, embedder, make_skill

DATES = "Rule, in the user's words: A file name starts with the date as YYYYMMDD."
TEA = "Rule, in the user's words: Green tea steeps for two minutes at eighty degrees."


class Counting:
    def __init__(self) -> None:
        self.texts: list[str] = []

    def __call__(self, texts: Sequence[str]) -> npt.NDArray[np.float32]:
        self.texts += texts
        return embedder().embed(texts)


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> Catalog:
    return Catalog(database, NAMESPACE, tmp_path / "skills")


def test_it_finds_what_says_the_same_and_follows_what_changes(catalog: Catalog) -> None:
    nearest = Nearest(catalog, embedder().embed)
    again = make_skill("again", DATES + " Always.")
    assert nearest.same(again) is None
    dates, _ = catalog.publish(make_skill("dates", DATES), SkillState.ACTIVE, "new", [])
    catalog.publish(make_skill("tea", TEA), SkillState.ACTIVE, "new", [])
    found = nearest.same(again)
    assert found is not None
    assert found.name == "dates"
    assert nearest.same(again, but=["dates"]) is None
    assert nearest.names() == {"dates", "tea"}
    catalog.change_state(dates, SkillState.RETIRED, "gone")
    assert nearest.same(again) is None
    assert [skill.name for skill in nearest.near("How long does green tea steep?", 3)] == ["tea"]


def test_the_same_sentence_about_another_thing_does_not_say_the_same(catalog: Catalog) -> None:
    rule = "Rule, in the user's words: Lengths are converted to {} and written as a whole number."
    catalog.publish(make_skill("cm", rule.format("cm")), SkillState.ACTIVE, "new", [])
    nearest = Nearest(catalog, embedder().embed)
    assert nearest.same(make_skill("mm", rule.format("mm"))) is None
    again = nearest.same(make_skill("again", rule.format("cm") + " Always."))
    assert again is not None
    assert again.name == "cm"


def test_the_library_is_embedded_once_and_then_only_what_is_new(catalog: Catalog) -> None:
    for number in range(100):
        catalog.publish(make_skill(f"s{number}", f"Rule number {number}."), SkillState.ACTIVE, "new", [])
    embed = Counting()
    nearest = Nearest(catalog, embed)
    nearest.follow()
    assert len(embed.texts) == 100
    catalog.publish(make_skill("one-more", TEA), SkillState.ACTIVE, "new", [])
    nearest.same(make_skill("x", TEA))
    assert len(embed.texts) == 102  # the new one, and the text in question


def test_the_model_is_shown_no_code(catalog: Catalog) -> None:
    catalog.publish(make_skill("code", TEA, kind=SkillKind.CODE), SkillState.ACTIVE, "new", [])
    assert Nearest(catalog, embedder().embed).near("How long does green tea steep?", 3) == []
