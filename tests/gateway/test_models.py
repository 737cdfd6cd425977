"""The models of several providers as one list; those of a single one are in `test_app`."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import openai
from yarl import URL

from metaclaw.runtime.gateway import Gateway
from running_gateway import TOKEN, Door, error_of, serving, serving_several
from upstream_server import hang, refusing_url, whole


def listing(*names: str) -> bytes:
    return json.dumps({"object": "list", "data": [{"id": name, "object": "model", "x_of": names[0]} for name in names]}
                      ).encode()


CLAUDE = {"type": "model", "id": "claude-9", "display_name": "Claude 9", "created_at": "2026-01-01T00:00:00Z"}
CLAUDES = json.dumps({"data": [CLAUDE], "has_more": False, "first_id": "claude-9", "last_id": "claude-9"}).encode()


def as_it_is(door: Door, path: str) -> URL:
    """aiohttp would write a query anew."""
    return URL(door.gateway.url + path, encoded=True)


async def listed(door: Door, path: str = "/v1/models", **headers: str) -> Any:
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with door.http.get(as_it_is(door, path), headers=named) as reply:
        assert reply.status == 200
        return await reply.json()


async def test_one_list_without_doubles_in_the_order_of_the_providers(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {"order": 2}, {"order": 1}, {"order": 3}) as door:
        for one, names in zip(door.upstreams, [("m1", "m2"), ("m2", "m3"), ("m4",)], strict=True):
            one.answer = whole(listing(*names))
        found = await listed(door)
        assert (found["object"], found["has_more"]) == ("list", False)
        assert [(model["id"], model["x_of"]) for model in found["data"]] == [
            ("m2", "m2"), ("m3", "m2"), ("m1", "m1"), ("m4", "m4")
        ]
        assert [one.seen[0].headers["authorization"] for one in door.upstreams] == [
            f"Bearer key-of-{name}" for name in "abc"
        ]


async def test_only_what_would_be_served_is_listed_under_the_name_that_clients_use(tmp_path: Path) -> None:
    async with serving_several(
        tmp_path, {"models": ["gpt-*"]}, {"models": ["fast", "old-*"], "model": "theirs"}
    ) as door:
        door.upstream.answer = whole(listing("gpt-5", "dall-e"))
        assert [model["id"] for model in (await listed(door))["data"]] == ["gpt-5", "fast"]
        assert door.asked() == [1, 0]


async def test_a_provider_that_fails_is_left_out(tmp_path: Path) -> None:
    down = {"url": refusing_url()}
    async with serving_several(tmp_path, {}, down, {}, idle_timeout_seconds=0.2) as door:
        door.upstream.answer = hang
        door.upstreams[2].answer = whole(listing("m1"))
        assert [model["id"] for model in (await listed(door))["data"]] == ["m1"]
        door.upstreams[2].answer = whole(b"<html>busy</html>", 503, {"retry-after": "3"}, content_type="text/html")
        async with door.http.get("/v1/models") as reply:
            assert (reply.status, reply.headers["retry-after"]) == (503, "3")
            assert "busy" in (await reply.json())["error"]["message"]


async def test_the_query_goes_to_those_who_speak_the_clients_format(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {}, {"formats": ["messages"]}) as door:
        door.upstream.answer, door.upstreams[1].answer = whole(listing("m1")), whole(CLAUDES)
        await listed(door, "/v1/models?category=a%2Fb&x=")
        assert [one.seen[-1].query for one in door.upstreams] == ["category=a%2Fb&x=", ""]
        await listed(door, "/v1/models?limit=5", anthropic_version="2023-06-01")
        assert [one.seen[-1].query for one in door.upstreams] == ["", "limit=5"]


async def test_one_model_is_asked_of_who_serves_it(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {"models": ["gpt-*"]}, {"models": ["claude-*"]}) as door:
        door.upstreams[1].answer = whole(b'{"id": "claude-9", "object": "model"}')
        assert (await listed(door, "/v1/models/claude-9?x=1"))["id"] == "claude-9"
        assert (door.upstreams[1].seen[0].path, door.upstreams[1].seen[0].query) == ("/v1/models/claude-9", "x=1")
        async with door.http.get("/v1/models/other") as reply:
            assert (reply.status, error_of(await reply.read())["code"]) == (404, "model_not_found")
        assert door.asked() == [0, 1]


async def test_the_official_sdks_read_the_merged_list(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {}, {"formats": ["messages"]}) as door:
        door.upstream.answer, door.upstreams[1].answer = whole(listing("m1")), whole(CLAUDES)
        async with openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=TOKEN) as ours:
            assert {model.id async for model in ours.models.list()} == {"m1", "claude-9"}
        async with anthropic.AsyncAnthropic(base_url=door.gateway.url, api_key=TOKEN) as theirs:
            shown = {model.id: model.display_name async for model in theirs.models.list()}
        assert shown == {"m1": "m1", "claude-9": "Claude 9"}


async def test_the_headers_of_a_lone_provider_come_along(tmp_path: Path) -> None:
    async with serving(tmp_path) as door:
        door.upstream.answer = whole(b'{"error": {}}', 429, {"retry-after": "5", "x-request-id": "r"})
        async with door.http.get(as_it_is(door, "/v1/models?x=%2F")) as reply:
            assert (reply.status, reply.headers["retry-after"], reply.headers["x-request-id"]) == (429, "5", "r")
        assert door.upstream.seen[-1].query == "x=%2F"


async def test_the_state_of_each_provider_is_shown_to_those_with_the_token(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {}, {"model": "gpt-x"}) as door:
        door.upstream.answer = whole(listing("m1"))
        await listed(door)
        assert isinstance(door.gateway, Gateway)
        assert [one["policy"] for one in door.gateway.status()["upstreams"]] == [
            "provider:a/as-asked", "provider:b/gpt-x"
        ]
        assert (await door.health())["policy"] == "provider:a/as-asked, provider:b/gpt-x"
