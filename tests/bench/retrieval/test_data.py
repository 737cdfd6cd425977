"""The labelled set is large enough, worded as the proposers word it, and its two splits share nothing."""

from __future__ import annotations

import re

import pytest

from metaclaw.bench.retrieval.data import LabelledSet, Query, distractors, labelled_set
from metaclaw.context.text import facets, words
from metaclaw.evolve import extractive
from metaclaw.library import skillfile
from metaclaw.types import Skill


@pytest.fixture(scope="module")
def found() -> LabelledSet:
    return labelled_set(1)


def test_it_is_as_large_as_was_asked_for(found: LabelledSet) -> None:
    asked = [query for query in found.held_out if query.skill]
    assert len(asked) >= 2_000
    assert len({query.skill for query in asked}) >= 500
    assert sum(query.kind == "unrelated" for query in found.held_out) >= 500
    assert {query.skill for query in (*found.tuning, *asked) if query.skill} == {skill.name for skill in found.skills}


def test_every_skill_could_be_published_and_has_a_name_of_its_own(found: LabelledSet) -> None:
    skills = [*found.skills, *distractors(2_000, 1)]
    for skill in skills:
        skillfile.check(skill)
    assert len({skill.name for skill in skills}) == len(skills)
    assert not [text for skill in skills for text in facets(skill) if re.search(r"\{\w+\}", text)]


def test_skills_are_worded_as_the_proposer_words_them(found: LabelledSet) -> None:
    for skill in (*found.skills, *distractors(50, 1)):
        body = re.fullmatch(r"Rule, in the user's words: (.*?)\n\n.*\n\nExample request: (.*)\nRight answer:\n(.*)",
                            skill.body, re.DOTALL)
        assert body, skill.body
        rule, request, answer = body.groups()
        assert skill.body == extractive.body_for(rule, request, answer)
        assert request in skill.description
        if skill.origin == "extractive":
            assert skill.description == f"How this user wants it done. Use for requests like: {request}"


def test_tuning_and_held_out_share_no_rule_no_question_and_no_prompt(found: LabelledSet) -> None:
    tuning, held_out = found.tuning, found.held_out
    foreign = {query.text for query in held_out if query.kind == "foreign"}  # of rules on both sides, never tuned on
    assert not {q.skill for q in tuning if q.skill} & {q.skill for q in held_out if q.skill and q.text not in foreign}
    assert not {query.text for query in tuning} & {query.text for query in held_out}
    around = [{_start(query) for query in side if query.dress == "prompt"} for side in (tuning, held_out)]
    assert not around[0] & around[1]


def test_each_way_of_asking_is_farther_from_the_words_of_its_skill(found: LabelledSet) -> None:
    skills = {skill.name: set(words("\n".join(facets(skill)))) for skill in found.skills}
    shares = {
        kind: _mean([
            _mean([word in skills[query.skill] for word in words(query.text)])
            for query in found.held_out if query.skill and query.kind == kind and query.dress == "plain"
        ])
        for kind in ("near", "reworded", "far")
    }
    assert 0.6 > shares["near"] > shares["reworded"] > shares["far"]
    assert shares["reworded"] < 0.3


def test_a_seed_makes_the_same_set_and_another_another() -> None:
    assert labelled_set(3) == labelled_set(3)
    assert labelled_set(3) != labelled_set(4)
    assert distractors(40, 3) == distractors(90, 3)[:40]


def test_distractors_are_none_of_the_labelled_ones(found: LabelledSet) -> None:
    names = {skill.name for skill in found.skills}
    assert not names & {skill.name for skill in distractors(5_000, 1)}


def _start(query: Query) -> str:
    return query.text.split("\n")[0] if query.kind == "unrelated" and query.text[0] in "#<{" else query.text[-60:]


def _mean(values: list[bool] | list[float]) -> float:
    return sum(values) / len(values) if values else 0.0


def test_labels_say_what_a_query_is(found: LabelledSet) -> None:
    assert {query.kind for query in found.held_out} == {"near", "reworded", "far", "foreign", "unrelated", "neighbour"}
    assert {query.dress for query in found.held_out} == {"plain", "typos", "prompt"}
    assert all((query.skill is None) == (query.kind in ("unrelated", "neighbour")) for query in found.held_out)
    assert isinstance(found.skills[0], Skill)
