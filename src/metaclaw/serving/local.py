"""Engines as processes of ours on this machine: llama.cpp with the embedded model, one for each policy version.

In: a policy version and its adapter. Out: an engine that begins its answer as the gate heard it. Memory is looked at
before each start beside another engine, and while they run: a swap is refused rather than the machine starved.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable
from pathlib import Path

from metaclaw.errors import EngineError, TrainingError, UpstreamError
from metaclaw.serving.courtesy import Courtesy
from metaclaw.serving.engine import Engine, EngineSpec
from metaclaw.serving.engines import NoRoomError
from metaclaw.serving.memory import MIB, Memory
from metaclaw.training.registry import Registry
from metaclaw.upstream.client import UpstreamClient, reply_text
from metaclaw.upstream.route import Route

PARITY_CHARACTERS = 24  # of the greedy reply: enough to tell a wrong adapter, little enough to bear rounding
SIZE_FACTOR = 2.0  # of an engine that has not run yet, to its file: measured 1.9 with the 1.5B and its default context

MakeSpec = Callable[[str, Path | None], EngineSpec]


class LocalEngines:
    """`make_spec` takes a policy name and the adapter's GGUF file. `reserve_bytes` stay free beside two engines."""

    kind = "local"

    def __init__(
        self,
        base_model: str,
        make_spec: MakeSpec,
        start_timeout_seconds: float,
        registry: Registry,
        client: UpstreamClient,
        reserve_bytes: int,
        memory: Memory,
    ) -> None:
        self._base_model = base_model
        self._make_spec = make_spec
        self._start_timeout_seconds = start_timeout_seconds
        self._registry = registry
        self._client = client
        self._reserve_bytes = reserve_bytes
        self._memory = memory
        self._needed_bytes = 0

    async def start(self, policy: str, adapter: str | None, courtesy: Courtesy | None = None) -> Engine:
        gguf = await asyncio.to_thread(self._registry.checked_gguf, adapter, self._base_model) if adapter else None
        spec = self._make_spec(policy, gguf)
        engine = await Engine.start(spec, timeout_seconds=self._start_timeout_seconds, courtesy=courtesy)
        try:
            with engine.giving_way(courtesy):
                await engine.probe()
                if adapter:
                    await self._check_parity(adapter, engine.route)
        except BaseException:
            await engine.stop()
            raise
        self._needed_bytes = self._memory.peak_bytes(engine.pid) or int(SIZE_FACTOR * _size(spec.model_path))
        return engine

    async def look(self) -> None:
        """The kernel tells when one ends."""

    def require_room(self) -> None:
        """What the last one took at most is what the next one will take."""
        available = self._memory.available_bytes()
        needed = self._needed_bytes + self._reserve_bytes
        if available is not None and available < needed:
            raise NoRoomError(
                f"not enough memory for a second engine: {_mib(available)} are left, it takes"
                f" {_mib(self._needed_bytes)}, and {_mib(self._reserve_bytes)} stay free (serving.reserve_memory_mb)"
            )

    def pressed(self) -> str | None:
        """Half the reserve is the line: what is started above it does not fall below it at once."""
        available = self._memory.available_bytes()
        if available is None or available >= self._reserve_bytes / 2:
            return None
        return f"memory runs out: {_mib(available)} are left"

    def available_bytes(self) -> int | None:
        return self._memory.available_bytes()

    async def _check_parity(self, adapter: str, route: Route) -> None:
        """The engine must begin its reply as the gate's did: the file that was judged is the one that serves."""
        parity = self._registry.get(adapter).lineage.get("parity")
        if not parity:
            return
        body = {"messages": [{"role": "user", "content": parity["prompt"]}], "temperature": 0, "max_tokens": 16}
        try:
            reply = reply_text(await self._client.json(route, "/chat/completions", body))
        except UpstreamError as error:
            raise EngineError(f"The engine of '{adapter}' does not answer: {error}") from error
        if reply[:PARITY_CHARACTERS] != parity["reply"][:PARITY_CHARACTERS]:
            raise TrainingError(f"Adapter '{adapter}' answers '{reply}', the gate heard '{parity['reply']}'.")


def _size(path: Path) -> int:
    try:
        return path.stat().st_size
    except OSError as error:
        raise EngineError(f"The model file {path} is gone ({error.strerror}).") from error


def _mib(count: int) -> str:
    return f"{count // MIB} MB"
