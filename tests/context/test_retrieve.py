"""Ranking with the real word vectors: the right skill for other words, and none where none fits."""

from __future__ import annotations

import dataclasses
import itertools
from collections.abc import Sequence

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.bench.retrieval.data import distractors
from metaclaw.config.request_path import ContextSettings
from metaclaw.context.retrieve import SkillIndex
from metaclaw.context.segment import skill_vectors
from metaclaw.types import Skill
from support import embedder, make_skill

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


def indexed(skills: Sequence[Skill]) -> SkillIndex:
    return SkillIndex.of(skills, skill_vectors(skills, embedder().embed))


@pytest.fixture(scope="module")
def index() -> SkillIndex:
    return indexed(SKILLS)


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
    found = index.rank(query, embedder().embed, 2, FLOOR)
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
    assert index.rank(query, embedder().embed, 2, FLOOR) == []


def test_at_most_so_many_and_the_best_first(index: SkillIndex) -> None:
    found = index.rank("file name, time stamp, length in inches", embedder().embed, 2, 0.0)
    assert len(found) <= 2
    assert [match.score for match in found] == sorted((match.score for match in found), reverse=True)
    assert indexed([]).rank("file name", embedder().embed, 2, 0.0) == []


def test_vectors_have_unit_length_and_an_empty_text_has_none() -> None:
    vectors = embedder().embed(["a file name", "the sea"])
    assert np.allclose(np.linalg.norm(vectors, axis=1), 1, atol=1e-5)


def answers(index: SkillIndex, queries: Sequence[str]) -> list[list[tuple[str, float]]]:
    return [[(found.skill.name, round(found.score, 4)) for found in index.search(query, embedder().embed)]
            for query in queries]


NAMES = ["tide-tables", "rope-colours", "bell-times", "sand-depth", "cork-sizes", "felt-order"]
BODIES = ["Rule: {} in metres.", "Rule: {} are red, always.", "Rule: first the {}, then the date, then the rest."]
QUERIES = ["How are tide tables written?", "Which colour has the rope?", "When is the bell rung?", "Order felt, cork"]


def varied(name: str, body: int) -> Skill:
    return make_skill(name, BODIES[body].format(name.replace("-", " ")))


@given(
    st.dictionaries(st.sampled_from(NAMES), st.integers(0, 2)),
    st.lists(st.dictionaries(st.sampled_from(NAMES), st.none() | st.integers(0, 2), max_size=3), max_size=4),
)
def test_an_index_that_was_changed_ranks_as_one_made_anew(
    start: dict[str, int], steps: list[dict[str, int | None]]
) -> None:
    live = {name: varied(name, body) for name, body in start.items()}
    index = indexed(list(live.values()))
    for step in steps:
        live = {name: skill for name, skill in live.items() if name not in step}
        new = [varied(name, body) for name, body in step.items() if body is not None]
        live |= {skill.name: skill for skill in new}
        index = index.changed(step, new, skill_vectors(new, embedder().embed))
    assert len(index) == len(live)
    anew, joined = answers(indexed(list(live.values())), QUERIES), answers(index.joined(), QUERIES)
    assert [[name for name, _ in one] for one in joined] == [[name for name, _ in one] for one in anew]
    assert {name for one in answers(index, QUERIES) for name, _ in one} <= set(live)
    assert joined == anew


def test_of_skills_that_say_the_same_one_is_enough() -> None:
    rule = "Rule: a file name starts with the date as YYYYMMDD, then the subject, then .md."
    request = "Suggest a file name for the notes of the {} review."
    same = [Skill(f"file-name-{n}", LIKE + request.format(what), rule) for n, what in enumerate(("budget", "stock"))]
    other = Skill("file-place", LIKE + "Where do I save a file with notes of the review?", "Rule: they go into /notes.")
    found = indexed([*same, other]).rank("Which file name do the notes of the review get?", embedder().embed, 3, 0.2)
    assert len({match.skill.name for match in found} & {skill.name for skill in same}) == 1


def test_the_order_does_not_depend_on_the_order_of_the_library() -> None:
    twins = [Skill(name, "Ring the bell.", "Rule: ring it twice.") for name in ("w1", "w2", "w3")]
    found = [answers(indexed(order), ["How is the bell rung?"]) for order in itertools.permutations(twins)]
    assert all(one == found[0] for one in found)
    assert len(found[0][0]) == 3


@pytest.fixture(scope="module")
def many() -> list[Skill]:
    return distractors(3_000, seed=7)


def test_candidates_hold_what_the_true_scores_of_all_would_give(
    many: list[Skill], monkeypatch: pytest.MonkeyPatch
) -> None:
    index = indexed([*SKILLS, *many])
    queries = [f"{skill.description[-40:]} {n}" for n, skill in enumerate(many[::60])]
    two_steps = answers(index, queries)
    monkeypatch.setattr("metaclaw.context.retrieve.CANDIDATES", len(index))
    kept = [one[:6] == other[:6] for one, other in zip(two_steps, answers(index, queries), strict=True)]
    assert sum(kept) >= 0.95 * len(queries)


def test_what_is_gone_from_a_large_segment_is_found_no_more(many: list[Skill]) -> None:
    index = indexed(many)
    for skill in many[:50]:
        asked = skill.description.removeprefix(LIKE)
        assert index.search(asked, embedder().embed)[0].skill.description == skill.description
        index = index.changed([skill.name], [], skill_vectors([], embedder().embed))
        assert skill.name not in [found.skill.name for found in index.search(asked, embedder().embed)]
    assert len(index) == len(many) - 50


@pytest.mark.parametrize(
    ("query", "name"),
    [
        ("会议纪要应该怎么写？", "huiyi-jiyao"), ("請求書に番号を付けて", "seikyusho"), ("회의록을 정리해", "hoeuirok"),
        ("Составь протокол встречи", "protokol"), ("ใบแจ้งหนี้เลขที่เท่าไร", "invoice-thai"),
        ("Numérote le devis pour Ito", "numero-devis"), ("बैठक का विवरण लिखो", "baithak"),
    ],
)
def test_other_scripts_find_their_skills(query: str, name: str) -> None:
    skills = [
        Skill("huiyi-jiyao", "请写预算的会议纪要。", "会议纪要先写决定，再写负责人。"),
        Skill("seikyusho", "請求書の番号は何ですか。", "請求書番号は顧客コードと年と連番にする。"),
        Skill("hoeuirok", "회의록을 작성해 주세요.", "회의록은 결정 사항을 먼저 적는다."),
        Skill("protokol", "Напиши протокол встречи.", "В протоколе сначала решения."),
        Skill("invoice-thai", "ใบแจ้งหนี้ต้องมีเลขที่อะไร", "เลขที่ใบแจ้งหนี้ขึ้นต้นด้วยปี"),
        Skill("numero-devis", "Quel numéro pour le devis de Acme ?", "Les devis portent la lettre D et un compteur."),
        Skill("baithak", "बैठक का विवरण तैयार करें", "विवरण में पहले निर्णय लिखें"),
        *SKILLS,
    ]
    found = indexed(skills).rank(query, embedder().embed, 2, FLOOR)
    assert [match.skill.name for match in found][:1] == [name]


def test_a_rewritten_skill_of_a_small_library_ranks_as_in_a_new_index() -> None:
    old, new = make_skill("file-names", "Rule: date first."), make_skill("file-names", "Rule: the date comes first.")
    index = SkillIndex.of([old], skill_vectors([old], embedder().embed))
    changed = index.changed({new.name}, [new], skill_vectors([new], embedder().embed))
    fresh = SkillIndex.of([new], skill_vectors([new], embedder().embed))
    asked = "Which date comes first in file names?"
    [found], [wanted] = (one.rank(asked, embedder().embed, 2, 0.0) for one in (changed, fresh))
    assert (found.skill, round(found.score, 4)) == (new, round(wanted.score, 4))


NOTE = "Write up inbox/note.txt as a Markdown file. Kind: report, subject: {}. It holds the facts, then the list."


def test_a_skill_is_found_by_a_request_in_which_its_rule_was_asked_for() -> None:
    """Its own words have nothing in common with it."""
    zone = Skill("zone", "Points in time.", "Points in time carry the offset right behind, without a blank.")
    cued = dataclasses.replace(zone, cues=(("turn-1", "Is it late?"), ("turn-2", NOTE.format("the outage"))))
    asked = NOTE.format("the move") + "\n\nnote.txt reads:\nopened: nine"
    without = indexed([*SKILLS, zone]).rank(asked, embedder().embed, 8, FLOOR)
    assert "zone" not in {match.skill.name for match in without}
    index = indexed([*SKILLS, cued])
    assert [match.skill.name for match in index.rank(asked, embedder().embed, 8, FLOOR)] == ["zone"]
    assert index.rank("What is the capital of France?", embedder().embed, 8, FLOOR) == []
    assert len({match.skill.name for match in index.search(asked, embedder().embed)}) == len(
        index.search(asked, embedder().embed)
    )


def test_of_two_skills_with_the_same_cue_the_one_whose_words_fit_comes_first() -> None:
    cues = (("turn-1", NOTE.format("the outage")),)
    skills = [Skill("a-lamps", "Lamps.", "Rule: lamps glow.", cues=cues),
              Skill("z-subjects", "Subjects.", "Rule: the subject of a report comes in capitals.", cues=cues)]
    found = indexed(skills).rank(NOTE.format("the move"), embedder().embed, 8, FLOOR)
    assert [match.skill.name for match in found] == ["z-subjects", "a-lamps"]


@given(st.lists(st.integers(0, 4), max_size=8), st.integers(0, 3))
def test_cues_come_and_go_with_their_skill(changes: list[int], cues: int) -> None:
    """However often a skill changes, the index is that of what is live."""
    index, live = indexed(SKILLS), {skill.name: skill for skill in SKILLS}
    for step, which in enumerate(changes):
        name = SKILLS[which % len(SKILLS)].name
        told = tuple((f"turn-{n}", f"{NOTE.format(step)} {n}") for n in range((cues + step) % 4))
        changed = [] if which > 2 else [dataclasses.replace(SKILLS[which], cues=told)]
        live = {other: skill for other, skill in live.items() if other != name} | {s.name: s for s in changed}
        index = index.changed({name}, changed, skill_vectors(changed, embedder().embed))
    assert len(index) == sum(1 + len(skill.cues) for skill in live.values())
    found = {match.skill for match in index.search(NOTE.format("x") + " file name notes length", embedder().embed)}
    assert found <= set(live.values())
