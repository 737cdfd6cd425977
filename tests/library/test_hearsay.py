"""What nobody vouches for is never active: the catalog says so, and the store itself."""

from __future__ import annotations

from pathlib import Path

import pytest

from metaclaw.errors import SkillError, StoreError
from metaclaw.library.catalog import Catalog
from metaclaw.store import Database
from metaclaw.types import SkillState
from support import NAMESPACE, make_skill

ACTIVE, TRIAL, RETIRED = SkillState.ACTIVE, SkillState.TRIAL, SkillState.RETIRED


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> Catalog:
    return Catalog(database, NAMESPACE, tmp_path / "skills")


def test_it_is_tried_and_not_active_before_a_person_approves(catalog: Catalog) -> None:
    heard, _ = catalog.publish(make_skill(), TRIAL, "overheard", [], unvouched=True)
    assert catalog.unvouched() == {heard.ref}
    with pytest.raises(SkillError, match=r"Nobody vouches .* `metaclaw skills approve file-names`"):
        catalog.change_state(heard, ACTIVE, "it helps")
    assert catalog.get(heard.name).state is TRIAL
    catalog.approve(heard, "a person")
    assert (catalog.get(heard.name).state, catalog.unvouched()) == (ACTIVE, frozenset())


def test_it_cannot_be_published_as_active_either(catalog: Catalog) -> None:
    with pytest.raises(SkillError):
        catalog.publish(make_skill(), ACTIVE, "overheard", [], unvouched=True)
    assert catalog.all() == []


@pytest.mark.parametrize("statement", [
    "UPDATE skills SET state = 'active'",
    "UPDATE skills SET state = 'active', body = 'another'",
])
def test_the_store_refuses_whoever_writes(catalog: Catalog, database: Database, statement: str) -> None:
    catalog.publish(make_skill(), TRIAL, "overheard", [], unvouched=True)
    with pytest.raises(StoreError, match="never active"):
        database.write(lambda connection: connection.execute(statement))


def test_what_is_active_cannot_become_hearsay(catalog: Catalog, database: Database) -> None:
    catalog.publish(make_skill(), ACTIVE, "by hand", [])
    with pytest.raises(StoreError, match="never active"):
        database.write(
            lambda connection: connection.execute("INSERT INTO hearsay VALUES ('default', 'file-names', 1, 0)")
        )


def test_rolling_back_brings_it_back_as_hearsay(catalog: Catalog) -> None:
    catalog.publish(make_skill(), TRIAL, "overheard", [], unvouched=True)
    catalog.publish(make_skill(body="Rule: date last."), ACTIVE, "by hand", [])
    restored, _ = catalog.rollback("file-names", "undo")
    assert restored is not None
    assert (restored.ref, restored.state, catalog.unvouched() >= {restored.ref}) == ("file-names@3", TRIAL, True)


def test_others_vouching_is_told_in_its_history_once(catalog: Catalog) -> None:
    heard, generation = catalog.publish(make_skill(), TRIAL, "overheard", [], unvouched=True)
    for _ in range(2):
        catalog.vouch(heard, "said in 3 sessions")
    assert [change[4] for change in catalog.history(heard.name)] == ["overheard", "said in 3 sessions"]
    assert (catalog.generation(), catalog.unvouched()) == (generation, frozenset())
    catalog.change_state(heard, ACTIVE, "it helps")


def test_a_candidate_that_nobody_vouches_for_goes_live_by_approval_alone(catalog: Catalog) -> None:
    held = catalog.hold(make_skill(), "waits", unvouched=True)
    with pytest.raises(SkillError):
        catalog.change_state(held, ACTIVE, "it helps")
    catalog.approve(held, "a person")
    assert [skill.state for skill in catalog.live()] == [ACTIVE]
