"""`GET /v1/models` and `/v1/models/{id}`: the provider's own answer, several in one list, or the embedded model.

A name is listed where a request for it would be served: what a provider offers beyond its `models` setting is not.
"""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Sequence
from typing import Any
from urllib.parse import quote

from metaclaw.dialects import messages, model_lists
from metaclaw.dialects.base import error_in, object_or_empty
from metaclaw.dialects.loose import dicts_of
from metaclaw.errors import RequestError, UpstreamError
from metaclaw.gateway.relay import with_query
from metaclaw.gateway.spoken import spoken_by
from metaclaw.upstream.client import UpstreamClient, read
from metaclaw.upstream.headers import for_client
from metaclaw.upstream.providers import Provider, Providers
from metaclaw.upstream.route import Route, Router
from metaclaw.wire.messages import Request, Response


class ModelsHandler:
    def __init__(self, router: Router, client: UpstreamClient, embedded_model: str | None) -> None:
        self._router = router
        self._client = client
        self._embedded_model = embedded_model

    async def list(self, request: Request) -> Response:
        if self._embedded_model is not None:
            return _listing(request, [_entry(self._embedded_model)])
        if isinstance(self._router, Providers) and not self._router.is_transparent:
            return _listing(request, await self._merged(request, self._router))
        return await self._pass_on(request, self._route(request), "/models", model_lists.listed)

    async def one(self, request: Request) -> Response:
        wanted = request.params["id"]
        if self._embedded_model is None:
            path = f"/models/{quote(wanted, safe='/:')}"
            return await self._pass_on(request, self._route(request, wanted), path, model_lists.single)
        if wanted != self._embedded_model:
            raise RequestError(
                404, "model_not_found", f"There is no model '{wanted}' here, only '{self._embedded_model}'."
            )
        raw = json.dumps(_entry(wanted)).encode()
        return _json(model_lists.single(raw, for_anthropic=_is_anthropic(request)))

    def _route(self, request: Request, model: str | None = None) -> Route:
        return self._router.routes(model, keyed=self._client.has_provider_key(request.headers))[0]

    async def _pass_on(
        self, request: Request, route: Route, path: str, shaped: Callable[..., bytes]
    ) -> Response:
        """The provider's answer, in the client's shape where the two differ."""
        with self._router.lease(route):
            async with self._client.request("GET", route, _asked(request, route, path), None, request.headers) as reply:
                raw = await read(reply, route)
        headers = for_client(reply.headers)
        spoken = spoken_by(request)
        if reply.status < 400:
            told = shaped(raw, for_anthropic=_is_anthropic(request))
        elif spoken.NAME in route.formats:
            return Response(status=reply.status, body=raw, headers=headers)
        else:
            told = spoken.error_body(reply.status, *error_in(object_or_empty(raw), raw))
        headers["content-type"] = "application/json"
        return Response(status=reply.status, body=told, headers=headers)

    async def _merged(self, request: Request, providers: Providers) -> Sequence[dict[str, Any]]:
        """Each model once, of the first provider that has it; without the providers that fail, unless all do."""
        keyed = self._client.has_provider_key(request.headers)
        askable = [provider for provider in providers.all if keyed or provider.route.auth == "key"]
        answers = await asyncio.gather(*(self._models_of(provider, request) for provider in askable))
        lists = [answer for answer in answers if not isinstance(answer, UpstreamError)]
        failures = [answer for answer in answers if isinstance(answer, UpstreamError)]
        if failures and not lists:
            raise failures[-1]
        entries: dict[str, dict[str, Any]] = {}
        for entry in (entry for found in lists for entry in found):
            entries.setdefault(entry["id"], entry)
        return [*entries.values()]

    async def _models_of(self, provider: Provider, request: Request) -> Sequence[dict[str, Any]] | UpstreamError:
        route = provider.route
        if route.model:  # it serves that one, under names of ours
            return [_entry(name) for name in (*provider.models, route.model) if provider.names(name)]
        try:
            path = _asked(request, route, "/models")
            async with self._client.request("GET", route, path, None, request.headers) as reply:
                raw = await read(reply, route)
        except UpstreamError as error:
            return error
        if reply.status >= 400:
            code, told = error_in(object_or_empty(raw), raw)
            return UpstreamError(reply.status, code, told, reply.headers.get("retry-after"))
        found = object_or_empty(model_lists.listed(raw, for_anthropic=_is_anthropic(request))).get("data")
        return [entry for entry in dicts_of(found) if provider.names(entry.get("id"))]


def _asked(request: Request, route: Route, path: str) -> str:
    """With the client's query where the provider speaks its format: elsewhere it means something else, or nothing."""
    return with_query(path, request) if spoken_by(request).NAME in route.formats else path


def _listing(request: Request, entries: Sequence[dict[str, Any]]) -> Response:
    raw = json.dumps({"object": "list", "data": entries, "has_more": False}).encode()
    return _json(model_lists.listed(raw, for_anthropic=_is_anthropic(request)))


def _is_anthropic(request: Request) -> bool:
    return spoken_by(request).NAME == messages.NAME


def _json(raw: bytes) -> Response:
    return Response(body=raw, content_type="application/json")


def _entry(model: str) -> dict[str, Any]:
    return {"id": model, "object": "model", "created": 0, "owned_by": "metaclaw"}
