"""When two requests are the same; by number in tests/bench/test_signals.py."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.signals.repeats import same_request


@pytest.mark.parametrize(("one", "other"), [
    ("Write a haiku about the sea.", "write a haiku about the sea"),
    ("List the open bills", "Please list the open bills!"),
    ("Fasse den Bericht zusammen", "Fasse bitte nochmal den Bericht zusammen."),
    ("帮我总结这份报告", "请帮我总结这份报告。"),
])
def test_politeness_and_once_more_make_no_difference(one: str, other: str) -> None:
    assert same_request(one, other)


@pytest.mark.parametrize(("one", "other"), [
    ("Summarise chapter 1.", "Summarise chapter 2."), ("Rename load to read", "Rename read to load"), ("yes", "yes"),
    ("What is 3+4?", "What is 3-4?"), ("Is the door open?", "Is the door not open?"), ("继续", "继续"), ("", ""),
])
def test_one_word_or_their_order_makes_another_request(one: str, other: str) -> None:
    assert not same_request(one, other)


@given(st.text(max_size=60), st.text(max_size=60))
def test_it_is_mutual(one: str, other: str) -> None:
    assert same_request(one, other) == same_request(other, one)
