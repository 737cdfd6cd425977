"""A turn in the making: what is known of it so far, from the client's request to the last byte of the reply."""

from __future__ import annotations

import asyncio
import random
import time
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from metaclaw.dialects.base import Dialect, ReplyReader, Request
from metaclaw.dialects.translation import Leg, leg
from metaclaw.gateway.sessions import Recognised
from metaclaw.gateway.toolbox import ToolTurn
from metaclaw.types import Turn, TurnKind
from metaclaw.upstream import engine_tools, sampled
from metaclaw.upstream.route import Lease, Route

if TYPE_CHECKING:
    from metaclaw.context.live import Context  # numpy comes with it, a tenth of a second

MAX_KEPT_REPLY_BYTES = 4 * 1024 * 1024


def new_id() -> str:
    """Ordered by time: in the store's index a turn then stands beside the one before it, a fifth less work to write."""
    return f"turn-{time.time_ns():016x}{random.getrandbits(64):016x}"


@dataclass(slots=True)
class Exchange:
    """A turn in the making; a `lease` of its route and `aim` come first. `sent` is what goes on for the client's
    request, if anything does; `tools` is set where tools of ours are offered beside the client's.
    """

    client: Dialect
    request: Request
    place: Recognised
    context: Context
    sent: Request | None = None
    tools: ToolTurn | None = None
    route: Route = field(init=False)
    lease: Lease = field(init=False)
    leg: Leg = field(init=False)
    reader: ReplyReader = field(init=False)
    tap: sampled.SampleTap | None = None
    id: str = field(default_factory=new_id)
    created_at: float = field(default_factory=time.time)
    started: float = field(default_factory=time.perf_counter)
    first_byte: float | None = None
    status: int = 0
    kept: bytearray = field(default_factory=bytearray)
    record: asyncio.Future[bool] | None = None

    def aim(self, route: Route) -> None:
        """Begin, or begin again, with another route. Raises `RequestError` where nothing translates for it."""
        self.route = route
        if self.tools:
            self.tools.begin()
        way = leg(self.client, route.formats)
        self.leg = engine_tools.onto(way, self.asked.body) if route.tools_as_text else way
        self.reader = self.client.reader()
        self.tap = None
        self.status = 0
        self.first_byte = None
        self.kept.clear()

    @property
    def has_ours(self) -> bool:
        """Whether something of ours goes along."""
        return bool(self.context.composition.text or self.tools)

    def leave_out(self) -> None:
        """From now on the client's request goes alone."""
        self.context = self.context.without_skills()
        self.tools = None

    @property
    def asked(self) -> Request:
        """The request of the round under way, in the client's format."""
        return self.tools.asked if self.tools else self.sent or self.request

    def body(self) -> bytes:
        """What the upstream gets. Where it tells its tokens and this turn may be learned from, it is asked for them."""
        body = self.leg.request(self.asked, self.context.composition.text, self.route.model)
        if not self.route.tells_tokens or self.tools or self.place.kind is not TurnKind.MAIN:
            return body
        asking = sampled.asking(body)
        self.tap = sampled.SampleTap() if asking else None
        return asking or body

    def hear(self, chunk: bytes) -> bytes:
        """What came of a stream, less what the client did not ask for."""
        return self.tap.feed(chunk) if self.tap else chunk

    def hear_whole(self, raw: bytes) -> bytes:
        """The same of a reply in one piece."""
        return self.tap.whole(raw) if self.tap else raw

    @property
    def unheard(self) -> bytes:
        """What came of a stream without the end of its event."""
        return self.tap.rest if self.tap else b""

    def take(self, piece: bytes) -> None:
        if self.first_byte is None:
            self.first_byte = time.perf_counter()
            self.lease.began()
        if len(self.kept) < MAX_KEPT_REPLY_BYTES:
            self.kept += piece[: MAX_KEPT_REPLY_BYTES - len(self.kept)]

    def headers(self) -> dict[str, str]:
        return {
            "x-metaclaw-turn": self.id,
            "x-metaclaw-session": self.place.session,
            "x-metaclaw-policy": self.route.policy,
            "x-metaclaw-generation": str(self.context.generation),
            "x-metaclaw-skills": ",".join(self.skills()),
        }

    def skills(self) -> tuple[str, ...]:
        """Those injected, and those called so far."""
        injected = self.context.composition.refs
        return injected + self.tools.called if self.tools else injected

    def turn(self, namespace: str) -> Turn:
        now = time.perf_counter()
        first = self.first_byte or now
        self.reader.catch_up()
        return Turn(
            id=self.id,
            namespace=namespace,
            session=self.place.session,
            agent=self.place.agent,
            kind=self.place.kind,
            side=self.place.side,
            dialect=self.client.NAME,
            request=self.request.raw,
            response=bytes(self.kept),
            query=self.request.query,
            reply=self.reader.text,
            status=self.status,
            complete=self.reader.finished,
            skills=self.skills(),
            drawn=self.context.draw.drawn,
            withheld=self.context.draw.withheld,
            holdout_share=self.context.draw.share,
            injected=self.context.composition.text,
            generation=self.context.generation,
            policy=self.route.policy,
            usage=self.reader.usage,
            timings={"first_byte_seconds": first - self.started, "total_seconds": now - self.started},
            created_at=self.created_at,
            tools=self.tools.use if self.tools else None,
            sampled=self.tap.sampled(self.reader.text) if self.tap else None,
            aside=self.reader.aside,
        )
