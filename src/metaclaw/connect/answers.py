"""Does the gateway answer, and does it take our token? Asked before anything of a client's is touched."""

from __future__ import annotations

import json
from http.client import HTTPException
from typing import Any
from urllib.error import HTTPError, URLError
from urllib.parse import urlsplit
from urllib.request import ProxyHandler, Request, build_opener

from metaclaw.errors import ConnectError

TIMEOUT_SECONDS = 10.0
_opener = build_opener(ProxyHandler({}))  # the gateway is on this machine: no proxy stands before it


def check(url: str, token: str) -> list[str]:
    """The names of the models that the gateway at `url` lists; empty where its provider has no list.

    Raises `ConnectError` unless a MetaClaw gateway answers there, takes the token, and reaches what is behind it.
    """
    if urlsplit(url).scheme not in ("http", "https"):
        raise ConnectError(f"'{url}' is no address of a gateway. It looks like http://127.0.0.1:8790.")
    status, health = _get(f"{url}/healthz", None)
    if status != 200 or "policy" not in health:
        raise ConnectError(f"What answers at {url} is not MetaClaw. Name the gateway's address with --url.")
    status, listed = _get(f"{url}/v1/models", token)
    if status in (401, 403):
        raise ConnectError(f"The gateway at {url} refuses the token of this data folder. Was it started with another?")
    if status >= 500:
        raise ConnectError(f"The gateway at {url} answers, but nothing behind it does: {_message(listed)}")
    entries = listed.get("data")
    names = [entry.get("id") for entry in entries if isinstance(entry, dict)] if isinstance(entries, list) else []
    return [name for name in names if isinstance(name, str)]


def state(url: str, token: str) -> tuple[int, dict[str, Any]]:
    """What the gateway at `url` says of itself, with the status. Raises `ConnectError` where nothing answers."""
    return _get(f"{url}/v1/metaclaw/status", token)


def _get(url: str, token: str | None) -> tuple[int, dict[str, Any]]:
    headers = {"authorization": f"Bearer {token}"} if token else {}
    try:
        with _opener.open(Request(url, headers=headers), timeout=TIMEOUT_SECONDS) as reply:  # noqa: S310 - checked above
            return reply.status, _object(reply.read())
    except HTTPError as error:
        with error:
            return error.code, _object(error.read())
    except (URLError, HTTPException, OSError, ValueError) as error:
        reason = getattr(error, "reason", error)
        raise ConnectError(
            f"No gateway answers at {url.rpartition('/v1')[0] or url.rpartition('/')[0]} ({reason})."
            " Start it with `metaclaw start`, or name its address with --url. Nothing was changed."
        ) from error


def _object(raw: bytes) -> dict[str, Any]:
    try:
        body = json.loads(raw)
    except ValueError:
        return {}
    return body if isinstance(body, dict) else {}


def _message(body: dict[str, Any]) -> str:
    error = body.get("error")
    return str(error.get("message") if isinstance(error, dict) else error or "it does not say why.")
