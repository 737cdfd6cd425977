"""The routes, and what stands before each: the door check, and errors in the client's own format."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiohttp import web

from metaclaw.dialects import chat
from metaclaw.dialects.base import Dialect
from metaclaw.dialects.translation import DIALECTS
from metaclaw.errors import RequestError, StoreError, UpstreamError
from metaclaw.gateway.auth import Door
from metaclaw.gateway.feedback import FeedbackHandler
from metaclaw.gateway.models import ModelsHandler
from metaclaw.gateway.turn import TurnHandler

log = logging.getLogger(__name__)

TAGGED = "/s/{tag:[A-Za-z0-9._-]{1,64}}"  # the same door, for clients that can send a session's name in the path only
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(
    door: Door,
    turns: TurnHandler,
    feedback: FeedbackHandler,
    models: ModelsHandler,
    status: Callable[[], dict[str, Any]],
    health: Callable[[], dict[str, Any]],
    max_body_bytes: int,
) -> web.Application:
    """The gateway as an aiohttp application. `status` is for those with the token, `health` for everybody."""
    app = web.Application(client_max_size=max_body_bytes, middlewares=[_errors(door)])
    for prefix in ("", TAGGED):
        for dialect in DIALECTS.values():
            app.router.add_post(f"{prefix}/v1{dialect.PATH}", partial(turns.handle, dialect=dialect))
        app.router.add_get(f"{prefix}/v1/models", models.list)
        app.router.add_get(prefix + "/v1/models/{id:.+}", models.one)
    app.router.add_post("/v1/feedback", feedback.handle)
    app.router.add_get("/v1/metaclaw/status", _json(status))
    app.router.add_get("/healthz", _json(health))
    return app


def _json(read: Callable[[], dict[str, Any]]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(read())

    return handler


def _errors(door: Door) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            door.check(request.path, request.headers)
            return await handler(request)
        except (RequestError, UpstreamError, StoreError, web.HTTPException) as error:
            return _response(_dialect_of(request), *_answer(request, error))

    return middleware


def _dialect_of(request: web.Request) -> Dialect:
    """The format that the client of this path reads errors in."""
    return next((dialect for dialect in DIALECTS.values() if request.path.endswith(dialect.PATH)), chat)


def _answer(request: web.Request, error: Exception) -> tuple[int, str, str, str | None]:
    """Status, code, message and Retry-After."""
    match error:
        case UpstreamError():
            return error.status, error.code, str(error), error.retry_after
        case RequestError():
            return error.status, error.code, str(error), None
        case StoreError():
            return 503, "store_unavailable", f"{error} The request was not kept; try again.", None
        case web.HTTPException():
            return *_http_error(request, error), None
    raise error


def _http_error(request: web.Request, error: web.HTTPException) -> tuple[int, str, str]:
    if error.status == 404:
        return 404, "unknown_route", f"There is no {request.method} {request.path} here. See GET /v1/models."
    if error.status == 405:
        allowed = error.headers.get("Allow", "")
        return 405, "method_not_allowed", f"{request.path} does not take {request.method}, but {allowed}."
    if error.status == 413:
        return 413, "body_too_large", "The request body is larger than gateway.max_body_bytes."
    return error.status, "http_error", error.reason or "The request cannot be served."


def _response(dialect: Dialect, status: int, code: str, message: str, retry_after: str | None) -> web.Response:
    log.info("refused: %s", json.dumps({"status": status, "code": code}))
    headers = {"retry-after": retry_after} if retry_after else {}
    return web.Response(
        status=status, body=dialect.error_body(status, code, message), content_type="application/json", headers=headers
    )
