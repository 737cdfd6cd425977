"""The chat dialect: read what must be known, change nothing else."""

from __future__ import annotations

import json
from typing import Any

import pytest

from metaclaw.dialects import base, chat
from metaclaw.errors import RequestError
from metaclaw.types import Message
from upstream_server import DONE, completion, delta

ODD = b' {"model" : "m",\t"messages":[ {"role":"user","content":"\\u00e9\xc3\xa9", "x":1e2} ],"x_new":{"k":[]} }\n'


def test_nothing_to_change_gives_the_very_same_bytes() -> None:
    assert chat.for_upstream(chat.parse(ODD), "", None) is ODD
    assert chat.for_upstream(chat.parse(ODD), "", "m") is ODD


def test_injecting_changes_the_messages_alone() -> None:
    sent = json.loads(chat.for_upstream(chat.parse(ODD), "LEARNED", None))
    before = json.loads(ODD)
    assert sent.pop("messages") == [{"role": "system", "content": "LEARNED"}, *before.pop("messages")]
    assert sent == before


def test_the_configured_model_replaces_the_clients() -> None:
    assert json.loads(chat.for_upstream(chat.parse(ODD), "", "other")) == {**json.loads(ODD), "model": "other"}


@pytest.mark.parametrize(
    ("raw", "code", "named"),
    [
        (b"{", "invalid_json", "not valid JSON"),
        (b"\xff\xfe\xfa", "invalid_json", "not valid JSON"),
        (b"[" * 200_000, "invalid_json", "not valid JSON"),
        (b"[]", "invalid_body", "JSON object"),
        (b"{}", "invalid_messages", "'messages'"),
        (b'{"messages": []}', "invalid_messages", "'messages'"),
        (b'{"messages": [{"role": "user"}, 7]}', "invalid_messages", "messages[1]"),
        (b'{"messages": [{"content": "x"}]}', "invalid_messages", "'role'"),
    ],
)
def test_what_cannot_be_read_is_refused_with_its_place(raw: bytes, code: str, named: str) -> None:
    with pytest.raises(RequestError) as refused:
        chat.parse(raw)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert named in str(refused.value)


def test_half_an_emoji_can_be_searched_stored_and_sent() -> None:
    raw = b'{"messages": [{"role": "user", "content": "cut here \\ud83d"}]}'
    request = chat.parse(raw)
    assert request.query == "cut here ?"
    assert chat.for_upstream(request, "", None) == raw
    assert json.loads(chat.for_upstream(request, "LEARNED", None))["messages"][1]["content"] == "cut here \ud83d"


@pytest.mark.parametrize(
    ("content", "text"),
    [
        ("plain", "plain"),
        ([{"type": "text", "text": "a"}, {"type": "image_url"}, {"type": "text", "text": "b"}, 3], "a\nb"),
        (None, ""),
        (7, ""),
    ],
)
def test_the_text_of_a_content(content: Any, text: str) -> None:
    assert chat.text_of(content) == text


def test_the_first_and_the_last_of_the_user() -> None:
    messages: list[Any] = [
        {"role": "system", "content": "s"},
        {"role": "user", "content": "one"},
        {"role": "assistant", "content": "r"},
        {"role": "user", "content": "two"},
        {"role": "tool", "content": "t"},
    ]
    assert (chat.first_user_text(messages), chat.last_words(messages)) == ("one", "two")
    assert chat.last_words(messages[:1]) == ""


def test_the_last_words_are_the_users_own_even_before_a_message_of_the_agents() -> None:
    context = "<<<BEGIN_OPENCLAW_INTERNAL_CONTEXT>>>\nnone\n<<<END_OPENCLAW_INTERNAL_CONTEXT>>>"
    messages = [{"role": "user", "content": "one"}, {"role": "user", "content": [{"type": "text", "text": context}]}]
    assert chat.parse(json.dumps({"messages": messages}).encode()).query == "one"


def test_a_stream_is_read_as_it_goes_by() -> None:
    reader = chat.reader()
    for event in (delta("Hel"), b": keep-alive\n\n", b"data: not json\n\n", delta("lo"), delta("", "stop")):
        assert not reader.finished
        reader.event(event)
    assert (reader.text, reader.finished, reader.done) == ("Hello", True, False)
    reader.event(DONE)
    assert reader.done


def test_an_error_ends_a_stream_that_is_not_finished() -> None:
    reader = chat.reader()
    for event in (delta("Hel"), b'data: {"error": {"message": "theirs"}}\n\n'):
        assert not reader.done
        reader.event(event)
    assert (reader.text, reader.finished, reader.done) == ("Hel", False, True)


def test_usage_and_the_first_choice_are_read() -> None:
    reader = chat.reader()
    reader.whole(completion("Yes"))
    assert (reader.text, reader.finished, reader.usage["total_tokens"]) == ("Yes", True, 5)
    second = chat.reader()
    second.event(b'data: {"choices": [{"index": 1, "delta": {"content": "other"}}]}\n\n')
    assert second.text == ""


@pytest.mark.parametrize("raw", [b"", b"<html>", b"[1]", b'{"choices": 3}', b'{"choices": [null, {"message": 4}]}'])
def test_a_reply_of_any_shape_is_no_reason_to_fail(raw: bytes) -> None:
    reader = chat.reader()
    reader.whole(raw)
    reader.event(b"data: " + raw + b"\n\n")
    assert reader.text == ""
    assert not reader.done


def test_the_reply_that_is_asked_for_counts_as_taken() -> None:
    def taken(**fields: Any) -> int:
        body = {"messages": [{"role": "user", "content": "x" * 300}], **fields}
        return chat.parse(json.dumps(body).encode()).tokens_taken()

    assert taken() >= 100 + base.USUAL_REPLY_TOKENS
    assert taken(max_tokens=5000) >= 5100
    assert taken(max_completion_tokens=7000, max_tokens=None) >= 7100
    assert taken(max_tokens="many") == taken(max_tokens="few.")


def test_injected_at_the_end_of_the_system_or_developer_message() -> None:
    for role in ("system", "developer"):
        messages: list[Message] = [{"role": role, "content": "Be brief."}, {"role": "user", "content": "Hi"}]
        assert chat.inject(messages, "B") == [{"role": role, "content": "Be brief.\n\nB"}, messages[1]]
        assert messages[0]["content"] == "Be brief."


def test_injected_as_a_system_message_where_there_is_none() -> None:
    messages: list[Message] = [{"role": "user", "content": "Hi"}]
    assert chat.inject(messages, "B") == [{"role": "system", "content": "B"}, *messages]
    assert chat.inject([], "B") == [{"role": "system", "content": "B"}]


def test_list_content_gets_a_part_and_unknown_fields_stay() -> None:
    parts = [{"type": "text", "text": "Be brief.", "cache_control": {"type": "ephemeral"}}]
    message: Message = {"role": "system", "content": parts, "name": "x"}  # type: ignore[typeddict-unknown-key]
    assert chat.inject([message], "B") == [
        {"role": "system", "content": [*parts, {"type": "text", "text": "B"}], "name": "x"}
    ]
    assert len(parts) == 1
    assert chat.inject([{"role": "system", "content": None}], "B") == [{"role": "system", "content": "B"}]


def test_nothing_to_inject_leaves_the_conversation_alone() -> None:
    messages: list[Message] = [{"role": "user", "content": "Hi"}]
    assert chat.inject(messages, "") == messages
