"""A scripted upstream: keeps each request byte for byte and answers as the test says."""

from __future__ import annotations

import asyncio
import json
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field
from typing import Any

from aiohttp import web
from multidict import CIMultiDictProxy

Answer = Callable[[web.Request], Awaitable[web.StreamResponse]]
DONE = b"data: [DONE]\n\n"


@dataclass(frozen=True)
class Seen:
    method: str
    path: str
    headers: CIMultiDictProxy[str]
    body: bytes
    query: str = ""


@dataclass
class ScriptedUpstream:
    """`answer` may be changed at any time; `asked` is set by a request, `left` when a client left unanswered."""

    answer: Answer
    url: str = ""
    seen: list[Seen] = field(default_factory=list)
    asked: asyncio.Event = field(default_factory=asyncio.Event)
    left: asyncio.Event = field(default_factory=asyncio.Event)

    async def __call__(self, request: web.Request) -> web.StreamResponse:
        query = request.rel_url.raw_query_string
        self.seen.append(Seen(request.method, request.path, request.headers, await request.read(), query))
        self.asked.set()
        try:
            return await self.answer(request)
        except (asyncio.CancelledError, ConnectionError):
            self.left.set()
            raise


@asynccontextmanager
async def upstream(answer: Answer | None = None) -> AsyncIterator[ScriptedUpstream]:
    scripted = ScriptedUpstream(answer or whole(completion("Hello.")))
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", scripted.__call__)
    runner = web.AppRunner(app, handler_cancellation=True, access_log=None, shutdown_timeout=0.1)
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0).start()
        scripted.url = f"http://127.0.0.1:{runner.addresses[0][1]}/v1"
        yield scripted
    finally:
        await runner.cleanup()


def completion(text: str) -> bytes:
    """A whole chat completion, with fields that no SDK knows."""
    message = {"role": "assistant", "content": text, "x_new": [1.50]}
    return json.dumps({
        "id": "cmpl-1", "object": "chat.completion", "created": 1, "model": "scripted", "x_unknown": {"a": None},
        "choices": [{"index": 0, "message": message, "finish_reason": "stop"}],
        "usage": {"prompt_tokens": 3, "completion_tokens": 2, "total_tokens": 5},
    }, indent=1).encode()


def delta(text: str, finish: str | None = None) -> bytes:
    """One event of a streamed chat completion."""
    choice = {"index": 0, "delta": {"content": text}, "finish_reason": finish}
    body = {"id": "cmpl-1", "object": "chat.completion.chunk", "created": 1, "model": "scripted", "choices": [choice]}
    return b"data: " + json.dumps(body).encode() + b"\n\n"


def whole(
    body: bytes, status: int = 200, headers: Mapping[str, str] | None = None, content_type: str = "application/json"
) -> Answer:
    async def answer(request: web.Request) -> web.StreamResponse:
        return web.Response(status=status, body=body, headers=headers, content_type=content_type)

    return answer


def streamed(
    pieces: Iterable[bytes] | Callable[[], AsyncIterator[bytes]],
    headers: Mapping[str, str] | None = None,
    reset: bool = False,
) -> Answer:
    """An event stream in exactly these pieces; `reset` breaks the connection in place of ending the reply."""

    async def answer(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse(headers={"content-type": "text/event-stream; charset=utf-8", **(headers or {})})
        await out.prepare(request)
        async for piece in pieces() if callable(pieces) else _each(pieces):
            await out.write(piece)
            await asyncio.sleep(0)
        if reset:
            _abort(request)
            return out
        await out.write_eof()
        return out

    return answer


class Taps:
    """Pieces of a stream that the test lets out one by one; `None` ends it."""

    def __init__(self) -> None:
        self._pieces: asyncio.Queue[bytes | None] = asyncio.Queue()

    def let_out(self, *pieces: bytes | None) -> None:
        for piece in pieces:
            self._pieces.put_nowait(piece)

    async def __call__(self) -> AsyncIterator[bytes]:
        while (piece := await self._pieces.get()) is not None:
            yield piece


async def hang(request: web.Request) -> web.StreamResponse:
    """Say nothing, ever."""
    await asyncio.Event().wait()
    return web.Response()


async def garbage(request: web.Request) -> web.StreamResponse:
    """Answer something that is not HTTP."""
    transport = request.transport
    assert transport
    transport.write(b"\x00\x01 this is no HTTP\r\n\r\n")
    transport.close()
    return web.Response()


async def short_body(request: web.Request) -> web.StreamResponse:
    """Promise a thousand bytes, send seven, hang up."""
    transport = request.transport
    assert transport
    transport.write(b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 1000\r\n\r\n{\"a\": 1")
    transport.close()
    return web.Response()


def refusing_url() -> str:
    """An address at which nobody listens."""
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        return f"http://127.0.0.1:{taken.getsockname()[1]}/v1"


def chat_body(text: str = "Hi", **more: Any) -> bytes:
    return json.dumps({"model": "m", "messages": [{"role": "user", "content": text}], **more}).encode()


async def _each(pieces: Iterable[bytes]) -> AsyncIterator[bytes]:
    for piece in pieces:
        yield piece


def _abort(request: web.Request) -> None:
    with suppress(AttributeError):
        if request.transport:
            request.transport.abort()
