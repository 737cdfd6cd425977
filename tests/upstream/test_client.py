"""Requests to a route, and what went wrong in our own words."""

from __future__ import annotations

import asyncio
import gzip
from collections.abc import AsyncIterator

import pytest
import pytest_asyncio
from aiohttp import web

from metaclaw.errors import UpstreamError
from metaclaw.upstream.client import UpstreamClient, next_bytes, read
from metaclaw.upstream.route import Route
from upstream_server import (
    Answer,
    ScriptedUpstream,
    Taps,
    completion,
    garbage,
    hang,
    refusing_url,
    short_body,
    streamed,
    upstream,
    whole,
)


@pytest_asyncio.fixture
async def server() -> AsyncIterator[ScriptedUpstream]:
    async with upstream() as scripted:
        yield scripted


@pytest_asyncio.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    async with UpstreamClient(connect_timeout_seconds=1, idle_timeout_seconds=0.3) as opened:
        yield opened


async def test_the_routes_headers_win_and_the_clients_token_stays_here(
    server: ScriptedUpstream, client: UpstreamClient
) -> None:
    route = Route(server.url, "p", api_key="theirs", headers=(("x-metaclaw-side", "learner"),))
    given = {"Authorization": "Bearer ours", "X-Api-Key": "ours", "X-Metaclaw-Side": "no", "x-more": "yes"}
    async with client.post(route, "/chat/completions", b"  {} ", given) as reply:
        await read(reply, route)
    seen = server.seen[-1]
    assert (seen.body, seen.headers["authorization"], seen.headers["x-more"]) == (b"  {} ", "Bearer theirs", "yes")
    assert seen.headers.getall("x-metaclaw-side") == ["learner"]
    assert seen.headers.getall("content-type") == ["application/json"]
    assert seen.headers.getall("accept-encoding") == ["identity"]
    assert "x-api-key" not in seen.headers


async def test_without_a_key_none_is_sent(server: ScriptedUpstream, client: UpstreamClient) -> None:
    route = Route(server.url, "p")
    await client.json(route, "/chat/completions", {})
    async with client.request("GET", route, "/models", None):
        pass
    assert not [seen for seen in server.seen if "authorization" in seen.headers]


@pytest.mark.parametrize(
    ("answer", "status", "code"),
    [
        (hang, 504, "upstream_timeout"),
        (streamed(Taps()), 504, "upstream_timeout"),
        (garbage, 502, "upstream_broke_off"),
        (short_body, 502, "upstream_broke_off"),
        (streamed([b"half"], reset=True), 502, "upstream_broke_off"),
        (whole(b"<html>busy</html>"), 502, "upstream_garbage"),
        (whole(b"[1]"), 502, "upstream_garbage"),
        (whole(b"slow down", 429), 429, "upstream_error"),
    ],
)
async def test_every_failure_is_named(
    server: ScriptedUpstream, client: UpstreamClient, answer: Answer, status: int, code: str
) -> None:
    server.answer = answer
    with pytest.raises(UpstreamError) as failed:
        await client.json(Route(server.url, "p"), "/chat/completions", {})
    assert (failed.value.status, failed.value.code) == (status, code)


async def test_nobody_there(client: UpstreamClient) -> None:
    url = refusing_url()
    route = Route(url, "p")
    for asking in (client.json(route, "/x", {}), client.request("GET", route, "/x", None).__aenter__()):
        with pytest.raises(UpstreamError, match=url) as failed:
            await asking
        assert (failed.value.status, failed.value.code) == (502, "upstream_unreachable")


async def test_redirects_are_for_the_client_to_follow(server: ScriptedUpstream, client: UpstreamClient) -> None:
    server.answer = whole(b"", 307, {"location": "http://evil.example/"})
    async with client.request("GET", Route(server.url, "p"), "/models", None) as reply:
        assert reply.status == 307
    assert len(server.seen) == 1


async def test_leaving_early_ends_the_upstreams_work(server: ScriptedUpstream, client: UpstreamClient) -> None:
    taps, route = Taps(), Route(server.url, "p")
    server.answer = streamed(taps)
    async with client.post(route, "/chat/completions", b"{}") as reply:
        taps.let_out(b"first")
        assert await next_bytes(reply, route) == b"first"
    await asyncio.wait_for(server.left.wait(), 1)


async def test_a_finished_reply_gives_its_connection_back(server: ScriptedUpstream, client: UpstreamClient) -> None:
    route, connections = Route(server.url, "p"), set()

    async def answer(request: web.Request) -> web.Response:
        connections.add(request.transport)
        return web.Response(body=completion("x"))

    server.answer = answer
    for _ in range(3):
        async with client.post(route, "/chat/completions", b"{}") as reply:
            assert await read(reply, route) == completion("x")
    assert len(connections) == 1


async def test_what_one_request_was_told_to_remember_is_not_in_the_next(
    server: ScriptedUpstream, client: UpstreamClient
) -> None:
    route = Route(server.url.replace("127.0.0.1", "localhost"), "p")
    server.answer = whole(b"{}", headers={"set-cookie": "session=of-another-client"})
    for _ in range(2):
        await client.json(route, "/chat/completions", {})
    assert "cookie" not in server.seen[-1].headers


async def test_a_provider_that_compresses_all_the_same_is_understood(
    server: ScriptedUpstream, client: UpstreamClient
) -> None:
    server.answer = whole(gzip.compress(b'{"a": 1}'), headers={"content-encoding": "gzip"})
    assert await client.json(Route(server.url, "p"), "/chat/completions", {}) == {"a": 1}
    server.answer = whole(b"no gzip", headers={"content-encoding": "gzip"})
    with pytest.raises(UpstreamError, match="broke off"):
        await client.json(Route(server.url, "p"), "/chat/completions", {})
