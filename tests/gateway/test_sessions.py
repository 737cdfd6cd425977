"""Which conversation a request belongs to."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaclaw.dialects import chat
from metaclaw.gateway.sessions import MAX_ID, session_of


def of(*messages: dict[str, Any], **headers: str) -> str:
    request = chat.parse(json.dumps({"messages": messages}).encode())
    return session_of({name.replace("_", "-"): value for name, value in headers.items()}, chat, request)


SYSTEM, FIRST = {"role": "system", "content": "be brief"}, {"role": "user", "content": "one"}
LATER = [{"role": "assistant", "content": "r"}, {"role": "user", "content": "two"}]


def test_a_conversation_that_grows_stays_one_session() -> None:
    assert of(SYSTEM, FIRST) == of(SYSTEM, FIRST, *LATER)


def test_another_start_or_another_system_text_is_another_session() -> None:
    assert len({of(SYSTEM, FIRST), of(FIRST), of(SYSTEM, LATER[1]), of({**SYSTEM, "content": "x"}, FIRST)}) == 4


def test_the_border_between_system_and_user_counts() -> None:
    assert of({**SYSTEM, "content": "a"}, {**FIRST, "content": "bc"}) != of(
        {**SYSTEM, "content": "ab"}, {**FIRST, "content": "c"}
    )


def test_the_clients_own_id_goes_first_and_is_bounded() -> None:
    assert of(FIRST, x_session_id=" mine ") == "mine"
    assert len(of(FIRST, x_session_id="x" * 1000)) == MAX_ID


def test_what_utf8_cannot_hold_makes_no_trouble() -> None:
    assert of({"role": "user", "content": "\ud83d"}).startswith("prefix-")
    of(FIRST, x_session_id="caf\udce9").encode()


@pytest.mark.parametrize(
    "header", ["x_session_id", "x_claude_code_session_id", "session_id", "thread_id", "x_session_affinity"]
)
def test_a_clients_header_names_the_session(header: str) -> None:
    assert of(FIRST, **{header: "mine"}) == "mine"


@pytest.mark.parametrize(
    "extra", [{"session_id": "mine"}, {"prompt_cache_key": "mine"}, {"metadata": {"user_id": "mine"}}]
)
def test_a_field_of_the_body_names_the_session(extra: dict[str, Any]) -> None:
    request = chat.parse(json.dumps({"messages": [FIRST], **extra}).encode())
    assert session_of({}, chat, request) == "mine"
    assert session_of({"x-session-id": "header"}, chat, request) == "header"


@pytest.mark.parametrize("extra", [{"session_id": 7}, {"prompt_cache_key": None}, {"metadata": []}, {"metadata": {}}])
def test_a_field_of_another_type_names_nothing(extra: dict[str, Any]) -> None:
    request = chat.parse(json.dumps({"messages": [FIRST], **extra}).encode())
    assert session_of({}, chat, request) == of(FIRST)


def test_the_paths_tag_counts_where_the_client_says_nothing() -> None:
    request = chat.parse(json.dumps({"messages": [FIRST]}).encode())
    assert session_of({}, chat, request, "agent-7") == "agent-7"
    assert session_of({"x-session-id": "mine"}, chat, request, "agent-7") == "mine"


def test_blocks_that_agents_change_each_turn_do_not_count() -> None:
    def said(note: str) -> dict[str, Any]:
        return {"role": "user", "content": f"<system-reminder>{note}</system-reminder>one"}

    assert of(SYSTEM, said("turn 1")) == of(SYSTEM, said("turn 2"), *LATER)
    assert of(SYSTEM, said("turn 1")) != of(SYSTEM, {**said("turn 1"), "content": "two"})
