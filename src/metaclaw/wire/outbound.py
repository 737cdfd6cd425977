"""One connection to an origin: a request goes out, and llhttp reads the reply to it, strictly.

A server may hang up an idle connection at the moment in which we send on it. Such an end is told from others: the
connection had served before, and ended without one byte of a reply, soon after we sent.
"""

from __future__ import annotations

import asyncio
from typing import NamedTuple, Protocol, cast

import httptools

from metaclaw.errors import StaleConnectionError, WireError
from metaclaw.wire.head import MOST_UNFINISHED_BYTES, Headers, HeadReader, framing_of
from metaclaw.wire.reply import Reply, reply_of

KEEPALIVE_SECONDS = 60.0
SOON_SECONDS = 5.0  # a stale one shows within a round trip; one that ends later was at work on our request
TOGETHER_BYTES = 64 * 1024  # up to here one copy is cheaper than a second write
NEVER = float("inf")


class Origin(NamedTuple):
    tls: bool
    host: str
    port: int


class Pool(Protocol):
    """Whom a connection tells of itself."""

    idle_seconds: float

    def opened(self, connection: Connection) -> None: ...

    def give_back(self, connection: Connection) -> None:
        """It is free for another request."""

    def forget(self, connection: Connection) -> None:
        """It has ended."""


class Connection(asyncio.Protocol):
    """One connection; one request at a time. The parser calls the `on_` methods."""

    def __init__(self, pool: Pool, origin: Origin, loop: asyncio.AbstractEventLoop) -> None:
        self.origin = origin
        self.deadline = NEVER
        self._pool = pool
        self._loop = loop
        self._head = HeadReader()
        self.on_header = self._head.add  # the parser calls it itself: a call less for each header
        self._parser = httptools.HttpResponseParser(self)
        self._begun: asyncio.Future[Reply] | None = None
        self._reply: Reply | None = None
        self._requests = 0
        self._sent_at = 0.0
        self._heard = False
        self._once = False
        self._bodiless = False
        self._ends_with_connection = False
        self._held = False
        self._unfinished = 0

    async def send(self, method: str, head: bytes, body: bytes | None, *, once: bool) -> Reply:
        """`once`: the connection ends with the reply. Cancelling the wait ends it too."""
        self._requests += 1
        self._sent_at = self._loop.time()
        self.deadline = self._sent_at + self._pool.idle_seconds
        self._heard, self._once, self._bodiless = False, once, method == "HEAD"
        self._unfinished = 0
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
        if back != self._held and not self._transport.is_closing():
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
        self._pool.opened(self)

    def data_received(self, data: bytes) -> None:
        if not (self._begun or self._reply):
            self.abort()  # words that nobody asked for
            return
        self._heard = True
        self.deadline = self._loop.time() + self._pool.idle_seconds
        self._unfinished += len(data)
        try:
            self._parser.feed_data(data)
        except (httptools.HttpParserError, httptools.HttpParserUpgrade) as error:
            ours = error.__context__
            self._break_off(ours if isinstance(ours, WireError) else WireError(type(error).__name__))
        else:
            if self._unfinished > MOST_UNFINISHED_BYTES:
                self._break_off(WireError("a head or trailer without an end"))

    def connection_lost(self, exc: Exception | None) -> None:
        self._pool.forget(self)
        del self._parser  # which refers to us
        if self._reply and self._ends_with_connection and exc is None:
            self._reply.end()
            self._reply = None
        elif self._requests > 1 and not self._heard and self._loop.time() - self._sent_at < SOON_SECONDS:
            self._fail(StaleConnectionError("a reused connection had been closed"))
        else:
            self._fail(WireError(type(exc).__name__ if exc else "the connection ended"))

    # -- the parser's calls --

    def on_message_begin(self) -> None:
        if self._begun is None:
            raise WireError("a reply that nobody asked for")
        self._head.begin()

    def on_headers_complete(self) -> None:
        self._head.end()
        status = self._parser.get_status_code()
        if status < 200:
            if status < 100 or status == 101:
                raise WireError(f"status {status}, which nobody asked for")
            return  # 100 Continue and 103 Early Hints: the reply is yet to come
        self._unfinished = 0
        headers = Headers(self._head.fields)
        self._ends_with_connection = not framing_of(headers)
        self._reply = reply_of(self, status, headers)
        if self._begun and not self._begun.done():
            self._begun.set_result(self._reply)
        self._begun = None
        if self._bodiless:  # the parser would wait for the body that a GET would have had
            self._reply.end()
            self._reply = None
            self._transport.close()

    def on_body(self, chunk: bytes) -> None:
        self._unfinished = 0
        if self._reply:
            self._reply.feed(chunk)

    def on_message_complete(self) -> None:
        reply, self._reply = self._reply, None
        if reply is None:
            return
        keeps = self._parser.should_keep_alive() and not self._once
        reply.end()
        self.hold_back(False)
        if not keeps or self._transport.is_closing():
            self._transport.close()
        elif self._transport.get_write_buffer_size():  # answered before it had heard us out: it need not go on to
            self.abort()
        else:
            self.deadline = self._loop.time() + KEEPALIVE_SECONDS
            self._pool.give_back(self)

    def _break_off(self, error: WireError) -> None:
        self._fail(error)
        self.abort()

    def _fail(self, error: Exception) -> None:
        if self._begun and not self._begun.done():
            self._begun.set_exception(error)
        self._begun = None
        if self._reply:
            self._reply.end(error)
            self._reply = None
