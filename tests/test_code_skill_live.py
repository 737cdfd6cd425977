"""A code skill's whole way through real processes: a failure at the gateway's door, the learner, the sandbox, MCP."""

from __future__ import annotations

import asyncio
import json
import os
import sys
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

pytest.importorskip("mcp")

from mcp import Client, StdioServerParameters
from mcp_types import TextContent

from metaclaw.evolve.code_prompt import COMPUTED_ANSWER
from running_gateway import CHAT, client_of, opened, settings_for
from upstream_server import completion, upstream, whole

QUERY = "The film Ran lasts 162 minutes. How long is that?"
ANSWER = {**COMPUTED_ANSWER, "failed_call": "minutes_to_hours(minutes=162)", "right_answer": "2:42"}


async def provider(request: web.Request) -> web.StreamResponse:
    """Writes code when it is asked for it, tells what a tool says where it has one, and is wrong about all else."""
    body: dict[str, Any] = await request.json()
    asked = body.get("response_format", {}).get("json_schema", {}).get("name")
    said = json.dumps(ANSWER) if asked == "code_skill" else "It lasts 2 hours and 42 minutes."
    told = json.loads(completion(said))
    if body.get("tools"):
        results = [one["content"] for one in body["messages"] if one["role"] == "tool"]
        name = body["tools"][0]["function"]["name"]
        call = {"id": "c1", "type": "function", "function": {"name": name, "arguments": '{"minutes": 162}'}}
        message = {"content": results[-1]} if results else {"content": None, "tool_calls": [call]}
        told["choices"][0]["message"] |= message
    return await whole(json.dumps(told).encode())(request)


async def test_a_correction_becomes_a_tool_that_an_mcp_client_calls(tmp_path: Path) -> None:
    async with asyncio.timeout(90), upstream(provider) as scripted:
        settings = settings_for(tmp_path, scripted.url, evolve={"enabled": True, "proposer": "model"})
        async with opened(settings) as gateway, client_of(gateway) as http:
            asked = {"model": "m", "messages": [{"role": "user", "content": QUERY}]}
            async with http.post(CHAT, json=asked) as reply:
                turn = reply.headers["x-metaclaw-turn"]
            said = {"turn_id": turn, "text": "No, we write lengths as hours:minutes, it should be `2:42`.", "score": -1}
            async with http.post("/v1/feedback", json=said) as reply:
                assert reply.status < 300
            while not any(skill["name"] == "minutes-to-hours" for skill in gateway.status()["skills"]):
                await asyncio.sleep(0.05)
            async with Client(mcp_server(tmp_path)) as client:
                (content,) = (await client.call_tool("minutes_to_hours", {"minutes": 125})).content
    assert isinstance(content, TextContent)
    assert content.text == "2:05"


def mcp_server(home: Path) -> StdioServerParameters:
    environment = {
        "PATH": os.environ["PATH"], "HOME": str(home), "PYTHONPATH": os.pathsep.join(sys.path),
        "METACLAW_DATA_DIR": str(home),
    }
    return StdioServerParameters(command=sys.executable, args=["-m", "metaclaw", "mcp"], env=environment)
