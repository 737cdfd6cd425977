"""What of a request a skill may hold."""

from __future__ import annotations

import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.evolve.example import example_of
from metaclaw.evolve.quoting import GAP

MATERIAL = "Lists of towns carry the name of the Hotel Sternau."


@pytest.mark.parametrize("request_text", [
    "Suggest a file name for the notes of 4 March.", "Tag this photograph.", "Clean the folder.",
    "Which is better, red, green or blue?", "给会议记录起个文件名。", "ファイル名を提案して。", "Wie heißt die Datei?",
])
def test_a_short_request_stands_as_it_is(request_text: str) -> None:
    assert example_of(request_text) == request_text


@pytest.mark.parametrize(("request_text", "example"), [
    (f"{MATERIAL} Is that good English?", f"{GAP} Is that good English?"),
    (f"Write it as a rhyme, keep it short, it is for a card, {MATERIAL}", f"Write it as a rhyme, keep it short {GAP}"),
    (f"Please count the words. {MATERIAL}", f"Please count the words. {GAP}"),
    ("Towns have a line with: yes at their end. Is that good English?", GAP),
    ("Which one is the longest? 街のリストには必ずホテルの名前を書きます。", f"Which one is the longest? {GAP}"),
])
def test_material_stays_out(request_text: str, example: str) -> None:
    assert example_of(request_text) == example


def test_a_statement_that_the_right_answer_was_made_of_stays() -> None:
    request = "The fence is 9.1 metres long. Write its length for the parts list."
    assert example_of(request, "9100mm") == request
    assert example_of(request) == f"{GAP} Write its length for the parts list."
    assert example_of(f"{MATERIAL} Name the town.", "Sternau") == f"{GAP} Name the town."


def test_a_request_of_one_long_line_takes_no_time() -> None:
    line = "the page of this report has a note in the text " * 400
    started = time.process_time()
    assert GAP in example_of(line)
    assert time.process_time() - started < 1  # it was half a minute


@given(st.text(max_size=500), st.text(max_size=50))
def test_any_request_has_an_example(request: str, answer: str) -> None:
    assert isinstance(example_of(request, answer), str)
