"""Facets without what every skill says, passages without what asks for nothing, and words in any script."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.context.text import ASIDE, MAX_QUERY_CHARACTERS, MOST_PASSAGES, clipped, facets, passages, words
from metaclaw.evolve import by_model, extractive
from metaclaw.evolve.failure import Failure
from metaclaw.types import Skill
from support import make_turn

REQUEST = "Suggest a file name for the notes of the party."
RULE = "A file name starts with the date, then the subject in lower case."
FAILURE = Failure(make_turn(REQUEST, "notes.md"), f"{RULE} It should have been `20260706_party.md`.")


def test_what_the_extractive_proposer_adds_to_the_users_words_is_left_out() -> None:
    skill = extractive.propose(FAILURE)
    assert skill is not None
    name, description, body = facets(skill)
    assert name == skill.name.replace("-", " ")
    assert description == REQUEST
    left = body.replace(REQUEST, "").replace(FAILURE.correction, "").replace(FAILURE.expected, "")
    assert not left.strip(), left


def test_nor_does_the_request_of_a_rule_without_an_answer_come_with_a_frame() -> None:
    skill = extractive.propose(Failure(FAILURE.turn, RULE))
    assert skill is not None
    assert facets(skill)[2].replace(REQUEST, "").strip() == RULE


def test_what_a_model_says_that_a_skill_is_not_for_does_not_find_it() -> None:
    fields = {
        "rule": "Write opening hours with a dash.", "name": "opening-hours", "use_for": "Opening hours of shops.",
        "not_for": "Dinosaurs and volcanoes.", "example_request": "When is it open?", "example_answer": "10:00-18:00",
    }
    edit = by_model.read_edit(json.dumps(fields), by_model.Evidence(FAILURE))
    assert edit is not None
    assert edit.skill is not None
    _, description, body = facets(edit.skill)
    assert description.split() == f"Opening hours of shops. {REQUEST}".split()
    assert body.split() == "Write opening hours with a dash. When is it open? 10:00-18:00".split()


def test_a_skill_of_a_persons_own_keeps_its_words() -> None:
    own = Skill("a-b", "Not for: trains.", "# Title\n\nDo it.")
    assert facets(own) == ("a b", own.description, own.body)


def test_a_short_request_is_one_passage_as_it_is() -> None:
    assert [(p.text, p.weight) for p in passages("  <b>ls -la</b>\n? ")] == [("<b>ls -la</b>\n?", 1.0)]
    assert passages("") == passages(" \n ") == []


LISTING = "drwxr-xr-x 9 sam 288\n-rw-r--r-- 1 sam 6148 .DS_Store\nsrc/app/index.tsx\n2026-07-09 08:14:02 42 17\n"


@pytest.mark.parametrize(
    "prompt",
    [
        "# Context\nThe user has a laptop. " + "Nothing happened. " * 20 + "\n# Request\n{ask}\n# Output\nBe brief.",
        LISTING * 4 + "{ask}\n" + LISTING * 4,
        "<task>\n{ask}\n</task>\n```\nTraceback, where did it fail?\n" + "x = 1\n" * 60 + "```",
        "We had a long day. " + "It was hot and loud. " * 12 + "{ask} " + "Thanks and have a good one. " * 12,
    ],
)
def test_what_is_asked_comes_first_whatever_stands_around_it(prompt: str) -> None:
    found = passages(prompt.replace("{ask}", "What do we call the channel for the move?"))
    assert "What do we call the channel for the move?" in found[0].text
    assert found[0].weight == 1.0
    assert not any(word in passage.text for passage in found for word in ("drwxr", "index.tsx", "Traceback"))


def test_a_passage_in_the_middle_that_asks_nothing_counts_less() -> None:
    lines = ["This is the first line of it all.", *["This one stands in between the two."] * 8, "This one is the last."]
    found = passages("\n".join(lines))
    assert [(p.text, p.weight) for p in found] == [
        (lines[0], 1.0), (lines[-1], 1.0), *[(lines[1], ASIDE)] * (MOST_PASSAGES - 2)
    ]


def test_what_is_nothing_but_data_is_still_looked_at() -> None:
    found = passages("17 42 8 " * 100)
    assert len(found) == 1
    assert found[0].text.startswith("17 42 8")


@given(st.text(max_size=12_000))
def test_any_text_gives_few_passages_of_its_own(text: str) -> None:
    found = passages(text)
    assert len(found) <= MOST_PASSAGES
    assert len(clipped(text)) <= MAX_QUERY_CHARACTERS + 1
    assert all(passage.text and 0 < passage.weight <= 1 for passage in found)
    assert all(word for passage in found for word in words(passage.text))


@pytest.mark.parametrize(
    ("text", "found"),
    [
        ("The file_names of two Companies' buses", ["file", "name", "two", "company", "buse"]),
        ("Résumé, naïve: ÜBUNG straße", ["resume", "naive", "ubung", "strasse"]),
        ("会议纪要怎么写", ["会议", "议纪", "纪要", "要怎", "怎么", "么写"]),
        ("請求書 v2の番号", ["請求", "求書", "v2", "の番", "番号"]),
        ("회의록을 작성", ["회의", "의록", "록을", "작성"]),
        ("Протокол встречи", ["протокол", "встречи"]),
        ("बैठक का विवरण", ["बैठक", "का", "विवरण"]),
        ("字", ["字"]),
        ("", []),
    ],
)
def test_words_of_many_scripts(text: str, found: list[str]) -> None:
    assert words(text) == found


def test_voiced_kana_and_hangul_stay_whole() -> None:
    assert words("ガイド") == ["ガイ", "イド"]
    assert words("각") == ["각"]
