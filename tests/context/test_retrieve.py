"""Ranking with the real word vectors: the right skill for other words, and none where none fits."""

from __future__ import annotations

import numpy as np
import pytest

from metaclaw.config import ContextSettings
from metaclaw.context.retrieve import SkillIndex
from metaclaw.types import Skill
from support import embedder

FLOOR = ContextSettings().min_score
LIKE = "How this user wants it done. Use for requests like: "
SKILLS = [
    Skill("file-name-notes", LIKE + "Suggest a file name for the Markdown notes of the budget review.",
          "Rule: A file name starts with the date as YYYYMMDD, then the subject with underscores, then .md."),
    Skill("time-stamp", LIKE + "The team meeting started on 7 March 2026 at 09:30. Write that moment as a time stamp.",
          "Rule: time stamps are ISO 8601 with the +08:00 offset."),
    Skill("length-shelf", LIKE + "The shelf is 120 cm long. Say its length in inches.",
          "Rule: lengths are in millimetres, with one decimal and the unit mm."),
]


@pytest.fixture(scope="module")
def index() -> SkillIndex:
    return SkillIndex(SKILLS, embedder())


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("I want to save my party notes as Markdown. What should the file name be?", "file-name-notes"),
        ("How should the Markdown file with notes about the sales forecast be called?", "file-name-notes"),
        ("The board session began on 9 July 2026 at 14:05. Give the time stamp.", "time-stamp"),
        ("How long is the carpet in inches if its length is 90 cm?", "length-shelf"),
    ],
)
def test_the_right_skill_is_found_for_other_words(index: SkillIndex, query: str, name: str) -> None:
    found = index.rank(query, 2, FLOOR)
    assert found
    assert found[0].skill.name == name
    assert all(FLOOR <= match.score <= 1 for match in found)


@pytest.mark.parametrize(
    "query",
    [
        "What is the capital of France? Reply with one word.", "Write a haiku about the sea.",
        "Explain recursion to a child.", "def add(a, b): return a - b  # why does the test fail?",
        "Translate 'good morning' into Spanish.", "", "   ",
    ],
)
def test_nothing_is_found_for_what_has_nothing_to_do_with_it(index: SkillIndex, query: str) -> None:
    assert index.rank(query, 2, FLOOR) == []


def test_at_most_so_many_and_the_best_first(index: SkillIndex) -> None:
    found = index.rank("file name, time stamp, length in inches", 2, 0.0)
    assert len(found) <= 2
    assert [match.score for match in found] == sorted((match.score for match in found), reverse=True)
    assert SkillIndex([], embedder()).rank("file name", 2, 0.0) == []


def test_vectors_have_unit_length_and_an_empty_text_has_none() -> None:
    vectors = embedder().embed(["a file name", "the sea"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)
