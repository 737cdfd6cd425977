"""The client's end, against servers that say anything: framing, desync, endings, hang-ups, bounds, deadlines, URLs."""

from __future__ import annotations

import asyncio
import gzip
import socket
import zlib
from collections.abc import AsyncIterator
from itertools import pairwise
from typing import Any

import brotli
import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaclaw.errors import UnreachableError, WireError
from metaclaw.wire import reply as wire_reply
from metaclaw.wire.client import Connections, _place
from metaclaw.wire.head import Headers
from metaclaw.wire.unpack import PIECE_BYTES
from upstream_server import refusing_url
from wire_ends import connections, got, origin, resident_bytes, saying

OK = b"HTTP/1.1 200 OK\r\n"
HELLO = OK + b"content-length: 5\r\n\r\nhello"
CHUNKED = OK + b"transfer-encoding: chunked\r\n\r\n"
PIECE = b"x" * 65536


@pytest.fixture
async def pool() -> AsyncIterator[Connections]:
    async with connections() as opened:
        yield opened


@pytest.mark.parametrize("raw", [
    HELLO,
    CHUNKED + b"2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nx: y\r\n\r\n",
    b"HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: a\r\n\r\n" + HELLO,
    b"HTTP/1.0 200\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello",
    OK + b"content-encoding: identity\r\ncontent-length: 5\r\n\r\nhello",
])
async def test_a_reply_in_any_pieces_and_the_connection_after_it(pool: Connections, raw: bytes) -> None:
    for piece in range(1, len(raw) + 1):
        async with origin(saying(raw, piece=piece)) as server:
            for _ in range(2):
                assert await got(pool, server.url) == (200, b"hello")
            assert server.connections == 1


@pytest.mark.parametrize("raw", [
    OK + b"\r\nhello", b"HTTP/1.0 200 OK\r\n\r\nhello", OK + b"connection: close\r\n\r\nhello"
])
async def test_a_reply_that_ends_with_its_connection(pool: Connections, raw: bytes) -> None:
    async with origin(saying(raw, hang_up=True)) as server:
        for _ in range(2):
            assert await got(pool, server.url) == (200, b"hello")
        assert server.connections == 2


@pytest.mark.parametrize("status", [b"204 No Content", b"304 Not Modified"])
async def test_a_reply_without_a_body(pool: Connections, status: bytes) -> None:
    async with origin(saying(b"HTTP/1.1 " + status + b"\r\ncontent-encoding: gzip\r\n\r\n")) as server:
        for _ in range(2):
            assert await got(pool, server.url) == (int(status[:3]), b"")
        assert server.connections == 1


async def test_the_reply_to_a_head_has_no_body_whatever_it_says(pool: Connections) -> None:
    async with origin(saying(OK + b"content-length: 5\r\ncontent-encoding: gzip\r\n\r\n")) as server:
        for _ in range(2):
            assert await got(pool, server.url, "HEAD") == (200, b"")


IN_DOUBT = [
    OK + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    OK + b"content-length: -5\r\n\r\nhello",
    OK + b"transfer-encoding: gzip, chunked\r\n\r\n5\r\nhello\r\n0\r\n\r\n",
    OK + b"transfer-encoding: gzip\r\n\r\nhello",
    OK + b"x: a\r\n content-length: 5\r\n\r\nhello",
    OK + b"x: a\0b\r\ncontent-length: 0\r\n\r\n",
    b"HTTP/1.1 101 Switching Protocols\r\nupgrade: x\r\nconnection: upgrade\r\n\r\nhello",
    b"HTTP/1.1 101 Switching Protocols\r\n\r\n",
    b"HTTP/1.1 000 Zero\r\n\r\nhello",
    b"HTTP/1.1 99 Low\r\n\r\nhello",
    b"HTTP/1.1 2000 High\r\n\r\nhello",
    b"SSH-2.0-OpenSSH_9\r\n",
    CHUNKED + b"zz\r\n",
    CHUNKED + b"5\r\nhelloX\r\n0\r\n\r\n",
    OK + b"content-encoding: compress\r\ncontent-length: 5\r\n\r\nhello",
    OK + b"".join(b"x-%d: y\r\n" % n for n in range(3000)) + b"\r\n",
    OK + b"x: " + b"y" * 9000 + b"\r\ncontent-length: 0\r\n\r\n",
]


@pytest.mark.parametrize("raw", IN_DOUBT)
async def test_a_reply_that_cannot_be_trusted_is_an_error_and_its_connection_ends(
    pool: Connections, raw: bytes
) -> None:
    async with origin(saying(raw)) as server:
        for number in (1, 2):
            with pytest.raises(WireError) as failed:
                await got(pool, server.url)
            assert server.connections == number
            assert "hello" not in str(failed.value)
        await asyncio.sleep(0)
        assert not pool._open


PACKED = gzip.compress(b"hello")


@pytest.mark.parametrize("body", [PACKED[:at] for at in range(1, len(PACKED))] + [b"hello", PACKED + b"hello"])
@pytest.mark.parametrize("framed", [b"content-length: %d\r\n\r\n", b"x: %d\r\n\r\n"])
async def test_a_packed_body_that_is_broken_is_an_error(pool: Connections, body: bytes, framed: bytes) -> None:
    head = OK + b"content-encoding: gzip\r\n" + framed % len(body)
    async with origin(saying(head + body, hang_up=True)) as server:
        with pytest.raises(WireError):
            await got(pool, server.url)


async def test_a_packed_body_comes_unpacked_piece_by_piece(pool: Connections) -> None:
    head = OK + b"content-encoding: x-gzip\r\ncontent-length: %d\r\n\r\n" % len(PACKED)
    async with origin(saying(head + PACKED, piece=1)) as server:
        for _ in range(2):
            assert await got(pool, server.url) == (200, b"hello")
        assert server.connections == 1


@pytest.mark.parametrize("name", ["gzip", "br"])
async def test_a_packed_body_that_is_still_open_gives_what_has_come_and_knows_that_it_waits(
    pool: Connections, name: str
) -> None:
    packer: Any = brotli.Compressor() if name == "br" else zlib.compressobj(wbits=31)
    pack = packer.process if name == "br" else packer.compress
    more = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(OK + b"content-encoding: %b\r\n\r\n" % name.encode())
        for word in (b"hello", bytes(3 * PIECE_BYTES)):
            writer.write(pack(word) + (packer.flush() if name == "br" else packer.flush(zlib.Z_SYNC_FLUSH)))
            await more.wait()

    async with origin(talk) as server:
        reply = await pool.ask("GET", server.url, "/", Headers(), None)
        assert (await reply.readany(), reply.waiting) == (b"hello", True)
        more.set()
        sizes = [len(await reply.readany())]
        while not reply.waiting:
            sizes.append(len(await reply.readany()))
        assert (sum(sizes), len(sizes) > 1) == (3 * PIECE_BYTES, True)
        reply.close()


async def test_what_is_broken_in_a_packed_body_is_told_behind_what_is_not(pool: Connections) -> None:
    head = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % (len(PACKED) + 5)
    async with origin(saying(head + PACKED + b"hello")) as server:
        reply = await pool.ask("GET", server.url, "/", Headers(), None)
        assert (await reply.readany(), reply.waiting) == (b"hello", False)
        with pytest.raises(WireError, match="cannot be read"):
            await reply.readany()


@pytest.mark.parametrize("raw", [
    HELLO + b"HTTP/1.1 200 OK\r\ncontent-length: 4\r\n\r\nevil", HELLO + b"H", HELLO + b"evil",
    b"HTTP/1.1 204 No Content\r\ncontent-length: 4\r\n\r\nevil",
])
async def test_a_reply_that_nobody_asked_for_is_nobodys(pool: Connections, raw: bytes) -> None:
    async with origin(saying(raw)) as server:
        for number in range(1, 4):
            assert (await got(pool, server.url))[1] in (b"hello", b"")
            assert server.connections == number  # never on the one with words to spare


async def test_words_on_an_idle_connection_end_it(pool: Connections) -> None:
    spoke = asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(HELLO)
        await writer.drain()
        await spoke.wait()
        writer.write(b"HTTP/1.1 408 Request Timeout\r\ncontent-length: 0\r\n\r\n")
        assert await reader.read() == b""  # it hangs up

    async with origin(talk) as server:
        assert await got(pool, server.url) == (200, b"hello")
        (idle,) = pool._open
        spoke.set()
        async with asyncio.timeout(5):
            while pool._open:
                await asyncio.sleep(0.001)
        assert not idle.usable
        assert await got(pool, server.url) == (200, b"hello")


@pytest.mark.parametrize("raw", [HELLO, CHUNKED + b"5\r\nhello\r\n0\r\n\r\n"])
async def test_a_server_that_hangs_up_at_any_byte(pool: Connections, raw: bytes) -> None:
    for end in range(len(raw)):
        async with origin(saying(raw[:end], hang_up=True)) as server:
            with pytest.raises(WireError):
                await got(pool, server.url)
            assert server.connections == 1  # nothing is sent again on what was fresh


BEGINNINGS = [b"", OK, OK + b"x: ", b"HTTP/1.1 ", b"HTTP/1.1 200 ", CHUNKED + b"0\r\nx: ", CHUNKED + b"5;"]


@pytest.mark.parametrize(("begin", "drop"), [
    *((begin, drop) for begin in BEGINNINGS for drop in (b"a" * 65536, b"a: b\r\n" * 10_000)),
    (b"", b"\r\n" * 30_000), (b"", b"HTTP/1.1 100 Continue\r\n\r\n" * 3000),
])
async def test_nothing_endless_is_kept(pool: Connections, begin: bytes, drop: bytes) -> None:
    sent = 0

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        nonlocal sent
        await reader.readuntil(b"\r\n\r\n")
        writer.write(begin)
        while True:
            writer.write(drop)
            await writer.drain()
            sent += len(drop)

    async with origin(talk) as server:
        with pytest.raises(WireError):
            await got(pool, server.url)
    assert sent < 20_000_000


async def _endless(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.readuntil(b"\r\n\r\n")
    writer.write(CHUNKED)
    while True:
        writer.write(b"10000\r\n" + PIECE + b"\r\n")
        await writer.drain()


async def test_a_reply_that_nobody_takes_waits_and_one_that_is_closed_ends(pool: Connections) -> None:
    async with origin(_endless) as server:
        reply = await pool.ask("GET", server.url, "/", Headers(), None)
        async with asyncio.timeout(5):
            while not reply._size > wire_reply.READ_AHEAD_BYTES:
                await asyncio.sleep(0)
        held = reply._size
        await asyncio.sleep(0.05)
        assert reply._size == held < 2 << 20
        total = 0
        before = resident_bytes()
        while total < 64 << 20:
            total += len(await reply.readany())
        assert resident_bytes() - before < 16 << 20
        reply.close()
        async with asyncio.timeout(5):
            while pool._open:
                await asyncio.sleep(0.001)


async def test_a_whole_reply_has_its_bound(pool: Connections, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(wire_reply, "MOST_WHOLE_BYTES", 4 << 20)
    async with origin(_endless) as server:
        with pytest.raises(WireError, match="4 MiB"):
            await got(pool, server.url)
    bomb = gzip.compress(b"\0" * (64 << 20))
    head = OK + b"content-encoding: gzip\r\ncontent-length: %d\r\n\r\n" % len(bomb)
    async with origin(saying(head + bomb)) as server:
        with pytest.raises(WireError, match="4 MiB"):
            await got(pool, server.url)


async def test_an_answer_that_does_not_wait_for_the_request(pool: Connections) -> None:
    """The rest of the body must not be taken for another request, nor its connection be used for one."""

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        writer.write(b"HTTP/1.1 413 Content Too Large\r\ncontent-length: 0\r\n\r\n")
        await writer.drain()
        await asyncio.Event().wait()

    async with origin(talk) as server:
        for number in (1, 2):
            reply = await pool.ask("POST", server.url, "/", Headers(), b"x" * (32 << 20))
            assert (reply.status, await reply.read()) == (413, b"")
            assert server.connections == number


async def test_a_cancelled_question_ends_its_connection(pool: Connections) -> None:
    heard, left = asyncio.Event(), asyncio.Event()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        heard.set()
        await reader.read()
        left.set()

    async with origin(talk) as server:
        asking = asyncio.create_task(got(pool, server.url))
        await asyncio.wait_for(heard.wait(), 5)
        asking.cancel()
        await asyncio.wait([asking])
        await asyncio.wait_for(left.wait(), 5)
        assert asking.cancelled()


async def _silent(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    await reader.read()


@pytest.mark.parametrize("begin", [b"", b"HTTP/1.1 200", CHUNKED, CHUNKED + b"5\r\nhel"])
async def test_a_server_that_falls_silent_is_given_up(begin: bytes) -> None:
    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        writer.write(begin)
        await _silent(reader, writer)

    async def after_a_head(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        await talk(reader, writer)

    async with connections(idle_seconds=0.1) as pool, origin(after_a_head) as server:
        with pytest.raises(TimeoutError):
            await got(pool, server.url)
        async with asyncio.timeout(5):
            while pool._open:
                await asyncio.sleep(0.001)


async def test_who_cannot_be_reached(pool: Connections) -> None:
    with pytest.raises(UnreachableError, match=r"refused|Connect"):
        await got(pool, refusing_url())
    for host in ("nobody.invalid", "a..b", "x" * 70 + ".invalid"):
        with pytest.raises(UnreachableError):
            await got(pool, f"http://{host}/v1")


async def test_one_that_does_not_take_the_connection_in_time() -> None:
    with socket.socket() as full:
        full.bind(("127.0.0.1", 0))
        full.listen(0)
        url = f"http://127.0.0.1:{full.getsockname()[1]}"
        crowd = []
        for _ in range(8):  # until the queue before it is full, and what comes is not answered
            one = socket.socket()
            one.setblocking(False)
            one.connect_ex(full.getsockname())
            crowd.append(one)
        async with connections(connect_seconds=0.1) as pool:
            with pytest.raises(TimeoutError):
                await got(pool, url)
        for one in crowd:
            one.close()


async def test_after_its_end_a_pool_asks_nobody() -> None:
    async with origin(saying(HELLO)) as server, connections() as pool:
        await pool.close()
        with pytest.raises(UnreachableError):
            await got(pool, server.url)
        await asyncio.sleep(0)
        assert not pool._open


@pytest.mark.parametrize(("base", "where", "path", "host"), [
    ("http://a", (False, "a", 80), "", "a"),
    ("http://A:80/v1/", (False, "a", 80), "/v1", "a"),
    ("https://a", (True, "a", 443), "", "a"),
    ("https://a:80/x y", (True, "a", 80), "/x%20y", "a:80"),
    ("http://[::1]:8080/v1", (False, "::1", 8080), "/v1", "[::1]:8080"),
    ("http://\u00fc.example/\u00fc%20", (False, "xn--tda.example", 80), "/%C3%BC%20", "xn--tda.example"),
])
def test_where_a_url_leads(base: str, where: tuple[bool, str, int], path: str, host: str) -> None:
    assert _place(base) == (where, path, host)


@pytest.mark.parametrize("base", ["", "a", "ftp://a", "http://", "http:///v1", "http://a:99999", "http://a:b", "http://[::1",
                                  "unix:/x", "http://\u00fc..b/"])
def test_what_is_no_url_is_refused(base: str) -> None:
    with pytest.raises(WireError):
        _place(base)


@pytest.mark.parametrize("path", ["/ HTTP/1.1\r\nx: y", "/a b", "/a\tb", "/\0", "/\n", "/\u00fc", "/\x7f", "/\ud800"])
async def test_a_target_cannot_split_a_request(pool: Connections, path: str) -> None:
    with pytest.raises(WireError):
        await got(pool, "http://127.0.0.1:1", path=path)


@pytest.mark.parametrize("headers", [{"x": "a\r\ny: z"}, {"x\r\ny": "z"}, {"x": "\0"}])
async def test_a_header_cannot_split_a_request(pool: Connections, headers: dict[str, str]) -> None:
    with pytest.raises(WireError):
        await pool.ask("GET", "http://127.0.0.1:1", "/", Headers(headers), None)


async def test_what_is_sent() -> None:
    heads: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        while True:
            head = await reader.readuntil(b"\r\n\r\n")
            heads.append(head)
            writer.write(HELLO)

    async with origin(talk) as server, connections() as pool:
        host = server.url.removeprefix("http://").encode()
        await got(pool, server.url, path="")
        await got(pool, server.url + "/v1/", "POST", "/x?y=z")
        reply = await pool.ask("GET", server.url, "/", Headers([("host", "other"), ("x", "\udcff"), ("x", "2")]), None)
        await reply.read()
    assert heads == [
        b"GET / HTTP/1.1\r\nHost: " + host + b"\r\n\r\n",
        b"POST /v1/x?y=z HTTP/1.1\r\nHost: " + host + b"\r\nContent-Length: 0\r\n\r\n",
        b"GET / HTTP/1.1\r\nhost: other\r\nx: \xff\r\nx: 2\r\n\r\n",
    ]


async def test_over_ipv6(pool: Connections) -> None:
    try:
        listening = await asyncio.start_server(_once_hello, "::1", 0)
    except OSError:
        pytest.skip("no IPv6 on this machine")
    async with listening:
        assert await got(pool, f"http://[::1]:{listening.sockets[0].getsockname()[1]}") == (200, b"hello")


async def _once_hello(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    head = await reader.readuntil(b"\r\n\r\n")
    assert b"Host: [::1]:" in head
    writer.write(HELLO)
    await writer.drain()
    writer.close()


BODIES = st.lists(st.tuples(st.binary(max_size=60), st.booleans()), min_size=1, max_size=4)


async def test_h11_and_we_agree_wherever_the_bytes_are_cut(pool: Connections) -> None:
    """Replies as h11 writes them; the requests are those that h11 could read."""
    loop = asyncio.get_running_loop()
    wanted: list[tuple[bytes, bool]] = []
    cuts: list[int] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        peer = h11.Connection(h11.SERVER)
        while True:
            while not isinstance(event := peer.next_event(), h11.EndOfMessage):
                if event is h11.NEED_DATA:
                    if not (data := await reader.read(65536)):
                        return
                    peer.receive_data(data)
            body, chunked = wanted.pop(0)
            how = ("transfer-encoding", "chunked") if chunked else ("content-length", str(len(body)))
            head = h11.Response(status_code=200, headers=[how])
            raw = b"".join(peer.send(one) or b"" for one in (head, h11.Data(data=body), h11.EndOfMessage()))
            marks = sorted({0, len(raw), *(at % (len(raw) + 1) for at in cuts)})
            for begin, end in pairwise(marks):
                writer.write(raw[begin:end])
                await writer.drain()
                await asyncio.sleep(0)
            peer.start_next_cycle()

    async def example(url: str, bodies: list[tuple[bytes, bool]], at: list[int]) -> None:
        wanted[:], cuts[:] = bodies, at
        for body, _ in bodies:
            assert await got(pool, url, "POST") == (200, body)

    async with origin(talk) as server:

        @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(BODIES, st.lists(st.integers(0, 300), max_size=6))
        def fuzz(bodies: list[tuple[bytes, bool]], at: list[int]) -> None:
            asyncio.run_coroutine_threadsafe(example(server.url, bodies, at), loop).result(20)

        await asyncio.to_thread(fuzz)
        assert server.connections == 1


NOISE = st.lists(
    st.sampled_from([
        b"HTTP/1.1 200 OK\r\n", b"HTTP/1.0 404 N\r\n", b"HTTP/1.1 100 C\r\n\r\n", b"HTTP/1.1 101 S\r\n", b"\r\n",
        b"hello",
        b"content-length: 5\r\n", b"transfer-encoding: chunked\r\n", b"5\r\nhello\r\n", b"0\r\n\r\n", b"upgrade: x\r\n",
        b"connection: close\r\n", b"content-encoding: gzip\r\n", b"HTTP/1.1 204 N\r\n", b"\0", b"\r", b"\n",
    ]) | st.binary(max_size=6),
    max_size=14,
)


async def test_whatever_a_server_says_it_is_a_reply_or_an_error_of_ours() -> None:
    loop = asyncio.get_running_loop()
    noise: list[bytes] = []

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.readuntil(b"\r\n\r\n")
        for piece in noise:
            writer.write(piece)
            await asyncio.sleep(0)

    async def example(url: str, pieces: list[bytes]) -> None:
        noise[:] = pieces
        try:
            status, _ = await got(asking, url)
        except WireError:
            return
        assert 200 <= status <= 999

    async with origin(talk) as server, connections(idle_seconds=2) as asking:

        @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(NOISE)
        def fuzz(pieces: list[bytes]) -> None:
            asyncio.run_coroutine_threadsafe(example(server.url, pieces), loop).result(20)

        await asyncio.to_thread(fuzz)
