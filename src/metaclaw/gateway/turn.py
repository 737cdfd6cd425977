"""One turn's life, top to bottom: read, look up skills, inject, send, relay, keep, end.

In: a client's request. Out: the upstream's reply, byte for byte, with our headers. Where an upstream fails before any
of its reply has reached the client, the next one is asked. A turn is on disk before the end of its reply reaches the
client. Learning is told afterwards and can neither delay nor fail a reply.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Iterable, Mapping, Sequence
from contextlib import aclosing
from functools import partial
from typing import TYPE_CHECKING, Any

from metaclaw.dialects import sse
from metaclaw.dialects.base import Dialect, object_or_empty
from metaclaw.dialects.translation import StreamTranslation, reaches
from metaclaw.errors import ToolsRefusedError, UpstreamError
from metaclaw.gateway import tool_rounds
from metaclaw.gateway.exchange import Exchange
from metaclaw.gateway.sessions import Recognised, recognise
from metaclaw.gateway.sidecalls import DECLARED, SIDE_HEADER
from metaclaw.gateway.toolbox import REFUSALS, Toolbox, ToolTurn
from metaclaw.journal.open_sessions import OpenSessions
from metaclaw.journal.recorder import Recorder
from metaclaw.upstream.client import Asking, UpstreamClient, next_bytes, read
from metaclaw.upstream.headers import for_client
from metaclaw.upstream.route import Route, Router
from metaclaw.wire.client import Reply as UpstreamReply
from metaclaw.wire.head import Headers
from metaclaw.wire.messages import Reply, Request, Response, Stream

if TYPE_CHECKING:
    from metaclaw.context.live import LiveContext  # numpy comes with it, a tenth of a second

log = logging.getLogger(__name__)

TOO_MANY = 429
TOGETHER_BYTES = 64 * 1024
SKILLS_HEADER = "x-metaclaw-skills"


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
        sessions: OpenSessions,
        activity: Activity,
        toolbox: Toolbox,
    ) -> None:
        self._namespace = namespace
        self._context = context
        self._router = router
        self._client = client
        self._recorder = recorder
        self._sessions = sessions
        self._activity = activity
        self._toolbox = toolbox

    async def handle(self, request: Request, dialect: Dialect) -> Reply:
        if request.headers.get(SIDE_HEADER):
            return await self._serve(request, dialect)
        self._activity.begin()
        try:
            return await self._serve(request, dialect)
        finally:
            self._activity.end()

    async def settle(self) -> None:
        await self._recorder.settle()

    async def _serve(self, request: Request, dialect: Dialect) -> Reply:
        parsed = dialect.parse(request.body)
        place = self._place(recognise(request.headers, dialect, parsed, request.params.get("tag", "")))
        wanted = request.headers.get(SKILLS_HEADER, "on").lower() != "off" and place.side in ("", DECLARED)
        taken = parsed.tokens_taken()
        session = "" if place.side else place.session  # side calls take no part in hold-out and trials
        context = await self._context.for_query(
            parsed.query, with_skills=wanted, taken_tokens=taken, session=session
        )
        keyed = self._client.has_provider_key(request.headers)
        if self._router.is_lost:
            await self._router.regained()
        routes = _within_reach(dialect, self._router.routes(model_named(parsed.body), keyed=keyed, session=session))
        exchange = Exchange(dialect, parsed, place, context, self._toolbox.ids.request(dialect, parsed))
        if context.composition.tools:
            exchange.tools = await self._toolbox.offer(context.composition.tools, dialect, exchange.asked)
        try:
            return await self._answer(request, exchange, routes)
        except UpstreamError as error:
            exchange.status = error.status
            await self._keep(exchange)
            raise
        except (asyncio.CancelledError, ConnectionError):  # the client left
            self._keep(exchange)
            raise

    def _place(self, recognised: Recognised) -> Recognised:
        """With a session's name, also where nobody sent one."""
        place = recognised
        if not place.session:
            session, agent = self._sessions.place(place.prefix, place.trace, opens=not place.side)
            place = Recognised(session, agent, place.prefix, place.trace, place.side, place.closes)
        if place.closes:
            self._sessions.forget(place.session)
        return place

    async def _answer(self, request: Request, exchange: Exchange, routes: Sequence[Route]) -> Reply:
        """What the first of the routes says that replies, else what the last one says. An engine that ended before a
        byte of its reply came is waited for, once.
        """
        *others, last = routes
        for route in others:
            try:
                return await self._attempt(request, exchange, route)
            except UpstreamError as error:
                log.warning("turn %s goes on to the next upstream: %s", exchange.id, error)
        try:
            return await self._attempt(request, exchange, last, is_last=True)
        except UpstreamError as error:
            again = await self._router.instead_of(last, error)
            if again is None:
                raise
            log.warning("turn %s begins again with another engine: %s", exchange.id, error)
        return await self._attempt(request, exchange, again, is_last=True)

    async def _attempt(
        self, request: Request, exchange: Exchange, route: Route, *, is_last: bool = False
    ) -> Reply:
        """Raises `UpstreamError` only while nothing has reached the client. The last one's refusal is its reply."""
        with self._router.lease(route) as exchange.lease:
            if exchange.tools and self._toolbox.refuses(route, exchange.request):
                exchange.tools = None
            try:
                try:
                    return await self._ask(request, exchange, route, is_last=is_last)
                except ToolsRefusedError:  # nothing of it has reached the client
                    exchange.tools = None
                    told = await self._ask(request, exchange, route, is_last=is_last)
                    if exchange.status < 400:
                        self._toolbox.refused(route, exchange.request)
                    return told
            except UpstreamError as error:
                self._router.failed(route, error)
                raise

    async def _ask(
        self, request: Request, exchange: Exchange, route: Route, *, is_last: bool
    ) -> Reply:
        exchange.aim(route)
        exchange.lease.asks()
        async with self._post(request, exchange) as reply:
            exchange.status = reply.status
            if exchange.tools and reply.status in REFUSALS:
                raise ToolsRefusedError(reply.status, "upstream_refused", f"The upstream {route.url} took no tools.")
            if reply.status == TOO_MANY or reply.status >= 500:
                refusal = _refusal(reply, route)
                if not is_last:
                    raise refusal
                self._router.failed(route, refusal)
            return await self._relay(request, reply, exchange, is_last=is_last)

    def _post(self, request: Request, exchange: Exchange) -> Asking:
        """Send the request of the round under way."""
        wire = exchange.leg.upstream
        path = wire.PATH if exchange.leg.translation else with_query(wire.PATH, request)
        return self._client.post(exchange.route, path, exchange.body(), request.headers, wire.NAME)

    async def _relay(
        self, request: Request, reply: UpstreamReply, exchange: Exchange, *, is_last: bool
    ) -> Reply:
        if reply.content_type == "text/event-stream" and reply.status < 400:
            # While another could still answer, the status line waits for the first bytes.
            first = b"" if is_last else await _first_bytes(reply, exchange.route)
            if exchange.tools:
                return await self._relay_rounds(request, reply, exchange, exchange.tools, first)
            return await self._relay_stream(request, reply, exchange, first)
        return await self._relay_whole(request, reply, exchange)

    async def _relay_whole(self, request: Request, reply: UpstreamReply, exchange: Exchange) -> Response:
        """Nothing has reached the client yet, whatever fails here."""
        raw = exchange.hear_whole(await read(reply, exchange.route))
        told = exchange.leg.whole(raw, reply.status, exchange.asked.body)
        if exchange.tools and reply.status < 300:
            ask = partial(self._post, request, exchange)
            told = await tool_rounds.whole(exchange.tools, exchange.leg, exchange.route, told, ask)
        exchange.take(told)
        exchange.reader.whole(told)
        if reply.status < 300 and not exchange.reader.finished and not object_or_empty(told):
            raise _garbage(raw, exchange.route)
        await self._keep(exchange)
        headers = _headers(reply, exchange)
        if told is not raw:
            headers["content-type"] = "application/json"
        return Response(status=reply.status, body=told, headers=headers)

    async def _relay_stream(
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
                    ready += await self._forward(out, _in_clients_words(splitter.feed(heard), translation), exchange)
                else:
                    ready += await self._pass_on(out, splitter.block(heard), exchange)
                if reply.waiting or len(ready) > TOGETHER_BYTES:  # else the end, or more, goes along
                    await out.write(ready)
                    ready = b""
                chunk = await next_bytes(reply, exchange.route)
        except UpstreamError as error:  # the status line is out: the error travels in the stream
            failure = error
        rest = splitter.rest + exchange.unheard
        if translation:
            owed = translation.end() if failure is None else ()
            ready += await self._forward(out, [*_in_clients_words([rest], translation), *owed], exchange)
            rest = b""
        await self._end(out, rest, exchange, failure, ready)
        return out

    async def _relay_rounds(
        self, request: Request, reply: UpstreamReply, exchange: Exchange, tools: ToolTurn, first: bytes
    ) -> Reply:
        """The same where the model may call tools of ours: the client's stream is then made of several."""
        out = request.stream(reply.status, _headers(reply, exchange))
        if reply.waiting and not first:
            await out.begin()
        failure = None
        ask = partial(self._post, request, exchange)
        try:
            rounds = tool_rounds.events(tools, exchange.leg, exchange.route, reply, first, ask)
            async with aclosing(rounds):
                async for events in rounds:
                    await out.write(await self._forward(out, events, exchange))
        except UpstreamError as error:
            failure = error
        await self._end(out, b"", exchange, failure)
        return out

    async def _pass_on(self, out: Stream, events: bytes, exchange: Exchange) -> bytes:
        """Whole events in the client's own words: read one by one only where they may end the stream."""
        rest = exchange.reader.put_off(events)
        before = events[: len(events) - len(rest)]
        exchange.take(before)
        return await self._forward(out, sse.split(rest), exchange, before) if rest else before

    async def _forward(
        self, out: Stream, events: Iterable[bytes], exchange: Exchange, before: bytes = b""
    ) -> bytes:
        """What may go to the client: all before the end at once, the end when the turn is on disk.

        `before` are events that have been taken already.
        """
        ready = [before] if before else []
        for event in events:
            exchange.take(event)
            exchange.reader.event(event)
            if exchange.reader.done and exchange.record is None:
                if ready:
                    await out.write(b"".join(ready))
                    ready.clear()
                await self._keep(exchange)
            ready.append(event)
        return b"".join(ready)

    async def _end(
        self, out: Stream, rest: bytes, exchange: Exchange, failure: UpstreamError | None, ready: bytes = b""
    ) -> None:
        """What came without a closing blank line, then the end. A reply that broke off ends with an error instead."""
        exchange.take(rest)
        exchange.reader.catch_up()
        exchange.reader.event(rest)
        await self._keep(exchange)
        if exchange.reader.done or (exchange.reader.finished and not failure):
            await out.end(ready + rest)
        else:
            error = failure or _truncated(exchange.route)
            await out.end(ready + exchange.leg.client.error_event(error.status, error.code, str(error)))

    def _keep(self, exchange: Exchange) -> asyncio.Future[bool]:
        """Write the turn down, once, whatever becomes of its client; await this where the reply must wait for it."""
        if exchange.record is None:
            place, turn = exchange.place, exchange.turn(self._namespace)
            prefix = "" if place.agent else place.prefix
            exchange.record = self._recorder.turn(turn, prefix, place.closes)
        return exchange.record


def _within_reach(client: Dialect, routes: Sequence[Route]) -> Sequence[Route]:
    """Those that the client's format can be translated for; where there is none, all, and the first says why."""
    if len(routes) == 1:
        return routes
    return [route for route in routes if reaches(client, route.formats)] or routes


def _in_clients_words(events: Iterable[bytes], translation: StreamTranslation) -> Iterable[bytes]:
    return (translated for event in events for translated in translation.feed(event))


def _headers(reply: UpstreamReply, exchange: Exchange) -> Headers:
    """The upstream's headers and ours."""
    passed = for_client(reply.headers)
    passed.update(exchange.headers())
    return passed


def with_query(path: str, request: Request) -> str:
    """The upstream's `path` with the client's query, as it came: for an upstream of the client's own format."""
    return f"{path}?{request.query}" if request.query else path


def model_named(body: Mapping[str, Any]) -> str | None:
    """The model that a request asks for."""
    model = body.get("model")
    return model if isinstance(model, str) else None


async def _first_bytes(reply: UpstreamReply, route: Route) -> bytes:
    """Raises `UpstreamError` where none come."""
    first = await next_bytes(reply, route)
    if not first:
        raise _truncated(route)
    return first


def _refusal(reply: UpstreamReply, route: Route) -> UpstreamError:
    return UpstreamError(
        reply.status, "upstream_refused", f"The upstream {route.url} answered {reply.status}.",
        reply.headers.get("retry-after"),
    )


def _garbage(raw: bytes, route: Route) -> UpstreamError:
    shown = raw[:200].decode(errors="replace")
    return UpstreamError(
        502, "upstream_garbage", f"The upstream {route.url} answered something that is not JSON: {shown!r}. Try again."
    )


def _truncated(route: Route) -> UpstreamError:
    return UpstreamError(
        502, "upstream_broke_off", f"The upstream {route.url} ended its stream before the reply did. Try again."
    )

