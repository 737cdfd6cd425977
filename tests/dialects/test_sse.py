"""Chunk boundaries anywhere, line ends of any kind: the same events, the same bytes, in linear time."""

from __future__ import annotations

import re
import time

import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.dialects import sse
from metaclaw.dialects.sse import EventSplitter, data_of, split

PIECES = [
    b"data: a", b"data: [DONE]", b"data:b", b": note", b"event: x", b"\xf0\x9f",
    b"\n", b"\r\n", b"\r", b"\n\n", b"\r\n\r\n", b"\r\r",
]
STREAMS = st.lists(st.sampled_from(PIECES), max_size=16).map(b"".join)


@given(STREAMS, st.data())
def test_any_split_gives_the_same_events_and_bytes(stream: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    at_once, in_pieces = EventSplitter(), EventSplitter()
    whole = at_once.feed(stream)
    split = [
        event
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for event in in_pieces.feed(stream[start:end])
    ]
    assert split == whole
    assert in_pieces.rest == at_once.rest
    assert b"".join(split) + in_pieces.rest == stream


@given(st.lists(STREAMS, max_size=5))
def test_blocks_tell_the_same_events_in_one_piece(chunks: list[bytes]) -> None:
    one_by_one, in_blocks = EventSplitter(), EventSplitter()
    for chunk in chunks:
        events, told = one_by_one.feed(chunk), split(block := in_blocks.block(chunk))
        assert b"".join(told) == block
        assert [data for event in told if (data := data_of(event))] == [
            data for event in events if (data := data_of(event))
        ]
        assert in_blocks.rest.strip() == one_by_one.rest.strip()


@given(STREAMS)
def test_the_events_are_those_of_the_standard(stream: bytes) -> None:
    stream += b": end"
    assert [data for event in EventSplitter().feed(stream) if (data := data_of(event))] == dispatched(stream)


def dispatched(stream: bytes) -> list[bytes]:
    """The data of each event, read line by line as the HTML standard has it; what no empty line ends is dropped."""
    events: list[bytes] = []
    lines: list[bytes] = []
    for line in re.split(rb"\r\n|\n|\r", stream)[:-1]:
        if line.startswith(b"data:"):
            lines.append(line[5:].removeprefix(b" "))
        elif not line:
            events += [data] if (data := b"\n".join(lines)) else []
            lines = []
    return events


def test_every_event_ends_with_its_blank_line() -> None:
    splitter = EventSplitter()
    assert splitter.feed(b"data: a\n\ndata: b\r\n\r\ndata: c\n") == [b"data: a\n\n", b"data: b\r\n\r\n"]
    assert splitter.rest == b"data: c\n"


@pytest.mark.parametrize("end", [b"\n\n", b"\r\n\r\n", b"\r\r", b"\n\r\n", b"\r\n\n"])
def test_an_event_is_out_as_soon_as_it_is_whole(end: bytes) -> None:
    assert EventSplitter().feed(b"data: a" + end) == [b"data: a" + end]


def test_data_is_what_stands_behind_the_field_name() -> None:
    assert data_of(b"event: x\ndata: one\ndata:two\n\n") == b"one\ntwo"
    assert data_of(b": a comment\n\n") == b""
    assert data_of(b"data: [DONE]\r\n\r\n") == b"[DONE]"
    assert data_of(b"event: x\rdata: one\rdata: two\r\r") == b"one\ntwo"


def test_an_event_without_end_takes_linear_time() -> None:
    seconds_for(1)
    assert seconds_for(10) < 40 * seconds_for(1)  # quadratic would be a hundred times


def seconds_for(megabytes: int) -> float:
    """The best of three, for one event in chunks of a kilobyte."""
    return min(_once(megabytes) for _ in range(3))


def _once(megabytes: int) -> float:
    splitter, chunk = EventSplitter(), b"x" * 1024
    began = time.perf_counter()
    for _ in range(megabytes * 1024):
        assert not splitter.feed(chunk)
    seconds = time.perf_counter() - began
    assert [len(event) for event in splitter.feed(b"\n\n")] == [megabytes * 1024 * 1024 + 2]
    return seconds


def test_what_never_ends_comes_out_in_pieces(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sse, "MAX_EVENT_BYTES", 1000)
    splitter = EventSplitter()
    events = [event for _ in range(100) for event in splitter.feed(b"x" * 99)]
    assert {len(event) for event in events} == {1089}
    assert splitter.feed(b"\n\ndata: [DONE]\n\n")[-1] == b"data: [DONE]\n\n"
