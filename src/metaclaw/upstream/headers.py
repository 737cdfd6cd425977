"""Which headers travel: whose key goes upstream, that our token never does, and what of a reply's the client gets."""

from __future__ import annotations

import re
from collections.abc import Mapping

from metaclaw.upstream.route import Route
from metaclaw.wire.head import Headers

KEYS = frozenset({"authorization", "x-api-key"})
# Everything else that a client sends goes on: what belongs to its connection with us does not.
KEPT_FROM_UPSTREAM = frozenset(
    "accept-encoding connection content-encoding content-length cookie expect host keep-alive origin"
    " proxy-authorization proxy-connection referer te trailer transfer-encoding upgrade".split()
)
KEPT_WITH_KEYS = KEPT_FROM_UPSTREAM | KEYS
KEPT_FROM_CLIENT = frozenset(
    "connection content-encoding content-length date keep-alive server trailer transfer-encoding upgrade".split()
)
NO_KEY = re.compile(r"\s*(?:bearer\s*)?", re.IGNORECASE)  # what clients send whose key is not set
KEY = re.compile(r"\s*(?:bearer\s+)?(\S+)\s*", re.IGNORECASE)
OAUTH = "sk-ant-oat"  # how the token of an Anthropic subscription begins, which is a bearer there
OUR_HEADERS = "x-metaclaw-"
MESSAGES = "messages"
VERSION_HEADER = "anthropic-version"  # every client of that format sends it, and no other one does
ANTHROPIC_VERSION = "2023-06-01"  # required there; what a client of its own sends wins


class OutgoingHeaders:
    """Built with the token of our own door, which must not reach any provider, whatever header it comes in."""

    def __init__(self, token: str = "") -> None:
        self._token = token or "\n"  # which is in no header
        self._as_a_word = re.compile(rf"(?<![A-Za-z0-9]){re.escape(self._token)}(?![A-Za-z0-9])")

    def for_upstream(self, headers: Mapping[str, str], route: Route, wire_format: str) -> Headers:
        """The client's headers less what is not for the upstream, under those of the route and its key."""
        kept = KEPT_FROM_UPSTREAM if route.auth == "passthrough" else KEPT_WITH_KEYS
        sent = Headers([
            (name, value)
            for name, value in headers.items()
            if (lower := name.lower()) not in kept
            and not lower.startswith(OUR_HEADERS)
            and not (self._token in value and self._as_a_word.search(value))
        ])
        sent.setdefault("content-type", "application/json")
        sent["accept-encoding"] = "identity"  # replies pass through as they come
        if route.auth == "passthrough" and (VERSION_HEADER in sent) != (wire_format == MESSAGES):
            _move_key(sent, wire_format)
        if wire_format == MESSAGES:
            sent.setdefault(VERSION_HEADER, ANTHROPIC_VERSION)
        if route.api_key:
            sent.update([_key(route.api_key, wire_format)])
        sent.update(route.headers)
        return sent

    def has_provider_key(self, headers: Mapping[str, str]) -> bool:
        """Whether the client sent a key that is not for us."""
        shown = [value for name in KEYS if (value := headers.get(name, "")) and not NO_KEY.fullmatch(value)]
        return any(not self._as_a_word.search(value) for value in shown)


def _move_key(sent: Headers, wire_format: str) -> None:
    """Put a client's key, where it sent one alone, where the providers of this format look for it."""
    shown = [name for name in KEYS if not NO_KEY.fullmatch(sent.get(name, ""))]
    key = KEY.fullmatch(sent[shown[0]]) if len(shown) == 1 else None
    if key and not key[1].startswith(OAUTH):
        del sent[shown[0]]
        sent.update([_key(key[1], wire_format)])


def _key(key: str, wire_format: str) -> tuple[str, str]:
    """As the providers of that format take it."""
    return ("x-api-key", key) if wire_format == MESSAGES else ("authorization", f"Bearer {key}")


def for_client(headers: Mapping[str, str]) -> Headers:
    """A reply's headers, repeated ones too, less what belonged to the upstream's connection with us."""
    return Headers([(name, value) for name, value in headers.items() if name.lower() not in KEPT_FROM_CLIENT])
