"""What lies below /v1/responses/: passed through to a provider that keeps it, a clean 404 for any other."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from pathlib import Path

import openai
import pytest
import pytest_asyncio

from running_gateway import TOKEN, Door, error_of, serving
from upstream_server import streamed, whole

RESPONSES = "/v1/responses"
NATIVE = {"formats": ["responses", "chat"]}
KEY = "AAAAAAAAAAAAAAAAAAAAAA=="
REPLY = {"id": "resp_1", "object": "response", "status": "completed", "output": []}
STREAM = [
    f"event: {kind}\ndata: {json.dumps({'type': kind, 'response': REPLY})}\n\n".encode()
    for kind in ("response.created", "response.in_progress", "response.completed")
]


@pytest_asyncio.fixture
async def native(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path, upstream=NATIVE) as opened:
        yield opened


@pytest_asyncio.fixture
async def on_chat(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as opened:
        yield opened


def sdk(door: Door) -> openai.AsyncOpenAI:
    return openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=TOKEN, max_retries=0)


KEPT = [
    ("GET", "/resp_1?include=x%2Fy"), ("DELETE", "/resp_1"), ("POST", "/resp_1/cancel"),
    ("GET", "/resp_1/input_items?limit=2"), ("POST", "/compact"), ("POST", "/input_tokens"),
]


@pytest.mark.parametrize("tag", ["", "/s/v1", "/s/agent-7"])
@pytest.mark.parametrize(("method", "path"), KEPT)
async def test_what_the_provider_keeps_is_passed_through(native: Door, tag: str, method: str, path: str) -> None:
    body = b'{"model" : "m"}' if method == "POST" else b""
    native.upstream.answer = whole(b'{"id": "resp_1"}', 207, {"x-request-id": "r"})
    async with native.http.request(method, f"{tag}{RESPONSES}{path}", data=body, headers={"x-custom": "kept"}) as reply:
        assert (reply.status, await reply.read()) == (207, b'{"id": "resp_1"}')
        assert reply.headers["x-request-id"] == "r"
    seen = native.upstream.seen[-1]
    assert (seen.method, seen.body, seen.headers["x-custom"]) == (method, body, "kept")
    assert seen.path == RESPONSES + path.partition("?")[0]
    assert await native.turns() == []


async def test_a_kept_response_may_be_streamed(native: Door) -> None:
    native.upstream.answer = streamed(STREAM)
    async with sdk(native) as client:
        stream = await client.responses.retrieve("resp_1", stream=True)
        assert [one.type async for one in stream][-1] == "response.completed"
        native.upstream.answer = streamed(STREAM[:2], reset=True)
        with pytest.raises(openai.APIError, match="broke off"):
            async for _ in await client.responses.retrieve("resp_1", stream=True):
                pass


async def test_the_configured_model_is_the_one_that_compacts(tmp_path: Path) -> None:
    async with serving(tmp_path, upstream={**NATIVE, "model": "other"}) as door:
        async with door.http.post(f"{RESPONSES}/compact", data=b'{"model" : "m", "input": "Hi"}') as reply:
            assert reply.status == 200
        assert door.upstream.seen[-1].body == b'{"model" : "other", "input": "Hi"}'


@pytest.mark.parametrize(("method", "path"), KEPT)
async def test_an_upstream_of_another_format_keeps_nothing(on_chat: Door, method: str, path: str) -> None:
    async with on_chat.http.request(method, f"/s/agent-7{RESPONSES}{path}") as reply:
        error = error_of(await reply.read())
    assert (reply.status, error["code"]) == (404, "response_not_found")
    assert "speaks chat" in error["message"]
    assert on_chat.upstream.seen == []
    async with sdk(on_chat) as client:
        with pytest.raises(openai.NotFoundError, match="keeps no responses"):
            await client.responses.retrieve("resp_1")


@pytest.mark.parametrize("path", [RESPONSES, f"/s/agent-7{RESPONSES}"])
async def test_a_websocket_is_refused_with_the_way_to_http(native: Door, path: str) -> None:
    asks = {"connection": "Upgrade", "upgrade": "websocket", "sec-websocket-version": "13", "sec-websocket-key": KEY}
    async with native.http.get(path, headers=asks) as reply:
        error = error_of(await reply.read())
    assert (reply.status, error["code"]) == (426, "upgrade_refused")
    assert (reply.headers["upgrade"], reply.headers["connection"]) == ("HTTP/1.1", "Upgrade")
    assert "POST" in error["message"]
    assert native.upstream.seen == []
