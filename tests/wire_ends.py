"""Both ends of HTTP by hand: a server that says exactly these bytes, and ours with a handler of the test's own."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

from metaclaw.wire.client import Connections
from metaclaw.wire.head import Headers
from metaclaw.wire.messages import Reply, Request, Response
from metaclaw.wire.server import Limits, Server

MOST = 64 << 20
LIMITS = Limits(head_seconds=5, keep_alive_seconds=5, connections=1000)
Talk = Callable[[asyncio.StreamReader, asyncio.StreamWriter], Awaitable[None]]


def refuse(status: int, code: str, told: str) -> bytes:
    return f"{status} {code}".encode()


async def echo(request: Request) -> Reply:
    """What was sent, with its line in a header."""
    body = await request.read(MOST)
    said = {"x-line": f"{request.method} {request.target} {request.version}", "content-type": "text/plain"}
    return Response(body, 200, Headers(said))


@dataclass
class Served:
    server: Server
    url: str


@asynccontextmanager
async def serving(
    handler: Callable[[Request], Awaitable[Reply]] = echo, limits: Limits = LIMITS, grace_seconds: float = 1.0
) -> AsyncIterator[Served]:
    server = Server(handler, limits, refuse)
    port = await server.listen("127.0.0.1", 0)
    try:
        yield Served(server, f"http://127.0.0.1:{port}")
    finally:
        await server.close(grace_seconds)
        assert not server.connections


@dataclass
class Origin:
    """`heads` are those of the requests that came; `connections` how many were opened."""

    url: str = ""
    heads: list[bytes] = field(default_factory=list)
    connections: int = 0


@asynccontextmanager
async def origin(talk: Talk) -> AsyncIterator[Origin]:
    """A server that talks as the test says, on each connection."""
    found = Origin()
    under_way: set[asyncio.Task[None]] = set()

    async def serve(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        found.connections += 1
        task = asyncio.current_task()
        assert task
        under_way.add(task)
        with suppress(ConnectionError, asyncio.IncompleteReadError, asyncio.CancelledError):
            await talk(reader, writer)
        writer.close()

    listening = await asyncio.start_server(serve, "127.0.0.1", 0)
    found.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
    try:
        yield found
    finally:
        listening.close()
        for task in under_way:
            task.cancel()
        await asyncio.gather(*under_way)


def saying(raw: bytes, *, hang_up: bool = False, piece: int = 0) -> Talk:
    """Each request is answered with `raw`, in pieces of `piece` bytes."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            await reader.readuntil(b"\r\n\r\n")
            for at in range(0, len(raw), piece or len(raw) or 1):
                writer.write(raw[at : at + (piece or len(raw))])
                await writer.drain()
                await asyncio.sleep(0)
            if hang_up:
                return

    return talk


@asynccontextmanager
async def connections(connect_seconds: float = 5.0, idle_seconds: float = 5.0) -> AsyncIterator[Connections]:
    opened = Connections(connect_seconds, idle_seconds)
    try:
        yield opened
    finally:
        await opened.close()
        await asyncio.sleep(0)
        assert not opened._open


async def got(pool: Connections, url: str, method: str = "GET", path: str = "/") -> tuple[int, bytes]:
    reply = await pool.ask(method, url, path, Headers(), None)
    try:
        return reply.status, await reply.read()
    finally:
        reply.close()


def resident_bytes() -> int:
    with open("/proc/self/statm", encoding="ascii") as statm:  # noqa: PTH123 - no file
        return int(statm.read().split()[1]) * 4096
