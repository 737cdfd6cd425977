"""Which conversation a request belongs to, and who in it speaks. `clients.json` holds what real clients send."""

from __future__ import annotations

import json
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from multidict import CIMultiDict

from metaclaw.dialects import chat
from metaclaw.dialects.translation import DIALECTS
from metaclaw.gateway.sessions import MAX_ID, Recognised, recognise
from metaclaw.types import TurnKind

CLIENTS = json.loads(Path(__file__).with_name("clients.json").read_text(encoding="utf-8"))
SYSTEM, FIRST = {"role": "system", "content": "be brief"}, {"role": "user", "content": "one"}
BLOCK = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nmessage_id=1\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
LATER = [{"role": "assistant", "content": "r"}, {"role": "user", "content": "two"}]


def seen(name: str, headers: Mapping[str, str], body: Mapping[str, Any], tag: str = "") -> Recognised:
    dialect = DIALECTS[name]
    return recognise(CIMultiDict(headers), dialect, dialect.parse(json.dumps(body).encode()), tag)


def of(*messages: dict[str, Any], **headers: str) -> Recognised:
    return seen("chat", {name.replace("_", "-"): value for name, value in headers.items()}, {"messages": messages})


def each_request() -> Iterator[Any]:
    for group in CLIENTS:
        for number, request in enumerate(group["requests"]):
            yield pytest.param(group["dialect"], request, id=f"{group['client'][:30]}-{number}")


@pytest.mark.parametrize(("dialect", "sent"), list(each_request()))
def test_what_a_client_sends_is_recognised(dialect: str, sent: dict[str, Any]) -> None:
    got = seen(dialect, sent["headers"], sent["body"])
    assert (got.session, got.side) == (sent["session"], sent["side"])
    assert got.kind is (TurnKind.SIDE if sent["side"] else TurnKind.MAIN)
    assert bool(got.prefix) is not bool(got.session)
    assert got.trace == (sent.get("trace", "") if not got.session else "")
    if not got.agent.startswith("prefix-"):
        assert got.agent == sent["agent"]


@pytest.mark.parametrize("group", [pytest.param(group, id=group["client"][:40]) for group in CLIENTS])
def test_one_beginning_one_conversation_and_no_other(group: dict[str, Any]) -> None:
    """Labels in the file that are alike stand for one conversation, others for others, also without any id."""
    found: dict[str, set[str]] = {}
    for sent in group["requests"]:
        got = seen(group["dialect"], sent["headers"], sent["body"])
        if "prefix" in sent:
            anonymous = {name: value for name, value in sent["body"].items() if name != "metadata"}
            found.setdefault(sent["prefix"], set()).add(seen(group["dialect"], {}, anonymous).prefix)
        elif got.agent.startswith("prefix-"):
            found.setdefault(sent["agent"], set()).add(got.agent)
    assert all(len(names) == 1 for names in found.values()), found
    assert len(set().union(*found.values())) == len(found)


def test_a_conversation_that_grows_stays_one_session() -> None:
    assert of(SYSTEM, FIRST).prefix == of(SYSTEM, FIRST, *LATER).prefix != ""


def test_another_start_or_another_system_text_is_another_session() -> None:
    begun = {of(SYSTEM, FIRST), of(FIRST), of(SYSTEM, LATER[1]), of({**SYSTEM, "content": "x"}, FIRST)}
    assert len({got.prefix for got in begun}) == 4


def test_the_border_between_system_and_user_counts() -> None:
    moved = of({**SYSTEM, "content": "ab"}, {**FIRST, "content": "c"})
    assert of({**SYSTEM, "content": "a"}, {**FIRST, "content": "bc"}).prefix != moved.prefix


def test_what_agents_keep_up_to_date_in_the_system_text_does_not_count() -> None:
    def system(now: str, branch: str) -> dict[str, Any]:
        return {"role": "system", "content": f"You help. It is {now}. " + "x" * 200 + f" On branch {branch}."}

    assert of(system("10:15", "main"), FIRST).prefix == of(system("11:03", "fix"), FIRST, *LATER).prefix


@given(
    st.lists(st.sampled_from(["assistant", "user", "tool"]), max_size=6),
    st.lists(st.integers(0, 8), max_size=3),
    st.sampled_from(["", "[Tue 2026-11-24 10:15 UTC] "]),
    st.booleans(),
)
def test_whatever_follows_and_wherever_the_internal_block_stands_the_session_stays(
    roles: list[str], places: list[int], stamp: str, cached: bool
) -> None:
    said = stamp + FIRST["content"]
    parts = [{"type": "text", "text": said, "cache_control": {"type": "ephemeral"}}]
    messages = [{"role": "user", "content": parts if cached else said}]
    messages += [{"role": role, "content": f"later {number}"} for number, role in enumerate(roles)]
    for place in places:
        messages.insert(place, {"role": "user", "content": BLOCK})
    assert of(SYSTEM, *messages).prefix == of(SYSTEM, FIRST).prefix


def test_a_list_of_parts_says_what_a_string_says() -> None:
    parts = [{"type": "text", "text": "one", "cache_control": {"type": "ephemeral"}}]
    assert of(SYSTEM, {"role": "user", "content": parts}).prefix == of(SYSTEM, FIRST).prefix


def test_the_clients_own_id_goes_first_and_is_bounded() -> None:
    assert of(FIRST, x_session_id=" mine ").session == "mine"
    assert of(FIRST, x_session_id=" ").session == ""
    assert len(of(FIRST, x_session_id="x" * 1000).session) == MAX_ID


def test_what_utf8_cannot_hold_makes_no_trouble() -> None:
    assert of({"role": "user", "content": "\ud83d"}).prefix
    of(FIRST, x_session_id="caf\udce9").session.encode()


def test_an_id_that_no_header_can_hold_is_made_one_that_can() -> None:
    got = seen("chat", {}, {"messages": [FIRST], "session_id": "a\r\nset-cookie: b=1\0", "prompt_cache_key": "x"})
    assert got.session == "a??set-cookie: b=1?"


def test_a_message_without_words_is_a_beginning_too() -> None:
    picture = {"role": "user", "content": [{"type": "image_url", "image_url": {"url": "data:"}}]}
    assert of(SYSTEM, picture).prefix != of({**SYSTEM, "content": "x"}, picture).prefix
    assert of(SYSTEM, picture, *LATER[1:]).prefix == of(SYSTEM, *LATER[1:]).prefix


@pytest.mark.parametrize(
    "extra",
    [
        {"session_id": 7}, {"prompt_cache_key": None}, {"metadata": []}, {"metadata": {"user_id": 7}},
        {"metadata": {"user_id": "[1]"}}, {"metadata": {"user_id": "{}"}}, {"metadata": {"user_id": '{"a":' * 100_000}},
        {"client_metadata": "x"}, {"client_metadata": {"thread_id": 1}}, {"conversation": {"id": 1}},
        {"conversation": [1]}, {"previous_response_id": 1},
    ],
)
def test_a_field_of_another_type_names_nothing(extra: dict[str, Any]) -> None:
    assert seen("chat", {}, {"messages": [FIRST], **extra}) == of(FIRST)


def test_a_conversation_that_a_provider_keeps_goes_by_its_id_or_by_the_reply_before() -> None:
    named = [seen("responses", {}, {"input": "Hi", "conversation": one}) for one in ("conv_1", {"id": "conv_1"})]
    assert {(got.session, got.prefix, got.follows) for got in named} == {("conv_1", "", "")}
    results = [{"type": "function_call_output", "call_id": "c", "output": "1"}]
    first, second = (seen("responses", {}, {"input": results, "previous_response_id": one}) for one in ("r1", "r2"))
    assert (first.session, first.follows, second.follows) == ("", "r1", "r2")
    assert first.prefix != second.prefix
    shared = seen("responses", {}, {"input": "Hi", "previous_response_id": "r1", "prompt_cache_key": "a-program"})
    assert (shared.session, shared.agent, shared.follows) == ("a-program", first.prefix, "r1")
    assert not seen("responses", {"x-session-id": "s"}, {"input": "Hi", "previous_response_id": "r1"}).follows


def test_the_paths_tag_counts_where_the_client_says_nothing() -> None:
    assert seen("chat", {}, {"messages": [FIRST]}, "agent-7").session == "agent-7"
    assert seen("chat", {"x-session-id": "mine"}, {"messages": [FIRST]}, "agent-7").session == "mine"


@pytest.mark.parametrize(("value", "closes"), [("1", True), ("TRUE", True), (" yes ", True), ("0", False), ("", False)])
def test_a_header_closes(value: str, closes: bool) -> None:
    assert of(FIRST, x_metaclaw_close=value).closes is closes


def test_texts_are_read_only_where_headers_do_not_tell() -> None:
    class Unread:
        NAME = "chat"
        parse = staticmethod(chat.parse)

        def opening(self, body: Mapping[str, Any]) -> tuple[str, str]:
            raise AssertionError("read")

    body = json.dumps({"messages": [FIRST], "tools": [{}]}).encode()
    got = recognise({"x-session-id": "mine"}, Unread(), chat.parse(body))  # type: ignore[arg-type]
    assert got.session == "mine"
