"""Heads: what is written stays one line each, and what is read has its limits."""

from __future__ import annotations

import contextlib

import h11
import pytest
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.errors import WireError
from metaclaw.wire.head import (
    FIELD_BYTES,
    MOST_HEAD_BYTES,
    MOST_LINE_BYTES,
    Headers,
    HeadReader,
    composed,
    date_at,
    framing_of,
    status_line,
)

TOKEN = st.text("abcdefghijklmnopqrstuvwxyzABC0123456789-_!#$%&'*+.^`|~", min_size=1, max_size=12)
VALUE = st.text(st.characters(codec="ascii", min_codepoint=0x21, max_codepoint=0x7E), max_size=20)


@given(st.lists(st.tuples(TOKEN, VALUE), max_size=6))
def test_h11_reads_what_is_written(fields: list[tuple[str, str]]) -> None:
    known = [(f"x-{name}", value) for name, value in fields]  # none that means something to h11
    peer = h11.Connection(h11.SERVER)
    peer.receive_data(composed("GET / HTTP/1.1", known, "Host: a"))
    event = peer.next_event()
    assert isinstance(event, h11.Request)
    wanted = [(name.lower().encode(), value.encode()) for name, value in [*known, ("host", "a")]]
    assert sorted(event.headers) == sorted(wanted)


@given(st.text(max_size=8), st.text(max_size=8))
def test_no_header_becomes_two(name: str, value: str) -> None:
    with contextlib.suppress(WireError):
        head = composed("HTTP/1.1 200 OK", [(name, value)])
        assert head.count(b"\n") == head.count(b"\r") == head.count(b"\r\n") == 3
        assert head.endswith(b"\r\n\r\n")


@pytest.mark.parametrize("value", ["a\r\nb: c", "a\nb", "a\rb", "\0", "a\r\n\r\nHTTP/1.1 200 OK", "\ud800"])
def test_what_would_split_a_head_is_refused(value: str) -> None:
    for head in ({"x": value}, {value: "x"}):
        with pytest.raises(WireError):
            composed("HTTP/1.1 200 OK", head.items())
    with pytest.raises(WireError):
        composed(f"GET /{value} HTTP/1.1", [])


@given(st.binary(max_size=40).filter(lambda raw: not set(raw) & set(b"\r\n\0")))
def test_bytes_that_are_no_text_travel_unharmed(value: bytes) -> None:
    reader = HeadReader()
    reader.add(b"x", value)
    assert composed("GET / HTTP/1.1", reader.fields) == b"GET / HTTP/1.1\r\nx: " + value + b"\r\n\r\n"


def test_a_head_has_its_limits() -> None:
    with pytest.raises(WireError):
        HeadReader().add(b"x", b"a" * (MOST_LINE_BYTES + 1))
    reader = HeadReader()
    for _ in range(MOST_HEAD_BYTES // (FIELD_BYTES + 1)):
        reader.add(b"x", b"")
    with pytest.raises(WireError):  # fields count, also where nothing is in them
        reader.add(b"x", b"")
    reader.begin()
    reader.add(b"x", b"")
    assert reader.fields == [("x", "")]


def test_how_long_a_body_is_must_be_beyond_doubt() -> None:
    assert framing_of(Headers()) == ""
    assert framing_of(Headers({"Content-Length": "1"})) == "length"
    assert framing_of(Headers({"Transfer-Encoding": " Chunked"})) == "chunked"
    twice = Headers([("transfer-encoding", "gzip"), ("transfer-encoding", "chunked")])
    for odd in (twice, Headers({"transfer-encoding": "gzip, chunked"}), Headers({"transfer-encoding": "identity"})):
        with pytest.raises(WireError):
            framing_of(odd)


def test_lines() -> None:
    assert status_line(404) == "HTTP/1.1 404 Not Found"
    assert status_line(599) == "HTTP/1.1 599 "
    assert date_at(0) == "Date: Thu, 01 Jan 1970 00:00:00 GMT"
