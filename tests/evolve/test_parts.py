"""A correction's rules told apart, and how a rule stands to one that was said before."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.evolve.extractive import propose
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.parts import (
    about,
    changes,
    differ_in_particulars,
    parts_of,
    rule_in,
    rule_of,
    same_template,
    speaks_of_change,
    taken_back,
    without,
)
from support import make_skill, make_turn

NAMES = "File names start with the date as YYYYMMDD."
STAMPS = "Times carry the zone right behind, without a blank."


def test_each_rule_keeps_its_own_right_answer() -> None:
    said = f"No. {NAMES} It should have been `20260304_a.md`. {STAMPS} It should be `18:25Z`."
    assert parts_of(said) == (f"{NAMES} It should have been `20260304_a.md`.", f"{STAMPS} It should be `18:25Z`.")
    assert [rule_in(part) for part in parts_of(said)] == [NAMES, STAMPS]


def test_a_rule_without_an_answer_stands_behind_those_with_one() -> None:
    assert parts_of(f"{NAMES} Expected: `20260304_a.md`. {STAMPS}") == (f"{NAMES} Expected: `20260304_a.md`.", STAMPS)


def test_a_fenced_answer_belongs_to_the_rule_before_it() -> None:
    said = f"{NAMES} It should have been:\n```\n20260304_a.md\n```\n{STAMPS} It should be `18:25Z`."
    fenced = f"{NAMES} It should have been:\n```\n20260304_a.md\n```"
    assert parts_of(said) == (fenced, f"{STAMPS} It should be `18:25Z`.")


@pytest.mark.parametrize("said", [
    "Use the long form of each date. Spell the month out.", NAMES, f"{NAMES} It should have been `a.md`, please.",
])
def test_what_nothing_tells_apart_is_one_rule(said: str) -> None:
    assert parts_of(said) == (said,)


def test_the_items_of_a_list_are_rules_each() -> None:
    assert parts_of(f"No. Our rules are:\n- {NAMES}\n- {STAMPS}") == (NAMES, STAMPS)
    assert parts_of(f"1. {NAMES}\n2. {STAMPS}") == (NAMES, STAMPS)
    assert len(parts_of("Write it so:\n- one\n- two")) == 1  # the items are too short to be rules


def test_no_words_are_no_rule() -> None:
    assert parts_of("") == parts_of("No.") == ()


def test_the_rule_of_a_skill_is_what_its_user_said_less_the_case() -> None:
    skill = propose(Failure(make_turn(), f"No. {NAMES} It should have been `20260304_a.md`."))
    assert skill
    assert rule_of(skill) == NAMES
    assert rule_of(make_skill(body="By hand: blue.")) == "By hand: blue."


def test_a_rule_that_is_said_again_is_taken_out_with_its_new_answer() -> None:
    assert without(f"{NAMES} It should have been `20260401_b.md`. {STAMPS}", NAMES) == (STAMPS, True)
    assert without("Again: file names start with the date as yyyymmdd", NAMES) == ("Again:", True)
    assert without(STAMPS, NAMES) == (STAMPS, False)


def test_what_speaks_about_a_rule_does_not_say_it_again() -> None:
    gone = f"This holds no longer, leave it out from now on: {NAMES}"
    assert without(gone, NAMES) == (gone, False)
    assert taken_back(f"No. {gone} {STAMPS}", NAMES) == (gone, f"No. {STAMPS}")
    assert taken_back(f"{STAMPS} {NAMES}", NAMES) == ("", f"{STAMPS} {NAMES}")


def test_the_same_sentence_with_other_particulars_is_another_rule() -> None:
    assert same_template("In CSV files the columns are separated by ; and nothing else.",
                         "In CSV files the columns are separated by | and nothing else.")
    assert same_template("File names start with the date as DDMMYY.", NAMES)
    assert not same_template(f"{NAMES}!", NAMES)
    assert not same_template("File names always start with the date as YYYYMMDD.", NAMES)
    assert not same_template(STAMPS, NAMES)


def test_what_differs_by_what_was_asked_changes_nothing() -> None:
    german, american = "In Germany dates are written as DD.MM.YYYY.", "In America dates are written as MM/DD/YYYY."
    assert same_template(american, german)
    assert not changes(american, "A letter to a client in America.", german, "A letter to a client in Germany.")
    assert changes("File names start with the date as DDMMYY.", "Name the notes.", NAMES, "Name the plan.")
    assert not changes(NAMES, "Name the notes.", NAMES, "Name the plan.")


def test_a_request_speaks_of_one_where_its_rule_speaks_of_many() -> None:
    invoices = "File names of invoices start with INV and the year."
    offers = "File names of offers start with OFF and the year."
    assert same_template(offers, invoices)
    assert not changes(offers, "Name the file of the offer.", invoices, "Name the file of the invoice.")
    other = "Titles of plans and maps are short."
    assert not changes(other, "Titles.", "Titles of invoices and maps are short.", "A title for the invoice.")
    stories, reports = "Titles of stories are in lower case.", "Titles of reports are in capitals."
    assert not changes(stories, "A title for the story on rain.", reports, "A title for the report on rain.")


@pytest.mark.parametrize(("one", "other"), [
    ("Lengths are written in cm, without a blank.", "Lengths are written in mm, without a blank."),
    ("Shares are rounded up to one decimal.", "Shares are rounded down to one decimal."),
    ("What nobody knows is written as TBC, never left out.", "What nobody knows is written as --, never left out."),
])
def test_rules_about_two_things_differ_in_their_particulars(one: str, other: str) -> None:
    assert differ_in_particulars(one, other)
    assert not differ_in_particulars(one, one.upper())


def test_a_rule_that_is_said_longer_is_no_other_rule() -> None:
    assert not differ_in_particulars(NAMES, f"{NAMES.rstrip('.')} always.")
    assert not differ_in_particulars("Dates are written as 2026-03-04.", "Dates are written in 2026-03-04 format.")


@pytest.mark.parametrize("words", [
    "Summaries are no longer than 50 words.", "Zeilen sind nicht mehr als 80 Zeichen lang.",
    "Un résumé ne fait plus de 50 mots.", "Zinnen hebben niet meer dan tien woorden.", "It is now too long.",
])
def test_a_limit_is_no_change(words: str) -> None:
    assert not speaks_of_change(words)


@pytest.mark.parametrize("words", ["It no longer holds a date.", "Das gilt nicht mehr.", "It is now in capitals."])
def test_a_change_is_heard(words: str) -> None:
    assert speaks_of_change(words)


def test_a_failure_is_narrowed_to_one_of_its_rules() -> None:
    failure = Failure(make_turn(), f"{NAMES} It should have been `20260304_a.md`. {STAMPS} It should be `18:25Z`.")
    assert about(failure, STAMPS).expected == "18:25Z"
    assert about(failure, NAMES).expected == "20260304_a.md"
    alone = Failure(make_turn(), NAMES)
    assert about(alone, STAMPS) is alone


@given(st.text(max_size=600), st.text(max_size=200))
def test_any_words_are_told_apart(words: str, rule: str) -> None:
    for part in parts_of(words):
        assert part.strip()
        left, stated = without(part, rule)
        assert stated or left == part
        assert not changes(part, "", rule_in(part), "")
