"""The server's end: connections, one request at a time on each, and a deadline for whatever a client may put off.

In: bytes. Out: `Request`s for one handler, and its replies. llhttp reads the heads and bodies, strictly; what it
refuses is answered in the words of `refuse` and never quoted, since it may hold keys. A client that leaves cancels its
handler. Deadlines are looked after by one sweep over all connections: a timer for each request costs more than that.
"""

from __future__ import annotations

import asyncio
import logging
import time
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from dataclasses import dataclass
from typing import cast

import httptools

from metaclaw.errors import WireError
from metaclaw.wire.head import MOST_LINE_BYTES, Headers, HeadReader, composed, date_at, status_line
from metaclaw.wire.messages import Reply, Request, Response, Stream

log = logging.getLogger(__name__)

LINGER_SECONDS = 5.0  # how long the rest of a refused body is read and thrown away, so that its client sees the refusal
NEVER = float("inf")
BODILESS = frozenset({204, 304})

Handler = Callable[[Request], Awaitable[Reply]]
Refuse = Callable[[int, str, str], bytes]


@dataclass(frozen=True, slots=True)
class Limits:
    """`head_seconds`: from a head's first byte to its end, and before the first one. `keep_alive_seconds`: between."""

    head_seconds: float
    keep_alive_seconds: float
    connections: int


class Server:
    """`refuse` makes the JSON body of an error from status, code and text."""

    def __init__(self, handler: Handler, limits: Limits, refuse: Refuse) -> None:
        self.handler = handler
        self.limits = limits
        self.refuse = refuse
        self.connections: set[Connection] = set()
        self.closing = False
        self._listening: asyncio.Server | None = None
        self._sweeper: asyncio.Task[None] | None = None
        self._date, self._date_at = "", 0

    async def listen(self, host: str, port: int) -> int:
        """Returns the port. Raises `OSError` where it cannot be had."""
        loop = asyncio.get_running_loop()
        self._listening = await loop.create_server(lambda: Connection(self, loop), host, port, backlog=1024)
        self._sweeper = loop.create_task(self._sweep(loop))
        return int(self._listening.sockets[0].getsockname()[1])

    async def close(self, grace_seconds: float) -> None:
        """Take no more, let what is under way end within `grace_seconds`, and cancel what has not."""
        self.closing = True
        if self._listening:
            self._listening.close()
        for connection in [*self.connections]:
            connection.stop_when_idle()
        if tasks := [connection.task for connection in self.connections if connection.task]:
            _, late = await asyncio.wait(tasks, timeout=grace_seconds)
            for task in late:
                task.cancel()
            await asyncio.gather(*late, return_exceptions=True)
        if self._sweeper:
            self._sweeper.cancel()
            await asyncio.gather(self._sweeper, return_exceptions=True)
        for connection in [*self.connections]:
            connection.abort()
        await asyncio.sleep(0)

    @property
    def date(self) -> str:
        now = int(time.time())
        if now != self._date_at:
            self._date, self._date_at = date_at(now), now
        return self._date

    async def _sweep(self, loop: asyncio.AbstractEventLoop) -> None:
        shortest = min(self.limits.head_seconds, self.limits.keep_alive_seconds)
        while True:
            await asyncio.sleep(min(1.0, max(0.02, shortest / 5)))
            now = loop.time()
            for connection in [one for one in self.connections if one.deadline < now]:
                connection.abort()


class Connection(asyncio.Protocol):
    """One client's. The parser calls the `on_` methods. `deadline` is when it is given up, as the loop tells time."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline = loop.time() + server.limits.head_seconds
        self.task: asyncio.Task[None] | None = None
        self._server = server
        self._loop = loop
        self._parser = httptools.HttpRequestParser(self)
        self._head = HeadReader()
        self._target = b""
        self._receiving: Request | None = None  # whose body is coming
        self._reading_head = False
        self._waiting: deque[Request] = deque()  # sent before the reply to the one before them
        self._bad = False  # what came last is not HTTP
        self._discards = False
        self._paused = False
        self._drained: asyncio.Future[None] | None = None

    # -- the transport's calls --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        if len(self._server.connections) > self._server.limits.connections:
            log.warning("a connection was refused: %d are open", self._server.limits.connections)
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.connections.discard(self)
        self._discards = True
        if self._receiving:
            self._receiving.end(WireError("the client hung up"))
        if self.task:
            self.task.cancel()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._discards:
            return
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade:
            pass  # the request itself came whole; it is answered like any other, and nothing is read behind it
        except httptools.HttpParserError as error:
            self._is_bad(error)

    def pause_writing(self) -> None:
        self._paused = True

    def resume_writing(self) -> None:
        self._paused = False
        if self._drained and not self._drained.done():
            self._drained.set_result(None)

    # -- the parser's calls --

    def on_message_begin(self) -> None:
        self._head.begin()
        self._target = b""
        self._reading_head = True
        if self.task is None:
            self.deadline = self._loop.time() + self._server.limits.head_seconds

    def on_url(self, piece: bytes) -> None:
        self._target += piece
        if len(self._target) > MOST_LINE_BYTES:
            raise WireError("the target is too long")

    def on_header(self, name: bytes, value: bytes) -> None:
        if self._reading_head:  # else a trailer
            self._head.add(name, value)

    def on_headers_complete(self) -> None:
        parser = self._parser
        upgrades = parser.should_upgrade()
        request = Request(
            self, parser.get_method().decode("ascii"), self._target.decode("utf-8", "surrogateescape"),
            parser.get_http_version(), Headers(self._head.fields), parser.should_keep_alive() and not upgrades,
        )
        self._reading_head = False
        self._receiving = request
        if self.task is None:
            self._begin(request)
        else:
            self._waiting.append(request)
            self._transport.pause_reading()

    def on_body(self, chunk: bytes) -> None:
        if self._receiving:
            self._receiving.feed(chunk)

    def on_message_complete(self) -> None:
        if self._receiving:
            self._receiving.end()
            self._receiving = None

    # -- `Line`, for requests and streams --

    def write(self, data: bytes) -> None:
        self._transport.write(data)

    async def drain(self) -> None:
        if self._transport.is_closing():
            raise ConnectionResetError("the client is gone")
        if self._paused:
            self._drained = self._loop.create_future()
            await self._drained
            if self._transport.is_closing():
                raise ConnectionResetError("the client is gone")

    def hold_back(self, back: bool) -> None:
        if back:
            self._transport.pause_reading()
        elif not self._waiting:
            self._transport.resume_reading()

    def head(self, request: Request, status: int, headers: Headers, *framing: str) -> bytes:
        """A reply's head. Whether the connection outlives the reply is decided here, and told the client."""
        if not request.complete or self._server.closing or self._bad:
            request.keep_alive = False
        if not request.keep_alive:
            framing = (*framing, "Connection: close")
        elif request.version == "1.0":
            framing = (*framing, "Connection: keep-alive")
        return composed(status_line(status), headers.items(), self._server.date, *framing)

    # -- one request's life --

    def _begin(self, request: Request) -> None:
        self.deadline = NEVER
        self.task = self._loop.create_task(self._serve(request))

    async def _serve(self, request: Request) -> None:
        try:
            reply = await self._server.handler(request)
            if isinstance(reply, Response):
                await self._send(request, reply)
            elif not reply.ended:
                raise RuntimeError("a handler left its stream open")
        except asyncio.CancelledError:
            self.abort()
            raise
        except ConnectionError:
            self.abort()
        except Exception as error:  # noqa: BLE001 - a bug of ours costs this request, and no other
            self._failed(request, error)
        finally:
            self.task = None
        self._after(request)

    async def _send(self, request: Request, reply: Response) -> None:
        framing = () if reply.status in BODILESS else (f"Content-Length: {len(reply.body)}",)
        head = self.head(request, reply.status, reply.headers, *framing)
        request.answered = True
        bodiless = request.method == "HEAD" or reply.status in BODILESS
        self._transport.write(head if bodiless else head + reply.body)
        if self._paused:
            await self.drain()

    def _failed(self, request: Request, error: Exception) -> None:
        """The text of a foreign error may quote what was sent: the log gets its kind, and where it came from."""
        where = "".join(traceback.format_tb(error.__traceback__))
        log.error("a request failed with %s\n%s", type(error).__name__, where)
        if request.answered:
            self.abort()
        else:
            self._refuse(request, 500, "internal_error", "The gateway failed; its log says where. Try again.")

    def _refuse(self, request: Request, status: int, code: str, told: str) -> None:
        request.keep_alive = False
        body = self._server.refuse(status, code, told)
        headers = Headers({"content-type": "application/json"})
        self._transport.write(self.head(request, status, headers, f"Content-Length: {len(body)}") + body)
        request.answered = True

    def _after(self, request: Request) -> None:
        """The next request, the wait for it, or the end of the connection."""
        if self._transport.is_closing():
            return
        if not request.complete or not request.keep_alive:
            self._linger()
        elif self._waiting:
            following = self._waiting.popleft()
            if not self._waiting:
                self._transport.resume_reading()
            self._begin(following)
        elif self._bad:
            self._refuse_bad()
        else:
            limits = self._server.limits
            wait = limits.head_seconds if self._reading_head else limits.keep_alive_seconds
            self.deadline = self._loop.time() + wait

    def _linger(self) -> None:
        """Say that nothing more comes, and give the client time to see it before its own words bounce."""
        self._discards = True
        self.deadline = self._loop.time() + LINGER_SECONDS
        self._transport.resume_reading()
        if self._transport.can_write_eof():
            self._transport.write_eof()

    def _is_bad(self, error: Exception) -> None:
        kind = type(error.__context__ if isinstance(error.__context__, WireError) else error).__name__
        log.info("a request that is not HTTP was refused: %s", kind)
        self._bad = True
        self._discards = True
        if self._receiving:  # its handler waits for the rest, and tells the client
            self._receiving.end(WireError("the body is not framed as HTTP has it"))
            self._receiving = None
        elif self.task is None:
            self._refuse_bad()

    def _refuse_bad(self) -> None:
        nobody = Request(self, "", "", "1.1", Headers(), keep_alive=False)
        told = "The request is not HTTP as this gateway reads it. Check its line and headers."
        self._refuse(nobody, 400, "bad_request", told)
        self._linger()

    def stop_when_idle(self) -> None:
        if self.task is None:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()


__all__ = ["Handler", "Limits", "Reply", "Request", "Response", "Server", "Stream"]
