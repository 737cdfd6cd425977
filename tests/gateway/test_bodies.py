"""Bodies arrive whole, in time, unpacked and bounded; or are refused with what to do."""

from __future__ import annotations

import asyncio
import gzip
import json
import time
import zlib
from collections.abc import AsyncIterator, Callable
from pathlib import Path

import brotli
import pytest
import pytest_asyncio
from backports import zstd
from hypothesis import given
from hypothesis import strategies as st

from metaclaw.errors import RequestError
from metaclaw.gateway.bodies import encodings_of, unpacked
from metaclaw.wire.unpack import MOST_STREAMS, STREAMS
from raw_http import answer, ask, connected, ended, request
from running_gateway import CHAT, TOKEN, Door, error_of, serving
from upstream_server import chat_body

MOST = 100_000
KEY = f"authorization: Bearer {TOKEN}"


def bare(raw: bytes) -> bytes:
    return zlib.compress(raw)[2:-4]


PACKERS: dict[str, Callable[[bytes], bytes]] = {
    "gzip": gzip.compress, "deflate": zlib.compress, "br": brotli.compress, "zstd": zstd.compress
}
EACH = [*PACKERS.items(), ("deflate", bare)]


@pytest_asyncio.fixture
async def door(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Door]:
    monkeypatch.setattr("metaclaw.wire.inbound.LINGER_SECONDS", 0.2)
    async with serving(tmp_path, gateway={"max_body_bytes": MOST, "body_seconds": 0.3}) as opened:
        yield opened


def refusal(raw: bytes, *names: str, most: int = MOST) -> int | None:
    try:
        unpacked(raw, list(names), most)
    except RequestError as error:
        return error.status
    return None


# -- unpacking, pure ---------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "pack"), EACH)
@given(st.binary(max_size=2_000))
def test_what_was_packed_is_unpacked(name: str, pack: Callable[[bytes], bytes], raw: bytes) -> None:
    assert unpacked(pack(raw), [name], 2_000) == raw


@pytest.mark.parametrize(("name", "pack"), EACH)
def test_the_cap_is_exact_and_a_bomb_costs_no_more_than_the_cap(name: str, pack: Callable[[bytes], bytes]) -> None:
    assert unpacked(pack(b"x" * MOST), [name], MOST) == b"x" * MOST
    assert refusal(pack(b"x" * (MOST + 1)), name) == 413
    bomb = pack(b"\0" * (64 << 20))
    began = time.perf_counter()
    assert refusal(bomb, name) == 413
    assert time.perf_counter() - began < 1


@pytest.mark.parametrize(("name", "pack"), EACH)
def test_what_is_cut_off_or_followed_by_something_else_is_refused(name: str, pack: Callable[[bytes], bytes]) -> None:
    packed = pack(b'{"a": 1}' * 20)
    assert {refusal(packed[:cut], name) for cut in range(len(packed))} == {400}
    assert refusal(packed + b"junk", name) == 400


@pytest.mark.parametrize("name", STREAMS)
@given(st.binary(max_size=200))
def test_garbage_is_refused_or_unpacked_but_never_a_crash(name: str, raw: bytes) -> None:
    assert refusal(raw, name) in (None, 400, 413)


def test_members_may_be_strung_together_but_not_without_end() -> None:
    for pack, name in ((gzip.compress, "gzip"), (zstd.compress, "zstd")):
        assert unpacked(pack(b"a") + pack(b"b"), [name], MOST) == b"ab"
        assert refusal(pack(b"") * (MOST_STREAMS + 1), name) == 400
        assert refusal(pack(b"x" * MOST) + pack(b"x"), name) == 413


def test_a_frame_that_wants_much_memory_is_refused() -> None:
    packer = zstd.ZstdCompressor(options={zstd.CompressionParameter.window_log: 27})
    packed = packer.compress(b"x" * 100) + packer.flush()
    assert refusal(packed, "zstd") == 400


def test_several_encodings_are_undone_from_the_last() -> None:
    assert unpacked(brotli.compress(gzip.compress(b"a")), ["gzip", "br"], MOST) == b"a"
    assert refusal(brotli.compress(gzip.compress(b"x" * (MOST + 1))), "gzip", "br") == 413


@pytest.mark.parametrize(
    ("header", "names"),
    [("", []), ("identity", []), ("gzip", ["gzip"]), ("X-GZIP", ["gzip"]), ("gzip , identity, br", ["gzip", "br"])],
)
def test_the_header_is_read_as_a_list(header: str, names: list[str]) -> None:
    assert encodings_of(header) == names


@pytest.mark.parametrize("header", ["snappy", "gzip, snappy", "gzip, gzip, gzip", "gzip;q=1"])
def test_what_cannot_be_undone_is_refused_with_what_can(header: str) -> None:
    with pytest.raises(RequestError, match=r"uncompressed, or as one of gzip, deflate, br, zstd\.") as refused:
        encodings_of(header)
    assert (refused.value.status, refused.value.code) == (415, "unsupported_encoding")


# -- through the door --------------------------------------------------------------------------------------------------


@pytest.mark.parametrize(("name", "pack"), EACH)
async def test_a_packed_request_goes_on_unpacked(door: Door, name: str, pack: Callable[[bytes], bytes]) -> None:
    body = chat_body("Hi")
    reply, _ = await door.ask(pack(body), content_encoding=name)
    assert reply.status == 200
    seen = door.upstream.seen[-1]
    assert (seen.body, "content-encoding" in seen.headers) == (body, False)
    assert seen.headers["content-length"] == str(len(body))
    assert (await door.turns())[-1].request == body


async def test_what_is_wrong_with_a_packed_request_is_said_in_the_clients_format(door: Door) -> None:
    bomb = gzip.compress(b"\0" * (8 << 20))
    for body, name, status, code in (
        (bomb, "gzip", 413, "body_too_large"), (b"junk", "br", 400, "invalid_encoding"),
        (chat_body(), "snappy", 415, "unsupported_encoding"), (b"x" * (MOST + 1), "identity", 413, "body_too_large"),
    ):
        reply, told = await door.ask(body, content_encoding=name)
        assert (reply.status, error_of(told)["code"]) == (status, code)
    assert (await door.ask(chat_body()))[0].status == 200
    assert len(door.upstream.seen) == 1


async def test_packed_feedback_is_read_too(door: Door) -> None:
    turn_id = (await door.ask(chat_body()))[0].headers["x-metaclaw-turn"]
    body = gzip.compress(json.dumps({"turn_id": turn_id, "score": 1}).encode())
    async with door.http.post("/v1/feedback", data=body, headers={"content-encoding": "gzip"}) as reply:
        assert reply.status == 200


async def test_a_body_that_does_not_come_is_given_up(door: Door) -> None:
    async with connected(door.gateway.url) as (reader, writer):
        writer.write(request(CHAT, KEY, "content-length: 100", method="POST") + b'{"messages"')
        got = await answer(reader)
        assert (got.status, error_of(got.body)["code"]) == (408, "body_timeout")
        assert "gateway.body_seconds" in error_of(got.body)["message"]
        assert await ended(reader) == b""
    assert (await door.ask(chat_body()))[0].status == 200
    assert door.gateway._intake.under_way == 0


async def test_a_body_that_comes_in_drops_has_no_more_time(door: Door) -> None:
    async with connected(door.gateway.url) as (reader, writer):
        writer.write(request(CHAT, KEY, "transfer-encoding: chunked", method="POST"))
        reply = asyncio.create_task(answer(reader))
        while not reply.done():
            writer.write(b"1\r\n \r\n")
            await asyncio.wait([reply], timeout=0.02)
        assert (await reply).status == 408


@pytest.mark.parametrize("chunks", [b"zz\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"-1\r\n"])
async def test_a_body_that_is_badly_framed_is_refused(door: Door, chunks: bytes) -> None:
    got = await ask(door.gateway.url, request(CHAT, KEY, "transfer-encoding: chunked", method="POST") + chunks)
    assert got.status == 400
    assert error_of(got.body)["code"] in ("broken_body", "bad_request")
    assert (await door.ask(chat_body()))[0].status == 200


async def test_a_refusal_is_seen_before_the_body_is_sent(door: Door) -> None:
    """Nobody who may not come in has a byte of the body read."""
    async with connected(door.gateway.url) as (reader, writer):
        writer.write(request(CHAT, "content-length: 1000000", method="POST"))
        assert (await answer(reader)).status == 401
