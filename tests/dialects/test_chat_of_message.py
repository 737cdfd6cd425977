"""An Anthropic message becomes a chat completion, whole or as it streams."""

from __future__ import annotations

import json
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.chat import ChatCompletion, ChatCompletionChunk

from metaclaw.dialects import chat
from metaclaw.dialects.chat_of_message import Stream, whole
from metaclaw.errors import UpstreamError
from recorded_streams import (
    HELLO,
    MODEL,
    OVERLOADED,
    THINKING_THEN_TOOLS,
    block,
    ended,
    event,
    started,
    text_block,
    told,
    tool_block,
)

COUNTED = {
    "prompt_tokens": 1035, "completion_tokens": 15, "total_tokens": 1050,
    "prompt_tokens_details": {"cached_tokens": 1000}, "completion_tokens_details": {"reasoning_tokens": 9},
}


def message(content: list[dict[str, Any]], reason: str = "end_turn", **usage: Any) -> dict[str, Any]:
    counted = {"input_tokens": 25, "output_tokens": 15, **usage}
    told_by = {"id": "msg_01", "type": "message", "model": MODEL}
    return {**told_by, "content": content, "stop_reason": reason, "usage": counted}


def translated(events: list[bytes], *, with_usage: bool = False) -> list[bytes]:
    stream = Stream(with_usage=with_usage)
    return [out for one in events for out in stream.feed(one)] + list(stream.end())


def built(events: list[bytes]) -> dict[str, Any]:
    """What a client puts together of a stream: texts joined, calls by their index."""
    spoken: dict[str, Any] = {"content": "", "reasoning_content": "", "thinking_blocks": [], "tool_calls": []}
    for body in told(events):
        for choice in body.get("choices", []):
            delta = choice["delta"]
            spoken["content"] += delta.get("content", "")
            spoken["reasoning_content"] += delta.get("reasoning_content", "")
            spoken["thinking_blocks"] += delta.get("thinking_blocks", [])
            for call in delta.get("tool_calls", []):
                number = call.pop("index")
                if "id" in call:
                    assert number == len(spoken["tool_calls"])
                    spoken["tool_calls"].append(call)
                else:
                    spoken["tool_calls"][number]["function"]["arguments"] += call["function"]["arguments"]
    return spoken


# -- whole -------------------------------------------------------------------------------------------------------------


def test_a_whole_reply() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    content: list[dict[str, Any]] = [
        thought, {"type": "text", "text": "Look"}, {"type": "text", "text": "."},
        {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}},
    ]
    cached = {"cache_read_input_tokens": 1000, "cache_creation_input_tokens": 10}
    reply = whole(message(content, "tool_use", **cached, output_tokens_details={"thinking_tokens": 9}))
    call = {"id": "t1", "type": "function", "function": {"name": "f", "arguments": '{"a": 1}'}}
    spoken = {
        "role": "assistant", "content": "Look.", "refusal": None, "reasoning_content": "hm",
        "thinking_blocks": [thought], "tool_calls": [call],
    }
    assert reply == {
        "id": "chatcmpl-msg_01", "object": "chat.completion", "created": 0, "model": MODEL, "usage": COUNTED,
        "choices": [{"index": 0, "message": spoken, "finish_reason": "tool_calls", "logprobs": None}],
    }
    ChatCompletion.model_validate(reply, strict=True)


def test_a_reply_that_says_nothing() -> None:
    spoken = whole(message([]))["choices"][0]["message"]
    assert spoken == {"role": "assistant", "content": None, "refusal": None}


@pytest.mark.parametrize(
    ("reason", "finish"),
    [
        ("end_turn", "stop"), ("stop_sequence", "stop"), ("pause_turn", "stop"), ("max_tokens", "length"),
        ("model_context_window_exceeded", "length"), ("tool_use", "tool_calls"), ("refusal", "content_filter"),
        ("x_new", "stop"),
    ],
)
def test_why_it_stopped(reason: str, finish: str) -> None:
    assert whole(message([], reason))["choices"][0]["finish_reason"] == finish
    last = told(translated([started(), *ended(reason)]))[-2]
    assert last["choices"][0]["finish_reason"] == finish


@pytest.mark.parametrize("body", [{}, {"content": "x"}, {"type": "x"}])
def test_what_is_no_message_is_the_upstreams_failure(body: dict[str, Any]) -> None:
    with pytest.raises(UpstreamError) as failed:
        whole(body)
    assert (failed.value.status, failed.value.code) == (502, "upstream_garbage")


@pytest.mark.parametrize(("kind", "status"), [("overloaded_error", 503), ("rate_limit_error", 429), ("odd", 500)])
def test_an_error_that_came_with_200_keeps_the_providers_words(kind: str, status: int) -> None:
    with pytest.raises(UpstreamError, match=r"^Theirs\.$") as failed:
        whole({"type": "error", "error": {"type": kind, "message": "Theirs."}})
    assert (failed.value.status, failed.value.code) == (status, kind)


# -- streams -----------------------------------------------------------------------------------------------------------


def test_a_stream_of_text() -> None:
    events = translated(HELLO)
    first, *_, finish, done = told(events)
    assert first["choices"][0]["delta"] == {"role": "assistant", "content": ""}
    assert (first["id"], first["object"], first["model"]) == ("chatcmpl-msg_01", "chat.completion.chunk", MODEL)
    assert (finish["choices"][0]["delta"], finish["choices"][0]["finish_reason"]) == ({}, "stop")
    assert (done, events[-1]) == ({"type": "done"}, b"data: [DONE]\n\n")
    assert built(events)["content"] == "Hello!"
    for body in told(events)[:-1]:
        ChatCompletionChunk.model_validate(body, strict=True)
        assert "usage" not in body


@pytest.mark.parametrize("alive", [event("ping"), b": alive\n\n"])
def test_what_keeps_the_connection_alive_goes_on_as_a_comment(alive: bytes) -> None:
    (told,) = Stream(with_usage=False).feed(alive)
    assert (told.startswith(b": "), told.endswith(b"\n\n"), told.count(b"\n")) == (True, True, 2)


def test_usage_comes_last_where_it_is_asked_for() -> None:
    *chunks, usage, _ = told(translated(THINKING_THEN_TOOLS, with_usage=True))
    assert (usage["choices"], usage["usage"]) == ([], COUNTED)
    assert {body["usage"] for body in chunks} == {None}


def test_a_stream_of_thinking_text_and_calls() -> None:
    assert built(translated(THINKING_THEN_TOOLS)) == {
        "content": "Let me look.",
        "reasoning_content": "Two cities, two calls.",
        "thinking_blocks": [
            {"type": "thinking", "thinking": "Two cities, two calls.", "signature": "EqQBCgIYAhIM1gbcDa9GJwZA2b3h"}
        ],
        "tool_calls": [
            weather_call("toolu_01", '{"city": "Paris"}'), weather_call("toolu_02", '{"city": "Rome", "days": [1, 2]}')
        ],
    }


def weather_call(call_id: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": "get_weather", "arguments": arguments}}


def test_arguments_that_came_with_the_start_or_not_at_all() -> None:
    start = {"type": "tool_use", "id": "t1", "name": "f", "input": {"a": 1}}
    events = [started(), *block(0, start), *tool_block(1, "g", "t2", ""), *ended("tool_use")]
    calls = built(translated(events))["tool_calls"]
    assert [call["function"]["arguments"] for call in calls] == ['{"a": 1}', "{}"]


def test_texts_that_came_with_the_start() -> None:
    thought = {"type": "thinking", "thinking": "hm", "signature": "s"}
    events = [started(), *block(0, thought), *block(1, {"type": "text", "text": "Hi"}), *ended("end_turn")]
    spoken = built(translated(events))
    assert (spoken["reasoning_content"], spoken["content"], spoken["thinking_blocks"]) == ("hm", "Hi", [thought])


def test_a_hidden_thought_travels_along() -> None:
    hidden = {"type": "redacted_thinking", "data": "xyz"}
    assert built(translated([started(), *block(0, hidden), *ended("end_turn")]))["thinking_blocks"] == [hidden]


def test_an_error_inside_the_stream_ends_it() -> None:
    events = translated([*OVERLOADED, *text_block(0, "more"), *ended("end_turn")])
    error = told(events)[-1]["error"]
    assert (error["message"], error["code"], error["type"]) == ("Overloaded", "overloaded_error", "upstream_error")
    reader = chat.reader()
    for one in events:
        reader.event(one)
    assert (reader.text, reader.finished, reader.done) == ("Hel", False, True)


@pytest.mark.parametrize("cut", range(len(HELLO) - 2))
def test_a_stream_that_breaks_off_has_no_end(cut: int) -> None:
    events = translated(HELLO[:cut], with_usage=True)
    assert b"data: [DONE]\n\n" not in events
    assert not [body for body in told(events) if body["choices"][0]["finish_reason"]]


def test_a_finished_stream_needs_no_stop() -> None:
    assert translated(HELLO[:-1])[-1] == b"data: [DONE]\n\n"
    assert translated(HELLO) == translated([*HELLO, *HELLO])


# -- properties --------------------------------------------------------------------------------------------------------

TEXT = st.text(st.characters(exclude_categories=["Cs"]), max_size=12)
VALUE = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), TEXT),
    lambda inner: st.one_of(st.lists(inner, max_size=2), st.dictionaries(TEXT, inner, max_size=2)), max_leaves=6,
)
THOUGHT = st.fixed_dictionaries({"type": st.just("thinking"), "thinking": TEXT, "signature": TEXT})
SPOKEN = st.fixed_dictionaries({"type": st.just("text"), "text": TEXT})
INPUT = st.dictionaries(TEXT, VALUE, max_size=3)
CALL = st.fixed_dictionaries({"type": st.just("tool_use"), "name": TEXT, "input": INPUT})


@given(st.lists(st.one_of(THOUGHT, SPOKEN, CALL), max_size=5), st.data())
def test_a_stream_says_what_the_whole_reply_says(content: list[dict[str, Any]], data: st.DataObject) -> None:
    named = [{**one, "id": f"t{n}"} if one["type"] == "tool_use" else one for n, one in enumerate(content)]
    events = [started(), *(e for n, one in enumerate(named) for e in _streamed(n, one, data)), *ended("end_turn")]
    empty = {"reasoning_content": "", "thinking_blocks": [], "tool_calls": []}
    spoken = empty | whole(message(named))["choices"][0]["message"]
    assert built(translated(events)) == {
        **{name: spoken[name] for name in empty},
        "content": spoken["content"] or "",
    }


def _streamed(index: int, one: dict[str, Any], data: st.DataObject) -> list[bytes]:
    def cut(text: str) -> list[str]:
        cuts = data.draw(st.lists(st.integers(0, len(text)), max_size=3).map(sorted))
        return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]

    if one["type"] == "text":
        return text_block(index, *cut(one["text"]))
    if one["type"] == "tool_use":
        return tool_block(index, one["name"], one["id"], *cut(json.dumps(one["input"]) if one["input"] else ""))
    deltas = [{"type": "thinking_delta", "thinking": piece} for piece in cut(one["thinking"])]
    signed = {"type": "signature_delta", "signature": one["signature"]}
    return block(index, {"type": "thinking", "thinking": "", "signature": ""}, *deltas, signed)


KINDS = ["message_start", "content_block_start", "content_block_delta", "content_block_stop", "message_delta", "error"]
BLOCKS = ["text", "thinking", "tool_use", "text_delta", "thinking_delta", "input_json_delta", "signature_delta"]
INNER = st.dictionaries(
    st.sampled_from(["type", "text", "thinking", "partial_json", "input", "usage", "id"]),
    st.one_of(VALUE, st.sampled_from(BLOCKS)),
)


@given(st.lists(st.tuples(st.sampled_from(KINDS), st.dictionaries(
    st.sampled_from(["index", "content_block", "delta", "message", "usage", "error"]), st.one_of(VALUE, INNER)
)), max_size=6))
def test_events_of_any_shape_are_no_reason_to_fail(bodies: list[tuple[str, dict[str, Any]]]) -> None:
    told(translated([event(kind, **members) for kind, members in bodies] + [event("message_stop")], with_usage=True))


@given(st.lists(st.one_of(VALUE, INNER), max_size=4), st.one_of(VALUE, st.dictionaries(st.just("input_tokens"), VALUE)))
def test_blocks_of_any_shape_are_no_reason_to_fail(content: list[Any], usage: Any) -> None:
    assert whole({"content": content, "usage": usage})["object"] == "chat.completion"
