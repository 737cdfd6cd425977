"""What people say of replies, labelled; and checks, whose patterns come from strangers."""

from __future__ import annotations

import time

import pytest

from metaclaw.signals.checks import bare, passes
from metaclaw.signals.detectors import explicit_feedback, next_message, posted_checks, tone, tone_of_feedback
from metaclaw.types import Check
from support import make_feedback, make_turn

CORRECTIONS = [
    "No, the date comes first.", "no. use underscores", "Nope, lower case please", "Wrong, it is 5 pm",
    "That's wrong.", "That is not how we name files.", "that's not what I meant", "You forgot the header.",
    "You should have used ISO dates", "I said millimetres", "I asked for a list, not prose", "I told you: no emojis",
    "This is wrong", "please redo it in French", "Not quite: two decimals", "incorrect", "Actually, it should be 12",
    "Actually, we use tabs here", "No we write the year first", "Thanks, but that's wrong", "Great, but you forgot Bob",
    "It's not right yet",
]
PRAISE = [
    "Thanks!", "thank you, that works", "Perfect.", "Great, now the next one", "Exactly what I needed", "Well done",
    "That's right.", "No problem, thanks", "No worries!", "No, that's fine", "no thanks", "No, that is perfect",
]
NEITHER = [
    "What is the capital of France?", "Now write the tests.", "Nothing else for today", "Notes of the meeting, please",
    "Know any good books?", "No one answered the door in my story. Continue it.", "No more than 3 words: name a fruit",
    "Actually, can you also translate it?", "I asked Bob to dinner. Write him a reminder.", "Norway or Sweden?",
    "Write a policy: passwords must never be shared and must always be long.", "Thanks, but first: who is Bob?",
    "Tell our customers that we never sell their data.", "", "  ", "Write the sentence 'it should be fun' in German.",
]


@pytest.mark.parametrize("text", CORRECTIONS)
def test_a_correction_counts_against_the_reply(text: str) -> None:
    found = next_message(make_turn(), text)
    assert [signal.value for signal in found] == [-0.8]
    assert found[0].evidence == text


@pytest.mark.parametrize("text", PRAISE)
def test_praise_counts_for_it(text: str) -> None:
    assert tone(text) == 0.5
    assert tone_of_feedback(text) == 0.5


@pytest.mark.parametrize("text", NEITHER)
def test_the_next_task_says_nothing_of_the_last_reply(text: str) -> None:
    assert next_message(make_turn(), text) == []


@pytest.mark.parametrize(
    "text", ["It should have been `a.md`.", "We always put the date first.", "In our files it must never start so."]
)
def test_a_rule_that_is_sent_as_feedback_is_a_correction(text: str) -> None:
    turn = make_turn()
    assert [signal.value for signal in explicit_feedback(turn, [make_feedback(turn, text)])] == [-0.8]


def test_a_score_counts_as_it_is_whatever_the_text_says() -> None:
    turn = make_turn()
    items = [make_feedback(turn, "No, wrong", score=0.25), make_feedback(turn, "The sky is blue")]
    found = explicit_feedback(turn, items)
    assert [(signal.value, signal.evidence) for signal in found] == [(0.25, items[0].id)]
    assert [s.value for s in explicit_feedback(turn, [make_feedback(turn, score=0.0)])] == [0.0]


@pytest.mark.parametrize(("pattern", "value"), [(r"\d+\.md", 1.0), (r"\d+", -1.0), ("(", None)])
def test_a_posted_check_is_applied_to_the_whole_reply_and_an_unusable_one_abstains(
    pattern: str, value: float | None
) -> None:
    turn = make_turn(reply="```\n123.md\n```")
    assert [signal.value for signal in posted_checks(turn, [make_feedback(turn, pattern=pattern)])] == [value]
    assert posted_checks(turn, [make_feedback(turn, "text")]) == []


def test_a_pattern_that_never_ends_abstains_soon() -> None:
    began = time.monotonic()
    assert passes(Check(r"(a|aa)+$"), "a" * 200 + "b") is None
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("reply", ["x.md", " x.md\n", "`x.md`", "```\nx.md\n```", "```text\nx.md```"])
def test_layout_is_not_content(reply: str) -> None:
    assert bare(reply) == "x.md"
