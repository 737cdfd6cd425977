"""Code skills called in a turn: through the public door, with the official SDKs and the real sandbox."""

from __future__ import annotations

import asyncio
import json
from pathlib import Path
from typing import Any

import pytest

from metaclaw.types import ToolUse
from running_gateway import CHAT, Door, serving
from tool_clients import (
    ADDING,
    EACH_WAY,
    FIVE,
    NATIVE,
    OURS,
    STREAMED,
    THEIRS,
    WAYS,
    door_to,
    hear,
    names_in,
    results_in,
    turn_of,
)
from tool_upstream import ASK, CALL_OF_OURS, OWN, SIGNATURE, STREAMS, WHOLE, Call, Model, Round, code_skill

ENDLESS = '''
def add_up(amounts: list[int]) -> int:
    """Add up amounts, for ever."""
    while True:
        pass
'''
LONG = '''
def add_up(amounts: list[int]) -> str:
    """Add up amounts, at length."""
    return "sum " * 10000 + "end"
'''

ENDS = {"chat": "stop", "messages": "end_turn", "responses": "completed"}
BETWEEN = {"chat": "\n\n", "messages": "|", "responses": "|"}
SPENT = {"chat": (10, 4), "messages": (25, 15), "responses": (10, 4)}  # of one round, by what the upstream speaks


@STREAMED
@EACH_WAY
async def test_a_call_of_ours_is_run_and_the_client_sees_one_reply(
    tmp_path: Path, client: str, upstream: str, stream: bool
) -> None:
    model = Model([ADDING, FIVE])
    async with door_to(tmp_path, model, upstream) as door:
        heard = await hear(door, client, stream=stream)
        assert heard.text == f"Let me add.{BETWEEN[client]}It is 5."
        assert (heard.calls, heard.end) == ([], ENDS[client])
        assert heard.usage == tuple(2 * count for count in SPENT[upstream])
        assert OWN not in str(heard.raw)
        first, second = model.bodies
        assert (names_in(first), names_in(second)) == ([OWN], [OWN])
        assert (results_in(first), results_in(second)) == ([], ["5"])
        turn = await turn_of(door)
        assert OWN.encode() not in turn.request + turn.response
    assert (turn.complete, turn.skills) == (True, ("add-up@1",))
    assert isinstance(turn.tools, ToolUse)
    (call,) = turn.tools.calls
    assert turn.tools.offered == ("add-up@1",)
    assert (call.skill, json.loads(call.arguments), call.result, call.ok) == ("add-up@1", CALL_OF_OURS, "5", True)
    assert 0 < call.milliseconds < 10_000
    assert turn.usage


@STREAMED
@EACH_WAY
async def test_a_call_of_the_clients_passes_and_ours_beside_it_is_dropped(
    tmp_path: Path, client: str, upstream: str, stream: bool
) -> None:
    model = Model([Round("Both.", (OURS, THEIRS, Call(OWN, {"amounts": [1]})))])
    async with door_to(tmp_path, model, upstream) as door:
        heard = await hear(door, client, stream=stream, tools=True)
        turn = await turn_of(door)
    assert [call[1:] for call in heard.calls] == [("get_weather", {"city": "Rome"})]
    assert heard.end == {"chat": "tool_calls", "messages": "tool_use", "responses": "completed"}[client]
    assert heard.text == "Both."
    assert OWN not in str(heard.raw)
    assert len(model.bodies) == 1
    assert names_in(model.bodies[0]) == ["get_weather", OWN]
    assert turn.tools == ToolUse(("add-up@1",))
    assert turn.skills == ()


@STREAMED
@EACH_WAY
async def test_a_call_of_the_clients_after_one_of_ours(
    tmp_path: Path, client: str, upstream: str, stream: bool
) -> None:
    model = Model([ADDING, Round("Now the weather.", (THEIRS, Call("get_weather", {"city": "Oslo"})))])
    async with door_to(tmp_path, model, upstream) as door:
        heard = await hear(door, client, stream=stream, tools=True)
    assert [call[1:] for call in heard.calls] == [("get_weather", {"city": "Rome"}), ("get_weather", {"city": "Oslo"})]
    assert len({call[0] for call in heard.calls}) == 2
    assert heard.end == {"chat": "tool_calls", "messages": "tool_use", "responses": "completed"}[client]


@STREAMED
@EACH_WAY
async def test_the_rounds_are_bounded(tmp_path: Path, client: str, upstream: str, stream: bool) -> None:
    """A model that calls for ever is asked five times; the last time it may not call, and its call comes to nothing."""
    model = Model([ADDING])
    async with door_to(tmp_path, model, upstream) as door:
        heard = await hear(door, client, stream=stream)
        turn = await turn_of(door)
    assert len(model.bodies) == 5
    assert [len(results_in(body)) for body in model.bodies] == [0, 1, 2, 3, 4]
    assert results_in(model.bodies[-1])[-1].startswith("5\n\n(No further calls")
    none: Any = {"type": "none"} if upstream == "messages" else "none"
    assert [body.get("tool_choice") for body in model.bodies] == [None, None, None, None, none]
    assert (heard.calls, heard.end, heard.text.count("Let me add.")) == ([], ENDS[client], 5)
    assert turn.tools
    assert len(turn.tools.calls) == 4
    assert turn.skills == ("add-up@1",)


async def unsplit(door: Door, body: dict[str, Any]) -> bytes:
    reply, raw = await door.ask(json.dumps(body).encode())
    assert reply.status == 200, raw
    return raw


async def test_thinking_goes_back_unchanged_with_its_signature(tmp_path: Path) -> None:
    for stream in (False, True):
        model = Model([Round("Let me add.", (OURS,), thought="Two numbers."), Round("5.", thought="Done.")])
        async with door_to(tmp_path / str(stream), model, "messages") as door:
            thinking = {"type": "enabled", "budget_tokens": 1024}
            heard = await hear(door, "messages", stream=stream, thinking=thinking)
            assistant, result = model.bodies[1]["messages"][1:]
        assert assistant["content"] == [
            {"type": "thinking", "thinking": "Two numbers.", "signature": SIGNATURE},
            {"type": "text", "text": "Let me add."},
            {"type": "tool_use", "id": "call_1_0", "name": OWN, "input": CALL_OF_OURS},
        ]
        assert result == {
            "role": "user", "content": [{"type": "tool_result", "tool_use_id": "call_1_0", "content": "5"}]
        }
        assert [block.type for block in heard.raw.content] == ["thinking", "text", "thinking", "text"]
        assert heard.raw.content[0].signature == heard.raw.content[2].signature == SIGNATURE


@STREAMED
async def test_thinking_of_claude_goes_back_for_a_client_of_chat(tmp_path: Path, stream: bool) -> None:
    model = Model([Round("", (OURS,), thought="Two numbers."), FIVE])
    async with door_to(tmp_path, model, "messages") as door:
        await hear(door, "chat", stream=stream)
    assert model.bodies[1]["messages"][1]["content"][0] == {
        "type": "thinking", "thinking": "Two numbers.", "signature": SIGNATURE
    }


@STREAMED
async def test_reasoning_goes_back_to_a_chat_model(tmp_path: Path, stream: bool) -> None:
    for client in ("chat", "messages", "responses"):
        model = Model([Round("", (OURS,), thought="Two numbers."), FIVE])
        async with door_to(tmp_path / client, model) as door:
            await hear(door, client, stream=stream)
        assistant = model.bodies[1]["messages"][1]
        assert (assistant["reasoning_content"], assistant["content"]) == ("Two numbers.", None)


@STREAMED
@pytest.mark.parametrize("store", [None, False])
async def test_items_go_back_as_they_are_kept(tmp_path: Path, stream: bool, store: bool | None) -> None:
    model = Model([Round("Let me add.", (OURS,), thought="gAAA"), FIVE])
    async with door_to(tmp_path, model, "responses") as door:
        more = {} if store is None else {"store": store}
        heard = await hear(door, "responses", stream=stream, **more)
    _, thought, said, call, result = model.bodies[1]["input"]
    assert (thought["id"], thought["encrypted_content"]) == ("rs_1", "gAAA")
    assert ("id" in said, "id" in call) == (store is None, store is None)
    assert result == {"type": "function_call_output", "call_id": "call_1_0", "output": "5"}
    assert heard.raw.id == ("resp_1" if stream else "resp_2")


@NATIVE
async def test_nothing_is_offered_where_calls_are_forbidden_or_forced(tmp_path: Path, client: str) -> None:
    named: dict[str, Any] = {
        "chat": {"type": "function", "function": {"name": "get_weather"}},
        "messages": {"type": "tool", "name": "get_weather"}, "responses": {"type": "function", "name": "get_weather"},
    }
    words = {"messages": [{"type": "none"}, {"type": "any"}]}.get(client, ["none", "required"])
    for number, choice in enumerate([*words, named[client]]):
        model = Model([Round("No.")])
        async with door_to(tmp_path / str(number), model, client) as door:
            heard = await hear(door, client, stream=False, tools=True, tool_choice=choice)
            assert (await turn_of(door)).tools is None
        assert (names_in(model.bodies[0]), heard.text) == (["get_weather"], "No.")


@NATIVE
async def test_one_call_at_a_time_stays_one_at_a_time(tmp_path: Path, client: str) -> None:
    model = Model([ADDING, FIVE])
    alone: dict[str, Any] = {"parallel_tool_calls": False}
    if client == "messages":
        alone = {"tool_choice": {"type": "auto", "disable_parallel_tool_use": True}}
    async with door_to(tmp_path, model, client) as door:
        await hear(door, client, stream=True, tools=True, **alone)
    assert len(model.bodies) == 2
    for body in model.bodies:
        assert {name: body[name] for name in alone} == alone
        assert names_in(body) == ["get_weather", OWN]


async def test_the_clients_bytes_stay_but_for_the_tools(tmp_path: Path) -> None:
    tool = b'{"type" : "function", "function":{"name":"f","strict":true,"parameters":{"x":1e2} } }'
    model = Model([FIVE])
    for tools, expected in ((b"[ %s ]" % tool, b"[ %s , {" % tool), (b"[]", b"[{"), (b"null", b"[{")):
        sent = b' {"model" : "m",\t"messages":[ {"role":"user","content":"%s", "x":1e2} ],"tools": %s, "y":{} }\n'
        async with door_to(tmp_path / str(len(tools)), model) as door:
            await door.ask(sent % (ASK.encode(), tools))
            got = door.upstream.seen[-1].body
        head, _, tail = (sent % (ASK.encode(), tools)).partition(b'"tools": ')
        assert got.startswith(head + b'"tools": ' + expected.split(b", {")[0])
        assert got.endswith(tail[len(tools) :])
        assert json.loads(got)["tools"][-1]["function"]["name"] == OWN


async def test_a_clients_tool_of_the_same_name_is_the_clients(tmp_path: Path) -> None:
    model = Model([Round("", (OURS,))])
    mine: Any = [{"type": "function", "function": {"name": OWN, "parameters": {"type": "object"}}}]
    async with door_to(tmp_path, model) as door:
        raw = await unsplit(door, {"model": "m", "messages": [{"role": "user", "content": ASK}], "tools": mine})
        assert (await turn_of(door)).tools is None
    assert json.loads(raw)["choices"][0]["message"]["tool_calls"][0]["function"]["name"] == OWN
    assert model.bodies[0]["tools"] == mine


@NATIVE
async def test_a_skill_that_the_client_has_over_mcp_is_not_offered_twice(tmp_path: Path, client: str) -> None:
    model = Model([Round("No.")])
    tool: dict[str, Any] = {"name": "mcp__metaclaw__add_up", "parameters": {"type": "object"}}
    tools: dict[str, Any] = {
        "chat": {"type": "function", "function": tool}, "responses": {"type": "function", **tool},
        "messages": {"name": tool["name"], "input_schema": tool["parameters"]},
    }
    async with door_to(tmp_path, model, client) as door:
        asked = {"messages": [{"role": "user", "content": ASK}], "input": ASK, "max_tokens": 9}
        path = {"chat": CHAT, "messages": "/v1/messages", "responses": "/v1/responses"}[client]
        async with door.http.post(path, data=json.dumps({"model": "m", "tools": [tools[client]], **asked})) as reply:
            assert reply.status == 200
    assert names_in(model.bodies[0]) == [tool["name"]]


async def test_a_request_that_is_full_of_tools_gets_no_more(tmp_path: Path) -> None:
    model = Model([Round("No.")])
    tools = [{"type": "function", "function": {"name": f"f{number}"}} for number in range(128)]
    async with door_to(tmp_path, model) as door:
        await unsplit(door, {"model": "m", "messages": [{"role": "user", "content": ASK}], "tools": tools})
    assert len(model.bodies[0]["tools"]) == 128


async def test_without_a_call_the_reply_passes_byte_for_byte(tmp_path: Path) -> None:
    for client, path in (("chat", CHAT), ("messages", "/v1/messages"), ("responses", "/v1/responses")):
        for stream in (False, True):
            model = Model([FIVE])
            async with door_to(tmp_path / f"{client}{stream}", model, client) as door:
                said = {"messages": [{"role": "user", "content": ASK}], "max_tokens": 9}
                asked = {"model": "m", "stream": stream, **({"input": ASK} if client == "responses" else said)}
                async with door.http.post(path, data=json.dumps(asked)) as reply:
                    raw = await reply.read()
                assert names_in(model.bodies[0]) == [OWN]
                turn = await turn_of(door)
            wire = path.rpartition("/")[2]
            sent = b"".join(STREAMS[wire](FIVE, 1, {})) if stream else json.dumps(WHOLE[wire](FIVE, 1)).encode()
            assert (raw, turn.response) == (sent, sent)
            assert turn.tools == ToolUse(("add-up@1",))
            assert turn.skills == ()


@pytest.mark.parametrize(("arguments", "told"), [
    ({"amounts": [1], "factor": 0}, "ValueError: a factor of nothing"),
    ({"amounts": "many"}, "'amounts' must be a list"),
    ('{"amounts": [1', "not valid JSON"),
])
async def test_a_call_that_fails_is_a_result_that_says_so(tmp_path: Path, arguments: Any, told: str) -> None:
    for client, upstream in WAYS:
        model = Model([Round("", (Call(OWN, arguments),)), FIVE])
        async with door_to(tmp_path / f"{client}-{upstream}", model, upstream) as door:
            heard = await hear(door, client, stream=True)
            turn = await turn_of(door)
        assert heard.text == "It is 5."
        assert told in results_in(model.bodies[1])[0]
        assert "[1" not in json.dumps(model.bodies[1]).replace("[1]", "")  # no server is sent what it could not read
        if (client, upstream) == ("messages", "messages"):
            assert model.bodies[1]["messages"][-1]["content"][0]["is_error"] is True
        assert turn.tools
        assert [(call.ok, told in call.result) for call in turn.tools.calls] == [(False, True)]


async def test_a_call_that_runs_for_ever_is_stopped(tmp_path: Path) -> None:
    model = Model([Round("", (OURS,)), FIVE])
    async with serving(tmp_path, sandbox={"seconds": 0.2, "engine": "monty"}) as door:
        door.upstream.answer = model
        await asyncio.to_thread(door.publish, code_skill(ENDLESS))
        heard = await hear(door, "chat", stream=True)
    assert heard.text == "It is 5."
    assert "longer than 0.2 s" in results_in(model.bodies[1])[0]


async def test_a_long_result_is_cut(tmp_path: Path) -> None:
    model = Model([Round("", (OURS,)), FIVE])
    async with serving(tmp_path) as door:
        door.upstream.answer = model
        await asyncio.to_thread(door.publish, code_skill(LONG))
        await hear(door, "chat", stream=False)
    (result,) = results_in(model.bodies[1])
    assert result.startswith("sum sum")
    assert result.endswith("sum end")
    assert "32003 characters left out" in result
    assert len(result) < 8_100


async def test_many_calls_at_once_are_run_up_to_a_number(tmp_path: Path) -> None:
    calls = tuple(Call(OWN, {"amounts": [number]}) for number in range(10))
    model = Model([Round("", calls), FIVE])
    async with door_to(tmp_path, model) as door:
        await hear(door, "chat", stream=True)
    results = results_in(model.bodies[1])
    assert results[:8] == [str(number) for number in range(8)]
    assert all(result.startswith("Error: Not run: at most 8") for result in results[8:])
