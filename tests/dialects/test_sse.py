"""Chunk boundaries anywhere: the same events, the same bytes."""

from __future__ import annotations

from hypothesis import given
from hypothesis import strategies as st

from metaclaw.dialects.sse import EventSplitter, data_of

PIECES = [b"data: a", b"data: [DONE]", b"\n", b"\r\n", b"\n\n", b"\r\n\r\n", b": note", b"event: x", b"\r", b"\xf0\x9f"]
STREAMS = st.lists(st.sampled_from(PIECES), max_size=14).map(b"".join)


@given(STREAMS, st.data())
def test_any_split_gives_the_same_events_and_bytes(stream: bytes, data: st.DataObject) -> None:
    cuts = data.draw(st.lists(st.integers(0, len(stream)), max_size=8).map(sorted))
    at_once, in_pieces = EventSplitter(), EventSplitter()
    whole = list(at_once.feed(stream))
    split = [
        event
        for start, end in zip([0, *cuts], [*cuts, len(stream)], strict=True)
        for event in in_pieces.feed(stream[start:end])
    ]
    assert split == whole
    assert in_pieces.rest == at_once.rest
    assert b"".join(split) + in_pieces.rest == stream


def test_every_event_ends_with_its_blank_line() -> None:
    splitter = EventSplitter()
    assert list(splitter.feed(b"data: a\n\ndata: b\r\n\r\ndata: c\n")) == [b"data: a\n\n", b"data: b\r\n\r\n"]
    assert splitter.rest == b"data: c\n"


def test_data_is_what_stands_behind_the_field_name() -> None:
    assert data_of(b"event: x\ndata: one\ndata:two\n\n") == b"one\ntwo"
    assert data_of(b": a comment\n\n") == b""
    assert data_of(b"data: [DONE]\r\n\r\n") == b"[DONE]"
