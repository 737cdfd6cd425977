"""Who may come in: a loopback host name, no foreign web page, and the token. Denied by default.

Without a token, `/healthz` says how we are, and `/` and `/api/hello` that somebody is here: with those two, Claude Code
looks whether it is connected. All is decided on the path as it was sent, before anything decodes or tidies it. The
token comes as a bearer token, as `x-api-key`, as `x-metaclaw-token`, or in the path (`/t/<token>/v1/...`): the last two
leave the other headers to the provider's own key.
"""

from __future__ import annotations

import hmac
import re
from collections.abc import Iterable, Iterator, Mapping
from functools import lru_cache
from urllib.parse import unquote_to_bytes, urlsplit

from metaclaw.errors import RequestError

OPEN_PATHS = re.compile(r"/healthz|(?:/s/[A-Za-z0-9._-]{1,64})?(?:/|/api/hello)?")
# Whoever tidies such a path, here or at a provider to which it is passed on, would end up elsewhere.
DOT_SEGMENT = re.compile(r"(?:/|\\|%2f|%5c)(?:\.|%2e){1,2}(?=$|/|\\|%2f|%5c)", re.IGNORECASE)
LOOPBACK_NAMES = frozenset({"127.0.0.1", "localhost", "::1"})
UNSPECIFIED = {"", "0.0.0.0", "::"}  # noqa: S104 - to listen on; nobody is called that
TOKEN_HEADER = "x-metaclaw-token"  # noqa: S105 - a name
TOKEN_IN_PATH = re.compile(r"/t/([^/?#]+)/")
# All headers on which it is decided who may come in.
LOOKED_AT = (
    "host", "origin", "sec-fetch-site", "user-agent", "content-type", "authorization", TOKEN_HEADER, "x-api-key"
)
MOST_REMEMBERED = 256
FOREIGN_SITES = frozenset({"cross-site", "same-site"})  # same-site: another port, or another program, of this machine
# What a web page may post anywhere without asking first.
FORM_TYPES = frozenset({"text/plain", "application/x-www-form-urlencoded", "multipart/form-data"})


class Door:
    """Built with the token, the address that we listen on, and further names that others may call us by."""

    def __init__(self, token: str, host: str, further: Iterable[str] = ()) -> None:
        self._token = token.encode()
        self._names = (LOOPBACK_NAMES | {host, *further}) - UNSPECIFIED
        self._let_in: set[tuple[str | None, ...]] = set()

    def check(self, target: str, headers: Mapping[str, str]) -> None:
        """Raise `RequestError` (400, 401, 403) unless the request may come in. `target` is the request line's.

        A client's requests are all alike in what is looked at: what was let in once is not looked at again.
        """
        shown = (target, *[headers.get(name) for name in LOOKED_AT])
        if shown in self._let_in:
            return
        self._check(target, headers)
        if len(self._let_in) >= MOST_REMEMBERED:
            self._let_in.clear()
        self._let_in.add(shown)

    def _check(self, target: str, headers: Mapping[str, str]) -> None:
        self.check_place(target, headers)
        self._refuse_forms(headers)
        path = target.partition("?")[0]
        if not OPEN_PATHS.fullmatch(path) and not any(map(self._knows, _presented(target, headers))):
            raise RequestError(
                401, "invalid_api_key",
                "Wrong or missing token. Send it as 'Authorization: Bearer TOKEN'; `metaclaw status` shows it.",
            )

    def check_place(self, target: str, headers: Mapping[str, str]) -> None:
        """The same (400, 403) but for token and forms: is it sent to us, for what is ours, and by no foreign page?"""
        path = target.partition("?")[0]
        if not path.startswith("/") or DOT_SEGMENT.search(path):
            raise RequestError(400, "invalid_target", "The request line must name a path, and none that leads upwards.")
        if _host_name(f"//{headers.get('host', '')}") not in self._names:
            raise RequestError(
                403, "forbidden_host", "This gateway answers to its own address only. Use http://127.0.0.1:PORT, or"
                " name this one in gateway.allowed_hosts."
            )
        self._refuse_foreign_pages(headers)

    def _refuse_foreign_pages(self, headers: Mapping[str, str]) -> None:
        origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
        if (origin and _host_name(origin) not in self._names) or site.lower() in FOREIGN_SITES:
            raise RequestError(403, "forbidden_origin", "Requests from web pages of other sites are refused.")

    def _refuse_forms(self, headers: Mapping[str, str]) -> None:
        origin, site = headers.get("origin", ""), headers.get("sec-fetch-site", "")
        of_browser = origin or site or headers.get("user-agent", "").startswith("Mozilla/")
        if of_browser and headers.get("content-type", "").partition(";")[0].strip().lower() in FORM_TYPES:
            raise RequestError(403, "forbidden_form", "Forms of web pages are refused. Send application/json.")

    def _knows(self, presented: bytes) -> bool:
        """An empty token opens nothing, not even where ours is empty."""
        return bool(presented) and hmac.compare_digest(presented, self._token)


@lru_cache(maxsize=256)
def _host_name(url: str) -> str:
    try:
        return urlsplit(url).hostname or ""
    except ValueError:
        return ""


def _presented(target: str, headers: Mapping[str, str]) -> Iterator[bytes]:
    """Everything that may be our token."""
    if found := TOKEN_IN_PATH.match(target):
        yield unquote_to_bytes(found.group(1))
    scheme, _, value = headers.get("authorization", "").partition(" ")
    for shown in (headers.get(TOKEN_HEADER, ""), value.strip() if scheme.lower() == "bearer" else "",
                  headers.get("x-api-key", "")):
        yield shown.encode(errors="surrogateescape")  # as header bytes are read that are not UTF-8
