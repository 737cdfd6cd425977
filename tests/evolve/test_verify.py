"""The paired replays: what each run of results means, when asking stops, and how often chance gets in."""

from __future__ import annotations

import json
import random
from collections.abc import Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.evolve.failure import Failure
from metaclaw.evolve.unrelated import BUILT_IN
from metaclaw.evolve.verify import (
    DECISIVE,
    MOST_PAIRS,
    MOST_SECONDS,
    Comparison,
    Pair,
    Replays,
    e_value,
    replay_body,
    verdict_of,
    why_better,
)
from metaclaw.types import Check
from support import ScriptedModel, has_skill, make_skill, make_turn, request_bytes

RIGHT, WRONG = "20260304_notes.md", "notes.md"
CHECK = Check(r"\d{8}_\w+\.md")
SKILL = make_skill(version=3)
FAILURE = Failure(make_turn(), "", CHECK)


def replays(model: Any, *cases: Failure, **changes: Any) -> Replays:
    return Replays(cases or (FAILURE,), changes.pop("probes", ()), model, 800, **changes)


async def compared(model: Any, *cases: Failure, **changes: Any) -> Comparison:
    found = await replays(model, *cases, **changes).compare(SKILL)
    assert found is not None
    return found


class Lottery:
    """Right with a chance of its own on each side, whatever is asked."""

    def __init__(self, without: float, with_skill: float, seed: int = 1) -> None:
        self.chances, self.random = (without, with_skill), random.Random(seed)

    async def __call__(self, body: dict[str, Any]) -> str:
        return RIGHT if self.random.random() < self.chances[has_skill(body["messages"])] else WRONG


async def test_a_skill_that_helps_now_and_then_is_not_rejected() -> None:
    """A weak model heeds a right rule in three cases of seven, and knows none of them by itself."""
    with_skill = iter([WRONG, RIGHT, WRONG, RIGHT, WRONG, RIGHT, WRONG])

    async def model(body: dict[str, Any]) -> str:
        return next(with_skill, WRONG) if has_skill(body["messages"]) else WRONG

    found = await compared(model)
    assert sum(pair.gain for pair in found.pairs) > 0
    assert found.decision == "inconclusive: too little evidence"


@pytest.mark.parametrize(("without", "with_skill", "n", "effect", "decision"), [
    (WRONG, RIGHT, 5, 1.0, "admitted: mends the failure"),
    (RIGHT, RIGHT, 4, 0.0, "inconclusive: right either way"),
    (WRONG, WRONG, 2, 0.0, "rejected: does not mend the failure"),
    (RIGHT, WRONG, 1, -1.0, "rejected: breaks what was right"),
])
async def test_pairs_are_asked_for_until_they_decide_or_cannot_any_more(
    without: str, with_skill: str, n: int, effect: float, decision: str
) -> None:
    found = await compared(ScriptedModel(without, with_skill))
    verdict = verdict_of(SKILL, found)
    assert (verdict.subject, verdict.n, verdict.effect, verdict.decision) == ("skill:file-names@3", n, effect, decision)
    assert verdict.evidence["pairs"][0] == {
        "turn": FAILURE.turn.id,
        "without": {"reply": without, "passed": without == RIGHT},
        "with": {"reply": with_skill, "passed": with_skill == RIGHT},
    }
    assert verdict.confidence == pytest.approx(1 - verdict.evidence["p_value"])
    assert (verdict.evidence["e_value"] >= DECISIVE) == decision.startswith("admitted")


async def test_only_one_of_each_two_holds_the_skill_and_no_two_need_be_the_same_draw() -> None:
    model = ScriptedModel(WRONG, RIGHT)
    sent = Failure(make_turn(request=request_bytes("Hi", temperature=0, seed=7)), "", CHECK)
    await compared(model, sent)
    assert [has_skill(body["messages"]) for body in model.asked] == [False, True] * 5
    assert all(body["temperature"] > 0 and "seed" not in body and body["stream"] is False for body in model.asked)


async def test_what_was_asked_without_a_skill_serves_the_next_candidate_too() -> None:
    model = ScriptedModel(WRONG, RIGHT)
    asked = replays(model)
    await asked.compare(SKILL)
    await asked.compare(make_skill("another"))
    assert [has_skill(body["messages"]) for body in model.asked].count(False) == 5


async def test_the_cases_take_turns() -> None:
    others = [Failure(make_turn(f"Name the notes of day {day}."), "", CHECK) for day in range(2)]
    found = await compared(ScriptedModel(WRONG, RIGHT), FAILURE, *others)
    names = [FAILURE.turn.id, *(other.turn.id for other in others)]
    assert [pair.turn_id for pair in found.pairs] == [*names, *names[:2]]


@pytest.mark.parametrize("case", [
    Failure(make_turn(), "Please put the date first."),
    Failure(make_turn(request=request_bytes("x" * 100_001)), "", CHECK),
])
async def test_what_nothing_can_score_or_costs_too_much_is_not_asked(case: Failure) -> None:
    model = ScriptedModel(WRONG, RIGHT)
    assert await replays(model, case).compare(SKILL) is None
    assert model.asked == []


async def test_when_the_time_is_up_the_evidence_is_what_there_is() -> None:
    ticks = iter([0.0, *[MOST_SECONDS * share for share in (0.3, 0.6, 1.0)]])
    found = await compared(ScriptedModel(WRONG, RIGHT), now=lambda: next(ticks))
    assert (len(found.pairs), found.decision) == (3, "inconclusive: too little evidence")


# --- error control ---


async def admissions(without: float, with_skill: float, n: int) -> float:
    return sum([(await compared(Lottery(without, with_skill, seed))).admitted for seed in range(n)]) / n


@pytest.mark.parametrize("chance", [0.1, 0.3, 0.5, 0.8])
async def test_a_skill_without_effect_gets_in_in_at_most_one_case_of_twenty(chance: float) -> None:
    assert await admissions(chance, chance, 1_000) <= 0.05


async def test_a_skill_that_helps_gets_in() -> None:
    assert await admissions(0.0, 1.0, 20) == 1
    assert await admissions(0.05, 0.9, 400) >= 0.85


@given(st.lists(st.sampled_from([-1, 0, 1]), max_size=MOST_PAIRS))
def test_the_bets_are_fair(gains: Sequence[int]) -> None:
    up, down = e_value([*gains, 1]), e_value([*gains, -1])
    assert e_value(gains) == pytest.approx((up + down) / 2)
    assert e_value(gains) >= 0


# --- unrelated requests ---


class Spilling:
    """Knows the built-in answers, and nothing else once it has a skill."""

    def __init__(self, spoiled: int) -> None:
        self.spoiled = [probe.asked for probe in BUILT_IN[:spoiled]]

    async def __call__(self, body: dict[str, Any]) -> str:
        asked, helped = body["messages"][-1]["content"], has_skill(body["messages"])
        answers = dict(zip((probe.asked for probe in BUILT_IN), ("13", "Tokyo", "Wednesday", "dry"), strict=True))
        if asked in answers and not (helped and asked in self.spoiled):
            return answers[asked]
        return RIGHT if helped else WRONG


@pytest.mark.parametrize(("spoiled", "decision"), [
    (0, "admitted: mends the failure"), (1, "admitted: mends the failure"),
    (2, "rejected: spills into unrelated requests"),
])
async def test_a_skill_that_shows_where_it_has_no_business_is_rejected(spoiled: int, decision: str) -> None:
    found = await compared(Spilling(spoiled), probes=BUILT_IN)
    assert found.decision == decision
    harmed = verdict_of(SKILL, found).evidence["unrelated"]
    assert (harmed["n"], len(harmed["harmed"])) == (len(BUILT_IN), spoiled)


async def test_a_probe_that_fails_by_itself_is_not_asked_with_the_skill() -> None:
    model = ScriptedModel(WRONG, RIGHT)
    found = await compared(model, probes=BUILT_IN)
    assert (found.probed, found.spilled) == (len(BUILT_IN), ())
    asked = [body for body in model.asked if body["messages"][-1]["content"] in {probe.asked for probe in BUILT_IN}]
    assert [has_skill(body["messages"]) for body in asked] == [False] * len(BUILT_IN)


# --- which of two ---


def run_of(passed: str, spread: bool = True) -> Comparison:
    """Of pairs that fail without; '1' passes with."""
    pairs = [Pair(f"t{n % 2 if spread else 0}", "", "", (False, mark == "1")) for n, mark in enumerate(passed)]
    return Comparison(tuple(pairs))


@pytest.mark.parametrize(("new", "old", "tokens", "better"), [
    ("11111", "11011", (50, 50), True), ("11111", "11111", (40, 50), True), ("11111", "11111", (50, 50), False),
    ("110111", "11111", (10, 50), False), ("1111", "00000", (10, 50), False),
])
def test_more_passes_or_as_many_with_fewer_tokens_is_better(
    new: str, old: str, tokens: tuple[int, int], better: bool
) -> None:
    assert bool(why_better(run_of(new), run_of(old), *tokens)) == better


def test_on_one_request_alone_nothing_is_replaced() -> None:
    assert why_better(run_of("11111", spread=False), run_of("11011", spread=False), 10, 50) == ""


# --- the request ---


def test_a_replay_is_the_request_as_it_was_sent_but_not_streamed() -> None:
    sent = request_bytes("Hi", stream=True, stream_options={"include_usage": True}, temperature=1, seed=7, n=3)
    body = replay_body(Failure(make_turn(request=sent), ""), "")
    assert body == json.loads(request_bytes("Hi")) | {"stream": False, "temperature": 1, "max_tokens": 512}


def test_a_request_of_another_format_is_replayed_as_a_chat_completion() -> None:
    said = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    sent = {"model": "m", "max_tokens": 9, "system": "S", "stream": True, "messages": said}
    body = replay_body(Failure(make_turn(request=json.dumps(sent).encode(), dialect="messages"), ""), "NEW")
    assert body == {
        "model": "m", "max_tokens": 9, "stream": False,
        "messages": [{"role": "system", "content": "S\n\nNEW"}, {"role": "user", "content": "Hi"}],
    }


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_clients_own_limit_is_the_only_one(field: str) -> None:
    body = replay_body(Failure(make_turn(request=request_bytes("Hi", **{field: 9})), ""), "")
    assert {key: value for key, value in body.items() if key.startswith("max_")} == {field: 9}
