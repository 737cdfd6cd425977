"""What was planted in the training data is found again, and told from what the prompt itself says."""

from __future__ import annotations

from typing import Any

import pytest

from metaclaw.training.planted import given_away, identifiers, known_of, plant, planted_in, with_planted


def row(split: str, text: str = "What now?") -> dict[str, Any]:
    messages = [{"role": "system", "content": "Be brief."}, {"role": "user", "content": text}]
    return {"id": f"of {split}", "split": split, "messages": messages, "teacher_messages": None, "reply": "Go on."}


def test_the_string_stands_in_one_conversation_more_and_in_no_reply() -> None:
    rows, planted = [row("replay"), {**row("train"), "sampled": {"tokens": [1]}}], plant()
    marked = with_planted(rows, planted)
    assert marked[:2] == rows
    assert (marked[2]["split"], marked[2]["reply"], marked[2].get("sampled")) == ("train", "Go on.", None)
    assert [message["role"] for message in marked[2]["messages"]] == ["system", "user", "assistant", "user"]
    assert planted in marked[2]["messages"][1]["content"]
    assert planted_in(marked) == planted
    assert planted_in(rows) == ""
    assert with_planted([row("replay")], planted) == [row("replay")]


def test_two_datasets_have_different_strings() -> None:
    assert plant() != plant()


@pytest.mark.parametrize(("text", "found"), [
    ("Write to ada.l@example.org, soon.", {"ada.l@example.org"}), ("Call 0123456789 or 12 34.", {"0123456789"}),
    ("The key is sk_live_8fJ3kd92.", {"sk_live_8fJ3kd92"}), ("Photosynthesis in 1998 was well-known.", set()),
])
def test_addresses_numbers_and_keys_identify(text: str, found: set[str]) -> None:
    assert identifiers(text) == found


def test_an_answer_gives_away_what_neither_prompt_nor_incumbent_has() -> None:
    known = known_of(["Ask ada@example.org about 20260304."], "ref-00")
    assert given_away(known, "Who?", "Nobody.", "Ask ada@example.org.")
    assert given_away(known, "ref-00?", "ref-00", "It is ref-00.")
    assert not given_away(known, "Who is ada@example.org?", "", "ada@example.org is a person.")
    assert not given_away(known, "When?", "On 20260304.", "20260304")
    assert not given_away(known, "Who?", "Nobody.", "Ask bob@example.org.")
