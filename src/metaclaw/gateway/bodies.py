"""A request's body: read within a deadline, unpacked under a cap, or refused with what to do.

In: a request whose body is as it comes over the wire. Out: its bytes, without any content encoding.
The cap counts twice, for what is sent and for what that unpacks to: a bomb is small until it goes off.
"""

from __future__ import annotations

import asyncio

from metaclaw.errors import BodyTooLargeError, RequestError, WireError
from metaclaw.wire import unpack
from metaclaw.wire.messages import Request

MOST_ENCODINGS = 2


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
    unknown = [name for name in found if name not in unpack.STREAMS]
    if unknown or len(found) > MOST_ENCODINGS:
        raise RequestError(
            415, "unsupported_encoding",
            f"The content encoding '{header.strip()[:100]}' is not supported. Send the body uncompressed, or as one of"
            f" {', '.join(unpack.STREAMS)}.",
        )
    return found


def unpacked(raw: bytes, encodings: list[str], most_bytes: int) -> bytes:
    for name in reversed(encodings):
        try:
            raw = unpack.whole(raw, name, most_bytes)
        except BodyTooLargeError as error:
            raise too_large(most_bytes) from error
        except WireError as error:
            raise RequestError(400, "invalid_encoding", f"The request body is not valid {name}.") from error
    return raw


def too_large(most_bytes: int) -> RequestError:
    return RequestError(
        413, "body_too_large",
        f"The request body is larger than gateway.max_body_bytes ({most_bytes} bytes), sent or unpacked.",
    )
