"""Server-sent events, split from a byte stream without changing a byte.

Source: the HTML standard, section 9.2. An event ends with an empty line; lines end with LF or CRLF.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

EVENT_END = re.compile(rb"\r?\n\r?\n")


class EventSplitter:
    """Feed chunks of any size, get whole events with their closing blank line. `rest` is what is not whole yet."""

    def __init__(self) -> None:
        self.rest = b""

    def feed(self, chunk: bytes) -> Iterator[bytes]:
        data = self.rest + chunk
        start = 0
        for end in EVENT_END.finditer(data):
            yield data[start : end.end()]
            start = end.end()
        self.rest = data[start:]


def data_of(event: bytes) -> bytes:
    """The event's `data` lines joined by LF, without the field name; empty for comments and other fields."""
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)
