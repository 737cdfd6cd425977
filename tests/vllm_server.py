"""A small server that keeps to what vLLM does with LoRA at run time, so that our side can be tested without a GPU.

After vLLM's documentation (features/lora) and its `OpenAIServingModels`: a name that is loaded is refused, so is a path
without an adapter, a rank that is too high, an unknown name at unloading; requests under way finish when their adapter
is unloaded; more adapters than fit push out the one that was not used for longest, which is read again when it is asked
for. And after vLLM #42125: what was once computed under a name is remembered, and answered whatever its weights are.
"""

from __future__ import annotations

import asyncio
import json
from collections import Counter
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from aiohttp import web

BASE = "org/tiny-instruct"


@dataclass
class VllmServer:
    """`holding` makes requests wait in the middle of their reply until it is cleared. While it is `away`, connections
    break off, or a proxy before it answers with that status. Loading a path that ends in `deadly` ends it.
    """

    api_key: str = ""
    allows_updating: bool = True
    max_lora_rank: int = 16
    max_cpu_loras: int = 2
    url: str = ""
    well: bool = True
    away: bool | int = False
    turned_away: int = 0
    deadly: str | None = None
    loaded: dict[str, str] = field(default_factory=dict)  # name to path
    resident: list[str] = field(default_factory=list)  # names in memory, the one used last at the end
    names: list[str] = field(default_factory=list)  # every name ever loaded
    unloaded: list[str] = field(default_factory=list)
    unloaded_in_use: list[str] = field(default_factory=list)
    in_use: Counter[str] = field(default_factory=Counter)
    cache: dict[tuple[str, str], str] = field(default_factory=dict)  # by name and prompt: what was computed
    let_go: asyncio.Event = field(default_factory=asyncio.Event)
    held: asyncio.Event = field(default_factory=asyncio.Event)

    def restart(self) -> None:
        self.loaded.clear()
        self.resident.clear()
        self.cache.clear()

    def app(self) -> web.Application:
        app = web.Application()
        app.router.add_get("/health", self._health)
        app.router.add_get("/v1/models", self._models)
        app.router.add_post("/v1/chat/completions", self._chat)
        if self.allows_updating:
            app.router.add_post("/v1/load_lora_adapter", self._load)
            app.router.add_post("/v1/unload_lora_adapter", self._unload)
        app.middlewares.append(self._door)
        return app

    @web.middleware
    async def _door(self, request: web.Request, handler: Any) -> web.StreamResponse:
        if self.away:
            self.turned_away += 1
            return cut(request) if self.away is True else web.Response(status=self.away, text="<html>")
        if self.api_key and request.path.startswith("/v1") and (
            request.headers.get("authorization") != f"Bearer {self.api_key}"
        ):
            return web.json_response({"error": "Unauthorized"}, status=401)
        try:
            answer: web.StreamResponse = await handler(request)
        except web.HTTPNotFound:
            return web.json_response({"detail": "Not Found"}, status=404)
        return answer

    async def _health(self, _: web.Request) -> web.Response:
        return web.Response(status=200 if self.well else 503)

    async def _models(self, _: web.Request) -> web.Response:
        adapters = [card(name, path, BASE) for name, path in self.loaded.items()]
        return web.json_response({"object": "list", "data": [card(BASE, BASE, None), *adapters]})

    async def _load(self, request: web.Request) -> web.Response:
        asked = await request.json()
        name, path = asked.get("lora_name"), asked.get("lora_path")
        if not name or not path:
            return refusal(400, "InvalidUserInput", "Both 'lora_name' and 'lora_path' must be provided.")
        if self.deadly and path.endswith(self.deadly):
            self.restart()
            return cut(request)
        if name in self.loaded:
            return refusal(400, "InvalidUserInput", f"The lora adapter '{name}' has already been loaded.")
        try:
            self._read(path)
        except FileNotFoundError:
            return refusal(404, "NotFoundError", f"Loading lora {name} failed: No adapter found for {path}")
        except ValueError as error:
            return refusal(500, "InternalServerError", str(error))
        self.loaded[name] = path
        self.names.append(name)
        self._touch(name)
        return web.Response(text=f"Success: LoRA adapter '{name}' added successfully.")

    async def _unload(self, request: web.Request) -> web.Response:
        name = (await request.json()).get("lora_name")
        if name not in self.loaded:
            return refusal(404, "NotFoundError", f"The lora adapter '{name}' cannot be found.")
        if self.in_use[name]:
            self.unloaded_in_use.append(name)
        del self.loaded[name]
        self.unloaded.append(name)
        return web.Response(text=f"Success: LoRA adapter '{name}' removed successfully.")

    def _read(self, path: str) -> None:
        config = json.loads((Path(path) / "adapter_config.json").read_text())
        (Path(path) / "adapter_model.safetensors").read_bytes()
        rank = config.get("r", 8)
        if rank > self.max_lora_rank:
            raise ValueError(f"LoRA rank {rank} is greater than max_lora_rank {self.max_lora_rank}.")

    def _touch(self, name: str) -> None:
        """Bring it into memory; the least used one goes where there is no place."""
        if name not in self.resident:
            self._read(self.loaded[name])
        self.resident = [*(one for one in self.resident if one != name), name][-self.max_cpu_loras :]

    async def _chat(self, request: web.Request) -> web.StreamResponse:
        body = await request.json()
        name, prompt = body["model"], json.dumps(body["messages"])
        if name != BASE and name not in self.loaded:
            return refusal(404, "NotFoundError", f"The model `{name}` does not exist.")
        self.in_use[name] += 1
        try:
            if name != BASE:
                self._touch(name)
            text = self.cache.setdefault((name, prompt), Path(self.loaded.get(name, BASE)).name)
            if body.get("stream"):
                return await self._streamed(request, name, text)
            return await self._whole(name, text, prompt)
        finally:
            self.in_use[name] -= 1

    async def _whole(self, name: str, text: str, prompt: str) -> web.Response:
        if "hold" in prompt:
            await self._hold()
        choice = {"index": 0, "message": {"role": "assistant", "content": text}, "finish_reason": "stop"}
        return web.json_response({"object": "chat.completion", "model": name, "choices": [choice]})

    async def _streamed(self, request: web.Request, name: str, text: str) -> web.StreamResponse:
        out = web.StreamResponse(headers={"content-type": "text/event-stream"})
        await out.prepare(request)
        await out.write(chunk(name, text, None))
        await self._hold()
        await out.write(chunk(name, " to the end", "stop") + b"data: [DONE]\n\n")
        return out

    async def _hold(self) -> None:
        self.held.set()
        await self.let_go.wait()


def cut(request: web.Request) -> web.Response:
    if request.transport:
        request.transport.abort()
    return web.Response()


def card(name: str, root: str, parent: str | None) -> dict[str, Any]:
    return {"id": name, "object": "model", "owned_by": "vllm", "root": root, "parent": parent}


def chunk(name: str, text: str, finish: str | None) -> bytes:
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    return f"data: {json.dumps({'object': 'chat.completion.chunk', 'model': name, 'choices': [choice]})}\n\n".encode()


def refusal(status: int, kind: str, message: str) -> web.Response:
    error = {"message": message, "type": kind, "param": None, "code": status}
    return web.json_response({"error": error}, status=status)


@asynccontextmanager
async def vllm(**settings: Any) -> AsyncIterator[VllmServer]:
    server = VllmServer(**settings)
    runner = web.AppRunner(server.app(), access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        server.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield server
    finally:
        await runner.cleanup()
