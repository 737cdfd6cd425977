"""One turn's life, top to bottom: read, look up skills, inject, send, relay, keep, end.

In: a client's request. Out: the upstream's reply, byte for byte, with our headers, which `relay` passes on. Where an
upstream fails before any of its reply has reached the client, the next one is asked. Learning is told afterwards and
can neither delay nor fail a reply.
"""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Any

from metaclaw.dialects.base import Dialect, is_overfull
from metaclaw.dialects.translation import reaches
from metaclaw.errors import OverfullError, ToolsRefusedError, UpstreamError
from metaclaw.gateway.exchange import Exchange
from metaclaw.gateway.relay import Relay, overfull
from metaclaw.gateway.sessions import Recognised, recognise
from metaclaw.gateway.sidecalls import DECLARED, SIDE_HEADER
from metaclaw.gateway.toolbox import REFUSALS, Toolbox
from metaclaw.journal.open_sessions import OpenSessions
from metaclaw.upstream.client import UpstreamClient, read
from metaclaw.upstream.route import Route, Router
from metaclaw.wire.client import Reply as UpstreamReply
from metaclaw.wire.messages import Reply, Request

if TYPE_CHECKING:
    from metaclaw.context.live import LiveContext  # numpy comes with it, a tenth of a second

log = logging.getLogger(__name__)

TOO_MANY = 429
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
        context: LiveContext,
        router: Router,
        client: UpstreamClient,
        relay: Relay,
        sessions: OpenSessions,
        activity: Activity,
        toolbox: Toolbox,
    ) -> None:
        self._context = context
        self._router = router
        self._client = client
        self._relay = relay
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
        await self._relay.settle()

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
            await self._relay.keep(exchange)
            raise
        except (asyncio.CancelledError, ConnectionError):  # the client left
            self._relay.keep(exchange)
            raise

    def _place(self, recognised: Recognised) -> Recognised:
        """With a session's name, also where nobody sent one."""
        place = recognised
        known = self._sessions.of_reply(place.follows) if place.follows else None
        if known or not place.session:
            session, agent = known or self._sessions.place(place.prefix, place.trace, opens=not place.side)
            place = place._replace(session=session, agent=agent)
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
                return await self._ask_with_ours(request, exchange, route, is_last=is_last)
            except UpstreamError as error:
                self._router.failed(route, error)
                raise

    async def _ask_with_ours(self, request: Request, exchange: Exchange, route: Route, *, is_last: bool) -> Reply:
        """Where something of ours makes it too long, nothing has reached the client: it is asked by itself."""
        try:
            return await self._ask_with_tools(request, exchange, route, is_last=is_last)
        except OverfullError as error:
            log.info("turn %s goes without skills: %s", exchange.id, error)
        exchange.leave_out()
        return await self._ask(request, exchange, route, is_last=is_last)

    async def _ask_with_tools(self, request: Request, exchange: Exchange, route: Route, *, is_last: bool) -> Reply:
        """Where they are refused, nothing has reached the client: it is asked without them."""
        try:
            return await self._ask(request, exchange, route, is_last=is_last)
        except ToolsRefusedError:
            exchange.tools = None
        told = await self._ask(request, exchange, route, is_last=is_last)
        if exchange.status < 400:
            self._toolbox.refused(route, exchange.request)
        return told

    async def _ask(
        self, request: Request, exchange: Exchange, route: Route, *, is_last: bool
    ) -> Reply:
        exchange.aim(route)
        exchange.lease.asks()
        async with self._relay.ask(request, exchange) as reply:
            exchange.status = reply.status
            if exchange.tools and reply.status in REFUSALS:
                if is_overfull(reply.status, await read(reply, route)):
                    raise overfull(reply.status, route)
                raise ToolsRefusedError(reply.status, "upstream_refused", f"The upstream {route.url} took no tools.")
            if reply.status == TOO_MANY or reply.status >= 500:
                refusal = _refusal(reply, route)
                if not is_last:
                    raise refusal
                self._router.failed(route, refusal)
            return await self._relay.pass_on(request, reply, exchange, is_last=is_last)


def _within_reach(client: Dialect, routes: Sequence[Route]) -> Sequence[Route]:
    """Those that the client's format can be translated for; where there is none, all, and the first says why."""
    if len(routes) == 1:
        return routes
    return [route for route in routes if reaches(client, route.formats)] or routes


def model_named(body: Mapping[str, Any]) -> str | None:
    """The model that a request asks for."""
    model = body.get("model")
    return model if isinstance(model, str) else None


def _refusal(reply: UpstreamReply, route: Route) -> UpstreamError:
    return UpstreamError(
        reply.status, "upstream_refused", f"The upstream {route.url} answered {reply.status}.",
        reply.headers.get("retry-after"),
    )
