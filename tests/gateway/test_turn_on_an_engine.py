"""Turns with tools on a route whose model cannot call them by itself: told as text, called as the client expects."""

from __future__ import annotations

import asyncio
import dataclasses
import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import openai
import pytest
import pytest_asyncio

from metaclaw.store import Database
from metaclaw.upstream.route import Router
from running_gateway import QUESTION, SKILL, TOKEN, Door, serving
from upstream_server import DONE, Taps, chat_body, completion, delta, streamed, whole

TOOL: Any = {
    "type": "function",
    "function": {"name": "weather", "parameters": {"type": "object", "properties": {"city": {"type": "string"}}}},
}
RESPONSES_TOOL: Any = {"type": "function", **TOOL["function"], "strict": False}
CALLED = 'tool: weather\n{"city": "Rome"}'
HI: Any = [{"role": "user", "content": "Hi"}]


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as opened:
        turns = opened.gateway._turns
        [route] = turns._router.routes()
        turns._router = Router(dataclasses.replace(route, tools_as_text=True))
        yield opened


def sdk(door: Door) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=TOKEN, max_retries=0)


def asked(door: Door) -> dict[str, Any]:
    body: dict[str, Any] = json.loads(door.upstream.seen[-1].body)
    return body


async def test_without_tools_bytes_pass(door: Door) -> None:
    body = b' {"messages":[ {"role":"user","content":"tool: none"} ],"x_new":1e2, "tools" : [] }\n'
    assert (await door.ask(body))[1] == completion("Hello.")
    assert door.upstream.seen[-1].body == body


async def test_the_sdk_gets_a_call(door: Door) -> None:
    door.upstream.answer = whole(completion(CALLED))
    async with sdk(door) as client:
        reply = await client.chat.completions.create(model="m", messages=HI, tools=[TOOL])
    (call,) = reply.choices[0].message.tool_calls or []
    assert call.type == "function"
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Rome"}')
    assert (reply.choices[0].finish_reason, reply.choices[0].message.content) == ("tool_calls", None)
    assert ("tools" in asked(door), "grammar" in asked(door)) == (False, True)


async def test_the_sdk_streams_text_at_once_and_calls(door: Door) -> None:
    taps = Taps()
    door.upstream.answer = streamed(taps)
    taps.let_out(delta("tool: no"), delta("ne\nHel"))
    async with sdk(door) as client:
        stream = await client.chat.completions.create(model="m", messages=HI, tools=[TOOL], stream=True)
        async with asyncio.timeout(5):
            first = await anext(stream)
        assert first.choices[0].delta.content == "Hel"
        taps.let_out(delta("lo."), delta("", "stop"), DONE, None)
        assert [chunk.choices[0].delta.content async for chunk in stream] == ["lo.", None]
        door.upstream.answer = streamed([delta(CALLED[:8]), delta(CALLED[8:]), delta("", "stop"), DONE])
        async with client.chat.completions.stream(model="m", messages=HI, tools=[TOOL]) as calling:
            final = await calling.get_final_completion()
    (call,) = final.choices[0].message.tool_calls or []
    assert (call.function.name, call.function.arguments) == ("weather", '{"city": "Rome"}')
    assert [turn.complete for turn in await door.turns()] == [True, True]


@pytest.mark.parametrize("stream", [False, True])
async def test_responses_gets_a_call_through_chat(door: Door, stream: bool) -> None:
    door.upstream.answer = whole(completion(CALLED))
    if stream:
        door.upstream.answer = streamed([delta(CALLED), delta("", "stop"), DONE])
    async with sdk(door) as client:
        if stream:
            async with client.responses.stream(model="m", input="Hi", tools=[RESPONSES_TOOL]) as events:
                reply: Any = await events.get_final_response()
        else:
            reply = await client.responses.create(model="m", input="Hi", tools=[RESPONSES_TOOL])
    (item,) = reply.output
    assert (item.type, item.name, item.arguments) == ("function_call", "weather", '{"city": "Rome"}')


async def test_a_skill_stands_behind_the_tools(door: Door) -> None:
    await asyncio.to_thread(door.publish)
    await door.ask(chat_body(QUESTION, tools=[TOOL]))
    system = asked(door)["messages"][0]["content"]
    assert 0 < system.index("- weather(city?: string)") < system.index(SKILL.body)


async def test_what_cannot_be_forced_is_refused(door: Door) -> None:
    async with sdk(door) as client:
        with pytest.raises(openai.BadRequestError, match="'other', which is not in 'tools'"):
            choice: Any = {"type": "function", "function": {"name": "other"}}
            await client.chat.completions.create(model="m", messages=HI, tools=[TOOL], tool_choice=choice)
    assert door.upstream.seen == []


# -- the tokens that it samples ----------------------------------------------------------------------------------------


def told(text: str, *numbers: int, finish: str | None = None, predicted: int | None = None) -> bytes:
    choice: dict[str, Any] = {"finish_reason": finish, "index": 0, "delta": {"content": text} if text else {}}
    if numbers:
        found = [{"id": number, "bytes": list(text.encode()), "logprob": -number / 4} for number in numbers]
        choice["logprobs"] = {"content": found}
    body: dict[str, Any] = {"choices": [choice], "id": "x", "object": "chat.completion.chunk"}
    if predicted:
        body["timings"] = {"predicted_n": predicted}
    return b"data: " + json.dumps(body, separators=(",", ":")).encode() + b"\n\n"


def kept_samples(door: Door) -> list[tuple[Any, ...]]:
    with Database(door.store) as database:
        return [*database.read("SELECT turn_id, hex(tokens), length(logprobs) FROM samples")]


@pytest_asyncio.fixture
async def telling(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as opened:
        turns = opened.gateway._turns
        [route] = turns._router.routes()
        turns._router = Router(dataclasses.replace(route, tells_tokens=True))
        yield opened


async def test_tokens_are_recorded_and_the_client_sees_none_of_it(telling: Door) -> None:
    """Event by event: what came is at the client before the next one is let out."""
    taps = Taps()
    telling.upstream.answer = streamed(taps)
    async with telling.http.post("/v1/chat/completions", data=chat_body("Hi", stream=True)) as reply:
        for number, text in ((1, "Hel"), (2, "lo.")):
            taps.let_out(told(text, number))
            async with asyncio.timeout(5):
                assert await reply.content.readuntil(b"\n\n") == told(text)
        taps.let_out(told("", finish="stop", predicted=3), DONE, None)
        assert await reply.content.read() == told("", finish="stop", predicted=3) + DONE
    assert (asked(telling)["logprobs"], asked(telling)["top_logprobs"]) == (True, 1)
    [turn] = await telling.turns()
    assert turn.reply == "Hello."
    assert b"logprobs" not in turn.response
    assert kept_samples(telling) == [(turn.id, "0100000002000000", 8)]


async def test_a_client_that_asks_for_probabilities_gets_them(telling: Door) -> None:
    telling.upstream.answer = streamed([told("Hi", 7), told("", finish="stop", predicted=2), DONE])
    body = chat_body("Hi", stream=True, logprobs=True)
    assert (await telling.ask(body))[1] == told("Hi", 7) + told("", finish="stop", predicted=2) + DONE
    assert telling.upstream.seen[-1].body == body
    assert kept_samples(telling) == []


async def test_for_a_side_call_nothing_is_asked(telling: Door) -> None:
    await telling.ask(chat_body("Hi"), x_metaclaw_side="1")
    assert telling.upstream.seen[-1].body == chat_body("Hi")


async def test_messages_are_recorded_through_their_translation(telling: Door) -> None:
    telling.upstream.answer = streamed([told("Hi", 7), told("", finish="stop", predicted=2), DONE])
    body = {"model": "m", "max_tokens": 9, "stream": True, "messages": HI}
    async with telling.http.post("/v1/messages", json=body) as reply:
        assert b"logprobs" not in await reply.read()
    [turn] = await telling.turns()
    assert (turn.reply, kept_samples(telling)) == ("Hi", [(turn.id, "07000000", 4)])
