"""What a request passes between the door and its handler: is there room for it, and does its body arrive whole.

In: requests that may come in. Out: the handler's reply, or a `RequestError` at once. A request for which there is no
room is refused before its body is read, so that refusing costs next to nothing. Where everybody may come in, no body is
read at all.
"""

from __future__ import annotations

from metaclaw.config.request_path import GatewaySettings
from metaclaw.errors import RequestError
from metaclaw.gateway.auth import OPEN_PATHS
from metaclaw.gateway.bodies import read_body
from metaclaw.wire.messages import Reply, Request
from metaclaw.wire.server import Handler

# Who wants to know what is going on must be told, also when there is no room.
ALWAYS_ROOM = ("/v1/metaclaw/", "/metrics")
RETRY_AFTER_SECONDS = "1"


class Intake:
    """`under_way` counts the requests that are being served, `refused` those for which there was no room."""

    def __init__(self, settings: GatewaySettings) -> None:
        self.most_bytes = settings.max_body_bytes
        self._most = settings.max_in_flight
        self._body_seconds = settings.body_seconds
        self.under_way = 0
        self.refused = 0

    async def serve(self, request: Request, handler: Handler) -> Reply:
        if OPEN_PATHS.fullmatch(request.path):
            return await handler(request)
        if request.path.startswith(ALWAYS_ROOM):
            return await self._serve(request, handler)
        if self.under_way >= self._most:
            self.refused += 1
            raise RequestError(
                429, "too_many_requests",
                f"{self._most} requests are under way, as many as gateway.max_in_flight allows. Try again shortly.",
                RETRY_AFTER_SECONDS,
            )
        self.under_way += 1
        try:
            return await self._serve(request, handler)
        finally:
            self.under_way -= 1

    async def _serve(self, request: Request, handler: Handler) -> Reply:
        request.body = await read_body(request, self.most_bytes, self._body_seconds)
        return await handler(request)
