"""The rounds of a turn in which a model may call tools of ours, relayed as one reply.

In: the reply of the first round, and a way to ask for the next one. Out: the client's events as they come, or its whole
reply. Whatever ends the client's request ends the call and the round that are under way.
"""

from __future__ import annotations

from collections.abc import AsyncGenerator, Callable, Iterable, Sequence
from contextlib import aclosing

from metaclaw.dialects import sse
from metaclaw.dialects.base import error_in, object_or_empty
from metaclaw.dialects.translation import Leg
from metaclaw.errors import ToolsRefusedError, UpstreamError
from metaclaw.gateway.toolbox import REFUSALS, ToolTurn
from metaclaw.upstream.client import Asking, next_bytes, read
from metaclaw.upstream.route import Route
from metaclaw.wire.client import Reply as UpstreamReply

EVENTS = "text/event-stream"
Ask = Callable[[], Asking]
"Sends the turn's request of the round that begins."


async def events(
    turn: ToolTurn, leg: Leg, route: Route, reply: UpstreamReply, first: bytes, ask: Ask
) -> AsyncGenerator[Sequence[bytes], None]:
    """The client's events, of all rounds. Raises `UpstreamError` where one of them fails."""
    async with aclosing(_round(turn, leg, route, reply, first)) as round_:
        async for told in round_:
            yield told
    while await turn.step():
        async with ask() as following:
            if following.status >= 400 or following.content_type != EVENTS:
                raise refusal(following, await read(following, route), route)
            async with aclosing(_round(turn, leg, route, following, b"")) as round_:
                async for told in round_:
                    yield told


async def _round(
    turn: ToolTurn, leg: Leg, route: Route, reply: UpstreamReply, first: bytes
) -> AsyncGenerator[Sequence[bytes], None]:
    splitter, translation = sse.EventSplitter(), leg.stream(turn.asked.body)

    def told(found: Iterable[bytes]) -> list[bytes]:
        return [event for one in found for event in turn.feed(one)]

    def in_clients_words(found: Iterable[bytes]) -> Iterable[bytes]:
        return (one for event in found for one in translation.feed(event)) if translation else found

    chunk = first or await next_bytes(reply, route)
    while chunk:
        yield told(in_clients_words(splitter.feed(chunk)))
        chunk = await next_bytes(reply, route)
    yield told(in_clients_words([splitter.rest] if splitter.rest else []))
    yield told(translation.end() if translation else [])


async def whole(turn: ToolTurn, leg: Leg, route: Route, told: bytes, ask: Ask) -> bytes:
    """The client's reply, of all rounds. Raises `UpstreamError` where one of them fails."""
    told = turn.whole(told)
    while await turn.step():
        async with ask() as following:
            raw = await read(following, route)
        if following.status >= 400:
            raise refusal(following, raw, route)
        told = turn.whole(leg.whole(raw, following.status, turn.asked.body))
    return told


def refusal(reply: UpstreamReply, raw: bytes, route: Route) -> UpstreamError:
    """Of a round after the first."""
    if reply.status < 400:
        return UpstreamError(502, "upstream_garbage", f"The upstream {route.url} answered no stream. Try again.")
    code, message = error_in(object_or_empty(raw), raw)
    kind = ToolsRefusedError if reply.status in REFUSALS else UpstreamError
    return kind(reply.status, code, message, reply.headers.get("retry-after"))
