"""What lies below `/v1/responses/`: what a provider keeps of them, passed through where it speaks the format.

That is `GET` and `DELETE /v1/responses/{id}`, `cancel`, `input_items`, `compact`, `input_tokens` and what may come.
None of it is a turn of a conversation, so nothing is injected or journaled. An upstream of another format keeps no
responses: a 404 says so.
"""

from __future__ import annotations

import re

from metaclaw.dialects import responses, splice
from metaclaw.dialects.base import object_or_empty
from metaclaw.errors import RequestError, UpstreamError
from metaclaw.gateway.provider_ids import ProviderIds
from metaclaw.upstream.client import UpstreamClient, next_bytes, read
from metaclaw.upstream.headers import for_client
from metaclaw.upstream.route import Route, Router
from metaclaw.wire.client import Reply as UpstreamReply
from metaclaw.wire.head import Headers
from metaclaw.wire.messages import Reply, Request, Response

BELOW = f"{responses.PATH}/"
ID = re.compile(r"[^/?]+")


class KeptResponses:
    """`ids` knows by which id the provider keeps what the client calls by another."""

    def __init__(self, router: Router, client: UpstreamClient, ids: ProviderIds) -> None:
        self._router = router
        self._client = client
        self._ids = ids

    async def handle(self, request: Request) -> Reply:
        path = BELOW + self._as_kept(request.target.partition(BELOW)[2])
        body = request.body
        route = self._native(request)
        sent = _renamed(body, route.model) or None
        with self._router.lease(route):
            asking = self._client.request(request.method, route, path, sent, request.headers, responses.NAME)
            async with asking as reply:
                if reply.content_type == "text/event-stream":
                    return await _relay(request, reply, route)
                raw = await read(reply, route)
        return Response(status=reply.status, body=raw, headers=for_client(reply.headers))

    def _as_kept(self, rest: str) -> str:
        shown = ID.match(rest)
        return self._ids.of(shown.group()) + rest[shown.end() :] if shown else rest

    def _native(self, request: Request) -> Route:
        """The first that speaks the format: no model says which of several keeps a response."""
        routes = self._router.routes(None, keyed=self._client.has_provider_key(request.headers))
        for route in routes:
            if responses.NAME in route.formats:
                return route
        raise RequestError(
            404, "response_not_found",
            f"There is no {request.method} {request.path} here: the upstream speaks {', '.join(routes[0].formats)},"
            " which keeps no responses. Send the whole conversation to POST /v1/responses.",
        )


def _renamed(body: bytes, model: str | None) -> bytes:
    """The body with the route's model name where the client names one."""
    named = object_or_empty(body).get("model")
    return splice.apply(body, [splice.set_member(body, "model", model)]) if model and named else body


async def _relay(request: Request, reply: UpstreamReply, route: Route) -> Reply:
    out = request.stream(reply.status, for_client(reply.headers))
    await out.begin()
    try:
        while chunk := await next_bytes(reply, route):
            await out.write(chunk)
    except UpstreamError as error:  # the status line is out: the error travels in the stream
        await out.write(b"\n\n" + responses.error_event(error.status, error.code, str(error)))
    await out.end()
    return out


async def refuse_upgrade(request: Request) -> Response:
    """`GET /v1/responses` is how Codex asks for a WebSocket. At a 426 it turns to HTTP at once (tried with 0.169)."""
    message = "Responses are served over HTTP, not over a WebSocket: send them by POST, with 'stream' if you like."
    return Response(
        status=426, body=responses.error_body(426, "upgrade_refused", message), content_type="application/json",
        headers=Headers({"upgrade": "HTTP/1.1", "connection": "Upgrade"}),
    )
