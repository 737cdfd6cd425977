"""The routes, and what stands before each: the door check, and errors in the client's own format."""

from __future__ import annotations

import json
import logging
import re
from collections.abc import Callable, Mapping
from functools import partial
from importlib import resources
from typing import Any, Protocol
from urllib.parse import unquote

from metaclaw.dialects import responses
from metaclaw.dialects.base import Dialect
from metaclaw.dialects.translation import DIALECTS
from metaclaw.errors import RequestError, StoreError, UpstreamError
from metaclaw.gateway import metrics
from metaclaw.gateway.auth import Door
from metaclaw.gateway.closing import CloseHandler
from metaclaw.gateway.feedback import FeedbackHandler
from metaclaw.gateway.intake import Intake
from metaclaw.gateway.kept_responses import KeptResponses, refuse_upgrade
from metaclaw.gateway.models import ModelsHandler
from metaclaw.gateway.spoken import spoken_by
from metaclaw.gateway.tokens import PATH as COUNT_PATH
from metaclaw.gateway.tokens import TokenCounter
from metaclaw.wire.messages import Reply, Request, Response
from metaclaw.wire.server import Handler

log = logging.getLogger(__name__)

# The same door for clients that can send our token, or a session's name, in the path only. `Door` looks at the token.
PREFIX = re.compile(r"(?:/t/(?P<token>[^/]+))?(?:/s/(?P<tag>[A-Za-z0-9._-]{1,64}))?(?=/|$)")
CLOSE = "/v1/metaclaw/sessions/{id}/close"
CLOSES = re.compile(CLOSE.replace("{id}", "(?P<id>[^/]+)"))
ANY = "*"
Table = Mapping[str, Mapping[str, Handler]]  # by path, then by method


class Turns(Protocol):
    """Whatever serves what asks a model for a reply."""

    async def handle(self, request: Request, dialect: Dialect) -> Reply: ...


class App:
    """The gateway as one handler. `status` and `measures` are for those with the token, `health` for everybody."""

    def __init__(
        self,
        door: Door,
        turns: Turns,
        feedback: FeedbackHandler,
        closing: CloseHandler,
        models: ModelsHandler,
        tokens: TokenCounter,
        kept: KeptResponses,
        status: Callable[[], dict[str, Any]],
        health: Callable[[], dict[str, Any]],
        intake: Intake,
        measures: Callable[[], dict[str, Any]],
    ) -> None:
        self._door = door
        self._intake = intake
        beside = {responses.NAME: _get(refuse_upgrade)}
        self._model_api: Table = {  # what clients of a provider ask for
            **{
                f"/v1{dialect.PATH}": {"POST": partial(turns.handle, dialect=dialect), **beside.get(dialect.NAME, {})}
                for dialect in DIALECTS.values()
            },
            f"/v1{COUNT_PATH}": {"POST": tokens.handle},
            "/v1/models": _get(models.list),
            "/": _get(_here),
            "/api/hello": _get(_json(lambda: {"message": "hello"})),
        }
        self._below: Table = {"/v1/models/": _get(models.one), f"/v1{responses.PATH}/": {ANY: kept.handle}}
        self.own: Table = {  # what is ours alone
            "/v1/feedback": {"POST": feedback.handle},
            "/v1/metaclaw/status": _get(_json(status)),
            "/v1/metaclaw/openapi.json": _get(_json(partial(json.loads, _description()))),
            "/healthz": _get(_json(health)),
            "/metrics": _get(_metrics(measures)),
            CLOSE: {"POST": closing.handle},
        }

    async def __call__(self, request: Request) -> Reply:
        try:
            self._door.check(request.target, request.headers)
            return await self._intake.serve(request, self._route(request))
        except (RequestError, UpstreamError) as error:
            return _refusal(request, error.status, error.code, str(error), error.retry_after)
        except StoreError as error:
            return _refusal(request, 503, "store_unavailable", f"{error} The request was not kept; try again.")

    def _route(self, request: Request) -> Handler:
        """Raises `RequestError`: 404 for what is not here, 405 for what is and takes another method."""
        methods = self._model_api.get(request.path) or self.own.get(request.path) or self._further(request)
        if not methods:
            raise RequestError(
                404, "unknown_route", f"There is no {request.method} {request.path} here. See GET /v1/models."
            )
        handler = methods.get(request.method) or methods.get(ANY)
        if handler is None:
            allowed = ",".join(sorted(methods))
            raise RequestError(
                405, "method_not_allowed", f"{request.path} does not take {request.method}, but {allowed}."
            )
        return handler

    def _further(self, request: Request) -> Mapping[str, Handler] | None:
        """Routes with something variable in them."""
        if found := CLOSES.fullmatch(request.target.partition("?")[0]):  # a name may hold anything, also a slash
            request.params = {"id": unquote(found["id"])}
            return self.own[CLOSE]
        prefix = PREFIX.match(request.path)
        if prefix is None:
            return None
        rest = request.path[prefix.end() :]
        request.params = {"tag": prefix["tag"] or ""}
        if not rest and prefix["tag"] and not prefix["token"]:
            rest = "/"
        if methods := self._model_api.get(rest):
            return methods
        for before, methods in self._below.items():
            if rest.startswith(before) and len(rest) > len(before):
                request.params = {**request.params, "id": rest[len(before) :]}
                return methods
        return None


def _get(handler: Handler) -> dict[str, Handler]:
    return {"GET": handler, "HEAD": handler}


async def _here(request: Request) -> Response:
    return Response()


def _description() -> str:
    """The routes that are not a model API's, as OpenAPI."""
    return resources.files("metaclaw.gateway").joinpath("openapi.json").read_text(encoding="utf-8")


def _json(read: Callable[[], dict[str, Any]]) -> Handler:
    async def handler(request: Request) -> Response:
        return Response.json(read())

    return handler


def _metrics(measures: Callable[[], dict[str, Any]]) -> Handler:
    async def handler(request: Request) -> Response:
        return Response(metrics.exposition(measures()).encode(), content_type=metrics.CONTENT_TYPE)

    return handler


def _refusal(request: Request, status: int, code: str, message: str, retry_after: str | None = None) -> Response:
    level = logging.DEBUG if status == 429 else logging.INFO  # under load these are many, and `status` counts them
    log.log(level, "refused: %s %s", status, code)
    body = spoken_by(request).error_body(status, code, message)
    response = Response(body, status, content_type="application/json")
    if retry_after:
        response.headers["retry-after"] = retry_after
    return response
