"""Connections: heads have a deadline, idle ones end, and what is not HTTP is answered without being quoted."""

from __future__ import annotations

import asyncio
import time
from pathlib import Path

import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from metaclaw.runtime import gateway
from raw_http import answer, ask, connected, ended, request
from running_gateway import CHAT, TOKEN, error_of, serving, until
from upstream_server import chat_body

KEY = f"authorization: Bearer {TOKEN}"
HALF_A_HEAD = b"GET /healthz HTTP/1.1\r\nhost: 127.0.0.1\r\n"
SECRET = "sk-" + "proj-Zq7Rt5YwZq7Rt5YwZq7Rt5Yw"


async def drip(writer: asyncio.StreamWriter, reader: asyncio.StreamReader, piece: bytes) -> float:
    """A drop each few milliseconds until the other side hangs up. How long it took."""
    began = time.perf_counter()
    gone = asyncio.create_task(ended(reader))
    while not gone.done() and time.perf_counter() - began < 10:
        writer.write(piece)
        await asyncio.wait([gone], timeout=0.02)
    assert await gone == b""
    return time.perf_counter() - began


async def test_a_head_that_comes_in_drops_is_given_up(tmp_path: Path) -> None:
    async with serving(tmp_path, gateway={"head_seconds": 0.3}) as door:
        async with connected(door.gateway.url) as (reader, writer):
            writer.write(HALF_A_HEAD)
            assert 0.2 < await drip(writer, reader, b"x-a: b\r\n") < 5
        async with connected(door.gateway.url) as (reader, writer):  # the same for a later one on the connection
            writer.write(request("/healthz"))
            assert (await answer(reader)).status == 200
            writer.write(HALF_A_HEAD)
            assert 0.2 < await drip(writer, reader, b"x-a: b\r\n") < 5
        assert (await door.ask(chat_body()))[0].status == 200


async def test_a_connection_that_says_nothing_is_given_up(tmp_path: Path) -> None:
    async with serving(tmp_path, gateway={"head_seconds": 0.2}) as door, connected(door.gateway.url) as (reader, _):
        assert await ended(reader) == b""


async def test_a_connection_stays_open_between_requests_for_its_idle_time_only(tmp_path: Path) -> None:
    times = {"head_seconds": 0.2, "keep_alive_seconds": 0.6}
    async with serving(tmp_path, gateway=times) as door, connected(door.gateway.url) as (reader, writer):
        for _ in range(2):
            writer.write(request("/healthz"))
            assert (await answer(reader)).status == 200
            with pytest.raises(TimeoutError):
                await asyncio.wait_for(reader.read(1), 0.35)  # longer than a head may take
        assert await ended(reader) == b""


async def test_a_long_reply_is_not_cut_by_the_time_for_heads(tmp_path: Path) -> None:
    times = {"head_seconds": 0.1, "keep_alive_seconds": 0.1, "body_seconds": 0.1}
    async with serving(tmp_path, gateway=times) as door:
        release = asyncio.Event()
        plain = door.upstream.answer

        async def slow(got: object) -> object:
            await release.wait()
            return await plain(got)  # type: ignore[arg-type]

        door.upstream.answer = slow  # type: ignore[assignment]
        asked = asyncio.create_task(door.ask(chat_body()))
        assert not (await asyncio.wait([asked], timeout=0.5))[0]
        release.set()
        assert (await asked)[0].status == 200


async def test_connections_are_bounded(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(gateway, "CONNECTIONS_PER_REQUEST", 2)
    async with serving(tmp_path, gateway={"max_in_flight": 1}) as door:
        async with connected(door.gateway.url) as (reader, writer), connected(door.gateway.url) as (other, _):
            writer.write(request("/healthz"))
            assert (await answer(reader)).status == 200
            async with connected(door.gateway.url) as (third, _):
                assert await ended(third) == b""
            assert not other.at_eof()
        server = door.gateway._server
        assert server
        await until(lambda: not server.connections)
        assert (await door.ask(chat_body()))[0].status == 200


NOT_HTTP = [
    b"GET / HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: Bearer " + SECRET.encode() + b"\x00\r\n\r\n",
    b"GET /" + SECRET.encode() + b"\x01 HTTP/1.1\r\n\r\n",
    b"\x16\x03\x01" + SECRET.encode() + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\n" + SECRET.encode() + b"\r\n\r\n",
    b"GET / HTTP/1.1\r\nx: " + SECRET.encode() * 400 + b"\r\n\r\n",
    b"POST / HTTP/1.1\r\nhost: a\r\ncontent-length: " + SECRET.encode() + b"\r\n\r\n",
    b"GET /" + SECRET.encode() * 400 + b" HTTP/1.1\r\n\r\n",
]


@pytest.mark.parametrize("raw", NOT_HTTP)
async def test_what_is_not_http_is_refused_and_neither_told_back_nor_logged(
    tmp_path: Path, raw: bytes, caplog: pytest.LogCaptureFixture
) -> None:
    caplog.set_level("DEBUG")
    async with serving(tmp_path) as door:
        async with connected(door.gateway.url) as (reader, writer):
            writer.write(raw)
            got = await answer(reader)
            assert await ended(reader) == b""
        assert (got.status, error_of(got.body)["code"]) == (400, "bad_request")
        assert SECRET.encode() not in got.body
    assert SECRET not in caplog.text


async def test_a_bug_of_ours_is_answered_and_logged_without_what_was_sent(
    tmp_path: Path, caplog: pytest.LogCaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(*_: object, **__: object) -> None:
        raise ValueError(f"cannot read {SECRET}")

    monkeypatch.setattr("metaclaw.gateway.turn.recognise", fail)
    caplog.set_level("DEBUG")
    async with serving(tmp_path) as door:
        reply, body = await door.ask(chat_body(SECRET))
        assert (reply.status, error_of(body)["code"]) == (500, "internal_error")
        assert SECRET.encode() not in body
    assert "ValueError" in caplog.text
    assert "in fail" in caplog.text  # where it happened
    assert SECRET not in caplog.text


async def test_bodies_and_keys_are_in_no_log(tmp_path: Path, caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level("DEBUG")
    async with serving(tmp_path) as door:
        await door.ask(chat_body(SECRET), x_api_key=SECRET, x_session_id=SECRET)
        await door.ask(b'{"messages": "' + SECRET.encode() + b'"}')
        await door.ask(b"{" + SECRET.encode())
        await door.ask(chat_body(SECRET), authorization=f"Bearer {SECRET}")
        async with door.http.get(f"/v1/{SECRET}") as reply:
            assert reply.status == 404
    assert SECRET not in caplog.text
    assert TOKEN not in caplog.text


LINES = st.lists(
    st.sampled_from([
        "GET / HTTP/1.1", f"POST {CHAT} HTTP/1.1", "POST /healthz HTTP/1.0", "host: 127.0.0.1", "host: evil", KEY,
        "content-length: 5", "content-length: -1", "content-length: 5, 6", "transfer-encoding: chunked",
        "transfer-encoding: gzip", "expect: 100-continue", "connection: upgrade", "upgrade: websocket",
        "content-encoding: gzip", "connection: close", " folded", ":", "5", "hello", "0", "",
    ]).map(str.encode) | st.binary(max_size=40),
    max_size=12,
)
RAW = st.binary(max_size=300) | LINES.map(b"\r\n".join) | LINES.map(lambda lines: b"\n".join([*lines, b"", b""]))


async def test_whatever_bytes_come_the_next_request_is_served(
    tmp_path: Path, caplog: pytest.LogCaptureFixture
) -> None:
    """Hypothesis is synchronous: it runs in a thread, and each example on the gateway's own loop."""
    async with serving(tmp_path, gateway={"body_seconds": 0.05, "head_seconds": 0.05}) as door:
        loop = asyncio.get_running_loop()

        async def example(raw: bytes) -> None:
            async with connected(door.gateway.url) as (reader, writer):
                writer.write(raw)
                writer.write_eof()
                said = await ended(reader)
            statuses = {int(part[:3]) for part in said.split(b"HTTP/1.1 ")[1:] if part[:3].isdigit()}
            assert not said or statuses, said
            assert all(status < 500 for status in statuses), said
            assert (await ask(door.gateway.url, request("/healthz"))).status == 200

        @settings(max_examples=150, deadline=None, suppress_health_check=list(HealthCheck), database=None)
        @given(RAW)
        def fuzz(raw: bytes) -> None:
            asyncio.run_coroutine_threadsafe(example(raw), loop).result(20)

        await asyncio.to_thread(fuzz)
    assert "failed with" not in caplog.text
