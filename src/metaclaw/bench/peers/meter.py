"""Counts what a provider is asked: a pass-through in front of it, so that whoever asks, each call is counted alike.

An arm's own calls (a memory's extraction, a playbook's reflection, our proposals and replays) cost the same tokens as
its answers do. All is passed on as it comes, streamed or whole; what is counted is the `usage` that the provider tells.
"""

from __future__ import annotations

import json
import secrets
from collections.abc import Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Any, Self

import aiohttp
from aiohttp import web

from metaclaw.bench.workdays.runfile import Record, RunFile

MOST_BYTES = 1 << 24
TIMEOUT_SECONDS = 900.0
PASSED_ON = ("content-type", "accept")


@dataclass(frozen=True, slots=True)
class Spent:
    requests: int = 0
    prompt_tokens: int = 0
    completion_tokens: int = 0


class Meter:
    """Use as an asynchronous context manager. `base` holds a secret: nobody else here may ask by it."""

    def __init__(self, upstream: str, key: str) -> None:
        self._upstream = upstream.rstrip("/")
        self._key = key
        self._spent = Spent()
        self._http: aiohttp.ClientSession | None = None
        self._runner: web.AppRunner | None = None
        self.base = ""

    @property
    def url(self) -> str:
        return f"{self.base}/v1"

    async def __aenter__(self) -> Self:
        # llama.cpp hangs up on connections that are kept: one request each, as the gateway does it.
        self._http = aiohttp.ClientSession(
            connector=aiohttp.TCPConnector(limit=0, force_close=True), timeout=aiohttp.ClientTimeout(TIMEOUT_SECONDS)
        )
        secret = secrets.token_urlsafe(16)
        app = web.Application(client_max_size=MOST_BYTES)
        app.router.add_route("*", f"/{secret}/v1/{{path:.*}}", self._pass_on)
        self._runner = web.AppRunner(app, access_log=None, handler_cancellation=True, shutdown_timeout=1.0)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.base = f"http://127.0.0.1:{self._runner.addresses[0][1]}/{secret}"
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._runner:
            await self._runner.cleanup()
        if self._http:
            await self._http.close()

    def take(self) -> Spent:
        """What was spent since the last time that somebody took it."""
        spent, self._spent = self._spent, Spent()
        return spent

    async def _pass_on(self, request: web.Request) -> web.StreamResponse:
        assert self._http  # noqa: S101 - it listens only while it is open
        headers = {name: request.headers[name] for name in PASSED_ON if name in request.headers}
        if self._key:
            headers["authorization"] = f"Bearer {self._key}"
        url = f"{self._upstream}/{request.match_info['path']}"
        try:
            async with self._http.request(request.method, url, data=await request.read(), headers=headers) as reply:
                relayed = web.StreamResponse(
                    status=reply.status, headers={"content-type": reply.headers.get("content-type", "text/plain")}
                )
                await relayed.prepare(request)
                raw = b""
                async for piece in reply.content.iter_any():
                    raw += piece
                    await relayed.write(piece)
                self._count(usage_in(raw))
                await relayed.write_eof()
                return relayed
        except aiohttp.ClientConnectorError as error:
            return web.json_response({"error": {"message": f"the provider cannot be reached: {error}"}}, status=502)

    def _count(self, usage: Mapping[str, Any]) -> None:
        if usage:
            self._spent = Spent(
                self._spent.requests + 1,
                self._spent.prompt_tokens + int(usage.get("prompt_tokens") or 0),
                self._spent.completion_tokens + int(usage.get("completion_tokens") or 0),
            )


def usage_in(raw: bytes) -> Mapping[str, Any]:
    """The usage that a reply tells, whole or streamed; empty where it tells none."""
    lines = [line[6:] for line in raw.split(b"\n") if line.startswith(b"data: ")]
    for text in reversed(lines) if lines else [raw]:
        try:
            found = json.loads(text)
        except ValueError:
            continue  # the end of a stream, or no JSON
        if isinstance(found, dict) and isinstance(found.get("usage"), dict):
            return dict(found["usage"])
    return {}


class MeteredRun(RunFile):
    """A run file whose records tell all that was spent since the last one, not only what the question itself cost."""

    def __init__(self, path: Path, plan: Mapping[str, Any], meter: Meter) -> None:
        super().__init__(path, plan)
        self._meter = meter

    def add(self, record: Record) -> None:
        spent = self._meter.take()
        super().add(
            replace(
                record, requests=spent.requests, prompt_tokens=spent.prompt_tokens,
                completion_tokens=spent.completion_tokens,
            )
        )  # fmt: skip
