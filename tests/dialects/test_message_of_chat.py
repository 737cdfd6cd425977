"""A chat completion becomes an Anthropic message, whole or as it streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from anthropic.lib.streaming._messages import accumulate_event
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.dialects import messages
from metaclaw.dialects.loose import dict_of
from metaclaw.dialects.message_of_chat import Stream, whole
from metaclaw.errors import UpstreamError
from recorded_streams import (
    CHAT_HELLO,
    CHAT_INTERLEAVED,
    CHAT_REASONING_THEN_TOOLS,
    CHUNK,
    USAGE,
    USAGE_CHUNK,
    call_chunk,
    chunk,
    told,
)
from upstream_server import DONE

ASKED: dict[str, Any] = {"model": "asked", "stop_sequences": ["END"]}
COUNTED = {
    "input_tokens": 20, "cache_creation_input_tokens": 0, "cache_read_input_tokens": 100, "output_tokens": 30,
    "output_tokens_details": {"thinking_tokens": 7},
}


def completion(message: dict[str, Any], finish: str = "stop", **choice: Any) -> dict[str, Any]:
    choices = [{"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish, **choice}]
    return {"id": "chatcmpl-1", "object": "chat.completion", "model": "gpt", "choices": choices, "usage": USAGE}


def call(name: str, call_id: str | None, arguments: Any) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


def translated(events: list[bytes]) -> list[bytes]:
    stream = Stream(ASKED)
    return [out for one in events for out in stream.feed(one)] + list(stream.end())


def built(events: list[bytes]) -> dict[str, Any]:
    """The message that Anthropic's SDK builds of a stream, whose blocks must come one after the other."""
    snapshot: Any = None
    buffers: dict[int, bytes] = {}
    under_way: list[int] = []
    for body in told(events):
        if body["type"] == "content_block_start":
            assert under_way == []
            assert body["index"] == len(snapshot.content)
            under_way.append(body["index"])
        elif body["type"] == "content_block_delta":
            assert under_way == [body["index"]]
        elif body["type"] == "content_block_stop":
            assert under_way.pop() == body["index"]
        snapshot = accumulate_event(event=body, current_snapshot=snapshot, json_bufs=buffers)  # type: ignore[arg-type]
    message: dict[str, Any] = snapshot.to_dict()
    message.pop("stop_details", None)  # which the SDK adds
    return message


def kinds(events: list[bytes]) -> list[str]:
    return [body["type"] for body in told(events)]


# -- whole -------------------------------------------------------------------------------------------------------------


def test_a_whole_reply() -> None:
    calls = [call("f", "c1", '{"a": 1}'), call("g", "c2", "")]
    message = {"reasoning_content": "hm", "content": "Look.", "tool_calls": calls}
    assert whole(completion(message, "tool_calls"), ASKED) == {
        "id": "msg_chatcmpl-1", "type": "message", "role": "assistant", "model": "gpt",
        "content": [
            {"type": "thinking", "thinking": "hm", "signature": ""},
            {"type": "text", "text": "Look."},
            {"type": "tool_use", "id": "c1", "name": "f", "input": {"a": 1}},
            {"type": "tool_use", "id": "c2", "name": "g", "input": {}},
        ],
        "stop_reason": "tool_use", "stop_sequence": None, "usage": COUNTED,
    }


@pytest.mark.parametrize(
    ("finish", "choice", "reason", "sequence"),
    [
        ("stop", {}, "end_turn", None),
        ("length", {}, "max_tokens", None),
        ("tool_calls", {}, "tool_use", None),
        ("content_filter", {}, "refusal", None),
        ("stop", {"stop_reason": "END"}, "stop_sequence", "END"),
        ("stop", {"stop_reason": "other"}, "end_turn", None),
        ("x_new", {}, "end_turn", None),
    ],
)
def test_why_it_stopped(finish: str, choice: dict[str, Any], reason: str, sequence: str | None) -> None:
    reply = whole(completion({"content": "x"}, finish, **choice), ASKED)
    assert (reply["stop_reason"], reply["stop_sequence"]) == (reason, sequence)
    ends = [chunk({"content": "x"}), b"data: " + json.dumps(
        {**CHUNK, "choices": [{"index": 0, "delta": {}, "finish_reason": finish, **choice}]}
    ).encode() + b"\n\n", DONE]
    delta = told(translated(ends))[-2]["delta"]
    assert delta == {"stop_reason": reason, "stop_sequence": sequence}


def test_calls_stop_a_reply_also_where_the_server_says_otherwise() -> None:
    assert whole(completion({"tool_calls": [call("f", "c", "{}")]}, "stop"), ASKED)["stop_reason"] == "tool_use"


@pytest.mark.parametrize(
    ("message", "text"),
    [
        ({"content": [{"type": "text", "text": "parts"}]}, "parts"),
        ({"content": None, "refusal": "I will not."}, "I will not."),
    ],
)
def test_other_ways_to_say_something(message: dict[str, Any], text: str) -> None:
    assert whole(completion(message), ASKED)["content"] == [{"type": "text", "text": text}]


def test_reasoning_by_its_other_name() -> None:
    content = whole(completion({"reasoning": "hm", "content": "x"}), ASKED)["content"]
    assert content[0] == {"type": "thinking", "thinking": "hm", "signature": ""}


def test_arguments_that_are_no_object_reach_the_client_as_they_are() -> None:
    calls = [call("f", "c", "{oops"), call("f", "d", {"a": 1})]
    content = whole(completion({"tool_calls": calls}), ASKED)["content"]
    assert [block["input"] for block in content] == [{"unreadable_arguments": "{oops"}, {"a": 1}]


def test_calls_without_ids_get_some_that_differ() -> None:
    calls = [call("f", None, "{}"), call("f", None, "{}")]
    ids = [block["id"] for block in whole(completion({"tool_calls": calls}), ASKED)["content"]]
    assert ids == ["toolu_chatcmpl-1_0", "toolu_chatcmpl-1_1"]


def test_a_reply_without_model_or_usage() -> None:
    reply = whole({"choices": [{"message": {"content": "x"}}]}, ASKED)
    assert (reply["model"], reply["stop_reason"]) == ("asked", "end_turn")
    assert reply["usage"]["input_tokens"] == reply["usage"]["output_tokens"] == 0


@pytest.mark.parametrize("body", [{}, {"choices": []}, {"choices": [3]}, {"choices": [{"message": 4}]}, {"a": 1}])
def test_what_is_no_completion_is_the_upstreams_failure(body: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError) as failed:
        whole(body, ASKED)
    assert (failed.value.status, failed.value.code) == (502, "upstream_garbage")


@pytest.mark.parametrize(
    ("error", "status", "code"),
    [
        ({"message": "Theirs.", "code": 429}, 429, "429"),
        ({"message": "Theirs.", "type": "server_error"}, 502, "server_error"),
        ("Theirs.", 502, "upstream_error"),
    ],
)
def test_an_error_that_came_with_200_keeps_the_providers_words(error: Any, status: int, code: str) -> None:
    with pytest.raises(UpstreamError, match=r"^Theirs\.$") as failed:
        whole({"error": error}, ASKED)
    assert (failed.value.status, failed.value.code) == (status, code)


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_of_text() -> None:
    events = translated(CHAT_HELLO)
    assert kinds(events) == [
        "message_start", "content_block_start", "content_block_delta", "content_block_delta", "content_block_stop",
        "message_delta", "message_stop",
    ]
    assert events[0].startswith(b"event: message_start\ndata: {")
    message = built(events)
    assert (message["id"], message["model"], message["stop_reason"]) == ("msg_chatcmpl-1", "gpt", "end_turn")
    assert message["content"] == [{"type": "text", "text": "Hello!"}]
    assert message["usage"] == COUNTED


def test_a_stream_of_reasoning_text_and_calls() -> None:
    assert built(translated(CHAT_REASONING_THEN_TOOLS))["content"] == [
        {"type": "thinking", "thinking": "Two cities, two calls.", "signature": ""},
        {"type": "text", "text": "Let me look."},
        {"type": "tool_use", "id": "call_a", "name": "get_weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "call_b", "name": "get_weather", "input": {"city": "Rome"}},
    ]


def test_calls_in_turn_are_told_as_they_come() -> None:
    stream = Stream(ASKED)
    seen = [kinds(list(stream.feed(one))) for one in CHAT_REASONING_THEN_TOOLS[5:10]]
    assert seen == [
        ["message_start", "content_block_start"],
        ["content_block_delta"],
        ["content_block_delta"],
        ["content_block_stop", "content_block_start"],
        ["content_block_delta"],
    ]


def test_interleaved_calls_are_told_one_after_the_other() -> None:
    assert built(translated(CHAT_INTERLEAVED))["content"] == [
        {"type": "tool_use", "id": "call_a", "name": "get_weather", "input": {"city": "Paris"}},
        {"type": "tool_use", "id": "call_b", "name": "get_time", "input": {"zone": "CET"}},
        {"type": "tool_use", "id": "call_c", "name": "get_news", "input": {}},
    ]


def test_calls_that_share_an_index_differ_by_their_id() -> None:
    events = [call_chunk(0, '{"a": 1}', "f", "c1"), call_chunk(0, '{"b": 2}', "g", "c2"), chunk({}, "tool_calls"), DONE]
    content = built(translated(events))["content"]
    assert [(block["id"], block["input"]) for block in content] == [("c1", {"a": 1}), ("c2", {"b": 2})]


@pytest.mark.parametrize("number", [{}, {"index": 0}])
@pytest.mark.parametrize("name", [{}, {"id": ""}])
def test_calls_without_ids_or_numbers_of_their_own_are_told_apart(number: dict[str, int], name: dict[str, str]) -> None:
    functions = [("f", '{"a":'), (None, " 1}"), ("g", '{"b": 2}'), ("g", "{}")]
    pieces = [{**number, **name, "function": {"name": said, "arguments": piece}} for said, piece in functions]
    events = [*(chunk({"tool_calls": [one]}) for one in pieces), chunk({}, "tool_calls"), DONE]
    content = built(translated(events))["content"]
    assert [(block["name"], block["input"]) for block in content] == [("f", {"a": 1}), ("g", {"b": 2}), ("g", {})]
    assert [block["id"] for block in content] == [f"toolu_chatcmpl-1_{count}" for count in range(3)]


def test_text_behind_a_call_is_a_block_of_its_own() -> None:
    late = call_chunk(0, "late")
    events = [call_chunk(0, "{}", "f", "c1"), chunk({"content": "done"}), late, chunk({}, "stop"), DONE]
    message = built(translated(events))
    assert [block["type"] for block in message["content"]] == ["tool_use", "text"]
    assert message["stop_reason"] == "tool_use"


def test_a_comment_keeps_the_connection_alive_also_before_the_reply_begins() -> None:
    alive = b": keep-alive\n\n"
    stream = Stream(ASKED)
    assert [list(stream.feed(alive)), kinds(list(stream.feed(CHAT_HELLO[0]))), list(stream.feed(alive))] == [
        [alive], ["message_start"], [alive],
    ]


def test_the_end_waits_for_the_usage() -> None:
    stream = Stream(ASKED)
    assert kinds([out for one in CHAT_HELLO[:4] for out in stream.feed(one)])[-1] == "content_block_stop"
    assert list(stream.feed(USAGE_CHUNK)) == []
    assert kinds(list(stream.feed(DONE))) == ["message_delta", "message_stop"]
    assert list(stream.end()) == []


def test_a_finished_stream_needs_no_done() -> None:
    assert kinds(translated(CHAT_HELLO[:-1]))[-1] == "message_stop"


@pytest.mark.parametrize("cut", range(4))
def test_a_stream_that_breaks_off_has_no_end(cut: int) -> None:
    assert "message_delta" not in kinds(translated(CHAT_HELLO[:cut]))


def test_a_stream_that_is_empty_is_an_empty_message() -> None:
    assert built(translated([DONE]))["content"] == []


@pytest.mark.parametrize(("code", "kind"), [(429, "rate_limit_error"), ("odd", "api_error"), (None, "api_error")])
def test_an_error_inside_the_stream_ends_it(code: Any, kind: str) -> None:
    error = b"data: " + json.dumps({"error": {"message": "theirs", "code": code}}).encode() + b"\n\n"
    events = translated([*CHAT_HELLO[:2], error, *CHAT_HELLO[2:]])
    assert events[-1].startswith(b"event: error\n")
    last = told(events)[-1]["error"]
    assert (last["type"], last["message"]) == (kind, "theirs")


def test_a_second_choice_is_not_told() -> None:
    other = b'data: {"choices": [{"index": 1, "delta": {"content": "other"}}]}\n\n'
    assert built(translated([*CHAT_HELLO[:2], other, *CHAT_HELLO[2:]]))["content"][0]["text"] == "Hello!"


# -- properties --------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXT, inner, max_size=2)), max_leaves=6,
)
CALLS = st.lists(st.dictionaries(TEXT, VALUE, max_size=3), max_size=3)


@given(TEXT, TEXT, CALLS, st.data())
def test_a_stream_says_what_the_whole_reply_says(
    thought: str, text: str, inputs: list[Any], data: st.DataObject
) -> None:
    calls = [call(f"f{n}", f"c{n}", json.dumps(arguments)) for n, arguments in enumerate(inputs)]
    finish = "tool_calls" if calls else "stop"
    reply = completion({"reasoning_content": thought, "content": text, "tool_calls": calls}, finish)
    events = [*_pieces("reasoning_content", thought, data), *_pieces("content", text, data), *_interleaved(calls, data)]
    assert built(translated([*events, chunk({}, finish), USAGE_CHUNK, DONE])) == whole(reply, ASKED)


def _cut(text: str, data: st.DataObject) -> list[str]:
    cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=3).map(sorted))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


def _pieces(member: str, text: str, data: st.DataObject) -> list[bytes]:
    return [chunk({member: piece}) for piece in _cut(text, data)]


def _interleaved(calls: list[dict[str, Any]], data: st.DataObject) -> list[bytes]:
    """The calls begin in turn; the pieces of their arguments come in any order that keeps each call's own."""
    queues: list[list[bytes]] = []
    waiting = list(enumerate(calls))
    events: list[bytes] = []
    while waiting or any(queues):
        ready = [queue for queue in queues if queue]
        if waiting and (not ready or data.draw(st.booleans())):
            number, one = waiting.pop(0)
            events.append(call_chunk(number, "", one["function"]["name"], one["id"]))
            queues.append([call_chunk(number, piece) for piece in _cut(one["function"]["arguments"], data)])
        else:
            events.append(data.draw(st.sampled_from(ready)).pop(0))
    return events


MEMBERS = st.dictionaries(st.sampled_from(["choices", "usage", "error", "id"]), VALUE)


@given(st.lists(st.one_of(VALUE, MEMBERS), max_size=5))
def test_chunks_of_any_shape_are_no_reason_to_fail(bodies: list[Any]) -> None:
    told(translated([b"data: " + json.dumps(body).encode() + b"\n\n" for body in bodies]))


CHOICE = st.fixed_dictionaries(
    {},
    optional={
        "index": VALUE, "finish_reason": VALUE, "stop_reason": VALUE,
        "delta": st.one_of(VALUE, st.dictionaries(
            st.sampled_from(["content", "reasoning", "refusal", "tool_calls"]),
            st.one_of(VALUE, st.lists(st.dictionaries(st.sampled_from(["id", "index", "function"]), st.one_of(
                VALUE, st.dictionaries(st.sampled_from(["name", "arguments"]), VALUE)
            )))),
        )),
    },
)


@given(st.lists(CHOICE, max_size=5))
def test_choices_of_any_shape_are_no_reason_to_fail(choices: list[Any]) -> None:
    stream = [b"data: " + json.dumps({"choices": [choice]}).encode() + b"\n\n" for choice in choices]
    reader = messages.reader()
    for one in translated([*stream, DONE]):
        reader.event(one)
    assert reader.done
    for choice in choices:
        whole({"choices": [{**choice, "message": dict_of(choice.get("delta"))}]}, ASKED)
