"""The client's end: pooled connections to origins, and replies that are read as they arrive.

A server may hang up an idle connection at the moment in which we send on it. Such an end is told from others: the
connection had served before, and ended without one byte of a reply, soon after we sent. Then, and only then, the
request is sent again, on a fresh connection (RFC 9112, 9.3.1). No redirects, no cookies, no proxies. Idle times are
looked after by one sweep over all connections.
"""

from __future__ import annotations

import asyncio
import ssl
from functools import lru_cache
from typing import NamedTuple, cast
from urllib.parse import urlsplit

import httptools

from metaclaw.errors import StaleConnectionError, UnreachableError, WireError
from metaclaw.wire.head import Headers, HeadReader, composed
from metaclaw.wire.unpack import Unpacker, unpacker

KEEPALIVE_SECONDS = 60.0
SOON_SECONDS = 5.0  # a stale one shows within a round trip; one that ends later was at work on our request
READ_AHEAD_BYTES = 512 * 1024  # of a reply that nobody takes; then the upstream has to wait
TOGETHER_BYTES = 64 * 1024  # up to here one copy is cheaper than a second write
NEVER = float("inf")
TARGET_CUTS = frozenset(" \t\r\n")


class Origin(NamedTuple):
    tls: bool
    host: str
    port: int


class Connections:
    """Without a limit: the gateway's clients set the pace. Used on one event loop; close it there."""

    def __init__(self, connect_seconds: float, idle_seconds: float) -> None:
        self._connect_seconds = connect_seconds
        self.idle_seconds = idle_seconds
        self._idle: dict[Origin, list[Connection]] = {}
        self._open: set[Connection] = set()
        self._sweeper: asyncio.TimerHandle | None = None
        self._tls: ssl.SSLContext | None = None

    async def ask(self, method: str, base: str, path: str, headers: Headers, body: bytes | None) -> Reply:
        """Send a request to `base + path` and return when its reply has begun.

        Raises `UnreachableError`, `TimeoutError`, and `WireError` for anything else.
        """
        origin, before, host = _place(base)
        target = before + path
        if not TARGET_CUTS.isdisjoint(target):
            raise WireError("a blank in the target")
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
        if self._sweeper:
            self._sweeper.cancel()
            self._sweeper = None
        for connection in [*self._open]:
            connection.abort()
        await asyncio.sleep(0)

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
        loop = asyncio.get_running_loop()
        tls, name = (self._context(), origin.host) if origin.tls else (None, None)
        try:
            async with asyncio.timeout(self._connect_seconds):
                _, connection = await loop.create_connection(
                    lambda: Connection(self, origin, loop), origin.host, origin.port, ssl=tls, server_hostname=name,
                    happy_eyeballs_delay=0.25,
                )
        except TimeoutError:
            raise
        except OSError as error:
            raise UnreachableError(error.strerror or str(error)) from error
        self._open.add(connection)
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


class Reply:
    """A reply that has begun. `readany` gives what has arrived, `read` all of it; a body that was packed is unpacked.

    Closing one that has not come whole ends its connection, and with it the upstream's work.
    """

    __slots__ = ("_chunks", "_connection", "_failure", "_size", "_unpack", "_waiter", "complete", "headers", "status")

    def __init__(self, connection: Connection, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        self.complete = False
        self._connection: Connection | None = connection
        self._chunks: list[bytes] = []
        self._size = 0
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None
        self._unpack: Unpacker | None = None
        if "content-encoding" in headers:
            self._unpack = unpacker(headers["content-encoding"])

    @property
    def content_type(self) -> str:
        return self.headers.get("content-type", "").partition(";")[0].strip().lower()

    @property
    def waiting(self) -> bool:
        """Whether `readany` would wait."""
        return not (self._chunks or self.complete or self._failure)

    async def readany(self) -> bytes:
        """What has arrived since last time, waiting for it; empty at the end. Raises `WireError`, `TimeoutError`."""
        while not self._chunks:
            if self._failure:
                raise self._failure
            if self.complete:
                return b""
            await self._more()
        found = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        self._size = 0
        if self._connection:
            self._connection.hold_back(False)
        return found

    async def read(self) -> bytes:
        """All that has not been read yet."""
        if self.complete and len(self._chunks) == 1:
            return self._chunks.pop()
        pieces: list[bytes] = []
        while piece := await self.readany():
            pieces.append(piece)
        return b"".join(pieces)

    def close(self) -> None:
        if self._connection:
            self._connection.abort()
            self._connection = None

    def feed(self, chunk: bytes) -> None:
        if self._unpack:
            try:
                chunk = self._unpack.feed(chunk)
            except WireError as error:
                self.end(error)
                self.close()
                return
            if not chunk:
                return
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > READ_AHEAD_BYTES and self._connection:
            self._connection.hold_back(True)
        self._wake()

    def end(self, failure: Exception | None = None) -> None:
        """No more will come."""
        if failure is None and self._unpack and not self._unpack.finished:
            failure = WireError("a packed body that is cut off")
        if self._failure is None:
            self._failure = failure
            self.complete = failure is None
        self._connection = None if failure is None else self._connection
        self._wake()

    async def _more(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


class Connection(asyncio.Protocol):
    """One connection; one request at a time. The parser calls the `on_` methods."""

    def __init__(self, pool: Connections, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self.origin = origin
        self.deadline = NEVER
        self._pool = pool
        self._loop = loop
        self._parser = httptools.HttpResponseParser(self)
        self._head = HeadReader()
        self._begun: asyncio.Future[Reply] | None = None
        self._reply: Reply | None = None
        self._in_head = False
        self._requests = 0
        self._sent_at = 0.0
        self._heard = False
        self._once = False
        self._bodiless = False
        self._ends_with_connection = False
        self._held = False

    async def send(self, method: str, head: bytes, body: bytes | None, *, once: bool) -> Reply:
        """`once`: the connection ends with the reply. Cancelling the wait ends it too."""
        self._requests += 1
        self._sent_at = self._loop.time()
        self.deadline = self._sent_at + self._pool.idle_seconds
        self._heard, self._once, self._bodiless = False, once, method == "HEAD"
        begun: asyncio.Future[Reply] = self._loop.create_future()
        self._begun = begun
        if body and len(body) > TOGETHER_BYTES:
            self._transport.write(head)
            self._transport.write(body)
        else:
            self._transport.write(head + body if body else head)
        try:
            return await begun
        except BaseException:
            self.abort()
            raise

    @property
    def usable(self) -> bool:
        return not self._transport.is_closing()

    def abort(self) -> None:
        self._transport.abort()

    def hold_back(self, back: bool) -> None:
        """While nobody takes the reply, the server is not to blame for being silent."""
        if back != self._held:
            self._held = back
            if back:
                self._transport.pause_reading()
            else:
                self._transport.resume_reading()
            self.deadline = NEVER if back else self._loop.time() + self._pool.idle_seconds

    def too_late(self) -> None:
        if self._begun or self._reply:
            self._fail(TimeoutError())
        self.abort()

    # -- the transport's calls --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)

    def data_received(self, data: bytes) -> None:
        if not (self._begun or self._reply):
            self.abort()  # words that nobody asked for
            return
        self._heard = True
        self.deadline = self._loop.time() + self._pool.idle_seconds
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            self._fail(WireError(type(error).__name__))
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        if self._reply and self._ends_with_connection and exc is None:
            self._reply.end()
            self._reply = None
        elif self._requests > 1 and not self._heard and self._loop.time() - self._sent_at < SOON_SECONDS:
            self._fail(StaleConnectionError("a reused connection had been closed"))
        else:
            self._fail(WireError(type(exc).__name__ if exc else "the connection ended"))

    # -- the parser's calls --

    def on_message_begin(self) -> None:
        self._head.begin()
        self._in_head = True

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._in_head:  # else a trailer
            self._head.add(name, value)

    def on_headers_complete(self) -> None:
        self._in_head = False
        status = self._parser.get_status_code()
        if status < 200 and status != 101:
            return  # 100 Continue and 103 Early Hints: the reply is yet to come
        if self._begun is None:
            self.abort()  # a reply that nobody asked for
            return
        headers = Headers(self._head.fields)
        self._reply = Reply(self, status, headers)
        framed = "content-length" in headers or headers.get("transfer-encoding", "").lower().endswith("chunked")
        self._ends_with_connection = not framed
        if not self._begun.done():
            self._begun.set_result(self._reply)
        self._begun = None
        if self._bodiless:  # the parser would wait for the body that a GET would have had
            self._reply.end()
            self._reply = None
            self._transport.close()

    def on_body(self, chunk: bytes) -> None:
        if self._reply:
            self._reply.feed(chunk)

    def on_message_complete(self) -> None:
        reply, self._reply = self._reply, None
        if reply is None:
            return
        keeps = self._parser.should_keep_alive() and not self._once
        reply.end()
        self.hold_back(False)
        if keeps and not self._transport.is_closing():
            self.deadline = self._loop.time() + KEEPALIVE_SECONDS
            self._pool.give_back(self)
        else:
            self._transport.close()

    def _fail(self, error: Exception) -> None:
        if self._begun and not self._begun.done():
            self._begun.set_exception(error)
        self._begun = None
        if self._reply:
            self._reply.end(error)
            self._reply = None


@lru_cache(maxsize=256)
def _place(base: str) -> tuple[Origin, str, str]:
    """Where a base URL leads, the path that it begins with, and what to call its host."""
    parts = urlsplit(base)
    tls = parts.scheme == "https"
    if parts.scheme not in ("http", "https") or not parts.hostname:
        raise WireError(f"no http or https URL: {base[:200]!r}")
    usual = 443 if tls else 80
    port = parts.port or usual
    name = f"[{parts.hostname}]" if ":" in parts.hostname else parts.hostname
    return Origin(tls, parts.hostname, port), parts.path.rstrip("/"), name if port == usual else f"{name}:{port}"
