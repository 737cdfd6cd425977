"""The benchmark of swaps: what it notes of a stream, and what it makes of its notes."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest
from aiohttp import web

from metaclaw.bench.swap.report import publish, spread
from metaclaw.bench.swap.streams import Streamed, Streams


@asynccontextmanager
async def answering(raw: bytes, status: int = 200) -> AsyncIterator[str]:
    async def answer(_: web.Request) -> web.Response:
        return web.Response(body=raw, status=status, headers={"x-metaclaw-policy": "m@a"})

    app = web.Application()
    app.router.add_post("/v1/chat/completions", answer)
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    try:
        yield f"http://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def noted(raw: bytes, status: int = 200) -> Streamed:
    async with answering(raw, status) as url, Streams(url, {}, 1) as streams:
        await streams.ended_since(0.0, 1)
        return streams.taken()[0]


def event(model: str, text: str) -> bytes:
    return b"data: " + json.dumps({"model": model, "choices": [{"delta": {"content": text}}]}).encode() + b"\n\n"


DONE = b"data: [DONE]\n\n"


async def test_a_whole_stream_of_one_policy() -> None:
    one = await noted(event("m@a", "") + event("m@a", "The sea") + DONE)
    assert (one.failure, one.mixed, one.policy, one.named) == ("", False, "m@a", ("m@a",))
    assert one.first_word_ms is not None
    assert one.first_word_ms >= 0


async def test_two_policies_in_one_stream_are_mixed() -> None:
    one = await noted(event("m@a", "The") + event("m@b", " sea") + DONE)
    assert (one.failure, one.mixed, one.named) == ("", True, ("m@a", "m@b"))


@pytest.mark.parametrize(
    ("raw", "status", "told"),
    [
        (event("m@a", "The"), 200, "the stream has no end"),
        (event("m@a", "The") + b'data: {"error": {"code": "upstream_broke_off"}}\n\n', 200, "upstream_broke_off"),
        (b"{}", 503, "HTTP 503"),
    ],
)
async def test_what_failed(raw: bytes, status: int, told: str) -> None:
    assert told in (await noted(raw, status)).failure


def swap(kind: str, during: list[float], rest: list[float], failed: tuple[str, ...] = (), mixed: int = 0) -> Any:
    return {
        "kind": kind, "to": "base", "seconds": 0.5, "requests": 4, "failed": list(failed), "mixed": mixed,
        "during_ms": during, "rest_ms": rest,
    }


def latency(rest: float, training: float) -> Any:
    return {
        "kind": "latency", "round": 0, "steps": 3,
        "rest": {"json": {"p50_ms": 1.0, "p99_ms": rest}}, "training": {"json": {"p50_ms": 1.0, "p99_ms": training}},
    }


def published(records: list[Any], folder: Path) -> dict[str, Any]:
    publish(records, 2, folder)
    found: dict[str, Any] = json.loads((folder / "swap.json").read_text())
    return found


def test_what_holds(tmp_path: Path) -> None:
    records = [
        swap("started", [150.0, 130.0], [60.0, 40.0]), swap("at hand", [51.0], [50.0]), latency(4.0, 6.0),
        latency(4.0, 8.0), latency(5.0, 10.0),
    ]
    checks = published(records, tmp_path)["checks"]
    assert checks["added_first_token_ms_started_median"] == {"value": 90.0, "bar": "at most 100", "holds": True}
    assert checks["added_first_token_ms_at_hand_p99"]["value"] == 1.0
    assert checks["p99_training_over_rest"] == {"value": 2.0, "bar": "at most 2", "holds": True}
    assert checks["swaps_started"] == {"value": 1, "bar": "at least 500", "holds": False}
    assert (checks["dropped"]["holds"], checks["mixed"]["holds"]) == (True, True)


def test_what_does_not(tmp_path: Path) -> None:
    records = [swap("started", [260.0], [50.0], ("HTTP 502",), 1), latency(1.0, 2.5)]
    found = published(records, tmp_path)
    checks = found["checks"]
    assert {name for name, check in checks.items() if check["holds"]} == set()
    assert (checks["dropped"]["value"], checks["mixed"]["value"]) == (1, 1)
    assert checks["p99_training_over_rest"]["value"] == 2.5
    assert found["arms"]["swaps"]["value"] == 0.5
    assert found["failures"] == ["HTTP 502"]


def test_one_value_is_all_its_own_quantiles() -> None:
    assert spread([3.0]) == {"n": 1, "median": 3.0, "p95": 3.0, "p99": 3.0, "most": 3.0}
