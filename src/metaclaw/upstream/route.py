"""Which upstream a request goes to, and how a new one takes over while requests flow.

A `Route` is immutable and names one policy version. A request leases the current route and keeps it from its
first token to its last; `Router.switch` sends new requests elsewhere at once and tells when the old route is empty.
"""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from dataclasses import dataclass

from metaclaw.errors import UpstreamError


@dataclass(frozen=True, slots=True)
class Route:
    """`url` is the base with its /v1. `model` replaces the client's model name where given; `headers` are added.

    `formats` are the wire formats that it speaks, the preferred one first. `tools_as_text` says that its model cannot
    call tools by itself: `engine_tools` then tells it of them, and reads its calls.
    """

    url: str
    policy: str
    model: str | None = None
    api_key: str | None = None
    headers: tuple[tuple[str, str], ...] = ()
    formats: tuple[str, ...] = ("chat",)
    tools_as_text: bool = False


class Router:
    """The current route of one gateway. Used on one event loop only."""

    def __init__(self, route: Route | None = None) -> None:
        self._current = route
        self._leases: dict[Route, int] = {}
        self._released = asyncio.Condition()

    @property
    def current(self) -> Route | None:
        return self._current

    def in_flight(self) -> int:
        return sum(self._leases.values())

    @asynccontextmanager
    async def lease(self) -> AsyncIterator[Route]:
        """The current route, held until the block ends. Raises `UpstreamError` (503) while there is none."""
        route = self._current
        if route is None:
            raise UpstreamError(
                503, "model_loading", "The model is not ready. Try again in a few seconds; GET /healthz tells.", "2"
            )
        self._leases[route] = self._leases.get(route, 0) + 1
        try:
            yield route
        finally:
            await self._release(route)

    def switch(self, route: Route | None) -> Route | None:
        """Send new requests to `route` from now on. Returns the one before it, to be drained."""
        before, self._current = self._current, route
        return before

    async def drained(self, route: Route) -> None:
        """Return when no request holds `route` any more."""
        async with self._released:
            await self._released.wait_for(lambda: route not in self._leases)

    async def _release(self, route: Route) -> None:
        self._leases[route] -= 1
        if not self._leases[route]:
            del self._leases[route]
        async with self._released:
            self._released.notify_all()
