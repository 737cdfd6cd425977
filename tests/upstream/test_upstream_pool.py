"""A pooled connection that the server had closed: sent again once, on a fresh one, and only where that is safe."""

from __future__ import annotations

import asyncio
import socket
import struct
from collections.abc import AsyncIterator, Awaitable, Callable
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass, field

import aiohttp
import pytest
import pytest_asyncio

from metaclaw.errors import UpstreamError
from metaclaw.upstream.client import UpstreamClient, read
from metaclaw.upstream.route import Route
from metaclaw.wire import outbound as wire

REPLY = b"HTTP/1.1 200 OK\r\ncontent-type: application/json\r\ncontent-length: 2\r\n\r\n{}"
Hangup = Callable[[asyncio.StreamWriter], Awaitable[None]]


async def close(writer: asyncio.StreamWriter) -> None:
    writer.close()


async def reset(writer: asyncio.StreamWriter) -> None:
    writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    writer.transport.abort()


@dataclass
class Server:
    """Answers the first `good` requests of a connection and hangs up on the next one, having said `then`."""

    good: int = 1
    hangup: Hangup = close
    then: bytes = b""
    url: str = ""
    bodies: list[bytes] = field(default_factory=list)
    connections: int = 0
    served: dict[asyncio.Task[None], asyncio.StreamWriter] = field(default_factory=dict)

    async def __call__(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.connections += 1
        if task := asyncio.current_task():
            self.served[task] = writer
        good = self.good
        with suppress(asyncio.IncompleteReadError, ConnectionError):
            for _ in range(good):
                await self._request(reader)
                writer.write(REPLY)
            await self._request(reader)
            writer.write(self.then)
            await writer.drain()
            await self.hangup(writer)
        writer.close()

    async def _request(self, reader: asyncio.StreamReader) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).lower()
        length = int(head.partition(b"content-length: ")[2].partition(b"\r\n")[0] or b"0")
        self.bodies.append(await reader.readexactly(length))


@asynccontextmanager
async def serving(server: Server) -> AsyncIterator[Server]:
    listening = await asyncio.start_server(server, "127.0.0.1", 0)
    async with listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        yield server
        for writer in server.served.values():
            writer.close()
        await asyncio.gather(*server.served)


@pytest_asyncio.fixture
async def client() -> AsyncIterator[UpstreamClient]:
    async with UpstreamClient(connect_timeout_seconds=5, idle_timeout_seconds=5) as opened:
        yield opened


async def ask(client: UpstreamClient, server: Server, body: bytes) -> bytes:
    route = Route(server.url, "p")
    async with client.post(route, "/x", body) as reply:
        return await read(reply, route)


@pytest.mark.parametrize("hangup", [close, reset])
async def test_none_of_200_is_lost_where_half_were(client: UpstreamClient, hangup: Hangup) -> None:
    async with serving(Server(hangup=hangup)) as server:
        assert await lost_by_aiohttp_alone(server) == 100
        server.bodies.clear()
        for number in range(200):
            assert await ask(client, server, b"%d" % number) == b"{}"
    assert set(server.bodies) == {b"%d" % number for number in range(200)}


async def lost_by_aiohttp_alone(server: Server) -> int:
    lost = 0
    async with aiohttp.ClientSession() as session:
        for _ in range(200):
            try:
                async with session.post(server.url, data=b"{}") as reply:
                    await reply.read()
            except aiohttp.ClientError:
                lost += 1
    return lost


async def test_none_of_200_is_lost_to_a_server_that_closes_after_each_reply(client: UpstreamClient) -> None:
    async def answer_once(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        with suppress(asyncio.IncompleteReadError):
            await server._request(reader)
            writer.write(REPLY)
        writer.close()

    server = Server()
    listening = await asyncio.start_server(answer_once, "127.0.0.1", 0)
    async with listening:
        server.url = f"http://127.0.0.1:{listening.sockets[0].getsockname()[1]}"
        for number in range(200):
            assert await ask(client, server, b"%d" % number) == b"{}"


@pytest.mark.parametrize("hangup", [close, reset])
async def test_many_stale_ones_at_once_cost_one_more_try_each(client: UpstreamClient, hangup: Hangup) -> None:
    async with serving(Server(hangup=hangup)) as server:
        for _ in range(2):
            replies = await asyncio.gather(*(ask(client, server, b"{}") for _ in range(20)))
            assert replies == [b"{}"] * 20
        assert len(server.bodies) == 20 + 20 + 20


@pytest.mark.parametrize("hangup", [close, reset])
@pytest.mark.parametrize("then", [b"HTTP/1.1 200", b"HTTP/1.1 100 Continue\r\n\r\n", b"H"])
async def test_after_a_byte_of_the_reply_nothing_is_sent_again(
    client: UpstreamClient, hangup: Hangup, then: bytes
) -> None:
    async with serving(Server(hangup=hangup, then=then)) as server:
        await ask(client, server, b"first")
        with pytest.raises(UpstreamError) as failed:
            await ask(client, server, b"second")
        assert (failed.value.status, failed.value.code) == (502, "upstream_broke_off")
        assert server.bodies == [b"first", b"second"]


@pytest.mark.parametrize("hangup", [close, reset])
async def test_on_a_fresh_connection_nothing_is_sent_again(client: UpstreamClient, hangup: Hangup) -> None:
    async with serving(Server(good=0, hangup=hangup)) as server:
        with pytest.raises(UpstreamError):
            await ask(client, server, b"once")
        assert server.bodies == [b"once"]


async def test_the_fresh_one_is_the_last_try(client: UpstreamClient) -> None:
    async with serving(Server()) as server:
        await ask(client, server, b"first")
        server.good = 0
        with pytest.raises(UpstreamError, match="broke off"):
            await ask(client, server, b"second")
        assert server.bodies == [b"first", b"second", b"second"]


async def test_a_server_that_had_time_to_work_on_it_is_not_asked_again(
    client: UpstreamClient, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(wire, "SOON_SECONDS", 0.0)
    async with serving(Server()) as server:
        await ask(client, server, b"first")
        with pytest.raises(UpstreamError, match="broke off"):
            await ask(client, server, b"second")
        assert server.bodies == [b"first", b"second"]


async def test_a_connection_that_serves_is_used_again(client: UpstreamClient) -> None:
    async with serving(Server(good=50)) as server:
        for _ in range(50):
            await ask(client, server, b"{}")
        assert server.connections == 1
