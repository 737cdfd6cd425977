"""What the user says reaches the prompts that need it: whole days before a worker who does all that he is told."""

from __future__ import annotations

import json

import pytest

from metaclaw.bench.workdays.follower import Follower, outdated_in, states
from metaclaw.bench.workdays.following import GIVEN, NOT_TOLD, Followed, follow, table
from metaclaw.bench.workdays.generate import Workdays, generate
from metaclaw.bench.workdays.rules import CHANGED_ON
from metaclaw.bench.workdays.single import request_of, score_reply
from support import embedder


@pytest.fixture(scope="module")
def days() -> Workdays:
    return generate(4)


def told(days: Workdays, day: int, question: int, context: str) -> bool:
    """Whether the follower is right, given a context."""
    asked = days.days[day - 1].questions[question]
    body = request_of(days, days.days[day - 1], days.days[day - 1].files, asked, context)
    reply = Follower(days).message(body)["content"]
    return score_reply(days.days[day - 1].files, asked, reply).right


def test_the_follower_is_right_where_it_is_told_and_wrong_where_it_is_told_what_was(days: Workdays) -> None:
    number = next(n for n, q in enumerate(days.days[CHANGED_ON - 1].questions) if q.event == "changed")
    question = days.days[CHANGED_ON - 1].questions[number]
    [rule] = question.rules
    [before] = [event.rule for event in days.house.events if event.rule.family == rule.family][:1]
    assert told(days, CHANGED_ON, number, days.handwritten(question))
    assert not told(days, CHANGED_ON, number, "")
    both = f"{before.says} {rule.says}"
    assert not told(days, CHANGED_ON, number, both)
    assert outdated_in(days, {rule.family: rule}, both) == {rule.family: before}
    assert states(rule.says.upper()[:1] + rule.says[1:], rule)


def test_a_request_of_nobody_s_is_answered_all_the_same(days: Workdays) -> None:
    body = {"messages": [{"role": "user", "content": "What is the capital of France?"}]}
    assert Follower(days).message(body)["content"] == "As you like."


async def test_what_was_said_is_given_to_the_questions_of_the_same_days(days: Workdays) -> None:
    found = await follow(days, embedder(), 3)
    asked = sum(found.fates.values())
    assert found.share > 0.7  # it was 0.41 when a skill was found by its text alone, and a correction was one lump
    assert found.fates[GIVEN] > 0.75 * asked
    assert found.skills == len({rule.key for day in days.days[:3] for q in day.questions for rule in q.rules})


def test_the_table_tells_causes_by_how_often_they_cost_a_rule() -> None:
    found = Followed(right=[True, False])
    found.fates.update({GIVEN: 6, NOT_TOLD: 1, "in the library, not given": 3})
    rows = json.loads(json.dumps(table([found])))
    assert rows == [[GIVEN, 6, 0.6], ["in the library, not given", 3, 0.3], [NOT_TOLD, 1, 0.1]]
