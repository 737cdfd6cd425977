"""A Responses client on a chat upstream: the request, and a reply that says the same whole and streamed."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable, Sequence
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from openai.types.responses import Response, ResponseStreamEvent
from pydantic import TypeAdapter

from metaclaw.dialects import chat, responses, responses_on_chat
from metaclaw.dialects.sse import EventSplitter
from metaclaw.errors import RequestError, UpstreamError
from upstream_server import DONE

EVENTS: TypeAdapter[ResponseStreamEvent] = TypeAdapter(ResponseStreamEvent)  # what the SDK says an event is
WEATHER = {"type": "function", "name": "weather", "parameters": {"type": "object"}, "strict": False}
PATCH = {"type": "custom", "name": "apply_patch", "description": "Edits files."}
AGENTS = {"type": "namespace", "name": "agents", "description": "d", "tools": [WEATHER]}
SEARCH = {"type": "tool_search", "execution": "client", "description": "d", "parameters": {"type": "object"}}
ASKED = {"model": "m", "input": "Hi", "tools": [WEATHER, PATCH, AGENTS, SEARCH], "temperature": 0.5, "stream": True}
USAGE = {
    "prompt_tokens": 9, "completion_tokens": 4, "total_tokens": 13,
    "prompt_tokens_details": {"cached_tokens": 8}, "completion_tokens_details": {"reasoning_tokens": 3},
}
HEAD = {"id": "chatcmpl-abc", "created": 1700000000, "model": "local"}


# -- requests ----------------------------------------------------------------------------------------------------------


def test_what_chat_knows_by_another_name() -> None:
    schema = {"type": "object", "properties": {}}
    body: dict[str, Any] = {
        "model": "m", "input": "Hi", "instructions": "Be brief.", "stream": True, "max_output_tokens": 7,
        "temperature": 0, "top_p": 1, "reasoning": {"effort": "low", "summary": "auto"}, "tools": [WEATHER],
        "text": {"verbosity": "low", "format": {"type": "json_schema", "name": "n", "schema": schema, "strict": True}},
        "store": False, "include": ["reasoning.encrypted_content"], "prompt_cache_key": "k", "truncation": "disabled",
        "metadata": {}, "client_metadata": {}, "service_tier": "auto", "tool_choice": "auto",
    }
    assert responses_on_chat.request(body) == {
        "model": "m",
        "messages": [{"role": "system", "content": "Be brief."}, {"role": "user", "content": "Hi"}],
        "stream": True, "stream_options": {"include_usage": True}, "max_tokens": 7, "temperature": 0, "top_p": 1,
        "reasoning_effort": "low", "tool_choice": "auto",
        "tools": [{"type": "function", "function": {k: v for k, v in WEATHER.items() if k != "type"}}],
        "response_format": {"type": "json_schema", "json_schema": {"name": "n", "schema": schema, "strict": True}},
    }


def test_what_is_not_asked_for_is_not_sent() -> None:
    none: dict[str, Any] = {"temperature": None, "reasoning": None, "text": {"format": {"type": "text"}}, "tools": []}
    assert responses_on_chat.request({"input": "Hi", **none}) == {"messages": [{"role": "user", "content": "Hi"}]}
    as_json = {"input": "Hi", "text": {"format": {"type": "json_object"}}}
    assert responses_on_chat.request(as_json)["response_format"] == {"type": "json_object"}


@pytest.mark.parametrize(("model", "limit"), [("gpt-5.6", "max_completion_tokens"), ("gpt-4o", "max_tokens")])
def test_the_limit_goes_by_the_name_that_the_model_takes(model: str, limit: str) -> None:
    body = responses_on_chat.request({"model": model, "input": "Hi", "max_output_tokens": 7})
    assert {name: value for name, value in body.items() if "max" in name} == {limit: 7}


FILE = {"role": "user", "content": [{"type": "input_text", "text": "x"}, {"type": "input_image", "file_id": "f"}]}
HI = {"role": "user", "content": "Hi"}
IMPOSSIBLE = [
    ({"previous_response_id": "resp_1", "input": "Hi"}, "previous_response_not_found", "whole conversation as 'input'"),
    ({"conversation": "conv_1", "input": "Hi"}, "previous_response_not_found", "'conversation'"),
    ({"prompt": {"id": "p"}, "input": "Hi"}, "unsupported_parameter", "'prompt'"),
    ({"background": True, "input": "Hi"}, "unsupported_parameter", "'background'"),
    ({"input": [HI, {"type": "item_reference", "id": "msg_1"}]}, "item_not_found", "input[1]"),
    ({"input": [HI, {"type": "compaction_trigger"}]}, "unsupported_parameter", "input[1]"),
    ({"input": [FILE]}, "unsupported_input", "input[0].content[1]"),
    ({"input": []}, "invalid_input", "'input'"),
]


@pytest.mark.parametrize(("body", "code", "told"), IMPOSSIBLE)
def test_what_cannot_be_asked_of_chat_is_refused_with_its_place(body: dict[str, Any], code: str, told: str) -> None:
    responses.parse(json.dumps(body).encode())  # the format itself knows it
    with pytest.raises(RequestError) as refused:
        responses_on_chat.request(body)
    assert (refused.value.status, refused.value.code) == (400, code)
    assert told in str(refused.value)


# -- replies -----------------------------------------------------------------------------------------------------------


def completion(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", **message}, "finish_reason": finish}
    return {**HEAD, "object": "chat.completion", "choices": [choice], "usage": USAGE}


def call(name: str, arguments: str, number: int) -> dict[str, Any]:
    return {"id": f"call_{number}", "type": "function", "function": {"name": name, "arguments": arguments}}


def whole(message: dict[str, Any], finish: str = "stop") -> dict[str, Any]:
    reply = responses_on_chat.whole(completion(message, finish), ASKED)
    Response.model_validate(reply)
    return reply


def test_a_reply_with_everything() -> None:
    calls = [call("weather", '{"city": "Rome"}', 0), call("apply_patch", '{"input": "*** Begin"}', 1)]
    reply = whole({"content": "Looking.", "reasoning_content": "Hm.", "tool_calls": calls}, "tool_calls")
    assert reply["id"] == "resp_abc"
    assert (reply["object"], reply["created_at"], reply["model"]) == ("response", 1700000000, "local")
    assert (reply["status"], reply["error"], reply["incomplete_details"]) == ("completed", None, None)
    assert (reply["temperature"], reply["store"], reply["tools"]) == (0.5, False, ASKED["tools"])
    assert reply["output"] == [
        {
            "id": "rs_abc_0", "type": "reasoning", "summary": [], "status": "completed",
            "content": [{"type": "reasoning_text", "text": "Hm."}],
        },
        {
            "id": "msg_abc_1", "type": "message", "role": "assistant", "status": "completed",
            "content": [{"type": "output_text", "text": "Looking.", "annotations": [], "logprobs": []}],
        },
        {
            "id": "fc_abc_2", "type": "function_call", "status": "completed", "call_id": "call_0", "name": "weather",
            "arguments": '{"city": "Rome"}',
        },
        {
            "id": "ctc_abc_3", "type": "custom_tool_call", "status": "completed", "call_id": "call_1",
            "name": "apply_patch", "input": "*** Begin",
        },
    ]
    assert reply["usage"] == {
        "input_tokens": 9, "input_tokens_details": {"cached_tokens": 8, "cache_write_tokens": 0},
        "output_tokens": 4, "output_tokens_details": {"reasoning_tokens": 3}, "total_tokens": 13,
    }


@pytest.mark.parametrize(
    ("finish", "reason"), [("length", "max_output_tokens"), ("content_filter", "content_filter")]
)
def test_a_reply_cut_short_says_so_at_its_last_item(finish: str, reason: str) -> None:
    reply = whole({"content": "Half", "tool_calls": [call("weather", "{", 0), call("weather", '{"ci', 1)]}, finish)
    assert (reply["status"], reply["incomplete_details"]) == ("incomplete", {"reason": reason})
    assert [item["status"] for item in reply["output"]] == ["completed", "completed", "incomplete"]
    assert whole({"content": "Half"}, finish)["output"][0]["status"] == "incomplete"


def test_replies_of_other_shapes() -> None:
    assert whole({"refusal": "No."})["output"][0]["content"] == [{"type": "refusal", "refusal": "No."}]
    assert whole({"content": [{"type": "text", "text": "a"}]})["output"][0]["content"][0]["text"] == "a"
    assert whole({"reasoning": "Hm.", "content": ""})["output"][0]["type"] == "reasoning"
    no_ids = [{"function": {"name": "weather", "arguments": {"city": "Rome"}}}, {"function": {"name": "unknown"}}]
    one, two = whole({"content": None, "tool_calls": no_ids})["output"]
    assert (one["arguments"], two["name"]) == ('{"city": "Rome"}', "unknown")
    assert one["call_id"] != two["call_id"]
    for odd in ({"choices": 3, "usage": 4}, {"choices": [None, {"message": 4}]}):
        assert responses_on_chat.whole(odd, ASKED)["output"] == []
    with pytest.raises(UpstreamError, match="not a chat completion"):
        responses_on_chat.whole({"choices": []}, ASKED)


def test_an_error_in_a_reply_that_came_with_200_is_one() -> None:
    reply = responses_on_chat.whole({"error": {"message": "No credit.", "code": 402}}, ASKED)
    assert (reply["status"], reply["error"]) == ("failed", {"code": "402", "message": "No credit."})


# -- streams -----------------------------------------------------------------------------------------------------------


def chunk(delta: dict[str, Any], finish: str | None = None) -> bytes:
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({**HEAD, "object": "chat.completion.chunk", "choices": [choice]}).encode() + b"\n\n"


ARGUMENTS = {"arguments": '{"a": 1}'}
LAST = b"data: " + json.dumps({**HEAD, "choices": [], "usage": USAGE}).encode() + b"\n\n"


def translated(events: Iterable[bytes], asked: dict[str, Any] = ASKED) -> list[dict[str, Any]]:
    stream = responses_on_chat.stream(asked)
    out = [*(one for event in events for one in stream.feed(event)), *stream.end()]
    return [parsed(one) for one in out]


def parsed(event: bytes) -> dict[str, Any]:
    name, data = event.decode().removesuffix("\n\n").split("\n")
    found: dict[str, Any] = json.loads(data.removeprefix("data: "))
    assert name == f"event: {found['type']}"
    EVENTS.validate_python(found)
    return found


def follow(events: Sequence[dict[str, Any]]) -> dict[str, Any]:
    """Check the events against each other as the API reference has them; the response of the last one."""
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    assert [event["type"] for event in events[:2]] == ["response.created", "response.in_progress"]
    assert {event["response"]["id"] for event in events if "response" in event} == {events[0]["response"]["id"]}
    items: dict[int, dict[str, Any]] = {}
    deltas: dict[str, str] = {}
    done: dict[int, dict[str, Any]] = {}
    for event in events[2:-1]:
        kind, index = event["type"], event["output_index"]
        if kind == "response.output_item.added":
            assert index == len(items)
            items[index] = event["item"]
            assert event["item"]["status"] == "in_progress"
            continue
        assert index not in done
        if kind == "response.output_item.done":
            done[index] = event["item"]
            assert {**event["item"], "status": ""}.keys() == {**items[index]}.keys()
        else:
            assert event["item_id"] == items[index]["id"]
        if kind.endswith(".delta"):
            deltas[event["item_id"]] = deltas.get(event["item_id"], "") + event["delta"]
        if kind.endswith(".done") and kind != "response.output_item.done" and "part" not in event:
            (said,) = (event[key] for key in ("text", "refusal", "arguments", "input") if key in event)
            assert said == deltas.get(event["item_id"], "")
    response: dict[str, Any] = events[-1]["response"]
    assert response["output"] == [done[index] for index in range(len(items))]
    assert events[-1]["type"] == f"response.{response['status']}"
    return response


WORDS = st.text(min_size=1, max_size=8)
CALL = st.tuples(
    st.sampled_from(["weather", "apply_patch", "agents__weather", "tool_search", "unknown"]),
    st.one_of(st.just('{"input": "a\\nb"}'), st.just("{}"), st.text(max_size=8)),
)
MESSAGE = st.fixed_dictionaries(
    {"content": st.one_of(st.none(), WORDS), "calls": st.lists(CALL, max_size=3)},
    optional={"reasoning_content": WORDS, "refusal": WORDS},
)


def pieces_of(data: st.DataObject, text: str) -> list[str]:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(text)), max_size=3)))
    return [text[start:end] for start, end in zip([0, *cuts], [*cuts, len(text)], strict=True)]


@given(MESSAGE, st.sampled_from(["stop", "tool_calls", "length"]), st.booleans(), st.data())
def test_a_stream_says_what_the_whole_reply_says(
    message: dict[str, Any], finish: str, ends_with_done: bool, data: st.DataObject
) -> None:
    calls = [call(name, arguments, number) for number, (name, arguments) in enumerate(message.pop("calls"))]
    told = [chunk({"role": "assistant", "content": ""})]
    for field in ("reasoning_content", "content", "refusal"):
        told += [chunk({field: piece}) for piece in pieces_of(data, message.get(field) or "")]
    rests = []
    for number, one in enumerate(calls):
        name, arguments = one["function"]["name"], one["function"]["arguments"]
        told.append(chunk({"tool_calls": [{**one, "index": number, "function": {"name": name}}]}))
        rests.append([{"index": number, "function": {"arguments": piece}} for piece in pieces_of(data, arguments)])
    while any(rests):  # interleaved, each call's own deltas in their order
        mine = data.draw(st.sampled_from([rest for rest in rests if rest]))
        told.append(chunk({"tool_calls": [mine.pop(0)]}))
    told += [chunk({}, finish), LAST, *([DONE] if ends_with_done else [])]
    expected = whole({**message, "tool_calls": calls}, finish)
    assert follow(translated(told)) == expected


@given(st.lists(WORDS, min_size=1, max_size=4), st.data())
def test_a_stream_may_be_split_anywhere(words: list[str], data: st.DataObject) -> None:
    raw = b": hi\n\n" + b"".join(chunk({"content": word}) for word in words) + chunk({}, "stop") + LAST + DONE
    cuts = sorted(data.draw(st.lists(st.integers(0, len(raw)), max_size=5)))
    splitter, stream = EventSplitter(), responses_on_chat.stream(ASKED)
    out = b""
    for start, end in zip([0, *cuts], [*cuts, len(raw)], strict=True):
        out += b"".join(one for event in splitter.feed(raw[start:end]) for one in stream.feed(event))
    at_once = responses_on_chat.stream(ASKED)
    assert out == b"".join(one for event in EventSplitter().feed(raw) for one in at_once.feed(event))
    reader = responses.reader()
    for event in EventSplitter().feed(out):
        reader.event(event)
    assert (reader.text, reader.finished, reader.done) == ("".join(words), True, True)


def test_each_delta_comes_out_at_once() -> None:
    stream = responses_on_chat.stream(ASKED)
    assert [parsed(one)["type"] for one in stream.feed(chunk({"role": "assistant", "content": ""}))] == [
        "response.created", "response.in_progress",
    ]
    assert [parsed(one)["type"] for one in stream.feed(chunk({"content": "a"}))] == [
        "response.output_item.added", "response.content_part.added", "response.output_text.delta",
    ]
    assert [parsed(one)["delta"] for one in stream.feed(chunk({"content": "b"}))] == ["b"]
    assert list(stream.feed(b": still there\n\n")) == [b": still there\n\n"]


def test_a_message_ends_before_the_next_item_begins() -> None:
    """Codex knows one open item; it drops what is said outside it."""
    deltas: list[dict[str, Any]] = [
        {"reasoning_content": "Hm."}, {"content": "Looking."},
        {"tool_calls": [{"index": 0, **call("weather", "{}", 0)}]}, {"content": "Done."},
    ]
    events = translated([*(chunk(one) for one in deltas), chunk({}, "stop"), DONE])
    kinds = [event["item"]["type"] for event in events if event["type"] == "response.output_item.added"]
    assert kinds == ["reasoning", "message", "function_call", "message"]
    open_items: set[int] = set()
    for event in events:
        if event["type"] == "response.output_item.added":
            calls = {i for i in open_items if kinds[i] == "function_call"}
            assert open_items == calls
            open_items.add(event["output_index"])
        if event["type"] == "response.output_item.done":
            open_items.discard(event["output_index"])
    assert responses.output_text(follow(events)["output"]) == "Looking.Done."


@pytest.mark.parametrize(
    "deltas",
    [
        [{"index": 0, **call("weather", '{"a"', 0)}, {"index": 0, "function": {"arguments": ": 1}"}}],
        [{**call("weather", '{"a"', 0)}, {"function": {"arguments": ": 1}"}}],  # no number
        [{"index": 0, **call("weather", "", 0)}, {"index": 0, "id": "call_0", "function": ARGUMENTS}],
        [{"index": 0, **call("weather", "", 0)}, {"index": 0, "id": "call_9", "function": ARGUMENTS}],
        [{"index": 0, "id": "call_0", "function": ARGUMENTS}, {"index": 0, "function": {"name": "weather"}}],
        [{"index": 0, "function": {"name": "weather"}}, {"index": 0, "id": "call_0", "function": ARGUMENTS}],
    ],
)
def test_servers_number_and_name_the_deltas_of_a_call_in_different_ways(deltas: list[dict[str, Any]]) -> None:
    response = follow(translated([*(chunk({"tool_calls": [one]}) for one in deltas), chunk({}, "tool_calls"), DONE]))
    (item,) = response["output"]
    assert (item["name"], item["arguments"]) == ("weather", '{"a": 1}')


def test_calls_with_one_number_and_two_ids_are_two() -> None:
    both = [{"index": 0, **call("weather", "{}", 0)}, {"index": 0, **call("weather", "{}", 1)}]
    response = follow(translated([*(chunk({"tool_calls": [one]}) for one in both), chunk({}, "tool_calls"), DONE]))
    assert [item["call_id"] for item in response["output"]] == ["call_0", "call_1"]


@pytest.mark.parametrize("number", [{}, {"index": 0, "id": ""}])
def test_calls_without_ids_are_two_where_the_first_was_complete(number: dict[str, Any]) -> None:
    both = [{**number, "function": {"name": name, "arguments": '{"a": 1}'}} for name in ("weather", "unknown")]
    response = follow(translated([*(chunk({"tool_calls": [one]}) for one in both), chunk({}, "tool_calls"), DONE]))
    made = [(item["call_id"], item["name"], item["arguments"]) for item in response["output"]]
    assert made == [("call_fc_abc_0", "weather", '{"a": 1}'), ("call_fc_abc_1", "unknown", '{"a": 1}')]


def test_a_stream_that_breaks_off_is_owed_nothing() -> None:
    events = translated([chunk({"content": "half"})])
    assert events[-1]["type"] == "response.output_text.delta"
    assert translated([]) == []


def test_an_error_in_the_stream_ends_it() -> None:
    error = b'data: {"error": {"message": "out of memory", "type": "server_error"}}\n\n'
    events = translated([chunk({"content": "half"}), error, DONE, chunk({"content": "more"})])
    assert events[-1]["type"] == "response.failed"
    assert events[-1]["response"]["error"] == {"code": "server_error", "message": "out of memory"}
    assert [event["type"] for event in translated([error])][-1] == "response.failed"


# -- nonsense ----------------------------------------------------------------------------------------------------------

WORD = st.sampled_from(
    "type role content text name arguments call_id namespace tools message user assistant developer function custom"
    " function_call function_call_output additional_tools reasoning input_text input_image image_url namespace"
    " tool_search_output index id delta choices finish_reason tool_calls usage prompt_tokens_details stop".split()
)
LEAF = st.one_of(st.none(), st.booleans(), st.integers(-1, 2), st.just(1.5), st.text(max_size=3), WORD)
ODD = st.recursive(
    LEAF, lambda one: st.one_of(st.lists(one, max_size=3), st.dictionaries(WORD, one, max_size=5)), max_leaves=12
)
OBJECT = st.dictionaries(WORD, ODD, max_size=5)


OPTIONS = st.dictionaries(st.sampled_from(["tools", "tool_choice", "text", "reasoning"]), ODD)
BODY = st.dictionaries(st.sampled_from(["id", "created", "choices", "usage", "error"]), ODD)


@given(st.lists(OBJECT, max_size=4), OPTIONS)
def test_a_request_of_any_shape_is_served_or_refused(items: list[Any], more: dict[str, Any]) -> None:
    request = responses.parse(json.dumps({"input": items, **more}).encode())
    responses.conversation(request.body)
    responses.opening(request.body)
    json.loads(responses.for_upstream(request, "NEW", "other"))
    with contextlib.suppress(RequestError):
        json.dumps(responses_on_chat.request(request.body))


@given(st.lists(BODY, max_size=3), OBJECT)
def test_a_reply_of_any_shape_is_no_reason_to_fail(bodies: list[dict[str, Any]], asked: dict[str, Any]) -> None:
    stream = responses_on_chat.stream(asked)
    for body in bodies:
        delta = {"choices": [{"delta": body.get("choices"), "finish_reason": body.get("usage")}]}
        for one in (body, {**body, **delta}):
            list(stream.feed(b"data: " + json.dumps(one).encode() + b"\n\n"))
            with contextlib.suppress(UpstreamError):
                json.dumps(responses_on_chat.whole(one, asked))
    list(stream.end())


def test_the_translated_request_is_one_that_the_chat_dialect_takes() -> None:
    raw = json.dumps(responses_on_chat.request({"input": "Hi", "instructions": "Be brief."})).encode()
    assert json.loads(chat.for_upstream(chat.parse(raw), "NEW", None))["messages"][0]["content"] == "Be brief.\n\nNEW"
