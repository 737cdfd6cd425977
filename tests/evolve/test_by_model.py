"""A model's proposal: what it is told, and what of its answer may become a skill."""

from __future__ import annotations

import json

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.evolve.by_model import FIELDS, SCHEMA, propose, read_proposal, request_body
from metaclaw.evolve.failure import Failure
from metaclaw.evolve.screen import objections
from metaclaw.journal.redact import Redactor
from support import ScriptedModel, make_turn

FAILURE = Failure(make_turn("Name the notes.", "notes.md"), "Put the date first.")
ANSWER = {
    "rule": "A file name starts with the date.", "name": "File names!", "use_for": "File names.", "not_for": "Folders.",
    "example_request": "Name the plan of 5 March 2026.", "example_answer": "20260305_plan.md",
}


def test_the_model_is_told_the_case_and_asked_for_json() -> None:
    body = request_body(FAILURE, [])
    case = body["messages"][-1]["content"]
    assert case == "Request: Name the notes.\nFailed answer: notes.md\nThe user said: Put the date first."
    assert (body["model"], body["temperature"]) == ("m", 0)
    assert body["response_format"]["json_schema"]["schema"] == SCHEMA
    assert SCHEMA["required"][0] == "rule"  # stated before the example is written


def test_it_is_told_what_did_not_help_and_when_nothing_was_said() -> None:
    case = request_body(Failure(FAILURE.turn, ""), ["Rule one.", "Rule two."])["messages"][-1]["content"]
    assert case.endswith(
        "The user said: nothing, but the answer was wrong\n"
        "These rules were tried and did not help:\n- Rule one.\n- Rule two."
    )


async def test_its_answer_becomes_a_skill() -> None:
    model = ScriptedModel("", "", json.dumps(ANSWER))
    skill = await propose(FAILURE, [], model)
    assert skill is not None
    assert (skill.name, skill.origin, model.proposals) == ("file-names", "model", 1)
    assert skill.description == "File names. Not for: Folders. Like: Name the notes."
    assert "Rule, in the user's words: A file name starts with the date." in skill.body
    assert skill.body.endswith("Right answer:\n20260305_plan.md")


@pytest.mark.parametrize("reply", [
    "", "no idea", "[]", "null", json.dumps({key: ANSWER[key] for key in FIELDS[1:]}),
    json.dumps(ANSWER | {"rule": 7}), json.dumps(ANSWER)[:-5], json.dumps(ANSWER | {"example_answer": " notes.md\n"}),
])
def test_an_answer_that_cannot_be_used_is_none(reply: str) -> None:
    assert read_proposal(reply, FAILURE) is None


@given(st.fixed_dictionaries({field: st.text(max_size=600) for field in FIELDS}))
def test_whatever_fits_the_schema_may_be_written(fields: dict[str, str]) -> None:
    skill = read_proposal(json.dumps(fields), FAILURE)
    if skill is not None:
        assert not [reason for reason in objections(skill, Redactor()) if "must" in reason]
