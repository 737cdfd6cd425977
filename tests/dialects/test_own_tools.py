"""Several rounds as one reply: streams and whole replies say the same, however the bytes are cut; and odd servers."""

from __future__ import annotations

import itertools
import json
from collections.abc import Callable, Iterable, Mapping, Sequence
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclaw.dialects import own_tools, own_tools_in_chat, own_tools_in_messages, own_tools_in_responses, sse
from metaclaw.dialects.base import Request
from metaclaw.dialects.own_tools import Answer, OwnCall, OwnTools, Rounds, added, with_tools
from recorded_streams import CHAT_HELLO, call_chunk, chunk, told
from tool_upstream import OWN, STREAMS, WHOLE, Call, Round
from upstream_server import DONE

OURS = frozenset([OWN])
WIRES: Mapping[str, OwnTools] = {
    "completions": own_tools_in_chat, "messages": own_tools_in_messages, "responses": own_tools_in_responses,
}
WITH_USAGE = {"stream_options": {"include_usage": True}}
EACH = pytest.mark.parametrize("wire", list(WIRES))

words = st.text(st.characters(codec="utf-8", exclude_categories=["Cs"]), max_size=12)
arguments = st.dictionaries(words, st.integers() | words, max_size=2)
calls = st.builds(Call, st.sampled_from([OWN, "theirs", "metaclaw_other"]), arguments)
rounds_of_ours = st.builds(
    Round, words, st.lists(st.builds(Call, st.just(OWN), arguments), min_size=1, max_size=2).map(tuple), words
)
last_rounds = st.builds(Round, words, st.lists(calls, max_size=3).map(tuple), words)
turns = st.tuples(st.lists(rounds_of_ours, max_size=2), last_rounds).map(lambda both: [*both[0], both[1]])


class Tool:
    name = OWN
    description = "Adds up."
    parameters: Mapping[str, Any] = {"type": "object", "properties": {}}


def streamed(wire: str, moves: Sequence[Round], cuts: Callable[[bytes], Iterable[bytes]]) -> tuple[list[bytes], Rounds]:
    """The client's events of a turn with these rounds; the last one may not go on."""
    rounds = WIRES[wire].rounds(OURS)
    events: list[bytes] = []
    for number, move in enumerate(moves, 1):
        if number > 1:
            assert rounds.calls
            rounds.again()
        rounds.last = number == len(moves)
        splitter = sse.EventSplitter()
        for piece in cuts(b"".join(STREAMS[wire](move, number, WITH_USAGE))):
            events += [one for event in splitter.feed(piece) for one in rounds.feed(event)]
        assert not splitter.rest
    return events, rounds


def whole(wire: str, moves: Sequence[Round]) -> tuple[dict[str, Any], Rounds]:
    rounds = WIRES[wire].rounds(OURS)
    raw = b""
    for number, move in enumerate(moves, 1):
        if number > 1:
            rounds.again()
        rounds.last = number == len(moves)
        raw = rounds.whole(json.dumps(WHOLE[wire](move, number)).encode())
    found: dict[str, Any] = json.loads(raw)
    return found, rounds


def assembled(wire: str, events: list[bytes]) -> Any:
    return {"completions": of_chat, "messages": of_messages, "responses": of_responses}[wire](told(events))


def of_chat(chunks: list[dict[str, Any]]) -> Any:
    text, thought, finish = "", "", None
    made: list[dict[str, Any]] = []
    assert chunks[-1] == {"type": "done"}
    for choice in (choice for one in chunks for choice in one.get("choices", [])):
        delta, finish = choice["delta"], choice["finish_reason"] or finish
        text += delta.get("content") or ""
        thought += delta.get("reasoning_content") or ""
        for call in delta.get("tool_calls", []):
            if call.get("id"):
                assert call["index"] == len(made)
                made.append({"id": call["id"], "name": call["function"]["name"], "arguments": ""})
            made[call["index"]]["arguments"] += call["function"]["arguments"]
    return text, thought, made, finish, next(one["usage"] for one in reversed(chunks) if one.get("usage"))


def of_messages(events: list[dict[str, Any]]) -> Any:
    content: list[dict[str, Any]] = []
    for event in events:
        match event["type"]:
            case "content_block_start":
                assert event["index"] == len(content)
                content.append({**event["content_block"], "json": ""})
            case "content_block_delta":
                block, delta = content[event["index"]], event["delta"]
                assert event["index"] == len(content) - 1
                for name, member in (("text", "text"), ("thinking", "thinking"), ("partial_json", "json")):
                    block[member] = block.get(member, "") + delta.get(name, "")
                block["signature"] = delta.get("signature", "")
    kinds = [event["type"] for event in events]
    assert (kinds.count("message_start"), kinds.count("message_stop")) == (1, 1)
    told_blocks = [
        (block["type"], block.get("text") or block.get("thinking") or block.get("id"),
         json.loads(block["json"]) if block["json"] else {}) for block in content
    ]
    return told_blocks, events[-2]["delta"]["stop_reason"]


def of_responses(events: list[dict[str, Any]]) -> Any:
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    response = events[-1]["response"]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    assert done == response["output"]
    assert len({event["response"]["id"] for event in events if "response" in event}) == 1
    return response["output"], response["status"], response["usage"]


def as_assembled(wire: str, body: dict[str, Any]) -> Any:
    """A whole reply in the shape of `assembled`."""
    if wire == "responses":
        return body["output"], body["status"], body["usage"]
    if wire == "messages":
        blocks = [
            (block["type"], block.get("text") or block.get("thinking") or block.get("id"), block.get("input", {}))
            for block in body["content"]
        ]
        return blocks, body["stop_reason"]
    choice = body["choices"][0]
    message = choice["message"]
    made = [
        {"id": call["id"], **call["function"]} for call in message.get("tool_calls", [])
    ]
    text, thought = message["content"] or "", message.get("reasoning_content", "")
    return text, thought, made, choice["finish_reason"], body["usage"]


@EACH
@settings(deadline=None)  # the machine may be busy with something else
@given(moves=turns, sizes=st.lists(st.integers(1, 300), min_size=1, max_size=4))
def test_streams_and_whole_replies_say_the_same_however_they_are_cut(
    wire: str, moves: list[Round], sizes: list[int]
) -> None:
    def cuts(raw: bytes) -> Iterable[bytes]:
        for size in itertools.cycle(sizes):
            yield raw[:size]
            raw = raw[size:]
            if not raw:
                return

    events, cut = streamed(wire, moves, cuts)
    uncut, _ = streamed(wire, moves, lambda raw: [raw])
    body, at_once = whole(wire, moves)
    assert events == uncut
    assert assembled(wire, events) == as_assembled(wire, body)
    assert cut.dropped == at_once.dropped
    assert b'"' + OWN.encode() + b'"' not in b"".join(events)
    if len(moves) == 1 and not any(call.name == OWN for call in moves[0].calls):
        assert b"".join(events) == b"".join(STREAMS[wire](moves[0], 1, WITH_USAGE))


@EACH
def test_a_call_that_was_cut_short_is_dropped_and_the_reply_ends_as_it_did(wire: str) -> None:
    move = Round("So", (Call(OWN, '{"amounts": ['),), finish={"completions": "length"}.get(wire, "max_tokens"))
    raw = b"".join(STREAMS[wire](move, 1, {}))
    if wire == "responses":
        raw = raw.replace(b"event: response.completed", b"event: response.incomplete").replace(
            b'"type": "response.completed"', b'"type": "response.incomplete"'
        )
    rounds = WIRES[wire].rounds(OURS)
    events = [one for event in sse.split(raw) for one in rounds.feed(event)]
    assert (rounds.calls, [call.name for call in rounds.dropped]) == ([], [OWN])
    assert OWN.encode() not in b"".join(events)
    if wire != "responses":
        assert move.finish.encode() in b"".join(events)


@EACH
def test_an_error_behind_the_end_of_a_round_is_the_end(wire: str) -> None:
    rounds = WIRES[wire].rounds(OURS)
    move = Round("", (Call(OWN, {}),))
    for event in STREAMS[wire](move, 1, {}):
        list(rounds.feed(event))
    assert rounds.calls
    error = b'event: error\ndata: {"type": "error", "error": {"message": "x"}}\n\n'
    assert [json.loads(sse.data_of(one))["error"] for one in rounds.feed(error)] == [{"message": "x"}]
    assert not rounds.calls


@EACH
def test_what_is_no_reply_passes(wire: str) -> None:
    for raw in (b'{"error": {"message": "x"}}', b"<html>", b"[1]"):
        rounds = WIRES[wire].rounds(OURS)
        assert rounds.whole(raw) == raw
        event = b"data: " + raw + b"\n\n"
        assert list(rounds.feed(event)) == [event]
        assert list(rounds.feed(b": alive\n\n")) == [b": alive\n\n"]


def test_the_request_is_extended_and_nothing_else_of_it_changes() -> None:
    raw = b'{ "messages" : [ {"role":"user","content":"\\u00e9", "n":1e2} ], "x": 1.50 }'
    request = Request(raw, json.loads(raw), False, "")
    offered = with_tools(own_tools_in_chat, request, [Tool()])
    assert offered.raw.endswith(raw[1:])
    said: list[dict[str, Any]] = [{"role": "assistant", "content": None, "tool_calls": []}]
    answers = [Answer(OwnCall("c", OWN, "{}"), "no", failed=True)]
    asked = own_tools_in_chat.continued(offered, said, answers)
    assert b'"n":1e2} , {"role": "assistant"' in asked.raw
    assert json.loads(asked.raw) == asked.body
    assert asked.body["messages"][-1] == {"role": "tool", "tool_call_id": "c", "content": "Error: no"}
    forbidden = own_tools.without_calls(own_tools_in_chat, asked)
    assert json.loads(forbidden.raw) == forbidden.body
    assert forbidden.body["tool_choice"] == "none"


def test_input_that_is_a_text_becomes_a_list() -> None:
    raw = b'{"input": "Hi", "store": false}'
    request = Request(raw, json.loads(raw), False, "Hi")
    call = {"type": "function_call", "id": "fc", "call_id": "c", "name": OWN, "arguments": "{}"}
    said: list[dict[str, Any]] = [{"type": "reasoning", "id": "rs", "summary": []}, call]
    asked = own_tools_in_responses.continued(request, said, [Answer(OwnCall("c", OWN, "{}"), "5")])
    assert json.loads(asked.raw) == asked.body
    user, called, result = asked.body["input"]
    assert user == {"role": "user", "content": "Hi"}
    assert called == {name: value for name, value in call.items() if name != "id"}
    assert result == {"type": "function_call_output", "call_id": "c", "output": "5"}


@pytest.mark.parametrize(("body", "admitted"), [
    ({}, True), ({"tool_choice": "auto"}, True), ({"tool_choice": "required"}, False), ({"tool_choice": "none"}, False),
    ({"tool_choice": {"type": "allowed_tools"}}, False), ({"n": 2}, False), ({"functions": [{"name": "f"}]}, False),
    ({"audio": {"voice": "x"}}, False), ({"n": 1, "parallel_tool_calls": False}, True),
])
def test_chat_requests_that_take_tools(body: dict[str, Any], admitted: bool) -> None:
    assert own_tools_in_chat.admits(body) is admitted


@pytest.mark.parametrize(("body", "admitted"), [
    ({}, True), ({"conversation": "conv_1"}, False), ({"background": True}, False), ({"tool_choice": "none"}, False),
    ({"previous_response_id": "resp_1"}, True),
])
def test_responses_requests_that_take_tools(body: dict[str, Any], admitted: bool) -> None:
    assert own_tools_in_responses.admits(body) is admitted


def test_names_of_the_clients_tools() -> None:
    spaced = {"type": "namespace", "name": "n", "tools": [{"type": "function", "name": "g"}]}
    brought = {"type": "additional_tools", "tools": [{"type": "custom", "name": "exec"}, spaced]}
    body = {"tools": [{"type": "function", "name": "f"}, {"type": "web_search"}], "input": [brought]}
    assert own_tools_in_responses.names(body) == {"f", "exec", "g"}
    chat = {"tools": [{"type": "function", "function": {"name": "f"}}, {"type": "custom", "custom": {"name": "c"}}, 1]}
    assert own_tools_in_chat.names(chat) == {"f", "c"}
    assert own_tools_in_messages.names({"tools": [{"name": "f"}, {"type": "x"}]}) == {"f"}


# -- servers with habits of their own ----------------------------------------------------------------------------------


def fed(events: Iterable[bytes]) -> tuple[list[bytes], Rounds]:
    rounds = own_tools_in_chat.rounds(OURS)
    return [one for event in events for one in rounds.feed(event)], rounds


def call(**members: Any) -> bytes:
    return chunk({"tool_calls": [members]})


def test_chat_calls_that_interleave_keep_their_own_numbers() -> None:
    events, rounds = fed([
        call_chunk(0, "", OWN, "a"), call_chunk(1, "", "theirs", "b"), call_chunk(0, '{"x"'), call_chunk(1, "{"),
        call_chunk(0, ": 1}"), call_chunk(1, "}"), chunk({}, "tool_calls"), DONE,
    ])
    made = [call for one in told(events)[:-1] for call in one["choices"][0]["delta"].get("tool_calls", [])]
    assert [one["index"] for one in made] == [0, 0, 0]
    assert "".join(one["function"]["arguments"] for one in made) == "{}"
    assert rounds.dropped == [OwnCall("a", OWN, '{"x": 1}')]


def test_a_name_that_comes_after_the_id() -> None:
    events, rounds = fed([
        call(index=0, id="a", type="function", function={"arguments": ""}),
        call(index=0, function={"name": "theirs", "arguments": "{"}), call(index=0, function={"arguments": "}"}),
        call(index=1, id="b", function={}), call(index=1, function={"name": OWN, "arguments": "{}"}),
        chunk({}, "tool_calls"), DONE,
    ])
    first, second = [one["choices"][0]["delta"]["tool_calls"] for one in told(events)[:2]]
    assert first == [{"index": 0, "id": "a", "type": "function", "function": {"name": "theirs", "arguments": "{"}}]
    assert second == [{"index": 0, "function": {"arguments": "}"}}]
    assert rounds.dropped == [OwnCall("b", OWN, "{}")]


@pytest.mark.parametrize("number", [{}, {"index": 0}])
def test_calls_without_numbers_of_their_own(number: dict[str, int]) -> None:
    events, rounds = fed([
        call(**number, id="a", function={"name": OWN, "arguments": '{"x": 1}'}),
        call(**number, id="b", function={"name": OWN, "arguments": {"x": 2}}), chunk({"content": ""}, "stop"), DONE,
    ])
    assert rounds.calls == [OwnCall("a", OWN, '{"x": 1}'), OwnCall("b", OWN, '{"x": 2}')]
    assert [one["choices"][0]["finish_reason"] for one in told(events)] == [None]


@pytest.mark.parametrize("number", [{}, {"index": 0, "id": ""}])
def test_calls_without_ids_of_their_own(number: dict[str, Any]) -> None:
    _, rounds = fed([
        call(**number, function={"name": OWN, "arguments": '{"x":'}), call(**number, function={"arguments": " 1}"}),
        call(**number, function={"name": OWN, "arguments": "{}"}), chunk({}, "tool_calls"), DONE,
    ])
    assert rounds.calls == [OwnCall("call_0", OWN, '{"x": 1}'), OwnCall("call_1", OWN, "{}")]


def test_what_a_provider_wants_back_with_a_call_goes_back() -> None:
    signed = {"google": {"thought_signature": "sig"}}
    details = [{"type": "reasoning.text", "text": "Hm.", "index": 0}]
    _, rounds = fed([
        chunk({"role": "assistant", "content": None, "reasoning_details": details}),
        call(index=0, id="", function={"name": OWN, "arguments": "{}"}, extra_content=signed),
        chunk({}, "tool_calls"), DONE,
    ])
    assert rounds.said == [{
        "role": "assistant", "content": None, "reasoning_details": details,
        "tool_calls": [{
            "id": "call_0", "type": "function", "function": {"name": OWN, "arguments": "{}"}, "extra_content": signed,
        }],
    }]
    assert rounds.calls == [OwnCall("call_0", OWN, "{}")]


def test_a_finish_that_brings_text_and_usage_is_no_end() -> None:
    last = {"prompt_tokens": 1}
    events, rounds = fed([call_chunk(0, "{}", OWN, "a"), chunk({"content": "Hm"}, "tool_calls", usage=last), DONE])
    (only,) = told(events)
    assert (only["choices"][0]["delta"], only["choices"][0]["finish_reason"]) == ({"content": "Hm"}, None)
    assert "usage" not in only
    assert (rounds.usage, len(rounds.calls)) == (last, 1)


def test_the_role_comes_once_and_texts_of_two_rounds_stand_apart() -> None:
    rounds = own_tools_in_chat.rounds(OURS)
    first = [one for event in [*CHAT_HELLO[:3], call_chunk(0, "{}", OWN, "a"), chunk({}, "tool_calls"), DONE]
             for one in rounds.feed(event)]
    assert first == CHAT_HELLO[:3]
    rounds.again()
    second = [one for event in CHAT_HELLO for one in rounds.feed(event)]
    assert [one["choices"][0]["delta"] for one in told(second) if one.get("choices")] == [
        {"refusal": None}, {"content": "\n\nHello"}, {"content": "!"}, {}
    ]


def test_usages_add_up() -> None:
    before = {"a": 1, "in": {"x": 2, "kind": "old"}, "none": None, "yes": True}
    now = {"a": 2, "in": {"x": 3, "kind": "new"}, "none": None, "yes": True, "b": 1.5, "new": {"y": 1}}
    assert added(before, now) == {
        "a": 3, "in": {"x": 5, "kind": "new"}, "none": None, "yes": True, "b": 1.5, "new": {"y": 1}
    }
