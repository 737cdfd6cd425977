"""The server's end, over raw sockets: framing, pipelining, `Expect`, upgrades, hang-ups, slow clients, shutdown."""

from __future__ import annotations

import asyncio
import socket
import sys
from collections.abc import AsyncIterator
from itertools import pairwise

import h11
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaclaw.wire import inbound
from metaclaw.wire.head import Headers
from metaclaw.wire.messages import Reply, Request, Response
from metaclaw.wire.server import Limits
from raw_http import answer, ask, connected, ended, request
from wire_ends import MOST, Served, echo, resident_bytes, serving

POST = b"POST /a?b HTTP/1.1\r\nhost: x\r\n"
CHUNKED = POST + b"transfer-encoding: chunked\r\n\r\n"
WHOLE = POST + b"content-length: 5\r\n\r\nhello"


def chunks_of(raw: bytes) -> bytes:
    pairs = [raw[at : at + 2] for at in range(0, len(raw), 2)]
    return b"".join(b"%x\r\n%b\r\n" % (len(pair), pair) for pair in pairs) + b"0\r\n\r\n"


async def said(url: str, *pieces: bytes) -> bytes:
    """All that comes back until the server hangs up."""
    async with connected(url) as (reader, writer):
        for piece in pieces:
            writer.write(piece)
            await writer.drain()
            await asyncio.sleep(0)
        return await ended(reader)


@pytest.mark.parametrize("raw", [
    POST + b"content-length: 5\r\n\r\nhello",
    CHUNKED + b"5\r\nhello\r\n0\r\n\r\n",
    CHUNKED + b"2;a=b\r\nhe\r\n3\r\nllo\r\n0\r\nx-trailer: t\r\nhost: y\r\n\r\n",
    b"\r\n\r\n" + POST + b"content-length:5 \r\n\r\nhello",
])
async def test_the_same_request_cut_anywhere(raw: bytes) -> None:
    async with serving() as served, connected(served.url) as (reader, writer):
        for at in range(1, len(raw)):
            writer.write(raw[:at])
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(raw[at:])
            got = await answer(reader)
            assert (got.status, got.body, got.headers["x-line"]) == (200, b"hello", "POST /a?b 1.1")


async def test_a_trailer_is_no_header_of_anything() -> None:
    seen: list[Headers] = []

    async def handler(got: Request) -> Reply:
        await got.read(MOST)
        seen.append(got.headers)
        return Response()

    async with serving(handler) as served, connected(served.url) as (reader, writer):
        writer.write(CHUNKED + b"0\r\nx-api-key: stolen\r\n\r\n" + request("/"))
        assert [(await answer(reader)).status for _ in range(2)] == [200, 200]
    assert not [headers for headers in seen if "x-api-key" in headers]


SMUGGLING = [
    POST + b"content-length: 5\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\nGET /x HTTP/1.1\r\nhost: x\r\n\r\n",
    POST + b"transfer-encoding: chunked\r\ncontent-length: 5\r\n\r\n0\r\n\r\n",
    POST + b"content-length: 5\r\ncontent-length: 5\r\n\r\nhello",
    POST + b"content-length: 5\r\ncontent-length: 6\r\n\r\nhello",
    POST + b"content-length: 5, 5\r\n\r\nhello",
    POST + b"content-length: +5\r\n\r\nhello",
    POST + b"content-length: 0x5\r\n\r\nhello",
    POST + b"content-length: 99999999999999999999999\r\n\r\n",
    POST + b"content-length:\r\n\r\n",
    POST + b"content-length : 5\r\n\r\nhello",
    POST + b"transfer-encoding : chunked\r\n\r\n0\r\n\r\n",
    POST + b"transfer-encoding: xchunked\r\n\r\n0\r\n\r\n",
    POST + b"transfer-encoding: gzip, chunked\r\n\r\n0\r\n\r\n",
    POST + b"transfer-encoding: chunked, chunked\r\n\r\n0\r\n\r\n",
    POST + b"transfer-encoding: chunked\r\ntransfer-encoding: identity\r\n\r\n0\r\n\r\n",
    POST + b"transfer-encoding:\x0bchunked\r\n\r\n0\r\n\r\n",
    b"POST / HTTP/1.0\r\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"x: a\r\n transfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"x: a\rtransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"x: a\ntransfer-encoding: chunked\r\n\r\n0\r\n\r\n",
    POST + b"x: a\0\r\n\r\n",
    POST + b"host: y\r\n\r\n",
    b"GET / HTTP/2.0\r\nhost: x\r\n\r\n",
    b"GET /\r\n",
    b"GET /\xff HTTP/1.1\r\nhost: x\r\n\r\n",
    b"CONNECT a:80 HTTP/1.1\r\nhost: x\r\n\r\nGET / HTTP/1.1\r\nhost: x\r\n\r\n",
    b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n",
]


@pytest.mark.parametrize("raw", SMUGGLING)
async def test_framing_that_is_in_doubt_is_refused_and_nothing_behind_it_is_read(raw: bytes) -> None:
    served_targets = []

    async def handler(got: Request) -> Reply:
        served_targets.append(got.target)
        return await echo(got)

    async with serving(handler) as served:
        reply = await said(served.url, raw + request("/smuggled"))
        assert reply.count(b"HTTP/1.1 ") == 1
        assert reply.startswith(b"HTTP/1.1 400 ")
        assert b"Connection: close" in reply
        assert "/smuggled" not in served_targets


@pytest.mark.parametrize("bad", [b"zz\r\n", b"5\r\nabc\r\n0\r\n\r\n", b"5 \r\nhello\r\n", b"5\nhello\n0\n\n", b"-1\r\n",
                                 b"ffffffffffffffffff\r\n", b"5\r\nhelloX\r\n"])
async def test_chunks_that_are_none_fail_the_body(bad: bytes) -> None:
    failures = []

    async def handler(got: Request) -> Reply:
        try:
            return await echo(got)
        except Exception as error:
            failures.append(type(error).__name__)
            raise

    async with serving(handler) as served:
        reply = await said(served.url, CHUNKED + bad)
        assert (reply[:13], failures) == (b"HTTP/1.1 500 ", ["WireError"])


async def test_pipelined_requests_are_answered_in_order() -> None:
    release = asyncio.Event()

    async def handler(got: Request) -> Reply:
        if got.target == "/0":
            await release.wait()
        return await echo(got)

    async with serving(handler) as served, connected(served.url) as (reader, writer):
        writer.write(b"".join(request(f"/{n}", "content-length: 1", method="POST") + b"%d" % n for n in range(9)))
        await asyncio.sleep(0)
        release.set()
        for n in range(9):
            got = await answer(reader)
            assert (got.body, got.headers["x-line"]) == (b"%d" % n, f"POST /{n} 1.1")


async def test_thousands_in_a_row_on_one_connection() -> None:
    async with serving() as served, connected(served.url) as (reader, writer):
        for n in range(3000):
            writer.write(WHOLE if n % 2 else CHUNKED + chunks_of(b"hello"))
            assert (await answer(reader)).body == b"hello"
        assert len(served.server.connections) == 1


async def test_a_flood_of_requests_ahead_of_their_replies_is_cut() -> None:
    async def handler(got: Request) -> Reply:
        await asyncio.Event().wait()
        return Response()

    async with serving(handler, grace_seconds=0) as served, connected(served.url) as (_, writer):
        writer.write(b"GET / HTTP/1.1\r\n\r\n" * 10_000)
        async with asyncio.timeout(10):
            while not [one for one in served.server.connections if one._bad]:
                await asyncio.sleep(0.001)
        (connection,) = served.server.connections
        assert len(connection._waiting) == inbound.MOST_WAITING


@pytest.mark.parametrize("begin", [
    b"GET / HTTP/1.1\r\nx: ", b"GET / HTTP/1.1\r\n", b"GET /", b"", CHUNKED + b"0\r\nx: ", CHUNKED + b"5;",
])
@pytest.mark.parametrize("drop", [b"a" * 60_000, b"a: b\r\n" * 10_000, b"\r\n" * 30_000])
async def test_nothing_endless_is_kept(begin: bytes, drop: bytes) -> None:
    """A head, trailer or chunk extension without an end is cut off long before its client tires."""
    async with serving() as served, connected(served.url) as (reader, writer):
        writer.write(begin)
        gone = asyncio.create_task(ended(reader))
        sent = 0
        while not gone.done() and sent < 20_000_000:
            try:
                writer.write(drop)
                await writer.drain()
            except ConnectionError:
                break
            sent += len(drop)
            await asyncio.wait([gone], timeout=0.001)
        assert sent < 20_000_000
        assert (await gone)[:10] in (b"HTTP/1.1 4", b"HTTP/1.1 5", b"HTTP/1.1 2", b"")


async def test_a_client_that_waits_to_be_asked_for_its_body_is() -> None:
    async with serving() as served, connected(served.url) as (reader, writer):
        writer.write(POST + b"content-length: 5\r\nexpect: 100-Continue\r\n\r\n")
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(b"hello")
        assert (await answer(reader)).body == b"hello"
        writer.write(POST + b"content-length: 5\r\nexpect: 100-continue\r\n\r\nhello")  # it did not wait after all
        assert (await answer(reader)).status == 200


async def test_a_client_that_is_refused_is_not_asked_for_its_body() -> None:
    async def handler(got: Request) -> Reply:
        return Response(b"no", 401)

    async with serving(handler) as served:
        reply = await said(served.url, POST + b"content-length: 5\r\nexpect: 100-continue\r\n\r\n")
        assert reply.startswith(b"HTTP/1.1 401 ")
        assert b"Connection: close" in reply


@pytest.mark.parametrize("framed", [
    b"content-length: 5\r\n\r\nhello", b"transfer-encoding: chunked\r\n\r\n" + chunks_of(b"hello"),
])
@pytest.mark.parametrize("offer", [
    b"upgrade: h2c\r\nconnection: Upgrade, HTTP2-Settings\r\nhttp2-settings: AAMAAABk\r\n",
    b"connection: upgrade\r\nupgrade: websocket\r\n",
])
async def test_an_offer_to_upgrade_costs_no_body(offer: bytes, framed: bytes) -> None:
    """As Java's own client makes it on each first request to a plain URL."""
    raw = POST + offer + framed
    async with serving() as served, connected(served.url) as (reader, writer):
        for at in range(1, len(raw)):
            writer.write(raw[:at])
            await writer.drain()
            await asyncio.sleep(0)
            writer.write(raw[at:])
            got = await answer(reader)
            assert (got.status, got.body, got.headers["x-line"]) == (200, b"hello", "POST /a?b 1.1")
        writer.write(raw + raw + WHOLE)
        assert [(await answer(reader)).body for _ in range(3)] == [b"hello"] * 3


async def test_http_1_0() -> None:
    async with serving() as served:
        reply = await said(served.url, b"POST / HTTP/1.0\r\ncontent-length: 5\r\n\r\nhello")
        assert reply.endswith(b"\r\n\r\nhello")
        assert b"Connection: close" in reply
        async with connected(served.url) as (reader, writer):
            for _ in range(2):
                writer.write(b"POST / HTTP/1.0\r\nconnection: keep-alive\r\ncontent-length: 5\r\n\r\nhello")
                got = await answer(reader)
                assert (got.body, got.headers["connection"]) == (b"hello", "keep-alive")


@pytest.mark.parametrize("status", [200, 204, 304])
@pytest.mark.parametrize("method", ["GET", "HEAD"])
@pytest.mark.parametrize("streams", [False, True])
async def test_replies_without_a_body_have_none(status: int, method: str, streams: bool) -> None:
    async def handler(got: Request) -> Reply:
        if not streams:
            return Response(b"text", status)
        out = got.stream(status, Headers({"x-last": "0"}))
        await out.begin()
        await out.write(b"te")
        await out.end(b"xt")
        return out

    async with serving(handler) as served:
        peer = h11.Connection(h11.CLIENT)
        async with connected(served.url) as (reader, writer):
            for _ in range(2):
                writer.write(peer.send(h11.Request(method=method, target="/", headers=[("host", "x")])) or b"")
                peer.send(h11.EndOfMessage())
                body = b""
                while not isinstance(event := peer.next_event(), h11.EndOfMessage):
                    if event is h11.NEED_DATA:
                        peer.receive_data(await asyncio.wait_for(reader.read(65536), 5))
                    elif isinstance(event, h11.Data):
                        body += event.data
                    else:
                        assert isinstance(event, h11.Response)
                        assert event.status_code == status
                        framing = {b"transfer-encoding", b"content-length"} & dict(event.headers).keys()
                        assert bool(framing) == (status == 200)
                assert body == (b"text" if status == 200 and method == "GET" else b"")
                peer.start_next_cycle()
            assert peer.trailing_data == (b"", False)


async def test_a_stream_to_an_old_client_ends_with_the_connection() -> None:
    async def handler(got: Request) -> Reply:
        out = got.stream(200, Headers())
        await out.write(b"te")
        await out.end(b"xt")
        return out

    async with serving(handler) as served:
        reply = await said(served.url, b"GET / HTTP/1.0\r\nconnection: keep-alive\r\n\r\n")
        assert reply.endswith(b"\r\n\r\ntext")
        assert b"chunked" not in reply


async def test_a_handler_cannot_split_its_reply() -> None:
    async def handler(got: Request) -> Reply:
        return Response(b"", 200, Headers({"x": "a\r\nset-cookie: b"}))

    async with serving(handler) as served:
        got = await ask(served.url, request("/"))
        assert (got.status, "set-cookie" in got.headers) == (500, False)


async def test_a_second_reply_does_not_follow_a_stream_that_began() -> None:
    async def handler(got: Request) -> Reply:
        out = got.stream(200, Headers())
        await out.write(b"half")
        return Response(b"HTTP/1.1 200 OK", 503)

    async with serving(handler) as served:
        reply = await said(served.url, request("/"))
        assert reply.endswith(b"4\r\nhalf\r\n")  # broken off: no end, and no second head


async def test_a_connection_error_of_the_handlers_own_is_told() -> None:
    async def handler(got: Request) -> Reply:
        raise ConnectionRefusedError

    async with serving(handler) as served:
        assert (await ask(served.url, request("/"))).status == 500


async def test_a_client_that_hangs_up_at_any_byte_costs_nothing() -> None:
    raw = CHUNKED + chunks_of(b"hello")
    async with serving() as served:
        for at in range(len(raw) + 1):
            async with connected(served.url) as (_, writer):
                writer.write(raw[:at])
                if at % 2:  # with a reset
                    writer.transport.abort()
        assert (await ask(served.url, WHOLE)).body == b"hello"
        async with asyncio.timeout(10):
            while served.server.connections:
                await asyncio.sleep(0.001)


class Endless:
    """A handler that never ends by itself."""

    def __init__(self) -> None:
        self.began, self.cancelled = asyncio.Event(), asyncio.Event()

    async def __call__(self, got: Request) -> Reply:
        self.began.set()
        try:
            await asyncio.Event().wait()
        finally:
            self.cancelled.set()
        return Response()


async def test_a_client_that_leaves_cancels_its_handler() -> None:
    handler = Endless()
    async with serving(handler) as served:
        async with connected(served.url) as (_, writer):
            writer.write(request("/"))
            await asyncio.wait_for(handler.began.wait(), 5)
        await asyncio.wait_for(handler.cancelled.wait(), 5)


@pytest.mark.skipif(sys.platform == "win32", reason="nobody tells there")
async def test_a_client_that_leaves_with_a_request_ahead_cancels_its_handler() -> None:
    handler = Endless()
    async with serving(handler) as served, connected(served.url) as (_, writer):
        writer.write(request("/") + request("/", "content-length: 9") + b"more")
        await asyncio.wait_for(handler.began.wait(), 5)
        writer.transport.abort()
        await asyncio.wait_for(handler.cancelled.wait(), 5)


PIECE = b"x" * 65536


async def test_a_stream_goes_as_fast_as_its_client_and_no_faster() -> None:
    written = 0

    async def handler(got: Request) -> Reply:
        nonlocal written
        out = got.stream(200, Headers())
        for _ in range(1024):
            await out.write(PIECE)
            written += len(PIECE)
        await out.end()
        return out

    async with serving(handler) as served, connected(served.url) as (reader, writer):
        writer.get_extra_info("socket").setsockopt(socket.SOL_SOCKET, socket.SO_RCVBUF, 65536)
        writer.write(request("/", "connection: close"))
        await reader.readuntil(b"\r\n\r\n")
        before = -1
        while before < written:  # until nothing moves
            before = written
            await asyncio.sleep(0.05)
        assert written < 16 << 20
        held = resident_bytes()
        total = 0
        while piece := await reader.read(1 << 20):
            total += len(piece)
        assert written == 64 << 20
        assert total > written
        assert resident_bytes() - held < 16 << 20


async def test_a_large_body_arrives_whole_and_waits_until_it_is_read() -> None:
    release = asyncio.Event()

    async def handler(got: Request) -> Reply:
        await release.wait()
        return Response(b"%d" % len(await got.read(MOST)))

    async with serving(handler) as served, connected(served.url) as (reader, writer):
        writer.write(POST + b"content-length: %d\r\n\r\n" % (32 << 20))
        body = asyncio.create_task(_send(writer, 32 << 20))
        assert not (await asyncio.wait([body], timeout=0.2))[0]  # it is held back
        (connection,) = served.server.connections
        assert connection._receiving
        assert connection._receiving._size < 1 << 20
        release.set()
        await body
        assert (await answer(reader)).body == b"%d" % (32 << 20)


async def _send(writer: asyncio.StreamWriter, size: int) -> None:
    for _ in range(size // len(PIECE)):
        writer.write(PIECE)
        await writer.drain()


async def test_a_client_that_takes_nothing_is_given_up_and_a_slow_one_is_not(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "STALL_SECONDS", 0.1)
    monkeypatch.setattr(inbound, "LINGER_SECONDS", 0.1)
    ends = []

    async def handler(got: Request) -> Reply:
        try:
            out = got.stream(200, Headers())
            for _ in range(300):
                await out.write(PIECE)
            await out.end()
        finally:
            ends.append(out.ended)
        return out

    async with serving(handler, Limits(5, 0.1, 100)) as served:
        async with connected(served.url) as (reader, writer):
            writer.write(request("/"))
            async with asyncio.timeout(10):
                while not ends:
                    await asyncio.sleep(0.01)
        assert ends == [False]
        async with connected(served.url) as (reader, writer):
            writer.write(request("/", "connection: close"))
            total = 0
            while piece := await reader.read(1 << 20):
                total += len(piece)
                await asyncio.sleep(0.01)  # slower than it comes
        assert ends == [False, True]
        assert total > 300 * len(PIECE)


async def _sends_without_waiting(served: Served, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    """A reply of 16 MiB, most of which is still ours to send when its handler has long ended."""
    (connection,) = served.server.connections
    connection._transport.set_write_buffer_limits(high=1 << 30)
    writer.write(request("/", "connection: close"))
    await reader.readuntil(b"\r\n\r\n")
    assert connection.task is None
    assert connection._transport.get_write_buffer_size() > 1 << 20


async def _large(got: Request) -> Reply:
    return Response(PIECE * 256)


async def test_a_slow_client_gets_the_end_of_a_last_reply_too(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(inbound, "STALL_SECONDS", 0.2)
    monkeypatch.setattr(inbound, "LINGER_SECONDS", 0.1)
    async with serving(_large, Limits(0.1, 0.1, 100)) as served, connected(served.url) as (reader, writer):
        await _sends_without_waiting(served, reader, writer)
        total = 0
        while piece := await reader.read(1 << 17):
            total += len(piece)
            await asyncio.sleep(0.01)
        assert total == 256 * len(PIECE)


async def test_shutdown_waits_until_what_was_written_is_taken() -> None:
    async with serving(_large) as served, connected(served.url) as (reader, writer):
        await _sends_without_waiting(served, reader, writer)
        closing = asyncio.create_task(served.server.close(5))
        assert not (await asyncio.wait([closing], timeout=0.05))[0]
        assert len(await ended(reader)) == 256 * len(PIECE)
        await asyncio.wait_for(closing, 5)


async def test_shutdown_lets_what_is_under_way_end() -> None:
    began, release = asyncio.Event(), asyncio.Event()

    async def handler(got: Request) -> Reply:
        began.set()
        await release.wait()
        return Response(PIECE * 100)

    async with (
        serving(handler) as served, connected(served.url) as (reader, writer), connected(served.url) as (idle, _),
    ):
        writer.write(request("/") * 2)
        await asyncio.wait_for(began.wait(), 5)
        closing = asyncio.create_task(served.server.close(5))
        assert await ended(idle) == b""
        release.set()
        got = await answer(reader)
        assert (len(got.body), got.headers["connection"]) == (100 * len(PIECE), "close")
        assert await ended(reader) == b""  # the one behind it may go elsewhere
        writer.close()
        await asyncio.wait_for(closing, 5)
        with pytest.raises(OSError, match=r"refused|Connect"):
            await ask(served.url, request("/"))


async def test_a_stream_that_shutdown_lets_end_is_the_last_reply_of_its_connection() -> None:
    served_targets, release = [], asyncio.Event()

    async def handler(got: Request) -> Reply:
        served_targets.append(got.target)
        out = got.stream(200, Headers())
        await out.begin()
        await release.wait()
        await out.end(b"end")
        return out

    async with serving(handler) as served, connected(served.url) as (reader, writer):
        writer.write(request("/1") + request("/2"))
        await reader.readuntil(b"\r\n\r\n")  # which said nothing of closing
        closing = asyncio.create_task(served.server.close(5))
        await asyncio.sleep(0)
        release.set()
        assert await ended(reader) == b"3\r\nend\r\n0\r\n\r\n"
        await asyncio.wait_for(closing, 5)
    assert served_targets == ["/1"]


async def test_shutdown_cuts_what_does_not_end() -> None:
    handler = Endless()
    async with serving(handler, grace_seconds=0.05) as served, connected(served.url) as (reader, writer):
        writer.write(request("/"))
        await asyncio.wait_for(handler.began.wait(), 5)
        await served.server.close(0.05)
        assert handler.cancelled.is_set()
        assert await ended(reader) == b""


async def test_many_connections_leave_nothing_behind() -> None:
    async with serving() as served:
        await _rounds(served.url, 200)
        held = resident_bytes()
        await _rounds(served.url, 1500)
        assert resident_bytes() - held < 8 << 20
        assert len(served.server.connections) < 50


async def _rounds(url: str, count: int) -> None:
    for _ in range(count):
        async with connected(url) as (reader, writer):
            writer.write(WHOLE)
            assert (await answer(reader)).status == 200


REQUESTS = st.lists(
    st.tuples(st.binary(max_size=40), st.booleans(), st.dictionaries(st.sampled_from(["x-a", "x-b"]), st.just("v"))),
    min_size=1, max_size=5,
)


@pytest.fixture
async def url() -> AsyncIterator[str]:
    async with serving() as served:
        yield served.url


async def test_h11_and_we_agree_wherever_the_bytes_are_cut(url: str) -> None:
    """Requests as h11 writes them, and what h11 reads of the replies."""
    loop = asyncio.get_running_loop()

    async def example(asked: list[tuple[bytes, bool, dict[str, str]]], at: list[int]) -> None:
        peer = h11.Connection(h11.CLIENT)
        async with connected(url) as (reader, writer):
            for body, chunked, more in asked:
                how = ("transfer-encoding", "chunked") if chunked else ("content-length", str(len(body)))
                head = h11.Request(method="POST", target="/", headers=[("host", "x"), how, *more.items()])
                raw = b"".join(peer.send(event) or b"" for event in (head, h11.Data(data=body), h11.EndOfMessage()))
                for begin, end in _cuts(len(raw), at):
                    writer.write(raw[begin:end])
                    await writer.drain()
                    await asyncio.sleep(0)
                told = b""
                while not isinstance(event := peer.next_event(), h11.EndOfMessage):
                    if event is h11.NEED_DATA:
                        peer.receive_data(await asyncio.wait_for(reader.read(65536), 5))
                    elif isinstance(event, h11.Data):
                        told += event.data
                assert told == body
                peer.start_next_cycle()

    @settings(max_examples=60, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(REQUESTS, st.lists(st.integers(0, 300), max_size=6))
    def fuzz(asked: list[tuple[bytes, bool, dict[str, str]]], at: list[int]) -> None:
        asyncio.run_coroutine_threadsafe(example(asked, at), loop).result(20)

    await asyncio.to_thread(fuzz)


def _cuts(length: int, at: list[int]) -> list[tuple[int, int]]:
    marks = sorted({0, length, *(place % (length + 1) for place in at)})
    return list(pairwise(marks))


NOISE = st.lists(
    st.sampled_from([
        b"GET / HTTP/1.1\r\n", b"POST / HTTP/1.0\r\n", b"host: a\r\n", b"content-length: 5\r\n", b"\r\n", b"hello",
        b"5\r\n",
        b"transfer-encoding: chunked\r\n", b"0\r\n\r\n", b"expect: 100-continue\r\n", b"upgrade: h2c\r\n",
        b"connection: upgrade\r\n", b"connection: close\r\n", b"HEAD /x HTTP/1.1\r\n", b"CONNECT x HTTP/1.1\r\n", b"\0",
        b"\r",
    ]) | st.binary(max_size=6),
    max_size=14,
)


async def test_whatever_comes_in_whatever_pieces_is_answered_with_http_or_with_silence(
    url: str, caplog: pytest.LogCaptureFixture
) -> None:
    loop = asyncio.get_running_loop()

    async def example(pieces: list[bytes]) -> None:
        async with connected(url) as (reader, writer):
            for piece in pieces:
                writer.write(piece)
                await asyncio.sleep(0)
            writer.write_eof()
            reply = await ended(reader)
        assert not reply or reply.startswith(b"HTTP/1.1 "), reply
        assert (await ask(url, WHOLE)).body == b"hello"

    @settings(max_examples=200, deadline=None, suppress_health_check=list(HealthCheck), database=None)
    @given(NOISE)
    def fuzz(pieces: list[bytes]) -> None:
        asyncio.run_coroutine_threadsafe(example(pieces), loop).result(20)

    await asyncio.to_thread(fuzz)
    assert not [one for one in caplog.messages if "exception" in one.lower()]
