"""The heads of messages as HTTP/1.1 writes them (RFC 9112), and the limits on those that are read.

Names and values are text; bytes that are no UTF-8 travel through it unharmed.
"""

from __future__ import annotations

import http
from collections.abc import Iterable
from email.utils import formatdate
from functools import cache

from multidict import CIMultiDict

from metaclaw.errors import WireError

MOST_LINE_BYTES = 8190  # the target, or a header's value
MOST_HEAD_BYTES = 64 * 1024
FIELD_BYTES = 32  # what a field costs beside its text, as HTTP/2 counts
MOST_UNFINISHED_BYTES = 2 * MOST_HEAD_BYTES  # may come without a head, a piece of a body or an end being had of them

Headers = CIMultiDict[str]
Pairs = Iterable[tuple[str, str]]


def composed(first: str, headers: Pairs, *more: str) -> bytes:
    """A head up to its empty line. Raises `WireError` for a header that would not stay one line."""
    lines = [first, *[f"{name}: {value}" for name, value in headers], *more, "", ""]
    text = "\r\n".join(lines)
    breaks = len(lines) - 1
    if text.count("\n") != breaks or text.count("\r") != breaks or "\0" in text:
        raise WireError("a line break or a zero byte in a header")
    try:
        return text.encode("utf-8", "surrogateescape")
    except UnicodeEncodeError as error:
        raise WireError("half a character in a header") from error


def framing_of(headers: Headers) -> str:
    """How the length of a body is told: "chunked", "length" or "". Raises `WireError` for what nobody could be sure of.

    The parser refuses most of that by itself; it would hand over a body in an encoding that it does not undo.
    """
    if "transfer-encoding" in headers:
        if ",".join(headers.getall("transfer-encoding")).strip().lower() != "chunked":
            raise WireError("a transfer encoding that is not known")
        return "chunked"
    return "length" if "content-length" in headers else ""


@cache
def status_line(status: int) -> str:
    """With the reason that belongs to the status, where one does."""
    try:
        reason = http.HTTPStatus(status).phrase
    except ValueError:
        reason = ""
    return f"HTTP/1.1 {status} {reason}"


def date_at(seconds: float) -> str:
    return f"Date: {formatdate(seconds, usegmt=True)}"


class HeadReader:
    """Collects the header lines that a parser hands over. `fields` are those of the head that is being read.

    From `end` to `begin`, what comes are trailers, and passed over.
    """

    __slots__ = ("_bytes", "_reading", "fields")

    def __init__(self) -> None:
        self.begin()

    def begin(self) -> None:
        self.fields: list[tuple[str, str]] = []
        self._bytes = 0
        self._reading = True

    def end(self) -> None:
        self._reading = False

    def add(self, name: bytes, value: bytes) -> None:
        """Raises `WireError` where it gets too long."""
        if not self._reading:
            return
        self._bytes += len(name) + len(value) + FIELD_BYTES
        if self._bytes > MOST_HEAD_BYTES or len(value) > MOST_LINE_BYTES:
            raise WireError("the head is too long")
        self.fields.append((name.decode("ascii", "surrogateescape"), value.decode("utf-8", "surrogateescape")))
