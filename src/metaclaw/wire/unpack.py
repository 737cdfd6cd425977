"""Replies that come packed although nobody asked for it, unpacked piece by piece."""

from __future__ import annotations

import zlib
from typing import Any, Protocol

import brotli

from metaclaw.errors import WireError

try:
    from compression import zstd  # type: ignore[import-not-found, unused-ignore]  # Python 3.14
except ImportError:
    from backports import zstd


class Unpacker(Protocol):
    @property
    def finished(self) -> bool:
        """Whether the end of what was packed has come."""

    def feed(self, chunk: bytes) -> bytes:
        """What the chunk adds. Raises `WireError` where it is not what the header says."""


def unpacker(encoding: str) -> Unpacker | None:
    """None where nothing is packed, or by a way that we do not know: then it passes through."""
    name = encoding.strip().lower().removeprefix("x-")
    if name in ("gzip", "deflate"):
        return _Zlib(name)
    if name == "br":
        return _Brotli()
    return _Zstd() if name == "zstd" else None


class _Zlib:
    def __init__(self, name: str) -> None:
        self._bits = 16 + zlib.MAX_WBITS if name == "gzip" else zlib.MAX_WBITS
        self._stream: Any = None
        self._fed = False

    @property
    def finished(self) -> bool:
        return not self._fed or self._stream.eof

    def feed(self, chunk: bytes) -> bytes:
        if self._stream is None:  # deflate comes with the header that the standard asks for, or bare
            bare = self._bits == zlib.MAX_WBITS and chunk[0] & 15 != 8
            self._stream = zlib.decompressobj(-zlib.MAX_WBITS if bare else self._bits)
            self._fed = True
        try:
            return bytes(self._stream.decompress(chunk))
        except zlib.error as error:
            raise WireError("a packed body that cannot be read") from error


class _Brotli:
    def __init__(self) -> None:
        self._stream = brotli.Decompressor()
        self._fed = False

    @property
    def finished(self) -> bool:
        return not self._fed or bool(self._stream.is_finished())

    def feed(self, chunk: bytes) -> bytes:
        self._fed = True
        try:
            return bytes(self._stream.process(chunk))
        except brotli.error as error:
            raise WireError("a packed body that cannot be read") from error


class _Zstd:
    def __init__(self) -> None:
        self._stream = zstd.ZstdDecompressor()
        self._fed = False

    @property
    def finished(self) -> bool:
        return not self._fed or bool(self._stream.eof)

    def feed(self, chunk: bytes) -> bytes:
        self._fed = True
        try:
            return bytes(self._stream.decompress(chunk))
        except (zstd.ZstdError, EOFError) as error:
            raise WireError("a packed body that cannot be read") from error
