"""Recall, thresholds and silence, counted by hand on a few answers."""

from __future__ import annotations

from collections.abc import Sequence

from metaclaw.bench.retrieval.data import Query
from metaclaw.bench.retrieval.quality import Answered, abstention, answer_all, by_slice, recalls, threshold


def of(kind: str, score: float, place: int = 1) -> Answered:
    skill = None if kind in ("unrelated", "neighbour") else "right"
    return Answered(Query("a question", skill, kind), place if skill else 0, score)


def test_recall_counts_queries_with_a_skill_only() -> None:
    answered = [of("near", 0.9, 1), of("near", 0.9, 3), of("far", 0.9, 0), of("far", 0.9, 6), of("unrelated", 0.1)]
    assert {name: (arm.value, arm.n) for name, arm in recalls(answered).items()} == {
        "recall@1": (0.25, 4), "recall@3": (0.5, 4), "recall@6": (0.75, 4)
    }
    assert by_slice(answered)["far, plain"] == {"n": 2, "recall@1": 0.0, "recall@3": 0.0, "recall@6": 0.5}


def test_the_threshold_lies_between_what_it_tells_apart() -> None:
    tuning = [of("unrelated", s) for s in (0.1, 0.2, 0.25)] + [of("near", s) for s in (0.4, 0.5)] + [of("far", 0.05)]
    assert 0.25 < threshold(tuning) <= 0.4


def test_silence_is_right_on_unrelated_questions_and_wrong_on_others() -> None:
    answered = [of("unrelated", 0.1), of("unrelated", 0.6), of("near", 0.2), of("near", 0.9), of("far", 0.1),
                of("neighbour", 0.1), of("neighbour", 0.9)]
    found = {name: arm.value for name, arm in abstention(answered, 0.35).items()}
    assert found == {
        "abstention recall": 0.5, "abstention, neighbouring fields": 0.5, "wrongly silent, own words": 0.5,
        "abstention precision": 0.333333, "abstention precision, own words": 0.5,
    }
    assert "abstention precision" not in abstention(answered, 0.0)


def test_an_answer_is_the_place_of_the_right_skill_and_the_best_score() -> None:
    def method(query: str) -> Sequence[tuple[str, float]]:
        return [("other", 0.8), ("right", 0.4)] if query else []

    queries = [Query("asked", "right", "near"), Query("", None, "unrelated")]
    assert [(one.place, one.score) for one in answer_all(method, queries)] == [(2, 0.8), (0, 0.0)]
