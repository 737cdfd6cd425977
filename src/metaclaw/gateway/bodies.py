"""A request's body: read within a deadline, unpacked under a cap, or refused with what to do.

In: a request whose body is as it comes over the wire. Out: its bytes, without any content encoding.
The cap counts twice, for what is sent and for what that unpacks to: a bomb is small until it goes off.
"""

from __future__ import annotations

import asyncio
import zlib
from collections.abc import Callable, Mapping
from typing import Any

import brotli

from metaclaw.errors import BodyTooLargeError, RequestError, WireError
from metaclaw.wire.messages import Request
from metaclaw.zstd import zstd

MOST_ENCODINGS = 2
MOST_MEMBERS = 64  # gzip files and zstd frames may be strung together
ZSTD_WINDOW_LOG = 23  # 8 MiB, as RFC 9659 has it for the web: a frame may else ask for gigabytes


async def read_body(request: Request, most_bytes: int, seconds: float) -> bytes:
    """Raises `RequestError`: 408 too slow, 413 too large, 415 an encoding that is not known, 400 one that is broken."""
    sent = request.headers.get("content-encoding")
    encodings = encodings_of(sent) if sent else []
    try:
        if request.complete:  # as nearly all are
            raw = await request.read(most_bytes)
        else:
            async with asyncio.timeout(seconds):
                raw = await request.read(most_bytes)
    except TimeoutError as error:
        raise RequestError(
            408, "body_timeout", f"The request body did not arrive within {seconds:g} seconds. Send it again, or raise"
            " gateway.body_seconds.",
        ) from error
    except BodyTooLargeError as error:
        raise too_large(most_bytes) from error
    except WireError as error:
        raise RequestError(400, "broken_body", "The request body broke off or is not framed as HTTP has it.") from error
    if not encodings:
        return raw
    return await asyncio.to_thread(unpacked, raw, encodings, most_bytes)  # a hundred bytes may unpack for a while


def encodings_of(header: str) -> list[str]:
    """The encodings that were applied, in that order. Raises `RequestError` (415) for what cannot be undone."""
    names = [name.strip().lower() for name in header.split(",")]
    found = [name.removeprefix("x-") for name in names if name not in ("", "identity")]
    unknown = [name for name in found if name not in UNPACKERS]
    if unknown or len(found) > MOST_ENCODINGS:
        raise RequestError(
            415, "unsupported_encoding",
            f"The content encoding '{header.strip()[:100]}' is not supported. Send the body uncompressed, or as one of"
            f" {', '.join(UNPACKERS)}.",
        )
    return found


def unpacked(raw: bytes, encodings: list[str], most_bytes: int) -> bytes:
    for name in reversed(encodings):
        try:
            raw = UNPACKERS[name](raw, most_bytes)
        except (zlib.error, brotli.error, zstd.ZstdError, EOFError) as error:
            raise RequestError(400, "invalid_encoding", f"The request body is not valid {name}.") from error
        if len(raw) > most_bytes:
            raise too_large(most_bytes)
    return raw


def too_large(most_bytes: int) -> RequestError:
    return RequestError(
        413, "body_too_large",
        f"The request body is larger than gateway.max_body_bytes ({most_bytes} bytes), sent or unpacked.",
    )


def _members(begin: Callable[[], Any], raw: bytes, most_bytes: int) -> bytes:
    """What all members of a stream unpack to; up to one byte more than is allowed."""
    found = bytearray()
    for _ in range(MOST_MEMBERS):
        member = begin()
        found += member.decompress(raw, most_bytes + 1 - len(found))
        if len(found) > most_bytes or (member.eof and not member.unused_data):
            return bytes(found)
        if not member.eof:
            break
        raw = member.unused_data
    raise EOFError


def _gzip(raw: bytes, most_bytes: int) -> bytes:
    return _members(lambda: zlib.decompressobj(16 + zlib.MAX_WBITS), raw, most_bytes)


def _deflate(raw: bytes, most_bytes: int) -> bytes:
    """With the header that the standard asks for, or bare, as some clients send it."""
    bits = zlib.MAX_WBITS if raw[:1] and raw[0] & 15 == 8 else -zlib.MAX_WBITS
    return _members(lambda: zlib.decompressobj(bits), raw, most_bytes)


def _zstd(raw: bytes, most_bytes: int) -> bytes:
    options = {zstd.DecompressionParameter.window_log_max: ZSTD_WINDOW_LOG}
    return _members(lambda: zstd.ZstdDecompressor(options=options), raw, most_bytes)


def _brotli(raw: bytes, most_bytes: int) -> bytes:
    stream = brotli.Decompressor()
    found = stream.process(raw, output_buffer_limit=most_bytes + 1)
    while len(found) <= most_bytes and not stream.is_finished():
        more = stream.process(b"", output_buffer_limit=most_bytes + 1 - len(found))
        if not more:
            raise EOFError
        found += more
    return bytes(found)


UNPACKERS: Mapping[str, Callable[[bytes, int], bytes]] = {
    "gzip": _gzip, "deflate": _deflate, "br": _brotli, "zstd": _zstd
}
