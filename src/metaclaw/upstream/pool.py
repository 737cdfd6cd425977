"""Pooled connections to upstreams, and how to tell one that was stale from one that broke under our request.

A server may hang up an idle connection at the moment in which we send on it. aiohttp sends a POST once only, and
reports such an end like any other. Here it has a type of its own: the connection had served before, and ended without
one byte of a reply, soon after we sent. Then, and only then, sending again on a fresh one is safe (RFC 9112, 9.3.1).
"""

from __future__ import annotations

import asyncio
import functools
from typing import Any

import aiohttp
from aiohttp.client_proto import ResponseHandler

KEEPALIVE_SECONDS = 60.0
SOON_SECONDS = 5.0  # a stale one shows within a round trip; one that ends later was at work on our request


class StaleConnectionError(aiohttp.ServerDisconnectedError):
    """A reused connection ended before a byte of the reply had come."""


ENDED = (aiohttp.ServerDisconnectedError, aiohttp.ClientOSError)


class _Wire(ResponseHandler):
    """One connection. Of its current request it knows whether it is the first, when it began, and if it was heard."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        super().__init__(loop)
        self._requests = 0
        self._began = 0.0
        self._heard = False

    def set_response_params(self, **params: Any) -> None:
        """Called for each request before it is sent."""
        self._requests += 1
        self._began = self._loop.time()
        self._heard = False
        super().set_response_params(**params)

    def data_received(self, data: bytes) -> None:
        self._heard = True
        super().data_received(data)

    def set_exception(self, exc: BaseException, *cause: BaseException) -> None:
        if isinstance(exc, ENDED) and self._is_stale():
            exc = StaleConnectionError()
        super().set_exception(exc, *cause)

    def _is_stale(self) -> bool:
        return self._requests > 1 and not self._heard and self._loop.time() - self._began < SOON_SECONDS


def _wire(loop: asyncio.AbstractEventLoop) -> ResponseHandler:
    return _Wire(loop)


class Connections(aiohttp.TCPConnector):
    """Without a limit: the gateway's clients set the pace. `fresh` ones serve a single request each."""

    def __init__(self, *, fresh: bool = False) -> None:
        kept: dict[str, Any] = {"force_close": True} if fresh else {"keepalive_timeout": KEEPALIVE_SECONDS}
        super().__init__(limit=0, **kept)
        self._factory = functools.partial(_wire, loop=self._loop)
