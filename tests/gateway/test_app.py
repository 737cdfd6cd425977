"""The routes, and errors in the client's own format: status, code, and what to do."""

from __future__ import annotations

import gzip
import json
from collections.abc import AsyncIterator, Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any, cast

import anthropic
import openai
import pytest
import pytest_asyncio
from aiohttp import web

from metaclaw.dialects import messages
from metaclaw.errors import RequestError
from metaclaw.gateway.models import ModelsHandler
from metaclaw.upstream.client import UpstreamClient
from metaclaw.upstream.route import Router
from metaclaw.wire.head import Headers
from metaclaw.wire.messages import Line, Request
from running_gateway import CHAT, TOKEN, UPSTREAM_KEY, Door, error_of, serving
from upstream_server import chat_body, hang, refusing_url, whole

MODELS = b'{"object": "list", "data": [{"id": "m1", "object": "model", "created": 1, "owned_by": "x", "x_new": 1}]}'


@pytest_asyncio.fixture
async def door(tmp_path: Path) -> AsyncIterator[Door]:
    async with serving(tmp_path) as opened:
        yield opened


def got(target: str, headers: Mapping[str, str] = MappingProxyType({}), **params: str) -> Request:
    """A request as a handler gets it."""
    request = Request(cast(Line, None), "GET", target, "1.1", Headers(headers), keep_alive=True)
    request.params = params
    return request


REFUSED = [
    ("POST", CHAT, {"data": b"{nope"}, 400, "invalid_json", "not valid JSON"),
    ("POST", CHAT, {"data": b'{"messages": 1}'}, 400, "invalid_messages", "non-empty list"),
    ("POST", "/v1/nothing", {"data": b"{}"}, 404, "unknown_route", "/v1/models"),
    ("GET", CHAT, {}, 405, "method_not_allowed", "POST"),
    ("POST", CHAT, {"headers": {"authorization": "Bearer no"}}, 401, "invalid_api_key", "Authorization: Bearer"),
    ("POST", CHAT, {"headers": {"authorization": ""}}, 401, "invalid_api_key", "metaclaw status"),
    ("GET", "/v1/metaclaw/status", {"headers": {"authorization": ""}}, 401, "invalid_api_key", "metaclaw status"),
    ("GET", "/v1/nothing", {"headers": {"authorization": ""}}, 401, "invalid_api_key", "metaclaw status"),
    ("GET", "/healthz", {"headers": {"host": "evil.example"}}, 403, "forbidden_host", "http://127.0.0.1"),
    ("POST", CHAT, {"headers": {"host": "["}, "data": b"{}"}, 403, "forbidden_host", "http://127.0.0.1"),
    ("POST", CHAT, {"headers": {"origin": "https://evil.example"}}, 403, "forbidden_origin", "other sites"),
]


@pytest.mark.parametrize(("method", "path", "sent", "status", "code", "told"), REFUSED)
async def test_what_is_refused_says_why_and_loses_nothing(
    door: Door, method: str, path: str, sent: dict[str, Any], status: int, code: str, told: str
) -> None:
    async with door.http.request(method, path, **sent) as reply:
        error = error_of(await reply.read())
        assert reply.content_type == "application/json"
    assert (reply.status, error["code"], error["type"]) == (status, code, "invalid_request_error")
    assert told in error["message"]
    assert door.upstream.seen == []
    assert (await door.turns(), (await door.health())["lost"]) == ([], {})


async def test_a_body_too_large_is_refused(tmp_path: Path) -> None:
    async with serving(tmp_path, gateway={"max_body_bytes": 1000}) as door:
        reply, body = await door.ask(chat_body("x" * 2000))
        assert (reply.status, error_of(body)["code"]) == (413, "body_too_large")
        assert "gateway.max_body_bytes" in error_of(body)["message"]
        assert door.upstream.seen == []
        assert (await door.ask(chat_body("x")))[0].status == 200


async def test_models_are_the_providers_own(door: Door) -> None:
    door.upstream.answer = whole(MODELS)
    async with door.http.get("/v1/models") as reply:
        assert (reply.status, await reply.read()) == (200, MODELS)
    assert door.upstream.seen[-1].headers["authorization"] == f"Bearer {UPSTREAM_KEY}"
    async with openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=TOKEN) as client:
        assert [model.id async for model in client.models.list()] == ["m1"]


async def test_one_model_is_the_providers_own_with_its_path_kept(door: Door) -> None:
    door.upstream.answer = whole(b'{"id": "org/m 1"}')
    async with door.http.get("/v1/models/org/m%201") as reply:
        assert (reply.status, await reply.read()) == (200, b'{"id": "org/m 1"}')
    assert door.upstream.seen[-1].path == "/v1/models/org/m 1"  # as it reads once decoded


async def test_the_embedded_model_is_listed_and_no_other() -> None:
    async with UpstreamClient(1, 1) as client:
        models = ModelsHandler(Router(), client, "tiny")
        listed = await models.list(got("/v1/models"))
        assert json.loads(listed.body)["data"][0]["id"] == "tiny"
        one = await models.one(got("/", id="tiny"))
        assert json.loads(one.body)["id"] == "tiny"
        with pytest.raises(RequestError, match="only 'tiny'"):
            await models.one(got("/", id="other"))


ANTHROPIC = {"anthropic-version": "2026-10-21"}


async def test_models_in_anthropics_shape_for_its_clients(door: Door) -> None:
    door.upstream.answer = whole(MODELS)
    client = anthropic.AsyncAnthropic(base_url=door.gateway.url, api_key=TOKEN, max_retries=0)
    async with client:
        listed = await client.models.list(limit=5)
        assert [(model.id, model.type, model.display_name) for model in listed.data] == [("m1", "model", "m1")]
        assert (listed.has_more, listed.first_id, listed.last_id) == (False, "m1", "m1")
        assert door.upstream.seen[-1].query == ""  # a query of Anthropic's means nothing to this provider
        door.upstream.answer = whole(b'{"id": "m1", "object": "model", "created": 1}')
        assert (await client.models.retrieve("m1")).created_at.isoformat() == "1970-01-01T00:00:01+00:00"
        door.upstream.answer = whole(b'{"error": {"message": "no such model"}}', 404)
        with pytest.raises(anthropic.NotFoundError, match="no such model"):
            await client.models.retrieve("m2")


async def test_models_of_a_provider_that_speaks_messages(tmp_path: Path) -> None:
    theirs = b'{"data": [{"type": "model", "id": "c", "display_name": "C", "created_at": "2026-01-31T00:00:00Z"}]}'
    async with serving(tmp_path, upstream={"formats": ["messages"]}) as door:
        door.upstream.answer = whole(theirs)
        async with door.http.get("/s/agent-7/v1/models?limit=5&after_id=b", headers=ANTHROPIC) as reply:
            assert await reply.read() == theirs
        assert (door.upstream.seen[-1].path, door.upstream.seen[-1].query) == ("/v1/models", "limit=5&after_id=b")
        async with openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=TOKEN, max_retries=0) as client:
            assert [model.id async for model in client.models.list()] == ["c"]
            door.upstream.answer = whole(messages.error_body(401, "c", "theirs"), 401)
            with pytest.raises(openai.AuthenticationError, match="theirs"):
                await client.models.list()


async def test_the_embedded_model_in_anthropics_shape() -> None:
    async with UpstreamClient(1, 1) as client:
        models = ModelsHandler(Router(), client, "tiny")
        listed = await models.list(got("/v1/models", ANTHROPIC))
        one = await models.one(got("/", ANTHROPIC, id="tiny"))
    assert json.loads(listed.body)["data"] == [json.loads(one.body)]
    assert json.loads(listed.body)["last_id"] == "tiny"


@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("path", ["/", "/api/hello", "/s/agent-7", "/s/agent-7/", "/s/agent-7/api/hello"])
async def test_whoever_looks_whether_we_are_here_is_told_no_more(door: Door, method: str, path: str) -> None:
    async with door.http.request(method, path, headers={"authorization": ""}) as reply:
        said = await reply.read()
    assert (reply.status, said in (b"", b'{"message": "hello"}')) == (200, True)
    async with door.http.request(method, path, headers={"host": "evil.example"}) as reply:
        assert reply.status == 403


async def test_nothing_else_is_open(door: Door) -> None:
    for path in ("/api", "/api/hello/x", "/s/agent-7/v1/models", "/s", "/s/a/b", "/v1/messages"):
        async with door.http.get(path, headers={"authorization": ""}) as reply:
            assert reply.status == 401, path
    async with door.http.post("/", data=b"{}") as reply:
        assert (reply.status, error_of(await reply.read())["code"]) == (405, "method_not_allowed")


async def test_a_tag_in_the_path_names_the_session(door: Door) -> None:
    async with door.http.post(f"/s/agent-7{CHAT}", data=chat_body("x")) as reply:
        assert (reply.status, reply.headers["x-metaclaw-session"]) == (200, "agent-7")
    async with door.http.post(f"/s/agent-7{CHAT}", data=chat_body("x"), headers={"authorization": ""}) as reply:
        assert reply.status == 401
    assert [turn.session for turn in await door.turns()] == ["agent-7"]


async def test_a_provider_that_compresses_is_asked_not_to(door: Door) -> None:
    async def answer(request: web.Request) -> web.Response:
        if "gzip" not in request.headers.get("accept-encoding", ""):
            return web.Response(body=MODELS)
        return web.Response(body=gzip.compress(MODELS), headers={"content-encoding": "gzip"})

    door.upstream.answer = answer
    async with door.http.get("/v1/models", headers={"accept-encoding": "gzip"}) as reply:
        assert await reply.read() == MODELS
    assert (await door.ask(chat_body(), accept_encoding="gzip"))[1] == MODELS


async def test_models_of_a_provider_that_is_down_or_hangs(tmp_path: Path) -> None:
    down = serving(tmp_path / "down", upstream={"url": refusing_url()})
    async with down as door, door.http.get("/v1/models") as reply:
        assert (reply.status, error_of(await reply.read())["code"]) == (502, "upstream_unreachable")
    async with serving(tmp_path / "hangs", upstream={"idle_timeout_seconds": 0.2}) as door:
        door.upstream.answer = hang
        async with door.http.get("/v1/models") as reply:
            assert (reply.status, error_of(await reply.read())["code"]) == (504, "upstream_timeout")


async def test_health_is_for_everybody_and_status_for_those_with_the_token(door: Door) -> None:
    async with door.http.get("/healthz", headers={"authorization": ""}) as reply:
        health = await reply.json()
    assert (health["status"], health["learner"], health["lost"]) == ("ok", "off", {})
    async with door.http.get("/v1/metaclaw/status") as reply:
        status = await reply.json()
    assert status.items() >= health.items()
    assert (status["generation"], status["skills"], status["in_flight"]) == (0, [], 0)
