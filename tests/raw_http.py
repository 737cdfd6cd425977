"""HTTP by hand: bytes go out as they are, where a client would tidy them."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager, suppress
from dataclasses import dataclass
from urllib.parse import urlsplit

Streams = tuple[asyncio.StreamReader, asyncio.StreamWriter]


@dataclass(frozen=True)
class Answer:
    status: int
    headers: dict[str, str]
    body: bytes


@asynccontextmanager
async def connected(url: str) -> AsyncIterator[Streams]:
    parts = urlsplit(url)
    reader, writer = await asyncio.open_connection(parts.hostname, parts.port)
    try:
        yield reader, writer
    finally:
        writer.close()
        with suppress(ConnectionError):
            await writer.wait_closed()


async def answer(reader: asyncio.StreamReader, seconds: float = 10) -> Answer:
    """The next reply, whole. Raises `EOFError` where the connection ends instead."""
    async with asyncio.timeout(seconds):
        head = (await reader.readuntil(b"\r\n\r\n")).decode("latin-1")
        first, *lines = head.strip().split("\r\n")
        headers = {name.lower(): value.strip() for name, _, value in (line.partition(":") for line in lines)}
        body = await reader.readexactly(int(headers.get("content-length", 0)))
    return Answer(int(first.split()[1]), headers, body)


async def ended(reader: asyncio.StreamReader, seconds: float = 10) -> bytes:
    """What still comes until the other side hangs up."""
    with suppress(ConnectionError):
        async with asyncio.timeout(seconds):
            return await reader.read()
    return b""


async def ask(url: str, raw: bytes) -> Answer:
    async with connected(url) as (reader, writer):
        writer.write(raw)
        return await answer(reader)


def request(target: str, *lines: str, method: str = "GET", host: str = "127.0.0.1") -> bytes:
    return "\r\n".join([f"{method} {target} HTTP/1.1", f"host: {host}", *lines, "", ""]).encode("latin-1")
