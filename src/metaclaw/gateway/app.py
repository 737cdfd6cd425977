"""The routes, and what stands before each: the door check, and errors in the client's own format."""

from __future__ import annotations

import json
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from importlib import resources
from typing import Any

from aiohttp import web

from metaclaw.dialects import responses
from metaclaw.dialects.translation import DIALECTS
from metaclaw.errors import RequestError, StoreError, UpstreamError
from metaclaw.gateway.auth import Door
from metaclaw.gateway.closing import CloseHandler
from metaclaw.gateway.feedback import FeedbackHandler
from metaclaw.gateway.intake import Intake
from metaclaw.gateway.kept_responses import KeptResponses, refuse_upgrade
from metaclaw.gateway.models import ModelsHandler
from metaclaw.gateway.spoken import spoken_by
from metaclaw.gateway.tokens import PATH as COUNT_PATH
from metaclaw.gateway.tokens import TokenCounter
from metaclaw.gateway.turn import TurnHandler

log = logging.getLogger(__name__)

TAGGED = "/s/{tag:[A-Za-z0-9._-]{1,64}}"  # the same door, for clients that can send a session's name in the path only
KEYED = "/t/{token:[^/]+}"  # the same, for those that can send our token in the path only; `Door` has looked at it
Handler = Callable[[web.Request], Awaitable[web.StreamResponse]]


def build_app(
    door: Door,
    turns: TurnHandler,
    feedback: FeedbackHandler,
    closing: CloseHandler,
    models: ModelsHandler,
    tokens: TokenCounter,
    kept: KeptResponses,
    status: Callable[[], dict[str, Any]],
    health: Callable[[], dict[str, Any]],
    intake: Intake,
) -> web.Application:
    """The gateway as an aiohttp application. `status` is for those with the token, `health` for everybody."""
    app = web.Application(client_max_size=intake.most_bytes, middlewares=[_errors(door), intake.middleware()])
    for prefix in ("", TAGGED, KEYED, KEYED + TAGGED):
        for dialect in DIALECTS.values():
            app.router.add_post(f"{prefix}/v1{dialect.PATH}", partial(turns.handle, dialect=dialect))
        app.router.add_post(f"{prefix}/v1{COUNT_PATH}", tokens.handle)
        app.router.add_get(f"{prefix}/v1{responses.PATH}", refuse_upgrade)
        app.router.add_route("*", f"{prefix}/v1{responses.PATH}/{{rest:.+}}", kept.handle)
        app.router.add_get(f"{prefix}/v1/models", models.list)
        app.router.add_get(prefix + "/v1/models/{id:.+}", models.one)
        app.router.add_get(f"{prefix}/", _here)
        app.router.add_get(f"{prefix}/api/hello", _json(lambda: {"message": "hello"}))
    app.router.add_get(TAGGED, _here)
    app.router.add_post("/v1/feedback", feedback.handle)
    app.router.add_post("/v1/metaclaw/sessions/{id}/close", closing.handle)
    app.router.add_get("/v1/metaclaw/status", _json(status))
    app.router.add_get("/v1/metaclaw/openapi.json", _json(partial(json.loads, _description())))
    app.router.add_get("/healthz", _json(health))
    return app


async def _here(request: web.Request) -> web.Response:
    return web.Response()


def _json_bytes(body: bytes, status: int = 200) -> web.Response:
    return web.Response(status=status, body=body, content_type="application/json")


def _description() -> str:
    """The routes that are not a model API's, as OpenAPI."""
    return resources.files("metaclaw.gateway").joinpath("openapi.json").read_text(encoding="utf-8")


def _json(read: Callable[[], dict[str, Any]]) -> Handler:
    async def handler(request: web.Request) -> web.Response:
        return web.json_response(read())

    return handler


def _errors(door: Door) -> Any:
    @web.middleware
    async def middleware(request: web.Request, handler: Handler) -> web.StreamResponse:
        try:
            door.check(request.raw_path, request.headers)
            return await handler(request)
        except RequestError as error:
            return _response(request, error.status, error.code, str(error), error.retry_after)
        except UpstreamError as error:
            return _response(request, error.status, error.code, str(error), error.retry_after)
        except StoreError as error:
            return _response(request, 503, "store_unavailable", f"{error} The request was not kept; try again.")
        except web.HTTPException as error:
            return _http_error(request, error)

    return middleware


def _http_error(request: web.Request, error: web.HTTPException) -> web.Response:
    if error.status == 404:
        text = f"There is no {request.method} {request.path} here. See GET /v1/models."
        return _response(request, 404, "unknown_route", text)
    if error.status == 405:
        text = f"{request.path} does not take {request.method}, but {error.headers.get('Allow', '')}."
        return _response(request, 405, "method_not_allowed", text)
    return _response(request, error.status, "http_error", error.reason or "The request cannot be served.")


def _response(
    request: web.Request, status: int, code: str, message: str, retry_after: str | None = None
) -> web.Response:
    level = logging.DEBUG if status == 429 else logging.INFO  # under load these are many, and `status` counts them
    log.log(level, "refused: %s %s", status, code)
    response = _json_bytes(spoken_by(request).error_body(status, code, message), status)
    if retry_after:
        response.headers["retry-after"] = retry_after
    return response
