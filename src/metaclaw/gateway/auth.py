"""Who may come in: a loopback host name, no foreign web page, and the token. Denied by default.

Without a token, `/healthz` says how we are, and `/` and `/api/hello` that somebody is here: with those two, Claude Code
looks whether it is connected.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Mapping
from urllib.parse import urlsplit

from metaclaw.errors import RequestError

OPEN_PATHS = re.compile(r"/healthz|(?:/s/[^/]+)?(?:/|/api/hello)?")
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})


class Door:
    """Built with the token and the address that we listen on."""

    def __init__(self, token: str, host: str) -> None:
        self._token = token.encode()
        self._names = LOOPBACK_NAMES | {host}

    def check(self, path: str, headers: Mapping[str, str]) -> None:
        """Raise `RequestError` (401, 403) unless the request may come in."""
        if _host_name(f"//{headers.get('host', '')}") not in self._names:
            raise RequestError(
                403, "forbidden_host", "This gateway answers to its own address only. Use http://127.0.0.1:PORT."
            )
        origin = headers.get("origin")
        if origin and _host_name(origin) not in self._names:
            raise RequestError(403, "forbidden_origin", "Requests from web pages of other sites are refused.")
        if not OPEN_PATHS.fullmatch(path) and not self._knows(_presented(headers)):
            raise RequestError(
                401, "invalid_api_key",
                "Wrong or missing token. Send it as 'Authorization: Bearer TOKEN'; `metaclaw status` shows it.",
            )

    def _knows(self, presented: bytes) -> bool:
        """An empty token opens nothing, not even where ours is empty."""
        return bool(presented) and hmac.compare_digest(presented, self._token)


def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _presented(headers: Mapping[str, str]) -> bytes:
    scheme, _, value = headers.get("authorization", "").partition(" ")
    shown = value.strip() if scheme.lower() == "bearer" else headers.get("x-api-key", "")
    return shown.encode(errors="surrogateescape")  # as aiohttp reads header bytes that are not UTF-8
