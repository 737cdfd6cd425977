"""Each method finds what it can: the words, the meaning, or no more than the first of a category."""

from __future__ import annotations

import asyncio
from pathlib import Path

import pytest

from metaclaw.bench.retrieval import start, store
from metaclaw.bench.retrieval.methods import Bm25, Embeddings, FirstOfCategory, Fts5, Hybrid, Method
from metaclaw.context.retrieve import SkillIndex
from metaclaw.context.segment import skill_vectors
from metaclaw.types import Skill
from support import embedder

SKILLS = [
    Skill("anchor-chains", "How long is the anchor chain?", "Rule: anchor chains are measured in shackles."),
    Skill("invoice-number", "Which number has the invoice?", "Rule: invoices are numbered by client."),
    Skill("ticket-price", "What does the ticket cost?", "Rule: a ticket costs four."),
]


@pytest.fixture(scope="module")
def index() -> SkillIndex:
    return SkillIndex.of(SKILLS, skill_vectors(SKILLS, embedder().embed))


def test_all_but_the_categories_find_a_skill_by_its_words(index: SkillIndex) -> None:
    methods: list[Method] = [Hybrid(index, embedder()), Bm25(index), Embeddings(index, embedder()), Fts5(SKILLS)]
    for method in methods:
        ranking = method("Number of the invoice, please?")
        assert ranking[0][0] == "invoice-number", method
        assert [score for _, score in ranking] == sorted((score for _, score in ranking), reverse=True)
        assert list(method("")) == []


def test_only_vectors_find_by_meaning(index: SkillIndex) -> None:
    asked = "Fare for a ride?"
    assert not Bm25(index)(asked)
    assert not Fts5(SKILLS)(asked)
    assert Embeddings(index, embedder())(asked)[0][0] == "ticket-price"
    assert Hybrid(index, embedder())(asked)[0][0] == "ticket-price"


def test_a_category_gives_its_first_whatever_they_say() -> None:
    many = [Skill(f"price-{n:02}", "What does it cost?", "Rule: four.") for n in range(20)]
    found = FirstOfCategory(many)("What is the cost of number seventeen?")
    assert [name for name, _ in found] == []  # "number" comes earlier, and nothing is in that category
    assert [name for name, _ in FirstOfCategory(many)("cost?")] == [f"price-{n:02}" for n in range(6)]
    assert FirstOfCategory(many)("Hello!") == []


def test_the_costs_of_a_living_library_and_of_a_start_are_told(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(store, "UPDATES", 3)
    store.fill(tmp_path, SKILLS)
    figures = asyncio.run(store.costs(tmp_path, embedder(), ["Which number has the invoice?"] * 3))
    assert figures["repeated p50"] < figures["fresh p99"]
    assert {"update max", "publish to live p50", "cold start"} <= set(figures)
    found = start.measured(tmp_path)
    assert found["seconds"] > 0
    assert found["megabytes"] > 0
