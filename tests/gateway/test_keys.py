"""Whose key the provider gets, through the HTTP door: ours, or the client's own, and never our token."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import anthropic
import openai
import pytest
from aiohttp import ClientSession

from running_gateway import CHAT, TOKEN, UPSTREAM_KEY, Door, error_of, serving, serving_several
from upstream_server import chat_body, completion, whole

MESSAGES = "/v1/messages"
MESSAGES_BODY = json.dumps({"model": "m", "max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}).encode()
PASSTHROUGH = {"auth": "passthrough", "api_key": None, "formats": ["messages", "chat"]}
THEIRS = "sk-ant-oat01-client"


def seen(door: Door) -> dict[str, str]:
    """The headers of the last request upstream, in which our token is nowhere."""
    headers = {name.lower(): value for name, value in door.upstream.seen[-1].headers.items()}
    assert TOKEN not in str(headers)
    assert TOKEN not in door.upstream.seen[-1].path + door.upstream.seen[-1].query
    return headers


async def post(door: Door, path: str, body: bytes, **headers: str) -> tuple[int, bytes]:
    """With these headers alone."""
    named = {name.replace("_", "-"): value for name, value in headers.items()}
    async with ClientSession(door.gateway.url) as http, http.post(path, data=body, headers=named) as reply:
        return reply.status, await reply.read()


# -- the gateway's key -------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shown", [{"authorization": f"Bearer {TOKEN}"}, {"x_api_key": TOKEN}])
async def test_our_key_goes_as_the_format_on_the_wire_has_it(tmp_path: Path, shown: dict[str, str]) -> None:
    async with serving(tmp_path, upstream={"formats": ["messages", "chat"]}) as door:
        assert (await post(door, CHAT, chat_body(), **shown))[0] == 200
        assert (seen(door)["authorization"], "x-api-key" in seen(door)) == (f"Bearer {UPSTREAM_KEY}", False)
        assert "anthropic-version" not in seen(door)
        assert (await post(door, MESSAGES, MESSAGES_BODY, **shown))[0] == 200
        assert (seen(door)["x-api-key"], "authorization" in seen(door)) == (UPSTREAM_KEY, False)
        assert seen(door)["anthropic-version"] == "2023-06-01"


async def test_a_translated_request_carries_the_key_of_its_new_format(tmp_path: Path) -> None:
    async with serving(tmp_path, upstream={"formats": ["messages"]}) as door:
        await door.ask(chat_body())
        assert (seen(door)["x-api-key"], seen(door)["anthropic-version"]) == (UPSTREAM_KEY, "2023-06-01")
    async with serving(tmp_path) as door:
        await post(door, MESSAGES, MESSAGES_BODY, x_api_key=TOKEN, anthropic_version="2030-01-01")
        assert seen(door)["authorization"] == f"Bearer {UPSTREAM_KEY}"
        assert seen(door)["anthropic-version"] == "2030-01-01"


# -- the client's key --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize("key", [{"authorization": f"Bearer {THEIRS}"}, {"x_api_key": THEIRS}])
@pytest.mark.parametrize(("path", "body"), [(CHAT, chat_body()), (MESSAGES, MESSAGES_BODY)])
@pytest.mark.parametrize("in_path", [True, False])
async def test_the_clients_key_goes_on_as_sent_and_our_token_stays(
    tmp_path: Path, key: dict[str, str], path: str, body: bytes, in_path: bool
) -> None:
    async with serving(tmp_path, upstream=PASSTHROUGH) as door:
        ours = {} if in_path else {"x_metaclaw_token": TOKEN}
        prefix = f"/t/{TOKEN}" if in_path else ""
        status, _ = await post(door, prefix + path, body, **key, **ours, anthropic_beta="oauth-2025-04-20")
        assert status == 200
        (name, value) = next(iter(key.items()))
        assert seen(door)[name.replace("_", "-")] == value
        assert len({"authorization", "x-api-key"} & set(seen(door))) == 1
        assert seen(door)["anthropic-beta"] == "oauth-2025-04-20"
        assert ("anthropic-version" in seen(door)) == (path == MESSAGES)


async def test_a_token_of_ours_beside_the_clients_key_stays_here(tmp_path: Path) -> None:
    async with serving(tmp_path, upstream=PASSTHROUGH) as door:
        await post(door, CHAT, chat_body(), authorization=f"Bearer {TOKEN}", x_api_key=THEIRS)
        assert (seen(door)["x-api-key"], "authorization" in seen(door)) == (THEIRS, False)


@pytest.mark.parametrize("shown", [{"authorization": f"Bearer {TOKEN}"}, {"x_metaclaw_token": TOKEN}])
async def test_without_a_key_of_the_clients_own_the_error_says_what_to_do(
    tmp_path: Path, shown: dict[str, str]
) -> None:
    async with serving(tmp_path, upstream=PASSTHROUGH) as door:
        status, raw = await post(door, CHAT, chat_body(), **shown)
        assert (status, error_of(raw)["code"]) == (401, "missing_provider_key")
        assert "x-metaclaw-token" in error_of(raw)["message"]
        async with door.http.get("/v1/models") as reply:
            assert reply.status == 401
        assert door.upstream.seen == []


async def test_one_with_a_key_of_ours_serves_who_has_none(tmp_path: Path) -> None:
    passthrough = {"auth": "passthrough", "api_key": None}
    async with serving_several(tmp_path, {**passthrough, "order": 1}, {"order": 2}) as door:
        assert (await door.ask(chat_body()))[0].headers["x-metaclaw-policy"] == "provider:b/as-asked"
        door.upstream.answer = whole(b"{}", 429)
        status, _ = await post(door, CHAT, chat_body(), x_api_key=THEIRS, x_metaclaw_token=TOKEN)
        assert (status, door.asked()) == (200, [1, 2])
        assert THEIRS not in str(door.upstreams[1].seen[-1].headers)


async def test_the_clients_key_asks_for_models_too(tmp_path: Path) -> None:
    async with serving(tmp_path, upstream=PASSTHROUGH) as door:
        door.upstream.answer = whole(b'{"object": "list", "data": []}')
        headers = {"x-api-key": THEIRS, "x-metaclaw-token": TOKEN}
        async with ClientSession(door.gateway.url) as http, http.get("/v1/models", headers=headers) as reply:
            assert reply.status == 200
        assert seen(door)["x-api-key"] == THEIRS


async def test_the_keys_of_all_providers_are_kept_off_the_disk(tmp_path: Path) -> None:
    async with serving_several(tmp_path, {"api_key": "first-key-0001"}, {"api_key": "second-key-0002"}) as door:
        await door.ask(chat_body("I use first-key-0001 and second-key-0002"))
        assert len(await door.turns()) == 1
        for path in door.home.rglob("metaclaw.db*"):
            assert not [key for key in (b"first-key-0001", b"second-key-0002") if key in path.read_bytes()]


# -- the official SDKs -------------------------------------------------------------------------------------------------


def token_in_header() -> dict[str, Any]:
    return {"default_headers": {"x-metaclaw-token": TOKEN}, "max_retries": 0}


async def test_the_openai_sdk_keeps_its_own_key(tmp_path: Path) -> None:
    async with serving(tmp_path, upstream=PASSTHROUGH) as door:
        async with openai.AsyncOpenAI(base_url=f"{door.gateway.url}/v1", api_key=THEIRS, **token_in_header()) as sdk:
            reply = await sdk.chat.completions.create(model="m", messages=[{"role": "user", "content": "Hi"}])
        assert reply.choices[0].message.content == "Hello."
        assert seen(door)["authorization"] == f"Bearer {THEIRS}"


async def test_the_anthropic_sdk_keeps_its_own_key_with_our_token_in_the_path(tmp_path: Path) -> None:
    async with serving(tmp_path, upstream={**PASSTHROUGH, "formats": ["chat"]}) as door:
        door.upstream.answer = whole(completion("Hello."))
        url = f"{door.gateway.url}/t/{TOKEN}"
        async with anthropic.AsyncAnthropic(base_url=url, auth_token=THEIRS, api_key=None, max_retries=0) as sdk:
            reply = await sdk.messages.create(model="m", max_tokens=9, messages=[{"role": "user", "content": "Hi"}])
        assert reply.content[0].type == "text"
        assert seen(door)["authorization"] == f"Bearer {THEIRS}"
