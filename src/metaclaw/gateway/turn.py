"""One turn's life, top to bottom: read, look up skills, inject, send, relay, keep, end.

In: a client's request. Out: the upstream's reply, byte for byte, with our headers. A turn is on disk before the end of
its reply reaches the client. Learning is told afterwards and can neither delay nor fail a reply.
"""

from __future__ import annotations

import asyncio
import time
import uuid
from collections.abc import Callable, Iterable
from dataclasses import dataclass, field

import aiohttp
from aiohttp import web
from multidict import CIMultiDict

from metaclaw.context.live import Context, LiveContext
from metaclaw.dialects import sse
from metaclaw.dialects.base import Dialect, ReplyReader, Request
from metaclaw.dialects.translation import Leg, StreamTranslation, leg
from metaclaw.errors import UpstreamError
from metaclaw.gateway.sessions import session_of
from metaclaw.journal.recorder import Recorder
from metaclaw.types import Turn, TurnKind
from metaclaw.upstream import engine_tools
from metaclaw.upstream.client import UpstreamClient, chunks, read
from metaclaw.upstream.route import Route, Router

HOP_BY_HOP = frozenset(
    {"connection", "keep-alive", "transfer-encoding", "content-length", "server", "date", "trailer", "upgrade"}
)
MAX_KEPT_REPLY_BYTES = 4 * 1024 * 1024
SIDE_HEADER = "x-metaclaw-side"
SKILLS_HEADER = "x-metaclaw-skills"


@dataclass(slots=True)
class Exchange:
    """A turn in the making."""

    leg: Leg
    request: Request
    session: str
    kind: TurnKind
    context: Context
    route: Route
    reader: ReplyReader
    id: str = field(default_factory=lambda: f"turn-{uuid.uuid4().hex}")
    created_at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.perf_counter)
    first_byte: float | None = None
    status: int = 0
    kept: bytearray = field(default_factory=bytearray)
    record: asyncio.Task[bool] | None = None

    def take(self, piece: bytes) -> None:
        if self.first_byte is None:
            self.first_byte = time.perf_counter()
        if len(self.kept) < MAX_KEPT_REPLY_BYTES:
            self.kept += piece

    def headers(self) -> dict[str, str]:
        return {
            "x-metaclaw-turn": self.id,
            "x-metaclaw-session": self.session,
            "x-metaclaw-policy": self.route.policy,
            "x-metaclaw-generation": str(self.context.generation),
            "x-metaclaw-skills": ",".join(skill.ref for skill in self.context.composition.skills),
        }

    def turn(self, namespace: str) -> Turn:
        now = time.perf_counter()
        first = self.first_byte or now
        return Turn(
            id=self.id,
            namespace=namespace,
            session=self.session,
            kind=self.kind,
            dialect=self.leg.client.NAME,
            request=self.request.raw,
            response=bytes(self.kept),
            query=self.request.query,
            reply=self.reader.text,
            status=self.status,
            complete=self.reader.finished,
            skills=tuple(skill.ref for skill in self.context.composition.skills),
            injected=self.context.composition.text,
            generation=self.context.generation,
            policy=self.route.policy,
            usage=self.reader.usage,
            timings={"first_byte_seconds": first - self.started, "total_seconds": now - self.started},
            created_at=self.created_at,
        )


class Activity:
    """How many of the user's requests are under way. `on_change` hears the number; our own side calls do not count."""

    def __init__(self, on_change: Callable[[int], None] = lambda _: None) -> None:
        self.under_way = 0
        self._on_change = on_change

    def begin(self) -> None:
        self.under_way += 1
        self._on_change(self.under_way)

    def end(self) -> None:
        self.under_way -= 1
        self._on_change(self.under_way)


class TurnHandler:
    """Serves what asks a model for a reply, in every dialect. `settle` waits for what is still to be written down."""

    def __init__(
        self,
        namespace: str,
        context: LiveContext,
        router: Router,
        client: UpstreamClient,
        recorder: Recorder,
        activity: Activity,
    ) -> None:
        self._namespace = namespace
        self._context = context
        self._router = router
        self._client = client
        self._recorder = recorder
        self._activity = activity
        self._records: set[asyncio.Task[bool]] = set()

    async def handle(self, request: web.Request, dialect: Dialect) -> web.StreamResponse:
        if request.headers.get(SIDE_HEADER):
            return await self._serve(request, dialect, TurnKind.SIDE)
        self._activity.begin()
        try:
            return await self._serve(request, dialect, TurnKind.MAIN)
        finally:
            self._activity.end()

    async def settle(self) -> None:
        await asyncio.gather(*self._records)

    async def _serve(self, request: web.Request, dialect: Dialect, kind: TurnKind) -> web.StreamResponse:
        parsed = dialect.parse(await request.read())
        wanted = request.headers.get(SKILLS_HEADER, "on").lower() != "off"
        taken = parsed.tokens_taken()
        context = await self._context.for_query(parsed.query, with_skills=wanted, taken_tokens=taken)
        async with self._router.lease() as route:
            session = session_of(request.headers, dialect, parsed, request.match_info.get("tag", ""))
            exchange = Exchange(_leg(dialect, parsed, route), parsed, session, kind, context, route, dialect.reader())
            try:
                return await self._relay(request, exchange)
            except UpstreamError as error:
                exchange.status = exchange.status or error.status
                await self._keep(exchange)
                raise
            except (asyncio.CancelledError, ConnectionError):  # the client left
                self._keep(exchange)
                raise

    async def _relay(self, request: web.Request, exchange: Exchange) -> web.StreamResponse:
        injected = exchange.context.composition.text
        body = exchange.leg.request(exchange.request, injected, exchange.route.model)
        async with self._client.post(exchange.route, exchange.leg.upstream.PATH, body, request.headers) as reply:
            exchange.status = reply.status
            if reply.content_type == "text/event-stream":
                return await self._relay_stream(request, reply, exchange)
            return await self._relay_whole(reply, exchange)

    async def _relay_whole(self, reply: aiohttp.ClientResponse, exchange: Exchange) -> web.Response:
        raw = exchange.leg.whole(await read(reply, exchange.route), reply.status, exchange.request.body)
        exchange.take(raw)
        exchange.reader.whole(raw)
        await self._keep(exchange)
        return web.Response(status=reply.status, body=raw, headers=_headers(reply, exchange))

    async def _relay_stream(
        self, request: web.Request, reply: aiohttp.ClientResponse, exchange: Exchange
    ) -> web.StreamResponse:
        """Event by event, as they arrive; the one that ends the stream waits for the turn to be on disk."""
        out = web.StreamResponse(status=reply.status, headers=_headers(reply, exchange))
        await out.prepare(request)
        splitter = sse.EventSplitter()
        translation = exchange.leg.stream(exchange.request.body)
        failure = None
        try:
            async for chunk in chunks(reply, exchange.route):
                await self._forward(out, _in_clients_words(splitter.feed(chunk), translation), exchange)
        except UpstreamError as error:  # the status line is out: the error travels in the stream
            failure = error
        rest = splitter.rest
        if translation:
            owed = translation.end() if failure is None else ()
            await self._forward(out, [*_in_clients_words([rest], translation), *owed], exchange)
            rest = b""
        await self._end(out, rest, exchange, failure)
        return out

    async def _forward(self, out: web.StreamResponse, events: Iterable[bytes], exchange: Exchange) -> None:
        ready = bytearray()
        for event in events:
            exchange.take(event)
            exchange.reader.event(event)
            if exchange.reader.done and exchange.record is None:
                if ready:
                    await out.write(bytes(ready))
                    ready.clear()
                await self._keep(exchange)
            ready += event
        if ready:
            await out.write(bytes(ready))

    async def _end(
        self, out: web.StreamResponse, rest: bytes, exchange: Exchange, failure: UpstreamError | None
    ) -> None:
        """What came without a closing blank line, then the end. A reply that broke off ends with an error instead."""
        exchange.take(rest)
        exchange.reader.event(rest)
        await self._keep(exchange)
        if exchange.reader.done or (exchange.reader.finished and not failure):
            await out.write(rest)
        else:
            error = failure or _truncated(exchange.route)
            await out.write(exchange.leg.client.error_event(error.status, error.code, str(error)))
        await out.write_eof()

    def _keep(self, exchange: Exchange) -> asyncio.Future[bool]:
        """Write the turn down, once, whatever becomes of its client; await this where the reply must wait for it."""
        if exchange.record is None:
            exchange.record = asyncio.create_task(self._recorder.turn(exchange.turn(self._namespace)))
            self._records.add(exchange.record)
            exchange.record.add_done_callback(self._records.discard)
        return asyncio.shield(exchange.record)


def _leg(dialect: Dialect, request: Request, route: Route) -> Leg:
    found = leg(dialect, route.formats)
    return engine_tools.onto(found, request.body) if route.tools_as_text else found


def _in_clients_words(events: Iterable[bytes], translation: StreamTranslation | None) -> Iterable[bytes]:
    if translation is None:
        return events
    return (translated for event in events for translated in translation.feed(event))


def _headers(reply: aiohttp.ClientResponse, exchange: Exchange) -> CIMultiDict[str]:
    """The upstream's headers, and ours."""
    passed = passed_on(reply)
    passed.update(exchange.headers())
    return passed


def passed_on(reply: aiohttp.ClientResponse) -> CIMultiDict[str]:
    """The upstream's headers, repeated ones too, less what belongs to its connection with us."""
    return CIMultiDict((name, value) for name, value in reply.headers.items() if name.lower() not in HOP_BY_HOP)


def _truncated(route: Route) -> UpstreamError:
    return UpstreamError(
        502, "upstream_broke_off", f"The upstream {route.url} ended its stream before the reply did. Try again."
    )

