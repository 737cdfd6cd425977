"""The client's end: pooled connections to origins, and replies that are read as they arrive.

A request is sent again, on a fresh connection, where a pooled one turns out to have been closed before its use, and
then only (RFC 9112, 9.3.1). No redirects, no cookies, no proxies. Idle times are looked after by one sweep over all
connections.
"""

from __future__ import annotations

import asyncio
import re
import socket
import ssl
from functools import lru_cache
from urllib.parse import quote, urlsplit

from aiohappyeyeballs import start_connection

from metaclaw.errors import StaleConnectionError, UnreachableError, WireError
from metaclaw.wire.head import Headers, composed
from metaclaw.wire.outbound import Connection, Origin
from metaclaw.wire.reply import Reply

__all__ = ["Connections", "Reply"]

CUTS = re.compile(r"[^!-~]")  # what a request line cannot hold


class Connections:
    """Without a limit: the gateway's clients set the pace. Used on one event loop; close it there."""

    def __init__(self, connect_seconds: float, idle_seconds: float) -> None:
        self._connect_seconds = connect_seconds
        self.idle_seconds = idle_seconds
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._closed = False
        self._sweeper: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None

    async def ask(self, method: str, base: str, path: str, headers: Headers, body: bytes | None) -> Reply:
        """Send a request to `base + path` and return when its reply has begun.

        Raises `UnreachableError`, `TimeoutError`, and `WireError` for anything else.
        """
        origin, before, host = _place(base)
        target = before + path or "/"
        if CUTS.search(target):
            raise WireError("a character in the target that no URL has")
        own = [] if "host" in headers else [f"Host: {host}"]
        if body is not None or method not in ("GET", "HEAD"):
            own.append(f"Content-Length: {len(body or b'')}")
        head = composed(f"{method} {target} HTTP/1.1", headers.items(), *own)
        once = headers.get("connection", "").lower() == "close"
        used = self._take(origin)
        if used:
            try:
                return await used.send(method, head, body, once=once)
            except StaleConnectionError:
                pass
        return await (await self._connect(origin)).send(method, head, body, once=once)

    async def close(self) -> None:
        self._closed = True
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in [*self._open]:
            connection.abort()
        await asyncio.sleep(0)

    def opened(self, connection: Connection) -> None:
        self._open.add(connection)

    def give_back(self, connection: Connection) -> None:
        self._idle.setdefault(connection.origin, []).append(connection)

    def forget(self, connection: Connection) -> None:
        self._open.discard(connection)
        idle = self._idle.get(connection.origin)
        if idle and connection in idle:
            idle.remove(connection)

    def _take(self, origin: Origin) -> Connection | None:
        """The one that was used last: the others may grow old and go."""
        idle = self._idle.get(origin)
        while idle:
            if (found := idle.pop()).usable:
                return found
        return None

    async def _connect(self, origin: Origin) -> Connection:
        """Raises `TimeoutError` where that takes too long, `UnreachableError` for whatever else prevents it."""
        loop = asyncio.get_running_loop()
        tls, name = (self._context(), origin.host) if origin.tls else (None, None)
        try:
            async with asyncio.timeout(self._connect_seconds):
                places = await loop.getaddrinfo(origin.host, origin.port, type=socket.SOCK_STREAM)
                opened = await start_connection(places, happy_eyeballs_delay=0.25, interleave=1, loop=loop)
                opened.setsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY, 1)
                _, connection = await loop.create_connection(
                    lambda: Connection(self, origin, loop), sock=opened, ssl=tls, server_hostname=name
                )
        except TimeoutError:
            raise
        except (OSError, UnicodeError) as error:  # the latter for a name that cannot be one
            raise UnreachableError(getattr(error, "strerror", None) or str(error)) from error
        if self._closed or not connection.usable:
            connection.abort()
            raise UnreachableError("closed as soon as it was open")
        if self._sweeper is None:
            self._sweep(loop)
        return connection

    def _context(self) -> ssl.SSLContext:
        if self._tls is None:
            self._tls = ssl.create_default_context()
            self._tls.set_alpn_protocols(["http/1.1"])
        return self._tls

    def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        self._sweeper = None
        now = loop.time()
        for connection in [one for one in self._open if one.deadline < now]:
            connection.too_late()
        if self._open:
            self._sweeper = loop.call_later(min(1.0, max(0.02, self.idle_seconds / 5)), self._sweep, loop)


@lru_cache(maxsize=256)
def _place(base: str) -> tuple[Origin, str, str]:
    """Where a base URL leads, the path that it begins with, and what to call its host."""
    try:
        parts = urlsplit(base)
        name, port = parts.hostname or "", parts.port
        name = name if name.isascii() else name.encode("idna").decode("ascii")
    except ValueError:
        name = ""
    if not name or parts.scheme not in ("http", "https"):
        raise WireError(f"no http or https URL: {base[:200]!r}")
    tls = parts.scheme == "https"
    usual = 443 if tls else 80
    shown = f"[{name}]" if ":" in name else name
    path = quote(parts.path.rstrip("/"), safe="/%:@!$&'()*+,;=~")
    return Origin(tls, name, port or usual), path, shown if port in (None, usual) else f"{shown}:{port}"
