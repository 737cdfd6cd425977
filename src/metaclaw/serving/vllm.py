"""A vLLM server as the engine: the base model and runtime LoRA adapters, each under a name that is used once.

In: a policy version and its adapter, whose PEFT folder the server can read. Out: a route by the adapter's name there.
vLLM's prefix cache knows an adapter by its name, so that other weights under a known name may be answered from the old
ones (vLLM #42125): a name is the policy version and the moment of loading, and never comes again. What is unloaded has
been drained by the host before. An adapter that an earlier gateway left there is taken over, or unloaded.

One request a second looks whether the server is well, and still has what it was given: after a restart it has not.
"""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import Any

from metaclaw.errors import EngineError, UpstreamError
from metaclaw.serving.courtesy import Courtesy
from metaclaw.training.registry import Registry
from metaclaw.upstream.client import UpstreamClient, read
from metaclaw.upstream.route import Route

log = logging.getLogger(__name__)

LOOK_SECONDS, WAIT_SECONDS = 1.0, 1.0
ANSWER_SECONDS, LOAD_SECONDS = 5.0, 120.0  # it may take, to say how it is, and to load or unload an adapter
TELL_EVERY = 30  # waits
SHOWN = 300  # characters of what it says of an error


@dataclass(frozen=True, slots=True)
class Card:
    """An entry of its list of models. `root` is where an adapter's files lie, as the server sees them."""

    name: str
    root: str
    parent: str | None


class VllmEngine:
    """One name of the server's. Adapters are unloaded when it stops; the base model stays."""

    def __init__(self, engines: VllmEngines, policy: str, name: str, *, is_adapter: bool) -> None:
        self._engines = engines
        self.policy = policy
        self.name = name
        self.is_adapter = is_adapter
        self.alive = True
        self.route = Route(engines.url, policy, model=name, api_key=engines.api_key)

    def told(self) -> Mapping[str, Any]:
        return {"name": self.name}

    def why_ended(self) -> str:
        return f"vLLM at {self._engines.url} does not serve {self.name} any more"

    async def stop(self) -> None:
        await self._engines.unload(self)


class VllmEngines:
    """`url` is the server's, with its /v1. `adapters_dir` is the namespace's adapters as the server sees them."""

    kind = "vllm"

    def __init__(
        self,
        url: str,
        api_key: str | None,
        base_model: str,
        registry: Registry,
        client: UpstreamClient,
        adapters_dir: Path,
        now: Callable[[], float] = time.time,
    ) -> None:
        self.url = url.rstrip("/")
        self.api_key = api_key
        self._base_model = base_model
        self._registry = registry
        self._client = client
        self._adapters_dir = PurePosixPath(adapters_dir)
        self._now = now
        self._route = Route(self.url, "vllm", api_key=api_key)
        self._health = Route(self.url.removesuffix("/v1"), "vllm", api_key=api_key)
        self._running: list[VllmEngine] = []
        self._looked_at = 0.0

    async def start(
        self, policy: str, adapter: str | None, courtesy: Courtesy | None = None
    ) -> VllmEngine:
        """Load the adapter, unless it is there, or name the base model. Where nothing serves, the server is waited for.

        It starts no process here that a `courtesy` could hold up.
        """
        if not any(engine.alive for engine in self._running):
            await self._until_up()
        cards = await self._cards()
        if adapter is None:
            base = next((card.name for card in cards if card.parent is None), None)
            if base is None:
                raise EngineError(f"vLLM at {self.url} lists no base model.")
            engine = VllmEngine(self, policy, base, is_adapter=False)
        else:
            name = await self._loaded(policy, adapter, cards)
            engine = VllmEngine(self, policy, name, is_adapter=True)
        await self._unload_leftovers(cards, engine)
        self._running.append(engine)
        return engine

    async def look(self) -> None:
        if not self._running or time.monotonic() - self._looked_at < LOOK_SECONDS:
            return
        self._looked_at = time.monotonic()
        try:
            async with asyncio.timeout(ANSWER_SECONDS):
                names = {card.name for card in await self._cards()} if await self._is_well() else set()
        except (EngineError, UpstreamError, TimeoutError) as error:
            log.warning("vLLM cannot be looked at: %s", error or f"no answer in {ANSWER_SECONDS:g} s")
            names = set()
        for engine in self._running:
            engine.alive = engine.name in names

    def require_room(self) -> None:
        """The server looks after its own memory, and refuses to load what it has no room for."""

    def pressed(self) -> str | None:
        return None

    def available_bytes(self) -> int | None:
        return None

    async def unload(self, engine: VllmEngine) -> None:
        """Nobody may be in it any more."""
        if engine in self._running:
            self._running.remove(engine)
        engine.alive = False
        if engine.is_adapter:
            await self._unload(engine.name)

    async def _loaded(self, policy: str, adapter: str, cards: list[Card]) -> str:
        """The name under which the adapter is served. Raises `EngineError` where the server refuses it."""
        await asyncio.to_thread(self._registry.checked, adapter, self._base_model)
        path = str(self._adapters_dir / adapter)
        in_use = {engine.name for engine in self._running}
        for card in cards:
            if card.root == path and card.name not in in_use and card.name.startswith(f"{policy}."):
                return card.name
        name = f"{policy}.{int(self._now() * 1000):x}"
        try:
            status, said = await self._post("/load_lora_adapter", {"lora_name": name, "lora_path": path})
        except UpstreamError as error:  # it had just listed its models: this may be what ended it
            raise EngineError(f"vLLM does not load {path}: {error}") from error
        if status != 200:
            raise EngineError(f"vLLM does not load {path}: {_reason(status, said)}")
        if not any((card.name, card.root) == (name, path) for card in await self._cards()):
            raise EngineError(f"vLLM says that it loaded {path}, and does not list it as {name}.")
        return name

    async def _unload_leftovers(self, cards: list[Card], engine: VllmEngine) -> None:
        """Adapters of ours that an earlier gateway loaded and did not unload: nobody asks for them any more."""
        known = {engine.name, *(one.name for one in self._running)}
        for card in cards:
            if card.parent is not None and card.name not in known and self._is_ours(card):
                log.info("unloading %s, which was left in vLLM", card.name)
                await self._unload(card.name)

    def _is_ours(self, card: Card) -> bool:
        return PurePosixPath(card.root).parent == self._adapters_dir and card.name.startswith(f"{self._base_model}@")

    async def _unload(self, name: str) -> None:
        """One that is not there any more is what was wanted."""
        try:
            status, said = await self._post("/unload_lora_adapter", {"lora_name": name})
        except UpstreamError as error:
            log.warning("%s could not be unloaded: %s", name, error)
            return
        if status not in (200, 404):
            log.warning("%s could not be unloaded: %s", name, _reason(status, said))

    async def _until_up(self) -> None:
        """A server that has just been started takes minutes."""
        waited = 0
        while True:
            with contextlib.suppress(UpstreamError, TimeoutError):
                async with asyncio.timeout(ANSWER_SECONDS):
                    if await self._is_well():
                        return
            if waited % TELL_EVERY == 0:
                log.warning("waiting for vLLM at %s", self.url)
            waited += 1
            await asyncio.sleep(WAIT_SECONDS)

    async def _is_well(self) -> bool:
        async with self._client.request("GET", self._health, "/health", None) as reply:
            return reply.status == 200

    async def _cards(self) -> list[Card]:
        async with self._client.request("GET", self._route, "/models", None) as reply:
            raw = await read(reply, self._route)
        if reply.status == 401:
            raise EngineError(f"vLLM at {self.url} refuses the key: set serving.vllm_api_key to its --api-key.")
        if reply.status >= 500:  # a proxy before a server that is not there
            raise UpstreamError(reply.status, "upstream_unreachable", f"{self.url} answers HTTP {reply.status}.")
        try:
            return [Card(str(one["id"]), str(one.get("root")), one.get("parent")) for one in json.loads(raw)["data"]]
        except (ValueError, KeyError, TypeError, AttributeError) as error:
            raise EngineError(f"{self.url} lists no models as vLLM does (HTTP {reply.status}).") from error

    async def _post(self, path: str, body: Mapping[str, str]) -> tuple[int, str]:
        sent = json.dumps(body).encode()
        try:
            async with (
                asyncio.timeout(LOAD_SECONDS),
                self._client.post(self._route, path, sent, wire_format="chat") as reply,
            ):
                raw = await read(reply, self._route)
        except TimeoutError as error:
            raise UpstreamError(504, "upstream_timeout", f"vLLM did not answer in {LOAD_SECONDS:g} s.") from error
        return reply.status, raw.decode(errors="replace")


def _reason(status: int, said: str) -> str:
    """What vLLM said, and what to do where it cannot say it itself."""
    try:
        told = json.loads(said)
    except ValueError:
        told = None
    match told:
        case {"error": {"message": str(message)}} | {"message": str(message)}:
            return f"HTTP {status}, {message[:SHOWN]}"
    if status in (404, 405):  # the route itself is not there
        return (
            f"HTTP {status}. Start it with VLLM_ALLOW_RUNTIME_LORA_UPDATING=True and --enable-lora (docs/serving.md)."
        )
    return f"HTTP {status}, {said[:SHOWN]}"
