"""An error, told in the wire format that the client speaks, with its status and what to do."""

from __future__ import annotations

import logging
import re

from aiohttp import web

from metaclaw.dialects import chat, messages
from metaclaw.dialects.base import Dialect
from metaclaw.dialects.translation import DIALECTS
from metaclaw.errors import RequestError, StoreError, UpstreamError

log = logging.getLogger(__name__)

PREFIXES = re.compile(r"(?:/t/[^/]+)?(?:/s/[^/]+)?(?=/)")
ANTHROPIC = "anthropic-version"  # every client of Anthropic's API sends this header
TOO_MANY = 429


def refusal(request: web.Request, error: Exception) -> web.Response:
    """The answer to a request that met one of our errors or one of aiohttp's; others are raised again."""
    match error:
        case RequestError() | UpstreamError():
            return _response(request, error.status, error.code, str(error), error.retry_after)
        case StoreError():
            return _response(request, 503, "store_unavailable", f"{error} The request was not kept; try again.")
        case web.HTTPException():
            return _response(request, *_http_error(request, error))
    raise error


def spoken_by(request: web.Request) -> Dialect:
    """The wire format that the client speaks, as its path or its headers tell."""
    path = PREFIXES.sub("", request.path, count=1)
    for dialect in DIALECTS.values():
        if f"{path}/".startswith(f"/v1{dialect.PATH}/"):
            return dialect
    return DIALECTS[messages.NAME if ANTHROPIC in request.headers else chat.NAME]


def _http_error(request: web.Request, error: web.HTTPException) -> tuple[int, str, str]:
    if error.status == 404:
        return 404, "unknown_route", f"There is no {request.method} {request.path} here. See GET /v1/models."
    if error.status == 405:
        allowed = error.headers.get("Allow", "")
        return 405, "method_not_allowed", f"{request.path} does not take {request.method}, but {allowed}."
    return error.status, "http_error", error.reason or "The request cannot be served."


def _response(
    request: web.Request, status: int, code: str, message: str, retry_after: str | None = None
) -> web.Response:
    level = logging.DEBUG if status == TOO_MANY else logging.INFO  # under load these are many, and `status` counts them
    log.log(level, "refused: %s %s", status, code)
    body = spoken_by(request).error_body(status, code, message)
    headers = {"retry-after": retry_after} if retry_after else {}
    return web.Response(status=status, body=body, content_type="application/json", headers=headers)
