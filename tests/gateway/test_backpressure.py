"""A client that does not read holds the upstream back, and nothing piles up in between."""

from __future__ import annotations

import asyncio
import json
import tracemalloc
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import pytest

from running_gateway import CHAT, loaded_once, serving
from upstream_server import DONE, delta, streamed

MEGABYTE = 1024 * 1024
EVENT = delta("x" * 64 * 1024)
EVENTS = 200 * MEGABYTE // len(EVENT)
STREAMS: list[tuple[str, dict[str, Any], bytes]] = [
    (CHAT, {"messages": [{"role": "user", "content": "Hi"}]}, DONE),
    ("/v1/messages", {"max_tokens": 9, "messages": [{"role": "user", "content": "Hi"}]}, b"_stop\"}\n\n"),
]


@pytest.fixture
def _memory() -> Iterator[None]:
    loaded_once()  # the word vectors are large, and of no interest here
    tracemalloc.start()
    yield
    tracemalloc.stop()


@pytest.mark.usefixtures("_memory")
@pytest.mark.parametrize(("path", "body", "end"), STREAMS)
async def test_200_megabytes_pass_a_slow_client_in_flat_memory(
    tmp_path: Path, path: str, body: dict[str, Any], end: bytes
) -> None:
    sent = 0

    async def pieces() -> AsyncIterator[bytes]:
        nonlocal sent
        for _ in range(EVENTS):
            yield EVENT
            sent += len(EVENT)
        yield delta("", "stop") + DONE

    async def stalled() -> int:
        """Wait until the upstream gets nothing more off its hands."""
        before = -1
        while before != sent:
            before = sent
            await asyncio.sleep(0.5)
        return sent

    async with serving(tmp_path) as door:
        door.upstream.answer = streamed(pieces)
        raw = json.dumps({"model": "m", "stream": True, **body}).encode()
        async with door.http.post(path, data=raw) as reply:
            async with asyncio.timeout(30):
                assert 0 < await stalled() < 40 * MEGABYTE  # most of it in the kernel's socket buffers
            received, last = 0, b""
            while chunk := await reply.content.readany():
                received += len(chunk)
                last = (last + chunk)[-100:]
                if received < 190 * MEGABYTE:  # at its end the turn is written down, in a few copies
                    peak = tracemalloc.get_traced_memory()[1]
        assert received > EVENTS * 64 * 1024
        assert last.endswith(end)
        assert peak < 20 * MEGABYTE
        (turn,) = await door.turns()
        assert (turn.complete, len(turn.response), len(turn.reply)) == (True, 4 * MEGABYTE, MEGABYTE)
