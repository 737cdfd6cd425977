"""What each detector says, with its reason and evidence; how often it is right, in tests/bench/test_signals.py."""

from __future__ import annotations

import json
import time
from typing import cast

import pytest

from metaclaw.signals import detectors
from metaclaw.signals.checks import bare, passes
from metaclaw.signals.combine import WEIGHTS
from metaclaw.signals.detectors import explicit_feedback, next_message, posted_checks
from metaclaw.signals.sequel import Sequel
from metaclaw.signals.tools import results_in
from metaclaw.types import Check, Message
from support import make_feedback, make_turn

FAILURE = "Exit code 2\nmake: *** No rule to make target 'all'."


def call(number: int, arguments: str = '{"command": "make"}') -> Message:
    function = {"name": "run", "arguments": arguments}
    called = {"role": "assistant", "tool_calls": [{"id": f"c{number}", "type": "function", "function": function}]}
    return cast(Message, called)


def came_back(number: int, text: str = FAILURE) -> Message:
    return cast(Message, {"role": "tool", "tool_call_id": f"c{number}", "content": text})


def followed(*messages: Message, before: tuple[Message, ...] = ()) -> Sequel:
    return Sequel(before=before, messages=messages, results=results_in(messages))


def test_a_correction_counts_against_the_reply_and_is_its_own_evidence() -> None:
    [found] = next_message(make_turn(), "No, the date comes first.")
    assert (found.source, found.value, found.evidence) == ("next_message", -0.8, "No, the date comes first.")
    assert found.reason == "the user corrected it in the next message: 'no'"


def test_praise_counts_for_it_and_the_next_task_for_nothing() -> None:
    assert [signal.value for signal in next_message(make_turn(), "Perfect, thanks!")] == [0.5]
    assert next_message(make_turn(), "Now write the tests.") == []


def test_no_after_a_question_of_the_reply_is_an_answer() -> None:
    assert next_message(make_turn(reply="Shall I delete it?"), "No, keep it.") == []


def test_words_sent_as_feedback_count_by_their_tone() -> None:
    turn = make_turn()
    found = explicit_feedback(turn, [make_feedback(turn, "We always put the date first.")])
    assert [(signal.value, signal.reason) for signal in found] == [(-0.8, "what the client said of it: 'we always'")]


def test_a_score_counts_as_it_is_whatever_the_text_says() -> None:
    turn = make_turn()
    items = [make_feedback(turn, "No, wrong", score=0.25), make_feedback(turn, "The sky is blue")]
    found = explicit_feedback(turn, items)
    assert [(signal.value, signal.evidence) for signal in found] == [(0.25, items[0].id)]
    assert [s.value for s in explicit_feedback(turn, [make_feedback(turn, score=0.0)])] == [0.0]


@pytest.mark.parametrize(("pattern", "value"), [(r"\d+\.md", 1.0), (r"\d+", -1.0), ("(", None)])
def test_a_posted_check_is_applied_to_the_whole_reply_and_an_unusable_one_abstains(
    pattern: str, value: float | None
) -> None:
    turn = make_turn(reply="```\n123.md\n```")
    assert [signal.value for signal in posted_checks(turn, [make_feedback(turn, pattern=pattern)])] == [value]
    assert posted_checks(turn, [make_feedback(turn, "text")]) == []


def test_a_failed_call_is_weak_evidence_with_the_results_own_words() -> None:
    [found] = detectors.tool_errors(make_turn(), followed(call(1), came_back(1)))
    assert (found.source, found.value, found.evidence) == ("tool_error", -0.4, "Exit code 2")
    assert found.reason == "its call of run failed"
    assert detectors.tool_errors(make_turn(), followed(call(1), came_back(1, "built"))) == []


def test_the_same_failing_call_weighs_more_each_time() -> None:
    now = followed(call(9), came_back(9))
    once: tuple[Message, ...] = ({"role": "user", "content": "Build it."}, call(1), came_back(1))
    twice = (*once, call(2), came_back(2))
    values = [
        [signal.value for signal in detectors.repeated_failures(make_turn(), followed(*now.messages, before=before))]
        for before in ((), once, twice)
    ]
    assert values == [[], [-0.4], [-1.0]]


def test_another_call_and_one_before_the_user_spoke_are_no_repetition() -> None:
    other = (call(1, '{"command": "make all"}'), came_back(1))
    long_ago: tuple[Message, ...] = (call(1), came_back(1), {"role": "user", "content": "Try once more."})
    for before in (other, long_ago):
        assert detectors.repeated_failures(make_turn(), followed(call(9), came_back(9), before=before)) == []


def test_a_repetition_that_works_is_none() -> None:
    found = followed(call(9), came_back(9, "built"), before=(call(1), came_back(1)))
    assert detectors.repeated_failures(make_turn(), found) == []


def test_the_same_request_again_is_told_of_the_turn_that_answered_it_last() -> None:
    turns = [make_turn("What is the weather?"), make_turn("List the open bills."), make_turn("List the open bills.")]
    [found] = detectors.asked_again("Please list the open bills.", turns)
    assert (found.turn_id, found.value) == (turns[1].id, -0.6)
    assert detectors.asked_again("List the paid bills.", turns) == []


def test_a_regenerated_request() -> None:
    assert [s.source for s in detectors.regenerated(make_turn(), Sequel(regenerated=True))] == ["regenerated"]
    assert detectors.regenerated(make_turn(), Sequel()) == []


@pytest.mark.parametrize(("messages", "abandoned"), [
    ((call(1), came_back(1)), True),
    ((call(1), came_back(1, "built")), False),
    ((call(1), came_back(1), call(2), came_back(2, "built")), False),
    ((call(1), came_back(1), {"role": "assistant", "content": "Fails."}, {"role": "user", "content": "Thanks"}), False),
    ((), False),
])
def test_a_session_that_ends_on_failed_calls_was_abandoned(messages: tuple[Message, ...], abandoned: bool) -> None:
    request = json.dumps({"messages": [{"role": "user", "content": "Build it."}, *messages]}).encode()
    assert bool(detectors.abandoned(make_turn(request=request))) is abandoned


def test_every_source_has_a_weight() -> None:
    sequel = Sequel(
        before=(call(1), came_back(1)), messages=(call(2), came_back(2)), said="No.",
        results=results_in([call(2), came_back(2)]), regenerated=True,
    )
    found = detectors.what_followed(make_turn(), sequel)
    assert {signal.source for signal in found} == {"next_message", "tool_error", "repeated_failure", "regenerated"}
    assert {signal.source for signal in found} <= set(WEIGHTS)


def test_a_pattern_that_never_ends_abstains_soon() -> None:
    began = time.monotonic()
    assert passes(Check(r"(a|aa)+$"), "a" * 200 + "b") is None
    assert time.monotonic() - began < 5


@pytest.mark.parametrize("reply", ["x.md", " x.md\n", "`x.md`", "```\nx.md\n```", "```text\nx.md```"])
def test_layout_is_not_content(reply: str) -> None:
    assert bare(reply) == "x.md"
