"""What the server's handlers get and give: `Request`, and `Response` or `Stream`."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Mapping
from typing import Any, Protocol
from urllib.parse import unquote

from metaclaw.errors import BodyTooLargeError, WireError
from metaclaw.wire.head import Headers

BODILESS = frozenset({204, 304})
BODY_AHEAD_BYTES = 256 * 1024  # are read of a body that nobody asks for yet


class Line(Protocol):
    """What request and stream need of the connection under them."""

    def write(self, data: bytes) -> None: ...

    async def drain(self) -> None:
        """Return when the other side has taken what was written. Raises `ConnectionError` where it is gone."""

    def head(self, request: Request, status: int, headers: Headers, *framing: str) -> bytes: ...

    def hold_back(self, back: bool) -> None:
        """Read no more for now, or again."""


class Request:
    """`target` is the request line's, as it was sent. `body` is what `read` has read; `params` are the route's."""

    __slots__ = (
        "_chunks", "_failure", "_line", "_size", "_waiter", "answered", "body", "complete", "expects", "headers",
        "keep_alive", "method", "params", "path", "query", "target", "version",
    )

    def __init__(self, line: Line, method: str, target: str, version: str, headers: Headers, keep_alive: bool) -> None:
        self._line = line
        self.method = method
        self.target = target
        self.version = version
        self.headers = headers
        self.keep_alive = keep_alive
        path, _, self.query = target.partition("?")
        self.path = unquote(path) if "%" in path else path
        self.params: Mapping[str, str] = {}
        self.body = b""
        self.expects = version == "1.1" and headers.get("expect", "").lower() == "100-continue"
        self.complete = False  # the body has come whole
        self.answered = False  # a reply has begun
        self._chunks: list[bytes] = []
        self._size = 0
        self._failure: WireError | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def read(self, most_bytes: int) -> bytes:
        """The whole body. Raises `BodyTooLargeError` as soon as it is known to be larger, `WireError` if it broke."""
        announced = self.headers.get("content-length", "")
        if announced.isdecimal() and int(announced) > most_bytes:
            raise BodyTooLargeError(f"more than {most_bytes} bytes")
        if self.expects and not self.complete and not self._size:
            self._line.write(b"HTTP/1.1 100 Continue\r\n\r\n")
        while True:
            if self._size > most_bytes:
                raise BodyTooLargeError(f"more than {most_bytes} bytes")
            if self.complete:
                break
            if self._failure:
                raise self._failure
            self._waiter = asyncio.get_running_loop().create_future()
            self._line.hold_back(False)
            try:
                await self._waiter
            finally:
                self._waiter = None
        self.body = self._chunks[0] if len(self._chunks) == 1 else b"".join(self._chunks)
        self._chunks.clear()
        return self.body

    def stream(self, status: int, headers: Headers) -> Stream:
        """A reply that comes piece by piece."""
        return Stream(self._line, self, status, headers)

    def feed(self, chunk: bytes) -> None:
        if self.answered:
            return  # whoever answered did not want it
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._waiter:
            self._wake()
        elif self._size > BODY_AHEAD_BYTES:
            self._line.hold_back(True)

    def end(self, failure: WireError | None = None) -> None:
        """No more of the body will come."""
        self.complete = failure is None
        self._failure = failure
        self._wake()

    def _wake(self) -> None:
        if self._waiter and not self._waiter.done():
            self._waiter.set_result(None)


class Response:
    """A whole reply."""

    __slots__ = ("body", "headers", "status")

    def __init__(
        self, body: bytes = b"", status: int = 200, headers: Headers | None = None, content_type: str = ""
    ) -> None:
        self.body = body
        self.status = status
        self.headers: Headers = Headers() if headers is None else headers
        if content_type:
            self.headers["content-type"] = content_type

    @classmethod
    def json(cls, value: Any, status: int = 200, headers: Headers | None = None) -> Response:
        return cls(json.dumps(value).encode(), status, headers, "application/json")


class Stream:
    """A reply in pieces, each on its way when `write` returns. `end` comes last, and may bring the last piece.

    The head goes with the first piece, or by itself where `begin` is called. Raises `ConnectionError` where the client
    is gone.
    """

    __slots__ = ("_bodiless", "_chunked", "_head", "_line", "_request", "ended")

    def __init__(self, line: Line, request: Request, status: int, headers: Headers) -> None:
        self._line = line
        self._request = request
        self._bodiless = request.method == "HEAD" or status in BODILESS
        self._chunked = request.version == "1.1" and status not in BODILESS
        if request.version != "1.1":
            request.keep_alive = False  # the end of the connection is the end of the reply
        self._head = line.head(request, status, headers, *(["Transfer-Encoding: chunked"] if self._chunked else []))
        self.ended = False

    async def begin(self) -> None:
        await self._send(b"")

    async def write(self, piece: bytes) -> None:
        if piece:
            await self._send(self._framed(piece))

    async def end(self, piece: bytes = b"") -> None:
        self.ended = True
        last = self._framed(piece) if piece else b""
        await self._send(last + b"0\r\n\r\n" if self._chunked and not self._bodiless else last)

    def _framed(self, piece: bytes) -> bytes:
        if self._bodiless:
            return b""
        return b"%x\r\n%b\r\n" % (len(piece), piece) if self._chunked else piece

    async def _send(self, framed: bytes) -> None:
        if self._head:
            framed, self._head = self._head + framed, b""
            self._request.answered = True
        if framed:
            self._line.write(framed)
        await self._line.drain()


Reply = Response | Stream
