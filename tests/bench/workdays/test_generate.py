"""The generated days: their shape, that they are sound, and that a rule cannot be read before it is told."""

from __future__ import annotations

from collections import Counter
from dataclasses import replace

import pytest

from metaclaw.bench.workdays.generate import Workdays, generate
from metaclaw.bench.workdays.proof import best_constant, faults_of, nothing, oracle, readable, stranger, untold
from metaclaw.bench.workdays.questions import ChoiceQuestion, FileQuestion
from metaclaw.bench.workdays.rules import DAYS, FAMILIES, RULES_OF_A_HOUSE, draw_house
from metaclaw.bench.workdays.writing import write

SEEDS = (1, 2, 10)


@pytest.fixture(scope="module")
def days() -> Workdays:
    return generate(1)


def test_the_parts_have_the_numbers_that_the_paper_has(days: Workdays) -> None:
    found = Counter((question.part, type(question)) for question in days.questions)
    assert found == {
        (1, FileQuestion): 224, (1, ChoiceQuestion): 122, (2, FileQuestion): 154, (2, ChoiceQuestion): 434
    }  # fmt: skip
    assert len(days.days) == DAYS == 44
    assert all(len(day.questions) == 42 for day in days.days[30:])


def test_the_same_seed_gives_the_same_days_and_another_seed_others(days: Workdays) -> None:
    again, other = generate(1), generate(2)
    assert [question.prompt for question in again.questions] == [question.prompt for question in days.questions]
    assert [day.files for day in again.days] == [day.files for day in days.days]
    assert [question.prompt for question in other.questions] != [question.prompt for question in days.questions]


def test_questions_have_names_of_their_own(days: Workdays) -> None:
    assert len({question.id for question in days.questions}) == 934


@pytest.mark.parametrize("seed", SEEDS)
def test_the_data_is_sound(seed: int) -> None:
    assert faults_of(generate(seed)) == []


@pytest.mark.parametrize("seed", SEEDS)
def test_a_stranger_who_works_well_but_knows_no_rule_gets_next_to_nothing(seed: int) -> None:
    assert stranger(generate(seed)).files < 0.02


def test_no_constant_answer_is_worth_much(days: Workdays) -> None:
    letters, worth = best_constant(days)
    assert letters
    assert worth.partial < 0.35
    assert worth.choices < 0.15


def test_twenty_families_and_more_of_which_parameters_differ_by_seed() -> None:
    houses = [draw_house(seed) for seed in range(12)]
    assert len(FAMILIES) >= 20
    for house in houses:
        assert len({event.rule.family for event in house.events if event.kind == "new"}) == RULES_OF_A_HOUSE
    for family in FAMILIES:
        keys = {event.rule.key for house in houses for event in house.events if event.rule.family == family}
        assert len(keys) > 1, family


def test_rules_come_one_by_one_and_one_changes_and_one_goes() -> None:
    for seed in range(12):
        events = draw_house(seed).events
        assert Counter(event.kind for event in events) == {"new": RULES_OF_A_HOUSE, "changed": 1, "revoked": 1}
        assert len({event.day for event in events}) == len(events)
        introduced = {event.rule.family: event.day for event in events if event.kind == "new"}
        assert all(introduced[event.rule.family] < event.day for event in events if event.kind != "new")


def test_the_first_question_of_a_day_asks_only_for_what_earlier_days_taught(days: Workdays) -> None:
    for day in days.days:
        first, second = day.questions[:2]
        assert isinstance(first, FileQuestion)
        assert isinstance(second, FileQuestion)
        known = days.house.known(day.number, with_today=False)
        assert first.event == "carry-over"
        assert all(known[rule.family] == rule for rule in first.rules)
        event = days.house.today(day.number)
        assert event is None or (second.rules == (event.rule,) and second.event == event.kind)


def test_doing_nothing_scores_nothing_and_the_oracle_everything(days: Workdays) -> None:
    assert (nothing(days).files, nothing(days).partial) == (0, 0)
    assert (oracle(days).files, oracle(days).choices) == (1, 1)


def test_a_rule_in_a_workspace_would_be_found(days: Workdays) -> None:
    """The search for readable rules can fail."""
    day = days.days[0]
    question = day.questions[1]
    assert isinstance(question, FileQuestion)
    path = question.inputs[0]
    shown = write(question.document, question.house, day.files)
    leaking = replace(day, files={**day.files, path: "".join(shown.values())})
    assert readable(replace(days, days=[leaking, *days.days[1:]])) != []


def test_a_choice_on_a_rule_that_nobody_told_would_be_found(days: Workdays) -> None:
    assert untold(replace(days, days=days.days[10:])) != []
