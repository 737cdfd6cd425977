"""A reply as the client's end has it: read as it arrives, held back while nobody takes it, unpacked if need be."""

from __future__ import annotations

import asyncio
from typing import Protocol

from metaclaw.errors import WireError
from metaclaw.wire.head import Headers
from metaclaw.wire.unpack import Unpacker, unpacker

READ_AHEAD_BYTES = 512 * 1024  # of a reply that nobody takes; then the upstream has to wait
MOST_WHOLE_BYTES = 256 * 1024 * 1024  # of a reply that is read in one piece


class Line(Protocol):
    """What a reply needs of the connection under it."""

    def abort(self) -> None: ...

    def hold_back(self, back: bool) -> None:
        """Read no more for now, or again."""


class Reply:
    """A reply that has begun. Closing one that has not come whole ends its connection, and the upstream's work."""

    PACKED = False
    __slots__ = ("_chunks", "_failure", "_line", "_size", "_waiter", "complete", "headers", "status")

    def __init__(self, line: Line, status: int, headers: Headers) -> None:
        self.status = status
        self.headers = headers
        self.complete = False
        self._line: Line | None = line
        self._chunks: list[bytes] = []
        self._size = 0
        self._failure: Exception | None = None
        self._waiter: asyncio.Future[None] | None = None

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
        if self._line:
            self._line.hold_back(False)
        return found

    async def read(self) -> bytes:
        """All that has not been read yet. Raises `WireError` also where that is more than anybody means to hold."""
        if self.complete and len(self._chunks) == 1 and not self.PACKED:  # as most are
            return self._chunks.pop()
        pieces: list[bytes] = []
        size = 0
        while piece := await self.readany():
            pieces.append(piece)
            size += len(piece)
            if size > MOST_WHOLE_BYTES:
                self.close()
                raise WireError(f"more than {MOST_WHOLE_BYTES >> 20} MiB in one piece")
        return pieces[0] if len(pieces) == 1 else b"".join(pieces)

    def close(self) -> None:
        if self._line:
            self._line.abort()
            self._line = None

    def feed(self, chunk: bytes) -> None:
        self._chunks.append(chunk)
        self._size += len(chunk)
        if self._size > READ_AHEAD_BYTES and self._line:
            self._line.hold_back(True)
        if self._waiter:
            self._wake()

    def end(self, failure: Exception | None = None) -> None:
        """No more will come."""
        self._failure = failure
        self.complete = failure is None
        self._line = None
        self._wake()

    async def _more(self) -> None:
        self._waiter = asyncio.get_running_loop().create_future()
        try:
            await self._waiter
        finally:
            self._waiter = None

    def _wake(self) -> None:
        waiter, self._waiter = self._waiter, None
        if waiter and not waiter.done():
            waiter.set_result(None)


class PackedReply(Reply):
    """One whose body is unpacked, a piece ahead of what is asked for: else `waiting` could not tell. The rest waits as
    it came.
    """

    PACKED = True
    __slots__ = ("_broken", "_next", "_unpacker")

    def __init__(self, line: Line, status: int, headers: Headers, packed: Unpacker) -> None:
        super().__init__(line, status, headers)
        self._unpacker = packed
        self._next = b""
        self._broken: WireError | None = None

    @property
    def waiting(self) -> bool:
        return not (self._next or self._broken) and super().waiting

    async def readany(self) -> bytes:
        while not (piece := self._next):
            if self._broken:
                raise self._broken
            if chunk := await super().readany():
                self._unpacker.feed(chunk)
                self._look_ahead()
            elif self._unpacker.finished:
                return b""
            else:
                raise WireError("a packed body that is cut off")
        self._look_ahead()
        return piece

    def _look_ahead(self) -> None:
        """What is broken is told when all before it has been read."""
        try:
            self._next = self._unpacker.more()
        except WireError as error:
            self._next, self._broken = b"", error
            self.close()


def reply_of(line: Line, status: int, headers: Headers) -> Reply:
    """Raises `WireError` where the body is packed in a way that nobody here can undo."""
    if "content-encoding" in headers and (packed := unpacker(",".join(headers.getall("content-encoding")))):
        return PackedReply(line, status, headers, packed)
    return Reply(line, status, headers)
