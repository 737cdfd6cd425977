"""`POST /v1/messages/count_tokens`: the provider's own count, or an estimate, which a header says that it is.

Not a turn: nothing is injected, and nothing is kept.
"""

from __future__ import annotations

from metaclaw.dialects import messages
from metaclaw.dialects.estimate import estimated_tokens
from metaclaw.dialects.translation import as_chat, leg
from metaclaw.gateway.relay import with_query
from metaclaw.gateway.turn import model_named
from metaclaw.upstream.client import UpstreamClient, read
from metaclaw.upstream.headers import for_client
from metaclaw.upstream.route import Router
from metaclaw.wire.head import Headers
from metaclaw.wire.messages import Request, Response

PATH = f"{messages.PATH}/count_tokens"
ESTIMATE_HEADER = "x-metaclaw-estimate"


class TokenCounter:
    def __init__(self, router: Router, client: UpstreamClient) -> None:
        self._router = router
        self._client = client

    async def handle(self, request: Request) -> Response:
        asked = messages.parse(request.body)
        keyed = self._client.has_provider_key(request.headers)
        route = self._router.routes(model_named(asked.body), keyed=keyed)[0]
        way = leg(messages, route.formats)
        if way.translation:
            count = estimated_tokens(as_chat(messages.NAME, asked.body))
            return Response.json({"input_tokens": count}, headers=Headers({ESTIMATE_HEADER: "input_tokens"}))
        body, path = way.request(asked, "", route.model), with_query(PATH, request)
        with self._router.lease(route):
            async with self._client.post(route, path, body, request.headers, messages.NAME) as reply:
                raw = await read(reply, route)
        return Response(status=reply.status, body=raw, headers=for_client(reply.headers))
