"""Clients of a gateway with a code skill: what their official SDKs make of a reply, and what an upstream was told."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest

from metaclaw.types import Turn
from running_gateway import TOKEN, Door, serving
from tool_upstream import ASK, CALL_OF_OURS, OWN, WEATHER, Call, Model, Round, code_skill

OURS = Call(OWN, CALL_OF_OURS)
THEIRS = Call("get_weather", {"city": "Rome"})
ADDING = Round("Let me add.", (OURS,))
FIVE = Round("It is 5.")
WAYS = [  # the client's format, and what the upstream speaks
    ("chat", "chat"), ("messages", "messages"), ("responses", "responses"), ("messages", "chat"),
    ("responses", "chat"), ("chat", "messages"), ("responses", "messages"),
]
EACH_WAY = pytest.mark.parametrize(("client", "upstream"), WAYS)
STREAMED = pytest.mark.parametrize("stream", [False, True])
NATIVE = pytest.mark.parametrize("client", ["chat", "messages", "responses"])


@asynccontextmanager
async def door_to(folder: Path, model: Model, upstream: str = "chat", **sections: Any) -> AsyncIterator[Door]:
    """A gateway with one code skill before an upstream that speaks one format."""
    async with serving(folder, upstream={"formats": [upstream]}, **sections) as door:
        door.upstream.answer = model
        await asyncio.to_thread(door.publish, code_skill())
        yield door


@dataclass
class Heard:
    """What a client's SDK made of a reply."""

    text: str
    calls: list[tuple[str, str, Any]]  # id, name, arguments
    end: str
    usage: tuple[int, int]  # in, out
    raw: Any


async def hear(door: Door, client: str, *, stream: bool, tools: bool = False, **more: Any) -> Heard:
    return await {"chat": _chat, "messages": _messages, "responses": _responses}[client](door, stream, tools, more)


async def _chat(door: Door, stream: bool, tools: bool, more: dict[str, Any]) -> Heard:
    declared = {"name": "get_weather", "parameters": WEATHER, "strict": True}
    asked: Any = {"model": "m", "messages": [{"role": "user", "content": ASK}], **more}
    asked |= {"tools": [{"type": "function", "function": declared}]} if tools else {}
    async with openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=TOKEN, max_retries=0) as sdk:
        if stream:
            async with sdk.chat.completions.stream(**asked, stream_options={"include_usage": True}) as events:
                async for _ in events:
                    pass
                reply: Any = await events.get_final_completion()
        else:
            reply = await sdk.chat.completions.create(**asked)
    choice = reply.choices[0]
    calls = [(call.id, call.function.name, json.loads(call.function.arguments)) for call in
             choice.message.tool_calls or []]
    usage = reply.usage.prompt_tokens, reply.usage.completion_tokens
    return Heard(choice.message.content or "", calls, choice.finish_reason, usage, reply)


async def _messages(door: Door, stream: bool, tools: bool, more: dict[str, Any]) -> Heard:
    asked: Any = {"model": "m", "max_tokens": 500, "messages": [{"role": "user", "content": ASK}], **more}
    asked |= {"tools": [{"name": "get_weather", "input_schema": WEATHER}]} if tools else {}
    async with anthropic.AsyncAnthropic(base_url=door.gateway.url, auth_token=TOKEN, max_retries=0) as sdk:
        if stream:
            async with sdk.messages.stream(**asked) as events:
                async for _ in events:
                    pass
                reply: Any = await events.get_final_message()
        else:
            reply = await sdk.messages.create(**asked)
    text = "|".join(part.text for part in reply.content if part.type == "text")
    calls = [(part.id, part.name, part.input) for part in reply.content if part.type == "tool_use"]
    return Heard(text, calls, reply.stop_reason, (reply.usage.input_tokens, reply.usage.output_tokens), reply)


async def _responses(door: Door, stream: bool, tools: bool, more: dict[str, Any]) -> Heard:
    asked: Any = {"model": "m", "input": ASK, **more}
    asked |= {"tools": [{"type": "function", "name": "get_weather", "parameters": WEATHER}]} if tools else {}
    async with openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=TOKEN, max_retries=0) as sdk:
        if stream:
            async with sdk.responses.stream(**asked) as events:
                async for _ in events:
                    pass
                reply: Any = await events.get_final_response()
        else:
            reply = await sdk.responses.create(**asked)
    texts = [part.text for item in reply.output if item.type == "message" for part in item.content]
    calls = [(i.call_id, i.name, json.loads(i.arguments)) for i in reply.output if i.type == "function_call"]
    usage = reply.usage.input_tokens, reply.usage.output_tokens
    return Heard("|".join(texts), calls, reply.status, usage, reply)


async def turn_of(door: Door) -> Turn:
    return (await door.turns())[-1]


def results_in(body: dict[str, Any]) -> list[str]:
    """The results of calls that a request carries, in any of the formats."""
    found = []
    for entry in [*body.get("messages", []), *(body["input"] if isinstance(body.get("input"), list) else [])]:
        if entry.get("role") == "tool":
            found.append(entry["content"])
        if entry.get("type") == "function_call_output":
            found.append(entry["output"])
        parts = entry.get("content") if isinstance(entry.get("content"), list) else []
        found += [part["content"] for part in parts if part.get("type") == "tool_result"]
    return [one if isinstance(one, str) else "".join(part["text"] for part in one) for one in found]


def names_in(body: dict[str, Any]) -> list[str]:
    return [tool.get("function", tool).get("name") for tool in body.get("tools", [])]
