"""The connections under aiohttp: a deadline for the head of a request, a bound on their number, and errors that tell
nothing of what was sent.

aiohttp itself ends a connection that is idle for longer than its keep-alive time, also one that has sent half a head by
then; here the head has a shorter time of its own. What does not read as HTTP is answered in our own words and logged by
its kind alone: aiohttp would quote the bytes, which may be keys.
"""

from __future__ import annotations

import asyncio
import logging
import traceback
from typing import Any

from aiohttp import web
from aiohttp.http_exceptions import HttpProcessingError

from metaclaw.config import GatewaySettings
from metaclaw.dialects import chat

log = logging.getLogger(__name__)

LINGER_SECONDS = 5.0  # how long the rest of a refused body is read and thrown away, so that its client sees the refusal
CONNECTIONS_PER_REQUEST = 8  # clients keep some open between requests


class Runner(web.AppRunner):
    """aiohttp's runner, on connections of ours."""

    def __init__(self, app: web.Application, settings: GatewaySettings) -> None:
        super().__init__(
            app, handler_cancellation=True, access_log=None, shutdown_timeout=10, auto_decompress=False,
            keepalive_timeout=settings.keep_alive_seconds, lingering_time=LINGER_SECONDS,
        )
        self._settings = settings

    async def _make_server(self) -> web.Server:
        """The place that aiohttp leaves to runners for choosing their server."""
        made = await super()._make_server()
        return _Server(self._settings, made.request_handler, request_factory=made.request_factory, **self._kwargs)


class _Server(web.Server):
    def __init__(self, settings: GatewaySettings, *handed: Any, **on: Any) -> None:
        super().__init__(*handed, **on)
        self.head_seconds = settings.head_seconds
        self.most_connections = CONNECTIONS_PER_REQUEST * settings.max_in_flight

    def __call__(self) -> Connection:
        return Connection(self, loop=self._loop, **self._kwargs)


class Connection(web.RequestHandler):
    """One client's connection."""

    __slots__ = ("_head_timer", "_server")

    def __init__(self, server: _Server, **on: Any) -> None:
        super().__init__(server, **on)
        self._server = server
        self._head_timer: asyncio.TimerHandle | None = None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        super().connection_made(transport)
        self._expect_head()
        if len(self._server._connections) > self._server.most_connections:
            log.warning("a connection was refused: %d are open", self._server.most_connections)
            self.force_close()

    def connection_lost(self, exc: BaseException | None) -> None:
        self._expect_nothing()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        super().data_received(data)
        if not self._waits():
            self._expect_nothing()
        elif self._head_timer is None:
            self._expect_head()

    def _waits(self) -> bool:
        """Whether no request is being served and none has come whole: as aiohttp itself finds out."""
        waiter = self._waiter
        return waiter is not None and not waiter.done()

    def _expect_head(self) -> None:
        self._head_timer = self._loop.call_later(self._server.head_seconds, self._give_up)

    def _expect_nothing(self) -> None:
        if self._head_timer is not None:
            self._head_timer.cancel()
            self._head_timer = None

    def _give_up(self) -> None:
        self._head_timer = None
        if self._waits():
            self.force_close()

    def handle_error(
        self, request: web.BaseRequest, status: int = 500, exc: BaseException | None = None, message: str | None = None
    ) -> web.StreamResponse:
        """A reply for what is not HTTP (400), or for a bug of ours (500); the connection ends with it."""
        if isinstance(exc, HttpProcessingError):
            log.info("a request that is not HTTP was refused: %s", type(exc).__name__)
            code, told = "bad_request", "The request is not HTTP as this gateway reads it. Check its line and headers."
        else:
            where = "".join(traceback.format_tb(exc.__traceback__)) if exc else ""
            log.error("a request failed with %s\n%s", type(exc).__name__, where)  # its text may quote what was sent
            code, told = "internal_error", "The gateway failed; its log says where. Try again."
        if request.writer.output_size > 0:
            raise ConnectionError("the reply had begun")
        reply = web.Response(
            status=status, body=chat.error_body(status, code, told), content_type="application/json"
        )
        reply.force_close()
        return reply

    def log_exception(self, *args: Any, **more: Any) -> None:
        error = more.get("exc_info")
        log.error("a connection failed with %s", type(error).__name__)
