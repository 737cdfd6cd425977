"""The user's own words as a skill: the rule without its lead-in, and the failed request with its right answer."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.evolve.extractive import body_for, name_for, propose
from metaclaw.evolve.failure import Failure
from metaclaw.library.skillfile import check
from metaclaw.types import Skill
from support import make_turn

REQUEST = "Suggest a file name for the budget notes of 4 March 2026."
RULE = "A file name starts with the date as YYYYMMDD."


def proposed(correction: str, request: str = REQUEST) -> Skill:
    skill = propose(Failure(make_turn(request), correction))
    assert skill is not None
    return skill


def test_a_correction_becomes_rule_and_example() -> None:
    skill = proposed(f"No, that is not how we name files. {RULE} It should have been `20260304_budget.md`.")
    assert skill.body == (
        f"Rule, in the user's words: {RULE} It should have been `20260304_budget.md`.\n\n"
        "The example shows the form; take names, dates and numbers from the request at hand.\n\n"
        f"Example request: {REQUEST}\nRight answer:\n20260304_budget.md"
    )
    assert (skill.name, skill.origin) == ("file-name", "extractive")
    assert REQUEST in skill.description


def test_without_a_right_answer_the_rule_stands_alone() -> None:
    assert proposed(RULE).body == f"Rule, in the user's words: {RULE}"
    assert body_for("r", "q", "") == "Rule, in the user's words: r"


@pytest.mark.parametrize("lead_in", [
    "", "No, ", "Wrong! ", "Nope. ", "That's wrong. ", "No. This is not right: ", "That is not our way, ",
    "No, that is not how we do it for us. ",
])
def test_the_lead_in_is_left_away(lead_in: str) -> None:
    assert proposed(f"{lead_in}start every file name with the date").body.endswith(
        "words: Start every file name with the date"
    )


@pytest.mark.parametrize("rule", [
    "Notes start with the date.", "Now use the long form.", "Normal weight is enough here.",
])
def test_a_rule_that_only_begins_like_a_no_stays_whole(rule: str) -> None:
    assert proposed(rule).body == f"Rule, in the user's words: {rule}"


@pytest.mark.parametrize("correction", ["", "   ", "No.", "That's wrong.", "no, date first please"])
def test_too_few_words_are_no_rule(correction: str) -> None:
    assert propose(Failure(make_turn(), correction)) is None


def test_a_name_is_made_of_what_request_and_rule_share() -> None:
    assert name_for("Write the commit message for this", "Commit messages begin with a ticket") == "commit-message"
    assert name_for("Make the table", "Use `the table` as is") == "table"
    assert name_for("Zeige mir 5 + 5", "%%%") == "zeige-mir"
    assert name_for("???", "!!!") == "user-rule"


@given(st.text(max_size=6_000), st.text(max_size=1_500))
def test_any_words_give_a_skill_that_may_be_written_or_none(correction: str, request: str) -> None:
    skill = propose(Failure(make_turn(request), f"{correction} one two three four"))
    assert skill is not None
    check(skill)
