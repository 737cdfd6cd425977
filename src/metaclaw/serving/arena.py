"""An engine for comparing: candidate and incumbent in one process, chosen by each request.

Adapters are preloaded and switched by the request's own `lora` field, which is cache-safe and right in concurrent use
(measured: 10 of 10, 32 of 32); the engine's global switch is not, and is never used.
"""

from __future__ import annotations

import os
import signal
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

from metaclaw.errors import EngineError
from metaclaw.serving.engine import Engine, EngineSpec
from metaclaw.upstream.client import UpstreamClient, reply_text


class EngineArena:
    """The candidate is adapter 0; the incumbent, unless it is the base model, adapter 1."""

    def __init__(self, engine: Engine, client: UpstreamClient) -> None:
        self._engine = engine
        self._client = client
        self._route = engine.route

    async def ask(self, body: dict[str, Any], *, candidate: bool) -> str:
        """The reply's text. Raises `UpstreamError` when the engine fails."""
        wanted = 0 if candidate else 1
        scales = [{"id": i, "scale": float(i == wanted)} for i in range(len(self._engine.spec.loras))]
        reply = await self._client.json(self._route, "/chat/completions", {**body, "lora": scales})
        return reply_text(reply)

    def pause(self) -> None:
        self._signal(signal.SIGSTOP)

    def resume(self) -> None:
        self._signal(signal.SIGCONT)

    def _signal(self, number: signal.Signals) -> None:
        if self._engine.alive:
            os.kill(self._engine.pid, number)


@asynccontextmanager
async def open_arena(spec: EngineSpec, client: UpstreamClient, timeout_seconds: float) -> AsyncIterator[EngineArena]:
    """Start the engine of `spec`, whose adapters are loaded but not applied; stop it when the block ends."""
    if spec.apply_loras or not spec.loras:
        raise EngineError("An arena needs its adapters loaded and not applied.")
    engine = await Engine.start(spec, timeout_seconds=timeout_seconds)
    arena = EngineArena(engine, client)
    try:
        yield arena
    finally:
        arena.resume()
        await engine.stop()
