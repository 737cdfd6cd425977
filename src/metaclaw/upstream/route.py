"""Which upstream a request goes to, and how a new one takes over while requests flow.

A `Route` is immutable and names one policy version. A request leases its route and keeps it from its first token to
its last; `Router.switch` sends new requests elsewhere at once and tells when the old route is empty.
"""

from __future__ import annotations

import asyncio
import contextlib
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from hashlib import blake2b
from typing import Any, Literal

from metaclaw.errors import UpstreamError

Auth = Literal["key", "passthrough"]
# How long a request waits for an engine that is being started again, rather than fail: the 1.5B takes 3.4 s.
PATIENCE_SECONDS = 10.0
NOTICE_SECONDS = 5.0  # until whoever looks after an engine has noticed that it is gone: it may be starting another
LOST = frozenset({"upstream_unreachable", "upstream_broke_off"})


@dataclass(frozen=True, slots=True)
class Route:
    """`url` is the base with its /v1. `model` replaces the client's model name where given; `headers` are added.

    `formats` are the wire formats that it speaks, the preferred one first. `auth` says whose key it gets: ours
    (`api_key`, if there is one), or the client's own. `tools_as_text` says that its model cannot call tools by itself:
    `engine_tools` then tells it of them, and reads its calls. `tells_tokens` says that it tells the tokens it samples.
    """

    url: str
    policy: str
    model: str | None = None
    api_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    formats: tuple[str, ...] = ("chat",)
    auth: Auth = "key"
    tools_as_text: bool = False
    tells_tokens: bool = False
    _hash: int = field(init=False, repr=False, compare=False)

    def __post_init__(self) -> None:
        object.__setattr__(self, "_hash", hash((self.url, self.policy, self.model, self.api_key)))

    def __hash__(self) -> int:
        """Kept, since each request is counted by its route several times."""
        return self._hash


def falls_to(policy: str, session: str, share: float) -> bool:
    """Whether a session is among the `share` of them that is served by `policy`.

    A coin by hash: every process throws it alike, and a session keeps its side as long as the policy is on trial.
    """
    digest = blake2b(f"{policy}\0{session}".encode("utf-8", "surrogatepass"), digest_size=8).digest()
    return int.from_bytes(digest) < share * 2**64


class Router:
    """The route of one gateway, which can be switched, and beside it one on trial; `Providers` has several. Used on one
    event loop only.
    """

    def __init__(self, route: Route | None = None) -> None:
        self._current = route
        self._trial: tuple[Route, float] | None = None
        self._leases: dict[Route, int] = {}
        self._emptied: dict[Route, asyncio.Event] = {}
        self._switched = asyncio.Event()
        self._was_lost = False
        self._awaited = 0
        self.on_awaited: Callable[[int], None] | None = None

    @property
    def policy(self) -> str | None:
        """What answers; None while nothing does."""
        return self._current.policy if self._current else None

    @property
    def is_lost(self) -> bool:
        """Whether what answered has ended, and nothing else answers yet."""
        return self._was_lost

    def routes(self, model: str | None = None, *, keyed: bool = False, session: str = "") -> Sequence[Route]:
        """Where to send a request for the client's `model`: the first, and where nothing has come of that, the next.

        None for a request that names no model. `keyed` says that the client sent a provider's key. Without a `session`
        what is on trial is not asked. Raises `UpstreamError` (503) while there is no route.
        """
        if self.is_lost:
            raise UpstreamError(
                503, "engine_restarting",
                "The model's engine has ended and is being started again. Try again in a few seconds; GET /healthz"
                " tells.",
                "2",
            )
        if self._current is None:
            raise UpstreamError(
                503, "model_loading", "The model is not ready. Try again in a few seconds; GET /healthz tells.", "2"
            )
        if self._trial and session and falls_to(self._trial[0].policy, session, self._trial[1]):
            return (self._trial[0], self._current)
        return (self._current,)

    def lease(self, route: Route) -> Lease:
        """Hold `route` until the block ends. Enter it before anything is awaited: else a switch may come in between."""
        return Lease(self, route)

    def failed(self, route: Route, error: UpstreamError) -> None:
        """It could not be reached, broke off before it replied, or refused for a while (429, 5xx)."""

    async def regained(self) -> None:
        """Return when there is a route again where it `is_lost`; after ten seconds in any case."""
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(PATIENCE_SECONDS):
                while self._was_lost:
                    await self._switched.wait()

    async def instead_of(self, route: Route, error: UpstreamError) -> Route | None:
        """Where to ask again what has come to nothing since its engine ended, once there is another one; else None."""
        if error.code not in LOST:
            return None
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(NOTICE_SECONDS):
                while self._current is route:
                    await self._switched.wait()
        await self.regained()
        return None if self._current is route else self._current

    def in_flight(self) -> int:
        return sum(self._leases.values())

    def state(self) -> list[dict[str, Any]]:
        """How each provider is, for people; nothing where the embedded model answers."""
        return []

    def switch(self, route: Route | None) -> Route | None:
        """Send new requests to `route` from now on. Returns the one before it, to be drained. None: it has ended."""
        before, self._current = self._current, route
        self._was_lost = route is None and (before is not None or self._was_lost)
        switched, self._switched = self._switched, asyncio.Event()
        switched.set()
        return before

    def try_out(self, route: Route | None, share: float = 0.0) -> Route | None:
        """Send a share of the sessions to `route` from now on, or none. Returns the one before it, to be drained."""
        before, self._trial = self._trial, (route, share) if route else None
        return before[0] if before else None

    async def drained(self, route: Route) -> None:
        """Return when no request holds `route` any more."""
        while route in self._leases:
            await self._emptied.setdefault(route, asyncio.Event()).wait()

    def _await(self, change: int) -> None:
        self._awaited += change
        if self.on_awaited:
            self.on_awaited(self._awaited)

    def _hold(self, route: Route) -> None:
        self._leases[route] = self._leases.get(route, 0) + 1

    def _release(self, route: Route) -> None:
        self._leases[route] -= 1
        if not self._leases[route]:
            del self._leases[route]
            if emptied := self._emptied.pop(route, None):
                emptied.set()


class Lease:
    """`with` holds a route of a router; quicker than a generator, of which each request would make one.

    From `asks` until `began` a reply counts as awaited; the end of the block ends that too, whatever becomes of it.
    """

    __slots__ = ("_awaits", "_route", "_router")

    def __init__(self, router: Router, route: Route) -> None:
        self._router = router
        self._route = route
        self._awaits = False

    def __enter__(self) -> Lease:
        self._router._hold(self._route)
        return self

    def __exit__(self, *_: object) -> None:
        self.began()
        self._router._release(self._route)

    def asks(self) -> None:
        """A reply was asked for."""
        if not self._awaits:
            self._awaits = True
            self._router._await(+1)

    def began(self) -> None:
        """Its first byte has come."""
        if self._awaits:
            self._awaits = False
            self._router._await(-1)
