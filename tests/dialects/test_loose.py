"""What is not as it should be counts as absent."""

from __future__ import annotations

from metaclaw.dialects.loose import count_of, dict_of, dicts_of, list_of, string_of


def test_values_of_the_right_kind_are_themselves() -> None:
    assert (dict_of({"a": 1}), list_of([1]), string_of("x")) == ({"a": 1}, [1], "x")
    assert dicts_of([{"a": 1}, 2, {"b": 3}]) == [{"a": 1}, {"b": 3}]
    assert count_of({"a": {"b": 7}}, "a", "b") == 7


def test_others_count_as_absent() -> None:
    assert (dict_of([1]), list_of({"a": 1}), string_of(3), dicts_of("x")) == ({}, [], "", [])
    assert [count_of(value, "a", "b") for value in (None, 3, {"a": 3}, {"a": {"b": "x"}}, {"a": {"b": 0.5}})] == [0] * 5
