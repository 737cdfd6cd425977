"""From one wire format to another and back: nothing that both can say is lost."""

from __future__ import annotations

import contextlib
import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.dialects import chat, chat_on_messages, messages, messages_on_chat
from metaclaw.dialects.sse import EventSplitter
from metaclaw.dialects.translation import DIALECTS, as_chat, leg
from metaclaw.errors import RequestError, UpstreamError
from recorded_streams import CHAT_INTERLEAVED, CHAT_REASONING_THEN_TOOLS, HELLO, THINKING_THEN_TOOLS
from upstream_server import completion

WORDS = st.text(st.characters(exclude_categories=["Cs"]), min_size=1, max_size=12).filter(str.strip)
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), WORDS),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(WORDS, inner, max_size=2)), max_leaves=6,
)
SAID = st.fixed_dictionaries({"type": st.just("text"), "text": WORDS})
NAMES = st.text("abcXYZ019_-", min_size=1, max_size=8)
OBJECT = st.dictionaries(WORDS, VALUE, max_size=2)
SCHEMA = st.fixed_dictionaries({"type": st.just("object")}, optional={"properties": OBJECT})
TOOL = st.fixed_dictionaries({"name": NAMES, "input_schema": SCHEMA}, optional={"description": WORDS})


@st.composite
def conversations(draw: st.DrawFn) -> list[dict[str, Any]]:
    """Turns that alternate, in which each call has its result."""
    told: list[dict[str, Any]] = []
    calls = 0
    for _ in range(draw(st.integers(1, 3))):
        told.append({"role": "user", "content": draw(st.one_of(WORDS, st.lists(SAID, min_size=1, max_size=1)))})
        for _ in range(draw(st.integers(0, 2))):
            names = draw(st.lists(NAMES, min_size=1, max_size=2))
            uses = [
                {"type": "tool_use", "id": f"t{calls + n}", "name": name, "input": draw(OBJECT)}
                for n, name in enumerate(names)
            ]
            told.append({"role": "assistant", "content": [*draw(st.lists(SAID, max_size=1)), *uses]})
            results = [{"type": "tool_result", "tool_use_id": use["id"], "content": draw(WORDS)} for use in uses]
            told.append({"role": "user", "content": results})
            calls += len(uses)
        told.append({"role": "assistant", "content": draw(WORDS)})
    return told[: draw(st.integers(1, len(told)))]


def as_blocks(conversation: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """With each string as the block of text that it is short for, in results too."""
    def blocks(content: Any) -> list[dict[str, Any]]:
        if isinstance(content, str):
            return [{"type": "text", "text": content}]
        return [{**one, "content": blocks(one["content"])} if one["type"] == "tool_result" else one for one in content]

    return [{**message, "content": blocks(message["content"])} for message in conversation]


@given(conversations(), st.one_of(st.none(), WORDS), st.lists(TOOL, max_size=2))
def test_a_request_that_goes_to_chat_and_back_is_the_same(
    conversation: list[dict[str, Any]], system: str | None, tools: list[dict[str, Any]]
) -> None:
    body = {"model": "m", "max_tokens": 10, "messages": conversation, "temperature": 1, "stop_sequences": ["END"]}
    body |= ({"system": system} if system else {}) | ({"tools": tools, "tool_choice": {"type": "any"}} if tools else {})
    back = chat_on_messages.request(messages_on_chat.request(body))
    assert back == {**body, "messages": as_blocks(conversation)}


@given(conversations(), st.one_of(st.none(), WORDS))
def test_a_conversation_is_what_the_translation_asks(conversation: list[dict[str, Any]], system: str | None) -> None:
    body = {"messages": conversation, "system": system}
    assert messages.conversation(body) == messages_on_chat.request(body)["messages"]


@pytest.mark.parametrize(
    ("client", "upstream", "recorded"),
    [
        ("messages", "chat", CHAT_REASONING_THEN_TOOLS), ("messages", "chat", CHAT_INTERLEAVED),
        ("chat", "messages", HELLO), ("chat", "messages", THINKING_THEN_TOOLS),
    ],
)
@given(data=st.data())
def test_a_stream_that_is_cut_anywhere_gives_the_same_events(
    client: str, upstream: str, recorded: list[bytes], data: st.DataObject
) -> None:
    stream = b"".join(recorded)
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    way = leg(DIALECTS[client], [upstream])
    whole, pieces = way.stream({}), way.stream({})
    assert whole and pieces
    splitter = EventSplitter()
    chunks = [stream[start:end] for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)]
    out = [one for chunk in chunks for event in splitter.feed(chunk) for one in pieces.feed(event)]
    assert out == [one for event in recorded for one in whole.feed(event)]


# -- legs --------------------------------------------------------------------------------------------------------------

ASKED = b'{"model": "m", "max_tokens": 9, "system": "S", "messages": [{"role": "user", "content": "x"}]}'


def test_a_format_that_the_upstream_speaks_is_not_translated() -> None:
    way = leg(messages, ["chat", "messages"])
    assert way.translation is None
    assert way.request(messages.parse(ASKED), "", None) == ASKED
    assert way.whole(b"<html>", 200, {}) == b"<html>"
    assert way.stream({}) is None


def test_the_upstream_gets_its_own_format_with_what_is_injected_and_the_configured_model() -> None:
    sent = json.loads(leg(messages, ["chat"]).request(messages.parse(ASKED), "NEW", "gpt-5.6"))
    assert sent["messages"] == [{"role": "system", "content": "S\n\nNEW"}, {"role": "user", "content": "x"}]
    assert (sent["model"], sent["max_completion_tokens"]) == ("gpt-5.6", 9)  # the true model decides how it is asked
    asked = chat.parse(b'{"model": "m", "temperature": 0, "messages": [{"role": "user", "content": "x"}]}')
    sent = json.loads(leg(chat, ["messages"]).request(asked, "NEW", "claude-opus-5-5"))
    assert (sent["system"], sent["model"], "temperature" in sent) == ("NEW", "claude-opus-5-5", False)


def test_a_whole_reply_comes_back_in_the_clients_format() -> None:
    reply = json.loads(leg(messages, ["chat"]).whole(completion("Hi"), 200, {"model": "m"}))
    assert (reply["type"], reply["content"]) == ("message", [{"type": "text", "text": "Hi"}])


@pytest.mark.parametrize(
    ("raw", "code", "text"),
    [
        (b'{"error": {"message": "theirs", "type": "t", "code": "c"}}', "c", "theirs"),
        (b'{"error": {"message": "theirs", "type": "t"}}', "t", "theirs"),
        (b'{"error": "theirs"}', "upstream_error", "theirs"),
        (b"<html>busy</html>", "upstream_error", "<html>busy</html>"),
    ],
)
def test_an_error_comes_back_in_the_clients_format(raw: bytes, code: str, text: str) -> None:
    error = json.loads(leg(messages, ["chat"]).whole(raw, 429, {}))
    assert error == {"type": "error", "error": {"type": "rate_limit_error", "message": text, "code": code}}


def test_anthropics_error_comes_back_to_an_openai_client() -> None:
    raw = messages.error_body(529, "overloaded_error", "Overloaded")
    error = json.loads(leg(chat, ["messages"]).whole(raw, 529, {}))["error"]
    assert (error["message"], error["code"]) == ("Overloaded", "overloaded_error")


@pytest.mark.parametrize("raw", [b"", b"<html>", b"{}", b'{"detail": "x"}'])
@pytest.mark.parametrize(("client", "upstream"), [("messages", "chat"), ("chat", "messages")])
def test_what_is_no_reply_is_not_passed_off_as_one(raw: bytes, client: str, upstream: str) -> None:
    with pytest.raises(UpstreamError) as failed:
        leg(DIALECTS[client], [upstream]).whole(raw, 200, {})
    assert failed.value.status == 502


def test_a_way_that_nobody_knows_is_refused() -> None:
    with pytest.raises(RequestError) as refused:
        leg(messages, ["x-new"])
    assert (refused.value.status, refused.value.code) == (400, "unsupported_format")


def test_any_request_can_be_asked_as_a_chat_completion() -> None:
    assert as_chat("messages", json.loads(ASKED))["messages"][0] == {"role": "system", "content": "S"}
    own = {"messages": [], "x": 1}
    assert as_chat("chat", own) == own


# -- requests of any shape ---------------------------------------------------------------------------------------------

LOOSE = st.one_of(VALUE, st.dictionaries(st.sampled_from([
    "type", "text", "content", "source", "image_url", "file", "function", "arguments", "name", "id", "input", "format",
    "json_schema", "schema", "data", "title", "tool_use_id", "thinking", "signature", "disable_parallel_tool_use",
]), VALUE))
ANYTHING = st.one_of(LOOSE, st.lists(LOOSE, max_size=2))
KINDS = st.sampled_from([
    "text", "image", "document", "tool_use", "tool_result", "thinking", "image_url", "file", "search_result",
])
MEMBERS = st.sampled_from(["text", "source", "content", "thinking", "image_url", "file", "title"])
PART = st.builds(lambda part, kind: {**part, "type": kind}, st.dictionaries(MEMBERS, LOOSE), KINDS)
MESSAGE = st.fixed_dictionaries(
    {
        "role": st.sampled_from(["user", "assistant", "system", "tool", "x"]),
        "content": st.one_of(WORDS, st.lists(PART, max_size=2)),
    },
    optional={"tool_calls": ANYTHING, "thinking_blocks": ANYTHING, "tool_call_id": LOOSE},
)
SETTINGS = (
    "tools", "tool_choice", "stop", "stop_sequences", "n", "model", "max_tokens", "temperature", "top_p",
    "response_format", "output_config", "reasoning_effort", "stream_options", "user", "metadata",
)
REQUEST = st.fixed_dictionaries(
    {"messages": st.lists(MESSAGE, min_size=1, max_size=3)},
    optional=dict.fromkeys(SETTINGS, ANYTHING),
)


@given(REQUEST)
def test_requests_of_any_shape_are_translated_or_refused(body: dict[str, Any]) -> None:
    raw = json.dumps(body).encode()
    for client, upstream in (("messages", "chat"), ("chat", "messages")):
        with contextlib.suppress(RequestError):
            way = leg(DIALECTS[client], [upstream])
            request = way.client.parse(raw)
            assert json.loads(way.request(request, "NEW", None))
            way.client.conversation(request.body)
            way.client.opening(request.body)
