"""`GET /v1/models` and `/v1/models/{id}`: the provider's own answer, several in one list, or the embedded model.

A name is listed where a request for it would be served: what a provider offers beyond its `models` setting is not.
"""

from __future__ import annotations

import asyncio
from collections.abc import Sequence
from typing import Any
from urllib.parse import quote

from aiohttp import web

from metaclaw.dialects.base import object_or_empty
from metaclaw.errors import RequestError, UpstreamError
from metaclaw.upstream.client import UpstreamClient, read
from metaclaw.upstream.headers import for_client
from metaclaw.upstream.providers import Provider, Providers
from metaclaw.upstream.route import Route, Router


class ModelsHandler:
    def __init__(self, router: Router, client: UpstreamClient, embedded_model: str | None) -> None:
        self._router = router
        self._client = client
        self._embedded_model = embedded_model

    async def list(self, request: web.Request) -> web.Response:
        if self._embedded_model:
            return _listing([_entry(self._embedded_model)])
        if isinstance(self._router, Providers) and not self._router.is_transparent:
            return await self._merged(request, self._router)
        return await self._pass_on(request, self._route(request), "/models")

    async def one(self, request: web.Request) -> web.Response:
        wanted = request.match_info["id"]
        if self._embedded_model is None:
            return await self._pass_on(request, self._route(request, wanted), f"/models/{quote(wanted, safe='/:')}")
        if wanted != self._embedded_model:
            raise RequestError(
                404, "model_not_found", f"There is no model '{wanted}' here, only '{self._embedded_model}'."
            )
        return web.json_response(_entry(wanted))

    def _route(self, request: web.Request, model: str = "") -> Route:
        return self._router.routes(model, keyed=self._client.has_provider_key(request.headers))[0]

    async def _pass_on(self, request: web.Request, route: Route, path: str) -> web.Response:
        with self._router.lease(route):
            async with self._client.get(route, path + _query(request), request.headers) as reply:
                raw = await read(reply, route)
        return web.Response(status=reply.status, body=raw, headers=for_client(reply.headers))

    async def _merged(self, request: web.Request, providers: Providers) -> web.Response:
        """Each model once, of the first provider that has it; without the providers that fail, unless all do."""
        keyed = self._client.has_provider_key(request.headers)
        askable = [provider for provider in providers.all if keyed or provider.route.auth == "key"]
        answers = await asyncio.gather(*(self._models_of(provider, request) for provider in askable))
        failures = [answer for answer in answers if isinstance(answer, UpstreamError)]
        if failures and len(failures) == len(answers):
            raise failures[-1]
        entries: dict[str, dict[str, Any]] = {}
        for answer in answers:
            for entry in [] if isinstance(answer, UpstreamError) else answer:
                entries.setdefault(entry["id"], entry)
        return _listing(list(entries.values()))

    async def _models_of(self, provider: Provider, request: web.Request) -> Sequence[dict[str, Any]] | UpstreamError:
        route = provider.route
        if route.model:  # it serves that one, under names of ours
            return [_entry(name) for name in (*provider.models, route.model) if provider.names(name)]
        try:
            async with self._client.get(route, "/models" + _query(request), request.headers) as reply:
                found = object_or_empty(await read(reply, route)).get("data")
        except UpstreamError as error:
            return error
        if reply.status != 200 or not isinstance(found, list):
            return UpstreamError(
                reply.status if reply.status >= 400 else 502, "upstream_error",
                f"The upstream {route.url} lists no models (status {reply.status}).", reply.headers.get("retry-after"),
            )
        return [entry for entry in found if isinstance(entry, dict) and provider.names(entry.get("id"))]


def _query(request: web.Request) -> str:
    query = request.rel_url.raw_query_string
    return f"?{query}" if query else ""


def _listing(entries: Sequence[dict[str, Any]]) -> web.Response:
    """As both OpenAI and Anthropic write a list that is whole."""
    return web.json_response({"object": "list", "data": entries, "has_more": False})


def _entry(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "metaclaw"}
