"""One client's connection: llhttp reads the requests, strictly; one is served at a time, and its reply goes out.

What llhttp refuses is answered and never quoted, since it may hold keys. A client that leaves cancels its handler; one
that closes its sending half counts as having left. While nothing is read, since enough has come ahead, the system is
asked now and then; it does not know before what was sent has arrived, and on Windows not at all.
"""

from __future__ import annotations

import asyncio
import logging
import select
import sys
import traceback
from collections import deque
from collections.abc import Awaitable, Callable
from typing import TYPE_CHECKING, cast

import httptools

from metaclaw.errors import WireError
from metaclaw.wire.head import (
    MOST_LINE_BYTES,
    MOST_UNFINISHED_BYTES,
    Headers,
    HeadReader,
    composed,
    framing_of,
    status_line,
)
from metaclaw.wire.messages import BODILESS, Reply, Request, Response

if TYPE_CHECKING:
    from metaclaw.wire.server import Server

log = logging.getLogger(__name__)

LINGER_SECONDS = 5.0  # how long the rest of a refused body is read and thrown away, so that its client sees the refusal
STALL_SECONDS = 120.0  # a client that takes nothing of its reply for twice as long is given up
MOST_WAITING = 100  # requests ahead of the replies; hardly any client sends one
NEVER = float("inf")
HUNG_UP = getattr(select, "POLLRDHUP", 0)  # beside what a poll always tells

Handler = Callable[[Request], Awaitable[Reply]]
Refuse = Callable[[int, str, str], bytes]


class Connection(asyncio.Protocol):
    """The parser calls the `on_` methods. `deadline` is when it is given up, as the loop tells time."""

    def __init__(self, server: Server, loop: asyncio.AbstractEventLoop) -> None:
        self.deadline = loop.time() + server.limits.head_seconds
        self.task: asyncio.Task[None] | None = None
        self._server = server
        self._loop = loop
        self._head = HeadReader()
        self.on_header = self._head.add  # the parser calls it itself: a call less for each header
        self._parser = httptools.HttpRequestParser(self)
        self._target = b""
        self._receiving: Request | None = None  # whose body is coming
        self._reading_head = False
        self._waiting: deque[Request] = deque()  # sent before the reply to the one before them
        self._unfinished = 0
        self._bad = False  # what came last is not HTTP
        self._discards = False
        self._paused = False
        self._drained: asyncio.Future[None] | None = None
        self._left = NEVER  # of what was written, when that was last looked at

    # -- the transport's calls --

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        self._transport = cast(asyncio.Transport, transport)
        self._server.connections.add(self)
        if len(self._server.connections) > self._server.limits.connections:
            log.warning("a connection was refused: %d are open", self._server.limits.connections)
            self.abort()
        elif self._server.closing:
            self.abort()

    def connection_lost(self, exc: Exception | None) -> None:
        self._server.forget(self)
        self._discards = True
        del self._parser  # which refers to us
        if self._receiving:
            self._receiving.end(WireError("the client hung up"))
        if self.task:
            self.task.cancel()
        self.resume_writing()

    def data_received(self, data: bytes) -> None:
        if self._discards:
            return
        self._unfinished += len(data)
        try:
            self._read(data)
            if self._unfinished > MOST_UNFINISHED_BYTES:
                raise WireError("a head or trailer without an end")
        except (httptools.HttpParserError, WireError) as error:
            self._is_bad(error)

    def _read(self, data: bytes) -> None:
        """An offer to change the protocol is passed over (RFC 9110, 7.8).

        The parser takes it up, however, and would leave the body unread: it gets the head once more, without it.
        """
        try:
            self._parser.feed_data(data)
        except httptools.HttpParserUpgrade as stop:
            behind: int = stop.args[0]
            method, version = self._parser.get_method().decode("ascii"), self._parser.get_http_version()
            if method == "CONNECT":
                raise WireError("a tunnel") from None
            fields = [(name, value) for name, value in self._head.fields if name.lower() != "upgrade"]
            target = self._target.decode("ascii")
            again = composed(f"{method} {target} HTTP/{version}", fields)
            self._parser = httptools.HttpRequestParser(self)
            self._read(again + data[behind:])

    def pause_writing(self) -> None:
        self._paused = True
        self.deadline = self._loop.time() + STALL_SECONDS

    def resume_writing(self) -> None:
        self._paused = False
        self._left = NEVER
        if self.task:
            self.deadline = NEVER
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

    def on_headers_complete(self) -> None:
        parser = self._parser
        self._unfinished = 0
        if parser.should_upgrade():
            return  # see `_read`
        version, headers = parser.get_http_version(), Headers(self._head.fields)
        framing = framing_of(headers)
        if version != "1.1" and (version != "1.0" or framing == "chunked"):
            raise WireError("a version that is not served, or chunks in one that has none")
        if "host" in headers and len(headers.getall("host")) > 1:
            raise WireError("more than one host")
        request = Request(
            self, parser.get_method().decode("ascii"), self._target.decode("ascii"), version, headers,
            parser.should_keep_alive(),
        )
        self._reading_head = False
        self._head.end()
        self._receiving = request
        if self.task is None:
            self._begin(request)
        elif len(self._waiting) < MOST_WAITING:
            self._waiting.append(request)
            self._transport.pause_reading()
        else:
            self._receiving = None
            raise WireError("too many requests ahead of the replies")

    def on_body(self, chunk: bytes) -> None:
        self._unfinished = 0
        if self._receiving:
            self._receiving.feed(chunk)

    def on_message_complete(self) -> None:
        if self._receiving:
            self._receiving.end()
            self._receiving = None

    # -- `Line`, for requests and streams --

    def write(self, data: bytes) -> None:
        if not self._transport.is_closing():  # which not every loop's transport takes silently
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
        if self._transport.is_closing():
            return
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
                if request.answered:
                    raise RuntimeError("a handler answered twice")
                await self._send(request, reply)
            elif not reply.ended:
                raise RuntimeError("a handler left its stream open")
        except asyncio.CancelledError:
            self.abort()
            raise
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
        self.write(head if bodiless else head + reply.body)
        if self._paused:
            await self.drain()

    def _failed(self, request: Request, error: Exception) -> None:
        """The text of a foreign error may quote what was sent: the log gets its kind, and where it came from."""
        if isinstance(error, ConnectionError) and self._transport.is_closing():
            return  # the client left
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
        self.write(self.head(request, status, headers, f"Content-Length: {len(body)}") + body)
        request.answered = True

    def _after(self, request: Request) -> None:
        """The next request, the wait for it, or the end of the connection."""
        if self._transport.is_closing():
            return
        if not request.complete or not request.keep_alive or self._server.closing:
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

    def too_late(self, now: float) -> None:
        """The deadline is over. Who takes what was written, however slowly, may go on."""
        left = self._transport.get_write_buffer_size()
        if 0 < left < self._left:
            self._left = left
            self.deadline = now + STALL_SECONDS
        else:
            self.abort()

    def has_left(self) -> bool:
        """Whether the client of the request under way is gone, where nothing is read that would tell."""
        transport = self._transport
        if sys.platform == "win32" or self.task is None or transport.is_reading() or transport.is_closing():
            return False
        poll = select.poll()
        poll.register(transport.get_extra_info("socket").fileno(), HUNG_UP)
        return bool(poll.poll(0))

    def stop_when_idle(self) -> None:
        if self.task is None:
            self._transport.close()

    def abort(self) -> None:
        self._transport.abort()
