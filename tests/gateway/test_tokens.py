"""Tokens are counted by the provider, or estimated where it cannot."""

from __future__ import annotations

import json
from pathlib import Path

import anthropic
import pytest

from running_gateway import QUESTION, TOKEN, Door, serving
from upstream_server import hang, whole

PATH = "/v1/messages/count_tokens"
ASKED = b' {"model": "m", "messages":[ {"role":"user","content":"Write dates the ISO way in every report, please"}]}'


async def count(door: Door, path: str = PATH) -> tuple[int, dict[str, str], bytes]:
    async with door.http.post(path, data=ASKED) as reply:
        return reply.status, dict(reply.headers), await reply.read()


@pytest.mark.parametrize("tag", ["", "/s/agent-7"])
async def test_the_providers_own_count_passes_with_bytes_and_query(tmp_path: Path, tag: str) -> None:
    async with serving(tmp_path, upstream={"formats": ["messages"]}) as door:
        door.publish()
        door.upstream.answer = whole(b'{"input_tokens": 2095}', 200, {"request-id": "r1"})
        status, headers, got = await count(door, f"{tag}{PATH}?beta=true")
        assert (status, got, headers["request-id"]) == (200, b'{"input_tokens": 2095}', "r1")
        seen = door.upstream.seen[-1]
        assert (seen.path, seen.query, seen.body) == (PATH, "beta=true", ASKED)
        assert "x-metaclaw-estimate" not in headers
        assert await door.turns() == []


async def test_the_configured_model_is_the_one_that_counts(tmp_path: Path) -> None:
    async with serving(tmp_path, upstream={"formats": ["messages"], "model": "other"}) as door:
        door.upstream.answer = whole(b"{}")
        await count(door)
        assert door.upstream.seen[-1].body == ASKED.replace(b'"m"', b'"other"')


async def test_elsewhere_it_is_an_estimate_and_says_so(tmp_path: Path) -> None:
    async with serving(tmp_path) as door:
        status, headers, got = await count(door)
        assert (status, headers["x-metaclaw-estimate"]) == (200, "input_tokens")
        assert 8 <= json.loads(got)["input_tokens"] <= 60
        assert (door.upstream.seen, await door.turns()) == ([], [])


async def test_the_sdk_counts(tmp_path: Path) -> None:
    async with (
        serving(tmp_path) as door,
        anthropic.AsyncAnthropic(base_url=door.gateway.url, api_key=TOKEN, max_retries=0) as client,
    ):
        short = await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": QUESTION}])
        long = await client.messages.count_tokens(model="m", messages=[{"role": "user", "content": QUESTION * 9}])
        assert 0 < short.input_tokens < long.input_tokens


async def test_a_provider_that_hangs(tmp_path: Path) -> None:
    async with serving(tmp_path, upstream={"formats": ["messages"], "idle_timeout_seconds": 0.2}) as door:
        door.upstream.answer = hang
        status, _, got = await count(door)
        assert (status, json.loads(got)["error"]["type"]) == (504, "timeout_error")
