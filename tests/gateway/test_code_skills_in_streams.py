"""Turns of several rounds as streams: what goes out when, whether it is one valid stream, and what ends it early."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest.mock import patch

import pytest
from aiohttp import web

from metaclaw.gateway import toolbox
from metaclaw.sandbox import Sandbox
from metaclaw.types import ToolUse
from metaclaw.upstream.route import Router
from recorded_streams import told
from running_gateway import CHAT, Door, serving, serving_several, until
from tool_clients import ADDING, FIVE, NATIVE, OURS, STREAMED, THEIRS, door_to, hear, names_in, results_in, turn_of
from tool_upstream import ASK, OWN, STREAMS, Call, Model, Round, code_skill
from upstream_server import DONE, Taps, completion, delta, hang, streamed, whole

PATHS = {"chat": CHAT, "messages": "/v1/messages", "responses": "/v1/responses"}
WIRES = {"chat": "completions", "messages": "messages", "responses": "responses"}
SLOW = '''
def add_up(amounts: list[int]) -> int:
    """Add up amounts, for ever."""
    while True:
        pass
'''


def body_of(client: str, **more: Any) -> bytes:
    said = {"input": ASK} if client == "responses" else {"messages": [{"role": "user", "content": ASK}]}
    usage = {"stream_options": {"include_usage": True}} if client == "chat" else {}
    limit = {"max_tokens": 100} if client == "messages" else {}
    return json.dumps({"model": "m", "stream": True, **said, **usage, **limit, **more}).encode()


async def raw_events(door: Door, client: str, **more: Any) -> list[bytes]:
    async with door.http.post(PATHS[client], data=body_of(client, **more)) as reply:
        assert reply.status == 200
        return [event + b"\n\n" for event in (await reply.read()).split(b"\n\n")[:-1]]


# -- one valid stream --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("piece", [0, 1, 7])
async def test_chat_chunks_have_one_id_one_role_and_one_end(tmp_path: Path, piece: int) -> None:
    model = Model([ADDING, Round("And.", (OURS, OURS)), FIVE], piece=piece)
    async with door_to(tmp_path, model) as door:
        chunks = told(await raw_events(door, "chat"))
    assert chunks.pop() == {"type": "done"}
    assert {(chunk["id"], chunk["created"], chunk["model"]) for chunk in chunks} == {("chatcmpl-1", 1, "scripted")}
    choices = [choice for chunk in chunks for choice in chunk["choices"]]
    assert [choice["delta"]["role"] for choice in choices if "role" in choice["delta"]] == ["assistant"]
    assert [choice["finish_reason"] for choice in choices if choice["finish_reason"]] == ["stop"]
    assert [chunk["usage"]["total_tokens"] for chunk in chunks if chunk.get("usage")] == [42]
    text = "".join(choice["delta"].get("content") or "" for choice in choices)
    assert text == "Let me add.\n\nAnd.\n\nIt is 5."


@pytest.mark.parametrize("piece", [0, 1, 7])
async def test_content_blocks_are_numbered_in_a_row(tmp_path: Path, piece: int) -> None:
    model = Model([ADDING, Round("And.", (OURS, OURS), thought="Hm."), Round("Now.", (THEIRS,))], piece=piece)
    async with door_to(tmp_path, model, "messages") as door:
        events = told(await raw_events(door, "messages"))
    kinds = [event["type"] for event in events]
    assert (kinds[0], kinds.count("message_start")) == ("message_start", 1)
    assert (kinds[-2:], kinds.count("message_delta"), kinds.count("message_stop")) == (
        ["message_delta", "message_stop"], 1, 1
    )
    begun = [(event["index"], event["content_block"]["type"]) for event in events if "content_block" in event]
    assert begun == [(0, "text"), (1, "thinking"), (2, "text"), (3, "text"), (4, "tool_use")]
    open_block = -1
    for event in events[1:-2]:
        if event["type"] == "content_block_start":
            open_block += 1
        assert event["index"] == open_block
    assert events[-2]["delta"]["stop_reason"] == "tool_use"
    assert events[-2]["usage"] == {"input_tokens": 75, "output_tokens": 45}


@pytest.mark.parametrize("piece", [0, 1, 7])
async def test_events_and_items_of_responses_are_numbered_in_a_row(tmp_path: Path, piece: int) -> None:
    rounds = [ADDING, Round("And.", (OURS, OURS), thought="Hm."), Round("Now.", (THEIRS,))]
    model = Model(rounds, piece=piece)
    async with door_to(tmp_path, model, "responses") as door:
        events = told(await raw_events(door, "responses"))
    assert [event["sequence_number"] for event in events] == list(range(len(events)))
    kinds = [event["type"] for event in events]
    assert kinds.count("response.created") == kinds.count("response.in_progress") == 1
    assert (kinds[-1], kinds.count("response.completed")) == ("response.completed", 1)
    added = [(event["output_index"], event["item"]["type"]) for event in events
             if event["type"] == "response.output_item.added"]
    assert added == [(0, "message"), (1, "reasoning"), (2, "message"), (3, "message"), (4, "function_call")]
    done = [event["item"] for event in events if event["type"] == "response.output_item.done"]
    final = events[-1]["response"]
    assert final["output"] == done
    assert {event["response"]["id"] for event in events if "response" in event} == {"resp_1"}
    assert final["usage"]["total_tokens"] == 42
    assert final["tools"] == events[0]["response"]["tools"] == []


async def test_items_get_ids_of_their_own_where_every_round_has_the_same_id(tmp_path: Path) -> None:
    rounds = (Round("Let me.", (OURS,)), FIVE)
    answers = iter([streamed(STREAMS["completions"](one, 1, {})) for one in rounds])
    async with serving(tmp_path) as door:
        await asyncio.to_thread(door.publish, code_skill())

        async def answer(request: web.Request) -> web.StreamResponse:
            return await next(answers)(request)

        door.upstream.answer = answer
        events = told(await raw_events(door, "responses"))
    final = events[-1]["response"]
    assert [item["content"][0]["text"] for item in final["output"]] == ["Let me.", "It is 5."]
    ids = [event["item"]["id"] for event in events if event["type"] == "response.output_item.added"]
    assert ids == [item["id"] for item in final["output"]]
    assert len(set(ids)) == 2
    assert {event["item_id"] for event in events if "item_id" in event} == set(ids)


# -- when what goes out ------------------------------------------------------------------------------------------------


@NATIVE
async def test_each_event_goes_on_as_it_comes_and_the_turn_is_kept_before_the_end(tmp_path: Path, client: str) -> None:
    first = list(STREAMS[WIRES[client]](ADDING, 1, {}))
    second = list(STREAMS[WIRES[client]](FIVE, 2, {}))
    rounds = [Taps(), Taps()]
    asked = iter(rounds)
    async with door_to(tmp_path, Model([FIVE]), client) as door:
        async def answer(request: web.Request) -> web.StreamResponse:
            return await streamed(next(asked))(request)

        door.upstream.answer = answer
        async with door.http.post(PATHS[client], data=body_of(client)) as reply, asyncio.timeout(10):
            shown = [event for event in first if b"Let m" in event and b"delta" in event][:1]
            upto = first.index(shown[0]) + 1
            rounds[0].let_out(*first[:upto])
            while b"Let m" not in await reply.content.readuntil(b"\n\n"):
                pass
            rounds[0].let_out(*first[upto:], None)
            await until(lambda: len(door.upstream.seen) == 2)
            upto = next(n for n, event in enumerate(second) if b"It is" in event) + 1
            rounds[1].let_out(*second[:upto])
            while b"It is" not in await reply.content.readuntil(b"\n\n"):
                pass
            assert await door.turns() == []
            rounds[1].let_out(*second[upto:], None)
            assert await reply.read()
            assert len(await door.turns()) == 1


@NATIVE
async def test_a_client_that_leaves_ends_the_round_that_is_under_way(tmp_path: Path, client: str) -> None:
    first, model = asyncio.Event(), Model([ADDING])
    async with door_to(tmp_path, model, client) as door:
        async def answer(request: web.Request) -> web.StreamResponse:
            if model.bodies:
                first.set()
                return await hang(request)
            return await model(request)

        door.upstream.answer = answer
        async with door.http.post(PATHS[client], data=body_of(client)) as reply:
            await first.wait()
            reply.close()
        async with asyncio.timeout(5):
            await door.upstream.left.wait()
        while not (turns := await door.turns()):
            await asyncio.sleep(0)
    assert not turns[0].complete
    assert turns[0].skills == ("add-up@1",)


async def test_a_client_that_leaves_ends_the_call_that_is_under_way(tmp_path: Path) -> None:
    model = Model([ADDING, FIVE])
    running, ended = asyncio.Event(), asyncio.Event()
    real = Sandbox.run

    async def watched(self: Sandbox, call: Any) -> Any:
        running.set()
        try:
            return await real(self, call)
        except asyncio.CancelledError:
            ended.set()
            raise

    async with serving(tmp_path, sandbox={"seconds": 60.0, "engine": "monty"}) as door:
        door.upstream.answer = model
        await asyncio.to_thread(door.publish, code_skill(SLOW))
        with patch.object(Sandbox, "run", watched):
            async with door.http.post(CHAT, data=body_of("chat")) as reply:
                await running.wait()
                reply.close()
            async with asyncio.timeout(5):
                await ended.wait()
    assert len(model.bodies) == 1


# -- what goes wrong ---------------------------------------------------------------------------------------------------


async def refusing_tools(model: Model, request: web.Request, status: int = 400) -> web.StreamResponse:
    body = await request.json()
    if "tools" in body:
        return web.json_response({"error": {"message": "this model knows no tools"}}, status=status)
    return await model(request)


@STREAMED
@pytest.mark.parametrize("status", [400, 404, 422])
async def test_an_upstream_that_takes_no_tools_gets_the_clients_request(
    tmp_path: Path, stream: bool, status: int
) -> None:
    model = Model([Round("Without.")])
    async with door_to(tmp_path, model) as door:
        door.upstream.answer = lambda request: refusing_tools(model, request, status)
        assert [(await hear(door, "chat", stream=stream)).text for _ in range(2)] == ["Without.", "Without."]
        assert ["tools" in json.loads(seen.body) for seen in door.upstream.seen] == [True, False, False]
        assert [turn.tools for turn in await door.turns()] == [None, None]


async def test_a_refusal_that_has_another_reason_is_told_and_not_remembered(tmp_path: Path) -> None:
    async with door_to(tmp_path, Model([FIVE])) as door:
        door.upstream.answer = whole(b'{"error": {"message": "theirs"}}', 400)
        reply, raw = await door.ask(body_of("chat"))
        assert (reply.status, raw) == (400, b'{"error": {"message": "theirs"}}')
        door.upstream.answer = Model([FIVE])
        await hear(door, "chat", stream=True)
        assert "tools" in json.loads(door.upstream.seen[-1].body)


async def test_tools_that_make_a_request_too_long_are_left_out_and_not_thought_refused(tmp_path: Path) -> None:
    model = Model([Round("Without.")])
    too_long = {"error": {"message": "the request exceeds the available context size"}}
    async with door_to(tmp_path, model) as door:
        async def answer(request: web.Request) -> web.StreamResponse:
            has_tools = "tools" in await request.json()
            return web.json_response(too_long, status=400) if has_tools else await model(request)

        door.upstream.answer = answer
        assert [(await hear(door, "chat", stream=False)).text for _ in range(2)] == ["Without.", "Without."]
        assert ["tools" in json.loads(seen.body) for seen in door.upstream.seen] == [True, False, True, False]


def failing_later(model: Model, later: Callable[[web.Request], Any]) -> Callable[[web.Request], Any]:
    async def answer(request: web.Request) -> web.StreamResponse:
        return await (later(request) if model.bodies else model(request))

    return answer


async def test_a_later_round_that_fails_is_an_error_in_the_stream(tmp_path: Path) -> None:
    for client in ("chat", "messages", "responses"):
        model = Model([ADDING])
        async with door_to(tmp_path / client, model, client) as door:
            door.upstream.answer = failing_later(model, whole(b'{"error": {"message": "overloaded"}}', 529))
            events = told(await raw_events(door, client))
            turn = await turn_of(door)
        assert "overloaded" in str(events[-1]["error"])
        assert not turn.complete
        assert turn.reply == "Let me add."
        assert turn.tools
        assert [call.result for call in turn.tools.calls] == ["5"]


async def test_a_later_round_that_fails_gives_a_whole_reply_its_status(tmp_path: Path) -> None:
    model = Model([ADDING])
    async with door_to(tmp_path, model) as door:
        failing = whole(b'{"error": {"message": "slow down"}}', 429, {"retry-after": "7"})
        door.upstream.answer = failing_later(model, failing)
        reply, raw = await door.ask(body_of("chat", stream=False))
        assert (reply.status, reply.headers["retry-after"]) == (429, "7")
        assert json.loads(raw)["error"]["message"] == "slow down"
        assert (await turn_of(door)).status == 429


async def test_a_later_round_that_is_refused_leads_to_a_reply_without_tools(tmp_path: Path) -> None:
    """As a whole: nothing has reached the client."""
    model = Model([ADDING, Round("Without.")])
    async with door_to(tmp_path, model) as door:
        async def answer(request: web.Request) -> web.StreamResponse:
            body = await request.json()
            if results_in(body):
                return web.json_response({"error": {"message": "no roles of tools"}}, status=422)
            return await model(request)

        door.upstream.answer = answer
        assert (await hear(door, "chat", stream=False)).text == "Without."
        assert ["tools" in json.loads(seen.body) for seen in door.upstream.seen] == [True, True, False]


async def test_the_next_upstream_begins_from_the_start(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {}, {}) as door:
        await asyncio.to_thread(door.publish, code_skill())
        first, second = Model([ADDING]), Model([ADDING, FIVE])
        door.upstreams[0].answer = failing_later(first, whole(b"{}", 500))
        door.upstreams[1].answer = second
        heard = await hear(door, "chat", stream=False)
        turn = await turn_of(door)
    assert heard.text == "Let me add.\n\nIt is 5."
    assert [len(results_in(body)) for body in second.bodies] == [0, 1]
    assert turn.tools
    assert len(turn.tools.calls) == 1


async def test_nothing_is_offered_where_nothing_can_run_it(tmp_path: Path) -> None:
    async def missing(self: Sandbox) -> dict[str, str | None]:
        return {"monty": "not installed", "strong": "no bwrap"}

    async with door_to(tmp_path, Model([FIVE])) as door:
        with patch.object(Sandbox, "missing", missing):
            await hear(door, "chat", stream=True)
        assert "tools" not in json.loads(door.upstream.seen[-1].body)
        assert (await door.health())["lost"] == {"tools: no sandbox": 1}


async def test_the_calls_of_a_turn_have_one_time_together(tmp_path: Path) -> None:
    model = Model([Round("", (OURS,)), FIVE])
    async with serving(tmp_path, sandbox={"seconds": 60.0, "engine": "monty"}) as door:
        door.upstream.answer = model
        await asyncio.to_thread(door.publish, code_skill(SLOW))
        with patch.object(toolbox, "MOST_SECONDS", 0.2):
            await hear(door, "chat", stream=True)
    assert "may take 0.2 s together" in results_in(model.bodies[1])[0]


# -- the record --------------------------------------------------------------------------------------------------------


async def test_what_was_called_is_stored_without_secrets(tmp_path: Path) -> None:
    secret = "ghp_" + "a1B2" * 9
    script = 'def add_up(amounts: list[int], key: str = "") -> str:\n    """Add up."""\n    return key\n'
    model = Model([Round("", (Call(OWN, {"amounts": [], "key": secret}),)), FIVE])
    async with serving(tmp_path) as door:
        door.upstream.answer = model
        await asyncio.to_thread(door.publish, code_skill(script))
        await hear(door, "chat", stream=True)
        turn = await turn_of(door)
    assert results_in(model.bodies[1]) == [secret]  # the model itself wrote it
    assert turn.tools
    (call,) = turn.tools.calls
    assert (call.result, json.loads(call.arguments)["key"]) == ("[redacted:github-token]",) * 2


async def test_skills_that_were_called_are_named_in_the_header_of_a_whole_reply(tmp_path: Path) -> None:
    async with door_to(tmp_path, Model([ADDING, FIVE])) as door:
        reply, _ = await door.ask(body_of("chat", stream=False))
        assert reply.headers["x-metaclaw-skills"] == "add-up@1"
        door.upstream.answer = Model([FIVE])
        reply, _ = await door.ask(body_of("chat", stream=False))
        assert reply.headers["x-metaclaw-skills"] == ""
        reply, _ = await door.ask(body_of("chat", stream=False), x_metaclaw_skills="off")
        assert "tools" not in json.loads(door.upstream.seen[-1].body)


# -- responses that the provider keeps ---------------------------------------------------------------------------------


async def test_a_client_that_goes_on_from_a_stream_goes_on_from_its_last_round(tmp_path: Path) -> None:
    model = Model([ADDING, FIVE, Round("Yes.")])
    async with door_to(tmp_path, model, "responses") as door:
        heard = await hear(door, "responses", stream=True)
        await hear(door, "responses", stream=True, previous_response_id=heard.raw.id, input="Sure?")
        assert (heard.raw.id, model.bodies[2]["previous_response_id"]) == ("resp_1", "resp_2")
        assert model.bodies[2]["input"] == "Sure?"
        door.upstream.answer = whole(completion("kept"))
        async with door.http.get("/v1/responses/resp_1/input_items?limit=2") as reply:
            assert reply.status == 200
        assert (door.upstream.seen[-1].path, door.upstream.seen[-1].query) == (
            "/v1/responses/resp_2/input_items", "limit=2"
        )
        assert b'"previous_response_id":"resp_1"' in (await door.turns())[-1].request


@STREAMED
async def test_a_dropped_call_is_answered_when_the_client_goes_on(tmp_path: Path, stream: bool) -> None:
    model = Model([Round("Both.", (THEIRS, OURS)), FIVE])
    async with door_to(tmp_path, model, "responses") as door:
        heard = await hear(door, "responses", stream=stream, tools=True)
        result = {"type": "function_call_output", "call_id": heard.calls[0][0], "output": "sunny"}
        await hear(
            door, "responses", stream=stream, tools=True, previous_response_id=heard.raw.id, input=[result],
        )
    ours, theirs = model.bodies[1]["input"]
    assert (ours["type"], ours["call_id"]) == ("function_call_output", "call_1_1")
    assert "was not made" in ours["output"]
    assert theirs == result


# -- the embedded model ------------------------------------------------------------------------------------------------


@STREAMED
async def test_a_model_that_writes_its_calls_as_text(tmp_path: Path, stream: bool) -> None:
    said = [f"tool: {OWN}\n" + '{"amounts": [2, 3]}', "tool: none\nIt is 5."]
    asked: list[dict[str, Any]] = []

    async def answer(request: web.Request) -> web.StreamResponse:
        asked.append(await request.json())
        text = said[len(asked) - 1]
        if stream:
            return await streamed([*map(delta, cut_text(text)), delta("", "stop"), DONE])(request)
        return await whole(completion(text))(request)

    for client in ("chat", "messages", "responses"):
        asked.clear()
        async with serving(tmp_path / client) as door:
            door.upstream.answer = answer
            turns = door.gateway._turns
            [route] = turns._router.routes()
            turns._router = Router(dataclasses.replace(route, tools_as_text=True))
            await asyncio.to_thread(door.publish, code_skill())
            async with door.http.post(PATHS[client], data=body_of(client, stream=stream)) as reply:
                assert OWN.encode() not in await reply.read()
            turn = await turn_of(door)
        assert (turn.reply, turn.complete) == ("It is 5.", True)
        assert ["grammar" in body for body in asked] == [True, True]
        assert f"- {OWN}(amounts: list of integer" in asked[0]["messages"][0]["content"]
        assert f"The tool {OWN} returned:\n5" in asked[1]["messages"][-1]["content"]
        assert turn.tools
        assert turn.tools.calls[0].result == "5"


def cut_text(text: str) -> list[str]:
    return [text[at : at + 3] for at in range(0, len(text), 3)]


async def test_offers_stand_in_the_order_of_their_names_and_keep_to_the_budget(tmp_path: Path) -> None:
    model = Model([FIVE])
    async with serving(tmp_path, context={"max_skills": 3, "max_skill_tokens": 400}) as door:
        door.upstream.answer = model
        for name in ("sum-up", "add-up"):
            script = f'def f(amounts: list[int]) -> int:\n    """Add up amounts {name}."""\n    return 1\n'
            skill = dataclasses.replace(code_skill(script, name), description=f"Add up the amounts, invoice {name}")
            await asyncio.to_thread(door.publish, skill)
        for _ in range(2):
            await hear(door, "chat", stream=False, tools=True)
        turn = await turn_of(door)
    assert names_in(model.bodies[0]) == names_in(model.bodies[1])
    ours = names_in(model.bodies[0])[1:]
    assert ours == sorted(ours)
    assert turn.tools == ToolUse(tuple(f"{name.removeprefix('metaclaw_').replace('_', '-')}@1" for name in ours))


