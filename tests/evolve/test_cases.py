"""The tests of a code skill: what counts as the same answer, how models write them, how the folder keeps them."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.errors import SkillError
from metaclaw.evolve.cases import MOST_KEPT, Case, holds, read_call, read_cases, read_test, same, written
from metaclaw.library.tool import CASES, tool_of
from metaclaw.types import Skill, SkillKind

SKILL = Skill(
    "pad", "d", "b", kind=SkillKind.CODE,
    files=(("scripts/pad.py", 'def pad(number: int, width: int = 2) -> str:\n    """Pads."""\n    return ""\n'),),
)
TOOL = tool_of(SKILL)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("7", 7), (7, "7"), ("7.0", 7), ("0.3", 0.1 + 0.2), (3, 3.0), ("a  b", "a b\n"), ("`x`", "x"), ("True", True),
        (True, "true"), ('["a", "b"]', ["a", "b"]), ("1.2.0, 1.9.2", ["1.2.0", "1.9.2"]), ("a\nb", ["a", "b"]),
        ("3 1 2", [3, 1, 2]), ({"a": [1]}, {"a": [1.0]}), ('{"a": 1}', {"a": 1}), (None, None),
    ],
)
def test_the_same_answer(expected: Any, value: Any) -> None:
    assert same(expected, value)


@pytest.mark.parametrize(
    ("expected", "value"),
    [
        ("7", 8), (1, True), ("1.234,50", 1234.5), ("37.8 °C", 37.8), ("a", "b"), (["a"], ["a", "a"]),
        ("a, b", ["b", "a"]), ({"a": 1}, {"a": 1, "b": 2}), ("nan", float("nan")), ("yes", True), ("7", "7.0"),
        ("", None), ("02", "2"),
    ],
)
def test_another_answer(expected: Any, value: Any) -> None:
    assert not same(expected, value)


@given(st.recursive(st.none() | st.booleans() | st.integers() | st.text(), st.lists, max_leaves=5))
def test_every_value_is_the_same_as_itself(value: Any) -> None:
    assert same(value, value)


def test_a_pattern_decides_where_there_is_one() -> None:
    assert holds(Case({}, "never looked at", r"\d{8}_.*\.md"), "20260304_x.md")
    assert not holds(Case({}, "x.md", r"\d{8}_.*\.md"), "x.md")


@pytest.mark.parametrize("text", ["pad(number=7, width=3)", "pad(7, 3)", " pad('7', width=3.0) "])
def test_a_call_is_read_as_python(text: str) -> None:
    assert read_call(text, TOOL) == {"number": 7, "width": 3}


@pytest.mark.parametrize(
    ("text", "case"),
    [
        ('pad(7) == "07"', Case({"number": 7}, "07")),
        ("assert pad(number=7) == '07'", Case({"number": 7}, "07")),
        ("pad(-7) is None", Case({"number": -7}, None)),
        ("pad(7) == (1, 2)", Case({"number": 7}, [1, 2])),
    ],
)
def test_a_test_is_read_as_python(text: str, case: Case) -> None:
    assert read_test(text, TOOL) == case


@pytest.mark.parametrize(
    ("text", "says"),
    [
        ("pad(7)", "not of the form"), ("pad(7) > 3", "not of the form"), ("pad(7) == open('x')", "plain values"),
        ("pad(__import__('os')) == 1", "plain values"), ("pat(7) == 1", "no call of pad"),
        ("1 == pad(7)", "no call of pad"), ("pad(**{'number': 1}) == 1", "once"),
        ("pad(1, 2, 3) == 1", "more than the 2"), ("pad(1, number=1) == 1", "once"),
        ("pad('x') == 1", "must be an integer"), ("pad() == 1", "'number' is missing"), ("pad(7 ==", "not a Python"),
        ("pad(1) == 1 == 1", "not of the form"), ("(" * 9000, "not a Python"), ("pad(7) == 1e999", "plain values"),
    ],
)
def test_what_is_no_test_says_why(text: str, says: str) -> None:
    with pytest.raises(SkillError, match=says):
        read_test(text, TOOL)


def test_cases_go_into_the_folder_and_come_back() -> None:
    cases = [Case({"number": 7}, "07", source="turn:1"), Case({"number": 8}, "08"), Case({}, None, "x+", "turn:2")]
    kept = dataclasses.replace(SKILL, files=((CASES, written(cases)), *SKILL.files))
    assert read_cases(kept) == [cases[0], cases[2], cases[1]]  # the user's own first
    assert read_cases(SKILL) == []


def test_when_there_are_too_many_the_users_own_stay() -> None:
    cases = [Case({"number": number}, "x") for number in range(MOST_KEPT + 5)] + [Case({}, "y", source="turn:1")]
    kept = read_cases(dataclasses.replace(SKILL, files=((CASES, written(cases)),)))
    assert len(kept) == MOST_KEPT
    assert kept[0].of_user


@pytest.mark.parametrize("text", ["{", "7", "[7]", '[{"expected": 1}]', "null"])
def test_cases_that_a_person_broke_are_named(text: str) -> None:
    with pytest.raises(SkillError, match="Mend or remove it"):
        read_cases(dataclasses.replace(SKILL, files=((CASES, text),)))
