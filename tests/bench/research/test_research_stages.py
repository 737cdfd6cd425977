"""Topics, corpus and contracts: that the data is sound, and that each rule can be kept and broken."""

from __future__ import annotations

import ast
import copy
from collections import Counter
from typing import Any

import pytest

from metaclaw.bench.research.corpus import papers, search
from metaclaw.bench.research.stage import Stage
from metaclaw.bench.research.stages import BY_NAME, STAGES
from metaclaw.bench.research.study import Study, cited
from metaclaw.bench.research.topics import HELD_OUT, LEARNED_ON, ROLES, TOPICS, Topic

NAMES = (
    "topic", "decomposition", "search strategy", "collection", "screening", "extraction", "synthesis", "hypotheses",
    "design", "code", "resources", "run", "refine", "analysis", "decision", "outline", "draft", "review", "revision",
    "quality", "archive", "export", "citations",
)  # fmt: skip


def finished(topic: Topic) -> Study:
    """A study in which every stage gave its worked answer, up to a pivot."""
    study = Study(topic)
    program: dict[str, Any] = {}
    exec(topic.program, program)  # noqa: S102 - our own
    for stage in STAGES:
        if stage.name == "refine":
            study.rows = [program["measure"](seed) for seed in study.seeds]
        study.answers[stage.name] = stage.worked(study)
    return study


@pytest.fixture(scope="module")
def study() -> Study:
    return finished(TOPICS[0])


def test_there_are_the_23_stages_in_their_order() -> None:
    assert tuple(stage.name for stage in STAGES) == NAMES
    assert {stage.name: stage.back_to for stage in STAGES if stage.back_to} == {
        "screening": "collection", "design": "hypotheses", "quality": "revision",
    }  # fmt: skip


def test_half_of_the_topics_is_held_out_and_both_halves_have_a_wrong_claim() -> None:
    assert (len(LEARNED_ON), len(HELD_OUT)) == (6, 6)
    assert not set(LEARNED_ON) & set(HELD_OUT)
    for half in (LEARNED_ON, HELD_OUT):
        assert any(not topic.claim_holds for topic in half)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.slug)
def test_the_experiment_measures_what_the_topic_says_of_its_claim_for_any_seeds(topic: Topic) -> None:
    program: dict[str, Any] = {}
    exec(topic.program, program)  # noqa: S102 - our own
    for start in range(1, 60, 5):
        study = Study(topic, rows=[program["measure"](seed) for seed in range(start, start + 5)])
        assert study.candidate_is_better == topic.claim_holds
    assert program["measure"](7) == program["measure"](7)


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.slug)
def test_each_topic_has_one_retracted_one_foreign_and_one_old_paper(topic: Topic) -> None:
    found = papers(topic)
    odd = [sum(p.retracted for p in found), sum(not p.about for p in found), sum(p.year < 2015 for p in found)]
    assert odd == [1, 1, 1]
    assert len({p.key for p in found}) == len({p.percent for p in found}) == 9
    assert all(f"{p.percent} percent" in p.abstract for p in found)
    assert Counter(p.key for p in search(topic, [f"{topic.candidate} survey"])) == Counter(p.key for p in found)
    assert search(topic, [topic.candidate])[-1].about == "" or search(topic, ["vineyards"])[0].about == ""


@pytest.mark.parametrize("topic", TOPICS, ids=lambda topic: topic.slug)
@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_the_worked_answer_keeps_the_contract_and_the_schema_names_its_fields(topic: Topic, stage: Stage) -> None:
    study = finished(topic)
    answer = study.answers[stage.name]
    assert stage.broken(answer, study) == []
    assert set(stage.schema(study)["required"]) == set(answer)


BROKEN: dict[str, list[dict[str, Any]]] = {
    "topic": [{"title": "On it"}, {"question": "Which has the lower cost?"}, {"question": "The absolute error"}],
    "decomposition": [{"sub_questions": ["What?", "When does it fail?"]}, {"sub_questions": ["A?", "B?", "Where?"]}],
    "search strategy": [
        {"queries": ["one", "two words", "a survey"]}, {"queries": ["two words"] * 3}, {"since": 2014},
    ],
    "collection": [{"keys": "first five"}, {"keys": "with the old one"}, {"keys": "one twice"}],
    "screening": [{"decisions": "one less"}, {"decisions": "all kept"}, {"decisions": "another word"}],
    "extraction": [{"facts": "one less"}, {"facts": "a wrong number"}, {"facts": "another unit"}],
    "synthesis": [{"claims": "one claim"}, {"claims": "one paper"}, {"claims": "another start"}],
    "hypotheses": [{"statement": "It is good."}, {"metric": "speed"}, {"refuted_if": "it fails"}],
    "design": [{"conditions": "no ablation"}, {"seeds": [1, 2, 3]}, {"seeds": [5, 4, 3, 2, 1]}],
    "code": [{"code": "def other(seed): return {}"}, {"code": "def measure(:"}, {"code": "def measure(s): print(s)"}],
    "resources": [{"runs": 5}, {"seconds_per_run": 11}, {"memory_mb": 0}],
    "run": [{"seeds": [1, 2, 3, 4]}, {"label": "run-1"}],
    "refine": [{"because": "it is low"}, {"change": "more seeds"}],
    "analysis": [{"candidate_mean": 1.0}, {"better": "baseline"}, {"sentence": "It was lower."}],
    "decision": [{"decision": "pivot"}, {"decision": "refine"}, {"because": "it was lower"}],
    "outline": [{"sections": ["Introduction", "Results"]}],
    "draft": [
        {"introduction": "Nothing is known."}, {"introduction": "See [@nobody1999] and [@nothing2000]."},
        {"results": "It is better."}, {"limitations": "None."},
    ],
    "review": [{"points": "one point"}, {"points": "other numbers"}, {"points": "two major"}],
    "revision": [{"changes": "one change"}, {"changes": "another verb"}],
    "quality": [{"checks": "other names"}, {"marks": 5}, {"marks": 11}],
    "archive": [{"files": ["code.py", "results.json", "draft.md"]}],
    "export": [{"lines": ["title: x", "seeds: 5"]}, {"lines": ["title: x", "status: final", "seeds: 5"]}],
    "citations": [{"entries": "one less"}, {"entries": "another year"}],
}  # fmt: skip


def spoilt(stage: Stage, study: Study, how: dict[str, Any]) -> dict[str, Any]:
    """The worked answer with one field changed, as it stands or as its words say."""
    answer: dict[str, Any] = copy.deepcopy(dict(study.answers[stage.name]))
    (key, value), = how.items()
    rows = answer[key]
    match value:
        case "first five":
            value = rows[:5]
        case "with the old one":
            value = [*rows, *(p.key for p in papers(study.topic) if p.year < 2015)]
        case "one twice":
            value = [*rows, rows[0]]
        case "one less" | "one claim" | "one point" | "one change":
            value = rows[:1] if value in ("one claim", "one point", "one change") else rows[:-1]
        case "all kept":
            value = [{**row, "keep": True} for row in rows]
        case "another word":
            value = [{**rows[0], "reason": "fits well"}, *rows[1:]]
        case "a wrong number":
            value = [{**rows[0], "number": rows[0]["number"] + 1}, *rows[1:]]
        case "another unit":
            value = [{**rows[0], "unit": "%"}, *rows[1:]]
        case "one paper":
            value = [{**rows[0], "keys": rows[0]["keys"][:1] * 2}, *rows[1:]]
        case "another start":
            value = [{**rows[0], "text": "We find it."}, *rows[1:]]
        case "no ablation":
            value = [row for row in rows if row["role"] != "ablation"]
        case "other numbers":
            value = [{**row, "id": f"P{row['id']}"} for row in rows]
        case "two major":
            value = [{**row, "severity": "major"} for row in rows]
        case "another verb":
            value = [{**row, "change": "Did it."} for row in rows]
        case "other names":
            value = [{**row, "name": "style"} for row in rows]
        case "another year":
            value = [{**row, "year": row["year"] + 1} for row in rows]
    return {**answer, key: value}


@pytest.mark.parametrize(
    ("name", "how"), [pytest.param(name, how, id=f"{name}: {how}") for name in BROKEN for how in BROKEN[name]]
)
def test_each_way_of_breaking_a_contract_is_noticed(study: Study, name: str, how: dict[str, Any]) -> None:
    assert len(BY_NAME[name].broken(spoilt(BY_NAME[name], study, how), study)) >= 1


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_each_rule_is_broken_by_one_of_them(study: Study, stage: Stage) -> None:
    told = {says for how in BROKEN[stage.name] for says in stage.broken(spoilt(stage, study, how), study)}
    assert told == {rule.says for rule in stage.rules}


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
@pytest.mark.parametrize("answer", [{}, {"keys": 3}, {"sections": None}, {"code": 1, "title": [], "points": [{}]}])
def test_an_answer_that_is_no_answer_breaks_every_rule_and_raises_nothing(
    study: Study, stage: Stage, answer: dict[str, Any]
) -> None:
    assert stage.broken(answer, study) == [rule.says for rule in stage.rules]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_no_rule_names_a_topic(stage: Stage) -> None:
    own = {word for topic in TOPICS for word in (topic.slug, topic.candidate, topic.baseline)} - {"runs", "mean"}
    assert not [rule.says for rule in stage.rules if any(f" {word} " in rule.says for word in own)]


@pytest.mark.parametrize("stage", STAGES, ids=lambda stage: stage.name)
def test_the_task_does_not_tell_the_rules(study: Study, stage: Stage) -> None:
    """A rule's example must not stand in what the stage is asked: it is learned, not read."""
    examples = [part for rule in stage.rules for part in rule.says.split("`")[1::2] if len(part) > 12]
    assert not [one for one in examples if one in f"{stage.task} {stage.shown(study)}"]


def test_citations_are_found() -> None:
    assert cited("As [@kovac2019] and [@ueda2020, p. 3]", "[@kovac2019]") == {"kovac2019"}
    assert ROLES == ("candidate", "baseline", "ablation")
    assert all(ast.parse(topic.program) for topic in TOPICS)
