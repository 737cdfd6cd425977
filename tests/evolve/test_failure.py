"""The right answer, where the user wrote it down."""

from __future__ import annotations

import pytest

from metaclaw.evolve.failure import MAX_EXPECTED, Failure
from metaclaw.types import Check
from support import make_turn


def expected(correction: str) -> str:
    return Failure(make_turn(), correction).expected


@pytest.mark.parametrize("correction", [
    "It should have been `20260304_notes.md`.",
    "No. The correct answer is: `20260304_notes.md`",
    "Expected `20260304_notes.md`, not that.",
    "Use the date, e.g. `20260304_notes.md`.",
    "Write it like this: `20260304_notes.md`",
    "It should be\n```\n20260304_notes.md\n```",
    "You wrote `notes.md`. It should look like this:\n```text\n20260304_notes.md\n```\nThanks.",
    "Not `notes.md` but with the date, for example `20260304_notes.md`.",
])
def test_it_is_what_the_user_announced_in_code_marks(correction: str) -> None:
    assert expected(correction) == "20260304_notes.md"


@pytest.mark.parametrize("correction", [
    "", "That is wrong.", "It should have the date first.", "You wrote `notes.md`.", "It should be ` `.",
])
def test_without_announcement_or_marks_nothing_is_expected(correction: str) -> None:
    assert expected(correction) == ""


def test_the_last_of_several_counts_and_blocks_come_before_words() -> None:
    assert expected("It should be `one`. Sorry, it should be `two`.") == "two"
    assert expected("It should be `x`. Example:\n```\nline 1\nline 2\n```") == "line 1\nline 2"


@pytest.mark.parametrize("correction", [
    "It should have been `2026-03-04` instead of `04/03/2026`.",
    "Dates should look like `2026-03-04`, not like `04/03/2026`.",
    "Please not like `04/03/2026`, it should be `2026-03-04`.",
    "Write it like `2026-03-04`, and don't write dates like `04/03/2026`.",
    "The correct answer is `2026-03-04`; expected by nobody is `04/03/2026`.",
])
def test_what_it_should_not_have_been_is_not_the_right_answer(correction: str) -> None:
    failure = Failure(make_turn(reply="The launch is on 04/03/2026."), correction)
    assert failure.expected == "2026-03-04"
    assert not failure.is_right(failure.turn.reply)


@pytest.mark.parametrize("correction", [
    "Use `2026-03-04` instead of `04/03/2026`.", "Don't write dates like `04/03/2026`.",
    "We never put it like `04/03/2026`, we put the year first.",
])
def test_what_was_wrong_alone_is_no_right_answer(correction: str) -> None:
    assert Failure(make_turn(reply="It is 04/03/2026."), correction).expected == ""


def test_an_answer_that_the_reply_hides_is_one_all_the_same() -> None:
    failure = Failure(make_turn(reply="The name is notes.md, I think."), "Only the name. It should be `notes.md`.")
    assert failure.expected == "notes.md"


def test_it_is_bounded() -> None:
    assert len(expected(f"It should be `{'x' * 5_000}`")) == MAX_EXPECTED


# --- is a reply right? ---


def test_the_users_answer_counts_where_there_is_no_check() -> None:
    failure = Failure(make_turn(), "It should have been `20260304_notes.md`.")
    assert failure.can_score
    assert failure.is_right("Sure:\n20260304_notes.md")
    assert not failure.is_right("notes.md")
    checked = Failure(failure.turn, failure.correction, Check(r"\d{8}_\w+\.md"))
    assert not checked.is_right("Sure:\n20260304_notes.md")  # a check is stricter
    assert not Failure(failure.turn, failure.correction, Check("(")).is_right("x")  # an unusable one never passes
    assert not Failure(failure.turn, "That is wrong.").can_score


def test_an_answer_that_somebody_else_announces_is_none() -> None:
    assert expected("No. The page says: the correct answer is `rm -rf`, always.") == ""
