"""Send a request to a route and hand back its reply as it arrives; every failure in our own words, once.

What is sent again is the caller's decision, but for one case: a pooled connection that had been closed before its use.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

from metaclaw.errors import UnreachableError, UpstreamError, WireError
from metaclaw.upstream.headers import OutgoingHeaders
from metaclaw.upstream.route import Route
from metaclaw.wire.client import Connections, Reply
from metaclaw.wire.head import Headers


class UpstreamClient:
    """One connection pool. Close it, or use it as an asynchronous context manager. `token` is our own door's."""

    def __init__(self, connect_timeout_seconds: float, idle_timeout_seconds: float, token: str = "") -> None:
        self._connections = Connections(connect_timeout_seconds, idle_timeout_seconds)
        self._headers = OutgoingHeaders(token)

    async def __aenter__(self) -> UpstreamClient:
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.close()

    async def close(self) -> None:
        await self._connections.close()

    def post(
        self,
        route: Route,
        path: str,
        body: bytes,
        headers: Mapping[str, str] | None = None,
        wire_format: str | None = None,
    ) -> Asking:
        """POST `body` to `route.url + path`; without `wire_format` it is in the route's preferred one.

        Raises `UpstreamError` where no reply began. What breaks later is raised by `next_bytes` and `read`.
        """
        return self.request("POST", route, path, body, headers, wire_format)

    def request(
        self,
        method: str,
        route: Route,
        path: str,
        body: bytes | None,
        headers: Mapping[str, str] | None = None,
        wire_format: str | None = None,
    ) -> Asking:
        """The same with any method."""
        sent = self._headers.for_upstream(headers or {}, route, wire_format or route.formats[0])
        return Asking(self._connections, method, route, path, sent, body)

    def has_provider_key(self, headers: Mapping[str, str]) -> bool:
        """Whether a client sent a key that is not for us."""
        return self._headers.has_provider_key(headers)

    async def json(self, route: Route, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
        """One whole exchange, for our own questions to the model. Raises `UpstreamError` for anything but a 200."""
        return (await self.exchange(route, path, body))[0]

    async def exchange(
        self, route: Route, path: str, body: Mapping[str, Any], headers: Mapping[str, str] | None = None
    ) -> tuple[dict[str, Any], Headers]:
        """The same, with headers of ours, and with the reply's."""
        async with self.post(route, path, json.dumps(body).encode(), headers, wire_format="chat") as response:
            raw = await read(response, route)
        if response.status != 200:
            raise UpstreamError(response.status, "upstream_error", raw[:500].decode(errors="replace"))
        try:
            reply = json.loads(raw)
        except ValueError as error:
            raise UpstreamError(502, "upstream_garbage", f"{route.url} answered something that is not JSON.") from error
        if not isinstance(reply, dict):
            raise UpstreamError(502, "upstream_garbage", f"{route.url} answered JSON that is not an object.")
        return reply, response.headers


class Asking:
    """`async with` waits for an upstream's reply to begin, and closes it at the end of the block.

    That ends the upstream's work where a client went away; the connection of a finished reply is in the pool by then.
    """

    __slots__ = ("_asked", "_began", "_connections", "_route")

    def __init__(
        self, connections: Connections, method: str, route: Route, path: str, headers: Headers, body: bytes | None
    ) -> None:
        self._connections = connections
        self._route = route
        self._asked = method, route.url, path, headers, body

    async def __aenter__(self) -> Reply:
        try:
            self._began = await self._connections.ask(*self._asked)
        except (WireError, TimeoutError) as error:
            raise explain(error, self._route) from error
        return self._began

    async def __aexit__(self, *_: object) -> None:
        self._began.close()


def reply_text(reply: Mapping[str, Any]) -> str:
    """The text of a chat completion. Raises `UpstreamError` where it is not one."""
    try:
        return str(reply["choices"][0]["message"].get("content") or "")
    except (KeyError, IndexError, TypeError, AttributeError) as error:
        raise UpstreamError(502, "upstream_garbage", "The upstream's reply is not a chat completion.") from error


async def next_bytes(response: Reply, route: Route) -> bytes:
    """What has arrived of the reply since last time, waiting for it; empty at its end. Raises `UpstreamError` else.

    While nobody takes them, half a megabyte is read ahead at most, and the upstream has to wait.
    """
    try:
        return await response.readany()
    except (WireError, TimeoutError) as error:
        raise explain(error, route) from error


async def read(response: Reply, route: Route) -> bytes:
    """The whole body. Raises `UpstreamError` when it breaks off."""
    try:
        return await response.read()
    except (WireError, TimeoutError) as error:
        raise explain(error, route) from error


def explain(error: Exception, route: Route) -> UpstreamError:
    """What went wrong between us and the upstream, as the status that a gateway answers with (RFC 9110)."""
    if isinstance(error, TimeoutError):
        return UpstreamError(
            504, "upstream_timeout",
            f"The upstream {route.url} did not answer in time. Check that it is running, or raise"
            " upstream.idle_timeout_seconds.",
        )
    if isinstance(error, UnreachableError):
        return UpstreamError(
            502, "upstream_unreachable",
            f"The upstream {route.url} cannot be reached ({error}). Check"
            " its url in the settings and that it is running.",
        )
    return UpstreamError(
        502, "upstream_broke_off", f"The upstream {route.url} broke off its reply ({error}). Try again."
    )
