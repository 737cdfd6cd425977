"""What comes out of a program's process is read as hostile: a result, whatever it says."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.sandbox.jail import read
from metaclaw.sandbox.values import MAX_ERROR_CHARS, Limits, Result, failed, returned, stopped

LIMITS = Limits(output_bytes=1000)
TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=20)
PLAIN_JSON = st.recursive(
    st.none() | st.booleans() | st.integers() | st.floats(allow_nan=False, allow_infinity=False) | TEXT,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(TEXT, inner, max_size=3),
    max_leaves=5,
)
ROOM = Limits()


def storable(result: Result) -> bool:
    """Whether it can go into a reply and into the store as it is."""
    text = json.dumps([result.value, result.stdout, result.error], ensure_ascii=False, allow_nan=False)
    return bool(text.encode())


@given(PLAIN_JSON)
def test_plain_json_comes_back_as_it_was(value: Any) -> None:
    result = returned(json.dumps(value), "", 0.1, "strong", ROOM)
    assert (result.ok, result.value) == (True, value)


@given(st.text(max_size=100))
def test_any_other_text_is_a_failure_or_a_value_but_never_an_error_of_ours(text: str) -> None:
    assert storable(returned(text, "", 0.1, "strong", LIMITS))


@pytest.mark.parametrize(
    "text", ["NaN", "[Infinity]", '"\\ud800"', "[" * 900, "9" * 900 + "e", "{", "", '{"a": -Infinity}', "1 2"]
)
def test_what_json_cannot_say_is_refused(text: str) -> None:
    result = returned(text, "", 0.1, "strong", LIMITS)
    assert not result.ok
    assert result.error.startswith("The value is not plain JSON")


def test_a_number_too_long_to_read_is_refused() -> None:
    assert returned("9" * 60_000, "", 0.1, "monty", ROOM).error.startswith("The value is not plain JSON")


@pytest.mark.parametrize("text", [json.dumps("x" * 1000), json.dumps("é" * 600, ensure_ascii=False)])
def test_a_value_over_the_limit_is_not_even_read(text: str) -> None:
    assert returned(text, "", 0.1, "strong", LIMITS).outcome == "output"


def test_a_long_error_keeps_its_end() -> None:
    result = failed("Traceback\n" + "line\n" * 10_000 + "ValueError: the reason", "", 0.1, "strong")
    assert len(result.error) < MAX_ERROR_CHARS + 10
    assert result.error.startswith("Traceback")
    assert result.error.endswith("ValueError: the reason")


def test_a_result_tells_its_outcome_in_a_word() -> None:
    assert stopped("time", "", 5.0, "monty", LIMITS).outcome == "time"
    assert failed("KeyError: 1", "", 0.1, "monty").outcome == "error"
    assert returned("1", "", 0.1, "monty", LIMITS).outcome == "ok"


@given(st.binary(max_size=60) | st.builds(lambda value: json.dumps(value).encode(), PLAIN_JSON))
def test_a_worker_may_answer_anything(line: bytes) -> None:
    result = read(line, 0.1, LIMITS)
    assert not result.ok
    assert storable(result)


@pytest.mark.parametrize(
    ("answer", "outcome"),
    [
        ({"value": "[1]", "stdout": "x" * 5000}, "ok"),
        ({"value": 1}, "crash"),
        ({"value": "1", "stdout": 7}, "ok"),
        ({"error": "KeyError \ud800", "stdout": "\udfff"}, "error"),
        ({"ended_by": "memory"}, "memory"),
        ({"ended_by": "time"}, "crash"),
        ({"ended_by": ["output"]}, "crash"),
    ],
)
def test_an_answer_means_no_more_than_it_may(answer: dict[str, Any], outcome: str) -> None:
    result = read(json.dumps(answer).encode(), 0.1, LIMITS)
    assert result.outcome == outcome
    assert len(result.stdout.encode()) <= LIMITS.output_bytes
    assert storable(result)
