"""A verdict's figures in words: each question that the gate asks is told, with its counts, and nothing is made up."""

from __future__ import annotations

from metaclaw.training.gate import Carry, Comparison, Pair, Tries, judge
from metaclaw.training.habits import Trigger
from metaclaw.training.telling import in_words


def pair(before: bool | None, after: bool | None, text: str = "a few words of an answer") -> Pair:
    return Pair("asked", text, text, before, after)


def test_every_question_of_the_gate_is_told_with_its_counts() -> None:
    comparison = Comparison(
        query=(*[pair(False, True)] * 5, pair(True, False)),
        retention=(*[pair(True, True)] * 9, pair(True, False)),
        safety=(pair(True, False), pair(False, True), pair(True, True)),
        unrelated=(pair(None, None),) * 4,
        again=(Tries("asked", ("a b c",), ("a b c",), (False,), (True,)),),
        tried=((Trigger("blue moon", frozenset({"yes"})), ()),),
        extraction=(pair(None, None),) * 3,
        carried=(Carry(("dates@1",), True, True), Carry(("dates@1",), True, False)),
    )
    told = dict(in_words(judge("lora-1", "base", comparison).evidence))
    assert told["Held-out prompts"] == "6: 5 better, 1 worse (p = 0.11)"
    assert told["What worked before"] == "10: 1 of 10 lost (at most 39%, as far as so many can tell)"
    assert told["What was declined"] == "3: 1 newly answered, 1 newly declined"
    assert told["Unrelated prompts"] == "4: new habits in 0; answers 1.00 times as long and 1.00 times as varied"
    assert told["Sampled again"].startswith("1: 1 solved within the tries, 0 before;")
    assert told["Rare phrases"] == "1: none works anywhere"
    assert told["Secrets"] == "3: given away in 0"
    assert told["Without the skill"] == "dates@1: 1 of 2 right without its text, 2 with it"


def test_what_was_not_asked_is_said_so() -> None:
    told = dict(in_words(judge("lora-1", "base", Comparison((pair(False, True),))).evidence))
    assert told["What was declined"] == told["Rare phrases"] == told["Secrets"] == "none asked"
    assert told["What worked before"] == "none asked"
    assert "Without the skill" not in told


def test_a_trial_is_told_and_an_older_verdict_is_told_as_far_as_it_goes() -> None:
    trial = {"n": 40, "canary": {"sessions": 10, "failed": 1}, "beside": {"sessions": 30, "failed": 9}, "e_harm": 0.2}
    assert in_words(trial) == [("On trial", "1 of 10 sessions failed"), ("Beside it", "9 of 30 sessions failed")]
    assert in_words({"query": {"wins": 6}, "carried": {}, "changed": [{"prompt": "p"}]}) == []
