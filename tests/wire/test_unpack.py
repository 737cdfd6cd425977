"""Unpacking: whatever the pieces, the same bytes; bombs in pieces; what is broken or cut off is said."""

from __future__ import annotations

import contextlib
import gzip
import zlib
from collections.abc import Callable
from itertools import pairwise

import brotli
import pytest
from backports import zstd
from hypothesis import given, settings
from hypothesis import strategies as st

from metaclaw.errors import WireError
from metaclaw.wire.unpack import PIECE_BYTES, unpacker

Pack = Callable[[bytes], bytes]


def bare(raw: bytes) -> bytes:
    packer = zlib.compressobj(wbits=-zlib.MAX_WBITS)
    return packer.compress(raw) + packer.flush()


PACKED: dict[str, tuple[str, Pack]] = {
    "gzip": ("gzip", gzip.compress), "x-gzip": ("X-Gzip ", gzip.compress), "deflate": ("deflate", zlib.compress),
    "bare deflate": ("deflate", bare), "br": ("br", brotli.compress), "zstd": ("zstd", zstd.compress),
}
LARGEST = 2 * PIECE_BYTES  # brotli takes its limit for a rough one
KINDS = pytest.mark.parametrize(("name", "pack"), PACKED.values(), ids=PACKED)


def unpacked(name: str, chunks: list[bytes]) -> bytes:
    found = unpacker(name)
    assert found
    out = []
    for chunk in chunks:
        found.feed(chunk)
        while piece := found.more():
            assert len(piece) <= LARGEST
            out.append(piece)
    if not found.finished:
        raise WireError("cut off")
    return b"".join(out)


def cut(raw: bytes, at: list[int]) -> list[bytes]:
    marks = sorted({0, len(raw), *(place % (len(raw) + 1) for place in at)})
    return [raw[begin:end] for begin, end in pairwise(marks)]


@KINDS
@settings(max_examples=40)
@given(raw=st.binary(min_size=1, max_size=300), at=st.lists(st.integers(0, 400), max_size=8))
def test_pieces_do_not_matter(name: str, pack: Pack, raw: bytes, at: list[int]) -> None:
    assert unpacked(name, cut(pack(raw), at)) == raw


@KINDS
def test_a_large_one_and_an_empty_one(name: str, pack: Pack) -> None:
    raw = bytes(range(256)) * 20_000
    assert unpacked(name, [pack(raw)]) == raw
    assert unpacked(name, [pack(b"")]) == b""
    assert unpacked(name, []) == b""


@KINDS
def test_one_that_is_cut_off_is_not_finished(name: str, pack: Pack) -> None:
    whole = pack(b"some text that is long enough to be cut")
    for end in range(1, len(whole)):
        with pytest.raises(WireError):
            unpacked(name, [whole[:end]])


@KINDS
@given(raw=st.binary(min_size=1, max_size=100))
def test_what_is_not_packed_is_an_error_of_ours_at_worst(name: str, pack: Pack, raw: bytes) -> None:
    with contextlib.suppress(WireError):
        unpacked(name, [raw])


@KINDS
def test_a_bomb_goes_off_in_pieces(name: str, pack: Pack) -> None:
    bomb = pack(b"\0" * (64 << 20))
    found = unpacker(name)
    assert found
    found.feed(bomb)
    pieces = sizes = 0
    while pieces < 20 and (piece := found.more()):
        pieces, sizes = pieces + 1, sizes + len(piece)
        assert len(piece) <= LARGEST
    assert pieces == 20
    assert not found.finished


@pytest.mark.parametrize(("name", "pack"), [PACKED["gzip"], PACKED["zstd"]])
def test_streams_strung_together_are_one(name: str, pack: Pack) -> None:
    chunks = [pack(b"one ") + pack(b"two ")[:5], pack(b"two ")[5:] + pack(b""), pack(b"three")]
    assert unpacked(name, chunks) == b"one two three"


@KINDS
def test_garbage_behind_the_end_is_an_error(name: str, pack: Pack) -> None:
    with pytest.raises(WireError):
        unpacked(name, [pack(b"text") + b"\xff garbage"])


def test_nothing_to_unpack_and_what_nobody_can() -> None:
    assert unpacker("identity") is None
    assert unpacker(" ") is None
    for name in ("compress", "gzip, br", "aes128gcm", "gzip gzip"):
        with pytest.raises(WireError, match="nobody asked"):
            unpacker(name)
