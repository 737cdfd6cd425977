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
