"""What a method finds: recall among the first so many, and whether it keeps silent where it should. Pure."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass

from metaclaw.bench.results import Arm, share
from metaclaw.bench.retrieval.data import Query
from metaclaw.bench.retrieval.methods import MOST, Method

FIRST = (1, 3, MOST)


@dataclass(frozen=True, slots=True)
class Answered:
    """`place` is that of the right skill, from 1; 0 where it is not among the six. `score` is the best one's."""

    query: Query
    place: int
    score: float


def answer_all(method: Method, queries: Iterable[Query]) -> list[Answered]:
    return [_answered(query, method(query.text)) for query in queries]


def threshold(tuning: Sequence[Answered]) -> float:
    """The score below which to abstain: what best tells unrelated questions from those in the user's own words.

    The middle of the scores that do best, by the share of the one kept out plus the share of the other let in.
    """
    inside = [one.score for one in tuning if one.query.kind == "near"]
    outside = [one.score for one in tuning if one.query.kind == "unrelated"]

    def told_apart(bar: float) -> float:
        return sum(score < bar for score in outside) / len(outside) + sum(s >= bar for s in inside) / len(inside)

    bars = sorted({round(one.score, 3) for one in tuning})
    best = max(map(told_apart, bars), default=0.0)
    good = [bar for bar in bars if told_apart(bar) >= best - 1e-9]
    return (good[0] + good[-1]) / 2


def recalls(answered: Sequence[Answered]) -> dict[str, Arm]:
    asked = [one for one in answered if one.query.skill]
    return {
        f"recall@{first}": share(f"the right skill among the first {first}", [0 < one.place <= first for one in asked])
        for first in FIRST
    }


def abstention(answered: Sequence[Answered], bar: float) -> dict[str, Arm]:
    """Precision and recall of keeping silent, where "neighbour" questions count on neither side."""
    silent = [one.query.kind for one in answered if one.score < bar and one.query.kind != "neighbour"]
    own_words = [kind == "unrelated" for kind in silent if kind in ("unrelated", "near")]
    found = {
        "abstention recall": share("silent, of unrelated questions", _silent(answered, bar, "unrelated")),
        "abstention, neighbouring fields": share(
            "silent, of questions on a field without a rule for them", _silent(answered, bar, "neighbour")
        ),
        "wrongly silent, own words": share(
            "silent, of questions in the user's own words", _silent(answered, bar, "near")
        ),
    }
    if silent:
        found["abstention precision"] = share(
            "unrelated, of all that were met with silence", [kind == "unrelated" for kind in silent]
        )
    if own_words:
        found["abstention precision, own words"] = share(
            "unrelated, of those met with silence that were unrelated or in the user's own words", own_words
        )
    return found


def by_slice(answered: Sequence[Answered]) -> dict[str, dict[str, float]]:
    """Recall by how far a query is from the skill's words, and by what it is dressed in."""
    found: dict[str, dict[str, float]] = {}
    for kind, dress in sorted({(one.query.kind, one.query.dress) for one in answered if one.query.skill}):
        places = [one.place for one in answered if (one.query.kind, one.query.dress) == (kind, dress)]
        found[f"{kind}, {dress}"] = {
            "n": len(places), **{f"recall@{f}": round(_mean(0 < place <= f for place in places), 4) for f in FIRST}
        }
    return found


def _answered(query: Query, ranking: Sequence[tuple[str, float]]) -> Answered:
    place = next((place for place, (name, _) in enumerate(ranking, 1) if name == query.skill), 0)
    return Answered(query, place, ranking[0][1] if ranking else 0.0)


def _silent(answered: Sequence[Answered], bar: float, kind: str) -> list[bool]:
    return [one.score < bar for one in answered if one.query.kind == kind]


def _mean(values: Iterable[bool]) -> float:
    listed = list(values)
    return sum(listed) / len(listed)
