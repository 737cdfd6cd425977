"""Server-sent events, split from a byte stream without changing a byte.

Source: the HTML standard, section 9.2. An event ends with an empty line; lines end with LF, CRLF or CR, also mixed.
"""

from __future__ import annotations

import re

# Only where the empty line ends matters. CR CR is one at once, so that a stream of bare CRs is not held back; a CR
# after LF waits for its LF, since CRLF is what such streams write.
EVENT_END = re.compile(rb"\n\r?\n|\r\r|\n\r(?=[^\n])")
BETWEEN = b"\n\ndata: "
UNDECIDED = len(b"\n\r")  # what of the bytes seen so far may belong to an empty line that is not whole yet
MAX_EVENT_BYTES = 16 * 1024 * 1024  # images come in events of a few megabytes; what has no end must not fill the memory


class EventSplitter:
    """Feed chunks of any size, get whole events with their closing blank line. `rest` is what is not whole yet.

    Something longer than `MAX_EVENT_BYTES` comes out in pieces. Each byte is searched once, however small the chunks.
    """

    def __init__(self) -> None:
        self._held = bytearray()

    @property
    def rest(self) -> bytes:
        return bytes(self._held)

    def block(self, chunk: bytes) -> bytes:
        """The same events as `feed` gives, in one piece: what may go on to the client."""
        if not self._held and chunk.endswith(b"\n\n") and b"\r" not in chunk:
            return chunk
        return b"".join(self.feed(chunk))

    def feed(self, chunk: bytes) -> list[bytes]:
        if self._held:
            return self._feed_held(chunk)
        events, end = _split(chunk, 0)
        if end < len(chunk):
            self._held += chunk[end:]
        return events

    def _feed_held(self, chunk: bytes) -> list[bytes]:
        searched = max(0, len(self._held) - UNDECIDED)
        self._held += chunk
        events, end = _split(self._held, searched)
        if not end and len(self._held) > MAX_EVENT_BYTES:
            events, end = [bytes(self._held)], len(self._held)
        del self._held[:end]
        return events


def split(events: bytes) -> list[bytes]:
    """Whole events, one by one."""
    found, end = _split(events, 0)
    return [*found, events[end:]] if end < len(events) else found  # a CR at the very end waits for no LF here


def _split(data: bytes | bytearray, searched: int) -> tuple[list[bytes], int]:
    """The whole events in `data`, and where the last of them ends. No event ends before `searched`."""
    events: list[bytes] = []
    start = 0
    for blank in EVENT_END.finditer(data, searched):
        events.append(bytes(data[start : blank.end()]))
        start = blank.end()
    return events, start


def data_of(event: bytes) -> bytes:
    """The event's `data` lines joined by LF, without the field name; empty for comments and other fields."""
    if event.startswith(b"data: ") and event.find(b"\n") == len(event) - 2 and b"\r" not in event:
        return event[6:-2]  # as nearly all events are
    lines = [line[5:].removeprefix(b" ") for line in event.splitlines() if line.startswith(b"data:")]
    return b"\n".join(lines)


def as_array(events: bytes) -> bytes:
    """Some whole events' data as one JSON array, where each is one; whoever reads it finds out.

    Nearly always an event is one line: where there are two line feeds for each, no event has more.
    """
    inner = events[6:-2].replace(BETWEEN, b",")
    separators = (len(events) - 8 - len(inner)) // (len(BETWEEN) - 1)
    plain = events.startswith(b"data: ") and events.endswith(b"\n\n") and b"\r" not in events
    if plain and events.count(b"\n") == 2 * (separators + 1):
        return b"[" + inner + b"]"
    return b"[" + b",".join(filter(None, data_of_each(events))) + b"]"


def data_of_each(events: bytes) -> list[bytes]:
    """`data_of` each of some whole events."""
    if b"\r" in events:
        return [data_of(event) for event in split(events)]
    return [event[6:] if event.startswith(b"data: ") and b"\n" not in event else data_of(event + b"\n\n")
            for event in events.split(b"\n\n") if event]
