"""Tool calls of a real engine with SmolLM2, which knows nothing of tools: what it writes is a call all the same."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from metaclaw.dialects import chat
from metaclaw.dialects.sse import EventSplitter
from metaclaw.dialects.translation import Leg, leg
from metaclaw.serving.engine import Engine, EngineSpec
from metaclaw.upstream.client import UpstreamClient, next_bytes, read
from metaclaw.upstream.engine_tools import onto

pytestmark = pytest.mark.model
pytest.importorskip("xllamacpp")

LIGHT = {
    "type": "object", "required": ["room", "level"],
    "properties": {
        "room": {"enum": ["hall", "kitchen"]}, "level": {"enum": [0, 50, 100]},
        "then": {"type": "object", "properties": {"off": {"type": "boolean"}}, "required": ["off"]},
    },
}
TOOLS = [{"type": "function", "function": {"name": "turn_light", "description": "For lights.", "parameters": LIGHT}}]
ASKED = {"messages": [{"role": "user", "content": "Light in the hall, please."}], "tools": TOOLS, "max_tokens": 60}


@pytest_asyncio.fixture
async def engine(smollm2_gguf: Path) -> AsyncIterator[Engine]:
    started = await Engine.start(
        EngineSpec(smollm2_gguf, "smol@v1", context_tokens=1024, slots=2), timeout_seconds=60
    )
    yield started
    await started.stop()


def prepared(engine: Engine, body: dict[str, Any]) -> tuple[Leg, bytes]:
    assert engine.route.tools_as_text
    found = onto(leg(chat, engine.route.formats), body)
    return found, found.request(chat.parse(json.dumps(body).encode()), "", None)


def is_a_call(message: dict[str, Any]) -> bool:
    (call,) = message["tool_calls"]
    given = json.loads(call["function"]["arguments"])
    then = given.pop("then", {"off": True})
    assert (set(given), set(then), type(then["off"])) == ({"room", "level"}, {"off"}, bool)
    fits = given["room"] in ("hall", "kitchen") and given["level"] in (0, 50, 100)
    return fits and call["function"]["name"] == "turn_light"


@pytest.mark.parametrize("choice", ["required", {"type": "function", "function": {"name": "turn_light"}}])
async def test_a_call_that_is_asked_for_comes_and_ends(engine: Engine, choice: Any) -> None:
    async with UpstreamClient(10, 60) as client:
        for seed in range(4):
            body = {**ASKED, "tool_choice": choice, "temperature": 1.5, "seed": seed}
            found, raw = prepared(engine, body)
            async with client.post(engine.route, chat.PATH, raw) as reply:
                whole = json.loads(found.whole(await read(reply, engine.route), reply.status, body))
            assert is_a_call(whole["choices"][0]["message"])
            assert whole["choices"][0]["finish_reason"] == "tool_calls"


async def test_a_stream_says_what_the_whole_reply_says(engine: Engine) -> None:
    async with UpstreamClient(10, 60) as client:
        for choice in ("required", "auto"):
            body = {**ASKED, "tool_choice": choice, "temperature": 0, "cache_prompt": False}
            found, raw = prepared(engine, body)
            async with client.post(engine.route, chat.PATH, raw) as reply:
                whole = json.loads(found.whole(await read(reply, engine.route), reply.status, body))["choices"][0]
            reader, translation, splitter = chat.reader(), found.stream(body), EventSplitter()
            assert translation
            async with client.post(engine.route, chat.PATH, raw[:-1] + b', "stream": true}') as reply:
                while chunk := await next_bytes(reply, engine.route):
                    for event in splitter.feed(chunk):
                        for told in translation.feed(event):
                            reader.event(told)
            assert (reader.done, reader.text) == (True, whole["message"]["content"] or "")
            assert reader.calls == len(whole["message"].get("tool_calls", ()))
            assert reader.text or reader.calls
