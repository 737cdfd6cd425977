"""Which turn a later one follows on, and what it says of it."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaclaw.signals.failures import failure_in
from metaclaw.signals.sequel import Sequel, conversation_of, sequel
from metaclaw.types import Turn
from support import make_turn

SYSTEM = {"role": "system", "content": "Be brief."}


def user(text: str) -> dict[str, Any]:
    return {"role": "user", "content": text}


def assistant(text: str) -> dict[str, Any]:
    return {"role": "assistant", "content": text}


def turn(*messages: dict[str, Any], reply: str = "", **changes: Any) -> Turn:
    return make_turn(request=json.dumps({"messages": messages}).encode(), reply=reply, **changes)


CALL = {"role": "assistant", "content": None, "tool_calls": [
    {"id": "c1", "type": "function", "function": {"name": "run", "arguments": "{}"}}]}
RESULT = {"role": "tool", "tool_call_id": "c1", "content": "Exit code 1"}
ASKED = turn(SYSTEM, user("Build it."), reply="Built.")


def following(*messages: dict[str, Any], of: Turn = ASKED) -> Sequel:
    found = sequel(of, turn(*messages))
    assert found is not None
    return found


def test_the_users_next_words_follow_the_reply() -> None:
    found = following(SYSTEM, user("Build it."), assistant("Built."), user("No, the other one."))
    assert (found.said, found.results, found.regenerated) == ("No, the other one.", (), False)
    assert found.messages[0] == assistant("Built.")
    assert list(found.before) == [SYSTEM, user("Build it.")]


def test_a_tool_result_follows_without_any_words_of_the_user() -> None:
    found = following(SYSTEM, user("Build it."), CALL, RESULT, of=turn(SYSTEM, user("Build it.")))
    assert found.said == ""
    assert [(result.name, result.text) for result in found.results] == [("run", "Exit code 1")]


def test_only_what_comes_before_the_next_reply_counts() -> None:
    found = following(SYSTEM, user("Build it."), assistant("Built."), user("Thanks"), assistant("Welcome"), user("No!"))
    assert found.said == "Thanks"


def test_boilerplate_is_not_said_and_does_not_hide_what_stayed_the_same() -> None:
    asked = turn(SYSTEM, user("Build it.\n<system-reminder>noon</system-reminder>"), reply="Built.")
    later = user("Build it.\n<system-reminder>one</system-reminder>")
    found = following(SYSTEM, later, assistant("Built."), user("<system-reminder>x</system-reminder>\nNo."), of=asked)
    assert found.said == "No."


def test_a_shortened_history_is_followed_by_the_reply_in_it() -> None:
    asked = turn(SYSTEM, user("One"), assistant("1"), user("Two"), assistant("2"), user("Build it."), reply="Built.")
    found = following(SYSTEM, user("(summary)"), assistant("Built."), user("No."), of=asked)
    assert found.said == "No."


def test_a_client_that_sends_only_what_is_new_is_followed() -> None:
    assert following(SYSTEM, user("No."), of=turn(SYSTEM, user("Build it."))).said == "No."


@pytest.mark.parametrize("messages", [
    ({"role": "system", "content": "You write titles."}, user("Build it.")),  # a side conversation
    (SYSTEM, user("Something else"), assistant("Yes."), user("No.")),
])
def test_another_conversation_of_the_same_session_is_none_of_its_business(messages: tuple[dict[str, Any], ...]) -> None:
    assert sequel(ASKED, turn(*messages)) is None


def test_a_new_conversation_under_an_old_name_does_not_follow_a_long_one() -> None:
    long = turn(SYSTEM, user("One"), assistant("1"), user("Two"), reply="2")
    assert sequel(long, turn(SYSTEM, user("No."))) is None


@pytest.mark.parametrize("messages", [(SYSTEM, user("One")), (SYSTEM, user("One"), assistant("1"), user("Two"))])
@pytest.mark.parametrize(("seconds", "regenerated"), [(9.0, True), (1.0, False)])
def test_the_same_request_again_counts_once_its_reply_has_come(
    messages: tuple[dict[str, Any], ...], seconds: float, regenerated: bool
) -> None:
    first = turn(*messages, created_at=100.0, timings={"total_seconds": 5.0})
    found = sequel(first, turn(*messages, created_at=100.0 + seconds))
    assert found is not None
    assert (found.regenerated, found.said) == (regenerated, "")


@pytest.mark.parametrize("odd", [{"request": b"not JSON"}, {"dialect": "unheard-of"}])
def test_what_cannot_be_read_has_no_sequel(odd: dict[str, Any]) -> None:
    assert list(conversation_of(make_turn(**odd))) == []
    assert sequel(make_turn(**odd), ASKED) is None
    assert sequel(ASKED, make_turn(**odd)) is None


ANTHROPIC = {"model": "m", "max_tokens": 9, "messages": [
    user("Build it."),
    {"role": "assistant", "content": [{"type": "tool_use", "id": "t1", "name": "Bash", "input": {"command": "make"}}]},
    {"role": "user", "content": [
        {"type": "tool_result", "tool_use_id": "t1", "content": "Exit code 2\nno rule", "is_error": True}]},
]}
RESPONSES = {"model": "m", "input": [
    user("Build it."),
    {"type": "function_call", "call_id": "t1", "name": "Bash", "arguments": '{"command": "make"}'},
    {"type": "function_call_output", "call_id": "t1", "output": "Exit code: 2\nOutput:\nno rule"},
]}


@pytest.mark.parametrize(
    ("dialect", "body", "key"), [("messages", ANTHROPIC, "messages"), ("responses", RESPONSES, "input")]
)
def test_a_failed_call_is_seen_in_every_format(dialect: str, body: dict[str, Any], key: str) -> None:
    asked = make_turn(request=json.dumps({**body, key: body[key][:1]}).encode(), dialect=dialect)
    later = make_turn(request=json.dumps(body).encode(), dialect=dialect)
    found = sequel(asked, later)
    assert found is not None
    [result] = found.results
    assert (result.name, json.loads(result.arguments), found.said) == ("Bash", {"command": "make"}, "")
    assert "xit code" in failure_in(result)
