"""One upstream's reply to the client: as it comes, whole, or made of several where the model calls tools of ours.

In: the reply, its status and headers read. Out: the client's. The turn is on disk before the end of its reply reaches
the client; a reply that breaks off after its beginning ends with an error in the client's own format.
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from contextlib import aclosing
from functools import partial

from metaclaw.dialects import sse
from metaclaw.dialects.base import is_overfull, object_or_empty
from metaclaw.dialects.translation import StreamTranslation
from metaclaw.errors import OverfullError, UpstreamError
from metaclaw.gateway import tool_rounds
from metaclaw.gateway.exchange import Exchange
from metaclaw.gateway.toolbox import ToolTurn
from metaclaw.journal.open_sessions import OpenSessions
from metaclaw.journal.recorder import Recorder
from metaclaw.upstream.client import Asking, UpstreamClient, next_bytes, read
from metaclaw.upstream.headers import for_client
from metaclaw.upstream.route import Route
from metaclaw.wire.client import Reply as UpstreamReply
from metaclaw.wire.head import Headers
from metaclaw.wire.messages import Reply, Request, Response, Stream

TOGETHER_BYTES = 64 * 1024


class Relay:
    """Asks an upstream, and passes on what it says. `keep` writes the turn down."""

    def __init__(
        self, namespace: str, client: UpstreamClient, recorder: Recorder, sessions: OpenSessions
    ) -> None:
        self._namespace = namespace
        self._client = client
        self._recorder = recorder
        self._sessions = sessions

    async def settle(self) -> None:
        """Return when nobody waits for a turn to be written down any more."""
        await self._recorder.settle()

    def ask(self, request: Request, exchange: Exchange) -> Asking:
        """Send the request of the round under way."""
        wire = exchange.leg.upstream
        path = wire.PATH if exchange.leg.translation else with_query(wire.PATH, request)
        return self._client.post(exchange.route, path, exchange.body(), request.headers, wire.NAME)

    async def pass_on(self, request: Request, reply: UpstreamReply, exchange: Exchange, *, is_last: bool) -> Reply:
        if reply.content_type == "text/event-stream" and reply.status < 400:
            # While another could still answer, the status line waits for the first bytes.
            first = b"" if is_last else await _first_bytes(reply, exchange.route)
            if exchange.tools:
                return await self._rounds(request, reply, exchange, exchange.tools, first)
            return await self._stream(request, reply, exchange, first)
        return await self._whole(request, reply, exchange)

    async def _whole(self, request: Request, reply: UpstreamReply, exchange: Exchange) -> Response:
        """Nothing has reached the client yet, whatever fails here."""
        raw = exchange.hear_whole(await read(reply, exchange.route))
        if exchange.has_ours and is_overfull(reply.status, raw):
            raise overfull(reply.status, exchange.route)
        told = exchange.leg.whole(raw, reply.status, exchange.asked.body)
        if exchange.tools and reply.status < 300:
            ask = partial(self.ask, request, exchange)
            told = await tool_rounds.whole(exchange.tools, exchange.leg, exchange.route, told, ask)
        exchange.take(told)
        exchange.reader.whole(told)
        if reply.status < 300 and not exchange.reader.finished and not object_or_empty(told):
            raise _garbage(raw, exchange.route)
        await self.keep(exchange)
        headers = _headers(reply, exchange)
        if told is not raw:
            headers["content-type"] = "application/json"
        return Response(status=reply.status, body=told, headers=headers)

    async def _stream(
        self, request: Request, reply: UpstreamReply, exchange: Exchange, first: bytes
    ) -> Reply:
        """Event by event, as they arrive; the one that ends the stream waits for the turn to be on disk."""
        out = request.stream(reply.status, _headers(reply, exchange))
        if reply.waiting and not first:
            await out.begin()
        splitter = sse.EventSplitter()
        translation = exchange.leg.stream(exchange.asked.body)
        failure = None
        ready = b""
        try:
            chunk = first or await next_bytes(reply, exchange.route)
            while chunk:
                heard = exchange.hear(chunk)
                if translation:
                    events = _in_clients_words(splitter.feed(heard), translation)
                    ready = await self._forward(out, events, exchange, ready)
                else:
                    ready = await self._as_they_are(out, splitter.block(heard), exchange, ready)
                if reply.waiting or len(ready) > TOGETHER_BYTES:  # else the end, or more, goes along
                    await out.write(ready)
                    ready = b""
                chunk = await next_bytes(reply, exchange.route)
        except UpstreamError as error:  # the status line is out: the error travels in the stream
            failure = error
        rest = splitter.rest + exchange.unheard
        if translation:
            owed = translation.end() if failure is None else ()
            ready = await self._forward(out, [*_in_clients_words([rest], translation), *owed], exchange, ready)
            rest = b""
        await self._end(out, rest, exchange, failure, ready)
        return out

    async def _rounds(
        self, request: Request, reply: UpstreamReply, exchange: Exchange, tools: ToolTurn, first: bytes
    ) -> Reply:
        """The same where the model may call tools of ours: the client's stream is then made of several."""
        out = request.stream(reply.status, _headers(reply, exchange))
        if reply.waiting and not first:
            await out.begin()
        failure = None
        ask = partial(self.ask, request, exchange)
        try:
            rounds = tool_rounds.events(tools, exchange.leg, exchange.route, reply, first, ask)
            async with aclosing(rounds):
                async for events in rounds:
                    await out.write(await self._forward(out, events, exchange))
        except UpstreamError as error:
            failure = error
        await self._end(out, b"", exchange, failure)
        return out

    async def _as_they_are(self, out: Stream, events: bytes, exchange: Exchange, before: bytes) -> bytes:
        """Whole events in the client's own words: read one by one only where they may end the stream."""
        rest = exchange.reader.put_off(events)
        more = events[: len(events) - len(rest)]
        exchange.take(more)
        before += more
        return await self._forward(out, sse.split(rest), exchange, before) if rest else before

    async def _forward(
        self, out: Stream, events: Iterable[bytes], exchange: Exchange, before: bytes = b""
    ) -> bytes:
        """What may go to the client: all before the end at once, the end when the turn is on disk.

        `before` are the events that have been taken already, and not yet been written.
        """
        ready = [before] if before else []
        for event in events:
            exchange.take(event)
            exchange.reader.event(event)
            if exchange.reader.done and exchange.record is None:
                if ready:
                    await out.write(b"".join(ready))
                    ready.clear()
                await self.keep(exchange)
            ready.append(event)
        return b"".join(ready)

    async def _end(
        self, out: Stream, rest: bytes, exchange: Exchange, failure: UpstreamError | None, ready: bytes = b""
    ) -> None:
        """What came without a closing blank line, then the end. A reply that broke off ends with an error instead."""
        exchange.take(rest)
        exchange.reader.catch_up()
        exchange.reader.event(rest)
        await self.keep(exchange)
        if exchange.reader.done or (exchange.reader.finished and not failure):
            await out.end(ready + rest)
        else:
            error = failure or _truncated(exchange.route)
            await out.end(ready + exchange.leg.client.error_event(error.status, error.code, str(error)))

    def keep(self, exchange: Exchange) -> asyncio.Future[bool]:
        """Write the turn down, once, whatever becomes of its client; await this where the reply must wait for it."""
        if exchange.record is None:
            place, turn = exchange.place, exchange.turn(self._namespace)
            prefix = "" if place.agent else place.prefix
            if exchange.reader.id and not place.side and not place.closes:
                self._sessions.replied(exchange.reader.id, place.session, place.agent)
            exchange.record = self._recorder.turn(turn, prefix, place.closes)
        return exchange.record


def _in_clients_words(events: Iterable[bytes], translation: StreamTranslation) -> Iterable[bytes]:
    return (translated for event in events for translated in translation.feed(event))


def _headers(reply: UpstreamReply, exchange: Exchange) -> Headers:
    """The upstream's headers and ours."""
    passed = for_client(reply.headers)
    passed.update(exchange.headers())
    return passed


async def _first_bytes(reply: UpstreamReply, route: Route) -> bytes:
    """Raises `UpstreamError` where none come."""
    first = await next_bytes(reply, route)
    if not first:
        raise _truncated(route)
    return first


def overfull(status: int, route: Route) -> OverfullError:
    return OverfullError(status, "upstream_refused", f"The upstream {route.url} finds it too long with what is ours.")


def _garbage(raw: bytes, route: Route) -> UpstreamError:
    shown = raw[:200].decode(errors="replace")
    return UpstreamError(
        502, "upstream_garbage", f"The upstream {route.url} answered something that is not JSON: {shown!r}. Try again."
    )


def _truncated(route: Route) -> UpstreamError:
    return UpstreamError(
        502, "upstream_broke_off", f"The upstream {route.url} ended its stream before the reply did. Try again."
    )


def with_query(path: str, request: Request) -> str:
    """The upstream's `path` with the client's query, as it came: for an upstream of the client's own format."""
    return f"{path}?{request.query}" if request.query else path
