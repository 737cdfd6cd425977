"""Merging keeps a text as it was proved, and makes it found by what either skill was asked for."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metaclaw.evolve.merge import LEAD, MOST_REQUESTS, better_first, varied, widened
from metaclaw.library.skillfile import MAX_DESCRIPTION, check
from metaclaw.types import SkillState
from support import make_skill

NONE = frozenset[str]()
TRIAL = make_skill("general", state=SkillState.TRIAL)
PROVED = make_skill("proved", state=SkillState.ACTIVE)
NEAR = {"general": 0.9, "proved": 0.1, "specific": 0.2}


def test_what_is_pinned_stays_then_what_is_proved_then_what_is_nearer_to_the_requests() -> None:
    specific = make_skill("specific", state=SkillState.TRIAL)
    assert better_first(specific, TRIAL, NEAR, NONE) == (TRIAL, specific)
    assert better_first(TRIAL, PROVED, NEAR, NONE) == (PROVED, TRIAL)
    assert better_first(PROVED, specific, NEAR, frozenset({"specific"})) == (specific, PROVED)


def test_the_rule_stays_and_what_was_said_of_one_case_goes() -> None:
    rule = make_skill("specific", "All time fields hold a date, a time and the offset.", state=SkillState.TRIAL)
    case = make_skill("general", "Task 405 is missing, or its fields are wrong.", state=SkillState.TRIAL)
    assert better_first(case, rule, NEAR, NONE) == (rule, case)


def test_a_skill_is_widened_and_its_text_stays() -> None:
    skill = widened(make_skill(description=f"{LEAD} Name the notes."), ["Name the notes.", "What is the\nplan called?"])
    assert skill.description == f"{LEAD} Name the notes. | What is the plan called?"
    assert skill.body == make_skill().body
    assert widened(skill, []) == skill


def test_an_authors_description_stays_in_front_however_often_it_is_widened() -> None:
    skill = make_skill(description="For all file names.")
    for _ in range(2):
        skill = widened(skill, ["Name it."])
    assert skill.description == f"For all file names. {LEAD} Name it."


def test_requests_that_differ_come_first() -> None:
    assert varied(["name the notes", "name the note", "close the door"]) == [
        "name the notes", "close the door", "name the note",
    ]


@given(st.lists(st.text(st.characters(codec="utf-8", exclude_categories=["C"]), min_size=1, max_size=400), max_size=30))
def test_whatever_the_requests_are_the_skill_can_be_written(requests: list[str]) -> None:
    skill = widened(make_skill(description=LEAD + " x"), requests)
    check(skill)
    assert len(skill.description) <= MAX_DESCRIPTION
    assert len(varied(requests)) <= MOST_REQUESTS
