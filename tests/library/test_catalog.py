"""The library: versions, states, a generation that counts what may be injected, undo, and the folder that follows."""

from __future__ import annotations

import dataclasses
from pathlib import Path

import pytest
import skills_ref

from metaclaw.errors import SkillError
from metaclaw.library.catalog import Catalog, Changes
from metaclaw.library.erasing import forget_support
from metaclaw.library.skillfile import parse
from metaclaw.library.transaction import MOST_CUES
from metaclaw.store import Database
from metaclaw.types import Skill, SkillState, Verdict
from support import NAMESPACE, keep, make_skill, make_turn, support_turns

ACTIVE, TRIAL, RETIRED = SkillState.ACTIVE, SkillState.TRIAL, SkillState.RETIRED


@pytest.fixture
def catalog(database: Database, tmp_path: Path) -> Catalog:
    return Catalog(database, NAMESPACE, tmp_path / "skills")


def on_disk(catalog: Catalog) -> dict[str, str]:
    return {path.parent.name: parse(path.read_text("utf-8")).body for path in catalog.folder.glob("*/SKILL.md")}


def live(catalog: Catalog) -> dict[str, tuple[int, str]]:
    return {skill.name: (skill.version, skill.body) for skill in catalog.live()}


def test_an_empty_library_is_generation_nought(catalog: Catalog) -> None:
    assert catalog.snapshot() == (0, [])
    assert catalog.all() == []
    with pytest.raises(SkillError, match="no skill 'x'"):
        catalog.get("x")


def test_publishing_makes_a_version_live_raises_the_generation_and_writes_the_folder(catalog: Catalog) -> None:
    first, generation = catalog.publish(make_skill("a", "one"), TRIAL, "because", [])
    assert (first.version, first.state, generation) == (1, TRIAL, 1)
    second, generation = catalog.publish(make_skill("a", "two"), ACTIVE, "better", [])
    assert (second.version, generation) == (2, 2)
    assert catalog.snapshot() == (2, [second])
    assert on_disk(catalog) == {"a": "two"}
    assert skills_ref.validate(catalog.folder / "a") == []
    assert [(g, v, new) for g, v, _, new, _, _ in catalog.history("a")] == [(1, 1, "trial"), (2, 2, "active")]


def test_the_generation_counts_only_what_changes_what_may_be_injected(catalog: Catalog) -> None:
    skill, _ = catalog.publish(make_skill("a"), TRIAL, "new", [])
    assert catalog.change_state(skill, ACTIVE, "proved") == 1
    assert catalog.get("a").state is ACTIVE
    assert catalog.change_state(catalog.get("a"), RETIRED, "harmful") == 2
    assert on_disk(catalog) == {}
    assert catalog.change_state(catalog.get("a"), SkillState.CANDIDATE, "look again") == 2
    assert catalog.change_state(catalog.get("a"), TRIAL, "again") == 3
    assert on_disk(catalog) == {"a": skill.body}
    catalog.record(Verdict("skill:a@1", "x", "y", 1, 1.0, 0.5, "admitted", {}))
    assert catalog.generation() == 3


def test_a_version_that_has_moved_on_is_not_brought_back(catalog: Catalog) -> None:
    old, _ = catalog.publish(make_skill("a", "one"), TRIAL, "new", [])
    catalog.publish(make_skill("a", "two"), TRIAL, "newer", [])
    assert catalog.change_state(old, ACTIVE, "a late verdict") == 2
    assert live(catalog) == {"a": (2, "two")}
    assert catalog.change_state(old, RETIRED, "a late verdict") == 2
    assert on_disk(catalog) == {"a": "two"}


def test_rollback_brings_the_replaced_version_back_as_it_was(catalog: Catalog) -> None:
    catalog.publish(make_skill("a", "one"), TRIAL, "new", [])
    catalog.publish(make_skill("a", "two"), ACTIVE, "newer", [])
    restored, generation = catalog.rollback("a", "undo")
    assert restored is not None
    assert (restored.version, restored.body, restored.state, generation) == (3, "one", TRIAL, 3)
    assert live(catalog) == {"a": (3, "one")}
    assert on_disk(catalog) == {"a": "one"}


def test_rolling_back_again_goes_further_back_never_forward(catalog: Catalog) -> None:
    for body in ("one", "two", "three"):
        catalog.publish(make_skill("a", body), ACTIVE, "new", [])
    bodies = []
    for _ in range(3):
        restored, _ = catalog.rollback("a", "undo")
        bodies.append(restored.body if restored else None)
    assert bodies == ["two", "one", None]
    assert catalog.generation() == 6
    assert on_disk(catalog) == {}
    with pytest.raises(SkillError, match="nothing to roll back"):
        catalog.rollback("a", "undo")


def test_rollback_does_not_bring_back_what_evidence_retired(catalog: Catalog) -> None:
    bad, _ = catalog.publish(make_skill("a", "bad"), TRIAL, "new", [])
    catalog.change_state(bad, RETIRED, "rejected by its replay")
    catalog.publish(make_skill("a", "good"), ACTIVE, "proved", [])
    assert catalog.rollback("a", "undo") == (None, 4)
    assert catalog.live() == []


async def test_support_is_kept_for_every_version_ever_written(catalog: Catalog, database: Database) -> None:
    first, second = make_turn(), make_turn()
    await keep(database, first, second)
    one, _ = catalog.publish(make_skill("a", "one"), TRIAL, "new", [first.id])
    two, _ = catalog.publish(make_skill("a", "two"), TRIAL, "newer", [second.id, second.id])
    catalog.change_state(two, RETIRED, "harmful")
    assert catalog.support_of(one) == [first.id]
    assert catalog.support_of(two) == [second.id]
    assert support_turns(database) == {first.id, second.id}


async def test_a_held_skill_waits_beside_what_is_live(catalog: Catalog, database: Database) -> None:
    turn = make_turn()
    await keep(database, turn)
    first, _ = catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    held = catalog.hold(make_skill("a", "two"), "asks to send data away", [turn.id])
    assert (held.ref, held.state, catalog.generation()) == ("a@2", SkillState.CANDIDATE, 1)
    assert (catalog.get("a"), catalog.all(), catalog.waiting()) == (first, [first], [held])
    assert (live(catalog), on_disk(catalog)) == ({"a": (1, "one")}, {"a": "one"})
    assert catalog.history("a")[-1][3:5] == ("candidate", "asks to send data away")
    assert support_turns(database) == {turn.id}


def test_a_candidate_that_is_approved_takes_the_place_of_what_was_live(catalog: Catalog) -> None:
    catalog.publish(make_skill("a", "one"), TRIAL, "new", [])
    held = catalog.hold(make_skill("a", "two"), "look at it")
    catalog.publish(make_skill("a", "three"), TRIAL, "meanwhile", [])
    assert catalog.change_state(held, ACTIVE, "approved by a person") == 3
    assert (live(catalog), catalog.waiting()) == ({"a": (2, "two")}, [])
    assert on_disk(catalog) == {"a": "two"}
    restored, _ = catalog.rollback("a", "undo")
    assert restored is not None
    assert (restored.body, restored.state) == ("three", TRIAL)


def test_a_candidate_that_is_rejected_never_was_live(catalog: Catalog) -> None:
    held = catalog.hold(make_skill("a", "bad"), "look at it")
    assert catalog.change_state(held, RETIRED, "rejected by a person") == 0
    assert (catalog.waiting(), catalog.live()) == ([], [])
    catalog.hold(make_skill("b", "never looked at"), "look at it")
    catalog.publish(make_skill("b", "good"), ACTIVE, "proved", [])
    assert catalog.rollback("b", "undo")[0] is None


def test_one_candidate_of_a_name_waits(catalog: Catalog) -> None:
    first = catalog.hold(make_skill("a", "one"), "look at it")
    assert catalog.hold(make_skill("a", "one"), "once more") == first
    second = catalog.hold(make_skill("a", "two"), "look at this")
    assert catalog.waiting() == [second]
    assert [(v, new) for _, v, _, new, _, _ in catalog.history("a")] == [
        (1, "candidate"), (1, "retired"), (2, "candidate"),
    ]


def test_undoing_a_new_description_brings_the_old_one_back(catalog: Catalog) -> None:
    catalog.publish(make_skill("a", "one", description="Old."), ACTIVE, "new", [])
    catalog.publish(make_skill("a", "one", description="New."), ACTIVE, "newer", [])
    restored, _ = catalog.rollback("a", "undo")
    assert restored is not None
    assert restored.description == "Old."


def test_namespaces_do_not_see_each_other(catalog: Catalog, database: Database, tmp_path: Path) -> None:
    other = Catalog(database, "other", tmp_path / "other")
    catalog.publish(make_skill("a"), ACTIVE, "new", [])
    assert other.snapshot() == (0, [])
    assert other.publish(make_skill("a", "theirs"), ACTIVE, "new", [])[1] == 1
    assert live(catalog)["a"][1] != "theirs"


def test_an_unwritable_skill_changes_nothing(catalog: Catalog) -> None:
    with pytest.raises(SkillError):
        catalog.publish(Skill("Bad Name", "d", "b"), ACTIVE, "new", [])
    assert catalog.snapshot() == (0, [])


def test_all_shows_the_newest_version_of_each(catalog: Catalog) -> None:
    catalog.publish(make_skill("b"), ACTIVE, "new", [])
    skill, _ = catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    newest, _ = catalog.publish(make_skill("a", "two"), ACTIVE, "newer", [])
    catalog.change_state(newest, RETIRED, "harmful")
    assert [(found.ref, found.state) for found in catalog.all()] == [("a@2", RETIRED), ("b@1", ACTIVE)]
    assert skill.ref == "a@1"


def test_verdicts_stay_with_their_version(catalog: Catalog) -> None:
    verdict = Verdict("skill:a@1", "without", "with", 1, 1.0, 0.5, "admitted", {"turn": "t"})
    catalog.record(verdict)
    catalog.record(dataclasses.replace(verdict, subject="skill:a@2"))
    assert catalog.verdicts("a@1") == [verdict]


def test_changes_tell_what_happened_since_and_what_is_live_of_it(catalog: Catalog) -> None:
    assert catalog.changes(0) == Changes(0, 0, frozenset(), ())
    first, _ = catalog.publish(make_skill("first"), ACTIVE, "new", [])
    second, _ = catalog.publish(make_skill("second"), TRIAL, "new", [])
    whole = catalog.changes(0)
    assert (whole.generation, set(whole.names), set(whole.live)) == (2, {"first", "second"}, {first, second})
    assert catalog.changes(whole.position) == Changes(2, whole.position, frozenset(), ())
    better, _ = catalog.publish(make_skill("second", "Rule: another."), ACTIVE, "better", [])
    catalog.change_state(first, RETIRED, "harmful")
    since = catalog.changes(whole.position)
    assert (since.generation, set(since.names), since.live) == (4, {"first", "second"}, (better,))
    assert catalog.changes(0).live == (better,)
    catalog.rollback("second", "worse after all")
    assert [skill.body for skill in catalog.changes(since.position).live] == [second.body]


def test_changes_of_another_namespace_are_none_of_ours(catalog: Catalog, database: Database, tmp_path: Path) -> None:
    catalog.publish(make_skill("ours"), ACTIVE, "new", [])
    before = catalog.changes(0)
    Catalog(database, "another", tmp_path / "another").publish(make_skill("theirs"), ACTIVE, "new", [])
    since = catalog.changes(before.position)
    assert (since.generation, since.names, since.live) == (1, frozenset(), ())


def test_a_pin_is_noted_counts_once_and_can_be_undone(catalog: Catalog) -> None:
    skill, generation = catalog.publish(make_skill("a"), ACTIVE, "new", [])
    assert catalog.pin("a", "mine") == catalog.pin("a", "mine, again") == generation + 1
    assert catalog.pinned() == {"a"}
    assert catalog.unpin("a", "enough") == catalog.unpin("a", "enough") == generation + 2
    assert catalog.pinned() == frozenset()
    assert [change[4] for change in catalog.history("a")] == ["new", "pinned: mine", "unpinned: enough"]
    assert catalog.changes(1).live == (skill,)
    with pytest.raises(SkillError, match="no skill 'b'"):
        catalog.pin("b", "mine")


def test_a_pin_may_be_for_every_request_as_long_as_it_is_live(catalog: Catalog) -> None:
    skill, generation = catalog.publish(make_skill("a"), ACTIVE, "new", [])
    catalog.publish(make_skill("b"), ACTIVE, "new", [])
    catalog.pin("b", "stays")
    assert catalog.pin("a", "mine", always=True) == generation + 3
    assert catalog.pinned() == {"a", "b"}
    assert catalog.pinned_for_all() == [skill]
    again, _ = catalog.publish(make_skill("a", "Said otherwise."), ACTIVE, "edited", [])
    assert catalog.pinned_for_all() == [again]
    catalog.change_state(again, SkillState.RETIRED, "enough")
    assert catalog.pinned_for_all() == []
    assert catalog.pin("a", "no more") == catalog.pin("a", "no more") == generation + 6
    assert catalog.pinned() == {"a", "b"}
    reasons = [change[4] for change in catalog.history("a")]
    assert reasons == ["new", "pinned, for every request: mine", "edited", "enough", "pinned: no more"]


def test_a_merge_is_one_step_and_so_is_its_undoing(catalog: Catalog) -> None:
    one, _ = catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    two, _ = catalog.publish(make_skill("b", "two"), TRIAL, "new", [])
    _, generation = catalog.publish(make_skill("c", "both"), ACTIVE, "says both", [], merging=[one, two])
    assert (generation, live(catalog), on_disk(catalog)) == (3, {"c": (1, "both")}, {"c": "both"})
    assert catalog.rollback("c", "undo") == (None, 4)
    assert live(catalog) == {"a": (2, "one"), "b": (2, "two")}
    assert {skill.name: skill.state for skill in catalog.live()} == {"a": ACTIVE, "b": TRIAL}
    assert on_disk(catalog) == {"a": "one", "b": "two"}


def test_undoing_a_merge_spares_what_took_a_merged_skills_place(catalog: Catalog) -> None:
    one, _ = catalog.publish(make_skill("a", "one"), ACTIVE, "new", [])
    catalog.publish(make_skill("c", "both"), ACTIVE, "says both", [], merging=[one])
    catalog.publish(make_skill("a", "newer"), ACTIVE, "by hand", [])
    catalog.rollback("c", "undo")
    assert live(catalog) == {"a": (2, "newer")}


async def test_a_live_skill_is_widened_by_what_it_was_asked_for(catalog: Catalog, database: Database) -> None:
    turns = [make_turn() for _ in range(MOST_CUES + 2)]
    await keep(database, *turns)
    skill, generation = catalog.publish(make_skill(cues=((turns[0].id, "first"),)), SkillState.ACTIVE, "new", [])
    assert catalog.widen(skill, turns[1].id, "second", "missed") == generation + 1
    assert catalog.widen(skill, turns[1].id, "second", "missed") == generation + 1  # it is known by now
    [live] = catalog.live()
    assert (live.ref, live.cues) == (skill.ref, ((turns[0].id, "first"), (turns[1].id, "second")))
    assert catalog.support_of(live) == [turns[1].id]
    assert catalog.changes(1).live == (live,)
    for turn in turns[2:]:
        catalog.widen(skill, turn.id, f"cue {turn.id}", "missed")
    assert len(catalog.live()[0].cues) == MOST_CUES
    edited, _ = catalog.publish(make_skill(body="Rule: by hand."), SkillState.ACTIVE, "edited by hand", [])
    assert len(edited.cues) == MOST_CUES  # it is found as it was
    catalog.retire(edited.name, "no more")
    assert catalog.widen(edited, turns[0].id, "late", "missed") == catalog.generation()
    assert "late" not in str(catalog.get(edited.name).cues)


async def test_what_is_forgotten_is_no_cue_any_more(catalog: Catalog, database: Database) -> None:
    kept, gone = make_turn(), make_turn()
    await keep(database, kept, gone)
    catalog.publish(make_skill(cues=((kept.id, "stays"), (gone.id, "goes"))), SkillState.ACTIVE, "new", [kept.id])
    database.write(lambda connection: forget_support(connection, NAMESPACE, [gone.id], [], "source"))
    assert catalog.live()[0].cues == ((kept.id, "stays"),)
