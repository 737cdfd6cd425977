"""Tools told to a model as text, and its calls read from what it writes."""

from __future__ import annotations

import contextlib
import json
from collections.abc import Iterable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.dialects import chat, responses
from metaclaw.dialects.translation import Leg, leg
from metaclaw.errors import RequestError
from metaclaw.upstream.engine_tools import ENGINE_TOOLS, onto
from metaclaw.upstream.tool_prompt import GOING_ON, PERSONA, PLAIN
from upstream_server import DONE

WEATHER = {
    "type": "function",
    "function": {
        "name": "weather", "description": "Weather of\n a city.",
        "parameters": {
            "type": "object", "required": ["city"],
            "properties": {
                "city": {"type": "string", "description": "Its name"}, "unit": {"enum": ["c", "f"]},
                "days": {"type": "array", "items": {"type": "integer"}},
                "at": {"type": "object", "properties": {"hour": {"type": "integer"}}}, "x": True,
            },
        },
    },
}
CLOCK = {"type": "function", "function": {"name": "clock"}}
HI = [{"role": "user", "content": "Hi"}]
ASKED = {"model": "m", "messages": HI, "tools": [WEATHER, CLOCK], "temperature": 0}


def sent(messages: list[dict[str, Any]] | None = None, **more: Any) -> dict[str, Any]:
    return ENGINE_TOOLS.request({**ASKED, "messages": messages or HI, **more})


def call(call_id: str, name: str, arguments: str) -> dict[str, Any]:
    return {"id": call_id, "type": "function", "function": {"name": name, "arguments": arguments}}


# -- requests ----------------------------------------------------------------------------------------------------------


def test_tools_are_told_at_the_end_of_the_system_message() -> None:
    request = sent([{"role": "system", "content": "Be brief."}, *HI])
    assert set(request) == {"model", "messages", "temperature", "grammar"}
    system, user = request["messages"]
    assert system["content"].startswith(
        "Be brief.\n\n# Tools\n"
        '- weather(city: string (Its name), unit?: "c" | "f", days?: list of integer, at?: {hour?: integer}, x?: any):'
        " Weather of a city.\n- clock()\n"
    )
    assert user == HI[0]
    assert sent()["messages"][0]["content"].startswith(f"{PERSONA}\n\n# Tools\n")


def test_earlier_calls_and_their_results_are_told_as_the_model_would_write_and_read_them() -> None:
    said = sent(
        [
            *HI,
            {"role": "assistant", "content": "Hello."},
            {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url"}]},
            {
                "role": "assistant", "content": "Looking.",
                "tool_calls": [call("a", "weather", '{"city":"Rome"}'), call("b", "clock", "{")],
            },
            {"role": "tool", "tool_call_id": "b", "content": "noon"},
            {"role": "tool", "tool_call_id": "?", "content": [{"type": "text", "text": "sun"}]},
            {"role": "user", "content": "So?"},
            {"role": "system", "content": "Late."},
        ]
    )["messages"]
    assert said[2:] == [
        {"role": "assistant", "content": "tool: none\nHello."},
        {"role": "user", "content": [{"type": "text", "text": "Look"}, {"type": "image_url"}]},
        {"role": "assistant", "content": "tool: none\nLooking."},
        {"role": "assistant", "content": 'tool: weather\n{"city": "Rome"}\ntool: clock\n{'},
        {
            "role": "user",
            "content": f"The tool clock returned:\nnoon{GOING_ON}\n\nThe tool tool returned:\nsun{GOING_ON}\n\nSo?",
        },
        {"role": "system", "content": "Late."},
    ]


def root(**more: Any) -> str:
    return str(sent(**more)["grammar"]).rpartition("root ::= ")[2]


def test_the_grammar_leaves_the_choice_or_takes_it() -> None:
    assert root().startswith(r'"tool: " ("none\n" [^\n\x00] [^\x00]* | "weather\n" rule')
    assert root().endswith(r' | "clock\n" value)')
    assert root(tool_choice="required").startswith(r'"tool: " ("weather\n" rule')
    assert "clock" in root(tool_choice="required")
    named = {"type": "function", "function": {"name": "weather"}}
    assert "clock" not in root(tool_choice=named)
    assert "clock" not in sent(tool_choice=named)["messages"][0]["content"]
    assert r'"none\n" object |' in root(response_format={"type": "json_object"})
    schema = {"name": "n", "schema": {"enum": ["yes"]}}
    assert r'"\"yes\""' in sent(response_format={"type": "json_schema", "json_schema": schema})["grammar"]


def test_no_stop_word_may_end_the_first_line() -> None:
    assert sent(stop=["\n", "END", "none"])["stop"] == ["END"]
    assert sent(stop="END")["stop"] == ["END"]
    assert "stop" not in sent(stop="\n")
    assert "stop" not in sent(stop=None)


def test_without_a_tool_that_may_be_called_there_is_no_first_line() -> None:
    called = {"role": "assistant", "content": None, "tool_calls": [call("a", "clock", "{}")]}
    history: list[dict[str, Any]] = [*HI, called, {"role": "tool", "tool_call_id": "a", "content": "noon"}]
    for request in (sent(history, tool_choice="none", stop="\n"), sent(history, tools=[], stop="\n")):
        assert [one["content"] for one in request["messages"]] == [
            PERSONA, "Hi", "tool: clock\n{}", "The tool clock returned:\nnoon",
        ]
        assert ("grammar" in request, request["stop"]) == (False, "\n")
    plain = {"messages": HI, "response_format": {"type": "json_object"}}
    assert ENGINE_TOOLS.request(plain) == plain


@pytest.mark.parametrize(
    ("more", "told"),
    [
        ({"tool_choice": {"type": "function", "function": {"name": "other"}}}, "'other'"),
        ({"tool_choice": {"type": "allowed_tools"}}, "'tool_choice'"),
        ({"tools": [], "messages": [{"role": "tool"}], "tool_choice": "required"}, "no 'tools'"),
        ({"tools": [WEATHER, {"type": "custom", "custom": {"name": "x"}}]}, "tools[1]"),
        ({"tools": [{"function": {"name": "none"}}]}, "tools[0]"),
        ({"tools": [{"function": {"name": "a\nb"}}]}, "tools[0]"),
    ],
)
def test_what_cannot_be_asked_is_refused(more: dict[str, Any], told: str) -> None:
    with pytest.raises(RequestError) as refused:
        ENGINE_TOOLS.request({**ASKED, **more})
    assert refused.value.status == 400
    assert told in str(refused.value)


# -- replies -----------------------------------------------------------------------------------------------------------


def whole(text: str, finish: str = "stop") -> dict[str, Any]:
    choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": finish}
    reply = ENGINE_TOOLS.whole({"id": "chatcmpl-abc", "choices": [choice], "usage": {"total_tokens": 3}}, ASKED)
    assert (reply["id"], reply["usage"]) == ("chatcmpl-abc", {"total_tokens": 3})
    found: dict[str, Any] = reply["choices"][0]
    return found


def test_a_call_is_read_as_one() -> None:
    assert whole('tool: weather\n{"city": "Rome"}') == {
        "index": 0, "finish_reason": "tool_calls",
        "message": {
            "role": "assistant", "content": None, "tool_calls": [call("call_abc", "weather", '{"city": "Rome"}')],
        },
    }
    cut = whole('tool: weather\n{"ci', "length")
    assert (cut["finish_reason"], cut["message"]["tool_calls"][0]["function"]["arguments"]) == ("length", '{"ci')


@pytest.mark.parametrize(
    ("written", "text"),
    [
        ("tool: none\nHello.", "Hello."),
        ("tool: none\ntool: weather\n{}", "tool: weather\n{}"),
        ("Hello.", "Hello."),  # as a model without the grammar may
        ("tool: other\n{}", "tool: other\n{}"),
        ("tool: weather", None),  # cut before it was decided
        ("tool: no", None),
        ("", None),
    ],
)
def test_text_is_no_call(written: str, text: str | None) -> None:
    choice = whole(written)
    assert (choice["message"], choice["finish_reason"]) == ({"role": "assistant", "content": text}, "stop")


@pytest.mark.parametrize("odd", [{}, {"choices": 3}, {"error": {"message": "m"}}, {"choices": [3, {"message": 4}]}])
def test_a_reply_of_another_shape_passes(odd: dict[str, Any]) -> None:
    assert ENGINE_TOOLS.whole(odd, ASKED) == odd
    plain = {"choices": [{"message": {"content": "tool: none\nx"}}]}
    assert ENGINE_TOOLS.whole(plain, {"messages": HI}) == plain


# -- streams -----------------------------------------------------------------------------------------------------------


def chunk(text: str | None, finish: str | None = None, **more: Any) -> bytes:
    delta = {} if finish and not text else {"role": "assistant", "content": None} if text is None else {"content": text}
    choice = {"index": 0, "delta": delta, "finish_reason": finish}
    return b"data: " + json.dumps({"id": "chatcmpl-abc", "choices": [choice], **more}).encode() + b"\n\n"


def streamed(pieces: Iterable[str], finish: str = "stop") -> list[bytes]:
    stream = ENGINE_TOOLS.stream(ASKED)
    events = [chunk(None), *map(chunk, pieces), chunk("", finish, usage={"total_tokens": 3}), DONE]
    return [*(out for event in events for out in stream.feed(event)), *stream.end()]


def gathered(events: Iterable[bytes]) -> dict[str, Any]:
    """What a client makes of a stream: the whole choice."""
    text, finish, calls = "", None, dict[int, dict[str, Any]]()
    for event in events:
        if event == DONE:
            break
        (choice,) = json.loads(event.removeprefix(b"data: "))["choices"]
        text += choice["delta"].get("content") or ""
        finish = choice["finish_reason"] or finish
        for delta in choice["delta"].get("tool_calls") or []:
            if "id" in delta:
                calls[delta["index"]] = json.loads(json.dumps(delta))
            else:
                calls[delta["index"]]["function"]["arguments"] += delta["function"]["arguments"]
    found = [{key: one[key] for key in ("id", "type", "function")} for _, one in sorted(calls.items())]
    message = {"role": "assistant", "content": text or None, **({"tool_calls": found} if found else {})}
    return {"index": 0, "message": message, "finish_reason": finish}


WRITTEN = st.one_of(
    st.builds("tool: {}\n{}".format, st.sampled_from(["none", "weather", "clock", "other"]), st.text(max_size=12)),
    st.text(max_size=12),
    st.integers(0, len(PLAIN)).map(lambda end: PLAIN[:end]),
)


@given(WRITTEN, st.sampled_from(["stop", "length"]), st.data())
def test_a_stream_split_anywhere_says_what_the_whole_reply_says(written: str, finish: str, data: st.DataObject) -> None:
    cuts = sorted(data.draw(st.lists(st.integers(0, len(written)), max_size=5)))
    pieces = [written[start:end] for start, end in zip([0, *cuts], [*cuts, len(written)], strict=True)]
    events = streamed(pieces, finish)
    expected = whole(written, finish)
    assert gathered(events) == expected
    assert events[-1] == DONE
    assert [b'"total_tokens"' in event for event in events].count(True) == 1
    reader = chat.reader()
    for event in events:
        reader.event(event)
    assert (reader.done, reader.calls) == (True, len(expected["message"].get("tool_calls", ())))


def test_only_the_first_line_is_held_back() -> None:
    stream = ENGINE_TOOLS.stream(ASKED)
    assert list(stream.feed(chunk(None)))
    assert [list(stream.feed(chunk(piece))) for piece in ("tool", ": ", "none")] == [[], [], []]
    assert [gathered([out])["message"]["content"] for out in stream.feed(chunk("\nHel"))] == ["Hel"]
    assert [gathered([out])["message"]["content"] for out in stream.feed(chunk("lo"))] == ["lo"]
    stream = ENGINE_TOOLS.stream(ASKED)
    assert [gathered([out])["message"]["content"] for out in stream.feed(chunk("Well"))] == ["Well"]
    stream = ENGINE_TOOLS.stream(ASKED)
    begun, arguments = stream.feed(chunk('tool: weather\n{"ci'))
    assert b'"name": "weather"' in begun
    assert rb'{\"ci' in arguments


def test_what_is_no_choice_passes_unchanged() -> None:
    stream = ENGINE_TOOLS.stream(ASKED)
    error, usage = b'data: {"error": {"message": "m"}}\n\n', b'data: {"choices": [], "usage": {}}\n\n'
    for event in (b": hi\n\n", DONE, error, usage):
        assert list(stream.feed(event)) == [event]
    plain = ENGINE_TOOLS.stream({"messages": HI})
    assert list(plain.feed(chunk("tool: none\nx"))) == [chunk("tool: none\nx")]


WORD = st.sampled_from(
    "type function name parameters properties required items enum anyOf description role content tool_calls id"
    " arguments tool assistant user object string json_schema schema choices delta message finish_reason".split()
)
LEAF = st.one_of(st.none(), st.booleans(), st.integers(-1, 2), st.text(max_size=3), WORD)
ODD = st.recursive(
    LEAF, lambda one: st.one_of(st.lists(one, max_size=3), st.dictionaries(WORD, one, max_size=4)), max_leaves=12
)
MESSAGE = st.dictionaries(WORD, ODD, max_size=4).map(lambda one: {"role": "tool", **one})
FUNCTION = st.dictionaries(WORD, ODD, max_size=4).map(lambda one: {"function": {**one, "name": "f"}})


@given(
    st.lists(MESSAGE, max_size=3), st.lists(FUNCTION, max_size=2),
    st.dictionaries(st.sampled_from(["tools", "tool_choice", "stop", "response_format"]), ODD),
)
def test_any_request_is_served_or_refused(messages: list[Any], tools: list[Any], odd: dict[str, Any]) -> None:
    with contextlib.suppress(RequestError):
        json.dumps(ENGINE_TOOLS.request({"messages": messages, "tools": tools, **odd}))


@given(st.dictionaries(WORD, ODD), st.lists(st.dictionaries(WORD, ODD, max_size=4), max_size=2))
def test_replies_of_any_shape_are_no_reason_to_fail(body: dict[str, Any], choices: list[Any]) -> None:
    for odd in (body, {**body, "choices": choices}):
        ENGINE_TOOLS.whole(odd, ASKED)
        list(ENGINE_TOOLS.stream(ASKED).feed(b"data: " + json.dumps(odd).encode() + b"\n\n"))


def test_schemas_without_end_are_refused() -> None:
    schema: dict[str, Any] = {"type": "string"}
    for _ in range(2000):
        schema = {"type": "array", "items": schema}
    with pytest.raises(RequestError, match="nested too deeply"):
        sent(tools=[{"function": {"name": "f", "parameters": schema}}])


# -- the leg -----------------------------------------------------------------------------------------------------------


def test_only_what_has_tools_is_rewritten() -> None:
    native = leg(chat, ("chat",))
    assert onto(native, {"messages": HI}) is native
    assert onto(native, ASKED) == Leg(chat, chat, ENGINE_TOOLS)
    assert onto(native, {"messages": [{"role": "tool"}]}).translation is ENGINE_TOOLS


def test_other_formats_go_through_chat_and_then_here() -> None:
    found = onto(leg(responses, ("chat",)), {})
    asked = {"input": "Hi", "tools": [{"type": "function", "name": "weather", "parameters": {}}]}
    request = responses.parse(json.dumps(asked).encode())
    body = json.loads(found.request(request, "NEW", "engine"))
    assert body["model"] == "engine"
    assert body["messages"][0]["content"].endswith("\n\nNEW")
    assert "grammar" in body
    written = {"message": {"role": "assistant", "content": "tool: weather\n{}"}, "finish_reason": "stop"}
    reply = json.loads(found.whole(json.dumps({"id": "chatcmpl-1", "choices": [written]}).encode(), 200, asked))
    assert [(item["type"], item["name"], item["arguments"]) for item in reply["output"]] == [
        ("function_call", "weather", "{}")
    ]
