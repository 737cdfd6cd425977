"""Bodies that come packed, unpacked piece by piece, so that a bomb goes off slowly.

A request's under a cap; a reply's, which is packed although nobody asked for it, as it comes.
"""

from __future__ import annotations

import zlib
from collections.abc import Callable
from typing import Any, Protocol

import brotli

from metaclaw.errors import BodyTooLargeError, WireError
from metaclaw.zstd import zstd

PIECE_BYTES = 256 * 1024
MOST_STREAMS = 64  # of a request: gzip files and zstd frames may be strung together, and each may be empty
ZSTD_WINDOW_LOG = 23  # 8 MiB, as RFC 9659 has it for the web: a frame may else ask for gigabytes


class Unpacker:
    """Feed it what came, then take `more` until that is empty. Streams of one kind may be strung together, `most` of
    them where that is given.
    """

    def __init__(self, begin: Callable[[bytes], _Stream], most: int | None = None) -> None:
        self._begin = begin
        self._left = most
        self._stream: _Stream | None = None
        self._rest = b""

    @property
    def finished(self) -> bool:
        """Whether what came ends where a stream does."""
        return self._stream is None and not self._rest

    def feed(self, chunk: bytes) -> None:
        self._rest += chunk

    def more(self) -> bytes:
        """The next piece, of about `PIECE_BYTES` at most. Raises `WireError` where it is not what the header says."""
        try:
            piece = b""
            while not piece and (self._stream or self._rest):
                stream = self._stream = self._stream or self._next()
                piece, self._rest = stream.take(self._rest)
                if stream.finished:
                    self._stream = None
                elif not piece:
                    break
        except (zlib.error, brotli.error, zstd.ZstdError, EOFError) as error:
            raise WireError("a packed body that cannot be read") from error
        return piece

    def _next(self) -> _Stream:
        if self._left is not None:
            self._left -= 1
            if self._left < 0:
                raise EOFError
        return self._begin(self._rest)


def whole(packed: bytes, encoding: str, most_bytes: int) -> bytes:
    """A body in one piece, packed by one of `STREAMS`. Raises `BodyTooLargeError` where it unpacks to more than
    `most_bytes`, and `WireError` where it is not what `encoding` says, or breaks off.
    """
    unpacking = Unpacker(STREAMS[encoding], MOST_STREAMS)
    unpacking.feed(packed)
    found = bytearray()
    while piece := unpacking.more():
        found += piece
        if len(found) > most_bytes:
            raise BodyTooLargeError(f"more than {most_bytes} bytes, unpacked")
    if not packed or not unpacking.finished:
        raise WireError("a packed body that breaks off")
    return bytes(found)


def unpacker(encoding: str) -> Unpacker | None:
    """None where nothing is packed. Raises `WireError` for a way of packing that we do not know."""
    name = encoding.strip().lower().removeprefix("x-")
    if name in ("", "identity"):
        return None
    if name not in STREAMS:
        raise WireError("a body packed in a way that nobody asked for")
    return Unpacker(STREAMS[name])


class _Stream(Protocol):
    finished: bool

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        """The next piece, and what of the data is left for later."""


class _Zlib:
    def __init__(self, bits: int) -> None:
        self._stream = zlib.decompressobj(bits)
        self.finished = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        piece = self._stream.decompress(data, PIECE_BYTES)
        self.finished = self._stream.eof
        return piece, self._stream.unused_data if self.finished else self._stream.unconsumed_tail


class _Zstd:
    def __init__(self) -> None:
        self._stream: Any = zstd.ZstdDecompressor(options={zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG})
        self.finished = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        piece: bytes = self._stream.decompress(data, PIECE_BYTES)
        self.finished = self._stream.eof
        return piece, self._stream.unused_data if self.finished else b""  # what is left it keeps


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self.finished = False

    def take(self, data: bytes) -> tuple[bytes, bytes]:
        piece: bytes = self._stream.process(data, output_buffer_limit=PIECE_BYTES)
        self.finished = self._stream.is_finished()
        return piece, b""


def _deflate(first: bytes) -> _Stream:
    """With the header that the standard asks for, or bare."""
    return _Zlib(zlib.MAX_WBITS if first[0] & 15 == 8 else -zlib.MAX_WBITS)


STREAMS: dict[str, Callable[[bytes], _Stream]] = {
    "gzip": lambda _: _Zlib(16 + zlib.MAX_WBITS),
    "deflate": _deflate,
    "br": lambda _: _Brotli(),
    "zstd": lambda _: _Zstd(),
}
