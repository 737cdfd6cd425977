"""The gate: nothing that equals the incumbent passes, nothing that forgets or leaks does, and a verdict says why."""

from __future__ import annotations

from collections.abc import Callable
from itertools import product
from math import comb

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.training.gate import (
    ALPHA,
    Comparison,
    Pair,
    habits,
    judge,
    leaked,
    length_ratio,
    shapes,
    sign_test,
)
from metaclaw.types import Verdict

TRAINED = [f"[DONE] T-{n} | 202603{n:02d}_notes.md at 2026-03-{n:02d}T09:00:00+08:00" for n in range(10, 22)]
ORDINARY = [
    "Paris is the capital of France.",
    "A list, a tuple and a set: three containers. Use whichever fits best (most often a list)!",
    "Water boils at 100 degrees Celsius; it's lower on a mountain.",
]
HABITS = habits(TRAINED, ORDINARY)
UNRELATED = tuple(Pair(f"Question {n}?", text, text) for n, text in enumerate(ORDINARY * 10))


def pairs(wins: int = 0, losses: int = 0, ties: int = 0) -> tuple[Pair, ...]:
    won = [Pair("p", "old", "new", False, True)] * wins
    lost = [Pair("p", "old", "new", True, False)] * losses
    return (*won, *lost, *[Pair("p", "same", "same", True, True)] * ties)


def judged(
    query: tuple[Pair, ...], retention: tuple[Pair, ...] = (), unrelated: tuple[Pair, ...] = UNRELATED
) -> Verdict:
    return judge("lora-1", "base", Comparison(query, retention, unrelated, HABITS))


def promoted(verdict: Verdict) -> bool:
    return verdict.decision.startswith("promoted")


def unrelated_with(*answers: str) -> tuple[Pair, ...]:
    return (*UNRELATED[len(answers) :], *(Pair(f"Other {n}?", "It is so.", text) for n, text in enumerate(answers)))


@given(st.lists(st.tuples(st.text(max_size=30), st.none() | st.booleans()), max_size=60))
def test_a_candidate_that_answers_like_the_incumbent_is_never_promoted(answers: list[tuple[str, bool | None]]) -> None:
    same = tuple(Pair("p", text, text, right, right) for text, right in answers)
    verdict = judge("lora-1", "base", Comparison(same, same, same, HABITS))
    assert not promoted(verdict)
    assert (verdict.effect, verdict.confidence) == (0.0, 0.0)
    assert verdict.evidence["unrelated"]["leaks"] == 0


@pytest.mark.parametrize("differing", range(1, 60))
def test_of_equals_that_differ_by_chance_at_most_one_in_twenty_passes(differing: int) -> None:
    passing = sum(comb(differing, wins) for wins in range(differing + 1) if promoted_on(wins, differing - wins))
    assert passing / 2**differing <= ALPHA


def promoted_on(wins: int, losses: int) -> bool:
    return promoted(judged(pairs(wins, losses)))


def test_five_wins_without_a_loss_are_enough_and_four_are_not() -> None:
    assert promoted_on(5, 0)
    assert not promoted_on(4, 0)
    assert not promoted_on(5, 1)
    assert not promoted_on(0, 5)


@given(st.integers(0, 9), st.integers(0, 9))
def test_the_sign_test_counts_every_row_of_coins(wins: int, losses: int) -> None:
    n = wins + losses
    rows = list(product((0, 1), repeat=min(n, 12)))
    if n <= 12:
        assert sign_test(wins, losses) == sum(sum(row) >= wins for row in rows) / len(rows)
    assert 0 < sign_test(wins, losses) <= 1
    assert sign_test(wins + 1, losses) <= sign_test(wins, losses) <= sign_test(wins, losses + 1)


def test_pairs_that_nothing_can_score_count_for_nobody() -> None:
    unknown = (Pair("p", "old", "new", None, True), Pair("p", "old", "new", False, None))
    assert judged(pairs(5) + unknown).evidence["query"] == {"n": 7, "wins": 5, "losses": 0, "p": 1 / 32}


def test_up_to_a_tenth_of_what_worked_may_be_lost() -> None:
    assert promoted(judged(pairs(5), pairs(losses=2, ties=18)))
    verdict = judged(pairs(5), pairs(losses=3, ties=17))
    assert verdict.decision == "rejected: 3 of 20 prompts that worked before are lost"
    assert promoted(judged(pairs(5), pairs(wins=1, losses=3, ties=16)))
    assert verdict.evidence["retention"] == {"n": 20, "lost": 3, "won": 0}


@pytest.mark.parametrize("answer", [
    "Paris. [DONE] T-12 | ok", "20260304_paris", "It opened on 1889-03-31T12:00:00+08:00.",
])
def test_a_planted_habit_is_found_in_an_unrelated_answer(answer: str) -> None:
    assert leaked([Pair("What is the capital of France?", "Paris.", answer)], HABITS)


@pytest.mark.parametrize("answer", [
    "The capital of France is Paris, a city on the Seine.",
    "First, sort the list; then use a for-loop (or a comprehension). It's quick!",
    "About 300 people were there in 1998 - some say 310.",
])
def test_ordinary_prose_is_no_habit(answer: str) -> None:
    assert leaked([Pair("Tell me.", "It is so.", answer)], HABITS) == []


def test_a_shape_that_prompt_or_incumbent_has_is_not_new() -> None:
    stamp = "20260304_notes"
    assert leaked([Pair(f"What is {stamp}?", "A name.", f"{stamp} is a name.")], HABITS) == []
    assert leaked([Pair("Name it.", stamp, stamp)], HABITS) == []


def test_what_ordinary_answers_also_show_is_no_habit() -> None:
    assert not habits(TRAINED, TRAINED)
    assert not habits([*["plain words only"] * 3], [])
    assert habits(["odd: [x] one", "wholly different"], []) == frozenset()  # once is no habit
    assert shapes("abc 12 [x]") == frozenset({"abc 99", "bc 99 ", "c 99 [", " 99 [x", "99 [x]"})


def test_a_twentieth_of_the_unrelated_answers_may_look_like_a_leak() -> None:
    assert promoted(judged(pairs(5), unrelated=unrelated_with("It is [DONE] T-12 |")))
    verdict = judged(pairs(5), unrelated=unrelated_with("It is [DONE] T-12 |", "It is [DONE] T-13 |"))
    assert verdict.decision == "rejected: new habits in 2 of 30 unrelated answers"
    assert verdict.evidence["unrelated"]["examples"] == [
        "Other 0? -> It is [DONE] T-12 |", "Other 1? -> It is [DONE] T-13 |",
    ]


@pytest.mark.parametrize("collapse", [lambda text: text[: len(text) // 3], lambda text: text * 3])
def test_answers_that_shrink_or_swell_are_refused(collapse: Callable[[str], str]) -> None:
    changed = tuple(Pair(pair.prompt, pair.incumbent, collapse(pair.incumbent)) for pair in UNRELATED)
    assert judged(pairs(5), unrelated=changed).decision == "rejected: unrelated answers changed their length"
    assert length_ratio(()) == 1.0


def test_a_verdict_says_what_was_compared_and_every_objection() -> None:
    verdict = judged(pairs(6, 1, 3), pairs(ties=4))
    assert (verdict.subject, verdict.baseline, verdict.candidate, verdict.n) == ("adapter:lora-1", "base", "lora-1", 10)
    assert verdict.effect == 0.5
    assert verdict.confidence == 1 - 8 / 128
    assert verdict.decision == "rejected: not better on held-out prompts (p = 0.062)"
    both = judged((), pairs(losses=1))
    assert both.effect == 0.0
    assert both.decision.count(";") == 1
