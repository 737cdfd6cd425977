"""The paired replay: the failed request with the skill and without it, and what each pair of results means."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaclaw.evolve.failure import Failure
from metaclaw.evolve.verify import is_right, replay_body, verify
from metaclaw.types import Check, Verdict
from support import ScriptedModel, has_skill, make_skill, make_turn, request_bytes

RIGHT, WRONG = "20260304_notes.md", "notes.md"
CHECK = Check(r"\d{8}_\w+\.md")
SKILL = make_skill(version=3)


async def judged(model: ScriptedModel, **changes: Any) -> Verdict:
    verdict = await verify(Failure(make_turn(), "", CHECK), SKILL, model, 800)
    assert verdict is not None
    return verdict


@pytest.mark.parametrize(("without", "with_skill", "effect", "decision"), [
    (WRONG, RIGHT, 1.0, "admitted: mends the failure"),
    (RIGHT, RIGHT, 0.0, "inconclusive: right either way"),
    (WRONG, WRONG, 0.0, "rejected: does not mend the failure"),
    (RIGHT, WRONG, -1.0, "rejected: breaks what was right"),
])
async def test_the_pair_decides(without: str, with_skill: str, effect: float, decision: str) -> None:
    verdict = await judged(ScriptedModel(without, with_skill))
    assert (verdict.subject, verdict.n, verdict.effect, verdict.decision) == ("skill:file-names@3", 1, effect, decision)
    assert verdict.confidence == (0.5 if effect > 0 else 0.0)
    assert verdict.evidence["without"] == {"reply": without, "passed": without == RIGHT}
    assert verdict.evidence["with"] == {"reply": with_skill, "passed": with_skill == RIGHT}


async def test_it_asks_twice_and_only_one_of_the_two_holds_the_skill() -> None:
    model = ScriptedModel(WRONG, RIGHT)
    await judged(model)
    assert [has_skill(body["messages"]) for body in model.asked] == [False, True]
    assert all(body["temperature"] == 0 and body["stream"] is False for body in model.asked)


async def test_what_nothing_can_score_is_not_asked() -> None:
    model = ScriptedModel(WRONG, RIGHT)
    assert await verify(Failure(make_turn(), "Please put the date first."), SKILL, model, 800) is None
    assert model.asked == []


def test_the_users_answer_counts_where_there_is_no_check() -> None:
    failure = Failure(make_turn(), f"It should have been `{RIGHT}`.")
    assert is_right(failure, f"Sure:\n{RIGHT}")
    assert not is_right(failure, WRONG)
    assert not is_right(Failure(failure.turn, failure.correction, CHECK), f"Sure:\n{RIGHT}")  # a check is stricter
    assert not is_right(Failure(failure.turn, failure.correction, Check("(")), RIGHT)  # an unusable one never passes


def test_a_replay_is_the_request_as_it_was_sent_but_not_streamed() -> None:
    sent = request_bytes("Hi", stream=True, stream_options={"include_usage": True}, temperature=1, seed=7)
    body = replay_body(Failure(make_turn(request=sent), ""), "")
    assert body == json.loads(request_bytes("Hi")) | {"stream": False, "temperature": 0, "seed": 7, "max_tokens": 512}


def test_a_request_of_another_format_is_replayed_as_a_chat_completion() -> None:
    said = [{"role": "user", "content": [{"type": "text", "text": "Hi"}]}]
    sent = {"model": "m", "max_tokens": 9, "system": "S", "stream": True, "messages": said}
    body = replay_body(Failure(make_turn(request=json.dumps(sent).encode(), dialect="messages"), ""), "NEW")
    assert body == {
        "model": "m", "max_tokens": 9, "stream": False, "temperature": 0,
        "messages": [{"role": "system", "content": "S\n\nNEW"}, {"role": "user", "content": "Hi"}],
    }


@pytest.mark.parametrize("field", ["max_tokens", "max_completion_tokens"])
def test_a_clients_own_limit_is_the_only_one(field: str) -> None:
    body = replay_body(Failure(make_turn(request=request_bytes("Hi", **{field: 9})), ""), "")
    assert {key: value for key, value in body.items() if key.startswith("max_")} == {field: 9}
