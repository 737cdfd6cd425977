"""Both ends against aiohttp, which is nobody of ours: plain, over TLS, at length, and in numbers."""

from __future__ import annotations

import asyncio
import datetime
import hashlib
import io
import ipaddress
import ssl
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass
from pathlib import Path

import aiohttp
import pytest
from aiohttp import web
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec

from metaclaw.errors import UnreachableError, WireError
from metaclaw.wire.head import Headers
from metaclaw.wire.messages import Reply, Request
from wire_ends import connections, got, resident_bytes, serving

PIECE = bytes(range(256)) * 256
BODIES = [b"", b"x", b"hello" * 20_000, PIECE * 64]


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize("chunked", [False, True])
async def test_aiohttp_asks_us(body: bytes, chunked: bool) -> None:
    async with serving() as served, aiohttp.ClientSession(served.url) as session:
        for path in ("/", "/a%20b?c=d%20"):
            async with session.post(path, data=pieces(body) if chunked else io.BytesIO(body)) as reply:
                assert reply.headers["x-line"] == f"POST {path} 1.1"
                assert await reply.read() == body


async def pieces(body: bytes) -> AsyncIterator[bytes]:
    for at in range(0, len(body), 30_000):
        yield body[at : at + 30_000]


async def test_aiohttp_asks_us_in_numbers() -> None:
    async with serving() as served, aiohttp.ClientSession(served.url) as session:

        async def one(number: int) -> bool:
            async with session.post("/", data=b"%d" % number, expect100=not number % 7) as reply:
                return await reply.read() == b"%d" % number

        for begin in range(0, 2000, 50):
            assert all(await asyncio.gather(*(one(n) for n in range(begin, begin + 50))))


@pytest.mark.parametrize("size", [1, 40])
async def test_a_stream_of_many_megabytes_through_both_ends(size: int) -> None:
    """aiohttp serves, our client reads, our server passes on, aiohttp reads: the bytes, and how little is held."""
    count = size * 16

    async def source(request: web.Request) -> web.StreamResponse:
        out = web.StreamResponse()
        await out.prepare(request)
        for _ in range(count):
            await out.write(PIECE)
        return out

    async with aiohttp_serving(source) as url, connections() as pool:

        async def relay(request: Request) -> Reply:
            reply = await pool.ask("GET", url, "/", Headers(), None)
            out = request.stream(reply.status, Headers())
            while piece := await reply.readany():
                await out.write(piece)
            await out.end()
            return out

        async with serving(relay) as served, aiohttp.ClientSession(served.url) as session:
            before = resident_bytes()
            told, wanted = hashlib.sha256(), hashlib.sha256()
            async with session.get("/") as reply:
                async for piece in reply.content.iter_any():
                    told.update(piece)
            for _ in range(count):
                wanted.update(PIECE)
            assert told.digest() == wanted.digest()
            assert resident_bytes() - before < 16 << 20


@asynccontextmanager
async def aiohttp_serving(
    handler: object, context: ssl.SSLContext | None = None, **options: object
) -> AsyncIterator[str]:
    app = web.Application(client_max_size=1 << 26)
    app.router.add_route("*", "/{path:.*}", handler)  # type: ignore[arg-type]
    runner = web.AppRunner(app, access_log=None, shutdown_timeout=0.1, **options)  # type: ignore[arg-type]
    await runner.setup()
    try:
        await web.TCPSite(runner, "127.0.0.1", 0, ssl_context=context).start()
        yield f"http{'s' if context else ''}://127.0.0.1:{runner.addresses[0][1]}"
    finally:
        await runner.cleanup()


async def whole_echo(request: web.Request) -> web.Response:
    response = web.Response(body=await request.read(), headers={"x-path": request.raw_path})
    if request.query.get("how") == "gzip":
        response.enable_compression(web.ContentCoding.gzip)
    if request.query.get("how") == "chunked":
        response.enable_chunked_encoding()
    return response


@pytest.mark.parametrize("body", BODIES, ids=len)
@pytest.mark.parametrize("how", ["plain", "gzip", "chunked"])
async def test_we_ask_aiohttp(body: bytes, how: str) -> None:
    async with aiohttp_serving(whole_echo) as url, connections() as pool:
        for _ in range(2):
            reply = await pool.ask("POST", f"{url}/v1", f"/x?how={how}", Headers({"x-a": "b"}), body)
            assert (reply.status, reply.headers["x-path"]) == (200, f"/v1/x?how={how}")
            assert await reply.read() == body
        assert len(pool._open) == 1


async def test_we_ask_aiohttp_in_numbers() -> None:
    async with aiohttp_serving(whole_echo, keepalive_timeout=0.02) as url, connections() as pool:

        async def one(number: int) -> bool:
            reply = await pool.ask("POST", url, "/", Headers(), b"%d" % number)
            return await reply.read() == b"%d" % number

        for begin in range(0, 2000, 50):
            assert all(await asyncio.gather(*(one(n) for n in range(begin, begin + 50))))
            if begin % 500 == 0:
                await asyncio.sleep(0.03)  # long enough that it hangs up on some


@dataclass(frozen=True)
class Certificate:
    """For 127.0.0.1, signed by itself."""

    server: ssl.SSLContext
    path: Path


def certificate(folder: Path, address: str = "127.0.0.1") -> Certificate:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "a test")])
    now = datetime.datetime.now(datetime.UTC)
    made = (
        x509.CertificateBuilder().subject_name(name).issuer_name(name).public_key(key.public_key())
        .serial_number(x509.random_serial_number()).not_valid_before(now - datetime.timedelta(days=1))
        .not_valid_after(now + datetime.timedelta(days=1))
        .add_extension(x509.SubjectAlternativeName([x509.IPAddress(ipaddress.ip_address(address))]), critical=False)
        .add_extension(x509.BasicConstraints(ca=True, path_length=0), critical=True)
        .sign(key, hashes.SHA256())
    )
    path, secret = folder / "certificate.pem", folder / "key.pem"
    path.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    secret.write_bytes(key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ))
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH)
    context.load_cert_chain(path, secret)
    return Certificate(context, path)


async def test_over_tls(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    known = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(known.path))
    async with aiohttp_serving(whole_echo, known.server) as url, connections() as pool:
        for body in BODIES:
            reply = await pool.ask("POST", url, "/", Headers(), body)
            assert await reply.read() == body
        assert len(pool._open) == 1


async def test_a_pooled_tls_connection_that_was_closed_costs_one_more_try(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    known = certificate(tmp_path)
    monkeypatch.setenv("SSL_CERT_FILE", str(known.path))
    async with aiohttp_serving(whole_echo, known.server, keepalive_timeout=0.01) as url, connections() as pool:
        for number in range(20):
            reply = await pool.ask("POST", url, "/", Headers(), b"%d" % number)
            assert await reply.read() == b"%d" % number
            await asyncio.sleep(0.005 * (number % 5))


async def test_a_certificate_that_nobody_vouches_for(tmp_path: Path) -> None:
    async with aiohttp_serving(whole_echo, certificate(tmp_path).server) as url, connections() as pool:
        with pytest.raises(UnreachableError, match="certificate verify failed"):
            await got(pool, url)
        assert not pool._open


async def test_a_certificate_for_somebody_else(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    other = certificate(tmp_path, "127.0.0.2")
    monkeypatch.setenv("SSL_CERT_FILE", str(other.path))
    async with aiohttp_serving(whole_echo, other.server) as url, connections() as pool:
        with pytest.raises(UnreachableError, match="mismatch"):
            await got(pool, url)


async def test_tls_spoken_to_who_does_not(tmp_path: Path) -> None:
    async with serving() as served, connections() as pool:
        with pytest.raises(WireError):
            await got(pool, served.url.replace("http:", "https:"))
    async with aiohttp_serving(whole_echo, certificate(tmp_path).server) as url, connections() as pool:
        with pytest.raises(WireError):
            await got(pool, url.replace("https:", "http:"))


async def test_a_handshake_that_does_not_come_to_an_end() -> None:
    async def deaf(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        await reader.read()
        writer.close()

    listening = await asyncio.start_server(deaf, "127.0.0.1", 0)
    async with listening, connections(connect_seconds=0.1) as pool:
        with pytest.raises(TimeoutError):
            await got(pool, f"https://127.0.0.1:{listening.sockets[0].getsockname()[1]}")
